//! All rows about each task: six queries in the order of the tasks, read side by side in one snapshot and in parts of constant size.

use std::collections::VecDeque;

use pgrx::pg_sys;
use tasker_rules::engine::integrity::{Entry, Logged, Rows, Step, Task};
use tasker_rules::engine::state::TaskState;

use crate::error::Result;
use crate::pg::budget;
use crate::pg::datum::{self, Uuid};
use crate::pg::spi::{Cursor, Row, Session, Statement};

/// Tasks behind the first uuid, up to the second.
#[derive(Clone, Copy)]
pub struct Range {
    pub after: Uuid,
    pub upto: Uuid,
}

impl Range {
    pub const ALL: Self = Self {
        after: [0; 16],
        upto: [0xff; 16],
    };

    fn of_task(task: &Uuid) -> Self {
        let before = u128::from_be_bytes(*task).saturating_sub(1);
        Self {
            after: before.to_be_bytes(),
            upto: *task,
        }
    }
}

const RANGE: &[pg_sys::Oid] = &[pg_sys::UUIDOID, pg_sys::UUIDOID];

// A code that no state has is NULL here, and so is s, which means stuck.
static TASKS: Statement = Statement::new(
    "SELECT t.task_uuid, CASE WHEN tasker_engine.state_name(t.state) IS NOT NULL THEN t.state END, t.named_task_id,
            t.open_leaves, t.watched, t.bypass_steps <> '[]'
     FROM tasker_engine.tasks t
     WHERE t.task_uuid > $1 AND t.task_uuid <= $2
     ORDER BY t.task_uuid",
    RANGE,
);

static STEPS: Statement = Statement::new(
    "SELECT s.task_uuid, s.step_no, CASE WHEN tasker_engine.state_name(s.state) IS NOT NULL THEN s.state END,
            s.available_at, s.claim_id, s.named_task_id, s.open_parents, s.watched, s.unreachable, s.priority
     FROM tasker_engine.steps s
     WHERE s.task_uuid > $1 AND s.task_uuid <= $2
     ORDER BY s.task_uuid, s.step_no",
    RANGE,
);

static ENTRIES: Statement = Statement::new(
    "SELECT r.task_uuid, r.step_no, r.available_at, r.queue_id, r.priority, r.handler_key, r.ctid
     FROM tasker_engine.queue_entries r
     WHERE r.task_uuid > $1 AND r.task_uuid <= $2
     ORDER BY r.task_uuid, r.step_no, r.available_at",
    RANGE,
);

static CLAIMS: Statement = Statement::new(
    "SELECT u.task_uuid, u.step_no, c.claim_id
     FROM tasker_engine.claims c CROSS JOIN LATERAL unnest(c.task_uuids, c.step_nos) AS u (task_uuid, step_no)
     WHERE u.task_uuid > $1 AND u.task_uuid <= $2
     ORDER BY u.task_uuid, u.step_no",
    RANGE,
);

// The last row of each step, and of the task; the start of a run that goes on is in the row of the step.
static LOG: Statement = Statement::new(
    "SELECT DISTINCT ON (l.task_uuid, l.step_no) l.task_uuid, l.step_no,
            CASE WHEN tasker_engine.state_name(l.to_state) IS NOT NULL THEN l.to_state END
     FROM (SELECT o.id, o.task_uuid, o.step_no, o.to_state
           FROM tasker_engine.transitions o WHERE o.task_uuid > $1 AND o.task_uuid <= $2
           UNION ALL
           SELECT s.run_id, s.task_uuid, s.step_no, s.state
           FROM tasker_engine.steps s WHERE s.task_uuid > $1 AND s.task_uuid <= $2 AND s.state = 'i' AND s.run_id IS NOT NULL) l
     ORDER BY l.task_uuid, l.step_no, l.id DESC",
    RANGE,
);

static RARE: Statement = Statement::new(
    "SELECT r.task_uuid, CASE WHEN tasker_engine.state_name(r.state) IS NOT NULL THEN r.state END
     FROM tasker_engine.rare_tasks r
     WHERE r.task_uuid > $1 AND r.task_uuid <= $2
     ORDER BY r.task_uuid",
    RANGE,
);

static CLAIMS_OF_TASK: Statement = Statement::new(
    "SELECT u.task_uuid, u.step_no, c.claim_id
     FROM tasker_engine.claims c CROSS JOIN LATERAL unnest(c.task_uuids, c.step_nos) AS u (task_uuid, step_no)
     WHERE c.claim_id = ANY ($2) AND u.task_uuid = $1
     ORDER BY u.task_uuid, u.step_no",
    &[pg_sys::UUIDOID, pg_sys::INT8ARRAYOID],
);

fn task(row: &Row) -> Result<Task> {
    Ok(Task {
        state: row.opt(2),
        named_task_id: row.get(3)?,
        open_leaves: row.get(4)?,
        watched: row.get(5)?,
        bypasses: row.get(6)?,
    })
}

fn step(row: &Row) -> Result<Step> {
    Ok(Step {
        no: row.get(2)?,
        state: row.opt(3),
        available_at: row.opt(4),
        claim_id: row.opt(5),
        named_task_id: row.get(6)?,
        open_parents: row.get(7)?,
        watched: row.get(8)?,
        unreachable: row.get(9)?,
        priority: row.get(10)?,
    })
}

fn entry(row: &Row) -> Result<(Entry, pg_sys::ItemPointerData)> {
    let entry = Entry {
        no: row.get(2)?,
        available_at: row.get(3)?,
        queue_id: row.get(4)?,
        priority: row.get(5)?,
        handler_key: row.opt(6),
    };
    Ok((entry, row.get(7)?))
}

fn claim(row: &Row) -> Result<(i16, i64)> {
    Ok((row.get(2)?, row.get(3)?))
}

fn logged(row: &Row) -> Result<Logged> {
    Ok(Logged {
        no: row.get(2)?,
        state: row.opt(3),
    })
}

fn rare(row: &Row) -> Result<Option<TaskState>> {
    Ok(row.opt(2))
}

/// All rows about one task; without its row, what is left of it.
pub(super) struct TaskRows {
    pub(super) uuid: Uuid,
    pub(super) task: Option<Task>,
    pub(super) steps: Vec<Step>,
    entries: Option<Vec<Entry>>,
    /// The places of the entries.
    pub(super) tids: Vec<pg_sys::ItemPointerData>,
    claims: Vec<(i16, i64)>,
    pub(super) log: Vec<Logged>,
    rare: Option<Option<TaskState>>,
}

impl TaskRows {
    pub(super) fn view(&self) -> Rows<'_> {
        Rows {
            task: self.task,
            steps: &self.steps,
            entries: self.entries.as_deref(),
            claims: &self.claims,
            log: &self.log,
            rare: self.rare,
        }
    }
}

/// Reads the rows of a task that the caller has locked, but not the queue, which no index leads to.
pub(super) fn of_task(session: &Session, uuid: Uuid) -> Result<TaskRows> {
    let range = Range::of_task(&uuid);
    let args = [datum::uuid(&range.after), datum::uuid(&range.upto)];
    let tasks = session.run(&TASKS, &args)?;
    let steps = session.run(&STEPS, &args)?;
    let steps = steps
        .iter()
        .map(|row| step(&row))
        .collect::<Result<Vec<_>>>()?;
    let holding = datum::int8s(steps.iter().filter_map(|step| step.claim_id));
    let claims = session.run(&CLAIMS_OF_TASK, &[datum::uuid(&uuid), holding])?;
    let log = session.run(&LOG, &args)?;
    let rares = session.run(&RARE, &args)?;
    Ok(TaskRows {
        uuid,
        task: tasks.first().map(|row| task(&row)).transpose()?,
        steps,
        entries: None,
        tids: vec![],
        claims: claims
            .iter()
            .map(|row| claim(&row))
            .collect::<Result<_>>()?,
        log: log.iter().map(|row| logged(&row)).collect::<Result<_>>()?,
        rare: rares.first().map(|row| rare(&row)).transpose()?,
    })
}

/// How many rows of a query are in memory at once, beside those of the task at hand.
const PART: i64 = 1000;

/// The rows of one query, task by task.
struct Stream<'s, T> {
    cursor: Cursor<'s>,
    read: fn(&Row) -> Result<T>,
    ahead: VecDeque<(Uuid, T)>,
    ended: bool,
}

impl<'s, T> Stream<'s, T> {
    fn open(
        session: &'s Session,
        statement: &Statement,
        range: &Range,
        read: fn(&Row) -> Result<T>,
    ) -> Result<Self> {
        let args = [datum::uuid(&range.after), datum::uuid(&range.upto)];
        Ok(Self {
            cursor: session.cursor(statement, &args)?,
            read,
            ahead: VecDeque::new(),
            ended: false,
        })
    }

    /// The task of the next row.
    fn next_task(&mut self) -> Result<Option<Uuid>> {
        if self.ahead.is_empty() && !self.ended {
            let (ahead, read) = (&mut self.ahead, self.read);
            let count = self.cursor.fetch(PART, |row| {
                ahead.push_back((row.get(1)?, read(&row)?));
                Ok(())
            })?;
            self.ended = count == 0;
        }
        Ok(self.ahead.front().map(|(task, _)| *task))
    }

    /// The rows of this task, if they are the next.
    fn take(&mut self, task: &Uuid) -> Result<Vec<T>> {
        let mut rows = vec![];
        while self.next_task()?.as_ref() == Some(task) {
            rows.extend(self.ahead.pop_front().map(|(_, row)| row));
        }
        Ok(rows)
    }
}

/// Visits each task in the range that anything is stored about, in ascending order, as the snapshot of the calling query shows it.
pub(super) fn each_task(
    session: &Session,
    range: &Range,
    mut visit: impl FnMut(&TaskRows) -> Result<()>,
) -> Result<()> {
    let mut tasks = Stream::open(session, &TASKS, range, task)?;
    let mut steps = Stream::open(session, &STEPS, range, step)?;
    let mut entries = Stream::open(session, &ENTRIES, range, entry)?;
    let mut claims = Stream::open(session, &CLAIMS, range, claim)?;
    let mut log = Stream::open(session, &LOG, range, logged)?;
    let mut rares = Stream::open(session, &RARE, range, rare)?;
    loop {
        budget::check_for_cancel();
        let next = [
            tasks.next_task()?,
            steps.next_task()?,
            entries.next_task()?,
            claims.next_task()?,
            log.next_task()?,
            rares.next_task()?,
        ];
        let Some(uuid) = next.into_iter().flatten().min() else {
            return Ok(());
        };
        let (entries, tids) = entries.take(&uuid)?.into_iter().unzip();
        visit(&TaskRows {
            uuid,
            task: tasks.take(&uuid)?.pop(),
            steps: steps.take(&uuid)?,
            entries: Some(entries),
            tids,
            claims: claims.take(&uuid)?,
            log: log.take(&uuid)?,
            rare: rares.take(&uuid)?.pop(),
        })?;
    }
}
