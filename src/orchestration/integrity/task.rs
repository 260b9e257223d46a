//! Repairing one task: locked as operators lock it, looked at again, corrected where only the row can be right, and settled,
//! which computes the rest from the states.

use std::collections::BTreeSet;

use pgrx::{PgSqlErrorCode as Code, pg_sys};
use tasker_rules::engine::integrity::{self, Fault, Found};
use tasker_rules::engine::readiness::unless_held;
use tasker_rules::engine::retry;
use tasker_rules::engine::state::{StepState, TaskState};
use tasker_rules::events::failure::{Failure, Next};
use tasker_rules::events::topics::Topics;

use super::rows::{self, TaskRows};
use crate::error::Result;
use crate::metrics::Class;
use crate::orchestration::locked_task::LockedTask;
use crate::orchestration::{Engine, audit, finalize};
use crate::pg::datum::{self, Uuid};
use crate::pg::spi::{Session, Statement};
use crate::processes;

/// A correction can show another fault, but not without limit.
const MOST_ROUNDS: usize = 3;

/// Repairs what disagrees in the rows of a task, the queue left out, and returns it.
pub(super) fn repair(uuid: Uuid) -> Result<Vec<Found>> {
    let mut all: Vec<Found> = vec![];
    for _ in 0..MOST_ROUNDS {
        // What a session reads is freed with it: there may be many tasks.
        let session = Session::open()?;
        let mut engine = Engine::open_any_isolation(&session);
        let found = repair_once(&mut engine, uuid)?;
        engine.close()?;
        if found.is_empty() {
            break;
        }
        all.extend(found);
    }
    Ok(all)
}

fn steps_with(found: &[Found], fault: Fault) -> impl Iterator<Item = i16> {
    found
        .iter()
        .filter(move |found| found.fault == fault)
        .filter_map(|found| found.step)
}

fn repair_once(engine: &mut Engine, uuid: Uuid) -> Result<Vec<Found>> {
    let mut locked = match LockedTask::lock(engine, uuid) {
        // Purged meanwhile.
        Err(error) if error.code == Code::ERRCODE_NO_DATA_FOUND => return Ok(vec![]),
        locked => locked?,
    };
    let rows = rows::of_task(engine.session, uuid)?;
    let found = integrity::check(&rows.view(), Some(&*locked.template));
    if found.is_empty() || found.iter().any(|found| found.fault.is_final()) {
        return Ok(vec![]);
    }
    let has = |fault| found.iter().any(|found| found.fault == fault);
    if has(Fault::TaskEndedEarly) {
        engine.session.run(&GO_ON, &[datum::uuid(&uuid)])?;
        locked.corrected(TaskState::InProgress);
    }
    correct_log(engine, &rows, locked.state, &found)?;
    if has(Fault::WrongOpenLeaves) {
        count_leaves(engine, &locked)?;
    }
    if has(Fault::NotWatched) {
        locked.watch();
    }
    for no in steps_with(&found, Fault::StepWithoutClaim) {
        lose(engine, &mut locked, no)?;
    }
    if has(Fault::UnheldStep) {
        locked.hold();
    }
    let state = locked.settle(engine)?;
    if has(Fault::WrongRareState) {
        finalize::set_aside(engine, uuid, state)?;
    }
    Ok(found)
}

static GO_ON: Statement = Statement::new(
    "UPDATE tasker_engine.tasks t SET state = 'i', completed_at = NULL WHERE t.task_uuid = $1",
    &[pg_sys::UUIDOID],
);

static SET_OPEN_LEAVES: Statement = Statement::new(
    "UPDATE tasker_engine.tasks t SET open_leaves = $2 WHERE t.task_uuid = $1",
    &[pg_sys::UUIDOID, pg_sys::INT2OID],
);

fn count_leaves(engine: &Engine, locked: &LockedTask) -> Result<()> {
    let mut open = 0;
    for step in &locked.steps {
        let is_leaf = locked.template.step(step.no)?.children.is_empty();
        open += i16::from(is_leaf && !step.state.is_finished_good());
    }
    let args = [datum::uuid(&locked.uuid), datum::int2(open)];
    engine.session.run(&SET_OPEN_LEAVES, &args)?;
    Ok(())
}

const LOST: &str = "the claim of the step was lost before the step was reported";
const CLASS: &str = "LeaseExpired";

/// The run of a step that no claim holds ends as if its lease had ended: it counts, since it may have begun.
fn lose<'e>(engine: &mut Engine<'e>, locked: &mut LockedTask<'e>, no: i16) -> Result<()> {
    let Ok(place) = locked.steps.binary_search_by_key(&no, |step| step.no) else {
        return Ok(());
    };
    let step = &mut locked.steps[place];
    let (attempts, again) = retry::after_lost_lease(step.attempts(), true, engine.now);
    step.available_at = unless_held(step.available_at, again);
    step.claim_id = None;
    step.state = StepState::Error;
    step.results = audit::texts(&[("error_message", Some(LOST)), ("error_class", Some(CLASS))]);
    let why = audit::failure(&Failure {
        message: LOST,
        class: Some(CLASS),
        attempts,
        next: Next::of(engine.now, step.available_at),
        backoff: None,
        expired: true,
        backtrace: vec![],
    });
    let ended = audit::RunKey {
        id: step.run_id,
        claim_number: step.claim_number,
    };
    // Only the claim knew when it began.
    let run = audit::Run {
        worker_no: audit::NO_WORKER,
        started_at: engine.now,
    };
    let key = locked.key(no);
    let (template, to) = (locked.template.id, StepState::Error);
    engine
        .log
        .ended(template, key, ended, Some(run), attempts.made, to, why);
    engine.log.failed_with(Class::of(Some(CLASS)));
    Ok(())
}

// At once, so that it comes before what settling logs. From where the log was, or as created.
static CORRECT_LOG: Statement = Statement::new(
    r#"INSERT INTO tasker_engine.transitions (task_uuid, created_at, worker_no, step_no, attempt, from_state, to_state, metadata)
     SELECT $1, $2, $3, u.step_no, coalesce(s.attempts, 0::int2), u.from_state::"char", u.to_state::"char",
            '{"repair": true, "reason": "repair_integrity: the log did not lead to the state of the row"}'
     FROM unnest($4, $5, $6) AS u (step_no, from_state, to_state)
     LEFT JOIN tasker_engine.steps s ON s.task_uuid = $1 AND s.step_no = u.step_no"#,
    &[
        pg_sys::UUIDOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::INT4OID,
        pg_sys::INT2ARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTARRAYOID,
    ],
);

/// Logs the state of each row to which the log does not lead; the task's is `state`.
fn correct_log(engine: &Engine, rows: &TaskRows, state: TaskState, found: &[Found]) -> Result<()> {
    let letter = |code: u8| char::from(code).to_string();
    let last = |no: i16| {
        let place = rows
            .log
            .binary_search_by_key(&no, |logged| logged.no)
            .ok()?;
        rows.log[place].state.map(StepState::code)
    };
    let mut changes: Vec<(i16, Option<String>, String)> = vec![];
    if last(0) != Some(state.code()) {
        changes.push((0, last(0).map(letter), letter(state.code())));
    }
    let wrong: BTreeSet<i16> = steps_with(found, Fault::WrongLog).collect();
    for step in rows.steps.iter().filter(|step| wrong.contains(&step.no)) {
        if let Some(now) = step.state {
            let from = last(step.no).unwrap_or(StepState::Pending.code());
            changes.push((step.no, Some(letter(from)), letter(now.code())));
        }
    }
    if changes.is_empty() {
        return Ok(());
    }
    let args = [
        datum::uuid(&rows.uuid),
        datum::timestamp(engine.now),
        datum::int4(audit::NO_WORKER),
        datum::int2s(changes.iter().map(|(no, _, _)| *no)),
        datum::texts(changes.iter().map(|(_, from, _)| from.as_deref())),
        datum::texts(changes.iter().map(|(_, _, to)| Some(to.as_str()))),
    ];
    engine.session.run(&CORRECT_LOG, &args)?;
    processes::note_events(|| Topics::ALL);
    Ok(())
}
