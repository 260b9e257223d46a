//! Writes the events that routes send to the log as lines of the server's log. It reads the stream as a subscriber does, with a position of
//! its own, and only while a route sends something there. docs/logging.md#events.

use pgrx::PgSqlErrorCode as Code;
use pgrx::pg_sys;
use serde_json::{Map, Value};
use tasker_rules::events::log_line::{Level, Line, Told};
use tasker_rules::events::pattern::Selection;
use tasker_rules::events::position::Position;
use tasker_rules::events::route::{Backend, Routes};
use tasker_rules::events::time;

use crate::error::{Error, Result};
use crate::logging::Said;
use crate::pg::datum;
use crate::pg::server_log::Severity;
use crate::pg::spi::{Session, Statement};
use crate::registry::routes;
use crate::settings;
use crate::stream::{self, Event, Wanted};

/// Events of one round.
const MOST: usize = 1000;

static READ: Statement = Statement::new(
    "SELECT r.position FROM tasker_engine.event_log_positions r",
    &[],
);

static WRITE: Statement = Statement::new(
    "INSERT INTO tasker_engine.event_log_positions AS r (position) VALUES ($1)
     ON CONFLICT ON CONSTRAINT event_log_positions_pkey DO UPDATE SET position = EXCLUDED.position",
    &[pg_sys::TEXTOID],
);

static FORGET: Statement = Statement::new("DELETE FROM tasker_engine.event_log_positions", &[]);

/// Writes the lines of the next events; returns how many it has read.
pub fn write(session: &Session) -> Result<usize> {
    // Before the call takes a transaction id.
    let mark = stream::mark(session)?;
    let routes = routes::current()?;
    let rows = session.run(&READ, &[])?;
    let stored: Option<String> = rows.first().map(|row| row.get(1)).transpose()?;
    let names: Vec<&str> = routes.routed(Backend::Log).collect();
    if names.is_empty() {
        if stored.is_some() {
            session.run(&FORGET, &[])?;
        }
        return Ok(0);
    }
    // The log begins with the route.
    let Some(mut position) = stored.and_then(|text| Position::parse(&text)) else {
        keep(session, &stream::now_position(session)?)?;
        return Ok(0);
    };
    let selection =
        Selection::parse(names).map_err(|_| Error::corrupt("a route has a name that is none"))?;
    let wanted = Wanted {
        scanned: settings::max_scan_events(),
        mark: Some(mark),
        ..Wanted::all(&selection, MOST)
    };
    let before = position.read_to();
    let events = match stream::read(session, &mut position, &wanted) {
        // After a restore the ids begin again.
        Err(other) if other.code == Code::ERRCODE_INVALID_PARAMETER_VALUE => {
            keep(session, &stream::now_position(session)?)?;
            return Ok(0);
        }
        events => events?,
    };
    let count = events.len();
    for event in events {
        if is_admitted(&routes, &event) {
            tell(event);
        }
    }
    if count > 0 || position.read_to() != before {
        keep(session, &position)?;
    }
    Ok(count)
}

fn keep(session: &Session, position: &Position) -> Result<()> {
    session.run(&WRITE, &[datum::text(&position.to_string())])?;
    Ok(())
}

/// What is of no task belongs to every share.
fn is_admitted(routes: &Routes, event: &Event) -> bool {
    match &event.task {
        Some(task) => routes.admits(Backend::Log, &event.name, task),
        None => routes.share(Backend::Log, &event.name) > 0.0,
    }
}

fn tell(event: Event) {
    let text = |uuid: &datum::Uuid| uuid::Uuid::from_bytes(*uuid).hyphenated().to_string();
    let (task, step) = (event.task.as_ref().map(text), event.step.as_ref().map(text));
    let payload: Map<String, Value> = event.payload.into_map();
    let told = Told {
        name: &event.name,
        payload: &payload,
        task_uuid: task.as_deref(),
        step_uuid: step.as_deref(),
    };
    let level = Level::of_event(&event.name);
    let severity = match level {
        Level::Warn | Level::Error => Severity::Warning,
        _ => Severity::Log,
    };
    let line = Line::new()
        .with_opt("correlation_id", event.correlation_id)
        .with("event_id", event.id)
        .with("occurred_at", time::iso(event.occurred_at))
        .with_opt("namespace", event.namespace)
        .with_opt("traceparent", event.traceparent)
        .and(told.line());
    Said::new(level, &told.message())
        .by("events")
        .and(line)
        .write_to_server(severity);
}
