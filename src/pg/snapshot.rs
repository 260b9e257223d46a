//! Snapshots.

use pgrx::pg_sys;

use crate::error::Result;

/// Runs the body with one snapshot for all that it reads: the latest, under READ COMMITTED. Statements that a VOLATILE function runs
/// have one each, and those of `Session::read` otherwise that of the calling query, which can be older than what the call has locked.
pub fn with_latest<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: as PostgreSQL does it around a command; an error aborts the transaction, which removes the snapshot.
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let outcome = body();
        pg_sys::PopActiveSnapshot();
        outcome
    }
}

/// The same with what is committed now, under every isolation level: for what is no data of the transaction. While a query runs in parallel
/// no snapshot can be taken; then it is that of the query, and false.
pub fn with_newest<T>(body: impl FnOnce(bool) -> Result<T>) -> Result<T> {
    // SAFETY: as above.
    unsafe {
        if pg_sys::IsInParallelMode() {
            return body(false);
        }
        pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
        let outcome = body(true);
        pg_sys::PopActiveSnapshot();
        outcome
    }
}
