-- The execution context of a task: what it stands at, and what should be done about it. The rules are
-- crates/rules/src/readiness.rs.

CREATE FUNCTION tasker.get_task_execution_context(task_uuid uuid)
RETURNS TABLE (
    task_uuid uuid, named_task_id integer, status text, total_steps bigint, pending_steps bigint,
    in_progress_steps bigint, completed_steps bigint, failed_steps bigint, ready_steps bigint, execution_status text,
    recommended_action text, completion_percentage numeric, health_status text, cancelled_steps bigint)
AS 'MODULE_PATHNAME', 'get_task_execution_context' LANGUAGE c STABLE SECURITY DEFINER COST 1000 ROWS 1
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off;

CREATE FUNCTION tasker.get_task_execution_contexts_batch(task_uuids uuid[])
RETURNS TABLE (
    task_uuid uuid, named_task_id integer, status text, total_steps bigint, pending_steps bigint,
    in_progress_steps bigint, completed_steps bigint, failed_steps bigint, ready_steps bigint, execution_status text,
    recommended_action text, completion_percentage numeric, health_status text, cancelled_steps bigint)
AS 'MODULE_PATHNAME', 'get_task_execution_contexts_batch' LANGUAGE c STABLE SECURITY DEFINER COST 10000 ROWS 100
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off;

CREATE VIEW tasker.task_execution_contexts AS
SELECT t.task_uuid, c.named_task_id, c.status, c.total_steps, c.pending_steps, c.in_progress_steps,
       c.completed_steps, c.failed_steps, c.ready_steps, c.execution_status, c.recommended_action,
       c.completion_percentage, c.health_status, c.cancelled_steps
FROM tasker_engine.tasks t
CROSS JOIN LATERAL tasker.get_task_execution_context(t.task_uuid) c;
