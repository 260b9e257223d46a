//! Which installation of the extension a call works on, and memory of the backend that belongs to one installation.
//!
//! A session can outlive DROP and CREATE EXTENSION; then every id begins again. So nothing that is remembered between
//! calls stands alone: [`Kept`] forgets it when the installation is another one. `thread_local!` is shadowed
//! in lib.rs, so that a cache without it does not compile.

use std::cell::{Cell, RefCell};

use pgrx::pg_sys;

std::thread_local! {
    static CURRENT: Cell<u32> = const { Cell::new(0) };
}

/// Looks once which installation is there: at the opening of every call and of every transaction of a background process.
pub fn observe() {
    // SAFETY: a cheap look into the system cache; a missing schema is 0. The launcher is in no database and has no such cache.
    let schema = unsafe {
        if pg_sys::MyDatabaseId == pg_sys::InvalidOid {
            return;
        }
        pg_sys::get_namespace_oid(c"tasker_engine".as_ptr(), true)
    };
    CURRENT.set(schema.to_u32());
}

/// Names the installation that the last call saw: the oid of its schema, which every CREATE EXTENSION makes anew.
pub fn current() -> u32 {
    CURRENT.get()
}

/// What a backend remembers of one installation; of another one it begins empty.
pub struct Kept<T> {
    of: Cell<u32>,
    value: RefCell<Option<T>>,
}

// SAFETY: a backend has one thread.
unsafe impl<T> Sync for Kept<T> {}

impl<T: Default> Kept<T> {
    pub const fn new() -> Self {
        Self {
            of: Cell::new(0),
            value: RefCell::new(None),
        }
    }

    /// Works with what is remembered. `body` must not reach the same memory again.
    pub fn with<R>(&self, body: impl FnOnce(&mut T) -> R) -> R {
        let mut value = self.value.borrow_mut();
        if self.of.replace(current()) != current() {
            *value = None;
        }
        body(value.get_or_insert_default())
    }

    pub fn get(&self) -> T
    where
        T: Copy,
    {
        self.with(|value| *value)
    }

    pub fn set(&self, new: T) {
        self.with(|value| *value = new);
    }

    pub fn replace(&self, new: T) -> T {
        self.with(|value| std::mem::replace(value, new))
    }

    /// Forgets it.
    pub fn clear(&self) {
        *self.value.borrow_mut() = None;
    }
}
