-- Every script of the extension begins with this: names without a schema, operators included, are those of PostgreSQL, whatever
-- another role has put into another schema. PostgreSQL itself puts the extension's schema in front (tasker, which belongs to the
-- owner of the extension); SET LOCAL holds until the script ends. Every object of ours is named with its schema, in functions too:
-- those that are looked up when they run pin their own search_path.
SET LOCAL search_path = pg_catalog, pg_temp;
-- Some statements compare names as PostgreSQL writes them.
SET LOCAL quote_all_identifiers = off;
-- Nothing that a script sorts needs a temporary file, which temp_file_limit could refuse.
SET LOCAL work_mem = '16MB';
