-- Closed by default: nothing for PUBLIC, and each role exactly what it works with. What the extension made belongs to
-- tasker_owner, which has no members: a role that owned it could put code of its own behind a name that others call.
-- What decides with whose rights a handler runs stays with the superuser (functions/sql_handlers.sql, tables/sql_handlers.sql).
DO $$
DECLARE
    superusers CONSTANT text[] := ARRAY['tasker_engine.sql_handlers', 'tasker_engine.check_sql_handler()',
                                        'tasker_engine.call_handler(text,jsonb,oid,text)', 'tasker_engine.function_owner(text)'];
    bootstrap CONSTANT text := pg_get_userbyid(10);
    member record;
BEGIN
    INSERT INTO pg_default_acl SELECT p.* FROM tasker_engine.promised p;
    DROP TABLE tasker_engine.promised;
    FOR member IN
        SELECT o.kind, o.name, o.name = ANY (superusers) AS superusers
        FROM pg_extension e
        JOIN pg_depend d
            ON d.refclassid = 'pg_extension'::regclass
               AND d.refobjid = e.oid AND d.deptype = 'e'
        JOIN (SELECT 'pg_class'::regclass AS class, c.oid, c.oid::regclass::text AS name,
                     CASE WHEN c.relkind = 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind
              FROM pg_class c
              UNION ALL
              SELECT 'pg_proc'::regclass, p.oid, p.oid::regprocedure::text, 'FUNCTION'
              FROM pg_proc p) o
            ON o.class = d.classid AND o.oid = d.objid
        WHERE e.extname = 'tasker_ext'
        ORDER BY o.kind = 'SEQUENCE', o.oid
    LOOP
        -- A sequence goes with the table that it counts for.
        IF member.kind <> 'SEQUENCE' THEN
            EXECUTE format('ALTER %s %s OWNER TO %I', member.kind, member.name,
                                      CASE WHEN member.superusers THEN bootstrap ELSE 'tasker_owner' END);
        END IF;
        -- After that: what is revoked is recorded, as it is then, as the privileges with which the extension comes.
        EXECUTE format('REVOKE ALL ON %s %s FROM PUBLIC', member.kind, member.name);
    END LOOP;
END
$$;
