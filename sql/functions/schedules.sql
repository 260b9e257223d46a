-- Schedules: a row with its next time. Claims do not look here.

CREATE OR REPLACE FUNCTION tasker_engine.next_occurrence(cron text, time_zone text, after timestamptz)
RETURNS timestamptz AS 'MODULE_PATHNAME', 'next_occurrence' LANGUAGE c STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.next_occurrence(text, text, timestamptz) IS
'The first time of a cron expression after an instant; NULL if there is none up to the year 5000. 22023 for an expression that cannot be read or an unknown time zone. Rule: docs/schedules.md#times.';

CREATE OR REPLACE FUNCTION tasker_engine.previous_occurrence(cron text, time_zone text, until timestamptz)
RETURNS timestamptz AS 'MODULE_PATHNAME', 'previous_occurrence' LANGUAGE c STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.previous_occurrence(text, text, timestamptz) IS
'The last time of a cron expression not after an instant; NULL if there is none within a hundred years.';

CREATE OR REPLACE FUNCTION tasker_engine.count_occurrences(cron text, time_zone text, since timestamptz, until timestamptz, most integer)
RETURNS bigint AS 'MODULE_PATHNAME', 'count_occurrences' LANGUAGE c STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.count_occurrences(text, text, timestamptz, timestamptz, integer) IS
'Number of times of a cron expression that fall in [since, until); stops counting at `most`.';

CREATE OR REPLACE FUNCTION tasker_engine.check_time_zone(time_zone text)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET work_mem = '4MB' -- the zones are no temporary file, which temp_file_limit could refuse
AS $$
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

CREATE OR REPLACE FUNCTION tasker.next_runs(cron text, time_zone text DEFAULT 'UTC', after timestamptz DEFAULT NULL, count integer DEFAULT 5)
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
'The next times of a cron expression, to try it before it is used; no row if there are none. 22023 for an expression that cannot be read, an unknown time zone, or a count out of range. Rule: docs/schedules.md#times.
cron: Five fields (minute, hour, day of month, month, day of week), six with the second in front, or @hourly, @daily, @weekly, @monthly, @yearly.
time_zone: The time zone of the expression; a name of pg_timezone_names.
after: Times after this one; NULL for now.
count: The number of times, 1 to 1000.
run_at: The time.
local_time: The same on a clock in that time zone.';
GRANT EXECUTE ON FUNCTION tasker.next_runs(text, text, timestamptz, integer) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.check_may_create(owner_oid oid, owner_role text)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = $1) THEN
        RAISE insufficient_privilege USING MESSAGE = format('role %s does not exist', $2),
            DETAIL = 'The schedule belongs to it. A role that was made under its name since is another role.',
            HINT = 'Make the schedule again under a role that may create tasks.';
    END IF;
    IF NOT (SELECT has_function_privilege($1, p.oid, 'EXECUTE') FROM pg_proc p
            WHERE p.pronamespace = 'tasker'::regnamespace AND p.proname = 'create_task') THEN
        RAISE insufficient_privilege USING MESSAGE = format('role %s is not allowed to create tasks', tasker_engine.role_name($1, $2)),
            DETAIL = 'The schedule belongs to it, and its tasks are created with its rights.',
            HINT = format('GRANT tasker_operator TO %I, or make the schedule again under another role.', tasker_engine.role_name($1, $2));
    END IF;
END
$$;
COMMENT ON FUNCTION tasker_engine.check_may_create(oid, text) IS '42501 for a role that is gone or has no right to create tasks.
owner_oid: the role.
owner_role: the name that was kept of it.';

-- Locks it.
CREATE OR REPLACE FUNCTION tasker_engine.own_schedule(caller oid, schedule_name text)
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
COMMENT ON FUNCTION tasker_engine.own_schedule(oid, text) IS 'Locks a schedule; false if there is none. 42501 for a caller that is not allowed to change it.';

CREATE OR REPLACE FUNCTION tasker_engine.unknown_schedule(schedule_name text)
RETURNS void LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE no_data_found USING MESSAGE = format('no schedule has the name "%s"', left($1, 128)),
        DETAIL = 'There is none.', HINT = 'SELECT schedule_name FROM tasker.schedules lists them.';
END
$$;
COMMENT ON FUNCTION tasker_engine.unknown_schedule(text) IS 'Raises P0002.';

-- The public functions tell these who calls (src/functions/schedules.rs).
CREATE OR REPLACE FUNCTION tasker_engine.schedule_task(
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
    -- Whatever create_task would refuse is refused now: the task is created and undone. Not due, so that no worker is woken.
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
COMMENT ON FUNCTION tasker_engine.schedule_task(oid, text, text, text, jsonb, text, text, text, text, boolean, integer, jsonb, boolean) IS 'schedule_task for a caller that is known.';

CREATE OR REPLACE FUNCTION tasker.schedule_task(
    schedule_name text, cron text, task_name text, context jsonb DEFAULT '{}', namespace text DEFAULT 'default',
    version text DEFAULT NULL, time_zone text DEFAULT 'UTC', missed_runs text DEFAULT 'skip', overlap boolean DEFAULT true,
    priority integer DEFAULT 2, tags jsonb DEFAULT '[]', enabled boolean DEFAULT true)
RETURNS timestamptz AS 'MODULE_PATHNAME', 'schedule_task' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.schedule_task(text, text, text, jsonb, text, text, text, text, boolean, integer, jsonb, boolean) IS
'Creates tasks of a template at the times of a cron expression, under the role that calls; returns the first of these times, NULL if not enabled. The same name again replaces the schedule, keeps its history and counts from now. 22023 for an expression that cannot be read or never comes, an unknown time zone or policy; 42501 for a schedule of another role; and whatever create_task would raise. Rule: docs/schedules.md.
schedule_name: Name of the schedule, up to 128 characters.
cron: Five fields (minute, hour, day of month, month, day of week), six with the second in front, or @hourly, @daily, @weekly, @monthly, @yearly.
task_name: Name of the template.
context: Context of every task, a JSON object.
namespace: Namespace of the template.
version: Version of the template; NULL for the highest at the time.
time_zone: The time zone of the expression; a name of pg_timezone_names.
missed_runs: What happens to times that are more than 60 s late: skip leaves them out, all runs each; one runs only the last of all that are due.
overlap: False: a time is left out while the task of the last one is pending or in progress.
priority: Priority of the tasks, 1 to 4.
tags: Tags of the tasks, a JSON array.
enabled: False: stored, and paused.';
GRANT EXECUTE ON FUNCTION tasker.schedule_task(text, text, text, jsonb, text, text, text, text, boolean, integer, jsonb, boolean)
TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker_engine.unschedule_task(caller oid, schedule_name text)
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

CREATE OR REPLACE FUNCTION tasker.unschedule_task(schedule_name text)
RETURNS boolean AS 'MODULE_PATHNAME', 'unschedule_task' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.unschedule_task(text) IS
'Removes a schedule with its history and returns true; false if there is none. Its tasks stay. 42501 for a schedule of another role.
schedule_name: Name of the schedule.';
GRANT EXECUTE ON FUNCTION tasker.unschedule_task(text) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker_engine.pause_schedule(caller oid, schedule_name text)
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

CREATE OR REPLACE FUNCTION tasker.pause_schedule(schedule_name text)
RETURNS text AS 'MODULE_PATHNAME', 'pause_schedule' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.pause_schedule(text) IS
'Stops a schedule until resume_schedule; returns paused. P0002 for an unknown one, 42501 for one of another role.
schedule_name: Name of the schedule.';
GRANT EXECUTE ON FUNCTION tasker.pause_schedule(text) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker_engine.resume_schedule(caller oid, schedule_name text)
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

CREATE OR REPLACE FUNCTION tasker.resume_schedule(schedule_name text)
RETURNS text AS 'MODULE_PATHNAME', 'resume_schedule' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.resume_schedule(text) IS
'Lets a schedule go on from now; what passed during the pause is not missed. Returns active. P0002 for an unknown one, 42501 for one of another role.
schedule_name: Name of the schedule.';
GRANT EXECUTE ON FUNCTION tasker.resume_schedule(text) TO tasker_operator;
