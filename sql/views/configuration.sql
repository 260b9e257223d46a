-- What was changed in the configuration.

CREATE OR REPLACE VIEW tasker.config_history AS
SELECT v.version, v.changed_at, v.changed_by, v.session, v.reason, d.component, d.key, d.environment, d.old AS old_value, d.new AS new_value
FROM tasker_engine.config_versions v
LEFT JOIN LATERAL jsonb_to_recordset(v.diff) AS d (component text, key text, environment text, old jsonb, new jsonb) ON true;
COMMENT ON VIEW tasker.config_history IS 'Each key that load_config, load_config_set, rollback_config and set_environment have changed. Rule: docs/configuration.md.';
COMMENT ON COLUMN tasker.config_history.version IS 'Number of the version, from 1.';
COMMENT ON COLUMN tasker.config_history.changed_at IS 'When it was made.';
COMMENT ON COLUMN tasker.config_history.changed_by IS 'Name of the role that made it, as it was then.';
COMMENT ON COLUMN tasker.config_history.session IS 'Which session: role that logged in, application_name and address.';
COMMENT ON COLUMN tasker.config_history.reason IS 'What the call said; NULL: nothing.';
COMMENT ON COLUMN tasker.config_history.component IS 'Whose file has the key; NULL: the environment was changed, or nothing.';
COMMENT ON COLUMN tasker.config_history.key IS 'The key; NULL: a version that changes no key.';
COMMENT ON COLUMN tasker.config_history.environment IS 'The environment whose file it is; NULL: the base.';
COMMENT ON COLUMN tasker.config_history.old_value IS 'The value before; NULL: the file had none.';
COMMENT ON COLUMN tasker.config_history.new_value IS 'The value after; NULL: the file has none.';
GRANT SELECT ON tasker.config_history TO tasker_reader;
