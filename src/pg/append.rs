//! Appending rows to the log, the ready queue and the claims below the planner: one WAL record per page instead of one per
//! row, and no plan to start. For tables without constraints, triggers and partitions, which
//! sql/schema/20_engine.sql keeps them; whatever index a DBA adds is served, as by any insert.

use std::ffi::CStr;

use pgrx::pg_sys::{self, Datum};

use crate::error::{Error, Result};
use crate::pg::datum::Arg;

/// Appends rows, each with a value per column in the order of the table, to a table of schema `tasker_engine`.
pub fn append<const COLUMNS: usize>(table: &CStr, rows: &[[Arg; COLUMNS]]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    // SAFETY: the protocol of an insert: relation and indexes are opened with the lock of a writer and closed
    // again, slots are made for the relation's own description and dropped. An error in between aborts the
    // transaction, which releases all of them.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"tasker_engine".as_ptr(), false);
        let oid = pg_sys::get_relname_relid(table.as_ptr(), schema);
        if oid == pg_sys::InvalidOid {
            return Err(Error::corrupt("a table of the engine is missing"));
        }
        let lock = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
        let relation = pg_sys::table_open(oid, lock);
        let description = (*relation).rd_att;
        if (*description).natts as usize != COLUMNS {
            return Err(Error::corrupt(
                "a table of the engine has other columns than this library expects",
            )
            .hint("Run ALTER EXTENSION tasker_ext UPDATE."));
        }
        let mut slots: Vec<*mut pg_sys::TupleTableSlot> = rows
            .iter()
            .map(|row| filled_slot(description, row))
            .collect();
        pg_sys::heap_multi_insert(
            relation,
            slots.as_mut_ptr(),
            slots.len() as i32,
            pg_sys::GetCurrentCommandId(true),
            0,
            std::ptr::null_mut(),
        );
        let mut indexes = IndexWriter::new(relation);
        for slot in slots {
            indexes.insert(slot, false);
            pg_sys::ExecDropSingleTupleTableSlot(slot);
        }
        indexes.close();
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
    }
    Ok(())
}

/// Writes index entries of new rows as the executor does, whatever indexes the table has. Opened when the first
/// row needs it.
pub struct IndexWriter {
    table: pg_sys::Relation,
    open: Option<(*mut pg_sys::ResultRelInfo, *mut pg_sys::EState)>,
}

impl IndexWriter {
    /// `table` is open for writing and stays so.
    pub fn new(table: pg_sys::Relation) -> Self {
        Self { table, open: None }
    }

    /// # Safety
    /// The slot holds a row of the table and carries its place.
    pub unsafe fn insert(&mut self, slot: *mut pg_sys::TupleTableSlot, update: bool) {
        let nothing = std::ptr::null_mut();
        unsafe {
            let (result, state) = *self.open.get_or_insert_with(|| {
                let state = pg_sys::CreateExecutorState();
                let result = pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>())
                    as *mut pg_sys::ResultRelInfo;
                // Range table index 0: there is no query, so no columns are asked for.
                pg_sys::InitResultRelInfo(result, self.table, 0, std::ptr::null_mut(), 0);
                pg_sys::ExecOpenIndices(result, false);
                (result, state)
            });
            #[cfg(any(feature = "pg14", feature = "pg15"))]
            pg_sys::ExecInsertIndexTuples(
                result,
                slot,
                state,
                update,
                false,
                nothing,
                std::ptr::null_mut(),
            );
            #[cfg(not(any(feature = "pg14", feature = "pg15")))]
            pg_sys::ExecInsertIndexTuples(
                result,
                slot,
                state,
                update,
                false,
                nothing,
                std::ptr::null_mut(),
                false,
            );
        }
    }

    /// # Safety
    /// The row is a new version that heap_update has just placed.
    pub unsafe fn insert_moved(&mut self, row: pg_sys::HeapTuple) {
        unsafe {
            let slot = pg_sys::MakeSingleTupleTableSlot(
                (*self.table).rd_att,
                &raw const pg_sys::TTSOpsHeapTuple,
            );
            pg_sys::ExecStoreHeapTuple(row, slot, false);
            self.insert(slot, true);
            pg_sys::ExecDropSingleTupleTableSlot(slot);
        }
    }

    /// # Safety
    /// The table is still open.
    pub unsafe fn close(self) {
        if let Some((result, state)) = self.open {
            unsafe {
                pg_sys::ExecCloseIndices(result);
                pg_sys::FreeExecutorState(state);
            }
        }
    }
}

unsafe fn filled_slot(description: pg_sys::TupleDesc, row: &[Arg]) -> *mut pg_sys::TupleTableSlot {
    unsafe {
        let slot = pg_sys::MakeSingleTupleTableSlot(description, &raw const pg_sys::TTSOpsVirtual);
        for (column, value) in row.iter().enumerate() {
            *(*slot).tts_values.add(column) = value.unwrap_or(Datum::null());
            *(*slot).tts_isnull.add(column) = value.is_none();
        }
        pg_sys::ExecStoreVirtualTuple(slot)
    }
}
