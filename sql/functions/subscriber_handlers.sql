-- Subscribers whose events are handed to functions of this database. src/subscribers/handler.rs does it.

CREATE OR REPLACE FUNCTION tasker_engine.take_events(subscriber_id bigint, consumer text DEFAULT NULL)
RETURNS TABLE (
    event_id bigint, name text, occurred_at timestamptz, namespace text, task_uuid uuid, step_uuid uuid, correlation_id text,
    traceparent text, payload jsonb, delivery integer, depth integer)
AS 'MODULE_PATHNAME', 'take_events' LANGUAGE c VOLATILE SECURITY DEFINER COST 10000 ROWS 1 SET search_path = pg_catalog, pg_temp
SET work_mem = '16MB'; -- as of poll_events
COMMENT ON FUNCTION tasker_engine.take_events(bigint, text) IS
'The next events for the handler of a subscriber, as poll_events hands them out: one that failed before, alone, or a batch of new ones. None for a subscriber that is gone, paused, or without a handler.
consumer: The executor that calls the handler; NULL: a session.
depth: How many handlers of events led to it, one causing the next. Beyond 16 an event is a dead letter.';

CREATE OR REPLACE FUNCTION tasker_engine.run_events(subscriber_id bigint, event_ids bigint[], events jsonb, depth integer) RETURNS text
AS 'MODULE_PATHNAME', 'run_events' LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.run_events(bigint, bigint[], jsonb, integer) IS
'Calls the handler of a subscriber with events that take_events has handed out to this session, and acknowledges them; returns NULL. If the handler fails, what it did is undone, the events come again, one by one, and its error is returned.
depth: The greatest of the depths of the events: what the handler publishes and creates is one deeper.';

CREATE OR REPLACE FUNCTION tasker_engine.fail_events(subscriber_id bigint, event_ids bigint[], error text) RETURNS integer
AS 'MODULE_PATHNAME', 'fail_events' LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.fail_events(bigint, bigint[], text) IS
'Events that take_events has handed out come again, as after an error of the handler; returns how many. 0 for a subscriber without a handler.';

-- What an executor held that ended in the handler. Its process is not in the list any more.
CREATE OR REPLACE FUNCTION tasker_engine.return_lost_events() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    problem CONSTANT text := tasker_engine.lost_handler_error();
    lost record;
    returned bigint := 0;
BEGIN
    FOR lost IN
        SELECT h.subscriber_id, array_agg(e.event_id) AS event_ids
        FROM tasker_engine.subscriber_handlers h
        CROSS JOIN LATERAL (
            SELECT u.event_id, d.consumer
            FROM tasker_engine.deliveries d
            CROSS JOIN unnest(d.event_ids) WITH ORDINALITY AS u (event_id, no)
            WHERE d.subscriber_id = h.subscriber_id AND starts_with(d.consumer, 'tasker-executor/') AND NOT (u.no - 1)::smallint = ANY (d.gone)
            UNION ALL
            SELECT r.event_id, r.consumer
            FROM tasker_engine.redeliveries r
            WHERE r.subscriber_id = h.subscriber_id AND starts_with(r.consumer, 'tasker-executor/') AND r.holder IS NOT NULL
              AND r.dead_at IS NULL) e
        WHERE NOT EXISTS (SELECT FROM tasker_engine.background_activity() a WHERE a.worker_id = e.consumer)
        GROUP BY h.subscriber_id
    LOOP
        returned := returned + tasker_engine.fail_events(lost.subscriber_id, lost.event_ids, problem);
    END LOOP;
    RETURN returned;
END
$$;
COMMENT ON FUNCTION tasker_engine.return_lost_events() IS 'Events that executors held which are gone come again, as after an error of the handler; returns how many.';

CREATE OR REPLACE FUNCTION tasker.run_subscribers(max_batches integer DEFAULT 100, subscriber text DEFAULT NULL)
RETURNS TABLE (subscriber_name text, event_ids bigint[], error text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 100 SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    handled record;
    events jsonb;
    deepest integer;
    ran integer := 0;
    any_left boolean := true;
BEGIN
    PERFORM tasker_engine.required(run_subscribers.max_batches, 'max_batches');
    IF run_subscribers.max_batches NOT BETWEEN 1 AND 10000 THEN
        RAISE invalid_parameter_value USING MESSAGE = format('max_batches %s is out of range', run_subscribers.max_batches),
            DETAIL = 'The range is 1 to 10000.', HINT = 'SELECT * FROM tasker.run_subscribers(100), for example.';
    END IF;
    IF run_subscribers.subscriber IS NOT NULL
       AND NOT EXISTS (SELECT FROM tasker_engine.subscribers s WHERE s.subscriber = run_subscribers.subscriber) THEN
        RAISE no_data_found USING MESSAGE = format('no subscriber has the name "%s"', left(run_subscribers.subscriber, 128)),
            DETAIL = 'There is none.', HINT = 'SELECT subscriber FROM tasker.subscribers lists them; subscribe() makes one.';
    END IF;
    -- The copy of a database must not send again what its source sends.
    PERFORM tasker_engine.require_resumed(or_new => true);
    WHILE any_left LOOP
        any_left := false;
        FOR handled IN
            SELECT s.subscriber_id, s.subscriber
            FROM tasker_engine.subscriber_handlers h
            JOIN tasker_engine.subscribers s ON s.subscriber_id = h.subscriber_id
            WHERE NOT s.paused AND (run_subscribers.subscriber IS NULL OR s.subscriber = run_subscribers.subscriber)
            ORDER BY s.subscriber_id
        LOOP
            IF ran >= run_subscribers.max_batches THEN
                RETURN;
            END IF;
            SELECT array_agg(e.event_id), jsonb_agg(to_jsonb(e)), max(e.depth) INTO event_ids, events, deepest
            FROM tasker_engine.take_events(handled.subscriber_id) e;
            IF event_ids IS NOT NULL THEN
                any_left := true;
                ran := ran + 1;
                subscriber_name := handled.subscriber;
                error := tasker_engine.run_events(handled.subscriber_id, event_ids, events, deepest);
                RETURN NEXT;
            END IF;
        END LOOP;
    END LOOP;
END
$$;
COMMENT ON FUNCTION tasker.run_subscribers(integer, text) IS 'Hands events that are due to the handlers of subscribers (subscribe(handler => ''sql:<schema.function>'')), in this session and this transaction, until none is due, as the executors do in the background. For servers without shared_preload_libraries, for pg_cron, and for trying a handler out. Each handler runs with the rights of its subscriber''s owner. Its error undoes what it did and is the error of its events, not of the call. P0002 for an unknown subscriber, 22023 for max_batches out of range. Rule: docs/events.md#handlers-of-subscribers.
max_batches: The most calls of handlers, 1 to 10,000.
subscriber: Only this one; NULL: all.
subscriber_name: The subscriber whose handler was called.
event_ids: The events that it was given.
error: Why it failed; NULL: it did not, and the events are acknowledged.';
GRANT EXECUTE ON FUNCTION tasker.run_subscribers(integer, text) TO tasker_worker, tasker_operator;
