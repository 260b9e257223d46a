-- For the operator: what runs, what failed, what is stuck.

-- Without a filter this starts from the few claims there are; with one, from the steps of the task. Hence the claim
-- and the step name each other.
CREATE OR REPLACE VIEW tasker.running_steps AS
SELECT tasker.step_uuid(s.task_uuid, s.step_no) AS step_uuid,
       s.task_uuid,
       s.step_no::integer AS step_no,
       n.name,
       ns.name AS namespace_name,
       nt.name AS task_name,
       nt.version,
       q.name AS queue,
       w.worker_id,
       s.attempts::integer AS attempt,
       s.retry_limit::integer AS retry_limit,
       s.claim_number,
       c.claimed_at AS running_since,
       tasker_engine.engine_clock() - c.claimed_at AS running_for,
       c.lease_expires_at,
       c.lease_expires_at <= tasker_engine.engine_clock() AS overdue,
       c.claimed_at + make_interval(secs => n.timeout_seconds) AS timeout_at
FROM tasker_engine.claims c
JOIN tasker_engine.steps s
    ON s.claim_id = c.claim_id
   AND s.task_uuid = ANY (c.task_uuids)
   AND s.step_no = ANY (c.step_nos)
   AND s.state = 'i'
LEFT JOIN tasker.named_tasks_named_steps n
    ON n.named_task_id = s.named_task_id AND n.step_no = s.step_no
LEFT JOIN tasker_engine.queues q ON q.queue_id = n.queue_id
LEFT JOIN tasker.named_tasks nt ON nt.named_task_id = s.named_task_id
LEFT JOIN tasker.task_namespaces ns ON ns.task_namespace_id = nt.task_namespace_id
LEFT JOIN tasker_engine.workers w ON w.worker_no = c.worker_no;
COMMENT ON VIEW tasker.running_steps IS 'For the operator: what workers hold now.';
COMMENT ON COLUMN tasker.running_steps.timeout_at IS 'When the run exceeds the timeout of the step, whatever heartbeats say; NULL if the step has no timeout.';
COMMENT ON COLUMN tasker.running_steps.name IS 'Name of the step.';
GRANT SELECT ON tasker.running_steps TO tasker_reader;

CREATE OR REPLACE VIEW tasker.failed_steps AS
SELECT tasker.step_uuid(s.task_uuid, s.step_no) AS step_uuid,
       s.task_uuid,
       s.step_no::integer AS step_no,
       n.name,
       ns.name AS namespace_name,
       nt.name AS task_name,
       nt.version,
       s.results ->> 'error_class' AS error_class,
       s.results ->> 'error_message' AS error_message,
       s.attempts::integer AS attempts,
       s.retry_limit::integer AS retry_limit,
       s.retryable,
       tasker_engine.waits_for_operator(s.state, s.available_at) AS permanent,
       nullif(s.available_at, 'infinity') AS next_retry_at,
       (SELECT r.failed_at FROM tasker_engine.step_runs r
        WHERE r.task_uuid = s.task_uuid AND r.step_no = s.step_no)
           AS failed_at,
       s.results
FROM tasker_engine.steps s
LEFT JOIN tasker.named_tasks_named_steps n
    ON n.named_task_id = s.named_task_id AND n.step_no = s.step_no
LEFT JOIN tasker.named_tasks nt ON nt.named_task_id = s.named_task_id
LEFT JOIN tasker.task_namespaces ns ON ns.task_namespace_id = nt.task_namespace_id
WHERE s.state = 'e';
COMMENT ON VIEW tasker.failed_steps IS 'For the operator: every step in error, with the reason and the next retry.';
COMMENT ON COLUMN tasker.failed_steps.name IS 'Name of the step.';
GRANT SELECT ON tasker.failed_steps TO tasker_reader;

CREATE OR REPLACE VIEW tasker.task_overview AS
SELECT t.task_uuid,
       tasker_engine.full_name(ns.name, nt.name, nt.version) AS full_name,
       ns.name AS namespace_name,
       nt.name,
       nt.version,
       e.status AS state,
       t.priority::integer AS priority,
       e.total_steps,
       e.pending_steps,
       e.in_progress_steps,
       e.completed_steps,
       e.failed_steps,
       e.cancelled_steps,
       e.ready_steps,
       e.completion_percentage AS progress,
       e.execution_status,
       e.health_status,
       f.name AS oldest_error_step,
       f.error_class AS oldest_error_class,
       f.error_message AS oldest_error,
       f.failed_at AS oldest_error_at,
       t.requested_at,
       t.started_at,
       t.completed_at,
       tasker_engine.engine_clock() - t.requested_at AS age,
       COALESCE(t.completed_at, tasker_engine.engine_clock()) - t.started_at AS duration
FROM tasker_engine.tasks t
JOIN tasker.task_execution_contexts e ON e.task_uuid = t.task_uuid
LEFT JOIN tasker.named_tasks nt ON nt.named_task_id = t.named_task_id
LEFT JOIN tasker.task_namespaces ns ON ns.task_namespace_id = nt.task_namespace_id
LEFT JOIN LATERAL (
    SELECT o.name, o.error_class, o.error_message, o.failed_at
    FROM tasker.failed_steps o
    WHERE o.task_uuid = t.task_uuid
    ORDER BY o.failed_at, o.step_no
    LIMIT 1
) f ON true;
COMMENT ON VIEW tasker.task_overview IS
'For the operator: one row per task with progress, health, oldest error and age.';
COMMENT ON COLUMN tasker.task_overview.name IS 'Name of the template.';
GRANT SELECT ON tasker.task_overview TO tasker_reader;

-- Queues whose ready steps no process takes. Queue sql is for handlers inside the database: executors serve it, workers the others.
CREATE OR REPLACE VIEW tasker_engine.unserved_queues AS
SELECT q.queue_id, q.name, ns.name AS namespace_name,
       CASE WHEN ns.paused THEN 'namespace_paused' ELSE 'no_worker' END AS reason
FROM tasker_engine.queues q
JOIN tasker.task_namespaces ns ON ns.task_namespace_id = q.task_namespace_id
WHERE ns.paused
   OR NOT (q.name <> 'sql'
           AND ns.name = ANY (ARRAY(SELECT unnest(w.namespaces) FROM tasker_engine.known_workers w WHERE w.live)))
      AND NOT (tasker_engine.has_coordinator()
               AND EXISTS (SELECT FROM tasker_engine.pool_settings() p
                           WHERE p.enabled AND p.max_executors > 0 AND q.name = ANY (p.queues)
                             AND (p.namespaces IS NULL OR ns.name = ANY (p.namespaces))));
COMMENT ON VIEW tasker_engine.unserved_queues IS 'Queues from which nothing is taken: their namespace is paused, or neither a worker nor an executor serves them.';
COMMENT ON COLUMN tasker_engine.unserved_queues.name IS 'Name of the queue.';
COMMENT ON COLUMN tasker_engine.unserved_queues.reason IS 'namespace_paused or no_worker, as in tasker.stuck_tasks.';

-- A task that nothing brings on: no step of it runs under a claim, is ready or will be.
CREATE OR REPLACE VIEW tasker_engine.standing_tasks AS
SELECT t.task_uuid,
       (SELECT min(s.step_no) FROM tasker_engine.steps s WHERE s.task_uuid = t.task_uuid AND s.state = 'i') AS step_no
FROM tasker_engine.tasks t
WHERE tasker_engine.is_open(t.state)
  AND NOT EXISTS (
      SELECT FROM tasker_engine.steps s
      WHERE s.task_uuid = t.task_uuid
        AND tasker_engine.can_still_run(s.state, s.available_at, s.unreachable)
        AND NOT tasker_engine.waits_for_operator(s.state, s.available_at)
        AND CASE WHEN s.state = 'i'
                 THEN EXISTS (SELECT FROM tasker_engine.claims c WHERE c.claim_id = s.claim_id)
                 ELSE NOT EXISTS (
                     SELECT FROM tasker.named_tasks_named_steps n
                     JOIN tasker_engine.steps o ON o.task_uuid = s.task_uuid AND o.step_no = ANY (n.parents)
                     WHERE n.named_task_id = s.named_task_id AND n.step_no = s.step_no
                       AND NOT tasker_engine.is_done(o.state)) END);
COMMENT ON COLUMN tasker_engine.standing_tasks.step_no IS 'Its first step in progress, which no claim holds; NULL if it has none.';
COMMENT ON VIEW tasker_engine.standing_tasks IS 'Open tasks of which nothing runs, is ready or is scheduled: the engine makes none.';

-- Open tasks that do not continue, each with one reason: ended leases, queues that nothing serves, and tasks that stand. Each part
-- reaches an index where the task is given.
CREATE OR REPLACE VIEW tasker_engine.stuck_open_tasks AS
SELECT DISTINCT ON (o.task_uuid) o.task_uuid, o.reason, o.step_no, o.worker_no, o.lease_expires_at
FROM (
    SELECT d.task_uuid, 'nothing_can_run'::text AS reason, d.step_no, NULL::integer AS worker_no,
           NULL::timestamptz AS lease_expires_at, 1 AS rank
    FROM tasker_engine.standing_tasks d
    UNION ALL
    SELECT s.task_uuid, 'lease_expired', s.step_no, c.worker_no, c.lease_expires_at, 2
    FROM tasker_engine.claims c
    CROSS JOIN LATERAL unnest(c.task_uuids, c.step_nos) AS k (task_uuid, step_no)
    JOIN tasker_engine.steps s ON s.task_uuid = k.task_uuid AND s.step_no = k.step_no AND s.state = 'i' AND s.claim_id = c.claim_id
    WHERE c.lease_expires_at <= tasker_engine.engine_clock()
    UNION ALL
    SELECT s.task_uuid, q.reason, s.step_no, NULL, NULL, 3
    FROM tasker_engine.unserved_queues q
    JOIN tasker.named_tasks_named_steps n ON n.queue_id = q.queue_id
    JOIN tasker_engine.tasks t ON t.named_task_id = n.named_task_id AND tasker_engine.is_open(t.state)
    JOIN tasker_engine.steps s ON s.task_uuid = t.task_uuid AND s.step_no = n.step_no
    WHERE s.state <> 'i' AND tasker_engine.can_still_run(s.state, s.available_at, s.unreachable)
      AND (s.available_at IS NULL OR s.available_at <= tasker_engine.engine_clock())
      AND NOT EXISTS (SELECT FROM tasker_engine.steps o
                      WHERE o.task_uuid = s.task_uuid AND o.step_no = ANY (n.parents) AND NOT tasker_engine.is_done(o.state))
) o
ORDER BY o.task_uuid, o.rank, o.step_no;
COMMENT ON VIEW tasker_engine.stuck_open_tasks IS 'Open tasks that do not continue by themselves, each with its gravest reason.';
COMMENT ON COLUMN tasker_engine.stuck_open_tasks.reason IS 'lease_expired, namespace_paused, no_worker or nothing_can_run.';
COMMENT ON COLUMN tasker_engine.stuck_open_tasks.worker_no IS 'The worker whose lease has ended; NULL for the other reasons.';

-- Tasks in error are found by their rows among the rare states.
CREATE OR REPLACE VIEW tasker.stuck_tasks AS
SELECT t.task_uuid,
       tasker_engine.full_name(ns.name, nt.name, nt.version) AS full_name,
       ns.name AS namespace_name,
       tasker_engine.state_name(t.state) AS state,
       'failed'::text AS reason,
       'critical'::text AS level,
       CASE WHEN n.step_no IS NOT NULL THEN tasker.step_uuid(t.task_uuid, n.step_no) END AS stuck_step_uuid,
       n.name AS stuck_step_name,
       COALESCE(held.error, 'a cancelled step, a timeout or an operator stopped the task') AS detail,
       CASE WHEN n.step_no IS NOT NULL
                THEN 'tasker.retry_task or tasker.retry_step runs it again; tasker.resolve_step_manually skips the step.'
            WHEN held.can_retry THEN 'tasker.resolve_task_manually ends the task; tasker.retry_task takes up what was held.'
            ELSE 'tasker.resolve_task_manually ends the task.' END AS hint,
       t.requested_at,
       tasker_engine.engine_clock() - t.requested_at AS age
FROM tasker_engine.rare_tasks r
JOIN tasker_engine.tasks t ON t.task_uuid = r.task_uuid AND t.state = 'e'
JOIN tasker.named_tasks nt ON nt.named_task_id = t.named_task_id
JOIN tasker.task_namespaces ns ON ns.task_namespace_id = nt.task_namespace_id
CROSS JOIN LATERAL (
    SELECT f.step_no, f.results ->> 'error_message' AS error,
           f.step_no IS NULL
           AND (NOT EXISTS (SELECT FROM tasker_engine.steps s WHERE s.task_uuid = t.task_uuid AND s.state = 'x')
                OR EXISTS (SELECT FROM tasker_engine.steps s
                           WHERE s.task_uuid = t.task_uuid AND s.available_at = 'infinity' AND NOT s.unreachable)) AS can_retry
    FROM (SELECT) one
    LEFT JOIN LATERAL (
        SELECT s.step_no, s.results FROM tasker_engine.steps s
        WHERE s.task_uuid = t.task_uuid AND s.state = 'e'
        ORDER BY s.step_no LIMIT 1) f ON true
) held
LEFT JOIN tasker.named_tasks_named_steps n ON n.named_task_id = t.named_task_id AND n.step_no = held.step_no
WHERE r.state = 'e'
UNION ALL
SELECT t.task_uuid,
       tasker_engine.full_name(ns.name, nt.name, nt.version),
       ns.name,
       tasker_engine.state_name(t.state),
       stuck.reason,
       CASE stuck.reason WHEN 'lease_expired' THEN 'expired' WHEN 'no_worker' THEN 'warning' WHEN 'namespace_paused' THEN 'slow'
            ELSE 'critical' END,
       CASE WHEN n.step_no IS NOT NULL THEN tasker.step_uuid(t.task_uuid, n.step_no) END,
       n.name,
       CASE stuck.reason
           WHEN 'nothing_can_run' THEN 'the task is open, and no step of it runs, is ready or is scheduled'
           WHEN 'lease_expired' THEN format('the lease of worker %s ended at %s', w.worker_id, stuck.lease_expires_at)
           WHEN 'namespace_paused' THEN format('namespace %s is paused', ns.name)
           WHEN 'no_worker' THEN CASE WHEN q.name = 'sql'
               THEN format('no executor serves queue sql of namespace %s', ns.name)
               ELSE format('no worker of namespace %s has been seen for 2 minutes', ns.name) END
       END,
       CASE stuck.reason
           WHEN 'nothing_can_run' THEN CASE WHEN n.step_no IS NOT NULL
               THEN format('SELECT tasker.transition_step(%L, ''pending'')', tasker.step_uuid(t.task_uuid, n.step_no))
               ELSE format('SELECT * FROM tasker.finalize_task(%L)', t.task_uuid) END
           WHEN 'lease_expired' THEN format(
               'The next claim of queue %s in namespace %s takes the step over: is a worker running?', q.name, ns.name)
           WHEN 'namespace_paused' THEN format('SELECT tasker.resume_namespace(%L)', ns.name)
           WHEN 'no_worker' THEN CASE WHEN q.name = 'sql'
               THEN format('SELECT * FROM tasker.run_steps(namespaces => ARRAY[%L])', ns.name)
               ELSE format('Start a worker that claims queue %s of namespace %s.', q.name, ns.name) END
       END,
       t.requested_at,
       tasker_engine.engine_clock() - t.requested_at
FROM tasker_engine.stuck_open_tasks stuck
JOIN tasker_engine.tasks t ON t.task_uuid = stuck.task_uuid AND tasker_engine.is_open(t.state)
JOIN tasker.named_tasks nt ON nt.named_task_id = t.named_task_id
JOIN tasker.task_namespaces ns ON ns.task_namespace_id = nt.task_namespace_id
LEFT JOIN tasker.named_tasks_named_steps n ON n.named_task_id = t.named_task_id AND n.step_no = stuck.step_no
LEFT JOIN tasker_engine.queues q ON q.queue_id = n.queue_id
LEFT JOIN tasker_engine.workers w ON w.worker_no = stuck.worker_no;
COMMENT ON VIEW tasker.stuck_tasks IS
'For the operator: tasks that do not continue by themselves, each with its gravest reason and what to do.';
COMMENT ON COLUMN tasker.stuck_tasks.reason IS 'failed, lease_expired, namespace_paused, no_worker or nothing_can_run.';
COMMENT ON COLUMN tasker.stuck_tasks.level IS 'Severity: expired (a lease is over), critical (failed, nothing_can_run), warning (no_worker), slow (namespace_paused).';
GRANT SELECT ON tasker.stuck_tasks TO tasker_reader;

-- Of tasks in error only their rows among the rare states are read.
CREATE OR REPLACE VIEW tasker.stuck_summary AS
SELECT o.reason, tasker_engine.full_name(ns.name, nt.name, nt.version) AS full_name, ns.name AS namespace_name, o.error_class,
       o.tasks, o.oldest_task_uuid
FROM (
    SELECT 'failed'::text AS reason, r.named_task_id, r.error_class, count(*) AS tasks,
           (array_agg(r.task_uuid ORDER BY r.task_uuid))[1] AS oldest_task_uuid
    FROM tasker_engine.rare_tasks r
    WHERE r.state = 'e'
    GROUP BY r.named_task_id, r.error_class
    UNION ALL
    SELECT s.reason, t.named_task_id, NULL, count(*), (array_agg(t.task_uuid ORDER BY t.task_uuid))[1]
    FROM tasker_engine.stuck_open_tasks s
    JOIN tasker_engine.tasks t ON t.task_uuid = s.task_uuid AND tasker_engine.is_open(t.state)
    GROUP BY s.reason, t.named_task_id
) o
JOIN tasker.named_tasks nt ON nt.named_task_id = o.named_task_id
JOIN tasker.task_namespaces ns ON ns.task_namespace_id = nt.task_namespace_id;
COMMENT ON VIEW tasker.stuck_summary IS 'For the operator: why tasks do not continue by themselves, one row per cause: reason, template and, of tasks in error, error class. The tasks are in tasker.stuck_tasks.';
COMMENT ON COLUMN tasker.stuck_summary.reason IS 'failed, lease_expired, namespace_paused, no_worker or nothing_can_run.';
COMMENT ON COLUMN tasker.stuck_summary.error_class IS 'The error class of the first failed step, its first 255 characters; NULL if it has none, and for the other reasons.';
COMMENT ON COLUMN tasker.stuck_summary.tasks IS 'Number of tasks.';
COMMENT ON COLUMN tasker.stuck_summary.oldest_task_uuid IS 'The oldest of them.';
GRANT SELECT ON tasker.stuck_summary TO tasker_reader;
