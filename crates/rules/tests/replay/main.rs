//! The rules of scaling, replayed on whole days of arrivals.

mod simulation;
mod traces;

use simulation::{Replay, run, run_arrivals};
use tasker_rules::operations::scaling::{Rule, Settings};
use traces::Trace;

const SETTINGS: Settings = Settings {
    min: 1,
    max: 40,
    target: 0.75,
    interval: 5.0,
    cooldown: 15.0,
    season: None,
};

fn both(trace: &Trace) -> (Replay, Replay) {
    let predictive = Settings {
        season: Some(86_400.0),
        ..SETTINGS
    };
    (run(trace, &SETTINGS), run(trace, &predictive))
}

/// The reactive rules with a lower target, so that they cost what the forecast costs: is it worth more than idle executors?
fn at_same_cost(trace: &Trace, worker_seconds: f64) -> Replay {
    let with = |target: f64| run(trace, &Settings { target, ..SETTINGS });
    let (mut low, mut high) = (0.4, SETTINGS.target);
    for _ in 0..7 {
        let middle = (low + high) / 2.0;
        if with(middle).worker_seconds > worker_seconds {
            low = middle;
        } else {
            high = middle;
        }
    }
    with(high)
}

/// A line of the table; the others with their ratio to the reactive rules.
fn line(name: &str, rule: &str, result: &Replay, to: Option<&Replay>) -> String {
    let ratio = to.map_or_else(String::new, |to| {
        let wait = if to.wait(0.95) > 0.0 {
            format!("{:.2}", result.wait(0.95) / to.wait(0.95))
        } else {
            "-".to_owned()
        };
        format!("{wait} / {:.2}", result.worker_seconds / to.worker_seconds)
    });
    format!(
        "| {name} | {rule} | {:.2} | {:.2} | {:.2} | {:.0} | {} | {ratio} |\n",
        result.wait(0.5),
        result.wait(0.95),
        result.wait(0.99),
        result.worker_seconds / 1000.0,
        result.changes()
    )
}

fn table(traces: &[Trace]) -> String {
    let mut table = String::from(
        "| trace | rules | wait p50, s | p95 | p99 | worker-seconds, thousands | changes | p95 / worker-seconds, times reactive |\n|---|---|---|---|---|---|---|---|\n",
    );
    for trace in traces {
        let (reactive, predictive) = both(trace);
        table += &line(trace.name, "reactive", &reactive, None);
        table += &line("", "predictive", &predictive, Some(&reactive));
        let same = at_same_cost(trace, predictive.worker_seconds);
        table += &line("", "reactive, same cost", &same, Some(&reactive));
    }
    table
}

fn described(traces: &[Trace]) -> String {
    traces
        .iter()
        .map(|trace| format!("- **{}**: {}\n", trace.name, trace.about))
        .collect()
}

const PAGE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../benches/results/predictive-scaling.md"
);

fn page() -> String {
    let (judging, tuning) = (traces::judging(), traces::tuning());
    format!(
        "# Results: predictive against reactive scaling

- command: `cargo test -p tasker_rules --test replay`; with `TASKER_WRITE=1` it writes this page, without it fails if the page differs
- no machine: a simulation with fixed seeds, `crates/rules/tests/replay/`

Whole days of arrivals are replayed on a simulated pool: one queue, executors that take the oldest step and need half a second to start, and the
rules of `crates/rules/src/operations/scaling/` as the duty `scaling` runs them, an evaluation every 5 s. Pool: 1 to 40 executors, target 0.75, cooldown 15 s; season
1 day. *Reactive* is the pool as it is without `predictive`; *predictive* wants the larger of that and the forecast. The wait of a step is from its
arrival to its start; worker-seconds count from start to end of every executor. The first two days only fill the record and are not counted.
*Reactive, same cost* is the reactive pool with its target lowered until it uses the worker-seconds of the predictive one: what the same cost buys
without a forecast.

## Traces that judge

The traces are made, not recorded: a rate per minute, Poisson arrivals at it, exponential service times of 10 s in the mean. They have other
shapes and seeds than those that constants were chosen on, and were first replayed after the choice. What was changed since corrected how busy time
and the usual rate are measured; no constant.

{}
{}
## Traces that were tuned on

Smoothing, patience and the width of the forecast's window were chosen on these traces (mean service time 8 s). They are not a result; they show what was
tuned.

{}
{}
## Conclusions

{}",
        described(&judging),
        table(&judging),
        described(&tuning),
        table(&tuning),
        include_str!("verdict.md"),
    )
}

/// The table behind the first headings, computed again. The rest of the page takes a minute: TASKER_LONG=1.
#[test]
fn the_page_says_what_the_replay_gives() {
    let said = std::fs::read_to_string(PAGE).expect("the page is there");
    let (write, long) = (asked("TASKER_WRITE"), asked("TASKER_LONG"));
    if write || long {
        let page = page();
        if write {
            std::fs::write(PAGE, &page).expect("the page can be written");
        } else {
            assert!(said == page, "{STALE}\n{page}");
        }
        return;
    }
    for trace in traces::judging() {
        let (reactive, predictive) = both(&trace);
        for line in [
            line(trace.name, "reactive", &reactive, None),
            line("", "predictive", &predictive, Some(&reactive)),
        ] {
            assert!(said.contains(&line), "{STALE}\nnot on it: {line}");
        }
    }
}

const STALE: &str =
    "benches/results/predictive-scaling.md is stale: run with TASKER_WRITE=1 and read the diff";

fn asked(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| value == "1")
}

/// Steps that arrive evenly and take the same time each.
fn steady(per_second: f64, service: f64, seconds: f64) -> Vec<(f64, f64)> {
    (0..(per_second * seconds) as usize)
        .map(|n| (n as f64 / per_second, service))
        .collect()
}

#[test]
fn a_constant_load_is_not_scaled_back_and_forth() {
    for (per_second, service) in [
        (0.5, 8.0),
        (2.0, 2.9),
        (30.0, 0.2),
        (1.0, 1.0),
        (0.02, 200.0),
    ] {
        let hours = 4.0 * 3600.0;
        let replay = run_arrivals(&steady(per_second, service, hours), hours, 0.0, &SETTINGS);
        let settled = &replay.desired[replay.desired.len() / 2..];
        let (least, most) = (settled.iter().min(), settled.iter().max());
        assert_eq!(
            least, most,
            "{per_second} steps/s of {service} s: {:?}",
            replay.decisions
        );
        let needed = (per_second * service / SETTINGS.target).ceil() as u32;
        assert!(
            settled.iter().all(|n| (needed..=needed + 2).contains(n)),
            "{needed} needed, {most:?} held"
        );
    }
}

#[test]
fn when_nothing_comes_any_more_the_pool_goes_back_to_its_minimum() {
    let arrivals = steady(2.0, 5.0, 600.0);
    let replay = run_arrivals(&arrivals, 1_800.0, 0.0, &SETTINGS);
    assert!(replay.desired.iter().any(|n| *n >= 10));
    assert_eq!(replay.desired.last(), Some(&SETTINGS.min));
}

#[test]
fn changes_keep_the_cooldown_and_the_bounds() {
    for trace in traces::tuning() {
        let replay = run(&trace, &SETTINGS);
        let changes: Vec<f64> = replay
            .decisions
            .iter()
            .filter(|(_, d)| d.from != d.to)
            .map(|(at, _)| *at)
            .collect();
        assert!(changes.len() > 10);
        assert!(changes.windows(2).all(|w| w[1] - w[0] >= SETTINGS.cooldown));
        assert!(
            replay
                .desired
                .iter()
                .all(|n| (SETTINGS.min..=SETTINGS.max).contains(n))
        );
    }
}

#[test]
fn a_season_that_was_recorded_is_prepared_for() {
    let batch = traces::tuning().remove(1);
    let (reactive, predictive) = both(&batch);
    assert!(predictive.wait(0.95) < reactive.wait(0.95));
    assert!(
        predictive
            .decisions
            .iter()
            .any(|(_, decision)| decision.rule == Rule::Forecast)
    );
}
