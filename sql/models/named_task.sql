-- Templates: scopes and methods. What a template looks like to others (full name, latest or not, steps, tasks) is view
-- tasker.registered_templates. There is no find-or-create: a template without steps cannot exist, so register_template
-- makes it.

CREATE OR REPLACE FUNCTION tasker.named_tasks_in_namespace(name text)
RETURNS SETOF tasker.named_tasks LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT t.*
    FROM tasker.named_tasks t
    WHERE t.task_namespace_id = (
        SELECT n.task_namespace_id FROM tasker.task_namespaces n
        WHERE n.name = tasker_engine.required($1, 'name'));
END;
COMMENT ON FUNCTION tasker.named_tasks_in_namespace(text) IS
'Scope: the templates of a namespace, every version. 22004 for NULL.
name: Name of the namespace.';
GRANT EXECUTE ON FUNCTION tasker.named_tasks_in_namespace(text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.named_tasks_with_version(version text)
RETURNS SETOF tasker.named_tasks LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT t.* FROM tasker.named_tasks t
    WHERE t.version = tasker_engine.required($1, 'version');
END;
COMMENT ON FUNCTION tasker.named_tasks_with_version(text) IS
'Scope: the templates with this version. 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.named_tasks_with_version(text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.named_tasks_latest_versions()
RETURNS SETOF tasker.named_tasks LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT t.* FROM tasker.named_tasks t
    WHERE NOT EXISTS (
        SELECT FROM tasker.named_tasks higher
        WHERE higher.task_namespace_id = t.task_namespace_id
          AND higher.name = t.name
          AND higher.version_order > t.version_order)
      AND tasker_engine.require_version();
END;
COMMENT ON FUNCTION tasker.named_tasks_latest_versions() IS
'Scope: the version of each template that create_task takes when none is given: the highest by number, 0.10.0 above 0.9.0.';
GRANT EXECUTE ON FUNCTION tasker.named_tasks_latest_versions() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.find_named_task(name text, namespace_name text DEFAULT 'default', version text DEFAULT NULL)
RETURNS SETOF tasker.named_tasks LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT t.*
    FROM tasker.named_tasks_in_namespace(tasker_engine.required($2, 'namespace_name')) t
    WHERE t.name = tasker_engine.required($1, 'name')
      AND ($3 IS NULL OR t.version = $3)
    ORDER BY t.version_order DESC
    LIMIT 1;
END;
COMMENT ON FUNCTION tasker.find_named_task(text, text, text) IS
'The template with this name; version NULL is the highest. No row if there is none.
name: Name of the template.
version: x.y.z; NULL is the highest by semantic version.';
GRANT EXECUTE ON FUNCTION tasker.find_named_task(text, text, text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.find_latest_version(namespace_name text, name text)
RETURNS SETOF tasker.named_tasks LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT t.* FROM tasker.find_named_task($2, $1) t;
END;
COMMENT ON FUNCTION tasker.find_latest_version(text, text) IS
'The highest version of a template by number. No row if there is none.
name: Name of the template.';
GRANT EXECUTE ON FUNCTION tasker.find_latest_version(text, text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.version_exists(namespace_name text, name text, version text)
RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
    RETURN EXISTS (SELECT FROM tasker.find_named_task($2, $1, tasker_engine.required($3, 'version')));
COMMENT ON FUNCTION tasker.version_exists(text, text, text) IS
'Whether this version of a template is registered. 22004 for NULL.
name: Name of the template.
version: The version, x.y.z, letter by letter.';
GRANT EXECUTE ON FUNCTION tasker.version_exists(text, text, text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.delete_template(name text, namespace text, version text)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    called CONSTANT text := tasker_engine.full_name(
        tasker_engine.checked($2, 'namespace', 'namespace'), tasker_engine.checked($1, 'template', 'name'),
        tasker_engine.checked($3, 'version', 'version'));
    now CONSTANT text := tasker_engine.event_time(clock_timestamp());
    gone bigint;
BEGIN
    PERFORM tasker_engine.require_resumed(or_new => true);
    PERFORM tasker_engine.require_version();
    -- The foreign key decides, so that a task created at this moment is not missed.
    DELETE FROM tasker.named_tasks t
    USING tasker.task_namespaces n
    WHERE n.task_namespace_id = t.task_namespace_id AND n.name = $2 AND t.name = $1 AND t.version = $3
    RETURNING t.named_task_id INTO gone;
    IF gone IS NULL THEN
        RAISE no_data_found USING
            MESSAGE = format('there is no template %s', called),
            DETAIL = 'No version with these three parts is registered.',
            HINT = 'SELECT full_name FROM tasker.registered_templates lists them.';
    END IF;
    PERFORM tasker_engine.publish_facts('template.deleted', ARRAY[called], ARRAY[jsonb_build_object(
        'namespace', $2, 'task_name', $1, 'task_version', $3, 'timestamp', now, 'deleted_at', now)], $2);
    RETURN gone;
EXCEPTION WHEN foreign_key_violation THEN
    RAISE foreign_key_violation USING
        MESSAGE = format('%s is in use', called),
        DETAIL = 'Tasks were created with this version.',
        HINT = 'A version stays as long as its tasks. New tasks take the highest version: register one above it.';
END
$$;
COMMENT ON FUNCTION tasker.delete_template(text, text, text) IS
'Deletes a version of a template that no task uses and returns its named_task_id. 23503 if tasks use it, P0002 if unknown.
name: Name of the template.
namespace: Its namespace.
version: The version to delete, x.y.z.';
GRANT EXECUTE ON FUNCTION tasker.delete_template(text, text, text) TO tasker_admin;
