//! Times in payloads.

use chrono::DateTime;

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
        .map_or_else(
            || "infinity".to_owned(),
            |time| time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        )
}

#[cfg(test)]
mod tests {
    use super::iso;

    #[test]
    fn times_are_iso_8601_in_utc() {
        assert_eq!(iso(0), "2000-01-01T00:00:00.000000Z");
        assert_eq!(iso(817_656_923_000_123), "2025-11-28T14:55:23.000123Z");
        assert_eq!(iso(-1), "1999-12-31T23:59:59.999999Z");
        assert_eq!(iso(i64::MAX), "infinity");
    }
}
