-- Lists of tasks, newest first, by any filter: each page reads a bounded number of rows.

CREATE OR REPLACE FUNCTION tasker_engine.key_identity(namespace_name text, name text, idempotency_key text)
RETURNS text AS 'MODULE_PATHNAME', 'key_identity' LANGUAGE c IMMUTABLE PARALLEL SAFE COST 100;
COMMENT ON FUNCTION tasker_engine.key_identity(text, text, text) IS
'The identity_hash of a task with this idempotency key: a key belongs to the templates of a name in a namespace, whatever their version.';

CREATE OR REPLACE FUNCTION tasker_engine.tags_of_tasks(tasks uuid[]) RETURNS TABLE (tag text, task_uuid uuid)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT DISTINCT left(e.tag, 255), t.task_uuid
    FROM tasker_engine.tasks t CROSS JOIN LATERAL jsonb_array_elements_text(t.tags) AS e (tag)
    WHERE t.task_uuid = ANY ($1) AND t.tags <> '[]' AND e.tag IS NOT NULL;
END;
COMMENT ON FUNCTION tasker_engine.tags_of_tasks(uuid[]) IS 'The keys of the rows in task_tags that belong to the tasks.
tag: a tag, its first 255 characters.
task_uuid: the task that has it.';

CREATE OR REPLACE FUNCTION tasker_engine.keep_tags(task_uuid uuid, before jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tasker_engine.task_tags g
    USING (SELECT left(e.tag, 255) AS tag FROM jsonb_array_elements_text($2) AS e (tag)
           EXCEPT SELECT n.tag FROM tasker_engine.tags_of_tasks(ARRAY[$1]) n) gone
    WHERE g.tag = gone.tag AND g.task_uuid = $1;
    INSERT INTO tasker_engine.task_tags (tag, task_uuid) SELECT n.tag, n.task_uuid FROM tasker_engine.tags_of_tasks(ARRAY[$1]) n
    ON CONFLICT ON CONSTRAINT task_tags_pkey DO NOTHING;
END
$$;
COMMENT ON FUNCTION tasker_engine.keep_tags(uuid, jsonb) IS 'Writes the rows of task_tags for a locked task whose tags have changed.
before: its tags before.';

-- The filter that few tasks pass says where to look; select_tasks checks the others.
CREATE OR REPLACE FUNCTION tasker_engine.task_candidates(
    state "char", templates integer[], tag text, correlation_id text, identities text[], error_class text, below uuid, above uuid,
    most integer, OUT tasks uuid[], OUT read_to uuid)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- Tasks of some templates are read template by template.
    each CONSTANT integer := $9 / nullif(cardinality($2), 0);
BEGIN
    IF $5 IS NOT NULL THEN
        tasks := ARRAY(
            SELECT i.task_uuid FROM tasker_engine.task_identities i
            WHERE i.identity_hash = ANY ($5) AND i.task_uuid < $7 AND i.task_uuid >= $8
            ORDER BY i.task_uuid DESC);
        RETURN;
    ELSIF $4 IS NOT NULL THEN
        tasks := ARRAY(
            SELECT t.task_uuid FROM tasker_engine.tasks t
            WHERE t.correlation_id IS NOT NULL AND left(t.correlation_id, 255) = left($4, 255)
              AND t.task_uuid < $7 AND t.task_uuid >= $8
            ORDER BY t.task_uuid DESC LIMIT $9);
    ELSIF $6 IS NOT NULL THEN
        tasks := ARRAY(
            SELECT r.task_uuid FROM tasker_engine.rare_tasks r
            WHERE r.error_class = left($6, 255) AND r.task_uuid < $7 AND r.task_uuid >= $8
            ORDER BY r.task_uuid DESC LIMIT $9);
    ELSIF $1 IN ('e', 'x', 'r') THEN
        tasks := ARRAY(
            SELECT r.task_uuid FROM tasker_engine.rare_tasks r
            WHERE r.state = $1 AND r.task_uuid < $7 AND r.task_uuid >= $8
            ORDER BY r.task_uuid DESC LIMIT $9);
    ELSIF $3 IS NOT NULL THEN
        tasks := ARRAY(
            SELECT g.task_uuid FROM tasker_engine.task_tags g
            WHERE g.tag = left($3, 255) AND g.task_uuid < $7 AND g.task_uuid >= $8
            ORDER BY g.task_uuid DESC LIMIT $9);
    ELSIF each >= 100 THEN
        -- Where a template has more, nothing is known of its tasks below the last that was read.
        WITH parts AS MATERIALIZED (
            SELECT ARRAY(
                SELECT t.task_uuid FROM tasker_engine.tasks t
                WHERE t.named_task_id = n.named_task_id AND t.task_uuid < $7 AND t.task_uuid >= $8
                ORDER BY t.task_uuid DESC LIMIT each) AS part
            FROM unnest($2) AS n (named_task_id)),
        ends AS (
            SELECT p.part[each] AS task_uuid FROM parts p WHERE cardinality(p.part) = each
            ORDER BY p.part[each] DESC LIMIT 1)
        SELECT ARRAY(
                   SELECT u.task_uuid FROM parts p CROSS JOIN unnest(p.part) AS u (task_uuid)
                   WHERE NOT EXISTS (SELECT FROM ends e WHERE u.task_uuid < e.task_uuid)
                   ORDER BY u.task_uuid DESC),
               (SELECT e.task_uuid FROM ends e)
        INTO tasks, read_to;
        RETURN;
    ELSE
        tasks := ARRAY(
            SELECT t.task_uuid FROM tasker_engine.tasks t
            WHERE t.task_uuid < $7 AND t.task_uuid >= $8
            ORDER BY t.task_uuid DESC LIMIT $9);
    END IF;
    read_to := tasks[$9];
END
$$;
COMMENT ON FUNCTION tasker_engine.task_candidates("char", integer[], text, text, text[], text, uuid, uuid, integer) IS
'The newest tasks that pass one of the filters, newest first.
state: the state; NULL is any, as with the other filters.
templates: the templates.
identities: the identities that the key can have.
below: tasks below this uuid.
above: tasks from this uuid on.
most: how many rows are read at most.
tasks: the tasks.
read_to: below this task there can be more; NULL: all were read.';

CREATE OR REPLACE FUNCTION tasker_engine.select_tasks(
    state text, namespace text, name text, version text, since timestamptz, until timestamptz, tag text, correlation_id text,
    idempotency_key text, error_class text, context_contains jsonb, after uuid, limit_count integer)
RETURNS TABLE (task_uuid uuid, next_after uuid)
LANGUAGE plpgsql STABLE ROWS 100 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    open_only CONSTANT boolean := $1 IS NOT DISTINCT FROM 'open';
    -- The code of a state is its first letter, but for one.
    wanted CONSTANT "char" := CASE WHEN open_only THEN NULL WHEN tasker_engine.known_state($1) = 'cancelled' THEN 'x' ELSE left($1, 1) END;
    templates CONSTANT integer[] := CASE WHEN num_nonnulls($2, $3, $4) > 0 THEN tasker_engine.named_task_ids($2, $3, $4) END;
    identities CONSTANT text[] := CASE WHEN $9 IS NOT NULL THEN ARRAY(
        SELECT DISTINCT tasker_engine.key_identity(ns.name, nt.name, $9)
        FROM tasker.named_tasks nt JOIN tasker.task_namespaces ns ON ns.task_namespace_id = nt.task_namespace_id
        WHERE templates IS NULL OR nt.named_task_id = ANY (templates)) END;
    candidates record;
    amount integer;
BEGIN
    IF templates = '{}' THEN
        RETURN;
    END IF;
    SELECT c.tasks, c.read_to INTO STRICT candidates
    FROM tasker_engine.task_candidates(
        wanted, templates, $7, $8, identities, $10,
        least($12, tasker_engine.uuids_since($6 + interval '2 minutes'), 'ffffffff-ffff-ffff-ffff-ffffffffffff'),
        coalesce(tasker_engine.uuids_since($5), '00000000-0000-0000-0000-000000000000'),
        -- A document costs more to look into than a column.
        greatest(CASE WHEN $11 IS NULL THEN 3000 ELSE 1000 END, $13 + 1)) c;
    RETURN QUERY
    SELECT t.task_uuid, NULL::uuid
    FROM unnest(candidates.tasks) WITH ORDINALITY AS f (task_uuid, place)
    JOIN tasker_engine.tasks t ON t.task_uuid = f.task_uuid
    WHERE (wanted IS NULL OR t.state = wanted)
      AND (NOT open_only OR tasker_engine.is_open(t.state))
      AND (templates IS NULL OR t.named_task_id = ANY (templates))
      AND ($5 IS NULL OR t.requested_at >= $5)
      AND ($6 IS NULL OR t.requested_at < $6)
      AND ($7 IS NULL OR t.tags @> jsonb_build_array($7))
      AND ($8 IS NULL OR t.correlation_id = $8)
      AND ($10 IS NULL OR EXISTS (SELECT FROM tasker_engine.rare_tasks r
                                  WHERE r.task_uuid = t.task_uuid AND r.state = t.state AND r.error_class = left($10, 255)))
      AND ($11 IS NULL OR t.context @> $11)
    ORDER BY f.place
    LIMIT $13;
    GET DIAGNOSTICS amount = ROW_COUNT;
    IF amount < $13 AND candidates.read_to IS NOT NULL THEN
        task_uuid := NULL;
        next_after := candidates.read_to;
        RETURN NEXT;
    END IF;
END
$$;
COMMENT ON FUNCTION tasker_engine.select_tasks(text, text, text, text, timestamptz, timestamptz, text, text, text, text, jsonb, uuid, integer) IS
'The tasks of one page of tasker.list_tasks, which explains the filters.
task_uuid: a task.
next_after: where the next page begins, in a row of its own, if the page stopped before all tasks were read.';

CREATE OR REPLACE FUNCTION tasker.list_tasks(
    state text DEFAULT NULL, namespace text DEFAULT NULL, name text DEFAULT NULL, version text DEFAULT NULL,
    since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, tag text DEFAULT NULL, correlation_id text DEFAULT NULL,
    idempotency_key text DEFAULT NULL, error_class text DEFAULT NULL, context_contains jsonb DEFAULT NULL, after uuid DEFAULT NULL,
    limit_count integer DEFAULT 100)
RETURNS TABLE (
    task_uuid uuid, full_name text, task_state text, priority integer, requested_at timestamptz, started_at timestamptz,
    completed_at timestamptz, initiator text, source_system text, reason text, tags jsonb, task_correlation_id text, task_idempotency_key text,
    error_step text, task_error_class text, next_after uuid)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 100 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM tasker_engine.require_version(), tasker_engine.required($13, 'limit_count');
    IF $13 NOT BETWEEN 1 AND 10000 THEN
        RAISE invalid_parameter_value USING MESSAGE = format('limit_count %s is out of range', $13),
            DETAIL = 'It is the largest number of tasks in a page, 1 to 10000.',
            HINT = 'Give the last task_uuid of a page as after to read the next one.';
    END IF;
    RETURN QUERY
    SELECT s.task_uuid, tasker_engine.full_name(ns.name, nt.name, nt.version), tasker_engine.state_name(t.state),
           t.priority::integer, t.requested_at, t.started_at, t.completed_at, t.initiator, t.source_system, t.reason, t.tags,
           t.correlation_id, i.idempotency_key, n.name, r.error_class, s.next_after
    FROM tasker_engine.select_tasks($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) WITH ORDINALITY
        AS s (task_uuid, next_after, place)
    LEFT JOIN tasker_engine.tasks t ON t.task_uuid = s.task_uuid
    LEFT JOIN tasker.named_tasks nt ON nt.named_task_id = t.named_task_id
    LEFT JOIN tasker.task_namespaces ns ON ns.task_namespace_id = nt.task_namespace_id
    LEFT JOIN tasker_engine.task_identities i ON i.task_uuid = t.task_uuid
    LEFT JOIN tasker_engine.rare_tasks r ON r.task_uuid = t.task_uuid AND r.state = t.state
    LEFT JOIN tasker.named_tasks_named_steps n ON n.named_task_id = t.named_task_id AND n.step_no = r.step_no
    ORDER BY s.place;
END
$$;
COMMENT ON FUNCTION tasker.list_tasks(text, text, text, text, timestamptz, timestamptz, text, text, text, text, jsonb, uuid, integer) IS
'One page of the tasks that pass all filters, newest first; a filter that is NULL lets every task pass. A page reads a bounded number of rows: at most 3,000, with context_contains 1,000, or one more than limit_count. A page that stops at this bound before it is full ends with a row in which only next_after is set. The next page: call it again with after => the last task_uuid, or next_after. 22023 for an unknown state and a limit_count outside 1 to 10000. Rule: docs/operating-with-psql.md#lists-of-tasks.
state: pending, in_progress, error, complete, cancelled or resolved_manually; open: pending or in_progress.
namespace: Name of the namespace.
name: Name of the template, in any namespace unless namespace says which.
version: Version of the template.
since: Tasks requested at this time or later.
until: Tasks requested before this time.
tag: One tag.
correlation_id: The correlation_id of the request.
idempotency_key: The caller''s key of the request; with namespace and name it names at most one task.
error_class: The error class of the first failed step, its first 255 characters, of tasks in error, or resolved_manually from there.
context_contains: What the context contains, as the operator @> does.
after: Tasks older than this one: the last task of the page before.
limit_count: The largest number of tasks in the page, 1 to 10000.
task_state: State of the task.
task_correlation_id: The correlation_id of the request; NULL: version 0.1.0 created the task without one.
task_idempotency_key: The idempotency_key of the request; NULL if it had none.
error_step: Name of the first failed step, if the task is in error or was resolved from there.
task_error_class: Its error class.
next_after: NULL for a task. In the last row of a page that is not full though older tasks were not read: what to give as after.';
GRANT EXECUTE ON FUNCTION tasker.list_tasks(text, text, text, text, timestamptz, timestamptz, text, text, text, text, jsonb, uuid, integer) TO tasker_reader;

-- Of tasks in error only their rows among the rare states are read. A function, because jit starts for look-ups that cost far less than it.
CREATE OR REPLACE FUNCTION tasker_engine.stuck_causes()
RETURNS TABLE (reason text, named_task_id integer, error_class text, tasks bigint, oldest_task_uuid uuid)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT 'failed', r.named_task_id, r.error_class, count(*), (array_agg(r.task_uuid ORDER BY r.task_uuid))[1]
    FROM tasker_engine.rare_tasks r
    WHERE r.state = 'e'
    GROUP BY r.named_task_id, r.error_class
    UNION ALL
    SELECT s.reason, t.named_task_id, NULL, count(*), (array_agg(s.task_uuid ORDER BY s.task_uuid))[1]
    FROM tasker_engine.stuck_open_tasks s
    CROSS JOIN LATERAL (SELECT k.named_task_id FROM tasker_engine.tasks k WHERE k.task_uuid = s.task_uuid OFFSET 0) t
    GROUP BY s.reason, t.named_task_id;
END
$$;
COMMENT ON FUNCTION tasker_engine.stuck_causes() IS
'The rows of tasker.stuck_summary, which explains them.
named_task_id: the template.';
GRANT EXECUTE ON FUNCTION tasker_engine.stuck_causes() TO tasker_reader;
