-- Rows that contradict each other: found in one snapshot, repaired task by task. work_mem is pinned, so that what is sorted goes
-- to disk and not into memory, whatever the session allows.

CREATE OR REPLACE FUNCTION tasker.check_integrity()
RETURNS TABLE (problem text, task_uuid uuid, step_uuid uuid, action text)
AS 'MODULE_PATHNAME', 'check_integrity' LANGUAGE c STABLE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp SET work_mem = '16MB';
COMMENT ON FUNCTION tasker.check_integrity() IS
'Finds every disagreement between steps, queue entries, claims, tasks and the log; no row: there is none. Reads all of them in one snapshot and locks nothing: what is in flight is not taken for a fault, and no other session waits. A million steps take some seconds; it can be cancelled. Rule: docs/integrity.md.
problem: missing_queue_entry (a step is ready or will be at a known time, and no entry leads a claim to it), double_queue_entry, wrong_queue_entry (in another queue or under another handler), early_queue_entry (the parents are not done), orphaned_queue_entry (its step is gone), step_without_claim (in progress, and no claim holds it), wrong_claim (it counts fewer steps than it holds), held_step (its task is open, and it waits until the task is taken up), unheld_step (its task has ended, and it could start), wrong_open_parents, wrong_unreachable, not_watched, wrong_open_leaves (what the engine counts and marks to know when steps are ready and tasks end), task_not_ended, task_ended_early, wrong_rare_state, wrong_log (its last row leads to another state than that of the task or step), wrong_steps (not those of the template), unknown_state, steps_without_task or log_without_task.
task_uuid: The task.
step_uuid: The step; NULL if the task itself is meant.
action: What repair_integrity(dry_run => false) would do; left as it is: only a backup has what is missing.';
GRANT EXECUTE ON FUNCTION tasker.check_integrity() TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker_engine.find_and_repair()
RETURNS TABLE (problem text, task_uuid uuid, step_uuid uuid, action text)
AS 'MODULE_PATHNAME', 'find_and_repair' LANGUAGE c VOLATILE ROWS 10
SET search_path = pg_catalog, pg_temp SET work_mem = '16MB';
COMMENT ON FUNCTION tasker_engine.find_and_repair() IS
'The work of repair_integrity, with the snapshot of the calling query.
problem: as in check_integrity.
task_uuid: the task.
step_uuid: the step.
action: what was done.';

CREATE OR REPLACE FUNCTION tasker.repair_integrity(dry_run boolean DEFAULT true)
RETURNS TABLE (problem text, task_uuid uuid, step_uuid uuid, action text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM tasker_engine.required($1, 'dry_run');
    IF $1 THEN
        RETURN QUERY SELECT c.problem, c.task_uuid, c.step_uuid, c.action FROM tasker.check_integrity() c;
    ELSE
        -- What is not loaded yet is no disagreement; resume_after_restore repairs what is left.
        PERFORM tasker_engine.require_resumed(or_new => true);
        -- Of two repairs the second waits for the first and finds what it has left. Besides, only VACUUM waits for this lock.
        LOCK TABLE tasker_engine.queue_entries IN SHARE UPDATE EXCLUSIVE MODE;
        RETURN QUERY SELECT r.problem, r.task_uuid, r.step_uuid, r.action FROM tasker_engine.find_and_repair() r;
    END IF;
END
$$;
COMMENT ON FUNCTION tasker.repair_integrity(boolean) IS
'Finds what check_integrity finds, and repairs it unless dry_run; no row: nothing was wrong. Called again it finds only what it had to leave. Works beside claims and reports: it locks a task that it repairs as cancel_task does, one after the other until the transaction ends, and waits for reports in flight about it. For queue entries it locks nothing. 25006 on a standby, 25001 under another isolation level than READ COMMITTED, 22004 for NULL, 55000 without dry_run in a restored database: resume_after_restore repairs what it repairs. Rule: docs/integrity.md.
dry_run: True: only says what is wrong, as check_integrity does.
problem: As in check_integrity.
task_uuid: The task.
step_uuid: The step; NULL if the task itself is meant.
action: What would be done, or with dry_run => false, what was done.';
GRANT EXECUTE ON FUNCTION tasker.repair_integrity(boolean) TO tasker_admin;

CREATE OR REPLACE FUNCTION tasker_engine.check_page(after_uuid uuid) RETURNS TABLE (last_uuid uuid, found bigint, example text)
AS 'MODULE_PATHNAME', 'check_page' LANGUAGE c STABLE ROWS 1 SET search_path = pg_catalog, pg_temp SET work_mem = '16MB';
COMMENT ON FUNCTION tasker_engine.check_page(uuid) IS
'Checks the next 5,000 tasks, fewer if they have more than 50,000 steps, and the first 1,000 claims, as check_integrity does.
after_uuid: the last task that was checked.
last_uuid: the last task that is checked now; NULL: there is none behind it.
found: how many disagreements.
example: the first of them.';

CREATE OR REPLACE FUNCTION tasker_engine.duty_integrity() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before tasker_engine.integrity_checks;
    page record;
    ends boolean;
    found bigint;
    example text;
BEGIN
    SELECT c.* INTO before FROM tasker_engine.integrity_checks c;
    SELECT p.* INTO page FROM tasker_engine.check_page(coalesce(before.checked_to, '00000000-0000-0000-0000-000000000000')) p;
    ends := page.last_uuid IS NULL;
    found := coalesce(before.found, 0) + page.found;
    example := coalesce(before.example, page.example);
    -- Where nothing is new nothing is written.
    INSERT INTO tasker_engine.integrity_checks AS c (checked_to, found, example, found_before, example_before)
    SELECT page.last_uuid, CASE WHEN ends THEN 0 ELSE found END, CASE WHEN NOT ends THEN example END,
           CASE WHEN ends THEN found ELSE coalesce(before.found_before, 0) END,
           CASE WHEN ends THEN example ELSE before.example_before END
    WHERE before.one OR NOT ends OR found > 0
    ON CONFLICT ON CONSTRAINT integrity_checks_pkey DO UPDATE
    SET checked_to = EXCLUDED.checked_to, found = EXCLUDED.found, example = EXCLUDED.example,
        found_before = EXCLUDED.found_before, example_before = EXCLUDED.example_before
    WHERE (c.checked_to, c.found, c.example, c.found_before, c.example_before) IS DISTINCT FROM
          (EXCLUDED.checked_to, EXCLUDED.found, EXCLUDED.example, EXCLUDED.found_before, EXCLUDED.example_before);
    RETURN 0;
END
$$;
COMMENT ON FUNCTION tasker_engine.duty_integrity() IS 'Checks the next tasks as check_integrity does, round after round, and remembers what it finds for health_status; returns 0, because it changes nothing.';
