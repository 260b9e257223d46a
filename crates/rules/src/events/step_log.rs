//! What a worker's report says of the log of its run: how a line is read, and how many there can be. docs/logging.md#logs-of-steps.

use chrono::{DateTime, NaiveDateTime};

/// Lines of a claim at most; one more says what was cut.
pub const MOST_LINES: usize = 1000;
/// Bytes of all its messages and fields.
pub const MOST_BYTES: usize = 256 << 10;

/// Microseconds from 1970 to the zero of PostgreSQL's times.
const ZERO_US: i64 = 946_684_800_000_000;
/// The end of the year 9999 in seconds since 1970.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// A time as ISO 8601, without an offset in UTC, or as seconds since 1970; in microseconds since 2000. None: it is none.
pub fn time_of_text(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return time_of_number(seconds);
    }
    let time = DateTime::parse_from_rfc3339(text)
        .map(|time| time.timestamp_micros())
        .ok()
        .or_else(|| {
            ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
                .iter()
                .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
                .map(|time| time.and_utc().timestamp_micros())
        })?;
    Some(time - ZERO_US)
}

/// Seconds since 1970.
pub fn time_of_number(seconds: f64) -> Option<i64> {
    let in_range = (0.0..=LAST_SECOND).contains(&seconds);
    in_range.then(|| (seconds * 1e6).round() as i64 - ZERO_US)
}

/// How much of the log of a claim is kept.
#[derive(Debug, Default)]
pub struct Kept {
    lines: usize,
    bytes: usize,
    /// Whether something of a line was cut.
    pub cut: bool,
}

impl Kept {
    /// Whether there is room for another line.
    pub fn has_room(&self) -> bool {
        !self.cut && self.lines < MOST_LINES
    }

    /// How many bytes are left.
    pub fn room(&self) -> usize {
        MOST_BYTES - self.bytes
    }

    /// A line with this many bytes of fields; how much of its message is kept, and whether its fields are. What does not fit ends the log.
    pub fn take<'m>(&mut self, message: &'m str, fields: usize) -> (&'m str, bool) {
        self.lines += 1;
        if message.len() + fields <= self.room() {
            self.bytes += message.len() + fields;
            return (message, true);
        }
        self.cut = true;
        let mut end = message.len().min(self.room());
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        self.bytes += end;
        (&message[..end], false)
    }

    /// The line that says what was cut: how many lines were not kept. None: nothing was cut.
    pub fn said(&self, left_out: usize) -> Option<String> {
        let end = match (self.cut, left_out) {
            (false, 0) => return None,
            (true, 0) => "the end of the line before".to_owned(),
            (true, _) => format!("the end of the line before and {left_out} more"),
            (false, _) => format!("{left_out} more lines"),
        };
        Some(format!(
            "cut: {end}; a claim keeps {MOST_LINES} lines and {MOST_BYTES} bytes"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::time::iso;

    #[test]
    fn times_of_several_forms_are_read() {
        for (text, at) in [
            ("2026-11-30T20:39:00.123456Z", "2026-11-30T20:39:00.123456Z"),
            ("2026-11-30T22:39:00+02:00", "2026-11-30T20:39:00.000000Z"),
            ("2026-11-30T20:39:00.5", "2026-11-30T20:39:00.500000Z"),
            ("2026-11-30 20:39:00", "2026-11-30T20:39:00.000000Z"),
            ("1764535140.25", "2025-11-30T20:39:00.250000Z"),
        ] {
            assert_eq!(time_of_text(text).map(iso).as_deref(), Some(at), "{text}");
        }
        for bad in [
            "",
            "yesterday",
            "-1",
            "1e300",
            "NaN",
            "2026-13-01T00:00:00Z",
        ] {
            assert_eq!(time_of_text(bad), None, "{bad}");
        }
    }

    #[test]
    fn lines_and_bytes_are_limited() {
        let mut kept = Kept::default();
        for _ in 0..MOST_LINES {
            assert!(kept.has_room());
            assert_eq!(kept.take("x", 0), ("x", true));
        }
        assert!(!kept.has_room());
        assert_eq!(kept.said(0), None);
        assert!(
            kept.said(3)
                .is_some_and(|said| said.starts_with("cut: 3 more lines;"))
        );

        let mut kept = Kept::default();
        let long = "é".repeat(MOST_BYTES / 2 - 1);
        assert_eq!(kept.take(&long, 0), (long.as_str(), true));
        assert_eq!(kept.room(), 2);
        assert_eq!(kept.take("aéb", 0), ("a", false));
        assert!(!kept.has_room());
        assert!(
            kept.said(0)
                .is_some_and(|said| said.starts_with("cut: the end of the line before;"))
        );

        let mut kept = Kept::default();
        assert_eq!(kept.take("x", MOST_BYTES), ("x", false));
        assert!(kept.said(2).is_some_and(|said| said.contains("and 2 more")));
    }
}
