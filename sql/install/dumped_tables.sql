-- Every table and sequence holds data that belongs into a dump. One call at a time: each updates the same row.
DO $$
DECLARE
    member pg_catalog.oid;
BEGIN
    FOR member IN
        SELECT c.oid
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
        WHERE n.nspname OPERATOR(pg_catalog.=) ANY (ARRAY['tasker', 'tasker_engine']::pg_catalog.name[])
          AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'S']::"char"[])
        ORDER BY c.oid
    LOOP
        PERFORM pg_catalog.pg_extension_config_dump(member, '');
    END LOOP;
END
$$;
