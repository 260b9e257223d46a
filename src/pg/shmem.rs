//! Shared memory: what it can hold, and the latches by which processes wake each other.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicI64, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use pgrx::{PGRXSharedMemory, pg_sys};

/// A type whose values mean the same in every process, because they contain no pointers.
///
/// # Safety
/// Implemented here for plain values, and by [`shareable!`](shareable) for what consists of such.
pub unsafe trait Shareable {}

macro_rules! plain {
    ($($type:ty),*) => {$(
        // SAFETY: a value without a pointer.
        unsafe impl Shareable for $type {}
    )*};
}
plain!(
    bool, u8, i32, u32, i64, u64, AtomicU32, AtomicI64, AtomicU64
);

// SAFETY: as its elements.
unsafe impl<T: Shareable, const N: usize> Shareable for [T; N] {}
// SAFETY: as its value.
unsafe impl<T: Shareable> Shareable for Option<T> {}

/// Structs with all their fields, and enums without any, that shared memory can hold; the compiler checks each field.
macro_rules! shareable {
    () => {};
    (enum $type:ident; $($rest:tt)*) => {
        const _: fn($type) -> u8 = |value| value as u8;

        #[allow(unsafe_code)]
        // SAFETY: an enum that can be cast has no fields.
        unsafe impl $crate::pg::shmem::Shareable for $type {}

        $crate::pg::shmem::shareable!($($rest)*);
    };
    (struct $type:ident { $($field:ident),* $(,)? } $($rest:tt)*) => {
        const _: fn($type) = |value| {
            fn check(_: impl $crate::pg::shmem::Shareable) {}
            let $type { $($field),* } = value;
            $(check($field);)*
        };

        #[allow(unsafe_code)]
        // SAFETY: these fields are all, as the pattern above shows, and each is shareable.
        unsafe impl $crate::pg::shmem::Shareable for $type {}

        $crate::pg::shmem::shareable!($($rest)*);
    };
}
pub(crate) use shareable;

/// A piece of shared memory.
pub struct Piece<T>(pub T);

// SAFETY: what is in it is shareable.
unsafe impl<T: Shareable> PGRXSharedMemory for Piece<T> {}

impl<T> Deref for Piece<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Piece<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// Pieces of shared memory by name: atomics (`PgAtomic`), or behind a lock (`PgLwLock`).
macro_rules! shared_memory {
    () => {};
    ($(#[$meta:meta])* static $name:ident: $holder:ident<$type:ty> = $label:literal; $($rest:tt)*) => {
        $(#[$meta])*
        #[allow(unsafe_code)]
        static $name: $holder<$crate::pg::shmem::Piece<$type>> = {
            use $holder as Holder;
            const LABEL: &std::ffi::CStr = $label;
            // SAFETY: the label begins as the extension's names do and is written once.
            unsafe { Holder::new(LABEL) }
        };

        $crate::pg::shmem::shared_memory!($($rest)*);
    };
}
pub(crate) use shared_memory;

/// A part of shared memory whose length is known when the server starts. It is empty where the library is not preloaded.
pub struct Slice<T: 'static> {
    label: &'static CStr,
    make: fn() -> T,
    length: AtomicUsize,
    /// Set in the postmaster, inherited by every backend.
    first: AtomicPtr<T>,
}

impl<T: Shareable + Sync> Slice<T> {
    /// The label is unique in the server; `make` makes each element.
    pub const fn new(label: &'static CStr, make: fn() -> T) -> Self {
        Self {
            label,
            make,
            length: AtomicUsize::new(0),
            first: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    pub fn get(&self) -> &'static [T] {
        let first = self.first.load(Ordering::Relaxed);
        if first.is_null() {
            return &[];
        }
        // SAFETY: elements of this number were made there, and the memory lives as long as the process.
        unsafe { std::slice::from_raw_parts(first, self.length.load(Ordering::Relaxed)) }
    }

    /// Requests the memory; only while the library is preloaded.
    pub fn define(&'static self, length: usize) {
        self.length.store(length, Ordering::Relaxed);
        if PARTS.with_borrow(Vec::is_empty) {
            chain_hooks();
        }
        PARTS.with_borrow_mut(|parts| parts.push(self));
        #[cfg(feature = "pg14")]
        request_memory(self);
    }
}

trait Part {
    fn size(&self) -> usize;
    fn attach(&self);
}

impl<T: Shareable + Sync> Part for Slice<T> {
    fn size(&self) -> usize {
        self.length.load(Ordering::Relaxed) * size_of::<T>()
    }

    fn attach(&self) {
        let mut found = false;
        // SAFETY: called by the hook that PostgreSQL calls for this; memory of this size was requested.
        unsafe {
            let memory = pg_sys::ShmemInitStruct(self.label.as_ptr(), self.size(), &mut found);
            let first = memory.cast::<T>();
            if !found {
                for index in 0..self.length.load(Ordering::Relaxed) {
                    first.add(index).write((self.make)());
                }
            }
            self.first.store(first, Ordering::Relaxed);
        }
    }
}

type Hook = Option<unsafe extern "C-unwind" fn()>;

std::thread_local! {
    static PARTS: RefCell<Vec<&'static dyn Part>> = const { RefCell::new(Vec::new()) };
    static NEXT_REQUEST: Cell<Hook> = const { Cell::new(None) };
    static NEXT_STARTUP: Cell<Hook> = const { Cell::new(None) };
}

fn request_memory(part: &dyn Part) {
    // SAFETY: called while PostgreSQL takes requests.
    unsafe { pg_sys::RequestAddinShmemSpace(part.size()) };
}

fn chain_hooks() {
    // SAFETY: the variables of the postmaster's one thread; the hooks live as long as the process.
    unsafe {
        #[cfg(not(feature = "pg14"))]
        {
            NEXT_REQUEST.set(pg_sys::shmem_request_hook);
            pg_sys::shmem_request_hook = Some(memory_is_requested);
        }
        NEXT_STARTUP.set(pg_sys::shmem_startup_hook);
        pg_sys::shmem_startup_hook = Some(memory_is_there);
    }
}

/// Calls what was hooked before.
fn call_next(hook: Hook) {
    if let Some(next) = hook {
        // SAFETY: a hook of PostgreSQL, called where PostgreSQL calls it.
        #[expect(ffi_unwind_calls)]
        unsafe {
            pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| next());
        }
    }
}

#[cfg(not(feature = "pg14"))]
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn memory_is_requested() {
    call_next(NEXT_REQUEST.get());
    PARTS.with_borrow(|parts| parts.iter().for_each(|part| request_memory(*part)));
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn memory_is_there() {
    call_next(NEXT_STARTUP.get());
    PARTS.with_borrow(|parts| parts.iter().for_each(|part| part.attach()));
}

/// The latch of a process.
#[derive(Clone, Copy)]
pub struct Latch(usize);

// SAFETY: an address in shared memory, which is the same in every process.
unsafe impl Shareable for Latch {}

impl Latch {
    pub fn mine() -> Self {
        // SAFETY: a plain read of the backend's own variable.
        Self(unsafe { pg_sys::MyLatch as usize })
    }

    pub fn set(self) {
        // SAFETY: the latch of a process lives as long as the server; setting one that no process waits on is harmless.
        unsafe { pg_sys::SetLatch(self.0 as *mut pg_sys::Latch) };
    }
}
