-- Parents, children and depth of each step: relation, scopes, levels.

CREATE OR REPLACE VIEW tasker.step_dag_relationships AS
SELECT tasker.step_uuid(s.task_uuid, s.step_no) AS step_uuid,
       s.task_uuid,
       n.named_step_id,
       COALESCE((SELECT jsonb_agg(tasker.step_uuid(s.task_uuid, u.step_no) ORDER BY u.step_no)
                 FROM unnest(n.parents) AS u (step_no)), '[]') AS parent_step_uuids,
       COALESCE((SELECT jsonb_agg(tasker.step_uuid(s.task_uuid, u.step_no) ORDER BY u.step_no)
                 FROM unnest(n.children) AS u (step_no)), '[]') AS child_step_uuids,
       cardinality(n.parents)::bigint AS parent_count,
       cardinality(n.children)::bigint AS child_count,
       cardinality(n.parents) = 0 AS is_root_step,
       cardinality(n.children) = 0 AS is_leaf_step,
       tasker_engine.step_min_depth(s.named_task_id, s.step_no) AS min_depth_from_root
FROM tasker_engine.steps s
JOIN tasker.named_tasks_named_steps n
    ON n.named_task_id = s.named_task_id AND n.step_no = s.step_no;
COMMENT ON VIEW tasker.step_dag_relationships IS 'Parents, children and depth of each step.';
GRANT SELECT ON tasker.step_dag_relationships TO tasker_reader;

-- ---- scopes ---------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION tasker.step_dag_relationships_for_task(task_uuid uuid)
RETURNS SETOF tasker.step_dag_relationships LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
BEGIN ATOMIC
    SELECT r.* FROM tasker.step_dag_relationships r
    WHERE r.task_uuid = tasker_engine.required($1, 'task_uuid');
END;
COMMENT ON FUNCTION tasker.step_dag_relationships_for_task(uuid) IS
'Scope: the steps of a task; none for an unknown one. 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.step_dag_relationships_for_task(uuid) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.step_dag_relationships_root_steps()
RETURNS SETOF tasker.step_dag_relationships LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT r.* FROM tasker.step_dag_relationships r WHERE r.is_root_step AND tasker_engine.require_version();
END;
COMMENT ON FUNCTION tasker.step_dag_relationships_root_steps() IS 'Scope: steps that need no other step.';
GRANT EXECUTE ON FUNCTION tasker.step_dag_relationships_root_steps() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.step_dag_relationships_leaf_steps()
RETURNS SETOF tasker.step_dag_relationships LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT r.* FROM tasker.step_dag_relationships r WHERE r.is_leaf_step AND tasker_engine.require_version();
END;
COMMENT ON FUNCTION tasker.step_dag_relationships_leaf_steps() IS 'Scope: steps that no step needs.';
GRANT EXECUTE ON FUNCTION tasker.step_dag_relationships_leaf_steps() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.step_dag_relationships_with_parents()
RETURNS SETOF tasker.step_dag_relationships LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT r.* FROM tasker.step_dag_relationships r WHERE r.parent_count > 0 AND tasker_engine.require_version();
END;
COMMENT ON FUNCTION tasker.step_dag_relationships_with_parents() IS 'Scope: steps that need another step.';
GRANT EXECUTE ON FUNCTION tasker.step_dag_relationships_with_parents() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.step_dag_relationships_with_children()
RETURNS SETOF tasker.step_dag_relationships LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT r.* FROM tasker.step_dag_relationships r WHERE r.child_count > 0 AND tasker_engine.require_version();
END;
COMMENT ON FUNCTION tasker.step_dag_relationships_with_children() IS 'Scope: steps that another step needs.';
GRANT EXECUTE ON FUNCTION tasker.step_dag_relationships_with_children() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.step_dag_relationships_siblings_of(step_uuid uuid)
RETURNS SETOF tasker.step_dag_relationships LANGUAGE sql STABLE PARALLEL SAFE ROWS 5
BEGIN ATOMIC
    SELECT r.* FROM tasker.step_dag_relationships r
    WHERE r.task_uuid = tasker.step_task_uuid(tasker_engine.required($1, 'step_uuid'))
      AND r.step_uuid <> $1
      AND r.parent_count > 0
      AND r.parent_step_uuids = (
          SELECT o.parent_step_uuids FROM tasker.step_dag_relationships o
          WHERE o.step_uuid = $1);
END;
COMMENT ON FUNCTION tasker.step_dag_relationships_siblings_of(uuid) IS
'Scope: the other steps that need exactly the same steps; a root or an unknown step has none. 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.step_dag_relationships_siblings_of(uuid) TO tasker_reader;

-- ---- levels ---------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION tasker.dependency_levels_hash(task_uuid uuid)
RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE
    RETURN tasker_engine.of_task(
        (SELECT jsonb_object_agg(l.step_uuid::text, l.dependency_level ORDER BY l.step_uuid)
         FROM tasker.calculate_dependency_levels($1) l), $1);
COMMENT ON FUNCTION tasker.dependency_levels_hash(uuid) IS
'The level of every step of a task, {step_uuid: level}; calculate_dependency_levels as one object. P0002 for an unknown
task, 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.dependency_levels_hash(uuid) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.max_dependency_level(task_uuid uuid)
RETURNS integer LANGUAGE sql STABLE PARALLEL SAFE
    RETURN tasker_engine.of_task(
        (SELECT max(l.dependency_level) FROM tasker.calculate_dependency_levels($1) l), $1);
COMMENT ON FUNCTION tasker.max_dependency_level(uuid) IS
'The highest level of a task, 0 if all its steps are roots. P0002 for an unknown task, 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.max_dependency_level(uuid) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.steps_at_dependency_level(task_uuid uuid, dependency_level integer)
RETURNS SETOF tasker.workflow_steps LANGUAGE sql STABLE PARALLEL SAFE ROWS 5
BEGIN ATOMIC
    SELECT s.*
    FROM tasker.calculate_dependency_levels(tasker_engine.required($1, 'task_uuid')) l
    JOIN tasker.workflow_steps s ON s.step_uuid = l.step_uuid
    WHERE l.dependency_level = tasker_engine.required($2, 'dependency_level')
      AND s.task_uuid = $1;
END;
COMMENT ON FUNCTION tasker.steps_at_dependency_level(uuid, integer) IS
'The steps of a task at a level; level 0 is the roots. None for an unknown task or level. 22004 for NULL.
dependency_level: Length of the longest path from a root to the step; roots have 0.';
GRANT EXECUTE ON FUNCTION tasker.steps_at_dependency_level(uuid, integer) TO tasker_reader;
