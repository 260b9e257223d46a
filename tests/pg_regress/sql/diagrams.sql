-- task_diagram, template_diagram, task_diagrams.
SELECT play.templates('diagrams');
\pset format unaligned
\pset tuples_only on
SELECT tasker.template_diagram('diamond', 'diagrams');
SELECT tasker.template_diagram('diamond', 'diagrams', format => 'dot');
SELECT tasker.template_diagram('line', 'diagrams', '0.1.0', 'svg') LIKE '<svg%first%second%third%</svg>%';
SELECT tasker.create_task('diamond', namespace => 'diagrams') AS task \gset
SELECT * FROM play.work('diagrams', failing => '{left}');
SELECT regexp_replace(tasker.task_diagram(:'task'), '[0-9.]+ m?s\M', 'N ms', 'g');
SELECT regexp_replace(tasker.task_diagram(:'task', 'dot'), '[0-9.]+ m?s\M', 'N ms', 'g');
SELECT tasker.task_diagram(:'task', 'svg') LIKE '<svg%top%left%right%bottom%</svg>%';
SELECT play.short(regexp_replace(tasker.task_diagram(:'task', 'json'), '"duration_ms":[0-9]+', '"duration_ms":N', 'g'));
SELECT tasker.task_diagram(:'task', 'html') LIKE '<!DOCTYPE html>%<svg%</svg>%<table>%left%bottom%</html>%';
SET tasker.diagram_step_url = 'https://ops.example/tasks/{task_uuid}/{name}';
SELECT tasker.task_diagram(:'task') LIKE '%click s1 href "https://ops.example/tasks/' || :'task' || '/top"%';
RESET tasker.diagram_step_url;
SELECT play.short(jsonb_pretty(nodes)) FROM tasker.task_diagrams WHERE task_uuid = :'task';
SELECT play.short(jsonb_pretty(edges)) FROM tasker.task_diagrams WHERE task_uuid = :'task';
SELECT diagram = tasker.task_diagram(task_uuid) FROM tasker.task_diagrams WHERE task_uuid = :'task';
-- What is refused, with its SQLSTATE.
\set SHOW_CONTEXT never
SELECT tasker.task_diagram(:'task', 'png'); \echo :SQLSTATE
SET tasker.diagram_step_url = 'javascript:alert(1)'; \echo :SQLSTATE
SET tasker.diagram_task_url = '/tasks/{step_uuid}'; \echo :SQLSTATE
SELECT tasker.task_diagram(NULL); \echo :SQLSTATE
SELECT tasker.task_diagram('00000000-0000-7000-8000-000000000000'); \echo :SQLSTATE
SELECT tasker.template_diagram('diamond', 'diagrams', format => 'png'); \echo :SQLSTATE
SELECT tasker.template_diagram('nothing'); \echo :SQLSTATE
