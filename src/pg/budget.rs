//! Budgets of the rules in this backend: a cancel, a timeout or a full stack ends the work at once.

#![allow(dead_code)]

use pgrx::pg_sys;
use tasker_rules::{Budget, Host};

use super::memory;

const HOST: Host = Host {
    check,
    memory: memory::allocated,
};

const MEBIBYTE: usize = 1 << 20;

/// What checking one document against its schema may cost beside its size: about half a second, and 40 MB.
const DOCUMENT_WORK: u64 = 20_000_000;
const DOCUMENT_MEMORY: usize = 40 * MEBIBYTE;
/// The work that each byte of a document is worth: more than any sensible schema needs.
const WORK_PER_BYTE: u64 = 64;

/// Raises what PostgreSQL wants to raise: 57014 for a cancel or a timeout, 54001 for a stack that is too deep. It unwinds
/// through the rule that asked.
fn check() {
    pgrx::check_for_interrupts!();
    // SAFETY: it compares the address of a local variable with the limit, and raises beyond it.
    unsafe { pg_sys::check_stack_depth() };
}

/// For a document of this many bytes that is checked against its schema.
pub fn for_document(bytes: usize) -> Budget {
    let work = DOCUMENT_WORK.saturating_add(WORK_PER_BYTE.saturating_mul(bytes as u64));
    Budget::new(work, DOCUMENT_MEMORY, HOST)
}

/// For work that is in proportion to what it reads, and has this much memory in megabytes.
pub fn with_memory(megabytes: usize) -> Budget {
    Budget::new(u64::MAX, megabytes.saturating_mul(MEBIBYTE), HOST)
}
