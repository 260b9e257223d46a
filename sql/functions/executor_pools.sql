-- The pools of executors. A pool is a row that was set over the built-in defaults; the pool `default` is there without a row.
-- The coordinator starts and drains executors until they are as many as desired_executors() says.

CREATE OR REPLACE FUNCTION tasker_engine.pool_settings()
RETURNS TABLE (
    name text, min_executors integer, max_executors integer, target_utilization numeric, scaling_interval interval,
    scaling_cooldown interval, namespaces text[], queues text[], batch_size integer, predictive boolean, season interval,
    enabled boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 2 SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT n.name,
           coalesce(p.min_executors, least(1, p.max_executors)),
           coalesce(p.max_executors, greatest(2, p.min_executors)),
           coalesce(p.target_utilization, 0.75),
           coalesce(p.scaling_interval, interval '5 seconds'),
           coalesce(p.scaling_cooldown, interval '15 seconds'),
           nullif(p.namespaces, '{}'),
           coalesce(p.queues, '{sql}'),
           coalesce(p.batch_size, 1),
           coalesce(p.predictive, false),
           coalesce(p.season, interval '1 day'),
           coalesce(p.enabled, true)
    FROM (SELECT 'default' AS name UNION SELECT s.name FROM tasker_engine.executor_pools s) n
    LEFT JOIN tasker_engine.executor_pools p ON p.name = n.name
    ORDER BY n.name;
END
$$;
COMMENT ON FUNCTION tasker_engine.pool_settings() IS 'Every pool with the settings in force: what was set over the built-in defaults.
name: name of the pool; default is always there.
namespaces: NULL for all.';
GRANT EXECUTE ON FUNCTION tasker_engine.pool_settings() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.desired_executors()
RETURNS TABLE (pool text, desired integer, queues text[], namespaces text[], batch_size integer)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 2 SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT s.name,
           CASE WHEN s.enabled
                THEN least(greatest(coalesce(t.desired, s.min_executors), s.min_executors), s.max_executors)
                ELSE 0 END,
           s.queues, s.namespaces, s.batch_size
    FROM tasker_engine.pool_settings() s
    LEFT JOIN tasker_engine.pool_targets t ON t.pool = s.name
    ORDER BY s.name;
END
$$;
COMMENT ON FUNCTION tasker_engine.desired_executors() IS 'The number of executors that each pool should have, and what they claim. A pool that is no longer listed should have none.
pool: name of the pool.
desired: number of executors, within minimum and maximum; 0 while the pool is switched off.
queues: the queues they claim from.
namespaces: the namespaces they work for; NULL for all.
batch_size: how many steps one claims at once.';

CREATE OR REPLACE FUNCTION tasker_engine.check_pool_setting(value numeric, parameter text, low numeric, high numeric, unit text)
RETURNS void LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF $1 < $3 OR $1 > $4 OR $1 = 'NaN' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('%s %s is out of range', $2, btrim(trim_scale($1) || ' ' || $5)),
            DETAIL = format('It must lie between %s and %s.', $3, btrim($4 || ' ' || $5)),
            HINT = 'NULL keeps what is set.';
    END IF;
END
$$;
COMMENT ON FUNCTION tasker_engine.check_pool_setting(numeric, text, numeric, numeric, text) IS 'Refuses a setting of a pool that is out of its range: 22023. NULL passes.';

CREATE OR REPLACE FUNCTION tasker.configure_executor_pool(
    name text, min_executors integer DEFAULT NULL, max_executors integer DEFAULT NULL,
    target_utilization numeric DEFAULT NULL, scaling_interval interval DEFAULT NULL, scaling_cooldown interval DEFAULT NULL,
    namespaces text[] DEFAULT NULL, queues text[] DEFAULT NULL, batch_size integer DEFAULT NULL,
    predictive boolean DEFAULT NULL, season interval DEFAULT NULL, enabled boolean DEFAULT NULL)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    least_wanted integer;
    most_wanted integer;
BEGIN
    PERFORM tasker_engine.require_resumed(or_new => true);
    PERFORM tasker_engine.checked($1, 'pool', 'name');
    PERFORM tasker_engine.check_pool_setting($2, 'min_executors', 0, 1000, ''),
            tasker_engine.check_pool_setting($3, 'max_executors', 0, 1000, ''),
            tasker_engine.check_pool_setting($4, 'target_utilization', 0.1, 1, ''),
            tasker_engine.check_pool_setting(extract(epoch FROM $5), 'scaling_interval', 1, 3600, 'seconds'),
            tasker_engine.check_pool_setting(extract(epoch FROM $6), 'scaling_cooldown', 1, 86400, 'seconds'),
            tasker_engine.check_pool_setting($9, 'batch_size', 1, 1000, ''),
            tasker_engine.check_pool_setting(extract(epoch FROM $11), 'season', 600, 31 * 86400, 'seconds');
    PERFORM tasker_engine.checked(n.name, 'namespace', 'an element of namespaces') FROM unnest($7) AS n (name);
    PERFORM tasker_engine.checked(q.name, 'queue', 'an element of queues') FROM unnest($8) AS q (name);
    IF cardinality($8) = 0 THEN
        RAISE invalid_parameter_value USING MESSAGE = 'queues must not be empty',
            DETAIL = 'The call gave an array without elements.',
            HINT = 'NULL keeps what is set; {sql} is where steps with handlers inside the database lie.';
    END IF;

    INSERT INTO tasker_engine.executor_pools AS p
        (name, min_executors, max_executors, target_utilization, scaling_interval, scaling_cooldown, namespaces, queues,
         batch_size, predictive, season, enabled, changed_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, clock_timestamp())
    ON CONFLICT (name) DO UPDATE
    SET min_executors = coalesce(excluded.min_executors, p.min_executors),
        max_executors = coalesce(excluded.max_executors, p.max_executors),
        target_utilization = coalesce(excluded.target_utilization, p.target_utilization),
        scaling_interval = coalesce(excluded.scaling_interval, p.scaling_interval),
        scaling_cooldown = coalesce(excluded.scaling_cooldown, p.scaling_cooldown),
        namespaces = coalesce(excluded.namespaces, p.namespaces),
        queues = coalesce(excluded.queues, p.queues),
        batch_size = coalesce(excluded.batch_size, p.batch_size),
        predictive = coalesce(excluded.predictive, p.predictive),
        season = coalesce(excluded.season, p.season),
        enabled = coalesce(excluded.enabled, p.enabled),
        changed_at = excluded.changed_at;

    -- The limits given and those set before, together: of two calls the second sees both.
    SELECT s.min_executors, s.max_executors INTO least_wanted, most_wanted
    FROM tasker_engine.pool_settings() s WHERE s.name = $1;
    IF least_wanted > most_wanted THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('min_executors %s is above max_executors %s', least_wanted, most_wanted),
            DETAIL = format('Pool %s would have these limits after the call.', $1),
            HINT = 'Set both in one call.';
    END IF;
END
$$;
COMMENT ON FUNCTION tasker.configure_executor_pool(text, integer, integer, numeric, interval, interval, text[], text[], integer, boolean, interval, boolean) IS
'Sets a pool of executors, and makes it if there is none of that name. NULL keeps what is set, at first the built-in default. The coordinator follows within a second. 22004 without a name, 22023 for a value out of its range and for a minimum above the maximum. Rule: docs/executor-pools.md#settings.
name: Name of the pool, up to 64 characters. The pool default is always there.
min_executors: Minimum number of executors, 0 to 1000; at first 1. With 0 an idle pool has none, and the first due step starts one.
max_executors: Maximum number of executors, 0 to 1000; at first 2.
target_utilization: Share of their time that executors should be busy, 0.1 to 1; at first 0.75.
scaling_interval: Time between two evaluations of the pool, 1 second to 1 hour; at first 5 seconds.
scaling_cooldown: Time between two changes, 1 second to 1 day; at first 15 seconds.
namespaces: The namespaces it works for; an empty array for all, as at first. They need not exist yet.
queues: The queues it claims from; at first sql. An empty array is refused.
batch_size: How many steps an executor claims at once, 1 to 1000; at first 1.
predictive: Whether the forecast from earlier seasons is used; at first false. While it is true, arrivals are recorded.
season: The period after which arrivals repeat, 10 minutes to 31 days; at first 1 day.
enabled: Whether the pool has executors; at first true. false drains them.';
GRANT EXECUTE ON FUNCTION tasker.configure_executor_pool(text, integer, integer, numeric, interval, interval, text[], text[], integer, boolean, interval, boolean)
TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker.remove_executor_pool(name text)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM tasker_engine.require_resumed(or_new => true);
    PERFORM tasker_engine.required($1, 'name');
    DELETE FROM tasker_engine.executor_pools p WHERE p.name = $1;
    IF NOT FOUND THEN
        RAISE no_data_found USING
            MESSAGE = format('nothing is set for an executor pool %s', quote_literal(left($1, 64))),
            DETAIL = 'The built-in pool default cannot be removed, only what was set for it.',
            HINT = 'SELECT name FROM tasker.executor_pools lists the pools.';
    END IF;
    DELETE FROM tasker_engine.pool_targets t WHERE t.pool = $1;
    DELETE FROM tasker_engine.pool_arrivals a WHERE a.pool = $1;
END
$$;
COMMENT ON FUNCTION tasker.remove_executor_pool(text) IS
'Removes a pool: its executors finish what they run and end, its record of arrivals goes, its decisions stay. The pool default goes back to the built-in settings. P0002 if nothing is set for a pool of that name.
name: Name of the pool.';
GRANT EXECUTE ON FUNCTION tasker.remove_executor_pool(text) TO tasker_operator;
