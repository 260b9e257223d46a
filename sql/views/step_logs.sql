-- The logs of runs.

CREATE OR REPLACE VIEW tasker.step_logs AS
SELECT l.task_uuid, tasker.step_uuid(l.task_uuid, l.step_no) AS step_uuid, l.claim_number, l.attempt::integer AS attempt, l.line, l.at,
       l.level, l.message, coalesce(l.fields, '{}') AS fields
FROM tasker_engine.step_logs l;
COMMENT ON VIEW tasker.step_logs IS 'Lines of the logs of runs that workers sent with their reports (logs in report_steps): at most 1,000 lines and 256 KB per claim, and one more that says what was cut. They go with their task. Values that tasker.filter_parameters hides are masked. Rule: docs/logging.md#logs-of-steps.';
COMMENT ON COLUMN tasker.step_logs.claim_number IS 'Number of the claim whose run it is.';
COMMENT ON COLUMN tasker.step_logs.attempt IS 'Number of the attempt.';
COMMENT ON COLUMN tasker.step_logs.line IS 'Number of the line in the log of the run, from 1.';
COMMENT ON COLUMN tasker.step_logs.at IS 'When the worker wrote the line; that of the report if it did not say.';
COMMENT ON COLUMN tasker.step_logs.level IS 'trace, debug, info, warn, error or fatal.';
COMMENT ON COLUMN tasker.step_logs.message IS 'What it says.';
COMMENT ON COLUMN tasker.step_logs.fields IS 'More that it says, a JSON object.';
GRANT SELECT ON tasker.step_logs TO tasker_reader;
