//! The catalogue of events as rows. The view that adds custom events is in sql/views/events.sql.

use tasker_rules::events::catalog::CATALOG;

use crate::error::{Error, Result};
use crate::pg::call::{Call, Output};
use crate::pg::datum;

crate::pg::call::sql_function! {
    event_catalogue;
}

fn event_catalogue(call: &mut Call) -> Result<Output> {
    for entry in CATALOG {
        let schema = entry.payload().map(|payload| payload.schema().to_string());
        let schema = schema
            .map(|schema| {
                datum::jsonb_from_text(&schema)
                    .ok_or_else(|| Error::corrupt("the schema of a payload is JSON"))
            })
            .transpose()?;
        call.row(&[
            datum::text(entry.name),
            datum::text(entry.group),
            datum::text(&entry.fires_when()),
            datum::opt_jsonb(schema),
            datum::opt_text(entry.synonym_of()),
        ])?;
    }
    Ok(Output::Rows)
}
