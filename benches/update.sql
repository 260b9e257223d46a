-- How long ALTER EXTENSION UPDATE takes with a million steps and their log, and which locks it holds. psql, in an empty database:
--   psql -f benches/update.sql [-v version=0.1.0] [-v tasks=200000]
\set ON_ERROR_STOP on
\if :{?version} \else \set version 0.1.0 \endif
\if :{?tasks} \else \set tasks 200000 \endif
SET client_min_messages = error;
CREATE EXTENSION tasker_ext VERSION :'version';
-- No function of that version works with this library, so the rows are written by hand.
SET session_replication_role = replica;
CREATE TEMP TABLE made AS
    SELECT (left(gen_random_uuid()::text, 32) || '0000')::uuid AS task_uuid FROM generate_series(1, :tasks);
INSERT INTO tasker_engine.tasks
    SELECT r.* FROM made m, LATERAL jsonb_populate_record(NULL::tasker_engine.tasks, jsonb_build_object(
        'task_uuid', m.task_uuid, 'requested_at', now(), 'named_task_id', 1, 'open_leaves', 1, 'priority', 2, 'state', 'p', 'watched', false,
        'initiator', 'bench', 'source_system', 'bench', 'reason', 'bench', 'tags', '[]'::jsonb, 'bypass_steps', '[]'::jsonb, 'context', '{}'::jsonb)) r;
INSERT INTO tasker_engine.steps
    SELECT r.* FROM made m, generate_series(1, 5) n, LATERAL jsonb_populate_record(NULL::tasker_engine.steps, jsonb_build_object(
        'task_uuid', m.task_uuid, 'step_no', n, 'named_task_id', 1, 'claim_number', 0, 'open_parents', 0, 'attempts', 1, 'retry_limit', 3, 'priority', 2,
        'state', 'c', 'retryable', true, 'watched', false, 'unreachable', false, 'checked', false, 'results', '{}'::jsonb)) r;
INSERT INTO tasker_engine.transitions
    SELECT r.* FROM made m, generate_series(1, 5) n, LATERAL jsonb_populate_record(NULL::tasker_engine.transitions, jsonb_build_object(
        'id', 0, 'task_uuid', m.task_uuid, 'created_at', now(), 'xid', '1', 'worker_no', 0, 'step_no', n, 'attempt', 1, 'to_state', 'c', 'metadata', '{}'::jsonb)) r;
RESET session_replication_role;
VACUUM ANALYZE tasker_engine.tasks, tasker_engine.steps, tasker_engine.transitions;
SELECT count(*) AS steps FROM tasker_engine.steps;
BEGIN;
\timing on
ALTER EXTENSION tasker_ext UPDATE;
\timing off
SELECT l.mode, CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' ELSE c.relkind::text END AS kind, count(*) AS relations
FROM pg_locks l
JOIN pg_class c ON c.oid = l.relation AND c.relnamespace::regnamespace::text IN ('tasker', 'tasker_engine')
WHERE l.pid = pg_backend_pid()
GROUP BY 1, 2 ORDER BY 1, 2;
COMMIT;
