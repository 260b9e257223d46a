//! Claimed steps that cannot be handed out: they fail, so that those behind them go on.

use std::collections::HashMap;

use super::Claimed;
use crate::error::Result;
use crate::orchestration::claimants::Claimant;
use crate::orchestration::report::{self, Failure, Report};
use crate::orchestration::{Engine, StepKey};
use crate::pg::datum::{self, Jsonb};

/// The number of the last claim. No worker gets it: a step that has it stays there.
pub(super) const MOST_CLAIMS: i32 = i32::MAX;

/// Why a step cannot be handed out.
pub(super) enum Unfit {
    /// The results of the steps that it needs are too large together.
    Results { size: usize, most: usize },
    /// Its row would be too long as a text.
    Text,
    /// The encoding of the client lacks a character.
    Encoding,
    /// Its stored template cannot be read.
    Template(String),
    /// No number is left that tells its claims apart.
    Claims,
}

impl Unfit {
    fn failure(&self) -> Failure<'static> {
        let (class, message) = match self {
            Self::Results { size, most } => (
                "DependencyResultsTooLarge",
                format!("the results of the steps that it needs have {size} bytes together, more than the {most} of tasker.max_dependency_results_size"),
            ),
            Self::Text => (
                "StepTooLong",
                "context and results of the step have more than 1 GB as a text, so that no worker can get them".to_owned(),
            ),
            Self::Encoding => (
                "StepNotConvertible",
                "context, results or names of the step have a character that the client_encoding of the worker lacks; let workers use UTF8".to_owned(),
            ),
            Self::Template(why) => (
                "TemplateUnreadable",
                format!("the stored template cannot be read: {why}"),
            ),
            Self::Claims => (
                "TooManyClaims",
                format!("the step was claimed {MOST_CLAIMS} times, and no other number is left for a claim"),
            ),
        };
        Failure {
            message,
            class: Some(class.to_owned()),
            retryable: false,
            retry_after_ms: None,
            backtrace: None,
        }
    }
}

/// Whether all texts of the step's row can be sent to this client.
pub(super) fn can_read(claimed: &Claimed, documents: &[Jsonb]) -> Result<bool> {
    let template = &claimed.template;
    let step = template.step(claimed.key.no)?;
    let names = [
        &template.namespace,
        &template.name,
        &template.version,
        &step.queue,
        &step.name,
        &step.handler,
    ];
    let config = step.handler_config.as_jsonb();
    Ok(names
        .iter()
        .all(|name| datum::client_can_read(name.as_bytes()))
        && documents
            .iter()
            .copied()
            .chain([config])
            .all(|one| datum::client_can_read(datum::jsonb_text(one).as_bytes())))
}

/// Fails these steps of the claim as a report would.
pub(super) fn fail(
    engine: &mut Engine,
    steps: &[Claimed],
    unfit: &[(StepKey, Unfit)],
) -> Result<()> {
    let numbers: HashMap<StepKey, i32> = steps
        .iter()
        .map(|step| (step.key, step.claim_number))
        .collect();
    let reports: Vec<Report> = unfit
        .iter()
        .filter_map(|(key, why)| {
            Some(Report {
                key: *key,
                claim_number: *numbers.get(key)?,
                results: None,
                failure: Some(why.failure()),
                returned: None,
                events: None,
                logs: None,
            })
        })
        .collect();
    report::apply(engine, &Claimant::engine(), &reports)?;
    Ok(())
}
