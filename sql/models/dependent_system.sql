-- Outside systems: methods. register_template makes those that its steps name.

CREATE OR REPLACE FUNCTION tasker.find_or_create_dependent_system(name text, description text DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    found integer;
BEGIN
    PERFORM tasker_engine.require_resumed(or_new => true);
    PERFORM tasker_engine.checked($1, 'dependent system', 'name');
    PERFORM tasker_engine.checked(coalesce($2, ''), 'description', 'description');
    -- The unique index decides between racers. The look comes first only because workers ask for the same few names
    -- again and again, and each INSERT that meets its row would use up a number of the sequence.
    LOOP
        SELECT d.dependent_system_id INTO found FROM tasker.dependent_systems d WHERE d.name = $1;
        EXIT WHEN found IS NOT NULL;
        INSERT INTO tasker.dependent_systems (name, description) VALUES ($1, $2)
        ON CONFLICT (name) DO NOTHING
        RETURNING dependent_system_id INTO found;
        EXIT WHEN found IS NOT NULL;
    END LOOP;
    RETURN found;
END
$$;
COMMENT ON FUNCTION tasker.find_or_create_dependent_system(text, text) IS
'The id of the outside system with this name. It is created if it is missing, with the description. 22023 for a blank or long name.
name: Name of the system, 1 to 64 characters, not blank.
description: What it is, up to 255 characters; NULL for none.';
GRANT EXECUTE ON FUNCTION tasker.find_or_create_dependent_system(text, text) TO tasker_worker, tasker_operator;
