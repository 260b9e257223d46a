//! Execution, retry, finalization, fencing: whole workflows, run to their ends.

use tasker_client_tests::worker::{Ask, done};
use tasker_client_tests::{
    Act, Claim, Database, Failure, Session, Template, Uuid, Value, inside, json, patience, shapes,
    started,
};

/// The whole story of a step: `from>to` of each transition, in order.
fn story(session: &mut Session, step: Uuid) -> Vec<String> {
    session.all(
        "SELECT from_state || '>' || to_state FROM tasker.workflow_step_transitions
         WHERE step_uuid = $1 AND from_state IS NOT NULL ORDER BY id",
        &[&step],
    )
}

#[test]
fn every_step_of_a_task_without_failures_runs_once() {
    let (_database, mut session, task) = started(&shapes::dummy());
    let ran = session.work(|_| done());
    assert_eq!(ran.len(), 4);
    let order: Vec<&str> = ran
        .iter()
        .map(String::as_str)
        .filter(|name| *name != "step-one")
        .collect();
    assert_eq!(order, ["step-two", "step-three", "step-four"]);
    assert!(
        session
            .steps(task)
            .iter()
            .all(|step| step.ends_with(" complete/1")),
        "{:?}",
        session.steps(task)
    );
    assert_eq!(session.task_state(task), "complete");
    assert_eq!(session.arrivals(task, None, "complete"), 1);
}

#[test]
fn a_failure_leaves_later_steps_untouched_and_waits_for_its_backoff() {
    let (_database, mut session, task) = started(&shapes::linear());
    session.work(|claim| {
        if claim.name == "process_data" {
            Act::FailAndWait
        } else {
            done()
        }
    });
    assert_eq!(
        session.steps(task),
        [
            "initialize_data complete/1",
            "validate_input complete/1",
            "process_data error/1",
            "transform_results pending/0",
            "validate_output pending/0",
            "finalize_workflow pending/0",
        ]
    );
    assert_eq!(session.task_state(task), "in_progress");
    assert_eq!(
        session.context(task),
        "waiting_for_dependencies / wait_for_dependencies / 33.33 / recovering"
    );
}

#[test]
fn a_step_retried_after_its_backoff_passes_pending_and_its_task_completes() {
    let (_database, mut session, task) = started(&shapes::linear());
    session.work(|claim| {
        if claim.name == "process_data" {
            Act::FailAndWait
        } else {
            done()
        }
    });
    inside::make_due(&mut session, task);
    let ran = session.work(|_| done());
    assert_eq!(
        ran,
        [
            "process_data",
            "transform_results",
            "validate_output",
            "finalize_workflow"
        ]
    );
    let step = session.step(task, "process_data");
    assert_eq!(
        story(&mut session, step),
        [
            "pending>in_progress",
            "in_progress>error",
            "error>pending",
            "pending>in_progress",
            "in_progress>complete"
        ]
    );
    assert_eq!(session.steps(task)[2], "process_data complete/2");
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn attempts_stop_at_the_limit_and_the_task_ends_in_error() {
    let (_database, mut session, task) = started(&shapes::linear());
    let ran = session.work(|claim| {
        if claim.name == "process_data" {
            Act::Fail
        } else {
            done()
        }
    });
    assert_eq!(ran.iter().filter(|name| *name == "process_data").count(), 3);
    assert_eq!(session.steps(task)[2], "process_data error/3");
    assert!(
        session.steps(task)[3..]
            .iter()
            .all(|step| step.ends_with(" pending/0"))
    );
    assert_eq!(session.task_state(task), "error");
    assert_eq!(session.arrivals(task, None, "error"), 1);
    assert_eq!(
        session.context(task),
        "blocked_by_failures / handle_failures / 33.33 / blocked"
    );
    assert_eq!(session.claim_all("later").len(), 0);
}

#[test]
fn both_branches_of_the_diamond_are_ready_together() {
    let (_database, mut session, task) = started(&shapes::diamond());
    session.work_through("start_workflow");
    let mut names: Vec<String> = session
        .claim_all("worker")
        .into_iter()
        .map(|claim| claim.name)
        .collect();
    names.sort();
    assert_eq!(names, ["branch_one_process", "branch_two_process"]);
    let held = session
        .query("SELECT * FROM tasker.release_steps('worker')", &[])
        .len();
    assert_eq!(held, 1);
    session.work(|_| done());
    assert!(
        session
            .steps(task)
            .iter()
            .all(|step| step.ends_with(" complete/1")),
        "{:?}",
        session.steps(task)
    );
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn the_branch_beside_a_failed_one_runs_to_its_end_before_the_task_ends_in_error() {
    let (_database, mut session, task) = started(&shapes::diamond());
    let (mut states, mut ran) = (vec![], vec![]);
    while let Some(claim) = session.claim(&Ask::default()).pop() {
        ran.push(claim.name.clone());
        if claim.name == "branch_one_process" {
            session.fail(&claim);
        } else {
            session.complete(&claim, &json!({}));
        }
        states.push(session.task_state(task));
    }
    assert_eq!(
        ran.iter()
            .filter(|name| *name == "branch_one_process")
            .count(),
        3
    );
    assert!(ran.contains(&"branch_two_validate".to_owned()));
    let (last, before) = states.split_last().expect("steps ran");
    assert_eq!(last, "error");
    assert!(
        before.iter().all(|state| state == "in_progress"),
        "ended too early: {states:?}"
    );
    let mut steps = session.steps(task);
    steps.sort();
    assert_eq!(
        steps,
        [
            "branch_one_process error/3",
            "branch_one_validate pending/0",
            "branch_two_process complete/1",
            "branch_two_validate complete/1",
            "end_workflow pending/0",
            "merge_branches pending/0",
            "start_workflow complete/1",
        ]
    );
}

#[test]
fn a_failed_step_keeps_message_class_backtrace_and_its_own_results() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    let claim = session.claim_one("worker");
    let state: String = session.one(
        "SELECT tasker.fail_step($1, $2, 'the card was refused', 'Payments::Declined', retryable => false,
                                 backtrace => '{\"a.rb:1\",\"b.rb:2\"}', results => '{\"gateway\": \"x\"}')",
        &[&claim.step, &claim.number],
    );
    assert_eq!(state, "error");
    assert_eq!(
        session.results(task, "step_1"),
        json!({
            "gateway": "x", "error_message": "the card was refused", "error_class": "Payments::Declined",
            "backtrace": ["a.rb:1", "b.rb:2"],
        })
    );
    assert_eq!(session.task_state(task), "error");
}

#[test]
fn state_and_results_change_together_even_when_the_report_is_rolled_back() {
    let (database, mut session, task) = started(&shapes::chain("one", 1));
    let claim = session.claim_one("worker");
    let before = inside::fingerprint(&mut session);
    session.execute("BEGIN");
    session.complete(&claim, &json!({"value": 1}));
    let mut other = database.connect();
    assert_eq!(other.step_state(task, "step_1"), "in_progress");
    assert_eq!(other.results(task, "step_1"), json!({}));
    session.execute("ROLLBACK");
    assert_eq!(inside::fingerprint(&mut session), before);
    session.complete(&claim, &json!({"value": 2}));
    assert_eq!(session.results(task, "step_1"), json!({"value": 2}));
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn a_permanent_failure_stops_only_the_steps_behind_it() {
    let (_database, mut session, task) = started(&shapes::pipeline());
    session.work(|claim| {
        if claim.name == "update_dashboard" {
            Act::FailForGood
        } else {
            done()
        }
    });
    let steps = session.steps(task);
    assert_eq!(
        steps
            .iter()
            .filter(|step| step.ends_with(" complete/1"))
            .count(),
        6,
        "{steps:?}"
    );
    assert!(steps.contains(&"update_dashboard error/1".to_owned()));
    assert!(steps.contains(&"send_notifications pending/0".to_owned()));
    assert_eq!(session.task_state(task), "error");
    assert_eq!(
        session.counters(task),
        "total 8 pending 1 in_progress 0 completed 6 failed 1 ready 0 cancelled 0"
    );
}

#[test]
fn a_context_that_breaks_the_schema_writes_no_row_and_names_the_path() {
    let database = Database::new();
    let mut session = database.connect();
    session.query(
        "SELECT tasker.register_template($1)",
        &[&shapes::example("order_fulfillment")],
    );
    let before = inside::fingerprint(&mut session);
    let mut order = order();
    order["order_items"] = json!([]);
    order["payment_info"]["method"] = json!("cheque");
    session
        .fails(
            "SELECT tasker.create_task('process_order', $1, 'fulfillment')",
            &[&order],
        )
        .is("23514")
        .says(&["order_items", "payment_info", "method"]);
    assert_eq!(inside::fingerprint(&mut session), before);
}

#[test]
fn one_bad_context_of_many_creates_none() {
    let database = Database::new();
    let mut session = database.connect();
    Template::new("typed")
        .step("only", &[])
        .with("input_schema", json!({"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}))
        .register(&mut session);
    let before = inside::fingerprint(&mut session);
    let contexts = vec![json!({"id": 1}), json!({"id": "two"}), json!({"id": 3})];
    session
        .fails(
            "SELECT * FROM tasker.create_tasks('typed', $1)",
            &[&contexts],
        )
        .is("23514")
        .says(&["contexts[2]", "id"]);
    assert_eq!(inside::fingerprint(&mut session), before);
}

#[test]
fn independent_steps_overlap_and_the_join_starts_after_both() {
    let (database, mut first, task) = started(&shapes::small_diamond());
    first.work_through("start");
    let mut second = database.connect();
    let one = first.claim_one("worker one");
    let two = second.claim_one("worker two");
    assert_ne!(one.name, two.name);
    assert_eq!(
        first.counters(task),
        "total 4 pending 1 in_progress 2 completed 1 failed 0 ready 0 cancelled 0"
    );
    first.complete(&one, &json!({}));
    assert_eq!(
        first.claim_all("worker one").len(),
        0,
        "the join started after one parent"
    );
    second.complete(&two, &json!({}));
    assert_eq!(second.claim_one("worker two").name, "end");
}

// --- Backoff as a template says.

#[test]
fn every_kind_of_backoff_in_a_template_sets_the_time_of_the_retry() {
    let database = Database::new();
    let mut session = database.connect();
    let kinds = [
        (json!({"backoff": "none"}), [0.0, 0.0, 0.0, 0.0]),
        (
            json!({"backoff": "linear", "backoff_base_ms": 3000}),
            [3.0, 6.0, 9.0, 12.0],
        ),
        (
            json!({"backoff": "exponential", "backoff_base_ms": 5000}),
            [5.0, 10.0, 20.0, 40.0],
        ),
        (
            json!({"backoff": "fibonacci", "backoff_base_ms": 7000}),
            [7.0, 7.0, 14.0, 21.0],
        ),
        (
            json!({"backoff": "exponential", "backoff_base_ms": 5000, "max_backoff_ms": 12000}),
            [5.0, 10.0, 12.0, 12.0],
        ),
        (json!({}), [1.0, 2.0, 4.0, 8.0]),
    ];
    for (index, (retry, delays)) in kinds.iter().enumerate() {
        let name = format!("kind_{index}");
        Template::new(&name)
            .step_with(
                "only",
                &[],
                json!({"default_retry_limit": 9, "retry": retry}),
            )
            .register(&mut session);
        let task = session.create(&name);
        for delay in delays {
            let claim = session.claim_one("worker");
            session.fail_and_wait(&claim);
            assert_waits(&mut session, task, *delay, retry);
            inside::make_due(&mut session, task);
        }
        // Out of the way of the next kind.
        let claim = session.claim_one("worker");
        session.complete(&claim, &json!({}));
    }
}

fn assert_waits(session: &mut Session, task: Uuid, delay: f64, what: &Value) {
    let waits: f64 = session.one(
        "SELECT extract(epoch FROM (w.available_at - t.created_at))::float8
         FROM tasker.workflow_steps w
         JOIN LATERAL (SELECT created_at FROM tasker.workflow_step_transitions t
                       WHERE t.step_uuid = w.step_uuid ORDER BY id DESC LIMIT 1) t ON true
         WHERE w.task_uuid = $1",
        &[&task],
    );
    assert!(
        (waits - delay).abs() < 0.05,
        "{what}: waits {waits} s instead of {delay}"
    );
}

#[test]
fn a_reported_retry_after_wins_over_the_template_and_is_capped() {
    let database = Database::new();
    let mut session = database.connect();
    Template::new("only")
        .step_with("only", &[], json!({"default_retry_limit": 9, "retry": {"backoff": "linear", "backoff_base_ms": 1000}}))
        .register(&mut session);
    let task = session.create("only");
    for (retry_after, delay) in [
        ("30 seconds", 30.0),
        ("5000 seconds", 300.0),
        ("0", 0.0),
        ("-1 hour", 0.0),
    ] {
        let claim = session.claim_one("worker");
        session.query(
            "SELECT tasker.fail_step($1, $2, 'busy', retry_after => $3::text::interval)",
            &[&claim.step, &claim.number, &retry_after],
        );
        assert_waits(&mut session, task, delay, &json!(retry_after));
        inside::make_due(&mut session, task);
    }
    let claim = session.claim_one("worker");
    let mut report = claim.failed(true);
    report["retry_after_seconds"] = json!(17.5);
    let outcome: String = session.one(
        "SELECT outcome FROM tasker.report_steps('worker', $1)",
        &[&json!([report])],
    );
    assert_eq!(outcome, "error");
    assert_waits(&mut session, task, 17.5, &json!("report_steps"));
}

#[test]
fn a_retry_is_claimable_once_its_backoff_has_passed() {
    let database = Database::new();
    let mut session = database.connect();
    Template::new("only")
        .step_with(
            "only",
            &[],
            json!({"retry": {"backoff": "linear", "backoff_base_ms": 300}}),
        )
        .register(&mut session);
    let task = session.create("only");
    let claim = session.claim_one("worker");
    session.fail_and_wait(&claim);
    let failed = std::time::Instant::now();
    let again = loop {
        if let Some(claim) = session.claim_all("worker").pop() {
            break claim;
        }
        assert!(failed.elapsed() < patience(5), "the retry never came");
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    assert!(
        failed.elapsed().as_millis() >= 280,
        "too early: {:?}",
        failed.elapsed()
    );
    assert_eq!(again.attempt, 2);
    session.complete(&again, &json!({}));
    assert_eq!(session.task_state(task), "complete");
}

// --- The five example workflows.

/// Squares a number of any size, exactly.
fn square(session: &mut Session, numbers: &[Value]) -> Value {
    let texts: Vec<String> = numbers.iter().map(Value::to_string).collect();
    let text: String = session.one(
        "WITH RECURSIVE p (i, n) AS (
             SELECT 0, 1::numeric
             UNION ALL SELECT i + 1, n * (($1::text[])[i + 1])::numeric FROM p WHERE i < cardinality($1::text[]))
         SELECT (n * n)::text FROM p ORDER BY i DESC LIMIT 1",
        &[&texts],
    );
    serde_json::from_str(&text).expect("a number")
}

/// Runs a mathematical example; the results by step name.
fn mathematics(
    session: &mut Session,
    file: &str,
    namespace: &str,
    name: &str,
    context: Value,
) -> (Uuid, Value) {
    session.query(
        "SELECT tasker.register_template($1)",
        &[&shapes::example(file)],
    );
    let task: Uuid = session.one(
        "SELECT tasker.create_task($1, $2, $3)",
        &[&name, &context, &namespace],
    );
    let ask = Ask {
        namespaces: vec![namespace],
        ..Ask::default()
    };
    let mut results = json!({});
    while let Some(claim) = session.claim(&ask).pop() {
        match input(&claim) {
            Some(numbers) => {
                let result = square(session, &numbers);
                results[&claim.name] = result.clone();
                session.complete(&claim, &json!({"result": result}));
            }
            None => drop(session.fail_for_good(&claim)),
        }
    }
    (task, results)
}

/// The parents' results, or the even number of the context.
fn input(claim: &Claim) -> Option<Vec<Value>> {
    let parents = claim.dependency_results.as_object()?;
    if parents.is_empty() {
        let even = claim.context.get("even_number")?;
        return (even.as_i64()? % 2 == 0).then(|| vec![even.clone()]);
    }
    parents
        .values()
        .map(|parent| parent.get("result").cloned())
        .collect()
}

#[test]
fn the_linear_example_squares_three_times_and_completes() {
    let database = Database::new();
    let mut session = database.connect();
    let (task, results) = mathematics(
        &mut session,
        "linear",
        "linear_workflow",
        "mathematical_sequence",
        json!({"even_number": 6}),
    );
    assert_eq!(
        results,
        json!({"linear_step_1": 36, "linear_step_2": 1296, "linear_step_3": 1_679_616, "linear_step_4": 2_821_109_907_456_i64})
    );
    assert_eq!(
        session.results(task, "linear_step_4"),
        json!({"result": 2_821_109_907_456_i64})
    );
    assert_eq!(session.task_state(task), "complete");
    assert_eq!(
        session.counters(task),
        "total 4 pending 0 in_progress 0 completed 4 failed 0 ready 0 cancelled 0"
    );
    assert_eq!(session.context(task), "all_complete / 100.00 / healthy");
}

#[test]
fn the_linear_example_refuses_an_odd_or_missing_number() {
    let database = Database::new();
    let mut session = database.connect();
    let (_, results) = mathematics(
        &mut session,
        "linear",
        "linear_workflow",
        "mathematical_sequence",
        json!({"even_number": 8}),
    );
    assert_eq!(results["linear_step_4"], json!(281_474_976_710_656_i64));
    for context in [json!({"even_number": 7}), json!({})] {
        let task: Uuid = session.one(
            "SELECT tasker.create_task('mathematical_sequence', $1, 'linear_workflow')",
            &[&context],
        );
        let ran = session.work_in("linear_workflow", |claim| match input(claim) {
            Some(_) => done(),
            None => Act::FailForGood,
        });
        assert_eq!(ran, ["linear_step_1"]);
        assert_eq!(session.task_state(task), "error");
    }
}

#[test]
fn the_diamond_example_joins_both_branches() {
    let database = Database::new();
    let mut session = database.connect();
    let (task, results) = mathematics(
        &mut session,
        "diamond",
        "diamond_workflow",
        "parallel_computation",
        json!({"even_number": 4}),
    );
    assert_eq!(
        results,
        json!({"diamond_start": 16, "diamond_branch_b": 256, "diamond_branch_c": 256, "diamond_end": 4_294_967_296_i64})
    );
    assert_eq!(session.task_state(task), "complete");
    let task: Uuid = session.one(
        "SELECT tasker.create_task('parallel_computation', '{\"even_number\": 10}', 'diamond_workflow')",
        &[],
    );
    let ask = Ask {
        namespaces: vec!["diamond_workflow"],
        ..Ask::default()
    };
    let start = session.claim(&ask).remove(0);
    session.complete(&start, &json!({"result": 100}));
    assert_eq!(
        session.ready(task),
        ["diamond_branch_b", "diamond_branch_c"]
    );
    let branch = session.claim(&ask).remove(0);
    session.complete(&branch, &json!({"result": 10000}));
    assert_eq!(
        session.ready(task).len(),
        1,
        "the end was ready with one branch complete"
    );
    let other = session.claim(&ask).remove(0);
    assert_ne!(other.name, "diamond_end");
    session.complete(&other, &json!({"result": 10000}));
    let end = session.claim(&ask).remove(0);
    assert_eq!(end.name, "diamond_end");
    let result = square(&mut session, &input(&end).expect("two parents"));
    assert_eq!(result, json!(10_000_000_000_000_000_i64));
}

#[test]
fn the_tree_example_stays_exact_far_beyond_64_bits() {
    let database = Database::new();
    let mut session = database.connect();
    let (task, results) = mathematics(
        &mut session,
        "tree",
        "tree_workflow",
        "hierarchical_computation",
        json!({"even_number": 6}),
    );
    // 6^2, ^2, ^2, then the product of four equal leaves, squared: 6^64.
    let wanted: String = session.one("SELECT trim_scale(6::numeric ^ 64)::text", &[]);
    assert_eq!(results["tree_final_convergence"].to_string(), wanted);
    assert_eq!(
        session.results(task, "tree_final_convergence")["result"].to_string(),
        wanted
    );
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn the_mixed_example_transforms_while_the_right_side_still_runs() {
    let database = Database::new();
    let mut session = database.connect();
    session.query(
        "SELECT tasker.register_template($1)",
        &[&shapes::example("mixed_dag")],
    );
    let task: Uuid = session.one(
        "SELECT tasker.create_task('complex_dag_computation', '{\"even_number\": 2}', 'mixed_dag_workflow')",
        &[],
    );
    let ask = Ask {
        namespaces: vec!["mixed_dag_workflow"],
        most: 10,
        ..Ask::default()
    };
    let start = session.claim(&ask).remove(0);
    session.complete(&start, &json!({"result": 4}));
    let sides = session.claim(&ask);
    let (left, right): (Vec<_>, Vec<_>) = sides
        .into_iter()
        .partition(|claim| claim.name == "dag_process_left");
    session.complete(&left[0], &json!({"result": 16}));
    let transform = session.claim(&ask);
    assert_eq!(
        transform
            .iter()
            .map(|claim| claim.name.as_str())
            .collect::<Vec<_>>(),
        ["dag_transform"]
    );
    assert_eq!(session.step_state(task, "dag_process_right"), "in_progress");
    session.complete(&transform[0], &json!({"result": 256}));
    session.complete(&right[0], &json!({"result": 16}));
    let ran = session.work_in("mixed_dag_workflow", |claim| match claim.name.as_str() {
        "dag_finalize" => {
            assert_eq!(
                claim
                    .dependency_results
                    .as_object()
                    .map(|parents| parents.len()),
                Some(3)
            );
            done()
        }
        _ => done(),
    });
    assert_eq!(ran.last().map(String::as_str), Some("dag_finalize"));
    assert_eq!(session.task_state(task), "complete");
    let (_, results) = mathematics_of_mixed(&mut session);
    assert_eq!(results["dag_validate"], json!(65536));
    // (65536 * 256 * 256)^2
    assert_eq!(results["dag_finalize"].to_string(), "18446744073709551616");
}

fn mathematics_of_mixed(session: &mut Session) -> (Uuid, Value) {
    let task: Uuid = session.one(
        "SELECT tasker.create_task('complex_dag_computation', '{\"even_number\": 2}', 'mixed_dag_workflow')",
        &[],
    );
    let ask = Ask {
        namespaces: vec!["mixed_dag_workflow"],
        ..Ask::default()
    };
    let mut results = json!({});
    while let Some(claim) = session.claim(&ask).pop() {
        let result = square(session, &input(&claim).expect("numbers"));
        results[&claim.name] = result.clone();
        session.complete(&claim, &json!({"result": result}));
    }
    (task, results)
}

fn order() -> Value {
    json!({
        "customer_info": {"id": 12345, "email": "customer@example.com", "tier": "premium"},
        "order_items": [
            {"product_id": 101, "quantity": 2, "price": 29.99}, {"product_id": 102, "quantity": 1, "price": 149.99},
        ],
        "payment_info": {"method": "credit_card", "token": "tok_test_payment_token_12345", "amount": 209.97},
        "shipping_info": {"address": "123 Main St", "method": "express"},
    })
}

fn started_order() -> (Database, Session, Uuid) {
    let database = Database::new();
    let mut session = database.connect();
    session.query(
        "SELECT tasker.register_template($1)",
        &[&shapes::example("order_fulfillment")],
    );
    let task = session.one(
        "SELECT tasker.create_task('process_order', $1, 'fulfillment')",
        &[&order()],
    );
    (database, session, task)
}

#[test]
fn the_shipping_step_reads_results_of_ancestors_that_are_not_its_parents() {
    let (_database, mut session, task) = started_order();
    let (mut limits, mut ran) = (vec![], vec![]);
    let ask = Ask {
        namespaces: vec!["fulfillment"],
        ..Ask::default()
    };
    while let Some(claim) = session.claim(&ask).pop() {
        limits.push(claim.retry_limit);
        ran.push(claim.name.clone());
        if claim.name == "ship_order" {
            assert_eq!(
                claim
                    .dependency_results
                    .as_object()
                    .map(|parents| parents.len()),
                Some(1)
            );
            let all: Value =
                session.one("SELECT tasker.get_dependency_results($1)", &[&claim.step]);
            assert_eq!(
                all,
                json!({
                    "validate_order": {"order_total": 209.97}, "reserve_inventory": {"items_reserved": 2},
                    "process_payment": {"gateway_fee": 6.09},
                })
            );
        }
        let results = match claim.name.as_str() {
            "validate_order" => json!({"order_total": 209.97}),
            "reserve_inventory" => json!({"items_reserved": 2}),
            "process_payment" => json!({"gateway_fee": 6.09}),
            _ => json!({"shipping_cost": 16.25}),
        };
        session.complete(&claim, &results);
    }
    assert_eq!(
        ran,
        [
            "validate_order",
            "reserve_inventory",
            "process_payment",
            "ship_order"
        ]
    );
    assert_eq!(limits, [1, 3, 2, 5]);
    assert_eq!(session.task_state(task), "complete");
    assert_eq!(
        session.results(task, "validate_order").to_string(),
        r#"{"order_total":209.97}"#
    );
}

#[test]
fn a_claim_can_ask_for_all_ancestors_or_none() {
    let (_database, mut session, _task) = started_order();
    let ask = |results| Ask {
        namespaces: vec!["fulfillment"],
        results,
        ..Ask::default()
    };
    for name in ["validate_order", "reserve_inventory"] {
        let claim = session.claim(&ask("parents")).remove(0);
        assert_eq!(claim.name, name);
        session.complete(&claim, &json!({"from": name}));
    }
    let wanted = json!({"validate_order": {"from": "validate_order"}, "reserve_inventory": {"from": "reserve_inventory"}});
    for (results, expected) in [
        ("parents", wanted.clone()),
        ("ancestors", wanted.clone()),
        ("none", json!({})),
    ] {
        let claim = session.claim(&ask(results)).remove(0);
        assert_eq!(claim.name, "process_payment");
        assert_eq!(claim.dependency_results, expected, "{results}");
        session.query("SELECT tasker.release_steps('worker')", &[]);
    }
    let payment = session.claim(&ask("none")).remove(0);
    session.complete(&payment, &json!({}));
    let shipping = session.claim(&ask("ancestors")).remove(0);
    let mut wanted = wanted;
    wanted["process_payment"] = json!({});
    assert_eq!(shipping.dependency_results, wanted);
}

#[test]
fn a_declined_payment_ends_the_order_and_a_busy_gateway_does_not() {
    let (_database, mut session, task) = started_order();
    session.work_in("fulfillment", |claim| match claim.name.as_str() {
        "process_payment" => Act::FailAndWait,
        _ => done(),
    });
    assert_eq!(session.task_state(task), "in_progress");
    inside::make_due(&mut session, task);
    let ask = Ask {
        namespaces: vec!["fulfillment"],
        ..Ask::default()
    };
    let payment = session.claim(&ask).remove(0);
    session.query(
        "SELECT tasker.fail_step($1, $2, 'card declined', 'PAYMENT_DECLINED', false)",
        &[&payment.step, &payment.number],
    );
    assert_eq!(session.task_state(task), "error");
    assert_eq!(
        session.results(task, "process_payment")["error_class"],
        "PAYMENT_DECLINED"
    );
    assert_eq!(session.step_state(task, "ship_order"), "pending");
}

// --- Failures.

#[test]
fn a_branch_that_fails_three_times_leaves_the_join_with_one_of_two_parents() {
    let (_database, mut session, task) = started(&shapes::small_diamond());
    session.work(|claim| if claim.name == "c" { Act::Fail } else { done() });
    assert_eq!(
        session.steps(task),
        [
            "start complete/1",
            "b complete/1",
            "c error/3",
            "end pending/0"
        ]
    );
    assert_eq!(
        session.counters(task),
        "total 4 pending 1 in_progress 0 completed 2 failed 1 ready 0 cancelled 0"
    );
    let parents: String = session.one(
        "SELECT completed_parents || ' of ' || total_parents FROM tasker.get_step_readiness_status($1) WHERE name = 'end'",
        &[&task],
    );
    assert_eq!(parents, "1 of 2");
    assert_eq!(session.task_state(task), "error");
}

fn tree() -> Template {
    Template::new("tree")
        .step("root", &[])
        .step("left", &["root"])
        .step("right", &["root"])
        .step("leaf_d", &["left"])
        .step("leaf_e", &["left"])
        .step("leaf_f", &["right"])
        .step("leaf_g", &["right"])
        .step("convergence", &["leaf_d", "leaf_e", "leaf_f", "leaf_g"])
}

#[test]
fn a_failed_root_leaves_seven_pending_and_a_failed_leaf_six_complete() {
    let (_database, mut session, task) = started(&tree());
    session.work(|_| Act::FailForGood);
    assert_eq!(
        session.counters(task),
        "total 8 pending 7 in_progress 0 completed 0 failed 1 ready 0 cancelled 0"
    );
    assert_eq!(session.task_state(task), "error");
    let task = session.create("tree");
    session.work(|claim| {
        if claim.name == "leaf_e" {
            Act::FailForGood
        } else {
            done()
        }
    });
    assert_eq!(
        session.counters(task),
        "total 8 pending 1 in_progress 0 completed 6 failed 1 ready 0 cancelled 0"
    );
    let parents: String = session.one(
        "SELECT completed_parents || ' of ' || total_parents FROM tasker.get_step_readiness_status($1) WHERE name = 'convergence'",
        &[&task],
    );
    assert_eq!(parents, "3 of 4");
    assert_eq!(session.task_state(task), "error");
}

#[test]
fn two_failures_and_a_success_make_three_attempts() {
    let (_database, mut session, task) =
        started(&Template::new("flaky").step_with("only", &[], json!({"default_retry_limit": 5})));
    let mut runs = 0;
    session.work(|claim| {
        runs += 1;
        assert_eq!(claim.attempt, runs);
        if runs < 3 { Act::Fail } else { done() }
    });
    assert_eq!(session.steps(task), ["only complete/3"]);
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn a_task_of_independent_steps_of_every_outcome_ends_in_error_with_nothing_in_progress() {
    let template = Template::new("fates")
        .step("good", &[])
        .step("bad", &[])
        .step_with("flaky", &[], json!({"default_retry_limit": 2}));
    let (_database, mut session, task) = started(&template);
    session.work(|claim| match claim.name.as_str() {
        "good" => done(),
        "bad" => Act::FailForGood,
        _ => Act::Fail,
    });
    assert_eq!(
        session.steps(task),
        ["good complete/1", "bad error/1", "flaky error/2"]
    );
    assert_eq!(session.task_state(task), "error");
    assert_eq!(
        session.counters(task),
        "total 3 pending 0 in_progress 0 completed 1 failed 2 ready 0 cancelled 0"
    );
}

#[test]
fn a_failed_step_completed_by_hand_feeds_its_child() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    session.work(|_| Act::FailForGood);
    assert_eq!(session.task_state(task), "error");
    let step = session.step(task, "step_1");
    let state: String = session.one(
        "SELECT tasker.resolve_step_manually($1, '{\"value\": 100}', 'ann', 'known fault')",
        &[&step],
    );
    assert_eq!(state, "resolved_manually");
    assert_eq!(session.ready(task), ["step_2"]);
    let child = session.claim_one("worker");
    assert_eq!(child.dependency_results, json!({"step_1": {"value": 100}}));
    session.complete(&child, &json!({}));
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn a_retry_with_reset_starts_the_count_again() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    session.work(|_| Act::Fail);
    assert_eq!(session.steps(task), ["step_1 error/3"]);
    let step = session.step(task, "step_1");
    let state: String = session.one("SELECT tasker.retry_step($1)", &[&step]);
    assert_eq!(state, "pending");
    assert_eq!(session.steps(task), ["step_1 pending/0"]);
    assert_eq!(session.task_state(task), "pending");
    assert_eq!(session.claim_one("worker").attempt, 1);
}

// --- Fencing.

fn stale(failure: Result<String, Failure>) -> Failure {
    failure
        .expect_err("a stale report was accepted")
        .is("55006")
        .says(&["stale"])
}

#[test]
fn a_released_step_is_claimed_under_a_larger_number_with_the_same_attempt() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    let first = session.claim_one("worker one");
    assert_eq!(
        session.count("SELECT tasker.release_steps('worker one')", &[]),
        1
    );
    assert_eq!(session.steps(task), ["step_1 pending/0"]);
    let second = session.claim_one("worker two");
    assert!(second.number > first.number);
    assert_eq!((first.attempt, second.attempt), (1, 1));
    let before = inside::fingerprint(&mut session);
    stale(session.try_complete(&first));
    stale(session.try_fail_for_good(&first));
    assert_eq!(inside::fingerprint(&mut session), before);
    session.complete(&second, &json!({}));
    stale(session.try_complete(&first));
}

#[test]
fn a_step_retried_with_reset_is_claimed_under_a_larger_number() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    let first = session.claim_one("worker");
    session.fail_for_good(&first);
    let step = session.step(task, "step_1");
    session.query("SELECT tasker.retry_step($1)", &[&step]);
    stale(session.try_complete(&first));
    let second = session.claim_one("worker");
    assert!(second.number > first.number);
    assert_eq!(second.attempt, 1);
    stale(session.try_complete(&first));
    session.complete(&second, &json!({}));
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn the_same_report_twice_changes_nothing_and_is_not_an_error() {
    let (_database, mut session, _task) = started(&shapes::wide("wide", 3));
    let claims = session.claim_all("worker");
    let (good, bad, flaky) = (&claims[0], &claims[1], &claims[2]);
    assert_eq!(session.complete(good, &json!({"value": 1})), "complete");
    assert_eq!(session.fail_for_good(bad), "error");
    assert_eq!(session.fail_and_wait(flaky), "error");
    let before = inside::fingerprint(&mut session);
    assert_eq!(session.complete(good, &json!({"value": 2})), "duplicate");
    assert_eq!(session.fail_for_good(bad), "duplicate");
    assert_eq!(session.fail_and_wait(flaky), "duplicate");
    let reports = json!([good.done(json!({})), bad.failed(false), flaky.failed(true)]);
    let outcomes: Vec<String> = session.all(
        "SELECT outcome FROM tasker.report_steps('worker', $1)",
        &[&reports],
    );
    assert_eq!(outcomes, ["duplicate", "duplicate", "duplicate"]);
    let (refused, _) =
        session.report_and_claim(&Ask::default(), reports.as_array().expect("an array"));
    assert_eq!(refused.len(), 3);
    assert_eq!(inside::fingerprint(&mut session), before);
}

#[test]
fn another_report_than_the_first_is_stale() {
    let (_database, mut session, _task) = started(&shapes::wide("wide", 2));
    let claims = session.claim_all("worker");
    session.complete(&claims[0], &json!({}));
    session.fail_for_good(&claims[1]);
    let before = inside::fingerprint(&mut session);
    stale(session.try_fail_for_good(&claims[0]));
    stale(session.try_complete(&claims[1]));
    assert_eq!(inside::fingerprint(&mut session), before);
}

#[test]
fn a_step_whose_lease_ended_is_taken_over_and_its_late_report_is_stale() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    let first = session
        .claim(&Ask {
            worker: "lost",
            lease: "1 millisecond",
            ..Ask::default()
        })
        .remove(0);
    std::thread::sleep(std::time::Duration::from_millis(10));
    let second = session.claim_one("worker");
    assert_eq!((second.number, second.attempt), (first.number + 1, 2));
    assert_eq!(
        story(&mut session, first.step),
        [
            "pending>in_progress",
            "in_progress>error",
            "error>pending",
            "pending>in_progress"
        ]
    );
    stale(session.try_complete(&first));
    session.complete(&second, &json!({}));
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn a_lease_that_ends_on_the_last_attempt_is_a_permanent_error() {
    let template = Template::new("fragile")
        .step_with("limited", &[], json!({"default_retry_limit": 1}))
        .step_with("stubborn", &[], json!({"default_retryable": false}))
        .step("after", &["limited"]);
    let (_database, mut session, task) = started(&template);
    // One by one: the only step of a claim counts as begun.
    let claims = [session.claim_one("lost"), session.claim_one("lost")];
    inside::lease_ended(&mut session, "lost", 1);
    assert_eq!(session.claim_all("worker").len(), 0);
    assert_eq!(
        session.steps(task),
        ["limited error/1", "stubborn error/1", "after pending/0"]
    );
    assert_eq!(
        session.results(task, "limited")["error_class"],
        "LeaseExpired"
    );
    assert_eq!(session.task_state(task), "error");
    stale(session.try_complete(&claims[0]));
}

#[test]
fn a_late_report_is_accepted_until_the_step_is_taken_over() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    let claim = session
        .claim(&Ask {
            worker: "slow",
            lease: "1 millisecond",
            ..Ask::default()
        })
        .remove(0);
    std::thread::sleep(std::time::Duration::from_millis(10));
    assert_eq!(session.complete(&claim, &json!({})), "complete");
    assert_eq!(session.task_state(task), "complete");
    assert_eq!(session.claim_all("worker").len(), 0);
}

#[test]
fn a_heartbeat_keeps_a_step_beyond_its_first_lease() {
    let (_database, mut session, _task) = started(&shapes::chain("one", 1));
    let claim = session
        .claim(&Ask {
            worker: "slow",
            lease: "300 milliseconds",
            ..Ask::default()
        })
        .remove(0);
    let beats: Vec<String> =
        session.all("SELECT status FROM tasker.heartbeat('slow', '1 hour')", &[]);
    assert_eq!(beats, ["extended"]);
    std::thread::sleep(std::time::Duration::from_millis(350));
    assert_eq!(
        session.claim_all("worker").len(),
        0,
        "taken over in spite of the heartbeat"
    );
    session.complete(&claim, &json!({}));
    assert_eq!(
        session
            .query("SELECT * FROM tasker.heartbeat('slow')", &[])
            .len(),
        0
    );
}

#[test]
fn a_heartbeat_tells_which_steps_were_lost() {
    let (_database, mut session, _task) = started(&shapes::wide("wide", 2));
    let claims = session.claim(&Ask {
        worker: "slow",
        most: 2,
        lease: "1 millisecond",
        ..Ask::default()
    });
    std::thread::sleep(std::time::Duration::from_millis(10));
    assert_eq!(session.claim_all("worker").len(), 1);
    let beats: Vec<String> = session.all("SELECT status FROM tasker.heartbeat('slow')", &[]);
    assert_eq!(beats, ["lost", "lost"]);
    stale(session.try_complete(&claims[0]));
}

#[test]
fn a_crashed_run_counts_as_an_attempt_and_a_released_one_does_not() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    session.claim_one("first");
    session.query("SELECT tasker.release_steps('first')", &[]);
    let claim = session
        .claim(&Ask {
            worker: "second",
            lease: "1 millisecond",
            ..Ask::default()
        })
        .remove(0);
    assert_eq!(claim.attempt, 1);
    std::thread::sleep(std::time::Duration::from_millis(10));
    assert_eq!(session.claim_one("third").attempt, 2);
    assert_eq!(session.steps(task), ["step_1 in_progress/2"]);
}

// --- The loop of a worker.

#[test]
fn report_and_claim_hands_out_the_child_it_has_just_released() {
    let (_database, mut session, task) = started(&shapes::chain("five", 5));
    let mut reports = vec![];
    for number in 1..=5 {
        let (refused, claims) = session.report_and_claim(&Ask::default(), &reports);
        assert!(refused.is_empty());
        assert_eq!(
            claims
                .iter()
                .map(|claim| claim.name.clone())
                .collect::<Vec<_>>(),
            [format!("step_{number}")]
        );
        reports = vec![claims[0].done(json!({"number": number}))];
    }
    let (refused, claims) = session.report_and_claim(&Ask::default(), &reports);
    assert!(refused.is_empty() && claims.is_empty());
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn report_and_claim_hands_out_the_join_and_the_retry_of_its_own_reports() {
    let (_database, mut session, _task) = started(&shapes::small_diamond());
    session.work_through("start");
    let claims = session.claim(&Ask::by("worker", 2));
    let (_, again) = session.report_and_claim(&Ask::default(), &[claims[0].failed(true)]);
    assert_eq!((again[0].step, again[0].attempt), (claims[0].step, 2));
    let (_, join) = session.report_and_claim(
        &Ask::default(),
        &[again[0].done(json!({})), claims[1].done(json!({}))],
    );
    assert_eq!(join[0].name, "end");
    assert_eq!(join[0].dependency_results, json!({"b": {}, "c": {}}));
}

// --- Order, queues, priorities.

#[test]
fn claims_come_by_priority_then_oldest_first() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("one", 1).register(&mut session);
    let tasks: Vec<Uuid> = [2, 1, 4, 3, 2, 4]
        .iter()
        .map(|priority| {
            session.one(
                "SELECT tasker.create_task('one', priority => $1)",
                &[priority],
            )
        })
        .collect();
    let order: Vec<Uuid> = session
        .claim_all("worker")
        .into_iter()
        .map(|claim| claim.task)
        .collect();
    assert_eq!(order, [2, 5, 3, 0, 4, 1].map(|index: usize| tasks[index]));
}

#[test]
fn a_task_with_a_later_run_at_waits_for_it() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("one", 1).register(&mut session);
    let later: Uuid = session.one(
        "SELECT tasker.create_task('one', run_at => clock_timestamp() + interval '1 hour')",
        &[],
    );
    let soon: Uuid = session.one(
        "SELECT tasker.create_task('one', run_at => clock_timestamp() + interval '200 ms')",
        &[],
    );
    assert_eq!(session.claim_all("worker").len(), 0);
    std::thread::sleep(std::time::Duration::from_millis(250));
    let claims = session.claim_all("worker");
    assert_eq!(
        claims.iter().map(|claim| claim.task).collect::<Vec<_>>(),
        [soon]
    );
    assert_eq!(session.task_state(later), "pending");
}

#[test]
fn a_worker_gets_steps_of_its_namespaces_and_queues_only() {
    let database = Database::new();
    let mut session = database.connect();
    Template::new("routed")
        .with("namespace_name", json!("shop"))
        .step("plain", &[])
        .step_with("heavy", &[], json!({"queue": "gpu"}))
        .step_with(
            "inside",
            &[],
            json!({"handler": {"callable": "sql:shop.f"}}),
        )
        .register(&mut session);
    session.query(
        "SELECT tasker.create_task('routed', namespace => 'shop')",
        &[],
    );
    let mut names = |ask: &Ask| -> Vec<String> {
        let names = session
            .claim(ask)
            .into_iter()
            .map(|claim| claim.name)
            .collect();
        session.query("SELECT tasker.release_steps('worker')", &[]);
        names
    };
    let shop = Ask {
        namespaces: vec!["shop"],
        most: 10,
        ..Ask::default()
    };
    assert!(
        names(&Ask {
            most: 10,
            ..Ask::default()
        })
        .is_empty()
    );
    assert_eq!(names(&shop), ["plain"]);
    assert_eq!(
        names(&Ask {
            queues: Some(vec!["gpu"]),
            ..shop.clone()
        }),
        ["heavy"]
    );
    assert_eq!(
        names(&Ask {
            queues: Some(vec!["sql"]),
            ..shop.clone()
        }),
        ["inside"]
    );
    assert_eq!(
        names(&Ask {
            queues: Some(vec!["gpu", "sql", "default"]),
            ..shop.clone()
        })
        .len(),
        3
    );
    assert!(
        names(&Ask {
            namespaces: vec!["unknown"],
            ..shop
        })
        .is_empty()
    );
}

#[test]
fn several_namespaces_are_asked_in_rotation() {
    let database = Database::new();
    let mut session = database.connect();
    for namespace in ["left", "right"] {
        shapes::chain("one", 1)
            .with("namespace_name", json!(namespace))
            .register(&mut session);
        let contexts = vec![json!({}); 20];
        session.query(
            "SELECT * FROM tasker.create_tasks('one', $1, $2)",
            &[&contexts, &namespace],
        );
    }
    let ask = Ask {
        namespaces: vec!["left", "right"],
        ..Ask::default()
    };
    let first: Vec<String> = (0..10)
        .map(|_| session.claim(&ask).remove(0).namespace)
        .collect();
    let left = first
        .iter()
        .filter(|namespace| *namespace == "left")
        .count();
    assert!((3..=7).contains(&left), "one namespace starves: {first:?}");
    assert_eq!(session.claim(&Ask { most: 100, ..ask }).len(), 30);
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn a_claim_hands_out_everything_a_worker_needs() {
    let database = Database::new();
    let mut session = database.connect();
    Template::new("full")
        .with("namespace_name", json!("shop"))
        .with("version", json!("2.1.0"))
        .step_with(
            "only",
            &[],
            json!({"handler": {"callable": "Shop::Only", "initialization": {"url": "x"}}}),
        )
        .register(&mut session);
    let task: Uuid = session.one(
        "SELECT tasker.create_task('full', '{\"a\": 1}', 'shop', correlation_id => 'c-1', traceparent => $1, tracestate => 'rojo=1')",
        &[&TRACE],
    );
    let claim = session
        .claim(&Ask {
            namespaces: vec!["shop"],
            ..Ask::default()
        })
        .remove(0);
    assert_eq!(claim.task, task);
    assert_eq!((claim.number, claim.attempt, claim.retry_limit), (1, 1, 3));
    assert_eq!(
        (claim.namespace.as_str(), claim.queue.as_str()),
        ("shop", "default")
    );
    assert_eq!(
        (claim.task_name.as_str(), claim.version.as_str()),
        ("full", "2.1.0")
    );
    assert_eq!(
        (claim.handler.as_str(), claim.handler_config),
        ("Shop::Only", json!({"url": "x"}))
    );
    assert_eq!(
        (claim.context, claim.dependency_results),
        (json!({"a": 1}), json!({}))
    );
    assert_eq!(
        (claim.correlation_id.as_deref(), claim.tracestate.as_deref()),
        (Some("c-1"), Some("rojo=1"))
    );
    // The span of the run, of the trace that came in.
    let traceparent = claim.traceparent.expect("always there");
    assert_eq!(traceparent[..36], TRACE[..36]);
    assert_ne!(traceparent, TRACE);
    let left = claim
        .lease_expires_at
        .duration_since(std::time::SystemTime::now())
        .expect("in the future");
    assert!((25..=30).contains(&left.as_secs()), "{left:?}");
}

#[test]
fn uuids_carry_task_and_step() {
    let (_database, mut session, task) = started(&shapes::linear());
    let steps: Vec<Uuid> = session.all(
        "SELECT step_uuid FROM tasker.workflow_steps WHERE task_uuid = $1 ORDER BY step_no",
        &[&task],
    );
    let task = task.as_u128();
    assert_eq!(task & 0xffff, 0);
    assert_eq!(
        steps
            .iter()
            .map(|step| step.as_u128() - task)
            .collect::<Vec<_>>(),
        [1, 2, 3, 4, 5, 6]
    );
}
