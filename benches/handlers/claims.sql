-- 300,000 steps of 1,000 handlers are pending: h_0 to h_99 have 2,950 each, the others the rest. Each kind of claim takes 10 steps a call; the
-- kinds alternate, so that other load affects all of them. Prints microseconds a call: mean, median, and the first call of a new session.
\set QUIET on
\timing off
CREATE EXTENSION tasker_ext;
SELECT count(tasker.register_template(jsonb_build_object('name', 'one_' || n, 'steps',
    jsonb_build_array(jsonb_build_object('name', 'only', 'handler', 'work.h_' || n)))::text))
FROM generate_series(0, 999) n \g /dev/null
DO $$
BEGIN
    FOR turn IN 1..59 LOOP
        FOR n IN 0..99 LOOP
            PERFORM tasker.create_tasks('one_' || n, array_fill('{}'::jsonb, ARRAY[50]));
        END LOOP;
        COMMIT;
    END LOOP;
    FOR n IN 100..999 LOOP
        PERFORM tasker.create_tasks('one_' || n, array_fill('{}'::jsonb, ARRAY[6]));
    END LOOP;
END $$;
VACUUM ANALYZE;
CREATE TABLE measured (kind text, call integer, us double precision, got integer);
CREATE PROCEDURE measure(calls integer) LANGUAGE plpgsql AS $$
DECLARE
    kinds CONSTANT jsonb := jsonb_build_object('a plain', NULL, 'b 1 of 100', '["work.h_7"]',
        'c 10 of 100', (SELECT jsonb_agg('work.h_' || n) FROM generate_series(20, 29) n),
        'd 1,000', (SELECT jsonb_agg('work.h_' || n) FROM generate_series(0, 999) n),
        'e none of it', '["work.h_none"]');
    kind record;
    began timestamptz;
    got integer;
    names text[];
BEGIN
    FOR nth IN 1..calls LOOP
        FOR kind IN SELECT k.key, k.value FROM jsonb_each_text(kinds) k ORDER BY k.key LOOP
            names := (SELECT array_agg(n) FROM jsonb_array_elements_text(kind.value::jsonb) n);
            began := clock_timestamp();
            SELECT count(*) INTO got FROM tasker.claim_steps('bench', max_steps => 10, handlers => names);
            INSERT INTO measured VALUES (kind.key, nth, extract(epoch FROM clock_timestamp() - began) * 1e6, got);
            COMMIT;
        END LOOP;
    END LOOP;
END $$;
CALL measure(250);
\pset footer off
SELECT kind, round(avg(us) FILTER (WHERE call > 1)) AS mean,
       round(percentile_cont(0.5) WITHIN GROUP (ORDER BY us) FILTER (WHERE call > 1)) AS median,
       round(avg(us) FILTER (WHERE call = 1)) AS first, sum(got) AS steps,
       round((avg(us) FILTER (WHERE call > 1) / first_value(avg(us) FILTER (WHERE call > 1)) OVER (ORDER BY kind))::numeric, 2) AS mean_by_plain
FROM measured GROUP BY kind ORDER BY kind;
