-- Templates and tasks as graphs. The rules are crates/rules/src/operations/analysis/, the weights of the scores are in weights.rs
-- there.

CREATE OR REPLACE FUNCTION tasker.analyze_template(name text, namespace text DEFAULT 'default', version text DEFAULT NULL)
RETURNS jsonb AS 'MODULE_PATHNAME', 'analyze_template' LANGUAGE c STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.analyze_template(text, text, text) IS
'The analysis of a template, without any task, as one object: name (namespace.name@version), nodes [{name, step_no, description, handler_class, dependencies, dependency_count, level}], edges [{from, to, type: single if the child has no other parent, else multiple}], topology (step names in the order in which they could run), cycles (always empty: register_template refuses them, validate_template names them), levels {step name: length of the longest path from a root}, roots, leaves, redundant_dependencies [{from, to}: a longer path implies the edge] (null above 1,000 steps), summary {total_steps, total_dependencies, has_cycles, max_depth: the highest level, parallel_branches: steps of the widest level}. nodes and edges are null for more than 5,000 steps or 10,000 dependencies (rows: template_graph). P0002 if unknown.
name: Name of the template.
namespace: Its namespace.
version: x.y.z; NULL is the highest by semantic version.';
GRANT EXECUTE ON FUNCTION tasker.analyze_template(text, text, text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.template_graph(name text, namespace text DEFAULT 'default', version text DEFAULT NULL)
RETURNS TABLE (
    step_name text, step_no integer, level integer, min_depth integer, parents text[], children text[], is_root boolean,
    is_leaf boolean, handler text)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT n.name,
           n.step_no::integer,
           tasker_engine.step_level(n.named_task_id, n.step_no),
           tasker_engine.step_min_depth(n.named_task_id, n.step_no),
           ARRAY(SELECT p.name FROM tasker.named_tasks_named_steps p
                 WHERE p.named_task_id = n.named_task_id
                   AND p.step_no = ANY (n.parents) ORDER BY p.step_no),
           ARRAY(SELECT c.name FROM tasker.named_tasks_named_steps c
                 WHERE c.named_task_id = n.named_task_id
                   AND c.step_no = ANY (n.children) ORDER BY c.step_no),
           cardinality(n.parents) = 0,
           cardinality(n.children) = 0,
           n.handler
    FROM tasker.named_tasks_named_steps n
    WHERE n.named_task_id = (
        SELECT t.named_task_id
        FROM tasker.task_namespaces s
        JOIN tasker.named_tasks t ON t.task_namespace_id = s.task_namespace_id
        WHERE s.name = tasker_engine.required($2, 'namespace')
          AND t.name = tasker_engine.required($1, 'name')
          AND ($3 IS NULL OR t.version = $3)
        ORDER BY t.version_order DESC
        LIMIT 1)
    ORDER BY n.step_no;
END;
COMMENT ON FUNCTION tasker.template_graph(text, text, text) IS
'The graph of a template, one row per step in the order in which they could run. No row if unknown.
name: Name of the template.
namespace: Its namespace.
version: x.y.z; NULL is the highest by semantic version.
step_no: Number of the step, from 1, in topological order.
level: Length of the longest path from a root, in edges; roots have 0.
min_depth: Length of the shortest path from a root, in edges; roots have 0.
parents: Names of the steps that it needs directly.
children: Names of the steps that need it directly.
is_root: Whether it needs no other step.
is_leaf: Whether no step needs it.';
GRANT EXECUTE ON FUNCTION tasker.template_graph(text, text, text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.analyze_task(task_uuid uuid)
RETURNS jsonb AS 'MODULE_PATHNAME', 'analyze_task' LANGUAGE c STABLE SECURITY DEFINER COST 1000
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.analyze_task(uuid) IS
'The whole runtime analysis of a task as one object, computed from the current rows of the tables: task_uuid, execution_status and health_status (as get_task_execution_context), dependency_graph {nodes, edges, adjacency_list, reverse_adjacency_list, dependency_levels}, critical_path (as task_critical_path), critical_paths {total_paths, longest_path_length in steps, paths: the five with the highest score, root_nodes, leaf_nodes}, parallelism_opportunities (as task_parallelism; current_parallel_opportunities: steps that could run now; blocked_parallel_opportunities: steps that wait in levels of more than one step; parallelism_efficiency: percent of levels with more than one ready step), error_chains (as task_error_chains), bottlenecks (as task_bottlenecks, with overall_impact Severe, High, Medium, Low or None), blockers {step name: names of the steps where something must happen first}. Durations are seconds. dependency_graph is null for more than 5,000 steps or 10,000 dependencies (rows: task_schedule, workflow_step_edges), every other list has at most its first 1,000 entries, and blockers names at most 10,000 steps; the numbers beside the lists count all. P0002 for an unknown task.';
GRANT EXECUTE ON FUNCTION tasker.analyze_task(uuid) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.task_schedule(task_uuid uuid)
RETURNS TABLE (
    step_uuid uuid, step_no integer, step_name text, state text, level integer, duration interval, duration_basis text,
    starts_after interval, ends_after interval, slack interval, drag interval, is_critical boolean)
AS 'MODULE_PATHNAME', 'task_schedule' LANGUAGE c STABLE SECURITY DEFINER COST 1000 ROWS 10
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.task_schedule(uuid) IS
'When each step of a task could begin and end if it waited only for its parents; one row per step, by step_no. No row for an unknown task.
level: Length of the longest path from a root, in edges; roots have 0.
duration: Time of its runs from the log, without waiting and backoff; for a step that has not run, the time that others took.
duration_basis: measured (its runs; 0 for one that was skipped or cancelled before it ran), running (its runs so far), average (of up to 10 finished tasks of the same template version), estimate (30 s, nothing is known).
starts_after: When its last parent would end, counted from the beginning of the first step.
ends_after: starts_after and its duration.
slack: How much later or longer it can be without making the task longer.
drag: How much shorter the task would be if the step took no time; 0 off the critical path.
is_critical: Whether its slack is 0, so that it is on a longest path; of several such paths task_critical_path shows one.';
GRANT EXECUTE ON FUNCTION tasker.task_schedule(uuid) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.task_critical_path(task_uuid uuid)
RETURNS TABLE (
    "position" integer, step_uuid uuid, step_no integer, step_name text, state text, duration interval,
    duration_basis text, starts_after interval, ends_after interval, slack interval, drag interval)
AS 'MODULE_PATHNAME', 'task_critical_path' LANGUAGE c STABLE SECURITY DEFINER COST 1000 ROWS 10
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.task_critical_path(uuid) IS
'The longest path through a task by the durations of task_schedule, from a root to a leaf: only these steps can make the task faster. Of paths of equal length one is shown. No row for an unknown task.
position: Place on the path, from 1.
duration: Time of its runs from the log, without waiting and backoff; for a step that has not run, the time that others took.
duration_basis: measured (its runs; 0 for one that was skipped or cancelled before it ran), running (its runs so far), average (of up to 10 finished tasks of the same template version), estimate (30 s, nothing is known).
starts_after: When its last parent would end, counted from the beginning of the first step.
ends_after: starts_after and its duration.
slack: 0 throughout: none of them can be longer.
drag: How much shorter the task would be if the step took no time: it shows which step is worth the effort.';
GRANT EXECUTE ON FUNCTION tasker.task_critical_path(uuid) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.task_bottlenecks(task_uuid uuid)
RETURNS TABLE (
    step_uuid uuid, step_no integer, step_name text, state text, bottleneck_type text, severity text, score integer,
    downstream_steps integer, blocked_steps integer, blocked_step_names text[], attempts integer, retry_limit integer)
AS 'MODULE_PATHNAME', 'task_bottlenecks' LANGUAGE c STABLE SECURITY DEFINER COST 1000 ROWS 10
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.task_bottlenecks(uuid) IS
'The steps that delay a task, highest score first: failed steps, and cancelled steps that others wait for; if there are none, every unfinished step that waits for a parent, ran at least twice, cannot run again or makes others wait. No row for an unknown task.
bottleneck_type: Permanent Failure, Active Error, Cancelled, Dependency Block, Retry Exhaustion (ran at least twice), Non-Retryable (cannot run again), Running or Waiting to Run: the first that fits.
severity: Of the score: Critical from 100, High from 50, Medium from 20, else Low.
score: (5 * downstream_steps + 15 * blocked_steps) * factor + 3 * attempts + 10 if no run is left + 20 if it failed permanently; the factor is 2.0 in error, 2.5 failed permanently or cancelled, 1.2 waiting for a parent, else 1.0 (rule: docs/analysis.md).
downstream_steps: How many steps need it, directly or not.
blocked_steps: How many of them are blocked: pending or in error, with no finished step in between.
blocked_step_names: The names of the first of them, in topological order: all of them in a task of up to 316 steps; in a larger one 100,000 divided by its steps, but at least 3.';
GRANT EXECUTE ON FUNCTION tasker.task_bottlenecks(uuid) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.task_error_chains(task_uuid uuid)
RETURNS TABLE (
    step_uuid uuid, step_no integer, step_name text, error_class text, error_message text, permanent boolean,
    attempts integer, retry_limit integer, failed_at timestamptz, next_retry_at timestamptz, impact_score integer,
    severity text, downstream_steps integer, blocked_steps integer, blocked_step_names text[])
AS 'MODULE_PATHNAME', 'task_error_chains' LANGUAGE c STABLE SECURITY DEFINER COST 1000 ROWS 10
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.task_error_chains(uuid) IS
'Each step of a task that is in error, with what it blocks; the most severe first. No row for an unknown task, or one without failed steps.
error_class: What kind of error, as the worker reported it; NULL without one.
permanent: Whether it will not run again by itself.
next_retry_at: When it runs again; NULL if it does not.
impact_score: 15 * blocked_steps + 5 * downstream_steps + 3 * attempts + 20 if permanent.
severity: Of the impact_score: Critical from 100, High from 50, Medium from 20, else Low.
downstream_steps: How many steps need it, directly or not.
blocked_steps: How many of them are blocked: pending or in error, with no finished step in between.
blocked_step_names: The names of the first of them, in topological order: all of them in a task of up to 316 steps; in a larger one 100,000 divided by its steps, but at least 3.';
GRANT EXECUTE ON FUNCTION tasker.task_error_chains(uuid) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.task_parallelism(task_uuid uuid)
RETURNS TABLE (
    level integer, total_steps integer, ready_steps integer, running_steps integer, completed_steps integer,
    failed_steps integer, cancelled_steps integer, waiting_steps integer, step_names text[])
AS 'MODULE_PATHNAME', 'task_parallelism' LANGUAGE c STABLE SECURITY DEFINER COST 1000 ROWS 10
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.task_parallelism(uuid) IS
'What could run in parallel: one row per level, the steps whose longest path from a root has the same number of edges; they never wait for each other. No row for an unknown task.
level: Length of the longest path from a root, in edges; roots have 0.
total_steps: All steps of the level; each counts in one of the other columns.
ready_steps: Steps that a claim would hand out now, failed ones whose retry is due included.
running_steps: Steps in state in_progress.
failed_steps: Steps that failed permanently, or whose retry is not due yet.
waiting_steps: All others: they wait for a parent, for their time or for an operator.
step_names: Names of the steps of the level, in topological order.';
GRANT EXECUTE ON FUNCTION tasker.task_parallelism(uuid) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.task_blockers(task_uuid uuid)
RETURNS TABLE (
    step_uuid uuid, step_no integer, step_name text, state text, blocker_step_uuid uuid, blocker_step_no integer,
    blocker_step_name text, blocker_state text, blocker_standing text, direct boolean, root_cause boolean)
AS 'MODULE_PATHNAME', 'task_blockers' LANGUAGE c STABLE SECURITY DEFINER COST 1000 ROWS 10
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.task_blockers(uuid) IS
'What is blocked by what: one row for each step that waits for a parent and each unfinished ancestor that it waits for, by step_no. An ancestor behind a step that is done does not count. In a task of more than 316 steps, each step has a row for each unfinished parent, and for the first other ancestors, root causes first: 100,000 divided by the number of steps, but at least 3. No row for an unknown task.
blocker_step_uuid: The ancestor that it waits for.
blocker_step_no: Its number in the task.
blocker_step_name: Its name.
blocker_state: Its state: pending, in_progress, error or cancelled.
blocker_standing: running, ready, scheduled (its time has not come), retrying (failed, runs again), failed (permanently), cancelled, held (by an operator) or waiting (for a parent).
direct: Whether the ancestor is a parent of the step.
root_cause: Whether the ancestor itself waits for no step, so that something must happen there first.';
GRANT EXECUTE ON FUNCTION tasker.task_blockers(uuid) TO tasker_reader;
