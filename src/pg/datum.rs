//! Values on their way into and out of SQL: arrays built in one allocation, jsonb as an opaque datum.

use pgrx::pg_sys::{self, Datum, Oid};
use pgrx::{FromDatum, IntoDatum};

/// A uuid as its sixteen bytes, in the order PostgreSQL stores and compares them.
pub type Uuid = [u8; 16];

/// A `timestamptz`: microseconds since 2000-01-01 UTC.
pub type Timestamp = i64;

/// One argument of a statement; `None` is NULL.
pub type Arg = Option<Datum>;

/// A jsonb that is passed on and never parsed. It lives as long as the memory it came from.
#[derive(Clone, Copy)]
pub struct Jsonb(pub Datum);

fn array(element: Oid, length: i16, by_value: bool, align: u8, items: &mut [Datum]) -> Arg {
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
    Some(Datum::from(array))
}

fn nullable_array(element: Oid, length: i16, by_value: bool, align: u8, items: &[Arg]) -> Arg {
    let mut nulls: Vec<bool> = items.iter().map(Option::is_none).collect();
    let mut values: Vec<Datum> = items
        .iter()
        .map(|item| item.unwrap_or(Datum::null()))
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
    Some(Datum::from(array))
}

pub fn uuid(value: &Uuid) -> Arg {
    Some(Datum::from(value.as_ptr()))
}

pub fn text(value: &str) -> Arg {
    value.into_datum()
}

pub fn opt_text(value: Option<&str>) -> Arg {
    value.and_then(|value| value.into_datum())
}

pub fn int2(value: i16) -> Arg {
    Some(Datum::from(value))
}

pub fn int4(value: i32) -> Arg {
    Some(Datum::from(value))
}

pub fn oid(value: Oid) -> Arg {
    Some(Datum::from(value))
}

pub fn int8(value: i64) -> Arg {
    Some(Datum::from(value))
}

pub fn float8(value: f64) -> Arg {
    value.into_datum()
}

pub fn boolean(value: bool) -> Arg {
    Some(Datum::from(value))
}

/// The one-byte `"char"` of a state column; 0 is NULL.
pub fn state(code: u8) -> Arg {
    (code != 0).then(|| Datum::from(code as i8))
}

pub fn timestamp(value: Timestamp) -> Arg {
    Some(Datum::from(value))
}

/// An interval of so many microseconds, in the current memory context.
pub fn interval(microseconds: i64) -> Arg {
    // SAFETY: palloc returns room for an interval or raises.
    unsafe {
        let interval = pg_sys::palloc(size_of::<pg_sys::Interval>()) as *mut pg_sys::Interval;
        *interval = pg_sys::Interval {
            time: microseconds,
            day: 0,
            month: 0,
        };
        Some(Datum::from(interval))
    }
}

pub fn uuids<'a>(values: impl IntoIterator<Item = &'a Uuid>) -> Arg {
    let mut items: Vec<Datum> = values
        .into_iter()
        .map(|value| Datum::from(value.as_ptr()))
        .collect();
    array(
        pg_sys::UUIDOID,
        16,
        false,
        pg_sys::TYPALIGN_CHAR,
        &mut items,
    )
}

pub fn int2s(values: impl IntoIterator<Item = i16>) -> Arg {
    let mut items: Vec<Datum> = values.into_iter().map(Datum::from).collect();
    array(pg_sys::INT2OID, 2, true, pg_sys::TYPALIGN_SHORT, &mut items)
}

pub fn int4s(values: impl IntoIterator<Item = i32>) -> Arg {
    let mut items: Vec<Datum> = values.into_iter().map(Datum::from).collect();
    array(pg_sys::INT4OID, 4, true, pg_sys::TYPALIGN_INT, &mut items)
}

pub fn int8s(values: impl IntoIterator<Item = i64>) -> Arg {
    let mut items: Vec<Datum> = values.into_iter().map(Datum::from).collect();
    array(
        pg_sys::INT8OID,
        8,
        true,
        pg_sys::TYPALIGN_DOUBLE,
        &mut items,
    )
}

pub fn chars(values: impl IntoIterator<Item = u8>) -> Arg {
    let mut items: Vec<Datum> = values
        .into_iter()
        .map(|value| Datum::from(value as i8))
        .collect();
    array(pg_sys::CHAROID, 1, true, pg_sys::TYPALIGN_CHAR, &mut items)
}

pub fn booleans(values: impl IntoIterator<Item = bool>) -> Arg {
    let mut items: Vec<Datum> = values.into_iter().map(Datum::from).collect();
    array(pg_sys::BOOLOID, 1, true, pg_sys::TYPALIGN_CHAR, &mut items)
}

pub fn timestamps(values: impl IntoIterator<Item = Option<Timestamp>>) -> Arg {
    let items: Vec<Arg> = values
        .into_iter()
        .map(|value| value.map(Datum::from))
        .collect();
    nullable_array(
        pg_sys::TIMESTAMPTZOID,
        8,
        true,
        pg_sys::TYPALIGN_DOUBLE,
        &items,
    )
}

pub fn texts<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> Arg {
    let items: Vec<Arg> = values.into_iter().map(opt_text).collect();
    nullable_array(pg_sys::TEXTOID, -1, false, pg_sys::TYPALIGN_INT, &items)
}

pub fn jsonbs(values: impl IntoIterator<Item = Option<Jsonb>>) -> Arg {
    let items: Vec<Arg> = values
        .into_iter()
        .map(|value| value.map(|jsonb| jsonb.0))
        .collect();
    nullable_array(pg_sys::JSONBOID, -1, false, pg_sys::TYPALIGN_INT, &items)
}

pub fn tids(values: impl IntoIterator<Item = pg_sys::ItemPointerData>) -> Arg {
    let values: Vec<pg_sys::ItemPointerData> = values.into_iter().collect();
    let mut items: Vec<Datum> = values
        .iter()
        .map(|tid| Datum::from(tid as *const _))
        .collect();
    array(pg_sys::TIDOID, 6, false, pg_sys::TYPALIGN_SHORT, &mut items)
}

/// What a column or parameter can be read as.
pub trait FromColumn: Sized {
    /// # Safety
    /// `datum` is a non-null value of the SQL type that `Self` stands for.
    unsafe fn from_column(datum: Datum) -> Self;
}

macro_rules! by_value {
    ($($type:ty => |$datum:ident| $read:expr),* $(,)?) => {
        $(impl FromColumn for $type {
            unsafe fn from_column($datum: Datum) -> Self { $read }
        })*
    };
}

by_value! {
    i16 => |datum| datum.value() as i16,
    i32 => |datum| datum.value() as i32,
    i64 => |datum| datum.value() as i64,
    f64 => |datum| f64::from_bits(datum.value() as u64),
    u8 => |datum| datum.value() as u8,
    bool => |datum| datum.value() & 0xff != 0,
    Oid => |datum| Oid::from(datum.value() as u32),
    Jsonb => |datum| Jsonb(datum),
}

impl FromColumn for Uuid {
    unsafe fn from_column(datum: Datum) -> Self {
        unsafe { *datum.cast_mut_ptr::<Uuid>() }
    }
}

impl FromColumn for pg_sys::ItemPointerData {
    unsafe fn from_column(datum: Datum) -> Self {
        unsafe { *datum.cast_mut_ptr::<pg_sys::ItemPointerData>() }
    }
}

impl FromColumn for String {
    unsafe fn from_column(datum: Datum) -> Self {
        unsafe { String::from_datum(datum, false) }.unwrap_or_default()
    }
}

/// What an array can hold: its element type as `pg_type` describes it.
pub trait Element: FromColumn {
    const TYPE: Oid;
    const LENGTH: i32;
    const BY_VALUE: bool;
    const ALIGN: u8;
}

macro_rules! elements {
    ($($type:ty => $oid:ident, $length:literal, $by_value:literal, $align:ident;)*) => {
        $(impl Element for $type {
            const TYPE: Oid = pg_sys::$oid;
            const LENGTH: i32 = $length;
            const BY_VALUE: bool = $by_value;
            const ALIGN: u8 = pg_sys::$align;
        })*
    };
}

elements! {
    i16 => INT2OID, 2, true, TYPALIGN_SHORT;
    i64 => INT8OID, 8, true, TYPALIGN_DOUBLE;
    f64 => FLOAT8OID, 8, true, TYPALIGN_DOUBLE;
    Uuid => UUIDOID, 16, false, TYPALIGN_CHAR;
    String => TEXTOID, -1, false, TYPALIGN_INT;
    Jsonb => JSONBOID, -1, false, TYPALIGN_INT;
}

/// The elements of an array of any number of dimensions, flat; `None` for NULL.
///
/// # Safety
/// `datum` is an array whose element type is the one that `T` stands for.
pub unsafe fn elements<T: Element>(datum: Datum) -> Vec<Option<T>> {
    let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
    unsafe {
        pg_sys::deconstruct_array(
            pg_sys::pg_detoast_datum(datum.cast_mut_ptr()) as *mut pg_sys::ArrayType,
            T::TYPE,
            T::LENGTH,
            T::BY_VALUE,
            T::ALIGN as _,
            &mut values,
            &mut nulls,
            &mut count,
        );
        (0..count as usize)
            .map(|index| (!*nulls.add(index)).then(|| T::from_column(*values.add(index))))
            .collect()
    }
}

impl<T: Element> FromColumn for Vec<T> {
    unsafe fn from_column(datum: Datum) -> Self {
        unsafe { elements(datum) }.into_iter().flatten().collect()
    }
}

/// A jsonb kept outside PostgreSQL's memory, for caches that outlive a transaction.
pub struct OwnedJsonb(Box<[u64]>);

impl OwnedJsonb {
    pub fn copy(jsonb: Jsonb) -> Self {
        // SAFETY: a jsonb datum is a varlena; after detoasting its header tells its whole length.
        unsafe {
            let varlena = pg_sys::pg_detoast_datum(jsonb.0.cast_mut_ptr());
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

    pub fn as_jsonb(&self) -> Jsonb {
        Jsonb(Datum::from(self.0.as_ptr()))
    }

    /// A copy in the current memory context.
    pub fn into_palloc(self) -> Datum {
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
            pgrx::fcinfo::direct_function_call_as_datum(pg_sys::jsonb_out, &[Some(jsonb.0)]);
        printed.map_or_else(String::new, |datum| {
            std::ffi::CStr::from_ptr(datum.cast_mut_ptr())
                .to_string_lossy()
                .into_owned()
        })
    }
}

/// A jsonb from its text; the text must be valid JSON.
pub fn jsonb_from_text(json: &str) -> Option<Jsonb> {
    let text = std::ffi::CString::new(json).ok()?;
    // SAFETY: jsonb_in takes one NUL-terminated string.
    unsafe {
        pgrx::fcinfo::direct_function_call_as_datum(
            pg_sys::jsonb_in,
            &[Some(Datum::from(text.as_ptr()))],
        )
        .map(Jsonb)
    }
}

/// A uuid copied into the current memory context, for rows that are put together before they are handed out.
pub fn copy_uuid(value: &Uuid) -> Arg {
    // SAFETY: palloc returns 16 writable bytes or raises.
    unsafe {
        let copy = pg_sys::palloc(16) as *mut Uuid;
        *copy = *value;
        Some(Datum::from(copy))
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
        let varlena = pg_sys::pg_detoast_datum(jsonb.0.cast_mut_ptr());
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
pub fn array_element(array: Jsonb, index: usize) -> Option<Jsonb> {
    // SAFETY: the function takes a jsonb and an integer.
    unsafe {
        pgrx::fcinfo::direct_function_call_as_datum(
            pg_sys::jsonb_array_element,
            &[Some(array.0), int4(index as i32)],
        )
    }
    .map(Jsonb)
}

/// The value under a key of an object as text; `None` for JSON null, a missing key, and anything but an object.
pub fn field_text(object: Jsonb, key: Arg) -> Option<String> {
    // SAFETY: the function takes a jsonb and a text, and returns a text.
    unsafe {
        pgrx::fcinfo::direct_function_call_as_datum(
            pg_sys::jsonb_object_field_text,
            &[Some(object.0), key],
        )
        .map(|datum| String::from_column(datum))
    }
}

/// The value under a key of an object; `None` as in [`field_text`].
pub fn field(object: Jsonb, key: Arg) -> Option<Jsonb> {
    // SAFETY: the function takes a jsonb and a text, and returns a jsonb.
    let value = unsafe {
        pgrx::fcinfo::direct_function_call_as_datum(
            pg_sys::jsonb_object_field,
            &[Some(object.0), key],
        )
    }
    .map(Jsonb)?;
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
        let varlena = pg_sys::pg_detoast_datum(jsonb.0.cast_mut_ptr());
        *(pgrx::vardata_any(varlena) as *const u32).add(1) & ENTRY_TYPE == ENTRY_NULL
    }
}
