-- Readiness: what may run. The rule is crates/rules/src/readiness.rs, and everything here asks it.

-- When the runs of a step ended, from the log.
CREATE VIEW tasker_engine.step_runs AS
SELECT l.task_uuid,
       l.step_no,
       pg_catalog.max(l.created_at) FILTER (WHERE l.from_state OPERATOR(pg_catalog.=) 'i'
                                              AND l.to_state OPERATOR(pg_catalog.<>) 'p') AS ended_at,
       pg_catalog.max(l.created_at) FILTER (WHERE l.to_state OPERATOR(pg_catalog.=) 'e') AS failed_at
FROM tasker_engine.transitions l
WHERE l.step_no OPERATOR(pg_catalog.>) 0
GROUP BY l.task_uuid, l.step_no;

CREATE FUNCTION tasker.get_step_readiness_status(task_uuid uuid, step_uuids uuid[] DEFAULT NULL)
RETURNS TABLE (
    step_uuid uuid, task_uuid uuid, named_step_id integer, name text, current_state text,
    dependencies_satisfied boolean, retry_eligible boolean, ready_for_execution boolean, last_failure_at timestamptz,
    next_retry_at timestamptz, total_parents integer, completed_parents integer, attempts integer,
    retry_limit integer, backoff_request_seconds integer, last_attempted_at timestamptz)
AS 'MODULE_PATHNAME', 'get_step_readiness_status' LANGUAGE c STABLE SECURITY DEFINER COST 1000 ROWS 10
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off;

CREATE FUNCTION tasker.get_step_readiness_status_batch(task_uuids uuid[])
RETURNS TABLE (
    step_uuid uuid, task_uuid uuid, named_step_id integer, name text, current_state text,
    dependencies_satisfied boolean, retry_eligible boolean, ready_for_execution boolean, last_failure_at timestamptz,
    next_retry_at timestamptz, total_parents integer, completed_parents integer, attempts integer,
    retry_limit integer, backoff_request_seconds integer, last_attempted_at timestamptz)
AS 'MODULE_PATHNAME', 'get_step_readiness_status_batch' LANGUAGE c STABLE SECURITY DEFINER COST 10000 ROWS 100
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off;

-- The step is joined for those who filter by step_uuid: they come in through its index, and the function answers for
-- the one task.
CREATE VIEW tasker.step_readiness_statuses AS
SELECT tasker.step_uuid(s.task_uuid, s.step_no) AS step_uuid, s.task_uuid, r.named_step_id, r.name, r.current_state,
       r.dependencies_satisfied, r.retry_eligible, r.ready_for_execution, r.last_failure_at, r.next_retry_at,
       r.total_parents, r.completed_parents, r.attempts, r.retry_limit, r.backoff_request_seconds,
       r.last_attempted_at
FROM tasker_engine.tasks t
CROSS JOIN LATERAL tasker.get_step_readiness_status(t.task_uuid) r
JOIN tasker_engine.steps s
    ON s.task_uuid OPERATOR(pg_catalog.=) t.task_uuid
   AND s.step_no OPERATOR(pg_catalog.=) tasker.step_number(r.step_uuid);
