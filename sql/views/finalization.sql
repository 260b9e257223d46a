-- Metrics and alerts of finalization claims.

CREATE OR REPLACE VIEW tasker.finalization_metrics AS
SELECT f.name, f.kind, f.value, f.by_reason, f.count, f.sum_seconds, f.buckets,
       tasker_engine.histogram_quantile(f.bounds, f.counts, 0.5) AS p50,
       tasker_engine.histogram_quantile(f.bounds, f.counts, 0.95) AS p95,
       tasker_engine.histogram_quantile(f.bounds, f.counts, 0.99) AS p99,
       f.help
FROM (
    SELECT c.family AS name, c.kind, c.help, min(c.cell) AS place,
           sum(c.amount) FILTER (WHERE c.part = 'total')::bigint AS value,
           jsonb_object_agg(c.labels ->> 'reason', c.amount)
               FILTER (WHERE c.labels ? 'reason') AS by_reason,
           max(c.up_to_here) FILTER (WHERE c.part = 'bucket')::bigint AS count,
           max(c.amount) FILTER (WHERE c.part = 'sum') / 1000000 AS sum_seconds,
           jsonb_object_agg(c.labels ->> 'le', c.up_to_here)
               FILTER (WHERE c.part = 'bucket') AS buckets,
           array_agg(c.upper_bound ORDER BY c.upper_bound)
               FILTER (WHERE c.part = 'bucket'
                         AND c.upper_bound < 'Infinity'::double precision) AS bounds,
           array_agg(c.amount ORDER BY c.upper_bound) FILTER (WHERE c.part = 'bucket') AS counts
    FROM tasker_engine.counted_cells c
    WHERE starts_with(c.family, 'finalization_')
    GROUP BY c.family, c.kind, c.help
) f
ORDER BY f.place;
COMMENT ON VIEW tasker.finalization_metrics IS 'The 13 metrics of finalization claims: 3 histograms and 10 counters, each moved by claim_task_for_finalization, extend_finalization_claim or release_finalization_claim when its transaction commits. A call that raises is not counted. Rule: docs/metrics.md#finalization-claims.';
COMMENT ON COLUMN tasker.finalization_metrics.name IS 'Name of the metric.';
COMMENT ON COLUMN tasker.finalization_metrics.kind IS 'counter or histogram.';
COMMENT ON COLUMN tasker.finalization_metrics.value IS 'The count of a counter, or the sum over its reasons. NULL for a histogram.';
COMMENT ON COLUMN tasker.finalization_metrics.by_reason IS 'Of finalization_claim_contention_by_reason_total: object from already_claimed (another processor holds it), already_complete (the task is in a final state), not_ready (none of its steps has finished), race_condition (another processor got it while this call ran) and other (no such task) to how often. NULL for the others.';
COMMENT ON COLUMN tasker.finalization_metrics.count IS 'Number of calls in a histogram. NULL for a counter.';
COMMENT ON COLUMN tasker.finalization_metrics.sum_seconds IS 'Sum of the durations in a histogram, seconds. NULL for a counter.';
COMMENT ON COLUMN tasker.finalization_metrics.buckets IS 'Of a histogram: object from upper bound in seconds to the number of calls that took no longer. NULL for a counter.';
COMMENT ON COLUMN tasker.finalization_metrics.p50 IS 'Estimated median, seconds; NULL without calls.';
COMMENT ON COLUMN tasker.finalization_metrics.p95 IS 'Estimated time that 95 % of the calls did not exceed, seconds; NULL without calls.';
COMMENT ON COLUMN tasker.finalization_metrics.p99 IS 'The same for 99 %.';
COMMENT ON COLUMN tasker.finalization_metrics.help IS 'One sentence.';
GRANT SELECT ON tasker.finalization_metrics TO tasker_reader;

CREATE OR REPLACE VIEW tasker_engine.recent_claims AS
SELECT r.at, m.part, m.family, m.upper_bound, r.amount
FROM (
    SELECT s.at, s.cell, s.amount FROM tasker_engine.shared_recent() s
    UNION ALL
    SELECT t.at, u.cell::integer, u.amount
    FROM tasker_engine.metric_counts t
    CROSS JOIN LATERAL ROWS FROM (unnest(t.cells), unnest(t.amounts)) AS u (cell, amount)
    WHERE t.worker_no = 0 AND NOT t.folded
      AND t.at > (tasker_engine.engine_clock() - '3 minutes'::interval)
) r
JOIN tasker_engine.metric_cells() m ON m.cell = r.cell AND m.recent;
COMMENT ON VIEW tasker_engine.recent_claims IS 'Attempts, contention and duration of finalization claims in the last minutes.';
COMMENT ON COLUMN tasker_engine.recent_claims.at IS 'When it was counted, or when its ten seconds end.';
COMMENT ON COLUMN tasker_engine.recent_claims.part IS 'total or bucket.';
COMMENT ON COLUMN tasker_engine.recent_claims.family IS 'Name of its metric.';
COMMENT ON COLUMN tasker_engine.recent_claims.upper_bound IS 'Of a bucket, seconds.';
COMMENT ON COLUMN tasker_engine.recent_claims.amount IS 'The count.';

-- "For two minutes" needs more than one look. Both halves of the time must be above the threshold; the newer one alone
-- is pending.
CREATE OR REPLACE FUNCTION tasker_engine.claim_window(from_ago interval, to_ago interval)
RETURNS TABLE (attempts double precision, contention double precision, p95 double precision)
LANGUAGE sql VOLATILE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT w.attempts, w.contention, tasker_engine.histogram_quantile(w.bounds, w.counts, 0.95)
    FROM (
        SELECT sum(a.amount) FILTER (WHERE a.family = 'finalization_claim_attempts_total') AS attempts,
               sum(a.amount) FILTER (WHERE a.family = 'finalization_claim_contention_total') AS contention,
               array_agg(a.upper_bound ORDER BY a.upper_bound)
                   FILTER (WHERE a.upper_bound < 'Infinity'::double precision) AS bounds,
               array_agg(a.amount ORDER BY a.upper_bound) FILTER (WHERE a.part = 'bucket') AS counts
        FROM (
            SELECT m.family, m.part, m.upper_bound, COALESCE(sum(r.amount), 0)::double precision AS amount
            FROM tasker_engine.metric_cells() m
            LEFT JOIN tasker_engine.recent_claims r
                ON r.family = m.family AND r.upper_bound IS NOT DISTINCT FROM m.upper_bound
               AND r.at > (tasker_engine.engine_clock() - claim_window.from_ago)
               AND r.at <= (tasker_engine.engine_clock() - claim_window.to_ago)
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

CREATE OR REPLACE VIEW tasker.finalization_alerts AS
SELECT r.alert, 'warning' AS severity,
       CASE WHEN newer.value > r.threshold AND older.value > r.threshold THEN 'firing'
            WHEN newer.value > r.threshold THEN 'pending'
            ELSE 'ok' END AS state,
       total.value, r.threshold, r.lasting AS "window", total.attempts::bigint AS attempts, r.help
FROM (VALUES
    ('finalization_contention', 0.5::double precision, '2 minutes'::interval,
     'More than half of the finalization claims are refused: several processors work on the same tasks.'),
    ('finalization_claim_slow', 0.5::double precision, '1 minute'::interval,
     'Finalization claims take longer than half a second: look for long transactions and locks.')
) AS r (alert, threshold, lasting, help)
CROSS JOIN LATERAL (SELECT r.lasting / 2 AS half) h
CROSS JOIN LATERAL (
    SELECT CASE r.alert WHEN 'finalization_contention' THEN w.contention / NULLIF(w.attempts, 0) ELSE w.p95 END AS value
    FROM tasker_engine.claim_window(h.half, '-1 minute'::interval) w) newer
CROSS JOIN LATERAL (
    SELECT CASE r.alert WHEN 'finalization_contention' THEN w.contention / NULLIF(w.attempts, 0) ELSE w.p95 END AS value
    FROM tasker_engine.claim_window(r.lasting, h.half) w) older
CROSS JOIN LATERAL (
    SELECT CASE r.alert WHEN 'finalization_contention' THEN w.contention / NULLIF(w.attempts, 0) ELSE w.p95 END AS value,
           w.attempts
    FROM tasker_engine.claim_window(r.lasting, '-1 minute'::interval) w) total;
COMMENT ON VIEW tasker.finalization_alerts IS 'The two alerts of finalization claims, judged by the last two minutes and the last minute, to ten seconds: firing when both halves of the window are above the threshold, pending when only the newer one is. Rule: docs/metrics.md#alerts.';
COMMENT ON COLUMN tasker.finalization_alerts.alert IS 'finalization_contention or finalization_claim_slow.';
COMMENT ON COLUMN tasker.finalization_alerts.severity IS 'warning.';
COMMENT ON COLUMN tasker.finalization_alerts.state IS 'ok, pending or firing; ok without calls.';
COMMENT ON COLUMN tasker.finalization_alerts.value IS 'Over the whole window: the refused share of the claims, or the 95th percentile of their duration in seconds; NULL without calls.';
COMMENT ON COLUMN tasker.finalization_alerts.threshold IS 'What it must exceed.';
COMMENT ON COLUMN tasker.finalization_alerts."window" IS 'The span of time that the view looks at.';
COMMENT ON COLUMN tasker.finalization_alerts.attempts IS 'Number of claims tried in the window.';
COMMENT ON COLUMN tasker.finalization_alerts.help IS 'What it means, and where to look.';
GRANT SELECT ON tasker.finalization_alerts TO tasker_reader;
