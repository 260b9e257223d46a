//! Results, inputs and context as they are when an event is read. They are no part of the event: they can be others at the next
//! delivery.

use pgrx::pg_sys;
use rustc_hash::FxHashMap;
use serde_json::{Value, json};
use tasker_rules::engine::ids;

use super::poll::Delivered;
use crate::error::Result;
use crate::pg::datum::{self, Uuid};
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

fn value(text: Option<String>) -> Value {
    text.and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or(Value::Null)
}

/// Adds the key `data` to the payloads.
pub fn add(session: &Session, events: &mut [Delivered]) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let tasks: Vec<Uuid> = events.iter().filter_map(|event| event.event.task).collect();
    let mut contexts: FxHashMap<Uuid, Value> = FxHashMap::default();
    for row in session.run(&CONTEXTS, &[datum::uuids(&tasks)])?.iter() {
        contexts.insert(row.get(1)?, value(row.opt(2)));
    }
    let steps: Vec<(Uuid, i16)> = events
        .iter()
        .filter_map(|event| event.event.step.map(|step| ids::split(&step)))
        .collect();
    let mut found: FxHashMap<Uuid, Value> = FxHashMap::default();
    let args = [
        datum::uuids(steps.iter().map(|(task, _)| task)),
        datum::int2s(steps.iter().map(|(_, no)| *no)),
    ];
    for row in session.run(&STEPS, &args)?.iter() {
        let (task, no): (Uuid, i16) = (row.get(1)?, row.get(2)?);
        let step = ids::step_uuid(&task, no);
        found.insert(step, value(row.opt(3)));
    }
    for Delivered { event, .. } in events {
        let context = event.task.and_then(|task| contexts.get(&task));
        let mut data = json!({"context": context});
        if let Some(results) = event.step.and_then(|step| found.get(&step)) {
            data["results"] = results.clone();
            // Those of a step are the context of its task.
            data["inputs"] = json!(context);
        }
        event.payload.set("data", data);
    }
    Ok(())
}
