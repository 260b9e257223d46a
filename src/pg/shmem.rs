//! Shared memory: what it can hold, and the latches by which processes wake each other.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64};

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
