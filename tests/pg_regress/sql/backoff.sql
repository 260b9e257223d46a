-- calculate_backoff: every kind, the cap, Retry-After, jitter, and the settings.
SET tasker.jitter_enabled = off;
SELECT n, tasker.calculate_backoff(n) AS listed, tasker.calculate_backoff(n, 'none') AS none, tasker.calculate_backoff(n, 'linear', 500) AS linear,
       tasker.calculate_backoff(n, 'exponential', 500) AS exponential, tasker.calculate_backoff(n, 'fibonacci', 500) AS fibonacci,
       tasker.calculate_backoff(n, base_ms => 500, max_ms => 3000) AS base_alone
FROM unnest(ARRAY[0, 1, 2, 3, 6, 7, 20, 1000]) n;
SELECT tasker.calculate_backoff(1, retry_after => '90 seconds') AS asked, tasker.calculate_backoff(1, retry_after => '1 day') AS capped,
       tasker.calculate_backoff(9, 'linear', retry_after => '0') AS at_once, tasker.calculate_backoff(1, retry_after => '-5 s') AS negative;
SELECT min(d) >= '1.5 s' AND max(d) <= '2.5 s' AND count(DISTINCT d) > 10 AS jittered
FROM (SELECT tasker.calculate_backoff(2, jitter => 0.25) AS d FROM generate_series(1, 100)) j;
SET tasker.default_backoff_seconds = '3, 5';
SET tasker.backoff_multiplier = 3;
SET tasker.max_backoff_seconds = '100s';
SELECT n, tasker.calculate_backoff(n) AS listed, tasker.calculate_backoff(n, 'exponential') AS exponential FROM generate_series(1, 5) n;
SET tasker.default_backoff_seconds = 'soon';
SET tasker.jitter_max_percentage = 2;
RESET ALL;
SELECT name, setting, unit, vartype, min_val, max_val, context FROM pg_settings WHERE name LIKE 'tasker.%' ORDER BY name;
-- What is refused, with its SQLSTATE.
\set SHOW_CONTEXT never
SELECT tasker.calculate_backoff(NULL); \echo :SQLSTATE
SELECT tasker.calculate_backoff(1, 'constant'); \echo :SQLSTATE
SELECT tasker.calculate_backoff(1, base_ms => -1); \echo :SQLSTATE
SELECT tasker.calculate_backoff(1, max_ms => -1); \echo :SQLSTATE
SELECT tasker.calculate_backoff(1, jitter => 1.5); \echo :SQLSTATE
