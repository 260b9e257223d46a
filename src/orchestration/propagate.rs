//! The effects of a step's end on others: children are released, descendants become unreachable, tasks may end. Levels 2
//! and 3 of the locks.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use pgrx::pg_sys;
use tasker_rules::engine::readiness::may_still_start;
use tasker_rules::engine::state::StepState;

use super::queue_entries::{Entry, HELD};
use super::{Engine, StepKey, finalize};
use crate::error::Result;
use crate::pg::datum::{self, Timestamp, Uuid};
use crate::pg::spi::Statement;
use crate::registry::{self, Template};

// Children lose parents, descendants of a permanent failure become unreachable: one statement, one lock order.
static TOUCH: Statement = Statement::new(
    "UPDATE tasker_engine.steps s
     SET open_parents = s.open_parents - u.parents, unreachable = s.unreachable OR u.unreachable
     FROM unnest($1, $2, $3, $4) AS u (task_uuid, step_no, parents, unreachable)
     WHERE s.task_uuid = u.task_uuid AND s.step_no = u.step_no
     RETURNING s.task_uuid, s.step_no, s.named_task_id, s.open_parents, s.priority, s.state, s.unreachable,
               s.available_at",
    &[pg_sys::UUIDARRAYOID, pg_sys::INT2ARRAYOID, pg_sys::INT2ARRAYOID, pg_sys::BOOLARRAYOID],
);

// Resolving a step locks every open step of its task first, so this does not change while the failed step is locked.
static RESOLVED: Statement = Statement::new(
    "SELECT s.step_no FROM tasker_engine.steps s WHERE s.task_uuid = $1 AND s.state = 'r'",
    &[pg_sys::UUIDOID],
);

/// The steps of a task that an operator has resolved, which need no parent any more. Reads every step of it: once for a call.
pub fn resolved_steps(engine: &Engine, task: Uuid) -> Result<BTreeSet<i16>> {
    let rows = engine.session.run(&RESOLVED, &[datum::uuid(&task)])?;
    rows.iter().map(|row| row.get(1)).collect()
}

/// The steps of a task that have failed permanently in this call.
struct Failed {
    template: Rc<Template>,
    steps: Vec<i16>,
    /// An operator may have resolved steps of the task.
    watched: bool,
}

// The same from the rows of the template, where the template itself cannot be read.
static UNREACHABLE: Statement = Statement::new(
    "WITH RECURSIVE lost (step_no) AS (
         SELECT $2
         UNION
         SELECT s.step_no
         FROM lost l
         JOIN tasker.named_tasks_named_steps n ON n.named_task_id = $3 AND n.step_no = l.step_no
         JOIN tasker_engine.steps s ON s.task_uuid = $1 AND s.step_no = ANY (n.children)
         WHERE s.state <> 'r')
     SELECT l.step_no FROM lost l WHERE l.step_no <> $2 ORDER BY l.step_no",
    &[pg_sys::UUIDOID, pg_sys::INT2OID, pg_sys::INT4OID],
);

/// The steps that cannot complete without one whose template cannot be read.
pub fn made_unreachable_by_rows(
    engine: &Engine,
    key: StepKey,
    named_task_id: i32,
) -> Result<Vec<i16>> {
    let args = [
        datum::uuid(&key.task),
        datum::int2(key.no),
        datum::int4(named_task_id),
    ];
    let rows = engine.session.run(&UNREACHABLE, &args)?;
    rows.iter().map(|row| row.get(1)).collect()
}

/// The effects of steps that have just changed on others.
#[derive(Default)]
pub struct Propagation {
    /// Level 2: parents to subtract, and whether the step is unreachable. Zero and false only read the row.
    touch: BTreeMap<StepKey, (i16, bool)>,
    failed: BTreeMap<Uuid, Failed>,
    pub tasks: finalize::Tasks,
}

impl Propagation {
    /// The step has completed (or was resolved): its children lose a parent, or are released at once.
    pub fn completed(
        &mut self,
        engine: &mut Engine,
        key: StepKey,
        template: &Template,
        priority: i16,
        watched: bool,
    ) -> Result<()> {
        let step = template.step(key.no)?;
        if step.children.is_empty() {
            self.tasks.leaf(key.task);
        }
        if watched {
            self.tasks.check(key.task);
        }
        for &no in &step.children {
            let child_key = StepKey { task: key.task, no };
            let child = template.step(no)?;
            // A child with one parent needs no counter: no other report can release it. Only an
            // operator can have changed it before, which marks the task's steps as `watched`.
            if child.parents.len() == 1 && !watched {
                engine
                    .queue_entries
                    .push(Entry::of(template, child_key, priority, engine.now)?);
            } else {
                let entry = self.touch.entry(child_key).or_default();
                entry.0 += 1;
            }
        }
        Ok(())
    }

    /// The step will never complete, nor will any step that needs it, and the task may have ended. `watched`: an operator
    /// may have resolved some of these steps.
    pub fn failed_permanently(&mut self, key: StepKey, template: &Rc<Template>, watched: bool) {
        let failed = self.failed.entry(key.task).or_insert_with(|| Failed {
            template: Rc::clone(template),
            steps: vec![],
            watched: false,
        });
        failed.steps.push(key.no);
        failed.watched |= watched;
        self.tasks.trouble(key.task);
    }

    /// One walk for all failed steps of a task: they may have the same descendants.
    fn mark_descendants(&mut self, engine: &Engine) -> Result<()> {
        for (task, failed) in std::mem::take(&mut self.failed) {
            let resolved = if failed.watched {
                resolved_steps(engine, task)?
            } else {
                BTreeSet::new()
            };
            for no in failed.template.descendants(&failed.steps, &resolved) {
                self.touch.entry(StepKey { task, no }).or_default().1 = true;
            }
        }
        Ok(())
    }

    /// Levels 2 and 3.
    pub fn settle(mut self, engine: &mut Engine) -> Result<()> {
        self.mark_descendants(engine)?;
        if !self.touch.is_empty() {
            self.settle_steps(engine)?;
        }
        self.tasks.settle(engine)
    }

    fn settle_steps(&mut self, engine: &mut Engine) -> Result<()> {
        let touch = std::mem::take(&mut self.touch);
        let rows = engine.session.run(
            &TOUCH,
            &[
                datum::uuids(touch.keys().map(|key| &key.task)),
                datum::int2s(touch.keys().map(|key| key.no)),
                datum::int2s(touch.values().map(|(parents, _)| *parents)),
                datum::booleans(touch.values().map(|(_, unreachable)| *unreachable)),
            ],
        )?;
        for row in rows.iter() {
            let key = StepKey {
                task: row.get(1)?,
                no: row.get(2)?,
            };
            let (open, state, unreachable) = (
                row.get::<i16>(4)?,
                row.get::<StepState>(6)?,
                row.get::<bool>(7)?,
            );
            let available_at: Option<Timestamp> = row.opt(8);
            if unreachable || !may_still_start(state, available_at, unreachable) {
                self.tasks.check(key.task);
            } else if open == 0 && available_at != Some(HELD) {
                let template = registry::get(engine.session, row.get(3)?)?;
                engine.queue_entries.push(Entry::of(
                    &template,
                    key,
                    row.get(5)?,
                    // An operator may have scheduled it; else it is available from now on.
                    available_at.unwrap_or(engine.now),
                )?);
            }
        }
        Ok(())
    }
}
