-- Deadlines of tasks, and how long ended tasks are kept.

-- A step's timeout is in its claim (claims.timeout_at), a task's here: one row per started task whose template has one.
CREATE TABLE tasker_engine.task_deadlines (
    task_uuid uuid PRIMARY KEY,
    deadline_at timestamptz NOT NULL
);
CREATE INDEX task_deadlines_order ON tasker_engine.task_deadlines (deadline_at);
COMMENT ON TABLE tasker_engine.task_deadlines IS 'When a started task exceeds its timeout. Rows of tasks that ended in time stay until then.';
COMMENT ON COLUMN tasker_engine.task_deadlines.deadline_at IS 'When its time is over, counted from when it last went to in_progress.';

CREATE TABLE tasker_engine.retention (
    task_namespace_id integer PRIMARY KEY REFERENCES tasker.task_namespaces ON DELETE CASCADE,
    completed interval,
    failed interval,
    swept_to uuid,
    sweep_started_at timestamptz,
    purged_tasks bigint NOT NULL DEFAULT 0,
    last_purged_at timestamptz
);
COMMENT ON TABLE tasker_engine.retention IS 'How long a namespace keeps its ended tasks, and how far the walk over them has come. A row appears with set_retention, or with the first walk.';
COMMENT ON COLUMN tasker_engine.retention.completed IS 'How long complete, cancelled and resolved tasks are kept; 0 forever, NULL as the setting says.';
COMMENT ON COLUMN tasker_engine.retention.failed IS 'How long tasks in error are kept; 0 or NULL forever.';
COMMENT ON COLUMN tasker_engine.retention.swept_to IS 'Tasks up to this one have been looked at; NULL: begin with the first.';
COMMENT ON COLUMN tasker_engine.retention.sweep_started_at IS 'When the walk began with the first task.';
COMMENT ON COLUMN tasker_engine.retention.purged_tasks IS 'How many tasks maintenance has deleted.';
COMMENT ON COLUMN tasker_engine.retention.last_purged_at IS 'When it deleted some last; NULL if never.';
