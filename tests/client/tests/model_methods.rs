//! Methods of tasks and steps, and what rows of readiness, context and the log tell.

use tasker_client_tests::{Act, Session, Template, Uuid, Value, inside, json, shapes, started};

const NONE: [Uuid; 0] = [];

/// Columns of one row about a step, joined by blanks; NULL is left out.
fn of_step(session: &mut Session, view: &str, task: Uuid, step: &str, columns: &str) -> String {
    session.one(
        &format!(
            "SELECT concat_ws(' ', {columns}) FROM tasker.{view} WHERE task_uuid = $1 AND name = $2"
        ),
        &[&task, &step],
    )
}

#[test]
fn steps_are_found_by_name_and_viable_ones_are_those_a_claim_would_take() {
    let (_database, mut session, task) = started(&shapes::small_diamond());
    let other = session.create("small_diamond");
    let find = |session: &mut Session, name: &str| -> Vec<Uuid> {
        session.all(
            "SELECT step_uuid FROM tasker.find_step_by_name($1, $2)",
            &[&task, &name],
        )
    };
    assert_eq!(find(&mut session, "b"), [session.step(task, "b")]);
    assert_eq!(find(&mut session, "B"), NONE);
    let viable = |session: &mut Session, task: Uuid| -> Vec<String> {
        session.all(
            "SELECT name FROM tasker.get_viable_steps($1) ORDER BY step_no",
            &[&task],
        )
    };
    assert_eq!(viable(&mut session, task), ["start"]);
    session.work_through("start");
    assert_eq!(viable(&mut session, task), ["b", "c"]);
    assert_eq!(viable(&mut session, other), ["start"]);
    assert_eq!(viable(&mut session, Uuid::now_v7()), [""; 0]);
}

#[test]
fn completion_stats_count_cancelled_steps_apart() {
    let (_database, mut session, task) = started(&shapes::small_diamond());
    let stats = |session: &mut Session| -> String {
        session.one(
            "SELECT concat_ws(' ', total_steps, completed_steps, failed_steps, pending_steps, cancelled_steps,
                              latest_completion_time IS NOT NULL, all_complete) FROM tasker.task_completion_stats($1)",
            &[&task],
        )
    };
    let all = |session: &mut Session| -> bool {
        session.one("SELECT tasker.all_steps_complete($1)", &[&task])
    };
    assert_eq!(stats(&mut session), "4 0 0 4 0 f f");
    session.work_through("start");
    session.claim_one("holder");
    let c = session.step(task, "c");
    session.query("SELECT tasker.cancel_step($1)", &[&c]);
    assert_eq!(stats(&mut session), "4 1 0 2 1 t f");
    assert!(!all(&mut session));
    let unknown = "SELECT * FROM tasker.task_completion_stats($1)";
    assert!(session.query(unknown, &[&Uuid::now_v7()]).is_empty());
}

#[test]
fn a_task_that_was_worked_off_is_complete_in_every_respect() {
    let (_database, mut session, task) = started(&shapes::small_diamond());
    session.work(|_| Act::Complete(json!({})));
    assert!(session.one::<bool>("SELECT tasker.all_steps_complete($1)", &[&task]));
    assert!(session.one::<bool>(
        "SELECT all_complete FROM tasker.task_completion_stats($1)",
        &[&task]
    ));
    let flags: String = session.one(
        "SELECT concat_ws(' ', has_work_to_do, is_blocked, is_complete, is_healthy, needs_intervention, can_make_progress,
                          should_reenqueue, needs_immediate_action)
         FROM tasker.task_execution_details WHERE task_uuid = $1",
        &[&task],
    );
    assert_eq!(flags, "f f t t f f f f");
    let action: Value = session.one("SELECT tasker.task_next_action($1)", &[&task]);
    assert_eq!(
        action,
        json!({"action": null, "description": "the task is complete", "urgency": "none", "can_proceed": false})
    );
}

#[test]
fn summary_and_next_action_follow_the_work() {
    let (_database, mut session, task) = started(&shapes::small_diamond());
    let action = |session: &mut Session| -> Value {
        session.one("SELECT tasker.task_next_action($1)", &[&task])
    };
    assert_eq!(
        action(&mut session),
        json!({"action": "execute_ready_steps", "description": "1 of 4 steps wait for a worker", "urgency": "high", "can_proceed": true})
    );
    let claim = session.claim_one("worker");
    assert_eq!(action(&mut session)["urgency"], "low");
    assert_eq!(action(&mut session)["can_proceed"], false);
    session.complete(&claim, &json!({}));
    let summary: Value = session.one("SELECT tasker.task_workflow_summary($1)", &[&task]);
    assert_eq!(
        summary,
        json!({"total_steps": 4, "completed": 1, "pending": 3, "in_progress": 0, "failed": 0, "cancelled": 0, "ready": 2,
               "completion_percentage": number("25.00"), "status": "has_ready_steps", "health": "healthy",
               "recommended_action": "execute_ready_steps",
               "progress_details": {"completed_ratio": "1/4", "completion_percentage": "25.00%", "remaining_steps": 3,
                                    "failed_steps": 0, "ready_steps": 2}})
    );
    session.work(|_| Act::FailForGood);
    assert_eq!(action(&mut session)["urgency"], "critical");
    assert_eq!(action(&mut session)["action"], "handle_failures");
}

fn number(text: &str) -> Value {
    text.parse().expect("a number is JSON")
}

#[test]
fn step_predicates_follow_readiness() {
    let template = shapes::chain("two", 2).every_step(json!({ "default_retry_limit": 2 }));
    let (_database, mut session, task) = started(&template);
    let flags = "is_complete, is_in_progress, is_pending, is_in_error, is_cancelled, is_ready_status, is_ready";
    let retry = "has_retry_attempts, is_retry_exhausted, is_waiting_for_backoff, can_retry_now, is_root_step, is_leaf_step";
    let of = |session: &mut Session, step: &str, columns: &str| {
        of_step(session, "workflow_step_statuses", task, step, columns)
    };
    assert_eq!(of(&mut session, "step_1", flags), "f f t f f t t");
    assert_eq!(of(&mut session, "step_2", flags), "f f t f f t f");
    assert_eq!(of(&mut session, "step_1", retry), "f f f f t f");
    assert_eq!(of(&mut session, "step_2", retry), "f f f f f t");
    let claim = session.claim_one("worker");
    assert_eq!(of(&mut session, "step_1", flags), "f t f f f f f");
    session.fail_and_wait(&claim);
    assert_eq!(of(&mut session, "step_1", flags), "f f f t f t f");
    assert_eq!(of(&mut session, "step_1", retry), "t f t f t f");
    inside::make_due(&mut session, task);
    assert_eq!(of(&mut session, "step_1", retry), "t f f t t f");
    let claim = session.claim_one("worker");
    session.fail_and_wait(&claim);
    assert_eq!(of(&mut session, "step_1", retry), "t t f f t f");
    session.query("SELECT tasker.resolve_step_manually($1)", &[&claim.step]);
    assert_eq!(of(&mut session, "step_1", flags), "t f f f f f f");
}

#[test]
fn readiness_rows_tell_what_holds_a_step_up() {
    let template = Template::new("held")
        .step("root", &[])
        .step_with(
            "linear",
            &[],
            json!({ "retry": { "backoff": "linear", "backoff_base_ms": 60000 } }),
        )
        .step_with("once", &[], json!({ "default_retryable": false }))
        .step("child", &["root", "linear"]);
    let (_database, mut session, task) = started(&template);
    let columns = "can_execute_now, coalesce(blocking_reason, '-'), coalesce(time_until_ready > '0', false), dependency_status, retry_status, backoff_type, effective_backoff_seconds";
    let of = |session: &mut Session, step: &str| {
        of_step(session, "step_readiness_details", task, step, columns)
    };
    assert_eq!(
        of(&mut session, "root"),
        "t - f no_dependencies retry_eligible no_backoff 0"
    );
    assert_eq!(
        of(&mut session, "child"),
        "f dependencies_not_satisfied f 0/2_satisfied retry_eligible no_backoff 0"
    );
    let root = session.step(task, "root");
    inside::postpone(&mut session, root, 30);
    assert_eq!(
        of(&mut session, "root"),
        "f waiting_for_backoff t no_dependencies waiting_for_backoff explicit_backoff 0"
    );
    inside::make_due(&mut session, task);
    for claim in session.claim_all("worker") {
        match claim.name.as_str() {
            "root" => session.complete(&claim, &json!({})),
            _ => session.fail_and_wait(&claim),
        };
    }
    assert_eq!(
        of(&mut session, "root"),
        "f invalid_state f no_dependencies retry_eligible no_backoff 0"
    );
    assert_eq!(
        of(&mut session, "linear"),
        "f waiting_for_backoff t no_dependencies waiting_for_backoff linear_backoff 60"
    );
    assert_eq!(
        of(&mut session, "once"),
        "f retry_not_eligible f no_dependencies not_retryable no_backoff 0"
    );
    assert_eq!(
        of(&mut session, "child"),
        "f dependencies_not_satisfied f 1/2_satisfied retry_eligible no_backoff 0"
    );
    let mut scope = |name: &str| -> Vec<String> {
        session.all(
            &format!("SELECT name FROM tasker.{name}($1) ORDER BY step_uuid"),
            &[&task],
        )
    };
    assert_eq!(scope("step_readiness_statuses_ready_for_task"), [""; 0]);
    assert_eq!(
        scope("step_readiness_statuses_blocked_by_dependencies_for_task"),
        ["child"]
    );
    assert_eq!(
        scope("step_readiness_statuses_blocked_by_retry_for_task"),
        ["once"]
    );
    assert_eq!(scope("step_readiness_statuses_pending_for_task"), ["child"]);
    assert_eq!(
        scope("step_readiness_statuses_failed_for_task"),
        ["linear", "once"]
    );
    assert_eq!(
        scope("step_readiness_statuses_in_progress_for_task"),
        [""; 0]
    );
    assert_eq!(scope("step_readiness_statuses_complete_for_task"), ["root"]);
}

#[test]
fn levels_as_an_object_as_a_number_and_as_steps() {
    let (_database, mut session, task) = started(&shapes::small_diamond());
    let levels: Value = session.one("SELECT tasker.dependency_levels_hash($1)", &[&task]);
    assert_eq!(levels.as_object().map(|map| map.len()), Some(4));
    assert_eq!(levels[session.step(task, "end").to_string()], 2);
    assert_eq!(
        session.one::<i32>("SELECT tasker.max_dependency_level($1)", &[&task]),
        2
    );
    let mut at = |level: i32| -> Vec<String> {
        session.all(
            "SELECT name FROM tasker.steps_at_dependency_level($1, $2) ORDER BY step_no",
            &[&task, &level],
        )
    };
    assert_eq!(at(0), ["start"]);
    assert_eq!(at(1), ["b", "c"]);
    assert_eq!(at(3), [""; 0]);
    shapes::wide("flat", 2).register(&mut session);
    let flat = session.create("flat");
    assert_eq!(
        session.one::<i32>("SELECT tasker.max_dependency_level($1)", &[&flat]),
        0
    );
}

#[test]
fn rows_of_the_log_tell_durations_attempts_and_reasons() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    let claim = session.claim_one("worker");
    session.fail_and_wait(&claim);
    let rows = |session: &mut Session| -> Vec<String> {
        session.all(
            "SELECT concat_ws(' ', step_name, description, attempt, is_error_transition, is_completion_transition, is_retry_transition,
                              duration_since_previous >= '0', execution_duration >= '0', backoff_info -> 'retry_available')
             FROM tasker.workflow_step_transition_details WHERE task_uuid = $1 ORDER BY id",
            &[&task],
        )
    };
    assert_eq!(
        rows(&mut session),
        [
            "step_1 pending to in_progress 1 f f f",
            "step_1 in_progress to error 1 t f f t t false"
        ]
    );
    let info: Value = session.one(
        "SELECT backoff_info FROM tasker.workflow_step_transition_details WHERE task_uuid = $1 AND to_state = 'error'",
        &[&task],
    );
    assert_eq!(info["backoff_seconds"], 1);
    inside::make_due(&mut session, task);
    session.work(|_| Act::Complete(json!({})));
    assert_eq!(
        rows(&mut session)[1..],
        [
            "step_1 in_progress to error 1 t f f t t",
            "step_1 error to pending 1 f f t t",
            "step_1 pending to in_progress 2 f f f t",
            "step_1 in_progress to complete 2 f t f t t"
        ]
    );
    let numbers: String = session.one(
        "SELECT concat_ws(' ', total_transitions, states, recent_activity, average_time_between_transitions >= '0', retry_attempts,
                          average_execution_time >= '0') FROM tasker.workflow_step_transition_statistics($1)",
        &[&task],
    );
    assert_eq!(
        numbers,
        r#"5 {"error": 1, "pending": 1, "complete": 1, "in_progress": 2} 5 t 1 t"#
    );
    let none: String = session.one(
        "SELECT concat_ws(' ', total_transitions, states, recent_activity, average_execution_time)
         FROM tasker.workflow_step_transition_statistics(since => 'infinity')",
        &[],
    );
    assert_eq!(none, "0 {} 0");
}

#[test]
fn statistics_of_the_log_of_tasks() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    session.create("one");
    session.query(
        "SELECT tasker.cancel_task($1, 'no longer needed')",
        &[&task],
    );
    let numbers = |session: &mut Session, call: &str| -> String {
        session.one(
            &format!(
                "SELECT concat_ws(' ', total_transitions, states, recent_activity, average_time_between_transitions > '0')
                 FROM tasker.task_transition_statistics({call})"
            ),
            &[],
        )
    };
    assert_eq!(
        numbers(&mut session, &format!("'{task}'")),
        r#"2 {"pending": 1, "cancelled": 1} 2 t"#
    );
    assert_eq!(
        numbers(&mut session, ""),
        r#"3 {"pending": 2, "cancelled": 1} 3 t"#
    );
    assert_eq!(numbers(&mut session, "since => 'infinity'"), "0 {} 0");
    let told: Vec<String> = session.all(
        "SELECT concat_ws(' ', description, is_cancellation_transition, has_metadata, duration_since_previous > '0')
         FROM tasker.task_transition_details WHERE task_uuid = $1 ORDER BY id",
        &[&task],
    );
    assert_eq!(
        told,
        [
            "pending f f",
            "pending to cancelled: no longer needed t t t"
        ]
    );
}

#[test]
fn methods_of_an_unknown_task_raise_and_null_is_refused() {
    let (_database, mut session, _task) = started(&shapes::chain("one", 1));
    for method in [
        "all_steps_complete",
        "task_workflow_summary",
        "task_next_action",
        "dependency_levels_hash",
        "max_dependency_level",
    ] {
        let call = |argument: &str| format!("SELECT tasker.{method}({argument})");
        session
            .fails(&call(&format!("'{}'", Uuid::now_v7())), &[])
            .is("P0002")
            .says(&["no task has the uuid"]);
        session.fails(&call("NULL"), &[]).is("22004");
    }
    for call in [
        "steps_at_dependency_level(NULL, 0)",
        "step_readiness_statuses_ready_for_task(NULL)",
        "step_readiness_statuses_complete_for_task(NULL)",
    ] {
        session
            .fails(&format!("SELECT * FROM tasker.{call}"), &[])
            .is("22004");
    }
}

#[test]
fn a_reader_may_use_every_scope_and_method_and_a_worker_none() {
    let (database, mut session, task) = started(&shapes::chain("one", 1));
    session.execute(
        "CREATE ROLE model_reader LOGIN; GRANT tasker_reader TO model_reader; CREATE ROLE model_worker LOGIN; GRANT tasker_worker TO model_worker",
    );
    let step = session.step(task, "step_1");
    let calls = [
        "tasks_in_namespace('default')".to_owned(),
        "tasks_by_annotation('a', 'b', '1')".to_owned(),
        "tasks_active()".to_owned(),
        "tasks_completed_since('2020-01-01')".to_owned(),
        "tasks_failed_since('2020-01-01')".to_owned(),
        "tasks_created_since('2020-01-01')".to_owned(),
        "tasks_by_current_state('error')".to_owned(),
        "tasks_with_all_associated()".to_owned(),
        "workflow_steps_completed_since('2020-01-01')".to_owned(),
        format!("workflow_step_edges_siblings_of('{step}')"),
        format!("step_dag_relationships_siblings_of('{step}')"),
        "task_transition_details".to_owned(),
        "workflow_step_transition_details".to_owned(),
        "workflow_step_statuses".to_owned(),
        "step_readiness_details".to_owned(),
        "task_execution_details".to_owned(),
        "task_transition_statistics()".to_owned(),
        format!("task_workflow_summary('{task}')"),
        format!("get_viable_steps('{task}')"),
        "unique_task_types_count()".to_owned(),
    ];
    let mut reader = database.connect_as("model_reader");
    let mut worker = database.connect_as("model_worker");
    for call in calls {
        let sql = format!("SELECT * FROM tasker.{call}");
        reader.query(&sql, &[]);
        worker.fails(&sql, &[]).is("42501");
    }
}
