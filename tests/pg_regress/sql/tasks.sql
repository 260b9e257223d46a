-- create_task, create_tasks and the views of tasks.
SELECT play.templates('tasks');
SELECT tasker.register_template('{"name": "checked", "namespace_name": "tasks", "identity_strategy": "hash", "steps": [{"name": "only", "handler": "x"}],
    "input_schema": {"type": "object", "required": ["order"], "properties": {"order": {"type": "integer"}}}}') > 0 AS registered;
SELECT tasker.create_task('line', '{"order": 1}', 'tasks', initiator => 'web', source_system => 'shop', reason => 'sold', tags => '["new"]', priority => 3,
    run_at => '2001-01-01 00:00+00', idempotency_key => 'order-1', correlation_id => 'c-1', traceparent => '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01') AS task \gset
SELECT name, namespace_name, version, full_name, state, complete, initiator, source_system, reason, tags, bypass_steps, context, priority,
       correlation_id, traceparent, identity_hash IS NOT NULL AS identified, run_at AT TIME ZONE 'UTC' AS run_at, started_at, completed_at,
       requested_at = created_at AS requested, updated_at >= created_at AS updated
FROM tasker.tasks WHERE task_uuid = :'task' \gx
-- The caller's key, met again, is the same task.
SELECT tasker.create_task('line', '{"order": 2}', 'tasks', idempotency_key => 'order-1') = :'task' AS same;

SELECT array_agg(u ORDER BY n) AS several FROM tasker.create_tasks('diamond', ARRAY['{"n": 1}', '{"n": 2}']::jsonb[], 'tasks',
    idempotency_keys => ARRAY['key-1', NULL]) WITH ORDINALITY AS c (u, n) \gset
SELECT t.context, t.full_name, t.identity_hash IS NOT NULL AS identified FROM unnest(:'several'::uuid[]) WITH ORDINALITY AS u (task_uuid, n)
JOIN tasker.tasks t USING (task_uuid) ORDER BY n;

SELECT step_no, name, state, attempts, retry_limit, retryable, skippable, queue, claim_number, priority, handler, inputs, results,
       in_process, processed, processed_at, last_attempted_at, backoff_request_seconds, worker_id, lease_expires_at, available_at IS NOT NULL AS available
FROM tasker.workflow_steps WHERE task_uuid = :'task' ORDER BY step_no;
SELECT f.name AS from_step, e.name, t.name AS to_step FROM tasker.workflow_step_edges e
JOIN tasker.workflow_steps f ON f.step_uuid = e.from_step_uuid JOIN tasker.workflow_steps t ON t.step_uuid = e.to_step_uuid
WHERE e.task_uuid = (:'several'::uuid[])[1] ORDER BY f.step_no, t.step_no;

-- Ids of steps.
SELECT tasker.step_uuid(:'task', 2::smallint) = play.step(:'task', 'second') AS step_uuid,
       tasker.step_task_uuid(play.step(:'task', 'second')) = :'task' AS step_task_uuid,
       tasker.step_number(play.step(:'task', 'second')) AS step_number, tasker.step_number(:'task') AS of_task;

-- Annotations and object maps are plain tables.
INSERT INTO tasker.annotation_types (name, description) VALUES ('ticket', 'in the tracker');
INSERT INTO tasker.task_annotations (task_uuid, annotation_type_id, annotation)
    SELECT :'task', annotation_type_id, '{"id": 7}' FROM tasker.annotation_types WHERE name = 'ticket';
SELECT t.name, a.annotation FROM tasker.task_annotations a JOIN tasker.annotation_types t USING (annotation_type_id) WHERE a.task_uuid = :'task';
INSERT INTO tasker.dependent_systems (name) VALUES ('crm'), ('shop');
INSERT INTO tasker.dependent_system_object_maps (dependent_system_one_id, dependent_system_two_id, remote_id_one, remote_id_two)
    SELECT a.dependent_system_id, b.dependent_system_id, 'c-9', 's-4' FROM tasker.dependent_systems a, tasker.dependent_systems b
    WHERE a.name = 'crm' AND b.name = 'shop';
SELECT a.name, m.remote_id_one, b.name, m.remote_id_two FROM tasker.dependent_system_object_maps m
JOIN tasker.dependent_systems a ON a.dependent_system_id = dependent_system_one_id
JOIN tasker.dependent_systems b ON b.dependent_system_id = dependent_system_two_id WHERE a.name = 'crm';

SELECT tasker.create_task('checked', '{"order": 5}', 'tasks') IS NOT NULL AS created;
SELECT play.refusal($$SELECT tasker.create_task('checked', '{"order": 5}', 'tasks')$$);
SELECT play.refusal($$SELECT tasker.create_task('checked', '{"order": "five"}', 'tasks')$$);
-- What is refused, with its SQLSTATE.
\set SHOW_CONTEXT never
SELECT tasker.create_task(NULL); \echo :SQLSTATE
SELECT tasker.create_task('nothing'); \echo :SQLSTATE
SELECT tasker.create_task('line', '[]', 'tasks'); \echo :SQLSTATE
SELECT tasker.create_task('line', '{}', 'tasks', priority => 5); \echo :SQLSTATE
SELECT tasker.create_task('line', '{}', 'tasks', tags => '{}'); \echo :SQLSTATE
SELECT tasker.create_task('line', '{}', 'tasks', reason => repeat('x', 129)); \echo :SQLSTATE
SELECT tasker.create_tasks('line', NULL, 'tasks'); \echo :SQLSTATE
SELECT tasker.create_tasks('line', ARRAY['{}', '{}']::jsonb[], 'tasks', idempotency_keys => '{one}'); \echo :SQLSTATE
SELECT tasker.step_uuid(:'task', (-1)::smallint); \echo :SQLSTATE
SELECT tasker.step_uuid(NULL, 1::smallint); \echo :SQLSTATE
SELECT tasker.step_task_uuid(NULL); \echo :SQLSTATE
SELECT tasker.step_number(NULL); \echo :SQLSTATE
