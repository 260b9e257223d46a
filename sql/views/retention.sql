-- Deadlines of tasks, and how long ended tasks are kept.

CREATE OR REPLACE VIEW tasker.task_timeouts AS
SELECT d.task_uuid, tasker_engine.full_name(ns.name, nt.name, nt.version) AS full_name, t.started_at, d.deadline_at AS timeout_at,
       d.deadline_at - tasker_engine.engine_clock() AS time_left
FROM tasker_engine.task_deadlines d
JOIN tasker_engine.tasks t ON t.task_uuid = d.task_uuid AND t.state = 'i'
JOIN tasker.named_tasks nt ON nt.named_task_id = t.named_task_id
JOIN tasker.task_namespaces ns ON ns.task_namespace_id = nt.task_namespace_id;
COMMENT ON VIEW tasker.task_timeouts IS 'Tasks in progress whose template has a timeout_seconds, and when they exceed it. Rule: docs/concepts.md#timeouts.';
COMMENT ON COLUMN tasker.task_timeouts.task_uuid IS 'The task.';
COMMENT ON COLUMN tasker.task_timeouts.full_name IS 'Its template.';
COMMENT ON COLUMN tasker.task_timeouts.started_at IS 'When its first step was claimed.';
COMMENT ON COLUMN tasker.task_timeouts.timeout_at IS 'When it ends in error if it is not finished; counted from when it last went to in_progress.';
COMMENT ON COLUMN tasker.task_timeouts.time_left IS 'Time left until timeout_at; negative if maintenance has not run yet.';
GRANT SELECT ON tasker.task_timeouts TO tasker_reader;

CREATE OR REPLACE VIEW tasker.retention AS
SELECT n.name AS namespace_name,
       CASE WHEN COALESCE(r.completed, tasker_engine.default_retention()) <> '0'::interval
            THEN COALESCE(r.completed, tasker_engine.default_retention()) END AS completed,
       CASE WHEN r.failed <> '0'::interval THEN r.failed END AS failed,
       CASE WHEN r.completed IS NOT NULL THEN 'namespace'
            WHEN tasker_engine.default_retention() <> '0'::interval THEN 'default'
            ELSE 'none' END AS source,
       COALESCE(r.purged_tasks, 0) AS purged_tasks,
       r.last_purged_at
FROM tasker.task_namespaces n
LEFT JOIN tasker_engine.retention r ON r.task_namespace_id = n.task_namespace_id;
COMMENT ON VIEW tasker.retention IS 'How long each namespace keeps its ended tasks, and how many maintenance has deleted. Rule: docs/retention.md.';
COMMENT ON COLUMN tasker.retention.namespace_name IS 'The namespace.';
COMMENT ON COLUMN tasker.retention.completed IS 'How long complete, cancelled and resolved tasks are kept from their end; NULL keeps them forever.';
COMMENT ON COLUMN tasker.retention.failed IS 'How long tasks in error are kept; NULL keeps them forever.';
COMMENT ON COLUMN tasker.retention.source IS 'Where completed comes from: namespace (set_retention), default (tasker.default_retention) or none.';
COMMENT ON COLUMN tasker.retention.purged_tasks IS 'Number of tasks that maintenance has deleted.';
COMMENT ON COLUMN tasker.retention.last_purged_at IS 'When it last deleted tasks; NULL if never.';
GRANT SELECT ON tasker.retention TO tasker_reader;
