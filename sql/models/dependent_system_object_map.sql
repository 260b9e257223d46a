-- Maps between objects of outside systems: methods. The rule of a pair is beside the table.

CREATE OR REPLACE FUNCTION tasker_engine.dependent_system(name text, parameter text)
RETURNS integer LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found integer;
BEGIN
    PERFORM tasker_engine.checked($1, 'dependent system', $2);
    SELECT d.dependent_system_id INTO found FROM tasker.dependent_systems d WHERE d.name = $1;
    IF found IS NULL THEN
        RAISE no_data_found USING
            MESSAGE = format('there is no dependent system %s', $1),
            DETAIL = format('The call named it as %s.', $2),
            HINT = 'tasker.find_or_create_dependent_system makes one.';
    END IF;
    RETURN found;
END
$$;
COMMENT ON FUNCTION tasker_engine.dependent_system(text, text) IS 'The id of an outside system; P0002 if there is none of that name.';

CREATE OR REPLACE FUNCTION tasker.find_or_create_dependent_system_object_map(
    system_one text, remote_id_one text, system_two text, remote_id_two text)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    one CONSTANT integer := tasker_engine.dependent_system($1, 'system_one');
    two CONSTANT integer := tasker_engine.dependent_system($3, 'system_two');
    found bigint;
BEGIN
    PERFORM tasker_engine.require_resumed(or_new => true);
    PERFORM tasker_engine.checked($2, 'remote id', 'remote_id_one'), tasker_engine.checked($4, 'remote id', 'remote_id_two');
    LOOP
        INSERT INTO tasker.dependent_system_object_maps
            (dependent_system_one_id, remote_id_one, dependent_system_two_id, remote_id_two)
        VALUES (one, $2, two, $4)
        ON CONFLICT DO NOTHING
        RETURNING dependent_system_object_map_id INTO found;
        EXIT WHEN found IS NOT NULL;
        SELECT m.dependent_system_object_map_id INTO found
        FROM tasker.dependent_system_object_maps m
        WHERE tasker_engine.object_pair(
                  m.dependent_system_one_id, m.remote_id_one, m.dependent_system_two_id, m.remote_id_two)
              = tasker_engine.object_pair(one, $2, two, $4);
        EXIT WHEN found IS NOT NULL; -- else it was deleted between the two statements
    END LOOP;
    RETURN found;
END
$$;
COMMENT ON FUNCTION tasker.find_or_create_dependent_system_object_map(text, text, text, text) IS
'The id of the row that says that object remote_id_one of system_one is object remote_id_two of system_two; made if it is missing. The same pair in the other order is the same row. P0002 for an unknown system, 22023 for a blank or long id.
system_one: Name of the first outside system.
remote_id_one: What the first system calls the object, 1 to 128 characters, not blank.
system_two: Name of the second outside system; it may be the first.
remote_id_two: What the second system calls it, 1 to 128 characters, not blank.';
GRANT EXECUTE ON FUNCTION tasker.find_or_create_dependent_system_object_map(text, text, text, text) TO tasker_worker, tasker_operator;
