//! Publications on the publisher's side: whatever a DBA publishes, every function works.

use std::collections::BTreeMap;

use tasker_client_tests::server::{Server, psql, root};
use tasker_client_tests::worker::{Ask, done};
use tasker_client_tests::{Database, Session, Uuid, database, patience, shapes};

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

/// Reads the messages of pgoutput, version 1.
struct Bytes<'b>(&'b [u8]);

impl Bytes<'_> {
    fn take(&mut self, count: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken.to_vec()
    }

    fn number(&mut self, bytes: usize) -> usize {
        self.take(bytes)
            .iter()
            .fold(0, |number, byte| number << 8 | usize::from(*byte))
    }

    fn name(&mut self) -> String {
        let end = self
            .0
            .iter()
            .position(|byte| *byte == 0)
            .expect("the end of a name");
        let name = self.take(end);
        self.take(1);
        String::from_utf8_lossy(&name).into_owned()
    }
}

/// The tables that rows were inserted into, the columns of one (with a star if they identify a row), and the rows; any other change is
/// a row of its kind alone. A partition is named beside its table, which has the rows.
fn decoded(messages: &[Vec<u8>]) -> (Vec<String>, Vec<String>, Vec<Vec<Option<String>>>) {
    let (mut named, mut columns, mut rows) = (BTreeMap::new(), vec![], vec![]);
    let mut tables = vec![];
    for message in messages {
        let mut bytes = Bytes(message);
        match bytes.take(1)[0] {
            b'R' => {
                let table = bytes.number(4);
                named.insert(table, format!("{}.{}", bytes.name(), bytes.name()));
                bytes.number(1);
                columns = (0..bytes.number(2))
                    .map(|_| {
                        let key = bytes.number(1) & 1 == 1;
                        let name = bytes.name();
                        bytes.number(8);
                        if key { format!("{name}*") } else { name }
                    })
                    .collect();
            }
            b'I' => {
                tables.extend(named.get(&bytes.number(4)).cloned());
                assert_eq!(bytes.take(1), b"N");
                let row = (0..bytes.number(2)).map(|_| match bytes.take(1)[0] {
                    b'n' => None,
                    b't' => {
                        let length = bytes.number(4);
                        Some(String::from_utf8_lossy(&bytes.take(length)).into_owned())
                    }
                    other => panic!("a value of kind {other}"),
                });
                rows.push(row.collect());
            }
            b'B' | b'C' => {}
            other => rows.push(vec![Some(char::from(other).to_string())]),
        }
    }
    tables.dedup();
    (tables, columns, rows)
}

#[test]
fn an_outbox_router_gets_each_published_event_once_as_columns_of_one_table() {
    let server = logical();
    let mut session = server.connect(database::PATTERN);
    shapes::chain("one", 1).register(&mut session);
    session.execute(&documented("outbox"));
    watch(&mut session);
    let task = session.create("one");
    session.query(
        "SELECT tasker.publish_event('orders.paid', '{\"n\": 1}', $1)",
        &[&task],
    );
    session.execute("BEGIN; SELECT tasker.publish_event('orders.lost'); ROLLBACK");
    session.query(
        "SELECT tasker.publish_events(array_fill('orders.many'::text, ARRAY[300]), array_fill('{\"n\": 2}'::jsonb, ARRAY[300]), namespace => 'default')",
        &[],
    );
    // The ring turns and empties a slot: that is no change for a router.
    let read = "SELECT event_id, name, payload::text FROM tasker.read_events(patterns => '{orders.*}') WHERE event_id IS NOT NULL ORDER BY 1";
    let mut before = session.query(read, &[]);
    session.execute("SET tasker.event_retention = '1ms'; SELECT pg_sleep(0.01); SELECT tasker_engine.duty_events(); SELECT tasker_engine.duty_events()");
    session.query("SELECT tasker.publish_event('orders.next', step_uuid => tasker.step_uuid($1, 1::smallint))", &[&task]);
    before.extend(session.query(read, &[]));
    let messages: Vec<Vec<u8>> = session.all(
        "SELECT data FROM pg_logical_slot_get_binary_changes('watch', NULL, NULL, 'proto_version', '1', 'publication_names', 'outbox')",
        &[],
    );
    let (tables, columns, rows) = decoded(&messages);
    assert_eq!(tables, ["tasker_engine.events"]);
    assert_eq!(
        columns,
        [
            "id*",
            "xid",
            "created_at",
            "task_uuid",
            "slot*",
            "step_no",
            "depth",
            "name",
            "namespace",
            "aggregate_type",
            "aggregate_id",
            "correlation_id",
            "traceparent",
            "payload"
        ]
    );
    let text = |row: &[Option<String>], at: usize| row[at].clone().unwrap_or_default();
    let routed: Vec<(i64, String, String)> = rows
        .iter()
        .map(|row| {
            (
                16 * text(row, 0).parse::<i64>().unwrap_or_default(),
                text(row, 7),
                text(row, 13),
            )
        })
        .collect();
    let expected: Vec<(i64, String, String)> = before
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    assert_eq!(expected.len(), 302);
    assert_eq!(routed, expected);
    let about = |row: &[Option<String>]| format!("{} {}", text(row, 9), text(row, 10));
    assert_eq!(about(&rows[0]), format!("task {task}"));
    assert_eq!(about(&rows[1]), "namespace default");
    assert!(about(&rows[301]).starts_with("step "));
}

/// A statement of the page about events, by its label.
fn documented(label: &str) -> String {
    let page = std::fs::read_to_string(root().join("docs/events.md")).unwrap_or_default();
    let statement = page
        .split(&format!("```sql {label}\n"))
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    statement
        .unwrap_or_else(|| panic!("no statement {label}"))
        .to_owned()
}

/// What was published, by event id.
type Published = BTreeMap<i64, (String, String)>;

/// Publishes events in many transactions, of which some are undone.
fn publish(session: &mut Session, publisher: usize) {
    for turn in 0..60 {
        session.execute("BEGIN");
        session.query(
            "SELECT tasker.publish_event('orders.paid', jsonb_build_object('n', $1::int, 'by', $2::int))",
            &[&turn, &(publisher as i32)],
        );
        session.execute(
            "SELECT tasker.publish_events('{orders.sent,orders.sent}', ARRAY['{}', '{\"n\": 1}']::jsonb[])",
        );
        session.execute(if turn % 5 == 4 { "ROLLBACK" } else { "COMMIT" });
    }
}

/// Polls and acknowledges until this number of events was had.
fn consume(session: &mut Session, most: usize) -> Published {
    let mut had = Published::new();
    let until = std::time::Instant::now() + patience(60);
    while had.len() < most {
        assert!(std::time::Instant::now() < until, "{} of {most}", had.len());
        let rows = session.query(
            "SELECT event_id, name, payload::text FROM tasker.poll_events('router', 20)",
            &[],
        );
        let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        for row in &rows {
            let again = had.insert(row.get(0), (row.get(1), row.get(2)));
            assert_eq!(again, None, "it comes once");
        }
        let done: i32 = session.one("SELECT tasker.ack_events('router', $1)", &[&ids]);
        assert_eq!(done as usize, ids.len());
    }
    had
}

#[test]
fn events_are_decoded_while_a_subscriber_polls_them_and_both_get_each_once() {
    let server = logical();
    let mut session = server.connect(database::PATTERN);
    shapes::chain("one", 1).register(&mut session);
    session.execute(&documented("outbox"));
    watch(&mut session);
    session.query("SELECT tasker.subscribe('router', '{orders.*}')", &[]);
    let expected = 2 * 48 * 3;
    let (mut decoded_events, mut times) = (Published::new(), 0);
    let polled = std::thread::scope(|scope| {
        for publisher in 0..2 {
            let mut session = server.connect(database::PATTERN);
            scope.spawn(move || publish(&mut session, publisher));
        }
        let mut consumer = server.connect(database::PATTERN);
        let consumer = scope.spawn(move || consume(&mut consumer, expected));
        let until = std::time::Instant::now() + patience(60);
        while decoded_events.len() < expected || !consumer.is_finished() {
            assert!(
                std::time::Instant::now() < until,
                "{}",
                decoded_events.len()
            );
            let messages: Vec<Vec<u8>> = session.all(
                "SELECT data FROM pg_logical_slot_get_binary_changes('watch', NULL, NULL, 'proto_version', '1', 'publication_names', 'outbox')",
                &[],
            );
            let (_, columns, rows) = decoded(&messages);
            let column = |name: &str| {
                columns
                    .iter()
                    .position(|column| column.trim_end_matches('*') == name)
            };
            times += usize::from(!rows.is_empty());
            for row in &rows {
                let text = |name: &str| {
                    row[column(name).expect("a column")]
                        .clone()
                        .unwrap_or_default()
                };
                let name = text("name");
                // The fact that the subscriber was made is in the same table.
                if name.starts_with("orders.") {
                    let id = 16 * text("id").parse::<i64>().expect("a number");
                    let again = decoded_events.insert(id, (name, text("payload")));
                    assert_eq!(again, None, "it is decoded once");
                }
            }
        }
        consumer.join().expect("the consumer ends")
    });
    assert!(times > 1, "both at the same time");
    assert_eq!(polled, decoded_events);
    let stored: Vec<i64> = session.all(
        "SELECT event_id FROM tasker.read_events(max_events => 10000, patterns => '{orders.*}') WHERE event_id IS NOT NULL ORDER BY 1",
        &[],
    );
    assert_eq!(polled.into_keys().collect::<Vec<i64>>(), stored);
}
