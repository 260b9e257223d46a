-- What background processes and the install script ask before they do anything as tasker_owner.

CREATE OR REPLACE FUNCTION tasker_engine.owner_fault() RETURNS TABLE (detail text, hint text)
AS 'MODULE_PATHNAME', 'owner_fault' LANGUAGE c STABLE ROWS 1 SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.owner_fault() IS 'In what the role tasker_owner, to which the engine belongs, is not what it must be: without login and other attributes, a member of nothing, without members. No row if it is. Whoever has its rights could put code of its own into the engine.
detail: What is wrong.
hint: The statements that mend it.';
