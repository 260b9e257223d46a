-- Kinds of annotations: methods.

CREATE OR REPLACE FUNCTION tasker.find_or_create_annotation_type(name text, description text DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    found integer;
BEGIN
    PERFORM tasker_engine.require_resumed(or_new => true);
    PERFORM tasker_engine.checked($1, 'annotation type', 'name');
    PERFORM tasker_engine.checked(coalesce($2, ''), 'description', 'description');
    -- The look before the INSERT: see find_or_create_dependent_system.
    LOOP
        SELECT a.annotation_type_id INTO found FROM tasker.annotation_types a WHERE a.name = $1;
        EXIT WHEN found IS NOT NULL;
        INSERT INTO tasker.annotation_types (name, description) VALUES ($1, $2)
        ON CONFLICT (name) DO NOTHING
        RETURNING annotation_type_id INTO found;
        EXIT WHEN found IS NOT NULL;
    END LOOP;
    RETURN found;
END
$$;
COMMENT ON FUNCTION tasker.find_or_create_annotation_type(text, text) IS
'The id of the kind of annotation with this name. It is created if it is missing, with the description. 22023 for a blank or long name.
name: Name of the kind, 1 to 64 characters, not blank.
description: What such notes are for, up to 255 characters; NULL for none.';
GRANT EXECUTE ON FUNCTION tasker.find_or_create_annotation_type(text, text) TO tasker_worker, tasker_operator;
