-- Namespaces: scopes and methods. Nothing is made at CREATE EXTENSION: a row made there would meet itself in a restored
-- dump. So `default` is created with the first template, or here.

CREATE OR REPLACE FUNCTION tasker.task_namespaces_custom()
RETURNS SETOF tasker.task_namespaces LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT n.* FROM tasker.task_namespaces n WHERE n.name <> 'default' AND tasker_engine.require_version();
END;
COMMENT ON FUNCTION tasker.task_namespaces_custom() IS
'Scope: every namespace but default.';
GRANT EXECUTE ON FUNCTION tasker.task_namespaces_custom() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.find_or_create_namespace(name text DEFAULT 'default', description text DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    found integer;
BEGIN
    PERFORM tasker_engine.require_resumed(or_new => true);
    PERFORM tasker_engine.checked($1, 'namespace', 'name');
    PERFORM tasker_engine.checked(coalesce($2, ''), 'description', 'description');
    LOOP
        INSERT INTO tasker.task_namespaces (name, description) VALUES ($1, $2)
        ON CONFLICT (name) DO NOTHING
        RETURNING task_namespace_id INTO found;
        EXIT WHEN found IS NOT NULL;
        SELECT n.task_namespace_id INTO found FROM tasker.task_namespaces n WHERE n.name = $1;
        EXIT WHEN found IS NOT NULL; -- else it was deleted between the two statements
    END LOOP;
    RETURN found;
END
$$;
COMMENT ON FUNCTION tasker.find_or_create_namespace(text, text) IS
'The id of the namespace with this name. It is created if it is missing, with the description. 22023 for a blank or long name. Without arguments: the default namespace.
name: Name of the namespace, 1 to 64 characters, not blank.
description: What it is for, up to 255 characters; NULL for none.';
GRANT EXECUTE ON FUNCTION tasker.find_or_create_namespace(text, text) TO tasker_admin;

CREATE OR REPLACE FUNCTION tasker.delete_namespace(name text)
RETURNS integer LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    gone integer;
    versions bigint;
BEGIN
    PERFORM tasker_engine.require_resumed(or_new => true);
    PERFORM tasker_engine.checked($1, 'namespace', 'name');
    -- The foreign key decides, so that a template registered at this moment is not missed.
    DELETE FROM tasker.task_namespaces n WHERE n.name = $1 RETURNING n.task_namespace_id INTO gone;
    IF gone IS NULL THEN
        RAISE no_data_found USING
            MESSAGE = format('there is no namespace %s', $1),
            DETAIL = 'Names are compared letter by letter, upper and lower case apart.',
            HINT = 'SELECT name FROM tasker.task_namespaces lists them.';
    END IF;
    RETURN gone;
EXCEPTION WHEN foreign_key_violation THEN
    SELECT count(*) INTO versions
    FROM tasker.named_tasks t JOIN tasker.task_namespaces n ON n.task_namespace_id = t.task_namespace_id
    WHERE n.name = $1;
    RAISE foreign_key_violation USING
        MESSAGE = format('namespace %s is in use', $1),
        DETAIL = format('%s versions of templates are registered in it.', versions),
        HINT = 'tasker.delete_template removes a version that no task uses. One with tasks stays, and its namespace: tasker.pause_namespace stops its work.';
END
$$;
COMMENT ON FUNCTION tasker.delete_namespace(text) IS
'Deletes a namespace and its queues and returns its id. 23503 while a template is registered in it, P0002 if unknown.
name: Name of the namespace.';
GRANT EXECUTE ON FUNCTION tasker.delete_namespace(text) TO tasker_admin;
