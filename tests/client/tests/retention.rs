//! How ended tasks are deleted: everything that belongs to them, nothing else, and without making a session wait.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tasker_client_tests::race::{race, together};
use tasker_client_tests::worker::{Ask, done};
use tasker_client_tests::{
    Act, Database, Session, Template, Uuid, Value, inside, json, scaled, shapes,
};

fn prepared() -> (Database, Session) {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("two", 2).register(&mut session);
    (database, session)
}

/// tasks, steps, transitions, other rows.
fn purge(session: &mut Session, arguments: &str) -> String {
    session.one(
        &format!("SELECT concat_ws(' ', tasks, steps, transitions, other_rows) FROM tasker.purge_tasks({arguments})"),
        &[],
    )
}

fn tasks(session: &mut Session) -> i64 {
    session.count("SELECT count(*) FROM tasker.tasks", &[])
}

fn maintain(session: &mut Session) -> i64 {
    session.one(
        "SELECT sum(done)::bigint FROM tasker.run_maintenance() WHERE duty = 'retention' AND error IS NULL",
        &[],
    )
}

/// One task in each state that a task can end in, and an open and a running one: names and uuids.
fn one_of_each(session: &mut Session) -> Vec<(&'static str, Uuid)> {
    let mut made = vec![];
    made.push(("complete", session.create("two")));
    session.work(|_| done());
    made.push(("cancelled", session.create("two")));
    session.query("SELECT tasker.cancel_task($1)", &[&made[1].1]);
    for state in ["resolved_manually", "error"] {
        made.push((state, session.create("two")));
        session.work(|_| Act::FailForGood);
    }
    session.query("SELECT tasker.resolve_task_manually($1)", &[&made[2].1]);
    made.push(("in_progress", session.create("two")));
    session.claim_one("busy");
    made.push(("pending", session.create("two")));
    for (state, task) in &made {
        assert_eq!(session.task_state(*task), *state);
    }
    made
}

fn states(session: &mut Session) -> Vec<String> {
    session.all("SELECT state FROM tasker.tasks ORDER BY 1", &[])
}

#[test]
fn only_what_has_ended_goes_and_errors_only_when_asked() {
    let (_database, mut session) = prepared();
    one_of_each(&mut session);
    // Two steps each; complete: 3 + 2 rows of the log; cancelled: 2 + 2; resolved: 3 + 1 and one for the resolution.
    assert_eq!(purge(&mut session, "'0', dry_run => true"), "3 6 14 2");
    assert_eq!(tasks(&mut session), 6);
    assert_eq!(purge(&mut session, "'0'"), "3 6 14 2");
    assert_eq!(states(&mut session), ["error", "in_progress", "pending"]);
    assert_eq!(purge(&mut session, "'0'"), "0 0 0 0");
    assert!(purge(&mut session, "'0', include_failed => true").starts_with("1 2 "));
    assert_eq!(states(&mut session), ["in_progress", "pending"]);
    // What is left works on.
    session.query("SELECT tasker.release_steps('busy')", &[]);
    session.work(|_| done());
    assert_eq!(states(&mut session), ["complete", "complete"]);
}

#[test]
fn nothing_of_a_purged_task_is_left_anywhere() {
    let (_database, mut session) = prepared();
    Template::new("rich")
        .with("timeout_seconds", json!(3600))
        .step_with("a", &[], json!({"timeout_seconds": 60}))
        .step("b", &["a"])
        .register(&mut session);
    let task: Uuid = session.one(
        "SELECT tasker.create_task('rich', tags => '[\"x\"]', idempotency_key => 'k', correlation_id => 'c')",
        &[],
    );
    session.query(
        "SELECT tasker.annotate_task($1, 'note', '{\"a\": 1}')",
        &[&task],
    );
    let claim = session.claim_one("w");
    session.fail(&claim);
    session.work(|_| Act::Complete(json!({"r": "x".repeat(5000)})));
    session.query(
        "SELECT tasker.claim_task_for_finalization($1, 'p')",
        &[&task],
    );
    let left = session.create("two");
    session.query(
        "SELECT tasker.claim_task_for_finalization($1, 'p')",
        &[&task],
    );
    let before = inside::traces(&mut session, task);
    // As many tables as know a task; a new one must be added to purge_batch.
    for table in [
        "tasker_engine.tasks",
        "tasker_engine.steps",
        "tasker_engine.transitions",
        "tasker_engine.task_identities",
        "tasker_engine.finalization_attempts",
        "tasker_engine.task_deadlines",
        "tasker.task_annotations",
    ] {
        assert!(before.contains(&table.to_owned()), "{table}: {before:?}");
    }
    assert!(purge(&mut session, "'0'").starts_with("1 2 "));
    assert_eq!(inside::traces(&mut session, task), [""; 0]);
    assert_eq!(session.task_state(left), "pending");
    // A task in a rare state has a row more.
    session.query("SELECT tasker.cancel_task($1)", &[&left]);
    assert!(inside::traces(&mut session, left).contains(&"tasker_engine.rare_tasks".to_owned()));
    assert!(purge(&mut session, "'0'").starts_with("1 2 "));
    assert!(!inside::traces(&mut session, left).contains(&"tasker_engine.rare_tasks".to_owned()));
    let again: Uuid = session.one(
        "SELECT tasker.create_task('rich', idempotency_key => 'k')",
        &[],
    );
    assert_ne!(again, task, "the key is free again");
}

#[test]
fn the_entry_that_an_operators_retry_left_behind_goes_with_its_task() {
    let (_database, mut session) = prepared();
    Template::new("later")
        .step_with(
            "a",
            &[],
            json!({"retry": {"backoff_base_ms": 3_600_000, "max_backoff_ms": 3_600_000}}),
        )
        .register(&mut session);
    let task = session.create("later");
    let claim = session.claim_one("w");
    session.query(
        "SELECT tasker.fail_step($1, $2, 'no', retry_after => '1 hour')",
        &[&claim.step, &claim.number],
    );
    session.query("SELECT tasker.retry_step($1)", &[&claim.step]);
    session.work(|_| done());
    assert_eq!(session.task_state(task), "complete");
    let queue = "tasker_engine.queue_entries".to_owned();
    assert!(inside::traces(&mut session, task).contains(&queue));
    purge(&mut session, "'0'");
    assert!(!inside::traces(&mut session, task).contains(&queue));
}

/// What a purge may leave: history that is short by itself, published events, hints that claims drop, leases that end, and what
/// consumers of subscribers have.
const MAY_STAY: [&str; 7] = [
    "claims",
    "deliveries",
    "events",
    "queue_entries",
    "redeliveries",
    "schedule_runs",
    "schedules",
];

#[test]
fn every_table_that_knows_tasks_is_purged() {
    let (_database, mut session) = prepared();
    let know: Vec<String> = session.all(
        "SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
         WHERE c.relnamespace::regnamespace::text IN ('tasker', 'tasker_engine') AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attname ~ '(task|step)_uuids?$'
         GROUP BY 1 ORDER BY 1",
        &[],
    );
    let purge: String = session.one(
        "SELECT prosrc FROM pg_proc WHERE proname = 'purge_batch'",
        &[],
    );
    let forgotten: Vec<&String> = know
        .iter()
        .filter(|table| {
            !MAY_STAY.contains(&table.as_str())
                && !["tasker", "tasker_engine"]
                    .iter()
                    .any(|schema| purge.contains(&format!("DELETE FROM {schema}.{table} ")))
        })
        .collect();
    assert!(
        know.len() > 8 && forgotten.is_empty(),
        "purge_batch leaves rows in {forgotten:?}"
    );
}

#[test]
fn the_age_counts_from_the_end() {
    let (_database, mut session) = prepared();
    let made = one_of_each(&mut session);
    for (_, task) in &made {
        inside::age(&mut session, *task, 1);
    }
    let young = session.create("two");
    session.work_in("default", |_| done());
    assert_eq!(session.task_state(young), "complete");
    assert!(purge(&mut session, "'50 seconds', include_failed => true").starts_with("4 8 "));
    assert_eq!(session.task_state(young), "complete");
    assert!(purge(&mut session, "'70 seconds', include_failed => true").starts_with("0 "));
}

#[test]
fn batches_namespaces_and_going_on_behind_the_last() {
    let (_database, mut session) = prepared();
    shapes::chain("other", 1)
        .with("namespace_name", json!("elsewhere"))
        .register(&mut session);
    shapes::chain("third", 1)
        .with("namespace_name", json!("elsewhere"))
        .register(&mut session);
    let ours = session.create_many("two", 5);
    for name in ["other", "third", "other"] {
        session.query(
            "SELECT tasker.create_task($1, namespace => 'elsewhere')",
            &[&name],
        );
    }
    session.query(
        "SELECT tasker.cancel_task(task_uuid) FROM tasker.tasks",
        &[],
    );
    assert!(purge(&mut session, "'0', 2, 'elsewhere'").starts_with("2 2 "));
    assert!(purge(&mut session, "'0', 2, 'elsewhere'").starts_with("1 1 "));
    assert!(purge(&mut session, "'0', 2, 'elsewhere'").starts_with("0 "));
    assert_eq!(tasks(&mut session), 5);
    // Oldest first; going on behind the last one leaves out what is before it.
    let last: Uuid = session.one(
        "SELECT last_uuid FROM tasker.purge_tasks('0', 2, dry_run => true)",
        &[],
    );
    assert_eq!(last, ours[1]);
    let gone: i64 = session.one(
        "SELECT tasks FROM tasker.purge_tasks('0', after_uuid => $1)",
        &[&last],
    );
    assert_eq!(gone, 3);
    let left: Vec<Uuid> = session.all("SELECT task_uuid FROM tasker.tasks ORDER BY 1", &[]);
    assert_eq!(left, ours[..2]);
    assert!(purge(&mut session, "'0', 1").starts_with("1 "));
    assert!(purge(&mut session, "'0', 1").starts_with("1 "));
    let none: Option<Uuid> = session.one("SELECT last_uuid FROM tasker.purge_tasks('0')", &[]);
    assert_eq!(none, None);
}

#[test]
fn a_task_locked_by_another_session_is_left_without_waiting() {
    let (database, mut session) = prepared();
    let busy = session.create("two");
    let free = session.create("two");
    session.work(|_| done());
    let mut operator = database.connect();
    operator.execute("BEGIN");
    operator.query(
        "SELECT tasker.cancel_task($1, cancel_completed => true)",
        &[&busy],
    );
    session.execute("SET statement_timeout = '5s'");
    assert!(purge(&mut session, "'0'").starts_with("1 "));
    assert_eq!(inside::traces(&mut session, free), [""; 0]);
    operator.execute("ROLLBACK");
    assert!(purge(&mut session, "'0'").starts_with("1 "));
    assert_eq!(tasks(&mut session), 0);
}

#[test]
fn an_operator_at_the_same_instant_and_a_purge_never_wait_for_each_other_in_a_circle() {
    let (database, mut session) = prepared();
    // Many steps, so that the operator is still locking them when the purge comes.
    shapes::wide("broad", 300).register(&mut session);
    let mut operator = database.connect();
    let mut purger = database.connect();
    let rounds = race(
        scaled(40, 400),
        |_| {
            let task = session.create("broad");
            session.query("SELECT tasker.cancel_task($1)", &[&task]);
            session.step(task, "step_2")
        },
        |step| {
            operator
                .attempt::<String>("SELECT tasker.set_retry_limit($1, 9)", &[step])
                .map(|_| 0)
        },
        |_| purger.attempt::<i64>("SELECT tasks FROM tasker.purge_tasks('0')", &[]),
    )
    .met();
    for round in rounds {
        round.right.expect("a purge waits for no session");
        if let Err(failure) = round.left {
            failure.is("P0002");
        }
    }
}

#[test]
fn a_task_ended_by_hand_whose_step_still_runs_stays_until_the_step_has_ended() {
    let (_database, mut session) = prepared();
    let task = session.create("two");
    let claim = session.claim_one("w");
    session.query("SELECT tasker.transition_task($1, 'error')", &[&task]);
    session.query("SELECT tasker.resolve_task_manually($1)", &[&task]);
    assert!(purge(&mut session, "'0'").starts_with("0 "));
    session.complete(&claim, &json!({}));
    assert!(purge(&mut session, "'0'").starts_with("1 "));
}

#[test]
fn two_purges_at_once_share_the_work() {
    let (database, mut session) = prepared();
    let count = scaled(2000, 20_000);
    session.create_many("two", count);
    session.query(
        "SELECT tasker.cancel_task(task_uuid) FROM tasker.tasks",
        &[],
    );
    session.create_many("two", 10);
    let sessions: Vec<Mutex<Session>> = (0..2).map(|_| Mutex::new(database.connect())).collect();
    let gone: i64 = together(2, |number| {
        let mut own = sessions[number].lock().expect("one owner");
        let mut gone = 0;
        loop {
            let tasks: i64 = own.one("SELECT tasks FROM tasker.purge_tasks('0', 100)", &[]);
            if tasks == 0 {
                return gone;
            }
            gone += tasks;
        }
    })
    .into_iter()
    .sum();
    assert_eq!(gone, count as i64);
    assert_eq!(states(&mut session), ["pending"; 10]);
}

/// Steps claimed and completed by two workers until told to stop.
fn work_until(database: &Database, stop: &AtomicBool) -> usize {
    let steps = AtomicUsize::new(0);
    let sessions: Vec<Mutex<Session>> = (0..2).map(|_| Mutex::new(database.connect())).collect();
    together(2, |number| {
        let mut own = sessions[number].lock().expect("one owner");
        let name = format!("w{number}");
        let ask = Ask::by(&name, 20);
        let mut reports = vec![];
        while !stop.load(Ordering::Relaxed) {
            let (refused, claims) = own.report_and_claim(&ask, &reports);
            assert!(refused.is_empty(), "{refused:?}");
            if claims.is_empty() {
                own.create_many("two", 200);
            }
            steps.fetch_add(claims.len(), Ordering::Relaxed);
            reports = claims.iter().map(|claim| claim.done(json!({}))).collect();
        }
        let (refused, claims) = own.report_and_claim(
            &Ask {
                most: 1,
                ..ask.clone()
            },
            &reports,
        );
        assert!(refused.is_empty(), "{refused:?}");
        for claim in claims {
            own.complete(&claim, &json!({}));
        }
    });
    steps.into_inner()
}

#[test]
fn a_purge_beside_workers_loses_nothing_and_does_not_stop_them() {
    let (database, mut session) = prepared();
    let span = Duration::from_millis(scaled(1500, 10_000) as u64);
    session.create_many("two", 4000);
    session.work_in("default", {
        let mut left = 1;
        move |_| {
            left -= 1;
            if left < 0 { Act::Keep } else { done() }
        }
    });
    session.query("SELECT tasker.release_steps('worker')", &[]);
    let mut rates = [0, 0];
    let mut purged = 0;
    // Alternating, so that a slow moment of the machine meets both.
    for round in 0..4 {
        let purging = round % 2 == 1;
        let stop = AtomicBool::new(false);
        let (steps, gone) = std::thread::scope(|scope| {
            let (database, stop) = (&database, &stop);
            let purger = scope.spawn(move || {
                let mut own = database.connect();
                let until = Instant::now() + span;
                let mut gone: i64 = 0;
                while Instant::now() < until {
                    if purging {
                        gone +=
                            own.one::<i64>("SELECT tasks FROM tasker.purge_tasks('0', 200)", &[]);
                    } else {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
                stop.store(true, Ordering::Relaxed);
                gone
            });
            (
                work_until(database, stop),
                purger.join().expect("the purge goes on"),
            )
        });
        rates[usize::from(purging)] += steps;
        purged += gone;
    }
    assert!(purged > 0, "nothing was purged");
    let ratio = rates[1] as f64 / rates[0] as f64;
    println!(
        "steps without a purge {}, beside one {}: {ratio:.2}; {purged} tasks purged",
        rates[0], rates[1]
    );
    // A third session takes its share of two processors; what must not happen is that claims wait for it.
    assert!(ratio > 0.25, "{rates:?}");
    // Everything that was ever created is complete, and gone or here.
    session.work(|_| done());
    let bad = session.count(
        "SELECT count(*) FROM tasker.tasks WHERE state <> 'complete'",
        &[],
    );
    assert_eq!(bad, 0);
    let orphans = session.count(
        "SELECT count(*) FROM tasker.workflow_steps s WHERE NOT EXISTS (SELECT FROM tasker.tasks t WHERE t.task_uuid = s.task_uuid)",
        &[],
    );
    assert_eq!(orphans, 0);
}

/// Pages that a purge of five hundred tasks touches.
fn pages(session: &mut Session, arguments: &str) -> i64 {
    let plan: Value = session.one(
        &format!(
            "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) SELECT * FROM tasker.purge_tasks('0', 500, dry_run => true{arguments})"
        ),
        &[],
    );
    let plan = &plan[0]["Plan"];
    ["Shared Hit Blocks", "Shared Read Blocks"]
        .iter()
        .filter_map(|key| plan[*key].as_i64())
        .sum()
}

#[test]
fn a_batch_reads_no_more_than_its_tasks_however_many_wait_behind() {
    let (_database, mut session) = prepared();
    let end = |session: &mut Session, count: usize| {
        session.create_many("two", count);
        session.query(
            "SELECT tasker.cancel_task(task_uuid) FROM tasker.tasks WHERE state = 'pending'",
            &[],
        );
    };
    end(&mut session, 1200);
    let kinds = ["", ", namespace => 'default'"];
    let few = kinds.map(|arguments| pages(&mut session, arguments));
    end(&mut session, scaled(8000, 100_000));
    // Without statistics and with.
    for _ in 0..2 {
        for (arguments, few) in kinds.iter().zip(few) {
            // The first call plans.
            pages(&mut session, arguments);
            let read = pages(&mut session, arguments);
            assert!(read < few * 2, "{read} pages instead of {few}{arguments}");
        }
        session.execute("VACUUM ANALYZE");
    }
}

#[test]
fn of_long_tasks_a_batch_takes_fewer() {
    let (_database, mut session) = prepared();
    shapes::wide("long", 2000).register(&mut session);
    session.create_many("long", 27);
    inside::end_all(&mut session);
    // 2000 steps each: the one that reaches 50,000 is the last.
    assert!(purge(&mut session, "'0', dry_run => true").starts_with("25 50000 "));
    session.query("SELECT tasker.set_retention('default', '1 ms')", &[]);
    assert_eq!(inside::run_retention(&mut session), 25);
    assert_eq!(maintain(&mut session), 2);
    assert_eq!(tasks(&mut session), 0);
}

// ---- retention ------------------------------------------------------------------------------------------------------

fn retention(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT concat_ws(' | ', namespace_name, completed, failed, source, purged_tasks, last_purged_at IS NOT NULL) FROM tasker.retention ORDER BY 1",
        &[],
    )
}

#[test]
fn maintenance_keeps_to_the_retention_of_each_namespace() {
    let (_database, mut session) = prepared();
    shapes::chain("other", 1)
        .with("namespace_name", json!("elsewhere"))
        .register(&mut session);
    one_of_each(&mut session);
    session.query(
        "SELECT tasker.cancel_task(tasker.create_task('other', namespace => 'elsewhere'))",
        &[],
    );
    assert_eq!(
        retention(&mut session),
        ["default | none | 0 | f", "elsewhere | none | 0 | f"]
    );
    assert_eq!(maintain(&mut session), 0);
    assert_eq!(tasks(&mut session), 7);

    session.query("SELECT tasker.set_retention('default', '1 ms')", &[]);
    std::thread::sleep(Duration::from_millis(2));
    assert_eq!(maintain(&mut session), 3);
    assert_eq!(
        states(&mut session),
        ["cancelled", "error", "in_progress", "pending"]
    );
    assert_eq!(
        retention(&mut session),
        [
            "default | 00:00:00.001 | namespace | 3 | t",
            "elsewhere | none | 0 | f"
        ]
    );
    session.query(
        "SELECT tasker.set_retention('default', '1 ms', '1 ms')",
        &[],
    );
    assert_eq!(maintain(&mut session), 1);
    assert_eq!(
        states(&mut session),
        ["cancelled", "in_progress", "pending"]
    );
    // Young ones stay, and 0 means without limit, whatever the default says.
    session.execute("SET tasker.default_retention = '1h'");
    session.query("SELECT tasker.set_retention('default', '0')", &[]);
    assert_eq!(
        retention(&mut session),
        [
            "default | namespace | 4 | t",
            "elsewhere | 01:00:00 | default | 0 | f"
        ]
    );
    assert_eq!(maintain(&mut session), 0);
    session.query("SELECT tasker.set_retention('default')", &[]);
    assert_eq!(
        retention(&mut session)[0],
        "default | 01:00:00 | default | 4 | t"
    );
}

#[test]
fn a_retention_of_less_than_a_second_is_not_forever() {
    let (_database, mut session) = prepared();
    for (value, kept) in [
        ("0", None),
        ("1ms", Some("00:00:00.001")),
        ("400us", Some("00:00:00.0004")),
        ("0.4", Some("00:00:00.4")),
        ("90d", Some("90 days")),
        ("1234567", Some("342:56:07")),
        ("2147483647", Some("596523:14:07")),
    ] {
        session.execute(&format!("SET tasker.default_retention = '{value}'"));
        let completed: Option<String> = session.one(
            "SELECT completed::text FROM tasker.retention WHERE namespace_name = 'default'",
            &[],
        );
        assert_eq!(completed.as_deref(), kept, "{value}");
    }
    session.create("two");
    session.work(|_| done());
    session.execute("SET tasker.default_retention = '1ms'");
    assert_eq!(maintain(&mut session), 1);
}

#[test]
fn a_batch_is_bounded_over_all_namespaces_and_each_has_its_turn() {
    let (_database, mut session) = prepared();
    for number in 1..=3 {
        let (name, namespace) = (format!("t{number}"), format!("n{number}"));
        shapes::chain(&name, 1)
            .with("namespace_name", json!(namespace))
            .register(&mut session);
        session.query(
            "SELECT count(*) FROM tasker.create_tasks($1, array_fill('{}'::jsonb, ARRAY[700]), namespace => $2)",
            &[&name, &namespace],
        );
        session.query("SELECT tasker.set_retention($1, '1 ms')", &[&namespace]);
    }
    inside::end_all(&mut session);
    std::thread::sleep(Duration::from_millis(5));
    let mut served = vec![];
    for _ in 0..4 {
        let done = inside::run_retention(&mut session);
        let left: i64 = session.count(
            "SELECT count(DISTINCT namespace_name) FROM tasker.tasks",
            &[],
        );
        served.push((done, left));
    }
    // 700 + 300, 700 + 300 of those left, 100 of the last one, nothing.
    assert_eq!(served, [(1000, 2), (1000, 1), (100, 0), (0, 0)]);
}

#[test]
fn the_walk_continues_where_it_stopped_and_starts_again_for_what_it_left_behind() {
    let (_database, mut session) = prepared();
    session.query("SELECT tasker.set_retention('default', '1 ms')", &[]);
    let late = session.create("two");
    let claim = session.claim_one("slow");
    let ended = session.create_many("two", 2500);
    session.query(
        "SELECT tasker.cancel_task(u) FROM unnest($1::uuid[]) u",
        &[&ended],
    );
    assert_eq!(inside::run_retention(&mut session), 1000);
    assert_eq!(maintain(&mut session), 1500);
    session.complete(&claim, &json!({}));
    session.work(|_| done());
    assert_eq!(session.task_state(late), "complete");
    std::thread::sleep(Duration::from_millis(5));
    inside::sweep_past_all(&mut session);
    let before = inside::fingerprint(&mut session);
    assert_eq!(maintain(&mut session), 0);
    assert_eq!(
        inside::fingerprint(&mut session),
        before,
        "an idle round writes nothing"
    );
    inside::sweep_again(&mut session);
    assert_eq!(maintain(&mut session), 1);
    assert_eq!(tasks(&mut session), 0);
}

#[test]
fn only_administrators_purge_and_readers_see_the_settings() {
    let (database, mut session) = prepared();
    session.execute(
        "CREATE ROLE retention_operator LOGIN; GRANT tasker_operator TO retention_operator;
         CREATE ROLE retention_admin LOGIN; GRANT tasker_admin TO retention_admin;",
    );
    let mut operator = database.connect_as("retention_operator");
    operator
        .fails("SELECT tasker.purge_tasks('0')", &[])
        .is("42501");
    operator
        .fails("SELECT tasker.set_retention('default', '1 day')", &[])
        .is("42501");
    assert_eq!(retention(&mut operator).len(), 1);
    operator.query("SELECT * FROM tasker.task_timeouts", &[]);
    let mut admin = database.connect_as("retention_admin");
    admin.query("SELECT tasker.set_retention('default', '1 day')", &[]);
    assert_eq!(purge(&mut admin, "'0'"), "0 0 0 0");
}

#[test]
fn bad_input_is_refused_and_nothing_deleted() {
    let (_database, mut session) = prepared();
    one_of_each(&mut session);
    let before = inside::fingerprint(&mut session);
    for (code, words, call) in [
        ("22004", "older_than", "purge_tasks(NULL)"),
        ("22004", "batch", "purge_tasks('0', NULL)"),
        (
            "22004",
            "include_failed",
            "purge_tasks('0', include_failed => NULL)",
        ),
        ("22004", "dry_run", "purge_tasks('0', dry_run => NULL)"),
        ("22023", "older_than -00:00:01", "purge_tasks('-1 second')"),
        ("22023", "1000 years", "purge_tasks('1001 years')"),
        ("22023", "batch 0", "purge_tasks('0', 0)"),
        ("22023", "batch -1", "purge_tasks('0', -1)"),
        ("22023", "batch 100001", "purge_tasks('0', 100001)"),
        (
            "P0002",
            "nowhere",
            "purge_tasks('0', namespace => 'nowhere')",
        ),
        ("22004", "namespace", "set_retention(NULL)"),
        ("22023", "completed", "set_retention('default', '-1 day')"),
        (
            "22023",
            "failed",
            "set_retention('default', NULL, '-1 day')",
        ),
        ("P0002", "nowhere", "set_retention('nowhere')"),
    ] {
        let failure = session
            .fails(&format!("SELECT tasker.{call}"), &[])
            .is(code)
            .says(&[words]);
        assert!(
            !failure.detail.is_empty() && !failure.hint.is_empty(),
            "{failure}"
        );
    }
    session
        .fails("SET tasker.default_retention = '-1'", &[])
        .is("22023");
    session
        .fails("SET tasker.default_retention = 'soon'", &[])
        .is("22023");
    assert_eq!(inside::fingerprint(&mut session), before);
}

#[test]
fn a_key_whose_task_is_purged_at_that_moment_is_kept_for_the_new_task() {
    let (database, mut session) = prepared();
    let create = "SELECT tasker.create_task('two', idempotency_key => 'key')";
    let old: Uuid = session.one(create, &[]);
    session.work(|_| done());
    inside::wait_behind_identities(&mut session);
    session.query("SELECT pg_advisory_lock(77)", &[]);
    let mut creator = database.connect();
    let pid = creator.pid();
    let new = std::thread::scope(|scope| {
        let waiting = scope.spawn(move || creator.one::<Uuid>(create, &[]));
        session.wait_until_blocked(pid);
        assert!(purge(&mut session, "'0'").starts_with("1 "));
        session.query("SELECT pg_advisory_unlock(77)", &[]);
        waiting.join().expect("no panic")
    });
    assert_ne!(new, old);
    assert_eq!(session.one::<Uuid>(create, &[]), new);
    assert_eq!(tasks(&mut session), 1);
}
