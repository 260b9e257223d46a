-- What version 0.2.0 changes of tables, roles and signatures of functions; everything else is made again after this.

-- What a claim asks for, what a worker has begun, and what it gives back.
SELECT tasker_engine.script_replace_function('tasker.claim_steps(text,text[],integer,interval,text,text[])', 'tasker.claim_steps(text,text[],integer,interval,text,text[],text[])');
SELECT tasker_engine.script_replace_function('tasker.report_and_claim(text,jsonb,text[],integer,interval,text,text[])', 'tasker.report_and_claim(text,jsonb,text[],integer,interval,text,text[],text[],uuid[])');
SELECT tasker_engine.script_replace_function('tasker_engine.claim_inside(text,text[],text[],integer,interval)', 'tasker_engine.claim_inside(text,text[],text[],integer,interval)');
SELECT tasker_engine.script_replace_function('tasker.create_task(text,jsonb,text,text,text,text,text,jsonb,jsonb,integer,timestamptz,text,text,text)', 'tasker.create_task(text,jsonb,text,text,text,text,text,jsonb,jsonb,integer,timestamptz,text,text,text,text)');
SELECT tasker_engine.script_replace_function('tasker.create_tasks(text,jsonb[],text,text,text,text,text,jsonb,jsonb,integer,timestamptz,text[],text,text)', 'tasker.create_tasks(text,jsonb[],text,text,text,text,text,jsonb,jsonb,integer,timestamptz,text[],text,text,text)');
SELECT tasker_engine.script_replace_function('tasker.heartbeat(text,interval)', 'tasker.heartbeat(text,interval,uuid[])');
SELECT tasker_engine.script_replace_function('tasker.release_steps(text)', 'tasker.release_steps(text,jsonb,interval,text)');

-- Traces. What the columns mean is written again.
COMMENT ON COLUMN tasker.tasks.traceparent IS NULL;
COMMENT ON COLUMN tasker.tasks.correlation_id IS NULL;
COMMENT ON COLUMN tasker_engine.tasks.correlation_id IS NULL;
ALTER TABLE tasker_engine.tasks ADD COLUMN tracestate text;
COMMENT ON COLUMN tasker_engine.tasks.traceparent IS 'W3C trace context of the caller, as it came in.';
COMMENT ON COLUMN tasker_engine.tasks.tracestate IS 'W3C tracestate of the caller, as it came in.';

-- Read by a session's first claim and whenever the clock was set; written only then.
CREATE TABLE tasker_engine.clock_readings (
    machine_start text PRIMARY KEY,
    offset_us bigint NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE tasker_engine.clock_readings IS 'How far the wall clock was before the clock that counts since the machine started: when it is less, the clock was set back, and what is stored moves with it. One row.';
COMMENT ON COLUMN tasker_engine.clock_readings.machine_start IS 'Names the start of the machine; a reading of another one means nothing.';
COMMENT ON COLUMN tasker_engine.clock_readings.offset_us IS 'Wall-clock time minus the time since the start, in microseconds.';

-- Claims for some handlers. The keys of old entries are set by the first such claim.
ALTER TABLE tasker_engine.queue_entries ADD COLUMN handler_key bigint;
COMMENT ON COLUMN tasker_engine.queue_entries.handler_key IS 'tasker_engine.handler_key of the step''s handler: beside the keys of the index, so that a claim for some handlers passes over the entries of others without reading them. NULL: written by an earlier version; a claim for some handlers sets it.';
DROP INDEX tasker_engine.queue_entries_order;
CREATE INDEX queue_entries_order ON tasker_engine.queue_entries (queue_id, priority, available_at) INCLUDE (handler_key);
ALTER TABLE tasker_engine.workers ADD COLUMN handler_keys bigint[];
COMMENT ON COLUMN tasker_engine.workers.handler_keys IS 'tasker_engine.handler_key of the handlers that it waits for; NULL for any.';
ALTER TABLE tasker_engine.workers ADD COLUMN ended_at timestamptz;
COMMENT ON COLUMN tasker_engine.workers.ended_at IS 'When the worker said that it ends; NULL if it has not, or has called since.';
CREATE INDEX workers_seen ON tasker_engine.workers (last_seen_at) WHERE ended_at IS NULL;

-- The log names workers by number, so the names of workers whose rows are gone stay here as long as it may.
CREATE TABLE tasker_engine.worker_names (
    worker_no integer PRIMARY KEY,
    worker_id text NOT NULL,
    left_at timestamptz NOT NULL
);
CREATE INDEX worker_names_left_at ON tasker_engine.worker_names (left_at);
COMMENT ON TABLE tasker_engine.worker_names IS 'The names of workers that are gone, for the log. A row goes when every task is younger than left_at.';
COMMENT ON COLUMN tasker_engine.worker_names.worker_id IS 'The name under which it claimed.';
COMMENT ON COLUMN tasker_engine.worker_names.left_at IS 'When its row in workers was deleted; no claim named it then.';

-- Tasks show their idempotency key.
SELECT tasker_engine.script_replace_view('tasker.tasks_with_all_associated');

-- Lists of tasks, newest first.
CREATE INDEX tasks_requested_at ON tasker_engine.tasks (requested_at);
CREATE INDEX tasks_correlation_id ON tasker_engine.tasks (left(correlation_id, 255), task_uuid) WHERE correlation_id IS NOT NULL;
ALTER TABLE tasker_engine.task_identities ADD COLUMN idempotency_key text;
COMMENT ON COLUMN tasker_engine.task_identities.idempotency_key IS 'The caller''s own key; NULL: the hash is that of the request, or version 0.1.0 wrote the row.';
CREATE TABLE tasker_engine.task_tags (
    tag text,
    task_uuid uuid,
    PRIMARY KEY (tag, task_uuid)
);
COMMENT ON TABLE tasker_engine.task_tags IS 'One row per task and tag, for lists of tasks by a tag, newest first.';
COMMENT ON COLUMN tasker_engine.task_tags.tag IS 'The tag, its first 255 characters.';
INSERT INTO tasker_engine.task_tags (tag, task_uuid)
SELECT DISTINCT left(g.tag, 255), t.task_uuid
FROM tasker_engine.tasks t CROSS JOIN LATERAL jsonb_array_elements_text(t.tags) AS g (tag)
WHERE t.tags <> '[]' AND g.tag IS NOT NULL;

-- Tasks in a rare state have a row of their own.
CREATE TABLE tasker_engine.rare_tasks (
    task_uuid uuid PRIMARY KEY,
    since timestamptz NOT NULL,
    named_task_id integer NOT NULL,
    step_no smallint,
    state "char" NOT NULL,
    error_class text
);
CREATE INDEX rare_tasks_state ON tasker_engine.rare_tasks (state, task_uuid);
CREATE INDEX rare_tasks_error_class ON tasker_engine.rare_tasks (error_class, task_uuid) WHERE error_class IS NOT NULL;
COMMENT ON TABLE tasker_engine.rare_tasks IS
'One row per task in a rare state, so that these tasks are found without reading all: in error, cancelled, resolved_manually, or open with nothing that runs or will.';
COMMENT ON COLUMN tasker_engine.rare_tasks.since IS 'When the task entered the state, or was found stuck.';
COMMENT ON COLUMN tasker_engine.rare_tasks.step_no IS 'The first step that was in error when the task ended in error; NULL if none was.';
COMMENT ON COLUMN tasker_engine.rare_tasks.state IS 'e error, x cancelled, r resolved_manually as in tasks; s stuck: the task is open and nothing of it runs or will.';
COMMENT ON COLUMN tasker_engine.rare_tasks.error_class IS 'The error class of that step, its first 255 characters; NULL if it has none.';
INSERT INTO tasker_engine.rare_tasks (task_uuid, since, named_task_id, step_no, state, error_class)
SELECT t.task_uuid,
       coalesce((SELECT max(l.created_at) FROM tasker_engine.transitions l WHERE l.task_uuid = t.task_uuid AND l.step_no = 0), t.requested_at),
       t.named_task_id, f.step_no, t.state, left(f.results ->> 'error_class', 255)
FROM tasker_engine.tasks t
LEFT JOIN LATERAL (
    SELECT s.step_no, s.results FROM tasker_engine.steps s
    WHERE s.task_uuid = t.task_uuid AND s.state = 'e' AND t.state IN ('e', 'r')
    ORDER BY s.step_no LIMIT 1) f ON true
WHERE t.state IN ('e', 'x', 'r');
-- 0.1.0 let a task in error go on with retries and with what was given back.
UPDATE tasker_engine.steps s
SET available_at = 'infinity', watched = true
FROM tasker_engine.rare_tasks r
WHERE s.task_uuid = r.task_uuid AND r.state IN ('e', 'r')
  AND (s.state = 'i' OR tasker_engine.can_still_run(s.state, s.available_at, s.unreachable))
  AND s.available_at IS DISTINCT FROM 'infinity';
CREATE FUNCTION tasker_engine.handler_key(handler text)
RETURNS bigint AS 'MODULE_PATHNAME', 'handler_key' LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp;
-- It also left steps held when an operator repaired another step of their task: those of open tasks go on.
WITH freed AS (
    UPDATE tasker_engine.steps s
    SET available_at = statement_timestamp()
    FROM tasker_engine.tasks t
    WHERE t.state IN ('p', 'i') AND s.task_uuid = t.task_uuid AND s.state IN ('p', 'e') AND s.available_at = 'infinity'
    RETURNING s.task_uuid, s.step_no, s.named_task_id, s.priority, s.available_at, s.unreachable)
INSERT INTO tasker_engine.queue_entries (available_at, task_uuid, queue_id, priority, step_no, handler_key)
SELECT f.available_at, f.task_uuid, n.queue_id, coalesce(n.priority, f.priority), f.step_no, tasker_engine.handler_key(n.handler)
FROM freed f
JOIN tasker.named_tasks_named_steps n ON n.named_task_id = f.named_task_id AND n.step_no = f.step_no
WHERE NOT f.unreachable
  AND cardinality(n.parents) = (
      SELECT count(*) FROM tasker_engine.steps o
      WHERE o.task_uuid = f.task_uuid AND o.step_no = ANY (n.parents) AND tasker_engine.is_done(o.state));

-- Execution status and health of an ended task are its end's: the comments are made again.
DO $$
DECLARE
    explained record;
BEGIN
    FOR explained IN
        SELECT r.name AS relation, c.name AS attribute
        FROM unnest('{task_execution_contexts,task_execution_details,task_overview}'::text[]) AS r (name),
             unnest('{execution_status,health_status,recommended_action}'::text[]) AS c (name)
        WHERE (r.name, c.name) <> ('task_overview', 'recommended_action')
    LOOP
        EXECUTE format('COMMENT ON COLUMN tasker.%I.%I IS NULL', explained.relation, explained.attribute);
    END LOOP;
END
$$;

-- Cancelling a complete task is said explicitly.
SELECT tasker_engine.script_replace_function('tasker.cancel_task(uuid,text)', 'tasker.cancel_task(uuid,text,boolean)');

-- The installation names itself, so that an updated one goes on.

CREATE FUNCTION tasker_engine.forget_installation() RETURNS trigger
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.xid := NULL;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION tasker_engine.forget_installation() IS
'A row that a restore or a subscription inserts gets no transaction id, so that it does not name this installation by chance.';
CREATE TABLE tasker_engine.installation (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    database_oid oid NOT NULL,
    table_oid oid NOT NULL,
    xid xid8,
    database_name text NOT NULL,
    written_at timestamptz NOT NULL
);
CREATE TRIGGER forget_installation BEFORE INSERT ON tasker_engine.installation
    FOR EACH ROW EXECUTE FUNCTION tasker_engine.forget_installation();
ALTER TABLE tasker_engine.installation ENABLE ALWAYS TRIGGER forget_installation;
COMMENT ON TABLE tasker_engine.installation IS
'One row that names the installation; nothing is done while it is missing or does not agree with where it is. Rule: docs/operating-with-psql.md#dump-and-restore.';
COMMENT ON COLUMN tasker_engine.installation.one IS 'Keeps it at one row.';
COMMENT ON COLUMN tasker_engine.installation.database_oid IS 'The database in which it was written.';
COMMENT ON COLUMN tasker_engine.installation.table_oid IS 'This table, as it was then.';
COMMENT ON COLUMN tasker_engine.installation.xid IS 'The transaction, or the savepoint in it, that wrote the row; NULL: the row was loaded.';
COMMENT ON COLUMN tasker_engine.installation.database_name IS 'The name of the database then, for messages.';
COMMENT ON COLUMN tasker_engine.installation.written_at IS 'When it was written, for messages.';
INSERT INTO tasker_engine.installation (database_oid, table_oid, database_name, written_at)
SELECT d.oid, 'tasker_engine.installation'::regclass, d.datname, clock_timestamp() FROM pg_database d WHERE d.datname = current_database();
UPDATE tasker_engine.installation i
SET xid = ((pg_current_xact_id()::text::bigint >> 32 << 32) | i.xmin::text::bigint)::text::xid8;

-- Restores of the log. Ids of transactions do not survive a dump, and readers compare them; so readers compare only those of rows
-- between two restores (crates/rules/src/events/position.rs). pg_upgrade, promotion and recovery to a point in time keep the ids.
CREATE TABLE tasker_engine.epochs (
    epoch bigint PRIMARY KEY,
    last_id_before bigint NOT NULL
);
COMMENT ON TABLE tasker_engine.epochs IS
'One row per restore of this log, written by tasker.resume_after_restore(). Ids of transactions are comparable in the rows between two restores only.';
COMMENT ON COLUMN tasker_engine.epochs.epoch IS 'When work was resumed after the restore, in microseconds since 1970: the name of all that was written since then.';
COMMENT ON COLUMN tasker_engine.epochs.last_id_before IS 'The last id that the log had given out before.';

-- What a worker says that it has begun.
ALTER TABLE tasker_engine.claims ADD COLUMN begun uuid[];
COMMENT ON COLUMN tasker_engine.claims.begun IS 'The steps of which the worker has said that it has begun them; NULL: it has said nothing. The only step of a claim counts as begun.';

-- The start of a run has no row in the log any more.
ALTER TABLE tasker_engine.steps ADD COLUMN run_id bigint;
COMMENT ON COLUMN tasker_engine.steps.run_id IS
'The id in the log of the start of its last run, which has no row there; NULL: it has a row, or there was no run.';
ALTER TABLE tasker_engine.transitions ADD COLUMN run_id bigint;
COMMENT ON COLUMN tasker_engine.transitions.started_at IS 'When the run that this change ended began.';
COMMENT ON COLUMN tasker_engine.transitions.run_id IS 'The id of the change to in_progress that began this run and has no row; NULL: no run ended, or the change has a row.';
ALTER TABLE tasker_engine.transitions ADD COLUMN claim_number integer;
COMMENT ON COLUMN tasker_engine.transitions.claim_number IS 'The number of the claim whose run this change ended; NULL: no run ended, or an earlier version wrote the row.';
DROP INDEX tasker_engine.transitions_time;
CREATE INDEX transitions_time ON tasker_engine.transitions USING brin (created_at, started_at) WITH (pages_per_range = 64);

-- Readers of events read on from where they were.
CREATE INDEX transitions_id ON tasker_engine.transitions (id);

-- Written while a walk over many tasks goes on, and when it finds something; a repair empties it.
CREATE TABLE tasker_engine.integrity_checks (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    checked_to uuid,
    found bigint NOT NULL,
    example text,
    found_before bigint NOT NULL,
    example_before text
) WITH (fillfactor = 50);
COMMENT ON TABLE tasker_engine.integrity_checks IS 'How far maintenance has checked the rows of tasks, and what it has found; at most one row.';
COMMENT ON COLUMN tasker_engine.integrity_checks.one IS 'Keeps it at one row.';
COMMENT ON COLUMN tasker_engine.integrity_checks.checked_to IS 'The last task of this round that was checked; NULL: the next round begins.';
COMMENT ON COLUMN tasker_engine.integrity_checks.found IS 'Number of disagreements that this round has found so far.';
COMMENT ON COLUMN tasker_engine.integrity_checks.example IS 'The first of them.';
COMMENT ON COLUMN tasker_engine.integrity_checks.found_before IS 'Number of disagreements that the last whole round found.';
COMMENT ON COLUMN tasker_engine.integrity_checks.example_before IS 'The first of them.';
-- Written while a walk over many tasks goes on.
CREATE TABLE tasker_engine.stuck_checks (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    checked_to uuid
) WITH (fillfactor = 50);
COMMENT ON TABLE tasker_engine.stuck_checks IS 'How far maintenance has looked for stuck tasks; at most one row.';
COMMENT ON COLUMN tasker_engine.stuck_checks.one IS 'Keeps it at one row.';
COMMENT ON COLUMN tasker_engine.stuck_checks.checked_to IS 'The last task of this round; NULL: the next round begins.';
-- Totals of ranges of old tasks, so that counts do not read them again: the complete ones; the others have rows in rare_tasks. A range
-- is written once no open task is in it and no transaction can add one (duty_totals).
CREATE TABLE tasker_engine.settled_tasks (
    last_uuid uuid PRIMARY KEY,
    after_uuid uuid NOT NULL,
    complete_tasks bigint NOT NULL,
    complete_steps bigint NOT NULL,
    resolved_steps bigint NOT NULL,
    left_out uuid[] NOT NULL
);
COMMENT ON TABLE tasker_engine.settled_tasks IS 'One row per range of tasks of which almost all have ended, with the totals of those that are complete.';
COMMENT ON COLUMN tasker_engine.settled_tasks.last_uuid IS 'The last task of the range.';
COMMENT ON COLUMN tasker_engine.settled_tasks.after_uuid IS 'The range begins behind this uuid.';
COMMENT ON COLUMN tasker_engine.settled_tasks.complete_tasks IS 'Number of its complete tasks.';
COMMENT ON COLUMN tasker_engine.settled_tasks.complete_steps IS 'Number of their steps in state complete.';
COMMENT ON COLUMN tasker_engine.settled_tasks.resolved_steps IS 'Number of their steps in state resolved_manually.';
COMMENT ON COLUMN tasker_engine.settled_tasks.left_out IS 'Its tasks that were open: a count looks at each.';

-- What changed since: only inserted, so that no session waits for another; the next round of the duty removes both.
CREATE TABLE tasker_engine.unsettled_tasks (
    first_uuid uuid NOT NULL,
    last_uuid uuid NOT NULL
);
ALTER TABLE tasker_engine.unsettled_tasks REPLICA IDENTITY FULL;
COMMENT ON TABLE tasker_engine.unsettled_tasks IS 'Ended tasks that went on, were cancelled or deleted: a range of settled_tasks in which they lie does not count.';
COMMENT ON COLUMN tasker_engine.unsettled_tasks.first_uuid IS 'The first task.';
COMMENT ON COLUMN tasker_engine.unsettled_tasks.last_uuid IS 'The last task.';

CREATE TABLE tasker_engine.settling (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    checked_to uuid NOT NULL,
    upto uuid NOT NULL,
    xid xid8 NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE tasker_engine.settling IS 'How far maintenance is with settled_tasks; at most one row.';
COMMENT ON COLUMN tasker_engine.settling.one IS 'Keeps it at one row.';
COMMENT ON COLUMN tasker_engine.settling.checked_to IS 'The last task that this round has looked at.';
COMMENT ON COLUMN tasker_engine.settling.upto IS 'No transaction from xid on creates a task below this uuid.';
COMMENT ON COLUMN tasker_engine.settling.xid IS 'The next transaction when upto was written.';
-- repair_integrity finds more than missing entries, and reads no view.
DROP VIEW tasker_engine.missing_entries;

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

-- Routes of events to telemetry.
CREATE TABLE tasker_engine.changed_event_routes (
    event text PRIMARY KEY,
    backends text[] NOT NULL,
    enabled boolean NOT NULL,
    sampling_rate numeric NOT NULL,
    priority text NOT NULL,
    metadata jsonb NOT NULL
);
COMMENT ON TABLE tasker_engine.changed_event_routes IS 'Routes of events that set_event_route has set.';
COMMENT ON COLUMN tasker_engine.changed_event_routes.event IS 'Name of the event.';
COMMENT ON COLUMN tasker_engine.changed_event_routes.backends IS 'Where it goes: trace, metrics, log.';
COMMENT ON COLUMN tasker_engine.changed_event_routes.enabled IS 'Whether it goes there.';
COMMENT ON COLUMN tasker_engine.changed_event_routes.sampling_rate IS 'Share of the tasks whose events go there, 0 to 1.';

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

-- Subscribers to events.

-- Settings. No poll changes a row.
CREATE TABLE tasker_engine.subscribers (
    subscriber_id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    subscriber text NOT NULL UNIQUE,
    patterns text[] NOT NULL,
    namespaces text[],
    filter jsonb,
    sample_rate numeric NOT NULL,
    max_deliveries integer NOT NULL,
    ordered boolean NOT NULL,
    include_data boolean NOT NULL,
    max_in_flight integer,
    batch_size integer NOT NULL,
    paused boolean NOT NULL DEFAULT false,
    owner_role text NOT NULL,
    owner_oid oid,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- Also where a restore has switched triggers off.
CREATE TRIGGER find_owner BEFORE INSERT ON tasker_engine.subscribers
    FOR EACH ROW EXECUTE FUNCTION tasker_engine.find_schedule_owner();
ALTER TABLE tasker_engine.subscribers ENABLE ALWAYS TRIGGER find_owner;
CREATE TRIGGER find_published_owner BEFORE UPDATE ON tasker_engine.subscribers
    FOR EACH ROW EXECUTE FUNCTION tasker_engine.find_schedule_owner();
ALTER TABLE tasker_engine.subscribers ENABLE REPLICA TRIGGER find_published_owner;
COMMENT ON TABLE tasker_engine.subscribers IS 'One row per subscriber with its settings; tasker.subscribers shows it.';
COMMENT ON COLUMN tasker_engine.subscribers.subscriber_id IS 'Its number.';
COMMENT ON COLUMN tasker_engine.subscribers.subscriber IS 'Its name.';
COMMENT ON COLUMN tasker_engine.subscribers.patterns IS 'Which names it wants.';
COMMENT ON COLUMN tasker_engine.subscribers.filter IS 'What a payload must contain; NULL: nothing.';
COMMENT ON COLUMN tasker_engine.subscribers.sample_rate IS 'The share of tasks of which it gets all events.';
COMMENT ON COLUMN tasker_engine.subscribers.max_deliveries IS 'After that many deliveries an event is dead.';
COMMENT ON COLUMN tasker_engine.subscribers.ordered IS 'Whether the events of a task come in order.';
COMMENT ON COLUMN tasker_engine.subscribers.include_data IS 'Whether payloads get results, inputs and context.';
COMMENT ON COLUMN tasker_engine.subscribers.max_in_flight IS 'The most events that consumers hold together; NULL: no limit.';
COMMENT ON COLUMN tasker_engine.subscribers.batch_size IS 'How many events a handler gets at a time.';
COMMENT ON COLUMN tasker_engine.subscribers.owner_role IS 'The role that made it.';
COMMENT ON COLUMN tasker_engine.subscribers.owner_oid IS 'The role that made it: the oid decides, and owner_role is its name for a dump. NULL if no role had the name when the row was restored; only superusers and roles with a grant poll it then.';

-- Roles that may poll beside the owner.
CREATE TABLE tasker_engine.subscriber_grants (
    subscriber_id bigint NOT NULL,
    role_name text NOT NULL,
    role_oid oid,
    PRIMARY KEY (subscriber_id, role_name)
);
CREATE TRIGGER find_role BEFORE INSERT OR UPDATE ON tasker_engine.subscriber_grants
    FOR EACH ROW EXECUTE FUNCTION tasker_engine.find_claimant();
ALTER TABLE tasker_engine.subscriber_grants ENABLE ALWAYS TRIGGER find_role;
COMMENT ON TABLE tasker_engine.subscriber_grants IS 'Roles that may take the events of a subscriber, beside its owner.';
COMMENT ON COLUMN tasker_engine.subscriber_grants.subscriber_id IS 'The subscriber.';
COMMENT ON COLUMN tasker_engine.subscriber_grants.role_name IS 'Name of the role.';
COMMENT ON COLUMN tasker_engine.subscriber_grants.role_oid IS 'The role of this name when the row was written.';

-- Where a subscriber is: the row with the highest number, of which a poll that moves makes the next.
CREATE TABLE tasker_engine.subscriber_places (
    subscriber_id bigint NOT NULL,
    place_no bigint NOT NULL,
    position text NOT NULL,
    reached bigint NOT NULL,
    read_to bigint NOT NULL,
    since timestamptz,
    first_poll bigint NOT NULL DEFAULT 1,
    delivered bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    missed_events bigint NOT NULL DEFAULT 0,
    missed_until timestamptz,
    last_error text,
    last_error_at timestamptz,
    moved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (subscriber_id, place_no)
);
COMMENT ON TABLE tasker_engine.subscriber_places IS 'How far each subscriber has read, and the counts of its deliveries: the row with its highest number. A poll locks it, removes it and adds the next.';
COMMENT ON COLUMN tasker_engine.subscriber_places.subscriber_id IS 'The subscriber.';
COMMENT ON COLUMN tasker_engine.subscriber_places.place_no IS 'Counts the moves of the place.';
COMMENT ON COLUMN tasker_engine.subscriber_places.last_error IS 'Why the last failed delivery failed; NULL if none did.';
COMMENT ON COLUMN tasker_engine.subscriber_places.last_error_at IS 'When it failed.';
COMMENT ON COLUMN tasker_engine.subscriber_places.moved_at IS 'When the place last moved.';
COMMENT ON COLUMN tasker_engine.subscriber_places.position IS 'As in tasker.read_events: what was read.';
COMMENT ON COLUMN tasker_engine.subscriber_places.reached IS 'The largest id of the log that it has looked at.';
COMMENT ON COLUMN tasker_engine.subscriber_places.read_to IS 'All rows of the log up to this id were read, whatever commits later.';
COMMENT ON COLUMN tasker_engine.subscriber_places.since IS 'Rows of the log that are older do not count; NULL: all count.';
COMMENT ON COLUMN tasker_engine.subscriber_places.first_poll IS 'No row of deliveries has a lower number.';
COMMENT ON COLUMN tasker_engine.subscriber_places.delivered IS 'Number of deliveries so far, without those in delivery_counts.';
COMMENT ON COLUMN tasker_engine.subscriber_places.failed IS 'Number of failed deliveries so far, without those in delivery_counts.';
COMMENT ON COLUMN tasker_engine.subscriber_places.missed_events IS 'Number of rows of the log that were purged before it had read them, or before they were acknowledged.';
COMMENT ON COLUMN tasker_engine.subscriber_places.missed_until IS 'When the last of them was written; if it was to come again, when it was found missing.';

-- In flight: what one call handed out for the first time.
CREATE TABLE tasker_engine.deliveries (
    subscriber_id bigint NOT NULL,
    poll_no bigint NOT NULL,
    lease_until timestamptz NOT NULL,
    holder bigint NOT NULL,
    events integer NOT NULL,
    first_id bigint NOT NULL,
    last_id bigint NOT NULL,
    gone smallint[] NOT NULL DEFAULT '{}',
    event_ids bigint[] NOT NULL,
    row_ids bigint[] NOT NULL,
    task_uuids uuid[],
    consumer text,
    PRIMARY KEY (subscriber_id, poll_no)
) WITH (fillfactor = 70);
-- Compressing the ids of a large poll costs more than writing them.
ALTER TABLE tasker_engine.deliveries ALTER event_ids SET STORAGE EXTERNAL, ALTER row_ids SET STORAGE EXTERNAL, ALTER task_uuids SET STORAGE EXTERNAL;
COMMENT ON TABLE tasker_engine.deliveries IS 'One row per call of poll_events that handed out new events, until all of them are acknowledged, have failed, or the lease has ended.';
COMMENT ON COLUMN tasker_engine.deliveries.subscriber_id IS 'The subscriber.';
COMMENT ON COLUMN tasker_engine.deliveries.poll_no IS 'The number of the place that the call has made.';
COMMENT ON COLUMN tasker_engine.deliveries.lease_until IS 'When the lease ends.';
COMMENT ON COLUMN tasker_engine.deliveries.event_ids IS 'The events.';
COMMENT ON COLUMN tasker_engine.deliveries.consumer IS 'The name that the consumer gave; NULL: none.';
COMMENT ON COLUMN tasker_engine.deliveries.holder IS 'The session that called.';
COMMENT ON COLUMN tasker_engine.deliveries.events IS 'Number of events.';
COMMENT ON COLUMN tasker_engine.deliveries.first_id IS 'The lowest of the ids.';
COMMENT ON COLUMN tasker_engine.deliveries.last_id IS 'The highest of the ids.';
COMMENT ON COLUMN tasker_engine.deliveries.gone IS 'Places in the arrays, from 0: acknowledged, or moved to redeliveries.';
COMMENT ON COLUMN tasker_engine.deliveries.row_ids IS 'For each event the id of the row of the log that gives it.';
COMMENT ON COLUMN tasker_engine.deliveries.task_uuids IS 'For each event its task, for a subscriber that is ordered; otherwise NULL.';

-- A row per event exists only after a nack or an ended lease, and while an event waits for an earlier one of its task.
CREATE TABLE tasker_engine.redeliveries (
    subscriber_id bigint NOT NULL,
    event_id bigint NOT NULL,
    row_id bigint NOT NULL,
    place bigint NOT NULL,
    due_at timestamptz NOT NULL,
    deliveries integer NOT NULL,
    task_uuid uuid,
    holder bigint,
    former bigint[] NOT NULL,
    consumer text,
    error text,
    failed_at timestamptz,
    dead_at timestamptz,
    PRIMARY KEY (subscriber_id, event_id)
) WITH (fillfactor = 70);
CREATE INDEX redeliveries_due ON tasker_engine.redeliveries (subscriber_id, due_at, place) WHERE due_at < 'infinity';
CREATE INDEX redeliveries_task ON tasker_engine.redeliveries (subscriber_id, task_uuid) WHERE task_uuid IS NOT NULL;
COMMENT ON TABLE tasker_engine.redeliveries IS 'Events that are to be handed out again, that wait for an earlier event of their task, or that are dead; and gaps.';
COMMENT ON COLUMN tasker_engine.redeliveries.subscriber_id IS 'The subscriber.';
COMMENT ON COLUMN tasker_engine.redeliveries.event_id IS 'The event.';
COMMENT ON COLUMN tasker_engine.redeliveries.consumer IS 'The name that the last consumer gave; NULL: none.';
COMMENT ON COLUMN tasker_engine.redeliveries.error IS 'Why the last delivery failed; NULL if nothing was said.';
COMMENT ON COLUMN tasker_engine.redeliveries.row_id IS 'The row of the log that gives the event.';
COMMENT ON COLUMN tasker_engine.redeliveries.place IS 'Its place in the order in which the subscriber has read.';
COMMENT ON COLUMN tasker_engine.redeliveries.due_at IS 'When it may be handed out; while a consumer has it, the end of the lease; infinity once it is dead.';
COMMENT ON COLUMN tasker_engine.redeliveries.deliveries IS 'How often it was handed out.';
COMMENT ON COLUMN tasker_engine.redeliveries.task_uuid IS 'Its task, for a subscriber that is ordered; otherwise NULL.';
COMMENT ON COLUMN tasker_engine.redeliveries.holder IS 'The session that has it; NULL: it waits, or is dead.';
COMMENT ON COLUMN tasker_engine.redeliveries.former IS 'Sessions to which it was handed out.';
COMMENT ON COLUMN tasker_engine.redeliveries.dead_at IS 'When its last delivery had failed; NULL: it is not dead.';

-- Only inserted, so that no session waits for another; the next poll that moves adds them up.
CREATE TABLE tasker_engine.delivery_counts (
    subscriber_id bigint NOT NULL,
    delivered bigint NOT NULL,
    failed bigint NOT NULL,
    missed bigint NOT NULL,
    error text,
    counted_at timestamptz NOT NULL
);
CREATE INDEX delivery_counts_subscriber ON tasker_engine.delivery_counts (subscriber_id);
ALTER TABLE tasker_engine.delivery_counts REPLICA IDENTITY FULL;
COMMENT ON TABLE tasker_engine.delivery_counts IS 'What happened to deliveries since the place of the subscriber has moved.';
COMMENT ON COLUMN tasker_engine.delivery_counts.subscriber_id IS 'The subscriber.';
COMMENT ON COLUMN tasker_engine.delivery_counts.delivered IS 'Number of deliveries.';
COMMENT ON COLUMN tasker_engine.delivery_counts.failed IS 'Number of deliveries that failed.';
COMMENT ON COLUMN tasker_engine.delivery_counts.missed IS 'Number of rows that were removed before they were read, or before their events were acknowledged.';
COMMENT ON COLUMN tasker_engine.delivery_counts.error IS 'Why they failed; NULL if nothing was said.';
COMMENT ON COLUMN tasker_engine.delivery_counts.counted_at IS 'When; of missed events, when the last of them was written.';

-- What a subscriber gets in the place of events that are gone: each has a row of redeliveries, by which it is handed out like others.
CREATE TABLE tasker_engine.event_gaps (
    id bigint PRIMARY KEY,
    subscriber_id bigint NOT NULL,
    events bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    noted_at timestamptz NOT NULL
);
CREATE INDEX event_gaps_subscriber ON tasker_engine.event_gaps (subscriber_id);
COMMENT ON TABLE tasker_engine.event_gaps IS 'Events that were removed before a subscriber had them: each row is an event stream.gap for it alone. It stays as long as its row of redeliveries.';
COMMENT ON COLUMN tasker_engine.event_gaps.id IS 'From the sequence of the log; the event is 16 times it.';
COMMENT ON COLUMN tasker_engine.event_gaps.subscriber_id IS 'The subscriber.';
COMMENT ON COLUMN tasker_engine.event_gaps.events IS 'Number of rows of the log, and of published events. It grows until the event is handed out.';
COMMENT ON COLUMN tasker_engine.event_gaps.first_at IS 'When the first of them was written.';
COMMENT ON COLUMN tasker_engine.event_gaps.last_at IS 'When the last of them was written.';
COMMENT ON COLUMN tasker_engine.event_gaps.noted_at IS 'When they were removed.';

-- Which function a subscriber's events are handed to, and with whose rights. The table belongs to the superuser, as
-- tasker_engine.sql_handlers does and for the same reason. Rows come from subscribe, and from a restore.
CREATE TABLE tasker_engine.subscriber_handlers (
    subscriber_id bigint PRIMARY KEY REFERENCES tasker_engine.subscribers ON DELETE CASCADE,
    handler text NOT NULL,
    role_name text NOT NULL,
    role_oid oid,
    function_owner text NOT NULL,
    function_owner_oid oid
);
CREATE TRIGGER check_sql_handler BEFORE INSERT OR UPDATE ON tasker_engine.subscriber_handlers
    FOR EACH ROW EXECUTE FUNCTION tasker_engine.check_sql_handler();
-- Also where a restore or a subscription has switched triggers off.
ALTER TABLE tasker_engine.subscriber_handlers ENABLE ALWAYS TRIGGER check_sql_handler;
COMMENT ON TABLE tasker_engine.subscriber_handlers IS 'The function that gets the events of a subscriber, the role whose rights it has (the owner of the subscriber), and the role that must own the function.';
COMMENT ON COLUMN tasker_engine.subscriber_handlers.subscriber_id IS 'The subscriber.';
COMMENT ON COLUMN tasker_engine.subscriber_handlers.handler IS 'sql: and the function, as subscribe was told.';
COMMENT ON COLUMN tasker_engine.subscriber_handlers.role_name IS 'The name of the role with whose rights the function runs; for a dump. Maintenance refreshes it after a rename.';
COMMENT ON COLUMN tasker_engine.subscriber_handlers.role_oid IS 'That role: the oid decides. NULL if no role had the name when the row was restored; the events then fail.';
COMMENT ON COLUMN tasker_engine.subscriber_handlers.function_owner IS 'The name of the role that owned the function when subscribe named it; for a dump.';
COMMENT ON COLUMN tasker_engine.subscriber_handlers.function_owner_oid IS 'That role: a function of another owner is not called. NULL if no role had the name when the row was restored.';
GRANT SELECT, DELETE ON tasker_engine.subscriber_handlers TO tasker_owner;

-- What workers' reports say of the logs of runs.
CREATE TABLE tasker_engine.step_logs (
    task_uuid uuid NOT NULL,
    at timestamptz NOT NULL,
    claim_number integer NOT NULL,
    line integer NOT NULL,
    step_no smallint NOT NULL,
    attempt smallint NOT NULL,
    level text NOT NULL,
    message text NOT NULL,
    fields jsonb,
    PRIMARY KEY (task_uuid, step_no, claim_number, line)
);
COMMENT ON TABLE tasker_engine.step_logs IS 'Lines of the logs of runs, as reports brought them; tasker.step_logs shows it. Insert-only.';
COMMENT ON COLUMN tasker_engine.step_logs.task_uuid IS 'The task.';
COMMENT ON COLUMN tasker_engine.step_logs.at IS 'When the worker wrote the line; that of the report if it did not say.';
COMMENT ON COLUMN tasker_engine.step_logs.claim_number IS 'Number of the claim whose run it is.';
COMMENT ON COLUMN tasker_engine.step_logs.line IS 'Number of the line in the log of the run, from 1.';
COMMENT ON COLUMN tasker_engine.step_logs.step_no IS 'Number of the step in its task.';
COMMENT ON COLUMN tasker_engine.step_logs.attempt IS 'Number of the attempt.';
COMMENT ON COLUMN tasker_engine.step_logs.level IS 'trace, debug, info, warn, error or fatal.';
COMMENT ON COLUMN tasker_engine.step_logs.message IS 'What it says.';
COMMENT ON COLUMN tasker_engine.step_logs.fields IS 'More that it says, a JSON object; NULL: nothing.';

-- How far events were written to the server's log.
CREATE TABLE tasker_engine.event_log_positions (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    position text NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE tasker_engine.event_log_positions IS 'How far events were written to the server''s log: one row while a route of an event names the log.';
COMMENT ON COLUMN tasker_engine.event_log_positions.one IS 'Keeps it at one row.';
COMMENT ON COLUMN tasker_engine.event_log_positions.position IS 'A position as tasker.read_events has them.';

-- Counts by labels of a backend: a place of each array for each number. Insert-only like tasker_engine.metric_counts; a duty makes one
-- row per series of them.
CREATE TABLE tasker_engine.series_counts (
    at timestamptz NOT NULL,
    folded boolean NOT NULL,
    named_task_ids integer[] NOT NULL,
    step_nos smallint[] NOT NULL,
    error_classes text[] NOT NULL,
    cells smallint[] NOT NULL,
    amounts bigint[] NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE tasker_engine.series_counts REPLICA IDENTITY FULL; -- it has no key, see tasker_engine.queue_entries
COMMENT ON TABLE tasker_engine.series_counts IS 'What backends counted by labels without shared memory, and sums of older rows.';
COMMENT ON COLUMN tasker_engine.series_counts.at IS 'When it was written; of a folded row, when its series was last counted in.';
COMMENT ON COLUMN tasker_engine.series_counts.folded IS 'Whether it is the sum of older rows, for one series.';
COMMENT ON COLUMN tasker_engine.series_counts.named_task_ids IS 'The template of each number; 0: all labels are other.';
COMMENT ON COLUMN tasker_engine.series_counts.step_nos IS 'Its step; 0: it is about tasks.';
COMMENT ON COLUMN tasker_engine.series_counts.error_classes IS 'Its error class, if it is about failures.';
COMMENT ON COLUMN tasker_engine.series_counts.cells IS 'What was counted, as in labelled_metric_cells(); -1: how frequent the class is among those of its step.';
COMMENT ON COLUMN tasker_engine.series_counts.amounts IS 'Each count since the backend''s last row.';
