-- Both ends are rows of steps, so that a filter on either of them finds its row; the other end is in the same task.
CREATE OR REPLACE VIEW tasker.workflow_step_edges AS
SELECT c.task_uuid,
       tasker.step_uuid(p.task_uuid, p.step_no) AS from_step_uuid,
       tasker.step_uuid(c.task_uuid, c.step_no) AS to_step_uuid,
       'provides'::text AS name,
       t.requested_at AS created_at,
       t.requested_at AS updated_at
FROM tasker_engine.steps c
JOIN tasker.named_tasks_named_steps n
    ON n.named_task_id = c.named_task_id AND n.step_no = c.step_no
CROSS JOIN LATERAL unnest(n.parents) AS parent (step_no)
JOIN tasker_engine.steps p
    ON p.task_uuid = c.task_uuid AND p.step_no = parent.step_no
LEFT JOIN tasker_engine.tasks t ON t.task_uuid = c.task_uuid;
COMMENT ON VIEW tasker.workflow_step_edges IS 'Which step of a task must be done before which other.';
COMMENT ON COLUMN tasker.workflow_step_edges.name IS 'Always provides.';
GRANT SELECT ON tasker.workflow_step_edges TO tasker_reader;

-- ---- scopes: the task's uuid, known from the step's, gives both ends their index -------------------------------------

CREATE OR REPLACE FUNCTION tasker.workflow_step_edges_children_of(step_uuid uuid)
RETURNS SETOF tasker.workflow_step_edges LANGUAGE sql STABLE PARALLEL SAFE ROWS 5
BEGIN ATOMIC
    SELECT e.* FROM tasker.workflow_step_edges e
    WHERE e.task_uuid = tasker.step_task_uuid(tasker_engine.required($1, 'step_uuid'))
      AND e.from_step_uuid = $1;
END;
COMMENT ON FUNCTION tasker.workflow_step_edges_children_of(uuid) IS
'Scope: edges from the step to its children; none for an unknown step. 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.workflow_step_edges_children_of(uuid) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.workflow_step_edges_parents_of(step_uuid uuid)
RETURNS SETOF tasker.workflow_step_edges LANGUAGE sql STABLE PARALLEL SAFE ROWS 5
BEGIN ATOMIC
    SELECT e.* FROM tasker.workflow_step_edges e
    WHERE e.task_uuid = tasker.step_task_uuid(tasker_engine.required($1, 'step_uuid'))
      AND e.to_step_uuid = $1;
END;
COMMENT ON FUNCTION tasker.workflow_step_edges_parents_of(uuid) IS
'Scope: edges from its parents to the step; none for an unknown step. 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.workflow_step_edges_parents_of(uuid) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.workflow_step_edges_siblings_of(step_uuid uuid)
RETURNS SETOF tasker.workflow_step_edges LANGUAGE sql STABLE PARALLEL SAFE ROWS 5
BEGIN ATOMIC
    SELECT e.* FROM tasker.workflow_step_edges e
    WHERE e.task_uuid = tasker.step_task_uuid(tasker_engine.required($1, 'step_uuid'))
      AND e.to_step_uuid = ANY (
          SELECT r.step_uuid FROM tasker.step_dag_relationships_siblings_of($1) r);
END;
COMMENT ON FUNCTION tasker.workflow_step_edges_siblings_of(uuid) IS
'Scope: edges into the other steps that need exactly the same steps, one per sibling and parent; a root has none. 22004 for
NULL.';
GRANT EXECUTE ON FUNCTION tasker.workflow_step_edges_siblings_of(uuid) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.workflow_step_edges_provides_edges()
RETURNS SETOF tasker.workflow_step_edges LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT e.* FROM tasker.workflow_step_edges e WHERE e.name = 'provides' AND tasker_engine.require_version();
END;
COMMENT ON FUNCTION tasker.workflow_step_edges_provides_edges() IS 'Scope: edges named provides. All are.';
GRANT EXECUTE ON FUNCTION tasker.workflow_step_edges_provides_edges() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.workflow_step_edges_provides_to_children(step_uuid uuid)
RETURNS SETOF tasker.workflow_step_edges LANGUAGE sql STABLE PARALLEL SAFE ROWS 5
BEGIN ATOMIC
    SELECT e.* FROM tasker.workflow_step_edges e
    WHERE e.name = 'provides'
      AND e.task_uuid = tasker.step_task_uuid(tasker_engine.required($1, 'step_uuid'))
      AND e.to_step_uuid = ANY (
          SELECT c.to_step_uuid FROM tasker.workflow_step_edges_children_of($1) c);
END;
COMMENT ON FUNCTION tasker.workflow_step_edges_provides_to_children(uuid) IS
'Scope: every edge into a child of the step, from whichever parent: what its children are provided with. 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.workflow_step_edges_provides_to_children(uuid) TO tasker_reader;
