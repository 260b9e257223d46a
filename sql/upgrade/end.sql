-- Privileges: as they were before the script, and what this version grants more or less than the one before. A function or view
-- that took the place of another one has those of this version, and what was granted on the other one or revoked from it.
DO $$
DECLARE
    change record;
    missing CONSTANT text := (SELECT string_agg(m.successor, ', ') FROM tasker_engine.script_members m
                              WHERE m.successor IS NOT NULL AND tasker_engine.script_successor(m) IS NULL);
BEGIN
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'the script does not make %', missing;
    END IF;
    PERFORM tasker_engine.record_privileges(false);
    UPDATE pg_class c SET relacl = m.acl FROM tasker_engine.script_members m
        WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid AND c.relacl IS DISTINCT FROM m.acl;
    UPDATE pg_proc p SET proacl = m.acl FROM tasker_engine.script_members m
        WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid AND p.proacl IS DISTINCT FROM m.acl;
    UPDATE pg_namespace n SET nspacl = m.acl FROM tasker_engine.script_members m
        WHERE m.classid = 'pg_namespace'::regclass AND m.objid = n.oid AND n.nspacl IS DISTINCT FROM m.acl;
    FOR change IN
        WITH objects AS (
            SELECT 'pg_class'::regclass AS class, c.oid, c.oid::regclass::text AS name,
                   CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind,
                   acldefault(CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, c.relowner) AS by_default
            FROM pg_class c
            UNION ALL
            SELECT 'pg_proc'::regclass, p.oid, p.oid::regprocedure::text, 'FUNCTION', acldefault('f', p.proowner) FROM pg_proc p
            UNION ALL
            SELECT 'pg_namespace'::regclass, n.oid, quote_ident(n.nspname), 'SCHEMA', acldefault('n', n.nspowner) FROM pg_namespace n),
        changed AS (
            SELECT o.kind, o.name, coalesce(m.initial, o.by_default) AS before,
                   coalesce(CASE WHEN m.successor IS NULL THEN i.initprivs ELSE m.acl END, o.by_default) AS after
            FROM tasker_engine.script_members m
            JOIN objects o ON o.class = m.classid AND o.oid = coalesce(tasker_engine.script_successor(m), m.objid)
            LEFT JOIN pg_init_privs i ON i.classoid = o.class AND i.objoid = o.oid AND i.objsubid = 0)
        SELECT false AS given, c.kind, c.name, x.grantee, x.privilege_type, false AS is_grantable
        FROM changed c, aclexplode(c.before) x
        WHERE NOT EXISTS (SELECT FROM aclexplode(c.after) y WHERE (y.grantee, y.privilege_type) = (x.grantee, x.privilege_type))
        UNION ALL
        SELECT true, c.kind, c.name, y.grantee, y.privilege_type, y.is_grantable
        FROM changed c, aclexplode(c.after) y
        WHERE NOT EXISTS (SELECT FROM aclexplode(c.before) x
                          WHERE (x.grantee, x.privilege_type, x.is_grantable) = (y.grantee, y.privilege_type, y.is_grantable))
        UNION ALL
        SELECT true, 'TABLE', c.view, x.grantee, format('%s (%I)', x.privilege_type, c.name), x.is_grantable
        FROM tasker_engine.script_columns c
        JOIN pg_attribute a ON a.attrelid = to_regclass(c.view) AND a.attname = c.name, aclexplode(c.acl) x
        ORDER BY 1
    LOOP
        EXECUTE format(CASE WHEN change.given THEN 'GRANT %s ON %s %s TO %s' ELSE 'REVOKE %s ON %s %s FROM %s' END,
                       change.privilege_type, change.kind, change.name,
                       CASE change.grantee WHEN 0 THEN 'PUBLIC' ELSE change.grantee::regrole::text END)
                || CASE WHEN change.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END;
    END LOOP;
    PERFORM tasker_engine.record_privileges(true);
END
$$;
DROP FUNCTION tasker_engine.script_replace_function(regprocedure, text);
DROP FUNCTION tasker_engine.script_replace_view(regclass);
DROP FUNCTION tasker_engine.script_replace(oid, oid, text);
DROP FUNCTION tasker_engine.script_dependents(oid, oid);
DROP TABLE tasker_engine.script_columns;
