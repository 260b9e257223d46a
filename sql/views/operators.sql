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
       COALESCE(t.completed_at, tasker_engine.engine_clock()) - t.started_at AS duration,
       i.idempotency_key
FROM tasker_engine.tasks t
LEFT JOIN tasker_engine.task_identities i ON i.task_uuid = t.task_uuid
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
           AND ns.name = ANY (ARRAY(SELECT unnest(w.namespaces) FROM tasker_engine.workers w
                                      WHERE w.worker_no = ANY (ARRAY(SELECT l.worker_no FROM tasker_engine.live_workers l)))))
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

-- A step that workers have only given back for an hour: none of them can run it.
CREATE OR REPLACE VIEW tasker_engine.returned_steps AS
SELECT s.task_uuid, s.step_no, g.reason, g.since
FROM tasker_engine.tasks t
JOIN tasker_engine.steps s ON s.task_uuid = t.task_uuid AND s.state = 'p' AND s.claim_number > s.attempts
CROSS JOIN LATERAL (
    SELECT min(l.created_at) AS since, max(l.created_at) AS last, (array_agg(l.metadata ->> 'reason' ORDER BY l.id DESC))[1] AS reason
    FROM tasker_engine.transitions l
    WHERE l.task_uuid = s.task_uuid AND l.step_no = s.step_no AND l.from_state = 'i' AND l.to_state = 'p'
      AND NOT EXISTS (SELECT FROM tasker_engine.transitions o
                      WHERE o.task_uuid = s.task_uuid AND o.step_no = s.step_no AND o.id > l.id AND o.to_state NOT IN ('p', 'i'))
) g
WHERE tasker_engine.is_open(t.state) AND g.last - g.since >= interval '1 hour';
COMMENT ON VIEW tasker_engine.returned_steps IS 'Steps of open tasks that workers have given back over an hour or longer, without a run in between.';
COMMENT ON COLUMN tasker_engine.returned_steps.reason IS 'Why the last of them gave it back; NULL if it did not say.';
COMMENT ON COLUMN tasker_engine.returned_steps.since IS 'When it was given back for the first time.';

-- What duty_stuck writes down.
CREATE OR REPLACE VIEW tasker_engine.stuck_tasks_found AS
SELECT DISTINCT ON (o.task_uuid) o.task_uuid, o.step_no, t.named_task_id
FROM (SELECT d.task_uuid, d.step_no FROM tasker_engine.standing_tasks d
      UNION ALL
      SELECT b.task_uuid, b.step_no FROM tasker_engine.returned_steps b) o
JOIN tasker_engine.tasks t ON t.task_uuid = o.task_uuid
ORDER BY o.task_uuid, o.step_no;
COMMENT ON VIEW tasker_engine.stuck_tasks_found IS 'Open tasks of which nothing can run, or whose step workers have only given back for an hour.';

-- Handlers of queues that have workers, but none that takes these.
CREATE OR REPLACE VIEW tasker_engine.unserved_handlers AS
SELECT q.queue_id, NULL::bigint AS handler_key, q.reason
FROM tasker_engine.unserved_queues q
UNION ALL
SELECT DISTINCT q.queue_id, k.handler_key, 'no_worker'
FROM tasker_engine.queues q
JOIN tasker.task_namespaces ns ON ns.task_namespace_id = q.task_namespace_id
JOIN tasker.named_tasks_named_steps n ON n.queue_id = q.queue_id
CROSS JOIN LATERAL (SELECT tasker_engine.handler_key(n.handler) AS handler_key OFFSET 0) k
CROSS JOIN LATERAL (
    SELECT bool_or(w.handler_keys IS NULL OR k.handler_key = ANY (w.handler_keys)) AS taken
    FROM tasker_engine.workers w
    WHERE w.worker_no = ANY (ARRAY(SELECT l.worker_no FROM tasker_engine.live_workers l)) AND ns.name = ANY (w.namespaces)) o
WHERE q.name <> 'sql' AND NOT ns.paused AND NOT o.taken;
COMMENT ON VIEW tasker_engine.unserved_handlers IS 'What nothing takes from a queue: all of it, or the steps of one handler.';
COMMENT ON COLUMN tasker_engine.unserved_handlers.handler_key IS 'The handler, as in queue_entries; NULL: every handler.';
COMMENT ON COLUMN tasker_engine.unserved_handlers.reason IS 'namespace_paused or no_worker, as in tasker.stuck_tasks.';

-- Steps whose lease has ended, the first of each task. From the claims, of which there are few.
CREATE OR REPLACE VIEW tasker_engine.lost_steps AS
SELECT s.task_uuid, s.step_no, c.worker_no, c.lease_expires_at
FROM tasker_engine.claims c
CROSS JOIN LATERAL unnest(c.task_uuids, c.step_nos) AS k (task_uuid, step_no)
JOIN tasker_engine.steps s ON s.task_uuid = k.task_uuid AND s.step_no = k.step_no AND s.state = 'i' AND s.claim_id = c.claim_id
WHERE c.lease_expires_at <= tasker_engine.engine_clock()
  AND NOT EXISTS (SELECT FROM tasker_engine.steps o JOIN tasker_engine.claims d ON d.claim_id = o.claim_id
                  WHERE o.task_uuid = s.task_uuid AND o.step_no < s.step_no AND o.state = 'i'
                    AND d.lease_expires_at <= tasker_engine.engine_clock());
COMMENT ON VIEW tasker_engine.lost_steps IS 'Of each task that has some, the first step whose lease has ended.';

-- Ready steps that nothing takes, the first of each task. From the queue, so that only what waits is read.
CREATE OR REPLACE VIEW tasker_engine.unserved_steps AS
WITH unserved AS MATERIALIZED (SELECT u.queue_id, u.handler_key, u.reason FROM tasker_engine.unserved_handlers u)
SELECT r.task_uuid, r.step_no, u.reason, u.handler_key IS NOT NULL AS of_handler
FROM unserved u
JOIN tasker_engine.queue_entries r ON r.queue_id = u.queue_id AND (u.handler_key IS NULL OR r.handler_key = u.handler_key)
CROSS JOIN LATERAL (
    SELECT FROM tasker_engine.steps k
    WHERE k.task_uuid = r.task_uuid AND k.step_no = r.step_no AND k.state <> 'i'
      AND tasker_engine.can_still_run(k.state, k.available_at, k.unreachable)
      AND (k.available_at IS NULL OR k.available_at <= tasker_engine.engine_clock())
    OFFSET 0) s
WHERE r.available_at <= tasker_engine.engine_clock()
  AND NOT EXISTS (
      SELECT FROM tasker_engine.steps o
      JOIN tasker.named_tasks_named_steps n ON n.named_task_id = o.named_task_id AND n.step_no = o.step_no
      JOIN unserved v ON v.queue_id = n.queue_id AND (v.handler_key IS NULL OR v.handler_key = tasker_engine.handler_key(n.handler))
      WHERE o.task_uuid = r.task_uuid AND o.step_no < r.step_no AND o.state <> 'i'
        AND tasker_engine.can_still_run(o.state, o.available_at, o.unreachable)
        AND (o.available_at IS NULL OR o.available_at <= tasker_engine.engine_clock())
        AND NOT EXISTS (SELECT FROM tasker_engine.steps p
                        WHERE p.task_uuid = o.task_uuid AND p.step_no = ANY (n.parents) AND NOT tasker_engine.is_done(p.state)));
COMMENT ON VIEW tasker_engine.unserved_steps IS 'Of each task that has some, the first ready step that nothing takes from its queue.';
COMMENT ON COLUMN tasker_engine.unserved_steps.reason IS 'namespace_paused or no_worker, as in tasker.stuck_tasks.';
COMMENT ON COLUMN tasker_engine.unserved_steps.of_handler IS 'Whether the queue has workers, and only the handler has none.';

-- Open tasks that do not continue, each with one reason. They are found where few rows lead to them: claims, queues that nothing serves,
-- and the rows that duty_stuck writes, of which each is asked again.
CREATE OR REPLACE VIEW tasker_engine.stuck_open_tasks AS
SELECT l.task_uuid, 'lease_expired'::text AS reason, l.step_no, l.worker_no, l.lease_expires_at, NULL::text AS told, false AS of_handler
FROM tasker_engine.lost_steps l
UNION ALL
SELECT u.task_uuid, u.reason, u.step_no, NULL, NULL, NULL, u.of_handler
FROM tasker_engine.unserved_steps u
WHERE NOT EXISTS (SELECT FROM tasker_engine.steps o JOIN tasker_engine.claims d ON d.claim_id = o.claim_id
                  WHERE o.task_uuid = u.task_uuid AND o.state = 'i' AND d.lease_expires_at <= tasker_engine.engine_clock())
UNION ALL
SELECT r.task_uuid, why.reason, why.step_no, NULL, NULL, why.told, false
FROM tasker_engine.rare_tasks r
CROSS JOIN LATERAL (
    SELECT o.reason, o.step_no, o.told
    FROM (SELECT 'nothing_can_run' AS reason, d.step_no, NULL AS told, 1 AS rank
          FROM tasker_engine.standing_tasks d WHERE d.task_uuid = r.task_uuid
          UNION ALL
          SELECT 'returned', b.step_no, b.reason, 2
          FROM tasker_engine.returned_steps b
          WHERE b.task_uuid = r.task_uuid
            AND NOT EXISTS (SELECT FROM tasker_engine.lost_steps l WHERE l.task_uuid = r.task_uuid)
            AND NOT EXISTS (SELECT FROM tasker_engine.unserved_steps u WHERE u.task_uuid = r.task_uuid)) o
    ORDER BY o.rank, o.step_no LIMIT 1
) why
WHERE r.state = 's';
COMMENT ON VIEW tasker_engine.stuck_open_tasks IS 'Open tasks that do not continue by themselves, each with its gravest reason.';
COMMENT ON COLUMN tasker_engine.stuck_open_tasks.reason IS 'nothing_can_run, lease_expired, returned, namespace_paused or no_worker.';
COMMENT ON COLUMN tasker_engine.stuck_open_tasks.worker_no IS 'The worker whose lease has ended; NULL for the other reasons.';
COMMENT ON COLUMN tasker_engine.stuck_open_tasks.told IS 'What the last worker said that returned the step; NULL for the other reasons.';
COMMENT ON COLUMN tasker_engine.stuck_open_tasks.of_handler IS 'Whether the queue has workers, and only the handler has none.';

-- Tasks in error are found by their rows among the rare states. OFFSET 0 here and above: no statistics make the planner read all tasks.
CREATE OR REPLACE VIEW tasker.stuck_tasks AS
SELECT r.task_uuid,
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
CROSS JOIN LATERAL (
    SELECT k.task_uuid, k.named_task_id, k.state, k.requested_at FROM tasker_engine.tasks k
    WHERE k.task_uuid = r.task_uuid AND k.state = 'e'
    OFFSET 0) t
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
SELECT stuck.task_uuid,
       tasker_engine.full_name(ns.name, nt.name, nt.version),
       ns.name,
       tasker_engine.state_name(t.state),
       stuck.reason,
       CASE stuck.reason WHEN 'lease_expired' THEN 'expired' WHEN 'nothing_can_run' THEN 'critical' WHEN 'namespace_paused' THEN 'slow'
            ELSE 'warning' END,
       CASE WHEN n.step_no IS NOT NULL THEN tasker.step_uuid(t.task_uuid, n.step_no) END,
       n.name,
       CASE stuck.reason
           WHEN 'nothing_can_run' THEN 'the task is open, and no step of it runs, is ready or is scheduled'
           WHEN 'lease_expired' THEN format('the lease of worker %s ended at %s', w.worker_id, stuck.lease_expires_at)
           WHEN 'namespace_paused' THEN format('namespace %s is paused', ns.name)
           WHEN 'returned' THEN 'workers have given the step back for an hour' || coalesce(': ' || stuck.told, '')
           WHEN 'no_worker' THEN CASE
               WHEN q.name = 'sql' THEN format('no executor serves queue sql of namespace %s', ns.name)
               WHEN stuck.of_handler THEN format('no worker of namespace %s takes handler %s', ns.name, n.handler)
               ELSE format('no worker of namespace %s has been seen for 2 minutes', ns.name) END
       END,
       CASE stuck.reason
           WHEN 'nothing_can_run' THEN CASE WHEN n.step_no IS NOT NULL
               THEN format('SELECT tasker.transition_step(%L, ''pending'')', tasker.step_uuid(t.task_uuid, n.step_no))
               ELSE format('SELECT * FROM tasker.finalize_task(%L)', t.task_uuid) END
           WHEN 'lease_expired' THEN format(
               'The next claim of queue %s in namespace %s takes the step over: is a worker running?', q.name, ns.name)
           WHEN 'namespace_paused' THEN format('SELECT tasker.resume_namespace(%L)', ns.name)
           WHEN 'returned' THEN format('Start a worker that can run handler %s of namespace %s.', n.handler, ns.name)
           WHEN 'no_worker' THEN CASE
               WHEN q.name = 'sql' THEN format('SELECT * FROM tasker.run_steps(namespaces => ARRAY[%L])', ns.name)
               WHEN stuck.of_handler THEN format('Start a worker that has handler %s in namespace %s.', n.handler, ns.name)
               ELSE format('Start a worker that claims queue %s of namespace %s.', q.name, ns.name) END
       END,
       t.requested_at,
       tasker_engine.engine_clock() - t.requested_at
FROM tasker_engine.stuck_open_tasks stuck
CROSS JOIN LATERAL (
    SELECT k.task_uuid, k.named_task_id, k.state, k.requested_at FROM tasker_engine.tasks k WHERE k.task_uuid = stuck.task_uuid
    OFFSET 0) t
JOIN tasker.named_tasks nt ON nt.named_task_id = t.named_task_id
JOIN tasker.task_namespaces ns ON ns.task_namespace_id = nt.task_namespace_id
LEFT JOIN tasker.named_tasks_named_steps n ON n.named_task_id = t.named_task_id AND n.step_no = stuck.step_no
LEFT JOIN tasker_engine.queues q ON q.queue_id = n.queue_id
LEFT JOIN tasker_engine.workers w ON w.worker_no = stuck.worker_no;
COMMENT ON VIEW tasker.stuck_tasks IS
'For the operator: tasks that do not continue by themselves, each with its gravest reason and what to do.';
COMMENT ON COLUMN tasker.stuck_tasks.reason IS 'failed, lease_expired, returned (workers have only given the step back for an hour), namespace_paused, no_worker or nothing_can_run. The duty stuck looks for returned and nothing_can_run, 50,000 tasks a minute.';
COMMENT ON COLUMN tasker.stuck_tasks.level IS 'Severity: expired (a lease is over), critical (failed, nothing_can_run), warning (no_worker, returned), slow (namespace_paused).';
GRANT SELECT ON tasker.stuck_tasks TO tasker_reader;

CREATE OR REPLACE VIEW tasker.stuck_summary AS
SELECT o.reason, tasker_engine.full_name(ns.name, nt.name, nt.version) AS full_name, ns.name AS namespace_name, o.error_class,
       o.tasks, o.oldest_task_uuid
FROM tasker_engine.stuck_causes() o
JOIN tasker.named_tasks nt ON nt.named_task_id = o.named_task_id
JOIN tasker.task_namespaces ns ON ns.task_namespace_id = nt.task_namespace_id;
COMMENT ON VIEW tasker.stuck_summary IS 'For the operator: why tasks do not continue by themselves, one row per cause: reason, template and, of tasks in error, error class. The tasks are in tasker.stuck_tasks.';
COMMENT ON COLUMN tasker.stuck_summary.reason IS 'As in tasker.stuck_tasks.';
COMMENT ON COLUMN tasker.stuck_summary.error_class IS 'The error class of the first failed step, its first 255 characters; NULL if it has none, and for the other reasons.';
COMMENT ON COLUMN tasker.stuck_summary.tasks IS 'Number of tasks.';
COMMENT ON COLUMN tasker.stuck_summary.oldest_task_uuid IS 'The oldest of them.';
GRANT SELECT ON tasker.stuck_summary TO tasker_reader;
