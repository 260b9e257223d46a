//! The search_path of the engine's SQL: only pg_catalog. Functions pin it in their declarations, and background processes
//! when they start.

use std::ffi::CStr;

use pgrx::pg_sys;

/// As the declarations in sql/ write it.
const PINNED: &CStr = c"pg_catalog, pg_temp";

/// Pins it for this process, regardless of the database, the role and postgresql.conf. A RESET returns to it too.
pub fn pin() {
    // SAFETY: as autovacuum does it, before it is connected to a database.
    unsafe {
        pg_sys::SetConfigOption(
            c"search_path".as_ptr(),
            PINNED.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_OVERRIDE,
        )
    };
}

/// Whether the search_path is pinned now.
pub fn is_pinned() -> bool {
    // SAFETY: PostgreSQL's own variable: NULL or NUL-terminated.
    unsafe {
        let path = pg_sys::namespace_search_path;
        !path.is_null() && CStr::from_ptr(path) == PINNED
    }
}
