//! Taking due entries off the ready queue below the planner: an index walk that deletes what nobody else holds.
//!
//! SQL can only say this as SELECT ... FOR UPDATE SKIP LOCKED and a DELETE behind it: a lock record in the WAL for
//! each entry, and four index scans to start for each claim.

use pgrx::pg_sys::{self, Datum, ItemPointerData, Oid};

use crate::datum::{FromColumn, Timestamp, Uuid};
use crate::error::{Error, Result};

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
const QUEUES_COLUMNS: usize = 4;
const QUEUES_ID: usize = 1;
const QUEUES_PAUSED: usize = 4;

/// An open table with the index it is walked by. Closed on drop; after an error the transaction's abort does it.
struct Walk {
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
}

impl Walk {
    /// Opens the relations by name; the snapshot sees everything committed until now and this transaction's rows.
    unsafe fn open(table: &std::ffi::CStr, index: &std::ffi::CStr, columns: usize) -> Result<Self> {
        unsafe {
            let schema = pg_sys::get_namespace_oid(c"tasker_engine".as_ptr(), false);
            let table = pg_sys::get_relname_relid(table.as_ptr(), schema);
            let index = pg_sys::get_relname_relid(index.as_ptr(), schema);
            if table == pg_sys::InvalidOid || index == pg_sys::InvalidOid {
                return Err(Error::corrupt("a table or index of the engine is missing"));
            }
            let table = pg_sys::table_open(table, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE);
            if (*(*table).rd_att).natts as usize != columns {
                return Err(Error::corrupt(
                    "a table of the engine has other columns than this library expects",
                )
                .hint("Run ALTER EXTENSION tasker_ext UPDATE."));
            }
            let index = pg_sys::index_open(index, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
            pg_sys::CommandCounterIncrement();
            let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetTransactionSnapshot());
            Ok(Self {
                table,
                index,
                snapshot,
            })
        }
    }

    /// Calls `visit` with the rows of a key range in the order of the index until it says stop.
    unsafe fn each<const KEYS: usize, const COLUMNS: usize>(
        &self,
        mut keys: [pg_sys::ScanKeyData; KEYS],
        mut visit: impl FnMut(pg_sys::HeapTuple, [Datum; COLUMNS]) -> bool,
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
                let row = pg_sys::systable_getnext_ordered(
                    scan,
                    pg_sys::ScanDirection::ForwardScanDirection,
                );
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
                if !visit(row, values) {
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
            pg_sys::table_close(self.table, pg_sys::NoLock as pg_sys::LOCKMODE);
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
        let walk = Walk::open(c"queues", c"queues_pkey", QUEUES_COLUMNS)?;
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
