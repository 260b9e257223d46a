-- Events of applications.

CREATE TABLE tasker_engine.registered_events (
    name text PRIMARY KEY,
    description text,
    payload_schema jsonb
);
COMMENT ON TABLE tasker_engine.registered_events IS 'Custom events: names that applications publish.';
COMMENT ON COLUMN tasker_engine.registered_events.name IS 'Name, with a dot and a first segment that is not the engine''s.';
COMMENT ON COLUMN tasker_engine.registered_events.description IS 'What it says; NULL: nothing is known.';
COMMENT ON COLUMN tasker_engine.registered_events.payload_schema IS 'JSON Schema of its payloads; NULL: any object.';

-- What applications publish, and facts that are no change of state: rows beside the log, with ids of its sequence. Insert-only: rows
-- leave by TRUNCATE of the oldest slot (duty_events). One index, which is the replica identity as well.
CREATE TABLE tasker_engine.events (
    id bigint NOT NULL,
    xid xid8 NOT NULL,
    created_at timestamptz NOT NULL,
    task_uuid uuid,
    slot smallint NOT NULL,
    step_no smallint NOT NULL,
    depth smallint NOT NULL,
    name text NOT NULL,
    namespace text,
    aggregate_type text NOT NULL,
    aggregate_id text NOT NULL,
    correlation_id text,
    traceparent text,
    payload jsonb NOT NULL,
    PRIMARY KEY (id, slot)
) PARTITION BY LIST (slot);
CREATE TABLE tasker_engine.events_0 PARTITION OF tasker_engine.events FOR VALUES IN (0);
CREATE TABLE tasker_engine.events_1 PARTITION OF tasker_engine.events FOR VALUES IN (1);
CREATE TABLE tasker_engine.events_2 PARTITION OF tasker_engine.events FOR VALUES IN (2);
CREATE TABLE tasker_engine.events_3 PARTITION OF tasker_engine.events FOR VALUES IN (3);
CREATE TABLE tasker_engine.events_4 PARTITION OF tasker_engine.events FOR VALUES IN (4);
CREATE TABLE tasker_engine.events_5 PARTITION OF tasker_engine.events FOR VALUES IN (5);
CREATE TABLE tasker_engine.events_6 PARTITION OF tasker_engine.events FOR VALUES IN (6);
CREATE TABLE tasker_engine.events_7 PARTITION OF tasker_engine.events FOR VALUES IN (7);
COMMENT ON TABLE tasker_engine.events IS 'Published events and facts that are no change of state: the second source of the stream of events, beside the log. Insert-only.';
COMMENT ON COLUMN tasker_engine.events.id IS 'From the sequence of the log; the event_id of tasker.read_events is 16 times it.';
COMMENT ON COLUMN tasker_engine.events.xid IS 'The transaction that published it, not a savepoint in it.';
COMMENT ON COLUMN tasker_engine.events.created_at IS 'When it happened.';
COMMENT ON COLUMN tasker_engine.events.task_uuid IS 'The task that it is about; NULL: none.';
COMMENT ON COLUMN tasker_engine.events.slot IS 'The part of the ring that it is in, from 0 to 7.';
COMMENT ON COLUMN tasker_engine.events.step_no IS 'Number of the step that it is about; 0: none.';
COMMENT ON COLUMN tasker_engine.events.depth IS 'How many handlers of events led to it, one causing the next.';
COMMENT ON COLUMN tasker_engine.events.name IS 'Its name.';
COMMENT ON COLUMN tasker_engine.events.namespace IS 'The namespace that it belongs to; NULL: none.';
COMMENT ON COLUMN tasker_engine.events.aggregate_type IS 'What it is about, for a router of outboxes: step, task, namespace, or the first segment of its name.';
COMMENT ON COLUMN tasker_engine.events.aggregate_id IS 'Which one of these: a uuid or a name. Events of one aggregate are to stay in order.';
COMMENT ON COLUMN tasker_engine.events.correlation_id IS 'That of its task.';
COMMENT ON COLUMN tasker_engine.events.traceparent IS 'Names the span that it is about: of the last run of its step, otherwise of its task.';
COMMENT ON COLUMN tasker_engine.events.payload IS 'What it says, a JSON object.';

-- Read by each call that publishes, and so only inserted and deleted: no call waits for the turn.
CREATE TABLE tasker_engine.event_turns (
    turn_no bigint PRIMARY KEY,
    turned_at timestamptz NOT NULL
);
COMMENT ON TABLE tasker_engine.event_turns IS 'The last turn of the ring of tasker_engine.events; no row: it has not turned.';
COMMENT ON COLUMN tasker_engine.event_turns.turn_no IS 'Number of the turn; modulo 8, the slot that takes new rows.';
COMMENT ON COLUMN tasker_engine.event_turns.turned_at IS 'When it turned.';
