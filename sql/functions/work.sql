-- The loop of a worker: claim, report and claim, keep the lease, give back. The functions that must know their caller become the
-- engine's owner themselves (src/pg/rights.rs); the others are SECURITY DEFINER.

CREATE OR REPLACE FUNCTION tasker.claim_steps(
    worker_id text, namespaces text[] DEFAULT '{default}', max_steps integer DEFAULT 1,
    lease interval DEFAULT '30 seconds', dependency_results text DEFAULT 'parents', queues text[] DEFAULT NULL,
    handlers text[] DEFAULT NULL)
RETURNS TABLE (
    step_uuid uuid, task_uuid uuid, claim_number integer, attempt integer, retry_limit integer, namespace text,
    queue text, task_name text, version text, step_name text, handler text, handler_config jsonb, context jsonb,
    dependency_results jsonb, lease_expires_at timestamptz, correlation_id text, traceparent text,
    tracestate text)
AS 'MODULE_PATHNAME', 'claim_steps' LANGUAGE c VOLATILE ROWS 10
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.claim_steps(text, text[], integer, interval, text, text[], text[]) IS
'Hands ready steps to a worker for the time of a lease: larger priority first, the oldest first within one, several namespaces in rotation. Fewer rows than asked for, or none, when no more are ready. Takes over the steps of workers whose lease has ended. No row, and a NOTICE once per session, while the state of the system forbids it. Never waits for a lock. 22023 for an empty worker_id or a number out of range, 42501 for a worker_id of another role. The steps belong to the current user. Rules: docs/concepts.md#leases-and-fencing, docs/concepts.md#who-may-report, docs/concepts.md#priorities, docs/concepts.md#namespaces-and-queues, docs/operational-states.md.
worker_id: Name of the worker process, unique per start, 1 to 255 characters. It belongs to the first role that claims under this name.
namespaces: Where to look; a paused or unknown one has nothing.
max_steps: The most steps, 1 to 10,000.
lease: How long the worker has to report or to call heartbeat; longer than zero, at most one day.
dependency_results: Which results come with a step: none, parents or ancestors; an object from step name to results.
queues: Queues within the namespaces; NULL is the queue default.
handlers: Names of the handlers that the worker has; it gets steps of these alone, in the same order. NULL for any.
attempt: Which attempt of the step this is, from 1.
namespace: Namespace of the template.
version: Version of the template, x.y.z.
step_name: Name of the step in the template.
claim_number: Number of this claim, which every report must carry; it never comes back.
traceparent: W3C trace context: names the span of this run, so that a worker''s spans hang below it. Always there; its flag says whether the run is recorded (docs/tracing.md).
tracestate: W3C tracestate of the caller, as it came in; NULL: it gave none.';
GRANT EXECUTE ON FUNCTION tasker.claim_steps(text, text[], integer, interval, text, text[], text[]) TO tasker_worker;

-- A claim by executors and by run_steps. SECURITY DEFINER: the engine itself claims, whichever role calls.
CREATE OR REPLACE FUNCTION tasker_engine.claim_inside(
    worker_id text, namespaces text[], queues text[], max_steps integer, lease interval)
RETURNS TABLE (
    step_uuid uuid, task_uuid uuid, claim_number integer, attempt integer, retry_limit integer, namespace text,
    queue text, task_name text, version text, step_name text, handler text, handler_config jsonb, context jsonb,
    dependency_results jsonb, lease_expires_at timestamptz, correlation_id text, traceparent text,
    tracestate text)
AS 'MODULE_PATHNAME', 'claim_inside' LANGUAGE c VOLATILE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.claim_inside(text, text[], text[], integer, interval) IS 'claim_steps for handlers inside the database: with the results of all ancestors, and without waiting for a NOTIFY afterwards.
namespaces: NULL for all.';

CREATE OR REPLACE FUNCTION tasker.report_and_claim(
    worker_id text, reports jsonb DEFAULT '[]', namespaces text[] DEFAULT '{default}', max_steps integer DEFAULT 1,
    lease interval DEFAULT '30 seconds', dependency_results text DEFAULT 'parents', queues text[] DEFAULT NULL,
    handlers text[] DEFAULT NULL, begun uuid[] DEFAULT NULL)
RETURNS TABLE (
    outcome text, step_uuid uuid, task_uuid uuid, claim_number integer, attempt integer, retry_limit integer,
    namespace text, queue text, task_name text, version text, step_name text, handler text, handler_config jsonb,
    context jsonb, dependency_results jsonb, lease_expires_at timestamptz, correlation_id text, traceparent text,
    tracestate text)
AS 'MODULE_PATHNAME', 'report_and_claim' LANGUAGE c VOLATILE ROWS 10
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.report_and_claim(text, jsonb, text[], integer, interval, text, text[], text[], uuid[]) IS
'report_steps and claim_steps in one transaction: one round trip per loop of a worker. A claimed step is a row with outcome claimed; a refused report is a row with its outcome and step_uuid alone; an accepted report gives no row. Parameters and errors as in those two.
reports: A JSON array as report_steps takes it.
begun: Steps that the worker holds and whose handlers it has called since it last said so.
outcome: claimed; or why a report was refused: duplicate, stale, unknown_step or invalid; or draining, in one row with nothing else in it: the state of the system forbids handing out steps.
step_uuid: The step; of a refused report NULL where it cannot be read.
attempt: Which attempt of the step this is, from 1.
version: Version of the template, x.y.z.
claim_number: Number of this claim, which every report must carry; it never comes back.
traceparent: W3C trace context: names the span of this run, so that a worker''s spans hang below it. NULL in a row that hands out no step.
tracestate: W3C tracestate of the caller, as it came in; NULL: it gave none.
dependency_results: As a parameter none, parents or ancestors; as a result an object from step name to results.';
GRANT EXECUTE ON FUNCTION tasker.report_and_claim(text, jsonb, text[], integer, interval, text, text[], text[], uuid[]) TO tasker_worker;

CREATE OR REPLACE FUNCTION tasker.heartbeat(
    worker_id text, lease interval DEFAULT '30 seconds', begun uuid[] DEFAULT NULL)
RETURNS TABLE (step_uuid uuid, status text)
AS 'MODULE_PATHNAME', 'heartbeat' LANGUAGE c VOLATILE ROWS 10
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.heartbeat(text, interval, uuid[]) IS
'Extends every lease of the worker that no other transaction holds, without waiting, and tells for each step that it holds, or believes to hold, whether it still does. Call it more often than the lease is long. 22023 for a lease out of range, 42501 for a worker of another role. Rules: docs/concepts.md#leases-and-fencing, docs/concepts.md#who-may-report.
lease: Time from this call until the leases end; longer than zero, at most one day.
begun: Steps that the worker holds and whose handlers it has called since it last said so.
step_uuid: The step; NULL with status draining.
status: extended; locked: still the worker''s, but another transaction holds the lease at this moment, such as a report that is not committed yet: not extended now, call again soon; cancelled: stop, the report will be stale; lost: another worker has it; draining: nothing is handed out for now, finish what you hold.';
GRANT EXECUTE ON FUNCTION tasker.heartbeat(text, interval, uuid[]) TO tasker_worker, tasker_operator;

CREATE OR REPLACE FUNCTION tasker.release_steps(
    worker_id text, steps jsonb DEFAULT NULL, delay interval DEFAULT NULL, reason text DEFAULT NULL)
RETURNS integer AS 'MODULE_PATHNAME', 'release_steps' LANGUAGE c VOLATILE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.release_steps(text, jsonb, interval, text) IS
'Gives back what the worker holds, all of it or the steps named, and returns how many steps that were. No attempt is counted; reports under the old claim numbers are stale. What the worker does not hold is passed over. 22023 for steps that cannot be read and for a negative delay, 42501 for a worker of another role. Rules: docs/concepts.md#leases-and-fencing, docs/concepts.md#who-may-report.
steps: A JSON array of {step_uuid, claim_number}; NULL for all that the worker holds.
delay: How long no claim takes the steps; NULL for no time, capped as a retry is (max_backoff_ms of the step, tasker.max_backoff_seconds).
reason: Why the worker cannot run them; kept in the log and shown by tasker.stuck_tasks.';
GRANT EXECUTE ON FUNCTION tasker.release_steps(text, jsonb, interval, text) TO tasker_worker, tasker_operator;

CREATE OR REPLACE FUNCTION tasker.end_worker(worker_id text)
RETURNS integer AS 'MODULE_PATHNAME', 'end_worker' LANGUAGE c VOLATILE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.end_worker(text) IS
'The last call of a worker process: gives back all that it holds, as release_steps does, and marks it as ended; returns how many steps it gave back. tasker.workers no longer shows it two minutes later. A worker that claims again goes on. Waits for nothing: while another transaction holds the worker''s row, that stays as it is, and the worker is silent two minutes later. 0 for an unknown worker, 42501 for a worker of another role. Rule: docs/writing-a-worker.md.';
GRANT EXECUTE ON FUNCTION tasker.end_worker(text) TO tasker_worker, tasker_operator;

CREATE OR REPLACE FUNCTION tasker.get_dependency_results(step_uuid uuid)
RETURNS jsonb AS 'MODULE_PATHNAME', 'get_dependency_results' LANGUAGE c STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.get_dependency_results(uuid) IS
'The results of all ancestors of a step that are complete or resolved_manually: an object from step name to results. P0002 for an unknown step. Rule: docs/concepts.md#tasks-and-steps.';
GRANT EXECUTE ON FUNCTION tasker.get_dependency_results(uuid) TO tasker_reader, tasker_worker;

CREATE OR REPLACE FUNCTION tasker.notify_channel(namespace text)
RETURNS text AS 'MODULE_PATHNAME', 'notify_channel' LANGUAGE c IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.notify_channel(text) IS
'The channel to LISTEN on for work in a namespace. A notification is sent only while a worker of the namespace waits, and says only that a claim is worth trying. Reads nothing: any name has a channel. Rule: docs/writing-a-worker.md.
namespace: Name of the namespace.';
GRANT EXECUTE ON FUNCTION tasker.notify_channel(text) TO tasker_worker;
