//! Failed runs: whether and when each step runs again.

use std::borrow::Cow;
use std::collections::BTreeMap;

use pgrx::pg_sys;
use tasker_rules::engine::readiness::unless_held;
use tasker_rules::engine::retry::Attempts;
use tasker_rules::events::failure::{Failure as LoggedFailure, MOST_LINES, Next, SERVER_REQUESTED};

use super::hold::Held;
use super::{Failure, Report};
use crate::error::Result;
use crate::orchestration::{Engine, audit};
use crate::pg::datum::{self, Jsonb, Timestamp};
use crate::pg::spi::Statement;
use crate::settings;

static FAIL: Statement = Statement::new(
    "UPDATE tasker_engine.steps s
     SET state = 'e', available_at = u.available_at, retryable = u.retryable,
         results = coalesce(u.results, '{}')
                   || jsonb_build_object('error_message', u.message)
                   || CASE WHEN u.class IS NULL THEN '{}'::jsonb
                           ELSE jsonb_build_object('error_class', u.class) END
                   || CASE WHEN u.backtrace IS NULL THEN '{}'::jsonb
                           ELSE jsonb_build_object('backtrace', u.backtrace) END
     FROM unnest($1, $2, $3, $4, $5, $6, $7, $8)
          AS u (task_uuid, step_no, available_at, retryable, results, message, class, backtrace)
     WHERE s.task_uuid = u.task_uuid AND s.step_no = u.step_no",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::TIMESTAMPTZARRAYOID,
        pg_sys::BOOLARRAYOID,
        pg_sys::JSONBARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::JSONBARRAYOID,
    ],
);

/// Characters of the message of a failure that is too large.
const SHORT_MESSAGE: usize = 10_000;

/// What is stored of a failure. One that is too large keeps its message, or the beginning of it: refused, it would come again.
struct Stored<'r> {
    message: Cow<'r, str>,
    results: Option<Jsonb<'r>>,
    backtrace: Option<Jsonb<'r>>,
}

impl<'r> Stored<'r> {
    fn of(failure: &'r Failure<'r>, results: Option<Jsonb<'r>>) -> Self {
        let documents: Vec<Jsonb> = results.into_iter().chain(failure.backtrace).collect();
        let size: usize = documents.iter().map(|one| datum::size(*one)).sum();
        if size + failure.message.len() <= settings::max_results_size()
            && !datum::texts_are_too_long(&documents)
        {
            return Self {
                message: Cow::Borrowed(&failure.message),
                results,
                backtrace: failure.backtrace,
            };
        }
        let begin: String = failure.message.chars().take(SHORT_MESSAGE).collect();
        Self {
            message: Cow::Owned(format!(
                "{begin} (the rest of the report exceeds tasker.max_results_size and was left out)"
            )),
            results: None,
            backtrace: None,
        }
    }
}

pub(super) struct Decided<'r> {
    pub(super) retry_at: Option<Timestamp>,
    retryable: bool,
    stored: Stored<'r>,
    /// What the log keeps: a later success overwrites the results.
    pub(super) metadata: Option<Jsonb<'static>>,
}

/// Decides for each failed run whether and when the step runs again, and writes the decision.
pub(super) fn decide<'r>(
    engine: &Engine,
    reports: &'r [Report],
    held: &BTreeMap<usize, Held>,
) -> Result<BTreeMap<usize, Decided<'r>>> {
    let mut all = BTreeMap::new();
    for (&index, held) in held {
        if let Some(failure) = &reports[index].failure {
            all.insert(index, decide_one(engine, &reports[index], failure, held)?);
        }
    }
    if all.is_empty() {
        return Ok(all);
    }
    let (reports, decided) = (|| all.keys().map(|index| &reports[*index]), || all.values());
    let class = |report: &'r Report| report.failure.as_ref()?.class.as_deref();
    engine.session.run(
        &FAIL,
        &[
            datum::uuids(reports().map(|report| &report.key.task)),
            datum::int2s(reports().map(|report| report.key.no)),
            datum::timestamps(decided().map(|decided| decided.retry_at)),
            datum::booleans(decided().map(|decided| decided.retryable)),
            datum::jsonbs(decided().map(|decided| decided.stored.results)),
            datum::texts(decided().map(|decided| Some(&*decided.stored.message))),
            datum::texts(reports().map(class)),
            datum::jsonbs(decided().map(|decided| decided.stored.backtrace)),
        ],
    )?;
    Ok(all)
}

fn decide_one<'r>(
    engine: &Engine,
    report: &'r Report,
    failure: &'r Failure,
    held: &Held,
) -> Result<Decided<'r>> {
    let attempts = Attempts {
        made: held.attempts,
        limit: held.retry_limit,
        retryable: failure.retryable && held.retryable,
    };
    let backoff = &held.template.step(report.key.no)?.backoff;
    let retry_at = engine.retry_after_failure(attempts, backoff, failure.retry_after_ms);
    let retry_at = unless_held(held.available_at, retry_at);
    let asked = failure.retry_after_ms.map(|_| SERVER_REQUESTED);
    let lines = failure.backtrace.into_iter().flat_map(datum::texts_of);
    let logged = LoggedFailure {
        message: &failure.message,
        class: failure.class.as_deref(),
        attempts,
        next: Next::of(engine.now, retry_at),
        backoff: Some(asked.unwrap_or_else(|| backoff.name())),
        expired: false,
        backtrace: lines.flat_map(str::lines).take(MOST_LINES).collect(),
    };
    Ok(Decided {
        retry_at,
        retryable: attempts.retryable,
        stored: Stored::of(failure, report.results),
        metadata: audit::failure(&logged),
    })
}
