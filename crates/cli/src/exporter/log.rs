//! The exporter's own log: a line on stderr for each event, as text or as JSON.

use std::io::Write;
use std::sync::OnceLock;
use std::time::SystemTime;

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
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_text_stays_one_line() {
        let line = plain_line("warn", "away", &[("detail", "a\nb \"c\"")]);
        assert!(
            line.ends_with(" warn away detail=\"a\\nb \\\"c\\\"\"\n"),
            "{line}"
        );
    }
}
