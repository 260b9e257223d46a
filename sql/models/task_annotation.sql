-- Notes on tasks: methods; and tags, which are notes of one word.

CREATE OR REPLACE FUNCTION tasker.annotate_task(task_uuid uuid, type_name text, annotation jsonb)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    made bigint;
BEGIN
    PERFORM tasker_engine.require_resumed(or_new => true);
    PERFORM tasker_engine.required($1, 'task_uuid'), tasker_engine.required($2, 'type_name'),
            tasker_engine.required($3, 'annotation');
    PERFORM tasker_engine.checked($2, 'annotation type', 'type_name');
    PERFORM tasker_engine.require_task($1);
    INSERT INTO tasker.task_annotations (task_uuid, annotation_type_id, annotation)
    VALUES ($1, tasker.find_or_create_annotation_type($2), $3)
    RETURNING task_annotation_id INTO made;
    RETURN made;
END
$$;
COMMENT ON FUNCTION tasker.annotate_task(uuid, text, jsonb) IS
'Writes a note on a task, any JSON, and returns its task_annotation_id; the kind of annotation is made if it is missing. A task may have several of one kind. P0002 for an unknown task.
type_name: Name of the kind of annotation, 1 to 64 characters, not blank.';
GRANT EXECUTE ON FUNCTION tasker.annotate_task(uuid, text, jsonb) TO tasker_worker, tasker_operator;

CREATE OR REPLACE FUNCTION tasker.annotation_type_name(task_annotation tasker.task_annotations)
RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (SELECT a.name FROM tasker.annotation_types a
            WHERE a.annotation_type_id = ($1).annotation_type_id AND tasker_engine.require_version());
COMMENT ON FUNCTION tasker.annotation_type_name(tasker.task_annotations) IS
'The name of the kind of a note: SELECT tasker.annotation_type_name(a) FROM tasker.task_annotations a.
task_annotation: A row of tasker.task_annotations; NULL has no name.';
GRANT EXECUTE ON FUNCTION tasker.annotation_type_name(tasker.task_annotations) TO tasker_reader;

-- ---- tags: notes of one word, on the row of the task ----------------------------------------------------------------

-- Both lock the row of the task and nothing else, as the end of a task does last: no order of locks can be wrong. A changed
-- tag moves the row, for tags are indexed; that is the price of each change, and why there is no write without one.
CREATE OR REPLACE FUNCTION tasker_engine.check_tags(task_uuid uuid, tags jsonb)
RETURNS void LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM tasker_engine.required($1, 'task_uuid'), tasker_engine.required($2, 'tags');
    IF jsonb_typeof($2) <> 'array' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'tags must be a JSON array',
            DETAIL = format('The document given is of type %s.', jsonb_typeof($2)),
            HINT = 'For example ''["nightly"]''.';
    END IF;
END
$$;
COMMENT ON FUNCTION tasker_engine.check_tags(uuid, jsonb) IS 'Refuses what is not a list of tags: 22004 for NULL, 22023 for a document that is not an array.';

CREATE OR REPLACE FUNCTION tasker.tag_task(task_uuid uuid, tags jsonb)
RETURNS jsonb LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    present jsonb;
    wanted jsonb;
BEGIN
    PERFORM tasker_engine.require_resumed(or_new => true);
    PERFORM tasker_engine.check_tags($1, $2);
    SELECT t.tags INTO present FROM tasker_engine.tasks t WHERE t.task_uuid = $1 FOR NO KEY UPDATE;
    PERFORM tasker_engine.require_task($1) WHERE present IS NULL;
    SELECT present || coalesce(jsonb_agg(u.tag ORDER BY u.first), '[]') INTO wanted
    FROM (SELECT e.tag, min(e.no) AS first
          FROM jsonb_array_elements($2) WITH ORDINALITY AS e (tag, no)
          WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(present) p (tag) WHERE p.tag = e.tag)
          GROUP BY e.tag) u;
    IF wanted <> present AND jsonb_array_length(wanted) > tasker_engine.most_tags() THEN
        RAISE program_limit_exceeded USING
            MESSAGE = format('%s tags are too many for one task', jsonb_array_length(wanted)),
            DETAIL = format('At most %s are possible; it has %s.', tasker_engine.most_tags(), jsonb_array_length(present)),
            HINT = 'Give fewer, or take some away first: tasker.untag_task.';
    END IF;
    UPDATE tasker_engine.tasks t SET tags = wanted WHERE t.task_uuid = $1 AND wanted <> present;
    PERFORM tasker_engine.keep_tags($1, present) WHERE wanted <> present;
    RETURN wanted;
END
$$;
COMMENT ON FUNCTION tasker.tag_task(uuid, jsonb) IS
'Adds tags, a JSON array, to a task of any state and returns all it has; those it has already stay where they are. P0002 for an unknown task, 22023 for a document that is not an array, 54000 if the task would have more than 100 tags.
tags: A JSON array of tags, any JSON, words as a rule.';
GRANT EXECUTE ON FUNCTION tasker.tag_task(uuid, jsonb) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker.untag_task(task_uuid uuid, tags jsonb)
RETURNS jsonb LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    present jsonb;
    wanted jsonb;
BEGIN
    PERFORM tasker_engine.require_resumed(or_new => true);
    PERFORM tasker_engine.check_tags($1, $2);
    SELECT t.tags INTO present FROM tasker_engine.tasks t WHERE t.task_uuid = $1 FOR NO KEY UPDATE;
    PERFORM tasker_engine.require_task($1) WHERE present IS NULL;
    SELECT coalesce(jsonb_agg(p.tag ORDER BY p.no), '[]') INTO wanted
    FROM jsonb_array_elements(present) WITH ORDINALITY AS p (tag, no)
    WHERE NOT EXISTS (SELECT FROM jsonb_array_elements($2) e (tag) WHERE e.tag = p.tag);
    UPDATE tasker_engine.tasks t SET tags = wanted WHERE t.task_uuid = $1 AND wanted <> present;
    PERFORM tasker_engine.keep_tags($1, present) WHERE wanted <> present;
    RETURN wanted;
END
$$;
COMMENT ON FUNCTION tasker.untag_task(uuid, jsonb) IS
'Takes tags, a JSON array, from a task and returns those it still has. P0002 for an unknown task, 22023 for a document that is not an array.
tags: A JSON array of the tags to take away; one that the task does not have is passed over.';
GRANT EXECUTE ON FUNCTION tasker.untag_task(uuid, jsonb) TO tasker_operator;
