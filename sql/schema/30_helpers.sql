-- What the views are made of. The SQL functions are plain expressions without SET clauses, so that the planner can put
-- them in place; bodies that are parsed here (RETURN, not a string) ask no rights on schemas of who reads the view.
-- What may run and what a task stands at is decided in Rust (crates/rules/src/engine/readiness.rs).

-- ---- uuids ----------------------------------------------------------------------------------------------------------

CREATE FUNCTION tasker.step_uuid(task_uuid uuid, step_no smallint)
RETURNS uuid AS 'MODULE_PATHNAME', 'step_uuid' LANGUAGE c IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION tasker.step_uuid(uuid, smallint) IS
'The uuid of a step: the uuid of its task with the step''s number in the lowest 16 bits. 22023 for a negative number.';

CREATE FUNCTION tasker.step_task_uuid(step_uuid uuid)
RETURNS uuid AS 'MODULE_PATHNAME', 'step_task_uuid' LANGUAGE c IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION tasker.step_task_uuid(uuid) IS
'The uuid of the task that a step_uuid belongs to; no table is read. A task_uuid is returned as it is.';

CREATE FUNCTION tasker.step_number(step_uuid uuid)
RETURNS smallint AS 'MODULE_PATHNAME', 'step_number' LANGUAGE c IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION tasker.step_number(uuid) IS
'The number of the step that a step_uuid stands for, 1 and up; no table is read. 0 for a task_uuid.';

-- For readers who filter a view by step_uuid. The engine takes the uuid apart instead and uses the primary key.
CREATE UNIQUE INDEX steps_step_uuid ON tasker_engine.steps (tasker.step_uuid(task_uuid, step_no));
CREATE UNIQUE INDEX task_identities_task_uuid ON tasker_engine.task_identities (task_uuid);

-- ---- scopes ---------------------------------------------------------------------------------------------------------

-- A scope is a plain query that the planner puts in place; this is how it refuses NULL. IMMUTABLE, so that a constant
-- is checked once while planning and an index still serves the comparison.
CREATE FUNCTION tasker_engine.required(value anyelement, name text)
RETURNS anyelement AS 'MODULE_PATHNAME', 'required' LANGUAGE c IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION tasker_engine.required(anyelement, text) IS
'The value as it is; 22004 for NULL, with the name of the parameter.';

CREATE FUNCTION tasker_engine.known_state(state text)
RETURNS text AS 'MODULE_PATHNAME', 'known_state' LANGUAGE c IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION tasker_engine.known_state(text) IS
'The state as it is; 22023 for a text that is none of the six states. NULL for NULL.';

-- The same for what a scalar read found of a task.
CREATE FUNCTION tasker_engine.of_task(value anyelement, task_uuid uuid)
RETURNS anyelement AS 'MODULE_PATHNAME', 'of_task' LANGUAGE c IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION tasker_engine.of_task(anyelement, uuid) IS
'The value as it is. For NULL: P0002, no task has that uuid; 22004 without a uuid.';

GRANT EXECUTE ON FUNCTION tasker_engine.known_state(text), tasker_engine.of_task(anyelement, uuid) TO tasker_reader;

-- For functions in SQL: the same limits and sentences as in templates.
CREATE FUNCTION tasker_engine.checked(value text, kind text, parameter text)
RETURNS text AS 'MODULE_PATHNAME', 'checked' LANGUAGE c IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION tasker_engine.checked(text, text, text) IS
'The value as it is; 22004 for NULL, 22023 where it is no name of that kind: namespace, template, version, handler, worker id, dependent system, annotation type, remote id, plugin, plugin version, pool, queue, schedule or description.';

-- Task uuids are ascending in time, so the primary key also answers "created since".
CREATE FUNCTION tasker_engine.uuids_since(since timestamptz)
RETURNS uuid AS 'MODULE_PATHNAME', 'uuids_since' LANGUAGE c IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION tasker_engine.uuids_since(timestamptz) IS
'A uuid that no task created after the given time lies below; a minute of slack covers a clock that was set back. NULL for NULL.';

-- ---- the clock and the template's graph -----------------------------------------------------------------------------

-- STABLE, although it moves on, so that views stay flat for the planner. Not now(): what a transaction has just
-- released must be due in the same transaction.
CREATE FUNCTION tasker_engine.engine_clock()
RETURNS timestamptz AS 'MODULE_PATHNAME', 'engine_clock' LANGUAGE c STABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION tasker_engine.engine_clock() IS 'The instant that everything due is compared with.';

-- The graph lies in memory per backend; the rows of a template never change under one id.
CREATE FUNCTION tasker_engine.step_level(named_task_id integer, step_no smallint)
RETURNS integer AS 'MODULE_PATHNAME', 'step_level' LANGUAGE c STABLE SECURITY DEFINER COST 10
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.step_level(integer, smallint) IS
'Length of the longest path from a root of the template to the step; roots have 0.';

CREATE FUNCTION tasker_engine.step_min_depth(named_task_id integer, step_no smallint)
RETURNS integer AS 'MODULE_PATHNAME', 'step_min_depth' LANGUAGE c STABLE SECURITY DEFINER COST 10
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.step_min_depth(integer, smallint) IS
'Length of the shortest path from a root of the template to the step; roots have 0.';

-- ---- names ----------------------------------------------------------------------------------------------------------

CREATE FUNCTION tasker_engine.state_name(state "char")
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE state WHEN 'p' THEN 'pending' WHEN 'i' THEN 'in_progress' WHEN 'e' THEN 'error'
                      WHEN 'c' THEN 'complete' WHEN 'x' THEN 'cancelled' WHEN 'r' THEN 'resolved_manually' END;
COMMENT ON FUNCTION tasker_engine.state_name("char") IS 'The public name of a stored state; NULL for NULL.';

CREATE FUNCTION tasker_engine.full_name(namespace_name text, name text, version text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN namespace_name OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) name
           OPERATOR(pg_catalog.||) '@' OPERATOR(pg_catalog.||) version;
COMMENT ON FUNCTION tasker_engine.full_name(text, text, text) IS 'namespace.name@version, as templates are called everywhere.';

-- A view runs with its owner's rights on tables, but with its reader's on functions.
GRANT EXECUTE ON FUNCTION
    tasker_engine.required(anyelement, text), tasker_engine.uuids_since(timestamptz), tasker_engine.engine_clock(), tasker_engine.step_level(integer, smallint), tasker_engine.step_min_depth(integer, smallint),
    tasker_engine.state_name("char"), tasker_engine.full_name(text, text, text)
TO tasker_reader;
