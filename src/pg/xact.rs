//! The state of the transaction, and callbacks for its commit, its end and the end of savepoints.

use std::ffi::c_void;

use pgrx::pg_sys;

/// How a transaction ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    Commit,
    /// Another session may commit it or not.
    Prepare,
    Abort,
}

/// How a savepoint ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SavepointEnd {
    Release,
    Rollback,
}

/// Registers a body for the end of each transaction of this backend. The end cannot be undone, so the body must
/// raise no error and run no SQL.
pub fn at_each_end(body: fn(End)) {
    // SAFETY: the callback lives as long as the backend; its argument is the body.
    unsafe { pg_sys::RegisterXactCallback(Some(transaction_ends), body as *mut c_void) };
}

/// Registers a body that runs just before each commit of this backend, but not before PREPARE. An error undoes the transaction; the
/// body must run no SQL.
pub fn before_each_commit(body: fn()) {
    // SAFETY: as above.
    unsafe { pg_sys::RegisterXactCallback(Some(commit_begins), body as *mut c_void) };
}

/// Registers a body for the end of each savepoint. It gets the level, which is still the current one.
pub fn at_each_savepoint(body: fn(SavepointEnd, i32)) {
    // SAFETY: as above.
    unsafe { pg_sys::RegisterSubXactCallback(Some(savepoint_ends), body as *mut c_void) };
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn transaction_ends(event: pg_sys::XactEvent::Type, body: *mut c_void) {
    let end = match event {
        pg_sys::XactEvent::XACT_EVENT_COMMIT => End::Commit,
        pg_sys::XactEvent::XACT_EVENT_PREPARE => End::Prepare,
        pg_sys::XactEvent::XACT_EVENT_ABORT => End::Abort,
        _ => return,
    };
    // SAFETY: at_each_end gave a function of this type.
    let body = unsafe { std::mem::transmute::<*mut c_void, fn(End)>(body) };
    body(end);
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn commit_begins(event: pg_sys::XactEvent::Type, body: *mut c_void) {
    if event == pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT {
        // SAFETY: before_each_commit gave a function of this type.
        let body = unsafe { std::mem::transmute::<*mut c_void, fn()>(body) };
        body();
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn savepoint_ends(
    event: pg_sys::SubXactEvent::Type,
    _mine: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    body: *mut c_void,
) {
    let end = match event {
        pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => SavepointEnd::Release,
        pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => SavepointEnd::Rollback,
        _ => return,
    };
    // SAFETY: at_each_savepoint gave a function of this type.
    let body = unsafe { std::mem::transmute::<*mut c_void, fn(SavepointEnd, i32)>(body) };
    body(end, level());
}

/// The level of savepoints: 1 is the transaction itself.
pub fn level() -> i32 {
    // SAFETY: plain call.
    unsafe { pg_sys::GetCurrentTransactionNestLevel() }
}

/// The id of the transaction, not of a savepoint in it; assigns one if it has none yet, as an insert does.
pub fn id() -> u64 {
    // SAFETY: plain call.
    unsafe { pg_sys::GetTopFullTransactionId() }.value
}

/// The id that the next transaction will have; on a standby, as far as it knows.
pub fn next_id() -> u64 {
    // SAFETY: plain call.
    unsafe { pg_sys::ReadNextFullTransactionId() }.value
}

/// Whether the id is that of this transaction or of a savepoint in it.
pub fn is_own(xid: u32) -> bool {
    // SAFETY: plain call; any id may be asked for.
    unsafe { pg_sys::TransactionIdIsCurrentTransactionId(xid.into()) }
}

/// The short id of the transaction; 0 if it has none.
pub fn top_xid() -> u32 {
    // SAFETY: plain call.
    unsafe { pg_sys::GetTopTransactionIdIfAny() }.into()
}

/// Whether a transaction has not ended; one that is prepared has not.
pub fn is_in_progress(xid: u32) -> bool {
    // SAFETY: plain call; any id may be asked for.
    unsafe { pg_sys::TransactionIdIsInProgress(xid.into()) }
}
