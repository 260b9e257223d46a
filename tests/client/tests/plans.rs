//! What a claim and a report cost, measured in the path that the worker uses: the buffers they touch do not grow with
//! the backlog, and their plans neither hash nor sort it.

use std::sync::OnceLock;

use tasker_client_tests::worker::Ask;
use tasker_client_tests::{
    Claim, Database, Session, Uuid, Value, inside, json, long, scaled, shapes,
};

const SMALL: usize = 1_000;

/// 300,000 pending steps, a million in the long form.
fn large() -> usize {
    scaled(300_000, 1_000_000)
}

/// A database with that many ready steps of tasks of five.
fn backlog(steps: usize) -> Database {
    let database = Database::new();
    let mut session = database.connect();
    session.execute("SET statement_timeout = 0");
    // One step is ready, four wait for it.
    shapes::chain("chain", 5).register(&mut session);
    shapes::small_diamond().register(&mut session);
    let batch = 10_000.min(steps);
    for _ in 0..steps / batch {
        session.query(
            "SELECT count(*) FROM tasker.create_tasks('chain', array_fill('{}'::jsonb, ARRAY[$1::int]))",
            &[&(batch as i32)],
        );
    }
    database
}

/// The large backlog is made once; each test takes little from it.
fn large_backlog() -> &'static Database {
    static LARGE: OnceLock<Database> = OnceLock::new();
    LARGE.get_or_init(|| backlog(large()))
}

/// Buffers touched by one statement, whatever it calls inside.
fn buffers(session: &mut Session, sql: &str) -> i64 {
    let plan: Value = session.one(
        &format!("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}"),
        &[],
    );
    let top = &plan[0]["Plan"];
    ["Shared Hit Blocks", "Shared Read Blocks"]
        .iter()
        .filter_map(|name| top[name].as_i64())
        .sum()
}

/// The median of the buffers of several loops of a worker that reports and claims `most` steps.
fn loop_buffers(session: &mut Session, most: i32) -> i64 {
    let worker = format!("measured {most}");
    let ask = Ask::by(&worker, most);
    // The first loops plan, load the template and register the worker.
    for _ in 0..6 {
        let claims = session.claim(&ask);
        report(session, &claims);
    }
    let mut all = vec![];
    for _ in 0..11 {
        // Claims under EXPLAIN show no rows: what they hold is asked for.
        let held: Vec<Uuid> = session.all("SELECT step_uuid FROM tasker.heartbeat($1)", &[&worker]);
        let tasks: Vec<Uuid> = held
            .iter()
            .map(|step| Uuid::from_u128(step.as_u128() >> 16 << 16))
            .collect();
        let held: Vec<Value> = session.all(
            "SELECT jsonb_build_object('step_uuid', step_uuid, 'claim_number', claim_number, 'status', 'complete')
             FROM tasker.workflow_steps WHERE task_uuid = ANY ($1) AND step_uuid = ANY ($2)",
            &[&tasks, &held],
        );
        let reports = Value::Array(held).to_string();
        all.push(buffers(session, &format!("SELECT * FROM tasker.report_and_claim('{worker}', '{reports}', max_steps => {most})")));
    }
    all.sort_unstable();
    println!("{most} steps a loop: {all:?}");
    all[all.len() / 2]
}

fn report(session: &mut Session, claims: &[Claim]) {
    let reports: Vec<Value> = claims.iter().map(|claim| claim.done(json!({}))).collect();
    session.query(
        "SELECT * FROM tasker.report_steps('reporter', $1)",
        &[&Value::Array(reports)],
    );
}

#[test]
fn a_loop_touches_as_few_buffers_at_300k_pending_as_at_1k() {
    let small = backlog(SMALL);
    let mut few = small.connect();
    let mut many = large_backlog().connect();
    for analyzed in [false, true] {
        if analyzed {
            few.execute("VACUUM ANALYZE");
            many.execute("SET statement_timeout = 0");
            many.execute("VACUUM ANALYZE");
            // New sessions plan with the new statistics.
            few = small.connect();
            many = large_backlog().connect();
        }
        for (most, bound) in [(1, 120), (50, 3_500)] {
            let (low, high) = (loop_buffers(&mut few, most), loop_buffers(&mut many, most));
            println!(
                "analyzed {analyzed}, {most} steps a loop: {low} buffers at {SMALL}, {high} at {}",
                large()
            );
            assert!(
                high <= bound,
                "{high} buffers for a loop of {most} steps with {} pending",
                large()
            );
            // Every index is a level or two higher, which counts for each descent.
            assert!(
                high as f64 <= low as f64 * 2.0,
                "{low} buffers at {SMALL} pending, {high} at {}",
                large()
            );
        }
    }
}

#[test]
fn a_claim_of_a_queue_whose_entries_were_all_taken_stays_cheap() {
    // Dead entries at the head of the queue: a transaction elsewhere keeps vacuum from removing them.
    let database = backlog(SMALL * 20);
    let mut session = database.connect();
    let mut pinning = database.connect();
    pinning.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    let fresh = loop_buffers(&mut session, 1);
    for _ in 0..8 {
        let claims = session.claim(&Ask::by("draining", 2_000));
        report(&mut session, &claims);
    }
    let behind_dead_ones = loop_buffers(&mut session, 1);
    println!("{fresh} buffers, {behind_dead_ones} behind 16,000 dead entries");
    assert!(
        behind_dead_ones <= 3 * fresh + 100,
        "{fresh} buffers before, {behind_dead_ones} behind dead entries"
    );
    pinning.execute("COMMIT");
}

#[test]
fn a_report_does_not_walk_over_claims_that_vacuum_could_not_remove() {
    let database = backlog(SMALL * 20);
    let mut session = database.connect();
    let mut pinning = database.connect();
    pinning.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    let fresh = loop_buffers(&mut session, 1);
    // Each claim leaves a dead row behind; what lives is a handful, and that is what the planner is told.
    let ask = Ask::by("one by one", 1);
    let mut reports = vec![];
    for _ in 0..2_000 {
        let (_, claims) = session.report_and_claim(&ask, &reports);
        reports = claims.iter().map(|claim| claim.done(json!({}))).collect();
    }
    session.execute("VACUUM ANALYZE");
    let reports = Value::Array(reports);
    let call = format!("SELECT * FROM tasker.report_and_claim('one by one', '{reports}')");
    let mut walks = vec![];
    for plan in plans(&mut session, &call) {
        nodes(&plan["Plan"], &mut |node| {
            if node["Relation Name"] == "claims"
                && node["Node Type"] != "ModifyTable"
                && node["Index Cond"].is_null()
            {
                walks.push(plan["Query Text"].to_string());
            }
        });
    }
    assert!(walks.is_empty(), "walks all claims: {}", walks.join("\n"));
    let behind_dead_ones = loop_buffers(&mut session, 1);
    println!("{fresh} buffers, {behind_dead_ones} beside 2,000 dead claims");
    assert!(
        behind_dead_ones <= fresh * 3 / 2 + 20,
        "{fresh} buffers before, {behind_dead_ones} beside dead claims"
    );
    pinning.execute("COMMIT");
}

#[test]
fn entries_of_the_future_are_not_visited() {
    let database = backlog(SMALL);
    let mut session = database.connect();
    let before = loop_buffers(&mut session, 1);
    for priority in [4, 3, 2] {
        session.query(
            "SELECT count(*) FROM tasker.create_tasks('chain', array_fill('{}'::jsonb, ARRAY[10000]), priority => $1,
                                                       run_at => clock_timestamp() + interval '1 day')",
            &[&priority],
        );
    }
    let after = loop_buffers(&mut session, 1);
    assert!(
        after <= before + before / 2 + 10,
        "{before} buffers without future entries, {after} with 30,000"
    );
}

/// Every plan that runs inside a statement, by auto_explain.
fn plans(session: &mut Session, sql: &str) -> Vec<Value> {
    session.execute(
        "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;
         SET auto_explain.log_analyze = on; SET auto_explain.log_timing = off; SET auto_explain.log_format = 'json';
         SET auto_explain.log_level = 'notice'; SET client_min_messages = 'notice'",
    );
    session.take_notices();
    session.query(sql, &[]);
    let notices = session.take_notices();
    session.execute("SET auto_explain.log_min_duration = -1");
    notices
        .iter()
        .filter_map(|notice| {
            let start = notice.find('{')?;
            serde_json::from_str(&notice[start..]).ok()
        })
        .collect()
}

/// Walks over all nodes of a plan.
fn nodes<'a>(plan: &'a Value, visit: &mut dyn FnMut(&'a Value)) {
    visit(plan);
    for child in plan["Plans"].as_array().into_iter().flatten() {
        nodes(child, visit);
    }
}

/// What is wrong with the plans of a statement that handles at most `rows` rows.
fn faults(plans: &[Value], rows: f64) -> Vec<String> {
    let mut faults = vec![];
    for plan in plans {
        let query: String = plan["Query Text"]
            .as_str()
            .unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        nodes(&plan["Plan"], &mut |node| {
            let kind = node["Node Type"].as_str().unwrap_or_default();
            let number = |name: &str| node[name].as_f64().unwrap_or_default();
            let handled = number("Actual Rows") * number("Actual Loops").max(1.0);
            let removed: f64 = [
                "Rows Removed by Filter",
                "Rows Removed by Index Recheck",
                "Rows Removed by Join Filter",
            ]
            .iter()
            .map(|name| number(name) * number("Actual Loops").max(1.0))
            .sum();
            let fault = if kind.contains("Hash") || node["Strategy"] == "Hashed" {
                Some("a hash node".to_owned())
            } else if kind.contains("Merge Join") {
                Some("a merge join".to_owned())
            } else if kind.contains("Sort") && handled > rows {
                Some(format!("a sort of {handled} rows"))
            } else if kind == "Seq Scan" && handled + removed > 300.0 {
                Some(format!(
                    "a sequential scan over {} rows of {}",
                    handled + removed,
                    node["Relation Name"]
                ))
            } else if removed > 10.0 * rows + 100.0 {
                Some(format!("{removed} rows read for nothing by {kind}"))
            } else {
                None
            };
            if let Some(fault) = fault {
                faults.push(format!(
                    "{fault} in: {}",
                    query.chars().take(300).collect::<String>()
                ));
            }
        });
    }
    faults
}

#[test]
fn no_plan_of_claim_and_report_hashes_or_sorts_the_backlog() {
    let database = large_backlog();
    let mut session = database.connect();
    for most in [1, 50] {
        // In a session of its own each: the plan of the first call is the one that is kept.
        session.execute("SET statement_timeout = 0");
        let mut session = database.connect();
        let mut seen = 0;
        let mut told = vec![];
        let mut check = |session: &mut Session, what: &str, sql: &str| {
            let plans = plans(session, sql);
            seen += plans.len();
            assert!(!plans.is_empty(), "auto_explain shows nothing of {what}");
            told.extend(
                faults(&plans, 4.0 * f64::from(most))
                    .into_iter()
                    .map(|fault| format!("{what} of {most}: {fault}")),
            );
        };
        let create = "SELECT count(*) FROM tasker.create_tasks('small_diamond', array_fill('{}'::jsonb, ARRAY[50]), priority => 4)";
        check(&mut session, "create_tasks", create);
        let ask = Ask::by("planned", most);
        let claims = session.claim(&ask);
        let reports = Value::Array(claims.iter().map(|claim| claim.done(json!({}))).collect());
        let ask = |reports: &Value| {
            format!(
                "SELECT * FROM tasker.report_and_claim('planned', '{reports}', max_steps => {most})"
            )
        };
        check(&mut session, "report_and_claim", &ask(&reports));
        check(
            &mut session,
            "claim_steps",
            &format!("SELECT * FROM tasker.claim_steps('planned', max_steps => {most})"),
        );
        let claims = session.claim(&Ask::by("failing", most));
        let reports: Vec<Value> = claims
            .iter()
            .map(|claim| claim.failed(claim.step.as_u128() % 2 == 0))
            .collect();
        check(
            &mut session,
            "report_steps of failures",
            &format!(
                "SELECT * FROM tasker.report_steps('failing', '{}')",
                Value::Array(reports)
            ),
        );
        check(
            &mut session,
            "heartbeat",
            "SELECT * FROM tasker.heartbeat('planned')",
        );
        let task = session.claim_one("planned").task;
        check(
            &mut session,
            "cancel_task",
            &format!("SELECT tasker.cancel_task('{task}')"),
        );
        check(
            &mut session,
            "release_steps",
            "SELECT tasker.release_steps('planned')",
        );
        println!("{seen} plans seen");
        assert!(told.is_empty(), "{}", told.join("\n"));
    }
}

/// What a call on a task of many steps does in a database without statistics: no row is read for nothing, and no statement
/// runs once per step.
#[track_caller]
fn in_proportion(session: &mut Session, steps: usize, sql: &str) {
    let seen = plans(session, sql);
    assert!(!seen.is_empty(), "auto_explain shows nothing of {sql}");
    let what = sql.chars().take(120).collect::<String>();
    let found = faults(&seen, steps as f64);
    assert!(found.is_empty(), "{what}: {}", found.join("\n"));
    assert!(seen.len() < 60, "{what}: {} statements", seen.len());
}

/// Never analyzed, analyzed while they were empty, and analyzed with a single task in them.
#[test]
fn calls_on_a_task_of_many_steps_need_no_statistics() {
    let steps = scaled(500, 10_000);
    for (number, before) in ["", "VACUUM ANALYZE", "small VACUUM ANALYZE"]
        .iter()
        .enumerate()
    {
        let database = Database::new();
        let mut session = database.connect();
        inside::without_statistics(&mut session);
        shapes::chain("small", 1).register(&mut session);
        many_steps(&mut session, steps);
        if let Some(analyze) = before.strip_prefix("small ") {
            session.create("small");
            session.execute(analyze);
        } else if !before.is_empty() {
            session.execute(before);
        }
        // The plan of the first call is the one that a session keeps: while the tables are small.
        if number == 2 {
            let small = session.claim_one("first").task;
            session.query("SELECT tasker.cancel_task($1)", &[&small]);
        }
        operators_in_proportion(&mut session, steps);
        if number < 2 {
            workers_in_proportion(&mut session, steps);
        }
    }
}

/// The templates `tree`, in which each step has three children, and `wide`, whose last step waits for all others.
fn many_steps(session: &mut Session, steps: usize) {
    session.query(
        "SELECT tasker.register_template(jsonb_build_object('name', name, 'steps', (
             SELECT jsonb_agg(jsonb_build_object('name', 's' || i, 'handler', 'h', 'skippable', true, 'depends_on_steps',
                 CASE WHEN name = 'tree' THEN CASE WHEN i = 0 THEN '[]' ELSE jsonb_build_array('s' || (i - 1) / 3) END
                      WHEN i < $1::int - 1 THEN '[]'
                      ELSE (SELECT jsonb_agg('s' || j) FROM generate_series(0, $1::int - 2) j) END) ORDER BY i)
             FROM generate_series(0, $1::int - 1) i))::text)
         FROM (VALUES ('tree'), ('wide')) v (name)",
        &[&(steps as i32)],
    );
}

fn operators_in_proportion(session: &mut Session, steps: usize) {
    let step = |task: Uuid, no: u128| Uuid::from_u128(task.as_u128() | no);
    let task = session.create("tree");
    let (first, second) = (step(task, 1), step(task, 2));
    for call in [
        format!("transition_task('{task}', 'error')"),
        format!("retry_task('{task}')"),
        format!("transition_step('{first}', 'in_progress')"),
        format!("transition_step('{first}', 'error')"),
        format!("set_retry_limit('{first}', 0)"),
        format!("retry_step('{first}')"),
        format!("resolve_step_manually('{first}')"),
        format!("cancel_step('{second}')"),
        format!("transition_task('{task}', 'error')"),
        format!("resolve_task_manually('{task}')"),
        "create_task('tree')".to_owned(),
        "create_task('wide', bypass_steps => '[\"s0\"]')".to_owned(),
    ] {
        in_proportion(session, steps, &format!("SELECT tasker.{call}"));
    }
    let open: Vec<Uuid> = session.all(
        "SELECT task_uuid FROM tasker.tasks WHERE state IN ('pending', 'in_progress')",
        &[],
    );
    for task in open {
        in_proportion(
            session,
            steps,
            &format!("SELECT tasker.finalize_task('{task}')"),
        );
        in_proportion(
            session,
            steps,
            &format!("SELECT tasker.cancel_task('{task}')"),
        );
    }
}

/// Every step of a task but one is claimed, given back, fails permanently, is taken over.
fn workers_in_proportion(session: &mut Session, steps: usize) {
    let task = session.create("wide");
    let most = steps as i32;
    let claim = format!("SELECT count(*) FROM tasker.claim_steps('w', max_steps => {most})");
    in_proportion(session, steps, &claim);
    in_proportion(session, steps, "SELECT count(*) FROM tasker.heartbeat('w')");
    in_proportion(session, steps, "SELECT tasker.release_steps('w')");
    for _ in [
        "with a task without trouble",
        "with a task that an operator has retried",
    ] {
        let claims = session.claim(&Ask::by("w", most));
        assert_eq!(claims.len(), steps - 1);
        let reports: Vec<Value> = claims.iter().map(|claim| claim.failed(false)).collect();
        let reports = Value::Array(reports);
        in_proportion(
            session,
            steps,
            &format!("SELECT count(*) FROM tasker.report_steps('w', '{reports}')"),
        );
        assert_eq!(session.task_state(task), "error");
        in_proportion(
            session,
            steps,
            &format!("SELECT tasker.retry_task('{task}')"),
        );
    }
    // The last attempt of each.
    session.query(
        "SELECT tasker.set_retry_limit(step_uuid, 1) FROM tasker.workflow_steps WHERE task_uuid = $1 AND step_no <= 20",
        &[&task],
    );
    assert_eq!(session.claim(&Ask::by("lost", most)).len(), steps - 1);
    inside::lease_ended(session, "lost", 1);
    in_proportion(session, steps, "SELECT tasker_engine.duty_leases()");
    session.query("SELECT tasker.cancel_task($1)", &[&task]);
}

#[test]
fn the_planner_puts_rules_written_as_sql_functions_in_place() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("chain", 2).register(&mut session);
    let (failing, held) = (session.create("chain"), session.create("chain"));
    let claim = session.claim_one("failing");
    assert_eq!(claim.task, failing);
    let mut other = database.connect();
    other.execute(&format!(
        "BEGIN; SELECT FROM tasker_engine.steps WHERE task_uuid = '{held}' FOR UPDATE"
    ));
    session.execute("SET tasker.direct_table_access = off");
    let mut seen = plans(
        &mut session,
        &format!(
            "SELECT * FROM tasker.report_steps('failing', '{}')",
            Value::Array(vec![claim.failed(false)])
        ),
    );
    seen.extend(plans(
        &mut session,
        "SELECT * FROM tasker.claim_steps('claiming')",
    ));
    let shows = |plan: &Value| {
        ["entry_agrees", "can_still_run"].map(|rule| plan.to_string().contains(rule))
    };
    let uses = |query: &str, rule: usize| {
        seen.iter().any(|plan| {
            plan["Query Text"]
                .as_str()
                .is_some_and(|text| text.contains(query))
                && shows(&plan["Query Text"])[rule]
        })
    };
    assert!(uses("UPDATE tasker_engine.steps", 0), "steps are started");
    assert!(uses("SELECT u.ord", 0), "entries that did not start");
    assert!(uses("SELECT t.task_uuid", 1), "the check of a task");
    for plan in &seen {
        assert_eq!(shows(&plan["Plan"]), [false; 2], "{plan:#}");
    }
}

/// The check itself must be able to fail.
#[test]
fn hash_nodes_sorts_and_walks_over_the_backlog_are_found() {
    let database = backlog(SMALL);
    let mut session = database.connect();
    session.execute(
        "CREATE FUNCTION public.bad() RETURNS bigint LANGUAGE plpgsql AS $$
         DECLARE found bigint;
         BEGIN
             SELECT count(*) INTO found FROM (
                 SELECT a.task_uuid FROM tasker.workflow_steps a JOIN generate_series(1, 1000) g ON g = a.attempts
                 WHERE a.state = 'pending' ORDER BY a.results, a.task_uuid OFFSET 0) x;
             SELECT count(*) INTO found FROM (SELECT task_uuid FROM tasker.workflow_steps ORDER BY md5(task_uuid::text) OFFSET 0) x;
             RETURN found;
         END $$",
    );
    let found = faults(&plans(&mut session, "SELECT public.bad()"), 50.0).join("\n");
    assert!(found.contains("a sort of 5000"), "{found}");
    assert!(found.contains("a sequential scan over"), "{found}");
    assert!(found.contains("a hash node"), "{found}");
}

#[test]
fn a_filter_by_task_or_step_reaches_an_index_in_every_view() {
    let database = large_backlog();
    let mut session = database.connect();
    session.execute("SET statement_timeout = 0");
    let claim = session.claim_one("reader");
    let views = session.query(
        "SELECT c.relname::text, a.attname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
         WHERE c.relnamespace = 'tasker'::regnamespace AND c.relkind = 'v' AND a.attname IN ('task_uuid', 'step_uuid') ORDER BY 1, 2",
        &[],
    );
    assert!(views.len() >= 8, "only {} columns", views.len());
    // No index leads from a task into the queue, because each step would pay for it.
    let queue = inside::pages_of_queue(&mut session);
    let mut slow = vec![];
    for row in &views {
        let (view, column): (String, String) = (row.get(0), row.get(1));
        let most = if view == "stuck_tasks" {
            500 + queue
        } else {
            500
        };
        let uuid = if column == "task_uuid" {
            claim.task
        } else {
            claim.step
        };
        let query = format!("SELECT * FROM tasker.{view} WHERE {column} = '{uuid}'");
        // The first reading fills the session's caches from the catalogs.
        let touched = buffers(&mut session, &query).min(buffers(&mut session, &query));
        if touched > most {
            slow.push(format!("{view}.{column}: {touched} buffers"));
        }
    }
    assert!(slow.is_empty(), "{}", slow.join("\n"));
}

#[test]
fn reading_one_task_of_many_touches_few_buffers() {
    let database = large_backlog();
    let mut session = database.connect();
    let task = session.claim_one("reader").task;
    let mut slow = vec![];
    for function in [
        "get_step_readiness_status",
        "get_task_execution_context",
        "calculate_dependency_levels",
    ] {
        let call = format!("SELECT * FROM tasker.{function}('{task}')");
        session.query(&call, &[]);
        let touched = buffers(&mut session, &call);
        if touched > 200 {
            slow.push(format!("{function}: {touched} buffers"));
        }
    }
    assert!(slow.is_empty(), "{}", slow.join("\n"));
    assert!(!long() || large() == 1_000_000);
}

const CHANGING: &str = "enable_bitmapscan=off enable_hashagg=off enable_hashjoin=off enable_material=off enable_memoize=off \
                        enable_mergejoin=off enable_seqscan=off jit=off";
const READING: &str =
    "enable_bitmapscan=off enable_hashjoin=off enable_mergejoin=off enable_seqscan=off jit=off";
const COUNTING: &str = "jit=off plan_cache_mode=force_custom_plan";

const CHANGING_FUNCTIONS: &[&str] = &[
    "tasker.ack_events",
    "tasker.cancel_step",
    "tasker.cancel_task",
    "tasker.claim_steps",
    "tasker.complete_step",
    "tasker.create_task",
    "tasker.create_tasks",
    "tasker.end_worker",
    "tasker.extend_events",
    "tasker.fail_step",
    "tasker.finalize_task",
    "tasker.heartbeat",
    "tasker.nack_events",
    "tasker.poll_events",
    "tasker.release_steps",
    "tasker.report_and_claim",
    "tasker.report_steps",
    "tasker.rerun_task",
    "tasker.resolve_step_manually",
    "tasker.resolve_task_manually",
    "tasker.retry_step",
    "tasker.retry_task",
    "tasker.set_operational_state",
    "tasker.set_retry_limit",
    "tasker.transition_step",
    "tasker.transition_task",
    "tasker.try_transition_step",
    "tasker.try_transition_task",
    "tasker_engine.begin_startup",
    "tasker_engine.change_tasks",
    "tasker_engine.claim_inside",
    "tasker_engine.duty_leases",
    "tasker_engine.duty_startup",
    "tasker_engine.duty_task_timeouts",
    "tasker_engine.fail_events",
    "tasker_engine.find_and_repair",
    "tasker_engine.move_subscriber",
    "tasker_engine.note_emptied",
    "tasker_engine.note_gaps",
    "tasker_engine.note_purged",
    "tasker_engine.reorder_subscriber",
    "tasker_engine.run_events",
    "tasker_engine.take_events",
    "tasker_engine.take_over_claims",
];

const READING_FUNCTIONS: &[&str] = &[
    "tasker.analyze_task",
    "tasker.calculate_dependency_levels",
    "tasker.check_integrity",
    "tasker.get_dependency_results",
    "tasker.get_step_readiness_status",
    "tasker.get_step_readiness_status_batch",
    "tasker.get_task_execution_context",
    "tasker.get_task_execution_contexts_batch",
    "tasker.list_tasks",
    "tasker.publish_event",
    "tasker.publish_events",
    "tasker.read_events",
    "tasker.record_export",
    "tasker.spans_of_events",
    "tasker.task_blockers",
    "tasker.task_bottlenecks",
    "tasker.task_critical_path",
    "tasker.task_diagram",
    "tasker.task_error_chains",
    "tasker.task_parallelism",
    "tasker.task_schedule",
    "tasker_engine.check_page",
    "tasker_engine.count_events",
    "tasker_engine.duty_stuck",
    "tasker_engine.duty_totals",
    "tasker_engine.events_again",
    "tasker_engine.note_export",
    "tasker_engine.pool_depth",
    "tasker_engine.select_tasks",
    "tasker_engine.task_candidates",
];

const COUNTING_FUNCTIONS: &[&str] = &[
    "tasker.get_dependency_bottlenecks",
    "tasker.get_duration_percentiles",
    "tasker.get_error_patterns",
    "tasker.get_processor_claim_stats",
    "tasker.get_slowest_steps",
    "tasker.get_slowest_tasks",
    "tasker.get_system_health_counts",
    "tasker.trace_spans",
    "tasker_engine.health_measures",
    "tasker_engine.period_metrics",
    "tasker_engine.stuck_causes",
];

/// The functions of the engine in C that change rows, or may, and have no list of settings, with the reason.
const UNLISTED: &[(&str, &str)] = &[
    ("tasker.calculate_backoff", "reads no rows"),
    (
        "tasker.grant_subscriber",
        "one row of a small table by its name",
    ),
    (
        "tasker.load_subscriptions",
        "a row of a small table by its name, for each subscription",
    ),
    (
        "tasker.pause_namespace",
        "one row of a small table by its name",
    ),
    (
        "tasker.pause_schedule",
        "one row of a small table by its name",
    ),
    (
        "tasker.pause_subscriber",
        "one row of a small table by its name",
    ),
    ("tasker.processor_seconds", "reads the clock of its process"),
    (
        "tasker.redrive_events",
        "the rows of one subscriber by an index",
    ),
    (
        "tasker.register_event",
        "one row of a small table by its name",
    ),
    (
        "tasker.resume_namespace",
        "one row of a small table by its name",
    ),
    (
        "tasker.resume_schedule",
        "one row of a small table by its name",
    ),
    (
        "tasker.resume_subscriber",
        "one row of a small table by its name",
    ),
    (
        "tasker.revoke_subscriber",
        "one row of a small table by its name",
    ),
    (
        "tasker.schedule_task",
        "one row of a small table by its name",
    ),
    (
        "tasker.seek_subscriber",
        "one row by its name; move_subscriber and count_events have a list",
    ),
    ("tasker.subscribe", "one row of a small table by its name"),
    ("tasker.table_access", "reads no rows"),
    (
        "tasker.unschedule_task",
        "one row of a small table by its name",
    ),
    ("tasker.unsubscribe", "one row of a small table by its name"),
    ("tasker.validate_resources", "reads the settings of pools"),
    ("tasker_engine.background_activity", "reads shared memory"),
    (
        "tasker_engine.claimants_changed",
        "a trigger that only invalidates caches",
    ),
    (
        "tasker_engine.count_finalization",
        "writes shared memory, or inserts a row",
    ),
    ("tasker_engine.duty_clocks", "reads shared memory"),
    (
        "tasker_engine.duty_event_log",
        "reads the stream of events, whose statements walk by keys",
    ),
    (
        "tasker_engine.duty_scaling",
        "writes rows of pools; the queue is read by pool_depth",
    ),
    (
        "tasker_engine.event_routes_changed",
        "only invalidates caches",
    ),
    ("tasker_engine.executor_restarts", "reads shared memory"),
    (
        "tasker_engine.installation_fault",
        "one row, until work is resumed",
    ),
    ("tasker_engine.note_duty_run", "writes shared memory"),
    (
        "tasker_engine.note_duty_time",
        "writes to the log of the server",
    ),
    ("tasker_engine.publish_facts", "appends rows"),
    (
        "tasker_engine.refresh_handler_roles",
        "the small tables that name roles",
    ),
    (
        "tasker_engine.release_shared_series",
        "writes shared memory",
    ),
    (
        "tasker_engine.require_resumed",
        "one row, until work is resumed",
    ),
    ("tasker_engine.reset_shared_counts", "writes shared memory"),
    (
        "tasker_engine.run_step",
        "calls complete_step or fail_step, which have a list",
    ),
    ("tasker_engine.shared_counts", "reads shared memory"),
    ("tasker_engine.shared_recent", "reads shared memory"),
    ("tasker_engine.shared_series", "reads shared memory"),
    ("tasker_engine.shared_series_used", "reads shared memory"),
    ("tasker_engine.shared_since", "reads shared memory"),
    ("tasker_engine.try_duty_lock", "takes a lock"),
    ("tasker_engine.waiting_database_oids", "reads shared memory"),
    ("tasker_engine.wake_launcher", "signals a process"),
];

/// Functions with planner settings, as `name: settings`, those of one list or all others.
fn planned(session: &mut Session, listed: &[&str]) -> Vec<String> {
    session.all(
        "SELECT format('%s.%s: %s', p.pronamespace::regnamespace, p.proname, s.settings)
         FROM pg_proc p, LATERAL (SELECT string_agg(c, ' ' ORDER BY c) FROM unnest(p.proconfig) c
                                  WHERE c ~ '^(enable_|jit=|plan_cache_mode=)') AS s (settings)
         WHERE p.pronamespace IN ('tasker'::regnamespace, 'tasker_engine'::regnamespace) AND s.settings <> ALL ($1) ORDER BY 1",
        &[&listed],
    )
}

/// The functions in C that may change rows and have other settings than those of the list.
fn volatile_without_list(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT format('%s.%s', p.pronamespace::regnamespace, p.proname)
         FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'c'
         WHERE p.pronamespace IN ('tasker'::regnamespace, 'tasker_engine'::regnamespace) AND p.provolatile = 'v'
           AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c ~ '^(enable_|jit=|plan_cache_mode=)')
         ORDER BY 1",
        &[],
    )
}

/// The functions with exactly these settings.
fn with_settings(session: &mut Session, settings: &str) -> Vec<String> {
    planned(session, &[])
        .into_iter()
        .filter_map(|line| {
            let (name, found) = line.split_once(": ")?;
            (found == settings).then(|| name.to_owned())
        })
        .collect()
}

/// A changed column in an index, in an expression of one or in its predicate ends HOT. What the engine changes has none; tags
/// change by hand alone.
#[test]
fn no_index_of_tasks_and_steps_has_a_column_that_the_engine_changes() {
    let database = Database::new();
    let mut session = database.connect();
    let columns: Vec<String> = session.all(
        "SELECT DISTINCT format('%s.%s', t.relname, a.attname) FROM pg_index i
         JOIN pg_class t ON t.oid = i.indrelid
         JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND d.refobjid = t.oid
                         AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
         JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
         WHERE t.oid = ANY (ARRAY['tasker_engine.tasks', 'tasker_engine.steps']::regclass[]) AND NOT i.indisprimary ORDER BY 1",
        &[],
    );
    assert_eq!(
        columns,
        [
            "steps.step_no",
            "steps.task_uuid",
            "tasks.correlation_id",
            "tasks.named_task_id",
            "tasks.requested_at",
            "tasks.tags",
            "tasks.task_uuid",
        ]
    );
    let primary: Vec<String> = session.all(
        "SELECT format('%s.%s', i.indrelid::regclass, a.attname) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
         WHERE i.indrelid = ANY (ARRAY['tasker_engine.tasks', 'tasker_engine.steps']::regclass[]) AND i.indisprimary ORDER BY 1",
        &[],
    );
    assert_eq!(
        primary,
        [
            "tasker_engine.steps.step_no",
            "tasker_engine.steps.task_uuid",
            "tasker_engine.tasks.task_uuid",
        ]
    );
}

#[test]
fn every_function_that_changes_rows_has_the_settings_of_the_list_or_a_reason_to_have_none() {
    let database = Database::new();
    let mut session = database.connect();
    let reasons: Vec<_> = UNLISTED.iter().map(|(name, _)| *name).collect();
    assert_eq!(volatile_without_list(&mut session), reasons);
    session.execute("ALTER FUNCTION tasker.cancel_task RESET ALL");
    assert!(
        volatile_without_list(&mut session).contains(&"tasker.cancel_task".to_owned()),
        "a function without a list is found"
    );
}

#[test]
fn three_lists_of_settings_pin_the_plans_of_the_functions() {
    let database = Database::new();
    let mut session = database.connect();
    let otherwise = [
        "tasker.export_metrics: jit=off",
        "tasker.metrics_prometheus: jit=off",
        "tasker.register_template: enable_seqscan=off",
        "tasker_engine.count_live_workers: enable_bitmapscan=off enable_seqscan=off jit=off",
        "tasker_engine.duty_events: enable_bitmapscan=off enable_seqscan=off jit=off",
        "tasker_engine.duty_retention: enable_bitmapscan=off enable_seqscan=off jit=off",
        "tasker_engine.duty_workers: enable_bitmapscan=off enable_seqscan=off enable_sort=off",
        "tasker_engine.event_place: enable_seqscan=off jit=off",
        "tasker_engine.first_unread: enable_bitmapscan=off enable_seqscan=off jit=off",
        "tasker_engine.forget_subscribers: enable_bitmapscan=off enable_seqscan=off jit=off",
        "tasker_engine.handled_subscribers: enable_bitmapscan=off enable_seqscan=off jit=off",
        "tasker_engine.purge_batch: enable_bitmapscan=off enable_hashjoin=off enable_material=off enable_mergejoin=off enable_seqscan=off enable_sort=off jit=off",
        "tasker_engine.return_lost_events: enable_seqscan=off jit=off",
        "tasker_engine.tell_handlers_gone: enable_bitmapscan=off enable_seqscan=off jit=off",
    ];
    let lists = [CHANGING, READING, COUNTING];
    assert_eq!(planned(&mut session, &lists), otherwise);
    assert_eq!(with_settings(&mut session, CHANGING), CHANGING_FUNCTIONS);
    assert_eq!(with_settings(&mut session, READING), READING_FUNCTIONS);
    assert_eq!(with_settings(&mut session, COUNTING), COUNTING_FUNCTIONS);
    session.execute("ALTER FUNCTION tasker.cancel_task RESET enable_hashagg");
    session.execute("ALTER FUNCTION tasker.analyze_task SET enable_sort = off");
    assert_eq!(
        planned(&mut session, &lists).len(),
        otherwise.len() + 2,
        "what differs is found"
    );
}
