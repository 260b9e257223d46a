-- The functions of operators: each locks the whole task, changes it, and returns the new state.

CREATE FUNCTION tasker.cancel_task(task_uuid uuid, reason text DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'cancel_task' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET enable_memoize = off SET jit = off;

CREATE FUNCTION tasker.retry_task(task_uuid uuid, reason text DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'retry_task' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET enable_memoize = off SET jit = off;

CREATE FUNCTION tasker.resolve_task_manually(
    task_uuid uuid, resolved_by text DEFAULT NULL, reason text DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'resolve_task_manually' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET enable_memoize = off SET jit = off;

CREATE FUNCTION tasker.resolve_step_manually(
    step_uuid uuid, results jsonb DEFAULT NULL, resolved_by text DEFAULT NULL, reason text DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'resolve_step_manually' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET enable_memoize = off SET jit = off;

CREATE FUNCTION tasker.retry_step(step_uuid uuid, reset_attempts boolean DEFAULT true)
RETURNS text AS 'MODULE_PATHNAME', 'retry_step' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET enable_memoize = off SET jit = off;

CREATE FUNCTION tasker.cancel_step(step_uuid uuid, reason text DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'cancel_step' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET enable_memoize = off SET jit = off;

CREATE FUNCTION tasker.set_retry_limit(step_uuid uuid, retry_limit integer)
RETURNS text AS 'MODULE_PATHNAME', 'set_retry_limit' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET enable_memoize = off SET jit = off;

CREATE FUNCTION tasker.pause_namespace(name text)
RETURNS text AS 'MODULE_PATHNAME', 'pause_namespace' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;

CREATE FUNCTION tasker.resume_namespace(name text)
RETURNS text AS 'MODULE_PATHNAME', 'resume_namespace' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;

CREATE FUNCTION tasker.transition_task(task_uuid uuid, to_state text, metadata jsonb DEFAULT '{}')
RETURNS text AS 'MODULE_PATHNAME', 'transition_task' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET enable_memoize = off SET jit = off;

CREATE FUNCTION tasker.transition_step(step_uuid uuid, to_state text, metadata jsonb DEFAULT '{}')
RETURNS text AS 'MODULE_PATHNAME', 'transition_step' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET enable_memoize = off SET jit = off;

CREATE FUNCTION tasker.try_transition_task(task_uuid uuid, to_state text, metadata jsonb DEFAULT '{}')
RETURNS boolean AS 'MODULE_PATHNAME', 'try_transition_task' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET enable_memoize = off SET jit = off;

CREATE FUNCTION tasker.try_transition_step(step_uuid uuid, to_state text, metadata jsonb DEFAULT '{}')
RETURNS boolean AS 'MODULE_PATHNAME', 'try_transition_step' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET enable_memoize = off SET jit = off;
