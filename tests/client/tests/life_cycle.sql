-- Every function of schema tasker that writes, called once at least on a server without background processes: for tests of what a DBA
-- puts around the tables. psql with ON_ERROR_STOP; needs the extension in the database and nothing else.

SET track_functions = 'all';
SET tasker.priority_aging_seconds = 1;
SET client_min_messages = warning;
\o /dev/null

-- Catalog.
SELECT tasker.find_or_create_namespace('shop', 'orders'), tasker.find_or_create_dependent_system('bank'), tasker.find_or_create_dependent_system('shop'),
       tasker.find_or_create_annotation_type('note'),
       tasker.find_or_create_dependent_system_object_map('bank', '1', 'shop', '2');
SELECT tasker.register_template('{"name": "order", "steps": [{"name": "a", "handler": "h"}, {"name": "b", "handler": "h", "depends_on_steps": ["a"]},
    {"name": "c", "handler": "h", "depends_on_steps": ["a"], "skippable": true}, {"name": "d", "handler": "h", "depends_on_steps": ["b", "c"]}]}');
SELECT tasker.register_template('{"name": "one", "identity_strategy": "hash", "steps": [{"name": "a", "handler": "h"}]}');
SELECT tasker.register_template('{"name": "two", "timeout_seconds": 60, "steps": [{"name": "a", "handler": "h", "retry": {"backoff": "none"}}, {"name": "b", "handler": "h", "depends_on_steps": ["a"]}]}');
SELECT tasker.register_template('{"name": "alone", "namespace_name": "alone", "steps": [{"name": "a", "handler": "h"}]}');
CREATE FUNCTION public.inside(step jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{}'::jsonb $$;
SELECT tasker.register_template('{"name": "inside", "steps": [{"name": "a", "handler": "sql:public.inside"}]}');
SELECT tasker.register_template('{"name": "gone", "namespace_name": "gone", "steps": [{"name": "a", "handler": "h"}]}');
SELECT tasker.register_template('{"name": "gone", "namespace_name": "gone", "steps": [{"name": "b", "handler": "h"}]}', true);
SELECT tasker.delete_template('gone', 'gone', '0.1.0'), tasker.delete_namespace('gone');

-- Creation, claims, reports.
SELECT tasker.create_task('one') AS one \gset
SELECT tasker.cancel_task(:'one');
SELECT count(*) FROM tasker.create_tasks('order', ARRAY['{}', '{"n": 2}', '{"n": 3}']::jsonb[], idempotency_keys => ARRAY['k1', 'k2', NULL]);
SELECT tasker.create_task('order', bypass_steps => '["c"]', run_at => now() + interval '1 hour');
SELECT tasker.register_event('orders.x'), tasker.publish_event('orders.x');
SELECT count(*) FROM tasker.publish_events('{orders.x}', ARRAY['{}']::jsonb[]);
SELECT tasker.register_handlers('w', '{h}'), tasker.unregister_handlers('w', '{other}');
SELECT step_uuid, claim_number FROM tasker.claim_steps('w') \gset
SELECT step_uuid AS other_uuid, claim_number AS other_number FROM tasker.claim_steps('w', lease => '1 hour') \gset
SELECT count(*) FROM tasker.heartbeat('w');
SELECT tasker.complete_step(:'step_uuid', :claim_number, '{"a": 1}');
SELECT tasker.fail_step(:'other_uuid', :other_number, 'it broke', retry_after => '0');
SELECT count(*) FROM tasker.claim_steps('w', max_steps => 10);
SELECT tasker.release_steps('w');
SELECT count(*) FROM tasker.report_steps('w', (
    SELECT jsonb_agg(jsonb_build_object('step_uuid', c.step_uuid, 'claim_number', c.claim_number, 'status', 'complete',
        'logs', '[{"message": "token=1", "fields": {"a": {"token": 1}}}]'::jsonb))
    FROM tasker.claim_steps('w', max_steps => 2) c));
SELECT count(*) FROM tasker.report_and_claim('w', (
    SELECT jsonb_agg(jsonb_build_object('step_uuid', c.step_uuid, 'claim_number', c.claim_number, 'status', 'complete'))
    FROM tasker.claim_steps('w', max_steps => 2) c), max_steps => 10);
SELECT tasker.release_steps('w');

-- An entry that has waited too long, behind one that goes first.
SELECT tasker.create_task('two', '{"n": 1}', priority => 1), tasker.create_task('two', '{"n": 2}', priority => 4), tasker.create_task('two', '{"n": 3}', priority => 4);
SELECT count(*) FROM tasker.claim_steps('w');
SELECT pg_sleep(2.2);
SELECT count(*) FROM tasker.claim_steps('w');
SELECT tasker.release_steps('w');

-- Operators.
SELECT tasker.pause_namespace('default'), tasker.resume_namespace('default');
SELECT tasker.create_task('two', '{"n": 4}', priority => 4) AS two \gset
SELECT tasker.step_uuid(:'two', 1::smallint) AS two_a, tasker.step_uuid(:'two', 2::smallint) AS two_b \gset
SELECT tasker.set_retry_limit(:'two_a', 5);
SELECT tasker.transition_step(:'two_a', 'in_progress');
SELECT tasker.try_transition_step(:'two_a', 'error');
SELECT tasker.retry_step(:'two_a');
SELECT tasker.transition_task(:'two', 'error'), tasker.try_transition_task(:'two', 'pending');
SELECT tasker.resolve_step_manually(:'two_a', '{}', 'me');
SELECT tasker.cancel_step(:'two_b');
SELECT tasker.resolve_task_manually(:'two', 'me', 'no matter');
SELECT tasker.create_task('alone', namespace => 'alone') AS two \gset
SELECT tasker.fail_step(c.step_uuid, c.claim_number, 'it broke', retryable => false) FROM tasker.claim_steps('w', '{alone}') c;
SELECT tasker.retry_task(:'two');
SELECT tasker.annotate_task(:'two', 'note', '{"a": 1}'), tasker.tag_task(:'two', '["x", "y"]'), tasker.untag_task(:'two', '["y"]');
SELECT count(*) FROM tasker.claim_task_for_finalization(:'two', 'p');
SELECT tasker.transition_step(tasker.step_uuid(:'two', 1::smallint), 'in_progress');
SELECT tasker.transition_step(tasker.step_uuid(:'two', 1::smallint), 'complete');
SELECT count(*) FROM tasker.claim_task_for_finalization(:'two', 'p');
SELECT tasker.extend_finalization_claim(:'two', 'p');
SELECT count(*) FROM tasker.finalize_task(:'two');
SELECT tasker.release_finalization_claim(:'two', 'p');
SELECT count(*) FROM tasker.claim_steps('lost', lease => '1 millisecond');
SELECT pg_sleep(0.1);
SELECT count(*) FROM tasker.force_release_stale_claims('expired', false);
SELECT count(*) FROM tasker.claim_steps('lost', lease => '1 millisecond');
SELECT pg_sleep(0.1);
SELECT count(*) FROM tasker.claim_steps('w', max_steps => 10);
SELECT tasker.end_worker('w');
SELECT count(*) FROM tasker.repair_integrity(false);
SELECT count(*) FROM tasker.resume_after_restore();

-- What runs by itself.
SELECT tasker.create_task('inside');
SELECT count(*) FROM tasker.run_steps();
SELECT tasker.schedule_task('nightly', '0 3 * * *', 'two'), tasker.pause_schedule('nightly'), tasker.resume_schedule('nightly');
SELECT tasker.subscribe('audit', start_at => 'beginning', ordered => true), tasker.grant_subscriber('audit', 'tasker_worker');
SELECT tasker.pause_subscriber('audit'), tasker.resume_subscriber('audit'), tasker.seek_subscriber('audit', 'beginning');
SELECT tasker.nack_events('audit', array_agg(event_id), '0 s', 'no') FROM tasker.poll_events('audit', 10);
SELECT tasker.extend_events('audit', array_agg(event_id), '1 minute') FROM tasker.poll_events('audit', 10);
SELECT tasker.ack_events('audit', array_agg(event_id)) FROM tasker.poll_events('audit', 100);
SELECT tasker.redrive_events('audit'), tasker.revoke_subscriber('audit', 'tasker_worker'), tasker.subscribe('audit', sample_rate => 0.5);
SELECT count(*) FROM tasker.preview_subscription('{*}');
SELECT count(*) FROM tasker.subscribers, tasker.event_dead_letters;
SELECT count(*) FROM tasker.load_subscriptions('subscriptions: {filed: {events: [task.failed]}}');
SELECT tasker.subscribe('removed'), tasker.unsubscribe('removed');
SELECT * FROM tasker.load_subscriptions('subscriptions: {filed: {events: [task.failed], enabled: false}}');
SELECT * FROM tasker.run_subscribers();
SELECT tasker.schedule_task('often', '* * * * * *', 'two', missed_runs => 'all');
SELECT tasker.set_retention('default', '1 second', '1 second');
SELECT tasker.configure_executor_pool('mine', 1, 2);
SELECT pg_sleep(1.2);
INSERT INTO tasker_engine.metric_counts SELECT clock_timestamp() - interval '1 hour', 0, false, '{1}', '{1}' FROM generate_series(1, 200);
SELECT tasker.run_maintenance();
SELECT tasker.remove_executor_pool('mine'), tasker.unschedule_task('often');
SELECT tasker.set_operational_state('graceful_shutdown'), tasker.set_operational_state('stopped'), tasker.set_operational_state('startup'), tasker.set_operational_state('normal');
SELECT count(*) FROM tasker.trace_spans(limit_count => 10);
SELECT count(*) FROM tasker.spans_of_events(ARRAY(SELECT event_id FROM tasker.read_events() WHERE event_id IS NOT NULL));
SELECT tasker.set_event_route('task.failed', backends => '{log}');
SELECT tasker.calculate_backoff(2), count(*) FROM tasker.health_status();
SELECT count(*) FROM tasker.validate_resources();
SELECT count(*) FROM tasker.table_access();
SELECT length(tasker.metrics_prometheus(true, true));
SELECT length(tasker.export_metrics()), length(tasker.export_metrics('json')), length(tasker.export_metrics('csv', '{"flatten_labels": true}'));
SELECT tasker.record_export('spans', 'export_failed', '{"error_message": "no answer"}');
SELECT tasker.processor_seconds() > 0;
SELECT tasker.error_type('Timeout'), tasker.extract_error_metrics(e.payload), tasker.extract_timing_metrics(e.payload), tasker.extract_performance_metrics(e.payload), tasker.metric_tags(e.payload)
FROM tasker.read_events(patterns => '{step.failed}', max_events => 1) e;
SELECT tasker.step_queue_time(s.step_uuid) FROM tasker.workflow_steps s LIMIT 1;

-- The end of everything.
SELECT tasker.complete_step(c.step_uuid, c.claim_number) FROM tasker.claim_steps('w', max_steps => 100) c;
SELECT tasker.complete_step(c.step_uuid, c.claim_number) FROM tasker.claim_steps('w', max_steps => 100) c;
SELECT tasker.rerun_task(t.task_uuid) FROM tasker.tasks t WHERE t.state = 'complete' LIMIT 1;
SELECT * FROM tasker.retry_tasks(dry_run => false, max_tasks => 1);
SELECT * FROM tasker.resolve_tasks(dry_run => false, resolved_by => 'me');
SELECT * FROM tasker.cancel_tasks(dry_run => false, max_tasks => 1);
SELECT tasker.cancel_task(t.task_uuid) FROM tasker.tasks t WHERE t.state IN ('pending', 'in_progress');
SET tasker.max_subscriber_lag = 0;
SELECT tasker.purge_tasks('0 seconds', include_failed => true);
SELECT count(*) FROM tasker.poll_events('audit');
SELECT tasker.reset_metrics();
SELECT pg_sleep(1.1); -- statistics are handed on once a second
\o

SELECT 'not called: ' || p.proname
FROM pg_proc p
LEFT JOIN pg_stat_user_functions f ON f.funcid = p.oid
WHERE p.pronamespace = 'tasker'::regnamespace AND p.provolatile = 'v' AND coalesce(f.calls, 0) = 0
  AND p.prokind = 'f' AND p.prolang <> 14
ORDER BY 1;
SELECT 'duty failed: ' || duty || ': ' || last_error FROM tasker.maintenance_duties WHERE failures > 0;
SELECT 'stays: ' || count(*) || ' tasks' FROM tasker.tasks HAVING count(*) > 0;
