//! Settings: where their values come from, and what is checked when they are set.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_void};

use pgrx::guc::{GucEnum, GucValue};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::pg_sys::{self, GucSource as Source};
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, PgLogLevel, PgSqlErrorCode};

use super::datum;
use super::spi::{Session, Statement};
use crate::error::Result;

/// How far a setting reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The database: all its sessions and background processes have the same value. SET and ALTER ROLE are ignored.
    Database,
    /// Each session.
    Session,
}

/// What was said about a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// Nothing that counts.
    Nothing,
    /// The value that it has.
    Current,
    /// The value to which RESET goes back, below a SET that does not count.
    Reset,
}

/// A setting with its place in PostgreSQL's list.
pub struct Setting<T: GucValue + 'static> {
    value: GucSetting<T>,
    scope: Scope,
    place: Cell<*mut pg_sys::config_generic>,
    number: Cell<usize>,
}

// SAFETY: a backend has one thread.
unsafe impl<T: GucValue> Sync for Setting<T> {}

impl<T: GucValue> Setting<T> {
    /// One that holds for the database.
    pub const fn of_database(value: GucSetting<T>) -> Self {
        Self {
            value,
            scope: Scope::Database,
            place: Cell::new(std::ptr::null_mut()),
            number: Cell::new(0),
        }
    }

    /// One that each session may set.
    pub const fn of_session(value: GucSetting<T>) -> Self {
        Self {
            value,
            scope: Scope::Session,
            place: Cell::new(std::ptr::null_mut()),
            number: Cell::new(0),
        }
    }

    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Its place in our own list.
    pub fn number(&self) -> usize {
        self.number.get()
    }

    /// The value that PostgreSQL shows, whether it counts or not.
    pub fn shown(&self) -> T {
        self.value.get()
    }

    /// What counts of what was said.
    pub fn says(&self) -> Says {
        // SAFETY: null, or a setting that lives as long as the process.
        let Some(place) = (unsafe { self.place.get().as_ref() }) else {
            return Says::Current;
        };
        match self.scope {
            _ if place.source == Source::PGC_S_DEFAULT => Says::Nothing,
            Scope::Session => Says::Current,
            Scope::Database if counts(place.source) => Says::Current,
            Scope::Database if counts(place.reset_source) => Says::Reset,
            Scope::Database => Says::Nothing,
        }
    }

    /// Finds the place of the setting that was defined by this name.
    fn settle(&self, name: &CStr, number: usize) {
        self.number.set(number);
        self.place.set(find(name));
    }

    fn reset<S, R>(&self, read: impl FnOnce(&S) -> R, otherwise: impl FnOnce() -> R) -> R {
        // SAFETY: the structure that PostgreSQL made for a setting of this type begins with what is common to all.
        match unsafe { self.place.get().cast::<S>().as_ref() } {
            Some(setting) => read(setting),
            None => otherwise(),
        }
    }
}

impl Setting<bool> {
    /// The value to which RESET goes back.
    pub fn reset_value(&self) -> bool {
        self.reset(|s: &pg_sys::config_bool| s.reset_val, || self.value.get())
    }
}

impl Setting<i32> {
    pub fn reset_value(&self) -> i32 {
        self.reset(|s: &pg_sys::config_int| s.reset_val, || self.value.get())
    }
}

impl Setting<f64> {
    pub fn reset_value(&self) -> f64 {
        self.reset(|s: &pg_sys::config_real| s.reset_val, || self.value.get())
    }
}

impl Setting<Option<CString>> {
    pub fn reset_value(&self) -> Option<CString> {
        let text = |s: &pg_sys::config_string| {
            // SAFETY: null, or a text that ends with NUL, copied at once.
            (!s.reset_val.is_null()).then(|| unsafe { CStr::from_ptr(s.reset_val) }.to_owned())
        };
        self.reset(text, || self.value.get())
    }
}

impl<T: GucEnum + GucValue> Setting<T> {
    pub fn reset_choice(&self) -> T {
        self.reset(
            |s: &pg_sys::config_enum| T::from_ordinal(s.reset_val),
            || self.value.get(),
        )
    }
}

/// Whether what this source says means the same to all sessions of a database and to its background processes.
fn counts(source: Source::Type) -> bool {
    matches!(
        source,
        Source::PGC_S_FILE
            | Source::PGC_S_ARGV
            | Source::PGC_S_ENV_VAR
            | Source::PGC_S_GLOBAL
            | Source::PGC_S_DATABASE
    )
}

/// Where the value comes from, in the words of `effective_config`; None: nothing counts.
pub fn origin(name: &CStr, scope: Scope) -> Option<(&'static str, Option<String>)> {
    // SAFETY: a setting that lives as long as the process; its file is a text that ends with NUL.
    unsafe {
        let place = find(name).as_ref()?;
        let file = || {
            (!place.sourcefile.is_null()).then(|| {
                CStr::from_ptr(place.sourcefile)
                    .to_string_lossy()
                    .into_owned()
            })
        };
        let source = match scope {
            Scope::Session => place.source,
            Scope::Database if counts(place.source) => place.source,
            Scope::Database => place.reset_source,
        };
        match source {
            Source::PGC_S_FILE => {
                let file = file();
                let auto = file
                    .as_ref()
                    .is_some_and(|file| file.ends_with("/postgresql.auto.conf"));
                Some((if auto { "ALTER SYSTEM" } else { "file" }, file))
            }
            Source::PGC_S_ARGV | Source::PGC_S_ENV_VAR => Some(("command line", None)),
            Source::PGC_S_GLOBAL => Some(("ROLE ALL", None)),
            Source::PGC_S_DATABASE => Some(("DATABASE", None)),
            Source::PGC_S_USER | Source::PGC_S_DATABASE_USER if scope == Scope::Session => {
                Some(("ROLE", None))
            }
            Source::PGC_S_CLIENT | Source::PGC_S_SESSION if scope == Scope::Session => {
                Some(("SET", None))
            }
            _ => None,
        }
    }
}

/// The setting of this name in PostgreSQL's list; null: there is none.
fn find(name: &CStr) -> *mut pg_sys::config_generic {
    // SAFETY: PostgreSQL's list of settings; each has a name.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        let (list, count) = (pg_sys::get_guc_variables(), pg_sys::GetNumConfigOptions());
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        let (list, count) = {
            let mut count = 0;
            (pg_sys::get_guc_variables(&mut count), count)
        };
        std::slice::from_raw_parts(list, count.unsigned_abs() as usize)
            .iter()
            .copied()
            .find(|place| CStr::from_ptr((**place).name) == name)
            .unwrap_or(std::ptr::null_mut())
    }
}

/// Decides which texts a setting accepts. It can run without a transaction, so it uses no SQL and raises no error.
pub trait Check {
    /// What the error says to do.
    const HINT: &'static CStr;

    fn accepts(text: &str) -> bool;
}

/// Accepts every text.
pub struct Any;

impl Check for Any {
    const HINT: &'static CStr = c"";

    fn accepts(_: &str) -> bool {
        true
    }
}

/// What a setting is called and how it is described.
pub struct Described {
    pub name: &'static CStr,
    pub short: &'static CStr,
    pub long: &'static CStr,
    pub context: GucContext,
    /// Its place in our own list.
    pub number: usize,
}

// SAFETY of all below: the hooks only read the value that they are given.

impl Setting<bool> {
    pub fn define(&'static self, of: Described) {
        let hook = self.hook(hook_of_database::<bool> as _);
        unsafe {
            GucRegistry::define_bool_guc_with_hooks(
                of.name,
                of.short,
                of.long,
                &self.value,
                of.context,
                GucFlags::empty(),
                hook,
                None,
                None,
            );
        }
        self.settle(of.name, of.number);
    }
}

impl Setting<i32> {
    pub fn define(&'static self, of: Described, least: i32, most: i32, unit: GucFlags) {
        let hook = self.hook(hook_of_database::<i32> as _);
        unsafe {
            GucRegistry::define_int_guc_with_hooks(
                of.name,
                of.short,
                of.long,
                &self.value,
                least,
                most,
                of.context,
                unit,
                hook,
                None,
                None,
            );
        }
        self.settle(of.name, of.number);
    }
}

impl Setting<f64> {
    pub fn define(&'static self, of: Described, least: f64, most: f64, unit: GucFlags) {
        let hook = self.hook(hook_of_database::<f64> as _);
        GucRegistry::define_float_guc_with_hooks(
            of.name,
            of.short,
            of.long,
            &self.value,
            least,
            most,
            of.context,
            unit,
            hook,
            None,
            None,
        );
        self.settle(of.name, of.number);
    }
}

impl Setting<Option<CString>> {
    pub fn define<C: Check>(&'static self, of: Described) {
        let hook: pg_sys::GucStringCheckHook = match self.scope {
            Scope::Database => Some(check_of_database::<C>),
            Scope::Session => Some(check::<C>),
        };
        unsafe {
            GucRegistry::define_string_guc_with_hooks(
                of.name,
                of.short,
                of.long,
                &self.value,
                of.context,
                GucFlags::empty(),
                hook,
                None,
                None,
            );
        }
        self.settle(of.name, of.number);
    }
}

impl<T: GucEnum + GucValue> Setting<T> {
    pub fn define_choice(&'static self, of: Described) {
        let hook = self.hook(hook_of_database::<i32> as _);
        unsafe {
            GucRegistry::define_enum_guc_with_hooks(
                of.name,
                of.short,
                of.long,
                &self.value,
                of.context,
                GucFlags::empty(),
                hook,
                None,
                None,
            );
        }
        self.settle(of.name, of.number);
    }
}

type Hook<V> = unsafe extern "C-unwind" fn(*mut V, *mut *mut c_void, Source::Type) -> bool;

impl<T: GucValue> Setting<T> {
    fn hook<V>(&self, hook: Hook<V>) -> Option<Hook<V>> {
        (self.scope == Scope::Database).then_some(hook)
    }
}

unsafe extern "C-unwind" fn hook_of_database<V>(
    _: *mut V,
    _: *mut *mut c_void,
    source: Source::Type,
) -> bool {
    may_come_from(source)
}

unsafe extern "C-unwind" fn check_of_database<C: Check>(
    value: *mut *mut c_char,
    extra: *mut *mut c_void,
    source: Source::Type,
) -> bool {
    // SAFETY: as PostgreSQL has called this.
    unsafe { check::<C>(value, extra, source) && may_come_from(source) }
}

unsafe extern "C-unwind" fn check<C: Check>(
    value: *mut *mut c_char,
    _: *mut *mut c_void,
    _: Source::Type,
) -> bool {
    // SAFETY: PostgreSQL passes a pointer to a NUL-terminated string, or to NULL.
    unsafe {
        let text = *value;
        let accepted = !text.is_null() && CStr::from_ptr(text).to_str().is_ok_and(C::accepts);
        if !accepted {
            // PostgreSQL only reads it.
            pg_sys::GUC_check_errhint_string = C::HINT.as_ptr().cast_mut();
        }
        accepted
    }
}

const HOLDS: &str =
    "It holds for the whole database, so that all its sessions and background processes agree.";
const REFUSED: &CStr = c"It holds for the whole database, so that all its sessions and background processes agree: what is said for a role or a connection is ignored.";
const INSTEAD: &CStr =
    c"Use ALTER DATABASE ... SET, ALTER SYSTEM SET, the server's file, or tasker.load_config.";

std::thread_local! {
    /// Whether a value of a role was refused. Without preload it stood in the place of what the database says.
    static REFUSED_SOME: Cell<bool> = const { Cell::new(false) };
}

/// What a role or a connection says about a setting of the database is refused, which PostgreSQL reports when the session begins. SET
/// only gets a warning: applications and pools set settings and expect no error.
fn may_come_from(source: Source::Type) -> bool {
    // SAFETY: plain reads and writes of the backend's own variables; PostgreSQL only reads the texts.
    unsafe {
        if pg_sys::InitializingParallelWorker {
            return true;
        }
        match source {
            Source::PGC_S_USER | Source::PGC_S_DATABASE_USER | Source::PGC_S_CLIENT => {
                REFUSED_SOME.set(true);
                pg_sys::GUC_check_errdetail_string = REFUSED.as_ptr().cast_mut();
                pg_sys::GUC_check_errhint_string = INSTEAD.as_ptr().cast_mut();
                false
            }
            Source::PGC_S_INTERACTIVE | Source::PGC_S_SESSION => {
                ErrorReport::new(
                    PgSqlErrorCode::ERRCODE_WARNING,
                    "SET has no effect on this setting",
                    "tasker_ext",
                )
                .set_detail(HOLDS)
                .set_hint(INSTEAD.to_string_lossy())
                .report(PgLogLevel::WARNING);
                true
            }
            _ => true,
        }
    }
}

static OF_DATABASE: Statement = Statement::new(
    "SELECT s.setdatabase = 0, split_part(c.setting, '=', 1), substr(c.setting, strpos(c.setting, '=') + 1)
     FROM pg_db_role_setting s, unnest(s.setconfig) AS c (setting)
     WHERE s.setrole = 0 AND s.setdatabase IN (0, $1) AND c.setting LIKE 'tasker.%'
     ORDER BY s.setdatabase",
    &[pg_sys::OIDOID],
);

/// Without preload, what a role says has taken the place of what the database says before this library was loaded. It was refused
/// then; this sets again what the database says, and lets the next statement read the server's files again.
pub fn restore_refused() -> Result<()> {
    // SAFETY: plain reads of the backend's own variables.
    if !REFUSED_SOME.get() || unsafe { pg_sys::IsInParallelMode() } {
        return Ok(());
    }
    REFUSED_SOME.set(false);
    let session = Session::open()?;
    // SAFETY: the backend's own database, and a flag that PostgreSQL reads before the next statement.
    let database = unsafe {
        (&raw mut pg_sys::ConfigReloadPending).write_volatile(1);
        pg_sys::MyDatabaseId
    };
    for row in session.read(&OF_DATABASE, &[datum::oid(database)])?.iter() {
        let (of_all, name, value): (bool, String, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
        let (Ok(name), Ok(value)) = (CString::new(name), CString::new(value)) else {
            continue;
        };
        // SAFETY: as PostgreSQL applies these rows when a session begins; a value that does not fit is a warning.
        unsafe {
            pg_sys::set_config_option(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                if of_all {
                    Source::PGC_S_GLOBAL
                } else {
                    Source::PGC_S_DATABASE
                },
                pg_sys::GucAction::GUC_ACTION_SET,
                true,
                pg_sys::WARNING as i32,
                false,
            );
        }
    }
    Ok(())
}
