-- Events. Their names, synonyms and payloads are a constant list: crates/rules/src/events/catalog.rs.

CREATE OR REPLACE FUNCTION tasker_engine.event_catalogue()
RETURNS TABLE (name text, event_group text, fires_when text, payload_schema jsonb, synonym_of text)
AS 'MODULE_PATHNAME', 'event_catalogue' LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 100
SET search_path = pg_catalog, pg_temp
SET work_mem = '4MB'; -- the rows are no temporary file, which temp_file_limit could refuse
COMMENT ON FUNCTION tasker_engine.event_catalogue() IS 'The events of the engine and their other names; columns as in tasker.event_catalog.';
GRANT EXECUTE ON FUNCTION tasker_engine.event_catalogue() TO tasker_reader;

CREATE OR REPLACE FUNCTION tasker.register_event(name text, description text DEFAULT NULL, payload_schema jsonb DEFAULT NULL)
RETURNS void AS 'MODULE_PATHNAME', 'register_event' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.register_event(text, text, jsonb) IS
'Registers an event of an application, or replaces its description and schema; events that are stored stay as they are. From the commit on, a payload that breaks the schema is refused. 22023 for a name without a dot, one of the engine, and a schema that is none. Rule: docs/events.md#events-of-your-own.
name: Segments joined by dots, as in orders.shipped.
description: What it says, for tasker.event_catalog; NULL: nothing is known.
payload_schema: JSON Schema of its payloads; NULL: any object.';
GRANT EXECUTE ON FUNCTION tasker.register_event(text, text, jsonb) TO tasker_admin;

CREATE OR REPLACE FUNCTION tasker.publish_event(
    name text, payload jsonb DEFAULT '{}', task_uuid uuid DEFAULT NULL, step_uuid uuid DEFAULT NULL, namespace text DEFAULT NULL)
RETURNS bigint AS 'MODULE_PATHNAME', 'publish_event' LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.publish_event(text, jsonb, uuid, uuid, text) IS
'Publishes an event of an application and returns its event_id. Readers get it when this transaction has committed. A name need not be registered. Waits for nothing. 22023 for a name without a dot, one of the engine, a payload that is no object or larger than tasker.max_event_bytes, and a step of another task; 23514 for a payload that breaks the schema of its event, 54001 if checking it takes too much work, P0002 for an unknown task, step or namespace. Rule: docs/events.md#events-of-your-own.
name: Segments joined by dots, as in orders.shipped.
payload: What it says, a JSON object of at most 100 levels.
task_uuid: The task that it is about; NULL: none, or that of the step. It brings its namespace, correlation id and traceparent.
step_uuid: The step that it is about; NULL: none.
namespace: The namespace of an event without a task; NULL: none.';
GRANT EXECUTE ON FUNCTION tasker.publish_event(text, jsonb, uuid, uuid, text) TO tasker_worker, tasker_operator;

CREATE OR REPLACE FUNCTION tasker.publish_events(
    names text[], payloads jsonb[], task_uuids uuid[] DEFAULT NULL, step_uuids uuid[] DEFAULT NULL, namespace text DEFAULT NULL)
RETURNS SETOF bigint AS 'MODULE_PATHNAME', 'publish_events' LANGUAGE c VOLATILE SECURITY DEFINER ROWS 100
SET search_path = pg_catalog, pg_temp
SET work_mem = '4MB'; -- the ids are no temporary file, which temp_file_limit could refuse
COMMENT ON FUNCTION tasker.publish_events(text[], jsonb[], uuid[], uuid[], text) IS
'Publishes many events, all or none, and returns their event ids in order. Errors are those of publish_event, with the number of the event; 22023 for arrays of different lengths, 54000 for more than 10,000 events. Rule: docs/events.md#events-of-your-own.
names: The names, one per event.
payloads: What each says, a JSON object of at most 100 levels per event.
task_uuids: The tasks that they are about; NULL, as the array or an element: none, or that of the step.
step_uuids: The steps that they are about; NULL, as the array or an element: none.
namespace: The namespace of events without a task; NULL: none.';
GRANT EXECUTE ON FUNCTION tasker.publish_events(text[], jsonb[], uuid[], uuid[], text) TO tasker_worker, tasker_operator;

CREATE OR REPLACE FUNCTION tasker_engine.publish_facts(name text, which text[], payloads jsonb[], namespace text DEFAULT NULL)
RETURNS void AS 'MODULE_PATHNAME', 'publish_facts' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.publish_facts(text, text[], jsonb[], text) IS
'Writes facts of one name of the catalogue: what each is about, and its payload, which must be as the catalogue says. NULL as an array: none.';

CREATE OR REPLACE FUNCTION tasker_engine.event_time(at timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
    RETURN to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
COMMENT ON FUNCTION tasker_engine.event_time(timestamptz) IS 'A time as payloads have it: ISO 8601 in UTC, with microseconds.';

CREATE OR REPLACE FUNCTION tasker_engine.tell_handlers_gone(gone tasker_engine.worker_handlers[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    now CONSTANT text := tasker_engine.event_time(clock_timestamp());
BEGIN
    PERFORM tasker_engine.publish_facts('handler.unregistered', array_agg(g.handler ORDER BY g.worker_no, g.handler), array_agg(jsonb_strip_nulls(jsonb_build_object(
        'registry_name', 'handlers', 'entity_type', 'handler', 'entity_id', g.handler, 'timestamp', now, 'worker_id', w.worker_id,
        'unregistered_at', now, 'plugin', g.plugin, 'plugin_version', g.plugin_version)) ORDER BY g.worker_no, g.handler))
    FROM unnest(gone) g
    JOIN (SELECT o.worker_no, o.worker_id FROM tasker_engine.workers o
          UNION ALL SELECT n.worker_no, n.worker_id FROM tasker_engine.worker_names n) w ON w.worker_no = g.worker_no;
    PERFORM tasker_engine.publish_facts('plugin.unregistered', array_agg(p.plugin ORDER BY p.worker_no, p.plugin), array_agg(jsonb_strip_nulls(jsonb_build_object(
        'registry_name', 'plugins', 'entity_type', 'plugin', 'entity_id', p.plugin, 'timestamp', now, 'worker_id', w.worker_id,
        'unregistered_at', now, 'plugin_version', p.plugin_version)) ORDER BY p.worker_no, p.plugin))
    FROM (SELECT DISTINCT g.worker_no, g.plugin, g.plugin_version FROM unnest(gone) g WHERE g.plugin IS NOT NULL) p
    JOIN (SELECT o.worker_no, o.worker_id FROM tasker_engine.workers o
          UNION ALL SELECT n.worker_no, n.worker_id FROM tasker_engine.worker_names n) w ON w.worker_no = p.worker_no
    WHERE NOT EXISTS (SELECT FROM tasker_engine.worker_handlers h WHERE h.worker_no = p.worker_no AND h.plugin = p.plugin);
END
$$;
COMMENT ON FUNCTION tasker_engine.tell_handlers_gone(tasker_engine.worker_handlers[]) IS
'Writes the facts that announcements were removed, and plugins with their last handler of a worker. Called after the rows are deleted.';

CREATE OR REPLACE FUNCTION tasker_engine.event_retention_text() RETURNS text
AS 'MODULE_PATHNAME', 'event_retention_text' LANGUAGE c STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.event_retention_text() IS 'tasker.event_retention as an interval is written, with all its digits.';

-- A purge tells, and an answer counts, without a lock on the subscriber: what it writes while that is removed has no owner.
CREATE OR REPLACE FUNCTION tasker_engine.forget_subscribers() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
    -- From one subscriber to the next along the index, whatever each has there.
    WITH RECURSIVE told AS (
        SELECT (SELECT min(r.subscriber_id) FROM tasker_engine.redeliveries r) AS id
        UNION ALL
        SELECT (SELECT min(r.subscriber_id) FROM tasker_engine.redeliveries r WHERE r.subscriber_id > t.id) FROM told t WHERE t.id IS NOT NULL)
    DELETE FROM tasker_engine.redeliveries r
    WHERE r.subscriber_id = ANY (ARRAY(
        SELECT t.id FROM told t
        WHERE t.id IS NOT NULL AND NOT EXISTS (SELECT FROM tasker_engine.subscribers s WHERE s.subscriber_id = t.id)));
    DELETE FROM tasker_engine.delivery_counts c
    WHERE NOT EXISTS (SELECT FROM tasker_engine.subscribers s WHERE s.subscriber_id = c.subscriber_id);
END
$$;
COMMENT ON FUNCTION tasker_engine.forget_subscribers() IS 'Deletes what was written for subscribers while they were removed.';

-- A slot is emptied once its newest row is old enough, and the ring turns to an empty slot; so no row leaves early, whatever could not be
-- done in time. Only readers can meet the lock of TRUNCATE, for its moment: publishers write to another slot.
CREATE OR REPLACE FUNCTION tasker_engine.duty_events() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET jit = off SET lock_timeout = '50ms' AS $$
DECLARE
    slots CONSTANT integer := 8;
    at_time CONSTANT timestamptz := clock_timestamp();
    kept CONSTANT interval := tasker_engine.event_retention_text()::interval;
    turn CONSTANT bigint := coalesce((SELECT max(t.turn_no) FROM tasker_engine.event_turns t), 0);
    newest timestamptz;
    done bigint := 0;
BEGIN
    PERFORM tasker_engine.require_version();
    PERFORM tasker_engine.forget_subscribers();
    DELETE FROM tasker_engine.event_gaps g
    WHERE NOT EXISTS (SELECT FROM tasker_engine.redeliveries r WHERE r.subscriber_id = g.subscriber_id AND r.event_id = g.id * 16);
    IF kept = interval '0' THEN
        RETURN 0;
    END IF;
    FOR other IN turn + 1 .. turn + slots - 1 LOOP
        SELECT e.created_at INTO newest FROM tasker_engine.events e WHERE e.slot = other % slots ORDER BY e.id DESC LIMIT 1;
        IF newest < at_time - kept THEN
            BEGIN
                EXECUTE format('LOCK TABLE tasker_engine.events_%s IN ACCESS EXCLUSIVE MODE', other % slots);
                -- A transaction that began long ago may have written to it in the meantime.
                SELECT e.created_at INTO newest FROM tasker_engine.events e WHERE e.slot = other % slots ORDER BY e.id DESC LIMIT 1;
                IF newest < at_time - kept THEN
                    PERFORM tasker_engine.note_emptied((other % slots)::smallint);
                    EXECUTE format('TRUNCATE tasker_engine.events_%s', other % slots);
                    done := done + 1;
                END IF;
            EXCEPTION WHEN lock_not_available THEN
                NULL; -- Something reads it, or a transaction that is still open wrote to it: the next round tries again.
            END;
        END IF;
    END LOOP;
    IF (SELECT e.created_at FROM tasker_engine.events e WHERE e.slot = turn % slots ORDER BY e.id LIMIT 1) < at_time - kept / (slots - 2)
       AND NOT EXISTS (SELECT FROM tasker_engine.events e WHERE e.slot = (turn + 1) % slots) THEN
        INSERT INTO tasker_engine.event_turns (turn_no, turned_at) VALUES (turn + 1, at_time);
        DELETE FROM tasker_engine.event_turns t WHERE t.turn_no <= turn;
        done := done + 1;
    END IF;
    RETURN done;
END
$$;
COMMENT ON FUNCTION tasker_engine.duty_events() IS 'Empties the slots of the ring of published events whose rows are all older than tasker.event_retention, and turns the ring when the current slot has taken rows for a sixth of it; returns the number of both. Subscribers that have not read a slot are told. Removes gaps that are acknowledged, and what was written for a subscriber while it was removed. Waits at most 50 ms for a lock.';
