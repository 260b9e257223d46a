-- Running schedules: the coordinator, or a session by run_maintenance(), creates the task of a time that is past and moves the
-- time on in one transaction.

-- The one place where a schedule's task is created.
CREATE OR REPLACE FUNCTION tasker_engine.create_scheduled_task(s tasker_engine.schedules, scheduled_for timestamptz, run_at timestamptz)
RETURNS uuid LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    moment CONSTANT text := to_char($2 AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"');
BEGIN
    PERFORM tasker_engine.check_may_create(s.owner_oid, s.owner_role);
    RETURN tasker.create_task(
        s.task_name, s.context, s.namespace_name, s.version, initiator => 'schedule', source_system => s.schedule_name,
        reason => 'scheduled for ' || moment, tags => s.tags, priority => s.priority, run_at => $3,
        idempotency_key => format('schedule %s %s', s.schedule_name, moment),
        -- In the characters of an id.
        correlation_id => format('schedule_%s_%s', left(regexp_replace(s.schedule_name, '[^A-Za-z0-9_-]', '_', 'g'), 60),
                                 to_char($2 AT TIME ZONE 'UTC', 'YYYYMMDD"T"HH24MISS"Z"')));
END
$$;
COMMENT ON FUNCTION tasker_engine.create_scheduled_task(tasker_engine.schedules, timestamptz, timestamptz) IS
'Creates the task of one time of a schedule and returns its uuid; the same time again gives the same task. Errors are those of create_task, and 42501 for an owner without the right to it.';

CREATE OR REPLACE FUNCTION tasker_engine.log_schedule_run(
    schedule_name text, scheduled_for timestamptz, outcome text, times integer, task_uuid uuid, error text)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM tasker_engine.publish_facts('schedule.run', ARRAY[$1], ARRAY[jsonb_strip_nulls(jsonb_build_object(
        'schedule', $1, 'scheduled_for', tasker_engine.event_time($2), 'outcome', $3, 'timestamp', tasker_engine.event_time(clock_timestamp()),
        'task_uuid', $5, 'reason', $6))],
        (SELECT s.namespace_name FROM tasker_engine.schedules s WHERE s.schedule_name = $1));
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
'Records the outcome of a time of a schedule, also as a fact, and deletes all but the last hundred.';

-- One schedule, locked and due. A round creates at most a hundred tasks of it.
CREATE OR REPLACE FUNCTION tasker_engine.run_schedule(s tasker_engine.schedules, at_time timestamptz)
RETURNS bigint LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    grace CONSTANT interval := interval '60 seconds';
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
        IF EXISTS (SELECT FROM tasker_engine.schedule_runs r
                   WHERE r.schedule_name = s.schedule_name AND r.scheduled_for = occurrence AND r.outcome = 'created') THEN
            NULL; -- The clock was set back.
        ELSIF NOT s.overlap AND EXISTS (SELECT FROM tasker_engine.tasks t
                                     WHERE t.task_uuid = s.last_task_uuid AND tasker_engine.is_open(t.state)) THEN
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
'Creates the tasks of a due schedule as its policies say and sets its next time; returns the number of times processed. Rule: docs/schedules.md#missed-times.';

CREATE OR REPLACE FUNCTION tasker_engine.duty_schedules() RETURNS bigint
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
COMMENT ON FUNCTION tasker_engine.duty_schedules() IS 'Creates the tasks of up to 100 schedules that are due; returns the number of times processed.';
