-- What tells sessions that the configuration has changed.

CREATE OR REPLACE FUNCTION tasker_engine.config_changed() RETURNS trigger
AS 'MODULE_PATHNAME', 'config_changed' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.config_changed() IS
'Tells every session and background process that it must read tasker_engine.config_files and tasker_engine.config_state again.';
