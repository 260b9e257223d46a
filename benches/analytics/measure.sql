-- Calls every function :rounds times, and a query that gives the same answer without its shortcut; the two alternate in each round.
\set QUIET on
SET client_min_messages = warning;
CREATE TABLE calls (no integer GENERATED ALWAYS AS IDENTITY, name text, call text, seldom boolean DEFAULT false);
INSERT INTO calls (name, call, seldom) VALUES
    ('`get_system_health_counts()`', 'SELECT * FROM tasker.get_system_health_counts()', false),
    ('... by counting all steps', 'SELECT (SELECT count(*) FROM tasker_engine.tasks t WHERE t.state = x.state), count(*), count(*) FILTER (WHERE x.attempts < x.retry_limit),
        count(*) FILTER (WHERE x.available_at > now()) FROM tasker_engine.steps x GROUP BY x.state', false),
    ('`system_health()`', 'SELECT * FROM tasker.system_health()', false),
    ('`get_analytics_metrics()`: 1 hour', 'SELECT * FROM tasker.get_analytics_metrics()', false),
    ('`get_analytics_metrics(...)`: 24 hours', 'SELECT * FROM tasker.get_analytics_metrics(now() - interval ''24 hours'')', false),
    ('... runs of 24 hours by a window over the log', 'SELECT count(*), avg(d), percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY d) FROM (
        SELECT to_state, from_state, created_at, created_at - lag(created_at) OVER (PARTITION BY task_uuid, step_no ORDER BY id) AS d
        FROM tasker_engine.transitions WHERE step_no > 0) r WHERE from_state = ''i'' AND to_state = ''c'' AND created_at > now() - interval ''24 hours''', true),
    ('`get_analytics_metrics(''-infinity'')`: everything', 'SELECT * FROM tasker.get_analytics_metrics(''-infinity'')', true),
    ('`get_slowest_steps()`: 24 hours', 'SELECT * FROM tasker.get_slowest_steps()', false),
    ('`get_slowest_steps(...)` of one namespace', 'SELECT * FROM tasker.get_slowest_steps(namespace_filter => ''bench'')', false),
    ('`get_slowest_tasks()`: 24 hours', 'SELECT * FROM tasker.get_slowest_tasks()', false),
    ('`get_slowest_tasks(''-infinity'')`: everything', 'SELECT * FROM tasker.get_slowest_tasks(''-infinity'')', false),
    ('`get_error_patterns()`: 24 hours', 'SELECT * FROM tasker.get_error_patterns()', false),
    ('`get_dependency_bottlenecks()`: 24 hours', 'SELECT * FROM tasker.get_dependency_bottlenecks()', false),
    ('`get_duration_percentiles()`: 24 hours', 'SELECT * FROM tasker.get_duration_percentiles()', false),
    ('`analytics_performance()`', 'SELECT tasker.analytics_performance()', false),
    ('`analytics_bottlenecks()`: 24 hours', 'SELECT tasker.analytics_bottlenecks()', false);
CREATE TABLE times (no integer, round integer, ms float8);
\pset footer off
\pset format unaligned
\pset fieldsep ' | '
\pset tuples_only on
SELECT format(E'%s tasks over %s days; tables: %s.\n', to_char((SELECT count(*) FROM tasker_engine.tasks), 'FM999,999,999'), :'days',
              string_agg(format('%s %s, %s rows', relname, pg_size_pretty(pg_table_size(oid)), to_char(reltuples, 'FM999,999,999')), '; ' ORDER BY relname))
FROM pg_class WHERE relnamespace = 'tasker_engine'::regnamespace AND relname IN ('tasks', 'steps', 'transitions');
-- Round 0 warms up.
SELECT format('SELECT clock_timestamp() AS started \gset' || E'\n%s \\g /dev/null\n' ||
              'INSERT INTO times SELECT %s, %s, extract(epoch FROM clock_timestamp() - :''started'') * 1000;', call, no, round)
FROM calls, generate_series(0, :rounds) round WHERE round <= CASE WHEN seldom THEN 1 ELSE :rounds END
ORDER BY round, random() \g :script
\i :script
\echo '| call | ms, median | quartiles |'
\echo '|---|---|---|'
SELECT '| ' || c.name, round((percentile_cont(0.5) WITHIN GROUP (ORDER BY t.ms))::numeric),
       format('%s to %s |', round((percentile_cont(0.25) WITHIN GROUP (ORDER BY t.ms))::numeric), round((percentile_cont(0.75) WITHIN GROUP (ORDER BY t.ms))::numeric))
FROM calls c JOIN times t USING (no) WHERE t.round > 0 GROUP BY c.no, c.name ORDER BY c.no;
