-- Claims of steps with their age.

CREATE OR REPLACE VIEW tasker_engine.claim_ages AS
SELECT a.*, tasker_engine.claim_level(date_part('epoch', a.age), a.expected_seconds, a.overdue) AS level,
       COALESCE((SELECT cardinality(c.task_uuids) = 1 OR a.step_uuid = ANY (c.begun)
                 FROM tasker_engine.claims c WHERE c.claim_id = a.claim_id), false) AS begun
FROM (
    SELECT s.claim_id, r.step_uuid, r.task_uuid, r.name AS step_name, r.namespace_name, r.task_name, r.queue, r.worker_id,
           r.claim_number, r.attempt, r.retry_limit, s.retryable, r.running_since AS claimed_at, r.running_for AS age,
           tasker_engine.expected_run_seconds(COALESCE(n.priority, s.priority), n.timeout_seconds) AS expected_seconds,
           r.lease_expires_at, r.overdue, tasker_engine.worker_status(w.live, w.last_seen_at) AS worker_status, w.last_seen_at
    FROM tasker.running_steps r
    JOIN tasker_engine.steps s
        ON s.task_uuid = r.task_uuid AND s.step_no = r.step_no::smallint
    LEFT JOIN tasker.named_tasks_named_steps n
        ON n.named_task_id = s.named_task_id AND n.step_no = s.step_no
    LEFT JOIN tasker_engine.known_workers w ON w.worker_id = r.worker_id
) a;
COMMENT ON VIEW tasker_engine.claim_ages IS 'Every claim of a step with its age and its level, fine ones included.';
COMMENT ON COLUMN tasker_engine.claim_ages.claim_id IS 'The claim call that the step came with.';
COMMENT ON COLUMN tasker_engine.claim_ages.step_name IS 'Its name.';
COMMENT ON COLUMN tasker_engine.claim_ages.age IS 'How long the worker has held it.';
COMMENT ON COLUMN tasker_engine.claim_ages.expected_seconds IS 'The expected duration of a run.';
COMMENT ON COLUMN tasker_engine.claim_ages.overdue IS 'Whether the lease is over.';
COMMENT ON COLUMN tasker_engine.claim_ages.worker_status IS 'active, missing or unknown.';
COMMENT ON COLUMN tasker_engine.claim_ages.last_seen_at IS 'When the worker last called.';
COMMENT ON COLUMN tasker_engine.claim_ages.level IS 'fine, slow, warning, critical or expired.';
COMMENT ON COLUMN tasker_engine.claim_ages.begun IS 'Whether the run counts if it is lost: it is the only one of its claim, or the worker has said that it has begun it.';

CREATE OR REPLACE VIEW tasker.stale_claims AS
SELECT a.step_uuid, a.task_uuid, a.step_name, a.namespace_name, a.task_name, a.queue, a.worker_id, a.worker_status,
       a.claim_number, a.attempt, a.retry_limit, a.claimed_at, a.age, a.expected_seconds, a.lease_expires_at, a.level,
       CASE WHEN a.level = 'expired' THEN format(
                'The next claim of queue %s in namespace %s, or tasker.run_maintenance(), takes the step over.', a.queue, a.namespace_name)
            WHEN a.worker_status = 'active'
                THEN 'The worker keeps its lease: is the handler slow, or does it hang? timeout_seconds in the template says how long a run may take.'
            ELSE format('The worker is silent; its lease ends at %s.', a.lease_expires_at)
       END AS hint
FROM tasker_engine.claim_ages a
WHERE a.level <> 'fine';
COMMENT ON VIEW tasker.stale_claims IS 'Steps that workers hold longer than expected, or whose lease is over, each with a level and what to do. Rule: docs/health.md#stale-claims.';
COMMENT ON COLUMN tasker.stale_claims.step_name IS 'Name of the step.';
COMMENT ON COLUMN tasker.stale_claims.worker_status IS 'active: seen lately, or keeps its lease; missing: silent for 5 minutes; otherwise unknown.';
COMMENT ON COLUMN tasker.stale_claims.claimed_at IS 'When it was claimed.';
COMMENT ON COLUMN tasker.stale_claims.age IS 'How long the worker has held it.';
COMMENT ON COLUMN tasker.stale_claims.expected_seconds IS 'The expected duration of a run: timeout_seconds of the step, else 60, of priority 3 45, of priority 4 30.';
COMMENT ON COLUMN tasker.stale_claims.level IS 'slow beyond the expected seconds, warning beyond one and a half times, critical beyond twice; expired: the lease is over.';
COMMENT ON COLUMN tasker.stale_claims.hint IS 'What to do.';
GRANT SELECT ON tasker.stale_claims TO tasker_reader;
