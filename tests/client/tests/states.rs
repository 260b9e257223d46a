//! The two state machines by hand, their guards, and the log.

use tasker_client_tests::worker::{Ask, done};
use tasker_client_tests::{Act, Database, Session, Uuid, inside, json, shapes, started};
use tasker_rules::engine::readiness;
use tasker_rules::engine::retry::Attempts;
use tasker_rules::engine::state::{StepState, TaskState};

const STATES: [&str; 6] = [
    "pending",
    "in_progress",
    "error",
    "complete",
    "cancelled",
    "resolved_manually",
];

/// A new task of two steps in this state.
fn task_in(session: &mut Session, state: &str) -> Uuid {
    let task = session.create("two");
    match state {
        "pending" => {}
        "in_progress" => drop(session.claim_one("worker")),
        "error" => drop(session.work(|claim| {
            if claim.task == task {
                Act::FailForGood
            } else {
                Act::Keep
            }
        })),
        "complete" => drop(session.work(|claim| {
            if claim.task == task {
                done()
            } else {
                Act::Keep
            }
        })),
        "cancelled" => drop(session.query("SELECT tasker.cancel_task($1)", &[&task])),
        _ => {
            session.work(|claim| {
                if claim.task == task {
                    Act::FailForGood
                } else {
                    Act::Keep
                }
            });
            session.query("SELECT tasker.resolve_task_manually($1)", &[&task]);
        }
    }
    assert_eq!(session.task_state(task), state);
    task
}

#[test]
fn a_task_makes_its_eleven_declared_transitions_and_no_other() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    session.query("SELECT tasker.cancel_task($1)", &[&task]);
    let allowed = [
        ("pending", "in_progress"),
        ("pending", "cancelled"),
        ("pending", "error"),
        ("in_progress", "complete"),
        ("in_progress", "error"),
        ("in_progress", "cancelled"),
        ("in_progress", "pending"),
        ("error", "pending"),
        ("error", "resolved_manually"),
        ("complete", "cancelled"),
        ("resolved_manually", "cancelled"),
    ];
    for from in STATES {
        for to in STATES {
            let task = task_in(&mut session, from);
            let before = inside::fingerprint(&mut session);
            let result = session.attempt::<String>(
                "SELECT tasker.transition_task($1, $2, '{\"by\": \"hand\"}')",
                &[&task, &to],
            );
            match result {
                // The guard: its steps are not complete.
                Err(failure) if (from, to) == ("in_progress", "complete") => {
                    drop(failure.is("09000"))
                }
                Err(failure) => {
                    assert!(
                        !allowed.contains(&(from, to)),
                        "{from} to {to} was refused: {failure}"
                    );
                    failure.is("55000").message_says(&[from, to]);
                }
                Ok(state) => {
                    assert!(allowed.contains(&(from, to)), "{from} to {to} was allowed");
                    assert_eq!(
                        (state.as_str(), session.task_state(task).as_str()),
                        (to, to)
                    );
                    let note: String = session.one(
                        "SELECT metadata ->> 'by' FROM tasker.task_transitions WHERE task_uuid = $1 AND from_state = $2 AND to_state = $3
                         ORDER BY id DESC LIMIT 1",
                        &[&task, &from, &to],
                    );
                    assert_eq!(note, "hand");
                    clear(&mut session, task);
                    continue;
                }
            }
            assert_eq!(inside::fingerprint(&mut session), before, "{from} to {to}");
            clear(&mut session, task);
        }
    }
}

/// Nothing of the task is left to claim.
fn clear(session: &mut Session, task: Uuid) {
    let state = session.task_state(task);
    if state == "pending" || state == "in_progress" {
        session.query("SELECT tasker.cancel_task($1)", &[&task]);
    }
}

#[test]
fn a_task_completes_when_its_guard_is_satisfied_and_not_before() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    session.work_through("step_1");
    let before = inside::fingerprint(&mut session);
    session
        .fails("SELECT tasker.transition_task($1, 'complete')", &[&task])
        .is("09000")
        .says(&["step_2"]);
    assert_eq!(inside::fingerprint(&mut session), before);
    let last = session.step(task, "step_2");
    session.query("SELECT tasker.resolve_step_manually($1)", &[&last]);
    // The engine itself completes a task with its last step.
    assert_eq!(session.task_state(task), "complete");
}

/// A new step in this state; its task is open or in error.
fn step_in(session: &mut Session, state: &str) -> Uuid {
    let task = session.create("two");
    let step = session.step(task, "step_1");
    match state {
        "pending" => {}
        "in_progress" => assert_eq!(session.claim_one("worker").step, step),
        "error" => {
            let claim = session.claim_one("worker");
            session.fail_and_wait(&claim);
        }
        "complete" => {
            let claim = session.claim_one("worker");
            session.complete(&claim, &json!({}));
        }
        "cancelled" => drop(session.query("SELECT tasker.cancel_step($1)", &[&step])),
        _ => drop(session.query("SELECT tasker.resolve_step_manually($1)", &[&step])),
    }
    assert_eq!(session.step_state(task, "step_1"), state);
    step
}

#[test]
fn a_step_makes_its_ten_declared_transitions_and_no_other() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    session.query("SELECT tasker.cancel_task($1)", &[&task]);
    let allowed = [
        ("pending", "in_progress"),
        ("pending", "error"),
        ("pending", "cancelled"),
        ("pending", "resolved_manually"),
        ("in_progress", "complete"),
        ("in_progress", "error"),
        ("in_progress", "cancelled"),
        ("in_progress", "pending"),
        ("error", "pending"),
        ("error", "resolved_manually"),
    ];
    for from in STATES {
        for to in STATES {
            let step = step_in(&mut session, from);
            let task = Uuid::from_u128(step.as_u128() - 1);
            let before = inside::fingerprint(&mut session);
            match session.attempt::<String>(
                "SELECT tasker.transition_step($1, $2, '{\"by\": \"hand\"}')",
                &[&step, &to],
            ) {
                Err(failure) => {
                    assert!(
                        !allowed.contains(&(from, to)),
                        "{from} to {to} was refused: {failure}"
                    );
                    failure.is("55000").message_says(&[from, to]);
                    assert_eq!(inside::fingerprint(&mut session), before, "{from} to {to}");
                }
                Ok(state) => {
                    assert!(allowed.contains(&(from, to)), "{from} to {to} was allowed");
                    assert_eq!(
                        (state.as_str(), session.step_state(task, "step_1").as_str()),
                        (to, to)
                    );
                    let note: String = session.one(
                        "SELECT from_state || '>' || to_state || ' ' || (metadata ->> 'by') FROM tasker.workflow_step_transitions
                         WHERE step_uuid = $1 ORDER BY id DESC LIMIT 1",
                        &[&step],
                    );
                    assert_eq!(note, format!("{from}>{to} hand"));
                }
            }
            clear(&mut session, task);
        }
    }
}

#[test]
fn a_step_starts_by_hand_only_when_all_its_parents_are_complete() {
    let (_database, mut session, _task) = started(&shapes::small_diamond());
    let start = session.work_up_to("start");
    let task = start.task;
    let branch = session.step(task, "b");
    let begin = "SELECT tasker.transition_step($1, 'in_progress')";
    session
        .fails(begin, &[&branch])
        .is("09000")
        .says(&["parents"]);
    session.fail_and_wait(&start);
    session.fails(begin, &[&branch]).is("09000");
    inside::make_due(&mut session, task);
    let start = session.claim_soon(&Ask::by("worker", 1), 1).remove(0);
    session.complete(&start, &json!({}));
    let state: String = session.one(begin, &[&branch]);
    assert_eq!(state, "in_progress");
    let end = session.step(task, "end");
    session.fails(begin, &[&end]).is("09000");
}

#[test]
fn a_step_started_by_hand_counts_an_attempt_and_is_held_by_manual() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    let step = session.step(task, "step_1");
    session.query("SELECT tasker.transition_step($1, 'in_progress')", &[&step]);
    assert_eq!(session.steps(task)[0], "step_1 in_progress/1");
    assert_eq!(session.task_state(task), "in_progress");
    assert!(
        session.claim_all("worker").is_empty(),
        "it was handed out beside"
    );
    let number: i32 = session.one(
        "SELECT claim_number FROM tasker.workflow_steps WHERE step_uuid = $1",
        &[&step],
    );
    let holder: String = session.one(
        "SELECT worker_id FROM tasker.workflow_steps WHERE step_uuid = $1",
        &[&step],
    );
    assert_eq!((number, holder.as_str()), (1, "manual"));
    assert_eq!(
        session.count("SELECT count(*) FROM tasker.heartbeat('manual')", &[]),
        1
    );
    // By hand, too, its child is released and the task completes.
    session.query("SELECT tasker.transition_step($1, 'complete')", &[&step]);
    let child = session.claim_one("worker");
    assert_eq!(child.name, "step_2");
    session.query(
        "SELECT tasker.transition_step($1, 'complete')",
        &[&child.step],
    );
    assert_eq!(session.task_state(task), "complete");
    session
        .try_complete(&child)
        .expect_err("ended by hand")
        .is("55006");
}

#[test]
fn a_step_failed_by_hand_before_its_parents_are_done_runs_after_them() {
    let (_database, mut session, first) = started(&shapes::chain("two", 2));
    for how in ["by a report", "by hand"] {
        let task = if how == "by hand" {
            session.create("two")
        } else {
            first
        };
        let steps: Vec<Uuid> = session.all(
            "SELECT step_uuid FROM tasker.workflow_steps WHERE task_uuid = $1 ORDER BY name",
            &[&task],
        );
        session.query("SELECT tasker.transition_step($1, 'error')", &[&steps[1]]);
        if how == "by hand" {
            session.query("SELECT tasker.resolve_step_manually($1)", &[&steps[0]]);
        } else {
            let claim = session.claim_one("w");
            session.complete(&claim, &json!({}));
        }
        let wrong = "SELECT problem FROM tasker.check_integrity()";
        assert_eq!(session.all::<String>(wrong, &[]), [""; 0], "{how}");
        // After its pause.
        let claims = session.claim_soon(&Ask::by("w", 1), 1);
        assert_eq!(claims[0].step, steps[1], "{how}");
        session.complete(&claims[0], &json!({}));
    }
}

#[test]
fn a_step_failed_by_hand_whose_parents_can_never_be_done_keeps_no_task_open() {
    let (_database, mut session, task) = started(&shapes::chain("three", 3));
    let steps: Vec<Uuid> = session.all(
        "SELECT step_uuid FROM tasker.workflow_steps WHERE task_uuid = $1 ORDER BY name",
        &[&task],
    );
    session.query("SELECT tasker.transition_step($1, 'error')", &[&steps[1]]);
    session.query("SELECT tasker.cancel_step($1)", &[&steps[0]]);
    assert_eq!(session.task_state(task), "error");
    let wrong = "SELECT problem FROM tasker.check_integrity()";
    assert_eq!(session.all::<String>(wrong, &[]), [""; 0]);
}

#[test]
fn a_step_failed_by_hand_is_retried_like_any_other() {
    let (_database, mut session, task) = started(
        &shapes::chain("one", 1)
            .every_step(json!({"retry": {"backoff": "none"}, "default_retry_limit": 2})),
    );
    let claim = session.claim_one("worker");
    session.query(
        "SELECT tasker.transition_step($1, 'error', '{\"error_message\": \"seen by hand\"}')",
        &[&claim.step],
    );
    assert_eq!(session.steps(task), ["step_1 error/1"]);
    session
        .try_complete(&claim)
        .expect_err("taken away")
        .is("55006");
    let again = session.claim_one("worker");
    assert_eq!((again.attempt, again.number), (2, claim.number + 1));
    // Also with a note that is nearly as deep as allowed.
    session.query(
        "SELECT tasker.transition_step($1, 'error', jsonb_build_object('error_message', 'seen again', 'error_class', 'Seen',
                                                                       'more', (repeat('[', 90) || repeat(']', 90))::jsonb))",
        &[&again.step],
    );
    assert_eq!(session.task_state(task), "error");
    let said = json!({"error_message": "seen again", "error_class": "Seen"});
    assert_eq!(session.results(task, "step_1"), said);
    assert!(session.claim_all("worker").is_empty());
}

#[test]
fn a_step_released_by_hand_counts_no_attempt() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    let claim = session.claim_one("worker");
    session.query(
        "SELECT tasker.transition_step($1, 'pending')",
        &[&claim.step],
    );
    assert_eq!(session.steps(task), ["step_1 pending/0"]);
    let again = session.claim_one("worker");
    assert_eq!((again.attempt, again.number), (1, claim.number + 1));
    session.try_complete(&claim).expect_err("stale").is("55006");
}

#[test]
fn a_task_put_into_error_by_hand_starts_nothing_until_it_is_taken_up_again() {
    let (_database, mut session, task) = started(&shapes::small_diamond());
    session.work_through("start");
    let running = session.claim_one("worker");
    session.query("SELECT tasker.transition_task($1, 'error')", &[&task]);
    assert!(session.claim_all("worker").is_empty());
    session.query("SELECT tasker.transition_task($1, 'pending')", &[&task]);
    session.complete(&running, &json!({}));
    assert_eq!(session.work(|_| done()).len(), 2);
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn the_log_shows_every_change_once_in_order_with_one_most_recent() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    session.work(|claim| {
        if claim.attempt == 1 {
            Act::Fail
        } else {
            done()
        }
    });
    for (view, column, uuids) in [
        ("task_transitions", "task_uuid", vec![task]),
        (
            "workflow_step_transitions",
            "step_uuid",
            vec![session.step(task, "step_1"), session.step(task, "step_2")],
        ),
    ] {
        for uuid in uuids {
            let recent = session.query(&format!("SELECT to_state, sort_key FROM tasker.{view} WHERE {column} = $1 AND most_recent"), &[&uuid]);
            assert_eq!(recent.len(), 1, "{view}");
            assert_eq!(recent[0].get::<_, String>(0), "complete");
            let chain = session.query(
                &format!("SELECT from_state, to_state, sort_key::bigint FROM tasker.{view} WHERE {column} = $1 ORDER BY sort_key"),
                &[&uuid],
            );
            let (mut state, mut key): (Option<String>, i64) = (None, i64::MIN);
            for (index, row) in chain.iter().enumerate() {
                let from: Option<String> = row.get(0);
                // The first row of a step says where it came from without a row of its own.
                assert!(
                    from == state || index == 0,
                    "{view}: {from:?} after {state:?}"
                );
                assert!(row.get::<_, i64>(2) > key, "{view}: sort_key does not grow");
                (state, key) = (Some(row.get(1)), row.get(2));
            }
        }
    }
}

#[test]
fn a_safe_transition_that_is_refused_returns_false_and_writes_no_row() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    let claim = session.claim_one("worker");
    let later = session.step(task, "step_2");
    let before = inside::fingerprint(&mut session);
    let refused = [
        ("try_transition_task", task, "in_progress"),
        ("try_transition_task", task, "complete"),
        ("try_transition_task", task, "resolved_manually"),
        ("try_transition_step", claim.step, "in_progress"),
        ("try_transition_step", claim.step, "resolved_manually"),
        ("try_transition_step", later, "in_progress"),
        ("try_transition_step", later, "pending"),
    ];
    for (function, uuid, state) in refused {
        assert!(
            !session.one::<bool>(
                &format!("SELECT tasker.{function}($1, $2)"),
                &[&uuid, &state]
            ),
            "{function} to {state}"
        );
    }
    assert_eq!(inside::fingerprint(&mut session), before);
    assert!(session.one::<bool>(
        "SELECT tasker.try_transition_step($1, 'complete')",
        &[&claim.step]
    ));
    assert_eq!(session.claim_one("worker").step, later);
    assert!(session.one::<bool>(
        "SELECT tasker.try_transition_task($1, 'cancelled')",
        &[&task]
    ));
    assert_eq!(session.task_state(task), "cancelled");
}

#[test]
fn sql_says_of_every_step_as_the_rules_do_whether_it_can_still_run() {
    let database = Database::new();
    let mut session = database.connect();
    for state in StepState::ALL {
        for available_at in [None, Some(0)] {
            for unreachable in [false, true] {
                let said: bool = session.one(
                    r#"SELECT tasker_engine.can_still_run(
                           $1::text::"char", CASE WHEN $2 THEN pg_catalog.now() END, $3)"#,
                    &[
                        &char::from(state.code()).to_string(),
                        &available_at.is_some(),
                        &unreachable,
                    ],
                );
                assert_eq!(
                    said,
                    readiness::can_still_run(state, available_at, unreachable),
                    "{state}, available_at {available_at:?}, unreachable {unreachable}"
                );
            }
        }
    }
}

#[test]
fn sql_says_of_every_entry_as_the_rules_do_whether_it_agrees_with_its_step() {
    let database = Database::new();
    let mut session = database.connect();
    for state in StepState::ALL {
        for available_at in [None, Some(1), Some(2)] {
            for entry in [1, 2] {
                let said: bool = session.one(
                    r#"SELECT tasker_engine.entry_agrees($1::text::"char", to_timestamp($2), to_timestamp($3)) IS TRUE"#,
                    &[
                        &char::from(state.code()).to_string(),
                        &available_at.map(|at| at as f64),
                        &f64::from(entry),
                    ],
                );
                assert_eq!(
                    said,
                    readiness::entry_agrees(state, available_at, entry.into()),
                    "{state}, available_at {available_at:?}, entry {entry}"
                );
            }
        }
    }
}

#[test]
fn sql_says_as_the_rules_do_whether_attempts_are_left() {
    let database = Database::new();
    let mut session = database.connect();
    for made in 0..4_i16 {
        for limit in 0..4_i16 {
            for retryable in [false, true] {
                let said: bool = session.one(
                    "SELECT $3 AND tasker_engine.attempts_left($1, $2)",
                    &[&i32::from(made), &i32::from(limit), &retryable],
                );
                let attempts = Attempts {
                    made,
                    limit,
                    retryable,
                };
                assert_eq!(said, attempts.left(), "{attempts:?}");
            }
        }
    }
}

#[test]
fn sql_says_of_every_state_as_the_rules_do_whether_it_is_done_or_open() {
    let database = Database::new();
    let mut session = database.connect();
    for state in StepState::ALL {
        let done: bool = session.one(
            r#"SELECT tasker_engine.is_done($1::text::"char")"#,
            &[&char::from(state.code()).to_string()],
        );
        assert_eq!(done, state.is_finished_good(), "{state}");
    }
    for state in TaskState::ALL {
        let open: bool = session.one(
            r#"SELECT tasker_engine.is_open($1::text::"char")"#,
            &[&char::from(state.code()).to_string()],
        );
        assert_eq!(open, state.is_open(), "{state}");
    }
}

/// Sets counters of the first step past the engine.
fn set_first(session: &mut Session, task: Uuid, what: &str) {
    inside::spoil(
        session,
        task,
        &format!("UPDATE steps SET {what} WHERE task_uuid = $1 AND step_no = 1"),
    );
}

#[test]
fn attempts_stop_at_the_largest_number_in_every_way_to_start_a_step() {
    for path in ["on", "off"] {
        let (_database, mut session, task) = started(&shapes::chain("one", 1));
        session.execute(&format!("SET tasker.direct_table_access = {path}"));
        set_first(&mut session, task, "attempts = 32766, retry_limit = 32767");
        let claim = session.claim_one("worker");
        assert_eq!(claim.attempt, 32_767);
        session.fail_and_wait(&claim);
        assert_eq!(session.steps(task), ["step_1 error/32767"]);
        let step = session.step(task, "step_1");
        session.query(
            "SELECT tasker.retry_step($1, reset_attempts => false)",
            &[&step],
        );
        assert_eq!(session.claim_one("worker").attempt, 32_767);
        session.query("SELECT tasker.release_steps('worker')", &[]);
        assert_eq!(session.steps(task), ["step_1 pending/32766"]);
        for state in [
            "in_progress",
            "pending",
            "in_progress",
            "pending",
            "in_progress",
        ] {
            session.query("SELECT tasker.transition_step($1, $2)", &[&step, &state]);
        }
        assert_eq!(session.steps(task), ["step_1 in_progress/32767"]);
        assert_eq!(session.disagreements(), [""; 0]);
    }
}

#[test]
fn attempts_that_are_given_back_do_not_fall_below_zero() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    let step = session.step(task, "step_1");
    session.claim_one("worker");
    set_first(&mut session, task, "attempts = 0");
    session.query("SELECT tasker.release_steps('worker')", &[]);
    assert_eq!(session.steps(task), ["step_1 pending/0"]);
    session.claim_one("worker");
    set_first(&mut session, task, "attempts = 0");
    session.query("SELECT tasker.transition_step($1, 'pending')", &[&step]);
    assert_eq!(session.steps(task), ["step_1 pending/0"]);
}

#[test]
fn a_step_without_a_number_for_another_claim_fails_and_stops_no_other() {
    for path in ["on", "off"] {
        let (_database, mut session, task) = started(&shapes::chain("one", 1));
        session.execute(&format!("SET tasker.direct_table_access = {path}"));
        set_first(&mut session, task, "claim_number = 2147483645");
        let claim = session.claim_one("worker");
        assert_eq!(claim.number, 2_147_483_646);
        session.query("SELECT tasker.release_steps('worker')", &[]);
        let other = session.create("one");
        let claimed = session.claim(&Ask::by("worker", 10));
        assert_eq!(claimed.len(), 1);
        assert_eq!(claimed[0].task, other);
        let results = session.results(task, "step_1");
        assert_eq!(results["error_class"], "TooManyClaims", "{results}");
        assert_eq!(session.task_state(task), "error");
        let step = session.step(task, "step_1");
        session.query("SELECT tasker.transition_step($1, 'pending')", &[&step]);
        session
            .fails("SELECT tasker.transition_step($1, 'in_progress')", &[&step])
            .is("54000")
            .says(&["cannot be claimed again"]);
    }
}
