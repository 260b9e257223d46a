//! Reading the log as events.

use tasker_rules::events::pattern::{PATTERN_HINT, Selection};
use tasker_rules::events::position::Position;

use crate::error::{Error, Result};
use crate::orchestration::resumption;
use crate::pg::call::{self, Call, Output};
use crate::pg::datum::{self, Arg, Jsonb};
use crate::pg::spi::Session;
use crate::pg::wal;
use crate::stream::{self, Event, Sources, Wanted};

crate::pg::call::sql_function! {
    read_events;
}

/// What the column `payload` holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// The payload.
    Native,
    /// The whole event as a CloudEvent.
    CloudEvents,
}

/// The format that a caller asks for (22023).
pub(super) fn format(call: &Call, index: usize) -> Result<Format> {
    let name: String = call.get(index, "format")?;
    match &*name {
        "native" => Ok(Format::Native),
        "cloudevents" => Ok(Format::CloudEvents),
        _ => Err(Error::parameter(format!(
            "unknown format of events \"{}\"",
            call::shortened(&name)
        ))
        .detail("It says what the column payload holds: the payload, or the whole event as a CloudEvent.")
        .hint("Use native or cloudevents.")),
    }
}

/// The events in the format.
pub(super) fn formatted<'e>(
    session: &Session,
    format: Format,
    events: impl Iterator<Item = &'e mut Event>,
) -> Result<()> {
    if format == Format::CloudEvents {
        let sources = Sources::read(session)?;
        for event in events {
            sources.wrap(event);
        }
    }
    Ok(())
}

fn read_events(call: &mut Call) -> Result<Output> {
    let mut position = match call.opt_text(0) {
        None => Position::beginning(),
        Some(text) => parse_position("after", &text)?,
    };
    let most = most_events(call, 1)?;
    let selection = selection(call.opt_array::<String>(2))?;
    let namespaces: Option<Vec<String>> = call
        .opt_array::<String>(3)
        .map(|names| names.into_iter().flatten().collect());
    let format = format(call, 4)?;
    let session = Session::open()?;
    // Before, the rows have ids of transactions of another server, which this one cannot compare.
    resumption::require_or_new(&session)?;
    let wanted = Wanted {
        namespaces: namespaces.as_deref(),
        positions: true,
        ..Wanted::all(&selection, most)
    };
    let before = position.clone();
    let mut events = stream::read(&session, &mut position, &wanted)?;
    if position != before {
        // The reader keeps it elsewhere: a crash must not give the ids of transactions that it has seen to others.
        wal::flush();
    }
    formatted(&session, format, events.iter_mut())?;
    for event in &events {
        let (mut values, payload) = event_args(event)?;
        values.extend([payload.arg(), datum::text(&event.position)]);
        call.row(&values)?;
    }
    if events.len() < wanted.most && position != before && events.is_empty() {
        let mut nothing = [Arg::NULL; 10];
        nothing[9] = datum::text(&position.to_string());
        call.row(&nothing)?;
    }
    Ok(Output::Rows)
}

/// A position that a caller gives (22023).
pub(super) fn parse_position(parameter: &str, text: &str) -> Result<Position> {
    Position::parse(text).ok_or_else(|| {
        Error::parameter(format!(
            "{parameter} is no position: \"{}\"",
            call::shortened(text)
        ))
        .detail("A position is the text in column position of a row that read_events has returned.")
        .hint("Give NULL to begin with the oldest event.")
    })
}

/// How many events a call may return (22023).
pub(super) fn most_events(call: &Call, index: usize) -> Result<usize> {
    let most: i32 = call.get(index, "max_events")?;
    if !(1..=10_000).contains(&most) {
        return Err(
            Error::parameter(format!("max_events {most} is out of range"))
                .detail("One call returns 1 to 10,000 events.")
                .hint("Call again with the position of the last row."),
        );
    }
    Ok(most as usize)
}

/// The patterns that a caller gives (22023); NULL: all events.
pub(super) fn selection(patterns: Option<Vec<Option<String>>>) -> Result<Selection> {
    let patterns: Vec<String> = patterns
        .unwrap_or_else(|| vec![Some("*".to_owned())])
        .into_iter()
        .flatten()
        .collect();
    if patterns.is_empty() {
        return Err(Error::parameter("patterns holds no pattern").hint(PATTERN_HINT));
    }
    Selection::parse(patterns.iter().map(String::as_str))
        .map_err(|bad| Error::parameter(bad.to_string()).hint(PATTERN_HINT))
}

pub(super) fn event_payload(event: &Event) -> Result<Jsonb<'static>> {
    let payload = event.payload.jsonb();
    payload.ok_or_else(|| Error::corrupt("a payload is no jsonb"))
}

/// The first eight columns of an event, and its payload.
pub(super) fn event_args(event: &Event) -> Result<(Vec<Arg<'_>>, Jsonb<'static>)> {
    let payload = event_payload(event)?;
    let values = vec![
        datum::int8(event.id),
        datum::text(&event.name),
        datum::timestamp(event.occurred_at),
        datum::opt_text(event.namespace.as_deref()),
        datum::opt(event.task.as_ref(), datum::uuid),
        datum::opt(event.step.as_ref(), datum::uuid),
        datum::opt_text(event.correlation_id.as_deref()),
        datum::opt_text(event.traceparent.as_deref()),
    ];
    Ok((values, payload))
}
