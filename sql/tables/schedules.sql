-- Schedules: tasks created at times of a calendar.

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
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
CREATE INDEX schedules_due ON tasker_engine.schedules (next_run_at);
-- Also where a restore has switched triggers off.
CREATE TRIGGER find_schedule_owner BEFORE INSERT ON tasker_engine.schedules
    FOR EACH ROW EXECUTE FUNCTION tasker_engine.find_schedule_owner();
ALTER TABLE tasker_engine.schedules ENABLE ALWAYS TRIGGER find_schedule_owner;
-- Only what comes from a publisher; the engine says both.
CREATE TRIGGER find_published_owner BEFORE UPDATE ON tasker_engine.schedules
    FOR EACH ROW EXECUTE FUNCTION tasker_engine.find_schedule_owner();
ALTER TABLE tasker_engine.schedules ENABLE REPLICA TRIGGER find_published_owner;
COMMENT ON TABLE tasker_engine.schedules IS 'One row per schedule with its next time, NULL while it is paused; tasker.schedules shows it.';
COMMENT ON COLUMN tasker_engine.schedules.owner_oid IS 'That role: the oid decides, and owner_role is its name for a dump, which maintenance refreshes after a rename. NULL if no role had the name when the row was restored; the schedule then creates nothing.';

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
COMMENT ON TABLE tasker_engine.schedule_runs IS 'The outcomes of the last hundred times of each schedule; tasker.schedule_runs shows it. A task in it may have been purged since.';
