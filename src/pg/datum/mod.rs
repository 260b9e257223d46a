//! Values that go into SQL or come from it.

mod arrays;
mod depth;
mod encode;
mod fields;
mod jsonb;
mod masked;
mod read;
mod sizes;
mod states;

use std::marker::PhantomData;

use pgrx::IntoDatum;
use pgrx::pg_sys::{self, Datum, Oid};

use crate::error::{Error, Result};

pub use arrays::{
    array_literal, booleans, int2s, int4s, int8s, jsonbs, opt_int4s, texts, tids, timestamps,
    uuids, xid8s,
};
pub use depth::{is_shallow, require_shallow};
pub use encode::{array_of, object_of};
pub use fields::{Field, Object, array_fields, field_of, texts_of};
pub use jsonb::{
    Jsonb, OwnedJsonb, array_element, element_count, is_array, is_object, jsonb_concat,
    jsonb_from_text, jsonb_text, opt_jsonb,
};
pub use masked::masked;
pub use read::{Element, FromColumn, Numeric};
pub(super) use read::{attribute, elements, jsonb_elements};
pub use sizes::{
    client_can_read, client_has_other_encoding, jsonb_object, size, texts_are_too_long,
};
pub use states::{state, states};

/// A uuid as its sixteen bytes, in the order PostgreSQL stores and compares them.
pub type Uuid = [u8; 16];

/// A `timestamptz`: microseconds since 2000-01-01 UTC.
pub type Timestamp = i64;

/// A value with its SQL type, on its way into a statement, a row or a table. It lives as long as what it points to: a value
/// that this module makes (text, arrays) is in memory of the SQL call and lives until that ends.
#[derive(Clone, Copy)]
pub struct Arg<'a> {
    datum: Option<Datum>,
    of: Oid,
    alive: PhantomData<&'a ()>,
}

impl<'a> Arg<'a> {
    /// NULL, of any type.
    pub const NULL: Self = Self {
        datum: None,
        of: pg_sys::InvalidOid,
        alive: PhantomData,
    };

    /// # Safety
    /// The datum is a value of the type, and lives for `'a`.
    pub(super) unsafe fn new(datum: Option<Datum>, of: Oid) -> Self {
        Self {
            datum,
            of,
            alive: PhantomData,
        }
    }

    /// A value that points to nothing, or into memory of the SQL call.
    fn made(datum: impl Into<Option<Datum>>, of: Oid) -> Self {
        Self {
            datum: datum.into(),
            of,
            alive: PhantomData,
        }
    }

    pub fn is_null(&self) -> bool {
        self.datum.is_none()
    }

    pub(super) fn datum(&self) -> Option<Datum> {
        self.datum
    }

    /// The datum if it has the expected type; NULL has every type.
    pub(super) fn of(&self, wanted: Oid) -> Result<Option<Datum>> {
        if self.datum.is_none() || self.of == wanted {
            return Ok(self.datum);
        }
        Err(Error::corrupt(format!(
            "expected a value of type {}, found {}",
            wanted.to_u32(),
            self.of.to_u32()
        )))
    }
}

/// A value that may be missing: NULL, or what `make` makes of it.
pub fn opt<'a, T>(value: Option<T>, make: impl FnOnce(T) -> Arg<'a>) -> Arg<'a> {
    value.map_or(Arg::NULL, make)
}

pub fn uuid(value: &Uuid) -> Arg<'_> {
    Arg::made(Datum::from(value.as_ptr()), pg_sys::UUIDOID)
}

pub fn text(value: &str) -> Arg<'static> {
    Arg::made(value.into_datum(), pg_sys::TEXTOID)
}

pub fn opt_text(value: Option<&str>) -> Arg<'static> {
    opt(value, text)
}

pub fn int2(value: i16) -> Arg<'static> {
    Arg::made(Datum::from(value), pg_sys::INT2OID)
}

pub fn int4(value: i32) -> Arg<'static> {
    Arg::made(Datum::from(value), pg_sys::INT4OID)
}

pub fn int8(value: i64) -> Arg<'static> {
    Arg::made(Datum::from(value), pg_sys::INT8OID)
}

/// A transaction id with its epoch.
pub fn xid8(value: u64) -> Arg<'static> {
    Arg::made(Datum::from(value), pg_sys::XID8OID)
}

pub fn oid(value: Oid) -> Arg<'static> {
    Arg::made(Datum::from(value), pg_sys::OIDOID)
}

pub fn float8(value: f64) -> Arg<'static> {
    Arg::made(value.into_datum(), pg_sys::FLOAT8OID)
}

/// A numeric from its text; NULL if the text is not a number.
pub fn numeric(text: &str) -> Arg<'static> {
    let Ok(text) = std::ffi::CString::new(text) else {
        return Arg::NULL;
    };
    // SAFETY: numeric_in takes a NUL-terminated string, a type oid that it ignores, and no modifier.
    let datum = unsafe {
        pgrx::fcinfo::direct_function_call_as_datum(
            pg_sys::numeric_in,
            &[
                Some(Datum::from(text.as_ptr())),
                Some(Datum::from(pg_sys::InvalidOid)),
                Some(Datum::from(-1i32)),
            ],
        )
    };
    Arg::made(datum, pg_sys::NUMERICOID)
}

pub fn boolean(value: bool) -> Arg<'static> {
    Arg::made(Datum::from(value), pg_sys::BOOLOID)
}

pub fn timestamp(value: Timestamp) -> Arg<'static> {
    Arg::made(Datum::from(value), pg_sys::TIMESTAMPTZOID)
}

/// An interval, in the current memory context.
pub fn interval(microseconds: i64) -> Arg<'static> {
    // SAFETY: palloc returns room for an interval or raises.
    unsafe {
        let interval = pg_sys::palloc(size_of::<pg_sys::Interval>()) as *mut pg_sys::Interval;
        *interval = pg_sys::Interval {
            time: microseconds,
            day: 0,
            month: 0,
        };
        Arg::made(Datum::from(interval), pg_sys::INTERVALOID)
    }
}

/// A uuid copied into the current memory context, for rows that are put together before they are handed out.
pub fn copy_uuid(value: &Uuid) -> Arg<'static> {
    // SAFETY: palloc returns 16 writable bytes or raises.
    unsafe {
        let copy = pg_sys::palloc(16) as *mut Uuid;
        *copy = *value;
        Arg::made(Datum::from(copy), pg_sys::UUIDOID)
    }
}
