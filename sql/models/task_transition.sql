-- Numbered per task, so that a filter on task_uuid reads the rows of that task and no others.
CREATE VIEW tasker.task_transitions AS
SELECT l.id,
       tasker_engine.state_name(l.to_state) AS to_state,
       tasker_engine.state_name(l.from_state) AS from_state,
       l.metadata,
       l.sort_key,
       l.most_recent,
       t.task_uuid,
       l.created_at,
       l.created_at AS updated_at
FROM tasker_engine.tasks t
CROSS JOIN LATERAL (
    SELECT o.id, o.to_state, o.from_state, o.metadata, o.created_at,
           pg_catalog.row_number() OVER in_order ::pg_catalog.int4 OPERATOR(pg_catalog.*) 10 AS sort_key,
           pg_catalog.lead(o.id) OVER in_order IS NULL AS most_recent
    FROM tasker_engine.transitions o
    WHERE o.task_uuid OPERATOR(pg_catalog.=) t.task_uuid AND o.step_no OPERATOR(pg_catalog.=) 0
    WINDOW in_order AS (ORDER BY o.id)
) l;
