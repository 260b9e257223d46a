//! Which telemetry events go to, kept in the memory of each backend until a route or a setting changes.

use std::rc::Rc;

use tasker_rules::events::route::{Route, Routes};

use crate::error::Result;
use crate::pg::call;
use crate::pg::changes;
use crate::pg::installation::Kept;
use crate::pg::spi::{Session, Statement};
use crate::settings;

static CHANGED: Statement = Statement::new(
    "SELECT c.event, c.backends, c.enabled, c.sampling_rate::float8 FROM tasker_engine.changed_event_routes c",
    &[],
);

/// The routes, with what they were made of: the number of changes and the settings.
#[derive(Default)]
struct Known {
    changes: u64,
    sampling_rate: f64,
    filtered: Option<String>,
    routes: Option<Rc<Routes>>,
}

static KNOWN: Kept<Known> = Kept::new();

/// The routes in force. The same value as before unless something has changed.
pub fn current() -> Result<Rc<Routes>> {
    let changes = changes::of(&changes::EVENT_ROUTES);
    let sampling_rate = settings::event_sampling_rate();
    let filtered = settings::filtered_events();
    let known = KNOWN.with(|known| {
        let same = known.changes == changes
            && known.sampling_rate.to_bits() == sampling_rate.to_bits()
            && known.filtered == filtered;
        known.routes.clone().filter(|_| same)
    });
    if let Some(routes) = known {
        return Ok(routes);
    }
    let names = filtered.as_deref().map(settings::names).into_iter();
    let routes = Rc::new(Routes::in_force(read()?, sampling_rate, names.flatten()));
    // A snapshot of REPEATABLE READ is older than what was told.
    if call::statements_see_commits() {
        KNOWN.set(Known {
            changes,
            sampling_rate,
            filtered,
            routes: Some(Rc::clone(&routes)),
        });
    }
    Ok(routes)
}

fn read() -> Result<Vec<Route>> {
    changes::watch(&changes::EVENT_ROUTES)?;
    let session = Session::open()?;
    let rows = session.run(&CHANGED, &[])?;
    rows.iter()
        .map(|row| {
            Ok(Route {
                event: row.get(1)?,
                backends: row.get(2)?,
                enabled: row.get(3)?,
                sampling_rate: row.get(4)?,
            })
        })
        .collect()
}
