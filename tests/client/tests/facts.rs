//! Facts that are no change of state are events: each is written where it happens, in the same transaction, as the catalogue says.

use std::collections::BTreeSet;

use tasker_client_tests::{Database, Session, Value, shapes, started};
use tasker_rules::template::input_schema::Schema;
use tasker_rules::{Budget, Host};

const FACTS: &str =
    "{handler.*,plugin.*,subscriber.*,template.*,schedule.run,operational_state.changed}";

/// Name, namespace and payload of each fact behind the others.
fn facts(
    session: &mut Session,
    after: &mut Option<String>,
) -> Vec<(String, Option<String>, Value)> {
    let rows = session.query(
        &format!("SELECT event_id, name, namespace, payload, position FROM tasker.read_events($1, 1000, '{FACTS}')"),
        &[after],
    );
    if let Some(last) = rows.last() {
        *after = last.get("position");
    }
    let told = rows
        .iter()
        .filter(|row| row.get::<_, Option<i64>>("event_id").is_some());
    told.map(|row| (row.get("name"), row.get("namespace"), row.get("payload")))
        .collect()
}

/// The same as texts, with these keys of the payload.
fn lines(session: &mut Session, after: &mut Option<String>, keys: &[&str]) -> Vec<String> {
    facts(session, after)
        .into_iter()
        .map(|(name, namespace, payload)| {
            let values = keys
                .iter()
                .filter_map(|key| payload.get(key))
                .map(Value::to_string);
            [name]
                .into_iter()
                .chain(namespace)
                .chain(values)
                .collect::<Vec<_>>()
                .join(" ")
                .replace('"', "")
        })
        .collect()
}

const REGISTRY: &[&str] = &[
    "entity_id",
    "worker_id",
    "namespaces",
    "plugin",
    "plugin_version",
    "options",
];

#[test]
fn an_announcement_tells_what_is_new_and_a_removal_what_is_gone() {
    let (_database, mut session, _) = started(&shapes::chain("one", 1));
    let after = &mut None;
    facts(&mut session, after);
    session.query("SELECT tasker.register_handlers('w', '{a,b,a}')", &[]);
    assert_eq!(
        lines(&mut session, after, REGISTRY),
        ["handler.registered a w", "handler.registered b w"]
    );
    // Said again: nothing new, and a handler more.
    session.query("SELECT tasker.register_handlers('w', '{a,b}')", &[]);
    assert_eq!(lines(&mut session, after, REGISTRY), [""; 0]);
    session.query("SELECT tasker.register_handlers('w', '{c,d}', '{default}', 'kit', '1.0.0', '{\"a\": null}')", &[]);
    assert_eq!(
        lines(&mut session, after, REGISTRY),
        [
            "handler.registered c w [default] kit 1.0.0 {a:null}",
            "handler.registered d w [default] kit 1.0.0 {a:null}",
            "plugin.registered kit w 1.0.0",
        ]
    );
    session.query("SELECT tasker.unregister_handlers('w', '{a,c}')", &[]);
    assert_eq!(
        lines(&mut session, after, REGISTRY),
        [
            "handler.unregistered a w",
            "handler.unregistered c w kit 1.0.0"
        ]
    );
    session.query("SELECT tasker.unregister_handlers('w', '{d}')", &[]);
    assert_eq!(
        lines(&mut session, after, REGISTRY),
        [
            "handler.unregistered d w kit 1.0.0",
            "plugin.unregistered kit w 1.0.0"
        ]
    );
    assert_eq!(
        session.count("SELECT tasker.unregister_handlers('nothing')", &[]),
        0
    );
    // With its worker.
    session.query("SELECT tasker.end_worker('w')", &[]);
    session.execute("UPDATE tasker_engine.workers SET ended_at = ended_at - interval '1 hour'");
    assert_eq!(lines(&mut session, after, REGISTRY), [""; 0]);
    session.query("SELECT tasker_engine.duty_workers()", &[]);
    assert_eq!(
        lines(&mut session, after, REGISTRY),
        ["handler.unregistered b w"]
    );
    // Long silent: the next announcement clears it.
    session.query("SELECT tasker.register_handlers('silent', '{x}')", &[]);
    session.execute(
        "UPDATE tasker_engine.workers SET last_seen_at = last_seen_at - interval '2 days'",
    );
    facts(&mut session, after);
    session.query("SELECT tasker.register_handlers('next', '{y}')", &[]);
    assert_eq!(
        lines(&mut session, after, REGISTRY),
        ["handler.registered y next", "handler.unregistered x silent"]
    );
}

#[test]
fn a_template_tells_when_it_is_stored_and_deleted() {
    let database = Database::new();
    let mut session = database.connect();
    let after = &mut None;
    facts(&mut session, after);
    let keys = &["task_name", "task_version", "total_steps"];
    let register = |session: &mut Session, steps: usize| {
        session.query(
            "SELECT tasker.register_template($1, replace => true)",
            &[&shapes::chain("told", steps)
                .with("namespace_name", "shop".into())
                .text()],
        );
    };
    register(&mut session, 2);
    assert_eq!(
        lines(&mut session, after, keys),
        ["template.registered shop told 0.1.0 2"]
    );
    register(&mut session, 2);
    assert_eq!(
        lines(&mut session, after, keys),
        [""; 0],
        "nothing was stored"
    );
    register(&mut session, 3);
    assert_eq!(
        lines(&mut session, after, keys),
        ["template.registered shop told 0.1.0 3"]
    );
    session.execute("BEGIN; SELECT tasker.delete_template('told', 'shop', '0.1.0'); ROLLBACK");
    assert_eq!(lines(&mut session, after, keys), [""; 0]);
    session.query(
        "SELECT tasker.delete_template('told', 'shop', '0.1.0')",
        &[],
    );
    assert_eq!(
        lines(&mut session, after, keys),
        ["template.deleted shop told 0.1.0"]
    );
    session
        .fails(
            "SELECT tasker.delete_template('told', 'shop', '0.1.0')",
            &[],
        )
        .is("P0002");
    assert_eq!(lines(&mut session, after, keys), [""; 0]);
}

#[test]
fn a_schedule_tells_each_time_that_is_decided_and_the_state_of_the_system_each_change() {
    let (_database, mut session, _) = started(&shapes::chain("one", 1));
    let after = &mut None;
    facts(&mut session, after);
    session.query(
        "SELECT tasker.schedule_task('often', '* * * * * *', 'one', missed_runs => 'all')",
        &[],
    );
    session.execute("UPDATE tasker_engine.schedules SET next_run_at = date_trunc('second', clock_timestamp()) - interval '3 seconds'");
    session.query("SELECT tasker_engine.duty_schedules()", &[]);
    session.query("SELECT tasker.pause_schedule('often')", &[]);
    let runs: i64 = session.count("SELECT count(*) FROM tasker.schedule_runs", &[]);
    let told = facts(&mut session, after);
    assert!(runs >= 3);
    assert_eq!(told.len() as i64, runs);
    for (name, namespace, payload) in &told {
        assert_eq!(
            (name.as_str(), namespace.as_deref()),
            ("schedule.run", Some("default"))
        );
        let matches: bool = session.one(
            "SELECT EXISTS (SELECT FROM tasker.schedule_runs r WHERE r.schedule_name = $1::jsonb ->> 'schedule' AND r.outcome = $1::jsonb ->> 'outcome'
                            AND r.scheduled_for = ($1::jsonb ->> 'scheduled_for')::timestamptz AND r.task_uuid::text IS NOT DISTINCT FROM $1::jsonb ->> 'task_uuid')",
            &[payload],
        );
        assert!(matches, "{payload}");
    }
    let keys = &["previous_state", "state", "reason", "changed_by"];
    session.query(
        "SELECT tasker.set_operational_state('graceful_shutdown', 'a new machine')",
        &[],
    );
    session.query(
        "SELECT tasker.set_operational_state('graceful_shutdown')",
        &[],
    );
    session.query("SELECT tasker.set_operational_state('stopped')", &[]);
    assert_eq!(
        lines(&mut session, after, keys),
        [
            "operational_state.changed normal graceful_shutdown a new machine postgres",
            "operational_state.changed graceful_shutdown stopped postgres",
        ]
    );
}

#[test]
fn every_fact_that_fires_fires_with_the_payload_of_its_schema() {
    let (_database, mut session, _) = started(&shapes::chain("one", 1));
    session.query(
        "SELECT tasker.register_handlers('w', '{a,b}', '{default}', 'kit', '1.0.0', '{\"a\": 1}')",
        &[],
    );
    session.query("SELECT tasker.unregister_handlers('w')", &[]);
    session.query(
        "SELECT tasker.register_template('{name: other, steps: [{name: a, handler: h}]}')",
        &[],
    );
    session.query(
        "SELECT tasker.delete_template('other', 'default', '0.1.0')",
        &[],
    );
    session.query(
        "SELECT tasker.schedule_task('often', '* * * * * *', 'one')",
        &[],
    );
    session.execute(
        "UPDATE tasker_engine.schedules SET next_run_at = clock_timestamp() - interval '1 hour'",
    );
    session.query("SELECT tasker_engine.duty_schedules()", &[]);
    for call in [
        "subscribe('audit', namespaces => '{default}')",
        "unsubscribe('audit')",
        "load_subscriptions('subscriptions: {audit: {class: Audit, events: []}}')",
    ] {
        session.query(&format!("SELECT * FROM tasker.{call}"), &[]);
    }
    session.query("SELECT tasker.set_operational_state('emergency')", &[]);
    let told = facts(&mut session, &mut None);
    for (name, _, payload) in &told {
        let schema: Value = session.one(
            "SELECT payload_schema FROM tasker.event_catalog WHERE name = $1",
            &[name],
        );
        let unlimited = || Budget::unlimited(Host::NONE);
        let schema = Schema::compile(&schema, &unlimited())
            .expect("a budget")
            .expect("a schema");
        let problems = schema
            .validate("payload", payload, unlimited())
            .expect("a budget");
        assert!(problems.is_empty(), "{name} {payload}: {problems:?}");
    }
    let fired: BTreeSet<String> = told.into_iter().map(|(name, ..)| name).collect();
    let firing: BTreeSet<String> = session
        .all(
            &format!(
                "SELECT c.name FROM tasker.event_catalog c WHERE c.synonym_of IS NULL AND c.payload_schema IS NOT NULL
                 AND c.name LIKE ANY (ARRAY(SELECT replace(p, '*', '%') FROM unnest('{FACTS}'::text[]) p))"
            ),
            &[],
        )
        .into_iter()
        .collect();
    assert_eq!(fired, firing);
}

#[test]
fn subscribers_that_come_and_go_and_those_that_a_file_cannot_make_are_told() {
    let (_database, mut session, _) = started(&shapes::chain("one", 1));
    session.execute(
        "CREATE SCHEMA shop; CREATE FUNCTION shop.hears(events jsonb) RETURNS void LANGUAGE sql AS ''",
    );
    let after = &mut None;
    let keys = &[
        "registry_name",
        "entity_type",
        "entity_id",
        "entity_class",
        "patterns",
        "namespaces",
        "validation_error",
    ];
    facts(&mut session, after);
    session.query("SELECT tasker.subscribe('audit')", &[]);
    session.query("SELECT tasker.subscribe('mails', '{task.failed,step.*}', handler => 'sql:shop.hears', namespaces => '{default}')", &[]);
    // One that exists changes, and is not made.
    session.query("SELECT tasker.subscribe('audit', '{task.failed}')", &[]);
    assert_eq!(
        lines(&mut session, after, keys),
        [
            "subscriber.registered subscribers subscriber audit [*]",
            "subscriber.registered subscribers subscriber mails sql:shop.hears [task.failed,step.*] [default]",
        ]
    );
    session.execute("BEGIN; SELECT tasker.subscribe('undone'); ROLLBACK");
    session.execute("SELECT tasker.unsubscribe('nothing')");
    assert_eq!(lines(&mut session, after, keys), [""; 0]);
    session.execute("SELECT tasker.unsubscribe('audit'), tasker.unsubscribe('mails')");
    assert_eq!(
        lines(&mut session, after, keys),
        [
            "subscriber.unregistered subscribers subscriber audit",
            "subscriber.unregistered subscribers subscriber mails sql:shop.hears",
        ]
    );
    // A file: what it makes, and what is wrong with the rest, also what only the database knows.
    session.query(
        "SELECT * FROM tasker.load_subscriptions($1, '{\"Audit\": \"sql:shop.nothing\"}')",
        &[&"subscriptions:
  good: {events: [task.failed]}
  empty: {events: [], enabled: 3, class: Mailer}
  lost: {events: [task.failed], class: Audit}
  number: 7"],
    );
    let told = lines(&mut session, after, keys);
    assert_eq!(
        told[..3],
        [
            "subscriber.registered subscribers subscriber good [task.failed]",
            "subscriber.validation_failed subscribers subscriber empty Mailer subscriptions.empty.events: names no event; subscriptions.empty.enabled: must be true or false",
            "subscriber.validation_failed subscribers subscriber number subscriptions.number: must be an object with the key events",
        ]
    );
    assert!(
        told[3].starts_with("subscriber.validation_failed subscribers subscriber lost Audit ")
            && told[3].contains("shop.nothing"),
        "{told:?}"
    );
    assert_eq!(told.len(), 4);
    let long = format!("subscriptions: {{\"{}\": 1}}", "x".repeat(1000));
    session.query("SELECT * FROM tasker.load_subscriptions($1)", &[&long]);
    let told = facts(&mut session, after);
    assert_eq!(told[0].2["entity_id"].as_str().map(str::len), Some(128));
}
