//! check_integrity and repair_integrity: the queue is derived from the rows, nothing beside them notices, and they cost little.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tasker_client_tests::race::together;
use tasker_client_tests::worker::{Ask, done};
use tasker_client_tests::{Database, Session, Uuid, inside, json, patience, scaled, shapes};

const CHECK: &str =
    "SELECT concat_ws(' ', problem, task_uuid, step_uuid) FROM tasker.check_integrity()";
const REPAIR: &str =
    "SELECT problem || ': ' || action FROM tasker.repair_integrity(dry_run => false)";

/// Loses the queue and builds it again; how many entries were missing.
#[track_caller]
fn rebuild(session: &mut Session) -> usize {
    let before = inside::queue(session);
    inside::lose_queue(session);
    let found: Vec<(Uuid, Uuid)> = session
        .query(
            "SELECT task_uuid, step_uuid FROM tasker.repair_integrity() ORDER BY step_uuid",
            &[],
        )
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    assert_eq!(
        inside::queue(session),
        Vec::<String>::new(),
        "a dry run changes nothing"
    );
    let repaired = session.all::<String>(REPAIR, &[]);
    assert_eq!(
        repaired,
        vec!["missing_queue_entry: queue entry added"; found.len()]
    );
    assert_eq!(inside::queue(session), before);
    assert_eq!(session.all::<String>(REPAIR, &[]), Vec::<String>::new());
    found.len()
}

/// One task in a namespace of its own.
fn task(session: &mut Session, template: &tasker_client_tests::Template) -> Uuid {
    template.register(session);
    session.create(template.name())
}

#[test]
fn every_condition_of_a_step_is_told_from_the_rows_alone() {
    let database = Database::new();
    let mut session = database.connect();
    task(&mut session, &shapes::parallel_merge());
    assert_eq!(rebuild(&mut session), 4, "the roots");
    for expected in [3, 3, 3] {
        // fetch_user_data, and its only child in its place; then the same of orders.
        let claim = session.claim_one("worker");
        if claim.name.starts_with("fetch_inventory") || claim.name.starts_with("fetch_pricing") {
            session.fail_and_wait(&claim);
            assert_eq!(rebuild(&mut session), expected + 1, "a retry in the future");
            inside::make_due(&mut session, claim.task);
        } else {
            assert_eq!(
                rebuild(&mut session),
                expected,
                "in progress: {}",
                claim.name
            );
            session.complete(&claim, &json!({}));
            assert_eq!(rebuild(&mut session), expected + 1, "a child of one parent");
        }
    }
    session.work(|claim| {
        if claim.name == "merge_all_data" {
            tasker_client_tests::Act::FailForGood
        } else {
            done()
        }
    });
    assert_eq!(rebuild(&mut session), 0, "failed permanently");
    let merge: Uuid = session.one(
        "SELECT step_uuid FROM tasker.workflow_steps WHERE name = 'merge_all_data'",
        &[],
    );
    session.query("SELECT tasker.retry_step($1)", &[&merge]);
    assert_eq!(rebuild(&mut session), 1, "to be tried again");
    let claim = session.claim_one("worker");
    session.query("SELECT tasker.release_steps('worker')", &[]);
    assert_eq!(rebuild(&mut session), 1, "given back");
    assert_eq!(session.work(|_| done()), ["merge_all_data"]);
    assert_eq!(session.task_state(claim.task), "complete");
    assert_eq!(rebuild(&mut session), 0, "ended");
}

#[test]
fn unreachable_held_cancelled_bypassed_later_and_paused_steps_are_told_apart() {
    let database = Database::new();
    let mut session = database.connect();
    let unreachable = task(&mut session, &shapes::small_diamond());
    session.work_through("start");
    let claim = session.claim_one("worker");
    session.fail_for_good(&claim);
    assert_eq!(rebuild(&mut session), 1, "the other branch, not the end");
    session.query("SELECT tasker.cancel_task($1)", &[&unreachable]);
    assert_eq!(rebuild(&mut session), 0, "cancelled");

    let held = task(&mut session, &shapes::chain("held", 2));
    session.query("SELECT tasker.transition_task($1, 'error')", &[&held]);
    assert_eq!(rebuild(&mut session), 0, "held");
    session.query("SELECT tasker.retry_task($1)", &[&held]);
    assert_eq!(rebuild(&mut session), 1, "taken up");
    session.work(|_| done());

    shapes::chain("paused", 1)
        .with("namespace_name", json!("paused"))
        .register(&mut session);
    session.query(
        "SELECT tasker.create_task('paused', namespace => 'paused', priority => 4)",
        &[],
    );
    session.query("SELECT tasker.pause_namespace('paused')", &[]);
    session.query(
        "SELECT tasker.create_task('held', run_at => now() + interval '1 hour')",
        &[],
    );
    assert_eq!(rebuild(&mut session), 2, "paused, and later");

    session.execute(
        r#"SELECT tasker.register_template('{"name": "bypass", "steps": [{"name": "a", "handler": "h", "skippable": true},
             {"name": "b", "handler": "h", "depends_on_steps": ["a"]}]}')"#,
    );
    session.query(
        "SELECT tasker.create_task('bypass', bypass_steps => '[\"a\"]')",
        &[],
    );
    assert_eq!(rebuild(&mut session), 3, "behind a bypassed step");

    let claim = session
        .claim(&Ask {
            lease: "1 millisecond",
            ..Ask::by("lost", 1)
        })
        .remove(0);
    std::thread::sleep(Duration::from_millis(30));
    session.query("SELECT tasker.run_maintenance()", &[]);
    assert_eq!(session.step_state(claim.task, "b"), "error");
    assert_eq!(rebuild(&mut session), 3, "of a lost worker");
    assert_eq!(session.work(|_| done()), ["b"]);
}

/// What operators do to any task, refused or not.
const BY_HAND: [&str; 6] = [
    "SELECT tasker.cancel_task(task_uuid) FROM tasker.tasks WHERE state = 'in_progress' ORDER BY random() LIMIT 1",
    "SELECT tasker.transition_task(task_uuid, 'error') FROM tasker.tasks WHERE state = 'in_progress' ORDER BY random() LIMIT 1",
    "SELECT tasker.retry_task(task_uuid) FROM tasker.tasks WHERE state = 'error' ORDER BY random() LIMIT 1",
    "SELECT tasker.resolve_step_manually(step_uuid) FROM tasker.workflow_steps WHERE state = 'pending' ORDER BY random() LIMIT 1",
    "SELECT tasker.cancel_step(step_uuid) FROM tasker.workflow_steps WHERE state = 'pending' ORDER BY random() LIMIT 1",
    "SELECT tasker.resolve_task_manually(task_uuid) FROM tasker.tasks WHERE state = 'error' ORDER BY random() LIMIT 1",
];

/// Works until nothing is open: most steps succeed, some fail, are given back or run out of time.
fn work_until_done(session: &mut Session, worker: &str) {
    let open = "SELECT count(*) FROM tasker.tasks WHERE state IN ('pending', 'in_progress')";
    let mut reports = vec![];
    let mut turns = 0;
    while session.count(open, &[]) > 0 {
        turns += 1;
        let lease = if turns % 7 == 0 {
            "1 millisecond"
        } else {
            "30 seconds"
        };
        let ask = Ask {
            lease,
            ..Ask::by(worker, 3)
        };
        // Refused: what an operator or another worker has taken meanwhile.
        let (_, claims) = session.report_and_claim(&ask, &reports);
        reports = claims
            .iter()
            .map(|claim| match fastrand::u8(..20) {
                0 | 1 => claim.failed(true),
                2 => claim.failed(false),
                _ => claim.done(json!({})),
            })
            .collect();
        if turns % 9 == 0 {
            session.query("SELECT tasker.release_steps($1)", &[&worker]);
            reports.clear();
        }
    }
}

#[test]
fn under_load_no_moment_shows_a_disagreement_and_a_repair_has_nothing_to_do() {
    let database = Database::new();
    let mut session = database.connect();
    for template in [
        shapes::small_diamond(),
        shapes::parallel_merge(),
        shapes::chain("chain", 4),
    ] {
        template.register(&mut session);
        session.create_many(template.name(), scaled(60, 1000));
    }
    let working = AtomicBool::new(true);
    let busy = || working.load(Ordering::Relaxed);
    let rounds = together(7, |number| {
        let mut session = database.connect();
        let mut rounds = 0;
        match number {
            0 | 1 => {
                let query = [CHECK, REPAIR][number];
                while busy() {
                    assert_eq!(session.all::<String>(query, &[]), Vec::<String>::new());
                    rounds += 1;
                }
            }
            2 => {
                while busy() {
                    let _ = session.attempt_with(BY_HAND[fastrand::usize(..6)], &[]);
                    rounds += 1;
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            _ => {
                work_until_done(&mut session, &format!("worker-{number}"));
                working.store(false, Ordering::Relaxed);
            }
        }
        rounds
    });
    assert!(rounds[..3].iter().all(|count| *count > 5), "{rounds:?}");
    assert_eq!(session.all::<String>(CHECK, &[]), Vec::<String>::new());
}

#[test]
fn a_check_and_a_repair_wait_for_no_claim_and_no_claim_waits_for_them() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::small_diamond().register(&mut session);
    let spoiled = session.create("small_diamond");
    session.create_many("small_diamond", 3);
    let mut claiming = database.connect();
    claiming.execute("BEGIN");
    let mut held = claiming.claim_all("in flight");
    assert_eq!(held.len(), 4);
    claiming.execute("ROLLBACK; BEGIN");
    held = claiming.claim(&Ask::by("in flight", 1));
    assert_eq!(held[0].task, spoiled);
    let free = session.create("small_diamond");
    inside::spoil(
        &mut session,
        free,
        "UPDATE tasks SET open_leaves = 7 WHERE task_uuid = $1",
    );
    session.execute(&format!("SET lock_timeout = '{}s'", patience(5).as_secs()));
    assert_eq!(session.all::<String>(CHECK, &[]).len(), 1);
    session.execute("BEGIN");
    assert_eq!(
        session.all::<String>(REPAIR, &[]),
        ["wrong_open_leaves: open leaves counted"]
    );
    // The repair is not committed yet: claims pass by the task that it holds.
    let mut other = database.connect();
    other.execute(&format!("SET lock_timeout = '{}s'", patience(5).as_secs()));
    let claims = other.claim_all("beside");
    assert_eq!(claims.len(), 3);
    assert!(
        claims
            .iter()
            .all(|claim| claim.task != free && claim.task != spoiled)
    );
    claiming.execute("COMMIT");
    claiming.complete(&held[0], &json!({}));
    session.execute("COMMIT");
    assert_eq!(session.all::<String>(CHECK, &[]), Vec::<String>::new());
}

#[test]
fn a_repair_waits_for_the_report_in_flight_about_its_task_and_sees_what_it_did() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("chain", 1).register(&mut session);
    let task = session.create("chain");
    let claim = session.claim_one("worker");
    inside::spoil(
        &mut session,
        task,
        "UPDATE tasks SET open_leaves = 2 WHERE task_uuid = $1",
    );
    let mut reporting = database.connect();
    reporting.execute("BEGIN");
    reporting.complete(&claim, &json!({}));
    let mut repairing = database.connect();
    let pid = repairing.pid();
    let repaired = std::thread::scope(|scope| {
        let repair = scope.spawn(move || repairing.all::<String>(REPAIR, &[]));
        session.wait_until_blocked(pid);
        reporting.execute("COMMIT");
        repair.join().expect("it ends")
    });
    assert_eq!(repaired[0], "task_not_ended: task ended");
    assert_eq!(session.task_state(task), "complete");
    assert_eq!(session.all::<String>(CHECK, &[]), Vec::<String>::new());
}

/// The anonymous memory of the backend of a session, in MB: what it has allocated, shared buffers left out.
fn own_memory(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.expect("Linux says it").trim().trim_end_matches(" kB");
    number.parse::<u64>().expect("a number") / 1024
}

#[test]
fn a_million_steps_are_checked_in_seconds_and_in_constant_memory_and_a_cancel_ends_it_at_once() {
    let database = Database::new();
    let mut session = database.connect();
    session.execute("SET statement_timeout = 0");
    shapes::chain("chain", 5).register(&mut session);
    let tasks = scaled(10_000, 200_000);
    for _ in 0..tasks / 10_000 {
        session.create_many("chain", 10_000);
    }
    // An entry, a log row and five steps for each: what is lost is found in the same time.
    let mut checking = database.connect();
    checking.execute("SET statement_timeout = 0; SET work_mem = '1GB'");
    let pid = checking.pid();
    checking.query("SELECT FROM tasker.tasks LIMIT 1", &[]);
    let before = own_memory(pid);
    let done = AtomicBool::new(false);
    let (took, most) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(own_memory(pid));
                std::thread::sleep(Duration::from_millis(10));
            }
            most
        });
        let begin = Instant::now();
        let found = checking.all::<String>(CHECK, &[]);
        let took = begin.elapsed();
        done.store(true, Ordering::Relaxed);
        assert_eq!(found, Vec::<String>::new());
        (took, watch.join().expect("it ends").saturating_sub(before))
    });
    println!("{} steps: {took:?}, {most} MB", 5 * tasks);
    assert!(took < patience(30), "{took:?}");
    // More steps take more temporary files; the short form would notice rows that are all fetched at once.
    assert!(most < scaled(12, 200) as u64, "{most} MB");

    // Whenever the time is up, the call ends within the next tenth of a second; a busy machine can be late now and then.
    let fastest = (0..3).fold(took, |fastest, _| {
        let begin = Instant::now();
        checking.all::<String>(CHECK, &[]);
        fastest.min(begin.elapsed())
    });
    let mut late: Vec<Duration> = (1..=9)
        .map(|tenth| {
            let limit = fastest.min(Duration::from_secs(2)) * tenth / 24;
            checking.execute(&format!(
                "SET statement_timeout = {}",
                limit.as_millis().max(1)
            ));
            let begin = Instant::now();
            checking.fails(CHECK, &[]).is("57014");
            begin.elapsed().saturating_sub(limit)
        })
        .collect();
    late.sort_unstable();
    println!("late by {late:?}");
    assert!(late[4] < patience(1) / 10, "{late:?}");
}

#[test]
fn of_two_repairs_at_once_the_second_finds_nothing_and_each_step_runs_once() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("chain", 2).register(&mut session);
    session.create_many("chain", 200);
    inside::lose_queue(&mut session);
    let repaired = together(2, |_| database.connect().all::<String>(REPAIR, &[]).len());
    assert_eq!(repaired.iter().sum::<usize>(), 200, "{repaired:?}");

    // Entries that are there twice after all: a claim drops what the row contradicts.
    inside::double_queue(&mut session);
    let given: Vec<Uuid> = std::iter::from_fn(|| {
        let claims = session.claim_all("worker");
        claims
            .iter()
            .for_each(|claim| drop(session.complete(claim, &json!({}))));
        (!claims.is_empty()).then_some(claims)
    })
    .flatten()
    .map(|claim| claim.step)
    .collect();
    assert_eq!(given.len(), 400);
    assert_eq!(given.iter().collect::<HashSet<_>>().len(), 400);
}

#[test]
fn it_costs_in_proportion_even_with_the_statistics_of_empty_tables() {
    let database = Database::new();
    let mut session = database.connect();
    inside::without_statistics(&mut session);
    shapes::chain("chain", 3).register(&mut session);
    let tasks = scaled(30_000, 300_000);
    for _ in 0..tasks / 10_000 {
        session.create_many("chain", 10_000);
    }
    let begin = Instant::now();
    assert_eq!(session.all::<String>(REPAIR, &[]).len(), 0);
    inside::lose_queue(&mut session);
    assert_eq!(session.all::<String>(REPAIR, &[]).len(), tasks);
    // Each step against each entry would be some billions of comparisons.
    let limit = patience(20 * (tasks as u64 / 10_000));
    assert!(begin.elapsed() < limit, "{:?}", begin.elapsed());

    inside::lose_queue(&mut session);
    session.execute("SET statement_timeout = '20ms'");
    session.fails(REPAIR, &[]).is("57014");
}

#[test]
fn an_entry_that_contradicts_the_row_of_its_step_counts_as_missing() {
    let database = Database::new();
    let mut session = database.connect();
    task(&mut session, &shapes::chain("one", 1));
    inside::shift_queue(&mut session);
    assert_eq!(session.all::<String>(REPAIR, &[]).len(), 1);
    assert_eq!(session.work(|_| done()).len(), 1);
}

#[test]
fn only_an_administrator_repairs_and_only_an_operator_checks() {
    let database = Database::new();
    let mut session = database.connect();
    session
        .fails("SELECT * FROM tasker.repair_integrity(NULL)", &[])
        .is("22004")
        .says(&["dry_run"]);
    for role in ["tasker_reader", "tasker_worker", "tasker_operator"] {
        session.execute(&format!("SET ROLE {role}"));
        session
            .fails("SELECT * FROM tasker.repair_integrity()", &[])
            .is("42501");
        session.execute("RESET ROLE");
    }
    for (role, allowed) in [
        ("tasker_reader", false),
        ("tasker_worker", false),
        ("tasker_operator", true),
    ] {
        session.execute(&format!("SET ROLE {role}"));
        let refused = session.attempt_with("SELECT * FROM tasker.check_integrity()", &[]);
        assert_eq!(refused.is_ok(), allowed, "{role}: {refused:?}");
        session.execute("RESET ROLE");
    }
    session.execute("SET ROLE tasker_admin");
    assert_eq!(
        session
            .query("SELECT * FROM tasker.repair_integrity()", &[])
            .len(),
        0
    );
}
