//! Reads the values of columns, parameters and arrays.

use pgrx::FromDatum;
use pgrx::pg_sys::{self, Datum, Oid};

use super::{Jsonb, Uuid};
use crate::pg::memory;

/// A type as which a column or parameter can be read.
pub trait FromColumn: Sized {
    /// The SQL types that it stands for.
    const TYPES: &'static [Oid];

    /// # Safety
    /// `datum` is a non-null value of the SQL type that `Self` stands for.
    unsafe fn from_column(datum: Datum) -> Self;
}

macro_rules! by_value {
    ($($type:ty, $types:expr => |$datum:ident| $read:expr),* $(,)?) => {
        $(impl FromColumn for $type {
            const TYPES: &'static [Oid] = &$types;
            unsafe fn from_column($datum: Datum) -> Self { $read }
        })*
    };
}

by_value! {
    i16, [pg_sys::INT2OID] => |datum| datum.value() as i16,
    i32, [pg_sys::INT4OID] => |datum| datum.value() as i32,
    // Timestamps are numbers here.
    i64, [pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID] => |datum| datum.value() as i64,
    u64, [pg_sys::XID8OID] => |datum| datum.value() as u64,
    f64, [pg_sys::FLOAT8OID] => |datum| f64::from_bits(datum.value() as u64),
    bool, [pg_sys::BOOLOID] => |datum| datum.value() & 0xff != 0,
    Oid, [pg_sys::OIDOID] => |datum| Oid::from(datum.value() as u32),
}

impl FromColumn for Uuid {
    const TYPES: &'static [Oid] = &[pg_sys::UUIDOID];
    unsafe fn from_column(datum: Datum) -> Self {
        // SAFETY: a uuid is a pointer to its sixteen bytes.
        unsafe { *datum.cast_mut_ptr::<Uuid>() }
    }
}

impl FromColumn for pg_sys::ItemPointerData {
    const TYPES: &'static [Oid] = &[pg_sys::TIDOID];
    unsafe fn from_column(datum: Datum) -> Self {
        // SAFETY: a tid is a pointer to its struct.
        unsafe { *datum.cast_mut_ptr::<pg_sys::ItemPointerData>() }
    }
}

impl FromColumn for String {
    const TYPES: &'static [Oid] = &[pg_sys::TEXTOID];
    unsafe fn from_column(datum: Datum) -> Self {
        // SAFETY: a text, which is copied; its header is read first.
        memory::require(unsafe { pg_sys::toast_raw_datum_size(datum) });
        // SAFETY: as above.
        unsafe { String::from_datum(datum, false) }.unwrap_or_default()
    }
}

/// A numeric as the nearest float.
pub struct Numeric(pub f64);

impl FromColumn for Numeric {
    const TYPES: &'static [Oid] = &[pg_sys::NUMERICOID];
    unsafe fn from_column(datum: Datum) -> Self {
        // SAFETY: numeric_float8 takes one numeric and returns a float8 by value.
        let float = unsafe {
            pgrx::fcinfo::direct_function_call_as_datum(pg_sys::numeric_float8, &[Some(datum)])
        };
        Self(float.map_or(f64::NAN, |float| f64::from_bits(float.value() as u64)))
    }
}

/// An element type of arrays, as `pg_type` describes it.
pub trait Element: FromColumn {
    const ARRAY: &'static [Oid];
    const TYPE: Oid;
    const LENGTH: i32;
    const BY_VALUE: bool;
    const ALIGN: u8;
}

macro_rules! elements {
    ($($type:ty, $array:ident => $oid:ident, $length:literal, $by_value:literal, $align:ident;)*) => {
        $(impl Element for $type {
            const ARRAY: &'static [Oid] = &[pg_sys::$array];
            const TYPE: Oid = pg_sys::$oid;
            const LENGTH: i32 = $length;
            const BY_VALUE: bool = $by_value;
            const ALIGN: u8 = pg_sys::$align;
        })*
    };
}

elements! {
    i16, INT2ARRAYOID => INT2OID, 2, true, TYPALIGN_SHORT;
    i64, INT8ARRAYOID => INT8OID, 8, true, TYPALIGN_DOUBLE;
    f64, FLOAT8ARRAYOID => FLOAT8OID, 8, true, TYPALIGN_DOUBLE;
    Uuid, UUIDARRAYOID => UUIDOID, 16, false, TYPALIGN_CHAR;
    String, TEXTARRAYOID => TEXTOID, -1, false, TYPALIGN_INT;
}

/// The elements of an array of any number of dimensions, flat; `None` for NULL.
///
/// # Safety
/// `datum` is an array whose element type is the one that `T` stands for.
pub(in crate::pg) unsafe fn elements<T: Element>(datum: Datum) -> Vec<Option<T>> {
    // SAFETY: as the caller says; each element is of the type.
    unsafe {
        let elements = deconstruct(datum, T::TYPE, T::LENGTH, T::BY_VALUE, T::ALIGN);
        memory::require(elements.len() * size_of::<Option<T>>());
        elements
            .into_iter()
            .map(|element| element.map(|datum| T::from_column(datum)))
            .collect()
    }
}

/// # Safety
/// `datum` is a jsonb array that lives for `'a`.
pub(in crate::pg) unsafe fn jsonb_elements<'a>(datum: Datum) -> Vec<Option<Jsonb<'a>>> {
    // SAFETY: as the caller says.
    unsafe {
        deconstruct(datum, pg_sys::JSONBOID, -1, false, pg_sys::TYPALIGN_INT)
            .into_iter()
            .map(|element| element.map(|datum| Jsonb::new(datum)))
            .collect()
    }
}

/// # Safety
/// `datum` is an array of elements of this layout.
unsafe fn deconstruct(
    datum: Datum,
    element: Oid,
    length: i32,
    by_value: bool,
    align: u8,
) -> Vec<Option<Datum>> {
    let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
    // SAFETY: PostgreSQL fills both arrays with `count` entries.
    unsafe {
        pg_sys::deconstruct_array(
            pg_sys::pg_detoast_datum(datum.cast_mut_ptr()) as *mut pg_sys::ArrayType,
            element,
            length,
            by_value,
            align as _,
            &mut values,
            &mut nulls,
            &mut count,
        );
        memory::require(count as usize * size_of::<Option<Datum>>());
        (0..count as usize)
            .map(|index| (!*nulls.add(index)).then(|| *values.add(index)))
            .collect()
    }
}

impl<T: Element> FromColumn for Vec<T> {
    const TYPES: &'static [Oid] = T::ARRAY;
    unsafe fn from_column(datum: Datum) -> Self {
        // SAFETY: as the caller says.
        unsafe { elements(datum) }.into_iter().flatten().collect()
    }
}

/// A column of a row description, from 0.
pub(in crate::pg) fn attribute(
    description: &pg_sys::TupleDescData,
    place: usize,
) -> &pg_sys::FormData_pg_attribute {
    assert!(place < description.natts as usize);
    // SAFETY: the array of full attributes has natts entries; from PostgreSQL 18 on it follows the compact ones.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        let first = description.attrs.as_ptr();
        #[cfg(feature = "pg18")]
        let first: *const pg_sys::FormData_pg_attribute = description
            .compact_attrs
            .as_ptr()
            .add(description.natts as usize)
            .cast();
        &*first.add(place)
    }
}
