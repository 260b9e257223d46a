-- The loop of a worker: claim_steps, complete_step, fail_step, report_steps, report_and_claim, heartbeat, release_steps,
-- get_dependency_results, notify_channel; and which roles see which rows.
SELECT play.templates('workers');
SELECT tasker.create_task('diamond', '{"n": 1}', 'workers', correlation_id => 'c-1', traceparent => '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', tracestate => 'rojo=1') AS task \gset

CREATE TEMP TABLE c AS SELECT * FROM tasker.claim_steps('w1', '{workers}', 10);
SELECT step_name, claim_number, attempt, retry_limit, namespace, queue, task_name, version, handler, handler_config, context, dependency_results,
       correlation_id, left(traceparent, 36) AS trace, right(traceparent, 3) AS flags, tracestate, task_uuid = :'task' AS task, lease_expires_at - clock_timestamp() BETWEEN '20 s' AND '30 s' AS lease FROM c;
SELECT name, namespace_name, task_name, version, queue, worker_id, attempt, retry_limit, claim_number, step_no, running_since <= lease_expires_at AS since,
       running_for > '0' AS running, overdue FROM tasker.running_steps WHERE task_uuid = :'task';
SELECT worker_id, namespaces, state, held_steps, next_lease_expires_at > clock_timestamp() AS lease, idle_until
FROM tasker.workers WHERE worker_id = 'w1';
SELECT worker_id, state, in_process, lease_expires_at IS NOT NULL AS leased FROM tasker.workflow_steps WHERE step_uuid = (SELECT step_uuid FROM c);

SELECT h.status, h.step_uuid = c.step_uuid AS step FROM c, tasker.heartbeat('w1', '1 minute') h;
SELECT * FROM tasker.heartbeat('unknown');
SELECT tasker.release_steps('w1'), tasker.release_steps('w1') AS again;
SELECT play.refusal(format('SELECT tasker.complete_step(%L, %s)', step_uuid, claim_number)) FROM c;
TRUNCATE c;
INSERT INTO c SELECT * FROM tasker.claim_steps('w1', '{workers}');
SELECT step_name, claim_number, attempt FROM c;
SELECT tasker.complete_step(step_uuid, claim_number, '{"by": "w1"}') FROM c;
SELECT tasker.complete_step(step_uuid, claim_number, '{"by": "w1"}') AS again FROM c;

-- One round trip: reports go in, steps come out.
TRUNCATE c;
INSERT INTO c SELECT * FROM tasker.claim_steps('w1', '{workers}', 2);
SELECT step_name, dependency_results FROM c ORDER BY step_uuid;
SELECT outcome, step_name, attempt, dependency_results FROM tasker.report_and_claim('w1',
    (SELECT jsonb_agg(jsonb_build_object('step_uuid', step_uuid, 'claim_number', claim_number, 'status', 'complete',
                                         'results', jsonb_build_object('by', step_name))) FROM c)
    || jsonb_build_array(jsonb_build_object('step_uuid', play.step(:'task', 'top'), 'claim_number', 1, 'status', 'complete')),
    '{workers}', dependency_results => 'ancestors') ORDER BY 1 DESC;
SELECT tasker.get_dependency_results(play.step(:'task', 'bottom'));

-- Every outcome of report_steps.
SELECT tasker.create_task('line', namespace => 'workers') AS line \gset
TRUNCATE c;
INSERT INTO c SELECT * FROM tasker.claim_steps('w2', '{workers}');
SELECT r.outcome FROM c, tasker.report_steps('w2', jsonb_build_array(
    jsonb_build_object('step_uuid', step_uuid, 'claim_number', 9, 'status', 'complete'),
    jsonb_build_object('step_uuid', tasker.step_uuid(task_uuid, 99::smallint), 'claim_number', 1, 'status', 'complete'),
    jsonb_build_object('step_uuid', step_uuid, 'claim_number', claim_number, 'status', 'perhaps'), 7)) r;
\set report '''status'', ''error'', ''error_message'', ''busy'', ''error_class'', ''Busy'', ''retry_after_seconds'', 3600, ''backtrace'', jsonb_build_array(''a.rb:1'')'
SELECT r.outcome FROM c, tasker.report_steps('w2', jsonb_build_array(jsonb_build_object('step_uuid', step_uuid, 'claim_number', claim_number, :report))) r;
SELECT r.outcome AS again FROM c, tasker.report_steps('w2', jsonb_build_array(jsonb_build_object('step_uuid', step_uuid, 'claim_number', claim_number, :report))) r;
SELECT name, error_class, error_message, attempts, retry_limit, retryable, permanent, next_retry_at > failed_at + '59 minutes' AS later, results
FROM tasker.failed_steps WHERE task_uuid = :'line';
SELECT tasker.retry_step(play.step(:'line', 'first'), false);
TRUNCATE c;
INSERT INTO c SELECT * FROM tasker.claim_steps('w2', '{workers}');
SELECT tasker.fail_step(step_uuid, claim_number, 'broken', 'Broken', false, backtrace => '{a,b}', results => '{"kept": 1}') FROM c;
SELECT name, state, attempts, results FROM tasker.workflow_steps WHERE task_uuid = :'line' ORDER BY step_no;

-- The log of both.
SELECT s.name, t.sort_key, t.from_state, t.to_state, t.attempt, t.worker_id, t.metadata, t.most_recent FROM tasker.workflow_step_transitions t
JOIN tasker.workflow_steps s USING (step_uuid) WHERE t.task_uuid = :'line' ORDER BY t.id;
SELECT sort_key, from_state, to_state, metadata, most_recent FROM tasker.task_transitions WHERE task_uuid = :'line' ORDER BY id;

SELECT tasker.notify_channel('workers') = tasker.notify_channel('workers') AS same, tasker.notify_channel('workers') <> tasker.notify_channel('other') AS own;

-- What is refused, with its SQLSTATE.
\set SHOW_CONTEXT never
SELECT * FROM tasker.claim_steps(NULL); \echo :SQLSTATE
SELECT * FROM tasker.claim_steps(' '); \echo :SQLSTATE
SELECT * FROM tasker.claim_steps('w', NULL); \echo :SQLSTATE
SELECT * FROM tasker.claim_steps('w', max_steps => 0); \echo :SQLSTATE
SELECT * FROM tasker.claim_steps('w', lease => '-1 s'); \echo :SQLSTATE
SELECT * FROM tasker.claim_steps('w', dependency_results => 'all'); \echo :SQLSTATE
SELECT * FROM tasker.report_steps('w', '{}'); \echo :SQLSTATE
SELECT * FROM tasker.report_and_claim('w', NULL); \echo :SQLSTATE
SELECT * FROM tasker.heartbeat('w', '2 days'); \echo :SQLSTATE
SELECT tasker.release_steps(''); \echo :SQLSTATE
SELECT tasker.complete_step('00000000-0000-7000-8000-000000000001', 1); \echo :SQLSTATE
SELECT tasker.complete_step('00000000-0000-7000-8000-000000000001', 1, '[]'); \echo :SQLSTATE
SELECT tasker.fail_step('00000000-0000-7000-8000-000000000001', 1, NULL); \echo :SQLSTATE
SELECT tasker.get_dependency_results('00000000-0000-7000-8000-000000000001'); \echo :SQLSTATE
SELECT tasker.notify_channel(NULL); \echo :SQLSTATE
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM tasker.claim_steps('w'); \echo :SQLSTATE
ROLLBACK;
