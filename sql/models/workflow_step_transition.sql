-- The log of the steps, flat as that of the tasks. The step is joined for queries that filter by step_uuid.
CREATE OR REPLACE VIEW tasker.workflow_step_transitions AS
SELECT l.id,
       tasker_engine.state_name(l.to_state) AS to_state,
       tasker_engine.state_name(l.from_state) AS from_state,
       l.metadata,
       -- The start of a run that goes on is in no row, and the last.
       ((SELECT count(*) FILTER (WHERE o.id <= l.id) + count(*) FILTER (WHERE o.run_id <= l.id)
         FROM tasker_engine.transitions o
         WHERE o.task_uuid = l.task_uuid AND o.step_no = l.step_no)
        + CASE WHEN s.state = 'i' AND s.run_id = l.id THEN 1 ELSE 0 END)::integer * 10 AS sort_key,
       NOT EXISTS (SELECT FROM tasker_engine.transitions o
                   WHERE o.task_uuid = l.task_uuid
                     AND o.step_no = l.step_no
                     AND o.id > l.id)
       AND (s.state = 'i' AND s.run_id > l.id) IS NOT TRUE AS most_recent,
       tasker.step_uuid(s.task_uuid, s.step_no) AS step_uuid,
       s.task_uuid,
       l.created_at,
       l.created_at AS updated_at,
       s.step_no::integer AS step_no,
       l.attempt::integer AS attempt,
       COALESCE(w.worker_id, n.worker_id) AS worker_id
FROM tasker_engine.steps s
JOIN tasker_engine.step_changes l
    ON l.task_uuid = s.task_uuid AND l.step_no = s.step_no
LEFT JOIN tasker_engine.workers w ON w.worker_no = l.worker_no
LEFT JOIN tasker_engine.worker_names n ON n.worker_no = l.worker_no;
COMMENT ON VIEW tasker.workflow_step_transitions IS
'The changes of state of each step, one row per change; a step that never changed has none. id orders them. A condition on task_uuid or step_uuid reads those rows only; one on created_at alone reads every step, because the start of a run that goes on is in the row of its step: workflow_step_transitions_in_time_range reads a span of time.';
GRANT SELECT ON tasker.workflow_step_transitions TO tasker_reader;

-- ---- scopes ---------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION tasker.workflow_step_transitions_recent()
RETURNS SETOF tasker.workflow_step_transitions LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT l.* FROM tasker.workflow_step_transitions l WHERE tasker_engine.require_version() ORDER BY l.id DESC;
END;
COMMENT ON FUNCTION tasker.workflow_step_transitions_recent() IS
'Scope: the log of the steps, newest first. With a condition on task_uuid or step_uuid it reads those rows only;
workflow_step_transitions_in_time_range reads those of a span of time.';
GRANT EXECUTE ON FUNCTION tasker.workflow_step_transitions_recent() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.workflow_step_transitions_to_state(state text)
RETURNS SETOF tasker.workflow_step_transitions LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT l.* FROM tasker.workflow_step_transitions l
    WHERE l.to_state = tasker_engine.required(tasker_engine.known_state($1), 'state');
END;
COMMENT ON FUNCTION tasker.workflow_step_transitions_to_state(text) IS
'Scope: changes into the state. 22004 for NULL, 22023 for a text that is not one of the six states.
state: The state after the change: pending, in_progress, error, complete, cancelled or resolved_manually.';
GRANT EXECUTE ON FUNCTION tasker.workflow_step_transitions_to_state(text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.workflow_step_transitions_with_metadata_key(key text)
RETURNS SETOF tasker.workflow_step_transitions LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT l.* FROM tasker.workflow_step_transitions l
    WHERE l.metadata ? tasker_engine.required($1, 'key');
END;
COMMENT ON FUNCTION tasker.workflow_step_transitions_with_metadata_key(text) IS
'Scope: changes whose metadata has the key. 22004 for NULL.
key: A key of the object itself, not of one within it.';
GRANT EXECUTE ON FUNCTION tasker.workflow_step_transitions_with_metadata_key(text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.workflow_step_transitions_for_task(task_uuid uuid)
RETURNS SETOF tasker.workflow_step_transitions LANGUAGE sql STABLE PARALLEL SAFE ROWS 20
BEGIN ATOMIC
    SELECT l.* FROM tasker.workflow_step_transitions l
    WHERE l.task_uuid = tasker_engine.required($1, 'task_uuid');
END;
COMMENT ON FUNCTION tasker.workflow_step_transitions_for_task(uuid) IS
'Scope: the log of all steps of a task; none for an unknown one. 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.workflow_step_transitions_for_task(uuid) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.workflow_step_transitions_with_metadata_value(key text, value jsonb)
RETURNS SETOF tasker.workflow_step_transitions LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT l.* FROM tasker.workflow_step_transitions l
    WHERE l.metadata -> tasker_engine.required($1, 'key')
          = tasker_engine.required($2, 'value');
END;
COMMENT ON FUNCTION tasker.workflow_step_transitions_with_metadata_value(text, jsonb) IS
'Changes whose metadata has the value, any JSON, under the key: to_jsonb(''ops''::text) for a text, ''null'' for JSON null.
22004 for NULL.
key: A key of the object itself, not of one within it.
value: The value of the key in the metadata, as JSON; compared as a whole.';
GRANT EXECUTE ON FUNCTION tasker.workflow_step_transitions_with_metadata_value(text, jsonb) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.workflow_step_transitions_in_time_range(from_time timestamptz, to_time timestamptz)
RETURNS SETOF tasker.workflow_step_transitions LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT l.* FROM tasker.workflow_step_transitions l
    WHERE l.created_at >= tasker_engine.required($1, 'from_time')
      AND l.created_at <= tasker_engine.required($2, 'to_time')
      AND l.step_uuid = ANY (
          SELECT o.step_uuid FROM tasker_engine.steps_changed_between($1, $2) AS o (step_uuid));
END;
COMMENT ON FUNCTION tasker.workflow_step_transitions_in_time_range(timestamptz, timestamptz) IS
'Changes between the two times, both included; none if the first is later. 22004 for NULL.
from_time: The first time that counts.
to_time: The last time that counts.';
GRANT EXECUTE ON FUNCTION tasker.workflow_step_transitions_in_time_range(timestamptz, timestamptz) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.workflow_step_transitions_most_recent_to_state(step_uuid uuid, state text)
RETURNS SETOF tasker.workflow_step_transitions LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT l.* FROM tasker.workflow_step_transitions l
    WHERE l.step_uuid = tasker_engine.required($1, 'step_uuid')
      AND l.to_state = tasker_engine.required(tasker_engine.known_state($2), 'state')
    ORDER BY l.id DESC LIMIT 1;
END;
COMMENT ON FUNCTION tasker.workflow_step_transitions_most_recent_to_state(uuid, text) IS
'The last change of a step into the state; no row if it was never in it. 22004 for NULL, 22023 for an unknown state.
state: The state after the change: pending, in_progress, error, complete, cancelled or resolved_manually.';
GRANT EXECUTE ON FUNCTION tasker.workflow_step_transitions_most_recent_to_state(uuid, text) TO tasker_reader;

-- ---- what a row tells -----------------------------------------------------------------------------------------------

CREATE OR REPLACE VIEW tasker.workflow_step_transition_details AS
SELECT d.*,
       CASE WHEN d.from_state = 'in_progress' THEN d.duration_since_previous END
           AS execution_duration,
       CASE WHEN d.to_state = 'error' AND d.most_recent THEN
           (SELECT jsonb_build_object(
                       'backoff_until', s.available_at,
                       'backoff_seconds', GREATEST(0, ceil(EXTRACT(
                           epoch FROM s.available_at - d.created_at)))::bigint,
                       'retry_available', s.available_at <= tasker_engine.engine_clock())
            FROM tasker_engine.steps s
            WHERE s.task_uuid = d.task_uuid
              AND s.step_no = d.step_no AND isfinite(s.available_at)) END
           AS backoff_info
FROM (
    SELECT l.*,
           n.name AS step_name,
           l.created_at -
               (SELECT max(CASE WHEN o.id < l.id THEN o.created_at ELSE o.started_at END)
                FROM tasker_engine.transitions o
                WHERE o.task_uuid = l.task_uuid AND o.step_no = l.step_no
                  AND (o.id < l.id OR o.run_id < l.id)) AS duration_since_previous,
           l.to_state = 'error' AS is_error_transition,
           l.to_state = ANY (ARRAY['complete', 'resolved_manually']) AS is_completion_transition,
           l.to_state = 'cancelled' AS is_cancellation_transition,
           l.from_state = 'error' AND l.to_state = 'pending'
               AS is_retry_transition,
           l.metadata <> '{}' AS has_metadata,
           tasker_engine.change(l.from_state, l.to_state, l.metadata) AS description
    FROM tasker.workflow_step_transitions l
    JOIN tasker_engine.tasks t ON t.task_uuid = l.task_uuid
    LEFT JOIN tasker.named_tasks_named_steps n
        ON n.named_task_id = t.named_task_id AND n.step_no = l.step_no
) d;
COMMENT ON VIEW tasker.workflow_step_transition_details IS
'The log of the steps with derived columns: name of the step, durations, kind of change, backoff, a sentence.';
COMMENT ON COLUMN tasker.workflow_step_transition_details.step_name IS 'Name of the step.';
COMMENT ON COLUMN tasker.workflow_step_transition_details.duration_since_previous IS 'Time since the change before; NULL for the first.';
COMMENT ON COLUMN tasker.workflow_step_transition_details.is_error_transition IS 'Whether it went to error.';
COMMENT ON COLUMN tasker.workflow_step_transition_details.is_completion_transition IS 'Whether it went to complete or resolved_manually.';
COMMENT ON COLUMN tasker.workflow_step_transition_details.is_cancellation_transition IS 'Whether it went to cancelled.';
COMMENT ON COLUMN tasker.workflow_step_transition_details.is_retry_transition IS 'Whether it made a failed step run again.';
COMMENT ON COLUMN tasker.workflow_step_transition_details.has_metadata IS 'Whether it has metadata.';
COMMENT ON COLUMN tasker.workflow_step_transition_details.description IS 'The change in words, with the reason if one was given.';
COMMENT ON COLUMN tasker.workflow_step_transition_details.execution_duration IS 'How long the run that ended with it took; NULL if none ended.';
COMMENT ON COLUMN tasker.workflow_step_transition_details.backoff_info IS
'For a step in error with a retry scheduled, {backoff_until, backoff_seconds, retry_available}; otherwise NULL.';
GRANT SELECT ON tasker.workflow_step_transition_details TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.workflow_step_transition_statistics(
    task_uuid uuid DEFAULT NULL, step_uuid uuid DEFAULT NULL, since timestamptz DEFAULT NULL)
RETURNS TABLE (
    total_transitions bigint, states jsonb, recent_activity bigint, average_time_between_transitions interval,
    retry_attempts bigint, average_execution_time interval)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT COALESCE(sum(s.transitions), 0)::bigint,
           COALESCE(jsonb_object_agg(s.to_state, s.transitions ORDER BY s.to_state), '{}'),
           COALESCE(sum(s.recent), 0)::bigint,
           sum(s.waited) / NULLIF(sum(s.waits), 0)::double precision,
           COALESCE(sum(s.retries), 0)::bigint,
           sum(s.ran) / NULLIF(sum(s.runs), 0)::double precision
    FROM (
        SELECT l.to_state, count(*) AS transitions,
               count(*) FILTER (WHERE l.created_at >
                   (tasker_engine.engine_clock() - '24 hours'::interval)) AS recent,
               count(l.waited) AS waits, sum(l.waited) AS waited,
               count(*) FILTER (WHERE l.retried) AS retries,
               count(l.waited) FILTER (WHERE l.ended) AS runs,
               sum(l.waited) FILTER (WHERE l.ended) AS ran
        FROM (
            SELECT o.to_state, o.created_at,
                   o.created_at - lag(o.created_at) OVER (
                       PARTITION BY o.task_uuid, o.step_no ORDER BY o.id) AS waited,
                   o.from_state = 'error' AND o.to_state = 'pending' AS retried,
                   o.from_state = 'in_progress'
                       AND o.to_state = ANY (ARRAY['complete', 'error']) AS ended
            FROM tasker.workflow_step_transitions o
            WHERE ($1 IS NULL OR o.task_uuid = $1)
              AND ($2 IS NULL OR o.step_uuid = $2)
              AND ($3 IS NULL OR o.created_at > $3)
              AND tasker_engine.require_version()
        ) l
        GROUP BY l.to_state
    ) s;
END;
COMMENT ON FUNCTION tasker.workflow_step_transition_statistics(uuid, uuid, timestamptz) IS
'One row about the log of the steps: of all, of a task, or of one step. Without arguments it reads the whole log.
task_uuid: The task; NULL: all.
step_uuid: The step; NULL: all.
since: Only changes later than this count; NULL: all.
total_transitions: Changes of state.
states: Number of changes into each state: {"complete": 2, ...}, without zeros.
recent_activity: Number of them in the last 24 hours.
average_time_between_transitions: Average time between two changes of the same step that both count; NULL if no step has two.
retry_attempts: How often a failed step went back to pending, by itself or by hand.
average_execution_time: Average time from claim to complete or error of the runs whose beginning counts too; NULL without one.';
GRANT EXECUTE ON FUNCTION tasker.workflow_step_transition_statistics(uuid, uuid, timestamptz) TO tasker_reader;
