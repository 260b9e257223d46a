-- Every function, relation and column of the extension has a COMMENT.
\set QUIET on
DO $$
DECLARE missing text;
BEGIN
    SELECT string_agg(what, ', ' ORDER BY what) INTO missing FROM (
        SELECT p.oid::regprocedure::text AS what FROM pg_proc p
        WHERE p.pronamespace IN ('tasker'::regnamespace, 'tasker_engine'::regnamespace)
          AND obj_description(p.oid, 'pg_proc') IS NULL
        UNION ALL
        SELECT c.oid::regclass::text || COALESCE('.' || a.attname, '')
        FROM pg_class c
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace IN ('tasker'::regnamespace, 'tasker_engine'::regnamespace) AND c.relkind IN ('r', 'v', 'p') AND NOT c.relispartition
          AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid, 'pg_class') IS NULL)
    ) AS lacking;
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'no COMMENT on %', missing;
    END IF;
END $$;
\echo comments.sql: all checks hold
