-- The hot tables. docs/design.md says why they look as they do; the rule for each column is in its COMMENT.
-- States are one byte: p pending, i in_progress, e error, c complete, x cancelled, r resolved_manually. No CHECK says so:
-- PostgreSQL parses a constraint's expression again for each statement, which cost 5 % of a claim.

CREATE TABLE tasker_engine.tasks (
    task_uuid uuid PRIMARY KEY,
    requested_at timestamptz NOT NULL,
    started_at timestamptz,
    completed_at timestamptz,
    named_task_id integer NOT NULL REFERENCES tasker.named_tasks,
    open_leaves smallint NOT NULL,
    priority smallint NOT NULL,
    state "char" NOT NULL DEFAULT 'p',
    watched boolean NOT NULL DEFAULT false,
    initiator text NOT NULL,
    source_system text NOT NULL,
    reason text NOT NULL,
    run_at timestamptz,
    correlation_id text,
    traceparent text,
    tags jsonb NOT NULL,
    bypass_steps jsonb NOT NULL,
    context jsonb NOT NULL,
    tracestate text
) WITH (fillfactor = 55);
-- For scopes by template, newest last. Neither column changes.
CREATE INDEX tasks_named_task ON tasker_engine.tasks (named_task_id, task_uuid);
-- For scopes by tag. Most tasks have none and pay nothing; only tag_task() and untag_task() change them.
CREATE INDEX tasks_tags ON tasker_engine.tasks USING gin (tags jsonb_path_ops) WHERE tags <> '[]';
-- For lists, newest first. Neither column changes, so that updates stay on their page.
CREATE INDEX tasks_requested_at ON tasker_engine.tasks (requested_at);
CREATE INDEX tasks_correlation_id ON tasker_engine.tasks (left(correlation_id, 255), task_uuid) WHERE correlation_id IS NOT NULL;
COMMENT ON TABLE tasker_engine.tasks IS 'Storage of tasks; tasker.tasks shows it.';
COMMENT ON COLUMN tasker_engine.tasks.state IS
'p pending, i in_progress, e error, c complete, x cancelled, r resolved_manually.';
COMMENT ON COLUMN tasker_engine.tasks.traceparent IS 'W3C trace context of the caller, as it came in.';
COMMENT ON COLUMN tasker_engine.tasks.tracestate IS 'W3C tracestate of the caller, as it came in.';

CREATE TABLE tasker_engine.steps (
    task_uuid uuid NOT NULL,
    available_at timestamptz,
    claim_id bigint,
    named_task_id integer NOT NULL,
    claim_number integer NOT NULL DEFAULT 0,
    step_no smallint NOT NULL,
    open_parents smallint NOT NULL,
    attempts smallint NOT NULL DEFAULT 0,
    retry_limit smallint NOT NULL,
    priority smallint NOT NULL,
    state "char" NOT NULL DEFAULT 'p',
    retryable boolean NOT NULL,
    watched boolean NOT NULL DEFAULT false,
    unreachable boolean NOT NULL DEFAULT false,
    checked boolean NOT NULL DEFAULT false,
    results jsonb,
    run_id bigint,
    PRIMARY KEY (task_uuid, step_no)
) WITH (fillfactor = 40);
-- For readers who filter a view by step_uuid. The engine takes the uuid apart instead and uses the primary key.
CREATE UNIQUE INDEX steps_step_uuid ON tasker_engine.steps (tasker.step_uuid(task_uuid, step_no));
COMMENT ON TABLE tasker_engine.steps IS
'Storage of steps; tasker.workflow_steps shows it. No column that changes is indexed, so that updates stay on their page.';
COMMENT ON COLUMN tasker_engine.steps.state IS
'p pending, i in_progress, e error, c complete, x cancelled, r resolved_manually.';
COMMENT ON COLUMN tasker_engine.steps.run_id IS
'The id in the log of the start of its last run, which has no row there; NULL: it has a row, or there was no run.';

-- The ready queue: narrow, and the only table whose index follows the state. An entry is a hint:
-- the step's row decides.
CREATE TABLE tasker_engine.queue_entries (
    available_at timestamptz NOT NULL,
    task_uuid uuid NOT NULL,
    queue_id integer NOT NULL,
    priority smallint NOT NULL,
    step_no smallint NOT NULL,
    handler_key bigint
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_insert_threshold = -1);
CREATE INDEX queue_entries_order ON tasker_engine.queue_entries (queue_id, priority, available_at) INCLUDE (handler_key);
-- A table without a key: with a publication of all tables its rows could not be deleted. Costs WAL only with wal_level = logical.
ALTER TABLE tasker_engine.queue_entries REPLICA IDENTITY FULL;
COMMENT ON TABLE tasker_engine.queue_entries IS
'The ready queue: narrow entries that claims take in index order. A hint; the row of the step decides.';
COMMENT ON COLUMN tasker_engine.queue_entries.available_at IS 'The time from which a claim may take the entry; the order of the queue.';
COMMENT ON COLUMN tasker_engine.queue_entries.handler_key IS 'tasker_engine.handler_key of the step''s handler: beside the keys of the index, so that a claim for some handlers passes over the entries of others without reading them. NULL: written by an earlier version; a claim for some handlers sets it.';

-- Audit log of tasks (step_no 0) and steps; insert-only. Also the event stream of later consumers:
-- (id, xid) lets them find what committed out of order. The start of a run has an id and no row: the row that ends the run tells it.
-- That saves a tenth of the work of a step, and a sixth of its WAL. tasker_engine.step_changes shows both.
CREATE TABLE tasker_engine.transitions (
    id bigint GENERATED BY DEFAULT AS IDENTITY,
    task_uuid uuid NOT NULL,
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    worker_no integer NOT NULL DEFAULT 0,
    step_no smallint NOT NULL,
    attempt smallint NOT NULL,
    from_state "char",
    to_state "char" NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}',
    run_id bigint,
    claim_number integer
);
ALTER TABLE tasker_engine.transitions REPLICA IDENTITY FULL; -- as above
CREATE INDEX transitions_entity ON tasker_engine.transitions (task_uuid, step_no);
-- For readers of events, which read on from where they were.
CREATE INDEX transitions_id ON tasker_engine.transitions (id);
-- For questions about a span of time. The log grows at its end, so a range of pages is a span of time: a few bytes per
-- range instead of an entry per row.
CREATE INDEX transitions_time ON tasker_engine.transitions USING brin (created_at, started_at) WITH (pages_per_range = 64);
COMMENT ON TABLE tasker_engine.transitions IS
'The log of every change of state, insert-only, and the stream of events.';
COMMENT ON COLUMN tasker_engine.transitions.started_at IS 'When the run that this change ended began.';
COMMENT ON COLUMN tasker_engine.transitions.run_id IS 'The id of the change to in_progress that began this run and has no row; NULL: no run ended, or the change has a row.';
COMMENT ON COLUMN tasker_engine.transitions.claim_number IS 'The number of the claim whose run this change ended; NULL: no run ended, or an earlier version wrote the row.';
COMMENT ON COLUMN tasker_engine.transitions.step_no IS 'Number of the step; 0 for the task itself.';

-- Identity of tasks that have one: strategy hash, or the caller's own key. The primary key decides between racers.
CREATE TABLE tasker_engine.task_identities (
    identity_hash text PRIMARY KEY,
    task_uuid uuid NOT NULL,
    idempotency_key text
);
CREATE UNIQUE INDEX task_identities_task_uuid ON tasker_engine.task_identities (task_uuid);
COMMENT ON TABLE tasker_engine.task_identities IS
'The request that created each task with an identity; the primary key decides which of two concurrent requests wins.';
COMMENT ON COLUMN tasker_engine.task_identities.idempotency_key IS 'The caller''s own key; NULL: the hash is that of the request, or version 0.1.0 wrote the row.';

-- The tags of tasks that have some, in the order of the tasks: the index on tags finds all tasks with a tag, but not the newest.
CREATE TABLE tasker_engine.task_tags (
    tag text,
    task_uuid uuid,
    PRIMARY KEY (tag, task_uuid)
);
COMMENT ON TABLE tasker_engine.task_tags IS 'One row per task and tag, for lists of tasks by a tag, newest first.';
COMMENT ON COLUMN tasker_engine.task_tags.tag IS 'The tag, its first 255 characters.';

-- Tasks in a rare state: in error, cancelled, resolved by hand, or open and stuck. No index of tasks may mention its state, because updates
-- must stay on their page; so what an operator looks for has a row here. A task that succeeds never has one. Written by the functions
-- that end and reopen tasks (src/orchestration/finalize.rs), while they hold the task's row.
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
