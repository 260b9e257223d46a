//! `complete_step`, `fail_step`, `report_steps`: apply reports and return outcomes.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::metrics::{self, Metric};
use crate::orchestration::claimants::Claimant;
use crate::orchestration::leases::Returned;
use crate::orchestration::report::{self, DUPLICATE, Failure, Outcome, Report};
use crate::orchestration::{Engine, StepKey, workers};
use crate::pg::budget;
use crate::pg::call::{Call, Output};
use crate::pg::datum::{self, Arg, Jsonb, Uuid};
use crate::pg::rights;
use crate::pg::spi::Session;

crate::pg::call::sql_function! {
    complete_step;
    fail_step;
    report_steps;
}

/// As many steps as a claim hands out at most, and as many tasks as one call creates.
const MOST: usize = 10_000;

/// Refuses (54000) a call about more steps or tasks than one call takes.
pub fn check_count(count: usize, what: &str) -> Result<()> {
    if count <= MOST {
        return Ok(());
    }
    Err(
        Error::too_large(format!("{count} {what} are too many for one call"))
            .detail(format!("At most {MOST} are possible."))
            .hint("Make several calls with fewer each."),
    )
}

/// The longest wait a worker may ask for; the configured cap applies to it anyway.
const LONGEST_RETRY_AFTER_MS: f64 = 1e15;

fn key_and_claim(call: &Call) -> Result<(StepKey, i32)> {
    Ok((
        StepKey::from_uuid(&call.uuid(0, "step_uuid")?),
        call.get(1, "claim_number")?,
    ))
}

fn object(jsonb: Jsonb) -> Result<Jsonb> {
    if datum::is_object(jsonb) {
        Ok(jsonb)
    } else {
        Err(Error::check("results must be a JSON object")
            .detail("The document given is an array or a single value.")
            .hint("Wrap another value as {\"result\": value}, as the SDKs do."))
    }
}

fn complete_step(call: &mut Call) -> Result<Output> {
    let (key, claim_number) = key_and_claim(call)?;
    let results = object(call.jsonb(2, "results")?)?;
    one(Report {
        key,
        claim_number,
        results: Some(results),
        failure: None,
        returned: None,
    })
}

fn fail_step(call: &mut Call) -> Result<Output> {
    let (key, claim_number) = key_and_claim(call)?;
    let message: String = call.get(2, "error_message")?;
    let failure = Failure {
        message,
        class: call.opt_text(3),
        retryable: call.get(4, "retryable")?,
        retry_after_ms: call.opt_interval(5).map(|microseconds| microseconds / 1000),
        backtrace: call
            .opt_array::<String>(6)
            .and_then(|lines| backtrace(&lines)),
    };
    let results = call.opt_jsonb(7).map(object).transpose()?;
    one(Report {
        key,
        claim_number,
        results,
        failure: Some(failure),
        returned: None,
    })
}

fn backtrace(lines: &[Option<String>]) -> Option<Jsonb<'static>> {
    let lines: Vec<&str> = lines.iter().flatten().map(String::as_str).collect();
    serde_json::to_string(&lines)
        .ok()
        .and_then(|json| datum::jsonb_from_text(&json))
}

fn one(report: Report) -> Result<Output> {
    let (key, claim_number) = (report.key, report.claim_number);
    rights::as_owner(|caller| {
        let session = Session::open()?;
        let mut engine = Engine::open(&session)?;
        let claimant = Claimant::of(engine.session, caller)?;
        let outcomes = report::apply(&mut engine, &claimant, &[report])?;
        match outcomes.first() {
            // Another word than the first time: a transaction that also has other effects must not make them again.
            Some(Outcome::Duplicate(_)) => {
                metrics::count_labelled(Metric::ReportsRefused, DUPLICATE);
                engine.close()?;
                Ok(Output::from(DUPLICATE))
            }
            Some(Outcome::Accepted(state)) => {
                engine.close()?;
                Ok(Output::from(state.as_str()))
            }
            Some(outcome) => {
                if let Some(word) = outcome.refused() {
                    metrics::count_at_once(Metric::ReportsRefused, word);
                }
                Err(report::refusal(&key, claim_number, outcome))
            }
            None => Err(Error::corrupt("a report has no outcome")),
        }
    })
}

fn report_steps(call: &mut Call) -> Result<Output> {
    let worker_id: String = call.get(0, "worker_id")?;
    workers::check_id(&worker_id)?;
    let reports = call.jsonb(1, "reports")?;
    rights::as_owner(|caller| {
        let session = Session::open()?;
        let mut engine = Engine::open(&session)?;
        let claimant = Claimant::of(engine.session, caller)?;
        let parsed = ParsedReports::read(reports)?;
        let answers = parsed.apply(&mut engine, &claimant)?;
        for answer in &answers {
            call.row(&[
                datum::opt(answer.step_uuid.as_ref(), datum::uuid),
                datum::text(answer.outcome),
            ])?;
        }
        engine.close()?;
        Ok(Output::Rows)
    })
}

/// An element of `reports` with its outcome.
pub struct Answer {
    pub step_uuid: Option<Uuid>,
    pub outcome: &'static str,
    pub accepted: bool,
}

/// The elements of a `reports` array; unreadable ones keep their place. Their jsonb values live as long as the session.
pub struct ParsedReports<'a> {
    elements: Vec<(Option<Uuid>, Option<usize>)>,
    reports: Vec<Report<'a>>,
}

/// The keys of an element, made once per call. Fields leave the document as text; results and backtrace pass
/// through unread.
struct Keys {
    step_uuid: Arg<'static>,
    claim_number: Arg<'static>,
    status: Arg<'static>,
    results: Arg<'static>,
    error_message: Arg<'static>,
    error_class: Arg<'static>,
    retryable: Arg<'static>,
    retry_after_seconds: Arg<'static>,
    backtrace: Arg<'static>,
    reason: Arg<'static>,
}

impl<'a> ParsedReports<'a> {
    /// Reads the elements. The session must be open, because its memory holds the parts.
    pub fn read(reports: Jsonb<'a>) -> Result<Self> {
        if !datum::is_array(reports) {
            return Err(Error::parameter("reports must be a JSON array")
                .detail("The document given is an object or a single value.")
                .hint("[{\"step_uuid\": ..., \"claim_number\": ..., \"status\": \"complete\", \"results\": {...}}]"));
        }
        let count = datum::element_count(reports) as usize;
        check_count(count, "reports")?;
        let mut parsed = Self {
            elements: Vec::with_capacity(count),
            reports: Vec::with_capacity(count),
        };
        if count == 0 {
            return Ok(parsed);
        }
        let keys = Keys {
            step_uuid: datum::text("step_uuid"),
            claim_number: datum::text("claim_number"),
            status: datum::text("status"),
            results: datum::text("results"),
            error_message: datum::text("error_message"),
            error_class: datum::text("error_class"),
            retryable: datum::text("retryable"),
            retry_after_seconds: datum::text("retry_after_seconds"),
            backtrace: datum::text("backtrace"),
            reason: datum::text("reason"),
        };
        for index in 0..count {
            budget::check_for_cancel();
            let object = datum::array_element(reports, index);
            let step_uuid = object
                .and_then(|object| datum::field_text(object, keys.step_uuid))
                .and_then(|text| parse_uuid(&text));
            let report = match (object, step_uuid) {
                (Some(object), Some(uuid)) => element(&uuid, object, &keys),
                _ => None,
            };
            parsed
                .elements
                .push((step_uuid, report.as_ref().map(|_| parsed.reports.len())));
            parsed.reports.extend(report);
        }
        Ok(parsed)
    }

    pub fn apply(&self, engine: &mut Engine, claimant: &Claimant) -> Result<Vec<Answer>> {
        let outcomes = report::apply(engine, claimant, &self.reports)?;
        let answers = self.elements.iter().map(|(step_uuid, index)| {
            let outcome = index.and_then(|index| outcomes.get(index));
            let (outcome, accepted) = match outcome.and_then(Outcome::accepted) {
                Some(word) => (word, true),
                None => (
                    outcome.and_then(Outcome::refused).unwrap_or("invalid"),
                    false,
                ),
            };
            if !accepted {
                metrics::count_labelled(Metric::ReportsRefused, outcome);
            }
            Answer {
                step_uuid: *step_uuid,
                outcome,
                accepted,
            }
        });
        Ok(answers.collect())
    }
}

fn parse_uuid(text: &str) -> Option<Uuid> {
    uuid::Uuid::try_parse(text.trim())
        .ok()
        .map(uuid::Uuid::into_bytes)
}

/// A readable element; anything that does not fit makes it invalid as a whole.
fn element<'a>(step_uuid: &Uuid, object: Jsonb<'a>, keys: &Keys) -> Option<Report<'a>> {
    let claim_number = datum::field_text(object, keys.claim_number)?.parse().ok()?;
    let results = datum::field(object, keys.results);
    if results.is_some_and(|results| !datum::is_object(results)) {
        return None;
    }
    let (failure, returned) = match datum::field_text(object, keys.status)?.as_str() {
        "complete" => (None, None),
        "error" => (Some(failure(object, keys)?), None),
        "released" => (None, Some(returned(object, keys)?)),
        _ => return None,
    };
    let results = if failure.is_none() && returned.is_none() {
        Some(results.or_else(|| datum::jsonb_from_text("{}"))?)
    } else {
        results
    };
    Some(Report {
        key: StepKey::from_uuid(step_uuid),
        claim_number,
        results,
        failure,
        returned,
    })
}

fn failure<'a>(object: Jsonb<'a>, keys: &Keys) -> Option<Failure<'a>> {
    let retryable = match datum::field_text(object, keys.retryable).as_deref() {
        None | Some("true") => true,
        Some("false") => false,
        Some(_) => return None,
    };
    let retry_after_ms = retry_after_ms(object, keys)?;
    Some(Failure {
        message: datum::field_text(object, keys.error_message)
            .unwrap_or_else(|| "no error_message was reported".to_owned()),
        class: datum::field_text(object, keys.error_class),
        retryable,
        retry_after_ms,
        backtrace: datum::field(object, keys.backtrace),
    })
}

/// The outer `None`: it cannot be read.
fn retry_after_ms(object: Jsonb, keys: &Keys) -> Option<Option<i64>> {
    let Some(seconds) = datum::field_text(object, keys.retry_after_seconds) else {
        return Some(None);
    };
    let milliseconds = seconds
        .parse::<f64>()
        .ok()
        .filter(|seconds| seconds.is_finite())?
        * 1000.0;
    Some(Some(milliseconds.clamp(0.0, LONGEST_RETRY_AFTER_MS) as i64))
}

fn returned(object: Jsonb, keys: &Keys) -> Option<Returned> {
    Some(Returned {
        wait_ms: retry_after_ms(object, keys)?.unwrap_or(0),
        reason: datum::field_text(object, keys.reason),
    })
}

/// The elements of `steps` of release_steps: {step_uuid, claim_number} each.
pub fn held_steps(steps: Jsonb) -> Result<HashMap<StepKey, i32>> {
    let unreadable = |detail: String| {
        Error::parameter("steps must be a JSON array of {step_uuid, claim_number}")
            .detail(detail)
            .hint("Give step_uuid and claim_number of each step as the claim returned them; NULL gives back all.")
    };
    if !datum::is_array(steps) {
        return Err(unreadable(
            "The document given is an object or a single value.".into(),
        ));
    }
    check_count(datum::element_count(steps) as usize, "steps")?;
    let (step_uuid, claim_number) = (datum::text("step_uuid"), datum::text("claim_number"));
    (0..datum::element_count(steps) as usize)
        .map(|index| {
            datum::array_element(steps, index)
                .and_then(|object| {
                    let uuid = parse_uuid(&datum::field_text(object, step_uuid)?)?;
                    let number = datum::field_text(object, claim_number)?.parse().ok()?;
                    Some((StepKey::from_uuid(&uuid), number))
                })
                .ok_or_else(|| unreadable(format!("Element {} cannot be read.", index + 1)))
        })
        .collect()
}
