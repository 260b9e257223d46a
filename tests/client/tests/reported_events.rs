//! Events that come with a report: published if it is accepted, and never in its way.

use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Claim, Session, Value, json, shapes, started};

fn with(mut report: Value, events: Value) -> Value {
    report["events"] = events;
    report
}

fn outcomes(session: &mut Session, reports: &Value) -> Vec<String> {
    session.all(
        "SELECT outcome FROM tasker.report_steps('w', $1)",
        &[reports],
    )
}

/// Name and number of each event, among those of steps and tasks.
fn told(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT concat_ws(' ', name, payload ->> 'n') FROM tasker.read_events(
             patterns => '{orders.*,step.execution_requested,step.completed,step.failed,step.released,task.completed}')
         WHERE event_id IS NOT NULL",
        &[],
    )
}

fn refused(session: &mut Session, claim: &Claim) -> Option<Value> {
    session.one(
        "SELECT (SELECT l.metadata -> 'refused_events' FROM tasker.workflow_step_transitions l
                 WHERE l.step_uuid = $1 AND l.metadata ? 'refused_events')",
        &[&claim.step],
    )
}

#[test]
fn the_events_of_an_accepted_report_come_behind_it_with_what_is_known_of_its_task() {
    let (_database, mut session, _) = started(&shapes::chain("two", 2));
    let claim = session.claim_one("w");
    let events = json!([{"name": "orders.a", "payload": {"n": 1}}, {"name": "orders.b"}]);
    let (_, next) =
        session.report_and_claim(&Ask::by("w", 1), &[with(claim.done(json!({})), events)]);
    let last = with(
        next[0].done(json!({})),
        json!([{"name": "orders.a", "payload": {"n": 2}}]),
    );
    assert_eq!(outcomes(&mut session, &json!([last])), ["complete"]);
    assert_eq!(
        told(&mut session),
        [
            "step.execution_requested",
            "step.completed",
            "orders.a 1",
            "orders.b",
            "step.execution_requested",
            "step.completed",
            "task.completed",
            "orders.a 2",
        ]
    );
    let steps: Vec<bool> = session.all(
        "SELECT e.step_uuid = CASE WHEN e.payload ->> 'n' = '2' THEN $2::uuid ELSE $1::uuid END AND e.task_uuid = $3 AND e.namespace = 'default'
         FROM tasker.read_events(patterns => '{orders.*}') e",
        &[&claim.step, &next[0].step, &claim.task],
    );
    assert_eq!(steps, [true; 3]);
    // The same event by hand, and the correlation id.
    session.query(
        "SELECT tasker.create_task('two', correlation_id => 'order-7')",
        &[],
    );
    let claim = session.claim_one("w");
    let failed = with(claim.failed(false), json!([{"name": "orders.lost"}]));
    assert_eq!(outcomes(&mut session, &json!([failed])), ["error"]);
    let of: String = session.one(
        "SELECT correlation_id FROM tasker.read_events(patterns => '{orders.lost}')",
        &[],
    );
    assert_eq!(of, "order-7");
}

#[test]
fn a_report_that_is_not_accepted_publishes_nothing() {
    let (_database, mut session, _) = started(&shapes::chain("two", 2));
    let claim = session.claim_one("w");
    let events = json!([{"name": "orders.a"}]);
    let done = with(claim.done(json!({})), events.clone());
    let mut stale = done.clone();
    stale["claim_number"] = json!(claim.number + 1);
    let mut unreadable = done.clone();
    unreadable["status"] = json!("finished");
    let mut unknown = done.clone();
    unknown["step_uuid"] = json!("00000000-0000-0000-0000-000000000001");
    assert_eq!(
        outcomes(&mut session, &json!([stale, unreadable, unknown])),
        ["stale", "invalid", "unknown_step"]
    );
    assert_eq!(told(&mut session), [""; 0]);
    assert_eq!(
        outcomes(&mut session, &json!([done, done])),
        ["complete", "duplicate"]
    );
    assert_eq!(outcomes(&mut session, &json!([done])), ["duplicate"]);
    assert_eq!(
        told(&mut session),
        ["step.execution_requested", "step.completed", "orders.a"]
    );
    // Undone with its report.
    let claim = session.claim_one("w");
    session.execute("BEGIN");
    outcomes(&mut session, &json!([with(claim.done(json!({})), events)]));
    session.execute("ROLLBACK");
    assert_eq!(told(&mut session).len(), 3);
}

#[test]
fn an_event_that_cannot_be_published_is_written_down_and_harms_nothing() {
    let (_database, mut session, _) = started(&shapes::chain("one", 1));
    for _ in 0..8 {
        session.create("one");
    }
    session.query("SELECT tasker.register_event('orders.strict', payload_schema => '{\"required\": [\"n\"]}')", &[]);
    let claims = session.claim(&Ask::by("w", 9));
    let good = json!({"name": "orders.good"});
    let many: Vec<Value> = (0..1030)
        .map(|n| json!({"name": "orders.many", "payload": {"n": n}}))
        .collect();
    let bad: Vec<Value> = (0..30).map(|_| json!({"name": "bad"})).collect();
    let cases = [
        (
            json!([good, {"name": "paid"}]),
            "paid: event name \"paid\" needs a dot",
        ),
        (
            json!([good, {"name": "task.done"}]),
            "task.done: event name \"task.done\" must not",
        ),
        (
            json!([good, {"name": "orders.strict"}]),
            "orders.strict: payload.n",
        ),
        (
            json!([good, {"name": "orders.x", "payload": [1]}]),
            "orders.x: payload must be a JSON object",
        ),
        (json!([good, {"nom": "orders.x"}, 7]), "event 2: it is not"),
        (json!({"name": "orders.x"}), "events must be a JSON array"),
        (json!(many), "30 more: a report can have 1000 events"),
        (json!(bad), "bad: event name"),
        (
            json!([good, {"name": "orders.x", "payload": {"long": "x".repeat(2_000_000)}}]),
            "orders.x: payload is too large",
        ),
    ];
    let reports: Vec<Value> = claims
        .iter()
        .zip(&cases)
        .enumerate()
        .map(|(index, (claim, (events, _)))| {
            let report = match index {
                1 => claim.failed(false),
                2 => json!({"step_uuid": claim.step.to_string(), "claim_number": claim.number, "status": "released", "reason": "busy"}),
                _ => claim.done(json!({})),
            };
            with(report, events.clone())
        })
        .collect();
    let found = outcomes(&mut session, &json!(reports));
    assert_eq!(found[..4], ["complete", "error", "released", "complete"]);
    assert!(found[4..].iter().all(|outcome| outcome == "complete"));
    for (claim, (_, why)) in claims.iter().zip(&cases) {
        let reasons = refused(&mut session, claim).expect("reasons");
        let first = reasons[0].as_str().unwrap_or_default();
        assert!(first.starts_with(why), "{first}");
        assert!(reasons.as_array().is_some_and(
            |all| all.len() <= 11 && all.iter().all(|one| one.to_string().len() < 300)
        ));
    }
    // What is not at fault is published, and what else the log keeps stays.
    let count = |session: &mut Session, name: &str| -> i64 {
        session.count("SELECT count(event_id) FROM tasker.read_events(max_events => 10000, patterns => ARRAY[$1])", &[&name])
    };
    assert_eq!(count(&mut session, "orders.good"), 6);
    assert_eq!(count(&mut session, "orders.many"), 1000);
    let kept: Vec<String> = session.all(
        "SELECT coalesce(l.metadata ->> 'error_message', l.metadata ->> 'reason') FROM tasker.workflow_step_transitions l
         WHERE l.metadata ? 'refused_events' AND l.metadata ?| '{error_message,reason}' ORDER BY l.id",
        &[],
    );
    assert_eq!(kept.len(), 2);
    assert_eq!(kept[1], "busy");
}
