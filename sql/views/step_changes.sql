-- The log of the steps with the starts of runs, which have no rows of their own: the row that ends a run tells when it began, and
-- until then the claim does. Earlier versions wrote rows; these runs have no run_id.

CREATE OR REPLACE VIEW tasker_engine.step_changes AS
SELECT l.id, l.task_uuid, l.step_no, l.created_at, l.worker_no, l.attempt, l.from_state, l.to_state, l.metadata
FROM tasker_engine.transitions l
WHERE l.step_no > 0
UNION ALL
SELECT l.run_id, l.task_uuid, l.step_no, l.started_at, l.worker_no, l.attempt, 'p', 'i', '{}'
FROM tasker_engine.transitions l
WHERE l.run_id IS NOT NULL
UNION ALL
SELECT s.run_id, s.task_uuid, s.step_no, coalesce(c.claimed_at, s.available_at), coalesce(c.worker_no, 0), s.attempts, 'p', 'i', '{}'
FROM tasker_engine.steps s
LEFT JOIN tasker_engine.claims c ON c.claim_id = s.claim_id
WHERE s.state = 'i' AND s.run_id IS NOT NULL;
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
