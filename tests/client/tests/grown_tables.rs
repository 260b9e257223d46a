//! Calls on tables that had one row when they were analyzed, and have grown since.

use std::time::Duration;

use std::collections::BTreeMap;

use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Database, Session, Value, inside, json, scaled, shapes};

/// As many rows of one table as a call may look at: a table has grown to many times that.
const MOST: i64 = 5_000;

/// The rows that this session has read from each table of the extension, and not yet reported, by walks over the table and along
/// an index.
fn read(session: &mut Session) -> BTreeMap<String, i64> {
    session
        .query(
            "SELECT relname::text, seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables
             WHERE schemaname IN ('tasker', 'tasker_engine')",
            &[],
        )
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect()
}

/// Runs a call in a transaction of its own; the tables of which it read too many rows.
fn excess(session: &mut Session, call: &str) -> Vec<String> {
    session.execute("BEGIN");
    let before = read(session);
    session.execute(call);
    let after = read(session);
    session.execute("COMMIT");
    let rows = |table: &str| after[table] - before.get(table).copied().unwrap_or_default();
    let tables = after.keys().filter(|table| rows(table) > MOST);
    tables
        .map(|table| {
            format!(
                "{} rows of {table}: {}",
                rows(table),
                call.chars().take(60).collect::<String>()
            )
        })
        .collect()
}

/// Claims some steps; the reports on them as JSON.
fn reports(session: &mut Session, status: &str, count: i32) -> String {
    // Those that were taken over come alone.
    let claims = session.claim_soon(&Ask::by("w", count), count as usize);
    let reports = claims.iter().map(|claim| {
        json!({ "step_uuid": claim.step.to_string(), "claim_number": claim.number, "status": status, "retry_after_seconds": 0 })
    });
    Value::Array(reports.collect()).to_string()
}

/// All duties but those that look at everything, a part at a time or up to a limit.
fn duties(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT duty FROM tasker.maintenance_duties WHERE duty NOT IN ('health', 'integrity', 'stuck', 'totals')",
        &[],
    )
}

/// What clients and workers call all the time, what works by itself, and what operators do with a task.
fn calls(session: &mut Session) -> Vec<String> {
    let mut found = vec![];
    let mut tries = |session: &mut Session, call: &str| found.extend(excess(session, call));
    let by_key = "SELECT tasker.create_task('chain', idempotency_key => gen_random_uuid()::text)";
    tries(session, by_key);
    tries(
        session,
        "SELECT tasker.create_tasks('chain', '{\"{}\",\"{}\"}', idempotency_keys => ARRAY[NULL, gen_random_uuid()::text])",
    );
    tries(
        session,
        "SELECT tasker.create_task('hashed', jsonb_build_object('n', gen_random_uuid()))",
    );
    tries(
        session,
        "SELECT count(*) FROM tasker.claim_steps('w', max_steps => 20)",
    );
    tries(
        session,
        "SELECT count(*) FROM tasker.claim_steps('w', max_steps => 20, handlers => '{test.step_1,no}')",
    );
    tries(session, "SELECT count(*) FROM tasker.heartbeat('w')");
    tries(session, "SELECT tasker.release_steps('w')");
    for status in ["complete", "error", "released"] {
        let reports = reports(session, status, 10);
        tries(
            session,
            &format!("SELECT count(*) FROM tasker.report_steps('w', '{reports}')"),
        );
        // The same again.
        tries(
            session,
            &format!("SELECT count(*) FROM tasker.report_steps('w', '{reports}')"),
        );
    }
    let reports = reports(session, "complete", 10);
    tries(
        session,
        &format!("SELECT count(*) FROM tasker.report_and_claim('w', '{reports}', max_steps => 10)"),
    );
    tries(session, "SELECT tasker.release_steps('w')");
    let one = session.claim_one("w");
    tries(
        session,
        &format!(
            "SELECT tasker.complete_step('{}', {}, '{{}}')",
            one.step, one.number
        ),
    );
    let one = session.claim_one("w");
    tries(
        session,
        &format!(
            "SELECT tasker.fail_step('{}', {}, 'it broke', retryable => false)",
            one.step, one.number
        ),
    );
    for call in [
        "retry_task",
        "get_task_execution_context",
        "get_step_readiness_status",
        "cancel_task",
    ] {
        tries(
            session,
            &format!("SELECT count(*) FROM tasker.{call}('{}')", one.task),
        );
    }
    tries(
        session,
        "SELECT count(*) FROM tasker.claim_steps('lost', max_steps => 3, lease => '1 millisecond')",
    );
    let duties = duties(session);
    for duty in duties {
        tries(session, &inside::duty(&duty));
    }
    tries(session, "SELECT tasker.end_worker('w')");
    found
}

#[test]
fn calls_on_tables_that_were_analyzed_with_one_row_read_few_rows_of_what_has_grown() {
    let database = Database::new();
    let mut old = database.connect();
    inside::without_any_statistics(&mut old);
    shapes::chain("chain", 5).register(&mut old);
    shapes::chain("hashed", 1)
        .with("identity_strategy", json!("hash"))
        .register(&mut old);
    shapes::chain("other", 1)
        .with("namespace_name", json!("other"))
        .register(&mut old);
    old.query(
        "SELECT tasker.create_task('other', namespace => 'other', idempotency_key => 'first')",
        &[],
    );
    old.query("SELECT * FROM tasker.claim_steps('first', '{other}')", &[]);
    old.execute("ANALYZE");
    old.create_many("chain", 60);
    assert_eq!(calls(&mut old), Vec::<String>::new());

    let mut filler = database.connect();
    filler.execute("SET statement_timeout = 0");
    let tasks = scaled(10_000, 40_000) as i32;
    filler.query(
        "SELECT count(*) FROM generate_series(1, $1 / 1000) n,
             LATERAL tasker.create_tasks('chain', array_fill('{}'::jsonb, ARRAY[1000]),
                                         idempotency_keys => ARRAY(SELECT n || ' ' || k FROM generate_series(1, 1000) k))",
        &[&tasks],
    );
    filler.query("SELECT count(*) FROM generate_series(1, $1 / 20) n, LATERAL tasker.claim_steps('busy' || n % 10, lease => '1 hour')", &[&tasks]);
    inside::many_ended(&mut filler, tasks);
    assert_eq!(calls(&mut database.connect()), Vec::<String>::new());
    // A session that keeps its plans looks once a second whether the tables have grown.
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(calls(&mut old), Vec::<String>::new());
    filler.execute("ALTER FUNCTION tasker.heartbeat SET enable_indexscan = off");
    let found = calls(&mut database.connect());
    assert!(
        found.iter().any(|call| call.contains("heartbeat")),
        "a scan is found: {found:?}"
    );
}
