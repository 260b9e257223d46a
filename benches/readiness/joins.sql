-- The same tasks in tables that are usual for an engine inside an application, in schema :schema, and the two questions asked through joins.
-- :kind is flag (most_recent, the indexes that such engines create), best (the same with covering indexes), log (no flag:
-- the newest change of each step is looked for in the log).
\set QUIET on
SET client_min_messages = warning;
SELECT :'kind' = 'log' AS is_log, :'kind' = 'best' AS is_best \gset
CREATE SCHEMA :schema;
SET search_path = :schema;
CREATE TABLE tasks AS
    SELECT row_number() OVER (ORDER BY task_uuid) AS task_id, named_task_id, complete, requested_at, task_uuid FROM tasker.tasks;
CREATE TABLE workflow_steps AS
    SELECT row_number() OVER (ORDER BY w.step_uuid) AS workflow_step_id, t.task_id, w.named_step_id, w.retryable, w.retry_limit, w.in_process,
           w.processed, w.attempts, w.last_attempted_at, w.backoff_request_seconds, w.step_uuid
    FROM tasker.workflow_steps w JOIN tasks t USING (task_uuid);
CREATE TABLE workflow_step_edges AS
    SELECT row_number() OVER () AS id, a.workflow_step_id AS from_step_id, b.workflow_step_id AS to_step_id
    FROM tasker.workflow_step_edges e
    JOIN workflow_steps a ON a.step_uuid = e.from_step_uuid JOIN workflow_steps b ON b.step_uuid = e.to_step_uuid;
CREATE TABLE task_transitions AS
    SELECT l.id, l.to_state, l.from_state, l.metadata, l.sort_key, l.most_recent, t.task_id, l.created_at
    FROM tasker.task_transitions l JOIN tasks t USING (task_uuid);
CREATE TABLE workflow_step_transitions AS
    SELECT l.id, l.to_state, l.from_state, l.metadata, l.sort_key, l.most_recent, w.workflow_step_id, l.created_at
    FROM tasker.workflow_step_transitions l JOIN workflow_steps w USING (step_uuid);
CREATE TABLE named_steps AS SELECT named_step_id, name FROM tasker.named_steps;

ALTER TABLE tasks ADD PRIMARY KEY (task_id);
ALTER TABLE workflow_steps ADD PRIMARY KEY (workflow_step_id);
ALTER TABLE workflow_step_edges ADD PRIMARY KEY (id);
ALTER TABLE named_steps ADD PRIMARY KEY (named_step_id);
ALTER TABLE task_transitions ADD PRIMARY KEY (id);
ALTER TABLE workflow_step_transitions ADD PRIMARY KEY (id);
CREATE UNIQUE INDEX ON task_transitions (task_id, sort_key);
CREATE UNIQUE INDEX ON task_transitions (task_id, most_recent) WHERE most_recent;
CREATE UNIQUE INDEX ON workflow_step_transitions (workflow_step_id, sort_key);
\if :is_best
    CREATE INDEX ON workflow_steps (task_id) INCLUDE (workflow_step_id, named_step_id, retryable, retry_limit, in_process, processed, attempts,
        last_attempted_at, backoff_request_seconds);
    CREATE INDEX ON workflow_step_edges (to_step_id) INCLUDE (from_step_id);
    CREATE UNIQUE INDEX ON workflow_step_transitions (workflow_step_id) INCLUDE (to_state, created_at) WHERE most_recent;
    CREATE INDEX ON named_steps (named_step_id) INCLUDE (name);
\else
    CREATE INDEX ON workflow_steps (task_id);
    CREATE INDEX ON workflow_steps (task_id, processed, in_process);
    CREATE INDEX ON workflow_steps (task_id) INCLUDE (workflow_step_id, processed, in_process, attempts, retry_limit);
    CREATE INDEX ON workflow_step_edges (to_step_id, from_step_id);
    CREATE INDEX ON workflow_step_edges (from_step_id, to_step_id);
    CREATE UNIQUE INDEX ON workflow_step_transitions (workflow_step_id, most_recent) WHERE most_recent;
    CREATE INDEX ON workflow_step_transitions (workflow_step_id, most_recent) WHERE to_state IN ('complete', 'resolved_manually');
\endif

-- The state of a step is its newest change.
\if :is_log
    CREATE VIEW current_states AS
    SELECT DISTINCT ON (l.workflow_step_id) l.workflow_step_id, l.to_state, l.created_at
    FROM workflow_step_transitions l ORDER BY l.workflow_step_id, l.sort_key DESC;
\else
    CREATE VIEW current_states AS
    SELECT l.workflow_step_id, l.to_state, l.created_at FROM workflow_step_transitions l WHERE l.most_recent;
\endif

CREATE FUNCTION readiness(wanted bigint[])
RETURNS TABLE (workflow_step_id bigint, task_id bigint, named_step_id integer, name text, current_state text, dependencies_satisfied boolean,
               retry_eligible boolean, ready_for_execution boolean, last_failure_at timestamptz, next_retry_at timestamptz,
               total_parents integer, completed_parents integer, attempts integer, retry_limit integer,
               backoff_request_seconds integer, last_attempted_at timestamptz)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH facts AS (
        SELECT s.workflow_step_id AS step, s.task_id, s.named_step_id, n.name, coalesce(c.to_state, 'pending') AS state,
               CASE WHEN c.to_state = 'error' THEN c.created_at END AS failed_at,
               coalesce(s.attempts, 0) AS attempts, coalesce(s.retry_limit, 3) AS retry_limit, s.retryable, s.processed, s.in_process,
               s.backoff_request_seconds AS backoff, s.last_attempted_at AS attempted_at,
               count(e.from_step_id)::integer AS parents,
               (count(*) FILTER (WHERE p.to_state IN ('complete', 'resolved_manually')))::integer AS done
        FROM workflow_steps s
        JOIN named_steps n ON n.named_step_id = s.named_step_id
        LEFT JOIN current_states c ON c.workflow_step_id = s.workflow_step_id
        LEFT JOIN workflow_step_edges e ON e.to_step_id = s.workflow_step_id
        LEFT JOIN current_states p ON p.workflow_step_id = e.from_step_id
        WHERE s.task_id = ANY (wanted)
        GROUP BY s.workflow_step_id, n.name, c.to_state, c.created_at
    ), clocks AS (
        SELECT f.*, f.attempted_at + make_interval(secs => f.backoff) AS asked_for,
               f.failed_at + make_interval(secs => least(2 ^ f.attempts, 30)) AS by_rule
        FROM facts f
    )
    SELECT k.step, k.task_id, k.named_step_id, k.name, k.state, k.done = k.parents, k.attempts < k.retry_limit,
           k.state IN ('pending', 'error') AND NOT coalesce(k.processed, false) AND NOT coalesce(k.in_process, false)
               AND k.done = k.parents AND k.attempts < k.retry_limit AND coalesce(k.retryable, true)
               AND coalesce(k.asked_for <= now(), true) AND coalesce(k.by_rule <= now(), true),
           k.failed_at, coalesce(k.asked_for, k.by_rule), k.parents, k.done, k.attempts, k.retry_limit, k.backoff, k.attempted_at
    FROM clocks k;
END
$$;

CREATE FUNCTION context(wanted bigint[])
RETURNS TABLE (task_id bigint, named_task_id integer, status text, total_steps bigint, pending_steps bigint, in_progress_steps bigint,
               completed_steps bigint, failed_steps bigint, ready_steps bigint, execution_status text, recommended_action text,
               completion_percentage numeric, health_status text)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH counts AS (
        SELECT r.task_id, count(*) AS total, count(*) FILTER (WHERE r.current_state = 'pending') AS pending,
               count(*) FILTER (WHERE r.current_state = 'in_progress') AS running,
               count(*) FILTER (WHERE r.current_state IN ('complete', 'resolved_manually')) AS complete,
               count(*) FILTER (WHERE r.current_state = 'error') AS failed,
               count(*) FILTER (WHERE r.ready_for_execution) AS ready,
               count(*) FILTER (WHERE r.current_state = 'error' AND r.attempts >= r.retry_limit) AS blocked
        FROM readiness(wanted) r GROUP BY r.task_id
    ), decided AS (
        SELECT c.*, CASE WHEN c.ready > 0 THEN 'has_ready_steps' WHEN c.running > 0 THEN 'processing' WHEN c.blocked > 0 THEN 'blocked_by_failures'
                         WHEN c.complete = c.total THEN 'all_complete' ELSE 'waiting_for_dependencies' END AS execution
        FROM counts c
    )
    SELECT t.task_id, t.named_task_id, coalesce(l.to_state, 'pending'), d.total, d.pending, d.running, d.complete, d.failed, d.ready, d.execution,
           CASE d.execution WHEN 'has_ready_steps' THEN 'execute_ready_steps' WHEN 'processing' THEN 'wait_for_completion'
                            WHEN 'blocked_by_failures' THEN 'handle_failures' WHEN 'all_complete' THEN 'finalize_task'
                            ELSE 'wait_for_dependencies' END,
           round(d.complete::numeric / d.total * 100, 2),
           CASE WHEN d.failed = 0 THEN 'healthy' WHEN d.blocked > 0 AND d.ready = 0 THEN 'blocked' ELSE 'recovering' END
    FROM tasks t JOIN decided d ON d.task_id = t.task_id
    LEFT JOIN task_transitions l ON l.task_id = t.task_id AND l.most_recent
    WHERE t.task_id = ANY (wanted);
END
$$;
-- The same for one task, with = instead of ANY; and each finds its tables without a search_path of the caller's.
SELECT replace(replace(pg_get_functiondef(p.oid), 'wanted bigint[]', 'wanted bigint'), '= ANY (wanted)', '= wanted')
FROM pg_proc p WHERE p.pronamespace = :'schema'::regnamespace ORDER BY p.proname DESC \gexec
SELECT format('ALTER FUNCTION %s SET search_path = %I', p.oid::regprocedure, :'schema')
FROM pg_proc p WHERE p.pronamespace = :'schema'::regnamespace \gexec
RESET search_path;
ANALYZE;
