-- Analytics of a period: how much there was, how well it went, what was slow.
--
-- Times of tasks come from the rows of tasks, times of runs from the log of the period. Plans may use
-- parallel workers.

CREATE OR REPLACE FUNCTION tasker_engine.at_least_one(value integer, name text)
RETURNS integer LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '22004', MESSAGE = format('%s must not be null', name),
            DETAIL = 'It says how many rows are wanted.', HINT = 'Leave it out for 10.';
    ELSIF value < 1 THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('%s %s is less than 1', name, value),
            DETAIL = 'It says how many rows are wanted.', HINT = 'Leave it out for 10.';
    END IF;
    RETURN value;
END
$$;
COMMENT ON FUNCTION tasker_engine.at_least_one(integer, text) IS
'The value as it is; 22004 for NULL, 22023 below 1, with the name of the parameter.';

CREATE OR REPLACE FUNCTION tasker_engine.chosen_templates(namespace_filter text, task_name_filter text, version_filter text)
RETURNS integer[] LANGUAGE sql STABLE
    RETURN CASE WHEN COALESCE(namespace_filter, task_name_filter, version_filter) IS NOT NULL
                THEN tasker_engine.named_task_ids(namespace_filter, task_name_filter, version_filter) END;
COMMENT ON FUNCTION tasker_engine.chosen_templates(text, text, text) IS
'The templates that match the filters of the analytics functions; NULL without a filter: all.';

CREATE OR REPLACE FUNCTION tasker_engine.period_start(since timestamptz, usual interval)
RETURNS timestamptz LANGUAGE sql STABLE
    RETURN COALESCE(since, tasker_engine.engine_clock() - usual);
COMMENT ON FUNCTION tasker_engine.period_start(timestamptz, interval) IS 'The beginning of a period: the given one, or now minus the default span.';

-- OFFSET 0: when a run began is looked up once, not wherever it is named.
CREATE OR REPLACE FUNCTION tasker_engine.period_metrics(start timestamptz)
RETURNS TABLE (
    total_tasks bigint, complete_tasks bigint, error_tasks bigint, cancelled_tasks bigint, resolved_tasks bigint,
    task_average double precision, task_percentiles double precision[],
    complete_runs bigint, failed_runs bigint, run_average double precision, run_percentiles double precision[])
LANGUAGE plpgsql STABLE ROWS 1
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT t.total, t.complete, t.error, t.cancelled, t.resolved, t.average, t.percentiles,
           r.complete, r.failed, r.average, r.percentiles
    FROM (
        SELECT count(*) AS total,
               count(*) FILTER (WHERE d.state = 'c') AS complete,
               count(*) FILTER (WHERE d.state = 'e') AS error,
               count(*) FILTER (WHERE d.state = 'x') AS cancelled,
               count(*) FILTER (WHERE d.state = 'r') AS resolved,
               avg(d.took) AS average,
               percentile_cont('{0.5,0.95,0.99}'::float8[]) WITHIN GROUP (ORDER BY d.took) AS percentiles
        FROM (
            SELECT t.state, CASE WHEN t.state = 'c' THEN tasker_engine.duration(t.ended_at - t.due_at) END AS took
            FROM tasker_engine.task_times t
            WHERE t.task_uuid >= tasker_engine.uuids_since(start)
              AND t.requested_at > start
            OFFSET 0
        ) d
    ) t
    CROSS JOIN (
        SELECT count(*) FILTER (WHERE e.state = 'c') AS complete,
               count(*) FILTER (WHERE e.state = 'e') AS failed,
               avg(e.took) AS average,
               percentile_cont('{0.5,0.95,0.99}'::float8[]) WITHIN GROUP (ORDER BY e.took) AS percentiles
        FROM (
            SELECT r.state, CASE WHEN r.state = 'c' THEN tasker_engine.duration(r.ended_at - r.started_at) END AS took
            FROM tasker_engine.ended_runs r
            WHERE r.ended_at > start
            OFFSET 0
        ) e
    ) r;
END
$$;
COMMENT ON FUNCTION tasker_engine.period_metrics(timestamptz) IS
'The figures of get_analytics_metrics and analytics_performance for one period.';

CREATE OR REPLACE FUNCTION tasker_engine.health_score(complete bigint, error bigint)
RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN complete + error = 0 THEN 1.000
                ELSE round(complete::numeric / (complete + error)::numeric, 3) END;
COMMENT ON FUNCTION tasker_engine.health_score(bigint, bigint) IS 'complete / (complete + error), 0.000 to 1.000; 1.000 without either.';

CREATE OR REPLACE FUNCTION tasker.get_analytics_metrics(since timestamptz DEFAULT NULL)
RETURNS TABLE (
    active_tasks_count bigint, total_namespaces_count bigint, unique_task_types_count bigint,
    system_health_score numeric, task_throughput bigint, completion_count bigint, error_count bigint,
    completion_rate numeric, error_rate numeric, avg_task_duration numeric, avg_step_duration numeric,
    step_throughput bigint, analysis_period_start timestamptz, calculated_at timestamptz,
    cancelled_count bigint, resolved_manually_count bigint, failed_run_count bigint,
    p50_task_duration numeric, p95_task_duration numeric, p99_task_duration numeric,
    p50_step_duration numeric, p95_step_duration numeric, p99_step_duration numeric)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    start CONSTANT timestamptz := tasker_engine.period_start(since, '1 hour');
BEGIN
    RETURN QUERY
    SELECT o.active_tasks, o.namespaces, o.task_types,
           tasker_engine.health_score(m.complete_tasks, m.error_tasks),
           m.total_tasks, m.complete_tasks, m.error_tasks,
           tasker_engine.percentage(m.complete_tasks, m.total_tasks),
           tasker_engine.percentage(m.error_tasks, m.total_tasks),
           COALESCE(tasker_engine.seconds(m.task_average), 0.000),
           COALESCE(tasker_engine.seconds(m.run_average), 0.000),
           m.complete_runs, start, tasker_engine.engine_clock(),
           m.cancelled_tasks, m.resolved_tasks, m.failed_runs,
           tasker_engine.seconds(m.task_percentiles[1]), tasker_engine.seconds(m.task_percentiles[2]),
           tasker_engine.seconds(m.task_percentiles[3]),
           tasker_engine.seconds(m.run_percentiles[1]), tasker_engine.seconds(m.run_percentiles[2]),
           tasker_engine.seconds(m.run_percentiles[3])
    FROM tasker_engine.system_overview o
    CROSS JOIN tasker_engine.period_metrics(start) m;
END
$$;
COMMENT ON FUNCTION tasker.get_analytics_metrics(timestamptz) IS
'One row about a period: the number of tasks and runs, their outcomes and their durations. Tasks are those created in the period, each counted once by its state now; runs are those of steps that ended in it.
since: Where the period begins: tasks created and runs ended later count; NULL: 1 hour ago, -infinity: everything.
active_tasks_count: Tasks that are pending or in progress now, whenever they were created.
total_namespaces_count: Namespaces that have tasks, ever.
unique_task_types_count: Names of templates that have tasks, ever.
system_health_score: completion_count / (completion_count + error_count), 0.000 to 1.000; 1.000 without either.
task_throughput: Tasks created in the period.
completion_count: Those that are complete now.
error_count: Those that are in error now.
completion_rate: completion_count in percent of task_throughput; 0.00 if there are none.
error_rate: error_count in percent of task_throughput; 0.00 if there are none.
avg_task_duration: Average seconds of the complete tasks from when they were due (requested_at, or run_at if later) to their end; 0.000 without any.
avg_step_duration: Average seconds of the successful runs from claim to report; 0.000 without any.
step_throughput: Runs that ended in the period and were successful.
analysis_period_start: Where the period began.
calculated_at: When this was counted, end of the period.
cancelled_count: Tasks of the period that are cancelled now.
resolved_manually_count: Tasks of the period that are resolved_manually now.
failed_run_count: Runs that ended in the period and failed, or whose worker was lost.
p50_task_duration: Seconds within which half of the complete tasks were done; NULL without any.
p95_task_duration: Seconds within which 95 percent of the complete tasks were done; NULL without any.
p99_task_duration: Seconds within which 99 percent of the complete tasks were done; NULL without any.
p50_step_duration: Seconds within which half of the successful runs were done; NULL without any.
p95_step_duration: Seconds within which 95 percent of the successful runs were done; NULL without any.
p99_step_duration: Seconds within which 99 percent of the successful runs were done; NULL without any.';
GRANT EXECUTE ON FUNCTION tasker.get_analytics_metrics(timestamptz) TO tasker_reader;

-- First the slowest, then what is to be told of them. LEFT JOIN: without a filter the planner leaves the tasks out.
CREATE OR REPLACE FUNCTION tasker.get_slowest_steps(
    since timestamptz DEFAULT NULL, limit_count integer DEFAULT 10, namespace_filter text DEFAULT NULL,
    task_name_filter text DEFAULT NULL, version_filter text DEFAULT NULL)
RETURNS TABLE (
    step_uuid uuid, task_uuid uuid, step_name text, task_name text, namespace_name text, version text,
    duration_seconds numeric, attempts integer, created_at timestamptz, completed_at timestamptz, retryable boolean,
    step_status text, started_at timestamptz, handler text)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    start CONSTANT timestamptz := tasker_engine.period_start(since, '24 hours');
    chosen CONSTANT integer[] := tasker_engine.chosen_templates(namespace_filter, task_name_filter, version_filter);
BEGIN
    PERFORM tasker_engine.require_version();
    RETURN QUERY
    SELECT tasker.step_uuid(r.task_uuid, r.step_no), r.task_uuid, s.name, nt.name, ns.name, nt.version,
           tasker_engine.seconds(tasker_engine.duration(r.ended_at - r.started_at)),
           s.attempts::integer, s.requested_at, r.ended_at, s.retryable, tasker_engine.state_name(s.state),
           r.started_at, s.handler
    FROM (
        SELECT e.task_uuid, e.step_no, e.started_at, e.ended_at
        FROM tasker_engine.ended_runs e
        LEFT JOIN tasker_engine.tasks t ON t.task_uuid = e.task_uuid
        WHERE e.state = 'c'
          AND e.ended_at > start
          AND (chosen IS NULL OR t.named_task_id = ANY (chosen))
        ORDER BY e.ended_at - e.started_at DESC NULLS LAST
        LIMIT tasker_engine.at_least_one(limit_count, 'limit_count')
    ) r
    JOIN tasker_engine.step_facts s
        ON s.task_uuid = r.task_uuid AND s.step_no = r.step_no
    JOIN tasker.named_tasks nt ON nt.named_task_id = s.named_task_id
    JOIN tasker.task_namespaces ns ON ns.task_namespace_id = nt.task_namespace_id
    ORDER BY r.ended_at - r.started_at DESC NULLS LAST;
END
$$;
COMMENT ON FUNCTION tasker.get_slowest_steps(timestamptz, integer, text, text, text) IS
'The longest successful runs that ended in a period, longest first. 22004 for limit_count NULL, 22023 below 1.
since: Where the period begins: runs that ended later count; NULL: 24 hours ago, -infinity: everything.
limit_count: The most rows, 1 or more.
namespace_filter: Name of a namespace, exact; NULL: any.
task_name_filter: Name of a template, exact; NULL: any.
version_filter: Version of a template, exact; NULL: any.
duration_seconds: From claim to report.
attempts: Runs of the step since its last reset, up to now.
created_at: When the task was created.
completed_at: When the run was reported.
step_status: State of the step now.
started_at: When the run was claimed.';
GRANT EXECUTE ON FUNCTION tasker.get_slowest_steps(timestamptz, integer, text, text, text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.get_slowest_tasks(
    since timestamptz DEFAULT NULL, limit_count integer DEFAULT 10, namespace_filter text DEFAULT NULL,
    task_name_filter text DEFAULT NULL, version_filter text DEFAULT NULL)
RETURNS TABLE (
    task_uuid uuid, task_name text, namespace_name text, version text, duration_seconds numeric, step_count bigint,
    completed_steps bigint, error_steps bigint, created_at timestamptz, completed_at timestamptz, initiator text,
    source_system text, status text)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    start CONSTANT timestamptz := tasker_engine.period_start(since, '24 hours');
    chosen CONSTANT integer[] := tasker_engine.chosen_templates(namespace_filter, task_name_filter, version_filter);
BEGIN
    PERFORM tasker_engine.require_version();
    RETURN QUERY
    SELECT r.task_uuid, nt.name, ns.name, nt.version,
           tasker_engine.seconds(tasker_engine.duration(r.ended_at - r.due_at)),
           s.total, s.complete, s.error, r.requested_at, r.ended_at, r.initiator, r.source_system,
           tasker_engine.state_name(r.state)
    FROM (
        SELECT d.task_uuid, d.named_task_id, d.state, d.requested_at, d.due_at, d.ended_at, d.initiator, d.source_system
        FROM tasker_engine.task_times d
        WHERE d.task_uuid >= tasker_engine.uuids_since(start)
          AND d.requested_at > start
          AND (chosen IS NULL OR d.named_task_id = ANY (chosen))
          AND d.ended_at IS NOT NULL
        ORDER BY d.ended_at - d.due_at DESC
        LIMIT tasker_engine.at_least_one(limit_count, 'limit_count')
    ) r
    JOIN tasker.named_tasks nt ON nt.named_task_id = r.named_task_id
    JOIN tasker.task_namespaces ns ON ns.task_namespace_id = nt.task_namespace_id
    CROSS JOIN LATERAL (
        SELECT count(*) AS total,
               count(*) FILTER (WHERE tasker_engine.is_done(f.state)) AS complete,
               count(*) FILTER (WHERE f.state = 'e') AS error
        FROM tasker_engine.step_facts f
        WHERE f.task_uuid = r.task_uuid
    ) s
    ORDER BY r.ended_at - r.due_at DESC;
END
$$;
COMMENT ON FUNCTION tasker.get_slowest_tasks(timestamptz, integer, text, text, text) IS
'The slowest tasks of those that were created in a period and have a run that ended, slowest first. 22004 for limit_count NULL, 22023 below 1.
since: Where the period begins: tasks that were created later count; NULL: 24 hours ago, -infinity: everything.
limit_count: The most rows, 1 or more.
namespace_filter: Name of a namespace, exact; NULL: any.
task_name_filter: Name of a template, exact; NULL: any.
version_filter: Version of a template, exact; NULL: any.
duration_seconds: From when the task was due (requested_at, or run_at if later) to completed_at.
step_count: All steps of the task.
error_steps: Steps in state error.
created_at: When the task was created.
completed_at: When the task completed, otherwise when its latest run ended.
status: State of the task now: pending, in_progress, error, complete, cancelled or resolved_manually.';
GRANT EXECUTE ON FUNCTION tasker.get_slowest_tasks(timestamptz, integer, text, text, text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.get_error_patterns(
    since timestamptz DEFAULT NULL, limit_count integer DEFAULT 10, namespace_filter text DEFAULT NULL,
    task_name_filter text DEFAULT NULL, version_filter text DEFAULT NULL)
RETURNS TABLE (
    error_class text, failed_runs bigint, share numeric, failed_tasks bigint, step_names text[], last_message text,
    first_failed_at timestamptz, last_failed_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    start CONSTANT timestamptz := tasker_engine.period_start(since, '24 hours');
    chosen CONSTANT integer[] := tasker_engine.chosen_templates(namespace_filter, task_name_filter, version_filter);
BEGIN
    PERFORM tasker_engine.require_version();
    RETURN QUERY
    SELECT g.error_class, g.failed_runs,
           tasker_engine.percentage(g.failed_runs, (sum(g.failed_runs) OVER ())::bigint),
           g.failed_tasks, g.step_names, g.last_message, g.first_failed_at, g.last_failed_at
    FROM (
        SELECT e.metadata ->> 'error_class' AS error_class,
               count(*) AS failed_runs,
               count(DISTINCT e.task_uuid) AS failed_tasks,
               array_agg(DISTINCT s.name) AS step_names,
               (array_agg(e.metadata ->> 'error_message' ORDER BY e.ended_at DESC))[1] AS last_message,
               min(e.ended_at) AS first_failed_at,
               max(e.ended_at) AS last_failed_at
        FROM tasker_engine.ended_runs e
        JOIN tasker_engine.step_facts s
            ON s.task_uuid = e.task_uuid AND s.step_no = e.step_no
        WHERE e.state = 'e'
          AND e.ended_at > start
          AND (chosen IS NULL OR s.named_task_id = ANY (chosen))
        GROUP BY 1
    ) g
    ORDER BY g.failed_runs DESC, g.last_failed_at DESC
    LIMIT tasker_engine.at_least_one(limit_count, 'limit_count');
END
$$;
COMMENT ON FUNCTION tasker.get_error_patterns(timestamptz, integer, text, text, text) IS
'The failed runs of a period by class of error, most frequent first. 22004 for limit_count NULL, 22023 below 1.
since: Where the period begins: runs that ended later count; NULL: 24 hours ago, -infinity: everything.
limit_count: The most rows, 1 or more.
namespace_filter: Name of a namespace, exact; NULL: any.
task_name_filter: Name of a template, exact; NULL: any.
version_filter: Version of a template, exact; NULL: any.
error_class: What kind of error, as reported; LeaseExpired: the worker was lost; NULL: reported without one.
failed_runs: Runs that failed with it.
share: Percent of all failed runs that match the filters.
failed_tasks: Tasks that had such a run.
step_names: Names of the steps that failed with it, sorted.
last_message: Message of the last of them, its first 1,000 characters; NULL without one.
first_failed_at: When the first run of the period failed with it.
last_failed_at: When the last run of the period failed with it.';
GRANT EXECUTE ON FUNCTION tasker.get_error_patterns(timestamptz, integer, text, text, text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.get_dependency_bottlenecks(
    since timestamptz DEFAULT NULL, limit_count integer DEFAULT 10, namespace_filter text DEFAULT NULL,
    task_name_filter text DEFAULT NULL, version_filter text DEFAULT NULL)
RETURNS TABLE (
    step_name text, task_name text, namespace_name text, version text, waiting_tasks bigint, waiting_steps bigint,
    running bigint, failed bigint, longest_wait_seconds numeric)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    start CONSTANT timestamptz := tasker_engine.period_start(since, '24 hours');
    chosen CONSTANT integer[] := tasker_engine.chosen_templates(namespace_filter, task_name_filter, version_filter);
BEGIN
    PERFORM tasker_engine.require_version();
    RETURN QUERY
    SELECT w.name, nt.name, ns.name, nt.version,
           count(*), sum(w.waiting_children)::bigint,
           count(*) FILTER (WHERE w.state = 'i'),
           count(*) FILTER (WHERE w.state = 'e'),
           tasker_engine.seconds(tasker_engine.duration(tasker_engine.engine_clock() - min(w.since)))
    FROM tasker_engine.waited_for w
    JOIN tasker.named_tasks nt ON nt.named_task_id = w.named_task_id
    JOIN tasker.task_namespaces ns ON ns.task_namespace_id = nt.task_namespace_id
    WHERE w.task_uuid >= tasker_engine.uuids_since(start)
      AND w.requested_at > start
      AND (chosen IS NULL OR w.named_task_id = ANY (chosen))
    GROUP BY nt.named_task_id, ns.task_namespace_id, w.step_no, w.name
    ORDER BY 6 DESC, 9 DESC NULLS LAST
    LIMIT tasker_engine.at_least_one(limit_count, 'limit_count');
END
$$;
COMMENT ON FUNCTION tasker.get_dependency_bottlenecks(timestamptz, integer, text, text, text) IS
'Steps that others wait for now, by template: running or in error, in tasks that are pending, in progress or in error. Most waiting steps first. 22004 for limit_count NULL, 22023 below 1.
since: Where the period begins: tasks that were created later count; NULL: 24 hours ago, -infinity: everything.
limit_count: The most rows, 1 or more.
namespace_filter: Name of a namespace, exact; NULL: any.
task_name_filter: Name of a template, exact; NULL: any.
version_filter: Version of a template, exact; NULL: any.
waiting_tasks: Tasks in which the step is running or in error, so that others wait.
waiting_steps: Direct children of the step, counted over these tasks.
running: Those of these tasks in which it is in_progress.
failed: Those in which it is in error.
longest_wait_seconds: Time since the first of them entered that state.';
GRANT EXECUTE ON FUNCTION tasker.get_dependency_bottlenecks(timestamptz, integer, text, text, text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.get_duration_percentiles(
    since timestamptz DEFAULT NULL, namespace_filter text DEFAULT NULL, task_name_filter text DEFAULT NULL,
    version_filter text DEFAULT NULL)
RETURNS TABLE (
    completed_tasks bigint, p50_task_duration numeric, p95_task_duration numeric, p99_task_duration numeric,
    completed_runs bigint, p50_step_duration numeric, p95_step_duration numeric, p99_step_duration numeric)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    start CONSTANT timestamptz := tasker_engine.period_start(since, '24 hours');
    chosen CONSTANT integer[] := tasker_engine.chosen_templates(namespace_filter, task_name_filter, version_filter);
BEGIN
    RETURN QUERY
    SELECT t.total, tasker_engine.seconds(t.percentiles[1]), tasker_engine.seconds(t.percentiles[2]),
           tasker_engine.seconds(t.percentiles[3]),
           r.total, tasker_engine.seconds(r.percentiles[1]), tasker_engine.seconds(r.percentiles[2]),
           tasker_engine.seconds(r.percentiles[3])
    FROM (
        SELECT count(*) AS total,
               percentile_cont('{0.5,0.95,0.99}'::float8[])
                   WITHIN GROUP (ORDER BY tasker_engine.duration(d.ended_at - d.due_at)) AS percentiles
        FROM tasker_engine.task_times d
        WHERE d.state = 'c'
          AND d.task_uuid >= tasker_engine.uuids_since(start)
          AND d.requested_at > start
          AND (chosen IS NULL OR d.named_task_id = ANY (chosen))
    ) t
    CROSS JOIN (
        SELECT count(*) AS total,
               percentile_cont('{0.5,0.95,0.99}'::float8[])
                   WITHIN GROUP (ORDER BY tasker_engine.duration(e.ended_at - e.started_at)) AS percentiles
        FROM tasker_engine.ended_runs e
        LEFT JOIN tasker_engine.tasks t ON t.task_uuid = e.task_uuid
        WHERE e.state = 'c'
          AND e.ended_at > start
          AND (chosen IS NULL OR t.named_task_id = ANY (chosen))
    ) r;
END
$$;
COMMENT ON FUNCTION tasker.get_duration_percentiles(timestamptz, text, text, text) IS
'One row: how long the complete tasks and the successful runs of a period took, from due to end and from claim to report. Percentiles are interpolated between neighbours.
since: Where the period begins: tasks created and runs ended later count; NULL: 24 hours ago, -infinity: everything.
namespace_filter: Name of a namespace, exact; NULL: any.
task_name_filter: Name of a template, exact; NULL: any.
version_filter: Version of a template, exact; NULL: any.
completed_tasks: Complete tasks that were created in the period.
completed_runs: Successful runs that ended in it.
p50_task_duration: Seconds within which half of the complete tasks were done; NULL without any.
p95_task_duration: Seconds within which 95 percent of the complete tasks were done; NULL without any.
p99_task_duration: Seconds within which 99 percent of the complete tasks were done; NULL without any.
p50_step_duration: Seconds within which half of the successful runs were done; NULL without any.
p95_step_duration: Seconds within which 95 percent of the successful runs were done; NULL without any.
p99_step_duration: Seconds within which 99 percent of the successful runs were done; NULL without any.';
GRANT EXECUTE ON FUNCTION tasker.get_duration_percentiles(timestamptz, text, text, text) TO tasker_reader;
