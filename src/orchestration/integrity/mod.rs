//! Rows that contradict each other: found in one snapshot, repaired task by task under the locks that operators take. What is in
//! flight is in no snapshot by half, so it is never taken for a fault.

mod claims;
mod rows;
mod task;

use pgrx::pg_sys;
use tasker_rules::engine::integrity::{self, Fault, Found, Graph};

use super::queue_entries::Entry;
use super::{Engine, StepKey, finalize};
use crate::error::Result;
use crate::pg::datum::{self, Uuid};
use crate::pg::spi::{Session, Statement};
use crate::registry::{self, Template};
use rows::TaskRows;

pub use rows::Range;

/// One disagreement.
pub struct Disagreement {
    pub fault: Fault,
    pub task: Uuid,
    pub step: Option<i16>,
}

impl Disagreement {
    fn of(rows: &TaskRows, found: &Found) -> Self {
        Self {
            fault: found.fault,
            task: rows.uuid,
            step: found.step,
        }
    }
}

impl Graph for Template {
    fn steps(&self) -> usize {
        Template::steps(self).len()
    }

    fn parents(&self, no: i16) -> &[i16] {
        self.step(no).map_or(&[], |step| &step.parents)
    }

    fn is_leaf(&self, no: i16) -> bool {
        self.step(no).is_ok_and(|step| step.children.is_empty())
    }

    fn queue_id(&self, no: i16) -> i32 {
        self.step(no).map_or(0, |step| step.queue_id)
    }

    fn handler_key(&self, no: i16) -> i64 {
        self.step(no).map_or(0, |step| step.handler_key)
    }
}

/// Finds the disagreements of all tasks in the range, and of that many claims. Reads only, and locks nothing.
pub fn check(
    session: &Session,
    range: &Range,
    most_claims: i64,
    mut report: impl FnMut(Disagreement) -> Result<()>,
) -> Result<()> {
    rows::each_task(session, range, |rows| {
        let (found, _) = look(session, rows);
        found
            .iter()
            .try_for_each(|found| report(Disagreement::of(rows, found)))
    })?;
    claims::short(session, most_claims)?
        .into_iter()
        .try_for_each(|(_, found)| report(found))
}

/// What disagrees in the rows of a task, and its template.
fn look(session: &Session, rows: &TaskRows) -> (Vec<Found>, Option<std::rc::Rc<Template>>) {
    let template = rows
        .task
        .and_then(|task| registry::get(session, task.named_task_id).ok());
    let found = integrity::check(&rows.view(), template.as_deref());
    (found, template)
}

// What a claim is about to take is left to it.
static REMOVE: Statement = Statement::new(
    "DELETE FROM tasker_engine.queue_entries r
     WHERE r.ctid = ANY (ARRAY(SELECT e.ctid FROM tasker_engine.queue_entries e WHERE e.ctid = ANY ($1) FOR UPDATE SKIP LOCKED))",
    &[pg_sys::TIDARRAYOID],
);

// What maintenance has found so far.
static FORGET_FOUND: Statement = Statement::new("DELETE FROM tasker_engine.integrity_checks", &[]);

/// Finds all disagreements and repairs what can be repaired.
pub fn repair(
    engine: &mut Engine,
    mut report: impl FnMut(Disagreement) -> Result<()>,
) -> Result<()> {
    let session = engine.session;
    rows::each_task(session, &Range::ALL, |rows| {
        let (found, template) = look(session, rows);
        if found.is_empty() {
            return Ok(());
        }
        let (queue, others): (Vec<Found>, Vec<Found>) = found
            .into_iter()
            .partition(|found| found.fault.is_of_the_queue());
        repair_queue(engine, rows, &queue, template.as_deref())?;
        let repaired = if rows.task.is_none() {
            finalize::forget(engine, rows.uuid)?;
            others
        } else if others.is_empty() || others.iter().any(|found| found.fault.is_final()) {
            others
        } else {
            task::repair(rows.uuid)?
        };
        queue
            .iter()
            .chain(&repaired)
            .try_for_each(|found| report(Disagreement::of(rows, found)))
    })?;
    // After the steps and tasks: the order of locks.
    for (claim_id, found) in claims::short(session, i64::MAX)? {
        claims::count_again(session, claim_id)?;
        report(found)?;
    }
    session.run(&FORGET_FOUND, &[])?;
    Ok(())
}

/// How many entries wait to be written.
const MOST_ENTRIES: usize = 10_000;

/// An entry is a hint, so no step is locked. What changes meanwhile changes the time of its step as well, so that an entry
/// that is too much then agrees with nothing.
fn repair_queue(
    engine: &mut Engine,
    rows: &TaskRows,
    found: &[Found],
    template: Option<&Template>,
) -> Result<()> {
    let surplus: Vec<_> = found
        .iter()
        .filter_map(|found| rows.tids.get(found.entry?).copied())
        .collect();
    if !surplus.is_empty() {
        engine.session.run(&REMOVE, &[datum::tids(surplus)])?;
    }
    let missing = found
        .iter()
        .filter(|found| found.fault == Fault::MissingEntry);
    for no in missing.filter_map(|found| found.step) {
        let step = usize::try_from(no - 1)
            .ok()
            .and_then(|index| rows.steps.get(index));
        if let (Some(step), Some(template)) = (step, template) {
            let key = StepKey {
                task: rows.uuid,
                no,
            };
            let at = step.available_at.unwrap_or(engine.now);
            engine
                .queue_entries
                .push(Entry::of(template, key, step.priority, at)?);
        }
    }
    if engine.queue_entries.len() >= MOST_ENTRIES {
        engine.queue_entries.flush(engine.now)?;
    }
    Ok(())
}
