-- A million tasks of one or two steps: 994,000 complete, 1 in 100 of them in error, 6,000 waiting. :tasks is their number.
\set QUIET on
CREATE EXTENSION tasker_ext;
SELECT tasker.register_template(jsonb_build_object('namespace_name', 'shop', 'name', name, 'steps', steps)::text)
FROM (VALUES ('pay', '[{"name": "a", "handler": "h"}, {"name": "b", "handler": "h", "depends_on_steps": ["a"]}]'::jsonb),
             ('ship', '[{"name": "a", "handler": "h"}]')) AS t (name, steps) \g /dev/null
SELECT tasker.register_template('{"namespace_name": "other", "name": "odd", "steps": [{"name": "a", "handler": "h"}]}') \g /dev/null
SELECT format('SELECT count(*) FROM tasker.create_tasks(%L, array_fill(''{"n": 1}''::jsonb, ARRAY[10000]), %L, tags => %L, correlation_id => %L)',
              CASE WHEN n % 5 = 0 THEN 'ship' ELSE 'pay' END, 'shop', CASE WHEN n % 10 = 0 THEN '["common", "x"]' ELSE '[]' END,
              CASE WHEN n % 3 = 0 THEN 'order-' || n END)
FROM generate_series(1, :tasks / 20000) n \gexec
SELECT count(*) FROM tasker.create_tasks('odd', array_fill('{"n": 2}'::jsonb, ARRAY[50]), 'other', tags => '["rare"]', correlation_id => 'rare',
                                         idempotency_keys => ARRAY(SELECT 'key ' || n FROM generate_series(1, 50) n));
SELECT format('SELECT count(*) FROM tasker.create_tasks(%L, array_fill(''{"n": 1}''::jsonb, ARRAY[10000]), %L, tags => %L, correlation_id => %L)',
              CASE WHEN n % 5 = 0 THEN 'ship' ELSE 'pay' END, 'shop', CASE WHEN n % 10 = 0 THEN '["common", "x"]' ELSE '[]' END,
              CASE WHEN n % 3 = 0 THEN 'order-' || n END)
FROM generate_series(:tasks / 20000 + 1, :tasks / 10000) n \gexec
BEGIN;
CREATE TEMP TABLE done AS
SELECT o.task_uuid, o.n
FROM (SELECT t.task_uuid, row_number() OVER (ORDER BY t.task_uuid) AS n FROM tasker_engine.tasks t) o
WHERE o.n <= :tasks - 5000 AND o.n % 997 <> 0;
DELETE FROM tasker_engine.queue_entries r USING done d WHERE r.task_uuid = d.task_uuid;
UPDATE tasker_engine.steps s SET state = 'c', attempts = 1, open_parents = 0 FROM done d WHERE s.task_uuid = d.task_uuid;
UPDATE tasker_engine.tasks t SET state = 'c', open_leaves = 0, completed_at = clock_timestamp() FROM done d WHERE t.task_uuid = d.task_uuid;
UPDATE tasker_engine.steps s SET state = 'e', available_at = 'infinity', results = '{"error_class": "Timeout", "error_message": "x"}'
FROM done d WHERE d.n % 100 = 1 AND s.task_uuid = d.task_uuid AND s.step_no = 1;
UPDATE tasker_engine.tasks t SET state = 'e', completed_at = NULL, watched = true FROM done d WHERE d.n % 100 = 1 AND t.task_uuid = d.task_uuid;
INSERT INTO tasker_engine.rare_tasks (task_uuid, since, named_task_id, step_no, state, error_class)
SELECT t.task_uuid, clock_timestamp(), t.named_task_id, 1, 'e', 'Timeout' FROM done d JOIN tasker_engine.tasks t USING (task_uuid) WHERE d.n % 100 = 1;
COMMIT;
VACUUM ANALYZE;
