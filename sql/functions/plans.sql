-- How the statements behind the functions of the engine are planned. A list of settings and the reason for it, then the
-- functions that have it; a test names the functions of the engine that need none, and those that have settings of their own.
--
-- The first two lists make plans that walk along an index, whatever the statistics say. A table that was empty when it was
-- analyzed must not be read from one end to the other once it holds millions of rows, and a replan after an ANALYZE must not
-- choose another shape.
DO $$
DECLARE
    planned record;
BEGIN
    FOR planned IN
        SELECT f.name, p.oid::regprocedure AS function, l.settings
        FROM (VALUES
            -- Functions that change rows lock them in the order in which they find them. A walk along an index gives them all
            -- the same order and touches the same few pages whatever else the tables hold; so nothing is hashed or kept for a
            -- second look.
            ('SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off '
             'SET enable_material = off SET enable_memoize = off SET enable_hashagg = off SET jit = off', ARRAY[
                'tasker.create_task', 'tasker.create_tasks', 'tasker.rerun_task', 'tasker.claim_steps', 'tasker.complete_step',
                'tasker.fail_step', 'tasker.report_steps', 'tasker.report_and_claim', 'tasker.heartbeat', 'tasker.release_steps', 'tasker.end_worker',
                'tasker.cancel_task', 'tasker.retry_task', 'tasker.resolve_task_manually', 'tasker.resolve_step_manually',
                'tasker.retry_step', 'tasker.cancel_step', 'tasker.set_retry_limit', 'tasker.transition_task',
                'tasker.transition_step', 'tasker.try_transition_task', 'tasker.try_transition_step', 'tasker.finalize_task',
                'tasker_engine.claim_inside', 'tasker.set_operational_state', 'tasker_engine.begin_startup',
                'tasker_engine.duty_startup', 'tasker_engine.take_over_claims', 'tasker_engine.duty_task_timeouts',
                'tasker_engine.duty_leases', 'tasker_engine.find_and_repair', 'tasker_engine.change_tasks',
                'tasker.poll_events', 'tasker.ack_events', 'tasker.nack_events', 'tasker.extend_events', 'tasker_engine.take_events', 'tasker_engine.run_events', 'tasker_engine.fail_events',
                'tasker_engine.move_subscriber', 'tasker_engine.reorder_subscriber', 'tasker_engine.note_gaps', 'tasker_engine.note_purged', 'tasker_engine.note_emptied']),
            -- Functions that read look at one task, or at the head of a queue: a few rows by their key.
            ('SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off',
             ARRAY[
                'tasker.get_dependency_results', 'tasker.get_step_readiness_status', 'tasker.get_step_readiness_status_batch',
                'tasker.calculate_dependency_levels', 'tasker.get_task_execution_context',
                'tasker.get_task_execution_contexts_batch', 'tasker.task_diagram', 'tasker.analyze_task', 'tasker.task_schedule',
                'tasker.task_critical_path', 'tasker.task_bottlenecks', 'tasker.task_error_chains', 'tasker.task_parallelism',
                'tasker.task_blockers', 'tasker_engine.pool_depth', 'tasker.check_integrity', 'tasker_engine.check_page', 'tasker_engine.task_candidates',
                'tasker_engine.select_tasks', 'tasker.list_tasks', 'tasker_engine.duty_stuck',
                'tasker_engine.duty_totals', 'tasker.read_events', 'tasker.publish_event', 'tasker.publish_events',
                'tasker_engine.events_again', 'tasker_engine.count_events', 'tasker.record_export', 'tasker_engine.note_export', 'tasker.spans_of_events']),
            -- Functions that count over a period or over everything: the best plan depends on the period and the filters of the
            -- call. jit takes a plan with a look-up per row for far more expensive than it is.
            ('SET plan_cache_mode = force_custom_plan SET jit = off', ARRAY[
                'tasker_engine.period_metrics', 'tasker.get_slowest_steps', 'tasker.get_slowest_tasks',
                'tasker.get_error_patterns', 'tasker.get_dependency_bottlenecks', 'tasker.get_duration_percentiles',
                'tasker.get_system_health_counts', 'tasker_engine.health_measures', 'tasker.get_processor_claim_stats',
                'tasker_engine.stuck_causes', 'tasker.trace_spans'])
        ) AS l (settings, functions)
        CROSS JOIN unnest(l.functions) AS f (name)
        LEFT JOIN (pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
            ON format('%s.%s', p.pronamespace::regnamespace, p.proname) = f.name
    LOOP
        IF planned.function IS NULL THEN
            RAISE undefined_function USING MESSAGE = format('no function %s for the planner settings', planned.name);
        END IF;
        EXECUTE format('ALTER FUNCTION %s %s', planned.function, planned.settings);
    END LOOP;
END
$$;
