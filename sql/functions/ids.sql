-- Uuids of steps and their order in time, and what indexes of tables are made of: these functions come before the tables.

CREATE OR REPLACE FUNCTION tasker.step_uuid(task_uuid uuid, step_no smallint)
RETURNS uuid AS 'MODULE_PATHNAME', 'step_uuid' LANGUAGE c IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION tasker.step_uuid(uuid, smallint) IS
'The uuid of a step: the uuid of its task with the step''s number in the lowest 16 bits. 22023 for a negative number.';
GRANT EXECUTE ON FUNCTION tasker.step_uuid(uuid, smallint) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.step_task_uuid(step_uuid uuid)
RETURNS uuid AS 'MODULE_PATHNAME', 'step_task_uuid' LANGUAGE c IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION tasker.step_task_uuid(uuid) IS
'The uuid of the task that a step_uuid belongs to; no table is read. A task_uuid is returned as it is.';
GRANT EXECUTE ON FUNCTION tasker.step_task_uuid(uuid) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.step_number(step_uuid uuid)
RETURNS smallint AS 'MODULE_PATHNAME', 'step_number' LANGUAGE c IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION tasker.step_number(uuid) IS
'The number of the step that a step_uuid stands for, 1 and up; no table is read. 0 for a task_uuid.';
GRANT EXECUTE ON FUNCTION tasker.step_number(uuid) TO tasker_reader;

-- Task uuids are ascending in time, so the primary key also answers "created since".
CREATE OR REPLACE FUNCTION tasker_engine.uuids_since(since timestamptz)
RETURNS uuid AS 'MODULE_PATHNAME', 'uuids_since' LANGUAGE c IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION tasker_engine.uuids_since(timestamptz) IS
'A uuid that no task created after the given time lies below; a minute of slack covers a clock that was set back. NULL for NULL.';
GRANT EXECUTE ON FUNCTION tasker_engine.uuids_since(timestamptz) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker_engine.object_pair(system_one integer, remote_id_one text, system_two integer, remote_id_two text)
RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN system_one < system_two
                     OR system_one = system_two
                        AND remote_id_one <= remote_id_two COLLATE "C"
                THEN ARRAY[system_one::text, remote_id_one, system_two::text, remote_id_two]
                ELSE ARRAY[system_two::text, remote_id_two, system_one::text, remote_id_one] END;
COMMENT ON FUNCTION tasker_engine.object_pair(integer, text, integer, text) IS
'Two objects of outside systems as {system, id, system, id}, the same whichever of them is named first.';
GRANT EXECUTE ON FUNCTION tasker_engine.object_pair(integer, text, integer, text) TO tasker_operator;
