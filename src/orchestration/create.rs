//! Creation of tasks: one set-based statement per table, however many there are; all or nothing.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use pgrx::pg_sys;
use tasker_rules::engine::identity;
use tasker_rules::engine::state::StepState;

use super::audit::{self, NO_WORKER};
use super::bypass::Bypass;
use super::{Engine, StepKey, finalize, format_uuid};
use crate::error::{Error, Result};
use crate::metrics::{self, Metric};
use crate::pg::datum::{self, Arg, Jsonb, Timestamp, Uuid};
use crate::pg::spi::Statement;
use crate::registry::{self, Template};

/// What is asked for; one task per context.
pub struct TaskRequest<'a> {
    pub name: String,
    pub namespace: String,
    pub version: Option<String>,
    pub contexts: Vec<Jsonb<'a>>,
    pub initiator: String,
    pub source_system: String,
    pub reason: String,
    pub tags: Jsonb<'a>,
    pub bypass_steps: Jsonb<'a>,
    pub priority: i32,
    pub run_at: Option<Timestamp>,
    /// One per context, or none at all.
    pub idempotency_keys: Vec<Option<String>>,
    pub correlation_id: Option<String>,
    pub traceparent: Option<String>,
}

static FIND_TEMPLATE: Statement = Statement::new(
    "SELECT t.named_task_id
     FROM tasker.task_namespaces n
     JOIN tasker.named_tasks t ON t.task_namespace_id = n.task_namespace_id
     WHERE n.name = $1 AND t.name = $2 AND ($3 IS NULL OR t.version = $3)
     ORDER BY t.version_order DESC
     LIMIT 1",
    &[pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID],
);

// The foreign key takes the same lock. Taken here, it waits for a version that is being replaced, which is then looked up again.
static KEEP_TEMPLATE: Statement = Statement::new(
    "SELECT FROM tasker.named_tasks t WHERE t.named_task_id = $1 FOR KEY SHARE",
    &[pg_sys::INT4OID],
);

static KNOWN_VERSIONS: Statement = Statement::new(
    "SELECT pg_catalog.string_agg(t.version, ', ' ORDER BY t.version_order)
     FROM tasker.task_namespaces n
     JOIN tasker.named_tasks t ON t.task_namespace_id = n.task_namespace_id
     WHERE n.name = $1 AND t.name = $2",
    &[pg_sys::TEXTOID, pg_sys::TEXTOID],
);

static INSERT_TASKS: Statement = Statement::new(
    "INSERT INTO tasker_engine.tasks
         (task_uuid, requested_at, named_task_id, open_leaves, priority, initiator, source_system, reason,
          run_at, correlation_id, traceparent, tags, bypass_steps, watched, context)
     SELECT u.task_uuid, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, u.context
     FROM unnest($1, $2) AS u (task_uuid, context)",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::JSONBARRAYOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::INT4OID,
        pg_sys::INT2OID,
        pg_sys::INT2OID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::JSONBOID,
        pg_sys::JSONBOID,
        pg_sys::BOOLOID,
    ],
);

static INSERT_STEPS: Statement = Statement::new(
    "INSERT INTO tasker_engine.steps
         (task_uuid, step_no, named_task_id, open_parents, retry_limit, retryable, priority, checked, state,
          available_at, watched)
     SELECT t.task_uuid, s.step_no, $2, s.open_parents, s.retry_limit, s.retryable, s.priority, s.checked, s.state,
            CASE WHEN s.open_parents = 0 AND s.state = 'p' THEN $10 END, $11
     FROM unnest($1) AS t (task_uuid),
          unnest($3, $4, $5, $6, $7, $8, $9)
              AS s (step_no, open_parents, retry_limit, retryable, priority, checked, state)",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::INT4OID,
        pg_sys::INT2ARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::BOOLARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::BOOLARRAYOID,
        pg_sys::CHARARRAYOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::BOOLOID,
    ],
);

static INSERT_QUEUE_ENTRIES: Statement = Statement::new(
    "INSERT INTO tasker_engine.queue_entries (available_at, task_uuid, queue_id, priority, step_no)
     SELECT $5, t.task_uuid, s.queue_id, s.priority, s.step_no
     FROM unnest($1) AS t (task_uuid),
          unnest($2, $3, $4) AS s (queue_id, priority, step_no)",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::INT4ARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::TIMESTAMPTZOID,
    ],
);

static INSERT_LOG: Statement = Statement::new(
    "INSERT INTO tasker_engine.transitions (task_uuid, created_at, worker_no, step_no, attempt, to_state)
     SELECT t.task_uuid, $2, $3, 0, 0, 'p' FROM unnest($1) AS t (task_uuid)",
    &[pg_sys::UUIDARRAYOID, pg_sys::TIMESTAMPTZOID, pg_sys::INT4OID],
);

static CLAIM_IDENTITIES: Statement = Statement::new(
    "INSERT INTO tasker_engine.task_identities (identity_hash, task_uuid)
     SELECT u.identity_hash, u.task_uuid
     FROM unnest($1, $2) AS u (identity_hash, task_uuid)
     ON CONFLICT (identity_hash) DO NOTHING
     RETURNING identity_hash",
    &[pg_sys::TEXTARRAYOID, pg_sys::UUIDARRAYOID],
);

static FIND_IDENTITIES: Statement = Statement::new(
    "SELECT i.identity_hash, i.task_uuid
     FROM tasker_engine.task_identities i
     WHERE i.identity_hash = ANY ($1)",
    &[pg_sys::TEXTARRAYOID],
);

/// The id of the template that a name stands for; without a version the highest. Nothing keeps it from being
/// replaced until it is used or locked.
pub fn find_template(
    engine: &Engine,
    namespace: &str,
    name: &str,
    version: Option<&str>,
) -> Result<i32> {
    let rows = engine.session.run(
        &FIND_TEMPLATE,
        &[
            datum::text(namespace),
            datum::text(name),
            datum::opt_text(version),
        ],
    )?;
    match rows.first() {
        Some(row) => row.get(1),
        None => {
            let known = engine.session.run(
                &KNOWN_VERSIONS,
                &[datum::text(namespace), datum::text(name)],
            )?;
            let known: Option<String> = known.first().and_then(|row| row.opt(1));
            let wanted = version
                .map(|version| format!(" version {version}"))
                .unwrap_or_default();
            let error = Error::not_found(format!(
                "no template {}{wanted} in namespace {}",
                tasker_rules::names::shown(name),
                tasker_rules::names::shown(namespace)
            ))
            .detail("No version of it is registered in this namespace.")
            .hint("Register it with tasker.register_template, or look into tasker.named_tasks.");
            Err(match known {
                Some(versions) => error.detail(format!("Registered versions: {versions}.")),
                None => error,
            })
        }
    }
}

/// Creates the tasks and returns their uuids in the order given. A context whose key or hash is known already
/// gives no new task: its uuid is the known one, and `existing` says so.
pub fn create(engine: &mut Engine, request: &TaskRequest) -> Result<Vec<Created>> {
    check(request)?;
    let template = keep_template(engine, request)?;
    check_contexts(&template, &request.contexts)?;
    let bypass = Bypass::read(&template, request.bypass_steps)?;
    let mut created: Vec<Created> =
        tasker_rules::engine::ids::new_task_uuids(request.contexts.len())
            .into_iter()
            .map(|task_uuid| Created {
                task_uuid,
                existing: false,
            })
            .collect();
    if template.hashed_identity || request.idempotency_keys.iter().any(Option::is_some) {
        settle_identities(engine, request, &template, &bypass, &mut created)?;
    }
    insert(engine, request, &template, &bypass, &created)?;
    Ok(created)
}

/// The template to create from, locked against replacement.
fn keep_template(engine: &Engine, request: &TaskRequest) -> Result<Rc<Template>> {
    loop {
        let id = find_template(
            engine,
            &request.namespace,
            &request.name,
            request.version.as_deref(),
        )?;
        let kept = engine.session.run(&KEEP_TEMPLATE, &[datum::int4(id)])?;
        if !kept.is_empty() {
            return registry::get(engine.session, id);
        }
    }
}

/// One created task, or the one that was there before.
pub struct Created {
    pub task_uuid: Uuid,
    pub existing: bool,
}

fn check(request: &TaskRequest) -> Result<()> {
    if !(1..=4).contains(&request.priority) {
        return Err(
            Error::parameter(format!("priority {} is out of range", request.priority))
                .detail("Priorities are 1, 2, 3 and 4.")
                .hint("1 low, 2 normal, 3 high, 4 urgent."),
        );
    }
    if !datum::is_array(request.tags) {
        return Err(Error::parameter("tags must be a JSON array")
            .detail("The document given is not an array.")
            .hint("For example '[\"nightly\"]'."));
    }
    if !request.idempotency_keys.is_empty()
        && request.idempotency_keys.len() != request.contexts.len()
    {
        return Err(
            Error::parameter("idempotency_keys must have one entry per context")
                .detail(format!(
                    "{} contexts, {} keys.",
                    request.contexts.len(),
                    request.idempotency_keys.len()
                ))
                .hint("Give NULL for a context without a key, or no idempotency_keys at all."),
        );
    }
    for (name, value) in [
        ("initiator", &request.initiator),
        ("source_system", &request.source_system),
        ("reason", &request.reason),
    ] {
        if value.chars().count() > 128 {
            return Err(
                Error::parameter(format!("{name} must have at most 128 characters"))
                    .detail(format!("It has {}.", value.chars().count()))
                    .hint("Longer notes belong into the context or the tags."),
            );
        }
    }
    Ok(())
}

fn check_contexts(template: &Template, contexts: &[Jsonb]) -> Result<()> {
    for (index, context) in contexts.iter().enumerate() {
        let place = if contexts.len() > 1 {
            format!("contexts[{}]", index + 1)
        } else {
            "context".to_owned()
        };
        if !datum::is_object(*context) {
            return Err(Error::check(format!("{place} must be a JSON object"))
                .detail("The document given is an array or a single value.")
                .hint("'{}' is an object."));
        }
        if let Some(schema) = &template.input_schema {
            let problems = schema.validate(&place, &read_json(*context, &place)?);
            if let Some(first) = problems.first() {
                let all: Vec<String> = problems
                    .iter()
                    .map(|problem| format!("{}: {}", problem.path, problem.message))
                    .collect();
                return Err(Error::check(format!("{}: {}", first.path, first.message))
                    .detail(all.join("\n"))
                    .hint(format!(
                        "The input_schema of {} describes the context.",
                        template.full_name()
                    )));
            }
        }
    }
    Ok(())
}

/// A unique index decides which request was first, not a look-up before.
fn settle_identities(
    engine: &Engine,
    request: &TaskRequest,
    template: &Template,
    bypass: &Bypass,
    created: &mut [Created],
) -> Result<()> {
    let keyed = |index: usize| {
        request
            .idempotency_keys
            .get(index)
            .and_then(Option::as_deref)
    };
    let mut first_of: HashMap<String, usize> = HashMap::new();
    let mut identities: Vec<Option<String>> = Vec::with_capacity(created.len());
    for index in 0..created.len() {
        let identity = match keyed(index) {
            Some(key) => Some(identity::hash_of_key(
                &template.namespace,
                &template.name,
                key,
            )),
            None if template.hashed_identity => {
                Some(hash_of_request(request, template, bypass, index)?)
            }
            None => None,
        };
        if let Some(identity) = &identity {
            first_of.entry(identity.clone()).or_insert(index);
        }
        identities.push(identity);
    }
    // Ascending, so that two callers with the same keys cannot wait for each other in a circle.
    let mut firsts: Vec<(&String, usize)> = first_of
        .iter()
        .map(|(identity, index)| (identity, *index))
        .collect();
    firsts.sort();
    let mut known: HashMap<String, Uuid> = HashMap::new();
    // More than one turn only if the task that stood in the way was purged between the two statements.
    while !firsts.is_empty() {
        let keys = |firsts: &[(&String, usize)]| {
            datum::texts(firsts.iter().map(|(identity, _)| Some(identity.as_str())))
        };
        let won = engine.session.run(
            &CLAIM_IDENTITIES,
            &[
                keys(&firsts),
                datum::uuids(firsts.iter().map(|(_, index)| &created[*index].task_uuid)),
            ],
        )?;
        if won.len() == firsts.len() {
            break;
        }
        let won: HashSet<String> = won.iter().map(|row| row.get(1)).collect::<Result<_>>()?;
        firsts.retain(|(identity, _)| !won.contains(*identity));
        for row in engine
            .session
            .run(&FIND_IDENTITIES, &[keys(&firsts)])?
            .iter()
        {
            known.insert(row.get(1)?, row.get(2)?);
        }
        firsts.retain(|(identity, _)| !known.contains_key(*identity));
    }
    for index in 0..created.len() {
        let Some(identity) = &identities[index] else {
            continue;
        };
        let owner = known
            .get(identity)
            .copied()
            .unwrap_or(created[first_of[identity]].task_uuid);
        if owner == created[index].task_uuid {
            continue;
        }
        if keyed(index).is_none() {
            return Err(Error::new(
                pgrx::PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION,
                format!("an identical request of {} exists already", template.full_name()),
            )
            .detail(format!("Existing task: {}.", format_uuid(&owner)))
            .hint("Identity strategy hash refuses equal requests; change the context, reason or initiator, or use the existing task."));
        }
        created[index] = Created {
            task_uuid: owner,
            existing: true,
        };
    }
    Ok(())
}

fn hash_of_request(
    request: &TaskRequest,
    template: &Template,
    bypass: &Bypass,
    index: usize,
) -> Result<String> {
    Ok(identity::hash(&identity::IdentityOptions {
        namespace: &template.namespace,
        name: &template.name,
        version: &template.version,
        initiator: &request.initiator,
        source_system: &request.source_system,
        context: &read_json(request.contexts[index], "context")?,
        reason: &request.reason,
        bypass_steps: &bypass.names,
    }))
}

/// A document as a value, for the few checks that must look inside; numbers stay exact.
fn read_json(jsonb: Jsonb, place: &str) -> Result<serde_json::Value> {
    serde_json::from_str(&datum::jsonb_text(jsonb))
        .map_err(|error| Error::check(format!("{place} cannot be read: {error}")))
}

/// What the rows of a call have in common; each of `tasks` is a new one.
struct Rows<'r, 'a> {
    request: &'r TaskRequest<'a>,
    template: &'r Template,
    bypass: &'r Bypass,
    /// The places of the tasks in the request, with their uuids.
    tasks: Vec<(usize, Uuid)>,
    available_at: Timestamp,
}

fn insert(
    engine: &mut Engine,
    request: &TaskRequest,
    template: &Template,
    bypass: &Bypass,
    created: &[Created],
) -> Result<()> {
    let new = created
        .iter()
        .enumerate()
        .filter(|(_, task)| !task.existing);
    let rows = Rows {
        request,
        template,
        bypass,
        tasks: new.map(|(index, task)| (index, task.task_uuid)).collect(),
        // A time in the past is now: the queue is kept in the order of arrival.
        available_at: request
            .run_at
            .map_or(engine.now, |run_at| run_at.max(engine.now)),
    };
    if rows.tasks.is_empty() {
        return Ok(());
    }
    rows.insert_tasks(engine)?;
    rows.insert_steps(engine)?;
    rows.insert_queue_entries(engine)?;
    let log = [
        rows.uuids(),
        datum::timestamp(engine.now),
        datum::int4(NO_WORKER),
    ];
    engine.session.run(&INSERT_LOG, &log)?;
    metrics::record(|recorder| {
        recorder.count(Metric::TasksCreated, rows.tasks.len());
        recorder.count(
            Metric::StepsCreated,
            rows.tasks.len() * template.steps().len(),
        );
    });
    if !bypass.is_empty() {
        rows.resolve_bypassed(engine)?;
    }
    metrics::write_if_due(engine.now)
}

impl Rows<'_, '_> {
    fn uuids(&self) -> Arg<'static> {
        datum::uuids(self.tasks.iter().map(|(_, task)| task))
    }

    fn priority(&self) -> i16 {
        self.request.priority as i16
    }

    fn insert_tasks(&self, engine: &Engine) -> Result<()> {
        let request = self.request;
        let contexts = self
            .tasks
            .iter()
            .map(|(index, _)| Some(request.contexts[*index]));
        engine.session.run(
            &INSERT_TASKS,
            &[
                self.uuids(),
                datum::jsonbs(contexts),
                datum::timestamp(engine.now),
                datum::int4(self.template.id),
                datum::int2(self.bypass.open_leaves(self.template)),
                datum::int2(self.priority()),
                datum::text(&request.initiator),
                datum::text(&request.source_system),
                datum::text(&request.reason),
                datum::opt(request.run_at, datum::timestamp),
                datum::opt_text(request.correlation_id.as_deref()),
                datum::opt_text(request.traceparent.as_deref()),
                request.tags.arg(),
                request.bypass_steps.arg(),
                // With a bypassed leaf the count of leaves alone does not tell the end.
                datum::boolean(!self.bypass.is_empty()),
            ],
        )?;
        Ok(())
    }

    fn insert_steps(&self, engine: &Engine) -> Result<()> {
        let (bypass, steps) = (self.bypass, self.template.steps());
        engine.session.run(
            &INSERT_STEPS,
            &[
                self.uuids(),
                datum::int4(self.template.id),
                datum::int2s(steps.iter().map(|step| step.no)),
                datum::int2s(steps.iter().map(|step| bypass.open_parents(step))),
                datum::int2s(steps.iter().map(|step| step.retry_limit)),
                datum::booleans(steps.iter().map(|step| step.retryable)),
                datum::int2s(steps.iter().map(|_| self.priority())),
                datum::booleans(steps.iter().map(|step| step.results_schema.is_some())),
                datum::states(steps.iter().map(|step| bypass.first_state(step))),
                datum::timestamp(self.available_at),
                datum::boolean(!bypass.is_empty()),
            ],
        )?;
        Ok(())
    }

    fn insert_queue_entries(&self, engine: &mut Engine) -> Result<()> {
        let steps = self.template.steps().iter();
        let roots: Vec<_> = steps.filter(|step| self.bypass.is_ready(step)).collect();
        let priority = self.priority();
        engine.session.run(
            &INSERT_QUEUE_ENTRIES,
            &[
                self.uuids(),
                datum::int4s(roots.iter().map(|step| step.queue_id)),
                datum::int2s(roots.iter().map(|step| step.priority.unwrap_or(priority))),
                datum::int2s(roots.iter().map(|step| step.no)),
                datum::timestamp(self.available_at),
            ],
        )?;
        if self.available_at <= engine.now {
            roots
                .iter()
                .for_each(|step| engine.queue_entries.released(step.queue_id));
        }
        Ok(())
    }

    /// The transitions of the bypassed steps; a task of nothing else ends at once.
    fn resolve_bypassed(&self, engine: &mut Engine) -> Result<()> {
        let tasks: BTreeSet<Uuid> = self.tasks.iter().map(|(_, task)| *task).collect();
        let why = audit::texts(&[("reason", Some("bypassed"))]);
        for task in &tasks {
            for no in self.bypass.numbers() {
                let key = StepKey { task: *task, no };
                engine.log.step_with(
                    key,
                    NO_WORKER,
                    0,
                    StepState::Pending,
                    StepState::ResolvedManually,
                    why,
                );
            }
        }
        finalize::end_finished(engine, &tasks)
    }
}
