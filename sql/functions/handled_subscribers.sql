-- Which handlers of subscribers executors may call now.

CREATE OR REPLACE FUNCTION tasker_engine.lost_handler_error() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 'the executor ended while it ran the handler';
COMMENT ON FUNCTION tasker_engine.lost_handler_error() IS 'The error of events that an executor held which is gone.';

-- While an event waits with which an executor ended, its subscriber gets no other: the next one could end the next executor.
CREATE OR REPLACE FUNCTION tasker_engine.handled_subscribers()
RETURNS TABLE (subscriber_id bigint, subscriber text, place_no bigint, behind boolean, due_at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    IF NOT EXISTS (SELECT FROM tasker_engine.subscriber_handlers) THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT s.subscriber_id, s.subscriber, p.place_no, p.reached < l.last_id, least(d.lease_until, r.due_at)
    FROM tasker_engine.subscriber_handlers h
    JOIN tasker_engine.subscribers s ON s.subscriber_id = h.subscriber_id
    CROSS JOIN LATERAL (
        SELECT o.place_no, o.reached, o.first_poll FROM tasker_engine.subscriber_places o
        WHERE o.subscriber_id = h.subscriber_id ORDER BY o.place_no DESC LIMIT 1) p
    CROSS JOIN (
        SELECT greatest((SELECT max(o.id) FROM tasker_engine.transitions o), (SELECT max(o.id) FROM tasker_engine.events o), 0) AS last_id) l
    CROSS JOIN LATERAL (
        SELECT min(o.lease_until) AS lease_until FROM tasker_engine.deliveries o
        WHERE o.subscriber_id = h.subscriber_id AND o.poll_no >= p.first_poll) d
    CROSS JOIN LATERAL (
        SELECT min(o.due_at) AS due_at FROM tasker_engine.redeliveries o
        WHERE o.subscriber_id = h.subscriber_id AND o.due_at < 'infinity') r
    WHERE NOT s.paused
      AND NOT EXISTS (SELECT FROM tasker_engine.redeliveries o
                      WHERE o.subscriber_id = h.subscriber_id AND o.due_at > clock_timestamp() AND o.due_at < 'infinity'
                        AND o.holder IS NULL AND o.error = tasker_engine.lost_handler_error())
    ORDER BY s.subscriber_id;
END
$$;
COMMENT ON FUNCTION tasker_engine.handled_subscribers() IS 'Subscribers whose handlers executors may call now: neither paused, nor with an event that waits because an executor ended with it.
place_no: counts the moves of its place.
behind: whether the log has rows behind its place.
due_at: when events come again that failed, or whose lease ends; NULL: none.';

CREATE OR REPLACE FUNCTION tasker_engine.subscribers_behind() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT count(*)::integer FROM tasker_engine.handled_subscribers() s WHERE s.behind OR s.due_at <= clock_timestamp());
END
$$;
COMMENT ON FUNCTION tasker_engine.subscribers_behind() IS 'How many subscribers have events for their handlers, or rows of the log that they have not looked at.';
