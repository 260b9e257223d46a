CREATE VIEW tasker.workflow_steps AS
SELECT tasker.step_uuid(s.task_uuid, s.step_no) AS step_uuid,
       s.task_uuid,
       n.named_step_id,
       s.retryable,
       s.retry_limit::pg_catalog.int4 AS retry_limit,
       s.state OPERATOR(pg_catalog.=) 'i' AS in_process,
       s.state OPERATOR(pg_catalog.=) ANY ('{c,r}'::"char"[]) AS processed,
       CASE WHEN s.state OPERATOR(pg_catalog.=) ANY ('{c,r}'::"char"[]) THEN
           (SELECT pg_catalog.max(l.created_at) FROM tasker_engine.transitions l
            WHERE l.task_uuid OPERATOR(pg_catalog.=) s.task_uuid AND l.step_no OPERATOR(pg_catalog.=) s.step_no
              AND l.to_state OPERATOR(pg_catalog.=) s.state) END AS processed_at,
       s.attempts::pg_catalog.int4 AS attempts,
       CASE WHEN s.claim_number OPERATOR(pg_catalog.>) 0 THEN
           (SELECT r.ended_at FROM tasker_engine.step_runs r
            WHERE r.task_uuid OPERATOR(pg_catalog.=) s.task_uuid AND r.step_no OPERATOR(pg_catalog.=) s.step_no)
       END AS last_attempted_at,
       CASE WHEN s.state OPERATOR(pg_catalog.=) 'e' AND s.available_at IS NOT NULL THEN
           (SELECT r.backoff_request_seconds
            FROM tasker.get_step_readiness_status(
                     s.task_uuid, ARRAY[tasker.step_uuid(s.task_uuid, s.step_no)]) r)
       END AS backoff_request_seconds,
       t.context AS inputs,
       s.results,
       n.skippable,
       t.requested_at AS created_at,
       COALESCE((SELECT pg_catalog.max(l.created_at) FROM tasker_engine.transitions l
                 WHERE l.task_uuid OPERATOR(pg_catalog.=) s.task_uuid
                   AND l.step_no OPERATOR(pg_catalog.=) s.step_no), t.requested_at) AS updated_at,
       s.step_no::pg_catalog.int4 AS step_no,
       n.name,
       tasker_engine.state_name(s.state) AS state,
       q.name AS queue,
       s.claim_number,
       s.available_at,
       w.worker_id,
       c.lease_expires_at,
       s.priority::pg_catalog.int4 AS priority,
       n.handler
FROM tasker_engine.steps s
LEFT JOIN tasker_engine.tasks t ON t.task_uuid OPERATOR(pg_catalog.=) s.task_uuid
LEFT JOIN tasker.named_tasks_named_steps n
    ON n.named_task_id OPERATOR(pg_catalog.=) s.named_task_id AND n.step_no OPERATOR(pg_catalog.=) s.step_no
LEFT JOIN tasker_engine.queues q ON q.queue_id OPERATOR(pg_catalog.=) n.queue_id
LEFT JOIN tasker_engine.claims c
    ON c.claim_id OPERATOR(pg_catalog.=) s.claim_id AND s.state OPERATOR(pg_catalog.=) 'i'
LEFT JOIN tasker_engine.workers w ON w.worker_no OPERATOR(pg_catalog.=) c.worker_no;
