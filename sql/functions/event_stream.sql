-- The log as a stream of events. The rules are crates/rules/src/events/: which rows give which events, and where a reader is.

CREATE OR REPLACE FUNCTION tasker.read_events(
    after text DEFAULT NULL, max_events integer DEFAULT 1000, patterns text[] DEFAULT '{*}', namespaces text[] DEFAULT NULL,
    format text DEFAULT 'native')
RETURNS TABLE (
    event_id bigint, name text, occurred_at timestamptz, namespace text, task_uuid uuid, step_uuid uuid, correlation_id text,
    traceparent text, payload jsonb, "position" text)
AS 'MODULE_PATHNAME', 'read_events' LANGUAGE c STABLE SECURITY DEFINER COST 10000 ROWS 100
SET search_path = pg_catalog, pg_temp
SET work_mem = '16MB'; -- a page of events is no temporary file, which temp_file_limit could refuse
COMMENT ON FUNCTION tasker.read_events(text, integer, text[], text[], text) IS
'The next events behind a position, in an order in which causes come before effects. Nothing is written, so it works on a standby (docs/events.md says what is different there); keep the position of the last row, and give it as after. An event has the same event_id and payload whenever it is read. Events of the own transaction and of those that are not committed come later. A call looks at up to 100,000 rows of the log and published events: if none of them is wanted, the only row has a position alone, from which the next call goes on. 22023 for a position that is none, a pattern that is empty or has two stars, no pattern, an unknown format, or max_events outside 1 to 10,000. Rule: docs/events.md.
after: The position of a row that was read; NULL: the oldest event.
max_events: How many events at most.
patterns: Names of tasker.event_catalog, prefix*, *suffix, or *: an event comes if one of its names fits one of them.
namespaces: Only events of these namespaces; NULL: all, and published events without a namespace.
format: native, or cloudevents: payload is the whole event as a CloudEvent 1.0 (docs/events.md#cloudevents).
event_id: Identifies the event, for a consumer that must not do its work twice.
name: Its canonical name.
occurred_at: When it happened. The start of a run is told when the run has ended.
namespace: The namespace of the task, or that of a published event; NULL: it has none.
task_uuid: The task; NULL for a published event without one.
step_uuid: The step; NULL for an event of the task.
payload: As its payload_schema in tasker.event_catalog says; of a CloudEvent this is the key data.
position: Where a reader is that has this event and all before it.';
GRANT EXECUTE ON FUNCTION tasker.read_events(text, integer, text[], text[], text) TO tasker_reader;
