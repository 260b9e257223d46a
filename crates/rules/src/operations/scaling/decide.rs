//! The combination: which opinion wins, what limits it, and what is written down.
//!
//! The highest opinion wins: a pool grows when one rule asks for more, and shrinks only to what all of them agree on. Then come,
//! in this order, the error rate, the bounds and the cooldown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::forecast::{self, Usual};
use super::measure::{self, Figures, Load, Memory, Recorded};
use super::rules::{self, Opinion};
use super::{Bound, Settings};

/// Above this share of failed steps a pool does not grow: the system that they depend on is broken, and more executors
/// would load it further.
const BROKEN: f64 = 0.5;
/// From here on a sentence mentions the errors.
const ELEVATED: f64 = 0.05;
/// Fewer executors must have been enough for this many cooldowns before any is ended.
const PATIENCE: f64 = 4.0;
/// An answer that changes nothing is written down again after this many seconds.
const AGAIN: f64 = 600.0;

/// What decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The minimum was set above the number of executors, or the maximum below it.
    Limits,
    /// The queue is long.
    QueueDepth,
    /// Executors are busier or more idle than they should be.
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
    /// The sentence for an operator.
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

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// How many executors there should be.
    pub desired: u32,
    /// A row for the log of decisions.
    pub decision: Option<Decision>,
    /// A minute that is over, for the forecast of later seasons.
    pub recorded: Option<Recorded>,
    /// Nothing happened and nothing was decided: the memory need not be written.
    pub quiet: bool,
}

/// Evaluates a pool. `current` is how many executors are wanted so far, `changed_at` when that last changed.
pub fn evaluate(
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

    let pool = Pool {
        settings,
        current,
        changed_at,
        bound,
        now: load.now,
        errors: seen.error_rate.filter(|rate| *rate > ELEVATED),
    };
    let answer = pool.patient(pool.highest(&opinions), memory);
    let answer = pool.cooled(pool.limited(answer));
    if answer.to != current {
        pool.change(answer.to, memory);
    }
    let to = answer.to;
    let decision = pool.worth_a_row(answer, memory).map(|(rule, reason)| {
        let inputs = pool.inputs(&seen, forecast_rate, &opinions);
        Decision {
            rule,
            from: current,
            to,
            reason,
            inputs,
        }
    });
    Outcome {
        desired: to,
        quiet: seen.quiet && decision.is_none() && recorded.is_none() && to <= settings.min,
        decision,
        recorded,
    }
}

/// How many executors there should be, and what decided that for which reason; nothing where no rule has an opinion.
struct Answer {
    to: u32,
    said: Option<(Rule, String)>,
}

/// What every stage of a decision reads.
struct Pool<'a> {
    settings: &'a Settings,
    current: u32,
    changed_at: Option<f64>,
    bound: &'a Bound,
    now: f64,
    /// The error rate if it is high enough to be mentioned.
    errors: Option<f64>,
}

impl Pool<'_> {
    /// The first of the highest opinions: their order is that of the rules.
    fn highest(&self, opinions: &[Opinion]) -> Answer {
        let mut winner: Option<&Opinion> = None;
        for opinion in opinions {
            if winner.is_none_or(|best| opinion.wanted > best.wanted) {
                winner = Some(opinion);
            }
        }
        Answer {
            to: winner.map_or(self.current, |winner| winner.wanted),
            said: winner.map(|winner| (winner.rule, winner.because.clone())),
        }
    }

    /// One quiet evaluation is chance: fewer only once no evaluation has wanted more for a while, and then what the busiest of them
    /// wanted.
    fn patient(&self, answer: Answer, memory: &mut Memory) -> Answer {
        let Answer { to, mut said } = answer;
        if to >= self.current {
            memory.fewer = None;
            return Answer { to, said };
        }
        let (since, most) = memory.fewer.unwrap_or((self.now, to));
        let most = most.max(to);
        memory.fewer = Some((since, most));
        let patience = PATIENCE * self.settings.cooldown;
        if self.now - since < patience {
            return Answer {
                to: self.current,
                said,
            };
        }
        if let Some((_, because)) = said.as_mut() {
            because.push_str(&format!(
                " No evaluation of the last {patience:.0} s wanted more than {}.",
                most.max(self.settings.min)
            ));
        }
        Answer { to: most, said }
    }

    /// The error rate and the bounds.
    fn limited(&self, answer: Answer) -> Answer {
        let (settings, current) = (self.settings, self.current);
        let Answer { to, said } = answer;
        let because = said.as_ref().map_or("", |(_, because)| because.as_str());
        let ceiling = settings.max.min(self.bound.executors).max(settings.min);
        if current < settings.min || current > settings.max {
            let because = format!(
                "The pool is set to {} to {} executors.",
                settings.min, settings.max
            );
            return Answer {
                to: current.clamp(settings.min, settings.max),
                said: Some((Rule::Limits, because)),
            };
        }
        if let Some(rate) = self.errors.filter(|rate| to > current && *rate > BROKEN) {
            let because = format!(
                "{because} Not followed: {:.0} % of the last steps failed, and more executors would not help what they depend on.",
                rate * 100.0
            );
            return Answer {
                to: current,
                said: Some((Rule::Errors, because)),
            };
        }
        if to <= current || to <= ceiling {
            return Answer {
                to: to.max(settings.min),
                said,
            };
        }
        let (rule, limit) = if ceiling == settings.max {
            (Rule::AtMaximum, format!("the pool's maximum is {ceiling}"))
        } else {
            (Rule::Bound, self.bound.because.clone())
        };
        // Where the pool grows all the same, the rule that asked decided, and the limit cut it short.
        let rule = match &said {
            Some((asked, _)) if ceiling > current => *asked,
            _ => rule,
        };
        Answer {
            // A lack of room removes no executor: one that runs has its place.
            to: ceiling.max(current),
            said: Some((rule, format!("{because} Limited: {limit}."))),
        }
    }

    /// The cooldown. It does not hold a pool without any executor, for nothing would be served meanwhile, nor limits, which
    /// an administrator has set.
    fn cooled(&self, answer: Answer) -> Answer {
        let Answer { to, said } = answer;
        let at_once = self.current == 0 || matches!(said, Some((Rule::Limits, _)));
        // A clock that was set back holds nothing.
        let recent = self
            .changed_at
            .is_some_and(|then| (0.0..self.settings.cooldown).contains(&(self.now - then)));
        if to == self.current || !recent || at_once {
            return Answer { to, said };
        }
        let because = said.map(|(_, because)| because).unwrap_or_default();
        let because = format!(
            "{because} Held at {}, not yet {to}: the last change was less than {:.0} s ago.",
            self.current, self.settings.cooldown
        );
        Answer {
            to: self.current,
            said: Some((Rule::Cooldown, because)),
        }
    }

    /// Brings the memory up to date with a change.
    fn change(&self, to: u32, memory: &mut Memory) {
        memory.said.clear();
        memory.fewer = None;
        // The same work on more executors; on fewer, as they were found to be enough.
        if let Some(busy) = memory.utilization.as_mut() {
            let same = *busy * f64::from(self.current) / f64::from(to.max(1));
            *busy = if to > self.current {
                same
            } else {
                same.min(self.settings.target)
            };
        }
    }

    /// The rule and the sentence of an answer that is written down: every change, and now and then what was held.
    fn worth_a_row(&self, answer: Answer, memory: &mut Memory) -> Option<(Rule, String)> {
        let changed = answer.to != self.current;
        let (rule, mut reason) = answer.said?;
        let held = matches!(
            rule,
            Rule::Errors | Rule::AtMaximum | Rule::Bound | Rule::Cooldown
        );
        let again = memory
            .said
            .get(&rule)
            .is_none_or(|then| self.now - then >= AGAIN || self.now < *then);
        if !changed {
            if !held || !again {
                return None;
            }
            memory.said.insert(rule, self.now);
        }
        if let Some(rate) = self.errors.filter(|_| rule != Rule::Errors) {
            reason.push_str(&format!(" {:.0} % of the last steps failed.", rate * 100.0));
        }
        Some((rule, reason))
    }

    fn inputs(&self, seen: &Figures, forecast_rate: Option<f64>, opinions: &[Opinion]) -> Inputs {
        Inputs {
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
            min: self.settings.min,
            max: self.settings.max,
            target: self.settings.target,
            bound: self.bound.executors,
        }
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
