//! Purge and subscribers: purge waits for those that have not read, and what leaves unread is told.

use std::time::{Duration, Instant};

use tasker_client_tests::worker::done;
use tasker_client_tests::{
    Database, Session, Template, Uuid, Value, inside, json, patience, started,
};

/// An event as a consumer gets it.
#[derive(Debug, Clone, PartialEq)]
struct Got {
    id: i64,
    name: String,
    task: Option<Uuid>,
    payload: Value,
    delivery: i32,
}

fn poll(session: &mut Session, subscriber: &str, most: i32, lease: &str) -> Vec<Got> {
    let rows = session.query(
        "SELECT event_id, name, task_uuid, payload, delivery FROM tasker.poll_events($1, $2, $3::text::interval)",
        &[&subscriber, &most, &lease],
    );
    rows.iter()
        .map(|row| Got {
            id: row.get(0),
            name: row.get(1),
            task: row.get(2),
            payload: row.get(3),
            delivery: row.get(4),
        })
        .collect()
}

fn answer(session: &mut Session, call: &str, subscriber: &str, got: &[Got]) -> i32 {
    let ids: Vec<i64> = got.iter().map(|event| event.id).collect();
    session.one(
        &format!("SELECT tasker.{call}($1, $2)"),
        &[&subscriber, &ids],
    )
}

/// Acknowledges everything, until it is known that all of the log was read: a transaction that runs in another database delays that.
fn drain(session: &mut Session, subscriber: &str) -> Vec<Got> {
    let (mut all, began) = (vec![], Instant::now());
    loop {
        let got = poll(session, subscriber, 1000, "1 minute");
        answer(session, "ack_events", subscriber, &got);
        let is_behind: bool = session.one(
            "SELECT r.read_to < greatest((SELECT max(l.id) FROM tasker_engine.transitions l), (SELECT max(e.id) FROM tasker_engine.events e))
             FROM tasker_engine.subscriber_reads r WHERE r.subscriber = $1",
            &[&subscriber],
        );
        if got.is_empty() && !is_behind {
            return all;
        }
        all.extend(got);
        assert!(began.elapsed() < patience(30), "it reads all");
    }
}

fn pay() -> Template {
    Template::new("pay").step("a", &[]).step("b", &["a"])
}

fn subscribe(session: &mut Session, arguments: &str) {
    session.query(&format!("SELECT tasker.subscribe({arguments})"), &[]);
}

/// The number of tasks that one call deletes.
fn purge(session: &mut Session, arguments: &str) -> i64 {
    session.one(
        &format!("SELECT tasks FROM tasker.purge_tasks({arguments})"),
        &[],
    )
}

fn ended(session: &mut Session, count: usize) -> Vec<Uuid> {
    let tasks = (0..count).map(|_| session.create("pay")).collect();
    session.work(|_| done());
    tasks
}

/// Purge waits for nothing that is there now.
fn wait_no_longer(session: &mut Session) {
    session.execute("SET tasker.max_subscriber_lag = '10ms'");
    std::thread::sleep(Duration::from_millis(20));
}

fn rows_of_the_log(session: &mut Session) -> i64 {
    session.count("SELECT count(*) FROM tasker_engine.transitions", &[])
}

/// `missed_events` and `missed_until`.
fn missed(session: &mut Session, subscriber: &str) -> (i64, Option<String>) {
    let row = &session.query(
        "SELECT missed_events::bigint, tasker_engine.iso_time(missed_until) FROM tasker.subscribers WHERE subscriber = $1",
        &[&subscriber],
    )[0];
    (row.get(0), row.get(1))
}

fn names(got: &[Got]) -> Vec<&str> {
    got.iter().map(|event| &*event.name).collect()
}

/// A database with a completed task.
fn prepared() -> (Database, Session) {
    let (database, mut session, _) = started(&pay());
    session.execute(
        "CREATE FUNCTION tasker_engine.iso_time(timestamptz) RETURNS text LANGUAGE sql
         RETURN to_char($1 AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
    );
    session.work(|_| done());
    (database, session)
}

#[test]
fn purge_waits_for_subscribers_that_have_not_read_also_for_paused_ones() {
    let (_database, mut session) = prepared();
    subscribe(&mut session, "'quick', start_at => 'beginning'");
    subscribe(&mut session, "'slow', start_at => 'beginning'");
    session.query("SELECT tasker.pause_subscriber('slow')", &[]);
    drain(&mut session, "quick");
    assert_eq!(purge(&mut session, "'0', dry_run => true"), 0);
    assert_eq!(purge(&mut session, "'0'"), 0);
    session.query(
        "SELECT tasker.set_retention('default', '1 microsecond')",
        &[],
    );
    let kept: i64 = session.one(
        "SELECT coalesce(sum(done), 0)::bigint FROM tasker.run_maintenance() WHERE duty = 'retention'",
        &[],
    );
    assert_eq!(kept, 0, "the duty waits, too");
    session.query("SELECT tasker.resume_subscriber('slow')", &[]);
    let got = drain(&mut session, "slow");
    assert!(!names(&got).contains(&"stream.gap"));
    assert_eq!(purge(&mut session, "'0'"), 1);
    assert_eq!(missed(&mut session, "slow"), (0, None));
}

#[test]
fn a_task_with_one_unread_row_waits_and_those_before_it_go() {
    let (_database, mut session) = prepared();
    subscribe(&mut session, "'audit', start_at => 'beginning'");
    drain(&mut session, "audit");
    ended(&mut session, 1);
    assert_eq!(purge(&mut session, "'0'"), 1, "the one that was read");
    assert_eq!(purge(&mut session, "'0'"), 0);
    // Unread, and ended before by its times: the clock was set.
    session
        .execute("UPDATE tasker_engine.tasks SET completed_at = completed_at - interval '1 hour'");
    assert_eq!(purge(&mut session, "'0'"), 0);
    drain(&mut session, "audit");
    assert_eq!(purge(&mut session, "'0'"), 1);
}

#[test]
fn tasks_that_are_kept_forever_are_kept_next_to_a_subscriber_that_is_behind() {
    let (_database, mut session) = prepared();
    subscribe(&mut session, "'audit', start_at => 'beginning'");
    wait_no_longer(&mut session);
    session.query(
        "SELECT tasker.set_retention('default', failed => '1 microsecond')",
        &[],
    );
    session.query("SELECT * FROM tasker.run_maintenance()", &[]);
    assert_eq!(session.count("SELECT count(*) FROM tasker.tasks", &[]), 1);
    session.query(
        "SELECT tasker.set_retention('default', completed => '1 microsecond')",
        &[],
    );
    session.query("SELECT * FROM tasker.run_maintenance()", &[]);
    assert_eq!(session.count("SELECT count(*) FROM tasker.tasks", &[]), 0);
}

#[test]
fn after_max_subscriber_lag_purge_goes_on_and_the_next_poll_begins_with_a_gap() {
    let (_database, mut session) = prepared();
    session.execute("SELECT tasker.purge_tasks('0')");
    subscribe(
        &mut session,
        "'audit', '{step.completed}', start_at => 'beginning'",
    );
    subscribe(&mut session, "'other', start_at => 'beginning'");
    ended(&mut session, 3);
    drain(&mut session, "other");
    let rows = rows_of_the_log(&mut session);
    let (first, last): (String, String) = {
        let row = &session.query(
            "SELECT tasker_engine.iso_time(min(created_at)), tasker_engine.iso_time(max(created_at)) FROM tasker_engine.transitions",
            &[],
        )[0];
        (row.get(0), row.get(1))
    };
    assert_eq!(purge(&mut session, "'0'"), 0);
    wait_no_longer(&mut session);
    for _ in 0..3 {
        assert_eq!(purge(&mut session, "'0', batch => 1"), 1);
    }
    assert_eq!(missed(&mut session, "audit"), (rows, Some(last.clone())));
    assert_eq!(missed(&mut session, "other"), (0, None));
    let task = ended(&mut session, 1)[0];
    // One gap for all batches, whatever the subscriber wants, and before what is left.
    let got = poll(&mut session, "audit", 100, "1 second");
    assert_eq!(
        names(&got),
        ["stream.gap", "step.completed", "step.completed"]
    );
    assert_eq!(
        got[0].payload,
        json!({"from": first, "to": last, "events": rows})
    );
    assert!(got[1..].iter().all(|event| event.task == Some(task)));
    assert!(!names(&drain(&mut session, "other")).contains(&"stream.gap"));
    let of_readers = "SELECT count(*) FROM tasker.read_events() WHERE name = 'stream.gap'";
    assert_eq!(session.count(of_readers, &[]), 0);
    // It comes again like others, and reads the same.
    std::thread::sleep(Duration::from_millis(1100));
    let again = poll(&mut session, "audit", 1, "1 minute");
    assert_eq!(
        again,
        [Got {
            delivery: 2,
            ..got[0].clone()
        }]
    );
    assert_eq!(answer(&mut session, "ack_events", "audit", &again), 1);
    assert!(!names(&drain(&mut session, "audit")).contains(&"stream.gap"));
    assert_eq!(missed(&mut session, "audit"), (rows, Some(last)));
    session.execute("SELECT tasker_engine.duty_events()");
    assert_eq!(
        session.count("SELECT count(*) FROM tasker_engine.event_gaps", &[]),
        0
    );
}

#[test]
fn a_gap_that_was_handed_out_grows_no_more() {
    let (_database, mut session) = prepared();
    session.execute("SELECT tasker.purge_tasks('0')");
    subscribe(&mut session, "'audit', start_at => 'beginning'");
    ended(&mut session, 2);
    let rows = rows_of_the_log(&mut session);
    wait_no_longer(&mut session);
    purge(&mut session, "'0', batch => 1");
    let first = poll(&mut session, "audit", 1, "1 minute");
    purge(&mut session, "'0', batch => 1");
    session.execute("SELECT tasker_engine.duty_events()");
    let second = poll(&mut session, "audit", 1, "1 minute");
    assert_eq!(
        (names(&first), names(&second)),
        (vec!["stream.gap"], vec!["stream.gap"])
    );
    assert_ne!(first[0].id, second[0].id);
    let events = |got: &[Got]| got[0].payload["events"].as_i64().unwrap();
    assert_eq!(events(&first) + events(&second), rows);
    // As a dead letter, too.
    session.execute("SELECT tasker.subscribe('audit', max_deliveries => 1)");
    answer(&mut session, "nack_events", "audit", &first);
    let dead: Value = session.one("SELECT payload FROM tasker.event_dead_letters", &[]);
    assert_eq!(dead, first[0].payload);
}

#[test]
fn a_purge_next_to_a_poll_that_takes_the_gap_waits_for_nothing() {
    let (database, mut session) = prepared();
    let mut other = database.connect();
    session.execute("SELECT tasker.purge_tasks('0')");
    subscribe(&mut session, "'audit', start_at => 'beginning'");
    ended(&mut session, 2);
    let rows = rows_of_the_log(&mut session);
    wait_no_longer(&mut session);
    purge(&mut session, "'0', batch => 1");
    other.execute("BEGIN");
    let first = poll(&mut other, "audit", 1, "1 minute");
    session.execute("SET lock_timeout = '1s'");
    assert_eq!(purge(&mut session, "'0', batch => 1"), 1);
    other.execute("COMMIT");
    let second = poll(&mut session, "audit", 1, "1 minute");
    let told: i64 = [first, second]
        .iter()
        .map(|got| got[0].payload["events"].as_i64().unwrap())
        .sum();
    assert_eq!(told, rows);
}

#[test]
fn events_in_flight_whose_task_is_purged_are_told_instead_of_coming_again() {
    let (_database, mut session) = prepared();
    subscribe(
        &mut session,
        "'audit', '{task.*, step.*}', start_at => 'beginning'",
    );
    let got = poll(&mut session, "audit", 3, "1 hour");
    drain(&mut session, "audit");
    assert_eq!(purge(&mut session, "'0'"), 1);
    let ids: Vec<i64> = got.iter().map(|event| event.id).collect();
    let failed: i32 = session.one("SELECT tasker.nack_events('audit', $1, '0')", &[&ids]);
    assert_eq!(failed, 3);
    assert!(poll(&mut session, "audit", 100, "1 minute").is_empty());
    let gap = poll(&mut session, "audit", 100, "1 minute");
    assert_eq!(names(&gap), ["stream.gap"]);
    assert_eq!(gap[0].payload["events"], json!(got.len()));
    assert_eq!(missed(&mut session, "audit").0, got.len() as i64);
}

#[test]
fn a_slot_of_published_events_that_is_emptied_is_told_to_those_that_have_not_read_it() {
    let (_database, mut session) = prepared();
    subscribe(&mut session, "'audit', start_at => 'now'");
    subscribe(&mut session, "'other', start_at => 'now'");
    drain(&mut session, "audit");
    drain(&mut session, "other");
    session.query(
        "SELECT tasker.publish_event('order.paid') FROM generate_series(1, 5)",
        &[],
    );
    assert_eq!(drain(&mut session, "other").len(), 5);
    session.execute("SET tasker.event_retention = '1ms'; SELECT pg_sleep(0.01)");
    session.execute("SELECT tasker_engine.duty_events()");
    session.execute("SELECT tasker_engine.duty_events()");
    assert_eq!(
        session.count("SELECT count(*) FROM tasker_engine.events", &[]),
        0
    );
    let got = drain(&mut session, "audit");
    assert_eq!(names(&got), ["stream.gap"]);
    assert_eq!(got[0].payload["events"], json!(5));
    assert!(drain(&mut session, "other").is_empty());
}

#[test]
fn a_subscriber_that_has_read_all_holds_nothing_once_a_transaction_that_ran_has_ended() {
    let (database, mut session) = prepared();
    let mut other = database.connect();
    other.execute("BEGIN; SELECT pg_current_xact_id()");
    ended(&mut session, 1);
    subscribe(&mut session, "'audit', start_at => 'beginning'");
    assert!(!poll(&mut session, "audit", 1000, "1 minute").is_empty());
    assert!(poll(&mut session, "audit", 10, "1 minute").is_empty());
    assert_eq!(purge(&mut session, "'0'"), 0);
    other.execute("ROLLBACK");
    assert!(drain(&mut session, "audit").is_empty());
    assert_eq!(purge(&mut session, "'0'"), 2);
}

#[test]
fn health_warns_when_a_subscriber_is_behind_by_80_percent_of_max_subscriber_lag() {
    let (_database, mut session) = prepared();
    let measure = |session: &mut Session| -> String {
        session.one(
            "SELECT concat_ws(' ', level, alert, round(measured)) FROM tasker.health_status() WHERE measure = 'subscribers'",
            &[],
        )
    };
    assert_eq!(measure(&mut session), "healthy f 0");
    session.execute("SELECT tasker.purge_tasks('0')");
    subscribe(&mut session, "'audit', start_at => 'beginning'");
    session.query("SELECT tasker.pause_subscriber('audit')", &[]);
    let task = ended(&mut session, 1)[0];
    inside::age(&mut session, task, 5 * 24 * 60);
    assert_eq!(measure(&mut session), "healthy f 71");
    inside::age(&mut session, task, 24 * 60);
    assert_eq!(measure(&mut session), "degraded t 86");
    let message: String = session.one(
        "SELECT message FROM tasker.health_status() WHERE measure = 'subscribers'",
        &[],
    );
    assert!(message.contains("audit"), "{message}");
    session.query("SELECT tasker.resume_subscriber('audit')", &[]);
    drain(&mut session, "audit");
    assert_eq!(measure(&mut session), "healthy f 0");
}

#[test]
fn what_is_in_flight_is_handed_out_again_when_ordered_changes() {
    let (_database, mut session) = prepared();
    subscribe(
        &mut session,
        "'audit', '{task.*, step.*, workflow.*}', start_at => 'beginning', max_deliveries => 1",
    );
    let got = poll(&mut session, "audit", 4, "1 hour");
    answer(&mut session, "ack_events", "audit", &got[..1]);
    subscribe(&mut session, "'audit', ordered => true");
    // The same, with their task: what is behind them waits.
    let again = poll(&mut session, "audit", 100, "1 hour");
    assert_eq!(again, got[1..]);
    assert!(poll(&mut session, "audit", 100, "1 hour").is_empty());
    assert_eq!(answer(&mut session, "ack_events", "audit", &again), 3);
    let rest = poll(&mut session, "audit", 3, "1 hour");
    assert_eq!(rest.len(), 3);
    // And back: nothing waits for another.
    subscribe(&mut session, "'audit', ordered => false");
    let again = poll(&mut session, "audit", 100, "1 hour");
    assert!(again.len() > 3 && rest.iter().all(|event| again.contains(event)));
    let dead: i64 = session.count("SELECT dead FROM tasker.subscribers", &[]);
    assert_eq!(dead, 0, "a delivery that is taken away does not count");
}

#[test]
fn what_a_purge_or_an_answer_writes_for_a_subscriber_that_is_removed_meanwhile_goes_with_the_next_round()
 {
    let (database, mut session) = prepared();
    for subscriber in ["gone", "stays"] {
        subscribe(
            &mut session,
            &format!("'{subscriber}', '{{task.*, step.*}}', start_at => 'beginning'"),
        );
    }
    let held = poll(&mut session, "gone", 1, "1 hour");
    assert_eq!(answer(&mut session, "nack_events", "gone", &held), 1);
    wait_no_longer(&mut session);
    let mut other = database.connect();
    session.execute("BEGIN");
    assert_eq!(purge(&mut session, "'0'"), 1);
    other.execute("SET lock_timeout = '5s'; SELECT tasker.unsubscribe('gone')");
    session.execute("COMMIT");
    let rows = |session: &mut Session, of: &str| -> Vec<i64> {
        ["redeliveries", "delivery_counts", "event_gaps"]
            .map(|table| {
                session.count(
                    &format!(
                        "SELECT count(*) FROM tasker_engine.{table} t WHERE {of}
                         EXISTS (SELECT FROM tasker_engine.subscribers s WHERE s.subscriber_id = t.subscriber_id)"
                    ),
                    &[],
                )
            })
            .to_vec()
    };
    assert_eq!(rows(&mut session, "NOT"), [1, 1, 1], "the purge wrote them");
    session.execute("SELECT tasker_engine.duty_events()");
    assert_eq!(rows(&mut session, "NOT"), [0, 0, 0]);
    assert_eq!(rows(&mut session, ""), [1, 1, 1]);
    assert_eq!(names(&drain(&mut session, "stays")), ["stream.gap"]);
}

#[test]
fn a_gap_that_is_not_acknowledged_outlives_a_seek() {
    let (_database, mut session) = prepared();
    let seek = |session: &mut Session, place: &str| {
        session.query("SELECT tasker.seek_subscriber('audit', $1)", &[&place]);
        session.execute("SELECT tasker_engine.duty_events()");
    };
    subscribe(
        &mut session,
        "'audit', '{task.*, step.*}', start_at => 'beginning'",
    );
    wait_no_longer(&mut session);
    purge(&mut session, "'0'");
    ended(&mut session, 1);
    seek(&mut session, "now");
    let gap = poll(&mut session, "audit", 10, "1 second");
    assert_eq!(names(&gap), ["stream.gap"]);
    // One that a consumer has comes again when its lease ends, and is answered as before.
    seek(&mut session, "beginning");
    let rest = poll(&mut session, "audit", 1000, "1 minute");
    assert!(rest.len() > 5 && !names(&rest).contains(&"stream.gap"));
    std::thread::sleep(Duration::from_millis(1100));
    let again = poll(&mut session, "audit", 1000, "1 minute");
    assert_eq!(
        again,
        [Got {
            delivery: 2,
            ..gap[0].clone()
        }]
    );
    assert_eq!(answer(&mut session, "ack_events", "audit", &again), 1);
    seek(&mut session, "beginning");
    assert!(!names(&drain(&mut session, "audit")).contains(&"stream.gap"));
}
