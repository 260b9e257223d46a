-- How to bring together rows that disagree: after a switch to a logical replica, whose queue is empty.

-- An entry is a hint: an extra one is dropped by the claim that meets it. So no step is locked, claims and reports go on,
-- and nothing can deadlock with them. One snapshot shows steps and queue, which each call of the engine changes together:
-- what is in flight is not taken for missing. Nested loops over the queue would be quadratic, and after a switch the
-- statistics are those of empty tables. Therefore this function has planner settings of its own, not a list of plans.sql.
CREATE OR REPLACE FUNCTION tasker.repair_integrity(dry_run boolean DEFAULT true)
RETURNS TABLE (problem text, task_uuid uuid, step_uuid uuid, action text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    began_at CONSTANT timestamptz := clock_timestamp();
BEGIN
    PERFORM tasker_engine.required($1, 'dry_run');
    IF $1 THEN
        RETURN QUERY
        SELECT 'missing_queue_entry', m.task_uuid, tasker.step_uuid(m.task_uuid, m.step_no), 'add a queue entry'
        FROM tasker_engine.missing_entries m;
    ELSE
        -- Of two repairs the second waits for the first and finds its entries. Besides, only VACUUM waits for this lock.
        LOCK TABLE tasker_engine.queue_entries IN SHARE UPDATE EXCLUSIVE MODE;
        RETURN QUERY
        INSERT INTO tasker_engine.queue_entries AS r (available_at, task_uuid, queue_id, priority, step_no)
        SELECT coalesce(m.available_at, began_at), m.task_uuid, m.queue_id, m.priority, m.step_no
        FROM tasker_engine.missing_entries m
        ORDER BY m.task_uuid, m.step_no
        RETURNING 'missing_queue_entry', r.task_uuid, tasker.step_uuid(r.task_uuid, r.step_no), 'queue entry added';
    END IF;
END
$$;
COMMENT ON FUNCTION tasker.repair_integrity(boolean) IS
'Finds rows that contradict each other, and repairs them unless dry_run; no row: no problem. Called again it finds nothing. Safe beside claims and reports, which do not wait for it. For the switch to a logical replica, to which the queue is not replicated; without a fault of that kind there is nothing to find. 22004 for NULL. Rule: docs/replication.md.
dry_run: True: only says what is wrong, and changes nothing.
problem: missing_queue_entry: a step is ready or will be at a known time (pending with all parents done, or in error with a retry scheduled; paused namespaces too), and nothing in its queue leads a claim to it. Steps in progress are left to the leases of their claims.
task_uuid: The task.
step_uuid: The step.
action: What would be done (add a queue entry), or with dry_run => false, what was done (queue entry added).';
GRANT EXECUTE ON FUNCTION tasker.repair_integrity(boolean) TO tasker_admin;
