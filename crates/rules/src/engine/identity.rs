//! When two requests for a task are the same one: SHA-256 over a canonical form.
//!
//! The canonical form is a JSON array, so no field can run into the next one. In it object keys are sorted by their bytes,
//! and a number is written as its decimal digits without zeros at either end, `e` and an exponent, taken from its text and
//! never through floating point: 1, 1.0 and 1e0 are the same number, and numbers of any length stay apart. It begins with
//! the name of the form, so that a later form cannot be mistaken for this one.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::number::Decimal;

/// The fields of a request that its identity consists of. Tags, priority and times are not among them.
#[derive(Debug, Clone, Copy)]
pub struct IdentityOptions<'a> {
    /// Namespace of the task.
    pub namespace: &'a str,
    /// Name of the task.
    pub name: &'a str,
    /// Version of the template, after resolution: never empty.
    pub version: &'a str,
    /// The initiator, as the request names it.
    pub initiator: &'a str,
    /// The system that the request comes from.
    pub source_system: &'a str,
    /// The context.
    pub context: &'a Value,
    /// The reason, as the request names it.
    pub reason: &'a str,
    /// Names of the steps to bypass; order and repetition do not matter.
    pub bypass_steps: &'a [String],
}

/// How long the strategy `hash` refuses an equal request after the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// As long as the first task is there.
    Off,
    /// This many seconds, at least one.
    Seconds(i32),
}

impl Default for Window {
    /// A minute: what a hash protects from is one request sent twice, by a second click or by a client that lost the answer.
    /// Counted from the first request, and not by the clock, so that two requests at a turn of a minute are refused too.
    fn default() -> Self {
        Self::Seconds(60)
    }
}

impl Window {
    /// Units of the text form; the plural is understood too.
    const UNITS: &[(&str, i32)] = &[
        ("second", 1),
        ("minute", 60),
        ("hour", 3600),
        ("day", 86_400),
    ];

    /// Whether an equal request is a task of its own by now. A task that was cancelled will not do the work, so it
    /// refuses no other. `since_us`: microseconds since the first request; below zero where the clock was set back, which must not
    /// make the window longer.
    pub fn is_over(self, since_us: i64, cancelled: bool) -> bool {
        let passed = match self {
            Self::Off => false,
            Self::Seconds(seconds) => {
                since_us.unsigned_abs() >= u64::from(seconds.unsigned_abs()) * 1_000_000
            }
        };
        cancelled || passed
    }

    /// The window of this many seconds; `None` below one.
    pub fn from_seconds(seconds: i64) -> Option<Self> {
        i32::try_from(seconds)
            .ok()
            .filter(|seconds| *seconds > 0)
            .map(Self::Seconds)
    }
}

impl FromStr for Window {
    type Err = String;

    /// Errors: the sentence to show.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let (number, unit) = text.split_once(' ').unwrap_or((text, "second"));
        let unit = Self::UNITS
            .iter()
            .find(|(name, _)| *name == unit || unit.strip_suffix('s') == Some(*name));
        let seconds = match (number.parse::<i64>(), unit) {
            (Ok(number), Some((_, size))) => number.checked_mul(i64::from(*size)),
            _ => None,
        };
        seconds.and_then(Self::from_seconds).ok_or_else(|| {
            format!(
                "expected off, a number of seconds or a text such as 10 minutes or 1 day, found {}",
                crate::names::shown(text)
            )
        })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Seconds(1) => f.write_str("1 second"),
            Self::Seconds(seconds) => write!(f, "{seconds} seconds"),
        }
    }
}

/// The identity of a request under the strategy `hash`: 64 lowercase hexadecimal digits.
pub fn hash(request: &IdentityOptions<'_>) -> String {
    let mut bypass: Vec<&str> = request.bypass_steps.iter().map(String::as_str).collect();
    bypass.sort_unstable();
    bypass.dedup();
    let mut form = Form::new("tasker request 1");
    for text in [
        request.namespace,
        request.name,
        request.version,
        request.initiator,
        request.source_system,
        request.reason,
    ] {
        form.text(text);
    }
    form.next();
    form.value(request.context);
    form.next();
    form.list(bypass.into_iter(), |form, name| form.quoted(name));
    form.finish()
}

/// The identity of a request that brings its own key: 64 lowercase hexadecimal digits.
///
/// The key counts within the namespace and name of the task, whatever its version.
pub fn hash_of_key(namespace: &str, name: &str, key: &str) -> String {
    let mut form = Form::new("tasker key 1");
    form.text(namespace);
    form.text(name);
    form.text(key);
    form.finish()
}

/// The canonical text of a JSON value, as it goes into the hash: for tests and explanations.
pub fn canonical(value: &Value) -> String {
    let mut form = Form { out: String::new() };
    form.value(value);
    form.out
}

struct Form {
    out: String,
}

impl Form {
    fn new(kind: &str) -> Self {
        let mut form = Self {
            out: "[".to_owned(),
        };
        form.quoted(kind);
        form
    }

    fn next(&mut self) {
        self.out.push(',');
    }

    fn text(&mut self, text: &str) {
        self.next();
        self.quoted(text);
    }

    fn quoted(&mut self, text: &str) {
        // JSON's own escapes: unambiguous, and the same for the same text.
        self.out.push_str(&Value::from(text).to_string());
    }

    fn list<T>(&mut self, items: impl Iterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        self.out.push('[');
        for (index, item) in items.enumerate() {
            if index > 0 {
                self.next();
            }
            write(self, item);
        }
        self.out.push(']');
    }

    // Values come from a parser that limits their depth, which bounds the recursion.
    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.out.push_str("null"),
            Value::Bool(true) => self.out.push_str("true"),
            Value::Bool(false) => self.out.push_str("false"),
            Value::Number(number) => match Decimal::of(number) {
                Some(decimal) => self.out.push_str(&decimal.canonical()),
                // An exponent that no store can hold: its own text is at least never the text of another number.
                None => self.out.push_str(&number.as_str().to_ascii_uppercase()),
            },
            Value::String(text) => self.quoted(text),
            Value::Array(items) => self.list(items.iter(), Self::value),
            Value::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_unstable_by_key(|entry| entry.0);
                self.out.push('{');
                for (index, (key, item)) in entries.into_iter().enumerate() {
                    if index > 0 {
                        self.next();
                    }
                    self.quoted(key);
                    self.out.push(':');
                    self.value(item);
                }
                self.out.push('}');
            }
        }
    }

    fn finish(mut self) -> String {
        self.out.push(']');
        let digest = Sha256::digest(self.out.as_bytes());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, json};

    fn of<'a>(context: &'a Value) -> IdentityOptions<'a> {
        IdentityOptions {
            namespace: "default",
            name: "t",
            version: "0.1.0",
            initiator: "unknown",
            source_system: "unknown",
            context,
            reason: "unknown",
            bypass_steps: &[],
        }
    }

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn the_hash_has_64_hexadecimal_digits_and_never_changes() {
        let context = json!({"a": 1});
        let got = hash(&of(&context));
        assert_eq!(got.len(), 64);
        assert!(
            got.bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        );
        // Stored hashes outlive the library: a change of the form must be a decision.
        let form = r#"["tasker request 1","default","t","0.1.0","unknown","unknown","unknown",{"a":1e0},[]]"#;
        let expected: String = Sha256::digest(form)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn the_order_of_keys_in_the_context_does_not_matter() {
        let one = parsed(r#"{"a": {"x": 1, "y": [2, 3]}, "b": 2}"#);
        let other = parsed(r#"{"b": 2, "a": {"y": [2, 3], "x": 1}}"#);
        assert_eq!(hash(&of(&one)), hash(&of(&other)));
        let list = parsed(r#"{"a": {"x": 1, "y": [3, 2]}, "b": 2}"#);
        assert_ne!(hash(&of(&one)), hash(&of(&list)));
    }

    #[test]
    fn every_field_of_the_request_changes_the_hash() {
        let (context, other_context) = (json!({"a": 1}), json!({"a": 2}));
        let base = of(&context);
        let bypass = ["s".to_owned()];
        let variants = [
            base,
            IdentityOptions {
                namespace: "other",
                ..base
            },
            IdentityOptions {
                name: "other",
                ..base
            },
            IdentityOptions {
                version: "0.2.0",
                ..base
            },
            IdentityOptions {
                initiator: "other",
                ..base
            },
            IdentityOptions {
                source_system: "other",
                ..base
            },
            IdentityOptions {
                reason: "other",
                ..base
            },
            IdentityOptions {
                context: &other_context,
                ..base
            },
            IdentityOptions {
                bypass_steps: &bypass,
                ..base
            },
        ];
        let hashes: std::collections::HashSet<_> = variants.iter().map(hash).collect();
        assert_eq!(hashes.len(), variants.len());
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let context = json!({});
        let base = of(&context);
        let one = IdentityOptions {
            initiator: "a\",\"b",
            source_system: "c",
            ..base
        };
        let other = IdentityOptions {
            initiator: "a",
            source_system: "b\",\"c",
            ..base
        };
        assert_ne!(hash(&one), hash(&other));
        assert_ne!(hash_of_key("a", "bc", "d"), hash_of_key("ab", "c", "d"));
        assert_ne!(hash_of_key("a", "b", "c"), hash_of_key("a", "b", "d"));
        assert_eq!(hash_of_key("a", "b", "c"), hash_of_key("a", "b", "c"));
    }

    #[test]
    fn an_equal_request_passes_after_the_window_and_after_the_first_was_cancelled() {
        let minute = Window::default();
        let second = 1_000_000;
        for (window, since, cancelled, over) in [
            (minute, 0, false, false),
            (minute, 59 * second, false, false),
            (minute, 60 * second, false, true),
            (minute, 0, true, true),
            (Window::Off, i64::MAX, false, false),
            (Window::Off, 0, true, true),
            // The clock was set back: a little by accident, or by more than the window.
            (minute, -second, false, false),
            (minute, -60 * second, false, true),
            (minute, i64::MIN, false, true),
            (Window::Seconds(i32::MAX), 60 * second, false, false),
        ] {
            assert_eq!(
                window.is_over(since, cancelled),
                over,
                "{window} {since} {cancelled}"
            );
        }
    }

    #[test]
    fn a_window_is_off_or_a_duration_with_its_unit() {
        for (text, window) in [
            ("off", Window::Off),
            ("30", Window::Seconds(30)),
            ("1 second", Window::Seconds(1)),
            ("10 minutes", Window::Seconds(600)),
            ("2 hours", Window::Seconds(7200)),
            ("1 day", Window::Seconds(86_400)),
        ] {
            assert_eq!(text.parse(), Ok(window), "{text}");
            assert_eq!(window.to_string().parse(), Ok(window));
        }
        for text in [
            "",
            "on",
            "0",
            "-1 day",
            "1 week",
            "day",
            "1.5 days",
            "99999999999 days",
            "1  day",
        ] {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
    }

    #[test]
    fn order_and_repetition_of_bypassed_steps_do_not_matter() {
        let context = json!({});
        let named = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            hash(&IdentityOptions {
                bypass_steps: &names,
                ..of(&context)
            })
        };
        assert_eq!(named(&["a", "b", "a"]), named(&["b", "a"]));
        assert_ne!(named(&["a"]), named(&["a", "b"]));
    }

    #[test]
    fn equal_numbers_are_equal_however_written() {
        assert_eq!(canonical(&parsed("[1, 1.0, 1e0, -0]")), "[1e0,1e0,1e0,0]");
        let one = parsed(r#"{"n": 12345678901234567890123}"#);
        let next = parsed(r#"{"n": 12345678901234567890124}"#);
        assert_ne!(hash(&of(&one)), hash(&of(&next)));
        assert_ne!(canonical(&json!("1")), canonical(&json!(1)));
        assert_eq!(
            canonical(&parsed("1e99999999999999999999")),
            "1E+99999999999999999999"
        );
    }

    /// JSON values up to a depth of four.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((".{0,4}", inner), 0..5)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    fn reversed(value: &Value) -> Value {
        match value {
            Value::Array(items) => Value::Array(items.iter().map(reversed).collect()),
            Value::Object(map) => {
                let entries = map
                    .iter()
                    .rev()
                    .map(|(key, item)| (key.clone(), reversed(item)));
                Value::Object(entries.collect::<Map<_, _>>())
            }
            other => other.clone(),
        }
    }

    proptest! {
        #[test]
        fn key_order_never_matters(value in any_json()) {
            prop_assert_eq!(canonical(&value), canonical(&reversed(&value)));
        }

        #[test]
        fn different_values_have_different_forms(one in any_json(), other in any_json()) {
            prop_assert_eq!(one == other, canonical(&one) == canonical(&other));
        }
    }
}
