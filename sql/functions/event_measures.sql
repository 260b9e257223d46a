-- What the payload of an event says, for subscribers of earlier engines. The rules are crates/rules/src/events/measures.rs.

CREATE OR REPLACE FUNCTION tasker.error_type(error_class text, error_message text DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'error_type' LANGUAGE c IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.error_type(text, text) IS
'The category of an error: timeout, network, not_found, auth, rate_limit, client_error, server_error or runtime, the first of which a word is in the class; else other, or unknown without a class. Rule: docs/events.md#measures-of-an-event.
error_class: The class of the error, in letters of any case; NULL: unknown.
error_message: If the class says no category, an HTTP status that the message names does (as in "HTTP 404" and "status code: 503"); NULL: the class alone counts.';
GRANT EXECUTE ON FUNCTION tasker.error_type(text, text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.extract_error_metrics(payload jsonb)
RETURNS jsonb AS 'MODULE_PATHNAME', 'extract_error_metrics' LANGUAGE c IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.extract_error_metrics(jsonb) IS
'What the payload of a failure says: error_message, error_class, error_type (as the function of that name), attempt_number, is_retryable, final_failure. null: the payload does not say it. 22023 for a payload that is no object. Rule: docs/events.md#measures-of-an-event.
payload: Payload of an event, as of step.failed; NULL gives NULL.';
GRANT EXECUTE ON FUNCTION tasker.extract_error_metrics(jsonb) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.extract_timing_metrics(payload jsonb)
RETURNS jsonb AS 'MODULE_PATHNAME', 'extract_timing_metrics' LANGUAGE c IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.extract_timing_metrics(jsonb) IS
'What the payload of an event says of times: execution_duration (seconds; of a task total_execution_duration), started_at, completed_at, step_count, completed_steps, failed_steps. null: the payload does not say it. 22023 for a payload that is no object. Rule: docs/events.md#measures-of-an-event.
payload: Payload of an event, as of step.completed or task.completed; NULL gives NULL.';
GRANT EXECUTE ON FUNCTION tasker.extract_timing_metrics(jsonb) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.extract_performance_metrics(payload jsonb)
RETURNS jsonb AS 'MODULE_PATHNAME', 'extract_performance_metrics' LANGUAGE c IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.extract_performance_metrics(jsonb) IS
'What the payload of an event says of a run: memory_usage and cpu_time, if its worker reported them in the results of the step (events with include_data) or in their object metadata; queue_time, processing_time and retry_delay in seconds. null: the payload does not say it. 22023 for a payload that is no object. Rule: docs/events.md#measures-of-an-event.
payload: Payload of an event, as of step.completed or step.failed; NULL gives NULL.';
GRANT EXECUTE ON FUNCTION tasker.extract_performance_metrics(jsonb) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.metric_tags(payload jsonb)
RETURNS text[] AS 'MODULE_PATHNAME', 'metric_tags' LANGUAGE c IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.metric_tags(jsonb) IS
'Tags for a system that takes key:value, from the keys that the payload of an event has: task, step, environment, source, retryable (only if it is true), attempt, priority, in this order. 22023 for a payload that is no object. Rule: docs/events.md#measures-of-an-event.
payload: Payload of an event; NULL gives NULL.';
GRANT EXECUTE ON FUNCTION tasker.metric_tags(jsonb) TO tasker_reader;
