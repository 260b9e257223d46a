-- register_template, validate_template, export_template, and the tables they fill.
SELECT tasker.register_template($$
name: invoice
namespace_name: billing
version: 1.0.0
description: Computes, sends and books
input_schema: {type: object, required: [order_id]}
steps:
  - {name: compute, handler: billing.compute, dependent_system: ledger}
  - name: send
    handler: {callable: billing.send, initialization: {channel: email}}
    depends_on_steps: [compute]
    default_retry_limit: 5
    skippable: true
    priority: high
    timeout_seconds: 60
  - {name: book, handler: billing.book, depends_on_steps: [compute], queue: books, default_retryable: false}
environments:
  development: {steps: [{name: send, handler: {initialization: {channel: log}}}]}
$$) > 0 AS registered;
SELECT name, description, paused FROM tasker.task_namespaces WHERE name = 'billing';
SELECT t.name, version, t.description, version_order, environment FROM tasker.named_tasks t WHERE name = 'invoice';
SELECT s.step_no, s.name, skippable, default_retryable, default_retry_limit, handler, handler_config, priority, timeout_seconds, parents, children
FROM tasker.named_tasks_named_steps s JOIN tasker.named_tasks t USING (named_task_id) WHERE t.name = 'invoice' ORDER BY step_no;
SELECT s.name, d.name AS system FROM tasker.named_steps s JOIN tasker.dependent_systems d USING (dependent_system_id)
WHERE s.name IN ('compute', 'send', 'book') ORDER BY 1;
SELECT jsonb_pretty(tasker.export_template('invoice', 'billing'));

-- The same content again changes nothing and returns the id; another one is refused, unless it is told to replace.
\set other '{"name": "invoice", "namespace_name": "billing", "version": "1.0.0", "steps": [{"name": "compute", "handler": "billing.compute"}]}'
SELECT named_task_id AS invoice FROM tasker.named_tasks WHERE name = 'invoice' \gset
SELECT tasker.register_template(tasker.export_template('invoice', 'billing')::text) = :invoice AS same;
SELECT tasker.register_template(tasker.export_template('invoice', 'billing')::text, replace => true) = :invoice AS same;
SELECT tasker.register_template(:'other'); \echo :SQLSTATE
SELECT tasker.register_template(:'other', replace => true) <> :invoice AS replaced;
SELECT tasker.create_task('invoice', namespace => 'billing') IS NOT NULL AS created;
SELECT play.refusal('SELECT tasker.register_template(''{"name": "invoice", "namespace_name": "billing", "version": "1.0.0", "steps": [{"name": "other", "handler": "x"}]}'', true)');

-- The highest version is the highest by number.
SELECT tasker.register_template('{"name": "numbered", "version": "0.9.0", "steps": [{"name": "old", "handler": "x"}]}') > 0 AS old,
       tasker.register_template('{"name": "numbered", "version": "0.10.0", "steps": [{"name": "new", "handler": "x"}]}') > 0 AS new;
SELECT tasker.export_template('numbered') ->> 'version' AS highest, tasker.export_template('numbered', version => '0.9.0') ->> 'version' AS old;

SELECT * FROM tasker.validate_template('{"name": "good", "steps": [{"name": "a", "handler": "x"}]}');
SELECT * FROM tasker.validate_template('{"name": "", "version": "one", "steps": [{"name": "a", "handler": "x", "depends_on_steps": ["b", "b"]},
    {"name": "b", "depends_on_steps": ["a"], "colour": "red"}, {"name": "b", "handler": "x", "default_retry_limit": -1}]}') ORDER BY 1, 2, 3;
SELECT * FROM tasker.validate_template('{"name": ');

-- What is refused, with its SQLSTATE.
\set SHOW_CONTEXT never
SELECT tasker.register_template(NULL); \echo :SQLSTATE
SELECT tasker.register_template('{"name": '); \echo :SQLSTATE
SELECT tasker.register_template('{"name": "none", "steps": []}'); \echo :SQLSTATE
SELECT tasker.export_template('nothing'); \echo :SQLSTATE
SELECT tasker.export_template('invoice', 'billing', '9.9.9'); \echo :SQLSTATE

-- A key that is spelled almost like a known one is an error, any other unknown one a WARNING; so is a kind of step that does not exist.
SELECT tasker.register_template('{"name": "mistyped", "steps": [{"name": "b", "handler": "h"},
  {"name": "a", "handler": "h", "depend_on_steps": ["b"], "retry": {"max_attempts": 1}, "colour": "red"}]}'); \echo :SQLSTATE
SELECT tasker.register_template('{"name": "mistyped", "steps": [{"name": "b", "handler": "h"}, {"name": "a", "handler": "h", "type": "decision"}]}'); \echo :SQLSTATE
SELECT tasker.register_template('{"name": "mistyped", "steps": [{"name": "b", "handler": "h", "retry": {"max_attempts": 5}, "default_retry_limit": 3}]}'); \echo :SQLSTATE
SELECT tasker.register_template('{"name": "mistyped", "steps": [{"name": "b", "handler": "h"},
  {"name": "a", "handler": "h", "depends_on_steps": ["b"], "retry": {"max_attempts": 1}, "colour": "red"}]}') > 0 AS registered;
SELECT s.name, s.parents, s.default_retry_limit FROM tasker.named_tasks_named_steps s JOIN tasker.named_tasks t USING (named_task_id)
WHERE t.name = 'mistyped' ORDER BY s.step_no;

-- At most twenty warnings, then their number.
SELECT tasker.register_template(jsonb_build_object('name', 'coloured', 'steps', (
    SELECT jsonb_agg(jsonb_build_object('name', 's' || n, 'handler', 'h', 'colour', 'red') ORDER BY n) FROM generate_series(1, 25) n))::text) > 0 AS registered;
