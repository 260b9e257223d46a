//! Facts about this backend and its server.

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::pg::datum::FromColumn;

/// The oid of the database it works in; 0: none.
pub fn database() -> u32 {
    // SAFETY: a plain read of the backend's own variable.
    unsafe { pg_sys::MyDatabaseId }.to_u32()
}

pub fn pid() -> i32 {
    // SAFETY: a plain read of the backend's own variable.
    unsafe { pg_sys::MyProcPid }
}

/// Names this session among all that there are and were: when it began, and its process.
pub fn session() -> i64 {
    // SAFETY: a plain read of the backend's own variable.
    let began = unsafe { pg_sys::MyStartTimestamp };
    (began / 1000) << 22 | i64::from(pid())
}

/// Whether this is a background process, and not a session.
pub fn is_background() -> bool {
    // SAFETY: a plain read of the backend's own variable.
    unsafe { !pg_sys::MyBgworkerEntry.is_null() }
}

/// Whether PostgreSQL loads shared_preload_libraries now, the only time to request shared memory and processes.
pub fn is_preloading() -> bool {
    // SAFETY: a plain read of PostgreSQL's own flag.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress }
}

/// Whether pg_upgrade has started this server.
pub fn is_upgrading() -> bool {
    // SAFETY: a plain read of PostgreSQL's own flag.
    unsafe { pg_sys::IsBinaryUpgrade }
}

/// The value of a setting; `None` if there is none of the name.
pub fn setting(name: &CStr) -> Option<String> {
    // SAFETY: missing_ok; a value is a text that ends with NUL, copied at once.
    unsafe {
        let value = pg_sys::GetConfigOption(name.as_ptr(), true, false);
        (!value.is_null()).then(|| CStr::from_ptr(value).to_string_lossy().into_owned())
    }
}

/// max_worker_processes.
pub fn worker_slots() -> u32 {
    // SAFETY: a plain read of PostgreSQL's own variable, which changes only at its start.
    unsafe { pg_sys::max_worker_processes }.unsigned_abs()
}

/// How many clients are connected to the server: what max_connections counts, without background and replication processes.
pub fn clients() -> i64 {
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    use pg_sys::pgstat_fetch_stat_local_beentry as entry;
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    use pg_sys::pgstat_get_local_beentry_by_index as entry;
    // SAFETY: the numbers from 1 to the count are those of entries, which the transaction's snapshot of activity keeps.
    let is_client = |number: &i32| unsafe {
        let entry = entry(*number);
        !entry.is_null() && (*entry).backendStatus.st_backendType == pg_sys::BackendType::B_BACKEND
    };
    // SAFETY: reads shared memory into memory of the transaction.
    let count = unsafe { pg_sys::pgstat_fetch_stat_numbackends() };
    (1..=count).filter(is_client).count() as i64
}

/// Whether there is a database with this oid. Needs a transaction.
pub fn database_exists(oid: u32) -> bool {
    // SAFETY: a lookup in the system cache.
    !unsafe { pg_sys::get_database_name(oid.into()) }.is_null()
}

/// The databases that take connections and are no templates, in a transaction of its own. A scan of the shared catalog:
/// without a database there is no SQL.
pub fn open_databases() -> Vec<(u32, String)> {
    let mut found = Vec::new();
    // SAFETY: as PostgreSQL's own launchers read pg_database; the columns have fixed places.
    unsafe {
        pg_sys::StartTransactionCommand();
        // A snapshot, so that the scan sees what is committed.
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let relation =
            pg_sys::table_open(pg_sys::DatabaseRelationId, pg_sys::AccessShareLock as i32);
        let scan = pg_sys::table_beginscan_catalog(relation, 0, std::ptr::null_mut());
        loop {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            let read = |column: u32| {
                let mut null = false;
                pg_sys::heap_getattr(tuple, column as i32, (*relation).rd_att, &mut null)
            };
            let oid = pg_sys::Oid::from_column(read(pg_sys::Anum_pg_database_oid)).to_u32();
            let template = bool::from_column(read(pg_sys::Anum_pg_database_datistemplate));
            let open = bool::from_column(read(pg_sys::Anum_pg_database_datallowconn));
            if open && !template {
                let name = CStr::from_ptr(read(pg_sys::Anum_pg_database_datname).cast_mut_ptr());
                found.push((oid, name.to_string_lossy().into_owned()));
            }
        }
        pg_sys::heap_endscan(scan);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
        pg_sys::PopActiveSnapshot();
        pg_sys::CommitTransactionCommand();
    }
    found
}
