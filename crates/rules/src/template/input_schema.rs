//! JSON Schema of a task's context and of a step's results: compiled once, used for every request.

use std::fmt;

use jsonschema::error::ValidationErrorKind;
use jsonschema::paths::{Location, LocationSegment};
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;

use crate::problem::Problem;

/// More findings than this are not reported.
const MOST_PROBLEMS: usize = 100;
/// A pattern that backtracks more often than this fails the value instead of holding the server.
const BACKTRACK_LIMIT: usize = 100_000;

/// A compiled schema.
///
/// The draft is 2020-12 unless `$schema` names another one. Nothing is fetched: a `$ref` may only lead into the schema
/// itself or to a published draft. Numbers are compared exactly at any size.
pub struct Schema {
    validator: Validator,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema").finish_non_exhaustive()
    }
}

impl Schema {
    /// Compiles a schema. Errors: the sentence to show.
    pub fn compile(schema: &Value) -> Result<Self, String> {
        if !matches!(schema, Value::Object(_) | Value::Bool(_)) {
            return Err("a JSON Schema is an object, or true or false".to_owned());
        }
        jsonschema::options()
            .offline()
            .with_pattern_options(PatternOptions::fancy_regex().backtrack_limit(BACKTRACK_LIMIT))
            .build(schema)
            .map(|validator| Self { validator })
            .map_err(|error| {
                let path = dotted("", error.instance_path());
                let place = if path.is_empty() {
                    String::new()
                } else {
                    format!("at {path}: ")
                };
                format!(
                    "is not a valid JSON Schema: {place}{}",
                    message(&error, "the value")
                )
            })
    }

    /// Whether the value conforms to the schema; cheaper than [`Schema::validate`].
    pub fn is_valid(&self, instance: &Value) -> bool {
        self.validator.is_valid(instance)
    }

    /// Every way in which the value breaks the schema, at most 100; empty if it conforms.
    ///
    /// Paths are dotted and begin with `root` (`context` or `results`): `context.order_items[0].price`. A missing property
    /// is named by its own path. Messages do not repeat the values, which may be secret.
    pub fn validate(&self, root: &str, instance: &Value) -> Vec<Problem> {
        self.validator
            .iter_errors(instance)
            .take(MOST_PROBLEMS)
            .map(|error| {
                let path = dotted(root, error.instance_path());
                match error.kind() {
                    ValidationErrorKind::Required {
                        property: Value::String(name),
                    } => Problem::error(below(path, name), "is required but missing"),
                    _ => Problem::error(path, message(&error, "the value")),
                }
            })
            .collect()
    }
}

fn message(error: &ValidationError<'_>, value: &str) -> String {
    error.masked_with(value).to_string()
}

fn below(path: String, name: &str) -> String {
    let plain = !name.is_empty() && !name.contains(['.', '[', ']', '"']);
    match (path.is_empty(), plain) {
        (_, false) => format!("{path}[{name:?}]"),
        (true, true) => name.to_owned(),
        (false, true) => format!("{path}.{name}"),
    }
}

fn dotted(root: &str, location: &Location) -> String {
    location
        .into_iter()
        .fold(root.to_owned(), |path, segment| match segment {
            LocationSegment::Property(name) => below(path, &name),
            LocationSegment::Index(index) => format!("{path}[{index}]"),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problems(schema: Value, instance: Value) -> Vec<String> {
        let schema = Schema::compile(&schema).expect("a valid schema");
        let found = schema.validate("context", &instance);
        assert_eq!(found.is_empty(), schema.is_valid(&instance));
        found.iter().map(ToString::to_string).collect()
    }

    fn number(text: &str) -> Value {
        serde_json::from_str(text).expect("a number")
    }

    #[test]
    fn the_path_of_the_wrong_value_is_named() {
        let schema = json!({
            "type": "object",
            "required": ["customer_info"],
            "properties": {
                "customer_info": {
                    "type": "object",
                    "required": ["id", "email"],
                    "properties": {"id": {"type": "integer"}, "email": {"type": "string"}},
                },
                "order_items": {"type": "array", "minItems": 1, "items": {"properties": {"price": {"minimum": 0}}}},
            },
        });
        let found = problems(
            schema.clone(),
            json!({"customer_info": {"id": "x"}, "order_items": [{"price": 1}, {"price": -1}]}),
        );
        assert_eq!(
            found,
            [
                "context.customer_info.email: is required but missing",
                "context.customer_info.id: the value is not of type \"integer\"",
                "context.order_items[1].price: the value is less than the minimum of 0",
            ]
        );
        assert_eq!(
            problems(schema, json!({})),
            ["context.customer_info: is required but missing"]
        );
    }

    #[test]
    fn the_value_itself_is_not_repeated() {
        let found = problems(
            json!({"properties": {"card": {"type": "integer"}}}),
            json!({"card": "4111 secret"}),
        );
        assert!(!found[0].contains("secret"), "{found:?}");
    }

    #[test]
    fn odd_property_names_are_quoted_in_the_path() {
        let found = problems(
            json!({"properties": {"a.b": {"type": "integer"}}}),
            json!({"a.b": "x"}),
        );
        assert!(found[0].starts_with("context[\"a.b\"]: "), "{found:?}");
    }

    #[test]
    fn numbers_are_compared_exactly() {
        let schema = json!({"maximum": number("123456789012345678901234567890")});
        assert!(problems(schema.clone(), number("123456789012345678901234567890")).is_empty());
        assert_eq!(
            problems(schema, number("123456789012345678901234567891")).len(),
            1
        );
        assert!(
            problems(
                json!({"type": "integer"}),
                number("99999999999999999999999999")
            )
            .is_empty()
        );
        assert!(problems(json!({"multipleOf": number("0.01")}), number("209.97")).is_empty());
    }

    #[test]
    fn a_schema_that_is_none_is_refused_with_the_place() {
        let refused = |schema: Value| Schema::compile(&schema).expect_err("refused");
        assert!(
            refused(json!({"properties": {"a": {"type": "whole"}}})).contains("properties.a.type")
        );
        assert!(refused(json!({"pattern": "("})).contains("pattern"));
        assert!(refused(json!([])).contains("an object"));
        assert!(refused(json!("x")).contains("an object"));
        assert!(Schema::compile(&json!(true)).is_ok());
    }

    #[test]
    fn nothing_is_fetched() {
        for reference in [
            "https://example.com/schema.json",
            "file:///etc/passwd",
            "other.json",
        ] {
            assert!(
                Schema::compile(&json!({"$ref": reference})).is_err(),
                "{reference}"
            );
        }
        let local = json!({"$defs": {"n": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/n"}}});
        assert_eq!(problems(local, json!({"a": "x"})).len(), 1);
    }

    #[test]
    fn the_draft_is_2020_12_unless_schema_says_otherwise() {
        // An array under `items` is a tuple in draft 7 and no schema in 2020-12.
        let items = json!([{"type": "integer"}]);
        assert!(Schema::compile(&json!({"items": items})).is_err());
        let old = json!({"$schema": "http://json-schema.org/draft-07/schema#", "items": items});
        assert_eq!(problems(old, json!(["x"])).len(), 1);
        let new = json!({"prefixItems": items, "items": false});
        assert_eq!(problems(new, json!([1, 2])).len(), 1);
    }

    #[test]
    fn a_hostile_pattern_does_not_hold_the_server() {
        let schema = json!({"pattern": "^(?=(a+)+$)(a+)+\\1$"});
        let began = std::time::Instant::now();
        assert_eq!(problems(schema, json!("a".repeat(40) + "b")).len(), 1);
        assert!(began.elapsed().as_secs() < 5);
    }

    #[test]
    fn a_flood_of_problems_is_cut_off() {
        let instance = Value::Array(vec![json!("x"); 1_000]);
        assert_eq!(
            problems(json!({"items": {"type": "integer"}}), instance).len(),
            MOST_PROBLEMS
        );
    }
}
