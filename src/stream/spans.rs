//! The spans of tasks, as rows: made of their logs whenever they are read, as events are. The rules are crates/rules/src/events/trace/.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use pgrx::pg_sys;
use rustc_hash::FxHashMap;
use serde_json::{Map, Value, json};
use tasker_rules::engine::ids;
use tasker_rules::engine::state::{StepState, TaskState};
use tasker_rules::events::counts::Counts;
use tasker_rules::events::filter_parameters::Mask;
use tasker_rules::events::route::Backend;
use tasker_rules::events::rows::{CHANGED, Change, PLACES, Said};
use tasker_rules::events::time::iso;
use tasker_rules::events::trace::context::{span_text, trace_text};
use tasker_rules::events::trace::ids::{Kind, Trace};
use tasker_rules::events::trace::tree::{self, Row as Rule};

use super::pages::PAGE;
use super::payload::uuid_text;
use super::rows::WORKERS;
use crate::error::{Error, Result};
use crate::logging;
use crate::pg::budget;
use crate::pg::call;
use crate::pg::datum::{self, Jsonb, Timestamp, Uuid};
use crate::pg::spi::{Row, Session, Statement};
use crate::registry::{self, Template, Tracing};
use crate::settings;

static TASKS: Statement = Statement::new(
    "SELECT t.task_uuid, t.named_task_id, t.run_at, t.correlation_id, t.traceparent, t.tracestate
     FROM unnest($1) AS u (task_uuid)
     JOIN tasker_engine.tasks t ON t.task_uuid = ANY (ARRAY[u.task_uuid])",
    &[pg_sys::UUIDARRAYOID],
);

static LOGS: Statement = Statement::new(
    "SELECT l.task_uuid, l.id, l.step_no, l.from_state, l.to_state, l.created_at, l.started_at, l.run_id, l.claim_number, l.attempt, l.worker_no,
            CASE WHEN l.metadata <> '{}' THEN l.metadata::text END
     FROM unnest($1) AS u (task_uuid)
     JOIN tasker_engine.transitions l ON l.task_uuid = ANY (ARRAY[u.task_uuid])",
    &[pg_sys::UUIDARRAYOID],
);

static TASKS_OF_ROWS: Statement = Statement::new(
    "SELECT l.id, l.task_uuid FROM tasker_engine.transitions l WHERE l.id = ANY ($1)",
    &[pg_sys::INT8ARRAYOID],
);

// What can end a span.
static ENDED: Statement = Statement::new(
    "SELECT l.created_at, l.task_uuid FROM tasker_engine.transitions l
     WHERE l.created_at >= $1 AND l.created_at < $2
       AND (l.from_state IN ('i', 'e') OR l.step_no = 0 AND (l.from_state IS NULL OR l.to_state NOT IN ('p', 'i')))
     ORDER BY l.created_at LIMIT $3",
    &[
        pg_sys::TIMESTAMPTZOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::INT8OID,
    ],
);

// The time in the queue ends with the start of the run.
static BEGUN: Statement = Statement::new(
    "SELECT l.started_at, l.task_uuid FROM tasker_engine.transitions l
     WHERE l.started_at >= $1 AND l.started_at < $2 AND l.step_no > 0
     ORDER BY l.started_at LIMIT $3",
    &[
        pg_sys::TIMESTAMPTZOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::INT8OID,
    ],
);

static FIRST: Statement = Statement::new(
    "SELECT l.created_at FROM tasker_engine.transitions l ORDER BY l.id LIMIT 1",
    &[],
);

/// A span as a reader gets it.
pub struct Span {
    /// The event that ends it.
    pub event_id: i64,
    pub trace_id: String,
    pub span_id: String,
    pub parent_span_id: Option<String>,
    pub trace_state: Option<String>,
    pub name: &'static str,
    pub kind: &'static str,
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
    pub status: &'static str,
    pub status_message: Option<String>,
    pub attributes: Jsonb<'static>,
    pub events: Jsonb<'static>,
    pub sampled: bool,
    pub task: Uuid,
    pub step: Option<Uuid>,
    pub claim_number: Option<i32>,
}

/// A row of the log.
struct Logged {
    rule: Rule,
    attempt: i16,
    worker_no: i32,
    metadata: Value,
}

struct Task {
    uuid: Uuid,
    trace: Trace,
    tracestate: Option<String>,
    correlation_id: Option<String>,
    run_at: Option<Timestamp>,
    template: Rc<Template>,
    rows: Vec<Logged>,
}

impl Logged {
    fn of(row: &Row) -> Result<Self> {
        let step_no: i16 = row.get(3)?;
        let change = match step_no {
            0 => Change::Task(row.opt::<TaskState>(4), row.get(5)?),
            _ => Change::Step(row.get(4)?, row.get(5)?),
        };
        let metadata = match row.opt::<String>(12) {
            None => Value::Null,
            Some(text) => serde_json::from_str(&text)
                .map_err(|_| Error::corrupt("the metadata of a row of the log cannot be read"))?,
        };
        let wait = Said::of(&metadata).retry_after_seconds.unwrap_or(0.0);
        Ok(Self {
            rule: Rule {
                id: row.get(2)?,
                step_no,
                change,
                at: row.get(6)?,
                started_at: row.opt(7),
                run_id: row.opt(8),
                claim_number: row.opt(9),
                wait: (wait * 1e6) as i64,
            },
            attempt: row.get(10)?,
            worker_no: row.get(11)?,
            metadata,
        })
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).and_then(Value::as_str)
    }
}

/// Makes spans of logs.
pub struct Spans<'s> {
    session: &'s Session,
    tracing: Tracing,
    /// The share of the tasks of each event that is asked for; None: it has no route.
    shares: FxHashMap<&'static str, Option<f64>>,
    workers: FxHashMap<i32, String>,
    keys: Keys,
    hider: Hider,
}

impl<'s> Spans<'s> {
    pub fn new(session: &'s Session) -> Result<Self> {
        Ok(Self {
            session,
            tracing: Tracing::current()?,
            shares: FxHashMap::default(),
            workers: FxHashMap::default(),
            keys: Keys::new(settings::service_name()),
            hider: Hider::new(),
        })
    }

    /// The recorded spans that these events end, in the order of their ends.
    pub fn of_events(&mut self, events: &[i64]) -> Result<Vec<Span>> {
        let places = i64::from(PLACES);
        let rows: BTreeSet<i64> = events
            .iter()
            .filter(|event| event.rem_euclid(places) == i64::from(CHANGED))
            .map(|event| event.div_euclid(places))
            .collect();
        let mut found = vec![];
        let rows: Vec<i64> = rows.into_iter().collect();
        for ids in rows.chunks(PAGE) {
            budget::check_for_cancel();
            let of_rows = self
                .session
                .read(&TASKS_OF_ROWS, &[datum::int8s(ids.iter().copied())])?;
            let mut tasks = BTreeSet::new();
            for row in of_rows.iter() {
                tasks.insert(row.get::<Uuid>(2)?);
            }
            self.select(&tasks, &mut found, |row, _| {
                ids.binary_search(&row.id).is_ok()
            })?;
        }
        found.retain(|span| span.sampled);
        found.sort_by_key(Span::order);
        Ok(found)
    }

    /// The spans of a task that ended in this time, the first ones.
    pub fn of_task(
        &mut self,
        task: Uuid,
        (since, until): (Timestamp, Timestamp),
        most: usize,
    ) -> Result<Vec<Span>> {
        let mut found = vec![];
        self.select(&BTreeSet::from([task]), &mut found, |_, span| {
            (since..until).contains(&span.ended_at)
        })?;
        found.sort_by_key(Span::order);
        found.truncate(most);
        Ok(found)
    }

    /// The same of all tasks. Looks at a part of the time after the other, so that it reads little more than it returns.
    pub fn between(
        &mut self,
        (since, until): (Timestamp, Timestamp),
        most: usize,
    ) -> Result<Vec<Span>> {
        let mut found: Vec<Span> = vec![];
        let first: Option<Timestamp> = self
            .session
            .read(&FIRST, &[])?
            .first()
            .and_then(|row| row.opt(1));
        let Some(first) = first else {
            return Ok(found);
        };
        let now = call::clock();
        let (mut from, mut width, mut limit) = (since, FIRST_WIDTH, most.max(PAGE));
        let mut to = from.max(first).saturating_add(width);
        while from < until && found.len() < most {
            budget::check_for_cancel();
            if to >= until || to > now {
                to = until;
            }
            let mut end = to;
            let mut tasks = BTreeSet::new();
            for statement in [&ENDED, &BEGUN] {
                let args = [
                    datum::timestamp(from),
                    datum::timestamp(to),
                    datum::int8(limit as i64),
                ];
                let rows = self.session.read(statement, &args)?;
                for row in rows.iter() {
                    tasks.insert(row.get::<Uuid>(2)?);
                }
                if rows.len() == limit {
                    let last = rows.iter().last().map(|row| row.get(1)).transpose()?;
                    end = end.min(last.unwrap_or(end));
                }
            }
            if end <= from {
                // All of the rows have one time: there may be more of it.
                limit *= 4;
                continue;
            }
            let tasks: Vec<Uuid> = tasks.into_iter().collect();
            for some in tasks.chunks(PAGE) {
                self.select(&some.iter().copied().collect(), &mut found, |_, span| {
                    (from..end).contains(&span.ended_at)
                })?;
            }
            if end == to {
                width = width.saturating_mul(4);
            }
            from = end;
            to = from.saturating_add(width);
        }
        found.sort_by_key(Span::order);
        found.truncate(most);
        Ok(found)
    }

    /// Adds the wanted spans of these tasks.
    fn select(
        &mut self,
        tasks: &BTreeSet<Uuid>,
        found: &mut Vec<Span>,
        wanted: impl Fn(&Rule, &tree::Span) -> bool,
    ) -> Result<()> {
        for task in &self.read(tasks)? {
            budget::check_for_cancel();
            let rows: Vec<Rule> = task.rows.iter().map(|row| row.rule).collect();
            let parents: Vec<&[i16]> = task
                .template
                .steps()
                .iter()
                .map(|step| &*step.parents)
                .collect();
            let of = tree::Task {
                trace: task.trace,
                run_at: task.run_at,
                parents: &parents,
            };
            let spans = tree::spans(&of, &rows);
            let wanted: Vec<&tree::Span> = spans
                .iter()
                .filter(|span| wanted(&rows[span.row], span))
                .collect();
            self.read_workers(wanted.iter().map(|span| task.rows[span.row].worker_no))?;
            for span in wanted {
                found.push(self.span(task, span)?);
            }
        }
        Ok(())
    }

    fn read(&self, tasks: &BTreeSet<Uuid>) -> Result<Vec<Task>> {
        let mut found: BTreeMap<Uuid, Task> = BTreeMap::new();
        for row in self.session.read(&TASKS, &[datum::uuids(tasks)])?.iter() {
            let uuid: Uuid = row.get(1)?;
            let task = Task {
                uuid,
                trace: Trace::of(&uuid, row.opt::<String>(5).as_deref()),
                tracestate: row.opt(6),
                correlation_id: row.opt(4),
                run_at: row.opt(3),
                template: registry::get(self.session, row.get(2)?)?,
                rows: vec![],
            };
            found.insert(uuid, task);
        }
        for row in self.session.read(&LOGS, &[datum::uuids(tasks)])?.iter() {
            if let Some(task) = found.get_mut(&row.get::<Uuid>(1)?) {
                task.rows.push(Logged::of(&row)?);
            }
        }
        let mut found: Vec<Task> = found.into_values().collect();
        for task in &mut found {
            task.rows.sort_unstable_by_key(|row| row.rule.id);
        }
        Ok(found)
    }

    fn read_workers(&mut self, numbers: impl Iterator<Item = i32>) -> Result<()> {
        let unknown: BTreeSet<i32> = numbers
            .filter(|no| *no > 0 && !self.workers.contains_key(no))
            .collect();
        if !unknown.is_empty() {
            let rows = self.session.read(&WORKERS, &[datum::int4s(unknown)])?;
            for row in rows.iter() {
                self.workers.insert(row.get(1)?, row.get(2)?);
            }
        }
        Ok(())
    }

    /// The share of the tasks whose events of this name are recorded; None: the event has no route of its own.
    fn share(&mut self, event: &'static str) -> Option<f64> {
        let routes = &self.tracing.routes;
        *self
            .shares
            .entry(event)
            .or_insert_with(|| routes.routed_share(Backend::Trace, event))
    }

    /// Whether the event of this task is recorded; one without a route is, with its span.
    fn admits(&mut self, task: &Task, event: &'static str) -> bool {
        let share = self.share(event);
        share.is_none_or(|share| task.trace.records(share, &task.uuid))
    }

    /// Whether the span is: its task is, and so are the events with which it begins and ends. The end of a task counts for nothing: its span
    /// has others below it.
    fn is_recorded(&mut self, task: &Task, kind: Kind, end: Option<&'static str>) -> bool {
        let begins = self.share(kind.begins()).unwrap_or(0.0);
        self.tracing.records(&task.trace, &task.uuid)
            && task.trace.records(begins, &task.uuid)
            && (kind == Kind::Task || end.is_none_or(|end| self.admits(task, end)))
    }

    fn span(&mut self, task: &Task, span: &tree::Span) -> Result<Span> {
        let row = &task.rows[span.row];
        let outcome = Outcome::of(span.kind, row);
        let sampled = self.is_recorded(task, span.kind, outcome.event);
        let message = outcome.message.as_deref();
        let message = message.map(|message| self.hider.text(message));
        let mut events = vec![];
        for (event, name, at) in outcome.events(span) {
            if event.is_none_or(|event| self.admits(task, event)) {
                events.push(event_of(name, at, Map::new()));
            }
        }
        if span.kind == Kind::Run
            && let Some(mut exception) = exception(row, &self.hider)
        {
            self.hider.hide(&mut exception);
            events.push(event_of("exception", span.ended_at, exception));
        }
        let mut attributes = self.attributes(task, span, &outcome)?;
        self.hider.hide(&mut attributes);
        let parent = span
            .parent
            .or_else(|| task.trace.parent.map(|parent| parent.span_id));
        Ok(Span {
            event_id: row.rule.id * i64::from(PLACES) + i64::from(CHANGED),
            trace_id: trace_text(task.trace.id),
            span_id: span_text(span.id),
            parent_span_id: parent.map(span_text),
            trace_state: task.tracestate.clone(),
            name: span.kind.name(),
            kind: kind_text(span.kind),
            started_at: span.started_at,
            ended_at: span.ended_at,
            status: outcome.status,
            status_message: message,
            attributes: made(datum::object_of(
                attributes.iter().map(|(key, value)| (&**key, value)),
            ))?,
            events: made(datum::array_of(&events))?,
            sampled,
            task: task.uuid,
            step: (span.step_no > 0).then(|| ids::step_uuid(&task.uuid, span.step_no)),
            claim_number: (span.claim_number > 0).then_some(span.claim_number),
        })
    }

    fn attributes(
        &self,
        task: &Task,
        span: &tree::Span,
        outcome: &Outcome,
    ) -> Result<Map<String, Value>> {
        let (keys, template) = (&self.keys, &*task.template);
        let row = &task.rows[span.row];
        let mut all = Map::new();
        let mut own = |key: &str, value: Value| {
            all.insert(keys.own(key), value);
        };
        let seconds = |from: i64, to: i64| json!((to - from).max(0) as f64 / 1e6);
        own("task_id", uuid_text(&task.uuid).into());
        own("task_name", template.name.as_str().into());
        own("task_version", template.version.as_str().into());
        own("namespace", template.namespace.as_str().into());
        own("event_timestamp", iso(span.ended_at).into());
        if let Some(id) = &task.correlation_id {
            own("correlation_id", id.as_str().into());
        }
        match span.kind {
            Kind::Task => {
                own("outcome", outcome.name.into());
                own("duration", seconds(span.started_at, span.ended_at));
                let created = task.rows.first().map_or(span.started_at, |row| row.rule.at);
                own("total_execution_duration", seconds(created, span.ended_at));
                own(
                    "current_execution_duration",
                    seconds(span.started_at, span.ended_at),
                );
                let total = template.steps().len() as i64;
                own("total_steps", total.into());
                if let Change::Task(_, to) = row.rule.change
                    && let Some(counts) = Counts::of(&row.metadata, to, total)
                {
                    own("completed_steps", counts.0[0].into());
                    own("failed_steps", counts.0[1].into());
                }
            }
            Kind::Initialize => {}
            Kind::Run | Kind::Queued | Kind::Retry => {
                let step = template.step(span.step_no)?;
                own(
                    "step_id",
                    uuid_text(&ids::step_uuid(&task.uuid, span.step_no)).into(),
                );
                own("step_name", step.name.as_str().into());
                own("attempt_number", row.attempt.into());
                if span.claim_number > 0 {
                    own("claim_number", span.claim_number.into());
                }
                if span.kind == Kind::Run {
                    own("outcome", outcome.name.into());
                    own(
                        "execution_duration",
                        seconds(span.started_at, span.ended_at),
                    );
                    if let Some(limit) = row.metadata.get("retry_limit") {
                        own("retry_limit", limit.clone());
                    }
                    if let Some(worker) = self.workers.get(&row.worker_no) {
                        own("worker_id", worker.as_str().into());
                    }
                }
            }
        }
        self.more(task, span, outcome, &mut all)?;
        Ok(all)
    }

    /// The error, and what OpenTelemetry calls it and the queue.
    fn more(
        &self,
        task: &Task,
        span: &tree::Span,
        outcome: &Outcome,
        all: &mut Map<String, Value>,
    ) -> Result<()> {
        let row = &task.rows[span.row];
        if let Some(error) = row.text("error_message").filter(|_| outcome.failed) {
            all.insert(self.keys.own("error"), self.hider.text(error).into());
        }
        let class = row.text("error_class").filter(|_| outcome.failed);
        if let Some(class) = class {
            all.insert(self.keys.own("exception_class"), class.into());
        }
        if outcome.failed {
            let class = class.unwrap_or("_OTHER");
            all.insert("error.type".to_owned(), class.into());
        }
        if matches!(span.kind, Kind::Run | Kind::Queued) {
            let step = task.template.step(span.step_no)?;
            all.insert("messaging.system".to_owned(), "tasker".into());
            let queue = step.queue.as_str().into();
            all.insert("messaging.destination.name".to_owned(), queue);
            if span.kind == Kind::Run {
                all.insert("messaging.operation.type".to_owned(), "process".into());
            }
            if let Some(id) = &task.correlation_id {
                let id = id.as_str().into();
                all.insert("messaging.message.conversation_id".to_owned(), id);
            }
        }
        Ok(())
    }
}

impl Span {
    fn order(&self) -> (Timestamp, i64, String) {
        (self.ended_at, self.event_id, self.span_id.clone())
    }
}

/// The first part of the time that is looked at.
const FIRST_WIDTH: i64 = 1_000_000;

/// The keys of attributes begin with the name of the service.
struct Keys(String);

impl Keys {
    fn new(service: String) -> Self {
        Self(service + ".")
    }

    fn own(&self, key: &str) -> String {
        let mut text = String::with_capacity(self.0.len() + key.len());
        text.push_str(&self.0);
        text.push_str(key);
        text
    }
}

/// How a span ended.
struct Outcome {
    name: &'static str,
    /// The event that ends it; None: the row is a repair.
    event: Option<&'static str>,
    failed: bool,
    status: &'static str,
    message: Option<String>,
}

impl Outcome {
    fn of(kind: Kind, row: &Logged) -> Self {
        let (event, name, failed, good) = match (kind, row.rule.change) {
            (Kind::Task, Change::Task(from, to)) => (
                from.and_then(|from| from.event(to)),
                to.as_str(),
                to == TaskState::Error,
                to.is_finished_good(),
            ),
            (Kind::Run, Change::Step(from, to)) => (
                from.event(to),
                match to {
                    StepState::Pending => "released",
                    _ if row.metadata.get("expired") == Some(&Value::Bool(true)) => "expired",
                    _ => to.as_str(),
                },
                to == StepState::Error,
                to.is_finished_good(),
            ),
            _ => (Some(kind.begins()), "", false, true),
        };
        let message = || row.text("error_message").unwrap_or("failed").to_owned();
        Self {
            name,
            event,
            failed,
            status: match (failed, good) {
                (true, _) => "error",
                (_, true) => "ok",
                _ => "unset",
            },
            message: failed.then(message),
        }
    }

    /// The events of the span, and the events of the stream that decide whether they are recorded.
    fn events(&self, span: &tree::Span) -> Vec<(Option<&'static str>, &'static str, Timestamp)> {
        let end = |name| (self.event, name, span.ended_at);
        match span.kind {
            Kind::Task => vec![
                (
                    Some("task.start_requested"),
                    "task.started",
                    span.started_at,
                ),
                end(self.event.unwrap_or("event.processed")),
            ],
            Kind::Run => vec![end(self.event.unwrap_or("event.processed"))],
            Kind::Queued => vec![end("step.queued")],
            Kind::Retry => vec![end("step.retry")],
            Kind::Initialize => vec![end("task.initialize")],
        }
    }
}

fn kind_text(kind: Kind) -> &'static str {
    match kind {
        Kind::Run => "consumer",
        Kind::Initialize => "producer",
        Kind::Task | Kind::Queued | Kind::Retry => "internal",
    }
}

fn event_of(name: &str, at: Timestamp, attributes: Map<String, Value>) -> Value {
    json!({"name": name, "at": iso(at), "attributes": attributes})
}

/// What OpenTelemetry says of an exception, of a run that failed.
fn exception(row: &Logged, hider: &Hider) -> Option<Map<String, Value>> {
    let Change::Step(_, StepState::Error) = row.rule.change else {
        return None;
    };
    let mut said = Map::new();
    let mut say = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            said.insert(format!("exception.{key}"), hider.text(&value).into());
        }
    };
    say("type", row.text("error_class").map(str::to_owned));
    say("message", row.text("error_message").map(str::to_owned));
    let lines = row.metadata.get("backtrace").and_then(Value::as_array);
    say(
        "stacktrace",
        lines.map(|lines| {
            let lines: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
            lines.join("\n")
        }),
    );
    Some(said)
}

/// Hides what tasker.filter_parameters names.
struct Hider {
    mask: Mask,
    /// The same keys come again and again.
    hides: FxHashMap<String, bool>,
}

impl Hider {
    fn new() -> Self {
        Self {
            mask: logging::mask(),
            hides: FxHashMap::default(),
        }
    }

    fn hide(&mut self, attributes: &mut Map<String, Value>) {
        for (key, value) in attributes {
            let hides = match self.hides.get(key) {
                Some(hides) => *hides,
                None => {
                    let hides = self.mask.hides(key);
                    self.hides.insert(key.clone(), hides);
                    hides
                }
            };
            if hides {
                *value = self.mask.mask().into();
            }
        }
    }

    fn text(&self, text: &str) -> String {
        self.mask.text(text).into_owned()
    }
}

fn made(jsonb: Option<Jsonb<'static>>) -> Result<Jsonb<'static>> {
    jsonb.ok_or_else(|| Error::corrupt("what a span says is no jsonb"))
}
