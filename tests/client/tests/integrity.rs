//! repair_integrity: what is found, what is repaired, and that nothing beside it notices.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tasker_client_tests::race::together;
use tasker_client_tests::worker::{Ask, done};
use tasker_client_tests::{Database, Session, Uuid, inside, json, patience, scaled, shapes};

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

#[test]
fn beside_claims_and_reports_it_finds_nothing_and_blocks_no_session() {
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
    let open = "SELECT count(*) FROM tasker.tasks WHERE state IN ('pending', 'in_progress')";
    let rounds = together(5, |number| {
        let mut session = database.connect();
        let mut rounds = 0;
        if number == 0 {
            while working.load(Ordering::Relaxed) {
                assert_eq!(session.all::<String>(REPAIR, &[]), Vec::<String>::new());
                rounds += 1;
            }
            return rounds;
        }
        let worker = format!("worker-{number}");
        let ask = Ask::by(&worker, 3);
        let mut reports = vec![];
        while session.count(open, &[]) > 0 {
            let (refused, claims) = session.report_and_claim(&ask, &reports);
            assert!(refused.is_empty());
            reports = claims
                .iter()
                .map(|claim| {
                    if claim.attempt == 1 && fastrand::u8(..10) == 0 {
                        claim.failed(true)
                    } else {
                        claim.done(json!({}))
                    }
                })
                .collect();
        }
        working.store(false, Ordering::Relaxed);
        rounds
    });
    assert!(rounds[0] > 5, "{rounds:?}");
    assert_eq!(
        session.all::<String>("SELECT DISTINCT state FROM tasker.tasks", &[]),
        ["complete"]
    );
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
fn only_an_administrator_repairs() {
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
    session.execute("SET ROLE tasker_admin");
    assert_eq!(
        session
            .query("SELECT * FROM tasker.repair_integrity()", &[])
            .len(),
        0
    );
}
