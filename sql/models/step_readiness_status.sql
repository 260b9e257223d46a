-- Readiness: what may run. The rule is crates/rules/src/engine/readiness.rs, and everything here asks it.

-- When the runs of a step ended, from the log.
CREATE OR REPLACE VIEW tasker_engine.step_runs AS
SELECT l.task_uuid,
       l.step_no,
       max(l.created_at) FILTER (WHERE l.from_state = 'i'
                                              AND l.to_state <> 'p') AS ended_at,
       max(l.created_at) FILTER (WHERE l.to_state = 'e') AS failed_at
FROM tasker_engine.transitions l
WHERE l.step_no > 0
GROUP BY l.task_uuid, l.step_no;
COMMENT ON VIEW tasker_engine.step_runs IS 'When the runs of each step ended, from the log.';

-- The step is joined for queries that filter by step_uuid: they start from its index, and the function answers for
-- the one task.
CREATE OR REPLACE VIEW tasker.step_readiness_statuses AS
SELECT tasker.step_uuid(s.task_uuid, s.step_no) AS step_uuid, s.task_uuid, r.named_step_id, r.name, r.current_state,
       r.dependencies_satisfied, r.retry_eligible, r.ready_for_execution, r.last_failure_at, r.next_retry_at,
       r.total_parents, r.completed_parents, r.attempts, r.retry_limit, r.backoff_request_seconds,
       r.last_attempted_at
FROM tasker_engine.tasks t
CROSS JOIN LATERAL tasker.get_step_readiness_status(t.task_uuid) r
JOIN tasker_engine.steps s
    ON s.task_uuid = t.task_uuid
   AND s.step_no = tasker.step_number(r.step_uuid);
COMMENT ON VIEW tasker.step_readiness_statuses IS
'Whether each step may run, and if not, why. The rows of get_step_readiness_status.';
COMMENT ON COLUMN tasker.step_readiness_statuses.name IS 'Name of the step.';
GRANT SELECT ON tasker.step_readiness_statuses TO tasker_reader;

-- ---- class queries --------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION tasker.step_readiness_statuses_ready_for_task(task_uuid uuid)
RETURNS SETOF tasker.step_readiness_statuses LANGUAGE sql STABLE PARALLEL SAFE ROWS 5
BEGIN ATOMIC
    SELECT r.* FROM tasker.get_step_readiness_status($1) r WHERE r.ready_for_execution;
END;
COMMENT ON FUNCTION tasker.step_readiness_statuses_ready_for_task(uuid) IS
'Readiness of the steps of a task that a claim would hand out now. 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.step_readiness_statuses_ready_for_task(uuid) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.step_readiness_statuses_blocked_by_dependencies_for_task(task_uuid uuid)
RETURNS SETOF tasker.step_readiness_statuses LANGUAGE sql STABLE PARALLEL SAFE ROWS 5
BEGIN ATOMIC
    SELECT r.* FROM tasker.get_step_readiness_status($1) r WHERE NOT r.dependencies_satisfied
      AND r.current_state = ANY (ARRAY['pending', 'error']);
END;
COMMENT ON FUNCTION tasker.step_readiness_statuses_blocked_by_dependencies_for_task(uuid) IS
'Readiness of the steps of a task that wait only for a parent that is not done. 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.step_readiness_statuses_blocked_by_dependencies_for_task(uuid) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.step_readiness_statuses_blocked_by_retry_for_task(task_uuid uuid)
RETURNS SETOF tasker.step_readiness_statuses LANGUAGE sql STABLE PARALLEL SAFE ROWS 5
BEGIN ATOMIC
    SELECT r.* FROM tasker.get_step_readiness_status($1) r WHERE NOT r.retry_eligible
      AND r.current_state = ANY (ARRAY['pending', 'error']);
END;
COMMENT ON FUNCTION tasker.step_readiness_statuses_blocked_by_retry_for_task(uuid) IS
'Readiness of the steps of a task that have not ended well and cannot run again: out of attempts, or not retryable. 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.step_readiness_statuses_blocked_by_retry_for_task(uuid) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.step_readiness_statuses_pending_for_task(task_uuid uuid)
RETURNS SETOF tasker.step_readiness_statuses LANGUAGE sql STABLE PARALLEL SAFE ROWS 5
BEGIN ATOMIC
    SELECT r.* FROM tasker.get_step_readiness_status($1) r WHERE r.current_state = 'pending';
END;
COMMENT ON FUNCTION tasker.step_readiness_statuses_pending_for_task(uuid) IS
'Readiness of the steps of a task in state pending. 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.step_readiness_statuses_pending_for_task(uuid) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.step_readiness_statuses_failed_for_task(task_uuid uuid)
RETURNS SETOF tasker.step_readiness_statuses LANGUAGE sql STABLE PARALLEL SAFE ROWS 5
BEGIN ATOMIC
    SELECT r.* FROM tasker.get_step_readiness_status($1) r WHERE r.current_state = 'error';
END;
COMMENT ON FUNCTION tasker.step_readiness_statuses_failed_for_task(uuid) IS
'Readiness of the steps of a task in state error. 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.step_readiness_statuses_failed_for_task(uuid) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.step_readiness_statuses_in_progress_for_task(task_uuid uuid)
RETURNS SETOF tasker.step_readiness_statuses LANGUAGE sql STABLE PARALLEL SAFE ROWS 5
BEGIN ATOMIC
    SELECT r.* FROM tasker.get_step_readiness_status($1) r WHERE r.current_state = 'in_progress';
END;
COMMENT ON FUNCTION tasker.step_readiness_statuses_in_progress_for_task(uuid) IS
'Readiness of the steps of a task that a worker holds. 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.step_readiness_statuses_in_progress_for_task(uuid) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.step_readiness_statuses_complete_for_task(task_uuid uuid)
RETURNS SETOF tasker.step_readiness_statuses LANGUAGE sql STABLE PARALLEL SAFE ROWS 5
BEGIN ATOMIC
    SELECT r.* FROM tasker.get_step_readiness_status($1) r WHERE r.current_state = ANY (ARRAY['complete', 'resolved_manually']);
END;
COMMENT ON FUNCTION tasker.step_readiness_statuses_complete_for_task(uuid) IS
'Readiness of the steps of a task that are complete or resolved_manually. 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.step_readiness_statuses_complete_for_task(uuid) TO tasker_reader;

-- ---- what a row tells -----------------------------------------------------------------------------------------------

CREATE OR REPLACE VIEW tasker.step_readiness_details AS
SELECT r.*,
       r.ready_for_execution AS can_execute_now,
       CASE WHEN r.ready_for_execution THEN NULL
            WHEN r.current_state <> ALL (ARRAY['pending', 'error']) THEN 'invalid_state'
            WHEN NOT r.dependencies_satisfied THEN 'dependencies_not_satisfied'
            WHEN NOT r.retry_eligible THEN 'retry_not_eligible'
            WHEN r.next_retry_at IS NULL THEN 'waiting_for_operator'
            ELSE 'waiting_for_backoff' END AS blocking_reason,
       CASE WHEN r.ready_for_execution THEN '0'::interval
            WHEN r.dependencies_satisfied AND isfinite(r.next_retry_at)
                 AND r.current_state = ANY (ARRAY['pending', 'error'])
            THEN GREATEST('0'::interval, r.next_retry_at - tasker_engine.engine_clock()) END
           AS time_until_ready,
       CASE WHEN r.total_parents = 0 THEN 'no_dependencies'
            WHEN r.dependencies_satisfied THEN 'all_satisfied'
            ELSE format('%s/%s_satisfied', r.completed_parents, r.total_parents) END AS dependency_status,
       CASE WHEN r.retry_eligible THEN
                CASE WHEN r.next_retry_at > tasker_engine.engine_clock() THEN 'waiting_for_backoff'
                     ELSE 'retry_eligible' END
            WHEN NOT tasker_engine.attempts_left(r.attempts, r.retry_limit) THEN 'max_retries_reached'
            ELSE 'not_retryable' END AS retry_status,
       CASE WHEN r.backoff_request_seconds > 0 THEN
                (SELECT CASE COALESCE(c.step -> 'retry' ->> 'backoff', 'exponential')
                            WHEN 'none' THEN 'explicit' WHEN 'linear' THEN 'linear' WHEN 'fibonacci' THEN 'fibonacci'
                            ELSE 'exponential' END || '_backoff'
                 FROM tasker_engine.tasks t
                 JOIN tasker.named_tasks nt ON nt.named_task_id = t.named_task_id
                 CROSS JOIN LATERAL jsonb_array_elements(
                     nt.configuration -> 'steps') AS c (step)
                 WHERE t.task_uuid = r.task_uuid
                   AND c.step ->> 'name' = r.name)
            WHEN r.current_state = 'pending'
                 AND r.next_retry_at > tasker_engine.engine_clock() THEN 'explicit_backoff'
            ELSE 'no_backoff' END AS backoff_type,
       COALESCE(r.backoff_request_seconds, 0) AS effective_backoff_seconds
FROM tasker.step_readiness_statuses r;
COMMENT ON VIEW tasker.step_readiness_details IS
'Readiness of each step, with what blocks it and for how long.';
COMMENT ON COLUMN tasker.step_readiness_details.name IS 'Name of the step.';
COMMENT ON COLUMN tasker.step_readiness_details.can_execute_now IS 'Whether a claim would hand it out now.';
COMMENT ON COLUMN tasker.step_readiness_details.blocking_reason IS
'The first reason why it cannot run: invalid_state (runs or has ended), dependencies_not_satisfied, retry_not_eligible,
waiting_for_operator, waiting_for_backoff; NULL if it is ready.';
COMMENT ON COLUMN tasker.step_readiness_details.time_until_ready IS
'0 if it is ready, otherwise the time until it is; NULL if it waits for something other than time.';
COMMENT ON COLUMN tasker.step_readiness_details.dependency_status IS 'no_dependencies, all_satisfied, or done/all_satisfied such as 1/2_satisfied.';
COMMENT ON COLUMN tasker.step_readiness_details.retry_status IS
'retry_eligible, waiting_for_backoff, max_retries_reached or not_retryable.';
COMMENT ON COLUMN tasker.step_readiness_details.backoff_type IS
'For a failed step that waits, the backoff of its template: exponential_backoff (also the default), linear_backoff,
fibonacci_backoff; explicit_backoff if it asks for none and only the worker can have named the time. For a pending step with a later start:
explicit_backoff. Otherwise no_backoff.';
COMMENT ON COLUMN tasker.step_readiness_details.effective_backoff_seconds IS 'Whole seconds between the failure and the retry; 0 without a retry.';
GRANT SELECT ON tasker.step_readiness_details TO tasker_reader;
