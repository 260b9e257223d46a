-- The functions of operators: each locks the whole task, changes it, and returns the new state.

CREATE OR REPLACE FUNCTION tasker.cancel_task(task_uuid uuid, reason text DEFAULT NULL, cancel_completed boolean DEFAULT false)
RETURNS text AS 'MODULE_PATHNAME', 'cancel_task' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.cancel_task(uuid, text, boolean) IS
'Cancels a task with its pending and running steps, whose late reports are stale. Steps in error stay in error and do not run again; of an ended task the steps stay as they are. Returns the new state: cancelled. 55000 from error, from cancelled, and from complete without cancel_completed; P0002 for an unknown task. Rule: docs/concepts.md#cancel.
reason: Why, in words; kept in the metadata of the log.
cancel_completed: Whether a complete task may be cancelled too.';
GRANT EXECUTE ON FUNCTION tasker.cancel_task(uuid, text, boolean) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker.retry_task(task_uuid uuid, reason text DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'retry_task' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.retry_task(uuid, text) IS
'Takes a task in error up again: its failed steps start over with attempts from 0, completed ones are kept. Returns the new state: pending, or complete if every step is done. 55000 from another state, and where only cancelled steps block it; P0002 for an unknown task. Rule: docs/concepts.md#manual-resolution.
reason: Why, in words; kept in the metadata of the log.';
GRANT EXECUTE ON FUNCTION tasker.retry_task(uuid, text) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker.resolve_task_manually(
    task_uuid uuid, resolved_by text DEFAULT NULL, reason text DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'resolve_task_manually' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.resolve_task_manually(uuid, text, text) IS
'Declares a task in error done; its steps stay as they are. Returns the new state: resolved_manually. 55000 from another state, P0002 for an unknown task. Rule: docs/concepts.md#manual-resolution.
resolved_by: The person or program that did it; kept in the metadata of the log.
reason: Why, in words; kept in the metadata of the log.';
GRANT EXECUTE ON FUNCTION tasker.resolve_task_manually(uuid, text, text) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker.resolve_step_manually(
    step_uuid uuid, results jsonb DEFAULT NULL, resolved_by text DEFAULT NULL, reason text DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'resolve_step_manually' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.resolve_step_manually(uuid, jsonb, text, text) IS
'Declares a pending or failed step done: its children may run, and a task in error goes back to pending with everything that was held, or on to complete. Returns the new state: resolved_manually. 55000 from another state and in a task that has ended, 23514 for results that are not an object, 54000 for results above tasker.max_results_size, P0002 for an unknown step. Rule: docs/concepts.md#manual-resolution.
results: What the children are to read, a JSON object; NULL keeps what is there.
resolved_by: The person or program that did it; kept in the metadata of the log.
reason: Why, in words; kept in the metadata of the log.';
GRANT EXECUTE ON FUNCTION tasker.resolve_step_manually(uuid, jsonb, text, text) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker.retry_step(step_uuid uuid, reset_attempts boolean DEFAULT true)
RETURNS text AS 'MODULE_PATHNAME', 'retry_step' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.retry_step(uuid, boolean) IS
'Makes a failed step run again at once, without waiting for its backoff; a task in error goes back to pending with everything that was held. Returns the new state: pending. 55000 from another state and in a task that has ended, P0002 for an unknown step. Rule: docs/concepts.md#manual-resolution.
reset_attempts: Whether its attempts count from 0 again; false: they go on.';
GRANT EXECUTE ON FUNCTION tasker.retry_step(uuid, boolean) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker.cancel_step(step_uuid uuid, reason text DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'cancel_step' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.cancel_step(uuid, text) IS
'Cancels a pending or running step; what needs it will never run, and the task ends in error when nothing else of it can. Returns the new state: cancelled. 55000 from another state and in a task that has ended, P0002 for an unknown step. Rule: docs/concepts.md#cancel.
reason: Why, in words; kept in the metadata of the log.';
GRANT EXECUTE ON FUNCTION tasker.cancel_step(uuid, text) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker.set_retry_limit(step_uuid uuid, retry_limit integer)
RETURNS text AS 'MODULE_PATHNAME', 'set_retry_limit' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.set_retry_limit(uuid, integer) IS
'Sets how often a step may run in total. Raised above its attempts, it makes an exhausted step run again at once; lowered, it makes a waiting retry a permanent failure. Returns the state that the step had. 22023 outside 0 to 32,767, 55000 for a failed step of a task that has ended, P0002 for an unknown step. Rule: docs/concepts.md#retry.
retry_limit: Attempts in total, the first included; 0 to 32,767.';
GRANT EXECUTE ON FUNCTION tasker.set_retry_limit(uuid, integer) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker.pause_namespace(name text)
RETURNS text AS 'MODULE_PATHNAME', 'pause_namespace' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.pause_namespace(text) IS
'No claim hands out steps of the namespace until resume_namespace; what runs goes on. Returns paused, also if it was so before. P0002 for an unknown namespace. Rule: docs/concepts.md#readiness.
name: Name of the namespace.';
GRANT EXECUTE ON FUNCTION tasker.pause_namespace(text) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker.resume_namespace(name text)
RETURNS text AS 'MODULE_PATHNAME', 'resume_namespace' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.resume_namespace(text) IS
'Ends pause_namespace. Returns active, also if it was so before. P0002 for an unknown namespace. Rule: docs/concepts.md#readiness.
name: Name of the namespace.';
GRANT EXECUTE ON FUNCTION tasker.resume_namespace(text) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker.transition_task(task_uuid uuid, to_state text, metadata jsonb DEFAULT '{}')
RETURNS text AS 'MODULE_PATHNAME', 'transition_task' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.transition_task(uuid, text, jsonb) IS
'Moves a task to a state by hand, with everything that the engine does for the same pair: error holds every step, pending from error is retry_task. Returns the state that the task has afterwards. 55000 for a pair that is not declared, 09000 where a guard refuses (complete while steps are not), 22023 for an unknown state or metadata that is not an object, P0002 for an unknown task. Rule: docs/concepts.md#states.
to_state: The new state: pending, in_progress, error, complete, cancelled or resolved_manually.
metadata: What to keep in the log, a JSON object of at most 100 levels.';
GRANT EXECUTE ON FUNCTION tasker.transition_task(uuid, text, jsonb) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker.transition_step(step_uuid uuid, to_state text, metadata jsonb DEFAULT '{}')
RETURNS text AS 'MODULE_PATHNAME', 'transition_step' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.transition_step(uuid, text, jsonb) IS
'Moves a step to a state by hand, with everything that claim and report do for the same pair; in_progress counts an attempt and takes a lease of 30 s for the worker manual. Returns the new state. 55000 for a pair that is not declared and in a task that has ended, 09000 where a guard refuses (in_progress while parents are not done), 22023 for an unknown state or metadata that is not an object, P0002 for an unknown step, 54000 for in_progress after 2,147,483,647 claims. Rule: docs/concepts.md#states.
to_state: The new state: pending, in_progress, error, complete, cancelled or resolved_manually.
metadata: What to keep in the log, a JSON object of at most 100 levels.';
GRANT EXECUTE ON FUNCTION tasker.transition_step(uuid, text, jsonb) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker.try_transition_task(task_uuid uuid, to_state text, metadata jsonb DEFAULT '{}')
RETURNS boolean AS 'MODULE_PATHNAME', 'try_transition_task' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.try_transition_task(uuid, text, jsonb) IS
'transition_task that returns false, and writes nothing, where that raises 55000 or 09000; otherwise true. Other errors stay errors.
to_state: The new state: pending, in_progress, error, complete, cancelled or resolved_manually.
metadata: What to keep in the log, a JSON object of at most 100 levels.';
GRANT EXECUTE ON FUNCTION tasker.try_transition_task(uuid, text, jsonb) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker.try_transition_step(step_uuid uuid, to_state text, metadata jsonb DEFAULT '{}')
RETURNS boolean AS 'MODULE_PATHNAME', 'try_transition_step' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.try_transition_step(uuid, text, jsonb) IS
'transition_step that returns false, and writes nothing, where that raises 55000 or 09000; otherwise true. Other errors stay errors.
to_state: The new state: pending, in_progress, error, complete, cancelled or resolved_manually.
metadata: What to keep in the log, a JSON object of at most 100 levels.';
GRANT EXECUTE ON FUNCTION tasker.try_transition_step(uuid, text, jsonb) TO tasker_operator;
