//! The seasonal forecast: what arrived at this time of the last seasons, corrected by how the last half hour compares.
//!
//! Seasonal-naive over up to four seasons, the last one weighing as much as all before it together, times a smoothed ratio of
//! what arrived to what had been usual. The arrivals are kept per minute, so a season can be changed without losing them.

use super::measure::{Memory, Recorded, keep};
use super::rules::{Opinion, executors_for};
use super::{Rule, Settings};

/// The number of past seasons that count.
pub const SEASONS: i64 = 4;
/// Seconds over which what arrived is compared with what was usual.
const COMPARED: f64 = 1_800.0;
/// The ratio stays between 1/3 and 3: one odd hour must not multiply a day.
const MOST: f64 = 3.0;
/// Arrivals per second below which "usual" is too little to compare with.
const COMPARABLE: f64 = 0.01;

/// Seconds ahead of now for which the forecast asks: the time in which a change is decided and can be corrected once,
/// at least a minute.
pub fn lead(settings: &Settings) -> f64 {
    (2.0 * (settings.interval + settings.cooldown)).max(60.0)
}

/// Minutes around the asked one that are averaged, to each side: a thousandth of the season, at least 1 and at most 15.
/// Wider is less noisy, but blurs what begins at a full hour.
fn half_width(season: f64) -> i64 {
    ((season / 60.0 / 1000.0) as i64).clamp(1, 15)
}

fn minute(time: f64) -> i64 {
    (time / 60.0).floor() as i64
}

/// The spans of minutes (both ends included) whose records [`Usual::new`] needs at `now`.
pub fn spans(settings: &Settings, now: f64) -> Vec<(i64, i64)> {
    let Some(season) = settings.season else {
        return vec![];
    };
    let around = half_width(season);
    (1..=SEASONS)
        .map(|back| {
            let then = now - back as f64 * season;
            (
                minute(then) - around,
                minute(then + lead(settings)) + around,
            )
        })
        .collect()
}

/// The first minute that a later forecast can still ask for: what lies before may be forgotten. `None` without a season.
pub fn oldest(settings: &Settings, now: f64) -> Option<i64> {
    let season = settings.season?;
    Some(minute(now - (SEASONS + 1) as f64 * season))
}

/// What arrived in the seasons before, around now and around now plus the lead.
#[derive(Debug, Clone, PartialEq)]
pub struct Usual {
    /// Arrivals per second around now.
    pub(super) now: f64,
    /// Arrivals per second around now plus the lead.
    pub(super) ahead: f64,
}

impl Usual {
    /// `None` unless a whole season was recorded. `since`: the first minute ever recorded; minutes without a record had no
    /// arrivals.
    pub fn new(
        settings: &Settings,
        now: f64,
        since: Option<i64>,
        records: &[Recorded],
    ) -> Option<Self> {
        let (season, since) = (settings.season?, since?);
        let around = half_width(season);
        let at = |time: f64| {
            let (mut rate, mut weights, mut weight) = (0.0, 0.0, 1.0);
            for back in 1..=SEASONS {
                let middle = minute(time - back as f64 * season);
                let (from, to) = (middle - around, middle + around);
                if from < since {
                    break;
                }
                let arrivals: i64 = records
                    .iter()
                    .filter(|r| (from..=to).contains(&r.minute))
                    .map(|r| r.arrivals)
                    .sum();
                rate += weight * arrivals as f64 / ((2 * around + 1) as f64 * 60.0);
                weights += weight;
                weight /= 2.0;
            }
            (weights > 0.0).then(|| rate / weights)
        };
        Some(Self {
            now: at(now)?,
            ahead: at(now + lead(settings))?,
        })
    }
}

/// Counts what arrived since the last evaluation; returns the minute that is over, if anything arrived in it.
pub(super) fn record(
    settings: &Settings,
    now: f64,
    arrivals: f64,
    elapsed: f64,
    usual: Option<&Usual>,
    memory: &mut Memory,
) -> Option<Recorded> {
    settings.season?;
    if let Some(usual) = usual
        && elapsed > 0.0
    {
        // As usual, until half an hour says otherwise.
        if memory.usual == 0.0 && memory.actual == 0.0 {
            (memory.actual, memory.usual) = (usual.now, usual.now);
        }
        let kept = keep(elapsed, COMPARED);
        memory.actual = memory.actual * kept + (arrivals / elapsed) * (1.0 - kept);
        memory.usual = memory.usual * kept + usual.now * (1.0 - kept);
    }
    let this = minute(now);
    let mut over = None;
    if memory.minute != Some(this) {
        over = memory
            .minute
            .filter(|_| memory.minute_arrivals >= 0.5)
            .map(|minute| Recorded {
                minute,
                arrivals: memory.minute_arrivals.round() as i64,
            });
        memory.minute = Some(this);
        memory.minute_arrivals = 0.0;
    }
    memory.minute_arrivals += arrivals;
    over
}

/// How many executors the arrivals that are expected will need.
pub(super) fn opinion(
    settings: &Settings,
    usual: Option<&Usual>,
    service_rate: Option<f64>,
    memory: &Memory,
) -> Option<(Opinion, f64)> {
    let (usual, service) = (usual?, service_rate?);
    let ratio = if memory.usual < COMPARABLE {
        1.0
    } else {
        (memory.actual / memory.usual).clamp(1.0 / MOST, MOST)
    };
    let expected = usual.ahead * ratio;
    let wanted = executors_for(expected, service, settings.target);
    let because = format!(
        "In {:.0} s usually {:.2} steps per second arrive, lately {:.0} % of what is usual: {wanted} executors for {expected:.2}.",
        lead(settings),
        usual.ahead,
        ratio * 100.0
    );
    Some((
        Opinion {
            rule: Rule::Forecast,
            wanted,
            because,
        },
        expected,
    ))
}
