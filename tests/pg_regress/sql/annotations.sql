-- Notes and tags on tasks, and objects of outside systems.
SELECT play.templates('annotations');
SELECT tasker.create_task('line', namespace => 'annotations', tags => '["first"]') AS task \gset

-- A kind of note is created with its first note; a task can have several of one kind.
SELECT tasker.annotate_task(:'task', 'review', '{"by": "ada", "stars": 4}') < tasker.annotate_task(:'task', 'review', '"looks good"') AS ascending;
SELECT tasker.annotation_type_name(a), annotation FROM tasker.task_annotations a WHERE task_uuid = :'task' ORDER BY task_annotation_id;
SELECT tasker.find_or_create_annotation_type('risk', 'some text') = tasker.find_or_create_annotation_type('risk', 'another text') AS same;
SELECT name, description FROM tasker.annotation_types WHERE name IN ('review', 'risk') ORDER BY name;
SELECT context FROM tasker.tasks_by_annotation(' review ', 'stars', '4') WHERE task_uuid = :'task';
SELECT count(*) FROM tasker.tasks_by_annotation('review', 'by', 'bob');

-- Tags are added and removed one by one, in any state of the task.
SELECT tasker.tag_task(:'task', '["second", "first", "second"]');
SELECT tasker.untag_task(:'task', '["first", "never there"]');
SELECT tasker.cancel_task(:'task');
SELECT tasker.tag_task(:'task', '["late"]'), tasker.untag_task(:'task', '[]') AS unchanged;
SELECT t.tags FROM tasker.tasks_with_tag('late') t WHERE task_uuid = :'task';
SELECT t.tags FROM tasker.tasks_with_tags('["late", "second"]') t WHERE task_uuid = :'task';
SELECT count(*) FROM tasker.tasks_with_tags('["late", "first"]') WHERE task_uuid = :'task';

-- A pair of objects is one row in either order.
SELECT tasker.find_or_create_dependent_system('erp', 'books') = tasker.find_or_create_dependent_system('erp') AS same,
       tasker.find_or_create_dependent_system('wms') IS NOT NULL AS another;
SELECT tasker.find_or_create_dependent_system_object_map('erp', 'e-1', 'wms', 'w-1') AS map \gset
SELECT tasker.find_or_create_dependent_system_object_map('erp', 'e-1', 'wms', 'w-1') = :map AS same,
       tasker.find_or_create_dependent_system_object_map('wms', 'w-1', 'erp', 'e-1') = :map AS turned,
       tasker.find_or_create_dependent_system_object_map('erp', 'w-1', 'wms', 'e-1') = :map AS crossed;
SELECT d.name, d.description, m.remote_id_one, m.remote_id_two FROM tasker.dependent_system_object_maps m
JOIN tasker.dependent_systems d ON dependent_system_id = dependent_system_one_id WHERE dependent_system_object_map_id = :map;
-- What is in use is kept.
SELECT left(play.refusal($$DELETE FROM tasker.annotation_types WHERE name = 'review'$$), 5) AS type,
       left(play.refusal($$DELETE FROM tasker.dependent_systems WHERE name = 'erp'$$), 5) AS system;

\set unknown '00000000-0000-7000-8000-000000000000'
SELECT play.refusal(format('SELECT tasker.annotate_task(%L, ''review'', ''{}'')', :'unknown'));
SELECT play.refusal(format('SELECT tasker.tag_task(%L, ''["x"]'')', :'unknown'));
SELECT play.refusal($$SELECT tasker.find_or_create_dependent_system_object_map('erp', 'e-1', 'moon', 'm-1')$$);
-- What is refused, with its SQLSTATE.
\set SHOW_CONTEXT never
SELECT tasker.annotate_task(:'task', NULL, '{}'); \echo :SQLSTATE
SELECT tasker.annotate_task(:'task', ' ', '{}'); \echo :SQLSTATE
SELECT tasker.annotate_task(:'task', 'review', NULL); \echo :SQLSTATE
SELECT tasker.find_or_create_annotation_type(repeat('x', 65)); \echo :SQLSTATE
SELECT tasker.find_or_create_dependent_system(NULL); \echo :SQLSTATE
SELECT tasker.find_or_create_dependent_system_object_map('erp', '', 'wms', 'w-1'); \echo :SQLSTATE
SELECT tasker.tag_task(:'task', '"x"'); \echo :SQLSTATE
SELECT tasker.tag_task(:'task', NULL); \echo :SQLSTATE
SELECT tasker.untag_task(NULL, '[]'); \echo :SQLSTATE
SELECT tasker.untag_task(:'unknown', '[]'); \echo :SQLSTATE
SELECT count(*) FROM tasker.tasks_by_annotation('review', NULL, '4'); \echo :SQLSTATE
SELECT count(*) FROM tasker.tasks_with_tag(NULL); \echo :SQLSTATE
SELECT count(*) FROM tasker.tasks_with_tags(NULL); \echo :SQLSTATE
