//! What a subscriber is set to by itself, what its relation shows, and what it keeps from others: nothing.

use std::time::{Duration, Instant};

use tasker_client_tests::worker::done;
use tasker_client_tests::{Act, Session, Template, inside, json, patience, started};

fn pay() -> Template {
    Template::new("pay").step("a", &[]).step("b", &["a"])
}

fn subscribe(session: &mut Session, arguments: &str) {
    session.query(&format!("SELECT tasker.subscribe({arguments})"), &[]);
}

fn poll(session: &mut Session, subscriber: &str, most: i32, lease: &str) -> Vec<i64> {
    session.all(
        "SELECT event_id FROM tasker.poll_events($1, $2, $3::text::interval)",
        &[&subscriber, &most, &lease],
    )
}

/// One that keeps the size of what it gets, and one that fails.
const HANDLERS: &str = "
CREATE SCHEMA app;
CREATE TABLE app.calls (kind text, events integer);
CREATE FUNCTION app.keep(events jsonb) RETURNS void LANGUAGE sql AS $$
    INSERT INTO app.calls VALUES (jsonb_typeof(events), jsonb_array_length(events))
$$;
CREATE FUNCTION app.fail(events jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the mailer is down'; END $$;
";

#[test]
fn a_subscriber_that_is_only_named_has_the_defaults() {
    let (_database, mut session, _) = started(&pay());
    subscribe(&mut session, "'x'");
    let settings: Vec<String> = session.all(
        "SELECT key || ' ' || coalesce(value, 'NULL')
         FROM tasker.subscribers s CROSS JOIN jsonb_each_text(to_jsonb(s))
         WHERE key IN ('patterns', 'namespaces', 'filter', 'sample_rate', 'max_deliveries', 'ordered', 'include_data', 'max_in_flight',
                       'batch_size', 'handler', 'paused')
         ORDER BY key COLLATE \"C\"",
        &[],
    );
    assert_eq!(
        settings,
        [
            "batch_size 1",
            "filter NULL",
            "handler NULL",
            "include_data false",
            "max_deliveries 5",
            "max_in_flight NULL",
            "namespaces NULL",
            "ordered false",
            "patterns [\"*\"]",
            "paused false",
            "sample_rate 1",
        ]
    );
    // It begins now.
    let names: Vec<String> = session.all("SELECT name FROM tasker.poll_events('x')", &[]);
    assert_eq!(names, ["subscriber.registered"]);
}

#[test]
fn a_handler_without_a_batch_size_gets_arrays_of_one_event() {
    let (_database, mut session, _) = started(&pay());
    session.execute(HANDLERS);
    subscribe(&mut session, "'x', '{step.*}', 'beginning', 'sql:app.keep'");
    session.work(|_| done());
    session.query("SELECT * FROM tasker.run_subscribers()", &[]);
    let calls: Vec<String> =
        session.all("SELECT DISTINCT kind || ' ' || events FROM app.calls", &[]);
    assert_eq!(calls, ["array 1"]);
    let handed: i64 = session.one("SELECT count(*) FROM app.calls", &[]);
    assert_eq!(
        handed,
        session.count(
            "SELECT count(*) FROM tasker.read_events(patterns => '{step.*}') WHERE event_id IS NOT NULL",
            &[]
        )
    );
}

#[test]
fn in_flight_is_one_row_for_a_poll_and_one_for_each_event_that_comes_again() {
    let (_database, mut session, _) = started(&pay());
    session.create_many("pay", 60);
    subscribe(&mut session, "'audit', '{*}', 'beginning'");
    let got = poll(&mut session, "audit", 100, "1 hour");
    assert_eq!(got.len(), 100);
    assert_eq!(inside::rows_in_flight(&mut session), [1, 0]);
    session.query(
        "SELECT tasker.nack_events('audit', $1, '1 hour')",
        &[&&got[40..41]],
    );
    assert_eq!(inside::rows_in_flight(&mut session), [1, 1]);
    session.query("SELECT tasker.ack_events('audit', $1)", &[&&got[90..]]);
    assert_eq!(inside::rows_in_flight(&mut session), [1, 1]);
    // The lease of the rest ends.
    inside::end_leases(&mut session);
    assert_eq!(poll(&mut session, "audit", 5, "1 hour").len(), 5);
    assert_eq!(inside::rows_in_flight(&mut session), [0, 90]);
    session.query("SELECT tasker.ack_events('audit', $1)", &[&got]);
    assert_eq!(inside::rows_in_flight(&mut session), [0, 0]);
}

#[test]
fn lag_seconds_is_the_age_of_what_was_not_looked_at() {
    let (_database, mut session, task) = started(&pay());
    subscribe(&mut session, "'audit', '{task.failed}', 'beginning'");
    inside::age_events(&mut session, "5 minutes");
    inside::age(&mut session, task, 10);
    let lag = |session: &mut Session| -> f64 {
        session.one("SELECT lag_seconds FROM tasker.subscribers", &[])
    };
    // Of the oldest of both kinds of rows, whatever the subscriber wants.
    let first = lag(&mut session);
    assert!((600.0..720.0).contains(&first), "{first}");
    assert!(poll(&mut session, "audit", 10, "1 minute").is_empty());
    assert!(lag(&mut session).abs() < f64::EPSILON);
    let next = session.create("pay");
    inside::age(&mut session, next, 2);
    let second = lag(&mut session);
    assert!((120.0..240.0).contains(&second), "{second}");
    // Polls that find nothing move the place once a second; the first of them only looks.
    std::thread::sleep(Duration::from_millis(1100));
    for _ in 0..2 {
        poll(&mut session, "audit", 10, "1 minute");
    }
    assert!(lag(&mut session).abs() < f64::EPSILON);
}

#[test]
fn last_error_says_why_the_last_delivery_failed() {
    let (_database, mut session, _) = started(&pay());
    session.execute(HANDLERS);
    subscribe(
        &mut session,
        "'mail', '{task.initialize_requested}', 'beginning', 'sql:app.fail'",
    );
    let shown = |session: &mut Session| -> String {
        session.one(
            "SELECT concat_ws('|', coalesce(last_error, 'none'), failed, last_error_at > now() - interval '1 minute') FROM tasker.subscribers",
            &[],
        )
    };
    assert_eq!(shown(&mut session), "none|0");
    session.query("SELECT * FROM tasker.run_subscribers()", &[]);
    assert_eq!(shown(&mut session), "P0001: the mailer is down|1|t");
    // What works later does not hide it, and what fails later replaces it.
    subscribe(&mut session, "'mail', handler => 'sql:app.keep'");
    session.create("pay");
    session.query("SELECT * FROM tasker.run_subscribers()", &[]);
    assert_eq!(shown(&mut session), "P0001: the mailer is down|1|t");
    subscribe(&mut session, "'mail', handler => ''");
    session.create("pay");
    let got = poll(&mut session, "mail", 1, "1 minute");
    session.query(
        "SELECT tasker.nack_events('mail', $1, error => 'no such address')",
        &[&got],
    );
    assert_eq!(shown(&mut session), "no such address|2|t");
    poll(&mut session, "mail", 10, "1 minute");
    assert_eq!(shown(&mut session), "no such address|2|t");
}

/// Whether VACUUM leaves no dead row, at once or soon: sessions tell their own a moment later.
fn vacuum_removes_all(session: &mut Session, wait: Duration) -> bool {
    let until = Instant::now() + wait;
    loop {
        session.execute("VACUUM");
        if inside::dead_rows(session) == 0 {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_subscriber_that_is_behind_or_gone_holds_no_vacuum_back() {
    let (database, mut session, _) = started(&pay());
    subscribe(&mut session, "'behind', start_at => 'beginning'");
    subscribe(
        &mut session,
        "'ordered', start_at => 'beginning', ordered => true",
    );
    session.create_many("pay", 50);
    for name in ["behind", "ordered"] {
        let mut consumer = database.connect();
        assert_eq!(poll(&mut consumer, name, 10, "1 day").len(), 10);
    }
    let mut open = database.connect();
    open.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT");
    session.work(|claim| Act::Complete(json!({ "from": claim.name })));
    session.query("SELECT * FROM tasker.run_maintenance()", &[]);
    let mut cleaner = database.connect();
    drop(session);
    // What an open transaction would do is seen here.
    assert!(!vacuum_removes_all(&mut cleaner, Duration::from_secs(2)));
    open.execute("COMMIT");
    assert!(vacuum_removes_all(&mut cleaner, patience(20)));
    let lag: i64 = cleaner.count("SELECT min(lag_events) FROM tasker.subscribers", &[]);
    assert!(lag > 100, "{lag}");
    for holder in [
        "pg_replication_slots",
        "pg_prepared_xacts",
        "pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
         AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)",
    ] {
        let count = cleaner.count(&format!("SELECT count(*) FROM {holder}"), &[]);
        assert_eq!(count, 0, "{holder}");
    }
}
