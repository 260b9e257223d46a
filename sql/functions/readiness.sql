-- What may run, what should be done about a task, and how long a failed step waits. The rules are crates/rules/src/engine/.

CREATE OR REPLACE FUNCTION tasker.calculate_backoff(
    attempt integer, kind text DEFAULT NULL, base_ms integer DEFAULT NULL, max_ms integer DEFAULT NULL,
    retry_after interval DEFAULT NULL, jitter numeric DEFAULT NULL)
RETURNS interval AS 'MODULE_PATHNAME', 'calculate_backoff' LANGUAGE c VOLATILE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.calculate_backoff(integer, text, integer, integer, interval, numeric) IS
'The time that a step waits after a failed run. VOLATILE, because of jitter. 22023 for an unknown kind, a negative number, or a jitter that is not between 0 and 1. Rule: docs/concepts.md#retry.
attempt: Number of the run that failed, from 1; 0 or less: no wait.
kind: none, linear, exponential or fibonacci; NULL: the list tasker.default_backoff_seconds, or exponential where base_ms is given.
base_ms: The base in milliseconds; NULL: the first entry of the list.
max_ms: The cap in milliseconds, for retry_after too; NULL: tasker.max_backoff_seconds.
retry_after: What a server asked for; it wins over the kind and is not jittered.
jitter: Largest share added or taken away, 0 to 1; NULL: as configured.';
GRANT EXECUTE ON FUNCTION tasker.calculate_backoff(integer, text, integer, integer, interval, numeric) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.get_step_readiness_status(task_uuid uuid, step_uuids uuid[] DEFAULT NULL)
RETURNS TABLE (
    step_uuid uuid, task_uuid uuid, named_step_id integer, name text, current_state text,
    dependencies_satisfied boolean, retry_eligible boolean, ready_for_execution boolean, last_failure_at timestamptz,
    next_retry_at timestamptz, total_parents integer, completed_parents integer, attempts integer,
    retry_limit integer, backoff_request_seconds integer, last_attempted_at timestamptz)
AS 'MODULE_PATHNAME', 'get_step_readiness_status' LANGUAGE c STABLE SECURITY DEFINER COST 1000 ROWS 10
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.get_step_readiness_status(uuid, uuid[]) IS
'One row per step of a task: may it run, and if not, why; in step order. No row for an unknown task. Rule: docs/concepts.md#readiness.
step_uuids: The steps to answer for; NULL is all of them.';
GRANT EXECUTE ON FUNCTION tasker.get_step_readiness_status(uuid, uuid[]) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.get_step_readiness_status_batch(task_uuids uuid[])
RETURNS TABLE (
    step_uuid uuid, task_uuid uuid, named_step_id integer, name text, current_state text,
    dependencies_satisfied boolean, retry_eligible boolean, ready_for_execution boolean, last_failure_at timestamptz,
    next_retry_at timestamptz, total_parents integer, completed_parents integer, attempts integer,
    retry_limit integer, backoff_request_seconds integer, last_attempted_at timestamptz)
AS 'MODULE_PATHNAME', 'get_step_readiness_status_batch' LANGUAGE c STABLE SECURITY DEFINER COST 10000 ROWS 100
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.get_step_readiness_status_batch(uuid[]) IS
'get_step_readiness_status of several tasks, ordered by task and step; each task once. 22004 for a NULL among them.
task_uuids: The tasks; unknown ones have no rows.';
GRANT EXECUTE ON FUNCTION tasker.get_step_readiness_status_batch(uuid[]) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.get_task_execution_context(task_uuid uuid)
RETURNS TABLE (
    task_uuid uuid, named_task_id integer, status text, total_steps bigint, pending_steps bigint,
    in_progress_steps bigint, completed_steps bigint, failed_steps bigint, ready_steps bigint, execution_status text,
    recommended_action text, completion_percentage numeric, health_status text, cancelled_steps bigint)
AS 'MODULE_PATHNAME', 'get_task_execution_context' LANGUAGE c STABLE SECURITY DEFINER COST 1000 ROWS 1
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.get_task_execution_context(uuid) IS
'One row: the execution status of the task, its steps counted by state, and what should be done. No row for an unknown task. Rule: docs/concepts.md#readiness.';
GRANT EXECUTE ON FUNCTION tasker.get_task_execution_context(uuid) TO tasker_reader, tasker_worker;

CREATE OR REPLACE FUNCTION tasker.get_task_execution_contexts_batch(task_uuids uuid[])
RETURNS TABLE (
    task_uuid uuid, named_task_id integer, status text, total_steps bigint, pending_steps bigint,
    in_progress_steps bigint, completed_steps bigint, failed_steps bigint, ready_steps bigint, execution_status text,
    recommended_action text, completion_percentage numeric, health_status text, cancelled_steps bigint)
AS 'MODULE_PATHNAME', 'get_task_execution_contexts_batch' LANGUAGE c STABLE SECURITY DEFINER COST 10000 ROWS 100
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.get_task_execution_contexts_batch(uuid[]) IS
'get_task_execution_context of several tasks, ordered by task_uuid; each task once. 22004 for a NULL among them.
task_uuids: The tasks; unknown ones have no row.';
GRANT EXECUTE ON FUNCTION tasker.get_task_execution_contexts_batch(uuid[]) TO tasker_reader;
