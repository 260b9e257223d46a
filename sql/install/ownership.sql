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
