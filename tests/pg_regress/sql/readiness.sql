-- get_step_readiness_status and _batch, step_readiness_statuses, calculate_dependency_levels, step_dag_relationships.
SELECT play.templates('readiness');
SELECT tasker.create_task('diamond', namespace => 'readiness') AS task \gset
SELECT tasker.create_task('line', namespace => 'readiness') AS line \gset
\set columns 'name, current_state, dependencies_satisfied AS satisfied, retry_eligible AS eligible, ready_for_execution AS ready, last_failure_at IS NOT NULL AS failed, next_retry_at IS NOT NULL AS retries, total_parents AS parents, completed_parents AS done, attempts, retry_limit AS "limit", backoff_request_seconds AS backoff, last_attempted_at IS NOT NULL AS tried'

SELECT :columns FROM tasker.get_step_readiness_status(:'task');
CREATE TEMP TABLE c AS SELECT * FROM tasker.claim_steps('reader', '{readiness}', 10);
SELECT :columns FROM tasker.get_step_readiness_status(:'task');
SELECT tasker.complete_step(step_uuid, claim_number) FROM c WHERE step_name = 'top';
SELECT tasker.fail_step(step_uuid, claim_number, 'busy', retry_after => '90 seconds') FROM c WHERE step_name = 'first';
TRUNCATE c;
INSERT INTO c SELECT * FROM tasker.claim_steps('reader', '{readiness}', 10);
SELECT tasker.fail_step(step_uuid, claim_number, 'busy') FROM c WHERE step_name = 'left';
-- All of both, through the batch, the view and a pick of steps.
SELECT tasker.step_number(step_uuid), :columns FROM tasker.get_step_readiness_status_batch(ARRAY[:'line', :'task', :'line']::uuid[]);
SELECT count(*) AS differences FROM (
    (SELECT * FROM tasker.step_readiness_statuses WHERE task_uuid IN (:'task', :'line')
     EXCEPT SELECT * FROM tasker.get_step_readiness_status_batch(ARRAY[:'line', :'task']::uuid[]))
    UNION ALL
    (SELECT * FROM tasker.get_step_readiness_status_batch(ARRAY[:'line', :'task']::uuid[])
     EXCEPT SELECT * FROM tasker.step_readiness_statuses WHERE task_uuid IN (:'task', :'line'))) d;
SELECT :columns FROM tasker.get_step_readiness_status(:'task', ARRAY[play.step(:'task', 'bottom')]);

SELECT s.name, l.dependency_level FROM tasker.calculate_dependency_levels(:'task') l JOIN tasker.workflow_steps s USING (step_uuid)
ORDER BY l.dependency_level, s.step_no;
SELECT s.name, play.short(parent_step_uuids::text) AS parents, play.short(child_step_uuids::text) AS children, parent_count, child_count, is_root_step, is_leaf_step,
       min_depth_from_root
FROM tasker.step_dag_relationships d JOIN tasker.workflow_steps s USING (step_uuid) WHERE d.task_uuid = :'task' ORDER BY s.step_no;

-- Unknown tasks have no rows.
\set unknown '00000000-0000-7000-8000-000000000000'
SELECT (SELECT count(*) FROM tasker.get_step_readiness_status(:'unknown')) + (SELECT count(*) FROM tasker.get_step_readiness_status_batch(ARRAY[:'unknown']::uuid[]))
     + (SELECT count(*) FROM tasker.calculate_dependency_levels(:'unknown')) AS rows;
-- What is refused, with its SQLSTATE.
\set SHOW_CONTEXT never
SELECT * FROM tasker.get_step_readiness_status(NULL); \echo :SQLSTATE
SELECT * FROM tasker.get_step_readiness_status_batch(NULL); \echo :SQLSTATE
SELECT * FROM tasker.get_step_readiness_status_batch(ARRAY[NULL::uuid]); \echo :SQLSTATE
SELECT * FROM tasker.calculate_dependency_levels(NULL); \echo :SQLSTATE
