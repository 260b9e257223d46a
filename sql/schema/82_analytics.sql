-- Analytics: how much there is of everything, how well it goes, what is slow, and whether that is still healthy.
--
-- Counts read the states of tasks and the steps of unfinished tasks, times of tasks the rows of tasks, times of runs the log of
-- the period. Plans are made for the very period and filters (force_custom_plan), may use parallel workers, and are not
-- compiled: jit takes a plan with a look-up per row for far more expensive than it is.

-- ---- helpers --------------------------------------------------------------------------------------------------------

-- float8 and not interval: millions of them are sorted for percentiles.
CREATE FUNCTION tasker_engine.duration(span interval)
RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN pg_catalog.date_part('epoch', span);
COMMENT ON FUNCTION tasker_engine.duration(interval) IS 'The interval in seconds; NULL for NULL.';

CREATE FUNCTION tasker_engine.seconds(duration double precision)
RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN pg_catalog.round(duration::numeric, 3);
COMMENT ON FUNCTION tasker_engine.seconds(double precision) IS 'Seconds as they are shown, to the millisecond; NULL for NULL.';

CREATE FUNCTION tasker_engine.percentage(part bigint, whole bigint)
RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN whole OPERATOR(pg_catalog.=) 0 THEN 0.00
                ELSE pg_catalog.round(part::numeric OPERATOR(pg_catalog.*) 100 OPERATOR(pg_catalog./) whole::numeric, 2) END;
COMMENT ON FUNCTION tasker_engine.percentage(bigint, bigint) IS '0.00 to 100.00; 0.00 of nothing.';

CREATE FUNCTION tasker_engine.at_least_one(value integer, name text)
RETURNS integer LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '22004', MESSAGE = pg_catalog.format('%s must not be null', name),
            DETAIL = 'It says how many rows are wanted.', HINT = 'Leave it out for 10.';
    ELSIF value OPERATOR(pg_catalog.<) 1 THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = pg_catalog.format('%s %s is less than 1', name, value),
            DETAIL = 'It says how many rows are wanted.', HINT = 'Leave it out for 10.';
    END IF;
    RETURN value;
END
$$;
COMMENT ON FUNCTION tasker_engine.at_least_one(integer, text) IS
'The value as it is; 22004 for NULL, 22023 below 1, with the name of the parameter.';

CREATE FUNCTION tasker_engine.chosen_templates(namespace_filter text, task_name_filter text, version_filter text)
RETURNS integer[] LANGUAGE sql STABLE
    RETURN CASE WHEN COALESCE(namespace_filter, task_name_filter, version_filter) IS NOT NULL
                THEN tasker_engine.named_task_ids(namespace_filter, task_name_filter, version_filter) END;
COMMENT ON FUNCTION tasker_engine.chosen_templates(text, text, text) IS
'The templates that the filters of the analytics functions leave; NULL without any filter: all.';

CREATE FUNCTION tasker_engine.period_start(since timestamptz, usual interval)
RETURNS timestamptz LANGUAGE sql STABLE
    RETURN COALESCE(since, tasker_engine.engine_clock() OPERATOR(pg_catalog.-) usual);
COMMENT ON FUNCTION tasker_engine.period_start(timestamptz, interval) IS 'Where a period begins: as asked for, or so long ago as usual.';

CREATE FUNCTION tasker_engine.active_connections() RETURNS bigint
LANGUAGE sql STABLE
    RETURN (SELECT pg_catalog.sum(pg_catalog.pg_stat_get_db_numbackends(d.oid))::bigint FROM pg_catalog.pg_database d);
COMMENT ON FUNCTION tasker_engine.active_connections() IS 'Connections to all databases of the server.';

-- ---- what is counted ------------------------------------------------------------------------------------------------

-- A task that is complete and was never watched has only completed steps: their number is that of its template. So only
-- the steps of the other tasks are read, by key.
CREATE VIEW tasker_engine.system_counts AS
SELECT t.total AS total_tasks, t.pending AS pending_tasks, t.in_progress AS in_progress_tasks,
       t.complete AS complete_tasks, t.error AS error_tasks, t.cancelled AS cancelled_tasks,
       (t.plain_steps OPERATOR(pg_catalog.+) s.total) AS total_steps,
       s.pending AS pending_steps, s.in_progress AS in_progress_steps,
       (t.plain_steps OPERATOR(pg_catalog.+) s.complete) AS complete_steps,
       s.error AS error_steps,
       s.retryable AS retryable_error_steps, s.exhausted AS exhausted_retry_steps, s.in_backoff AS in_backoff_steps,
       t.resolved AS resolved_manually_tasks, s.cancelled AS cancelled_steps, s.resolved AS resolved_manually_steps,
       s.permanent AS permanent_error_steps
FROM (
    SELECT COALESCE(pg_catalog.sum(g.tasks), 0)::bigint AS total,
           COALESCE(pg_catalog.sum(g.tasks) FILTER (WHERE g.state OPERATOR(pg_catalog.=) 'p'), 0)::bigint AS pending,
           COALESCE(pg_catalog.sum(g.tasks) FILTER (WHERE g.state OPERATOR(pg_catalog.=) 'i'), 0)::bigint AS in_progress,
           COALESCE(pg_catalog.sum(g.tasks) FILTER (WHERE g.state OPERATOR(pg_catalog.=) 'c'), 0)::bigint AS complete,
           COALESCE(pg_catalog.sum(g.tasks) FILTER (WHERE g.state OPERATOR(pg_catalog.=) 'e'), 0)::bigint AS error,
           COALESCE(pg_catalog.sum(g.tasks) FILTER (WHERE g.state OPERATOR(pg_catalog.=) 'x'), 0)::bigint AS cancelled,
           COALESCE(pg_catalog.sum(g.tasks) FILTER (WHERE g.state OPERATOR(pg_catalog.=) 'r'), 0)::bigint AS resolved,
           COALESCE(pg_catalog.sum(g.tasks OPERATOR(pg_catalog.*) n.steps)
                        FILTER (WHERE g.state OPERATOR(pg_catalog.=) 'c' AND NOT g.watched), 0)::bigint AS plain_steps
    FROM (
        SELECT t.named_task_id, t.state, t.watched, pg_catalog.count(*) AS tasks
        FROM tasker_engine.tasks t
        GROUP BY t.named_task_id, t.state, t.watched
    ) g
    JOIN (
        SELECT n.named_task_id, pg_catalog.count(*) AS steps
        FROM tasker.named_tasks_named_steps n
        GROUP BY n.named_task_id
    ) n ON n.named_task_id OPERATOR(pg_catalog.=) g.named_task_id
) t
CROSS JOIN (
    SELECT pg_catalog.count(*) AS total,
           pg_catalog.count(*) FILTER (WHERE s.state OPERATOR(pg_catalog.=) 'p') AS pending,
           pg_catalog.count(*) FILTER (WHERE s.state OPERATOR(pg_catalog.=) 'i') AS in_progress,
           pg_catalog.count(*) FILTER (WHERE s.state OPERATOR(pg_catalog.=) 'c') AS complete,
           pg_catalog.count(*) FILTER (WHERE s.state OPERATOR(pg_catalog.=) 'e') AS error,
           pg_catalog.count(*) FILTER (WHERE s.state OPERATOR(pg_catalog.=) 'x') AS cancelled,
           pg_catalog.count(*) FILTER (WHERE s.state OPERATOR(pg_catalog.=) 'r') AS resolved,
           pg_catalog.count(*) FILTER (WHERE s.state OPERATOR(pg_catalog.=) 'e' AND s.available_at IS NOT NULL) AS retryable,
           pg_catalog.count(*) FILTER (WHERE s.state OPERATOR(pg_catalog.=) 'e' AND s.available_at IS NULL
                                  AND s.attempts OPERATOR(pg_catalog.>=) s.retry_limit) AS exhausted,
           pg_catalog.count(*) FILTER (WHERE s.state OPERATOR(pg_catalog.=) 'e' AND s.available_at IS NULL
                                  AND s.attempts OPERATOR(pg_catalog.<) s.retry_limit) AS permanent,
           pg_catalog.count(*) FILTER (WHERE s.state OPERATOR(pg_catalog.=) 'e'
                                  AND s.available_at OPERATOR(pg_catalog.>) tasker_engine.engine_clock()) AS in_backoff
    FROM tasker_engine.tasks t
    JOIN tasker_engine.steps s ON s.task_uuid OPERATOR(pg_catalog.=) t.task_uuid
    WHERE t.state OPERATOR(pg_catalog.<>) 'c' OR t.watched
) s;

-- The log says when a run that a worker ended began. One that an operator ended began with the last change to
-- in_progress before; attempts would not tell, retry_step begins to count anew.
CREATE VIEW tasker_engine.ended_runs AS
SELECT l.task_uuid,
       l.step_no,
       l.attempt,
       l.to_state AS state,
       l.created_at AS ended_at,
       COALESCE(l.started_at,
                (SELECT pg_catalog.max(b.created_at) FROM tasker_engine.transitions b
                 WHERE b.task_uuid OPERATOR(pg_catalog.=) l.task_uuid AND b.step_no OPERATOR(pg_catalog.=) l.step_no
                   AND b.to_state OPERATOR(pg_catalog.=) 'i' AND b.id OPERATOR(pg_catalog.<) l.id)) AS started_at,
       l.metadata
FROM tasker_engine.transitions l
WHERE l.step_no OPERATOR(pg_catalog.>) 0
  AND l.from_state OPERATOR(pg_catalog.=) 'i' AND l.to_state OPERATOR(pg_catalog.=) ANY ('{c,e}'::"char"[]);

-- A complete task knows when it ended; for any other, its last run counts.
CREATE VIEW tasker_engine.task_times AS
SELECT t.task_uuid,
       t.named_task_id,
       t.state,
       t.requested_at,
       COALESCE(t.completed_at,
                (SELECT pg_catalog.max(l.created_at) FROM tasker_engine.transitions l
                 WHERE l.task_uuid OPERATOR(pg_catalog.=) t.task_uuid AND l.step_no OPERATOR(pg_catalog.>) 0
                   AND l.from_state OPERATOR(pg_catalog.=) 'i'
                   AND l.to_state OPERATOR(pg_catalog.=) ANY ('{c,e}'::"char"[]))) AS ended_at,
       GREATEST(t.requested_at, t.run_at) AS due_at,
       t.initiator,
       t.source_system
FROM tasker_engine.tasks t;

-- Running and failed steps that others wait for.
CREATE VIEW tasker_engine.waited_for AS
SELECT s.task_uuid, s.step_no, s.named_task_id, s.state, n.name,
       pg_catalog.cardinality(n.children) AS waiting_children,
       t.requested_at,
       (SELECT pg_catalog.max(l.created_at) FROM tasker_engine.transitions l
        WHERE l.task_uuid OPERATOR(pg_catalog.=) s.task_uuid AND l.step_no OPERATOR(pg_catalog.=) s.step_no) AS since
FROM tasker_engine.tasks t
JOIN tasker_engine.steps s ON s.task_uuid OPERATOR(pg_catalog.=) t.task_uuid
JOIN tasker.named_tasks_named_steps n
    ON n.named_task_id OPERATOR(pg_catalog.=) s.named_task_id AND n.step_no OPERATOR(pg_catalog.=) s.step_no
WHERE t.state OPERATOR(pg_catalog.=) ANY ('{p,i,e}'::"char"[])
  AND s.state OPERATOR(pg_catalog.=) ANY ('{i,e}'::"char"[])
  AND pg_catalog.cardinality(n.children) OPERATOR(pg_catalog.>) 0;

-- What the slowest of anything are described with.
CREATE VIEW tasker_engine.step_facts AS
SELECT s.task_uuid, s.step_no, s.named_task_id, s.state, s.attempts, s.retryable, n.name, n.handler, t.requested_at
FROM tasker_engine.steps s
JOIN tasker_engine.tasks t ON t.task_uuid OPERATOR(pg_catalog.=) s.task_uuid
LEFT JOIN tasker.named_tasks_named_steps n
    ON n.named_task_id OPERATOR(pg_catalog.=) s.named_task_id AND n.step_no OPERATOR(pg_catalog.=) s.step_no;


-- ---- health ---------------------------------------------------------------------------------------------------------

CREATE FUNCTION tasker.get_system_health_counts()
RETURNS TABLE (
    total_tasks bigint, pending_tasks bigint, in_progress_tasks bigint, complete_tasks bigint, error_tasks bigint,
    cancelled_tasks bigint, total_steps bigint, pending_steps bigint, in_progress_steps bigint, complete_steps bigint,
    error_steps bigint, retryable_error_steps bigint, exhausted_retry_steps bigint, in_backoff_steps bigint,
    active_connections bigint, max_connections bigint, resolved_manually_tasks bigint, cancelled_steps bigint,
    resolved_manually_steps bigint, permanent_error_steps bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off AS $$
BEGIN
    RETURN QUERY
    SELECT c.total_tasks, c.pending_tasks, c.in_progress_tasks, c.complete_tasks, c.error_tasks, c.cancelled_tasks,
           c.total_steps, c.pending_steps, c.in_progress_steps, c.complete_steps, c.error_steps,
           c.retryable_error_steps, c.exhausted_retry_steps, c.in_backoff_steps,
           tasker_engine.active_connections(),
           pg_catalog.current_setting('max_connections')::bigint,
           c.resolved_manually_tasks, c.cancelled_steps, c.resolved_manually_steps, c.permanent_error_steps
    FROM tasker_engine.system_counts c;
END
$$;

-- The thresholds are those of crates/rules/src/operations/health.rs.
CREATE FUNCTION tasker_engine.judge_health(measure text, part bigint, whole bigint, multiplier double precision)
RETURNS TABLE (
    level text, alert boolean, degraded_beyond double precision, unhealthy_beyond double precision, alert_beyond double precision)
AS 'MODULE_PATHNAME', 'judge_health' LANGUAGE c IMMUTABLE ROWS 1 SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.judge_health(text, bigint, bigint, double precision) IS
'How a measure is under the multiplier of a state; the thresholds are percents of the whole.
measure: connections, errors (of a period), all_errors, executors or troubles.
part: how many are in use, failed, or well; of troubles their number.
whole: of how many.
multiplier: how much of the thresholds is asked for.
level: healthy, degraded or unhealthy.
alert: whether it is worth an alert.
degraded_beyond: where degraded begins; NULL: never.
unhealthy_beyond: where unhealthy begins; NULL: never.
alert_beyond: where alerts begin.';

CREATE FUNCTION tasker.system_health()
RETURNS TABLE (
    healthy boolean, status text, reasons text[], connection_utilization numeric, task_error_rate numeric,
    step_error_rate numeric, active_connections bigint, max_connections bigint, total_tasks bigint, error_tasks bigint,
    total_steps bigint, error_steps bigint)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT pg_catalog.cardinality(r.reasons) OPERATOR(pg_catalog.=) 0,
           CASE WHEN pg_catalog.cardinality(r.reasons) OPERATOR(pg_catalog.=) 0 THEN 'healthy' ELSE 'unhealthy' END,
           r.reasons,
           tasker_engine.percentage(c.active_connections, c.max_connections),
           tasker_engine.percentage(c.error_tasks, c.total_tasks),
           tasker_engine.percentage(c.error_steps, c.total_steps),
           c.active_connections, c.max_connections, c.total_tasks, c.error_tasks, c.total_steps, c.error_steps
    FROM tasker.get_system_health_counts() c
    CROSS JOIN LATERAL (
        SELECT ARRAY(
            SELECT pg_catalog.format(m.message, m.part, m.whole)
            FROM (VALUES (1, 'connections', c.active_connections, c.max_connections, '%s of %s connections are in use'),
                         (2, 'all_errors', c.error_tasks, c.total_tasks, '%s of %s tasks are in error'),
                         (3, 'all_errors', c.error_steps, c.total_steps, '%s of %s steps are in error'))
                 AS m (n, measure, part, whole, message)
            CROSS JOIN LATERAL tasker_engine.judge_health(m.measure, m.part, m.whole, 1) j
            WHERE j.level OPERATOR(pg_catalog.=) 'unhealthy'
            ORDER BY m.n) AS reasons
        OFFSET 0
    ) r;
END;

-- ---- a period -------------------------------------------------------------------------------------------------------

-- OFFSET 0: when a run began is looked up once, not wherever it is named.
CREATE FUNCTION tasker_engine.period_metrics(start timestamptz)
RETURNS TABLE (
    total_tasks bigint, complete_tasks bigint, error_tasks bigint, cancelled_tasks bigint, resolved_tasks bigint,
    task_average double precision, task_percentiles double precision[],
    complete_runs bigint, failed_runs bigint, run_average double precision, run_percentiles double precision[])
LANGUAGE plpgsql STABLE ROWS 1
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off AS $$
BEGIN
    RETURN QUERY
    SELECT t.total, t.complete, t.error, t.cancelled, t.resolved, t.average, t.percentiles,
           r.complete, r.failed, r.average, r.percentiles
    FROM (
        SELECT pg_catalog.count(*) AS total,
               pg_catalog.count(*) FILTER (WHERE d.state OPERATOR(pg_catalog.=) 'c') AS complete,
               pg_catalog.count(*) FILTER (WHERE d.state OPERATOR(pg_catalog.=) 'e') AS error,
               pg_catalog.count(*) FILTER (WHERE d.state OPERATOR(pg_catalog.=) 'x') AS cancelled,
               pg_catalog.count(*) FILTER (WHERE d.state OPERATOR(pg_catalog.=) 'r') AS resolved,
               pg_catalog.avg(d.took) AS average,
               pg_catalog.percentile_cont('{0.5,0.95,0.99}'::float8[]) WITHIN GROUP (ORDER BY d.took) AS percentiles
        FROM (
            SELECT t.state, CASE WHEN t.state OPERATOR(pg_catalog.=) 'c' THEN tasker_engine.duration(t.ended_at OPERATOR(pg_catalog.-) t.due_at) END AS took
            FROM tasker_engine.task_times t
            WHERE t.task_uuid OPERATOR(pg_catalog.>=) tasker_engine.uuids_since(start)
              AND t.requested_at OPERATOR(pg_catalog.>) start
            OFFSET 0
        ) d
    ) t
    CROSS JOIN (
        SELECT pg_catalog.count(*) FILTER (WHERE e.state OPERATOR(pg_catalog.=) 'c') AS complete,
               pg_catalog.count(*) FILTER (WHERE e.state OPERATOR(pg_catalog.=) 'e') AS failed,
               pg_catalog.avg(e.took) AS average,
               pg_catalog.percentile_cont('{0.5,0.95,0.99}'::float8[]) WITHIN GROUP (ORDER BY e.took) AS percentiles
        FROM (
            SELECT r.state, CASE WHEN r.state OPERATOR(pg_catalog.=) 'c' THEN tasker_engine.duration(r.ended_at OPERATOR(pg_catalog.-) r.started_at) END AS took
            FROM tasker_engine.ended_runs r
            WHERE r.ended_at OPERATOR(pg_catalog.>) start
            OFFSET 0
        ) e
    ) r;
END
$$;
COMMENT ON FUNCTION tasker_engine.period_metrics(timestamptz) IS
'What get_analytics_metrics and analytics_performance tell of one period.';

CREATE FUNCTION tasker_engine.health_score(complete bigint, error bigint)
RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN complete OPERATOR(pg_catalog.+) error OPERATOR(pg_catalog.=) 0 THEN 1.000
                ELSE pg_catalog.round(complete::numeric OPERATOR(pg_catalog./) (complete OPERATOR(pg_catalog.+) error)::numeric, 3) END;
COMMENT ON FUNCTION tasker_engine.health_score(bigint, bigint) IS 'complete / (complete + error), 0.000 to 1.000; 1.000 without either.';

CREATE VIEW tasker_engine.system_overview AS
SELECT (SELECT pg_catalog.count(*) FROM tasker_engine.tasks t
        WHERE t.state OPERATOR(pg_catalog.=) ANY ('{p,i}'::"char"[])) AS active_tasks,
       pg_catalog.count(DISTINCT nt.task_namespace_id) AS namespaces,
       pg_catalog.count(DISTINCT nt.name) AS task_types
FROM tasker.named_tasks nt
WHERE EXISTS (SELECT FROM tasker_engine.tasks t WHERE t.named_task_id OPERATOR(pg_catalog.=) nt.named_task_id);

CREATE FUNCTION tasker.get_analytics_metrics(since timestamptz DEFAULT NULL)
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

-- First the slowest, then what is to be told of them. LEFT JOIN: without a filter the planner leaves the tasks out.
CREATE FUNCTION tasker.get_slowest_steps(
    since timestamptz DEFAULT NULL, limit_count integer DEFAULT 10, namespace_filter text DEFAULT NULL,
    task_name_filter text DEFAULT NULL, version_filter text DEFAULT NULL)
RETURNS TABLE (
    step_uuid uuid, task_uuid uuid, step_name text, task_name text, namespace_name text, version text,
    duration_seconds numeric, attempts integer, created_at timestamptz, completed_at timestamptz, retryable boolean,
    step_status text, started_at timestamptz, handler text)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off AS $$
DECLARE
    start CONSTANT timestamptz := tasker_engine.period_start(since, '24 hours');
    chosen CONSTANT integer[] := tasker_engine.chosen_templates(namespace_filter, task_name_filter, version_filter);
BEGIN
    RETURN QUERY
    SELECT tasker.step_uuid(r.task_uuid, r.step_no), r.task_uuid, s.name, nt.name, ns.name, nt.version,
           tasker_engine.seconds(tasker_engine.duration(r.ended_at OPERATOR(pg_catalog.-) r.started_at)),
           s.attempts::integer, s.requested_at, r.ended_at, s.retryable, tasker_engine.state_name(s.state),
           r.started_at, s.handler
    FROM (
        SELECT e.task_uuid, e.step_no, e.started_at, e.ended_at
        FROM tasker_engine.ended_runs e
        LEFT JOIN tasker_engine.tasks t ON t.task_uuid OPERATOR(pg_catalog.=) e.task_uuid
        WHERE e.state OPERATOR(pg_catalog.=) 'c'
          AND e.ended_at OPERATOR(pg_catalog.>) start
          AND (chosen IS NULL OR t.named_task_id OPERATOR(pg_catalog.=) ANY (chosen))
        ORDER BY e.ended_at OPERATOR(pg_catalog.-) e.started_at DESC NULLS LAST
        LIMIT tasker_engine.at_least_one(limit_count, 'limit_count')
    ) r
    JOIN tasker_engine.step_facts s
        ON s.task_uuid OPERATOR(pg_catalog.=) r.task_uuid AND s.step_no OPERATOR(pg_catalog.=) r.step_no
    JOIN tasker.named_tasks nt ON nt.named_task_id OPERATOR(pg_catalog.=) s.named_task_id
    JOIN tasker.task_namespaces ns ON ns.task_namespace_id OPERATOR(pg_catalog.=) nt.task_namespace_id
    ORDER BY r.ended_at OPERATOR(pg_catalog.-) r.started_at DESC NULLS LAST;
END
$$;

CREATE FUNCTION tasker.get_slowest_tasks(
    since timestamptz DEFAULT NULL, limit_count integer DEFAULT 10, namespace_filter text DEFAULT NULL,
    task_name_filter text DEFAULT NULL, version_filter text DEFAULT NULL)
RETURNS TABLE (
    task_uuid uuid, task_name text, namespace_name text, version text, duration_seconds numeric, step_count bigint,
    completed_steps bigint, error_steps bigint, created_at timestamptz, completed_at timestamptz, initiator text,
    source_system text, status text)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off AS $$
DECLARE
    start CONSTANT timestamptz := tasker_engine.period_start(since, '24 hours');
    chosen CONSTANT integer[] := tasker_engine.chosen_templates(namespace_filter, task_name_filter, version_filter);
BEGIN
    RETURN QUERY
    SELECT r.task_uuid, nt.name, ns.name, nt.version,
           tasker_engine.seconds(tasker_engine.duration(r.ended_at OPERATOR(pg_catalog.-) r.due_at)),
           s.total, s.complete, s.error, r.requested_at, r.ended_at, r.initiator, r.source_system,
           tasker_engine.state_name(r.state)
    FROM (
        SELECT d.task_uuid, d.named_task_id, d.state, d.requested_at, d.due_at, d.ended_at, d.initiator, d.source_system
        FROM tasker_engine.task_times d
        WHERE d.task_uuid OPERATOR(pg_catalog.>=) tasker_engine.uuids_since(start)
          AND d.requested_at OPERATOR(pg_catalog.>) start
          AND (chosen IS NULL OR d.named_task_id OPERATOR(pg_catalog.=) ANY (chosen))
          AND d.ended_at IS NOT NULL
        ORDER BY d.ended_at OPERATOR(pg_catalog.-) d.due_at DESC
        LIMIT tasker_engine.at_least_one(limit_count, 'limit_count')
    ) r
    JOIN tasker.named_tasks nt ON nt.named_task_id OPERATOR(pg_catalog.=) r.named_task_id
    JOIN tasker.task_namespaces ns ON ns.task_namespace_id OPERATOR(pg_catalog.=) nt.task_namespace_id
    CROSS JOIN LATERAL (
        SELECT pg_catalog.count(*) AS total,
               pg_catalog.count(*) FILTER (WHERE f.state OPERATOR(pg_catalog.=) ANY ('{c,r}'::"char"[])) AS complete,
               pg_catalog.count(*) FILTER (WHERE f.state OPERATOR(pg_catalog.=) 'e') AS error
        FROM tasker_engine.step_facts f
        WHERE f.task_uuid OPERATOR(pg_catalog.=) r.task_uuid
    ) s
    ORDER BY r.ended_at OPERATOR(pg_catalog.-) r.due_at DESC;
END
$$;

CREATE FUNCTION tasker.get_error_patterns(
    since timestamptz DEFAULT NULL, limit_count integer DEFAULT 10, namespace_filter text DEFAULT NULL,
    task_name_filter text DEFAULT NULL, version_filter text DEFAULT NULL)
RETURNS TABLE (
    error_class text, failed_runs bigint, share numeric, failed_tasks bigint, step_names text[], last_message text,
    first_failed_at timestamptz, last_failed_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off AS $$
DECLARE
    start CONSTANT timestamptz := tasker_engine.period_start(since, '24 hours');
    chosen CONSTANT integer[] := tasker_engine.chosen_templates(namespace_filter, task_name_filter, version_filter);
BEGIN
    RETURN QUERY
    SELECT g.error_class, g.failed_runs,
           tasker_engine.percentage(g.failed_runs, (pg_catalog.sum(g.failed_runs) OVER ())::bigint),
           g.failed_tasks, g.step_names, g.last_message, g.first_failed_at, g.last_failed_at
    FROM (
        SELECT e.metadata OPERATOR(pg_catalog.->>) 'error_class' AS error_class,
               pg_catalog.count(*) AS failed_runs,
               pg_catalog.count(DISTINCT e.task_uuid) AS failed_tasks,
               pg_catalog.array_agg(DISTINCT s.name) AS step_names,
               (pg_catalog.array_agg(e.metadata OPERATOR(pg_catalog.->>) 'error_message' ORDER BY e.ended_at DESC))[1] AS last_message,
               pg_catalog.min(e.ended_at) AS first_failed_at,
               pg_catalog.max(e.ended_at) AS last_failed_at
        FROM tasker_engine.ended_runs e
        JOIN tasker_engine.step_facts s
            ON s.task_uuid OPERATOR(pg_catalog.=) e.task_uuid AND s.step_no OPERATOR(pg_catalog.=) e.step_no
        WHERE e.state OPERATOR(pg_catalog.=) 'e'
          AND e.ended_at OPERATOR(pg_catalog.>) start
          AND (chosen IS NULL OR s.named_task_id OPERATOR(pg_catalog.=) ANY (chosen))
        GROUP BY 1
    ) g
    ORDER BY g.failed_runs DESC, g.last_failed_at DESC
    LIMIT tasker_engine.at_least_one(limit_count, 'limit_count');
END
$$;

CREATE FUNCTION tasker.get_dependency_bottlenecks(
    since timestamptz DEFAULT NULL, limit_count integer DEFAULT 10, namespace_filter text DEFAULT NULL,
    task_name_filter text DEFAULT NULL, version_filter text DEFAULT NULL)
RETURNS TABLE (
    step_name text, task_name text, namespace_name text, version text, waiting_tasks bigint, waiting_steps bigint,
    running bigint, failed bigint, longest_wait_seconds numeric)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off AS $$
DECLARE
    start CONSTANT timestamptz := tasker_engine.period_start(since, '24 hours');
    chosen CONSTANT integer[] := tasker_engine.chosen_templates(namespace_filter, task_name_filter, version_filter);
BEGIN
    RETURN QUERY
    SELECT w.name, nt.name, ns.name, nt.version,
           pg_catalog.count(*), pg_catalog.sum(w.waiting_children)::bigint,
           pg_catalog.count(*) FILTER (WHERE w.state OPERATOR(pg_catalog.=) 'i'),
           pg_catalog.count(*) FILTER (WHERE w.state OPERATOR(pg_catalog.=) 'e'),
           tasker_engine.seconds(tasker_engine.duration(tasker_engine.engine_clock() OPERATOR(pg_catalog.-) pg_catalog.min(w.since)))
    FROM tasker_engine.waited_for w
    JOIN tasker.named_tasks nt ON nt.named_task_id OPERATOR(pg_catalog.=) w.named_task_id
    JOIN tasker.task_namespaces ns ON ns.task_namespace_id OPERATOR(pg_catalog.=) nt.task_namespace_id
    WHERE w.task_uuid OPERATOR(pg_catalog.>=) tasker_engine.uuids_since(start)
      AND w.requested_at OPERATOR(pg_catalog.>) start
      AND (chosen IS NULL OR w.named_task_id OPERATOR(pg_catalog.=) ANY (chosen))
    GROUP BY nt.named_task_id, ns.task_namespace_id, w.step_no, w.name
    ORDER BY 6 DESC, 9 DESC NULLS LAST
    LIMIT tasker_engine.at_least_one(limit_count, 'limit_count');
END
$$;

CREATE FUNCTION tasker.get_duration_percentiles(
    since timestamptz DEFAULT NULL, namespace_filter text DEFAULT NULL, task_name_filter text DEFAULT NULL,
    version_filter text DEFAULT NULL)
RETURNS TABLE (
    completed_tasks bigint, p50_task_duration numeric, p95_task_duration numeric, p99_task_duration numeric,
    completed_runs bigint, p50_step_duration numeric, p95_step_duration numeric, p99_step_duration numeric)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off AS $$
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
        SELECT pg_catalog.count(*) AS total,
               pg_catalog.percentile_cont('{0.5,0.95,0.99}'::float8[])
                   WITHIN GROUP (ORDER BY tasker_engine.duration(d.ended_at OPERATOR(pg_catalog.-) d.due_at)) AS percentiles
        FROM tasker_engine.task_times d
        WHERE d.state OPERATOR(pg_catalog.=) 'c'
          AND d.task_uuid OPERATOR(pg_catalog.>=) tasker_engine.uuids_since(start)
          AND d.requested_at OPERATOR(pg_catalog.>) start
          AND (chosen IS NULL OR d.named_task_id OPERATOR(pg_catalog.=) ANY (chosen))
    ) t
    CROSS JOIN (
        SELECT pg_catalog.count(*) AS total,
               pg_catalog.percentile_cont('{0.5,0.95,0.99}'::float8[])
                   WITHIN GROUP (ORDER BY tasker_engine.duration(e.ended_at OPERATOR(pg_catalog.-) e.started_at)) AS percentiles
        FROM tasker_engine.ended_runs e
        LEFT JOIN tasker_engine.tasks t ON t.task_uuid OPERATOR(pg_catalog.=) e.task_uuid
        WHERE e.state OPERATOR(pg_catalog.=) 'c'
          AND e.ended_at OPERATOR(pg_catalog.>) start
          AND (chosen IS NULL OR t.named_task_id OPERATOR(pg_catalog.=) ANY (chosen))
    ) r;
END
$$;

-- ---- reports --------------------------------------------------------------------------------------------------------

CREATE FUNCTION tasker_engine.trend(start timestamptz)
RETURNS jsonb LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT pg_catalog.jsonb_build_object(
        'system_health_score', tasker_engine.health_score(m.complete_tasks, m.error_tasks),
        'task_throughput', m.total_tasks,
        'completion_rate', tasker_engine.percentage(m.complete_tasks, m.total_tasks),
        'error_rate', tasker_engine.percentage(m.error_tasks, m.total_tasks),
        'avg_task_duration', COALESCE(tasker_engine.seconds(m.task_average), 0.000),
        'avg_step_duration', COALESCE(tasker_engine.seconds(m.run_average), 0.000),
        'step_throughput', m.complete_runs,
        'failed_run_count', m.failed_runs,
        'task_duration', pg_catalog.jsonb_build_object(
            'p50', tasker_engine.seconds(m.task_percentiles[1]), 'p95', tasker_engine.seconds(m.task_percentiles[2]),
            'p99', tasker_engine.seconds(m.task_percentiles[3])),
        'step_duration', pg_catalog.jsonb_build_object(
            'p50', tasker_engine.seconds(m.run_percentiles[1]), 'p95', tasker_engine.seconds(m.run_percentiles[2]),
            'p99', tasker_engine.seconds(m.run_percentiles[3])))
    FROM tasker_engine.period_metrics(start) m;
END;
COMMENT ON FUNCTION tasker_engine.trend(timestamptz) IS 'One period as analytics_performance shows it.';

CREATE FUNCTION tasker.analytics_performance()
RETURNS jsonb LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    now CONSTANT timestamptz := tasker_engine.engine_clock();
    last_hour CONSTANT jsonb := tasker_engine.trend(now OPERATOR(pg_catalog.-) '1 hour'::interval);
BEGIN
    RETURN (
        SELECT pg_catalog.jsonb_build_object(
            'system_overview', pg_catalog.jsonb_build_object(
                'active_tasks', o.active_tasks,
                'total_namespaces', o.namespaces,
                'unique_task_types', o.task_types,
                'system_health_score', last_hour OPERATOR(pg_catalog.->) 'system_health_score'),
            'performance_trends', pg_catalog.jsonb_build_object(
                'last_hour', last_hour,
                'last_4_hours', tasker_engine.trend(now OPERATOR(pg_catalog.-) '4 hours'::interval),
                'last_24_hours', tasker_engine.trend(now OPERATOR(pg_catalog.-) '24 hours'::interval)),
            'calculated_at', now)
        FROM tasker_engine.system_overview o);
END
$$;

CREATE FUNCTION tasker.analytics_bottlenecks(
    since timestamptz DEFAULT NULL, limit_count integer DEFAULT 10, namespace_filter text DEFAULT NULL,
    task_name_filter text DEFAULT NULL, version_filter text DEFAULT NULL)
RETURNS jsonb LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    start CONSTANT timestamptz := tasker_engine.period_start(since, '24 hours');
BEGIN
    RETURN pg_catalog.jsonb_build_object(
        'scope_summary', pg_catalog.jsonb_build_object(
            'period_start', start, 'limit_count', limit_count,
            'namespace', namespace_filter, 'task_name', task_name_filter, 'version', version_filter),
        'bottleneck_analysis', pg_catalog.jsonb_build_object(
            'slowest_tasks', (
                SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(x)), '[]')
                FROM tasker.get_slowest_tasks(start, limit_count, namespace_filter, task_name_filter, version_filter) x),
            'slowest_steps', (
                SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(x)), '[]')
                FROM tasker.get_slowest_steps(start, limit_count, namespace_filter, task_name_filter, version_filter) x),
            'error_patterns', (
                SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(x)), '[]')
                FROM tasker.get_error_patterns(start, limit_count, namespace_filter, task_name_filter, version_filter) x),
            'dependency_bottlenecks', (
                SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(x)), '[]')
                FROM tasker.get_dependency_bottlenecks(start, limit_count, namespace_filter, task_name_filter, version_filter) x)),
        'performance_distribution', (
            SELECT pg_catalog.to_jsonb(x)
            FROM tasker.get_duration_percentiles(start, namespace_filter, task_name_filter, version_filter) x));
END
$$;

GRANT EXECUTE ON FUNCTION
    tasker.get_system_health_counts(), tasker.system_health(), tasker.get_analytics_metrics(timestamptz),
    tasker.get_slowest_steps(timestamptz, integer, text, text, text),
    tasker.get_slowest_tasks(timestamptz, integer, text, text, text),
    tasker.get_error_patterns(timestamptz, integer, text, text, text),
    tasker.get_dependency_bottlenecks(timestamptz, integer, text, text, text),
    tasker.get_duration_percentiles(timestamptz, text, text, text),
    tasker.analytics_performance(), tasker.analytics_bottlenecks(timestamptz, integer, text, text, text)
TO tasker_reader;

-- ---- comments -------------------------------------------------------------------------------------------------------

COMMENT ON FUNCTION tasker.get_system_health_counts() IS
'One row: how many tasks and steps are in each state now; each is counted in exactly one, so the states add up to the total. Reads every row of tasks, and the steps of tasks that are not plainly complete.
total_tasks: All tasks.
pending_tasks: Tasks in state pending.
in_progress_tasks: Tasks in state in_progress.
complete_tasks: Tasks in state complete.
error_tasks: Tasks in state error.
cancelled_tasks: Tasks in state cancelled.
total_steps: All steps.
complete_steps: Steps in state complete.
error_steps: Steps in state error: retryable, exhausted and permanent ones.
retryable_error_steps: Steps in error that will run again by themselves.
exhausted_retry_steps: Steps in error for good, without an attempt left.
in_backoff_steps: Those of retryable_error_steps whose time has not come.
active_connections: Server processes that are connected to any database of the cluster.
max_connections: How many the server allows (max_connections).
resolved_manually_tasks: Tasks in state resolved_manually.
resolved_manually_steps: Steps in state resolved_manually.
permanent_error_steps: Steps in error for good with attempts left.';
COMMENT ON FUNCTION tasker.system_health() IS
'One row: whether all is well, and if not, why. Unhealthy above 90 % of max_connections, or with more than 50 % of all tasks or of all steps in error; exactly 90 % or 50 % is healthy, and so is an empty database. Counts as get_system_health_counts.
healthy: Whether nothing is wrong.
status: healthy or unhealthy.
reasons: What is wrong, a sentence each; empty if nothing is.
connection_utilization: Percent of max_connections that are in use.
task_error_rate: Percent of all tasks that are in error; 0.00 of none.
step_error_rate: Percent of all steps that are in error; 0.00 of none.
error_steps: Steps in state error.
total_steps: All steps.';
COMMENT ON FUNCTION tasker.get_analytics_metrics(timestamptz) IS
'One row about a period: how many tasks and runs there were, how well they went and how long they took. Tasks are those created in the period, each counted once by its state now; runs are those of steps that ended in it.
since: Where the period begins: tasks created and runs ended later count; NULL: 1 hour ago, -infinity: everything.
active_tasks_count: Tasks that are pending or in progress now, whenever they were created.
total_namespaces_count: Namespaces that have tasks, ever.
unique_task_types_count: Names of templates that have tasks, ever.
system_health_score: completion_count / (completion_count + error_count), 0.000 to 1.000; 1.000 without either.
task_throughput: Tasks created in the period.
completion_count: Those that are complete now.
error_count: Those that are in error now.
completion_rate: completion_count in percent of task_throughput; 0.00 of none.
error_rate: error_count in percent of task_throughput; 0.00 of none.
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
COMMENT ON FUNCTION tasker.get_slowest_steps(timestamptz, integer, text, text, text) IS
'The longest successful runs that ended in a period, longest first. 22004 for limit_count NULL, 22023 below 1.
since: Where the period begins: runs that ended later count; NULL: 24 hours ago, -infinity: everything.
limit_count: At most so many rows, from 1.
namespace_filter: Name of a namespace, exact; NULL: any.
task_name_filter: Name of a template, exact; NULL: any.
version_filter: Version of a template, exact; NULL: any.
duration_seconds: From claim to report.
attempts: Runs of the step since its last reset, up to now.
created_at: When the task was created.
completed_at: When the run was reported.
step_status: State of the step now.
started_at: When the run was claimed.';
COMMENT ON FUNCTION tasker.get_slowest_tasks(timestamptz, integer, text, text, text) IS
'The slowest of the tasks created in a period of which a run has ended, slowest first. 22004 for limit_count NULL, 22023 below 1.
since: Where the period begins: tasks that were created later count; NULL: 24 hours ago, -infinity: everything.
limit_count: At most so many rows, from 1.
namespace_filter: Name of a namespace, exact; NULL: any.
task_name_filter: Name of a template, exact; NULL: any.
version_filter: Version of a template, exact; NULL: any.
duration_seconds: From when the task was due (requested_at, or run_at if later) to completed_at.
step_count: All steps of the task.
error_steps: Steps in state error.
created_at: When the task was created.
completed_at: When the task completed, else when its last run so far ended.
status: State of the task now: pending, in_progress, error, complete, cancelled or resolved_manually.';
COMMENT ON FUNCTION tasker.get_error_patterns(timestamptz, integer, text, text, text) IS
'The failed runs of a period by class of error, most frequent first. 22004 for limit_count NULL, 22023 below 1.
since: Where the period begins: runs that ended later count; NULL: 24 hours ago, -infinity: everything.
limit_count: At most so many rows, from 1.
namespace_filter: Name of a namespace, exact; NULL: any.
task_name_filter: Name of a template, exact; NULL: any.
version_filter: Version of a template, exact; NULL: any.
error_class: What kind of error, as reported; LeaseExpired: the worker was lost; NULL: reported without one.
failed_runs: Runs that failed with it.
share: Percent of all failed runs that the filters leave.
failed_tasks: Tasks in which one did.
step_names: Names of the steps that did, sorted.
last_message: What the last of them said; NULL if nothing.
first_failed_at: When the first run of the period failed with it.
last_failed_at: When the last did.';
COMMENT ON FUNCTION tasker.get_dependency_bottlenecks(timestamptz, integer, text, text, text) IS
'Steps that others wait for now, by template: running or in error, in tasks that are pending, in progress or in error. Most waiting steps first. 22004 for limit_count NULL, 22023 below 1.
since: Where the period begins: tasks that were created later count; NULL: 24 hours ago, -infinity: everything.
limit_count: At most so many rows, from 1.
namespace_filter: Name of a namespace, exact; NULL: any.
task_name_filter: Name of a template, exact; NULL: any.
version_filter: Version of a template, exact; NULL: any.
waiting_tasks: Tasks in which the step is running or in error, so that others wait.
waiting_steps: Direct children of the step, counted over these tasks.
running: Those of these tasks in which it is in_progress.
failed: Those in which it is in error.
longest_wait_seconds: Time since the first of them came to that state.';
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
COMMENT ON FUNCTION tasker.analytics_performance() IS
'{system_overview: {active_tasks, total_namespaces, unique_task_types, system_health_score of the last hour}, performance_trends: {last_hour, last_4_hours, last_24_hours}, calculated_at}. Each trend has figures of get_analytics_metrics: system_health_score, task_throughput, completion_rate, error_rate, avg_task_duration, avg_step_duration, step_throughput, failed_run_count, and p50, p95, p99 of task_duration and step_duration.';
COMMENT ON FUNCTION tasker.analytics_bottlenecks(timestamptz, integer, text, text, text) IS
'{scope_summary, bottleneck_analysis: {slowest_tasks, slowest_steps, error_patterns, dependency_bottlenecks}, performance_distribution}: the rows of get_slowest_tasks, get_slowest_steps, get_error_patterns, get_dependency_bottlenecks and get_duration_percentiles, for one period and one choice of templates. scope_summary is {period_start, limit_count, namespace, task_name, version}. 22004 for limit_count NULL, 22023 below 1.
since: Where the period begins, as in each of them; NULL: 24 hours ago, -infinity: everything.
limit_count: At most so many rows of each, from 1.
namespace_filter: Name of a namespace, exact; NULL: any.
task_name_filter: Name of a template, exact; NULL: any.
version_filter: Version of a template, exact; NULL: any.';

COMMENT ON VIEW tasker_engine.system_counts IS 'What get_system_health_counts counts; one row.';
COMMENT ON VIEW tasker_engine.system_overview IS 'What of get_analytics_metrics has no period; one row.';
COMMENT ON VIEW tasker_engine.ended_runs IS 'Runs of steps that were reported or whose lease was lost, from the log.';
COMMENT ON VIEW tasker_engine.task_times IS 'When each task was due and when it ended.';
COMMENT ON VIEW tasker_engine.waited_for IS 'Steps in progress or in error that have children, of tasks that are not ended well.';
COMMENT ON VIEW tasker_engine.step_facts IS 'What the analytics functions tell of a step.';
DO $$
DECLARE
    c record;
BEGIN
    FOR c IN
        SELECT a.attrelid::pg_catalog.regclass::text AS relation, a.attname::text AS name, v.comment
        FROM (VALUES
            ('system_counts', 'total_tasks', 'All tasks.'),
            ('system_counts', 'pending_tasks', 'Tasks in state pending.'),
            ('system_counts', 'in_progress_tasks', 'Tasks in state in_progress.'),
            ('system_counts', 'complete_tasks', 'Tasks in state complete.'),
            ('system_counts', 'error_tasks', 'Tasks in state error.'),
            ('system_counts', 'cancelled_tasks', 'Tasks in state cancelled.'),
            ('system_counts', 'resolved_manually_tasks', 'Tasks in state resolved_manually.'),
            ('system_counts', 'total_steps', 'All steps.'),
            ('system_counts', 'pending_steps', 'Steps in state pending.'),
            ('system_counts', 'in_progress_steps', 'Steps in state in_progress.'),
            ('system_counts', 'complete_steps', 'Steps in state complete.'),
            ('system_counts', 'error_steps', 'Steps in state error.'),
            ('system_counts', 'cancelled_steps', 'Steps in state cancelled.'),
            ('system_counts', 'resolved_manually_steps', 'Steps in state resolved_manually.'),
            ('system_counts', 'retryable_error_steps', 'Steps in error that will run again by themselves.'),
            ('system_counts', 'exhausted_retry_steps', 'Steps in error for good, without an attempt left.'),
            ('system_counts', 'permanent_error_steps', 'Steps in error for good with attempts left.'),
            ('system_counts', 'in_backoff_steps', 'Steps in error whose retry is not due yet.'),
            ('system_overview', 'active_tasks', 'Tasks in state pending or in_progress.'),
            ('system_overview', 'namespaces', 'Namespaces that have tasks.'),
            ('system_overview', 'task_types', 'Names of templates that have tasks.'),
            ('ended_runs', 'task_uuid', 'The task.'),
            ('ended_runs', 'step_no', 'Number of the step in its task.'),
            ('ended_runs', 'attempt', 'Which attempt it was.'),
            ('ended_runs', 'state', 'c complete or e error: what the run came to.'),
            ('ended_runs', 'started_at', 'When the step was claimed.'),
            ('ended_runs', 'ended_at', 'When it was reported, or taken from a lost worker.'),
            ('ended_runs', 'metadata', 'Of the last change: after a failure with error_class and error_message.'),
            ('task_times', 'task_uuid', 'The task.'),
            ('task_times', 'named_task_id', 'Its template.'),
            ('task_times', 'state', 'p pending, i in_progress, e error, c complete, x cancelled, r resolved_manually.'),
            ('task_times', 'requested_at', 'When the task was created.'),
            ('task_times', 'due_at', 'When it could start: requested_at, or run_at if later.'),
            ('task_times', 'ended_at', 'When it completed, else when its last run so far ended; NULL if none has.'),
            ('task_times', 'initiator', 'Who asked for the task.'),
            ('task_times', 'source_system', 'Where the request came from.'),
            ('waited_for', 'task_uuid', 'The task.'),
            ('waited_for', 'step_no', 'Number of the step in its task.'),
            ('waited_for', 'named_task_id', 'Its template.'),
            ('waited_for', 'state', 'i in_progress or e error.'),
            ('waited_for', 'name', 'Name of the step.'),
            ('waited_for', 'waiting_children', 'Number of steps that need it directly.'),
            ('waited_for', 'requested_at', 'When the task was created.'),
            ('waited_for', 'since', 'When the step came to its state.'),
            ('step_facts', 'task_uuid', 'The task.'),
            ('step_facts', 'step_no', 'Number of the step in its task.'),
            ('step_facts', 'named_task_id', 'The template.'),
            ('step_facts', 'state', 'p pending, i in_progress, e error, c complete, x cancelled, r resolved_manually.'),
            ('step_facts', 'attempts', 'How many attempts began.'),
            ('step_facts', 'retryable', 'Whether a failure may be followed by another attempt.'),
            ('step_facts', 'name', 'Name of the step.'),
            ('step_facts', 'handler', 'Name of the code that runs it.'),
            ('step_facts', 'requested_at', 'When the task was created.')
        ) AS v (relation, name, comment)
        JOIN pg_catalog.pg_attribute a
            ON a.attname::text OPERATOR(pg_catalog.=) v.name
           AND a.attrelid OPERATOR(pg_catalog.=) ('tasker_engine.' OPERATOR(pg_catalog.||) v.relation)::pg_catalog.regclass
    LOOP
        EXECUTE pg_catalog.format('COMMENT ON COLUMN %s.%I IS %L', c.relation, c.name, c.comment);
    END LOOP;
END
$$;
