//! The tables that the engine writes or walks below SQL, each column by name and type. Everything else goes through SQL.

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::pg::spi::Statement;
use crate::pg::tables::Operation::{Append, Delete, Read, Update};
use crate::pg::tables::{Index, Insert, Table};

/// The ready queue.
pub mod queue_entries {
    pub const AVAILABLE_AT: usize = 0;
    pub const TASK_UUID: usize = 1;
    pub const QUEUE_ID: usize = 2;
    pub const PRIORITY: usize = 3;
    pub const STEP_NO: usize = 4;
    pub const HANDLER_KEY: usize = 5;
}

pub static QUEUE_ENTRIES: Table<6> = Table::new(
    c"queue_entries",
    [
        (c"available_at", pg_sys::TIMESTAMPTZOID),
        (c"task_uuid", pg_sys::UUIDOID),
        (c"queue_id", pg_sys::INT4OID),
        (c"priority", pg_sys::INT2OID),
        (c"step_no", pg_sys::INT2OID),
        (c"handler_key", pg_sys::INT8OID),
    ],
    Some(Index {
        name: c"queue_entries_order",
        keys: &[
            queue_entries::QUEUE_ID,
            queue_entries::PRIORITY,
            queue_entries::AVAILABLE_AT,
        ],
    }),
    Insert::Arrays(&INSERT_QUEUE_ENTRIES),
    &[Append, Delete, Read],
);

static INSERT_QUEUE_ENTRIES: Statement = Statement::new(
    "INSERT INTO tasker_engine.queue_entries (available_at, task_uuid, queue_id, priority, step_no, handler_key)
     SELECT u.* FROM unnest($1, $2, $3, $4, $5, $6) AS u",
    &[
        pg_sys::TIMESTAMPTZARRAYOID,
        pg_sys::UUIDARRAYOID,
        pg_sys::INT4ARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::INT8ARRAYOID,
    ],
);

/// What a claim reads and writes of a step.
pub mod steps {
    pub const TASK_UUID: usize = 0;
    pub const STEP_NO: usize = 1;
    pub const AVAILABLE_AT: usize = 2;
    pub const CLAIM_ID: usize = 3;
    pub const NAMED_TASK_ID: usize = 4;
    pub const CLAIM_NUMBER: usize = 5;
    pub const ATTEMPTS: usize = 6;
    pub const RETRY_LIMIT: usize = 7;
    pub const STATE: usize = 8;
    pub const RUN_ID: usize = 9;
}

pub static STEPS: Table<10> = Table::new(
    c"steps",
    [
        (c"task_uuid", pg_sys::UUIDOID),
        (c"step_no", pg_sys::INT2OID),
        (c"available_at", pg_sys::TIMESTAMPTZOID),
        (c"claim_id", pg_sys::INT8OID),
        (c"named_task_id", pg_sys::INT4OID),
        (c"claim_number", pg_sys::INT4OID),
        (c"attempts", pg_sys::INT2OID),
        (c"retry_limit", pg_sys::INT2OID),
        (c"state", pg_sys::CHAROID),
        (c"run_id", pg_sys::INT8OID),
    ],
    Some(Index {
        name: c"steps_pkey",
        keys: &[steps::TASK_UUID, steps::STEP_NO],
    }),
    Insert::Never,
    &[Update, Read],
);

pub static TRANSITIONS: Table<13> = Table::new(
    c"transitions",
    [
        (c"id", pg_sys::INT8OID),
        (c"task_uuid", pg_sys::UUIDOID),
        (c"created_at", pg_sys::TIMESTAMPTZOID),
        (c"started_at", pg_sys::TIMESTAMPTZOID),
        (c"xid", pg_sys::XID8OID),
        (c"worker_no", pg_sys::INT4OID),
        (c"step_no", pg_sys::INT2OID),
        (c"attempt", pg_sys::INT2OID),
        (c"from_state", pg_sys::CHAROID),
        (c"to_state", pg_sys::CHAROID),
        (c"metadata", pg_sys::JSONBOID),
        (c"run_id", pg_sys::INT8OID),
        (c"claim_number", pg_sys::INT4OID),
    ],
    None,
    Insert::Arrays(&INSERT_TRANSITIONS),
    &[Append],
);

static INSERT_TRANSITIONS: Statement = Statement::new(
    "INSERT INTO tasker_engine.transitions
         (id, task_uuid, created_at, started_at, xid, worker_no, step_no, attempt, from_state, to_state, metadata, run_id, claim_number)
     SELECT u.* FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) AS u",
    &[
        pg_sys::INT8ARRAYOID,
        pg_sys::UUIDARRAYOID,
        pg_sys::TIMESTAMPTZARRAYOID,
        pg_sys::TIMESTAMPTZARRAYOID,
        pg_sys::XID8ARRAYOID,
        pg_sys::INT4ARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::CHARARRAYOID,
        pg_sys::CHARARRAYOID,
        pg_sys::JSONBARRAYOID,
        pg_sys::INT8ARRAYOID,
        pg_sys::INT4ARRAYOID,
    ],
);

pub static CLAIMS: Table<8> = Table::new(
    c"claims",
    [
        (c"claim_id", pg_sys::INT8OID),
        (c"claimed_at", pg_sys::TIMESTAMPTZOID),
        (c"lease_expires_at", pg_sys::TIMESTAMPTZOID),
        (c"timeout_at", pg_sys::TIMESTAMPTZOID),
        (c"worker_no", pg_sys::INT4OID),
        (c"remaining", pg_sys::INT4OID),
        (c"task_uuids", pg_sys::UUIDARRAYOID),
        (c"step_nos", pg_sys::INT2ARRAYOID),
    ],
    None,
    Insert::Values(&INSERT_CLAIM),
    &[Append],
);

static INSERT_CLAIM: Statement = Statement::new(
    "INSERT INTO tasker_engine.claims
         (claim_id, claimed_at, lease_expires_at, timeout_at, worker_no, remaining, task_uuids, step_nos)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    &[
        pg_sys::INT8OID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::INT4OID,
        pg_sys::INT4OID,
        pg_sys::UUIDARRAYOID,
        pg_sys::INT2ARRAYOID,
    ],
);

pub static METRIC_COUNTS: Table<5> = Table::new(
    c"metric_counts",
    [
        (c"at", pg_sys::TIMESTAMPTZOID),
        (c"worker_no", pg_sys::INT4OID),
        (c"folded", pg_sys::BOOLOID),
        (c"cells", pg_sys::INT2ARRAYOID),
        (c"amounts", pg_sys::INT8ARRAYOID),
    ],
    None,
    Insert::Values(&INSERT_COUNTS),
    &[Append],
);

static INSERT_COUNTS: Statement = Statement::new(
    "INSERT INTO tasker_engine.metric_counts (at, worker_no, folded, cells, amounts) VALUES ($1, $2, $3, $4, $5)",
    &[
        pg_sys::TIMESTAMPTZOID,
        pg_sys::INT4OID,
        pg_sys::BOOLOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::INT8ARRAYOID,
    ],
);

/// The logs of runs.
pub static STEP_LOGS: Table<9> = Table::new(
    c"step_logs",
    [
        (c"task_uuid", pg_sys::UUIDOID),
        (c"at", pg_sys::TIMESTAMPTZOID),
        (c"claim_number", pg_sys::INT4OID),
        (c"line", pg_sys::INT4OID),
        (c"step_no", pg_sys::INT2OID),
        (c"attempt", pg_sys::INT2OID),
        (c"level", pg_sys::TEXTOID),
        (c"message", pg_sys::TEXTOID),
        (c"fields", pg_sys::JSONBOID),
    ],
    None,
    Insert::Arrays(&INSERT_STEP_LOGS),
    &[Append],
);

static INSERT_STEP_LOGS: Statement = Statement::new(
    "INSERT INTO tasker_engine.step_logs (task_uuid, at, claim_number, line, step_no, attempt, level, message, fields)
     SELECT u.* FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) AS u",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::TIMESTAMPTZARRAYOID,
        pg_sys::INT4ARRAYOID,
        pg_sys::INT4ARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::JSONBARRAYOID,
    ],
);

pub static SERIES_COUNTS: Table<7> = Table::new(
    c"series_counts",
    [
        (c"at", pg_sys::TIMESTAMPTZOID),
        (c"folded", pg_sys::BOOLOID),
        (c"named_task_ids", pg_sys::INT4ARRAYOID),
        (c"step_nos", pg_sys::INT2ARRAYOID),
        (c"error_classes", pg_sys::TEXTARRAYOID),
        (c"cells", pg_sys::INT2ARRAYOID),
        (c"amounts", pg_sys::INT8ARRAYOID),
    ],
    None,
    Insert::Values(&INSERT_SERIES_COUNTS),
    &[Append],
);

static INSERT_SERIES_COUNTS: Statement = Statement::new(
    "INSERT INTO tasker_engine.series_counts (at, folded, named_task_ids, step_nos, error_classes, cells, amounts)
     VALUES ($1, $2, $3, $4, $5, $6, $7)",
    &[
        pg_sys::TIMESTAMPTZOID,
        pg_sys::BOOLOID,
        pg_sys::INT4ARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::INT8ARRAYOID,
    ],
);

pub mod queues {
    pub const QUEUE_ID: usize = 0;
    pub const PAUSED: usize = 1;
}

pub static QUEUES: Table<2> = Table::new(
    c"queues",
    [(c"queue_id", pg_sys::INT4OID), (c"paused", pg_sys::BOOLOID)],
    Some(Index {
        name: c"queues_pkey",
        keys: &[queues::QUEUE_ID],
    }),
    Insert::Never,
    &[Read],
);

pub mod workers {
    pub const IDLE_UNTIL: usize = 0;
}

pub static WORKERS: Table<1> = Table::new(
    c"workers",
    [(c"idle_until", pg_sys::TIMESTAMPTZOID)],
    Some(Index {
        name: c"workers_idle",
        keys: &[workers::IDLE_UNTIL],
    }),
    Insert::Never,
    &[Read],
);

pub mod operational_changes {
    pub const CHANGE_NO: usize = 0;
    pub const TO_STATE: usize = 1;
}

pub static OPERATIONAL_CHANGES: Table<2> = Table::new(
    c"operational_changes",
    [
        (c"change_no", pg_sys::INT8OID),
        (c"to_state", pg_sys::TEXTOID),
    ],
    Some(Index {
        name: c"operational_changes_pkey",
        keys: &[operational_changes::CHANGE_NO],
    }),
    Insert::Never,
    &[Read],
);

/// The parts of the ring of events, by slot. A row names its slot.
pub static EVENTS: [Table<14>; 8] = [
    event_slot(c"events_0"),
    event_slot(c"events_1"),
    event_slot(c"events_2"),
    event_slot(c"events_3"),
    event_slot(c"events_4"),
    event_slot(c"events_5"),
    event_slot(c"events_6"),
    event_slot(c"events_7"),
];

const fn event_slot(name: &'static CStr) -> Table<14> {
    Table::new(
        name,
        [
            (c"id", pg_sys::INT8OID),
            (c"xid", pg_sys::XID8OID),
            (c"created_at", pg_sys::TIMESTAMPTZOID),
            (c"task_uuid", pg_sys::UUIDOID),
            (c"slot", pg_sys::INT2OID),
            (c"step_no", pg_sys::INT2OID),
            (c"depth", pg_sys::INT2OID),
            (c"name", pg_sys::TEXTOID),
            (c"namespace", pg_sys::TEXTOID),
            (c"aggregate_type", pg_sys::TEXTOID),
            (c"aggregate_id", pg_sys::TEXTOID),
            (c"correlation_id", pg_sys::TEXTOID),
            (c"traceparent", pg_sys::TEXTOID),
            (c"payload", pg_sys::JSONBOID),
        ],
        None,
        Insert::Arrays(&INSERT_EVENTS),
        &[Append],
    )
    .partition()
}

static INSERT_EVENTS: Statement = Statement::new(
    "INSERT INTO tasker_engine.events
         (id, xid, created_at, task_uuid, slot, step_no, depth, name, namespace, aggregate_type, aggregate_id, correlation_id,
          traceparent, payload)
     SELECT u.* FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) AS u",
    &[
        pg_sys::INT8ARRAYOID,
        pg_sys::XID8ARRAYOID,
        pg_sys::TIMESTAMPTZARRAYOID,
        pg_sys::UUIDARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::JSONBARRAYOID,
    ],
);

pub mod event_turns {
    pub const TURN_NO: usize = 0;
}

pub static EVENT_TURNS: Table<1> = Table::new(
    c"event_turns",
    [(c"turn_no", pg_sys::INT8OID)],
    Some(Index {
        name: c"event_turns_pkey",
        keys: &[event_turns::TURN_NO],
    }),
    Insert::Never,
    &[Read],
);

/// Table, operation, and why the operation takes its SQL statement (None: it goes below SQL).
pub fn ways() -> crate::error::Result<Vec<(String, &'static str, Option<String>)>> {
    fn of<const N: usize>(
        table: &'static Table<N>,
        all: &mut Vec<(String, &'static str, Option<String>)>,
    ) -> crate::error::Result<()> {
        let ways = table.ways()?;
        all.extend(
            ways.into_iter()
                .map(|(operation, why)| (table.name(), operation, why)),
        );
        Ok(())
    }
    let mut all = Vec::new();
    of(&QUEUE_ENTRIES, &mut all)?;
    of(&STEPS, &mut all)?;
    of(&TRANSITIONS, &mut all)?;
    of(&CLAIMS, &mut all)?;
    of(&METRIC_COUNTS, &mut all)?;
    of(&STEP_LOGS, &mut all)?;
    of(&SERIES_COUNTS, &mut all)?;
    of(&QUEUES, &mut all)?;
    of(&WORKERS, &mut all)?;
    of(&OPERATIONAL_CHANGES, &mut all)?;
    for slot in &EVENTS {
        of(slot, &mut all)?;
    }
    of(&EVENT_TURNS, &mut all)?;
    Ok(all)
}
