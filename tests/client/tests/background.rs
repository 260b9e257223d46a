//! The processes of a server that preloads tasker_ext: the launcher, coordinators and executors; what starts and ends
//! them, what survives a crash, and what they cost.

use std::time::{Duration, Instant};

use tasker_client_tests::server::Server;
use tasker_client_tests::{Session, Template, Uuid, json, patience, scaled};

const HANDLERS: &str = r#"
CREATE SCHEMA app;
CREATE TABLE app.effects (step_uuid uuid, attempt text);
CREATE FUNCTION app.effect(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO app.effects VALUES ((step->>'step_uuid')::uuid, step->>'attempt');
    PERFORM pg_sleep(coalesce((step->'context'->>'seconds')::float8, 0));
    RETURN jsonb_build_object('user', current_user, 'pid', pg_backend_pid());
END $$;
CREATE FUNCTION app.suicide(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_terminate_backend(pg_backend_pid());
    PERFORM pg_sleep(10);
    RETURN '{}';
END $$;
"#;

fn preloaded(more: &[&str]) -> Server {
    let mut settings = vec![
        "shared_preload_libraries=tasker_ext",
        "max_worker_processes=24",
        "restart_after_crash=on",
    ];
    settings.extend(more);
    Server::start(&settings)
}

/// A server with the extension in database `postgres`, and handlers there.
fn server(more: &[&str]) -> (Server, Session) {
    let server = preloaded(more);
    let mut session = server.connect("postgres");
    session.execute("CREATE EXTENSION tasker_ext");
    tasker_client_tests::database::resume(&mut session);
    session.execute(HANDLERS);
    (server, session)
}

#[track_caller]
fn soon(what: &str, seconds: u64, mut done: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !done() {
        assert!(
            began.elapsed() < patience(seconds),
            "not within {seconds} s: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    began.elapsed()
}

fn processes(session: &mut Session, kind: &str) -> Vec<i32> {
    session.all(
        "SELECT pid FROM tasker.background_workers WHERE kind = $1 AND state <> 'starting' ORDER BY 1",
        &[&kind],
    )
}

fn at_work(session: &mut Session) -> bool {
    !processes(session, "coordinator").is_empty()
}

#[test]
fn background_processes_are_no_connections() {
    let (_server, mut session) = server(&[]);
    soon("a coordinator", 30, || at_work(&mut session));
    // Within one statement both see the same moment.
    let counted: Vec<i64> = session.all(
        "SELECT c.active_connections FROM tasker.get_system_health_counts() c
         UNION ALL SELECT count(*) FROM pg_stat_activity a WHERE a.backend_type = 'client backend'",
        &[],
    );
    assert_eq!(counted[0], counted[1]);
}

fn coordinated(session: &mut Session) -> i64 {
    session.count(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'tasker_ext coordinator'",
        &[],
    )
}

/// What validate_resources says of databases without a coordinator: message and hint.
fn no_slot(session: &mut Session) -> Vec<(String, String)> {
    let rows = session.query(
        "SELECT message, hint FROM tasker.validate_resources() WHERE message LIKE 'no slot is left for the coordinators%'",
        &[],
    );
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// The databases that it names.
fn waiting(session: &mut Session) -> Vec<String> {
    let found = no_slot(session);
    let names = found
        .first()
        .and_then(|(message, _)| message.split(" of ").nth(1));
    let names = names.and_then(|names| names.split(':').next());
    names.map_or_else(Vec::new, |names| {
        names.split(", ").map(str::to_owned).collect()
    })
}

#[test]
fn with_nine_databases_the_reserved_slots_stay_free_and_what_waits_is_named() {
    let server = Server::start(&[
        "shared_preload_libraries=tasker_ext",
        "max_worker_processes=8",
    ]);
    let mut session = server.connect("postgres");
    session.execute("CREATE EXTENSION tasker_ext");
    tasker_client_tests::database::resume(&mut session);
    for no in 1..=8 {
        session.execute(&format!("CREATE DATABASE d{no}"));
        let mut other = server.connect(&format!("d{no}"));
        other.execute("CREATE EXTENSION tasker_ext");
        tasker_client_tests::database::resume(&mut other);
    }
    soon("all others wait", 60, || waiting(&mut session).len() == 5);
    // The launcher of logical replication and ours take one each, so that two of eight stay free for any use.
    session.execute(
        "CREATE TABLE rows AS SELECT generate_series(1, 200000) AS n; ANALYZE rows; SET parallel_setup_cost = 0;
         SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2",
    );
    for _ in 0..10 {
        assert!(coordinated(&mut session) <= 4);
        let plan: Vec<String> = session.all(
            "EXPLAIN (ANALYZE, COSTS off) SELECT count(*) FROM rows",
            &[],
        );
        assert!(plan.join("\n").contains("Workers Launched: 2"), "{plan:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
    // A database without the extension does not wait: a process looks there all the same, and ends.
    session.execute("CREATE DATABASE without");
    std::thread::sleep(Duration::from_secs(8));
    // The same from inside: a database that waits says so, and what to set.
    let waits = waiting(&mut session);
    assert!(!waits.contains(&"without".to_owned()), "{waits:?}");
    let mut other = server.connect(waits.last().expect("one"));
    let health: String = other.one(
        "SELECT hint FROM tasker.health_status() WHERE measure = 'coordinator'",
        &[],
    );
    let statement = health
        .split("SELECT")
        .nth(1)
        .and_then(|rest| rest.split("()").next());
    other.query(&format!("SELECT{}()", statement.expect(&health)), &[]);
    let (_, hint) = no_slot(&mut other).remove(0);
    let slots: u32 = hint
        .split(|c: char| !c.is_ascii_digit())
        .find_map(|word| word.parse().ok())
        .expect("a number");
    let logged = std::fs::read_to_string(server.folder().join("log")).expect("the log");
    assert!(
        logged.contains(&format!(
            "no slot is left for the coordinators of {}",
            waits.join(", ")
        )),
        "{logged}"
    );
    assert!(!logged.contains("other users hold"), "{logged}");
    // With what it says every database has one.
    session.execute(&format!("ALTER SYSTEM SET max_worker_processes = {slots}"));
    drop((session, other));
    server.stop();
    let before = server.log().len();
    server.start_again();
    let mut session = server.connect("postgres");
    soon("every database has a coordinator", 60, || {
        coordinated(&mut session) == 9 && waiting(&mut session).is_empty()
    });
    // Some rounds of the launcher later nothing has been said to be missing.
    std::thread::sleep(Duration::from_secs(2));
    let logged = server.log()[before..].to_owned();
    assert!(logged.contains("at work"), "{logged}");
    for missing in ["no slot", "has no coordinator", "other users hold"] {
        assert!(!logged.contains(missing), "{logged}");
    }
}

fn effect(name: &str) -> Template {
    Template::new(name)
        .step_with("first", &[], json!({"handler": "sql:app.effect"}))
        .step_with("second", &["first"], json!({"handler": "sql:app.effect"}))
        .step_with("third", &["second"], json!({"handler": "sql:app.effect"}))
        .every_step(json!({"default_retry_limit": 100, "retry": {"backoff": "none"}}))
}

fn all_complete(session: &mut Session, tasks: &[Uuid]) -> bool {
    session.task_states(tasks) == [format!("complete: {}", tasks.len())]
}

#[test]
fn a_workflow_of_database_functions_runs_without_any_process_within_moments_of_create_extension() {
    let server = preloaded(&[]);
    let mut session = server.connect("postgres");
    session.execute("CREATE EXTENSION tasker_ext");
    tasker_client_tests::database::resume(&mut session);
    let began = soon("a coordinator is at work", 5, || at_work(&mut session));
    println!("a coordinator after {began:?}");
    session.execute(HANDLERS);
    effect("effects").register(&mut session);
    soon("an executor is idle", 10, || {
        !processes(&mut session, "executor").is_empty()
    });
    std::thread::sleep(Duration::from_millis(300));
    let mut times: Vec<Duration> = (0..5)
        .map(|_| {
            let began = Instant::now();
            let task = session.create("effects");
            while session.task_state(task) != "complete" {
                assert!(began.elapsed() < patience(5));
                std::thread::sleep(Duration::from_millis(2));
            }
            began.elapsed()
        })
        .collect();
    times.sort();
    println!("three steps, created to complete: {times:?}");
    // Woken by the commit, not by a poll.
    assert!(times[2] < Duration::from_millis(500), "{times:?}");
    assert_eq!(
        session.count("SELECT count(*) FROM app.effects WHERE attempt = '1'", &[]),
        15
    );
    let steps = session.count(
        "SELECT sum(steps)::bigint FROM tasker.background_workers WHERE kind = 'executor'",
        &[],
    );
    assert_eq!(steps, 15);
}

#[test]
fn a_retry_that_comes_due_is_run_without_a_call() {
    let (_server, mut session) = server(&[]);
    session.execute(
        "CREATE FUNCTION app.second_time(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS
         $$ BEGIN IF step->>'attempt' = '1' THEN RAISE EXCEPTION 'not yet'; END IF; RETURN '{}'; END $$",
    );
    Template::new("twice")
        .step_with(
            "only",
            &[],
            json!({"handler": "sql:app.second_time", "retry": {"backoff": "linear", "backoff_base_ms": 400, "jitter": 0}}),
        )
        .register(&mut session);
    let task = session.create("twice");
    soon("complete", 10, || session.task_state(task) == "complete");
    let waited: f64 = session.one(
        "SELECT date_part('epoch', max(created_at) FILTER (WHERE to_state = 'in_progress') - min(created_at) FILTER (WHERE to_state = 'error'))
         FROM tasker.workflow_step_transitions",
        &[],
    );
    assert!((0.4..1.5).contains(&waited), "{waited} s");
}

#[test]
fn a_schedule_fires_at_its_time() {
    let (_server, mut session) = server(&[]);
    effect("effects").register(&mut session);
    soon("at work", 5, || at_work(&mut session));
    let _: Option<String> = session.one(
        "SELECT tasker.schedule_task('each', '* * * * * *', 'effects')::text",
        &[],
    );
    soon("fired three times", 10, || {
        session.count("SELECT count(*) FROM tasker.schedule_runs", &[]) >= 3
    });
    let delay: f64 = session.one(
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY date_part('epoch', delay)) FROM tasker.schedule_runs",
        &[],
    );
    assert!(delay < 0.25, "{delay} s late");
}

#[test]
fn a_lost_worker_is_noticed_without_a_call() {
    let (_server, mut session) = server(&[]);
    Template::new("outside")
        .step("only", &[])
        .register(&mut session);
    let task = session.create("outside");
    session.execute("SELECT * FROM tasker.claim_steps('lost', lease => '500 milliseconds')");
    soon("the step is in error", 5, || {
        session.step_state(task, "only") == "error"
    });
    let done = session.count(
        "SELECT total_done FROM tasker.maintenance_duties WHERE duty = 'leases'",
        &[],
    );
    assert_eq!(done, 1);
}

#[test]
fn drop_extension_ends_them_and_create_extension_starts_others() {
    let (_server, mut session) = server(&[]);
    soon("at work", 5, || at_work(&mut session));
    soon("an executor", 5, || {
        !processes(&mut session, "executor").is_empty()
    });
    let backends = "SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('tasker_ext coordinator', 'tasker_ext executor')";
    for _ in 0..3 {
        let before = processes(&mut session, "coordinator");
        session.execute("DROP EXTENSION tasker_ext");
        session.execute("CREATE EXTENSION tasker_ext");
        tasker_client_tests::database::resume(&mut session);
        soon("another coordinator", 10, || {
            let now = processes(&mut session, "coordinator");
            !now.is_empty() && now != before
        });
    }
    session.execute("DROP EXTENSION tasker_ext");
    soon("all are gone", 10, || session.count(backends, &[]) == 0);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(session.count(backends, &[]), 0);
}

#[test]
fn a_database_that_is_wanted_alone_is_left_at_once() {
    let (server, mut session) = server(&[]);
    session.execute("CREATE DATABASE one");
    let mut one = server.connect("one");
    one.execute("CREATE EXTENSION tasker_ext");
    tasker_client_tests::database::resume(&mut one);
    soon("at work in one", 5, || at_work(&mut one));
    drop(one);
    let quick = |session: &mut Session, sql: &str| {
        let began = Instant::now();
        session.execute(sql);
        assert!(
            began.elapsed() < patience(4),
            "{sql}: {:?}",
            began.elapsed()
        );
    };
    quick(&mut session, "CREATE DATABASE two TEMPLATE one");
    // The copy has the extension, and no session announced it. The copied database is served again too.
    for name in ["two", "one"] {
        let mut other = server.connect(name);
        soon("at work", 20, || at_work(&mut other));
    }
    quick(&mut session, "ALTER DATABASE two RENAME TO three");
    quick(&mut session, "DROP DATABASE three");
    quick(&mut session, "DROP DATABASE one");
    let left = session.count(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'tasker_ext coordinator' AND datname <> 'postgres'",
        &[],
    );
    assert_eq!(left, 0);
    assert!(at_work(&mut session));
}

#[test]
fn only_a_role_with_rights_on_the_database_ends_background_processes() {
    let (server, mut session) = server(&[]);
    soon("at work", 5, || at_work(&mut session));
    let before = processes(&mut session, "coordinator");
    session.execute("CREATE ROLE passer_by LOGIN");
    let mut stranger = Session::open(server.config("postgres", "passer_by"));
    stranger.fails("ALTER DATABASE postgres RENAME TO mine", &[]);
    stranger
        .fails("CREATE DATABASE copy TEMPLATE postgres", &[])
        .is("42501");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(processes(&mut session, "coordinator"), before);
}

#[test]
fn two_databases_are_served_at_once_and_apart() {
    let (server, mut first) = server(&[]);
    first.execute("CREATE DATABASE other");
    let mut second = server.connect("other");
    second.execute("CREATE EXTENSION tasker_ext");
    tasker_client_tests::database::resume(&mut second);
    second.execute(HANDLERS);
    let mut tasks = vec![];
    for session in [&mut first, &mut second] {
        effect("effects").register(session);
        tasks.push(session.create_many("effects", 20));
    }
    for (session, tasks) in [(&mut first, &tasks[0]), (&mut second, &tasks[1])] {
        soon("all complete", 20, || all_complete(session, tasks));
        assert_eq!(session.count("SELECT count(*) FROM app.effects", &[]), 60);
        assert_eq!(processes(session, "coordinator").len(), 1);
    }
}

fn effects_once(session: &mut Session, tasks: usize) {
    let wrong = session.count(
        "SELECT count(*) FROM (SELECT step_uuid FROM app.effects GROUP BY 1 HAVING count(*) <> 1) e",
        &[],
    );
    assert_eq!(wrong, 0, "steps whose effects are there twice");
    assert_eq!(
        session.count("SELECT count(DISTINCT step_uuid) FROM app.effects", &[]),
        3 * tasks as i64
    );
}

#[test]
fn kill_9_of_coordinator_executor_and_server_under_load_loses_nothing_and_repeats_no_effect() {
    let (server, mut session) = server(&[]);
    effect("effects").register(&mut session);
    session.execute(
        "SELECT tasker.configure_executor_pool('default', min_executors => 2, max_executors => 2)",
    );
    let count = scaled(600, 6_000);
    let tasks = session.create_many("effects", count);
    for kind in ["coordinator", "executor", "postmaster", "executor"] {
        soon("executors at work", 20, || {
            processes(&mut session, "executor").len() == 2
        });
        std::thread::sleep(Duration::from_millis(100));
        if kind == "postmaster" {
            server.kill();
            server.start_again();
        } else {
            let pid = processes(&mut session, kind)[0];
            let killed = std::process::Command::new("kill")
                .args(["-9", &pid.to_string()])
                .status()
                .expect("kill runs");
            assert!(killed.success());
            // The server ends every process and starts again.
            std::thread::sleep(Duration::from_millis(500));
        }
        server.wait_until_up("postgres");
        session = server.connect("postgres");
    }
    let left = session.count(
        "SELECT count(*) FROM tasker.tasks WHERE state <> 'complete'",
        &[],
    );
    println!("{left} of {count} tasks were left at the last kill");
    // Well before the leases of a minute would have ended.
    soon("all complete", 50, || all_complete(&mut session, &tasks));
    effects_once(&mut session, count);
}

#[test]
fn a_fast_shutdown_does_not_wait_for_a_handler() {
    let (server, mut session) = server(&[]);
    Template::new("slow")
        .step_with(
            "only",
            &[],
            json!({"handler": "sql:app.effect", "retry": {"backoff": "none"}}),
        )
        .register(&mut session);
    let task = session.create_with("slow", &json!({"seconds": 60}));
    soon("it runs", 10, || {
        session.count(
            "SELECT count(*) FROM tasker.background_workers WHERE state = 'busy'",
            &[],
        ) == 1
    });
    drop(session);
    let began = Instant::now();
    server.stop();
    assert!(began.elapsed() < patience(2), "{:?}", began.elapsed());
    server.start_again();
    let mut session = server.connect("postgres");
    soon("it runs again, as the second attempt", 10, || {
        session.count(
            "SELECT count(*) FROM tasker.workflow_steps WHERE state = 'in_progress' AND attempts = 2",
            &[],
        ) == 1
    });
    session.execute(&format!("SELECT tasker.cancel_task('{task}')"));
}

#[test]
fn a_step_that_kills_its_executor_ends_in_error_and_stops_no_other() {
    let (_server, mut session) = server(&[]);
    Template::new("poison")
        .step_with(
            "only",
            &[],
            json!({"handler": "sql:app.suicide", "default_retry_limit": 2, "retry": {"backoff": "none"}}),
        )
        .register(&mut session);
    effect("effects").register(&mut session);
    let poison = session.create("poison");
    let tasks = session.create_many("effects", 10);
    soon("the others complete", 30, || {
        all_complete(&mut session, &tasks)
    });
    soon("the poison is in error", 30, || {
        session.task_state(poison) == "error"
    });
    assert_eq!(
        session.results(poison, "only")["error_class"],
        "LeaseExpired"
    );
    let ended =
        "SELECT ended FROM tasker.executor_restarts WHERE pool = 'default' AND in_a_row = 2";
    assert_eq!(session.count(ended, &[]), 2);
    assert_eq!(session.arrivals(poison, Some("only"), "in_progress"), 2);
}

#[test]
fn a_duty_that_fails_is_shown_and_stops_no_other() {
    let (_server, mut session) = server(&[]);
    soon("at work", 5, || at_work(&mut session));
    session.execute(
        "CREATE OR REPLACE FUNCTION tasker_engine.duty_orphans() RETURNS bigint LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'poison' USING ERRCODE = '22012'; END $$",
    );
    soon("the failure is shown", 10, || {
        session.count(
            "SELECT count(*) FROM tasker.maintenance_duties WHERE duty = 'orphans' AND failures > 0 AND last_error = '22012: poison'",
            &[],
        ) == 1
    });
    Template::new("outside")
        .step("only", &[])
        .register(&mut session);
    let task = session.create("outside");
    session.execute("SELECT * FROM tasker.claim_steps('lost', lease => '500 milliseconds')");
    soon("leases are still taken over", 5, || {
        session.step_state(task, "only") == "error"
    });
    let row = session.query(
        "SELECT duty, error FROM tasker.run_maintenance() WHERE error IS NOT NULL",
        &[],
    );
    assert_eq!(row.len(), 1);
}

#[test]
fn a_cancelled_step_is_interrupted_and_its_executor_goes_on() {
    let (_server, mut session) = server(&[]);
    effect("effects").register(&mut session);
    let slow = session.create_with("effects", &json!({"seconds": 60}));
    soon("it runs", 10, || {
        session.step_state(slow, "first") == "in_progress"
    });
    let before = processes(&mut session, "executor");
    session.execute(&format!("SELECT tasker.cancel_task('{slow}', 'test')"));
    let quick = session.create("effects");
    soon("the executor is free again", 10, || {
        session.task_state(quick) == "complete"
    });
    assert_eq!(processes(&mut session, "executor"), before);
    assert_eq!(session.task_state(slow), "cancelled");
    let done: i64 = session.count("SELECT count(DISTINCT step_uuid) FROM app.effects", &[]);
    assert_eq!(done, 3, "what the cancelled handler did is undone");
}

#[test]
fn executors_that_serve_a_queue_of_external_workers_leave_their_steps_alone() {
    let (_server, mut session) = server(&[]);
    Template::new("mixed")
        .step_with(
            "inside",
            &[],
            json!({"handler": "sql:app.effect", "queue": "default"}),
        )
        .step_with("outside", &[], json!({"handler": "mail.send"}))
        .register(&mut session);
    session.execute(
        "SELECT tasker.configure_executor_pool('default', min_executors => 2, max_executors => 2, queues => '{default}')",
    );
    session.create_many("mixed", 120);
    let states = |session: &mut Session| -> Vec<String> {
        session.all(
            "SELECT concat_ws(' ', name, state, attempts, count(*)) FROM tasker.workflow_steps GROUP BY name, state, attempts ORDER BY 1",
            &[],
        )
    };
    soon("the steps inside are done", 60, || {
        states(&mut session)[0] == "inside complete 1 120"
    });
    // Long enough for many claims of idle executors.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(
        states(&mut session),
        ["inside complete 1 120", "outside pending 0 120"]
    );
    assert_eq!(session.claim_all("worker").len(), 120);
}

#[test]
fn an_executor_that_is_to_end_finishes_its_step_and_gives_back_the_others() {
    let (_server, mut session) = server(&[]);
    Template::new("slow")
        .step_with("only", &[], json!({"handler": "sql:app.effect"}))
        .register(&mut session);
    session.execute("SELECT tasker.configure_executor_pool('default', min_executors => 1, max_executors => 1, batch_size => 10)");
    soon("one executor", 10, || {
        processes(&mut session, "executor").len() == 1
    });
    session.execute(
        "SELECT count(tasker.create_task('slow', '{\"seconds\": 1.5}')) FROM generate_series(1, 5)",
    );
    soon("steps run", 10, || {
        session.count(
            "SELECT count(*) FROM tasker.workflow_steps WHERE state = 'in_progress'",
            &[],
        ) > 0
    });
    session.execute("SELECT tasker.configure_executor_pool('default', enabled => false)");
    soon("it has ended", 10, || {
        processes(&mut session, "executor").is_empty()
    });
    let counts: Vec<String> = session.all(
        "SELECT state || ' ' || attempts FROM tasker.workflow_steps GROUP BY state, attempts ORDER BY 1",
        &[],
    );
    assert!(
        counts == ["complete 1", "pending 0"] || counts == ["complete 1"],
        "{counts:?}"
    );
    assert_eq!(
        session.count("SELECT count(*) FROM tasker.running_steps", &[]),
        0
    );
    let states: Vec<String> = session.all("SELECT state FROM tasker.workers", &[]);
    assert_eq!(states, ["ended"], "it says that it ends");
    session.execute("SELECT tasker.configure_executor_pool('default', enabled => true)");
    soon("the rest is run", 20, || {
        session.count(
            "SELECT count(*) FROM tasker.tasks WHERE state <> 'complete'",
            &[],
        ) == 0
    });
}

#[test]
fn an_executor_that_does_not_end_in_time_is_terminated_and_leaves_no_orphan() {
    let (_server, mut session) = server(&["tasker.executor_drain_seconds=1"]);
    effect("effects").register(&mut session);
    let slow = session.create_with("effects", &json!({"seconds": 60}));
    soon("it runs", 10, || {
        session.step_state(slow, "first") == "in_progress"
    });
    let began = Instant::now();
    session.execute("SELECT tasker.configure_executor_pool('default', enabled => false)");
    soon("it is to end, and by when is shown", 3, || {
        session.count("SELECT count(*) FROM tasker.background_workers WHERE state = 'draining' AND stop_by - clock_timestamp() <= interval '1 second'", &[]) == 1
    });
    soon("it has ended", 8, || {
        processes(&mut session, "executor").is_empty()
    });
    println!("ended after {:?}", began.elapsed());
    soon("its step is taken over", 10, || {
        session.step_state(slow, "first") == "error"
    });
    assert_eq!(session.count("SELECT count(*) FROM app.effects", &[]), 0);
}

#[test]
fn an_emergency_ends_handlers_within_seconds_and_a_graceful_shutdown_lets_them_finish() {
    let (_server, mut session) = server(&[]);
    Template::new("slow")
        .step_with("only", &[], json!({"handler": "sql:app.effect", "default_retry_limit": 5, "retry": {"backoff": "none"}}))
        .register(&mut session);
    let short = session.create_with("slow", &json!({"seconds": 2}));
    soon("it runs", 10, || {
        session.step_state(short, "only") == "in_progress"
    });
    session.execute("SELECT tasker.set_operational_state('normal')");
    session.execute("SELECT tasker.set_operational_state('graceful_shutdown')");
    let waiting = session.create_with("slow", &json!({"seconds": 60}));
    soon("it finishes", 10, || {
        session.task_state(short) == "complete"
    });
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(session.step_state(waiting, "only"), "pending");
    session.execute("SELECT tasker.set_operational_state('stopped')");
    soon("no executor", 10, || {
        processes(&mut session, "executor").is_empty()
    });
    session.execute("SELECT tasker.set_operational_state('startup')");
    soon("it runs now", 15, || {
        session.step_state(waiting, "only") == "in_progress"
    });
    session.execute("SELECT tasker.set_operational_state('emergency')");
    let ended = soon("it was ended", 12, || {
        processes(&mut session, "executor").is_empty()
    });
    assert!(
        ended >= Duration::from_secs(3),
        "not before its five seconds: {ended:?}"
    );
    soon("its step waits again", 10, || {
        session.step_state(waiting, "only") != "in_progress"
    });
}

#[test]
fn a_pool_grows_under_load_and_shrinks_when_idle_within_its_bounds() {
    let (_server, mut session) = server(&[]);
    session.execute(
        "SELECT tasker.configure_executor_pool('default', min_executors => 1, max_executors => 4,
                                               scaling_interval => '5 seconds', scaling_cooldown => '1 second')",
    );
    Template::new("slow")
        .step_with("only", &[], json!({"handler": "sql:app.effect"}))
        .register(&mut session);
    session.execute("SELECT count(tasker.create_task('slow', '{\"seconds\": 0.3}')) FROM generate_series(1, 200)");
    let mut most = 0;
    soon("it grew", 40, || {
        most = most.max(processes(&mut session, "executor").len());
        most == 4
    });
    session.execute("SELECT tasker.cancel_task(task_uuid) FROM tasker.tasks WHERE state IN ('pending', 'in_progress')");
    soon("it shrank", 60, || {
        let now = processes(&mut session, "executor").len();
        assert!(now <= 4);
        now == 1
    });
    let decisions: Vec<String> = session.all(
        "SELECT rule FROM tasker.scaling_decisions ORDER BY decided_at",
        &[],
    );
    println!("{decisions:?}");
    assert!(decisions.len() >= 2);
}

#[test]
fn a_standby_has_none_and_gets_them_at_its_promotion() {
    let (server, mut session) = server(&["wal_level=replica", "max_wal_senders=4"]);
    soon("at work", 5, || at_work(&mut session));
    let standby = server.standby();
    let mut other = standby.connect("postgres");
    assert!(other.one::<bool>("SELECT pg_is_in_recovery()", &[]));
    assert_eq!(
        other.count("SELECT count(*) FROM tasker.background_workers", &[]),
        0
    );
    let _: bool = other.one("SELECT pg_promote()", &[]);
    soon("at work after the promotion", 15, || at_work(&mut other));
    effect("effects").register(&mut other);
    let task = other.create("effects");
    soon("it runs there", 15, || other.task_state(task) == "complete");
}

#[test]
fn background_processes_work_with_the_rights_of_the_engines_owner() {
    let (_server, mut session) = server(&[]);
    soon("at work", 5, || at_work(&mut session));
    // This function of a duty notes the role of its session.
    session.execute(
        "CREATE TABLE public.seen (role text, super text);
         GRANT ALL ON public.seen TO PUBLIC;
         CREATE OR REPLACE FUNCTION tasker_engine.duty_orphans() RETURNS bigint LANGUAGE plpgsql SECURITY INVOKER AS
         $$ BEGIN INSERT INTO public.seen VALUES (current_user, (SELECT rolsuper::text FROM pg_roles WHERE rolname = current_user)); RETURN 0; END $$;
         ALTER FUNCTION tasker_engine.run_duty(text) SECURITY INVOKER",
    );
    soon("a duty ran", 10, || {
        session.count("SELECT count(*) FROM public.seen", &[]) > 0
    });
    let roles: Vec<String> =
        session.all("SELECT DISTINCT role || ' ' || super FROM public.seen", &[]);
    assert_eq!(roles, ["tasker_owner false"]);
}

/// Seconds of processor time that a process has used.
fn cpu_seconds(pid: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("the process runs");
    let nanoseconds: f64 = stat
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .expect("a number");
    nanoseconds / 1e9
}

/// A machine whose caches are cold once a second makes everything many times slower, so the measure is another session that
/// does a little once a second in the same minute.
#[test]
fn an_idle_minute_costs_less_than_three_readers_of_health_and_writes_no_wal() {
    let (server, mut session) = server(&[
        "autovacuum=off",
        "checkpoint_timeout=1h",
        "bgwriter_lru_maxpages=0",
    ]);
    effect("effects").register(&mut session);
    let task = session.create("effects");
    soon("complete", 10, || session.task_state(task) == "complete");
    let pids: Vec<i32> = session.all("SELECT pid FROM tasker.background_workers", &[]);
    assert_eq!(pids.len(), 3);
    let mut reader = server.connect("postgres");
    let reader_pid: i32 = reader.one("SELECT pg_backend_pid()", &[]);
    let seconds = scaled(15, 60);
    // What happens once comes first: the end of the startup, hint bits, the server's own snapshot of transactions.
    let (mut share, mut bytes) = (f64::MAX, i64::MAX);
    for _ in 0..4 {
        let wal = session.one::<String>("SELECT pg_current_wal_insert_lsn()::text", &[]);
        let cpu: f64 = pids.iter().map(|pid| cpu_seconds(*pid)).sum();
        let readers = cpu_seconds(reader_pid);
        for _ in 0..seconds {
            std::thread::sleep(Duration::from_secs(1));
            reader.count("SELECT count(*) FROM tasker.health_status()", &[]);
        }
        let used = pids.iter().map(|pid| cpu_seconds(*pid)).sum::<f64>() - cpu;
        let read = cpu_seconds(reader_pid) - readers;
        share = used / read;
        bytes = session.one(
            "SELECT (pg_current_wal_insert_lsn() - $1::text::pg_lsn)::bigint",
            &[&wal],
        );
        println!(
            "{used:.3} s of processor time, the reader of health {read:.3} s, {bytes} bytes of WAL in {seconds} s"
        );
        if bytes == 0 && share < 3.0 {
            break;
        }
    }
    assert!(share < 3.0, "{share} times what a reader of health costs");
    assert_eq!(bytes, 0, "bytes of WAL in {seconds} s");
}

#[test]
fn background_processes_wait_while_the_extension_is_of_another_version_than_the_library() {
    let (server, mut session) = server(&[]);
    soon("an executor", 10, || {
        !processes(&mut session, "executor").is_empty()
    });
    let at_work = |session: &mut Session, kind: &str| -> Vec<i32> {
        session.all(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = $1",
            &[&format!("tasker_ext {kind}")],
        )
    };
    let executors = at_work(&mut session, "executor");
    assert!(!executors.is_empty());
    effect("effects").register(&mut session);
    // As an update script does it: the version, and the row of the schema by which every session notices.
    let change = |session: &mut Session, version: &str| {
        session.execute(&format!(
            "BEGIN;
             UPDATE pg_extension SET extversion = {version} WHERE extname = 'tasker_ext';
             UPDATE pg_namespace SET nspname = nspname WHERE nspname = 'tasker_engine';
             COMMIT"
        ));
    };
    let own: String = session.one("SELECT version FROM tasker_engine.library()", &[]);
    change(&mut session, "'0.0.1'");
    soon("no executor", 15, || {
        at_work(&mut session, "executor").is_empty()
    });
    soon("it is said", 15, || {
        server.log().contains(&format!(
            "background processes do nothing: the library of tasker_ext is version {own}, \
             the extension in this database is version 0.0.1"
        ))
    });
    assert_eq!(at_work(&mut session, "coordinator").len(), 1);
    session
        .fails("SELECT tasker.create_task('effects')", &[])
        .is("55000")
        .hint_says(&["ALTER EXTENSION tasker_ext UPDATE"]);
    change(&mut session, &format!("'{own}'"));
    soon("others are at work", 15, || {
        let now = at_work(&mut session, "executor");
        !now.is_empty() && now.iter().all(|pid| !executors.contains(pid))
    });
    let task = session.create("effects");
    soon("complete", 10, || session.task_state(task) == "complete");
}

#[test]
fn pg_cancel_backend_of_an_idle_process_does_nothing() {
    let (_server, mut session) = server(&[]);
    soon("an executor", 10, || {
        !processes(&mut session, "executor").is_empty()
    });
    std::thread::sleep(Duration::from_secs(1));
    let before: Vec<i32> = session.all("SELECT pid FROM tasker.background_workers ORDER BY 1", &[]);
    session.execute("SELECT pg_cancel_backend(pid) FROM tasker.background_workers");
    std::thread::sleep(Duration::from_millis(1500));
    let after: Vec<i32> = session.all("SELECT pid FROM tasker.background_workers ORDER BY 1", &[]);
    assert_eq!(before, after);
}

/// What keeps reports from being stored: the disk is full, or a lock is not to be had in time.
const REFUSALS: &str = r"
CREATE TABLE public.refused (task_uuid uuid, reason text);
CREATE TABLE public.held (no integer);
INSERT INTO public.held VALUES (1);
CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog SET lock_timeout = '50ms' AS
$$ DECLARE why text := (SELECT r.reason FROM public.refused r WHERE r.task_uuid = NEW.task_uuid);
BEGIN
    IF why = 'disk' THEN
        RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full';
    ELSIF why = 'lock' THEN
        PERFORM FROM public.held FOR UPDATE;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON tasker_engine.steps FOR EACH ROW WHEN (OLD.state = 'i') EXECUTE FUNCTION public.refuse();
CREATE FUNCTION app.wait(step jsonb) RETURNS jsonb LANGUAGE sql AS
$$ SELECT pg_advisory_xact_lock_shared(7); SELECT '{}'::jsonb $$;
";

#[test]
fn a_failure_that_could_not_be_reported_is_reported_again_and_its_lease_is_not_renewed() {
    let (server, mut session) = server(&[]);
    session.execute(REFUSALS);
    for handler in ["effect", "wait"] {
        Template::new(handler)
            .step_with(
                "only",
                &[],
                json!({"handler": format!("sql:app.{handler}")}),
            )
            .register(&mut session);
    }
    session.execute(
        "SELECT tasker.configure_executor_pool('default', min_executors => 1, max_executors => 1, batch_size => 1)",
    );
    for (reason, class) in [("disk", "53100"), ("lock", "55P03")] {
        let mut holder = server.connect("postgres");
        holder.execute("BEGIN; SELECT FROM public.held FOR UPDATE");
        let stuck: Uuid = session.one(
            "WITH t AS (SELECT tasker.create_task('effect') AS task), f AS (INSERT INTO public.refused SELECT task, $1 FROM t)
             SELECT task FROM t",
            &[&reason],
        );
        soon("its run has begun", 10, || {
            session.step_state(stuck, "only") == "in_progress"
        });
        renewed_beside(&mut session, stuck);
        session.execute("DELETE FROM public.refused");
        holder.execute("ROLLBACK");
        // Long before the end of the lease.
        soon("it is reported", 20, || {
            session.arrivals(stuck, Some("only"), "error") == 1
        });
        let found: String = session.one(
            "SELECT metadata ->> 'error_class' FROM tasker.workflow_step_transitions WHERE task_uuid = $1 AND to_state = 'error'",
            &[&stuck],
        );
        assert_eq!(found, class);
        soon("it is run again", 20, || {
            session.task_state(stuck) == "complete"
        });
    }
}

/// The executor goes on with another step, whose lease is renewed; that of the step whose run has ended is not.
fn renewed_beside(session: &mut Session, stuck: Uuid) {
    let lease = "SELECT lease_expires_at::text FROM tasker.running_steps WHERE task_uuid = $1";
    let ends: String = session.one(lease, &[&stuck]);
    session.execute("SELECT pg_advisory_lock(7)");
    let other = session.create("wait");
    soon("the executor does other work", 20, || {
        session.step_state(other, "only") == "in_progress"
    });
    let before: String = session.one(lease, &[&other]);
    // A new coordinator renews at once.
    session.query(
        "SELECT pg_terminate_backend(pid) FROM tasker.background_workers WHERE kind = 'coordinator'",
        &[],
    );
    soon("the lease of the other step is renewed", 30, || {
        session.one::<String>(lease, &[&other]) != before
    });
    assert_eq!(session.one::<String>(lease, &[&stuck]), ends);
    session.execute("SELECT pg_advisory_unlock(7)");
    soon("the other work ends", 20, || {
        session.task_state(other) == "complete"
    });
}
