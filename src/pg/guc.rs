//! Settings whose values are checked when they are set.

use std::ffi::{CStr, CString, c_char, c_void};

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, pg_sys};

/// Decides which texts a setting accepts. It can run without a transaction, so it uses no SQL and raises no error.
pub trait Check {
    /// What the error says to do.
    const HINT: &'static CStr;

    fn accepts(text: &str) -> bool;
}

pub fn define_checked_string<C: Check>(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
    context: GucContext,
) {
    // SAFETY: the hook only reads the string it is given.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            name,
            short,
            long,
            setting,
            context,
            GucFlags::empty(),
            Some(check::<C>),
            None,
            None,
        );
    }
}

unsafe extern "C-unwind" fn check<C: Check>(
    value: *mut *mut c_char,
    _: *mut *mut c_void,
    _: u32,
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
