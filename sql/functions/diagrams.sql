-- Tasks and templates as pictures; drawn by crates/rules/src/graph/.

CREATE OR REPLACE FUNCTION tasker.task_diagram(task_uuid uuid, format text DEFAULT 'mermaid')
RETURNS text AS 'MODULE_PATHNAME', 'task_diagram' LANGUAGE c STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.task_diagram(uuid, text) IS
'A task as a picture with states, attempts and durations. 22023 for another format, P0002 for an unknown task.
format: mermaid, dot (Graphviz), svg and html (each self-contained), or json: title, url, nodes (id: step_uuid, name, level,
state, waits_for_retry, unreachable, attempts, retry_limit, duration_ms, note, url) and edges (from, to, name, satisfied).
The settings tasker.diagram_step_url and tasker.diagram_task_url make links.';
GRANT EXECUTE ON FUNCTION tasker.task_diagram(uuid, text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.template_diagram(
    name text, namespace text DEFAULT 'default', version text DEFAULT NULL, format text DEFAULT 'mermaid')
RETURNS text AS 'MODULE_PATHNAME', 'template_diagram' LANGUAGE c STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.template_diagram(text, text, text, text) IS
'A template as a picture. 22023 for another format, P0002 for an unknown template.
name: Name of the template.
namespace: Its namespace.
version: x.y.z; NULL is the highest by semantic version.
format: mermaid, dot (Graphviz), svg and html (each self-contained), or json, as for task_diagram without what only a task has.';
GRANT EXECUTE ON FUNCTION tasker.template_diagram(text, text, text, text) TO tasker_reader;
