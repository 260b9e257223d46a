-- Tasks: relation and scopes. A scope is a plain query without SET clauses, so that the planner puts it in place and pushes the
-- conditions, the order and the limit of the caller into it.

CREATE OR REPLACE VIEW tasker.tasks AS
SELECT t.task_uuid,
       t.named_task_id,
       t.state = 'c' AS complete,
       t.requested_at,
       t.initiator,
       t.source_system,
       t.reason,
       t.bypass_steps,
       t.tags,
       t.context,
       i.identity_hash,
       t.requested_at AS created_at,
       COALESCE((SELECT max(l.created_at) FROM tasker_engine.transitions l
                 WHERE l.task_uuid = t.task_uuid AND l.step_no = 0),
                t.requested_at) AS updated_at,
       tasker_engine.state_name(t.state) AS state,
       ns.name AS namespace_name,
       nt.name,
       nt.version,
       tasker_engine.full_name(ns.name, nt.name, nt.version) AS full_name,
       t.priority::integer AS priority,
       t.run_at,
       t.started_at,
       t.completed_at,
       t.correlation_id,
       t.traceparent,
       i.idempotency_key
FROM tasker_engine.tasks t
LEFT JOIN tasker.named_tasks nt ON nt.named_task_id = t.named_task_id
LEFT JOIN tasker.task_namespaces ns ON ns.task_namespace_id = nt.task_namespace_id
LEFT JOIN tasker_engine.task_identities i ON i.task_uuid = t.task_uuid;
COMMENT ON VIEW tasker.tasks IS 'Every task with its request and its state.';
COMMENT ON COLUMN tasker.tasks.name IS 'Name of the template.';
GRANT SELECT ON tasker.tasks TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.tasks_in_namespace(name text)
RETURNS SETOF tasker.tasks LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT t.* FROM tasker.tasks t
    WHERE t.named_task_id = ANY (
        tasker_engine.named_task_ids(tasker_engine.required($1, 'name'), NULL, NULL));
END;
COMMENT ON FUNCTION tasker.tasks_in_namespace(text) IS
'Scope: tasks whose template is in the namespace. 22004 for NULL.
name: Name of the namespace.';
GRANT EXECUTE ON FUNCTION tasker.tasks_in_namespace(text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.tasks_with_task_name(name text)
RETURNS SETOF tasker.tasks LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT t.* FROM tasker.tasks t
    WHERE t.named_task_id = ANY (
        tasker_engine.named_task_ids(NULL, tasker_engine.required($1, 'name'), NULL));
END;
COMMENT ON FUNCTION tasker.tasks_with_task_name(text) IS
'Scope: tasks whose template has the name, in any namespace and version. 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.tasks_with_task_name(text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.tasks_with_version(version text)
RETURNS SETOF tasker.tasks LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT t.* FROM tasker.tasks t
    WHERE t.named_task_id = ANY (
        tasker_engine.named_task_ids(NULL, NULL, tasker_engine.required($1, 'version')));
END;
COMMENT ON FUNCTION tasker.tasks_with_version(text) IS
'Scope: tasks whose template has the version, whatever its name. 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.tasks_with_version(text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.tasks_by_current_state(state text DEFAULT NULL)
RETURNS SETOF tasker.tasks LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT t.* FROM tasker.tasks t
    WHERE $1 IS NULL OR t.state = tasker_engine.known_state($1);
END;
COMMENT ON FUNCTION tasker.tasks_by_current_state(text) IS
'Scope: tasks in the state; NULL is every task. 22023 for a text that is not one of the six states. Reads all tasks: a
state has no index, so that changing it stays cheap.
state: pending, in_progress, error, complete, cancelled or resolved_manually; NULL: any.';
GRANT EXECUTE ON FUNCTION tasker.tasks_by_current_state(text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.tasks_created_since(since timestamptz)
RETURNS SETOF tasker.tasks LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT t.* FROM tasker.tasks t
    WHERE t.created_at > tasker_engine.required($1, 'since')
      AND t.task_uuid >= tasker_engine.uuids_since($1);
END;
COMMENT ON FUNCTION tasker.tasks_created_since(timestamptz) IS
'Scope: tasks created after the time. 22004 for NULL.
since: The task was created later than this.';
GRANT EXECUTE ON FUNCTION tasker.tasks_created_since(timestamptz) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.tasks_with_tag(tag text)
RETURNS SETOF tasker.tasks LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT t.* FROM tasker.tasks t
    WHERE t.tags <> '[]'
      AND t.tags @> jsonb_build_array(tasker_engine.required($1, 'tag'));
END;
COMMENT ON FUNCTION tasker.tasks_with_tag(text) IS
'Scope: tasks that carry the tag. 22004 for NULL.
tag: One tag, a text.';
GRANT EXECUTE ON FUNCTION tasker.tasks_with_tag(text) TO tasker_reader;

-- The operator compares each tag of one side with each of the other, also where it checks what the index has found. Tasks of before
-- can have more tags than a task may have now.
CREATE OR REPLACE FUNCTION tasker_engine.first_tags(tags jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN jsonb_typeof($1) <> 'array' THEN $1
                WHEN jsonb_array_length($1) <= tasker_engine.most_tags() THEN $1
                ELSE (SELECT jsonb_agg(e.tag) FROM jsonb_array_elements($1) WITH ORDINALITY AS e (tag, no)
                      WHERE e.no <= tasker_engine.most_tags()) END;
COMMENT ON FUNCTION tasker_engine.first_tags(jsonb) IS 'The tags that an index looks for: as many as a task may have.';
GRANT EXECUTE ON FUNCTION tasker_engine.first_tags(jsonb) TO tasker_reader; -- a scope calls it

CREATE OR REPLACE FUNCTION tasker_engine.has_tags(tags jsonb, wanted jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 10000
    RETURN NOT EXISTS (
        SELECT FROM jsonb_array_elements($2) AS w (tag)
        WHERE w.tag NOT IN (SELECT p.tag FROM jsonb_array_elements($1) AS p (tag))
          AND NOT (jsonb_typeof(w.tag) IN ('array', 'object') AND $1 @> jsonb_build_array(w.tag)));
COMMENT ON FUNCTION tasker_engine.has_tags(jsonb, jsonb) IS 'What the operator @> says of two arrays, by a hash of the first.';
GRANT EXECUTE ON FUNCTION tasker_engine.has_tags(jsonb, jsonb) TO tasker_reader; -- a scope calls it

CREATE OR REPLACE FUNCTION tasker.tasks_with_tags(tags jsonb)
RETURNS SETOF tasker.tasks LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT t.* FROM tasker.tasks t
    WHERE t.tags <> '[]'
      AND t.tags @> tasker_engine.first_tags(tasker_engine.required($1, 'tags'))
      AND (tasker_engine.first_tags($1) = $1 OR tasker_engine.has_tags(t.tags, $1));
END;
COMMENT ON FUNCTION tasker.tasks_with_tags(jsonb) IS
'Scope: tasks that carry every tag of a JSON array, such as ["billing", "eu"]; [] is every task that has tags. 22004
for NULL.
tags: A JSON array of tags.';
GRANT EXECUTE ON FUNCTION tasker.tasks_with_tags(jsonb) TO tasker_reader;
