-- The log of tasks and steps: scopes, what a row tells, statistics.
SELECT play.templates('transitions');
SELECT clock_timestamp() AS before \gset
SELECT tasker.create_task('line', namespace => 'transitions') AS task \gset
SELECT * FROM play.work('transitions', failing => '{second}');
SELECT tasker.retry_task(:'task', 'the gateway is back');
SELECT * FROM play.work('transitions', failing => '{second}');
SELECT clock_timestamp() AS between \gset
SELECT tasker.resolve_step_manually(play.step(:'task', 'second'), '{}', 'ada', 'paid by bank');
SELECT tasker.cancel_step(play.step(:'task', 'third'), 'not needed');
CREATE FUNCTION pg_temp.changes(scope text, task uuid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    found text;
BEGIN
    EXECUTE format('SELECT string_agg(coalesce(from_state, ''-'') || '' > '' || to_state, '', '') FROM (SELECT * FROM %s WHERE task_uuid = %L ORDER BY id) l',
        scope, task) INTO found;
    RETURN found;
END
$$;
SELECT scope, pg_temp.changes(replace(replace(replace(scope, 'BEFORE', quote_literal(:'before')), 'BETWEEN', quote_literal(:'between')), 'TASK', quote_literal(:'task')), :'task') AS changes
FROM unnest(ARRAY['tasker.task_transitions_to_state(''error'')', 'tasker.task_transitions_with_metadata_key(''reason'')', 'tasker.task_transitions_with_metadata_value(''reason'', ''"the gateway is back"'')',
    'tasker.task_transitions_with_metadata_value(''reason'', ''1'')', 'tasker.task_transitions_in_time_range(BEFORE, BETWEEN)', 'tasker.task_transitions_in_time_range(BETWEEN, BEFORE)',
    'tasker.task_transitions_most_recent_to_state(TASK, ''error'')', 'tasker.task_transitions_most_recent_to_state(TASK, ''complete'')',
    'tasker.workflow_step_transitions_for_task(TASK)', 'tasker.workflow_step_transitions_to_state(''complete'')', 'tasker.workflow_step_transitions_with_metadata_key(''resolved_by'')',
    'tasker.workflow_step_transitions_with_metadata_value(''resolved_by'', ''"ada"'')', 'tasker.workflow_step_transitions_in_time_range(BETWEEN, ''infinity'')',
    'tasker.workflow_step_transitions_in_time_range(''infinity'', BETWEEN)']) AS u (scope);
SELECT from_state, to_state FROM tasker.workflow_step_transitions_most_recent_to_state(play.step(:'task', 'second'), 'error');
-- Newest first.
SELECT to_state FROM tasker.task_transitions_recent() WHERE task_uuid = :'task';
SELECT step_no, to_state FROM tasker.workflow_step_transitions_recent() WHERE task_uuid = :'task' LIMIT 4;

SELECT description, is_error_transition AS error, is_completion_transition AS completion, is_cancellation_transition AS cancellation, has_metadata,
       duration_since_previous >= '0' AS duration FROM tasker.task_transition_details WHERE task_uuid = :'task' ORDER BY id;
SELECT step_name, attempt, description, is_error_transition AS error, is_completion_transition AS completion, is_cancellation_transition AS cancellation,
       is_retry_transition AS retry, has_metadata, duration_since_previous >= '0' AS duration, execution_duration >= '0' AS execution, backoff_info
FROM tasker.workflow_step_transition_details WHERE task_uuid = :'task' ORDER BY id;
SELECT total_transitions, states, recent_activity, average_time_between_transitions > '0' AS average FROM tasker.task_transition_statistics(:'task');
SELECT * FROM tasker.task_transition_statistics(:'task', 'infinity');
SELECT total_transitions, states, recent_activity, average_time_between_transitions > '0' AS average, retry_attempts, average_execution_time >= '0' AS execution
FROM tasker.workflow_step_transition_statistics(:'task');
SELECT total_transitions, states, retry_attempts FROM tasker.workflow_step_transition_statistics(step_uuid => play.step(:'task', 'second'));
SELECT total_transitions, states, retry_attempts FROM tasker.workflow_step_transition_statistics(:'task', since => :'between');
SELECT * FROM tasker.workflow_step_transition_statistics('00000000-0000-7000-8000-000000000000');
SELECT (SELECT total_transitions FROM tasker.task_transition_statistics()) = (SELECT count(*) FROM tasker.task_transitions) AS tasks,
       (SELECT total_transitions FROM tasker.workflow_step_transition_statistics()) = (SELECT count(*) FROM tasker.workflow_step_transitions) AS steps;

-- A failed step that will run again by itself says when.
SELECT tasker.create_task('line', namespace => 'transitions') AS line \gset
SELECT tasker.fail_step(step_uuid, claim_number, 'busy', retry_after => '90 seconds') FROM tasker.claim_steps('logger', '{transitions}');
SELECT description, backoff_info ->> 'backoff_seconds' AS seconds, backoff_info -> 'retry_available' AS available, (backoff_info ->> 'backoff_until')::timestamptz > clock_timestamp() AS later
FROM tasker.workflow_step_transition_details WHERE task_uuid = :'line' AND most_recent;

-- What is refused.
SELECT function, left(play.refusal('SELECT * FROM ' || replace(function, '(TASK', '(' || quote_literal(:'task'))), 5) AS sqlstate FROM unnest(ARRAY[
    'tasker.task_transitions_to_state(NULL)', 'tasker.task_transitions_to_state(''done'')', 'tasker.task_transitions_with_metadata_key(NULL)', 'tasker.task_transitions_with_metadata_value(''x'', NULL)',
    'tasker.task_transitions_in_time_range(NULL, now())', 'tasker.task_transitions_in_time_range(now(), NULL)', 'tasker.task_transitions_most_recent_to_state(NULL, ''error'')',
    'tasker.task_transitions_most_recent_to_state(TASK, NULL)', 'tasker.task_transitions_most_recent_to_state(TASK, ''done'')',
    'tasker.workflow_step_transitions_to_state(NULL)', 'tasker.workflow_step_transitions_to_state(''done'')', 'tasker.workflow_step_transitions_with_metadata_key(NULL)',
    'tasker.workflow_step_transitions_with_metadata_value(NULL, ''1'')', 'tasker.workflow_step_transitions_for_task(NULL)', 'tasker.workflow_step_transitions_in_time_range(NULL, now())',
    'tasker.workflow_step_transitions_most_recent_to_state(NULL, ''error'')', 'tasker.workflow_step_transitions_most_recent_to_state(TASK, ''done'')']) AS u (function);
