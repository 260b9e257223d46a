//! An executor: claims steps whose handlers are functions of this database, and runs each with its report in one
//! transaction: the changes of a handler and the completion of its step become visible together, or not at all. In between it calls
//! handlers of subscribers.

use std::time::Duration;

use pgrx::bgworkers::BackgroundWorker;
use pgrx::pg_sys;

use super::handlers::Handlers;
use super::process::{self, transaction};
use crate::error::{Error, Result};
use crate::pg::datum::{self, OwnedJsonb, Timestamp, Uuid};
use crate::pg::spi::{Session, Statement};
use crate::pg::{backend, call};
use crate::processes::{self, Kind, State};

/// The longest sleep of an idle executor. A call that releases a step wakes it; the limit is for retries and missed wakes.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
/// The sleep after a claim that found nothing although steps are due: other sessions hold them, their
/// namespace is paused, or the system drains.
const SHORTEST_SLEEP: Duration = Duration::from_millis(200);
/// How often an idle executor reports again what it could not report.
const REPORT_AGAIN: Duration = Duration::from_secs(1);

static POOL: Statement = Statement::new(
    "SELECT p.queues, p.namespaces, p.batch_size
     FROM tasker_engine.desired_executors() p WHERE p.pool = $1",
    &[pg_sys::TEXTOID],
);

static QUEUES: Statement = Statement::new(
    "SELECT n.name, q.queue_id
     FROM tasker_engine.queues q
     JOIN tasker.task_namespaces n ON n.task_namespace_id = q.task_namespace_id
     WHERE q.name = ANY ($1) AND ($2 IS NULL OR n.name = ANY ($2))",
    &[pg_sys::TEXTARRAYOID, pg_sys::TEXTARRAYOID],
);

static TAKE: Statement = Statement::new(
    "SELECT c.step_uuid, c.claim_number, c.argument
     FROM tasker_engine.take_steps($1, $2, $3, $4, interval '60 seconds') c",
    &[
        pg_sys::TEXTOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::INT4OID,
    ],
);

static NEXT: Statement = Statement::new(
    "SELECT tasker_engine.next_available($1)",
    &[pg_sys::INT4ARRAYOID],
);

static RUN: Statement = Statement::new(
    "SELECT tasker_engine.run_step($1, $2, $3)",
    &[pg_sys::UUIDOID, pg_sys::INT4OID, pg_sys::JSONBOID],
);

static FAIL: Statement = Statement::new(
    "SELECT tasker.fail_step($1, $2, $3, $4, $5)",
    &[
        pg_sys::UUIDOID,
        pg_sys::INT4OID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::BOOLOID,
    ],
);

static END: Statement = Statement::new("SELECT tasker.end_worker($1)", &[pg_sys::TEXTOID]);

struct Work {
    queues: Vec<String>,
    namespaces: Vec<String>,
    queue_ids: Vec<i32>,
    batch_size: i32,
}

/// A step whose failure could not be reported: a lock was not to be had in time, or the disk was full.
struct Unreported {
    step: Uuid,
    claim_number: i32,
    error: Error,
}

struct ClaimedStep {
    step: Uuid,
    claim_number: i32,
    argument: OwnedJsonb,
}

crate::pg::process::background_process!(tasker_executor_main => work_until_asked_to_end);

fn work_until_asked_to_end(database: u32) {
    let pool = BackgroundWorker::get_extra().to_owned();
    let pid = backend::pid();
    let worker_id = format!("tasker-executor/{pool}/{pid}-{}", call::clock());
    process::begin(Kind::Executor, database, &pool, &worker_id);
    process::set_application_name(&format!("tasker_ext executor {pool}"));
    let epoch = match transaction(process::extension) {
        Ok(Some((epoch, _))) => epoch,
        _ => process::end(0),
    };
    let mut unreported: Vec<Unreported> = Vec::new();
    let mut handlers = Handlers::new(&pool, &worker_id);
    loop {
        process::check_for_interrupts();
        report_again(&mut unreported);
        if processes::stop_requested() {
            finish(&worker_id, epoch);
        }
        let work = match transaction(|session| work(session, &pool, epoch)) {
            Ok(Some(work)) => work,
            Ok(None) => process::end(0),
            // The coordinator says why.
            Err(error) if process::is_refusal(&error) => process::end(0),
            Err(error) => {
                process::log_error("an executor cannot read its pool", &error);
                process::end(1);
            }
        };
        // Announced before the claim: a step that is released after this line wakes the executor.
        processes::wait_for(
            work.queue_ids
                .iter()
                .fold(processes::WAITS, |all, id| all | processes::queue_bit(*id)),
        );
        let taken = match transaction(|session| take(session, &worker_id, &work)) {
            Ok(taken) => taken,
            Err(error) => {
                process::log_error("an executor cannot claim", &error);
                process::wait(Duration::from_secs(1));
                continue;
            }
        };
        if !taken.is_empty() {
            processes::wait_for(0);
            for step in &taken {
                if processes::stop_requested() {
                    break;
                }
                unreported.extend(run(&pool, step));
            }
        }
        // After a handler has run it looks for steps again: a wait inside the handler may have ended with the wake for one.
        if !handlers.run() && taken.is_empty() {
            processes::set_state(State::Idle);
            let longest = if unreported.is_empty() {
                LONGEST_SLEEP
            } else {
                REPORT_AGAIN
            };
            process::wait(pause(&work).min(longest).min(handlers.pause()));
        }
    }
}

/// Releases the steps that have not begun, and ends.
fn finish(worker_id: &str, epoch: u32) -> ! {
    processes::set_state(State::Draining);
    let released = transaction(|session| {
        if process::extension(session)?.is_some_and(|(oid, _)| oid == epoch) {
            session.run(&END, &[datum::text(worker_id)])?;
        }
        Ok(())
    });
    if let Err(error) = released {
        process::log_error("an executor cannot give back its steps", &error);
    }
    process::end(0)
}

fn work(session: &Session, pool: &str, epoch: u32) -> Result<Option<Work>> {
    if process::extension(session)?.is_none_or(|(oid, _)| oid != epoch) {
        return Ok(None);
    }
    let rows = session.read(&POOL, &[datum::text(pool)])?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let queues: Vec<String> = row.get(1)?;
    let found = session.read(&QUEUES, &[row.arg(1), row.arg(2)])?;
    let mut work = Work {
        queues,
        namespaces: vec![],
        queue_ids: vec![],
        batch_size: row.get(3)?,
    };
    for row in found.iter() {
        let namespace: String = row.get(1)?;
        if !work.namespaces.contains(&namespace) {
            work.namespaces.push(namespace);
        }
        work.queue_ids.push(row.get(2)?);
    }
    Ok(Some(work))
}

fn take(session: &Session, worker_id: &str, work: &Work) -> Result<Vec<ClaimedStep>> {
    if work.namespaces.is_empty() {
        return Ok(vec![]);
    }
    let texts = |names: &[String]| datum::texts(names.iter().map(|name| Some(name.as_str())));
    let rows = session.run(
        &TAKE,
        &[
            datum::text(worker_id),
            texts(&work.namespaces),
            texts(&work.queues),
            datum::int4(work.batch_size),
        ],
    )?;
    rows.iter()
        .map(|row| {
            Ok(ClaimedStep {
                step: row.get(1)?,
                claim_number: row.get(2)?,
                argument: OwnedJsonb::copy(row.jsonb(3)?),
            })
        })
        .collect()
}

/// Until the next step comes due.
fn pause(work: &Work) -> Duration {
    let next = transaction(|session| {
        let rows = session.read(&NEXT, &[datum::int4s(work.queue_ids.iter().copied())])?;
        Ok(rows.first().and_then(|row| row.opt::<Timestamp>(1)))
    });
    match next {
        Ok(Some(next)) => Duration::from_micros((next - call::clock()).max(0) as u64)
            .clamp(SHORTEST_SLEEP, LONGEST_SLEEP),
        _ => LONGEST_SLEEP,
    }
}

/// Runs a step; returns its failure if that could not be reported.
fn run(pool: &str, taken: &ClaimedStep) -> Option<Unreported> {
    processes::set_busy(taken.step);
    process::report_activity(Some(&format!(
        "tasker_ext: pool {pool} runs step {}",
        crate::orchestration::format_uuid(&taken.step)
    )));
    let started = call::tick();
    let outcome = transaction(|session| {
        let rows = session.run(
            &RUN,
            &[
                datum::uuid(&taken.step),
                datum::int4(taken.claim_number),
                taken.argument.as_jsonb().arg(),
            ],
        )?;
        Ok(rows.first().and_then(|row| row.opt::<String>(1)))
    });
    let mut unreported = None;
    let failed = match outcome {
        Ok(state) => state.as_deref() != Some("complete"),
        // The transaction of the step failed, for example at its commit: another transaction reports the failure.
        Err(error) => {
            let failure = Unreported {
                step: taken.step,
                claim_number: taken.claim_number,
                error,
            };
            if let Err(refused) = report_failure(&failure) {
                process::log_error(
                    "the failure of a step cannot be reported and will be reported again",
                    &refused,
                );
                unreported = Some(failure);
            }
            true
        }
    };
    processes::count_step(call::tick() - started, failed);
    processes::set_state(State::Idle);
    unreported
}

/// Reports what could not be reported before. Nothing renews the leases of these steps, so what stays is taken over when they end.
fn report_again(unreported: &mut Vec<Unreported>) {
    unreported.retain(|failure| report_failure(failure).is_err());
}

/// Reports the failure of a step in a transaction of its own.
fn report_failure(failure: &Unreported) -> Result<()> {
    let class = failure.error.sqlstate();
    let reported = transaction(|session| {
        session.run(
            &FAIL,
            &[
                datum::uuid(&failure.step),
                datum::int4(failure.claim_number),
                datum::text(&failure.error.message),
                datum::text(&class),
                datum::boolean(tasker_rules::sqlstate::is_retryable(&class)),
            ],
        )?;
        Ok(())
    });
    match reported {
        // Stale: it was cancelled or taken over meanwhile, and what it did is undone.
        Err(stale) if stale.code == pgrx::PgSqlErrorCode::ERRCODE_OBJECT_IN_USE => Ok(()),
        // Its task was deleted.
        Err(gone) if gone.code == pgrx::PgSqlErrorCode::ERRCODE_NO_DATA_FOUND => Ok(()),
        other => other,
    }
}
