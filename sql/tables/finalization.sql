-- Claims of external finalizers; the engine itself finalizes inside the report and never looks here.
CREATE TABLE tasker_engine.finalization_claims (
    task_uuid uuid PRIMARY KEY,
    processor_id text NOT NULL,
    claimed_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE tasker_engine.finalization_claims IS 'The external processor that has the right to end a task, and until when.';

CREATE TABLE tasker_engine.finalization_attempts (
    task_uuid uuid NOT NULL,
    finalization_attempt_uuid uuid NOT NULL,
    attempted_at timestamptz NOT NULL,
    processor_id text NOT NULL,
    claimed boolean NOT NULL,
    already_claimed_by text,
    task_state text,
    message text,
    PRIMARY KEY (task_uuid, finalization_attempt_uuid)
);
COMMENT ON TABLE tasker_engine.finalization_attempts IS 'Every call of claim_task_for_finalization with its answer.';
