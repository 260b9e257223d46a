//! Stores a template: creates its namespace, systems, queues and steps if they are missing, and its version once.

use std::collections::BTreeMap;

use pgrx::pg_sys::{self, panic::ErrorReport};
use tasker_rules::Problem;
use tasker_rules::template::{self, Template};

use crate::error::{Error, Result};
use crate::pg::budget;
use crate::pg::datum::{self, Jsonb};
use crate::pg::spi::{Session, Statement};
use crate::processes;
use crate::registry::handlers;
use crate::settings;

static NAMESPACE: Statement = Statement::new(
    // Locked, so that no session deletes it before its first template exists.
    "WITH made AS (
         INSERT INTO tasker.task_namespaces (name) VALUES ($1)
         ON CONFLICT (name) DO NOTHING
         RETURNING task_namespace_id),
     kept AS (
         SELECT n.task_namespace_id FROM tasker.task_namespaces n WHERE n.name = $1 FOR KEY SHARE)
     SELECT task_namespace_id FROM made
     UNION ALL
     SELECT task_namespace_id FROM kept
     LIMIT 1",
    &[pg_sys::TEXTOID],
);

static SYSTEMS: Statement = Statement::new(
    "INSERT INTO tasker.dependent_systems (name)
     SELECT DISTINCT u.name FROM unnest($1) AS u (name) ORDER BY u.name
     ON CONFLICT (name) DO NOTHING",
    &[pg_sys::TEXTARRAYOID],
);

static NAMED_STEPS: Statement = Statement::new(
    "INSERT INTO tasker.named_steps (dependent_system_id, name, description)
     SELECT d.dependent_system_id, u.name, u.description
     FROM unnest($1, $2, $3) AS u (system, name, description)
     JOIN tasker.dependent_systems d ON d.name = u.system
     ORDER BY 1, 2
     ON CONFLICT (dependent_system_id, name) DO NOTHING",
    &[
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTARRAYOID,
    ],
);

static QUEUES: Statement = Statement::new(
    "INSERT INTO tasker_engine.queues (task_namespace_id, name, paused)
     SELECT n.task_namespace_id, u.name, n.paused
     FROM (SELECT DISTINCT v.name FROM unnest($2) AS v (name) ORDER BY 1) u
     JOIN tasker.task_namespaces n ON n.task_namespace_id = $1
     ON CONFLICT (task_namespace_id, name) DO NOTHING",
    &[pg_sys::INT4OID, pg_sys::TEXTARRAYOID],
);

static EXISTING: Statement = Statement::new(
    "SELECT t.named_task_id, t.configuration = $4 AND t.environment = $5
     FROM tasker.named_tasks t
     WHERE t.task_namespace_id = $1 AND t.name = $2 AND t.version = $3
     FOR UPDATE",
    &[
        pg_sys::INT4OID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::JSONBOID,
        pg_sys::TEXTOID,
    ],
);

// Asked after the row is locked: a task that was being created then is visible now.
static USED: Statement = Statement::new(
    "SELECT FROM tasker_engine.tasks k WHERE k.named_task_id = $1 LIMIT 1",
    &[pg_sys::INT4OID],
);

static REMOVE: Statement = Statement::new(
    "DELETE FROM tasker.named_tasks t WHERE t.named_task_id = $1",
    &[pg_sys::INT4OID],
);

static NAMED_TASK: Statement = Statement::new(
    "INSERT INTO tasker.named_tasks
         (task_namespace_id, name, version, description, configuration, environment)
     VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (task_namespace_id, name, version) DO NOTHING
     RETURNING named_task_id",
    &[
        pg_sys::INT4OID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::JSONBOID,
        pg_sys::TEXTOID,
    ],
);

// Looks up row by row: with a join, a planner without statistics reads all named steps for each row.
static STEPS: Statement = Statement::new(
    "INSERT INTO tasker.named_tasks_named_steps
         (named_task_id, step_no, named_step_id, name, skippable, default_retryable, default_retry_limit,
          handler, handler_config, queue_id, priority, timeout_seconds, parents, children)
     SELECT $1, u.step_no,
            (SELECT s.named_step_id
             FROM tasker.dependent_systems d
             JOIN tasker.named_steps s ON s.dependent_system_id = d.dependent_system_id
             WHERE d.name = u.system AND s.name = u.name),
            u.name, u.skippable, u.retryable, u.retry_limit, u.handler, u.handler_config::jsonb,
            (SELECT q.queue_id FROM tasker_engine.queues q
             WHERE q.task_namespace_id = $2 AND q.name = u.queue),
            nullif(u.priority, 0), nullif(u.timeout_seconds, 0),
            u.parents::smallint[], u.children::smallint[]
     FROM unnest($3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
          AS u (step_no, system, name, skippable, retryable, retry_limit, handler, handler_config, queue,
                priority, timeout_seconds, parents, children)
     ORDER BY u.step_no",
    &[
        pg_sys::INT4OID,
        pg_sys::INT4OID,
        pg_sys::INT2ARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::BOOLARRAYOID,
        pg_sys::BOOLARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::INT4ARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTARRAYOID,
    ],
);

// A schema stays, and the words of the last template that has some count.
static DECLARE: Statement = Statement::new(
    "INSERT INTO tasker_engine.registered_events AS r (name, description)
     SELECT u.name, u.description FROM unnest($1, $2) AS u (name, description) ORDER BY u.name
     ON CONFLICT (name) DO UPDATE SET description = excluded.description
     WHERE excluded.description IS NOT NULL AND r.description IS DISTINCT FROM excluded.description",
    &[pg_sys::TEXTARRAYOID, pg_sys::TEXTARRAYOID],
);

/// Warnings that one registration raises at most: 32,767 steps can have one each.
const MOST_WARNINGS: usize = 20;

/// Reads a template text, or lists all its mistakes.
pub fn read(text: &str) -> Result<(Option<Template>, Vec<Problem>)> {
    let budget = budget::with_memory(settings::max_working_memory());
    let too_much = |spent| {
        Error::spent("checking the template", spent).hint(
            "Use fewer or simpler schemas and patterns, or raise tasker.max_working_memory_mb.",
        )
    };
    let parsed = template::parse_within(text, &budget).map_err(too_much)?;
    let value = parsed.map_err(|error| {
        Error::new(
            pgrx::PgSqlErrorCode::ERRCODE_SYNTAX_ERROR,
            format!(
                "the template is neither valid YAML nor valid JSON: {}",
                error.message
            ),
        )
        .detail(format!("Line {}, column {}.", error.line, error.column))
        .hint("A template that begins with { is read as JSON, any other as YAML 1.2.")
    })?;
    template::read(&value, settings::environment().as_deref(), &budget).map_err(too_much)
}

fn refused(problems: &[Problem]) -> Error {
    let errors: Vec<String> = problems
        .iter()
        .filter(|problem| problem.is_error())
        .map(ToString::to_string)
        .collect();
    Error::new(
        pgrx::PgSqlErrorCode::ERRCODE_INVALID_OBJECT_DEFINITION,
        format!(
            "invalid template: {}",
            errors.first().map_or("", String::as_str)
        ),
    )
    .detail(errors.join("\n"))
    .hint("SELECT * FROM tasker.validate_template(...) lists every problem with its path.")
}

/// A template that is registered.
pub struct Registered {
    pub id: i32,
    /// None: it was before.
    pub stored: Option<Template>,
}

/// Registers a template.
/// Handlers inside the database will run with the rights of `registrar`.
pub fn register(
    session: &Session,
    text: &str,
    replace: bool,
    registrar: pg_sys::Oid,
) -> Result<Registered> {
    let (template, problems) = read(text)?;
    let template = template.ok_or_else(|| refused(&problems))?;
    warn(&problems);
    let environment = settings::environment().unwrap_or_default();
    let configuration = datum::jsonb_from_text(&template.export().to_string())
        .ok_or_else(|| Error::corrupt("a template that was read is JSON"))?;
    let namespace_id = namespace(session, &template.namespace)?;
    let inside: Vec<(i16, &str)> = template
        .steps
        .iter()
        .filter(|step| step.handler.starts_with(template::SQL_PREFIX))
        .map(|step| (step.step_no, step.handler.as_str()))
        .collect();
    declare_events(session, &template)?;
    // The second time another session registered the version at this moment: it is visible now.
    for _ in 0..2 {
        if let Some(same) = make_room(
            session,
            namespace_id,
            &template,
            configuration,
            &environment,
            replace,
        )? {
            handlers::remember(session, same, &inside, registrar)?;
            return Ok(Registered {
                id: same,
                stored: None,
            });
        }
        make_parts(session, namespace_id, &template)?;
        if let Some(id) = named_task(
            session,
            namespace_id,
            &template,
            configuration,
            &environment,
        )? {
            steps(session, id, namespace_id, &template)?;
            handlers::remember(session, id, &inside, registrar)?;
            // The queues may be new: executors that sleep do not wait for them yet.
            processes::wake_all_executors();
            return Ok(Registered {
                id,
                stored: Some(template),
            });
        }
    }
    Err(registered_already(&template))
}

/// Registers the events that the steps of a template declare.
fn declare_events(session: &Session, template: &Template) -> Result<()> {
    let mut declared: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for event in template.steps.iter().flat_map(|step| &step.custom_events) {
        let description = declared.entry(&event.name).or_default();
        *description = description.or(event.description.as_deref());
    }
    if !declared.is_empty() {
        let args = [
            datum::texts(declared.keys().map(|name| Some(*name))),
            datum::texts(declared.values().copied()),
        ];
        session.run(&DECLARE, &args)?;
    }
    Ok(())
}

/// Raises the warnings of validate_template: a template that is taken can still mean something else than its author did.
fn warn(problems: &[Problem]) {
    let warnings = problems.iter().filter(|problem| !problem.is_error());
    let left = warnings.clone().count().saturating_sub(MOST_WARNINGS);
    let mut texts: Vec<String> = warnings
        .take(MOST_WARNINGS)
        .map(ToString::to_string)
        .collect();
    if left > 0 {
        texts.push(format!(
            "{left} more warnings: SELECT * FROM tasker.validate_template(...) lists them"
        ));
    }
    for text in texts {
        ErrorReport::new(
            pgrx::PgSqlErrorCode::ERRCODE_WARNING,
            text,
            "register_template",
        )
        .report(pgrx::PgLogLevel::WARNING);
    }
}

fn namespace(session: &Session, name: &str) -> Result<i32> {
    // Another session can create it between the lookup and the insert; the second time it is visible.
    for _ in 0..2 {
        if let Some(row) = session.run(&NAMESPACE, &[datum::text(name)])?.first() {
            return row.get(1);
        }
    }
    Err(Error::corrupt(format!(
        "namespace \"{name}\" can be neither found nor created"
    )))
}

/// Returns the id of a version that is the same already. Of a different one: refuses it, or removes what is there if no
/// task uses it yet.
fn make_room(
    session: &Session,
    namespace_id: i32,
    template: &Template,
    configuration: Jsonb,
    environment: &str,
    replace: bool,
) -> Result<Option<i32>> {
    let rows = session.run(
        &EXISTING,
        &[
            datum::int4(namespace_id),
            datum::text(&template.name),
            datum::text(&template.version),
            configuration.arg(),
            datum::text(environment),
        ],
    )?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let (id, same) = (row.get::<i32>(1)?, row.get::<bool>(2)?);
    if same {
        return Ok(Some(id));
    }
    if !replace {
        return Err(registered_already(template));
    }
    if !session.run(&USED, &[datum::int4(id)])?.is_empty() {
        return Err(Error::state(format!("{} is used by tasks and cannot be changed", template.full_name()))
            .detail("A version is immutable once a task uses it: a task keeps the version it was created with.")
            .hint("Register the change under a higher version; new tasks take the highest one."));
    }
    session.run(&REMOVE, &[datum::int4(id)])?;
    Ok(None)
}

fn registered_already(template: &Template) -> Error {
    Error::new(
        pgrx::PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION,
        format!("{} is registered already", template.full_name()),
    )
    .detail("It has another content, or was registered under another tasker.environment.")
    .hint("Give the change a higher version, or use replace => true while no task uses this one.")
}

fn make_parts(session: &Session, namespace_id: i32, template: &Template) -> Result<()> {
    let all = || template.steps.iter();
    let systems = || datum::texts(all().map(|step| Some(step.dependent_system.as_str())));
    session.run(&SYSTEMS, &[systems()])?;
    session.run(
        &NAMED_STEPS,
        &[
            systems(),
            datum::texts(all().map(|step| Some(step.name.as_str()))),
            datum::texts(all().map(|step| step.description.as_deref())),
        ],
    )?;
    // `default` always exists, so that a worker of the namespace finds its queue.
    let queues = all()
        .map(|step| Some(step.queue.as_str()))
        .chain([Some(template::DEFAULT_NAME)]);
    session.run(&QUEUES, &[datum::int4(namespace_id), datum::texts(queues)])?;
    Ok(())
}

fn named_task(
    session: &Session,
    namespace_id: i32,
    template: &Template,
    configuration: Jsonb,
    environment: &str,
) -> Result<Option<i32>> {
    let rows = session.run(
        &NAMED_TASK,
        &[
            datum::int4(namespace_id),
            datum::text(&template.name),
            datum::text(&template.version),
            datum::opt_text(template.description.as_deref()),
            configuration.arg(),
            datum::text(environment),
        ],
    )?;
    // Nothing returned: another session registered it at this moment.
    rows.first().map(|row| row.get(1)).transpose()
}

fn steps(session: &Session, id: i32, namespace_id: i32, template: &Template) -> Result<()> {
    let all = || template.steps.iter();
    let literals = |numbers: fn(&Template, i16) -> &[i16]| -> Vec<String> {
        all()
            .map(|step| datum::array_literal(numbers(template, step.step_no)))
            .collect()
    };
    let configs: Vec<String> = all().map(|step| step.handler_config.to_string()).collect();
    let (parents, children) = (
        literals(|template, no| template.dag.parents(no)),
        literals(|template, no| template.dag.children(no)),
    );
    fn some(texts: &[String]) -> datum::Arg<'static> {
        datum::texts(texts.iter().map(|text| Some(text.as_str())))
    }
    session.run(
        &STEPS,
        &[
            datum::int4(id),
            datum::int4(namespace_id),
            datum::int2s(all().map(|step| step.step_no)),
            datum::texts(all().map(|step| Some(step.dependent_system.as_str()))),
            datum::texts(all().map(|step| Some(step.name.as_str()))),
            datum::booleans(all().map(|step| step.skippable)),
            datum::booleans(all().map(|step| step.retryable)),
            datum::int2s(all().map(|step| step.retry_limit)),
            datum::texts(all().map(|step| Some(step.handler.as_str()))),
            some(&configs),
            datum::texts(all().map(|step| Some(step.queue.as_str()))),
            datum::int2s(all().map(|step| step.priority.map_or(0, |priority| priority.level()))),
            datum::int4s(all().map(|step| step.timeout_seconds.unwrap_or(0))),
            some(&parents),
            some(&children),
        ],
    )?;
    Ok(())
}
