-- Which operations go below SQL; the rules are in src/pg/tables.rs.

CREATE OR REPLACE FUNCTION tasker.table_access()
RETURNS TABLE (table_name text, operation text, path text, reason text)
AS 'MODULE_PATHNAME', 'table_access' LANGUAGE c VOLATILE SECURITY DEFINER ROWS 20
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.table_access() IS 'How the engine reaches its own tables: directly, or by an SQL statement where something was added that only SQL serves (a trigger, a CHECK, a generated column, row security and the like). Both do the same; SQL costs more. Raises 55000 if a table does not have its owner or a column of ours. Rule: docs/design.md#below-sql.
table_name: a table of schema tasker_engine.
operation: append, update, delete or read.
path: direct, or sql.
reason: what to remove so that the operation is direct again; NULL if it is.';
GRANT EXECUTE ON FUNCTION tasker.table_access() TO tasker_reader;
