//! Health for probes and people, alerts, and claims that take too long.

use std::process::Command;
use std::time::{Duration, Instant};

use tasker_client_tests::server::{Server, program, root};
use tasker_client_tests::worker::{Act, Ask, done};
use tasker_client_tests::{
    Claim, Database, Session, Template, Uuid, inside, json, patience, shapes,
};

fn open() -> (Database, Session) {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("one", 1).register(&mut session);
    (database, session)
}

/// `count` tasks of one step; `failing` of them fail permanently.
fn run_tasks(session: &mut Session, count: usize, failing: usize) {
    session.create_many("one", count);
    let mut left = failing;
    session.work(|_| {
        if left > 0 {
            left -= 1;
            Act::FailForGood
        } else {
            done()
        }
    });
}

/// `level alert measured` of one measure.
#[track_caller]
fn measure(session: &mut Session, name: &str) -> String {
    session.one(
        "SELECT concat_ws(' ', level, alert, trim_scale(measured)) FROM tasker.health_status() WHERE measure = $1",
        &[&name],
    )
}

fn alerts(session: &mut Session) -> Vec<String> {
    session.all("SELECT measure FROM tasker.health_alerts ORDER BY 1", &[])
}

#[track_caller]
fn force(session: &mut Session, state: &str) {
    session.query(
        "SELECT tasker.set_operational_state($1, force => true)",
        &[&state],
    );
}

// ---- levels -----------------------------------------------------------------------------------------------------------

#[test]
fn a_new_system_is_healthy_in_every_measure() {
    let (_database, mut session) = open();
    let rows: Vec<String> = session.all(
        "SELECT concat_ws(' ', measure, level, alert) FROM tasker.health_status()",
        &[],
    );
    let expected = [
        "overall",
        "operational_state",
        "connections",
        "task_errors",
        "step_errors",
        "executors",
        "executor_pools",
        "coordinator",
        "duties",
        "integrity",
        "stale_claims",
        "workers",
        "subscribers",
    ];
    assert_eq!(rows, expected.map(|name| format!("{name} healthy f")));
    assert_eq!(alerts(&mut session), [""; 0]);
}

#[test]
fn more_than_half_of_the_tasks_or_runs_in_error_are_unhealthy_and_exactly_half_are_not() {
    let (_database, mut session) = open();
    run_tasks(&mut session, 10, 5);
    for name in ["task_errors", "step_errors"] {
        assert_eq!(measure(&mut session, name), "healthy t 50", "{name}");
    }
    run_tasks(&mut session, 1, 1);
    for name in ["task_errors", "step_errors"] {
        assert_eq!(measure(&mut session, name), "unhealthy t 54.55", "{name}");
    }
    let overall: String = session.one(
        "SELECT level || ': ' || message FROM tasker.health_status() WHERE measure = 'overall'",
        &[],
    );
    assert_eq!(
        overall,
        "unhealthy: 6 of 11 tasks of the period that ended are in error; 6 of 11 runs of steps in the period failed; in state normal"
    );
}

#[test]
fn errors_count_for_the_period_only_and_not_before_there_are_five() {
    let (_database, mut session) = open();
    run_tasks(&mut session, 4, 4);
    assert_eq!(measure(&mut session, "task_errors"), "healthy f 100");
    run_tasks(&mut session, 1, 1);
    assert_eq!(measure(&mut session, "task_errors"), "unhealthy t 100");
    let tasks: Vec<Uuid> = session.all("SELECT task_uuid FROM tasker.tasks", &[]);
    for task in tasks {
        inside::age(&mut session, task, 10);
    }
    for name in ["task_errors", "step_errors"] {
        assert_eq!(measure(&mut session, name), "healthy f 0", "{name}");
    }
    let longer: String = session.one(
        "SELECT level FROM tasker.health_status('20 minutes') WHERE measure = 'step_errors'",
        &[],
    );
    assert_eq!(longer, "unhealthy");
}

#[test]
fn alerts_begin_at_five_percent_of_errors() {
    let (_database, mut session) = open();
    run_tasks(&mut session, 20, 1);
    assert_eq!(measure(&mut session, "task_errors"), "healthy f 5");
    assert_eq!(alerts(&mut session), [""; 0]);
    run_tasks(&mut session, 1, 1);
    assert_eq!(measure(&mut session, "task_errors"), "healthy t 9.52");
    assert_eq!(alerts(&mut session), ["step_errors", "task_errors"]);
}

#[test]
fn a_planned_shutdown_raises_no_alert_and_an_emergency_does() {
    let (_database, mut session) = open();
    run_tasks(&mut session, 10, 10);
    for (state, expected) in [
        ("normal", vec!["step_errors", "task_errors"]),
        ("graceful_shutdown", vec![]),
        (
            "emergency",
            vec!["operational_state", "step_errors", "task_errors"],
        ),
        ("stopped", vec![]),
        ("startup", vec!["step_errors", "task_errors"]),
    ] {
        force(&mut session, state);
        assert_eq!(alerts(&mut session), expected, "{state}");
        let any: bool = session.one("SELECT bool_or(alert) FROM tasker.health_status()", &[]);
        assert_eq!(any, !expected.is_empty(), "{state}");
    }
}

#[test]
fn the_state_and_its_multiplier_move_the_thresholds() {
    let (database, mut session) = open();
    let thresholds = |session: &mut Session| -> Vec<String> {
        session.all(
            "SELECT concat_ws(' ', measure, coalesce(trim_scale(degraded_beyond)::text, '-'), trim_scale(unhealthy_beyond), trim_scale(alert_beyond),
                              coalesce(trim_scale(multiplier)::text, '-'))
             FROM tasker.health_status() WHERE measure IN ('connections', 'task_errors', 'executors')",
            &[],
        )
    };
    let full = [
        "connections - 90 85 -",
        "task_errors - 50 5 1",
        "executors 90 50 80 1",
    ];
    let none = [
        "connections - 90 85 -",
        "task_errors - 100 50 0",
        "executors 0 0 0 0",
    ];
    let startup = [
        "connections - 90 85 -",
        "task_errors - 100 10 0.5",
        "executors 45 25 40 0.5",
    ];
    for (state, expected) in [
        ("normal", full),
        ("emergency", full),
        ("startup", startup),
        ("graceful_shutdown", none),
        ("stopped", none),
    ] {
        force(&mut session, state);
        assert_eq!(thresholds(&mut session), expected, "{state}");
    }
    session.execute(&format!(
        "ALTER DATABASE {0} SET tasker.startup_health_threshold_multiplier = 0.8;
         ALTER DATABASE {0} SET tasker.shutdown_health_threshold_multiplier = 0.2",
        database.name()
    ));
    let mut set = database.connect();
    for (state, expected) in [
        ("startup", "executors 72 40 64 0.8"),
        ("graceful_shutdown", "executors 18 10 16 0.2"),
        ("stopped", "executors 0 0 0 0"),
        ("normal", "executors 90 50 80 1"),
    ] {
        force(&mut set, state);
        assert_eq!(thresholds(&mut set)[2], expected, "{state}");
    }
}

#[test]
fn executors_are_judged_by_their_share_and_in_startup_at_45_and_25_percent() {
    let (_database, mut session) = open();
    let mut level = |part: i64, multiplier: f64| -> String {
        session.one(
            "SELECT level FROM tasker_engine.judge_health('executors', $1, 100, $2)",
            &[&part, &multiplier],
        )
    };
    for (part, multiplier, expected) in [
        (90, 1.0, "healthy"),
        (89, 1.0, "degraded"),
        (49, 1.0, "unhealthy"),
        (45, 0.5, "healthy"),
        (44, 0.5, "degraded"),
        (25, 0.5, "degraded"),
        (24, 0.5, "unhealthy"),
        (0, 0.0, "healthy"),
    ] {
        assert_eq!(
            level(part, multiplier),
            expected,
            "{part} % at {multiplier}"
        );
    }
}

#[test]
fn a_server_whose_connections_are_used_up_is_unhealthy() {
    let server = Server::start(&["max_connections=20", "superuser_reserved_connections=0"]);
    server.connect("postgres").execute("CREATE DATABASE app");
    let mut session = server.connect("app");
    session.execute("CREATE EXTENSION tasker_ext");
    tasker_client_tests::database::resume(&mut session);
    let mut held = vec![];
    let mut fill = |session: &mut Session, wanted: i64| {
        loop {
            let used: i64 = session.one(
                "SELECT active_connections FROM tasker.get_system_health_counts()",
                &[],
            );
            match used.cmp(&wanted) {
                std::cmp::Ordering::Less => held.push(server.connect("postgres")),
                std::cmp::Ordering::Equal => return,
                std::cmp::Ordering::Greater => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    };
    for (used, expected) in [
        (17, "healthy f 85"),
        (18, "healthy t 90"),
        (19, "unhealthy t 95"),
    ] {
        fill(&mut session, used);
        assert_eq!(measure(&mut session, "connections"), expected);
    }
}

#[test]
fn ready_steps_without_any_live_worker_degrade_the_system_unless_it_is_at_rest() {
    let (_database, mut session) = open();
    session.create("one");
    assert_eq!(measure(&mut session, "workers"), "degraded t 1");
    assert_eq!(measure(&mut session, "overall"), "degraded t");
    force(&mut session, "stopped");
    assert_eq!(measure(&mut session, "overall"), "healthy f");
    force(&mut session, "normal");
    session.query("SELECT tasker.pause_namespace('default')", &[]);
    assert_eq!(measure(&mut session, "workers"), "healthy f 0");
    session.query("SELECT tasker.resume_namespace('default')", &[]);
    session.create("one");
    session.claim_one("w");
    let message: String = session.one(
        "SELECT message FROM tasker.health_status() WHERE measure = 'workers'",
        &[],
    );
    assert!(
        message.starts_with("1 workers live; 1 steps ready, the oldest for 00:00:0"),
        "{message}"
    );
}

#[test]
fn leases_not_taken_over_for_two_minutes_degrade_the_system() {
    let (_database, mut session) = open();
    session.create("one");
    session.claim_one("lost");
    inside::lease_ended(&mut session, "lost", 110);
    assert_eq!(measure(&mut session, "stale_claims"), "healthy f 0");
    inside::lease_ended(&mut session, "lost", 130);
    assert_eq!(measure(&mut session, "stale_claims"), "degraded t 1");
    session.query("SELECT * FROM tasker.run_maintenance()", &[]);
    assert_eq!(measure(&mut session, "stale_claims"), "healthy f 0");
}

#[test]
fn a_duty_that_fails_degrades_the_system_until_it_does_its_work_again() {
    let (_database, mut session) = open();
    session.create("one");
    session.claim_one("lost");
    inside::lease_ended(&mut session, "lost", 1);
    session.execute(
        "ALTER FUNCTION tasker_engine.duty_leases() RENAME TO duty_leases_away;
         CREATE FUNCTION tasker_engine.duty_leases() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE 'it broke'; END $$;
         ALTER FUNCTION tasker_engine.duty_leases() OWNER TO tasker_owner",
    );
    session.query("SELECT * FROM tasker.run_maintenance()", &[]);
    assert_eq!(measure(&mut session, "duties"), "degraded t 1");
    let message: String = session.one(
        "SELECT message FROM tasker.health_status() WHERE measure = 'duties'",
        &[],
    );
    assert!(
        message.ends_with("leases failed when last run: P0001: it broke"),
        "{message}"
    );
    assert_eq!(
        session.count(
            "SELECT failures FROM tasker.maintenance_duties WHERE duty = 'leases'",
            &[]
        ),
        1
    );
    session.execute(
        "DROP FUNCTION tasker_engine.duty_leases();
         ALTER FUNCTION tasker_engine.duty_leases_away() RENAME TO duty_leases",
    );
    session.query("SELECT * FROM tasker.run_maintenance()", &[]);
    assert_eq!(measure(&mut session, "duties"), "healthy f 0");
}

#[test]
fn maintenance_records_when_the_level_changes_and_only_then() {
    let (_database, mut session) = open();
    let changes = |session: &mut Session| -> Vec<String> {
        session.query("SELECT * FROM tasker.run_maintenance()", &[]);
        session.all(
            "SELECT concat_ws(' ', from_level, to_level, until IS NULL) FROM tasker.health_changes ORDER BY change_no",
            &[],
        )
    };
    assert_eq!(changes(&mut session), [""; 0]);
    session.create("one");
    assert_eq!(changes(&mut session), ["healthy degraded t"]);
    let before = inside::fingerprint(&mut session);
    assert_eq!(changes(&mut session).len(), 1);
    assert_eq!(inside::fingerprint(&mut session), before);
    // A planned shutdown is no recovery.
    force(&mut session, "graceful_shutdown");
    assert_eq!(changes(&mut session).len(), 1);
    force(&mut session, "normal");
    session.work(|_| done());
    assert_eq!(
        changes(&mut session),
        ["healthy degraded f", "degraded healthy t"]
    );
    let message: String = session.one(
        "SELECT message FROM tasker.health_changes ORDER BY change_no LIMIT 1",
        &[],
    );
    assert!(
        message.starts_with("0 workers live; 1 steps ready"),
        "{message}"
    );
}

// ---- ready ------------------------------------------------------------------------------------------------------------

fn ready(session: &mut Session) -> String {
    session.one(
        "SELECT concat_ws(' ', ready, failed_checks, message) FROM tasker.health_ready()",
        &[],
    )
}

#[test]
fn ready_follows_the_state_and_says_why_not() {
    let (_database, mut session) = open();
    assert_eq!(ready(&mut session), "t {} ready, in state normal");
    for (state, yes) in [
        ("startup", true),
        ("graceful_shutdown", false),
        ("emergency", false),
        ("stopped", false),
    ] {
        force(&mut session, state);
        let expected = if yes {
            format!("t {{}} ready, in state {state}")
        } else {
            format!("f {{state}} the system is in state {state} and hands out no work")
        };
        assert_eq!(ready(&mut session), expected);
        assert!(session.one::<bool>("SELECT tasker.health_live()", &[]));
    }
}

#[test]
fn a_library_of_another_version_is_not_ready() {
    let (_database, mut session) = open();
    session.execute("UPDATE pg_extension SET extversion = '0.0.9' WHERE extname = 'tasker_ext'");
    assert!(
        ready(&mut session)
            .starts_with("f {version} the extension has version 0.0.9 and the library "),
        "{}",
        ready(&mut session)
    );
}

#[test]
fn a_preloaded_library_is_ready_when_its_coordinator_is_at_work() {
    let server = Server::start(&["shared_preload_libraries=tasker_ext"]);
    server.connect("postgres").execute("CREATE DATABASE app");
    let mut session = server.connect("app");
    session.execute("CREATE EXTENSION tasker_ext");
    tasker_client_tests::database::resume(&mut session);
    let agree = |session: &mut Session| -> bool {
        session.one(
            "SELECT r.ready = (EXISTS (SELECT FROM tasker_engine.background_activity() b
                                       WHERE b.kind = 'coordinator' AND b.state <> 'stopping'
                                         AND b.database_oid = (SELECT oid FROM pg_database WHERE datname = current_database())))
             FROM tasker.health_ready() r",
            &[],
        )
    };
    assert!(agree(&mut session), "{}", ready(&mut session));
    let deadline = Instant::now() + patience(20);
    while !ready(&mut session).starts_with("t {} ready") {
        assert!(
            Instant::now() < deadline,
            "no coordinator after 20 s: {}",
            ready(&mut session)
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    for name in ["coordinator", "executor_pools"] {
        assert_eq!(measure(&mut session, name), "healthy f 0", "{name}");
    }
    assert!(measure(&mut session, "executors").starts_with("healthy f"));
}

#[test]
fn a_standby_lives_is_not_ready_and_can_be_asked_everything() {
    let server = Server::start(&[]);
    server.connect("postgres").execute("CREATE DATABASE app");
    let mut session = server.connect("app");
    session.execute("CREATE EXTENSION tasker_ext");
    tasker_client_tests::database::resume(&mut session);
    let folder: String = session.one("SELECT current_setting('data_directory')", &[]);
    session.execute(&format!(
        "CHECKPOINT; COPY (SELECT ''::text) TO '{folder}/standby.signal'"
    ));
    server.kill();
    server.start_again();
    let mut session = server.connect("app");
    assert!(session.one::<bool>("SELECT pg_is_in_recovery()", &[]));
    assert!(session.one::<bool>("SELECT tasker.health_live()", &[]));
    assert_eq!(
        ready(&mut session),
        "f {recovery} the server is a standby or recovers"
    );
    assert_eq!(measure(&mut session, "overall"), "healthy f");
    assert_eq!(alerts(&mut session), [""; 0]);
    for relation in [
        "operational_status",
        "operational_state_changes",
        "stale_claims",
    ] {
        session.query(&format!("SELECT * FROM tasker.{relation}"), &[]);
    }
    session.query("SELECT * FROM tasker.get_processor_claim_stats()", &[]);
}

// ---- stale claims -----------------------------------------------------------------------------------------------------

/// Claims one task of a template whose only step has these fields.
fn held(session: &mut Session, name: &str, fields: tasker_client_tests::Value) -> Claim {
    Template::new(name)
        .step_with("only", &[], fields)
        .register(session);
    session.create(name);
    session
        .claim(&Ask {
            lease: "1 hour",
            ..Ask::by(name, 1)
        })
        .remove(0)
}

fn levels(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT concat_ws(' ', worker_id, expected_seconds, level, worker_status) FROM tasker.stale_claims ORDER BY 1",
        &[],
    )
}

#[test]
fn a_claim_is_stale_by_its_age_against_its_expected_duration() {
    let (_database, mut session) = open();
    for (name, fields) in [
        ("normal", json!({})),
        ("high", json!({"priority": 3})),
        ("urgent", json!({"priority": 4})),
        ("timed", json!({"priority": 4, "timeout_seconds": 600})),
    ] {
        held(&mut session, name, fields);
    }
    let mut age = |seconds: i32| {
        for name in ["normal", "high", "urgent", "timed"] {
            inside::claimed_earlier(&mut session, name, seconds);
        }
        levels(&mut session)
    };
    assert_eq!(age(29), [""; 0]);
    assert_eq!(age(2), ["urgent 30 slow active"]);
    assert_eq!(age(15), ["high 45 slow active", "urgent 30 warning active"]);
    assert_eq!(
        age(15),
        [
            "high 45 slow active",
            "normal 60 slow active",
            "urgent 30 critical active"
        ]
    );
    assert_eq!(
        age(70),
        [
            "high 45 critical active",
            "normal 60 critical active",
            "urgent 30 critical active"
        ]
    );
    assert_eq!(age(480).last().expect("a row"), "urgent 30 critical active");
    assert_eq!(age(0)[2], "timed 600 slow active");
}

#[test]
fn a_claim_whose_lease_is_over_is_expired_and_its_worker_missing_after_five_minutes() {
    let (_database, mut session) = open();
    let claim = held(&mut session, "gone", json!({}));
    inside::lease_ended(&mut session, "gone", 1);
    assert_eq!(levels(&mut session), ["gone 60 expired active"]);
    inside::silence(&mut session, "gone", 200);
    assert_eq!(levels(&mut session), ["gone 60 expired unknown"]);
    inside::silence(&mut session, "gone", 301);
    assert_eq!(levels(&mut session), ["gone 60 expired missing"]);
    let hint: String = session.one(
        "SELECT hint FROM tasker.stale_claims WHERE step_uuid = $1 AND task_uuid = $2",
        &[&claim.step, &claim.task],
    );
    assert!(
        hint.contains("queue default in namespace default"),
        "{hint}"
    );
    let level: String = session.one(
        "SELECT reason || ' ' || level FROM tasker.stuck_tasks WHERE task_uuid = $1",
        &[&claim.task],
    );
    assert_eq!(level, "lease_expired expired");
}

#[test]
fn every_reason_to_be_stuck_has_a_level() {
    let (_database, mut session) = open();
    let reason = |session: &mut Session, task: Uuid| -> Option<String> {
        session
            .all(
                "SELECT reason || ' ' || level FROM tasker.stuck_tasks WHERE task_uuid = $1",
                &[&task],
            )
            .pop()
    };
    let task = session.create("one");
    assert_eq!(
        reason(&mut session, task).as_deref(),
        Some("no_worker warning")
    );
    session.query("SELECT tasker.pause_namespace('default')", &[]);
    assert_eq!(
        reason(&mut session, task).as_deref(),
        Some("namespace_paused slow")
    );
    session.query("SELECT tasker.resume_namespace('default')", &[]);
    session.work(|_| Act::FailForGood);
    assert_eq!(
        reason(&mut session, task).as_deref(),
        Some("failed critical")
    );
}

fn release(session: &mut Session, arguments: &str) -> Vec<String> {
    session.all(
        &format!(
            "SELECT concat_ws(' ', worker_id, step_name, claim_number, claim_level, outcome) FROM tasker.force_release_stale_claims({arguments})"
        ),
        &[],
    )
}

#[test]
fn a_dry_run_shows_what_would_be_released_and_changes_nothing() {
    let (_database, mut session) = open();
    for (name, fields) in [
        ("retried", json!({})),
        ("last", json!({"default_retry_limit": 1})),
    ] {
        held(&mut session, name, fields);
    }
    inside::lease_ended(&mut session, "retried", 1);
    inside::lease_ended(&mut session, "last", 1);
    let before = inside::fingerprint(&mut session);
    assert_eq!(
        release(&mut session, ""),
        [
            "retried only 1 expired would retry",
            "last only 1 expired would fail"
        ]
    );
    assert_eq!(inside::fingerprint(&mut session), before);
    assert_eq!(
        release(&mut session, "dry_run => false"),
        ["retried only 1 expired retry", "last only 1 expired fail"]
    );
    assert_eq!(release(&mut session, "dry_run => false"), [""; 0]);
}

#[test]
fn the_level_says_from_where_on_claims_are_released() {
    let (_database, mut session) = open();
    for (name, seconds) in [("slow", 70), ("warning", 100), ("critical", 130)] {
        held(&mut session, name, json!({}));
        inside::claimed_earlier(&mut session, name, seconds);
    }
    held(&mut session, "fine", json!({}));
    held(&mut session, "expired", json!({}));
    inside::lease_ended(&mut session, "expired", 1);
    let mut names = |level: &str| -> Vec<String> {
        session.all(
            "SELECT worker_id FROM tasker.force_release_stale_claims($1)",
            &[&level],
        )
    };
    assert_eq!(names("expired"), ["expired"]);
    assert_eq!(names("critical"), ["critical", "expired"]);
    assert_eq!(names("warning"), ["critical", "warning", "expired"]);
    assert_eq!(names("slow"), ["critical", "warning", "slow", "expired"]);
    release(&mut session, "'critical', false");
    let running: Vec<String> =
        session.all("SELECT worker_id FROM tasker.running_steps ORDER BY 1", &[]);
    assert_eq!(running, ["fine", "slow", "warning"]);
}

#[test]
fn a_released_claim_ends_like_a_lost_lease_counted_and_fenced() {
    let (database, mut session) = open();
    let claim = held(&mut session, "hung", json!({}));
    inside::claimed_earlier(&mut session, "hung", 200);
    assert_eq!(
        release(&mut session, "'critical', false"),
        ["hung only 1 critical retry"]
    );
    assert_eq!(session.steps(claim.task), ["only error/1"]);
    assert_eq!(
        session.results(claim.task, "only")["error_class"],
        "LeaseExpired"
    );
    // The slow worker hears of it, and its late report changes nothing, before the retry and after it.
    let mut slow = database.connect();
    let told: Vec<String> = slow.all("SELECT status FROM tasker.heartbeat('hung')", &[]);
    assert_eq!(told, ["lost"]);
    slow.try_complete(&claim)
        .expect_err("it is stale")
        .is("55006");
    let again = session.claim_one("next");
    assert_eq!((again.number, again.attempt), (2, 2));
    slow.try_complete(&claim)
        .expect_err("it is stale")
        .is("55006");
    session.complete(&again, &json!({}));
    assert_eq!(session.task_state(claim.task), "complete");
    let log: Vec<String> = session.all(
        "SELECT concat_ws(' ', from_state, to_state, metadata->>'error_class') FROM tasker.workflow_step_transitions
         WHERE step_uuid = $1 ORDER BY id",
        &[&claim.step],
    );
    assert_eq!(
        log,
        [
            "pending in_progress",
            "in_progress error LeaseExpired",
            "error pending",
            "pending in_progress",
            "in_progress complete"
        ]
    );
}

#[test]
fn of_a_batch_only_the_stale_steps_are_released_and_the_lease_of_the_others_goes_on() {
    let (database, mut session) = open();
    Template::new("mixed")
        .step_with("short", &[], json!({"timeout_seconds": 10}))
        .step_with("long", &[], json!({"timeout_seconds": 1000}))
        .register(&mut session);
    let task = session.create("mixed");
    let mut worker = database.connect();
    let claims = worker.claim(&Ask::by("w", 2));
    assert_eq!(claims.len(), 2);
    inside::claimed_earlier(&mut session, "w", 100);
    assert_eq!(
        release(&mut session, "'critical', false"),
        ["w short 1 critical retry"]
    );
    let lease: bool = session.one(
        "SELECT lease_expires_at < clock_timestamp() + interval '31 seconds' FROM tasker.running_steps WHERE task_uuid = $1",
        &[&task],
    );
    assert!(lease, "the lease of the other step has grown");
    let told: Vec<String> = worker.all("SELECT status FROM tasker.heartbeat('w') ORDER BY 1", &[]);
    assert_eq!(told, ["extended", "lost"]);
    let long = claims
        .iter()
        .find(|claim| claim.name == "long")
        .expect("both were claimed");
    worker.complete(long, &json!({}));
    // The worker did not say that it had begun it.
    assert_eq!(session.steps(task), ["short error/0", "long complete/1"]);
    assert_eq!(session.work(|_| done()), ["short"]);
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn a_locked_step_is_skipped_without_waiting() {
    let (database, mut session) = open();
    let claim = held(&mut session, "locked", json!({}));
    inside::lease_ended(&mut session, "locked", 1);
    let mut operator = database.connect();
    operator.execute("BEGIN");
    operator.query("SELECT tasker.cancel_step($1)", &[&claim.step]);
    session.execute("SET lock_timeout = '2s'");
    assert_eq!(
        release(&mut session, "dry_run => false"),
        ["locked only 1 expired skipped"]
    );
    operator.execute("ROLLBACK");
    assert_eq!(
        release(&mut session, "dry_run => false"),
        ["locked only 1 expired retry"]
    );
}

#[test]
fn what_was_locked_when_its_lease_ended_is_taken_over_by_a_later_look() {
    let (database, mut session) = open();
    let tasks = session.create_many("one", 2);
    let claims = session.claim(&Ask::by("lost", 2));
    assert_eq!(claims.len(), 2);
    inside::lease_ended(&mut session, "lost", 1);
    let mut operator = database.connect();
    operator.execute("BEGIN");
    operator.query("SELECT tasker.cancel_step($1)", &[&claims[0].step]);
    let done = session.one::<i64>(
        "SELECT done FROM tasker.run_maintenance() WHERE duty = 'leases'",
        &[],
    );
    assert!(done >= 1);
    operator.execute("ROLLBACK");
    session.query("SELECT * FROM tasker.run_maintenance()", &[]);
    for task in tasks {
        assert_eq!(session.step_state(task, "step_1"), "error");
    }
}

#[test]
fn the_stats_of_a_worker_count_its_runs_of_the_period_and_what_it_holds() {
    let (_database, mut session) = open();
    session.create_many("one", 5);
    let claims = session.claim(&Ask::by("busy", 5));
    session.complete(&claims[0], &json!({}));
    session.complete(&claims[1], &json!({}));
    session.fail_for_good(&claims[2]);
    inside::set_run(&mut session, claims[0].step, 4.0);
    inside::claimed_earlier(&mut session, "busy", 100);
    session.query("SELECT tasker.register_handlers('silent', '{x}')", &[]);
    let stats = |session: &mut Session| -> Vec<String> {
        session.all(
            "SELECT concat_ws(' ', worker_id, worker_status, completed_runs, failed_runs, lost_runs, longest_seconds >= 4, held_steps, stale_claims,
                              extract(minute FROM oldest_claim_age), last_seen_at IS NOT NULL)
             FROM tasker.get_processor_claim_stats()",
            &[],
        )
    };
    assert_eq!(stats(&mut session), ["busy active 2 1 0 t 2 2 1 t"]);
    release(&mut session, "'slow', false");
    assert_eq!(stats(&mut session), ["busy active 2 1 2 t 0 0 t"]);
    for claim in &claims {
        inside::age(&mut session, claim.task, 70);
    }
    assert_eq!(stats(&mut session), [""; 0]);
    assert_eq!(
        session
            .query(
                "SELECT * FROM tasker.get_processor_claim_stats('2 hours')",
                &[]
            )
            .len(),
        1
    );
}

// ---- refusals, rights, probes -----------------------------------------------------------------------------------------

#[test]
fn bad_input_is_refused() {
    let (_database, mut session) = open();
    for (call, code) in [
        ("health_status(NULL)", "22004"),
        ("health_status('0')", "22023"),
        ("health_status('-1 hour')", "22023"),
        ("health_status('11 years')", "22023"),
        ("get_processor_claim_stats(NULL)", "22004"),
        ("get_processor_claim_stats('-1 second')", "22023"),
        ("force_release_stale_claims(NULL)", "22004"),
        ("force_release_stale_claims('slow', NULL)", "22004"),
        ("force_release_stale_claims('fine')", "22023"),
        ("force_release_stale_claims('Expired', false)", "22023"),
    ] {
        session
            .fails(&format!("SELECT * FROM tasker.{call}"), &[])
            .is(code);
    }
}

#[test]
fn a_monitoring_user_needs_the_reader_role_and_nothing_more() {
    let (database, mut session) = open();
    for role in ["reader", "worker", "operator"] {
        session.execute(&format!(
            "CREATE ROLE health_{role} LOGIN; GRANT tasker_{role} TO health_{role}"
        ));
    }
    held(&mut session, "one_held", json!({}));
    inside::lease_ended(&mut session, "one_held", 1);
    let reads = [
        "tasker.health_ready()",
        "tasker.health_status()",
        "tasker.health_alerts",
        "tasker.stale_claims",
        "tasker.get_processor_claim_stats()",
    ];
    let mut reader = database.connect_as("health_reader");
    let mut worker = database.connect_as("health_worker");
    assert!(reader.one::<bool>("SELECT tasker.health_live()", &[]));
    for what in reads {
        reader.query(&format!("SELECT * FROM {what}"), &[]);
        worker
            .fails(&format!("SELECT * FROM {what}"), &[])
            .is("42501");
    }
    assert_eq!(levels(&mut reader).len(), 1);
    reader
        .fails("SELECT * FROM tasker.force_release_stale_claims()", &[])
        .is("42501");
    let mut operator = database.connect_as("health_operator");
    assert_eq!(release(&mut operator, "dry_run => false").len(), 1);
    operator
        .fails("SELECT tasker_engine.take_over_claims('{}', '{}')", &[])
        .is("42501");
}

/// Exit status and the one line of a probe.
fn probe(name: &str, arguments: &[&str]) -> (i32, String) {
    let bin = program("psql");
    let folder = bin.parent().expect("psql is in a folder");
    let path = format!(
        "{}:{}",
        folder.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let output = Command::new(root().join("examples/probes").join(name))
        .args(arguments)
        .env("PATH", path)
        .env("TASKER_PROBE_TIMEOUT", "5")
        .output()
        .expect("the probe runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.lines().count() <= 1 || arguments == ["--help"],
        "{text}"
    );
    (output.status.code().unwrap_or(-1), text.trim().to_owned())
}

#[test]
fn the_probes_say_in_one_line_and_by_their_status_how_it_is() {
    let (database, mut session) = open();
    session.execute("CREATE ROLE health_probe LOGIN; GRANT tasker_reader TO health_probe");
    let server = database.server();
    let target = |database: &str, user: &str| {
        format!(
            "host={} port=5432 dbname={database} user={user}",
            server.folder().display()
        )
    };
    let here = target(database.name(), "health_probe");
    assert_eq!(probe("tasker-live", &[&here]), (0, "live".into()));
    assert_eq!(
        probe("tasker-ready", &[&here]),
        (0, "ready, in state normal".into())
    );
    assert_eq!(
        probe("tasker-check", &[&here]),
        (0, "healthy: in state normal".into())
    );
    session.create("one");
    let (status, line) = probe("tasker-check", &[&here]);
    assert_eq!(status, 1);
    assert!(
        line.starts_with("degraded: 0 workers live; 1 steps ready"),
        "{line}"
    );
    run_tasks(&mut session, 9, 10);
    let (status, line) = probe("tasker-check", &[&here]);
    assert_eq!(status, 2);
    assert!(line.starts_with("unhealthy: 10 of 10 tasks"), "{line}");

    force(&mut session, "graceful_shutdown");
    assert_eq!(probe("tasker-live", &[&here]).0, 0);
    let (status, line) = probe("tasker-ready", &[&here]);
    assert_eq!(status, 1);
    assert!(line.contains("graceful_shutdown"), "{line}");
    assert_eq!(probe("tasker-ready", &["--while-draining", &here]).0, 0);

    // The extension is missing, the role has no right, the server refuses: it lives, and cannot be asked more.
    session.execute("CREATE ROLE health_no_right LOGIN");
    let bare = Database::empty();
    for (conninfo, word) in [
        (target(bare.name(), "postgres"), "schema"),
        (
            target(database.name(), "health_no_right"),
            "permission denied",
        ),
        (target(database.name(), "nobody_at_all"), "does not exist"),
    ] {
        let (status, line) = probe("tasker-live", &[&conninfo]);
        assert_eq!(status, 0, "{line}");
        assert!(
            line.starts_with("live, although") && line.contains(word),
            "{line}"
        );
        for name in ["tasker-ready", "tasker-check"] {
            let (status, line) = probe(name, &[&conninfo]);
            assert_eq!(status, 2, "{line}");
            assert!(
                line.starts_with("cannot ask") && line.contains(word),
                "{line}"
            );
        }
    }
    // There is no server.
    for name in ["tasker-live", "tasker-ready", "tasker-check"] {
        let (status, line) = probe(name, &["host=/nowhere dbname=postgres"]);
        assert_eq!(status, 2);
        assert!(line.starts_with("cannot ask"), "{line}");
    }
}

#[test]
fn the_probes_explain_themselves_and_refuse_what_they_do_not_know() {
    for name in ["tasker-live", "tasker-ready", "tasker-check"] {
        let (status, text) = probe(name, &["--help"]);
        assert_eq!(status, 0);
        assert!(
            text.contains("Exit status") && text.contains(name),
            "{text}"
        );
        assert_eq!(probe(name, &["--nonsense"]).0, 2);
        assert_eq!(probe(name, &["a", "b"]).0, 2);
    }
    assert_eq!(probe("tasker-live", &["--while-draining"]).0, 2);
}
