-- 200,000 tasks of five steps in a row: half of them complete with their log, half waiting. :tasks is their number.
\set QUIET on
CREATE EXTENSION tasker_ext;
SELECT tasker.register_template(jsonb_build_object('name', 'chain', 'steps', jsonb_agg(jsonb_build_object(
    'name', 's' || n, 'handler', 'h', 'depends_on_steps', CASE WHEN n = 1 THEN '[]' ELSE jsonb_build_array('s' || n - 1) END)))::text)
FROM generate_series(1, 5) n \g /dev/null
SELECT 'SELECT count(*) FROM tasker.create_tasks(''chain'', array_fill(''{}''::jsonb, ARRAY[10000]))' FROM generate_series(1, :tasks / 10000) \gexec
BEGIN;
CREATE TEMP TABLE done AS
SELECT o.task_uuid FROM (SELECT t.task_uuid, row_number() OVER (ORDER BY t.task_uuid) AS n FROM tasker_engine.tasks t) o WHERE o.n <= :tasks / 2;
DELETE FROM tasker_engine.queue_entries r USING done d WHERE r.task_uuid = d.task_uuid;
UPDATE tasker_engine.steps s SET state = 'c', attempts = 1, open_parents = 0 FROM done d WHERE s.task_uuid = d.task_uuid;
UPDATE tasker_engine.tasks t SET state = 'c', open_leaves = 0, completed_at = clock_timestamp() FROM done d WHERE t.task_uuid = d.task_uuid;
INSERT INTO tasker_engine.transitions (task_uuid, created_at, step_no, attempt, from_state, to_state)
SELECT d.task_uuid, clock_timestamp(), n, least(n, 1), o.from_state, o.to_state
FROM done d, generate_series(0, 5) n, (VALUES ('p'::"char", 'i'::"char"), ('i', 'c')) AS o (from_state, to_state)
ORDER BY d.task_uuid, n;
COMMIT;
VACUUM ANALYZE;
