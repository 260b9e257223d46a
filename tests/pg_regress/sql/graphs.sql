-- Edges, relationships and levels of steps; nodes and edges of pictures as rows.
SELECT play.templates('graphs');
SELECT tasker.create_task('diamond', namespace => 'graphs') AS task \gset
SELECT play.step(:'task', 'top') AS top, play.step(:'task', 'left') AS left, play.step(:'task', 'bottom') AS bottom \gset
CREATE TEMP VIEW names AS SELECT step_uuid, name AS step FROM tasker.workflow_steps;
CREATE FUNCTION pg_temp.edges(scope text, step uuid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    found text;
BEGIN
    EXECUTE format('SELECT string_agg(f.step || '' > '' || t.step, '', '' ORDER BY from_step_uuid, to_step_uuid) FROM %s(%L) e
        JOIN names f ON f.step_uuid = from_step_uuid JOIN names t ON t.step_uuid = to_step_uuid', scope, step) INTO found;
    RETURN found;
END
$$;
SELECT step, pg_temp.edges('tasker.workflow_step_edges_children_of', step_uuid) AS children_of, pg_temp.edges('tasker.workflow_step_edges_parents_of', step_uuid) AS parents_of,
       pg_temp.edges('tasker.workflow_step_edges_siblings_of', step_uuid) AS siblings_of, pg_temp.edges('tasker.workflow_step_edges_provides_to_children', step_uuid) AS provides_to_children
FROM names JOIN tasker.workflow_steps USING (step_uuid) WHERE task_uuid = :'task' ORDER BY step_no;
SELECT f.step AS from_step, e.name, t.step AS to_step FROM tasker.workflow_step_edges_provides_edges() e
JOIN names f ON f.step_uuid = from_step_uuid JOIN names t ON t.step_uuid = to_step_uuid WHERE task_uuid = :'task' ORDER BY from_step_uuid, to_step_uuid;

SELECT step, parent_count, child_count, is_root_step, is_leaf_step, min_depth_from_root, play.short(parent_step_uuids::text) AS parents, play.short(child_step_uuids::text) AS children
FROM tasker.step_dag_relationships_for_task(:'task') JOIN names USING (step_uuid) ORDER BY step_uuid;
SELECT (SELECT array_agg(step ORDER BY step_uuid) FROM tasker.step_dag_relationships_root_steps() JOIN names USING (step_uuid) WHERE task_uuid = :'task') AS root_steps,
       (SELECT array_agg(step ORDER BY step_uuid) FROM tasker.step_dag_relationships_leaf_steps() JOIN names USING (step_uuid) WHERE task_uuid = :'task') AS leaf_steps,
       (SELECT array_agg(step ORDER BY step_uuid) FROM tasker.step_dag_relationships_with_parents() JOIN names USING (step_uuid) WHERE task_uuid = :'task') AS with_parents,
       (SELECT array_agg(step ORDER BY step_uuid) FROM tasker.step_dag_relationships_with_children() JOIN names USING (step_uuid) WHERE task_uuid = :'task') AS with_children,
       (SELECT array_agg(step ORDER BY step_uuid) FROM tasker.step_dag_relationships_siblings_of(:'left') JOIN names USING (step_uuid)) AS siblings_of_left;

SELECT play.short(tasker.dependency_levels_hash(:'task')::text) AS levels, tasker.max_dependency_level(:'task') AS highest;
SELECT level, array_agg(name ORDER BY step_no) AS steps FROM generate_series(0, 3) level, tasker.steps_at_dependency_level(:'task', level) GROUP BY level ORDER BY level;

SELECT play.work('graphs', failing => '{left}');
SELECT step_no, name, state, attempts, retry_limit, level, step_uuid = play.step(:'task', name) AS step FROM tasker.task_diagram_nodes WHERE task_uuid = :'task' ORDER BY step_no;
SELECT from_name, name, to_name, satisfied, from_step_uuid = play.step(:'task', from_name) AND to_step_uuid = play.step(:'task', to_name) AS steps
FROM tasker.task_diagram_edges WHERE task_uuid = :'task' ORDER BY from_step_uuid, to_step_uuid;
-- The rows are the documents of task_diagrams.
SELECT jsonb_array_length(d.nodes) = (SELECT count(*) FROM tasker.task_diagram_nodes n WHERE n.task_uuid = d.task_uuid) AS nodes,
       jsonb_array_length(d.edges) = (SELECT count(*) FROM tasker.task_diagram_edges e WHERE e.task_uuid = d.task_uuid) AS edges
FROM tasker.task_diagrams d WHERE task_uuid = :'task';

-- An unknown uuid has no rows; what returns one value refuses it. NULL is always refused.
SELECT function, split_part(play.refusal(format('SELECT * FROM ' || function, '''00000000-0000-7000-8000-000000000000''')), E'\n', 1) AS unknown_uuid,
       left(play.refusal(format('SELECT * FROM ' || function, 'NULL')), 5) AS for_null
FROM unnest(ARRAY['tasker.workflow_step_edges_children_of(%s)', 'tasker.workflow_step_edges_parents_of(%s)', 'tasker.workflow_step_edges_siblings_of(%s)',
    'tasker.workflow_step_edges_provides_to_children(%s)', 'tasker.step_dag_relationships_for_task(%s)', 'tasker.step_dag_relationships_siblings_of(%s)',
    'tasker.dependency_levels_hash(%s)', 'tasker.max_dependency_level(%s)', 'tasker.steps_at_dependency_level(%s, 0)']) AS u (function);
SELECT left(play.refusal(format('SELECT * FROM tasker.steps_at_dependency_level(%L, NULL)', :'task')), 5) AS level_null;
