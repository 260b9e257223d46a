//! jsonb as an opaque datum: passed on, kept, or asked through PostgreSQL's own functions.

use std::marker::PhantomData;

use pgrx::pg_sys::{self, Datum};

use super::{Arg, opt};
use crate::pg::memory;

/// A jsonb that is passed on and never parsed. It lives as long as the memory it came from.
#[derive(Clone, Copy)]
pub struct Jsonb<'a> {
    pub(super) datum: Datum,
    alive: PhantomData<&'a ()>,
}

impl<'a> Jsonb<'a> {
    /// # Safety
    /// The datum is a jsonb that lives for `'a`.
    pub(in crate::pg) unsafe fn new(datum: Datum) -> Self {
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

/// A jsonb kept outside PostgreSQL's memory, for caches that outlive a transaction.
pub struct OwnedJsonb(Box<[u64]>);

impl OwnedJsonb {
    pub fn copy(jsonb: Jsonb) -> Self {
        // SAFETY: a jsonb datum is a varlena; after detoasting its header tells its whole length.
        unsafe {
            let varlena = pg_sys::pg_detoast_datum(jsonb.datum.cast_mut_ptr());
            let length = pgrx::varsize_any(varlena);
            memory::require(length);
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
    pub(in crate::pg) fn into_palloc(self) -> Datum {
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
            let text = std::ffi::CStr::from_ptr(datum.cast_mut_ptr());
            memory::require(text.count_bytes());
            let copy = text.to_string_lossy().into_owned();
            pg_sys::pfree(datum.cast_mut_ptr());
            copy
        })
    }
}

/// A jsonb from its text; the text must be valid JSON.
pub fn jsonb_from_text(json: &str) -> Option<Jsonb<'static>> {
    memory::require(json.len());
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

/// Both objects in one; a key that both have keeps the value of the second.
pub fn jsonb_concat<'a>(first: Jsonb<'a>, second: Jsonb<'a>) -> Jsonb<'a> {
    // SAFETY: the function takes two jsonbs and returns a new one.
    unsafe {
        pgrx::fcinfo::direct_function_call_as_datum(
            pg_sys::jsonb_concat,
            &[Some(first.datum), Some(second.datum)],
        )
        .map_or(second, |datum| Jsonb::new(datum))
    }
}

// The header of a jsonb container: four flag bits above a count (storage/jsonb.h).
const CONTAINER_COUNT: u32 = 0x0fff_ffff;
const CONTAINER_SCALAR: u32 = 0x1000_0000;
pub(super) const CONTAINER_OBJECT: u32 = 0x2000_0000;
pub(super) const CONTAINER_ARRAY: u32 = 0x4000_0000;

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

/// How many elements or keys the root has; a single value counts as one.
pub fn element_count(jsonb: Jsonb) -> u32 {
    container_header(jsonb) & CONTAINER_COUNT
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
