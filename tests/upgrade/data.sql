-- Live data of every kind, as a release left them: scripts/freeze-version runs this with that release, as role app in its own database, and
-- dumps it. tests/client/tests/upgrading/releases.rs knows the names.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
\o /dev/null
CREATE EXTENSION tasker_ext;

-- Templates: a namespace each, so that a test can claim from one of them.
CREATE SCHEMA shop;
CREATE FUNCTION shop.charge(step jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('charged', true) $$;
SELECT tasker.register_template(format('{"name": "diamond", "namespace_name": %s, "steps": [
    {"name": "start", "handler": "h"}, {"name": "left", "handler": "h", "depends_on_steps": ["start"]},
    {"name": "right", "handler": "h", "depends_on_steps": ["start"], "skippable": true},
    {"name": "end", "handler": "h", "depends_on_steps": ["left", "right"]}]}', to_jsonb(n)))
FROM unnest(ARRAY['held', 'due', 'later', 'paused', 'finalized', 'ended']) AS n;
SELECT tasker.register_template('{"name": "charge", "namespace_name": "inside", "steps": [{"name": "charge", "handler": "sql:shop.charge"}]}');
SELECT tasker.register_template('{"name": "slow", "namespace_name": "timed", "timeout_seconds": 1,
    "steps": [{"name": "a", "handler": "h", "timeout_seconds": 1, "retry_limit": 1}]}');
SELECT tasker.register_template('{"name": "once", "namespace_name": "ended", "identity_strategy": "hash", "steps": [{"name": "a", "handler": "h"}]}');

-- A worker of another role: one complete task, one that failed for good, one cancelled; and a claim that is open.
SET ROLE shop_worker;
SELECT tasker.create_task('diamond', '{"n": 1}', 'ended', correlation_id => 'complete');
SELECT tasker.complete_step(c.step_uuid, c.claim_number, '{"big": 12345678901234567890.5, "text": "ä\"\\"}')
FROM tasker.claim_steps('worker', '{ended}') c;
SELECT tasker.complete_step(c.step_uuid, c.claim_number) FROM tasker.claim_steps('worker', '{ended}', 10) c;
SELECT tasker.complete_step(c.step_uuid, c.claim_number) FROM tasker.claim_steps('worker', '{ended}', 10) c;
SELECT tasker.create_task('diamond', '{"n": 2}', 'ended', correlation_id => 'failed');
SELECT tasker.fail_step(c.step_uuid, c.claim_number, 'it broke', 'Broken', retryable => false) FROM tasker.claim_steps('worker', '{ended}') c;
SELECT tasker.create_task('once', '{"n": 3}', 'ended', idempotency_key => 'key', correlation_id => 'cancelled') AS cancelled \gset
SELECT tasker.create_task('diamond', '{"n": 4}', 'held', correlation_id => 'held', priority => 4, tags => '["red"]', traceparent => 'trace',
    run_at => now() - interval '1 hour', bypass_steps => '["right"]');
SELECT count(*) FROM tasker.claim_steps('holder', '{held}', lease => '1 day');
-- A retry that is due, and one that comes in a hundred years.
SELECT tasker.create_task('diamond', '{"n": 5}', 'due', correlation_id => 'due');
SELECT tasker.fail_step(c.step_uuid, c.claim_number, 'try again', 'Again', retry_after => '0') FROM tasker.claim_steps('worker', '{due}') c;
SELECT tasker.create_task('diamond', '{"n": 6}', 'later', correlation_id => 'later', run_at => now() + interval '100 years');
-- A namespace that is paused, with work.
SELECT tasker.create_task('diamond', '{"n": 7}', 'paused', correlation_id => 'paused');
-- Half done, and claimed by an external finalizer.
SELECT tasker.create_task('diamond', '{"n": 8}', 'finalized', correlation_id => 'finalized') AS finalized \gset
SELECT tasker.complete_step(c.step_uuid, c.claim_number) FROM tasker.claim_steps('worker', '{finalized}') c;
SELECT count(*) FROM tasker.claim_steps('worker', '{finalized}', 1);
SELECT tasker.create_task('charge', '{"n": 10}', 'inside', correlation_id => 'inside');
SELECT tasker.register_handlers('worker', '{h, other}', plugin => 'shop', plugin_version => '1.0.0', metadata => '{"a": 1}');
RESET ROLE;

SELECT tasker.cancel_task(:'cancelled', 'not needed');
SELECT tasker.pause_namespace('paused');
SELECT count(*) FROM tasker.claim_task_for_finalization(:'finalized', 'finalizer', 1);
SELECT tasker.annotate_task(:'finalized', 'note', '{"by": "hand"}'), tasker.tag_task(:'finalized', '["blue"]');
SELECT tasker.find_or_create_dependent_system('bank'), tasker.find_or_create_dependent_system('shop');
SELECT tasker.find_or_create_dependent_system_object_map('bank', '1', 'shop', '2');
-- Schedules: one that is due whenever this is loaded, one that is paused.
SELECT tasker.schedule_task('often', '* * * * * *', 'once', '{"n": 11}', 'ended', missed_runs => 'one', time_zone => 'Europe/Berlin');
SELECT tasker.schedule_task('paused', '0 3 * * *', 'once', '{"n": 12}', 'ended', enabled => false);
SELECT tasker.set_retention('ended', '50 years', '60 years');
SELECT tasker.configure_executor_pool('shop', 1, 3, namespaces => '{inside}');
SELECT tasker.set_operational_state('graceful_shutdown', 'the release'), tasker.set_operational_state('stopped'), tasker.set_operational_state('startup'),
       tasker.set_operational_state('normal', 'back');
SELECT tasker.run_maintenance();
-- A run that takes longer than its step may, and a task that takes longer than it may: maintenance has not seen it.
SET ROLE shop_worker;
SELECT tasker.create_task('slow', '{"n": 9}', 'timed', correlation_id => 'timed');
SELECT count(*) FROM tasker.claim_steps('slow', '{timed}', lease => '1 day');
RESET ROLE;
-- What is counted goes into its table ten seconds after the last time.
SELECT pg_sleep(10);
SELECT tasker.create_task('diamond', '{"n": 13}', 'later', correlation_id => 'counted', run_at => now() + interval '100 years');
