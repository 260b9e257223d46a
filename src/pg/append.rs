//! Appending rows to our tables below the planner: one WAL record per page instead of one per row, and no plan to start.
//! Where that would differ from an INSERT ([`super::tables`]), the engine uses an INSERT.

use std::marker::PhantomData;

use pgrx::pg_sys::{self, Datum, Oid};

use super::datum::Arg;
use super::spi::Session;
use super::tables::{self, Insert, Open, Operation, Table};
use crate::error::{Error, Result};

/// Rows that are placed by one call. The server looks for the entry of each open slot among those of all others.
const ROWS_AT_ONCE: usize = 256;

/// Appends rows, each with a value per column of the table's list.
pub fn append<const N: usize>(table: &'static Table<N>, rows: &[[Arg; N]]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let open = table.open(pg_sys::RowExclusiveLock, false)?;
    let complete = |row| tables::is_complete(open.facts(), row);
    if open.is_direct(Operation::Append) && rows.iter().all(complete) {
        for row in rows {
            for (value, (_, of)) in row.iter().zip(&table.columns) {
                value.of(*of)?;
            }
        }
        insert_below(&open, rows);
        return Ok(());
    }
    insert_by_statement(table, rows)
}

fn insert_below<const N: usize>(open: &Open<N>, rows: &[[Arg; N]]) {
    // SAFETY: the protocol of an insert: relation and indexes are open with the lock of a writer, slots are made for the
    // relation's own description and dropped. An error in between aborts the transaction, which releases all of them.
    unsafe {
        let mut indexes = IndexWriter::new(open.relation());
        for rows in rows.chunks(ROWS_AT_ONCE) {
            let mut slots: Vec<*mut pg_sys::TupleTableSlot> =
                rows.iter().map(|row| filled_slot(open, row)).collect();
            pg_sys::heap_multi_insert(
                open.relation(),
                slots.as_mut_ptr(),
                slots.len() as i32,
                pg_sys::GetCurrentCommandId(true),
                0,
                std::ptr::null_mut(),
            );
            for slot in slots {
                indexes.insert(slot, false, false);
                pg_sys::ExecDropSingleTupleTableSlot(slot);
            }
        }
    }
}

/// # Safety
/// The table is open.
unsafe fn filled_slot<const N: usize>(
    open: &Open<N>,
    row: &[Arg; N],
) -> *mut pg_sys::TupleTableSlot {
    // SAFETY: a slot has room for a value per column of its description; columns of others are NULL.
    unsafe {
        let slot = pg_sys::MakeSingleTupleTableSlot(
            (*open.relation()).rd_att,
            &raw const pg_sys::TTSOpsVirtual,
        );
        let facts = open.facts();
        if facts.width > N {
            for place in 0..facts.width {
                *(*slot).tts_values.add(place) = Datum::null();
                *(*slot).tts_isnull.add(place) = true;
            }
        }
        for (value, place) in row.iter().zip(facts.attributes) {
            *(*slot).tts_values.add(place) = value.datum().unwrap_or(Datum::null());
            *(*slot).tts_isnull.add(place) = value.is_null();
        }
        pg_sys::ExecStoreVirtualTuple(slot)
    }
}

fn insert_by_statement<const N: usize>(table: &'static Table<N>, rows: &[[Arg; N]]) -> Result<()> {
    let session = Session::open()?;
    match table.insert {
        Insert::Arrays(statement) => {
            let columns: Vec<Arg> = (0..N)
                .map(|column| array_of(table.columns[column].1, rows.iter().map(|row| row[column])))
                .collect();
            session.run(statement, &columns)?;
        }
        Insert::Values(statement) => {
            for row in rows {
                session.run(statement, row)?;
            }
        }
        Insert::Never => return Err(Error::corrupt("the engine never appends to this table")),
    }
    Ok(())
}

/// An array of values of any type.
fn array_of<'a>(element: Oid, values: impl Iterator<Item = Arg<'a>>) -> Arg<'static> {
    let values: Vec<Arg> = values.collect();
    let mut nulls: Vec<bool> = values.iter().map(Arg::is_null).collect();
    let mut datums: Vec<Datum> = values
        .iter()
        .map(|value| value.datum().unwrap_or(Datum::null()))
        .collect();
    let (mut dimensions, mut bounds) = ([datums.len() as i32], [1]);
    // SAFETY: a lookup in the system cache.
    let array_type = unsafe { pg_sys::get_array_type(element) };
    let (mut length, mut by_value, mut align) = (0, false, 0);
    // SAFETY: the values are of the element type, whose layout PostgreSQL tells; the array is a copy.
    let array = unsafe {
        pg_sys::get_typlenbyvalalign(element, &mut length, &mut by_value, &mut align);
        pg_sys::construct_md_array(
            datums.as_mut_ptr(),
            nulls.as_mut_ptr(),
            1,
            dimensions.as_mut_ptr(),
            bounds.as_mut_ptr(),
            element,
            length.into(),
            by_value,
            align,
        )
    };
    // SAFETY: the array is in memory of the SQL call.
    unsafe { Arg::new(Some(Datum::from(array)), array_type) }
}

/// Writes index entries of new rows as the executor does, whatever indexes the table has. Opened when the first row
/// needs it, closed on drop; while an error unwinds, the transaction's abort does it.
pub struct IndexWriter<'t> {
    table: pg_sys::Relation,
    open: Option<(*mut pg_sys::ResultRelInfo, *mut pg_sys::EState)>,
    of_table: PhantomData<&'t ()>,
}

impl IndexWriter<'_> {
    /// `table` is open for writing and stays so for the lifetime.
    pub(super) fn new(table: pg_sys::Relation) -> Self {
        Self {
            table,
            open: None,
            of_table: PhantomData,
        }
    }

    /// `update`: the row is a new version of another one; `summarizing`: only indexes that summarize want it.
    ///
    /// # Safety
    /// The slot holds a row of the table and carries its place.
    unsafe fn insert(
        &mut self,
        slot: *mut pg_sys::TupleTableSlot,
        update: bool,
        summarizing: bool,
    ) {
        let nothing = std::ptr::null_mut();
        // SAFETY: the executor's own functions, with a state of their own.
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
                summarizing,
            );
            #[cfg(any(feature = "pg14", feature = "pg15"))]
            let _ = summarizing;
        }
    }

    /// # Safety
    /// The row is a new version that heap_update has just placed.
    pub(super) unsafe fn insert_moved(&mut self, row: pg_sys::HeapTuple, summarizing: bool) {
        // SAFETY: the slot is made for the table's own description.
        unsafe {
            let slot = pg_sys::MakeSingleTupleTableSlot(
                (*self.table).rd_att,
                &raw const pg_sys::TTSOpsHeapTuple,
            );
            pg_sys::ExecStoreHeapTuple(row, slot, false);
            self.insert(slot, true, summarizing);
            pg_sys::ExecDropSingleTupleTableSlot(slot);
        }
    }
}

impl Drop for IndexWriter<'_> {
    fn drop(&mut self) {
        if let Some((result, state)) = self.open.take()
            && !std::thread::panicking()
        {
            // SAFETY: opened by insert, while the table is still open.
            unsafe {
                pg_sys::ExecCloseIndices(result);
                pg_sys::FreeExecutorState(state);
            }
        }
    }
}
