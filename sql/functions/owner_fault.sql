-- What background processes and the install script check before they act as tasker_owner.

CREATE OR REPLACE FUNCTION tasker_engine.owner_fault() RETURNS TABLE (detail text, hint text)
AS 'MODULE_PATHNAME', 'owner_fault' LANGUAGE c STABLE ROWS 1 SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.owner_fault() IS 'What is wrong with the role tasker_owner, to which the engine belongs: it must have no login and no other attributes, must be a member of no role and have no members. No row if nothing is wrong. A role that has its rights could put code of its own into the engine.
detail: What is wrong.
hint: The statements that repair it.';
