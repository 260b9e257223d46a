//! Counts what Rust code of this backend has allocated, so that loops can stop before the server has no memory left.
//!
//! It only counts: an allocator must not raise an error, and the system's answer is handed on as it is.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::error::Error;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

/// Bytes that Rust code of this backend has allocated and not freed.
pub fn allocated() -> usize {
    ALLOCATED.load(Relaxed)
}

/// Below this an allocation succeeds wherever the server itself runs.
const SMALL: usize = 1 << 16;

/// Raises 53200 if that many bytes cannot be had: Rust code would abort the server instead. For what a caller sizes, before
/// it is allocated.
pub fn require(bytes: usize) {
    if bytes < SMALL {
        return;
    }
    let mut probe: Vec<u8> = Vec::new();
    if probe.try_reserve_exact(bytes).is_err() {
        Error::new(pgrx::PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, "out of memory")
            .detail(format!("{bytes} bytes were needed at once."))
            .hint("Use smaller documents, or give the server more memory.")
            .raise("tasker_ext");
    }
}

/// Raises 53200 if the JSON of these texts, and a copy of each, cannot be had.
pub fn require_json<'a>(texts: impl Iterator<Item = &'a str>) {
    let of = |byte: u8| match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    // An element is a pointer, a length and more; the JSON grows by doubling.
    let sizes = texts.map(|text| 64 + text.len() + 3 * text.bytes().map(of).sum::<usize>());
    require(sizes.sum());
}

// A backend has one thread, so that a load and a store suffice; a lost update would only make the figure inexact.
fn add(bytes: usize) {
    ALLOCATED.store(ALLOCATED.load(Relaxed).wrapping_add(bytes), Relaxed);
}

fn subtract(bytes: usize) {
    ALLOCATED.store(ALLOCATED.load(Relaxed).saturating_sub(bytes), Relaxed);
}

// SAFETY: every call goes to the system's allocator with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let pointer = unsafe { System.alloc(layout) };
        if !pointer.is_null() {
            add(layout.size());
        }
        pointer
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let pointer = unsafe { System.alloc_zeroed(layout) };
        if !pointer.is_null() {
            add(layout.size());
        }
        pointer
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) };
        subtract(layout.size());
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        let moved = unsafe { System.realloc(pointer, layout, size) };
        if !moved.is_null() {
            subtract(layout.size());
            add(size);
        }
        moved
    }
}
