//! Metrics: each is moved by the call it speaks of, counts what was committed and nothing else, and can be read by
//! Prometheus. With shared_preload_libraries and without.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tasker_client_tests::server::Server;
use tasker_client_tests::worker::{Ask, done};
use tasker_client_tests::{
    Act, Database, Session, Template, Uuid, database, inside, json, long, patience, shapes,
};

static NUMBER: AtomicU32 = AtomicU32::new(0);

fn preloaded_server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        Server::start(&[
            "shared_preload_libraries=tasker_ext",
            "max_prepared_transactions=2",
            "max_worker_processes=64",
        ])
    })
}

/// A database on a server without or with the library preloaded.
enum Home {
    Plain(Database),
    Preloaded(String),
}

impl Home {
    fn preloaded() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("metrics_{number}");
        preloaded_server()
            .connect("postgres")
            .execute(&format!("CREATE DATABASE {name} TEMPLATE template0"));
        let home = Self::Preloaded(name);
        database::install(&mut home.connect());
        home
    }

    fn plain() -> Self {
        Self::Plain(Database::new())
    }

    fn both() -> [Self; 2] {
        [Self::plain(), Self::preloaded()]
    }

    fn connect(&self) -> Session {
        self.connect_as("postgres")
    }

    fn connect_as(&self, user: &str) -> Session {
        match self {
            Self::Plain(database) => database.connect_as(user),
            Self::Preloaded(name) => Session::open(preloaded_server().config(name, user)),
        }
    }

    /// A second session sees what the first has counted. In the table, a backend writes it with the next finalization
    /// claim; in shared memory it is there.
    fn settle(&self, session: &mut Session) {
        if matches!(self, Self::Plain(_)) {
            session.query(
                "SELECT * FROM tasker.claim_task_for_finalization($1, 'settler')",
                &[&Uuid::now_v7()],
            );
        }
    }
}

impl Drop for Home {
    /// Its coordinator and executors make room.
    fn drop(&mut self) {
        if let Self::Preloaded(name) = self
            && !std::thread::panicking()
        {
            preloaded_server()
                .connect("postgres")
                .execute(&format!("DROP DATABASE {name} WITH (FORCE)"));
        }
    }
}

/// Name and labels of every sample, and its value.
type Samples = BTreeMap<String, f64>;

fn samples(session: &mut Session) -> Samples {
    session
        .query(
            "SELECT name || CASE WHEN labels = '{}' THEN '' ELSE ' ' || labels::text END, value
             FROM tasker.metrics WHERE value IS NOT NULL",
            &[],
        )
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect()
}

/// The samples with this prefix that changed between two readings; times, sums and what has labels of tasks aside.
fn moved(before: &Samples, after: &Samples, prefix: &str) -> Vec<String> {
    after
        .iter()
        .filter(|(name, _)| {
            name.starts_with(prefix)
                && !name.contains("_seconds")
                && !name.contains("_by_step_")
                && !name.contains("_by_template_")
        })
        .filter_map(|(name, value)| {
            let by = value - before.get(name).copied().unwrap_or_default();
            (by != 0.0).then(|| format!("{name} {by:+}"))
        })
        .collect()
}

fn value(session: &mut Session, name: &str) -> f64 {
    session.one(
        "SELECT value FROM tasker.metrics WHERE name = $1 AND labels = '{}'",
        &[&name],
    )
}

fn claim(session: &mut Session, task: Uuid, processor: &str) -> bool {
    session.one(
        "SELECT claimed FROM tasker.claim_task_for_finalization($1, $2)",
        &[&task, &processor],
    )
}

/// A task with one finished and one open step.
fn claimable(session: &mut Session) -> Uuid {
    shapes::wide("wide", 2).register(session);
    let task = session.create("wide");
    session.work_through("step_1");
    task
}

const EXTEND: &str = "SELECT tasker.extend_finalization_claim($1, $2)";
const RELEASE: &str = "SELECT tasker.release_finalization_claim($1, $2)";

// ---- finalization claims ---------------------------------------------------------------------------------------------

/// The number of values in the histograms of finalization.
fn values_of_finalization(samples: &Samples) -> f64 {
    samples
        .iter()
        .filter(|(name, _)| name.starts_with("finalization_") && name.ends_with("_seconds_count"))
        .map(|(_, value)| value)
        .sum()
}

/// The act moves these metrics of finalization, and every call is one value of a histogram.
#[track_caller]
fn moves(reader: &mut Session, act: impl FnOnce(), wanted: &[&str]) {
    let before = samples(reader);
    act();
    let after = samples(reader);
    assert_eq!(moved(&before, &after, "finalization_"), wanted);
    let attempts = wanted
        .iter()
        .filter(|line| line.contains("_attempts_total"));
    let values = values_of_finalization(&after) - values_of_finalization(&before);
    assert_eq!(values, attempts.count() as f64);
}

#[test]
fn each_finalization_metric_is_moved_by_its_call() {
    for home in Home::both() {
        let mut session = home.connect();
        let task = claimable(&mut session);
        let mut reader = home.connect();
        moves(
            &mut reader,
            || assert!(claim(&mut session, task, "one")),
            &[
                "finalization_claim_attempts_total +1",
                "finalization_claim_success_total +1",
            ],
        );
        moves(
            &mut reader,
            || assert!(claim(&mut session, task, "one")),
            &[
                "finalization_claim_attempts_total +1",
                "finalization_claim_success_total +1",
            ],
        );
        moves(
            &mut reader,
            || assert!(!claim(&mut session, task, "two")),
            &[
                "finalization_claim_attempts_total +1",
                "finalization_claim_contention_by_reason_total {\"reason\": \"already_claimed\"} +1",
                "finalization_claim_contention_total +1",
            ],
        );
        moves(
            &mut reader,
            || assert!(session.one::<bool>(EXTEND, &[&task, &"one"])),
            &[
                "finalization_claim_extend_attempts_total +1",
                "finalization_claim_extend_success_total +1",
            ],
        );
        moves(
            &mut reader,
            || assert!(!session.one::<bool>(EXTEND, &[&task, &"two"])),
            &[
                "finalization_claim_extend_attempts_total +1",
                "finalization_claim_extend_failed_total +1",
            ],
        );
        moves(
            &mut reader,
            || assert!(!session.one::<bool>(RELEASE, &[&task, &"two"])),
            &[
                "finalization_claim_release_attempts_total +1",
                "finalization_claim_release_not_owned_total +1",
            ],
        );
        moves(
            &mut reader,
            || assert!(session.one::<bool>(RELEASE, &[&task, &"one"])),
            &[
                "finalization_claim_release_attempts_total +1",
                "finalization_claim_release_success_total +1",
            ],
        );
        // A call that raises changed nothing, and counts as nothing.
        moves(
            &mut reader,
            || {
                drop(
                    session
                        .fails(EXTEND, &[&Uuid::now_v7(), &"one"])
                        .is("P0002"),
                )
            },
            &[],
        );
        moves(
            &mut reader,
            || drop(session.fails(RELEASE, &[&task, &" "]).is("22023")),
            &[],
        );
    }
}

fn reasons(session: &mut Session) -> Vec<(String, i32)> {
    session
        .query(
            "SELECT r.key, r.value::int FROM tasker.finalization_metrics m, jsonb_each_text(m.by_reason) r
             WHERE m.name = 'finalization_claim_contention_by_reason_total' AND r.value::int <> 0 ORDER BY 1",
            &[],
        )
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect()
}

#[test]
fn contention_is_counted_by_reason() {
    for home in Home::both() {
        let mut session = home.connect();
        let task = claimable(&mut session);
        let mut expected: Vec<(String, i32)> = vec![];
        let mut check = |session: &mut Session, reason: &str| {
            expected.push((reason.to_owned(), 1));
            expected.sort();
            assert_eq!(reasons(session), expected);
        };
        assert!(!claim(&mut session, Uuid::now_v7(), "one"));
        check(&mut session, "other");

        let fresh = session.create("wide");
        assert!(!claim(&mut session, fresh, "one"));
        check(&mut session, "not_ready");

        session.query("SELECT tasker.cancel_task($1)", &[&fresh]);
        assert!(!claim(&mut session, fresh, "one"));
        check(&mut session, "already_complete");

        assert!(claim(&mut session, task, "one"));
        assert!(!claim(&mut session, task, "two"));
        check(&mut session, "already_claimed");
        session.query(RELEASE, &[&task, &"one"]);

        // Two at once: the second finds no claim, waits for the first, and finds that it was later.
        let mut first = home.connect();
        first.execute("BEGIN");
        assert!(claim(&mut first, task, "first"));
        std::thread::scope(|scope| {
            let mut second = home.connect();
            let pid = second.pid();
            let waiting = scope.spawn(move || claim(&mut second, task, "second"));
            while !session.one::<bool>(
                "SELECT coalesce((SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1), false)",
                &[&pid],
            ) {
                std::thread::sleep(Duration::from_millis(5));
            }
            first.execute("COMMIT");
            assert!(!waiting.join().expect("no panic"));
        });
        check(&mut session, "race_condition");
    }
}

#[test]
fn the_view_shows_thirteen_with_their_estimates() {
    for home in Home::both() {
        let mut session = home.connect();
        let names: Vec<String> = session.all("SELECT name FROM tasker.finalization_metrics", &[]);
        assert_eq!(
            names,
            [
                "finalization_claim_duration_seconds",
                "finalization_claim_release_duration_seconds",
                "finalization_claim_extend_duration_seconds",
                "finalization_claim_attempts_total",
                "finalization_claim_success_total",
                "finalization_claim_contention_total",
                "finalization_claim_contention_by_reason_total",
                "finalization_claim_release_attempts_total",
                "finalization_claim_release_success_total",
                "finalization_claim_release_not_owned_total",
                "finalization_claim_extend_attempts_total",
                "finalization_claim_extend_success_total",
                "finalization_claim_extend_failed_total"
            ]
        );
        let shown = "SELECT concat_ws(' ', count, round(sum_seconds::numeric), buckets->'0.25', buckets->'1', buckets->'+Inf',
                            p50, round(p95::numeric, 3), round(p99::numeric, 3), coalesce(value::text, '-'))
                     FROM tasker.finalization_metrics WHERE name = 'finalization_claim_duration_seconds'";
        // Nothing yet: no estimates.
        assert_eq!(session.one::<String>(shown, &[]), "0 0 0 0 0 -");
        inside::slow_claims(&mut session, 60, 0.2);
        inside::slow_claims(&mut session, 40, 0.6);
        // 60 between 0.1 and 0.25: the median is the 50th of them; 40 between 0.5 and 1.
        assert_eq!(
            session.one::<String>(shown, &[]),
            "100 36 60 100 100 0.225 0.938 0.988 -"
        );
    }
}

#[test]
fn alerts_are_judged_by_both_halves_of_their_window() {
    let home = Home::plain();
    let mut session = home.connect();
    let mut reader = home.connect();
    let mut states = || -> Vec<String> {
        reader.all(
            "SELECT concat_ws(' ', alert, state, round(value::numeric, 2), attempts) FROM tasker.finalization_alerts ORDER BY alert DESC",
            &[],
        )
    };
    assert_eq!(
        states(),
        [
            "finalization_contention ok 0",
            "finalization_claim_slow ok 0"
        ]
    );
    let task = claimable(&mut session);
    assert!(claim(&mut session, task, "one"));
    assert!(!claim(&mut session, task, "two"));
    // Half is not more than half.
    assert_eq!(states()[0], "finalization_contention ok 0.50 2");
    assert!(!claim(&mut session, task, "two"));
    assert_eq!(states()[0], "finalization_contention pending 0.67 3");
    inside::age_counters(&mut session, 70);
    assert_eq!(states()[0], "finalization_contention ok 0.67 3");
    assert!(!claim(&mut session, task, "two"));
    assert_eq!(states()[0], "finalization_contention firing 0.75 4");
    inside::age_counters(&mut session, 130);
    assert_eq!(states()[0], "finalization_contention ok 0");

    inside::slow_claims(&mut session, 3, 2.0);
    assert_eq!(states()[1], "finalization_claim_slow pending 2.43 3");
    inside::age_counters(&mut session, 40);
    inside::slow_claims(&mut session, 3, 2.0);
    assert_eq!(states()[1], "finalization_claim_slow firing 2.43 6");
    inside::age_counters(&mut session, 40);
    assert_eq!(states()[1], "finalization_claim_slow ok 2.43 3");
}

#[test]
fn alerts_see_shared_memory_too() {
    let home = Home::preloaded();
    let mut session = home.connect();
    let task = claimable(&mut session);
    let lasting = "SELECT claimed FROM tasker.claim_task_for_finalization($1, 'one', 3600)";
    assert!(session.one::<bool>(lasting, &[&task]));
    for _ in 0..3 {
        assert!(!claim(&mut session, task, "two"));
    }
    let state = "SELECT state || ' ' || value || ' ' || attempts FROM tasker.finalization_alerts WHERE alert = 'finalization_contention'";
    assert_eq!(session.one::<String>(state, &[]), "pending 0.75 4");
    if long() {
        std::thread::sleep(Duration::from_secs(75));
        assert_eq!(session.one::<String>(state, &[]), "ok 0.75 4");
        assert!(!claim(&mut session, task, "two"));
        assert_eq!(session.one::<String>(state, &[]), "firing 0.8 5");
        std::thread::sleep(Duration::from_secs(200));
        assert!(
            session
                .one::<Option<String>>(state, &[])
                .is_none_or(|state| state.starts_with("ok"))
        );
    }
}

// ---- what counts -------------------------------------------------------------------------------------------------------

#[test]
fn what_is_rolled_back_does_not_count() {
    for home in Home::both() {
        let mut session = home.connect();
        let mut reader = home.connect();
        let task = claimable(&mut session);
        home.settle(&mut session);
        let before = samples(&mut reader);
        session.execute("BEGIN");
        assert!(claim(&mut session, task, "one"));
        session.create("wide");
        session.claim(&Ask::by("worker", 5));
        session.execute("ROLLBACK");
        // A call that fails after it counted.
        session
            .fails(
                "SELECT tasker.create_task('wide'), 1 / (random() * 0)::int",
                &[],
            )
            .is("22012");
        // What would have been left over goes with the next commit.
        session.query("SELECT * FROM tasker.heartbeat('worker')", &[]);
        home.settle(&mut session);
        let after = samples(&mut reader);
        assert_eq!(
            moved(&before, &after, "tasker_heartbeats"),
            ["tasker_heartbeats_total +1"]
        );
        assert_eq!(
            moved(&before, &after, "finalization_claim_success"),
            [""; 0]
        );
        assert_eq!(moved(&before, &after, "tasker_steps"), [""; 0]);
        assert_eq!(moved(&before, &after, "tasker_tasks"), [""; 0]);
        assert_eq!(moved(&before, &after, "tasker_claim"), [""; 0]);
    }
}

#[test]
fn of_savepoints_only_what_lasts_counts() {
    for home in Home::both() {
        let mut session = home.connect();
        let mut reader = home.connect();
        let task = claimable(&mut session);
        home.settle(&mut session);
        let before = samples(&mut reader);
        session.execute("BEGIN");
        session.create("wide");
        session.execute("SAVEPOINT lost");
        session.create_many("wide", 10);
        assert!(claim(&mut session, task, "one"));
        session.execute("SAVEPOINT within");
        session.create_many("wide", 100);
        session.execute("RELEASE within");
        session.execute("ROLLBACK TO lost");
        session.execute("SAVEPOINT kept");
        session.create_many("wide", 1000);
        assert!(claim(&mut session, task, "two"));
        session.execute("RELEASE kept");
        // An error that plpgsql catches undoes its block.
        session.execute(
            "DO $$ BEGIN
                 PERFORM tasker.create_task('wide');
                 RAISE 'caught';
             EXCEPTION WHEN OTHERS THEN
                 PERFORM tasker.create_task('wide');
             END $$",
        );
        assert_eq!(
            moved(&before, &samples(&mut reader), "tasker_tasks_created"),
            [""; 0],
            "counted before the commit"
        );
        session.execute("COMMIT");
        home.settle(&mut session);
        let after = samples(&mut reader);
        assert_eq!(
            moved(&before, &after, "tasker_tasks"),
            ["tasker_tasks_created_total +1002"]
        );
        assert_eq!(
            moved(&before, &after, "finalization_claim_success"),
            ["finalization_claim_success_total +1"]
        );
    }
}

#[test]
fn a_prepared_transaction_counts_when_it_is_prepared() {
    let home = Home::preloaded();
    let mut session = home.connect();
    shapes::wide("wide", 1).register(&mut session);
    session.execute("BEGIN");
    session.create("wide");
    session.execute("PREPARE TRANSACTION 'metrics'");
    assert_eq!(value(&mut session, "tasker_tasks_created_total"), 1.0);
    session.execute("COMMIT PREPARED 'metrics'");
    assert_eq!(value(&mut session, "tasker_tasks_created_total"), 1.0);
}

/// Which counters of steps, tasks, reports, claims and heartbeats a session moves from check to check.
struct Counters<'a> {
    home: &'a Home,
    reader: Session,
    before: Samples,
}

impl<'a> Counters<'a> {
    /// A session with templates, and its counters as they are.
    fn of(home: &'a Home) -> (Session, Self) {
        let mut session = home.connect();
        shapes::wide("wide", 2).register(&mut session);
        shapes::chain("strict", 1)
            .every_step(json!({ "results_schema": { "type": "object", "required": ["sum"] } }))
            .register(&mut session);
        shapes::chain("skipped", 2)
            .change("step_1", json!({ "skippable": true }))
            .register(&mut session);
        home.settle(&mut session);
        let mut reader = home.connect();
        let before = samples(&mut reader);
        let counters = Self {
            home,
            reader,
            before,
        };
        (session, counters)
    }

    #[track_caller]
    fn check(&mut self, session: &mut Session, wanted: &[&str]) {
        self.home.settle(session);
        let after = samples(&mut self.reader);
        let all: Vec<String> = ["steps", "tasks", "reports", "claim_", "heartbeats"]
            .iter()
            .flat_map(|kind| moved(&self.before, &after, &format!("tasker_{kind}")))
            .collect();
        assert_eq!(all, wanted);
        self.before = after;
    }
}

#[test]
fn claims_and_reports_move_their_counters() {
    for home in Home::both() {
        let (mut session, mut counters) = Counters::of(&home);
        let task = session.create("wide");
        counters.check(
            &mut session,
            &[
                "tasker_steps_created_total +2",
                "tasker_tasks_created_total +1",
            ],
        );
        let claims = session.claim_all("worker");
        assert!(session.claim_all("worker").is_empty());
        counters.check(
            &mut session,
            &[
                "tasker_steps_claimed_total +2",
                "tasker_tasks_started_total +1",
                "tasker_claim_calls_empty_total +1",
                "tasker_claim_calls_total +2",
            ],
        );
        session.query("SELECT * FROM tasker.heartbeat('worker')", &[]);
        counters.check(&mut session, &["tasker_heartbeats_total +1"]);
        session.fail(&claims[0]);
        counters.check(&mut session, &["tasker_steps_failed_total +1"]);
        let again = session.claim_one("worker");
        counters.check(
            &mut session,
            &[
                "tasker_steps_claimed_total +1",
                "tasker_steps_retried_total +1",
                "tasker_claim_calls_total +1",
            ],
        );
        session.complete(&again, &json!({}));
        // The same again, an old claim, a step that is not there, and results that break their schema.
        session.complete(&again, &json!({}));
        session.try_complete(&claims[0]).expect_err("stale");
        session
            .fails(
                "SELECT tasker.complete_step($1, 1)",
                &[&Uuid::from_u128(task.as_u128() + 9)],
            )
            .is("P0002");
        counters.check(
            &mut session,
            &[
                "tasker_steps_completed_total +1",
                "tasker_reports_refused_total {\"outcome\": \"duplicate\"} +1",
                "tasker_reports_refused_total {\"outcome\": \"stale\"} +1",
                "tasker_reports_refused_total {\"outcome\": \"unknown_step\"} +1",
            ],
        );
        assert_eq!(
            session.one::<i32>("SELECT tasker.release_steps('worker')", &[]),
            1
        );
        counters.check(&mut session, &["tasker_steps_released_total +1"]);
    }
}

#[test]
fn take_overs_and_retries_of_tasks_move_their_counters() {
    for home in Home::both() {
        let (mut session, _) = Counters::of(&home);
        let task = session.create("wide");
        session.work_through("step_1");
        session.claim(&Ask {
            lease: "1 millisecond",
            ..Ask::by("lost", 1)
        });
        // The lease ends, and the next claim takes the step over.
        std::thread::sleep(Duration::from_millis(30));
        let claims = session.claim_soon(&Ask::by("worker", 1), 1);
        assert_eq!(claims.len(), 1);
        let after: f64 = {
            home.settle(&mut session);
            value(&mut session, "tasker_steps_expired_total")
        };
        assert_eq!(after, 1.0);
        session.fail_for_good(&claims[0]);
        home.settle(&mut session);
        assert_eq!(value(&mut session, "tasker_tasks_failed_total"), 1.0);
        session.query("SELECT tasker.retry_task($1)", &[&task]);
        session.work(|_| done());
        home.settle(&mut session);
        assert_eq!(value(&mut session, "tasker_tasks_reopened_total"), 1.0);
        assert_eq!(value(&mut session, "tasker_tasks_completed_total"), 1.0);
    }
}

#[test]
fn operators_move_their_counters() {
    for home in Home::both() {
        let (mut session, mut counters) = Counters::of(&home);
        let task = session.create("wide");
        session.query("SELECT tasker.cancel_task($1)", &[&task]);
        counters.check(
            &mut session,
            &[
                "tasker_steps_cancelled_total +2",
                "tasker_steps_created_total +2",
                "tasker_tasks_cancelled_total +1",
                "tasker_tasks_created_total +1",
            ],
        );
        let task = session.one::<Uuid>(
            "SELECT tasker.create_task('skipped', bypass_steps => '[\"step_1\"]')",
            &[],
        );
        let claimed = session.claim_one("worker");
        session.fail_for_good(&claimed);
        session.query("SELECT tasker.resolve_task_manually($1)", &[&task]);
        counters.check(
            &mut session,
            &[
                "tasker_steps_claimed_total +1",
                "tasker_steps_created_total +2",
                "tasker_steps_failed_total +1",
                "tasker_steps_resolved_total +1",
                "tasker_tasks_created_total +1",
                "tasker_tasks_failed_total +1",
                "tasker_tasks_resolved_total +1",
                "tasker_tasks_started_total +1",
                "tasker_claim_calls_total +1",
            ],
        );
    }
}

#[test]
fn refused_reports_move_their_counters() {
    for home in Home::both() {
        let (mut session, mut counters) = Counters::of(&home);
        // In a batch a refusal is a row: it counts with the transaction.
        session.create("strict");
        let claimed = session.claim_one("worker");
        let reports = json!([claimed.done(json!({})), { "step_uuid": "?" }]);
        session.query(
            "SELECT * FROM tasker.report_steps('worker', $1)",
            &[&reports],
        );
        session
            .fails(
                "SELECT tasker.complete_step($1, $2)",
                &[&claimed.step, &claimed.number],
            )
            .is("23514");
        counters.check(
            &mut session,
            &[
                "tasker_steps_claimed_total +1",
                "tasker_steps_created_total +1",
                "tasker_tasks_created_total +1",
                "tasker_tasks_started_total +1",
                "tasker_reports_refused_total {\"outcome\": \"invalid\"} +3",
                "tasker_claim_calls_total +1",
            ],
        );
    }
}

#[test]
fn a_notification_counts() {
    for home in Home::both() {
        let mut session = home.connect();
        shapes::wide("wide", 1).register(&mut session);
        let mut idle = home.connect();
        assert!(idle.claim(&Ask::by("idle", 1)).is_empty());
        session.create("wide");
        home.settle(&mut session);
        assert_eq!(value(&mut session, "tasker_notifies_total"), 1.0);
    }
}

#[test]
fn histograms_of_steps_hold_every_wait_and_every_run() {
    for home in Home::both() {
        let mut session = home.connect();
        shapes::wide("wide", 3).register(&mut session);
        session.create("wide");
        let claims = session.claim_all("worker");
        std::thread::sleep(Duration::from_millis(60));
        session.complete(&claims[0], &json!({}));
        session.fail_for_good(&claims[1]);
        home.settle(&mut session);
        let all = samples(&mut session);
        assert_eq!(all["tasker_step_wait_seconds_count"], 3.0);
        assert_eq!(all["tasker_step_run_seconds_count"], 2.0);
        assert!(all["tasker_step_run_seconds_sum"] >= 0.12);
        assert!(all["tasker_step_run_seconds_sum"] < 60.0);
        assert_eq!(
            all["tasker_step_run_seconds_bucket {\"le\": \"0.05\"}"],
            0.0
        );
        assert_eq!(all["tasker_step_run_seconds_bucket {\"le\": \"60\"}"], 2.0);
        assert_eq!(
            all["tasker_step_run_seconds_bucket {\"le\": \"+Inf\"}"],
            2.0
        );
    }
}

#[test]
fn every_worker_has_its_own_counters() {
    for home in Home::both() {
        let mut session = home.connect();
        shapes::wide("wide", 5).register(&mut session);
        session.create("wide");
        let mut first = session.claim(&Ask::by("first", 3));
        session.complete(&first.remove(0), &json!({}));
        session.fail_for_good(&first.remove(0));
        session.query("SELECT tasker.release_steps('first')", &[]);
        session.claim(&Ask {
            lease: "1 millisecond",
            ..Ask::by("second", 2)
        });
        std::thread::sleep(Duration::from_millis(30));
        while session.claim(&Ask::by("third", 5)).is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        home.settle(&mut session);
        let rows: Vec<String> = session.all(
            "SELECT concat_ws(' ', worker_id, live, steps_claimed, steps_completed, steps_failed, steps_expired, steps_released)
             FROM tasker.worker_metrics
             WHERE worker_id IN ('first', 'second', 'third') AND last_seen_at > now() - interval '1 minute' ORDER BY worker_id",
            &[],
        );
        assert_eq!(rows[0], "first t 3 1 1 0 1");
        assert_eq!(rows[1], "second t 2 0 0 2 0");
        assert_eq!(rows.len(), 3);
    }
}

#[test]
fn the_coordinator_is_measured_where_there_is_to_be_one() {
    let samples_of = |home: &Home| samples(&mut home.connect());
    assert!(!samples_of(&Home::plain()).contains_key("tasker_coordinator_running"));
    let home = Home::preloaded();
    let deadline = Instant::now() + patience(30);
    while samples_of(&home)["tasker_coordinator_running"] != 1.0 {
        assert!(Instant::now() < deadline, "no coordinator came");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn executors_are_counted_by_pool_and_as_workers() {
    let home = Home::preloaded();
    let mut session = home.connect();
    session.execute(
        "CREATE FUNCTION public.work(jsonb) RETURNS jsonb LANGUAGE sql RETURN '{\"done\": true}'::jsonb",
    );
    shapes::wide("inside", 3)
        .every_step(json!({ "handler": { "callable": "sql:public.work" } }))
        .register(&mut session);
    let task = session.create("inside");
    let deadline = Instant::now() + patience(30);
    while session.task_state(task) != "complete" {
        assert!(Instant::now() < deadline, "no executor came");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(value(&mut session, "tasker_steps_completed_total"), 3.0);
    assert_eq!(
        session.count(
            "SELECT sum(steps_completed) FROM tasker.worker_metrics",
            &[]
        ),
        3
    );
    // The executors may be gone by now, but not their pool.
    let all = samples(&mut session);
    assert!(all.contains_key("tasker_pool_desired_executors {\"pool\": \"default\"}"));
    assert!(all.contains_key("tasker_pool_executors {\"pool\": \"default\", \"state\": \"busy\"}"));
    let steps: f64 = all
        .iter()
        .filter(|(name, _)| name.starts_with("tasker_executor_steps_total"))
        .map(|(_, value)| value)
        .sum();
    let running = session.count("SELECT sum(running) FROM tasker.executor_pools", &[]);
    assert!(
        steps == 3.0 || running == 0,
        "{steps} steps, {running} executors"
    );
}

#[test]
fn gauges_say_what_is_there_now() {
    for home in Home::both() {
        let mut session = home.connect();
        shapes::wide("wide", 4).register(&mut session);
        let task = session.create("wide");
        let step = session.step(task, "step_4");
        inside::postpone(&mut session, step, 600);
        session.claim(&Ask::by("worker", 1));
        let gauge = |session: &mut Session, name: &str| samples(session)[name];
        let queue = "{\"queue\": \"default\", \"namespace\": \"default\"}";
        let of_queue = |name: &str| format!("tasker_{name} {queue}");
        assert_eq!(gauge(&mut session, &of_queue("ready_steps")), 2.0);
        assert_eq!(gauge(&mut session, &of_queue("waiting_steps")), 1.0);
        let waited = gauge(&mut session, &of_queue("oldest_ready_seconds"));
        assert!(waited > 0.0 && waited < 60.0, "{waited}");
        assert_eq!(gauge(&mut session, &of_queue("queue_paused")), 0.0);
        assert_eq!(gauge(&mut session, "tasker_running_steps"), 1.0);
        assert_eq!(gauge(&mut session, "tasker_claims"), 1.0);
        assert_eq!(gauge(&mut session, "tasker_stale_claims"), 0.0);
        // Executors are workers too.
        assert!(gauge(&mut session, "tasker_live_workers") >= 1.0);

        session.query("SELECT tasker.pause_namespace('default')", &[]);
        session.query("SELECT tasker.cancel_task($1)", &[&task]);
        assert_eq!(gauge(&mut session, &of_queue("queue_paused")), 1.0);
        assert_eq!(gauge(&mut session, "tasker_running_steps"), 0.0);
        assert_eq!(gauge(&mut session, "tasker_claims"), 0.0);

        // A coordinator would take them over before this looks.
        if matches!(home, Home::Preloaded(_)) {
            continue;
        }
        session.query("SELECT tasker.resume_namespace('default')", &[]);
        session.create("wide");
        session.claim(&Ask {
            lease: "1 millisecond",
            ..Ask::by("lost", 4)
        });
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(gauge(&mut session, "tasker_stale_claims"), 1.0);
        assert_eq!(gauge(&mut session, &of_queue("ready_steps")), 0.0);
        assert_eq!(gauge(&mut session, &of_queue("oldest_ready_seconds")), 0.0);
    }
}

// ---- where they are kept -----------------------------------------------------------------------------------------------

#[test]
fn without_preload_a_worker_writes_no_row_per_call() {
    let home = Home::plain();
    let mut session = home.connect();
    assert_eq!(
        session.one::<String>("SELECT source FROM tasker.metrics_source", &[]),
        "table"
    );
    shapes::wide("wide", 100).register(&mut session);
    session.create("wide");
    session.work(|_| done());
    // One for the engine and one for the worker, at the first call and every ten seconds.
    assert!(inside::counter_rows(&mut session) <= 6);
    home.settle(&mut session);
    assert_eq!(value(&mut session, "tasker_steps_completed_total"), 100.0);
    assert!(session.one::<bool>(
        "SELECT started_at > now() - interval '1 minute' FROM tasker.metrics_source",
        &[]
    ));
}

#[test]
fn maintenance_folds_old_rows_and_changes_no_sum() {
    let home = Home::plain();
    let mut session = home.connect();
    let task = claimable(&mut session);
    let fold =
        "SELECT done::int FROM tasker.run_maintenance() WHERE duty = 'metrics' AND error IS NULL";
    for _ in 0..120 {
        claim(&mut session, task, "one");
    }
    let before = samples(&mut session);
    let workers = "SELECT string_agg(w::text, ';') FROM tasker.worker_metrics w";
    let of_workers: String = session.one(workers, &[]);
    assert_eq!(session.one::<i32>(fold, &[]), 0, "they are too young");
    inside::age_counters(&mut session, 400);
    let folded: i32 = session.one(fold, &[]);
    assert!(folded >= 120, "{folded}");
    assert_eq!(inside::counter_rows(&mut session), 2);
    let after = samples(&mut session);
    assert_eq!(moved(&before, &after, "finalization_"), [""; 0]);
    assert_eq!(moved(&before, &after, "tasker_tasks"), [""; 0]);
    assert_eq!(moved(&before, &after, "tasker_steps"), [""; 0]);
    assert_eq!(session.one::<String>(workers, &[]), of_workers);
    assert_eq!(session.one::<i32>(fold, &[]), 0, "nothing is left");
    assert_eq!(
        after["tasker_maintenance_done_total {\"duty\": \"metrics\"}"],
        f64::from(folded)
    );
}

#[test]
fn databases_are_counted_apart() {
    let (left, right) = (Home::preloaded(), Home::preloaded());
    let (mut one, mut other) = (left.connect(), right.connect());
    for session in [&mut one, &mut other] {
        shapes::wide("wide", 1).register(session);
    }
    std::thread::scope(|scope| {
        scope.spawn(|| one.create_many("wide", 20));
        scope.spawn(|| other.create_many("wide", 30));
    });
    one.work(|_| Act::FailForGood);
    assert_eq!(value(&mut one, "tasker_tasks_created_total"), 20.0);
    assert_eq!(value(&mut other, "tasker_tasks_created_total"), 30.0);
    assert_eq!(value(&mut one, "tasker_tasks_failed_total"), 20.0);
    assert_eq!(value(&mut other, "tasker_tasks_failed_total"), 0.0);
    // The same worker_id, and perhaps the same number, in both.
    other.claim_one("worker");
    let claimed = "SELECT steps_claimed::int FROM tasker.worker_metrics WHERE worker_id = 'worker'";
    assert_eq!(one.one::<i32>(claimed, &[]), 20);
    assert_eq!(other.one::<i32>(claimed, &[]), 1);
    one.query("SELECT tasker.reset_metrics()", &[]);
    assert_eq!(value(&mut one, "tasker_tasks_created_total"), 0.0);
    assert_eq!(value(&mut other, "tasker_tasks_created_total"), 30.0);
}

#[test]
fn a_new_extension_begins_at_zero_also_for_sessions_that_knew_the_old_one() {
    for home in Home::both() {
        let mut session = home.connect();
        let mut old = home.connect();
        for name in ["first", "second"] {
            if name == "second" {
                session.execute("DROP EXTENSION tasker_ext CASCADE; DROP SCHEMA harness CASCADE");
                database::install(&mut session);
            }
            shapes::wide(name, 1).register(&mut session);
            old.create_many(name, 3);
            old.work(|_| done());
            home.settle(&mut old);
            assert_eq!(
                value(&mut session, "tasker_tasks_created_total"),
                3.0,
                "{name}"
            );
            assert_eq!(
                session.one::<i32>(
                    "SELECT steps_completed::int FROM tasker.worker_metrics WHERE worker_id = 'worker'",
                    &[]
                ),
                3
            );
        }
    }
}

#[test]
fn a_crash_begins_at_zero_and_says_since_when() {
    let server = Server::start(&["shared_preload_libraries=tasker_ext"]);
    server
        .connect("postgres")
        .execute("CREATE DATABASE crashing TEMPLATE template0");
    let mut session = server.connect("crashing");
    database::install(&mut session);
    assert_eq!(
        session.one::<String>(
            "SELECT concat_ws(' ', source, started_at) FROM tasker.metrics_source",
            &[]
        ),
        "shared memory"
    );
    shapes::wide("wide", 1).register(&mut session);
    session.create("wide");
    assert_eq!(value(&mut session, "tasker_tasks_created_total"), 1.0);
    let since = "SELECT started_at::text FROM tasker.metrics_source";
    let first: String = session.one(since, &[]);
    server.kill();
    server.start_again();
    server.wait_until_up("crashing");
    let mut session = server.connect("crashing");
    assert_eq!(value(&mut session, "tasker_tasks_created_total"), 0.0);
    session.create("wide");
    assert_eq!(value(&mut session, "tasker_tasks_created_total"), 1.0);
    let second: String = session.one(since, &[]);
    assert!(second > first, "{second} is not after {first}");
}

#[test]
fn reset_metrics_sets_everything_to_zero() {
    for home in Home::both() {
        let mut session = home.connect();
        let task = claimable(&mut session);
        claim(&mut session, task, "one");
        home.settle(&mut session);
        assert_ne!(value(&mut session, "tasker_steps_completed_total"), 0.0);
        session.query("SELECT tasker.reset_metrics()", &[]);
        let left: Vec<String> = session.all(
            "SELECT name FROM tasker.metrics
             WHERE kind <> 'gauge' AND value <> 0 AND name !~ '^tasker_(maintenance|executor)'",
            &[],
        );
        assert_eq!(left, [""; 0]);
        assert_eq!(
            session.count(
                "SELECT count(*) FROM tasker.worker_metrics WHERE steps_claimed + steps_completed <> 0",
                &[]
            ),
            0
        );
        assert_eq!(
            session.count("SELECT sum(attempts) FROM tasker.finalization_alerts", &[]),
            0
        );
        claim(&mut session, task, "one");
        assert_eq!(
            value(&mut session, "finalization_claim_attempts_total"),
            1.0
        );
    }
}

#[test]
fn a_slot_is_free_again_when_its_database_is_gone() {
    // There is room for 64 databases; the long form needs more of them, one after the other.
    let count = if long() { 80 } else { 3 };
    let server = Server::start(&["shared_preload_libraries=tasker_ext"]);
    let mut admin = server.connect("postgres");
    for number in 0..count {
        let name = format!("passing_{number}");
        admin.execute(&format!("CREATE DATABASE {name} TEMPLATE template0"));
        let mut session = server.connect(&name);
        session.execute("CREATE EXTENSION tasker_ext");
        tasker_client_tests::database::resume(&mut session);
        shapes::wide("wide", 1).register(&mut session);
        session.create("wide");
        session.create("wide");
        // A database without a slot at first writes to the table, and has a slot after its first look.
        assert_eq!(
            value(&mut session, "tasker_tasks_created_total"),
            2.0,
            "{name}"
        );
        drop(session);
        admin.execute(&format!("DROP DATABASE {name} WITH (FORCE)"));
    }
}

// ---- reading -----------------------------------------------------------------------------------------------------------

#[test]
fn readers_read_and_only_an_admin_resets() {
    for home in Home::both() {
        let prefix = match home {
            Home::Plain(_) => "metrics_plain",
            Home::Preloaded(_) => "metrics_preloaded",
        };
        let mut session = home.connect();
        for role in ["reader", "worker", "admin"] {
            session.execute(&format!(
                "CREATE ROLE {prefix}_{role} LOGIN; GRANT tasker_{role} TO {prefix}_{role}"
            ));
        }
        let task = claimable(&mut session);
        claim(&mut session, task, "one");
        let mut reader = home.connect_as(&format!("{prefix}_reader"));
        for relation in [
            "metrics",
            "finalization_metrics",
            "finalization_alerts",
            "worker_metrics",
            "metrics_source",
        ] {
            reader.query(&format!("SELECT * FROM tasker.{relation}"), &[]);
        }
        assert_eq!(value(&mut reader, "finalization_claim_attempts_total"), 1.0);
        reader.query("SELECT tasker.metrics_prometheus(true, true)", &[]);
        reader.query("SELECT tasker.export_metrics('csv')", &[]);
        for call in [
            "SELECT tasker.reset_metrics()",
            "SELECT tasker_engine.reset_shared_counts()",
            "SELECT tasker_engine.count_finalization('claim', 'success', now())",
            "DELETE FROM tasker_engine.metric_counts",
        ] {
            reader.fails(call, &[]).is("42501");
        }
        let mut worker = home.connect_as(&format!("{prefix}_worker"));
        worker
            .fails("SELECT * FROM tasker.metrics", &[])
            .is("42501");
        worker
            .fails("SELECT tasker.metrics_prometheus()", &[])
            .is("42501");
        worker
            .fails("SELECT tasker.export_metrics()", &[])
            .is("42501");
        let mut admin = home.connect_as(&format!("{prefix}_admin"));
        admin.query("SELECT tasker.reset_metrics()", &[]);
        assert_eq!(value(&mut reader, "finalization_claim_attempts_total"), 0.0);
    }
}

#[test]
fn null_is_refused_where_a_boolean_is_wanted() {
    let home = Home::plain();
    let mut session = home.connect();
    session
        .fails("SELECT tasker.metrics_prometheus(NULL)", &[])
        .is("22004")
        .says(&["with_workers"]);
    session
        .fails("SELECT tasker.metrics_prometheus(with_states => NULL)", &[])
        .is("22004")
        .says(&["with_states"]);
}

#[test]
fn the_exports_say_the_same_as_the_relation() {
    for home in Home::both() {
        let mut session = home.connect();
        let task = claimable(&mut session);
        claim(&mut session, task, "one");
        home.settle(&mut session);
        let here = |name: &str| !name.starts_with("tasker_executor_");
        let relation = session.query(
            "SELECT name, labels::text FROM tasker.metrics WHERE value IS NOT NULL",
            &[],
        );
        let series = |rows: Vec<(String, String)>| -> BTreeSet<(String, String)> {
            rows.into_iter().filter(|(name, _)| here(name)).collect()
        };
        let wanted = series(
            relation
                .iter()
                .map(|row| (row.get(0), row.get(1)))
                .collect(),
        );
        assert!(wanted.len() > 50);
        let json = session.query(
            "SELECT m ->> 'name', (m -> 'labels')::text, m ->> 'type', (m ->> 'metric_value')::float8, e -> 'metadata' ->> 'exporter'
             FROM (SELECT tasker.export_metrics('json', '{\"field_mapping\": {\"value\": \"metric_value\"}}')::jsonb AS e) e,
                  jsonb_array_elements(e -> 'metrics') m",
            &[],
        );
        let of_json = series(json.iter().map(|row| (row.get(0), row.get(1))).collect());
        assert_eq!(of_json, wanted);
        assert!(json.iter().all(|row| row.get::<_, &str>(4) == "json"));
        let created = "tasker_tasks_created_total";
        let value = value(&mut session, created);
        assert!(value >= 1.0);
        let found = json.iter().find(|row| row.get::<_, &str>(0) == created);
        assert_eq!(found.expect("a metric").get::<_, f64>(3), value);
        let text: String = session.one(
            "SELECT tasker.export_metrics('csv', '{\"columns\": [\"name\", \"value\"], \"include_headers\": false}')",
            &[],
        );
        assert!(
            text.lines()
                .any(|line| line == format!("\"{created}\",{value}")),
            "{text}"
        );
        assert_eq!(
            text.lines()
                .filter(|line| !line.contains("_executor_"))
                .count(),
            wanted.len()
        );
        let one: String = session.one("SELECT tasker.export_metrics()", &[]);
        let (one, other) = (
            parse(&one),
            session.one::<String>("SELECT tasker.metrics_prometheus()", &[]),
        );
        assert!(one.keys().eq(parse(&other).keys()));
    }
}

#[test]
fn what_an_export_does_not_know_is_refused() {
    let home = Home::plain();
    let mut session = home.connect();
    for (arguments, expected) in [
        ("'xml'", "format \"xml\" does not exist"),
        (
            "'csv', '{\"seperator\": \";\"}'",
            "format csv has no option \"seperator\"",
        ),
        (
            "'prometheus', '{\"columns\": []}'",
            "format prometheus has no option \"columns\"",
        ),
        ("'csv', '[]'", "options is no object"),
    ] {
        session
            .fails(&format!("SELECT tasker.export_metrics({arguments})"), &[])
            .is("22023")
            .says(&[expected]);
    }
    for arguments in ["NULL", "'csv', NULL"] {
        session
            .fails(&format!("SELECT tasker.export_metrics({arguments})"), &[])
            .is("22004");
    }
}

/// Name, labels and value.
type Line = (String, BTreeMap<String, String>, f64);

fn is_name(name: &str) -> bool {
    name.chars().enumerate().all(|(at, letter)| {
        letter.is_ascii_alphabetic()
            || letter == '_'
            || letter == ':'
            || at > 0 && letter.is_ascii_digit()
    }) && !name.is_empty()
}

/// The labels from behind `{` to `}`, and the rest of the line.
fn labels(line: &str, mut rest: &str) -> (BTreeMap<String, String>, String) {
    let mut labels = BTreeMap::new();
    loop {
        let (label, after) = rest.split_once("=\"").expect("label=\"");
        assert!(is_name(label) && !label.contains(':'), "{line}");
        let mut value = String::new();
        let mut letters = after.char_indices();
        let end = loop {
            match letters.next().expect("a closing quote") {
                (at, '"') => break at,
                (_, '\\') => match letters.next().expect("an escaped letter").1 {
                    'n' => value.push('\n'),
                    letter @ ('\\' | '"') => value.push(letter),
                    other => panic!("escape {other}: {line}"),
                },
                (_, letter) => value.push(letter),
            }
        };
        assert!(
            labels.insert(label.to_owned(), value).is_none(),
            "twice: {line}"
        );
        rest = &after[end + 1..];
        match rest.as_bytes()[0] {
            b',' => rest = &rest[1..],
            b'}' => return (labels, rest[1..].to_owned()),
            other => panic!("{other}: {line}"),
        }
    }
}

/// A strict reader of the text format 0.0.4: name and labels to value, per family with its type.
/// Executors come and go between two reads; their series are left out.
fn parse(text: &str) -> BTreeMap<String, (String, Vec<Line>)> {
    assert!(text.ends_with('\n'), "the last line has no end");
    let mut families = BTreeMap::new();
    let mut current: Option<String> = None;
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            assert!(is_name(name) && !help.is_empty(), "{line}");
            let bad = help.replace("\\\\", "").replace("\\n", "");
            assert!(!bad.contains('\\'), "{line}");
            assert!(
                families
                    .insert(name.to_owned(), (String::new(), vec![]))
                    .is_none(),
                "twice: {line}"
            );
            current = Some(name.to_owned());
            continue;
        }
        let family = current.clone().expect("HELP comes first");
        let entry = families.get_mut(&family).expect("it was put there");
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert_eq!(name, family);
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(entry.0.is_empty() && entry.1.is_empty(), "{line}");
            entry.0 = kind.to_owned();
            continue;
        }
        let name_end = line.find(['{', ' ']).expect("a value");
        let name = &line[..name_end];
        assert!(is_name(name), "{line}");
        match name.strip_prefix(family.as_str()).expect("of its family") {
            "" => assert_ne!(entry.0, "histogram", "{line}"),
            "_bucket" | "_sum" | "_count" => assert_eq!(entry.0, "histogram", "{line}"),
            other => panic!("{other}: {line}"),
        }
        let (labels, rest) = match line[name_end..].strip_prefix('{') {
            Some(inside) => labels(line, inside),
            None => (BTreeMap::new(), line[name_end..].to_owned()),
        };
        let number = rest.strip_prefix(' ').expect("a space");
        let number: f64 = number.parse().expect("a number");
        assert!(
            seen.insert((name.to_owned(), labels.clone())),
            "twice: {line}"
        );
        entry.1.push((name.to_owned(), labels, number));
    }
    families.retain(|family, _| !family.starts_with("tasker_executor_"));
    families
}

#[test]
fn the_text_is_what_prometheus_reads() {
    for home in Home::both() {
        let mut session = home.connect();
        let nasty = "quote \" slash \\ n end";
        Template::new("nasty")
            .with("namespace_name", json!(nasty))
            .step("one", &[])
            .register(&mut session);
        session.query(
            "SELECT tasker.create_task('nasty', namespace => $1)",
            &[&nasty],
        );
        let task = claimable(&mut session);
        claim(&mut session, task, "one");
        let broken = "break \n, slash \\ and quote \"";
        assert!(session.claim(&Ask::by(broken, 1)).len() == 1);
        home.settle(&mut session);
        let text: String = session.one("SELECT tasker.metrics_prometheus()", &[]);
        let families = parse(&text);
        let rows = samples(&mut session);
        let lines: usize = families.values().map(|(_, samples)| samples.len()).sum();
        let lasting = |name: &&String| !name.starts_with("tasker_executor_");
        assert_eq!(lines, rows.keys().filter(lasting).count());
        let (kind, ready) = &families["tasker_ready_steps"];
        assert_eq!(kind, "gauge");
        assert!(
            ready
                .iter()
                .any(|(_, labels, value)| labels["namespace"] == nasty && *value == 1.0),
            "{ready:?}"
        );
        for (family, (kind, samples)) in &families {
            assert!(!samples.is_empty(), "{family} has no sample");
            assert_eq!(family.ends_with("_total"), kind == "counter", "{family}");
            // By labels there are several; labelled_metrics.rs looks at each.
            if kind == "histogram" && !family.contains("_by_") {
                let buckets: Vec<(f64, f64)> = samples
                    .iter()
                    .filter(|(name, _, _)| name.ends_with("_bucket"))
                    .map(|(_, labels, value)| {
                        (labels["le"].parse::<f64>().expect("a bound"), *value)
                    })
                    .collect();
                assert!(
                    buckets
                        .windows(2)
                        .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1),
                    "{family}: {buckets:?}"
                );
                let (bound, all) = buckets[buckets.len() - 1];
                assert!(bound.is_infinite());
                let of = |suffix: &str| {
                    samples
                        .iter()
                        .find(|(name, _, _)| name.ends_with(suffix))
                        .map(|(_, _, value)| *value)
                };
                assert_eq!(of("_count"), Some(all), "{family}");
                assert!(of("_sum").is_some_and(|sum| sum >= 0.0), "{family}");
            }
        }
        assert!(!families.contains_key("tasker_worker_steps_total"));
        assert!(!families.contains_key("tasker_tasks"));
        let text: String = session.one("SELECT tasker.metrics_prometheus(true, true)", &[]);
        let more = parse(&text);
        assert!(more["tasker_worker_steps_total"].1.iter().any(
            |(_, labels, value)| labels["worker"] == "worker"
                && labels["outcome"] == "completed"
                && *value == 1.0
        ));
        assert!(more["tasker_worker_steps_total"].1.iter().any(
            |(_, labels, value)| labels["worker"] == broken
                && labels["outcome"] == "claimed"
                && *value == 1.0
        ));
        let states: f64 = more["tasker_tasks"].1.iter().map(|sample| sample.2).sum();
        assert_eq!(states, 2.0);
        assert_eq!(more.len(), families.len() + 3);
    }
}
