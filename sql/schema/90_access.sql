-- Closed by default: nothing for PUBLIC, and each role exactly what it works with. What the extension made belongs to
-- tasker_admin, not to the superuser as whom a trusted install runs: a SECURITY DEFINER function can do no more than
-- that role.
DO $$
DECLARE
    member text;
BEGIN
    FOR member IN
        SELECT c.oid::pg_catalog.regclass::text
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
        WHERE n.nspname OPERATOR(pg_catalog.=) ANY (ARRAY['tasker', 'tasker_engine']::pg_catalog.name[])
          AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'v']::"char"[])
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON %s FROM PUBLIC', member);
        CONTINUE WHEN member OPERATOR(pg_catalog.=) 'tasker_engine.sql_handlers';
        EXECUTE pg_catalog.format('ALTER TABLE %s OWNER TO tasker_admin', member);
    END LOOP;
    FOR member IN
        SELECT p.oid::pg_catalog.regprocedure::text
        FROM pg_catalog.pg_proc p
        JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
        WHERE n.nspname OPERATOR(pg_catalog.=) ANY (ARRAY['tasker', 'tasker_engine']::pg_catalog.name[])
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', member);
        -- What decides with whose rights a handler runs stays with the superuser (83_background.sql).
        CONTINUE WHEN member OPERATOR(pg_catalog.=) ANY (ARRAY[
            'tasker_engine.call_handler(text,jsonb)', 'tasker_engine.check_sql_handler()']);
        EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO tasker_admin', member);
    END LOOP;
END
$$;

GRANT SELECT ON tasker_engine.sql_handlers TO tasker_admin;

REVOKE ALL ON SCHEMA tasker, tasker_engine FROM PUBLIC;
ALTER SCHEMA tasker_engine OWNER TO tasker_admin;
GRANT USAGE ON SCHEMA tasker TO tasker_reader, tasker_worker, tasker_operator, tasker_admin;

-- Views and the tables of templates; what runs inside a view's text must be executable by its reader.
GRANT SELECT ON ALL TABLES IN SCHEMA tasker TO tasker_reader;

DO $$
DECLARE
    granted record;
    member text;
BEGIN
    FOR granted IN
        SELECT * FROM (VALUES
            ('tasker_worker', ARRAY[
                'create_task', 'create_tasks', 'claim_steps', 'complete_step', 'fail_step', 'report_steps',
                'report_and_claim', 'heartbeat', 'release_steps', 'get_dependency_results',
                'get_task_execution_context', 'notify_channel']),
            ('tasker_operator', ARRAY[
                'create_task', 'create_tasks', 'cancel_task', 'retry_task', 'resolve_task_manually',
                'resolve_step_manually', 'retry_step', 'cancel_step', 'set_retry_limit', 'pause_namespace',
                'resume_namespace', 'transition_task', 'transition_step', 'try_transition_task',
                'try_transition_step', 'claim_task_for_finalization', 'extend_finalization_claim',
                'release_finalization_claim', 'finalize_task']),
            ('tasker_admin', ARRAY['register_template']),
            ('tasker_reader', ARRAY[
                'validate_template', 'export_template', 'get_dependency_results', 'get_step_readiness_status',
                'get_step_readiness_status_batch', 'get_task_execution_context',
                'get_task_execution_contexts_batch', 'calculate_dependency_levels', 'calculate_backoff',
                'task_diagram', 'template_diagram', 'step_uuid', 'step_task_uuid', 'step_number'])
        ) AS g (role_name, functions)
    LOOP
        FOR member IN
            SELECT p.oid::pg_catalog.regprocedure::text
            FROM pg_catalog.pg_proc p
            WHERE p.pronamespace OPERATOR(pg_catalog.=) 'tasker'::pg_catalog.regnamespace
              AND p.proname::text OPERATOR(pg_catalog.=) ANY (granted.functions)
        LOOP
            EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO %I', member, granted.role_name);
        END LOOP;
    END LOOP;
END
$$;

-- Every table and sequence holds data that belongs into a dump. One call at a time: each updates the same row.
DO $$
DECLARE
    member pg_catalog.oid;
BEGIN
    FOR member IN
        SELECT c.oid
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
        WHERE n.nspname OPERATOR(pg_catalog.=) ANY (ARRAY['tasker', 'tasker_engine']::pg_catalog.name[])
          AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'S']::"char"[])
        ORDER BY c.oid
    LOOP
        PERFORM pg_catalog.pg_extension_config_dump(member, '');
    END LOOP;
END
$$;

-- Who installs it without being a superuser (a database's owner) administers it in this database, and only here:
-- membership in tasker_admin would reach into every other database of the cluster.
DO $$
BEGIN
    IF NOT (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) session_user) THEN
        EXECUTE pg_catalog.format('GRANT USAGE ON SCHEMA tasker_engine TO %I', session_user);
        EXECUTE pg_catalog.format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA tasker, tasker_engine TO %I', session_user);
        -- To dump and restore it.
        EXECUTE pg_catalog.format('GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA tasker, tasker_engine TO %I', session_user);
        EXECUTE pg_catalog.format('GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA tasker, tasker_engine TO %I',
                                  session_user);
    END IF;
END
$$;

-- A coordinator, if background processes are there.
DO $$
BEGIN
    IF NOT tasker_engine.wake_launcher() THEN
        RAISE WARNING 'tasker_ext has no background workers here'
            USING HINT = 'For schedules, timeouts and sql: handlers that run by themselves set shared_preload_libraries = ''tasker_ext'' and restart; otherwise call tasker.run_maintenance() and tasker.run_steps().';
    END IF;
END
$$;
