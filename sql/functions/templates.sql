-- Templates: register, check, export, find.

-- Not SECURITY DEFINER: a handler inside the database runs with the rights of the role that registered its template.
-- It reads templates, which are few: an index is all that its plans need, so it is in no list of plans.sql.
CREATE OR REPLACE FUNCTION tasker.register_template(template text, replace boolean DEFAULT false)
RETURNS bigint AS 'MODULE_PATHNAME', 'register_template' LANGUAGE c VOLATILE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off;
COMMENT ON FUNCTION tasker.register_template(text, boolean) IS
'Stores a template and returns its named_task_id. The namespace is created with its first template. A version that a task uses is immutable. 42601 if it cannot be read, with line and column; 42P17 with every problem in the DETAIL if it breaks the rules; what validate_template warns of is a WARNING. A version that exists with the same content changes nothing and returns its id; 23505 if it exists with another one and replace is not given; 55000 if a task uses it. Rule: docs/concepts.md#templates.
template: YAML 1.2, or JSON if it begins with a brace.
replace: Whether a version that exists with another content is replaced, which is possible while no task uses it.';
GRANT EXECUTE ON FUNCTION tasker.register_template(text, boolean) TO tasker_admin;

CREATE OR REPLACE FUNCTION tasker.validate_template(template text)
RETURNS TABLE (severity text, path text, message text)
AS 'MODULE_PATHNAME', 'validate_template' LANGUAGE c STABLE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.validate_template(text) IS
'Every problem of a template at once, one row per problem; no row for a good one. Stores nothing, and a text that cannot be read is a row too. Rule: docs/concepts.md#templates.
template: YAML 1.2, or JSON if it begins with a brace.
severity: error or warning; only errors keep register_template from taking it.
path: Where in the text, such as steps[1].retries; empty for the whole.
message: What is wrong, in words.';
GRANT EXECUTE ON FUNCTION tasker.validate_template(text) TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.export_template(name text, namespace text DEFAULT 'default', version text DEFAULT NULL)
RETURNS jsonb AS 'MODULE_PATHNAME', 'export_template' LANGUAGE c STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.export_template(text, text, text) IS
'A template as JSON that register_template reads again, with all its environments. P0002 if there is none. Rule: docs/concepts.md#versions.
name: Name of the template.
namespace: Its namespace.
version: x.y.z; NULL is the highest by semantic version.';
GRANT EXECUTE ON FUNCTION tasker.export_template(text, text, text) TO tasker_reader;

-- A function of its own and not a join: the planner asks it while it estimates, and so knows how many tasks these
-- templates have. Its cost keeps it out of conditions that are checked row by row.
CREATE OR REPLACE FUNCTION tasker_engine.named_task_ids(namespace_name text, name text, version text)
RETURNS integer[] LANGUAGE sql STABLE PARALLEL SAFE COST 1000
BEGIN ATOMIC
    SELECT ARRAY(
        SELECT nt.named_task_id
        FROM tasker.named_tasks nt
        JOIN tasker.task_namespaces ns ON ns.task_namespace_id = nt.task_namespace_id
        WHERE ($1 IS NULL OR ns.name = $1)
          AND ($2 IS NULL OR nt.name = $2)
          AND ($3 IS NULL OR nt.version = $3));
END;
COMMENT ON FUNCTION tasker_engine.named_task_ids(text, text, text) IS
'The templates of a namespace, of a name, of a version; NULL is any.';
GRANT EXECUTE ON FUNCTION tasker_engine.named_task_ids(text, text, text) TO tasker_reader;
