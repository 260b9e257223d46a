//! The one place that talks SPI: statements with a kept generic plan, and their rows.
//!
//! A statement is planned once per backend and kept. The generic plan is asked for by name, because a custom
//! plan per call costs half of the throughput; the functions that run these statements pin the scan types with
//! SET clauses (sql/schema/60_functions.sql), so that a replan after an ANALYZE cannot choose another shape. They
//! also pin the search_path: `unnest` of several arrays is a form of the grammar that takes no schema name.

use std::cell::Cell;
use std::ffi::CString;
use std::marker::PhantomData;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::error::{Error, Result};
use crate::pg::datum::{Arg, FromColumn};

/// A statement with its parameter types and, after the first use, its kept plan.
pub struct Statement {
    sql: &'static str,
    types: &'static [Oid],
    plan: Cell<pg_sys::SPIPlanPtr>,
}

// SAFETY: a backend has one thread.
unsafe impl Sync for Statement {}

impl Statement {
    pub const fn new(sql: &'static str, types: &'static [Oid]) -> Self {
        Self {
            sql,
            types,
            plan: Cell::new(std::ptr::null_mut()),
        }
    }

    fn plan(&self) -> Result<pg_sys::SPIPlanPtr> {
        let kept = self.plan.get();
        if !kept.is_null() {
            return Ok(kept);
        }
        let sql = CString::new(self.sql)
            .map_err(|_| Error::corrupt("a statement contains a NUL byte"))?;
        let mut types = self.types.to_vec();
        // SAFETY: called between SPI_connect and SPI_finish; the kept plan lives until the backend ends.
        unsafe {
            let plan = pg_sys::SPI_prepare_cursor(
                sql.as_ptr(),
                types.len() as i32,
                types.as_mut_ptr(),
                pg_sys::CURSOR_OPT_GENERIC_PLAN as i32,
            );
            if plan.is_null() {
                return Err(Error::corrupt(format!("cannot prepare: {}", self.sql)));
            }
            pg_sys::SPI_keepplan(plan);
            self.plan.set(plan);
            Ok(plan)
        }
    }
}

/// An open SPI connection. Everything allocated while it is open is freed with it.
pub struct Session(PhantomData<*const ()>);

impl Session {
    pub fn open() -> Result<Self> {
        debug_assert!(
            crate::pg::search_path::is_pinned(),
            "search_path is not pinned"
        );
        // SAFETY: plain call; the guard below closes what it opens.
        if unsafe { pg_sys::SPI_connect() } != pg_sys::SPI_OK_CONNECT as i32 {
            return Err(Error::corrupt("cannot connect to SPI"));
        }
        Ok(Self(PhantomData))
    }

    /// Runs a statement that may write; it sees everything committed before it, and this transaction's own rows.
    pub fn run(&self, statement: &Statement, args: &[Arg]) -> Result<Rows> {
        self.execute(statement, args, false)
    }

    /// Runs a statement with the snapshot of the calling query and without a transaction id: for STABLE functions.
    pub fn read(&self, statement: &Statement, args: &[Arg]) -> Result<Rows> {
        self.execute(statement, args, true)
    }

    fn execute(&self, statement: &Statement, args: &[Arg], read_only: bool) -> Result<Rows> {
        debug_assert_eq!(args.len(), statement.types.len());
        let plan = statement.plan()?;
        let mut values: Vec<Datum> = args
            .iter()
            .map(|arg| arg.unwrap_or(Datum::null()))
            .collect();
        let nulls: Vec<std::ffi::c_char> = args
            .iter()
            .map(|arg| if arg.is_some() { b' ' } else { b'n' } as _)
            .collect();
        // SAFETY: the arrays have one entry per declared parameter; SPI copies nothing and keeps nothing of them.
        unsafe {
            let code =
                pg_sys::SPI_execute_plan(plan, values.as_mut_ptr(), nulls.as_ptr(), read_only, 0);
            if code < 0 {
                return Err(Error::corrupt(format!(
                    "SPI error {code} in: {}",
                    statement.sql
                )));
            }
            Ok(Rows {
                table: pg_sys::SPI_tuptable,
                count: pg_sys::SPI_processed as usize,
            })
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // After an error the transaction's abort closes SPI; calling it while unwinding could raise again.
        if !std::thread::panicking() {
            unsafe { pg_sys::SPI_finish() };
        }
    }
}

/// The rows of one statement; their memory is freed with the session.
pub struct Rows {
    table: *mut pg_sys::SPITupleTable,
    count: usize,
}

impl Rows {
    /// How many rows the statement returned or changed.
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        let returned = if self.table.is_null() { 0 } else { self.count };
        (0..returned).map(|index| Row { rows: self, index })
    }

    pub fn first(&self) -> Option<Row<'_>> {
        self.iter().next()
    }
}

/// One row; columns count from 1.
pub struct Row<'a> {
    rows: &'a Rows,
    index: usize,
}

impl Row<'_> {
    /// The value of a column, `None` for NULL.
    pub fn opt<T: FromColumn>(&self, column: i32) -> Option<T> {
        let mut null = false;
        // SAFETY: `index` is below the row count; the caller reads a column as the type its statement gives it.
        unsafe {
            let table = &*self.rows.table;
            let datum = pg_sys::SPI_getbinval(
                *table.vals.add(self.index),
                table.tupdesc,
                column,
                &mut null,
            );
            (!null).then(|| T::from_column(datum))
        }
    }

    /// The value of a column that cannot be NULL.
    pub fn get<T: FromColumn>(&self, column: i32) -> Result<T> {
        self.opt(column)
            .ok_or_else(|| Error::corrupt(format!("unexpected NULL in column {column}")))
    }

    /// The raw datum of a column, valid while the rows live.
    pub fn datum(&self, column: i32) -> Arg {
        self.opt::<crate::pg::datum::Jsonb>(column)
            .map(|jsonb| jsonb.0)
    }
}
