//! Decides when a task ends. A task without trouble counts its open leaves; for any other task all steps are checked.
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
        set_states(
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
    set_states(engine, &ended)
}

/// Writes new states of locked tasks and logs them; a pending task passes in_progress on its way to complete.
pub fn set_states(engine: &mut Engine, changes: &[(Uuid, TaskState, TaskState)]) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
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
