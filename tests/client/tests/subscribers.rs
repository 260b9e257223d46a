//! Subscribers: each event is handed out until it is acknowledged, and no consumer waits for another.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tasker_client_tests::{Act, Database, Session, Template, Uuid, Value, json, patience, started};

/// An event as a consumer gets it.
#[derive(Debug, Clone, PartialEq)]
struct Got {
    id: i64,
    name: String,
    task: Uuid,
    payload: String,
    delivery: i32,
}

fn poll_for(session: &mut Session, subscriber: &str, most: i32, lease: &str) -> Vec<Got> {
    let rows = session.query(
        "SELECT event_id, name, task_uuid, payload::text, delivery FROM tasker.poll_events($1, $2, $3::text::interval)",
        &[&subscriber, &most, &lease],
    );
    rows.iter()
        .map(|row| Got {
            id: row.get(0),
            name: row.get(1),
            // Of a fact: none.
            task: row.get::<_, Option<Uuid>>(2).unwrap_or_default(),
            payload: row.get(3),
            delivery: row.get(4),
        })
        .collect()
}

fn poll(session: &mut Session, subscriber: &str, most: i32) -> Vec<Got> {
    poll_for(session, subscriber, most, "1 minute")
}

fn ids(got: &[Got]) -> Vec<i64> {
    got.iter().map(|event| event.id).collect()
}

fn ack(session: &mut Session, subscriber: &str, got: &[Got]) -> i32 {
    session.one(
        "SELECT tasker.ack_events($1, $2)",
        &[&subscriber, &ids(got)],
    )
}

fn nack(session: &mut Session, subscriber: &str, got: &[Got], retry_after: &str) -> i32 {
    session.one(
        "SELECT tasker.nack_events($1, $2, $3::text::interval, 'no')",
        &[&subscriber, &ids(got), &retry_after],
    )
}

fn subscribe(session: &mut Session, arguments: &str) -> i64 {
    session.one(&format!("SELECT tasker.subscribe({arguments})"), &[])
}

fn pay() -> Template {
    Template::new("pay").step("a", &[]).step("b", &["a"])
}

/// Everything that a subscriber gets, acknowledged.
fn drain(session: &mut Session, subscriber: &str) -> Vec<Got> {
    let mut all = vec![];
    loop {
        let got = poll(session, subscriber, 1000);
        if got.is_empty() {
            return all;
        }
        ack(session, subscriber, &got);
        all.extend(got);
    }
}

fn all_events(session: &mut Session) -> BTreeSet<i64> {
    let ids: Vec<i64> = session.all(
        "SELECT event_id FROM tasker.read_events(max_events => 10000) WHERE event_id IS NOT NULL",
        &[],
    );
    ids.into_iter().collect()
}

fn one(session: &mut Session, subscriber: &str, column: &str) -> i64 {
    session.one(
        &format!("SELECT {column}::bigint FROM tasker.subscribers WHERE subscriber = $1"),
        &[&subscriber],
    )
}

fn wait_a_second() {
    std::thread::sleep(Duration::from_millis(1100));
}

#[test]
fn a_new_subscriber_gets_what_commits_after_it_and_each_event_once() {
    let (_database, mut session, before) = started(&pay());
    subscribe(&mut session, "'audit', '{task.*, step.completed}'");
    let task = session.create("pay");
    session.work(|_| Act::Complete(json!({})));
    let got = drain(&mut session, "audit");
    let of_new = |event: &&Got| event.task == task;
    assert!(got.iter().filter(of_new).count() >= 5);
    // The old task was created before, and goes on after.
    let old: Vec<&str> = got
        .iter()
        .filter(|event| event.task == before)
        .map(|event| &*event.name)
        .collect();
    assert!(!old.contains(&"task.initialize_requested"), "{old:?}");
    assert!(old.contains(&"task.completed"));
    assert_eq!(
        ids(&got).into_iter().collect::<BTreeSet<_>>().len(),
        got.len()
    );
    assert!(poll(&mut session, "audit", 10).is_empty());
}

#[test]
fn start_at_says_where_a_subscriber_begins() {
    let (_database, mut session, _) = started(&pay());
    let here: String = session.one(
        "SELECT position FROM tasker.read_events() ORDER BY event_id DESC LIMIT 1",
        &[],
    );
    std::thread::sleep(Duration::from_millis(20));
    let then: String = session.one("SELECT clock_timestamp()::text", &[]);
    session.work(|_| Act::Complete(json!({})));
    let all = all_events(&mut session).len();
    let first = 4;
    subscribe(&mut session, "'all', start_at => 'beginning'");
    subscribe(&mut session, &format!("'later', start_at => '{then}'"));
    subscribe(&mut session, &format!("'behind', start_at => '{here}'"));
    subscribe(&mut session, "'now', start_at => 'now'");
    let counts: Vec<usize> = ["all", "later", "behind", "now"]
        .iter()
        .map(|name| drain(&mut session, name).len())
        .collect();
    let before = counts[0] - counts[1];
    // That each of the four was made is an event, too, which comes after all of these places.
    assert_eq!(counts, [all + 4, all - before + 4, all - before + 4, 1]);
    // Without the fact that the template was registered.
    let created = before - 1;
    assert!(created > 0 && created < first, "{counts:?}");
    for name in ["all", "later", "behind", "now"] {
        let others = poll(&mut session, name, 10);
        assert!(others.is_empty(), "{name}: {others:?}");
    }
    session.create("pay");
    for name in ["all", "later", "behind", "now"] {
        assert_eq!(drain(&mut session, name).len(), created, "{name}");
    }
}

#[test]
fn a_transaction_that_was_open_when_a_subscriber_began_comes_to_it() {
    let (database, mut session, _) = started(&pay());
    let mut open = database.connect();
    open.execute("BEGIN");
    let task = open.create("pay");
    session.create_many("pay", 20);
    subscribe(&mut session, "'audit', '{task.initialize_requested}'");
    session.create_many("pay", 3);
    assert_eq!(drain(&mut session, "audit").len(), 3);
    // A second one begins where the first is.
    subscribe(&mut session, "'second', '{task.initialize_requested}'");
    open.execute("COMMIT");
    for name in ["audit", "second"] {
        let got = drain(&mut session, name);
        let tasks: Vec<Uuid> = got.iter().map(|event| event.task).collect();
        assert_eq!(tasks, [task], "{name}");
    }
}

#[test]
fn null_keeps_a_setting_and_the_place() {
    let (_database, mut session, _) = started(&pay());
    session.execute(
        "CREATE FUNCTION public.take(events jsonb) RETURNS void LANGUAGE sql AS $$ SELECT $$",
    );
    // None of them is the default.
    let id = subscribe(
        &mut session,
        "'audit', '{step.*}', 'beginning', 'sql:public.take', '{default}', '{\"step_name\": \"a\"}', 0.999, 2, true, true, 7, 3",
    );
    session.work(|_| Act::Complete(json!({})));
    assert!(!drain(&mut session, "audit").is_empty());
    session.query("SELECT tasker.pause_subscriber('audit')", &[]);
    let settings = |session: &mut Session| -> String {
        session.one(
            "SELECT (to_jsonb(s) - '{updated_at,lag_events,lag_seconds}'::text[])::text FROM tasker.subscribers s",
            &[],
        )
    };
    let before = settings(&mut session);
    let as_given: bool = session.one(
        "SELECT patterns = '{step.*}' AND namespaces = '{default}' AND filter = '{\"step_name\": \"a\"}' AND sample_rate = 0.999
                AND max_deliveries = 2 AND ordered AND include_data AND max_in_flight = 7 AND batch_size = 3 AND paused
                AND handler = 'sql:public.take'
         FROM tasker.subscribers",
        &[],
    );
    assert!(as_given, "{before}");
    assert_eq!(subscribe(&mut session, "'audit'"), id);
    assert_eq!(settings(&mut session), before);
    session.query("SELECT tasker.resume_subscriber('audit')", &[]);
    assert!(poll(&mut session, "audit", 10).is_empty());
    subscribe(
        &mut session,
        "'audit', namespaces => '{}', filter => '{}', max_in_flight => 0, handler => ''",
    );
    let row = session.query(
        "SELECT num_nulls(namespaces, filter, max_in_flight, handler) FROM tasker.subscribers",
        &[],
    );
    assert_eq!(row[0].get::<_, i32>(0), 4);
}

#[test]
fn patterns_namespaces_filter_and_sample_choose_events() {
    let database = Database::new();
    let mut session = database.connect();
    pay().register(&mut session);
    Template::new("other")
        .with("namespace_name", json!("shop"))
        .step("a", &[])
        .register(&mut session);
    session.create_many("pay", 40);
    session.one::<Uuid>(
        "SELECT tasker.create_task('other', namespace => 'shop')",
        &[],
    );
    session.work(|_| Act::Complete(json!({})));
    session.work_in("shop", |_| Act::Complete(json!({})));
    for (name, rest) in [
        ("done", "patterns => '{*.completed}'"),
        ("shop", "namespaces => '{shop}'"),
        (
            "b",
            "filter => '{\"step_name\": \"b\", \"attempt_number\": 1.0}'",
        ),
        ("half", "sample_rate => 0.5"),
    ] {
        subscribe(
            &mut session,
            &format!("'{name}', start_at => 'beginning', {rest}"),
        );
    }
    let done = drain(&mut session, "done");
    assert_eq!(done.len(), 40 * 3 + 2);
    let shop = drain(&mut session, "shop");
    let of_tasks = |got: &[Got]| -> BTreeSet<Uuid> {
        let tasks = got.iter().map(|event| event.task);
        tasks.filter(|task| !task.is_nil()).collect()
    };
    let tasks = of_tasks(&shop);
    assert!(tasks.len() == 1 && shop.len() > 5);
    let filtered: Vec<i64> = ids(&drain(&mut session, "b"));
    let expected: Vec<i64> = session.all(
        "SELECT event_id FROM tasker.read_events(max_events => 10000) WHERE payload @> '{\"step_name\": \"b\", \"attempt_number\": 1.0}'",
        &[],
    );
    assert!(!expected.is_empty());
    assert_eq!(filtered, expected);
    // A task comes whole, or not at all.
    let half = drain(&mut session, "half");
    let sampled = of_tasks(&half);
    assert!((5..36).contains(&sampled.len()), "{}", sampled.len());
    let of_sampled: Vec<Uuid> = session.all(
        "SELECT task_uuid FROM tasker.read_events(max_events => 10000) WHERE task_uuid IS NOT NULL",
        &[],
    );
    let whole = of_sampled.iter().filter(|task| sampled.contains(task));
    // A fact about no task is in every sample.
    let facts = half.iter().filter(|event| event.task.is_nil()).count();
    assert_eq!(half.len(), facts + whole.count());
}

#[test]
fn a_poll_remembers_how_far_it_came_although_nothing_matched() {
    let (_database, mut session, _) = started(&pay());
    session.execute("SET tasker.max_scan_events = 1000");
    session.create_many("pay", 2500);
    subscribe(
        &mut session,
        "'none', '{task.initialize_requested}', 'beginning', filter => '{\"task_name\": \"no\"}'",
    );
    let mut reached = vec![];
    for _ in 0..2 {
        assert!(poll(&mut session, "none", 10).is_empty());
        reached.push(one(&mut session, "none", "lag_events"));
    }
    assert!(
        reached[0] >= 1400 && reached[1] <= reached[0] - 1000,
        "{reached:?}"
    );
}

#[test]
fn rows_that_give_no_wanted_event_count_a_tenth_of_what_a_poll_may_look_at() {
    let (_database, mut session, _) = started(&pay());
    session.execute("SET tasker.max_scan_events = 1000");
    session.create_many("pay", 2500);
    subscribe(&mut session, "'none', '{task.completed}', 'beginning'");
    assert!(poll(&mut session, "none", 10).is_empty());
    assert_eq!(one(&mut session, "none", "lag_events"), 0);
}

/// Buffers that an acknowledgement of these events touches.
fn ack_buffers(session: &mut Session, subscriber: &str, got: &[Got]) -> i64 {
    let plan: Value = session.one(
        &format!(
            "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) SELECT tasker.ack_events('{subscriber}', ARRAY{:?})",
            ids(got)
        ),
        &[],
    );
    plan[0]["Plan"]["Shared Hit Blocks"]
        .as_i64()
        .expect("blocks")
}

#[test]
fn an_event_that_the_encoding_of_the_client_cannot_carry_stops_no_other() {
    for ordered in [false, true] {
        let (database, mut session, task) = started(&pay());
        let settings =
            format!("'audit', '{{orders.*}}', max_deliveries => 2, ordered => {ordered}");
        subscribe(&mut session, &settings);
        let publish = |session: &mut Session, payload: &str, task: Option<Uuid>| -> i64 {
            session.one(
                "SELECT tasker.publish_event('orders.a', $1::text::jsonb, $2)",
                &[&payload, &task],
            )
        };
        let first = publish(&mut session, r#"{"n": 1}"#, Some(task));
        let lost = publish(&mut session, r#"{"n": "\u0416"}"#, Some(task));
        let behind = publish(&mut session, r#"{"n": 3}"#, Some(task));
        let last = publish(&mut session, r#"{"n": "é"}"#, None);
        let mut latin = database.connect();
        latin.execute("SET client_encoding = 'LATIN1'");
        let numbers = |session: &mut Session| -> Vec<i64> {
            session.all(
                "SELECT event_id FROM tasker.poll_events('audit', 10) ORDER BY 1",
                &[],
            )
        };
        let wanted = if ordered {
            vec![first, last]
        } else {
            vec![first, behind, last]
        };
        assert_eq!(numbers(&mut latin), wanted, "ordered {ordered}");
        session.query("SELECT tasker.ack_events('audit', $1)", &[&wanted]);
        let error: String = session.one("SELECT last_error FROM tasker.subscribers", &[]);
        assert!(error.contains("client_encoding"), "{error}");
        // A client that can have it gets it when it comes again.
        let rest = if ordered {
            vec![lost, behind]
        } else {
            vec![lost]
        };
        let mut got = vec![];
        let began = std::time::Instant::now();
        while got.len() < rest.len() && began.elapsed() < patience(20) {
            let again = numbers(&mut session);
            session.query("SELECT tasker.ack_events('audit', $1)", &[&again]);
            got.extend(again);
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert_eq!(got, rest, "ordered {ordered}");
    }
}

#[test]
fn extending_a_lease_waits_for_no_lock() {
    let (database, mut session, _) = started(&pay());
    session.create_many("pay", 3);
    subscribe(
        &mut session,
        "'audit', start_at => 'beginning', max_deliveries => 9",
    );
    let (first, second) = (
        poll(&mut session, "audit", 2),
        poll(&mut session, "audit", 1),
    );
    let failed = poll(&mut session, "audit", 2);
    nack(&mut session, "audit", &failed, "0");
    let again = poll(&mut session, "audit", 2);
    assert_eq!(ids(&again), ids(&failed));
    // Another session answers an event of the first poll, and one that has come again.
    let mut other = database.connect();
    other.execute("BEGIN");
    ack(&mut other, "audit", &first[..1]);
    ack(&mut other, "audit", &again[..1]);
    session.execute("SET lock_timeout = '1s'");
    let held = [ids(&first), ids(&second), ids(&again)].concat();
    let extend = "SELECT tasker.extend_events('audit', $1, '1 minute')";
    let extended: i32 = session.one(extend, &[&held]);
    assert_eq!(extended, 2);
    other.execute("ROLLBACK");
    let extended: i32 = session.one(extend, &[&held]);
    assert_eq!(extended, 5);
}

#[test]
fn an_acknowledgement_costs_the_same_while_an_open_transaction_keeps_all_that_is_gone() {
    for fails in [false, true] {
        let (database, mut session, _) = started(&pay());
        subscribe(&mut session, "'busy', start_at => 'beginning'");
        session.create_many("pay", 400);
        let mut open = database.connect();
        open.execute("BEGIN ISOLATION LEVEL REPEATABLE READ");
        open.query("SELECT pg_current_xact_id()", &[]);
        let next = |session: &mut Session| {
            let got = poll(session, "busy", 1);
            if !fails {
                return got;
            }
            nack(session, "busy", &got, "0");
            poll(session, "busy", 1)
        };
        let cost = |session: &mut Session, times: usize| {
            let each = (0..times).map(|_| {
                let got = next(session);
                ack_buffers(session, "busy", &got)
            });
            each.last().expect("one")
        };
        let before = cost(&mut session, 20);
        for _ in 0..400 {
            let got = next(&mut session);
            ack(&mut session, "busy", &got);
        }
        // As autovacuum does: the tables look empty.
        session.execute("ANALYZE tasker_engine.deliveries, tasker_engine.redeliveries");
        let after = cost(&mut session, 5);
        assert!(
            after <= before + 20,
            "fails {fails}: {before} buffers, then {after}"
        );
    }
}

#[test]
fn a_consumer_that_waits_writes_nothing_and_its_place_moves_once_a_second() {
    let (database, mut session, _) = started(&pay());
    let mut other = database.connect();
    subscribe(&mut session, "'waits', '{task.completed,app.*}'");
    drain(&mut session, "waits");
    let place = "SELECT max(p.place_no) FROM tasker_engine.subscriber_places p";
    // Polls whatever is new, and says whether the transaction has written.
    let mut idle = |session: &mut Session| {
        other.create("pay");
        session.execute("BEGIN");
        assert!(poll(session, "waits", 10).is_empty());
        let wrote = session.one("SELECT pg_current_xact_id_if_assigned() IS NOT NULL", &[]);
        session.execute("COMMIT");
        wrote
    };
    idle(&mut session);
    let wrote: Vec<bool> = (0..20).map(|_| idle(&mut session)).collect();
    let times = wrote.iter().filter(|wrote| **wrote).count();
    assert!(times <= 2, "20 polls, of which {times} wrote");
    let before: i64 = session.one(place, &[]);
    wait_a_second();
    assert!(idle(&mut session));
    assert_eq!(session.one::<i64>(place, &[]), before + 1);
    assert_eq!(one(&mut session, "waits", "lag_events"), 0);
}

#[test]
fn a_consumer_that_waits_gets_what_comes_what_failed_and_what_another_one_left() {
    let (database, mut session, _) = started(&pay());
    let mut other = database.connect();
    subscribe(&mut session, "'waits', '{app.*}'");
    let waits = |session: &mut Session| {
        for _ in 0..3 {
            assert!(poll(session, "waits", 10).is_empty());
        }
    };
    let publish = |session: &mut Session| {
        session.execute("SELECT tasker.publish_event('app.came')");
    };
    waits(&mut session);
    publish(&mut other);
    let got = poll(&mut session, "waits", 10);
    assert_eq!(got.len(), 1);
    nack(&mut session, "waits", &got, "1 second");
    waits(&mut session);
    wait_a_second();
    let again = poll(&mut session, "waits", 10);
    assert_eq!((ids(&again), again[0].delivery), (ids(&got), 2));
    ack(&mut session, "waits", &again);
    waits(&mut session);
    publish(&mut other);
    let left = poll_for(&mut other, "waits", 10, "1 second");
    assert_eq!(left.len(), 1);
    waits(&mut session);
    wait_a_second();
    assert_eq!(ids(&poll(&mut session, "waits", 10)), ids(&left));
    // The place of another one is behind this session's.
    session.execute("SELECT tasker.seek_subscriber('waits', 'beginning')");
    assert_eq!(poll(&mut session, "waits", 10).len(), 2);
}

#[test]
fn a_transaction_that_was_open_for_long_brings_its_events_in_one_poll_although_many_came_meanwhile()
{
    let (database, mut session, _) = started(&pay());
    session.execute("SET tasker.max_scan_events = 5000");
    subscribe(&mut session, "'late'");
    let mut slow = database.connect();
    let publish = |session: &mut Session, name: &str, task: Option<Uuid>| {
        session.query("SELECT tasker.publish_event($1, '{}', $2)", &[&name, &task]);
    };
    slow.execute("BEGIN");
    publish(&mut slow, "app.first", None);
    slow.create("pay");
    for _ in 0..2 {
        // Rows of both sources, each more than five polls look at.
        session.create_many("pay", 3000);
        session.execute("SELECT tasker.publish_events(array_fill('app.other'::text, ARRAY[6000]), array_fill('{}'::jsonb, ARRAY[6000]))");
        publish(&mut slow, "app.later", None);
    }
    drain(&mut session, "late");
    slow.execute("COMMIT");
    publish(&mut session, "app.last", None);
    let names: Vec<String> = poll(&mut session, "late", 100)
        .into_iter()
        .map(|event| event.name)
        .filter(|name| name.starts_with("app.") || name == "task.initialize_requested")
        .collect();
    assert_eq!(
        names,
        [
            "app.first",
            "task.initialize_requested",
            "app.later",
            "app.later",
            "app.last",
        ]
    );
}

#[test]
fn an_event_comes_again_when_its_lease_ends_and_reads_the_same() {
    let (_database, mut session, _) = started(&pay());
    subscribe(&mut session, "'audit', start_at => 'beginning'");
    session.work(|_| Act::Complete(json!({})));
    let first = poll_for(&mut session, "audit", 1000, "1 second");
    assert!(first.len() > 10);
    assert_eq!(ack(&mut session, "audit", &first[..2]), 2);
    assert_eq!(
        one(&mut session, "audit", "in_flight"),
        first.len() as i64 - 2
    );
    assert!(poll(&mut session, "audit", 1000).is_empty());
    wait_a_second();
    let mut again = poll(&mut session, "audit", 1000);
    again.sort_by_key(|event| event.id);
    let mut expected: Vec<Got> = first[2..]
        .iter()
        .map(|event| Got {
            delivery: 2,
            ..event.clone()
        })
        .collect();
    expected.sort_by_key(|event| event.id);
    assert_eq!(again, expected);
    assert_eq!(one(&mut session, "audit", "failed"), expected.len() as i64);
    assert_eq!(ack(&mut session, "audit", &again), again.len() as i32);
    assert_eq!(ack(&mut session, "audit", &again), 0);
    assert_eq!(one(&mut session, "audit", "in_flight + waiting"), 0);
}

#[test]
fn a_lease_that_is_extended_does_not_end() {
    let (database, mut session, _) = started(&pay());
    subscribe(&mut session, "'audit', start_at => 'beginning'");
    let got = poll_for(&mut session, "audit", 1000, "1 second");
    let kept: i32 = session.one(
        "SELECT tasker.extend_events('audit', $1::bigint[] || 99999999::bigint, '1 minute')",
        &[&ids(&got)],
    );
    assert_eq!(kept, got.len() as i32);
    wait_a_second();
    assert!(poll(&mut session, "audit", 10).is_empty());
    // The same for one that is handed out again.
    nack(&mut session, "audit", &got, "0");
    let got = poll_for(&mut session, "audit", 1000, "1 second");
    let kept: i32 = session.one(
        "SELECT tasker.extend_events('audit', $1, '1 minute')",
        &[&ids(&got)],
    );
    assert_eq!(kept, got.len() as i32);
    wait_a_second();
    assert!(poll(&mut session, "audit", 10).is_empty());
    // What another consumer has got since is not extended.
    nack(&mut session, "audit", &got, "0");
    let mut other = database.connect();
    assert_eq!(poll(&mut other, "audit", 1000).len(), got.len());
    let kept: i32 = session.one(
        "SELECT tasker.extend_events('audit', $1, '1 minute')",
        &[&ids(&got)],
    );
    assert_eq!(kept, 0);
}

#[test]
fn after_max_deliveries_an_event_is_a_dead_letter_until_it_is_driven_again() {
    let (_database, mut session, _) = started(&pay());
    subscribe(
        &mut session,
        "'audit', '{task.initialize_requested}', 'beginning', max_deliveries => 2",
    );
    let first = poll(&mut session, "audit", 10);
    assert_eq!(first.len(), 1);
    assert_eq!(nack(&mut session, "audit", &first, "0"), 1);
    let second = poll(&mut session, "audit", 10);
    assert_eq!((second.len(), second[0].delivery), (1, 2));
    assert_eq!(nack(&mut session, "audit", &second, "0"), 1);
    assert!(poll(&mut session, "audit", 10).is_empty());
    let letters = session.query(
        "SELECT event_id, name, deliveries, error, payload::text FROM tasker.event_dead_letters WHERE subscriber = 'audit'",
        &[],
    );
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].get::<_, i64>(0), first[0].id);
    assert_eq!(letters[0].get::<_, &str>(1), "task.initialize_requested");
    assert_eq!(letters[0].get::<_, i32>(2), 2);
    assert_eq!(letters[0].get::<_, &str>(3), "no");
    assert_eq!(letters[0].get::<_, &str>(4), first[0].payload);
    assert_eq!(one(&mut session, "audit", "dead"), 1);
    assert_eq!(
        session.count("SELECT tasker.redrive_events('audit', '{1}')", &[]),
        0
    );
    assert_eq!(
        session.count("SELECT tasker.redrive_events('audit')", &[]),
        1
    );
    let again = poll_for(&mut session, "audit", 10, "1 second");
    assert_eq!((again.len(), again[0].delivery), (1, 1));
    // A lease that ends counts as a delivery, too.
    wait_a_second();
    assert_eq!(poll_for(&mut session, "audit", 10, "1 second").len(), 1);
    wait_a_second();
    assert!(poll(&mut session, "audit", 10).is_empty());
    assert_eq!(one(&mut session, "audit", "dead"), 1);
    // A late acknowledgement counts even then.
    assert_eq!(ack(&mut session, "audit", &again), 1);
    assert_eq!(one(&mut session, "audit", "dead"), 0);
}

#[test]
fn a_nack_waits_as_long_as_it_says_or_as_the_backoff_says() {
    let (_database, mut session, _) = started(&pay());
    session.execute("SET tasker.default_backoff_seconds = '1'; SET tasker.jitter_enabled = off");
    subscribe(
        &mut session,
        "'audit', '{task.initialize_requested}', 'beginning'",
    );
    let got = poll(&mut session, "audit", 10);
    let failed: i32 = session.one("SELECT tasker.nack_events('audit', $1)", &[&ids(&got)]);
    assert_eq!(failed, 1);
    assert!(poll(&mut session, "audit", 10).is_empty());
    wait_a_second();
    let got = poll(&mut session, "audit", 10);
    assert_eq!(got.len(), 1);
    nack(&mut session, "audit", &got, "1 hour");
    wait_a_second();
    assert!(poll(&mut session, "audit", 10).is_empty());
    assert_eq!(one(&mut session, "audit", "waiting"), 1);
}

#[test]
fn late_answers_count_only_while_nothing_else_has_happened() {
    let (database, mut session, _) = started(&pay());
    subscribe(&mut session, "'audit', '{task.*}', 'beginning'");
    let mut other = database.connect();
    let first = poll_for(&mut session, "audit", 10, "1 second");
    wait_a_second();
    let second = poll(&mut other, "audit", 10);
    assert_eq!(ids(&second), ids(&first));
    // Another consumer has it: a late nack does nothing, a late acknowledgement counts.
    assert_eq!(nack(&mut session, "audit", &first, "0"), 0);
    assert!(poll(&mut session, "audit", 10).is_empty());
    assert_eq!(ack(&mut session, "audit", &first), first.len() as i32);
    assert_eq!(ack(&mut other, "audit", &second), 0);
    assert_eq!(nack(&mut other, "audit", &second, "0"), 0);
    assert!(poll(&mut session, "audit", 10).is_empty());
}

#[test]
fn a_poll_waits_for_no_open_transaction_of_another_consumer() {
    let (database, mut session, _) = started(&pay());
    subscribe(&mut session, "'audit', start_at => 'beginning'");
    session.work(|_| Act::Complete(json!({})));
    let failed = poll(&mut session, "audit", 3);
    nack(&mut session, "audit", &failed, "0");
    let mut open = database.connect();
    open.execute("BEGIN");
    assert!(!poll(&mut open, "audit", 5).is_empty());
    session.execute("SET lock_timeout = '1s'; SET statement_timeout = '20s'");
    let begun = Instant::now();
    let got = poll(&mut session, "audit", 100);
    assert!(begun.elapsed() < patience(1), "it waited");
    // The place is the other one's until it commits; so are the events that it has.
    assert!(got.is_empty(), "{got:?}");
    open.execute("COMMIT");
    let got = poll(&mut session, "audit", 100);
    assert!(got.len() > 5);
    // An acknowledgement waits for no poll, and a poll for no acknowledgement.
    open.execute("BEGIN");
    session.create("pay");
    assert!(!poll(&mut open, "audit", 5).is_empty());
    assert_eq!(ack(&mut session, "audit", &got), got.len() as i32);
    open.execute("ROLLBACK");
}

#[test]
fn what_failed_comes_while_another_transaction_holds_the_place() {
    let (database, mut session, _) = started(&pay());
    subscribe(&mut session, "'audit', start_at => 'beginning'");
    session.work(|_| Act::Complete(json!({})));
    let failed = poll(&mut session, "audit", 3);
    nack(&mut session, "audit", &failed, "2 seconds");
    let mut open = database.connect();
    open.execute("BEGIN");
    assert!(!poll(&mut open, "audit", 5).is_empty());
    std::thread::sleep(Duration::from_millis(2100));
    let got = poll(&mut session, "audit", 100);
    assert_eq!(ids(&got), ids(&failed));
}

#[test]
fn a_poll_that_is_rolled_back_hands_out_nothing() {
    let (_database, mut session, _) = started(&pay());
    subscribe(&mut session, "'audit', start_at => 'beginning'");
    session.execute("BEGIN");
    let first = poll(&mut session, "audit", 2);
    assert_eq!(ack(&mut session, "audit", &first[..1]), 1);
    session.execute("ROLLBACK");
    let again = poll(&mut session, "audit", 2);
    assert_eq!(again, first);
    session.execute("BEGIN; SAVEPOINT here");
    let next = poll(&mut session, "audit", 2);
    session.execute("ROLLBACK TO here");
    assert_eq!(poll(&mut session, "audit", 2), next);
    session.execute("COMMIT");
}

#[test]
fn a_poll_returns_nothing_of_its_own_transaction_and_does_not_lose_it() {
    let (database, mut session, _) = started(&pay());
    let mut other = database.connect();
    let tasks = |got: &[Got]| -> Vec<Uuid> { got.iter().map(|got| got.task).collect() };
    subscribe(&mut session, "'audit', '{task.initialize_requested}'");
    session.execute("BEGIN");
    let own = session.create("pay");
    assert!(poll(&mut session, "audit", 10).is_empty());
    // Once a later transaction has ended, no list of a snapshot says that the own one runs.
    let late = other.create("pay");
    let got = poll(&mut session, "audit", 10);
    assert_eq!(tasks(&got), [late]);
    ack(&mut session, "audit", &got);
    let second = session.create("pay");
    assert!(poll(&mut session, "audit", 10).is_empty());
    session.execute("COMMIT");
    assert_eq!(tasks(&drain(&mut session, "audit")), [own, second]);
}

#[test]
fn a_poll_works_under_repeatable_read_and_loses_nothing() {
    let (database, mut session, _) = started(&pay());
    subscribe(&mut session, "'audit', '{task.initialize_requested}'");
    let mut other = database.connect();
    session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ");
    session.query("SELECT count(*) FROM tasker.tasks", &[]);
    let late = other.create("pay");
    assert!(poll(&mut session, "audit", 10).is_empty());
    session.execute("COMMIT");
    let got = drain(&mut session, "audit");
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].task, late);
    // The same where the poll hands something out, so that its place moves.
    let early = other.create("pay");
    session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ");
    session.query("SELECT count(*) FROM tasker.tasks", &[]);
    let late = other.create("pay");
    let got = poll(&mut session, "audit", 10);
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].task, early);
    assert_eq!(ack(&mut session, "audit", &got), 1);
    session.execute("COMMIT");
    session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ");
    let got = poll(&mut session, "audit", 10);
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].task, late);
    assert_eq!(ack(&mut session, "audit", &got), 1);
    session.execute("COMMIT");
    assert!(poll(&mut session, "audit", 10).is_empty());
}

#[test]
fn effect_and_acknowledgement_in_one_transaction_happen_once() {
    let (database, mut session, _) = started(&pay());
    session.create_many("pay", 50);
    session.work(|_| Act::Complete(json!({})));
    subscribe(&mut session, "'audit', '{task.completed}', 'beginning'");
    session.execute("CREATE TABLE public.effects (task uuid)");
    let mut consumers: Vec<Session> = (0..4).map(|_| database.connect()).collect();
    for turn in 0.. {
        assert!(turn < 400, "it does not end");
        let consumer = &mut consumers[turn % 4];
        consumer.execute("BEGIN");
        consumer.execute(
            "WITH polled AS (SELECT * FROM tasker.poll_events('audit', 7, '1 second')),
                  done AS (INSERT INTO public.effects SELECT task_uuid FROM polled)
             SELECT tasker.ack_events('audit', array_agg(event_id)) FROM polled HAVING count(*) > 0",
        );
        consumer.execute(if turn % 3 == 1 { "ROLLBACK" } else { "COMMIT" });
        if session.count("SELECT count(*) FROM public.effects", &[]) >= 51 {
            break;
        }
    }
    assert_eq!(
        session.count("SELECT count(DISTINCT task) FROM public.effects", &[]),
        51
    );
    assert!(poll(&mut session, "audit", 10).is_empty());
    assert_eq!(
        session.count("SELECT count(*) FROM public.effects", &[]),
        51
    );
}

/// The events of each task in the order in which they were acknowledged.
fn consume(database: &Database, subscriber: &str, kills: usize) -> Vec<Vec<(Uuid, i64)>> {
    let consumer = |number: usize| {
        let mut session = database.connect();
        let (mut got, mut empty, mut turn) = (vec![], 0, 0);
        while empty < 25 {
            turn += 1;
            let polled = poll_for(&mut session, subscriber, 5 + number as i32, "1 second");
            if polled.is_empty() {
                empty += 1;
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
            empty = 0;
            // It dies between poll and acknowledgement, and another one takes its place.
            if number < kills && turn % 7 == 3 {
                session = database.connect();
                continue;
            }
            if number % 3 == 2 && turn % 5 == 2 {
                nack(&mut session, subscriber, &polled, "0");
                continue;
            }
            for event in &polled {
                let done: i32 = session.one(
                    "SELECT tasker.ack_events($1, ARRAY[$2::bigint])",
                    &[&subscriber, &event.id],
                );
                if done == 1 {
                    got.push((event.task, event.id));
                }
            }
        }
        got
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| scope.spawn(move || consumer(number)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a consumer ends"))
            .collect()
    })
}

#[test]
fn eight_consumers_of_which_some_die_acknowledge_each_event_once() {
    let (database, mut session, _) = started(&pay());
    subscribe(
        &mut session,
        "'audit', start_at => 'beginning', max_deliveries => 1000",
    );
    // Transactions that overlap, while the consumers poll.
    let write = |number: usize| {
        let mut session = database.connect();
        for round in 0..40 {
            session.execute("BEGIN");
            session.create("pay");
            std::thread::sleep(Duration::from_millis(fastrand::u64(10..50)));
            session.execute(if (round + number).is_multiple_of(7) {
                "ROLLBACK"
            } else {
                "COMMIT"
            });
        }
    };
    let got = std::thread::scope(|scope| {
        for number in 0..3 {
            scope.spawn(move || write(number));
        }
        consume(&database, "audit", 3)
    });
    let acknowledged: Vec<i64> = got.iter().flatten().map(|(_, id)| *id).collect();
    let distinct: BTreeSet<i64> = acknowledged.iter().copied().collect();
    assert_eq!(
        distinct.len(),
        acknowledged.len(),
        "an event was acknowledged twice"
    );
    assert_eq!(distinct, all_events(&mut session));
    assert!(got.iter().filter(|got| !got.is_empty()).count() > 4);
    assert_eq!(one(&mut session, "audit", "in_flight + waiting + dead"), 0);
}

#[test]
fn an_ordered_subscriber_gets_the_events_of_a_task_in_order_and_waits_for_no_other_task() {
    let (database, mut session, held) = started(&pay());
    subscribe(
        &mut session,
        "'audit', '{task.*,step.*,workflow.*}', start_at => 'beginning', ordered => true, max_deliveries => 5",
    );
    // One event of a task is in flight: its later events wait, those of others come.
    let first = poll(&mut session, "audit", 1);
    assert_eq!(first[0].task, held);
    session.create_many("pay", 3);
    session.work(|_| Act::Complete(json!({})));
    let mut other = database.connect();
    let others = poll(&mut other, "audit", 1000);
    assert!(others.len() > 30, "{others:?}");
    assert!(others.iter().all(|event| event.task != held));
    assert!(poll(&mut other, "audit", 1000).is_empty());
    ack(&mut session, "audit", &first);
    let rest = poll(&mut other, "audit", 1000);
    assert!(rest.len() > 10 && rest.iter().all(|event| event.task == held));
    let in_order: Vec<i64> = session.all(
        "SELECT event_id FROM tasker.read_events(patterns => '{task.*,step.*,workflow.*}') WHERE task_uuid = $1",
        &[&held],
    );
    assert_eq!(ids(&rest), in_order[1..]);
    // One fails: those behind it come only after it.
    assert_eq!(nack(&mut other, "audit", &rest[1..2], "1 second"), 1);
    ack(&mut other, "audit", &rest[..1]);
    assert!(poll(&mut session, "audit", 1000).is_empty());
    wait_a_second();
    let again = poll(&mut session, "audit", 1);
    assert_eq!(ids(&again), ids(&rest[1..2]));
    assert!(poll(&mut other, "audit", 1000).is_empty());
    // The same for what has come again: what is behind it goes back with it.
    nack(&mut session, "audit", &again, "0");
    wait_a_second();
    let again = poll(&mut session, "audit", 3);
    assert_eq!(ids(&again), ids(&rest[1..4]));
    assert_eq!(nack(&mut session, "audit", &again[..1], "1 second"), 1);
    assert!(poll(&mut other, "audit", 1000).is_empty());
    wait_a_second();
    let again = poll(&mut session, "audit", 1);
    assert_eq!(ids(&again), ids(&rest[1..2]));
    assert!(poll(&mut other, "audit", 1000).is_empty());
    // A dead one holds nothing back.
    nack(&mut session, "audit", &again, "0");
    let again = poll(&mut session, "audit", 1);
    assert_eq!(again[0].delivery, 5);
    nack(&mut session, "audit", &again, "0");
    let deadline = Instant::now() + patience(10);
    let mut last = vec![];
    while last.is_empty() && Instant::now() < deadline {
        last = poll(&mut other, "audit", 1000);
    }
    assert_eq!(ids(&last), ids(&rest[2..]));
}

#[test]
fn eight_consumers_of_an_ordered_subscriber_acknowledge_the_events_of_each_task_in_order() {
    let (database, mut session, _) = started(&pay());
    subscribe(
        &mut session,
        "'audit', start_at => 'beginning', ordered => true, max_deliveries => 1000",
    );
    session.execute("CREATE TABLE public.done (no serial, task uuid, event bigint)");
    session.create_many("pay", 30);
    session.work(|_| Act::Complete(json!({})));
    let consumer = |number: usize| {
        let mut session = database.connect();
        let (mut empty, mut turn) = (0, 0);
        while empty < 25 {
            turn += 1;
            let polled = poll_for(&mut session, "audit", 5, "1 second");
            if polled.is_empty() {
                empty += 1;
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
            empty = 0;
            if number < 3 && turn % 7 == 3 {
                session = database.connect();
                continue;
            }
            for (index, event) in polled.iter().enumerate() {
                if number == 4 && index == 2 {
                    nack(&mut session, "audit", &polled[index..], "0");
                    break;
                }
                session.query(
                    "WITH a AS (SELECT tasker.ack_events('audit', ARRAY[$2::bigint]) AS done)
                     INSERT INTO public.done (task, event) SELECT $1, $2 FROM a WHERE a.done = 1",
                    &[&event.task, &event.id],
                );
            }
        }
    };
    std::thread::scope(|scope| {
        for number in 0..8 {
            let consumer = &consumer;
            scope.spawn(move || consumer(number));
        }
    });
    let wrong: i64 = session.count(
        "WITH read AS (SELECT event_id, row_number() OVER () AS place FROM tasker.read_events(max_events => 10000)),
              done AS (SELECT d.no, d.task, r.place, lag(r.place) OVER (PARTITION BY d.task ORDER BY d.no) AS before
                       FROM public.done d JOIN read r ON r.event_id = d.event)
         SELECT count(*) FROM done WHERE before > place",
        &[],
    );
    assert_eq!(wrong, 0);
    let done = session.count("SELECT count(DISTINCT event) FROM public.done", &[]);
    assert_eq!(done, all_events(&mut session).len() as i64);
    assert_eq!(session.count("SELECT count(*) FROM public.done", &[]), done);
}

#[test]
fn consumers_hold_no_more_than_max_in_flight() {
    let (database, mut session, _) = started(&pay());
    subscribe(
        &mut session,
        "'audit', start_at => 'beginning', max_in_flight => 5",
    );
    session.work(|_| Act::Complete(json!({})));
    let mut other = database.connect();
    let first = poll(&mut session, "audit", 3);
    let second = poll(&mut other, "audit", 100);
    assert_eq!((first.len(), second.len()), (3, 2));
    assert!(poll(&mut session, "audit", 100).is_empty());
    ack(&mut other, "audit", &second[..1]);
    assert_eq!(poll(&mut session, "audit", 100).len(), 1);
    nack(&mut session, "audit", &first, "0");
    assert_eq!(poll(&mut other, "audit", 100).len(), 3);
    assert!(poll(&mut session, "audit", 100).is_empty());
}

#[test]
fn a_paused_subscriber_gets_nothing_and_goes_on_where_it_was() {
    let (_database, mut session, _) = started(&pay());
    subscribe(&mut session, "'audit', start_at => 'beginning'");
    let first = poll(&mut session, "audit", 2);
    assert_eq!(
        session.one::<String>("SELECT tasker.pause_subscriber('audit')", &[]),
        "paused"
    );
    assert!(poll(&mut session, "audit", 10).is_empty());
    assert_eq!(ack(&mut session, "audit", &first), 2);
    assert_eq!(
        session.one::<String>("SELECT tasker.resume_subscriber('audit')", &[]),
        "resumed"
    );
    let rest = drain(&mut session, "audit");
    assert_eq!(rest.len() + 2, all_events(&mut session).len());
}

#[test]
fn a_seek_says_how_many_events_come_again_and_forgets_what_is_in_flight() {
    let (_database, mut session, _) = started(&pay());
    subscribe(
        &mut session,
        "'audit', '{step.completed, task.initialize_requested}', 'beginning'",
    );
    session.work(|_| Act::Complete(json!({})));
    let first = drain(&mut session, "audit");
    assert_eq!(first.len(), 3);
    let seek = |session: &mut Session, place: &str| -> i64 {
        session.one("SELECT tasker.seek_subscriber('audit', $1)", &[&place])
    };
    assert_eq!(seek(&mut session, "beginning"), 3);
    assert_eq!(seek(&mut session, "beginning"), 0);
    let half = poll(&mut session, "audit", 2);
    assert_eq!(nack(&mut session, "audit", &half[..1], "0"), 1);
    assert_eq!(seek(&mut session, "beginning"), 2);
    let kept = "SELECT (SELECT count(*) FROM tasker_engine.deliveries) + (SELECT count(*) FROM tasker_engine.redeliveries)";
    assert_eq!(session.count(kept, &[]), 0);
    assert_eq!(ack(&mut session, "audit", &half), 0);
    assert_eq!(ids(&drain(&mut session, "audit")), ids(&first));
    session.create("pay");
    assert_eq!(seek(&mut session, "now"), 0);
    assert!(poll(&mut session, "audit", 10).is_empty());
    session.create("pay");
    assert_eq!(drain(&mut session, "audit").len(), 1);
}

#[test]
fn a_removed_subscriber_leaves_nothing_and_its_consumers_get_an_error() {
    let (_database, mut session, _) = started(&pay());
    subscribe(
        &mut session,
        "'audit', start_at => 'beginning', max_deliveries => 1",
    );
    session.query(
        "SELECT tasker.grant_subscriber('audit', 'tasker_worker')",
        &[],
    );
    session.execute(
        "CREATE FUNCTION public.take(events jsonb) RETURNS void LANGUAGE sql AS $$ SELECT $$;
         SELECT tasker.subscribe('audit', handler => 'sql:public.take')",
    );
    session.work(|_| Act::Complete(json!({})));
    let got = poll(&mut session, "audit", 4);
    nack(&mut session, "audit", &got[..2], "0");
    session.execute(
        "SELECT tasker_engine.note_gaps(ARRAY[(SELECT subscriber_id FROM tasker_engine.subscribers)], '{3}', ARRAY[now()], ARRAY[now()])",
    );
    // Every table that names a subscriber.
    let rows = |session: &mut Session| -> Vec<(String, i64)> {
        let tables: Vec<String> = session.all(
            "SELECT DISTINCT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'subscriber_id'
             WHERE c.relnamespace = 'tasker_engine'::regnamespace AND c.relkind = 'r' ORDER BY 1",
            &[],
        );
        let count = |table: String| {
            let rows = session.count(&format!("SELECT count(*) FROM tasker_engine.{table}"), &[]);
            (table, rows)
        };
        tables.into_iter().map(count).collect()
    };
    let before = rows(&mut session);
    assert!(
        before.len() >= 8 && before.iter().all(|(_, rows)| *rows > 0),
        "{before:?}"
    );
    assert!(session.one::<bool>("SELECT tasker.unsubscribe('audit')", &[]));
    assert!(!session.one::<bool>("SELECT tasker.unsubscribe('audit')", &[]));
    let after = rows(&mut session);
    assert!(after.iter().all(|(_, rows)| *rows == 0), "{after:?}");
    session
        .fails("SELECT tasker.poll_events('audit')", &[])
        .is("P0002")
        .says(&["audit"]);
}

#[test]
fn include_data_adds_what_is_there_when_the_event_is_read_and_filters_do_not_see_it() {
    let (_database, mut session, task) = started(&pay());
    subscribe(
        &mut session,
        "'audit', '{step.completed}', 'beginning', include_data => true, max_deliveries => 9",
    );
    subscribe(
        &mut session,
        "'blind', '{step.completed}', 'beginning', include_data => true, filter => '{\"data\": {}}'",
    );
    session.work(|claim| Act::Complete(json!({"by": claim.name})));
    let got = poll(&mut session, "audit", 10);
    let payload: Value = serde_json::from_str(&got[0].payload).expect("JSON");
    let context: Value = serde_json::from_str(&session.one::<String>(
        "SELECT context::text FROM tasker.tasks WHERE task_uuid = $1",
        &[&task],
    ))
    .expect("JSON");
    assert_eq!(payload["data"]["results"]["by"], "a");
    assert_eq!(payload["data"]["context"], context);
    assert_eq!(payload["data"]["inputs"], context);
    assert!(poll(&mut session, "blind", 10).is_empty());
}

#[test]
fn wrong_arguments_are_refused() {
    let (_database, mut session, _) = started(&pay());
    subscribe(&mut session, "'audit'");
    for (call, code) in [
        ("subscribe('a', '{\"\"}')", "22023"),
        ("subscribe('a', '{*a*}')", "22023"),
        ("subscribe('a', '{}')", "22023"),
        ("subscribe('')", "22023"),
        ("subscribe(NULL)", "22004"),
        ("subscribe('a', sample_rate => 0)", "22023"),
        ("subscribe('a', sample_rate => 1.01)", "22023"),
        ("subscribe('a', sample_rate => 'NaN')", "22023"),
        ("subscribe('a', filter => '[1]')", "22023"),
        ("subscribe('a', max_deliveries => 0)", "22023"),
        ("subscribe('a', max_in_flight => -1)", "22023"),
        ("subscribe('a', batch_size => 0)", "22023"),
        ("subscribe('a', start_at => 'sometime')", "22023"),
        ("subscribe('a', start_at => '1;2')", "22023"),
        ("subscribe('a', start_at => 'infinity')", "22023"),
        ("seek_subscriber('audit', 'infinity')", "22023"),
        ("seek_subscriber('gone', 'now')", "P0002"),
        ("seek_subscriber('audit', NULL)", "22004"),
        ("pause_subscriber('gone')", "P0002"),
        ("resume_subscriber('gone')", "P0002"),
        ("redrive_events('gone')", "P0002"),
        ("grant_subscriber('gone', 'postgres')", "P0002"),
        ("grant_subscriber('audit', 'no_such_role')", "P0002"),
        ("revoke_subscriber('gone', 'postgres')", "P0002"),
        ("poll_events('gone')", "P0002"),
        ("poll_events(NULL)", "22004"),
        ("poll_events('audit', 0)", "22023"),
        ("poll_events('audit', 10001)", "22023"),
        ("poll_events('audit', 1, '0.9 s')", "22023"),
        ("poll_events('audit', 1, '25 h')", "22023"),
        ("ack_events('gone', '{}')", "P0002"),
        ("ack_events('audit', NULL)", "22004"),
        ("nack_events('gone', '{}')", "P0002"),
        ("nack_events('audit', '{}', '-1 s')", "22023"),
        ("nack_events('audit', '{}', '2 days')", "22023"),
        ("extend_events('gone', '{}', '1 s')", "P0002"),
        ("extend_events('audit', '{}', '0 s')", "22023"),
        ("preview_subscription('{**}')", "22023"),
    ] {
        session
            .fails(&format!("SELECT tasker.{call}"), &[])
            .is(code);
    }
    let others: i64 = session.count("SELECT count(*) FROM tasker.subscribers", &[]);
    assert_eq!(others, 1);
    let unknown: i32 = session.one("SELECT tasker.ack_events('audit', '{1, NULL, 99}')", &[]);
    assert_eq!(unknown, 0);
}

#[test]
fn only_the_owner_and_roles_with_a_grant_take_events() {
    let (database, mut session, _) = started(&pay());
    session.execute(
        "DROP ROLE IF EXISTS subs_op, subs_other, subs_reader;
         CREATE ROLE subs_op LOGIN; CREATE ROLE subs_other LOGIN; CREATE ROLE subs_reader LOGIN;
         GRANT tasker_operator TO subs_op, subs_other; GRANT tasker_reader TO subs_reader",
    );
    let mut owner = database.connect_as("subs_op");
    let mut other = database.connect_as("subs_other");
    let mut reader = database.connect_as("subs_reader");
    subscribe(&mut owner, "'audit', start_at => 'beginning'");
    reader
        .fails("SELECT tasker.subscribe('mine')", &[])
        .is("42501");
    for stranger in [&mut other, &mut reader] {
        for call in [
            "poll_events('audit')",
            "ack_events('audit', '{}')",
            "nack_events('audit', '{}')",
            "extend_events('audit', '{}', '1 s')",
        ] {
            stranger
                .fails(&format!("SELECT tasker.{call}"), &[])
                .is("42501");
        }
    }
    // An operator pauses and moves the subscribers of others, and does not change what they want.
    other.query(
        "SELECT tasker.pause_subscriber('audit'), tasker.resume_subscriber('audit')",
        &[],
    );
    other
        .fails("SELECT tasker.subscribe('audit', '{x.*}')", &[])
        .is("42501");
    other
        .fails("SELECT tasker.grant_subscriber('audit', 'subs_other')", &[])
        .is("42501");
    owner.query(
        "SELECT tasker.grant_subscriber('audit', 'subs_reader')",
        &[],
    );
    let got = poll(&mut reader, "audit", 10);
    assert!(!got.is_empty());
    assert_eq!(ack(&mut reader, "audit", &got), got.len() as i32);
    assert!(owner.one::<bool>(
        "SELECT tasker.revoke_subscriber('audit', 'subs_reader')",
        &[]
    ));
    reader
        .fails("SELECT tasker.poll_events('audit')", &[])
        .is("42501");
    poll(&mut owner, "audit", 10);
    drop((owner, other, reader));
    session.execute("DROP OWNED BY subs_op, subs_other, subs_reader; DROP ROLE subs_op, subs_other, subs_reader");
}

#[test]
fn a_preview_counts_what_a_subscriber_would_have_got() {
    let (_database, mut session, _) = started(&pay());
    session.work(|_| Act::Complete(json!({})));
    let counts = session.query(
        "SELECT name, events FROM tasker.preview_subscription('{*.completed}', '{\"step_name\": \"a\"}')",
        &[],
    );
    assert_eq!(counts.len(), 1);
    assert_eq!(counts[0].get::<_, &str>(0), "step.completed");
    assert_eq!(counts[0].get::<_, i64>(1), 1);
    // A row that is written later tells of a start before.
    session.create("pay");
    let claim = session.claim_one("worker");
    let since: String = session.one("SELECT clock_timestamp()::text", &[]);
    session.complete(&claim, &json!({}));
    let count = |session: &mut Session, of: &str| -> Vec<String> {
        session.all(
            &format!("SELECT concat_ws(' ', name, events) FROM {of} ORDER BY 1"),
            &[],
        )
    };
    let read = |when: &str| {
        format!(
            "(SELECT name, count(*) AS events FROM tasker.read_events(max_events => 10000)
              WHERE event_id IS NOT NULL AND {when} GROUP BY 1) r"
        )
    };
    let found = count(
        &mut session,
        &format!("tasker.preview_subscription('{{*}}', since => '{since}')"),
    );
    let since = format!("occurred_at >= '{since}'");
    assert_eq!(found, count(&mut session, &read(&since)));
    assert!(found.len() > 2, "{found:?}");
    let all = count(&mut session, "tasker.preview_subscription('{*}')");
    assert_eq!(all, count(&mut session, &read("true")));
    let later = session.query(
        "SELECT * FROM tasker.preview_subscription('{*}', since => clock_timestamp() + interval '1 hour')",
        &[],
    );
    assert!(later.is_empty());
}

#[test]
fn slow_and_paused_subscribers_delay_no_other() {
    let (database, mut session, _) = started(&pay());
    for name in ["slow", "paused", "quick"] {
        subscribe(&mut session, &format!("'{name}', start_at => 'beginning'"));
    }
    session.query("SELECT tasker.pause_subscriber('paused')", &[]);
    let mut slow = database.connect();
    slow.execute("BEGIN");
    poll(&mut slow, "slow", 3);
    session.execute("SET lock_timeout = '1s'");
    session.work(|_| Act::Complete(json!({})));
    assert_eq!(
        drain(&mut session, "quick").len(),
        all_events(&mut session).len()
    );
    slow.execute("COMMIT");
    session.query("SELECT tasker.resume_subscriber('paused')", &[]);
    assert_eq!(
        drain(&mut session, "paused").len(),
        all_events(&mut session).len()
    );
}

#[test]
fn published_events_come_in_order_with_those_of_the_log_and_come_again_the_same() {
    let (_database, mut session, task) = started(&pay());
    subscribe(
        &mut session,
        "'audit', '{order.*, task.completed}', 'beginning', ordered => true, sample_rate => 1",
    );
    session.query("SELECT tasker.register_event('order.paid')", &[]);
    session.query(
        "SELECT tasker.publish_event('order.paid', '{\"no\": 1}', task_uuid => $1)",
        &[&task],
    );
    session.query(
        "SELECT tasker.publish_event('order.paid', '{\"no\": 2}')",
        &[],
    );
    session.work(|_| Act::Complete(json!({})));
    let got = session.query(
        "SELECT name, task_uuid, payload::text, event_id FROM tasker.poll_events('audit')",
        &[],
    );
    let names: Vec<String> = got.iter().map(|row| row.get(0)).collect();
    assert_eq!(names, ["order.paid", "order.paid", "task.completed"]);
    let tasks: Vec<Option<Uuid>> = got.iter().map(|row| row.get(1)).collect();
    assert_eq!(tasks, [Some(task), None, Some(task)]);
    let failed: Vec<i64> = got.iter().map(|row| row.get(3)).collect();
    let count: i32 = session.one("SELECT tasker.nack_events('audit', $1, '0')", &[&failed]);
    assert_eq!(count, 3);
    let again = session.query(
        "SELECT name, task_uuid, payload::text, event_id FROM tasker.poll_events('audit')",
        &[],
    );
    let rows = |rows: &[postgres::Row]| -> Vec<(String, Option<Uuid>, String, i64)> {
        let of = |row: &postgres::Row| (row.get(0), row.get(1), row.get(2), row.get(3));
        rows.iter().map(of).collect()
    };
    assert_eq!(rows(&again), rows(&got));
}

#[test]
fn what_a_session_remembers_of_a_poll_that_was_rolled_back_is_of_no_other_place() {
    let (database, mut session, _) = started(&pay());
    subscribe(&mut session, "'audit', '{order.*}'");
    let (mut other, mut writer) = (database.connect(), database.connect());
    // A poll that finds nothing, and moves the place all the same.
    session.execute("BEGIN");
    writer.create("pay");
    assert!(poll(&mut session, "audit", 10).is_empty());
    session.execute("ROLLBACK");
    writer.query("SELECT tasker.publish_event('order.paid')", &[]);
    let got = poll(&mut other, "audit", 10);
    assert_eq!(got.len(), 1);
    let again = poll(&mut session, "audit", 10);
    assert!(again.is_empty(), "handed out twice: {again:?}");
}
