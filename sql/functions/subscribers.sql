-- Subscribers: their settings, and where they are. Handing out events is in deliveries.sql.

CREATE OR REPLACE FUNCTION tasker_engine.check_patterns(patterns text[])
RETURNS boolean AS 'MODULE_PATHNAME', 'check_patterns' LANGUAGE c IMMUTABLE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.check_patterns(text[]) IS '22023 for a pattern that is empty or has two stars, and for none; true otherwise.';

CREATE OR REPLACE FUNCTION tasker_engine.event_place(start_at text, since timestamptz)
RETURNS TABLE ("position" text, reached bigint, read_to bigint)
AS 'MODULE_PATHNAME', 'event_place' LANGUAGE c STABLE ROWS 1 SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET jit = off
SET work_mem = '4MB'; -- the row is no temporary file, which temp_file_limit could refuse
COMMENT ON FUNCTION tasker_engine.event_place(text, timestamptz) IS
'Where a reader is that begins now, at the beginning, at a position, or, if since is given, at that time. Ask before the transaction takes an id: later it counts as one that may have written anything. 22023 for a position that is none.
start_at: now, beginning, or a position.
since: A time, before which rows of the log may come too.
position: As in tasker.read_events.
reached: The largest id of the log that was looked at.
read_to: All rows up to this id were read.';

CREATE OR REPLACE FUNCTION tasker_engine.count_events(
    after text, upto text, patterns text[], namespaces text[], filter jsonb, sample_rate double precision, subscriber text, since timestamptz)
RETURNS bigint AS 'MODULE_PATHNAME', 'count_events' LANGUAGE c STABLE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker_engine.count_events(text, text, text[], text[], jsonb, double precision, text, timestamptz) IS
'How many events are behind one position and before another, of those that a subscriber with these settings gets.';

CREATE OR REPLACE FUNCTION tasker_engine.events_again(event_ids bigint[], row_ids bigint[])
RETURNS TABLE (
    event_id bigint, name text, occurred_at timestamptz, namespace text, task_uuid uuid, step_uuid uuid, correlation_id text,
    traceparent text, payload jsonb)
AS 'MODULE_PATHNAME', 'events_again' LANGUAGE c STABLE SECURITY DEFINER COST 1000 ROWS 1 SET search_path = pg_catalog, pg_temp
SET work_mem = '16MB'; -- as of tasker.read_events
COMMENT ON FUNCTION tasker_engine.events_again(bigint[], bigint[]) IS
'Events by their ids and the rows of the log that give them; no row for one that is purged. Columns as in tasker.read_events.';
GRANT EXECUTE ON FUNCTION tasker_engine.events_again(bigint[], bigint[]) TO tasker_reader;

-- Locks its row, which no poll does.
CREATE OR REPLACE FUNCTION tasker_engine.locked_subscriber(subscriber text)
RETURNS tasker_engine.subscribers LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known tasker_engine.subscribers;
BEGIN
    PERFORM tasker_engine.required($1, 'subscriber');
    SELECT * INTO known FROM tasker_engine.subscribers s WHERE s.subscriber = $1 FOR UPDATE;
    IF NOT FOUND THEN
        RAISE no_data_found USING MESSAGE = format('no subscriber has the name "%s"', left($1, 128)),
            DETAIL = 'There is none.', HINT = 'SELECT subscriber FROM tasker.subscribers lists them; subscribe() makes one.';
    END IF;
    RETURN known;
END
$$;
COMMENT ON FUNCTION tasker_engine.locked_subscriber(text) IS 'A subscriber, locked. P0002 for an unknown one.';

CREATE OR REPLACE FUNCTION tasker_engine.check_subscriber_owner(caller oid, s tasker_engine.subscribers)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF pg_has_role($1, 'tasker_admin', 'MEMBER')
       OR EXISTS (SELECT FROM pg_roles r WHERE r.oid = s.owner_oid AND pg_has_role($1, r.oid, 'MEMBER')) THEN
        RETURN;
    END IF;
    RAISE insufficient_privilege USING
        MESSAGE = format('subscriber %s belongs to role %s', s.subscriber, tasker_engine.role_name(s.owner_oid, s.owner_role)),
        DETAIL = format('%s is no member of it.', tasker_engine.role_name($1, NULL)), HINT = 'Its owner and members of tasker_admin change it.';
END
$$;
COMMENT ON FUNCTION tasker_engine.check_subscriber_owner(oid, tasker_engine.subscribers) IS '42501 for a caller that is neither a member of its owner nor of tasker_admin.';

CREATE OR REPLACE FUNCTION tasker_engine.start_of_events(
    start_at text, OUT here text, OUT reached bigint, OUT read_to bigint, OUT since timestamptz)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF $1 NOT IN ('now', 'beginning') AND strpos($1, ';') = 0 THEN
        BEGIN
            since := $1::timestamptz;
        EXCEPTION WHEN data_exception THEN
            RAISE invalid_parameter_value USING MESSAGE = format('start_at is neither a time nor a position: "%s"', left($1, 64)),
                DETAIL = 'It is now, beginning, a time, or a position of tasker.read_events.',
                HINT = 'SELECT tasker.seek_subscriber(subscriber, ''2026-01-31 12:00+00''), for example.';
        END;
        IF NOT isfinite(since) THEN
            RAISE invalid_parameter_value USING MESSAGE = 'start_at must be a finite time',
                DETAIL = 'The call gave infinity.', HINT = 'Write now or beginning.';
        END IF;
    END IF;
    SELECT p.position, p.reached, p.read_to INTO here, reached, read_to FROM tasker_engine.event_place($1, since) p;
END
$$;
COMMENT ON FUNCTION tasker_engine.start_of_events(text) IS '22023 for what is neither now, beginning, a time nor a position. Ask before the transaction takes an id.';

CREATE OR REPLACE FUNCTION tasker_engine.check_subscription(
    patterns text[], filter jsonb, sample_rate numeric, max_deliveries integer, max_in_flight integer, batch_size integer, handler text)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fault text[];
BEGIN
    IF $1 IS NOT NULL THEN
        PERFORM tasker_engine.check_patterns($1);
    END IF;
    PERFORM tasker_engine.shallow($2, 'filter');
    fault := CASE
        WHEN jsonb_typeof($2) <> 'object'
            THEN ARRAY['filter must be an object', 'An event comes if its payload contains the filter.', 'For example filter => ''{"step_name": "pay"}''.']
        WHEN NOT ($3 > 0 AND $3 <= 1) OR $3 = 'NaN'
            THEN ARRAY[format('sample_rate %s is out of range', $3), 'It is the share of tasks: more than 0, at most 1.', 'For example sample_rate => 0.1.']
        WHEN $4 NOT BETWEEN 1 AND 1000
            THEN ARRAY[format('max_deliveries %s is out of range', $4), 'It is from 1 to 1000.', 'After that many deliveries an event is in tasker.event_dead_letters.']
        WHEN $5 NOT BETWEEN 0 AND 1000000
            THEN ARRAY[format('max_in_flight %s is out of range', $5), 'It is from 1 to 1,000,000.', 'Use 0 for no limit.']
        WHEN $6 NOT BETWEEN 1 AND 10000
            THEN ARRAY[format('batch_size %s is out of range', $6), 'It is from 1 to 10,000.', 'Leave it NULL for one event per call of the handler.']
        END;
    IF fault IS NOT NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = fault[1], DETAIL = fault[2], HINT = fault[3];
    END IF;
    IF $7 <> '' AND NOT starts_with($7, 'sql:') THEN
        RAISE invalid_parameter_value USING MESSAGE = format('handler "%s" does not begin with sql:', left($7, 128)),
            DETAIL = 'It is a function of this database; a program calls tasker.poll_events().', HINT = 'Write sql:<schema.function>, or leave handler NULL.';
    END IF;
END
$$;
COMMENT ON FUNCTION tasker_engine.check_subscription(text[], jsonb, numeric, integer, integer, integer, text) IS '22023 for a setting of a subscriber that is out of range; NULL passes.';

-- The public functions tell these who calls (src/functions/subscribers.rs).
CREATE OR REPLACE FUNCTION tasker_engine.subscribe(
    caller oid, subscriber text, patterns text[], start_at text, handler text, namespaces text[], filter jsonb, sample_rate numeric,
    max_deliveries integer, ordered boolean, include_data boolean, max_in_flight integer, batch_size integer)
RETURNS bigint LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    start record;
    s tasker_engine.subscribers;
    now text;
BEGIN
    PERFORM tasker_engine.checked($2, 'subscriber', 'subscriber');
    PERFORM tasker_engine.check_subscription($3, $7, $8, $9, $12, $13, $5);
    IF NOT EXISTS (SELECT FROM tasker_engine.subscribers o WHERE o.subscriber = $2) THEN
        -- Before the row, which gives the transaction an id.
        SELECT * INTO start FROM tasker_engine.start_of_events(coalesce($4, 'now'));
        INSERT INTO tasker_engine.subscribers AS n
            (subscriber, patterns, namespaces, filter, sample_rate, max_deliveries, ordered, include_data, max_in_flight, batch_size,
             owner_role)
        VALUES ($2, coalesce($3, '{*}'), nullif($6, '{}'), nullif($7, '{}'), coalesce($8, 1), coalesce($9, 5), coalesce($10, false),
                coalesce($11, false), nullif($12, 0), coalesce($13, 1), tasker_engine.role_name($1, NULL))
        ON CONFLICT (subscriber) DO NOTHING
        RETURNING n.* INTO s;
        IF FOUND THEN
            INSERT INTO tasker_engine.subscriber_places (subscriber_id, place_no, position, reached, read_to, since)
            VALUES (s.subscriber_id, 0, start.here, start.reached, start.read_to, start.since);
            now := tasker_engine.event_time(clock_timestamp());
            PERFORM tasker_engine.publish_facts('subscriber.registered', ARRAY[$2], ARRAY[jsonb_strip_nulls(jsonb_build_object(
                'registry_name', 'subscribers', 'entity_type', 'subscriber', 'entity_id', $2, 'entity_class', nullif($5, ''),
                'timestamp', now, 'registered_at', now, 'patterns', s.patterns, 'namespaces', s.namespaces))]);
            RETURN s.subscriber_id;
        END IF;
    END IF;
    s := tasker_engine.locked_subscriber($2);
    PERFORM tasker_engine.check_subscriber_owner($1, s);
    UPDATE tasker_engine.subscribers o
    SET patterns = coalesce($3, o.patterns), namespaces = nullif(coalesce($6, o.namespaces), '{}'),
        filter = nullif(coalesce($7, o.filter), '{}'), sample_rate = coalesce($8, o.sample_rate),
        max_deliveries = coalesce($9, o.max_deliveries), ordered = coalesce($10, o.ordered),
        include_data = coalesce($11, o.include_data), max_in_flight = nullif(coalesce($12, o.max_in_flight), 0),
        batch_size = coalesce($13, o.batch_size), updated_at = clock_timestamp()
    WHERE o.subscriber_id = s.subscriber_id;
    IF $4 IS NOT NULL OR $10 <> s.ordered THEN
        PERFORM tasker_engine.move_subscriber(s.subscriber_id, $4);
    END IF;
    IF $10 <> s.ordered THEN
        PERFORM tasker_engine.reorder_subscriber(s.subscriber_id, $10);
    END IF;
    RETURN s.subscriber_id;
END
$$;
COMMENT ON FUNCTION tasker_engine.subscribe(oid, text, text[], text, text, text[], jsonb, numeric, integer, boolean, boolean, integer, integer) IS 'subscribe for a caller that is known.';

CREATE OR REPLACE FUNCTION tasker.subscribe(
    subscriber text, patterns text[] DEFAULT NULL, start_at text DEFAULT NULL, handler text DEFAULT NULL,
    namespaces text[] DEFAULT NULL, filter jsonb DEFAULT NULL, sample_rate numeric DEFAULT NULL, max_deliveries integer DEFAULT NULL,
    ordered boolean DEFAULT NULL, include_data boolean DEFAULT NULL, max_in_flight integer DEFAULT NULL, batch_size integer DEFAULT NULL)
RETURNS bigint AS 'MODULE_PATHNAME', 'subscribe' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.subscribe(text, text[], text, text, text[], jsonb, numeric, integer, boolean, boolean, integer, integer) IS
'Makes a subscriber to events, which belongs to the role that calls, or changes the settings of one; returns its number. NULL means the default for a new one, and no change for one that exists. poll_events() hands out its events. 22023 for a setting out of range, 42501 for a subscriber of another role. Rule: docs/events.md#subscribers.
subscriber: Its name, up to 128 characters.
patterns: Names of tasker.event_catalog, prefix*, *suffix, or *; default {*}.
start_at: now (what commits after the call), beginning, a time, or a position of read_events; default now. For a subscriber that exists: as seek_subscriber.
handler: sql:<schema.function>, a function(events jsonb) of this database that gets the events as an array, with the rights of the owner of the subscriber; an empty text removes it. Only a role with the rights of the owner names one. Default: none, and the events are polled. 42883 for one that does not exist.
namespaces: Only events of tasks of these namespaces; default {}, which means all.
filter: Only events whose payload contains this object of at most 100 levels; default {}.
sample_rate: The share of tasks, more than 0 to 1; a task comes with all its events or not at all. Default 1.
max_deliveries: After that many deliveries without an acknowledgement an event is in tasker.event_dead_letters; default 5.
ordered: The events of one task go to one consumer at a time, and later ones wait until the earlier are acknowledged or dead. A change hands out again what is in flight. Default false.
include_data: The payload gets a key data with the context, and for a step the results and inputs, as they are when the event is read; one whose text is larger than 16 MB, or that is nested deeper than the parser goes (127 levels), is left out and named in the array omitted. Filters do not see it. Default false.
max_in_flight: The most events that consumers hold together; 0 for no limit, the default.
batch_size: How many events a handler gets at a time; default 1.';
GRANT EXECUTE ON FUNCTION tasker.subscribe(text, text[], text, text, text[], jsonb, numeric, integer, boolean, boolean, integer, integer)
TO tasker_operator;

-- Waits for the polls and answers that are open. What is in flight is forgotten.
CREATE OR REPLACE FUNCTION tasker_engine.move_subscriber(subscriber_id bigint, start_at text, OUT old_position text, OUT new_position text, OUT since timestamptz)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    start record;
    old tasker_engine.subscriber_places;
BEGIN
    IF $2 IS NOT NULL THEN
        SELECT * INTO start FROM tasker_engine.start_of_events($2);
    END IF;
    -- A poll that ends while this waits leaves another row.
    FOR attempt IN 1 .. 1000 LOOP
        SELECT * INTO old FROM tasker_engine.subscriber_places p
        WHERE p.subscriber_id = $1
          AND p.place_no = (SELECT max(o.place_no) FROM tasker_engine.subscriber_places o WHERE o.subscriber_id = $1)
        FOR UPDATE;
        EXIT WHEN FOUND;
    END LOOP;
    old_position := old.position;
    new_position := old.position;
    since := old.since;
    IF $2 IS NOT NULL THEN
        new_position := start.here;
        since := start.since;
        DELETE FROM tasker_engine.deliveries d WHERE d.subscriber_id = $1;
        -- Nothing that comes again says what is missing: a gap stays until it is acknowledged.
        DELETE FROM tasker_engine.redeliveries r
        WHERE r.subscriber_id = $1 AND r.dead_at IS NULL
          AND NOT EXISTS (SELECT FROM tasker_engine.event_gaps g WHERE g.subscriber_id = $1 AND r.event_id = g.id * 16);
        DELETE FROM tasker_engine.subscriber_places p WHERE p.subscriber_id = $1;
        old.place_no := old.place_no + 1;
        old.first_poll := old.place_no;
        old.position := start.here;
        old.reached := start.reached;
        old.read_to := start.read_to;
        old.since := start.since;
        old.moved_at := clock_timestamp();
        INSERT INTO tasker_engine.subscriber_places SELECT old.*;
    END IF;
END
$$;
COMMENT ON FUNCTION tasker_engine.move_subscriber(bigint, text) IS 'Moves a subscriber to where it is to begin, and forgets what is in flight; dead letters and gaps stay. NULL moves nothing, and only waits. Returns where it was and where it is.';

-- Under the lock of move_subscriber. An answer that is open moves rows from the first to the second table.
CREATE OR REPLACE FUNCTION tasker_engine.reorder_subscriber(subscriber_id bigint, ordered boolean)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    WITH taken AS (DELETE FROM tasker_engine.deliveries d WHERE d.subscriber_id = $1 RETURNING d.*)
    INSERT INTO tasker_engine.redeliveries (subscriber_id, event_id, row_id, place, due_at, deliveries, holder, former, consumer)
    SELECT $1, e.event_id, e.row_id, (d.poll_no << 20) + e.no - 1, d.lease_until, 1, d.holder, ARRAY[d.holder], d.consumer
    FROM taken d CROSS JOIN unnest(d.event_ids, d.row_ids) WITH ORDINALITY AS e (event_id, row_id, no)
    WHERE NOT (e.no - 1)::smallint = ANY (d.gone)
    ON CONFLICT DO NOTHING;
    -- What consumers have comes again, and that delivery does not count. An event of no task is alone.
    UPDATE tasker_engine.redeliveries r
    SET task_uuid = CASE WHEN $2 THEN coalesce(
            (SELECT l.task_uuid FROM tasker_engine.transitions l WHERE l.id = r.row_id LIMIT 1),
            (SELECT e.task_uuid FROM tasker_engine.events e WHERE e.id = r.row_id LIMIT 1),
            lpad(to_hex(r.event_id), 32, '0')::uuid) END,
        deliveries = r.deliveries - (r.holder IS NOT NULL)::integer, holder = NULL,
        due_at = CASE WHEN r.holder IS NOT NULL THEN clock_timestamp() ELSE r.due_at END
    WHERE r.subscriber_id = $1;
    -- A poll that has read the settings before does not find the place, and looks again.
    UPDATE tasker_engine.subscriber_places p SET place_no = p.place_no + 1 WHERE p.subscriber_id = $1;
END
$$;
COMMENT ON FUNCTION tasker_engine.reorder_subscriber(bigint, boolean) IS 'A subscriber becomes ordered, or no longer is: what is in flight is handed out again, with its tasks or without.';

CREATE OR REPLACE FUNCTION tasker_engine.seek_subscriber(subscriber text, start_at text)
RETURNS bigint LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    s tasker_engine.subscribers;
    moved record;
BEGIN
    PERFORM tasker_engine.required($2, 'start_at');
    s := tasker_engine.locked_subscriber($1);
    SELECT * INTO moved FROM tasker_engine.move_subscriber(s.subscriber_id, $2);
    RETURN tasker_engine.count_events(moved.new_position, moved.old_position, s.patterns, s.namespaces, s.filter,
                                      s.sample_rate::double precision, s.subscriber, moved.since);
END
$$;
COMMENT ON FUNCTION tasker_engine.seek_subscriber(text, text) IS 'seek_subscriber with the rights of the engine.';

CREATE OR REPLACE FUNCTION tasker.seek_subscriber(subscriber text, start_at text)
RETURNS bigint AS 'MODULE_PATHNAME', 'seek_subscriber' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.seek_subscriber(text, text) IS
'Moves a subscriber forward or back, and returns how many events it will get again. What is in flight is forgotten, and comes again if it is behind the new place; dead letters stay, and so does an event stream.gap that is not acknowledged. Waits for polls that are open. P0002 for an unknown subscriber, 22023 for a place that is none. Rule: docs/events.md#subscribers.
subscriber: Its name.
start_at: now, beginning, a time, or a position of read_events.';
GRANT EXECUTE ON FUNCTION tasker.seek_subscriber(text, text) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker_engine.unsubscribe(subscriber text)
RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    removed_id bigint; -- no column of what follows, which would be meant
    handler text;
    now text;
BEGIN
    PERFORM tasker_engine.required($1, 'subscriber');
    handler := (SELECT h.handler FROM tasker_engine.subscriber_handlers h JOIN tasker_engine.subscribers s ON s.subscriber_id = h.subscriber_id
                WHERE s.subscriber = $1);
    DELETE FROM tasker_engine.subscribers s WHERE s.subscriber = $1 RETURNING s.subscriber_id INTO removed_id;
    IF removed_id IS NULL THEN
        RETURN false;
    END IF;
    -- Waits until no poll adds anything. An answer that is open moves rows from the first to the second table.
    PERFORM tasker_engine.move_subscriber(removed_id, NULL);
    DELETE FROM tasker_engine.subscriber_places p WHERE p.subscriber_id = removed_id;
    DELETE FROM tasker_engine.deliveries d WHERE d.subscriber_id = removed_id;
    DELETE FROM tasker_engine.redeliveries r WHERE r.subscriber_id = removed_id;
    DELETE FROM tasker_engine.event_gaps g WHERE g.subscriber_id = removed_id;
    DELETE FROM tasker_engine.delivery_counts c WHERE c.subscriber_id = removed_id;
    DELETE FROM tasker_engine.subscriber_grants g WHERE g.subscriber_id = removed_id;
    now := tasker_engine.event_time(clock_timestamp());
    PERFORM tasker_engine.publish_facts('subscriber.unregistered', ARRAY[$1], ARRAY[jsonb_strip_nulls(jsonb_build_object(
        'registry_name', 'subscribers', 'entity_type', 'subscriber', 'entity_id', $1, 'entity_class', handler, 'timestamp', now,
        'unregistered_at', now))]);
    RETURN true;
END
$$;
COMMENT ON FUNCTION tasker_engine.unsubscribe(text) IS 'unsubscribe with the rights of the engine.';

CREATE OR REPLACE FUNCTION tasker.unsubscribe(subscriber text)
RETURNS boolean AS 'MODULE_PATHNAME', 'unsubscribe' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.unsubscribe(text) IS
'Removes a subscriber with its place and its dead letters, and returns true; false if there is none. Waits for polls that are open.
subscriber: Its name.';
GRANT EXECUTE ON FUNCTION tasker.unsubscribe(text) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker_engine.pause_subscriber(subscriber text, paused boolean)
RETURNS text LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    s tasker_engine.subscribers;
BEGIN
    s := tasker_engine.locked_subscriber($1);
    UPDATE tasker_engine.subscribers o SET paused = $2, updated_at = clock_timestamp()
    WHERE o.subscriber_id = s.subscriber_id AND o.paused <> $2;
    RETURN CASE WHEN $2 THEN 'paused' ELSE 'resumed' END;
END
$$;
COMMENT ON FUNCTION tasker_engine.pause_subscriber(text, boolean) IS 'pause_subscriber and resume_subscriber with the rights of the engine.';

CREATE OR REPLACE FUNCTION tasker.pause_subscriber(subscriber text)
RETURNS text AS 'MODULE_PATHNAME', 'pause_subscriber' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.pause_subscriber(text) IS
'Its polls return nothing until resume_subscriber; what is in flight can still be acknowledged. Returns paused. P0002 for an unknown subscriber.
subscriber: Its name.';
GRANT EXECUTE ON FUNCTION tasker.pause_subscriber(text) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker.resume_subscriber(subscriber text)
RETURNS text AS 'MODULE_PATHNAME', 'resume_subscriber' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.resume_subscriber(text) IS
'A paused subscriber goes on where it was. Returns resumed. P0002 for an unknown subscriber.
subscriber: Its name.';
GRANT EXECUTE ON FUNCTION tasker.resume_subscriber(text) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker_engine.redrive_events(subscriber text, event_ids bigint[])
RETURNS bigint LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    id bigint;
    redriven bigint;
BEGIN
    id := (tasker_engine.locked_subscriber($1)).subscriber_id;
    UPDATE tasker_engine.redeliveries r SET dead_at = NULL, deliveries = 0, due_at = clock_timestamp()
    WHERE r.subscriber_id = id AND r.due_at = 'infinity' AND r.dead_at IS NOT NULL AND ($2 IS NULL OR r.event_id = ANY ($2));
    GET DIAGNOSTICS redriven = ROW_COUNT;
    RETURN redriven;
END
$$;
COMMENT ON FUNCTION tasker_engine.redrive_events(text, bigint[]) IS 'redrive_events with the rights of the engine.';

CREATE OR REPLACE FUNCTION tasker.redrive_events(subscriber text, event_ids bigint[] DEFAULT NULL)
RETURNS bigint AS 'MODULE_PATHNAME', 'redrive_events' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.redrive_events(text, bigint[]) IS
'Hands out dead letters again, with all their deliveries before them; returns how many. P0002 for an unknown subscriber.
subscriber: Its name.
event_ids: Only these; NULL: all of tasker.event_dead_letters.';
GRANT EXECUTE ON FUNCTION tasker.redrive_events(text, bigint[]) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker_engine.grant_subscriber(caller oid, subscriber text, role name, gives boolean)
RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    s tasker_engine.subscribers;
    changed bigint;
BEGIN
    PERFORM tasker_engine.required($3, 'role');
    s := tasker_engine.locked_subscriber($2);
    PERFORM tasker_engine.check_subscriber_owner($1, s);
    IF tasker_engine.role_oid($3::text) IS NULL AND $4 THEN
        RAISE no_data_found USING MESSAGE = format('role %s does not exist', $3),
            DETAIL = 'No role has that name.', HINT = 'SELECT rolname FROM pg_roles lists them.';
    END IF;
    IF $4 THEN
        INSERT INTO tasker_engine.subscriber_grants (subscriber_id, role_name) VALUES (s.subscriber_id, $3::text)
        ON CONFLICT (subscriber_id, role_name) DO UPDATE SET role_name = excluded.role_name;
    ELSE
        DELETE FROM tasker_engine.subscriber_grants g WHERE g.subscriber_id = s.subscriber_id AND g.role_name = $3::text;
    END IF;
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed > 0;
END
$$;
COMMENT ON FUNCTION tasker_engine.grant_subscriber(oid, text, name, boolean) IS 'grant_subscriber and revoke_subscriber for a caller that is known.';

CREATE OR REPLACE FUNCTION tasker.grant_subscriber(subscriber text, role name)
RETURNS boolean AS 'MODULE_PATHNAME', 'grant_subscriber' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.grant_subscriber(text, name) IS
'Lets a role poll a subscriber and answer for its events, beside the owner; returns true. The role needs EXECUTE on the functions too, which tasker_reader has. P0002 for an unknown subscriber or role, 42501 for a subscriber of another role.
subscriber: Its name.
role: The role.';
GRANT EXECUTE ON FUNCTION tasker.grant_subscriber(text, name) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker.revoke_subscriber(subscriber text, role name)
RETURNS boolean AS 'MODULE_PATHNAME', 'revoke_subscriber' LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION tasker.revoke_subscriber(text, name) IS
'Takes back what grant_subscriber gave; false if it gave nothing. P0002 for an unknown subscriber, 42501 for a subscriber of another role.
subscriber: Its name.
role: The role.';
GRANT EXECUTE ON FUNCTION tasker.revoke_subscriber(text, name) TO tasker_operator;

CREATE OR REPLACE FUNCTION tasker.preview_subscription(patterns text[], filter jsonb DEFAULT NULL, since timestamptz DEFAULT NULL)
RETURNS TABLE (name text, events bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET work_mem = '16MB' AS $$
#variable_conflict use_column
DECLARE
    most_calls CONSTANT integer := 1000;
    here text;
    page record;
    counts jsonb := '{}'::jsonb;
BEGIN
    PERFORM tasker_engine.require_version();
    PERFORM tasker_engine.required($1, 'patterns'), tasker_engine.check_subscription($1, $2, NULL, NULL, NULL, NULL, NULL);
    IF $3 IS NOT NULL THEN
        here := (SELECT p.position FROM tasker_engine.event_place('', $3) p);
    END IF;
    FOR turn IN 1 .. most_calls LOOP
        SELECT (array_agg(e.here ORDER BY e.no DESC))[1] AS here,
               (SELECT jsonb_object_agg(n.name, n.events) FROM (
                    SELECT o.name, count(*) + coalesce((counts ->> o.name)::bigint, 0) AS events
                    FROM unnest(array_agg(e.name) FILTER (
                        WHERE e.event_id IS NOT NULL AND ($2 IS NULL OR e.payload @> $2) AND ($3 IS NULL OR e.occurred_at >= $3))) AS o (name)
                    GROUP BY o.name) n) AS found
        INTO page
        FROM tasker.read_events(here, 10000, $1) WITH ORDINALITY
             AS e (event_id, name, occurred_at, namespace, task_uuid, step_uuid, correlation_id, traceparent, payload, here, no);
        EXIT WHEN page.here IS NULL;
        here := page.here;
        counts := counts || coalesce(page.found, '{}'::jsonb);
    END LOOP;
    RETURN QUERY SELECT c.key, c.value::bigint FROM jsonb_each_text(counts) c ORDER BY c.key;
END
$$;
COMMENT ON FUNCTION tasker.preview_subscription(text[], jsonb, timestamptz) IS
'How many events a subscriber with this pattern and filter would have got, by name. It reads them, up to ten million. 22023 for patterns or a filter that subscribe would refuse.
patterns: As in subscribe.
filter: As in subscribe; NULL: none.
since: Only events that happened at or after this time; NULL: all.
name: The canonical name.
events: How many there are.';
GRANT EXECUTE ON FUNCTION tasker.preview_subscription(text[], jsonb, timestamptz) TO tasker_operator;
