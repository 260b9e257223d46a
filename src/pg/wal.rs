//! The write-ahead log.

use std::mem::size_of;

use pgrx::pg_sys;

const PAGE: u64 = pg_sys::XLOG_BLCKSZ as u64;

/// Waits until a crash undoes nothing of what every session has done so far. Also what was rolled back counts: without its record a
/// crash gives its transaction id to another transaction. What a standby shows is safe.
pub fn flush() {
    // SAFETY: plain calls; XLogFlush must not be asked for more than was written, which `end_of_last` sees to.
    unsafe {
        if !pg_sys::RecoveryInProgress() {
            let next = pg_sys::GetXLogInsertRecPtr();
            pg_sys::XLogFlush(end_of_last(next, pg_sys::wal_segment_size as u64));
        }
    }
}

/// The end of the last record before the place of the next one, which skips the header of a page.
fn end_of_last(next: u64, segment: u64) -> u64 {
    let header = if next % segment < PAGE {
        size_of::<pg_sys::XLogLongPageHeaderData>()
    } else {
        size_of::<pg_sys::XLogPageHeaderData>()
    };
    if next % PAGE == header as u64 {
        next - header as u64
    } else {
        next
    }
}
