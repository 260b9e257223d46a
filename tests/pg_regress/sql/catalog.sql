-- Scopes and methods of templates and namespaces; deleting them.
SELECT play.templates('catalog');
SELECT tasker.register_template(format('{"name": "grown", "namespace_name": "catalog", "version": "%s", "steps": [{"name": "a", "handler": "x"}]}', v)) > 0 AS registered
FROM unnest('{0.9.0,0.10.0,0.2.0}'::text[]) v;
SELECT name, version FROM tasker.named_tasks_in_namespace('catalog') ORDER BY name, version_order;
SELECT name, version FROM tasker.named_tasks_with_version('0.10.0') WHERE name = 'grown';
-- The highest version is the highest by number.
SELECT t.name, t.version FROM tasker.named_tasks_latest_versions() t JOIN tasker.task_namespaces n USING (task_namespace_id)
WHERE n.name = 'catalog' ORDER BY 1;
SELECT version FROM tasker.find_named_task('grown', 'catalog');
SELECT version FROM tasker.find_named_task('grown', 'catalog', '0.2.0');
SELECT version FROM tasker.find_latest_version('catalog', 'grown');
SELECT tasker.version_exists('catalog', 'grown', '0.9.0'), tasker.version_exists('catalog', 'grown', '0.9.1') AS another, tasker.version_exists('nowhere', 'grown', '0.9.0') AS elsewhere;
SELECT (SELECT count(*) FROM tasker.find_named_task('grown')) AS in_default, (SELECT count(*) FROM tasker.find_latest_version('catalog', 'nothing')) AS unknown;
SELECT s.step_no, s.name, s.parents, s.children FROM tasker.find_named_task('diamond', 'catalog') t, tasker.named_tasks_named_steps_for_named_task(t.named_task_id) s
ORDER BY s.step_no;
SELECT count(*) FROM tasker.named_tasks_named_steps_for_named_task(-1);

SELECT tasker.find_or_create_namespace('catalog empty', 'nothing in it') = tasker.find_or_create_namespace('catalog empty', 'another text') AS same,
       tasker.find_or_create_namespace() = tasker.find_or_create_namespace('default') AS default;
SELECT name, description FROM tasker.task_namespaces_custom() WHERE name IN ('catalog empty', 'catalog', 'default') ORDER BY name;

-- A version goes as long as no task uses it, a namespace when no template is left in it.
SELECT tasker.create_task('line', namespace => 'catalog') IS NOT NULL AS created;
SELECT play.refusal($$SELECT tasker.delete_template('line', 'catalog', '0.1.0')$$);
SELECT play.refusal($$SELECT tasker.delete_template('grown', 'catalog', '0.9.1')$$);
SELECT play.refusal($$SELECT tasker.delete_namespace('catalog')$$);
SELECT play.refusal($$SELECT tasker.delete_namespace('Catalog Empty')$$);
SELECT tasker.delete_template('grown', 'catalog', '0.10.0') > 0 AS deleted;
SELECT version FROM tasker.find_latest_version('catalog', 'grown');
SELECT tasker.delete_namespace('catalog empty') IS NOT NULL AS deleted, tasker.version_exists('catalog', 'grown', '0.10.0');
SELECT count(*) FROM tasker.task_namespaces WHERE name = 'catalog empty';
-- What is refused, with its SQLSTATE.
\set SHOW_CONTEXT never
SELECT count(*) FROM tasker.named_tasks_in_namespace(NULL); \echo :SQLSTATE
SELECT count(*) FROM tasker.named_tasks_with_version(NULL); \echo :SQLSTATE
SELECT count(*) FROM tasker.find_named_task(NULL, 'catalog'); \echo :SQLSTATE
SELECT count(*) FROM tasker.find_latest_version(NULL, 'line'); \echo :SQLSTATE
SELECT tasker.version_exists('catalog', 'line', NULL); \echo :SQLSTATE
SELECT count(*) FROM tasker.named_tasks_named_steps_for_named_task(NULL); \echo :SQLSTATE
SELECT tasker.find_or_create_namespace(' '); \echo :SQLSTATE
SELECT tasker.find_or_create_namespace(repeat('x', 65)); \echo :SQLSTATE
SELECT tasker.delete_template(NULL, 'catalog', '0.1.0'); \echo :SQLSTATE
SELECT tasker.delete_template('line', 'catalog', 'one'); \echo :SQLSTATE
SELECT tasker.delete_namespace(NULL); \echo :SQLSTATE
