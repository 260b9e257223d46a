//! Races: two or more real sessions, released together, at least 200 rounds each (more with TASKER_LONG=1).

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tasker_client_tests::race::{Round, race, together};
use tasker_client_tests::worker::Ask;
use tasker_client_tests::{
    Claim, Database, Failure, Session, Template, Uuid, Value, json, patience, scaled, shapes,
};

fn rounds() -> usize {
    scaled(200, 2000)
}

fn prepared(template: &Template) -> (Database, Session) {
    let database = Database::new();
    let mut session = database.connect();
    template.register(&mut session);
    (database, session)
}

fn two() -> Template {
    shapes::wide("two", 2)
}

/// What a worker reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Say {
    Done,
    Broken,
}

const MIXES: [(Say, Say); 4] = [
    (Say::Done, Say::Done),
    (Say::Done, Say::Broken),
    (Say::Broken, Say::Done),
    (Say::Broken, Say::Broken),
];

/// Reports a step, every third time as part of the loop of a worker.
fn say(session: &mut Session, claim: &Claim, what: Say, round: usize) {
    let report = match what {
        Say::Done => claim.done(json!({"round": round})),
        Say::Broken => claim.failed(false),
    };
    if round.is_multiple_of(3) {
        let ask = Ask {
            namespaces: vec!["empty"],
            ..Ask::by("looping", 1)
        };
        let (refused, _) = session.report_and_claim(&ask, &[report]);
        assert!(refused.is_empty(), "refused: {refused:?}");
    } else {
        match what {
            Say::Done => assert_eq!(
                session.complete(claim, &json!({"round": round})),
                "complete"
            ),
            Say::Broken => assert_eq!(session.fail_for_good(claim), "error"),
        }
    }
}

/// Claims of the preparation outlast it, however long its form is.
fn preparing(most: i32) -> Ask<'static> {
    Ask {
        lease: "1 hour",
        ..Ask::by("preparing", most)
    }
}

/// Every ready step of the default namespace, each under a claim of its own, by name.
fn claim_singly(session: &mut Session) -> HashMap<String, HashMap<Uuid, Claim>> {
    let mut all: HashMap<String, HashMap<Uuid, Claim>> = HashMap::new();
    while let Some(claim) = session.claim(&preparing(1)).pop() {
        all.entry(claim.name.clone())
            .or_default()
            .insert(claim.task, claim);
    }
    all
}

fn by_task(claims: Vec<Claim>) -> HashMap<Uuid, Claim> {
    claims
        .into_iter()
        .map(|claim| (claim.task, claim))
        .collect()
}

/// Reports two steps of each of these tasks at the same instant, and says how the tasks ended.
fn report_both(
    database: &Database,
    tasks: &[Uuid],
    left: &HashMap<Uuid, Claim>,
    right: &HashMap<Uuid, Claim>,
    (left_says, right_says): (Say, Say),
) {
    let (mut one, mut other) = (database.connect(), database.connect());
    let _ = race(
        tasks.len(),
        |round| (round, tasks[round]),
        |(round, task)| say(&mut one, &left[task], left_says, *round),
        |(round, task)| say(&mut other, &right[task], right_says, *round),
    )
    .met();
}

#[track_caller]
fn all_ended_once(session: &mut Session, tasks: &[Uuid], state: &str) {
    assert_eq!(
        session.task_states(tasks),
        [format!("{state}: {}", tasks.len())]
    );
    let twice = session.count(
        "SELECT count(*) FROM (SELECT FROM tasker.task_transitions WHERE task_uuid = ANY ($1) AND to_state IN ('complete', 'error')
                               GROUP BY task_uuid HAVING count(*) <> 1) AS t",
        &[&tasks],
    );
    assert_eq!(twice, 0, "tasks that ended more than once");
}

// --- The last two reports of a task at once.

#[test]
fn a_thousand_tasks_whose_last_two_steps_complete_at_once_all_complete_exactly_once() {
    let (database, mut session) = prepared(&two());
    let tasks = session.create_many("two", scaled(1000, 10_000));
    let claims = claim_singly(&mut session);
    report_both(
        &database,
        &tasks,
        &claims["step_1"],
        &claims["step_2"],
        (Say::Done, Say::Done),
    );
    all_ended_once(&mut session, &tasks, "complete");
}

#[test]
fn two_last_reports_at_once_of_every_mix_leave_no_task_behind() {
    let (database, mut session) = prepared(&two());
    for mix in MIXES {
        let tasks = session.create_many("two", rounds());
        let claims = claim_singly(&mut session);
        report_both(&database, &tasks, &claims["step_1"], &claims["step_2"], mix);
        let ended = if mix == (Say::Done, Say::Done) {
            "complete"
        } else {
            "error"
        };
        all_ended_once(&mut session, &tasks, ended);
    }
}

#[test]
fn a_diamond_whose_branches_end_at_once_ends_in_error_in_both_orders() {
    let (database, mut session) = prepared(&shapes::small_diamond());
    for mix in [
        (Say::Done, Say::Broken),
        (Say::Broken, Say::Done),
        (Say::Broken, Say::Broken),
    ] {
        let tasks = session.create_many("small_diamond", scaled(400, 4000));
        complete_all(&mut session);
        let branches = claim_singly(&mut session);
        report_both(&database, &tasks, &branches["b"], &branches["c"], mix);
        all_ended_once(&mut session, &tasks, "error");
        assert!(
            session.claim_all("worker").is_empty(),
            "the end of a broken diamond was handed out"
        );
    }
}

#[test]
fn a_diamond_whose_branches_complete_at_once_releases_its_end_once() {
    let (database, mut session) = prepared(&shapes::small_diamond());
    let tasks = session.create_many("small_diamond", rounds());
    complete_all(&mut session);
    let branches = claim_singly(&mut session);
    report_both(
        &database,
        &tasks,
        &branches["b"],
        &branches["c"],
        (Say::Done, Say::Done),
    );
    let ends = session.claim_all("worker");
    assert_eq!(
        by_task(ends.clone()).len(),
        ends.len(),
        "an end was handed out twice"
    );
    assert_eq!(ends.len(), tasks.len());
    for end in &ends {
        assert_eq!(
            end.dependency_results
                .as_object()
                .map(|parents| parents.len()),
            Some(2)
        );
        session.complete(end, &json!({}));
    }
    all_ended_once(&mut session, &tasks, "complete");
}

/// Claims and completes what is ready now, as one batch.
fn complete_all(session: &mut Session) -> usize {
    let claims = session.claim_all("preparing");
    let reports: Vec<Value> = claims.iter().map(|claim| claim.done(json!({}))).collect();
    session.query(
        "SELECT * FROM tasker.report_steps('preparing', $1)",
        &[&Value::Array(reports)],
    );
    claims.len()
}

/// The second report while the first is open, then the first commits or rolls back: every order, by design.
#[test]
fn the_second_last_report_meets_the_first_uncommitted_one_in_every_mix() {
    for template in [two(), shapes::small_diamond()] {
        let (database, mut session) = prepared(&template);
        let names = if template.name() == "two" {
            ["step_1", "step_2"]
        } else {
            ["b", "c"]
        };
        for mix in MIXES {
            for (end, first_name, second_name) in [
                ("COMMIT", names[0], names[1]),
                ("COMMIT", names[1], names[0]),
                ("ROLLBACK", names[0], names[1]),
                ("ROLLBACK", names[1], names[0]),
            ] {
                let task = session.create(template.name());
                if template.name() != "two" {
                    assert_eq!(complete_all(&mut session), 1);
                }
                let claims = claim_singly(&mut session);
                let (first, second) = (&claims[first_name][&task], &claims[second_name][&task]);
                let (mut opener, mut other) = (database.connect(), database.connect());
                opener.execute("BEGIN");
                say(&mut opener, first, mix.0, 1);
                let pid = other.pid();
                std::thread::scope(|scope| {
                    let reporting = scope.spawn(|| say(&mut other, second, mix.1, 1));
                    wait_until_blocked_or(&mut session, pid, || reporting.is_finished());
                    opener.execute(end);
                });
                let what = format!("{} {mix:?} {end} {first_name} first", template.name());
                if end == "ROLLBACK" {
                    assert_eq!(
                        session.step_state(task, first_name),
                        "in_progress",
                        "{what}"
                    );
                    assert_eq!(session.task_state(task), "in_progress", "{what}");
                    say(&mut opener, first, mix.0, 1);
                }
                if mix == (Say::Done, Say::Done) {
                    complete_all(&mut session);
                    assert_eq!(session.task_state(task), "complete", "{what}");
                } else {
                    assert_eq!(session.task_state(task), "error", "{what}");
                }
            }
        }
    }
}

/// Waits until that backend waits for a lock, or until it needs to wait no longer.
fn wait_until_blocked_or(watcher: &mut Session, pid: i32, done: impl Fn() -> bool) {
    let deadline = Instant::now() + patience(10);
    while !done() {
        let blocked: bool = watcher.one(
            "SELECT coalesce(bool_or(wait_event_type = 'Lock'), false) FROM pg_stat_activity WHERE pid = $1",
            &[&pid],
        );
        if blocked {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "backend {pid} neither waits nor ends"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

// --- Batches that meet in the same tasks.

fn fan_in() -> Template {
    Template::new("fan_in")
        .step("a", &[])
        .step("b", &[])
        .step("c", &[])
        .step("d", &[])
        .step("join", &["a", "b", "c", "d"])
}

/// Deals every root among the clients at random, so that each batch touches the tasks of all others.
fn deal(session: &mut Session, clients: usize) -> Vec<Mutex<Vec<Claim>>> {
    let mut claims = vec![];
    loop {
        let more = session.claim(&preparing(50));
        if more.is_empty() {
            break;
        }
        claims.extend(more);
    }
    fastrand::shuffle(&mut claims);
    let mut hands: Vec<Vec<Claim>> = (0..clients).map(|_| vec![]).collect();
    for (index, claim) in claims.into_iter().enumerate() {
        hands[index % clients].push(claim);
    }
    hands.into_iter().map(Mutex::new).collect()
}

/// Reports its hand in batches of 50 and what it claims on the way, until nothing is left. Returns the outcomes of
/// refused reports.
fn play(
    session: &mut Session,
    worker: &str,
    mut hand: Vec<Claim>,
    broken: impl Fn(&Claim) -> bool,
) -> Vec<String> {
    let ask = Ask::by(worker, 50);
    let mut refused = vec![];
    let mut claimed: Vec<Claim> = vec![];
    let mut empty = 0;
    while empty < 20 {
        let from = hand.len().saturating_sub(50);
        // What was claimed last comes first: of two reports for one step the first counts, and an operator may have taken
        // a step from the hand and this client claimed it again.
        let mut reports = std::mem::take(&mut claimed);
        reports.extend(hand.split_off(from));
        let reports: Vec<Value> = reports
            .iter()
            .map(|claim| {
                if broken(claim) {
                    claim.failed(false)
                } else {
                    claim.done(json!({}))
                }
            })
            .collect();
        let (outcomes, more) = session.report_and_claim(&ask, &reports);
        refused.extend(outcomes.into_iter().map(|(outcome, _)| outcome));
        claimed = more;
        if claimed.is_empty() && hand.is_empty() {
            empty += 1;
            std::thread::sleep(Duration::from_millis(10));
        } else {
            empty = 0;
        }
    }
    refused
}

#[test]
fn fan_in_of_four_in_batches_of_50_by_8_clients_has_no_deadlock() {
    let (database, mut session) = prepared(&fan_in());
    // 10,000 reports are 200 batches of 50.
    let tasks = session.create_many("fan_in", scaled(2500, 25_000));
    let hands = deal(&mut session, 8);
    let refused = together(8, |number| {
        let hand = std::mem::take(&mut *hands[number].lock().expect("one owner"));
        play(
            &mut database.connect(),
            &format!("client {number}"),
            hand,
            |_| false,
        )
    });
    assert!(refused.concat().is_empty(), "{refused:?}");
    all_ended_once(&mut session, &tasks, "complete");
    every_step_ran_once(&mut session, &tasks);
    no_deadlock(&mut session);
}

#[test]
fn fan_in_with_every_tenth_step_broken_ends_every_task_and_has_no_deadlock() {
    let (database, mut session) = prepared(&fan_in());
    let tasks = session.create_many("fan_in", scaled(1000, 20_000));
    let hands = deal(&mut session, 8);
    let broken = |claim: &Claim| {
        claim.step.as_u128().is_multiple_of(2) && (claim.task.as_u128() >> 16).is_multiple_of(5)
    };
    together(8, |number| {
        let hand = std::mem::take(&mut *hands[number].lock().expect("one owner"));
        play(
            &mut database.connect(),
            &format!("client {number}"),
            hand,
            broken,
        )
    });
    let states = session.task_states(&tasks);
    assert_eq!(states.len(), 2, "{states:?}");
    assert!(
        states[0].starts_with("complete: ") && states[1].starts_with("error: "),
        "{states:?}"
    );
    no_deadlock(&mut session);
}

#[track_caller]
fn every_step_ran_once(session: &mut Session, tasks: &[Uuid]) {
    let others = session.count(
        "SELECT count(*) FROM tasker.workflow_steps WHERE task_uuid = ANY ($1) AND NOT (attempts = 1 AND state = 'complete')",
        &[&tasks],
    );
    assert_eq!(others, 0, "steps that did not run exactly once");
}

#[track_caller]
fn no_deadlock(session: &mut Session) {
    session.query("SELECT pg_stat_force_next_flush()", &[]);
    assert_eq!(
        session.count(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
            &[]
        ),
        0
    );
}

#[test]
fn a_storm_of_cancels_among_working_clients_has_no_deadlock_and_leaves_nothing_running() {
    let (database, mut session) = prepared(&fan_in());
    let tasks = session.create_many("fan_in", scaled(1500, 15_000));
    let hands = deal(&mut session, 6);
    let cancelled = AtomicUsize::new(0);
    let outcomes = together(8, |number| {
        let mut own = database.connect();
        if number < 6 {
            let hand = std::mem::take(&mut *hands[number].lock().expect("one owner"));
            return play(&mut own, &format!("client {number}"), hand, |_| false);
        }
        // Both cancel every other task, in orders of their own.
        let mut victims: Vec<Uuid> = tasks.iter().copied().step_by(2).collect();
        fastrand::shuffle(&mut victims);
        for victim in victims {
            match own.attempt::<String>(
                "SELECT tasker.cancel_task($1, 'storm', cancel_completed => true)",
                &[&victim],
            ) {
                Ok(state) => {
                    assert_eq!(state, "cancelled");
                    cancelled.fetch_add(1, Ordering::Relaxed);
                }
                // The other one was first.
                Err(failure) => drop(failure.is("55000")),
            }
        }
        vec![]
    });
    assert!(
        outcomes.concat().iter().all(|outcome| outcome == "stale"),
        "{outcomes:?}"
    );
    assert_eq!(
        cancelled.into_inner(),
        tasks.len().div_ceil(2),
        "each once, by one of both"
    );
    let states = session.task_states(&tasks);
    assert_eq!(
        states,
        [
            format!("cancelled: {}", tasks.len().div_ceil(2)),
            format!("complete: {}", tasks.len() / 2)
        ]
    );
    let running = session.count(
        "SELECT count(*) FROM tasker.workflow_steps WHERE task_uuid = ANY ($1) AND state IN ('in_progress', 'pending')",
        &[&tasks],
    );
    assert_eq!(running, 0);
    no_deadlock(&mut session);
}

#[test]
fn a_storm_of_every_operation_has_no_deadlock_and_every_task_can_be_ended() {
    let (database, mut session) = prepared(&fan_in());
    let tasks = session.create_many("fan_in", scaled(400, 5000));
    let hands = deal(&mut session, 5);
    let working = AtomicUsize::new(5);
    together(8, |number| {
        let mut own = database.connect();
        if number < 5 {
            let hand = std::mem::take(&mut *hands[number].lock().expect("one owner"));
            play(&mut own, &format!("client {number}"), hand, |_| {
                fastrand::u8(..10) == 0
            });
            working.fetch_sub(1, Ordering::Release);
            return;
        }
        let calls = [
            "SELECT tasker.retry_task(t) FROM (SELECT $1::uuid AS t, $2::uuid AS s) AS x",
            "SELECT tasker.retry_step(s) FROM (SELECT $1::uuid AS t, $2::uuid AS s) AS x",
            "SELECT tasker.resolve_step_manually(s) FROM (SELECT $1::uuid AS t, $2::uuid AS s) AS x",
            "SELECT tasker.cancel_step(s) FROM (SELECT $1::uuid AS t, $2::uuid AS s) AS x",
            "SELECT tasker.set_retry_limit(s, 5) FROM (SELECT $1::uuid AS t, $2::uuid AS s) AS x",
            "SELECT tasker.transition_step(s, 'pending') FROM (SELECT $1::uuid AS t, $2::uuid AS s) AS x",
        ];
        while working.load(Ordering::Acquire) > 0 {
            let task = tasks[fastrand::usize(..tasks.len())];
            let step = Uuid::from_u128(task.as_u128() + fastrand::u128(1..=5));
            if let Err(failure) =
                own.attempt::<String>(calls[fastrand::usize(..calls.len())], &[&task, &step])
            {
                assert!(
                    ["55000", "09000"].contains(&failure.code.as_str()),
                    "{failure}"
                );
            }
        }
    });
    // What still runs is finished now; then nothing may be left between the states.
    session.work(|_| tasker_client_tests::worker::done());
    let open: Vec<Uuid> = session.all(
        "SELECT task_uuid FROM tasker.get_task_execution_contexts_batch($1) WHERE status IN ('pending', 'in_progress')",
        &[&tasks],
    );
    assert!(
        open.is_empty(),
        "{} tasks never end, such as {:?}",
        open.len(),
        open.first().map(|task| session.steps(*task))
    );
    no_deadlock(&mut session);
}

// --- A claim never waits.

/// An operator leaves a transaction open on a task; claims of others must neither wait nor hand out its steps.
fn claims_pass_by(operation: &str) {
    // Also one at a time: a held step at the head of the queue must not stop those behind it.
    let asked = |round: usize| [10, 1][round % 2];
    let (database, mut session) = prepared(&two());
    let tasks = session.create_many("two", rounds());
    let (mut operator, mut claimer) = (database.connect(), database.connect());
    claimer.execute("SET lock_timeout = '2s'");
    let (opened, claimed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let wait_for = |counter: &AtomicUsize, value: usize| {
        let deadline = Instant::now() + patience(20);
        while counter.load(Ordering::Acquire) < value {
            assert!(Instant::now() < deadline, "the other side does not come");
            std::hint::spin_loop();
        }
    };
    let outcome = race(
        tasks.len(),
        |round| (round, tasks[round]),
        |(round, task)| {
            let step = Uuid::from_u128(task.as_u128() + 1);
            operator.execute("BEGIN");
            operator.query(operation, &[task, &step]);
            opened.store(round + 1, Ordering::Release);
            wait_for(&claimed, round + 1);
            operator.execute("ROLLBACK");
            vec![]
        },
        |(round, _)| {
            wait_for(&opened, round + 1);
            let before = Instant::now();
            let claims = claimer.claim(&Ask::by("claimer", asked(*round)));
            assert!(
                before.elapsed() < patience(1),
                "a claim waited {:?}",
                before.elapsed()
            );
            claimed.store(round + 1, Ordering::Release);
            claimer.query("SELECT tasker.release_steps('claimer')", &[]);
            claims
        },
    );
    for Round {
        prepared,
        right: claims,
        ..
    } in outcome.met()
    {
        let (round, task) = *prepared;
        assert!(
            claims.iter().all(|claim| claim.task != task),
            "a step of the held task was handed out"
        );
        assert_eq!(
            claims.len(),
            asked(round) as usize,
            "round {round}: there was work enough for all that was asked"
        );
    }
    assert_eq!(
        session.claim_all("last").len(),
        2 * tasks.len(),
        "steps were lost"
    );
}

#[test]
fn a_claim_passes_by_a_task_being_cancelled_in_an_open_transaction() {
    claims_pass_by("SELECT tasker.cancel_task($1), $2::uuid");
}

#[test]
fn a_claim_passes_by_a_step_being_changed_in_an_open_transaction() {
    claims_pass_by("SELECT tasker.set_retry_limit($2, 7), $1::uuid");
}

#[test]
fn a_claim_passes_by_a_finished_lease_whose_step_an_operator_holds() {
    let (database, mut session) = prepared(&two());
    let task = session.create("two");
    let lost = session.claim(&Ask {
        worker: "lost",
        most: 2,
        lease: "1 millisecond",
        ..Ask::default()
    });
    std::thread::sleep(Duration::from_millis(5));
    let mut operator = database.connect();
    operator.execute("BEGIN");
    operator.query("SELECT tasker.cancel_task($1)", &[&task]);
    session.execute("SET lock_timeout = '2s'");
    assert!(session.claim_all("worker").is_empty());
    operator.execute("ROLLBACK");
    // Each alone, and as if it had not been handed out: its worker did not say that it had begun.
    for _ in 0..2 {
        let claims = session.claim_all("worker");
        assert_eq!(claims.len(), 1);
        assert_eq!(
            (claims[0].attempt, claims[0].number),
            (1, lost[0].number + 1)
        );
    }
}

#[test]
fn a_claim_in_an_open_transaction_keeps_its_steps_and_gives_them_back_on_rollback() {
    let (database, mut session) = prepared(&two());
    session.create_many("two", 100);
    let mut opener = database.connect();
    opener.execute("BEGIN");
    let held: HashSet<Uuid> = opener
        .claim(&Ask::by("opener", 50))
        .into_iter()
        .map(|claim| claim.step)
        .collect();
    assert_eq!(held.len(), 50);
    session.execute("SET lock_timeout = '2s'");
    let rest = session.claim_all("worker");
    assert_eq!(rest.len(), 150);
    assert!(rest.iter().all(|claim| !held.contains(&claim.step)));
    opener.execute("ROLLBACK");
    let back: HashSet<Uuid> = session
        .claim_all("worker")
        .into_iter()
        .map(|claim| claim.step)
        .collect();
    assert_eq!(back, held);
}

#[test]
fn a_claim_and_the_end_of_a_worker_pass_by_its_row_that_an_open_transaction_wrote() {
    let (database, mut session) = prepared(&two());
    assert!(session.claim_all("worker").is_empty());
    let mut other = database.connect();
    let wait = patience(2).as_secs();
    other.execute(&format!("SET lock_timeout = '{wait}s'"));
    // It knows the worker; what it does next, it writes into the row.
    session.create("two");
    assert_eq!(other.claim(&Ask::by("worker", 1)).len(), 1);
    session.execute("BEGIN");
    assert_eq!(session.claim(&Ask::by("worker", 1)).len(), 1);
    assert!(session.claim(&Ask::by("worker", 1)).is_empty());
    assert!(other.claim(&Ask::by("worker", 1)).is_empty());
    assert!(other.claim(&Ask::by("worker", 1)).is_empty());
    assert_eq!(
        other.one::<i32>("SELECT tasker.end_worker('worker')", &[]),
        1
    );
    session.execute("COMMIT");
    // The worker goes on, and says so as soon as its row is free.
    assert_eq!(other.claim(&Ask::by("worker", 2)).len(), 1);
    assert!(other.claim(&Ask::by("worker", 1)).is_empty());
    let states: Vec<String> = other.all("SELECT state FROM tasker.workers", &[]);
    assert_eq!(states, ["busy"]);
}

#[test]
fn a_claim_of_a_worker_that_an_open_transaction_registers_says_so_at_once() {
    let (database, mut session) = prepared(&two());
    session.create("two");
    let mut other = database.connect();
    other.execute(&format!("SET lock_timeout = '{}s'", patience(20).as_secs()));
    session.execute("BEGIN");
    assert_eq!(session.claim(&Ask::by("worker", 1)).len(), 1);
    let before = Instant::now();
    let refused = other.try_claim(&Ask::by("worker", 1)).unwrap_err();
    assert_eq!(refused.code, "55P03");
    assert!(before.elapsed() < patience(10), "{:?}", before.elapsed());
    session.execute("COMMIT");
    assert_eq!(other.claim(&Ask::by("worker", 1)).len(), 1);
}

#[test]
fn eight_claimers_over_one_queue_take_no_step_twice_and_lose_none() {
    let (database, mut session) = prepared(&two());
    let tasks = session.create_many("two", scaled(2000, 30_000));
    let taken = together(8, |number| {
        let mut own = database.connect();
        let worker = format!("claimer {number}");
        let (mut mine, mut empty, mut calls) = (vec![], 0, 0);
        while empty < 10 {
            calls += 1;
            // Some claims are taken back: their steps must come again, from whatever place of the queue.
            let back = calls % 7 == 0;
            if back {
                own.execute("BEGIN");
            }
            let claims = own.claim(&Ask::by(&worker, 1 + (calls * 13 + number as i32) % 20));
            if back {
                own.execute("ROLLBACK");
                continue;
            }
            if claims.is_empty() {
                empty += 1;
                std::thread::sleep(Duration::from_millis(10));
            } else {
                empty = 0;
                mine.extend(claims.into_iter().map(|claim| (claim.step, claim.number)));
            }
        }
        (mine, calls)
    });
    let calls: i32 = taken.iter().map(|(_, calls)| calls).sum();
    assert!(calls >= 200, "only {calls} claims");
    let all: Vec<(Uuid, i32)> = taken.into_iter().flat_map(|(mine, _)| mine).collect();
    let once: HashSet<Uuid> = all.iter().map(|(step, _)| *step).collect();
    assert_eq!(once.len(), all.len(), "a step was handed out twice");
    assert_eq!(once.len(), 2 * tasks.len(), "steps were lost");
}

#[test]
fn steps_released_by_other_sessions_while_claimers_run_are_never_lost() {
    let (database, mut session) = prepared(&shapes::chain("chain", 3));
    let tasks = session.create_many("chain", scaled(700, 7000));
    together(8, |number| {
        play(
            &mut database.connect(),
            &format!("client {number}"),
            vec![],
            |_| false,
        )
    });
    all_ended_once(&mut session, &tasks, "complete");
    every_step_ran_once(&mut session, &tasks);
}

#[test]
fn tasks_created_while_claimers_run_are_never_lost() {
    let (database, mut session) = prepared(&shapes::chain("one", 1));
    let creating = AtomicBool::new(true);
    let counts = together(4, |number| {
        let mut own = database.connect();
        if number == 0 {
            for round in 0..rounds() {
                // Begun early, committed late: entries older than what others have passed already.
                own.execute("BEGIN");
                own.create_many("one", 3);
                std::thread::sleep(Duration::from_micros((round as u64 * 97) % 3000));
                own.execute(if round % 10 == 9 {
                    "ROLLBACK"
                } else {
                    "COMMIT"
                });
            }
            creating.store(false, Ordering::Release);
            return 0;
        }
        let worker = format!("claimer {number}");
        let (mut count, mut empty) = (0, 0);
        while creating.load(Ordering::Acquire) || empty < 20 {
            let claims = own.claim(&Ask::by(&worker, 2)).len();
            count += claims;
            empty = if claims == 0 { empty + 1 } else { 0 };
            if claims == 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        count
    });
    assert_eq!(counts.iter().sum::<usize>(), rounds() / 10 * 9 * 3);
    assert!(session.claim_all("last").is_empty());
}

// --- Leases.

/// A claim of a new task whose lease has ended.
fn expired(session: &mut Session, worker: &'static str) -> Claim {
    session.create("one");
    let ask = Ask {
        worker,
        lease: "1 millisecond",
        ..Ask::default()
    };
    let claim = session.claim(&ask).pop().expect("just created");
    std::thread::sleep(Duration::from_millis(2));
    claim
}

#[test]
fn an_expired_lease_is_taken_over_or_reported_but_never_both() {
    let (database, mut session) = prepared(&shapes::chain("one", 1));
    let (mut first, mut second) = (database.connect(), database.connect());
    let rounds = race(
        rounds(),
        |_| expired(&mut session, "slow"),
        |claim| first.try_complete(claim).map(|_| None),
        |_| Ok(second.claim(&Ask::by("second", 1)).pop()),
    );
    let (mut reported, mut taken) = (0, 0);
    for Round {
        prepared: claim,
        left,
        right,
    } in rounds.met()
    {
        let right: Option<Claim> = right.expect("claims do not fail");
        match (left, right) {
            (Ok(_), None) => {
                reported += 1;
                assert_eq!(session.steps(claim.task), ["step_1 complete/1"]);
                assert_eq!(session.task_state(claim.task), "complete");
            }
            (Err(failure), Some(new)) => {
                taken += 1;
                failure.is("55006");
                assert_eq!(
                    (new.step, new.number, new.attempt),
                    (claim.step, claim.number + 1, 2)
                );
                session.complete(&new, &json!({}));
                assert_eq!(session.steps(claim.task), ["step_1 complete/2"]);
                assert_eq!(session.task_state(claim.task), "complete");
            }
            (left, right) => panic!("report {left:?} and claim {right:?} together"),
        }
        assert_eq!(session.arrivals(claim.task, Some("step_1"), "complete"), 1);
    }
    println!("reported {reported}, taken over {taken}");
}

#[test]
fn an_expired_lease_is_taken_over_by_one_of_two_claimers() {
    let (database, mut session) = prepared(&shapes::chain("one", 1));
    let (mut first, mut second) = (database.connect(), database.connect());
    let rounds = race(
        rounds(),
        |_| expired(&mut session, "lost"),
        |_| first.claim(&Ask::by("first", 5)),
        |_| second.claim(&Ask::by("second", 5)),
    );
    for Round {
        prepared: lost,
        left,
        right,
    } in rounds.met()
    {
        let mut taken: Vec<Claim> = left.into_iter().chain(right).collect();
        if taken.is_empty() {
            // Both passed by the other's lock: the next claim gets it.
            taken = session.claim_all("third");
        }
        let taken: Vec<Claim> = taken
            .into_iter()
            .filter(|claim| claim.step == lost.step)
            .collect();
        assert_eq!(taken.len(), 1, "taken over {} times", taken.len());
        assert_eq!((taken[0].number, taken[0].attempt), (lost.number + 1, 2));
        session.complete(&taken[0], &json!({}));
    }
}

#[test]
fn a_release_and_a_report_at_once_leave_the_step_either_done_or_given_back() {
    let (database, mut session) = prepared(&shapes::chain("one", 1));
    let (mut first, mut second) = (database.connect(), database.connect());
    let rounds = race(
        rounds(),
        |_| {
            // What the round before gave back is finished first.
            session.work(|_| tasker_client_tests::worker::done());
            session.create("one");
            session.claim_one("worker")
        },
        |claim| first.try_complete(claim),
        |_| {
            Ok(second
                .one::<i32>("SELECT tasker.release_steps('worker')", &[])
                .to_string())
        },
    );
    session.work(|_| tasker_client_tests::worker::done());
    for Round {
        prepared: claim,
        left,
        right,
    } in rounds.met()
    {
        let runs = session.arrivals(claim.task, Some("step_1"), "in_progress");
        match (left, right.as_deref()) {
            (Ok(_), Ok("0")) => assert_eq!(runs, 1),
            (Err(failure), Ok("1")) => {
                failure.is("55006");
                assert_eq!(runs, 2);
            }
            (left, right) => panic!("report {left:?} and release {right:?} together"),
        }
        assert_eq!(session.steps(claim.task), ["step_1 complete/1"]);
        assert_eq!(session.task_state(claim.task), "complete");
    }
}

#[test]
fn a_heartbeat_and_a_takeover_at_once_leave_one_holder() {
    let (database, mut session) = prepared(&shapes::chain("one", 1));
    let (mut first, mut second) = (database.connect(), database.connect());
    let rounds = race(
        rounds(),
        |round| {
            session.create("one");
            let worker = format!("slow {round}");
            let ask = Ask {
                worker: &worker,
                lease: "1 millisecond",
                ..Ask::default()
            };
            let claim = session.claim(&ask).pop().expect("just created");
            std::thread::sleep(Duration::from_millis(2));
            (worker, claim)
        },
        |(worker, _)| {
            (
                first.all::<String>(
                    "SELECT status FROM tasker.heartbeat($1, '1 hour')",
                    &[worker],
                ),
                vec![],
            )
        },
        |_| (vec![], second.claim(&Ask::by("second", 1))),
    );
    for Round {
        prepared,
        left: (beats, _),
        right: (_, taken),
    } in rounds.met()
    {
        let claim = &prepared.1;
        let extended = beats == ["extended"];
        assert!(
            extended == taken.is_empty(),
            "heartbeat {beats:?} and {} taken over",
            taken.len()
        );
        if extended {
            session.complete(claim, &json!({}));
        } else {
            session.complete(&taken[0], &json!({}));
        }
        assert_eq!(session.task_state(claim.task), "complete");
    }
}

// --- The same thing twice.

#[test]
fn the_same_report_twice_at_once_takes_effect_once() {
    let (database, mut session) = prepared(&shapes::small_diamond());
    let tasks = session.create_many("small_diamond", rounds());
    complete_all(&mut session);
    let branches = claim_singly(&mut session);
    let (mut first, mut second) = (database.connect(), database.connect());
    let rounds = race(
        tasks.len(),
        |round| branches["b"][&tasks[round]].clone(),
        |claim| first.try_complete(claim),
        |claim| second.try_complete(claim),
    );
    for Round {
        prepared: claim,
        left,
        right,
    } in rounds.met()
    {
        let mut answers = [left.expect("accepted"), right.expect("accepted")];
        answers.sort();
        assert_eq!(answers, ["complete", "duplicate"]);
        assert_eq!(session.arrivals(claim.task, Some("b"), "complete"), 1);
    }
    // Counted twice, one branch would have released the end.
    assert!(
        session.claim_all("worker").is_empty(),
        "the end was ready with one of two branches complete"
    );
    for claim in branches["c"].values() {
        session.complete(claim, &json!({}));
    }
    assert_eq!(complete_all(&mut session), tasks.len());
    all_ended_once(&mut session, &tasks, "complete");
}

#[test]
fn two_different_reports_at_once_accept_the_first_and_refuse_the_second() {
    let (database, mut session) = prepared(&shapes::chain("one", 1));
    let tasks = session.create_many("one", rounds());
    let claims = claim_singly(&mut session);
    let (mut first, mut second) = (database.connect(), database.connect());
    let rounds = race(
        tasks.len(),
        |round| claims["step_1"][&tasks[round]].clone(),
        |claim| first.try_complete(claim),
        |claim| second.try_fail_for_good(claim),
    );
    for Round {
        prepared: claim,
        left,
        right,
    } in rounds.met()
    {
        let state = session.task_state(claim.task);
        match (left, right) {
            (Ok(_), Err(failure)) => {
                failure.is("55006");
                assert_eq!(state, "complete");
            }
            (Err(failure), Ok(_)) => {
                failure.is("55006");
                assert_eq!(state, "error");
            }
            both => panic!("{both:?}"),
        }
    }
}

#[test]
fn one_idempotency_key_used_by_two_sessions_at_once_makes_one_task() {
    let (database, mut session) = prepared(&shapes::chain("one", 1));
    let (mut first, mut second) = (database.connect(), database.connect());
    let create = "SELECT tasker.create_task('one', idempotency_key => $1)";
    let rounds = race(
        rounds(),
        |round| format!("order-{round}"),
        |key| first.attempt::<Uuid>(create, &[key]),
        |key| second.attempt::<Uuid>(create, &[key]),
    )
    .met();
    let mut tasks = HashSet::new();
    let count = rounds.len();
    for Round { left, right, .. } in rounds {
        let (left, right) = (left.expect("not refused"), right.expect("not refused"));
        assert_eq!(left, right);
        tasks.insert(left);
    }
    assert_eq!(tasks.len(), count);
    assert_eq!(session.claim_all("worker").len(), count, "one step each");
}

#[test]
fn an_idempotency_key_of_an_open_transaction_is_decided_when_it_ends() {
    let (database, mut session) = prepared(&shapes::chain("one", 1));
    for end in ["COMMIT", "ROLLBACK"] {
        let create = "SELECT tasker.create_task('one', idempotency_key => $1)";
        let (mut opener, mut other) = (database.connect(), database.connect());
        opener.execute("BEGIN");
        let first: Uuid = opener.one(create, &[&end]);
        let pid = other.pid();
        let second: Uuid = std::thread::scope(|scope| {
            let creating = scope.spawn(|| other.one(create, &[&end]));
            wait_until_blocked_or(&mut session, pid, || creating.is_finished());
            opener.execute(end);
            creating.join().expect("no refusal")
        });
        assert_eq!(first == second, end == "COMMIT");
        assert_eq!(session.task_state(second), "pending");
    }
}

#[test]
fn idempotency_keys_in_opposite_orders_by_two_sessions_do_not_deadlock() {
    let (database, mut session) = prepared(&shapes::chain("one", 1));
    let (mut first, mut second) = (database.connect(), database.connect());
    let create = |session: &mut Session, keys: &[String]| -> Vec<Uuid> {
        let contexts = vec![json!({}); keys.len()];
        session.all(
            "SELECT tasker.create_tasks('one', $1, idempotency_keys => $2)",
            &[&contexts, &keys],
        )
    };
    let rounds = race(
        rounds(),
        |round| {
            (0..20)
                .map(|number| format!("{round}-{number}"))
                .collect::<Vec<_>>()
        },
        |keys| create(&mut first, keys),
        |keys| create(&mut second, &keys.iter().rev().cloned().collect::<Vec<_>>()),
    );
    for Round {
        left, mut right, ..
    } in rounds.met()
    {
        right.reverse();
        assert_eq!(left, right);
    }
    no_deadlock(&mut session);
}

#[test]
fn fifty_concurrent_duplicates_by_hash_make_one_task() {
    let (database, mut session) =
        prepared(&shapes::chain("one", 1).with("identity_strategy", json!("hash")));
    let sessions: Vec<Mutex<Session>> = (0..50).map(|_| Mutex::new(database.connect())).collect();
    for round in 0..scaled(4, 40) {
        let context = json!({"order": round});
        let outcomes = together(50, |number| {
            let mut own = sessions[number].lock().expect("one owner");
            own.attempt::<Uuid>("SELECT tasker.create_task('one', $1)", &[&context])
        });
        let (made, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!(made.len(), 1);
        let made = made.into_iter().flatten().next().expect("one").to_string();
        for failure in refused.into_iter().filter_map(Result::err) {
            failure.is("23505").detail_says(&[&made]);
        }
    }
    assert_eq!(session.claim_all("worker").len(), scaled(4, 40));
}

#[test]
fn two_registrations_of_one_version_at_once_store_it_once() {
    let database = Database::new();
    let mut session = database.connect();
    let (mut first, mut second) = (database.connect(), database.connect());
    let register = |session: &mut Session, text: &String| {
        session.attempt::<i64>("SELECT tasker.register_template($1)", &[text])
    };
    // A new namespace, system, queue and step every time.
    let template = |round: usize| {
        Template::new("one")
            .with("namespace_name", json!(format!("space {round}")))
            .step_with(
                &format!("step {round}"),
                &[],
                json!({"queue": format!("q{round}"), "dependent_system": format!("s{round}")}),
            )
    };
    let rounds = race(
        rounds(),
        // In odd rounds the two differ.
        |round| {
            let other = template(round).with("description", json!(format!("{}", round % 2)));
            let one = template(round).with("description", json!("0"));
            (one.text(), other.text())
        },
        |(text, _)| register(&mut first, text),
        |(_, text)| register(&mut second, text),
    );
    for Round {
        prepared,
        left,
        right,
    } in rounds.met()
    {
        let (made, refused): (Vec<_>, Vec<_>) = [left, right].into_iter().partition(Result::is_ok);
        let made: Vec<i64> = made.into_iter().flatten().collect();
        if prepared.0 == prepared.1 {
            assert_eq!(made.len(), 2, "{refused:?}");
            assert_eq!(made[0], made[1]);
        } else {
            assert_eq!(made.len(), 1);
            for failure in refused.into_iter().filter_map(Result::err) {
                failure.is("23505").says(&["registered already"]);
            }
        }
    }
    no_deadlock(&mut session);
}

#[test]
fn different_templates_with_the_same_parts_in_opposite_orders_do_not_deadlock() {
    let database = Database::new();
    let mut session = database.connect();
    let (mut first, mut second) = (database.connect(), database.connect());
    let template = |name: &str, round: usize, reverse: bool| {
        let mut steps: Vec<usize> = (0..10).collect();
        if reverse {
            steps.reverse();
        }
        steps
            .into_iter()
            .fold(Template::new(&format!("{name} {round}")), |template, step| {
                let fields = json!({"queue": format!("q {round} {step}"), "dependent_system": format!("s {round} {step}")});
                template.step_with(&format!("step {round} {step}"), &[], fields)
            })
            .text()
    };
    let _ = race(
        rounds(),
        |round| round,
        |round| {
            first.one::<i64>(
                "SELECT tasker.register_template($1)",
                &[&template("left", *round, false)],
            )
        },
        |round| {
            second.one::<i64>(
                "SELECT tasker.register_template($1)",
                &[&template("right", *round, true)],
            )
        },
    )
    .met();
    no_deadlock(&mut session);
}

/// A task keeps the version it was created with, or is refused in words; never a raw foreign key error.
#[test]
fn a_template_replaced_while_tasks_are_created_from_it_stays_consistent() {
    let database = Database::new();
    let mut session = database.connect();
    let (mut first, mut second) = (database.connect(), database.connect());
    second.query("SELECT 1", &[]);
    let rounds = race(
        rounds(),
        |round| {
            let template = shapes::chain(&format!("t{round}"), 2);
            template.register(&mut session);
            (
                template.name().to_owned(),
                template.step("step_3", &["step_2"]).text(),
            )
        },
        |(_, changed)| {
            first
                .attempt::<i64>("SELECT tasker.register_template($1, true)", &[changed])
                .map(|_| Uuid::nil())
        },
        |(name, _)| second.attempt::<Uuid>("SELECT tasker.create_task($1)", &[name]),
    );
    for Round { left, right, .. } in rounds.met() {
        if let Err(failure) = &left {
            assert_eq!(failure.code, "55000", "{failure}");
        }
        let task = right.unwrap_or_else(|failure| panic!("create_task: {failure}"));
        let steps = session.steps(task).len();
        assert_eq!(
            steps,
            if left.is_ok() { 3 } else { 2 },
            "a task of half a template"
        );
    }
}

// --- Operators against workers.

#[test]
fn of_a_cancel_and_the_last_report_at_once_the_first_decides() {
    let (database, mut session) = prepared(&shapes::chain("one", 1));
    let tasks = session.create_many("one", rounds());
    let claims = claim_singly(&mut session);
    let (mut first, mut second) = (database.connect(), database.connect());
    let rounds = race(
        tasks.len(),
        |round| claims["step_1"][&tasks[round]].clone(),
        |claim| first.try_complete(claim),
        |claim| second.attempt::<String>("SELECT tasker.cancel_task($1)", &[&claim.task]),
    );
    for Round {
        prepared: claim,
        left,
        right,
    } in rounds.met()
    {
        let ended = match (left, right) {
            (Ok(_), Err(failure)) => {
                failure.is("55000");
                "complete"
            }
            (Err(failure), Ok(state)) => {
                failure.is("55006");
                assert_eq!(state, "cancelled");
                "cancelled"
            }
            both => panic!("not one of the two: {both:?}"),
        };
        assert_eq!(session.task_state(claim.task), ended);
        assert_eq!(session.step_state(claim.task, "step_1"), ended);
    }
}

#[test]
fn a_branch_resolved_by_hand_while_the_other_is_reported_releases_the_join_once() {
    let (database, mut session) = prepared(&shapes::small_diamond());
    let (mut first, mut second) = (database.connect(), database.connect());
    let rounds = race(
        rounds(),
        |_| {
            let task = session.create("small_diamond");
            complete_all(&mut session);
            let claims = claim_singly(&mut session);
            let (b, c) = (&claims["b"][&task], &claims["c"][&task]);
            session.fail_for_good(b);
            (b.clone(), c.clone())
        },
        |(_, c)| first.try_complete(c),
        |(b, _)| {
            second.attempt::<String>(
                "SELECT tasker.resolve_step_manually($1, '{\"by\": \"hand\"}')",
                &[&b.step],
            )
        },
    );
    let mut tasks = vec![];
    for Round {
        prepared,
        left,
        right,
    } in rounds.met()
    {
        assert_eq!(
            (left.as_deref(), right.as_deref()),
            (Ok("complete"), Ok("resolved_manually"))
        );
        tasks.push(prepared.0.task);
    }
    while complete_all(&mut session) > 0 {}
    for task in tasks {
        let wanted = [
            "start complete/1",
            "b resolved_manually/1",
            "c complete/1",
            "end complete/1",
        ];
        assert_eq!(session.steps(task), wanted);
        assert_eq!(session.arrivals(task, Some("end"), "in_progress"), 1);
        assert_eq!(session.task_state(task), "complete");
    }
}

#[test]
fn a_step_cancelled_while_its_sibling_is_reported_ends_the_task_in_error() {
    let (database, mut session) = prepared(&two());
    let (mut first, mut second) = (database.connect(), database.connect());
    let rounds = race(
        rounds(),
        |_| {
            let task = session.create("two");
            let claims = claim_singly(&mut session);
            (
                claims["step_1"][&task].clone(),
                claims["step_2"][&task].clone(),
            )
        },
        |(one, _)| first.try_complete(one),
        |(_, two)| second.attempt::<String>("SELECT tasker.cancel_step($1)", &[&two.step]),
    );
    for Round {
        prepared,
        left,
        right,
    } in rounds.met()
    {
        assert_eq!(
            (left.as_deref(), right.as_deref()),
            (Ok("complete"), Ok("cancelled"))
        );
        assert_eq!(session.task_state(prepared.0.task), "error");
    }
}

#[test]
fn two_retries_of_one_failed_step_at_once_start_it_once() {
    let (database, mut session) = prepared(&shapes::chain("one", 1));
    let (mut first, mut second) = (database.connect(), database.connect());
    let retry = "SELECT tasker.retry_step($1)";
    let rounds = race(
        rounds(),
        |_| {
            session.create("one");
            let claim = session.claim_one("worker");
            session.fail_for_good(&claim);
            claim
        },
        |claim| first.attempt::<String>(retry, &[&claim.step]),
        |claim| second.attempt::<String>(retry, &[&claim.step]),
    );
    for Round { left, right, .. } in rounds.met() {
        let (done, refused): (Vec<_>, Vec<_>) = [left, right].into_iter().partition(Result::is_ok);
        assert_eq!(done.len(), 1);
        refused
            .into_iter()
            .filter_map(Result::err)
            .for_each(|failure: Failure| drop(failure.is("55000")));
    }
    let claims = session.claim_all("worker");
    assert_eq!(claims.len(), self::rounds());
    assert_eq!(by_task(claims).len(), self::rounds());
}
