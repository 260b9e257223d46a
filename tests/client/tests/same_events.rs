//! Each event reads the same, and comes once and at its place, however a reader gets to it.

use std::collections::BTreeSet;
use std::time::Duration;

use tasker_client_tests::worker::done;
use tasker_client_tests::{Act, Database, Session, Template, Value, json, started};

/// Two steps, one after the other, that run again at once.
fn pay() -> Template {
    Template::new("pay")
        .step("a", &[])
        .step("b", &["a"])
        .every_step(json!({"retry": {"backoff": "none", "limit": 3}}))
}

fn subscribe(session: &mut Session, arguments: &str) {
    session.query(&format!("SELECT tasker.subscribe({arguments})"), &[]);
}

/// What must not change of an event.
const SAME: &str =
    "concat_ws('|', event_id, name, occurred_at, task_uuid, step_uuid, payload::text)";

/// The ids of what one poll hands out, and how it reads.
fn poll(session: &mut Session, subscriber: &str, most: i32) -> (Vec<i64>, Vec<String>) {
    let rows = session.query(
        &format!("SELECT event_id, {SAME} FROM tasker.poll_events($1, $2)"),
        &[&subscriber, &most],
    );
    rows.iter()
        .map(|row| (row.get::<_, i64>(0), row.get::<_, String>(1)))
        .unzip()
}

fn answer(session: &mut Session, subscriber: &str, how: &str, ids: &[i64]) {
    let answered: i32 = session.one(
        &format!("SELECT tasker.{how}_events($1, $2)"),
        &[&subscriber, &ids],
    );
    assert_eq!(answered as usize, ids.len(), "{how}");
}

/// The ids of all that a subscriber gets, in polls of this size.
fn drain(session: &mut Session, subscriber: &str, most: i32) -> Vec<i64> {
    let mut all = vec![];
    loop {
        let (ids, _) = poll(session, subscriber, most);
        if ids.is_empty() {
            return all;
        }
        answer(session, subscriber, "ack", &ids);
        all.extend(ids);
    }
}

#[test]
fn a_failure_reads_the_same_for_two_subscribers_before_its_retry_and_when_it_comes_again() {
    let (database, mut session, task) = started(&pay());
    for name in ["first", "second"] {
        subscribe(&mut session, &format!("'{name}', '{{step.failed}}'"));
    }
    let claim = session.claim_one("worker");
    session.query(
        "SELECT tasker.fail_step($1, $2, 'card refused', 'CardError', retry_after => '0')",
        &[&claim.step, &claim.number],
    );
    let (ids, before) = poll(&mut session, "first", 10);
    assert_eq!(before.len(), 1);
    assert!(
        before[0].contains("|step.failed|") && before[0].contains("card refused"),
        "{before:?}"
    );
    assert_eq!(
        poll(&mut session, "second", 10),
        (ids.clone(), before.clone())
    );
    for name in ["first", "second"] {
        session.query(
            "SELECT tasker.nack_events($1, $2, '0', 'no')",
            &[&name, &ids],
        );
    }
    // What a later attempt overwrites is overwritten now.
    session.work(|_| Act::Complete(json!({"paid": true})));
    assert_eq!(session.task_state(task), "complete");
    let read = format!(
        "SELECT {SAME} FROM tasker.read_events(patterns => '{{step.failed}}') WHERE event_id IS NOT NULL"
    );
    for mut reader in [session, database.connect()] {
        for name in ["first", "second"] {
            let (again, same) = poll(&mut reader, name, 10);
            assert_eq!((&again, &same), (&ids, &before), "{name}");
            reader.query(
                "SELECT tasker.nack_events($1, $2, '0', 'no')",
                &[&name, &ids],
            );
        }
        assert_eq!(reader.all::<String>(&read, &[]), before);
    }
}

#[test]
fn the_start_of_a_run_has_the_time_at_which_it_began() {
    let (_database, mut session, task) = started(&pay());
    let pause = || std::thread::sleep(Duration::from_millis(50));
    let clock = "SELECT clock_timestamp()::text";
    let before: String = session.one(clock, &[]);
    let claim = session.claim_one("worker");
    let claimed: String = session.one(clock, &[]);
    pause();
    let ends: String = session.one(clock, &[]);
    session.complete(&claim, &json!({}));
    let times = "SELECT occurred_at BETWEEN $2::text::timestamptz AND $3::text::timestamptz, payload ->> 'started_at' = tasker_engine.event_time(occurred_at)
                 FROM tasker.read_events(patterns => ARRAY[$4]) WHERE task_uuid = $1";
    let after = "infinity".to_owned();
    for (name, from, to) in [
        ("step.execution_requested", &before, &claimed),
        ("step.completed", &ends, &after),
    ] {
        let rows = session.query(times, &[&task, from, to, &name]);
        let lies: Vec<bool> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(lies, [true], "{name}");
    }
    let rows = session.query(
        times,
        &[&task, &before, &claimed, &"step.execution_requested"],
    );
    assert!(rows[0].get::<_, bool>(1), "its payload says the same time");
}

#[test]
fn an_event_that_several_patterns_and_a_synonym_choose_comes_once() {
    let (_database, mut session, _) = started(&pay());
    session.create("pay");
    session.work(|_| done());
    let canonical: String = session.one(
        "SELECT synonym_of FROM tasker.event_catalog WHERE name = 'workflow.step_completed'",
        &[],
    );
    assert_eq!(canonical, "step.completed");
    let patterns = "{step.*,*.completed,step.completed,workflow.step_completed}";
    subscribe(&mut session, &format!("'audit', '{patterns}', 'beginning'"));
    let got = drain(&mut session, "audit", 3);
    // Each name stands for the event that it leads to.
    let expected: Vec<i64> = session.all(
        "SELECT event_id FROM tasker.read_events() WHERE name IN (
             SELECT coalesce(synonym_of, name) FROM tasker.event_catalog
             WHERE name ~ '^step[.]' OR name ~ '[.]completed$' OR name = 'workflow.step_completed')",
        &[],
    );
    let expected: BTreeSet<i64> = expected.into_iter().collect();
    let once: BTreeSet<i64> = got.iter().copied().collect();
    assert_eq!(once.len(), got.len());
    assert_eq!(once, expected);
    let completed: i64 = session.one(
        "SELECT count(*) FROM tasker.read_events() WHERE name = 'step.completed' AND event_id = ANY ($1)",
        &[&got],
    );
    assert_eq!(completed, 4);
    let names: i64 = session.one(
        "SELECT count(*) FROM tasker.read_events(patterns => ARRAY['step.completed', $1, 'step.compl*'])",
        &[&"workflow.step_completed"],
    );
    assert_eq!(names, 4);
}

#[test]
fn stored_events_stay_as_they_are_when_their_name_is_registered_again_with_a_stricter_schema() {
    let database = Database::new();
    let mut session = database.connect();
    session.query(
        "SELECT tasker.register_event('orders.counted', 'Counted.')",
        &[],
    );
    subscribe(&mut session, "'audit', '{orders.*}'");
    let publish = "SELECT tasker.publish_event('orders.counted', $1::text::jsonb)";
    let loose = [r#"{"n": "many"}"#, r"{}", r#"{"n": 1}"#];
    for payload in loose {
        session.query(publish, &[&payload]);
    }
    let schema =
        json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}});
    session.query(
        "SELECT tasker.register_event('orders.counted', 'Counted.', $1)",
        &[&schema],
    );
    for payload in &loose[..2] {
        session.fails(publish, &[payload]).is("23514");
    }
    let expected: Vec<Value> = loose
        .iter()
        .map(|text| serde_json::from_str(text).expect("JSON"))
        .collect();
    for reader in [
        "tasker.read_events(patterns => '{orders.*}')",
        "tasker.poll_events('audit')",
    ] {
        let found: Vec<Value> = session.all(
            &format!("SELECT payload FROM {reader} WHERE event_id IS NOT NULL"),
            &[],
        );
        assert_eq!(found, expected, "{reader}");
    }
}

/// All events with the position behind each.
fn with_positions(session: &mut Session) -> Vec<(i64, String, String)> {
    let rows = session.query(
        "SELECT event_id, name, position FROM tasker.read_events(max_events => 10000) WHERE event_id IS NOT NULL",
        &[],
    );
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

#[test]
fn a_seek_to_any_place_gives_what_is_behind_it_in_the_same_order() {
    let (_database, mut session, first) = started(&pay());
    subscribe(&mut session, "'audit', start_at => 'beginning'");
    session.create("pay");
    // Starts that lie among the rows of other runs and tasks.
    let claims = session.claim_all("worker");
    session.create("pay");
    session.fail(&claims[1]);
    let again = session.claim_all("other");
    session.complete(&claims[0], &json!({}));
    again
        .iter()
        .for_each(|claim| drop(session.complete(claim, &json!({}))));
    session.query(
        "SELECT tasker.publish_event('orders.a', '{}', $1)",
        &[&first],
    );
    session.work(|_| done());
    let all = with_positions(&mut session);
    let ids: Vec<i64> = all.iter().map(|(id, ..)| *id).collect();
    let starts = all
        .iter()
        .filter(|(_, name, _)| name == "step.execution_requested");
    assert!(starts.count() >= 7, "{all:?}");
    assert!(
        !ids.is_sorted(),
        "the id of a start is less than what comes before it"
    );
    for (place, (id, name, position)) in all.iter().enumerate() {
        let repeated: i64 = session.one("SELECT tasker.seek_subscriber('audit', $1)", &[position]);
        let most = [1, 2, 3, 100][place % 4];
        let behind = drain(&mut session, "audit", most);
        assert_eq!(
            behind,
            ids[place + 1..],
            "behind {name} {id}, {most} at a time"
        );
        // Before the first seek it had read nothing.
        assert!(
            place == 0 || repeated as usize == behind.len(),
            "{name}: {repeated}"
        );
    }
    let tasks: i64 = session.one("SELECT count(*) FROM tasker.tasks", &[]);
    assert_eq!(tasks, 3);
}
