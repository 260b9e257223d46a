//! Budgets of the rules in this backend: a cancel, a timeout, a full stack or the end of memory ends the work at once.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use pgrx::pg_sys;
use tasker_rules::{Budget, Host};

use super::memory;

/// For rules that need no limit of their own.
pub const HOST: Host = Host {
    check,
    memory: memory::allocated,
    room: memory::require,
};

const MEBIBYTE: usize = 1 << 20;

/// What checking one document against its schema may cost beside its size: about half a second, and 40 MB.
const DOCUMENT_WORK: u64 = 20_000_000;
const DOCUMENT_MEMORY: usize = 40 * MEBIBYTE;
/// The work and the memory that each byte of a document is worth: more than any sensible schema needs.
const WORK_PER_BYTE: u64 = 64;
const MEMORY_PER_BYTE: usize = 24;

/// What must be free whenever this much more has been allocated.
const HEADROOM: usize = 8 * MEBIBYTE;
const BETWEEN_PROBES: usize = MEBIBYTE;

static PROBED_AT: AtomicUsize = AtomicUsize::new(0);

/// Raises what PostgreSQL wants to raise: 57014 for a cancel or a timeout, 53200 when memory ends. It unwinds through the
/// rule that asked. No more work is done when the stack is too deep.
fn check() -> bool {
    pgrx::check_for_interrupts!();
    let allocated = memory::allocated();
    if allocated.abs_diff(PROBED_AT.load(Relaxed)) > BETWEEN_PROBES {
        PROBED_AT.store(allocated, Relaxed);
        memory::require(HEADROOM);
    }
    // SAFETY: it compares the address of a local variable with the limit.
    !unsafe { pg_sys::stack_is_too_deep() }
}

/// For loops over what a caller gave: a cancel or a timeout ends them.
pub fn check_for_cancel() {
    pgrx::check_for_interrupts!();
}

/// For a document of this many bytes that is checked against its schema; never more than `most_memory` bytes.
pub fn for_document(bytes: usize, most_memory: usize) -> Budget {
    let work = DOCUMENT_WORK.saturating_add(WORK_PER_BYTE.saturating_mul(bytes as u64));
    let memory = DOCUMENT_MEMORY.saturating_add(MEMORY_PER_BYTE.saturating_mul(bytes));
    Budget::new(work, memory.min(most_memory), HOST)
}

/// For work that is in proportion to what it reads, with this many bytes of memory.
pub fn with_memory(bytes: usize) -> Budget {
    Budget::new(u64::MAX, bytes, HOST)
}

/// For work that is in proportion to what is stored: only a cancel, a timeout or the end of memory ends it.
pub fn unlimited() -> Budget {
    Budget::unlimited(HOST)
}
