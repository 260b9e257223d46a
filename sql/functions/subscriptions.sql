-- Files of subscriptions.

CREATE OR REPLACE FUNCTION tasker.load_subscriptions(yaml text, handlers jsonb DEFAULT '{}')
RETURNS TABLE (severity text, path text, message text)
AS 'MODULE_PATHNAME', 'load_subscriptions' LANGUAGE c VOLATILE ROWS 10 SET search_path = pg_catalog, pg_temp
SET work_mem = '4MB'; -- the rows are no temporary file, which temp_file_limit could refuse
COMMENT ON FUNCTION tasker.load_subscriptions(text, jsonb) IS
'Makes the subscribers of a file, or changes them: subscriptions.<name> with events, class and enabled. Returns what is wrong with the file. A subscription with an error is left out, and keeps no other out. enabled false pauses its subscriber and true resumes it; without the key it stays as it is. A subscriber that the file does not name stays, too. 22004 without a text, 22023 if handlers is no object. Rule: docs/events.md#files-of-subscriptions.
yaml: The content of the file, YAML 1.2 or JSON.
handlers: The functions inside the database to which the classes of the file are mapped, as in {"AuditSubscriber": "sql:shop.audit"}. A subscription of any other class is polled, under its name.
severity: error: the subscription is left out; warning: it is loaded.
path: Where in the file, such as subscriptions.audit.events[0]; empty for the whole file.
message: What is wrong, in words.';
GRANT EXECUTE ON FUNCTION tasker.load_subscriptions(text, jsonb) TO tasker_operator;
