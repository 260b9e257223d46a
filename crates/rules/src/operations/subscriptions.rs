//! Reads a file of subscriptions: `subscriptions.<name>` with `class`, `enabled`, `events` and `config`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::events::catalog::CATALOG;
use crate::events::pattern::{PATTERN_HINT, Pattern};
use crate::names;
use crate::problem::Problem;
use crate::template::{self, SyntaxError};

/// A subscription that can be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The name of its subscriber.
    pub name: String,
    /// Its place in the file.
    pub path: String,
    /// As the file says.
    pub class: Option<String>,
    /// The function inside the database that gets its events; `None`: it is polled.
    pub handler: Option<String>,
    /// What it listens to.
    pub patterns: Vec<String>,
    /// Whether the file says so; `None`: it does not say.
    pub enabled: Option<bool>,
}

/// A subscription that cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The name of its subscriber.
    pub name: String,
    /// As the file says.
    pub class: Option<String>,
    /// What is wrong with it.
    pub error: String,
}

/// What is in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct File {
    /// Subscriptions without an error, in the order of their names.
    pub subscriptions: Vec<Subscription>,
    /// The others, in the same order.
    pub refused: Vec<Refused>,
    /// What is wrong, by place.
    pub problems: Vec<Problem>,
}

/// The keys of a subscription.
const KEYS: [&str; 4] = ["class", "enabled", "events", "config"];

/// Reads the text of a file, YAML or JSON. `handlers` maps classes to functions; `custom` are the names of registered events.
pub fn read(
    text: &str,
    handlers: &Map<String, Value>,
    custom: &BTreeSet<String>,
) -> Result<File, SyntaxError> {
    let document = template::parse(text)?;
    let mut file = File::default();
    let Some(document) = document.as_object() else {
        file.error("", "the file must be an object with the key subscriptions");
        return Ok(file);
    };
    for key in document.keys().filter(|key| *key != "subscriptions") {
        let known = names::misspelled(key, ["subscriptions"]);
        file.warn(
            &names::shown(key),
            match known {
                Some(known) => format!("unknown key; did you mean {known}?"),
                None => "nothing reads this key".to_owned(),
            },
        );
    }
    match document.get("subscriptions") {
        None => file.error("subscriptions", "the key is missing"),
        Some(Value::Null) => {}
        Some(Value::Object(all)) => {
            let reader = Reader { handlers, custom };
            for (name, given) in all {
                reader.subscription(name, given, &mut file);
            }
        }
        Some(_) => file.error(
            "subscriptions",
            "must be an object: names and subscriptions",
        ),
    }
    Ok(file)
}

impl File {
    fn error(&mut self, path: &str, message: impl Into<String>) {
        self.problems.push(Problem::error(path, message));
    }

    fn warn(&mut self, path: &str, message: impl Into<String>) {
        self.problems.push(Problem::warning(path, message));
    }
}

fn class(given: &Value) -> Option<String> {
    given.get("class")?.as_str().map(str::to_owned)
}

struct Reader<'r> {
    handlers: &'r Map<String, Value>,
    custom: &'r BTreeSet<String>,
}

impl Reader<'_> {
    fn subscription(&self, name: &str, given: &Value, file: &mut File) {
        let before = file.problems.len();
        let read = self.fields(name, given, file);
        let errors = file.problems[before..].iter().filter(|p| p.is_error());
        let errors: Vec<String> = errors.map(Problem::to_string).collect();
        match read {
            Some(subscription) if errors.is_empty() => file.subscriptions.push(subscription),
            _ => file.refused.push(Refused {
                name: name.to_owned(),
                class: class(given),
                error: errors.join("; "),
            }),
        }
    }

    fn fields(&self, name: &str, given: &Value, file: &mut File) -> Option<Subscription> {
        let path = format!("subscriptions.{name}");
        if let Err(message) = names::check_subscriber(name) {
            file.error("subscriptions", message);
        }
        let Some(fields) = given.as_object() else {
            file.error(&path, "must be an object with the key events");
            return None;
        };
        for key in fields.keys().filter(|key| !KEYS.contains(&key.as_str())) {
            let message = names::misspelled(key, KEYS).map_or_else(
                || "nothing reads this key".to_owned(),
                |known| format!("unknown key; did you mean {known}?"),
            );
            file.warn(&format!("{path}.{key}"), message);
        }
        let patterns = self.patterns(&path, fields.get("events"), file);
        let handler = self.handler(&path, fields.get("class"), file);
        let enabled = match fields.get("enabled") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(enabled)) => Some(*enabled),
            Some(_) => {
                file.error(&format!("{path}.enabled"), "must be true or false");
                None
            }
        };
        if fields
            .get("config")
            .is_some_and(|config| !config.is_null() && config != &Value::Object(Map::new()))
        {
            file.warn(
                &format!("{path}.config"),
                "it is not stored: the program that handles the events has its own configuration",
            );
        }
        Some(Subscription {
            name: name.to_owned(),
            path,
            class: class(given),
            handler,
            patterns,
            enabled,
        })
    }

    fn patterns(&self, path: &str, given: Option<&Value>, file: &mut File) -> Vec<String> {
        let path = format!("{path}.events");
        let texts: Vec<&Value> = match given {
            Some(Value::Array(list)) => list.iter().collect(),
            Some(text @ Value::String(_)) => vec![text],
            _ => {
                file.error(&path, "must be a list of names or patterns");
                return vec![];
            }
        };
        if texts.is_empty() {
            file.error(&path, "names no event");
        }
        let mut patterns = vec![];
        for (index, text) in texts.into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(text) = text.as_str() else {
                file.error(&path, "must be a text");
                continue;
            };
            match Pattern::parse(text) {
                Err(bad) => file.error(&path, format!("{bad}. {PATTERN_HINT}")),
                Ok(pattern) => {
                    self.unheard(&path, text, &pattern, file);
                    patterns.push(text.to_owned());
                }
            }
        }
        patterns
    }

    /// A pattern that no known event matches is probably a mistake.
    fn unheard(&self, path: &str, text: &str, pattern: &Pattern, file: &mut File) {
        let known = || {
            let custom = self.custom.iter().map(String::as_str);
            CATALOG.iter().map(|entry| entry.name).chain(custom)
        };
        if known().any(|name| pattern.fits(name)) {
            return;
        }
        let nearest = names::nearest(text, known())
            .map_or_else(String::new, |name| format!("; did you mean {name}?"));
        file.warn(path, format!("no event of event_catalog matches{nearest}"));
    }

    fn handler(&self, path: &str, class: Option<&Value>, file: &mut File) -> Option<String> {
        let path = format!("{path}.class");
        let class = match class {
            None | Some(Value::Null) => return None,
            Some(Value::String(class)) => class,
            Some(_) => {
                file.error(&path, "must be a text");
                return None;
            }
        };
        match self.handlers.get(class) {
            Some(Value::String(handler)) => Some(handler.clone()),
            Some(_) => {
                file.error(
                    &path,
                    format!("handlers has no text for {}", names::shown(class)),
                );
                None
            }
            None => {
                file.warn(
                    &path,
                    format!(
                        "handlers does not name a function for {}: its program calls poll_events",
                        names::shown(class)
                    ),
                );
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> File {
        let handlers = json!({"Auditor": "sql:shop.audit(jsonb)", "Broken": 1});
        let custom = BTreeSet::from(["order.paid".to_owned()]);
        let handlers = handlers.as_object().expect("an object");
        super::read(text, handlers, &custom).expect("the text can be read")
    }

    fn problems(text: &str) -> Vec<String> {
        read(text)
            .problems
            .iter()
            .map(|problem| format!("{} {problem}", problem.severity.as_str()))
            .collect()
    }

    #[test]
    fn a_subscription_has_its_class_mapped_or_is_polled() {
        let file = read(
            "subscriptions:
  audit: {class: Auditor, events: ['*'], enabled: true}
  mails: {class: Mailer, enabled: false, events: [task.completed, 'order.*'], config: {from: me}}
  plain: {events: task.failed}",
        );
        let subscription =
            |name: &str, class: Option<&str>, handler: Option<&str>, patterns: &[&str], enabled| {
                let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
                Subscription {
                    name: name.to_owned(),
                    path: format!("subscriptions.{name}"),
                    class: class.map(str::to_owned),
                    handler: handler.map(str::to_owned),
                    patterns: owned(patterns),
                    enabled,
                }
            };
        assert_eq!(
            file.subscriptions,
            [
                subscription(
                    "audit",
                    Some("Auditor"),
                    Some("sql:shop.audit(jsonb)"),
                    &["*"],
                    Some(true)
                ),
                subscription(
                    "mails",
                    Some("Mailer"),
                    None,
                    &["task.completed", "order.*"],
                    Some(false)
                ),
                subscription("plain", None, None, &["task.failed"], None),
            ]
        );
        let messages: Vec<String> = file.problems.iter().map(Problem::to_string).collect();
        assert_eq!(
            messages,
            [
                "subscriptions.mails.class: handlers does not name a function for \"Mailer\": its program calls poll_events",
                "subscriptions.mails.config: it is not stored: the program that handles the events has its own configuration",
            ]
        );
    }

    #[test]
    fn a_bad_subscription_does_not_keep_the_others_out() {
        let text = "subscriptions:
  one: {events: [task.failed]}
  two: {events: [], enabled: maybe, class: 7}
  three: 3
  four: {events: ['a*b', 5], class: Broken}
  five: {class: Auditor}
  '': {events: ['*']}";
        let names: Vec<String> = read(text)
            .subscriptions
            .into_iter()
            .map(|subscription| subscription.name)
            .collect();
        assert_eq!(names, ["one"]);
        let refused: Vec<(String, Option<String>)> = read(text)
            .refused
            .into_iter()
            .map(|refused| (refused.name, refused.class))
            .collect();
        let class = |name: &str| Some(name.to_owned());
        assert_eq!(
            refused,
            [
                ("two".to_owned(), None),
                ("three".to_owned(), None),
                ("four".to_owned(), class("Broken")),
                ("five".to_owned(), class("Auditor")),
                (String::new(), None),
            ]
        );
        assert_eq!(
            read(text).refused.first().map(|refused| &*refused.error),
            Some(
                "subscriptions.two.events: names no event; subscriptions.two.class: must be a text; subscriptions.two.enabled: must be true or false"
            )
        );
        let mut found = problems(text);
        found.sort();
        let mut expected = vec![
            "error subscriptions.two.events: names no event".to_owned(),
            "error subscriptions.two.enabled: must be true or false".to_owned(),
            "error subscriptions.two.class: must be a text".to_owned(),
            "error subscriptions.three: must be an object with the key events".to_owned(),
            format!(
                "error subscriptions.four.events[0]: pattern \"a*b\" has its star neither at its beginning nor at its end. {PATTERN_HINT}"
            ),
            "error subscriptions.four.events[1]: must be a text".to_owned(),
            "error subscriptions.four.class: handlers has no text for \"Broken\"".to_owned(),
            "error subscriptions.five.events: must be a list of names or patterns".to_owned(),
            "error subscriptions: subscriber is empty".to_owned(),
        ];
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_misspelled_event_or_key_is_a_warning() {
        assert_eq!(
            problems(
                "subscriptions: {a: {events: [task.complete, order.paid, 'nope.*'], event: x}}"
            ),
            [
                "warning subscriptions.a.event: unknown key; did you mean events?",
                "warning subscriptions.a.events[0]: no event of event_catalog matches; did you mean task.completed?",
                "warning subscriptions.a.events[2]: no event of event_catalog matches",
            ]
        );
        assert_eq!(
            problems("subscription: {}"),
            [
                "warning \"subscription\": unknown key; did you mean subscriptions?",
                "error subscriptions: the key is missing",
            ]
        );
    }

    #[test]
    fn a_file_without_subscriptions_says_what_is_missing() {
        assert_eq!(problems("subscriptions:"), Vec::<String>::new());
        assert_eq!(
            problems("subscriptions: [1]"),
            ["error subscriptions: must be an object: names and subscriptions"]
        );
        assert_eq!(
            problems("[]"),
            ["error the file must be an object with the key subscriptions"]
        );
        let error = super::read("subscriptions: {", &Map::new(), &BTreeSet::new());
        assert_eq!(error.map_err(|error| error.line > 0), Err(true));
    }
}
