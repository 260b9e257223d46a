-- Names of events.

CREATE OR REPLACE VIEW tasker.event_catalog AS
SELECT c.name, c.event_group, c.fires_when, c.payload_schema, c.synonym_of, false AS custom
FROM tasker_engine.event_catalogue() c
UNION ALL
SELECT r.name, 'custom', COALESCE(r.description, 'An application publishes it.'), r.payload_schema, NULL, true
FROM tasker_engine.registered_events r;
COMMENT ON VIEW tasker.event_catalog IS 'Every name of an event: the engine''s, other names of the same events, and custom ones. A subscriber gets an event under its canonical name, once, whichever of its names match. Rule: crates/rules/src/events.';
COMMENT ON COLUMN tasker.event_catalog.name IS 'The name; a pattern can use it.';
COMMENT ON COLUMN tasker.event_catalog.event_group IS 'What it is about: task, step, workflow, observability, export, test, registry or engine. alias: the name is a synonym only. custom: an application''s.';
COMMENT ON COLUMN tasker.event_catalog.fires_when IS 'The row of the log, or the fact, that gives the event. It begins with "Another name of" for a synonym, "Later:" if the engine does not give it yet, and "Never:" with the reason if it cannot.';
COMMENT ON COLUMN tasker.event_catalog.payload_schema IS 'JSON Schema of the payload, of a synonym that of its event; NULL if there is none. A key with "asRead": true is added on request, as it is when the event is read; all others never change.';
COMMENT ON COLUMN tasker.event_catalog.synonym_of IS 'The canonical name; NULL if this is one.';
COMMENT ON COLUMN tasker.event_catalog.custom IS 'Whether an application registered it.';
GRANT SELECT ON tasker.event_catalog TO tasker_reader;
