-- What templates want run, and what workers say they can run.
SELECT play.templates('registry');
SELECT tasker.register_template('{"name": "line", "namespace_name": "registry", "version": "0.2.0", "description": "shorter",
    "steps": [{"name": "first", "handler": "play.first"}, {"name": "here", "handler": "sql:public.nothing", "depends_on_steps": ["first"]}]}') > 0 AS registered;
SELECT name, full_name, qualified_name, description, latest, steps, handlers, configuration ->> 'version' AS configured, used, last_requested_at, tasks_by_state
FROM tasker.registered_templates WHERE namespace_name = 'registry' ORDER BY name, version \gx
SELECT tasker.create_task('diamond', namespace => 'registry') AS task \gset
SELECT play.work('registry', failing => '{left}');
SELECT tasker.create_task('diamond', namespace => 'registry') AS task \gset
SELECT used, last_requested_at IS NOT NULL AS requested, tasks_by_state FROM tasker.registered_templates WHERE full_name = 'registry.diamond@1.2.0';

-- No worker announces: handlers that need a worker are listed with the steps that wait for them. Handlers in the database need none.
SELECT task_name, version, latest, step_no, step_name, handler, queue, waiting, last_seen_at FROM tasker.unannounced_handlers
WHERE namespace_name = 'registry' ORDER BY task_name, version, step_no;
SELECT DISTINCT hint FROM tasker.unannounced_handlers WHERE namespace_name = 'registry';

CREATE TEMP TABLE before AS SELECT * FROM tasker.registry_statistics;
SELECT tasker.register_handlers('registry-1', '{registry.extra,play.top,play.top,play.left}', '{registry}', 'play-pack', '1.0.0', '{"lang": "ruby"}');
SELECT tasker.register_handlers('registry-2', '{play.top}', plugin => 'play-pack', plugin_version => '1.1.0');
SELECT tasker.register_handlers('registry-2', '{play.right}', '{elsewhere}');
SELECT worker_id, handler, namespaces, plugin, plugin_version, metadata, live, announced_at <= clock_timestamp() AS announced, last_seen_at <= clock_timestamp() AS seen
FROM tasker.worker_handlers WHERE worker_id LIKE 'registry-%' ORDER BY 1, 2;
SELECT name, version, handlers, live_workers, worker_ids, other_versions FROM tasker.plugins WHERE name = 'play-pack' ORDER BY version;
SELECT handler, steps > 0 AS used, live_workers, plugins, last_seen_at IS NOT NULL AS seen FROM tasker.handlers_in_namespace('registry') ORDER BY handler;
SELECT handler, namespaces, templates, steps, live_workers, plugins FROM tasker.handlers WHERE handler = 'registry.extra';
SELECT templates FROM tasker.handlers WHERE handler = 'sql:public.nothing';
SELECT count(*) FROM tasker.handlers_in_namespace('nowhere');
SELECT task_name, version, step_name, waiting, last_seen_at IS NOT NULL AS seen, hint FROM tasker.unannounced_handlers
WHERE namespace_name = 'registry' ORDER BY task_name, version, step_no;
SELECT n.announced_handlers - o.announced_handlers AS announced_handlers, n.unannounced_steps - o.unannounced_steps < 0 AS fewer_unannounced,
       n.announcing_workers - o.announcing_workers AS announcing_workers, n.live_workers - o.live_workers AS live_workers,
       n.plugins - o.plugins AS plugins, n.plugin_conflicts - o.plugin_conflicts AS plugin_conflicts,
       n.namespaces = (SELECT count(*) FROM tasker.task_namespaces) AS namespaces, n.versions = (SELECT count(*) FROM tasker.named_tasks) AS versions,
       n.templates = (SELECT count(DISTINCT (task_namespace_id, name)) FROM tasker.named_tasks) AS templates,
       n.steps = (SELECT count(*) FROM tasker.named_tasks_named_steps) AS steps,
       n.handlers = (SELECT count(DISTINCT handler) FROM tasker.named_tasks_named_steps) AS handlers
FROM tasker.registry_statistics n, before o \gx
SELECT name, task_namespace_id IS NOT NULL AS there, description, is_default, paused, templates, versions, handlers, queues, live_workers > 0 AS live_workers, open_tasks
FROM tasker.registered_namespaces WHERE name = 'registry' \gx
SELECT name FROM tasker.registered_namespaces WHERE is_default;

-- Announcing again replaces; a worker has one version of a plugin, which all its handlers change together.
SELECT play.refusal($$SELECT tasker.register_handlers('registry-1', '{play.top}', plugin => 'play-pack', plugin_version => '2.0.0')$$);
SELECT tasker.register_handlers('registry-1', '{play.top,play.left,registry.extra}', plugin => 'play-pack', plugin_version => '1.1.0');
SELECT version, handlers, live_workers, other_versions FROM tasker.plugins WHERE name = 'play-pack';
SELECT tasker.unregister_handlers('registry-1', '{play.left,never.there}') AS one, tasker.unregister_handlers('registry-1') AS rest,
       tasker.unregister_handlers('registry-1') AS again, tasker.unregister_handlers('no one') AS no_one;
SELECT tasker.unregister_handlers('registry-2');
SELECT count(*) FROM tasker.worker_handlers WHERE worker_id LIKE 'registry-%';
-- What is refused, with its SQLSTATE.
\set SHOW_CONTEXT never
SELECT tasker.register_handlers(NULL, '{x}'); \echo :SQLSTATE
SELECT tasker.register_handlers('w', NULL); \echo :SQLSTATE
SELECT tasker.register_handlers('w', '{NULL}'); \echo :SQLSTATE
SELECT tasker.register_handlers('w', '{x,""}'); \echo :SQLSTATE
SELECT tasker.register_handlers('w', '{x}', '{}'); \echo :SQLSTATE
SELECT tasker.register_handlers('w', '{x}', plugin_version => '1.0.0'); \echo :SQLSTATE
SELECT tasker.register_handlers('w', '{x}', plugin => 'p', plugin_version => 'one'); \echo :SQLSTATE
SELECT tasker.register_handlers('w', '{x}', metadata => '[]'); \echo :SQLSTATE
SELECT tasker.unregister_handlers(''); \echo :SQLSTATE
SELECT count(*) FROM tasker.handlers_in_namespace(NULL); \echo :SQLSTATE
