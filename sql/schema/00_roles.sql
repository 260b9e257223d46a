-- The four roles. They belong to the cluster, not to the database, so they are created only if missing
-- and survive DROP EXTENSION. A trusted install runs this as the bootstrap superuser.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['tasker_reader', 'tasker_worker', 'tasker_operator', 'tasker_admin'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) wanted) THEN
                EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', wanted);
                IF wanted OPERATOR(pg_catalog.=) 'tasker_operator' THEN
                    GRANT tasker_reader TO tasker_operator;
                ELSIF wanted OPERATOR(pg_catalog.=) 'tasker_admin' THEN
                    GRANT tasker_operator, tasker_worker TO tasker_admin;
                END IF;
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- another database of this cluster installs at the same moment
        END;
    END LOOP;
END
$$;

-- Storage of the engine: nobody but the owner may look inside; `tasker` is the public face.
CREATE SCHEMA tasker_engine;
