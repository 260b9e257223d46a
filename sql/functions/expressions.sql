-- What the views are made of: plain expressions without SET clauses, so that the planner can put them in place. Bodies that
-- are parsed here (RETURN, not a string) need no rights on schemas from the role that reads the view. A view runs with its
-- owner's rights on tables, but with its reader's on functions: therefore the GRANTs.

-- STABLE, although it moves on, so that views stay flat for the planner. Not now(): what a transaction has just
-- released must be due in the same transaction.
CREATE OR REPLACE FUNCTION tasker_engine.engine_clock()
RETURNS timestamptz AS 'MODULE_PATHNAME', 'engine_clock' LANGUAGE c STABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION tasker_engine.engine_clock() IS 'The time with which every due time is compared.';
GRANT EXECUTE ON FUNCTION tasker_engine.engine_clock() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.state_name(state "char")
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE state WHEN 'p' THEN 'pending' WHEN 'i' THEN 'in_progress' WHEN 'e' THEN 'error'
                      WHEN 'c' THEN 'complete' WHEN 'x' THEN 'cancelled' WHEN 'r' THEN 'resolved_manually' END;
COMMENT ON FUNCTION tasker_engine.state_name("char") IS 'The public name of a stored state; NULL for NULL.';
GRANT EXECUTE ON FUNCTION tasker_engine.state_name("char") TO tasker_reader;

-- The rule itself is tasker_rules::engine::readiness::can_still_run; a test compares both.
CREATE OR REPLACE FUNCTION tasker_engine.can_still_run(state "char", available_at timestamptz, unreachable boolean)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN state = 'i' OR NOT unreachable AND (state = 'p' OR state = 'e' AND available_at IS NOT NULL);
COMMENT ON FUNCTION tasker_engine.can_still_run("char", timestamptz, boolean) IS
'Whether a step in this state runs, or may still run without an operator: in progress, or reachable and either pending or in error with a retry scheduled.';
GRANT EXECUTE ON FUNCTION tasker_engine.can_still_run("char", timestamptz, boolean) TO tasker_reader;

-- A held step has an available_at that never comes: NEVER in the same file.
CREATE OR REPLACE FUNCTION tasker_engine.waits_for_operator(state "char", available_at timestamptz)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN state = 'e' AND available_at IS NULL OR state IN ('p', 'e') AND coalesce(available_at = 'infinity', false);
COMMENT ON FUNCTION tasker_engine.waits_for_operator("char", timestamptz) IS
'Whether a step in this state starts only after an operator has done something: it failed permanently, or it is held because its task ended in error.';
GRANT EXECUTE ON FUNCTION tasker_engine.waits_for_operator("char", timestamptz) TO tasker_reader;

-- The rule itself is tasker_rules::engine::retry::Attempts::left, without the question whether the failure was retryable; a
-- test compares both.
CREATE OR REPLACE FUNCTION tasker_engine.attempts_left(attempts integer, retry_limit integer)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN attempts < retry_limit;
COMMENT ON FUNCTION tasker_engine.attempts_left(integer, integer) IS
'Whether a step that has had these attempts has another one within its retry_limit. Whether its failure is retryable is not asked.';
GRANT EXECUTE ON FUNCTION tasker_engine.attempts_left(integer, integer) TO tasker_reader;

-- is_done and is_open: the rules themselves are is_finished_good and is_open of tasker_rules::engine::state; a test compares both.
CREATE OR REPLACE FUNCTION tasker_engine.is_done(state "char")
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN state IN ('c', 'r');
COMMENT ON FUNCTION tasker_engine.is_done("char") IS 'Whether a step in this state satisfies the steps that need it: complete or resolved_manually.';
GRANT EXECUTE ON FUNCTION tasker_engine.is_done("char") TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.is_open(state "char")
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN state IN ('p', 'i');
COMMENT ON FUNCTION tasker_engine.is_open("char") IS 'Whether a task in this state has not ended: pending or in_progress.';
GRANT EXECUTE ON FUNCTION tasker_engine.is_open("char") TO tasker_reader;

-- The rule itself is tasker_rules::engine::readiness::entry_agrees; a test compares both.
CREATE OR REPLACE FUNCTION tasker_engine.entry_agrees(state "char", available_at timestamptz, entry_available_at timestamptz)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN state = 'p' AND available_at IS NULL
        OR state IN ('p', 'e') AND available_at = entry_available_at;
COMMENT ON FUNCTION tasker_engine.entry_agrees("char", timestamptz, timestamptz) IS
'Whether an entry of tasker_engine.queue_entries with this available_at agrees with its step''s row, so that a claim can start the step: the step is pending or in error and has the same available_at, or it is pending and has none. NULL means no.
state: the step''s state.
available_at: the step''s available_at.
entry_available_at: the entry''s available_at.';
GRANT EXECUTE ON FUNCTION tasker_engine.entry_agrees("char", timestamptz, timestamptz) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.full_name(namespace_name text, name text, version text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN namespace_name || '.' || name
           || '@' || version;
COMMENT ON FUNCTION tasker_engine.full_name(text, text, text) IS 'namespace.name@version, the full name of a template.';
GRANT EXECUTE ON FUNCTION tasker_engine.full_name(text, text, text) TO tasker_reader;

-- float8 and not interval: millions of them are sorted for percentiles.
CREATE OR REPLACE FUNCTION tasker_engine.duration(span interval)
RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN date_part('epoch', span);
COMMENT ON FUNCTION tasker_engine.duration(interval) IS 'The interval in seconds; NULL for NULL.';

CREATE OR REPLACE FUNCTION tasker_engine.seconds(duration double precision)
RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN round(duration::numeric, 3);
COMMENT ON FUNCTION tasker_engine.seconds(double precision) IS 'Seconds rounded to milliseconds; NULL for NULL.';

CREATE OR REPLACE FUNCTION tasker_engine.percentage(part bigint, whole bigint)
RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN whole = 0 THEN 0.00
                ELSE round(part::numeric * 100 / whole::numeric, 2) END;
COMMENT ON FUNCTION tasker_engine.percentage(bigint, bigint) IS 'part as a percentage of whole, 0.00 to 100.00; 0.00 if whole is 0.';

-- The rule itself is tasker_rules::engine::handler_key.
CREATE OR REPLACE FUNCTION tasker_engine.handler_key(handler text)
RETURNS bigint AS 'MODULE_PATHNAME', 'handler_key' LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.handler_key(text) IS 'The number under which a queue finds the steps of a handler: negative for handlers inside the database (sql:), positive for others, never 0.
handler: name of the handler.';
GRANT EXECUTE ON FUNCTION tasker_engine.handler_key(text) TO tasker_reader;
