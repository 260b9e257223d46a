-- Counters, and gauges that are counted when they are read.

CREATE OR REPLACE VIEW tasker_engine.counts AS
SELECT c.worker_no, c.cell, sum(c.amount)::double precision AS amount
FROM (
    SELECT s.worker_no, s.cell, s.amount FROM tasker_engine.shared_counts() s
    UNION ALL
    SELECT m.worker_no, u.cell::integer, u.amount
    FROM tasker_engine.metric_counts m
    CROSS JOIN LATERAL ROWS FROM (unnest(m.cells), unnest(m.amounts)) AS u (cell, amount)
) c
GROUP BY c.worker_no, c.cell;
COMMENT ON VIEW tasker_engine.counts IS 'Everything counted, per worker and cell; worker 0 is the engine.';
COMMENT ON COLUMN tasker_engine.counts.worker_no IS 'Number of the worker; 0 for the engine.';
COMMENT ON COLUMN tasker_engine.counts.cell IS 'As in metric_cells().';
COMMENT ON COLUMN tasker_engine.counts.amount IS 'The count; of a sum, microseconds.';

CREATE OR REPLACE VIEW tasker_engine.counted_cells AS
SELECT m.cell, m.family, m.kind, m.part, m.upper_bound, m.labels, m.unit, m.help,
       COALESCE(c.amount, 0) AS amount,
       sum(COALESCE(c.amount, 0)) OVER (PARTITION BY m.family, m.part ORDER BY m.upper_bound) AS up_to_here
FROM tasker_engine.metric_cells() m
LEFT JOIN tasker_engine.counts c
    ON c.worker_no = 0 AND c.cell = m.cell;
COMMENT ON VIEW tasker_engine.counted_cells IS 'Every number of the engine, zeros included.';
COMMENT ON COLUMN tasker_engine.counted_cells.cell IS 'As in metric_cells().';
COMMENT ON COLUMN tasker_engine.counted_cells.family IS 'Name of its metric.';
COMMENT ON COLUMN tasker_engine.counted_cells.kind IS 'counter or histogram.';
COMMENT ON COLUMN tasker_engine.counted_cells.part IS 'total, bucket or sum.';
COMMENT ON COLUMN tasker_engine.counted_cells.upper_bound IS 'Of a bucket, seconds.';
COMMENT ON COLUMN tasker_engine.counted_cells.labels IS 'The labels that distinguish it from others of its metric.';
COMMENT ON COLUMN tasker_engine.counted_cells.unit IS 'seconds, or empty for things.';
COMMENT ON COLUMN tasker_engine.counted_cells.help IS 'One sentence.';
COMMENT ON COLUMN tasker_engine.counted_cells.amount IS 'The count; of a bucket, of its own values only.';
COMMENT ON COLUMN tasker_engine.counted_cells.up_to_here IS 'Of a bucket: the values in it and in all lower ones.';

CREATE OR REPLACE VIEW tasker_engine.labelled_counts AS
SELECT c.named_task_id, c.step_no, c.error_class, c.cell, sum(c.amount)::double precision AS amount
FROM (
    SELECT s.named_task_id, s.step_no, s.error_class, s.cell, s.amount FROM tasker_engine.shared_series() s
    UNION ALL
    SELECT u.named_task_id, u.step_no, u.error_class, u.cell::integer, u.amount
    FROM tasker_engine.series_counts m
    CROSS JOIN LATERAL ROWS FROM (
        unnest(m.named_task_ids), unnest(m.step_nos), unnest(m.error_classes), unnest(m.cells), unnest(m.amounts))
        AS u (named_task_id, step_no, error_class, cell, amount)
    WHERE u.cell >= 0
) c
GROUP BY c.named_task_id, c.step_no, c.error_class, c.cell;
COMMENT ON VIEW tasker_engine.labelled_counts IS 'Everything counted by labels.';
COMMENT ON COLUMN tasker_engine.labelled_counts.named_task_id IS 'The template; 0: all labels are other.';
COMMENT ON COLUMN tasker_engine.labelled_counts.step_no IS 'The step; 0: it is about tasks.';
COMMENT ON COLUMN tasker_engine.labelled_counts.error_class IS 'The error class, if it is about failures.';
COMMENT ON COLUMN tasker_engine.labelled_counts.cell IS 'As in labelled_metric_cells().';
COMMENT ON COLUMN tasker_engine.labelled_counts.amount IS 'The count; of a sum, microseconds.';

-- A histogram has all its buckets, a counter only what it has counted.
CREATE OR REPLACE VIEW tasker_engine.labelled_samples AS
WITH named AS MATERIALIZED (
    SELECT m.family, l.labels, c.cell, sum(c.amount) AS amount
    FROM tasker_engine.labelled_counts c
    JOIN tasker_engine.labelled_metric_cells() m ON m.cell = c.cell
    LEFT JOIN tasker.named_tasks t ON t.named_task_id = c.named_task_id
    LEFT JOIN tasker.task_namespaces n ON n.task_namespace_id = t.task_namespace_id
    LEFT JOIN tasker.named_tasks_named_steps s ON s.named_task_id = c.named_task_id AND s.step_no = c.step_no
    CROSS JOIN LATERAL (
        SELECT jsonb_build_object('namespace', COALESCE(n.name, 'other'), 'template', COALESCE(t.name, 'other'),
                                  'version', COALESCE(t.version, 'other'))
               || CASE WHEN m.scope = 'template' THEN '{}' ELSE jsonb_build_object('step', COALESCE(s.name, 'other')) END
               || CASE WHEN m.scope = 'class' THEN jsonb_build_object('error_class', c.error_class) ELSE '{}' END
    ) AS l (labels)
    GROUP BY m.family, l.labels, c.cell
), cells AS (
    SELECT m.family, m.kind, m.part, m.upper_bound, m.unit, m.help, f.labels, COALESCE(d.amount, 0) AS amount,
           sum(COALESCE(d.amount, 0)) OVER (PARTITION BY m.family, f.labels, m.part ORDER BY m.upper_bound) AS up_to_here
    FROM (SELECT DISTINCT d.family, d.labels FROM named d) f
    JOIN tasker_engine.labelled_metric_cells() m ON m.family = f.family
    LEFT JOIN named d ON d.cell = m.cell AND d.labels = f.labels
)
SELECT c.family, p.suffix, c.kind, c.labels || p.labels AS labels, p.value, c.unit, c.help
FROM cells c
CROSS JOIN LATERAL (
    SELECT NULL, '{}'::jsonb, c.amount WHERE c.part = 'total'
    UNION ALL
    SELECT '_bucket', jsonb_build_object('le', CASE WHEN c.upper_bound = 'Infinity' THEN '+Inf' ELSE c.upper_bound::text END), c.up_to_here
    WHERE c.part = 'bucket'
    UNION ALL
    SELECT '_count', '{}', c.up_to_here WHERE c.upper_bound = 'Infinity'::double precision
    UNION ALL
    SELECT '_sum', '{}', c.amount / 1000000 WHERE c.part = 'sum'
) AS p (suffix, labels, value);
COMMENT ON VIEW tasker_engine.labelled_samples IS 'Samples by namespace, template, version, step and error class.';
COMMENT ON COLUMN tasker_engine.labelled_samples.family IS 'As in tasker.metrics.';
COMMENT ON COLUMN tasker_engine.labelled_samples.suffix IS 'What the name of the sample has behind that of the metric, if anything.';
COMMENT ON COLUMN tasker_engine.labelled_samples.kind IS 'As in tasker.metrics.';
COMMENT ON COLUMN tasker_engine.labelled_samples.labels IS 'As in tasker.metrics.';
COMMENT ON COLUMN tasker_engine.labelled_samples.value IS 'As in tasker.metrics.';
COMMENT ON COLUMN tasker_engine.labelled_samples.unit IS 'As in tasker.metrics.';
COMMENT ON COLUMN tasker_engine.labelled_samples.help IS 'As in tasker.metrics.';

-- The first entries of each level of a queue, in the order of its index: what lies far behind them costs nothing.
CREATE OR REPLACE VIEW tasker_engine.queue_depths AS
SELECT n.name AS namespace_name, q.name AS queue, q.paused, d.ready, d.waiting, d.oldest_at
FROM tasker_engine.queues q
JOIN tasker.task_namespaces n ON n.task_namespace_id = q.task_namespace_id
CROSS JOIN LATERAL (
    SELECT sum(l.ready) AS ready, sum(l.waiting) AS waiting, min(l.oldest_at) AS oldest_at
    FROM (VALUES (4::smallint), (3::smallint), (2::smallint), (1::smallint)) AS p (priority)
    CROSS JOIN LATERAL (
        SELECT (SELECT count(*)
                FROM (SELECT FROM tasker_engine.queue_entries r
                      WHERE r.queue_id = q.queue_id AND r.priority = p.priority
                        AND r.available_at <= tasker_engine.engine_clock()
                      ORDER BY r.available_at LIMIT 10000) due) AS ready,
               (SELECT count(*)
                FROM (SELECT FROM tasker_engine.queue_entries r
                      WHERE r.queue_id = q.queue_id AND r.priority = p.priority
                        AND r.available_at > tasker_engine.engine_clock()
                      ORDER BY r.available_at LIMIT 10000) later) AS waiting,
               (SELECT r.available_at
                FROM tasker_engine.queue_entries r
                WHERE r.queue_id = q.queue_id AND r.priority = p.priority
                  AND r.available_at <= tasker_engine.engine_clock()
                ORDER BY r.available_at LIMIT 1) AS oldest_at
    ) l
) d;
COMMENT ON VIEW tasker_engine.queue_depths IS 'The length of each queue; at most 10,000 are counted per priority, ready and waiting each.';
COMMENT ON COLUMN tasker_engine.queue_depths.namespace_name IS 'Namespace of the queue.';
COMMENT ON COLUMN tasker_engine.queue_depths.queue IS 'Its name.';
COMMENT ON COLUMN tasker_engine.queue_depths.paused IS 'Whether its namespace is paused.';
COMMENT ON COLUMN tasker_engine.queue_depths.ready IS 'Entries that are due.';
COMMENT ON COLUMN tasker_engine.queue_depths.waiting IS 'Entries that are due later.';
COMMENT ON COLUMN tasker_engine.queue_depths.oldest_at IS 'When the oldest due entry became due; NULL if none is due.';

CREATE OR REPLACE VIEW tasker_engine.claim_depths AS
SELECT COALESCE(sum(h.held), 0) AS running_steps,
       count(*) FILTER (WHERE h.held > 0) AS claims,
       count(*) FILTER (WHERE h.held > 0
                                     AND h.lease_expires_at <= tasker_engine.engine_clock()) AS stale_claims
FROM (
    SELECT c.lease_expires_at,
           (SELECT count(*)
            FROM ROWS FROM (unnest(c.task_uuids), unnest(c.step_nos)) AS u (task_uuid, step_no)
            JOIN tasker_engine.steps s
                ON s.task_uuid = u.task_uuid AND s.step_no = u.step_no
            WHERE s.claim_id = c.claim_id AND s.state = 'i') AS held
    FROM tasker_engine.claims c
) h;
COMMENT ON VIEW tasker_engine.claim_depths IS 'What workers hold now; one row.';
COMMENT ON COLUMN tasker_engine.claim_depths.running_steps IS 'Steps in progress under a claim.';
COMMENT ON COLUMN tasker_engine.claim_depths.claims IS 'Claims that hold such a step.';
COMMENT ON COLUMN tasker_engine.claim_depths.stale_claims IS 'Of these, the claims whose lease has ended.';

CREATE OR REPLACE VIEW tasker.metrics_source AS
SELECT CASE WHEN s.preloaded THEN 'shared memory' ELSE 'table' END AS source,
       COALESCE(s.since, (SELECT min(m.at) FROM tasker_engine.metric_counts m)) AS started_at
FROM tasker_engine.shared_since() s;
COMMENT ON VIEW tasker.metrics_source IS 'Where the counters are kept, and when they began. In shared memory they begin again at zero when the server starts, also after a crash of one of its processes, as Prometheus expects of counters. One row.';
COMMENT ON COLUMN tasker.metrics_source.source IS 'shared memory with shared_preload_libraries, else table: then what a backend counts can be seen at most ten seconds of work later.';
COMMENT ON COLUMN tasker.metrics_source.started_at IS 'When the counters began: the first count since the server started, the extension was created, or reset_metrics; NULL if nothing was counted yet.';
GRANT SELECT ON tasker.metrics_source TO tasker_reader;

CREATE OR REPLACE VIEW tasker.metrics AS
SELECT COALESCE(s.family || s.suffix, s.family) AS name, s.family, s.kind,
       COALESCE(s.labels, '{}') AS labels, s.value, s.unit, s.help
FROM (
    SELECT c.family, NULL AS suffix, c.kind, c.labels, c.amount AS value, c.unit, c.help
    FROM tasker_engine.counted_cells c WHERE c.part = 'total'
    UNION ALL
    SELECT c.family, p.suffix, c.kind, p.labels, p.value, c.unit, c.help
    FROM tasker_engine.counted_cells c
    CROSS JOIN LATERAL (
        SELECT '_bucket', c.labels, c.up_to_here WHERE c.part = 'bucket'
        UNION ALL
        SELECT '_count', NULL, c.up_to_here WHERE c.upper_bound = 'Infinity'::double precision
        UNION ALL
        SELECT '_sum', NULL, c.amount / 1000000 WHERE c.part = 'sum'
    ) AS p (suffix, labels, value)
    UNION ALL
    SELECT l.family, l.suffix, l.kind, l.labels, l.value, l.unit, l.help
    FROM tasker_engine.labelled_samples l
    UNION ALL
    SELECT 'tasker_metric_series', NULL, 'gauge', NULL,
           CASE s.source
               WHEN 'table' THEN (SELECT count(DISTINCT (c.named_task_id, c.step_no, c.error_class))
                                  FROM tasker_engine.labelled_counts c WHERE c.named_task_id <> 0)
               ELSE tasker_engine.shared_series_used()
           END::double precision, '', 'Series with labels; in shared memory, of all databases of the server.'
    FROM tasker.metrics_source s
    UNION ALL
    SELECT g.family, NULL, 'gauge', jsonb_build_object('namespace', q.namespace_name, 'queue', q.queue), g.value, g.unit, g.help
    FROM tasker_engine.queue_depths q
    CROSS JOIN LATERAL (VALUES
        ('tasker_ready_steps', q.ready::double precision, '', 'Steps that a claim could take now; at most 10000 are counted per priority.'),
        ('tasker_waiting_steps', q.waiting::double precision, '', 'Steps that are due later: backoff and run_at; at most 10000 are counted per priority.'),
        ('tasker_oldest_ready_seconds',
         COALESCE(extract(epoch FROM tasker_engine.engine_clock() - q.oldest_at), 0)::double precision, 'seconds',
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
    SELECT 'tasker_live_workers', NULL, 'gauge', NULL, count(*)::double precision, '',
           'Workers that were seen in the last 2 minutes, wait idle or hold a lease.'
    FROM tasker_engine.live_workers w
    UNION ALL
    SELECT g.family, NULL, 'counter', jsonb_build_object('duty', d.duty), g.value, '', g.help
    FROM tasker_engine.duties() d
    LEFT JOIN tasker_engine.duty_runs r ON r.duty = d.duty
    CROSS JOIN LATERAL (VALUES
        ('tasker_maintenance_done_total', COALESCE(r.total_done, 0)::double precision, 'Things that duties of maintenance did.'),
        ('tasker_maintenance_failures_total', COALESCE(r.failures, 0)::double precision, 'How often duties of maintenance failed.')
    ) AS g (family, value, help)
    UNION ALL
    SELECT 'tasker_pool_executors', NULL, 'gauge', jsonb_build_object('pool', p.name, 'state', e.state), e.amount, '',
           'Executors by pool and state.'
    FROM tasker.executor_pools p
    CROSS JOIN LATERAL (VALUES
        ('idle', p.idle::double precision), ('busy', p.busy::double precision), ('draining', p.draining::double precision)
    ) AS e (state, amount)
    UNION ALL
    SELECT 'tasker_pool_desired_executors', NULL, 'gauge', jsonb_build_object('pool', p.name), p.desired_executors::double precision, '',
           'Executors that the pool is to have.'
    FROM tasker.executor_pools p
    UNION ALL
    SELECT g.family, NULL, 'counter', jsonb_build_object('pool', b.pool, 'worker', b.worker_id), g.value, g.unit, g.help
    FROM tasker.background_workers b
    CROSS JOIN LATERAL (VALUES
        ('tasker_executor_steps_total', b.steps::double precision, '', 'Steps run by an executor since it started.'),
        ('tasker_executor_failures_total', b.failures::double precision, '', 'Steps that failed in an executor since it started.'),
        ('tasker_executor_busy_seconds_total', b.busy_ms::double precision / 1000, 'seconds', 'Time an executor spent running steps.')
    ) AS g (family, value, unit, help)
    WHERE b.kind = 'executor'
    UNION ALL
    SELECT 'tasker_coordinator_running', NULL, 'gauge', NULL, tasker_engine.has_coordinator()::integer::double precision, '',
           '1 while a coordinator is at work in this database; not there without preload and on a standby.'
    FROM tasker_engine.shared_since() s
    WHERE s.preloaded AND NOT pg_is_in_recovery()
    UNION ALL
    SELECT 'tasker_operational_state', NULL, 'gauge', jsonb_build_object('state', o.state),
           (o.state = n.now)::integer::double precision, '', '1 for the operational state of the system.'
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
GRANT SELECT ON tasker.metrics TO tasker_reader;

CREATE OR REPLACE VIEW tasker.worker_metrics AS
SELECT w.worker_id, w.live, COALESCE(c.claimed, 0)::bigint AS steps_claimed, COALESCE(c.completed, 0)::bigint AS steps_completed,
       COALESCE(c.failed, 0)::bigint AS steps_failed, COALESCE(c.expired, 0)::bigint AS steps_expired,
       COALESCE(c.released, 0)::bigint AS steps_released, w.last_seen_at
FROM tasker_engine.known_workers w
LEFT JOIN (
    SELECT k.worker_no,
           sum(k.amount) FILTER (WHERE m.family = 'tasker_steps_claimed_total') AS claimed,
           sum(k.amount) FILTER (WHERE m.family = 'tasker_steps_completed_total') AS completed,
           sum(k.amount) FILTER (WHERE m.family = 'tasker_steps_failed_total') AS failed,
           sum(k.amount) FILTER (WHERE m.family = 'tasker_steps_expired_total') AS expired,
           sum(k.amount) FILTER (WHERE m.family = 'tasker_steps_released_total') AS released
    FROM tasker_engine.counts k
    JOIN tasker_engine.metric_cells() m ON m.cell = k.cell
    WHERE k.worker_no > 0
    GROUP BY k.worker_no
) c ON c.worker_no = w.worker_no;
COMMENT ON VIEW tasker.worker_metrics IS 'What each worker did since the counters began. In shared memory there is room for about a thousand workers of a server: the worker that has been silent longest loses its counts.';
COMMENT ON COLUMN tasker.worker_metrics.worker_id IS 'The id under which it claims.';
COMMENT ON COLUMN tasker.worker_metrics.live IS 'Whether it was seen in the last 2 minutes, waits idle or holds a lease.';
COMMENT ON COLUMN tasker.worker_metrics.steps_claimed IS 'Steps handed out to it.';
COMMENT ON COLUMN tasker.worker_metrics.steps_completed IS 'Steps it completed.';
COMMENT ON COLUMN tasker.worker_metrics.steps_failed IS 'Runs it reported as failed.';
COMMENT ON COLUMN tasker.worker_metrics.steps_expired IS 'Runs that were taken from it: its lease had ended, or the timeout of the step.';
COMMENT ON COLUMN tasker.worker_metrics.steps_released IS 'Steps it gave back.';
COMMENT ON COLUMN tasker.worker_metrics.last_seen_at IS 'When it was last seen, to ten seconds.';
GRANT SELECT ON tasker.worker_metrics TO tasker_reader;

CREATE OR REPLACE VIEW tasker_engine.worker_samples AS
SELECT 'tasker_worker_steps_total' AS name, 'tasker_worker_steps_total' AS family, 'counter' AS kind,
       jsonb_build_object('worker', w.worker_id, 'outcome', o.outcome) AS labels,
       o.amount::double precision AS value, '' AS unit, 'Steps of a live worker by outcome.' AS help
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

CREATE OR REPLACE VIEW tasker_engine.state_samples AS
SELECT s.family AS name, s.family, 'gauge' AS kind, jsonb_build_object('state', s.state) AS labels,
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
