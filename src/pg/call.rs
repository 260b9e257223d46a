//! Between SQL functions and Rust: arguments by name, results, errors.
//!
//! The SQL side is declared in sql/functions/, where every tool can read it; `sql_function!` exports the symbol.

use std::cell::Cell;
use std::ffi::CStr;
use std::marker::PhantomData;

use pgrx::pg_sys::{self, Datum, FunctionCallInfo};

use crate::error::{Error, Result};
use crate::pg::datum::{self, Arg, Element, FromColumn, Jsonb, OwnedJsonb, Uuid};
use crate::pg::installation;
use crate::pg::memory;

/// Exports `$name`, a function of the module, as the C function that CREATE FUNCTION links under the same name, with the
/// version record that PostgreSQL looks for. SQL name, C name and Rust name agree; no name is one of libc or PostgreSQL.
macro_rules! sql_function {
    ($($name:ident;)*) => {
        $(
            #[allow(unsafe_code)]
            const _: () = {
                #[unsafe(export_name = concat!("pg_finfo_", stringify!($name)))]
                pub extern "C" fn record() -> &'static pgrx::pg_sys::Pg_finfo_record {
                    static RECORD: pgrx::pg_sys::Pg_finfo_record = pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
                    &RECORD
                }

                #[unsafe(export_name = stringify!($name))]
                #[pgrx::pg_guard]
                pub unsafe extern "C-unwind" fn entry(
                    fcinfo: pgrx::pg_sys::FunctionCallInfo,
                ) -> pgrx::pg_sys::Datum {
                    $crate::pg::call::dispatch(fcinfo, stringify!($name), $name)
                }
            };
        )*
    };
}
pub(crate) use sql_function;

/// The result of a function.
pub enum Output {
    Null,
    /// A number or a truth value.
    Value(Datum),
    Jsonb(OwnedJsonb),
    Uuid(Uuid),
    Float(f64),
    /// Microseconds.
    Interval(i64),
    /// The result of a trigger whose row does not matter.
    Trigger,
    /// A parameter, returned unchanged.
    Passed(Datum),
    Text(String),
    /// The rows were put with [`Call::row`].
    Rows,
}

impl From<bool> for Output {
    fn from(value: bool) -> Self {
        Output::Value(Datum::from(value))
    }
}

impl From<i16> for Output {
    fn from(value: i16) -> Self {
        Output::Value(Datum::from(value))
    }
}

impl From<i32> for Output {
    fn from(value: i32) -> Self {
        Output::Value(Datum::from(value))
    }
}

impl From<i64> for Output {
    fn from(value: i64) -> Self {
        Output::Value(Datum::from(value))
    }
}

impl From<&str> for Output {
    fn from(value: &str) -> Self {
        Output::Text(value.to_owned())
    }
}

impl Output {
    /// An array that this call has made.
    pub fn array(values: &Arg) -> Self {
        values.datum().map_or(Self::Null, Self::Value)
    }
}

std::thread_local! {
    static RUNNING: Cell<&'static str> = const { Cell::new("") };
}

/// The name of the function that runs, of our own.
pub fn running() -> &'static str {
    RUNNING.get()
}

/// Runs the body of a function and turns its result or error into what PostgreSQL expects.
pub fn dispatch(
    fcinfo: FunctionCallInfo,
    name: &'static str,
    body: fn(&mut Call<'_>) -> Result<Output>,
) -> Datum {
    if let Err(error) = installation::require_same_version_for(name) {
        error.raise(name);
    }
    let mut call = Call {
        fcinfo,
        rows: None,
        // SAFETY: a read of the backend's own variable.
        memory: unsafe { pg_sys::CurrentMemoryContext },
        alive: PhantomData,
    };
    let outer = RUNNING.replace(name);
    let outcome = body(&mut call);
    // After an error that PostgreSQL has raised it stays: the next call sets it.
    RUNNING.set(outer);
    match outcome {
        Ok(output) => call.finish(output),
        Err(error) => error.raise(name),
    }
}

/// How often a parameter is in memory at most, while the call reads it, compares it and says what is wrong with it.
const COPIES: usize = 4;

/// What an allocation takes beside its bytes, at most.
const ALLOCATION: usize = 32;

/// One call of a function; its parameters live as long as it.
pub struct Call<'c> {
    fcinfo: FunctionCallInfo,
    rows: Option<(*mut pg_sys::Tuplestorestate, pg_sys::TupleDesc)>,
    /// Where a detoasted parameter is kept.
    memory: pg_sys::MemoryContext,
    alive: PhantomData<&'c ()>,
}

impl<'c> Call<'c> {
    fn arg(&self, index: usize) -> Option<Datum> {
        // SAFETY: the arguments that the call gives are there. The declaration of an earlier version has fewer.
        unsafe {
            let given = usize::try_from((*self.fcinfo).nargs).unwrap_or_default();
            (index < given)
                .then(|| pgrx::fcinfo::pg_getarg_datum(self.fcinfo, index))
                .flatten()
        }
    }

    /// The first parameters, which the SQL declaration gives these types, to be passed on as they are.
    pub fn parameters(&self, types: &[pg_sys::Oid]) -> Vec<Arg<'c>> {
        types
            .iter()
            .enumerate()
            // SAFETY: as declared; a parameter lives as long as the call.
            .map(|(index, of)| unsafe { Arg::new(self.arg(index), *of) })
            .collect()
    }

    /// A parameter as the result of the call; `None` for NULL.
    pub fn pass(&self, index: usize) -> Option<Output> {
        self.arg(index).map(Output::Passed)
    }

    /// A parameter of a by-value type or uuid; `None` for NULL.
    pub fn opt<T: FromColumn>(&self, index: usize) -> Option<T> {
        // SAFETY: the SQL declaration gives the parameter the type that T stands for; the header of a text is read first.
        self.arg(index).map(|datum| unsafe {
            if T::TYPES == [pg_sys::TEXTOID] {
                memory::require(COPIES * pg_sys::toast_raw_datum_size(datum));
            }
            T::from_column(datum)
        })
    }

    /// A parameter that must not be NULL (22004).
    pub fn get<T: FromColumn>(&self, index: usize, name: &str) -> Result<T> {
        self.opt(index).ok_or_else(|| Error::null(name))
    }

    pub fn opt_text(&self, index: usize) -> Option<String> {
        self.opt(index)
    }

    pub fn uuid(&self, index: usize, name: &str) -> Result<Uuid> {
        self.get(index, name)
    }

    /// A jsonb parameter, detoasted so that its header can be read.
    pub fn opt_jsonb(&self, index: usize) -> Option<Jsonb<'c>> {
        self.arg(index).map(|datum| {
            // SAFETY: the parameter is declared jsonb, a varlena; a copy is made in the memory of the call.
            unsafe {
                let before = pg_sys::MemoryContextSwitchTo(self.memory);
                let plain = pg_sys::pg_detoast_datum(datum.cast_mut_ptr());
                pg_sys::MemoryContextSwitchTo(before);
                Jsonb::new(Datum::from(plain))
            }
        })
    }

    /// The elements of a jsonb array parameter.
    pub fn opt_jsonbs(&self, index: usize) -> Option<Vec<Option<Jsonb<'c>>>> {
        // SAFETY: the parameter is declared jsonb[]; the elements point into it.
        self.arg(index).map(|datum| unsafe {
            let before = pg_sys::MemoryContextSwitchTo(self.memory);
            let elements = datum::jsonb_elements(datum);
            pg_sys::MemoryContextSwitchTo(before);
            elements
        })
    }

    pub fn jsonb(&self, index: usize, name: &str) -> Result<Jsonb<'c>> {
        self.opt_jsonb(index).ok_or_else(|| Error::null(name))
    }

    /// An array parameter whose elements can be NULL.
    pub fn opt_array<T: Element>(&self, index: usize) -> Option<Vec<Option<T>>> {
        // SAFETY: the parameter is declared as an array of T's type; its dimensions are behind its header.
        self.arg(index).map(|datum| unsafe {
            let array: *mut pg_sys::ArrayType =
                pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast();
            let datum = Datum::from(array);
            let count = pg_sys::ArrayGetNItems((*array).ndim, array.add(1).cast()) as usize;
            // What is not of one size has memory of its own.
            let own = if T::LENGTH < 0 { ALLOCATION } else { 0 };
            let bytes =
                count * (size_of::<Option<T>>() + own) + pg_sys::toast_raw_datum_size(datum);
            memory::require(COPIES * bytes);
            datum::elements(datum)
        })
    }

    /// A uuid array none of whose elements can be NULL (22004); `None` for a NULL array.
    pub fn opt_uuids(&self, index: usize, name: &str) -> Result<Option<Vec<Uuid>>> {
        self.opt_array::<Uuid>(index)
            .map(|uuids| {
                uuids
                    .into_iter()
                    .map(|uuid| uuid.ok_or_else(|| Error::null(&format!("an element of {name}"))))
                    .collect()
            })
            .transpose()
    }

    /// An interval in microseconds; a month counts 30 days, a day 24 hours.
    pub fn opt_interval(&self, index: usize) -> Option<i64> {
        self.arg(index).map(|datum| {
            // SAFETY: the parameter is declared interval.
            let interval = unsafe { &*datum.cast_mut_ptr::<pg_sys::Interval>() };
            let days = i64::from(interval.month)
                .saturating_mul(30)
                .saturating_add(interval.day.into());
            days.saturating_mul(86_400_000_000)
                .saturating_add(interval.time)
        })
    }

    pub fn interval(&self, index: usize, name: &str) -> Result<i64> {
        self.opt_interval(index).ok_or_else(|| Error::null(name))
    }

    /// Appends a row to the result of a set-returning function. The values are copied.
    pub fn row(&mut self, values: &[Arg]) -> Result<()> {
        let (store, description) = self.result_rows()?;
        let mut datums = Vec::with_capacity(values.len());
        let mut nulls: Vec<bool> = values.iter().map(Arg::is_null).collect();
        // SAFETY: the description has these columns in this order, and each value is of its column's type.
        unsafe {
            if (*description).natts as usize != values.len() {
                return Err(Error::corrupt(
                    "the function's declaration has other columns than its code",
                )
                .hint("Run ALTER EXTENSION tasker_ext UPDATE."));
            }
            for (place, value) in values.iter().enumerate() {
                let datum = value.of(datum::attribute(&*description, place).atttypid)?;
                datums.push(datum.unwrap_or(Datum::null()));
            }
            pg_sys::tuplestore_putvalues(
                store,
                description,
                datums.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
        }
        Ok(())
    }

    fn result_rows(&mut self) -> Result<(*mut pg_sys::Tuplestorestate, pg_sys::TupleDesc)> {
        if let Some(rows) = self.rows {
            return Ok(rows);
        }
        // SAFETY: the protocol of a materialized set-returning function: store and description live in the
        // memory of the query that asked.
        unsafe {
            let info = (*self.fcinfo).resultinfo as *mut pg_sys::ReturnSetInfo;
            if info.is_null()
                || (*info).type_ != pg_sys::NodeTag::T_ReturnSetInfo
                || (*info).allowedModes & pg_sys::SetFunctionReturnMode::SFRM_Materialize as i32
                    == 0
            {
                return Err(Error::new(
                    pgrx::PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                    "this function returns rows and must be called where rows are accepted",
                )
                .hint("Call it as SELECT * FROM tasker.function(...)."));
            }
            let memory = (*(*info).econtext).ecxt_per_query_memory;
            let previous = pg_sys::MemoryContextSwitchTo(memory);
            let mut description: pg_sys::TupleDesc = std::ptr::null_mut();
            let class =
                pg_sys::get_call_result_type(self.fcinfo, std::ptr::null_mut(), &mut description);
            if class != pg_sys::TypeFuncClass::TYPEFUNC_COMPOSITE {
                description = pg_sys::CreateTupleDescCopy((*info).expectedDesc);
            }
            let store = pg_sys::tuplestore_begin_heap(
                (*info).allowedModes
                    & pg_sys::SetFunctionReturnMode::SFRM_Materialize_Random as i32
                    != 0,
                false,
                pg_sys::work_mem,
            );
            (*info).returnMode = pg_sys::SetFunctionReturnMode::SFRM_Materialize;
            (*info).setResult = store;
            (*info).setDesc = description;
            pg_sys::MemoryContextSwitchTo(previous);
            self.rows = Some((store, description));
            Ok((store, description))
        }
    }

    fn finish(mut self, output: Output) -> Datum {
        let datum = match output {
            Output::Null => None,
            Output::Value(datum) => Some(datum),
            Output::Jsonb(jsonb) => Some(jsonb.into_palloc()),
            Output::Uuid(uuid) => datum::copy_uuid(&uuid).datum(),
            Output::Float(value) => datum::float8(value).datum(),
            Output::Interval(microseconds) => datum::interval(microseconds).datum(),
            // The protocol of triggers: a null pointer, and not SQL's NULL.
            Output::Trigger => Some(Datum::null()),
            Output::Passed(datum) => Some(datum),
            Output::Text(text) => datum::text(&text).datum(),
            Output::Rows => {
                if let Err(error) = self.result_rows() {
                    error.raise("rows");
                }
                None
            }
        };
        // SAFETY: fcinfo belongs to this call.
        unsafe { (*self.fcinfo).isnull = datum.is_none() };
        datum.unwrap_or(Datum::null())
    }
}

/// A value from the caller, cut to a length that suits a message.
pub fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

/// True under READ COMMITTED, where each statement sees what was committed before it.
pub fn statements_see_commits() -> bool {
    // SAFETY: a plain read of the backend's own variable.
    unsafe { pg_sys::XactIsoLevel <= pg_sys::XACT_READ_COMMITTED as i32 }
}

/// Whether the server takes its rows from another one.
pub fn is_standby() -> bool {
    // SAFETY: plain call.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// Whether this transaction may write: not on a standby, and not if it is READ ONLY.
pub fn may_write() -> bool {
    // SAFETY: a plain read of the backend's own variable.
    !is_standby() && !unsafe { pg_sys::XactReadOnly }
}

/// Refuses calls that write on a standby (25006).
pub fn require_primary() -> Result<()> {
    if !is_standby() {
        return Ok(());
    }
    Err(Error::new(
        pgrx::PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
        "this function writes, and this server is a standby",
    )
    .detail("SELECT pg_is_in_recovery() is true.")
    .hint(
        "Call it on the primary; with target_session_attrs=read-write a client finds it by itself.",
    ))
}

/// Refuses to change steps under a snapshot that cannot see concurrent reports (25001).
pub fn require_read_committed() -> Result<()> {
    if statements_see_commits() {
        return Ok(());
    }
    Err(Error::new(
        pgrx::PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION,
        "tasker functions that change steps need the isolation level READ COMMITTED",
    )
    .detail("With one snapshot for the whole transaction the last two reports of a task could miss each other.")
    .hint("Run the call in a transaction of its own, or use BEGIN ISOLATION LEVEL READ COMMITTED."))
}

/// The time of the engine's clock.
pub fn clock() -> i64 {
    // SAFETY: plain call.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// Microseconds of a clock that never goes back and that setting the time does not move; it counts since the machine started, in
/// all processes alike. Whatever is done "at most every x" is measured by it.
pub fn tick() -> i64 {
    #[cfg(target_os = "macos")]
    const CLOCK_MONOTONIC: i32 = 6;
    #[cfg(not(target_os = "macos"))]
    const CLOCK_MONOTONIC: i32 = 1;
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32;
    }
    let mut time = [0; 2];
    // SAFETY: on the 64-bit systems that PostgreSQL supports, seconds and nanoseconds are 64 bits each.
    unsafe { clock_gettime(CLOCK_MONOTONIC, &mut time) };
    time[0] * 1_000_000 + time[1] / 1000
}

/// How far the engine's clock is before the one of [`tick`]; only setting the time changes that. None: this process was interrupted
/// between reading the one and the other.
pub fn clock_offset() -> Option<i64> {
    (0..3).find_map(|_| {
        let before = tick();
        let offset = clock() - before;
        (tick() - before < 1000).then_some(offset)
    })
}

/// Names this start of the machine; ticks of another one mean nothing here.
pub fn machine_start() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or_else(
        // SAFETY: a read of the backend's own variable.
        |_| format!("postmaster {}", unsafe { pg_sys::PgStartTime }),
        |id| id.trim().to_owned(),
    )
}

/// One of the engine's sequences, looked up once for all the values that a call takes.
pub struct Sequence(pg_sys::Oid);

impl Sequence {
    pub fn named(name: &CStr) -> Result<Self> {
        // SAFETY: both lookups are in the system cache.
        let relation = unsafe {
            let schema = pg_sys::get_namespace_oid(c"tasker_engine".as_ptr(), false);
            pg_sys::get_relname_relid(name.as_ptr(), schema)
        };
        if relation == pg_sys::InvalidOid {
            return Err(Error::corrupt("a sequence of the engine is missing"));
        }
        Ok(Self(relation))
    }

    pub fn next(&self) -> Result<i64> {
        // SAFETY: nextval checks that the relation is a sequence and that we may use it.
        unsafe {
            pgrx::fcinfo::direct_function_call::<i64>(
                pg_sys::nextval_oid,
                &[Some(Datum::from(self.0))],
            )
        }
        .ok_or_else(|| Error::corrupt("a sequence has no value"))
    }
}
