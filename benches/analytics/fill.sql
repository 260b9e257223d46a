-- Tasks of five steps in a row as the engine leaves them when they have run, :tasks of them over the last :days days; one in a
-- hundred ended in error at its third step, one in a thousand was resolved by hand, the last 1,000 still run.
\set QUIET on
SET client_min_messages = warning;
SET synchronous_commit = off;
SET work_mem = '256MB';
SELECT setseed(0.5) \g /dev/null
SELECT tasker.register_template(
    '{"name": "linear_5", "namespace_name": "bench", "steps": [' || string_agg(format(
        '{"name": "step_%s", "handler": {"callable": "bench.step"}%s}', n,
        CASE WHEN n > 1 THEN format(', "depends_on_steps": ["step_%s"]', n - 1) ELSE '' END), ',' ORDER BY n) || ']}') AS template
FROM generate_series(1, 5) n \gset

CREATE TEMP TABLE made AS
SELECT n, requested_at, CASE WHEN n > :tasks - 1000 THEN 'i' WHEN n % 100 = 7 THEN 'e' ELSE 'c' END::"char" AS state,
       n % 1000 = 0 AS resolved,
       (substr(stamp, 1, 8) || '-' || substr(stamp, 9, 4) || '-7' || substr(noise, 1, 3) || '-8' || substr(noise, 4, 3) || '-'
        || substr(noise, 7, 8) || '0000')::uuid AS task_uuid
FROM (
    SELECT n, requested_at, lpad(to_hex((extract(epoch FROM requested_at) * 1000)::bigint), 12, '0') AS stamp, md5(n::text) AS noise
    FROM (SELECT n, clock.now - make_interval(secs => :days * 86400.0 * (:tasks - n) / :tasks) - '30 seconds'::interval AS requested_at
          FROM generate_series(1, :tasks) n, (SELECT clock_timestamp() AS now) clock) t
) t;

-- A step waits up to a second and runs up to two; how far a task has come is told by the number of its steps that ran.
CREATE TEMP TABLE ran AS
SELECT m.n, m.task_uuid, s.no, m.requested_at
       + make_interval(secs => sum(wait + run) OVER (PARTITION BY m.n ORDER BY s.no) - run) AS started_at,
       m.requested_at + make_interval(secs => sum(wait + run) OVER (PARTITION BY m.n ORDER BY s.no)) AS ended_at,
       CASE WHEN m.state = 'e' AND s.no = 3 THEN 'e' ELSE 'c' END::"char" AS state
FROM made m
CROSS JOIN LATERAL (SELECT no::smallint, random() + 0 * m.n AS wait, 2 * random() ^ 3 + 0 * m.n AS run
                    FROM generate_series(1, CASE m.state WHEN 'c' THEN 5 WHEN 'e' THEN 3 ELSE 2 END) no) s;

INSERT INTO tasker_engine.tasks (task_uuid, requested_at, started_at, completed_at, named_task_id, open_leaves, priority, state, watched,
                                 initiator, source_system, reason, tags, bypass_steps, context)
SELECT m.task_uuid, m.requested_at, r.started_at, CASE m.state WHEN 'c' THEN r.ended_at END, :template,
       CASE m.state WHEN 'c' THEN 0 ELSE 1 END, 2, m.state, m.state = 'e' OR m.resolved, 'bench', 'bench', 'bench', '[]', '[]',
       jsonb_build_object('number', m.n)
FROM made m JOIN (SELECT n, min(started_at) AS started_at, max(ended_at) AS ended_at FROM ran GROUP BY n) r USING (n)
ORDER BY m.n;

INSERT INTO tasker_engine.steps (task_uuid, named_task_id, claim_number, step_no, open_parents, attempts, retry_limit, priority, state,
                                 retryable, unreachable, results)
SELECT m.task_uuid, :template, CASE WHEN r.no IS NULL THEN 0 ELSE 1 END, s.no, 0, CASE WHEN r.no IS NULL THEN 0 ELSE 1 END,
       3, 2, CASE WHEN m.resolved AND s.no = 5 THEN 'r' ELSE coalesce(r.state, 'p') END, r.state IS DISTINCT FROM 'e', m.state = 'e' AND s.no > 3,
       CASE r.state WHEN 'c' THEN '{"ok": true}'::jsonb WHEN 'e' THEN '{"error_class": "Broken", "error_message": "it broke"}' END
FROM made m CROSS JOIN (SELECT no::smallint FROM generate_series(1, 5) no) s
LEFT JOIN ran r ON r.n = m.n AND r.no = s.no
ORDER BY m.n, s.no;

INSERT INTO tasker_engine.transitions (task_uuid, created_at, started_at, step_no, attempt, from_state, to_state, metadata)
SELECT l.task_uuid, l.created_at, l.started_at, l.no, CASE WHEN l.no = 0 THEN 0 ELSE 1 END, l.from_state, l.to_state,
       CASE WHEN l.to_state = 'e' AND l.no > 0 THEN format('{"error_class": "Class%s", "error_message": "it broke"}', l.n % 7)::jsonb ELSE '{}' END
FROM (
    SELECT n, task_uuid, requested_at AS created_at, NULL::timestamptz AS started_at, 0::smallint AS no, NULL::"char" AS from_state,
           'p'::"char" AS to_state, 1 AS turn FROM made
    UNION ALL SELECT n, task_uuid, min(started_at), NULL, 0, 'p', 'i', 3 FROM ran GROUP BY n, task_uuid
    UNION ALL SELECT n, task_uuid, started_at, NULL, no, 'p', 'i', 2 FROM ran
    UNION ALL SELECT n, task_uuid, ended_at, started_at, no, 'i', state, 4 FROM ran
    UNION ALL SELECT m.n, m.task_uuid, max(r.ended_at), NULL, 0, 'i', m.state, 5 FROM made m JOIN ran r USING (n)
              WHERE m.state <> 'i' GROUP BY m.n, m.task_uuid, m.state
) l
ORDER BY l.created_at, l.n, l.turn;
VACUUM (ANALYZE) tasker_engine.tasks, tasker_engine.steps, tasker_engine.transitions;
CHECKPOINT;
