//! What operators do: cancellation, manual resolution, retries by hand, pauses.

use std::time::Duration;

use tasker_client_tests::worker::{Ask, done};
use tasker_client_tests::{Act, Database, Session, Template, Uuid, inside, json, shapes, started};

fn call(session: &mut Session, function: &str, uuid: Uuid) -> String {
    session.one(&format!("SELECT tasker.{function}($1)"), &[&uuid])
}

/// From, to and metadata of a task's transitions.
fn task_story(session: &mut Session, task: Uuid) -> Vec<String> {
    session.all(
        "SELECT coalesce(from_state, 'new') || '>' || to_state FROM tasker.task_transitions WHERE task_uuid = $1 ORDER BY id",
        &[&task],
    )
}

// --- Cancelling.

#[test]
fn cancelling_a_task_cancels_its_pending_and_running_steps_and_keeps_the_rest() {
    let template = Template::new("fates")
        .step("done", &[])
        .step("failed", &[])
        .step("running", &[])
        .step("waiting", &["done", "running"]);
    let (_database, mut session, task) = started(&template);
    let claims = session.claim(&Ask::by("worker", 3));
    session.complete(&claims[0], &json!({"value": 1}));
    session.fail_and_wait(&claims[1]);
    let state: String = session.one(
        "SELECT tasker.cancel_task($1, 'no longer wanted')",
        &[&task],
    );
    assert_eq!(state, "cancelled");
    assert_eq!(
        session.steps(task),
        [
            "done complete/1",
            "failed error/1",
            "running cancelled/1",
            "waiting cancelled/0"
        ]
    );
    assert_eq!(session.results(task, "done"), json!({"value": 1}));
    let reason: String = session.one(
        "SELECT metadata ->> 'reason' FROM tasker.task_transitions WHERE task_uuid = $1 AND to_state = 'cancelled'",
        &[&task],
    );
    assert_eq!(reason, "no longer wanted");
    // The step in error never runs again.
    inside::make_due(&mut session, task);
    assert!(session.claim_all("worker").is_empty());
    assert_eq!(session.steps(task)[1], "failed error/1");
    assert_eq!(
        task_story(&mut session, task),
        [
            "new>pending",
            "pending>in_progress",
            "in_progress>cancelled"
        ]
    );
}

#[test]
fn a_late_report_of_a_cancelled_step_is_stale_and_changes_nothing() {
    let (_database, mut session, task) = started(&shapes::wide("wide", 2));
    let claims = session.claim(&Ask::by("worker", 2));
    call(&mut session, "cancel_task", task);
    let before = inside::fingerprint(&mut session);
    session
        .try_complete(&claims[0])
        .expect_err("stale")
        .is("55006");
    session
        .try_fail_for_good(&claims[1])
        .expect_err("stale")
        .is("55006");
    let reports = json!([claims[0].done(json!({})), claims[1].failed(true)]);
    let outcomes: Vec<String> = session.all(
        "SELECT outcome FROM tasker.report_steps('worker', $1)",
        &[&reports],
    );
    assert_eq!(outcomes, ["stale", "stale"]);
    assert_eq!(inside::fingerprint(&mut session), before);
}

#[test]
fn a_heartbeat_tells_its_worker_that_a_step_was_cancelled() {
    let (_database, mut session, task) = started(&shapes::wide("wide", 3));
    let claims = session.claim(&Ask::by("worker", 3));
    session.query("SELECT tasker.cancel_step($1)", &[&claims[1].step]);
    let beats = session.query(
        "SELECT step_uuid, status FROM tasker.heartbeat('worker')",
        &[],
    );
    let mut beats: Vec<(Uuid, String)> = beats.iter().map(|row| (row.get(0), row.get(1))).collect();
    beats.sort();
    let wanted = [
        (claims[0].step, "extended"),
        (claims[1].step, "cancelled"),
        (claims[2].step, "extended"),
    ];
    assert_eq!(
        beats,
        wanted.map(|(step, status)| (step, status.to_owned()))
    );
    call(&mut session, "cancel_task", task);
    let beats: Vec<String> = session.all("SELECT status FROM tasker.heartbeat('worker')", &[]);
    assert!(!beats.contains(&"extended".to_owned()), "{beats:?}");
}

#[test]
fn cancelling_from_error_is_refused_for_tasks_and_steps() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    session.work(|_| Act::FailForGood);
    let step = session.step(task, "step_1");
    let before = inside::fingerprint(&mut session);
    session
        .fails("SELECT tasker.cancel_task($1)", &[&task])
        .is("55000")
        .message_says(&["error", "cancelled"])
        .hint_says(&["resolve_task_manually"]);
    session
        .fails("SELECT tasker.cancel_step($1)", &[&step])
        .is("55000")
        .message_says(&["error", "cancelled"])
        .hint_says(&["resolve_step_manually"]);
    assert_eq!(inside::fingerprint(&mut session), before);
}

#[test]
fn a_complete_or_resolved_task_can_be_cancelled_and_its_steps_stay() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    session.work(|_| done());
    let before = inside::fingerprint(&mut session);
    let refused = session
        .fails("SELECT tasker.cancel_task($1)", &[&task])
        .is("55000")
        .message_says(&["is complete"])
        .hint_says(&["cancel_completed => true"]);
    assert_eq!(inside::fingerprint(&mut session), before);
    // The hint begins with the call that does it.
    let call_again = refused.hint.split(" cancels").next().expect("a call");
    assert_eq!(session.one::<String>(call_again, &[]), "cancelled");
    assert_eq!(
        session.steps(task),
        ["step_1 complete/1", "step_2 complete/1"]
    );
    let by_hand = session.create("two");
    session.work(|_| done());
    session.query(
        "SELECT tasker.transition_task($1, 'cancelled')",
        &[&by_hand],
    );
    assert_eq!(session.task_state(by_hand), "cancelled");
    let task = session.create("two");
    session.work(|_| Act::FailForGood);
    assert_eq!(
        call(&mut session, "resolve_task_manually", task),
        "resolved_manually"
    );
    assert_eq!(call(&mut session, "cancel_task", task), "cancelled");
    assert_eq!(session.steps(task), ["step_1 error/1", "step_2 pending/0"]);
    session
        .fails("SELECT tasker.cancel_task($1)", &[&task])
        .is("55000");
}

#[test]
fn a_cancelled_step_ends_its_task_only_when_nothing_else_can_run() {
    let (_database, mut session, task) = started(&shapes::diamond());
    session.work_through("start_workflow");
    let step = session.step(task, "branch_one_process");
    let state: String = session.one("SELECT tasker.cancel_step($1, 'not needed')", &[&step]);
    assert_eq!(state, "cancelled");
    assert_eq!(session.task_state(task), "in_progress");
    assert_eq!(
        session.work(|_| done()),
        ["branch_two_process", "branch_two_validate"]
    );
    assert_eq!(session.task_state(task), "error");
    assert_eq!(session.step_state(task, "branch_one_validate"), "pending");
    session
        .fails("SELECT tasker.retry_task($1)", &[&task])
        .is("55000")
        .says(&["cancelled", "resolve_task_manually"]);
    assert_eq!(
        call(&mut session, "resolve_task_manually", task),
        "resolved_manually"
    );
}

// --- Resolving.

#[test]
fn an_exhausted_step_resolved_by_hand_lets_the_task_complete() {
    let (_database, mut session, task) = started(&shapes::linear());
    session.work(|claim| {
        if claim.name == "process_data" {
            Act::Fail
        } else {
            done()
        }
    });
    assert_eq!(session.task_state(task), "error");
    let step = session.step(task, "process_data");
    assert_eq!(
        call(&mut session, "resolve_step_manually", step),
        "resolved_manually"
    );
    assert_eq!(session.task_state(task), "pending");
    let ready: Vec<String> = session
        .claim_all("looking")
        .into_iter()
        .map(|claim| claim.name)
        .collect();
    assert_eq!(ready, ["transform_results"]);
    session.query("SELECT tasker.release_steps('looking')", &[]);
    session.work(|_| done());
    assert_eq!(session.task_state(task), "complete");
    assert_eq!(
        task_story(&mut session, task),
        [
            "new>pending",
            "pending>in_progress",
            "in_progress>error",
            "error>pending",
            "pending>in_progress",
            "in_progress>complete"
        ]
    );
    assert_eq!(session.context(task), "all_complete / 100.00 / healthy");
}

#[test]
fn the_last_failed_step_resolved_by_hand_completes_the_task_at_once() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    session.work(|claim| {
        if claim.name == "step_2" {
            Act::FailForGood
        } else {
            done()
        }
    });
    let step = session.step(task, "step_2");
    session.query(
        "SELECT tasker.resolve_step_manually($1, '{\"ok\": true}', 'ann', 'done by phone')",
        &[&step],
    );
    assert_eq!(session.task_state(task), "complete");
    assert_eq!(
        task_story(&mut session, task)[2..],
        [
            "in_progress>error",
            "error>pending",
            "pending>in_progress",
            "in_progress>complete"
        ]
    );
    let note: String = session.one(
        "SELECT (metadata ->> 'resolved_by') || ': ' || (metadata ->> 'reason')
         FROM tasker.workflow_step_transitions WHERE step_uuid = $1 AND to_state = 'resolved_manually'",
        &[&step],
    );
    assert_eq!(note, "ann: done by phone");
}

#[test]
fn a_running_step_cannot_be_resolved_and_a_pending_one_can() {
    let (_database, mut session, task) = started(&shapes::chain("three", 3));
    let claim = session.claim_one("worker");
    session
        .fails("SELECT tasker.resolve_step_manually($1)", &[&claim.step])
        .is("55000")
        .says(&["in_progress"]);
    let second = session.step(task, "step_2");
    assert_eq!(
        call(&mut session, "resolve_step_manually", second),
        "resolved_manually"
    );
    // Its child needs only it, and is ready before the first step is complete.
    let last = session.claim_one("worker");
    assert_eq!(last.name, "step_3");
    session.complete(&last, &json!({}));
    assert_eq!(session.task_state(task), "in_progress");
    session.complete(&claim, &json!({}));
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn a_task_whose_every_step_is_resolved_by_hand_completes_without_a_worker() {
    let (_database, mut session, task) = started(&shapes::small_diamond());
    for name in ["end", "b", "c", "start"] {
        let step = session.step(task, name);
        assert_eq!(
            call(&mut session, "resolve_step_manually", step),
            "resolved_manually"
        );
    }
    assert_eq!(session.task_state(task), "complete");
    assert_eq!(
        task_story(&mut session, task),
        ["new>pending", "pending>in_progress", "in_progress>complete"]
    );
    assert!(session.claim_all("worker").is_empty());
}

#[test]
fn a_join_resolved_by_hand_before_its_parents_is_not_run_when_they_complete() {
    let (_database, mut session, task) = started(&shapes::small_diamond());
    let end = session.step(task, "end");
    call(&mut session, "resolve_step_manually", end);
    let ran = session.work(|_| done());
    assert_eq!(ran.len(), 3);
    assert!(!ran.contains(&"end".to_owned()));
    assert_eq!(session.task_state(task), "complete");
}

// --- Retrying.

#[test]
fn a_raised_limit_makes_an_exhausted_step_run_again() {
    let (_database, mut session, task) = started(&shapes::linear());
    session.work(|claim| {
        if claim.name == "process_data" {
            Act::Fail
        } else {
            done()
        }
    });
    let step = session.step(task, "process_data");
    session.query("SELECT tasker.set_retry_limit($1, 5)", &[&step]);
    assert_eq!(session.task_state(task), "pending");
    let again = session.claim_one("worker");
    assert_eq!(
        (again.name.as_str(), again.attempt, again.retry_limit),
        ("process_data", 4, 5)
    );
    session.complete(&again, &json!({}));
    session.work(|_| done());
    assert_eq!(session.steps(task)[2], "process_data complete/4");
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn a_lowered_limit_ends_a_step_that_waits_for_its_retry() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    session.work(|_| Act::FailAndWait);
    assert_eq!(session.task_state(task), "in_progress");
    let step = session.step(task, "step_1");
    session.query("SELECT tasker.set_retry_limit($1, 1)", &[&step]);
    assert_eq!(session.task_state(task), "error");
    inside::make_due(&mut session, task);
    assert!(session.claim_all("worker").is_empty());
}

#[test]
fn a_limit_lowered_while_a_step_runs_counts_at_its_report() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    let claim = session.claim_one("worker");
    session.query("SELECT tasker.set_retry_limit($1, 1)", &[&claim.step]);
    session.fail(&claim);
    assert_eq!(session.task_state(task), "error");
    assert!(session.claim_all("worker").is_empty());
}

#[test]
fn a_retried_task_starts_its_failed_steps_over_and_keeps_the_complete_ones() {
    let (_database, mut session, task) = started(&shapes::diamond());
    session.work(|claim| {
        if claim.name.starts_with("branch_one") {
            Act::Fail
        } else {
            done()
        }
    });
    assert_eq!(session.task_state(task), "error");
    let state: String = session.one("SELECT tasker.retry_task($1, 'fixed')", &[&task]);
    assert_eq!(state, "pending");
    assert!(
        session
            .steps(task)
            .contains(&"branch_one_process pending/0".to_owned())
    );
    let ran = session.work(|_| done());
    assert_eq!(
        ran,
        [
            "branch_one_process",
            "branch_one_validate",
            "merge_branches",
            "end_workflow"
        ]
    );
    assert_eq!(session.task_state(task), "complete");
    assert!(
        session
            .steps(task)
            .iter()
            .all(|step| step.ends_with(" complete/1"))
    );
}

#[test]
fn a_step_that_failed_permanently_can_be_retried_by_hand() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    session.work(|_| Act::FailForGood);
    let step = session.step(task, "step_1");
    assert_eq!(call(&mut session, "retry_step", step), "pending");
    assert_eq!(session.task_state(task), "pending");
    // It may fail and be retried as in the beginning.
    let ran = session.work(|claim| if claim.attempt < 3 { Act::Fail } else { done() });
    assert_eq!(
        ran,
        ["step_1", "step_1", "step_1", "step_2", "step_2", "step_2"]
    );
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn a_retry_without_reset_goes_on_counting() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    session.work(|_| Act::FailAndWait);
    let step = session.step(task, "step_1");
    let state: String = session.one("SELECT tasker.retry_step($1, false)", &[&step]);
    assert_eq!(state, "pending");
    assert_eq!(session.claim_one("worker").attempt, 2);
}

#[test]
fn a_retry_of_a_waiting_step_runs_it_once_and_not_again_when_its_backoff_ends() {
    let (_database, mut session, task) = started(
        &shapes::wide("wide", 2)
            .every_step(json!({"retry": {"backoff": "linear", "backoff_base_ms": 200}})),
    );
    let claims = session.claim(&Ask::by("worker", 2));
    session.fail_and_wait(&claims[0]);
    call(&mut session, "retry_step", claims[0].step);
    let again = session.claim_one("worker");
    assert_eq!(again.step, claims[0].step);
    session.complete(&again, &json!({}));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(session.claim_all("worker").is_empty());
    session.complete(&claims[1], &json!({}));
    assert_eq!(session.task_state(task), "complete");
    assert_eq!(session.arrivals(task, Some("step_1"), "in_progress"), 2);
}

#[test]
fn steps_of_an_ended_task_cannot_be_changed() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    let claim = session.claim_one("worker");
    session.fail_and_wait(&claim);
    call(&mut session, "cancel_task", task);
    let before = inside::fingerprint(&mut session);
    for function in ["retry_step", "resolve_step_manually"] {
        session
            .fails(&format!("SELECT tasker.{function}($1)"), &[&claim.step])
            .is("55000")
            .says(&["cancelled"]);
    }
    session
        .fails("SELECT tasker.retry_task($1)", &[&task])
        .is("55000");
    session
        .fails("SELECT tasker.resolve_task_manually($1)", &[&task])
        .is("55000");
    assert_eq!(inside::fingerprint(&mut session), before);
}

#[test]
fn an_operation_that_is_rolled_back_leaves_nothing() {
    let (_database, mut session, task) = started(&shapes::small_diamond());
    let claim = session.claim_one("worker");
    let before = inside::fingerprint(&mut session);
    session.execute("BEGIN");
    call(&mut session, "cancel_task", task);
    session.execute("ROLLBACK");
    assert_eq!(inside::fingerprint(&mut session), before);
    session.complete(&claim, &json!({}));
    assert_eq!(session.work(|_| done()).len(), 3);
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn a_claim_finds_the_live_step_behind_many_cancelled_ones() {
    let (_database, mut session, first) = started(&shapes::chain("one", 1));
    let tasks = session.create_many("one", 300);
    let (last, cancelled) = tasks.split_last().expect("many");
    session.query(
        "SELECT tasker.cancel_task(t) FROM unnest($1::uuid[] || $2::uuid) t",
        &[&cancelled, &first],
    );
    let claims = session.claim(&Ask::by("worker", 1));
    assert_eq!(
        claims.iter().map(|claim| claim.task).collect::<Vec<_>>(),
        [*last],
        "an idle worker would go to sleep here"
    );
}

// --- Pauses.

#[test]
fn a_paused_namespace_hands_out_nothing_and_takes_reports() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    shapes::chain("elsewhere", 1)
        .with("namespace_name", json!("other"))
        .register(&mut session);
    session.query(
        "SELECT tasker.create_task('elsewhere', namespace => 'other')",
        &[],
    );
    let claim = session.claim_one("worker");
    session.create("two");
    session.query("SELECT tasker.pause_namespace('default')", &[]);
    assert!(session.claim_all("worker").is_empty());
    session.complete(&claim, &json!({}));
    assert!(
        session.claim_all("worker").is_empty(),
        "the child of a reported step was handed out"
    );
    session.create("two");
    assert!(session.claim_all("worker").is_empty());
    let ask = Ask {
        namespaces: vec!["default", "other"],
        most: 10,
        ..Ask::default()
    };
    let others: Vec<String> = session
        .claim(&ask)
        .into_iter()
        .map(|claim| claim.namespace)
        .collect();
    assert_eq!(others, ["other"]);
    session.query("SELECT tasker.resume_namespace('default')", &[]);
    assert_eq!(session.claim_soon(&Ask::by("worker", 10), 3).len(), 3);
    assert_eq!(session.task_state(task), "in_progress");
}

#[test]
fn a_resumed_namespace_hands_out_its_steps_at_once() {
    let (_database, mut session, _task) = started(&shapes::chain("two", 2));
    for _ in 0..3 {
        session.query("SELECT tasker.pause_namespace('default')", &[]);
        assert!(session.claim_all("worker").is_empty());
        session.query("SELECT tasker.resume_namespace('default')", &[]);
        assert_eq!(session.claim_all("worker").len(), 1);
        session.query("SELECT tasker.release_steps('worker')", &[]);
    }
    // Twice is no error.
    session.query("SELECT tasker.resume_namespace('default')", &[]);
}

#[test]
fn a_queue_made_in_a_paused_namespace_is_paused_too() {
    let (_database, mut session, _task) = started(&shapes::chain("two", 2));
    session.query("SELECT tasker.pause_namespace('default')", &[]);
    Template::new("new")
        .step_with("only", &[], json!({"queue": "gpu"}))
        .register(&mut session);
    session.create("new");
    let ask = Ask {
        queues: Some(vec!["gpu"]),
        ..Ask::by("worker", 10)
    };
    assert!(session.claim(&ask).is_empty());
    session.query("SELECT tasker.resume_namespace('default')", &[]);
    assert_eq!(session.claim_soon(&ask, 1).len(), 1);
}

#[test]
fn a_permanent_failure_before_a_resolved_step_stops_nothing_behind_it() {
    let (_database, mut session, task) = started(&shapes::chain("chain", 4));
    let resolved = session.step(task, "step_2");
    call(&mut session, "resolve_step_manually", resolved);
    for claim in session.claim_all("worker") {
        match claim.name.as_str() {
            "step_1" => session.fail_for_good(&claim),
            _ => session.complete(&claim, &json!({})),
        };
    }
    assert_eq!(session.ready(task), ["step_4"]);
    let claim = session.claim_one("worker");
    assert_eq!(claim.name, "step_4");
    session.complete(&claim, &json!({}));
    assert_eq!(session.task_state(task), "error");
}

#[test]
fn a_lost_worker_before_a_resolved_step_stops_nothing_behind_it() {
    let template = shapes::chain("chain", 4).change("step_1", json!({ "default_retry_limit": 1 }));
    let (_database, mut session, task) = started(&template);
    let resolved = session.step(task, "step_2");
    call(&mut session, "resolve_step_manually", resolved);
    let claims = session.claim(&Ask {
        lease: "1 millisecond",
        ..Ask::by("lost", 1)
    });
    assert_eq!(claims[0].name, "step_1");
    std::thread::sleep(std::time::Duration::from_millis(5));
    let claim = session.claim_one("worker");
    assert_eq!(claim.name, "step_3");
    // Takes over what the lost worker held: its last attempt.
    assert!(session.claim_all("worker").is_empty());
    session.complete(&claim, &json!({}));
    assert_eq!(session.work(|_| done()), ["step_4"]);
    assert_eq!(session.step_state(task, "step_1"), "error");
    assert_eq!(session.task_state(task), "error");
}

#[test]
fn a_retry_that_outlives_a_cancelled_child_ends_the_task() {
    let (_database, mut session, task) = started(&shapes::chain("chain", 2));
    let claim = session.claim_one("worker");
    session.fail(&claim);
    let child = session.step(task, "step_2");
    call(&mut session, "cancel_step", child);
    let claim = session.claim_one("worker");
    session.complete(&claim, &json!({}));
    assert_eq!(session.task_state(task), "error");
}

#[test]
fn a_task_whose_failed_step_lost_its_retry_ends_with_the_last_report() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::wide("wide", 2).register(&mut session);
    let task = session.create("wide");
    let claims = session.claim_all("worker");
    assert_eq!(session.fail_and_wait(&claims[0]), "error");
    session.query("SELECT tasker.set_retry_limit($1, 0)", &[&claims[0].step]);
    assert_eq!(session.task_state(task), "in_progress");
    session.complete(&claims[1], &json!({}));
    assert_eq!(session.task_state(task), "error");
}

#[test]
fn a_step_that_has_not_run_may_run_whatever_its_limit() {
    let (_database, mut session, task) =
        started(&Template::new("pair").step("a", &[]).step("b", &[]));
    let ask = Ask {
        lease: "1 ms",
        ..Ask::by("lost", 2)
    };
    assert_eq!(session.claim(&ask).len(), 2);
    std::thread::sleep(Duration::from_millis(50));
    let taken = session.claim_soon(&Ask::by("next", 1), 1);
    let other = if taken[0].name == "a" { "b" } else { "a" };
    assert_eq!(session.step_state(task, other), "error");
    let step = session.step(task, other);
    for limit in [0, 5, 0] {
        session.query("SELECT tasker.set_retry_limit($1, $2)", &[&step, &limit]);
        assert!(
            session.ready(task).contains(&other.to_owned()),
            "limit {limit}"
        );
    }
    session.complete(&taken[0], &json!({}));
    session.work(|_| done());
    assert_eq!(session.task_state(task), "complete");
}
