-- The pictures of tasks as rows.

CREATE OR REPLACE VIEW tasker.task_diagrams AS
SELECT t.task_uuid,
       (SELECT jsonb_agg(
                   jsonb_build_object(
                       'id', tasker.step_uuid(s.task_uuid, s.step_no), 'name', n.name,
                       'state', tasker_engine.state_name(s.state), 'attempts', s.attempts,
                       'retry_limit', s.retry_limit,
                       'level', tasker_engine.step_level(s.named_task_id, s.step_no))
                   ORDER BY s.step_no)
        FROM tasker_engine.steps s
        JOIN tasker.named_tasks_named_steps n
            ON n.named_task_id = s.named_task_id
           AND n.step_no = s.step_no
        WHERE s.task_uuid = t.task_uuid) AS nodes,
       COALESCE((SELECT jsonb_agg(
                            jsonb_build_object(
                                'from', tasker.step_uuid(t.task_uuid, n.step_no),
                                'to', tasker.step_uuid(t.task_uuid, u.step_no), 'name', 'provides')
                            ORDER BY n.step_no, u.step_no)
                 FROM tasker.named_tasks_named_steps n, unnest(n.children) AS u (step_no)
                 WHERE n.named_task_id = t.named_task_id), '[]') AS edges,
       tasker.task_diagram(t.task_uuid, 'mermaid') AS diagram
FROM tasker_engine.tasks t;
COMMENT ON VIEW tasker.task_diagrams IS 'Each task as nodes, edges and a Mermaid picture.';
GRANT SELECT ON tasker.task_diagrams TO tasker_reader;

-- The same nodes and edges as rows. A condition on task_uuid reaches the steps by their primary key.
CREATE OR REPLACE VIEW tasker.task_diagram_nodes AS
SELECT s.task_uuid,
       tasker.step_uuid(s.task_uuid, s.step_no) AS step_uuid,
       s.step_no::integer AS step_no,
       n.name,
       tasker_engine.state_name(s.state) AS state,
       s.attempts::integer AS attempts,
       s.retry_limit::integer AS retry_limit,
       tasker_engine.step_level(s.named_task_id, s.step_no) AS level
FROM tasker_engine.steps s
JOIN tasker.named_tasks_named_steps n
    ON n.named_task_id = s.named_task_id AND n.step_no = s.step_no;
COMMENT ON VIEW tasker.task_diagram_nodes IS
'The nodes of each task''s picture, one row per step: what task_diagrams.nodes holds as one document. Filter by task_uuid.';
COMMENT ON COLUMN tasker.task_diagram_nodes.task_uuid IS 'The task.';
COMMENT ON COLUMN tasker.task_diagram_nodes.step_uuid IS 'The step: id of the node.';
COMMENT ON COLUMN tasker.task_diagram_nodes.step_no IS 'Its number in the task, from 1, in the order in which the steps could run.';
COMMENT ON COLUMN tasker.task_diagram_nodes.name IS 'Its name.';
COMMENT ON COLUMN tasker.task_diagram_nodes.state IS 'pending, in_progress, error, complete, cancelled or resolved_manually.';
COMMENT ON COLUMN tasker.task_diagram_nodes.attempts IS 'Runs since the last reset.';
COMMENT ON COLUMN tasker.task_diagram_nodes.retry_limit IS 'Attempts in total.';
COMMENT ON COLUMN tasker.task_diagram_nodes.level IS 'Row of the node in the picture: length of the longest path from a root, roots 0.';
GRANT SELECT ON tasker.task_diagram_nodes TO tasker_reader;

-- The name is asked for by edge: a join would let the planner read all steps of the template for each step.
CREATE OR REPLACE VIEW tasker.task_diagram_edges AS
SELECT s.task_uuid,
       tasker.step_uuid(s.task_uuid, s.step_no) AS from_step_uuid,
       tasker.step_uuid(s.task_uuid, u.step_no) AS to_step_uuid,
       n.name AS from_name,
       (SELECT c.name FROM tasker.named_tasks_named_steps c
        WHERE c.named_task_id = s.named_task_id AND c.step_no = u.step_no) AS to_name,
       'provides'::text AS name,
       tasker_engine.is_done(s.state) AS satisfied
FROM tasker_engine.steps s
JOIN tasker.named_tasks_named_steps n
    ON n.named_task_id = s.named_task_id AND n.step_no = s.step_no
CROSS JOIN LATERAL unnest(n.children) AS u (step_no);
COMMENT ON VIEW tasker.task_diagram_edges IS
'The edges of each task''s picture, one row per dependency: what task_diagrams.edges holds as one document. Filter by task_uuid.';
COMMENT ON COLUMN tasker.task_diagram_edges.task_uuid IS 'The task.';
COMMENT ON COLUMN tasker.task_diagram_edges.from_step_uuid IS 'The step that is needed: source of the edge.';
COMMENT ON COLUMN tasker.task_diagram_edges.to_step_uuid IS 'The step that needs it: target of the edge.';
COMMENT ON COLUMN tasker.task_diagram_edges.from_name IS 'Name of the step that is needed.';
COMMENT ON COLUMN tasker.task_diagram_edges.to_name IS 'Name of the step that needs it.';
COMMENT ON COLUMN tasker.task_diagram_edges.name IS 'Always provides.';
COMMENT ON COLUMN tasker.task_diagram_edges.satisfied IS 'Whether the step that is needed is complete or resolved_manually.';
GRANT SELECT ON tasker.task_diagram_edges TO tasker_reader;
