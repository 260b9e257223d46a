-- Claims that take too long. Their levels and the time that a run can be expected to take are crates/rules/src/operations/health.rs;
-- after how long a silent worker is missing (5 minutes) is in worker_status.

CREATE OR REPLACE FUNCTION tasker_engine.expected_run_seconds(priority smallint, timeout_seconds integer)
RETURNS integer AS 'MODULE_PATHNAME', 'expected_run_seconds' LANGUAGE c IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION tasker_engine.expected_run_seconds(smallint, integer) IS
'The expected duration of a run: the timeout of its template, else 60 seconds, of priority 3 45, of priority 4 30.';
GRANT EXECUTE ON FUNCTION tasker_engine.expected_run_seconds(smallint, integer) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.claim_level(age double precision, expected integer, lease_over boolean)
RETURNS text AS 'MODULE_PATHNAME', 'claim_level' LANGUAGE c IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION tasker_engine.claim_level(double precision, integer, boolean) IS
'expired when the lease is over; critical beyond twice the expected seconds, warning beyond one and a half times, slow beyond once, else fine.';
GRANT EXECUTE ON FUNCTION tasker_engine.claim_level(double precision, integer, boolean) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.worker_status(live boolean, last_seen_at timestamptz)
RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE WHEN live THEN 'active'
                WHEN last_seen_at < (tasker_engine.engine_clock() - '5 minutes'::interval) THEN 'missing'
                ELSE 'unknown' END;
COMMENT ON FUNCTION tasker_engine.worker_status(boolean, timestamptz) IS
'active when the worker was seen lately or keeps a lease; missing after 5 silent minutes; otherwise unknown.';
GRANT EXECUTE ON FUNCTION tasker_engine.worker_status(boolean, timestamptz) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.take_over_claims(claim_ids bigint[], step_uuids uuid[]) RETURNS void
AS 'MODULE_PATHNAME', 'take_over_claims' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.take_over_claims(bigint[], uuid[]) IS
'Takes steps from their workers as if their leases had ended: each pair is a claim and a step of it. Steps that are locked or no longer of the claim are left.';

CREATE OR REPLACE FUNCTION tasker.force_release_stale_claims(level text DEFAULT 'expired', dry_run boolean DEFAULT true)
RETURNS TABLE (
    step_uuid uuid, task_uuid uuid, step_name text, worker_id text, claim_number integer, age interval, claim_level text, outcome text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    levels CONSTANT text[] := ARRAY['slow', 'warning', 'critical', 'expired'];
    least CONSTANT integer := array_position(levels, $1);
    found tasker_engine.claim_ages[];
BEGIN
    PERFORM tasker_engine.required($1, 'level'), tasker_engine.required($2, 'dry_run');
    IF least IS NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = format('unknown level "%s"', left($1, 64)),
            DETAIL = 'It says which claims are released: those of that level and all graver ones.',
            HINT = 'Use slow, warning, critical or expired.';
    END IF;
    found := ARRAY(SELECT a FROM tasker_engine.claim_ages a WHERE array_position(levels, a.level) >= least ORDER BY a.claimed_at, a.step_uuid);
    IF NOT $2 AND cardinality(found) > 0 THEN
        PERFORM tasker_engine.take_over_claims(array_agg(f.claim_id), array_agg(f.step_uuid)) FROM unnest(found) f;
    END IF;
    RETURN QUERY
    SELECT f.step_uuid, f.task_uuid, f.step_name, f.worker_id, f.claim_number, f.age, f.level,
           CASE WHEN NOT $2 AND s.state = 'i' AND s.claim_id = f.claim_id THEN 'skipped'
                ELSE CASE WHEN $2 THEN 'would ' ELSE '' END
                     || CASE WHEN f.attempt - (NOT f.begun)::integer = 0
                               OR f.retryable AND f.attempt - (NOT f.begun)::integer < f.retry_limit THEN 'retry' ELSE 'fail' END END
    FROM unnest(found) WITH ORDINALITY AS f
    JOIN tasker_engine.steps s ON s.task_uuid = f.task_uuid AND s.step_no = tasker.step_number(f.step_uuid)
    ORDER BY f.ordinality;
END
$$;
COMMENT ON FUNCTION tasker.force_release_stale_claims(text, boolean) IS
'Takes stale claims from their workers, as if their leases had ended: each step is in error with class LeaseExpired, the attempt counts if the run had begun (as after a lost lease), and it is ready again at once, or fails permanently when no attempt is left. What the worker reports later is stale. Never waits: what is locked at this moment is skipped. One row per claim. 22023 for an unknown level. Rule: docs/health.md#stale-claims.
level: The mildest level that is released: slow, warning, critical or expired.
dry_run: true only shows what would be done; false does it.
step_name: Name of the step.
age: How long the worker has held it.
claim_level: The level of the claim.
outcome: would retry or would fail in a dry run, otherwise retry, fail, or skipped for a step that another session had locked.';
GRANT EXECUTE ON FUNCTION tasker.force_release_stale_claims(text, boolean) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker_engine.check_period(period interval) RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM tasker_engine.required($1, 'period');
    IF $1 <= interval '0' OR $1 > interval '10 years' THEN
        RAISE invalid_parameter_value USING MESSAGE = format('period %s is out of range', $1),
            DETAIL = 'It says how far back to look.', HINT = 'Give an interval longer than zero, of at most 10 years.';
    END IF;
    RETURN tasker_engine.engine_clock() - $1;
END
$$;
COMMENT ON FUNCTION tasker_engine.check_period(interval) IS 'Where the period that ends now began; 22004 for NULL, 22023 out of range.';

CREATE OR REPLACE FUNCTION tasker.get_processor_claim_stats(period interval DEFAULT '1 hour')
RETURNS TABLE (
    worker_id text, worker_status text, completed_runs bigint, failed_runs bigint, lost_runs bigint, average_seconds numeric,
    longest_seconds numeric, held_steps bigint, stale_claims bigint, oldest_claim_age interval, last_seen_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    start CONSTANT timestamptz := tasker_engine.check_period($1);
BEGIN
    RETURN QUERY
    WITH ended AS (
        SELECT l.worker_no,
               count(*) FILTER (WHERE l.to_state = 'c') AS completed,
               count(*) FILTER (WHERE l.to_state = 'e' AND l.metadata ->> 'error_class' IS DISTINCT FROM 'LeaseExpired') AS failed,
               count(*) FILTER (WHERE l.to_state = 'e' AND l.metadata ->> 'error_class' = 'LeaseExpired') AS lost,
               avg(tasker_engine.duration(l.created_at - l.started_at)) AS average,
               max(tasker_engine.duration(l.created_at - l.started_at)) AS longest
        FROM tasker_engine.transitions l
        WHERE l.created_at > start AND l.step_no > 0 AND l.from_state = 'i' AND l.to_state = ANY ('{c,e}'::"char"[])
        GROUP BY l.worker_no),
    held AS (
        SELECT a.worker_id, count(*) AS steps, count(*) FILTER (WHERE a.level <> 'fine') AS stale, max(a.age) AS oldest
        FROM tasker_engine.claim_ages a
        GROUP BY a.worker_id)
    SELECT w.worker_id, tasker_engine.worker_status(w.live, w.last_seen_at),
           coalesce(e.completed, 0), coalesce(e.failed, 0), coalesce(e.lost, 0),
           tasker_engine.seconds(e.average), tasker_engine.seconds(e.longest),
           coalesce(h.steps, 0), coalesce(h.stale, 0), h.oldest, w.last_seen_at
    FROM tasker_engine.known_workers w
    LEFT JOIN ended e ON e.worker_no = w.worker_no
    LEFT JOIN held h ON h.worker_id = w.worker_id
    WHERE e.worker_no IS NOT NULL OR h.worker_id IS NOT NULL
    ORDER BY w.worker_id;
END
$$;
COMMENT ON FUNCTION tasker.get_processor_claim_stats(interval) IS
'The outcomes of the claims of each worker, and what it holds now: workers that ended a run in the period, or hold a step. 22023 for a period that is not longer than zero, or longer than 10 years.
period: How far back to look, from now.
worker_status: active: seen lately, or keeps its lease; missing: silent for 5 minutes; otherwise unknown.
completed_runs: Runs that it completed.
failed_runs: Runs that it reported as failed.
lost_runs: Runs whose lease ended before a report, or that were released by force.
average_seconds: From claim to end, of all of these.
longest_seconds: The longest of them.
held_steps: Steps that it holds now.
stale_claims: Of these, how many tasker.stale_claims shows.
oldest_claim_age: How long it has held the oldest; NULL if none.
last_seen_at: When it called last; brought up to date every few seconds.';
GRANT EXECUTE ON FUNCTION tasker.get_processor_claim_stats(interval) TO tasker_reader;
