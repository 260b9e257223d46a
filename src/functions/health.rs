//! The rules of health for SQL, and facts about the library.

use tasker_rules::operations::health::Measure;

use crate::error::{Error, Result};
use crate::pg::call::{Call, Output};
use crate::pg::{backend, datum, installation};

crate::pg::call::sql_function! {
    judge_health;
    library;
    active_connections;
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

fn active_connections(_: &mut Call) -> Result<Output> {
    Ok(Output::from(backend::clients()))
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
