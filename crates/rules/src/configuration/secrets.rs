//! Secrets are never stored: a value that is one is replaced before it is kept, or quoted in a message.

use std::borrow::Cow;

use serde_json::Value;

use super::component::Component;
use crate::events::filter_parameters::{DEFAULT_MASK, DEFAULT_PARAMETERS, Mask};

/// Schemes of addresses that carry a login, or stand for one.
const SCHEMES: [&str; 17] = [
    "amqp",
    "amqps",
    "clickhouse",
    "jdbc",
    "mariadb",
    "mongodb",
    "mongodb+srv",
    "mssql",
    "mysql",
    "mysql2",
    "oracle",
    "postgis",
    "postgres",
    "postgresql",
    "redis",
    "rediss",
    "sqlserver",
];

/// What hides a value: the key, as `filter_parameters` says, or that it is the address of a connection.
#[derive(Debug, Clone)]
pub struct Secrets {
    mask: Mask,
}

impl Default for Secrets {
    fn default() -> Self {
        Self::new(DEFAULT_PARAMETERS.split(','), DEFAULT_MASK)
    }
}

impl Secrets {
    /// With these parts of keys, and what replaces a value.
    pub fn new<'p>(parameters: impl IntoIterator<Item = &'p str>, mask: &str) -> Self {
        Self {
            mask: Mask::new(parameters, mask),
        }
    }

    /// What replaces a value.
    pub fn mask(&self) -> &str {
        self.mask.mask()
    }

    /// Whether the key hides its value, whatever it is.
    pub fn hides<'p>(
        &self,
        component: Component,
        parts: impl DoubleEndedIterator<Item = &'p str> + Clone,
    ) -> bool {
        let is_address = component == Component::Database
            && parts
                .clone()
                .next_back()
                .is_some_and(|last| ["url", "dsn"].iter().any(|end| last.ends_with(end)));
        is_address || parts.into_iter().any(|part| self.mask.hides(part))
    }

    /// Puts the mask in place of a value whose key hides it. Says whether there was something to hide.
    pub fn replace(&self, value: &mut Value) -> bool {
        if value
            .as_str()
            .is_some_and(|text| text.is_empty() || text == self.mask())
        {
            return false;
        }
        *value = self.mask().into();
        true
    }

    /// Puts the mask in place of texts that are addresses of connections, or hold `password=...`.
    pub fn replace_texts(&self, value: &mut Value) -> bool {
        match value {
            Value::String(text) if self.tells(text) => self.replace(value),
            Value::Array(elements) => elements.iter_mut().fold(false, |hidden, element| {
                self.replace_texts(element) | hidden
            }),
            _ => false,
        }
    }

    /// Whether a text itself holds a secret.
    pub fn tells(&self, text: &str) -> bool {
        text != self.mask() && (has_address(text) || matches!(self.mask.text(text), Cow::Owned(_)))
    }
}

/// Whether there is the address of a connection: by its scheme, or with a user before the host.
fn has_address(text: &str) -> bool {
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    text.match_indices("://").any(|(offset, sign)| {
        let before = &text[..offset];
        let scheme = before[before.trim_end_matches(is_scheme).len()..].to_lowercase();
        let after = &text[offset + sign.len()..];
        let end = after
            .find(|c: char| matches!(c, '/' | '?' | '#') || c.is_whitespace())
            .unwrap_or(after.len());
        let known = |scheme: &str| SCHEMES.contains(&scheme);
        // A password can have a slash; a port is a number.
        let login = after[..end]
            .split_once(':')
            .is_some_and(|(_, port)| !port.chars().all(|c| c.is_ascii_digit()))
            && after.contains('@');
        known(&scheme)
            || scheme.split(['+', '-', '.']).any(known)
            || after[..end].contains('@')
            || login
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_address_of_a_connection_is_a_secret() {
        for text in [
            "postgres://h/db",
            "postgresql://u:p@h:5432/db",
            "POSTGRES://H/db",
            "jdbc:postgresql://h/db",
            "redis://:p@h",
            "mysql2://h",
            "postgresql+psycopg://h/db",
            "https://u:p@example.org/x",
            "https://u@example.org",
            "https://u:p/q@example.org",
            "see postgres://h/db there",
            "host=h password=p",
            "https://h/?token=abc",
        ] {
            assert!(Secrets::default().tells(text), "{text}");
        }
        for text in [
            "https://example.org/tasks/{task_id}",
            "http://collector:4318",
            "a@b.c",
            "https://example.org/@name",
            "tasks/**/*.yaml",
            "://",
            "",
            "[FILTERED]",
        ] {
            assert!(!Secrets::default().tells(text), "{text}");
        }
    }

    #[test]
    fn a_key_hides_its_value_by_the_rule_of_filter_parameters() {
        let secrets = Secrets::default();
        let hides = |component, path: &str| secrets.hides(component, path.split('.'));
        assert!(hides(Component::Database, "password"));
        assert!(hides(Component::Auth, "api_Tokens.first"));
        assert!(hides(Component::Database, "url"));
        assert!(hides(Component::Database, "replica.database_url"));
        assert!(!hides(Component::Engine, "diagram_task_url"));
        assert!(!hides(Component::Database, "host"));
        let other = Secrets::new(["host"], "***");
        assert!(other.hides(Component::Database, ["host"].into_iter()));
        assert!(!other.hides(Component::Database, ["password"].into_iter()));
        assert_eq!(other.mask(), "***");
    }

    #[test]
    fn a_masked_value_is_no_secret_any_more() {
        let secrets = Secrets::default();
        let mut value = json!(["a", "postgres://h", ["redis://h"], 1]);
        assert!(secrets.replace_texts(&mut value));
        assert_eq!(value, json!(["a", "[FILTERED]", ["[FILTERED]"], 1]));
        assert!(!secrets.replace_texts(&mut value));
        let mut number = json!(1234);
        assert!(secrets.replace(&mut number) && !secrets.replace(&mut number));
        assert_eq!(number, json!("[FILTERED]"));
        assert!(!secrets.replace(&mut json!("")));
    }
}
