//! Cron expressions in the time zones of this server. The rule stands in tasker_rules::schedule.

use std::ffi::CString;

use pgrx::pg_sys;
use tasker_rules::schedule::{Schedule, Zone};

use crate::error::{Error, Result};
use crate::pg::call::{Call, Output};
use crate::pg::datum::Timestamp;

crate::sql_function! {
    next_occurrence / pg_finfo_next_occurrence => next;
    previous_occurrence / pg_finfo_previous_occurrence => previous;
    count_occurrences / pg_finfo_count_occurrences => count;
    calling_role / pg_finfo_calling_role => caller;
}

/// PostgreSQL counts from 2000.
const EPOCH_SECONDS: i64 = 946_684_800;

/// A time zone as the server knows it. It lives as long as the backend.
struct ServerZone(*mut pg_sys::pg_tz);

impl ServerZone {
    fn open(name: &str) -> Result<Self> {
        let unknown = || {
            Error::parameter(format!("unknown time zone \"{name}\""))
                .detail("This server has no time zone of that name.")
                .hint("SELECT name FROM pg_timezone_names lists them, such as Europe/Berlin.")
        };
        let text = CString::new(name).map_err(|_| unknown())?;
        // SAFETY: plain call; a name that is too long is refused by it.
        let zone = unsafe { pg_sys::pg_tzset(text.as_ptr()) };
        if zone.is_null() {
            return Err(unknown());
        }
        Ok(Self(zone))
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

fn read(call: &Call) -> Result<(Schedule, ServerZone)> {
    let text: String = call.get(0, "cron")?;
    let zone: String = call.get(1, "time_zone")?;
    let schedule = Schedule::parse(&text).map_err(|problem| {
        Error::parameter(format!("invalid cron expression \"{}\"", crate::pg::call::shortened(&text)))
            .detail(problem)
            .hint("Five fields: minute, hour, day of month, month, day of week; six with the second in front; or @hourly, @daily, @weekly, @monthly, @yearly.")
    })?;
    Ok((schedule, ServerZone::open(&zone)?))
}

/// A finite time in seconds since 1970, rounded down.
fn seconds(call: &Call, index: usize, name: &str) -> Result<i64> {
    let time: Timestamp = call.get(index, name)?;
    if time == i64::MIN || time == i64::MAX {
        return Err(Error::parameter(format!("{name} must be a finite time"))
            .detail("The call gave infinity.")
            .hint("Leave it NULL for now."));
    }
    Ok(time.div_euclid(1_000_000) + EPOCH_SECONDS)
}

fn timestamp(seconds: Option<i64>) -> Output {
    seconds.map_or(Output::Null, |seconds| {
        Output::from((seconds - EPOCH_SECONDS) * 1_000_000)
    })
}

fn next(call: &mut Call) -> Result<Output> {
    let (schedule, zone) = read(call)?;
    let after = seconds(call, 2, "after")?;
    Ok(timestamp(schedule.next(&zone, after)))
}

fn previous(call: &mut Call) -> Result<Output> {
    let (schedule, zone) = read(call)?;
    // Whole seconds: what lies at this very second is not after it.
    let until = seconds(call, 2, "until")?;
    Ok(timestamp(schedule.previous(&zone, until + 1)))
}

fn count(call: &mut Call) -> Result<Output> {
    let (schedule, zone) = read(call)?;
    let (since, until) = (seconds(call, 2, "since")?, seconds(call, 3, "until")?);
    let most: i32 = call.get(4, "most")?;
    Ok(Output::from(schedule.count(
        &zone,
        since,
        until,
        most.into(),
    )))
}

/// Who called, however many SECURITY DEFINER functions lie between.
fn caller(_: &mut Call) -> Result<Output> {
    // SAFETY: plain calls; the outer user exists.
    let name = unsafe { pg_sys::GetUserNameFromId(pg_sys::GetOuterUserId(), false) };
    // SAFETY: NUL-terminated text in the server's encoding.
    let name = unsafe { std::ffi::CStr::from_ptr(name) };
    Ok(Output::Text(name.to_string_lossy().into_owned()))
}
