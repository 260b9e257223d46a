-- Facts of the export of telemetry: events of the group export. The rules are crates/rules/src/events/exports.rs.

CREATE OR REPLACE FUNCTION tasker.record_export(exporter text, event text, details jsonb DEFAULT '{}')
RETURNS void AS 'MODULE_PATHNAME', 'record_export' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.record_export(text, text, jsonb) IS
'Tells subscribers what a program does that exports telemetry, as an event tasker.telemetry.*. Nothing is told, and nothing is raised, if the exporter said the same within a minute (of a plugin_ event: within ten seconds), if a hundred such events were told within a minute, on a standby, in a READ ONLY transaction, and in a database in which no work is done. 22004 for NULL; 22023 for an unknown event, an exporter without a name or with more than 128 characters, and details that are no object or larger than 4,096 bytes. Rule: docs/events.md#export-of-telemetry.
exporter: Name of the program and of what it exports.
event: export_requested, export_completed, export_failed, plugin_registered (the exporter starts) or plugin_unregistered (it ends).
details: What else to tell. format, duration, size_bytes, metrics_count, error_message, exception_class and retryable are keys of the payload where its event has them; all others are in its key details.';
GRANT EXECUTE ON FUNCTION tasker.record_export(text, text, jsonb) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.note_export(format text, details jsonb)
RETURNS void AS 'MODULE_PATHNAME', 'note_export' LANGUAGE c VOLATILE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.note_export(text, jsonb) IS
'Tells that export_metrics was asked for and is done, as record_export does.';

CREATE OR REPLACE FUNCTION tasker.processor_seconds() RETURNS double precision
AS 'MODULE_PATHNAME', 'processor_seconds' LANGUAGE c VOLATILE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.processor_seconds() IS
'Seconds of processor time that this session has used. An exporter compares them with the clock: where it gets less of a processor than it could use, it gives way.';
GRANT EXECUTE ON FUNCTION tasker.processor_seconds() TO tasker_reader;
