//! Claims that take longer than expected, and taking them over by force.

use std::collections::{BTreeMap, BTreeSet};

use tasker_rules::operations::health::{ClaimLevel, expected_seconds};

use crate::error::{Error, Result};
use crate::orchestration::{Engine, StepKey, leases};
use crate::pg::call::{Call, Output};
use crate::pg::spi::Session;

crate::pg::call::sql_function! {
    expected_run_seconds;
    claim_level;
    take_over_claims;
}

fn claim_level(call: &mut Call) -> Result<Output> {
    let (age, expected): (f64, i32) = (call.get(0, "age")?, call.get(1, "expected")?);
    let level = ClaimLevel::of(age, expected.into(), call.get(2, "lease_over")?);
    Ok(Output::from(level.as_str()))
}

fn expected_run_seconds(call: &mut Call) -> Result<Output> {
    Ok(Output::from(expected_seconds(
        call.get(0, "priority")?,
        call.opt(1),
    )))
}

fn take_over_claims(call: &mut Call) -> Result<Output> {
    let claims = call
        .opt_array::<i64>(0)
        .ok_or_else(|| Error::null("claim_ids"))?;
    let steps = call
        .opt_uuids(1, "step_uuids")?
        .ok_or_else(|| Error::null("step_uuids"))?;
    let mut wanted: BTreeMap<i64, BTreeSet<StepKey>> = BTreeMap::new();
    for (claim, step) in claims.into_iter().zip(&steps) {
        let claim = claim.ok_or_else(|| Error::null("an element of claim_ids"))?;
        wanted
            .entry(claim)
            .or_default()
            .insert(StepKey::from_uuid(step));
    }
    let session = Session::open()?;
    let mut engine = Engine::open(&session)?;
    leases::take_over(&mut engine, &wanted)?;
    engine.close()?;
    Ok(Output::Null)
}
