-- Handing out events, and what consumers say about them. src/subscribers/ does it.

CREATE OR REPLACE FUNCTION tasker.poll_events(
    subscriber text, max_events integer DEFAULT 100, lease interval DEFAULT '30 seconds', consumer text DEFAULT NULL,
    format text DEFAULT 'native')
RETURNS TABLE (
    event_id bigint, name text, occurred_at timestamptz, namespace text, task_uuid uuid, step_uuid uuid, correlation_id text,
    traceparent text, payload jsonb, delivery integer)
AS 'MODULE_PATHNAME', 'poll_events' LANGUAGE c VOLATILE COST 10000 ROWS 100 SET search_path = pg_catalog, pg_temp
SET work_mem = '16MB'; -- a page of events is no temporary file, which temp_file_limit could refuse
COMMENT ON FUNCTION tasker.poll_events(text, integer, interval, text, text) IS
'Hands out the next events of a subscriber to this consumer until the lease ends: first those that failed or whose lease has ended, then new ones. Never waits for another session. After a call that finds nothing, with preload, commits that give events send a NOTIFY on the channel tasker.events for a minute, at most one in 50 ms and without a payload. Acknowledge them with ack_events(), in the transaction that has their effect if it is in this database. Events of the own transaction come later. P0002 for an unknown subscriber, 42501 for one that is neither the caller''s nor granted to it, 22023 for max_events outside 1 to 10,000, a lease outside one second to one day, or an unknown format, 25006 on a standby. Rule: docs/events.md#subscribers.
subscriber: Its name.
max_events: How many events at most.
lease: How long the consumer has time; extend_events() gives more.
consumer: A name of the consumer, which tasker.event_dead_letters shows.
format: native, or cloudevents: payload is the whole event as a CloudEvent 1.0 (docs/events.md#cloudevents).
event_id: Identifies the event, for a consumer that must not do its work twice, and for ack_events().
name: Its canonical name.
occurred_at: When it happened. The start of a run is told when the run has ended.
namespace: The namespace of the task.
step_uuid: The step; NULL for an event of the task.
payload: As its payload_schema in tasker.event_catalog says; with include_data also a key data. Of a CloudEvent this is the key data.
delivery: Which of its deliveries this is, from 1.';
GRANT EXECUTE ON FUNCTION tasker.poll_events(text, integer, interval, text, text) TO tasker_reader, tasker_worker;

CREATE OR REPLACE FUNCTION tasker.ack_events(subscriber text, event_ids bigint[])
RETURNS integer AS 'MODULE_PATHNAME', 'ack_events' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.ack_events(text, bigint[]) IS
'The events are done, and do not come again; returns how many were not acknowledged before. Counts after the end of the lease, too. Ids that the subscriber has not got count nothing. P0002 and 42501 as of poll_events.
subscriber: Its name.
event_ids: The events.';
GRANT EXECUTE ON FUNCTION tasker.ack_events(text, bigint[]) TO tasker_reader, tasker_worker;

CREATE OR REPLACE FUNCTION tasker.nack_events(subscriber text, event_ids bigint[], retry_after interval DEFAULT NULL, error text DEFAULT NULL)
RETURNS integer AS 'MODULE_PATHNAME', 'nack_events' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.nack_events(text, bigint[], interval, text) IS
'The events could not be done: they come again, and after max_deliveries they are in tasker.event_dead_letters. Returns how many: not those that are acknowledged, or that another session has got since. P0002 and 42501 as of poll_events, 22023 for a wait outside 0 to one day.
subscriber: Its name.
event_ids: The events.
retry_after: When they may come again; NULL: as the backoff of the settings says.
error: Why, for tasker.event_dead_letters; its first 2,000 characters are kept.';
GRANT EXECUTE ON FUNCTION tasker.nack_events(text, bigint[], interval, text) TO tasker_reader, tasker_worker;

CREATE OR REPLACE FUNCTION tasker.extend_events(subscriber text, event_ids bigint[], lease interval)
RETURNS integer AS 'MODULE_PATHNAME', 'extend_events' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.extend_events(text, bigint[], interval) IS
'The consumer keeps the events for this long, from now on; returns how many it has. Waits for no lock: events that another session answers now are not among them. New events that one call has handed out have one lease. P0002 and 42501 as of poll_events, 22023 for a lease outside one second to one day.
subscriber: Its name.
event_ids: The events.
lease: How long.';
GRANT EXECUTE ON FUNCTION tasker.extend_events(text, bigint[], interval) TO tasker_reader, tasker_worker;
