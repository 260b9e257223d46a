-- What workers' reports say of the logs of runs.

-- Insert-only; rows leave with their task. Its key serves a task, a step and a run.
CREATE TABLE tasker_engine.step_logs (
    task_uuid uuid NOT NULL,
    at timestamptz NOT NULL,
    claim_number integer NOT NULL,
    line integer NOT NULL,
    step_no smallint NOT NULL,
    attempt smallint NOT NULL,
    level text NOT NULL,
    message text NOT NULL,
    fields jsonb,
    PRIMARY KEY (task_uuid, step_no, claim_number, line)
);
COMMENT ON TABLE tasker_engine.step_logs IS 'Lines of the logs of runs, as reports brought them; tasker.step_logs shows it. Insert-only.';
COMMENT ON COLUMN tasker_engine.step_logs.task_uuid IS 'The task.';
COMMENT ON COLUMN tasker_engine.step_logs.at IS 'When the worker wrote the line; that of the report if it did not say.';
COMMENT ON COLUMN tasker_engine.step_logs.claim_number IS 'Number of the claim whose run it is.';
COMMENT ON COLUMN tasker_engine.step_logs.line IS 'Number of the line in the log of the run, from 1.';
COMMENT ON COLUMN tasker_engine.step_logs.step_no IS 'Number of the step in its task.';
COMMENT ON COLUMN tasker_engine.step_logs.attempt IS 'Number of the attempt.';
COMMENT ON COLUMN tasker_engine.step_logs.level IS 'trace, debug, info, warn, error or fatal.';
COMMENT ON COLUMN tasker_engine.step_logs.message IS 'What it says.';
COMMENT ON COLUMN tasker_engine.step_logs.fields IS 'More that it says, a JSON object; NULL: nothing.';
