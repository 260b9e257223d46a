//! The one place that talks SPI: statements with a kept generic plan, and their rows.
//!
//! A statement is planned once per backend and kept. The generic plan is asked for by name, because a custom
//! plan per call costs half of the throughput; the functions that run these statements pin the scan types with
//! SET clauses (sql/functions/plans.sql), so that a replan after an ANALYZE cannot choose another shape. They
//! also pin the search_path: `unnest` of several arrays is a form of the grammar that takes no schema name.

use std::cell::Cell;
use std::ffi::CString;
use std::marker::PhantomData;

use pgrx::pg_sys::{self, Datum, Oid};

use super::datum::{Arg, FromColumn, Jsonb, attribute};
use crate::error::{Error, Result};

/// A statement with its parameter types and, after the first use, its kept plan.
pub struct Statement {
    sql: &'static str,
    types: &'static [Oid],
    plan: Cell<pg_sys::SPIPlanPtr>,
    /// The value of `ROUND` when it was made.
    round: Cell<u32>,
}

// SAFETY: a backend has one thread.
unsafe impl Sync for Statement {}

/// How often plans were made again.
struct Round(Cell<u32>);

// SAFETY: a backend has one thread.
unsafe impl Sync for Round {}

static ROUND: Round = Round(Cell::new(0));

/// Each statement is planned again when it is used the next time.
pub fn make_plans_again() {
    ROUND.0.set(ROUND.0.get().wrapping_add(1));
}

/// As an ANALYZE of its tables does it. A run that still uses the plan keeps it.
fn invalidate(plan: pg_sys::SPIPlanPtr) {
    // SAFETY: a kept plan; PostgreSQL looks at the mark before it takes the generic plan again.
    unsafe {
        let sources = pg_sys::SPI_plan_get_plan_sources(plan);
        for index in 0..(*sources).length as usize {
            let source = (*(*sources).elements.add(index)).ptr_value;
            let source = source.cast::<pg_sys::CachedPlanSource>();
            if let Some(generic) = (*source).gplan.as_mut() {
                generic.is_valid = false;
            }
        }
    }
}

impl Statement {
    pub const fn new(sql: &'static str, types: &'static [Oid]) -> Self {
        Self {
            sql,
            types,
            plan: Cell::new(std::ptr::null_mut()),
            round: Cell::new(0),
        }
    }

    /// The types of its parameters.
    pub fn types(&self) -> &'static [Oid] {
        self.types
    }

    fn plan(&self) -> Result<pg_sys::SPIPlanPtr> {
        let kept = self.plan.get();
        let round = ROUND.0.get();
        if !kept.is_null() {
            if self.round.replace(round) != round {
                invalidate(kept);
            }
            return Ok(kept);
        }
        self.round.set(round);
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

/// An open SPI connection. Rows are freed with it; what is made while it is open belongs to the SQL call around it.
pub struct Session {
    memory: pg_sys::MemoryContext,
}

impl Session {
    pub fn open() -> Result<Self> {
        if !super::search_path::is_pinned() {
            return Err(Error::corrupt(
                "a statement of the engine would look names up in schemas of others",
            )
            .detail(
                "The setting search_path of this call is not the one that the function declares.",
            )
            .hint(
                "ALTER FUNCTION tasker.name_of_the_function SET search_path = pg_catalog, pg_temp;",
            ));
        }
        // SAFETY: the guard below closes what this opens; the memory around it lives longer.
        unsafe {
            let memory = pg_sys::CurrentMemoryContext;
            if pg_sys::SPI_connect() != pg_sys::SPI_OK_CONNECT as i32 {
                return Err(Error::corrupt("cannot connect to SPI"));
            }
            pg_sys::CurrentMemoryContext = memory;
            Ok(Self { memory })
        }
    }

    /// Runs a statement that may write; it sees everything committed before it, and this transaction's own rows.
    pub fn run<'s>(&'s self, statement: &Statement, args: &[Arg]) -> Result<Rows<'s>> {
        self.execute(statement, args, false)
    }

    /// Runs a statement with the snapshot of the calling query and without a transaction id: for STABLE functions.
    pub fn read<'s>(&'s self, statement: &Statement, args: &[Arg]) -> Result<Rows<'s>> {
        self.execute(statement, args, true)
    }

    fn execute<'s>(
        &'s self,
        statement: &Statement,
        args: &[Arg],
        read_only: bool,
    ) -> Result<Rows<'s>> {
        let Bound {
            plan,
            mut values,
            nulls,
        } = bind(statement, args)?;
        // SAFETY: the arrays have one entry per declared parameter, of its type; SPI keeps nothing of them. Its memory
        // stays current after a call, so ours is made current again.
        unsafe {
            let code =
                pg_sys::SPI_execute_plan(plan, values.as_mut_ptr(), nulls.as_ptr(), read_only, 0);
            pg_sys::CurrentMemoryContext = self.memory;
            if code < 0 {
                return Err(Error::corrupt(format!(
                    "SPI error {code} in: {}",
                    statement.sql
                )));
            }
            Ok(Rows::of(
                pg_sys::SPI_tuptable,
                pg_sys::SPI_processed as usize,
            ))
        }
    }
}

/// A plan with its parameters.
struct Bound {
    plan: pg_sys::SPIPlanPtr,
    values: Vec<Datum>,
    nulls: Vec<std::ffi::c_char>,
}

fn bind(statement: &Statement, args: &[Arg]) -> Result<Bound> {
    // At every statement: a handler that the call ran before it could have renamed the schema.
    super::installation::require_own_schema()?;
    if args.len() != statement.types.len() {
        return Err(Error::corrupt(format!(
            "{} values for: {}",
            args.len(),
            statement.sql
        )));
    }
    let mut values = Vec::with_capacity(args.len());
    let mut nulls: Vec<std::ffi::c_char> = Vec::with_capacity(args.len());
    for (arg, of) in args.iter().zip(statement.types) {
        let datum = arg.of(*of)?;
        values.push(datum.unwrap_or(Datum::null()));
        nulls.push(if datum.is_some() { b' ' } else { b'n' } as _);
    }
    Ok(Bound {
        plan: statement.plan()?,
        values,
        nulls,
    })
}

/// The rows of a query, a part at a time.
pub struct Cursor<'s> {
    portal: pg_sys::Portal,
    session: &'s Session,
}

impl Session {
    /// Opens a query whose rows are read a part at a time, with the snapshot of the calling query.
    pub fn cursor<'s>(&'s self, statement: &Statement, args: &[Arg]) -> Result<Cursor<'s>> {
        let Bound {
            plan,
            mut values,
            nulls,
        } = bind(statement, args)?;
        // SAFETY: as in execute; the portal has copies of the parameters, and lives until the guard below closes it.
        let portal = unsafe {
            let portal = pg_sys::SPI_cursor_open(
                std::ptr::null(),
                plan,
                values.as_mut_ptr(),
                nulls.as_ptr(),
                true,
            );
            pg_sys::CurrentMemoryContext = self.memory;
            portal
        };
        Ok(Cursor {
            portal,
            session: self,
        })
    }
}

impl Cursor<'_> {
    /// Reads up to this many rows; their values are gone afterwards. Returns how many there were, 0 at the end.
    pub fn fetch(
        &mut self,
        most: i64,
        mut each: impl FnMut(Row<'_, '_>) -> Result<()>,
    ) -> Result<usize> {
        // SAFETY: the portal is open; the table lives until it is freed below, after the last look at its rows.
        let (table, rows) = unsafe {
            pg_sys::SPI_cursor_fetch(self.portal, true, most as _);
            pg_sys::CurrentMemoryContext = self.session.memory;
            let table = pg_sys::SPI_tuptable;
            (table, Rows::of(table, pg_sys::SPI_processed as usize))
        };
        for row in rows.iter() {
            each(row)?;
        }
        let count = rows.len();
        drop(rows);
        // SAFETY: as above.
        unsafe { pg_sys::SPI_freetuptable(table) };
        Ok(count)
    }
}

impl Drop for Cursor<'_> {
    fn drop(&mut self) {
        // After an error the abort of the transaction closes it.
        if !std::thread::panicking() {
            // SAFETY: closes what cursor opened.
            unsafe { pg_sys::SPI_cursor_close(self.portal) };
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // After an error the transaction's abort closes SPI; calling it while unwinding could raise again.
        if !std::thread::panicking() {
            // SAFETY: closes what open opened.
            unsafe { pg_sys::SPI_finish() };
        }
    }
}

/// The rows of one statement. Values behind pointers are freed with the session.
pub struct Rows<'s> {
    count: usize,
    types: Vec<Oid>,
    values: Vec<Datum>,
    nulls: Vec<bool>,
    session: PhantomData<&'s Session>,
}

impl<'s> Rows<'s> {
    /// # Safety
    /// The table is what the last statement returned, or null; it lives for `'s`.
    unsafe fn of(table: *mut pg_sys::SPITupleTable, count: usize) -> Self {
        let mut rows = Self {
            count,
            types: vec![],
            values: vec![],
            nulls: vec![],
            session: PhantomData,
        };
        if table.is_null() || count == 0 {
            return rows;
        }
        // SAFETY: a table of SPI has a description and `count` rows; both arrays have room for them.
        unsafe {
            let description = (*table).tupdesc;
            let width = (*description).natts as usize;
            rows.types = (0..width)
                .map(|place| attribute(&*description, place).atttypid)
                .collect();
            rows.values = vec![Datum::null(); width * count];
            rows.nulls = vec![true; width * count];
            for row in 0..count {
                pg_sys::heap_deform_tuple(
                    *(*table).vals.add(row),
                    description,
                    rows.values.as_mut_ptr().add(row * width),
                    rows.nulls.as_mut_ptr().add(row * width),
                );
            }
        }
        rows
    }

    /// How many rows the statement returned or changed.
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = Row<'_, 's>> {
        let returned = self.values.len().checked_div(self.types.len()).unwrap_or(0);
        (0..returned).map(|index| Row { rows: self, index })
    }

    pub fn first(&self) -> Option<Row<'_, 's>> {
        self.iter().next()
    }
}

/// One row; columns count from 1.
pub struct Row<'r, 's> {
    rows: &'r Rows<'s>,
    index: usize,
}

impl<'s> Row<'_, 's> {
    fn place(&self, column: i32) -> Option<usize> {
        let place = column as usize - 1;
        (place < self.rows.types.len()).then(|| self.index * self.rows.types.len() + place)
    }

    /// The datum of a column; None for NULL. Raises if the column is not of one of these types.
    fn value(&self, column: i32, types: &[Oid]) -> Option<Datum> {
        let of = self.rows.types.get(column as usize - 1);
        let Some(place) = self
            .place(column)
            .filter(|_| of.is_some_and(|of| types.contains(of)))
        else {
            Error::corrupt(format!(
                "column {column} of a statement is of type {}, not {}",
                of.map_or(0, |of| of.to_u32()),
                types.first().map_or(0, |first| first.to_u32())
            ))
            .detail("The library and the objects of the extension are of different versions, or an object was replaced.")
            .hint("Run ALTER EXTENSION tasker_ext UPDATE.")
            .raise("tasker_ext")
        };
        (!self.rows.nulls[place]).then(|| self.rows.values[place])
    }

    /// The value of a column, `None` for NULL.
    pub fn opt<T: FromColumn>(&self, column: i32) -> Option<T> {
        // SAFETY: the column is of a type that T stands for.
        self.value(column, T::TYPES)
            .map(|datum| unsafe { T::from_column(datum) })
    }

    /// The value of a column that cannot be NULL.
    pub fn get<T: FromColumn>(&self, column: i32) -> Result<T> {
        self.opt(column)
            .ok_or_else(|| Error::corrupt(format!("unexpected NULL in column {column}")))
    }

    /// A jsonb, which lives as long as the session.
    pub fn opt_jsonb(&self, column: i32) -> Option<Jsonb<'s>> {
        // SAFETY: the column is a jsonb in the memory of the session.
        self.value(column, &[pg_sys::JSONBOID])
            .map(|datum| unsafe { Jsonb::new(datum) })
    }

    /// A jsonb that cannot be NULL.
    pub fn jsonb(&self, column: i32) -> Result<Jsonb<'s>> {
        self.opt_jsonb(column)
            .ok_or_else(|| Error::corrupt(format!("unexpected NULL in column {column}")))
    }

    /// A value to be passed on as it is; it lives as long as the session.
    pub fn arg(&self, column: i32) -> Arg<'s> {
        let Some(place) = self.place(column) else {
            return Arg::NULL;
        };
        let of = self.rows.types[column as usize - 1];
        let datum = (!self.rows.nulls[place]).then(|| self.rows.values[place]);
        // SAFETY: the value is of the column's type, in the memory of the session.
        unsafe { Arg::new(datum, of) }
    }
}
