-- The functions that create tasks.

CREATE OR REPLACE FUNCTION tasker.create_task(
    name text, context jsonb DEFAULT '{}', namespace text DEFAULT 'default', version text DEFAULT NULL,
    initiator text DEFAULT 'unknown', source_system text DEFAULT 'unknown', reason text DEFAULT 'unknown',
    tags jsonb DEFAULT '[]', bypass_steps jsonb DEFAULT '[]', priority integer DEFAULT 2,
    run_at timestamptz DEFAULT NULL, idempotency_key text DEFAULT NULL, correlation_id text DEFAULT NULL,
    traceparent text DEFAULT NULL, tracestate text DEFAULT NULL)
RETURNS uuid AS 'MODULE_PATHNAME', 'create_task' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.create_task(text, jsonb, text, text, text, text, text, jsonb, jsonb, integer, timestamptz, text, text, text, text) IS
'Creates a task with all its steps and returns its uuid. P0002 for an unknown template, 23514 for a context that is not an object or breaks the input_schema, 22023 for a value out of range, 23505 for an equal request within the template''s identity_window where its identity_strategy is hash (the existing uuid is in the DETAIL), 22023 for bypass_steps that name anything but skippable steps of the template. Any isolation level. Rules: docs/concepts.md#tasks-and-steps, docs/concepts.md#idempotency.
name: Name of the template.
context: What the task works on, a JSON object that satisfies the template''s input_schema.
namespace: Namespace of the template.
version: x.y.z; NULL is the highest by semantic version.
initiator: The person or program that asks for the task; up to 128 characters, for people to read.
source_system: The system that the request comes from; up to 128 characters, for people to read.
reason: Why; up to 128 characters, for people to read.
tags: A JSON array of the caller''s words, at most 100 (54000 beyond).
bypass_steps: A JSON array of names of skippable steps that never run: resolved_manually from the beginning, complete for their children.
priority: 1 low, 2 normal, 3 high, 4 urgent; larger first.
run_at: No step starts before this time; NULL: at once. Without an offset PostgreSQL reads it in the TimeZone of the session.
idempotency_key: The caller''s own name for the request: met again, it returns the existing task and creates nothing.
correlation_id: Names the request to which the task belongs, handed to the workers: up to 100 letters, digits, - and _, the first a letter or a digit (22023); NULL: the task gets one of its own. Rule: docs/logging.md#correlation-ids.
traceparent: W3C trace context of the caller: the span of the task hangs below its span. A malformed one is ignored with a WARNING (22023). Rule: docs/tracing.md.
tracestate: W3C tracestate that belongs to it, handed to the workers as it is; a malformed one is ignored with a WARNING (22023).';
GRANT EXECUTE ON FUNCTION tasker.create_task(text, jsonb, text, text, text, text, text, jsonb, jsonb, integer, timestamptz, text, text, text, text)
TO tasker_worker, tasker_operator;

CREATE OR REPLACE FUNCTION tasker.create_tasks(
    name text, contexts jsonb[], namespace text DEFAULT 'default', version text DEFAULT NULL,
    initiator text DEFAULT 'unknown', source_system text DEFAULT 'unknown', reason text DEFAULT 'unknown',
    tags jsonb DEFAULT '[]', bypass_steps jsonb DEFAULT '[]', priority integer DEFAULT 2,
    run_at timestamptz DEFAULT NULL, idempotency_keys text[] DEFAULT NULL, correlation_id text DEFAULT NULL,
    traceparent text DEFAULT NULL, tracestate text DEFAULT NULL)
RETURNS SETOF uuid AS 'MODULE_PATHNAME', 'create_tasks' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.create_tasks(text, jsonb[], text, text, text, text, text, jsonb, jsonb, integer, timestamptz, text[], text, text, text) IS
'Creates one task per context, all or none, in one set of statements, and returns their uuids in the same order. Everything else as create_task; each value holds for all of them.
contexts: One JSON object per task, at most 10,000 (54000 beyond). No element may be NULL.
idempotency_keys: NULL, or one key per context, NULL where it has none; 22023 for another length.';
GRANT EXECUTE ON FUNCTION tasker.create_tasks(text, jsonb[], text, text, text, text, text, jsonb, jsonb, integer, timestamptz, text[], text, text, text)
TO tasker_worker, tasker_operator;

CREATE OR REPLACE FUNCTION tasker.rerun_task(task_uuid uuid, from_step text DEFAULT NULL, context jsonb DEFAULT NULL)
RETURNS uuid AS 'MODULE_PATHNAME', 'rerun_task' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.rerun_task(uuid, text, jsonb) IS
'Creates a task as an ended one was requested, of the same version of the template, and returns its uuid; the old task stays as it is. With from_step, that step and all that need it run again, and so does what was not done; every other step is resolved_manually from the beginning, with the results that it has in the old task. What the request bypasses stays bypassed. The new task has no idempotency key, no traceparent and no run_at, and no identity keeps it out. The metadata of its first row in tasker.task_transitions has rerun_of and from_step; an annotation of the kind rerun on the old task has rerun_as and from_step. 55000 for a task that is open, P0002 for an unknown task, 22023 for an unknown step, 23514 for a context that is not an object or breaks the input_schema. Any isolation level. Rule: docs/concepts.md#running-a-task-again.
from_step: Name of the first step that runs again; NULL: all of them run.
context: What the new task works on, checked as in create_task; NULL: the context of the old task.';
GRANT EXECUTE ON FUNCTION tasker.rerun_task(uuid, text, jsonb) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker_engine.most_tags() RETURNS integer
AS 'MODULE_PATHNAME', 'most_tags' LANGUAGE c IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION tasker_engine.most_tags() IS 'How many tags a task has at most; tasks of version 0.1.0 can have more.';
GRANT EXECUTE ON FUNCTION tasker_engine.most_tags() TO tasker_reader; -- scopes call it
