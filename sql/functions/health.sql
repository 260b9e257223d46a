-- How the system is. The thresholds of shares are crates/rules/src/operations/health.rs; how long an executor may be starting
-- and how long a lease may be over before that counts (30 seconds, 2 minutes) is in health_measures.

CREATE OR REPLACE FUNCTION tasker_engine.active_connections() RETURNS bigint
AS 'MODULE_PATHNAME', 'active_connections' LANGUAGE c STABLE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.active_connections() IS 'Clients that are connected to any database of the server: what max_connections limits. Background processes, autovacuum and replication have slots of their own.';

CREATE OR REPLACE FUNCTION tasker.get_system_health_counts()
RETURNS TABLE (
    total_tasks bigint, pending_tasks bigint, in_progress_tasks bigint, complete_tasks bigint, error_tasks bigint,
    cancelled_tasks bigint, total_steps bigint, pending_steps bigint, in_progress_steps bigint, complete_steps bigint,
    error_steps bigint, retryable_error_steps bigint, exhausted_retry_steps bigint, in_backoff_steps bigint,
    active_connections bigint, max_connections bigint, resolved_manually_tasks bigint, cancelled_steps bigint,
    resolved_manually_steps bigint, permanent_error_steps bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM tasker_engine.require_version();
    RETURN QUERY
    SELECT c.total_tasks, c.pending_tasks, c.in_progress_tasks, c.complete_tasks, c.error_tasks, c.cancelled_tasks,
           c.total_steps, c.pending_steps, c.in_progress_steps, c.complete_steps, c.error_steps,
           c.retryable_error_steps, c.exhausted_retry_steps, c.in_backoff_steps,
           tasker_engine.active_connections(),
           current_setting('max_connections')::bigint,
           c.resolved_manually_tasks, c.cancelled_steps, c.resolved_manually_steps, c.permanent_error_steps
    FROM tasker_engine.system_counts c;
END
$$;
COMMENT ON FUNCTION tasker.get_system_health_counts() IS
'One row: how many tasks and steps are in each state now; each is counted in exactly one, so the states add up to the total. Reads the tasks of the last hour, those that have not completed, and totals of the others (duty totals); their steps as well, if they are not plainly complete.
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
exhausted_retry_steps: Steps permanently in error, without an attempt left.
in_backoff_steps: Those of retryable_error_steps whose time has not come.
active_connections: Clients that are connected to any database of the cluster; background processes do not count.
max_connections: Number of connections that the server allows (max_connections).
resolved_manually_tasks: Tasks in state resolved_manually.
resolved_manually_steps: Steps in state resolved_manually.
permanent_error_steps: Steps permanently in error, with attempts left.';
GRANT EXECUTE ON FUNCTION tasker.get_system_health_counts() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.judge_health(measure text, part bigint, whole bigint, multiplier double precision)
RETURNS TABLE (
    level text, alert boolean, degraded_beyond double precision, unhealthy_beyond double precision, alert_beyond double precision)
AS 'MODULE_PATHNAME', 'judge_health' LANGUAGE c IMMUTABLE ROWS 1 SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.judge_health(text, bigint, bigint, double precision) IS
'The level of a measure under the multiplier of a state; the thresholds are percentages of the whole.
measure: connections, errors (of a period), all_errors, executors, lag or troubles.
part: how many are in use, failed, or well; of troubles their number.
whole: the total that part is compared with.
multiplier: the factor applied to the thresholds.
level: healthy, degraded or unhealthy.
alert: whether it is worth an alert.
degraded_beyond: where degraded begins; NULL: never.
unhealthy_beyond: where unhealthy begins; NULL: never.
alert_beyond: where alerts begin.';

CREATE OR REPLACE FUNCTION tasker.system_health()
RETURNS TABLE (
    healthy boolean, status text, reasons text[], connection_utilization numeric, task_error_rate numeric,
    step_error_rate numeric, active_connections bigint, max_connections bigint, total_tasks bigint, error_tasks bigint,
    total_steps bigint, error_steps bigint)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT cardinality(r.reasons) = 0,
           CASE WHEN cardinality(r.reasons) = 0 THEN 'healthy' ELSE 'unhealthy' END,
           r.reasons,
           tasker_engine.percentage(c.active_connections, c.max_connections),
           tasker_engine.percentage(c.error_tasks, c.total_tasks),
           tasker_engine.percentage(c.error_steps, c.total_steps),
           c.active_connections, c.max_connections, c.total_tasks, c.error_tasks, c.total_steps, c.error_steps
    FROM tasker.get_system_health_counts() c
    CROSS JOIN LATERAL (
        SELECT ARRAY(
            SELECT format(m.message, m.part, m.whole)
            FROM (VALUES (1, 'connections', c.active_connections, c.max_connections, '%s of %s connections are in use'),
                         (2, 'all_errors', c.error_tasks, c.total_tasks, '%s of %s tasks are in error'),
                         (3, 'all_errors', c.error_steps, c.total_steps, '%s of %s steps are in error'))
                 AS m (n, measure, part, whole, message)
            CROSS JOIN LATERAL tasker_engine.judge_health(m.measure, m.part, m.whole, 1) j
            WHERE j.level = 'unhealthy'
            ORDER BY m.n) AS reasons
        OFFSET 0
    ) r;
END;
COMMENT ON FUNCTION tasker.system_health() IS
'One row: whether the system is healthy, and if not, why. Unhealthy above 90 % of max_connections, or with more than 50 % of all tasks or of all steps in error; exactly 90 % or 50 % is healthy, and so is an empty database. Counts as get_system_health_counts.
healthy: Whether nothing is wrong.
status: healthy or unhealthy.
reasons: What is wrong, a sentence each; empty if nothing is.
connection_utilization: Percent of max_connections that are in use.
task_error_rate: Percent of all tasks that are in error; 0.00 if there are none.
step_error_rate: Percent of all steps that are in error; 0.00 if there are none.
error_steps: Steps in state error.
total_steps: All steps.';
GRANT EXECUTE ON FUNCTION tasker.system_health() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.library() RETURNS TABLE (version text, preloaded boolean)
AS 'MODULE_PATHNAME', 'library' LANGUAGE c STABLE ROWS 1 SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.library() IS 'The library behind the extension.
version: its version.
preloaded: whether shared_preload_libraries names the library.';

CREATE OR REPLACE FUNCTION tasker.health_live() RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN true;
COMMENT ON FUNCTION tasker.health_live() IS
'true, at once and without a look at anything: the server answers and the extension is there. For liveness probes. Rule: docs/health.md#probes.';
GRANT EXECUTE ON FUNCTION tasker.health_live() TO tasker_reader;

-- Also answers on a standby: it writes nothing.
CREATE OR REPLACE FUNCTION tasker.health_ready() RETURNS TABLE (ready boolean, message text, failed_checks text[])
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    installed CONSTANT text := (SELECT e.extversion FROM pg_extension e WHERE e.extname = 'tasker_ext');
    current text;
    fault text;
    paused text;
    library record;
    reasons text[];
BEGIN
    SELECT l.version, l.preloaded INTO STRICT library FROM tasker_engine.library() l;
    -- While the versions differ nothing else can be asked.
    IF installed IS DISTINCT FROM library.version THEN
        ready := false;
        failed_checks := '{version}';
        message := format('the extension has version %s and the library %s: %s', installed, library.version,
                          CASE WHEN string_to_array(installed, '.')::integer[] < string_to_array(library.version, '.')::integer[]
                               THEN 'ALTER EXTENSION tasker_ext UPDATE' ELSE 'restart the server' END);
        RETURN NEXT;
        RETURN;
    END IF;
    current := tasker.operational_state();
    fault := (SELECT f.detail FROM tasker_engine.owner_fault() f);
    paused := (SELECT f.detail FROM tasker_engine.installation_fault() f);
    failed_checks := array_remove(ARRAY[
        CASE WHEN pg_is_in_recovery() THEN 'recovery' END,
        CASE WHEN library.preloaded AND NOT pg_is_in_recovery() AND NOT tasker_engine.has_coordinator() THEN 'coordinator' END,
        CASE WHEN fault IS NOT NULL THEN 'owner' END,
        CASE WHEN paused IS NOT NULL THEN 'installation' END,
        CASE WHEN NOT (SELECT r.hands_out_work FROM tasker_engine.operational_rules() r WHERE r.state = current) THEN 'state' END], NULL);
    ready := cardinality(failed_checks) = 0;
    reasons := ARRAY(SELECT CASE f.name
        WHEN 'recovery' THEN 'the server is a standby or recovers'
        WHEN 'coordinator' THEN 'the library is preloaded and no coordinator is at work in this database'
        WHEN 'owner' THEN format('role tasker_owner is not fit to own the engine, and background processes do nothing: %s', fault)
        WHEN 'installation' THEN format('no work is done before tasker.resume_after_restore(): %s', paused)
        WHEN 'state' THEN format('the system is in state %s and hands out no work', current) END
        FROM unnest(failed_checks) WITH ORDINALITY AS f (name, n) ORDER BY f.n);
    message := CASE WHEN ready THEN format('ready, in state %s%s', current, tasker_engine.not_begun()) ELSE array_to_string(reasons, '; ') END;
    RETURN NEXT;
END
$$;
COMMENT ON FUNCTION tasker.health_ready() IS
'Whether this server hands out work in this database; one row. For readiness probes and load balancers. A standby answers too: it is not ready. Rule: docs/health.md#probes.
ready: Whether every check holds.
message: One line: the state, or every reason why not.
failed_checks: Those that fail: version alone, if library and extension differ in it; otherwise of recovery (no standby), coordinator (at work, where the library is preloaded), owner (no other role can act as tasker_owner), installation (the rows were not loaded from elsewhere, or work was resumed) and state (hands out work).';
GRANT EXECUTE ON FUNCTION tasker.health_ready() TO tasker_reader;

-- Without statistics of a table that grows in an hour, too, not all that is gone is read.
CREATE OR REPLACE FUNCTION tasker_engine.count_live_workers() RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
BEGIN
    RETURN (SELECT count(*) FROM tasker_engine.live_workers);
END
$$;
COMMENT ON FUNCTION tasker_engine.count_live_workers() IS 'How many workers live.';

-- What is measured, as parts of wholes. Each number is read where that is cheap: of the log only the period.
CREATE OR REPLACE FUNCTION tasker_engine.health_measures(start timestamptz)
RETURNS TABLE (measure text, kind text, part bigint, whole bigint, message text, hint text)
LANGUAGE plpgsql VOLATILE ROWS 10
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    now CONSTANT timestamptz := tasker_engine.engine_clock();
    current CONSTANT text := tasker.operational_state();
    preloaded CONSTANT boolean := (SELECT l.preloaded FROM tasker_engine.library() l);
    fault record;
    paused record;
    most CONSTANT bigint := 100000;
    backlog bigint;
    pools bigint;
    idle_pools bigint;
    oldest timestamptz;
    furthest text;
BEGIN
    measure := 'operational_state'; kind := 'troubles';
    part := (current = 'emergency')::integer; whole := 1;
    message := format('in state %s', current);
    hint := CASE WHEN part > 0 THEN 'Nothing is handed out: SELECT * FROM tasker.operational_state_changes ORDER BY change_no DESC LIMIT 5;' END;
    RETURN NEXT;

    measure := 'connections'; kind := 'connections';
    part := tasker_engine.active_connections(); whole := current_setting('max_connections')::bigint;
    message := format('%s of %s connections are in use', part, whole);
    hint := 'Workers need one or two connections each; put a pooler in front, or raise max_connections.';
    RETURN NEXT;

    measure := 'task_errors'; kind := 'errors';
    SELECT count(*) FILTER (WHERE t.state = 'e'), count(*) INTO part, whole
    FROM tasker_engine.task_times t
    WHERE t.task_uuid >= tasker_engine.uuids_since(start) AND t.requested_at > start AND NOT tasker_engine.is_open(t.state);
    message := format('%s of %s tasks of the period that ended are in error', part, whole);
    hint := 'SELECT * FROM tasker.stuck_tasks WHERE reason = ''failed'';';
    RETURN NEXT;

    measure := 'step_errors';
    SELECT count(*) FILTER (WHERE r.state = 'e'), count(*) INTO part, whole
    FROM tasker_engine.ended_runs r WHERE r.ended_at > start;
    message := format('%s of %s runs of steps in the period failed', part, whole);
    hint := 'SELECT * FROM tasker.get_error_patterns();';
    RETURN NEXT;

    measure := 'executors'; kind := 'executors';
    SELECT coalesce(sum(p.well), 0), coalesce(sum(p.counted), 0), count(*) FILTER (WHERE p.counted > 0 AND p.well = 0), count(*)
    INTO part, whole, idle_pools, pools
    FROM (SELECT count(*) FILTER (WHERE b.state IN ('idle', 'busy')) AS well,
                 -- An executor that was told to end is not lost, and one that has just been started is not lost yet.
                 count(*) FILTER (WHERE b.state IN ('idle', 'busy') OR b.state = 'starting' AND b.state_since < now - interval '30 seconds')
                     AS counted
          FROM tasker_engine.background_activity() b
          WHERE b.kind = 'executor' AND b.database_oid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
          GROUP BY b.pool) p;
    message := CASE WHEN whole = 0 THEN 'no executors' ELSE format('%s of %s executors are at work', part, whole) END;
    hint := 'The server''s log says why executors end.';
    RETURN NEXT;

    measure := 'executor_pools'; kind := 'troubles';
    part := idle_pools; whole := pools;
    message := format('%s of %s pools have executors and none at work', part, whole);
    RETURN NEXT;

    measure := 'coordinator';
    SELECT f.detail, f.hint INTO fault FROM tasker_engine.owner_fault() f;
    SELECT f.detail, f.hint INTO paused FROM tasker_engine.installation_fault() f;
    part := (fault.detail IS NOT NULL OR paused.detail IS NOT NULL OR preloaded AND NOT pg_is_in_recovery() AND NOT tasker_engine.has_coordinator())::integer; whole := 1;
    message := CASE WHEN fault.detail IS NOT NULL THEN format('nothing is done while role tasker_owner is not fit to own the engine: %s', fault.detail)
                    WHEN paused.detail IS NOT NULL THEN format('nothing is done before work is resumed: %s', paused.detail)
                    WHEN part > 0 THEN 'no coordinator is at work'
                    WHEN preloaded THEN 'at work' || coalesce('; no slot is left for the coordinators of ' || nullif(array_to_string(tasker_engine.waiting_databases(), ', '), ''), '')
                    ELSE 'the library is not preloaded: claims and run_maintenance() do the work' END || tasker_engine.not_begun();
    hint := CASE WHEN fault.detail IS NOT NULL THEN fault.hint
                 WHEN paused.detail IS NOT NULL THEN paused.hint
                 WHEN current_database() = ANY (tasker_engine.waiting_databases())
                     THEN 'No slot of max_worker_processes is left for it: SELECT message, hint FROM tasker.validate_resources() says what to set.'
                 WHEN part > 0 THEN 'The server''s log says why.' END;
    RETURN NEXT;

    measure := 'duties';
    SELECT count(d.problem), count(*), string_agg(d.duty || ' ' || d.problem, ', ' ORDER BY d.duty) INTO part, whole, message
    FROM tasker.maintenance_duties d;
    message := format('%s of %s duties of maintenance failed or have not run%s', part, whole, ': ' || message);
    hint := 'SELECT duty, problem FROM tasker.maintenance_duties WHERE problem IS NOT NULL;';
    RETURN NEXT;

    measure := 'integrity';
    SELECT greatest(c.found, c.found_before), coalesce(c.example, c.example_before) INTO part, message FROM tasker_engine.integrity_checks c;
    part := coalesce(part, 0); whole := 0;
    message := format('%s disagreements between rows found%s', part, ': ' || message);
    hint := 'SELECT * FROM tasker.check_integrity(); then tasker.repair_integrity(dry_run => false).';
    RETURN NEXT;

    measure := 'stale_claims';
    SELECT count(*) FILTER (WHERE a.overdue AND a.lease_expires_at < now - interval '2 minutes'), count(*) INTO part, whole
    FROM tasker_engine.claim_ages a;
    message := format('%s of %s steps that workers hold have had no lease for 2 minutes', part, whole);
    hint := 'SELECT * FROM tasker.stale_claims; check that a worker claims from these queues.';
    RETURN NEXT;

    measure := 'workers';
    SELECT count(*) INTO backlog
    FROM (SELECT FROM tasker_engine.queue_entries r JOIN tasker_engine.queues q ON q.queue_id = r.queue_id
          WHERE r.available_at <= now AND NOT q.paused LIMIT most) d;
    SELECT min(o.available_at) INTO oldest
    FROM tasker_engine.queues q CROSS JOIN generate_series(1, 4) AS l (priority)
    CROSS JOIN LATERAL (
        SELECT r.available_at FROM tasker_engine.queue_entries r
        WHERE r.queue_id = q.queue_id AND r.priority = l.priority::smallint AND r.available_at <= now
        ORDER BY r.available_at LIMIT 1) o
    WHERE NOT q.paused;
    whole := tasker_engine.count_live_workers();
    -- A system at rest needs no workers.
    part := (backlog > 0 AND whole = 0 AND (SELECT r.hands_out_work FROM tasker_engine.operational_rules() r WHERE r.state = current))::integer;
    message := format('%s workers live; %s steps ready%s', whole, CASE WHEN backlog = most THEN most || ' or more' ELSE backlog::text END,
                      ', the oldest for ' || date_trunc('second', now - oldest));
    hint := 'Start workers that call tasker.claim_steps for these namespaces.';
    RETURN NEXT;

    measure := 'subscribers'; kind := 'lag';
    SELECT u.subscriber, u.written_at INTO furthest, oldest FROM tasker_engine.first_unread() u;
    part := greatest(0, coalesce(extract(epoch FROM clock_timestamp() - oldest) * 1000, 0))::bigint;
    whole := (extract(epoch FROM tasker_engine.max_subscriber_lag_text()::interval) * 1000)::bigint;
    message := CASE WHEN oldest IS NULL THEN 'no subscriber is behind'
                    ELSE format('subscriber %s has not read what was written %s ago; purge waits %s', furthest,
                                date_trunc('second', clock_timestamp() - oldest), tasker_engine.max_subscriber_lag_text()) END;
    hint := 'SELECT * FROM tasker.subscribers; poll those that are behind, or remove them: what they have not read is purged then.';
    RETURN NEXT;
END
$$;
COMMENT ON FUNCTION tasker_engine.health_measures(timestamptz) IS 'What health_status judges.
start: where the period of the error shares begins.
measure: name of the measure.
kind: by which thresholds it is judged.
part: how many.
whole: the total that part is compared with.
message: the same in words.
hint: what to do if it is not well.';

CREATE OR REPLACE FUNCTION tasker.health_status(period interval DEFAULT '5 minutes')
RETURNS TABLE (
    measure text, level text, alert boolean, measured numeric, degraded_beyond numeric, unhealthy_beyond numeric, alert_beyond numeric,
    multiplier numeric, message text, hint text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 12 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    start CONSTANT timestamptz := tasker_engine.check_period($1);
BEGIN
    PERFORM tasker_engine.require_version();
    RETURN QUERY
    WITH rule AS (
        SELECT r.* FROM tasker_engine.operational_rules() r WHERE r.state = tasker.operational_state()),
    judged AS MATERIALIZED (
        SELECT m.measure, j.level, j.alert AND NOT rule.suppresses_alerts AS alert,
               CASE WHEN m.kind = 'troubles' THEN m.part::numeric ELSE tasker_engine.percentage(m.part, m.whole) END AS measured,
               round(j.degraded_beyond::numeric, 2) AS degraded_beyond, round(j.unhealthy_beyond::numeric, 2) AS unhealthy_beyond,
               round(j.alert_beyond::numeric, 2) AS alert_beyond,
               CASE WHEN m.kind IN ('errors', 'executors') THEN round(rule.health_multiplier::numeric, 2) END AS multiplier,
               m.message, CASE WHEN j.level <> 'healthy' OR j.alert THEN m.hint END AS hint,
               array_position('{healthy,degraded,unhealthy}', j.level) AS rank, row_number() OVER () AS n
        FROM rule, tasker_engine.health_measures(start) m, tasker_engine.judge_health(m.kind, m.part, m.whole, rule.health_multiplier) j)
    SELECT o.measure, o.level, o.alert, o.measured, o.degraded_beyond, o.unhealthy_beyond, o.alert_beyond, o.multiplier, o.message, o.hint
    FROM (
        SELECT 'overall' AS measure, ('{healthy,degraded,unhealthy}'::text[])[max(j.rank)] AS level, bool_or(j.alert) AS alert,
               NULL::numeric AS measured, NULL::numeric AS degraded_beyond, NULL::numeric AS unhealthy_beyond,
               NULL::numeric AS alert_beyond, (SELECT round(rule.health_multiplier::numeric, 2) FROM rule) AS multiplier,
               coalesce(string_agg(j.message, '; ' ORDER BY j.rank DESC, j.n) FILTER (WHERE j.rank > 1 OR j.measure = 'operational_state'), '')
                   AS message,
               NULL::text AS hint, 0::bigint AS n
        FROM judged j
        UNION ALL
        SELECT j.measure, j.level, j.alert, j.measured, j.degraded_beyond, j.unhealthy_beyond, j.alert_beyond, j.multiplier, j.message,
               j.hint, j.n
        FROM judged j) o
    ORDER BY o.n;
END
$$;
COMMENT ON FUNCTION tasker.health_status(interval) IS
'How the system in this database is, one row per measure and first the worst of them: overall. Reads the log of the period and little else. 22023 for a period that is not longer than zero, or longer than 10 years. Rule: docs/health.md#thresholds.
period: How far back errors are counted.
measure: overall, operational_state, connections, task_errors, step_errors, executors, executor_pools, coordinator, duties, stale_claims or workers.
level: healthy, degraded or unhealthy.
alert: Whether it is worth an alert; never while a planned shutdown holds alerts back.
measured: A percentage, or the number of things that should not exist.
degraded_beyond: Where degraded begins; NULL: never.
unhealthy_beyond: Where unhealthy begins; NULL: never.
alert_beyond: Where alerts begin.
multiplier: How much of these thresholds the operational state asks for; NULL where it does not matter.
message: The measure in words; of overall the state and whatever is not healthy.
hint: What to do where it is not well.';
GRANT EXECUTE ON FUNCTION tasker.health_status(interval) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.duty_health() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    last CONSTANT text := coalesce((SELECT h.to_level FROM tasker_engine.health_changes h ORDER BY h.change_no DESC LIMIT 1), 'healthy');
    found record;
    number bigint;
BEGIN
    PERFORM tasker_engine.require_version();
    IF NOT (SELECT o.monitored FROM tasker.operational_status o) THEN
        RETURN 0;
    END IF;
    SELECT s.level, s.message INTO STRICT found FROM tasker.health_status() s WHERE s.measure = 'overall';
    IF found.level = last THEN
        RETURN 0;
    END IF;
    INSERT INTO tasker_engine.health_changes AS h (changed_at, from_level, to_level, message)
    VALUES (tasker_engine.engine_clock(), last, found.level, found.message)
    RETURNING h.change_no INTO number;
    DELETE FROM tasker_engine.health_changes h WHERE h.change_no <= number - 1000;
    RETURN 1;
END
$$;
COMMENT ON FUNCTION tasker_engine.duty_health() IS
'Records that the overall level of health has changed; returns 1 if it has, otherwise 0. Does nothing while the operational state is not monitored.';
