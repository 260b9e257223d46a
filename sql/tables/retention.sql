-- Deadlines of tasks, and how long ended tasks are kept.

-- A step's timeout is in its claim (claims.timeout_at), a task's here: one row per started task whose template has one.
CREATE TABLE tasker_engine.task_deadlines (
    task_uuid uuid PRIMARY KEY,
    deadline_at timestamptz NOT NULL
);
CREATE INDEX task_deadlines_order ON tasker_engine.task_deadlines (deadline_at);
COMMENT ON TABLE tasker_engine.task_deadlines IS 'When a started task exceeds its timeout. The row of a task that ended in time stays until then.';
COMMENT ON COLUMN tasker_engine.task_deadlines.deadline_at IS 'When the task exceeds its timeout, counted from when it last went to in_progress.';

CREATE TABLE tasker_engine.retention (
    task_namespace_id integer PRIMARY KEY REFERENCES tasker.task_namespaces ON DELETE CASCADE,
    completed interval,
    failed interval,
    swept_to uuid,
    sweep_started_at timestamptz,
    purged_tasks bigint NOT NULL DEFAULT 0,
    last_purged_at timestamptz
);
COMMENT ON TABLE tasker_engine.retention IS 'How long a namespace keeps its ended tasks, and how far maintenance has walked over them. set_retention or the first walk writes the row.';
COMMENT ON COLUMN tasker_engine.retention.completed IS 'How long complete, cancelled and resolved tasks are kept; 0 keeps them forever, NULL uses the setting.';
COMMENT ON COLUMN tasker_engine.retention.failed IS 'How long tasks in error are kept; 0 or NULL keeps them forever.';
COMMENT ON COLUMN tasker_engine.retention.swept_to IS 'The last task that was examined; NULL: begin with the first.';
COMMENT ON COLUMN tasker_engine.retention.sweep_started_at IS 'When the walk began with the first task.';
COMMENT ON COLUMN tasker_engine.retention.purged_tasks IS 'Number of tasks that maintenance has deleted.';
COMMENT ON COLUMN tasker_engine.retention.last_purged_at IS 'When it last deleted tasks; NULL if never.';
