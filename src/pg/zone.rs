//! Time zones as this server knows them.

use std::ffi::CString;

use pgrx::pg_sys;
use tasker_rules::operations::schedule::Zone;

/// A time zone. It lives as long as the backend.
pub struct ServerZone(*mut pg_sys::pg_tz);

impl ServerZone {
    /// `None`: the server has none of that name.
    pub fn open(name: &str) -> Option<Self> {
        let text = CString::new(name).ok()?;
        // SAFETY: plain call; a name that is too long is refused by it.
        let zone = unsafe { pg_sys::pg_tzset(text.as_ptr()) };
        (!zone.is_null()).then_some(Self(zone))
    }
}

impl Zone for ServerZone {
    fn offset_at(&self, instant: i64) -> i64 {
        // SAFETY: the result is a buffer of the library, read at once.
        unsafe {
            let local = pg_sys::pg_localtime(&instant, self.0);
            if local.is_null() {
                0
            } else {
                (*local).tm_gmtoff
            }
        }
    }

    fn next_change(&self, after: i64) -> Option<i64> {
        let mut at = after;
        loop {
            let (mut before_offset, mut after_offset) = (0, 0);
            let (mut before_summer, mut after_summer) = (0, 0);
            let mut change = 0;
            // SAFETY: plain call that fills what it is given.
            let found = unsafe {
                pg_sys::pg_next_dst_boundary(
                    &at,
                    &mut before_offset,
                    &mut before_summer,
                    &mut change,
                    &mut after_offset,
                    &mut after_summer,
                    self.0,
                )
            };
            if found != 1 || change <= at {
                return None;
            }
            if before_offset != after_offset {
                return Some(change);
            }
            // Only the name of the time has changed.
            at = change;
        }
    }
}
