//! Workers come and go: one that ends says so, one whose lease has ended is lost, and their rows do not stay.

use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Database, Session, Value, inside, json, shapes};

fn with_tasks(count: usize) -> (Database, Session) {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("one", 1).register(&mut session);
    session.create_many("one", count);
    (database, session)
}

fn state(session: &mut Session, worker: &str) -> Option<String> {
    session
        .all(
            "SELECT state FROM tasker.workers WHERE worker_id = $1",
            &[&worker],
        )
        .pop()
}

fn end(session: &mut Session, worker: &str) -> i32 {
    session.one("SELECT tasker.end_worker($1)", &[&worker])
}

fn is_live(session: &mut Session, worker: &str) -> bool {
    session.one(
        "SELECT live FROM tasker.worker_metrics WHERE worker_id = $1",
        &[&worker],
    )
}

#[test]
fn a_worker_that_ends_gives_back_what_it_holds_and_is_shown_as_ended() {
    let (_database, mut session) = with_tasks(3);
    let claims = session.claim(&Ask::by("worker", 2));
    assert_eq!(state(&mut session, "worker").as_deref(), Some("busy"));
    assert_eq!(end(&mut session, "worker"), 2);
    assert_eq!(state(&mut session, "worker").as_deref(), Some("ended"));
    assert!(!is_live(&mut session, "worker"));
    assert_eq!(
        session.try_complete(&claims[0]).unwrap_err().code,
        "55006",
        "stale"
    );
    assert_eq!(session.claim(&Ask::by("other", 3)).len(), 3);
    // It waits for nothing any more, and one that claims again goes on.
    assert!(session.claim(&Ask::by("worker", 1)).is_empty());
    assert_eq!(state(&mut session, "worker").as_deref(), Some("idle"));
    assert_eq!(end(&mut session, "worker"), 0);
    assert_eq!(state(&mut session, "worker").as_deref(), Some("ended"));
    assert_eq!(end(&mut session, "unknown"), 0);
}

#[test]
fn a_worker_whose_lease_has_ended_is_lost_before_and_after_its_steps_are_taken_over() {
    let (_database, mut session) = with_tasks(1);
    session.claim(&Ask::by("killed", 1));
    inside::lease_ended(&mut session, "killed", 1);
    assert_eq!(state(&mut session, "killed").as_deref(), Some("lost"));
    assert_eq!(session.claim_soon(&Ask::by("other", 1), 1).len(), 1);
    assert_eq!(state(&mut session, "killed").as_deref(), Some("lost"));
    let held: (i64, bool) = {
        let row = &session.query(
            "SELECT held_steps, next_lease_expires_at IS NULL FROM tasker.workers WHERE worker_id = 'killed'",
            &[],
        )[0];
        (row.get(0), row.get(1))
    };
    assert_eq!(held, (0, true));
    // A slow one hears of it from its heartbeat.
    let told: Vec<String> = session.all(
        "SELECT status FROM tasker.heartbeat('killed', '1 min')",
        &[],
    );
    assert_eq!(told, ["lost"]);
    assert_eq!(state(&mut session, "killed").as_deref(), Some("active"));
}

#[test]
fn the_row_of_a_worker_goes_when_it_holds_nothing_and_the_log_keeps_its_name() {
    let (_database, mut session) = with_tasks(3);
    let claim = session.claim_one("ended");
    session.complete(&claim, &json!({}));
    let silent = session.claim_one("silent");
    session.complete(&silent, &json!({}));
    session.claim_one("holds");
    session.claim(&Ask::by("lives", 1));
    for worker in ["ended", "holds"] {
        inside::ended(&mut session, worker, 61);
    }
    inside::silence(&mut session, "silent", 86_500);
    assert_eq!(inside::remove_workers(&mut session), 2);
    assert_eq!(inside::remove_workers(&mut session), 0);
    assert_eq!(inside::worker_rows(&mut session), [2, 2, 0]);
    let logged: Vec<String> = session.all(
        "SELECT DISTINCT worker_id FROM tasker.workflow_step_transitions ORDER BY 1",
        &[],
    );
    assert_eq!(logged, ["ended", "holds", "silent"]);
    // The oldest task decides whether the log may name it.
    session.query("SELECT * FROM tasker.purge_tasks('0')", &[]);
    assert_eq!(inside::remove_workers(&mut session), 0);
    inside::age_names(&mut session, 3600);
    assert_eq!(inside::remove_workers(&mut session), 2);
    assert_eq!(inside::worker_rows(&mut session), [2, 0, 0]);
}

#[test]
fn engine_workers_that_are_alive_keep_their_rows_although_their_claims_do_not_say_that_they_were_seen()
 {
    let (_database, mut session) = with_tasks(0);
    let living = format!("run_steps/{}", session.pid());
    for worker in [
        &living,
        "manual",
        "run_steps/999999999",
        "tasker-executor/gone",
    ] {
        inside::seen_before(&mut session, worker, 2 * 86_400);
    }
    assert_eq!(
        inside::remove_workers(&mut session),
        2 + 2,
        "rows, then their names"
    );
    let mut left: Vec<String> = session.all("SELECT worker_id FROM tasker.workers", &[]);
    left.sort();
    assert_eq!(left, ["manual".to_owned(), living]);
}

#[test]
fn a_session_that_knows_a_number_without_a_row_writes_the_row_again() {
    let (database, mut session) = with_tasks(2);
    let mut other = database.connect();
    assert_eq!(session.claim(&Ask::by("worker", 1)).len(), 1);
    inside::lose_worker(&mut other, "worker");
    // Its last claim got a step, this one does not: it says that it waits.
    session.claim(&Ask::by("other", 1));
    assert!(session.claim(&Ask::by("worker", 1)).is_empty());
    assert_eq!(inside::worker_rows(&mut other), [2, 0, 0]);
    assert_eq!(state(&mut other, "worker").as_deref(), Some("busy"));
}

#[test]
fn a_claim_under_a_number_that_another_session_replaced_is_repeated() {
    let (database, mut session) = with_tasks(1);
    let mut other = database.connect();
    assert_eq!(session.claim(&Ask::by("worker", 1)).len(), 1);
    assert!(session.claim(&Ask::by("worker", 1)).is_empty());
    inside::lose_worker(&mut other, "worker");
    assert!(other.claim(&Ask::by("worker", 1)).is_empty());
    session.create("one");
    let refused = session.try_claim(&Ask::by("worker", 1)).unwrap_err();
    assert_eq!(refused.code, "40001");
    assert_eq!(session.claim(&Ask::by("worker", 1)).len(), 1);
    // Only the claim from before stays without a row: it was made under the number that is gone.
    assert_eq!(inside::worker_rows(&mut other), [1, 0, 1]);
}

/// Buffers touched by one statement, whatever it calls inside.
fn buffers(session: &mut Session, sql: &str) -> i64 {
    let plan: Value = session.one(
        &format!("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}"),
        &[],
    );
    ["Shared Hit Blocks", "Shared Read Blocks"]
        .iter()
        .filter_map(|name| plan[0]["Plan"][name].as_i64())
        .sum()
}

/// The median of several runs; the first one plans.
fn median_buffers(session: &mut Session, sql: &str) -> i64 {
    let mut all: Vec<i64> = (0..8).map(|_| buffers(session, sql)).skip(1).collect();
    all.sort_unstable();
    all[3]
}

#[test]
fn lists_of_live_workers_cost_the_same_with_many_on_record_that_are_gone() {
    let (_database, mut session) = with_tasks(10);
    session.query(
        "SELECT * FROM tasker.claim_steps('worker', max_steps => 1)",
        &[],
    );
    let lists = [
        "SELECT live_workers FROM tasker.registered_namespaces",
        "SELECT live_workers FROM tasker.registry_statistics",
        "SELECT * FROM tasker_engine.unserved_queues",
        "SELECT * FROM tasker_engine.unserved_handlers",
    ];
    let few = lists.map(|sql| median_buffers(&mut session, sql));
    inside::many_ended(&mut session, 20_000);
    inside::many_silent(&mut session, 20_000);
    let many = lists.map(|sql| median_buffers(&mut session, sql));
    println!("buffers: {few:?}, with 40,000 that are gone {many:?}");
    for (list, (few, many)) in lists.iter().zip(few.iter().zip(many)) {
        assert!(many <= few + 50, "{list}: {many} instead of {few}");
    }
}

#[test]
fn claims_and_health_cost_the_same_with_many_workers_on_record_that_are_gone() {
    let (_database, mut session) = with_tasks(100);
    let claim = "SELECT * FROM tasker.claim_steps('worker', max_steps => 1)";
    let health = "SELECT * FROM tasker.health_status()";
    let few = [claim, health].map(|sql| median_buffers(&mut session, sql));
    inside::many_ended(&mut session, 20_000);
    while inside::remove_workers(&mut session) > 0 {}
    session.execute("VACUUM tasker_engine.workers");
    assert_eq!(inside::worker_rows(&mut session), [1, 20_000, 0]);
    let many = [health, claim].map(|sql| median_buffers(&mut session, sql));
    // They cost no more even while their rows are there, nor do those of workers that were killed today.
    inside::many_ended(&mut session, 20_000);
    inside::many_silent(&mut session, 20_000);
    let present = [health, claim].map(|sql| median_buffers(&mut session, sql));
    println!("buffers of a claim and health: {few:?}, with names {many:?}, with rows {present:?}");
    for [health, claim] in [many, present] {
        // Deeper indexes, and looks of the planner at their ends.
        assert!(health <= few[1] + 50, "{health} instead of {}", few[1]);
        assert!(claim <= few[0] + 3, "{claim} instead of {}", few[0]);
    }
}

/// The anonymous memory of a backend in KB: what it has allocated, shared buffers left out.
fn own_memory(pid: i32) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.expect("Linux says it").trim().trim_end_matches(" kB");
    number.parse().expect("a number")
}

#[test]
fn a_session_of_very_many_workers_forgets_the_oldest_and_claims_right_for_them() {
    let (_database, mut session) = with_tasks(2);
    let ask = |worker| Ask {
        lease: "1 hour",
        ..Ask::by(worker, 1)
    };
    assert_eq!(session.claim(&ask("early")).len(), 1);
    let number = |session: &mut Session| -> Vec<i32> { inside::worker_numbers(session, "early") };
    let first = number(&mut session);
    let pid = session.pid();
    // As long as a name can be: what is remembered for each is 1 KB.
    let claim = |session: &mut Session, from: i32, to: i32| {
        for no in from..to {
            let worker = format!("{no:05}{}", "\u{1F980}".repeat(250));
            session.claim(&Ask {
                namespaces: vec!["elsewhere"],
                ..Ask::by(&worker, 1)
            });
        }
    };
    claim(&mut session, 0, 1100);
    let before = own_memory(pid);
    claim(&mut session, 1100, 6000);
    let more = own_memory(pid) - before;
    // Of 4,900 names nearly 5 MB would stay.
    println!("{more} KB");
    assert!(more < 2500, "{more} KB more");
    let row = &session.query(
        "SELECT count(*), count(DISTINCT worker_id) FROM tasker.workers",
        &[],
    )[0];
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (6001, 6001));
    // The first is forgotten, and goes on under its number.
    assert_eq!(session.claim(&ask("early")).len(), 1);
    assert_eq!(number(&mut session), first);
    assert_eq!(first.len(), 1);
    let held: i64 = session.count(
        "SELECT count(*) FROM tasker.heartbeat('early') WHERE status = 'extended'",
        &[],
    );
    assert_eq!(held, 2);
}
