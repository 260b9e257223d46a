//! Spans as rows.

use super::reports::check_count;
use crate::error::{Error, Result};
use crate::pg::call::{Call, Output};
use crate::pg::datum::{self, Arg, Timestamp, Uuid};
use crate::pg::spi::Session;
use crate::stream::{Span, Spans};

crate::pg::call::sql_function! {
    trace_spans;
    spans_of_events;
}

const MOST_SPANS: i32 = 10_000;

fn trace_spans(call: &mut Call) -> Result<Output> {
    let since: Timestamp = call.opt(0).unwrap_or(Timestamp::MIN);
    let until: Timestamp = call.opt(1).unwrap_or(Timestamp::MAX);
    let task: Option<Uuid> = call.opt(2);
    let most: i32 = call.get(3, "limit_count")?;
    if !(1..=MOST_SPANS).contains(&most) {
        return Err(
            Error::parameter(format!("limit_count {most} is out of range"))
                .detail("One call returns 1 to 10,000 spans.")
                .hint("Call again with the ended_at of the last row as since."),
        );
    }
    let (time, most) = ((since, until), most as usize);
    let session = Session::open()?;
    let mut spans = Spans::new(&session)?;
    let found = match task {
        Some(task) => spans.of_task(task, time, most)?,
        None => spans.between(time, most)?,
    };
    for span in &found {
        call.row(&columns(span))?;
    }
    Ok(Output::Rows)
}

fn spans_of_events(call: &mut Call) -> Result<Output> {
    let events = call
        .opt_array::<i64>(0)
        .ok_or_else(|| Error::null("event_ids"))?;
    check_count(events.len(), "events")?;
    let events: Vec<i64> = events.into_iter().flatten().collect();
    let session = Session::open()?;
    for span in &Spans::new(&session)?.of_events(&events)? {
        let mut row = vec![datum::int8(span.event_id)];
        row.extend(columns(span));
        call.row(&row)?;
    }
    Ok(Output::Rows)
}

fn columns(span: &Span) -> [Arg<'_>; 16] {
    [
        datum::text(&span.trace_id),
        datum::text(&span.span_id),
        datum::opt_text(span.parent_span_id.as_deref()),
        datum::opt_text(span.trace_state.as_deref()),
        datum::text(span.name),
        datum::text(span.kind),
        datum::timestamp(span.started_at),
        datum::timestamp(span.ended_at),
        datum::text(span.status),
        datum::opt_text(span.status_message.as_deref()),
        span.attributes.arg(),
        span.events.arg(),
        datum::boolean(span.sampled),
        datum::uuid(&span.task),
        datum::opt(span.step.as_ref(), datum::uuid),
        datum::opt(span.claim_number, datum::int4),
    ]
}
