CREATE FUNCTION tasker.calculate_dependency_levels(task_uuid uuid)
RETURNS TABLE (step_uuid uuid, dependency_level integer)
AS 'MODULE_PATHNAME', 'calculate_dependency_levels' LANGUAGE c STABLE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off;

CREATE VIEW tasker.step_dag_relationships AS
SELECT tasker.step_uuid(s.task_uuid, s.step_no) AS step_uuid,
       s.task_uuid,
       n.named_step_id,
       COALESCE((SELECT pg_catalog.jsonb_agg(tasker.step_uuid(s.task_uuid, u.step_no) ORDER BY u.step_no)
                 FROM pg_catalog.unnest(n.parents) AS u (step_no)), '[]') AS parent_step_uuids,
       COALESCE((SELECT pg_catalog.jsonb_agg(tasker.step_uuid(s.task_uuid, u.step_no) ORDER BY u.step_no)
                 FROM pg_catalog.unnest(n.children) AS u (step_no)), '[]') AS child_step_uuids,
       pg_catalog.cardinality(n.parents)::pg_catalog.int8 AS parent_count,
       pg_catalog.cardinality(n.children)::pg_catalog.int8 AS child_count,
       pg_catalog.cardinality(n.parents) OPERATOR(pg_catalog.=) 0 AS is_root_step,
       pg_catalog.cardinality(n.children) OPERATOR(pg_catalog.=) 0 AS is_leaf_step,
       tasker_engine.step_min_depth(s.named_task_id, s.step_no) AS min_depth_from_root
FROM tasker_engine.steps s
JOIN tasker.named_tasks_named_steps n
    ON n.named_task_id OPERATOR(pg_catalog.=) s.named_task_id AND n.step_no OPERATOR(pg_catalog.=) s.step_no;
