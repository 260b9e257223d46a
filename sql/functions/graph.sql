-- The graph of a template, as its steps are placed in it. Each backend keeps it in memory; the rows of a template never change
-- under one id.

CREATE OR REPLACE FUNCTION tasker_engine.step_level(named_task_id integer, step_no smallint)
RETURNS integer AS 'MODULE_PATHNAME', 'step_level' LANGUAGE c STABLE SECURITY DEFINER COST 10
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.step_level(integer, smallint) IS
'Length of the longest path from a root of the template to the step; roots have 0.';
GRANT EXECUTE ON FUNCTION tasker_engine.step_level(integer, smallint) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.step_min_depth(named_task_id integer, step_no smallint)
RETURNS integer AS 'MODULE_PATHNAME', 'step_min_depth' LANGUAGE c STABLE SECURITY DEFINER COST 10
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.step_min_depth(integer, smallint) IS
'Length of the shortest path from a root of the template to the step; roots have 0.';
GRANT EXECUTE ON FUNCTION tasker_engine.step_min_depth(integer, smallint) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.calculate_dependency_levels(task_uuid uuid)
RETURNS TABLE (step_uuid uuid, dependency_level integer)
AS 'MODULE_PATHNAME', 'calculate_dependency_levels' LANGUAGE c STABLE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.calculate_dependency_levels(uuid) IS
'The depth of each step of a task, ordered by level and step. No row for an unknown task. step_dag_relationships has the shortest path instead.
dependency_level: Length of the longest path from a root to the step; roots have 0.';
GRANT EXECUTE ON FUNCTION tasker.calculate_dependency_levels(uuid) TO tasker_reader;
