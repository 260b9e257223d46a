-- What has to be done from time to time. A duty is a function tasker_engine.duty_<name>() that does one small batch and
-- returns how many things it did, 0 when nothing is left. The coordinator runs each when it is due, in a transaction
-- of its own; run_maintenance() runs all of them for whoever calls it (a session, pg_cron).

CREATE FUNCTION tasker_engine.duties() RETURNS TABLE (duty text, every interval, purpose text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT * FROM (VALUES
        ('orphans', interval '2 seconds', 'Ends the leases of executors that are gone.'),
        ('scaling', interval '1 second', 'Decides how many executors each pool is to have.'),
        ('startup', interval '5 seconds', 'Ends the startup of the system.'),
        ('leases', interval '1 second', 'Takes over the steps of workers whose lease has ended, and steps that have run too long.'),
        ('task_timeouts', interval '1 second', 'Ends tasks that have taken longer than their timeout.'),
        ('schedules', interval '1 second', 'Creates the tasks of schedules that are due.'),
        ('retention', interval '60 seconds', 'Deletes ended tasks that are older than their namespace keeps them.'),
        ('metrics', interval '1 minute', 'Folds old rows of counters together.'),
        ('health', interval '30 seconds', 'Records that the level of health has changed.')
    ) AS d (duty, every, purpose);
END;
COMMENT ON FUNCTION tasker_engine.duties() IS 'The duties of maintenance in the order in which they are run.
duty: name of the duty.
every: how often the coordinator runs it.
purpose: what it does.';

GRANT EXECUTE ON FUNCTION tasker_engine.duties() TO tasker_reader; -- a view runs with its reader's rights on functions

-- Written when a duty did something or failed; idle rounds write nothing.
CREATE TABLE tasker_engine.duty_runs (
    duty text PRIMARY KEY,
    last_at timestamptz NOT NULL,
    last_done bigint NOT NULL DEFAULT 0,
    total_done bigint NOT NULL DEFAULT 0,
    failures bigint NOT NULL DEFAULT 0,
    last_error text,
    last_error_at timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE tasker_engine.duty_runs IS 'What the duties of maintenance did and how they failed; a row per duty that ever did or failed.';
COMMENT ON COLUMN tasker_engine.duty_runs.duty IS 'Name of the duty.';
COMMENT ON COLUMN tasker_engine.duty_runs.last_at IS 'When it last did something or failed.';
COMMENT ON COLUMN tasker_engine.duty_runs.last_done IS 'How many things it did when it last did something.';
COMMENT ON COLUMN tasker_engine.duty_runs.total_done IS 'How many things it has done in all.';
COMMENT ON COLUMN tasker_engine.duty_runs.failures IS 'How often it failed.';
COMMENT ON COLUMN tasker_engine.duty_runs.last_error IS 'SQLSTATE and message of its last failure.';
COMMENT ON COLUMN tasker_engine.duty_runs.last_error_at IS 'When it last failed.';

CREATE FUNCTION tasker_engine.duty_leases() RETURNS bigint
AS 'MODULE_PATHNAME', 'duty_leases' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET enable_memoize = off SET jit = off;
COMMENT ON FUNCTION tasker_engine.duty_leases() IS 'Takes over the steps of up to 16 claims whose lease has ended, or whose steps have run too long; returns 1 if any was taken over, else 0.';

CREATE FUNCTION tasker_engine.run_duty(duty text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    amount bigint;
    problem text;
    code text;
BEGIN
    -- Two coordinators, or a coordinator and a session, do not do the same at once.
    IF NOT pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtext('tasker duty'), pg_catalog.hashtext(run_duty.duty)) THEN
        RETURN 0;
    END IF;
    BEGIN
        CASE run_duty.duty
            WHEN 'orphans' THEN amount := tasker_engine.duty_orphans();
            WHEN 'startup' THEN amount := tasker_engine.duty_startup();
            WHEN 'leases' THEN amount := tasker_engine.duty_leases();
            WHEN 'scaling' THEN amount := tasker_engine.duty_scaling();
            WHEN 'task_timeouts' THEN amount := tasker_engine.duty_task_timeouts();
            WHEN 'schedules' THEN amount := tasker_engine.duty_schedules();
            WHEN 'retention' THEN amount := tasker_engine.duty_retention();
            WHEN 'metrics' THEN amount := tasker_engine.duty_metrics();
            WHEN 'health' THEN amount := tasker_engine.duty_health();
            ELSE RAISE EXCEPTION 'no duty is named %', run_duty.duty
                USING ERRCODE = 'P0002', DETAIL = 'run_duty was asked for it.', HINT = 'SELECT * FROM tasker.maintenance_duties;';
        END CASE;
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT, code = RETURNED_SQLSTATE;
        INSERT INTO tasker_engine.duty_runs AS r (duty, last_at, failures, last_error, last_error_at)
        VALUES (run_duty.duty, pg_catalog.clock_timestamp(), 1, pg_catalog.format('%s: %s', code, problem), pg_catalog.clock_timestamp())
        ON CONFLICT ON CONSTRAINT duty_runs_pkey DO UPDATE
        SET last_at = EXCLUDED.last_at, failures = r.failures OPERATOR(pg_catalog.+) 1,
            last_error = EXCLUDED.last_error, last_error_at = EXCLUDED.last_error_at;
        RETURN -1;
    END;
    IF amount OPERATOR(pg_catalog.>) 0 THEN
        INSERT INTO tasker_engine.duty_runs AS r (duty, last_at, last_done, total_done)
        VALUES (run_duty.duty, pg_catalog.clock_timestamp(), amount, amount)
        ON CONFLICT ON CONSTRAINT duty_runs_pkey DO UPDATE
        SET last_at = EXCLUDED.last_at, last_done = EXCLUDED.last_done,
            total_done = r.total_done OPERATOR(pg_catalog.+) EXCLUDED.last_done;
    END IF;
    RETURN amount;
END
$$;
COMMENT ON FUNCTION tasker_engine.run_duty(text) IS 'Runs one duty of maintenance once: how many things it did; 0 if nothing was due or another session is at it; -1 if it failed, which tasker.maintenance_duties shows. A failure undoes that batch and nothing else.
duty: a name of tasker_engine.duties().';

CREATE FUNCTION tasker.run_maintenance() RETURNS TABLE (duty text, done bigint, error text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    task record;
    amount bigint;
    total bigint;
BEGIN
    FOR task IN SELECT d.duty FROM tasker_engine.duties() d LOOP
        total := 0;
        FOR round IN 1 .. 100 LOOP
            amount := tasker_engine.run_duty(task.duty);
            EXIT WHEN amount OPERATOR(pg_catalog.<=) 0;
            total := total OPERATOR(pg_catalog.+) amount;
        END LOOP;
        RETURN QUERY SELECT task.duty, total,
            CASE WHEN amount OPERATOR(pg_catalog.<) 0
                 THEN (SELECT r.last_error FROM tasker_engine.duty_runs r WHERE r.duty OPERATOR(pg_catalog.=) task.duty) END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION tasker.run_maintenance() IS 'Does now what the coordinator does in the background, for servers without shared_preload_libraries: call it every few seconds to minutes, by pg_cron say. Safe beside a coordinator and beside itself; a duty that fails does not stop the others. Rule: docs/background-workers.md#maintenance.
duty: name of the duty; tasker.maintenance_duties explains it.
done: how many things it did, at most 100 batches of them.
error: SQLSTATE and message if it failed; NULL if not.';
GRANT EXECUTE ON FUNCTION tasker.run_maintenance() TO tasker_operator;

CREATE VIEW tasker.maintenance_duties AS
SELECT d.duty, d.every, d.purpose, r.last_at, r.last_done, coalesce(r.total_done, 0) AS total_done,
       coalesce(r.failures, 0) AS failures, r.last_error, r.last_error_at
FROM tasker_engine.duties() d
LEFT JOIN tasker_engine.duty_runs r ON r.duty OPERATOR(pg_catalog.=) d.duty;
COMMENT ON VIEW tasker.maintenance_duties IS 'What maintenance does, how often, and how it went: by the coordinator, or by run_maintenance(). Rounds in which nothing was due leave no trace.';
COMMENT ON COLUMN tasker.maintenance_duties.duty IS 'Name of the duty.';
COMMENT ON COLUMN tasker.maintenance_duties.every IS 'How often the coordinator runs it.';
COMMENT ON COLUMN tasker.maintenance_duties.purpose IS 'What it does.';
COMMENT ON COLUMN tasker.maintenance_duties.last_at IS 'When it last did something or failed; NULL if never.';
COMMENT ON COLUMN tasker.maintenance_duties.last_done IS 'How many things it did then.';
COMMENT ON COLUMN tasker.maintenance_duties.total_done IS 'How many things it has done in all.';
COMMENT ON COLUMN tasker.maintenance_duties.failures IS 'How often it failed.';
COMMENT ON COLUMN tasker.maintenance_duties.last_error IS 'SQLSTATE and message of its last failure; NULL if none.';
COMMENT ON COLUMN tasker.maintenance_duties.last_error_at IS 'When it last failed; NULL if never.';
