//! A JSON Schema of the format of templates, for editors. It is made of the lists of keys that the reader knows.
//!
//! It is stricter than the reader: every unknown key is a mistake in it, so that an editor marks what the reader ignores with a
//! warning. What needs more than one place of the text, such as names of parents, only the reader checks.

use serde_json::{Map, Value, json};

use super::fields as top;
use super::model::{IdentityStrategy, Priority};
use super::step_fields as step;
use crate::engine::backoff::Kind;
use crate::engine::identity::Window;
use crate::names;

/// The JSON Schema (draft 2020-12) of a template.
pub fn json_schema() -> Value {
    let mut schema = object(&whole(false), &["name"]);
    let more = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Template of tasker_ext",
        "anyOf": [{"required": ["steps"]}, {"required": ["step_templates"]}],
        "$defs": {
            "step": object(&one_step(), &["name"]),
            "handler": handler(),
            "environment": object(&whole(true), &[]),
        },
    });
    if let (Value::Object(schema), Value::Object(more)) = (&mut schema, more) {
        schema.extend(more);
    }
    schema
}

/// Spellings of a key, and what its value is.
type Field = (&'static [&'static str], Value);

fn object(fields: &[Field], required: &[&str]) -> Value {
    let mut properties = Map::new();
    for (spellings, value) in fields {
        for spelling in *spellings {
            properties.insert((*spelling).to_owned(), value.clone());
        }
    }
    json!({
        "type": "object",
        "required": required,
        "properties": properties,
        "patternProperties": {"^(x-|\\.)": true},
        "additionalProperties": false,
    })
}

fn whole(in_environment: bool) -> Vec<Field> {
    let mut fields = vec![
        (top::NAME, text(names::TASK_MAX, "Name of the template.")),
        (
            top::NAMESPACE,
            text(names::NAMESPACE_MAX, "Its namespace; default if left out."),
        ),
        (
            top::VERSION,
            json!({"type": "string", "pattern": r"^\d+\.\d+\.\d+$",
                "description": "Three numbers; 0.1.0 if left out. A version that a task uses never changes."}),
        ),
        (top::DESCRIPTION, text(names::DESCRIPTION_MAX, "Free text.")),
        (top::TASK_HANDLER, reference("handler")),
        (
            top::MODULE,
            text(names::HANDLER_MAX, "Prefix of task_handler_class."),
        ),
        (
            top::INPUT_SCHEMA,
            any_schema("JSON Schema that a context must satisfy."),
        ),
        (
            top::IDENTITY,
            json!({"enum": IdentityStrategy::ALL.iter().map(|one| one.as_str()).chain(["default"]).collect::<Vec<_>>(),
                "description": "unique: every request is a task of its own. hash: an equal request is refused."}),
        ),
        (
            top::IDENTITY_WINDOW,
            json!({"anyOf": [
                {"type": "integer", "minimum": 1, "maximum": i32::MAX},
                {"type": "string", "pattern": "^(off|\\d+( (second|minute|hour|day)s?)?)$"}],
                "description": format!("How long an equal request is refused: off (as long as the first task is there) or a duration; {} if left out.", Window::default())}),
        ),
        (
            top::DEPENDENT_SYSTEM,
            text(
                names::DEPENDENT_SYSTEM_MAX,
                "System of the steps that name none.",
            ),
        ),
        (
            top::QUEUE,
            text(names::QUEUE_MAX, "Queue of the steps that name none."),
        ),
        (
            top::TIMEOUT,
            seconds("How long a task can take from its start."),
        ),
        (
            top::NAMED_STEPS,
            json!({"type": "array", "items": {"type": "string"},
                "description": "If given, every step must be in it."}),
        ),
        (
            top::CONCURRENT,
            json!({"type": "boolean", "description": "Has no effect."}),
        ),
        (
            top::STEPS,
            json!({"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/step"}}),
        ),
        (
            top::ENVIRONMENTS,
            json!({"type": "object", "description": "Overrides by name of an environment.",
                "additionalProperties": {"anyOf": [{"$ref": "#/$defs/environment"}, {"type": "null"}]}}),
        ),
        (
            top::CARRIED,
            json!({"description": "Stored with the template."}),
        ),
    ];
    if in_environment {
        // The reader ignores these below an environment, with a warning.
        let fixed = [top::NAME, top::NAMESPACE, top::VERSION, top::ENVIRONMENTS];
        fields.retain(|(spellings, _)| !fixed.contains(spellings));
    }
    fields
}

fn one_step() -> Vec<Field> {
    let names_of_steps = json!({"type": "array", "uniqueItems": true, "items": {"type": "string"},
            "description": "The parents: the step waits until they are complete."});
    vec![
        (
            step::NAME,
            text(
                names::STEP_MAX,
                "Unique in the template; below an environment, ALL is every step.",
            ),
        ),
        (
            step::DESCRIPTION,
            text(names::DESCRIPTION_MAX, "Free text."),
        ),
        (step::HANDLER, reference("handler")),
        (
            step::HANDLER_CONFIG,
            json!({"type": "object", "description": "The same as handler.initialization."}),
        ),
        (step::DEPENDS_LIST, names_of_steps),
        (step::DEPENDS_ONE, text(names::STEP_MAX, "A single parent.")),
        (
            step::DEPENDENT_SYSTEM,
            text(
                names::DEPENDENT_SYSTEM_MAX,
                "The outside system that the step talks to.",
            ),
        ),
        (
            step::QUEUE,
            text(names::QUEUE_MAX, "The queue from which workers claim it."),
        ),
        (
            step::RETRYABLE,
            json!({"type": "boolean", "description": "false: a failure is permanent."}),
        ),
        (step::RETRY_LIMIT, attempts()),
        (step::RETRY, object(&retry(), &[])),
        (step::TIMEOUT, seconds("How long a run can take.")),
        (
            step::PRIORITY,
            json!({"anyOf": [
                {"enum": Priority::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>()},
                {"type": "integer", "minimum": Priority::Low.level(), "maximum": Priority::Urgent.level()}],
                "description": "The task's if left out."}),
        ),
        (
            step::SKIPPABLE,
            json!({"type": "boolean", "description": "Whether bypass_steps can name it."}),
        ),
        (
            step::RESULTS_SCHEMA,
            any_schema("JSON Schema that results must satisfy."),
        ),
        (
            step::EVENTS,
            json!({"type": "array", "items": {"anyOf": [
                {"type": "string"},
                object(&[(step::EVENT_KEYS, json!(true))], &["name"])]}}),
        ),
        (step::TYPE, json!({"const": step::ONLY_TYPE})),
    ]
}

fn retry() -> Vec<Field> {
    let milliseconds = |what: &str| json!({"type": "integer", "minimum": 1, "maximum": i32::MAX, "description": what});
    vec![
        (
            step::BACKOFF,
            json!({"enum": Kind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>()}),
        ),
        (
            step::BACKOFF_BASE,
            milliseconds("The first delay, in milliseconds."),
        ),
        (
            step::BACKOFF_MAX,
            milliseconds("The longest delay, in milliseconds."),
        ),
        (
            step::JITTER,
            json!({"anyOf": [{"type": "boolean"}, {"type": "number", "minimum": 0, "maximum": 1}],
                "description": "Share by which delays differ at random; true is 0.1."}),
        ),
        (step::RETRY_RETRYABLE, json!({"type": "boolean"})),
        (step::RETRY_ATTEMPTS, attempts()),
    ]
}

fn handler() -> Value {
    json!({"anyOf": [
        text(names::HANDLER_MAX, "A name that workers know, or sql: and a function of this database."),
        {
            "type": "object",
            "properties": {
                "callable": text(names::HANDLER_MAX, "A name that workers know."),
                "initialization": {"type": "object", "description": "What the handler gets with every step."},
            },
            "patternProperties": {"^(x-|\\.)": true},
            "additionalProperties": false,
        }
    ]})
}

fn text(most: usize, what: &str) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": most, "description": what})
}

fn seconds(what: &str) -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": i32::MAX, "description": format!("{what} In seconds.")})
}

fn attempts() -> Value {
    json!({"type": "integer", "minimum": 0, "maximum": i16::MAX,
        "description": "Attempts in total, the first among them."})
}

fn any_schema(what: &str) -> Value {
    json!({"type": ["object", "boolean"], "description": what})
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(fields: &[Field]) -> Vec<&'static str> {
        let mut keys: Vec<_> = fields
            .iter()
            .flat_map(|field| field.0.iter().copied())
            .collect();
        keys.sort_unstable();
        keys
    }

    fn sorted(mut known: Vec<&'static str>) -> Vec<&'static str> {
        known.sort_unstable();
        known
    }

    #[test]
    fn it_has_every_key_that_the_reader_knows() {
        assert_eq!(keys(&whole(false)), sorted(top::known_keys()));
        assert_eq!(keys(&one_step()), sorted(step::known_keys()));
        assert_eq!(keys(&retry()), sorted(step::known_retry_keys()));
    }
}
