-- The execution context of a task: its execution status, and what should be done about it. The rules are
-- crates/rules/src/engine/readiness.rs.

CREATE OR REPLACE VIEW tasker.task_execution_contexts AS
SELECT t.task_uuid, c.named_task_id, c.status, c.total_steps, c.pending_steps, c.in_progress_steps,
       c.completed_steps, c.failed_steps, c.ready_steps, c.execution_status, c.recommended_action,
       c.completion_percentage, c.health_status, c.cancelled_steps
FROM tasker_engine.tasks t
CROSS JOIN LATERAL tasker.get_task_execution_context(t.task_uuid) c;
COMMENT ON VIEW tasker.task_execution_contexts IS
'The execution status of each task, and what should be done. The rows of get_task_execution_context.';
GRANT SELECT ON tasker.task_execution_contexts TO tasker_reader;

-- ---- what a context tells -------------------------------------------------------------------------------------------

CREATE OR REPLACE VIEW tasker.task_execution_details AS
SELECT d.*,
       jsonb_build_object(
           'total_steps', d.total_steps, 'completed', d.completed_steps, 'pending', d.pending_steps,
           'in_progress', d.in_progress_steps, 'failed', d.failed_steps, 'cancelled', d.cancelled_steps,
           'ready', d.ready_steps, 'completion_percentage', d.completion_percentage, 'status', d.execution_status,
           'health', d.health_status, 'recommended_action', d.recommended_action,
           'progress_details', jsonb_build_object(
               'completed_ratio', format('%s/%s', d.completed_steps, d.total_steps),
               'completion_percentage', format('%s%%', d.completion_percentage),
               'remaining_steps', d.total_steps - d.completed_steps,
               'failed_steps', d.failed_steps, 'ready_steps', d.ready_steps)) AS workflow_summary,
       jsonb_build_object(
           'action', d.recommended_action,
           'description', CASE d.execution_status
               WHEN 'has_ready_steps' THEN format('%s of %s steps wait for a worker', d.ready_steps, d.total_steps)
               WHEN 'processing' THEN format('workers run %s of %s steps', d.in_progress_steps, d.total_steps)
               WHEN 'blocked_by_failures' THEN format(
                   'nothing can run any more: %s failed, %s cancelled', d.failed_steps, d.cancelled_steps)
               WHEN 'resolved_manually' THEN 'an operator declared the task done'
               WHEN 'cancelled' THEN 'the task is cancelled'
               WHEN 'all_complete' THEN CASE WHEN d.status = 'complete' THEN 'the task is complete'
                                             ELSE format('all %s steps are complete', d.total_steps) END
               ELSE 'a retry or a later start is scheduled' END,
           'urgency', CASE WHEN d.recommended_action IS NULL THEN 'none' ELSE CASE d.execution_status
               WHEN 'has_ready_steps' THEN 'high' WHEN 'processing' THEN 'low' WHEN 'blocked_by_failures' THEN 'critical'
               WHEN 'all_complete' THEN 'medium' ELSE 'low' END END,
           'can_proceed', d.can_make_progress) AS next_action_details
FROM (
    SELECT c.*,
           c.execution_status = ANY (ARRAY['has_ready_steps', 'processing']) AS has_work_to_do,
           c.execution_status = 'blocked_by_failures' AS is_blocked,
           c.execution_status = 'all_complete' AS is_complete,
           c.health_status = 'healthy' AS is_healthy,
           c.health_status = 'blocked' AS needs_intervention,
           c.ready_steps > 0 AS can_make_progress,
           c.execution_status = ANY (ARRAY['processing', 'waiting_for_dependencies'])
               AS should_reenqueue,
           c.execution_status = ANY (ARRAY['has_ready_steps', 'blocked_by_failures'])
               AS needs_immediate_action
    FROM tasker.task_execution_contexts c
) d;
COMMENT ON VIEW tasker.task_execution_details IS
'The execution context of each task with derived columns: yes or no questions, a summary, the next action.';
COMMENT ON COLUMN tasker.task_execution_details.has_work_to_do IS 'Whether steps are ready or run.';
COMMENT ON COLUMN tasker.task_execution_details.is_blocked IS 'Whether nothing can run any more because of failed or cancelled steps.';
COMMENT ON COLUMN tasker.task_execution_details.is_complete IS 'Whether the task is complete, or all its steps are.';
COMMENT ON COLUMN tasker.task_execution_details.is_healthy IS 'Whether no step of it is in error and it is not blocked, or it has ended otherwise than in error.';
COMMENT ON COLUMN tasker.task_execution_details.needs_intervention IS 'Whether it needs an operator to continue.';
COMMENT ON COLUMN tasker.task_execution_details.can_make_progress IS 'Whether a worker could take a step now.';
COMMENT ON COLUMN tasker.task_execution_details.should_reenqueue IS
'Whether it continues by itself later: when a worker reports, or a scheduled time comes.';
COMMENT ON COLUMN tasker.task_execution_details.needs_immediate_action IS 'Whether a worker or an operator has something to do now.';
COMMENT ON COLUMN tasker.task_execution_details.workflow_summary IS
'{total_steps, completed, pending, in_progress, failed, cancelled, ready, completion_percentage, status, health,
recommended_action, progress_details{completed_ratio "2/4", completion_percentage "50.00%", remaining_steps, failed_steps,
ready_steps}}.';
COMMENT ON COLUMN tasker.task_execution_details.next_action_details IS
'{action, description, urgency, can_proceed}; urgency is none when nothing is left to do, critical when blocked, high with ready
steps, medium when all are complete, else low.';
GRANT SELECT ON tasker.task_execution_details TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.task_workflow_summary(task_uuid uuid)
RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE
    RETURN tasker_engine.of_task(
        (SELECT d.workflow_summary FROM tasker.task_execution_details d
         WHERE d.task_uuid = $1), $1);
COMMENT ON FUNCTION tasker.task_workflow_summary(uuid) IS
'workflow_summary of tasker.task_execution_details for one task. P0002 for an unknown task, 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.task_workflow_summary(uuid) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.task_next_action(task_uuid uuid)
RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE
    RETURN tasker_engine.of_task(
        (SELECT d.next_action_details FROM tasker.task_execution_details d
         WHERE d.task_uuid = $1), $1);
COMMENT ON FUNCTION tasker.task_next_action(uuid) IS
'next_action_details of tasker.task_execution_details for one task: what to do, how urgent it is, whether it can go on. P0002
for an unknown task, 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.task_next_action(uuid) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.all_steps_complete(task_uuid uuid)
RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
    RETURN tasker_engine.of_task(
        (SELECT c.completed_steps = c.total_steps
         FROM tasker.get_task_execution_context($1) c), $1);
COMMENT ON FUNCTION tasker.all_steps_complete(uuid) IS
'Whether every step of a task is complete or resolved_manually. P0002 for an unknown task, 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.all_steps_complete(uuid) TO tasker_reader;
