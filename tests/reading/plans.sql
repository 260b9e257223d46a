-- Every public view reaches an index for a filter on task_uuid and on step_uuid: no sequential scan of a big table and
-- few pages, mostly fewer than 100, for one task of 20,000, whatever the planner's statistics say (once without ANALYZE, once with).
-- psql -v ON_ERROR_STOP=1 -f tests/reading/plans.sql, in a database of its own with the extension installed.
\set QUIET on
SET client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS plans_test;

CREATE OR REPLACE FUNCTION plans_test.seq_scans(plan jsonb, relation text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(node ->> 'Relation Name', ' ')
    FROM jsonb_path_query(plan, 'strict $.** ? (@."Node Type" == "Seq Scan")') node
    WHERE node ->> 'Relation Name' IN ('tasks', 'steps', 'transitions', 'queue_entries', 'task_identities')
      -- No index leads from a task into the queue, because each step would pay for it: stuck_tasks reads it.
      AND ($2 <> 'stuck_tasks' OR node ->> 'Relation Name' <> 'queue_entries')
$$;

CREATE OR REPLACE PROCEDURE plans_test.cheap(relation text, key text, value uuid, most integer) LANGUAGE plpgsql AS $$
DECLARE
    plan jsonb;
    pages integer;
    rows_found integer;
BEGIN
    -- The first run of a backend reads the catalogue.
    EXECUTE format('SELECT count(r::text) FROM (SELECT * FROM tasker.%I WHERE %I = %L) r', relation, key, value) INTO rows_found;
    EXECUTE format('EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) SELECT * FROM tasker.%I WHERE %I = %L',
                   relation, key, value) INTO plan;
    pages := (plan #>> '{0,Plan,Shared Hit Blocks}')::integer + (plan #>> '{0,Plan,Shared Read Blocks}')::integer;
    RAISE WARNING '% by %: % rows, % pages', relation, key, rows_found, pages;
    IF plans_test.seq_scans(plan, relation) IS NOT NULL THEN
        RAISE EXCEPTION '% by % scans %', relation, key, plans_test.seq_scans(plan, relation);
    END IF;
    IF relation = 'stuck_tasks' THEN
        most := most + pg_relation_size('tasker_engine.queue_entries') / 8192;
    END IF;
    IF pages >= most THEN
        RAISE EXCEPTION '% by % reads % pages', relation, key, pages;
    END IF;
END $$;

DO $$
DECLARE reports jsonb := '[]';
BEGIN
    PERFORM tasker.register_template($y$
name: five
namespace_name: plans
steps:
  - {name: a, handler: {callable: h}}
  - {name: b, handler: {callable: h}, depends_on_step: a}
  - {name: c, handler: {callable: h}, depends_on_step: a}
  - {name: d, handler: {callable: h}, depends_on_steps: [b, c]}
  - {name: e, handler: {callable: h}, depends_on_step: d}
$y$);
    -- Complete and failed tasks first, then many that wait, some of them running.
    FOR i IN 1..16 LOOP
        IF i = 1 THEN
            PERFORM count(*) FROM tasker.create_tasks('five', array_fill('{"n": 1}'::jsonb, ARRAY[2000]),
                namespace => 'plans', idempotency_keys => ARRAY(SELECT 'key ' || k FROM generate_series(1, 2000) k));
        END IF;
        SELECT COALESCE(jsonb_agg(CASE WHEN tasker.step_number(step_uuid) = 2 AND get_byte(uuid_send(task_uuid), 12) % 4 = 0
                   THEN jsonb_build_object('step_uuid', step_uuid, 'claim_number', claim_number, 'status', 'error',
                                           'error_message', 'no', 'retryable', false)
                   ELSE jsonb_build_object('step_uuid', step_uuid, 'claim_number', claim_number, 'status', 'complete') END), '[]')
        INTO reports
        FROM tasker.report_and_claim('plans-' || i, reports, '{plans}', 1000);
    END LOOP;
    PERFORM tasker.report_steps('plans', reports);
    FOR i IN 1..20 LOOP
        PERFORM count(*) FROM tasker.create_tasks('five', array_fill('{"n": 1}'::jsonb, ARRAY[1000]), namespace => 'plans');
    END LOOP;
    PERFORM count(*) FROM tasker.claim_steps('plans', '{plans}', 100);
END $$;

CREATE OR REPLACE PROCEDURE plans_test.all_cheap() LANGUAGE plpgsql AS $$
DECLARE
    relation text;
    running uuid := (SELECT task_uuid FROM tasker.running_steps LIMIT 1);
    failed uuid := (SELECT task_uuid FROM tasker.failed_steps LIMIT 1);
    task uuid;
BEGIN
    FOREACH task IN ARRAY ARRAY[running, failed] LOOP
        IF task IS NULL THEN
            RAISE EXCEPTION 'the data lack a running or a failed step';
        END IF;
        FOR relation IN
            SELECT c.table_name FROM information_schema.columns c
            WHERE c.table_schema = 'tasker' AND c.column_name = 'task_uuid' ORDER BY 1
        LOOP
            -- Five relations in one row; four looks into the log for each of its rows.
            CALL plans_test.cheap(relation, 'task_uuid', task,
                CASE WHEN relation IN ('tasks_with_all_associated', 'workflow_step_transition_details') THEN 250 ELSE 100 END);
        END LOOP;
        FOR relation IN
            SELECT c.table_name FROM information_schema.columns c
            WHERE c.table_schema = 'tasker' AND c.column_name = 'step_uuid' ORDER BY 1
        LOOP
            CALL plans_test.cheap(relation, 'step_uuid', tasker.step_uuid(task, 2::smallint), 100);
        END LOOP;
        CALL plans_test.cheap('workflow_step_edges', 'from_step_uuid', tasker.step_uuid(task, 2::smallint), 100);
        CALL plans_test.cheap('workflow_step_edges', 'to_step_uuid', tasker.step_uuid(task, 2::smallint), 100);
    END LOOP;
END $$;

CALL plans_test.all_cheap();
ANALYZE;
CALL plans_test.all_cheap();

-- The functions do as little: pages of one call, read from the statistics of a plan that only calls it.
DO $$
DECLARE
    plan jsonb;
    pages integer;
    task uuid := (SELECT task_uuid FROM tasker.failed_steps LIMIT 1);
    call text;
BEGIN
    FOREACH call IN ARRAY ARRAY['get_step_readiness_status', 'get_task_execution_context', 'calculate_dependency_levels'] LOOP
        EXECUTE format('SELECT count(*) FROM tasker.%I(%L)', call, task);
        EXECUTE format('EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM tasker.%I(%L)', call, task) INTO plan;
        pages := (plan #>> '{0,Plan,Shared Hit Blocks}')::integer + (plan #>> '{0,Plan,Shared Read Blocks}')::integer;
        RAISE WARNING '%: % pages, % ms', call, pages, plan #>> '{0,Execution Time}';
        IF pages >= 40 THEN
            RAISE EXCEPTION '% reads % pages', call, pages;
        END IF;
    END LOOP;
END $$;

DROP SCHEMA plans_test CASCADE;
\echo plans.sql: all checks hold
