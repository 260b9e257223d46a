-- The roles belong to the cluster, not to the database, so they are created only if missing and survive DROP EXTENSION.
-- tasker_owner owns the engine; the others are there to be granted.
DO $$
DECLARE
    wanted text;
    made text[] = '{}';
BEGIN
    FOREACH wanted IN ARRAY ARRAY['tasker_owner', 'tasker_reader', 'tasker_worker', 'tasker_operator', 'tasker_admin'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = wanted) THEN
                EXECUTE format(
                    'CREATE ROLE %I NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', wanted);
                made := made || wanted;
            END IF;
            IF wanted = 'tasker_operator' AND made && ARRAY['tasker_reader', wanted] THEN
                GRANT tasker_reader TO tasker_operator;
            ELSIF wanted = 'tasker_admin' THEN
                IF made && ARRAY['tasker_operator', wanted] THEN
                    GRANT tasker_operator TO tasker_admin;
                END IF;
                IF made && ARRAY['tasker_worker', wanted] THEN
                    GRANT tasker_worker TO tasker_admin;
                END IF;
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- another database of this cluster installs at the same moment
        END;
    END LOOP;
END
$$;

DO $$
DECLARE
    fault record;
BEGIN
    FOR fault IN SELECT f.detail, f.hint FROM tasker_engine.owner_fault() f LOOP
        RAISE EXCEPTION 'role "tasker_owner" exists already and is not fit to own the engine'
            USING ERRCODE = 'invalid_role_specification', DETAIL = fault.detail, HINT = fault.hint;
    END LOOP;
END
$$;
