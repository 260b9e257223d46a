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
use crate::pg::datum::{self, Jsonb, Uuid};
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
     RETURNING t.task_uuid, t.state, t.open_leaves, t.watched, t.named_task_id",
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

// From the last step down: what still runs is found early, however long the task is. If all steps are done, with what the log says of
// them: those that are not resolved are complete.
static STEPS_LEFT: Statement = Statement::new(
    "SELECT t.task_uuid, t.state,
            EXISTS (SELECT FROM tasker_engine.steps s
                    WHERE s.task_uuid = u.task_uuid
                      AND tasker_engine.can_still_run(s.state, s.available_at, s.unreachable)
                    ORDER BY s.step_no DESC LIMIT 1),
            CASE WHEN NOT EXISTS (SELECT FROM tasker_engine.steps s
                                  WHERE s.task_uuid = u.task_uuid AND s.state NOT IN ('c', 'r')
                                  ORDER BY s.step_no DESC LIMIT 1)
                 THEN (SELECT jsonb_strip_nulls(jsonb_build_object('resolved_steps', nullif(count(*), 0)))
                       FROM tasker_engine.steps s WHERE s.task_uuid = u.task_uuid AND s.state = 'r') END,
            t.named_task_id
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
// is that of the first failed step; a resolved task keeps what it had in error. Returns what the log says of the end: how many steps
// are in each state, ten of those in error, and the failure of the first.
static SET_ASIDE: Statement = Statement::new(
    "WITH ended AS (
         SELECT u.task_uuid, u.state, n.counts, n.failed, f.error_message, f.error_class
         FROM unnest($1, $2) AS u (task_uuid, state)
         CROSS JOIN LATERAL (
             SELECT jsonb_build_object(
                        'completed_steps', nullif(count(*) FILTER (WHERE s.state = 'c'), 0),
                        'failed_steps', nullif(count(*) FILTER (WHERE s.state = 'e'), 0),
                        'pending_steps', nullif(count(*) FILTER (WHERE s.state = 'p'), 0),
                        'in_progress_steps', nullif(count(*) FILTER (WHERE s.state = 'i'), 0),
                        'cancelled_steps', nullif(count(*) FILTER (WHERE s.state = 'x'), 0),
                        'resolved_steps', nullif(count(*) FILTER (WHERE s.state = 'r'), 0)) AS counts,
                    (array_agg(s.step_no ORDER BY s.step_no) FILTER (WHERE s.state = 'e' AND u.state = 'e'))[1:10] AS failed
             FROM tasker_engine.steps s WHERE s.task_uuid = u.task_uuid) n
         LEFT JOIN LATERAL (
             SELECT left(s.results ->> 'error_message', 1000) AS error_message, left(s.results ->> 'error_class', 255) AS error_class
             FROM tasker_engine.steps s
             WHERE s.task_uuid = u.task_uuid AND s.step_no = n.failed[1]) f ON true),
     aside AS (
         INSERT INTO tasker_engine.rare_tasks AS r (task_uuid, since, named_task_id, step_no, state, error_class)
         SELECT e.task_uuid, $3, t.named_task_id, e.failed[1], e.state, e.error_class
         FROM ended e
         JOIN tasker_engine.tasks t ON t.task_uuid = e.task_uuid
         ON CONFLICT (task_uuid) DO UPDATE
         SET since = excluded.since, state = excluded.state,
             step_no = CASE WHEN excluded.state = 'e' THEN excluded.step_no ELSE r.step_no END,
             error_class = CASE WHEN excluded.state = 'e' THEN excluded.error_class ELSE r.error_class END)
     SELECT e.task_uuid, jsonb_strip_nulls(e.counts || jsonb_build_object(
                'error_steps', e.failed, 'error_message', e.error_message, 'error_class', e.error_class))
     FROM ended e",
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

/// A change of a locked task.
pub struct Change<'e> {
    pub template: i32,
    pub task: Uuid,
    pub from: TaskState,
    pub to: TaskState,
    /// What the log says of it.
    pub metadata: Option<Jsonb<'e>>,
}

impl Change<'_> {
    pub fn of(template: i32, task: Uuid, from: TaskState, to: TaskState) -> Self {
        Self {
            template,
            task,
            from,
            to,
            metadata: None,
        }
    }
}

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
        let complete =
            |(template, task)| Change::of(template, task, TaskState::Pending, TaskState::Complete);
        end(engine, never_started.into_iter().map(complete).collect())?;
        end_finished(engine, &self.check)
    }

    /// Returns tasks that are complete although no claim could mark them as started.
    fn count_leaves(
        &mut self,
        engine: &mut Engine,
        leaves: &BTreeMap<Uuid, i16>,
    ) -> Result<Vec<(i32, Uuid)>> {
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
            let (task, state, open, watched, template) = (
                row.get::<Uuid>(1)?,
                row.get::<TaskState>(2)?,
                row.get::<i16>(3)?,
                row.get::<bool>(4)?,
                row.get::<i32>(5)?,
            );
            if watched {
                self.check.insert(task);
            } else if open == 0 && state == TaskState::Complete {
                let from = TaskState::InProgress;
                engine.log.task(template, task, from, TaskState::Complete);
            } else if open == 0 && state == TaskState::Pending {
                never_started.push((template, task));
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
        let (task, from, alive) = (
            row.get::<Uuid>(1)?,
            row.get::<TaskState>(2)?,
            row.get::<bool>(3)?,
        );
        let all_good = row.opt_jsonb(4);
        if !alive && from.is_open() {
            let to = if all_good.is_some() {
                TaskState::Complete
            } else {
                TaskState::Error
            };
            ended.push(Change {
                metadata: all_good,
                ..Change::of(row.get(5)?, task, from, to)
            });
        }
    }
    end(engine, ended)
}

/// Ends locked tasks: complete, in error, cancelled or resolved. Their steps are as they must be: of a task in error none starts any
/// more (`locked_task` holds them).
pub fn end<'e>(engine: &mut Engine<'e>, mut ended: Vec<Change<'e>>) -> Result<()> {
    let aside: Vec<(Uuid, TaskState)> = ended
        .iter()
        .filter(|change| change.to != TaskState::Complete)
        .map(|change| (change.task, change.to))
        .collect();
    let said = write_rare(engine, &aside)?;
    for change in &mut ended {
        change.metadata = said.get(&change.task).copied().or(change.metadata);
    }
    set_states(engine, &ended)
}

/// Returns what the log says of the end of each task.
fn write_rare<'e>(
    engine: &Engine<'e>,
    rare: &[(Uuid, TaskState)],
) -> Result<BTreeMap<Uuid, Jsonb<'e>>> {
    if rare.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = engine.session.run(
        &SET_ASIDE,
        &[
            datum::uuids(rare.iter().map(|(task, _)| task)),
            datum::states(rare.iter().map(|(_, state)| *state)),
            datum::timestamp(engine.now),
        ],
    )?;
    rows.iter()
        .map(|row| Ok((row.get(1)?, row.jsonb(2)?)))
        .collect()
}

/// Corrects the row of a locked task in this state among the rare states.
pub fn set_aside(engine: &Engine, task: Uuid, state: TaskState) -> Result<()> {
    if state.is_open() || state == TaskState::Complete {
        forget(engine, task)
    } else {
        write_rare(engine, &[(task, state)]).map(|_| ())
    }
}

/// Removes the row of a task from the rare states.
pub fn forget(engine: &Engine, task: Uuid) -> Result<()> {
    engine.session.run(&TAKE_BACK, &[datum::uuid(&task)])?;
    Ok(())
}

/// A locked task in error goes on; `locked_task` has taken up its steps.
fn reopen(engine: &mut Engine, template: i32, task: Uuid) -> Result<()> {
    forget(engine, task)?;
    let change = Change::of(template, task, TaskState::Error, TaskState::Pending);
    set_states(engine, &[change])
}

/// One transition of a locked task.
pub fn move_task<'e>(engine: &mut Engine<'e>, change: Change<'e>) -> Result<()> {
    match (change.from, change.to) {
        (TaskState::Error, TaskState::Pending) => reopen(engine, change.template, change.task),
        (_, open) if open.is_open() => set_states(engine, &[change]),
        _ => end(engine, vec![change]),
    }
}

// Without a look at what is added up: the duty may be about to commit that.
static UNSETTLE: Statement = Statement::new(
    "INSERT INTO tasker_engine.unsettled_tasks (first_uuid, last_uuid)
     SELECT u.task_uuid, u.task_uuid FROM unnest($1) AS u (task_uuid)",
    &[pg_sys::UUIDARRAYOID],
);

/// The totals of old tasks count complete ones and leave out open ones: whatever changes this says so.
fn unsettle(engine: &Engine, changes: &[Change]) -> Result<()> {
    let mut gone_on = changes
        .iter()
        .filter(|change| {
            change.from == TaskState::Complete || !change.from.is_open() && change.to.is_open()
        })
        .map(|change| &change.task)
        .peekable();
    if gone_on.peek().is_some() {
        engine.session.run(&UNSETTLE, &[datum::uuids(gone_on)])?;
    }
    Ok(())
}

/// Writes new states of locked tasks and logs them; a pending task passes in_progress on its way to complete.
fn set_states<'e>(engine: &mut Engine<'e>, changes: &[Change<'e>]) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    unsettle(engine, changes)?;
    engine.session.run(
        &SET_STATE,
        &[
            datum::uuids(changes.iter().map(|change| &change.task)),
            datum::states(changes.iter().map(|change| change.to)),
            datum::timestamp(engine.now),
        ],
    )?;
    for change in changes {
        let (template, task, to) = (change.template, change.task, change.to);
        let mut from = change.from;
        if (from, to) == (TaskState::Pending, TaskState::Complete) {
            engine.log.task(template, task, from, TaskState::InProgress);
            from = TaskState::InProgress;
        }
        engine
            .log
            .task_with(template, task, from, to, change.metadata);
    }
    Ok(())
}
