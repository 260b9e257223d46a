//! JSON Schema of a task's context and of a step's results: compiled once, used for every request.

mod counted;
mod equal;
mod marks;
mod pattern;
mod patterns;
mod weight;

use std::fmt;

use jsonschema::error::ValidationErrorKind;
use jsonschema::paths::{Location, LocationSegment};
use jsonschema::{Keyword, PatternOptions, ValidationError, Validator};
use serde_json::Value;

use crate::budget::{Budget, Spent};
use crate::problem::Problem;
use crate::template::meter::{self, Cost, look};
use counted::{Counted, Node};
use marks::Mark;
use pattern::Pattern;

/// More findings than this are not reported.
const MOST_PROBLEMS: usize = 100;
/// Listing what is wrong may cost this much; the list of a document with more is left out.
const LISTING: u64 = 2_000_000;
/// The number of subschemas without a look that cost as much as one look.
const WEIGHT_PER_LOOK: u64 = 8;

/// A compiled schema.
///
/// The draft is 2020-12 unless `$schema` names another one. Nothing is fetched: a `$ref` may only lead into the schema
/// itself or to a published draft. Numbers are compared exactly at any size.
///
/// A document never costs more than the budget that comes with it, whatever the schema: every look at a value counts.
pub struct Schema {
    validator: Validator<Counted>,
    cost: Cost,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema").finish_non_exhaustive()
    }
}

impl Schema {
    /// Compiles a schema within a budget. The inner error: the sentence to show.
    pub fn compile(schema: &Value, budget: &Budget) -> Result<Result<Self, String>, Spent> {
        meter::run(budget.part(u64::MAX), Cost::PLAIN, || Self::build(schema)).0
    }

    /// Looks at the budget that runs.
    fn build(schema: &Value) -> Result<Self, String> {
        if !matches!(schema, Value::Object(_) | Value::Bool(_)) {
            return Err("a JSON Schema is an object, or true or false".to_owned());
        }
        let weight = weight::of(schema);
        let longest_name = patterns::longest_name(schema);
        let marked = marks::marked(schema);
        jsonschema::options_for::<Counted>()
            .offline()
            .with_pattern_options(
                PatternOptions::fancy_regex().backtrack_limit(pattern::BACKTRACK_LIMIT),
            )
            .with_keyword("pattern", |_, schema, _| keyword(schema))
            .with_keyword(marks::MARK, |_, value, _| {
                Ok(Box::new(Mark::compile(value)))
            })
            .build(marked.as_ref().unwrap_or(schema))
            .map(|validator| Self {
                validator,
                cost: Cost {
                    price: 1 + weight / WEIGHT_PER_LOOK,
                    longest_name,
                },
            })
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

    /// Whether a new schema can be used, within a budget: first each pattern by itself, which can take long, then the whole.
    pub fn check(schema: &Value, budget: &Budget) -> Result<Result<(), String>, Spent> {
        patterns::check(schema, budget)?;
        let weighed = meter::run(budget.part(u64::MAX), Cost::PLAIN, || weight::of(schema));
        if weighed.0? >= weight::BEYOND {
            return Ok(Err(
                "applies more subschemas to one value than can ever be checked: a $ref used twice at each level doubles them"
                    .to_owned(),
            ));
        }
        let compiled = Self::compile(schema, budget)?.map(|_| ());
        budget.spend(1)?;
        Ok(compiled)
    }

    /// Every way in which the value breaks the schema, at most 100; empty if it conforms. Error: the budget was used up.
    ///
    /// Paths are dotted and begin with `root` (`context` or `results`): `context.order_items[0].price`. A missing property
    /// is named by its own path. Messages do not repeat the values, which may be secret.
    pub fn validate(
        &self,
        root: &str,
        instance: &Value,
        budget: Budget,
    ) -> Result<Vec<Problem>, Spent> {
        let (valid, budget) = meter::run(budget, self.cost, || {
            self.validator.is_valid(Node(instance))
        });
        if valid? {
            return Ok(vec![]);
        }
        let listing = budget.map_or_else(Vec::new, |budget| self.list(root, instance, &budget));
        if listing.is_empty() {
            let message = "breaks the schema in too many ways to list them";
            return Ok(vec![Problem::error(root, message)]);
        }
        Ok(listing)
    }

    /// The findings, or none if there are too many to collect: the validator collects all of them before it returns one.
    fn list(&self, root: &str, instance: &Value, budget: &Budget) -> Vec<Problem> {
        let (listing, _) = meter::run(budget.part(LISTING), self.cost, || {
            self.validator
                .iter_errors(Node(instance))
                .take(MOST_PROBLEMS)
                .map(|error| problem(root, &error))
                .collect()
        });
        listing.unwrap_or_default()
    }
}

fn keyword<'a>(
    schema: &'a Value,
) -> Result<Box<dyn for<'i> Keyword<'i, Counted>>, ValidationError<'a>> {
    look(marks::COMPILING);
    let pattern = schema.as_str().and_then(Pattern::compile);
    let message = || format!("the pattern {schema} is not a regular expression");
    pattern
        .map(|pattern| Box::new(pattern) as _)
        .ok_or_else(|| ValidationError::custom(message()))
}

fn problem(root: &str, error: &ValidationError<'_>) -> Problem {
    let path = dotted(root, error.instance_path());
    match error.kind() {
        ValidationErrorKind::Required {
            property: Value::String(name),
        } => Problem::error(below(path, name), "is required but missing"),
        _ => Problem::error(path, message(error, "the value")),
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
    use crate::budget::Host;
    use crate::patience::patience;
    use serde_json::json;

    fn compiled(schema: &Value) -> Result<Schema, String> {
        Schema::compile(schema, &Budget::unlimited(Host::NONE)).expect("no limit")
    }

    fn problems(schema: Value, instance: Value) -> Vec<String> {
        let schema = compiled(&schema).expect("a valid schema");
        let found = schema
            .validate("context", &instance, budget())
            .expect("within the budget");
        found.iter().map(ToString::to_string).collect()
    }

    fn budget() -> Budget {
        Budget::new(2_000_000, usize::MAX / 2, Host::NONE)
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
        let refused = |schema: Value| compiled(&schema).expect_err("refused");
        assert!(
            refused(json!({"properties": {"a": {"type": "whole"}}})).contains("properties.a.type")
        );
        assert!(refused(json!({"pattern": "("})).contains("pattern"));
        assert!(refused(json!([])).contains("an object"));
        assert!(refused(json!("x")).contains("an object"));
        assert!(compiled(&json!(true)).is_ok());
    }

    #[test]
    fn nothing_is_fetched() {
        for reference in [
            "https://example.com/schema.json",
            "file:///etc/passwd",
            "other.json",
        ] {
            assert!(
                compiled(&json!({"$ref": reference})).is_err(),
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
        assert!(compiled(&json!({"items": items})).is_err());
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
        assert!(began.elapsed() < patience(5));
    }

    #[test]
    fn a_flood_of_problems_is_cut_off() {
        let instance = Value::Array(vec![json!("x"); 1_000]);
        assert_eq!(
            problems(json!({"items": {"type": "integer"}}), instance).len(),
            MOST_PROBLEMS
        );
    }

    /// The outcome of a document that costs too much, and how long it took to say so.
    fn outcome(schema: Value, instance: Value) -> Result<usize, Spent> {
        let schema = compiled(&schema).expect("a valid schema");
        let began = std::time::Instant::now();
        let found = schema.validate("context", &instance, budget());
        assert!(began.elapsed() < patience(30), "{:?}", began.elapsed());
        found.map(|problems| problems.len())
    }

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!("x"), |inner, _| json!([inner]))
    }

    #[test]
    fn a_reference_used_twice_on_every_level_ends() {
        let schema = json!({"properties": {"t": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"anyOf": [
            {"type": "array", "items": {"$ref": "#/$defs/n"}, "minItems": 0},
            {"type": "array", "items": {"$ref": "#/$defs/n"}, "maxItems": 99},
        ]}}});
        for levels in [2, 18, 24, 100] {
            assert_eq!(outcome(schema.clone(), json!({"t": nested(levels)})), Ok(1));
        }
    }

    #[test]
    fn subschemas_that_never_look_at_the_value_end() {
        for (combinator, leaf) in [
            ("allOf", json!({})),
            ("anyOf", json!(false)),
            ("allOf", json!(true)),
        ] {
            let mut defs = serde_json::Map::new();
            for level in 0..60 {
                let next = json!({"$ref": format!("#/$defs/n{}", level + 1)});
                defs.insert(format!("n{level}"), json!({combinator: [next, next]}));
            }
            defs.insert("n60".to_owned(), leaf);
            let schema = json!({"$ref": "#/$defs/n0", "$defs": defs});
            assert_eq!(outcome(schema.clone(), json!({})), Err(Spent::Work));
        }
    }

    #[test]
    fn combinations_without_end_end() {
        // Each level tries every order of the branches below it.
        let branch = json!({"oneOf": [{"$ref": "#/$defs/n"}, {"items": {"$ref": "#/$defs/n"}, "contains": {"$ref": "#/$defs/n"}}]});
        let schema = json!({"$ref": "#/$defs/n", "unevaluatedItems": false, "unevaluatedProperties": false, "$defs": {"n": {
            "anyOf": [{"type": "array", "items": branch, "contains": branch}, {"not": branch}, {"type": "string"}],
            "allOf": [branch, {"anyOf": [branch, branch]}],
        }}});
        let _ = outcome(schema, json!([nested(30), nested(30), nested(60)]));
    }

    #[test]
    fn unevaluated_properties_of_many_branches_end() {
        let names = |from: usize| -> Value {
            (0..200)
                .map(|n| (format!("p{}", from + n), json!({"type": "integer"})))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let branches: Vec<Value> = (0..200)
            .map(|n| json!({"properties": names(n), "required": [format!("p{n}")]}))
            .collect();
        let object: serde_json::Map<String, Value> =
            (0..10_000).map(|n| (format!("p{n}"), json!(n))).collect();
        let schema = json!({"anyOf": branches, "unevaluatedProperties": {"type": "string"}});
        let _ = outcome(schema, object.into());
    }

    #[test]
    fn a_hundred_thousand_items_are_checked_at_once() {
        let items: Vec<Value> = (0..100_000).map(|n| json!({"n": n})).collect();
        let unique = json!({"type": "array", "uniqueItems": true, "items": {"type": "object"}});
        assert_eq!(outcome(unique.clone(), items.clone().into()), Ok(0));
        let mut repeated = items;
        repeated.push(json!({"n": 99_999.0}));
        assert_eq!(outcome(unique, repeated.into()), Ok(1));
    }

    #[test]
    fn a_hostile_pattern_over_a_long_text_ends() {
        let text = "a".repeat(100_000) + "b";
        for pattern in [
            "^(?=(a+)+$)(a+)+\\1$",
            "^(a|aa)+$",
            "(x+x+)+y",
            "^(?!(a*)*b$).*$",
            "(?<=(a{1,50}))*(a*)*\\2c",
        ] {
            if let Ok(schema) = compiled(&json!({"pattern": pattern})) {
                let began = std::time::Instant::now();
                let _ = schema.validate("context", &json!(text), budget());
                assert!(
                    began.elapsed() < patience(20),
                    "{pattern}: {:?}",
                    began.elapsed()
                );
            }
        }
    }

    #[test]
    fn a_match_asks_the_host_all_the_time_or_does_not_begin() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let host = Host {
            check: || ASKED.fetch_add(1, Ordering::Relaxed) < 50,
            ..Host::NONE
        };
        let mut random = 1_u32;
        let mut letter = || {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            if random.is_multiple_of(2) { 'a' } else { 'b' }
        };
        let text: String = (0..200_000).map(|_| letter()).collect();
        // A state of its own for nearly every byte.
        for pattern in [
            "^[ab]*a[ab]{200}c",
            "^(?=[ab]*a[ab]{200}c)",
            "^(a|b(?=.*x))*\\1c",
        ] {
            ASKED.store(0, Ordering::Relaxed);
            for schema in [
                json!({"pattern": pattern}),
                json!({"not": {"pattern": pattern}}),
            ] {
                let schema = compiled(&schema).expect("a schema");
                let budget = Budget::new(u64::MAX, usize::MAX, host);
                let began = std::time::Instant::now();
                let answer = schema.validate("context", &json!(text), budget);
                assert_eq!(answer, Err(Spent::Work), "{pattern}");
                assert!(began.elapsed() < patience(10), "{:?}", began.elapsed());
            }
        }
        let long = json!({"n".repeat(10_000): 1});
        let names = compiled(&json!({"patternProperties": {"^(n|nn)+\\1": {}}}));
        let names = names.expect("a schema");
        assert_eq!(names.validate("context", &long, budget()), Err(Spent::Work));
    }

    #[test]
    fn a_schema_that_multiplies_without_end_is_refused() {
        let mut defs = serde_json::Map::new();
        for level in 0..100 {
            let next = json!({"$ref": format!("#/$defs/n{}", level + 1)});
            defs.insert(format!("n{level}"), json!({"allOf": [next, next]}));
        }
        defs.insert("n100".to_owned(), json!(true));
        let schema = json!({"$ref": "#/$defs/n0", "$defs": defs});
        assert!(
            Schema::check(&schema, &budget())
                .expect("within the budget")
                .is_err()
        );
    }

    #[test]
    fn many_costly_patterns_end_with_the_memory() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static USED: AtomicUsize = AtomicUsize::new(0);
        let host = Host {
            check: || true,
            memory: || USED.fetch_add(1 << 20, Ordering::Relaxed),
            ..Host::NONE
        };
        let patterns: Vec<Value> = (0..1_000)
            .map(|n| json!({"pattern": format!("^[a-z]{{1,{}}}$", n + 1)}))
            .collect();
        let budget = Budget::new(u64::MAX, 40 << 20, host);
        assert_eq!(
            Schema::check(&json!({"anyOf": patterns}), &budget),
            Err(Spent::Memory)
        );
    }
}
