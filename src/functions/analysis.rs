//! Templates and tasks as graphs: the results of `tasker_rules::operations::analysis` as rows and as one document.

use std::collections::HashMap;

use pgrx::pg_sys;
use serde::Serialize;
use tasker_rules::engine::ids;
use tasker_rules::engine::state::{StepState, TaskState};
use tasker_rules::graph::Dag;
use tasker_rules::operations::analysis::{self, Duration, Failure, Task};

use crate::error::{Error, Result};
use crate::orchestration::{Engine, create, locked_task};
use crate::pg::budget;
use crate::pg::call::{self, Call, Output};
use crate::pg::datum::{self, Arg, Timestamp, Uuid};
use crate::pg::spi::{Session, Statement};
use crate::readiness::{self, TaskReading, Tasks};
use crate::registry;

crate::pg::call::sql_function! {
    analyze_template;
    analyze_task;
    task_schedule;
    task_critical_path;
    task_bottlenecks;
    task_error_chains;
    task_parallelism;
    task_blockers;
}

// ---- reading a task ------------------------------------------------------------------------------------------------

// A run lasts from its claim to the next entry of the step; the last one may still be running.
static LOG: Statement = Statement::new(
    "SELECT r.step_no,
            (extract(epoch FROM sum(coalesce(r.next_at, $2) - r.created_at) FILTER (WHERE r.to_state = 'i')) * 1000000)::bigint,
            max(r.created_at) FILTER (WHERE r.to_state = 'e')
     FROM (SELECT l.step_no, l.to_state, l.created_at,
                  lead(l.created_at) OVER (PARTITION BY l.step_no ORDER BY l.id) AS next_at
           FROM tasker_engine.step_changes l
           WHERE l.task_uuid = $1) r
     GROUP BY r.step_no",
    &[pg_sys::UUIDOID, pg_sys::TIMESTAMPTZOID],
);

// Some complete tasks among the hundred before this one and the hundred after it.
static AVERAGES: Statement = Statement::new(
    "SELECT t.step_no, (extract(epoch FROM avg(t.ran)) * 1000000)::bigint
     FROM (SELECT r.task_uuid, r.step_no, sum(r.next_at - r.created_at) AS ran
           FROM (SELECT l.task_uuid, l.step_no, l.to_state, l.created_at,
                        lead(l.created_at) OVER (PARTITION BY l.task_uuid, l.step_no ORDER BY l.id) AS next_at
                 FROM (SELECT n.task_uuid
                       FROM ((SELECT b.task_uuid, b.state FROM tasker_engine.tasks b
                              WHERE b.named_task_id = $1 AND b.task_uuid < $2
                              ORDER BY b.task_uuid DESC LIMIT 100)
                             UNION ALL
                             (SELECT a.task_uuid, a.state FROM tasker_engine.tasks a
                              WHERE a.named_task_id = $1 AND a.task_uuid > $2
                              ORDER BY a.task_uuid LIMIT 100)) n
                       WHERE n.state = 'c' LIMIT $3) near
                 JOIN tasker_engine.step_changes l ON l.task_uuid = near.task_uuid) r
           WHERE r.to_state = 'i'
           GROUP BY r.task_uuid, r.step_no) t
     GROUP BY t.step_no",
    &[pg_sys::INT4OID, pg_sys::UUIDOID, pg_sys::INT8OID],
);

static FAILURES: Statement = Statement::new(
    "SELECT s.step_no, s.results ->> 'error_message', s.results ->> 'error_class'
     FROM tasker_engine.steps s
     WHERE s.task_uuid = $1 AND s.state = 'e'",
    &[pg_sys::UUIDOID],
);

static TASK_STATE: Statement = Statement::new(
    "SELECT t.state FROM tasker_engine.tasks t WHERE t.task_uuid = $1",
    &[pg_sys::UUIDOID],
);

/// The greatest number of tasks in an average; large tasks lower it.
const MOST_TASKS: i64 = 10;
const MOST_STEPS: i64 = 2_000;

/// A task with its graph, times and failures.
struct Analysed {
    uuid: Uuid,
    task: Task,
    failed_at: HashMap<i16, Timestamp>,
}

impl Analysed {
    fn id(&self, no: i16) -> Uuid {
        ids::step_uuid(&self.uuid, no)
    }

    fn name(&self, no: i16) -> Arg<'static> {
        datum::text(self.task.dag().name(no))
    }

    fn names(&self, steps: &[i16]) -> Arg<'static> {
        datum::texts(steps.iter().map(|no| Some(self.task.dag().name(*no))))
    }

    fn state(&self, no: i16) -> Arg<'static> {
        datum::opt(self.task.step(no), |step| {
            datum::text(step.step.state.as_str())
        })
    }
}

/// The task that the call names; `None` if there is none.
fn read(call: &Call) -> Result<Option<Analysed>> {
    let uuid = call.uuid(0, "task_uuid")?;
    let session = Session::open()?;
    let now = call::clock();
    readiness::read(&session, &Tasks::One(&uuid))?
        .pop()
        .map(|reading| analysed(&session, reading, now))
        .transpose()
}

fn analysed(session: &Session, reading: TaskReading, now: Timestamp) -> Result<Analysed> {
    let uuid = reading.task;
    let (mut ran, mut failed_at) = (HashMap::new(), HashMap::new());
    for row in session
        .read(&LOG, &[datum::uuid(&uuid), datum::timestamp(now)])?
        .iter()
    {
        let no: i16 = row.get(1)?;
        row.opt::<i64>(2).map(|us| ran.insert(no, us));
        row.opt::<Timestamp>(3).map(|at| failed_at.insert(no, at));
    }
    let averages = if reading.steps.iter().all(|step| ran.contains_key(&step.no)) {
        HashMap::new()
    } else {
        averages(session, &reading)?
    };
    let mut failures = HashMap::new();
    if reading
        .steps
        .iter()
        .any(|step| step.step.state == StepState::Error)
    {
        for row in session.read(&FAILURES, &[datum::uuid(&uuid)])?.iter() {
            let failure = Failure {
                message: row.opt(2),
                class: row.opt(3),
            };
            failures.insert(row.get::<i16>(1)?, failure);
        }
    }
    let dag = graph(&reading.facts.template)?;
    let steps = reading
        .steps
        .iter()
        .map(|step| {
            let duration = Duration::of(
                step.step.state,
                ran.get(&step.no).copied(),
                averages.get(&step.no).copied(),
            );
            (step.step, duration, failures.remove(&step.no))
        })
        .collect();
    Ok(Analysed {
        uuid,
        task: Task::new(dag, steps, now).for_host(budget::HOST),
        failed_at,
    })
}

fn averages(session: &Session, reading: &TaskReading) -> Result<HashMap<i16, i64>> {
    let tasks = (MOST_STEPS / reading.steps.len().max(1) as i64).clamp(1, MOST_TASKS);
    session
        .read(
            &AVERAGES,
            &[
                datum::int4(reading.facts.template.id),
                datum::uuid(&reading.task),
                datum::int8(tasks),
            ],
        )?
        .iter()
        .map(|row| Ok((row.get(1)?, row.get(2)?)))
        .collect()
}

/// The graph under the template's own numbers: names in a topological order keep their places.
fn graph(template: &registry::Template) -> Result<Dag> {
    let steps = template.steps();
    let name = |no: &i16| steps.get(*no as usize - 1).map_or("", |step| &step.name);
    let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
    let edges: Vec<(&str, &str)> = steps
        .iter()
        .flat_map(|step| step.parents.iter().map(|no| (name(no), step.name.as_str())))
        .collect();
    Dag::from_names(&names, &edges)
        .map_err(|error| Error::corrupt(format!("{} is no graph: {error}", template.full_name())))
}

// ---- documents -----------------------------------------------------------------------------------------------------

fn document(analysis: &impl Serialize) -> Result<Output> {
    let text = serde_json::to_string(analysis)
        .map_err(|error| Error::corrupt(format!("an analysis is no JSON: {error}")))?;
    datum::jsonb_from_text(&text)
        .map(|jsonb| Output::Jsonb(datum::OwnedJsonb::copy(jsonb)))
        .ok_or_else(|| Error::corrupt("an analysis is no JSON"))
}

fn analyze_template(call: &mut Call) -> Result<Output> {
    let name: String = call.get(0, "name")?;
    let namespace: String = call.get(1, "namespace")?;
    let version = call.opt_text(2);
    let found = {
        let session = Session::open()?;
        let engine = Engine::open_any_isolation(&session);
        let id = create::find_template(&engine, &namespace, &name, version.as_deref())?;
        registry::definition(engine.session, id)?
    };
    document(&analysis::analyze(&found))
}

fn analyze_task(call: &mut Call) -> Result<Output> {
    let uuid = call.uuid(0, "task_uuid")?;
    let found = read(call)?.ok_or_else(|| locked_task::unknown_task(&uuid))?;
    let session = Session::open()?;
    let state: TaskState = session
        .read(&TASK_STATE, &[datum::uuid(&uuid)])?
        .first()
        .ok_or_else(|| locked_task::unknown_task(&uuid))?
        .get(1)?;
    document(&analysis::report(&found.uuid, state, &found.task))
}

// ---- rows ----------------------------------------------------------------------------------------------------------

fn task_schedule(call: &mut Call) -> Result<Output> {
    let Some(found) = read(call)? else {
        return Ok(Output::Rows);
    };
    let schedule = analysis::schedule(&found.task);
    for ((no, step), slot) in found.task.steps().zip(&schedule.slots) {
        call.row(&[
            datum::uuid(&found.id(no)),
            datum::int4(no.into()),
            found.name(no),
            found.state(no),
            datum::int4(found.task.dag().level(no).into()),
            datum::interval(step.duration.us),
            datum::text(step.duration.basis.as_str()),
            datum::interval(slot.starts_us),
            datum::interval(slot.ends_us),
            datum::interval(slot.slack_us),
            datum::interval(slot.drag_us),
            datum::boolean(slot.slack_us == 0),
        ])?;
    }
    Ok(Output::Rows)
}

fn task_critical_path(call: &mut Call) -> Result<Output> {
    let Some(found) = read(call)? else {
        return Ok(Output::Rows);
    };
    let schedule = analysis::schedule(&found.task);
    for (position, no) in (1..).zip(&schedule.critical_path) {
        let (Some(step), Some(slot)) = (found.task.step(*no), schedule.slots.get(*no as usize - 1))
        else {
            continue;
        };
        call.row(&[
            datum::int4(position),
            datum::uuid(&found.id(*no)),
            datum::int4((*no).into()),
            found.name(*no),
            found.state(*no),
            datum::interval(step.duration.us),
            datum::text(step.duration.basis.as_str()),
            datum::interval(slot.starts_us),
            datum::interval(slot.ends_us),
            datum::interval(slot.slack_us),
            datum::interval(slot.drag_us),
        ])?;
    }
    Ok(Output::Rows)
}

fn task_bottlenecks(call: &mut Call) -> Result<Output> {
    let Some(found) = read(call)? else {
        return Ok(Output::Rows);
    };
    for one in analysis::bottlenecks(&found.task) {
        let Some(step) = found.task.step(one.no) else {
            continue;
        };
        call.row(&[
            datum::uuid(&found.id(one.no)),
            datum::int4(one.no.into()),
            found.name(one.no),
            found.state(one.no),
            datum::text(one.kind),
            datum::text(one.severity),
            datum::int4(one.score as i32),
            datum::int4(one.downstream as i32),
            datum::int4(one.blocked as i32),
            found.names(&one.listed),
            datum::int4(step.step.attempts.into()),
            datum::int4(step.step.retry_limit.into()),
        ])?;
    }
    Ok(Output::Rows)
}

fn task_error_chains(call: &mut Call) -> Result<Output> {
    let Some(found) = read(call)? else {
        return Ok(Output::Rows);
    };
    let now = call::clock();
    for chain in analysis::error_chains(&found.task) {
        let Some(step) = found.task.step(chain.no) else {
            continue;
        };
        call.row(&[
            datum::uuid(&found.id(chain.no)),
            datum::int4(chain.no.into()),
            found.name(chain.no),
            datum::opt_text(chain.failure.class.as_deref()),
            datum::opt_text(chain.failure.message.as_deref()),
            datum::boolean(chain.permanent),
            datum::int4(step.step.attempts.into()),
            datum::int4(step.step.retry_limit.into()),
            datum::opt(found.failed_at.get(&chain.no).copied(), datum::timestamp),
            datum::opt(step.step.next_retry_at(now), datum::timestamp),
            datum::int4(chain.impact as i32),
            datum::text(chain.severity),
            datum::int4(chain.downstream as i32),
            datum::int4(chain.blocked as i32),
            found.names(&chain.listed),
        ])?;
    }
    Ok(Output::Rows)
}

fn task_parallelism(call: &mut Call) -> Result<Output> {
    let Some(found) = read(call)? else {
        return Ok(Output::Rows);
    };
    for (number, level) in (0..).zip(analysis::levels(&found.task)) {
        let count = |steps: usize| datum::int4(steps as i32);
        call.row(&[
            datum::int4(number),
            count(level.steps.len()),
            count(level.ready),
            count(level.running),
            count(level.completed),
            count(level.failed),
            count(level.cancelled),
            count(level.waiting),
            found.names(&level.steps),
        ])?;
    }
    Ok(Output::Rows)
}

fn task_blockers(call: &mut Call) -> Result<Output> {
    let Some(found) = read(call)? else {
        return Ok(Output::Rows);
    };
    for one in analysis::blockers(&found.task) {
        let standing = found
            .task
            .step(one.blocker)
            .map(|step| step.standing.as_str());
        call.row(&[
            datum::uuid(&found.id(one.step)),
            datum::int4(one.step.into()),
            found.name(one.step),
            found.state(one.step),
            datum::uuid(&found.id(one.blocker)),
            datum::int4(one.blocker.into()),
            found.name(one.blocker),
            found.state(one.blocker),
            datum::opt_text(standing),
            datum::boolean(one.direct),
            datum::boolean(one.root_cause),
        ])?;
    }
    Ok(Output::Rows)
}
