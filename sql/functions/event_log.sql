-- Events as lines of the server's log.

CREATE OR REPLACE FUNCTION tasker_engine.duty_event_log() RETURNS bigint
AS 'MODULE_PATHNAME', 'duty_event_log' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET work_mem = '16MB'; -- as read_events
COMMENT ON FUNCTION tasker_engine.duty_event_log() IS 'Writes the next events whose routes name the log to the server''s log, up to 1,000; returns how many it has read. Without such a route it only looks.';
