//! The trace of the caller of a request.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode};
use tasker_rules::events::trace::context::{Parent, check_state};

use crate::pg::call;

/// The traceparent and the tracestate that a request keeps. What is malformed only loses the trace, so it is told and left out.
pub fn context(
    traceparent: Option<String>,
    tracestate: Option<String>,
) -> (Option<String>, Option<String>) {
    let parent = traceparent.filter(|text| {
        let read = Parent::parse(text);
        if let Err(why) = read {
            warn("traceparent", text, why);
        }
        read.is_ok()
    });
    let state = tracestate.filter(|text| {
        let read = match parent {
            Some(_) => check_state(text),
            None => Err("it belongs to a traceparent, and there is none"),
        };
        if let Err(why) = read {
            warn("tracestate", text, why);
        }
        read.is_ok()
    });
    (parent, state)
}

fn warn(what: &str, text: &str, why: &str) {
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("{what} \"{}\" is ignored: {why}", call::shortened(text)),
        "create_task",
    )
    .set_detail("The task is created as if it had not been given.")
    .set_hint("W3C Trace Context describes both; an example of a traceparent is 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.")
    .report(PgLogLevel::WARNING);
}
