-- Events. Their names, synonyms and payloads are a constant list: crates/rules/src/events/catalog.rs.

CREATE OR REPLACE FUNCTION tasker_engine.event_catalogue()
RETURNS TABLE (name text, event_group text, fires_when text, payload_schema jsonb, synonym_of text)
AS 'MODULE_PATHNAME', 'event_catalogue' LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 100
SET search_path = pg_catalog, pg_temp
SET work_mem = '4MB'; -- the rows are no temporary file, which temp_file_limit could refuse
COMMENT ON FUNCTION tasker_engine.event_catalogue() IS 'The events of the engine and their other names; columns as in tasker.event_catalog.';
GRANT EXECUTE ON FUNCTION tasker_engine.event_catalogue() TO tasker_reader;
