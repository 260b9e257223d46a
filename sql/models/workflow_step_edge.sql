-- Both ends are rows of steps, so that a filter on either of them finds its row; the other end is in the same task.
CREATE VIEW tasker.workflow_step_edges AS
SELECT c.task_uuid,
       tasker.step_uuid(p.task_uuid, p.step_no) AS from_step_uuid,
       tasker.step_uuid(c.task_uuid, c.step_no) AS to_step_uuid,
       'provides'::text AS name,
       t.requested_at AS created_at,
       t.requested_at AS updated_at
FROM tasker_engine.steps c
JOIN tasker.named_tasks_named_steps n
    ON n.named_task_id OPERATOR(pg_catalog.=) c.named_task_id AND n.step_no OPERATOR(pg_catalog.=) c.step_no
CROSS JOIN LATERAL pg_catalog.unnest(n.parents) AS parent (step_no)
JOIN tasker_engine.steps p
    ON p.task_uuid OPERATOR(pg_catalog.=) c.task_uuid AND p.step_no OPERATOR(pg_catalog.=) parent.step_no
LEFT JOIN tasker_engine.tasks t ON t.task_uuid OPERATOR(pg_catalog.=) c.task_uuid;
