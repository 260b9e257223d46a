//! One round of everything: creation, work, operators, views; as lines that are the same whenever it is called.

use std::collections::BTreeMap;

use postgres::SimpleQueryMessage;
use tasker_client_tests::{Failure, Session, Value};

/// Statements that return texts. A task is found by its key.
const ROUND: &[&str] = &[
    r#"SELECT tasker.register_template('{"name": "order", "steps": [
         {"name": "a", "handler": "h", "retry": {"backoff": "none"}}, {"name": "b", "handler": "h", "depends_on_steps": ["a"]},
         {"name": "c", "handler": "h", "depends_on_steps": ["a"], "skippable": true},
         {"name": "d", "handler": "h", "depends_on_steps": ["b", "c"]}]}') > 0"#,
    r#"SELECT tasker.register_template('{"name": "inside", "steps": [{"name": "a", "handler": "sql:public.quick"}]}') > 0"#,
    r#"SELECT tasker.register_template('{"name": "no\\thing", "steps": []}')"#,
    "SELECT count(tasker.create_task('order', pg_catalog.jsonb_build_object('n', n, 'f', 0.1::float8), idempotency_key => 'k' || n, tags => '[\"x\"]'))
     FROM generate_series(1, 8) n",
    "SELECT count(*) FROM tasker.create_tasks('order', ARRAY['{\"m\": 1}', '{\"m\": 2}']::jsonb[], idempotency_keys => ARRAY['m1', NULL])",
    "SELECT * FROM tasker.create_tasks('order', ARRAY['{\"m\": 1}', NULL]::jsonb[])",
    "SELECT tasker.create_task('order', run_at => CURRENT_TIMESTAMP + interval '1 hour', bypass_steps => '[\"c\"]') IS NULL",
    "SELECT string_agg(c.step_name || ' ' || c.attempt || ' ' || c.context, ',' ORDER BY c.context) FROM tasker.claim_steps('w', max_steps => 4) c",
    "SELECT string_agg(h.status, ',') FROM tasker.heartbeat('w', '1 minute') h",
    "SELECT string_agg(r.outcome, ',') FROM tasker.report_steps('w', (
         SELECT jsonb_agg(pg_catalog.jsonb_build_object('step_uuid', s.step_uuid, 'claim_number', s.claim_number, 'status', CASE s.ord WHEN 2 THEN 'error' ELSE 'complete' END,
                                             'error_message', E'it \\ broke', 'retry_after_seconds', 0.001, 'results', '{\"r\": 1.5}'::jsonb))
         FROM (SELECT r.step_uuid, r.claim_number, row_number() OVER (ORDER BY t.context) AS ord FROM tasker.running_steps r JOIN tasker.tasks t USING (task_uuid)) s)) r",
    "SELECT tasker.release_steps('w')",
    "SELECT string_agg(concat_ws(' ', c.outcome, c.step_name, c.attempt, c.dependency_results), ',' ORDER BY c.step_name, c.outcome, c.attempt, c.dependency_results)
     FROM tasker.report_and_claim('w', '[]', max_steps => 10) c",
    "SELECT count(tasker.fail_step(r.step_uuid, r.claim_number, 'no', 'Broken', false)) FROM tasker.running_steps r WHERE r.name = 'b'",
    "SELECT count(tasker.complete_step(r.step_uuid, r.claim_number, '{\"x\": [1, null]}')) FROM tasker.running_steps r WHERE r.name = 'c'",
    "SELECT tasker.release_steps('w', NULL, '1 day', 'not mine')",
    "SELECT string_agg(t.status || ' ' || t.n, ',' ORDER BY t.status) FROM (SELECT o.status, count(*) AS n FROM tasker.task_overview o GROUP BY 1) t",
    // What an operator does.
    "SELECT tasker.retry_task(t.task_uuid) FROM tasker.tasks t WHERE t.state = 'error' ORDER BY t.context LIMIT 1",
    "SELECT tasker.resolve_task_manually(t.task_uuid, 'me', 'no matter') FROM tasker.tasks t WHERE t.state = 'error' ORDER BY t.context LIMIT 1",
    "SELECT tasker.resolve_step_manually(s.step_uuid, '{\"by\": \"hand\"}', 'me') FROM tasker.workflow_steps s JOIN tasker.tasks t USING (task_uuid)
     WHERE t.context->>'n' = '7' AND s.name = 'a'",
    "SELECT tasker.cancel_step(s.step_uuid) FROM tasker.workflow_steps s JOIN tasker.tasks t USING (task_uuid) WHERE t.context->>'n' = '8' AND s.name = 'd'",
    "SELECT tasker.cancel_task(t.task_uuid, 'enough') FROM tasker.tasks t WHERE t.context->>'m' = '1'",
    "SELECT tasker.annotate_task(t.task_uuid, 'note', '{\"a\": 1}') > 0 FROM tasker.tasks t WHERE t.context->>'n' = '7'",
    "SELECT tasker.pause_namespace('default'), tasker.resume_namespace('default')",
    // What works by itself.
    "SELECT tasker.create_task('inside', '{\"n\": 1}') IS NULL",
    "SELECT concat_ws(' ', r.step_name, r.state) FROM tasker.run_steps() r",
    "SELECT tasker.schedule_task('nightly', '0 3 * * *', 'order', time_zone => 'Europe/Berlin') IS NULL",
    "SELECT s.next_run_at - CURRENT_TIMESTAMP < interval '25 hours' FROM tasker.schedules s",
    "SELECT tasker.set_retention('default', '10 days', '1 year')",
    "SELECT concat_ws(' ', m.duty, m.done, m.error) FROM tasker.run_maintenance() m",
    "SELECT d.duty, d.last_error FROM tasker.maintenance_duties d WHERE d.failures > 0",
    "SELECT count(*) FROM tasker.claim_steps('lost', lease => '1 millisecond')",
    "SELECT pg_sleep(0.01)",
    "SELECT count(*) FROM tasker.claim_steps('w', max_steps => 100)",
    "SELECT tasker.end_worker('w')",
    // What reads.
    "SELECT concat_ws(' ', c.total_steps, c.completed_steps, c.failed_steps, c.status, c.execution_status)
     FROM tasker.tasks t CROSS JOIN tasker.get_task_execution_context(t.task_uuid) c",
    "SELECT concat_ws(' ', r.name, r.current_state, r.ready_for_execution, r.dependencies_satisfied, r.attempts)
     FROM tasker.tasks t CROSS JOIN tasker.get_step_readiness_status(t.task_uuid) r",
    "SELECT concat_ws(' ', s.step_name, s.level) FROM tasker.tasks t CROSS JOIN tasker.task_schedule(t.task_uuid) s
    ",
    "SELECT cardinality(string_to_array(tasker.task_diagram(t.task_uuid), '-->')) FROM tasker.tasks t",
    "SELECT concat_ws(' ', e.error_class, e.failed_runs, e.share, e.step_names, e.last_message) FROM tasker.get_error_patterns() e",
    "SELECT concat_ws(' ', l.to_state, l.from_state) FROM tasker.workflow_step_transitions l",
    "SELECT concat_ws(' ', i.problem) FROM tasker.check_integrity() i",
    "SELECT concat_ws(' ', b.n, extract(epoch FROM tasker.calculate_backoff(b.n))) FROM generate_series(1, 5) AS b (n)",
    "SELECT concat_ws(' ', h.measure, h.level) FROM tasker.health_status() h",
];

/// What a statement answers: its rows as text, sorted, or the SQLSTATE with which it is refused.
fn answer(session: &mut Session, sql: &str) -> String {
    match session.client().simple_query(sql) {
        Ok(messages) => {
            let rows = messages.iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
                _ => None,
            });
            let mut rows: Vec<String> = rows.collect();
            rows.sort();
            rows.join("\n")
        }
        Err(error) => match Failure::of(&error) {
            Some(failure) => failure.code.clone().to_owned(),
            None => panic!("the session broke: {error}\nin: {sql}"),
        },
    }
}

/// The answers of all statements, in order.
pub fn answers(session: &mut Session) -> Vec<(&'static str, String)> {
    ROUND
        .iter()
        .map(|sql| (*sql, answer(session, sql)))
        .collect()
}

/// The values in each column of each view, as JSON, sorted. The session reads them; `named` names the views.
pub fn columns(session: &mut Session, named: &[String]) -> BTreeMap<String, Vec<String>> {
    // These two say how a value looks, not which one it is.
    session.execute("SET IntervalStyle = postgres; SET TimeZone = 'UTC'");
    let mut columns: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for view in named {
        let rows: Vec<Value> =
            session.all(&format!("SELECT pg_catalog.to_jsonb(v) FROM {view} v"), &[]);
        for row in &rows {
            for (column, value) in row.as_object().into_iter().flatten() {
                let key = format!("{view}.{column}");
                columns.entry(key).or_default().push(value.to_string());
            }
        }
    }
    columns.values_mut().for_each(|values| values.sort());
    columns
}

/// The views for users.
pub fn views(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT 'tasker.' || c.relname FROM pg_class c WHERE c.relnamespace = 'tasker'::regnamespace AND c.relkind = 'v'",
        &[],
    )
}
