-- Events of applications.

CREATE TABLE tasker_engine.registered_events (
    name text PRIMARY KEY,
    description text,
    payload_schema jsonb
);
COMMENT ON TABLE tasker_engine.registered_events IS 'Custom events: names that applications publish.';
COMMENT ON COLUMN tasker_engine.registered_events.name IS 'Name, with a dot and a first segment that is not the engine''s.';
COMMENT ON COLUMN tasker_engine.registered_events.description IS 'What it says; NULL: nothing is known.';
COMMENT ON COLUMN tasker_engine.registered_events.payload_schema IS 'JSON Schema of its payloads; NULL: any object.';
