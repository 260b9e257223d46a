-- How the statements behind the functions of the engine are planned: as walks along an index, whatever the statistics say. A
-- table that was empty when it was analyzed must not be read from one end to the other once it holds millions of rows, and a
-- replan after an ANALYZE must not choose another shape. There are two lists of settings; a test finds every function in one of
-- them, and those that have settings of their own: register_template, purge_batch and repair_integrity.
DO $$
DECLARE
    -- Functions that change rows lock them in the order in which they find them. A walk along an index gives them all the same
    -- order and touches the same few pages whatever else the tables hold; so nothing is hashed or kept for a second look.
    changing CONSTANT text[] := ARRAY['enable_seqscan', 'enable_bitmapscan', 'enable_hashjoin', 'enable_mergejoin', 'enable_material',
        'enable_memoize', 'enable_hashagg', 'jit'];
    -- Functions that read look at one task, or at the head of a queue: a few rows by their key.
    reading CONSTANT text[] := ARRAY['enable_seqscan', 'enable_bitmapscan', 'enable_hashjoin', 'enable_mergejoin', 'jit'];
    change CONSTANT text[] := ARRAY[
        'tasker.create_task', 'tasker.create_tasks', 'tasker.claim_steps', 'tasker.complete_step', 'tasker.fail_step',
        'tasker.report_steps', 'tasker.report_and_claim', 'tasker.heartbeat', 'tasker.release_steps', 'tasker.cancel_task',
        'tasker.retry_task', 'tasker.resolve_task_manually', 'tasker.resolve_step_manually', 'tasker.retry_step',
        'tasker.cancel_step', 'tasker.set_retry_limit', 'tasker.transition_task', 'tasker.transition_step',
        'tasker.try_transition_task', 'tasker.try_transition_step', 'tasker.finalize_task', 'tasker_engine.claim_inside',
        'tasker.set_operational_state', 'tasker_engine.begin_startup', 'tasker_engine.duty_startup',
        'tasker_engine.take_over_claims', 'tasker_engine.duty_task_timeouts', 'tasker_engine.duty_leases'];
    read CONSTANT text[] := ARRAY[
        'tasker.get_dependency_results', 'tasker.get_step_readiness_status', 'tasker.get_step_readiness_status_batch',
        'tasker.calculate_dependency_levels', 'tasker.get_task_execution_context',
        'tasker.get_task_execution_contexts_batch', 'tasker.task_diagram', 'tasker.analyze_task', 'tasker.task_schedule',
        'tasker.task_critical_path', 'tasker.task_bottlenecks', 'tasker.task_error_chains', 'tasker.task_parallelism',
        'tasker.task_blockers', 'tasker_engine.pool_depth'];
    planned record;
BEGIN
    FOR planned IN
        SELECT p.oid::regprocedure AS function,
               (SELECT string_agg(format('SET %I = off', s.name), ' ')
                FROM unnest(CASE WHEN f.changes THEN changing ELSE reading END) AS s (name)) AS settings
        FROM (SELECT c.name, true AS changes FROM unnest(change) AS c (name)
              UNION ALL
              SELECT r.name, false FROM unnest(read) AS r (name)) f
        JOIN pg_proc p ON format('%s.%s', p.pronamespace::regnamespace, p.proname) = f.name
        JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
    LOOP
        EXECUTE format('ALTER FUNCTION %s %s', planned.function, planned.settings);
    END LOOP;
END
$$;
