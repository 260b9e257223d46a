//! The start of a run has no row in the log. What reads the log shows the same as if it had one.

use std::collections::BTreeSet;

use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Claim, Database, Session, Template, inside, json, started};

/// What readers of the log see.
const VIEWS: [&str; 8] = [
    "tasker.workflow_step_transitions",
    "tasker.workflow_step_transition_details",
    "tasker.workflow_step_transition_statistics()",
    "tasker_engine.ended_runs",
    "tasker.workflow_step_transitions_to_state('in_progress')",
    "tasker.workflow_step_transitions_in_time_range('-infinity', 'infinity')",
    "tasker.workflow_steps_for_tasks_since('-infinity')",
    "tasker.workflow_steps",
];

fn shown(session: &mut Session) -> Vec<(&'static str, BTreeSet<String>)> {
    VIEWS
        .into_iter()
        .map(|view| {
            let rows = session.all(&format!("SELECT o::text FROM {view} o"), &[]);
            (view, rows.into_iter().collect())
        })
        .collect()
}

fn fan() -> Template {
    Template::new("fan")
        .step("first", &[])
        .step("left", &["first"])
        .step("right", &["first"])
        .step("last", &["left", "right"])
        .every_step(json!({"retry": {"backoff": "none", "limit": 3}}))
        .with("timeout_seconds", json!(3600))
}

fn released(claim: &Claim) -> tasker_client_tests::Value {
    json!({ "step_uuid": claim.step.to_string(), "claim_number": claim.number, "status": "released", "reason": "not mine" })
}

/// Runs that end in each way, and some that go on.
fn all_ways() -> (Database, Session) {
    let (database, mut session, _) = started(&fan());
    session.create_many("fan", 39);
    let claims = session.claim(&Ask::by("worker", 40));
    assert_eq!(claims.len(), 40);
    let reports: Vec<_> = claims[..30]
        .iter()
        .enumerate()
        .map(|(place, claim)| match place % 5 {
            0 => claim.failed(false),
            1 => claim.failed(true),
            2 => released(claim),
            _ => claim.done(json!({"n": place})),
        })
        .collect();
    // Reports and a claim in one call: ends, then starts.
    session.report_and_claim(&Ask::by("worker", 12), &reports);
    session.query("SELECT tasker.release_steps('worker')", &[]);
    let second = session.claim(&Ask::by("lost", 6));
    inside::lease_ended(&mut session, "lost", 1);
    let third = session.claim(&Ask::by("next", 8));
    assert!(!third.is_empty());
    let held = session.claim(&Ask::by("holder", 10));
    assert_eq!(held.len(), 10);
    let step = |at: usize| held[at].step;
    for (place, to) in ["complete", "error", "cancelled", "pending"]
        .into_iter()
        .enumerate()
    {
        session.query(
            "SELECT tasker.transition_step($1, $2)",
            &[&step(place), &to],
        );
    }
    session.query(
        "SELECT tasker.transition_step($1, 'in_progress', '{\"by\": \"hand\"}')",
        &[&step(3)],
    );
    session.query("SELECT tasker.transition_step($1, 'complete')", &[&step(3)]);
    session.query("SELECT tasker.cancel_task($1)", &[&held[4].task]);
    let failed: tasker_client_tests::Uuid = session.one(
        "SELECT task_uuid FROM tasker.tasks WHERE state = 'error' ORDER BY 1 LIMIT 1",
        &[],
    );
    session.query("SELECT tasker.retry_task($1)", &[&failed]);
    session.query(
        "SELECT tasker.transition_task($1, 'error')",
        &[&held[5].task],
    );
    let again = session.claim(&Ask::by("again", 5));
    session.fail(&again[0]);
    session.complete(&again[1], &json!({}));
    drop((second, third));
    (database, session)
}

#[test]
fn the_log_shows_the_starts_of_runs_as_if_each_had_a_row() {
    let (_database, mut session) = all_ways();
    let derived = shown(&mut session);
    let starts = inside::store_starts(&mut session);
    assert!(starts.ended > 40 && starts.going_on > 5, "{starts:?}");
    for ((view, derived), (_, stored)) in derived.iter().zip(shown(&mut session)) {
        let extra: Vec<_> = derived.difference(&stored).take(3).collect();
        let missing: Vec<_> = stored.difference(derived).take(3).collect();
        assert!(
            extra.is_empty() && missing.is_empty(),
            "{view}: shown {extra:#?}, stored {missing:#?}"
        );
    }
    assert_eq!(session.disagreements(), [] as [String; 0]);
}

#[test]
fn every_end_of_a_run_has_its_beginning_its_worker_and_its_attempt() {
    let (_database, mut session) = all_ways();
    let lacking: Vec<String> = inside::ends_that_lack_a_run(&mut session);
    assert_eq!(lacking, [] as [String; 0]);
    let wrong: Vec<String> = session.all(
        "SELECT b::text || ' ' || e::text
         FROM tasker.workflow_step_transitions b
         JOIN tasker.workflow_step_transitions e ON e.step_uuid = b.step_uuid AND e.sort_key = b.sort_key + 10
         WHERE b.to_state = 'in_progress' AND (e.from_state <> 'in_progress' OR e.attempt <> b.attempt OR e.worker_id IS DISTINCT FROM b.worker_id)",
        &[],
    );
    assert_eq!(wrong, [] as [String; 0]);
}

/// A step that may run for a minute, of a worker that asks for an hour.
fn running(session: &mut Session, way: &'static str) -> Claim {
    session.create("slow");
    let ask = Ask {
        lease: "1 hour",
        ..Ask::by(way, 1)
    };
    session.claim(&ask).remove(0)
}

/// Ends a run in one of the ways; `$1` is the step and `$2` the task.
fn end(session: &mut Session, way: &str, claim: &Claim) {
    let another = |session: &mut Session| {
        // Leases and timeouts are looked for at most fifty times a second.
        std::thread::sleep(std::time::Duration::from_millis(25));
        session.claim(&Ask::by("another", 1));
    };
    let call = match way {
        "complete" => return drop(session.complete(claim, &json!({}))),
        "failed" => return drop(session.fail_and_wait(claim)),
        "lease" => {
            inside::lease_ended(session, way, 1);
            return another(session);
        }
        "timeout" => {
            inside::run_for(session, 61);
            return another(session);
        }
        "released" => {
            "SELECT tasker.release_steps('released') FROM (VALUES ($1::uuid, $2::uuid)) v"
        }
        "cancel_task" => "SELECT tasker.cancel_task($2) FROM (VALUES ($1::uuid)) v",
        "cancel_step" => "SELECT tasker.cancel_step($1) FROM (VALUES ($2::uuid)) v",
        "to complete" => "SELECT tasker.transition_step($1, 'complete') FROM (VALUES ($2::uuid)) v",
        "to cancelled" => {
            "SELECT tasker.transition_step($1, 'cancelled') FROM (VALUES ($2::uuid)) v"
        }
        "to error" => "SELECT tasker.transition_step($1, 'error') FROM (VALUES ($2::uuid)) v",
        "to pending" => "SELECT tasker.transition_step($1, 'pending') FROM (VALUES ($2::uuid)) v",
        _ => panic!("{way}"),
    };
    session.query(call, &[&claim.step, &claim.task]);
}

#[test]
fn the_event_of_a_start_has_its_time_its_worker_and_its_attempt_whatever_ended_the_run() {
    let database = Database::new();
    let mut session = database.connect();
    Template::new("slow")
        .step_with("call", &[], json!({"timeout_seconds": 60}))
        .register(&mut session);
    let (mut found, mut expected) = (vec![], vec![]);
    for way in [
        "complete",
        "failed",
        "released",
        "lease",
        "timeout",
        "cancel_task",
        "cancel_step",
        "to complete",
        "to error",
        "to cancelled",
        "to pending",
    ] {
        let claim = running(&mut session, way);
        let starts = "SELECT concat_ws(' ', payload ->> 'worker_id', payload ->> 'attempt_number', payload ->> 'started_at' = tasker_engine.event_time(occurred_at),
                              occurred_at BETWEEN now() - interval '10 minutes' AND now())
                      FROM tasker.read_events(patterns => '{step.execution_requested}') WHERE step_uuid = $1 ORDER BY event_id LIMIT 1";
        assert_eq!(session.all::<String>(starts, &[&claim.step]), [""; 0]);
        end(&mut session, way, &claim);
        expected.extend([format!("{way} 1 t t"), format!("{way} 1")]);
        found.extend(session.all::<String>(starts, &[&claim.step]));
        found.extend(session.all::<String>(
            "SELECT concat_ws(' ', worker_id, attempt) FROM tasker.workflow_step_transitions
             WHERE step_uuid = $1 AND from_state = 'in_progress' ORDER BY id LIMIT 1",
            &[&claim.step],
        ));
        // The next claim gets a step of another task.
        inside::end_open(&mut session);
    }
    assert_eq!(found, expected);
    assert_eq!(
        inside::ends_that_lack_a_run(&mut session),
        [] as [String; 0]
    );
}

#[test]
fn a_parent_ends_in_the_log_before_its_child_starts() {
    let (_database, mut session, _) = started(&fan());
    session.create_many("fan", 9);
    let mut reports = vec![];
    for _ in 0..60 {
        let (_, claims) = session.report_and_claim(&Ask::by("worker", 3), &reports);
        reports = claims.iter().map(|claim| claim.done(json!({}))).collect();
    }
    let early: i64 = session.one(
        "SELECT count(*) FROM tasker.workflow_step_edges e
         JOIN tasker.workflow_step_transitions p ON p.step_uuid = e.from_step_uuid AND p.to_state = 'complete'
         JOIN tasker.workflow_step_transitions c ON c.step_uuid = e.to_step_uuid AND c.to_state = 'in_progress'
         WHERE c.id < p.id",
        &[],
    );
    let children: i64 = session.one(
        "SELECT count(*) FROM tasker.workflow_step_transitions c WHERE c.to_state = 'in_progress'",
        &[],
    );
    assert_eq!((early, children), (0, 40));
}

#[test]
fn a_row_written_under_a_savepoint_has_the_id_of_the_whole_transaction() {
    let (_database, mut session, task) = started(&fan());
    session.execute("BEGIN; SAVEPOINT inner_one");
    let claim = session.claim_one("worker");
    session.complete(&claim, &json!({}));
    session.execute("SAVEPOINT inner_two");
    session.query("SELECT tasker.cancel_task($1)", &[&task]);
    let others: i64 = inside::rows_of_other_transactions(&mut session);
    session.execute("COMMIT");
    assert_eq!(others, 0);
}

#[test]
fn a_run_that_began_before_an_update_is_shown_once() {
    let (_database, mut session, _) = started(&fan());
    session.create_many("fan", 5);
    let claims = session.claim(&Ask::by("worker", 6));
    let starts = inside::store_starts(&mut session);
    assert_eq!((starts.ended, starts.going_on), (0, 6));
    let reports = [
        claims[0].done(json!({})),
        claims[1].failed(true),
        released(&claims[2]),
    ];
    session.report_and_claim(&Ask::by("worker", 6), &reports);
    session.query("SELECT tasker.cancel_task($1)", &[&claims[3].task]);
    let twice: Vec<String> = session.all(
        "SELECT concat_ws(' ', step_no, t.attempt, claim_number, count(*))
         FROM tasker.workflow_step_transitions t JOIN tasker.workflow_steps s USING (step_uuid, step_no)
         WHERE t.to_state = 'in_progress'
         GROUP BY step_uuid, step_no, t.attempt, claim_number HAVING count(*) > claim_number",
        &[],
    );
    assert_eq!(twice, [] as [String; 0]);
    assert_eq!(
        inside::ends_that_lack_a_run(&mut session),
        [] as [String; 0]
    );
    assert_eq!(session.disagreements(), [] as [String; 0]);
}
