-- Templates and tasks as graphs.
SELECT tasker.register_template('{"name": "order", "namespace_name": "analysis", "version": "1.0.0", "description": "sells", "steps": [
    {"name": "validate", "handler": "shop.validate", "description": "looks"}, {"name": "reserve", "handler": "shop.reserve", "depends_on_steps": ["validate"]},
    {"name": "charge", "handler": "shop.charge", "depends_on_steps": ["validate"]},
    {"name": "ship", "handler": "shop.ship", "depends_on_steps": ["reserve", "charge", "validate"]},
    {"name": "thank", "handler": "shop.thank", "depends_on_steps": ["ship"]}]}') > 0 AS registered;
SELECT * FROM tasker.template_graph('order', 'analysis');
SELECT count(*) FROM tasker.template_graph('order', 'analysis', '9.9.9');
SELECT key, value FROM jsonb_each(tasker.analyze_template('order', 'analysis', '1.0.0')) WHERE key NOT IN ('nodes', 'edges') ORDER BY key;
SELECT n.* FROM jsonb_array_elements(tasker.analyze_template('order', 'analysis') -> 'nodes') n;
SELECT e.* FROM jsonb_array_elements(tasker.analyze_template('order', 'analysis') -> 'edges') e;

-- Before anything ran, every duration is the estimate: two paths are equally long, so both are critical, and no step between them gains anything alone.
SELECT tasker.create_task('order', namespace => 'analysis') AS task \gset
SELECT step_no, step_name, state, level, duration, duration_basis, starts_after, ends_after, slack, drag, is_critical, step_uuid = play.step(:'task', step_name) AS step
FROM tasker.task_schedule(:'task');
SELECT position, step_no, step_name, state, duration, duration_basis, starts_after, ends_after, slack, drag, step_uuid = play.step(:'task', step_name) AS step
FROM tasker.task_critical_path(:'task');
SELECT * FROM tasker.task_parallelism(:'task');
SELECT step_no, step_name, state, blocker_step_no, blocker_step_name, blocker_state, blocker_standing, direct, root_cause,
       step_uuid = play.step(:'task', step_name) AND blocker_step_uuid = play.step(:'task', blocker_step_name) AS steps FROM tasker.task_blockers(:'task');
SELECT step_name, state, bottleneck_type, severity, score, downstream_steps, blocked_steps, blocked_step_names, attempts, retry_limit FROM tasker.task_bottlenecks(:'task');
SELECT count(*) FROM tasker.task_error_chains(:'task');

-- One failed permanently, one will be tried again later.
CREATE TEMP TABLE c AS SELECT * FROM tasker.claim_steps('analyst', '{analysis}');
SELECT step_name, blocker_step_name, blocker_standing FROM tasker.task_blockers(:'task') WHERE root_cause;
SELECT tasker.complete_step(step_uuid, claim_number) FROM c;
TRUNCATE c;
INSERT INTO c SELECT * FROM tasker.claim_steps('analyst', '{analysis}', 2);
SELECT step_name, CASE step_name WHEN 'charge' THEN tasker.fail_step(step_uuid, claim_number, 'card declined', 'Declined', retryable => false)
    ELSE tasker.fail_step(step_uuid, claim_number, 'no stock', 'Empty', retry_after => '4 minutes') END FROM c ORDER BY step_name;
SELECT step_name, blocker_step_name, blocker_standing, direct, root_cause FROM tasker.task_blockers(:'task');
SELECT step_name, state, bottleneck_type, severity, score, downstream_steps, blocked_steps, blocked_step_names, attempts, retry_limit,
       step_uuid = play.step(:'task', step_name) AS step FROM tasker.task_bottlenecks(:'task');
SELECT step_name, error_class, error_message, permanent, attempts, retry_limit, failed_at <= clock_timestamp() AS failed, next_retry_at > clock_timestamp() AS later,
       impact_score, severity, downstream_steps, blocked_steps, blocked_step_names FROM tasker.task_error_chains(:'task');
SELECT * FROM tasker.task_parallelism(:'task');
SELECT step_name, duration >= '0' AND duration < '30 s' AS duration, duration_basis, is_critical = (slack = '0') AS critical, drag BETWEEN '0' AND duration AS drag FROM tasker.task_schedule(:'task');
SELECT max(ends_after) = (SELECT sum(duration) FROM tasker.task_critical_path(:'task')) AS total FROM tasker.task_schedule(:'task');

-- The same as one document.
SELECT key, CASE jsonb_typeof(value) WHEN 'object' THEN ARRAY(SELECT jsonb_object_keys(value) ORDER BY 1) END AS keys
FROM jsonb_each(tasker.analyze_task(:'task')) ORDER BY key;
SELECT d -> 'blockers' AS blockers, d #> '{critical_path,length}' AS critical_path,
       d #> '{critical_paths,total_paths}' AS total_paths, d #> '{critical_paths,longest_path_length}' AS longest, d #> '{bottlenecks,overall_impact}' AS impact
FROM tasker.analyze_task(:'task') d;
SELECT play.short(jsonb_pretty(d #> '{dependency_graph,dependency_levels}')) AS levels, play.short((d #> '{dependency_graph,adjacency_list}')::text) AS adjacency
FROM tasker.analyze_task(:'task') d;

-- An operator steps in: what is done blocks nothing, what is cancelled does.
SELECT tasker.resolve_step_manually(play.step(:'task', 'charge')), tasker.resolve_step_manually(play.step(:'task', 'reserve')), tasker.cancel_step(play.step(:'task', 'ship'));
SELECT step_name, blocker_step_name, blocker_standing, direct, root_cause FROM tasker.task_blockers(:'task');
SELECT step_name, state, bottleneck_type, severity, score FROM tasker.task_bottlenecks(:'task');
SELECT count(*) FROM tasker.task_error_chains(:'task');

-- An unknown uuid has no rows; what returns one document refuses it, and NULL is always refused.
SELECT function, split_part(play.refusal(format('SELECT * FROM tasker.%s(''00000000-0000-7000-8000-000000000000'')', function)), E'\n', 1) AS unknown_uuid,
       left(play.refusal(format('SELECT * FROM tasker.%s(NULL)', function)), 5) AS for_null
FROM unnest('{task_schedule,task_critical_path,task_bottlenecks,task_error_chains,task_parallelism,task_blockers,analyze_task}'::text[]) AS u (function);
SELECT play.refusal('SELECT tasker.analyze_template(''nothing'')');
-- What is refused, with its SQLSTATE.
\set SHOW_CONTEXT never
SELECT tasker.analyze_template(NULL); \echo :SQLSTATE
SELECT tasker.analyze_template('order', NULL); \echo :SQLSTATE
SELECT count(*) FROM tasker.template_graph(NULL); \echo :SQLSTATE
SELECT count(*) FROM tasker.template_graph('order', NULL); \echo :SQLSTATE
