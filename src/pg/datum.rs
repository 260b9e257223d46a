//! Values on their way into and out of SQL: arrays built in one allocation, jsonb as an opaque datum.

use std::marker::PhantomData;

use pgrx::pg_sys::{self, Datum, Oid};
use pgrx::{FromDatum, IntoDatum};

pub use super::states::{state, states};
use crate::error::{Error, Result};

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
    pub(super) fn made(datum: impl Into<Option<Datum>>, of: Oid) -> Self {
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

    /// The datum if its type is the one that is wanted; NULL is of every type.
    pub(super) fn of(&self, wanted: Oid) -> Result<Option<Datum>> {
        if self.datum.is_none() || self.of == wanted {
            return Ok(self.datum);
        }
        Err(Error::corrupt(format!(
            "a value of type {} stands where {} is wanted",
            self.of.to_u32(),
            wanted.to_u32()
        )))
    }
}

/// A value that may be missing: NULL, or what `make` makes of it.
pub fn opt<'a, T>(value: Option<T>, make: impl FnOnce(T) -> Arg<'a>) -> Arg<'a> {
    value.map_or(Arg::NULL, make)
}

/// A jsonb that is passed on and never parsed. It lives as long as the memory it came from.
#[derive(Clone, Copy)]
pub struct Jsonb<'a> {
    datum: Datum,
    alive: PhantomData<&'a ()>,
}

impl<'a> Jsonb<'a> {
    /// # Safety
    /// The datum is a jsonb that lives for `'a`.
    pub(super) unsafe fn new(datum: Datum) -> Self {
        Self {
            datum,
            alive: PhantomData,
        }
    }

    pub fn arg(self) -> Arg<'a> {
        Arg::made(self.datum, pg_sys::JSONBOID)
    }
}

/// A jsonb that may be missing.
pub fn opt_jsonb<'a>(value: Option<Jsonb<'a>>) -> Arg<'a> {
    opt(value, Jsonb::arg)
}

pub(super) fn array(
    of: Oid,
    element: Oid,
    length: i16,
    by_value: bool,
    align: u8,
    items: &mut [Datum],
) -> Arg<'static> {
    // SAFETY: `items` are valid datums of the element type; construct_array copies them.
    let array = unsafe {
        pg_sys::construct_array(
            items.as_mut_ptr(),
            items.len() as i32,
            element,
            length.into(),
            by_value,
            align as _,
        )
    };
    Arg::made(Datum::from(array), of)
}

fn nullable_array(
    of: Oid,
    element: Oid,
    length: i16,
    by_value: bool,
    align: u8,
    items: &[Arg],
) -> Arg<'static> {
    let mut nulls: Vec<bool> = items.iter().map(Arg::is_null).collect();
    let mut values: Vec<Datum> = items
        .iter()
        .map(|item| item.datum.unwrap_or(Datum::null()))
        .collect();
    let mut dims = [items.len() as i32];
    let mut lower = [1];
    // SAFETY: as above; PostgreSQL reads `dims` and `lower` for one dimension.
    let array = unsafe {
        if items.is_empty() {
            pg_sys::construct_empty_array(element)
        } else {
            pg_sys::construct_md_array(
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
                1,
                dims.as_mut_ptr(),
                lower.as_mut_ptr(),
                element,
                length.into(),
                by_value,
                align as _,
            )
        }
    };
    Arg::made(Datum::from(array), of)
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

/// A numeric of its text; NULL if that is no number.
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

/// An interval of so many microseconds, in the current memory context.
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

pub fn uuids<'a>(values: impl IntoIterator<Item = &'a Uuid>) -> Arg<'static> {
    let mut items: Vec<Datum> = values
        .into_iter()
        .map(|value| Datum::from(value.as_ptr()))
        .collect();
    array(
        pg_sys::UUIDARRAYOID,
        pg_sys::UUIDOID,
        16,
        false,
        pg_sys::TYPALIGN_CHAR,
        &mut items,
    )
}

pub fn int2s(values: impl IntoIterator<Item = i16>) -> Arg<'static> {
    let mut items: Vec<Datum> = values.into_iter().map(Datum::from).collect();
    array(
        pg_sys::INT2ARRAYOID,
        pg_sys::INT2OID,
        2,
        true,
        pg_sys::TYPALIGN_SHORT,
        &mut items,
    )
}

pub fn int4s(values: impl IntoIterator<Item = i32>) -> Arg<'static> {
    let mut items: Vec<Datum> = values.into_iter().map(Datum::from).collect();
    array(
        pg_sys::INT4ARRAYOID,
        pg_sys::INT4OID,
        4,
        true,
        pg_sys::TYPALIGN_INT,
        &mut items,
    )
}

pub fn int8s(values: impl IntoIterator<Item = i64>) -> Arg<'static> {
    let mut items: Vec<Datum> = values.into_iter().map(Datum::from).collect();
    array(
        pg_sys::INT8ARRAYOID,
        pg_sys::INT8OID,
        8,
        true,
        pg_sys::TYPALIGN_DOUBLE,
        &mut items,
    )
}

pub fn booleans(values: impl IntoIterator<Item = bool>) -> Arg<'static> {
    let mut items: Vec<Datum> = values.into_iter().map(Datum::from).collect();
    array(
        pg_sys::BOOLARRAYOID,
        pg_sys::BOOLOID,
        1,
        true,
        pg_sys::TYPALIGN_CHAR,
        &mut items,
    )
}

pub fn timestamps(values: impl IntoIterator<Item = Option<Timestamp>>) -> Arg<'static> {
    let items: Vec<Arg> = values
        .into_iter()
        .map(|value| opt(value, timestamp))
        .collect();
    nullable_array(
        pg_sys::TIMESTAMPTZARRAYOID,
        pg_sys::TIMESTAMPTZOID,
        8,
        true,
        pg_sys::TYPALIGN_DOUBLE,
        &items,
    )
}

pub fn texts<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> Arg<'static> {
    let items: Vec<Arg> = values.into_iter().map(opt_text).collect();
    nullable_array(
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTOID,
        -1,
        false,
        pg_sys::TYPALIGN_INT,
        &items,
    )
}

pub fn jsonbs<'a>(values: impl IntoIterator<Item = Option<Jsonb<'a>>>) -> Arg<'static> {
    let items: Vec<Arg> = values.into_iter().map(opt_jsonb).collect();
    nullable_array(
        pg_sys::JSONBARRAYOID,
        pg_sys::JSONBOID,
        -1,
        false,
        pg_sys::TYPALIGN_INT,
        &items,
    )
}

pub fn tids(values: impl IntoIterator<Item = pg_sys::ItemPointerData>) -> Arg<'static> {
    let values: Vec<pg_sys::ItemPointerData> = values.into_iter().collect();
    let mut items: Vec<Datum> = values
        .iter()
        .map(|tid| Datum::from(tid as *const _))
        .collect();
    array(
        pg_sys::TIDARRAYOID,
        pg_sys::TIDOID,
        6,
        false,
        pg_sys::TYPALIGN_SHORT,
        &mut items,
    )
}

/// What a column or parameter can be read as.
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
        // SAFETY: a text, which is copied.
        unsafe { String::from_datum(datum, false) }.unwrap_or_default()
    }
}

/// A numeric, as near as a float comes to it.
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

/// What an array can hold: its element type as `pg_type` describes it.
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
pub(super) unsafe fn elements<T: Element>(datum: Datum) -> Vec<Option<T>> {
    // SAFETY: as the caller says; each element is of the type.
    unsafe {
        deconstruct(datum, T::TYPE, T::LENGTH, T::BY_VALUE, T::ALIGN)
            .into_iter()
            .map(|element| element.map(|datum| T::from_column(datum)))
            .collect()
    }
}

/// # Safety
/// `datum` is a jsonb array that lives for `'a`.
pub(super) unsafe fn jsonb_elements<'a>(datum: Datum) -> Vec<Option<Jsonb<'a>>> {
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

/// A jsonb kept outside PostgreSQL's memory, for caches that outlive a transaction.
pub struct OwnedJsonb(Box<[u64]>);

impl OwnedJsonb {
    pub fn copy(jsonb: Jsonb) -> Self {
        // SAFETY: a jsonb datum is a varlena; after detoasting its header tells its whole length.
        unsafe {
            let varlena = pg_sys::pg_detoast_datum(jsonb.datum.cast_mut_ptr());
            let length = pgrx::varsize_any(varlena);
            let mut words = vec![0u64; length.div_ceil(8)].into_boxed_slice();
            std::ptr::copy_nonoverlapping(
                varlena as *const u8,
                words.as_mut_ptr() as *mut u8,
                length,
            );
            Self(words)
        }
    }

    pub fn as_jsonb(&self) -> Jsonb<'_> {
        // SAFETY: a copy of a jsonb, which is borrowed.
        unsafe { Jsonb::new(Datum::from(self.0.as_ptr())) }
    }

    /// A copy in the current memory context.
    pub(super) fn into_palloc(self) -> Datum {
        // SAFETY: palloc returns that many writable bytes or raises.
        unsafe {
            let bytes = self.0.len() * 8;
            let copy = pg_sys::palloc(bytes) as *mut u8;
            std::ptr::copy_nonoverlapping(self.0.as_ptr() as *const u8, copy, bytes);
            Datum::from(copy)
        }
    }
}

/// The text of a jsonb, as PostgreSQL prints it: numbers stay exact.
pub fn jsonb_text(jsonb: Jsonb) -> String {
    // SAFETY: jsonb_out takes one jsonb and returns a NUL-terminated string in the server's encoding.
    unsafe {
        let printed =
            pgrx::fcinfo::direct_function_call_as_datum(pg_sys::jsonb_out, &[Some(jsonb.datum)]);
        printed.map_or_else(String::new, |datum| {
            std::ffi::CStr::from_ptr(datum.cast_mut_ptr())
                .to_string_lossy()
                .into_owned()
        })
    }
}

/// A jsonb from its text; the text must be valid JSON.
pub fn jsonb_from_text(json: &str) -> Option<Jsonb<'static>> {
    let text = std::ffi::CString::new(json).ok()?;
    // SAFETY: jsonb_in takes one NUL-terminated string.
    unsafe {
        pgrx::fcinfo::direct_function_call_as_datum(
            pg_sys::jsonb_in,
            &[Some(Datum::from(text.as_ptr()))],
        )
        .map(|datum| Jsonb::new(datum))
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

// The header of a jsonb container: four flag bits above a count (storage/jsonb.h).
const CONTAINER_COUNT: u32 = 0x0fff_ffff;
const CONTAINER_SCALAR: u32 = 0x1000_0000;
const CONTAINER_OBJECT: u32 = 0x2000_0000;
const CONTAINER_ARRAY: u32 = 0x4000_0000;

fn container_header(jsonb: Jsonb) -> u32 {
    // SAFETY: a jsonb is a varlena whose data begin with the container's header; detoasting makes it plain.
    unsafe {
        let varlena = pg_sys::pg_detoast_datum(jsonb.datum.cast_mut_ptr());
        *(pgrx::vardata_any(varlena) as *const u32)
    }
}

/// Whether the root of the document is an object; only the header is read.
pub fn is_object(jsonb: Jsonb) -> bool {
    container_header(jsonb) & CONTAINER_OBJECT != 0
}

/// Whether the root of the document is an array.
pub fn is_array(jsonb: Jsonb) -> bool {
    let header = container_header(jsonb);
    header & CONTAINER_ARRAY != 0 && header & CONTAINER_SCALAR == 0
}

/// How many elements or keys the root has.
pub fn element_count(jsonb: Jsonb) -> u32 {
    container_header(jsonb) & CONTAINER_COUNT
}

/// The array literal of these numbers: SQL has no arrays of arrays of different lengths.
pub fn array_literal(numbers: &[i16]) -> String {
    let numbers: Vec<String> = numbers.iter().map(i16::to_string).collect();
    format!("{{{}}}", numbers.join(","))
}

/// The element of an array at this place, from 0.
pub fn array_element<'a>(array: Jsonb<'a>, index: usize) -> Option<Jsonb<'a>> {
    // SAFETY: the function takes a jsonb and an integer.
    unsafe {
        pgrx::fcinfo::direct_function_call_as_datum(
            pg_sys::jsonb_array_element,
            &[Some(array.datum), Some(Datum::from(index as i32))],
        )
        .map(|datum| Jsonb::new(datum))
    }
}

/// The value under a key of an object as text; `None` for JSON null, a missing key, and anything but an object.
pub fn field_text(object: Jsonb, key: Arg) -> Option<String> {
    // SAFETY: the function takes a jsonb and a text, and returns a text.
    unsafe {
        pgrx::fcinfo::direct_function_call_as_datum(
            pg_sys::jsonb_object_field_text,
            &[Some(object.datum), key.datum],
        )
        .map(|datum| String::from_column(datum))
    }
}

/// The value under a key of an object; `None` as in [`field_text`].
pub fn field<'a>(object: Jsonb<'a>, key: Arg) -> Option<Jsonb<'a>> {
    // SAFETY: the function takes a jsonb and a text, and returns a jsonb.
    let value = unsafe {
        pgrx::fcinfo::direct_function_call_as_datum(
            pg_sys::jsonb_object_field,
            &[Some(object.datum), key.datum],
        )
        .map(|datum| Jsonb::new(datum))
    }?;
    (!is_null(value)).then_some(value)
}

/// Whether the document is the JSON null.
fn is_null(jsonb: Jsonb) -> bool {
    // The only element of a scalar's pseudo-array says its type in its entry behind the header.
    const ENTRY_TYPE: u32 = 0x7000_0000;
    const ENTRY_NULL: u32 = 0x4000_0000;
    if container_header(jsonb) & CONTAINER_SCALAR == 0 {
        return false;
    }
    // SAFETY: a scalar document has one entry after its header.
    unsafe {
        let varlena = pg_sys::pg_detoast_datum(jsonb.datum.cast_mut_ptr());
        *(pgrx::vardata_any(varlena) as *const u32).add(1) & ENTRY_TYPE == ENTRY_NULL
    }
}
