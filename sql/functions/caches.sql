-- What sessions keep in memory.

CREATE OR REPLACE FUNCTION tasker_engine.cache_counts()
RETURNS TABLE (name text, entries bigint, bytes bigint, hits bigint, misses bigint, evictions bigint, invalidations bigint)
AS 'MODULE_PATHNAME', 'cache_counts' LANGUAGE c VOLATILE ROWS 6 SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.cache_counts() IS 'What the caches of this session hold, and what they have counted since it began.
name: the cache.
entries: answers that are kept.
bytes: about how much memory they take.
hits: look-ups that found an answer.
misses: look-ups that made one.
evictions: answers that had to go for others.
invalidations: how often all answers went because one may have changed.';
GRANT EXECUTE ON FUNCTION tasker_engine.cache_counts() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.reset_cache(name text) RETURNS void
AS 'MODULE_PATHNAME', 'reset_cache' LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.reset_cache(text) IS
'Empties a cache in every session when the transaction commits; no answer can be wrong before or after it. templates and template_facts are emptied together. The counts stay. 22004 without a name, 22023 for an unknown one. Rule: docs/operating-with-psql.md#caches.
name: A name of tasker.caches.';
GRANT EXECUTE ON FUNCTION tasker.reset_cache(text) TO tasker_admin;
