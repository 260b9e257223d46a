//! Counts, metrics, slow steps and tasks, error patterns, bottlenecks, and health.

use tasker_client_tests::server::Server;
use tasker_client_tests::worker::{Ask, done};
use tasker_client_tests::{
    Act, Database, Session, Template, Uuid, Value, database, inside, json, patience, shapes,
};

fn fresh() -> (Database, Session) {
    let database = Database::new();
    let session = database.connect();
    (database, session)
}

/// Columns of the only row of a function, as `name value`, joined by blanks; NULL is `-`.
#[track_caller]
fn figures(session: &mut Session, function: &str, columns: &str) -> String {
    let parts: Vec<String> = columns
        .split_whitespace()
        .map(|column| format!("'{column} ' || coalesce({column}::text, '-')"))
        .collect();
    session.one(
        &format!(
            "SELECT concat_ws(' ', {}) FROM tasker.{function}",
            parts.join(", ")
        ),
        &[],
    )
}

const TASKS: &str = "total_tasks pending_tasks in_progress_tasks complete_tasks error_tasks cancelled_tasks resolved_manually_tasks";
const STEPS: &str = "total_steps pending_steps in_progress_steps complete_steps error_steps cancelled_steps resolved_manually_steps";
const ERRORS: &str = "error_steps retryable_error_steps in_backoff_steps exhausted_retry_steps permanent_error_steps";

/// The numbers alone, without their names.
#[track_caller]
fn numbers(session: &mut Session, columns: &str) -> String {
    let all = figures(session, "get_system_health_counts()", columns);
    all.split(' ')
        .skip(1)
        .step_by(2)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The counts must be those of the views, state by state.
#[track_caller]
fn counts_agree(session: &mut Session) {
    for (columns, view) in [(TASKS, "tasks"), (STEPS, "workflow_steps")] {
        let counted: String = session.one(
            &format!(
                "SELECT concat_ws(' ', count(*), count(*) FILTER (WHERE state = 'pending'), count(*) FILTER (WHERE state = 'in_progress'),
                        count(*) FILTER (WHERE state = 'complete'), count(*) FILTER (WHERE state = 'error'),
                        count(*) FILTER (WHERE state = 'cancelled'), count(*) FILTER (WHERE state = 'resolved_manually'))
                 FROM tasker.{view}"
            ),
            &[],
        );
        assert_eq!(numbers(session, columns), counted, "{view}");
    }
    let sums: bool = session.one(
        "SELECT error_steps = retryable_error_steps + exhausted_retry_steps + permanent_error_steps
            AND in_backoff_steps <= retryable_error_steps FROM tasker.get_system_health_counts()",
        &[],
    );
    assert!(sums, "the kinds of errors do not add up");
}

/// A template of one step.
fn single() -> Template {
    Template::new("single").step("only", &[])
}

#[test]
fn an_empty_database_gives_zeros() {
    let (_database, mut session) = fresh();
    assert_eq!(numbers(&mut session, TASKS), "0 0 0 0 0 0 0");
    assert_eq!(numbers(&mut session, STEPS), "0 0 0 0 0 0 0");
    assert_eq!(numbers(&mut session, ERRORS), "0 0 0 0 0");
    assert_eq!(
        figures(
            &mut session,
            "get_analytics_metrics()",
            "active_tasks_count total_namespaces_count unique_task_types_count system_health_score task_throughput
             completion_count error_count completion_rate error_rate avg_task_duration avg_step_duration step_throughput
             p50_task_duration p99_step_duration"
        ),
        "active_tasks_count 0 total_namespaces_count 0 unique_task_types_count 0 system_health_score 1.000 task_throughput 0 \
         completion_count 0 error_count 0 completion_rate 0.00 error_rate 0.00 avg_task_duration 0.000 avg_step_duration 0.000 \
         step_throughput 0 p50_task_duration - p99_step_duration -"
    );
    for function in [
        "get_slowest_steps",
        "get_slowest_tasks",
        "get_error_patterns",
        "get_dependency_bottlenecks",
    ] {
        assert!(
            session
                .query(&format!("SELECT * FROM tasker.{function}()"), &[])
                .is_empty(),
            "{function}"
        );
    }
    assert_eq!(
        figures(
            &mut session,
            "system_health()",
            "healthy status reasons task_error_rate step_error_rate"
        ),
        "healthy true status healthy reasons {} task_error_rate 0.00 step_error_rate 0.00"
    );
    let report: Value = session.one("SELECT tasker.analytics_bottlenecks()", &[]);
    assert_eq!(
        report["bottleneck_analysis"],
        json!({"slowest_tasks": [], "slowest_steps": [], "error_patterns": [], "dependency_bottlenecks": []})
    );
}

#[test]
fn every_task_and_step_counts_in_exactly_one_state() {
    let (_database, mut session) = fresh();
    shapes::small_diamond().register(&mut session);
    let tasks = session.create_many("small_diamond", 3);
    assert_eq!(numbers(&mut session, TASKS), "3 3 0 0 0 0 0");
    assert_eq!(numbers(&mut session, STEPS), "12 12 0 0 0 0 0");

    let claim = session.claim_one("worker");
    assert_eq!(numbers(&mut session, TASKS), "3 2 1 0 0 0 0");
    assert_eq!(numbers(&mut session, STEPS), "12 11 1 0 0 0 0");
    session.complete(&claim, &json!({}));
    assert_eq!(numbers(&mut session, STEPS), "12 11 0 1 0 0 0");
    session.work(|_| done());
    assert_eq!(numbers(&mut session, TASKS), "3 0 0 3 0 0 0");
    assert_eq!(numbers(&mut session, STEPS), "12 0 0 12 0 0 0");

    // A cancelled task keeps what it has completed.
    session.query(
        "SELECT tasker.cancel_task($1, cancel_completed => true)",
        &[&tasks[0]],
    );
    assert_eq!(numbers(&mut session, TASKS), "3 0 0 2 0 1 0");
    assert_eq!(numbers(&mut session, STEPS), "12 0 0 12 0 0 0");
    let cancelled = session.create("small_diamond");
    session.query("SELECT tasker.cancel_task($1)", &[&cancelled]);
    assert_eq!(numbers(&mut session, TASKS), "4 0 0 2 0 2 0");
    assert_eq!(numbers(&mut session, STEPS), "16 0 0 12 0 4 0");

    // A task that failed after a completed step counts as failed only.
    let failed = session.create("small_diamond");
    session.work(|claim| {
        if claim.name == "b" {
            Act::FailForGood
        } else {
            done()
        }
    });
    assert_eq!(session.task_state(failed), "error");
    assert_eq!(numbers(&mut session, TASKS), "5 0 0 2 1 2 0");
    assert_eq!(numbers(&mut session, STEPS), "20 1 0 14 1 4 0");
    session.query("SELECT tasker.resolve_task_manually($1)", &[&failed]);
    assert_eq!(numbers(&mut session, TASKS), "5 0 0 2 0 2 1");
    counts_agree(&mut session);
}

#[test]
fn a_resolved_step_of_a_complete_task_is_counted_as_resolved() {
    let (_database, mut session) = fresh();
    shapes::small_diamond().register(&mut session);
    let task = session.create("small_diamond");
    for name in ["start", "end"] {
        let step = session.step(task, name);
        session.query("SELECT tasker.resolve_step_manually($1)", &[&step]);
    }
    session.work(|_| done());
    assert_eq!(session.task_state(task), "complete");
    assert_eq!(numbers(&mut session, TASKS), "1 0 0 1 0 0 0");
    assert_eq!(numbers(&mut session, STEPS), "4 0 0 2 0 0 2");
    counts_agree(&mut session);
}

#[test]
fn a_step_is_in_backoff_only_until_its_retry_is_due() {
    let (_database, mut session) = fresh();
    single().register(&mut session);
    let task = session.create("single");
    let claim = session.claim_one("worker");
    session.fail_and_wait(&claim);
    assert_eq!(numbers(&mut session, ERRORS), "1 1 1 0 0");
    inside::make_due(&mut session, task);
    assert_eq!(numbers(&mut session, ERRORS), "1 1 0 0 0");
    // A step that waits for its run_at is no error and not in backoff.
    session.query(
        "SELECT tasker.create_task('single', run_at => now() + interval '1 hour')",
        &[],
    );
    assert_eq!(numbers(&mut session, ERRORS), "1 1 0 0 0");
    assert_eq!(numbers(&mut session, STEPS), "2 1 0 0 1 0 0");
    // What is cancelled never runs again.
    session.query("SELECT tasker.cancel_task($1)", &[&task]);
    assert_eq!(numbers(&mut session, ERRORS), "1 0 0 0 1");
}

#[test]
fn exhausted_and_permanent_errors_are_told_apart() {
    let (_database, mut session) = fresh();
    single().register(&mut session);
    session.create("single");
    session.work(|_| Act::Fail);
    assert_eq!(numbers(&mut session, ERRORS), "1 0 0 1 0");
    session.create("single");
    session.work(|_| Act::FailForGood);
    assert_eq!(numbers(&mut session, ERRORS), "2 0 0 1 1");
    counts_agree(&mut session);
}

#[test]
fn the_states_add_up_to_the_total_after_every_change() {
    let (_database, mut session) = fresh();
    shapes::mixed().register(&mut session);
    let tasks = session.create_many("mixed", 40);
    for round in 0..300 {
        match fastrand::u32(..12) {
            0 => {
                let task = tasks[fastrand::usize(..tasks.len())];
                let _ = session.attempt::<String>("SELECT tasker.cancel_task($1)", &[&task]);
            }
            1 => {
                let task = tasks[fastrand::usize(..tasks.len())];
                let _ = session.attempt::<String>("SELECT tasker.retry_task($1)", &[&task]);
            }
            2 | 3 => {
                let task = tasks[fastrand::usize(..tasks.len())];
                let step = session.step(task, "process_optional_data");
                let _ =
                    session.attempt::<String>("SELECT tasker.resolve_step_manually($1)", &[&step]);
            }
            other => {
                for claim in session.claim(&Ask::by("worker", 4)) {
                    match other {
                        4 => session.fail(&claim),
                        5 => session.fail_and_wait(&claim),
                        6 if round % 3 == 0 => session.fail_for_good(&claim),
                        7 => String::new(),
                        _ => session.complete(&claim, &json!({})),
                    };
                }
            }
        }
        if round % 20 == 0 {
            counts_agree(&mut session);
        }
    }
    counts_agree(&mut session);
}

#[test]
fn exactly_half_in_error_is_healthy_and_more_is_not() {
    let (_database, mut session) = fresh();
    single().register(&mut session);
    let failing = |session: &mut Session| {
        session.create("single");
        session.work(|_| Act::FailForGood);
    };
    let health = "healthy status reasons task_error_rate step_error_rate";
    failing(&mut session);
    assert_eq!(
        figures(&mut session, "system_health()", health),
        "healthy false status unhealthy reasons {\"1 of 1 tasks are in error\",\"1 of 1 steps are in error\"} \
         task_error_rate 100.00 step_error_rate 100.00"
    );
    session.create("single");
    session.work(|_| done());
    assert_eq!(
        figures(&mut session, "system_health()", health),
        "healthy true status healthy reasons {} task_error_rate 50.00 step_error_rate 50.00"
    );
    failing(&mut session);
    assert_eq!(
        figures(&mut session, "system_health()", health),
        "healthy false status unhealthy reasons {\"2 of 3 tasks are in error\",\"2 of 3 steps are in error\"} \
         task_error_rate 66.67 step_error_rate 66.67"
    );
    // Each of the two rates alone.
    shapes::wide("wide", 4).register(&mut session);
    session.create("wide");
    session.claim_all("worker");
    assert_eq!(
        figures(&mut session, "system_health()", health),
        "healthy true status healthy reasons {} task_error_rate 50.00 step_error_rate 28.57"
    );
    failing(&mut session);
    assert!(
        figures(&mut session, "system_health()", health)
            .contains("{\"3 of 5 tasks are in error\"}")
    );
}

#[test]
fn more_than_nine_tenths_of_the_connections_are_unhealthy() {
    let server = Server::start(&[
        "max_connections=10",
        "autovacuum=off",
        "max_parallel_workers=0",
    ]);
    database::prepare(&server);
    let mut session = server.connect(database::PATTERN);
    let connections = "healthy reasons connection_utilization active_connections max_connections";
    let mut others: Vec<Session> = (0..8).map(|_| server.connect(database::PATTERN)).collect();
    let deadline = std::time::Instant::now() + patience(10);
    // Those that prepared the database may take a moment to be gone.
    while !figures(&mut session, "system_health()", connections).contains("active_connections 9 ")
        && std::time::Instant::now() < deadline
    {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(
        figures(&mut session, "system_health()", connections),
        "healthy true reasons {} connection_utilization 90.00 active_connections 9 max_connections 10"
    );
    // One of another database counts as well: the limit is the cluster's.
    others.push(server.connect("postgres"));
    assert_eq!(
        figures(&mut session, "system_health()", connections),
        "healthy false reasons {\"10 of 10 connections are in use\"} connection_utilization 100.00 active_connections 10 max_connections 10"
    );
}

#[test]
fn a_reader_sees_the_connections_of_others() {
    let (database, mut session) = fresh();
    session.execute("CREATE ROLE counting_reader LOGIN; GRANT tasker_reader TO counting_reader");
    let mut reader = database.connect_as("counting_reader");
    let seen = |session: &mut Session| {
        session.count(
            "SELECT active_connections FROM tasker.get_system_health_counts()",
            &[],
        )
    };
    assert!(seen(&mut reader) >= 2);
}

/// Three complete tasks of two steps whose runs lasted these seconds.
fn timed(session: &mut Session, runs: &[(f64, f64)]) -> Vec<Uuid> {
    shapes::chain("timed", 2).register(session);
    let tasks = session.create_many("timed", runs.len());
    session.work(|_| done());
    for (task, (first, second)) in tasks.iter().zip(runs) {
        for (name, seconds) in [("step_1", *first), ("step_2", *second)] {
            let step = session.step(*task, name);
            inside::set_run(session, step, seconds);
        }
        inside::set_task(session, *task, first + second);
    }
    tasks
}

#[test]
fn the_slowest_steps_and_tasks_come_first() {
    let (_database, mut session) = fresh();
    let tasks = timed(&mut session, &[(1.0, 5.0), (40.25, 2.0), (3.0, 4.0)]);
    let steps: Vec<String> = session.all(
        "SELECT concat_ws(' ', step_name, task_name, namespace_name, version, duration_seconds, attempts, retryable, step_status, handler)
         FROM tasker.get_slowest_steps(limit_count => 3)",
        &[],
    );
    assert_eq!(
        steps,
        [
            "step_1 timed default 0.1.0 40.250 1 t complete test.step_1",
            "step_2 timed default 0.1.0 5.000 1 t complete test.step_2",
            "step_2 timed default 0.1.0 4.000 1 t complete test.step_2",
        ]
    );
    let sound: bool = session.one(
        "SELECT bool_and(s.step_uuid = w.step_uuid AND s.completed_at = w.processed_at AND s.created_at = w.created_at
                         AND s.completed_at - s.started_at = make_interval(secs => s.duration_seconds::float8))
         FROM tasker.get_slowest_steps() s
         JOIN tasker.workflow_steps w ON w.task_uuid = s.task_uuid AND w.name = s.step_name",
        &[],
    );
    assert!(sound);
    let slowest = session.query("SELECT * FROM tasker.get_slowest_tasks()", &[]);
    let order: Vec<Uuid> = slowest.iter().map(|row| row.get("task_uuid")).collect();
    assert_eq!(order, [tasks[1], tasks[2], tasks[0]]);
    // Steps are counted, not their changes.
    let told: Vec<String> = session.all(
        "SELECT concat_ws(' ', task_name, namespace_name, version, duration_seconds, step_count, completed_steps, error_steps, initiator,
                          source_system, status, completed_at - created_at)
         FROM tasker.get_slowest_tasks(limit_count => 1)",
        &[],
    );
    assert_eq!(
        told,
        ["timed default 0.1.0 42.250 2 2 0 unknown unknown complete 00:00:42.25"]
    );
}

#[test]
fn a_task_that_has_not_completed_is_slow_by_its_last_run() {
    let (_database, mut session) = fresh();
    shapes::small_diamond().register(&mut session);
    let failed = session.create("small_diamond");
    session.work(|claim| {
        if claim.name == "b" {
            Act::FailForGood
        } else {
            done()
        }
    });
    session.create("small_diamond");
    let rows: Vec<String> = session.all(
        "SELECT concat_ws(' ', s.step_count, s.completed_steps, s.error_steps, s.status,
                          s.completed_at = (SELECT max(created_at) FROM tasker.workflow_step_transitions WHERE task_uuid = s.task_uuid))
         FROM tasker.get_slowest_tasks() s WHERE s.task_uuid = $1",
        &[&failed],
    );
    assert_eq!(rows, ["4 2 1 error t"]);
    // One of which nothing has run yet has no duration.
    assert_eq!(
        session.count("SELECT count(*) FROM tasker.get_slowest_tasks()", &[]),
        1
    );
}

#[test]
fn a_run_lasts_from_its_own_claim_even_after_a_reset() {
    let (_database, mut session) = fresh();
    single().register(&mut session);
    let task = session.create("single");
    let claim = session.claim_one("worker");
    session.fail_for_good(&claim);
    let step = session.step(task, "only");
    inside::set_run(&mut session, step, 500.0);
    session.query("SELECT tasker.retry_step($1)", &[&step]);
    session.work(|_| done());
    inside::set_run(&mut session, step, 7.0);
    let runs: Vec<String> = session.all(
        "SELECT concat_ws(' ', duration_seconds, attempts) FROM tasker.get_slowest_steps()",
        &[],
    );
    assert_eq!(runs, ["7.000 1"]);
    assert_eq!(
        figures(
            &mut session,
            "get_analytics_metrics()",
            "avg_step_duration step_throughput failed_run_count"
        ),
        "avg_step_duration 7.000 step_throughput 1 failed_run_count 1"
    );
}

/// Four templates whose tasks have a step that completes and one that fails.
fn good_and_bad(session: &mut Session) {
    for (name, namespace, version) in [
        ("a", "one", "1.0.0"),
        ("a", "one", "1.1.0"),
        ("b", "one", "1.0.0"),
        ("a", "two", "1.0.0"),
    ] {
        Template::new(name)
            .with("namespace_name", json!(namespace))
            .with("version", json!(version))
            .step("good", &[])
            .step("bad", &[])
            .register(session);
        session.query(
            "SELECT tasker.create_task($1, namespace => $2, version => $3)",
            &[&name, &namespace, &version],
        );
    }
    for namespace in ["one", "two"] {
        session.work_in(namespace, |claim| {
            if claim.name == "bad" {
                Act::FailForGood
            } else {
                done()
            }
        });
    }
}

#[test]
fn filters_are_exact_names_and_a_limit_is_kept() {
    let (_database, mut session) = fresh();
    good_and_bad(&mut session);
    for (filters, expected) in [
        ("", 4),
        ("namespace_filter => 'one'", 3),
        ("task_name_filter => 'a'", 3),
        ("version_filter => '1.1.0'", 1),
        (
            "namespace_filter => 'one', task_name_filter => 'a', version_filter => '1.0.0'",
            1,
        ),
        ("namespace_filter => 'ONE'", 0),
        ("namespace_filter => ''", 0),
        ("version_filter => '1.0'", 0),
        ("limit_count => 2", 2),
        ("limit_count => 2147483647", 4),
    ] {
        for function in ["get_slowest_steps", "get_slowest_tasks"] {
            let call = format!("SELECT count(*) FROM tasker.{function}({filters})");
            assert_eq!(session.count(&call, &[]), expected, "{call}");
        }
        if !filters.contains("limit") {
            let call = format!(
                "SELECT coalesce(sum(failed_runs), 0) FROM tasker.get_error_patterns({filters})"
            );
            assert_eq!(session.count(&call, &[]), expected, "{call}");
            let call =
                format!("SELECT completed_runs FROM tasker.get_duration_percentiles({filters})");
            assert_eq!(session.count(&call, &[]), expected, "{call}");
        }
    }
    assert_eq!(
        figures(
            &mut session,
            "get_analytics_metrics()",
            "total_namespaces_count unique_task_types_count"
        ),
        "total_namespaces_count 2 unique_task_types_count 2"
    );
}

#[test]
fn a_report_on_bottlenecks_keeps_to_its_filters() {
    let (_database, mut session) = fresh();
    good_and_bad(&mut session);
    let report: Value = session.one(
        "SELECT tasker.analytics_bottlenecks(namespace_filter => 'one', task_name_filter => 'b')",
        &[],
    );
    assert_eq!(report["scope_summary"]["namespace"], "one");
    assert_eq!(
        report["bottleneck_analysis"]["slowest_steps"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    assert_eq!(
        report["bottleneck_analysis"]["slowest_tasks"][0]["task_name"],
        "b"
    );
    assert_eq!(
        report["bottleneck_analysis"]["error_patterns"][0]["error_class"],
        "Broken"
    );
    assert_eq!(report["performance_distribution"]["completed_runs"], 1);
}

#[test]
fn since_is_obeyed_everywhere() {
    let (_database, mut session) = fresh();
    single().register(&mut session);
    let complete = |session: &mut Session| {
        let task = session.create("single");
        session.work(|_| done());
        task
    };
    let fail = |session: &mut Session| {
        let task = session.create("single");
        session.work(|_| Act::FailForGood);
        task
    };
    // Two hours ago: two failures. Ninety minutes ago: a success. Two days ago: one of each. Now: a success.
    for _ in 0..2 {
        let task = fail(&mut session);
        inside::age(&mut session, task, 120);
    }
    let task = complete(&mut session);
    inside::age(&mut session, task, 90);
    let task = complete(&mut session);
    inside::age(&mut session, task, 2880);
    let task = fail(&mut session);
    inside::age(&mut session, task, 2880);
    complete(&mut session);
    let metrics = "system_health_score task_throughput completion_count error_count completion_rate error_rate step_throughput failed_run_count";
    for (since, expected) in [
        ("", "1.000 1 1 0 100.00 0.00 1 0"),
        (
            "now() - interval '100 minutes'",
            "1.000 2 2 0 100.00 0.00 2 0",
        ),
        ("now() - interval '3 hours'", "0.500 4 2 2 50.00 50.00 2 2"),
        ("'-infinity'", "0.500 6 3 3 50.00 50.00 3 3"),
        ("now() + interval '1 second'", "1.000 0 0 0 0.00 0.00 0 0"),
        ("'infinity'", "1.000 0 0 0 0.00 0.00 0 0"),
    ] {
        let all = figures(
            &mut session,
            &format!("get_analytics_metrics({since})"),
            metrics,
        );
        let values: Vec<&str> = all.split(' ').skip(1).step_by(2).collect();
        assert_eq!(values.join(" "), expected, "{since}");
    }
    // Without one, the last day.
    for (function, day, hour) in [
        ("get_slowest_steps", 2, 1),
        ("get_slowest_tasks", 4, 1),
        ("get_error_patterns", 1, 0),
    ] {
        let call = format!("SELECT count(*) FROM tasker.{function}()");
        assert_eq!(session.count(&call, &[]), day, "{call}");
        let call = format!("SELECT count(*) FROM tasker.{function}(now() - interval '1 hour')");
        assert_eq!(session.count(&call, &[]), hour, "{call}");
    }
    let report: Value = session.one("SELECT tasker.analytics_performance()", &[]);
    let trend = |period: &str, figure: &str| report["performance_trends"][period][figure].clone();
    assert_eq!(trend("last_hour", "task_throughput"), 1);
    assert_eq!(trend("last_4_hours", "task_throughput"), 4);
    assert_eq!(trend("last_24_hours", "task_throughput"), 4);
    assert_eq!(trend("last_4_hours", "error_rate").as_f64(), Some(50.0));
    assert_eq!(report["system_overview"]["unique_task_types"], 1);
    assert_eq!(report["system_overview"]["active_tasks"], 0);
}

#[test]
fn a_run_counts_when_it_ended_and_a_task_when_it_was_created() {
    let (_database, mut session) = fresh();
    shapes::chain("timed", 2).register(&mut session);
    let task = session.create("timed");
    let first = session.claim_one("worker");
    session.complete(&first, &json!({}));
    inside::age(&mut session, task, 120);
    let second = session.claim_one("worker");
    session.complete(&second, &json!({}));
    assert_eq!(
        figures(
            &mut session,
            "get_analytics_metrics()",
            "task_throughput completion_count step_throughput"
        ),
        "task_throughput 0 completion_count 0 step_throughput 1"
    );
    // A run that began before the period counts with its whole length.
    let step = session.step(task, "step_2");
    inside::set_run(&mut session, step, 6000.0);
    assert_eq!(
        figures(
            &mut session,
            "get_analytics_metrics()",
            "avg_step_duration p50_step_duration"
        ),
        "avg_step_duration 6000.000 p50_step_duration 6000.000"
    );
}

#[test]
fn durations_are_of_tasks_and_of_runs_and_percentiles_are_computed() {
    let (_database, mut session) = fresh();
    // Runs of 1 to 20 s, tasks of 3, 7, 11 ... 39 s.
    let runs: Vec<(f64, f64)> = (0..10)
        .map(|n| (f64::from(2 * n + 1), f64::from(2 * n + 2)))
        .collect();
    timed(&mut session, &runs);
    assert_eq!(
        figures(
            &mut session,
            "get_analytics_metrics()",
            "avg_task_duration avg_step_duration p50_task_duration p95_task_duration p99_task_duration
             p50_step_duration p95_step_duration p99_step_duration"
        ),
        "avg_task_duration 21.000 avg_step_duration 10.500 p50_task_duration 21.000 p95_task_duration 37.200 p99_task_duration 38.640 \
         p50_step_duration 10.500 p95_step_duration 19.050 p99_step_duration 19.810"
    );
    assert_eq!(
        figures(
            &mut session,
            "get_duration_percentiles()",
            "completed_tasks p50_task_duration p95_task_duration p99_task_duration completed_runs p50_step_duration p95_step_duration"
        ),
        "completed_tasks 10 p50_task_duration 21.000 p95_task_duration 37.200 p99_task_duration 38.640 \
         completed_runs 20 p50_step_duration 10.500 p95_step_duration 19.050"
    );
}

#[test]
fn a_task_that_was_put_off_is_slow_only_from_when_it_was_due() {
    let (_database, mut session) = fresh();
    single().register(&mut session);
    let task: Uuid = session.one(
        "SELECT tasker.create_task('single', run_at => now() + interval '10 seconds')",
        &[],
    );
    inside::make_due(&mut session, task);
    session.work(|_| done());
    inside::set_task(&mut session, task, 13.0);
    let seconds: f64 = session.one(
        "SELECT duration_seconds::float8 FROM tasker.get_slowest_tasks()",
        &[],
    );
    assert!((2.9..3.1).contains(&seconds), "{seconds}");
}

#[test]
fn active_tasks_are_pending_or_in_progress() {
    let (_database, mut session) = fresh();
    single().register(&mut session);
    session.create_many("single", 4);
    session.claim_one("worker");
    let claim = session.claim_one("worker");
    session.complete(&claim, &json!({}));
    let claim = session.claim_one("worker");
    session.fail_for_good(&claim);
    assert_eq!(
        figures(
            &mut session,
            "get_analytics_metrics()",
            "active_tasks_count task_throughput completion_count error_count"
        ),
        "active_tasks_count 2 task_throughput 4 completion_count 1 error_count 1"
    );
}

#[test]
fn errors_are_grouped_by_their_class() {
    let (_database, mut session) = fresh();
    shapes::wide("wide", 4).register(&mut session);
    session.create_many("wide", 2);
    for (number, claim) in session.claim_all("worker").iter().enumerate() {
        let class = ["Timeout", "Timeout", "Refused", "Timeout"].get(number % 4);
        if number == 7 {
            session.query(
                "SELECT tasker.fail_step($1, $2, 'no class', retryable => false)",
                &[&claim.step, &claim.number],
            );
        } else if number < 6 {
            session.query(
                "SELECT tasker.fail_step($1, $2, $3, $4, retryable => false)",
                &[
                    &claim.step,
                    &claim.number,
                    &format!("message {number}"),
                    &class,
                ],
            );
        }
    }
    let patterns: Vec<String> = session.all(
        "SELECT concat_ws(' ', coalesce(error_class, '-'), failed_runs, share, failed_tasks, last_message, cardinality(step_names),
                          first_failed_at <= last_failed_at)
         FROM tasker.get_error_patterns()",
        &[],
    );
    assert_eq!(
        patterns,
        [
            "Timeout 5 71.43 2 message 5 3 t",
            "- 1 14.29 1 no class 1 t",
            "Refused 1 14.29 1 message 2 1 t",
        ]
    );
    // The share is of all, not of the rows asked for.
    let first: Vec<String> = session.all(
        "SELECT error_class || ' ' || share FROM tasker.get_error_patterns(limit_count => 1)",
        &[],
    );
    assert_eq!(first, ["Timeout 71.43"]);
}

#[test]
fn a_lost_worker_is_an_error_pattern() {
    let (_database, mut session) = fresh();
    single().register(&mut session);
    session.create("single");
    session.claim(&Ask {
        lease: "1 millisecond",
        ..Ask::by("lost", 1)
    });
    session.claim_soon(&Ask::by("worker", 1), 1);
    let classes: Vec<String> =
        session.all("SELECT error_class FROM tasker.get_error_patterns()", &[]);
    assert_eq!(classes, ["LeaseExpired"]);
}

#[test]
fn dependency_bottlenecks_are_the_steps_that_others_wait_for() {
    let (_database, mut session) = fresh();
    shapes::small_diamond().register(&mut session);
    single().register(&mut session);
    // `start` of one task fails permanently, that of another runs; `only` has no children.
    let failed = session.create("small_diamond");
    let claim = session.claim_one("worker");
    session.fail_for_good(&claim);
    session.create("small_diamond");
    session.claim_one("worker");
    session.create("single");
    session.claim_one("worker");
    let bottlenecks = "SELECT concat_ws(' ', step_name, task_name, namespace_name, version, waiting_tasks, waiting_steps, running, failed,
                              longest_wait_seconds >= 0) FROM tasker.get_dependency_bottlenecks()";
    assert_eq!(
        session.all::<String>(bottlenecks, &[]),
        ["start small_diamond default 0.1.0 2 4 1 1 t"]
    );
    session.query("SELECT tasker.cancel_task(task_uuid) FROM tasker.tasks WHERE task_uuid <> $1 AND state <> 'error'", &[&failed]);
    assert_eq!(
        session.all::<String>(bottlenecks, &[]),
        ["start small_diamond default 0.1.0 1 2 0 1 t"]
    );
    session.query("SELECT tasker.resolve_task_manually($1)", &[&failed]);
    assert!(session.all::<String>(bottlenecks, &[]).is_empty());
}

const CALLS: [&str; 10] = [
    "get_system_health_counts()",
    "system_health()",
    "get_analytics_metrics()",
    "get_slowest_steps()",
    "get_slowest_tasks()",
    "get_error_patterns()",
    "get_dependency_bottlenecks()",
    "get_duration_percentiles()",
    "analytics_performance()",
    "analytics_bottlenecks()",
];

#[test]
fn readers_can_call_the_analytics_and_other_roles_cannot() {
    let (database, mut session) = fresh();
    single().register(&mut session);
    session.create_many("single", 3);
    session.work(|claim| {
        if claim.attempt == 1 && claim.context["number"] == 0 {
            Act::FailForGood
        } else {
            done()
        }
    });
    for role in ["reader", "worker", "operator", "admin"] {
        session.execute(&format!(
            "CREATE ROLE analyst_{role} LOGIN; GRANT tasker_{role} TO analyst_{role}"
        ));
    }
    session.execute("CREATE ROLE analyst_stranger LOGIN");
    for call in CALLS {
        let sql = format!("SELECT * FROM tasker.{call}");
        for role in ["reader", "operator", "admin"] {
            database
                .connect_as(&format!("analyst_{role}"))
                .query(&sql, &[]);
        }
        for role in ["worker", "stranger"] {
            database
                .connect_as(&format!("analyst_{role}"))
                .fails(&sql, &[])
                .is("42501");
        }
    }
    let mut reader = database.connect_as("analyst_reader");
    assert_eq!(numbers(&mut reader, TASKS), "3 0 0 2 1 0 0");
    reader
        .fails("SELECT * FROM tasker_engine.ended_runs", &[])
        .is("42501");
}

#[test]
fn a_limit_below_one_is_refused_even_where_there_is_nothing() {
    let (_database, mut session) = fresh();
    for function in [
        "get_slowest_steps",
        "get_slowest_tasks",
        "get_error_patterns",
        "get_dependency_bottlenecks",
        "analytics_bottlenecks",
    ] {
        for (value, code) in [
            ("NULL", "22004"),
            ("0", "22023"),
            ("-1", "22023"),
            ("-2147483648", "22023"),
        ] {
            session
                .fails(
                    &format!("SELECT * FROM tasker.{function}(limit_count => {value})"),
                    &[],
                )
                .is(code)
                .message_says(&["limit_count"])
                .detail_says(&["rows"])
                .hint_says(&["10"]);
        }
    }
}
