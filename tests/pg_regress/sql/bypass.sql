-- bypass_steps: steps that a request skips.
SELECT tasker.register_template('{"name": "order", "namespace_name": "bypass", "steps": [
    {"name": "check", "handler": "play.check", "skippable": true},
    {"name": "charge", "handler": "play.charge", "depends_on_steps": ["check"]},
    {"name": "gift", "handler": "play.gift", "depends_on_steps": ["charge"], "skippable": true},
    {"name": "mail", "handler": "play.mail", "depends_on_steps": ["gift"], "skippable": true}]}') > 0 AS registered;

-- What is skipped is done from the beginning: the log says why, its children do not wait for what it would have waited for.
SELECT tasker.create_task('order', namespace => 'bypass', bypass_steps => '["gift", "check"]') AS task \gset
SELECT state, bypass_steps FROM tasker.tasks WHERE task_uuid = :'task';
SELECT name, state, processed, attempts, results FROM tasker.workflow_steps WHERE task_uuid = :'task' ORDER BY step_no;
SELECT s.name, t.from_state, t.to_state, t.attempt, t.metadata FROM tasker.workflow_step_transitions t JOIN tasker.workflow_steps s USING (step_uuid)
WHERE t.task_uuid = :'task' ORDER BY t.id;
SELECT name, dependencies_satisfied, ready_for_execution FROM tasker.get_step_readiness_status(:'task') ORDER BY step_uuid;
SELECT * FROM play.work('bypass');
SELECT state FROM tasker.tasks WHERE task_uuid = :'task';
-- What a child gets from it is the empty object.
SELECT tasker.get_dependency_results(play.step(:'task', 'charge')), tasker.get_dependency_results(play.step(:'task', 'mail'));

-- A task of which nothing is left to do is complete at once.
SELECT tasker.register_template('{"name": "extras", "namespace_name": "bypass", "steps": [
    {"name": "only", "handler": "play.only", "skippable": true}]}') > 0 AS registered;
SELECT tasker.create_task('extras', namespace => 'bypass', bypass_steps => '["only"]') AS none \gset
SELECT state, complete, completed_at IS NOT NULL AS completed FROM tasker.tasks WHERE task_uuid = :'none';
SELECT from_state, to_state, most_recent FROM tasker.task_transitions WHERE task_uuid = :'none' ORDER BY id;

-- Of several tasks all skip the same.
SELECT count(*) FROM tasker.create_tasks('order', ARRAY['{}', '{}']::jsonb[], 'bypass', bypass_steps => '["mail"]');
SELECT t.state, t.bypass_steps, s.name FROM tasker.tasks_in_namespace('bypass') t JOIN tasker.workflow_steps s USING (task_uuid)
WHERE s.state = 'resolved_manually' AND t.bypass_steps = '["mail"]';
-- What is refused.
SELECT play.refusal($$SELECT tasker.create_task('order', namespace => 'bypass', bypass_steps => '["charge"]')$$);
SELECT play.refusal($$SELECT tasker.create_task('order', namespace => 'bypass', bypass_steps => '["nothing"]')$$);
SELECT play.refusal($$SELECT tasker.create_task('order', namespace => 'bypass', bypass_steps => '{"mail": true}')$$);
SELECT play.refusal($$SELECT tasker.create_task('order', namespace => 'bypass', bypass_steps => '[1]')$$);
