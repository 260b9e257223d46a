//! Changes that PostgreSQL's caches have announced since this backend last checked.

use std::cell::Cell;
use std::ffi::CStr;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::error::{Error, Result};

/// A table of the engine whose changes are told.
pub struct Watched {
    name: &'static CStr,
    oid: Cell<Oid>,
    changes: Cell<u64>,
}

impl Watched {
    const fn new(name: &'static CStr) -> Self {
        Self {
            name,
            oid: Cell::new(Oid::INVALID),
            changes: Cell::new(0),
        }
    }

    fn count(&self) {
        self.changes.set(self.changes.get() + 1);
    }
}

// SAFETY: a backend has one thread.
unsafe impl Sync for Watched {}

/// The numbers of the roles that claim.
pub static CLAIMANTS: Watched = Watched::new(c"claimants");
/// The schemas of events that applications publish.
pub static EVENTS: Watched = Watched::new(c"registered_events");
/// The routes of events.
pub static EVENT_ROUTES: Watched = Watched::new(c"changed_event_routes");

std::thread_local! {
    static LISTENS: Cell<bool> = const { Cell::new(false) };
    static LISTENS_TO_TABLES: Cell<bool> = const { Cell::new(false) };
}

/// A number that grows whenever a role, a membership or the numbers of roles may have changed, rolled back changes of this
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
        }
    }
    of(&CLAIMANTS)
}

/// The same for a table that is watched.
pub fn of(table: &Watched) -> u64 {
    if !LISTENS_TO_TABLES.replace(true) {
        // SAFETY: the callback lives as long as the backend.
        unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(table_changed), Datum::null()) };
    }
    // SAFETY: as each lock on a relation does it; nothing of PostgreSQL's caches is in use here.
    unsafe { pg_sys::AcceptInvalidationMessages() };
    table.changes.get()
}

/// Starts counting the changes of this table, before it is read.
pub fn watch(table: &Watched) -> Result<()> {
    table.oid.set(oid_of(table.name)?);
    Ok(())
}

/// Tells every backend that a table of the engine has changed: this one with the next statement, the others when the
/// transaction commits.
pub fn tell(table: &Watched) -> Result<()> {
    let table = oid_of(table.name)?;
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

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn catalog_changed(_argument: Datum, _cache: i32, _hash: u32) {
    CLAIMANTS.count();
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn table_changed(_argument: Datum, relation: Oid) {
    for table in [&CLAIMANTS, &EVENTS, &EVENT_ROUTES] {
        if relation == table.oid.get() || relation == pg_sys::InvalidOid {
            table.count();
        }
    }
}
