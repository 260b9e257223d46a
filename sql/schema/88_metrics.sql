-- Counters of what the engine does. Preloaded, they live in shared memory and are added to when a transaction commits;
-- otherwise a call that writes anyway appends what its backend has counted, at most every ten seconds. What is read is
-- the sum of both. docs/metrics.md says what counts when.

-- Counts of a backend: worker 0 is the engine. Insert-only; a duty folds old rows together. No index and no constraint,
-- so that a row goes below SQL (src/pg/tables.rs).
CREATE TABLE tasker_engine.metric_counts (
    at timestamptz NOT NULL,
    worker_no integer NOT NULL,
    folded boolean NOT NULL,
    cells smallint[] NOT NULL,
    amounts bigint[] NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE tasker_engine.metric_counts REPLICA IDENTITY FULL; -- it has no key, see tasker_engine.queue_entries
COMMENT ON TABLE tasker_engine.metric_counts IS 'What backends have counted without shared memory, and what was folded of it.';
COMMENT ON COLUMN tasker_engine.metric_counts.at IS 'When it was written; of a folded row, when the first of them was.';
COMMENT ON COLUMN tasker_engine.metric_counts.worker_no IS 'Number of the worker; 0 for the engine.';
COMMENT ON COLUMN tasker_engine.metric_counts.folded IS 'Whether it is the sum of older rows.';
COMMENT ON COLUMN tasker_engine.metric_counts.cells IS 'Which numbers, as in metric_cells().';
COMMENT ON COLUMN tasker_engine.metric_counts.amounts IS 'How much was counted of each since the backend''s last row.';

CREATE FUNCTION tasker_engine.metric_cells()
RETURNS TABLE (
    cell integer, family text, kind text, part text, upper_bound double precision, labels jsonb, unit text, help text,
    recent boolean)
AS 'MODULE_PATHNAME', 'metric_cells' LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 150
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.metric_cells() IS 'Every number that is counted.
cell: its place.
family: name of its metric.
kind: counter or histogram.
part: total of a counter, bucket or sum (microseconds) of a histogram.
upper_bound: of a bucket, seconds; the last is infinite.
labels: what tells it from others of its metric.
unit: seconds, or empty for things.
help: one sentence.
recent: whether its last minutes are kept, for the alerts.';

CREATE FUNCTION tasker_engine.shared_counts() RETURNS TABLE (worker_no integer, cell integer, amount bigint)
AS 'MODULE_PATHNAME', 'shared_counts' LANGUAGE c VOLATILE ROWS 100
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.shared_counts() IS 'What shared memory holds for this database, without zeros.
worker_no: 0 for the engine.
cell: as in metric_cells().
amount: the count.';

CREATE FUNCTION tasker_engine.shared_recent() RETURNS TABLE (at timestamptz, cell integer, amount bigint)
AS 'MODULE_PATHNAME', 'shared_recent' LANGUAGE c VOLATILE ROWS 50
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.shared_recent() IS 'The last two minutes of finalization claims in shared memory, ten seconds at a time.
at: when the ten seconds end.
cell: as in metric_cells().
amount: the count within them.';

CREATE FUNCTION tasker_engine.shared_since() RETURNS TABLE (preloaded boolean, since timestamptz)
AS 'MODULE_PATHNAME', 'shared_since' LANGUAGE c VOLATILE ROWS 1
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.shared_since() IS 'Whether counters live in shared memory.
preloaded: false without shared_preload_libraries.
since: when the counters of this database began; NULL if nothing was counted yet.';

CREATE FUNCTION tasker_engine.reset_shared_counts() RETURNS void
AS 'MODULE_PATHNAME', 'reset_shared_counts' LANGUAGE c VOLATILE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.reset_shared_counts() IS 'Sets the counters of this database in shared memory to zero, at once.';

CREATE FUNCTION tasker_engine.count_finalization(operation text, outcome text, began_at timestamptz) RETURNS void
AS 'MODULE_PATHNAME', 'count_finalization' LANGUAGE c VOLATILE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.count_finalization(text, text, timestamptz) IS 'Counts a call of a finalization function.
operation: claim, extend or release.
outcome: success, or why not; for a claim a reason of finalization_claim_contention_by_reason_total.
began_at: when the call began.';

CREATE FUNCTION tasker_engine.histogram_quantile(
    bounds double precision[], counts double precision[], q double precision) RETURNS double precision
AS 'MODULE_PATHNAME', 'histogram_quantile' LANGUAGE c IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.histogram_quantile(double precision[], double precision[], double precision) IS 'The value below which a share of all values lies, as Prometheus estimates it: evenly spread within a bucket, the last finite bound for what lies above it. NULL without values.
bounds: finite upper bounds, ascending.
counts: values per bucket, the infinite one last.
q: the share, 0 to 1.';

-- A view runs with its owner's rights on tables, but with its reader's on functions.
GRANT EXECUTE ON FUNCTION
    tasker_engine.metric_cells(), tasker_engine.shared_counts(), tasker_engine.shared_recent(), tasker_engine.shared_since(),
    tasker_engine.histogram_quantile(double precision[], double precision[], double precision), tasker_engine.background_activity(),
    tasker_engine.duties()
TO tasker_reader;

-- ---- what was counted -----------------------------------------------------------------------------------------------

CREATE VIEW tasker_engine.counts AS
SELECT c.worker_no, c.cell, pg_catalog.sum(c.amount)::double precision AS amount
FROM (
    SELECT s.worker_no, s.cell, s.amount FROM tasker_engine.shared_counts() s
    UNION ALL
    SELECT m.worker_no, u.cell::integer, u.amount
    FROM tasker_engine.metric_counts m
    CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(m.cells), pg_catalog.unnest(m.amounts)) AS u (cell, amount)
) c
GROUP BY c.worker_no, c.cell;
COMMENT ON VIEW tasker_engine.counts IS 'Everything counted, per worker and cell; worker 0 is the engine.';
COMMENT ON COLUMN tasker_engine.counts.worker_no IS 'Number of the worker; 0 for the engine.';
COMMENT ON COLUMN tasker_engine.counts.cell IS 'As in metric_cells().';
COMMENT ON COLUMN tasker_engine.counts.amount IS 'The count; of a sum, microseconds.';

CREATE VIEW tasker_engine.counted_cells AS
SELECT m.cell, m.family, m.kind, m.part, m.upper_bound, m.labels, m.unit, m.help,
       COALESCE(c.amount, 0) AS amount,
       pg_catalog.sum(COALESCE(c.amount, 0)) OVER (PARTITION BY m.family, m.part ORDER BY m.upper_bound) AS up_to_here
FROM tasker_engine.metric_cells() m
LEFT JOIN tasker_engine.counts c
    ON c.worker_no OPERATOR(pg_catalog.=) 0 AND c.cell OPERATOR(pg_catalog.=) m.cell;
COMMENT ON VIEW tasker_engine.counted_cells IS 'Every number of the engine, zeros included.';
COMMENT ON COLUMN tasker_engine.counted_cells.cell IS 'As in metric_cells().';
COMMENT ON COLUMN tasker_engine.counted_cells.family IS 'Name of its metric.';
COMMENT ON COLUMN tasker_engine.counted_cells.kind IS 'counter or histogram.';
COMMENT ON COLUMN tasker_engine.counted_cells.part IS 'total, bucket or sum.';
COMMENT ON COLUMN tasker_engine.counted_cells.upper_bound IS 'Of a bucket, seconds.';
COMMENT ON COLUMN tasker_engine.counted_cells.labels IS 'What tells it from others of its metric.';
COMMENT ON COLUMN tasker_engine.counted_cells.unit IS 'seconds, or empty for things.';
COMMENT ON COLUMN tasker_engine.counted_cells.help IS 'One sentence.';
COMMENT ON COLUMN tasker_engine.counted_cells.amount IS 'The count; of a bucket, of its own values only.';
COMMENT ON COLUMN tasker_engine.counted_cells.up_to_here IS 'Of a bucket: the values in it and in all lower ones.';

-- ---- gauges ---------------------------------------------------------------------------------------------------------

-- The first entries of each level of a queue, in the order of its index: what lies far behind them costs nothing.
CREATE VIEW tasker_engine.queue_depths AS
SELECT n.name AS namespace_name, q.name AS queue, q.paused, d.ready, d.waiting, d.oldest_at
FROM tasker_engine.queues q
JOIN tasker.task_namespaces n ON n.task_namespace_id OPERATOR(pg_catalog.=) q.task_namespace_id
CROSS JOIN LATERAL (
    SELECT pg_catalog.sum(l.ready) AS ready, pg_catalog.sum(l.waiting) AS waiting, pg_catalog.min(l.oldest_at) AS oldest_at
    FROM (VALUES (4::smallint), (3::smallint), (2::smallint), (1::smallint)) AS p (priority)
    CROSS JOIN LATERAL (
        SELECT (SELECT pg_catalog.count(*)
                FROM (SELECT FROM tasker_engine.queue_entries r
                      WHERE r.queue_id OPERATOR(pg_catalog.=) q.queue_id AND r.priority OPERATOR(pg_catalog.=) p.priority
                        AND r.available_at OPERATOR(pg_catalog.<=) tasker_engine.engine_clock()
                      ORDER BY r.available_at LIMIT 10000) due) AS ready,
               (SELECT pg_catalog.count(*)
                FROM (SELECT FROM tasker_engine.queue_entries r
                      WHERE r.queue_id OPERATOR(pg_catalog.=) q.queue_id AND r.priority OPERATOR(pg_catalog.=) p.priority
                        AND r.available_at OPERATOR(pg_catalog.>) tasker_engine.engine_clock()
                      ORDER BY r.available_at LIMIT 10000) later) AS waiting,
               (SELECT r.available_at
                FROM tasker_engine.queue_entries r
                WHERE r.queue_id OPERATOR(pg_catalog.=) q.queue_id AND r.priority OPERATOR(pg_catalog.=) p.priority
                  AND r.available_at OPERATOR(pg_catalog.<=) tasker_engine.engine_clock()
                ORDER BY r.available_at LIMIT 1) AS oldest_at
    ) l
) d;
COMMENT ON VIEW tasker_engine.queue_depths IS 'How much lies in each queue; at most 10,000 are counted per priority, ready and waiting each.';
COMMENT ON COLUMN tasker_engine.queue_depths.namespace_name IS 'Namespace of the queue.';
COMMENT ON COLUMN tasker_engine.queue_depths.queue IS 'Its name.';
COMMENT ON COLUMN tasker_engine.queue_depths.paused IS 'Whether its namespace is paused.';
COMMENT ON COLUMN tasker_engine.queue_depths.ready IS 'Entries that are due.';
COMMENT ON COLUMN tasker_engine.queue_depths.waiting IS 'Entries that are due later.';
COMMENT ON COLUMN tasker_engine.queue_depths.oldest_at IS 'Since when the oldest due entry is due; NULL if none is.';

CREATE VIEW tasker_engine.claim_depths AS
SELECT COALESCE(pg_catalog.sum(h.held), 0) AS running_steps,
       pg_catalog.count(*) FILTER (WHERE h.held OPERATOR(pg_catalog.>) 0) AS claims,
       pg_catalog.count(*) FILTER (WHERE h.held OPERATOR(pg_catalog.>) 0
                                     AND h.lease_expires_at OPERATOR(pg_catalog.<=) tasker_engine.engine_clock()) AS stale_claims
FROM (
    SELECT c.lease_expires_at,
           (SELECT pg_catalog.count(*)
            FROM ROWS FROM (pg_catalog.unnest(c.task_uuids), pg_catalog.unnest(c.step_nos)) AS u (task_uuid, step_no)
            JOIN tasker_engine.steps s
                ON s.task_uuid OPERATOR(pg_catalog.=) u.task_uuid AND s.step_no OPERATOR(pg_catalog.=) u.step_no
            WHERE s.claim_id OPERATOR(pg_catalog.=) c.claim_id AND s.state OPERATOR(pg_catalog.=) 'i') AS held
    FROM tasker_engine.claims c
) h;
COMMENT ON VIEW tasker_engine.claim_depths IS 'What workers hold now; one row.';
COMMENT ON COLUMN tasker_engine.claim_depths.running_steps IS 'Steps in progress under a claim.';
COMMENT ON COLUMN tasker_engine.claim_depths.claims IS 'Claims that hold such a step.';
COMMENT ON COLUMN tasker_engine.claim_depths.stale_claims IS 'Of these, the claims whose lease has ended.';

CREATE VIEW tasker.metrics_source AS
SELECT CASE WHEN s.preloaded THEN 'shared memory' ELSE 'table' END AS source,
       COALESCE(s.since, (SELECT pg_catalog.min(m.at) FROM tasker_engine.metric_counts m)) AS started_at
FROM tasker_engine.shared_since() s;
COMMENT ON VIEW tasker.metrics_source IS 'Where the counters are kept, and since when they count. In shared memory they begin again at zero when the server starts, also after a crash of one of its processes, as Prometheus expects of counters. One row.';
COMMENT ON COLUMN tasker.metrics_source.source IS 'shared memory with shared_preload_libraries, else table: then what a backend counts can be seen at most ten seconds of work later.';
COMMENT ON COLUMN tasker.metrics_source.started_at IS 'Since when the counters count: the first count since the server started, the extension was created, or reset_metrics; NULL if nothing was counted yet.';

-- ---- the views ------------------------------------------------------------------------------------------------------

CREATE VIEW tasker.metrics AS
SELECT COALESCE(s.family OPERATOR(pg_catalog.||) s.suffix, s.family) AS name, s.family, s.kind,
       COALESCE(s.labels, '{}') AS labels, s.value, s.unit, s.help
FROM (
    SELECT c.family, NULL AS suffix, c.kind, c.labels, c.amount AS value, c.unit, c.help
    FROM tasker_engine.counted_cells c WHERE c.part OPERATOR(pg_catalog.=) 'total'
    UNION ALL
    SELECT c.family, p.suffix, c.kind, p.labels, p.value, c.unit, c.help
    FROM tasker_engine.counted_cells c
    CROSS JOIN LATERAL (
        SELECT '_bucket', c.labels, c.up_to_here WHERE c.part OPERATOR(pg_catalog.=) 'bucket'
        UNION ALL
        SELECT '_count', NULL, c.up_to_here WHERE c.upper_bound OPERATOR(pg_catalog.=) 'Infinity'::double precision
        UNION ALL
        SELECT '_sum', NULL, c.amount OPERATOR(pg_catalog./) 1000000 WHERE c.part OPERATOR(pg_catalog.=) 'sum'
    ) AS p (suffix, labels, value)
    UNION ALL
    SELECT g.family, NULL, 'gauge', pg_catalog.jsonb_build_object('namespace', q.namespace_name, 'queue', q.queue), g.value, g.unit, g.help
    FROM tasker_engine.queue_depths q
    CROSS JOIN LATERAL (VALUES
        ('tasker_ready_steps', q.ready::double precision, '', 'Steps that a claim could take now; at most 10000 are counted per priority.'),
        ('tasker_waiting_steps', q.waiting::double precision, '', 'Steps that are due later: backoff and run_at; at most 10000 are counted per priority.'),
        ('tasker_oldest_ready_seconds',
         COALESCE(extract(epoch FROM tasker_engine.engine_clock() OPERATOR(pg_catalog.-) q.oldest_at), 0)::double precision, 'seconds',
         'How long the oldest ready step has waited; 0 if none is.'),
        ('tasker_queue_paused', q.paused::integer::double precision, '', '1 while the namespace of the queue is paused.')
    ) AS g (family, value, unit, help)
    UNION ALL
    SELECT g.family, NULL, 'gauge', NULL, g.value, '', g.help
    FROM tasker_engine.claim_depths d
    CROSS JOIN LATERAL (VALUES
        ('tasker_running_steps', d.running_steps::double precision, 'Steps that workers hold now.'),
        ('tasker_claims', d.claims::double precision, 'Claims with a step that is not reported yet.'),
        ('tasker_stale_claims', d.stale_claims::double precision, 'Claims with a step that is not reported although their lease has ended.')
    ) AS g (family, value, help)
    UNION ALL
    SELECT 'tasker_live_workers', NULL, 'gauge', NULL, pg_catalog.count(*)::double precision, '',
           'Workers that were seen in the last 2 minutes, wait idle or hold a lease.'
    FROM tasker_engine.known_workers w WHERE w.live
    UNION ALL
    SELECT g.family, NULL, 'counter', pg_catalog.jsonb_build_object('duty', d.duty), g.value, '', g.help
    FROM tasker_engine.duties() d
    LEFT JOIN tasker_engine.duty_runs r ON r.duty OPERATOR(pg_catalog.=) d.duty
    CROSS JOIN LATERAL (VALUES
        ('tasker_maintenance_done_total', COALESCE(r.total_done, 0)::double precision, 'Things that duties of maintenance did.'),
        ('tasker_maintenance_failures_total', COALESCE(r.failures, 0)::double precision, 'How often duties of maintenance failed.')
    ) AS g (family, value, help)
    UNION ALL
    SELECT 'tasker_pool_executors', NULL, 'gauge', pg_catalog.jsonb_build_object('pool', p.name, 'state', e.state), e.amount, '',
           'Executors by pool and state.'
    FROM tasker.executor_pools p
    CROSS JOIN LATERAL (VALUES
        ('idle', p.idle::double precision), ('busy', p.busy::double precision), ('draining', p.draining::double precision)
    ) AS e (state, amount)
    UNION ALL
    SELECT 'tasker_pool_desired_executors', NULL, 'gauge', pg_catalog.jsonb_build_object('pool', p.name), p.desired_executors::double precision, '',
           'Executors that the pool is to have.'
    FROM tasker.executor_pools p
    UNION ALL
    SELECT g.family, NULL, 'counter', pg_catalog.jsonb_build_object('pool', b.pool, 'worker', b.worker_id), g.value, g.unit, g.help
    FROM tasker.background_workers b
    CROSS JOIN LATERAL (VALUES
        ('tasker_executor_steps_total', b.steps::double precision, '', 'Steps run by an executor since it started.'),
        ('tasker_executor_failures_total', b.failures::double precision, '', 'Steps that failed in an executor since it started.'),
        ('tasker_executor_busy_seconds_total', b.busy_ms::double precision OPERATOR(pg_catalog./) 1000, 'seconds', 'Time an executor spent running steps.')
    ) AS g (family, value, unit, help)
    WHERE b.kind OPERATOR(pg_catalog.=) 'executor'
    UNION ALL
    SELECT 'tasker_operational_state', NULL, 'gauge', pg_catalog.jsonb_build_object('state', o.state),
           (o.state OPERATOR(pg_catalog.=) n.now)::integer::double precision, '', '1 for the operational state of the system.'
    FROM tasker_engine.operational_rules() o
    CROSS JOIN (SELECT tasker.operational_state() AS now) n
    UNION ALL
    SELECT 'tasker_metrics_start_time_seconds', NULL, 'gauge', NULL, extract(epoch FROM s.started_at)::double precision, 'seconds',
           'When the counters began, seconds since 1970.'
    FROM tasker.metrics_source s
) s;
COMMENT ON VIEW tasker.metrics IS 'Everything that is counted or measured, one sample per row, as Prometheus names them; metrics_prometheus() writes it as text. Counters count what was committed. Reading it costs a few milliseconds: ready and waiting steps are counted up to 10,000 per queue and priority. Rule: docs/metrics.md.';
COMMENT ON COLUMN tasker.metrics.name IS 'Name of the sample: the family''s, for a histogram with _bucket, _sum or _count.';
COMMENT ON COLUMN tasker.metrics.family IS 'Name of the metric.';
COMMENT ON COLUMN tasker.metrics.kind IS 'counter, gauge or histogram.';
COMMENT ON COLUMN tasker.metrics.labels IS 'Object from label to value; le of a bucket is its upper bound in seconds.';
COMMENT ON COLUMN tasker.metrics.value IS 'The number; of a bucket the values up to its bound. NULL if there is none yet.';
COMMENT ON COLUMN tasker.metrics.unit IS 'seconds, or empty for things.';
COMMENT ON COLUMN tasker.metrics.help IS 'One sentence.';

CREATE VIEW tasker.finalization_metrics AS
SELECT f.name, f.kind, f.value, f.by_reason, f.count, f.sum_seconds, f.buckets,
       tasker_engine.histogram_quantile(f.bounds, f.counts, 0.5) AS p50,
       tasker_engine.histogram_quantile(f.bounds, f.counts, 0.95) AS p95,
       tasker_engine.histogram_quantile(f.bounds, f.counts, 0.99) AS p99,
       f.help
FROM (
    SELECT c.family AS name, c.kind, c.help, pg_catalog.min(c.cell) AS place,
           pg_catalog.sum(c.amount) FILTER (WHERE c.part OPERATOR(pg_catalog.=) 'total')::bigint AS value,
           pg_catalog.jsonb_object_agg(c.labels OPERATOR(pg_catalog.->>) 'reason', c.amount)
               FILTER (WHERE c.labels OPERATOR(pg_catalog.?) 'reason') AS by_reason,
           pg_catalog.max(c.up_to_here) FILTER (WHERE c.part OPERATOR(pg_catalog.=) 'bucket')::bigint AS count,
           pg_catalog.max(c.amount) FILTER (WHERE c.part OPERATOR(pg_catalog.=) 'sum') OPERATOR(pg_catalog./) 1000000 AS sum_seconds,
           pg_catalog.jsonb_object_agg(c.labels OPERATOR(pg_catalog.->>) 'le', c.up_to_here)
               FILTER (WHERE c.part OPERATOR(pg_catalog.=) 'bucket') AS buckets,
           pg_catalog.array_agg(c.upper_bound ORDER BY c.upper_bound)
               FILTER (WHERE c.part OPERATOR(pg_catalog.=) 'bucket'
                         AND c.upper_bound OPERATOR(pg_catalog.<) 'Infinity'::double precision) AS bounds,
           pg_catalog.array_agg(c.amount ORDER BY c.upper_bound) FILTER (WHERE c.part OPERATOR(pg_catalog.=) 'bucket') AS counts
    FROM tasker_engine.counted_cells c
    WHERE pg_catalog.starts_with(c.family, 'finalization_')
    GROUP BY c.family, c.kind, c.help
) f
ORDER BY f.place;
COMMENT ON VIEW tasker.finalization_metrics IS 'The 13 metrics of finalization claims: 3 histograms and 10 counters, each moved by claim_task_for_finalization, extend_finalization_claim or release_finalization_claim when its transaction commits. A call that raises is not counted. Rule: docs/metrics.md#finalization-claims.';
COMMENT ON COLUMN tasker.finalization_metrics.name IS 'Name of the metric.';
COMMENT ON COLUMN tasker.finalization_metrics.kind IS 'counter or histogram.';
COMMENT ON COLUMN tasker.finalization_metrics.value IS 'Of a counter: how often; with reasons: their sum. NULL for a histogram.';
COMMENT ON COLUMN tasker.finalization_metrics.by_reason IS 'Of finalization_claim_contention_by_reason_total: object from already_claimed (another processor holds it), already_complete (the task is in a final state), not_ready (none of its steps has finished), race_condition (another processor got it while this call ran) and other (no such task) to how often. NULL for the others.';
COMMENT ON COLUMN tasker.finalization_metrics.count IS 'Of a histogram: how many calls. NULL for a counter.';
COMMENT ON COLUMN tasker.finalization_metrics.sum_seconds IS 'Of a histogram: the sum of their durations, seconds. NULL for a counter.';
COMMENT ON COLUMN tasker.finalization_metrics.buckets IS 'Of a histogram: object from upper bound in seconds to how many calls took at most so long. NULL for a counter.';
COMMENT ON COLUMN tasker.finalization_metrics.p50 IS 'Estimated median, seconds; NULL without calls.';
COMMENT ON COLUMN tasker.finalization_metrics.p95 IS 'Estimated time that 95 % of the calls did not exceed, seconds; NULL without calls.';
COMMENT ON COLUMN tasker.finalization_metrics.p99 IS 'The same for 99 %.';
COMMENT ON COLUMN tasker.finalization_metrics.help IS 'One sentence.';

CREATE VIEW tasker_engine.recent_claims AS
SELECT r.at, m.part, m.family, m.upper_bound, r.amount
FROM (
    SELECT s.at, s.cell, s.amount FROM tasker_engine.shared_recent() s
    UNION ALL
    SELECT t.at, u.cell::integer, u.amount
    FROM tasker_engine.metric_counts t
    CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(t.cells), pg_catalog.unnest(t.amounts)) AS u (cell, amount)
    WHERE t.worker_no OPERATOR(pg_catalog.=) 0 AND NOT t.folded
      AND t.at OPERATOR(pg_catalog.>) (tasker_engine.engine_clock() OPERATOR(pg_catalog.-) '3 minutes'::interval)
) r
JOIN tasker_engine.metric_cells() m ON m.cell OPERATOR(pg_catalog.=) r.cell AND m.recent;
COMMENT ON VIEW tasker_engine.recent_claims IS 'Attempts, contention and duration of finalization claims in the last minutes.';
COMMENT ON COLUMN tasker_engine.recent_claims.at IS 'When it was counted, or when its ten seconds end.';
COMMENT ON COLUMN tasker_engine.recent_claims.part IS 'total or bucket.';
COMMENT ON COLUMN tasker_engine.recent_claims.family IS 'Name of its metric.';
COMMENT ON COLUMN tasker_engine.recent_claims.upper_bound IS 'Of a bucket, seconds.';
COMMENT ON COLUMN tasker_engine.recent_claims.amount IS 'The count.';

-- "For two minutes" needs more than one look. Both halves of the time must be above the threshold; the newer one alone
-- is pending.
CREATE FUNCTION tasker_engine.claim_window(from_ago interval, to_ago interval)
RETURNS TABLE (attempts double precision, contention double precision, p95 double precision)
LANGUAGE sql VOLATILE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT w.attempts, w.contention, tasker_engine.histogram_quantile(w.bounds, w.counts, 0.95)
    FROM (
        SELECT pg_catalog.sum(a.amount) FILTER (WHERE a.family OPERATOR(pg_catalog.=) 'finalization_claim_attempts_total') AS attempts,
               pg_catalog.sum(a.amount) FILTER (WHERE a.family OPERATOR(pg_catalog.=) 'finalization_claim_contention_total') AS contention,
               pg_catalog.array_agg(a.upper_bound ORDER BY a.upper_bound)
                   FILTER (WHERE a.upper_bound OPERATOR(pg_catalog.<) 'Infinity'::double precision) AS bounds,
               pg_catalog.array_agg(a.amount ORDER BY a.upper_bound) FILTER (WHERE a.part OPERATOR(pg_catalog.=) 'bucket') AS counts
        FROM (
            SELECT m.family, m.part, m.upper_bound, COALESCE(pg_catalog.sum(r.amount), 0)::double precision AS amount
            FROM tasker_engine.metric_cells() m
            LEFT JOIN tasker_engine.recent_claims r
                ON r.family OPERATOR(pg_catalog.=) m.family AND r.upper_bound IS NOT DISTINCT FROM m.upper_bound
               AND r.at OPERATOR(pg_catalog.>) (tasker_engine.engine_clock() OPERATOR(pg_catalog.-) claim_window.from_ago)
               AND r.at OPERATOR(pg_catalog.<=) (tasker_engine.engine_clock() OPERATOR(pg_catalog.-) claim_window.to_ago)
            WHERE m.recent
            GROUP BY m.family, m.part, m.upper_bound
        ) a
    ) w;
END;
COMMENT ON FUNCTION tasker_engine.claim_window(interval, interval) IS 'Finalization claims of a span of the last two minutes.
from_ago: how long ago it began, exclusive.
to_ago: how long ago it ended; a negative one takes what happens meanwhile.
attempts: calls.
contention: refused ones.
p95: estimated time that 95 % did not exceed, seconds; NULL without calls.';
GRANT EXECUTE ON FUNCTION tasker_engine.claim_window(interval, interval) TO tasker_reader;

CREATE VIEW tasker.finalization_alerts AS
SELECT r.alert, 'warning' AS severity,
       CASE WHEN newer.value OPERATOR(pg_catalog.>) r.threshold AND older.value OPERATOR(pg_catalog.>) r.threshold THEN 'firing'
            WHEN newer.value OPERATOR(pg_catalog.>) r.threshold THEN 'pending'
            ELSE 'ok' END AS state,
       total.value, r.threshold, r.lasting AS "window", total.attempts::bigint AS attempts, r.help
FROM (VALUES
    ('finalization_contention', 0.5::double precision, '2 minutes'::interval,
     'More than half of the finalization claims are refused: several processors work on the same tasks.'),
    ('finalization_claim_slow', 0.5::double precision, '1 minute'::interval,
     'Finalization claims take longer than half a second: look for long transactions and locks.')
) AS r (alert, threshold, lasting, help)
CROSS JOIN LATERAL (SELECT r.lasting OPERATOR(pg_catalog./) 2 AS half) h
CROSS JOIN LATERAL (
    SELECT CASE r.alert WHEN 'finalization_contention' THEN w.contention OPERATOR(pg_catalog./) NULLIF(w.attempts, 0) ELSE w.p95 END AS value
    FROM tasker_engine.claim_window(h.half, '-1 minute'::interval) w) newer
CROSS JOIN LATERAL (
    SELECT CASE r.alert WHEN 'finalization_contention' THEN w.contention OPERATOR(pg_catalog./) NULLIF(w.attempts, 0) ELSE w.p95 END AS value
    FROM tasker_engine.claim_window(r.lasting, h.half) w) older
CROSS JOIN LATERAL (
    SELECT CASE r.alert WHEN 'finalization_contention' THEN w.contention OPERATOR(pg_catalog./) NULLIF(w.attempts, 0) ELSE w.p95 END AS value,
           w.attempts
    FROM tasker_engine.claim_window(r.lasting, '-1 minute'::interval) w) total;
COMMENT ON VIEW tasker.finalization_alerts IS 'The two alerts of finalization claims, judged by the last two minutes and the last minute, to ten seconds: firing when both halves of the window are above the threshold, pending when only the newer one is. Rule: docs/metrics.md#alerts.';
COMMENT ON COLUMN tasker.finalization_alerts.alert IS 'finalization_contention or finalization_claim_slow.';
COMMENT ON COLUMN tasker.finalization_alerts.severity IS 'warning.';
COMMENT ON COLUMN tasker.finalization_alerts.state IS 'ok, pending or firing; ok without calls.';
COMMENT ON COLUMN tasker.finalization_alerts.value IS 'Over the whole window: the refused share of the claims, or the 95th percentile of their duration in seconds; NULL without calls.';
COMMENT ON COLUMN tasker.finalization_alerts.threshold IS 'What it must exceed.';
COMMENT ON COLUMN tasker.finalization_alerts."window" IS 'How far back the view looks.';
COMMENT ON COLUMN tasker.finalization_alerts.attempts IS 'How many claims were tried in the window.';
COMMENT ON COLUMN tasker.finalization_alerts.help IS 'What it means, and where to look.';

-- ---- workers --------------------------------------------------------------------------------------------------------

CREATE VIEW tasker.worker_metrics AS
SELECT w.worker_id, w.live, COALESCE(c.claimed, 0)::bigint AS steps_claimed, COALESCE(c.completed, 0)::bigint AS steps_completed,
       COALESCE(c.failed, 0)::bigint AS steps_failed, COALESCE(c.expired, 0)::bigint AS steps_expired,
       COALESCE(c.released, 0)::bigint AS steps_released, w.last_seen_at
FROM tasker_engine.known_workers w
LEFT JOIN (
    SELECT k.worker_no,
           pg_catalog.sum(k.amount) FILTER (WHERE m.family OPERATOR(pg_catalog.=) 'tasker_steps_claimed_total') AS claimed,
           pg_catalog.sum(k.amount) FILTER (WHERE m.family OPERATOR(pg_catalog.=) 'tasker_steps_completed_total') AS completed,
           pg_catalog.sum(k.amount) FILTER (WHERE m.family OPERATOR(pg_catalog.=) 'tasker_steps_failed_total') AS failed,
           pg_catalog.sum(k.amount) FILTER (WHERE m.family OPERATOR(pg_catalog.=) 'tasker_steps_expired_total') AS expired,
           pg_catalog.sum(k.amount) FILTER (WHERE m.family OPERATOR(pg_catalog.=) 'tasker_steps_released_total') AS released
    FROM tasker_engine.counts k
    JOIN tasker_engine.metric_cells() m ON m.cell OPERATOR(pg_catalog.=) k.cell
    WHERE k.worker_no OPERATOR(pg_catalog.>) 0
    GROUP BY k.worker_no
) c ON c.worker_no OPERATOR(pg_catalog.=) w.worker_no;
COMMENT ON VIEW tasker.worker_metrics IS 'What each worker did since the counters began. In shared memory there is room for about a thousand workers of a server: who has been silent longest loses its counts.';
COMMENT ON COLUMN tasker.worker_metrics.worker_id IS 'Under which it claims.';
COMMENT ON COLUMN tasker.worker_metrics.live IS 'Whether it was seen in the last 2 minutes, waits idle or holds a lease.';
COMMENT ON COLUMN tasker.worker_metrics.steps_claimed IS 'Steps handed out to it.';
COMMENT ON COLUMN tasker.worker_metrics.steps_completed IS 'Steps it completed.';
COMMENT ON COLUMN tasker.worker_metrics.steps_failed IS 'Runs it reported as failed.';
COMMENT ON COLUMN tasker.worker_metrics.steps_expired IS 'Runs that were taken from it: its lease had ended, or the timeout of the step.';
COMMENT ON COLUMN tasker.worker_metrics.steps_released IS 'Steps it gave back.';
COMMENT ON COLUMN tasker.worker_metrics.last_seen_at IS 'When it was last seen, to ten seconds.';

-- ---- for metrics_prometheus: what it adds on demand -----------------------------------------------------------------

CREATE VIEW tasker_engine.worker_samples AS
SELECT 'tasker_worker_steps_total' AS name, 'tasker_worker_steps_total' AS family, 'counter' AS kind,
       pg_catalog.jsonb_build_object('worker', w.worker_id, 'outcome', o.outcome) AS labels,
       o.amount::double precision AS value, '' AS unit, 'Steps of a live worker by what became of them.' AS help
FROM tasker.worker_metrics w
CROSS JOIN LATERAL (VALUES
    ('claimed', w.steps_claimed), ('completed', w.steps_completed), ('failed', w.steps_failed),
    ('expired', w.steps_expired), ('released', w.steps_released)
) AS o (outcome, amount)
WHERE w.live;
COMMENT ON VIEW tasker_engine.worker_samples IS 'Samples per live worker; as tasker.metrics.';
COMMENT ON COLUMN tasker_engine.worker_samples.name IS 'As in tasker.metrics.';
COMMENT ON COLUMN tasker_engine.worker_samples.family IS 'As in tasker.metrics.';
COMMENT ON COLUMN tasker_engine.worker_samples.kind IS 'As in tasker.metrics.';
COMMENT ON COLUMN tasker_engine.worker_samples.labels IS 'As in tasker.metrics.';
COMMENT ON COLUMN tasker_engine.worker_samples.value IS 'As in tasker.metrics.';
COMMENT ON COLUMN tasker_engine.worker_samples.unit IS 'As in tasker.metrics.';
COMMENT ON COLUMN tasker_engine.worker_samples.help IS 'As in tasker.metrics.';

CREATE VIEW tasker_engine.state_samples AS
SELECT s.family AS name, s.family, 'gauge' AS kind, pg_catalog.jsonb_build_object('state', s.state) AS labels,
       s.amount::double precision AS value, '' AS unit, s.help
FROM tasker.get_system_health_counts() c
CROSS JOIN LATERAL (VALUES
    ('tasker_tasks', 'pending', c.pending_tasks, 'Stored tasks by state.'),
    ('tasker_tasks', 'in_progress', c.in_progress_tasks, 'Stored tasks by state.'),
    ('tasker_tasks', 'complete', c.complete_tasks, 'Stored tasks by state.'),
    ('tasker_tasks', 'error', c.error_tasks, 'Stored tasks by state.'),
    ('tasker_tasks', 'cancelled', c.cancelled_tasks, 'Stored tasks by state.'),
    ('tasker_tasks', 'resolved_manually', c.resolved_manually_tasks, 'Stored tasks by state.'),
    ('tasker_steps', 'pending', c.pending_steps, 'Stored steps by state.'),
    ('tasker_steps', 'in_progress', c.in_progress_steps, 'Stored steps by state.'),
    ('tasker_steps', 'complete', c.complete_steps, 'Stored steps by state.'),
    ('tasker_steps', 'error', c.error_steps, 'Stored steps by state.'),
    ('tasker_steps', 'cancelled', c.cancelled_steps, 'Stored steps by state.'),
    ('tasker_steps', 'resolved_manually', c.resolved_manually_steps, 'Stored steps by state.')
) AS s (family, state, amount, help);
COMMENT ON VIEW tasker_engine.state_samples IS 'Samples that read every task and step; as tasker.metrics.';
COMMENT ON COLUMN tasker_engine.state_samples.name IS 'As in tasker.metrics.';
COMMENT ON COLUMN tasker_engine.state_samples.family IS 'As in tasker.metrics.';
COMMENT ON COLUMN tasker_engine.state_samples.kind IS 'As in tasker.metrics.';
COMMENT ON COLUMN tasker_engine.state_samples.labels IS 'As in tasker.metrics.';
COMMENT ON COLUMN tasker_engine.state_samples.value IS 'As in tasker.metrics.';
COMMENT ON COLUMN tasker_engine.state_samples.unit IS 'As in tasker.metrics.';
COMMENT ON COLUMN tasker_engine.state_samples.help IS 'As in tasker.metrics.';

CREATE FUNCTION tasker.metrics_prometheus(with_workers boolean DEFAULT false, with_states boolean DEFAULT false)
RETURNS text AS 'MODULE_PATHNAME', 'metrics_prometheus' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET jit = off SET extra_float_digits = 1;
COMMENT ON FUNCTION tasker.metrics_prometheus(boolean, boolean) IS 'tasker.metrics as text for Prometheus (exposition format 0.0.4), for an exporter that runs one query. 22004 for NULL. Rule: docs/metrics.md#prometheus.
with_workers: adds tasker_worker_steps_total of each live worker; as each start of a worker has another worker_id, series come and go.
with_states: adds tasker_tasks and tasker_steps by state, which reads every stored task and step: ask seldom where there are millions.';
GRANT EXECUTE ON FUNCTION tasker.metrics_prometheus(boolean, boolean) TO tasker_reader;

CREATE FUNCTION tasker.reset_metrics() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM tasker_engine.metric_counts;
    PERFORM tasker_engine.reset_shared_counts();
END
$$;
COMMENT ON FUNCTION tasker.reset_metrics() IS 'Sets every counter and histogram of this database to zero, those of finalization claims and of workers included; what maintenance_duties counts stays. In shared memory at once, whatever becomes of the transaction.';
GRANT EXECUTE ON FUNCTION tasker.reset_metrics() TO tasker_admin;

-- ---- maintenance ----------------------------------------------------------------------------------------------------

-- Rows of the last minutes stay for the alerts. Counts of workers that are no longer known go.
CREATE FUNCTION tasker_engine.duty_metrics() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old_enough CONSTANT timestamptz := pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) '5 minutes'::interval;
    amount bigint;
BEGIN
    SELECT pg_catalog.count(*) INTO amount
    FROM (SELECT FROM tasker_engine.metric_counts m WHERE NOT m.folded AND m.at OPERATOR(pg_catalog.<) old_enough LIMIT 100) old;
    IF amount OPERATOR(pg_catalog.<) 100 THEN
        RETURN 0;
    END IF;
    WITH gone AS (
        DELETE FROM tasker_engine.metric_counts m
        WHERE m.ctid OPERATOR(pg_catalog.=) ANY (ARRAY(
            SELECT o.ctid FROM tasker_engine.metric_counts o
            WHERE o.at OPERATOR(pg_catalog.<) old_enough FOR UPDATE SKIP LOCKED))
        RETURNING m.at, m.worker_no, m.folded, m.cells, m.amounts
    ), summed AS (
        SELECT g.worker_no, u.cell, pg_catalog.sum(u.amount)::bigint AS amount
        FROM gone g
        CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(g.cells), pg_catalog.unnest(g.amounts)) AS u (cell, amount)
        WHERE g.worker_no OPERATOR(pg_catalog.=) 0
           OR EXISTS (SELECT FROM tasker_engine.workers w WHERE w.worker_no OPERATOR(pg_catalog.=) g.worker_no)
        GROUP BY g.worker_no, u.cell
    ), kept AS (
        INSERT INTO tasker_engine.metric_counts (at, worker_no, folded, cells, amounts)
        SELECT (SELECT pg_catalog.min(g.at) FROM gone g), s.worker_no, true,
               pg_catalog.array_agg(s.cell ORDER BY s.cell), pg_catalog.array_agg(s.amount ORDER BY s.cell)
        FROM summed s
        GROUP BY s.worker_no
    )
    SELECT pg_catalog.count(*) INTO amount FROM gone g WHERE NOT g.folded;
    RETURN amount;
END
$$;
COMMENT ON FUNCTION tasker_engine.duty_metrics() IS 'Folds the rows of counts that are older than 5 minutes into one per worker, once there are a hundred; how many went.';
