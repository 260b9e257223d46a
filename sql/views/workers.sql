-- The workers that have rows: one that ended leaves a minute later, one that is silent after a day (duty_workers). A worker that has not called for 2 minutes is not live, unless it waits idle or holds a lease.

CREATE OR REPLACE FUNCTION tasker_engine.is_seen(last_seen_at timestamptz, idle_until timestamptz)
RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
    RETURN last_seen_at > (tasker_engine.engine_clock() - '2 minutes'::interval)
        OR idle_until IS NOT NULL AND idle_until > tasker_engine.engine_clock();
COMMENT ON FUNCTION tasker_engine.is_seen(timestamptz, timestamptz) IS
'Whether a worker has called lately: in the last 2 minutes, or it waits idle and should call again.';
GRANT EXECUTE ON FUNCTION tasker_engine.is_seen(timestamptz, timestamptz) TO tasker_reader;

-- A worker that is busy with a long step calls only heartbeat, which keeps the lease alive. An index leads to each of the three.
CREATE OR REPLACE VIEW tasker_engine.live_workers AS
SELECT w.worker_no FROM tasker_engine.workers w
WHERE w.ended_at IS NULL AND w.last_seen_at > (tasker_engine.engine_clock() - '2 minutes'::interval)
UNION
SELECT w.worker_no FROM tasker_engine.workers w
WHERE w.idle_until IS NOT NULL AND w.idle_until > tasker_engine.engine_clock() -- One that has ended has none.
UNION
SELECT l.worker_no FROM tasker_engine.claims l
WHERE l.remaining > 0 AND l.lease_expires_at > tasker_engine.engine_clock();
COMMENT ON VIEW tasker_engine.live_workers IS 'The workers that were seen lately, wait idle, or hold a lease that has not ended.';

CREATE OR REPLACE VIEW tasker_engine.known_workers AS
SELECT w.worker_no, w.worker_id, w.namespaces, w.last_seen_at,
       w.worker_no IN (SELECT l.worker_no FROM tasker_engine.live_workers l) AS live,
       w.handler_keys
FROM tasker_engine.workers w;
COMMENT ON VIEW tasker_engine.known_workers IS 'The workers that have called in the last day and not ended, and whether each is live.';
COMMENT ON COLUMN tasker_engine.known_workers.handler_keys IS 'The handlers that it waits for, as in queue_entries; NULL for any.';
COMMENT ON COLUMN tasker_engine.known_workers.live IS 'Whether the worker was seen lately or holds a lease that has not ended.';

CREATE OR REPLACE VIEW tasker.workers AS
SELECT w.worker_id,
       w.namespaces,
       CASE WHEN c.next_lease_expires_at <= tasker_engine.engine_clock() THEN 'lost'
            WHEN c.held_steps > 0 THEN 'busy'
            WHEN w.ended_at IS NOT NULL THEN 'ended'
            WHEN w.idle_until IS NOT NULL AND w.idle_until > tasker_engine.engine_clock() THEN 'idle'
            WHEN c.worker_no IS NOT NULL THEN 'lost' -- All was taken over, and it has not called to hear that.
            WHEN tasker_engine.is_seen(w.last_seen_at, w.idle_until) THEN 'active'
            ELSE 'silent'
       END AS state,
       COALESCE(c.held_steps, 0) AS held_steps,
       c.next_lease_expires_at,
       w.registered_at,
       w.last_seen_at,
       w.idle_until,
       r.rolname::text AS role_name
FROM tasker_engine.workers w
LEFT JOIN tasker_engine.claimants o ON o.claimant_no = w.claimant_no
LEFT JOIN pg_roles r ON r.oid = o.role_oid
LEFT JOIN (
    SELECT l.worker_no,
           sum(l.remaining)::bigint AS held_steps,
           min(l.lease_expires_at) FILTER (WHERE l.remaining > 0) AS next_lease_expires_at
    FROM tasker_engine.claims l
    GROUP BY l.worker_no
) c ON c.worker_no = w.worker_no;
COMMENT ON VIEW tasker.workers IS 'For the operator: the workers that have called in the last day. One that has ended leaves within two minutes; tasker.workflow_step_transitions names it on.';
COMMENT ON COLUMN tasker.workers.role_name IS 'The role that claims under this id; NULL for the engine itself, a role that is gone, and a worker that has not claimed.';
COMMENT ON COLUMN tasker.workers.state IS
'lost (a lease has ended, or all that it held was taken over), busy, ended (it called end_worker), idle (waits for work), active (seen in the last 2 minutes) or silent.';
GRANT SELECT ON tasker.workers TO tasker_reader;
