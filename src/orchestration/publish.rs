//! Events that applications publish: rows beside the log, with ids of the same sequence.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::rc::Rc;

use pgrx::pg_sys;
use rustc_hash::FxHashMap;
use serde_json::Value;
use tasker_rules::events::catalog;
use tasker_rules::events::rows::PLACES;
use tasker_rules::events::time::iso;
use tasker_rules::events::topics::Topics;
use tasker_rules::events::trace::ids::Trace;
use tasker_rules::template::input_schema::Schema;
use tasker_rules::template::json;

use super::audit::Ids;
use super::{StepKey, describe, format_uuid};
use crate::error::{Error, Result};
use crate::pg::append::append;
use crate::pg::datum::{self, Jsonb, Timestamp, Uuid};
use crate::pg::installation::Kept;
use crate::pg::scan::Walk;
use crate::pg::spi::{Session, Statement};
use crate::pg::xact;
use crate::pg::{budget, call, changes};
use crate::registry::{self, StoredSchema, Tracing};
use crate::subscribers::depth;
use crate::{processes, settings, storage};

/// What an event is about.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// A step, or with number 0 the task itself.
    pub step: Option<StepKey>,
    pub namespace: Option<String>,
    /// Which one of what the first segment of a fact's name says.
    pub which: Option<String>,
    pub correlation_id: Option<String>,
    pub traceparent: Option<String>,
}

impl About {
    /// What a router of outboxes keeps in order: a type, and which one.
    fn aggregate(&self, name: &str) -> (String, String) {
        let first = || name.split('.').next().unwrap_or(name).to_owned();
        match (&self.step, &self.which, &self.namespace) {
            (Some(step), ..) if step.no > 0 => ("step".to_owned(), describe(step)),
            (Some(step), ..) => ("task".to_owned(), format_uuid(&step.task)),
            (None, Some(which), _) => (first(), which.clone()),
            (None, None, Some(namespace)) => ("namespace".to_owned(), namespace.clone()),
            (None, None, None) => (first(), name.to_owned()),
        }
    }
}

struct New<'e> {
    name: Cow<'e, str>,
    payload: Jsonb<'e>,
    about: About,
}

/// The events of one call, in their order.
#[derive(Default)]
pub struct Events<'e>(Vec<New<'e>>);

impl<'e> Events<'e> {
    pub fn push(&mut self, name: impl Into<Cow<'e, str>>, payload: Jsonb<'e>, about: About) {
        self.0.push(New {
            name: name.into(),
            payload,
            about,
        });
    }

    /// A fact of the catalogue that happens now. The payload has what its schema says, without the time.
    pub fn fact(
        &mut self,
        now: Timestamp,
        name: &'static str,
        which: &str,
        namespace: Option<&str>,
        mut payload: Value,
    ) -> Result<()> {
        payload["timestamp"] = iso(now).into();
        let payload = datum::jsonb_from_text(&payload.to_string())
            .ok_or_else(|| Error::corrupt("the payload of a fact is JSON"))?;
        let about = About {
            namespace: namespace.map(str::to_owned),
            which: Some(which.to_owned()),
            ..About::default()
        };
        self.push(name, payload, about);
        Ok(())
    }

    /// Appends the rows and returns their event ids.
    pub fn flush(&mut self, now: Timestamp) -> Result<Vec<i64>> {
        let new = std::mem::take(&mut self.0);
        if new.is_empty() {
            return Ok(vec![]);
        }
        let ids = Ids::open()?;
        let xid = datum::xid8(xact::id());
        let slot = current_slot()?;
        let depth = depth::current();
        let mut event_ids = Vec::with_capacity(new.len());
        let mut rows = Vec::with_capacity(new.len());
        let mut topics = Topics::NONE;
        for event in &new {
            budget::check_for_cancel();
            let id = ids.next()?;
            event_ids.push(id * i64::from(PLACES));
            topics = topics.with(Topics::of_name(&event.name));
            let about = &event.about;
            let (aggregate_type, aggregate_id) = about.aggregate(&event.name);
            rows.push([
                datum::int8(id),
                xid,
                datum::timestamp(now),
                datum::opt(about.step.as_ref(), |step| datum::uuid(&step.task)),
                datum::int2(slot),
                datum::int2(about.step.map_or(0, |step| step.no)),
                datum::int2(depth),
                datum::text(&event.name),
                datum::opt_text(about.namespace.as_deref()),
                datum::text(&aggregate_type),
                datum::text(&aggregate_id),
                datum::opt_text(about.correlation_id.as_deref()),
                datum::opt_text(about.traceparent.as_deref()),
                event.payload.arg(),
            ]);
        }
        append(&storage::EVENTS[slot as usize], &rows)?;
        processes::note_events(|| topics);
        Ok(event_ids)
    }
}

static TURN: Statement = Statement::new(
    "SELECT r.turn_no FROM tasker_engine.event_turns r ORDER BY r.turn_no DESC LIMIT 1",
    &[],
);

/// The slot that takes new rows.
pub fn current_slot() -> Result<i16> {
    let mut turn: i64 = 0;
    if let Some(walk) = Walk::to_read(&storage::EVENT_TURNS)? {
        walk.each_from_end(|row| {
            turn = row.get(storage::event_turns::TURN_NO)?;
            Ok(false)
        })?;
    } else {
        let session = Session::open()?;
        let rows = session.run(&TURN, &[])?;
        turn = rows.first().and_then(|row| row.opt(1)).unwrap_or_default();
    }
    Ok(turn.rem_euclid(storage::EVENTS.len() as i64) as i16)
}

static SCHEMAS: Statement = Statement::new(
    "SELECT r.name, r.payload_schema::text FROM tasker_engine.registered_events r
     WHERE r.name = ANY ($1) AND r.payload_schema IS NOT NULL",
    &[pg_sys::TEXTARRAYOID],
);

/// The schemas that this backend has looked up, and the number of changes when it did; None: the event has none.
type Known = (u64, FxHashMap<String, Option<Rc<StoredSchema>>>);

static KNOWN: Kept<Known> = Kept::new();

/// More names than this are forgotten together.
const MOST_KNOWN: usize = 1000;

/// What events must be like.
pub struct Rules(FxHashMap<String, Rc<StoredSchema>>);

impl Rules {
    /// Those of these names. Kept until one is registered.
    pub fn of<'n>(session: &Session, names: impl Iterator<Item = &'n str>) -> Result<Self> {
        let changes = changes::of(&changes::EVENTS);
        let names: BTreeSet<&str> = names.collect();
        let mut found = FxHashMap::default();
        let mut unknown = vec![];
        KNOWN.with(|(since, known)| {
            if *since != changes || known.len() > MOST_KNOWN {
                (*since, *known) = (changes, FxHashMap::default());
            }
            for name in names {
                match known.get(name) {
                    Some(Some(schema)) => {
                        found.insert(name.to_owned(), Rc::clone(schema));
                    }
                    Some(None) => {}
                    None => unknown.push(name),
                }
            }
        });
        if !unknown.is_empty() {
            let read = Self::read(session, &unknown)?;
            // A snapshot of REPEATABLE READ is older than what was told.
            if call::statements_see_commits() {
                KNOWN.with(|(_, known)| {
                    let entry = |name: &&str| ((*name).to_owned(), read.get(*name).cloned());
                    known.extend(unknown.iter().map(entry));
                });
            }
            found.extend(read);
        }
        Ok(Self(found))
    }

    fn read(session: &Session, names: &[&str]) -> Result<FxHashMap<String, Rc<StoredSchema>>> {
        changes::watch(&changes::EVENTS)?;
        let names = datum::texts(names.iter().map(|name| Some(*name)));
        let mut schemas = FxHashMap::default();
        for row in session.run(&SCHEMAS, &[names])?.iter() {
            let text: String = row.get(2)?;
            let schema = serde_json::from_str(&text)
                .map_err(|_| Error::corrupt("a stored schema of payloads cannot be read"))?;
            schemas.insert(row.get(1)?, Rc::new(StoredSchema::new(schema)));
        }
        Ok(schemas)
    }

    /// Refuses an event that is not as it must be.
    pub fn check(&self, name: &str, payload: Jsonb) -> Result<()> {
        check_name(name)?;
        if !datum::is_object(payload) {
            return Err(Error::parameter("payload must be a JSON object")
                .detail("The document given is an array or a single value.")
                .hint("Wrap another value as {\"value\": ...}; '{}' is an object."));
        }
        let (size, most) = (datum::size(payload), settings::max_event_bytes());
        if size > most {
            return Err(Error::parameter("payload is too large")
                .detail(format!("It has {size} bytes; at most {most} are allowed."))
                .hint("Keep the document elsewhere and publish its address, or raise tasker.max_event_bytes."));
        }
        if datum::texts_are_too_long(&[payload]) {
            return Err(Error::parameter("payload is too long as a text")
                .detail("No reader could get it: a text has at most 1 GB, and a number such as 1e131071 is printed with all its digits.")
                .hint("Give long numbers as texts."));
        }
        datum::require_shallow(payload, "payload")?;
        let Some(schema) = self.0.get(name) else {
            return Ok(());
        };
        let problems = schema.problems("payload", payload)?;
        if problems.is_empty() {
            return Ok(());
        }
        let all: Vec<String> = problems
            .iter()
            .map(|problem| format!("{}: {}", problem.path, problem.message))
            .collect();
        Err(Error::check(format!("payload of event {name} breaks its schema"))
            .detail(all.join("\n"))
            .hint("The payload_schema in tasker.event_catalog describes it; tasker.register_event replaces it."))
    }
}

fn check_name(name: &str) -> Result<()> {
    catalog::check_custom(name).map_err(|problem| {
        Error::parameter(problem)
            .detail("Segments are joined by dots, and the first one is not the engine's.")
            .hint("For example orders.shipped; tasker.event_catalog lists the names of the engine.")
    })
}

static TASKS: Statement = Statement::new(
    "SELECT u.task_uuid, u.step_no, t.named_task_id, t.correlation_id, t.traceparent, u.step_no = 0 OR s.step_no IS NOT NULL,
            nullif(s.claim_number, 0)
     FROM unnest($1, $2) AS u (task_uuid, step_no)
     JOIN tasker_engine.tasks t ON t.task_uuid = ANY (ARRAY[u.task_uuid])
     LEFT JOIN tasker_engine.steps s ON s.task_uuid = u.task_uuid AND s.step_no = u.step_no",
    &[pg_sys::UUIDARRAYOID, pg_sys::INT2ARRAYOID],
);

/// What is known of these steps, or with number 0 tasks; those that do not exist are missing.
pub fn about(session: &Session, keys: &BTreeSet<StepKey>) -> Result<FxHashMap<StepKey, About>> {
    let mut found = FxHashMap::default();
    if keys.is_empty() {
        return Ok(found);
    }
    let args = [
        datum::uuids(keys.iter().map(|key| &key.task)),
        datum::int2s(keys.iter().map(|key| key.no)),
    ];
    let tracing = Tracing::current()?;
    for row in session.run(&TASKS, &args)?.iter() {
        let key = StepKey {
            task: row.get(1)?,
            no: row.get(2)?,
        };
        if !row.get::<bool>(6)? {
            continue;
        }
        let trace = Trace::of(&key.task, row.opt::<String>(5).as_deref());
        let about = About {
            step: Some(key),
            namespace: Some(registry::get(session, row.get(3)?)?.namespace.clone()),
            correlation_id: row.opt(4),
            traceparent: Some(tracing.of_event(&trace, &key.task, key.no, row.opt(7))),
            which: None,
        };
        found.insert(key, about);
    }
    Ok(found)
}

/// The step or task that a caller names; None: neither.
pub fn named(task: Option<Uuid>, step: Option<Uuid>) -> Result<Option<StepKey>> {
    let Some(step) = step else {
        return Ok(task.map(|task| StepKey { task, no: 0 }));
    };
    let key = StepKey::from_uuid(&step);
    match task {
        Some(task) if task != key.task => Err(Error::parameter(format!(
            "step {} is not a step of task {}",
            format_uuid(&step),
            format_uuid(&task)
        ))
        .detail(format!("It is a step of task {}.", format_uuid(&key.task)))
        .hint("Give step_uuid alone: the step names its task.")),
        _ => Ok(Some(key)),
    }
}

/// No task or step is there.
pub fn unknown(key: &StepKey) -> Error {
    let (what, uuid) = if key.no > 0 {
        ("step", describe(key))
    } else {
        ("task", format_uuid(&key.task))
    };
    Error::not_found(format!("no {what} has the uuid {uuid}"))
        .detail("It was never created, or it was purged.")
        .hint("SELECT * FROM tasker.list_tasks() lists tasks.")
}

static NAMESPACE: Statement = Statement::new(
    "SELECT FROM tasker.task_namespaces n WHERE n.name = $1",
    &[pg_sys::TEXTOID],
);

/// Refuses (P0002) the name of a namespace that does not exist.
pub fn require_namespace(session: &Session, name: &str) -> Result<()> {
    if session.run(&NAMESPACE, &[datum::text(name)])?.is_empty() {
        let shown = crate::pg::call::shortened(name);
        return Err(
            Error::not_found(format!("no namespace has the name \"{shown}\""))
                .detail("A namespace exists once a template is registered in it.")
                .hint("SELECT name FROM tasker.task_namespaces lists them."),
        );
    }
    Ok(())
}

static REGISTER: Statement = Statement::new(
    "INSERT INTO tasker_engine.registered_events AS r (name, description, payload_schema)
     VALUES ($1, $2, $3)
     ON CONFLICT (name) DO UPDATE SET description = excluded.description, payload_schema = excluded.payload_schema",
    &[pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::JSONBOID],
);

/// Registers an event, or replaces its description and schema.
pub fn register(
    session: &Session,
    name: &str,
    description: Option<&str>,
    schema: Option<Jsonb>,
) -> Result<()> {
    check_name(name)?;
    if let Some(schema) = schema {
        check_schema(schema)?;
    }
    let args = [
        datum::text(name),
        datum::opt_text(description),
        datum::opt_jsonb(schema),
    ];
    session.run(&REGISTER, &args)?;
    changes::tell(&changes::EVENTS)
}

fn check_schema(schema: Jsonb) -> Result<()> {
    let text = datum::jsonb_text(schema);
    let most = settings::max_working_memory();
    let spent = |spent| {
        Error::spent("checking payload_schema", spent)
            .hint("Use a simpler schema, or raise tasker.max_working_memory_mb.")
    };
    let value = match json::read(&text, &budget::for_document(text.len(), most)) {
        Ok(value) => value,
        Err(json::Unread::Spent(used)) => return Err(spent(used)),
        Err(json::Unread::Syntax(message)) => {
            return Err(Error::parameter(format!(
                "payload_schema cannot be read: {message}"
            )));
        }
    };
    Schema::check(&value, &budget::with_memory(most))
        .map_err(spent)?
        .map_err(|problem| {
            Error::parameter(format!("payload_schema {problem}"))
                .detail("A payload could not be checked against it.")
                .hint("It is a JSON Schema: an object such as {\"type\": \"object\"}, or true or false.")
        })
}
