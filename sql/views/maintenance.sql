-- The duties of maintenance.

CREATE OR REPLACE VIEW tasker.maintenance_duties AS
SELECT d.duty, d.every, d.purpose, r.last_at, CASE WHEN r.last_at IS NOT NULL THEN r.last_done END AS last_done,
       coalesce(r.total_done, 0) AS total_done, coalesce(r.failures, 0) AS failures, r.last_error, r.last_error_at,
       s.last_run_at, s.problem
FROM tasker_engine.duties() d
LEFT JOIN tasker_engine.duty_runs r ON r.duty = d.duty
LEFT JOIN tasker_engine.duty_states() s ON s.duty = d.duty;
COMMENT ON VIEW tasker.maintenance_duties IS 'What maintenance does, how often, and how it went: by the coordinator, or by run_maintenance(). For rounds in which nothing was due, only the time of the last is kept. Rule: docs/background-workers.md#maintenance.';
COMMENT ON COLUMN tasker.maintenance_duties.duty IS 'Name of the duty.';
COMMENT ON COLUMN tasker.maintenance_duties.every IS 'How often the coordinator runs it.';
COMMENT ON COLUMN tasker.maintenance_duties.purpose IS 'What it does.';
COMMENT ON COLUMN tasker.maintenance_duties.last_at IS 'When it last did something or failed; NULL if never.';
COMMENT ON COLUMN tasker.maintenance_duties.last_done IS 'The number of things it did then.';
COMMENT ON COLUMN tasker.maintenance_duties.total_done IS 'Total number of things it has done.';
COMMENT ON COLUMN tasker.maintenance_duties.failures IS 'How often it failed.';
COMMENT ON COLUMN tasker.maintenance_duties.last_error IS 'SQLSTATE and message of its last failure; NULL if none.';
COMMENT ON COLUMN tasker.maintenance_duties.last_error_at IS 'When it last failed; NULL if never.';
COMMENT ON COLUMN tasker.maintenance_duties.last_run_at IS 'When it last finished, whether or not something was due; NULL if not since the server started. Without shared_preload_libraries it is written once a minute; NULL if never.';
COMMENT ON COLUMN tasker.maintenance_duties.problem IS 'What is wrong with it: it failed when last run; or it has not run for ten of its periods, at least 30 seconds (without shared_preload_libraries 10 minutes), and why. NULL if nothing is.';
GRANT SELECT ON tasker.maintenance_duties TO tasker_reader;
