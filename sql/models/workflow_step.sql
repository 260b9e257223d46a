-- Few joins, and queries of their own for what few steps have: with more than eight relations (join_collapse_limit) the
-- planner would join in the order written and read all steps for a scope that knows a few.
CREATE OR REPLACE VIEW tasker.workflow_steps AS
SELECT tasker.step_uuid(s.task_uuid, s.step_no) AS step_uuid,
       s.task_uuid,
       n.named_step_id,
       s.retryable,
       s.retry_limit::integer AS retry_limit,
       s.state = 'i' AS in_process,
       tasker_engine.is_done(s.state) AS processed,
       CASE WHEN tasker_engine.is_done(s.state) THEN
           (SELECT max(l.created_at) FROM tasker_engine.transitions l
            WHERE l.task_uuid = s.task_uuid AND l.step_no = s.step_no
              AND l.to_state = s.state) END AS processed_at,
       s.attempts::integer AS attempts,
       CASE WHEN s.claim_number > 0 THEN
           (SELECT r.ended_at FROM tasker_engine.step_runs r
            WHERE r.task_uuid = s.task_uuid AND r.step_no = s.step_no)
       END AS last_attempted_at,
       CASE WHEN s.state = 'e' AND s.available_at IS NOT NULL THEN
           (SELECT r.backoff_request_seconds
            FROM tasker.get_step_readiness_status(
                     s.task_uuid, ARRAY[tasker.step_uuid(s.task_uuid, s.step_no)]) r)
       END AS backoff_request_seconds,
       t.context AS inputs,
       s.results,
       n.skippable,
       t.requested_at AS created_at,
       COALESCE(CASE WHEN s.state = 'i' THEN
                    (SELECT c.claimed_at FROM tasker_engine.claims c
                     WHERE c.claim_id = s.claim_id) END,
                (SELECT max(l.created_at) FROM tasker_engine.transitions l
                 WHERE l.task_uuid = s.task_uuid
                   AND l.step_no = s.step_no), t.requested_at) AS updated_at,
       s.step_no::integer AS step_no,
       n.name,
       tasker_engine.state_name(s.state) AS state,
       q.name AS queue,
       s.claim_number,
       s.available_at,
       CASE WHEN s.state = 'i' THEN
           (SELECT w.worker_id FROM tasker_engine.claims c
            JOIN tasker_engine.workers w ON w.worker_no = c.worker_no
            WHERE c.claim_id = s.claim_id) END AS worker_id,
       CASE WHEN s.state = 'i' THEN
           (SELECT c.lease_expires_at FROM tasker_engine.claims c
            WHERE c.claim_id = s.claim_id) END AS lease_expires_at,
       s.priority::integer AS priority,
       n.handler
FROM tasker_engine.steps s
LEFT JOIN tasker_engine.tasks t ON t.task_uuid = s.task_uuid
LEFT JOIN tasker.named_tasks_named_steps n
    ON n.named_task_id = s.named_task_id AND n.step_no = s.step_no
LEFT JOIN tasker_engine.queues q ON q.queue_id = n.queue_id;
COMMENT ON VIEW tasker.workflow_steps IS 'Every step of every task with its state, attempts and results.';
COMMENT ON COLUMN tasker.workflow_steps.name IS 'Name of the step.';
COMMENT ON COLUMN tasker.workflow_steps.worker_id IS 'The worker that holds the step now; NULL if none does.';
GRANT SELECT ON tasker.workflow_steps TO tasker_reader;

-- ---- scopes ---------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION tasker.workflow_steps_completed()
RETURNS SETOF tasker.workflow_steps LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT s.* FROM tasker.workflow_steps s WHERE s.processed AND tasker_engine.require_version();
END;
COMMENT ON FUNCTION tasker.workflow_steps_completed() IS 'Scope: steps that are complete or resolved_manually.';
GRANT EXECUTE ON FUNCTION tasker.workflow_steps_completed() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.workflow_steps_failed()
RETURNS SETOF tasker.workflow_steps LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT s.* FROM tasker.workflow_steps s WHERE s.state = 'error' AND tasker_engine.require_version();
END;
COMMENT ON FUNCTION tasker.workflow_steps_failed() IS 'Scope: steps in error, with or without a retry to come.';
GRANT EXECUTE ON FUNCTION tasker.workflow_steps_failed() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.workflow_steps_pending()
RETURNS SETOF tasker.workflow_steps LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT s.* FROM tasker.workflow_steps s
    WHERE s.state = ANY (ARRAY['pending', 'in_progress']) AND tasker_engine.require_version();
END;
COMMENT ON FUNCTION tasker.workflow_steps_pending() IS
'Scope: steps that are still to be done, running ones included. workflow_steps_by_current_state(''pending'') leaves those out.';
GRANT EXECUTE ON FUNCTION tasker.workflow_steps_pending() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.workflow_steps_for_task(task_uuid uuid)
RETURNS SETOF tasker.workflow_steps LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
BEGIN ATOMIC
    SELECT s.* FROM tasker.workflow_steps s
    WHERE s.task_uuid = tasker_engine.required($1, 'task_uuid');
END;
COMMENT ON FUNCTION tasker.workflow_steps_for_task(uuid) IS 'Scope: the steps of a task; none for an unknown one. 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.workflow_steps_for_task(uuid) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.workflow_steps_by_current_state(state text DEFAULT NULL)
RETURNS SETOF tasker.workflow_steps LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT s.* FROM tasker.workflow_steps s
    WHERE $1 IS NULL OR s.state = tasker_engine.known_state($1);
END;
COMMENT ON FUNCTION tasker.workflow_steps_by_current_state(text) IS
'Scope: steps in the state; NULL is every step. A step that never changed is pending. 22023 for a text that is not one of the
six states. Without a condition on task_uuid it reads all steps.
state: pending, in_progress, error, complete, cancelled or resolved_manually; NULL: any.';
GRANT EXECUTE ON FUNCTION tasker.workflow_steps_by_current_state(text) TO tasker_reader;

-- The log leads to the steps: it has an index on time, the steps have none on what changes.
CREATE OR REPLACE FUNCTION tasker.workflow_steps_completed_since(since timestamptz)
RETURNS SETOF tasker.workflow_steps LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT s.* FROM tasker.workflow_steps s
    WHERE s.state = 'complete'
      AND s.step_uuid = ANY (
          SELECT l.step_uuid FROM tasker.workflow_step_transitions l
          WHERE l.to_state = 'complete'
            AND l.created_at > tasker_engine.required($1, 'since'));
END;
COMMENT ON FUNCTION tasker.workflow_steps_completed_since(timestamptz) IS
'Scope: steps that became complete after the time; resolved by hand does not count. 22004 for NULL.
since: The change to complete is later than this.';
GRANT EXECUTE ON FUNCTION tasker.workflow_steps_completed_since(timestamptz) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.workflow_steps_failed_since(since timestamptz)
RETURNS SETOF tasker.workflow_steps LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT s.* FROM tasker.workflow_steps s
    WHERE s.state = 'error'
      AND s.step_uuid = ANY (
          SELECT l.step_uuid FROM tasker.workflow_step_transitions l
          WHERE l.to_state = 'error'
            AND l.created_at > tasker_engine.required($1, 'since'));
END;
COMMENT ON FUNCTION tasker.workflow_steps_failed_since(timestamptz) IS
'Scope: steps that are in error since after the time. 22004 for NULL.
since: The change to error is later than this.';
GRANT EXECUTE ON FUNCTION tasker.workflow_steps_failed_since(timestamptz) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.workflow_steps_for_tasks_since(since timestamptz)
RETURNS SETOF tasker.workflow_steps LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT s.* FROM tasker.workflow_steps s
    WHERE s.created_at > tasker_engine.required($1, 'since')
      AND s.task_uuid >= tasker_engine.uuids_since($1);
END;
COMMENT ON FUNCTION tasker.workflow_steps_for_tasks_since(timestamptz) IS
'Scope: the steps of tasks created after the time. 22004 for NULL.
since: The task was created later than this.';
GRANT EXECUTE ON FUNCTION tasker.workflow_steps_for_tasks_since(timestamptz) TO tasker_reader;

-- ---- methods --------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION tasker.find_step_by_name(task_uuid uuid, name text)
RETURNS SETOF tasker.workflow_steps LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT s.* FROM tasker.workflow_steps s
    WHERE s.task_uuid = tasker_engine.required($1, 'task_uuid')
      AND s.name = tasker_engine.required($2, 'name');
END;
COMMENT ON FUNCTION tasker.find_step_by_name(uuid, text) IS
'The step of a task that has the name; no row if there is none. 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.find_step_by_name(uuid, text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.get_viable_steps(task_uuid uuid)
RETURNS SETOF tasker.workflow_steps LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
BEGIN ATOMIC
    SELECT s.*
    FROM tasker.get_step_readiness_status(tasker_engine.required($1, 'task_uuid')) r
    JOIN tasker.workflow_steps s ON s.step_uuid = r.step_uuid
    WHERE r.ready_for_execution AND s.task_uuid = $1;
END;
COMMENT ON FUNCTION tasker.get_viable_steps(uuid) IS
'The steps of a task that a claim would hand out now; none for an unknown task. 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.get_viable_steps(uuid) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.task_completion_stats(task_uuid uuid)
RETURNS TABLE (
    total_steps bigint, completed_steps bigint, failed_steps bigint, pending_steps bigint, cancelled_steps bigint,
    latest_completion_time timestamptz, all_complete boolean)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT count(*),
           count(*) FILTER (WHERE s.processed),
           count(*) FILTER (WHERE s.state = 'error'),
           count(*) FILTER (WHERE s.state = ANY (ARRAY['pending', 'in_progress'])),
           count(*) FILTER (WHERE s.state = 'cancelled'),
           max(s.processed_at),
           bool_and(s.processed)
    FROM tasker.workflow_steps s
    WHERE s.task_uuid = tasker_engine.required($1, 'task_uuid')
    HAVING count(*) > 0;
END;
COMMENT ON FUNCTION tasker.task_completion_stats(uuid) IS
'One row: the steps of a task counted, and when the last was done. No row for an unknown task. 22004 for NULL.
pending_steps: Steps in state pending or in_progress.
latest_completion_time: When the last of them became complete or resolved_manually; NULL if none did.
all_complete: Whether every step is complete or resolved_manually.';
GRANT EXECUTE ON FUNCTION tasker.task_completion_stats(uuid) TO tasker_reader;

-- The predicates of a step, each by the rule of get_step_readiness_status.
CREATE OR REPLACE VIEW tasker.workflow_step_statuses AS
SELECT r.step_uuid,
       r.task_uuid,
       n.name,
       r.current_state,
       r.current_state = ANY (ARRAY['complete', 'resolved_manually']) AS is_complete,
       r.current_state = 'in_progress' AS is_in_progress,
       r.current_state = 'pending' AS is_pending,
       r.current_state = 'error' AS is_in_error,
       r.current_state = 'cancelled' AS is_cancelled,
       r.current_state = ANY (ARRAY['pending', 'error']) AS is_ready_status,
       r.ready_for_execution AS is_ready,
       r.dependencies_satisfied,
       r.retry_eligible,
       r.attempts > 0 AS has_retry_attempts,
       NOT tasker_engine.attempts_left(r.attempts, r.retry_limit) AS is_retry_exhausted,
       COALESCE(r.next_retry_at > tasker_engine.engine_clock(), false) AS is_waiting_for_backoff,
       r.current_state = 'error' AND r.retry_eligible
           AND NOT COALESCE(r.next_retry_at > tasker_engine.engine_clock(), false) AS can_retry_now,
       cardinality(n.parents) = 0 AS is_root_step,
       cardinality(n.children) = 0 AS is_leaf_step
FROM tasker.step_readiness_statuses r
JOIN tasker_engine.tasks t ON t.task_uuid = r.task_uuid
JOIN tasker.named_tasks_named_steps n
    ON n.named_task_id = t.named_task_id
   AND n.step_no = tasker.step_number(r.step_uuid);
COMMENT ON VIEW tasker.workflow_step_statuses IS 'Yes-or-no questions about each step.';
COMMENT ON COLUMN tasker.workflow_step_statuses.name IS 'Name of the step.';
COMMENT ON COLUMN tasker.workflow_step_statuses.is_complete IS 'Whether it is complete or resolved_manually.';
COMMENT ON COLUMN tasker.workflow_step_statuses.is_in_progress IS 'Whether a worker holds it.';
COMMENT ON COLUMN tasker.workflow_step_statuses.is_pending IS 'Whether it is in state pending.';
COMMENT ON COLUMN tasker.workflow_step_statuses.is_in_error IS 'Whether it is in state error.';
COMMENT ON COLUMN tasker.workflow_step_statuses.is_cancelled IS 'Whether it is in state cancelled.';
COMMENT ON COLUMN tasker.workflow_step_statuses.is_ready_status IS 'Whether a run may begin from its state: pending or error.';
COMMENT ON COLUMN tasker.workflow_step_statuses.is_ready IS 'Whether a claim would hand it out now.';
COMMENT ON COLUMN tasker.workflow_step_statuses.has_retry_attempts IS 'Whether it has run since the last reset.';
COMMENT ON COLUMN tasker.workflow_step_statuses.is_retry_exhausted IS 'Whether no attempt is left: it has run as often as retry_limit allows.';
COMMENT ON COLUMN tasker.workflow_step_statuses.is_waiting_for_backoff IS 'Whether its time is still to come.';
COMMENT ON COLUMN tasker.workflow_step_statuses.can_retry_now IS 'Whether it failed and its retry is due.';
GRANT SELECT ON tasker.workflow_step_statuses TO tasker_reader;
