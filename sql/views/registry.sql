-- The registry as data: what templates want run, and what workers say they can run.

CREATE OR REPLACE VIEW tasker.worker_handlers AS
SELECT w.worker_id, h.handler, h.namespaces, h.plugin, h.plugin_version, h.metadata, w.live, h.announced_at, w.last_seen_at
FROM tasker_engine.worker_handlers h
JOIN tasker_engine.known_workers w ON w.worker_no = h.worker_no;
COMMENT ON VIEW tasker.worker_handlers IS 'What each worker announced that it can run. Workers that announce nothing have no row and work as well.';
COMMENT ON COLUMN tasker.worker_handlers.worker_id IS 'The worker process.';
COMMENT ON COLUMN tasker.worker_handlers.handler IS 'The name that steps of templates call it by.';
COMMENT ON COLUMN tasker.worker_handlers.namespaces IS 'The namespaces that it is announced for; NULL for all.';
COMMENT ON COLUMN tasker.worker_handlers.plugin IS 'The plugin that contains it; NULL for none.';
COMMENT ON COLUMN tasker.worker_handlers.plugin_version IS 'Version of the plugin, semantic; NULL if it has none.';
COMMENT ON COLUMN tasker.worker_handlers.metadata IS 'More that the worker says about it, a JSON object.';
COMMENT ON COLUMN tasker.worker_handlers.live IS 'Whether the worker was seen in the last 2 minutes, waits idle, or holds a lease that has not ended; otherwise the announcement is ignored.';
COMMENT ON COLUMN tasker.worker_handlers.announced_at IS 'When it was last announced.';
COMMENT ON COLUMN tasker.worker_handlers.last_seen_at IS 'When the worker last called; updated every few seconds.';
GRANT SELECT ON tasker.worker_handlers TO tasker_reader;

CREATE OR REPLACE VIEW tasker.plugins AS
WITH offered AS (
    SELECT h.plugin AS name, h.plugin_version AS version,
           array_agg(DISTINCT h.handler) AS handlers,
           array_agg(DISTINCT h.worker_id) AS worker_ids,
           max(h.last_seen_at) AS last_seen_at
    FROM tasker.worker_handlers h
    WHERE h.live AND h.plugin IS NOT NULL
    GROUP BY h.plugin, h.plugin_version
)
SELECT o.name, o.version, o.handlers,
       cardinality(o.worker_ids) AS live_workers,
       o.worker_ids,
       ARRAY(SELECT COALESCE(r.version, 'no version') FROM offered r
             WHERE r.name = o.name AND r.version IS DISTINCT FROM o.version
             ORDER BY 1) AS other_versions,
       o.last_seen_at
FROM offered o;
COMMENT ON VIEW tasker.plugins IS 'The plugins that live workers announced, one row per name and version.';
COMMENT ON COLUMN tasker.plugins.name IS 'Name of the plugin.';
COMMENT ON COLUMN tasker.plugins.version IS 'Its version, semantic; NULL if it was announced without one.';
COMMENT ON COLUMN tasker.plugins.handlers IS 'The handlers it brings, in any of the workers.';
COMMENT ON COLUMN tasker.plugins.live_workers IS 'Number of live workers that have it.';
COMMENT ON COLUMN tasker.plugins.worker_ids IS 'The ids of these workers.';
COMMENT ON COLUMN tasker.plugins.other_versions IS 'Other versions of it in other live workers. Empty if all agree; otherwise a step runs under whichever version claims it.';
COMMENT ON COLUMN tasker.plugins.last_seen_at IS 'When one of these workers last called.';
GRANT SELECT ON tasker.plugins TO tasker_reader;

CREATE OR REPLACE VIEW tasker.registered_templates AS
SELECT t.named_task_id,
       ns.name AS namespace_name,
       t.name,
       t.version,
       tasker_engine.full_name(ns.name, t.name, t.version) AS full_name,
       ns.name || '.' || t.name AS qualified_name,
       t.description,
       NOT EXISTS (SELECT FROM tasker.named_tasks higher
                   WHERE higher.task_namespace_id = t.task_namespace_id
                     AND higher.name = t.name
                     AND higher.version_order > t.version_order) AS latest,
       (SELECT count(*) FROM tasker.named_tasks_named_steps s
        WHERE s.named_task_id = t.named_task_id) AS steps,
       ARRAY(SELECT DISTINCT s.handler FROM tasker.named_tasks_named_steps s
             WHERE s.named_task_id = t.named_task_id ORDER BY s.handler) AS handlers,
       t.configuration,
       EXISTS (SELECT FROM tasker_engine.tasks k
               WHERE k.named_task_id = t.named_task_id) AS used,
       (SELECT k.requested_at FROM tasker_engine.tasks k
        WHERE k.named_task_id = t.named_task_id
        ORDER BY k.task_uuid DESC LIMIT 1) AS last_requested_at,
       (SELECT COALESCE(jsonb_object_agg(tasker_engine.state_name(k.state), k.tasks), '{}')
        FROM (SELECT o.state, count(*) AS tasks FROM tasker_engine.tasks o
              WHERE o.named_task_id = t.named_task_id
              GROUP BY o.state) k) AS tasks_by_state,
       t.created_at
FROM tasker.named_tasks t
JOIN tasker.task_namespaces ns ON ns.task_namespace_id = t.task_namespace_id;
COMMENT ON VIEW tasker.registered_templates IS 'Every version of every template. Every column but tasks_by_state is cheap; that one reads the tasks of the template, and costs nothing if the SELECT leaves it out.';
COMMENT ON COLUMN tasker.registered_templates.named_task_id IS 'The row of tasker.named_tasks.';
COMMENT ON COLUMN tasker.registered_templates.namespace_name IS 'Its namespace.';
COMMENT ON COLUMN tasker.registered_templates.name IS 'Its name.';
COMMENT ON COLUMN tasker.registered_templates.version IS 'Its version, x.y.z.';
COMMENT ON COLUMN tasker.registered_templates.full_name IS 'namespace.name@version.';
COMMENT ON COLUMN tasker.registered_templates.qualified_name IS 'namespace.name, the same for all versions.';
COMMENT ON COLUMN tasker.registered_templates.description IS 'Free text.';
COMMENT ON COLUMN tasker.registered_templates.latest IS 'Whether create_task takes this version when none is given: the highest by number.';
COMMENT ON COLUMN tasker.registered_templates.steps IS 'Number of its steps.';
COMMENT ON COLUMN tasker.registered_templates.handlers IS 'The handlers that its steps call, each once, sorted.';
COMMENT ON COLUMN tasker.registered_templates.configuration IS 'The template as registered, environments included.';
COMMENT ON COLUMN tasker.registered_templates.used IS 'Whether a task was created with it: then it cannot be changed or deleted.';
COMMENT ON COLUMN tasker.registered_templates.last_requested_at IS 'When a task was last created with it; NULL if never.';
COMMENT ON COLUMN tasker.registered_templates.tasks_by_state IS 'Its tasks counted by state, {state: number} without zeros. Reads all tasks of the template.';
COMMENT ON COLUMN tasker.registered_templates.created_at IS 'When it was registered.';
GRANT SELECT ON tasker.registered_templates TO tasker_reader;

CREATE OR REPLACE VIEW tasker.handlers AS
SELECT COALESCE(used.handler, offered.handler) AS handler,
       COALESCE(used.namespaces, '{}') AS namespaces,
       COALESCE(used.templates, '{}') AS templates,
       COALESCE(used.steps, 0) AS steps,
       COALESCE(offered.live_workers, 0) AS live_workers,
       COALESCE(offered.plugins, '{}') AS plugins,
       offered.last_seen_at
FROM (
    SELECT s.handler,
           array_agg(DISTINCT t.namespace_name) AS namespaces,
           array_agg(DISTINCT t.full_name) AS templates,
           count(*) AS steps
    FROM tasker.named_tasks_named_steps s
    JOIN tasker.registered_templates t ON t.named_task_id = s.named_task_id
    GROUP BY s.handler
) used
FULL JOIN (
    SELECT h.handler,
           count(*) FILTER (WHERE h.live) AS live_workers,
           array_agg(DISTINCT h.plugin) FILTER (WHERE h.live AND h.plugin IS NOT NULL) AS plugins,
           max(h.last_seen_at) AS last_seen_at
    FROM tasker.worker_handlers h
    GROUP BY h.handler
) offered ON offered.handler = used.handler;
COMMENT ON VIEW tasker.handlers IS 'Every handler that a step of a template calls or a worker announced.';
COMMENT ON COLUMN tasker.handlers.handler IS 'Its name. sql:... runs inside the database, and no worker announces it.';
COMMENT ON COLUMN tasker.handlers.namespaces IS 'The namespaces whose templates call it; empty if none does.';
COMMENT ON COLUMN tasker.handlers.templates IS 'Full names of the templates that call it, every version.';
COMMENT ON COLUMN tasker.handlers.steps IS 'Number of steps of these templates that call it.';
COMMENT ON COLUMN tasker.handlers.live_workers IS 'Number of live workers that announced it, for any namespace.';
COMMENT ON COLUMN tasker.handlers.plugins IS 'The plugins of live workers that contain it.';
COMMENT ON COLUMN tasker.handlers.last_seen_at IS 'When a worker that announced it last called, even if it is no longer live; NULL if none announced it lately.';
GRANT SELECT ON tasker.handlers TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.handlers_in_namespace(namespace text)
RETURNS SETOF tasker.handlers LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT h.* FROM tasker.handlers h
    WHERE tasker_engine.required($1, 'namespace') = ANY (h.namespaces);
END;
COMMENT ON FUNCTION tasker.handlers_in_namespace(text) IS
'Scope (list_handlers): the handlers that templates of a namespace call. 22004 for NULL.
namespace: Name of the namespace.';
GRANT EXECUTE ON FUNCTION tasker.handlers_in_namespace(text) TO tasker_reader;

CREATE OR REPLACE VIEW tasker.unannounced_handlers AS
SELECT t.namespace_name,
       t.name AS task_name,
       t.version,
       t.latest,
       s.step_no::integer AS step_no,
       s.name AS step_name,
       s.handler,
       q.name AS queue,
       CASE WHEN EXISTS (
                SELECT FROM tasker_engine.queue_entries r
                JOIN tasker_engine.steps w
                    ON w.task_uuid = r.task_uuid AND w.step_no = r.step_no
                WHERE r.queue_id = s.queue_id AND r.step_no = s.step_no
                  AND w.named_task_id = s.named_task_id) THEN 'ready'
            -- Not can_still_run: a step that runs has its worker, and one with a retry to come is in the queue.
            WHEN EXISTS (
                SELECT FROM tasker_engine.tasks k
                JOIN tasker_engine.steps w
                    ON w.task_uuid = k.task_uuid AND w.step_no = s.step_no
                WHERE k.named_task_id = s.named_task_id
                  AND tasker_engine.is_open(k.state)
                  AND w.state = 'p' AND NOT w.unreachable) THEN 'pending'
       END AS waiting,
       (SELECT max(h.last_seen_at) FROM tasker.worker_handlers h
        WHERE h.handler = s.handler) AS last_seen_at,
       CASE WHEN NOT EXISTS (SELECT FROM tasker.worker_handlers h WHERE h.live)
            THEN 'No live worker announces anything. Workers need not: SELECT * FROM tasker.workers lists those that work.'
            WHEN EXISTS (SELECT FROM tasker.worker_handlers h
                         WHERE h.live AND h.handler = s.handler)
            THEN format('Live workers announce %s, but not for namespace %s.', s.handler, t.namespace_name)
            ELSE format('Start a worker that has %s and claims queue %s of namespace %s.',
                                   s.handler, q.name, t.namespace_name)
       END AS hint
FROM tasker.named_tasks_named_steps s
JOIN tasker.registered_templates t ON t.named_task_id = s.named_task_id
JOIN tasker_engine.queues q ON q.queue_id = s.queue_id
WHERE NOT starts_with(s.handler, 'sql:')
  AND NOT EXISTS (
    SELECT FROM tasker.worker_handlers h
    WHERE h.live AND h.handler = s.handler
      AND (h.namespaces IS NULL OR t.namespace_name = ANY (h.namespaces)));
COMMENT ON VIEW tasker.unannounced_handlers IS 'Every step of a template whose handler no live worker announces for its namespace; handlers inside the database (sql:...) aside. Workers may work without announcing anything: if none announces, every step is listed here, and only waiting tells whether that matters.';
COMMENT ON COLUMN tasker.unannounced_handlers.namespace_name IS 'Namespace of the template.';
COMMENT ON COLUMN tasker.unannounced_handlers.task_name IS 'Name of the template.';
COMMENT ON COLUMN tasker.unannounced_handlers.version IS 'Its version, x.y.z.';
COMMENT ON COLUMN tasker.unannounced_handlers.latest IS 'Whether it is the highest version: new tasks will need the handler.';
COMMENT ON COLUMN tasker.unannounced_handlers.step_no IS 'Number of the step, from 1, in topological order.';
COMMENT ON COLUMN tasker.unannounced_handlers.step_name IS 'Name of the step.';
COMMENT ON COLUMN tasker.unannounced_handlers.handler IS 'The handler that it calls.';
COMMENT ON COLUMN tasker.unannounced_handlers.queue IS 'The queue in which the step waits for a worker.';
COMMENT ON COLUMN tasker.unannounced_handlers.waiting IS 'ready if such a step is in the queue, now or for a retry; pending if one of an open task waits for its parents; NULL if no work needs the handler now. Looks through the queue and the tasks of the template; leave it out of the SELECT and it costs nothing.';
COMMENT ON COLUMN tasker.unannounced_handlers.last_seen_at IS 'When a worker that announced the handler, for any namespace, last called; NULL if none did lately.';
COMMENT ON COLUMN tasker.unannounced_handlers.hint IS 'What to do about it.';
GRANT SELECT ON tasker.unannounced_handlers TO tasker_reader;

CREATE OR REPLACE VIEW tasker.registered_namespaces AS
SELECT n.name,
       ns.task_namespace_id,
       ns.description,
       n.name = 'default' AS is_default,
       COALESCE(ns.paused, false) AS paused,
       (SELECT count(DISTINCT t.name) FROM tasker.named_tasks t
        WHERE t.task_namespace_id = ns.task_namespace_id) AS templates,
       (SELECT count(*) FROM tasker.named_tasks t
        WHERE t.task_namespace_id = ns.task_namespace_id) AS versions,
       (SELECT count(DISTINCT s.handler)
        FROM tasker.named_tasks t
        JOIN tasker.named_tasks_named_steps s ON s.named_task_id = t.named_task_id
        WHERE t.task_namespace_id = ns.task_namespace_id) AS handlers,
       ARRAY(SELECT q.name FROM tasker_engine.queues q
             WHERE q.task_namespace_id = ns.task_namespace_id ORDER BY q.name) AS queues,
       (SELECT count(*) FROM tasker_engine.workers w
        WHERE w.worker_no = ANY (ARRAY(SELECT l.worker_no FROM tasker_engine.live_workers l)) AND n.name = ANY (w.namespaces)) AS live_workers,
       (SELECT count(*)
        FROM tasker.named_tasks t
        JOIN tasker_engine.tasks k ON k.named_task_id = t.named_task_id
        WHERE t.task_namespace_id = ns.task_namespace_id
          AND tasker_engine.is_open(k.state)) AS open_tasks
FROM (SELECT o.name FROM tasker.task_namespaces o UNION SELECT 'default') n
LEFT JOIN tasker.task_namespaces ns ON ns.name = n.name;
COMMENT ON VIEW tasker.registered_namespaces IS 'Every namespace with what is registered in it; default is always listed, even before it exists. Every column but open_tasks is cheap.';
COMMENT ON COLUMN tasker.registered_namespaces.name IS 'Its name.';
COMMENT ON COLUMN tasker.registered_namespaces.task_namespace_id IS 'The row of tasker.task_namespaces; NULL for the default namespace before it exists.';
COMMENT ON COLUMN tasker.registered_namespaces.description IS 'Free text.';
COMMENT ON COLUMN tasker.registered_namespaces.is_default IS 'Whether it is the namespace that is used when none is named.';
COMMENT ON COLUMN tasker.registered_namespaces.paused IS 'Whether claims skip it.';
COMMENT ON COLUMN tasker.registered_namespaces.templates IS 'Names of templates in it.';
COMMENT ON COLUMN tasker.registered_namespaces.versions IS 'Versions of templates in it.';
COMMENT ON COLUMN tasker.registered_namespaces.handlers IS 'Different handlers that these call.';
COMMENT ON COLUMN tasker.registered_namespaces.queues IS 'Its queues.';
COMMENT ON COLUMN tasker.registered_namespaces.live_workers IS 'Live workers that claim from it.';
COMMENT ON COLUMN tasker.registered_namespaces.open_tasks IS 'Tasks that are pending or in progress. Reads all tasks of the namespace; leave it out of the SELECT and it costs nothing.';
GRANT SELECT ON tasker.registered_namespaces TO tasker_reader;

CREATE OR REPLACE VIEW tasker.registry_statistics AS
SELECT (SELECT count(*) FROM tasker.task_namespaces) AS namespaces,
       (SELECT count(DISTINCT t.qualified_name) FROM tasker.registered_templates t) AS templates,
       (SELECT count(*) FROM tasker.named_tasks) AS versions,
       (SELECT count(*) FROM tasker.named_tasks_named_steps) AS steps,
       (SELECT count(DISTINCT s.handler) FROM tasker.named_tasks_named_steps s) AS handlers,
       (SELECT count(DISTINCT h.handler) FROM tasker.worker_handlers h WHERE h.live) AS announced_handlers,
       (SELECT count(*) FROM tasker.unannounced_handlers) AS unannounced_steps,
       (SELECT count(*) FROM tasker_engine.live_workers w) AS live_workers,
       (SELECT count(DISTINCT h.worker_id) FROM tasker.worker_handlers h WHERE h.live) AS announcing_workers,
       (SELECT count(DISTINCT p.name) FROM tasker.plugins p) AS plugins,
       (SELECT count(DISTINCT p.name) FROM tasker.plugins p
        WHERE p.other_versions <> '{}') AS plugin_conflicts;
COMMENT ON VIEW tasker.registry_statistics IS 'The registry in one row of numbers. Cheap: it reads templates and announcements, but no tasks.';
COMMENT ON COLUMN tasker.registry_statistics.namespaces IS 'Namespaces.';
COMMENT ON COLUMN tasker.registry_statistics.templates IS 'Templates, all versions counted as one.';
COMMENT ON COLUMN tasker.registry_statistics.versions IS 'Versions of templates.';
COMMENT ON COLUMN tasker.registry_statistics.steps IS 'Steps of these versions.';
COMMENT ON COLUMN tasker.registry_statistics.handlers IS 'Different handlers that steps call.';
COMMENT ON COLUMN tasker.registry_statistics.announced_handlers IS 'Different handlers that live workers announce.';
COMMENT ON COLUMN tasker.registry_statistics.unannounced_steps IS 'Rows of tasker.unannounced_handlers.';
COMMENT ON COLUMN tasker.registry_statistics.live_workers IS 'Live workers, announcing or not.';
COMMENT ON COLUMN tasker.registry_statistics.announcing_workers IS 'Live workers that announced something.';
COMMENT ON COLUMN tasker.registry_statistics.plugins IS 'Plugins that live workers have, by name.';
COMMENT ON COLUMN tasker.registry_statistics.plugin_conflicts IS 'Plugins that live workers have in different versions.';
GRANT SELECT ON tasker.registry_statistics TO tasker_reader;
