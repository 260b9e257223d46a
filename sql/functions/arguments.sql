-- What SQL functions ask of their arguments: refusals with the name of the parameter.

-- Every function in Rust asks this by itself; functions in SQL that reach none ask it here. IMMUTABLE, so that the planner asks
-- and the plan is that of the query without it: a new library comes with new sessions, and an update has every plan made again.
CREATE OR REPLACE FUNCTION tasker_engine.require_version()
RETURNS boolean AS 'MODULE_PATHNAME', 'require_version' LANGUAGE c IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION tasker_engine.require_version() IS
'true; 55000 while the extension is of another version than the library. Rule: docs/upgrading.md.';
GRANT EXECUTE ON FUNCTION tasker_engine.require_version() TO tasker_reader;

-- A scope is a plain query that the planner puts in place; this is how it refuses NULL. IMMUTABLE, so that a constant
-- is checked once while planning and an index still serves the comparison.
CREATE OR REPLACE FUNCTION tasker_engine.required(value anyelement, name text)
RETURNS anyelement AS 'MODULE_PATHNAME', 'required' LANGUAGE c IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION tasker_engine.required(anyelement, text) IS
'The value as it is; 22004 for NULL, with the name of the parameter.';
GRANT EXECUTE ON FUNCTION tasker_engine.required(anyelement, text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.known_state(state text)
RETURNS text AS 'MODULE_PATHNAME', 'known_state' LANGUAGE c IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION tasker_engine.known_state(text) IS
'The state as it is; 22023 for a text that is not one of the six states. NULL for NULL.';
GRANT EXECUTE ON FUNCTION tasker_engine.known_state(text) TO tasker_reader;

-- The same for what a scalar read found of a task.
CREATE OR REPLACE FUNCTION tasker_engine.of_task(value anyelement, task_uuid uuid)
RETURNS anyelement AS 'MODULE_PATHNAME', 'of_task' LANGUAGE c IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION tasker_engine.of_task(anyelement, uuid) IS
'The value as it is. For NULL: P0002, no task has that uuid; 22004 without a uuid.';
GRANT EXECUTE ON FUNCTION tasker_engine.of_task(anyelement, uuid) TO tasker_reader;

-- For functions in SQL: the same limits and sentences as in templates.
CREATE OR REPLACE FUNCTION tasker_engine.checked(value text, kind text, parameter text)
RETURNS text AS 'MODULE_PATHNAME', 'checked' LANGUAGE c IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION tasker_engine.checked(text, text, text) IS
'The value as it is; 22004 for NULL, 22023 where it is not a name of that kind: namespace, template, version, handler, worker id, dependent system, annotation type, remote id, plugin, plugin version, pool, queue, schedule, event, subscriber or description.';

CREATE OR REPLACE FUNCTION tasker_engine.shallow(document jsonb, parameter text)
RETURNS jsonb AS 'MODULE_PATHNAME', 'shallow' LANGUAGE c IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION tasker_engine.shallow(jsonb, text) IS
'The document as it is, NULL too; 22023 where it is nested deeper than a part of an event may be: 100 levels of objects and arrays.';

CREATE OR REPLACE FUNCTION tasker_engine.require_task(task_uuid uuid)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM tasker_engine.tasks t WHERE t.task_uuid = $1) THEN
        RAISE no_data_found USING
            MESSAGE = format('no task has the uuid %s', $1),
            DETAIL = 'There is no row with this task_uuid.',
            HINT = 'SELECT task_uuid FROM tasker.tasks lists the tasks you may see.';
    END IF;
END
$$;
COMMENT ON FUNCTION tasker_engine.require_task(uuid) IS 'Raises P0002 when there is no such task.';
