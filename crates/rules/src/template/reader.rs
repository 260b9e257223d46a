//! Typed access to a JSON object that collects the problems instead of stopping at the first.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::budget::{Budget, Spent};
use crate::names::{misspelled, nearest, shown};
use crate::number::{Decimal, whole_number};
use crate::problem::Problem;

/// Everything found so far, and what the search may still cost.
#[derive(Debug)]
pub(super) struct Findings {
    problems: Vec<Problem>,
    /// Whether the template is stored. What was accepted once stays readable: values that break a newer rule are kept.
    stored: bool,
    budget: Budget,
    spent: Option<Spent>,
}

impl Findings {
    pub(super) fn new(budget: &Budget) -> Self {
        Self {
            problems: vec![],
            stored: false,
            budget: budget.part(u64::MAX),
            spent: None,
        }
    }

    pub(super) fn of_stored(budget: &Budget) -> Self {
        Self {
            stored: true,
            ..Self::new(budget)
        }
    }

    /// Asked in every round of a loop over the steps or their dependencies: whether to go on. What was read until then is of no
    /// use without all the rest, so [`Findings::spent`] is asked at the end.
    pub(super) fn goes_on(&mut self, work: u64) -> bool {
        if self.spent.is_none() {
            self.spent = self.budget.spend(work).err();
        }
        self.spent.is_none()
    }

    /// An error if the search ended early.
    pub(super) fn spent(&self) -> Result<(), Spent> {
        self.spent.map_or(Ok(()), Err)
    }

    pub(super) const fn is_stored(&self) -> bool {
        self.stored
    }

    pub(super) fn error(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem::error(path, message));
    }

    pub(super) fn warning(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem::warning(path, message));
    }

    /// The findings without repetitions, in the order in which they were made.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut seen = HashSet::new();
        let mut problems = self.problems;
        problems.retain(|problem| seen.insert(problem.clone()));
        problems
    }
}

/// `path` with one more name.
pub(super) fn below(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// What a value is, for "expected ..., found ...".
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// One object of the input and the place for findings about it.
pub(super) struct Object<'v, 'f> {
    map: &'v Map<String, Value>,
    path: String,
    findings: &'f mut Findings,
}

impl<'v, 'f> Object<'v, 'f> {
    /// `None`, with a finding, if the value is no object.
    pub(super) fn open(value: &'v Value, path: &str, findings: &'f mut Findings) -> Option<Self> {
        match value {
            Value::Object(map) => Some(Self {
                map,
                path: path.to_owned(),
                findings,
            }),
            other => {
                findings.error(
                    path,
                    format!("expected an object, found {}", kind_of(other)),
                );
                None
            }
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn findings(&mut self) -> &mut Findings {
        self.findings
    }

    /// Tells about every key that is not in `known`: one that is spelled almost as a known one is an error, because what was
    /// meant would silently not happen; any other is ignored with a warning. Keys that begin with `x-` or a dot are the
    /// author's own, for example for anchors.
    pub(super) fn tell_unknown(&mut self, known: &[&str]) {
        for key in self.map.keys() {
            if known.contains(&key.as_str()) || key.starts_with("x-") || key.starts_with('.') {
                continue;
            }
            let path = below(&self.path, key);
            if let Some(word) = misspelled(key, known.iter().copied()) {
                let message = format!("unknown key {}; write {word}", shown(key));
                self.findings.error(path, message);
                continue;
            }
            let advice = nearest(key, known.iter().copied())
                .map_or_else(String::new, |word| format!("; did you mean {word}?"));
            let message = format!("unknown key {} is ignored{advice}", shown(key));
            self.findings.warning(path, message);
        }
    }

    /// The value under the first spelling that is present and not null, with its path. A second spelling with another
    /// value is an error.
    pub(super) fn get(&mut self, spellings: &[&str]) -> Option<(&'v Value, String)> {
        let mut found: Option<(&'v Value, &str)> = None;
        for spelling in spellings {
            let Some(value) = self.map.get(*spelling).filter(|value| !value.is_null()) else {
                continue;
            };
            match found {
                None => found = Some((value, spelling)),
                Some((first, name)) if first != value => {
                    let message = format!("conflicts with its synonym {name}; give one of them");
                    self.findings.error(below(&self.path, spelling), message);
                }
                Some(_) => {}
            }
        }
        found.map(|(value, spelling)| (value, below(&self.path, spelling)))
    }

    /// A text that passes `check`.
    pub(super) fn text(
        &mut self,
        spellings: &[&str],
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Option<String> {
        let (value, path) = self.get(spellings)?;
        text_value(value, &path, check, self.findings)
    }

    /// A text that names one of a few words.
    pub(super) fn word<T>(
        &mut self,
        spellings: &[&str],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (value, path) = self.get(spellings)?;
        let text = text_value(value, &path, |_| Ok(()), self.findings)?;
        parse(&text)
            .map_err(|message| self.findings.error(path, message))
            .ok()
    }

    /// true or false; also the words that YAML 1.1 took for them, with a warning.
    pub(super) fn boolean(&mut self, spellings: &[&str]) -> Option<bool> {
        let (value, path) = self.get(spellings)?;
        let read = match value {
            Value::Bool(value) => return Some(*value),
            Value::String(text) => match text.to_ascii_lowercase().as_str() {
                "yes" | "y" | "on" | "true" => Some(true),
                "no" | "n" | "off" | "false" => Some(false),
                _ => None,
            },
            _ => None,
        };
        match read {
            Some(read) => self.findings.warning(
                path,
                format!("the text {value} is read as {read}; write {read}"),
            ),
            None => self.findings.error(
                path,
                format!("expected true or false, found {}", described(value)),
            ),
        }
        read
    }

    /// A whole number within bounds.
    pub(super) fn integer(&mut self, spellings: &[&str], least: i64, most: i64) -> Option<i64> {
        let (value, path) = self.get(spellings)?;
        integer_value(value, &path, least, most, self.findings)
    }

    /// A list with its path.
    pub(super) fn list(&mut self, spellings: &[&str], hint: &str) -> Option<(&'v [Value], String)> {
        let (value, path) = self.get(spellings)?;
        match value {
            Value::Array(items) => Some((items, path)),
            other => {
                self.findings.error(
                    path,
                    format!("expected a list, found {}{hint}", kind_of(other)),
                );
                None
            }
        }
    }

    /// An object as it stands.
    pub(super) fn map(&mut self, spellings: &[&str]) -> Option<Map<String, Value>> {
        let (value, path) = self.get(spellings)?;
        match value {
            Value::Object(map) => Some(map.clone()),
            other => {
                self.findings.error(
                    path,
                    format!("expected an object, found {}", kind_of(other)),
                );
                None
            }
        }
    }
}

/// A value for a message: texts and numbers shown, the rest by kind.
pub(super) fn described(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the text {}", shown(text)),
        Value::Number(number) => format!("the number {}", shown(number.as_str()).trim_matches('"')),
        other => kind_of(other).to_owned(),
    }
}

/// The text in `value`, if it is one and passes `check`.
pub(super) fn text_value(
    value: &Value,
    path: &str,
    check: impl Fn(&str) -> Result<(), String>,
    findings: &mut Findings,
) -> Option<String> {
    match value {
        Value::String(text) => match check(text) {
            Ok(()) => Some(text.clone()),
            Err(message) => {
                findings.error(path, message);
                findings.stored.then(|| text.clone())
            }
        },
        Value::Number(_) | Value::Bool(_) => {
            findings.error(
                path,
                format!(
                    "expected a text, found {}; put it in quotes",
                    described(value)
                ),
            );
            None
        }
        other => {
            findings.error(path, format!("expected a text, found {}", kind_of(other)));
            None
        }
    }
}

/// The whole number in `value`, if it is one within the bounds.
pub(super) fn integer_value(
    value: &Value,
    path: &str,
    least: i64,
    most: i64,
    findings: &mut Findings,
) -> Option<i64> {
    let Value::Number(number) = value else {
        findings.error(
            path,
            format!("expected a whole number, found {}", described(value)),
        );
        return None;
    };
    match whole_number(number) {
        Some(value) if (least..=most).contains(&value) => Some(value),
        _ => {
            let message = format!(
                "expected a whole number from {least} to {most}, found {}",
                described(value)
            );
            findings.error(path, message);
            // Within the bounds of the type that the caller reads.
            whole_number(number)
                .filter(|_| findings.stored)
                .map(|value| value.clamp(least, most))
        }
    }
}

/// Reports what no `jsonb` can hold: the character U+0000 and numbers beyond the range of `numeric`.
// Recursion is bounded by the parser's depth limit.
pub(super) fn check_storable(value: &Value, path: &str, findings: &mut Findings) {
    match value {
        Value::String(text) if text.contains('\0') => {
            findings.error(
                path,
                "contains the character U+0000, which PostgreSQL cannot store",
            );
        }
        Value::Number(number) if !storable(number) => {
            let message = format!("{} is beyond the range of numeric", described(value));
            findings.error(path, message);
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                // Paths are only built where something can be wrong below.
                if !matches!(item, Value::Null | Value::Bool(_)) {
                    check_storable(item, &format!("{path}[{index}]"), findings);
                }
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                if key.contains('\0') {
                    findings.error(
                        path,
                        "has a key with the character U+0000, which PostgreSQL cannot store",
                    );
                }
                check_storable(item, &below(path, key), findings);
            }
        }
        _ => {}
    }
}

fn storable(number: &serde_json::Number) -> bool {
    Decimal::of(number).is_some_and(|decimal| decimal.fits_numeric())
}
