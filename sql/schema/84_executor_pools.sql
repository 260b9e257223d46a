-- The pools of executors, their scaling and its decisions. A pool is a row that somebody set over the built-in defaults;
-- the pool `default` is there without a row. The coordinator starts and drains executors until they are as many as
-- desired_executors() says; nothing else reads what is decided here.

-- ---- settings -------------------------------------------------------------------------------------------------------

-- NULL: the built-in default. No row is written at installation: a restored dump would bring it a second time.
CREATE TABLE tasker_engine.executor_pools (
    name text PRIMARY KEY,
    min_executors integer,
    max_executors integer,
    target_utilization numeric,
    scaling_interval interval,
    scaling_cooldown interval,
    namespaces text[],
    queues text[],
    batch_size integer,
    predictive boolean,
    season interval,
    enabled boolean,
    changed_at timestamptz NOT NULL
);
COMMENT ON TABLE tasker_engine.executor_pools IS 'What was set for pools of executors; NULL stands for the built-in default. tasker.executor_pools shows what is in force.';

-- What scaling wants and remembers. A pool without a row is wanted at its minimum. An idle pool is not written.
CREATE TABLE tasker_engine.pool_targets (
    pool text PRIMARY KEY,
    desired integer NOT NULL,
    changed_at timestamptz,
    looked_at timestamptz NOT NULL,
    memory jsonb NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE tasker_engine.pool_targets IS 'How many executors scaling wants in each pool, and what it remembers from look to look.';

CREATE FUNCTION tasker_engine.pool_settings()
RETURNS TABLE (
    name text, min_executors integer, max_executors integer, target_utilization numeric, scaling_interval interval,
    scaling_cooldown interval, namespaces text[], queues text[], batch_size integer, predictive boolean, season interval,
    enabled boolean)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 2 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT n.name,
           coalesce(p.min_executors, least(1, p.max_executors), 1),
           coalesce(p.max_executors, greatest(2, p.min_executors)),
           coalesce(p.target_utilization, 0.75),
           coalesce(p.scaling_interval, interval '5 seconds'),
           coalesce(p.scaling_cooldown, interval '15 seconds'),
           p.namespaces,
           coalesce(p.queues, '{sql}'),
           coalesce(p.batch_size, 1),
           coalesce(p.predictive, false),
           coalesce(p.season, interval '1 day'),
           coalesce(p.enabled, true)
    FROM (SELECT 'default' AS name UNION SELECT s.name FROM tasker_engine.executor_pools s) n
    LEFT JOIN tasker_engine.executor_pools p ON p.name OPERATOR(pg_catalog.=) n.name
    ORDER BY n.name;
END;
COMMENT ON FUNCTION tasker_engine.pool_settings() IS 'Every pool with the settings in force: what was set over the built-in defaults.
name: name of the pool; default is always there.
namespaces: NULL for all.';

CREATE FUNCTION tasker_engine.desired_executors()
RETURNS TABLE (pool text, desired integer, queues text[], namespaces text[], batch_size integer)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 2 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT s.name,
           CASE WHEN s.enabled
                THEN least(greatest(coalesce(t.desired, s.min_executors), s.min_executors), s.max_executors)
                ELSE 0 END,
           s.queues, s.namespaces, s.batch_size
    FROM tasker_engine.pool_settings() s
    LEFT JOIN tasker_engine.pool_targets t ON t.pool OPERATOR(pg_catalog.=) s.name
    ORDER BY s.name;
END;
COMMENT ON FUNCTION tasker_engine.desired_executors() IS 'How many executors each pool is to have, and what they claim. A pool that is not listed any more is to have none.
pool: name of the pool.
desired: number of executors, within minimum and maximum; 0 while the pool is switched off.
queues: the queues they claim from.
namespaces: the namespaces they work for; NULL for all.
batch_size: how many steps one claims at once.';
