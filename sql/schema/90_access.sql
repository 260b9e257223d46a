-- Closed by default: nothing for PUBLIC, and each role exactly what it works with. What the extension made belongs to
-- tasker_owner, which nobody is a member of: whoever owned it could put code of its own behind a name that others call.
-- What decides with whose rights a handler runs stays with the superuser (83_background.sql).
DO $$
DECLARE
    superusers CONSTANT text[] := ARRAY['tasker_engine.sql_handlers', 'tasker_engine.check_sql_handler()',
                                        'tasker_engine.call_handler(text,jsonb,oid,text)', 'tasker_engine.function_owner(text)'];
    bootstrap CONSTANT text := pg_catalog.pg_get_userbyid(10);
    member record;
BEGIN
    INSERT INTO pg_catalog.pg_default_acl SELECT p.* FROM tasker_engine.promised p;
    DROP TABLE tasker_engine.promised;
    FOR member IN
        SELECT o.kind, o.name, o.name OPERATOR(pg_catalog.=) ANY (superusers) AS superusers
        FROM pg_catalog.pg_extension e
        JOIN pg_catalog.pg_depend d
            ON d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
               AND d.refobjid OPERATOR(pg_catalog.=) e.oid AND d.deptype OPERATOR(pg_catalog.=) 'e'
        JOIN (SELECT 'pg_catalog.pg_class'::pg_catalog.regclass AS class, c.oid, c.oid::pg_catalog.regclass::text AS name,
                     CASE WHEN c.relkind OPERATOR(pg_catalog.=) 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind
              FROM pg_catalog.pg_class c
              UNION ALL
              SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid, p.oid::pg_catalog.regprocedure::text, 'FUNCTION'
              FROM pg_catalog.pg_proc p) o
            ON o.class OPERATOR(pg_catalog.=) d.classid AND o.oid OPERATOR(pg_catalog.=) d.objid
        WHERE e.extname OPERATOR(pg_catalog.=) 'tasker_ext'
        ORDER BY o.kind OPERATOR(pg_catalog.=) 'SEQUENCE', o.oid
    LOOP
        -- A sequence goes with the table that it counts for.
        IF member.kind OPERATOR(pg_catalog.<>) 'SEQUENCE' THEN
            EXECUTE pg_catalog.format('ALTER %s %s OWNER TO %I', member.kind, member.name,
                                      CASE WHEN member.superusers THEN bootstrap ELSE 'tasker_owner' END);
        END IF;
        -- After that: what is revoked is recorded, as it is then, as the privileges with which the extension comes.
        EXECUTE pg_catalog.format('REVOKE ALL ON %s %s FROM PUBLIC', member.kind, member.name);
    END LOOP;
END
$$;

GRANT SELECT ON tasker_engine.sql_handlers TO tasker_owner;
GRANT EXECUTE ON FUNCTION tasker_engine.function_owner(text) TO tasker_owner;
GRANT USAGE ON SCHEMA tasker_engine TO tasker_owner;

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
                'release_finalization_claim', 'finalize_task',
                -- What a worker that is gone has left: operators may report and give back for any role.
                'complete_step', 'fail_step', 'report_steps', 'heartbeat', 'release_steps']),
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

-- Schema tasker is no part of the extension, and neither is the extension's owner: a dump has what they are granted here.
-- An owner who is no superuser (a database's owner) administers the extension in this database, and only here:
-- membership in tasker_admin would reach into every other database of the cluster.
DO $$
DECLARE
    extowner CONSTANT text := (SELECT r.rolname FROM pg_catalog.pg_extension e
                               JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) e.extowner AND NOT r.rolsuper
                               WHERE e.extname OPERATOR(pg_catalog.=) 'tasker_ext');
BEGIN
    PERFORM tasker_engine.record_privileges(false);
    GRANT USAGE ON SCHEMA tasker TO tasker_owner, tasker_reader, tasker_worker, tasker_operator, tasker_admin;
    IF extowner IS NOT NULL THEN
        EXECUTE pg_catalog.format('GRANT USAGE ON SCHEMA tasker_engine TO %I', extowner);
        EXECUTE pg_catalog.format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA tasker, tasker_engine TO %I', extowner);
        -- To dump and restore it.
        EXECUTE pg_catalog.format('GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA tasker, tasker_engine TO %I', extowner);
        EXECUTE pg_catalog.format('GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA tasker, tasker_engine TO %I', extowner);
    END IF;
    PERFORM tasker_engine.record_privileges(true);
END
$$;
DROP FUNCTION tasker_engine.record_privileges(boolean);

-- A coordinator, if background processes are there.
DO $$
BEGIN
    IF NOT tasker_engine.wake_launcher() THEN
        RAISE WARNING 'tasker_ext has no background workers here'
            USING HINT = 'For schedules, timeouts and sql: handlers that run by themselves set shared_preload_libraries = ''tasker_ext'' and restart; otherwise call tasker.run_maintenance() and tasker.run_steps().';
    END IF;
END
$$;
