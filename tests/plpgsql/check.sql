-- plpgsql_check reads every function of the extension in PL/pgSQL: names, types and statements that would fail when they run.
CREATE EXTENSION plpgsql_check;

CREATE TEMPORARY VIEW findings AS
SELECT p.oid::regprocedure AS function, f.lineno, f.statement, f.level, f.sqlstate, f.message, f.detail, f.hint
FROM pg_proc p
JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'plpgsql'
-- A function of a trigger is read together with the table; once, however many triggers call it.
LEFT JOIN LATERAL (SELECT t.tgrelid FROM pg_trigger t WHERE t.tgfoid = p.oid LIMIT 1) t ON true
CROSS JOIN LATERAL plpgsql_check_function_tb(
    p.oid, coalesce(t.tgrelid, 0), fatal_errors => false, performance_warnings => false, extra_warnings => true) f
WHERE p.pronamespace IN ('tasker'::regnamespace, 'tasker_engine'::regnamespace);

\pset format unaligned
\pset tuples_only on
SELECT format('%s %s', CASE WHEN EXISTS (SELECT FROM findings f WHERE f.function = p.oid) THEN 'not ok' ELSE 'ok' END, p.oid::regprocedure)
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'plpgsql'
WHERE p.pronamespace IN ('tasker'::regnamespace, 'tasker_engine'::regnamespace)
ORDER BY 1;
\pset tuples_only off
\pset expanded on
SELECT * FROM findings;
