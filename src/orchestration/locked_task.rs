//! A whole task under locks: what operators work on. Operators call this rarely, and it has many cases, so it
//! computes from the states what the hot path maintains step by step (unreachable, open parents, the end).

use std::collections::BTreeMap;
use std::rc::Rc;

use pgrx::pg_sys;
use serde_json::Map;
use tasker_rules::engine::readiness;
use tasker_rules::engine::retry::Attempts;
use tasker_rules::engine::state::{StepState, TaskState};

use super::queue_entries::{Entry, HELD};
use super::{Engine, StepKey, audit, finalize, format_uuid, leases, timeouts};
use crate::error::{Error, Result};
use crate::pg::datum::{self, Jsonb, Timestamp, Uuid};
use crate::pg::spi::Statement;
use crate::registry::{self, Template};

/// A step's row.
#[derive(Clone)]
pub struct Step<'w> {
    pub no: i16,
    pub state: StepState,
    pub available_at: Option<Timestamp>,
    pub claim_id: Option<i64>,
    pub claim_number: i32,
    pub attempts: i16,
    pub retry_limit: i16,
    pub retryable: bool,
    pub priority: i16,
    open_parents: i16,
    unreachable: bool,
    watched: bool,
    /// The run that goes on or was the last one; `None` if its start has a row in the log.
    pub run_id: Option<i64>,
    /// New results, if they change.
    pub results: Option<Jsonb<'w>>,
}

impl Step<'_> {
    /// Failed, and no retry is scheduled.
    pub fn failed_permanently(&self) -> bool {
        readiness::failed_permanently(self.state, self.available_at)
    }

    fn can_still_run(&self) -> bool {
        readiness::can_still_run(self.state, self.available_at, self.unreachable)
    }

    /// Waits until its task is taken up again; of a running step: will wait when its run ends.
    pub fn held(&self) -> bool {
        self.available_at == Some(HELD)
    }

    /// Whether an operator has made this step of a task in error done, able to run, or started it.
    fn repaired(&self, before: &Self) -> bool {
        use StepState::{Error, InProgress, Pending};
        let waits = |step: &Self| step.failed_permanently() || step.held();
        match (before.state, self.state) {
            (from, to) if to.is_finished_good() => !from.is_finished_good(),
            (Error, Pending) | (Pending, InProgress) => true,
            (Error, Error) => waits(before) && !waits(self),
            _ => false,
        }
    }

    /// The facts that decide about the next run.
    pub fn attempts(&self) -> Attempts {
        Attempts {
            made: self.attempts,
            limit: self.retry_limit,
            retryable: self.retryable,
        }
    }
}

/// A task with all its steps, locked in the order of the levels: steps ascending, then the task.
pub struct LockedTask<'w> {
    pub uuid: Uuid,
    pub template: Rc<Template>,
    pub state: TaskState,
    pub steps: Vec<Step<'w>>,
    before: Vec<Step<'w>>,
    state_before: TaskState,
    watched: bool,
    run_at: Option<Timestamp>,
    /// The runs of steps that were taken away, by claim.
    runs: Option<BTreeMap<i64, audit::Run>>,
}

static LOCK_STEPS: Statement = Statement::new(
    "SELECT s.step_no, s.state, s.available_at, s.claim_id, s.claim_number, s.attempts, s.retry_limit,
            s.retryable, s.priority, s.open_parents, s.unreachable, s.watched, s.run_id
     FROM tasker_engine.steps s
     WHERE s.task_uuid = $1
     ORDER BY s.task_uuid, s.step_no
     FOR UPDATE",
    &[pg_sys::UUIDOID],
);

static LOCK_TASK: Statement = Statement::new(
    "SELECT t.named_task_id, t.state, t.watched, t.run_at FROM tasker_engine.tasks t WHERE t.task_uuid = $1 FOR UPDATE",
    &[pg_sys::UUIDOID],
);

static TRY_LOCK_STEPS: Statement = Statement::new(
    "SELECT s.step_no, s.state, s.available_at, s.claim_id, s.claim_number, s.attempts, s.retry_limit,
            s.retryable, s.priority, s.open_parents, s.unreachable, s.watched, s.run_id
     FROM tasker_engine.steps s
     WHERE s.task_uuid = $1
     ORDER BY s.task_uuid, s.step_no
     FOR UPDATE SKIP LOCKED",
    &[pg_sys::UUIDOID],
);

static TRY_LOCK_TASK: Statement = Statement::new(
    "SELECT t.named_task_id, t.state, t.watched, t.run_at FROM tasker_engine.tasks t WHERE t.task_uuid = $1
     FOR UPDATE SKIP LOCKED",
    &[pg_sys::UUIDOID],
);

static READ_STEPS: Statement = Statement::new(
    "SELECT s.step_no, s.state, s.available_at, s.claim_id, s.claim_number, s.attempts, s.retry_limit,
            s.retryable, s.priority, s.open_parents, s.unreachable, s.watched, s.run_id
     FROM tasker_engine.steps s
     WHERE s.task_uuid = $1
     ORDER BY s.task_uuid, s.step_no",
    &[pg_sys::UUIDOID],
);

static READ_TASK: Statement = Statement::new(
    "SELECT t.named_task_id, t.state, t.watched, t.run_at FROM tasker_engine.tasks t WHERE t.task_uuid = $1",
    &[pg_sys::UUIDOID],
);

// Each row is looked up by its whole key. With the task as a constant, a planner that takes the table for small reads all
// steps of the task and searches the arrays for each; with a plain equality it does so by a walk over the whole index.
static SAVE_STEPS: Statement = Statement::new(
    "UPDATE tasker_engine.steps s
     SET state = u.state, available_at = u.available_at, claim_id = nullif(u.claim_id, 0),
         claim_number = u.claim_number, attempts = u.attempts, retry_limit = u.retry_limit,
         retryable = u.retryable, open_parents = u.open_parents, unreachable = u.unreachable, watched = u.watched,
         run_id = nullif(u.run_id, 0), results = coalesce(u.results, s.results)
     FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
          AS u (task_uuid, step_no, state, available_at, claim_id, claim_number, attempts, retry_limit, retryable,
                open_parents, unreachable, watched, run_id, results)
     WHERE s.task_uuid = ANY (ARRAY[u.task_uuid]) AND s.step_no = u.step_no",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::CHARARRAYOID,
        pg_sys::TIMESTAMPTZARRAYOID,
        pg_sys::INT8ARRAYOID,
        pg_sys::INT4ARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::BOOLARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::BOOLARRAYOID,
        pg_sys::BOOLARRAYOID,
        pg_sys::INT8ARRAYOID,
        pg_sys::JSONBARRAYOID,
    ],
);

static WATCH_TASK: Statement = Statement::new(
    "UPDATE tasker_engine.tasks t SET watched = true WHERE t.task_uuid = $1 AND NOT t.watched",
    &[pg_sys::UUIDOID],
);

/// P0002 for a task.
pub fn unknown_task(uuid: &Uuid) -> Error {
    Error::not_found(format!("no task has the uuid {}", format_uuid(uuid)))
        .detail("There is no row with this task_uuid.")
        .hint("SELECT task_uuid FROM tasker.tasks lists the tasks you may see.")
}

fn unknown_step(key: StepKey) -> Error {
    Error::not_found(format!("no step has the uuid {}", format_uuid(&key.uuid())))
        .detail("The uuid leads to no task with a step of this number.")
        .hint("SELECT step_uuid, name FROM tasker.workflow_steps WHERE task_uuid = ... lists the steps.")
}

impl<'w> LockedTask<'w> {
    /// Locks and reads the task; waits for reports in flight.
    pub fn lock(engine: &Engine, uuid: Uuid) -> Result<Self> {
        Self::lock_by(engine, uuid, &LOCK_STEPS, &LOCK_TASK)?.ok_or_else(|| unknown_task(&uuid))
    }

    /// The same without waiting: `None` where another session holds a part of it, or where there is no such task.
    pub fn try_lock(engine: &Engine, uuid: Uuid) -> Result<Option<Self>> {
        let locked = Self::lock_by(engine, uuid, &TRY_LOCK_STEPS, &TRY_LOCK_TASK)?;
        Ok(locked.filter(|locked| locked.steps.len() == locked.template.steps().len()))
    }

    /// The same without a lock, to ask what an operator could do; `None` where there is no such task.
    pub fn look(engine: &Engine, uuid: Uuid) -> Result<Option<Self>> {
        Self::lock_by(engine, uuid, &READ_STEPS, &READ_TASK)
    }

    fn lock_by(
        engine: &Engine,
        uuid: Uuid,
        lock_steps: &Statement,
        lock_task: &Statement,
    ) -> Result<Option<Self>> {
        let rows = engine.session.run(lock_steps, &[datum::uuid(&uuid)])?;
        let mut steps = Vec::with_capacity(rows.len());
        for row in rows.iter() {
            steps.push(Step {
                no: row.get(1)?,
                state: row.get(2)?,
                available_at: row.opt(3),
                claim_id: row.opt(4),
                claim_number: row.get(5)?,
                attempts: row.get(6)?,
                retry_limit: row.get(7)?,
                retryable: row.get(8)?,
                priority: row.get(9)?,
                open_parents: row.get(10)?,
                unreachable: row.get(11)?,
                watched: row.get(12)?,
                run_id: row.opt(13),
                results: None,
            });
        }
        let rows = engine.session.run(lock_task, &[datum::uuid(&uuid)])?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let state: TaskState = row.get(2)?;
        Ok(Some(Self {
            uuid,
            template: registry::get(engine.session, row.get(1)?)?,
            state,
            before: steps.clone(),
            steps,
            state_before: state,
            watched: row.get(3)?,
            run_at: row.opt(4),
            runs: None,
        }))
    }

    /// The same for the task of a step, with the step's index.
    pub fn lock_step(engine: &Engine, key: StepKey) -> Result<(Self, usize)> {
        let locked = Self::lock(engine, key.task).map_err(|error| {
            if error.code == pgrx::PgSqlErrorCode::ERRCODE_NO_DATA_FOUND {
                unknown_step(key)
            } else {
                error
            }
        })?;
        let index = locked.steps.iter().position(|step| step.no == key.no);
        index
            .map(|index| (locked, index))
            .ok_or_else(|| unknown_step(key))
    }

    pub fn key(&self, no: i16) -> StepKey {
        StepKey {
            task: self.uuid,
            no,
        }
    }

    /// Whether every parent is complete or resolved.
    pub fn parents_good(&self, no: i16) -> Result<bool> {
        Ok(self.open_parents_of(&self.steps, no)? == 0)
    }

    fn open_parents_of(&self, steps: &[Step], no: i16) -> Result<i16> {
        let parents = &self.template.step(no)?.parents;
        let good = |parent: &&i16| {
            steps
                .get(**parent as usize - 1)
                .is_some_and(|step| step.state.is_finished_good())
        };
        Ok((parents.len() - parents.iter().filter(good).count()) as i16)
    }

    pub fn all_good(&self) -> bool {
        self.steps.iter().all(|step| step.state.is_finished_good())
    }

    /// Schedules the step to run at once.
    pub fn run_now(&mut self, engine: &Engine, index: usize) {
        self.steps[index].available_at = Some(engine.now);
    }

    /// Writes the changes, releases steps that became ready, and moves the task to the state that follows from its steps.
    /// A task in error starts nothing, and one that is not in error holds nothing back.
    pub fn settle(mut self, engine: &mut Engine) -> Result<TaskState> {
        let reopened = self.state == TaskState::Error
            && self.state_before == TaskState::Error
            && self.repaired();
        match self.state {
            TaskState::Error if !reopened => self.hold(),
            TaskState::Error | TaskState::Pending | TaskState::InProgress => {
                self.take_up(engine)?;
            }
            _ => {}
        }
        self.recompute()?;
        self.release(engine)?;
        self.save(engine)?;
        let own = self.state;
        let path = self.follow_steps(reopened);
        self.write_task(engine, own, &path)?;
        Ok(self.state)
    }

    /// Whether an operator's change of a step sets a task in error going again: because the step is repaired, and the task has
    /// something to run then or is done.
    fn repaired(&self) -> bool {
        let any = self
            .steps
            .iter()
            .zip(&self.before)
            .any(|(step, before)| step.repaired(before));
        any && (self.all_good() || self.could_run())
    }

    /// Whether a step runs or could, if nothing were held.
    pub fn could_run(&self) -> bool {
        self.could_run_with(|_| false)
    }

    /// The same if failed steps started over.
    pub fn could_run_if_retried(&self) -> bool {
        self.could_run_with(|step| step.state == StepState::Error)
    }

    /// Step numbers are topological: parents come first.
    fn could_run_with(&self, starts_over: impl Fn(&Step) -> bool) -> bool {
        let mut lost = vec![false; self.steps.len()];
        for (index, step) in self.steps.iter().enumerate() {
            let parents = self.template.step(step.no).map(|step| &step.parents);
            let unreachable = parents.is_ok_and(|parents| {
                let of = |parent: &i16| lost.get(*parent as usize - 1).copied().unwrap_or(false);
                parents.iter().any(of)
            });
            if readiness::can_still_run(step.state, step.available_at, unreachable)
                || starts_over(step) && !unreachable
            {
                return true;
            }
            lost[index] = !step.state.is_finished_good();
        }
        false
    }

    /// Nothing of the task starts any more: neither what waits, nor a retry, nor what runs now and is given back or fails.
    pub fn hold(&mut self) {
        for step in &mut self.steps {
            let waits = readiness::may_still_start(step.state, step.available_at, step.unreachable);
            if waits || step.state == StepState::InProgress {
                step.available_at = Some(HELD);
                step.watched = true;
            }
        }
        self.watched = true;
    }

    /// Reports of its steps look at all of it.
    pub fn watch(&mut self) {
        for step in &mut self.steps {
            step.watched |= step.state.is_open() || step.state == StepState::Error;
        }
        self.watched = true;
    }

    /// The row of the task was in a wrong state, and has this one now.
    pub fn corrected(&mut self, state: TaskState) {
        self.state = state;
        self.state_before = state;
    }

    /// Held steps wait no longer: each runs as soon as its parents and the task's run_at allow it.
    fn take_up(&mut self, engine: &Engine) -> Result<()> {
        let from = self.run_at.map_or(engine.now, |at| at.max(engine.now));
        for index in 0..self.steps.len() {
            let step = &self.steps[index];
            if step.held() {
                let starts = match step.state {
                    StepState::Pending if self.parents_good(step.no)? => Some(from),
                    StepState::Error => Some(from),
                    _ => None,
                };
                self.steps[index].available_at = starts;
            }
        }
        Ok(())
    }

    /// Computes `unreachable` and `open_parents` from the states alone. Step numbers are topological: parents come first.
    fn recompute(&mut self) -> Result<()> {
        // A failed step that loses its retry keeps its state, but can end the task.
        let differ = |step: &Step, before: &Step| {
            step.state != before.state || step.failed_permanently() != before.failed_permanently()
        };
        let changed = self
            .steps
            .iter()
            .zip(&self.before)
            .any(|(step, before)| differ(step, before));
        for index in 0..self.steps.len() {
            let no = self.steps[index].no;
            let lost = |parent: &i16| {
                self.steps.get(*parent as usize - 1).is_some_and(|parent| {
                    parent.state == StepState::Cancelled
                        || parent.failed_permanently()
                        || parent.unreachable && !parent.state.is_finished_good()
                })
            };
            let unreachable = self.template.step(no)?.parents.iter().any(lost);
            let open_parents = self.open_parents_of(&self.steps, no)?;
            let several = self.template.step(no)?.parents.len() > 1;
            let step = &mut self.steps[index];
            step.unreachable = unreachable && !step.state.is_finished_good();
            if several {
                step.open_parents = open_parents;
            }
        }
        if changed {
            self.watch();
        }
        Ok(())
    }

    /// Queue entries: for steps with a new schedule, and for those that wait and whose last parent has just completed or been resolved;
    /// one that was set to error by hand before waits, too.
    fn release(&mut self, engine: &mut Engine) -> Result<()> {
        for index in 0..self.steps.len() {
            let (step, before) = (&self.steps[index], &self.before[index]);
            if !matches!(step.state, StepState::Pending | StepState::Error) || step.unreachable {
                continue;
            }
            let ready = self.open_parents_of(&self.steps, step.no)? == 0;
            let was_ready = before.state == step.state
                && !before.unreachable
                && self.open_parents_of(&self.before, step.no)? == 0;
            let rescheduled = step.available_at.is_some()
                && (step.available_at != before.available_at || step.state != before.state);
            let waits = step.state == StepState::Pending || step.available_at.is_some();
            let newly_ready = waits && ready && !was_ready;
            if !(ready && (rescheduled || newly_ready)) || step.available_at == Some(HELD) {
                continue;
            }
            engine.queue_entries.push(Entry::of(
                &self.template,
                self.key(step.no),
                step.priority,
                step.available_at.unwrap_or(engine.now),
            )?);
        }
        Ok(())
    }

    fn save(&self, engine: &mut Engine) -> Result<()> {
        let changed: Vec<(&Step, &Step)> = self
            .steps
            .iter()
            .zip(&self.before)
            .filter(|(step, before)| differ(step, before))
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        let new = || changed.iter().map(|(step, _)| *step);
        engine.session.run(
            &SAVE_STEPS,
            &[
                datum::uuids(new().map(|_| &self.uuid)),
                datum::int2s(new().map(|step| step.no)),
                datum::states(new().map(|step| step.state)),
                datum::timestamps(new().map(|step| step.available_at)),
                datum::int8s(new().map(|step| step.claim_id.unwrap_or(0))),
                datum::int4s(new().map(|step| step.claim_number)),
                datum::int2s(new().map(|step| step.attempts)),
                datum::int2s(new().map(|step| step.retry_limit)),
                datum::booleans(new().map(|step| step.retryable)),
                datum::int2s(new().map(|step| step.open_parents)),
                datum::booleans(new().map(|step| step.unreachable)),
                datum::booleans(new().map(|step| step.watched)),
                datum::int8s(new().map(|step| step.run_id.unwrap_or(0))),
                datum::jsonbs(new().map(|step| step.results)),
            ],
        )?;
        Ok(())
    }

    /// The states through which the task goes because of its steps. A task that was just put into a state by hand ends only if all
    /// of it is done.
    fn follow_steps(&mut self, reopened: bool) -> Vec<TaskState> {
        use TaskState::{Complete, Error, InProgress, Pending};
        let can_run = self.steps.iter().any(Step::can_still_run);
        let started = |(step, before): (&Step, &Step)| {
            step.state == StepState::InProgress && before.state != StepState::InProgress
        };
        let mut path = vec![];
        let mut at = self.state;
        if reopened {
            path.push(Pending);
            at = Pending;
        }
        match (at, can_run, self.all_good()) {
            (Pending, false, true) => path.extend([InProgress, Complete]),
            (InProgress, false, true) => path.push(Complete),
            (Pending | InProgress, false, false) => path.push(Error),
            (Pending, true, _) if self.steps.iter().zip(&self.before).any(started) => {
                path.push(InProgress);
            }
            _ => {}
        }
        if let Some(last) = path.last() {
            self.state = *last;
        }
        path
    }

    /// First the state that the operator set, then those that follow from the steps.
    fn write_task(&self, engine: &mut Engine, own: TaskState, path: &[TaskState]) -> Result<()> {
        if self.watched {
            engine
                .session
                .run(&WATCH_TASK, &[datum::uuid(&self.uuid)])?;
        }
        let mut at = self.state_before;
        for next in std::iter::once(&own).chain(path) {
            if *next != at {
                let metadata = self.said_of(*next);
                let change = finalize::Change::of(self.template.id, self.uuid, at, *next);
                finalize::move_task(engine, finalize::Change { metadata, ..change })?;
                at = *next;
            }
        }
        if at == TaskState::InProgress
            && self.state_before != at
            && let Some(timeout) = self.template.timeout_us
        {
            timeouts::start_clocks(engine, &BTreeMap::from([(self.uuid, timeout)]))?;
        }
        Ok(())
    }

    /// What the log says of a task that completes: which of its steps are resolved. Of other ends it says more, from the rows.
    fn said_of(&self, to: TaskState) -> Option<Jsonb<'static>> {
        let resolved = |step: &&Step| step.state == StepState::ResolvedManually;
        let count = self.steps.iter().filter(resolved).count();
        (to == TaskState::Complete && count > 0)
            .then(|| Map::from_iter([("resolved_steps".to_owned(), count.into())]))
            .and_then(audit::object)
    }

    /// Takes the step away from its worker: a late report is stale. The claim's row stays until its lease
    /// ends, so that the worker's heartbeat learns of it.
    pub fn take_away(&mut self, index: usize) {
        self.steps[index].claim_id = None;
    }

    /// The run of the step that goes on as the task was locked: its worker, and when it began.
    pub fn run(&mut self, engine: &Engine, index: usize) -> Result<Option<audit::Run>> {
        let running = |step: &&Step| step.state == StepState::InProgress;
        let Some(claim) = Some(&self.before[index])
            .filter(running)
            .and_then(|step| step.claim_id)
        else {
            return Ok(None);
        };
        if self.runs.is_none() {
            let claims = self.before.iter().filter(running);
            self.runs = Some(leases::runs(
                engine,
                claims.filter_map(|step| step.claim_id),
            )?);
        }
        Ok(self
            .runs
            .as_ref()
            .and_then(|runs| runs.get(&claim))
            .copied())
    }
}

fn differ(step: &Step, before: &Step) -> bool {
    step.state != before.state
        || step.available_at != before.available_at
        || step.claim_id != before.claim_id
        || step.claim_number != before.claim_number
        || step.attempts != before.attempts
        || step.retry_limit != before.retry_limit
        || step.retryable != before.retryable
        || step.open_parents != before.open_parents
        || step.unreachable != before.unreachable
        || step.watched != before.watched
        || step.results.is_some()
}
