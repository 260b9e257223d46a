-- The schemas and the roles. A trusted install runs this as the bootstrap superuser, for the extension's owner.
--
-- Schema `tasker` is the public face. CREATE EXTENSION takes it if it is there, and the owner of a schema may do with it
-- what it likes: so only an empty one is taken over, with all rights on it. pg_dump makes it before the extension.
DO $$
DECLARE
    relocate CONSTANT text := 'Rename the schema (ALTER SCHEMA %1$I RENAME TO %1$s_old), or drop it with all that is in it (DROP SCHEMA %1$I CASCADE), or install the extension in another database.';
    found text;
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) 'tasker_engine') THEN
        RAISE EXCEPTION 'schema "tasker_engine" exists already'
            USING ERRCODE = 'duplicate_schema', DETAIL = 'The extension makes it, for its tables.',
                  HINT = pg_catalog.format(relocate, 'tasker_engine');
    END IF;
    -- Objects depend on their schema normally; rules about future objects go with it automatically.
    SELECT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) INTO found
    FROM pg_catalog.pg_depend d
    WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
      AND d.refobjid OPERATOR(pg_catalog.=) 'tasker'::pg_catalog.regnamespace
      AND d.deptype OPERATOR(pg_catalog.=) 'n'
      AND NOT (d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
               AND d.objid OPERATOR(pg_catalog.=) (SELECT e.oid FROM pg_catalog.pg_extension e WHERE e.extname OPERATOR(pg_catalog.=) 'tasker_ext'))
    ORDER BY d.classid, d.objid LIMIT 1;
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'schema "tasker" is not empty: it has %', found
            USING ERRCODE = 'duplicate_schema',
                  DETAIL = CASE WHEN (SELECT pg_catalog.count(*) FROM pg_catalog.pg_class c
                                      WHERE c.relnamespace OPERATOR(pg_catalog.=) 'tasker'::pg_catalog.regnamespace
                                        AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p']::pg_catalog."char"[])
                                        AND c.relname OPERATOR(pg_catalog.=) ANY (ARRAY['task_namespaces', 'tasks', 'workflow_steps']::pg_catalog.name[]))
                                     OPERATOR(pg_catalog.=) 3
                                THEN 'These look like the tables of tasker-core, which uses a schema of the same name: the two cannot share a database unless that one moves.'
                                ELSE 'The extension keeps its functions and views there, and names in front of them would be taken for its own.' END,
                  HINT = pg_catalog.format(relocate, 'tasker');
    END IF;
END
$$;

-- Storage of the engine: nobody but the owner may look inside.
CREATE SCHEMA tasker_engine;
COMMENT ON SCHEMA tasker_engine IS 'Storage of tasker_ext. Private: use the functions and views of schema tasker.';

-- What anybody has promised of future objects (ALTER DEFAULT PRIVILEGES) holds for none of these: what was promised for
-- schema tasker is taken back, and what the role promised as whom this runs comes back at the end (90_access.sql).
CREATE TABLE tasker_engine.promised AS
    SELECT d.* FROM pg_catalog.pg_default_acl d
    WHERE d.defaclrole OPERATOR(pg_catalog.=) current_user::pg_catalog.regrole AND d.defaclnamespace OPERATOR(pg_catalog.=) 0;
DELETE FROM pg_catalog.pg_default_acl d USING tasker_engine.promised p WHERE d.oid OPERATOR(pg_catalog.=) p.oid;

-- What is granted while it is off is no part of the extension: a dump has it, and it ends with the role that has it.
-- It is dropped at the end.
CREATE FUNCTION tasker_engine.record_privileges(record boolean) RETURNS void
AS 'MODULE_PATHNAME', 'record_privileges' LANGUAGE c STRICT SET search_path = pg_catalog, pg_temp;

DO $$
DECLARE
    extowner CONSTANT pg_catalog.oid := (SELECT e.extowner FROM pg_catalog.pg_extension e WHERE e.extname OPERATOR(pg_catalog.=) 'tasker_ext');
    -- Not the superuser who installs: such roles come and go, and one may be no superuser tomorrow.
    bootstrap CONSTANT pg_catalog.oid := 10;
    promised record;
    taken record;
    grantee text;
BEGIN
    PERFORM tasker_engine.record_privileges(false);
    FOR promised IN
        SELECT DISTINCT
               d.defaclrole::pg_catalog.regrole AS role,
               CASE WHEN d.defaclobjtype OPERATOR(pg_catalog.=) 'r' THEN 'TABLES' WHEN d.defaclobjtype OPERATOR(pg_catalog.=) 'S' THEN 'SEQUENCES'
                    WHEN d.defaclobjtype OPERATOR(pg_catalog.=) 'f' THEN 'FUNCTIONS' ELSE 'TYPES' END AS objects,
               CASE WHEN e.grantee OPERATOR(pg_catalog.=) 0 THEN 'PUBLIC' ELSE e.grantee::pg_catalog.regrole::pg_catalog.text END AS grantee
        FROM pg_catalog.pg_default_acl d, pg_catalog.aclexplode(d.defaclacl) e
        WHERE d.defaclnamespace OPERATOR(pg_catalog.=) 'tasker'::pg_catalog.regnamespace
    LOOP
        EXECUTE pg_catalog.format('ALTER DEFAULT PRIVILEGES FOR ROLE %s IN SCHEMA tasker REVOKE ALL ON %s FROM %s CASCADE',
                                  promised.role, promised.objects, promised.grantee);
    END LOOP;
    FOR taken IN SELECT * FROM (VALUES ('tasker', extowner), ('tasker_engine', bootstrap)) AS s (name, owner) LOOP
        EXECUTE pg_catalog.format('ALTER SCHEMA %I OWNER TO %I', taken.name, pg_catalog.pg_get_userbyid(taken.owner));
        FOR grantee IN
            SELECT DISTINCT CASE WHEN e.grantee OPERATOR(pg_catalog.=) 0 THEN 'PUBLIC' ELSE e.grantee::pg_catalog.regrole::pg_catalog.text END
            FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) e
            WHERE n.nspname OPERATOR(pg_catalog.=) taken.name AND e.grantee OPERATOR(pg_catalog.<>) n.nspowner
        LOOP
            EXECUTE pg_catalog.format('REVOKE ALL ON SCHEMA %I FROM %s CASCADE', taken.name, grantee);
        END LOOP;
        EXECUTE pg_catalog.format('GRANT ALL ON SCHEMA %I TO %I', taken.name, pg_catalog.pg_get_userbyid(taken.owner));
    END LOOP;
    PERFORM tasker_engine.record_privileges(true);
END
$$;
