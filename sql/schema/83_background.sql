-- The background processes. They live in shared memory: without shared_preload_libraries there are none.

CREATE FUNCTION tasker_engine.background_activity()
RETURNS TABLE (
    pid integer, database_oid oid, kind text, pool text, worker_id text, state text, started_at timestamptz,
    state_since timestamptz, busy_us bigint, steps bigint, failures bigint, step_uuid uuid)
AS 'MODULE_PATHNAME', 'background_activity' LANGUAGE c VOLATILE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.background_activity() IS 'The launcher, coordinators and executors of the cluster as they are now; no row without shared_preload_libraries.
pid: process id of the backend.
database_oid: the database it works in; 0 for the launcher.
kind: launcher, coordinator or executor.
pool: the executor''s pool; NULL for the others.
worker_id: under which an executor claims; NULL for the others.
state: starting, idle, busy, draining or stopping.
started_at: when the process started.
state_since: when it came into its state.
busy_us: time spent running steps since it started, microseconds.
steps: steps run since it started.
failures: of these, how many failed.
step_uuid: the step that an executor runs now; NULL if none.';
