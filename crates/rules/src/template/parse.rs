//! Text to JSON value: YAML 1.2 or JSON, with exact numbers and without duplicated keys.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

use super::json;
use super::meter::{self, Cost, look};
use super::unique_keys::UniqueKeys;
use crate::budget::{Budget, Host, Spent};

/// A text that is neither YAML nor JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (line {line}, column {column})")]
pub struct SyntaxError {
    /// The parser's message.
    pub message: String,
    /// Line of the text, from 1; 0 when unknown.
    pub line: usize,
    /// Column of the line, from 1; 0 when unknown.
    pub column: usize,
}

/// [`parse_within`] for a text of the program itself.
pub fn parse(text: &str) -> Result<Value, SyntaxError> {
    let nothing = SyntaxError {
        message: "too much work".to_owned(),
        line: 0,
        column: 0,
    };
    parse_within(text, &Budget::unlimited(Host::NONE)).unwrap_or(Err(nothing))
}

/// Parses the text of a template.
///
/// A text that begins with `{` and a quoted key is JSON. Everything else is YAML 1.2, whose flow style may begin with `{`
/// too: `no` and `on` are strings, `0755` and `1_000` too, anchors, aliases and merge keys work. Numbers keep all their digits. A key that appears twice in an object is an error.
pub fn parse_within(text: &str, budget: &Budget) -> Result<Result<Value, SyntaxError>, Spent> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // JSON must not fall back to YAML: `{"a": }` is a mistake in one and a null in the other.
    let begins_as_json = text
        .trim_start()
        .strip_prefix('{')
        .is_some_and(|rest| rest.trim_start().starts_with(['"', '}']));
    let looking = budget.part(u64::MAX);
    if !begins_as_json {
        return meter::run(looking, Cost::PLAIN, || yaml(text)).0;
    }
    // serde_json silently keeps the last of two equal keys, hence two passes.
    let unique = || serde_json::from_str::<UniqueKeys>(text);
    if let Err(error) = meter::run(looking, Cost::PLAIN, unique).0? {
        return Ok(Err(json_error(error)));
    }
    match json::read(text, budget) {
        Ok(value) => Ok(Ok(value)),
        Err(json::Unread::Spent(spent)) => Err(spent),
        Err(json::Unread::Syntax(message)) => Ok(Err(SyntaxError {
            message,
            line: 0,
            column: 0,
        })),
    }
}

fn json_error(error: serde_json::Error) -> SyntaxError {
    let text = error.to_string();
    // The position has fields of its own.
    let message = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(message, _)| message);
    SyntaxError {
        message: message.to_owned(),
        line: error.line(),
        column: error.column(),
    }
}

fn yaml(text: &str) -> Result<Value, SyntaxError> {
    let options = serde_saphyr::options! {
        // Room for 32,767 steps; the library's own limits are made for configuration files.
        budget: serde_saphyr::budget! {
            max_events: 8_000_000,
            max_nodes: 4_000_000,
            max_aliases: 1_000_000,
            // One anchor with defaults may well be used by a thousand steps; the replay limits stop alias bombs.
            enforce_alias_anchor_ratio: false,
        },
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Spanned<Node>>(text, options)
        .map(|node| into_value(node, text))
        .map_err(yaml_error)
}

fn yaml_error(error: serde_saphyr::Error) -> SyntaxError {
    let text = error.to_string();
    let message = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(message, _)| message);
    // The library's advice on its own options does not help an author of a template.
    let message = message
        .split_once(", set DuplicateKeyPolicy")
        .map_or(message, |(message, _)| message);
    let location = error.location();
    SyntaxError {
        message: message.to_owned(),
        line: location.map_or(0, |at| at.line() as usize),
        column: location.map_or(0, |at| at.column() as usize),
    }
}

/// A YAML node before its floating point numbers are read again from the text: the parser hands over an `f64`, which would
/// round a long integer, but it also tells where the number stands.
enum Node {
    Exact(Value),
    Float(f64),
    List(Vec<Spanned<Node>>),
    Object(Vec<(String, Spanned<Node>)>),
}

// The parser's depth limit (64) bounds the recursion.
fn into_value(node: Spanned<Node>, text: &str) -> Value {
    match node.value {
        Node::Exact(value) => value,
        Node::Float(float) => {
            let span = node.defined.span();
            let written = span
                .byte_offset()
                .zip(span.byte_len())
                .and_then(|(start, length)| {
                    let start = usize::try_from(start).ok()?;
                    text.get(start..start.checked_add(usize::try_from(length).ok()?)?)
                });
            written
                .and_then(exact_number)
                .or_else(|| Number::from_f64(float))
                .map_or(Value::Null, Value::Number)
        }
        Node::List(items) => Value::Array(
            items
                .into_iter()
                .map(|item| into_value(item, text))
                .collect(),
        ),
        Node::Object(entries) => {
            let entries = entries
                .into_iter()
                .map(|(key, item)| (key, into_value(item, text)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
    }
}

/// The number with all its digits, if it is written as JSON would write it; a leading `+` is accepted.
fn exact_number(written: &str) -> Option<Number> {
    let written = written.trim();
    serde_json::from_str(written.strip_prefix('+').unwrap_or(written)).ok()
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        look(1);
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Exact(Value::Null))
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Exact(Value::Bool(value)))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Exact(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Exact(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        self.visit_string(value.to_owned())
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Node, E> {
        Ok(Node::Exact(Value::String(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut object = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            object.push(entry);
        }
        Ok(Node::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(text: &str) -> String {
        parse(text).map_or_else(|error| error.to_string(), |value| value.to_string())
    }

    #[test]
    fn json_and_yaml_give_the_same_value() {
        let expected = json!({"name": "x", "steps": [{"name": "a"}]});
        assert_eq!(
            parse(r#"  {"name": "x", "steps": [{"name": "a"}]}"#),
            Ok(expected.clone())
        );
        assert_eq!(
            parse("name: x\nsteps:\n  - name: a\n"),
            Ok(expected.clone())
        );
        assert_eq!(
            parse("{name: x, steps: [{name: a,},]}"),
            Ok(expected.clone())
        );
        assert_eq!(
            parse("\u{feff}{\"name\": \"x\", \"steps\": [{\"name\": \"a\"}]}"),
            Ok(expected)
        );
    }

    #[test]
    fn numbers_keep_every_digit() {
        for text in [
            "1",
            "-7",
            "9223372036854775808",
            "-99999999999999999999",
            "123456789012345678901234567890",
            "1.10000000000000000000001",
            "209.970",
            "1e+400",
        ] {
            let json = format!("{{\"n\":{text}}}");
            assert_eq!(shown(&json), json);
            if text != "1e+400" {
                assert_eq!(shown(&format!("n: {text}")), json);
                assert_eq!(
                    shown(&format!("m: [&a {text}]\nn: *a")),
                    format!("{{\"m\":[{text}],\"n\":{text}}}")
                );
            }
        }
        assert_eq!(
            shown("n: [+12345678901234567890123, 0x1F, .5, 5.]"),
            r#"{"n":[12345678901234567890123,31,0.5,5.0]}"#
        );
    }

    #[test]
    fn yaml_words_of_version_1_1_stay_strings() {
        assert_eq!(
            shown("a: [no, on, yes, 0755, 1_000, 12:30, 2024-01-01, ~, null, true]"),
            r#"{"a":["no","on","yes","0755","1_000","12:30","2024-01-01",null,null,true]}"#
        );
    }

    #[test]
    fn anchors_and_merge_keys_work() {
        let text =
            "d: &d {retry: {limit: 3, base: 1}}\nsteps:\n  - <<: *d\n    name: a\n  - retry: *x\n";
        assert!(parse(text).is_err(), "an unknown alias");
        let text = "d: &d {limit: 3}\ns: [{<<: *d, name: a}, {<<: *d, limit: 4}]\n";
        assert_eq!(
            parse(text).expect("valid")["s"],
            json!([{"name": "a", "limit": 3}, {"limit": 4}])
        );
    }

    #[test]
    fn one_anchor_may_be_used_by_a_thousand_steps() {
        let steps = "  - <<: *d\n    name: a\n".repeat(1_000);
        let value = parse(&format!("d: &d {{limit: 3, base: 4}}\nsteps:\n{steps}")).expect("valid");
        assert_eq!(value["steps"].as_array().map(Vec::len), Some(1_000));
    }

    #[test]
    fn a_duplicated_key_is_an_error_with_its_place() {
        let error = parse("a: 1\nb: 2\na: 3\n").expect_err("twice");
        assert_eq!((error.line, error.column), (3, 1));
        assert_eq!(error.message, "duplicate mapping key: a");
        let error = parse("{\"s\": [{\"a\": 1.5,\n \"a\": 2}]}").expect_err("twice");
        assert_eq!(error.message, "duplicate key \"a\"");
        assert_eq!(error.line, 2);
    }

    #[test]
    fn a_syntax_error_names_line_and_column() {
        let error = parse("a: 1\nb: [1, 2\n").expect_err("open list");
        assert!(error.line >= 2, "{error}");
        let error = parse("{\"a\": 1,\n \"b\": }").expect_err("no value");
        assert_eq!((error.line, error.column), (2, 7));
        assert_eq!(error.message, "expected value");
        for bad in [
            "a: b: c",
            "a: 1\n---\nb: 2",
            "a: .nan",
            "{",
            "a: *b",
            "\u{0}",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    /// Like a server process: an unoptimised build takes 48 KB per level of YAML, an optimised one 8 KB.
    fn with_eight_megabytes_of_stack(test: fn()) {
        let thread = std::thread::Builder::new().stack_size(8 << 20).spawn(test);
        thread.expect("a thread").join().expect("no panic");
    }

    #[test]
    fn deep_nesting_and_alias_bombs_are_refused_not_followed() {
        with_eight_megabytes_of_stack(|| {
            for open in ["[", "{\"a\":", "{a: ", "- "] {
                assert!(parse(&open.repeat(100_000)).is_err(), "{open:?}");
            }
            assert!(parse(&format!("{}{}", "[".repeat(60), "]".repeat(60))).is_ok());
            let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
            for level in 1..10 {
                let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
                bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
            }
            assert!(parse(&bomb).is_err());
        });
    }
}
