-- The schemas. A trusted install runs this as the bootstrap superuser, for the extension's owner.
--
-- Schema `tasker` is the public face. CREATE EXTENSION takes it if it is there, and the owner of a schema may do with it
-- what it likes: so only an empty one is taken over, with all rights on it. pg_dump makes it before the extension.
DO $$
DECLARE
    relocate CONSTANT text := 'Rename the schema (ALTER SCHEMA %1$I RENAME TO %1$s_old), or drop it with all that is in it (DROP SCHEMA %1$I CASCADE), or install the extension in another database.';
    found text;
BEGIN
    -- Other encodings lack characters of JSON, and the engine's texts are UTF-8: they would be stored broken.
    IF getdatabaseencoding() <> 'UTF8' THEN
        RAISE EXCEPTION 'tasker_ext needs a database with encoding UTF8'
            USING ERRCODE = 'feature_not_supported',
                  DETAIL = format('The encoding of this database is %s, which would store some texts broken.', getdatabaseencoding()),
                  HINT = 'CREATE DATABASE name ENCODING ''UTF8'' TEMPLATE template0 makes one; install the extension there.';
    END IF;
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
