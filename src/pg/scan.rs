//! Claiming below the planner: an index walk that deletes the queue entries nobody holds, and an update of their
//! steps that never waits.
//!
//! SQL can only say this as SELECT ... FOR UPDATE SKIP LOCKED and a DELETE or UPDATE behind it: a lock record in
//! the WAL for each row, and half a dozen plan nodes to start for each claim.

use std::ffi::CStr;

use pgrx::pg_sys::{self, Datum, ItemPointerData, Oid};

use crate::error::{Error, Result};
use crate::pg::append::IndexWriter;
use crate::pg::datum::{self, FromColumn, Timestamp, Uuid};

/// An entry that was taken.
pub struct Taken {
    pub tid: ItemPointerData,
    pub priority: i16,
    pub available_at: Timestamp,
    pub task: Uuid,
    pub step_no: i16,
}

// Columns of tasker_engine.ready and tasker_engine.queues, in the order of the tables.
const READY_COLUMNS: usize = 5;
const AVAILABLE_AT: usize = 1;
const TASK_UUID: usize = 2;
const QUEUE_ID: usize = 3;
const PRIORITY: usize = 4;
const STEP_NO: usize = 5;
const STEPS_COLUMNS: usize = 16;
const QUEUES_COLUMNS: usize = 4;
const WORKERS_COLUMNS: usize = 7;
const WORKERS_IDLE_UNTIL: usize = 6;
const OPERATIONAL_COLUMNS: usize = 7;
const OPERATIONAL_CHANGE_NO: usize = 1;
const OPERATIONAL_STATE: usize = 4;
const QUEUES_ID: usize = 1;
const QUEUES_PAUSED: usize = 4;

/// An open table with the index it is walked by. Closed on drop; after an error the transaction's abort does it.
struct Walk {
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    /// The lock on the table that is given back on close.
    released: u32,
}

impl Walk {
    /// Opens the relations by name to change rows, which locks the table until the transaction ends; the snapshot sees
    /// everything committed until now and this transaction's rows.
    unsafe fn open(table: &CStr, index: &CStr, columns: usize) -> Result<Self> {
        unsafe {
            Self::locked(
                table,
                index,
                columns,
                pg_sys::RowExclusiveLock,
                pg_sys::NoLock,
            )
        }
    }

    /// The same only to look. No lock outlives the walk: a transaction has room for few that cost little.
    unsafe fn look(table: &CStr, index: &CStr, columns: usize) -> Result<Self> {
        let lock = pg_sys::AccessShareLock;
        unsafe { Self::locked(table, index, columns, lock, lock) }
    }

    unsafe fn locked(
        table: &CStr,
        index: &CStr,
        columns: usize,
        lock: u32,
        released: u32,
    ) -> Result<Self> {
        unsafe {
            let schema = pg_sys::get_namespace_oid(c"tasker_engine".as_ptr(), false);
            let named = |name: &CStr| match pg_sys::get_relname_relid(name.as_ptr(), schema) {
                pg_sys::InvalidOid => {
                    Err(Error::corrupt("a table or index of the engine is missing"))
                }
                oid => Ok(oid),
            };
            let table = pg_sys::table_open(named(table)?, lock as pg_sys::LOCKMODE);
            if (*(*table).rd_att).natts as usize != columns {
                return Err(Error::corrupt(
                    "a table of the engine has other columns than this library expects",
                )
                .hint("Run ALTER EXTENSION tasker_ext UPDATE."));
            }
            // Looked up under the lock: a REINDEX may have replaced the index until then.
            let index = named(index)?;
            let index = pg_sys::index_open(index, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
            pg_sys::CommandCounterIncrement();
            let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetTransactionSnapshot());
            Ok(Self {
                table,
                index,
                snapshot,
                released,
            })
        }
    }

    /// As [`Walk::each_nullable`] for tables without NULLs.
    unsafe fn each<const KEYS: usize, const COLUMNS: usize>(
        &self,
        keys: [pg_sys::ScanKeyData; KEYS],
        mut visit: impl FnMut(pg_sys::HeapTuple, [Datum; COLUMNS]) -> bool,
    ) {
        unsafe {
            self.each_nullable(keys, |row, values: [datum::Arg; COLUMNS]| {
                visit(row, values.map(|value| value.unwrap_or(Datum::null())))
            });
        }
    }

    /// Calls `visit` with the rows of a key range in the order of the index until it says stop.
    unsafe fn each_nullable<const KEYS: usize, const COLUMNS: usize>(
        &self,
        keys: [pg_sys::ScanKeyData; KEYS],
        visit: impl FnMut(pg_sys::HeapTuple, [datum::Arg; COLUMNS]) -> bool,
    ) {
        unsafe { self.each_towards(pg_sys::ScanDirection::ForwardScanDirection, keys, visit) }
    }

    /// The same in either direction.
    unsafe fn each_towards<const KEYS: usize, const COLUMNS: usize>(
        &self,
        direction: pg_sys::ScanDirection::Type,
        mut keys: [pg_sys::ScanKeyData; KEYS],
        mut visit: impl FnMut(pg_sys::HeapTuple, [datum::Arg; COLUMNS]) -> bool,
    ) {
        unsafe {
            let scan = pg_sys::systable_beginscan_ordered(
                self.table,
                self.index,
                self.snapshot,
                KEYS as i32,
                keys.as_mut_ptr(),
            );
            loop {
                let row = pg_sys::systable_getnext_ordered(scan, direction);
                if row.is_null() {
                    break;
                }
                let mut values = [Datum::null(); COLUMNS];
                let mut nulls = [false; COLUMNS];
                pg_sys::heap_deform_tuple(
                    row,
                    (*self.table).rd_att,
                    values.as_mut_ptr(),
                    nulls.as_mut_ptr(),
                );
                let mut row_values = [None; COLUMNS];
                for (value, (datum, null)) in
                    row_values.iter_mut().zip(values.into_iter().zip(nulls))
                {
                    *value = (!null).then_some(datum);
                }
                if !visit(row, row_values) {
                    break;
                }
            }
            pg_sys::systable_endscan_ordered(scan);
        }
    }

    unsafe fn close(self) {
        unsafe {
            pg_sys::UnregisterSnapshot(self.snapshot);
            pg_sys::index_close(self.index, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
            pg_sys::table_close(self.table, self.released as pg_sys::LOCKMODE);
        }
    }
}

fn key(column: usize, strategy: u32, procedure: u32, value: Datum) -> pg_sys::ScanKeyData {
    let mut key = pg_sys::ScanKeyData::default();
    // SAFETY: fills the key; the procedure compares values of the column's type.
    unsafe {
        pg_sys::ScanKeyInit(
            &mut key,
            column as i16,
            strategy as u16,
            Oid::from(procedure),
            value,
        );
    }
    key
}

/// Whether claims may be served from the queue: it exists and its namespace is not paused.
pub fn is_open(queue_id: i32) -> Result<bool> {
    let mut open = false;
    // SAFETY: the columns and types are those of the table, checked by their number.
    unsafe {
        let walk = Walk::look(c"queues", c"queues_pkey", QUEUES_COLUMNS)?;
        let keys = [key(
            QUEUES_ID,
            pg_sys::BTEqualStrategyNumber,
            pg_sys::F_INT4EQ,
            Datum::from(queue_id),
        )];
        walk.each(keys, |_, values: [Datum; QUEUES_COLUMNS]| {
            open = !bool::from_column(values[QUEUES_PAUSED - 1]);
            false
        });
        walk.close();
    }
    Ok(open)
}

/// The last change of the operational state, if there was one: its number and the state.
pub fn operational_state() -> Result<Option<(i64, String)>> {
    let mut last = None;
    // SAFETY: as above.
    unsafe {
        let walk = Walk::look(
            c"operational_changes",
            c"operational_changes_pkey",
            OPERATIONAL_COLUMNS,
        )?;
        walk.each_towards(
            pg_sys::ScanDirection::BackwardScanDirection,
            [],
            |_, values: [datum::Arg; OPERATIONAL_COLUMNS]| {
                let read = |column: usize| values[column - 1].unwrap_or(Datum::null());
                last = Some((
                    i64::from_column(read(OPERATIONAL_CHANGE_NO)),
                    String::from_column(read(OPERATIONAL_STATE)),
                ));
                false
            },
        );
        walk.close();
    }
    Ok(last)
}

/// Whether any worker waits for work: asked by every call that leaves some behind.
pub fn anybody_idle(now: Timestamp) -> Result<bool> {
    let mut idle = false;
    // SAFETY: as above.
    unsafe {
        let walk = Walk::look(c"workers", c"workers_idle", WORKERS_COLUMNS)?;
        let keys = [key(
            WORKERS_IDLE_UNTIL,
            pg_sys::BTGreaterStrategyNumber,
            pg_sys::F_TIMESTAMPTZ_GT,
            Datum::from(now),
        )];
        walk.each_nullable(keys, |_, _: [datum::Arg; WORKERS_COLUMNS]| {
            idle = true;
            false
        });
        walk.close();
    }
    Ok(idle)
}

/// Deletes up to `limit` entries that are due and that nobody holds: level by level, oldest first within. A level
/// is its priority and the time before which no entry of it is looked for.
pub fn due_entries(
    queue_id: i32,
    levels: impl Iterator<Item = (i16, Timestamp)>,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<Taken>> {
    use pg_sys::{BTEqualStrategyNumber, BTGreaterEqualStrategyNumber, BTLessEqualStrategyNumber};
    let mut taken = Vec::new();
    // SAFETY: as above; heap_delete is told not to wait and says what became of the row.
    unsafe {
        let walk = Walk::open(c"ready", c"ready_order", READY_COLUMNS)?;
        let command = pg_sys::GetCurrentCommandId(true);
        for (priority, since) in levels {
            if taken.len() >= limit {
                break;
            }
            let keys = [
                key(
                    QUEUE_ID,
                    BTEqualStrategyNumber,
                    pg_sys::F_INT4EQ,
                    Datum::from(queue_id),
                ),
                key(
                    PRIORITY,
                    BTEqualStrategyNumber,
                    pg_sys::F_INT2EQ,
                    Datum::from(priority),
                ),
                key(
                    AVAILABLE_AT,
                    BTGreaterEqualStrategyNumber,
                    pg_sys::F_TIMESTAMPTZ_GE,
                    Datum::from(since),
                ),
                key(
                    AVAILABLE_AT,
                    BTLessEqualStrategyNumber,
                    pg_sys::F_TIMESTAMPTZ_LE,
                    Datum::from(until),
                ),
            ];
            walk.each(keys, |row, values: [Datum; READY_COLUMNS]| {
                let entry = Taken {
                    tid: (*row).t_self,
                    priority,
                    available_at: Timestamp::from_column(values[AVAILABLE_AT - 1]),
                    task: Uuid::from_column(values[TASK_UUID - 1]),
                    step_no: i16::from_column(values[STEP_NO - 1]),
                };
                if delete_unless_held(walk.table, (*row).t_self, command) {
                    taken.push(entry);
                }
                taken.len() < limit
            });
        }
        walk.close();
    }
    Ok(taken)
}

/// False where another claim has the row, or an operator holds it.
unsafe fn delete_unless_held(
    table: pg_sys::Relation,
    mut tid: ItemPointerData,
    command: pg_sys::CommandId,
) -> bool {
    let mut failure = pg_sys::TM_FailureData::default();
    unsafe {
        pg_sys::heap_delete(
            table,
            &mut tid,
            command,
            std::ptr::null_mut(),
            false,
            &mut failure,
            false,
        ) == pg_sys::TM_Result::TM_Ok
    }
}

/// Where the columns of tasker_engine.steps stand that a claim reads or writes.
mod step {
    pub const TASK_UUID: usize = 1;
    pub const AVAILABLE_AT: usize = 2;
    pub const CLAIM_ID: usize = 3;
    pub const NAMED_TASK_ID: usize = 4;
    pub const CLAIM_NUMBER: usize = 5;
    pub const STEP_NO: usize = 6;
    pub const ATTEMPTS: usize = 8;
    pub const RETRY_LIMIT: usize = 9;
    pub const STATE: usize = 11;
}

/// A step that was started, with the state it had and the numbers it has now.
pub struct Started {
    pub index: usize,
    pub was: u8,
    pub named_task_id: i32,
    pub claim_number: i32,
    pub attempt: i16,
    pub retry_limit: i16,
}

/// Starts the steps of these entries (task, step number, available_at) under a claim. Left out: a row that
/// somebody holds, or that contradicts its entry. The first release of a pending step does not touch its row, so
/// a pending row without available_at agrees with any entry.
pub fn start_steps<'a>(
    entries: impl Iterator<Item = (&'a Uuid, i16, Timestamp)>,
    claim_id: i64,
) -> Result<Vec<Started>> {
    use pg_sys::BTEqualStrategyNumber;
    let mut started = Vec::new();
    // SAFETY: as above; the row a visit gets is pinned while the visit lasts.
    unsafe {
        let walk = Walk::open(c"steps", c"steps_pkey", STEPS_COLUMNS)?;
        let mut indexes = IndexWriter::new(walk.table);
        let command = pg_sys::GetCurrentCommandId(true);
        for (index, (task, step_no, available_at)) in entries.enumerate() {
            let keys = [
                key(
                    step::TASK_UUID,
                    BTEqualStrategyNumber,
                    pg_sys::F_UUID_EQ,
                    Datum::from(task.as_ptr()),
                ),
                key(
                    step::STEP_NO,
                    BTEqualStrategyNumber,
                    pg_sys::F_INT2EQ,
                    Datum::from(step_no),
                ),
            ];
            walk.each_nullable(keys, |row, values: [datum::Arg; STEPS_COLUMNS]| {
                let state = values[step::STATE - 1].map_or(0, |state| u8::from_column(state));
                let scheduled = values[step::AVAILABLE_AT - 1].map(|at| Timestamp::from_column(at));
                let agrees = match scheduled {
                    None => state == b'p',
                    Some(at) => matches!(state, b'p' | b'e') && at == available_at,
                };
                let read = |column: usize| values[column - 1].unwrap_or(Datum::null());
                let now = Started {
                    index,
                    was: state,
                    named_task_id: i32::from_column(read(step::NAMED_TASK_ID)),
                    claim_number: i32::from_column(read(step::CLAIM_NUMBER)) + 1,
                    attempt: i16::from_column(read(step::ATTEMPTS)) + 1,
                    retry_limit: i16::from_column(read(step::RETRY_LIMIT)),
                };
                if agrees && start_unless_held(&walk, row, &now, claim_id, command, &mut indexes) {
                    started.push(now);
                }
                false
            });
        }
        indexes.close();
        walk.close();
    }
    Ok(started)
}

/// False where somebody holds the row or has just changed it.
unsafe fn start_unless_held(
    walk: &Walk,
    row: pg_sys::HeapTuple,
    now: &Started,
    claim_id: i64,
    command: pg_sys::CommandId,
    indexes: &mut IndexWriter,
) -> bool {
    let mut columns = [
        step::CLAIM_ID,
        step::CLAIM_NUMBER,
        step::ATTEMPTS,
        step::STATE,
    ]
    .map(|column| column as i32);
    let mut values = [
        Datum::from(claim_id),
        Datum::from(now.claim_number),
        Datum::from(now.attempt),
        Datum::from(b'i' as i8),
    ];
    let mut nulls = [false; 4];
    let mut failure = pg_sys::TM_FailureData::default();
    let mut mode = pg_sys::LockTupleMode::LockTupleNoKeyExclusive;
    unsafe {
        // A row that this call itself has locked (a failed step due at once) counts as held unless told to wait;
        // there is nobody to wait for.
        let wait = locked_by_this_transaction(row);
        let new = pg_sys::heap_modify_tuple_by_cols(
            row,
            (*walk.table).rd_att,
            columns.len() as i32,
            columns.as_mut_ptr(),
            values.as_mut_ptr(),
            nulls.as_mut_ptr(),
        );
        let mut tid = (*row).t_self;
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        let result = pg_sys::heap_update(
            walk.table,
            &mut tid,
            new,
            command,
            std::ptr::null_mut(),
            wait,
            &mut failure,
            &mut mode,
        );
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        let result = {
            let mut update_indexes = pg_sys::TU_UpdateIndexes::TU_None;
            pg_sys::heap_update(
                walk.table,
                &mut tid,
                new,
                command,
                std::ptr::null_mut(),
                wait,
                &mut failure,
                &mut mode,
                &mut update_indexes,
            )
        };
        if result != pg_sys::TM_Result::TM_Ok {
            return false;
        }
        let heap_only = u32::from((*(*new).t_data).t_infomask2) & pg_sys::HEAP_ONLY_TUPLE != 0;
        if !heap_only {
            indexes.insert_moved(new);
        }
        true
    }
}

unsafe fn locked_by_this_transaction(row: pg_sys::HeapTuple) -> bool {
    unsafe {
        let header = &*(*row).t_data;
        let mask = u32::from(header.t_infomask);
        mask & pg_sys::HEAP_XMAX_LOCK_ONLY != 0
            && mask & (pg_sys::HEAP_XMAX_IS_MULTI | pg_sys::HEAP_XMAX_INVALID) == 0
            && pg_sys::TransactionIdIsCurrentTransactionId(header.t_choice.t_heap.t_xmax)
    }
}
