-- How far events were written to the server's log.

CREATE TABLE tasker_engine.event_log_positions (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    position text NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE tasker_engine.event_log_positions IS 'How far events were written to the server''s log: one row while a route of an event names the log.';
COMMENT ON COLUMN tasker_engine.event_log_positions.one IS 'Keeps it at one row.';
COMMENT ON COLUMN tasker_engine.event_log_positions.position IS 'A position as tasker.read_events has them.';
