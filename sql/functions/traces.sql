-- Spans, made of the log as events are. The rules are crates/rules/src/events/trace/: the ids, and the tree.

CREATE OR REPLACE FUNCTION tasker.trace_spans(
    since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, task_uuid uuid DEFAULT NULL, limit_count integer DEFAULT 1000)
RETURNS TABLE (
    trace_id text, span_id text, parent_span_id text, trace_state text, name text, kind text, started_at timestamptz,
    ended_at timestamptz, status text, status_message text, attributes jsonb, events jsonb, sampled boolean, task_uuid uuid,
    step_uuid uuid, claim_number integer)
AS 'MODULE_PATHNAME', 'trace_spans' LANGUAGE c STABLE SECURITY DEFINER COST 10000 ROWS 100
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.trace_spans(timestamptz, timestamptz, uuid, integer) IS
'The spans that have ended, recorded or not, in the order of their ends: the executions of tasks and of steps, the time in the queue before each run, retries and creations. Nothing is stored for them: they are made of the log, with the same ids each time. 22023 for a limit_count outside 1 to 10,000. Rule: docs/tracing.md.
since: Spans that ended before this time do not come; NULL: all.
until: Spans that ended at this time or later do not come; NULL: all.
task_uuid: Only the spans of this task; NULL: of all.
limit_count: The most spans, 1 to 10,000.
trace_id: 32 lower-case hexadecimal digits: those of the traceparent that came in, otherwise the task''s own.
span_id: 16 lower-case hexadecimal digits. The same whenever it is read.
parent_span_id: The span above it; NULL: it is the root of the trace.
trace_state: The tracestate that came in.
name: tasker.task.execution, tasker.task.initialize, tasker.step.execution, tasker.step.queued or tasker.step.retry.
kind: internal, consumer or producer, as OpenTelemetry has it.
started_at: When it began.
ended_at: When it ended.
status: ok, error, or unset for what was cancelled or given back.
status_message: The error message; NULL without an error.
attributes: A flat object; docs/tracing.md#attributes.
events: An array of {name, at, attributes}.
step_uuid: The step; NULL for a span of the task.
claim_number: The number of the claim whose run it is about; NULL for other spans.
sampled: Whether the span is exported: the caller''s flag, event_routes, tasker.event_sampling_rate and tasker.filtered_events together.
task_uuid: The task.';
GRANT EXECUTE ON FUNCTION tasker.trace_spans(timestamptz, timestamptz, uuid, integer) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.spans_of_events(event_ids bigint[])
RETURNS TABLE (
    event_id bigint,
    trace_id text, span_id text, parent_span_id text, trace_state text, name text, kind text, started_at timestamptz,
    ended_at timestamptz, status text, status_message text, attributes jsonb, events jsonb, sampled boolean, task_uuid uuid,
    step_uuid uuid, claim_number integer)
AS 'MODULE_PATHNAME', 'spans_of_events' LANGUAGE c STABLE SECURITY DEFINER COST 10000 ROWS 1000
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.spans_of_events(bigint[]) IS
'The recorded spans that these events of the stream end, for an exporter that acknowledges events once their spans have arrived. An event ends its span only under its own name: task.completed and task.failed the span of the task, step.completed and step.failed that of the run and of its time in the queue; step.execution_requested ends none, since it comes with the end of the run. Unknown events, and those without a span, give no row. 22004 for NULL, 54000 for more than 10,000 events. Rule: docs/tracing.md.
event_ids: The event_id of events of read_events or poll_events.
event_id: The event that ends the span.
trace_id: 32 lower-case hexadecimal digits: those of the traceparent that came in, otherwise the task''s own.
span_id: 16 lower-case hexadecimal digits. The same whenever it is read.
parent_span_id: The span above it; NULL: it is the root of the trace.
trace_state: The tracestate that came in.
name: tasker.task.execution, tasker.task.initialize, tasker.step.execution, tasker.step.queued or tasker.step.retry.
kind: internal, consumer or producer, as OpenTelemetry has it.
started_at: When it began.
ended_at: When it ended.
status: ok, error, or unset for what was cancelled or given back.
status_message: The error message; NULL without an error.
attributes: A flat object; docs/tracing.md#attributes.
events: An array of {name, at, attributes}.
step_uuid: The step; NULL for a span of the task.
claim_number: The number of the claim whose run it is about; NULL for other spans.
sampled: True.';
GRANT EXECUTE ON FUNCTION tasker.spans_of_events(bigint[]) TO tasker_reader;
