-- The configuration: the files that were loaded, as keys and values, and each version of them.

-- Of the base an environment has the empty name: a key has no NULL.
CREATE TABLE tasker_engine.config_files (
    environment text NOT NULL,
    component text NOT NULL,
    leaves jsonb NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (environment, component)
);
CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE ON tasker_engine.config_files
    FOR EACH ROW EXECUTE FUNCTION tasker_engine.config_changed();
ALTER TABLE tasker_engine.config_files ENABLE ALWAYS TRIGGER config_changed;
COMMENT ON TABLE tasker_engine.config_files IS 'Files of the configuration as load_config read them. tasker.effective_config shows what is in force.';
COMMENT ON COLUMN tasker_engine.config_files.environment IS 'The environment that the file is for; empty: the base.';
COMMENT ON COLUMN tasker_engine.config_files.component IS 'What it configures: engine, system and others.';
COMMENT ON COLUMN tasker_engine.config_files.leaves IS 'Its keys with their values, without sections: backoff.max_backoff_seconds. Secrets are masked.';
COMMENT ON COLUMN tasker_engine.config_files.version IS 'The version that brought it.';

CREATE TABLE tasker_engine.config_versions (
    version bigint PRIMARY KEY,
    changed_at timestamptz NOT NULL,
    changed_by text NOT NULL,
    session text NOT NULL,
    reason text,
    environment text,
    diff jsonb NOT NULL,
    files jsonb NOT NULL
);
COMMENT ON TABLE tasker_engine.config_versions IS 'Each change of the configuration; tasker.config_history shows it. Insert-only.';
COMMENT ON COLUMN tasker_engine.config_versions.version IS 'Number of the version, from 1.';
COMMENT ON COLUMN tasker_engine.config_versions.changed_at IS 'When it was made.';
COMMENT ON COLUMN tasker_engine.config_versions.changed_by IS 'Name of the role that made it, as it was then.';
COMMENT ON COLUMN tasker_engine.config_versions.session IS 'Which session: role that logged in, application_name and address.';
COMMENT ON COLUMN tasker_engine.config_versions.reason IS 'What the call said; NULL: nothing.';
COMMENT ON COLUMN tasker_engine.config_versions.environment IS 'The environment in force from then on, as set_environment set it; NULL: none.';
COMMENT ON COLUMN tasker_engine.config_versions.diff IS 'The keys that it changed, an array of objects with component, key, environment, old and new.';
COMMENT ON COLUMN tasker_engine.config_versions.files IS 'The files that it changed, an array of objects with environment, component and leaves; leaves null: the file was removed.';

CREATE TABLE tasker_engine.config_state (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    environment text
);
CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE ON tasker_engine.config_state
    FOR EACH ROW EXECUTE FUNCTION tasker_engine.config_changed();
ALTER TABLE tasker_engine.config_state ENABLE ALWAYS TRIGGER config_changed;
COMMENT ON TABLE tasker_engine.config_state IS 'The environment that set_environment has set; without a row there is none.';
COMMENT ON COLUMN tasker_engine.config_state.one IS 'Keeps it at one row.';
COMMENT ON COLUMN tasker_engine.config_state.environment IS 'Its name; NULL: none.';
