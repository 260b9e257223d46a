//! Results, inputs and context as they are when an event is read. They are no part of the event: they can be others at the next
//! delivery.

use pgrx::pg_sys;
use rustc_hash::FxHashMap;
use serde_json::{Map, Value, json};
use tasker_rules::engine::ids;
use tasker_rules::events::payload::DATA;

use super::poll::Delivered;
use crate::error::Result;
use crate::pg::datum::{self, Uuid};
use crate::pg::memory;
use crate::pg::spi::{Session, Statement};

static CONTEXTS: Statement = Statement::new(
    "SELECT t.task_uuid, t.context::text FROM tasker_engine.tasks t WHERE t.task_uuid = ANY ($1)",
    &[pg_sys::UUIDARRAYOID],
);

static STEPS: Statement = Statement::new(
    "SELECT s.task_uuid, s.step_no, s.results::text
     FROM unnest($1, $2) AS u (task_uuid, step_no)
     JOIN tasker_engine.steps s ON s.task_uuid = u.task_uuid AND s.step_no = u.step_no",
    &[pg_sys::UUIDARRAYOID, pg_sys::INT2ARRAYOID],
);

/// Bytes of text of the largest document that is added: a payload holds three, and a jsonb at most 256 MB.
const LARGEST: usize = 16 << 20;
/// What parsing makes of a byte of text, at most.
const PARSED: usize = 16;

/// A document of the engine; None if it is too large, or nested deeper than the parser goes, which events never are but results and
/// contexts can be.
type Document = Option<Value>;

fn document(text: Option<String>) -> Document {
    let Some(text) = text else {
        return Some(Value::Null);
    };
    if text.len() > LARGEST {
        return None;
    }
    memory::require(PARSED * text.len());
    serde_json::from_str(&text).ok()
}

/// Adds the key `data` to the payloads of events of a task.
pub fn add(session: &Session, events: &mut [Delivered]) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let tasks: Vec<Uuid> = events.iter().filter_map(|event| event.event.task).collect();
    let mut contexts: FxHashMap<Uuid, Document> = FxHashMap::default();
    for row in session.run(&CONTEXTS, &[datum::uuids(&tasks)])?.iter() {
        contexts.insert(row.get(1)?, document(row.opt(2)));
    }
    let steps: Vec<(Uuid, i16)> = events
        .iter()
        .filter_map(|event| event.event.step.map(|step| ids::split(&step)))
        .collect();
    let mut found: FxHashMap<Uuid, Document> = FxHashMap::default();
    let args = [
        datum::uuids(steps.iter().map(|(task, _)| task)),
        datum::int2s(steps.iter().map(|(_, no)| *no)),
    ];
    for row in session.run(&STEPS, &args)?.iter() {
        let (task, no): (Uuid, i16) = (row.get(1)?, row.get(2)?);
        let step = ids::step_uuid(&task, no);
        found.insert(step, document(row.opt(3)));
    }
    for Delivered { event, .. } in events {
        let Some(task) = event.task else {
            continue;
        };
        let context = contexts.get(&task);
        let results = event.step.and_then(|step| found.get(&step));
        // The inputs of a step are the context of its task.
        let parts = [
            ("context", context.or(Some(&Some(Value::Null)))),
            ("results", results),
            ("inputs", context.filter(|_| results.is_some())),
        ];
        let mut data = Map::new();
        let mut omitted = Vec::new();
        for (key, part) in parts {
            match part {
                Some(Some(document)) => drop(data.insert(key.to_owned(), document.clone())),
                Some(None) => omitted.push(key),
                None => {}
            }
        }
        if !omitted.is_empty() {
            data.insert("omitted".to_owned(), json!(omitted));
        }
        event.payload.set(DATA, Value::Object(data));
    }
    Ok(())
}
