//! Duties of maintenance run whatever locks others hold, and one that does not run is a problem that shows.

use std::time::{Duration, Instant};

use tasker_client_tests::server::Server;
use tasker_client_tests::{Database, Session, Template, inside, patience};

fn preloaded(more: &[&str]) -> (Server, Session) {
    let mut settings = vec!["shared_preload_libraries=tasker_ext"];
    settings.extend(more);
    let server = Server::start(&settings);
    let mut session = server.connect("postgres");
    session.execute("CREATE EXTENSION tasker_ext");
    tasker_client_tests::database::resume(&mut session);
    (server, session)
}

#[track_caller]
fn soon(what: &str, seconds: u64, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(
            began.elapsed() < patience(seconds),
            "not within {seconds} s: {what}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn problems(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT duty || ' ' || problem FROM tasker.maintenance_duties WHERE problem IS NOT NULL ORDER BY duty",
        &[],
    )
}

fn duties(session: &mut Session) -> Vec<String> {
    session.all("SELECT duty FROM tasker.maintenance_duties ORDER BY 1", &[])
}

fn health(session: &mut Session) -> String {
    session.one(
        "SELECT concat_ws(' ', level, measured::int) FROM tasker.health_status() WHERE measure = 'duties'",
        &[],
    )
}

fn pid(session: &mut Session) -> i32 {
    session.one("SELECT pg_backend_pid()", &[])
}

#[test]
fn every_duty_in_the_list_has_its_function_and_every_such_function_is_a_duty() {
    let database = Database::new();
    let mut session = database.connect();
    let functions: Vec<String> = session.all(
        "SELECT p.proname::text FROM pg_proc p
         WHERE p.pronamespace = 'tasker_engine'::regnamespace AND p.proname LIKE 'duty\\_%'
           AND p.pronargs = 0 AND p.prorettype = 'bigint'::regtype
         ORDER BY 1",
        &[],
    );
    let listed: Vec<String> = duties(&mut session)
        .iter()
        .map(|duty| format!("duty_{duty}"))
        .collect();
    assert_eq!(functions, listed);
    let ran: Vec<String> = session.all(
        "SELECT duty FROM tasker.run_maintenance() WHERE error IS NULL ORDER BY 1",
        &[],
    );
    assert_eq!(ran, duties(&mut session));
}

#[test]
fn no_lock_that_any_role_can_take_stops_a_duty() {
    let (server, mut session) = preloaded(&[]);
    session.execute("CREATE ROLE stranger LOGIN");
    let mut stranger = Session::open(server.config("postgres", "stranger"));
    for duty in duties(&mut session) {
        stranger.query(
            "SELECT pg_advisory_lock(hashtext('tasker duty'), hashtext($1))",
            &[&duty],
        );
    }
    let refused = stranger
        .try_query("SELECT tasker_engine.try_duty_lock(1)", &[])
        .unwrap_err();
    assert_eq!(refused.code().map(|code| code.code()), Some("42501"));
    Template::new("one")
        .step("only", &[])
        .register(&mut session);
    session.query(
        "SELECT tasker.schedule_task('each', '* * * * * *', 'one')::text",
        &[],
    );
    soon("the schedule fires", 20, || {
        session.count("SELECT count(*) FROM tasker.schedule_runs", &[]) >= 2
    });
}

#[test]
fn a_duty_that_a_session_holds_is_a_problem_until_it_lets_go() {
    let (server, mut session) = preloaded(&[]);
    soon("every duty has run", 20, || {
        session.count(
            "SELECT count(*) FROM tasker.maintenance_duties WHERE last_run_at IS NULL",
            &[],
        ) == 0
    });
    assert_eq!(problems(&mut session), [""; 0]);
    let mut holder = server.connect("postgres");
    holder.execute("BEGIN; SELECT * FROM tasker.run_maintenance()");
    let holder_pid = pid(&mut holder);
    let quick = ["leases", "orphans", "scaling", "schedules", "task_timeouts"];
    soon("the duties of every second are a problem", 60, || {
        problems(&mut session).len() >= quick.len()
    });
    let shown = problems(&mut session).join("\n");
    for duty in quick {
        assert!(
            shown.contains(&format!("{duty} has not run for 00:00:")),
            "{shown}"
        );
    }
    assert!(
        shown.contains(&format!(": process {holder_pid} holds its lock")),
        "{shown}"
    );
    assert!(health(&mut session).starts_with("degraded "));
    holder.execute("COMMIT");
    soon("they run again", 20, || problems(&mut session).is_empty());
    assert_eq!(health(&mut session), "healthy 0");
}

#[test]
fn a_coordinator_that_is_asked_for_beside_a_living_one_forgets_no_run() {
    let (_server, mut session) = preloaded(&[]);
    let never = |session: &mut Session| {
        session.count(
            "SELECT count(*) FROM tasker.maintenance_duties WHERE last_run_at IS NULL",
            &[],
        )
    };
    soon("every duty has run", 20, || never(&mut session) == 0);
    inside::wake_launcher(&mut session);
    assert_eq!(never(&mut session), 0);
    // Another installation has duties of its own, whose runs are not those of the one before.
    session.execute("BEGIN; DROP EXTENSION tasker_ext; CREATE EXTENSION tasker_ext; COMMIT");
    assert!(never(&mut session) > 0);
}

#[test]
fn duties_without_a_coordinator_are_a_problem() {
    // Room for the launcher alone.
    let (_server, mut session) = preloaded(&["max_worker_processes=1"]);
    soon("it shows", 60, || {
        problems(&mut session)
            .iter()
            .any(|problem| problem.starts_with("leases has not run for "))
    });
    let shown = problems(&mut session).join("\n");
    assert!(shown.contains(": no coordinator is at work"), "{shown}");
    assert!(health(&mut session).starts_with("degraded "));
}

#[test]
fn without_preload_the_last_run_is_written_once_a_minute_and_missed_when_it_stays_out() {
    let database = Database::new();
    let mut session = database.connect();
    let run = |session: &mut Session| {
        session.query("SELECT * FROM tasker.run_maintenance()", &[]);
    };
    assert_eq!(problems(&mut session), [""; 0]);
    Template::new("one")
        .step("only", &[])
        .register(&mut session);
    assert_eq!(problems(&mut session), [""; 0]);
    let all = duties(&mut session).len();
    inside::duties_ran_earlier(&mut session, 700);
    let none_called = |count: usize, problems: Vec<String>| {
        assert_eq!(problems.len(), count);
        for problem in problems {
            assert!(
                problem.ends_with("no session calls tasker.run_maintenance()"),
                "{problem}"
            );
        }
    };
    none_called(all, problems(&mut session));

    run(&mut session);
    assert_eq!(problems(&mut session), [""; 0]);
    let places = inside::duty_places(&mut session);
    assert_eq!(places.len(), all);
    run(&mut session);
    assert_eq!(inside::duty_places(&mut session), places);
    inside::duties_ran_earlier(&mut session, 61);
    run(&mut session);
    assert_ne!(inside::duty_places(&mut session), places);

    // Of ten periods and ten minutes the longer one.
    inside::duties_ran_earlier(&mut session, 590);
    assert_eq!(problems(&mut session), [""; 0]);
    inside::duties_ran_earlier(&mut session, 20);
    none_called(all, problems(&mut session));
    assert_eq!(health(&mut session), format!("degraded {}", all));

    let mut holder = database.connect();
    holder.execute("BEGIN; SELECT * FROM tasker.run_maintenance()");
    run(&mut session);
    let held = format!("process {} holds its lock", pid(&mut holder));
    for problem in problems(&mut session) {
        assert!(problem.ends_with(&held), "{problem}");
    }
    holder.execute("ROLLBACK");
    run(&mut session);
    assert_eq!(problems(&mut session), [""; 0]);
    assert_eq!(health(&mut session), "healthy 0");
}

fn purged(session: &mut Session) -> i64 {
    session.one(
        "SELECT coalesce(sum(purged_tasks), 0)::bigint FROM tasker.retention",
        &[],
    )
}

fn leases_ran(session: &mut Session) -> Option<String> {
    session.one(
        "SELECT last_run_at::text FROM tasker.maintenance_duties WHERE duty = 'leases'",
        &[],
    )
}

#[test]
fn a_long_purge_delays_other_duties_by_no_more_than_a_batch() {
    let (_server, mut session) = preloaded(&[]);
    tasker_client_tests::shapes::chain("two", 2).register(&mut session);
    let batches = 20_u32;
    for _ in 0..batches {
        session.query(
            "SELECT count(*) FROM tasker.create_tasks('two', array_fill('{}'::jsonb, ARRAY[1000]))",
            &[],
        );
    }
    inside::end_all(&mut session);
    inside::slow_purges(&mut session, 0.3);
    session.query("SELECT tasker.set_retention('default', '1 ms')", &[]);
    // A new coordinator runs every duty at once.
    session.query(
        "SELECT pg_terminate_backend(pid) FROM tasker.background_workers WHERE kind = 'coordinator'",
        &[],
    );
    soon("the purge begins", 60, || purged(&mut session) > 0);
    let began = Instant::now();
    let mut runs = std::collections::BTreeSet::new();
    loop {
        let left = i64::from(batches) * 1000 - purged(&mut session);
        if left == 0 {
            break;
        }
        assert!(began.elapsed() < patience(120), "{left} tasks are left");
        runs.insert(leases_ran(&mut session));
        std::thread::sleep(Duration::from_millis(20));
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{batches} batches in {seconds:.2} s, leases ran {} times",
        runs.len()
    );
    let enough = (seconds.min(f64::from(batches)) / 2.0) as usize;
    assert!(runs.len() >= enough, "{} times in {seconds} s", runs.len());
}
