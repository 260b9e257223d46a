-- The background processes. They live in shared memory: without shared_preload_libraries there are none.

CREATE OR REPLACE FUNCTION tasker_engine.background_activity()
RETURNS TABLE (
    pid integer, database_oid oid, kind text, pool text, worker_id text, state text, started_at timestamptz,
    state_since timestamptz, busy_us bigint, steps bigint, failures bigint, step_uuid uuid, stop_by timestamptz)
AS 'MODULE_PATHNAME', 'background_activity' LANGUAGE c VOLATILE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.background_activity() IS 'The launcher, coordinators and executors of the cluster as they are now; no row without shared_preload_libraries.
pid: process id of the backend.
database_oid: the database it works in; 0 for the launcher.
kind: launcher, coordinator or executor.
pool: the executor''s pool; NULL for the others.
worker_id: the id under which an executor claims; NULL for the others.
state: starting, idle, busy, draining or stopping.
started_at: when the process started.
state_since: when it entered its state.
busy_us: time spent running steps since it started, microseconds.
steps: steps run since it started.
failures: of these, how many failed.
step_uuid: the step that an executor runs now; NULL if none.
stop_by: when the coordinator terminates a process that was told to stop; NULL if it was not told to.';
GRANT EXECUTE ON FUNCTION tasker_engine.background_activity() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.executor_restarts()
RETURNS TABLE (
    database_oid oid, pool text, ended bigint, in_a_row integer, last_ended_at timestamptz, next_start_at timestamptz)
AS 'MODULE_PATHNAME', 'executor_restarts' LANGUAGE c VOLATILE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.executor_restarts() IS 'Pools of the cluster whose executors ended unexpectedly since the server started.';
GRANT EXECUTE ON FUNCTION tasker_engine.executor_restarts() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.waiting_database_oids() RETURNS TABLE (database_oid oid)
AS 'MODULE_PATHNAME', 'waiting_database_oids' LANGUAGE c VOLATILE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.waiting_database_oids() IS 'Databases for whose coordinator the launcher finds no slot of max_worker_processes.';

CREATE OR REPLACE FUNCTION tasker_engine.waiting_databases() RETURNS text[]
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    RETURN ARRAY(SELECT d.datname::text FROM tasker_engine.waiting_database_oids() w
                 JOIN pg_database d ON d.oid = w.database_oid ORDER BY d.datname);
COMMENT ON FUNCTION tasker_engine.waiting_databases() IS 'Names of the databases that wait for a coordinator because no slot of max_worker_processes is left.';
GRANT EXECUTE ON FUNCTION tasker_engine.waiting_databases() TO tasker_reader; -- health_status calls it

CREATE OR REPLACE FUNCTION tasker_engine.wake_launcher() RETURNS boolean
AS 'MODULE_PATHNAME', 'wake_launcher' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.wake_launcher() IS 'When this transaction commits, the launcher starts a coordinator in this database; false without shared_preload_libraries.';

CREATE OR REPLACE FUNCTION tasker_engine.this_database() RETURNS oid LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (SELECT d.oid FROM pg_database d WHERE d.datname = current_database());
COMMENT ON FUNCTION tasker_engine.this_database() IS 'The oid of the database.';

CREATE OR REPLACE FUNCTION tasker_engine.has_coordinator() RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
    RETURN EXISTS (SELECT FROM tasker_engine.background_activity() b
                   WHERE b.kind = 'coordinator' AND b.state <> 'stopping'
                     AND b.database_oid = (SELECT d.oid FROM pg_database d
                                                               WHERE d.datname = current_database()));
COMMENT ON FUNCTION tasker_engine.has_coordinator() IS 'Whether a coordinator is at work in this database.';
GRANT EXECUTE ON FUNCTION tasker_engine.has_coordinator() TO tasker_reader; -- a view calls it
