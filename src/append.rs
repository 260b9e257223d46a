//! Appending rows to the two insert-only tables below the executor: one WAL record per page instead of one per
//! row, and no plan to start. For tables without constraints, triggers, partitions, and expression or partial
//! indexes; sql/schema/20_engine.sql keeps them so.

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
        let indexes = pg_sys::RelationGetIndexList(relation);
        let count = if indexes.is_null() {
            0
        } else {
            (*indexes).length as usize
        };
        for position in 0..count {
            let index = (*(*indexes).elements.add(position)).oid_value;
            insert_into_index(relation, index, lock, rows, &slots);
        }
        for slot in slots {
            pg_sys::ExecDropSingleTupleTableSlot(slot);
        }
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
    }
    Ok(())
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

unsafe fn insert_into_index<const COLUMNS: usize>(
    relation: pg_sys::Relation,
    index: pg_sys::Oid,
    lock: pg_sys::LOCKMODE,
    rows: &[[Arg; COLUMNS]],
    slots: &[*mut pg_sys::TupleTableSlot],
) {
    unsafe {
        let index = pg_sys::index_open(index, lock);
        let info = pg_sys::BuildIndexInfo(index);
        let keys = (*info).ii_NumIndexAttrs as usize;
        let mut values = [Datum::null(); COLUMNS];
        let mut nulls = [false; COLUMNS];
        for (row, slot) in rows.iter().zip(slots) {
            for key in 0..keys.min(COLUMNS) {
                let value = row[(*info).ii_IndexAttrNumbers[key] as usize - 1];
                values[key] = value.unwrap_or(Datum::null());
                nulls[key] = value.is_none();
            }
            pg_sys::index_insert(
                index,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
                &raw mut (**slot).tts_tid,
                relation,
                pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO,
                false,
                info,
            );
        }
        pg_sys::index_close(index, lock);
    }
}
