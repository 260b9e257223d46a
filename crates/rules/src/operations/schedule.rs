//! When a cron expression fires, in a time zone whose clock jumps.
//!
//! The crate croner reads the expression and walks the calendar, which knows no time zone; what a jump of the clock means is
//! decided here, once, whatever the form of the expression:
//! - a time that does not exist fires once, at the first instant after the gap;
//! - a time that exists twice fires once, the first time;
//! - an expression that fires in every hour follows the clock on the wall as it runs: it fires in both of two equal hours,
//!   and nothing is made up for an hour that is left out.
//!
//! Instants are seconds since 1970 in UTC.

use chrono::{DateTime, NaiveDateTime};
use croner::Cron;
use croner::parser::{CronParser, Year};

/// The clock of a time zone.
pub trait Zone {
    /// Seconds east of UTC at an instant.
    fn offset_at(&self, instant: i64) -> i64;
    /// The first instant after this one at which the offset is another than just before.
    fn next_change(&self, after: i64) -> Option<i64>;
}

/// The zone without changes.
pub struct Utc;

impl Zone for Utc {
    fn offset_at(&self, _: i64) -> i64 {
        0
    }

    fn next_change(&self, _: i64) -> Option<i64> {
        None
    }
}

/// No clock is put back by more than this.
const LONGEST_REPETITION: i64 = 2 * 86_400;

/// A cron expression that has been read.
#[derive(Clone)]
pub struct Schedule {
    cron: Cron,
    every_hour: bool,
}

impl Schedule {
    /// Reads five fields (minute, hour, day of month, month, day of week), six with the second in front, or a nickname.
    ///
    /// Errors: the sentence to show.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = match text.trim() {
            nickname if nickname.eq_ignore_ascii_case("@midnight") => "@daily",
            other => other,
        };
        let cron = CronParser::builder()
            .year(Year::Disallowed)
            .build()
            .parse(text)
            .map_err(|error| match error {
                croner::errors::CronError::EmptyPattern => "it is empty".to_owned(),
                croner::errors::CronError::InvalidPattern(message)
                | croner::errors::CronError::IllegalCharacters(message)
                | croner::errors::CronError::ComponentError(message) => message,
                other => other.to_string(),
            })?;
        let every_hour = (0..24).all(|hour| cron.pattern.hour_match(hour).unwrap_or(false));
        Ok(Self { cron, every_hour })
    }

    /// The first time on a calendar without a zone, from this one on.
    fn next_local(&self, from: i64) -> Option<i64> {
        let from: NaiveDateTime = DateTime::from_timestamp(from, 0)?.naive_utc();
        let found = self.cron.find_next_occurrence(&from, true).ok()?;
        Some(found.and_utc().timestamp())
    }

    /// The first occurrence after an instant; `None` if there is none up to the year 5000.
    pub fn next(&self, zone: &impl Zone, after: i64) -> Option<i64> {
        let mut shown_until = self.shown_until(zone, after);
        let mut segment = after;
        let mut local = after.checked_add(zone.offset_at(after))?.checked_add(1)?;
        loop {
            let offset = zone.offset_at(segment);
            local = self.next_local(local.max(shown_until))?;
            let instant = local.checked_sub(offset)?;
            let change = zone
                .next_change(segment)
                .filter(|change| *change <= instant);
            let Some(change) = change else {
                return Some(instant);
            };
            // The clock jumps before it shows that time.
            let later = zone.offset_at(change);
            if later > offset && local < change + later && !self.every_hour {
                return Some(change);
            }
            if later < offset && !self.every_hour {
                shown_until = shown_until.max(change + offset);
            }
            local = change + later;
            segment = change;
        }
    }

    /// The local time before which everything has been shown already at an instant after the clock was put back.
    fn shown_until(&self, zone: &impl Zone, instant: i64) -> i64 {
        let mut until = i64::MIN;
        if self.every_hour {
            return until;
        }
        let mut at = instant.saturating_sub(LONGEST_REPETITION);
        while let Some(change) = zone.next_change(at).filter(|change| *change <= instant) {
            let before = zone.offset_at(change - 1);
            if zone.offset_at(change) < before {
                until = until.max(change + before);
            }
            at = change;
        }
        until
    }

    /// The last occurrence before an instant; `None` if there is none within a hundred years.
    pub fn previous(&self, zone: &impl Zone, before: i64) -> Option<i64> {
        const DAY: i64 = 86_400;
        let last = before.checked_sub(1)?;
        [
            60,
            3600,
            DAY,
            32 * DAY,
            366 * DAY,
            9 * 366 * DAY,
            36_525 * DAY,
        ]
        .into_iter()
        .find_map(|span| {
            let first = self.next(zone, last.checked_sub(span)?)?;
            (first <= last).then(|| self.last_between(zone, first, last))
        })
    }

    /// The last occurrence until an instant, from an earlier one on.
    fn last_between(&self, zone: &impl Zone, first: i64, last: i64) -> i64 {
        let (mut found, mut none_from) = (first, last + 1);
        while none_from - found > 1 {
            let middle = found + (none_from - found) / 2;
            match self.next(zone, middle - 1).filter(|next| *next < none_from) {
                Some(next) => found = next,
                None => none_from = middle,
            }
        }
        found
    }

    /// How many occurrences lie from one instant on and before another; counts no further than `most`.
    pub fn count(&self, zone: &impl Zone, from: i64, until: i64, most: i64) -> i64 {
        let mut count = 0;
        let mut at = from.saturating_sub(1);
        while count < most
            && let Some(next) = self.next(zone, at).filter(|next| *next < until)
        {
            count += 1;
            at = next;
        }
        count
    }
}
