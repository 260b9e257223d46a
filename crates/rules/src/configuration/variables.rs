//! `${VAR}` in values. Only the loader replaces it, from its own environment; the server refuses it.

use std::fmt;

use serde_json::Value;

/// Where a variable is looked up.
pub type Lookup<'v> = &'v dyn Fn(&str) -> Option<String>;

/// Why a text cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The variable is not set, and there is no default.
    Unset(String),
    /// A brace is missing.
    Open,
    /// This is no name of a variable.
    Name,
    /// A variable or a default has `${` itself.
    Nested(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset(name) => write!(
                f,
                "the environment variable {name} is not set; set it, or give a default: ${{{name}:-value}}"
            ),
            Self::Open => f.write_str("`${` has no `}`"),
            Self::Name => {
                f.write_str("`${` needs the name of an environment variable: letters, digits and _")
            }
            Self::Nested(name) => write!(
                f,
                "what the environment variable {name} is replaced by has `${{` itself, which is not replaced again"
            ),
        }
    }
}

/// Replaces `${VAR}`, and `${VAR:-default}` where the variable is unset or empty, in the texts of a value.
pub fn expand(value: &mut Value, variable: Lookup) -> Result<(), Refused> {
    match value {
        Value::String(text) if text.contains("${") => *text = expand_text(text, variable)?,
        Value::Array(elements) => {
            for element in elements {
                expand(element, variable)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// The same in a text.
pub fn expand_text(text: &str, variable: Lookup) -> Result<String, Refused> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        expanded.push_str(before);
        let (inside, after) = after.split_once('}').ok_or(Refused::Open)?;
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if !is_name(name) {
            return Err(Refused::Name);
        }
        let set = variable(name).filter(|value| default.is_none() || !value.is_empty());
        let value = match (set, default) {
            (Some(value), _) => value,
            (None, Some(default)) => default.to_owned(),
            (None, None) => return Err(Refused::Unset(name.to_owned())),
        };
        if value.contains("${") {
            return Err(Refused::Nested(name.to_owned()));
        }
        expanded.push_str(&value);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// A variable that stands unexpanded in a value: its name, or an empty text if it has none.
pub fn unexpanded(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => {
            let (_, after) = text.split_once("${")?;
            let end = after
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(after.len());
            Some(&after[..end])
        }
        Value::Array(elements) => elements.iter().find_map(unexpanded),
        _ => None,
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("db1".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${HOST}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_replaced_in_texts() {
        for (text, expanded) in [
            ("${HOST}", "db1"),
            ("a ${HOST}:${PORT:-5432}/x", "a db1:5432/x"),
            ("${HOST:-other}", "db1"),
            ("${EMPTY}", ""),
            ("${EMPTY:-other}", "other"),
            ("${PORT:-}", ""),
            ("${PORT:-a:-b}", "a:-b"),
            ("$HOST {x} $$", "$HOST {x} $$"),
        ] {
            assert_eq!(expand_text(text, &one).as_deref(), Ok(expanded), "{text}");
        }
        let mut value = json!(["${HOST}", ["${HOST}"], 5]);
        assert_eq!(expand(&mut value, &one), Ok(()));
        assert_eq!(value, json!(["db1", ["db1"], 5]));
    }

    #[test]
    fn a_variable_that_is_unset_and_has_no_default_is_refused() {
        for (text, refused) in [
            ("${PORT}", Refused::Unset("PORT".to_owned())),
            ("${HOST", Refused::Open),
            ("${}", Refused::Name),
            ("${a b}", Refused::Name),
            ("${1A:-x}", Refused::Name),
            ("${TRICK}", Refused::Nested("TRICK".to_owned())),
            ("${A:-${B}}", Refused::Nested("A".to_owned())),
        ] {
            assert_eq!(expand_text(text, &one), Err(refused), "{text}");
        }
    }

    #[test]
    fn an_unexpanded_variable_is_found() {
        assert_eq!(unexpanded(&json!("a ${HOST:-b}")), Some("HOST"));
        assert_eq!(unexpanded(&json!(["a", ["${"]])), Some(""));
        assert_eq!(unexpanded(&json!(["$HOST", 1, "{x}"])), None);
    }
}
