//! Looks at the budget while a schema is compiled. The library compiles it in one go; but it calls our keywords where they stand,
//! so one of our own is in one subschema of many, and in each behind a pattern that the library compiles.

use jsonschema::{Keyword, ValidationError};
use serde_json::{Map, Value};

use super::counted::{Counted, Node};
use crate::template::meter::look;

/// The keyword. Its value is that of the schema that consists of nothing else: true or false.
pub(super) const MARK: &str = "x-tasker-mark";
/// Subschemas from one mark to the next: a mark costs at each check of a document.
const BETWEEN_MARKS: usize = 64;
/// The work of compiling that many subschemas, or a pattern: the host is asked each time.
pub(super) const COMPILING: usize = 1_000;

/// Keywords with one subschema, with a list of them, and with one per name.
const ONE: &[&str] = &[
    "additionalItems",
    "additionalProperties",
    "contains",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
const LISTS: &[&str] = &["allOf", "anyOf", "items", "oneOf", "prefixItems"];
const NAMED: &[&str] = &["$defs", "definitions", "dependentSchemas", "properties"];
const PATTERNS: &str = "patternProperties";

pub(super) struct Mark(bool);

impl Mark {
    /// Looks at the budget: this is what it is for.
    pub(super) fn compile(value: &Value) -> Self {
        look(COMPILING);
        Self(value.as_bool().unwrap_or(true))
    }
}

impl<'i> Keyword<'i, Counted> for Mark {
    fn validate(&self, _: Node<'i>) -> Result<(), ValidationError<'i>> {
        let message = "the schema allows no value";
        self.0
            .then_some(())
            .ok_or_else(|| ValidationError::custom(message))
    }

    fn is_valid(&self, _: Node<'i>) -> bool {
        self.0
    }
}

/// The schema with marks; `None` if it is so small that it needs none.
pub(super) fn marked(schema: &Value) -> Option<Value> {
    let mut marks = Marks { met: 0, set: 0 };
    let mut marked = schema.clone();
    marks.enter(&mut marked);
    (marks.set > 0).then_some(marked)
}

struct Marks {
    met: usize,
    set: usize,
}

impl Marks {
    // The parser's depth limit bounds the recursion.
    fn enter(&mut self, schema: &mut Value) {
        let Value::Object(map) = schema else { return };
        self.met += 1;
        look(1);
        if self.met.is_multiple_of(BETWEEN_MARKS) {
            self.set(map, true);
        }
        for (key, value) in map {
            let key = key.as_str();
            match value {
                Value::Object(named) if NAMED.contains(&key) => {
                    named.values_mut().for_each(|one| self.enter(one));
                }
                Value::Object(named) if key == PATTERNS => {
                    named.values_mut().for_each(|one| self.behind_pattern(one));
                }
                Value::Array(list) if LISTS.contains(&key) => {
                    list.iter_mut().for_each(|one| self.enter(one));
                }
                one if ONE.contains(&key) => self.enter(one),
                _ => {}
            }
        }
    }

    fn behind_pattern(&mut self, schema: &mut Value) {
        match schema {
            Value::Bool(allows) => {
                let mut map = Map::new();
                self.set(&mut map, *allows);
                *schema = Value::Object(map);
            }
            Value::Object(map) => {
                self.set(map, true);
                self.enter(schema);
            }
            _ => {}
        }
    }

    fn set(&mut self, map: &mut Map<String, Value>, allows: bool) {
        self.set += 1;
        map.entry(MARK).or_insert(Value::Bool(allows));
    }
}
