//! Analysis of templates and tasks against a real server: structure, time, bottlenecks, diagrams.

use std::thread::sleep;
use std::time::{Duration, Instant};

use tasker_client_tests::worker::done;
use tasker_client_tests::{
    Act, Database, Session, Template, Uuid, Value, json, patience, shapes, started,
};

/// The columns of every row of a function of the task, joined by blanks.
fn rows(session: &mut Session, function: &str, task: Uuid, columns: &str) -> Vec<String> {
    session.all(
        &format!("SELECT concat_ws(' ', {columns}) FROM tasker.{function}($1)"),
        &[&task],
    )
}

fn analysis(session: &mut Session, task: Uuid) -> Value {
    session.one("SELECT tasker.analyze_task($1)", &[&task])
}

/// Runs the step that is ready for this long.
fn run(session: &mut Session, milliseconds: u64) -> String {
    let claim = session.claim_one("worker");
    sleep(Duration::from_millis(milliseconds));
    session.complete(&claim, &json!({}));
    claim.name
}

// ---- templates ------------------------------------------------------------------------------------------------------

#[test]
fn template_analysis_counts_steps_edges_levels_and_branches() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::linear().register(&mut session);
    shapes::diamond().register(&mut session);
    let linear: Value = session.one("SELECT tasker.analyze_template('linear')", &[]);
    assert_eq!(
        linear["summary"],
        json!({"total_steps": 6, "total_dependencies": 5, "has_cycles": false, "max_depth": 5, "parallel_branches": 1})
    );
    assert_eq!(linear["nodes"].as_array().map(Vec::len), Some(6));
    assert_eq!(linear["edges"].as_array().map(Vec::len), Some(5));
    assert_eq!(linear["levels"]["finalize_workflow"], json!(5));
    assert_eq!(linear["topology"][5], json!("finalize_workflow"));
    let diamond: Value = session.one("SELECT tasker.analyze_template('diamond')", &[]);
    assert_eq!(diamond["summary"]["parallel_branches"], json!(2));
    assert_eq!(diamond["redundant_dependencies"], json!([]));

    let graph: Vec<String> = session.all(
        "SELECT concat_ws(' ', step_no, step_name, level, min_depth, parents, children, is_root, is_leaf, handler)
         FROM tasker.template_graph('diamond') WHERE level IN (0, 3, 4)",
        &[],
    );
    assert_eq!(
        graph,
        [
            "1 start_workflow 0 0 {} {branch_one_process,branch_two_process} t f test.start_workflow",
            "6 merge_branches 3 3 {branch_one_validate,branch_two_validate} {end_workflow} f f test.merge_branches",
            "7 end_workflow 4 4 {merge_branches} {} f t test.end_workflow",
        ]
    );
}

#[test]
fn the_version_asked_for_is_analysed_and_else_the_highest() {
    let database = Database::new();
    let mut session = database.connect();
    for (version, steps) in [("0.9.0", 2), ("0.10.0", 3)] {
        shapes::chain("chain", steps)
            .with("version", json!(version))
            .register(&mut session);
    }
    let names = "SELECT tasker.analyze_template('chain', version => $1) ->> 'name'";
    assert_eq!(
        session.one::<String>(names, &[&None::<String>]),
        "default.chain@0.10.0"
    );
    assert_eq!(
        session.one::<String>(names, &[&"0.9.0"]),
        "default.chain@0.9.0"
    );
    let count = "SELECT count(*) FROM tasker.template_graph('chain', version => $1)";
    assert_eq!(session.count(count, &[&None::<String>]), 3);
    assert_eq!(session.count(count, &[&"0.9.0"]), 2);
}

#[test]
fn an_unknown_template_or_task_is_p0002_for_documents_and_no_row_for_rows() {
    let (_database, mut session, task) = started(&shapes::small_diamond());
    session
        .fails("SELECT tasker.analyze_template('nothing')", &[])
        .is("P0002")
        .says(&["nothing"]);
    session
        .fails(
            "SELECT tasker.analyze_template('small_diamond', version => '9.9.9')",
            &[],
        )
        .is("P0002")
        .says(&["9.9.9", "0.1.0"]);
    session
        .fails("SELECT tasker.analyze_template(NULL)", &[])
        .is("22004")
        .says(&["name"]);
    session
        .fails(
            "SELECT tasker.analyze_template('a', namespace => NULL)",
            &[],
        )
        .is("22004")
        .says(&["namespace"]);
    session
        .fails("SELECT * FROM tasker.template_graph(NULL)", &[])
        .is("22004")
        .says(&["name"]);
    assert_eq!(
        session.count("SELECT count(*) FROM tasker.template_graph('nothing')", &[]),
        0
    );
    let step = session.step(task, "start");
    for unknown in [Uuid::nil(), Uuid::max(), step] {
        session
            .fails("SELECT tasker.analyze_task($1)", &[&unknown])
            .is("P0002")
            .says(&[&unknown.to_string()]);
        for function in ROWS {
            let found = session.query(&format!("SELECT * FROM tasker.{function}($1)"), &[&unknown]);
            assert!(found.is_empty(), "{function}");
        }
    }
    for function in ROWS.iter().chain(&["analyze_task"]) {
        session
            .fails(&format!("SELECT * FROM tasker.{function}(NULL)"), &[])
            .is("22004")
            .says(&["task_uuid"]);
    }
}

const ROWS: [&str; 6] = [
    "task_schedule",
    "task_critical_path",
    "task_bottlenecks",
    "task_error_chains",
    "task_parallelism",
    "task_blockers",
];

// ---- time -----------------------------------------------------------------------------------------------------------

#[test]
fn the_critical_path_follows_the_measured_durations() {
    let (_database, mut session, task) = started(&shapes::small_diamond());
    assert_eq!(run(&mut session, 20), "start");
    // c takes longer than b although both run at the same time.
    let both = session.claim_all("worker");
    let (b, c): (Vec<_>, Vec<_>) = both.iter().partition(|claim| claim.name == "b");
    sleep(Duration::from_millis(30));
    session.complete(b[0], &json!({}));
    sleep(Duration::from_millis(90));
    session.complete(c[0], &json!({}));
    assert_eq!(run(&mut session, 20), "end");
    assert_eq!(
        rows(
            &mut session,
            "task_critical_path",
            task,
            "position, step_name, state, duration_basis"
        ),
        [
            "1 start complete measured",
            "2 c complete measured",
            "3 end complete measured"
        ]
    );
    // The log is the judge of every duration.
    let wrong = session.count(
        "SELECT count(*) FROM tasker.task_schedule($1) s
         JOIN LATERAL (SELECT max(created_at) - min(created_at) AS took FROM tasker.workflow_step_transitions t
                       WHERE t.step_uuid = s.step_uuid AND t.to_state IN ('in_progress', 'complete')) m ON true
         WHERE s.duration IS DISTINCT FROM m.took",
        &[&task],
    );
    assert_eq!(wrong, 0);
    let sums: Vec<bool> = session.all(
        "SELECT unnest(ARRAY[
             (SELECT sum(duration) FROM tasker.task_critical_path($1)) = (SELECT max(ends_after) FROM tasker.task_schedule($1)),
             (SELECT slack FROM tasker.task_schedule($1) WHERE step_name = 'b') BETWEEN '60 ms' AND '2 s',
             (SELECT slack = drag FROM (SELECT (SELECT slack FROM tasker.task_schedule($1) WHERE step_name = 'b') AS slack,
                                               (SELECT drag FROM tasker.task_schedule($1) WHERE step_name = 'c') AS drag) x),
             (SELECT bool_and(is_critical = (slack = '0')) FROM tasker.task_schedule($1)),
             (SELECT bool_and(starts_after + duration = ends_after) FROM tasker.task_schedule($1))])",
        &[&task],
    );
    assert_eq!(sums, [true; 5]);
    let shown = analysis(&mut session, task);
    assert_eq!(shown["critical_path"]["length"], json!(3));
    assert_eq!(shown["critical_path"]["steps"][1]["name"], json!("c"));
    assert_eq!(shown["critical_paths"]["total_paths"], json!(2));
    assert_eq!(shown["critical_paths"]["longest_path_length"], json!(3));
    assert_eq!(shown["bottlenecks"]["overall_impact"], json!("None"));
}

#[test]
fn what_has_not_run_takes_the_average_of_finished_tasks_and_else_half_a_minute() {
    let (_database, mut session, first) = started(&shapes::chain("chain", 2));
    let basis = "step_name, duration_basis";
    assert_eq!(
        rows(
            &mut session,
            "task_schedule",
            first,
            "step_name, duration, duration_basis"
        ),
        ["step_1 00:00:30 estimate", "step_2 00:00:30 estimate"]
    );
    run(&mut session, 40);
    run(&mut session, 40);
    let second = session.create("chain");
    assert_eq!(
        rows(&mut session, "task_schedule", second, basis),
        ["step_1 average", "step_2 average"]
    );
    let averaged: bool = session.one(
        "SELECT bool_and(a.duration = b.duration) FROM tasker.task_schedule($1) a JOIN tasker.task_schedule($2) b USING (step_name)",
        &[&first, &second],
    );
    assert!(averaged, "one finished task is its own average");
    let claim = session.claim_one("worker");
    sleep(Duration::from_millis(30));
    assert_eq!(
        rows(&mut session, "task_schedule", second, basis),
        ["step_1 running", "step_2 average"]
    );
    let so_far: bool = session.one(
        "SELECT duration BETWEEN '25 ms' AND '10 s' FROM tasker.task_schedule($1) WHERE step_name = 'step_1'",
        &[&second],
    );
    assert!(so_far, "the time so far");
    session.complete(&claim, &json!({}));
}

#[test]
fn every_run_of_a_step_counts_and_the_time_between_them_does_not() {
    let (_database, mut session, task) = started(&shapes::chain("chain", 1));
    let claim = session.claim_one("worker");
    sleep(Duration::from_millis(30));
    session.fail(&claim);
    sleep(Duration::from_millis(200));
    run(&mut session, 30);
    let fits: bool = session.one(
        "SELECT s.duration >= '55 ms' AND s.duration < m.whole - interval '190 ms'
         FROM tasker.task_schedule($1) s,
              (SELECT max(created_at) - min(created_at) AS whole FROM tasker.workflow_step_transitions WHERE task_uuid = $1) m",
        &[&task],
    );
    assert!(fits);
}

// ---- what stands still ----------------------------------------------------------------------------------------------

#[test]
fn a_failed_step_of_the_mixed_shape_is_the_bottleneck_and_shows_what_it_blocks() {
    let (_database, mut session, task) = started(&shapes::mixed());
    // Everything runs except setup_environment, which fails permanently.
    session.work(|claim| match claim.name.as_str() {
        "setup_environment" => Act::FailForGood,
        _ => done(),
    });
    assert_eq!(
        rows(
            &mut session,
            "task_bottlenecks",
            task,
            "step_name, state, bottleneck_type, severity, score, downstream_steps, blocked_steps, attempts, retry_limit"
        ),
        // (5 * 5 + 5 * 15) * 2.5 + 3 + 10 + 20
        ["setup_environment error Permanent Failure Critical 283 5 5 1 3"]
    );
    assert_eq!(
        rows(
            &mut session,
            "task_error_chains",
            task,
            "step_name, error_class, error_message, permanent, impact_score, severity, failed_at IS NULL, next_retry_at IS NULL, blocked_step_names"
        ),
        // 5 * 15 + 5 * 5 + 3 + 20
        [
            "setup_environment Broken it broke permanently t 123 Critical f t \
          {begin_processing,process_critical_data,process_optional_data,cleanup_temp_files,finalize_and_report}"
        ]
    );
    let blocked = rows(
        &mut session,
        "task_blockers",
        task,
        "step_name, state, blocker_step_name, blocker_state, blocker_standing, direct, root_cause",
    );
    assert!(
        blocked.contains(&"begin_processing pending setup_environment error failed t t".to_owned()),
        "{blocked:#?}"
    );
    assert!(blocked.contains(
        &"finalize_and_report pending cleanup_temp_files pending waiting t f".to_owned()
    ));
    assert_eq!(
        session.all::<String>(
            "SELECT DISTINCT blocker_step_name FROM tasker.task_blockers($1) WHERE root_cause",
            &[&task]
        ),
        ["setup_environment"]
    );
    assert_eq!(
        rows(
            &mut session,
            "task_parallelism",
            task,
            "level, total_steps, ready_steps, running_steps, completed_steps, failed_steps, cancelled_steps, waiting_steps, step_names"
        )[..2],
        [
            "0 2 0 0 2 0 0 0 {init_auth,init_config}",
            "1 2 0 0 1 1 0 0 {validate_permissions,setup_environment}"
        ]
    );
    let shown = analysis(&mut session, task);
    assert_eq!(shown["health_status"], json!("blocked"));
    assert_eq!(shown["bottlenecks"]["critical_bottlenecks"], json!(1));
    assert_eq!(shown["bottlenecks"]["overall_impact"], json!("High"));
    assert_eq!(shown["error_chains"]["permanent_errors"], json!(1));
    assert_eq!(
        shown["blockers"]["cleanup_temp_files"],
        json!(["setup_environment"])
    );
    assert_eq!(shown["parallelism_opportunities"]["total_levels"], json!(5));
    assert_eq!(
        shown["parallelism_opportunities"]["overall_completion"].as_f64(),
        Some(33.33)
    );
    let edges = shown["dependency_graph"]["edges"].as_array().map(Vec::len);
    assert_eq!(edges, Some(9));
}

#[test]
fn a_retry_that_is_due_later_shows_when_and_does_not_count_as_permanent() {
    let template = shapes::chain("chain", 2);
    let (_database, mut session, task) = started(&template);
    let claim = session.claim_one("worker");
    session.query(
        "SELECT tasker.fail_step($1, $2, 'busy', retry_after => '1 minute')",
        &[&claim.step, &claim.number],
    );
    assert_eq!(
        rows(
            &mut session,
            "task_error_chains",
            task,
            "step_name, permanent, next_retry_at > now() + interval '30 seconds', blocked_step_names"
        ),
        ["step_1 f t {step_2}"]
    );
    assert_eq!(
        rows(
            &mut session,
            "task_blockers",
            task,
            "step_name, blocker_step_name, blocker_standing"
        ),
        ["step_2 step_1 retrying"]
    );
    assert_eq!(
        rows(
            &mut session,
            "task_bottlenecks",
            task,
            "bottleneck_type, score"
        ),
        ["Active Error 43"]
    );
}

#[test]
fn a_cancelled_step_holds_up_its_children_as_a_failure_does() {
    let (_database, mut session, task) = started(&shapes::small_diamond());
    run(&mut session, 0);
    let b = session.step(task, "b");
    session.query("SELECT tasker.cancel_step($1)", &[&b]);
    assert_eq!(
        rows(
            &mut session,
            "task_bottlenecks",
            task,
            "step_name, bottleneck_type, blocked_step_names"
        ),
        ["b Cancelled {end}"]
    );
    let root: Vec<String> = session.all(
        "SELECT blocker_step_name || ' ' || blocker_standing FROM tasker.task_blockers($1) WHERE root_cause ORDER BY 1",
        &[&task],
    );
    assert_eq!(root, ["b cancelled", "c ready"]);
}

#[test]
fn the_analysis_is_of_this_moment_and_of_this_task() {
    let (_database, mut session, task) = started(&shapes::small_diamond());
    let other = session.create("small_diamond");
    assert_eq!(
        rows(&mut session, "task_blockers", task, "step_name").len(),
        5
    );
    // Ancestors first: both tasks have a root that is ready.
    let claims = session.claim_all("worker");
    let mine = claims
        .iter()
        .find(|claim| claim.task == task)
        .expect("ready");
    session.complete(mine, &json!({}));
    assert_eq!(
        rows(
            &mut session,
            "task_blockers",
            task,
            "step_name, blocker_step_name"
        ),
        ["end b", "end c"]
    );
    assert_eq!(
        rows(&mut session, "task_blockers", other, "step_name").len(),
        5
    );
}

#[test]
fn a_task_of_200_steps_is_analysed_in_milliseconds() {
    let wide = (0..200).fold(Template::new("large"), |template, number| {
        let parents: Vec<String> = (number.max(3) - 3..number)
            .map(|other| format!("step_{other}"))
            .collect();
        let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
        template.step(&format!("step_{number}"), &parents)
    });
    let (_database, mut session, task) = started(&wide);
    // Finished tasks to take averages from.
    for _ in 0..3 {
        while !session.claim_all("worker").is_empty() {
            session.execute(
                "SELECT tasker.complete_step(r.step_uuid, r.claim_number) FROM tasker.running_steps r",
            );
        }
        session.create("large");
    }
    let newest: Uuid = session.one(
        "SELECT task_uuid FROM tasker.tasks ORDER BY task_uuid DESC LIMIT 1",
        &[],
    );
    for task in [task, newest] {
        let mut best = Duration::MAX;
        for _ in 0..5 {
            let began = Instant::now();
            assert_eq!(
                analysis(&mut session, task)["dependency_graph"]["nodes"]
                    .as_array()
                    .map(Vec::len),
                Some(200)
            );
            best = best.min(began.elapsed());
        }
        println!("analyze_task of 200 steps: {best:?}");
        // A dev build on a busy machine; a release build takes a fraction.
        assert!(best < Duration::from_millis(500), "{best:?}");
    }
}

/// What the backend of the session has used at most, in kB.
fn peak_memory(session: &mut Session) -> u64 {
    let pid: i32 = session.one("SELECT pg_backend_pid()", &[]);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("Linux says it");
    line.trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number")
}

#[test]
fn a_task_of_32_767_steps_is_analysed_in_bounded_time_and_memory_and_a_timeout_ends_it() {
    let (database, mut session, task) = started(&shapes::chain("largest", 32_767));
    for function in [
        "task_bottlenecks",
        "task_blockers",
        "task_schedule",
        "task_critical_path",
        "task_error_chains",
        "task_parallelism",
        "analyze_task",
    ] {
        let mut session = database.connect();
        let query = format!("SELECT count(*) FROM tasker.{function}($1)");
        let before = peak_memory(&mut database.connect());
        let began = Instant::now();
        session.query(&query, &[&task]);
        let took = began.elapsed();
        let used = peak_memory(&mut session).saturating_sub(before) / 1024;
        println!("{function}: {took:?}, {used} MB");
        // A release build takes a second; a dev build on a busy machine many.
        assert!(took < patience(60), "{function}: {took:?}");
        assert!(used < 300, "{function}: {used} MB");
    }
    session.execute("SET statement_timeout = '100ms'");
    let began = Instant::now();
    session
        .fails("SELECT tasker.analyze_task($1)", &[&task])
        .is("57014");
    assert!(began.elapsed() < patience(2), "{:?}", began.elapsed());
}

// ---- diagrams as rows -----------------------------------------------------------------------------------------------

#[test]
fn the_nodes_and_edges_of_a_diagram_are_rows() {
    let (_database, mut session, task) = started(&shapes::small_diamond());
    session.create("small_diamond");
    run(&mut session, 0);
    let nodes: Vec<String> = session.all(
        "SELECT concat_ws(' ', step_no, name, state, attempts, retry_limit, level) FROM tasker.task_diagram_nodes
         WHERE task_uuid = $1 ORDER BY step_no",
        &[&task],
    );
    assert_eq!(
        nodes,
        [
            "1 start complete 1 3 0",
            "2 b pending 0 3 1",
            "3 c pending 0 3 1",
            "4 end pending 0 3 2"
        ]
    );
    let edges: Vec<String> = session.all(
        "SELECT concat_ws(' ', from_name, to_name, name, satisfied) FROM tasker.task_diagram_edges
         WHERE task_uuid = $1 ORDER BY from_step_uuid, to_step_uuid",
        &[&task],
    );
    assert_eq!(
        edges,
        [
            "start b provides t",
            "start c provides t",
            "b end provides f",
            "c end provides f"
        ]
    );
    let same: bool = session.one(
        "SELECT (SELECT count(*) FROM tasker.task_diagram_nodes n WHERE n.task_uuid = d.task_uuid) = jsonb_array_length(d.nodes)
            AND (SELECT count(*) FROM tasker.task_diagram_edges e WHERE e.task_uuid = d.task_uuid) = jsonb_array_length(d.edges)
         FROM tasker.task_diagrams d WHERE d.task_uuid = $1",
        &[&task],
    );
    assert!(same);
    session.execute("SET enable_seqscan = off");
    for view in ["nodes", "edges"] {
        let plan: Vec<String> = session.all(
            &format!("EXPLAIN SELECT * FROM tasker.task_diagram_{view} WHERE task_uuid = '{task}'"),
            &[],
        );
        let plan = plan.join("\n");
        assert!(
            plan.contains("steps_pkey") && plan.contains("task_uuid ="),
            "{plan}"
        );
    }
}

#[test]
fn a_picture_tells_a_retry_from_a_permanent_failure_and_what_cannot_run_any_more() {
    let template = Template::new("again")
        .step("fetch", &[])
        .step("other", &[])
        .step("store", &["fetch"]);
    let (_database, mut session, task) = started(&template);
    let picture = |session: &mut Session, form: &str| -> String {
        session.one("SELECT tasker.task_diagram($1, $2)", &[&task, &form])
    };
    for claim in session.claim_all("worker") {
        if claim.name == "fetch" {
            session.fail_and_wait(&claim);
        }
    }
    for form in ["mermaid", "dot", "svg"] {
        let drawn = picture(&mut session, form);
        assert!(drawn.contains("waiting for retry"), "{drawn}");
        assert!(!drawn.contains("unreachable"), "{drawn}");
    }
    let failed = session.step(task, "fetch");
    session.query("SELECT tasker.set_retry_limit($1, 1)", &[&failed]);
    for form in ["mermaid", "dot", "svg"] {
        let drawn = picture(&mut session, form);
        assert!(!drawn.contains("waiting for retry"), "{drawn}");
        assert!(drawn.contains("unreachable"), "{drawn}");
    }
}
