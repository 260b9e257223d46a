//! Documents of many levels: what can become part of an event is refused where it is given, so that no reader meets it.

use tasker_client_tests::{Session, Value, json, shapes, started};

fn deep(levels: usize) -> String {
    format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels))
}

fn names(session: &mut Session, format: &str) -> Vec<String> {
    session.all(
        "SELECT name FROM tasker.read_events(max_events => 10000, format => $1) WHERE event_id IS NOT NULL ORDER BY event_id",
        &[&format],
    )
}

#[test]
fn what_could_become_part_of_an_event_has_at_most_a_hundred_levels() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    let other = session.create("two");
    session.execute("SELECT tasker.subscribe('audit', start_at => 'beginning')");
    let step: String = session.one(
        "SELECT step_uuid::text FROM tasker.workflow_steps WHERE task_uuid = $1 ORDER BY name LIMIT 1",
        &[&task],
    );
    let calls = |document: &str| {
        [
            format!("publish_event('orders.a', '{document}')"),
            format!(
                "publish_events(ARRAY['orders.b', 'orders.c'], ARRAY['{{}}', '{document}']::jsonb[])"
            ),
            format!("register_handlers('w', '{{h}}', metadata => '{document}')"),
            format!("subscribe('filtered', filter => '{document}')"),
            format!("preview_subscription('{{*}}', '{document}')"),
            format!("transition_step('{step}', 'cancelled', '{document}')"),
            format!("transition_task('{other}', 'cancelled', '{document}')"),
        ]
    };
    for call in calls(&deep(101)) {
        session
            .fails(&format!("SELECT * FROM tasker.{call}"), &[])
            .is("22023")
            .message_says(&["is nested too deeply"])
            .detail_says(&["At most 100 levels of objects and arrays"])
            .hint_says(&["as a text"]);
    }
    for transition in [
        format!(
            "try_transition_step('{step}', 'cancelled', '{}')",
            deep(101)
        ),
        format!(
            "try_transition_task('{other}', 'cancelled', '{}')",
            deep(101)
        ),
    ] {
        session
            .fails(&format!("SELECT tasker.{transition}"), &[])
            .is("22023");
    }
    for call in calls(&deep(100)) {
        session.query(&format!("SELECT * FROM tasker.{call}"), &[]);
    }
    let native = names(&mut session, "native");
    for name in [
        "orders.a",
        "orders.c",
        "handler.registered",
        "step.cancelled",
        "task.cancelled",
    ] {
        assert!(native.iter().any(|one| one == name), "{name} in {native:?}");
    }
    assert_eq!(names(&mut session, "cloudevents"), native);
    let polled: Vec<String> = session.all(
        "SELECT name FROM tasker.poll_events('audit', 10000) ORDER BY event_id",
        &[],
    );
    assert_eq!(polled, native);
}

#[test]
fn a_report_with_an_event_of_too_many_levels_is_accepted_without_it() {
    let (_database, mut session, _) = started(&shapes::chain("two", 2));
    let claim = session.claim_one("w");
    let mut report = claim.done(json!({}));
    let payload = (0..101).fold(json!(1), |inner, _| json!({"a": inner}));
    report["events"] =
        json!([{"name": "orders.deep", "payload": payload}, {"name": "orders.flat"}]);
    let outcome: Vec<String> = session.all(
        "SELECT outcome FROM tasker.report_steps('w', $1)",
        &[&json!([report])],
    );
    assert_eq!(outcome, ["complete"]);
    let refused: Value = session.one(
        "SELECT l.metadata -> 'refused_events' FROM tasker.workflow_step_transitions l
         WHERE l.step_uuid = $1 AND l.metadata ? 'refused_events'",
        &[&claim.step],
    );
    assert!(
        refused.to_string().contains("is nested too deeply"),
        "{refused}"
    );
    let told = names(&mut session, "native");
    assert!(told.iter().any(|name| name == "orders.flat"), "{told:?}");
    assert!(told.iter().all(|name| name != "orders.deep"), "{told:?}");
}

#[test]
fn data_that_is_too_deep_for_the_parser_or_too_large_is_left_out_and_named() {
    let (_database, mut session, _) = started(&shapes::chain("two", 1));
    session.execute("SELECT tasker.cancel_task(task_uuid) FROM tasker.tasks");
    session.execute("SELECT tasker.subscribe('audit', '{step.completed}', include_data => true)");
    let data = |session: &mut Session, context: &str, results: &str| -> Value {
        session.execute(&format!("SELECT tasker.create_task('two', '{context}')"));
        session.query(
            "SELECT tasker.complete_step(c.step_uuid, c.claim_number, $1::text::jsonb) FROM tasker.report_and_claim('w') c",
            &[&results],
        );
        session.one(
            "SELECT payload -> 'data' FROM tasker.poll_events('audit')",
            &[],
        )
    };
    assert_eq!(
        data(&mut session, r#"{"n": 1}"#, &deep(150)),
        json!({"context": {"n": 1}, "inputs": {"n": 1}, "omitted": ["results"]})
    );
    assert_eq!(
        data(&mut session, &deep(150), r#"{"n": 2}"#),
        json!({"results": {"n": 2}, "omitted": ["context", "inputs"]})
    );
    let large = format!(r#"{{"n": "{}"}}"#, "x".repeat(17 << 20));
    assert_eq!(
        data(&mut session, &large, r#"{"n": 3}"#),
        json!({"results": {"n": 3}, "omitted": ["context", "inputs"]})
    );
}
