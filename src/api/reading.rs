//! Reading: readiness, execution contexts, levels, backoff, diagrams, and the uuids of steps.
//!
//! The rules are in `tasker_rules::readiness`; the views of sql/schema/ call these functions.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use pgrx::pg_sys::{self, Datum};
use tasker_rules::backoff::{self, Kind, Policy};
use tasker_rules::diagram::{DiagramModel, Format, Node, draw};
use tasker_rules::ids;
use tasker_rules::readiness::backoff_seconds;
use tasker_rules::state::{StepState, TaskState};

use crate::call::{self, Call, Output};
use crate::datum::{self, Arg, FromColumn, Timestamp, Uuid};
use crate::error::{Error, Result};
use crate::orchestration::{Engine, create, whole};
use crate::readiness::{self, Facts, TaskReading, Tasks};
use crate::settings;
use crate::store::{Session, Statement};
use crate::templates::{self, Template};

crate::sql_function! {
    step_uuid / pg_finfo_step_uuid => uuid_of_step;
    step_task_uuid / pg_finfo_step_task_uuid => task_of_step;
    step_number / pg_finfo_step_number => number_of_step;
    engine_clock / pg_finfo_engine_clock => clock;
    step_level / pg_finfo_step_level => level;
    step_min_depth / pg_finfo_step_min_depth => min_depth;
    get_step_readiness_status / pg_finfo_get_step_readiness_status => readiness;
    get_step_readiness_status_batch / pg_finfo_get_step_readiness_status_batch => readiness_batch;
    get_task_execution_context / pg_finfo_get_task_execution_context => context;
    get_task_execution_contexts_batch / pg_finfo_get_task_execution_contexts_batch => context_batch;
    calculate_dependency_levels / pg_finfo_calculate_dependency_levels => levels;
    calculate_backoff / pg_finfo_calculate_backoff => backoff_interval;
    task_diagram / pg_finfo_task_diagram => diagram_of_task;
    template_diagram / pg_finfo_template_diagram => diagram_of_template;
}

fn owned(uuid: &Uuid) -> Result<Output> {
    datum::copy_uuid(uuid)
        .map(Output::Datum)
        .ok_or_else(|| Error::corrupt("no uuid"))
}

fn uuid_of_step(call: &mut Call) -> Result<Output> {
    let task = call.uuid(0, "task_uuid")?;
    let no: i16 = call.get(1, "step_no")?;
    if no < 0 {
        return Err(Error::parameter(format!("step_no {no} is negative"))
            .detail("0 stands for the task itself.")
            .hint("The steps of a task count from 1."));
    }
    owned(&ids::step_uuid(&task, no))
}

fn task_of_step(call: &mut Call) -> Result<Output> {
    owned(&ids::split(&call.uuid(0, "step_uuid")?).0)
}

fn number_of_step(call: &mut Call) -> Result<Output> {
    Ok(Output::Datum(Datum::from(
        ids::split(&call.uuid(0, "step_uuid")?).1,
    )))
}

fn clock(_: &mut Call) -> Result<Output> {
    Ok(Output::from(call::clock()))
}

// ---- readiness and contexts ----------------------------------------------------------------------------------------

fn uuids(call: &Call, index: usize, name: &str) -> Result<Option<Vec<Uuid>>> {
    call.opt_array::<Uuid>(index)
        .map(|uuids| {
            uuids
                .into_iter()
                .map(|uuid| uuid.ok_or_else(|| Error::null(&format!("an element of {name}"))))
                .collect()
        })
        .transpose()
}

fn readiness(call: &mut Call) -> Result<Output> {
    let task = call.uuid(0, "task_uuid")?;
    let wanted: Option<HashSet<Uuid>> =
        uuids(call, 1, "step_uuids")?.map(|uuids| uuids.into_iter().collect());
    let session = Session::open()?;
    let now = call::clock();
    // All steps are read even if few are asked for: their parents decide.
    for reading in &readiness::read_with_runs(&session, &Tasks::One(&task))? {
        readiness_rows(call, reading, wanted.as_ref(), now)?;
    }
    Ok(Output::Rows)
}

fn readiness_batch(call: &mut Call) -> Result<Output> {
    let tasks = uuids(call, 0, "task_uuids")?.ok_or_else(|| Error::null("task_uuids"))?;
    let session = Session::open()?;
    let now = call::clock();
    for reading in &readiness::read_with_runs(&session, &Tasks::Several(&tasks))? {
        readiness_rows(call, reading, None, now)?;
    }
    Ok(Output::Rows)
}

fn readiness_rows(
    call: &mut Call,
    task: &TaskReading,
    wanted: Option<&HashSet<Uuid>>,
    now: Timestamp,
) -> Result<()> {
    for reading in &task.steps {
        let uuid = ids::step_uuid(&task.task, reading.no);
        if wanted.is_some_and(|wanted| !wanted.contains(&uuid)) {
            continue;
        }
        let step = &reading.step;
        let failed_at = reading.failed_at.filter(|_| step.state == StepState::Error);
        let next_retry_at = step.next_retry_at(now);
        let backoff = failed_at
            .zip(next_retry_at)
            .map(|(failed_at, next)| backoff_seconds(failed_at, next));
        call.row(&[
            datum::uuid(&uuid),
            datum::uuid(&task.task),
            datum::int4(task.facts.named_step_id(reading.no)?),
            datum::text(&task.facts.template.step(reading.no)?.name),
            datum::text(step.state.as_str()),
            datum::boolean(reading.dependencies_satisfied()),
            datum::boolean(step.retry_eligible()),
            datum::boolean(reading.ready(now)),
            failed_at.and_then(datum::timestamp),
            next_retry_at.and_then(datum::timestamp),
            datum::int4(reading.total_parents),
            datum::int4(reading.done_parents),
            datum::int4(step.attempts.into()),
            datum::int4(step.retry_limit.into()),
            backoff.and_then(datum::int4),
            reading.ended_at.and_then(datum::timestamp),
        ])?;
    }
    Ok(())
}

static TASK_STATE: Statement = Statement::new(
    "SELECT t.task_uuid, t.state FROM tasker_engine.tasks t WHERE t.task_uuid = $1",
    &[pg_sys::UUIDOID],
);

static TASK_STATES: Statement = Statement::new(
    "SELECT t.task_uuid, t.state FROM tasker_engine.tasks t WHERE t.task_uuid = ANY ($1)",
    &[pg_sys::UUIDARRAYOID],
);

fn context(call: &mut Call) -> Result<Output> {
    let task = call.uuid(0, "task_uuid")?;
    contexts(call, &Tasks::One(&task))
}

fn context_batch(call: &mut Call) -> Result<Output> {
    let tasks = uuids(call, 0, "task_uuids")?.ok_or_else(|| Error::null("task_uuids"))?;
    contexts(call, &Tasks::Several(&tasks))
}

fn contexts(call: &mut Call, tasks: &Tasks) -> Result<Output> {
    let session = Session::open()?;
    let now = call::clock();
    let mut states: HashMap<Uuid, u8> = HashMap::new();
    for row in tasks.run(&session, &TASK_STATE, &TASK_STATES)?.iter() {
        states.insert(row.get(1)?, row.get(2)?);
    }
    for reading in &readiness::read(&session, tasks)? {
        let state = states
            .get(&reading.task)
            .and_then(|code| TaskState::from_code(*code));
        let Some(state) = state else { continue };
        let counts = reading.counts(now);
        let execution = counts.execution();
        call.row(&[
            datum::uuid(&reading.task),
            datum::int4(reading.facts.template.id),
            datum::text(state.as_str()),
            datum::int8(counts.total),
            datum::int8(counts.pending),
            datum::int8(counts.in_progress),
            datum::int8(counts.completed),
            datum::int8(counts.failed),
            datum::int8(counts.ready),
            datum::text(execution.as_str()),
            datum::text(execution.recommended_action()),
            hundredths(counts.completion_hundredths()),
            datum::text(counts.health()),
            datum::int8(counts.cancelled),
        ])?;
    }
    Ok(Output::Rows)
}

/// A numeric with two decimals.
fn hundredths(value: i64) -> Arg {
    let text = std::ffi::CString::new(format!("{}.{:02}", value / 100, value % 100)).ok()?;
    // SAFETY: numeric_in takes a NUL-terminated string, a type oid that it ignores, and no modifier.
    unsafe {
        pgrx::fcinfo::direct_function_call_as_datum(
            pg_sys::numeric_in,
            &[
                Some(Datum::from(text.as_ptr())),
                Some(Datum::from(pg_sys::InvalidOid)),
                Some(Datum::from(-1i32)),
            ],
        )
    }
}

// ---- levels --------------------------------------------------------------------------------------------------------

fn facts_and_number(call: &Call) -> Result<(Rc<Facts>, i16)> {
    let template_id: i32 = call.get(0, "named_task_id")?;
    let no: i16 = call.get(1, "step_no")?;
    readiness::forget_after_reinstall();
    let facts = match readiness::kept_facts(template_id) {
        Some(facts) => facts,
        None => readiness::facts(&Session::open()?, template_id)?,
    };
    Ok((facts, no))
}

fn level(call: &mut Call) -> Result<Output> {
    let (facts, no) = facts_and_number(call)?;
    facts.level(no).map(Output::from)
}

fn min_depth(call: &mut Call) -> Result<Output> {
    let (facts, no) = facts_and_number(call)?;
    facts.min_depth(no).map(Output::from)
}

fn levels(call: &mut Call) -> Result<Output> {
    let task = call.uuid(0, "task_uuid")?;
    let session = Session::open()?;
    for reading in &readiness::read(&session, &Tasks::One(&task))? {
        let mut levels: Vec<(i32, i16)> = reading
            .steps
            .iter()
            .map(|step| Ok((reading.facts.level(step.no)?, step.no)))
            .collect::<Result<_>>()?;
        levels.sort_unstable();
        for (level, no) in levels {
            call.row(&[datum::uuid(&ids::step_uuid(&task, no)), datum::int4(level)])?;
        }
    }
    Ok(Output::Rows)
}

// ---- backoff -------------------------------------------------------------------------------------------------------

fn backoff_interval(call: &mut Call) -> Result<Output> {
    let attempt: i32 = call.get(0, "attempt")?;
    let kind = call
        .opt_text(1)
        .map(|kind| {
            kind.parse::<Kind>().map_err(|_| {
                Error::parameter(format!("unknown kind of backoff {:?}", shortened(&kind)))
                    .detail("It is none of the four kinds.")
                    .hint(format!(
                        "Use one of {}.",
                        Kind::ALL.map(Kind::as_str).join(", ")
                    ))
            })
        })
        .transpose()?;
    let milliseconds = |index: usize, name: &str| match call.opt::<i32>(index) {
        Some(value) if value < 0 => Err(Error::parameter(format!("{name} {value} is negative"))
            .detail("Milliseconds count from 0.")
            .hint("Leave it NULL for the configured value.")),
        value => Ok(value.map(i64::from)),
    };
    let policy = Policy {
        kind,
        base_ms: milliseconds(2, "base_ms")?,
        max_ms: milliseconds(3, "max_ms")?,
        jitter: share(call, 5, "jitter")?,
    };
    let retry_after_ms = call.opt_interval(4).map(|microseconds| microseconds / 1000);
    let delay = backoff::delay_ms(
        attempt,
        &policy,
        &settings::backoff(),
        retry_after_ms,
        fastrand::f64(),
    );
    Ok(interval(delay.saturating_mul(1000)))
}

fn interval(microseconds: i64) -> Output {
    // SAFETY: palloc returns room for an interval or raises.
    unsafe {
        let interval = pg_sys::palloc(size_of::<pg_sys::Interval>()) as *mut pg_sys::Interval;
        *interval = pg_sys::Interval {
            time: microseconds,
            day: 0,
            month: 0,
        };
        Output::Datum(Datum::from(interval))
    }
}

/// A numeric parameter, as near as a float comes to it.
struct Numeric(f64);

impl FromColumn for Numeric {
    unsafe fn from_column(datum: Datum) -> Self {
        // SAFETY: numeric_float8 takes one numeric and returns a float8 by value.
        let float = unsafe {
            pgrx::fcinfo::direct_function_call_as_datum(pg_sys::numeric_float8, &[Some(datum)])
        };
        Self(float.map_or(f64::NAN, |float| f64::from_bits(float.value() as u64)))
    }
}

/// A numeric parameter between 0 and 1.
fn share(call: &Call, index: usize, name: &str) -> Result<Option<f64>> {
    match call.opt::<Numeric>(index).map(|number| number.0) {
        Some(value) if !(0.0..=1.0).contains(&value) => {
            Err(Error::parameter(format!("{name} is out of range"))
                .detail("It is negative, above 1 or not a number.")
                .hint("A share lies between 0 and 1; 0.1 is ten percent."))
        }
        value => Ok(value),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

// ---- diagrams ------------------------------------------------------------------------------------------------------

fn format(call: &Call, index: usize) -> Result<Format> {
    call.get::<String>(index, "format")?
        .parse::<Format>()
        .map_err(|_| {
            Error::parameter(format!(
                "unknown diagram format {:?}",
                shortened(&call.opt_text(index).unwrap_or_default())
            ))
            .detail("Diagrams are drawn in three formats.")
            .hint("Use one of mermaid, dot, svg.")
        })
}

static TASK_OF_DIAGRAM: Statement = Statement::new(
    "SELECT t.named_task_id, tasker_engine.state_name(t.state) FROM tasker_engine.tasks t WHERE t.task_uuid = $1",
    &[pg_sys::UUIDOID],
);

// How long a step took is how long its last run did, or has until now.
static STEPS_OF_DIAGRAM: Statement = Statement::new(
    "SELECT s.step_no, s.state, s.attempts::integer, s.retry_limit::integer,
            (pg_catalog.date_part('epoch', coalesce(run.ended_at, tasker_engine.clock()) - run.began_at) * 1000)::bigint,
            CASE s.state WHEN 'e' THEN s.results ->> 'error_message' WHEN 'i' THEN w.worker_id END
     FROM tasker_engine.steps s
     LEFT JOIN LATERAL (
         SELECT b.created_at AS began_at,
                (SELECT e.created_at FROM tasker_engine.transitions e
                 WHERE e.task_uuid = b.task_uuid AND e.step_no = b.step_no AND e.id > b.id
                 ORDER BY e.id LIMIT 1) AS ended_at
         FROM tasker_engine.transitions b
         WHERE b.task_uuid = s.task_uuid AND b.step_no = s.step_no AND b.to_state = 'i' AND s.claim_number > 0
         ORDER BY b.id DESC LIMIT 1) run ON true
     LEFT JOIN tasker_engine.claims c ON c.claim_id = s.claim_id AND s.state = 'i'
     LEFT JOIN tasker_engine.workers w ON w.worker_no = c.worker_no
     WHERE s.task_uuid = $1
     ORDER BY s.step_no",
    &[pg_sys::UUIDOID],
);

fn edges(template: &Template) -> Vec<(i16, i16)> {
    template
        .steps()
        .iter()
        .flat_map(|step| step.parents.iter().map(|parent| (*parent, step.no)))
        .collect()
}

fn diagram_of_task(call: &mut Call) -> Result<Output> {
    let task = call.uuid(0, "task_uuid")?;
    let format = format(call, 1)?;
    templates::forget_after_reinstall();
    let session = Session::open()?;
    let rows = session.read(&TASK_OF_DIAGRAM, &[datum::uuid(&task)])?;
    let row = rows.first().ok_or_else(|| whole::unknown_task(&task))?;
    let template = templates::get(&session, row.get(1)?)?;
    let state: String = row.get(2)?;
    let mut nodes = Vec::new();
    for row in session
        .read(&STEPS_OF_DIAGRAM, &[datum::uuid(&task)])?
        .iter()
    {
        let step_no: i16 = row.get(1)?;
        nodes.push(Node {
            step_no,
            name: template.step(step_no)?.name.clone(),
            state: StepState::from_code(row.get(2)?),
            attempts: Some(row.get(3)?),
            retry_limit: row.get(4)?,
            duration_ms: row.opt(5),
            note: row.opt(6),
        });
    }
    let title = format!("{}: {}", template.full_name(), state.replace('_', " "));
    Ok(Output::Text(draw(
        &DiagramModel {
            title,
            nodes,
            edges: edges(&template),
        },
        format,
    )))
}

fn diagram_of_template(call: &mut Call) -> Result<Output> {
    let name: String = call.get(0, "name")?;
    let namespace: String = call.get(1, "namespace")?;
    let version = call.opt_text(2);
    let format = format(call, 3)?;
    let engine = Engine::open_any_isolation()?;
    let id = create::find_template(&engine, &namespace, &name, version.as_deref())?;
    let template = templates::get(&engine.session, id)?;
    let nodes = template.steps().iter().map(|step| Node {
        step_no: step.no,
        name: step.name.clone(),
        state: None,
        attempts: None,
        retry_limit: step.retry_limit.into(),
        duration_ms: None,
        note: Some(step.handler.clone()),
    });
    let model = DiagramModel {
        title: template.full_name(),
        nodes: nodes.collect(),
        edges: edges(&template),
    };
    Ok(Output::Text(draw(&model, format)))
}
