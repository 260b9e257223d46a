//! A jsonb without the values that must not be written down.

use pgrx::pg_sys::{self, Datum, JsonbIteratorToken as Token, JsonbValue, jbvType};

use super::Jsonb;

/// A copy with `mask` in place of the values whose keys are hidden, at any depth; None: it has no such key. Levels must be few.
pub fn masked<'a>(jsonb: Jsonb<'a>, hides: impl Fn(&str) -> bool, mask: &str) -> Option<Jsonb<'a>> {
    // SAFETY: a jsonb, walked by PostgreSQL's iterator, which gets its own pointer back after each step. Keys and values point into
    // the plain copy, which lives until the end of the call.
    unsafe {
        let plain = pg_sys::pg_detoast_datum(jsonb.datum.cast_mut_ptr()) as *mut pg_sys::Jsonb;
        let root = &raw mut (*plain).root;
        if !has_hidden(root, &hides) {
            return None;
        }
        let mut iterator = pg_sys::JsonbIteratorInit(root);
        let mut value = JsonbValue::default();
        let (mut state, mut result) = (std::ptr::null_mut(), std::ptr::null_mut());
        loop {
            let token = pg_sys::JsonbIteratorNext(&raw mut iterator, &raw mut value, false);
            match token {
                Token::WJB_DONE => break,
                Token::WJB_KEY if hides(key_of(&value)) => {
                    pg_sys::pushJsonbValue(&raw mut state, token, &raw mut value);
                    // The value as a whole.
                    pg_sys::JsonbIteratorNext(&raw mut iterator, &raw mut value, true);
                    let mut hidden = JsonbValue {
                        type_: jbvType::jbvString,
                        ..Default::default()
                    };
                    hidden.val.string.val = mask.as_ptr().cast_mut().cast();
                    hidden.val.string.len = mask.len() as i32;
                    pg_sys::pushJsonbValue(&raw mut state, Token::WJB_VALUE, &raw mut hidden);
                }
                Token::WJB_KEY | Token::WJB_VALUE | Token::WJB_ELEM => {
                    pg_sys::pushJsonbValue(&raw mut state, token, &raw mut value);
                }
                _ => {
                    result = pg_sys::pushJsonbValue(&raw mut state, token, std::ptr::null_mut());
                }
            }
        }
        (!result.is_null()).then(|| Jsonb::new(Datum::from(pg_sys::JsonbValueToJsonb(result))))
    }
}

/// # Safety
/// The container is that of a jsonb.
unsafe fn has_hidden(root: *mut pg_sys::JsonbContainer, hides: impl Fn(&str) -> bool) -> bool {
    // SAFETY: as in `masked`.
    unsafe {
        let mut iterator = pg_sys::JsonbIteratorInit(root);
        let mut value = JsonbValue::default();
        loop {
            match pg_sys::JsonbIteratorNext(&raw mut iterator, &raw mut value, false) {
                Token::WJB_DONE => return false,
                Token::WJB_KEY if hides(key_of(&value)) => return true,
                _ => {}
            }
        }
    }
}

/// # Safety
/// The value is a key.
unsafe fn key_of(value: &JsonbValue) -> &str {
    // SAFETY: a key is a text: a length and bytes.
    let bytes = unsafe {
        let text = value.val.string;
        std::slice::from_raw_parts(text.val as *const u8, text.len as usize)
    };
    std::str::from_utf8(bytes).unwrap_or_default()
}
