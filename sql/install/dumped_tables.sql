-- Every table and sequence holds data that belongs in a dump. One call at a time: each updates the same row.
DO $$
DECLARE
    member oid;
BEGIN
    FOR member IN
        SELECT c.oid
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = ANY (ARRAY['tasker', 'tasker_engine']::name[])
          AND c.relkind = ANY (ARRAY['r', 'S']::"char"[])
        ORDER BY c.oid
    LOOP
        PERFORM pg_extension_config_dump(member, '');
    END LOOP;
END
$$;
