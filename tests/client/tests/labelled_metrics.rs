//! Metrics by namespace, template, version, step and error class: each change counts under its labels, the sums over the labels are the
//! counters without labels, and the number of series has a bound. With shared_preload_libraries and without.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tasker_client_tests::database::{self, PATTERN};
use tasker_client_tests::kills::{Client, End, own_server, under_kills};
use tasker_client_tests::server::Server;
use tasker_client_tests::worker::{Ask, done};
use tasker_client_tests::{Claim, Database, Session, Uuid, json, patience, scaled, shapes};

const PRELOADED: &str = "shared_preload_libraries=tasker_ext";

/// A server of the test's own, with the extension in one database.
struct Home {
    server: Server,
    /// Whether counts are in shared memory.
    preloaded: bool,
}

impl Home {
    fn of(preloaded: bool, settings: &[&str]) -> Self {
        let preload = if preloaded {
            PRELOADED
        } else {
            "shared_preload_libraries="
        };
        let all: Vec<&str> = [preload, "max_prepared_transactions=2"]
            .iter()
            .chain(settings)
            .copied()
            .collect();
        Self {
            server: own_server(&all),
            preloaded,
        }
    }

    fn both(settings: &[&str]) -> [Self; 2] {
        [Self::of(false, settings), Self::of(true, settings)]
    }

    fn connect(&self) -> Session {
        self.server.connect(PATTERN)
    }

    /// In the table, a backend writes what it has counted with the next finalization claim; in shared memory it is there.
    fn settle(&self, session: &mut Session) {
        if !self.preloaded {
            session.query(
                "SELECT * FROM tasker.claim_task_for_finalization($1, 'settler')",
                &[&Uuid::now_v7()],
            );
        }
    }
}

/// What has labels of tasks and steps and is no part of a histogram.
fn labelled(session: &mut Session) -> BTreeMap<String, f64> {
    session
        .query(
            "SELECT replace(regexp_replace(name, '^tasker_(tasks_|steps_)?', ''), '_total', ''),
                    concat_ws('.', labels->>'namespace', labels->>'template', labels->>'version', labels->>'step', labels->>'error_class'),
                    value
             FROM tasker.metrics WHERE name ~ '_by_(template|step)_' AND kind = 'counter'",
            &[],
        )
        .iter()
        .map(|row| {
            let (name, labels): (String, String) = (row.get(0), row.get(1));
            (format!("{name} {labels}"), row.get(2))
        })
        .collect()
}

/// The same as lines, without what another reading had.
fn moved(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> Vec<String> {
    after
        .iter()
        .filter_map(|(name, value)| {
            let by = value - before.get(name).copied().unwrap_or_default();
            (by != 0.0).then(|| format!("{name} {by:+}"))
        })
        .collect()
}

fn value(session: &mut Session, name: &str) -> f64 {
    session.one(
        "SELECT coalesce(sum(value), 0) FROM tasker.metrics WHERE name = $1",
        &[&name],
    )
}

/// The counts by labels whose sum is not the count without labels.
fn disagreements(session: &mut Session) -> Vec<String> {
    session.all(
        "WITH labelled AS (
             SELECT replace(replace(m.name, '_by_template_', '_'), '_by_step_', '_') AS name, m.labels->>'le' AS le, sum(m.value) AS value
             FROM tasker.metrics m WHERE m.name ~ '_by_(template|step)_' GROUP BY 1, 2)
         SELECT concat_ws(' ', u.name, u.labels->>'le', 'is', u.value, 'without labels and', coalesce(l.value, 0), 'with them')
         FROM tasker.metrics u
         LEFT JOIN labelled l ON l.name = u.name AND l.le IS NOT DISTINCT FROM u.labels->>'le'
         WHERE (u.name ~ '^tasker_tasks_(created|started|completed|failed|cancelled|resolved|reopened)_total$'
                OR u.name ~ '^tasker_steps_(claimed|completed|failed|expired|released|retried|cancelled|resolved)_total$'
                OR u.name ~ '^tasker_step_(wait|run)_seconds')
           AND round(u.value::numeric, 3) <> round(coalesce(l.value, 0)::numeric, 3)",
        &[],
    )
}

#[track_caller]
fn agree(session: &mut Session) {
    // A background process may count while two numbers are compared.
    let deadline = Instant::now() + patience(10);
    loop {
        let wrong = disagreements(session);
        if wrong.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{wrong:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn fail_with(session: &mut Session, claim: &Claim, class: Option<&str>) {
    session.query(
        "SELECT tasker.fail_step($1, $2, 'it broke', $3, retry_after => '0')",
        &[&claim.step, &claim.number, &class],
    );
}

/// Fails the one step of the template `failing` this many times with this class.
fn fail_often(session: &mut Session, class: &str, times: usize) {
    for _ in 0..times {
        session.create("failing");
        let claims = session.claim(&Ask::by("worker", 1));
        session.query(
            "SELECT tasker.fail_step($1, $2, 'it broke', $3, retryable => false)",
            &[&claims[0].step, &claims[0].number, &class],
        );
    }
}

/// How often the step of `failing` failed by class, most frequent classes first.
fn classes(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT labels->>'error_class' || ' ' || value FROM tasker.metrics
         WHERE name = 'tasker_steps_failed_by_step_total' AND labels->>'template' = 'failing' ORDER BY value DESC, 1",
        &[],
    )
}

fn maintain(session: &mut Session) {
    session.query(
        "SELECT * FROM tasker.run_maintenance() WHERE duty = 'metrics' AND error IS NOT NULL",
        &[],
    );
}

// ---- what counts -----------------------------------------------------------------------------------------------------------

#[test]
fn each_change_counts_under_its_labels() {
    for home in Home::both(&[]) {
        let mut session = home.connect();
        shapes::wide("wide", 2)
            .with("namespace_name", json!("shop"))
            .with("version", json!("2.1.0"))
            .register(&mut session);
        shapes::chain("line", 1).register(&mut session);
        let create = "SELECT tasker.create_task('wide', namespace => 'shop')";
        let in_shop = |count| Ask {
            namespaces: vec!["shop"],
            ..Ask::by("worker", count)
        };
        let mut before = labelled(&mut session);
        let mut check = |session: &mut Session, wanted: &[&str]| {
            home.settle(session);
            let after = labelled(session);
            assert_eq!(moved(&before, &after), wanted);
            before = after;
        };
        let task: Uuid = session.one(create, &[]);
        session.create_many("line", 3);
        check(
            &mut session,
            &[
                "created_by_template default.line.0.1.0 +3",
                "created_by_template shop.wide.2.1.0 +1",
            ],
        );
        let claims = session.claim(&in_shop(2));
        check(
            &mut session,
            &[
                "claimed_by_step shop.wide.2.1.0.step_1 +1",
                "claimed_by_step shop.wide.2.1.0.step_2 +1",
                "started_by_template shop.wide.2.1.0 +1",
            ],
        );
        session.complete(&claims[0], &json!({}));
        fail_with(&mut session, &claims[1], Some("Declined"));
        check(
            &mut session,
            &[
                "completed_by_step shop.wide.2.1.0.step_1 +1",
                "failed_by_step shop.wide.2.1.0.step_2.Declined +1",
            ],
        );
        let again = session.claim(&in_shop(1)).remove(0);
        fail_with(&mut session, &again, None);
        check(
            &mut session,
            &[
                "claimed_by_step shop.wide.2.1.0.step_2 +1",
                "failed_by_step shop.wide.2.1.0.step_2.unknown +1",
                "retried_by_step shop.wide.2.1.0.step_2 +1",
            ],
        );
        session.claim(&in_shop(1));
        assert_eq!(
            session.one::<i32>("SELECT tasker.release_steps('worker')", &[]),
            1
        );
        check(
            &mut session,
            &[
                "claimed_by_step shop.wide.2.1.0.step_2 +1",
                "released_by_step shop.wide.2.1.0.step_2 +1",
                "retried_by_step shop.wide.2.1.0.step_2 +1",
            ],
        );
        session.query("SELECT tasker.cancel_task($1)", &[&task]);
        check(
            &mut session,
            &[
                "cancelled_by_step shop.wide.2.1.0.step_2 +1",
                "cancelled_by_template shop.wide.2.1.0 +1",
            ],
        );
        agree(&mut session);
    }
}

#[test]
fn the_ends_of_tasks_count_under_their_labels() {
    for home in Home::both(&[]) {
        let mut session = home.connect();
        shapes::chain("line", 1).register(&mut session);
        session.create_many("line", 3);
        home.settle(&mut session);
        let mut before = labelled(&mut session);
        let mut check = |session: &mut Session, wanted: &[&str]| {
            home.settle(session);
            let after = labelled(session);
            assert_eq!(moved(&before, &after), wanted);
            before = after;
        };
        let line = session.claim(&Ask::by("worker", 1)).remove(0);
        session.fail_for_good(&line);
        session.query("SELECT tasker.retry_task($1)", &[&line.task]);
        let line = session.claim(&Ask::by("worker", 1)).remove(0);
        session.fail_for_good(&line);
        session.query("SELECT tasker.resolve_task_manually($1)", &[&line.task]);
        check(
            &mut session,
            &[
                "claimed_by_step default.line.0.1.0.step_1 +2",
                "failed_by_step default.line.0.1.0.step_1.Broken +2",
                "failed_by_template default.line.0.1.0 +2",
                "reopened_by_template default.line.0.1.0 +1",
                "resolved_by_template default.line.0.1.0 +1",
                "retried_by_step default.line.0.1.0.step_1 +1",
                "started_by_template default.line.0.1.0 +2",
            ],
        );
        session.work(|_| done());
        check(
            &mut session,
            &[
                "claimed_by_step default.line.0.1.0.step_1 +2",
                "completed_by_step default.line.0.1.0.step_1 +2",
                "completed_by_template default.line.0.1.0 +2",
                "started_by_template default.line.0.1.0 +2",
            ],
        );
        agree(&mut session);
    }
}

#[test]
fn a_lost_lease_counts_under_its_labels() {
    for home in Home::both(&[]) {
        let mut session = home.connect();
        shapes::chain("line", 1).register(&mut session);
        session.create("line");
        session.claim(&Ask {
            lease: "1 millisecond",
            ..Ask::by("lost", 1)
        });
        std::thread::sleep(Duration::from_millis(30));
        session.claim_soon(&Ask::by("worker", 1), 1);
        home.settle(&mut session);
        agree(&mut session);
        let all = labelled(&mut session);
        assert_eq!(all["expired_by_step default.line.0.1.0.step_1"], 1.0);
    }
}

#[test]
fn histograms_by_labels_hold_every_wait_run_and_task() {
    for home in Home::both(&[]) {
        let mut session = home.connect();
        for name in ["one", "two"] {
            shapes::wide(name, 2).register(&mut session);
            session.create(name);
        }
        let claims = session.claim(&Ask::by("worker", 10));
        assert_eq!(claims.len(), 4);
        std::thread::sleep(Duration::from_millis(60));
        claims
            .iter()
            .for_each(|claim| drop(session.complete(claim, &json!({}))));
        home.settle(&mut session);
        let of = |session: &mut Session,
                  name: &str,
                  template: &str,
                  step: Option<&str>,
                  le: Option<&str>|
         -> f64 {
            session.one(
                "SELECT value FROM tasker.metrics
                 WHERE name = $1 AND labels->>'template' = $2 AND labels->>'step' IS NOT DISTINCT FROM $3
                   AND labels->>'le' IS NOT DISTINCT FROM $4",
                &[&name, &template, &step, &le],
            )
        };
        for template in ["one", "two"] {
            for step in ["step_1", "step_2"].map(Some) {
                let run = "tasker_step_run_by_step_seconds";
                let at = |suffix| format!("{run}_{suffix}");
                assert_eq!(of(&mut session, &at("count"), template, step, None), 1.0);
                assert!(of(&mut session, &at("sum"), template, step, None) >= 0.06);
                assert_eq!(
                    of(&mut session, &at("bucket"), template, step, Some("0.05")),
                    0.0
                );
                assert_eq!(
                    of(&mut session, &at("bucket"), template, step, Some("+Inf")),
                    1.0
                );
                let wait = "tasker_step_wait_by_step_seconds_count";
                assert_eq!(of(&mut session, wait, template, step, None), 1.0);
            }
            let task = "tasker_task_duration_by_template_seconds";
            assert_eq!(
                of(&mut session, &format!("{task}_count"), template, None, None),
                1.0
            );
            let seconds = of(&mut session, &format!("{task}_sum"), template, None, None);
            assert!((0.059..60.0).contains(&seconds), "{seconds}");
        }
        agree(&mut session);
    }
}

#[test]
fn what_is_rolled_back_does_not_count_by_labels() {
    for home in Home::both(&[]) {
        let (mut session, mut reader) = (home.connect(), home.connect());
        for name in ["kept", "lost", "inner"] {
            shapes::wide(name, 1).register(&mut session);
        }
        let before = labelled(&mut reader);
        session.execute("BEGIN");
        session.create("lost");
        session.claim(&Ask::by("worker", 1));
        session.execute("ROLLBACK; BEGIN");
        session.create("kept");
        session.execute("SAVEPOINT lost");
        session.create_many("lost", 10);
        session.execute("SAVEPOINT within");
        session.create_many("inner", 100);
        session.execute("RELEASE within; ROLLBACK TO lost; SAVEPOINT kept");
        session.create_many("kept", 1000);
        session.execute("RELEASE kept");
        session.execute(
            "DO $$ BEGIN
                 PERFORM tasker.create_task('lost');
                 RAISE 'caught';
             EXCEPTION WHEN OTHERS THEN
                 PERFORM tasker.create_task('inner');
             END $$",
        );
        assert_eq!(
            moved(&before, &labelled(&mut reader)),
            [""; 0],
            "before the commit"
        );
        session.execute("COMMIT");
        home.settle(&mut session);
        let after = labelled(&mut reader);
        assert_eq!(
            moved(&before, &after),
            [
                "created_by_template default.inner.0.1.0 +1",
                "created_by_template default.kept.0.1.0 +1001"
            ]
        );
        agree(&mut reader);
    }
}

#[test]
fn a_prepared_transaction_counts_by_labels_when_it_is_prepared() {
    let home = Home::of(true, &[]);
    let mut session = home.connect();
    shapes::wide("wide", 1).register(&mut session);
    session.execute("BEGIN");
    session.create("wide");
    session.execute("PREPARE TRANSACTION 'labelled'");
    let created = "tasker_tasks_created_by_template_total";
    assert_eq!(value(&mut session, created), 1.0);
    session.execute("COMMIT PREPARED 'labelled'");
    assert_eq!(value(&mut session, created), 1.0);
}

#[test]
fn what_a_version_counts_is_its_own() {
    let home = Home::of(true, &[]);
    let mut session = home.connect();
    for version in ["1.0.0", "1.1.0"] {
        shapes::wide("wide", 1)
            .with("version", json!(version))
            .register(&mut session);
        session.create("wide");
    }
    let all = labelled(&mut session);
    assert_eq!(all["created_by_template default.wide.1.0.0"], 1.0);
    assert_eq!(all["created_by_template default.wide.1.1.0"], 1.0);
}

// ---- sums ------------------------------------------------------------------------------------------------------------------

const NAMES: [&str; 6] = ["t1", "t2", "t3", "t4", "t5", "t6"];

fn register_all(session: &mut Session) {
    for (index, name) in NAMES.iter().enumerate() {
        shapes::wide(name, index % 3 + 1)
            .every_step(json!({ "retry": { "backoff": "none" } }))
            .register(session);
    }
}

/// One of the things that clients do; an error (a lock, the end of the server) is not of interest here. Returns false if the
/// connection has broken.
fn act(session: &mut Session, rng: &mut Rng, worker: &str) -> bool {
    let statement = match rng.u8(..10) {
        0..=2 => {
            let name = NAMES[rng.usize(..NAMES.len())];
            format!("SELECT tasker.create_task('{name}')")
        }
        3 => format!("SELECT tasker.release_steps('{worker}')"),
        4 => "SELECT tasker.cancel_task(task_uuid) FROM (SELECT task_uuid FROM tasker.tasks
              WHERE state IN ('pending', 'in_progress') ORDER BY random() LIMIT 1) t"
            .to_owned(),
        5..=6 => {
            let class = rng.u8(..12);
            format!(
                "SELECT count(tasker.fail_step(step_uuid, claim_number, 'it broke', 'Class{class}', retryable => {}))
                 FROM tasker.claim_steps('{worker}', '{{default}}', 2)",
                rng.bool()
            )
        }
        _ => format!(
            "SELECT count(tasker.complete_step(step_uuid, claim_number)) FROM tasker.claim_steps('{worker}', '{{default}}', 3)"
        ),
    };
    let whole = match rng.u8(..6) {
        0 => format!("BEGIN; {statement}; ROLLBACK"),
        1 => format!("BEGIN; SAVEPOINT a; {statement}; ROLLBACK TO a; {statement}; COMMIT"),
        2 => format!("BEGIN; SAVEPOINT a; {statement}; RELEASE a; COMMIT"),
        _ => statement,
    };
    let failed = session.client().batch_execute(&whole).is_err();
    if failed && session.client().batch_execute("ROLLBACK").is_err() {
        return false;
    }
    true
}

fn seed() -> u64 {
    let seed = std::env::var("TASKER_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("TASKER_SEED={seed}");
    seed
}

/// Eight clients at work, with something else beside them until they end.
fn eight_clients(home: &Home, rounds: usize, beside: impl Fn(&AtomicBool) + Sync) {
    let (end, seed) = (AtomicBool::new(false), seed());
    std::thread::scope(|scope| {
        let side = scope.spawn(|| beside(&end));
        let clients: Vec<_> = (0..8)
            .map(|number| {
                scope.spawn(move || {
                    let mut session = home.connect();
                    let mut rng = Rng::with_seed(seed + number);
                    for _ in 0..rounds {
                        act(&mut session, &mut rng, &format!("worker{number}"));
                    }
                    home.settle(&mut session);
                })
            })
            .collect();
        let ended: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        end.store(true, Ordering::Release);
        side.join().expect("what runs beside the clients ends well");
        ended
            .into_iter()
            .for_each(|client| client.expect("no client fails"));
    });
}

#[test]
fn sums_over_labels_are_the_counters_without_labels() {
    for home in Home::both(&[]) {
        let mut session = home.connect();
        register_all(&mut session);
        eight_clients(&home, scaled(60, 600), |_| ());
        agree(&mut session);
        assert!(value(&mut session, "tasker_steps_completed_by_step_total") > 0.0);
        assert!(value(&mut session, "tasker_steps_failed_by_step_total") > 0.0);
        assert_eq!(
            value(&mut session, "tasker_metric_series_dropped_total"),
            0.0
        );
    }
}

#[test]
fn with_a_full_table_the_rest_counts_as_other_and_the_sums_hold() {
    for home in Home::both(&["tasker.max_metric_series=5"]) {
        let mut session = home.connect();
        register_all(&mut session);
        eight_clients(&home, scaled(60, 600), |_| ());
        maintain(&mut session);
        agree(&mut session);
        let series = value(&mut session, "tasker_metric_series");
        assert!((1.0..=5.0).contains(&series), "{series} series");
        let dropped = value(&mut session, "tasker_metric_series_dropped_total");
        let other: f64 = session.one(
            "SELECT sum(value) FROM tasker.metrics
             WHERE kind = 'counter' AND name ~ '_by_(template|step)_' AND labels->>'namespace' = 'other'
               AND labels->>'template' = 'other' AND labels->>'version' = 'other' AND coalesce(labels->>'step', 'other') = 'other'
               AND coalesce(labels->>'error_class', 'other') = 'other'",
            &[],
        );
        assert!(dropped > 0.0);
        assert_eq!(dropped, other, "each count without a place is told");
        let names: i64 = session.count(
            "SELECT count(DISTINCT labels - 'le') FROM tasker.metrics
             WHERE name ~ '_by_(template|step)_' AND labels->>'template' <> 'other'",
            &[],
        );
        assert!(names <= 5, "{names} combinations of labels");
    }
}

#[test]
fn a_session_that_never_writes_its_counts_remembers_few_series() {
    // Without shared memory, between two rows.
    let home = Home::of(false, &["tasker.max_metric_series=3"]);
    let mut session = home.connect();
    register_all(&mut session);
    for name in NAMES {
        session.create(name);
    }
    home.settle(&mut session);
    agree(&mut session);
    let all = labelled(&mut session);
    // The first call writes its row at once, the others are in the memory of the session.
    assert_eq!(all.len(), 1 + 3 + 1, "{all:?}");
    assert_eq!(all["created_by_template other.other.other"], 2.0);
    assert_eq!(
        value(&mut session, "tasker_metric_series_dropped_total"),
        2.0
    );
}

/// No sum over labels falls while series go and come; at the end nothing is lost.
#[test]
fn series_that_give_back_their_places_lose_no_count() {
    let home = Home::of(
        true,
        &["tasker.max_metric_series=12", "tasker.max_error_classes=2"],
    );
    let mut session = home.connect();
    register_all(&mut session);
    let released = AtomicU32::new(0);
    let release = |end: &AtomicBool| {
        let mut session = home.connect();
        session.execute("SET tasker.metrics_retention_hours = 0.0000001");
        while !end.load(Ordering::Acquire) {
            let count: i32 = session.one("SELECT tasker_engine.release_shared_series()", &[]);
            released.fetch_add(count as u32, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let read = |end: &AtomicBool| {
        let mut session = home.connect();
        let sums = "SELECT array_agg(coalesce(s.value, 0) ORDER BY n.name)
                    FROM unnest(ARRAY['tasker_tasks_created_by_template_total', 'tasker_steps_claimed_by_step_total',
                                      'tasker_steps_failed_by_step_total', 'tasker_step_wait_by_step_seconds_count']) AS n (name)
                    LEFT JOIN (SELECT l.family || coalesce(l.suffix, '') AS name, sum(l.value) AS value
                               FROM tasker_engine.labelled_samples l GROUP BY 1) s USING (name)";
        let mut last = vec![0.0; 4];
        while !end.load(Ordering::Acquire) {
            let now: Vec<f64> = session.one(sums, &[]);
            assert!(
                now.iter().zip(&last).all(|(now, last)| now >= last),
                "{last:?} became {now:?}"
            );
            last = now;
        }
    };
    eight_clients(&home, scaled(150, 1500), |end| {
        std::thread::scope(|scope| {
            scope.spawn(|| release(end));
            read(end);
        });
    });
    assert!(released.load(Ordering::Relaxed) > 20);
    agree(&mut session);
    assert!(value(&mut session, "tasker_metric_series") <= 12.0);
}

#[test]
fn after_a_crash_the_sums_hold() {
    for home in Home::both(&["tasker.max_metric_series=30"]) {
        let mut session = home.connect();
        register_all(&mut session);
        drop(session);
        let seed = seed();
        let number = AtomicU32::new(0);
        let client = |mut session: Session, end: &End| {
            let number = number.fetch_add(1, Ordering::Relaxed);
            let mut rng = Rng::with_seed(seed + u64::from(number));
            while !end.has_come() && act(&mut session, &mut rng, &format!("worker{number}")) {
                // In the table each row of counts is at risk, not only one in ten seconds.
                let settled = session.client().batch_execute(
                    "SELECT * FROM tasker.claim_task_for_finalization(gen_random_uuid(), 'settler')",
                );
                if settled.is_err() {
                    return;
                }
            }
        };
        let clients: Vec<Client> = vec![&client; 8];
        let pause = || Duration::from_millis(400);
        under_kills(&home.server, scaled(2, 10), pause, &clients);
        let mut session = home.connect();
        agree(&mut session);
        assert!(value(&mut session, "tasker_tasks_created_by_template_total") > 0.0);

        // One process alone: PostgreSQL restarts all others.
        let mut victim = home.connect();
        let pid = victim.pid().to_string();
        let killed = Command::new("kill").args(["-9", &pid]).status();
        assert!(killed.expect("kill runs").success());
        drop(victim);
        std::thread::sleep(Duration::from_millis(300));
        home.server.wait_until_up(PATTERN);
        let mut session = home.connect();
        agree(&mut session);
        let created = value(&mut session, "tasker_tasks_created_by_template_total");
        assert_eq!(created == 0.0, home.preloaded, "{created}");
        session.create("t1");
        home.settle(&mut session);
        agree(&mut session);
    }
}

// ---- error classes -----------------------------------------------------------------------------------------------------------

#[test]
fn an_error_class_is_cut_to_64_characters() {
    for home in Home::both(&[]) {
        let mut session = home.connect();
        shapes::wide("failing", 1).register(&mut session);
        let long = "ü".repeat(70);
        fail_often(&mut session, &long, 1);
        fail_often(&mut session, &format!("{}x", &long[..128]), 1);
        fail_often(&mut session, "\\ \" {\n", 1);
        home.settle(&mut session);
        assert_eq!(
            classes(&mut session),
            [format!("{} 2", &long[..128]), "\\ \" {\n 1".to_owned()]
        );
    }
}

#[test]
fn the_most_frequent_classes_of_a_step_have_series() {
    for home in Home::both(&["tasker.max_error_classes=2"]) {
        let mut session = home.connect();
        shapes::wide("failing", 1).register(&mut session);
        shapes::wide("another", 1).register(&mut session);
        let fail = |session: &mut Session, class: &str, times| {
            fail_often(session, class, times);
            home.settle(session);
            maintain_now(&home, session);
        };
        fail(&mut session, "Often", 5);
        fail(&mut session, "Seldom", 3);
        fail(&mut session, "New", 3);
        assert_eq!(classes(&mut session), ["Often 5", "Seldom 3", "other 3"]);
        // Now it has come more often than the least frequent one, whose counts go to the class other.
        fail(&mut session, "New", 1);
        assert_eq!(classes(&mut session), ["other 6", "Often 5", "New 1"]);
        fail(&mut session, "New", 1);
        fail(&mut session, "Seldom", 1);
        assert_eq!(classes(&mut session), ["other 7", "Often 5", "New 2"]);
        // A class that comes in many forms drives out nothing.
        for number in 0..30 {
            fail_often(&mut session, &format!("Id{number}"), 1);
        }
        home.settle(&mut session);
        maintain_now(&home, &mut session);
        assert_eq!(classes(&mut session), ["other 37", "Often 5", "New 2"]);
        agree(&mut session);
        // Of each step.
        session.create("another");
        let claim = session.claim_one("worker");
        fail_with(&mut session, &claim, Some("Third"));
        home.settle(&mut session);
        maintain_now(&home, &mut session);
        let of_another: f64 = session.one(
            "SELECT value FROM tasker.metrics WHERE labels->>'error_class' = 'Third'",
            &[],
        );
        assert_eq!(of_another, 1.0);
    }
}

/// Without shared memory the classes are told apart when rows are folded: here at once.
fn maintain_now(home: &Home, session: &mut Session) {
    if !home.preloaded {
        session.execute(
            "INSERT INTO tasker_engine.series_counts
             SELECT now(), false, '{}', '{}', '{}', '{}', '{}' FROM generate_series(1, 100)",
        );
        session.query("SELECT tasker_engine.fold_series()", &[]);
    }
}

// ---- places ------------------------------------------------------------------------------------------------------------------

#[test]
fn a_series_without_counts_gives_back_its_place() {
    for home in Home::both(&[]) {
        let mut session = home.connect();
        for name in ["old", "new"] {
            shapes::wide(name, 1).register(&mut session);
        }
        shapes::wide("failing", 1).register(&mut session);
        session.create("old");
        session.work(|_| done());
        fail_often(&mut session, "Old", 2);
        home.settle(&mut session);
        let before = value(&mut session, "tasker_metric_series");
        maintain(&mut session);
        assert_eq!(
            value(&mut session, "tasker_metric_series"),
            before,
            "a day has not passed"
        );
        session.execute("SET tasker.metrics_retention_hours = 0");
        maintain(&mut session);
        assert_eq!(
            value(&mut session, "tasker_metric_series"),
            before,
            "0 is forever"
        );
        if home.preloaded {
            std::thread::sleep(Duration::from_millis(1500));
        } else {
            maintain_now(&home, &mut session);
            session.execute("UPDATE tasker_engine.series_counts SET at = at - interval '2 s'");
        }
        session.create("new");
        home.settle(&mut session);
        session.execute("SET tasker.metrics_retention_hours = 0.0003");
        maintain(&mut session);
        agree(&mut session);
        assert_eq!(value(&mut session, "tasker_metric_series"), 1.0);
        let all = labelled(&mut session);
        assert_eq!(all["created_by_template default.new.0.1.0"], 1.0);
        assert_eq!(all["created_by_template other.other.other"], 3.0);
        assert_eq!(all["completed_by_step other.other.other.other"], 1.0);
        assert_eq!(all["failed_by_step other.other.other.other.other"], 2.0);
        assert_eq!(all.len(), 8, "{all:?}");
        // It is not a count that found no place.
        assert_eq!(
            value(&mut session, "tasker_metric_series_dropped_total"),
            0.0
        );
        // It can come again.
        session.execute("RESET tasker.metrics_retention_hours");
        session.create("old");
        home.settle(&mut session);
        assert_eq!(
            labelled(&mut session)["created_by_template default.old.0.1.0"],
            1.0
        );
    }
}

#[test]
fn reset_metrics_gives_back_all_places() {
    for home in Home::both(&["tasker.max_error_classes=2"]) {
        let mut session = home.connect();
        shapes::wide("failing", 1).register(&mut session);
        for class in ["One", "Two", "Three"] {
            fail_often(&mut session, class, 1);
        }
        home.settle(&mut session);
        assert!(!labelled(&mut session).is_empty());
        session.query("SELECT tasker.reset_metrics()", &[]);
        assert_eq!(labelled(&mut session), BTreeMap::new());
        assert_eq!(value(&mut session, "tasker_metric_series"), 0.0);
        fail_often(&mut session, "Three", 1);
        home.settle(&mut session);
        assert_eq!(classes(&mut session), ["Three 1"]);
        agree(&mut session);
    }
}

#[test]
fn the_places_of_a_database_are_free_again_when_it_or_the_extension_is_gone() {
    let home = Home::of(
        true,
        &["tasker.max_metric_series=20", "max_worker_processes=32"],
    );
    let mut admin = home.connect();
    shapes::wide("wide", 1).register(&mut admin);
    admin.create("wide");
    let mut wait_for_series = |what: &str| {
        let deadline = Instant::now() + patience(30);
        while value(&mut admin, "tasker_metric_series") != 1.0 {
            assert!(Instant::now() < deadline, "{what} keeps its places");
            maintain(&mut admin);
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let mut own = home.server.connect("postgres");
    own.execute("CREATE DATABASE passing TEMPLATE template0");
    let mut passing = home.server.connect("passing");
    for what in [
        "a new extension",
        "a dropped extension",
        "a dropped database",
    ] {
        database::install(&mut passing);
        shapes::wide("wide", 2).register(&mut passing);
        passing.create("wide");
        passing.work(|_| done());
        assert_eq!(value(&mut passing, "tasker_metric_series"), 4.0, "{what}");
        if what == "a dropped database" {
            break;
        }
        passing.execute("DROP EXTENSION tasker_ext CASCADE; DROP SCHEMA harness CASCADE");
        if what == "a dropped extension" {
            wait_for_series(what);
        }
    }
    drop(passing);
    own.execute("DROP DATABASE passing WITH (FORCE)");
    wait_for_series("a dropped database");
}

#[test]
fn databases_are_counted_apart_by_labels() {
    let home = Home::of(true, &["max_worker_processes=32"]);
    let mut one = home.connect();
    home.server
        .connect("postgres")
        .execute("CREATE DATABASE other TEMPLATE template0");
    let mut other = home.server.connect("other");
    database::install(&mut other);
    for session in [&mut one, &mut other] {
        shapes::wide("wide", 1).register(session);
    }
    // The same number of the template in both.
    one.create_many("wide", 20);
    other.create_many("wide", 30);
    let created = "created_by_template default.wide.0.1.0";
    assert_eq!(labelled(&mut one)[created], 20.0);
    assert_eq!(labelled(&mut other)[created], 30.0);
    one.query("SELECT tasker.reset_metrics()", &[]);
    assert_eq!(labelled(&mut one), BTreeMap::new());
    assert_eq!(labelled(&mut other)[created], 30.0);
}

// ---- routes ------------------------------------------------------------------------------------------------------------------

#[test]
fn a_route_decides_what_is_counted_by_labels() {
    let database = Database::new();
    let mut session = database.connect();
    let settle = "SELECT * FROM tasker.claim_task_for_finalization(gen_random_uuid(), 'settler')";
    shapes::wide("wide", 1).register(&mut session);
    session.execute(
        "SELECT tasker.set_event_route('task.initialize_requested', backends => '{trace}')",
    );
    session.execute("SELECT tasker.set_event_route('step.completed', sampling_rate => 0.5)");
    session.execute("SET tasker.filtered_events = 'step.started'");
    session.create_many("wide", 200);
    session.work(|_| done());
    session.execute(settle);
    let all = labelled(&mut session);
    // Without the backend metrics, and filtered by a synonym.
    assert!(
        !all.contains_key("created_by_template default.wide.0.1.0"),
        "{all:?}"
    );
    assert!(
        !all.contains_key("claimed_by_step default.wide.0.1.0.step_1"),
        "{all:?}"
    );
    assert_eq!(
        value(&mut session, "tasker_step_wait_by_step_seconds_count"),
        0.0
    );
    // A share of the tasks, of the histogram too.
    let completed = all["completed_by_step default.wide.0.1.0.step_1"];
    assert!((60.0..140.0).contains(&completed), "{completed}");
    assert_eq!(
        value(&mut session, "tasker_step_run_by_step_seconds_count"),
        completed
    );
    assert_eq!(all["completed_by_template default.wide.0.1.0"], 200.0);
    // What has no labels counts all.
    for name in [
        "tasks_created",
        "steps_claimed",
        "steps_completed",
        "tasks_completed",
    ] {
        assert_eq!(value(&mut session, &format!("tasker_{name}_total")), 200.0);
    }
    // A change of the route reaches this session.
    session.execute(
        "SELECT tasker.set_event_route('task.initialize_requested', backends => '{metrics}')",
    );
    session.create("wide");
    session.execute("SET tasker.event_sampling_rate = 0");
    session.create("wide");
    session.execute(settle);
    assert_eq!(
        labelled(&mut session)["created_by_template default.wide.0.1.0"],
        1.0
    );
}

// ---- reading -----------------------------------------------------------------------------------------------------------------

#[test]
fn prometheus_gets_each_series_once_and_whole() {
    for home in Home::both(&[]) {
        let mut session = home.connect();
        for name in ["one", "two"] {
            shapes::wide(name, 2).register(&mut session);
        }
        session.create_many("one", 3);
        session.create_many("two", 3);
        session.work(|_| done());
        home.settle(&mut session);
        let text: String = session.one("SELECT tasker.export_metrics()", &[]);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let mut series: Vec<&str> = lines
            .iter()
            .filter_map(|line| Some(line.rsplit_once(' ')?.0))
            .collect();
        let all = series.len();
        series.sort_unstable();
        series.dedup();
        assert_eq!(series.len(), all, "a series comes twice");
        // Each histogram has its buckets in order, ascending, and the infinite one is the count.
        let mut open: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        let mut counts = 0;
        for line in lines
            .iter()
            .filter(|line| line.contains("_by_step_seconds"))
        {
            let (labels, value) = line.rsplit_once(' ').expect("a value");
            let value: f64 = value.parse().expect("a number");
            let (name, labels) = labels.split_once('{').expect("labels");
            let own: Vec<&str> = labels
                .trim_end_matches('}')
                .split(',')
                .filter(|label| !label.starts_with("le="))
                .collect();
            if let Some(family) = name.strip_suffix("_bucket") {
                let le = labels
                    .split("le=\"")
                    .nth(1)
                    .and_then(|rest| rest.split('"').next())
                    .expect("a bound");
                let le: f64 = le.replace("+Inf", "inf").parse().expect("a bound");
                let last = open
                    .entry(format!("{family} {own:?}"))
                    .or_insert((0.0, 0.0));
                assert!(le > last.0 && value >= last.1, "{line}");
                *last = (le, value);
            } else if let Some(family) = name.strip_suffix("_count") {
                assert_eq!(open[&format!("{family} {own:?}")], (f64::INFINITY, value));
                counts += 1;
            }
        }
        assert_eq!(counts, 8, "waits and runs of four steps");
        for name in [
            "tasker_metric_series ",
            "tasker_metric_series_dropped_total ",
        ] {
            assert!(text.contains(&format!("\n{name}")), "{name}");
        }
    }
}

#[test]
fn the_size_of_the_table_needs_a_restart_with_preload() {
    for home in Home::both(&["tasker.max_metric_series=7"]) {
        let mut session = home.connect();
        let most = "SELECT setting || ' ' || context FROM pg_settings WHERE name = 'tasker.max_metric_series'";
        // The first call loads the library.
        session.query("SELECT * FROM tasker.metrics_source", &[]);
        let wanted = if home.preloaded {
            "7 postmaster"
        } else {
            "7 sighup"
        };
        assert_eq!(session.one::<String>(most, &[]), wanted);
    }
}
