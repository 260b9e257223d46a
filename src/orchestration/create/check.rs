//! Checks of a request.

use tasker_rules::engine::correlation;
use tasker_rules::template::json;

use super::TaskRequest;
use crate::error::{Error, Result};
use crate::pg::call::shortened;
use crate::pg::datum::{self, Jsonb};
use crate::pg::{budget, memory};
use crate::registry::Template;
use crate::settings;

/// Tags of a task. Each is a row and an entry in two indexes, and comparing two sets costs the product of their sizes; more notes
/// of one word than this help no reader.
pub const MOST_TAGS: u32 = 100;
/// Bytes of a name that the caller gives to a request.
const LONGEST_KEY: usize = 1 << 20;

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
    let count = datum::element_count(request.tags);
    if count > MOST_TAGS {
        return Err(
            Error::too_large(format!("{count} tags are too many for one task"))
                .detail(format!("At most {MOST_TAGS} are possible."))
                .hint("Put into the context what is not looked for by its name."),
        );
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
    let keys = request.idempotency_keys.iter().flatten();
    for (name, value) in keys.map(|key| ("idempotency_key", key)) {
        if value.len() > LONGEST_KEY {
            return Err(Error::too_large(format!("{name} is too long"))
                .detail(format!(
                    "It has {} bytes; at most {LONGEST_KEY} are possible.",
                    value.len()
                ))
                .hint("Give a digest of a long text, or put the text into the context."));
        }
    }
    if let Some(id) = &request.correlation_id
        && !correlation::is_valid(id)
    {
        return Err(Error::parameter(format!(
            "correlation_id \"{}\" breaks the pattern of ids",
            shortened(id)
        ))
        .detail(format!(
            "It has 1 to {} letters, digits, - and _ of ASCII, of which the first is a letter or a digit.",
            correlation::LONGEST
        ))
        .hint("Give another id, or none: then the task gets one of its own."));
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
        check_size(*context, &place)?;
        if let Some(schema) = &template.input_schema {
            let problems = schema.problems(&place, *context)?;
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

fn check_size(context: Jsonb, place: &str) -> Result<()> {
    let (size, most) = (datum::size(context), settings::max_context_size());
    if size > most {
        return Err(Error::too_large(format!("{place} is too large"))
            .detail(format!("It has {size} bytes; at most {most} are allowed."))
            .hint("Keep the document elsewhere and give the task its address, or raise tasker.max_context_size."));
    }
    if datum::texts_are_too_long(&[context]) {
        return Err(Error::too_large(format!("{place} is too long as a text"))
            .detail("No worker could read it: a text has at most 1 GB, and a number such as 1e131071 is printed with all its digits.")
            .hint("Give long numbers as texts."));
    }
    Ok(())
}

/// A document as a value, for the few checks that must look inside; numbers stay exact.
pub(super) fn read_json(jsonb: Jsonb, place: &str) -> Result<serde_json::Value> {
    let text = datum::jsonb_text(jsonb);
    let budget = budget::for_document(text.len(), settings::max_working_memory());
    let value = json::read(&text, &budget).map_err(|error| match error {
        json::Unread::Spent(spent) => Error::spent(&format!("reading {place}"), spent)
            .hint("Use a smaller document, or raise tasker.max_working_memory_mb."),
        json::Unread::Syntax(message) => Error::check(format!("{place} cannot be read: {message}")),
    })?;
    // Its canonical form, which grows by doubling.
    memory::require(4 * text.len());
    Ok(value)
}
