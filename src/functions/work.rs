//! `claim_steps`, `report_and_claim`, `heartbeat`, `release_steps`, `end_worker`, `get_dependency_results`.

use std::collections::HashSet;

use pgrx::pg_sys;
use rustc_hash::FxHashSet;

use super::reports::{Answer, ParsedReports, check_count, held_steps};
use crate::error::{Error, Result};
use crate::metrics::{self, Metric};
use crate::orchestration::claim::{self, ClaimRequest, Dependencies};
use crate::orchestration::claimants::Claimant;
use crate::orchestration::leases::Returned;
use crate::orchestration::queue_entries::Wanted;
use crate::orchestration::{
    Engine, StepKey, leases, operational, report, resumption, waking, workers,
};
use crate::pg::call::{Call, Output};
use crate::pg::datum::{self, Arg, Uuid};
use crate::pg::memory;
use crate::pg::rights;
use crate::pg::spi::{Session, Statement};

crate::pg::call::sql_function! {
    claim_steps;
    claim_inside;
    report_and_claim;
    heartbeat;
    release_steps;
    end_worker;
    get_dependency_results;
    notify_channel;
}

const DAY_US: i64 = 86_400_000_000;
const MOST_STEPS: i32 = 10_000;
/// A claim looks into the queue of every pair of a namespace and a queue.
const MOST_PAIRS: usize = 10_000;
const MOST_NAMES: usize = 1_000;

fn worker(call: &Call) -> Result<String> {
    let worker_id: String = call.get(0, "worker_id")?;
    workers::check_id(&worker_id)?;
    Ok(worker_id)
}

fn lease(call: &Call, index: usize) -> Result<i64> {
    let lease = call.interval(index, "lease")?;
    if lease <= 0 || lease > DAY_US {
        return Err(Error::parameter("lease is out of range")
            .detail(format!("It is {} seconds.", lease as f64 / 1e6))
            .hint("A lease is longer than zero and at most 1 day."));
    }
    Ok(lease)
}

fn names(call: &Call, index: usize, parameter: &str) -> Result<Option<Vec<String>>> {
    let Some(given) = call.opt_array::<String>(index) else {
        return Ok(None);
    };
    // Without duplicates, because a claim reads every pair of a namespace and a queue.
    let mut names: Vec<String> = Vec::new();
    let mut seen = HashSet::new();
    for name in given {
        let name = name.ok_or_else(|| Error::null(&format!("an element of {parameter}")))?;
        if seen.contains(&name) {
            continue;
        }
        if names.len() == MOST_NAMES {
            return Err(Error::too_large(format!(
                "more than {MOST_NAMES} {parameter} are too many for one call"
            ))
            .detail(format!(
                "At most {MOST_NAMES} different names are possible."
            ))
            .hint("Claim for fewer in one call, in turn."));
        }
        memory::require(name.len());
        seen.insert(name.clone());
        names.push(name);
    }
    Ok(Some(names))
}

fn handlers(call: &Call, index: usize) -> Result<Wanted> {
    let names = names(call, index, "handlers")?;
    Ok(names.map_or(Wanted::Any, |names| {
        Wanted::these(names.iter().map(String::as_str))
    }))
}

/// The steps that the worker says it has begun.
fn begun(call: &Call, index: usize) -> Result<Vec<StepKey>> {
    let uuids = call.opt_uuids(index, "begun")?.unwrap_or_default();
    check_count(uuids.len(), "steps that have begun")?;
    Ok(uuids.iter().map(StepKey::from_uuid).collect())
}

static ALL_NAMESPACES: Statement =
    Statement::new("SELECT n.name FROM tasker.task_namespaces n", &[]);

/// A claim for handlers inside the database. It does not register the worker for a
/// NOTIFY, so that an idle executor writes nothing.
fn claim_inside(call: &mut Call) -> Result<Output> {
    let mut request = ClaimRequest {
        worker_id: worker(call)?,
        namespaces: vec![],
        queues: names(call, 2, "queues")?,
        handlers: Wanted::Inside,
        max_steps: call.get::<i32>(3, "max_steps")?.clamp(1, MOST_STEPS) as usize,
        lease_us: lease(call, 4)?,
        dependencies: Dependencies::Ancestors,
    };
    let session = Session::open()?;
    if resumption::holds_claims_back(&session)? {
        return Ok(Output::Rows);
    }
    let mut engine = Engine::open(&session)?;
    request.namespaces = match names(call, 1, "namespaces")? {
        Some(names) => names,
        None => engine
            .session
            .run(&ALL_NAMESPACES, &[])?
            .iter()
            .map(|row| row.get(1))
            .collect::<Result<_>>()?,
    };
    let worker = workers::claiming(engine.session, &Claimant::engine(), &request.worker_id)?;
    let claimed = claim::claim(&mut engine, &worker, &request)?;
    let empty =
        datum::jsonb_from_text("{}").ok_or_else(|| Error::corrupt("an empty object is JSON"))?;
    for row in claimed.rows(empty)? {
        call.row(&row)?;
    }
    engine.close()?;
    Ok(Output::Rows)
}

/// The parameters that claim_steps and report_and_claim share; `first` is the index of `namespaces`.
fn request(call: &Call, first: usize) -> Result<ClaimRequest> {
    let worker_id = worker(call)?;
    let namespaces = names(call, first, "namespaces")?.ok_or_else(|| Error::null("namespaces"))?;
    let max_steps: i32 = call.get(first + 1, "max_steps")?;
    if !(1..=MOST_STEPS).contains(&max_steps) {
        return Err(
            Error::parameter(format!("max_steps {max_steps} is out of range"))
                .detail(format!("The range is 1 to {MOST_STEPS}."))
                .hint(format!("Claim 1 to {MOST_STEPS} steps in one call.")),
        );
    }
    let lease_us = lease(call, first + 2)?;
    let dependencies = match call
        .get::<String>(first + 3, "dependency_results")?
        .as_str()
    {
        "none" => Dependencies::None,
        "parents" => Dependencies::Parents,
        "ancestors" => Dependencies::Ancestors,
        other => {
            return Err(
                Error::parameter(format!("dependency_results \"{other}\" is unknown"))
                    .detail("It says which results come with a step.")
                    .hint("Use 'none', 'parents' or 'ancestors'."),
            );
        }
    };
    let queues = names(call, first + 4, "queues")?;
    let handlers = handlers(call, first + 5)?;
    let pairs = namespaces.len() * queues.as_ref().map_or(1, Vec::len);
    if pairs > MOST_PAIRS {
        return Err(
            Error::too_large("too many namespaces and queues for one call")
                .detail(format!(
                    "{pairs} pairs of a namespace and a queue; at most {MOST_PAIRS} are possible."
                ))
                .hint("Claim for fewer in one call, in turn."),
        );
    }
    Ok(ClaimRequest {
        worker_id,
        namespaces,
        queues,
        handlers,
        max_steps: max_steps as usize,
        lease_us,
        dependencies,
    })
}

fn claim_steps(call: &mut Call) -> Result<Output> {
    let request = request(call, 1)?;
    rights::as_owner(|caller| {
        let session = Session::open()?;
        if resumption::holds_claims_back(&session)? {
            return Ok(Output::Rows);
        }
        let mut engine = Engine::open(&session)?;
        let claimant = Claimant::of(engine.session, caller)?;
        hand_out(call, &mut engine, &claimant, &request, &[])?;
        engine.close()?;
        Ok(Output::Rows)
    })
}

fn report_and_claim(call: &mut Call) -> Result<Output> {
    let reports = call.jsonb(1, "reports")?;
    let request = request(call, 2)?;
    let begun = begun(call, 8)?;
    rights::as_owner(|caller| {
        let session = Session::open()?;
        let only_claims = datum::is_array(reports) && datum::element_count(reports) == 0;
        if only_claims && resumption::holds_claims_back(&session)? {
            return Ok(Output::Rows);
        }
        let mut engine = Engine::open(&session)?;
        let claimant = Claimant::of(engine.session, caller)?;
        let parsed = ParsedReports::read(reports)?;
        let answers = parsed.apply(&mut engine, &claimant)?;
        let running = without_reported(&begun, &answers);
        leases::begin(&mut engine, &claimant, &request.worker_id, &running)?;
        for answer in answers.iter().filter(|answer| !answer.accepted) {
            let mut row: [Arg; 19] = [Arg::NULL; 19];
            row[0] = datum::text(answer.outcome);
            row[1] = datum::opt(answer.step_uuid.as_ref(), datum::uuid);
            call.row(&row)?;
        }
        let prefix = [datum::text("claimed")];
        hand_out(call, &mut engine, &claimant, &request, &prefix)?;
        engine.close()?;
        Ok(Output::Rows)
    })
}

/// The steps that this call does not end: for the others nothing has to be written.
fn without_reported(begun: &[StepKey], answers: &[Answer]) -> Vec<StepKey> {
    if begun.is_empty() {
        return vec![];
    }
    let reported: FxHashSet<Uuid> = answers
        .iter()
        .filter(|answer| answer.accepted)
        .filter_map(|answer| answer.step_uuid)
        .collect();
    begun
        .iter()
        .copied()
        .filter(|key| !reported.contains(&key.uuid()))
        .collect()
}

/// Claims, and returns a row per step: the columns in `prefix`, then those of the step.
fn hand_out(
    call: &mut Call,
    engine: &mut Engine,
    claimant: &Claimant,
    request: &ClaimRequest,
    prefix: &[Arg],
) -> Result<()> {
    let worker = workers::claiming(engine.session, claimant, &request.worker_id)?;
    let claimed = claim::claim(engine, &worker, request)?;
    metrics::record(|counts| {
        counts.count(Metric::ClaimCalls, 1);
        counts.count(
            Metric::ClaimCallsEmpty,
            usize::from(claimed.steps.is_empty()),
        );
    });
    let empty =
        datum::jsonb_from_text("{}").ok_or_else(|| Error::corrupt("an empty object is JSON"))?;
    match (&claimed.closed, prefix) {
        (None, _) => {}
        // claim_steps has no column for it.
        (Some(current), []) => current.tell_once(),
        (Some(_), _) => {
            let mut row: [Arg; 19] = [Arg::NULL; 19];
            row[0] = datum::text(operational::DRAINING);
            call.row(&row)?;
        }
    }
    for row in claimed.rows(empty)? {
        let columns: Vec<Arg> = prefix.iter().chain(&row).copied().collect();
        call.row(&columns)?;
    }
    workers::seen(
        engine.session,
        request,
        claimed.steps.is_empty(),
        engine.now,
    )
}

fn heartbeat(call: &mut Call) -> Result<Output> {
    let worker_id = worker(call)?;
    let lease_us = lease(call, 1)?;
    let begun = begun(call, 2)?;
    rights::as_owner(|caller| {
        let session = Session::open()?;
        let mut engine = Engine::open(&session)?;
        let claimant = Claimant::of(engine.session, caller)?;
        metrics::count(Metric::Heartbeats, 1);
        for beat in leases::heartbeat(&mut engine, &claimant, &worker_id, lease_us, &begun)? {
            call.row(&[datum::uuid(&beat.key.uuid()), datum::text(beat.status)])?;
        }
        if operational::current()?.closed().is_some() {
            call.row(&[Arg::NULL, datum::text(operational::DRAINING)])?;
        }
        engine.close()?;
        Ok(Output::Rows)
    })
}

fn release_steps(call: &mut Call) -> Result<Output> {
    let worker_id = worker(call)?;
    let steps = call.opt_jsonb(1);
    let wait_us = call.opt_interval(2).unwrap_or(0);
    if wait_us < 0 {
        return Err(Error::parameter("delay must not be negative")
            .detail(format!("It is {} seconds.", wait_us as f64 / 1e6))
            .hint("NULL or zero makes the steps ready at once."));
    }
    let returned = Returned {
        wait_ms: wait_us / 1000,
        reason: call.opt_text(3),
    };
    rights::as_owner(|caller| {
        let session = Session::open()?;
        let mut engine = Engine::open(&session)?;
        let claimant = Claimant::of(engine.session, caller)?;
        let only = steps.map(held_steps).transpose()?;
        let released =
            leases::release(&mut engine, &claimant, &worker_id, only.as_ref(), &returned)?;
        engine.close()?;
        Ok(Output::from(released))
    })
}

fn end_worker(call: &mut Call) -> Result<Output> {
    let worker_id = worker(call)?;
    rights::as_owner(|caller| {
        let session = Session::open()?;
        let mut engine = Engine::open(&session)?;
        let claimant = Claimant::of(engine.session, caller)?;
        let released = leases::release(
            &mut engine,
            &claimant,
            &worker_id,
            None,
            &Returned::default(),
        )?;
        workers::end(engine.session, &worker_id, engine.now)?;
        engine.close()?;
        Ok(Output::from(released))
    })
}

static STEP: Statement = Statement::new(
    "SELECT s.named_task_id FROM tasker_engine.steps s WHERE s.task_uuid = $1 AND s.step_no = $2",
    &[pg_sys::UUIDOID, pg_sys::INT2OID],
);

static ANCESTOR_RESULTS: Statement = Statement::new(
    "SELECT coalesce(jsonb_object_agg(n.name, coalesce(s.results, '{}')), '{}')
     FROM tasker_engine.steps s
     JOIN tasker.named_tasks_named_steps n
       ON n.named_task_id = s.named_task_id AND n.step_no = s.step_no
     WHERE s.task_uuid = $1 AND s.step_no = ANY ($2) AND s.state IN ('c', 'r')",
    &[pg_sys::UUIDOID, pg_sys::INT2ARRAYOID],
);

fn get_dependency_results(call: &mut Call) -> Result<Output> {
    let key = StepKey::from_uuid(&call.uuid(0, "step_uuid")?);
    let results = {
        let session = Session::open()?;
        let rows = session.read(&STEP, &[datum::uuid(&key.task), datum::int2(key.no)])?;
        let row = rows
            .first()
            .ok_or_else(|| report::refusal(&key, 0, &report::Outcome::UnknownStep))?;
        let template = crate::registry::get(&session, row.get(1)?)?;
        let ancestors = template.ancestors(key.no);
        let rows = session.read(
            &ANCESTOR_RESULTS,
            &[datum::uuid(&key.task), datum::int2s(ancestors)],
        )?;
        let results = rows
            .first()
            .ok_or_else(|| Error::corrupt("an aggregate has a row"))?
            .jsonb(1)?;
        datum::OwnedJsonb::copy(results)
    };
    Ok(Output::Jsonb(results))
}

fn notify_channel(call: &mut Call) -> Result<Output> {
    let namespace: String = call.get(0, "namespace")?;
    Ok(Output::Text(waking::channel(&namespace)))
}
