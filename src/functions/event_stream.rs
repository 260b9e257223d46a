//! Reading the log as events.

use tasker_rules::events::pattern::{PATTERN_HINT, Selection};
use tasker_rules::events::position::Position;

use crate::error::{Error, Result};
use crate::orchestration::resumption;
use crate::pg::call::{self, Call, Output};
use crate::pg::datum::{self, Arg};
use crate::pg::spi::Session;
use crate::stream::{self, Event, Wanted};

crate::pg::call::sql_function! {
    read_events;
}

fn read_events(call: &mut Call) -> Result<Output> {
    let mut position = match call.opt_text(0) {
        None => Position::beginning(),
        Some(text) => Position::parse(&text).ok_or_else(|| {
            Error::parameter(format!(
                "after is no position: \"{}\"",
                call::shortened(&text)
            ))
            .detail(
                "A position is the text in column position of a row that read_events has returned.",
            )
            .hint("Give NULL to begin with the oldest event.")
        })?,
    };
    let most: i32 = call.get(1, "max_events")?;
    if !(1..=10_000).contains(&most) {
        return Err(
            Error::parameter(format!("max_events {most} is out of range"))
                .detail("One call returns 1 to 10,000 events.")
                .hint("Call again with the position of the last row."),
        );
    }
    let selection = selection(call.opt_array::<String>(2))?;
    let namespaces: Option<Vec<String>> = call
        .opt_array::<String>(3)
        .map(|names| names.into_iter().flatten().collect());
    let session = Session::open()?;
    // Before, the rows have ids of transactions of another server, which this one cannot compare.
    resumption::require_or_new(&session)?;
    let wanted = Wanted {
        selection: &selection,
        namespaces: namespaces.as_deref(),
        most: most as usize,
    };
    let before = position.clone();
    let events = stream::read(&session, &mut position, &wanted)?;
    for event in &events {
        row(call, event)?;
    }
    if events.len() < wanted.most && position != before && events.is_empty() {
        let mut nothing = [Arg::NULL; 10];
        nothing[9] = datum::text(&position.to_string());
        call.row(&nothing)?;
    }
    Ok(Output::Rows)
}

fn selection(patterns: Option<Vec<Option<String>>>) -> Result<Selection> {
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

fn row(call: &mut Call, event: &Event) -> Result<()> {
    let payload = datum::jsonb_from_text(&event.payload.to_string())
        .ok_or_else(|| Error::corrupt("a payload is JSON"))?;
    call.row(&[
        datum::int8(event.id),
        datum::text(&event.name),
        datum::timestamp(event.occurred_at),
        datum::opt_text(event.namespace.as_deref()),
        datum::opt(event.task.as_ref(), datum::uuid),
        datum::opt(event.step.as_ref(), datum::uuid),
        datum::opt_text(event.correlation_id.as_deref()),
        datum::opt_text(event.traceparent.as_deref()),
        payload.arg(),
        datum::text(&event.position),
    ])
}
