-- Every session looks again which version the extension has once this row has changed, this one at once.
UPDATE pg_namespace SET nspname = nspname WHERE nspname = 'tasker_engine';

INSERT INTO tasker_engine.script_promised
    SELECT d.* FROM pg_default_acl d
    WHERE d.defaclrole = (SELECT r.oid FROM pg_roles r WHERE r.rolname = current_user)
      AND d.defaclnamespace = ANY (ARRAY['tasker', 'tasker_engine']::regnamespace[]);
DELETE FROM pg_default_acl d USING tasker_engine.script_promised p WHERE d.oid = p.oid;

-- Sessions that loaded the old library have finished before anything changes, and what they begin from here on is refused.
DO $$
DECLARE
    member record;
BEGIN
    FOR member IN
        SELECT c.oid::regclass AS name
        FROM pg_extension e
        JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
        JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid AND c.relkind = 'r'
        WHERE e.extname = 'tasker_ext' AND NOT starts_with(c.relname, 'script_')
        ORDER BY c.oid
    LOOP
        EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', member.name);
    END LOOP;
END
$$;

-- GRANT and REVOKE lock no table. One of another session has finished from here on, or waits for this script and fails.
UPDATE pg_class c SET relacl = c.relacl FROM tasker_engine.script_new_members() m WHERE m.class = 'pg_class'::regclass AND m.object = c.oid;
UPDATE pg_proc p SET proacl = p.proacl FROM tasker_engine.script_new_members() m WHERE m.class = 'pg_proc'::regclass AND m.object = p.oid;

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
-- DROP OWNED leaves a role in pg_init_privs, which is dropped afterwards.
UPDATE tasker_engine.script_members m
SET initial = ARRAY(SELECT a FROM unnest(m.initial) a
                    WHERE NOT EXISTS (SELECT FROM aclexplode(ARRAY[a]) x
                                      WHERE x.grantee <> 0 AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = x.grantee)))
WHERE m.initial IS NOT NULL;

UPDATE pg_class c SET relacl = m.initial FROM tasker_engine.script_members m
    WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid AND c.relacl IS DISTINCT FROM m.initial;
UPDATE pg_proc p SET proacl = m.initial FROM tasker_engine.script_members m
    WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid AND p.proacl IS DISTINCT FROM m.initial;
UPDATE pg_namespace n SET nspacl = m.initial FROM tasker_engine.script_members m
    WHERE m.classid = 'pg_namespace'::regclass AND m.objid = n.oid AND n.nspacl IS DISTINCT FROM m.initial;

-- Privileges on columns of the views that are dropped. All of them are users': the extension grants none.
CREATE UNLOGGED TABLE tasker_engine.script_columns (
    view text NOT NULL,
    name name NOT NULL,
    acl aclitem[] NOT NULL
);

-- What depends on an object, directly or through views and functions of the extension, with the object itself. A view stands for its rule.
-- The script makes the extension's own views and functions again; anything else that depends on them (part) it does not.
CREATE FUNCTION tasker_engine.script_dependents(oid, oid)
RETURNS TABLE (class oid, object oid, part integer, again boolean, distance integer)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    WITH RECURSIVE found (class, object, part, again, row_type, distance) AS (
        SELECT $1, $2, 0, true, false, 0
        UNION
        SELECT o.class, o.object, d.objsubid, k.again, k.row_type, f.distance + 1
        FROM found f
        JOIN pg_depend d ON d.refclassid = f.class AND d.refobjid = f.object
        LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND r.rulename = '_RETURN'
        CROSS JOIN LATERAL (SELECT CASE WHEN r.oid IS NULL THEN d.classid ELSE 'pg_class'::regclass END AS class,
                                   coalesce(r.ev_class, d.objid) AS object) o
        CROSS JOIN LATERAL (
            SELECT d.classid = 'pg_type'::regclass AND d.deptype = 'i' AS row_type,
                   EXISTS (SELECT FROM tasker_engine.script_members m WHERE m.classid = o.class AND m.objid = o.object)
                   AND (o.class = 'pg_proc'::regclass
                        OR EXISTS (SELECT FROM pg_class c
                                   WHERE o.class = 'pg_class'::regclass AND c.oid = o.object AND c.relkind = 'v')) AS again) k
        WHERE (f.again OR f.row_type) AND (o.class, o.object) <> (f.class, f.object))
    SELECT f.class, f.object, f.part, f.again, max(f.distance)
    FROM found f
    WHERE NOT f.row_type
    GROUP BY f.class, f.object, f.part, f.again
    ORDER BY max(f.distance) DESC
$$;

-- Drops a function or view that the script makes again with a change (a function as `by`), with the extension's own objects that depend on it. They
-- get the privileges of those before. An object of a user that depends on them is not dropped.
CREATE FUNCTION tasker_engine.script_replace(class oid, object oid, by text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    users CONSTANT text := (
        SELECT string_agg(DISTINCT pg_describe_object(d.class, d.object, d.part), ', ')
        FROM tasker_engine.script_dependents(class, object) d WHERE NOT d.again);
    dropped record;
    name text;
BEGIN
    IF users IS NOT NULL THEN
        RAISE EXCEPTION '% changes in this version, and objects depend on it as it is', pg_describe_object(class, object, 0)
            USING ERRCODE = 'dependent_objects_still_exist', DETAIL = users,
                  HINT = 'Keep the definitions of these objects (pg_get_viewdef, pg_get_functiondef), drop them, run ALTER EXTENSION tasker_ext UPDATE, and create them again.';
    END IF;
    FOR dropped IN
        SELECT d.object, d.class = 'pg_proc'::regclass AS function, d.distance
        FROM tasker_engine.script_dependents(class, object) d ORDER BY d.distance DESC
    LOOP
        name := CASE WHEN dropped.function THEN dropped.object::regprocedure::text ELSE dropped.object::regclass::text END;
        INSERT INTO tasker_engine.script_columns
            SELECT name, a.attname, a.attacl FROM pg_attribute a
            WHERE NOT dropped.function AND a.attrelid = dropped.object AND a.attacl IS NOT NULL;
        UPDATE tasker_engine.script_members m SET successor = CASE WHEN dropped.distance = 0 THEN by ELSE name END
            WHERE m.objid = dropped.object
              AND m.classid = CASE WHEN dropped.function THEN 'pg_proc'::regclass ELSE 'pg_class'::regclass END;
        EXECUTE format('DROP %s %s', CASE WHEN dropped.function THEN 'FUNCTION' ELSE 'VIEW' END, name);
    END LOOP;
END
$$;

-- For changes that CREATE OR REPLACE cannot make. A script calls them before it makes anything again.
CREATE FUNCTION tasker_engine.script_replace_function(function regprocedure, by text) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT tasker_engine.script_replace('pg_proc'::regclass, function, by)
$$;
CREATE FUNCTION tasker_engine.script_replace_view(view regclass) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT tasker_engine.script_replace('pg_class'::regclass, view, view::text)
$$;
