//! The routes of events to telemetry.

use tasker_rules::events::route::{Backend, DEFAULTS};
use tasker_rules::names;

use crate::error::{Error, Result};
use crate::pg::call::{self, Call, Output};
use crate::pg::{changes, datum};
use crate::registry::routes;

crate::pg::call::sql_function! {
    default_event_routes;
    event_routes_changed;
    event_share;
}

fn default_event_routes(call: &mut Call) -> Result<Output> {
    for route in &DEFAULTS {
        call.row(&[
            datum::text(route.event),
            datum::texts(route.backends.iter().map(|backend| Some(backend.name()))),
            datum::numeric(&route.sampling_rate.to_string()),
            datum::text(route.priority),
        ])?;
    }
    Ok(Output::Rows)
}

fn event_routes_changed(_: &mut Call) -> Result<Output> {
    changes::tell(&changes::EVENT_ROUTES)?;
    Ok(Output::Null)
}

fn event_share(call: &mut Call) -> Result<Output> {
    let event: String = call.get(0, "event")?;
    let backend: String = call.get(1, "backend")?;
    names::check_event(&event).map_err(|problem| {
        Error::parameter(problem).hint("SELECT name FROM tasker.event_catalog lists the names.")
    })?;
    let backend = Backend::ALL
        .into_iter()
        .find(|known| known.name() == backend)
        .ok_or_else(|| {
            Error::parameter(format!(
                "there is no backend \"{}\"",
                call::shortened(&backend)
            ))
            .hint("An event goes to trace, metrics or log.")
        })?;
    Ok(Output::Float(routes::current()?.share(backend, &event)))
}
