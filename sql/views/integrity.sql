-- What stored rows contradict in each other.

-- Which steps belong in the queue, from the rows of the steps alone. Parents are counted, not searched with NOT EXISTS: so each
-- step probes the index for its own parents, whatever the statistics of a table that has just been filled say.
CREATE OR REPLACE VIEW tasker_engine.missing_entries AS
SELECT s.task_uuid, s.step_no, n.queue_id, coalesce(n.priority, s.priority) AS priority, s.available_at
FROM tasker_engine.steps s
JOIN tasker.named_tasks_named_steps n ON n.named_task_id = s.named_task_id
                                     AND n.step_no = s.step_no
WHERE s.state <> 'i'
  AND tasker_engine.can_still_run(s.state, s.available_at, s.unreachable)
  AND s.available_at IS DISTINCT FROM 'infinity' -- held
  AND NOT s.unreachable -- has a parent that is not done: spares the look at it
  AND NOT EXISTS (
      SELECT FROM tasker_engine.queue_entries r
      WHERE r.task_uuid = s.task_uuid AND r.step_no = s.step_no
        AND tasker_engine.entry_agrees(s.state, s.available_at, r.available_at))
  AND cardinality(n.parents) = (
      SELECT count(*) FROM tasker_engine.steps o
      WHERE o.task_uuid = s.task_uuid AND o.step_no = ANY (n.parents)
        AND tasker_engine.is_done(o.state));
COMMENT ON VIEW tasker_engine.missing_entries IS 'Steps that are ready, or will be at a known time, and have no entry in tasker_engine.queue_entries that agrees with their row: no claim would ever find them. Without a fault there are none.';
COMMENT ON COLUMN tasker_engine.missing_entries.queue_id IS 'The queue of the step.';
COMMENT ON COLUMN tasker_engine.missing_entries.priority IS 'The priority with which it belongs there.';
COMMENT ON COLUMN tasker_engine.missing_entries.available_at IS 'When it is due; NULL if it is due since its last parent was done.';
