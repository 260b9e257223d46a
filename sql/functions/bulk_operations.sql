-- One operation on all tasks that pass some filters. A list of tasks is made first, page by page, and each task is then asked under its
-- locks whether the operation still fits.

CREATE OR REPLACE FUNCTION tasker_engine.change_tasks(
    operation text, task_uuids uuid[], dry_run boolean, cancel_completed boolean, resolved_by text, reason text)
RETURNS TABLE (task_uuid uuid, outcome text, detail text)
AS 'MODULE_PATHNAME', 'change_tasks' LANGUAGE c VOLATILE ROWS 1000 SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.change_tasks(text, uuid[], boolean, boolean, text, text) IS
'The work of retry_tasks, cancel_tasks and resolve_tasks, which explain it.
operation: retry, cancel or resolve.
task_uuids: the tasks.
outcome: as there.
detail: as there.';

CREATE OR REPLACE FUNCTION tasker_engine.find_tasks(
    state text, namespace text, name text, version text, since timestamptz, until timestamptz, tag text, correlation_id text,
    idempotency_key text, error_class text, context_contains jsonb, after uuid, max_tasks integer)
RETURNS uuid[] LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found uuid[] := '{}'::uuid[];
    place uuid := $12;
    page record;
BEGIN
    PERFORM tasker_engine.required($13, 'max_tasks');
    IF $13 NOT BETWEEN 1 AND 10000 THEN
        RAISE invalid_parameter_value USING MESSAGE = format('max_tasks %s is out of range', $13),
            DETAIL = 'It is the largest number of tasks that one call changes, 1 to 10000.',
            HINT = 'Call the function again until it returns no row.';
    END IF;
    LOOP
        SELECT array_agg(s.task_uuid) FILTER (WHERE s.task_uuid IS NOT NULL) AS tasks, max(s.next_after::text)::uuid AS next_after
        INTO STRICT page
        FROM tasker_engine.select_tasks($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, place, $13 - cardinality(found)) s;
        found := found || page.tasks;
        place := page.next_after;
        EXIT WHEN place IS NULL;
    END LOOP;
    RETURN found;
END
$$;
COMMENT ON FUNCTION tasker_engine.find_tasks(text, text, text, text, timestamptz, timestamptz, text, text, text, text, jsonb, uuid, integer) IS
'The newest tasks that pass the filters of tasker.list_tasks, over as many pages as it takes.
max_tasks: how many at most.';

CREATE OR REPLACE FUNCTION tasker.retry_tasks(
    state text DEFAULT NULL, namespace text DEFAULT NULL, name text DEFAULT NULL, version text DEFAULT NULL,
    since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, tag text DEFAULT NULL, correlation_id text DEFAULT NULL,
    idempotency_key text DEFAULT NULL, error_class text DEFAULT NULL, context_contains jsonb DEFAULT NULL, after uuid DEFAULT NULL,
    dry_run boolean DEFAULT true, max_tasks integer DEFAULT 1000, reason text DEFAULT NULL)
RETURNS TABLE (task_uuid uuid, outcome text, detail text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 1000 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM tasker_engine.require_version(), tasker_engine.required($13, 'dry_run');
    RETURN QUERY
    SELECT c.task_uuid, c.outcome, c.detail
    FROM tasker_engine.change_tasks(
        'retry', tasker_engine.find_tasks(coalesce($1, 'error'), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $14), $13, false, NULL, $15) c;
END
$$;
COMMENT ON FUNCTION tasker.retry_tasks(text, text, text, text, timestamptz, timestamptz, text, text, text, text, jsonb, uuid, boolean, integer, text) IS
'Does what retry_task does to all tasks in error that pass the filters of list_tasks, one outcome per task. No task stops the others, and no lock is waited for. 22023 for an unknown state and a max_tasks outside 1 to 10000. Rule: docs/operating-with-psql.md#many-tasks-at-once.
state: error, as without it: in another state a task is refused.
namespace: Name of the namespace. This and the other filters are those of list_tasks.
after: Tasks older than this one.
dry_run: True only says what would be done, and locks nothing; false does it.
max_tasks: The largest number of tasks in one call, 1 to 10000; the newest come first.
reason: Why, in words; kept in the metadata of the log.
outcome: would retry in a dry run, otherwise retried; locked (another session holds a part of the task now), refused (the operation does not fit any more), gone (it was purged meanwhile), or left (the call has locked 100,000 steps: call it again).
detail: The new state, in a dry run the present one; of a refused task the reason.';
GRANT EXECUTE ON FUNCTION tasker.retry_tasks(text, text, text, text, timestamptz, timestamptz, text, text, text, text, jsonb, uuid, boolean, integer, text) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker.cancel_tasks(
    state text DEFAULT NULL, namespace text DEFAULT NULL, name text DEFAULT NULL, version text DEFAULT NULL,
    since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, tag text DEFAULT NULL, correlation_id text DEFAULT NULL,
    idempotency_key text DEFAULT NULL, error_class text DEFAULT NULL, context_contains jsonb DEFAULT NULL, after uuid DEFAULT NULL,
    dry_run boolean DEFAULT true, max_tasks integer DEFAULT 1000, reason text DEFAULT NULL, cancel_completed boolean DEFAULT false)
RETURNS TABLE (task_uuid uuid, outcome text, detail text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 1000 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM tasker_engine.require_version(), tasker_engine.required($13, 'dry_run'), tasker_engine.required($16, 'cancel_completed');
    RETURN QUERY
    SELECT c.task_uuid, c.outcome, c.detail
    FROM tasker_engine.change_tasks(
        'cancel', tasker_engine.find_tasks(coalesce($1, 'open'), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $14), $13, $16, NULL, $15) c;
END
$$;
COMMENT ON FUNCTION tasker.cancel_tasks(text, text, text, text, timestamptz, timestamptz, text, text, text, text, jsonb, uuid, boolean, integer, text, boolean) IS
'Does what cancel_task does to all tasks that pass the filters of list_tasks, one outcome per task. No task stops the others, and no lock is waited for. 22023 for an unknown state and a max_tasks outside 1 to 10000. Rule: docs/operating-with-psql.md#many-tasks-at-once.
state: A state of list_tasks; without it all open tasks.
cancel_completed: Whether complete tasks may be cancelled too.
namespace: Name of the namespace. This and the other filters are those of list_tasks.
after: Tasks older than this one.
dry_run: True only says what would be done, and locks nothing; false does it.
max_tasks: The largest number of tasks in one call, 1 to 10000; the newest come first.
reason: Why, in words; kept in the metadata of the log.
outcome: would cancel in a dry run, otherwise cancelled; locked (another session holds a part of the task now), refused (the operation does not fit any more), gone (it was purged meanwhile), or left (the call has locked 100,000 steps: call it again).
detail: The new state, in a dry run the present one; of a refused task the reason.';
GRANT EXECUTE ON FUNCTION tasker.cancel_tasks(text, text, text, text, timestamptz, timestamptz, text, text, text, text, jsonb, uuid, boolean, integer, text, boolean) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker.resolve_tasks(
    state text DEFAULT NULL, namespace text DEFAULT NULL, name text DEFAULT NULL, version text DEFAULT NULL,
    since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, tag text DEFAULT NULL, correlation_id text DEFAULT NULL,
    idempotency_key text DEFAULT NULL, error_class text DEFAULT NULL, context_contains jsonb DEFAULT NULL, after uuid DEFAULT NULL,
    dry_run boolean DEFAULT true, max_tasks integer DEFAULT 1000, reason text DEFAULT NULL, resolved_by text DEFAULT NULL)
RETURNS TABLE (task_uuid uuid, outcome text, detail text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 1000 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM tasker_engine.require_version(), tasker_engine.required($13, 'dry_run');
    RETURN QUERY
    SELECT c.task_uuid, c.outcome, c.detail
    FROM tasker_engine.change_tasks(
        'resolve', tasker_engine.find_tasks(coalesce($1, 'error'), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $14), $13, false, $16, $15) c;
END
$$;
COMMENT ON FUNCTION tasker.resolve_tasks(text, text, text, text, timestamptz, timestamptz, text, text, text, text, jsonb, uuid, boolean, integer, text, text) IS
'Does what resolve_task_manually does to all tasks in error that pass the filters of list_tasks, one outcome per task. No task stops the others, and no lock is waited for. 22023 for an unknown state and a max_tasks outside 1 to 10000. Rule: docs/operating-with-psql.md#many-tasks-at-once.
state: error, as without it: in another state a task is refused.
resolved_by: The person or program that did it; kept in the metadata of the log.
namespace: Name of the namespace. This and the other filters are those of list_tasks.
after: Tasks older than this one.
dry_run: True only says what would be done, and locks nothing; false does it.
max_tasks: The largest number of tasks in one call, 1 to 10000; the newest come first.
reason: Why, in words; kept in the metadata of the log.
outcome: would resolve in a dry run, otherwise resolved; locked (another session holds a part of the task now), refused (the operation does not fit any more), gone (it was purged meanwhile), or left (the call has locked 100,000 steps: call it again).
detail: The new state, in a dry run the present one; of a refused task the reason.';
GRANT EXECUTE ON FUNCTION tasker.resolve_tasks(text, text, text, text, timestamptz, timestamptz, text, text, text, text, jsonb, uuid, boolean, integer, text, text) TO tasker_operator;
