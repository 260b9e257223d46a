//! The fields of a jsonb object with their types, read where they are.

use std::ffi::CStr;
use std::marker::PhantomData;

use pgrx::pg_sys::{self, Datum, jbvType};

use super::jsonb::{is_array, is_object, jsonb_text};
use super::{Jsonb, element_count};

/// An object, in plain memory that lives as long as the document.
pub struct Object<'a> {
    container: *mut pg_sys::JsonbContainer,
    len: usize,
    alive: PhantomData<&'a ()>,
}

/// The value of a field.
#[derive(Clone, Copy)]
pub struct Field<'a> {
    value: pg_sys::JsonbValue,
    alive: PhantomData<&'a ()>,
}

impl<'a> Object<'a> {
    /// `None`: an array or a single value.
    pub fn of(jsonb: Jsonb<'a>) -> Option<Self> {
        if !is_object(jsonb) {
            return None;
        }
        // SAFETY: a jsonb is a varlena whose data are the container; a plain one is not copied.
        let container = unsafe {
            let plain = pg_sys::pg_detoast_datum(jsonb.datum.cast_mut_ptr());
            pgrx::vardata_any(plain).cast_mut().cast()
        };
        Some(Self {
            container,
            len: element_count(jsonb) as usize,
            alive: PhantomData,
        })
    }

    /// How many fields it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// `None`: it has no such key.
    pub fn get(&self, key: &str) -> Option<Field<'a>> {
        // SAFETY: the search fills the value, which points into the container.
        unsafe {
            let mut value: pg_sys::JsonbValue = std::mem::zeroed();
            let found = pg_sys::getKeyJsonValueFromContainer(
                self.container,
                key.as_ptr().cast(),
                key.len() as i32,
                &mut value,
            );
            (!found.is_null()).then_some(Field {
                value,
                alive: PhantomData,
            })
        }
    }

    /// Its keys, as jsonb sorts them.
    pub fn keys(&self) -> impl Iterator<Item = &'a str> {
        const LENGTH: u32 = 0x0fff_ffff;
        const HAS_OFFSET: u32 = 0x8000_0000;
        let (container, len) = (self.container as *const u32, self.len);
        let mut from = 0_usize;
        // SAFETY: the layout is that of utils/jsonb.h: a header, an entry for each key and then for each value, then their bytes in
        // the same order. An entry has the length or the end.
        (0..len).map(move |index| unsafe {
            let entry = *container.add(1 + index);
            let number = (entry & LENGTH) as usize;
            let to = if entry & HAS_OFFSET == 0 {
                from + number
            } else {
                number
            };
            let bytes = (container.add(1 + 2 * len) as *const u8).add(from);
            let key = std::slice::from_raw_parts(bytes, to - from);
            from = to;
            std::str::from_utf8(key).unwrap_or_default()
        })
    }
}

/// The elements of an array; of anything else none.
pub fn array_fields<'a>(jsonb: Jsonb<'a>) -> impl Iterator<Item = Field<'a>> {
    let count = if is_array(jsonb) {
        element_count(jsonb)
    } else {
        0
    };
    first_fields(jsonb, count)
}

/// The document itself as a value, if it is no array.
pub fn field_of<'a>(jsonb: Jsonb<'a>) -> Option<Field<'a>> {
    if !is_object(jsonb) {
        return first_fields(jsonb, 1).next();
    }
    // SAFETY: as in `Object::of`; the value points to the document.
    unsafe {
        let plain = pg_sys::pg_detoast_datum(jsonb.datum.cast_mut_ptr());
        let mut value: pg_sys::JsonbValue = std::mem::zeroed();
        pg_sys::JsonbToJsonbValue(plain.cast(), &mut value);
        Some(Field {
            value,
            alive: PhantomData,
        })
    }
}

/// The texts among the elements of an array, or the text that the document is.
pub fn texts_of<'a>(jsonb: Jsonb<'a>) -> impl Iterator<Item = &'a str> {
    let count = if is_object(jsonb) {
        0
    } else {
        element_count(jsonb)
    };
    first_fields(jsonb, count).filter_map(|field| field.as_str())
}

/// A single value is stored as an array of one.
fn first_fields<'a>(jsonb: Jsonb<'a>, count: u32) -> impl Iterator<Item = Field<'a>> {
    // SAFETY: as in `Object::of`.
    let container: *mut pg_sys::JsonbContainer = unsafe {
        let plain = pg_sys::pg_detoast_datum(jsonb.datum.cast_mut_ptr());
        pgrx::vardata_any(plain).cast_mut().cast()
    };
    // SAFETY: the function returns a value that points into the container, in memory of its own.
    (0..count).map_while(move |index| unsafe {
        let found = pg_sys::getIthJsonbValueFromContainer(container, index);
        let value = *found.as_ref()?;
        pg_sys::pfree(found.cast());
        Some(Field {
            value,
            alive: PhantomData,
        })
    })
}

impl<'a> Field<'a> {
    pub fn is_null(&self) -> bool {
        self.value.type_ == jbvType::jbvNull
    }

    /// A text; `None` for anything else.
    pub fn as_str(&self) -> Option<&'a str> {
        if self.value.type_ != jbvType::jbvString {
            return None;
        }
        // SAFETY: a text has a length and bytes, in the encoding of the database.
        let bytes = unsafe {
            let text = self.value.val.string;
            std::slice::from_raw_parts(text.val as *const u8, text.len as usize)
        };
        std::str::from_utf8(bytes).ok()
    }

    /// true or false; `None` for anything else.
    pub fn as_bool(&self) -> Option<bool> {
        if self.value.type_ != jbvType::jbvBool {
            return None;
        }
        // SAFETY: the type says which member is set.
        Some(unsafe { self.value.val.boolean })
    }

    /// A number as text, without an exponent; `None` for anything else.
    pub fn as_number(&self) -> Option<String> {
        if self.value.type_ != jbvType::jbvNumeric {
            return None;
        }
        // SAFETY: a numeric; the function returns a text that ends with NUL.
        unsafe {
            let numeric = Datum::from(self.value.val.numeric);
            let text =
                pgrx::fcinfo::direct_function_call_as_datum(pg_sys::numeric_out, &[Some(numeric)])?;
            let text = CStr::from_ptr(text.cast_mut_ptr());
            Some(text.to_string_lossy().into_owned())
        }
    }

    /// A copy of the value as a document of its own.
    pub fn to_jsonb(self) -> Jsonb<'a> {
        let mut value = self.value;
        // SAFETY: the value points into the object, which lives.
        unsafe { Jsonb::new(Datum::from(pg_sys::JsonbValueToJsonb(&mut value))) }
    }

    /// What it says, as `->>` does.
    pub fn to_text(self) -> String {
        self.as_str()
            .map_or_else(|| jsonb_text(self.to_jsonb()), str::to_owned)
    }
}
