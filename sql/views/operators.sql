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

-- One row per task with its gravest reason. Whether a step is ready is asked only where that would make the task stuck:
-- in a paused namespace, or one without workers. OFFSET 0: each reason is found once, not wherever it is named.
CREATE OR REPLACE VIEW tasker.stuck_tasks AS
WITH served AS MATERIALIZED (
    SELECT COALESCE(array_agg(DISTINCT n.name), '{}') AS namespaces
    FROM tasker_engine.known_workers w, unnest(w.namespaces) AS n (name)
    WHERE w.live
)
SELECT t.task_uuid,
       tasker_engine.full_name(ns.name, nt.name, nt.version) AS full_name,
       ns.name AS namespace_name,
       tasker_engine.state_name(t.state) AS state,
       stuck.reason,
       CASE stuck.reason WHEN 'lease_expired' THEN 'expired' WHEN 'no_worker' THEN 'warning' WHEN 'namespace_paused' THEN 'slow'
            ELSE 'critical' END AS level,
       CASE WHEN n.step_no IS NOT NULL THEN tasker.step_uuid(t.task_uuid, n.step_no) END AS stuck_step_uuid,
       n.name AS stuck_step_name,
       CASE stuck.reason
           WHEN 'failed' THEN COALESCE(held.error, 'a cancelled step, a timeout or an operator stopped the task')
           WHEN 'nothing_can_run' THEN 'no step can run any more, and none has ended the task'
           WHEN 'lease_expired' THEN COALESCE(
               format('the lease of worker %s ended at %s', w.worker_id, held.lease_expires_at),
               'no worker holds the running step')
           WHEN 'namespace_paused' THEN format('namespace %s is paused', ns.name)
           WHEN 'no_worker' THEN format('no worker of namespace %s has been seen for 2 minutes', ns.name)
       END AS detail,
       CASE stuck.reason
           WHEN 'failed' THEN CASE WHEN n.step_no IS NULL
               THEN 'tasker.resolve_task_manually ends the task; tasker.retry_task takes up what was held.'
               ELSE 'tasker.retry_task or tasker.retry_step runs it again; tasker.resolve_step_manually skips the step.'
               END
           WHEN 'nothing_can_run' THEN format('SELECT * FROM tasker.finalize_task(%L)', t.task_uuid)
           WHEN 'lease_expired' THEN format(
               'The next claim of queue %s in namespace %s takes the step over: is a worker running?', q.name, ns.name)
           WHEN 'namespace_paused' THEN format('SELECT tasker.resume_namespace(%L)', ns.name)
           WHEN 'no_worker' THEN format(
               'Start a worker that claims queue %s of namespace %s.', q.name, ns.name)
       END AS hint,
       t.requested_at,
       tasker_engine.engine_clock() - t.requested_at AS age
FROM tasker_engine.tasks t
JOIN tasker.named_tasks nt ON nt.named_task_id = t.named_task_id
JOIN tasker.task_namespaces ns ON ns.task_namespace_id = nt.task_namespace_id
-- Why no worker takes the ready steps, if that is so.
CROSS JOIN LATERAL (
    SELECT CASE WHEN t.state = 'e' THEN NULL
                WHEN ns.paused THEN 'namespace_paused'
                WHEN ns.name = ANY ((SELECT served.namespaces FROM served)::text[]) THEN NULL
                ELSE 'no_worker' END AS reason
    OFFSET 0
) untaken
LEFT JOIN LATERAL (
    SELECT s.step_no, s.results ->> 'error_message' AS error, problem.reason,
           c.worker_no, c.lease_expires_at
    FROM tasker_engine.steps s
    LEFT JOIN tasker_engine.claims c
        ON c.claim_id = s.claim_id AND s.state = 'i'
    CROSS JOIN LATERAL (
        SELECT CASE WHEN s.state = 'i'
                         AND (c.lease_expires_at IS NULL
                              OR c.lease_expires_at <= tasker_engine.engine_clock()) THEN 'lease_expired'
                    WHEN t.state = 'e'
                         AND s.state = 'e' AND s.available_at IS NULL THEN 'failed'
               END AS reason
        OFFSET 0
    ) problem
    WHERE s.task_uuid = t.task_uuid
      AND s.state = ANY ('{i,e}'::"char"[]) AND problem.reason IS NOT NULL
    ORDER BY problem.reason, s.step_no
    LIMIT 1
) held ON true
LEFT JOIN LATERAL (
    SELECT tasker.step_number(r.step_uuid) AS step_no
    FROM tasker.get_step_readiness_status(t.task_uuid) r
    WHERE untaken.reason IS NOT NULL AND held.reason IS NULL AND r.ready_for_execution
    LIMIT 1
) waiting ON true
LEFT JOIN tasker.named_tasks_named_steps n
    ON n.named_task_id = t.named_task_id AND n.step_no = COALESCE(held.step_no, waiting.step_no)
LEFT JOIN tasker_engine.queues q ON q.queue_id = n.queue_id
LEFT JOIN tasker_engine.workers w ON w.worker_no = held.worker_no
-- Most tasks have a step that runs or will: only for the others the whole context is asked for.
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN held.reason IS NOT NULL THEN held.reason
        WHEN waiting.step_no IS NOT NULL THEN untaken.reason
        WHEN t.state = 'e' THEN 'failed'
        WHEN EXISTS (SELECT FROM tasker_engine.steps s
                     WHERE s.task_uuid = t.task_uuid
                       AND tasker_engine.can_still_run(s.state, s.available_at, s.unreachable)) THEN NULL
        WHEN (SELECT e.execution_status FROM tasker.get_task_execution_context(t.task_uuid) e)
             = ANY (ARRAY['blocked_by_failures', 'all_complete']) THEN 'nothing_can_run'
        END AS reason
    OFFSET 0
) stuck
WHERE t.state = ANY ('{p,i,e}'::"char"[]) AND stuck.reason IS NOT NULL;
COMMENT ON VIEW tasker.stuck_tasks IS
'For the operator: tasks that do not continue by themselves, each with its gravest reason and what to do.';
COMMENT ON COLUMN tasker.stuck_tasks.reason IS 'failed, lease_expired, namespace_paused, no_worker or nothing_can_run.';
COMMENT ON COLUMN tasker.stuck_tasks.level IS 'Severity: expired (a lease is over), critical (failed, nothing_can_run), warning (no_worker), slow (namespace_paused).';
GRANT SELECT ON tasker.stuck_tasks TO tasker_reader;
