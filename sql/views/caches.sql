-- What sessions keep in memory. A reset changes this relation in the eyes of PostgreSQL's caches, which tells every session.
CREATE OR REPLACE VIEW tasker_engine.caches AS
SELECT c.name, c.entries, c.bytes, c.hits, c.misses, c.evictions, c.invalidations FROM tasker_engine.cache_counts() c;
COMMENT ON VIEW tasker_engine.caches IS 'What tasker.caches shows. reset_cache tells the sessions that it has changed; so they empty what is kept until then.';

CREATE OR REPLACE VIEW tasker.caches AS
SELECT c.name, 'session'::text AS scope, c.entries, c.bytes, c.hits, c.misses, c.evictions, c.invalidations,
       NULL::interval AS ttl, 'invalidation'::text AS ttl_origin
FROM tasker_engine.cache_counts() c;
COMMENT ON VIEW tasker.caches IS 'What this session keeps in memory to answer without reading tables. Each session has its own; pg_backend_memory_contexts shows none of it. Rule: docs/operating-with-psql.md#caches.';
COMMENT ON COLUMN tasker.caches.name IS 'Name of the cache, for reset_cache.';
COMMENT ON COLUMN tasker.caches.scope IS 'session: each session and background process has its own, and this is that of the session that asks.';
COMMENT ON COLUMN tasker.caches.entries IS 'Answers that are kept now.';
COMMENT ON COLUMN tasker.caches.bytes IS 'About how much memory they take.';
COMMENT ON COLUMN tasker.caches.hits IS 'Look-ups that found an answer, since the session began.';
COMMENT ON COLUMN tasker.caches.misses IS 'Look-ups that had to make one.';
COMMENT ON COLUMN tasker.caches.evictions IS 'Answers that had to go for others: beyond tasker.max_cache_mb, or beyond the number of entries.';
COMMENT ON COLUMN tasker.caches.invalidations IS 'How often all answers went because one may have changed, or by reset_cache.';
COMMENT ON COLUMN tasker.caches.ttl IS 'How long an answer is kept; NULL: as long as it is right.';
COMMENT ON COLUMN tasker.caches.ttl_origin IS 'What decides about the end of an answer; invalidation: a change tells every session at its commit.';
GRANT SELECT ON tasker.caches TO tasker_reader;
