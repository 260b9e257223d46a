-- Every session looks again which version the extension has once this row has changed, this one at once.
UPDATE pg_namespace SET nspname = nspname WHERE nspname = 'tasker_engine';

INSERT INTO tasker_engine.script_promised
    SELECT d.* FROM pg_default_acl d
    WHERE d.defaclrole = (SELECT r.oid FROM pg_roles r WHERE r.rolname = current_user)
      AND d.defaclnamespace = ANY (ARRAY['tasker', 'tasker_engine']::regnamespace[]);
DELETE FROM pg_default_acl d USING tasker_engine.script_promised p WHERE d.oid = p.oid;

-- The privileges of each object, as they may have been changed, are set aside. While the script runs it has those with which it
-- came, so that what the script grants makes it, and what is recorded of it (pg_init_privs), as in an installation of this version.
-- end.sql puts both together.
INSERT INTO tasker_engine.script_members (classid, objid, acl, initial)
    SELECT d.classid, d.objid, o.acl, i.initprivs
    FROM pg_extension e
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    JOIN (SELECT 'pg_class'::regclass AS class, c.oid, c.oid::regclass::text AS name, c.relacl AS acl FROM pg_class c
          UNION ALL
          SELECT 'pg_proc'::regclass, p.oid, p.oid::regprocedure::text, p.proacl FROM pg_proc p
          UNION ALL
          SELECT 'pg_namespace'::regclass, n.oid, n.nspname, n.nspacl FROM pg_namespace n) o
        ON o.class = d.classid AND o.oid = d.objid
    LEFT JOIN pg_init_privs i ON i.classoid = d.classid AND i.objoid = d.objid AND i.objsubid = 0
    WHERE e.extname = 'tasker_ext' AND NOT starts_with(o.name, 'tasker_engine.script_')
      AND o.name <> 'tasker_engine.record_privileges(boolean)';

-- Sessions that loaded the old library have finished before anything changes, and what they begin from here on is refused.
DO $$
DECLARE
    member record;
BEGIN
    FOR member IN
        SELECT m.objid::regclass AS name
        FROM tasker_engine.script_members m
        JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid AND c.relkind = 'r'
        ORDER BY m.objid
    LOOP
        EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', member.name);
    END LOOP;
END
$$;

UPDATE pg_class c SET relacl = m.initial FROM tasker_engine.script_members m
    WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid AND c.relacl IS DISTINCT FROM m.initial;
UPDATE pg_proc p SET proacl = m.initial FROM tasker_engine.script_members m
    WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid AND p.proacl IS DISTINCT FROM m.initial;
UPDATE pg_namespace n SET nspacl = m.initial FROM tasker_engine.script_members m
    WHERE m.classid = 'pg_namespace'::regclass AND m.objid = n.oid AND n.nspacl IS DISTINCT FROM m.initial;

-- For a function that gets another parameter, which is another function for PostgreSQL. A script calls it with both and makes the new one
-- afterwards, which gets the privileges of the old one. An object of a user that depends on the old one is not dropped.
CREATE FUNCTION tasker_engine.script_replace_function(function regprocedure, by text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    users CONSTANT text := (
        SELECT string_agg(u.name, ', ' ORDER BY u.name)
        FROM (SELECT DISTINCT CASE WHEN r.oid IS NULL THEN pg_describe_object(d.classid, d.objid, d.objsubid)
                                   ELSE pg_describe_object('pg_class'::regclass, r.ev_class, 0) END AS name
              FROM pg_depend d
              LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
              WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid = function::oid AND d.deptype IN ('n', 'a')
                AND NOT EXISTS (SELECT FROM pg_depend e
                                WHERE e.classid = CASE WHEN r.oid IS NULL THEN d.classid ELSE 'pg_class'::regclass END
                                  AND e.objid = coalesce(r.ev_class, d.objid)
                                  AND e.refclassid = 'pg_extension'::regclass AND e.deptype = 'e')) u);
BEGIN
    IF users IS NOT NULL THEN
        RAISE EXCEPTION 'function % gets another parameter in this version, and objects depend on it as it is', function
            USING ERRCODE = 'dependent_objects_still_exist', DETAIL = users,
                  HINT = 'Keep the definitions of these objects (pg_get_viewdef, pg_get_functiondef), drop them, run ALTER EXTENSION tasker_ext UPDATE, and create them again.';
    END IF;
    UPDATE tasker_engine.script_members m SET successor = by
    WHERE m.classid = 'pg_proc'::regclass AND m.objid = function::oid;
    EXECUTE format('DROP FUNCTION %s', function);
END
$$;
