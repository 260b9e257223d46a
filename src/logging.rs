//! Lines of the server's log that the extension writes: messages, or objects as tasker.log_format says. docs/logging.md.

use std::cell::Cell;

use serde_json::Value;
use tasker_rules::events::filter_parameters::Mask;
use tasker_rules::events::log_line::{Format, Level, Line, duration_ms, performance_category};
use tasker_rules::events::time;

use crate::error::Error;
use crate::pg::server_log::{self, Severity};
use crate::pg::{backend, call};
use crate::settings;

/// What stands before a message that is no object.
const PREFIX: &str = "tasker_ext: ";

/// What is hidden now.
pub fn mask() -> Mask {
    let (parameters, mask) = settings::filter();
    let text = |text: Option<std::ffi::CString>| {
        text.map(|text| text.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let (parameters, mask) = (text(parameters), text(mask));
    Mask::new(settings::names(&parameters), &mask)
}

std::thread_local! {
    static COMPONENT: Cell<&'static str> = const { Cell::new("session") };
}

/// Names this process in its lines.
pub fn begin(component: &'static str) {
    COMPONENT.set(component);
}

/// A line that is about to be written.
pub struct Said<'s> {
    level: Level,
    component: &'s str,
    message: &'s str,
    /// What else it says.
    line: Line,
}

impl<'s> Said<'s> {
    pub fn new(level: Level, message: &'s str) -> Self {
        Self {
            level,
            component: COMPONENT.get(),
            message,
            line: Line::new(),
        }
    }

    /// What says it, if that is not the process.
    pub fn by(mut self, component: &'s str) -> Self {
        self.component = component;
        self
    }

    /// Keys and values beside the message.
    pub fn and(mut self, line: Line) -> Self {
        self.line = self.line.and(line);
        self
    }

    /// The message and the keys of an error.
    pub fn error(mut self, error: &Error) -> Self {
        self.line = self
            .line
            .with("exception_class", error.sqlstate())
            .with("exception_message", error.message.as_str())
            .with_opt("detail", error.detail.as_deref())
            .with_opt("hint", error.hint.as_deref());
        self
    }

    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.line.add(key, value);
        self
    }

    fn severity(&self) -> Severity {
        if self.level == Level::Warn {
            Severity::Warning
        } else {
            Severity::Log
        }
    }

    /// Writes it to the log, and to the client if it is a warning and there is one.
    pub fn write(self) {
        let text = format!("{PREFIX}{}", self.message);
        match settings::log_format() {
            Format::Text => server_log::to_all(self.severity(), &mask().text(&text)),
            format => {
                let warns = self.level == Level::Warn;
                server_log::to_server(self.severity(), &self.written(format));
                if warns {
                    server_log::to_client(&text);
                }
            }
        }
    }

    /// Writes it to the log alone.
    pub fn write_to_server(self, severity: Severity) {
        let message = match settings::log_format() {
            Format::Text => {
                let text = format!("{PREFIX}{}", self.message);
                mask().text(&text).into_owned()
            }
            format => self.written(format),
        };
        server_log::to_server(severity, &message);
    }

    fn written(self, format: Format) -> String {
        let mask = mask();
        let mut line = Line::new()
            .with("timestamp", time::milliseconds(call::clock()))
            .with("level", self.level.name());
        // The ids come before the message.
        let mut own = Line::new();
        let mut rest = self.line;
        rest.each(|key, value| {
            if key == "correlation_id" {
                own.add(key, value.clone());
            }
        });
        line = line
            .and(own)
            .with("component", self.component)
            .with("message", self.message)
            .with("environment", settings::environment())
            .with("tasker_version", env!("CARGO_PKG_VERSION"))
            .with("process_id", backend::pid())
            .and(rest);
        line.each(|key, value| {
            if mask.hides(key) {
                *value = mask.mask().into();
            } else {
                mask.apply_to_texts(value);
            }
        });
        line.written(format)
    }
}

/// Information.
pub fn info(message: &str) {
    Said::new(Level::Info, message).write();
}

/// A warning, for the client too.
pub fn warn(message: &str) {
    Said::new(Level::Warn, message).write();
}

/// Warns of an operation that took longer than tasker.slow_query_threshold_seconds since this tick.
pub fn note_slow(operation: &str, began: i64) {
    let Some(threshold) = settings::slow_us() else {
        return;
    };
    let microseconds = call::tick() - began;
    if microseconds > threshold {
        tell_slow(operation, microseconds, threshold);
    }
}

#[cold]
fn tell_slow(operation: &str, microseconds: i64, threshold: i64) {
    let seconds = microseconds as f64 / 1e6;
    let message = format!(
        "slow operation: {operation} took {} ms, more than {} ms",
        duration_ms(seconds),
        duration_ms(threshold as f64 / 1e6)
    );
    Said::new(Level::Warn, &message)
        .with("operation", operation)
        .with("duration_ms", duration_ms(seconds))
        .with("performance_category", performance_category(seconds))
        .with("is_slow", true)
        .write_to_server(Severity::Warning);
}
