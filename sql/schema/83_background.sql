-- The background processes. They live in shared memory: without shared_preload_libraries there are none.

CREATE FUNCTION tasker_engine.background_activity()
RETURNS TABLE (
    pid integer, database_oid oid, kind text, pool text, worker_id text, state text, started_at timestamptz,
    state_since timestamptz, busy_us bigint, steps bigint, failures bigint, step_uuid uuid, stop_by timestamptz)
AS 'MODULE_PATHNAME', 'background_activity' LANGUAGE c VOLATILE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.background_activity() IS 'The launcher, coordinators and executors of the cluster as they are now; no row without shared_preload_libraries.
pid: process id of the backend.
database_oid: the database it works in; 0 for the launcher.
kind: launcher, coordinator or executor.
pool: the executor''s pool; NULL for the others.
worker_id: under which an executor claims; NULL for the others.
state: starting, idle, busy, draining or stopping.
started_at: when the process started.
state_since: when it came into its state.
busy_us: time spent running steps since it started, microseconds.
steps: steps run since it started.
failures: of these, how many failed.
step_uuid: the step that an executor runs now; NULL if none.
stop_by: when a process that is to end will be terminated; NULL if it is not to end.';

CREATE FUNCTION tasker_engine.executor_restarts()
RETURNS TABLE (
    database_oid oid, pool text, ended bigint, in_a_row integer, last_ended_at timestamptz, next_start_at timestamptz)
AS 'MODULE_PATHNAME', 'executor_restarts' LANGUAGE c VOLATILE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.executor_restarts() IS 'Pools of the cluster whose executors ended unasked since the server started.';

-- ---- handlers inside the database -----------------------------------------------------------------------------------

-- Which function a step calls, and with whose rights. It stays with the superuser as whom the install script runs: the
-- engine's owner, to whom everything else belongs, could otherwise lend itself any role. For the same reason what runs as
-- that superuser calls nothing that belongs to the engine's owner. Rows come from register_template, which writes them as
-- the table's owner, and from a restore.
CREATE TABLE tasker_engine.sql_handlers (
    named_task_id integer NOT NULL REFERENCES tasker.named_tasks ON DELETE CASCADE,
    step_no smallint NOT NULL,
    handler text NOT NULL,
    role_name text NOT NULL,
    role_oid oid,
    function_owner text NOT NULL,
    function_owner_oid oid,
    PRIMARY KEY (named_task_id, step_no)
);
COMMENT ON TABLE tasker_engine.sql_handlers IS 'The function that each sql: step calls, the role with whose rights (the one that registered the template), and the role to whom the function must belong.';
COMMENT ON COLUMN tasker_engine.sql_handlers.named_task_id IS 'The template.';
COMMENT ON COLUMN tasker_engine.sql_handlers.step_no IS 'The step in it.';
COMMENT ON COLUMN tasker_engine.sql_handlers.handler IS 'sql: and the function, as the template says.';
COMMENT ON COLUMN tasker_engine.sql_handlers.role_name IS 'The name of the role with whose rights the function runs; for a dump. Maintenance refreshes it after a rename.';
COMMENT ON COLUMN tasker_engine.sql_handlers.role_oid IS 'That role: the oid decides. NULL if no role had the name when the row was restored; the step then fails.';
COMMENT ON COLUMN tasker_engine.sql_handlers.function_owner IS 'The name of the role to whom the function belonged when the template was registered, or role_name if there was no function then; for a dump.';
COMMENT ON COLUMN tasker_engine.sql_handlers.function_owner_oid IS 'That role: a function of another owner is not called. NULL if no role had the name when the row was restored.';

CREATE FUNCTION tasker_engine.check_sql_handler() RETURNS trigger
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.function_owner := coalesce(NEW.function_owner, NEW.role_name);
    -- A row from a dump or a publisher brings the oids of another cluster.
    IF TG_OP OPERATOR(pg_catalog.=) 'INSERT'
       OR pg_catalog.current_setting('session_replication_role') OPERATOR(pg_catalog.=) 'replica' THEN
        IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' AND NEW.role_name OPERATOR(pg_catalog.=) OLD.role_name THEN
            NEW.role_oid := OLD.role_oid;
        ELSE
            NEW.role_oid := (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) NEW.role_name);
        END IF;
        IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' AND NEW.function_owner OPERATOR(pg_catalog.=) OLD.function_owner THEN
            NEW.function_owner_oid := OLD.function_owner_oid;
        ELSE
            NEW.function_owner_oid := (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) NEW.function_owner);
        END IF;
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) current_user AND r.rolsuper)
       OR EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid OPERATOR(pg_catalog.=) NEW.role_oid
                  AND pg_catalog.pg_has_role(r.oid, 'MEMBER')) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a handler of role "%" cannot be restored by role "%"', NEW.role_name, current_user
        USING ERRCODE = 'insufficient_privilege',
              DETAIL = 'A handler inside the database runs with the rights of the role that registered its template.',
              HINT = 'Restore as a superuser or as a member of that role, or leave the table out and register the template again.';
END
$$;
COMMENT ON FUNCTION tasker_engine.check_sql_handler() IS 'Looks up the oids of the roles that a restored row of tasker_engine.sql_handlers names, and lets nobody write one for a role without having its rights (42501).';
CREATE TRIGGER check_sql_handler BEFORE INSERT OR UPDATE ON tasker_engine.sql_handlers
    FOR EACH ROW EXECUTE FUNCTION tasker_engine.check_sql_handler();
-- Also where a restore or a subscriber has switched triggers off.
ALTER TABLE tasker_engine.sql_handlers ENABLE ALWAYS TRIGGER check_sql_handler;

-- Names only: to_regprocedure would also read whatever types the text mentions.
CREATE FUNCTION tasker_engine.function_owner(handler text) RETURNS name
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    parts pg_catalog.name[];
BEGIN
    BEGIN
        parts := pg_catalog.parse_ident(handler);
    EXCEPTION WHEN invalid_parameter_value THEN
        RETURN NULL; -- It is no name; the step will say so.
    END;
    RETURN (SELECT r.rolname
            FROM pg_catalog.pg_proc p
            JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
            JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) p.proowner
            WHERE n.nspname OPERATOR(pg_catalog.=) parts[1] AND p.proname OPERATOR(pg_catalog.=) parts[2]
              AND pg_catalog.cardinality(parts) OPERATOR(pg_catalog.=) 2
              AND p.pronargs OPERATOR(pg_catalog.=) 1
              AND p.proargtypes[0] OPERATOR(pg_catalog.=) 'pg_catalog.jsonb'::pg_catalog.regtype);
END
$$;
COMMENT ON FUNCTION tasker_engine.function_owner(text) IS 'Whose function a handler is; NULL if there is none.
handler: schema-qualified name of a function of one jsonb.';

CREATE FUNCTION tasker_engine.refresh_handler_roles() RETURNS bigint
AS 'MODULE_PATHNAME', 'refresh_handler_roles' LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.refresh_handler_roles() IS 'Writes the new names of renamed roles into tasker_engine.sql_handlers, for the next dump; returns how many rows.';

-- Run as the handler's role, by src/background/handlers.rs alone. It stays with the superuser too.
CREATE FUNCTION tasker_engine.call_handler(handler text, argument jsonb, owner_oid oid, owner_name text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    callee pg_catalog.pg_proc;
    results jsonb;
    code text;
    problem text;
    details text;
    advice text;
    place text;
BEGIN
    -- Constraints that may wait would wait until other rights are in force.
    SET CONSTRAINTS ALL IMMEDIATE;
    BEGIN
        IF pg_catalog.strpos(handler, '.') OPERATOR(pg_catalog.=) 0 THEN
            RAISE EXCEPTION 'handler "sql:%" names no schema', handler
                USING ERRCODE = 'undefined_function', DETAIL = 'The search_path of a handler is pg_catalog, pg_temp.',
                      HINT = 'Write sql:<schema.function> in the template.';
        END IF;
        SELECT * INTO callee FROM pg_catalog.pg_proc p
        WHERE p.oid OPERATOR(pg_catalog.=) pg_catalog.to_regprocedure(handler OPERATOR(pg_catalog.||) '(jsonb)');
        IF NOT FOUND OR callee.prokind OPERATOR(pg_catalog.<>) 'f' OR callee.proretset
           OR callee.prorettype OPERATOR(pg_catalog.<>) ALL (ARRAY['jsonb'::pg_catalog.regtype, 'void'::pg_catalog.regtype]::pg_catalog.oid[]) THEN
            RAISE EXCEPTION 'no function %(jsonb) that returns jsonb or void', handler
                USING ERRCODE = 'undefined_function', DETAIL = 'It is the handler of the step.',
                      HINT = pg_catalog.format('CREATE FUNCTION %s(step jsonb) RETURNS jsonb ...', handler);
        END IF;
        -- Who may replace the function acts with the rights that it runs with.
        IF callee.proowner OPERATOR(pg_catalog.<>) owner_oid THEN
            RAISE EXCEPTION 'function %(jsonb) belongs to role "%", not to "%"', handler, pg_catalog.pg_get_userbyid(callee.proowner), owner_name
                USING ERRCODE = 'insufficient_privilege',
                      DETAIL = pg_catalog.format('It would run with the rights of role "%s", which trusted another owner when it registered the template.', current_user),
                      HINT = pg_catalog.format('ALTER FUNCTION %s(jsonb) OWNER TO %I, or trust the new owner: call register_template with replace => true as role %I.',
                                               handler, owner_name, current_user);
        END IF;
        -- regproc writes a name so that it is read back as the same function.
        IF callee.prorettype OPERATOR(pg_catalog.=) 'void'::pg_catalog.regtype THEN
            EXECUTE pg_catalog.format('SELECT %s($1)', callee.oid::pg_catalog.regproc) USING argument;
        ELSE
            EXECUTE pg_catalog.format('SELECT %s($1)', callee.oid::pg_catalog.regproc) INTO results USING argument;
        END IF;
        RETURN pg_catalog.jsonb_build_object('results', coalesce(results, '{}'));
    EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
        GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, problem = MESSAGE_TEXT, details = PG_EXCEPTION_DETAIL,
            advice = PG_EXCEPTION_HINT, place = PG_EXCEPTION_CONTEXT;
        RETURN pg_catalog.jsonb_build_object('sqlstate', code, 'message', problem, 'detail', nullif(details, ''),
                                             'hint', nullif(advice, ''), 'context', place);
    END;
END
$$;
COMMENT ON FUNCTION tasker_engine.call_handler(text, jsonb, oid, text) IS 'Calls a handler and undoes what it did if it fails: {"results": ...}, or {"sqlstate", "message", "detail", "hint", "context"}.
handler: schema-qualified name of a function of one jsonb that returns jsonb or void.
argument: what it is given.
owner_oid: the role to whom the function must belong.
owner_name: the name of that role.';

-- The cheap half of a claim by executors. SECURITY DEFINER and the pinned plans are those of claim_steps.
CREATE FUNCTION tasker_engine.claim_inside(
    worker_id text, namespaces text[], queues text[], max_steps integer, lease interval)
RETURNS TABLE (
    step_uuid uuid, task_uuid uuid, claim_number integer, attempt integer, retry_limit integer, namespace text,
    queue text, task_name text, version text, step_name text, handler text, handler_config jsonb, context jsonb,
    dependency_results jsonb, lease_expires_at timestamptz, correlation_id text, traceparent text)
AS 'MODULE_PATHNAME', 'claim_inside' LANGUAGE c VOLATILE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET enable_memoize = off SET enable_hashagg = off SET jit = off;
COMMENT ON FUNCTION tasker_engine.claim_inside(text, text[], text[], integer, interval) IS 'claim_steps for handlers inside the database: with the results of all ancestors, and without waiting for a NOTIFY afterwards.
namespaces: NULL for all.';

CREATE FUNCTION tasker_engine.take_steps(
    worker_id text, namespaces text[], queues text[], max_steps integer, lease interval)
RETURNS TABLE (step_uuid uuid, claim_number integer, full_name text, step_name text, argument jsonb)
LANGUAGE sql VOLATILE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT c.step_uuid, c.claim_number,
           pg_catalog.format('%s.%s@%s', c.namespace, c.task_name, c.version), c.step_name,
           pg_catalog.jsonb_build_object(
               'task_uuid', c.task_uuid, 'step_uuid', c.step_uuid, 'step_name', c.step_name, 'attempt', c.attempt,
               'context', c.context, 'dependency_results', coalesce(c.dependency_results, '{}'),
               'handler_config', c.handler_config)
    FROM tasker_engine.claim_inside(take_steps.worker_id, take_steps.namespaces, take_steps.queues, take_steps.max_steps,
                                    take_steps.lease) c;
END;
COMMENT ON FUNCTION tasker_engine.take_steps(text, text[], text[], integer, interval) IS 'Claims steps for handlers inside the database, with the argument of each.
full_name: namespace.name@version of the template.
argument: {task_uuid, step_uuid, step_name, attempt, context, dependency_results, handler_config}.';

CREATE FUNCTION tasker_engine.run_step(step_uuid uuid, claim_number integer, argument jsonb) RETURNS text
AS 'MODULE_PATHNAME', 'run_step' LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.run_step(uuid, integer, jsonb) IS 'Runs the handler of a claimed step with the rights of the role that registered its template, and reports the step: its state then. A handler''s error is the step''s, not the caller''s; a stale report undoes all (55006).';

CREATE FUNCTION tasker_engine.next_available(queue_ids integer[]) RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT pg_catalog.min(a.available_at)
    FROM pg_catalog.unnest(next_available.queue_ids) AS q (queue_id)
    CROSS JOIN pg_catalog.unnest('{1,2,3,4}'::smallint[]) AS p (priority)
    CROSS JOIN LATERAL (
        SELECT r.available_at FROM tasker_engine.queue_entries r
        WHERE r.queue_id OPERATOR(pg_catalog.=) q.queue_id AND r.priority OPERATOR(pg_catalog.=) p.priority
        ORDER BY r.available_at LIMIT 1) a;
END;
COMMENT ON FUNCTION tasker_engine.next_available(integer[]) IS 'When the first step of these queues is or comes due; NULL if none lies in them.';

CREATE FUNCTION tasker_engine.duty_orphans() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    orphans bigint[];
BEGIN
    -- Only where background processes are: elsewhere an executor's absence says nothing.
    IF NOT EXISTS (SELECT FROM tasker_engine.background_activity() a
                   WHERE a.kind OPERATOR(pg_catalog.=) 'coordinator'
                     AND a.database_oid OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())) THEN
        RETURN 0;
    END IF;
    orphans := ARRAY(
        SELECT c.claim_id
        FROM tasker_engine.claims c
        JOIN tasker_engine.workers w ON w.worker_no OPERATOR(pg_catalog.=) c.worker_no
        WHERE pg_catalog.starts_with(w.worker_id, 'tasker-executor/')
          AND c.lease_expires_at OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp()
          AND EXISTS (SELECT FROM unnest(c.task_uuids, c.step_nos) AS u (task_uuid, step_no)
                      JOIN tasker_engine.steps s
                          ON s.task_uuid OPERATOR(pg_catalog.=) u.task_uuid AND s.step_no OPERATOR(pg_catalog.=) u.step_no
                      WHERE s.claim_id OPERATOR(pg_catalog.=) c.claim_id AND s.state OPERATOR(pg_catalog.=) 'i')
          AND NOT EXISTS (SELECT FROM tasker_engine.background_activity() a
                          WHERE a.worker_id OPERATOR(pg_catalog.=) w.worker_id)
        ORDER BY c.claim_id LIMIT 100
        FOR UPDATE OF c SKIP LOCKED);
    IF pg_catalog.cardinality(orphans) OPERATOR(pg_catalog.=) 0 THEN
        RETURN 0;
    END IF;
    UPDATE tasker_engine.claims c SET lease_expires_at = pg_catalog.clock_timestamp()
    WHERE c.claim_id OPERATOR(pg_catalog.=) ANY (orphans);
    RETURN pg_catalog.cardinality(orphans);
END
$$;
COMMENT ON FUNCTION tasker_engine.duty_orphans() IS 'Ends the leases of executors that are gone; the steps are taken over as those of any lost worker. Returns how many leases; 0 without a coordinator.';

CREATE FUNCTION tasker_engine.wake_launcher() RETURNS boolean
AS 'MODULE_PATHNAME', 'wake_launcher' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.wake_launcher() IS 'When this transaction commits, the launcher starts a coordinator in this database; false without shared_preload_libraries.';

CREATE FUNCTION tasker.run_steps(
    max_steps integer DEFAULT 100, namespaces text[] DEFAULT NULL, queues text[] DEFAULT '{sql}')
RETURNS TABLE (step_uuid uuid, task_name text, step_name text, state text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 100 SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    taken record;
    ran integer := 0;
    any_left boolean;
    me text := pg_catalog.format('run_steps/%s', pg_catalog.pg_backend_pid());
BEGIN
    IF run_steps.max_steps IS NULL OR run_steps.queues IS NULL THEN
        RAISE EXCEPTION '% must not be null', CASE WHEN run_steps.max_steps IS NULL THEN 'max_steps' ELSE 'queues' END
            USING ERRCODE = 'null_value_not_allowed', DETAIL = 'The call gave NULL for it.',
                  HINT = 'Only parameters whose default is NULL accept NULL.';
    END IF;
    IF run_steps.max_steps NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'max_steps % is out of range', run_steps.max_steps
            USING ERRCODE = 'invalid_parameter_value', DETAIL = 'The range is 1 to 10000.',
                  HINT = 'Run 1 to 10,000 steps in one call.';
    END IF;
    WHILE ran OPERATOR(pg_catalog.<) run_steps.max_steps LOOP
        any_left := false;
        FOR taken IN
            SELECT * FROM tasker_engine.take_steps(
                me, run_steps.namespaces, run_steps.queues,
                least(run_steps.max_steps OPERATOR(pg_catalog.-) ran, 50), interval '1 hour')
        LOOP
            any_left := true;
            ran := ran OPERATOR(pg_catalog.+) 1;
            step_uuid := taken.step_uuid;
            task_name := taken.full_name;
            step_name := taken.step_name;
            state := tasker_engine.run_step(taken.step_uuid, taken.claim_number, taken.argument);
            RETURN NEXT;
        END LOOP;
        EXIT WHEN NOT any_left;
    END LOOP;
END
$$;
COMMENT ON FUNCTION tasker.run_steps(integer, text[], text[]) IS 'Runs ready steps whose handlers are functions of this database (sql:<schema.function>), as the executors do in the background: here in this session and this transaction, those that become ready meanwhile too, until none is ready. For servers without shared_preload_libraries, for pg_cron, and for trying a handler out. Each handler runs with the rights of the role that registered its template; its error fails its step, not the call. Rule: docs/background-workers.md#handlers.
max_steps: the most steps to run, 1 to 10,000.
namespaces: the namespaces to look into; NULL for all.
queues: the queues to look into; handlers inside the database lie in sql if the template names no other.
step_uuid: a step that was run.
task_name: its template as namespace.name@version.
step_name: its name.
state: its state now: complete, or error.';
GRANT EXECUTE ON FUNCTION tasker.run_steps(integer, text[], text[]) TO tasker_worker, tasker_operator;

CREATE VIEW tasker.background_workers AS
SELECT a.pid, a.kind, a.pool, a.worker_id, a.state, a.started_at, a.state_since,
       a.busy_us OPERATOR(pg_catalog./) 1000 AS busy_ms, a.steps, a.failures, a.step_uuid, a.stop_by
FROM tasker_engine.background_activity() a
WHERE a.kind OPERATOR(pg_catalog.=) 'launcher'
   OR a.database_oid OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database());
COMMENT ON VIEW tasker.background_workers IS 'The background processes that serve this database: the launcher of the server, the coordinator, the executors. No row means shared_preload_libraries does not name tasker_ext.';
COMMENT ON COLUMN tasker.background_workers.pid IS 'Process id, as in pg_stat_activity.';
COMMENT ON COLUMN tasker.background_workers.kind IS 'launcher, coordinator or executor.';
COMMENT ON COLUMN tasker.background_workers.pool IS 'The executor''s pool; NULL for the others.';
COMMENT ON COLUMN tasker.background_workers.worker_id IS 'Under which an executor claims steps; NULL for the others.';
COMMENT ON COLUMN tasker.background_workers.state IS 'starting, idle, busy (runs a step), draining (asked to end, finishes its step) or stopping.';
COMMENT ON COLUMN tasker.background_workers.started_at IS 'When the process started.';
COMMENT ON COLUMN tasker.background_workers.state_since IS 'When it came into its state.';
COMMENT ON COLUMN tasker.background_workers.busy_ms IS 'Time spent running steps since it started, milliseconds.';
COMMENT ON COLUMN tasker.background_workers.steps IS 'Steps run since it started.';
COMMENT ON COLUMN tasker.background_workers.failures IS 'How many of them failed.';
COMMENT ON COLUMN tasker.background_workers.step_uuid IS 'The step that an executor runs now; NULL if none.';
COMMENT ON COLUMN tasker.background_workers.stop_by IS 'When one that is to end will be terminated if it has not ended by itself; NULL if it is not to end.';

CREATE VIEW tasker.executor_restarts AS
SELECT r.pool, r.ended, r.in_a_row, r.last_ended_at,
       CASE WHEN r.next_start_at OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp() THEN r.next_start_at END AS next_start_at
FROM tasker_engine.executor_restarts() r
WHERE r.database_oid OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database());
GRANT EXECUTE ON FUNCTION tasker_engine.executor_restarts() TO tasker_reader; -- a view runs with its reader's rights on functions
COMMENT ON VIEW tasker.executor_restarts IS 'Pools whose executors ended unasked since the server started: a handler ended its process, say, or somebody terminated it. The coordinator starts others, after a pause that doubles from 1 second to a minute while they go on ending. Rule: docs/background-workers.md#executors.';
COMMENT ON COLUMN tasker.executor_restarts.pool IS 'Name of the pool.';
COMMENT ON COLUMN tasker.executor_restarts.ended IS 'How many executors ended unasked.';
COMMENT ON COLUMN tasker.executor_restarts.in_a_row IS 'How many of them since one lived for a minute.';
COMMENT ON COLUMN tasker.executor_restarts.last_ended_at IS 'When the last one was found to have ended.';
COMMENT ON COLUMN tasker.executor_restarts.next_start_at IS 'Before this none is started; NULL if the pause is over.';
