//! `complete_step`, `fail_step`, `report_steps`: apply reports and return outcomes.

use std::cell::Cell;
use std::collections::HashMap;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode};
use tasker_rules::{names, number};

use crate::error::{Error, Result};
use crate::metrics::{self, Metric};
use crate::orchestration::claimants::Claimant;
use crate::orchestration::leases::Returned;
use crate::orchestration::report::{self, DUPLICATE, Failure, Outcome, Report};
use crate::orchestration::{Engine, StepKey, workers};
use crate::pg::budget;
use crate::pg::call::{Call, Output, shortened};
use crate::pg::datum::{self, Field, Jsonb, Object, Uuid};
use crate::pg::memory;
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
        events: None,
        logs: None,
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
        events: None,
        logs: None,
    })
}

fn backtrace(lines: &[Option<String>]) -> Option<Jsonb<'static>> {
    memory::require_json(lines.iter().flatten().map(String::as_str));
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

/// The keys of an element.
const KEYS: [&str; 12] = [
    "step_uuid",
    "claim_number",
    "status",
    "results",
    "error_message",
    "error_class",
    "retryable",
    "retry_after_seconds",
    "backtrace",
    "reason",
    "events",
    "logs",
];

/// An element that is read. A field has one type: what has another cannot be read.
struct Fields<'a> {
    object: Object<'a>,
    /// How many of its keys were read.
    read: Cell<usize>,
}

impl<'a> Fields<'a> {
    fn of(element: Jsonb<'a>) -> Option<Self> {
        Some(Self {
            object: Object::of(element)?,
            read: Cell::new(0),
        })
    }

    /// `None`: missing or null. Each key is asked for once.
    fn get(&self, key: &str) -> Option<Field<'a>> {
        let field = self.object.get(key)?;
        self.read.set(self.read.get() + 1);
        (!field.is_null()).then_some(field)
    }

    /// A field that is read last: nothing is looked for once all keys were read.
    fn rest(&self, key: &str) -> Option<Field<'a>> {
        let all_read = self.read.get() == self.object.len();
        (!all_read).then(|| self.get(key)).flatten()
    }

    /// A field that may be missing. The outer `None`: it cannot be read.
    fn opt<T>(&self, key: &str, read: impl FnOnce(Field<'a>) -> Option<T>) -> Option<Option<T>> {
        match self.get(key) {
            None => Some(None),
            Some(field) => read(field).map(Some),
        }
    }

    fn text(&self, key: &str) -> Option<String> {
        self.get(key).map(Field::to_text)
    }

    fn uuid(&self, key: &str) -> Option<Uuid> {
        let text = self.get(key)?.as_str()?;
        let uuid = uuid::Uuid::try_parse(text).ok()?;
        Some(uuid.into_bytes())
    }

    fn claim_number(&self) -> Option<i32> {
        let number = self.get("claim_number")?.as_number()?;
        i32::try_from(number::whole(&number)?).ok()
    }

    /// A key that can only be a mistake in writing a known one, and the known one. An element whose keys were all read has none.
    fn misspelled(&self) -> Option<(&'a str, &'static str)> {
        const MOST: usize = 100;
        if self.read.get() == self.object.len() {
            return None;
        }
        let unknown = self.object.keys().filter(|key| !KEYS.contains(key));
        unknown
            .take(MOST)
            .find_map(|key| Some((key, names::misspelled(key, KEYS)?)))
    }
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
        let mut told = false;
        for index in 0..count {
            budget::check_for_cancel();
            let fields = datum::array_element(reports, index).and_then(Fields::of);
            let step_uuid = fields.as_ref().and_then(|fields| fields.uuid("step_uuid"));
            let mut report = match (&fields, step_uuid) {
                (Some(fields), Some(uuid)) => element(&uuid, fields),
                _ => None,
            };
            if let Some((key, known)) = fields.as_ref().and_then(Fields::misspelled) {
                report = None;
                if !std::mem::replace(&mut told, true) {
                    warn_of_key(index, key, known);
                }
            }
            parsed
                .elements
                .push((step_uuid, report.as_ref().map(|_| parsed.reports.len())));
            parsed.reports.extend(report);
        }
        Ok(parsed)
    }

    pub fn apply(&self, engine: &mut Engine<'a>, claimant: &Claimant) -> Result<Vec<Answer>> {
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

fn warn_of_key(index: usize, key: &str, known: &str) {
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_WARNING,
        format!(
            "element {} of reports is invalid: it has the unknown key {}",
            index + 1,
            shortened(key)
        ),
        "report_steps",
    )
    .set_hint(format!("Did you mean {known}?"))
    .report(PgLogLevel::WARNING);
}

/// A readable element; anything that does not fit makes it invalid as a whole.
fn element<'a>(step_uuid: &Uuid, fields: &Fields<'a>) -> Option<Report<'a>> {
    let claim_number = fields.claim_number()?;
    let results = fields.get("results").map(Field::to_jsonb);
    if results.is_some_and(|results| !datum::is_object(results)) {
        return None;
    }
    let (failure, returned) = match fields.get("status")?.as_str()? {
        "complete" => (None, None),
        "error" => (Some(failure(fields)?), None),
        "released" => (None, Some(returned(fields)?)),
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
        events: fields.get("events").map(Field::to_jsonb),
        logs: fields.rest("logs").map(Field::to_jsonb),
    })
}

fn failure<'a>(fields: &Fields<'a>) -> Option<Failure<'a>> {
    Some(Failure {
        message: fields
            .text("error_message")
            .unwrap_or_else(|| "no error_message was reported".to_owned()),
        class: fields.text("error_class"),
        retryable: fields
            .opt("retryable", |field| field.as_bool())?
            .unwrap_or(true),
        retry_after_ms: retry_after_ms(fields)?,
        backtrace: fields.get("backtrace").map(Field::to_jsonb),
    })
}

/// The outer `None`: it cannot be read.
fn retry_after_ms(fields: &Fields) -> Option<Option<i64>> {
    fields.opt("retry_after_seconds", |field| {
        let seconds: f64 = field.as_number()?.parse().ok()?;
        let milliseconds = (seconds * 1000.0).clamp(0.0, LONGEST_RETRY_AFTER_MS);
        seconds.is_finite().then_some(milliseconds as i64)
    })
}

fn returned(fields: &Fields) -> Option<Returned> {
    Some(Returned {
        wait_ms: retry_after_ms(fields)?.unwrap_or(0),
        reason: fields.text("reason"),
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
    (0..datum::element_count(steps) as usize)
        .map(|index| {
            datum::array_element(steps, index)
                .and_then(Fields::of)
                .and_then(|fields| {
                    let key = StepKey::from_uuid(&fields.uuid("step_uuid")?);
                    Some((key, fields.claim_number()?))
                })
                .ok_or_else(|| unreadable(format!("Element {} cannot be read.", index + 1)))
        })
        .collect()
}
