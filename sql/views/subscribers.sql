-- Subscribers and how far they are.

CREATE OR REPLACE VIEW tasker.subscribers AS
SELECT s.subscriber, s.patterns, s.namespaces, s.filter, s.sample_rate, s.max_deliveries, s.ordered, s.include_data, s.max_in_flight,
       s.batch_size, h.handler, s.paused, tasker_engine.role_name(s.owner_oid, s.owner_role) AS owner_role,
       ARRAY(SELECT tasker_engine.role_name(g.role_oid, g.role_name) FROM tasker_engine.subscriber_grants g
             WHERE g.subscriber_id = s.subscriber_id ORDER BY g.role_name) AS granted_to,
       p.position,
       greatest(0, l.last_id - p.reached) AS lag_events,
       coalesce(greatest(0, extract(epoch FROM statement_timestamp() - b.created_at)), 0)::double precision AS lag_seconds,
       d.in_flight + r.in_flight AS in_flight, r.waiting,
       p.delivered + c.delivered AS delivered, p.failed + c.failed AS failed, r.dead, p.missed_events + c.missed AS missed_events,
       greatest(c.missed_at, p.missed_until) AS missed_until, coalesce(c.error, p.last_error) AS last_error,
       coalesce(c.error_at, p.last_error_at) AS last_error_at, p.moved_at, s.created_at, s.updated_at
FROM tasker_engine.subscribers s
LEFT JOIN tasker_engine.subscriber_handlers h ON h.subscriber_id = s.subscriber_id
LEFT JOIN LATERAL (
    SELECT * FROM tasker_engine.subscriber_places o WHERE o.subscriber_id = s.subscriber_id ORDER BY o.place_no DESC LIMIT 1) p ON true
CROSS JOIN LATERAL (
    SELECT greatest((SELECT max(o.id) FROM tasker_engine.transitions o), (SELECT max(o.id) FROM tasker_engine.events o), 0) AS last_id) l
CROSS JOIN LATERAL (
    SELECT least((SELECT o.created_at FROM tasker_engine.transitions o WHERE o.id > p.reached ORDER BY o.id LIMIT 1),
                 (SELECT o.created_at FROM tasker_engine.events o WHERE o.id > p.reached ORDER BY o.id LIMIT 1)) AS created_at) b
CROSS JOIN LATERAL (
    SELECT coalesce(sum(o.events - cardinality(o.gone)) FILTER (WHERE o.lease_until > statement_timestamp()), 0) AS in_flight
    FROM tasker_engine.deliveries o WHERE o.subscriber_id = s.subscriber_id AND o.poll_no >= p.first_poll) d
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE o.holder IS NOT NULL AND o.dead_at IS NULL AND o.due_at > statement_timestamp()) AS in_flight,
           count(*) FILTER (WHERE o.dead_at IS NULL AND NOT (o.holder IS NOT NULL AND o.due_at > statement_timestamp())) AS waiting,
           count(o.dead_at) AS dead
    FROM tasker_engine.redeliveries o WHERE o.subscriber_id = s.subscriber_id) r
CROSS JOIN LATERAL (
    SELECT coalesce(sum(o.delivered), 0)::bigint AS delivered, coalesce(sum(o.failed), 0)::bigint AS failed,
           coalesce(sum(o.missed), 0)::bigint AS missed,
           (array_agg(o.error ORDER BY o.counted_at DESC) FILTER (WHERE o.error IS NOT NULL))[1] AS error,
           max(o.counted_at) FILTER (WHERE o.error IS NOT NULL) AS error_at,
           max(o.counted_at) FILTER (WHERE o.missed > 0) AS missed_at
    FROM tasker_engine.delivery_counts o WHERE o.subscriber_id = s.subscriber_id) c;
COMMENT ON VIEW tasker.subscribers IS 'Every subscriber to events with its settings, where it is, and how it went. Rule: docs/events.md#subscribers.';
COMMENT ON COLUMN tasker.subscribers.subscriber IS 'Its name.';
COMMENT ON COLUMN tasker.subscribers.patterns IS 'Which names it wants.';
COMMENT ON COLUMN tasker.subscribers.namespaces IS 'Only events of tasks of these namespaces; NULL: all.';
COMMENT ON COLUMN tasker.subscribers.filter IS 'What a payload must contain; NULL: nothing.';
COMMENT ON COLUMN tasker.subscribers.sample_rate IS 'The share of tasks of which it gets all events.';
COMMENT ON COLUMN tasker.subscribers.max_deliveries IS 'After that many deliveries an event is a dead letter.';
COMMENT ON COLUMN tasker.subscribers.ordered IS 'Whether the events of a task come in order, and to one consumer at a time.';
COMMENT ON COLUMN tasker.subscribers.include_data IS 'Whether payloads get results, inputs and context as they are when read.';
COMMENT ON COLUMN tasker.subscribers.max_in_flight IS 'The most events that its consumers hold together; NULL: no limit.';
COMMENT ON COLUMN tasker.subscribers.batch_size IS 'How many events a handler gets at a time.';
COMMENT ON COLUMN tasker.subscribers.handler IS 'The function that gets its events; NULL: it is polled.';
COMMENT ON COLUMN tasker.subscribers.paused IS 'Whether its polls return nothing until resume_subscriber.';
COMMENT ON COLUMN tasker.subscribers.owner_role IS 'The role that made it.';
COMMENT ON COLUMN tasker.subscribers.granted_to IS 'Other roles that may poll it.';
COMMENT ON COLUMN tasker.subscribers.position IS 'How far it has read, as in read_events.';
COMMENT ON COLUMN tasker.subscribers.lag_events IS 'How many rows of the log, starts of runs and published events are behind its place, whether it wants them or not. Some may have been rolled back or purged.';
COMMENT ON COLUMN tasker.subscribers.lag_seconds IS 'How long ago the first row was written that it has not looked at; 0 if there is none.';
COMMENT ON COLUMN tasker.subscribers.in_flight IS 'Number of events that consumers have under a lease.';
COMMENT ON COLUMN tasker.subscribers.waiting IS 'Number of events that wait for another delivery, or for an earlier event of their task.';
COMMENT ON COLUMN tasker.subscribers.delivered IS 'Number of deliveries so far, each one of an event that came again included.';
COMMENT ON COLUMN tasker.subscribers.failed IS 'Number of deliveries that ended in nack_events or without an answer.';
COMMENT ON COLUMN tasker.subscribers.dead IS 'Number of its rows in event_dead_letters.';
COMMENT ON COLUMN tasker.subscribers.missed_events IS 'Number of rows of the log and published events that were removed before it had read them, or before they were acknowledged; it got events stream.gap for them.';
COMMENT ON COLUMN tasker.subscribers.missed_until IS 'When the last of them was written; if it was to come again, when it was found missing. NULL if none is.';
COMMENT ON COLUMN tasker.subscribers.last_error IS 'Why the last delivery failed; NULL if none did, or nothing was said.';
COMMENT ON COLUMN tasker.subscribers.last_error_at IS 'When it failed.';
COMMENT ON COLUMN tasker.subscribers.moved_at IS 'When its place last moved. Polls that find nothing move it once a second at most.';
COMMENT ON COLUMN tasker.subscribers.created_at IS 'When it was made.';
COMMENT ON COLUMN tasker.subscribers.updated_at IS 'When a setting was last changed, or it was paused or resumed.';
GRANT SELECT ON tasker.subscribers TO tasker_reader;

CREATE OR REPLACE VIEW tasker.event_dead_letters AS
SELECT s.subscriber, r.event_id, e.name, e.occurred_at, e.namespace, e.task_uuid, e.step_uuid, e.payload, r.deliveries, r.error,
       r.consumer, r.dead_at
FROM tasker_engine.redeliveries r
JOIN tasker_engine.subscribers s ON s.subscriber_id = r.subscriber_id
LEFT JOIN LATERAL tasker_engine.events_again(ARRAY[r.event_id], ARRAY[r.row_id]) e ON true
WHERE r.dead_at IS NOT NULL;
COMMENT ON VIEW tasker.event_dead_letters IS 'Events that a subscriber was handed max_deliveries times without acknowledging them; redrive_events hands them out again. Rule: docs/events.md#subscribers.';
COMMENT ON COLUMN tasker.event_dead_letters.subscriber IS 'Name of the subscriber.';
COMMENT ON COLUMN tasker.event_dead_letters.event_id IS 'The event.';
COMMENT ON COLUMN tasker.event_dead_letters.name IS 'Its name; NULL here and in what follows up to payload if its task was purged.';
COMMENT ON COLUMN tasker.event_dead_letters.occurred_at IS 'When it happened.';
COMMENT ON COLUMN tasker.event_dead_letters.namespace IS 'The namespace of its task.';
COMMENT ON COLUMN tasker.event_dead_letters.payload IS 'What it says.';
COMMENT ON COLUMN tasker.event_dead_letters.deliveries IS 'How often it was handed out.';
COMMENT ON COLUMN tasker.event_dead_letters.error IS 'What the last nack_events said, or that the lease ended; NULL if nothing was said.';
COMMENT ON COLUMN tasker.event_dead_letters.consumer IS 'The consumer that had it last; NULL if it gave no name.';
COMMENT ON COLUMN tasker.event_dead_letters.dead_at IS 'When it became a dead letter.';
GRANT SELECT ON tasker.event_dead_letters TO tasker_reader;

-- Paused ones, too.
CREATE OR REPLACE VIEW tasker_engine.subscriber_reads AS
SELECT s.subscriber_id, s.subscriber, p.read_to, p.since
FROM tasker_engine.subscribers s
CROSS JOIN LATERAL (
    SELECT o.read_to, o.since FROM tasker_engine.subscriber_places o
    WHERE o.subscriber_id = s.subscriber_id ORDER BY o.place_no DESC LIMIT 1) p;
COMMENT ON VIEW tasker_engine.subscriber_reads IS 'How far each subscriber has read.';
COMMENT ON COLUMN tasker_engine.subscriber_reads.subscriber_id IS 'The subscriber.';
COMMENT ON COLUMN tasker_engine.subscriber_reads.subscriber IS 'Its name.';
COMMENT ON COLUMN tasker_engine.subscriber_reads.read_to IS 'All rows of the log up to this id were read, whatever commits later.';
COMMENT ON COLUMN tasker_engine.subscriber_reads.since IS 'Rows of the log that are older do not count; NULL: all count.';
