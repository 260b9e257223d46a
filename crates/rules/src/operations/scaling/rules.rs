//! The rules about the present: queue, utilisation, arrivals against service. Each has an opinion, or none.
//!
//! Errors have no rule: more executors do not help a failing dependency; see `decide`.

use super::measure::Figures;
use super::{DEPTH_LIMIT, Rule, Settings};

/// A queue longer than this is long.
const LONG_QUEUE: u32 = 100;
/// One more executor for this many entries.
const ENTRIES_PER_EXECUTOR: u32 = 50;
/// Utilisation is high above this times the target, or halfway from the target to 1 if that is less.
const HIGH: f64 = 1.2;
/// Utilisation is low below this times the target.
const LOW: f64 = 0.5;
/// The rate rule wants no executor for less work than this, in executors.
const NEGLIGIBLE: f64 = 0.01;

/// How many executors a rule wants, and why.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Opinion {
    pub rule: Rule,
    pub wanted: u32,
    pub because: String,
}

/// Above this share of busy time there are too few executors. The share never exceeds 1, so 1.2 times a target of 0.9
/// would never be reached.
pub(super) fn high(target: f64) -> f64 {
    (HIGH * target).min((1.0 + target) / 2.0)
}

/// The number of executors that serve `rate` steps per second at the target utilisation.
pub(super) fn executors_for(rate: f64, service_rate: f64, target: f64) -> u32 {
    let exact = rate / (service_rate * target);
    if exact < NEGLIGIBLE {
        0
    } else {
        // The cast saturates. A hair above a whole number is noise.
        (exact - 1e-9).ceil() as u32
    }
}

/// A long queue that will not be empty by the next evaluation wants executors in proportion; one that will be empty keeps those
/// that exist. With no executor at all, one entry is enough.
pub(super) fn queue(settings: &Settings, now: u32, seen: &Figures) -> Option<Opinion> {
    let depth = if seen.depth >= DEPTH_LIMIT {
        format!("At least {DEPTH_LIMIT} steps are")
    } else if seen.depth == 1 {
        "1 step is".to_owned()
    } else {
        format!("{} steps are", seen.depth)
    };
    let opinion = |wanted, because| {
        Some(Opinion {
            rule: Rule::QueueDepth,
            wanted,
            because,
        })
    };
    if now == 0 && seen.depth > 0 {
        return opinion(1, format!("{depth} due and the pool has no executor."));
    }
    if seen.depth <= LONG_QUEUE {
        return None;
    }
    let served = f64::from(now) * seen.service_rate.unwrap_or(0.0) * settings.interval;
    if seen.depth < DEPTH_LIMIT && f64::from(seen.depth) <= served {
        return opinion(
            now,
            format!("{depth} due, but will have been served by the next evaluation."),
        );
    }
    opinion(
        now.saturating_add((seen.depth / ENTRIES_PER_EXECUTOR).max(1)),
        format!(
            "{depth} due, more than {LONG_QUEUE}: one executor more for each {ENTRIES_PER_EXECUTOR}."
        ),
    )
}

/// Busy executors ask for more of them, idle ones end; between the two thresholds all stay.
pub(super) fn utilization(settings: &Settings, now: u32, seen: &Figures) -> Option<Opinion> {
    let busy = seen.utilization?;
    let (target, percent) = (settings.target, |share: f64| share * 100.0);
    let at_target = (f64::from(now) * (busy / target).min(2.0) - 1e-9).ceil() as u32;
    let opinion = |wanted, because| {
        Some(Opinion {
            rule: Rule::Utilization,
            wanted,
            because,
        })
    };
    if busy > high(target) {
        return opinion(
            at_target.max(now),
            format!(
                "Executors were busy {:.0} % of the time, above {:.0} %; {at_target} would be busy {:.0} %.",
                percent(busy),
                percent(high(target)),
                percent(busy * f64::from(now) / f64::from(at_target.max(1)))
            ),
        );
    }
    if busy < LOW * target {
        // Half of those that can end, but never so many that the rest would be above the target.
        let fewer = now.saturating_sub((now.saturating_sub(settings.min) / 2).max(1));
        return opinion(
            fewer.max(at_target).min(now),
            format!(
                "Executors were busy {:.0} % of the time, below {:.0} %.",
                percent(busy),
                percent(LOW * target)
            ),
        );
    }
    // The rate rule knows better, if it knows anything.
    if seen.service_rate.is_some() && seen.arrival_rate.is_some() {
        return None;
    }
    opinion(
        now,
        format!(
            "Executors were busy {:.0} % of the time, between {:.0} % and {:.0} %.",
            percent(busy),
            percent(LOW * target),
            percent(high(target))
        ),
    )
}

/// Arrival rate against service rate: desired = ceil(lambda / (mu * target)), where what waits already counts as arriving
/// within one cooldown. Smoothing keeps chance out of the rates; the queue shows at once when they are out of date.
pub(super) fn arrival_rate(settings: &Settings, seen: &Figures) -> Option<Opinion> {
    let (arrivals, service) = (seen.arrival_rate?, seen.service_rate?);
    let waiting = f64::from(seen.depth) / settings.cooldown;
    let wanted = executors_for(arrivals + waiting, service, settings.target);
    let queued = if seen.depth > 0 {
        format!(", {} are due", seen.depth)
    } else {
        String::new()
    };
    Some(Opinion {
        rule: Rule::ArrivalRate,
        wanted,
        because: format!(
            "{arrivals:.2} steps per second arrive{queued}, and a busy executor serves {service:.2}: {wanted} executors at {:.0} %.",
            settings.target * 100.0
        ),
    })
}
