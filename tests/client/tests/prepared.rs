//! Transactions that are prepared (two-phase commit): every call can be part of one, nothing of it reaches the session's next
//! transactions, and claims do not wait for it.

use std::time::{Duration, Instant};

use postgres::fallible_iterator::FallibleIterator;
use tasker_client_tests::server::Server;
use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Database, Session, Template, json, patience, shapes};

fn database() -> (Database, Session) {
    let database = Database::new();
    let mut session = database.connect();
    Template::new("one")
        .step("only", &[])
        .register(&mut session);
    (database, session)
}

/// A session whose worker waits for work, and hears notifications.
fn idle(database: &Database) -> Session {
    let mut worker = database.connect();
    worker.execute("LISTEN tasker_default");
    assert!(worker.claim(&Ask::by("waits", 1)).is_empty());
    worker
}

fn notifications(session: &mut Session) -> usize {
    let mut notifications = session.client().notifications();
    let waiting = notifications.timeout_iter(Duration::from_millis(300));
    waiting.count().expect("notifications")
}

/// PREPARE, COMMIT or ROLLBACK of the only prepared transaction of the database.
fn prepared(session: &mut Session, command: &str) {
    let name: String = session.one("SELECT pg_catalog.current_database()::text", &[]);
    session.execute(&format!("{command} '{name}'"));
}

fn prepare(session: &mut Session, what: impl FnOnce(&mut Session)) {
    session.execute("BEGIN");
    what(session);
    prepared(session, "PREPARE TRANSACTION");
}

fn commit(session: &mut Session) {
    prepared(session, "COMMIT PREPARED");
}

fn roll_back(session: &mut Session) {
    prepared(session, "ROLLBACK PREPARED");
}

fn known(session: &mut Session, worker: &str) -> i64 {
    session.count(
        "SELECT count(*) FROM tasker.workers WHERE worker_id = $1",
        &[&worker],
    )
}

#[test]
fn a_task_can_be_created_in_a_prepared_transaction_while_a_worker_waits() {
    let (database, mut session) = database();
    let mut worker = idle(&database);
    prepare(&mut session, |session| {
        session.create("one");
    });
    assert!(worker.claim(&Ask::by("waits", 1)).is_empty());
    roll_back(&mut session);
    assert!(worker.claim(&Ask::by("waits", 1)).is_empty());
    prepare(&mut session, |session| {
        session.create("one");
    });
    commit(&mut session);
    assert_eq!(worker.claim_soon(&Ask::by("waits", 1), 1).len(), 1);
}

#[test]
fn a_prepared_transaction_notifies_no_worker_and_silences_no_later_one() {
    let (database, mut session) = database();
    let mut worker = idle(&database);
    prepare(&mut session, |session| {
        session.create("one");
    });
    session.execute("SELECT pg_current_xact_id()");
    assert_eq!(notifications(&mut worker), 0);
    roll_back(&mut session);
    assert_eq!(notifications(&mut worker), 0);
    session.create("one");
    assert_eq!(notifications(&mut worker), 1);
}

#[test]
fn every_kind_of_call_can_be_prepared() {
    let (database, mut session) = database();
    shapes::linear().register(&mut session);
    let _worker = idle(&database);
    let held = session.create("linear");
    session.claim_one("holder");
    let step = session.step(held, "initialize_data");
    let other = Template::new("other").step("only", &[]).text();
    for call in [
        format!("SELECT tasker.register_template($t${other}$t$)"),
        "SELECT tasker.create_tasks('one', ARRAY['{}', '{\"n\": 1}']::jsonb[])".to_owned(),
        "SELECT tasker.claim_steps('new', max_steps => 1)".to_owned(),
        "SELECT tasker.heartbeat('holder')".to_owned(),
        format!("SELECT tasker.fail_step('{step}', 1, 'no', retryable => true)"),
        format!("SELECT tasker.retry_step('{step}')"),
        "SELECT tasker.report_and_claim('holder', '[]', max_steps => 1)".to_owned(),
        "SELECT tasker.release_steps('holder')".to_owned(),
        "SELECT tasker.run_steps()".to_owned(),
        "SELECT tasker.run_maintenance()".to_owned(),
        "SELECT tasker.repair_integrity(dry_run => false)".to_owned(),
        "SELECT tasker.pause_namespace('default'), tasker.resume_namespace('default')".to_owned(),
        "SELECT tasker.end_worker('holder')".to_owned(),
        format!("SELECT tasker.cancel_task('{held}')"),
        "SELECT tasker.purge_tasks(older_than => interval '1 day')".to_owned(),
    ] {
        for end in [roll_back, commit] {
            prepare(&mut session, |session| session.execute(&call));
            end(&mut session);
        }
    }
    assert_eq!(session.disagreements(), [""; 0]);
}

#[test]
fn a_worker_first_seen_in_a_prepared_transaction_has_a_row_afterwards() {
    for (end, kept) in [("COMMIT PREPARED", 1), ("ROLLBACK PREPARED", 0)] {
        let (_database, mut session) = database();
        session.create_many("one", 3);
        prepare(&mut session, |session| {
            session.claim_one("mine");
        });
        prepared(&mut session, end);
        assert_eq!(known(&mut session, "mine"), kept, "{end}");
        let claim = session.claim_soon(&Ask::by("mine", 1), 1).remove(0);
        assert_eq!(known(&mut session, "mine"), 1, "{end}");
        session.complete(&claim, &json!({}));
        assert_eq!(session.disagreements(), [""; 0], "{end}");
    }
}

#[test]
fn a_claim_waits_for_no_prepared_transaction_of_its_worker() {
    for end in ["COMMIT PREPARED", "ROLLBACK PREPARED"] {
        let (_database, mut session) = database();
        // The role and one worker are known before; the prepared transactions write the rows of both workers.
        assert!(session.claim(&Ask::by("old", 1)).is_empty());
        session.create_many("one", 6);
        for worker in ["old", "new"] {
            prepare(&mut session, |session| {
                session.claim_one(worker);
            });
            session.execute("SET statement_timeout = '5s'");
            let claim = session.claim_soon(&Ask::by(worker, 1), 1).remove(0);
            assert_eq!(
                session.count("SELECT count(*) FROM tasker.heartbeat($1)", &[&worker]),
                1
            );
            prepared(&mut session, end);
            session.claim_soon(&Ask::by(worker, 1), 1);
            assert_eq!(known(&mut session, worker), 1, "{end} {worker}");
            session.complete(&claim, &json!({}));
        }
        assert_eq!(session.disagreements(), [""; 0], "{end}");
    }
}

fn soon(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < patience(40), "not soon: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn coordinators(session: &mut Session) -> i64 {
    session.count(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'tasker_ext coordinator' AND datname = current_database()",
        &[],
    )
}

#[test]
fn background_processes_follow_what_another_session_commits_of_a_prepared_transaction() {
    let server = Server::start(&["shared_preload_libraries=tasker_ext"]);
    server.connect("postgres").execute("CREATE DATABASE fresh");
    let mut observer = server.connect("fresh");
    // The launcher has looked at the database and found nothing before the extension comes.
    std::thread::sleep(Duration::from_secs(3));
    prepare(&mut server.connect("fresh"), |session| {
        session.execute("CREATE EXTENSION tasker_ext");
    });
    commit(&mut observer);
    soon("a coordinator", || coordinators(&mut observer) == 1);
    // A command that needs the extension for itself, and ends otherwise than its session.
    prepare(&mut server.connect("fresh"), |session| {
        session.execute("DROP EXTENSION tasker_ext");
    });
    roll_back(&mut observer);
    soon("a coordinator again", || coordinators(&mut observer) == 1);
}
