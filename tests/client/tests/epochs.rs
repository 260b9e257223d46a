//! Positions of readers of events and of subscribers outlive a restore, although the ids of transactions do not.

use std::collections::BTreeMap;

use tasker_client_tests::database::resume;
use tasker_client_tests::server::{Server, run};
use tasker_client_tests::three::{self, Had, SUBSCRIBERS, ack, go_on, poll};
use tasker_client_tests::worker::done;
use tasker_client_tests::{Database, Reader, Session, shapes};

const NAME: &str = "app";

fn use_up_transactions(session: &mut Session, count: i32) {
    session.execute(&format!(
        "DO $$ BEGIN FOR n IN 1..{count} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
    ));
}

/// An event that is no row of the log.
fn publish(session: &mut Session) {
    session.query("SELECT tasker.publish_event('shop.opened')", &[]);
}

/// Readers at the beginning, inside the events of one row, behind a batch with open transactions, and at the end.
fn readers(server: &Server, session: &mut Session) -> Vec<(&'static str, Reader)> {
    session.create_many("chain", 5);
    let mut inside = Reader::default();
    inside.page(session, 2);
    let mut commits = server.connect(NAME);
    commits.execute("BEGIN; SELECT tasker.create_task('chain')");
    let mut batch = Reader::default();
    session.create("chain");
    publish(session);
    batch.page(session, 11);
    let mut behind = Reader::default();
    behind.all(session);
    let mut older = server.connect(NAME);
    older.execute("BEGIN; SELECT tasker.create_task('chain')");
    session.work(|_| done());
    commits.execute("COMMIT");
    let mut end = Reader::default();
    end.all(session);
    older.execute("COMMIT");
    session.create_many("chain", 2);
    publish(session);
    vec![
        ("beginning", Reader::default()),
        ("inside a row", inside),
        ("inside a batch", batch),
        ("behind what is open", behind),
        ("end", end),
    ]
}

fn source() -> (Server, Vec<(&'static str, Reader)>) {
    let server = Server::start(&[]);
    server
        .connect("postgres")
        .execute(&format!("CREATE DATABASE {NAME} TEMPLATE template0"));
    let mut session = server.connect(NAME);
    use_up_transactions(&mut session, 3_000);
    session.execute("CREATE EXTENSION tasker_ext");
    shapes::chain("chain", 3).register(&mut session);
    let readers = readers(&server, &mut session);
    (server, readers)
}

fn dump(server: &Server) -> String {
    let file = server.folder().join("dump").to_string_lossy().into_owned();
    run(
        "pg_dump",
        server.folder(),
        "postgres",
        &["--format=custom", "--file", &file, NAME],
    );
    file
}

fn restore(server: &Server, file: &str) -> Session {
    run(
        "pg_restore",
        server.folder(),
        "postgres",
        &["--exit-on-error", "--create", "--dbname=postgres", file],
    );
    server.connect(NAME)
}

fn next_xid(session: &mut Session) -> i64 {
    session.one(
        "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint",
        &[],
    )
}

/// Restores a dump into clusters whose transaction ids are lower, higher, and beyond 32 bits. The sessions have not resumed.
fn in_other_clusters(source: &Server, mut then: impl FnMut(&str, &Server, Session)) {
    // A transaction that does not come along.
    let mut lost = source.connect(NAME);
    lost.execute("BEGIN; SELECT tasker.create_task('chain')");
    let file = dump(source);
    let before = next_xid(&mut source.connect(NAME));
    for (what, reset) in [
        ("lower", None),
        ("higher", Some(["-x", "30000"])),
        ("beyond 32 bits", Some(["-e", "3"])),
    ] {
        let target = Server::start(&[]);
        if let Some(arguments) = reset {
            target.stop();
            target.reset_transactions(&arguments);
            target.start_again();
        }
        let mut session = restore(&target, &file);
        let next = next_xid(&mut session);
        assert_eq!(next < before, reset.is_none(), "{what}: {next}, {before}");
        then(what, &target, session);
    }
}

#[test]
fn each_reader_goes_on_in_a_restored_database_whatever_its_transaction_ids() {
    let (source, readers) = source();
    in_other_clusters(&source, |what, target, mut session| {
        session
            .fails("SELECT * FROM tasker.read_events()", &[])
            .is("55000")
            .says(&["resume_after_restore"]);
        resume(&mut session);
        for (name, reader) in &readers {
            reader
                .clone()
                .has_each_event_once(&mut session, &format!("{name}, {what}, at once"));
        }
        // New work, of which some is not committed when the readers come.
        let mut open = target.connect(NAME);
        open.execute("BEGIN; SELECT tasker.create_task('chain')");
        session.create_many("chain", 3);
        publish(&mut session);
        session.work(|_| done());
        let mut readers = readers.clone();
        for (_, reader) in &mut readers {
            reader.page(&mut session, 9);
        }
        open.execute("COMMIT");
        session.create_many("chain", 2);
        for (name, reader) in &readers {
            reader
                .clone()
                .has_each_event_once(&mut session, &format!("{name}, {what}, later"));
        }
        again(target, session, &readers);
    });
}

/// A dump of the restored database, restored in turn.
fn again(server: &Server, mut session: Session, readers: &[(&str, Reader)]) {
    session.work(|_| done());
    drop(session);
    let file = dump(server);
    let target = Server::start(&[]);
    let mut session = restore(&target, &file);
    resume(&mut session);
    session.create_many("chain", 3);
    for (name, reader) in readers {
        reader
            .clone()
            .has_each_event_once(&mut session, &format!("{name}, restored again"));
    }
}

#[test]
fn each_reader_goes_on_in_a_copy_and_the_source_and_the_copy_do_not_take_each_others_positions() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("chain", 2).register(&mut session);
    session.create_many("chain", 3);
    session.work(|_| done());
    let mut reader = Reader::default();
    reader.page(&mut session, 5);
    drop(session);
    let copy = Database::copy_of(&database);
    let mut session = copy.connect();
    resume(&mut session);
    session.create("chain");
    let mut there = reader.clone();
    there.all(&mut session);
    reader.has_each_event_once(&mut session, "copy");
    database
        .connect()
        .fails("SELECT * FROM tasker.read_events($1)", &[&there.position])
        .is("22023")
        .says(&["another database"]);
}

#[test]
fn a_second_call_of_resume_after_restore_begins_no_epoch() {
    let database = Database::new();
    let mut session = database.connect();
    let count = "SELECT count(*) FROM tasker_engine.epochs";
    let before = session.count(count, &[]);
    resume(&mut session);
    assert_eq!(session.count(count, &[]), before);
}

/// Three subscribers at different positions, in a database of their own.
fn subscribed() -> (Server, BTreeMap<&'static str, Had>) {
    let server = Server::start(&[]);
    server
        .connect("postgres")
        .execute(&format!("CREATE DATABASE {NAME} TEMPLATE template0"));
    let mut session = server.connect(NAME);
    use_up_transactions(&mut session, 3_000);
    session.execute("CREATE EXTENSION tasker_ext");
    shapes::chain("chain", 3).register(&mut session);
    let had = three::subscribed(&server, NAME);
    (server, had)
}

fn work_on(session: &mut Session) {
    session.create_many("chain", 3);
    publish(session);
    session.work(|_| done());
}

#[test]
fn each_subscriber_goes_on_in_a_restored_database_and_what_was_in_flight_comes_again() {
    let (source, had) = subscribed();
    in_other_clusters(&source, |what, target, mut session| {
        session
            .fails("SELECT * FROM tasker.poll_events('first')", &[])
            .is("55000")
            .says(&["resume_after_restore"]);
        resume(&mut session);
        // Polled between the new work, of which some is not committed at the first poll.
        let mut open = target.connect(NAME);
        open.execute("BEGIN; SELECT tasker.create_task('chain')");
        work_on(&mut session);
        let mut had = had.clone();
        for name in SUBSCRIBERS {
            let got = poll(&mut session, name, 7, "1 minute");
            ack(&mut session, name, &got);
            let had = had.get_mut(name).expect("one of three");
            let again: Vec<i64> = got
                .iter()
                .filter(|id| had.acknowledged.contains(id))
                .copied()
                .collect();
            assert_eq!(again, [] as [i64; 0], "{name}, {what}: acknowledged before");
            had.in_flight.retain(|id| !got.contains(id));
            had.acknowledged.extend(got);
            // One that is left for the next look.
            had.in_flight
                .extend(poll(&mut session, name, 1, "1 second"));
        }
        open.execute("COMMIT");
        work_on(&mut session);
        go_on(&mut session, &had, what);
        sources_are_told(&mut session);
    });
}

/// What came along has the source that it had in the first database; what is new has one of its own.
fn sources_are_told(session: &mut Session) {
    let sources: Vec<String> = session.all(
        "SELECT DISTINCT payload ->> 'source' FROM tasker.read_events(max_events => 10000, format => 'cloudevents')
         WHERE event_id IS NOT NULL ORDER BY 1",
        &[],
    );
    let (name, last): (i64, i64) = {
        let row = &session.query(
            "SELECT epoch, last_id_before FROM tasker_engine.epochs",
            &[],
        )[0];
        (row.get(0), row.get(1))
    };
    let (old, new) = (format!("/tasker/{NAME}"), format!("/tasker/{NAME}/{name}"));
    assert_eq!(sources, [old, new.clone()]);
    let wrong = session.count(
        "SELECT count(*) FROM tasker.read_events(max_events => 10000, format => 'cloudevents')
         WHERE event_id IS NOT NULL AND (event_id / 16 > $1) <> (payload ->> 'source' = $2)",
        &[&last, &new],
    );
    assert_eq!(wrong, 0);
}

#[test]
fn each_subscriber_goes_on_after_pg_upgrade() {
    let (source, had) = subscribed();
    source.stop();
    let target = Server::start(&[]);
    target.stop();
    target.take_over(&source);
    target.start_again();
    let mut session = target.connect(NAME);
    work_on(&mut session);
    go_on(&mut session, &had, "pg_upgrade");
}
