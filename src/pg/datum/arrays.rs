//! Arrays, built in one allocation.

use pgrx::pg_sys::{self, Datum, Oid};

use super::{Arg, Jsonb, Timestamp, Uuid, int4, opt, opt_jsonb, opt_text, timestamp};

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

pub fn xid8s(values: impl IntoIterator<Item = u64>) -> Arg<'static> {
    let mut items: Vec<Datum> = values.into_iter().map(Datum::from).collect();
    array(
        pg_sys::XID8ARRAYOID,
        pg_sys::XID8OID,
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

pub fn opt_int4s(values: impl IntoIterator<Item = Option<i32>>) -> Arg<'static> {
    let items: Vec<Arg> = values.into_iter().map(|value| opt(value, int4)).collect();
    nullable_array(
        pg_sys::INT4ARRAYOID,
        pg_sys::INT4OID,
        4,
        true,
        pg_sys::TYPALIGN_INT,
        &items,
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

/// The array literal of these numbers: SQL has no arrays of arrays of different lengths.
pub fn array_literal(numbers: &[i16]) -> String {
    let numbers: Vec<String> = numbers.iter().map(i16::to_string).collect();
    format!("{{{}}}", numbers.join(","))
}
