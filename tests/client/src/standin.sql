DO $do$ BEGIN
IF to_regclass('tasker.workflow_steps') IS NULL THEN
CREATE FUNCTION harness.st("char") RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT CASE $1 WHEN 'p' THEN 'pending' WHEN 'i' THEN 'in_progress' WHEN 'e' THEN 'error' WHEN 'c' THEN 'complete' WHEN 'x' THEN 'cancelled' WHEN 'r' THEN 'resolved_manually' END $$;
CREATE FUNCTION harness.su(uuid, int) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$ SELECT (left(replace($1::text,'-',''),28) || lpad(to_hex($2),4,'0'))::uuid $$;
CREATE VIEW tasker.workflow_steps AS SELECT harness.su(s.task_uuid, s.step_no) step_uuid, s.task_uuid, s.step_no, n.name, harness.st(s.state) state, s.attempts::int attempts, s.retry_limit::int retry_limit, s.retryable, s.results, s.claim_number, s.available_at
 FROM tasker_engine.steps s JOIN tasker.named_tasks_named_steps n USING (named_task_id, step_no);
CREATE VIEW tasker.task_transitions AS SELECT t.id, t.task_uuid, harness.st(from_state) from_state, harness.st(to_state) to_state, created_at, metadata FROM tasker_engine.transitions t WHERE step_no = 0;
CREATE VIEW tasker.workflow_step_transitions AS SELECT t.id, harness.su(task_uuid, step_no) step_uuid, harness.st(from_state) from_state, harness.st(to_state) to_state, created_at, metadata FROM tasker_engine.transitions t WHERE step_no > 0;
END IF;
IF to_regproc('tasker.get_task_execution_context') IS NULL THEN
CREATE FUNCTION tasker.get_task_execution_contexts_batch(task_uuids uuid[]) RETURNS TABLE (task_uuid uuid, status text) LANGUAGE sql AS $$ SELECT t.task_uuid, harness.st(state) FROM tasker_engine.tasks t WHERE t.task_uuid = ANY ($1) $$;
CREATE FUNCTION tasker.get_task_execution_context(task_uuid uuid) RETURNS TABLE (task_uuid uuid, status text) LANGUAGE sql AS $$ SELECT t.task_uuid, harness.st(state) FROM tasker_engine.tasks t WHERE t.task_uuid = $1 $$;
END IF;
END $do$;
