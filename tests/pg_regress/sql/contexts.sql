-- get_task_execution_context and _batch, task_execution_contexts: every execution status.
SELECT play.templates('contexts');
\set columns 'status, total_steps AS total, pending_steps AS pending, in_progress_steps AS running, completed_steps AS done, failed_steps AS failed, cancelled_steps AS cancelled, ready_steps AS ready, execution_status, recommended_action, completion_percentage, health_status'
SELECT tasker.create_task('diamond', namespace => 'contexts') AS task \gset
SELECT :columns FROM tasker.get_task_execution_context(:'task');
CREATE TEMP TABLE c AS SELECT * FROM tasker.claim_steps('reader', '{contexts}');
SELECT :columns FROM tasker.get_task_execution_context(:'task');
SELECT tasker.fail_step(step_uuid, claim_number, 'busy', retry_after => '1 minute') FROM c;
SELECT :columns FROM tasker.get_task_execution_context(:'task');
SELECT tasker.retry_step(play.step(:'task', 'top'));
SELECT * FROM play.work('contexts', failing => '{right}');
SELECT :columns FROM tasker.get_task_execution_context(:'task');
SELECT tasker.retry_task(:'task');
SELECT * FROM play.work('contexts');
SELECT :columns FROM tasker.get_task_execution_context(:'task');
SELECT tasker.create_task('line', namespace => 'contexts') AS line \gset
SELECT tasker.cancel_step(play.step(:'line', 'first'));
SELECT :columns FROM tasker.get_task_execution_contexts_batch(ARRAY[:'line', :'task', :'line']::uuid[]);
SELECT count(*) AS differences FROM (
    SELECT * FROM tasker.task_execution_contexts WHERE task_uuid IN (:'task', :'line')
    EXCEPT SELECT * FROM tasker.get_task_execution_contexts_batch(ARRAY[:'line', :'task']::uuid[])) d;
SELECT c.named_task_id = t.named_task_id AS template FROM tasker.get_task_execution_context(:'task') c JOIN tasker.tasks t USING (task_uuid);
-- What a context tells.
CREATE TEMP VIEW details AS SELECT d.*, t.name FROM tasker.task_execution_details d JOIN tasker.tasks t USING (task_uuid) WHERE t.namespace_name = 'contexts';
SELECT tasker.create_task('line', namespace => 'contexts') AS more \gset
SELECT name, execution_status, has_work_to_do, is_blocked, is_complete, is_healthy, needs_intervention, can_make_progress, should_reenqueue, needs_immediate_action
FROM details ORDER BY task_uuid;
TRUNCATE c;
INSERT INTO c SELECT * FROM tasker.claim_steps('reader', '{contexts}');
SELECT execution_status, has_work_to_do, should_reenqueue, tasker.task_next_action(task_uuid) FROM details WHERE task_uuid = :'more';
SELECT tasker.fail_step(step_uuid, claim_number, 'busy', retry_after => '1 minute') FROM c;
SELECT execution_status, is_healthy, should_reenqueue, tasker.task_next_action(task_uuid) FROM details WHERE task_uuid = :'more';
SELECT tasker.task_next_action(task_uuid) FROM details WHERE task_uuid <> :'more' ORDER BY task_uuid;
SELECT jsonb_pretty(tasker.task_workflow_summary(:'line'));
SELECT tasker.all_steps_complete(:'task'), tasker.all_steps_complete(:'line') AS line;
SELECT bool_and(workflow_summary = tasker.task_workflow_summary(task_uuid) AND next_action_details = tasker.task_next_action(task_uuid)) AS same FROM details;
\set unknown '00000000-0000-7000-8000-000000000000'
SELECT count(*) FROM tasker.get_task_execution_context(:'unknown');
-- What is refused, with its SQLSTATE.
\set SHOW_CONTEXT never
SELECT * FROM tasker.get_task_execution_context(NULL); \echo :SQLSTATE
SELECT * FROM tasker.get_task_execution_contexts_batch(NULL); \echo :SQLSTATE
SELECT tasker.task_next_action(:'unknown'); \echo :SQLSTATE
SELECT tasker.task_workflow_summary(NULL); \echo :SQLSTATE
SELECT tasker.all_steps_complete(NULL); \echo :SQLSTATE
SELECT tasker.all_steps_complete(:'unknown'); \echo :SQLSTATE
