-- The outcome of one task, for psql -v task_uuid=...
\pset pager off
\pset null ''
\pset format wrapped
\pset columns 150
\pset footer off

SELECT status, total_steps, completed_steps, failed_steps, completion_percentage, execution_status, health_status
  FROM tasker.get_task_execution_context(:'task_uuid');

SELECT name AS step, state, attempts, results
  FROM tasker.workflow_steps
 WHERE task_uuid = :'task_uuid'
 ORDER BY step_no;

\pset format unaligned
\pset tuples_only on
SELECT tasker.task_diagram(:'task_uuid');
