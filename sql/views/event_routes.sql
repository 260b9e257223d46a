-- The routes of events: the defaults, and what was set over them.

CREATE OR REPLACE VIEW tasker.event_routes AS
SELECT coalesce(c.event, d.event) AS event, coalesce(c.backends, d.backends) AS backends, coalesce(c.enabled, true) AS enabled,
       coalesce(c.sampling_rate, d.sampling_rate) AS sampling_rate, coalesce(c.priority, d.priority) AS priority,
       coalesce(c.metadata, '{}') AS metadata
FROM tasker_engine.default_event_routes() d
FULL JOIN tasker_engine.changed_event_routes c ON c.event = d.event;
COMMENT ON VIEW tasker.event_routes IS 'Which telemetry an event goes to: the defaults, and what set_event_route has set. A name that event_catalog does not list is an event that an application may publish. Rule: docs/events.md#routes.';
COMMENT ON COLUMN tasker.event_routes.event IS 'Name of the event.';
COMMENT ON COLUMN tasker.event_routes.backends IS 'Where it goes: trace, metrics, log.';
COMMENT ON COLUMN tasker.event_routes.enabled IS 'Whether it goes there.';
COMMENT ON COLUMN tasker.event_routes.sampling_rate IS 'Share of the tasks whose events go there, 0 to 1.';
COMMENT ON COLUMN tasker.event_routes.priority IS 'low, normal, high or critical.';
COMMENT ON COLUMN tasker.event_routes.metadata IS 'Notes.';
GRANT SELECT ON tasker.event_routes TO tasker_reader;
