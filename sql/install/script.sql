-- What a script of the extension needs while it runs: an installation as well as an update. end.sql drops it again. The tables are
-- unlogged, because a publication FOR ALL TABLES publishes every other table.

-- Default privileges (ALTER DEFAULT PRIVILEGES) apply to none of these objects: those of the role that runs this script are put aside
-- and come back at the end.
CREATE UNLOGGED TABLE tasker_engine.script_promised AS
    SELECT d.* FROM pg_default_acl d
    WHERE d.defaclrole = (SELECT r.oid FROM pg_roles r WHERE r.rolname = current_user) AND d.defaclnamespace = 0;
DELETE FROM pg_default_acl d USING tasker_engine.script_promised p WHERE d.oid = p.oid;

-- What is granted while it is off is no part of the extension: a dump has it, and it ends with the role that has it.
CREATE FUNCTION tasker_engine.record_privileges(record boolean) RETURNS void
AS 'MODULE_PATHNAME', 'record_privileges' LANGUAGE c STRICT SET search_path = pg_catalog, pg_temp;

-- The objects that the extension had before the script, with their privileges then: as a DBA has changed them since (acl), and
-- as the extension made them (initial). None in an installation.
CREATE UNLOGGED TABLE tasker_engine.script_members (
    classid oid NOT NULL,
    objid oid NOT NULL,
    acl aclitem[],
    initial aclitem[],
    successor text, -- the function or view that takes its place
    PRIMARY KEY (classid, objid)
);

CREATE FUNCTION tasker_engine.script_successor(member tasker_engine.script_members) RETURNS oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE member.classid WHEN 'pg_proc'::regclass THEN to_regprocedure(member.successor)::oid ELSE to_regclass(member.successor)::oid END
$$;

CREATE FUNCTION tasker_engine.script_new_members()
RETURNS TABLE (class oid, object oid, kind text, name text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT d.classid, d.objid, o.kind, o.name
    FROM pg_extension e
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    JOIN (SELECT 'pg_class'::regclass AS class, c.oid, c.oid::regclass::text AS name,
                 CASE c.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'r' THEN 'TABLE' WHEN 'p' THEN 'TABLE' ELSE 'VIEW' END AS kind
          FROM pg_class c
          UNION ALL
          SELECT 'pg_proc'::regclass, p.oid, p.oid::regprocedure::text, 'FUNCTION'
          FROM pg_proc p) o
        ON o.class = d.classid AND o.oid = d.objid
    WHERE e.extname = 'tasker_ext' AND NOT starts_with(o.name, 'tasker_engine.script_')
      AND NOT EXISTS (SELECT FROM tasker_engine.script_members m WHERE m.classid = d.classid AND m.objid = d.objid)
    ORDER BY o.kind = 'SEQUENCE', o.oid
$$;
