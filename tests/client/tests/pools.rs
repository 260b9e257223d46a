//! Pools of executors: what can be set, what is decided from a load, what the server can carry. The load is faked: the
//! one function that scaling reads it from gives what the test wrote down.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use tasker_client_tests::{Database, Session, Template, Value, json};

/// From now on the load of a pool is what the test says (none: as without background processes), and the server is large.
const FAKE: &str = "
    CREATE TABLE public.load (pool text PRIMARY KEY, load jsonb);
    GRANT SELECT ON public.load TO tasker_owner;
    CREATE OR REPLACE FUNCTION tasker_engine.pool_load(pool text) RETURNS jsonb LANGUAGE sql VOLATILE
        SECURITY DEFINER SET search_path = pg_catalog, pg_temp
        AS 'SELECT l.load FROM public.load l WHERE l.pool = $1';
    CREATE OR REPLACE FUNCTION tasker_engine.server_resources() RETURNS jsonb LANGUAGE sql VOLATILE
        AS $$SELECT '{\"max_worker_processes\": 100, \"max_connections\": 100, \"max_parallel_per_gather\": 2,
                      \"own_processes\": 2, \"executors_elsewhere\": 0}'::jsonb$$";

/// The full hour before the tests began, in seconds: what the faked times count from.
fn base() -> i64 {
    static BASE: OnceLock<i64> = OnceLock::new();
    *BASE.get_or_init(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.expect("later than 1970").as_secs() as i64 / 3_600 * 3_600
    })
}

/// A number of executors with the same figures. Times are seconds.
struct Load {
    now: f64,
    depth: i32,
    executors: i32,
    steps: i64,
    failures: i64,
    busy_us: i64,
}

impl Load {
    fn at(now: f64) -> Self {
        Self {
            now: base() as f64 + now,
            depth: 0,
            executors: 1,
            steps: 0,
            failures: 0,
            busy_us: 0,
        }
    }

    fn document(&self) -> Value {
        let executors: Vec<Value> = (0..self.executors)
            .map(|n| {
                json!({
                    "pid": 100 + n, "started_at": base() - 1_000, "busy": false, "draining": false,
                    "state_since": self.now, "steps": self.steps, "failures": self.failures, "busy_us": self.busy_us,
                })
            })
            .collect();
        json!({ "now": self.now, "depth": self.depth, "executors": executors })
    }
}

fn faked() -> (Database, Session) {
    let database = Database::new();
    let mut session = database.connect();
    session.execute(FAKE);
    (database, session)
}

/// Evaluates pool `default`; returns how many decisions were written.
fn evaluate(session: &mut Session, load: &Load) -> i64 {
    session.query(
        "INSERT INTO public.load VALUES ('default', $1) ON CONFLICT (pool) DO UPDATE SET load = excluded.load",
        &[&load.document()],
    );
    // Time stands still between two evaluations, so the pool is due again.
    session.execute(
        "UPDATE tasker_engine.pool_targets SET evaluated_at = evaluated_at - interval '1 day'",
    );
    session.one("SELECT tasker_engine.run_duty('scaling')", &[])
}

fn desired(session: &mut Session, pool: &str) -> i32 {
    session.one(
        "SELECT desired_executors FROM tasker.executor_pools WHERE name = $1",
        &[&pool],
    )
}

fn last_rule(session: &mut Session) -> String {
    session.one(
        "SELECT last_rule FROM tasker.executor_pools WHERE name = 'default'",
        &[],
    )
}

// ---- settings -------------------------------------------------------------------------------------------------------

#[test]
fn the_default_pool_is_there_without_a_row() {
    let database = Database::new();
    let mut session = database.connect();
    let rows = session.query("SELECT * FROM tasker.executor_pools", &[]);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].get::<_, String>("name"), "default");
    assert_eq!(
        (
            rows[0].get::<_, i32>("min_executors"),
            rows[0].get::<_, i32>("max_executors"),
            rows[0].get::<_, i32>("desired_executors"),
            rows[0].get::<_, i32>("running"),
        ),
        (1, 2, 1, 0)
    );
    assert_eq!(rows[0].get::<_, Vec<String>>("queues"), ["sql"]);
    assert_eq!(rows[0].get::<_, Option<Vec<String>>>("namespaces"), None);
    assert_eq!(
        session.count("SELECT count(*) FROM tasker_engine.executor_pools", &[]),
        0,
        "a dump of a fresh database holds no pool"
    );
}

#[test]
fn null_keeps_what_is_set() {
    let database = Database::new();
    let mut session = database.connect();
    session.execute(
        "SELECT tasker.configure_executor_pool('reports', min_executors => 2, max_executors => 6,
             target_utilization => 0.6, scaling_interval => '2 s', scaling_cooldown => '4 s', namespaces => '{eu,us}',
             queues => '{sql,reports}', batch_size => 7, predictive => true, season => '7 days', enabled => false)",
    );
    session.execute("SELECT tasker.configure_executor_pool('reports', max_executors => 8)");
    let all: String = session.one(
        "SELECT concat_ws(' ', min_executors, max_executors, target_utilization, scaling_interval, scaling_cooldown,
             namespaces, queues, batch_size, predictive, season, enabled, desired_executors)
         FROM tasker.executor_pools WHERE name = 'reports'",
        &[],
    );
    assert_eq!(
        all,
        "2 8 0.6 00:00:02 00:00:04 {eu,us} {sql,reports} 7 t 7 days f 0"
    );
    session.execute(
        "SELECT tasker.configure_executor_pool('reports', enabled => true, namespaces => '{}')",
    );
    assert_eq!(desired(&mut session, "reports"), 2);
    let namespaces: Option<Vec<String>> = session.one(
        "SELECT namespaces FROM tasker.executor_pools WHERE name = 'reports'",
        &[],
    );
    assert_eq!(namespaces, None, "an empty array is all of them");
}

#[test]
fn the_coordinator_reads_what_is_in_force() {
    let database = Database::new();
    let mut session = database.connect();
    session.execute("SELECT tasker.configure_executor_pool('reports', max_executors => 4, namespaces => '{eu}', batch_size => 3)");
    let all: Vec<String> = session.all(
        "SELECT concat_ws(' ', pool, desired, queues, coalesce(namespaces::text, 'all'), batch_size) FROM tasker_engine.desired_executors()",
        &[],
    );
    assert_eq!(all, ["default 1 {sql} all 1", "reports 1 {sql} {eu} 3"]);
}

#[test]
fn a_lone_limit_takes_the_other_default_along() {
    let database = Database::new();
    let mut session = database.connect();
    for (call, expected) in [
        ("'a', max_executors => 0", "0 0"),
        ("'b', min_executors => 5", "5 5"),
        ("'c', min_executors => 0", "0 2"),
    ] {
        session.execute(&format!("SELECT tasker.configure_executor_pool({call})"));
        let limits: String = session.one(
            "SELECT concat(min_executors, ' ', max_executors) FROM tasker.executor_pools WHERE name = $1",
            &[&&call[1..2]],
        );
        assert_eq!(limits, expected, "{call}");
    }
}

/// Arguments, the SQLSTATE and words of the message.
const BAD_SETTINGS: &[(&str, &str, &str)] = &[
    ("NULL", "22004", "name must not be null"),
    ("' '", "22023", "pool is empty"),
    ("repeat('x', 65)", "22023", "64"),
    ("E'a\\nb'", "22023", "control"),
    (
        "'p', min_executors => -1",
        "22023",
        "min_executors -1 is out of range",
    ),
    (
        "'p', max_executors => 1001",
        "22023",
        "max_executors 1001 is out of range",
    ),
    (
        "'p', min_executors => 3, max_executors => 2",
        "22023",
        "min_executors 3 is above max_executors 2",
    ),
    (
        "'p', target_utilization => 0.09",
        "22023",
        "target_utilization 0.09 is out of range",
    ),
    (
        "'p', target_utilization => 1.01",
        "22023",
        "target_utilization 1.01 is out of range",
    ),
    (
        "'p', target_utilization => 'NaN'",
        "22023",
        "target_utilization NaN is out of range",
    ),
    (
        "'p', scaling_interval => '0.9 s'",
        "22023",
        "scaling_interval 0.9 seconds is out of range",
    ),
    (
        "'p', scaling_interval => '2 h'",
        "22023",
        "scaling_interval 7200 seconds",
    ),
    (
        "'p', scaling_cooldown => '-1 s'",
        "22023",
        "scaling_cooldown -1 seconds",
    ),
    (
        "'p', scaling_cooldown => '2 days'",
        "22023",
        "scaling_cooldown 172800 seconds",
    ),
    (
        "'p', batch_size => 0",
        "22023",
        "batch_size 0 is out of range",
    ),
    (
        "'p', season => '9 minutes'",
        "22023",
        "season 540 seconds is out of range",
    ),
    ("'p', season => '2 months'", "22023", "season"),
    ("'p', queues => '{}'", "22023", "queues must not be empty"),
    (
        "'p', queues => '{sql,NULL}'",
        "22004",
        "an element of queues must not be null",
    ),
    (
        "'p', namespaces => '{NULL}'",
        "22004",
        "an element of namespaces must not be null",
    ),
    (
        "'p', namespaces => array[repeat('x', 65)]",
        "22023",
        "namespace",
    ),
];

#[test]
fn bad_settings_are_refused_and_change_nothing() {
    let database = Database::new();
    let mut session = database.connect();
    for (call, code, words) in BAD_SETTINGS {
        let failure = session
            .fails(
                &format!("SELECT tasker.configure_executor_pool({call})"),
                &[],
            )
            .is(code);
        assert!(
            !failure.hint.is_empty() && !failure.detail.is_empty(),
            "{call}: {failure}"
        );
        failure.message_says(&[*words]);
    }
    assert_eq!(
        session.count("SELECT count(*) FROM tasker_engine.executor_pools", &[]),
        0
    );
    // Against what stands already, too.
    session.execute("SELECT tasker.configure_executor_pool('p', max_executors => 4)");
    session
        .fails(
            "SELECT tasker.configure_executor_pool('p', min_executors => 5)",
            &[],
        )
        .is("22023")
        .message_says(&["min_executors 5 is above max_executors 4"]);
}

#[test]
fn two_calls_at_once_cannot_cross_the_limits() {
    let database = Database::new();
    let mut first = database.connect();
    first.execute(
        "SELECT tasker.configure_executor_pool('p', min_executors => 2, max_executors => 8)",
    );
    first.execute("BEGIN");
    first.execute("SELECT tasker.configure_executor_pool('p', min_executors => 6)");
    let other = database.connect();
    let waiting = std::thread::spawn(move || {
        let mut other = other;
        other.attempt_with(
            "SELECT tasker.configure_executor_pool('p', max_executors => 4)",
            &[],
        )
    });
    let mut watcher = database.connect();
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while watcher.count(waits, &[]) == 0 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    first.execute("COMMIT");
    waiting
        .join()
        .expect("the thread lives")
        .expect_err("the maximum would lie below the minimum")
        .is("22023");
}

#[test]
fn a_removed_pool_is_gone_and_the_default_one_forgets_what_was_set() {
    let (_database, mut session) = faked();
    session.execute("SELECT tasker.configure_executor_pool('default', max_executors => 9)");
    session.execute("SELECT tasker.configure_executor_pool('reports')");
    evaluate(
        &mut session,
        &Load {
            depth: 150,
            ..Load::at(0.0)
        },
    );
    assert_eq!(desired(&mut session, "default"), 4);
    session.execute(
        "SELECT tasker.remove_executor_pool('reports'), tasker.remove_executor_pool('default')",
    );
    let left: Vec<String> = session.all(
        "SELECT concat(name, ' ', max_executors, ' ', desired_executors) FROM tasker.executor_pools",
        &[],
    );
    assert_eq!(left, ["default 2 1"]);
    assert_eq!(
        session.count("SELECT count(*) FROM tasker.scaling_decisions", &[]),
        1,
        "what was decided stays readable"
    );
    session
        .fails("SELECT tasker.remove_executor_pool(NULL)", &[])
        .is("22004");
    for unknown in ["reports", "default", "it's none"] {
        session
            .fails("SELECT tasker.remove_executor_pool($1)", &[&unknown])
            .is("P0002")
            .hint_says(&["tasker.executor_pools"]);
    }
}

#[test]
fn operators_set_pools_and_readers_look_at_them() {
    let database = Database::new();
    database.connect().execute(
        "CREATE ROLE pools_reader LOGIN IN ROLE tasker_reader; CREATE ROLE pools_operator LOGIN IN ROLE tasker_operator;
         CREATE ROLE pools_worker LOGIN IN ROLE tasker_worker",
    );
    for (role, set, see) in [
        ("pools_reader", false, true),
        ("pools_operator", true, true),
        ("pools_worker", false, false),
    ] {
        let mut session = database.connect_as(role);
        for (sql, allowed) in [
            ("SELECT tasker.configure_executor_pool('p')", set),
            ("SELECT tasker.remove_executor_pool('p')", set),
            ("SELECT * FROM tasker.validate_resources()", see),
            ("SELECT * FROM tasker.executor_pools", see),
            ("SELECT * FROM tasker.scaling_decisions", see),
            ("SELECT tasker_engine.duty_scaling()", false),
            ("SELECT tasker_engine.pool_load('default')", false),
            ("SELECT * FROM tasker_engine.executor_pools", false),
        ] {
            match session.attempt_rows(sql) {
                Ok(_) => assert!(allowed, "{role} cannot: {sql}"),
                Err(failure) => {
                    assert!(!allowed, "{role}: {sql}: {failure}");
                    failure.is("42501");
                }
            }
        }
    }
    database
        .connect()
        .execute("DROP ROLE pools_reader, pools_operator, pools_worker");
}

// ---- decisions ------------------------------------------------------------------------------------------------------

#[test]
fn without_background_processes_nothing_is_decided() {
    let database = Database::new();
    let mut session = database.connect();
    session.execute(
        "CREATE FUNCTION public.only(step jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT step $$",
    );
    Template::new("work")
        .step_with(
            "only",
            &[],
            json!({"handler": "sql:public.only", "queue": "default"}),
        )
        .register(&mut session);
    session.execute("SELECT tasker.configure_executor_pool('default', queues => '{default}')");
    session.execute("SELECT tasker.create_tasks('work', array_fill('{}'::jsonb, array[300]))");
    assert_eq!(
        session.one::<i64>("SELECT tasker_engine.run_duty('scaling')", &[]),
        0
    );
    assert_eq!(
        session.count("SELECT count(*) FROM tasker_engine.pool_targets", &[]),
        0
    );
    let depth: i32 = session.one("SELECT queue_depth FROM tasker.executor_pools", &[]);
    assert_eq!(depth, 300, "and yet the view shows what waits");
}

#[test]
fn a_long_queue_makes_a_decision_that_explains_itself() {
    let (_database, mut session) = faked();
    session.execute("SELECT tasker.configure_executor_pool('default', max_executors => 4)");
    assert_eq!(
        evaluate(
            &mut session,
            &Load {
                depth: 120,
                ..Load::at(0.0)
            }
        ),
        1
    );
    let row = &session.query("SELECT * FROM tasker.scaling_decisions", &[])[0];
    assert_eq!(
        (
            row.get::<_, i32>("from_executors"),
            row.get::<_, i32>("to_executors")
        ),
        (1, 3)
    );
    assert_eq!(row.get::<_, String>("rule"), "queue_depth");
    assert_eq!(
        row.get::<_, String>("reason"),
        "120 steps are due, more than 100: one executor more for each 50."
    );
    let inputs: Value = row.get("inputs");
    assert_eq!(inputs["queue_depth"], json!(120));
    assert_eq!(inputs["running"], json!(1));
    assert_eq!(inputs["wanted"], json!({ "queue_depth": 3 }));
    assert_eq!(desired(&mut session, "default"), 3);
    let duty: i64 = session.one(
        "SELECT total_done FROM tasker.maintenance_duties WHERE duty = 'scaling'",
        &[],
    );
    assert_eq!(duty, 1);
}

#[test]
fn a_pool_grows_waits_for_the_cooldown_and_shrinks_when_it_is_idle() {
    let (_database, mut session) = faked();
    session.execute("SELECT tasker.configure_executor_pool('default', max_executors => 8)");
    evaluate(
        &mut session,
        &Load {
            depth: 120,
            ..Load::at(0.0)
        },
    );
    assert_eq!(desired(&mut session, "default"), 3);
    evaluate(
        &mut session,
        &Load {
            depth: 400,
            executors: 3,
            ..Load::at(5.0)
        },
    );
    assert_eq!(
        (desired(&mut session, "default"), last_rule(&mut session)),
        (3, "cooldown".to_owned())
    );
    evaluate(
        &mut session,
        &Load {
            depth: 400,
            executors: 3,
            ..Load::at(15.0)
        },
    );
    assert_eq!(desired(&mut session, "default"), 8);
    // Everything is done; the counters say so and then stand still.
    for n in 0..60 {
        let now = 20.0 + 5.0 * f64::from(n);
        let executors = desired(&mut session, "default");
        evaluate(
            &mut session,
            &Load {
                executors,
                steps: 130,
                busy_us: 4_000_000,
                ..Load::at(now)
            },
        );
    }
    assert_eq!(desired(&mut session, "default"), 1);
    let steps: Vec<i32> = session.all(
        "SELECT to_executors FROM tasker.scaling_decisions WHERE to_executors < from_executors ORDER BY decided_at",
        &[],
    );
    assert!(
        steps.windows(2).all(|w| w[1] < w[0]) && steps.last() == Some(&1),
        "{steps:?}"
    );
}

#[test]
fn a_pool_is_evaluated_when_its_interval_has_passed() {
    let (_database, mut session) = faked();
    session
        .execute("SELECT tasker.configure_executor_pool('default', scaling_interval => '1 hour')");
    evaluate(
        &mut session,
        &Load {
            depth: 30,
            ..Load::at(0.0)
        },
    );
    // `evaluated_at` is the instant that the load gave: long ago or far ahead of the real clock.
    session.execute("UPDATE tasker_engine.pool_targets SET evaluated_at = clock_timestamp() - interval '59 minutes'");
    session.execute("UPDATE public.load SET load = jsonb_set(load, '{depth}', '900')");
    let run = "SELECT tasker_engine.run_duty('scaling')";
    assert_eq!(session.one::<i64>(run, &[]), 0);
    session.execute("UPDATE tasker_engine.pool_targets SET evaluated_at = clock_timestamp() - interval '61 minutes'");
    assert_eq!(session.one::<i64>(run, &[]), 1);
}

#[test]
fn a_system_that_hands_out_nothing_is_not_scaled() {
    let (_database, mut session) = faked();
    session.execute("SELECT tasker.set_operational_state('graceful_shutdown')");
    let load = Load {
        depth: 500,
        ..Load::at(0.0)
    };
    assert_eq!(evaluate(&mut session, &load), 0);
    assert_eq!(desired(&mut session, "default"), 1);
    session.execute("SELECT tasker.set_operational_state('stopped'); SELECT tasker.set_operational_state('startup')");
    assert_eq!(evaluate(&mut session, &load), 1);
}

#[test]
fn a_pool_rests_after_two_long_evaluations() {
    let (database, mut session) = faked();
    session.execute(
        "CREATE TABLE public.evaluations (at timestamptz DEFAULT clock_timestamp()); GRANT INSERT ON public.evaluations TO tasker_owner;
         CREATE OR REPLACE FUNCTION tasker_engine.pool_load(pool text) RETURNS jsonb LANGUAGE plpgsql VOLATILE
         SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
         BEGIN
             INSERT INTO public.evaluations DEFAULT VALUES;
             PERFORM pg_sleep(0.2);
             RETURN NULL;
         END $$",
    );
    let run = "SELECT tasker_engine.run_duty('scaling')";
    let evaluations = "SELECT count(*) FROM public.evaluations";
    for _ in 0..4 {
        session.execute(run);
    }
    assert_eq!(
        session.count(evaluations, &[]),
        2,
        "two were long, and 50 times 0.2 s have not passed"
    );
    database.connect().execute(run);
    assert_eq!(
        session.count(evaluations, &[]),
        3,
        "each backend knows its own"
    );
}

#[test]
fn an_idle_pool_writes_nothing() {
    let (_database, mut session) = faked();
    for n in 0..5 {
        assert_eq!(evaluate(&mut session, &Load::at(5.0 * f64::from(n))), 0);
    }
    assert_eq!(
        session.count("SELECT count(*) FROM tasker_engine.pool_targets", &[]),
        0
    );
    let before: String = session.one("SELECT pg_current_wal_insert_lsn()::text", &[]);
    for _ in 0..20 {
        session.one::<i64>("SELECT tasker_engine.run_duty('scaling')", &[]);
    }
    // Other tests share the server: what counts is that no transaction of ours got an id.
    session.execute("BEGIN");
    session.one::<i64>("SELECT tasker_engine.duty_scaling()", &[]);
    let xid: Option<String> = session.one("SELECT pg_current_xact_id_if_assigned()::text", &[]);
    session.execute("ROLLBACK");
    assert_eq!(xid, None, "wrote something after {before}");
}

#[test]
fn the_memory_outlives_the_session() {
    let (database, mut session) = faked();
    session.execute("SELECT tasker.configure_executor_pool('default', max_executors => 8)");
    evaluate(
        &mut session,
        &Load {
            depth: 1,
            steps: 100,
            busy_us: 0,
            ..Load::at(0.0)
        },
    );
    let mut other = database.connect();
    // 20 steps in 5 s of work, 20 arrived: 4 per second against 4 per second and executor.
    assert_eq!(
        evaluate(
            &mut other,
            &Load {
                depth: 1,
                steps: 120,
                busy_us: 5_000_000,
                ..Load::at(5.0)
            }
        ),
        1
    );
    let row = &other.query(
        "SELECT rule, to_executors, inputs FROM tasker.scaling_decisions",
        &[],
    )[0];
    let inputs: Value = row.get("inputs");
    assert_eq!(
        (&inputs["arrival_rate"], &inputs["service_rate"]),
        (&json!(4.0), &json!(4.0))
    );
    assert_eq!(row.get::<_, i32>("to_executors"), 2);
}

#[test]
fn failing_steps_bring_no_executor() {
    let (_database, mut session) = faked();
    session.execute("SELECT tasker.configure_executor_pool('default', max_executors => 8)");
    evaluate(
        &mut session,
        &Load {
            depth: 1,
            ..Load::at(0.0)
        },
    );
    evaluate(
        &mut session,
        &Load {
            depth: 600,
            steps: 20,
            failures: 18,
            busy_us: 5_000_000,
            ..Load::at(5.0)
        },
    );
    assert_eq!(
        (desired(&mut session, "default"), last_rule(&mut session)),
        (1, "errors".to_owned())
    );
}

#[test]
fn new_limits_are_followed_at_once() {
    let (_database, mut session) = faked();
    session.execute("SELECT tasker.configure_executor_pool('default', max_executors => 4)");
    evaluate(
        &mut session,
        &Load {
            depth: 500,
            ..Load::at(0.0)
        },
    );
    assert_eq!(desired(&mut session, "default"), 4);
    session.execute("SELECT tasker.configure_executor_pool('default', max_executors => 2)");
    assert_eq!(
        desired(&mut session, "default"),
        2,
        "before the first evaluation"
    );
    evaluate(
        &mut session,
        &Load {
            depth: 500,
            executors: 4,
            ..Load::at(5.0)
        },
    );
    assert_eq!(last_rule(&mut session), "limits");
    session.execute("SELECT tasker.configure_executor_pool('default', enabled => false)");
    assert_eq!(desired(&mut session, "default"), 0);
    assert_eq!(
        evaluate(
            &mut session,
            &Load {
                depth: 900,
                ..Load::at(100.0)
            }
        ),
        0,
        "a pool that is off is not evaluated"
    );
}

#[test]
fn pools_share_what_the_server_carries() {
    let (_database, mut session) = faked();
    // 8 slots, 2 reserved, launcher and coordinator: 4 executors, of which the other pool has 2.
    session.execute(
        "CREATE OR REPLACE FUNCTION tasker_engine.server_resources() RETURNS jsonb LANGUAGE sql VOLATILE
         AS $$SELECT '{\"max_worker_processes\": 8, \"max_connections\": 100, \"max_parallel_per_gather\": 2,
                       \"own_processes\": 2, \"executors_elsewhere\": 0}'::jsonb$$",
    );
    session.execute(
        "SELECT tasker.configure_executor_pool('default', max_executors => 4),
                tasker.configure_executor_pool('other', min_executors => 2)",
    );
    evaluate(
        &mut session,
        &Load {
            depth: 900,
            ..Load::at(0.0)
        },
    );
    let reason: String = session.one("SELECT reason FROM tasker.scaling_decisions", &[]);
    assert_eq!(desired(&mut session, "default"), 2, "{reason}");
    assert!(
        reason.contains("max_worker_processes 8 leaves 4 to executors"),
        "{reason}"
    );
    assert!(reason.contains("of which 2 are other pools'"), "{reason}");
    session.execute("SET tasker.memory_budget_mb = 110");
    session.execute("SELECT tasker.configure_executor_pool('other', enabled => false)");
    evaluate(
        &mut session,
        &Load {
            depth: 900,
            executors: 2,
            ..Load::at(60.0)
        },
    );
    let reason: String = session.one(
        "SELECT last_reason FROM tasker.executor_pools WHERE name = 'default'",
        &[],
    );
    assert!(
        reason.contains("tasker.memory_budget_mb 110 holds 2 executors of 50 MB"),
        "{reason}"
    );
    // Less than a megabyte is not 0, which is no budget.
    session.execute("SET tasker.memory_budget_mb = '100kB'");
    let problems: Vec<String> = session.all("SELECT message FROM tasker.validate_resources()", &[]);
    assert!(
        problems
            .iter()
            .any(|problem| problem.contains("tasker.memory_budget_mb 1 holds 0")),
        "{problems:?}"
    );
}

#[test]
fn a_broken_load_is_a_failure_of_the_duty_and_of_nothing_else() {
    let (_database, mut session) = faked();
    session.execute("INSERT INTO public.load VALUES ('default', '{\"now\": true}')");
    let duties = session.query("SELECT duty, done, error FROM tasker.run_maintenance() WHERE duty IN ('leases', 'scaling')", &[]);
    assert_eq!(duties.len(), 2);
    for row in duties {
        let error: Option<String> = row.get("error");
        assert_eq!(error.is_some(), row.get::<_, String>("duty") == "scaling");
    }
}

#[test]
fn old_decisions_are_forgotten() {
    let (_database, mut session) = faked();
    session.execute(
        "INSERT INTO tasker_engine.scaling_decisions (decided_at, pool, from_executors, to_executors, rule, reason, inputs)
         SELECT clock_timestamp(), 'default', 1, 1, 'bound', 'an old one', '{}' FROM generate_series(1, 1100);
         INSERT INTO tasker_engine.scaling_decisions (decided_at, pool, from_executors, to_executors, rule, reason, inputs)
         SELECT clock_timestamp() - interval '31 days', 'gone', 1, 1, 'bound', 'an older one', '{}' FROM generate_series(1, 3);
         INSERT INTO tasker_engine.scaling_decisions (decided_at, pool, from_executors, to_executors, rule, reason, inputs)
         VALUES (clock_timestamp() - interval '29 days', 'gone', 1, 1, 'bound', 'not yet', '{}')",
    );
    evaluate(
        &mut session,
        &Load {
            depth: 120,
            ..Load::at(0.0)
        },
    );
    let left = |session: &mut Session, pool: &str| -> i64 {
        session.one(
            "SELECT count(*) FROM tasker.scaling_decisions WHERE pool = $1",
            &[&pool],
        )
    };
    assert_eq!(
        (left(&mut session, "default"), left(&mut session, "gone")),
        (1000, 1)
    );
    assert_eq!(last_rule(&mut session), "queue_depth");
}

// ---- forecast -------------------------------------------------------------------------------------------------------

#[test]
fn arrivals_are_recorded_while_the_forecast_counts_and_forgotten_after_five_seasons() {
    let (_database, mut session) = faked();
    let run = |session: &mut Session, from: f64| {
        for n in 0..30 {
            let load = Load {
                steps: i64::from(n),
                busy_us: i64::from(n) * 100_000,
                depth: 1,
                ..Load::at(from + 5.0 * f64::from(n))
            };
            evaluate(session, &load);
        }
    };
    let minute = (base() + 600) / 60;
    run(&mut session, 0.0);
    let recorded = "SELECT count(*) FROM tasker_engine.pool_arrivals WHERE pool = 'default'";
    assert_eq!(session.count(recorded, &[]), 0);
    session.execute(&format!(
        "SELECT tasker.configure_executor_pool('default', predictive => true, season => '1 hour');
         INSERT INTO tasker_engine.pool_arrivals
         SELECT 'default', {minute} + 5 - h * 60, 7 FROM generate_series(1, 6) h"
    ));
    run(&mut session, 600.0);
    let minutes: Vec<i64> = session.all(
        &format!("SELECT arrivals FROM tasker_engine.pool_arrivals WHERE minute >= {minute} ORDER BY minute"),
        &[],
    );
    assert!(
        minutes.len() >= 2 && minutes.iter().all(|n| (1..=13).contains(n)),
        "{minutes:?}"
    );
    assert_eq!(
        session.count(
            &format!("SELECT count(*) FROM tasker_engine.pool_arrivals WHERE minute < {minute}"),
            &[]
        ),
        5,
        "the sixth season back is forgotten"
    );
}

#[test]
fn the_forecast_decides_ahead_of_the_load() {
    let (_database, mut session) = faked();
    session.execute("SELECT tasker.configure_executor_pool('default', max_executors => 8, predictive => true, season => '1 hour')");
    // In each of the last four hours, 600 steps in each minute that is now a minute ahead; the record begins earlier.
    let minute = base() / 60;
    session.execute(&format!(
        "INSERT INTO tasker_engine.pool_arrivals SELECT 'default', {minute} - 300, 1;
         INSERT INTO tasker_engine.pool_arrivals
         SELECT 'default', {minute} + m - h * 60, 600 FROM generate_series(1, 4) h, generate_series(1, 9) m"
    ));
    // 2 steps per second and busy executor, little to do.
    for n in 0..4 {
        let load = Load {
            depth: 0,
            steps: 1 + n,
            busy_us: 500_000 * n,
            ..Load::at(5.0 * n as f64)
        };
        evaluate(&mut session, &load);
    }
    let row = &session.query("SELECT rule, to_executors, reason, inputs FROM tasker.scaling_decisions ORDER BY decided_at LIMIT 1", &[])[0];
    assert_eq!(row.get::<_, String>("rule"), "forecast");
    let reason: String = row.get("reason");
    assert!(reason.starts_with("In 60 s usually"), "{reason}");
    assert!(row.get::<_, i32>("to_executors") > 2);
    let inputs: Value = row.get("inputs");
    assert!(
        inputs["forecast_rate"]
            .as_f64()
            .is_some_and(|rate| rate > 1.0)
    );
}

// ---- the queue ------------------------------------------------------------------------------------------------------

#[test]
fn the_depth_counts_the_due_steps_of_the_pools_queues_up_to_a_thousand() {
    let database = Database::new();
    let mut session = database.connect();
    session.execute(
        "CREATE FUNCTION public.only(step jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT step $$",
    );
    Template::new("work")
        .step_with(
            "only",
            &[],
            json!({"handler": "sql:public.only", "queue": "default"}),
        )
        .register(&mut session);
    let depth = |session: &mut Session, queues: &str, namespaces: Option<&str>| -> i32 {
        session.one(
            "SELECT tasker_engine.pool_depth($1::text::text[], $2::text::text[])",
            &[&queues, &namespaces],
        )
    };
    session.execute(
        "SELECT tasker.create_task('work'), tasker.create_task('work', priority => 4);
         SELECT tasker.create_task('work', run_at => clock_timestamp() + interval '1 hour')",
    );
    // No executor takes the steps of worker processes.
    Template::new("outside")
        .step("only", &[])
        .register(&mut session);
    session.create_many("outside", 20);
    assert_eq!(depth(&mut session, "{default}", None), 2);
    assert_eq!(depth(&mut session, "{default}", Some("{default}")), 2);
    assert_eq!(depth(&mut session, "{default}", Some("{elsewhere}")), 0);
    assert_eq!(depth(&mut session, "{sql}", None), 0);
    session.execute("SELECT tasker.pause_namespace('default')");
    assert_eq!(
        depth(&mut session, "{default}", None),
        0,
        "a paused queue hands out nothing"
    );
    session.execute("SELECT tasker.resume_namespace('default')");
    session.execute("SELECT tasker.create_tasks('work', array_fill('{}'::jsonb, array[1500]))");
    assert_eq!(depth(&mut session, "{default}", None), 1000);
}

// ---- what the server can carry --------------------------------------------------------------------------------------

fn findings(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT concat_ws(' | ', severity, pool, message) FROM tasker.validate_resources()",
        &[],
    )
}

/// The engine sees a server with these settings.
fn set_server(session: &mut Session, slots: i32, own: i32, elsewhere: i32) {
    session.execute(&format!(
            "CREATE OR REPLACE FUNCTION tasker_engine.server_resources() RETURNS jsonb LANGUAGE sql VOLATILE
             AS $$SELECT jsonb_build_object('max_worker_processes', {slots}, 'max_connections', 20, 'max_parallel_per_gather', 3,
                                            'own_processes', {own}, 'executors_elsewhere', {elsewhere})$$"
        ));
}

#[test]
fn resources_are_validated_against_the_server() {
    let database = Database::new();
    let mut session = database.connect();
    let found = findings(&mut session);
    assert_eq!(
        found,
        ["warning | no launcher runs, so no pool has an executor"],
        "this server has no preload"
    );
    set_server(&mut session, 8, 2, 0);
    assert_eq!(
        findings(&mut session),
        Vec::<String>::new(),
        "a server as installed is fine"
    );

    session.execute(
        "SELECT tasker.configure_executor_pool('big', min_executors => 4, max_executors => 9)",
    );
    let found = findings(&mut session);
    assert_eq!(
        found,
        [
            "error | the pools want at least 5 executors, but max_worker_processes 8 leaves 4 to executors (2 reserved for others, 2 launcher and coordinators)",
            "error | the pools may grow to 11 executors, but max_worker_processes is 8",
        ]
    );
    session.execute("SELECT tasker.configure_executor_pool('big', enabled => false)");
    assert_eq!(
        findings(&mut session),
        Vec::<String>::new(),
        "a pool that is off wants nothing"
    );

    session.execute("SELECT tasker.configure_executor_pool('default', max_executors => 4)");
    let found = findings(&mut session);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].contains("no room for the 3 workers of a parallel query"),
        "{found:?}"
    );
    set_server(&mut session, 8, 3, 1);
    let found = findings(&mut session);
    assert!(
        found[0].starts_with(
            "warning | the pools may grow to 4 executors, but max_worker_processes 8 leaves 2"
        ),
        "{found:?}"
    );
    assert!(found[0].contains("1 executors of other databases"));
}

#[test]
fn resources_are_validated_against_connections_and_memory() {
    let database = Database::new();
    let mut session = database.connect();
    set_server(&mut session, 64, 2, 0);
    session.execute("SELECT tasker.configure_executor_pool('default', max_executors => 30)");
    let found = findings(&mut session);
    assert_eq!(
        found,
        [
            "warning | the pools may grow to 30 executors, more than the 20 connections the server is set up for"
        ]
    );

    session.execute(
        "SELECT tasker.configure_executor_pool('default', min_executors => 3, max_executors => 10)",
    );
    session.execute("SET tasker.memory_budget_mb = 200; SET tasker.executor_memory_mb = 100");
    assert_eq!(
        findings(&mut session),
        [
            "error | the pools want at least 3 executors, but tasker.memory_budget_mb 200 holds 2 of 100 MB"
        ]
    );
    session.execute("SET tasker.memory_budget_mb = 500");
    assert_eq!(
        findings(&mut session),
        [
            "warning | the pools may grow to 10 executors, but tasker.memory_budget_mb 500 holds 5 of 100 MB"
        ]
    );
    session.execute("SET tasker.memory_budget_mb = 0; SELECT tasker.configure_executor_pool('empty', max_executors => 0)");
    assert_eq!(
        findings(&mut session),
        ["warning | empty | its maximum is 0: it never has an executor"]
    );
    let hints: Vec<String> = session.all("SELECT hint FROM tasker.validate_resources()", &[]);
    assert!(hints.iter().all(|hint| hint.len() > 20));
}
