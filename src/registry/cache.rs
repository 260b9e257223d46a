//! Compiled templates by named_task_id. An id never changes its meaning, so the cache needs no invalidation.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::rc::Rc;

use pgrx::pg_sys;
use tasker_rules::engine::backoff;
use tasker_rules::template::input_schema::Schema;

use crate::error::{Error, Result};
use crate::pg::datum::{self, OwnedJsonb};
use crate::pg::installation::Kept;
use crate::pg::spi::{Row, Session, Statement};

/// A version of a template as the hot path needs it.
pub struct Template {
    pub id: i32,
    pub namespace: String,
    pub name: String,
    pub version: String,
    pub input_schema: Option<Schema>,
    pub hashed_identity: bool,
    /// The longest time of a task from its start, in microseconds.
    pub timeout_us: Option<i64>,
    steps: Vec<TemplateStep>,
}

/// A step of a template; `parents` and `children` are step numbers, ascending.
pub struct TemplateStep {
    pub no: i16,
    pub name: String,
    pub handler: String,
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
    pub results_schema: Option<Schema>,
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

static KEPT: Kept<HashMap<i32, Rc<Template>>> = Kept::new();

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

fn load(session: &Session, id: i32) -> Result<Template> {
    let rows = session.run(&LOAD_TEMPLATE, &[datum::int4(id)])?;
    let row = rows
        .first()
        .ok_or_else(|| Error::corrupt(format!("no template has the id {id}")))?;
    let rules = compile(&row)?;

    let mut steps = Vec::new();
    for step in session.run(&LOAD_STEPS, &[datum::int4(id)])?.iter() {
        let no: i16 = step.get(1)?;
        let rule = rules.steps.get(no as usize - 1).ok_or_else(|| {
            Error::corrupt(format!("template {id} lacks a configuration of step {no}"))
        })?;
        steps.push(TemplateStep {
            no,
            name: step.get(2)?,
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
            backoff: rule.backoff,
            timeout_us: microseconds(rule.timeout_seconds),
            results_schema: rule
                .results_schema
                .as_ref()
                .and_then(|schema| Schema::compile(schema).ok()),
        });
    }
    Ok(Template {
        id,
        namespace: row.get(1)?,
        name: row.get(2)?,
        version: row.get(3)?,
        input_schema: rules
            .input_schema
            .as_ref()
            .and_then(|schema| Schema::compile(schema).ok()),
        hashed_identity: rules.identity_strategy == tasker_rules::template::IdentityStrategy::Hash,
        timeout_us: microseconds(rules.timeout_seconds),
        steps,
    })
}

fn microseconds(seconds: Option<i32>) -> Option<i64> {
    seconds.map(|seconds| i64::from(seconds) * 1_000_000)
}

/// The template as it was registered, with the parts that the compiled one lacks.
pub fn definition(session: &Session, id: i32) -> Result<tasker_rules::template::Template> {
    let rows = session.run(&LOAD_TEMPLATE, &[datum::int4(id)])?;
    compile(
        &rows
            .first()
            .ok_or_else(|| Error::corrupt(format!("no template has the id {id}")))?,
    )
}

fn compile(row: &Row) -> Result<tasker_rules::template::Template> {
    let configuration = datum::jsonb_text(row.jsonb(4)?);
    let environment: String = row.get(5)?;
    let value = tasker_rules::template::parse(&configuration).map_err(|error| {
        Error::corrupt(format!(
            "a stored template cannot be read: {}",
            error.message
        ))
    })?;
    let (template, problems) = tasker_rules::template::read(
        &value,
        Some(environment.as_str()).filter(|name| !name.is_empty()),
    );
    template.ok_or_else(|| {
        let first = problems
            .first()
            .map(|problem| format!("{}: {}", problem.path, problem.message));
        Error::corrupt("a stored template is no longer valid").detail(first.unwrap_or_default())
    })
}
