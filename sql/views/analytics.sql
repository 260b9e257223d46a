-- What the analytics functions and health count: states of tasks, steps of unfinished tasks, runs from the log.

CREATE OR REPLACE VIEW tasker_engine.settled_ranges AS
SELECT s.after_uuid, s.last_uuid, s.complete_tasks, s.complete_steps, s.resolved_steps, s.left_out
FROM tasker_engine.settled_tasks s
WHERE NOT EXISTS (SELECT FROM tasker_engine.unsettled_tasks u WHERE u.first_uuid <= s.last_uuid AND u.last_uuid > s.after_uuid);
COMMENT ON VIEW tasker_engine.settled_ranges IS 'Ranges of tasks whose totals hold.';
COMMENT ON COLUMN tasker_engine.settled_ranges.after_uuid IS 'The range begins behind this uuid.';
COMMENT ON COLUMN tasker_engine.settled_ranges.last_uuid IS 'Its last task.';
COMMENT ON COLUMN tasker_engine.settled_ranges.complete_tasks IS 'Number of its complete tasks.';
COMMENT ON COLUMN tasker_engine.settled_ranges.complete_steps IS 'Number of their steps in state complete.';
COMMENT ON COLUMN tasker_engine.settled_ranges.resolved_steps IS 'Number of their steps in state resolved_manually.';
COMMENT ON COLUMN tasker_engine.settled_ranges.left_out IS 'Its tasks that are not in the totals, because they were open.';

CREATE OR REPLACE VIEW tasker_engine.unsettled_ranges AS
SELECT o.after_uuid, o.upto
FROM (SELECT lag(s.last_uuid, 1, '00000000-0000-0000-0000-000000000000') OVER (ORDER BY s.last_uuid) AS after_uuid, s.after_uuid AS upto
      FROM (SELECT r.after_uuid, r.last_uuid FROM tasker_engine.settled_ranges r
            UNION ALL
            VALUES ('ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)) s) o
WHERE o.after_uuid < o.upto;
COMMENT ON VIEW tasker_engine.unsettled_ranges IS 'What lies between them: the tasks that a count has to read.';
COMMENT ON COLUMN tasker_engine.unsettled_ranges.after_uuid IS 'The range begins behind this uuid.';
COMMENT ON COLUMN tasker_engine.unsettled_ranges.upto IS 'It ends with this uuid.';

CREATE OR REPLACE VIEW tasker_engine.unsettled_counts AS
WITH gaps AS MATERIALIZED (SELECT g.after_uuid, g.upto FROM tasker_engine.unsettled_ranges g),
left_out AS MATERIALIZED (SELECT unnest(r.left_out) AS task_uuid FROM tasker_engine.settled_ranges r)
SELECT t.task_uuid, t.named_task_id, t.state, t.watched
FROM gaps g
JOIN tasker_engine.tasks t ON t.task_uuid > g.after_uuid AND t.task_uuid <= g.upto
UNION ALL
SELECT t.task_uuid, t.named_task_id, t.state, t.watched
FROM left_out l
JOIN tasker_engine.tasks t ON t.task_uuid = l.task_uuid
UNION ALL
SELECT r.task_uuid, t.named_task_id, t.state, t.watched
FROM tasker_engine.rare_tasks r
JOIN tasker_engine.tasks t ON t.task_uuid = r.task_uuid
WHERE r.state IN ('e', 'x', 'r') AND t.state IN ('e', 'x', 'r')
  AND NOT EXISTS (SELECT FROM gaps g WHERE r.task_uuid > g.after_uuid AND r.task_uuid <= g.upto)
  AND r.task_uuid NOT IN (SELECT l.task_uuid FROM left_out l);
COMMENT ON VIEW tasker_engine.unsettled_counts IS 'The tasks that are not in the totals of settled_ranges.';

-- A task that is complete and was never watched has only completed steps: their number is that of its template. So only
-- the steps of the other tasks are read, by key.
CREATE OR REPLACE VIEW tasker_engine.system_counts AS
SELECT (t.total + o.complete_tasks) AS total_tasks, t.pending AS pending_tasks, t.in_progress AS in_progress_tasks,
       (t.complete + o.complete_tasks) AS complete_tasks, t.error AS error_tasks, t.cancelled AS cancelled_tasks,
       (t.plain_steps + s.total + o.complete_steps + o.resolved_steps) AS total_steps,
       s.pending AS pending_steps, s.in_progress AS in_progress_steps,
       (t.plain_steps + s.complete + o.complete_steps) AS complete_steps,
       s.error AS error_steps,
       s.retryable AS retryable_error_steps, s.exhausted AS exhausted_retry_steps, s.in_backoff AS in_backoff_steps,
       t.resolved AS resolved_manually_tasks, s.cancelled AS cancelled_steps,
       (s.resolved + o.resolved_steps) AS resolved_manually_steps,
       s.permanent AS permanent_error_steps
FROM (
    SELECT COALESCE(sum(g.tasks), 0)::bigint AS total,
           COALESCE(sum(g.tasks) FILTER (WHERE g.state = 'p'), 0)::bigint AS pending,
           COALESCE(sum(g.tasks) FILTER (WHERE g.state = 'i'), 0)::bigint AS in_progress,
           COALESCE(sum(g.tasks) FILTER (WHERE g.state = 'c'), 0)::bigint AS complete,
           COALESCE(sum(g.tasks) FILTER (WHERE g.state = 'e'), 0)::bigint AS error,
           COALESCE(sum(g.tasks) FILTER (WHERE g.state = 'x'), 0)::bigint AS cancelled,
           COALESCE(sum(g.tasks) FILTER (WHERE g.state = 'r'), 0)::bigint AS resolved,
           COALESCE(sum(g.tasks * n.steps)
                        FILTER (WHERE g.state = 'c' AND NOT g.watched), 0)::bigint AS plain_steps
    FROM (
        SELECT t.named_task_id, t.state, t.watched, count(*) AS tasks
        FROM tasker_engine.unsettled_counts t
        GROUP BY t.named_task_id, t.state, t.watched
    ) g
    JOIN (
        SELECT n.named_task_id, count(*) AS steps
        FROM tasker.named_tasks_named_steps n
        GROUP BY n.named_task_id
    ) n ON n.named_task_id = g.named_task_id
) t
CROSS JOIN (
    SELECT count(*) AS total,
           count(*) FILTER (WHERE s.state = 'p') AS pending,
           count(*) FILTER (WHERE s.state = 'i') AS in_progress,
           count(*) FILTER (WHERE s.state = 'c') AS complete,
           count(*) FILTER (WHERE s.state = 'e') AS error,
           count(*) FILTER (WHERE s.state = 'x') AS cancelled,
           count(*) FILTER (WHERE s.state = 'r') AS resolved,
           count(*) FILTER (WHERE s.state = 'e'
                                  AND NOT tasker_engine.waits_for_operator(s.state, s.available_at)) AS retryable,
           count(*) FILTER (WHERE s.state = 'e' AND tasker_engine.waits_for_operator(s.state, s.available_at)
                                  AND NOT tasker_engine.attempts_left(s.attempts, s.retry_limit)) AS exhausted,
           count(*) FILTER (WHERE s.state = 'e' AND tasker_engine.waits_for_operator(s.state, s.available_at)
                                  AND tasker_engine.attempts_left(s.attempts, s.retry_limit)) AS permanent,
           count(*) FILTER (WHERE s.state = 'e' AND s.available_at < 'infinity'
                                  AND s.available_at > tasker_engine.engine_clock()) AS in_backoff
    FROM tasker_engine.unsettled_counts t
    -- By key: the planner does not know how few tasks are left, and would read all steps.
    CROSS JOIN LATERAL (
        SELECT o.state, o.available_at, o.attempts, o.retry_limit FROM tasker_engine.steps o WHERE o.task_uuid = t.task_uuid OFFSET 0) s
    WHERE t.state <> 'c' OR t.watched
) s
CROSS JOIN (
    SELECT COALESCE(sum(r.complete_tasks), 0)::bigint AS complete_tasks, COALESCE(sum(r.complete_steps), 0)::bigint AS complete_steps,
           COALESCE(sum(r.resolved_steps), 0)::bigint AS resolved_steps
    FROM tasker_engine.settled_ranges r
) o;
COMMENT ON VIEW tasker_engine.system_counts IS 'What get_system_health_counts counts; one row.';
COMMENT ON COLUMN tasker_engine.system_counts.total_tasks IS 'All tasks.';
COMMENT ON COLUMN tasker_engine.system_counts.pending_tasks IS 'Tasks in state pending.';
COMMENT ON COLUMN tasker_engine.system_counts.in_progress_tasks IS 'Tasks in state in_progress.';
COMMENT ON COLUMN tasker_engine.system_counts.complete_tasks IS 'Tasks in state complete.';
COMMENT ON COLUMN tasker_engine.system_counts.error_tasks IS 'Tasks in state error.';
COMMENT ON COLUMN tasker_engine.system_counts.cancelled_tasks IS 'Tasks in state cancelled.';
COMMENT ON COLUMN tasker_engine.system_counts.resolved_manually_tasks IS 'Tasks in state resolved_manually.';
COMMENT ON COLUMN tasker_engine.system_counts.total_steps IS 'All steps.';
COMMENT ON COLUMN tasker_engine.system_counts.pending_steps IS 'Steps in state pending.';
COMMENT ON COLUMN tasker_engine.system_counts.in_progress_steps IS 'Steps in state in_progress.';
COMMENT ON COLUMN tasker_engine.system_counts.complete_steps IS 'Steps in state complete.';
COMMENT ON COLUMN tasker_engine.system_counts.error_steps IS 'Steps in state error.';
COMMENT ON COLUMN tasker_engine.system_counts.cancelled_steps IS 'Steps in state cancelled.';
COMMENT ON COLUMN tasker_engine.system_counts.resolved_manually_steps IS 'Steps in state resolved_manually.';
COMMENT ON COLUMN tasker_engine.system_counts.retryable_error_steps IS 'Steps in error that will run again by themselves.';
COMMENT ON COLUMN tasker_engine.system_counts.exhausted_retry_steps IS 'Steps permanently in error, without an attempt left.';
COMMENT ON COLUMN tasker_engine.system_counts.permanent_error_steps IS 'Steps permanently in error, with attempts left.';
COMMENT ON COLUMN tasker_engine.system_counts.in_backoff_steps IS 'Steps in error whose retry is not due yet.';

-- The row that ends a run says when it began. Version 0.1.0 did not say so of a run that an operator ended: it began with the last
-- change to in_progress before; attempts would not tell, since retry_step counts from 0 again.
CREATE OR REPLACE VIEW tasker_engine.ended_runs AS
SELECT l.task_uuid,
       l.step_no,
       l.attempt,
       l.to_state AS state,
       l.created_at AS ended_at,
       COALESCE(l.started_at,
                (SELECT max(b.created_at) FROM tasker_engine.transitions b
                 WHERE b.task_uuid = l.task_uuid AND b.step_no = l.step_no
                   AND b.to_state = 'i' AND b.id < l.id)) AS started_at,
       l.metadata
FROM tasker_engine.transitions l
WHERE l.step_no > 0
  AND l.from_state = 'i' AND l.to_state = ANY ('{c,e}'::"char"[]);
COMMENT ON VIEW tasker_engine.ended_runs IS 'Runs of steps that were reported or whose lease was lost, from the log.';
COMMENT ON COLUMN tasker_engine.ended_runs.task_uuid IS 'The task.';
COMMENT ON COLUMN tasker_engine.ended_runs.step_no IS 'Number of the step in its task.';
COMMENT ON COLUMN tasker_engine.ended_runs.attempt IS 'Number of the attempt.';
COMMENT ON COLUMN tasker_engine.ended_runs.state IS 'The result of the run: c complete or e error.';
COMMENT ON COLUMN tasker_engine.ended_runs.started_at IS 'When the step was claimed.';
COMMENT ON COLUMN tasker_engine.ended_runs.ended_at IS 'When it was reported, or taken from a lost worker.';
COMMENT ON COLUMN tasker_engine.ended_runs.metadata IS 'Metadata of the change that ended the run; after a failure it has error_class and the beginning of error_message, among others.';

-- A complete task knows when it ended; for any other, its last run counts.
CREATE OR REPLACE VIEW tasker_engine.task_times AS
SELECT t.task_uuid,
       t.named_task_id,
       t.state,
       t.requested_at,
       COALESCE(t.completed_at,
                (SELECT max(l.created_at) FROM tasker_engine.transitions l
                 WHERE l.task_uuid = t.task_uuid AND l.step_no > 0
                   AND l.from_state = 'i'
                   AND l.to_state = ANY ('{c,e}'::"char"[]))) AS ended_at,
       GREATEST(t.requested_at, t.run_at) AS due_at,
       t.initiator,
       t.source_system
FROM tasker_engine.tasks t;
COMMENT ON VIEW tasker_engine.task_times IS 'When each task was due and when it ended.';
COMMENT ON COLUMN tasker_engine.task_times.task_uuid IS 'The task.';
COMMENT ON COLUMN tasker_engine.task_times.named_task_id IS 'Its template.';
COMMENT ON COLUMN tasker_engine.task_times.state IS 'p pending, i in_progress, e error, c complete, x cancelled, r resolved_manually.';
COMMENT ON COLUMN tasker_engine.task_times.requested_at IS 'When the task was created.';
COMMENT ON COLUMN tasker_engine.task_times.due_at IS 'When it could start: requested_at, or run_at if later.';
COMMENT ON COLUMN tasker_engine.task_times.ended_at IS 'When it completed, otherwise when its latest run ended; NULL if none has.';
COMMENT ON COLUMN tasker_engine.task_times.initiator IS 'The person or program that asked for the task.';
COMMENT ON COLUMN tasker_engine.task_times.source_system IS 'Where the request came from.';

-- Running and failed steps that others wait for.
CREATE OR REPLACE VIEW tasker_engine.waited_for AS
SELECT s.task_uuid, s.step_no, s.named_task_id, s.state, n.name,
       cardinality(n.children) AS waiting_children,
       t.requested_at,
       (SELECT max(l.created_at) FROM tasker_engine.step_changes l
        WHERE l.task_uuid = s.task_uuid AND l.step_no = s.step_no) AS since
FROM tasker_engine.tasks t
JOIN tasker_engine.steps s ON s.task_uuid = t.task_uuid
JOIN tasker.named_tasks_named_steps n
    ON n.named_task_id = s.named_task_id AND n.step_no = s.step_no
WHERE t.state = ANY ('{p,i,e}'::"char"[])
  AND s.state = ANY ('{i,e}'::"char"[])
  AND cardinality(n.children) > 0;
COMMENT ON VIEW tasker_engine.waited_for IS 'Steps in progress or in error that have children, of tasks in state pending, in_progress or error.';
COMMENT ON COLUMN tasker_engine.waited_for.task_uuid IS 'The task.';
COMMENT ON COLUMN tasker_engine.waited_for.step_no IS 'Number of the step in its task.';
COMMENT ON COLUMN tasker_engine.waited_for.named_task_id IS 'Its template.';
COMMENT ON COLUMN tasker_engine.waited_for.state IS 'i in_progress or e error.';
COMMENT ON COLUMN tasker_engine.waited_for.name IS 'Name of the step.';
COMMENT ON COLUMN tasker_engine.waited_for.waiting_children IS 'Number of steps that need it directly.';
COMMENT ON COLUMN tasker_engine.waited_for.requested_at IS 'When the task was created.';
COMMENT ON COLUMN tasker_engine.waited_for.since IS 'When the step entered its state.';

-- What the slowest of anything are described with.
CREATE OR REPLACE VIEW tasker_engine.step_facts AS
SELECT s.task_uuid, s.step_no, s.named_task_id, s.state, s.attempts, s.retryable, n.name, n.handler, t.requested_at
FROM tasker_engine.steps s
JOIN tasker_engine.tasks t ON t.task_uuid = s.task_uuid
LEFT JOIN tasker.named_tasks_named_steps n
    ON n.named_task_id = s.named_task_id AND n.step_no = s.step_no;
COMMENT ON VIEW tasker_engine.step_facts IS 'What the analytics functions show of a step.';
COMMENT ON COLUMN tasker_engine.step_facts.task_uuid IS 'The task.';
COMMENT ON COLUMN tasker_engine.step_facts.step_no IS 'Number of the step in its task.';
COMMENT ON COLUMN tasker_engine.step_facts.named_task_id IS 'The template.';
COMMENT ON COLUMN tasker_engine.step_facts.state IS 'p pending, i in_progress, e error, c complete, x cancelled, r resolved_manually.';
COMMENT ON COLUMN tasker_engine.step_facts.attempts IS 'Number of attempts that began.';
COMMENT ON COLUMN tasker_engine.step_facts.retryable IS 'Whether a failure may be followed by another attempt.';
COMMENT ON COLUMN tasker_engine.step_facts.name IS 'Name of the step.';
COMMENT ON COLUMN tasker_engine.step_facts.handler IS 'Name of the code that runs it.';
COMMENT ON COLUMN tasker_engine.step_facts.requested_at IS 'When the task was created.';

CREATE OR REPLACE VIEW tasker_engine.system_overview AS
SELECT (SELECT count(*) FROM tasker_engine.tasks t
        WHERE tasker_engine.is_open(t.state)) AS active_tasks,
       count(DISTINCT nt.task_namespace_id) AS namespaces,
       count(DISTINCT nt.name) AS task_types
FROM tasker.named_tasks nt
WHERE EXISTS (SELECT FROM tasker_engine.tasks t WHERE t.named_task_id = nt.named_task_id);
COMMENT ON VIEW tasker_engine.system_overview IS 'The figures of get_analytics_metrics that have no period; one row.';
COMMENT ON COLUMN tasker_engine.system_overview.active_tasks IS 'Tasks in state pending or in_progress.';
COMMENT ON COLUMN tasker_engine.system_overview.namespaces IS 'Namespaces that have tasks.';
COMMENT ON COLUMN tasker_engine.system_overview.task_types IS 'Names of templates that have tasks.';
