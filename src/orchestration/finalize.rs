//! Ends tasks and reopens them. A task without trouble counts its open leaves and ends in the statement that counts them; for any
//! other task all steps are checked. Every other end goes through [`end`], every return from error through [`reopen`]: they
//! alone write `rare_tasks`, but for the rows of open tasks, which `duty_stuck` writes.
//!
//! The check is a statement of its own after the task's row is locked, with a fresh snapshot: if two last reports
//! arrive at the same instant, the second waits for the lock and sees the changes of the first.

use std::collections::{BTreeMap, BTreeSet};

use pgrx::pg_sys;
use tasker_rules::engine::state::TaskState;

use super::Engine;
use crate::error::Result;
use crate::pg::datum::{self, Uuid};
use crate::pg::spi::Statement;

/// Level 3: the tasks that a call must touch.
#[derive(Default)]
pub struct Tasks {
    leaves: BTreeMap<Uuid, i16>,
    check: BTreeSet<Uuid>,
    trouble: BTreeSet<Uuid>,
}

static LEAVES: Statement = Statement::new(
    "UPDATE tasker_engine.tasks t
     SET open_leaves = t.open_leaves - u.leaves,
         state = CASE WHEN t.state = 'i' AND t.open_leaves = u.leaves AND NOT t.watched THEN 'c' ELSE t.state END,
         completed_at = CASE WHEN t.state = 'i' AND t.open_leaves = u.leaves AND NOT t.watched THEN $3
                             ELSE t.completed_at END
     FROM unnest($1, $2) AS u (task_uuid, leaves)
     WHERE t.task_uuid = u.task_uuid
     RETURNING t.task_uuid, t.state, t.open_leaves, t.watched",
    &[pg_sys::UUIDARRAYOID, pg_sys::INT2ARRAYOID, pg_sys::TIMESTAMPTZOID],
);

static LOCK: Statement = Statement::new(
    "SELECT FROM unnest($1) AS u (task_uuid)
     JOIN tasker_engine.tasks t ON t.task_uuid = u.task_uuid
     FOR UPDATE OF t",
    &[pg_sys::UUIDARRAYOID],
);

static WATCH: Statement = Statement::new(
    "UPDATE tasker_engine.tasks t SET watched = true
     FROM unnest($1) AS u (task_uuid)
     WHERE t.task_uuid = u.task_uuid AND NOT t.watched",
    &[pg_sys::UUIDARRAYOID],
);

// From the last step down: what still runs is found early, however long the task is.
static STEPS_LEFT: Statement = Statement::new(
    "SELECT t.task_uuid, t.state,
            EXISTS (SELECT FROM tasker_engine.steps s
                    WHERE s.task_uuid = u.task_uuid
                      AND tasker_engine.can_still_run(s.state, s.available_at, s.unreachable)
                    ORDER BY s.step_no DESC LIMIT 1),
            NOT EXISTS (SELECT FROM tasker_engine.steps s
                        WHERE s.task_uuid = u.task_uuid AND s.state NOT IN ('c', 'r')
                        ORDER BY s.step_no DESC LIMIT 1)
     FROM unnest($1) AS u (task_uuid)
     JOIN tasker_engine.tasks t ON t.task_uuid = u.task_uuid",
    &[pg_sys::UUIDARRAYOID],
);

static SET_STATE: Statement = Statement::new(
    "UPDATE tasker_engine.tasks t
     SET state = u.state,
         started_at = CASE WHEN u.state = 'i' THEN coalesce(t.started_at, $3) ELSE t.started_at END,
         completed_at = CASE WHEN u.state = 'c' THEN $3 ELSE t.completed_at END
     FROM unnest($1, $2) AS u (task_uuid, state)
     WHERE t.task_uuid = u.task_uuid",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::CHARARRAYOID,
        pg_sys::TIMESTAMPTZOID,
    ],
);

// A task that is not complete has a row that says so: what operators look for is found without reading all tasks. The error class
// is that of the first failed step; a resolved task keeps what it had in error.
static SET_ASIDE: Statement = Statement::new(
    "INSERT INTO tasker_engine.rare_tasks AS r (task_uuid, since, named_task_id, step_no, state, error_class)
     SELECT u.task_uuid, $3, t.named_task_id, f.step_no, u.state, f.error_class
     FROM unnest($1, $2) AS u (task_uuid, state)
     JOIN tasker_engine.tasks t ON t.task_uuid = u.task_uuid
     LEFT JOIN LATERAL (
         SELECT s.step_no, left(s.results ->> 'error_class', 255) AS error_class
         FROM tasker_engine.steps s
         WHERE s.task_uuid = u.task_uuid AND s.state = 'e' AND u.state = 'e'
         ORDER BY s.step_no LIMIT 1) f ON true
     ON CONFLICT (task_uuid) DO UPDATE
     SET since = excluded.since, state = excluded.state,
         step_no = CASE WHEN excluded.state = 'e' THEN excluded.step_no ELSE r.step_no END,
         error_class = CASE WHEN excluded.state = 'e' THEN excluded.error_class ELSE r.error_class END",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::CHARARRAYOID,
        pg_sys::TIMESTAMPTZOID,
    ],
);

static TAKE_BACK: Statement = Statement::new(
    "DELETE FROM tasker_engine.rare_tasks r WHERE r.task_uuid = $1",
    &[pg_sys::UUIDOID],
);

impl Tasks {
    /// A leaf of the task completed.
    pub fn leaf(&mut self, task: Uuid) {
        *self.leaves.entry(task).or_default() += 1;
    }

    /// Something other than plain success happened near the reported step.
    pub fn check(&mut self, task: Uuid) {
        self.check.insert(task);
    }

    /// A step of the task failed permanently: from now on the count of leaves does not show whether it is complete.
    pub fn trouble(&mut self, task: Uuid) {
        self.trouble.insert(task);
        self.check.insert(task);
    }

    pub fn settle(mut self, engine: &mut Engine) -> Result<()> {
        if !self.check.is_empty() {
            let locked: BTreeSet<&Uuid> = self.leaves.keys().chain(&self.check).collect();
            engine.session.run(&LOCK, &[datum::uuids(locked)])?;
        }
        if !self.trouble.is_empty() {
            engine.session.run(&WATCH, &[datum::uuids(&self.trouble)])?;
        }
        let leaves = std::mem::take(&mut self.leaves);
        let never_started = self.count_leaves(engine, &leaves)?;
        end(
            engine,
            &never_started
                .iter()
                .map(|task| (*task, TaskState::Pending, TaskState::Complete))
                .collect::<Vec<_>>(),
        )?;
        end_finished(engine, &self.check)
    }

    /// Returns tasks that are complete although no claim could mark them as started.
    fn count_leaves(
        &mut self,
        engine: &mut Engine,
        leaves: &BTreeMap<Uuid, i16>,
    ) -> Result<Vec<Uuid>> {
        let mut never_started = Vec::new();
        if leaves.is_empty() {
            return Ok(never_started);
        }
        let rows = engine.session.run(
            &LEAVES,
            &[
                datum::uuids(leaves.keys()),
                datum::int2s(leaves.values().copied()),
                datum::timestamp(engine.now),
            ],
        )?;
        for row in rows.iter() {
            let (task, state, open, watched) = (
                row.get::<Uuid>(1)?,
                row.get::<TaskState>(2)?,
                row.get::<i16>(3)?,
                row.get::<bool>(4)?,
            );
            if watched {
                self.check.insert(task);
            } else if open == 0 && state == TaskState::Complete {
                engine
                    .log
                    .task(task, TaskState::InProgress, TaskState::Complete);
            } else if open == 0 && state == TaskState::Pending {
                never_started.push(task);
            }
        }
        Ok(never_started)
    }
}

/// Ends the locked tasks without a step that can still run.
pub fn end_finished(engine: &mut Engine, tasks: &BTreeSet<Uuid>) -> Result<()> {
    if tasks.is_empty() {
        return Ok(());
    }
    let rows = engine.session.run(&STEPS_LEFT, &[datum::uuids(tasks)])?;
    let mut ended = Vec::new();
    for row in rows.iter() {
        let (task, state, alive, all_good) = (
            row.get::<Uuid>(1)?,
            row.get::<TaskState>(2)?,
            row.get::<bool>(3)?,
            row.get::<bool>(4)?,
        );
        if !alive && state.is_open() {
            let end = if all_good {
                TaskState::Complete
            } else {
                TaskState::Error
            };
            ended.push((task, state, end));
        }
    }
    end(engine, &ended)
}

/// Ends locked tasks: complete, in error, cancelled or resolved. Their steps are as they must be: of a task in error none starts any
/// more (`locked_task` holds them).
pub fn end(engine: &mut Engine, ended: &[(Uuid, TaskState, TaskState)]) -> Result<()> {
    set_states(engine, ended)?;
    let aside = ended.iter().filter(|(_, _, to)| *to != TaskState::Complete);
    write_rare(
        engine,
        &aside.map(|(task, _, to)| (*task, *to)).collect::<Vec<_>>(),
    )
}

fn write_rare(engine: &Engine, rare: &[(Uuid, TaskState)]) -> Result<()> {
    if rare.is_empty() {
        return Ok(());
    }
    engine.session.run(
        &SET_ASIDE,
        &[
            datum::uuids(rare.iter().map(|(task, _)| task)),
            datum::states(rare.iter().map(|(_, state)| *state)),
            datum::timestamp(engine.now),
        ],
    )?;
    Ok(())
}

/// Corrects the row of a locked task in this state among the rare states.
pub fn set_aside(engine: &Engine, task: Uuid, state: TaskState) -> Result<()> {
    if state.is_open() || state == TaskState::Complete {
        forget(engine, task)
    } else {
        write_rare(engine, &[(task, state)])
    }
}

/// Removes the row of a task from the rare states.
pub fn forget(engine: &Engine, task: Uuid) -> Result<()> {
    engine.session.run(&TAKE_BACK, &[datum::uuid(&task)])?;
    Ok(())
}

/// A locked task in error goes on; `locked_task` has taken up its steps.
pub fn reopen(engine: &mut Engine, task: Uuid) -> Result<()> {
    forget(engine, task)?;
    set_states(engine, &[(task, TaskState::Error, TaskState::Pending)])
}

/// One transition of a locked task.
pub fn move_task(engine: &mut Engine, task: Uuid, from: TaskState, to: TaskState) -> Result<()> {
    match (from, to) {
        (TaskState::Error, TaskState::Pending) => reopen(engine, task),
        (_, open) if open.is_open() => set_states(engine, &[(task, from, open)]),
        (_, ended) => end(engine, &[(task, from, ended)]),
    }
}

// Without a look at what is added up: the duty may be about to commit that.
static UNSETTLE: Statement = Statement::new(
    "INSERT INTO tasker_engine.unsettled_tasks (first_uuid, last_uuid)
     SELECT u.task_uuid, u.task_uuid FROM unnest($1) AS u (task_uuid)",
    &[pg_sys::UUIDARRAYOID],
);

/// The totals of old tasks count complete ones and leave out open ones: whatever changes this says so.
fn unsettle(engine: &Engine, changes: &[(Uuid, TaskState, TaskState)]) -> Result<()> {
    let mut gone_on = changes
        .iter()
        .filter(|(_, from, to)| *from == TaskState::Complete || !from.is_open() && to.is_open())
        .map(|(task, _, _)| task)
        .peekable();
    if gone_on.peek().is_some() {
        engine.session.run(&UNSETTLE, &[datum::uuids(gone_on)])?;
    }
    Ok(())
}

/// Writes new states of locked tasks and logs them; a pending task passes in_progress on its way to complete.
fn set_states(engine: &mut Engine, changes: &[(Uuid, TaskState, TaskState)]) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    unsettle(engine, changes)?;
    engine.session.run(
        &SET_STATE,
        &[
            datum::uuids(changes.iter().map(|(task, _, _)| task)),
            datum::states(changes.iter().map(|(_, _, to)| *to)),
            datum::timestamp(engine.now),
        ],
    )?;
    for (task, from, to) in changes {
        let mut from = *from;
        if (from, *to) == (TaskState::Pending, TaskState::Complete) {
            engine.log.task(*task, from, TaskState::InProgress);
            from = TaskState::InProgress;
        }
        engine.log.task(*task, from, *to);
    }
    Ok(())
}
