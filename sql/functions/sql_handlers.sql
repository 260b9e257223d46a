-- Running the steps whose handlers are functions of this database.

-- Names only: to_regprocedure would also read whatever types the text mentions.
CREATE OR REPLACE FUNCTION tasker_engine.function_owner(handler text) RETURNS name
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    parts name[];
BEGIN
    BEGIN
        parts := parse_ident(handler);
    EXCEPTION WHEN invalid_parameter_value THEN
        RETURN NULL; -- It is no name; the step will say so.
    END;
    RETURN (SELECT r.rolname
            FROM pg_proc p
            JOIN pg_namespace n ON n.oid = p.pronamespace
            JOIN pg_roles r ON r.oid = p.proowner
            WHERE n.nspname = parts[1] AND p.proname = parts[2]
              AND cardinality(parts) = 2
              AND p.pronargs = 1 AND p.prokind = 'f' AND NOT p.proretset AND p.prorettype IN ('jsonb'::regtype, 'void'::regtype)
              AND p.proargtypes[0] = 'jsonb'::regtype);
END
$$;
COMMENT ON FUNCTION tasker_engine.function_owner(text) IS 'The owner of the function that a handler names; NULL if there is none.
handler: schema-qualified name of a function of one jsonb.';
GRANT EXECUTE ON FUNCTION tasker_engine.function_owner(text) TO tasker_owner;

-- Run as the handler's role, by src/functions/sql_handlers.rs alone. It belongs to the superuser, as the table tasker_engine.sql_handlers does.
CREATE OR REPLACE FUNCTION tasker_engine.call_handler(handler text, argument jsonb, owner_oid oid, owner_name text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    callee pg_proc;
    results jsonb;
    code text;
    problem text;
    details text;
    advice text;
    place text;
    of_subscriber CONSTANT boolean := jsonb_typeof(argument) = 'array';
BEGIN
    -- Constraints that may wait would wait until other rights are in force.
    SET CONSTRAINTS ALL IMMEDIATE;
    BEGIN
        IF strpos(handler, '.') = 0 THEN
            RAISE EXCEPTION 'handler "sql:%" names no schema', handler
                USING ERRCODE = 'undefined_function', DETAIL = 'The search_path of a handler is pg_catalog, pg_temp.',
                      HINT = 'Write sql:<schema.function> in the template.';
        END IF;
        SELECT * INTO callee FROM pg_proc p
        WHERE p.oid = to_regprocedure(handler || '(jsonb)');
        IF NOT FOUND OR callee.prokind <> 'f' OR callee.proretset
           OR callee.prorettype <> ALL (ARRAY['jsonb'::regtype, 'void'::regtype]::oid[]) THEN
            RAISE EXCEPTION 'no function %(jsonb) that returns jsonb or void', handler
                USING ERRCODE = 'undefined_function', DETAIL = CASE WHEN of_subscriber THEN 'It is the handler of the subscriber.' ELSE 'It is the handler of the step.' END,
                      HINT = CASE WHEN of_subscriber THEN format('CREATE FUNCTION %s(events jsonb) RETURNS void ...', handler)
                                  ELSE format('CREATE FUNCTION %s(step jsonb) RETURNS jsonb ...', handler) END;
        END IF;
        -- A role that can replace the function acts with the rights that it runs with.
        IF callee.proowner <> owner_oid THEN
            RAISE EXCEPTION 'function %(jsonb) belongs to role "%", not to "%"', handler, pg_get_userbyid(callee.proowner), owner_name
                USING ERRCODE = 'insufficient_privilege',
                      DETAIL = format('It would run with the rights of role "%s", which trusted another owner when it %s.', current_user,
                                      CASE WHEN of_subscriber THEN 'subscribed' ELSE 'registered the template' END),
                      HINT = format('ALTER FUNCTION %s(jsonb) OWNER TO %I, or trust the new owner: call %s as role %I.', handler, owner_name,
                                    CASE WHEN of_subscriber THEN 'subscribe with the handler again' ELSE 'register_template with replace => true' END, current_user);
        END IF;
        -- regproc writes a name so that it is read back as the same function.
        IF callee.prorettype = 'void'::regtype THEN
            EXECUTE format('SELECT %s($1)', callee.oid::regproc) USING argument;
        ELSE
            EXECUTE format('SELECT %s($1)', callee.oid::regproc) INTO results USING argument;
        END IF;
        RETURN jsonb_build_object('results', coalesce(results, '{}'));
    EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
        GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, problem = MESSAGE_TEXT, details = PG_EXCEPTION_DETAIL,
            advice = PG_EXCEPTION_HINT, place = PG_EXCEPTION_CONTEXT;
        RETURN jsonb_build_object('sqlstate', code, 'message', problem, 'detail', nullif(details, ''),
                                             'hint', nullif(advice, ''), 'context', place);
    END;
END
$$;
COMMENT ON FUNCTION tasker_engine.call_handler(text, jsonb, oid, text) IS 'Calls a handler and undoes what it did if it fails: {"results": ...}, or {"sqlstate", "message", "detail", "hint", "context"}.
handler: schema-qualified name of a function of one jsonb that returns jsonb or void.
argument: what it is given.
owner_oid: the role that must own the function.
owner_name: the name of that role.';

CREATE OR REPLACE FUNCTION tasker_engine.take_steps(
    worker_id text, namespaces text[], queues text[], max_steps integer, lease interval)
RETURNS TABLE (step_uuid uuid, claim_number integer, full_name text, step_name text, argument jsonb)
LANGUAGE sql VOLATILE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT c.step_uuid, c.claim_number,
           format('%s.%s@%s', c.namespace, c.task_name, c.version), c.step_name,
           jsonb_build_object(
               'task_uuid', c.task_uuid, 'step_uuid', c.step_uuid, 'step_name', c.step_name, 'attempt', c.attempt,
               'context', c.context, 'dependency_results', coalesce(c.dependency_results, '{}'),
               'handler_config', c.handler_config, 'traceparent', c.traceparent, 'tracestate', c.tracestate)
    FROM tasker_engine.claim_inside(take_steps.worker_id, take_steps.namespaces, take_steps.queues, take_steps.max_steps,
                                    take_steps.lease) c;
END;
COMMENT ON FUNCTION tasker_engine.take_steps(text, text[], text[], integer, interval) IS 'Claims steps for handlers inside the database, with the argument of each.
full_name: namespace.name@version of the template.
argument: {task_uuid, step_uuid, step_name, attempt, context, dependency_results, handler_config, traceparent, tracestate}.';

CREATE OR REPLACE FUNCTION tasker_engine.run_step(step_uuid uuid, claim_number integer, argument jsonb) RETURNS text
AS 'MODULE_PATHNAME', 'run_step' LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.run_step(uuid, integer, jsonb) IS 'Runs the handler of a claimed step with the rights of the role that registered its template, and reports the step: its state then. A handler''s error is the step''s, not the caller''s; a stale report undoes all (55006).';

CREATE OR REPLACE FUNCTION tasker_engine.next_available(queue_ids integer[]) RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT min(a.available_at)
    FROM unnest(next_available.queue_ids) AS q (queue_id)
    CROSS JOIN unnest('{1,2,3,4}'::smallint[]) AS p (priority)
    CROSS JOIN LATERAL (
        SELECT r.available_at FROM tasker_engine.queue_entries r
        WHERE r.queue_id = q.queue_id AND r.priority = p.priority AND (r.handler_key < 0 OR r.handler_key IS NULL)
          AND r.available_at > tasker_engine.engine_clock() - interval '5 seconds'
        ORDER BY r.available_at LIMIT 1) a;
END;
COMMENT ON FUNCTION tasker_engine.next_available(integer[]) IS 'When the next step of these queues with a handler inside the database becomes due, or became due in the last seconds; NULL if there is none.';

CREATE OR REPLACE FUNCTION tasker_engine.duty_orphans() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    orphans bigint[];
    events bigint;
BEGIN
    -- Only where background processes are: elsewhere an executor's absence says nothing.
    IF NOT EXISTS (SELECT FROM tasker_engine.background_activity() a
                   WHERE a.kind = 'coordinator'
                     AND a.database_oid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())) THEN
        RETURN 0;
    END IF;
    events := tasker_engine.return_lost_events();
    orphans := ARRAY(
        SELECT c.claim_id
        FROM tasker_engine.claims c
        JOIN tasker_engine.workers w ON w.worker_no = c.worker_no
        WHERE starts_with(w.worker_id, 'tasker-executor/')
          AND c.lease_expires_at > clock_timestamp()
          AND EXISTS (SELECT FROM unnest(c.task_uuids, c.step_nos) AS u (task_uuid, step_no)
                      JOIN tasker_engine.steps s
                          ON s.task_uuid = u.task_uuid AND s.step_no = u.step_no
                      WHERE s.claim_id = c.claim_id AND s.state = 'i')
          AND NOT EXISTS (SELECT FROM tasker_engine.background_activity() a
                          WHERE a.worker_id = w.worker_id)
        ORDER BY c.claim_id LIMIT 100
        FOR UPDATE OF c SKIP LOCKED);
    IF cardinality(orphans) = 0 THEN
        RETURN events;
    END IF;
    UPDATE tasker_engine.claims c SET lease_expires_at = clock_timestamp()
    WHERE c.claim_id = ANY (orphans);
    RETURN cardinality(orphans) + events;
END
$$;
COMMENT ON FUNCTION tasker_engine.duty_orphans() IS 'Ends the leases of executors that are gone; the steps are taken over as those of any lost worker, and the events come again. Returns the number of leases and events; 0 without a coordinator.';

CREATE OR REPLACE FUNCTION tasker.run_steps(
    max_steps integer DEFAULT 100, namespaces text[] DEFAULT NULL, queues text[] DEFAULT '{sql}')
RETURNS TABLE (step_uuid uuid, task_name text, step_name text, state text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 100 SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    taken record;
    ran integer := 0;
    any_left boolean;
    me text := format('run_steps/%s', pg_backend_pid());
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
    WHILE ran < run_steps.max_steps LOOP
        any_left := false;
        FOR taken IN
            SELECT * FROM tasker_engine.take_steps(
                me, run_steps.namespaces, run_steps.queues,
                least(run_steps.max_steps - ran, 50), interval '1 hour')
        LOOP
            any_left := true;
            ran := ran + 1;
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
queues: the queues to look into; handlers inside the database are in queue sql if the template names no other.
step_uuid: a step that was run.
task_name: its template as namespace.name@version.
step_name: its name.
state: its state now: complete, or error.';
GRANT EXECUTE ON FUNCTION tasker.run_steps(integer, text[], text[]) TO tasker_worker, tasker_operator;
