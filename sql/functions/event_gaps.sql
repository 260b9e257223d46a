-- Events that leave before a subscriber has them. Purge waits for it, and then it is told.

CREATE OR REPLACE FUNCTION tasker_engine.max_subscriber_lag_text() RETURNS text
AS 'MODULE_PATHNAME', 'max_subscriber_lag_text' LANGUAGE c STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.max_subscriber_lag_text() IS 'tasker.max_subscriber_lag as an interval is written, with all its digits.';

CREATE OR REPLACE FUNCTION tasker_engine.first_unread(OUT subscriber text, OUT read_to bigint, OUT written_at timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
    SELECT r.subscriber, r.read_to INTO subscriber, read_to FROM tasker_engine.subscriber_reads r ORDER BY r.read_to LIMIT 1;
    IF FOUND THEN
        -- The first one that is there: what is removed is behind by no time.
        written_at := (SELECT l.created_at FROM tasker_engine.transitions l WHERE l.id > first_unread.read_to ORDER BY l.id LIMIT 1);
    END IF;
END
$$;
COMMENT ON FUNCTION tasker_engine.first_unread() IS 'The subscriber that is furthest behind, all NULL if there is none; up to which id it has read the log, and when the first row behind was written, NULL if there is none.';

CREATE OR REPLACE FUNCTION tasker_engine.note_gaps(subscriber_ids bigint[], events bigint[], first_at timestamptz[], last_at timestamptz[])
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    growing bigint[];
BEGIN
    INSERT INTO tasker_engine.delivery_counts (subscriber_id, delivered, failed, missed, counted_at)
    SELECT m.subscriber_id, 0, 0, m.events, m.last_at
    FROM unnest($1, $2, $4) AS m (subscriber_id, events, last_at);
    -- A gap that no consumer has had yet grows; not one that a poll takes right now, which is not waited for.
    growing := ARRAY(
        SELECT g.id
        FROM tasker_engine.event_gaps g
        JOIN tasker_engine.redeliveries r ON r.subscriber_id = g.subscriber_id AND r.event_id = g.id * 16
        WHERE g.subscriber_id = ANY ($1) AND r.former = '{}' AND r.dead_at IS NULL
        FOR UPDATE OF r SKIP LOCKED);
    UPDATE tasker_engine.event_gaps g
    SET events = g.events + m.events, first_at = least(g.first_at, m.first_at), last_at = greatest(g.last_at, m.last_at),
        noted_at = clock_timestamp()
    FROM unnest($1, $2, $3, $4) AS m (subscriber_id, events, first_at, last_at)
    WHERE g.id = (SELECT min(o.id) FROM tasker_engine.event_gaps o WHERE o.subscriber_id = m.subscriber_id AND o.id = ANY (growing));
    WITH fresh AS (
        INSERT INTO tasker_engine.event_gaps (id, subscriber_id, events, first_at, last_at, noted_at)
        SELECT nextval('tasker_engine.transitions_id_seq'), m.subscriber_id, m.events, m.first_at, m.last_at, clock_timestamp()
        FROM unnest($1, $2, $3, $4) AS m (subscriber_id, events, first_at, last_at)
        WHERE NOT EXISTS (SELECT FROM tasker_engine.event_gaps o WHERE o.subscriber_id = m.subscriber_id AND o.id = ANY (growing))
        RETURNING id, subscriber_id)
    -- Before everything else that is due.
    INSERT INTO tasker_engine.redeliveries (subscriber_id, event_id, row_id, place, due_at, deliveries, former)
    SELECT f.subscriber_id, f.id * 16, f.id, 0, '-infinity', 0, '{}' FROM fresh f;
END
$$;
COMMENT ON FUNCTION tasker_engine.note_gaps(bigint[], bigint[], timestamptz[], timestamptz[]) IS 'Rows leave that these subscribers have not had: the next poll of each begins with an event stream.gap. Their numbers, and the times of the first and the last, one per subscriber. Waits for no lock.';

CREATE OR REPLACE FUNCTION tasker_engine.note_purged(task_uuids uuid[])
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    last_id CONSTANT bigint := (SELECT max(l.id) FROM tasker_engine.transitions l WHERE l.task_uuid = ANY ($1));
BEGIN
    PERFORM tasker_engine.note_gaps(array_agg(m.subscriber_id), array_agg(m.events), array_agg(m.first_at), array_agg(m.last_at))
    FROM (SELECT r.subscriber_id, count(*) AS events, min(l.created_at) AS first_at, max(l.created_at) AS last_at
          FROM tasker_engine.subscriber_reads r
          JOIN tasker_engine.transitions l ON l.task_uuid = ANY ($1) AND l.id > r.read_to AND (r.since IS NULL OR l.created_at >= r.since)
          WHERE r.read_to < last_id
          GROUP BY r.subscriber_id) m
    HAVING count(*) > 0;
END
$$;
COMMENT ON FUNCTION tasker_engine.note_purged(uuid[]) IS 'The logs of these tasks are about to go: tells the subscribers that have not read them.';

CREATE OR REPLACE FUNCTION tasker_engine.note_emptied(slot smallint)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    last_id CONSTANT bigint := (SELECT max(e.id) FROM tasker_engine.events e WHERE e.slot = $1);
BEGIN
    PERFORM tasker_engine.note_gaps(array_agg(m.subscriber_id), array_agg(m.events), array_agg(m.first_at), array_agg(m.last_at))
    FROM (SELECT r.subscriber_id, count(*) AS events, min(e.created_at) AS first_at, max(e.created_at) AS last_at
          FROM tasker_engine.subscriber_reads r
          JOIN tasker_engine.events e ON e.slot = $1 AND e.id > r.read_to AND (r.since IS NULL OR e.created_at >= r.since)
          WHERE r.read_to < last_id
          GROUP BY r.subscriber_id) m
    HAVING count(*) > 0;
END
$$;
COMMENT ON FUNCTION tasker_engine.note_emptied(smallint) IS 'A slot of the ring of published events is about to be emptied: tells the subscribers that have not read it.';
