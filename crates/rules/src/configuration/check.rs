//! Checks one file: every problem at once, each at its place.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Leaves;
use super::component::{Component, File};
use super::document::{self, Content, Item, Place};
use super::finding::{Finding, Severity};
use super::key::{Home, Key};
use super::keys::Keys;
use super::limits;
use super::secrets::Secrets;
use super::suggest;
use super::variables::{self, Lookup};
use crate::names::shown;

/// Where the value of each key stands.
pub type Places = BTreeMap<String, Place>;

/// What a file is checked with.
#[derive(Clone, Copy)]
pub struct Rules<'r> {
    /// The known keys.
    pub keys: &'r Keys,
    /// What is not kept.
    pub secrets: &'r Secrets,
    /// For the loader: where variables are looked up. None: `${VAR}` is an error.
    pub variables: Option<Lookup<'r>>,
}

/// A file that was read.
#[derive(Debug, Default, PartialEq)]
pub struct Read {
    /// The values that are good, without secrets. Do not keep them if there is an error.
    pub leaves: Leaves,
    /// Where their values are.
    pub places: Places,
    /// In the order of the file.
    pub findings: Vec<Finding>,
}

impl Read {
    /// Whether the file must not be loaded.
    pub fn has_error(&self) -> bool {
        has_error(&self.findings, false)
    }
}

/// Whether these findings mean that nothing is loaded. `force` lets pass what it can.
pub fn has_error(findings: &[Finding], force: bool) -> bool {
    findings.iter().any(|finding| match finding.severity {
        Severity::Error => true,
        Severity::Forcible => !force,
        Severity::Warning => false,
    })
}

/// Reads and checks the text of a file.
pub fn read(file: &File, toml: &str, rules: &Rules) -> Read {
    let document = document::parse(toml);
    let mut reader = Reader {
        file,
        rules,
        read: Read::default(),
        unknown: BTreeSet::new(),
    };
    for (at, problem) in &document.problems {
        reader.finding(Severity::Error, *at, problem.clone());
    }
    if document.problems.is_empty() {
        reader.own_section(&document.items);
    }
    let mut sections: Vec<_> = document
        .items
        .iter()
        .filter(|item| item.content == Content::Section)
        .collect();
    // An unknown section has one finding; nothing is said about what is below it.
    sections.sort_by_key(|item| item.parts.len());
    for item in sections {
        reader.section(item);
    }
    for item in &document.items {
        reader.item(item);
    }
    reader.read.findings.sort_by_key(|finding| finding.at);
    reader.read
}

/// Gives findings of files together the places of their keys.
pub fn place(findings: &mut [Finding], places: &BTreeMap<File, Places>) {
    for finding in findings.iter_mut().filter(|finding| finding.at.is_none()) {
        let Some(places) = finding.file.as_ref().and_then(|file| places.get(file)) else {
            continue;
        };
        finding.at = finding
            .message
            .split_once(": ")
            .and_then(|(key, _)| places.get(key))
            .copied();
    }
}

struct Reader<'r> {
    file: &'r File,
    rules: &'r Rules<'r>,
    read: Read,
    unknown: BTreeSet<String>,
}

impl Reader<'_> {
    fn finding(&mut self, severity: Severity, at: Place, message: String) {
        self.read.findings.push(Finding {
            severity,
            file: Some(self.file.clone()),
            at: Some(at),
            message,
        });
    }

    fn error(&mut self, at: Place, path: &str, message: &str) {
        self.finding(Severity::Error, at, format!("{path}: {message}"));
    }

    fn warning(&mut self, at: Place, path: &str, message: &str) {
        self.finding(Severity::Warning, at, format!("{path}: {message}"));
    }

    /// Without the section of the component's own name, which is the root.
    fn below_own<'i>(&self, item: &'i Item) -> &'i [String] {
        match item.parts.split_first() {
            Some((first, rest)) if first == self.file.component.name() => rest,
            _ => &item.parts,
        }
    }

    /// Some files are nothing without the section of their own name.
    fn own_section(&mut self, items: &[Item]) {
        let component = self.file.component;
        let wanted = matches!(
            component,
            Component::Database
                | Component::ExecutorPools
                | Component::Orchestration
                | Component::Pgmq
        );
        let stands = |item: &Item| {
            item.content == Content::Section
                && item
                    .parts
                    .first()
                    .is_some_and(|part| part == component.name())
        };
        if wanted && self.file.environment.is_none() && !items.iter().any(stands) {
            let message = format!("the section [{component}] is missing; the file must have it");
            self.finding(Severity::Error, (1, 1), message);
        }
    }

    fn section(&mut self, item: &Item) {
        let parts = self.below_own(item);
        let path = self.path(parts);
        let Ok(path) = path else {
            return;
        };
        if path.is_empty() || self.is_below_unknown(&path) {
            return;
        }
        let (component, keys) = (self.file.component, self.rules.keys);
        if keys.has_section(component, &path) {
            return;
        }
        let message = match keys.find(component, &path) {
            Some(key) => format!("must be {}; it is a section", key.allowed()),
            None => format!(
                "there is no such section{}",
                suggest::section(keys, component, &path)
            ),
        };
        self.error(item.at, &path, &message);
        self.unknown.insert(path);
    }

    fn is_below_unknown(&self, path: &str) -> bool {
        path.match_indices('.')
            .map(|(dot, _)| &path[..dot])
            .any(|above| self.unknown.contains(above))
    }

    /// The name with dots. Errors: the name for a message, if no key can have it.
    fn path(&self, parts: &[String]) -> Result<String, String> {
        let plain = |part: &String| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
        };
        if parts.iter().all(plain) {
            return Ok(parts.join("."));
        }
        let parts: Vec<_> = parts
            .iter()
            .map(|part| match part {
                part if self.rules.secrets.tells(part) => self.rules.secrets.mask().to_owned(),
                part if plain(part) => part.clone(),
                part => shown(part),
            })
            .collect();
        Err(parts.join("."))
    }

    fn item(&mut self, item: &Item) {
        let (component, keys) = (self.file.component, self.rules.keys);
        let parts = self.below_own(item);
        let path = match self.path(parts) {
            Ok(path) => path,
            Err(path) => {
                return self.error(
                    item.at,
                    &path,
                    "a name has letters, digits, _ and - only; no key has this one",
                );
            }
        };
        if item.content == Content::Section || self.is_below_unknown(&path) {
            return;
        }
        if path.is_empty() {
            let message = format!("must be a section: [{component}]");
            return self.error(item.at, component.name(), &message);
        }
        match keys.find(component, &path) {
            Some(key) => self.value(key, &path, item),
            None if keys.has_section(component, &path) => {
                let message = format!("is a section: write [{path}] above its keys");
                self.error(item.at, &path, &message);
            }
            None => {
                let message = format!(
                    "there is no such key{}",
                    suggest::key(keys, component, &path)
                );
                self.error(item.at, &path, &message);
            }
        }
    }

    fn value(&mut self, key: &'static Key, path: &str, item: &Item) {
        if let Some(first) = self.read.places.get(path) {
            let (line, column) = first;
            let message = format!(
                "stands twice, first at {line}:{column}; [{0}] and what is outside of it are the same section",
                self.file.component
            );
            return self.error(item.at, path, &message);
        }
        self.read.places.insert(path.to_owned(), item.value_at);
        let mut value = match &item.content {
            Content::Value(value) => value.clone(),
            Content::Unfit(what) => {
                let message = format!("must be {}; {what}", key.allowed());
                return self.error(item.value_at, path, &message);
            }
            Content::Section => return,
        };
        if !self.expand(path, &mut value, item.value_at) {
            return;
        }
        if has_nul(&value) {
            return self.error(
                item.value_at,
                path,
                "a text cannot have the character U+0000",
            );
        }
        let Some(masked) = self.hide(key, path, &mut value, item.value_at) else {
            return;
        };
        if !masked && let Err(instead) = key.shape.check(&value) {
            let message = format!("must be {}; {instead}", key.allowed());
            return self.error(item.value_at, path, &message);
        }
        self.doubts(key, path, &value, item);
        self.read.leaves.insert(path.to_owned(), value);
    }

    /// Whether no variable is left.
    fn expand(&mut self, path: &str, value: &mut Value, at: Place) -> bool {
        let refused = match self.rules.variables {
            Some(lookup) => variables::expand(value, lookup).err().map(|refused| refused.to_string()),
            None => variables::unexpanded(value).map(|name| {
                format!(
                    "${{{name}}} is not replaced: the server reads no environment variables, the command `tasker config load` does"
                )
            }),
        };
        if let Some(message) = &refused {
            self.error(at, path, message);
        }
        refused.is_none()
    }

    /// Replaces secrets. Whether the mask is the value now; none if there is no value any more.
    fn hide(&mut self, key: &Key, path: &str, value: &mut Value, at: Place) -> Option<bool> {
        let secrets = self.rules.secrets;
        // A part at a `*` is a free name and no key, unless the value belongs to it.
        let last = key.path.split('.').count();
        let parts: Vec<_> = path
            .split('.')
            .zip(key.path.split('.'))
            .zip(1..)
            .filter(|((_, pattern), number)| *pattern != "*" || *number == last)
            .map(|((part, _), _)| part)
            .collect();
        if secrets.hides(key.component, parts.iter().copied()) {
            if secrets.replace(value) {
                if !key.shape.takes_text() {
                    self.warning(
                        at,
                        path,
                        "filter_parameters hides this key, so its value is not kept; the default holds",
                    );
                    return None;
                }
                let message = format!(
                    "a secret is never stored; {} is kept in its place",
                    shown(secrets.mask())
                );
                self.warning(at, path, &message);
            }
            return Some(key.shape.takes_text());
        }
        if secrets.replace_texts(value) {
            let message = format!(
                "the address of a connection, or a text with a password, is never stored; {} is kept in its place",
                shown(secrets.mask())
            );
            self.warning(at, path, &message);
        }
        Some(value.as_str() == Some(secrets.mask()) && key.shape.takes_text())
    }

    /// What is loaded all the same.
    fn doubts(&mut self, key: &Key, path: &str, value: &Value, item: &Item) {
        if let Some(message) = limits::outside(self.file.component, path, value) {
            self.warning(item.value_at, path, &message);
        }
        match key.home {
            Home::Nothing(instead) => {
                self.warning(item.at, path, &format!("has no effect here: {instead}"));
            }
            _ if self.file.component == Component::Auth
                && ["authentication_enabled", "strategy"].contains(&path) =>
            {
                self.warning(
                    item.at,
                    path,
                    "PostgreSQL authenticates: pg_hba.conf says how, and this key changes nothing of it",
                );
            }
            _ => {}
        }
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(elements) => elements.iter().any(has_nul),
        _ => false,
    }
}
