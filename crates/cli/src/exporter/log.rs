//! The exporter's own log: a line on stderr for each event, as text or as JSON.

use std::io::Write;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::options::LogFormat;

static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// What the rest of the run writes; the first call counts.
pub fn set_up(format: LogFormat) {
    FORMAT.get_or_init(|| format);
}

pub fn info(message: &str, fields: &[(&str, &str)]) {
    write("info", message, fields);
}

pub fn warning(message: &str, fields: &[(&str, &str)]) {
    write("warn", message, fields);
}

pub fn error(message: &str, fields: &[(&str, &str)]) {
    write("error", message, fields);
}

fn write(level: &str, message: &str, fields: &[(&str, &str)]) {
    let line = match FORMAT.get().copied().unwrap_or(LogFormat::Plain) {
        LogFormat::Json => json_line(level, message, fields),
        LogFormat::Plain => plain_line(level, message, fields),
    };
    // A log that cannot be written must not end the exporter.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn json_line(level: &str, message: &str, fields: &[(&str, &str)]) -> String {
    let mut object = Map::new();
    object.insert("timestamp".into(), json!(now()));
    object.insert("level".into(), json!(level));
    object.insert("component".into(), json!("exporter"));
    object.insert("message".into(), json!(message));
    for (key, value) in fields {
        object.insert((*key).into(), json!(value));
    }
    format!("{}\n", Value::Object(object))
}

/// A line is one line, whatever a server says in its messages.
fn plain_line(level: &str, message: &str, fields: &[(&str, &str)]) -> String {
    let mut line = format!("{} {level} {message}", now());
    for (key, value) in fields {
        line.push_str(&format!(" {key}={value:?}"));
    }
    line.push('\n');
    line
}

/// The time in ISO 8601, UTC, with milliseconds.
pub fn now() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let (year, month, day) = civil(i64::try_from(since.as_secs() / 86_400).unwrap_or(0));
    let second = since.as_secs() % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    )
}

/// The date of a day since 1970-01-01, in the Gregorian calendar: years begin in March, so that a leap day ends one.
fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_787), (2026, 11, 30));
        assert_eq!(civil(24_166), (2036, 3, 1));
    }

    #[test]
    fn a_line_of_text_stays_one_line() {
        let line = plain_line("warn", "away", &[("detail", "a\nb \"c\"")]);
        assert!(
            line.ends_with(" warn away detail=\"a\\nb \\\"c\\\"\"\n"),
            "{line}"
        );
    }
}
