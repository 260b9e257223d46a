-- Schedules and how their times went.

CREATE OR REPLACE VIEW tasker.schedules AS
SELECT s.schedule_name, s.cron, s.time_zone, s.namespace_name, s.task_name, s.version, s.context, s.missed_runs, s.overlap,
       s.priority, s.tags, s.enabled, tasker_engine.role_name(s.owner_oid, s.owner_role) AS owner_role, s.next_run_at, s.last_run_at, s.last_task_uuid,
       tasker_engine.state_name(t.state) AS last_task_state, s.last_error, s.last_error_at, s.runs, s.skipped, s.failures,
       s.created_at, s.updated_at
FROM tasker_engine.schedules s
LEFT JOIN tasker_engine.tasks t ON t.task_uuid = s.last_task_uuid;
COMMENT ON VIEW tasker.schedules IS 'Every schedule with its settings, its next time and how it went. Rule: docs/schedules.md.';
COMMENT ON COLUMN tasker.schedules.schedule_name IS 'Name of the schedule; the source_system of its tasks.';
COMMENT ON COLUMN tasker.schedules.cron IS 'The cron expression.';
COMMENT ON COLUMN tasker.schedules.time_zone IS 'The time zone of the cron expression.';
COMMENT ON COLUMN tasker.schedules.namespace_name IS 'Namespace of the template.';
COMMENT ON COLUMN tasker.schedules.task_name IS 'Name of the template.';
COMMENT ON COLUMN tasker.schedules.version IS 'Version of the template; NULL for the highest at the time.';
COMMENT ON COLUMN tasker.schedules.context IS 'Context of its tasks.';
COMMENT ON COLUMN tasker.schedules.missed_runs IS 'What happens to times that are more than 60 s late: skip, one or all.';
COMMENT ON COLUMN tasker.schedules.overlap IS 'Whether a task is created while the last one is still open.';
COMMENT ON COLUMN tasker.schedules.priority IS 'Priority of its tasks, 1 to 4.';
COMMENT ON COLUMN tasker.schedules.tags IS 'Tags of its tasks.';
COMMENT ON COLUMN tasker.schedules.enabled IS 'False while it is paused.';
COMMENT ON COLUMN tasker.schedules.owner_role IS 'The role that made or last replaced it; its tasks are created only while that role may create tasks.';
COMMENT ON COLUMN tasker.schedules.next_run_at IS 'Its next time; NULL while it is paused, and where last_error says that its times can no longer be computed.';
COMMENT ON COLUMN tasker.schedules.last_run_at IS 'The time for which its latest task was created; NULL if none was.';
COMMENT ON COLUMN tasker.schedules.last_task_uuid IS 'Its last task, which may have been purged since; NULL if none.';
COMMENT ON COLUMN tasker.schedules.last_task_state IS 'State of that task; NULL if it is gone.';
COMMENT ON COLUMN tasker.schedules.last_error IS 'SQLSTATE and message of the last failure to create a task; NULL if none.';
COMMENT ON COLUMN tasker.schedules.last_error_at IS 'When that failure happened.';
COMMENT ON COLUMN tasker.schedules.runs IS 'Number of tasks that it has created.';
COMMENT ON COLUMN tasker.schedules.skipped IS 'Number of times that were left out: missed, or because the last task was still open. At most 10,000 are counted of one stretch of missed times.';
COMMENT ON COLUMN tasker.schedules.failures IS 'Number of times at which the task could not be created.';
COMMENT ON COLUMN tasker.schedules.created_at IS 'When it was first made.';
COMMENT ON COLUMN tasker.schedules.updated_at IS 'When it was last replaced, paused or resumed.';
GRANT SELECT ON tasker.schedules TO tasker_reader;

CREATE OR REPLACE VIEW tasker.schedule_runs AS
SELECT r.schedule_name, r.scheduled_for, r.outcome, r.times, r.task_uuid, tasker_engine.state_name(t.state) AS task_state, r.error,
       r.decided_at, r.decided_at - r.scheduled_for AS delay
FROM tasker_engine.schedule_runs r
LEFT JOIN tasker_engine.tasks t ON t.task_uuid = r.task_uuid;
COMMENT ON VIEW tasker.schedule_runs IS 'The outcomes of the last hundred times of each schedule.';
COMMENT ON COLUMN tasker.schedule_runs.schedule_name IS 'Name of the schedule.';
COMMENT ON COLUMN tasker.schedule_runs.scheduled_for IS 'The time; for a stretch of missed times, the first of them.';
COMMENT ON COLUMN tasker.schedule_runs.outcome IS 'created; failed: the task could not be created; overlapped: left out because the last task was still open; missed: left out because it was late.';
COMMENT ON COLUMN tasker.schedule_runs.times IS 'Number of times that the row stands for: 1, or more for missed ones.';
COMMENT ON COLUMN tasker.schedule_runs.task_uuid IS 'The task created, or the one that was still open; it may have been purged since.';
COMMENT ON COLUMN tasker.schedule_runs.task_state IS 'State of that task; NULL if there is none or it is gone.';
COMMENT ON COLUMN tasker.schedule_runs.error IS 'SQLSTATE and message of a failure; otherwise NULL.';
COMMENT ON COLUMN tasker.schedule_runs.decided_at IS 'When that was decided.';
COMMENT ON COLUMN tasker.schedule_runs.delay IS 'The delay of the decision after the time itself.';
GRANT SELECT ON tasker.schedule_runs TO tasker_reader;

-- What is stored means what the views say.
DO $$
DECLARE
    c record;
BEGIN
    FOR c IN
        SELECT a.attname, stored.oid::regclass::text AS relation, col_description(shown.oid, v.attnum) AS comment
        FROM pg_class shown
        JOIN pg_class stored ON stored.relname = shown.relname
                                       AND stored.relnamespace = 'tasker_engine'::regnamespace
        JOIN pg_attribute v ON v.attrelid = shown.oid AND v.attnum > 0
        JOIN pg_attribute a ON a.attrelid = stored.oid AND a.attname = v.attname
        WHERE shown.relnamespace = 'tasker'::regnamespace
          AND shown.relname = ANY (ARRAY['schedules', 'schedule_runs']::name[])
    LOOP
        EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', c.relation, c.attname, c.comment);
    END LOOP;
END
$$;
