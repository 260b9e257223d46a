//! Appending rows to the two insert-only tables below the planner: one WAL record per page instead of one per
//! row, and no plan to start. For tables without constraints, triggers and partitions, which
//! sql/schema/20_engine.sql keeps them; whatever index a DBA adds is served, as by any insert.

use std::ffi::CStr;

use pgrx::pg_sys::{self, Datum};

use crate::datum::Arg;
use crate::error::{Error, Result};

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
        let state = pg_sys::CreateExecutorState();
        let result =
            pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()) as *mut pg_sys::ResultRelInfo;
        pg_sys::InitResultRelInfo(result, relation, 1, std::ptr::null_mut(), 0);
        pg_sys::ExecOpenIndices(result, false);
        for slot in slots {
            insert_into_indexes(result, slot, state);
            pg_sys::ExecDropSingleTupleTableSlot(slot);
        }
        pg_sys::ExecCloseIndices(result);
        pg_sys::FreeExecutorState(state);
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
    }
    Ok(())
}

unsafe fn insert_into_indexes(
    result: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
    state: *mut pg_sys::EState,
) {
    let nothing = std::ptr::null_mut();
    // SAFETY: the indexes of `result` are open, and the slot carries the place of its row.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        pg_sys::ExecInsertIndexTuples(
            result,
            slot,
            state,
            false,
            false,
            nothing,
            std::ptr::null_mut(),
        );
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        pg_sys::ExecInsertIndexTuples(
            result,
            slot,
            state,
            false,
            false,
            nothing,
            std::ptr::null_mut(),
            false,
        );
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
