//! Creates tasks: one set-based statement per table for any number of tasks, all or nothing.

mod check;
mod identities;
mod rerun;
mod rows;
mod template;
mod trace;

use crate::error::Result;
use crate::orchestration::Engine;
use crate::orchestration::bypass::Bypass;
use crate::pg::datum::{Jsonb, Timestamp, Uuid};
use check::{check, check_contexts};
use identities::settle_identities;
use rows::insert;
use template::keep_template;

pub use check::MOST_TAGS;
pub use rerun::rerun;
pub use template::find_template;
pub use trace::context;

/// A request: one task per context.
pub struct TaskRequest<'a> {
    pub name: String,
    pub namespace: String,
    pub version: Option<String>,
    pub contexts: Vec<Jsonb<'a>>,
    pub initiator: String,
    pub source_system: String,
    pub reason: String,
    pub tags: Jsonb<'a>,
    pub bypass_steps: Jsonb<'a>,
    pub priority: i32,
    pub run_at: Option<Timestamp>,
    /// One per context, or none at all.
    pub idempotency_keys: Vec<Option<String>>,
    pub correlation_id: Option<String>,
    pub traceparent: Option<String>,
    pub tracestate: Option<String>,
}

impl TaskRequest<'_> {
    /// The idempotency key of the context at this place.
    fn key(&self, index: usize) -> Option<&str> {
        self.idempotency_keys.get(index)?.as_deref()
    }
}

/// Creates the tasks and returns their uuids in the order given. A context with a known key or hash
/// creates no task: it returns the uuid of the known one, with `existing` set.
pub fn create(engine: &mut Engine, request: &TaskRequest) -> Result<Vec<Created>> {
    check(request)?;
    let template = keep_template(engine, request)?;
    check_contexts(&template, &request.contexts)?;
    let bypass = Bypass::read(&template, request.bypass_steps)?;
    let mut created: Vec<Created> =
        tasker_rules::engine::ids::new_task_uuids(request.contexts.len())
            .into_iter()
            .map(|task_uuid| Created {
                task_uuid,
                existing: false,
            })
            .collect();
    if template.hashed_identity.is_some() || request.idempotency_keys.iter().any(Option::is_some) {
        settle_identities(engine, request, &template, &bypass, &mut created)?;
    }
    insert(engine, request, &template, &bypass, &created)?;
    Ok(created)
}

/// One created task, or the one that was there before.
pub struct Created {
    pub task_uuid: Uuid,
    pub existing: bool,
}
