-- Reports of workers.

CREATE OR REPLACE FUNCTION tasker.complete_step(step_uuid uuid, claim_number integer, results jsonb DEFAULT '{}')
RETURNS text AS 'MODULE_PATHNAME', 'complete_step' LANGUAGE c VOLATILE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.complete_step(uuid, integer, jsonb) IS
'Reports that a claimed step is done, releases the steps behind it and ends the task with its last step. Returns the state of the step, complete; or duplicate: this report was accepted before, and nothing changed. 55006 for a stale report and for a role that is not allowed to report the step, P0002 for an unknown step, 23514 for results that are not an object or break the results_schema, 54000 for results above tasker.max_results_size or too long as a text, 54001 for results whose check takes too much work (in report_steps all are invalid). Rules: docs/concepts.md#leases-and-fencing, docs/concepts.md#who-may-report.
claim_number: The number that came with the claim.
results: What the step produced, a JSON object; the steps behind it can read it.';
GRANT EXECUTE ON FUNCTION tasker.complete_step(uuid, integer, jsonb) TO tasker_worker, tasker_operator;

CREATE OR REPLACE FUNCTION tasker.fail_step(
    step_uuid uuid, claim_number integer, error_message text, error_class text DEFAULT NULL,
    retryable boolean DEFAULT true, retry_after interval DEFAULT NULL, backtrace text[] DEFAULT NULL,
    results jsonb DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'fail_step' LANGUAGE c VOLATILE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.fail_step(uuid, integer, text, text, boolean, interval, text[], jsonb) IS
'Reports that a run of a claimed step failed. Returns the state of the step, error; or duplicate: this report was accepted before, and nothing changed. The step runs again after its backoff if it is retryable and attempts are left; otherwise the failure is permanent, and the task ends in error when nothing else of it can run. 55006 for a stale report and for a role that is not allowed to report the step, P0002 for an unknown step, 23514 for results that are not an object. Rules: docs/concepts.md#retry, docs/concepts.md#who-may-report.
claim_number: The number that came with the claim.
error_message: What happened, in words; kept in the results and in the log.
error_class: What kind of error; kept in the results and in the log.
retryable: False: no other attempt, whatever the template says.
retry_after: When to try again instead of the backoff; capped by tasker.max_backoff_seconds, 0 is at once.
backtrace: Where it happened, a line per element; kept in the results.
results: More to keep in the results, a JSON object.';
GRANT EXECUTE ON FUNCTION tasker.fail_step(uuid, integer, text, text, boolean, interval, text[], jsonb) TO tasker_worker, tasker_operator;

CREATE OR REPLACE FUNCTION tasker.report_steps(worker_id text, reports jsonb)
RETURNS TABLE (step_uuid uuid, outcome text)
AS 'MODULE_PATHNAME', 'report_steps' LANGUAGE c VOLATILE ROWS 10
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.report_steps(text, jsonb) IS
'Takes reports of many steps in one transaction. One row per element, in order; a bad element never spoils the others. Of the same step twice the first wins. 22023 for reports that are not an array. Rules: docs/concepts.md#leases-and-fencing, docs/concepts.md#who-may-report.
reports: A JSON array of {step_uuid, claim_number, status, results, error_message, error_class, retryable, retry_after_seconds, backtrace, reason, events, logs}; status is complete or error, what is left out has the default of complete_step or fail_step. claim_number and retry_after_seconds are JSON numbers (1, 1.0 and 1e0 are the same), retryable is true or false; an element with a value of another type, or with a key that can only be a misspelled one of these, is invalid, and a WARNING names the key. Status released gives the step back without counting an attempt, to be ready again after retry_after_seconds (0), with a reason for the log. events is an array of up to 1,000 {name, payload}: they are published, about the step, if the report is accepted; one that publish_event would refuse is left out, and refused_events in the metadata of the step''s log row says why. logs is an array of lines {at, level, message, fields}, or of texts: they are stored in tasker.step_logs if the report is accepted, at most 1,000 and 256 KB; what cannot be read harms nothing (docs/logging.md#logs-of-steps).
step_uuid: The step; NULL where it cannot be read.
outcome: The step''s new state, or released, or duplicate (reported before), stale (another claim, or the claim of a role for which the caller is not allowed to report; nothing changed), unknown_step or invalid.';
GRANT EXECUTE ON FUNCTION tasker.report_steps(text, jsonb) TO tasker_worker, tasker_operator;
