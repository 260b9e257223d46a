//! In which schemas the names of the engine's SQL are looked up: pg_catalog alone. Functions pin it in their declarations,
//! background processes when they begin.

use std::ffi::CStr;

use pgrx::pg_sys;

/// As the declarations in sql/ write it.
const PINNED: &CStr = c"pg_catalog, pg_temp";

/// Pins it for this process, whatever the database, the role or postgresql.conf say. A RESET comes back to it too.
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

/// Whether it is pinned now.
pub fn is_pinned() -> bool {
    // SAFETY: PostgreSQL's own variable: NULL or NUL-terminated.
    unsafe {
        let path = pg_sys::namespace_search_path;
        !path.is_null() && CStr::from_ptr(path) == PINNED
    }
}
