-- The schemas. A trusted install runs this as the bootstrap superuser, for the extension's owner.
--
-- Schema `tasker` is the public face. CREATE EXTENSION takes it if it is there, and the owner of a schema may do with it
-- what it likes: so only an empty one is taken over, with all rights on it. pg_dump makes it before the extension.
DO $$
DECLARE
    relocate CONSTANT text := 'Rename the schema (ALTER SCHEMA %1$I RENAME TO %1$s_old), or drop it with all that is in it (DROP SCHEMA %1$I CASCADE), or install the extension in another database.';
    found text;
BEGIN
    IF EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = 'tasker_engine') THEN
        RAISE EXCEPTION 'schema "tasker_engine" exists already'
            USING ERRCODE = 'duplicate_schema', DETAIL = 'The extension makes it, for its tables.',
                  HINT = format(relocate, 'tasker_engine');
    END IF;
    -- Objects depend on their schema normally; rules about future objects go with it automatically.
    SELECT pg_describe_object(d.classid, d.objid, d.objsubid) INTO found
    FROM pg_depend d
    WHERE d.refclassid = 'pg_namespace'::regclass
      AND d.refobjid = 'tasker'::regnamespace
      AND d.deptype = 'n'
      AND NOT (d.classid = 'pg_extension'::regclass
               AND d.objid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'tasker_ext'))
    ORDER BY d.classid, d.objid LIMIT 1;
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'schema "tasker" is not empty: it has %', found
            USING ERRCODE = 'duplicate_schema',
                  DETAIL = CASE WHEN (SELECT count(*) FROM pg_class c
                                      WHERE c.relnamespace = 'tasker'::regnamespace
                                        AND c.relkind = ANY (ARRAY['r', 'p']::"char"[])
                                        AND c.relname = ANY (ARRAY['task_namespaces', 'tasks', 'workflow_steps']::name[]))
                                     = 3
                                THEN 'These look like the tables of tasker-core, which uses a schema of the same name: the two cannot share a database unless that one moves.'
                                ELSE 'The extension keeps its functions and views there, and names in front of them would be taken for its own.' END,
                  HINT = format(relocate, 'tasker');
    END IF;
END
$$;

-- Storage of the engine: only the owner can read it.
CREATE SCHEMA tasker_engine;
COMMENT ON SCHEMA tasker_engine IS 'Storage of tasker_ext. Private: use the functions and views of schema tasker.';

-- Default privileges (ALTER DEFAULT PRIVILEGES) apply to none of these objects: those for schema tasker are revoked, and those of
-- the role that runs this script are put aside and come back at the end (install/ownership.sql).
CREATE TABLE tasker_engine.promised AS
    SELECT d.* FROM pg_default_acl d
    WHERE d.defaclrole = current_user::regrole AND d.defaclnamespace = 0;
DELETE FROM pg_default_acl d USING tasker_engine.promised p WHERE d.oid = p.oid;

-- What is granted while it is off is no part of the extension: a dump has it, and it ends with the role that has it.
-- It is dropped at the end.
CREATE FUNCTION tasker_engine.record_privileges(record boolean) RETURNS void
AS 'MODULE_PATHNAME', 'record_privileges' LANGUAGE c STRICT SET search_path = pg_catalog, pg_temp;

DO $$
DECLARE
    extowner CONSTANT oid := (SELECT e.extowner FROM pg_extension e WHERE e.extname = 'tasker_ext');
    -- Not the superuser that installs: such roles come and go, and one can lose the attribute.
    bootstrap CONSTANT oid := 10;
    promised record;
    taken record;
    grantee text;
BEGIN
    PERFORM tasker_engine.record_privileges(false);
    FOR promised IN
        SELECT DISTINCT
               d.defaclrole::regrole AS role,
               CASE WHEN d.defaclobjtype = 'r' THEN 'TABLES' WHEN d.defaclobjtype = 'S' THEN 'SEQUENCES'
                    WHEN d.defaclobjtype = 'f' THEN 'FUNCTIONS' ELSE 'TYPES' END AS objects,
               CASE WHEN e.grantee = 0 THEN 'PUBLIC' ELSE e.grantee::regrole::text END AS grantee
        FROM pg_default_acl d, aclexplode(d.defaclacl) e
        WHERE d.defaclnamespace = 'tasker'::regnamespace
    LOOP
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %s IN SCHEMA tasker REVOKE ALL ON %s FROM %s CASCADE',
                                  promised.role, promised.objects, promised.grantee);
    END LOOP;
    FOR taken IN SELECT * FROM (VALUES ('tasker', extowner), ('tasker_engine', bootstrap)) AS s (name, owner) LOOP
        EXECUTE format('ALTER SCHEMA %I OWNER TO %I', taken.name, pg_get_userbyid(taken.owner));
        FOR grantee IN
            SELECT DISTINCT CASE WHEN e.grantee = 0 THEN 'PUBLIC' ELSE e.grantee::regrole::text END
            FROM pg_namespace n, aclexplode(n.nspacl) e
            WHERE n.nspname = taken.name AND e.grantee <> n.nspowner
        LOOP
            EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %s CASCADE', taken.name, grantee);
        END LOOP;
        EXECUTE format('GRANT ALL ON SCHEMA %I TO %I', taken.name, pg_get_userbyid(taken.owner));
    END LOOP;
    PERFORM tasker_engine.record_privileges(true);
END
$$;
