GRANT USAGE ON SCHEMA tasker_engine TO tasker_owner;

-- Schema tasker is no part of the extension, and neither is the extension's owner: a dump has what they are granted here.
-- An owner that is no superuser (a database's owner) administers the extension in this database, and only here:
-- membership in tasker_admin would reach into every other database of the cluster.
DO $$
DECLARE
    extowner CONSTANT text := (SELECT r.rolname FROM pg_extension e
                               JOIN pg_roles r ON r.oid = e.extowner AND NOT r.rolsuper
                               WHERE e.extname = 'tasker_ext');
    installs CONSTANT boolean := NOT EXISTS (SELECT FROM tasker_engine.script_members m);
    member record;
BEGIN
    PERFORM tasker_engine.record_privileges(false);
    -- What was revoked since does not come back with an update; a role that the update makes has no privilege yet.
    FOR member IN
        SELECT r.role FROM unnest(ARRAY['tasker_owner', 'tasker_reader', 'tasker_worker', 'tasker_operator', 'tasker_admin']) AS r (role)
        WHERE NOT EXISTS (SELECT FROM tasker_engine.script_members m, aclexplode(m.initial) x WHERE x.grantee = to_regrole(r.role))
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA tasker TO %I', member.role);
    END LOOP;
    IF extowner IS NOT NULL THEN
        IF installs THEN
            EXECUTE format('GRANT USAGE ON SCHEMA tasker_engine TO %I', extowner);
        END IF;
        FOR member IN
            SELECT m.name, CASE m.kind WHEN 'FUNCTION' THEN 'EXECUTE ON FUNCTION'
                                       WHEN 'SEQUENCE' THEN 'USAGE, SELECT, UPDATE ON SEQUENCE'
                                       ELSE 'SELECT, INSERT ON TABLE' END AS rights -- to dump and restore it
            FROM tasker_engine.script_new_members() m
            WHERE NOT EXISTS (SELECT FROM tasker_engine.script_members b WHERE b.classid = m.class AND tasker_engine.script_successor(b) = m.object)
        LOOP
            EXECUTE format('GRANT %s %s TO %I', member.rights, member.name, extowner);
        END LOOP;
    END IF;
    PERFORM tasker_engine.record_privileges(true);
END
$$;
