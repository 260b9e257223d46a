-- Finalization claims: which of several external processors ends a task. The engine itself needs none: the last report
-- ends the task in its own transaction. A claim is a row of its own with the timeout its holder asked for; the primary
-- key decides between racers, and the clock is read after every wait.

CREATE OR REPLACE FUNCTION tasker_engine.check_finalizer(task_uuid uuid, processor_id text, timeout_seconds integer)
RETURNS void LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    missing text := CASE WHEN task_uuid IS NULL THEN 'task_uuid' WHEN processor_id IS NULL THEN 'processor_id'
                         WHEN timeout_seconds IS NULL THEN 'timeout_seconds' END;
BEGIN
    PERFORM tasker_engine.require_version();
    IF missing IS NOT NULL THEN
        RAISE null_value_not_allowed USING
            MESSAGE = missing || ' must not be null',
            DETAIL = format('The call gave NULL for %s.', missing),
            HINT = 'Only parameters whose default is NULL accept NULL.';
    END IF;
    IF btrim(processor_id) = '' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'processor_id must not be empty',
            DETAIL = 'The call gave an empty or blank processor_id.',
            HINT = 'Use a name that is unique for each processor, such as host-pid-random.';
    END IF;
    IF timeout_seconds <= 0 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('timeout_seconds %s is out of range', timeout_seconds),
            DETAIL = 'It must be positive.',
            HINT = 'A claim lasts at least one second.';
    END IF;
END
$$;
COMMENT ON FUNCTION tasker_engine.check_finalizer(uuid, text, integer) IS
'Refuses parameters that are not valid for a finalization claim: 22004 for NULL, 22023 for the rest.';

CREATE OR REPLACE FUNCTION tasker.claim_task_for_finalization(task_uuid uuid, processor_id text, timeout_seconds integer DEFAULT 30)
RETURNS TABLE (claimed boolean, already_claimed_by text, task_state text, message text, finalization_attempt_uuid uuid)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    wanted ALIAS FOR $1;
    processor ALIAS FOR $2;
    lasts CONSTANT interval := make_interval(secs => timeout_seconds);
    began_at CONSTANT timestamptz := clock_timestamp();
    state "char";
    holder tasker_engine.finalization_claims%ROWTYPE;
    -- The holder when the call began, and why the call is refused: for the metrics.
    known_holder text;
    refused text;
BEGIN
    PERFORM tasker_engine.require_resumed();
    PERFORM tasker_engine.require_version();
    PERFORM tasker_engine.check_finalizer(wanted, processor, timeout_seconds);
    claimed := false;
    finalization_attempt_uuid := gen_random_uuid();

    SELECT t.state INTO state FROM tasker_engine.tasks t WHERE t.task_uuid = wanted;
    IF NOT FOUND THEN
        task_state := 'not_found';
        message := 'Task not found';
        refused := 'other';
    ELSIF NOT tasker_engine.is_open(state) THEN
        task_state := tasker_engine.state_name(state);
        message := 'Task already ' || tasker_engine.state_name(state);
        refused := 'already_complete';
    ELSE
        SELECT c.execution_status INTO task_state
        FROM tasker.task_execution_contexts c WHERE c.task_uuid = wanted;
        IF NOT EXISTS (SELECT FROM tasker_engine.steps s
                       WHERE s.task_uuid = wanted AND s.state IN ('c', 'e', 'x', 'r')) THEN
            message := 'Task has no completed or failed steps';
            refused := 'not_ready';
        ELSE
            SELECT c.processor_id INTO known_holder FROM tasker_engine.finalization_claims c
            WHERE c.task_uuid = wanted AND c.expires_at > began_at;
            LOOP
                INSERT INTO tasker_engine.finalization_claims AS c (task_uuid, processor_id, claimed_at, expires_at)
                VALUES (wanted, processor, clock_timestamp(), clock_timestamp() + lasts)
                ON CONFLICT DO NOTHING;
                IF FOUND THEN
                    claimed := true;
                    message := 'Successfully claimed for finalization';
                    EXIT;
                END IF;
                SELECT c.* INTO holder FROM tasker_engine.finalization_claims c WHERE c.task_uuid = wanted FOR UPDATE;
                -- Released between the two statements: try again.
                CONTINUE WHEN NOT FOUND;
                IF holder.expires_at > clock_timestamp() AND holder.processor_id <> processor THEN
                    already_claimed_by := holder.processor_id;
                    message := 'Task already claimed for finalization';
                    refused := CASE WHEN holder.processor_id = known_holder THEN 'already_claimed' ELSE 'race_condition' END;
                    EXIT;
                END IF;
                claimed := true;
                message := CASE WHEN holder.expires_at > clock_timestamp() THEN 'Claim extended'
                                ELSE 'Successfully claimed for finalization' END;
                UPDATE tasker_engine.finalization_claims c
                SET processor_id = processor, claimed_at = clock_timestamp(), expires_at = clock_timestamp() + lasts
                WHERE c.task_uuid = wanted;
                EXIT;
            END LOOP;
        END IF;
    END IF;
    IF claimed THEN
        already_claimed_by := processor;
    END IF;

    INSERT INTO tasker_engine.finalization_attempts
        (task_uuid, finalization_attempt_uuid, attempted_at, processor_id, claimed, already_claimed_by, task_state, message)
    VALUES (wanted, finalization_attempt_uuid, clock_timestamp(), processor, claimed, already_claimed_by, task_state, message);
    PERFORM tasker_engine.count_finalization('claim', CASE WHEN claimed THEN 'success' ELSE refused END, began_at);
    RETURN NEXT;
END
$$;
COMMENT ON FUNCTION tasker.claim_task_for_finalization(uuid, text, integer) IS
'Claims the right to end a task, for a time. Claiming again extends the own claim; one that has ended is taken over. Every call is recorded. 22023 for an empty processor_id or a timeout that is not positive. Rule: docs/concepts.md#finalization.
processor_id: Name of the caller, unique per processor; not empty.
timeout_seconds: Seconds from now until the claim ends; positive.
claimed: Whether the caller has the claim now.
already_claimed_by: The processor that has the claim now; NULL if none has.
task_state: The execution status of an open task, the state of an ended one, or not_found.
message: The answer in words.
finalization_attempt_uuid: Names the record of this call.';
GRANT EXECUTE ON FUNCTION tasker.claim_task_for_finalization(uuid, text, integer) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker.extend_finalization_claim(task_uuid uuid, processor_id text, timeout_seconds integer DEFAULT 30)
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    began_at CONSTANT timestamptz := clock_timestamp();
BEGIN
    PERFORM tasker_engine.require_resumed();
    PERFORM tasker_engine.check_finalizer($1, $2, $3);
    UPDATE tasker_engine.finalization_claims c
    SET claimed_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => timeout_seconds)
    WHERE c.task_uuid = $1 AND c.processor_id = $2 AND c.expires_at > clock_timestamp();
    IF FOUND THEN
        PERFORM tasker_engine.count_finalization('extend', 'success', began_at);
        RETURN true;
    END IF;
    PERFORM tasker_engine.require_task($1);
    PERFORM tasker_engine.count_finalization('extend', 'failed', began_at);
    RETURN false;
END
$$;
COMMENT ON FUNCTION tasker.extend_finalization_claim(uuid, text, integer) IS
'Extends the caller''s live claim; true if it has one, otherwise false. 22023 as in claim_task_for_finalization, P0002 for an unknown task.
processor_id: Name of the caller, unique per processor; not empty.
timeout_seconds: Seconds from now until the claim ends; positive.';
GRANT EXECUTE ON FUNCTION tasker.extend_finalization_claim(uuid, text, integer) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker.release_finalization_claim(task_uuid uuid, processor_id text)
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    began_at CONSTANT timestamptz := clock_timestamp();
BEGIN
    PERFORM tasker_engine.require_resumed();
    PERFORM tasker_engine.check_finalizer($1, $2, 1);
    DELETE FROM tasker_engine.finalization_claims c WHERE c.task_uuid = $1 AND c.processor_id = $2;
    IF FOUND THEN
        PERFORM tasker_engine.count_finalization('release', 'success', began_at);
        RETURN true;
    END IF;
    PERFORM tasker_engine.require_task($1);
    PERFORM tasker_engine.count_finalization('release', 'not_owned', began_at);
    RETURN false;
END
$$;
COMMENT ON FUNCTION tasker.release_finalization_claim(uuid, text) IS
'Gives up the caller''s claim; true if it had one, otherwise false. 22023 as in claim_task_for_finalization, P0002 for an unknown task.
processor_id: Name of the caller, unique per processor; not empty.';
GRANT EXECUTE ON FUNCTION tasker.release_finalization_claim(uuid, text) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker.finalize_task(task_uuid uuid)
RETURNS TABLE (action text, completion_percentage numeric, total_steps integer, health_status text, reason text)
AS 'MODULE_PATHNAME', 'finalize_task' LANGUAGE c VOLATILE SECURITY DEFINER ROWS 1
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.finalize_task(uuid) IS
'Ends the task if nothing of it can run any more, as every last report does. Needs no claim. P0002 for an unknown task. Rule: docs/concepts.md#finalization.
action: completed, failed, pending (something can still run) or no_action (it had ended before).
completion_percentage: Completed steps of all steps, 0.00 to 100.00, afterwards.
total_steps: All steps of the task.
health_status: blocked, recovering or healthy, afterwards.
reason: The execution status afterwards, or Task already <state>.';
GRANT EXECUTE ON FUNCTION tasker.finalize_task(uuid) TO tasker_operator;
