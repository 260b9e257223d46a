//! Rows of the log with what never changes of their tasks, a page at a time, and the events that they give.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use pgrx::pg_sys;
use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::{Map, Value};
use tasker_rules::engine::ids;
use tasker_rules::engine::state::TaskState;
use tasker_rules::events::pattern::Selection;
use tasker_rules::events::position::Unseen;
use tasker_rules::events::rows::{self, Change, PLACES, Row as Rule, Said};
use tasker_rules::events::trace::ids::Trace;

use super::Event;
use super::pages::{Page, Pages, pages};
use super::payload::{Payload, Told};
use crate::error::{Error, Result};
use crate::pg::datum::{self, Timestamp, Uuid};
use crate::pg::installation::Kept;
use crate::pg::spi::{Row, Rows, Session, Statement};
use crate::registry::{self, Template, Tracing};

macro_rules! rows_where {
    ($most:literal) => {
        rows_where!("l.id > $1", $most)
    };
    ($which:literal, $most:literal) => {
        concat!(
            "SELECT l.id, l.xid, l.task_uuid, l.step_no, l.created_at, l.started_at, l.worker_no, l.attempt, l.from_state, l.to_state,
                    CASE WHEN l.metadata <> '{}' THEN l.metadata::text END, l.run_id, l.claim_number
             FROM tasker_engine.transitions l
             WHERE ",
            $which,
            " ORDER BY l.id LIMIT ",
            $most
        )
    };
}

static ROWS: Pages = pages!(rows_where);

static ROWS_OF_IDS: Statement = Statement::new(
    rows_where!("l.id = ANY ($1)", 1000),
    &[pg_sys::INT8ARRAYOID],
);

// What never changes of the tasks.
static TASKS: Statement = Statement::new(
    "SELECT t.task_uuid, t.named_task_id, t.requested_at, t.correlation_id, t.traceparent, t.bypass_steps <> '[]', t.watched
     FROM unnest($1) AS u (task_uuid)
     JOIN tasker_engine.tasks t ON t.task_uuid = ANY (ARRAY[u.task_uuid])",
    &[pg_sys::UUIDARRAYOID],
);

// Those in which no operator has changed a step: there a step is done after all of its parents.
static UNTOUCHED: Statement = Statement::new(
    "SELECT t.task_uuid
     FROM unnest($1) AS u (task_uuid)
     JOIN tasker_engine.tasks t ON t.task_uuid = ANY (ARRAY[u.task_uuid])
     WHERE NOT t.watched",
    &[pg_sys::UUIDARRAYOID],
);

// The same for tasks that were created one after another, as those of a page mostly are: one walk is a fifth of the buffers of a
// look for each.
static UNTOUCHED_NEAR: Statement = Statement::new(
    "SELECT t.task_uuid, t.watched FROM tasker_engine.tasks t
     WHERE t.task_uuid BETWEEN $1 AND $2 ORDER BY t.task_uuid LIMIT $3",
    &[pg_sys::UUIDOID, pg_sys::UUIDOID, pg_sys::INT8OID],
);

// The rows that say of steps that they are done.
static DONE: Statement = Statement::new(
    "SELECT l.task_uuid, l.step_no, l.id, l.attempt, l.created_at
     FROM unnest($1) AS u (task_uuid)
     JOIN tasker_engine.transitions l ON l.task_uuid = ANY (ARRAY[u.task_uuid])
     WHERE l.step_no > 0 AND l.to_state IN ('c', 'r')",
    &[pg_sys::UUIDARRAYOID],
);

pub(super) static WORKERS: Statement = Statement::new(
    "SELECT w.worker_no, w.worker_id FROM tasker_engine.workers w WHERE w.worker_no = ANY ($1)
     UNION ALL
     SELECT n.worker_no, n.worker_id FROM tasker_engine.worker_names n WHERE n.worker_no = ANY ($1)",
    &[pg_sys::INT4ARRAYOID],
);

/// A row of the log.
pub struct Logged {
    pub id: i64,
    pub xid: u64,
    pub task: Uuid,
    pub step_no: i16,
    pub at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub worker_no: i32,
    pub attempt: i16,
    pub change: Change,
    /// None: an empty object.
    metadata: Option<String>,
    pub run_id: Option<i64>,
    /// The claim whose run the row ends.
    pub claim_number: Option<i32>,
    pub of: Rc<Task>,
}

/// What never changes of a task.
pub struct Task {
    pub named_task_id: i32,
    pub requested_at: Timestamp,
    pub correlation_id: Option<String>,
    pub trace: Trace,
    bypasses: bool,
}

impl Logged {
    fn of(row: &Row, task: Uuid, of: Rc<Task>) -> Result<Self> {
        let (step_no, change) = change_of(row)?;
        Ok(Self {
            id: row.get(1)?,
            xid: row.get(2)?,
            task,
            step_no,
            at: row.get(5)?,
            started_at: row.opt(6),
            worker_no: row.get(7)?,
            attempt: row.get(8)?,
            change,
            metadata: row.opt(11),
            run_id: row.opt(12),
            claim_number: row.opt(13),
            of,
        })
    }

    /// Whether the step was done when its task was created.
    fn done_at_creation(&self) -> bool {
        self.step_no > 0 && self.attempt == 0 && self.at == self.of.requested_at
    }

    fn asks_for_released(&self) -> bool {
        self.change.asks_for_released(self.done_at_creation())
    }

    /// Whether it is the creation of a task of which steps were done at once: bypassed, or kept by a task that runs again.
    fn keeps_steps(&self) -> bool {
        self.of.bypasses || self.metadata.is_some()
    }

    fn metadata(&self) -> Result<Value> {
        let Some(text) = &self.metadata else {
            return Ok(Value::Object(Map::new()));
        };
        serde_json::from_str(text)
            .map_err(|_| Error::corrupt("the metadata of a row of the log cannot be read"))
    }
}

/// The number of the step, and what changed.
fn change_of(row: &Row) -> Result<(i16, Change)> {
    let step_no: i16 = row.get(4)?;
    let change = if step_no == 0 {
        Change::Task(row.opt::<TaskState>(9), row.get(10)?)
    } else {
        Change::Step(row.get(9)?, row.get(10)?)
    };
    Ok((step_no, change))
}

/// More tasks than this are forgotten together.
const MOST_KNOWN: usize = 10_000;

/// Tasks of which this session has read rows: their later rows come in later polls.
static KNOWN: Kept<FxHashMap<Uuid, Rc<Task>>> = Kept::new();

/// What a row tells.
pub struct Story {
    /// All its events in their order, of which the first ones may tell the start of the run that the row ends.
    pub events: Vec<rows::Event>,
    /// How many of them tell that start.
    starts: usize,
    metadata: Value,
    said: Said,
    /// The steps that can run because of the row.
    released: Vec<i16>,
}

/// What says which steps can run because of a row.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Says {
    /// The row alone.
    Row,
    /// The row, if no operator has changed a step of the task before its parents were done.
    Untouched,
    /// The rows of other steps of the task.
    Done,
}

/// The steps of a task that are done, by number: the id of the row that says so, and whether they were done at the creation.
type Done = BTreeMap<i16, (i64, bool)>;

/// Reads pages of the log.
pub struct Reader<'s> {
    session: &'s Session,
    selection: &'s Selection,
    /// Whether rows of a change can give an event that is wanted.
    wanted: FxHashMap<Change, bool>,
    /// Whether an event is wanted that depends on the steps that were done before.
    asks_for_released: bool,
    done: FxHashMap<Uuid, Done>,
    /// The same of tasks whose creation a page has told: the pages tell the rest.
    whole: FxHashMap<Uuid, Done>,
    /// Tasks in which no operator has changed a step.
    untouched: FxHashSet<Uuid>,
    workers: FxHashMap<i32, String>,
    tracing: Tracing,
}

impl<'s> Reader<'s> {
    pub fn new(session: &'s Session, selection: &'s Selection) -> Result<Self> {
        let released = [
            "workflow.viable_steps_discovered",
            "workflow.no_viable_steps",
        ];
        Ok(Self {
            session,
            selection,
            wanted: FxHashMap::default(),
            asks_for_released: released.iter().any(|name| selection.matches(name)),
            done: FxHashMap::default(),
            whole: FxHashMap::default(),
            untouched: FxHashSet::default(),
            workers: FxHashMap::default(),
            tracing: Tracing::current()?,
        })
    }

    /// A page of rows that can give wanted events, as [`Pages::read`] says, and how many others were in it.
    pub fn page(
        &mut self,
        behind: i64,
        rows: usize,
        unseen: Option<&Unseen>,
    ) -> Result<Page<Logged>> {
        let read = ROWS.read(self.session, behind, rows, unseen)?;
        let page = self.found(&read.rows)?;
        if self.asks_for_released {
            // The rows between those that are unseen are not there.
            if unseen.is_none() {
                self.follow(&page);
            }
            self.read_done(&page)?;
        }
        Ok(Page {
            others: read.passed_by + read.rows.len() - page.len(),
            rows: page.into(),
            last: read.last,
        })
    }

    /// Those of these rows that exist, up to a page, ascending.
    pub fn of_ids(&mut self, ids: &[i64]) -> Result<Vec<Logged>> {
        let ids = datum::int8s(ids.iter().copied());
        let rows = self.session.read(&ROWS_OF_IDS, &[ids])?;
        let page = self.found(&rows)?;
        if self.asks_for_released {
            self.read_done(&page)?;
        }
        Ok(page)
    }

    /// Whether the row can give an event that is wanted, whatever else it says.
    fn can_matter(&mut self, row: &Row) -> Result<bool> {
        let (_, change) = change_of(row)?;
        let selection = self.selection;
        let mut gives = |change| {
            let matches = |change| {
                rows::names(change)
                    .iter()
                    .any(|name| selection.matches(name))
            };
            *self.wanted.entry(change).or_insert_with(|| matches(change))
        };
        // `follow` needs those, also where they give nothing.
        let is_followed = match change {
            Change::Task(from, _) => from.is_none(),
            Change::Step(_, to) => to.is_finished_good(),
        };
        Ok(gives(change)
            || row.opt::<i64>(12).is_some() && gives(Change::RUN_STARTS)
            || self.asks_for_released && is_followed)
    }

    fn found(&mut self, rows: &Rows) -> Result<Vec<Logged>> {
        let mut kept = Vec::with_capacity(rows.len());
        for row in rows.iter() {
            if self.can_matter(&row)? {
                kept.push(row);
            }
        }
        self.read_tasks(&kept)?;
        let mut page = Vec::with_capacity(kept.len());
        for row in &kept {
            let task: Uuid = row.get(3)?;
            if let Some(of) = KNOWN.with(|known| known.get(&task).cloned()) {
                page.push(Logged::of(row, task, of)?);
            }
        }
        let unknown: BTreeSet<i32> = page
            .iter()
            .map(|row| row.worker_no)
            .filter(|no| *no > 0 && !self.workers.contains_key(no))
            .collect();
        if !unknown.is_empty() {
            let rows = self.session.read(&WORKERS, &[datum::int4s(unknown)])?;
            for row in rows.iter() {
                self.workers.insert(row.get(1)?, row.get(2)?);
            }
        }
        Ok(page)
    }

    fn read_tasks(&mut self, rows: &[Row]) -> Result<()> {
        let mut tasks: BTreeSet<Uuid> = BTreeSet::new();
        for row in rows {
            tasks.insert(row.get(3)?);
        }
        KNOWN.with(|known| {
            if known.len() > MOST_KNOWN {
                known.clear();
            }
            tasks.retain(|task| !known.contains_key(task));
        });
        if tasks.is_empty() {
            return Ok(());
        }
        for row in self.session.read(&TASKS, &[datum::uuids(&tasks)])?.iter() {
            let uuid: Uuid = row.get(1)?;
            let task = Task {
                named_task_id: row.get(2)?,
                requested_at: row.get(3)?,
                correlation_id: row.opt(4),
                trace: Trace::of(&uuid, row.opt::<String>(5).as_deref()),
                bypasses: row.get(6)?,
            };
            if !row.get::<bool>(7)? {
                self.untouched.insert(uuid);
            }
            KNOWN.with(|known| known.insert(uuid, Rc::new(task)));
        }
        Ok(())
    }

    /// Notes which steps are done, of tasks whose log is in the pages from its first row on.
    fn follow(&mut self, page: &[Logged]) {
        if self.whole.len() > MOST_KNOWN {
            self.whole.clear();
        }
        for row in page {
            match row.change {
                // A step that was done at the creation has its row behind, maybe in the next page.
                Change::Task(None, _) if !row.keeps_steps() => {
                    self.whole.insert(row.task, Done::new());
                }
                Change::Step(_, to) if to.is_finished_good() => {
                    if let Some(done) = self.whole.get_mut(&row.task) {
                        done.entry(row.step_no)
                            .or_insert((row.id, row.done_at_creation()));
                    }
                }
                Change::Task(..) | Change::Step(..) => {}
            }
        }
    }

    /// What says, beside the row, which steps can run because of it.
    fn says_released(&self, row: &Logged) -> Result<Says> {
        if !row.asks_for_released() || self.whole.contains_key(&row.task) {
            return Ok(Says::Row);
        }
        if row.step_no == 0 {
            return Ok(match row.keeps_steps() {
                true => Says::Done,
                false => Says::Row,
            });
        }
        let template = self.template(row)?;
        let mut says = Says::Row;
        for child in &template.step(row.step_no)?.children {
            match *template.step(*child)?.parents {
                [_] if self.untouched.contains(&row.task) => {}
                [_] => says = says.max(Says::Untouched),
                _ => return Ok(Says::Done),
            }
        }
        Ok(says)
    }

    /// Those of the tasks in which an operator may have changed a step.
    fn without_untouched(
        &mut self,
        mut tasks: BTreeMap<Uuid, Timestamp>,
    ) -> Result<BTreeMap<Uuid, Timestamp>> {
        let (Some(first), Some(last)) = (tasks.keys().next(), tasks.keys().next_back()) else {
            return Ok(tasks);
        };
        let mut watched = BTreeMap::new();
        if tasks.len() > 1 {
            // Others may lie between them; what is behind too many of those is looked for one by one.
            let args = [
                datum::uuid(first),
                datum::uuid(last),
                datum::int8(2 * tasks.len() as i64),
            ];
            for row in self.session.read(&UNTOUCHED_NEAR, &args)?.iter() {
                let task: Uuid = row.get(1)?;
                let Some(at) = tasks.remove(&task) else {
                    continue;
                };
                if row.get(2)? {
                    watched.insert(task, at);
                } else {
                    self.untouched.insert(task);
                }
            }
        }
        if !tasks.is_empty() {
            let args = [datum::uuids(tasks.keys())];
            for row in self.session.read(&UNTOUCHED, &args)?.iter() {
                let task: Uuid = row.get(1)?;
                tasks.remove(&task);
                self.untouched.insert(task);
            }
        }
        watched.append(&mut tasks);
        Ok(watched)
    }

    fn read_done(&mut self, page: &[Logged]) -> Result<()> {
        self.done.clear();
        let mut tasks: BTreeMap<Uuid, Timestamp> = BTreeMap::new();
        let mut perhaps: BTreeMap<Uuid, Timestamp> = BTreeMap::new();
        for row in page {
            let of = match self.says_released(row)? {
                Says::Row => continue,
                Says::Untouched => &mut perhaps,
                Says::Done => &mut tasks,
            };
            of.insert(row.task, row.of.requested_at);
        }
        tasks.append(&mut self.without_untouched(perhaps)?);
        if tasks.is_empty() {
            return Ok(());
        }
        let rows = self.session.read(&DONE, &[datum::uuids(tasks.keys())])?;
        for row in rows.iter() {
            let (task, id): (Uuid, i64) = (row.get(1)?, row.get(3)?);
            let (attempt, at): (i16, Timestamp) = (row.get(4)?, row.get(5)?);
            let at_creation = attempt == 0 && tasks.get(&task) == Some(&at);
            let of_task = self.done.entry(task).or_default();
            let (first, kept) = of_task.entry(row.get(2)?).or_insert((id, at_creation));
            (*first, *kept) = (id.min(*first), *kept || at_creation);
        }
        Ok(())
    }

    fn template(&self, row: &Logged) -> Result<Rc<Template>> {
        registry::get(self.session, row.of.named_task_id)
    }

    pub fn is_of(&self, row: &Logged, namespaces: Option<&[String]>) -> Result<bool> {
        let Some(namespaces) = namespaces else {
            return Ok(true);
        };
        Ok(namespaces.contains(&self.template(row)?.namespace))
    }

    /// The steps that can run because of the row.
    fn released(&self, row: &Logged) -> Result<Vec<i16>> {
        if !self.asks_for_released || !row.asks_for_released() {
            return Ok(vec![]);
        }
        let template = self.template(row)?;
        let nothing = Done::new();
        let done = self.whole.get(&row.task);
        let done = done.or_else(|| self.done.get(&row.task));
        let done = done.unwrap_or(&nothing);
        let parents: Vec<&[i16]> = template.steps().iter().map(|step| &*step.parents).collect();
        if row.step_no == 0 {
            let kept = done.iter().filter(|(_, (_, at_creation))| *at_creation);
            return Ok(rows::first(&parents, &kept.map(|(no, _)| *no).collect()));
        }
        let before: BTreeSet<i16> = done
            .iter()
            .filter(|(_, (id, at_creation))| *at_creation || *id < row.id)
            .map(|(no, _)| *no)
            .collect();
        let parents_of = |no: i16| parents.get(no as usize - 1).copied().unwrap_or_default();
        let children = &template.step(row.step_no)?.children;
        Ok(rows::released(children, parents_of, row.step_no, &before))
    }

    pub fn story(&self, row: &Logged) -> Result<Story> {
        let (metadata, released) = (row.metadata()?, self.released(row)?);
        let own = Rule {
            change: row.change,
            attempt: row.attempt,
            said: Said::of(&metadata),
            done_at_creation: row.done_at_creation(),
            releases: !released.is_empty(),
        };
        let mut events = vec![];
        if row.run_id.is_some() {
            events = rows::of(&Rule {
                change: Change::RUN_STARTS,
                said: Said::default(),
                ..own
            });
        }
        let starts = events.len();
        events.extend(rows::of(&own));
        Ok(Story {
            events,
            starts,
            metadata,
            said: own.said,
            released,
        })
    }

    /// The id of an event of a row, by its place in the story: that of the row, times a fixed number, plus the place of its name. The start
    /// of a run has an id of its own.
    pub fn id(row: &Logged, story: &Story, index: usize) -> i64 {
        let start = index < story.starts;
        let id = row.run_id.filter(|_| start).unwrap_or(row.id);
        id * i64::from(PLACES) + i64::from(story.events[index].place)
    }

    /// Calls `tell` with an event of a row, by its place in the story.
    fn told<T>(
        &self,
        row: &Logged,
        story: &Story,
        index: usize,
        tell: impl FnOnce(&Told) -> Result<T>,
    ) -> Result<T> {
        let start = index < story.starts;
        let template = self.template(row)?;
        tell(&Told {
            row,
            metadata: &story.metadata,
            said: story.said,
            start,
            name: story.events[index].name,
            template: &template,
            step: (row.step_no > 0).then(|| ids::step_uuid(&row.task, row.step_no)),
            occurred_at: row.started_at.filter(|_| start).unwrap_or(row.at),
            released: &story.released,
            worker: self.workers.get(&row.worker_no).map(String::as_str),
        })
    }

    /// Whether the payload of an event contains the filter.
    pub fn contains(
        &self,
        row: &Logged,
        story: &Story,
        index: usize,
        filter: &Map<String, Value>,
    ) -> Result<bool> {
        self.told(row, story, index, |told| told.contains(filter))
    }

    /// An event of a row, by its place in the story, as a reader gets it.
    pub fn event(&self, row: &Logged, story: &Story, index: usize) -> Result<Event> {
        self.told(row, story, index, |told| {
            Ok(Event {
                id: Self::id(row, story, index),
                row_id: row.id,
                name: Cow::Borrowed(told.name),
                occurred_at: told.occurred_at,
                namespace: Some(told.template.namespace.clone()),
                task: Some(row.task),
                step: told.step,
                correlation_id: row.of.correlation_id.clone(),
                traceparent: Some(self.tracing.of_event(
                    &row.of.trace,
                    &row.task,
                    row.step_no,
                    row.claim_number,
                )),
                payload: Payload::of(told)?,
                position: String::new(),
            })
        })
    }
}
