//! Checks of a request.

use super::TaskRequest;
use crate::error::{Error, Result};
use crate::pg::datum::{self, Jsonb};
use crate::registry::Template;

pub(super) fn check(request: &TaskRequest) -> Result<()> {
    if !(1..=4).contains(&request.priority) {
        return Err(
            Error::parameter(format!("priority {} is out of range", request.priority))
                .detail("Priorities are 1, 2, 3 and 4.")
                .hint("1 low, 2 normal, 3 high, 4 urgent."),
        );
    }
    if !datum::is_array(request.tags) {
        return Err(Error::parameter("tags must be a JSON array")
            .detail("The document given is not an array.")
            .hint("For example '[\"nightly\"]'."));
    }
    if !request.idempotency_keys.is_empty()
        && request.idempotency_keys.len() != request.contexts.len()
    {
        return Err(
            Error::parameter("idempotency_keys must have one entry per context")
                .detail(format!(
                    "{} contexts, {} keys.",
                    request.contexts.len(),
                    request.idempotency_keys.len()
                ))
                .hint("Give NULL for a context without a key, or no idempotency_keys at all."),
        );
    }
    for (name, value) in [
        ("initiator", &request.initiator),
        ("source_system", &request.source_system),
        ("reason", &request.reason),
    ] {
        if value.chars().count() > 128 {
            return Err(
                Error::parameter(format!("{name} must have at most 128 characters"))
                    .detail(format!("It has {}.", value.chars().count()))
                    .hint("Longer notes belong in the context or the tags."),
            );
        }
    }
    Ok(())
}

pub(super) fn check_contexts(template: &Template, contexts: &[Jsonb]) -> Result<()> {
    for (index, context) in contexts.iter().enumerate() {
        let place = if contexts.len() > 1 {
            format!("contexts[{}]", index + 1)
        } else {
            "context".to_owned()
        };
        if !datum::is_object(*context) {
            return Err(Error::check(format!("{place} must be a JSON object"))
                .detail("The document given is an array or a single value.")
                .hint("'{}' is an object."));
        }
        if let Some(schema) = &template.input_schema {
            let problems = schema.validate(&place, &read_json(*context, &place)?);
            if let Some(first) = problems.first() {
                let all: Vec<String> = problems
                    .iter()
                    .map(|problem| format!("{}: {}", problem.path, problem.message))
                    .collect();
                return Err(Error::check(format!("{}: {}", first.path, first.message))
                    .detail(all.join("\n"))
                    .hint(format!(
                        "The input_schema of {} describes the context.",
                        template.full_name()
                    )));
            }
        }
    }
    Ok(())
}

/// A document as a value, for the few checks that must look inside; numbers stay exact.
pub(super) fn read_json(jsonb: Jsonb, place: &str) -> Result<serde_json::Value> {
    serde_json::from_str(&datum::jsonb_text(jsonb))
        .map_err(|error| Error::check(format!("{place} cannot be read: {error}")))
}
