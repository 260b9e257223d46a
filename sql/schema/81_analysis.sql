-- Templates and tasks as graphs. The rules are crates/rules/src/analysis/, the weights of the scores
-- crates/rules/src/analysis/weights.rs.

CREATE FUNCTION tasker.analyze_template(name text, namespace text DEFAULT 'default', version text DEFAULT NULL)
RETURNS jsonb AS 'MODULE_PATHNAME', 'analyze_template' LANGUAGE c STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.analyze_template(text, text, text) IS
'What can be said of a template before anything runs, as one object: nodes [{name, step_no, description, handler_class, dependencies, dependency_count, level}], edges [{from, to, type: single if the child has no other parent, else multiple}], topology (step names in the order in which they could run), cycles (always empty: register_template refuses them, validate_template names them), levels {step name: length of the longest path from a root}, roots, leaves, redundant_dependencies [{from, to}: a longer path implies the edge] (null above 1,000 steps), summary {total_steps, total_dependencies, has_cycles, max_depth, parallel_branches: steps of the widest level}. version NULL is the highest. P0002 if unknown.';

CREATE FUNCTION tasker.template_graph(name text, namespace text DEFAULT 'default', version text DEFAULT NULL)
RETURNS TABLE (
    step_name text, step_no integer, level integer, min_depth integer, parents text[], children text[], is_root boolean,
    is_leaf boolean, handler text)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT n.name,
           n.step_no::pg_catalog.int4,
           tasker_engine.step_level(n.named_task_id, n.step_no),
           tasker_engine.step_min_depth(n.named_task_id, n.step_no),
           ARRAY(SELECT p.name FROM tasker.named_tasks_named_steps p
                 WHERE p.named_task_id OPERATOR(pg_catalog.=) n.named_task_id
                   AND p.step_no OPERATOR(pg_catalog.=) ANY (n.parents) ORDER BY p.step_no),
           ARRAY(SELECT c.name FROM tasker.named_tasks_named_steps c
                 WHERE c.named_task_id OPERATOR(pg_catalog.=) n.named_task_id
                   AND c.step_no OPERATOR(pg_catalog.=) ANY (n.children) ORDER BY c.step_no),
           pg_catalog.cardinality(n.parents) OPERATOR(pg_catalog.=) 0,
           pg_catalog.cardinality(n.children) OPERATOR(pg_catalog.=) 0,
           n.handler
    FROM tasker.named_tasks_named_steps n
    WHERE n.named_task_id OPERATOR(pg_catalog.=) (
        SELECT t.named_task_id
        FROM tasker.task_namespaces s
        JOIN tasker.named_tasks t ON t.task_namespace_id OPERATOR(pg_catalog.=) s.task_namespace_id
        WHERE s.name OPERATOR(pg_catalog.=) tasker_engine.required($2, 'namespace')
          AND t.name OPERATOR(pg_catalog.=) tasker_engine.required($1, 'name')
          AND ($3 IS NULL OR t.version OPERATOR(pg_catalog.=) $3)
        ORDER BY t.version_order DESC
        LIMIT 1)
    ORDER BY n.step_no;
END;
COMMENT ON FUNCTION tasker.template_graph(text, text, text) IS
'The graph of a template, one row per step in the order in which they could run: level and min_depth are the longest and the shortest path from a root, counted in edges; parents and children are names of steps. version NULL is the highest. No row if unknown.';

CREATE FUNCTION tasker.analyze_task(task_uuid uuid)
RETURNS jsonb AS 'MODULE_PATHNAME', 'analyze_task' LANGUAGE c STABLE SECURITY DEFINER COST 1000
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off;
COMMENT ON FUNCTION tasker.analyze_task(uuid) IS
'The whole runtime analysis of a task as one object, computed from what stands in the tables now: dependency_graph {nodes, edges, adjacency_list, reverse_adjacency_list, dependency_levels}, critical_path (as task_critical_path), critical_paths {total_paths, longest_path_length in steps, paths: the five with the highest score, root_nodes, leaf_nodes}, parallelism_opportunities (as task_parallelism; current_parallel_opportunities: steps that could run now; blocked_parallel_opportunities: steps that wait in levels of more than one step; parallelism_efficiency: percent of levels with more than one ready step), error_chains (as task_error_chains), bottlenecks (as task_bottlenecks, with overall_impact Severe, High, Medium, Low or None), blockers {step name: names of the steps where something must happen first}. Durations are seconds. P0002 for an unknown task.';

CREATE FUNCTION tasker.task_schedule(task_uuid uuid)
RETURNS TABLE (
    step_uuid uuid, step_no integer, step_name text, state text, level integer, duration interval, duration_basis text,
    starts_after interval, ends_after interval, slack interval, drag interval, is_critical boolean)
AS 'MODULE_PATHNAME', 'task_schedule' LANGUAGE c STABLE SECURITY DEFINER COST 1000 ROWS 10
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off;
COMMENT ON FUNCTION tasker.task_schedule(uuid) IS
'When each step of a task could begin and end if it waited for nothing but its parents; one row per step, by step_no. duration: the time of its runs from the log, without waiting and backoff (duration_basis measured; running: so far); of a step that has not run the average of up to 10 finished tasks of the same template version (average), else 30 s (estimate). starts_after and ends_after count from the beginning of the first step. slack: by how much the step can be longer without making the task longer. drag: by how much the task would be shorter if the step took no time; 0 off the critical path. is_critical: slack is 0, so the step is on a longest path; of several such paths task_critical_path shows one. No row for an unknown task.';

CREATE FUNCTION tasker.task_critical_path(task_uuid uuid)
RETURNS TABLE (
    "position" integer, step_uuid uuid, step_no integer, step_name text, state text, duration interval,
    duration_basis text, starts_after interval, ends_after interval, slack interval, drag interval)
AS 'MODULE_PATHNAME', 'task_critical_path' LANGUAGE c STABLE SECURITY DEFINER COST 1000 ROWS 10
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off;
COMMENT ON FUNCTION tasker.task_critical_path(uuid) IS
'The longest path through a task by measured durations, from a root to a leaf: nothing makes the task faster but these steps. The columns are those of task_schedule; position counts from 1, slack is 0 throughout, and the drag says which step is worth the effort. Of paths of equal length one is shown. No row for an unknown task.';

CREATE FUNCTION tasker.task_bottlenecks(task_uuid uuid)
RETURNS TABLE (
    step_uuid uuid, step_no integer, step_name text, state text, bottleneck_type text, severity text, score integer,
    downstream_steps integer, blocked_steps integer, blocked_step_names text[], attempts integer, retry_limit integer)
AS 'MODULE_PATHNAME', 'task_bottlenecks' LANGUAGE c STABLE SECURITY DEFINER COST 1000 ROWS 10
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off;
COMMENT ON FUNCTION tasker.task_bottlenecks(uuid) IS
'The steps that hold a task up, highest score first: the failed ones and cancelled ones that others wait for; if there are none, every unfinished step that waits for a parent, ran at least twice, may not run again or lets others wait. score = (5 * downstream_steps + 15 * blocked_steps) * factor + 3 * attempts + 10 if no run is left + 20 if it failed for good; the factor is 2.0 in error, 2.5 failed for good or cancelled, 1.2 waiting for a parent, else 1.0 (dependency_graph configuration of Tasker). severity: Critical from 100, High from 50, Medium from 20, else Low. downstream_steps: steps that need it, directly or not; blocked_steps: those of them that are held up. bottleneck_type: Permanent Failure, Active Error, Cancelled, Dependency Block, Retry Exhaustion, Non-Retryable, Running, Waiting to Run. No row for an unknown task.';

CREATE FUNCTION tasker.task_error_chains(task_uuid uuid)
RETURNS TABLE (
    step_uuid uuid, step_no integer, step_name text, error_class text, error_message text, permanent boolean,
    attempts integer, retry_limit integer, failed_at timestamptz, next_retry_at timestamptz, impact_score integer,
    severity text, downstream_steps integer, blocked_steps integer, blocked_step_names text[])
AS 'MODULE_PATHNAME', 'task_error_chains' LANGUAGE c STABLE SECURITY DEFINER COST 1000 ROWS 10
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off;
COMMENT ON FUNCTION tasker.task_error_chains(uuid) IS
'Each step of a task that is in error, with what it blocks; gravest first. impact_score = 15 * blocked_steps + 5 * downstream_steps + 3 * attempts + 20 if permanent; severity: Critical from 100, High from 50, Medium from 20, else Low. permanent: it will not run again by itself. blocked_step_names: the steps that are held up, directly or not. No row for an unknown task, or one without failed steps.';

CREATE FUNCTION tasker.task_parallelism(task_uuid uuid)
RETURNS TABLE (
    level integer, total_steps integer, ready_steps integer, running_steps integer, completed_steps integer,
    failed_steps integer, cancelled_steps integer, waiting_steps integer, step_names text[])
AS 'MODULE_PATHNAME', 'task_parallelism' LANGUAGE c STABLE SECURITY DEFINER COST 1000 ROWS 10
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off;
COMMENT ON FUNCTION tasker.task_parallelism(uuid) IS
'What could run side by side: one row per level, the steps whose longest path from a root has the same number of edges; they never wait for each other. Every step counts in one column: ready (a claim would hand it out), running, completed (complete or resolved_manually), failed (in error, unless its retry is due), cancelled, waiting (for a parent, or for its time). No row for an unknown task.';

CREATE FUNCTION tasker.task_blockers(task_uuid uuid)
RETURNS TABLE (
    step_uuid uuid, step_no integer, step_name text, state text, blocker_step_uuid uuid, blocker_step_no integer,
    blocker_step_name text, blocker_state text, blocker_standing text, direct boolean, root_cause boolean)
AS 'MODULE_PATHNAME', 'task_blockers' LANGUAGE c STABLE SECURITY DEFINER COST 1000 ROWS 10
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off;
COMMENT ON FUNCTION tasker.task_blockers(uuid) IS
'What is blocked by what: one row for each step that waits for a parent and each unfinished ancestor that it waits for, by step_no. An ancestor behind a step that is done does not count. direct: the ancestor is a parent. root_cause: the ancestor itself waits for no step, so that something must happen there first. blocker_standing: running, ready, scheduled (its time has not come), retrying (failed, runs again), failed (for good), cancelled, held (by an operator), waiting (for a parent). No row for an unknown task.';

GRANT EXECUTE ON FUNCTION
    tasker.analyze_template(text, text, text), tasker.template_graph(text, text, text), tasker.analyze_task(uuid),
    tasker.task_schedule(uuid), tasker.task_critical_path(uuid), tasker.task_bottlenecks(uuid),
    tasker.task_error_chains(uuid), tasker.task_parallelism(uuid), tasker.task_blockers(uuid)
TO tasker_reader;
