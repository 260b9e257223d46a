-- Scopes and methods of tasks and steps.
SELECT tasker.register_template(format('{"name": "scoped %1$s", "namespace_name": "scopes", "version": "7.7.%1$s", "steps": [
    {"name": "first", "handler": "x"}, {"name": "second", "handler": "x", "depends_on_steps": ["first"], "default_retry_limit": 1},
    {"name": "third", "handler": "x", "depends_on_steps": ["first"]}]}', n)) > 0 AS registered FROM generate_series(1, 2) n;
SELECT tasker.create_task('scoped 1', '{"is": "done"}', 'scopes', tags => '["eu", "new"]') AS done \gset
SELECT * FROM play.work('scopes');
SELECT clock_timestamp() AS later \gset
SELECT tasker.create_task('scoped 2', '{"is": "failed"}', 'scopes', tags => '["eu"]') AS failed \gset
SELECT * FROM play.work('scopes', failing => '{second}');
SELECT tasker.create_task('scoped 2', '{"is": "new"}', 'scopes') AS new \gset
SELECT tasker.create_task('scoped 2', '{"is": "running"}', 'scopes', priority => 4) AS running \gset
CREATE TEMP TABLE c AS SELECT * FROM tasker.claim_steps('scoper', '{scopes}');

-- Tasks. Scopes compose: each is filtered as the relation itself.
CREATE FUNCTION pg_temp.tasks(scope text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    found text;
BEGIN
    EXECUTE format('SELECT string_agg(context ->> ''is'', '', '' ORDER BY task_uuid) FROM %s WHERE namespace_name = ''scopes''', scope) INTO found;
    RETURN found;
END
$$;
SELECT scope, pg_temp.tasks(replace(scope, 'LATER', quote_literal(:'later'))) AS tasks FROM unnest(ARRAY[
    'tasker.tasks_in_namespace(''scopes'')', 'tasker.tasks_in_namespace(''nowhere'')', 'tasker.tasks_with_task_name(''scoped 2'')', 'tasker.tasks_with_version(''7.7.1'')',
    'tasker.tasks_by_current_state()', 'tasker.tasks_by_current_state(''pending'')', 'tasker.tasks_by_current_state(''in_progress'')', 'tasker.tasks_by_current_state(''complete'')',
    'tasker.tasks_by_current_state(''error'')', 'tasker.tasks_with_tag(''eu'')', 'tasker.tasks_with_tag(''nothing'')', 'tasker.tasks_with_tags(''["eu", "new"]'')', 'tasker.tasks_with_tags(''[]'')',
    'tasker.tasks_created_since(LATER)', 'tasker.tasks_completed_since(LATER)', 'tasker.tasks_completed_since(''-infinity'')', 'tasker.tasks_failed_since(LATER)',
    'tasker.tasks_failed_since(''infinity'')', 'tasker.tasks_active()']) AS u (scope);
SELECT t.context ->> 'is' AS task, s.name FROM tasker.tasks_in_namespace('scopes') t JOIN tasker.tasks_with_tag('eu') USING (task_uuid)
JOIN tasker.workflow_steps_failed() s USING (task_uuid);
SELECT tasker.unique_task_types_count() = (SELECT count(DISTINCT name) FROM tasker.tasks) AS unique_task_types_count;

SELECT tasker.annotate_task(:'failed', 'scope note', '{"n": 1}') IS NOT NULL AS annotated;
SELECT named_task ->> 'name' AS named_task, named_task -> 'task_namespace' ->> 'name' AS namespace, named_task ? 'configuration' AS configuration,
       jsonb_path_query_array(workflow_steps, '$[*].name') AS steps, jsonb_path_query_array(workflow_steps, '$[*].parents.size()') AS parents,
       jsonb_path_query_array(workflow_steps, '$[*].children.size()') AS children, workflow_steps -> 0 ? 'inputs' AS inputs,
       jsonb_path_query_array(task_annotations, '$[*].annotation_type') AS annotation_types, jsonb_path_query_array(task_annotations, '$[*].annotation') AS annotations,
       jsonb_path_query_array(task_transitions, '$[*].to_state') AS transitions
FROM tasker.tasks_with_all_associated() WHERE task_uuid = :'failed' \gx
SELECT a.context, a.state, task_annotations FROM tasker.tasks_with_all_associated a WHERE task_uuid = :'new';

-- Steps.
CREATE FUNCTION pg_temp.steps(scope text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    found text;
BEGIN
    EXECUTE format('SELECT string_agg((t.context ->> ''is'') || '' '' || s.name, '', '' ORDER BY s.task_uuid, s.step_no) FROM %s s
        JOIN tasker.tasks t USING (task_uuid) WHERE t.namespace_name = ''scopes''', scope) INTO found;
    RETURN found;
END
$$;
SELECT scope, pg_temp.steps(replace(replace(scope, 'LATER', quote_literal(:'later')), 'FAILED', quote_literal(:'failed'))) AS steps FROM unnest(ARRAY[
    'tasker.workflow_steps_completed()', 'tasker.workflow_steps_failed()', 'tasker.workflow_steps_pending()', 'tasker.workflow_steps_for_task(FAILED)',
    'tasker.workflow_steps_by_current_state(''pending'')', 'tasker.workflow_steps_by_current_state(''in_progress'')', 'tasker.workflow_steps_completed_since(LATER)',
    'tasker.workflow_steps_failed_since(LATER)', 'tasker.workflow_steps_failed_since(''infinity'')', 'tasker.workflow_steps_for_tasks_since(LATER)',
    'tasker.find_step_by_name(FAILED, ''second'')', 'tasker.find_step_by_name(FAILED, ''nothing'')', 'tasker.get_viable_steps(FAILED)']) AS u (scope);
SELECT (SELECT count(*) FROM tasker.workflow_steps_by_current_state()) = (SELECT count(*) FROM tasker.workflow_steps) AS every_step;
SELECT name FROM tasker.get_viable_steps(:'new');
SELECT tasker.cancel_step(play.step(:'new', 'third')), tasker.resolve_step_manually(play.step(:'new', 'first'));
SELECT t.context ->> 'is' AS task, total_steps, completed_steps, failed_steps, pending_steps, cancelled_steps, latest_completion_time IS NOT NULL AS some_complete, all_complete,
       tasker.all_steps_complete(t.task_uuid)
FROM tasker.tasks_in_namespace('scopes') t, tasker.task_completion_stats(t.task_uuid) ORDER BY t.task_uuid;

-- What there is to be said with yes or no, and why a step is not ready.
SELECT t.context ->> 'is' AS task, s.name, current_state, concat_ws(', ', CASE WHEN is_complete THEN 'is_complete' END, CASE WHEN is_in_progress THEN 'is_in_progress' END,
    CASE WHEN is_pending THEN 'is_pending' END, CASE WHEN is_in_error THEN 'is_in_error' END, CASE WHEN is_cancelled THEN 'is_cancelled' END,
    CASE WHEN is_ready_status THEN 'is_ready_status' END, CASE WHEN is_ready THEN 'is_ready' END, CASE WHEN dependencies_satisfied THEN 'dependencies_satisfied' END,
    CASE WHEN retry_eligible THEN 'retry_eligible' END, CASE WHEN has_retry_attempts THEN 'has_retry_attempts' END, CASE WHEN is_retry_exhausted THEN 'is_retry_exhausted' END,
    CASE WHEN is_waiting_for_backoff THEN 'is_waiting_for_backoff' END, CASE WHEN can_retry_now THEN 'can_retry_now' END,
    CASE WHEN is_root_step THEN 'is_root_step' END, CASE WHEN is_leaf_step THEN 'is_leaf_step' END) AS says
FROM tasker.workflow_step_statuses s JOIN tasker.tasks_in_namespace('scopes') t USING (task_uuid) ORDER BY s.task_uuid, tasker.step_number(s.step_uuid);
SELECT tasker.fail_step(step_uuid, claim_number, 'busy', retry_after => '4 minutes') FROM c;
SELECT t.context ->> 'is' AS task, s.name, can_execute_now, blocking_reason, dependency_status, retry_status, backoff_type, effective_backoff_seconds,
       CASE WHEN time_until_ready > '0' THEN '> 0' ELSE time_until_ready::text END AS time_until_ready
FROM tasker.step_readiness_details s JOIN tasker.tasks_in_namespace('scopes') t USING (task_uuid) ORDER BY s.task_uuid, tasker.step_number(s.step_uuid);
SELECT is_waiting_for_backoff, can_retry_now FROM tasker.workflow_step_statuses WHERE step_uuid = (SELECT step_uuid FROM c);

CREATE FUNCTION pg_temp.names(scope text, task uuid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    found text;
BEGIN
    EXECUTE format('SELECT string_agg(name, '', '' ORDER BY step_uuid) FROM %s(%L)', scope, task) INTO found;
    RETURN found;
END
$$;
SELECT scope, pg_temp.names(scope, :'done') AS done, pg_temp.names(scope, :'failed') AS failed, pg_temp.names(scope, :'new') AS new, pg_temp.names(scope, :'running') AS running
FROM unnest(ARRAY['tasker.step_readiness_statuses_ready_for_task', 'tasker.step_readiness_statuses_blocked_by_dependencies_for_task',
    'tasker.step_readiness_statuses_blocked_by_retry_for_task', 'tasker.step_readiness_statuses_pending_for_task', 'tasker.step_readiness_statuses_failed_for_task',
    'tasker.step_readiness_statuses_in_progress_for_task', 'tasker.step_readiness_statuses_complete_for_task']) AS u (scope);

-- An unknown uuid has no rows; what returns one value refuses it. NULL is always refused.
SELECT function, split_part(play.refusal(format('SELECT * FROM ' || function, '''00000000-0000-7000-8000-000000000000''')), E'\n', 1) AS unknown_uuid,
       left(play.refusal(format('SELECT * FROM ' || function, 'NULL')), 5) AS for_null
FROM unnest(ARRAY['tasker.workflow_steps_for_task(%s)', 'tasker.find_step_by_name(%s, ''first'')', 'tasker.get_viable_steps(%s)', 'tasker.task_completion_stats(%s)', 'tasker.all_steps_complete(%s)',
    'tasker.step_readiness_statuses_ready_for_task(%s)', 'tasker.step_readiness_statuses_blocked_by_dependencies_for_task(%s)', 'tasker.step_readiness_statuses_blocked_by_retry_for_task(%s)',
    'tasker.step_readiness_statuses_pending_for_task(%s)', 'tasker.step_readiness_statuses_failed_for_task(%s)', 'tasker.step_readiness_statuses_in_progress_for_task(%s)',
    'tasker.step_readiness_statuses_complete_for_task(%s)']) AS u (function);
SELECT function, left(play.refusal('SELECT * FROM ' || function), 5) AS sqlstate FROM unnest(ARRAY['tasker.tasks_in_namespace(NULL)', 'tasker.tasks_with_task_name(NULL)', 'tasker.tasks_with_version(NULL)',
    'tasker.tasks_created_since(NULL)', 'tasker.tasks_completed_since(NULL)', 'tasker.tasks_failed_since(NULL)', 'tasker.workflow_steps_completed_since(NULL)', 'tasker.workflow_steps_failed_since(NULL)',
    'tasker.workflow_steps_for_tasks_since(NULL)', 'tasker.tasks_by_current_state(''done'')', 'tasker.workflow_steps_by_current_state(''done'')',
    'tasker.find_step_by_name(''00000000-0000-7000-8000-000000000000'', NULL)']) AS u (function);
SELECT play.refusal('SELECT * FROM tasker.tasks_by_current_state(''done'')');
