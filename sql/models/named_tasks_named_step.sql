-- The steps of templates: scopes. register_template makes them together with their template.

CREATE OR REPLACE FUNCTION tasker.named_tasks_named_steps_for_named_task(named_task_id integer)
RETURNS SETOF tasker.named_tasks_named_steps LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT s.* FROM tasker.named_tasks_named_steps s
    WHERE s.named_task_id = tasker_engine.required($1, 'named_task_id');
END;
COMMENT ON FUNCTION tasker.named_tasks_named_steps_for_named_task(integer) IS
'Scope (named_steps_for_named_task): the steps of one version of a template. 22004 for NULL.';
GRANT EXECUTE ON FUNCTION tasker.named_tasks_named_steps_for_named_task(integer) TO tasker_reader;
