-- Readiness, contexts, levels, transitions, backoff and finalization claims, in SQL alone.
-- psql -v ON_ERROR_STOP=1 -f tests/reading/readiness.sql, in a database of its own with the extension installed.
-- Every check raises when it does not hold.
\set QUIET on
SET client_min_messages = warning;
SET tasker.jitter_enabled = off;

CREATE SCHEMA IF NOT EXISTS reading_test;

CREATE OR REPLACE FUNCTION reading_test.same(what text, got text, wanted text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF got IS DISTINCT FROM wanted THEN
        RAISE EXCEPTION '%: got %, wanted %', what, COALESCE(got, '<null>'), COALESCE(wanted, '<null>');
    END IF;
END $$;

-- Runs a statement that must fail with this code.
CREATE OR REPLACE FUNCTION reading_test.fails(statement text, code text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE got text := 'no error';
BEGIN
    BEGIN
        EXECUTE statement;
    EXCEPTION WHEN OTHERS THEN
        got := SQLSTATE;
    END;
    PERFORM reading_test.same(statement, got, code);
END $$;

CREATE OR REPLACE FUNCTION reading_test.ready(task uuid) RETURNS text LANGUAGE sql AS $$
    SELECT COALESCE(string_agg(name, ' ' ORDER BY step_uuid), '') FROM tasker.get_step_readiness_status(task)
    WHERE ready_for_execution
$$;

-- execution status / action / health / percentage / total pending running completed failed ready cancelled
CREATE OR REPLACE FUNCTION reading_test.context(task uuid) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws('/', execution_status, recommended_action, health_status, completion_percentage, total_steps,
                     pending_steps, in_progress_steps, completed_steps, failed_steps, ready_steps, cancelled_steps)
    FROM tasker.get_task_execution_context(task)
$$;

CREATE OR REPLACE FUNCTION reading_test.step(task uuid, step text) RETURNS uuid LANGUAGE sql AS $$
    SELECT step_uuid FROM tasker.workflow_steps WHERE task_uuid = task AND name = step
$$;

-- Starts one named step by hand, whatever else is ready, and reports on it.
CREATE OR REPLACE FUNCTION reading_test.run(task uuid, step text, outcome text DEFAULT 'complete', retryable boolean DEFAULT true)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    uuid uuid := reading_test.step(task, step);
    number integer;
BEGIN
    PERFORM tasker.try_transition_step(uuid, 'pending');
    PERFORM tasker.transition_step(uuid, 'in_progress');
    SELECT claim_number INTO number FROM tasker.workflow_steps WHERE step_uuid = uuid;
    IF outcome = 'complete' THEN
        RETURN tasker.complete_step(uuid, number, '{"done": true}');
    ELSIF outcome = 'error' THEN
        RETURN tasker.fail_step(uuid, number, 'it broke', 'Broken', retryable);
    END IF;
    RETURN 'in_progress';
END $$;

-- Moves the clock of a step, in place of a sleep: the row and its queue entry.
CREATE OR REPLACE FUNCTION reading_test.move(step uuid, by interval) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE tasker_engine.queue_entries SET available_at = available_at + by
    WHERE task_uuid = tasker.step_task_uuid(step) AND step_no = tasker.step_number(step);
    UPDATE tasker_engine.steps SET available_at = available_at + by
    WHERE task_uuid = tasker.step_task_uuid(step) AND step_no = tasker.step_number(step);
END $$;

DO $$ BEGIN
    PERFORM tasker.register_template($y$
name: dummy
namespace_name: reading
steps:
  - {name: step-one, handler: {callable: h}}
  - {name: step-two, handler: {callable: h}}
  - {name: step-three, handler: {callable: h}, depends_on_step: step-two}
  - {name: step-four, handler: {callable: h}, depends_on_step: step-three}
$y$);
    PERFORM tasker.register_template($y$
name: diamond
namespace_name: reading
steps:
  - {name: start_workflow, handler: {callable: h}}
  - {name: branch_one, handler: {callable: h}, depends_on_step: start_workflow}
  - {name: branch_one_b, handler: {callable: h}, depends_on_step: branch_one}
  - {name: branch_two, handler: {callable: h}, depends_on_step: start_workflow}
  - {name: merge, handler: {callable: h}, depends_on_steps: [branch_one_b, branch_two]}
$y$);
    PERFORM tasker.register_template($y$
name: single
namespace_name: reading
steps: [{name: only, handler: {callable: h}}]
$y$);
    PERFORM tasker.register_template($y$
name: stubborn
namespace_name: reading
steps:
  - {name: never_again, handler: {callable: h}, default_retryable: false}
  - {name: no_limit, handler: {callable: h}, default_retry_limit: 0}
$y$);
    PERFORM tasker.register_template($y$
name: pair
namespace_name: reading
steps:
  - {name: a, handler: {callable: h}}
  - {name: b, handler: {callable: h}}
$y$);
END $$;

\echo uuids
DO $$
DECLARE
    t uuid := tasker.create_task('dummy', namespace => 'reading');
    s uuid := tasker.step_uuid(t, 300::smallint);
BEGIN
    PERFORM reading_test.same('task of step', tasker.step_task_uuid(s)::text, t::text);
    PERFORM reading_test.same('number of step', tasker.step_number(s)::text, '300');
    PERFORM reading_test.same('low bits', right(s::text, 4), '012c');
    PERFORM reading_test.same('task itself', tasker.step_number(t)::text, '0');
    PERFORM reading_test.fails(format('SELECT tasker.step_uuid(%L, (-1)::smallint)', t), '22023');
    PERFORM reading_test.fails('SELECT tasker.step_uuid(NULL, 1::smallint)', '22004');
END $$;

\echo a new task, its graph, its progress
DO $$
DECLARE
    t uuid := tasker.create_task('dummy', namespace => 'reading');
    s uuid;
BEGIN
    PERFORM reading_test.same('rows of a new task', (SELECT string_agg(concat_ws(':', name, current_state, dependencies_satisfied,
        retry_eligible, ready_for_execution, total_parents, completed_parents, attempts, retry_limit,
        COALESCE(next_retry_at::text, '-')), ' ' ORDER BY step_uuid) FROM tasker.get_step_readiness_status(t)),
        'step-one:pending:t:t:t:0:0:0:3:- step-two:pending:t:t:t:0:0:0:3:- '
        'step-three:pending:f:t:f:1:0:0:3:- step-four:pending:f:t:f:1:0:0:3:-');
    PERFORM reading_test.same('context of a new task', reading_test.context(t),
        'has_ready_steps/execute_ready_steps/healthy/0.00/4/4/0/0/0/2/0');
    PERFORM reading_test.same('relationships', (SELECT string_agg(concat_ws(':', w.name, d.parent_count, d.child_count,
        d.is_root_step, d.is_leaf_step, d.min_depth_from_root), ' ' ORDER BY w.step_no)
        FROM tasker.step_dag_relationships d JOIN tasker.workflow_steps w USING (step_uuid) WHERE d.task_uuid = t),
        'step-one:0:0:t:t:0 step-two:0:1:t:f:0 step-three:1:1:f:f:1 step-four:1:0:f:t:2');
    PERFORM reading_test.same('parents as an array', (SELECT parent_step_uuids ->> 0 FROM tasker.step_dag_relationships
        WHERE step_uuid = reading_test.step(t, 'step-three')), reading_test.step(t, 'step-two')::text);
    PERFORM reading_test.same('levels', (SELECT string_agg(dependency_level::text, ',' ORDER BY step_uuid)
        FROM tasker.calculate_dependency_levels(t)), '0,0,1,2');
    s := reading_test.step(t, 'step-one');
    PERFORM reading_test.move(s, '30 seconds');
    PERFORM reading_test.same('a postponed step is not ready', reading_test.ready(t), 'step-two');
    PERFORM reading_test.same('next retry of a postponed step', (SELECT (next_retry_at > clock_timestamp())::text
        FROM tasker.get_step_readiness_status(t, ARRAY[s])), 'true');
    PERFORM reading_test.move(s, '-30 seconds');
    PERFORM reading_test.run(t, 'step-one', 'none');
    PERFORM reading_test.same('a running step is not ready', reading_test.ready(t), 'step-two');
    PERFORM tasker.complete_step(s, (SELECT claim_number FROM tasker.workflow_steps WHERE step_uuid = s));
    PERFORM reading_test.run(t, 'step-two');
    PERFORM reading_test.same('third step ready', reading_test.ready(t), 'step-three');
    PERFORM reading_test.same('complete steps are never ready', (SELECT string_agg(ready_for_execution::text || attempts, ',' ORDER BY step_uuid)
        FROM tasker.get_step_readiness_status(t) WHERE current_state = 'complete'), 'false1,false1');
    PERFORM reading_test.run(t, 'step-three');
    PERFORM reading_test.same('fourth step ready', reading_test.ready(t), 'step-four');
    -- The filter does not take the parents out of sight.
    PERFORM reading_test.same('filter', (SELECT concat_ws(':', count(*), bool_and(dependencies_satisfied),
        min(completed_parents)) FROM tasker.get_step_readiness_status(t, ARRAY[reading_test.step(t, 'step-four')])), '1:t:1');
    PERFORM reading_test.run(t, 'step-four');
    PERFORM reading_test.same('complete', reading_test.context(t),
        'all_complete/healthy/100.00/4/0/0/4/0/0/0');
    PERFORM reading_test.same('status', (SELECT status FROM tasker.get_task_execution_context(t)), 'complete');
END $$;

\echo neither branch alone releases the join; depth is shortest, level longest
DO $$
DECLARE t uuid := tasker.create_task('diamond', namespace => 'reading');
BEGIN
    PERFORM reading_test.run(t, 'start_workflow');
    PERFORM reading_test.same('both branches', reading_test.ready(t), 'branch_one branch_two');
    PERFORM reading_test.run(t, 'branch_two');
    PERFORM reading_test.same('half', (SELECT concat_ws(':', total_parents, completed_parents, dependencies_satisfied,
        ready_for_execution) FROM tasker.get_step_readiness_status(t) WHERE name = 'merge'), '2:1:f:f');
    PERFORM reading_test.same('depth', (SELECT min_depth_from_root::text FROM tasker.step_dag_relationships
        WHERE step_uuid = reading_test.step(t, 'merge')), '2');
    PERFORM reading_test.same('level', (SELECT dependency_level::text FROM tasker.calculate_dependency_levels(t)
        WHERE step_uuid = reading_test.step(t, 'merge')), '3');
    PERFORM reading_test.same('edges', (SELECT count(*)::text FROM tasker.workflow_step_edges WHERE task_uuid = t), '5');
    PERFORM reading_test.same('edges to', (SELECT count(*)::text FROM tasker.workflow_step_edges
        WHERE to_step_uuid = reading_test.step(t, 'merge')), '2');
    PERFORM reading_test.same('edges from', (SELECT count(*)::text FROM tasker.workflow_step_edges
        WHERE from_step_uuid = reading_test.step(t, 'start_workflow')), '2');
END $$;

\echo failures
DO $$
DECLARE
    t uuid := tasker.create_task('single', namespace => 'reading');
    s uuid := reading_test.step(t, 'only');
BEGIN
    PERFORM reading_test.run(t, 'only', 'error', false);
    PERFORM reading_test.same('failed permanently', (SELECT concat_ws(':', current_state, attempts, retry_limit, retry_eligible,
        ready_for_execution, COALESCE(next_retry_at::text, '-'), last_failure_at IS NOT NULL)
        FROM tasker.get_step_readiness_status(t)), 'error:1:3:f:f:-:t');
    PERFORM reading_test.same('context: failed permanently', reading_test.context(t),
        'blocked_by_failures/handle_failures/blocked/0.00/1/0/0/0/1/0/0');

    t := tasker.create_task('single', namespace => 'reading');
    s := reading_test.step(t, 'only');
    PERFORM reading_test.run(t, 'only', 'error');
    PERFORM reading_test.move(s, '-1 second');
    PERFORM reading_test.run(t, 'only', 'error');
    PERFORM reading_test.same('waits for its backoff', (SELECT concat_ws(':', attempts, retry_eligible, ready_for_execution,
        next_retry_at - last_failure_at, backoff_request_seconds, last_attempted_at = last_failure_at)
        FROM tasker.get_step_readiness_status(t)), '2:t:f:00:00:02:2:t');
    PERFORM reading_test.same('context: waits for its backoff', reading_test.context(t),
        'waiting_for_dependencies/wait_for_dependencies/recovering/0.00/1/0/0/0/1/0/0');
    PERFORM reading_test.move(s, '-1.9 seconds');
    PERFORM reading_test.same('ready before next_retry_at', reading_test.ready(t), '');
    PERFORM reading_test.move(s, '-0.1 seconds');
    PERFORM reading_test.same('ready after next_retry_at', reading_test.ready(t), 'only');
    PERFORM reading_test.same('next_retry_at has passed', (SELECT (next_retry_at <= clock_timestamp())::text
        FROM tasker.get_step_readiness_status(t)), 'true');
    PERFORM reading_test.run(t, 'only', 'error');
    PERFORM reading_test.same('exhausted', (SELECT concat_ws(':', attempts, retry_eligible, ready_for_execution)
        FROM tasker.get_step_readiness_status(t)), '3:f:f');
    PERFORM reading_test.same('context: exhausted', reading_test.context(t),
        'blocked_by_failures/handle_failures/blocked/0.00/1/0/0/0/1/0/0');
    PERFORM reading_test.same('failed_steps', (SELECT concat_ws(':', error_class, error_message, attempts, retry_limit,
        permanent, next_retry_at IS NULL) FROM tasker.failed_steps WHERE step_uuid = s), 'Broken:it broke:3:3:t:t');
    PERFORM reading_test.same('overview', (SELECT concat_ws(':', full_name, state, failed_steps, progress, oldest_error)
        FROM tasker.task_overview WHERE task_uuid = t), 'reading.single@0.1.0:error:1:0.00:it broke');
    PERFORM reading_test.same('stuck', (SELECT concat_ws(':', reason, stuck_step_name, detail)
        FROM tasker.stuck_tasks WHERE task_uuid = t), 'failed:only:it broke');
END $$;

\echo one cancelled, one complete
DO $$
DECLARE t uuid := tasker.create_task('pair', namespace => 'reading');
BEGIN
    PERFORM tasker.cancel_step(reading_test.step(t, 'a'));
    PERFORM reading_test.same('cancelled, one waits', split_part(reading_test.context(t), '/', 1), 'has_ready_steps');
    PERFORM reading_test.run(t, 'b');
    PERFORM reading_test.same('cancelled beside complete', reading_test.context(t),
        'blocked_by_failures/handle_failures/blocked/50.00/2/0/0/1/0/0/1');
END $$;

\echo the first run
DO $$
DECLARE t uuid := tasker.create_task('stubborn', namespace => 'reading');
BEGIN
    PERFORM reading_test.same('eligible before the first run', (SELECT string_agg(concat_ws(':', name, attempts, retry_eligible,
        ready_for_execution), ' ' ORDER BY name) FROM tasker.get_step_readiness_status(t)),
        'never_again:0:t:t no_limit:0:t:t');
    PERFORM reading_test.run(t, 'never_again', 'error');
    PERFORM reading_test.run(t, 'no_limit', 'error');
    PERFORM reading_test.same('eligible after a failure', (SELECT string_agg(concat_ws(':', name, attempts, retry_eligible,
        ready_for_execution), ' ' ORDER BY name) FROM tasker.get_step_readiness_status(t)),
        'never_again:1:f:f no_limit:1:f:f');
END $$;

\echo resolved and cancelled parents
DO $$
DECLARE t uuid := tasker.create_task('dummy', namespace => 'reading');
BEGIN
    PERFORM tasker.resolve_step_manually(reading_test.step(t, 'step-two'));
    PERFORM reading_test.same('parent resolved', (SELECT concat_ws(':', dependencies_satisfied, ready_for_execution)
        FROM tasker.get_step_readiness_status(t) WHERE name = 'step-three'), 't:t');
    PERFORM tasker.cancel_step(reading_test.step(t, 'step-three'));
    PERFORM reading_test.same('parent cancelled', (SELECT concat_ws(':', dependencies_satisfied, ready_for_execution)
        FROM tasker.get_step_readiness_status(t) WHERE name = 'step-four'), 'f:f');
END $$;

\echo the time zone of the session changes nothing
DO $$
DECLARE
    t uuid := tasker.create_task('single', namespace => 'reading');
    before text;
BEGIN
    PERFORM reading_test.run(t, 'only', 'error');
    PERFORM set_config('TimeZone', 'UTC', true);
    SELECT concat_ws(':', ready_for_execution, extract(epoch FROM next_retry_at)) INTO before
        FROM tasker.get_step_readiness_status(t);
    PERFORM set_config('TimeZone', 'Asia/Tokyo', true);
    PERFORM reading_test.same('time zone', (SELECT concat_ws(':', ready_for_execution, extract(epoch FROM next_retry_at))
        FROM tasker.get_step_readiness_status(t)), before);
END $$;

\echo transitions
DO $$
DECLARE
    t uuid := tasker.create_task('single', namespace => 'reading');
    s uuid := reading_test.step(t, 'only');
BEGIN
    PERFORM reading_test.run(t, 'only', 'error');
    PERFORM reading_test.move(s, '-1 minute');
    PERFORM reading_test.run(t, 'only');
    PERFORM reading_test.same('transitions of a step', (SELECT string_agg(concat_ws(':', sort_key, from_state, to_state, most_recent),
        ' ' ORDER BY id) FROM tasker.workflow_step_transitions WHERE step_uuid = s),
        '10:pending:in_progress:f 20:in_progress:error:f 30:error:pending:f 40:pending:in_progress:f '
        '50:in_progress:complete:t');
    PERFORM reading_test.same('transitions of a task', (SELECT string_agg(concat_ws(':', sort_key, COALESCE(from_state, '-'), to_state,
        most_recent), ' ' ORDER BY id) FROM tasker.task_transitions WHERE task_uuid = t),
        '10:-:pending:f 20:pending:in_progress:f 30:in_progress:complete:t');
    PERFORM reading_test.same('transitions of all steps', (SELECT count(*)::text FROM (
        SELECT step_uuid FROM tasker.workflow_step_transitions GROUP BY step_uuid
        HAVING count(*) FILTER (WHERE most_recent) <> 1) bad), '0');
    PERFORM reading_test.same('step view', (SELECT concat_ws(':', state, processed, in_process, attempts, processed_at IS NOT NULL)
        FROM tasker.workflow_steps WHERE step_uuid = s), 'complete:t:f:2:t');
    PERFORM reading_test.same('task view', (SELECT concat_ws(':', state, complete, full_name)
        FROM tasker.tasks WHERE task_uuid = t), 'complete:t:reading.single@0.1.0');
END $$;

\echo batches and errors
DO $$
DECLARE
    a uuid := tasker.create_task('single', namespace => 'reading');
    b uuid := tasker.create_task('pair', namespace => 'reading');
BEGIN
    PERFORM reading_test.same('batch', (SELECT count(*)::text FROM tasker.get_step_readiness_status_batch(ARRAY[b, a, b])), '3');
    PERFORM reading_test.same('batch = single', (SELECT count(*)::text FROM (
        (SELECT * FROM tasker.get_step_readiness_status(a) UNION ALL SELECT * FROM tasker.get_step_readiness_status(b))
        EXCEPT SELECT * FROM tasker.get_step_readiness_status_batch(ARRAY[a, b])) d), '0');
    PERFORM reading_test.same('contexts', (SELECT string_agg(c.task_uuid::text, ' ') FROM
        tasker.get_task_execution_contexts_batch(ARRAY[b, a]) c), a || ' ' || b);
    PERFORM reading_test.same('unknown', (SELECT count(*)::text FROM
        tasker.get_task_execution_context('00000000-0000-7000-8000-000000000000')), '0');
    PERFORM reading_test.same('no steps wanted', (SELECT count(*)::text FROM
        tasker.get_step_readiness_status(a, '{}')), '0');
    PERFORM reading_test.fails('SELECT * FROM tasker.get_step_readiness_status(NULL)', '22004');
    PERFORM reading_test.fails('SELECT * FROM tasker.get_task_execution_contexts_batch(NULL)', '22004');
    PERFORM reading_test.fails('SELECT * FROM tasker.get_task_execution_contexts_batch(ARRAY[NULL::uuid])', '22004');
    PERFORM reading_test.fails(format('SELECT tasker.task_diagram(%L, ''png'')', a), '22023');
    PERFORM reading_test.fails('SELECT tasker.task_diagram(''00000000-0000-7000-8000-000000000000'')', 'P0002');
    PERFORM reading_test.fails('SELECT tasker.template_diagram(''nothing'')', 'P0002');
    PERFORM reading_test.same('diagram', (tasker.task_diagram(a) LIKE '%only%pending%')::text, 'true');
    PERFORM reading_test.same('dot', (tasker.template_diagram('diamond', 'reading', format => 'dot') LIKE 'digraph%merge%')::text, 'true');
    PERFORM reading_test.same('svg', (tasker.task_diagram(b, 'svg') LIKE '<svg%')::text, 'true');
    PERFORM reading_test.same('diagram view', (SELECT concat_ws(':', jsonb_array_length(nodes), jsonb_array_length(edges))
        FROM tasker.task_diagrams WHERE task_uuid = b), '2:0');
END $$;

\echo calculate_backoff
DO $$
BEGIN
    PERFORM reading_test.same('list', (SELECT string_agg(extract(epoch FROM tasker.calculate_backoff(n))::integer::text, ',' ORDER BY o)
        FROM unnest(ARRAY[0, 1, 3, 6, 7, 100]) WITH ORDINALITY AS u (n, o)), '0,1,4,32,49,300');
    PERFORM reading_test.same('exponential', (SELECT string_agg((extract(epoch FROM
        tasker.calculate_backoff(n, 'exponential', 50, 200)) * 1000)::integer::text, ',' ORDER BY n)
        FROM generate_series(1, 4) n), '50,100,200,200');
    PERFORM reading_test.same('fibonacci', (SELECT string_agg(extract(epoch FROM
        tasker.calculate_backoff(n, 'fibonacci', 1000))::integer::text, ',' ORDER BY n)
        FROM generate_series(1, 5) n), '1,1,2,3,5');
    PERFORM reading_test.same('Retry-After', tasker.calculate_backoff(1, retry_after => '5000 seconds')::text, '00:05:00');
    PERFORM reading_test.same('Retry-After 0', tasker.calculate_backoff(5, retry_after => '0')::text, '00:00:00');
    PERFORM reading_test.same('jitter', (SELECT bool_and(d BETWEEN '2 seconds' AND '6 seconds')::text || (count(DISTINCT d) > 5)
        FROM (SELECT tasker.calculate_backoff(3, jitter => 0.5) AS d FROM generate_series(1, 200)) j), 'truetrue');
    PERFORM reading_test.fails('SELECT tasker.calculate_backoff(NULL)', '22004');
    PERFORM reading_test.fails('SELECT tasker.calculate_backoff(1, ''fixed'')', '22023');
    PERFORM reading_test.fails('SELECT tasker.calculate_backoff(1, jitter => 2)', '22023');
    PERFORM reading_test.fails('SELECT tasker.calculate_backoff(1, jitter => ''NaN'')', '22023');
    PERFORM reading_test.fails('SELECT tasker.calculate_backoff(1, ''linear'', -1)', '22023');
END $$;

\echo finalization claims
DO $$
DECLARE
    t uuid := tasker.create_task('pair', namespace => 'reading');
    before timestamptz;
    claim text;
BEGIN
    PERFORM reading_test.same('unknown', (SELECT concat_ws(':', claimed, task_state, message) FROM
        tasker.claim_task_for_finalization('00000000-0000-7000-8000-000000000000', 'p1')), 'f:not_found:Task not found');
    PERFORM reading_test.same('nothing finished', (SELECT concat_ws(':', claimed, task_state, message) FROM
        tasker.claim_task_for_finalization(t, 'p1')), 'f:has_ready_steps:Task has no completed or failed steps');
    PERFORM reading_test.run(t, 'a', 'error', false);
    PERFORM reading_test.same('claimed', (SELECT concat_ws(':', claimed, already_claimed_by, message) FROM
        tasker.claim_task_for_finalization(t, 'p1', 600)), 't:p1:Successfully claimed for finalization');
    SELECT claimed_at INTO before FROM tasker_engine.finalization_claims WHERE task_uuid = t;
    PERFORM reading_test.same('other', (SELECT concat_ws(':', claimed, already_claimed_by, message) FROM
        tasker.claim_task_for_finalization(t, 'p2', 1)), 'f:p1:Task already claimed for finalization');
    PERFORM reading_test.same('again', (SELECT concat_ws(':', claimed, already_claimed_by, message) FROM
        tasker.claim_task_for_finalization(t, 'p1', 600)), 't:p1:Claim extended');
    PERFORM reading_test.same('moved', (SELECT (claimed_at > before)::text FROM tasker_engine.finalization_claims
        WHERE task_uuid = t), 'true');
    PERFORM reading_test.same('extend', concat_ws(':', tasker.extend_finalization_claim(t, 'p1', 600),
        tasker.extend_finalization_claim(t, 'p2')), 't:f');
    -- The holder's own timeout counts, not the caller's.
    UPDATE tasker_engine.finalization_claims SET expires_at = clock_timestamp() - interval '1 ms' WHERE task_uuid = t;
    PERFORM reading_test.same('extend too late', tasker.extend_finalization_claim(t, 'p1')::text, 'false');
    PERFORM reading_test.same('taken over', (SELECT concat_ws(':', claimed, already_claimed_by, message) FROM
        tasker.claim_task_for_finalization(t, 'p2', 600)), 't:p2:Successfully claimed for finalization');
    PERFORM reading_test.same('release', concat_ws(':', tasker.release_finalization_claim(t, 'p1'),
        tasker.release_finalization_claim(t, 'p2'), tasker.release_finalization_claim(t, 'p2')), 'f:t:f');
    PERFORM reading_test.same('finalize', (SELECT concat_ws(':', action, completion_percentage, total_steps, health_status,
        reason) FROM tasker.finalize_task(t)), 'pending:0.00:2:recovering:has_ready_steps');
    PERFORM reading_test.run(t, 'b');
    PERFORM reading_test.same('ended', (SELECT concat_ws(':', claimed, task_state, message) FROM
        tasker.claim_task_for_finalization(t, 'p1')), 'f:error:Task already error');
    PERFORM reading_test.same('nothing to do', (SELECT concat_ws(':', action, reason) FROM tasker.finalize_task(t)),
        'no_action:Task already error');
    -- A task that was left open although all is done, which the engine never does by itself.
    t := tasker.create_task('single', namespace => 'reading');
    UPDATE tasker_engine.steps SET state = 'c' WHERE task_uuid = t;
    PERFORM tasker_engine.duty_stuck();
    PERFORM reading_test.same('stuck', (SELECT reason FROM tasker.stuck_tasks WHERE task_uuid = t), 'nothing_can_run');
    PERFORM reading_test.same('finalized', (SELECT concat_ws(':', action, completion_percentage, reason)
        FROM tasker.finalize_task(t)), 'completed:100.00:all_complete');
    PERFORM reading_test.same('complete', (SELECT state FROM tasker.tasks WHERE task_uuid = t), 'complete');
    PERFORM reading_test.same('attempts', (SELECT count(*)::text FROM tasker_engine.finalization_attempts
        WHERE task_uuid = '00000000-0000-7000-8000-000000000000'), '1');
    PERFORM reading_test.fails(format('SELECT * FROM tasker.claim_task_for_finalization(%L, ''p'', 0)', t), '22023');
    PERFORM reading_test.fails(format('SELECT * FROM tasker.claim_task_for_finalization(%L, '' '')', t), '22023');
    PERFORM reading_test.fails(format('SELECT * FROM tasker.claim_task_for_finalization(%L, NULL)', t), '22004');
    PERFORM reading_test.fails(format('SELECT tasker.extend_finalization_claim(%L, ''p'', NULL)', t), '22004');
    PERFORM reading_test.fails('SELECT * FROM tasker.finalize_task(''00000000-0000-7000-8000-000000000000'')', 'P0002');
    PERFORM reading_test.fails('SELECT tasker.release_finalization_claim(''00000000-0000-7000-8000-000000000000'', ''p'')', 'P0002');
END $$;

\echo stuck_tasks and workers
DO $$
DECLARE
    t uuid := tasker.create_task('single', namespace => 'reading');
    claimed record;
BEGIN
    DELETE FROM tasker_engine.workers WHERE 'reading' = ANY (namespaces);
    PERFORM reading_test.same('no worker', (SELECT concat_ws(':', reason, stuck_step_name) FROM tasker.stuck_tasks
        WHERE task_uuid = t), 'no_worker:only');
    PERFORM tasker.pause_namespace('reading');
    PERFORM reading_test.same('paused', (SELECT concat_ws(':', reason, hint) FROM tasker.stuck_tasks WHERE task_uuid = t),
        'namespace_paused:SELECT tasker.resume_namespace(''reading'')');
    PERFORM tasker.resume_namespace('reading');
    SELECT * INTO claimed FROM tasker.claim_steps('reader', '{reading}', 1000, '1 hour') c WHERE c.task_uuid = t;
    PERFORM reading_test.same('running', (SELECT concat_ws(':', worker_id, attempt, overdue, name, queue)
        FROM tasker.running_steps WHERE step_uuid = claimed.step_uuid), 'reader:1:f:only:default');
    PERFORM reading_test.same('holder', (SELECT worker_id FROM tasker.workflow_steps WHERE step_uuid = claimed.step_uuid), 'reader');
    PERFORM reading_test.same('busy', (SELECT state FROM tasker.workers WHERE worker_id = 'reader'), 'busy');
    PERFORM reading_test.same('not stuck', (SELECT count(*)::text FROM tasker.stuck_tasks WHERE task_uuid = t), '0');
    UPDATE tasker_engine.claims SET lease_expires_at = clock_timestamp() - interval '1 second';
    PERFORM reading_test.same('overdue', (SELECT overdue::text FROM tasker.running_steps WHERE task_uuid = t), 'true');
    PERFORM reading_test.same('stuck', (SELECT reason FROM tasker.stuck_tasks WHERE task_uuid = t), 'lease_expired');
    PERFORM reading_test.same('worker', (SELECT state FROM tasker.workers WHERE worker_id = 'reader'), 'lost');
END $$;

\echo annotations and object maps are plain tables
DO $$
DECLARE t uuid := tasker.create_task('single', namespace => 'reading');
BEGIN
    INSERT INTO tasker.annotation_types (name) VALUES ('reading-ticket');
    INSERT INTO tasker.task_annotations (task_uuid, annotation_type_id, annotation)
        SELECT t, annotation_type_id, '{"id": 7}' FROM tasker.annotation_types WHERE name = 'reading-ticket';
    PERFORM reading_test.same('annotation', (SELECT annotation ->> 'id' FROM tasker.task_annotations WHERE task_uuid = t), '7');
    PERFORM reading_test.fails('INSERT INTO tasker.annotation_types (name) VALUES (''reading-ticket'')', '23505');
END $$;

DROP SCHEMA reading_test CASCADE;
\echo readiness.sql: all checks hold
