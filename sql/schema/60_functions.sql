-- The functions of workers and creators. Every one works with the rights of the engine's owner (the tables are private): those that
-- must know their caller become it themselves (src/pg/rights.rs), the others are SECURITY DEFINER. Every one pins its
-- search_path, and the scan types of the plans behind it: a claim is an index walk, whatever the statistics say.

CREATE FUNCTION tasker.create_task(
    name text, context jsonb DEFAULT '{}', namespace text DEFAULT 'default', version text DEFAULT NULL,
    initiator text DEFAULT 'unknown', source_system text DEFAULT 'unknown', reason text DEFAULT 'unknown',
    tags jsonb DEFAULT '[]', bypass_steps jsonb DEFAULT '[]', priority integer DEFAULT 2,
    run_at timestamptz DEFAULT NULL, idempotency_key text DEFAULT NULL, correlation_id text DEFAULT NULL,
    traceparent text DEFAULT NULL)
RETURNS uuid AS 'MODULE_PATHNAME', 'create_task' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET enable_memoize = off SET jit = off;

CREATE FUNCTION tasker.create_tasks(
    name text, contexts jsonb[], namespace text DEFAULT 'default', version text DEFAULT NULL,
    initiator text DEFAULT 'unknown', source_system text DEFAULT 'unknown', reason text DEFAULT 'unknown',
    tags jsonb DEFAULT '[]', bypass_steps jsonb DEFAULT '[]', priority integer DEFAULT 2,
    run_at timestamptz DEFAULT NULL, idempotency_keys text[] DEFAULT NULL, correlation_id text DEFAULT NULL,
    traceparent text DEFAULT NULL)
RETURNS SETOF uuid AS 'MODULE_PATHNAME', 'create_tasks' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET enable_memoize = off SET jit = off;

CREATE FUNCTION tasker.claim_steps(
    worker_id text, namespaces text[] DEFAULT '{default}', max_steps integer DEFAULT 1,
    lease interval DEFAULT '30 seconds', dependency_results text DEFAULT 'parents', queues text[] DEFAULT NULL)
RETURNS TABLE (
    step_uuid uuid, task_uuid uuid, claim_number integer, attempt integer, retry_limit integer, namespace text,
    queue text, task_name text, version text, step_name text, handler text, handler_config jsonb, context jsonb,
    dependency_results jsonb, lease_expires_at timestamptz, correlation_id text, traceparent text)
AS 'MODULE_PATHNAME', 'claim_steps' LANGUAGE c VOLATILE ROWS 10
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET enable_memoize = off SET enable_hashagg = off SET jit = off;

CREATE FUNCTION tasker.complete_step(step_uuid uuid, claim_number integer, results jsonb DEFAULT '{}')
RETURNS text AS 'MODULE_PATHNAME', 'complete_step' LANGUAGE c VOLATILE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET enable_memoize = off SET jit = off;

CREATE FUNCTION tasker.fail_step(
    step_uuid uuid, claim_number integer, error_message text, error_class text DEFAULT NULL,
    retryable boolean DEFAULT true, retry_after interval DEFAULT NULL, backtrace text[] DEFAULT NULL,
    results jsonb DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'fail_step' LANGUAGE c VOLATILE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET enable_memoize = off SET jit = off;

CREATE FUNCTION tasker.report_steps(worker_id text, reports jsonb)
RETURNS TABLE (step_uuid uuid, outcome text)
AS 'MODULE_PATHNAME', 'report_steps' LANGUAGE c VOLATILE ROWS 10
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET enable_memoize = off SET jit = off;

CREATE FUNCTION tasker.report_and_claim(
    worker_id text, reports jsonb DEFAULT '[]', namespaces text[] DEFAULT '{default}', max_steps integer DEFAULT 1,
    lease interval DEFAULT '30 seconds', dependency_results text DEFAULT 'parents', queues text[] DEFAULT NULL)
RETURNS TABLE (
    outcome text, step_uuid uuid, task_uuid uuid, claim_number integer, attempt integer, retry_limit integer,
    namespace text, queue text, task_name text, version text, step_name text, handler text, handler_config jsonb,
    context jsonb, dependency_results jsonb, lease_expires_at timestamptz, correlation_id text, traceparent text)
AS 'MODULE_PATHNAME', 'report_and_claim' LANGUAGE c VOLATILE ROWS 10
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET enable_memoize = off SET enable_hashagg = off SET jit = off;

CREATE FUNCTION tasker.heartbeat(worker_id text, lease interval DEFAULT '30 seconds')
RETURNS TABLE (step_uuid uuid, status text)
AS 'MODULE_PATHNAME', 'heartbeat' LANGUAGE c VOLATILE ROWS 10
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET enable_memoize = off SET jit = off;

CREATE FUNCTION tasker.release_steps(worker_id text)
RETURNS integer AS 'MODULE_PATHNAME', 'release_steps' LANGUAGE c VOLATILE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET enable_memoize = off SET jit = off;

CREATE FUNCTION tasker.get_dependency_results(step_uuid uuid)
RETURNS jsonb AS 'MODULE_PATHNAME', 'get_dependency_results' LANGUAGE c STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET enable_memoize = off SET jit = off;

-- Handlers inside the database get its caller's rights.
CREATE FUNCTION tasker.register_template(template text, replace boolean DEFAULT false)
RETURNS bigint AS 'MODULE_PATHNAME', 'register_template' LANGUAGE c VOLATILE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off;

CREATE FUNCTION tasker.validate_template(template text)
RETURNS TABLE (severity text, path text, message text)
AS 'MODULE_PATHNAME', 'validate_template' LANGUAGE c STABLE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp;

CREATE FUNCTION tasker.export_template(name text, namespace text DEFAULT 'default', version text DEFAULT NULL)
RETURNS jsonb AS 'MODULE_PATHNAME', 'export_template' LANGUAGE c STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;

CREATE FUNCTION tasker.notify_channel(namespace text)
RETURNS text AS 'MODULE_PATHNAME', 'notify_channel' LANGUAGE c IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp;
