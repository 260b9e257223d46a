-- Which telemetry an event goes to. The defaults are in sql/views/event_routes.sql.

CREATE TABLE tasker_engine.changed_event_routes (
    event text PRIMARY KEY,
    backends text[] NOT NULL,
    enabled boolean NOT NULL,
    sampling_rate numeric NOT NULL,
    priority text NOT NULL,
    metadata jsonb NOT NULL
);
COMMENT ON TABLE tasker_engine.changed_event_routes IS 'Routes of events that set_event_route has set.';
COMMENT ON COLUMN tasker_engine.changed_event_routes.event IS 'Name of the event.';
COMMENT ON COLUMN tasker_engine.changed_event_routes.backends IS 'Where it goes: trace, metrics, log.';
COMMENT ON COLUMN tasker_engine.changed_event_routes.enabled IS 'Whether it goes there.';
COMMENT ON COLUMN tasker_engine.changed_event_routes.sampling_rate IS 'Share of the tasks whose events go there, 0 to 1.';
