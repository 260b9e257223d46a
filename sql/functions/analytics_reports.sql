-- Analytics as JSON documents.

CREATE OR REPLACE FUNCTION tasker_engine.trend(start timestamptz)
RETURNS jsonb LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT jsonb_build_object(
        'system_health_score', tasker_engine.health_score(m.complete_tasks, m.error_tasks),
        'task_throughput', m.total_tasks,
        'completion_rate', tasker_engine.percentage(m.complete_tasks, m.total_tasks),
        'error_rate', tasker_engine.percentage(m.error_tasks, m.total_tasks),
        'avg_task_duration', COALESCE(tasker_engine.seconds(m.task_average), 0.000),
        'avg_step_duration', COALESCE(tasker_engine.seconds(m.run_average), 0.000),
        'step_throughput', m.complete_runs,
        'failed_run_count', m.failed_runs,
        'task_duration', jsonb_build_object(
            'p50', tasker_engine.seconds(m.task_percentiles[1]), 'p95', tasker_engine.seconds(m.task_percentiles[2]),
            'p99', tasker_engine.seconds(m.task_percentiles[3])),
        'step_duration', jsonb_build_object(
            'p50', tasker_engine.seconds(m.run_percentiles[1]), 'p95', tasker_engine.seconds(m.run_percentiles[2]),
            'p99', tasker_engine.seconds(m.run_percentiles[3])))
    FROM tasker_engine.period_metrics(start) m;
END;
COMMENT ON FUNCTION tasker_engine.trend(timestamptz) IS 'One period as analytics_performance shows it.';

CREATE OR REPLACE FUNCTION tasker.analytics_performance()
RETURNS jsonb LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    now CONSTANT timestamptz := tasker_engine.engine_clock();
    last_hour CONSTANT jsonb := tasker_engine.trend(now - '1 hour'::interval);
BEGIN
    RETURN (
        SELECT jsonb_build_object(
            'system_overview', jsonb_build_object(
                'active_tasks', o.active_tasks,
                'total_namespaces', o.namespaces,
                'unique_task_types', o.task_types,
                'system_health_score', last_hour -> 'system_health_score'),
            'performance_trends', jsonb_build_object(
                'last_hour', last_hour,
                'last_4_hours', tasker_engine.trend(now - '4 hours'::interval),
                'last_24_hours', tasker_engine.trend(now - '24 hours'::interval)),
            'calculated_at', now)
        FROM tasker_engine.system_overview o);
END
$$;
COMMENT ON FUNCTION tasker.analytics_performance() IS
'{system_overview: {active_tasks, total_namespaces, unique_task_types, system_health_score of the last hour}, performance_trends: {last_hour, last_4_hours, last_24_hours}, calculated_at}. Each trend has figures of get_analytics_metrics: system_health_score, task_throughput, completion_rate, error_rate, avg_task_duration, avg_step_duration, step_throughput, failed_run_count, and p50, p95, p99 of task_duration and step_duration.';
GRANT EXECUTE ON FUNCTION tasker.analytics_performance() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.analytics_bottlenecks(
    since timestamptz DEFAULT NULL, limit_count integer DEFAULT 10, namespace_filter text DEFAULT NULL,
    task_name_filter text DEFAULT NULL, version_filter text DEFAULT NULL)
RETURNS jsonb LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    start CONSTANT timestamptz := tasker_engine.period_start(since, '24 hours');
BEGIN
    PERFORM tasker_engine.require_version();
    RETURN jsonb_build_object(
        'scope_summary', jsonb_build_object(
            'period_start', start, 'limit_count', limit_count,
            'namespace', namespace_filter, 'task_name', task_name_filter, 'version', version_filter),
        'bottleneck_analysis', jsonb_build_object(
            'slowest_tasks', (
                SELECT COALESCE(jsonb_agg(to_jsonb(x)), '[]')
                FROM tasker.get_slowest_tasks(start, limit_count, namespace_filter, task_name_filter, version_filter) x),
            'slowest_steps', (
                SELECT COALESCE(jsonb_agg(to_jsonb(x)), '[]')
                FROM tasker.get_slowest_steps(start, limit_count, namespace_filter, task_name_filter, version_filter) x),
            'error_patterns', (
                SELECT COALESCE(jsonb_agg(to_jsonb(x)), '[]')
                FROM tasker.get_error_patterns(start, limit_count, namespace_filter, task_name_filter, version_filter) x),
            'dependency_bottlenecks', (
                SELECT COALESCE(jsonb_agg(to_jsonb(x)), '[]')
                FROM tasker.get_dependency_bottlenecks(start, limit_count, namespace_filter, task_name_filter, version_filter) x)),
        'performance_distribution', (
            SELECT to_jsonb(x)
            FROM tasker.get_duration_percentiles(start, namespace_filter, task_name_filter, version_filter) x));
END
$$;
COMMENT ON FUNCTION tasker.analytics_bottlenecks(timestamptz, integer, text, text, text) IS
'{scope_summary, bottleneck_analysis: {slowest_tasks, slowest_steps, error_patterns, dependency_bottlenecks}, performance_distribution}: the rows of get_slowest_tasks, get_slowest_steps, get_error_patterns, get_dependency_bottlenecks and get_duration_percentiles, for one period and one choice of templates. scope_summary is {period_start, limit_count, namespace, task_name, version}. 22004 for limit_count NULL, 22023 below 1.
since: Where the period begins, as in each of them; NULL: 24 hours ago, -infinity: everything.
limit_count: The most rows of each, 1 or more.
namespace_filter: Name of a namespace, exact; NULL: any.
task_name_filter: Name of a template, exact; NULL: any.
version_filter: Version of a template, exact; NULL: any.';
GRANT EXECUTE ON FUNCTION tasker.analytics_bottlenecks(timestamptz, integer, text, text, text) TO tasker_reader;
