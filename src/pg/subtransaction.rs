//! A part of a call that may fail while the call goes on.

use std::panic::AssertUnwindSafe;

use pgrx::{PgTryBuilder, pg_sys};

use super::process::describe;
use crate::error::{Error, Result};

/// Runs the body in a subtransaction. An error undoes what the body did and is returned; a cancel of the call and the end of the
/// session are not errors here. It costs a transaction id: for what happens rarely, and never once per step.
pub fn attempt<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: as in PL/pgSQL, memory and resources around the subtransaction are current again inside it and after it.
    let (memory, owner) = unsafe {
        let (memory, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::CurrentMemoryContext = memory;
        (memory, owner)
    };
    let outcome = PgTryBuilder::new(AssertUnwindSafe(|| Ok(body())))
        .catch_others(|cause| Err(Box::new(cause)))
        .execute();
    // SAFETY: ends the subtransaction that was begun above, which is the innermost one again. Whatever has happened: a session in which
    // one is left refuses every later statement.
    unsafe {
        if matches!(outcome, Ok(Ok(_))) {
            pg_sys::ReleaseCurrentSubTransaction();
        } else {
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
        }
        pg_sys::CurrentMemoryContext = memory;
        pg_sys::CurrentResourceOwner = owner;
    }
    match outcome {
        Ok(result) => result,
        Err(cause) => match describe(&cause) {
            error if is_intervention(&error) => cause.rethrow(),
            error => Err(error),
        },
    }
}

/// Class 57: canceled, or the session or the server is to end.
fn is_intervention(error: &Error) -> bool {
    error.sqlstate().starts_with("57")
}
