-- The log of the tasks. Numbers within a task are counted for the rows that are read: so a condition on any column of
-- the log, its time above all, is one on the table.
CREATE OR REPLACE VIEW tasker.task_transitions AS
SELECT l.id,
       tasker_engine.state_name(l.to_state) AS to_state,
       tasker_engine.state_name(l.from_state) AS from_state,
       l.metadata,
       (SELECT count(*)::integer * 10
        FROM tasker_engine.transitions o
        WHERE o.task_uuid = l.task_uuid AND o.step_no = 0
          AND o.id <= l.id) AS sort_key,
       NOT EXISTS (SELECT FROM tasker_engine.transitions o
                   WHERE o.task_uuid = l.task_uuid AND o.step_no = 0
                     AND o.id > l.id) AS most_recent,
       l.task_uuid,
       l.created_at,
       l.created_at AS updated_at
FROM tasker_engine.transitions l
WHERE l.step_no = 0;
COMMENT ON VIEW tasker.task_transitions IS
'The changes of state of each task, one row per change, creation included. id orders them.';
GRANT SELECT ON tasker.task_transitions TO tasker_reader;

-- ---- scopes ---------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION tasker.task_transitions_recent()
RETURNS SETOF tasker.task_transitions LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT l.* FROM tasker.task_transitions l WHERE tasker_engine.require_version() ORDER BY l.id DESC;
END;
COMMENT ON FUNCTION tasker.task_transitions_recent() IS
'Scope: the log of the tasks, newest first. With a condition on task_uuid or created_at it reads those rows only.';
GRANT EXECUTE ON FUNCTION tasker.task_transitions_recent() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.task_transitions_to_state(state text)
RETURNS SETOF tasker.task_transitions LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT l.* FROM tasker.task_transitions l
    WHERE l.to_state = tasker_engine.required(tasker_engine.known_state($1), 'state');
END;
COMMENT ON FUNCTION tasker.task_transitions_to_state(text) IS
'Scope: changes into the state. 22004 for NULL, 22023 for a text that is not one of the six states.
state: The state after the change: pending, in_progress, error, complete, cancelled or resolved_manually.';
GRANT EXECUTE ON FUNCTION tasker.task_transitions_to_state(text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.task_transitions_with_metadata_key(key text)
RETURNS SETOF tasker.task_transitions LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT l.* FROM tasker.task_transitions l
    WHERE l.metadata ? tasker_engine.required($1, 'key');
END;
COMMENT ON FUNCTION tasker.task_transitions_with_metadata_key(text) IS
'Scope: changes whose metadata has the key. 22004 for NULL.
key: A key of the object itself, not of one within it.';
GRANT EXECUTE ON FUNCTION tasker.task_transitions_with_metadata_key(text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.task_transitions_with_metadata_value(key text, value jsonb)
RETURNS SETOF tasker.task_transitions LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT l.* FROM tasker.task_transitions l
    WHERE l.metadata -> tasker_engine.required($1, 'key')
          = tasker_engine.required($2, 'value');
END;
COMMENT ON FUNCTION tasker.task_transitions_with_metadata_value(text, jsonb) IS
'Changes whose metadata has the value, any JSON, under the key: to_jsonb(''ops''::text) for a text, ''null'' for JSON null.
22004 for NULL.
key: A key of the object itself, not of one within it.
value: The value of the key in the metadata, as JSON; compared as a whole.';
GRANT EXECUTE ON FUNCTION tasker.task_transitions_with_metadata_value(text, jsonb) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.task_transitions_in_time_range(from_time timestamptz, to_time timestamptz)
RETURNS SETOF tasker.task_transitions LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT l.* FROM tasker.task_transitions l
    WHERE l.created_at >= tasker_engine.required($1, 'from_time')
      AND l.created_at <= tasker_engine.required($2, 'to_time');
END;
COMMENT ON FUNCTION tasker.task_transitions_in_time_range(timestamptz, timestamptz) IS
'Changes between the two times, both included; none if the first is later. 22004 for NULL.
from_time: The first time that counts.
to_time: The last time that counts.';
GRANT EXECUTE ON FUNCTION tasker.task_transitions_in_time_range(timestamptz, timestamptz) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.task_transitions_most_recent_to_state(task_uuid uuid, state text)
RETURNS SETOF tasker.task_transitions LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT l.* FROM tasker.task_transitions l
    WHERE l.task_uuid = tasker_engine.required($1, 'task_uuid')
      AND l.to_state = tasker_engine.required(tasker_engine.known_state($2), 'state')
    ORDER BY l.id DESC LIMIT 1;
END;
COMMENT ON FUNCTION tasker.task_transitions_most_recent_to_state(uuid, text) IS
'The last change of a task into the state; no row if it was never in it. 22004 for NULL, 22023 for an unknown state.
state: The state after the change: pending, in_progress, error, complete, cancelled or resolved_manually.';
GRANT EXECUTE ON FUNCTION tasker.task_transitions_most_recent_to_state(uuid, text) TO tasker_reader;

-- ---- what a row tells -----------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION tasker_engine.change(from_state text, to_state text, metadata jsonb)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN concat(
        from_state || ' to ', to_state,
        ': ' || (metadata ->> 'reason'),
        ' by ' || (metadata ->> 'resolved_by'));
COMMENT ON FUNCTION tasker_engine.change(text, text, jsonb) IS
'A change of state in words: "error to pending: fixed the address by ops".';
GRANT EXECUTE ON FUNCTION tasker_engine.change(text, text, jsonb) TO tasker_reader;

CREATE OR REPLACE VIEW tasker.task_transition_details AS
SELECT l.*,
       l.created_at -
           (SELECT max(o.created_at) FROM tasker_engine.transitions o
            WHERE o.task_uuid = l.task_uuid AND o.step_no = 0
              AND o.id < l.id) AS duration_since_previous,
       l.to_state = 'error' AS is_error_transition,
       l.to_state = ANY (ARRAY['complete', 'resolved_manually']) AS is_completion_transition,
       l.to_state = 'cancelled' AS is_cancellation_transition,
       l.metadata <> '{}' AS has_metadata,
       tasker_engine.change(l.from_state, l.to_state, l.metadata) AS description
FROM tasker.task_transitions l;
COMMENT ON VIEW tasker.task_transition_details IS
'The log of the tasks with derived columns: time since the change before, kind of change, a sentence.';
COMMENT ON COLUMN tasker.task_transition_details.duration_since_previous IS 'Time since the change before; NULL for the first.';
COMMENT ON COLUMN tasker.task_transition_details.is_error_transition IS 'Whether it went to error.';
COMMENT ON COLUMN tasker.task_transition_details.is_completion_transition IS 'Whether it went to complete or resolved_manually.';
COMMENT ON COLUMN tasker.task_transition_details.is_cancellation_transition IS 'Whether it went to cancelled.';
COMMENT ON COLUMN tasker.task_transition_details.has_metadata IS 'Whether it has metadata.';
COMMENT ON COLUMN tasker.task_transition_details.description IS 'The change in words, with the reason if one was given.';
GRANT SELECT ON tasker.task_transition_details TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.task_transition_statistics(task_uuid uuid DEFAULT NULL, since timestamptz DEFAULT NULL)
RETURNS TABLE (
    total_transitions bigint, states jsonb, recent_activity bigint, average_time_between_transitions interval)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT COALESCE(sum(s.transitions), 0)::bigint,
           COALESCE(jsonb_object_agg(s.to_state, s.transitions ORDER BY s.to_state), '{}'),
           COALESCE(sum(s.recent), 0)::bigint,
           sum(s.waited) / NULLIF(sum(s.waits), 0)::double precision
    FROM (
        SELECT l.to_state, count(*) AS transitions,
               count(*) FILTER (WHERE l.created_at >
                   (tasker_engine.engine_clock() - '24 hours'::interval)) AS recent,
               count(l.waited) AS waits, sum(l.waited) AS waited
        FROM (
            SELECT o.to_state, o.created_at,
                   o.created_at - lag(o.created_at) OVER (
                       PARTITION BY o.task_uuid ORDER BY o.id) AS waited
            FROM tasker.task_transitions o
            WHERE ($1 IS NULL OR o.task_uuid = $1)
              AND ($2 IS NULL OR o.created_at > $2)
              AND tasker_engine.require_version()
        ) l
        GROUP BY l.to_state
    ) s;
END;
COMMENT ON FUNCTION tasker.task_transition_statistics(uuid, timestamptz) IS
'One row about the log of a task, or of all. Without arguments it reads the whole log.
task_uuid: The task; NULL: all.
since: Only changes later than this count; NULL: all.
total_transitions: Changes of state, creation included.
states: Number of changes into each state: {"complete": 2, ...}, without zeros.
recent_activity: Number of them in the last 24 hours.
average_time_between_transitions: Average time between two counted changes of the same task; NULL if no task has two.';
GRANT EXECUTE ON FUNCTION tasker.task_transition_statistics(uuid, timestamptz) TO tasker_reader;
