CREATE FUNCTION tasker.task_diagram(task_uuid uuid, format text DEFAULT 'mermaid')
RETURNS text AS 'MODULE_PATHNAME', 'task_diagram' LANGUAGE c STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off;

CREATE FUNCTION tasker.template_diagram(
    name text, namespace text DEFAULT 'default', version text DEFAULT NULL, format text DEFAULT 'mermaid')
RETURNS text AS 'MODULE_PATHNAME', 'template_diagram' LANGUAGE c STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;

CREATE VIEW tasker.task_diagrams AS
SELECT t.task_uuid,
       (SELECT pg_catalog.jsonb_agg(
                   pg_catalog.jsonb_build_object(
                       'id', tasker.step_uuid(s.task_uuid, s.step_no), 'name', n.name,
                       'state', tasker_engine.state_name(s.state), 'attempts', s.attempts,
                       'retry_limit', s.retry_limit,
                       'level', tasker_engine.step_level(s.named_task_id, s.step_no))
                   ORDER BY s.step_no)
        FROM tasker_engine.steps s
        JOIN tasker.named_tasks_named_steps n
            ON n.named_task_id OPERATOR(pg_catalog.=) s.named_task_id
           AND n.step_no OPERATOR(pg_catalog.=) s.step_no
        WHERE s.task_uuid OPERATOR(pg_catalog.=) t.task_uuid) AS nodes,
       COALESCE((SELECT pg_catalog.jsonb_agg(
                            pg_catalog.jsonb_build_object(
                                'from', tasker.step_uuid(t.task_uuid, n.step_no),
                                'to', tasker.step_uuid(t.task_uuid, u.step_no), 'name', 'provides')
                            ORDER BY n.step_no, u.step_no)
                 FROM tasker.named_tasks_named_steps n, pg_catalog.unnest(n.children) AS u (step_no)
                 WHERE n.named_task_id OPERATOR(pg_catalog.=) t.named_task_id), '[]') AS edges,
       tasker.task_diagram(t.task_uuid, 'mermaid') AS diagram
FROM tasker_engine.tasks t;
