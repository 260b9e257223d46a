-- What has to be done from time to time. A duty is a row of duties() and a function tasker_engine.duty_<name>() that does
-- one small batch and returns how many things it did, 0 when nothing is left. The coordinator runs each when it is due, in a
-- transaction of its own; run_maintenance() runs all of them for its caller (a session, pg_cron).

CREATE OR REPLACE FUNCTION tasker_engine.duty_task_timeouts() RETURNS bigint
AS 'MODULE_PATHNAME', 'duty_task_timeouts' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.duty_task_timeouts() IS 'Ends up to 100 tasks that have taken longer than their timeout; returns the number of timeouts removed, those of ended tasks included.';

CREATE OR REPLACE FUNCTION tasker_engine.duties() RETURNS TABLE (duty text, every interval, purpose text, duty_no integer)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT * FROM (VALUES
        ('orphans', interval '2 seconds', 'Ends the leases of executors that are gone.', 1),
        ('scaling', interval '1 second', 'Decides how many executors each pool is to have.', 2),
        ('startup', interval '5 seconds', 'Ends the startup of the system.', 3),
        ('leases', interval '1 second', 'Takes over the steps of workers whose lease has ended, and steps that have run too long.', 4),
        ('task_timeouts', interval '1 second', 'Ends tasks that have taken longer than their timeout.', 5),
        ('schedules', interval '1 second', 'Creates the tasks of schedules that are due.', 6),
        ('retention', interval '60 seconds', 'Deletes ended tasks that are older than their namespace keeps them.', 7),
        ('metrics', interval '1 minute', 'Folds old rows of counters together.', 8),
        ('roles', interval '5 seconds', 'Writes down the new names of renamed roles, for the next dump.', 10),
        ('integrity', interval '1 minute', 'Checks whether rows agree with each other, some thousand tasks at a time.', 11),
        ('stuck', interval '1 minute', 'Looks for open tasks of which nothing can run, 50,000 tasks at a time.', 12),
        ('totals', interval '1 minute', 'Adds up tasks that have ended, so that counts do not read them again.', 14),
        ('workers', interval '1 minute', 'Removes workers that have ended or are long silent.', 13),
        ('event_log', interval '1 second', 'Writes the events that routes send to the log to the server''s log.', 16),
        ('events', interval '1 minute', 'Removes published events that are older than tasker.event_retention.', 15),
        -- After the others, since it looks at how they went.
        ('health', interval '30 seconds', 'Records that the level of health has changed.', 9)
    ) AS d (duty, every, purpose, duty_no);
END;
COMMENT ON FUNCTION tasker_engine.duties() IS 'The duties of maintenance in the order in which they are run.
duty: name of the duty.
every: how often the coordinator runs it.
purpose: what it does.
duty_no: its number, from 1 to 16, which never changes: it names its lock and its place in shared memory.';
GRANT EXECUTE ON FUNCTION tasker_engine.duties() TO tasker_reader;

-- Not an advisory lock, which any session could hold.
CREATE OR REPLACE FUNCTION tasker_engine.try_duty_lock(duty_no integer) RETURNS boolean
AS 'MODULE_PATHNAME', 'try_duty_lock' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.try_duty_lock(integer) IS 'Locks a duty until the transaction ends: a part of the extension as an object, in pg_locks with the duty''s number as objsubid. false, at once, if another session holds it.';

CREATE OR REPLACE FUNCTION tasker_engine.note_duty_run(duty_no integer) RETURNS boolean
AS 'MODULE_PATHNAME', 'note_duty_run' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.note_duty_run(integer) IS 'When this transaction commits, shared memory knows that the duty has run now; false if there is none, and the caller has to write it.';

CREATE OR REPLACE FUNCTION tasker_engine.note_duty_time(duty text) RETURNS void
AS 'MODULE_PATHNAME', 'note_duty_time' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.note_duty_time(text) IS 'Writes a warning to the server''s log if the duty of which this transaction has just taken the lock took longer than tasker.slow_query_threshold_seconds.';

CREATE OR REPLACE FUNCTION tasker_engine.duty_clocks() RETURNS TABLE (duty_no integer, last_run_at timestamptz, since timestamptz)
AS 'MODULE_PATHNAME', 'duty_clocks' LANGUAGE c VOLATILE ROWS 16 SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.duty_clocks() IS 'What shared memory has about the duties of this database; no row without shared memory.
duty_no: number of the duty.
last_run_at: when it last finished; NULL if it has not since the time in since.
since: when the launcher began to look after this database.';

CREATE OR REPLACE FUNCTION tasker_engine.duty_leases() RETURNS bigint
AS 'MODULE_PATHNAME', 'duty_leases' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.duty_leases() IS 'Takes over the steps of up to 16 claims whose lease has ended, or whose steps have run too long; returns 1 if any was taken over, otherwise 0.';

CREATE OR REPLACE FUNCTION tasker_engine.clock_was_set_back(clock_now timestamptz, back interval) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    s tasker_engine.schedules;
BEGIN
    -- What was due before, and retries, whose pause is a duration; but not what waits for a time of the calendar.
    WITH moved AS MATERIALIZED (
        SELECT r.ctid AS tid, r.available_at, s.task_uuid, s.step_no
        FROM tasker_engine.queue_entries r
        JOIN tasker_engine.steps s ON s.task_uuid = r.task_uuid AND s.step_no = r.step_no
        WHERE r.available_at > $1 AND isfinite(r.available_at) AND (r.available_at <= $1 + $2 OR s.state = 'e')
        FOR UPDATE SKIP LOCKED),
    moved_steps AS (
        UPDATE tasker_engine.steps s SET available_at = s.available_at - $2
        FROM moved m
        WHERE s.task_uuid = m.task_uuid AND s.step_no = m.step_no AND s.available_at = m.available_at)
    UPDATE tasker_engine.queue_entries r SET available_at = r.available_at - $2
    FROM moved m WHERE r.ctid = m.tid;
    UPDATE tasker_engine.claims c
    SET claimed_at = c.claimed_at - $2, lease_expires_at = c.lease_expires_at - $2, timeout_at = c.timeout_at - $2
    WHERE c.ctid = ANY (ARRAY(
        SELECT o.ctid FROM tasker_engine.claims o WHERE o.lease_expires_at > $1 OR o.timeout_at > $1 FOR UPDATE SKIP LOCKED));
    UPDATE tasker_engine.task_deadlines d SET deadline_at = d.deadline_at - $2
    WHERE d.ctid = ANY (ARRAY(
        SELECT o.ctid FROM tasker_engine.task_deadlines o WHERE o.deadline_at > $1 FOR UPDATE SKIP LOCKED));
    UPDATE tasker_engine.finalization_claims c SET claimed_at = c.claimed_at - $2, expires_at = c.expires_at - $2
    WHERE c.ctid = ANY (ARRAY(
        SELECT o.ctid FROM tasker_engine.finalization_claims o WHERE o.expires_at > $1 FOR UPDATE SKIP LOCKED));
    UPDATE tasker_engine.workers w SET last_seen_at = least(w.last_seen_at, $1), idle_until = w.idle_until - $2
    WHERE w.ctid = ANY (ARRAY(
        SELECT o.ctid FROM tasker_engine.workers o WHERE o.last_seen_at > $1 OR o.idle_until > $1 FOR UPDATE SKIP LOCKED));
    UPDATE tasker_engine.deliveries d SET lease_until = d.lease_until - $2
    WHERE d.ctid = ANY (ARRAY(
        SELECT o.ctid FROM tasker_engine.deliveries o WHERE o.lease_until > $1 FOR UPDATE SKIP LOCKED));
    UPDATE tasker_engine.redeliveries r SET due_at = r.due_at - $2
    WHERE r.ctid = ANY (ARRAY(
        SELECT o.ctid FROM tasker_engine.redeliveries o WHERE o.due_at > $1 AND o.due_at < 'infinity' FOR UPDATE SKIP LOCKED));
    -- Walks and evaluations start again from the beginning.
    UPDATE tasker_engine.retention r SET swept_to = NULL WHERE r.sweep_started_at > $1;
    UPDATE tasker_engine.pool_targets t SET memory = '{}', changed_at = least(t.changed_at, $1) WHERE t.evaluated_at > $1;
    -- Tasks can be created among those that are added up.
    INSERT INTO tasker_engine.unsettled_tasks (first_uuid, last_uuid)
    VALUES (tasker_engine.uuids_since($1), 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    DELETE FROM tasker_engine.settling;
    -- A time that comes again is not run again: its task exists, and schedule_runs says so.
    FOR s IN SELECT o.* FROM tasker_engine.schedules o WHERE o.next_run_at > $1 FOR UPDATE SKIP LOCKED LOOP
        BEGIN
            UPDATE tasker_engine.schedules o
            SET next_run_at = least(o.next_run_at, tasker_engine.next_occurrence(s.cron, s.time_zone, $1))
            WHERE o.schedule_name = s.schedule_name;
        EXCEPTION WHEN OTHERS THEN
            NULL; -- Its times cannot be told any more; duty_schedules says so when it is due.
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION tasker_engine.clock_was_set_back(timestamptz, interval) IS 'Moves what is stored for a time to come when the clock was set back: what was due is due, leases and timeouts last as long as they did, and each schedule goes on with its next time. What another session holds locked stays.
clock_now: the time after the jump.
back: how far the clock was set back.';

CREATE OR REPLACE FUNCTION tasker_engine.duty_roles() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
SELECT tasker_engine.refresh_handler_roles() + tasker_engine.refresh_schedule_owners() + tasker_engine.refresh_claimants()
       + tasker_engine.refresh_subscriber_roles()
$$;
COMMENT ON FUNCTION tasker_engine.duty_roles() IS 'Stores the new names of renamed roles in handlers, schedules, claimants and subscribers; returns the number of names changed.';

-- The tasks that it finds have rows among the rare states, where tasker.stuck_tasks looks and asks again.
CREATE OR REPLACE FUNCTION tasker_engine.duty_stuck() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    most CONSTANT integer := 50000;
    lowest CONSTANT uuid := uuid '00000000-0000-0000-0000-000000000000';
    -- No place is stored while all tasks fit into one round.
    place CONSTANT uuid := (SELECT c.checked_to FROM tasker_engine.stuck_checks c);
    page record;
    ends boolean;
    found tasker_engine.stuck_tasks_found[];
    changed bigint;
    amount bigint;
BEGIN
    SELECT count(*) AS tasks, (array_agg(o.task_uuid ORDER BY o.task_uuid DESC))[1] AS upto INTO STRICT page
    FROM (SELECT t.task_uuid FROM tasker_engine.tasks t WHERE t.task_uuid > coalesce(place, lowest)
          ORDER BY t.task_uuid LIMIT most) o;
    ends := page.tasks < most;
    found := ARRAY(SELECT f FROM tasker_engine.stuck_tasks_found f
                   WHERE f.task_uuid > coalesce(place, lowest) AND f.task_uuid <= page.upto);
    DELETE FROM tasker_engine.rare_tasks r
    WHERE r.task_uuid = ANY (ARRAY(
        SELECT o.task_uuid FROM tasker_engine.rare_tasks o
        WHERE o.state = 's' AND o.task_uuid > coalesce(place, lowest) AND (ends OR o.task_uuid <= page.upto)
          AND NOT EXISTS (SELECT FROM unnest(found) f WHERE f.task_uuid = o.task_uuid)
        FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS changed = ROW_COUNT;
    INSERT INTO tasker_engine.rare_tasks (task_uuid, since, named_task_id, step_no, state)
    SELECT f.task_uuid, clock_timestamp(), f.named_task_id, f.step_no, 's' FROM unnest(found) f
    ON CONFLICT ON CONSTRAINT rare_tasks_pkey DO NOTHING;
    GET DIAGNOSTICS amount = ROW_COUNT;
    INSERT INTO tasker_engine.stuck_checks AS c (checked_to)
    SELECT CASE WHEN NOT ends THEN page.upto END WHERE place IS NOT NULL OR NOT ends
    ON CONFLICT ON CONSTRAINT stuck_checks_pkey DO UPDATE SET checked_to = EXCLUDED.checked_to;
    RETURN changed + amount;
END
$$;
COMMENT ON FUNCTION tasker_engine.duty_stuck() IS 'Looks among the next 50,000 tasks for open ones of which nothing runs, is ready or is scheduled, or whose step workers have only given back for an hour: writes down those that it finds, removes those that go on, and returns the number of both.';

-- A call that lets an ended task go on says so in unsettled_tasks in the same transaction. So a change that is not seen here, or that
-- commits between two statements, leaves its row behind, and the range does not count. No lock is needed.
CREATE OR REPLACE FUNCTION tasker_engine.duty_totals() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    most CONSTANT integer := 10000;
    lowest CONSTANT uuid := uuid '00000000-0000-0000-0000-000000000000';
    place tasker_engine.settling;
    gap record;
    last uuid;
    upto uuid;
    changed bigint;
BEGIN
    -- One statement: only what goes here is forgotten, and what comes meanwhile stays.
    WITH gone AS (
        DELETE FROM tasker_engine.unsettled_tasks u RETURNING u.first_uuid, u.last_uuid),
    forgotten AS (
        DELETE FROM tasker_engine.settled_tasks s
        WHERE EXISTS (SELECT FROM gone g WHERE g.first_uuid <= s.last_uuid AND g.last_uuid > s.after_uuid))
    SELECT count(*) INTO changed FROM gone;
    SELECT s.* INTO place FROM tasker_engine.settling s;
    -- The first range that is not added up, behind the place.
    SELECT greatest(g.after_uuid, place.checked_to) AS after_uuid, g.upto INTO gap
    FROM tasker_engine.unsettled_ranges g
    WHERE g.upto > coalesce(place.checked_to, lowest) ORDER BY g.upto LIMIT 1;
    IF place.xid <= pg_snapshot_xmin(pg_current_snapshot()) THEN
        upto := least(gap.upto, place.upto);
        last := (SELECT t.task_uuid FROM tasker_engine.tasks t
                 WHERE t.task_uuid > gap.after_uuid AND t.task_uuid <= upto
                 ORDER BY t.task_uuid OFFSET most - 1 LIMIT 1);
        IF last IS NULL AND gap.upto < place.upto THEN
            last := gap.upto; -- A gap between two ranges, however small.
        END IF;
    END IF;
    IF last IS NULL THEN
        -- The round ends. A range is worth its row when it is full, so nothing is written before there is one.
        last := (SELECT t.task_uuid FROM tasker_engine.tasks t
                 WHERE t.task_uuid > gap.after_uuid AND t.task_uuid < tasker_engine.uuids_since(clock_timestamp() - interval '1 hour')
                 ORDER BY t.task_uuid OFFSET most - 1 LIMIT 1);
        INSERT INTO tasker_engine.settling AS s (checked_to, upto, xid)
        SELECT lowest, tasker_engine.uuids_since(clock_timestamp() - interval '1 hour'), pg_snapshot_xmax(pg_current_snapshot())
        WHERE last IS NOT NULL OR place.checked_to > lowest
        ON CONFLICT ON CONSTRAINT settling_pkey DO UPDATE SET checked_to = EXCLUDED.checked_to, upto = EXCLUDED.upto, xid = EXCLUDED.xid;
        RETURN changed;
    END IF;
    -- A few open tasks are left out, in the same statement; a count looks at them.
    IF NOT EXISTS (SELECT FROM tasker_engine.unsettled_tasks u WHERE u.first_uuid <= last AND u.last_uuid > gap.after_uuid) THEN
        INSERT INTO tasker_engine.settled_tasks (last_uuid, after_uuid, complete_tasks, complete_steps, resolved_steps, left_out)
        SELECT last, gap.after_uuid, count(*) FILTER (WHERE t.state = 'c'), coalesce(sum(n.complete), 0), coalesce(sum(n.resolved), 0),
               coalesce(array_agg(t.task_uuid) FILTER (WHERE tasker_engine.is_open(t.state)), '{}')
        FROM tasker_engine.tasks t
        LEFT JOIN LATERAL (
            SELECT count(*) FILTER (WHERE s.state = 'c') AS complete, count(*) FILTER (WHERE s.state = 'r') AS resolved
            FROM tasker_engine.steps s WHERE s.task_uuid = t.task_uuid) n ON t.state = 'c'
        WHERE t.task_uuid > gap.after_uuid AND t.task_uuid <= last
        HAVING count(*) FILTER (WHERE tasker_engine.is_open(t.state)) <= 100;
    END IF;
    UPDATE tasker_engine.settling SET checked_to = last;
    RETURN changed + 1;
END
$$;
COMMENT ON FUNCTION tasker_engine.duty_totals() IS 'Adds up the next 10,000 tasks if they are older than an hour and at most 100 of them are open, which are left out, and forgets the totals of ranges in which a task went on or was deleted; returns how many changes it has seen.';

-- A session trusts the number of a worker for half a minute (src/orchestration/workers.rs), so an ended one stays a minute.
CREATE OR REPLACE FUNCTION tasker_engine.duty_workers() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_sort = off AS $$
#variable_conflict use_column
DECLARE
    now CONSTANT timestamptz := clock_timestamp();
    oldest CONSTANT uuid := (SELECT t.task_uuid FROM tasker_engine.tasks t ORDER BY t.task_uuid LIMIT 1);
    -- Their claims do not write last_seen_at.
    inside CONSTANT text[] := ARRAY(
        SELECT a.worker_id FROM tasker_engine.background_activity() a WHERE a.worker_id IS NOT NULL
        UNION ALL SELECT 'run_steps/' || p.pid FROM pg_stat_get_activity(NULL) p
        UNION ALL SELECT 'manual'::text);
    leaving integer[];
    announced tasker_engine.worker_handlers[];
    gone bigint;
    amount bigint;
BEGIN
    leaving := ARRAY(
        SELECT o.worker_no FROM tasker_engine.workers o
        WHERE (o.ended_at < now - interval '1 minute' OR o.last_seen_at < now - interval '1 day' AND o.worker_id <> ALL (inside))
          AND (o.idle_until IS NULL OR o.idle_until < now)
          AND o.worker_no NOT IN (SELECT c.worker_no FROM tasker_engine.claims c WHERE c.claim_id >= 0)
        ORDER BY o.worker_no LIMIT 1000
        FOR UPDATE SKIP LOCKED);
    WITH removed AS (DELETE FROM tasker_engine.worker_handlers h WHERE h.worker_no = ANY (leaving) RETURNING h)
    SELECT array_agg(r.h) INTO announced FROM removed r;
    IF announced IS NOT NULL THEN
        PERFORM tasker_engine.tell_handlers_gone(announced);
    END IF;
    WITH gone AS (
        DELETE FROM tasker_engine.workers w WHERE w.worker_no = ANY (leaving)
        RETURNING w.worker_no, w.worker_id)
    INSERT INTO tasker_engine.worker_names AS n (worker_no, worker_id, left_at)
    SELECT g.worker_no, g.worker_id, now FROM gone g
    ON CONFLICT (worker_no) DO UPDATE SET left_at = excluded.left_at;
    GET DIAGNOSTICS gone = ROW_COUNT;
    -- No task is older than the log's entries of it, and no worker acts on a task that is younger than its end.
    DELETE FROM tasker_engine.worker_names n
    WHERE n.worker_no = ANY (ARRAY(
        SELECT o.worker_no
        FROM (SELECT a.worker_no, a.left_at FROM tasker_engine.worker_names a ORDER BY a.left_at LIMIT 1000) o
        WHERE oldest IS NULL OR tasker_engine.uuids_since(o.left_at + interval '2 minutes') < oldest));
    GET DIAGNOSTICS amount = ROW_COUNT;
    RETURN gone + amount;
END
$$;
COMMENT ON FUNCTION tasker_engine.duty_workers() IS 'Moves up to 1,000 workers that have ended, or were not seen for a day, and hold nothing to worker_names, and deletes up to 1,000 names that the log cannot mention any more; returns the number of both.';

CREATE OR REPLACE FUNCTION tasker_engine.run_duty(duty text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    number CONSTANT integer := (SELECT d.duty_no FROM tasker_engine.duties() d WHERE d.duty = run_duty.duty);
    amount bigint;
    problem text;
    code text;
    at timestamptz;
    noted boolean;
BEGIN
    PERFORM tasker_engine.require_version();
    IF number IS NULL THEN
        RAISE EXCEPTION 'no duty is named %', run_duty.duty
            USING ERRCODE = 'P0002', DETAIL = 'run_duty was asked for it.', HINT = 'SELECT * FROM tasker.maintenance_duties;';
    END IF;
    -- Two coordinators, or a coordinator and a session, do not do the same at once.
    IF NOT tasker_engine.try_duty_lock(number) THEN
        RETURN 0;
    END IF;
    BEGIN
        -- The name is one of duties(), which is the only list of them.
        EXECUTE format('SELECT tasker_engine.%I()', 'duty_' || run_duty.duty) INTO amount;
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT, code = RETURNED_SQLSTATE;
        INSERT INTO tasker_engine.duty_runs AS r (duty, last_at, failures, last_error, last_error_at)
        VALUES (run_duty.duty, clock_timestamp(), 1, format('%s: %s', code, problem), clock_timestamp())
        ON CONFLICT ON CONSTRAINT duty_runs_pkey DO UPDATE
        SET last_at = EXCLUDED.last_at, failures = r.failures + 1,
            last_error = EXCLUDED.last_error, last_error_at = EXCLUDED.last_error_at;
        RETURN -1;
    END;
    PERFORM tasker_engine.note_duty_time(run_duty.duty);
    at := clock_timestamp();
    noted := tasker_engine.note_duty_run(number);
    IF amount > 0 OR NOT noted AND NOT EXISTS (
        SELECT FROM tasker_engine.duty_runs r
        WHERE r.duty = run_duty.duty AND r.last_run_at > (at - '1 minute'::interval)
          AND (r.last_error_at IS NULL OR r.last_error_at < r.last_run_at)) THEN
        INSERT INTO tasker_engine.duty_runs AS r (duty, last_run_at, last_at, last_done, total_done)
        VALUES (run_duty.duty, at, CASE WHEN amount > 0 THEN at END, amount, amount)
        ON CONFLICT ON CONSTRAINT duty_runs_pkey DO UPDATE
        SET last_run_at = EXCLUDED.last_run_at, last_at = COALESCE(EXCLUDED.last_at, r.last_at),
            last_done = CASE WHEN EXCLUDED.last_at IS NULL THEN r.last_done ELSE EXCLUDED.last_done END,
            total_done = r.total_done + EXCLUDED.total_done;
    END IF;
    RETURN amount;
END
$$;
COMMENT ON FUNCTION tasker_engine.run_duty(text) IS 'Runs one duty of maintenance once and returns the number of things it did; 0 if nothing was due or another session is running it; -1 if it failed, which tasker.maintenance_duties shows. A failure undoes that batch and nothing else.
duty: a name of tasker_engine.duties().';

CREATE OR REPLACE FUNCTION tasker.run_maintenance() RETURNS TABLE (duty text, done bigint, error text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    task record;
    amount bigint;
    total bigint;
BEGIN
    PERFORM tasker_engine.require_resumed();
    FOR task IN SELECT d.duty FROM tasker_engine.duties() d LOOP
        total := 0;
        FOR round IN 1 .. 100 LOOP
            amount := tasker_engine.run_duty(task.duty);
            EXIT WHEN amount <= 0;
            total := total + amount;
        END LOOP;
        RETURN QUERY SELECT task.duty, total,
            CASE WHEN amount < 0
                 THEN (SELECT r.last_error FROM tasker_engine.duty_runs r WHERE r.duty = task.duty) END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION tasker.run_maintenance() IS 'Does now what the coordinator does in the background, for servers without shared_preload_libraries: call it every few seconds to minutes, by pg_cron say. Safe beside a coordinator and beside itself; a duty that fails does not stop the others. Rule: docs/background-workers.md#maintenance.
duty: name of the duty; tasker.maintenance_duties explains it.
done: how many things it did, at most 100 batches of them.
error: SQLSTATE and message if it failed; NULL if not.';
GRANT EXECUTE ON FUNCTION tasker.run_maintenance() TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker_engine.duty_states() RETURNS TABLE (duty text, last_run_at timestamptz, problem text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    now CONSTANT timestamptz := clock_timestamp();
    preloaded CONSTANT boolean := (SELECT l.preloaded FROM tasker_engine.library() l);
    state record;
BEGIN
    PERFORM tasker_engine.require_version();
    FOR state IN
        SELECT d.duty, d.duty_no, greatest(c.last_run_at, r.last_run_at) AS ran_at, r.last_error,
               coalesce(r.last_error_at > greatest(c.last_run_at, r.last_run_at, '-infinity'), false) AS failed,
               -- Without preload no run is expected before there is something to do.
               now - greatest(c.last_run_at, r.last_run_at, CASE WHEN preloaded THEN coalesce(c.since, pg_postmaster_start_time())
                                                                 ELSE (SELECT min(n.created_at) FROM tasker.task_namespaces n) END) AS waited,
               greatest(10 * d.every, CASE WHEN preloaded THEN interval '30 seconds' ELSE interval '10 minutes' END) AS patience
        FROM tasker_engine.duties() d
        LEFT JOIN tasker_engine.duty_runs r ON r.duty = d.duty
        LEFT JOIN tasker_engine.duty_clocks() c ON c.duty_no = d.duty_no
        ORDER BY d.duty_no
    LOOP
        duty := state.duty;
        last_run_at := state.ran_at;
        problem := CASE
            WHEN pg_is_in_recovery() THEN NULL
            WHEN state.failed THEN format('failed when last run: %s', state.last_error)
            WHEN state.waited > state.patience THEN format('has not run for %s: %s', date_trunc('second', state.waited), coalesce(
                (SELECT coalesce('process ' || l.pid, 'a prepared transaction') || ' holds its lock'
                 FROM pg_locks l
                 WHERE l.locktype = 'object' AND l.granted AND l.classid = 'pg_extension'::regclass AND l.objsubid = state.duty_no
                   AND l.objid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'tasker_ext')
                   AND l.database = (SELECT b.oid FROM pg_database b WHERE b.datname = current_database())),
                CASE WHEN NOT preloaded THEN 'no session calls tasker.run_maintenance()'
                     WHEN NOT tasker_engine.has_coordinator() THEN 'no coordinator is at work'
                     ELSE 'the coordinator does not reach it' END))
        END;
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION tasker_engine.duty_states() IS 'When each duty of maintenance last finished, and what is wrong with it: it failed, or ten of its periods have passed without a run, at least 30 seconds, without preload 10 minutes. On a standby nothing is wrong.
duty: name of the duty.
last_run_at: when it last finished; NULL if not since the server started, without preload if never.
problem: what is wrong; NULL if nothing.';
GRANT EXECUTE ON FUNCTION tasker_engine.duty_states() TO tasker_reader;
