//! Events that come with a report: published if it is accepted. One that cannot be is written down with the step, and harms nothing.

use std::collections::{BTreeMap, BTreeSet};

use pgrx::PgSqlErrorCode as Code;
use serde_json::Map;

use super::Report;
use super::hold::Held;
use crate::error::{Error, Result};
use crate::orchestration::publish::{self, Rules};
use crate::orchestration::{Engine, audit};
use crate::pg::datum::{self, Jsonb, Object};

/// As many events as one report can bring.
const MOST: usize = 1000;
/// How many refused ones are written down, and how long the reason can be.
const MOST_WRITTEN: usize = 10;
const LONGEST: usize = 200;

/// The key in the metadata of the log, and of its reasons.
const REFUSED: &str = "refused_events";

/// What the reports tell: pushes the events of the accepted ones, and returns why others are not published, by report. Nothing is
/// asked for reports without events.
pub(super) fn publish<'e>(
    engine: &mut Engine<'e>,
    reports: &[Report<'e>],
    held: &BTreeMap<usize, Held>,
) -> Result<BTreeMap<usize, Vec<String>>> {
    let mut refused: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let mut told = vec![];
    for &index in held.keys() {
        if let Some(events) = reports[index].events {
            read(events, |event| match event {
                Ok((name, payload)) => told.push((index, name, payload)),
                Err(why) => refused.entry(index).or_default().push(why),
            });
        }
    }
    if told.is_empty() {
        return Ok(refused);
    }
    let rules = Rules::of(engine.session, told.iter().map(|(_, name, _)| *name))?;
    let keys: BTreeSet<_> = told.iter().map(|(index, ..)| reports[*index].key).collect();
    let about = publish::about(engine.session, &keys)?;
    for (index, name, payload) in told {
        match rules.check(name, payload) {
            Ok(()) => {
                let about = about.get(&reports[index].key).cloned();
                let about = about.ok_or_else(|| Error::corrupt("a held step has no task"))?;
                engine.events.push(name, payload, about);
            }
            Err(error) if harms_only_itself(error.code) => {
                // Of a payload that breaks its schema, the first place.
                let place = error
                    .detail
                    .as_ref()
                    .and_then(|detail| detail.lines().next());
                let place = place.filter(|_| error.code == Code::ERRCODE_CHECK_VIOLATION);
                let why = format!("{name}: {}", place.unwrap_or(&error.message));
                refused.entry(index).or_default().push(why);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(refused)
}

fn harms_only_itself(code: Code) -> bool {
    matches!(
        code,
        Code::ERRCODE_INVALID_PARAMETER_VALUE
            | Code::ERRCODE_CHECK_VIOLATION
            | Code::ERRCODE_STATEMENT_TOO_COMPLEX
    )
}

type Told<'e> = std::result::Result<(&'e str, Jsonb<'e>), String>;

/// The elements: `{name, payload}` each.
fn read<'e>(events: Jsonb<'e>, mut tell: impl FnMut(Told<'e>)) {
    if !datum::is_array(events) {
        return tell(Err("events must be a JSON array".to_owned()));
    }
    let count = datum::element_count(events) as usize;
    for index in 0..count.min(MOST) {
        let element = datum::array_element(events, index).and_then(Object::of);
        tell(element.map_or_else(
            || Err(format!("event {}: it is no object", index + 1)),
            |element| {
                one(&element)
                    .ok_or_else(|| format!("event {}: it is not {{name, payload}}", index + 1))
            },
        ));
    }
    if count > MOST {
        tell(Err(format!(
            "{} more: a report can have {MOST} events",
            count - MOST
        )));
    }
}

fn one<'e>(element: &Object<'e>) -> Option<(&'e str, Jsonb<'e>)> {
    let name = element.get("name")?.as_str()?;
    let payload = match element.get("payload") {
        Some(payload) => payload.to_jsonb(),
        None => datum::jsonb_from_text("{}")?,
    };
    element
        .keys()
        .all(|key| ["name", "payload"].contains(&key))
        .then_some((name, payload))
}

/// The metadata of the row that ends the run, with what could not be published.
pub(super) fn noted<'e>(
    metadata: Option<Jsonb<'e>>,
    refused: Option<&Vec<String>>,
) -> Option<Jsonb<'e>> {
    let Some(refused) = refused else {
        return metadata;
    };
    let mut reasons: Vec<String> = refused
        .iter()
        .take(MOST_WRITTEN)
        .map(|why| why.chars().take(LONGEST).collect())
        .collect();
    if refused.len() > MOST_WRITTEN {
        reasons.push(format!("{} more", refused.len() - MOST_WRITTEN));
    }
    let reasons = Map::from_iter([(REFUSED.to_owned(), reasons.into())]);
    audit::both(metadata, audit::object(reasons))
}
