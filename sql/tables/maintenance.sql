-- How the duties of maintenance went, and how the clock went.

-- Written when a duty did something or failed. Idle rounds write nothing; without shared memory, once a minute that they ran.
CREATE TABLE tasker_engine.duty_runs (
    duty text PRIMARY KEY,
    last_at timestamptz,
    last_done bigint NOT NULL DEFAULT 0,
    total_done bigint NOT NULL DEFAULT 0,
    failures bigint NOT NULL DEFAULT 0,
    last_error text,
    last_error_at timestamptz,
    last_run_at timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE tasker_engine.duty_runs IS 'What the duties of maintenance did and how they failed; a row per duty that ever did something or failed, and without shared memory per duty that ever ran.';
COMMENT ON COLUMN tasker_engine.duty_runs.duty IS 'Name of the duty.';
COMMENT ON COLUMN tasker_engine.duty_runs.last_at IS 'When it last did something or failed; NULL if never.';
COMMENT ON COLUMN tasker_engine.duty_runs.last_done IS 'The number of things it did when it last did something.';
COMMENT ON COLUMN tasker_engine.duty_runs.total_done IS 'Total number of things it has done.';
COMMENT ON COLUMN tasker_engine.duty_runs.failures IS 'How often it failed.';
COMMENT ON COLUMN tasker_engine.duty_runs.last_error IS 'SQLSTATE and message of its last failure.';
COMMENT ON COLUMN tasker_engine.duty_runs.last_error_at IS 'When it last failed.';
COMMENT ON COLUMN tasker_engine.duty_runs.last_run_at IS 'When it last finished, as stored; shared memory can have a later time.';

-- Read by a session's first claim and whenever the clock was set; written only then.
CREATE TABLE tasker_engine.clock_readings (
    machine_start text PRIMARY KEY,
    offset_us bigint NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE tasker_engine.clock_readings IS 'How far the wall clock was before the clock that counts since the machine started: when it is less, the clock was set back, and what is stored moves with it. One row.';
COMMENT ON COLUMN tasker_engine.clock_readings.machine_start IS 'Names the start of the machine; a reading of another one means nothing.';
COMMENT ON COLUMN tasker_engine.clock_readings.offset_us IS 'Wall-clock time minus the time since the start, in microseconds.';

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
-- is written once no transaction can add a task to it; of the few that may still be open it has a list (duty_totals).
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
