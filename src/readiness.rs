//! Reads tasks for the rules of `tasker_rules::engine::readiness`: steps and log from their tables, the graph from memory.
//!
//! Each call makes two walks over an index, for any number of steps. One statement that joined all tables cost four times as
//! much, most of it before its first row.

use std::rc::Rc;

use pgrx::pg_sys;
use rustc_hash::FxHashMap;
use tasker_rules::engine::readiness::{Counts, Step};
use tasker_rules::engine::state::StepState;

use crate::error::{Error, Result};
use crate::pg::datum::{self, Arg, Timestamp, Uuid};
use crate::pg::installation::Kept;
use crate::pg::spi::{Rows, Session, Statement};
use crate::registry::{self, Template};

/// A step as its readers see it.
pub struct Reading {
    pub no: i16,
    pub step: Step,
    pub done_parents: i32,
    pub total_parents: i32,
    /// When its last run ended.
    pub ended_at: Option<Timestamp>,
    /// When it failed last.
    pub failed_at: Option<Timestamp>,
}

impl Reading {
    pub fn dependencies_satisfied(&self) -> bool {
        self.done_parents == self.total_parents
    }

    pub fn ready(&self, now: Timestamp) -> bool {
        self.dependencies_satisfied() && self.step.due(now)
    }
}

/// A task with all its steps, ascending.
pub struct TaskReading {
    pub task: Uuid,
    pub facts: Rc<Facts>,
    pub steps: Vec<Reading>,
}

impl TaskReading {
    pub fn counts(&self, now: Timestamp) -> Counts {
        let mut counts = Counts::default();
        self.steps
            .iter()
            .for_each(|reading| counts.add(&reading.step, reading.ready(now)));
        counts
    }
}

/// Which tasks to read.
pub enum Tasks<'a> {
    One(&'a Uuid),
    Several(&'a [Uuid]),
}

impl Tasks<'_> {
    fn arg(&self) -> Arg<'_> {
        match self {
            Tasks::One(task) => datum::uuid(task),
            Tasks::Several(tasks) => datum::uuids(*tasks),
        }
    }

    pub fn run<'s>(
        &self,
        session: &'s Session,
        one: &Statement,
        several: &Statement,
    ) -> Result<Rows<'s>> {
        session.read(
            if matches!(self, Tasks::One(_)) {
                one
            } else {
                several
            },
            &[self.arg()],
        )
    }
}

static STEPS: Statement = Statement::new(
    "SELECT s.task_uuid, s.step_no, s.named_task_id, s.state, s.available_at, s.attempts, s.retry_limit, s.retryable,
            s.claim_number, s.unreachable
     FROM tasker_engine.steps s
     WHERE s.task_uuid = $1
     ORDER BY s.task_uuid, s.step_no",
    &[pg_sys::UUIDOID],
);

static STEPS_OF_SEVERAL: Statement = Statement::new(
    "SELECT s.task_uuid, s.step_no, s.named_task_id, s.state, s.available_at, s.attempts, s.retry_limit, s.retryable,
            s.claim_number, s.unreachable
     FROM tasker_engine.steps s
     WHERE s.task_uuid = ANY ($1)
     ORDER BY s.task_uuid, s.step_no",
    &[pg_sys::UUIDARRAYOID],
);

static RUNS: Statement = Statement::new(
    "SELECT r.task_uuid, r.step_no, r.ended_at, r.failed_at FROM tasker_engine.step_runs r WHERE r.task_uuid = $1",
    &[pg_sys::UUIDOID],
);

static RUNS_OF_SEVERAL: Statement = Statement::new(
    "SELECT r.task_uuid, r.step_no, r.ended_at, r.failed_at
     FROM tasker_engine.step_runs r WHERE r.task_uuid = ANY ($1)",
    &[pg_sys::UUIDARRAYOID],
);

/// The steps of the tasks, without the facts that only the log has; tasks ascending, unknown ones left out.
pub fn read(session: &Session, tasks: &Tasks) -> Result<Vec<TaskReading>> {
    let rows = tasks.run(session, &STEPS, &STEPS_OF_SEVERAL)?;
    let mut readings: Vec<TaskReading> = Vec::new();
    for row in rows.iter() {
        let task: Uuid = row.get(1)?;
        if readings.last().is_none_or(|last| last.task != task) {
            readings.push(TaskReading {
                task,
                facts: facts(session, row.get(3)?)?,
                steps: Vec::new(),
            });
        }
        let step = Step {
            state: row.get(4)?,
            available_at: row.opt(5),
            attempts: row.get(6)?,
            retry_limit: row.get(7)?,
            retryable: row.get(8)?,
            claimed_before: row.get::<i32>(9)? > 0,
            unreachable: row.get(10)?,
        };
        if let Some(last) = readings.last_mut() {
            last.steps.push(Reading {
                no: row.get(2)?,
                step,
                done_parents: 0,
                total_parents: 0,
                ended_at: None,
                failed_at: None,
            });
        }
    }
    for reading in &mut readings {
        count_parents(reading)?;
    }
    Ok(readings)
}

fn count_parents(reading: &mut TaskReading) -> Result<()> {
    let last = reading.steps.last().map_or(0, |step| step.no);
    let mut done = vec![false; last.max(0) as usize + 1];
    for step in &reading.steps {
        if let Some(slot) = done.get_mut(step.no as usize) {
            *slot = step.step.state.is_finished_good();
        }
    }
    for step in &mut reading.steps {
        let parents = &reading.facts.template.step(step.no)?.parents;
        step.total_parents = parents.len() as i32;
        step.done_parents = parents
            .iter()
            .filter(|no| done.get(**no as usize).copied().unwrap_or(false))
            .count() as i32;
    }
    Ok(())
}

/// [`read`], and when the runs of each step ended.
pub fn read_with_runs(session: &Session, tasks: &Tasks) -> Result<Vec<TaskReading>> {
    let mut readings = read(session, tasks)?;
    let ran =
        |reading: &Reading| reading.step.claimed_before || reading.step.state == StepState::Error;
    if !readings.iter().any(|task| task.steps.iter().any(ran)) {
        return Ok(readings);
    }
    for row in tasks.run(session, &RUNS, &RUNS_OF_SEVERAL)?.iter() {
        let (task, no): (Uuid, i16) = (row.get(1)?, row.get(2)?);
        let Ok(at) = readings.binary_search_by(|reading| reading.task.cmp(&task)) else {
            continue;
        };
        let steps = &mut readings[at].steps;
        if let Ok(step) = steps.binary_search_by_key(&no, |step| step.no) {
            steps[step].ended_at = row.opt(3);
            steps[step].failed_at = row.opt(4);
        }
    }
    Ok(readings)
}

// ---- facts of a template -------------------------------------------------------------------------------------------

/// The facts of a template that reading needs, by step; position 0 belongs to step 1.
pub struct Facts {
    pub template: Rc<Template>,
    named_step_ids: Vec<i32>,
    longest: Vec<i32>,
    shortest: Vec<i32>,
}

static NAMED_STEPS: Statement = Statement::new(
    "SELECT n.named_step_id FROM tasker.named_tasks_named_steps n WHERE n.named_task_id = $1 ORDER BY n.step_no",
    &[pg_sys::INT4OID],
);

/// When this many templates are known, all are forgotten together.
const MOST_KEPT: usize = 512;

static KEPT: Kept<FxHashMap<i32, Rc<Facts>>> = Kept::new();

/// The facts of a template, if this backend has them already.
pub fn kept_facts(template_id: i32) -> Option<Rc<Facts>> {
    KEPT.with(|kept| kept.get(&template_id).cloned())
}

pub fn facts(session: &Session, template_id: i32) -> Result<Rc<Facts>> {
    if let Some(facts) = kept_facts(template_id) {
        return Ok(facts);
    }
    let template = registry::get(session, template_id)?;
    let named_step_ids = session
        .read(&NAMED_STEPS, &[datum::int4(template_id)])?
        .iter()
        .map(|row| row.get(1))
        .collect::<Result<_>>()?;
    let (longest, shortest) = distances(&template);
    let facts = Rc::new(Facts {
        template,
        named_step_ids,
        longest,
        shortest,
    });
    KEPT.with(|kept| {
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert(template_id, facts.clone());
    });
    Ok(facts)
}

/// Longest and shortest path from a root to each step. Steps are numbered in topological order, so the parents of a
/// step are known before it.
fn distances(template: &Template) -> (Vec<i32>, Vec<i32>) {
    let (mut longest, mut shortest): (Vec<i32>, Vec<i32>) = (Vec::new(), Vec::new());
    for step in template.steps() {
        let behind = |known: &[i32], pick: fn(std::vec::IntoIter<i32>) -> Option<i32>| {
            let parents: Vec<i32> = step
                .parents
                .iter()
                .filter_map(|no| known.get(*no as usize - 1).copied())
                .collect();
            pick(parents.into_iter()).map_or(0, |parent| parent + 1)
        };
        let (long, short) = (
            behind(&longest, Iterator::max),
            behind(&shortest, Iterator::min),
        );
        longest.push(long);
        shortest.push(short);
    }
    (longest, shortest)
}

impl Facts {
    fn at(&self, column: &[i32], no: i16) -> Result<i32> {
        usize::try_from(i32::from(no) - 1)
            .ok()
            .and_then(|index| column.get(index))
            .copied()
            .ok_or_else(|| {
                Error::not_found(format!(
                    "{} has no step number {no}",
                    self.template.full_name()
                ))
            })
    }

    pub fn named_step_id(&self, no: i16) -> Result<i32> {
        self.at(&self.named_step_ids, no)
    }

    /// Length of the longest path from a root.
    pub fn level(&self, no: i16) -> Result<i32> {
        self.at(&self.longest, no)
    }

    /// Length of the shortest path from a root.
    pub fn min_depth(&self, no: i16) -> Result<i32> {
        self.at(&self.shortest, no)
    }
}
