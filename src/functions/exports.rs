//! Facts of the export of telemetry. The rule is crates/rules/src/events/exports.rs.

use pgrx::pg_sys;
use serde_json::{Map, Value};
use tasker_rules::events::exports::{Export, LONGEST_REST_SECONDS, LOOKED_AT, MOST_BYTES, Told};
use tasker_rules::names;

use crate::error::{Error, Result};
use crate::orchestration::resumption::{self, State};
use crate::orchestration::{Engine, publish};
use crate::pg::call::{self, Call, Output, shortened};
use crate::pg::datum::{self, Jsonb};
use crate::pg::spi::{Session, Statement};

crate::pg::call::sql_function! {
    record_export;
    note_export;
    processor_seconds;
}

/// For the pace of an exporter, which compares it with the clock.
fn processor_seconds(_: &mut Call) -> Result<Output> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Ok(Output::Float(
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9,
    ))
}

fn record_export(call: &mut Call) -> Result<Output> {
    let exporter: String = call.get(0, "exporter")?;
    let word: String = call.get(1, "event")?;
    let details = call.jsonb(2, "details")?;
    names::check_exporter(&exporter).map_err(|problem| {
        Error::parameter(problem).hint("Name the program and what it exports, as in otlp.")
    })?;
    let export = Export::of(&word).ok_or_else(|| {
        let words: Vec<&str> = Export::ALL.iter().map(|one| one.word()).collect();
        Error::parameter(format!("unknown event \"{}\"", shortened(&word)))
            .detail("It is what an exporter tells of itself.")
            .hint(format!("Use one of {}.", words.join(", ")))
    })?;
    tell(&exporter, &[export], &object(details)?)?;
    Ok(Output::Null)
}

/// For export_metrics: the export was asked for and is done.
fn note_export(call: &mut Call) -> Result<Output> {
    let format: String = call.get(0, "format")?;
    let details = call.jsonb(1, "details")?;
    let exporter = format!("export_metrics({format})");
    tell(
        &exporter,
        &[Export::Requested, Export::Completed],
        &object(details)?,
    )?;
    Ok(Output::Null)
}

fn object(details: Jsonb) -> Result<Map<String, Value>> {
    let wrong = |message: &str| {
        Error::parameter(message)
            .hint("Give a small object, such as {\"error_message\": \"no answer\"}.")
    };
    if !datum::is_object(details) {
        return Err(wrong("details must be a JSON object"));
    }
    let size = datum::size(details);
    if size > MOST_BYTES || datum::texts_are_too_long(&[details]) {
        return Err(wrong("details is too large").detail(format!(
            "It has {size} bytes; at most {MOST_BYTES} are allowed."
        )));
    }
    datum::require_shallow(details, "details")?;
    match serde_json::from_str(&datum::jsonb_text(details)) {
        Ok(Value::Object(details)) => Ok(details),
        _ => Err(wrong("details cannot be read")),
    }
}

static RECENT: Statement = Statement::new(
    "SELECT l.name, l.aggregate_id, l.created_at
     FROM (SELECT e.name, e.aggregate_id, e.created_at FROM tasker_engine.events e WHERE e.slot = $1 ORDER BY e.id DESC LIMIT $2) l
     WHERE l.created_at > $3 AND l.name LIKE 'tasker.telemetry.%'",
    &[pg_sys::INT2OID, pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID],
);

/// Writes these facts of an exporter, or nothing: what is told too often, and where nothing may be written, is left out.
fn tell(exporter: &str, exports: &[Export], details: &Map<String, Value>) -> Result<()> {
    if !call::may_write() {
        return Ok(());
    }
    let session = Session::open()?;
    if resumption::state(&session)? != State::Same {
        return Ok(());
    }
    let mut engine = Engine::open_any_isolation(&session);
    let since = engine.now - LONGEST_REST_SECONDS * 1_000_000;
    let args = [
        datum::int2(publish::current_slot()?),
        datum::int8(LOOKED_AT),
        datum::timestamp(since),
    ];
    let mut recent = vec![];
    for row in session.run(&RECENT, &args)?.iter() {
        recent.push(Told {
            event: row.get(1)?,
            exporter: row.get(2)?,
            microseconds_ago: engine.now - row.get::<i64>(3)?,
        });
    }
    for export in exports {
        if export.is_told(exporter, &recent) {
            let payload = Value::Object(export.payload(exporter, details.clone()));
            engine
                .events
                .fact(engine.now, export.event(), exporter, None, payload)?;
        }
    }
    engine.close()
}
