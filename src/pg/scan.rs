//! Walks below the planner over an index of one of our tables, and changes of the rows they meet that never wait.
//!
//! SQL can only say this as SELECT ... FOR UPDATE SKIP LOCKED and a DELETE or UPDATE behind it: a lock record in
//! the WAL for each row, and half a dozen plan nodes to start for each claim.

use std::cell::RefCell;

use pgrx::pg_sys::{self, Datum, ItemPointerData, Oid, Relation};

use super::append::IndexWriter;
use super::datum::{Arg, FromColumn};
use super::lock::BoundedWait;
use super::tables::{Open, Operation, Table};
use crate::error::Result;

/// An open table with the index it is walked by. Closed on drop; while an error unwinds, the transaction's abort does it.
pub struct Walk<const N: usize> {
    // Dropped in this order: what the table holds open goes before it.
    snapshot: Snapshot,
    index: OpenIndex,
    table: Open<N>,
    of: &'static Table<N>,
    command: pg_sys::CommandId,
    /// The columns of the row that is met, reused from one to the next.
    row: RefCell<(Vec<Datum>, Vec<bool>)>,
}

struct Snapshot(pg_sys::Snapshot);

impl Drop for Snapshot {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: registered when the walk was opened.
            unsafe { pg_sys::UnregisterSnapshot(self.0) };
        }
    }
}

struct OpenIndex(Relation);

impl Drop for OpenIndex {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: opened when the walk was opened.
            unsafe {
                pg_sys::index_close(self.0, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
            }
        }
    }
}

/// A condition on a key column: how it compares with a value.
pub struct Key(pg_sys::ScanKeyData);

/// How a key column compares.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    Equal,
    AtLeast,
    AtMost,
    Above,
}

impl<const N: usize> Walk<N> {
    /// Opens a table to change rows, which locks it until the transaction ends. None: its SQL statement must do the work.
    pub fn to_change(table: &'static Table<N>, operation: Operation) -> Result<Option<Self>> {
        Self::open(table, operation, pg_sys::RowExclusiveLock, false)
    }

    /// The same to read only. No lock outlives the walk, because a transaction has room for only a few cheap locks.
    pub fn to_read(table: &'static Table<N>) -> Result<Option<Self>> {
        Self::open(table, Operation::Read, pg_sys::AccessShareLock, true)
    }

    fn open(
        table: &'static Table<N>,
        operation: Operation,
        lock: u32,
        release: bool,
    ) -> Result<Option<Self>> {
        let of = table;
        let table = of.open(lock, release)?;
        if !table.is_direct(operation) || !table.is_direct(Operation::Read) {
            return Ok(None);
        }
        // SAFETY: the table is locked, so its index is there. The snapshot sees everything committed until now and
        // this transaction's rows.
        unsafe {
            let index = OpenIndex(pg_sys::index_open(
                table.index(),
                pg_sys::AccessShareLock as pg_sys::LOCKMODE,
            ));
            pg_sys::CommandCounterIncrement();
            let snapshot = Snapshot(pg_sys::RegisterSnapshot(pg_sys::GetTransactionSnapshot()));
            let command = pg_sys::GetCurrentCommandId(operation != Operation::Read);
            let width = table.facts().width;
            Ok(Some(Self {
                row: RefCell::new((vec![Datum::null(); width], vec![true; width])),
                snapshot,
                index,
                table,
                of,
                command,
            }))
        }
    }

    /// A condition on a column of the walk's index.
    pub fn key(&self, column: usize, compare: Compare, value: Arg) -> Result<Key> {
        let of = self.of.columns[column].1;
        let value = value.of(of)?.unwrap_or(Datum::null());
        let procedure = procedure(of, compare);
        let strategy = match compare {
            Compare::Equal => pg_sys::BTEqualStrategyNumber,
            Compare::AtLeast => pg_sys::BTGreaterEqualStrategyNumber,
            Compare::AtMost => pg_sys::BTLessEqualStrategyNumber,
            Compare::Above => pg_sys::BTGreaterStrategyNumber,
        };
        let mut key = pg_sys::ScanKeyData::default();
        // SAFETY: fills the key; the procedure compares values of the column's type.
        unsafe {
            pg_sys::ScanKeyInit(
                &mut key,
                self.table.facts().attributes[column] as i16 + 1,
                strategy as u16,
                Oid::from(procedure),
                value,
            );
        }
        Ok(Key(key))
    }

    /// Calls `visit` with the rows of a key range in the order of the index until it says stop.
    pub fn each<const KEYS: usize>(
        &self,
        keys: [Key; KEYS],
        visit: impl FnMut(&Found<N>) -> Result<bool>,
    ) -> Result<()> {
        self.each_towards(pg_sys::ScanDirection::ForwardScanDirection, keys, visit)
    }

    /// Calls `visit` as [`Self::each`] does, but only for rows whose value in a column of the index matches; the others are passed over in the
    /// index, at a tenth of the cost of reading the row.
    pub fn each_where<const KEYS: usize>(
        &self,
        keys: [Key; KEYS],
        column: usize,
        mut matches: impl FnMut(Option<i64>) -> bool,
        mut visit: impl FnMut(&Found<N>) -> Result<bool>,
    ) -> Result<()> {
        let of = self.of.columns[column].1;
        assert!(i64::TYPES.contains(&of), "a column is read as another type");
        // SAFETY: an open index has its form.
        let columns = unsafe {
            let form = &*(*self.index.0).rd_index;
            form.indkey.values.as_slice(form.indnatts as usize)
        };
        let place_of = |attribute: i16| columns.iter().position(|column| *column == attribute);
        let Some(wanted) = place_of(self.table.facts().attributes[column] as i16 + 1) else {
            // The index was made again without it.
            return self.each(keys, |row| {
                if matches(row.opt(column)) {
                    visit(row)
                } else {
                    Ok(true)
                }
            });
        };
        let mut row = self.row.borrow_mut();
        let (values, nulls) = &mut *row;
        let mut in_index = [Datum::null(); pg_sys::INDEX_MAX_KEYS as usize];
        let mut null_in_index = [true; pg_sys::INDEX_MAX_KEYS as usize];
        // SAFETY: table, index and snapshot are open. The keys name columns of the table; a scan of the index names those of the index.
        unsafe {
            let mut keys = keys.map(|key| {
                let mut key = key.0;
                key.sk_attno = place_of(key.sk_attno).map_or(0, |place| place as i16 + 1);
                key
            });
            let scan = PlainScan::begin(self, &mut keys);
            loop {
                pgrx::check_for_interrupts!();
                let forward = pg_sys::ScanDirection::ForwardScanDirection;
                if pg_sys::index_getnext_tid(scan.scan, forward).is_null() {
                    return Ok(());
                }
                pg_sys::index_deform_tuple(
                    (*scan.scan).xs_itup,
                    (*scan.scan).xs_itupdesc,
                    in_index.as_mut_ptr(),
                    null_in_index.as_mut_ptr(),
                );
                let value = (!null_in_index[wanted]).then(|| i64::from_column(in_index[wanted]));
                if !matches(value) || !pg_sys::index_fetch_heap(scan.scan, scan.slot) {
                    continue;
                }
                let mut free = false;
                let row = pg_sys::ExecFetchSlotHeapTuple(scan.slot, false, &mut free);
                if !visit(&self.found(row, scan.slot, values, nulls))? {
                    return Ok(());
                }
            }
        }
    }

    /// The same from the end.
    pub fn each_from_end(&self, visit: impl FnMut(&Found<N>) -> Result<bool>) -> Result<()> {
        self.each_towards(pg_sys::ScanDirection::BackwardScanDirection, [], visit)
    }

    fn each_towards<const KEYS: usize>(
        &self,
        direction: pg_sys::ScanDirection::Type,
        keys: [Key; KEYS],
        mut visit: impl FnMut(&Found<N>) -> Result<bool>,
    ) -> Result<()> {
        let mut keys = keys.map(|key| key.0);
        let mut row = self.row.borrow_mut();
        let (values, nulls) = &mut *row;
        // SAFETY: table, index and snapshot are open; the arrays have room for every column of the table.
        unsafe {
            let scan = Scan(pg_sys::systable_beginscan_ordered(
                self.table.relation(),
                self.index.0,
                self.snapshot.0,
                KEYS as i32,
                keys.as_mut_ptr(),
            ));
            loop {
                pgrx::check_for_interrupts!();
                let row = pg_sys::systable_getnext_ordered(scan.0, direction);
                if row.is_null() {
                    return Ok(());
                }
                if !visit(&self.found(row, (*scan.0).slot, values, nulls))? {
                    return Ok(());
                }
            }
        }
    }

    /// The row with its values taken apart.
    ///
    /// # Safety
    /// The row is one of the walk's table, and the arrays have room for every column of it.
    unsafe fn found<'w>(
        &'w self,
        row: pg_sys::HeapTuple,
        slot: *mut pg_sys::TupleTableSlot,
        values: &'w mut [Datum],
        nulls: &'w mut [bool],
    ) -> Found<'w, N> {
        // SAFETY: as the caller promises.
        unsafe {
            pg_sys::heap_deform_tuple(
                row,
                (*self.table.relation()).rd_att,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
        }
        Found {
            walk: self,
            row,
            slot,
            values,
            nulls,
        }
    }

    /// Writes index entries of rows that a change moves; one for all changes of a walk.
    pub fn index_writer(&self) -> IndexWriter<'_> {
        IndexWriter::new(self.table.relation())
    }
}

struct Scan(pg_sys::SysScanDesc);

impl Drop for Scan {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: begun by each_towards.
            unsafe { pg_sys::systable_endscan_ordered(self.0) };
        }
    }
}

/// A scan that returns the tuples of the index.
struct PlainScan {
    scan: pg_sys::IndexScanDesc,
    slot: *mut pg_sys::TupleTableSlot,
}

impl PlainScan {
    /// # Safety
    /// The keys name columns of the walk's index.
    unsafe fn begin<const N: usize>(walk: &Walk<N>, keys: &mut [pg_sys::ScanKeyData]) -> Self {
        let (table, count) = (walk.table.relation(), keys.len() as i32);
        // SAFETY: table, index and snapshot are open for as long as the walk.
        unsafe {
            let slot = pg_sys::table_slot_create(table, std::ptr::null_mut());
            #[cfg(not(feature = "pg18"))]
            let scan = pg_sys::index_beginscan(table, walk.index.0, walk.snapshot.0, count, 0);
            #[cfg(feature = "pg18")]
            let scan = pg_sys::index_beginscan(
                table,
                walk.index.0,
                walk.snapshot.0,
                std::ptr::null_mut(),
                count,
                0,
            );
            (*scan).xs_want_itup = true;
            pg_sys::index_rescan(scan, keys.as_mut_ptr(), count, std::ptr::null_mut(), 0);
            Self { scan, slot }
        }
    }
}

impl Drop for PlainScan {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: begun by begin.
            unsafe {
                pg_sys::index_endscan(self.scan);
                pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            }
        }
    }
}

/// The function by which PostgreSQL compares two values of a type.
fn procedure(of: Oid, compare: Compare) -> u32 {
    match (of, compare) {
        (pg_sys::INT2OID, Compare::Equal) => pg_sys::F_INT2EQ,
        (pg_sys::INT4OID, Compare::Equal) => pg_sys::F_INT4EQ,
        (pg_sys::UUIDOID, Compare::Equal) => pg_sys::F_UUID_EQ,
        (pg_sys::TIMESTAMPTZOID, Compare::AtLeast) => pg_sys::F_TIMESTAMPTZ_GE,
        (pg_sys::TIMESTAMPTZOID, Compare::AtMost) => pg_sys::F_TIMESTAMPTZ_LE,
        (pg_sys::TIMESTAMPTZOID, Compare::Above) => pg_sys::F_TIMESTAMPTZ_GT,
        _ => unreachable!("no walk compares so"),
    }
}

/// A row that a walk has met, as it is while the visit lasts.
pub struct Found<'w, const N: usize> {
    walk: &'w Walk<N>,
    row: pg_sys::HeapTuple,
    slot: *mut pg_sys::TupleTableSlot,
    values: &'w [Datum],
    nulls: &'w [bool],
}

impl<const N: usize> Found<'_, N> {
    /// The value of one of our columns; None for NULL.
    pub fn opt<T: FromColumn>(&self, column: usize) -> Option<T> {
        let of = self.walk.of.columns[column].1;
        assert!(T::TYPES.contains(&of), "a column is read as another type");
        let place = self.walk.table.facts().attributes[column];
        // SAFETY: the type of the column was compared with the table's list when the table was opened.
        (!self.nulls[place]).then(|| unsafe { T::from_column(self.values[place]) })
    }

    /// The value of one of our columns that is never NULL.
    pub fn get<T: FromColumn>(&self, column: usize) -> Result<T> {
        self.opt(column).ok_or_else(|| {
            crate::error::Error::corrupt(format!("unexpected NULL in column {column}"))
        })
    }

    /// The place of the row.
    pub fn place(&self) -> ItemPointerData {
        // SAFETY: the row is pinned while the visit lasts.
        unsafe { (*self.row).t_self }
    }

    /// Deletes the row. False where another transaction has it, or holds it.
    pub fn delete_unless_held(&self) -> bool {
        let mut failure = pg_sys::TM_FailureData::default();
        let mut place = self.place();
        // SAFETY: heap_delete supports not to wait, and returns the outcome for the row.
        unsafe {
            pg_sys::heap_delete(
                self.walk.table.relation(),
                &mut place,
                self.walk.command,
                std::ptr::null_mut(),
                false,
                &mut failure,
                false,
            ) == pg_sys::TM_Result::TM_Ok
        }
    }

    /// Gives columns new values. False where another transaction holds the row or has just changed it.
    pub fn update_unless_held<const COLUMNS: usize>(
        &self,
        indexes: &mut IndexWriter,
        columns: [(usize, Arg); COLUMNS],
    ) -> Result<bool> {
        if !self.is_free() {
            return Ok(false);
        }
        let table = &self.walk.table;
        for (column, value) in &columns {
            value.of(self.walk.of.columns[*column].1)?;
        }
        let mut places = columns.map(|(column, _)| table.facts().attributes[column] as i32 + 1);
        let mut nulls = columns.map(|(_, value)| value.is_null());
        let mut values = columns.map(|(_, value)| value.datum().unwrap_or(Datum::null()));
        let mut failure = pg_sys::TM_FailureData::default();
        let mut mode = pg_sys::LockTupleMode::LockTupleNoKeyExclusive;
        // SAFETY: the row is pinned; the new one is made of it with values of the columns' types.
        unsafe {
            let new = pg_sys::heap_modify_tuple_by_cols(
                self.row,
                (*table.relation()).rd_att,
                COLUMNS as i32,
                places.as_mut_ptr(),
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
            let mut place = self.place();
            // Between the check of the row and its update, a fraction of a microsecond, another session can lock it.
            let bounded = BoundedWait::begin();
            #[cfg(any(feature = "pg14", feature = "pg15"))]
            let (result, summarizing) = (
                pg_sys::heap_update(
                    table.relation(),
                    &mut place,
                    new,
                    self.walk.command,
                    std::ptr::null_mut(),
                    true,
                    &mut failure,
                    &mut mode,
                ),
                false,
            );
            #[cfg(not(any(feature = "pg14", feature = "pg15")))]
            let (result, summarizing) = {
                let mut indexes = pg_sys::TU_UpdateIndexes::TU_None;
                let result = pg_sys::heap_update(
                    table.relation(),
                    &mut place,
                    new,
                    self.walk.command,
                    std::ptr::null_mut(),
                    true,
                    &mut failure,
                    &mut mode,
                    &mut indexes,
                );
                (result, indexes == pg_sys::TU_UpdateIndexes::TU_Summarizing)
            };
            drop(bounded);
            if result != pg_sys::TM_Result::TM_Ok {
                return Ok(false);
            }
            let infomask = u32::from((*(*new).t_data).t_infomask2);
            if summarizing || infomask & pg_sys::HEAP_ONLY_TUPLE == 0 {
                indexes.insert_moved(new, summarizing);
            }
            pg_sys::heap_freetuple(new);
            Ok(true)
        }
    }

    /// Whether an update would find the row free. heap_update supports only to wait, so it is asked only for a free row. A lock
    /// record for each row would cost a twentieth of a claim's WAL, so a row is locked only where another transaction has a lock on it.
    fn is_free(&self) -> bool {
        // SAFETY: the row is pinned. Its header says that no transaction has locked or changed it, as of this moment, like the
        // check under the lock.
        let untouched = unsafe {
            let mask = (&raw const (*(*self.row).t_data).t_infomask).read_volatile();
            u32::from(mask) & pg_sys::HEAP_XMAX_INVALID != 0
        };
        if untouched {
            return true;
        }
        // SAFETY: the slot of a walk over a heap table holds the row's pinned buffer; its content is locked to look.
        let state = unsafe {
            let buffer = (*(self.slot as *mut pg_sys::BufferHeapTupleTableSlot)).buffer;
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let state = pg_sys::HeapTupleSatisfiesUpdate(self.row, self.walk.command, buffer);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_UNLOCK as i32);
            state
        };
        match state {
            pg_sys::TM_Result::TM_Ok => true,
            pg_sys::TM_Result::TM_BeingModified => self.lock_unless_held(),
            _ => false,
        }
    }

    /// Locks the row for an update that leaves its key. False where another transaction holds it; locks of this transaction
    /// and those that do not conflict do not prevent it.
    fn lock_unless_held(&self) -> bool {
        let mut row = pg_sys::HeapTupleData {
            t_self: self.place(),
            ..Default::default()
        };
        let mut buffer: pg_sys::Buffer = 0;
        let mut failure = pg_sys::TM_FailureData::default();
        // SAFETY: heap_lock_tuple fills the row and pins its buffer, whatever it answers.
        unsafe {
            let result = pg_sys::heap_lock_tuple(
                self.walk.table.relation(),
                &mut row,
                self.walk.command,
                pg_sys::LockTupleMode::LockTupleNoKeyExclusive,
                pg_sys::LockWaitPolicy::LockWaitSkip,
                false,
                &mut buffer,
                &mut failure,
            );
            pg_sys::ReleaseBuffer(buffer);
            result == pg_sys::TM_Result::TM_Ok
        }
    }
}
