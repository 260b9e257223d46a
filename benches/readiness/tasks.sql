-- :tasks open tasks, half of them five steps in a row, half a diamond of seven, each brought to a stage of its own: steps complete,
-- running, failed and waiting for a retry, failed permanently.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION tasker_ext;
SELECT tasker.register_template('{"name": "linear_5", "steps": [{"name": "a", "handler": {"callable": "b"}},
    {"name": "b", "handler": {"callable": "b"}, "depends_on_steps": ["a"]}, {"name": "c", "handler": {"callable": "b"}, "depends_on_steps": ["b"]},
    {"name": "d", "handler": {"callable": "b"}, "depends_on_steps": ["c"]}, {"name": "e", "handler": {"callable": "b"}, "depends_on_steps": ["d"]}]}'),
       tasker.register_template('{"name": "diamond_7", "steps": [{"name": "start", "handler": {"callable": "b"}},
    {"name": "one_a", "handler": {"callable": "b"}, "depends_on_steps": ["start"]}, {"name": "one_b", "handler": {"callable": "b"}, "depends_on_steps": ["one_a"]},
    {"name": "two_a", "handler": {"callable": "b"}, "depends_on_steps": ["start"]}, {"name": "two_b", "handler": {"callable": "b"}, "depends_on_steps": ["two_a"]},
    {"name": "merge", "handler": {"callable": "b"}, "depends_on_steps": ["one_b", "two_b"]}, {"name": "end", "handler": {"callable": "b"}, "depends_on_steps": ["merge"]}]}')
\g /dev/null
SELECT count(*) FROM (VALUES ('linear_5'), ('diamond_7')) v (name), LATERAL tasker.create_tasks(name, array_fill('{"order": 17}'::jsonb, ARRAY[:tasks / 2])) \g /dev/null

-- Four rounds: a tenth stays claimed, a tenth fails and waits for an hour, a branch of the diamond sometimes fails permanently.
SELECT setseed(0.25) \g /dev/null
\ir round.sql
\ir round.sql
\ir round.sql
\ir round.sql
VACUUM (ANALYZE);
