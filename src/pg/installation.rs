//! Which installation of the extension a call works on, whether its version is that of the library, and memory of the backend
//! that belongs to one installation.
//!
//! A session can outlive DROP and CREATE EXTENSION; then every id begins again. So every value that a backend
//! keeps between calls is in a [`Kept`], which forgets it when the installation changes. `thread_local!` is shadowed
//! in lib.rs, so that a cache without it does not compile.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;

use pgrx::{FromDatum, pg_sys};
use tasker_rules::names::version_order;

use crate::error::{Error, Result};

std::thread_local! {
    static CURRENT: Cell<u32> = const { Cell::new(0) };
    static AGREES: Cell<bool> = const { Cell::new(true) };
    static AT_HOME: Cell<bool> = const { Cell::new(true) };
    static STALE: Cell<bool> = const { Cell::new(true) };
    static LISTENS: Cell<bool> = const { Cell::new(false) };
}

const EXTENSION: &CStr = c"tasker_ext";
const SCHEMA: &CStr = c"tasker_engine";
const PUBLIC_SCHEMA: &CStr = c"tasker";

/// Functions that must work with any pair of versions: those that a script of any version calls, the trigger that a restore
/// fires, and the expression of an index. Autovacuum, REINDEX and a restore meet schemas of any version.
const ANY_VERSION: [&str; 6] = [
    "library",
    "record_privileges",
    "owner_fault",
    "wake_launcher",
    "claimants_changed",
    "step_uuid",
];

/// Finds the installation and its version: when a call opens, and when a transaction of a background process opens. It
/// reads the catalogs only when a schema has changed: CREATE and DROP EXTENSION create and drop one, and every update script
/// writes the row of the engine's schema.
pub fn observe() {
    // SAFETY: a read of the backend's own variable. The launcher is in no database.
    if !STALE.get() || unsafe { pg_sys::MyDatabaseId } == pg_sys::InvalidOid {
        return;
    }
    if !LISTENS.replace(true) {
        // SAFETY: the callback lives as long as the backend.
        unsafe {
            pg_sys::CacheRegisterSyscacheCallback(
                pg_sys::SysCacheIdentifier::NAMESPACENAME as i32,
                Some(schema_changed),
                pg_sys::Datum::null(),
            );
        }
    }
    // Set before the catalogs are read: the next call reads again what changes meanwhile.
    STALE.set(false);
    // SAFETY: a lookup in the system cache; a missing schema is 0.
    let schema = unsafe { pg_sys::get_namespace_oid(SCHEMA.as_ptr(), true) };
    CURRENT.set(schema.to_u32());
    let extension = (schema != pg_sys::InvalidOid).then(installed).flatten();
    AT_HOME.set(extension.as_ref().is_none_or(Installed::is_at_home));
    AGREES.set(
        AT_HOME.get() && extension.is_none_or(|extension| extension.version == library_version()),
    );
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn schema_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    STALE.set(true);
}

/// Refuses (55000) while the extension in this database is of another version than the library.
pub fn require_same_version() -> Result<()> {
    observe();
    if AGREES.get() {
        return Ok(());
    }
    require_own_schema()?;
    let library = library_version();
    let schema = installed().map_or(String::new(), |extension| extension.version);
    Err(Error::state(format!(
        "the library of tasker_ext is version {library}, the extension in this database is version {schema}"
    ))
    .detail("They work together only in the same version. Nothing has been read or written.")
    .hint(if version_order(library) > version_order(&schema) {
        "Run ALTER EXTENSION tasker_ext UPDATE."
    } else {
        "Restart the server, so that it loads the library that is installed; without shared_preload_libraries open a new session."
    }))
}

/// Refuses (55000) while another schema has the name of the extension's. The owner of the extension owns the schema and can rename
/// it; statements name it, and what another role put under its name would run as the engine's owner.
pub fn require_own_schema() -> Result<()> {
    observe();
    if AT_HOME.get() {
        return Ok(());
    }
    let schema = installed().map_or(String::new(), |extension| extension.schema_name());
    Err(
        Error::state("the schema of tasker_ext does not have the name tasker")
            .detail("It was renamed. Nothing has been read or written.")
            .hint(format!(
                "Rename or drop another schema tasker, then ALTER SCHEMA {schema} RENAME TO tasker."
            )),
    )
}

/// Whether the versions were the same at the last check.
pub fn is_same_version() -> bool {
    AGREES.get()
}

/// The same for a call of this function, unless the function works with any version.
pub fn require_same_version_for(function: &str) -> Result<()> {
    observe();
    if AGREES.get() || ANY_VERSION.contains(&function) {
        return Ok(());
    }
    require_same_version()
}

/// The version that was compiled. Tests write another one into a copy of the library, so it is read from the library's memory.
pub fn library_version() -> &'static str {
    const PREFIX: &str = "tasker_ext library ";
    static LIBRARY: &str = concat!("tasker_ext library ", env!("CARGO_PKG_VERSION"));
    &std::hint::black_box(LIBRARY)[PREFIX.len()..]
}

/// What the catalog says about the extension in this database.
struct Installed {
    version: String,
    schema: pg_sys::Oid,
}

impl Installed {
    fn is_at_home(&self) -> bool {
        // SAFETY: a lookup in the system cache; a missing schema is 0.
        self.schema == unsafe { pg_sys::get_namespace_oid(PUBLIC_SCHEMA.as_ptr(), true) }
    }

    /// The name that the schema has now, as SQL writes it.
    fn schema_name(&self) -> String {
        // SAFETY: a lookup in the system cache, which answers with a copy or null; the quoted text is copied.
        unsafe {
            let name = pg_sys::get_namespace_name(self.schema);
            if name.is_null() {
                return String::new();
            }
            CStr::from_ptr(pg_sys::quote_identifier(name))
                .to_string_lossy()
                .into_owned()
        }
    }
}

/// Whether this database has the extension.
pub fn exists() -> bool {
    installed().is_some()
}

/// The extension in this database; None while there is none.
fn installed() -> Option<Installed> {
    // SAFETY: a scan of one catalog by its index on the name, ended before the relation is closed; the text is copied.
    unsafe {
        let catalog = pg_sys::table_open(
            pg_sys::ExtensionRelationId,
            pg_sys::AccessShareLock as pg_sys::LOCKMODE,
        );
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &mut key,
            pg_sys::Anum_pg_extension_extname as pg_sys::AttrNumber,
            pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber,
            pg_sys::F_NAMEEQ.into(),
            pg_sys::Datum::from(EXTENSION.as_ptr()),
        );
        let scan = pg_sys::systable_beginscan(
            catalog,
            pg_sys::ExtensionNameIndexId.into(),
            true,
            std::ptr::null_mut(),
            1,
            &mut key,
        );
        let row = pg_sys::systable_getnext(scan);
        let extension = (!row.is_null()).then(|| {
            let value = |column: u32| {
                let mut null = false;
                pg_sys::heap_getattr(row, column as i32, (*catalog).rd_att, &mut null)
            };
            let version =
                pg_sys::text_to_cstring(value(pg_sys::Anum_pg_extension_extversion).cast_mut_ptr());
            Installed {
                version: CStr::from_ptr(version).to_string_lossy().into_owned(),
                schema: pg_sys::Oid::from_datum(
                    value(pg_sys::Anum_pg_extension_extnamespace),
                    false,
                )
                .unwrap_or(pg_sys::InvalidOid),
            }
        });
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalog, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        extension
    }
}

/// Names the installation that the last call saw: the oid of its schema, which every CREATE EXTENSION makes again.
pub fn current() -> u32 {
    CURRENT.get()
}

/// What a backend remembers about one installation; it starts empty for another one.
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

    /// Gives the body access to the value. The body must not access the same value again.
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

    /// Forgets the value.
    pub fn clear(&self) {
        *self.value.borrow_mut() = None;
    }
}
