-- Schedules: tasks created at times of a calendar. A schedule is a row with its next time; whoever finds that time past creates
-- the task and moves the time on in one transaction: the coordinator, or a session by run_maintenance(). Claims do not look here.

CREATE TABLE tasker_engine.schedules (
    schedule_name text PRIMARY KEY,
    cron text NOT NULL,
    time_zone text NOT NULL,
    namespace_name text NOT NULL,
    task_name text NOT NULL,
    version text,
    context jsonb NOT NULL,
    missed_runs text NOT NULL,
    overlap boolean NOT NULL,
    priority integer NOT NULL,
    tags jsonb NOT NULL,
    enabled boolean NOT NULL,
    owner_role text NOT NULL,
    owner_oid oid,
    next_run_at timestamptz,
    last_run_at timestamptz,
    last_task_uuid uuid,
    last_error text,
    last_error_at timestamptz,
    runs bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    failures bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
) WITH (fillfactor = 50);
CREATE INDEX schedules_due ON tasker_engine.schedules (next_run_at);
COMMENT ON TABLE tasker_engine.schedules IS 'One row per schedule with its next time, NULL while it is paused; tasker.schedules shows it.';

CREATE FUNCTION tasker_engine.find_schedule_owner() RETURNS trigger
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.owner_role = OLD.owner_role THEN
        NEW.owner_oid := OLD.owner_oid;
    ELSE
        NEW.owner_oid := tasker_engine.role_oid(NEW.owner_role);
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION tasker_engine.find_schedule_owner() IS 'Looks up the oid of the role that a row of tasker_engine.schedules names: what a dump or a publisher says of oids is of another cluster.';
-- Also where a restore has switched triggers off.
CREATE TRIGGER find_schedule_owner BEFORE INSERT ON tasker_engine.schedules
    FOR EACH ROW EXECUTE FUNCTION tasker_engine.find_schedule_owner();
ALTER TABLE tasker_engine.schedules ENABLE ALWAYS TRIGGER find_schedule_owner;
-- Only what comes from a publisher; the engine says both.
CREATE TRIGGER find_published_owner BEFORE UPDATE ON tasker_engine.schedules
    FOR EACH ROW EXECUTE FUNCTION tasker_engine.find_schedule_owner();
ALTER TABLE tasker_engine.schedules ENABLE REPLICA TRIGGER find_published_owner;

-- The last hundred of each schedule.
CREATE TABLE tasker_engine.schedule_runs (
    schedule_name text NOT NULL REFERENCES tasker_engine.schedules ON DELETE CASCADE,
    scheduled_for timestamptz NOT NULL,
    outcome text NOT NULL,
    times integer NOT NULL DEFAULT 1,
    task_uuid uuid,
    error text,
    decided_at timestamptz NOT NULL,
    PRIMARY KEY (schedule_name, scheduled_for)
);
COMMENT ON TABLE tasker_engine.schedule_runs IS 'What became of the last hundred times of each schedule; tasker.schedule_runs shows it. A task in it may have been purged since.';

-- ---- times ----------------------------------------------------------------------------------------------------------

CREATE FUNCTION tasker_engine.next_occurrence(cron text, time_zone text, after timestamptz)
RETURNS timestamptz AS 'MODULE_PATHNAME', 'next_occurrence' LANGUAGE c STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.next_occurrence(text, text, timestamptz) IS
'The first time of a cron expression after an instant; NULL if there is none up to the year 5000. 22023 for an expression that cannot be read or an unknown time zone. Rule: docs/schedules.md#times.';

CREATE FUNCTION tasker_engine.previous_occurrence(cron text, time_zone text, until timestamptz)
RETURNS timestamptz AS 'MODULE_PATHNAME', 'previous_occurrence' LANGUAGE c STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.previous_occurrence(text, text, timestamptz) IS
'The last time of a cron expression not after an instant; NULL if there is none within a hundred years.';

CREATE FUNCTION tasker_engine.count_occurrences(cron text, time_zone text, since timestamptz, until timestamptz, most integer)
RETURNS bigint AS 'MODULE_PATHNAME', 'count_occurrences' LANGUAGE c STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.count_occurrences(text, text, timestamptz, timestamptz, integer) IS
'How many times of a cron expression lie from one instant on and before another; counts no further than most.';

CREATE FUNCTION tasker_engine.check_time_zone(time_zone text)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM tasker_engine.required($1, 'time_zone');
    -- What SET timezone takes besides, such as a POSIX rule, means the opposite of what most people expect.
    IF NOT EXISTS (SELECT FROM pg_timezone_names z WHERE z.name = $1) THEN
        RAISE invalid_parameter_value USING MESSAGE = format('unknown time zone "%s"', left($1, 64)),
            DETAIL = 'This server has no time zone of that name; abbreviations and POSIX rules are not taken.',
            HINT = 'SELECT name FROM pg_timezone_names lists them, such as Europe/Berlin.';
    END IF;
END
$$;
COMMENT ON FUNCTION tasker_engine.check_time_zone(text) IS '22023 for a name that pg_timezone_names does not have, 22004 for NULL.';

CREATE FUNCTION tasker.next_runs(cron text, time_zone text DEFAULT 'UTC', after timestamptz DEFAULT NULL, count integer DEFAULT 5)
RETURNS TABLE (run_at timestamptz, local_time timestamp)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 5 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM tasker_engine.required($1, 'cron'), tasker_engine.required($4, 'count');
    PERFORM tasker_engine.check_time_zone($2);
    IF $4 NOT BETWEEN 1 AND 1000 THEN
        RAISE invalid_parameter_value USING MESSAGE = format('count %s is out of range', $4),
            DETAIL = 'It is from 1 to 1000.', HINT = 'For later times give the last one as after.';
    END IF;
    run_at := coalesce($3, clock_timestamp());
    FOR turn IN 1 .. $4 LOOP
        run_at := tasker_engine.next_occurrence($1, $2, run_at);
        EXIT WHEN run_at IS NULL;
        local_time := run_at AT TIME ZONE $2;
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION tasker.next_runs(text, text, timestamptz, integer) IS
'The next times of a cron expression, to try it before it is used; no row if it never comes. 22023 for an expression that cannot be read, an unknown time zone, or a count out of range. Rule: docs/schedules.md#times.
cron: Five fields (minute, hour, day of month, month, day of week), six with the second in front, or @hourly, @daily, @weekly, @monthly, @yearly.
time_zone: In which the expression is meant; a name of pg_timezone_names.
after: Times after this one; NULL for now.
count: How many, 1 to 1000.
run_at: When.
local_time: The same on a clock in that time zone.';
GRANT EXECUTE ON FUNCTION tasker.next_runs(text, text, timestamptz, integer) TO tasker_reader;

-- ---- who ------------------------------------------------------------------------------------------------------------

CREATE FUNCTION tasker_engine.check_may_create(owner_oid oid, owner_role text)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = $1) THEN
        RAISE insufficient_privilege USING MESSAGE = format('role %s does not exist', $2),
            DETAIL = 'The schedule belongs to it. A role that was made under its name since is another role.',
            HINT = 'Make the schedule again under a role that may create tasks.';
    END IF;
    IF NOT (SELECT has_function_privilege($1, p.oid, 'EXECUTE') FROM pg_proc p
            WHERE p.pronamespace = 'tasker'::regnamespace AND p.proname = 'create_task') THEN
        RAISE insufficient_privilege USING MESSAGE = format('role %s may not create tasks', tasker_engine.role_name($1, $2)),
            DETAIL = 'The schedule belongs to it, and its tasks are created with its rights.',
            HINT = format('GRANT tasker_operator TO %I, or make the schedule again under another role.', tasker_engine.role_name($1, $2));
    END IF;
END
$$;
COMMENT ON FUNCTION tasker_engine.check_may_create(oid, text) IS '42501 for a role that is gone or has no right to create tasks.
owner_oid: the role.
owner_role: the name that was kept of it.';

-- Locks it.
CREATE FUNCTION tasker_engine.own_schedule(caller oid, schedule_name text)
RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    owner record;
BEGIN
    PERFORM tasker_engine.required($2, 'schedule_name');
    SELECT s.owner_oid, s.owner_role INTO owner FROM tasker_engine.schedules s WHERE s.schedule_name = $2 FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF pg_has_role($1, 'tasker_admin', 'MEMBER')
       OR EXISTS (SELECT FROM pg_roles r WHERE r.oid = owner.owner_oid AND pg_has_role($1, r.oid, 'MEMBER')) THEN
        RETURN true;
    END IF;
    RAISE insufficient_privilege USING
        MESSAGE = format('schedule %s belongs to role %s', $2, tasker_engine.role_name(owner.owner_oid, owner.owner_role)),
        DETAIL = format('%s is no member of it.', tasker_engine.role_name($1, NULL)), HINT = 'Its owner and members of tasker_admin change it.';
END
$$;
COMMENT ON FUNCTION tasker_engine.own_schedule(oid, text) IS 'Locks a schedule; false if there is none. 42501 for a caller who may not change it.';

CREATE FUNCTION tasker_engine.unknown_schedule(schedule_name text)
RETURNS void LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE no_data_found USING MESSAGE = format('no schedule has the name "%s"', left($1, 128)),
        DETAIL = 'There is none.', HINT = 'SELECT schedule_name FROM tasker.schedules lists them.';
END
$$;
COMMENT ON FUNCTION tasker_engine.unknown_schedule(text) IS 'Raises P0002.';

-- ---- making them ----------------------------------------------------------------------------------------------------

-- The one place where a schedule's task is created.
CREATE FUNCTION tasker_engine.create_scheduled_task(s tasker_engine.schedules, scheduled_for timestamptz, run_at timestamptz)
RETURNS uuid LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    moment CONSTANT text := to_char($2 AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"');
BEGIN
    PERFORM tasker_engine.check_may_create(s.owner_oid, s.owner_role);
    RETURN tasker.create_task(
        s.task_name, s.context, s.namespace_name, s.version, initiator => 'schedule', source_system => s.schedule_name,
        reason => 'scheduled for ' || moment, tags => s.tags, priority => s.priority, run_at => $3,
        idempotency_key => format('schedule %s %s', s.schedule_name, moment),
        correlation_id => format('%s@%s', s.schedule_name, moment));
END
$$;
COMMENT ON FUNCTION tasker_engine.create_scheduled_task(tasker_engine.schedules, timestamptz, timestamptz) IS
'Creates the task of one time of a schedule and returns its uuid; the same time again gives the same task. Errors are those of create_task, and 42501 for an owner without the right to it.';

-- The public functions tell these who calls (src/functions/schedules.rs).
CREATE FUNCTION tasker_engine.schedule_task(
    caller oid, schedule_name text, cron text, task_name text, context jsonb, namespace text, version text, time_zone text,
    missed_runs text, overlap boolean, priority integer, tags jsonb, enabled boolean)
RETURNS timestamptz LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    s tasker_engine.schedules;
    known boolean;
BEGIN
    PERFORM tasker_engine.checked($2, 'schedule', 'schedule_name'), tasker_engine.required($3, 'cron'),
        tasker_engine.required($4, 'task_name'), tasker_engine.required($5, 'context'),
        tasker_engine.required($6, 'namespace'), tasker_engine.required($9, 'missed_runs'),
        tasker_engine.required($10, 'overlap'), tasker_engine.required($11, 'priority'),
        tasker_engine.required($12, 'tags'), tasker_engine.required($13, 'enabled');
    PERFORM tasker_engine.check_time_zone($8);
    IF $9 NOT IN ('skip', 'one', 'all') THEN
        RAISE invalid_parameter_value USING MESSAGE = format('unknown policy "%s" for missed runs', left($9, 64)),
            DETAIL = 'It is skip, one or all.', HINT = 'skip leaves them out, one catches up with a single run, all runs each.';
    END IF;
    s.schedule_name := $2; s.cron := $3; s.task_name := $4; s.context := $5; s.namespace_name := $6; s.version := $7;
    s.time_zone := $8; s.missed_runs := $9; s.overlap := $10; s.priority := $11; s.tags := $12; s.enabled := $13;
    s.owner_oid := $1; s.owner_role := tasker_engine.role_name($1, NULL);
    s.next_run_at := tasker_engine.next_occurrence($3, $8, clock_timestamp());
    IF s.next_run_at IS NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = format('cron expression "%s" never comes', left($3, 64)),
            DETAIL = 'There is no such time up to the year 5000.',
            HINT = 'SELECT * FROM tasker.next_runs(cron, time_zone) shows the times of an expression.';
    END IF;
    known := tasker_engine.own_schedule($1, $2);
    -- Whatever create_task would refuse is refused now: the task is created and undone. Not due, so that nobody is woken.
    BEGIN
        PERFORM tasker_engine.create_scheduled_task(s, clock_timestamp(), clock_timestamp() + interval '1 day');
        RAISE raise_exception;
    EXCEPTION WHEN raise_exception THEN
        NULL;
    END;
    IF NOT $13 THEN
        s.next_run_at := NULL;
    END IF;
    LOOP
        INSERT INTO tasker_engine.schedules AS o
            (schedule_name, cron, time_zone, namespace_name, task_name, version, context, missed_runs, overlap, priority, tags,
             enabled, owner_role, owner_oid, next_run_at)
        VALUES ($2, $3, $8, $6, $4, $7, $5, $9, $10, $11, $12, $13, s.owner_role, $1, s.next_run_at)
        ON CONFLICT (schedule_name) DO UPDATE
        SET cron = excluded.cron, time_zone = excluded.time_zone, namespace_name = excluded.namespace_name,
            task_name = excluded.task_name, version = excluded.version, context = excluded.context,
            missed_runs = excluded.missed_runs, overlap = excluded.overlap, priority = excluded.priority,
            tags = excluded.tags, enabled = excluded.enabled, owner_role = excluded.owner_role, owner_oid = $1,
            next_run_at = excluded.next_run_at, updated_at = clock_timestamp()
        WHERE known;
        EXIT WHEN FOUND;
        -- It has been made since the look: the same question of the one that is there now.
        known := tasker_engine.own_schedule($1, $2);
    END LOOP;
    RETURN s.next_run_at;
END
$$;
COMMENT ON FUNCTION tasker_engine.schedule_task IS 'schedule_task for a caller that is known.';

CREATE FUNCTION tasker.schedule_task(
    schedule_name text, cron text, task_name text, context jsonb DEFAULT '{}', namespace text DEFAULT 'default',
    version text DEFAULT NULL, time_zone text DEFAULT 'UTC', missed_runs text DEFAULT 'skip', overlap boolean DEFAULT true,
    priority integer DEFAULT 2, tags jsonb DEFAULT '[]', enabled boolean DEFAULT true)
RETURNS timestamptz AS 'MODULE_PATHNAME', 'schedule_task' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.schedule_task IS
'Creates tasks of a template at the times of a cron expression, under the role that calls; returns the first of these times, NULL if not enabled. The same name again replaces the schedule, keeps its history and counts from now. 22023 for an expression that cannot be read or never comes, an unknown time zone or policy; 42501 for a schedule of another role; and whatever create_task would raise. Rule: docs/schedules.md.
schedule_name: Name of the schedule, up to 128 characters.
cron: Five fields (minute, hour, day of month, month, day of week), six with the second in front, or @hourly, @daily, @weekly, @monthly, @yearly.
task_name: Name of the template.
context: Context of every task, a JSON object.
namespace: Namespace of the template.
version: Version of the template; NULL for the highest at the time.
time_zone: In which the expression is meant; a name of pg_timezone_names.
missed_runs: What becomes of times that are more than 60 s late: skip leaves them out, all runs each; one runs only the last of all that are due.
overlap: False: a time is left out while the task of the last one is pending or in progress.
priority: Priority of the tasks, 1 to 4.
tags: Tags of the tasks, a JSON array.
enabled: False: stored, and paused.';

CREATE FUNCTION tasker_engine.unschedule_task(caller oid, schedule_name text)
RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF NOT tasker_engine.own_schedule($1, $2) THEN
        RETURN false;
    END IF;
    DELETE FROM tasker_engine.schedules s WHERE s.schedule_name = $2;
    RETURN true;
END
$$;
COMMENT ON FUNCTION tasker_engine.unschedule_task(oid, text) IS 'unschedule_task for a caller that is known.';

CREATE FUNCTION tasker.unschedule_task(schedule_name text)
RETURNS boolean AS 'MODULE_PATHNAME', 'unschedule_task' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.unschedule_task(text) IS
'Removes a schedule with its history and returns true; false if there is none. Its tasks stay. 42501 for a schedule of another role.
schedule_name: Name of the schedule.';

CREATE FUNCTION tasker_engine.pause_schedule(caller oid, schedule_name text)
RETURNS text LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF NOT tasker_engine.own_schedule($1, $2) THEN
        PERFORM tasker_engine.unknown_schedule($2);
    END IF;
    UPDATE tasker_engine.schedules s SET enabled = false, next_run_at = NULL, updated_at = clock_timestamp()
    WHERE s.schedule_name = $2 AND s.enabled;
    RETURN 'paused';
END
$$;
COMMENT ON FUNCTION tasker_engine.pause_schedule(oid, text) IS 'pause_schedule for a caller that is known.';

CREATE FUNCTION tasker.pause_schedule(schedule_name text)
RETURNS text AS 'MODULE_PATHNAME', 'pause_schedule' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.pause_schedule(text) IS
'Stops a schedule until resume_schedule; returns paused. P0002 for an unknown one, 42501 for one of another role.
schedule_name: Name of the schedule.';

CREATE FUNCTION tasker_engine.resume_schedule(caller oid, schedule_name text)
RETURNS text LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF NOT tasker_engine.own_schedule($1, $2) THEN
        PERFORM tasker_engine.unknown_schedule($2);
    END IF;
    UPDATE tasker_engine.schedules s
    SET enabled = true, next_run_at = tasker_engine.next_occurrence(s.cron, s.time_zone, clock_timestamp()),
        updated_at = clock_timestamp()
    WHERE s.schedule_name = $2 AND s.next_run_at IS NULL;
    RETURN 'active';
END
$$;
COMMENT ON FUNCTION tasker_engine.resume_schedule(oid, text) IS 'resume_schedule for a caller that is known.';

CREATE FUNCTION tasker.resume_schedule(schedule_name text)
RETURNS text AS 'MODULE_PATHNAME', 'resume_schedule' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.resume_schedule(text) IS
'Lets a schedule go on from now; what passed during the pause is not missed. Returns active. P0002 for an unknown one, 42501 for one of another role.
schedule_name: Name of the schedule.';

GRANT EXECUTE ON FUNCTION
    tasker.schedule_task(text, text, text, jsonb, text, text, text, text, boolean, integer, jsonb, boolean),
    tasker.unschedule_task(text), tasker.pause_schedule(text), tasker.resume_schedule(text)
TO tasker_operator;

-- ---- running them ---------------------------------------------------------------------------------------------------

CREATE FUNCTION tasker_engine.log_schedule_run(
    schedule_name text, scheduled_for timestamptz, outcome text, times integer, task_uuid uuid, error text)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO tasker_engine.schedule_runs (schedule_name, scheduled_for, outcome, times, task_uuid, error, decided_at)
    VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp())
    ON CONFLICT (schedule_name, scheduled_for) DO UPDATE
    SET outcome = excluded.outcome, times = excluded.times, task_uuid = excluded.task_uuid, error = excluded.error,
        decided_at = excluded.decided_at;
    DELETE FROM tasker_engine.schedule_runs r
    WHERE r.schedule_name = $1
      AND r.scheduled_for <= (SELECT o.scheduled_for FROM tasker_engine.schedule_runs o WHERE o.schedule_name = $1
                              ORDER BY o.scheduled_for DESC OFFSET 100 LIMIT 1);
END
$$;
COMMENT ON FUNCTION tasker_engine.log_schedule_run(text, timestamptz, text, integer, uuid, text) IS
'Writes down what became of a time of a schedule, and forgets all but the last hundred.';

-- One schedule, locked and due. A round creates at most a hundred tasks of it.
CREATE FUNCTION tasker_engine.run_schedule(s tasker_engine.schedules, at_time timestamptz)
RETURNS bigint LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    grace CONSTANT interval := '60 seconds';
    occurrence timestamptz := s.next_run_at;
    missed bigint := 0;
    done bigint := 0;
    task uuid;
    problem text;
    code text;
BEGIN
    IF s.missed_runs = 'skip' AND occurrence < $2 - grace THEN
        occurrence := tasker_engine.next_occurrence(s.cron, s.time_zone, $2 - grace);
    ELSIF s.missed_runs = 'one' THEN
        occurrence := greatest(occurrence, tasker_engine.previous_occurrence(s.cron, s.time_zone, $2));
    END IF;
    IF occurrence IS DISTINCT FROM s.next_run_at THEN
        missed := tasker_engine.count_occurrences(
            s.cron, s.time_zone, s.next_run_at, coalesce(occurrence, $2), 10000);
        done := 1;
        s.skipped := s.skipped + missed;
        PERFORM tasker_engine.log_schedule_run(s.schedule_name, s.next_run_at, 'missed', missed::integer, NULL, NULL);
    END IF;
    WHILE occurrence <= $2 AND done < 100 LOOP
        IF NOT s.overlap AND EXISTS (SELECT FROM tasker_engine.tasks t
                                     WHERE t.task_uuid = s.last_task_uuid AND t.state IN ('p', 'i')) THEN
            s.skipped := s.skipped + 1;
            PERFORM tasker_engine.log_schedule_run(s.schedule_name, occurrence, 'overlapped', 1, s.last_task_uuid, NULL);
        ELSE
            BEGIN
                task := tasker_engine.create_scheduled_task(s, occurrence, occurrence);
                s.runs := s.runs + 1;
                s.last_run_at := occurrence;
                s.last_task_uuid := task;
                PERFORM tasker_engine.log_schedule_run(s.schedule_name, occurrence, 'created', 1, task, NULL);
            EXCEPTION WHEN OTHERS THEN
                GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT, code = RETURNED_SQLSTATE;
                s.last_error := format('%s: %s', code, problem);
                s.last_error_at := clock_timestamp();
                -- A deadlock or a lack of memory says nothing of the schedule: the next round tries again.
                EXIT WHEN left(code, 2) IN ('40', '53') OR code = '55P03';
                s.failures := s.failures + 1;
                PERFORM tasker_engine.log_schedule_run(s.schedule_name, occurrence, 'failed', 1, NULL, s.last_error);
            END;
        END IF;
        done := done + 1;
        occurrence := tasker_engine.next_occurrence(s.cron, s.time_zone, occurrence);
    END LOOP;
    UPDATE tasker_engine.schedules o
    SET next_run_at = occurrence, last_run_at = s.last_run_at, last_task_uuid = s.last_task_uuid,
        last_error = s.last_error, last_error_at = s.last_error_at, runs = s.runs, skipped = s.skipped,
        failures = s.failures
    WHERE o.schedule_name = s.schedule_name;
    RETURN done;
END
$$;
COMMENT ON FUNCTION tasker_engine.run_schedule(tasker_engine.schedules, timestamptz) IS
'Creates the tasks of a due schedule as its policies say and moves its next time on; returns how many times it has dealt with. Rule: docs/schedules.md#missed-times.';

CREATE FUNCTION tasker_engine.refresh_schedule_owners() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    renamed bigint;
BEGIN
    UPDATE tasker_engine.schedules s SET owner_role = n.rolname
    FROM (SELECT o.schedule_name, r.rolname
          FROM tasker_engine.schedules o JOIN pg_roles r ON r.oid = o.owner_oid AND r.rolname <> o.owner_role
          FOR UPDATE OF o SKIP LOCKED) n
    WHERE s.schedule_name = n.schedule_name;
    GET DIAGNOSTICS renamed = ROW_COUNT;
    RETURN renamed;
END
$$;
COMMENT ON FUNCTION tasker_engine.refresh_schedule_owners() IS 'Writes the new names of renamed roles into tasker_engine.schedules, for the next dump; returns how many rows.';

CREATE FUNCTION tasker_engine.duty_schedules() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    s tasker_engine.schedules;
    at_time CONSTANT timestamptz := clock_timestamp();
    done bigint := 0;
    problem text;
    code text;
BEGIN
    FOR s IN SELECT d.* FROM tasker_engine.schedules d WHERE d.next_run_at <= at_time
             ORDER BY d.next_run_at LIMIT 100 FOR UPDATE SKIP LOCKED LOOP
        BEGIN
            done := done + tasker_engine.run_schedule(s, at_time);
        EXCEPTION WHEN OTHERS THEN
            -- Its times cannot be told any more, say because the server has lost its time zone: it stops, the others go on.
            GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT, code = RETURNED_SQLSTATE;
            UPDATE tasker_engine.schedules o
            SET next_run_at = NULL, last_error = format('%s: %s', code, problem), last_error_at = clock_timestamp(),
                failures = o.failures + 1
            WHERE o.schedule_name = s.schedule_name;
            done := done + 1;
        END;
    END LOOP;
    RETURN done;
END
$$;
COMMENT ON FUNCTION tasker_engine.duty_schedules() IS 'Creates the tasks of up to 100 schedules that are due; returns how many times of them it has dealt with.';

-- ---- reading --------------------------------------------------------------------------------------------------------

CREATE VIEW tasker.schedules AS
SELECT s.schedule_name, s.cron, s.time_zone, s.namespace_name, s.task_name, s.version, s.context, s.missed_runs, s.overlap,
       s.priority, s.tags, s.enabled, tasker_engine.role_name(s.owner_oid, s.owner_role) AS owner_role, s.next_run_at, s.last_run_at, s.last_task_uuid,
       tasker_engine.state_name(t.state) AS last_task_state, s.last_error, s.last_error_at, s.runs, s.skipped, s.failures,
       s.created_at, s.updated_at
FROM tasker_engine.schedules s
LEFT JOIN tasker_engine.tasks t ON t.task_uuid OPERATOR(pg_catalog.=) s.last_task_uuid;
GRANT EXECUTE ON FUNCTION tasker_engine.role_name(oid, text) TO tasker_reader; -- a view runs with its reader's rights on functions
COMMENT ON VIEW tasker.schedules IS 'Every schedule with its settings, its next time and how it went. Rule: docs/schedules.md.';
COMMENT ON COLUMN tasker.schedules.schedule_name IS 'Name of the schedule; the source_system of its tasks.';
COMMENT ON COLUMN tasker.schedules.cron IS 'The cron expression.';
COMMENT ON COLUMN tasker.schedules.time_zone IS 'The time zone in which it is meant.';
COMMENT ON COLUMN tasker.schedules.namespace_name IS 'Namespace of the template.';
COMMENT ON COLUMN tasker.schedules.task_name IS 'Name of the template.';
COMMENT ON COLUMN tasker.schedules.version IS 'Version of the template; NULL for the highest at the time.';
COMMENT ON COLUMN tasker.schedules.context IS 'Context of its tasks.';
COMMENT ON COLUMN tasker.schedules.missed_runs IS 'What becomes of times that are more than 60 s late: skip, one or all.';
COMMENT ON COLUMN tasker.schedules.overlap IS 'Whether a task is created while the last one is still open.';
COMMENT ON COLUMN tasker.schedules.priority IS 'Priority of its tasks, 1 to 4.';
COMMENT ON COLUMN tasker.schedules.tags IS 'Tags of its tasks.';
COMMENT ON COLUMN tasker.schedules.enabled IS 'False while it is paused.';
COMMENT ON COLUMN tasker.schedules.owner_role IS 'The role that made or last replaced it; its tasks are created only while that role may create tasks.';
COMMENT ON COLUMN tasker.schedules.next_run_at IS 'Its next time; NULL while it is paused, and where last_error says that its times cannot be told any more.';
COMMENT ON COLUMN tasker.schedules.last_run_at IS 'The time for which its last task was created; NULL if none was.';
COMMENT ON COLUMN tasker.schedules.last_task_uuid IS 'Its last task, which may have been purged since; NULL if none.';
COMMENT ON COLUMN tasker.schedules.last_task_state IS 'State of that task; NULL if it is gone.';
COMMENT ON COLUMN tasker.schedules.last_error IS 'SQLSTATE and message of the last failure to create a task; NULL if none.';
COMMENT ON COLUMN tasker.schedules.last_error_at IS 'When that was.';
COMMENT ON COLUMN tasker.schedules.runs IS 'How many tasks it has created.';
COMMENT ON COLUMN tasker.schedules.skipped IS 'How many times were left out: missed, or because the last task was still open. Of one stretch of missed times at most 10,000 are counted.';
COMMENT ON COLUMN tasker.schedules.failures IS 'At how many times the task could not be created.';
COMMENT ON COLUMN tasker.schedules.created_at IS 'When it was made first.';
COMMENT ON COLUMN tasker.schedules.updated_at IS 'When it was replaced, paused or resumed last.';

CREATE VIEW tasker.schedule_runs AS
SELECT r.schedule_name, r.scheduled_for, r.outcome, r.times, r.task_uuid, tasker_engine.state_name(t.state) AS task_state, r.error,
       r.decided_at, r.decided_at OPERATOR(pg_catalog.-) r.scheduled_for AS delay
FROM tasker_engine.schedule_runs r
LEFT JOIN tasker_engine.tasks t ON t.task_uuid OPERATOR(pg_catalog.=) r.task_uuid;
COMMENT ON VIEW tasker.schedule_runs IS 'What became of the last hundred times of each schedule.';
COMMENT ON COLUMN tasker.schedule_runs.schedule_name IS 'Name of the schedule.';
COMMENT ON COLUMN tasker.schedule_runs.scheduled_for IS 'The time; of a stretch of missed times the first.';
COMMENT ON COLUMN tasker.schedule_runs.outcome IS 'created; failed: the task could not be created; overlapped: left out because the last task was still open; missed: left out because it was late.';
COMMENT ON COLUMN tasker.schedule_runs.times IS 'How many times the row stands for: 1, but for missed ones.';
COMMENT ON COLUMN tasker.schedule_runs.task_uuid IS 'The task created, or the one that was still open; it may have been purged since.';
COMMENT ON COLUMN tasker.schedule_runs.task_state IS 'State of that task; NULL if there is none or it is gone.';
COMMENT ON COLUMN tasker.schedule_runs.error IS 'SQLSTATE and message of a failure; NULL else.';
COMMENT ON COLUMN tasker.schedule_runs.decided_at IS 'When that was decided.';
COMMENT ON COLUMN tasker.schedule_runs.delay IS 'How much later than the time itself.';

COMMENT ON COLUMN tasker_engine.schedules.owner_oid IS 'That role: the oid decides, and owner_role is its name for a dump, which maintenance refreshes after a rename. NULL if no role had the name when the row was restored; the schedule then creates nothing.';

-- What is stored means what the views say.
DO $$
DECLARE
    c record;
BEGIN
    FOR c IN
        SELECT a.attname, stored.oid::pg_catalog.regclass::text AS relation, pg_catalog.col_description(shown.oid, v.attnum) AS comment
        FROM pg_catalog.pg_class shown
        JOIN pg_catalog.pg_class stored ON stored.relname OPERATOR(pg_catalog.=) shown.relname
                                       AND stored.relnamespace OPERATOR(pg_catalog.=) 'tasker_engine'::pg_catalog.regnamespace
        JOIN pg_catalog.pg_attribute v ON v.attrelid OPERATOR(pg_catalog.=) shown.oid AND v.attnum OPERATOR(pg_catalog.>) 0
        JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) stored.oid AND a.attname OPERATOR(pg_catalog.=) v.attname
        WHERE shown.relnamespace OPERATOR(pg_catalog.=) 'tasker'::pg_catalog.regnamespace
          AND shown.relname OPERATOR(pg_catalog.=) ANY (ARRAY['schedules', 'schedule_runs']::pg_catalog.name[])
    LOOP
        EXECUTE pg_catalog.format('COMMENT ON COLUMN %s.%I IS %L', c.relation, c.attname, c.comment);
    END LOOP;
END
$$;
