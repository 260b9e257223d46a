//! Steps that a worker gives back without having run them: no attempt is counted.

use std::collections::{BTreeMap, HashMap};

use pgrx::pg_sys;
use tasker_rules::engine::readiness::unless_held;
use tasker_rules::engine::state::StepState;
use tasker_rules::events::failure::Next;

use super::heartbeat::{OF_WORKER, claims_and_keys};
use super::{key_args, lower_claims};
use crate::error::Result;
use crate::orchestration::claimants::Claimant;
use crate::orchestration::queue_entries::Entry;
use crate::orchestration::workers;
use crate::orchestration::{Engine, StepKey, audit};
use crate::pg::datum::{self, Jsonb, Timestamp};
use crate::pg::spi::Statement;
use crate::registry::{self, Template};

static LOCK_TO_RELEASE: Statement = Statement::new(
    "SELECT s.task_uuid, s.step_no, s.named_task_id, s.attempts, s.priority, s.claim_id, s.run_id, s.available_at, s.claim_number
     FROM unnest($1, $2, $3, $4) AS u (task_uuid, step_no, claim_id, claim_number)
     JOIN tasker_engine.steps s ON s.task_uuid = u.task_uuid AND s.step_no = u.step_no
     WHERE s.state = 'i' AND s.claim_id = u.claim_id AND s.claim_number = coalesce(u.claim_number, s.claim_number)
     FOR UPDATE OF s",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::INT8ARRAYOID,
        pg_sys::INT4ARRAYOID,
    ],
);

// A held step (its task has ended in error meanwhile) stays held; no claim agrees with its entry.
static RELEASE: Statement = Statement::new(
    "UPDATE tasker_engine.steps s
     SET state = 'p', claim_id = NULL, attempts = greatest(s.attempts - 1, 0),
         available_at = CASE WHEN s.available_at = 'infinity' THEN 'infinity' ELSE u.available_at END
     FROM unnest($1, $2, $3) AS u (task_uuid, step_no, available_at)
     WHERE s.task_uuid = u.task_uuid AND s.step_no = u.step_no",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::TIMESTAMPTZARRAYOID,
    ],
);

/// Why a worker gives a step back, and how long no claim takes it.
#[derive(Debug, Clone, Default)]
pub struct Returned {
    pub wait_ms: i64,
    pub reason: Option<String>,
}

impl Returned {
    /// When the step is ready again; a wait is capped as one after a failure.
    fn available_at(
        &self,
        engine: &Engine,
        template: &Template,
        key: StepKey,
    ) -> Result<Timestamp> {
        Ok(engine.after_wait(&template.step(key.no)?.backoff, self.wait_ms))
    }

    /// What the log keeps: the capped wait, of a step with this clock.
    pub fn metadata(
        &self,
        engine: &Engine,
        template: &Template,
        key: StepKey,
        clock: Option<Timestamp>,
    ) -> Result<Option<Jsonb<'static>>> {
        let reason = audit::texts(&[("reason", self.reason.as_deref())]);
        if self.wait_ms <= 0 {
            return Ok(reason);
        }
        let again = self.available_at(engine, template, key)?;
        let next = Next::of(engine.now, unless_held(clock, Some(again)));
        Ok(audit::both(audit::object(next.metadata()), reason))
    }
}

/// A step that the call has locked and gives back.
pub struct GivenBack<'a> {
    pub key: StepKey,
    pub template: &'a Template,
    pub priority: i16,
    pub returned: &'a Returned,
}

/// Puts locked steps back into the queue. The caller logs them and lowers their claims.
pub fn put_back(engine: &mut Engine, steps: &[GivenBack]) -> Result<()> {
    if steps.is_empty() {
        return Ok(());
    }
    let mut times = Vec::with_capacity(steps.len());
    for step in steps {
        let available_at = step
            .returned
            .available_at(engine, step.template, step.key)?;
        engine.queue_entries.push(Entry::of(
            step.template,
            step.key,
            step.priority,
            available_at,
        )?);
        times.push(Some(available_at));
    }
    let [tasks, numbers] = key_args(&steps.iter().map(|step| step.key).collect::<Vec<_>>());
    engine
        .session
        .run(&RELEASE, &[tasks, numbers, datum::timestamps(times)])?;
    Ok(())
}

/// Releases the steps that the worker has claimed and not reported, all or those with these claim numbers. Returns how many.
pub fn release(
    engine: &mut Engine,
    claimant: &Claimant,
    worker_id: &str,
    only: Option<&HashMap<StepKey, i32>>,
    returned: &Returned,
) -> Result<i32> {
    let Some(worker_no) = workers::handled(engine.session, claimant, worker_id)? else {
        return Ok(0);
    };
    let (claims, keys) =
        claims_and_keys(&engine.session.run(&OF_WORKER, &[datum::int4(worker_no)])?)?;
    if claims.is_empty() {
        return Ok(0);
    }
    let wanted: Vec<(StepKey, i64, Option<i32>)> = keys
        .iter()
        .filter_map(|(key, claims)| match only {
            None => Some((key, claims, None)),
            Some(only) => only.get(key).map(|number| (key, claims, Some(*number))),
        })
        .flat_map(|(key, claims, number)| claims.iter().map(move |claim| (*key, *claim, number)))
        .collect();
    if wanted.is_empty() {
        return Ok(0);
    }
    let rows = engine.session.run(
        &LOCK_TO_RELEASE,
        &[
            datum::uuids(wanted.iter().map(|(key, _, _)| &key.task)),
            datum::int2s(wanted.iter().map(|(key, _, _)| key.no)),
            datum::int8s(wanted.iter().map(|(_, claim, _)| *claim)),
            datum::opt_int4s(wanted.iter().map(|(_, _, number)| *number)),
        ],
    )?;
    let mut released = Vec::new();
    let mut lowered: BTreeMap<i64, i32> = BTreeMap::new();
    let mut claim_of: BTreeMap<StepKey, i64> = BTreeMap::new();
    for row in rows.iter() {
        let key = StepKey {
            task: row.get(1)?,
            no: row.get(2)?,
        };
        let template = registry::get(engine.session, row.get(3)?)?;
        let why = returned.metadata(engine, &template, key, row.opt(8))?;
        let run = audit::RunKey {
            id: row.opt(7),
            claim_number: row.get(9)?,
        };
        let (attempt, to) = (row.get(4)?, StepState::Pending);
        engine
            .log
            .ended(template.id, key, run, None, attempt, to, why);
        *lowered.entry(row.get(6)?).or_default() += 1;
        claim_of.insert(key, row.get(6)?);
        released.push((key, template, row.get(5)?));
    }
    let steps: Vec<GivenBack> = released
        .iter()
        .map(|(key, template, priority)| GivenBack {
            key: *key,
            template,
            priority: *priority,
            returned,
        })
        .collect();
    put_back(engine, &steps)?;
    let runs = lower_claims(engine, &lowered)?;
    engine
        .log
        .credit(|key| claim_of.get(key).and_then(|claim| runs.get(claim).copied()));
    Ok(released.len() as i32)
}
