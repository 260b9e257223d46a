//! Compiled templates by named_task_id. An id never changes its meaning, so the cache needs no invalidation.

use std::cell::OnceCell;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use pgrx::pg_sys;
use rustc_hash::FxHashMap;
use tasker_rules::engine::backoff;
use tasker_rules::engine::handler_key::handler_key;
use tasker_rules::engine::identity::Window;
use tasker_rules::template::input_schema::Schema;
use tasker_rules::template::{self, json};
use tasker_rules::{Problem, Spent};

use crate::error::{Error, Result};
use crate::pg::budget;
use crate::pg::datum::{self, Jsonb, OwnedJsonb};
use crate::pg::installation::Kept;
use crate::pg::spi::{Row, Session, Statement};
use crate::settings;

/// A version of a template as the hot path needs it.
pub struct Template {
    pub id: i32,
    pub namespace: String,
    pub name: String,
    pub version: String,
    pub input_schema: Option<StoredSchema>,
    /// How long an equal request is refused; None: the identity strategy is not hash.
    pub hashed_identity: Option<Window>,
    /// The longest time of a task from its start, in microseconds.
    pub timeout_us: Option<i64>,
    /// Why the stored template cannot be read; its steps then have their defaults. They must not run.
    pub unreadable: Option<String>,
    steps: Vec<TemplateStep>,
}

/// A stored schema, compiled when the first document comes: most readers of a template have none.
pub struct StoredSchema {
    schema: serde_json::Value,
    compiled: OnceCell<std::result::Result<Schema, String>>,
}

impl StoredSchema {
    pub fn new(schema: serde_json::Value) -> Self {
        Self {
            schema,
            compiled: OnceCell::new(),
        }
    }

    fn of(schema: Option<serde_json::Value>) -> Option<Self> {
        schema.map(Self::new)
    }

    /// One that does not compile refuses every document: a check that cannot be made must not pass.
    fn compiled(&self, root: &str) -> Result<&std::result::Result<Schema, String>> {
        if let Some(compiled) = self.compiled.get() {
            return Ok(compiled);
        }
        // As much as it had when it was registered.
        let budget = budget::with_memory(settings::max_working_memory());
        let compiled =
            Schema::compile(&self.schema, &budget).map_err(|spent| too_much(root, spent))?;
        Ok(self.compiled.get_or_init(|| compiled))
    }

    /// Every way in which a document, given as its text, breaks the schema. 54001 if the check takes too much work.
    pub fn problems(&self, root: &str, document: Jsonb) -> Result<Vec<Problem>> {
        let schema = match self.compiled(root)? {
            Ok(schema) => schema,
            Err(message) => {
                let message = format!("cannot be checked, because the stored schema {message}");
                return Ok(vec![Problem::error(root, message)]);
            }
        };
        let text = datum::jsonb_text(document);
        let most = settings::max_working_memory();
        let value = match json::read(&text, &budget::for_document(text.len(), most)) {
            Ok(value) => value,
            Err(json::Unread::Spent(spent)) => return Err(too_much(root, spent)),
            Err(json::Unread::Syntax(message)) => {
                let message = format!("cannot be checked: {message}");
                return Ok(vec![Problem::error(root, message)]);
            }
        };
        schema
            .validate(root, &value, budget::for_document(text.len(), most))
            .map_err(|spent| too_much(root, spent))
    }
}

fn too_much(root: &str, spent: Spent) -> Error {
    Error::spent(&format!("checking {root} against its schema"), spent)
        .hint("Simplify the schema: a $ref used twice at one level, or nested anyOf, doubles the work at every level of the document; a pattern with lookarounds or backreferences is for texts of at most 5,000 bytes.")
}

/// A step of a template; `parents` and `children` are step numbers, ascending.
pub struct TemplateStep {
    pub no: i16,
    pub name: String,
    pub handler: String,
    pub handler_key: i64,
    pub handler_config: OwnedJsonb,
    pub queue_id: i32,
    pub queue: String,
    pub retry_limit: i16,
    pub retryable: bool,
    /// Whether a request may bypass it.
    pub skippable: bool,
    pub priority: Option<i16>,
    pub parents: Vec<i16>,
    pub children: Vec<i16>,
    pub backoff: backoff::Policy,
    /// The longest time of a run, in microseconds.
    pub timeout_us: Option<i64>,
    pub results_schema: Option<StoredSchema>,
}

impl Template {
    pub fn steps(&self) -> &[TemplateStep] {
        &self.steps
    }

    pub fn step(&self, no: i16) -> Result<&TemplateStep> {
        usize::try_from(no - 1)
            .ok()
            .and_then(|index| self.steps.get(index))
            .ok_or_else(|| Error::corrupt(format!("{} has no step number {no}", self.full_name())))
    }

    pub fn full_name(&self) -> String {
        format!("{}.{}@{}", self.namespace, self.name, self.version)
    }

    /// All steps that need one of these, directly or not, ascending; not those that need it only through one of `cut`.
    pub fn descendants(&self, of: &[i16], cut: &BTreeSet<i16>) -> Vec<i16> {
        self.reachable(of, |step| &step.children, cut)
    }

    /// All steps that this one needs, directly or not, ascending.
    pub fn ancestors(&self, no: i16) -> Vec<i16> {
        self.reachable(&[no], |step| &step.parents, &BTreeSet::new())
    }

    fn reachable(
        &self,
        from: &[i16],
        next: impl Fn(&TemplateStep) -> &[i16],
        cut: &BTreeSet<i16>,
    ) -> Vec<i16> {
        let mut found = BTreeSet::new();
        let mut queue: VecDeque<i16> = from.iter().copied().collect();
        while let Some(no) = queue.pop_front() {
            let Some(step) = self.steps.get(no as usize - 1) else {
                continue;
            };
            for &other in next(step) {
                if !cut.contains(&other) && found.insert(other) {
                    queue.push_back(other);
                }
            }
        }
        found.into_iter().collect()
    }
}

static LOAD_TEMPLATE: Statement = Statement::new(
    "SELECT n.name, t.name, t.version, t.configuration, t.environment
     FROM tasker.named_tasks t
     JOIN tasker.task_namespaces n ON n.task_namespace_id = t.task_namespace_id
     WHERE t.named_task_id = $1",
    &[pg_sys::INT4OID],
);

static LOAD_STEPS: Statement = Statement::new(
    "SELECT s.step_no, s.name, s.handler, s.handler_config, s.queue_id, q.name,
            s.default_retry_limit, s.default_retryable, s.priority, s.parents, s.children, s.skippable
     FROM tasker.named_tasks_named_steps s
     JOIN tasker_engine.queues q ON q.queue_id = s.queue_id
     WHERE s.named_task_id = $1
     ORDER BY s.step_no",
    &[pg_sys::INT4OID],
);

/// More versions than this in one backend are forgotten together; they load again in a millisecond each.
const MOST_KEPT: usize = 512;

static KEPT: Kept<FxHashMap<i32, Rc<Template>>> = Kept::new();

/// The compiled template with this id.
pub fn get(session: &Session, id: i32) -> Result<Rc<Template>> {
    if let Some(template) = KEPT.with(|kept| kept.get(&id).cloned()) {
        return Ok(template);
    }
    let template = Rc::new(load(session, id)?);
    KEPT.with(|kept| {
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert(id, template.clone());
    });
    Ok(template)
}

/// Likewise; an error if the stored template cannot be read.
pub fn get_readable(session: &Session, id: i32) -> Result<Rc<Template>> {
    let template = get(session, id)?;
    match &template.unreadable {
        Some(why) => Err(Error::corrupt(why.clone())),
        None => Ok(template),
    }
}

fn load(session: &Session, id: i32) -> Result<Template> {
    let rows = session.run(&LOAD_TEMPLATE, &[datum::int4(id)])?;
    let row = rows
        .first()
        .ok_or_else(|| Error::corrupt(format!("no template has the id {id}")))?;
    let (mut rules, unreadable) = match compile(&row) {
        Ok(rules) => (Some(rules), None),
        Err(error) => (None, Some(error.described())),
    };

    let mut steps = Vec::new();
    for step in session.run(&LOAD_STEPS, &[datum::int4(id)])?.iter() {
        budget::check_for_cancel();
        let no: i16 = step.get(1)?;
        let mut rule = rules
            .as_mut()
            .and_then(|rules| rules.steps.get_mut(no as usize - 1));
        let results_schema = rule.as_mut().and_then(|rule| rule.results_schema.take());
        steps.push(TemplateStep {
            no,
            name: step.get(2)?,
            handler_key: handler_key(&step.get::<String>(3)?),
            handler: step.get(3)?,
            handler_config: OwnedJsonb::copy(step.jsonb(4)?),
            queue_id: step.get(5)?,
            queue: step.get(6)?,
            retry_limit: step.get(7)?,
            retryable: step.get(8)?,
            skippable: step.get(12)?,
            priority: step.opt(9),
            parents: step.get(10)?,
            children: step.get(11)?,
            backoff: rule
                .as_ref()
                .map_or_else(backoff::Policy::default, |rule| rule.backoff),
            timeout_us: microseconds(rule.and_then(|rule| rule.timeout_seconds)),
            results_schema: StoredSchema::of(results_schema),
        });
    }
    let unreadable = unreadable.or_else(|| {
        let configured = rules.as_ref().map_or(0, |rules| rules.steps.len());
        (configured != steps.len()).then(|| {
            format!(
                "it has {configured} steps, of which {} are stored",
                steps.len()
            )
        })
    });
    let rules = rules.as_ref();
    Ok(Template {
        id,
        namespace: row.get(1)?,
        name: row.get(2)?,
        version: row.get(3)?,
        input_schema: StoredSchema::of(rules.and_then(|rules| rules.input_schema.clone())),
        hashed_identity: rules
            .filter(|rules| rules.identity_strategy == template::IdentityStrategy::Hash)
            .map(|rules| rules.identity_window),
        timeout_us: microseconds(rules.and_then(|rules| rules.timeout_seconds)),
        unreadable,
        steps,
    })
}

fn microseconds(seconds: Option<i32>) -> Option<i64> {
    seconds.map(|seconds| i64::from(seconds) * 1_000_000)
}

/// The template as it was registered, with the parts that the compiled one lacks.
pub fn definition(session: &Session, id: i32) -> Result<template::Template> {
    let rows = session.run(&LOAD_TEMPLATE, &[datum::int4(id)])?;
    compile(
        &rows
            .first()
            .ok_or_else(|| Error::corrupt(format!("no template has the id {id}")))?,
    )
}

fn compile(row: &Row) -> Result<template::Template> {
    let configuration = datum::jsonb_text(row.jsonb(4)?);
    let environment: String = row.get(5)?;
    // It was small enough once, whatever the settings say now.
    let budget = budget::unlimited();
    let too_much = |spent| Error::spent("reading a stored template", spent);
    let value = json::read(&configuration, &budget).map_err(|unread| match unread {
        json::Unread::Spent(spent) => too_much(spent),
        json::Unread::Syntax(message) => {
            Error::corrupt(format!("a stored template cannot be read: {message}"))
        }
    })?;
    let environment = Some(environment.as_str()).filter(|name| !name.is_empty());
    let read = template::read_stored(&value, environment, &budget).map_err(too_much)?;
    read.map_err(|problems| {
        let first = problems
            .first()
            .map(|problem| format!("{}: {}", problem.path, problem.message));
        Error::corrupt("a stored template is no longer valid").detail(first.unwrap_or_default())
    })
}
