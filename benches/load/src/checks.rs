//! Whether the run was correct: the audit log and the rows must agree with what the clients saw.

use anyhow::Result;
use postgres::Client;

use crate::lane::Lane;

/// One statement about the data; wrong unless `found` is `expected`.
pub struct Check {
    pub what: &'static str,
    pub expected: i64,
    pub found: i64,
}

const FACTS: &str = "
WITH mine AS MATERIALIZED (
    SELECT t.task_uuid, t.state, t.named_task_id
    FROM tasker_engine.tasks t
    JOIN tasker.named_tasks n USING (named_task_id)
    JOIN tasker.task_namespaces s USING (task_namespace_id)
    WHERE s.name = $1),
moves AS MATERIALIZED (
    SELECT x.task_uuid, x.step_no,
           count(*) FILTER (WHERE x.to_state = 'i') AS started,
           count(*) FILTER (WHERE x.to_state = 'c') AS completed
    FROM tasker_engine.step_changes x JOIN mine USING (task_uuid)
    GROUP BY 1, 2),
steps AS MATERIALIZED (
    SELECT s.task_uuid, s.step_no, s.named_task_id, s.state, m.state AS task_state,
           coalesce(v.started, 0) AS started, coalesce(v.completed, 0) AS completed
    FROM tasker_engine.steps s
    JOIN mine m USING (task_uuid)
    LEFT JOIN moves v USING (task_uuid, step_no)),
parents AS (
    SELECT c.task_uuid, c.step_no, c.state, c.started, count(*) FILTER (WHERE p.state NOT IN ('c', 'r')) AS open
    FROM steps c
    JOIN tasker.named_tasks_named_steps n ON n.named_task_id = c.named_task_id AND n.step_no = c.step_no
    LEFT JOIN steps p ON p.task_uuid = c.task_uuid AND p.step_no = ANY (n.parents)
    GROUP BY 1, 2, 3, 4)
SELECT (SELECT coalesce(sum(started), 0)::bigint FROM steps),
       (SELECT coalesce(sum(completed), 0)::bigint FROM steps),
       (SELECT count(*) FROM steps WHERE completed > 1),
       (SELECT count(*) FROM steps WHERE state = 'c'),
       (SELECT count(*) FROM steps WHERE state = 'i'),
       (SELECT count(*) FROM parents WHERE started > 0 AND open > 0),
       (SELECT count(*) FROM parents p WHERE p.state = 'p' AND p.open = 0 AND NOT EXISTS (
           SELECT FROM tasker_engine.queue_entries r WHERE r.task_uuid = p.task_uuid AND r.step_no = p.step_no)),
       (SELECT count(*) FROM (SELECT FROM steps GROUP BY task_uuid, task_state
           HAVING task_state <> 'x' AND (task_state = 'c') <> bool_and(state IN ('c', 'r'))) wrong)";

/// Compares the whole history of a lane with what its clients counted. Nothing may be claimed any more.
pub fn lane(client: &mut Client, lane: &Lane) -> Result<Vec<Check>> {
    client.batch_execute(
        "BEGIN; SET LOCAL work_mem = '256MB'; SET LOCAL jit = off; SET LOCAL enable_nestloop = off",
    )?;
    let row = client.query_one(FACTS, &[&lane.namespace])?;
    client.batch_execute("COMMIT")?;
    let total = &lane.total;
    let refused: u64 = total.refused.values().sum();
    // In the order of the columns of FACTS.
    let expected: [(&'static str, u64); 8] = [
        ("steps started, audit log against clients", total.claimed),
        (
            "steps completed, audit log against clients",
            total.completed,
        ),
        ("steps completed twice", 0),
        ("step rows complete, against clients", total.completed),
        ("steps left in progress", 0),
        ("steps started before their parents completed", 0),
        ("ready steps without a queue entry", 0),
        ("tasks whose state disagrees with their steps", 0),
    ];
    let mut checks = vec![];
    for (column, (what, expected)) in expected.into_iter().enumerate() {
        checks.push(Check {
            what,
            expected: expected as i64,
            found: row.try_get(column)?,
        });
    }
    if lane.cancelled == 0 {
        checks.push(Check {
            what: "reports refused",
            expected: 0,
            found: refused as i64,
        });
    }
    Ok(checks)
}
