CREATE VIEW tasker.tasks AS
SELECT t.task_uuid,
       t.named_task_id,
       t.state OPERATOR(pg_catalog.=) 'c' AS complete,
       t.requested_at,
       t.initiator,
       t.source_system,
       t.reason,
       t.bypass_steps,
       t.tags,
       t.context,
       i.identity_hash,
       t.requested_at AS created_at,
       COALESCE((SELECT pg_catalog.max(l.created_at) FROM tasker_engine.transitions l
                 WHERE l.task_uuid OPERATOR(pg_catalog.=) t.task_uuid AND l.step_no OPERATOR(pg_catalog.=) 0),
                t.requested_at) AS updated_at,
       tasker_engine.state_name(t.state) AS state,
       ns.name AS namespace_name,
       nt.name,
       nt.version,
       tasker_engine.full_name(ns.name, nt.name, nt.version) AS full_name,
       t.priority::pg_catalog.int4 AS priority,
       t.run_at,
       t.started_at,
       t.completed_at,
       t.correlation_id,
       t.traceparent
FROM tasker_engine.tasks t
LEFT JOIN tasker.named_tasks nt ON nt.named_task_id OPERATOR(pg_catalog.=) t.named_task_id
LEFT JOIN tasker.task_namespaces ns ON ns.task_namespace_id OPERATOR(pg_catalog.=) nt.task_namespace_id
LEFT JOIN tasker_engine.task_identities i ON i.task_uuid OPERATOR(pg_catalog.=) t.task_uuid;
