//! Lines of the server's log as objects, and what they say of an event. docs/logging.md.

use serde_json::{Map, Value};

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The message alone.
    Text,
    /// An object on one line.
    Json,
    /// An object on several lines.
    PrettyJson,
    /// `key=value` pairs, texts in quotes.
    Logfmt,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // Their names say it.
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

impl Level {
    /// Its name in a line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }

    /// The level that a word stands for in one of the usual libraries; None: in none of them.
    pub fn of_word(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "trace" | "verbose" => Self::Trace,
            "debug" => Self::Debug,
            "info" | "information" | "notice" | "log" => Self::Info,
            "warn" | "warning" => Self::Warn,
            "error" | "err" | "exception" => Self::Error,
            "fatal" | "critical" | "alert" | "emergency" | "panic" => Self::Fatal,
            _ => return None,
        })
    }

    /// The level of a number as Python's logging has them: 10 debug, 20 info, 30 warning, 40 error, 50 critical.
    pub fn of_number(number: f64) -> Self {
        match number {
            number if number >= 50.0 => Self::Fatal,
            number if number >= 40.0 => Self::Error,
            number if number >= 30.0 => Self::Warn,
            number if number >= 20.0 => Self::Info,
            number if number >= 10.0 => Self::Debug,
            _ => Self::Trace,
        }
    }

    /// The level of an event, from the end of its name.
    pub fn of_event(name: &str) -> Self {
        match name.rsplit('.').next().unwrap_or(name) {
            "failed" | "error" => Self::Error,
            "warn" | "warning" => Self::Warn,
            "debug" | "trace" => Self::Debug,
            _ => Self::Info,
        }
    }
}

/// How fast something was: at most a tenth of a second, a second, five seconds, or more.
pub fn performance_category(seconds: f64) -> &'static str {
    match seconds {
        seconds if seconds <= 0.1 => "fast",
        seconds if seconds <= 1.0 => "moderate",
        seconds if seconds <= 5.0 => "slow",
        _ => "very_slow",
    }
}

/// Seconds in milliseconds with two digits.
pub fn duration_ms(seconds: f64) -> Value {
    Value::from((seconds * 100_000.0).round() / 100.0)
}

/// A line: keys with their values, in the order in which they were put in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Line(Vec<(String, Value)>);

impl Line {
    /// Without keys.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a key. One that is there already keeps its value.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.add(key, value);
        self
    }

    /// The same, if there is a value.
    #[must_use]
    pub fn with_opt(self, key: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Adds a key. One that is there already keeps its value.
    pub fn add(&mut self, key: &str, value: impl Into<Value>) {
        if !self.0.iter().any(|(own, _)| own == key) {
            self.0.push((key.to_owned(), value.into()));
        }
    }

    /// Adds all keys of another line.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for (key, value) in other.0 {
            self.add(&key, value);
        }
        self
    }

    /// Changes what may be changed before the line is written: the values, by their keys.
    pub fn each(&mut self, mut change: impl FnMut(&str, &mut Value)) {
        for (key, value) in &mut self.0 {
            change(key, value);
        }
    }

    /// The line as a message. `Text`: that of the key `message`.
    pub fn written(&self, format: Format) -> String {
        match format {
            Format::Text => {
                let message = self.0.iter().find(|(key, _)| key == "message");
                let text = message.and_then(|(_, value)| value.as_str());
                text.unwrap_or_default().to_owned()
            }
            Format::Json => {
                let pair = |(key, value): &(String, Value)| format!("{}:{value}", json(key));
                format!("{{{}}}", self.joined(",", pair))
            }
            Format::PrettyJson => {
                let pair = |(key, value): &(String, Value)| {
                    let value = serde_json::to_string_pretty(value).unwrap_or_default();
                    format!("  {}: {}", json(key), value.replace('\n', "\n  "))
                };
                format!("{{\n{}\n}}", self.joined(",\n", pair))
            }
            Format::Logfmt => self.joined(" ", |(key, value)| {
                let key: String = key.chars().map(word).collect();
                match value {
                    Value::String(text) => format!("{key}={}", json(text)),
                    Value::Array(_) | Value::Object(_) => {
                        format!("{key}={}", json(&value.to_string()))
                    }
                    _ => format!("{key}={value}"),
                }
            }),
        }
    }

    fn joined(&self, between: &str, pair: impl Fn(&(String, Value)) -> String) -> String {
        let pairs: Vec<String> = self.0.iter().map(pair).collect();
        pairs.join(between)
    }
}

/// A text in quotes, on one line whatever it holds.
fn json(text: &str) -> String {
    Value::from(text).to_string()
}

/// A key of logfmt ends at a space, a quote or an equals sign.
fn word(c: char) -> char {
    if c.is_whitespace() || c.is_control() || matches!(c, '=' | '"') {
        '_'
    } else {
        c
    }
}

/// What a line says of an event.
pub struct Told<'t> {
    /// Its canonical name.
    pub name: &'t str,
    /// Its payload.
    pub payload: &'t Map<String, Value>,
    /// The task.
    pub task_uuid: Option<&'t str>,
    /// The step.
    pub step_uuid: Option<&'t str>,
}

impl Told<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.payload.get(key).and_then(Value::as_str)
    }

    /// Of what kind it is.
    fn entity(&self) -> &str {
        match self.name.split('.').next().unwrap_or(self.name) {
            "observability" if self.step_uuid.is_some() => "step",
            "observability" => "task",
            first => first,
        }
    }

    fn seconds(&self) -> Option<f64> {
        let keys = ["execution_duration", "total_execution_duration"];
        keys.iter()
            .find_map(|key| self.payload.get(*key).and_then(Value::as_f64))
    }

    /// The sentence: `Step completed (ID: ..., Step: charge, Duration: 0.25s)`.
    pub fn message(&self) -> String {
        let (entity, action) = self.name.split_once('.').unwrap_or((self.name, ""));
        let mut first = entity.chars();
        let entity: String = first
            .next()
            .into_iter()
            .flat_map(char::to_uppercase)
            .chain(first)
            .collect();
        let action = action.replace(['_', '.'], " ");
        let seconds = self.seconds().map(|seconds| format!("{seconds}s"));
        let facts = [
            ("ID", self.step_uuid.or(self.task_uuid).map(str::to_owned)),
            ("Step", self.text("step_name").map(str::to_owned)),
            ("Error", self.text("error_message").map(str::to_owned)),
            ("Duration", seconds),
        ];
        let facts: Vec<String> = facts
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}: {}", value?)))
            .collect();
        let facts = match facts.is_empty() {
            true => String::new(),
            false => format!(" ({})", facts.join(", ")),
        };
        format!("{} {action}{facts}", entity).replace("  ", " ")
    }

    /// The keys of a task or a step, and the payload.
    pub fn line(&self) -> Line {
        let state = self.text("to_state");
        let mut line = Line::new()
            .with("event_name", self.name)
            .with("event_type", self.name.rsplit('.').next())
            .with("entity_type", self.entity())
            .with_opt("entity_id", self.step_uuid.or(self.task_uuid));
        if self.step_uuid.is_some() {
            line = line
                .with_opt("entity_name", self.text("step_name"))
                .with_opt("step_status", state)
                .with_opt("step_uuid", self.step_uuid)
                .with_opt("step", self.text("step_name"))
                .with_opt("attempt", self.payload.get("attempt_number").cloned())
                .with_opt("worker", self.text("worker_id"));
        } else {
            line = line
                .with_opt("entity_name", self.text("task_name"))
                .with_opt("task_status", state);
        }
        line = line
            .with_opt("task_uuid", self.task_uuid)
            .with_opt("task_id", self.task_uuid)
            .with_opt("task", self.text("task_name"))
            .with_opt("task_name", self.text("task_name"));
        if let Some(seconds) = self.seconds() {
            line = line
                .with("duration_ms", duration_ms(seconds))
                .with("performance_category", performance_category(seconds));
        }
        line.with_opt("exception_class", self.text("exception_class"))
            .with_opt("exception_message", self.text("error_message"))
            .with("payload", self.payload.clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn line() -> Line {
        Line::new()
            .with("message", "a \"b\"\nc=d")
            .with("n", 7)
            .with("yes", true)
            .with("no key\"=", Value::Null)
            .with("list", json!([1, {"a": "x"}]))
    }

    #[test]
    fn a_line_is_an_object_on_one_line() {
        let text = line().written(Format::Json);
        assert!(!text.contains('\n'));
        let object: Map<String, Value> = serde_json::from_str(&text).expect("an object");
        assert_eq!(object["message"], "a \"b\"\nc=d");
        assert_eq!(
            object.keys().collect::<Vec<_>>(),
            ["message", "n", "yes", "no key\"=", "list"]
        );
    }

    #[test]
    fn a_pretty_line_is_the_same_object() {
        let pretty = line().written(Format::PrettyJson);
        assert!(pretty.starts_with("{\n  \"message\": ") && pretty.ends_with("\n}"));
        let of = |text: &str| serde_json::from_str::<Value>(text).expect("an object");
        assert_eq!(of(&pretty), of(&line().written(Format::Json)));
    }

    #[test]
    fn logfmt_has_texts_in_quotes_and_nothing_else() {
        assert_eq!(
            line().written(Format::Logfmt),
            r#"message="a \"b\"\nc=d" n=7 yes=true no_key__=null list="[1,{\"a\":\"x\"}]""#
        );
    }

    #[test]
    fn a_text_is_the_message_alone() {
        assert_eq!(line().written(Format::Text), "a \"b\"\nc=d");
        assert_eq!(Line::new().written(Format::Text), "");
    }

    #[test]
    fn the_first_value_of_a_key_stays() {
        let line = Line::new().with("a", 1).with("a", 2);
        let other = Line::new().with("a", 3).with("b", 4);
        assert_eq!(line.and(other).written(Format::Logfmt), "a=1 b=4");
    }

    #[test]
    fn levels_follow_the_names_of_events() {
        for (name, level) in [
            ("step.failed", "error"),
            ("disk.error", "error"),
            ("disk.warn", "warn"),
            ("disk.warning", "warn"),
            ("task.started", "info"),
            ("task.completed", "info"),
            ("x.debug", "debug"),
            ("x.trace", "debug"),
            ("order.paid", "info"),
            ("step.failed_twice", "info"),
        ] {
            assert_eq!(Level::of_event(name).name(), level, "{name}");
        }
    }

    #[test]
    fn levels_of_the_usual_libraries_are_known() {
        for (word, level) in [
            ("WARNING", "warn"),
            ("Critical", "fatal"),
            ("notice", "info"),
            ("err", "error"),
            ("TRACE", "trace"),
        ] {
            assert_eq!(Level::of_word(word).map(Level::name), Some(level));
        }
        assert_eq!(Level::of_word("loud"), None);
        let numbers = [0.0, 10.0, 20.0, 35.0, 40.0, 50.0];
        assert_eq!(
            numbers.map(|number| Level::of_number(number).name()),
            ["trace", "debug", "info", "warn", "error", "fatal"]
        );
    }

    #[test]
    fn durations_have_categories() {
        let seconds = [0.0, 0.1, 0.11, 1.0, 1.1, 5.0, 5.1];
        assert_eq!(
            seconds.map(performance_category),
            [
                "fast",
                "fast",
                "moderate",
                "moderate",
                "slow",
                "slow",
                "very_slow"
            ]
        );
        assert_eq!(duration_ms(0.123_456_7), json!(123.46));
    }

    #[test]
    fn an_event_of_a_step_says_what_its_payload_says() {
        let payload = json!({"task_name": "order", "step_name": "charge", "attempt_number": 2, "worker_id": "w", "to_state": "error",
            "execution_duration": 1.5, "error_message": "declined", "exception_class": "Declined"});
        let told = Told {
            name: "step.failed",
            payload: payload.as_object().expect("an object"),
            task_uuid: Some("t"),
            step_uuid: Some("s"),
        };
        assert_eq!(
            told.message(),
            "Step failed (ID: s, Step: charge, Error: declined, Duration: 1.5s)"
        );
        assert_eq!(
            told.line().written(Format::Json),
            json!({"event_name": "step.failed", "event_type": "failed", "entity_type": "step", "entity_id": "s", "entity_name": "charge",
                "step_status": "error", "step_uuid": "s", "step": "charge", "attempt": 2, "worker": "w", "task_uuid": "t", "task_id": "t",
                "task": "order", "task_name": "order", "duration_ms": 1500.0, "performance_category": "slow",
                "exception_class": "Declined", "exception_message": "declined", "payload": payload})
            .to_string()
        );
    }

    #[test]
    fn an_event_of_no_task_has_a_sentence_too() {
        let payload = Map::new();
        let told = Told {
            name: "orders.paid.late",
            payload: &payload,
            task_uuid: None,
            step_uuid: None,
        };
        assert_eq!(told.message(), "Orders paid late");
    }

    proptest! {
        #[test]
        fn any_text_can_be_read_again(key in ".{0,20}", text in "\\PC{0,30}|[\\x01-\\x1f\"\\\\=]{0,10}") {
            let line = Line::new().with(&key, text.as_str());
            let read: Value = serde_json::from_str(&line.written(Format::Json)).expect("an object");
            prop_assert_eq!(&read[&key], &text);
            prop_assert!(!line.written(Format::Logfmt).contains('\n'));
        }
    }
}
