-- How much there is, how well it goes, what is slow, what fails, what waits.
SELECT play.templates('analytics');
CREATE TEMP TABLE before AS SELECT * FROM tasker.get_system_health_counts();
SELECT clock_timestamp() AS start \gset
-- One completes, one fails, one is resolved after a failure, one is cancelled, one will be tried again, one runs.
SELECT tasker.create_task('line', '{"is": "complete"}', 'analytics') IS NOT NULL AS created;
SELECT * FROM play.work('analytics');
SELECT tasker.create_task('diamond', '{"is": "failed"}', 'analytics') IS NOT NULL AS created;
SELECT * FROM play.work('analytics', failing => '{left}');
SELECT tasker.create_task('line', '{"is": "resolved"}', 'analytics') AS resolved \gset
SELECT * FROM play.work('analytics', trying => '{first}');
SELECT tasker.resolve_task_manually(:'resolved');
SELECT tasker.cancel_task(tasker.create_task('line', '{"is": "cancelled"}', 'analytics'));
SELECT tasker.create_task('line', '{"is": "waiting"}', 'analytics') IS NOT NULL AS created;
SELECT tasker.fail_step(step_uuid, claim_number, 'no answer', 'Timeout', retry_after => '4 minutes') FROM tasker.claim_steps('counter', '{analytics}');
SELECT tasker.create_task('diamond', '{"is": "running"}', 'analytics') IS NOT NULL AS created;
SELECT step_name FROM tasker.claim_steps('counter', '{analytics}');

-- Each task and each step is in exactly one state.
SELECT n.total_tasks - b.total_tasks AS total_tasks, n.pending_tasks - b.pending_tasks AS pending_tasks, n.in_progress_tasks - b.in_progress_tasks AS in_progress_tasks,
       n.complete_tasks - b.complete_tasks AS complete_tasks, n.error_tasks - b.error_tasks AS error_tasks, n.cancelled_tasks - b.cancelled_tasks AS cancelled_tasks,
       n.resolved_manually_tasks - b.resolved_manually_tasks AS resolved_manually_tasks,
       n.total_steps - b.total_steps AS total_steps, n.pending_steps - b.pending_steps AS pending_steps, n.in_progress_steps - b.in_progress_steps AS in_progress_steps,
       n.complete_steps - b.complete_steps AS complete_steps, n.error_steps - b.error_steps AS error_steps, n.cancelled_steps - b.cancelled_steps AS cancelled_steps,
       n.resolved_manually_steps - b.resolved_manually_steps AS resolved_manually_steps, n.retryable_error_steps - b.retryable_error_steps AS retryable_error_steps,
       n.exhausted_retry_steps - b.exhausted_retry_steps AS exhausted_retry_steps, n.permanent_error_steps - b.permanent_error_steps AS permanent_error_steps,
       n.in_backoff_steps - b.in_backoff_steps AS in_backoff_steps, n.active_connections >= 1 AS active_connections,
       n.max_connections = current_setting('max_connections')::bigint AS max_connections
FROM tasker.get_system_health_counts() n, before b \gx
SELECT h.healthy = (h.status = 'healthy') AND h.healthy = (h.reasons = '{}') AS one_verdict, h.total_tasks = c.total_tasks AS total_tasks, h.error_steps = c.error_steps AS error_steps,
       h.task_error_rate = round(100.0 * c.error_tasks / c.total_tasks, 2) AS task_error_rate, h.step_error_rate = round(100.0 * c.error_steps / c.total_steps, 2) AS step_error_rate,
       h.connection_utilization BETWEEN 0 AND 100 AS connection_utilization
FROM tasker.system_health() h, tasker.get_system_health_counts() c;

SELECT task_throughput, completion_count, error_count, cancelled_count, resolved_manually_count, completion_rate, error_rate, system_health_score,
       step_throughput, failed_run_count, avg_task_duration >= 0 AS avg_task_duration, p50_task_duration = p99_task_duration AS of_one_task,
       p50_step_duration <= p95_step_duration AND p95_step_duration <= p99_step_duration AS of_runs, analysis_period_start = :'start' AS period,
       active_tasks_count = (SELECT count(*) FROM tasker.tasks WHERE state IN ('pending', 'in_progress')) AS active_tasks,
       unique_task_types_count = tasker.unique_task_types_count() AS task_types,
       total_namespaces_count = (SELECT count(DISTINCT namespace_name) FROM tasker.tasks) AS namespaces
FROM tasker.get_analytics_metrics(:'start') \gx
-- Of nothing.
SELECT task_throughput, completion_rate, error_rate, system_health_score, avg_task_duration, avg_step_duration, p50_task_duration, p99_step_duration
FROM tasker.get_analytics_metrics('infinity');

SELECT step_name, task_name, namespace_name, version, duration_seconds >= 0 AS duration, attempts, step_status, retryable, handler,
       completed_at - started_at BETWEEN '0' AND '1 minute' AS ran, created_at <= started_at AS created
FROM tasker.get_slowest_steps(:'start', 100, 'analytics') ORDER BY task_uuid, step_uuid;
SELECT bool_and(longest) AS longest_first FROM (SELECT duration_seconds <= lag(duration_seconds, 1, 'infinity') OVER () AS longest
    FROM tasker.get_slowest_steps(:'start', 100, 'analytics')) s;
SELECT task_name, t.namespace_name, t.version, step_count, completed_steps, error_steps, status, t.duration_seconds >= 0 AS duration, t.completed_at >= t.created_at AS completed
FROM tasker.get_slowest_tasks(:'start', namespace_filter => 'analytics') t ORDER BY task_uuid;
SELECT error_class, failed_runs, share, failed_tasks, step_names, last_message FROM tasker.get_error_patterns(:'start', namespace_filter => 'analytics') ORDER BY 1;
SELECT step_name, task_name, namespace_name, version, waiting_tasks, waiting_steps, running, failed, longest_wait_seconds >= 0 AS longest_wait
FROM tasker.get_dependency_bottlenecks(:'start', namespace_filter => 'analytics') ORDER BY 1, 2;
SELECT completed_tasks, p50_task_duration = p99_task_duration AS of_one_task, completed_runs, p50_step_duration <= p95_step_duration AS of_runs
FROM tasker.get_duration_percentiles(:'start', 'analytics');
SELECT * FROM tasker.get_duration_percentiles(:'start', 'nowhere');
-- Filters, and how many.
SELECT (SELECT count(*) FROM tasker.get_slowest_steps(:'start', 2, 'analytics')) AS two, (SELECT count(*) FROM tasker.get_slowest_steps(:'start', 100, 'analytics', 'line')) AS of_line,
       (SELECT count(*) FROM tasker.get_slowest_steps(:'start', 100, 'analytics', 'line', '1.2.0')) AS of_no_version,
       (SELECT count(*) FROM tasker.get_slowest_tasks('infinity')) AS tasks_later, (SELECT count(*) FROM tasker.get_error_patterns('infinity')) AS errors_later,
       (SELECT count(*) FROM tasker.get_dependency_bottlenecks('infinity')) AS waiting_later;

SELECT key, ARRAY(SELECT jsonb_object_keys(value) ORDER BY 1) AS keys FROM jsonb_each(tasker.analytics_performance() - 'calculated_at') ORDER BY key;
SELECT key, ARRAY(SELECT jsonb_object_keys(value) ORDER BY 1) AS keys FROM jsonb_each(tasker.analytics_performance() #> '{performance_trends,last_hour}')
WHERE jsonb_typeof(value) = 'object' ORDER BY key;
SELECT jsonb_object_keys(tasker.analytics_performance() #> '{performance_trends,last_hour}') AS key ORDER BY 1;
SELECT (b -> 'scope_summary') - 'period_start' AS scope, ARRAY(SELECT jsonb_object_keys(b -> 'bottleneck_analysis') ORDER BY 1) AS keys,
       jsonb_array_length(b #> '{bottleneck_analysis,slowest_tasks}') AS slowest_tasks, jsonb_array_length(b #> '{bottleneck_analysis,slowest_steps}') AS slowest_steps,
       jsonb_array_length(b #> '{bottleneck_analysis,error_patterns}') AS error_patterns,
       jsonb_array_length(b #> '{bottleneck_analysis,dependency_bottlenecks}') AS dependency_bottlenecks,
       b #> '{performance_distribution,completed_tasks}' AS completed_tasks
FROM tasker.analytics_bottlenecks(:'start', 3, 'analytics') b \gx

-- What is refused.
SELECT function, left(play.refusal(format('SELECT * FROM tasker.%s(limit_count => NULL)', function)), 5) AS for_null,
       play.refusal(format('SELECT * FROM tasker.%s(limit_count => 0)', function)) AS for_zero
FROM unnest('{get_slowest_steps,get_slowest_tasks,get_error_patterns,get_dependency_bottlenecks,analytics_bottlenecks}'::text[]) AS u (function);
