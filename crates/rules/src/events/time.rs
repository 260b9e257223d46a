//! Times in payloads.

use chrono::{DateTime, Datelike, Timelike, Utc};

/// Microseconds from 1970 to the zero of PostgreSQL's times.
const ZERO_US: i64 = 946_684_800_000_000;

/// ISO 8601 in UTC with microseconds, of microseconds since 2000-01-01; `infinity` and `-infinity` as PostgreSQL writes them.
pub fn iso(at: i64) -> String {
    match at {
        i64::MAX => return "infinity".to_owned(),
        i64::MIN => return "-infinity".to_owned(),
        _ => {}
    }
    at.checked_add(ZERO_US)
        .and_then(DateTime::from_timestamp_micros)
        .map_or_else(|| "infinity".to_owned(), |time| shown(&time))
}

/// The opposite of [`iso`]; `None`: no such time.
pub fn microseconds(text: &str) -> Option<i64> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    time.timestamp_micros().checked_sub(ZERO_US)
}

/// The same with milliseconds.
pub fn milliseconds(at: i64) -> String {
    let mut text = iso(at);
    if text.len() == "2000-01-01T00:00:00.000000Z".len() {
        text.replace_range(23..26, "");
    }
    text
}

/// Each payload has several times, and chrono's patterns cost ten times as much as its calendar.
fn shown(time: &DateTime<Utc>) -> String {
    let mut text = String::with_capacity(27);
    let mut add = |number: u32, digits: u32, behind: char| {
        for place in (0..digits).rev() {
            let digit = number / 10u32.pow(place) % 10;
            text.push(char::from_digit(digit, 10).unwrap_or('0'));
        }
        text.push(behind);
    };
    let Ok(year @ 0..=9999) = u32::try_from(time.year()) else {
        return time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    };
    add(year, 4, '-');
    add(time.month(), 2, '-');
    add(time.day(), 2, 'T');
    add(time.hour(), 2, ':');
    add(time.minute(), 2, ':');
    add(time.second(), 2, '.');
    add(time.nanosecond() / 1_000, 6, 'Z');
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_iso_8601_in_utc() {
        assert_eq!(iso(0), "2000-01-01T00:00:00.000000Z");
        assert_eq!(iso(817_656_923_000_123), "2025-11-28T14:55:23.000123Z");
        assert_eq!(iso(-1), "1999-12-31T23:59:59.999999Z");
        assert_eq!(iso(i64::MAX), "infinity");
        for text in ["infinity", "", "2025-11-28", "2025-11-28T14:55:23"] {
            assert_eq!(microseconds(text), None, "{text}");
        }
        assert_eq!(
            microseconds("2025-11-28T15:55:23.000123+01:00"),
            Some(817_656_923_000_123)
        );
        assert_eq!(
            milliseconds(817_656_923_987_654),
            "2025-11-28T14:55:23.987Z"
        );
        assert_eq!(milliseconds(i64::MAX), "infinity");
    }

    proptest! {
        #[test]
        fn times_are_shown_as_the_calendar_says(at in any::<i64>(), near in -70_000_000_000_000_000..300_000_000_000_000_000i64) {
            for at in [at, near] {
                if let Some(time) = at.checked_add(ZERO_US).and_then(DateTime::from_timestamp_micros) {
                    prop_assert_eq!(iso(at), time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
                    if (0..=9999).contains(&time.year()) {
                        prop_assert_eq!(microseconds(&iso(at)), Some(at));
                    }
                }
            }
        }
    }
}
