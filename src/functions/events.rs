//! The catalogue of events as rows (the view that adds custom events is in sql/views/events.sql), and publishing events.

use std::collections::BTreeSet;

use tasker_rules::events::catalog::CATALOG;

use super::reports::check_count;
use crate::error::{Error, Result};
use crate::orchestration::publish::{self, About, Rules};
use crate::orchestration::{Engine, StepKey, resumption};
use crate::pg::call::{self, Call, Output};
use crate::pg::datum::{self, Jsonb, Uuid};
use crate::pg::spi::Session;
use crate::settings;

crate::pg::call::sql_function! {
    event_catalogue;
    event_retention_text;
    register_event;
    publish_event;
    publish_events;
    publish_facts;
}

fn event_catalogue(call: &mut Call) -> Result<Output> {
    for entry in CATALOG {
        let schema = entry.payload().map(|payload| payload.schema().to_string());
        let schema = schema
            .map(|schema| {
                datum::jsonb_from_text(&schema)
                    .ok_or_else(|| Error::corrupt("the schema of a payload is JSON"))
            })
            .transpose()?;
        call.row(&[
            datum::text(entry.name),
            datum::text(entry.group),
            datum::text(&entry.fires_when()),
            datum::opt_jsonb(schema),
            datum::opt_text(entry.synonym_of()),
        ])?;
    }
    Ok(Output::Rows)
}

fn event_retention_text(_: &mut Call) -> Result<Output> {
    Ok(Output::Text(settings::event_retention()))
}

fn register_event(call: &mut Call) -> Result<Output> {
    let name: String = call.get(0, "name")?;
    let (description, schema) = (call.opt_text(1), call.opt_jsonb(2));
    call::require_primary()?;
    let session = Session::open()?;
    let begins = resumption::require_or_new(&session)?;
    publish::register(&session, &name, description.as_deref(), schema)?;
    if begins {
        resumption::resume(&session)?;
    }
    Ok(Output::Null)
}

/// An event that a caller gives.
struct Given<'c> {
    name: String,
    payload: Jsonb<'c>,
    step: Option<StepKey>,
}

fn publish_event(call: &mut Call) -> Result<Output> {
    let given = Given {
        name: call.get(0, "name")?,
        payload: call.jsonb(1, "payload")?,
        step: publish::named(call.opt(2), call.opt(3))?,
    };
    let ids = publish(&[given], call.opt_text(4))?;
    let id = ids
        .first()
        .ok_or_else(|| Error::corrupt("a published event has an id"))?;
    Ok(Output::from(*id))
}

fn publish_events(call: &mut Call) -> Result<Output> {
    let names = call
        .opt_array::<String>(0)
        .ok_or_else(|| Error::null("names"))?;
    check_count(names.len(), "events")?;
    let payloads = call.opt_jsonbs(1).ok_or_else(|| Error::null("payloads"))?;
    let tasks = uuids(call, 2, "task_uuids", names.len())?;
    let steps = uuids(call, 3, "step_uuids", names.len())?;
    check_length("payloads", payloads.len(), names.len())?;
    let mut given = Vec::with_capacity(names.len());
    for (index, (name, payload)) in names.into_iter().zip(payloads).enumerate() {
        let element = |of: &str| Error::null(&format!("an element of {of}"));
        given.push(Given {
            name: name.ok_or_else(|| element("names"))?,
            payload: payload.ok_or_else(|| element("payloads"))?,
            step: publish::named(
                tasks.get(index).copied().flatten(),
                steps.get(index).copied().flatten(),
            )
            .map_err(|error| at(index, error))?,
        });
    }
    for id in publish(&given, call.opt_text(4))? {
        call.row(&[datum::int8(id)])?;
    }
    Ok(Output::Rows)
}

/// An array that is left out, or has an element for each event.
fn uuids(call: &Call, index: usize, name: &str, count: usize) -> Result<Vec<Option<Uuid>>> {
    let Some(uuids) = call.opt_array::<Uuid>(index) else {
        return Ok(vec![]);
    };
    check_length(name, uuids.len(), count)?;
    Ok(uuids)
}

fn check_length(name: &str, length: usize, count: usize) -> Result<()> {
    if length == count {
        return Ok(());
    }
    Err(
        Error::parameter(format!("{name} and names are of different lengths"))
            .detail(format!("names has {count} elements, {name} has {length}."))
            .hint("Give one element per event; NULL stands for an event without a task or step."),
    )
}

/// The error with the place of the event among many.
fn at(index: usize, error: Error) -> Error {
    Error {
        message: format!("event {}: {}", index + 1, error.message),
        ..error
    }
}

/// All or nothing. Returns the event ids.
fn publish(given: &[Given], namespace: Option<String>) -> Result<Vec<i64>> {
    call::require_primary()?;
    let session = Session::open()?;
    let mut engine = Engine::open_to_create(&session)?;
    let placed = |index, error| match given.len() {
        1 => error,
        _ => at(index, error),
    };
    let rules = Rules::of(&session, given.iter().map(|event| event.name.as_str()))?;
    for (index, event) in given.iter().enumerate() {
        rules
            .check(&event.name, event.payload)
            .map_err(|error| placed(index, error))?;
    }
    if let Some(name) = &namespace {
        publish::require_namespace(&session, name)?;
    }
    let keys: BTreeSet<StepKey> = given.iter().filter_map(|event| event.step).collect();
    let about = publish::about(&session, &keys)?;
    for (index, event) in given.iter().enumerate() {
        let about = match &event.step {
            Some(key) => about
                .get(key)
                .cloned()
                .ok_or_else(|| placed(index, publish::unknown(key)))?,
            None => About {
                namespace: namespace.clone(),
                ..About::default()
            },
        };
        engine
            .events
            .push(event.name.as_str(), event.payload, about);
    }
    let ids = engine.events.flush(engine.now)?;
    engine.close()?;
    Ok(ids)
}

/// For functions in SQL that make facts: what they give is not checked.
fn publish_facts(call: &mut Call) -> Result<Output> {
    let name: String = call.get(0, "name")?;
    let which = call.opt_array::<String>(1).unwrap_or_default();
    let payloads = call.opt_jsonbs(2).unwrap_or_default();
    let namespace = call.opt_text(3);
    let session = Session::open()?;
    let mut engine = Engine::open_any_isolation(&session);
    for (which, payload) in which.into_iter().zip(payloads) {
        let payload = payload.ok_or_else(|| Error::null("an element of payloads"))?;
        let about = About {
            namespace: namespace.clone(),
            which,
            ..About::default()
        };
        engine.events.push(name.as_str(), payload, about);
    }
    engine.close()?;
    Ok(Output::Null)
}
