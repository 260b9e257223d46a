CREATE VIEW tasker.workflow_step_transitions AS
SELECT l.id,
       tasker_engine.state_name(l.to_state) AS to_state,
       tasker_engine.state_name(l.from_state) AS from_state,
       l.metadata,
       l.sort_key,
       l.most_recent,
       tasker.step_uuid(s.task_uuid, s.step_no) AS step_uuid,
       s.task_uuid,
       l.created_at,
       l.created_at AS updated_at,
       s.step_no::pg_catalog.int4 AS step_no,
       l.attempt::pg_catalog.int4 AS attempt,
       w.worker_id
FROM tasker_engine.steps s
CROSS JOIN LATERAL (
    SELECT o.id, o.to_state, o.from_state, o.metadata, o.created_at, o.attempt, o.worker_no,
           pg_catalog.row_number() OVER in_order ::pg_catalog.int4 OPERATOR(pg_catalog.*) 10 AS sort_key,
           pg_catalog.lead(o.id) OVER in_order IS NULL AS most_recent
    FROM tasker_engine.transitions o
    WHERE o.task_uuid OPERATOR(pg_catalog.=) s.task_uuid AND o.step_no OPERATOR(pg_catalog.=) s.step_no
    WINDOW in_order AS (ORDER BY o.id)
) l
LEFT JOIN tasker_engine.workers w ON w.worker_no OPERATOR(pg_catalog.=) l.worker_no;
