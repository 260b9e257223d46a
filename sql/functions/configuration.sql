-- The configuration: files in, values in force out. src/functions/configuration.rs checks, crates/rules/src/configuration decides.

CREATE OR REPLACE FUNCTION tasker.load_config(
    component text, toml text, environment text DEFAULT NULL, force boolean DEFAULT false)
RETURNS TABLE (severity text, path text, message text)
AS 'MODULE_PATHNAME', 'load_config' LANGUAGE c VOLATILE ROWS 10 SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.load_config(text, text, text, boolean) IS 'Loads a file of the configuration in place of the one that was loaded before, and returns what is wrong with it or doubtful. With an error nothing changes, and the call does not raise: look at the rows. Each session has the change with its next call. 22004 without component or toml, 22023 for a component or environment that cannot be, 25006 on a standby. Rule: docs/configuration.md.
component: auth, circuit_breakers, database, engine, executor_pools, orchestration, pgmq, query_cache, system or telemetry.
toml: The text of the file.
environment: The environment that it is for; NULL: the base file, which holds for all.
force: Whether errors that can be forced are warnings.
severity: error or warning.
path: The file with line and column: base/engine.toml:3:1.
message: The key and what is wrong.';
GRANT EXECUTE ON FUNCTION tasker.load_config(text, text, text, boolean) TO tasker_admin;

CREATE OR REPLACE FUNCTION tasker.load_config_set(files jsonb, force boolean DEFAULT false)
RETURNS TABLE (severity text, path text, message text)
AS 'MODULE_PATHNAME', 'load_config_set' LANGUAGE c VOLATILE ROWS 10 SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.load_config_set(jsonb, boolean) IS 'Loads several files as one change, and checks them together with those that stay. With an error in any of them nothing changes. Of two loaders at once the second waits, and then checks against what the first has loaded. Errors as load_config has them. Rule: docs/configuration.md.
files: An object from path to text: base/engine.toml, environments/test/engine.toml; null removes the file. Files that it does not name stay.
force: Whether errors that can be forced are warnings.
severity: error or warning.
path: The file with line and column; empty if it is about several files.
message: The key and what is wrong.';
GRANT EXECUTE ON FUNCTION tasker.load_config_set(jsonb, boolean) TO tasker_admin;

CREATE OR REPLACE FUNCTION tasker.validate_config(
    component text, toml text, environment text DEFAULT NULL, force boolean DEFAULT false)
RETURNS TABLE (severity text, path text, message text)
AS 'MODULE_PATHNAME', 'validate_config' LANGUAGE c VOLATILE ROWS 10 SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.validate_config(text, text, text, boolean) IS 'What load_config would return; nothing changes. Works on a standby too. Rule: docs/configuration.md.
component: As for load_config.
toml: The text of the file.
environment: The environment that it is for; NULL: the base file.
force: Whether errors that can be forced are warnings.
severity: error or warning.
path: The file with line and column.
message: The key and what is wrong.';
GRANT EXECUTE ON FUNCTION tasker.validate_config(text, text, text, boolean) TO tasker_admin;

CREATE OR REPLACE FUNCTION tasker.validate_config(files jsonb, force boolean DEFAULT false)
RETURNS TABLE (severity text, path text, message text)
AS 'MODULE_PATHNAME', 'validate_config' LANGUAGE c VOLATILE ROWS 10 SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.validate_config(jsonb, boolean) IS 'What load_config_set would return; nothing changes. Works on a standby too. Rule: docs/configuration.md.
files: An object from path to text, as for load_config_set.
force: Whether errors that can be forced are warnings.
severity: error or warning.
path: The file with line and column; empty if it is about several files.
message: The key and what is wrong.';
GRANT EXECUTE ON FUNCTION tasker.validate_config(jsonb, boolean) TO tasker_admin;

CREATE OR REPLACE FUNCTION tasker.effective_config(environment text DEFAULT NULL)
RETURNS TABLE (component text, key text, value jsonb, unit text, origin text, origin_file text, default_value jsonb, needs text)
AS 'MODULE_PATHNAME', 'effective_config' LANGUAGE c STABLE SECURITY DEFINER ROWS 500 SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.effective_config(text) IS 'Every key of the configuration with its value and where that comes from. Rule: docs/configuration.md.
environment: Shows what would be in force there; NULL: the current one.
component: Whose file has it.
key: The key, with its sections.
value: The value in force; null: none.
unit: What the value counts, if it has a unit.
origin: default, base, environment, function (configure_executor_pool, set_retention and others), or of a setting of the server: file, ALTER SYSTEM, command line, DATABASE, ROLE ALL, and for settings of a session ROLE and SET.
origin_file: The file that says it, where one does.
default_value: What holds where neither a file nor a setting has a value.
needs: What a change needs before it has its effect: reconnect or restart; NULL: nothing.';
GRANT EXECUTE ON FUNCTION tasker.effective_config(text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.rollback_config(version bigint, reason text DEFAULT NULL) RETURNS bigint
AS 'MODULE_PATHNAME', 'rollback_config' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.rollback_config(bigint, text) IS 'Makes a new version with the files and the environment of an earlier one, and returns its number. P0002 for a version that is not there, 22004 for NULL, 25006 on a standby. Rule: docs/configuration.md.
version: The version to go back to, of config_history; 0: no files and no environment.
reason: Why, for config_history.';
GRANT EXECUTE ON FUNCTION tasker.rollback_config(bigint, text) TO tasker_admin;

CREATE OR REPLACE FUNCTION tasker.set_environment(name text) RETURNS void
AS 'MODULE_PATHNAME', 'set_environment' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.set_environment(text) IS 'Sets the environment of the database: whose files of the configuration are in force, and whose overrides of a template are applied when it is registered. The setting tasker.environment comes before it. 22023 for a name that no environment can have, 25006 on a standby. Rule: docs/configuration.md.
name: development, test, production or another one; NULL: none.';
GRANT EXECUTE ON FUNCTION tasker.set_environment(text) TO tasker_admin;
