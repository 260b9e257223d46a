-- Same answers, then the times: the alternatives take turns within a round; :rounds rounds.
\set QUIET on
SET client_min_messages = warning;
SET max_parallel_workers_per_gather = 0;
SET jit = off;

CREATE TABLE alternatives AS SELECT * FROM (VALUES
    (1, 'tasker_ext', 'tasker.get_step_readiness_status(uuid_of)', 'tasker.get_step_readiness_status_batch(uuids_of)',
        'tasker.get_task_execution_context(uuid_of)', 'tasker.get_task_execution_contexts_batch(uuids_of)'),
    (2, 'joins, most_recent', 'flag.readiness(id_of)', 'flag.readiness(ids_of)', 'flag.context(id_of)', 'flag.context(ids_of)'),
    (3, 'joins, most_recent, covering indexes', 'best.readiness(id_of)', 'best.readiness(ids_of)', 'best.context(id_of)', 'best.context(ids_of)'),
    (4, 'joins, newest row of the log', 'log.readiness(id_of)', 'log.readiness(ids_of)', 'log.context(id_of)', 'log.context(ids_of)')
) v (no, name, readiness_one, readiness_batch, context_one, context_batch);
CREATE TABLE times (no integer, question text, round integer, ms float8);

CREATE FUNCTION differences(other text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
    EXECUTE format('
        SELECT count(*) FROM (
            SELECT s.workflow_step_id, r.* FROM tasker.tasks t CROSS JOIN LATERAL tasker.get_step_readiness_status(t.task_uuid) r
            JOIN %1$I.workflow_steps s ON s.step_uuid = r.step_uuid) a
        FULL JOIN (SELECT (r).* FROM (SELECT %1$I.readiness(array_agg(task_id)) AS r FROM %1$I.tasks) r) b USING (workflow_step_id)
        WHERE (a.named_step_id, a.name, a.current_state, a.dependencies_satisfied, a.ready_for_execution, a.last_failure_at, a.total_parents,
               a.completed_parents, a.attempts, a.retry_limit, a.last_attempted_at)
          IS DISTINCT FROM
              (b.named_step_id, b.name, b.current_state, b.dependencies_satisfied, b.ready_for_execution, b.last_failure_at, b.total_parents,
               b.completed_parents, b.attempts, b.retry_limit, b.last_attempted_at)', other) INTO n;
    RETURN n;
END $$;
CREATE FUNCTION context_differences(other text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
    EXECUTE format('
        SELECT count(*) FROM (SELECT task_id, r.* FROM %1$I.tasks t CROSS JOIN LATERAL tasker.get_task_execution_context(t.task_uuid) r) a
        FULL JOIN (SELECT (r).* FROM (SELECT %1$I.context(array_agg(task_id)) AS r FROM %1$I.tasks) r) b USING (task_id)
        WHERE (a.named_task_id, a.status, a.total_steps, a.pending_steps, a.in_progress_steps, a.completed_steps, a.failed_steps, a.ready_steps,
               a.completion_percentage) IS DISTINCT FROM
              (b.named_task_id, b.status, b.total_steps, b.pending_steps, b.in_progress_steps, b.completed_steps, b.failed_steps, b.ready_steps,
               b.completion_percentage)', other) INTO n;
    RETURN n;
END $$;

\pset footer off
\pset format unaligned
\pset fieldsep ' | '
\pset tuples_only on
\echo '## The data'
\echo
\echo '| state | tasks | steps |'
\echo '|---|---|---|'
SELECT '| ' || state, coalesce(t.n, 0), coalesce(s.n, 0) || ' |'
FROM (SELECT state, count(*) AS n FROM tasker.tasks GROUP BY 1) t FULL JOIN (SELECT state, count(*) AS n FROM tasker.workflow_steps GROUP BY 1) s USING (state)
ORDER BY state;
SELECT format(E'\nRows that answer differently: readiness %s, %s, %s of %s; context %s, %s, %s of %s.\n',
    differences('flag'), differences('best'), differences('log'), (SELECT count(*) FROM tasker.workflow_steps),
    context_differences('flag'), context_differences('best'), context_differences('log'), (SELECT count(*) FROM tasker.tasks));
SELECT differences('flag') + differences('best') + differences('log') + context_differences('flag') + context_differences('best')
       + context_differences('log') <> 0 AS differ \gset
\if :differ
    \echo 'the answers differ: what would be measured is not the same'
    DO $$ BEGIN RAISE EXCEPTION 'the answers differ'; END $$;
\endif

DO $$
DECLARE
    w record;
    question text;
    call text;
    ids bigint[];
    uuids uuid[];
    id_of bigint;
    uuid_of uuid;
    started timestamptz;
    n integer;
BEGIN
    SELECT array_agg(task_id ORDER BY task_id), array_agg(task_uuid ORDER BY task_id) INTO ids, uuids FROM flag.tasks;
    FOR w IN SELECT * FROM alternatives LOOP -- calls in plpgsql, with kept plans, for every one the same
        FOREACH question IN ARRAY ARRAY['readiness_one', 'context_one', 'readiness_batch', 'context_batch'] LOOP
            call := to_jsonb(w) ->> question;
            EXECUTE format('CREATE FUNCTION %I(ids bigint[], uuids uuid[], calls integer) RETURNS void LANGUAGE plpgsql AS $f$
                BEGIN FOR n IN 1 .. calls LOOP PERFORM count(*) FROM %s; END LOOP; END $f$', question || w.no,
                replace(replace(replace(replace(call, 'uuids_of', 'uuids'), 'ids_of', 'ids'), 'uuid_of', 'uuids[1 + n * 37 % cardinality(uuids)]'),
                        'id_of', 'ids[1 + n * 37 % cardinality(ids)]'));
        END LOOP;
    END LOOP;
END
$$;
CREATE FUNCTION measure(rounds integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    w record;
    question text;
    ids bigint[];
    uuids uuid[];
    started timestamptz;
    calls integer;
BEGIN
    SELECT array_agg(task_id ORDER BY task_id), array_agg(task_uuid ORDER BY task_id) INTO ids, uuids FROM flag.tasks;
    FOR round IN 0 .. rounds LOOP -- round 0 warms up
        FOREACH question IN ARRAY ARRAY['readiness_one', 'context_one', 'readiness_batch', 'context_batch'] LOOP
            FOR w IN SELECT * FROM alternatives ORDER BY random() LOOP
                calls := CASE WHEN question LIKE '%batch' THEN 1 WHEN w.no = 4 THEN 5 ELSE 200 END;
                started := clock_timestamp();
                EXECUTE format('SELECT %I($1, $2, $3)', question || w.no) USING ids, uuids, calls;
                IF round > 0 THEN
                    INSERT INTO times VALUES (w.no, question, round, extract(epoch FROM clock_timestamp() - started) * 1000 / calls);
                END IF;
            END LOOP;
        END LOOP;
    END LOOP;
END
$$;
SELECT measure(:rounds) \g /dev/null

\echo '## The times'
\echo
\echo 'Milliseconds per call, median and in brackets the quartiles of the rounds; the ratio is the median of the ratios of each round.'
\echo
\echo '| question | alternative | ms | times tasker_ext |'
\echo '|---|---|---|---|'
SELECT '| ' || CASE t.question WHEN 'readiness_one' THEN 'readiness of one task' WHEN 'context_one' THEN 'context of one task'
                               WHEN 'readiness_batch' THEN 'readiness of all tasks' ELSE 'context of all tasks' END,
       w.name,
       format('%s (%s to %s)', round((percentile_cont(0.5) WITHIN GROUP (ORDER BY t.ms))::numeric, 4),
              round((percentile_cont(0.25) WITHIN GROUP (ORDER BY t.ms))::numeric, 4), round((percentile_cont(0.75) WITHIN GROUP (ORDER BY t.ms))::numeric, 4)),
       round((percentile_cont(0.5) WITHIN GROUP (ORDER BY t.ms / b.ms))::numeric, 1) || ' |'
FROM times t JOIN alternatives w USING (no) JOIN times b ON b.no = 1 AND b.question = t.question AND b.round = t.round
GROUP BY t.question, w.no, w.name ORDER BY array_position(ARRAY['readiness_one', 'context_one', 'readiness_batch', 'context_batch'], t.question), w.no;
