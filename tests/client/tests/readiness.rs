//! Readiness and execution context of steps and tasks, backoff, and the levels of every shape.

use std::time::Duration;

use tasker_client_tests::worker::{Ask, done};
use tasker_client_tests::{Act, Database, Session, Template, Uuid, inside, json, shapes, started};

/// Columns of one step's readiness, joined by blanks.
fn readiness(session: &mut Session, task: Uuid, step: &str, columns: &str) -> String {
    session.one(
        &format!("SELECT concat_ws(' ', {columns}) FROM tasker.get_step_readiness_status($1) WHERE name = $2"),
        &[&task, &step],
    )
}

const ELIGIBLE: &str = "current_state, attempts, retry_eligible, ready_for_execution";

#[test]
fn a_new_task_shows_its_roots_ready() {
    let (_database, mut session, task) = started(&shapes::dummy());
    assert_eq!(
        session
            .query(
                "SELECT * FROM tasker.get_step_readiness_status($1)",
                &[&task]
            )
            .len(),
        4
    );
    for root in ["step-one", "step-two"] {
        assert_eq!(
            readiness(
                &mut session,
                task,
                root,
                "current_state, total_parents, dependencies_satisfied, ready_for_execution"
            ),
            "pending 0 t t"
        );
    }
    for other in ["step-three", "step-four"] {
        assert_eq!(
            readiness(
                &mut session,
                task,
                other,
                "current_state, total_parents, completed_parents, dependencies_satisfied, ready_for_execution"
            ),
            "pending 1 0 f f"
        );
    }
    assert_eq!(
        session.counters(task),
        "total 4 pending 4 in_progress 0 completed 0 failed 0 ready 2 cancelled 0"
    );
    assert_eq!(
        session.context(task),
        "has_ready_steps / execute_ready_steps / 0.00 / healthy"
    );
}

#[test]
fn the_relationships_of_a_task_show_roots_leaves_and_depth() {
    let (_database, mut session, task) = started(&shapes::dummy());
    let rows: Vec<String> = session.all(
        "SELECT concat_ws(' ', w.name, r.parent_count, r.child_count, r.is_root_step, r.is_leaf_step, r.min_depth_from_root)
         FROM tasker.step_dag_relationships r JOIN tasker.workflow_steps w USING (step_uuid)
         WHERE r.task_uuid = $1 ORDER BY w.name",
        &[&task],
    );
    assert_eq!(
        rows,
        [
            "step-four 1 0 f t 2",
            "step-one 0 0 t t 0",
            "step-three 1 1 f f 1",
            "step-two 0 1 t f 0"
        ]
    );
    let edges: Vec<String> = session.all(
        "SELECT name FROM tasker.workflow_step_edges WHERE task_uuid = $1",
        &[&task],
    );
    assert_eq!(edges, ["provides", "provides"]);
}

#[test]
fn steps_become_ready_as_their_parents_complete() {
    let (_database, mut session, task) = started(&shapes::dummy());
    assert_eq!(session.ready(task), ["step-one", "step-two"]);
    for claim in session.claim_all("worker") {
        session.complete(&claim, &json!({}));
    }
    for name in ["step-three", "step-four"] {
        assert_eq!(session.ready(task), [name]);
        session.work_through(name);
    }
    assert!(session.ready(task).is_empty());
}

#[test]
fn a_running_step_is_not_ready() {
    let (_database, mut session, task) = started(&shapes::dummy());
    assert_eq!(session.claim_one("worker").name, "step-one");
    assert_eq!(session.ready(task), ["step-two"]);
    assert_eq!(
        readiness(&mut session, task, "step-one", ELIGIBLE),
        "in_progress 1 t f"
    );
}

#[test]
fn a_pending_step_that_is_backed_off_is_not_ready() {
    let (_database, mut session, task) = started(&shapes::dummy());
    let step = session.step(task, "step-one");
    inside::postpone(&mut session, step, 30);
    assert_eq!(session.ready(task), ["step-two"]);
    assert_eq!(
        session
            .claim_all("worker")
            .into_iter()
            .map(|claim| claim.name)
            .collect::<Vec<_>>(),
        ["step-two"]
    );
}

#[test]
fn a_step_that_failed_permanently_blocks_its_task() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    session.work(|_| Act::FailForGood);
    assert_eq!(
        readiness(&mut session, task, "step_1", ELIGIBLE),
        "error 1 f f"
    );
    assert_eq!(
        session.context(task),
        "blocked_by_failures / handle_failures / 0.00 / blocked"
    );
}

#[test]
fn a_step_that_waits_for_its_backoff_says_until_when() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    for _ in 0..2 {
        inside::make_due(&mut session, task);
        let claim = session.claim_soon(&Ask::default(), 1).remove(0);
        session.fail_and_wait(&claim);
    }
    assert_eq!(
        readiness(&mut session, task, "step_1", ELIGIBLE),
        "error 2 t f"
    );
    let wait: String = session.one(
        "SELECT round(extract(epoch FROM next_retry_at - last_failure_at), 2)::text FROM tasker.get_step_readiness_status($1)",
        &[&task],
    );
    assert_eq!(wait, "2.00");
    assert_eq!(
        session.context(task),
        "waiting_for_dependencies / wait_for_dependencies / 0.00 / recovering"
    );
}

#[test]
fn an_exhausted_step_blocks_its_task() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    session.work(|_| Act::Fail);
    assert_eq!(
        readiness(&mut session, task, "step_1", ELIGIBLE),
        "error 3 f f"
    );
    assert_eq!(
        session.context(task),
        "blocked_by_failures / handle_failures / 0.00 / blocked"
    );
}

#[test]
fn a_cancelled_step_beside_a_complete_one_blocks_the_task() {
    let (_database, mut session, task) = started(&shapes::wide("wide", 2));
    session.work_through("step_1");
    let step = session.step(task, "step_2");
    session.query("SELECT tasker.cancel_step($1)", &[&step]);
    assert_eq!(
        session.counters(task),
        "total 2 pending 0 in_progress 0 completed 1 failed 0 ready 0 cancelled 1"
    );
    assert!(
        session
            .context(task)
            .starts_with("blocked_by_failures / handle_failures / 50.00 / "),
        "{}",
        session.context(task)
    );
    assert_eq!(session.task_state(task), "error");
}

#[test]
fn a_running_step_beside_a_failed_one_is_processing_and_recovering() {
    let (_database, mut session, task) = started(&shapes::wide("wide", 2));
    let claims = session.claim(&Ask::by("worker", 2));
    session.fail_for_good(&claims[0]);
    assert_eq!(
        session.context(task),
        "processing / wait_for_completion / 0.00 / recovering"
    );
    session.complete(&claims[1], &json!({}));
    assert_eq!(
        session.context(task),
        "blocked_by_failures / handle_failures / 50.00 / blocked"
    );
}

#[test]
fn the_first_run_is_always_allowed() {
    let template = Template::new("limits")
        .step_with("none", &[], json!({"default_retry_limit": 0}))
        .step_with("stubborn", &[], json!({"default_retryable": false}))
        .step_with("three", &[], json!({"default_retry_limit": 3}));
    let (_database, mut session, task) = started(&template);
    for step in ["none", "stubborn", "three"] {
        assert_eq!(
            readiness(&mut session, task, step, ELIGIBLE),
            "pending 0 t t"
        );
    }
    let mut seen = vec![];
    while let Some(claim) = session.claim(&Ask::default()).pop() {
        session.fail(&claim);
        seen.push(format!(
            "{} {}",
            claim.name,
            readiness(&mut session, task, &claim.name, "attempts, retry_eligible")
        ));
    }
    seen.sort();
    assert_eq!(
        seen,
        [
            "none 1 f",
            "stubborn 1 f",
            "three 1 t",
            "three 2 t",
            "three 3 f"
        ]
    );
}

#[test]
fn a_parent_resolved_by_hand_satisfies_and_a_cancelled_one_does_not() {
    let template = Template::new("two pairs")
        .step("a", &[])
        .step("b", &["a"])
        .step("c", &[])
        .step("d", &["c"]);
    let (_database, mut session, task) = started(&template);
    let (a, c) = (session.step(task, "a"), session.step(task, "c"));
    session.query("SELECT tasker.resolve_step_manually($1)", &[&a]);
    session.query("SELECT tasker.cancel_step($1)", &[&c]);
    assert_eq!(
        readiness(
            &mut session,
            task,
            "b",
            "dependencies_satisfied, completed_parents, ready_for_execution"
        ),
        "t 1 t"
    );
    assert_eq!(
        readiness(
            &mut session,
            task,
            "d",
            "dependencies_satisfied, completed_parents, ready_for_execution"
        ),
        "f 0 f"
    );
}

#[test]
fn complete_steps_are_never_ready() {
    let (_database, mut session, task) = started(&shapes::linear());
    session.work(|_| done());
    assert!(session.ready(task).is_empty());
    assert_eq!(session.count("SELECT count(*) FROM tasker.get_step_readiness_status($1) WHERE current_state = 'complete'", &[&task]), 6);
}

#[test]
fn the_time_zone_of_the_session_changes_nothing() {
    let (database, mut session, task) = started(&shapes::wide("wide", 3));
    let claims = session.claim(&Ask::by("worker", 3));
    session.fail_and_wait(&claims[0]);
    session.complete(&claims[1], &json!({}));
    let look = |zone: &str| -> Vec<String> {
        let mut own = database.connect();
        own.execute(&format!("SET TimeZone = '{zone}'"));
        let mut seen: Vec<String> = own.all(
            "SELECT concat_ws(' ', name, ready_for_execution, retry_eligible, extract(epoch FROM next_retry_at), extract(epoch FROM last_failure_at))
             FROM tasker.get_step_readiness_status($1) ORDER BY name",
            &[&task],
        );
        seen.push(own.context(task));
        assert!(own.claim_all("zoned").is_empty());
        seen
    };
    let utc = look("UTC");
    assert_eq!(look("Asia/Tokyo"), utc);
    assert_eq!(look("America/Los_Angeles"), utc);
    let mut tokyo = database.connect();
    tokyo.execute("SET TimeZone = 'Asia/Tokyo'");
    inside::make_due(&mut session, task);
    assert_eq!(tokyo.claim_soon(&Ask::default(), 1).len(), 1);
}

#[test]
fn when_next_retry_at_has_passed_the_step_is_ready() {
    let template = shapes::chain("one", 1)
        .every_step(json!({"retry": {"backoff": "linear", "backoff_base_ms": 150}}));
    let (_database, mut session, task) = started(&template);
    let claim = session.claim_one("worker");
    session.fail_and_wait(&claim);
    loop {
        let told: String = readiness(
            &mut session,
            task,
            "step_1",
            "next_retry_at > clock_timestamp(), ready_for_execution",
        );
        match told.as_str() {
            "t f" => std::thread::sleep(Duration::from_millis(5)),
            "f t" => break,
            // The clock may pass between the two columns.
            "t t" | "f f" => continue,
            other => panic!("{other}"),
        }
    }
    assert_eq!(session.claim_soon(&Ask::default(), 1).len(), 1);
}

#[test]
fn the_batch_functions_return_the_same_rows_as_the_single_ones() {
    let (_database, mut session, first) = started(&shapes::diamond());
    session.work_through("start_workflow");
    shapes::mixed().register(&mut session);
    let second = session.create("mixed");
    for (batch, single) in [
        (
            "get_step_readiness_status_batch",
            "get_step_readiness_status",
        ),
        (
            "get_task_execution_contexts_batch",
            "get_task_execution_context",
        ),
    ] {
        let together: Vec<String> = session.all(
            &format!("SELECT r::text FROM tasker.{batch}(ARRAY[$1::uuid, $2::uuid]) r ORDER BY 1"),
            &[&first, &second],
        );
        let mut alone: Vec<String> = session.all(
            &format!("SELECT r::text FROM unnest(ARRAY[$1::uuid, $2::uuid]) t, tasker.{single}(t) r ORDER BY 1"),
            &[&first, &second],
        );
        alone.sort();
        let mut together = together;
        together.sort();
        assert_eq!(together, alone);
    }
    let some: Vec<String> = session.all(
        "SELECT name FROM tasker.get_step_readiness_status($1, ARRAY[$2::uuid])",
        &[&first, &Uuid::from_u128(first.as_u128() + 1)],
    );
    assert_eq!(some, ["start_workflow"]);
}

#[test]
fn the_levels_of_every_shape_are_those_of_its_longest_paths() {
    let database = Database::new();
    let mut session = database.connect();
    let wanted = [
        (shapes::linear(), "0 1 2 3 4 5"),
        (shapes::diamond(), "0 1 1 2 2 3 4"),
        (shapes::parallel_merge(), "0 0 0 0 1 1 2"),
        (shapes::mixed(), "0 0 1 1 2 2 3 3 4"),
        (shapes::dummy(), "0 0 1 2"),
    ];
    for (template, levels) in wanted {
        template.register(&mut session);
        let task = session.create(template.name());
        let found: String = session.one(
            "SELECT string_agg(dependency_level::text, ' ' ORDER BY dependency_level) FROM tasker.calculate_dependency_levels($1)",
            &[&task],
        );
        assert_eq!(found, levels, "{}", template.name());
    }
}

#[test]
fn every_shape_runs_to_its_end_with_roots_and_leaves_as_drawn() {
    let database = Database::new();
    let mut session = database.connect();
    for (template, roots, leaves, count) in [
        (shapes::linear(), 1, 1, 6),
        (shapes::diamond(), 1, 1, 7),
        (shapes::parallel_merge(), 4, 1, 7),
        (shapes::mixed(), 2, 2, 9),
        (shapes::dummy(), 2, 2, 4),
        (shapes::pipeline(), 3, 1, 8),
    ] {
        template.register(&mut session);
        let task = session.create(template.name());
        let drawn: String = session.one(
            "SELECT concat_ws(' ', count(*) FILTER (WHERE is_root_step), count(*) FILTER (WHERE is_leaf_step), count(*))
             FROM tasker.step_dag_relationships WHERE task_uuid = $1",
            &[&task],
        );
        assert_eq!(
            drawn,
            format!("{roots} {leaves} {count}"),
            "{}",
            template.name()
        );
        assert_eq!(session.work(|_| done()).len(), count);
        assert_eq!(session.task_state(task), "complete");
    }
}

// --- Backoff.

fn backoff(session: &mut Session, arguments: &str) -> f64 {
    session.one(
        &format!("SELECT extract(epoch FROM tasker.calculate_backoff({arguments}))::float8"),
        &[],
    )
}

#[test]
fn backoff_follows_the_default_list_then_powers_then_the_cap() {
    let database = Database::new();
    let mut session = database.connect();
    for (attempt, seconds) in [
        (-5, 0.0),
        (0, 0.0),
        (1, 1.0),
        (2, 2.0),
        (3, 4.0),
        (4, 8.0),
        (5, 16.0),
        (6, 32.0),
        (7, 49.0),
        (8, 64.0),
        (100, 300.0),
        (i32::MAX, 300.0),
    ] {
        assert_eq!(
            backoff(&mut session, &attempt.to_string()),
            seconds,
            "attempt {attempt}"
        );
    }
}

#[test]
fn backoff_follows_the_settings_for_list_multiplier_and_cap() {
    let database = Database::new();
    let mut session = database.connect();
    // Loaded, so that its settings are known.
    backoff(&mut session, "1");
    session.execute("SET tasker.default_backoff_seconds = '5,10'; SET tasker.backoff_multiplier = 1.5; SET tasker.max_backoff_seconds = 60");
    for (attempt, seconds) in [(1, 5.0), (2, 10.0), (3, 5.0), (100, 60.0)] {
        assert_eq!(
            backoff(&mut session, &attempt.to_string()),
            seconds,
            "attempt {attempt}"
        );
    }
}

#[test]
fn every_kind_of_backoff_uses_its_base_and_cap() {
    let database = Database::new();
    let mut session = database.connect();
    let table: [(&str, &str, [f64; 5]); 5] = [
        ("none", "1000, 300000", [0.0; 5]),
        ("linear", "1000, 300000", [1.0, 2.0, 3.0, 4.0, 5.0]),
        ("exponential", "50, 200", [0.05, 0.1, 0.2, 0.2, 0.2]),
        ("fibonacci", "1000, 300000", [1.0, 1.0, 2.0, 3.0, 5.0]),
        ("exponential", "1000, 300000", [1.0, 2.0, 4.0, 8.0, 16.0]),
    ];
    for (kind, limits, delays) in table {
        for (index, delay) in delays.iter().enumerate() {
            assert_eq!(
                backoff(&mut session, &format!("{}, '{kind}', {limits}", index + 1)),
                *delay,
                "{kind} {limits} attempt {}",
                index + 1
            );
        }
    }
}

#[test]
fn jitter_stays_within_its_share_and_below_the_cap() {
    let database = Database::new();
    let mut session = database.connect();
    let spread: String = session.one(
        "SELECT concat_ws(' ', min(e) >= 2, max(e) <= 6, max(e) - min(e) > 2, min(c) >= 150, max(c) <= 300)
         FROM (SELECT extract(epoch FROM tasker.calculate_backoff(3, jitter => 0.5)) e,
                      extract(epoch FROM tasker.calculate_backoff(100, jitter => 0.5)) c FROM generate_series(1, 500)) s",
        &[],
    );
    assert_eq!(spread, "t t t t t");
}

#[test]
fn retry_after_wins_is_capped_and_never_jittered() {
    let database = Database::new();
    let mut session = database.connect();
    for (retry_after, seconds) in [
        ("30 s", 30.0),
        ("5000 s", 300.0),
        ("0", 0.0),
        ("-5 s", 0.0),
        ("1.5 s", 1.5),
    ] {
        for kind in ["none", "exponential"] {
            let arguments =
                format!("3, '{kind}', 1000, retry_after => '{retry_after}', jitter => 0.5");
            assert_eq!(backoff(&mut session, &arguments), seconds, "{arguments}");
        }
    }
}
