//! How deeply a document is nested. Events are read with a parser that stops at 128 levels, so what can become part of one is
//! refused where it is given.

use pgrx::pg_sys;

use super::{Jsonb, size};
use crate::error::{Error, Result};

/// Levels of objects and arrays; an event puts a document a few levels deeper.
const DEEPEST: usize = 100;
/// A level is a container with at least one entry, so a shorter document is not too deep.
const SMALLEST_LEVEL: usize = 8;

/// 22023 for a document of more levels.
pub fn require_shallow(jsonb: Jsonb, parameter: &str) -> Result<()> {
    if is_shallow(jsonb) {
        return Ok(());
    }
    Err(
        Error::parameter(format!("{parameter} is nested too deeply"))
            .detail(format!(
                "At most {DEEPEST} levels of objects and arrays are allowed."
            ))
            .hint("Give the inner part as a text."),
    )
}

/// Whether a document has no more levels.
pub fn is_shallow(jsonb: Jsonb) -> bool {
    size(jsonb) <= DEEPEST * SMALLEST_LEVEL || !is_deeper(jsonb)
}

fn is_deeper(jsonb: Jsonb) -> bool {
    let mut depth = 0;
    // SAFETY: a jsonb, and the iterator of PostgreSQL, which gets its own pointer back after each step. The plain copy lives until
    // the end of the call.
    unsafe {
        let plain = pg_sys::pg_detoast_datum(jsonb.datum.cast_mut_ptr()) as *mut pg_sys::Jsonb;
        let mut iterator = pg_sys::JsonbIteratorInit(&raw mut (*plain).root);
        let mut value = pg_sys::JsonbValue::default();
        loop {
            match pg_sys::JsonbIteratorNext(&raw mut iterator, &raw mut value, false) {
                pg_sys::JsonbIteratorToken::WJB_DONE => return false,
                pg_sys::JsonbIteratorToken::WJB_BEGIN_OBJECT
                | pg_sys::JsonbIteratorToken::WJB_BEGIN_ARRAY => {
                    depth += 1;
                    if depth > DEEPEST {
                        return true;
                    }
                }
                pg_sys::JsonbIteratorToken::WJB_END_OBJECT
                | pg_sys::JsonbIteratorToken::WJB_END_ARRAY => depth -= 1,
                _ => {}
            }
        }
    }
}
