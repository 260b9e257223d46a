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
