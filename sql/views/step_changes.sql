-- The log of the steps with the starts of runs, which have no rows of their own: the row that ends a run tells when it began, and
-- until then the claim does. Earlier versions wrote rows; these runs have no run_id.

-- The parts have no WHERE and no join, and their constants have types: otherwise the planner could not look up one step in each of them.
CREATE OR REPLACE VIEW tasker_engine.step_changes AS
SELECT o.id, o.task_uuid, o.step_no, o.created_at, o.worker_no, o.attempt, o.from_state, o.to_state, o.metadata
FROM (SELECT l.id, l.task_uuid, l.step_no, l.created_at, l.worker_no, l.attempt, l.from_state, l.to_state, l.metadata
      FROM tasker_engine.transitions l
      UNION ALL
      SELECT l.run_id, l.task_uuid, l.step_no, l.started_at, l.worker_no, l.attempt, 'p'::"char", 'i'::"char", '{}'::jsonb
      FROM tasker_engine.transitions l
      UNION ALL
      SELECT CASE s.state WHEN 'i' THEN s.run_id END, s.task_uuid, s.step_no,
             coalesce((SELECT c.claimed_at FROM tasker_engine.claims c WHERE c.claim_id = s.claim_id), s.available_at),
             coalesce((SELECT c.worker_no FROM tasker_engine.claims c WHERE c.claim_id = s.claim_id), 0),
             s.attempts, 'p'::"char", 'i'::"char", '{}'::jsonb
      FROM tasker_engine.steps s) o
WHERE o.id IS NOT NULL AND o.step_no > 0;
COMMENT ON VIEW tasker_engine.step_changes IS 'Every change of state of every step, the starts of runs included; id orders them.';
COMMENT ON COLUMN tasker_engine.step_changes.id IS 'The place of the change in the log.';
COMMENT ON COLUMN tasker_engine.step_changes.task_uuid IS 'The task.';
COMMENT ON COLUMN tasker_engine.step_changes.step_no IS 'Number of the step in its task.';
COMMENT ON COLUMN tasker_engine.step_changes.created_at IS 'When it happened.';
COMMENT ON COLUMN tasker_engine.step_changes.worker_no IS 'Number of the worker that had the step; 0 for none.';
COMMENT ON COLUMN tasker_engine.step_changes.attempt IS 'Number of the attempt.';
COMMENT ON COLUMN tasker_engine.step_changes.from_state IS 'p pending, i in_progress, e error, c complete, x cancelled, r resolved_manually.';
COMMENT ON COLUMN tasker_engine.step_changes.to_state IS 'The same, after the change.';
COMMENT ON COLUMN tasker_engine.step_changes.metadata IS 'What the change carries.';

-- By the index on the times of the log, and by the claims, which are few.
CREATE OR REPLACE FUNCTION tasker_engine.steps_changed_between(from_time timestamptz, to_time timestamptz)
RETURNS SETOF uuid LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 100 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT tasker.step_uuid(l.task_uuid, l.step_no)
    FROM tasker_engine.transitions l
    WHERE l.step_no > 0 AND l.created_at >= $1 AND l.created_at <= $2
    UNION ALL
    SELECT tasker.step_uuid(l.task_uuid, l.step_no)
    FROM tasker_engine.transitions l
    WHERE l.run_id IS NOT NULL AND l.started_at >= $1 AND l.started_at <= $2
    UNION ALL
    SELECT tasker.step_uuid(u.task_uuid, u.step_no)
    FROM tasker_engine.claims c CROSS JOIN LATERAL unnest(c.task_uuids, c.step_nos) AS u (task_uuid, step_no)
    WHERE c.claimed_at >= $1 AND c.claimed_at <= $2;
END;
COMMENT ON FUNCTION tasker_engine.steps_changed_between(timestamptz, timestamptz) IS 'The steps that changed between the two times, both included; a step comes once for each change.';
GRANT EXECUTE ON FUNCTION tasker_engine.steps_changed_between(timestamptz, timestamptz) TO tasker_reader;

-- What was due at an instant in the past is not stored. The log says it: the last of what the run waited for.
CREATE OR REPLACE FUNCTION tasker.step_queue_time(step_uuid uuid, attempt integer DEFAULT NULL)
RETURNS double precision LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH step AS (
        SELECT s.task_uuid, s.step_no, s.named_task_id FROM tasker_engine.steps s
        WHERE tasker_engine.require_version()
          AND s.task_uuid = tasker.step_task_uuid($1) AND s.step_no = tasker.step_number($1)
    ), run AS (
        SELECT c.id, c.created_at FROM tasker_engine.step_changes c
        WHERE c.task_uuid = (SELECT s.task_uuid FROM step s) AND c.step_no = (SELECT s.step_no FROM step s)
          AND c.to_state = 'i' AND ($2 IS NULL OR c.attempt = $2)
        ORDER BY c.id DESC LIMIT 1
    ), waits AS (
        SELECT greatest(t.requested_at, t.run_at) AS until FROM tasker_engine.tasks t WHERE t.task_uuid = (SELECT s.task_uuid FROM step s)
        UNION ALL
        SELECT l.created_at + coalesce((l.metadata ->> 'retry_after_seconds')::double precision, 0) * '1 second'::interval
        FROM tasker_engine.transitions l
        WHERE l.task_uuid = (SELECT s.task_uuid FROM step s) AND l.step_no = (SELECT s.step_no FROM step s)
          AND l.id < (SELECT r.id FROM run r) AND l.to_state IN ('e', 'p')
          -- The claim that begins the next attempt writes this row: nothing waited for it.
          AND NOT (l.from_state = 'e' AND l.to_state = 'p' AND l.worker_no <> 0)
        UNION ALL
        SELECT l.created_at
        FROM step s
        JOIN tasker.named_tasks_named_steps n ON n.named_task_id = s.named_task_id AND n.step_no = s.step_no
        JOIN tasker_engine.transitions l ON l.task_uuid = s.task_uuid AND l.step_no = ANY (n.parents)
        WHERE l.id < (SELECT r.id FROM run r) AND l.to_state IN ('c', 'r')
    )
    SELECT greatest(extract(epoch FROM r.created_at - (SELECT max(w.until) FROM waits w)), 0)::double precision FROM run r;
END;
COMMENT ON FUNCTION tasker.step_queue_time(uuid, integer) IS
'Seconds that a run waited for a claim: from the instant at which it was due (its task was created, its parents were done, its wait was over) to its start. NULL for an unknown step, and for a run that has not begun or that the log has lost. Rule: docs/events.md#measures-of-an-event.
step_uuid: The step.
attempt: Number of the attempt; NULL: the last one that has begun.';
GRANT EXECUTE ON FUNCTION tasker.step_queue_time(uuid, integer) TO tasker_reader;
