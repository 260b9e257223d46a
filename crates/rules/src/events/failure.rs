//! What the row of the log keeps of a failure: the next attempt overwrites what the row of the step says.

use serde_json::{Map, Value};

use crate::engine::readiness::NEVER;
use crate::engine::retry::Attempts;

/// Whether and when a step runs again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Not by itself.
    Never,
    /// Once its task is taken up again.
    Held,
    /// After this number of microseconds; 0: at once.
    After(i64),
}

impl Next {
    /// What the clock of the step says, `now`.
    pub fn of(now: i64, available_at: Option<i64>) -> Self {
        match available_at {
            None => Self::Never,
            Some(NEVER) => Self::Held,
            Some(at) => Self::After(at.saturating_sub(now).max(0)),
        }
    }

    /// The keys that a row carries.
    pub fn metadata(self) -> Map<String, Value> {
        let key = match self {
            Self::Never => None,
            Self::Held => Some(("held".to_owned(), true.into())),
            Self::After(wait) => Some(("retry_after_seconds".to_owned(), seconds(wait))),
        };
        key.into_iter().collect()
    }
}

/// A run that failed, and what follows.
#[derive(Debug, Clone)]
pub struct Failure<'f> {
    /// What went wrong.
    pub message: &'f str,
    /// Its error class.
    pub class: Option<&'f str>,
    /// The attempts when the run ended.
    pub attempts: Attempts,
    /// Whether and when the step runs again.
    pub next: Next,
    /// What decided about the delay, if it was a backoff: the name of the policy, or [`SERVER_REQUESTED`].
    pub backoff: Option<&'static str>,
    /// The run ended without a report.
    pub expired: bool,
    /// Lines of the backtrace.
    pub backtrace: Vec<&'f str>,
}

/// The backoff of a report that asks for a delay.
pub const SERVER_REQUESTED: &str = "server_requested";

const MOST_OF_MESSAGE: usize = 1000;
const MOST_OF_CLASS: usize = 255;
/// Lines of a backtrace that are kept.
pub const MOST_LINES: usize = 10;
const MOST_OF_LINE: usize = 200;

fn beginning(text: &str, most: usize) -> &str {
    text.char_indices()
        .nth(most)
        .map_or(text, |(end, _)| &text[..end])
}

/// Seconds, without a fraction if they are whole.
fn seconds(microseconds: i64) -> Value {
    if microseconds % 1_000_000 == 0 {
        Value::from(microseconds / 1_000_000)
    } else {
        Value::from(microseconds as f64 / 1e6)
    }
}

impl Failure<'_> {
    /// The keys that the row carries; [`super::rows::Said`] reads those on which events depend.
    pub fn metadata(&self) -> Map<String, Value> {
        let mut keys = self.next.metadata();
        let mut set = |key: &str, value: Value| {
            keys.insert(key.to_owned(), value);
        };
        set(
            "error_message",
            beginning(self.message, MOST_OF_MESSAGE).into(),
        );
        if let Some(text) = self.class {
            set("error_class", beginning(text, MOST_OF_CLASS).into());
        }
        set("retryable", self.attempts.retryable.into());
        set("retry_limit", self.attempts.limit.into());
        if let (Next::After(_), Some(backoff)) = (self.next, self.backoff) {
            set("backoff_type", backoff.into());
        }
        if self.expired {
            set("expired", true.into());
        }
        let lines: Vec<&str> = self
            .backtrace
            .iter()
            .take(MOST_LINES)
            .map(|line| beginning(line, MOST_OF_LINE))
            .collect();
        if !lines.is_empty() {
            set("backtrace", lines.into());
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::events::rows::Said;

    fn failure(next: Next) -> Failure<'static> {
        Failure {
            message: "it broke",
            class: Some("IOError"),
            attempts: Attempts {
                made: 1,
                limit: 3,
                retryable: true,
            },
            next,
            backoff: Some("linear"),
            expired: false,
            backtrace: vec![],
        }
    }

    #[test]
    fn the_clock_of_a_step_says_whether_and_when_it_runs_again() {
        for (available_at, next) in [
            (None, Next::Never),
            (Some(NEVER), Next::Held),
            (Some(5), Next::After(0)),
            (Some(7), Next::After(0)),
            (Some(9), Next::After(2)),
        ] {
            assert_eq!(Next::of(7, available_at), next, "{available_at:?}");
        }
    }

    #[test]
    fn a_row_says_what_the_events_ask() {
        for (next, expired) in [
            (Next::Never, false),
            (Next::Held, true),
            (Next::After(0), true),
            (Next::After(1_500_000), false),
        ] {
            let failure = Failure {
                expired,
                ..failure(next)
            };
            let wait = match next {
                Next::After(wait) => Some(wait as f64 / 1e6),
                _ => None,
            };
            let said = Said {
                retry_after_seconds: wait,
                held: next == Next::Held,
                retry_limit: Some(3),
                expired,
                ..Said::default()
            };
            let metadata = Value::Object(failure.metadata());
            assert_eq!(Said::of(&metadata), said, "{metadata}");
        }
    }

    #[test]
    fn only_a_step_that_runs_again_has_a_backoff_and_whole_seconds_have_no_fraction() {
        let keys = |next| Value::Object(failure(next).metadata());
        assert_eq!(
            keys(Next::Never),
            json!({"error_message": "it broke", "error_class": "IOError", "retryable": true, "retry_limit": 3})
        );
        assert_eq!(keys(Next::Held).get("backoff_type"), None);
        let waits = keys(Next::After(2_000_000));
        assert_eq!(waits["retry_after_seconds"], json!(2));
        assert_eq!(waits["backoff_type"], "linear");
        let waits = keys(Next::After(250_000));
        assert_eq!(waits["retry_after_seconds"], json!(0.25));
    }

    #[test]
    fn texts_are_bounded_and_cut_between_characters() {
        let long = "é".repeat(2000);
        let failure = Failure {
            message: &long,
            class: Some(&long),
            backtrace: vec![&long; 20],
            ..failure(Next::Never)
        };
        let metadata = Value::Object(failure.metadata());
        let length = |value: &Value| value.as_str().map(|text| text.chars().count());
        assert_eq!(length(&metadata["error_message"]), Some(1000));
        assert_eq!(length(&metadata["error_class"]), Some(255));
        let lines = metadata["backtrace"].as_array().expect("lines");
        assert_eq!(lines.len(), 10);
        assert!(lines.iter().all(|line| length(line) == Some(200)));
    }
}
