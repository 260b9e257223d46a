-- What operators do and look at.
SELECT play.templates('operators');
SELECT tasker.create_task('diamond', namespace => 'operators') AS task \gset
SELECT play.work('operators', failing => '{left}');
SELECT full_name, name, namespace_name, version, state, priority, total_steps, pending_steps, in_progress_steps, completed_steps, failed_steps, cancelled_steps,
       ready_steps, progress, execution_status, health_status, oldest_error_step, oldest_error_class, oldest_error, oldest_error_at > requested_at AS failed,
       started_at >= requested_at AS started, completed_at, age > '0' AS age, duration > '0' AS duration
FROM tasker.task_overview WHERE task_uuid = :'task' \gx
SELECT name, step_no, namespace_name, task_name, version, error_class, error_message, attempts, retry_limit, retryable, permanent, next_retry_at
FROM tasker.failed_steps WHERE task_uuid = :'task';
SELECT full_name, namespace_name, state, reason, stuck_step_name, stuck_step_uuid = play.step(:'task', 'left') AS step, detail, hint, age > '0' AS age
FROM tasker.stuck_tasks WHERE task_uuid = :'task' \gx

-- Back to work, each in another way; then everything goes through.
SELECT tasker.retry_task(:'task', 'the gateway is back');
SELECT play.work('operators', failing => '{left}');
SELECT tasker.retry_step(play.step(:'task', 'left'));
SELECT play.work('operators', failing => '{left}');
SELECT tasker.set_retry_limit(play.step(:'task', 'left'), 5);
SELECT state FROM tasker.tasks WHERE task_uuid = :'task';
SELECT tasker.resolve_step_manually(play.step(:'task', 'left'), '{"by": "hand"}', 'ada', 'paid by bank');
SELECT play.work('operators');
SELECT name, state, attempts, results FROM tasker.workflow_steps WHERE task_uuid = :'task' ORDER BY step_no;
SELECT from_state, to_state, metadata FROM tasker.task_transitions WHERE task_uuid = :'task' ORDER BY id;
SELECT s.name, t.from_state, t.to_state, t.metadata FROM tasker.workflow_step_transitions t JOIN tasker.workflow_steps s USING (step_uuid)
WHERE t.task_uuid = :'task' AND s.name = 'left' ORDER BY t.id;

-- Cancelling.
SELECT tasker.create_task('line', namespace => 'operators') AS line \gset
SELECT tasker.cancel_step(play.step(:'line', 'second'), 'not needed');
SELECT play.work('operators');
SELECT state FROM tasker.tasks WHERE task_uuid = :'line';
SELECT play.refusal(format('SELECT tasker.retry_task(%L)', :'line'));
SELECT play.refusal(format('SELECT tasker.cancel_task(%L)', :'line'));
SELECT tasker.resolve_task_manually(:'line', 'ada', 'enough');
SELECT tasker.create_task('line', namespace => 'operators') AS line \gset
SELECT tasker.cancel_task(:'line', 'customer withdrew');
SELECT name, state FROM tasker.workflow_steps WHERE task_uuid = :'line' ORDER BY step_no;

-- Pausing: nothing is handed out, and the task says why. The step is ready all the same.
SELECT tasker.create_task('line', namespace => 'operators') AS line \gset
SELECT tasker.pause_namespace('operators'), tasker.pause_namespace('operators') AS again;
SELECT * FROM play.work('operators');
SELECT reason, detail, hint, stuck_step_name FROM tasker.stuck_tasks WHERE task_uuid = :'line';
SELECT ready_for_execution FROM tasker.get_step_readiness_status(:'line', ARRAY[play.step(:'line', 'first')]);
SELECT tasker.resume_namespace('operators');
SELECT * FROM play.work('operators');

\set unknown '00000000-0000-7000-8000-000000000000'
SELECT function, play.refusal(format('SELECT tasker.%s', format(function, '''' || :'unknown' || ''''))) AS unknown_uuid,
       left(play.refusal(format('SELECT tasker.%s', format(function, 'NULL'))), 5) AS for_null
FROM unnest(ARRAY['cancel_task(%s)', 'retry_task(%s)', 'resolve_task_manually(%s)', 'resolve_step_manually(%s)', 'retry_step(%s)', 'cancel_step(%s)',
    'set_retry_limit(%s, 1)', 'transition_task(%s, ''complete'')', 'transition_step(%s, ''complete'')', 'try_transition_task(%s, ''complete'')',
    'try_transition_step(%s, ''complete'')']) AS u (function);
-- What is refused, with its SQLSTATE.
\set SHOW_CONTEXT never
SELECT tasker.pause_namespace('nowhere'); \echo :SQLSTATE
SELECT tasker.resume_namespace(NULL); \echo :SQLSTATE
SELECT tasker.set_retry_limit(play.step(:'task', 'left'), -1); \echo :SQLSTATE
SELECT tasker.resolve_step_manually(play.step(:'line', 'first'), '[]'); \echo :SQLSTATE
