//! Events that applications publish: their rules, their place in the stream, how long they live, and what leaves the database.

use std::collections::BTreeSet;

use tasker_client_tests::race::together;
use tasker_client_tests::worker::done;
use tasker_client_tests::{
    Database, Session, Template, Uuid, Value, inside, json, shapes, started,
};

const READ: &str = "SELECT event_id, name, namespace, task_uuid, step_uuid, correlation_id, traceparent, payload, position
                    FROM tasker.read_events($1, $2, $3, $4)";

#[derive(Debug, Clone, PartialEq)]
struct Event {
    id: i64,
    name: String,
    namespace: Option<String>,
    task: Option<Uuid>,
    step: Option<Uuid>,
    correlation_id: Option<String>,
    traceparent: Option<String>,
    payload: Value,
}

/// All events of these patterns, in calls of that many.
fn read(
    session: &mut Session,
    most: i32,
    patterns: &[&str],
    namespaces: Option<&[&str]>,
) -> Vec<Event> {
    let mut position: Option<String> = None;
    let mut events = vec![];
    loop {
        let rows = session.query(READ, &[&position, &most, &patterns, &namespaces]);
        if rows.is_empty() {
            return events;
        }
        position = rows.last().map(|row| row.get("position"));
        let found = rows.iter().filter_map(|row| {
            Some(Event {
                id: row.get::<_, Option<i64>>("event_id")?,
                name: row.get("name"),
                namespace: row.get("namespace"),
                task: row.get("task_uuid"),
                step: row.get("step_uuid"),
                correlation_id: row.get("correlation_id"),
                traceparent: row.get("traceparent"),
                payload: row.get("payload"),
            })
        });
        events.extend(found);
    }
}

fn mine(session: &mut Session) -> Vec<Event> {
    read(session, 1000, &["orders.*"], None)
}

/// Publishes that many events, numbered from a number on.
fn publish(session: &mut Session, from: i32, count: i32) -> Vec<i64> {
    session.all(
        "SELECT tasker.publish_events(array_agg('orders.counted'::text), array_agg(jsonb_build_object('n', n)))
         FROM generate_series($1::int, $1::int + $2::int - 1) n",
        &[&from, &count],
    )
}

fn maintain(session: &mut Session) -> i64 {
    session.one("SELECT tasker_engine.duty_events()", &[])
}

#[test]
fn an_event_says_what_it_is_about() {
    let database = Database::new();
    let mut session = database.connect();
    let template = shapes::chain("two", 2).with("namespace_name", json!("shop"));
    template.register(&mut session);
    let task: Uuid = session.one("SELECT tasker.create_task('two', namespace => 'shop')", &[]);
    session.query(
        "SELECT tasker.create_task('two', namespace => 'shop', correlation_id => 'c-1', traceparent => '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01')",
        &[],
    );
    let other: Uuid = session.one(
        "SELECT task_uuid FROM tasker.tasks WHERE correlation_id = 'c-1'",
        &[],
    );
    let step: Uuid = session.one(
        "SELECT s.step_uuid FROM tasker.workflow_steps s WHERE s.task_uuid = $1 ORDER BY 1 LIMIT 1",
        &[&other],
    );
    let mut ids: Vec<i64> = vec![];
    for (arguments, params) in [
        ("'orders.a', '{\"n\": 1.50}'", vec![]),
        ("'orders.b', namespace => 'shop'", vec![]),
        ("'orders.c', task_uuid => $1", vec![task]),
        ("'orders.d', step_uuid => $1", vec![step]),
        ("'orders.e', '{}', $1, $2", vec![other, step]),
    ] {
        let params: Vec<&(dyn postgres::types::ToSql + Sync)> =
            params.iter().map(|uuid| uuid as _).collect();
        ids.push(session.one(
            &format!("SELECT tasker.publish_event({arguments})"),
            &params,
        ));
    }
    let events = mine(&mut session);
    assert_eq!(events.iter().map(|event| event.id).collect::<Vec<_>>(), ids);
    let shop = Some("shop".to_owned());
    let found: Vec<_> = events
        .iter()
        .map(|event| {
            (
                event.namespace.clone(),
                event.task,
                event.step,
                event.correlation_id.is_some(),
                event.traceparent.is_some(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (None, None, None, false, false),
            (shop.clone(), None, None, false, false),
            (shop.clone(), Some(task), None, true, true),
            (shop.clone(), Some(other), Some(step), true, true),
            (shop, Some(other), Some(step), true, true),
        ]
    );
    assert_eq!(events[0].payload.to_string(), "{\"n\":1.50}");
    // A router of outboxes finds the same as columns.
    let aggregates: Vec<String> = session.all(
        "SELECT aggregate_type || ' ' || aggregate_id FROM tasker_engine.events WHERE name LIKE 'orders.%' ORDER BY id",
        &[],
    );
    assert_eq!(
        aggregates,
        [
            "orders orders.a".to_owned(),
            "namespace shop".into(),
            format!("task {task}"),
            format!("step {step}"),
            format!("step {step}")
        ]
    );
}

#[test]
fn an_event_without_a_namespace_comes_to_readers_of_all_namespaces() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    for about in [
        "",
        ", namespace => 'default'",
        &format!(", task_uuid => '{task}'"),
    ] {
        session.query(
            &format!("SELECT tasker.publish_event('orders.x'{about})"),
            &[],
        );
    }
    assert_eq!(mine(&mut session).len(), 3);
    let of = |session: &mut Session, namespace: &str| {
        read(session, 1000, &["orders.*"], Some(&[namespace])).len()
    };
    assert_eq!(of(&mut session, "default"), 2);
    assert_eq!(of(&mut session, "elsewhere"), 0);
    let names = ["orders.x", "orders.y", "*.x", "*"].map(|pattern| {
        read(&mut session, 1000, &[pattern, "none"], None)
            .iter()
            .filter(|event| event.name == "orders.x")
            .count()
    });
    assert_eq!(names, [3, 0, 3, 3]);
}

#[test]
fn what_cannot_be_published_is_refused_as_a_whole() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    let other = session.create("one");
    let step = session.step(other, "step_1");
    session.query("SELECT tasker.register_event('orders.paid', payload_schema => '{\"required\": [\"amount\"]}')", &[]);
    for (call, code, words) in [
        ("publish_event('paid')".to_owned(), "22023", "dot"),
        ("publish_event('task.paid')".into(), "22023", "engine"),
        ("publish_event('stream.gap')".into(), "22023", "engine"),
        ("publish_event('orders.x', '[]')".into(), "22023", "object"),
        ("publish_event('orders.x', '\"x\"')".into(), "22023", "object"),
        ("publish_event('orders.x', NULL)".into(), "22004", "payload"),
        ("publish_event(NULL)".into(), "22004", "name"),
        (format!("publish_event('orders.x', '{{}}', '{task}', '{step}')"), "22023", "not a step of task"),
        ("publish_event('orders.paid', '{\"amuont\": 1}')".into(), "23514", "payload.amount"),
        (format!("publish_event('orders.x', task_uuid => '{}')", Uuid::from_u128(1 << 100)), "P0002", "no task"),
        (format!("publish_event('orders.x', step_uuid => '{}')", Uuid::from_u128(task.as_u128() + 77)), "P0002", "no step"),
        ("publish_event('orders.x', namespace => 'nowhere')".into(), "P0002", "namespace"),
        ("publish_event('orders.x', jsonb_build_object('long', repeat('x', 2000000)))".into(), "22023", "tasker.max_event_bytes"),
        ("publish_events('{orders.x,paid}', ARRAY['{}', '{}']::jsonb[])".into(), "22023", "event 2: "),
        ("publish_events('{orders.x}', ARRAY['{}', '{}']::jsonb[])".into(), "22023", "lengths"),
        ("publish_events('{orders.x}', ARRAY['{}']::jsonb[], '{}')".into(), "22023", "lengths"),
        ("publish_events('{orders.x,NULL}', ARRAY['{}', '{}']::jsonb[])".into(), "22004", "names"),
        ("publish_events('{orders.x,orders.x}', ARRAY['{}', NULL]::jsonb[])".into(), "22004", "payloads"),
        ("publish_events(array_fill('orders.x'::text, ARRAY[10001]), array_fill('{}'::jsonb, ARRAY[10001]))".into(), "54000", "10001"),
        ("register_event('paid')".into(), "22023", "dot"),
        ("register_event('orders.y', payload_schema => '{\"type\": \"objekt\"}')".into(), "22023", "payload_schema"),
        ("register_event('orders.y', payload_schema => '[]')".into(), "22023", "payload_schema"),
    ] {
        session.fails(&format!("SELECT tasker.{call}"), &[]).is(code).says(&[words]);
    }
    assert_eq!(mine(&mut session), []);
    // The message says which event, the DETAIL each place.
    session.query("SELECT tasker.register_event('orders.lost', payload_schema => '{\"required\": [\"amount\", \"reason\"]}')", &[]);
    let failure = session.fails("SELECT tasker.publish_event('orders.lost')", &[]);
    assert_eq!(
        (&*failure.message, &*failure.detail),
        (
            "payload of event orders.lost breaks its schema",
            "payload.amount: is required but missing\npayload.reason: is required but missing"
        )
    );
    // Small enough is a matter of the setting.
    session.execute("SET tasker.max_event_bytes = '4MB'");
    session.query(
        "SELECT tasker.publish_event('orders.x', jsonb_build_object('long', repeat('x', 2000000)))",
        &[],
    );
    assert_eq!(mine(&mut session).len(), 1);
}

#[test]
fn a_registered_event_is_in_the_catalogue_and_a_schema_holds_from_its_commit_on() {
    let (database, mut session, _) = started(&Template::new("sells").step_with(
        "pay",
        &[],
        json!({"custom_events": [{"name": "orders.sold", "description": "Sold."}, "orders.late"]}),
    ));
    let catalogue = |session: &mut Session| -> Vec<String> {
        session.all(
            "SELECT concat_ws(' ', name, fires_when, payload_schema) FROM tasker.event_catalog WHERE custom ORDER BY name",
            &[],
        )
    };
    assert_eq!(
        catalogue(&mut session),
        [
            "orders.late An application publishes it.",
            "orders.sold Sold."
        ]
    );
    session.query(
        "SELECT tasker.register_event('orders.sold', 'Really sold.', '{\"required\": [\"n\"]}')",
        &[],
    );
    // The template again leaves the schema, and says its words.
    session.query("SELECT tasker.register_template('{name: again, steps: [{name: a, handler: h, custom_events: [orders.sold, orders.late]}]}')", &[]);
    assert_eq!(
        catalogue(&mut session),
        [
            "orders.late An application publishes it.",
            "orders.sold Really sold. {\"required\": [\"n\"]}"
        ]
    );
    let mut other = database.connect();
    other
        .fails("SELECT tasker.publish_event('orders.sold')", &[])
        .is("23514");
    session.query("SELECT tasker.register_event('orders.sold')", &[]);
    other.query("SELECT tasker.publish_event('orders.sold')", &[]);
    assert_eq!(mine(&mut session).len(), 1);
}

#[test]
fn what_is_rolled_back_is_not_read_and_a_savepoint_hides_nothing() {
    let (database, mut session, _) = started(&shapes::chain("one", 1));
    let mut reader = database.connect();
    session.execute("BEGIN");
    publish(&mut session, 1, 2);
    session.execute("SAVEPOINT a");
    publish(&mut session, 3, 2);
    session.execute("ROLLBACK TO a");
    publish(&mut session, 5, 2);
    session.execute("RELEASE a");
    assert_eq!(mine(&mut reader), []);
    assert_eq!(
        mine(&mut session),
        [],
        "a transaction reads its own events later"
    );
    session.execute("COMMIT");
    let numbers = |session: &mut Session| -> Vec<i64> {
        mine(session)
            .iter()
            .filter_map(|event| event.payload["n"].as_i64())
            .collect()
    };
    assert_eq!(numbers(&mut reader), [1, 2, 5, 6]);
    let top: bool = reader.one(
        "SELECT count(DISTINCT xid) = 1 FROM tasker_engine.events WHERE name LIKE 'orders.%'",
        &[],
    );
    assert!(top);
}

#[test]
fn both_sources_are_read_in_the_order_of_ids_each_event_once() {
    let (_database, mut session, _) = started(&shapes::chain("one", 1));
    // More than a page of each, in runs of different lengths.
    let mut published = 0;
    for round in 0..12 {
        published += publish(&mut session, published + 1, 40 * (round + 1)).len() as i32;
        session.create_many("one", if round == 5 { 1500 } else { 30 });
    }
    assert!(published > 3000);
    let all = read(&mut session, 10_000, &["*"], None);
    let numbers: Vec<i64> = all
        .iter()
        .filter_map(|event| event.payload["n"].as_i64())
        .collect();
    assert_eq!(numbers, (1..=i64::from(published)).collect::<Vec<_>>());
    let created = all
        .iter()
        .filter(|event| event.name == "task.initialize_requested")
        .count();
    assert_eq!(created, 1 + 1500 + 11 * 30);
    assert!(all.windows(2).all(|two| two[0].id < two[1].id));
    // The same in small calls, which end anywhere.
    assert_eq!(read(&mut session, 333, &["*"], None), all);
}

#[test]
fn sessions_that_publish_at_once_lose_nothing() {
    let (database, mut reader, _) = started(&shapes::chain("one", 1));
    let ids: Vec<Vec<i64>> = together(6, |number| {
        let mut session = database.connect();
        let mut ids = vec![];
        for round in 0..40 {
            session.execute("BEGIN");
            let mut published = publish(&mut session, 100 * number as i32, round % 7 + 1);
            published.push(session.one("SELECT tasker.publish_event('orders.single')", &[]));
            let rolled_back = (round + number as i32) % 5 == 0;
            session.execute(if rolled_back { "ROLLBACK" } else { "COMMIT" });
            if !rolled_back {
                ids.extend(published);
            }
        }
        ids
    });
    let expected: BTreeSet<i64> = ids.concat().into_iter().collect();
    let found: Vec<i64> = mine(&mut reader).iter().map(|event| event.id).collect();
    assert_eq!(found.len(), expected.len());
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
}

#[test]
fn events_are_kept_as_long_as_the_setting_says_and_leave_a_slot_at_a_time() {
    let (database, mut session, task) = started(&shapes::chain("one", 1));
    assert_eq!(
        maintain(&mut session),
        0,
        "nothing is written where nothing was published"
    );
    session.query(
        "SELECT tasker.publish_event('orders.of_task', task_uuid => $1)",
        &[&task],
    );
    session.work(|_| done());
    session.query("SELECT tasker.purge_tasks('0 seconds')", &[]);
    assert_eq!(mine(&mut session).len(), 1, "an event outlives its task");
    assert_eq!(maintain(&mut session), 0);
    session.execute("SET tasker.event_retention = 0");
    inside::age_events(&mut session, "1000 days");
    assert_eq!(maintain(&mut session), 0, "0 is forever");

    session.execute("SET tasker.event_retention = '6h'");
    inside::age_events(&mut session, "-1000 days");
    // An hour later the ring turns; the first slot is emptied when its last row is six hours old.
    for hour in 1..=6 {
        publish(&mut session, hour, 1);
        inside::age_events(&mut session, "61 minutes");
        let emptied = i64::from(hour == 6);
        assert_eq!(maintain(&mut session), 1 + emptied, "hour {hour}");
    }
    let slots = |session: &mut Session| -> Vec<i16> {
        session.all(
            "SELECT DISTINCT slot FROM tasker_engine.events ORDER BY 1",
            &[],
        )
    };
    assert_eq!(slots(&mut session), [1, 2, 3, 4, 5]);
    assert_eq!(mine(&mut session).len(), 5);
    // Something reads the table for long: no session waits, and nothing is lost.
    publish(&mut session, 7, 1);
    inside::age_events(&mut session, "61 minutes");
    let mut reader = database.connect();
    reader.execute("BEGIN; SELECT count(*) FROM tasker_engine.events");
    assert_eq!(
        maintain(&mut session),
        1,
        "the ring turns, no slot is emptied"
    );
    assert_eq!(slots(&mut session), [1, 2, 3, 4, 5, 6]);
    let mut publisher = database.connect();
    publish(&mut publisher, 8, 1);
    reader.execute("COMMIT");
    assert_eq!(maintain(&mut session), 1);
    assert_eq!(slots(&mut session), [2, 3, 4, 5, 6, 7]);
    // Whatever could not be emptied is not written to.
    inside::age_events(&mut session, "7 hours");
    reader.execute("BEGIN; SELECT count(*) FROM tasker_engine.events");
    for _ in 0..10 {
        publish(&mut publisher, 9, 1);
        inside::age_events(&mut session, "61 minutes");
        maintain(&mut session);
    }
    let written: Vec<i16> = session.all(
        "SELECT DISTINCT slot FROM tasker_engine.events WHERE payload ->> 'n' = '9' ORDER BY 1",
        &[],
    );
    assert_eq!(written, [0, 1, 7]);
}

#[test]
fn a_transaction_with_an_old_turn_keeps_its_slot_until_it_is_old_enough() {
    let (database, mut session, _) = started(&shapes::chain("one", 1));
    session.execute("SET tasker.event_retention = '6h'");
    let mut old = database.connect();
    publish(&mut session, 1, 1);
    old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    old.count("SELECT count(*) FROM tasker_engine.event_turns", &[]);
    inside::age_events(&mut session, "61 minutes");
    assert_eq!(maintain(&mut session), 1);
    publish(&mut old, 2, 1);
    inside::age_events(&mut session, "7 hours");
    publish(&mut session, 3, 1);
    maintain(&mut session);
    assert_eq!(mine(&mut session).len(), 2, "its lock keeps the slot");
    // It commits between the first look at the slot and the lock.
    session.execute("ALTER FUNCTION tasker_engine.duty_events() SET lock_timeout = '20s'");
    std::thread::scope(|scope| {
        let round = scope.spawn(|| maintain(&mut session));
        let mut other = database.connect();
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while other.count(waits, &[]) == 0 {
            assert!(!round.is_finished(), "it did not wait for the lock");
        }
        old.execute("COMMIT");
        assert_eq!(round.join().expect("the round ends"), 0);
    });
    let numbers: Vec<i64> = mine(&mut session)
        .iter()
        .filter_map(|event| event.payload["n"].as_i64())
        .collect();
    assert_eq!(numbers, [1, 2, 3], "the slot holds a row that is not old");
}

#[test]
fn both_ways_of_writing_store_the_same() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    let rows = |session: &mut Session, direct: &str| -> Vec<String> {
        session.execute(&format!("SET tasker.direct_table_access = {direct}"));
        session.execute("BEGIN");
        publish(session, 1, 300);
        session.query("SELECT tasker.publish_event('orders.long', jsonb_build_object('x', repeat('y', 100000)), $1)", &[&task]);
        session.execute("COMMIT");
        session.all(
            "SELECT (to_jsonb(e) - '{id,xid,created_at}'::text[])::text FROM tasker_engine.events e WHERE e.xid = (SELECT max(xid) FROM tasker_engine.events) ORDER BY e.id",
            &[],
        )
    };
    let direct = rows(&mut session, "on");
    assert_eq!(direct.len(), 301);
    assert_eq!(rows(&mut session, "off"), direct);
    session.execute("SET tasker.direct_table_access = on");
    let ways: Vec<Option<String>> = session.all(
        "SELECT DISTINCT reason FROM tasker.table_access() WHERE table_name LIKE 'event%'",
        &[],
    );
    assert_eq!(ways, [None]);
    // Not what it was: the SQL statement finds the place, or says why there is none.
    session.execute("ALTER TABLE tasker_engine.events DETACH PARTITION tasker_engine.events_0");
    session
        .fails("SELECT tasker.publish_event('orders.x')", &[])
        .is("23514")
        .says(&["no partition"]);
}

#[test]
fn workers_and_operators_publish_and_admins_register() {
    let (database, mut session, _) = started(&shapes::chain("one", 1));
    for role in ["reader", "worker", "operator", "admin"] {
        session.execute(&format!(
            "CREATE ROLE publishing_{role} LOGIN; GRANT tasker_{role} TO publishing_{role}"
        ));
        let mut user = database.connect_as(&format!("publishing_{role}"));
        let publishes = [
            "SELECT tasker.publish_event('orders.x')",
            "SELECT tasker.publish_events('{orders.x}', ARRAY['{}']::jsonb[])",
        ];
        for call in publishes {
            assert_eq!(
                user.attempt_rows(call).is_ok(),
                role != "reader",
                "{role} {call}"
            );
        }
        let registers = user
            .attempt_rows("SELECT tasker.register_event('orders.x')")
            .is_ok();
        assert_eq!(registers, role == "admin", "{role}");
    }
}

#[test]
fn a_payload_is_read_as_the_very_jsonb_that_was_published() {
    let (_database, mut session, _) = started(&shapes::chain("one", 1));
    let many: serde_json::Map<String, Value> = (0..100)
        .map(|no| {
            (
                format!("{}{no}", "key".repeat(no % 3)),
                json!([no, {"of": "x".repeat(no)}]),
            )
        })
        .collect();
    let deep = (0..99).fold(json!(1), |inner, no| match no % 2 {
        0 => json!([inner, null]),
        _ => json!({"a": inner}),
    });
    let numbers = r#"{"numbers": [0, -0, 1.0, 1.50, 1e3, 1e-7, -2.5e300, 9223372036854775807, 9223372036854775808, 12345678901234567890.123]}"#;
    for payload in [
        "{}".to_owned(),
        Value::Object(many).to_string(),
        json!({"deep": deep}).to_string(),
        numbers.to_owned(),
        r#"{"": "", "b": true, "a": false, "ä": "ö\"\\\n\u0001", "none": null, "aa": {}, "ab": [], "c": [[], {}, [{}]]}"#.to_owned(),
    ] {
        session.query(
            "SELECT tasker.publish_event('orders.kept', $1::text::jsonb)",
            &[&payload],
        );
        // Equal byte by byte, as text, and in each key.
        let same = "SELECT e *= w AND e.payload::text = w.payload::text
                           AND NOT EXISTS (SELECT FROM jsonb_each(w.payload) k WHERE e.payload -> k.key IS DISTINCT FROM k.value)
                    FROM (SELECT payload FROM tasker.read_events(patterns => '{orders.kept}') ORDER BY event_id DESC LIMIT 1) e,
                         (SELECT v AS payload FROM jsonb_array_elements(jsonb_build_array($1::text::jsonb)) v) w";
        assert!(session.one::<bool>(same, &[&payload]), "{payload}");
    }
    // The same of an event of the log.
    let different = "SELECT count(*) FROM (SELECT payload FROM tasker.read_events()) e,
                          LATERAL (SELECT v AS payload FROM jsonb_array_elements(jsonb_build_array(e.payload::text::jsonb)) v) w
                     WHERE e *<> w";
    assert_eq!(session.count(different, &[]), 0);
}

#[test]
fn a_schema_that_another_session_registers_counts_from_its_commit_on() {
    let (database, mut session, _) = started(&shapes::chain("one", 1));
    let mut other = database.connect();
    let publish = "SELECT tasker.publish_event('orders.shipped', '{\"parcel\": 1}')";
    let register =
        "SELECT tasker.register_event('orders.shipped', NULL, '{\"required\": [\"parcels\"]}')";
    session.query(publish, &[]);
    other.execute("BEGIN");
    other.query(register, &[]);
    session.query(publish, &[]);
    other.execute("COMMIT");
    assert_eq!(session.fails(publish, &[]).code, "23514");
    other.query("SELECT tasker.register_event('orders.shipped')", &[]);
    session.query(publish, &[]);
    // A session's own is forgotten with its transaction.
    session.execute("BEGIN");
    session.query(register, &[]);
    session.execute("SAVEPOINT before");
    assert_eq!(session.fails(publish, &[]).code, "23514");
    session.execute("ROLLBACK");
    session.query(publish, &[]);
}
