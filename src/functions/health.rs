//! What SQL asks of the rules of health, what it cannot know of the library, and taking claims over by force.

use std::collections::{BTreeMap, BTreeSet};

use tasker_rules::operations::health::{ClaimLevel, Measure, expected_seconds};

use crate::error::{Error, Result};
use crate::orchestration::{Engine, StepKey, leases};
use crate::pg::call::{Call, Output};
use crate::pg::spi::Session;
use crate::pg::{backend, datum, installation};

crate::sql_function! {
    judge_health;
    claim_level;
    expected_run_seconds;
    library;
    take_over_claims;
}

fn judge_health(call: &mut Call) -> Result<Output> {
    let name: String = call.get(0, "measure")?;
    let measure = Measure::ALL
        .into_iter()
        .find(|measure| measure.as_str() == name)
        .ok_or_else(|| Error::corrupt(format!("nothing is measured as {name:?}")))?;
    let (part, whole): (i64, i64) = (call.get(1, "part")?, call.get(2, "whole")?);
    let multiplier: f64 = call.get(3, "multiplier")?;
    let limits = measure.thresholds(multiplier);
    let judgement = measure.judge(part, whole, multiplier);
    call.row(&[
        datum::text(judgement.level.as_str()),
        datum::boolean(judgement.alert),
        datum::opt(limits.degraded, datum::float8),
        datum::opt(limits.unhealthy, datum::float8),
        datum::float8(limits.alert),
    ])?;
    Ok(Output::Rows)
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

/// The version that was compiled, and whether the server loaded the library when it started.
fn library(call: &mut Call) -> Result<Output> {
    let preloaded = backend::setting(c"shared_preload_libraries").is_some_and(|libraries| {
        libraries.split(',').any(|library| {
            let library = library.trim().trim_matches('"');
            library
                .rsplit('/')
                .next()
                .map(|name| name.trim_end_matches(".so"))
                == Some("tasker_ext")
        })
    });
    call.row(&[
        datum::text(installation::library_version()),
        datum::boolean(preloaded),
    ])?;
    Ok(Output::Rows)
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
