//! The relation `caches` and `reset_cache`.

use crate::error::{Error, Result};
use crate::pg::call::{self, Call, Output};
use crate::pg::{caches, datum};

crate::pg::call::sql_function! {
    cache_counts;
    reset_cache;
}

fn cache_counts(call: &mut Call) -> Result<Output> {
    for cache in caches::ALL {
        let counts = cache.counts();
        let number = |number: u64| datum::int8(number.cast_signed());
        call.row(&[
            datum::text(cache.name),
            number(counts.entries as u64),
            number(counts.bytes as u64),
            number(counts.hits),
            number(counts.misses),
            number(counts.evictions),
            number(counts.invalidations),
        ])?;
    }
    Ok(Output::Rows)
}

fn reset_cache(call: &mut Call) -> Result<Output> {
    let name: String = call.get(0, "name")?;
    let cache = caches::ALL.into_iter().find(|cache| cache.name == name);
    let cache = cache.ok_or_else(|| {
        Error::parameter(format!("there is no cache \"{}\"", call::shortened(&name)))
            .detail(format!(
                "There are {}.",
                caches::ALL.map(|cache| cache.name).join(", ")
            ))
            .hint("SELECT name FROM tasker.caches lists the names.")
    })?;
    cache.reset()?;
    Ok(Output::Null)
}
