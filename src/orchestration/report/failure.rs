//! Failed runs: whether and when each step runs again.

use std::borrow::Cow;
use std::collections::BTreeMap;

use pgrx::pg_sys;
use tasker_rules::engine::readiness::unless_held;
use tasker_rules::engine::retry::Attempts;

use super::hold::Held;
use super::{Failure, Report};
use crate::error::Result;
use crate::orchestration::Engine;
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

pub(super) struct Decided {
    pub(super) index: usize,
    pub(super) retry_at: Option<Timestamp>,
}

/// Decides for each failed run whether and when the step runs again, and writes the decision.
pub(super) fn decide(
    engine: &Engine,
    reports: &[Report],
    held: &BTreeMap<usize, Held>,
) -> Result<Vec<Decided>> {
    let mut decided = Vec::new();
    let mut retryable = Vec::new();
    for (&index, held) in held {
        let Some(failure) = &reports[index].failure else {
            continue;
        };
        let attempts = Attempts {
            made: held.attempts,
            limit: held.retry_limit,
            retryable: failure.retryable && held.retryable,
        };
        let backoff = &held.template.step(reports[index].key.no)?.backoff;
        let retry_at = engine.retry_after_failure(attempts, backoff, failure.retry_after_ms);
        let retry_at = unless_held(held.available_at, retry_at);
        retryable.push(attempts.retryable);
        decided.push(Decided { index, retry_at });
    }
    if decided.is_empty() {
        return Ok(decided);
    }
    let report = |decided: &Decided| &reports[decided.index];
    let stored: Vec<Stored> = decided
        .iter()
        .filter_map(|decided| {
            let failure = report(decided).failure.as_ref()?;
            Some(Stored::of(failure, report(decided).results))
        })
        .collect();
    let failures: Vec<&Failure> = decided
        .iter()
        .filter_map(|decided| report(decided).failure.as_ref())
        .collect();
    engine.session.run(
        &FAIL,
        &[
            datum::uuids(decided.iter().map(|decided| &report(decided).key.task)),
            datum::int2s(decided.iter().map(|decided| report(decided).key.no)),
            datum::timestamps(decided.iter().map(|decided| decided.retry_at)),
            datum::booleans(retryable),
            datum::jsonbs(stored.iter().map(|stored| stored.results)),
            datum::texts(stored.iter().map(|stored| Some(&*stored.message))),
            datum::texts(failures.iter().map(|failure| failure.class.as_deref())),
            datum::jsonbs(stored.iter().map(|stored| stored.backtrace)),
        ],
    )?;
    Ok(decided)
}
