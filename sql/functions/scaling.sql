-- What scaling reads, and what it decides. The rules are crates/rules/src/operations/scaling/.

-- Levels of queues from the index, each up to the limit; a paused queue hands out nothing and needs no executor.
CREATE OR REPLACE FUNCTION tasker_engine.pool_depth(queues text[], namespaces text[])
RETURNS integer LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (
        SELECT count(*)::integer
        FROM (
            SELECT
            FROM tasker_engine.queues q
            JOIN tasker.task_namespaces n ON n.task_namespace_id = q.task_namespace_id
            CROSS JOIN generate_series(1, 4) AS l (priority)
            CROSS JOIN LATERAL (
                SELECT FROM tasker_engine.queue_entries r
                WHERE r.queue_id = q.queue_id AND r.priority = l.priority
                  AND r.available_at <= tasker_engine.engine_clock()
                  AND (r.handler_key < 0 OR r.handler_key IS NULL)
                LIMIT 1000) e
            WHERE q.name = ANY ($1) AND NOT q.paused
              AND ($2 IS NULL OR n.name = ANY ($2))
            LIMIT 1000) d);
END
$$;
COMMENT ON FUNCTION tasker_engine.pool_depth(text[], text[]) IS 'How many steps with a handler inside the database are due in these queues of these namespaces (NULL: all), counted up to 1000.';

-- Scaling reads the load here and nowhere else: a test puts a function of its own in its place. These two are PL/pgSQL because
-- a session keeps its plans: the coordinator asks every second, and a function in SQL would be planned each time.
CREATE OR REPLACE FUNCTION tasker_engine.pool_load(pool text)
RETURNS jsonb LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (
        WITH activity AS MATERIALIZED (SELECT * FROM tasker_engine.background_activity())
        SELECT jsonb_build_object(
            'now', extract(epoch FROM clock_timestamp()),
            'depth', tasker_engine.pool_depth(s.queues, s.namespaces) + tasker_engine.subscribers_behind(),
            'executors', COALESCE((
                SELECT jsonb_agg(jsonb_build_object(
                    'pid', a.pid,
                    'started_at', extract(epoch FROM a.started_at),
                    'busy', a.state = 'busy' OR a.step_uuid IS NOT NULL,
                    'draining', a.state = ANY (ARRAY['draining', 'stopping']),
                    'state_since', extract(epoch FROM a.state_since),
                    'steps', a.steps,
                    'failures', a.failures,
                    'busy_us', a.busy_us))
                FROM activity a
                WHERE a.kind = 'executor' AND a.pool = s.name
                  AND a.database_oid = tasker_engine.this_database()), '[]'))
        FROM tasker_engine.pool_settings() s
        WHERE s.name = $1 AND EXISTS (SELECT FROM activity));
END
$$;
COMMENT ON FUNCTION tasker_engine.pool_load(text) IS 'A pool as it is now, for scaling: {now, depth, executors: [{pid, started_at, busy, draining, state_since, steps, failures, busy_us}]}, times in seconds since 1970. NULL for an unknown pool, and without background processes.
pool: name of the pool.';

CREATE OR REPLACE FUNCTION tasker_engine.server_resources()
RETURNS jsonb LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (
        SELECT jsonb_build_object(
            'max_worker_processes', current_setting('max_worker_processes')::integer,
            'max_connections', current_setting('max_connections')::integer,
            'max_parallel_per_gather', current_setting('max_parallel_workers_per_gather')::integer,
            'own_processes', count(*) FILTER (WHERE a.kind <> 'executor'),
            'executors_elsewhere', count(*) FILTER (
                WHERE a.kind = 'executor'
                  AND a.database_oid <> tasker_engine.this_database()),
            -- The launcher of logical replication holds one all the time.
            'held_by_server', (current_setting('max_logical_replication_workers')::integer > 0)::integer,
            'waiting', tasker_engine.waiting_databases())
        FROM tasker_engine.background_activity() a);
END
$$;
COMMENT ON FUNCTION tasker_engine.server_resources() IS 'What limits the number of executors: settings of the server, and the other processes of the extension.';

CREATE OR REPLACE FUNCTION tasker.validate_resources()
RETURNS TABLE (severity text, pool text, message text, hint text)
AS 'MODULE_PATHNAME', 'validate_resources' LANGUAGE c VOLATILE SECURITY DEFINER ROWS 2
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.validate_resources() IS
'Compares the limits of all pools with what the server can carry: max_worker_processes, max_connections, the workers of parallel queries, and tasker.memory_budget_mb. No row: no problem. The coordinator logs the rows when it starts. Rule: docs/executor-pools.md#what-the-server-can-carry.
severity: error if the pools cannot have what they are set to; warning if not always, or at the cost of others.
pool: The pool it is about; NULL for all of them together.
message: What does not fit.
hint: What to do.';
GRANT EXECUTE ON FUNCTION tasker.validate_resources() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.duty_scaling() RETURNS bigint
AS 'MODULE_PATHNAME', 'duty_scaling' LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.duty_scaling() IS 'Evaluates every pool whose scaling_interval has passed, and decides how many executors it should have; returns the number of decisions written. Does nothing without background processes.';

-- A view runs with its owner's rights on tables, but with its reader's on functions: this one has both.
CREATE OR REPLACE FUNCTION tasker_engine.pool_statuses()
RETURNS TABLE (
    name text, running integer, idle integer, busy integer, draining integer, desired integer,
    queue_depth integer, steps bigint, failures bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER ROWS 2 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH executors AS MATERIALIZED (
        SELECT a.pool,
               count(*)::integer AS running,
               (count(*) FILTER (WHERE a.state = 'idle'))::integer AS idle,
               (count(*) FILTER (WHERE a.state = 'busy'))::integer AS busy,
               (count(*) FILTER (WHERE a.state = ANY (ARRAY['draining', 'stopping'])))::integer AS draining,
               sum(a.steps)::bigint AS steps,
               sum(a.failures)::bigint AS failures
        FROM tasker_engine.background_activity() a
        WHERE a.kind = 'executor' AND a.database_oid = tasker_engine.this_database()
        GROUP BY a.pool
    )
    SELECT coalesce(d.pool, e.pool), coalesce(e.running, 0), coalesce(e.idle, 0), coalesce(e.busy, 0),
           coalesce(e.draining, 0), coalesce(d.desired, 0),
           CASE WHEN d.pool IS NOT NULL THEN tasker_engine.pool_depth(d.queues, d.namespaces) END,
           coalesce(e.steps, 0), coalesce(e.failures, 0)
    FROM tasker_engine.desired_executors() d
    FULL JOIN executors e ON e.pool = d.pool;
END;
COMMENT ON FUNCTION tasker_engine.pool_statuses() IS 'Every pool as it is now; a removed pool as long as it has executors.';
GRANT EXECUTE ON FUNCTION tasker_engine.pool_statuses() TO tasker_reader;
