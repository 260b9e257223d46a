//! NOTIFY.

use pgrx::pg_sys;

use crate::pg::datum;

/// Tells listeners when this transaction commits. PostgreSQL refuses to PREPARE a transaction that did this.
pub fn notify(channel: &str, payload: &str) {
    let args = [datum::text(channel).datum(), datum::text(payload).datum()];
    // SAFETY: the function takes two texts; it returns nothing.
    unsafe { pgrx::fcinfo::direct_function_call_as_datum(pg_sys::pg_notify, &args) };
}
