-- The routes of events to telemetry: what set_event_route has set over the defaults.

CREATE OR REPLACE FUNCTION tasker_engine.default_event_routes()
RETURNS TABLE (event text, backends text[], sampling_rate numeric, priority text)
AS 'MODULE_PATHNAME', 'default_event_routes' LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 22
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.default_event_routes() IS 'The routes that hold as long as set_event_route has set nothing else.
event: name of the event.
backends: where it goes.
sampling_rate: share of the tasks, 0 to 1.
priority: low, normal, high or critical.';
GRANT EXECUTE ON FUNCTION tasker_engine.default_event_routes() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.event_routes_changed() RETURNS void
AS 'MODULE_PATHNAME', 'event_routes_changed' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.event_routes_changed() IS 'Tells every session that it must read tasker_engine.changed_event_routes again.';

CREATE OR REPLACE FUNCTION tasker.event_share(event text, backend text) RETURNS double precision
AS 'MODULE_PATHNAME', 'event_share' LANGUAGE c STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.event_share(text, text) IS 'Which share of the tasks has its events of this name in a backend, when the route, tasker.event_sampling_rate and tasker.filtered_events are put together; 0: none. An event without a route is counted, and goes nowhere else. 22023 for a name that no event can have, and for an unknown backend. Rule: docs/events.md#routes.
event: Name of the event; a synonym stands for its event.
backend: trace, metrics or log.';
GRANT EXECUTE ON FUNCTION tasker.event_share(text, text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.set_event_route(
    event text, backends text[] DEFAULT NULL, enabled boolean DEFAULT NULL, sampling_rate numeric DEFAULT NULL,
    priority text DEFAULT NULL, metadata jsonb DEFAULT NULL)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    unknown text;
BEGIN
    PERFORM tasker_engine.require_resumed(or_new => true);
    PERFORM tasker_engine.checked($1, 'event', 'event');
    SELECT b.name INTO unknown FROM unnest($2) AS b (name) WHERE b.name IS NULL OR b.name NOT IN ('trace', 'metrics', 'log') LIMIT 1;
    IF FOUND THEN
        RAISE invalid_parameter_value USING MESSAGE = format('there is no backend %s', coalesce(quote_ident(unknown), 'NULL')),
            DETAIL = 'An event goes to trace, metrics or log.',
            HINT = 'With enabled set to false it goes to none of them.';
    END IF;
    IF $4 < 0 OR $4 > 1 OR $4 = 'NaN' THEN
        RAISE invalid_parameter_value USING MESSAGE = format('sampling_rate %s is out of range', $4),
            DETAIL = 'It must lie between 0 and 1.',
            HINT = '1 takes all events, 0.1 one task in ten.';
    END IF;
    IF $5 NOT IN ('low', 'normal', 'high', 'critical') THEN
        RAISE invalid_parameter_value USING MESSAGE = format('there is no priority %s', quote_ident($5)),
            DETAIL = 'It is low, normal, high or critical.',
            HINT = 'NULL keeps what is set.';
    END IF;
    IF jsonb_typeof($6) <> 'object' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'metadata must be an object',
            DETAIL = format('The call gave a JSON %s.', jsonb_typeof($6)),
            HINT = 'NULL keeps what is set.';
    END IF;

    INSERT INTO tasker_engine.changed_event_routes AS c (event, backends, enabled, sampling_rate, priority, metadata)
    SELECT $1, coalesce($2, r.backends, '{trace}'), coalesce($3, r.enabled, true), coalesce($4, r.sampling_rate, 1),
           coalesce($5, r.priority, 'normal'), coalesce($6, r.metadata, '{}')
    FROM (SELECT) AS once LEFT JOIN tasker.event_routes r ON r.event = $1
    ON CONFLICT (event) DO UPDATE
    SET backends = coalesce($2, c.backends),
        enabled = coalesce($3, c.enabled),
        sampling_rate = coalesce($4, c.sampling_rate),
        priority = coalesce($5, c.priority),
        metadata = coalesce($6, c.metadata);
    PERFORM tasker_engine.event_routes_changed();
END
$$;
COMMENT ON FUNCTION tasker.set_event_route(text, text[], boolean, numeric, text, jsonb) IS
'Changes the route of an event, or makes one. NULL keeps what is set, at first the default of event_routes. 22004 without an event, 22023 for a name that no event can have, an unknown backend or priority, a sampling_rate outside 0 to 1, and metadata that are no object. Rule: docs/events.md#routes.
event: Name of the event: of event_catalog, or one that an application publishes.
backends: Where it goes: trace, metrics, log. An event without a route gets trace at first.
enabled: Whether it goes there; at first true.
sampling_rate: Share of the tasks whose events go there, 0 to 1; at first 1.
priority: low, normal, high or critical; at first normal.
metadata: Notes, an object; at first empty.';
GRANT EXECUTE ON FUNCTION tasker.set_event_route(text, text[], boolean, numeric, text, jsonb) TO tasker_admin;
