//! Running an ended task again: a new task of the same template with the same request, which can keep results of the old one.

use std::collections::BTreeSet;

use pgrx::pg_sys;
use tasker_rules::engine::ids;
use tasker_rules::engine::state::TaskState;

use super::check::check_contexts;
use super::rows::insert;
use super::template::readable;
use super::{Created, TaskRequest};
use crate::error::{Error, Result};
use crate::orchestration::bypass::{Bypass, Rerun};
use crate::orchestration::locked_task::unknown_task;
use crate::orchestration::{Engine, audit, format_uuid};
use crate::pg::datum::{self, Jsonb, Uuid};
use crate::pg::spi::Statement;
use crate::registry::{self, Template};

// Keeps the task as it is: neither an operator nor a purge changes its row. Nothing else of it is locked.
static KEEP: Statement = Statement::new(
    "SELECT t.named_task_id, t.state, t.priority, t.initiator, t.source_system, t.reason, t.correlation_id, t.tags,
            t.bypass_steps, coalesce($2, t.context)
     FROM tasker_engine.tasks t WHERE t.task_uuid = $1
     FOR SHARE",
    &[pg_sys::UUIDOID, pg_sys::JSONBOID],
);

static DONE_STEPS: Statement = Statement::new(
    "SELECT s.step_no FROM tasker_engine.steps s WHERE s.task_uuid = $1 AND s.state IN ('c', 'r')",
    &[pg_sys::UUIDOID],
);

static NOTE: Statement = Statement::new(
    "INSERT INTO tasker.task_annotations (task_uuid, annotation_type_id, annotation)
     VALUES ($1, tasker.find_or_create_annotation_type('rerun'), $2)",
    &[pg_sys::UUIDOID, pg_sys::JSONBOID],
);

/// Creates a task as the old one was requested; without a context with the same one. `from_step` and what needs it run again, and
/// so does all that was not done. `None`: everything.
pub fn rerun<'e>(
    engine: &mut Engine<'e>,
    old: Uuid,
    from_step: Option<&str>,
    context: Option<Jsonb<'e>>,
) -> Result<Uuid> {
    let rows = engine
        .session
        .run(&KEEP, &[datum::uuid(&old), datum::opt_jsonb(context)])?;
    let row = rows.first().ok_or_else(|| unknown_task(&old))?;
    require_ended(&old, row.get(2)?)?;
    let template = readable(registry::get(engine.session, row.get(1)?)?)?;
    let again = from_step.map(|name| again(&template, name)).transpose()?;
    if let Some(context) = context {
        check_contexts(&template, &[context])?;
    }
    let request = TaskRequest {
        name: template.name.clone(),
        namespace: template.namespace.clone(),
        version: Some(template.version.clone()),
        priority: row.get::<i16>(3)?.into(),
        initiator: row.get(4)?,
        source_system: row.get(5)?,
        reason: row.get(6)?,
        correlation_id: row.opt(7),
        tags: row.jsonb(8)?,
        bypass_steps: row.jsonb(9)?,
        contexts: vec![row.jsonb(10)?],
        run_at: None,
        idempotency_keys: vec![],
        traceparent: None,
        tracestate: None,
    };
    let mut kept = BTreeSet::new();
    if let Some(again) = again {
        let done = engine.session.run(&DONE_STEPS, &[datum::uuid(&old)])?;
        for row in done.iter() {
            kept.insert(row.get(1)?);
        }
        kept.retain(|no| !again.contains(no));
    }
    let bypass = Bypass::read(&template, request.bypass_steps)?.with(Rerun {
        of: old,
        from_step: from_step.map(str::to_owned),
        kept,
    });
    let task_uuid = ids::new_task_uuids(1)[0];
    let created = [Created {
        task_uuid,
        existing: false,
    }];
    insert(engine, &request, &template, &bypass, &created)?;
    let note = audit::texts(&[
        ("rerun_as", Some(&format_uuid(&task_uuid))),
        ("from_step", from_step),
    ]);
    engine
        .session
        .run(&NOTE, &[datum::uuid(&old), datum::opt_jsonb(note)])?;
    Ok(task_uuid)
}

fn require_ended(task: &Uuid, state: TaskState) -> Result<()> {
    if !state.is_open() {
        return Ok(());
    }
    let uuid = format_uuid(task);
    Err(Error::state(format!("task {uuid} has not ended"))
        .detail(format!(
            "It is {state}. A task in state complete, error, cancelled or resolved_manually can run again."
        ))
        .hint(format!("Wait for its end, or call SELECT tasker.cancel_task('{uuid}').")))
}

/// The numbers of the step with this name and of all that need it.
fn again(template: &Template, name: &str) -> Result<BTreeSet<i16>> {
    let steps = template.steps();
    let Some(step) = steps.iter().find(|step| step.name == name) else {
        let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
        let shown = tasker_rules::names::shown(name);
        return Err(Error::parameter(format!(
            "from_step: {} has no step {shown}",
            template.full_name()
        ))
        .detail(format!("Its steps: {}.", names.join(", ")))
        .hint("Name the first step that is to run again; NULL runs all of them."));
    };
    let below = template.descendants(&[step.no], &BTreeSet::new());
    Ok(below.into_iter().chain([step.no]).collect())
}
