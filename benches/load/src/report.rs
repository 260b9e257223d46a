//! Results as Markdown, which also reads well in a terminal.

use std::collections::BTreeMap;

use crate::checks::Check;
use crate::counters::Writes;
use crate::lane::{Lane, Window};

/// Median, least and most of several rounds.
#[derive(Clone, Copy)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() {
            0 => f64::NAN,
            length if length % 2 == 1 => values[middle],
            _ => (values[middle - 1] + values[middle]) / 2.0,
        };
        let end = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
        Spread {
            median,
            least: end(values.first()),
            most: end(values.last()),
        }
    }

    /// The middle half instead of everything.
    pub fn middle_half(values: impl IntoIterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let quarter = values.len() / 4;
        let middle = values.get(quarter..values.len() - quarter).unwrap_or(&[]);
        Spread {
            median: Spread::of(values.clone()).median,
            ..Spread::of(middle.to_vec())
        }
    }

    /// `1,234 (1,100 to 1,300)`.
    pub fn show(&self, digits: usize) -> String {
        let one = |value| number(value, digits);
        if self.least == self.most {
            return one(self.median);
        }
        format!(
            "{} ({} to {})",
            one(self.median),
            one(self.least),
            one(self.most)
        )
    }
}

/// With thousands separated.
pub fn number(value: f64, digits: usize) -> String {
    let text = format!("{:.digits$}", value.abs());
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    format!("{}{out}{rest}", if value < 0.0 { "-" } else { "" })
}

pub fn row(cells: &[String]) {
    println!("| {} |", cells.join(" | "));
}

pub fn head(cells: &[&str]) {
    println!(
        "\n| {} |\n|{}",
        cells.join(" | "),
        "---|".repeat(cells.len())
    );
}

/// The rounds of a lane, one row per round.
pub fn rounds(windows: &[Window]) {
    head(&[
        "round",
        "steps/s",
        "calls/s",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "WAL B/step",
        "of it images",
        "commits/step",
        "deadlocks",
        "empty calls",
    ]);
    for (index, window) in windows.iter().enumerate() {
        let latency = |quantile| {
            number(
                window.tally.latency.value_at_quantile(quantile) as f64 / 1000.0,
                2,
            )
        };
        let steps = window.counted_steps.max(1) as f64;
        row(&[
            (index + 1).to_string(),
            number(window.steps_per_second(), 0),
            number(window.calls_per_second(), 0),
            latency(0.50),
            latency(0.95),
            latency(0.99),
            number(window.counters.lsn as f64 / steps, 0),
            images(window),
            number(window.counters.commits as f64 / steps, 3),
            window.tally.deadlocks.to_string(),
            window.tally.empty.to_string(),
        ]);
    }
}

/// The share of full-page images in the WAL, exact with pg_walinspect, else how many there were.
fn images(window: &Window) -> String {
    match (&window.wal, window.counters.images) {
        (Some(kinds), _) => {
            let images: i64 = kinds.iter().map(|kind| kind.image_bytes).sum();
            format!(
                "{} %",
                number(100.0 * images as f64 / window.counters.lsn.max(1) as f64, 0)
            )
        }
        (None, Some(count)) => format!("{count} images"),
        (None, None) => "unknown".to_owned(),
    }
}

/// What is written per step, over all rounds.
pub fn writes(windows: &[Window]) {
    let steps = windows
        .iter()
        .map(|window| window.counted_steps)
        .sum::<u64>()
        .max(1) as f64;
    let mut sums: BTreeMap<&str, Writes> = BTreeMap::new();
    for (table, writes) in windows.iter().flat_map(|window| &window.counters.writes) {
        let sum = sums.entry(table).or_default();
        sum.inserted += writes.inserted;
        sum.updated += writes.updated;
        sum.hot += writes.hot;
        sum.deleted += writes.deleted;
    }
    head(&[
        "table",
        "inserts/step",
        "updates/step",
        "HOT",
        "deletes/step",
    ]);
    let mut rows = 0;
    for (table, sum) in sums {
        let count = sum.inserted + sum.updated + sum.deleted;
        rows += count;
        if count == 0 {
            continue;
        }
        let hot = if sum.updated > 0 {
            number(100.0 * sum.hot as f64 / sum.updated as f64, 0) + " %"
        } else {
            "-".to_owned()
        };
        let share = |count: i64| number(count as f64 / steps, 3);
        row(&[
            table.to_owned(),
            share(sum.inserted),
            share(sum.updated),
            hot,
            share(sum.deleted),
        ]);
    }
    println!("\n{} row writes per step.", number(rows as f64 / steps, 2));
}

/// The WAL by record type, per step.
pub fn wal(windows: &[Window]) {
    let steps = windows
        .iter()
        .map(|window| window.counted_steps)
        .sum::<u64>()
        .max(1) as f64;
    let mut sums: BTreeMap<&str, (i64, i64, i64)> = BTreeMap::new();
    for kind in windows
        .iter()
        .filter_map(|window| window.wal.as_ref())
        .flatten()
    {
        let sum = sums.entry(&kind.name).or_default();
        sum.0 += kind.count;
        sum.1 += kind.bytes;
        sum.2 += kind.image_bytes;
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, (_, bytes, _))| -bytes);
    head(&["WAL record", "records/step", "bytes/step", "of it images"]);
    for (name, (count, bytes, images)) in sums.into_iter().take(16) {
        row(&[
            name.to_owned(),
            number(count as f64 / steps, 3),
            number(bytes as f64 / steps, 1),
            number(images as f64 / steps, 1),
        ]);
    }
}

/// Which steps were completed: an uneven mix distorts the figures.
pub fn mix(shape_steps: u64, windows: &[Window]) {
    let mut sums: BTreeMap<u16, u64> = BTreeMap::new();
    for (no, count) in windows.iter().flat_map(|window| &window.tally.by_step) {
        *sums.entry(*no).or_default() += count;
    }
    let all = sums.values().sum::<u64>().max(1) as f64;
    let share = |no: u16| 100.0 * sums.get(&no).copied().unwrap_or(0) as f64 / all;
    println!(
        "\nFirst steps are {} % and last steps {} % of the completed ones ({} % each if the mix is even).",
        number(share(1), 1),
        number(share(shape_steps as u16), 1),
        number(100.0 / shape_steps as f64, 1)
    );
}

/// Prints the checks; returns whether all held.
pub fn checks(lane: &Lane, checks: &[Check]) -> bool {
    let wrong: Vec<&Check> = checks
        .iter()
        .filter(|check| check.expected != check.found)
        .collect();
    println!(
        "\nCorrectness: {} of {} checks hold over {} completed steps; {} tasks created at {} steps/s.",
        checks.len() - wrong.len(),
        checks.len(),
        number(lane.total.completed as f64, 0),
        number(lane.created as f64, 0),
        number(
            (lane.created * lane.shape.steps()) as f64 / lane.creating_seconds.max(1e-9),
            0
        ),
    );
    for check in &wrong {
        println!(
            "WRONG: {}: expected {}, found {}",
            check.what, check.expected, check.found
        );
    }
    if !lane.total.refused.is_empty() {
        println!("Refused reports: {:?}", lane.total.refused);
    }
    wrong.is_empty()
}
