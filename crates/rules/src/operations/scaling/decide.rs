//! The combination: which opinion wins, what limits it, and what is worth a row.
//!
//! The highest opinion wins: a pool grows when one rule asks for more, and shrinks only to what all of them agree on. Then come,
//! in this order, the error rate, the bounds and the cooldown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::forecast::{self, Usual};
use super::measure::{self, Load, Memory, Recorded};
use super::rules::{self, Opinion};
use super::{Bound, Settings};

/// Above this share of failed steps a pool does not grow: whatever they depend on is broken, and more of the same would
/// hit it harder.
const BROKEN: f64 = 0.5;
/// From here on a sentence mentions the errors.
const ELEVATED: f64 = 0.05;
/// So many cooldowns long fewer executors must have been enough before some go.
const PATIENCE: f64 = 4.0;
/// An answer that changes nothing is written down again after so many seconds.
const AGAIN: f64 = 600.0;

/// What decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Minimum or maximum were set past the number there was.
    Limits,
    /// The queue is long.
    QueueDepth,
    /// Executors are busier or idler than they should be.
    Utilization,
    /// Arrival rate against service rate.
    ArrivalRate,
    /// The seasonal forecast.
    Forecast,
    /// Held: too many steps fail.
    Errors,
    /// Held: the maximum of the pool is reached.
    AtMaximum,
    /// Held: the server has no room.
    Bound,
    /// Held: the last change is too recent.
    Cooldown,
}

impl Rule {
    /// All rules, in the order of the documentation.
    pub const ALL: [Self; 9] = [
        Self::Limits,
        Self::QueueDepth,
        Self::Utilization,
        Self::ArrivalRate,
        Self::Forecast,
        Self::Errors,
        Self::AtMaximum,
        Self::Bound,
        Self::Cooldown,
    ];

    /// The word in the log of decisions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Limits => "limits",
            Self::QueueDepth => "queue_depth",
            Self::Utilization => "utilization",
            Self::ArrivalRate => "arrival_rate",
            Self::Forecast => "forecast",
            Self::Errors => "errors",
            Self::AtMaximum => "at_maximum",
            Self::Bound => "bound",
            Self::Cooldown => "cooldown",
        }
    }
}

/// A row for the log of decisions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    /// What decided.
    pub rule: Rule,
    /// Executors wanted before.
    pub from: u32,
    /// Executors wanted now; the same where a change was held.
    pub to: u32,
    /// For an operator.
    pub reason: String,
    /// The figures it was made from.
    pub inputs: Inputs,
}

/// The figures of a decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inputs {
    /// Executors that were there and not draining.
    pub running: u32,
    /// Due entries, counted up to a limit.
    pub queue_depth: u32,
    /// Smoothed share of executor time that was busy.
    pub utilization: Option<f64>,
    /// Smoothed arrivals per second.
    pub arrival_rate: Option<f64>,
    /// Steps per second one busy executor serves.
    pub service_rate: Option<f64>,
    /// Share of the last steps that failed.
    pub error_rate: Option<f64>,
    /// Arrivals per second the forecast expects.
    pub forecast_rate: Option<f64>,
    /// How many executors each rule asked for.
    pub wanted: BTreeMap<&'static str, u32>,
    /// Minimum, maximum, target and the server's bound in force.
    pub min: u32,
    /// See `min`.
    pub max: u32,
    /// See `min`.
    pub target: f64,
    /// See `min`.
    pub bound: u32,
}

/// What a look comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// How many executors there should be.
    pub desired: u32,
    /// Something to write down.
    pub decision: Option<Decision>,
    /// A minute that is over, for the forecast of later seasons.
    pub recorded: Option<Recorded>,
    /// Nothing happened and nothing was decided: the memory need not be written.
    pub quiet: bool,
}

/// Looks at a pool. `current` is how many executors are wanted so far, `changed_at` when that last changed.
pub fn look(
    settings: &Settings,
    current: u32,
    changed_at: Option<f64>,
    bound: &Bound,
    load: &Load,
    usual: Option<&Usual>,
    memory: &mut Memory,
) -> Outcome {
    let seen = measure::measure(settings, load, memory);
    let recorded = forecast::record(
        settings,
        load.now,
        seen.arrivals,
        seen.elapsed,
        usual,
        memory,
    );
    let expected = forecast::opinion(settings, usual, seen.service_rate, memory);
    let forecast_rate = expected.as_ref().map(|(_, rate)| *rate);
    let opinions: Vec<Opinion> = [
        rules::queue(settings, current, &seen),
        rules::utilization(settings, current, &seen),
        rules::arrival_rate(settings, &seen),
        expected.map(|(opinion, _)| opinion),
    ]
    .into_iter()
    .flatten()
    .collect();

    let mut to = current;
    let mut said: Option<(Rule, String)> = None;
    // The first of the highest: the order above is that of the rules.
    let mut winner: Option<&Opinion> = None;
    for opinion in &opinions {
        if winner.is_none_or(|best| opinion.wanted > best.wanted) {
            winner = Some(opinion);
        }
    }
    if let Some(winner) = winner {
        to = winner.wanted;
        said = Some((winner.rule, winner.because.clone()));
    }
    // One quiet look is chance: fewer only once no look has wanted more for a while, and then what the busiest of them wanted.
    if to < current {
        let (since, most) = memory.fewer.unwrap_or((load.now, to));
        let most = most.max(to);
        memory.fewer = Some((since, most));
        let patience = PATIENCE * settings.cooldown;
        to = current;
        if load.now - since >= patience {
            to = most;
            if let Some((_, because)) = said.as_mut() {
                because.push_str(&format!(
                    " No look of the last {patience:.0} s wanted more than {}.",
                    most.max(settings.min)
                ));
            }
        }
    } else {
        memory.fewer = None;
    }
    let because = said.as_ref().map_or("", |(_, because)| because.as_str());

    let errors = seen.error_rate.filter(|rate| *rate > ELEVATED);
    let ceiling = settings.max.min(bound.executors).max(settings.min);
    if current < settings.min || current > settings.max {
        to = current.clamp(settings.min, settings.max);
        said = Some((
            Rule::Limits,
            format!(
                "The pool is set to {} to {} executors.",
                settings.min, settings.max
            ),
        ));
    } else if to > current && errors.is_some_and(|rate| rate > BROKEN) {
        said = Some((
            Rule::Errors,
            format!(
                "{because} Not followed: {:.0} % of the last steps failed, and more executors would not help what they depend on.",
                errors.unwrap_or_default() * 100.0
            ),
        ));
        to = current;
    } else if to > current && to > ceiling {
        let (rule, limit) = if ceiling == settings.max {
            (Rule::AtMaximum, format!("the pool's maximum is {ceiling}"))
        } else {
            (Rule::Bound, bound.because.clone())
        };
        // Still some way to go: the rule that asked decided, and the limit cut it short.
        let rule = match &said {
            Some((asked, _)) if ceiling > current => *asked,
            _ => rule,
        };
        said = Some((rule, format!("{because} Limited: {limit}.")));
        // Never fewer for want of room: what runs has its place.
        to = ceiling.max(current);
    } else {
        to = to.max(settings.min);
    }
    // Without any executor nothing would be served meanwhile; limits are somebody's wish.
    let at_once = current == 0 || matches!(said, Some((Rule::Limits, _)));
    // A clock that was set back holds nothing.
    let recent =
        changed_at.is_some_and(|then| (0.0..settings.cooldown).contains(&(load.now - then)));
    if to != current && recent && !at_once {
        let because = said.map(|(_, because)| because).unwrap_or_default();
        said = Some((
            Rule::Cooldown,
            format!(
                "{because} Held at {current}, not yet {to}: the last change was less than {:.0} s ago.",
                settings.cooldown
            ),
        ));
        to = current;
    }

    let changed = to != current;
    if changed {
        memory.said.clear();
        memory.fewer = None;
        // The same work on more executors; on fewer, as they were found to be enough.
        if let Some(busy) = memory.utilization.as_mut() {
            let same = *busy * f64::from(current) / f64::from(to.max(1));
            *busy = if to > current {
                same
            } else {
                same.min(settings.target)
            };
        }
    }
    let decision = said
        .filter(|(rule, _)| {
            changed
                || matches!(
                    rule,
                    Rule::Errors | Rule::AtMaximum | Rule::Bound | Rule::Cooldown
                ) && memory
                    .said
                    .get(rule)
                    .is_none_or(|then| load.now - then >= AGAIN || load.now < *then)
        })
        .map(|(rule, mut reason)| {
            if !changed {
                memory.said.insert(rule, load.now);
            }
            if let Some(rate) = errors.filter(|_| rule != Rule::Errors) {
                reason.push_str(&format!(" {:.0} % of the last steps failed.", rate * 100.0));
            }
            Decision {
                rule,
                from: current,
                to,
                reason,
                inputs: Inputs {
                    running: seen.running,
                    queue_depth: seen.depth,
                    utilization: seen.utilization.map(rounded),
                    arrival_rate: seen.arrival_rate.map(rounded),
                    service_rate: seen.service_rate.map(rounded),
                    error_rate: seen.error_rate.map(rounded),
                    forecast_rate: forecast_rate.map(rounded),
                    wanted: opinions
                        .iter()
                        .map(|opinion| (opinion.rule.as_str(), opinion.wanted))
                        .collect(),
                    min: settings.min,
                    max: settings.max,
                    target: settings.target,
                    bound: bound.executors,
                },
            }
        });
    Outcome {
        desired: to,
        quiet: seen.quiet && decision.is_none() && recorded.is_none() && to <= settings.min,
        decision,
        recorded,
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
