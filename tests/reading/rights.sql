-- A reader may read every public relation and call every reading function, and nothing of tasker_engine.
-- psql -v ON_ERROR_STOP=1 -f tests/reading/rights.sql, as superuser, after readiness.sql (so that there are rows).
\set QUIET on
DO $$
DECLARE
    relation text;
    task uuid := (SELECT task_uuid FROM tasker.tasks LIMIT 1);
    call text;
    allowed boolean;
BEGIN
    IF task IS NULL THEN
        RAISE EXCEPTION 'there is no task to read';
    END IF;
    SET LOCAL ROLE tasker_reader;
    FOR relation IN
        SELECT c.relname FROM pg_catalog.pg_class c
        WHERE c.relnamespace = 'tasker'::regnamespace AND c.relkind IN ('r', 'v') ORDER BY 1
    LOOP
        EXECUTE format('SELECT count(r::text) FROM (SELECT * FROM tasker.%I LIMIT 3) r', relation);
    END LOOP;
    FOREACH call IN ARRAY ARRAY[
        'SELECT * FROM tasker.get_step_readiness_status(%L)', 'SELECT * FROM tasker.get_task_execution_context(%L)',
        'SELECT * FROM tasker.calculate_dependency_levels(%L)', 'SELECT tasker.task_diagram(%L)',
        'SELECT tasker.step_uuid(%L, 1::smallint)', 'SELECT tasker.calculate_backoff(1)'] LOOP
        EXECUTE format(call, task);
    END LOOP;
    FOREACH call IN ARRAY ARRAY[
        'SELECT * FROM tasker_engine.steps', 'SELECT tasker_engine.engine_clock()', 'SELECT * FROM tasker.finalize_task(%L)',
        'SELECT * FROM tasker.claim_task_for_finalization(%L, ''p'')',
        'INSERT INTO tasker.annotation_types (name) VALUES (''no'')'] LOOP
        BEGIN
            EXECUTE format(call, task);
            allowed := true;
        EXCEPTION WHEN insufficient_privilege THEN
            allowed := false;
        END;
        IF allowed THEN
            RAISE EXCEPTION 'a reader may: %', call;
        END IF;
    END LOOP;
    RESET ROLE;
END $$;
\echo rights.sql: all checks hold
