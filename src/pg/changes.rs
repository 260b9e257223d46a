//! Changes that PostgreSQL's caches have announced since this backend last checked.

use std::cell::Cell;
use std::ffi::CStr;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::error::{Error, Result};

std::thread_local! {
    static CHANGES: Cell<u64> = const { Cell::new(0) };
    static WATCHED: Cell<Oid> = const { Cell::new(Oid::INVALID) };
    static LISTENS: Cell<bool> = const { Cell::new(false) };
}

/// A number that grows whenever a role, a membership or the watched table may have changed, rolled back changes of this
/// backend included.
pub fn of_roles() -> u64 {
    if !LISTENS.replace(true) {
        use pg_sys::SysCacheIdentifier::{AUTHMEMROLEMEM, AUTHOID, DATABASEOID};
        // SAFETY: the callbacks live as long as the backend. The caches are those that PostgreSQL's own cache of
        // memberships listens to.
        unsafe {
            for cache in [AUTHMEMROLEMEM, AUTHOID, DATABASEOID] {
                pg_sys::CacheRegisterSyscacheCallback(
                    cache as i32,
                    Some(catalog_changed),
                    Datum::null(),
                );
            }
            pg_sys::CacheRegisterRelcacheCallback(Some(table_changed), Datum::null());
        }
    }
    // SAFETY: as each lock on a relation does it; nothing of PostgreSQL's caches is in use here.
    unsafe { pg_sys::AcceptInvalidationMessages() };
    CHANGES.get()
}

/// Starts counting the changes of this table. There is one such table.
pub fn watch(table: &CStr) -> Result<()> {
    WATCHED.set(oid_of(table)?);
    Ok(())
}

/// Tells every backend that a table of the engine has changed: this one with the next statement, the others when the
/// transaction commits.
pub fn tell(table: &CStr) -> Result<()> {
    let table = oid_of(table)?;
    // SAFETY: the relation exists.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(table) };
    Ok(())
}

fn oid_of(table: &CStr) -> Result<Oid> {
    // SAFETY: lookups in the system cache.
    let oid = unsafe {
        let schema = pg_sys::get_namespace_oid(c"tasker_engine".as_ptr(), false);
        pg_sys::get_relname_relid(table.as_ptr(), schema)
    };
    if oid == pg_sys::InvalidOid {
        return Err(Error::corrupt("a table of the engine is missing"));
    }
    Ok(oid)
}

fn count() {
    CHANGES.set(CHANGES.get() + 1);
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn catalog_changed(_argument: Datum, _cache: i32, _hash: u32) {
    count();
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn table_changed(_argument: Datum, relation: Oid) {
    if relation == WATCHED.get() || relation == pg_sys::InvalidOid {
        count();
    }
}
