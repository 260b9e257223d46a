//! Publications on the publisher's side: whatever a DBA publishes, every function works.

use tasker_client_tests::server::{Server, psql, root};
use tasker_client_tests::worker::{Ask, done};
use tasker_client_tests::{Database, Session, Uuid, database, shapes};

/// A server that decodes its log.
fn logical() -> Server {
    let server = Server::start(&["wal_level=logical"]);
    database::prepare(&server);
    server
}

/// Calls every function that writes; returns what the script complains of.
fn life_cycle(server: &Server) -> String {
    let output = psql(server.folder(), database::PATTERN)
        .arg("--file")
        .arg(root().join("tests/client/tests/life_cycle.sql"))
        .output()
        .unwrap_or_else(|error| panic!("psql: {error}"));
    let complaints = String::from_utf8_lossy(&output.stdout).into_owned();
    complaints + &String::from_utf8_lossy(&output.stderr)
}

/// What a subscriber of everything gets: nothing may be lost in between, nor may decoding fail.
fn decode(session: &mut Session, publication: &str) -> i64 {
    session.count(
        &format!(
            "SELECT count(*) FROM pg_logical_slot_get_binary_changes('watch', NULL, NULL, 'proto_version', '1', 'publication_names', '{publication}')"
        ),
        &[],
    )
}

fn watch(session: &mut Session) {
    session.query(
        "SELECT pg_create_logical_replication_slot('watch', 'pgoutput')",
        &[],
    );
}

#[test]
fn no_table_of_the_extension_is_without_a_replica_identity() {
    let database = Database::new();
    let mut session = database.connect();
    let without: Vec<String> = session.all(
        "SELECT c.oid::regclass::text FROM pg_class c
         WHERE c.relnamespace::regnamespace::text IN ('tasker', 'tasker_engine') AND c.relkind IN ('r', 'p') AND c.relpersistence = 'p'
           AND NOT CASE c.relreplident
               WHEN 'f' THEN true
               WHEN 'd' THEN EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
               WHEN 'i' THEN EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisreplident)
               ELSE false END",
        &[],
    );
    assert_eq!(without, Vec::<String>::new());
}

#[test]
fn a_publication_of_all_tables_stops_neither_a_claim_behind_a_cancelled_task_nor_a_purge() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("one", 1).register(&mut session);
    session.execute("CREATE PUBLICATION everything FOR ALL TABLES");
    let task = session.create("one");
    session.query("SELECT tasker.cancel_task($1)", &[&task]);
    let next = session.create("one");
    let held = session.create("one");
    // An entry whose step another session holds: from now on the queue is looked at before it is taken from.
    let mut other = database.connect();
    other.execute("BEGIN");
    other.query("SELECT tasker.cancel_task($1)", &[&next]);
    let claims = session.claim(&Ask::by("w", 10));
    assert_eq!(
        claims.iter().map(|claim| claim.task).collect::<Vec<Uuid>>(),
        [held]
    );
    other.execute("ROLLBACK");
    assert_eq!(session.claim_soon(&Ask::by("w", 10), 1)[0].task, next);
    assert_eq!(
        session.count("SELECT tasks FROM tasker.purge_tasks('0 seconds')", &[]),
        1
    );
}

#[test]
fn with_a_publication_of_all_tables_every_function_works_and_every_change_is_decoded() {
    let server = logical();
    let mut session = server.connect(database::PATTERN);
    session.execute("CREATE PUBLICATION everything FOR ALL TABLES");
    watch(&mut session);
    assert_eq!(life_cycle(&server), "");
    assert!(decode(&mut session, "everything") > 500);
}

#[test]
fn a_publication_of_some_rows_and_columns_is_served_or_refused_in_words_of_postgresql() {
    let server = logical();
    let mut session = server.connect(database::PATTERN);
    // Keys only: what a row filter or a column list must contain, PostgreSQL says itself.
    session.execute(
        "CREATE PUBLICATION parts FOR TABLE
             tasker_engine.steps (task_uuid, step_no, state, results) WHERE (step_no < 3),
             tasker_engine.tasks (task_uuid, state, context),
             tasker_engine.transitions WHERE (step_no = 0),
             tasker_engine.queue_entries WHERE (priority > 1)",
    );
    watch(&mut session);
    assert_eq!(life_cycle(&server), "");
    assert!(decode(&mut session, "parts") > 100);

    // A filter by a column that is no part of the key: an UPDATE cannot be published.
    session.execute("CREATE PUBLICATION ended FOR TABLE tasker_engine.tasks WHERE (state = 'c')");
    shapes::chain("filtered", 1).register(&mut session);
    let task = session.create("filtered");
    session
        .fails("SELECT tasker.cancel_task($1)", &[&task])
        .is("42P10")
        .says(&["tasks", "replica identity"]);
    session.execute("DROP PUBLICATION ended");
    assert_eq!(session.work(|_| done()).len(), 1);
}
