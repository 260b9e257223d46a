-- The background processes that serve this database.

CREATE OR REPLACE VIEW tasker.background_workers AS
SELECT a.pid, a.kind, a.pool, a.worker_id, a.state, a.started_at, a.state_since,
       a.busy_us / 1000 AS busy_ms, a.steps, a.failures, a.step_uuid, a.stop_by
FROM tasker_engine.background_activity() a
WHERE a.kind = 'launcher'
   OR a.database_oid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database());
COMMENT ON VIEW tasker.background_workers IS 'The background processes that serve this database: the launcher of the server, the coordinator, the executors. No row means shared_preload_libraries does not name tasker_ext.';
COMMENT ON COLUMN tasker.background_workers.pid IS 'Process id, as in pg_stat_activity.';
COMMENT ON COLUMN tasker.background_workers.kind IS 'launcher, coordinator or executor.';
COMMENT ON COLUMN tasker.background_workers.pool IS 'The executor''s pool; NULL for the others.';
COMMENT ON COLUMN tasker.background_workers.worker_id IS 'The worker_id under which an executor claims steps; NULL for the others.';
COMMENT ON COLUMN tasker.background_workers.state IS 'starting, idle, busy (runs a step), draining (asked to end, finishes its step) or stopping.';
COMMENT ON COLUMN tasker.background_workers.started_at IS 'When the process started.';
COMMENT ON COLUMN tasker.background_workers.state_since IS 'When it entered its state.';
COMMENT ON COLUMN tasker.background_workers.busy_ms IS 'Time spent running steps since it started, milliseconds.';
COMMENT ON COLUMN tasker.background_workers.steps IS 'Steps run since it started.';
COMMENT ON COLUMN tasker.background_workers.failures IS 'How many of them failed.';
COMMENT ON COLUMN tasker.background_workers.step_uuid IS 'The step that an executor runs now; NULL if none.';
COMMENT ON COLUMN tasker.background_workers.stop_by IS 'When the coordinator terminates a process that was told to stop; NULL if it was not told to.';
GRANT SELECT ON tasker.background_workers TO tasker_reader;

CREATE OR REPLACE VIEW tasker.executor_restarts AS
SELECT r.pool, r.ended, r.in_a_row, r.last_ended_at,
       CASE WHEN r.next_start_at > clock_timestamp() THEN r.next_start_at END AS next_start_at
FROM tasker_engine.executor_restarts() r
WHERE r.database_oid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database());
COMMENT ON VIEW tasker.executor_restarts IS 'Pools whose executors ended unexpectedly since the server started: a handler ended its process, for example, or an operator terminated it. The coordinator starts others, after a pause that doubles from 1 second to a minute while they keep ending. Rule: docs/background-workers.md#executors.';
COMMENT ON COLUMN tasker.executor_restarts.pool IS 'Name of the pool.';
COMMENT ON COLUMN tasker.executor_restarts.ended IS 'Number of executors that ended unexpectedly.';
COMMENT ON COLUMN tasker.executor_restarts.in_a_row IS 'How many of them ended since one last lived for a minute.';
COMMENT ON COLUMN tasker.executor_restarts.last_ended_at IS 'When the last one was found to have ended.';
COMMENT ON COLUMN tasker.executor_restarts.next_start_at IS 'The next executor is not started before this time; NULL if the pause is over.';
GRANT SELECT ON tasker.executor_restarts TO tasker_reader;
