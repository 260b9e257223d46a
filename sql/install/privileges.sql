GRANT USAGE ON SCHEMA tasker_engine TO tasker_owner;

-- Schema tasker is no part of the extension, and neither is the extension's owner: a dump has what they are granted here.
-- An owner that is no superuser (a database's owner) administers the extension in this database, and only here:
-- membership in tasker_admin would reach into every other database of the cluster.
DO $$
DECLARE
    extowner CONSTANT text := (SELECT r.rolname FROM pg_extension e
                               JOIN pg_roles r ON r.oid = e.extowner AND NOT r.rolsuper
                               WHERE e.extname = 'tasker_ext');
BEGIN
    PERFORM tasker_engine.record_privileges(false);
    GRANT USAGE ON SCHEMA tasker TO tasker_owner, tasker_reader, tasker_worker, tasker_operator, tasker_admin;
    IF extowner IS NOT NULL THEN
        EXECUTE format('GRANT USAGE ON SCHEMA tasker_engine TO %I', extowner);
        EXECUTE format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA tasker, tasker_engine TO %I', extowner);
        -- To dump and restore it.
        EXECUTE format('GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA tasker, tasker_engine TO %I', extowner);
        EXECUTE format('GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA tasker, tasker_engine TO %I', extowner);
    END IF;
    PERFORM tasker_engine.record_privileges(true);
END
$$;
DROP FUNCTION tasker_engine.record_privileges(boolean);
