-- Scopes and methods of tasks that look into other relations.

-- ->> shows a number or a boolean as text, while the index knows it as what it is. So the condition names the value twice
-- for the index, as a text and as what it may stand for, and once exactly.
CREATE OR REPLACE FUNCTION tasker_engine.scalar(value text)
RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE WHEN length(value) < 1000
                 AND value ~ '^(true|false|-?(0|[1-9][0-9]*)([.][0-9]+)?)$'
                THEN value::jsonb ELSE to_jsonb(value) END;
COMMENT ON FUNCTION tasker_engine.scalar(text) IS
'A text as JSON: a number, true or false if it is one, otherwise a string.';
GRANT EXECUTE ON FUNCTION tasker_engine.scalar(text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.tasks_by_annotation(name text, key text, value text)
RETURNS SETOF tasker.tasks LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT t.* FROM tasker.tasks t
    WHERE t.task_uuid = ANY (
        SELECT a.task_uuid
        FROM tasker.task_annotations a
        JOIN tasker.annotation_types k ON k.annotation_type_id = a.annotation_type_id
        WHERE k.name = btrim(tasker_engine.required($1, 'name'))
          AND (a.annotation @> jsonb_build_object(
                   tasker_engine.required($2, 'key'), tasker_engine.required($3, 'value'))
               OR a.annotation @> jsonb_build_object(
                   tasker_engine.required($2, 'key'), tasker_engine.scalar($3)))
          AND a.annotation ->> tasker_engine.required($2, 'key')
              = tasker_engine.required($3, 'value'));
END;
COMMENT ON FUNCTION tasker.tasks_by_annotation(text, text, text) IS
'Scope: tasks with an annotation of the type (blanks around its name do not count) whose key has the value, a text, or a
number, true or false written as text. 22004 for NULL.
name: Name of the kind of annotation.
key: A key of the annotation itself, not of an object within it.
value: The value of the key, as text, as ->> shows it.';
GRANT EXECUTE ON FUNCTION tasker.tasks_by_annotation(text, text, text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.tasks_completed_since(since timestamptz)
RETURNS SETOF tasker.tasks LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT t.* FROM tasker.tasks t
    WHERE t.task_uuid = ANY (
        SELECT l.task_uuid FROM tasker.workflow_step_transitions l
        WHERE l.to_state = 'complete'
          AND l.created_at > tasker_engine.required($1, 'since'));
END;
COMMENT ON FUNCTION tasker.tasks_completed_since(timestamptz) IS
'Scope: tasks with a step that became complete after the time; the task itself need not be complete. For those see
completed_at of tasker.tasks. 22004 for NULL.
since: The change of the step to complete is later than this.';
GRANT EXECUTE ON FUNCTION tasker.tasks_completed_since(timestamptz) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.tasks_failed_since(since timestamptz)
RETURNS SETOF tasker.tasks LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT t.* FROM tasker.tasks t
    WHERE t.state = 'error'
      AND t.task_uuid = ANY (
          SELECT l.task_uuid FROM tasker.task_transitions l
          WHERE l.to_state = 'error'
            AND l.created_at > tasker_engine.required($1, 'since'));
END;
COMMENT ON FUNCTION tasker.tasks_failed_since(timestamptz) IS
'Scope: tasks that are in error since after the time. 22004 for NULL.
since: The change of the task to error is later than this.';
GRANT EXECUTE ON FUNCTION tasker.tasks_failed_since(timestamptz) TO tasker_reader;

-- Not tasker_engine.can_still_run: a pending step counts here even where a failed one keeps it from running.
CREATE OR REPLACE FUNCTION tasker.tasks_active()
RETURNS SETOF tasker.tasks LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT t.* FROM tasker.tasks t
    WHERE t.state = ANY (ARRAY['pending', 'in_progress'])
      AND EXISTS (SELECT FROM tasker.workflow_steps s
                  WHERE s.task_uuid = t.task_uuid
                    AND (s.state = ANY (ARRAY['pending', 'in_progress'])
                         OR s.state = 'error' AND s.available_at IS NOT NULL))
      AND tasker_engine.require_version();
END;
COMMENT ON FUNCTION tasker.tasks_active() IS
'Scope: tasks that have not ended and have a step that is pending, runs, or failed and will be retried. Reads all tasks.';
GRANT EXECUTE ON FUNCTION tasker.tasks_active() TO tasker_reader;

-- Each column is a query of its own, asked only where it is selected.
CREATE OR REPLACE VIEW tasker.tasks_with_all_associated AS
SELECT t.*,
       (SELECT to_jsonb(n) - 'configuration'
               || jsonb_build_object('task_namespace', to_jsonb(s))
        FROM tasker.named_tasks n
        JOIN tasker.task_namespaces s ON s.task_namespace_id = n.task_namespace_id
        WHERE n.named_task_id = t.named_task_id) AS named_task,
       (SELECT COALESCE(jsonb_agg(
                   to_jsonb(s) - 'inputs'
                   || jsonb_build_object(
                       'parents', r.parent_step_uuids, 'children', r.child_step_uuids)
                   ORDER BY s.step_no), '[]')
        FROM tasker.workflow_steps s
        JOIN tasker.step_dag_relationships r
            ON r.task_uuid = s.task_uuid AND r.step_uuid = s.step_uuid
        WHERE s.task_uuid = t.task_uuid) AS workflow_steps,
       (SELECT COALESCE(jsonb_agg(
                   to_jsonb(a)
                   || jsonb_build_object('annotation_type', k.name)
                   ORDER BY a.task_annotation_id), '[]')
        FROM tasker.task_annotations a
        JOIN tasker.annotation_types k ON k.annotation_type_id = a.annotation_type_id
        WHERE a.task_uuid = t.task_uuid) AS task_annotations,
       (SELECT COALESCE(jsonb_agg(to_jsonb(l) ORDER BY l.id), '[]')
        FROM tasker.task_transitions l
        WHERE l.task_uuid = t.task_uuid) AS task_transitions
FROM tasker.tasks t;
COMMENT ON VIEW tasker.tasks_with_all_associated IS
'Every task with all that belongs to it, as JSON: one question instead of one per relation.';
COMMENT ON COLUMN tasker.tasks_with_all_associated.name IS 'Name of the template.';
COMMENT ON COLUMN tasker.tasks_with_all_associated.named_task IS
'The row of tasker.named_tasks without its configuration, with that of its namespace as task_namespace.';
COMMENT ON COLUMN tasker.tasks_with_all_associated.workflow_steps IS
'The rows of tasker.workflow_steps, without inputs (the context of the task), with parents and children as arrays of uuids; in
step order.';
COMMENT ON COLUMN tasker.tasks_with_all_associated.task_annotations IS
'The rows of tasker.task_annotations, each with the name of its annotation_type; oldest first.';
COMMENT ON COLUMN tasker.tasks_with_all_associated.task_transitions IS 'The rows of tasker.task_transitions, oldest first.';
GRANT SELECT ON tasker.tasks_with_all_associated TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.tasks_with_all_associated()
RETURNS SETOF tasker.tasks_with_all_associated LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT t.* FROM tasker.tasks_with_all_associated t WHERE tasker_engine.require_version();
END;
COMMENT ON FUNCTION tasker.tasks_with_all_associated() IS 'Scope: every task with all that belongs to it; the view of the same name.';
GRANT EXECUTE ON FUNCTION tasker.tasks_with_all_associated() TO tasker_reader;

-- ---- methods --------------------------------------------------------------------------------------------------------

-- One look into an index per template.
CREATE OR REPLACE FUNCTION tasker.unique_task_types_count()
RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (
        SELECT count(DISTINCT n.name)
        FROM tasker.named_tasks n
        CROSS JOIN LATERAL (
            SELECT FROM tasker.tasks t WHERE t.named_task_id = n.named_task_id LIMIT 1) used
        WHERE tasker_engine.require_version());
COMMENT ON FUNCTION tasker.unique_task_types_count() IS
'Number of template names that have tasks; one name in two namespaces or versions counts once.';
GRANT EXECUTE ON FUNCTION tasker.unique_task_types_count() TO tasker_reader;
