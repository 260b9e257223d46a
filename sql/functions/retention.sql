-- How ended tasks leave.

-- The whole rule of what may go. A complete task has no step in progress; others, ended by hand, may.
CREATE OR REPLACE FUNCTION tasker_engine.is_purgeable(
    task_uuid uuid, state "char", completed_at timestamptz, completed_before timestamptz, failed_before timestamptz)
RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE state
        WHEN 'c' THEN completed_at < completed_before
        WHEN 'p' THEN false
        WHEN 'i' THEN false
        ELSE (SELECT max(l.created_at) FROM tasker_engine.transitions l
              WHERE l.task_uuid = $1 AND l.step_no = 0)
             <
             CASE WHEN state = 'e' THEN failed_before ELSE completed_before END
             AND NOT EXISTS (SELECT FROM tasker_engine.steps s
                             WHERE s.task_uuid = $1
                               AND s.state = 'i')
    END;
END;
COMMENT ON FUNCTION tasker_engine.is_purgeable(uuid, "char", timestamptz, timestamptz, timestamptz) IS
'Whether a task is complete, cancelled or resolved since before one time, or in error since before the other, and nothing of it runs.';

-- One batch of ended tasks, oldest first. It waits for no session: an operator's call locks the first step of its task first,
-- and workers touch steps in progress only. It has planner settings of its own, not a list of plans.sql: it also reads without a
-- sort, so that it stops after the tasks of the batch, and may aggregate by hash.
CREATE OR REPLACE FUNCTION tasker_engine.purge_batch(
    completed_before timestamptz, failed_before timestamptz, namespace_id integer, after_uuid uuid, batch integer, dry_run boolean,
    OUT last_uuid uuid, OUT finished boolean, OUT tasks bigint, OUT steps bigint, OUT transitions bigint, OUT other_rows bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    -- Younger rows wait for subscribers that have not read them.
    waits_since CONSTANT timestamptz := clock_timestamp() - tasker_engine.max_subscriber_lag_text()::interval;
    unread record;
    below uuid;
    found uuid[];
    held uuid[];
    gone bigint;
BEGIN
    tasks := 0; steps := 0; transitions := 0; other_rows := 0;
    SELECT * INTO unread FROM tasker_engine.first_unread();
    IF unread.written_at IS NOT NULL THEN
        -- So that the walk ends where the tasks that wait begin.
        completed_before := CASE WHEN $1 IS NOT NULL THEN least($1, greatest(unread.written_at, waits_since)) END;
        failed_before := CASE WHEN $2 IS NOT NULL THEN least($2, greatest(unread.written_at, waits_since)) END;
    END IF;
    -- No task that ended before was created later.
    below := tasker_engine.uuids_since(greatest($1, $2) + interval '2 minutes');
    -- Twice as many as wanted: a purge in another session may hold the first of them. A namespace is walked template by
    -- template, so that the tasks of others cost nothing.
    IF $3 IS NULL THEN
        found := ARRAY(
            SELECT t.task_uuid FROM tasker_engine.tasks t
            WHERE t.task_uuid > $4 AND t.task_uuid < below AND NOT tasker_engine.is_open(t.state)
              AND tasker_engine.is_purgeable(t.task_uuid, t.state, t.completed_at, $1, $2)
            ORDER BY t.task_uuid LIMIT 2 * $5);
    ELSE
        found := ARRAY(
            SELECT o.task_uuid
            FROM tasker.named_tasks n
            CROSS JOIN LATERAL (
                SELECT t.task_uuid FROM tasker_engine.tasks t
                WHERE t.named_task_id = n.named_task_id AND t.task_uuid > $4 AND t.task_uuid < below
                  AND NOT tasker_engine.is_open(t.state)
                  AND tasker_engine.is_purgeable(t.task_uuid, t.state, t.completed_at, $1, $2)
                ORDER BY t.task_uuid LIMIT 2 * $5) o
            WHERE n.task_namespace_id = $3
            ORDER BY o.task_uuid LIMIT 2 * $5);
    END IF;
    finished := cardinality(found) <= $5;
    -- At most 50,000 steps in one transaction, but at least one task.
    held := ARRAY(
        SELECT o.task_uuid
        FROM (SELECT t.task_uuid, n.steps, sum(n.steps) OVER (ORDER BY t.task_uuid) AS steps_so_far
              FROM tasker_engine.tasks t
              CROSS JOIN LATERAL (
                  SELECT max(s.step_no)::integer AS steps FROM tasker.named_tasks_named_steps s
                  WHERE s.named_task_id = t.named_task_id) n
              WHERE t.task_uuid = ANY (found)) o
        WHERE o.steps_so_far - o.steps < 50000
        ORDER BY o.task_uuid);
    finished := finished AND cardinality(held) = cardinality(found);
    found := held;
    held := ARRAY(
        SELECT t.task_uuid FROM tasker_engine.tasks t
        WHERE t.task_uuid = ANY (found) AND NOT tasker_engine.is_open(t.state)
          AND tasker_engine.is_purgeable(t.task_uuid, t.state, t.completed_at, $1, $2)
          AND (unread.written_at IS NULL OR NOT EXISTS (
              SELECT FROM tasker_engine.transitions l
              WHERE l.task_uuid = t.task_uuid AND l.id > unread.read_to AND l.created_at > waits_since))
        ORDER BY t.task_uuid LIMIT $5
        FOR UPDATE SKIP LOCKED);
    last_uuid := CASE WHEN finished THEN found[cardinality(found)] ELSE held[cardinality(held)] END;
    held := ARRAY(
        SELECT s.task_uuid FROM tasker_engine.steps s WHERE s.task_uuid = ANY (held) AND s.step_no = 1
        FOR UPDATE SKIP LOCKED);
    IF cardinality(held) = 0 THEN
        RETURN;
    END IF;
    IF $6 THEN
        tasks := cardinality(held);
        SELECT count(*) INTO steps FROM tasker_engine.steps s WHERE s.task_uuid = ANY (held);
        SELECT count(*) INTO transitions FROM tasker_engine.transitions l WHERE l.task_uuid = ANY (held);
        SELECT (SELECT count(*) FROM tasker_engine.task_identities o WHERE o.task_uuid = ANY (held))
               + (SELECT count(*) FROM tasker_engine.finalization_claims o WHERE o.task_uuid = ANY (held))
               + (SELECT count(*) FROM tasker_engine.finalization_attempts o WHERE o.task_uuid = ANY (held))
               + (SELECT count(*) FROM tasker_engine.task_deadlines o WHERE o.task_uuid = ANY (held))
               + (SELECT count(*) FROM tasker_engine.rare_tasks o WHERE o.task_uuid = ANY (held))
               + (SELECT count(*) FROM tasker_engine.tags_of_tasks(held))
               + (SELECT count(*) FROM tasker_engine.step_logs o WHERE o.task_uuid = ANY (held))
               + (SELECT count(*) FROM tasker.task_annotations o WHERE o.task_uuid = ANY (held)) INTO other_rows;
        RETURN;
    END IF;
    -- A claim takes the entry of a step that it hands out. What ended in another way, or was scheduled twice by an operator, can still
    -- have one, and no index leads to it.
    IF EXISTS (SELECT FROM tasker_engine.steps s WHERE s.task_uuid = ANY (held) AND (s.state <> 'c' OR s.watched)) THEN
        DELETE FROM tasker_engine.queue_entries q WHERE q.task_uuid = ANY (held);
    END IF;
    IF unread.written_at IS NOT NULL THEN
        PERFORM tasker_engine.note_purged(held);
    END IF;
    DELETE FROM tasker_engine.steps s WHERE s.task_uuid = ANY (held);
    GET DIAGNOSTICS steps = ROW_COUNT;
    DELETE FROM tasker_engine.transitions l WHERE l.task_uuid = ANY (held);
    GET DIAGNOSTICS transitions = ROW_COUNT;
    DELETE FROM tasker_engine.task_identities o WHERE o.task_uuid = ANY (held);
    GET DIAGNOSTICS gone = ROW_COUNT;
    other_rows := other_rows + gone;
    DELETE FROM tasker_engine.finalization_claims o WHERE o.task_uuid = ANY (held);
    GET DIAGNOSTICS gone = ROW_COUNT;
    other_rows := other_rows + gone;
    DELETE FROM tasker_engine.finalization_attempts o WHERE o.task_uuid = ANY (held);
    GET DIAGNOSTICS gone = ROW_COUNT;
    other_rows := other_rows + gone;
    DELETE FROM tasker_engine.task_deadlines o WHERE o.task_uuid = ANY (held);
    GET DIAGNOSTICS gone = ROW_COUNT;
    other_rows := other_rows + gone;
    DELETE FROM tasker_engine.rare_tasks o WHERE o.task_uuid = ANY (held);
    GET DIAGNOSTICS gone = ROW_COUNT;
    other_rows := other_rows + gone;
    DELETE FROM tasker_engine.task_tags o USING tasker_engine.tags_of_tasks(held) g WHERE o.tag = g.tag AND o.task_uuid = g.task_uuid;
    GET DIAGNOSTICS gone = ROW_COUNT;
    other_rows := other_rows + gone;
    DELETE FROM tasker_engine.step_logs o WHERE o.task_uuid = ANY (held);
    GET DIAGNOSTICS gone = ROW_COUNT;
    other_rows := other_rows + gone;
    DELETE FROM tasker.task_annotations o WHERE o.task_uuid = ANY (held);
    GET DIAGNOSTICS gone = ROW_COUNT;
    other_rows := other_rows + gone;
    DELETE FROM tasker_engine.tasks t WHERE t.task_uuid = ANY (held);
    GET DIAGNOSTICS tasks = ROW_COUNT;
    -- Without a look at what is added up: duty_totals may be about to commit that.
    INSERT INTO tasker_engine.unsettled_tasks (first_uuid, last_uuid)
    SELECT o.first, o.last
    FROM (SELECT min(u::text)::uuid AS first, max(u::text)::uuid AS last FROM unnest(held) u) o;
END
$$;
COMMENT ON FUNCTION tasker_engine.purge_batch(timestamptz, timestamptz, integer, uuid, integer, boolean) IS
'Deletes one batch of tasks with all that belongs to them: complete, cancelled and resolved ones that ended before one time, those in error before another; NULL: none of these. Tasks whose log a subscriber has not read wait up to tasker.max_subscriber_lag. Returns the position that it reached, whether that is the end, and the numbers of deleted rows. Waits for no lock.';

CREATE OR REPLACE FUNCTION tasker_engine.check_age(age interval, parameter text)
RETURNS void LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF $1 NOT BETWEEN interval '0' AND interval '1000 years' THEN
        RAISE invalid_parameter_value USING MESSAGE = format('%s %s is out of range', $2, $1),
            DETAIL = 'It is an age from 0 to 1000 years.', HINT = 'For example interval ''30 days''.';
    END IF;
END
$$;
COMMENT ON FUNCTION tasker_engine.check_age(interval, text) IS '22023 for an age that is negative or absurd; NULL passes.';

CREATE OR REPLACE FUNCTION tasker_engine.namespace_id(name text)
RETURNS integer LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    id integer;
BEGIN
    SELECT n.task_namespace_id INTO id FROM tasker.task_namespaces n WHERE n.name = $1;
    IF NOT FOUND THEN
        RAISE no_data_found USING MESSAGE = format('no namespace has the name "%s"', left($1, 64)),
            DETAIL = 'A namespace exists once a template is registered in it.',
            HINT = 'SELECT name FROM tasker.task_namespaces lists them.';
    END IF;
    RETURN id;
END
$$;
COMMENT ON FUNCTION tasker_engine.namespace_id(text) IS 'The id of a namespace; P0002 if there is none of that name.';

CREATE OR REPLACE FUNCTION tasker.purge_tasks(
    older_than interval, batch integer DEFAULT 1000, namespace text DEFAULT NULL, include_failed boolean DEFAULT false,
    dry_run boolean DEFAULT false, after_uuid uuid DEFAULT NULL)
RETURNS TABLE (tasks bigint, steps bigint, transitions bigint, other_rows bigint, last_uuid uuid)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    before timestamptz;
BEGIN
    PERFORM tasker_engine.require_resumed();
    PERFORM tasker_engine.required($1, 'older_than'), tasker_engine.required($2, 'batch'),
        tasker_engine.required($4, 'include_failed'), tasker_engine.required($5, 'dry_run');
    PERFORM tasker_engine.check_age($1, 'older_than');
    IF $2 NOT BETWEEN 1 AND 100000 THEN
        RAISE invalid_parameter_value USING MESSAGE = format('batch %s is out of range', $2),
            DETAIL = 'It is from 1 to 100,000 tasks.', HINT = 'Call it again until it returns 0 tasks, each time in a transaction of its own.';
    END IF;
    before := clock_timestamp() - $1;
    RETURN QUERY
    SELECT b.tasks, b.steps, b.transitions, b.other_rows, b.last_uuid
    FROM tasker_engine.purge_batch(
        before, CASE WHEN $4 THEN before END, CASE WHEN $3 IS NOT NULL THEN tasker_engine.namespace_id($3) END,
        coalesce($6, '00000000-0000-0000-0000-000000000000'), $2, $5) b;
END
$$;
COMMENT ON FUNCTION tasker.purge_tasks(interval, integer, text, boolean, boolean, uuid) IS
'Deletes one batch of tasks that ended long ago, oldest first, with their steps, results, log, logs of runs, annotations, idempotency keys and everything else that belongs to them. Waits for no lock, and no claim waits for it; what another session has locked is left for the next call, and so are tasks whose log a subscriber to events has not read, up to tasker.max_subscriber_lag. Call it until it returns 0 tasks, each time in a transaction of its own. An idempotency key of a purged task may be used again. 22023 for an age or a batch out of range, P0002 for an unknown namespace. Rule: docs/retention.md.
older_than: Tasks that ended longer ago than this, 0 or more.
batch: The most tasks, 1 to 100,000, and no more of them than have 50,000 steps together.
namespace: Only tasks of this namespace; NULL for all.
include_failed: Tasks in error, too, which wait for an operator; otherwise those that are complete, cancelled or resolved_manually.
dry_run: Reports what it would delete, and deletes nothing.
after_uuid: Only tasks behind this one in the order of their creation; NULL for all. Give the last_uuid of the call before where many old tasks stay.
tasks: How many tasks it deleted.
steps: How many steps they had.
transitions: How many rows of the log they had.
other_rows: How many other rows belonged to them.
last_uuid: The last task of the batch; NULL if there was none.';
GRANT EXECUTE ON FUNCTION tasker.purge_tasks(interval, integer, text, boolean, boolean, uuid) TO tasker_admin;

CREATE OR REPLACE FUNCTION tasker_engine.default_retention_text() RETURNS text
AS 'MODULE_PATHNAME', 'default_retention_text' LANGUAGE c STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.default_retention_text() IS 'tasker.default_retention as an interval is written, with all its digits.';
GRANT EXECUTE ON FUNCTION tasker_engine.default_retention_text() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.default_retention() RETURNS interval
LANGUAGE sql STABLE PARALLEL SAFE
    RETURN tasker_engine.default_retention_text()::interval;
COMMENT ON FUNCTION tasker_engine.default_retention() IS 'tasker.default_retention as an interval; 0 keeps tasks forever.';
GRANT EXECUTE ON FUNCTION tasker_engine.default_retention() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.set_retention(namespace text, completed interval DEFAULT NULL, failed interval DEFAULT NULL)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM tasker_engine.require_resumed(or_new => true);
    PERFORM tasker_engine.required($1, 'namespace');
    PERFORM tasker_engine.check_age($2, 'completed'), tasker_engine.check_age($3, 'failed');
    INSERT INTO tasker_engine.retention (task_namespace_id, completed, failed)
    VALUES (tasker_engine.namespace_id($1), $2, $3)
    ON CONFLICT (task_namespace_id) DO UPDATE
    SET completed = excluded.completed, failed = excluded.failed, swept_to = NULL, sweep_started_at = NULL;
END
$$;
COMMENT ON FUNCTION tasker.set_retention(text, interval, interval) IS
'Sets how long a namespace keeps its ended tasks; maintenance deletes older ones. 22023 for a negative age, P0002 for an unknown namespace. Rule: docs/retention.md.
namespace: Name of the namespace.
completed: How long complete, cancelled and resolved tasks are kept from their end; 0 keeps them forever, NULL uses tasker.default_retention.
failed: How long tasks in error are kept; 0 or NULL keeps them forever, for an operator.';
GRANT EXECUTE ON FUNCTION tasker.set_retention(text, interval, interval) TO tasker_admin;

-- Ended tasks have no index of their own: the walk goes over all tasks in the order of creation and remembers how far it has
-- come. What it left behind, because it was open then, it finds in the next walk from the beginning.
CREATE OR REPLACE FUNCTION tasker_engine.duty_retention() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET jit = off AS $$
#variable_conflict use_column
DECLARE
    most_tasks CONSTANT integer := 1000;
    most_namespaces CONSTANT integer := 200;
    nothing CONSTANT uuid := uuid '00000000-0000-0000-0000-000000000000';
    at_time CONSTANT timestamptz := clock_timestamp();
    kept record;
    found record;
    served integer := 0;
    total bigint := 0;
BEGIN
    PERFORM tasker_engine.require_version();
    -- The namespace that has waited longest comes first. One that has nothing behind its position costs a look at an index.
    FOR kept IN
        SELECT o.*
        FROM (SELECT n.task_namespace_id, v.completed, v.failed, r.swept_to, r.sweep_started_at, r.last_purged_at,
                     -- Least often once an hour, most often once a minute.
                     r.swept_to IS NULL OR r.sweep_started_at < at_time - greatest(interval '1 minute',
                         least(interval '1 hour', v.completed / 10, v.failed / 10)) AS from_the_start
              FROM tasker.retention v
              JOIN tasker.task_namespaces n ON n.name = v.namespace_name
              LEFT JOIN tasker_engine.retention r ON r.task_namespace_id = n.task_namespace_id
              WHERE v.completed IS NOT NULL OR v.failed IS NOT NULL) o
        WHERE o.from_the_start OR EXISTS (
            SELECT FROM tasker.named_tasks n
            CROSS JOIN LATERAL (
                SELECT FROM tasker_engine.tasks t
                WHERE t.named_task_id = n.named_task_id AND t.task_uuid > o.swept_to
                  AND t.task_uuid < tasker_engine.uuids_since(at_time - least(o.completed, o.failed) + interval '2 minutes')
                  AND tasker_engine.is_purgeable(t.task_uuid, t.state, t.completed_at, at_time - o.completed, at_time - o.failed)
                LIMIT 1) t
            WHERE n.task_namespace_id = o.task_namespace_id)
        ORDER BY o.last_purged_at NULLS FIRST
    LOOP
        IF total >= most_tasks OR served >= most_namespaces THEN
            RETURN greatest(total, 1);
        END IF;
        SELECT * INTO found FROM tasker_engine.purge_batch(
            at_time - kept.completed, at_time - kept.failed, kept.task_namespace_id,
            CASE WHEN kept.from_the_start THEN nothing ELSE kept.swept_to END, (most_tasks - total)::integer, false);
        total := total + found.tasks;
        IF kept.from_the_start OR found.tasks > 0 THEN
            served := served + 1;
            INSERT INTO tasker_engine.retention AS r (task_namespace_id, swept_to, sweep_started_at, purged_tasks, last_purged_at)
            VALUES (kept.task_namespace_id,
                    CASE WHEN found.finished
                         THEN tasker_engine.uuids_since(at_time - least(kept.completed, kept.failed)) ELSE found.last_uuid END,
                    CASE WHEN kept.from_the_start THEN at_time ELSE kept.sweep_started_at END,
                    found.tasks, CASE WHEN found.tasks > 0 THEN at_time END)
            ON CONFLICT (task_namespace_id) DO UPDATE
            SET swept_to = excluded.swept_to, sweep_started_at = excluded.sweep_started_at,
                purged_tasks = r.purged_tasks + excluded.purged_tasks,
                last_purged_at = coalesce(excluded.last_purged_at, r.last_purged_at);
        END IF;
    END LOOP;
    RETURN total;
END
$$;
COMMENT ON FUNCTION tasker_engine.duty_retention() IS 'Deletes up to 1,000 tasks that are older than the retention of their namespaces, of up to 200 namespaces; returns the number of tasks deleted, at least 1 if more is to be looked at.';
