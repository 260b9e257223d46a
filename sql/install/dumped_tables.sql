-- Every table and sequence holds data that belongs in a dump. One call at a time: each updates the same row.
DO $$
DECLARE
    member record;
BEGIN
    FOR member IN SELECT m.object FROM tasker_engine.script_new_members() m WHERE m.kind IN ('TABLE', 'SEQUENCE') ORDER BY m.object LOOP
        PERFORM pg_extension_config_dump(member.object, '');
    END LOOP;
END
$$;
