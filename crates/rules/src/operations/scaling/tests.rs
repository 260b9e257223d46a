use proptest::prelude::*;

use super::forecast::Usual;
use super::measure::Figures;
use super::*;

const SETTINGS: Settings = Settings {
    min: 1,
    max: 10,
    target: 0.75,
    interval: 5.0,
    cooldown: 15.0,
    season: None,
};

fn roomy() -> Bound {
    Bound {
        executors: 100,
        because: "the server is large".to_owned(),
    }
}

/// A pool under a load that the test sets evaluation by evaluation.
struct Pool {
    settings: Settings,
    bound: Bound,
    memory: Memory,
    desired: u32,
    changed_at: Option<f64>,
    now: f64,
    executors: Vec<Executor>,
}

impl Pool {
    fn of(desired: u32) -> Self {
        let now = 1_000_000.0;
        let mut pool = Self {
            settings: SETTINGS,
            bound: roomy(),
            memory: Memory::default(),
            desired,
            changed_at: None,
            now,
            executors: vec![],
        };
        pool.staff();
        pool.evaluate(0);
        pool
    }

    /// As many executors as are wanted.
    fn staff(&mut self) {
        self.executors.truncate(self.desired as usize);
        while self.executors.len() < self.desired as usize {
            self.executors.push(Executor {
                pid: 100 + self.executors.len() as i32,
                started_at: self.now,
                busy: false,
                state_since: self.now,
                draining: false,
                steps: 0,
                failures: 0,
                busy_us: 0,
            });
        }
    }

    /// An interval in which every executor was busy for a share of the time and ran `steps` steps, `failures` of them failed.
    fn work(&mut self, share: f64, steps: i64, failures: i64) {
        self.now += self.settings.interval;
        for executor in &mut self.executors {
            executor.busy_us += (share * self.settings.interval * 1e6) as i64;
            executor.steps += steps;
            executor.failures += failures;
        }
    }

    fn evaluate(&mut self, depth: u32) -> Outcome {
        let load = Load {
            now: self.now,
            depth,
            executors: self.executors.clone(),
        };
        let outcome = evaluate(
            &self.settings,
            self.desired,
            self.changed_at,
            &self.bound,
            &load,
            None,
            &mut self.memory,
        );
        if outcome.desired != self.desired {
            self.changed_at = Some(self.now);
            self.desired = outcome.desired;
        }
        outcome
    }
}

fn rule(outcome: &Outcome) -> Option<Rule> {
    outcome.decision.as_ref().map(|decision| decision.rule)
}

fn reason(outcome: &Outcome) -> &str {
    outcome
        .decision
        .as_ref()
        .map_or("", |decision| &decision.reason)
}

#[test]
fn an_idle_pool_at_its_minimum_leaves_no_trace() {
    let mut pool = Pool::of(1);
    pool.work(0.0, 0, 0);
    let outcome = pool.evaluate(0);
    assert!(outcome.quiet);
    assert_eq!(outcome.decision, None);
}

#[test]
fn busy_executors_make_the_pool_grow() {
    // Three executors, 95 % busy, target 75 %.
    let mut pool = Pool::of(3);
    pool.work(0.95, 0, 0);
    let outcome = pool.evaluate(0);
    assert_eq!(
        (rule(&outcome), outcome.desired),
        (Some(Rule::Utilization), 4)
    );
    assert!(reason(&outcome).contains("busy 95 % of the time, above 88 %"));
}

#[test]
fn a_target_near_one_can_be_exceeded() {
    assert!(rules::high(0.9) < 1.0);
    let mut pool = Pool::of(3);
    pool.settings.target = 0.9;
    pool.work(1.0, 0, 0);
    assert_eq!(pool.evaluate(0).desired, 4);
}

#[test]
fn a_step_that_runs_for_an_hour_makes_its_executor_busy_all_the_time() {
    let mut pool = Pool::of(1);
    pool.executors[0].busy = true;
    pool.executors[0].state_since = pool.now;
    pool.now += 5.0;
    assert_eq!(rule(&pool.evaluate(0)), Some(Rule::Utilization));
    assert_eq!(
        pool.memory.utilization,
        Some(0.5),
        "one executor's work on two"
    );
    // And it is not counted once more when it ends, right after an evaluation.
    pool.staff();
    pool.now += 5.0;
    pool.evaluate(0);
    let before = pool.memory.utilization;
    pool.now += 5.0;
    pool.executors[0].busy = false;
    pool.executors[0].steps = 1;
    pool.executors[0].busy_us = 10_000_000;
    pool.evaluate(0);
    assert!(pool.memory.utilization < before);
}

#[test]
fn a_long_queue_gets_an_executor_for_every_fifty_entries() {
    // 150 entries, three more.
    let mut pool = Pool::of(3);
    let outcome = pool.evaluate(150);
    assert_eq!(
        (rule(&outcome), outcome.desired),
        (Some(Rule::QueueDepth), 6)
    );
    assert!(reason(&outcome).contains("150 steps are due"));
}

#[test]
fn a_queue_that_is_gone_by_the_next_evaluation_is_not_long() {
    let mut pool = Pool::of(3);
    // 400 steps in 2.5 s of work each: 160 per second and executor.
    for _ in 0..3 {
        pool.work(0.5, 400, 0);
        pool.evaluate(0);
    }
    pool.work(0.5, 400, 0);
    assert_eq!(pool.evaluate(150).decision, None);
}

#[test]
fn arrivals_against_service_set_the_number() {
    // Two executors serve 2 steps per second each while busy, and 6 arrive: 6 / (2 * 0.75) = 4.
    let mut pool = Pool::of(2);
    let mut waiting = 0;
    let mut last = None;
    for _ in 0..6 {
        pool.work(1.0, 10, 0);
        waiting += 10;
        let outcome = pool.evaluate(waiting);
        if outcome.decision.is_some() {
            last = outcome.decision;
            break;
        }
    }
    let decision = last.expect("a decision");
    assert_eq!(decision.rule, Rule::ArrivalRate);
    assert_eq!(decision.inputs.service_rate, Some(2.0));
    assert_eq!(decision.inputs.arrival_rate, Some(6.0));
    // What waits counts as arriving within the cooldown.
    let expected = ((6.0 + f64::from(waiting) / 15.0) / 1.5f64).ceil() as u32;
    assert_eq!(decision.to, expected);
    assert!(decision.reason.contains("6.00 steps per second arrive"));
}

#[test]
fn long_steps_that_wait_behind_a_long_step_get_executors_before_any_ends() {
    let mut pool = Pool::of(1);
    pool.executors[0].busy = true;
    pool.executors[0].state_since = pool.now;
    pool.now += 5.0;
    let outcome = pool.evaluate(20);
    assert_eq!(
        (rule(&outcome), outcome.desired),
        (Some(Rule::ArrivalRate), 10)
    );
}

#[test]
fn idle_executors_go_after_a_while_and_never_below_the_minimum() {
    let mut pool = Pool::of(7);
    let mut quiet_evaluations = 0;
    let mut last = pool.evaluate(0);
    while pool.desired == 7 {
        pool.work(0.0, 0, 0);
        last = pool.evaluate(0);
        quiet_evaluations += 1;
    }
    assert!(reason(&last).ends_with("No evaluation of the last 60 s wanted more than 4."));
    assert!(f64::from(quiet_evaluations) * 5.0 >= 4.0 * 15.0, "patience");
    // Half of what may go: 7 - (7 - 1) / 2.
    assert_eq!(pool.desired, 4);
    for _ in 0..200 {
        pool.staff();
        pool.work(0.0, 0, 0);
        pool.evaluate(0);
    }
    assert_eq!(pool.desired, 1);
}

#[test]
fn the_busiest_of_the_quiet_evaluations_says_how_many_stay() {
    let mut pool = Pool::of(8);
    pool.work(0.0, 0, 0);
    pool.memory.fewer = Some((pool.now - 60.0, 6));
    assert_eq!(pool.evaluate(0).desired, 6);
}

#[test]
fn a_pool_that_shrank_is_not_taken_for_overworked() {
    let mut pool = Pool::of(8);
    pool.work(0.0, 0, 0);
    pool.memory.utilization = Some(0.5);
    (pool.memory.served, pool.memory.served_in) = (10.0, 10.0);
    pool.memory.fewer = Some((pool.now - 60.0, 1));
    assert_eq!(pool.evaluate(0).desired, 1);
    assert_eq!(pool.memory.utilization, Some(SETTINGS.target));
}

#[test]
fn the_last_executor_stays_while_it_has_something_to_do() {
    let settings = Settings { min: 0, ..SETTINGS };
    let figures = |busy| Figures {
        running: 1,
        depth: 0,
        utilization: Some(busy),
        arrival_rate: None,
        service_rate: None,
        error_rate: None,
        arrivals: 0.0,
        elapsed: 5.0,
        quiet: false,
    };
    let wanted = |busy| rules::utilization(&settings, 1, &figures(busy)).map(|o| o.wanted);
    assert_eq!((wanted(0.3), wanted(0.0)), (Some(1), Some(0)));
}

#[test]
fn an_executor_that_was_not_seen_before_was_busy_at_most_all_the_time() {
    let mut pool = Pool::of(1);
    let mut stranger = pool.executors[0].clone();
    stranger.pid = 999;
    stranger.started_at -= 1_000.0;
    stranger.busy_us = 500_000_000;
    pool.executors.push(stranger);
    pool.now += 5.0;
    pool.evaluate(0);
    assert_eq!(pool.memory.utilization, Some(0.5));
}

#[test]
fn a_single_busy_evaluation_keeps_every_executor() {
    let mut pool = Pool::of(4);
    pool.settings.max = 4;
    for n in 0..60 {
        pool.work(0.0, 0, 0);
        let depth = if n % 10 == 0 { 500 } else { 0 };
        assert_eq!(pool.evaluate(depth).desired, 4, "evaluation {n}");
    }
}

#[test]
fn the_cooldown_holds_and_is_said_once() {
    let mut pool = Pool::of(1);
    assert_eq!(pool.evaluate(150).desired, 4);
    pool.staff();
    pool.work(1.0, 0, 0);
    let held = pool.evaluate(300);
    assert_eq!((rule(&held), held.desired), (Some(Rule::Cooldown), 4));
    assert!(reason(&held).contains("Held at 4, not yet 10"));
    pool.work(1.0, 0, 0);
    assert_eq!(pool.evaluate(300).decision, None, "said already");
    pool.work(1.0, 0, 0);
    assert_eq!(pool.evaluate(300).desired, 10, "the cooldown is over");
}

#[test]
fn a_clock_that_was_set_back_holds_nothing() {
    let mut pool = Pool::of(1);
    pool.changed_at = Some(pool.now + 3_600.0);
    assert_eq!(pool.evaluate(150).desired, 4);
}

#[test]
fn errors_alone_change_nothing() {
    let mut pool = Pool::of(3);
    for _ in 0..10 {
        pool.work(0.6, 5, 1);
        assert_eq!(pool.evaluate(0).desired, 3);
    }
}

#[test]
fn a_pool_whose_steps_fail_does_not_grow() {
    let mut pool = Pool::of(3);
    for _ in 0..10 {
        pool.work(0.6, 5, 4);
        pool.evaluate(0);
    }
    pool.work(0.6, 5, 4);
    let held = pool.evaluate(400);
    assert_eq!((rule(&held), held.desired), (Some(Rule::Errors), 3));
    assert!(reason(&held).contains("80 % of the last steps failed"));
}

#[test]
fn a_few_errors_are_mentioned() {
    let mut pool = Pool::of(3);
    for _ in 0..10 {
        pool.work(0.6, 5, 1);
        pool.evaluate(0);
    }
    pool.work(0.6, 5, 1);
    let grown = pool.evaluate(400);
    assert!(grown.desired > 3);
    assert!(reason(&grown).ends_with("20 % of the last steps failed."));
}

#[test]
fn the_maximum_is_said_and_then_not_again_for_ten_minutes() {
    let mut pool = Pool::of(10);
    let first = pool.evaluate(900);
    assert_eq!((rule(&first), first.desired), (Some(Rule::AtMaximum), 10));
    assert!(reason(&first).contains("the pool's maximum is 10"));
    let mut said = 0;
    for _ in 0..150 {
        pool.work(1.0, 1, 0);
        said += usize::from(pool.evaluate(900).decision.is_some());
    }
    assert_eq!(said, 1, "12.5 minutes");
}

#[test]
fn the_server_bounds_what_the_pool_may_have() {
    let mut pool = Pool::of(2);
    pool.bound.executors = 4;
    let grown = pool.evaluate(900);
    assert_eq!((rule(&grown), grown.desired), (Some(Rule::QueueDepth), 4));
    assert!(reason(&grown).contains("Limited: the server is large"));
    pool.changed_at = None;
    let held = pool.evaluate(900);
    assert_eq!((rule(&held), held.desired), (Some(Rule::Bound), 4));
    // A lower bound ends no executor that runs.
    pool.bound.executors = 2;
    pool.work(0.0, 0, 0);
    assert_eq!(pool.evaluate(900).desired, 4);
}

#[test]
fn new_limits_count_at_once() {
    let mut pool = Pool::of(5);
    pool.changed_at = Some(pool.now);
    pool.settings.max = 3;
    let fewer = pool.evaluate(900);
    assert_eq!((rule(&fewer), fewer.desired), (Some(Rule::Limits), 3));
    pool.settings.min = 7;
    pool.settings.max = 8;
    assert_eq!(pool.evaluate(0).desired, 7);
}

#[test]
fn the_first_due_step_starts_the_first_executor_in_spite_of_the_cooldown() {
    let mut pool = Pool::of(1);
    pool.settings.min = 0;
    pool.desired = 0;
    pool.changed_at = Some(pool.now);
    let woken = pool.evaluate(1);
    assert_eq!((rule(&woken), woken.desired), (Some(Rule::QueueDepth), 1));
    assert!(reason(&woken).starts_with("1 step is due"));
}

#[test]
fn what_happened_after_a_long_silence_happened_just_now() {
    let mut pool = Pool::of(1);
    pool.work(0.5, 5, 0);
    pool.evaluate(0);
    pool.now += 36_000.0;
    let outcome = pool.evaluate(50);
    let decision = outcome.decision.expect("a decision");
    assert_eq!(decision.inputs.arrival_rate, Some(10.0));
}

#[test]
fn draining_executors_do_not_count_as_running() {
    let mut pool = Pool::of(4);
    pool.executors[0].draining = true;
    let outcome = pool.evaluate(900);
    assert_eq!(outcome.decision.map(|d| d.inputs.running), Some(3));
}

#[test]
fn a_memory_survives_being_written_down() {
    let mut pool = Pool::of(2);
    pool.work(0.9, 7, 1);
    pool.evaluate(30);
    let text = serde_json::to_string(&pool.memory).expect("it can be written");
    let read: Memory = serde_json::from_str(&text).expect("it can be read");
    assert_eq!(read, pool.memory);
    // One of an older version lacks fields.
    let old: Memory = serde_json::from_str("{}").expect("it can be read");
    assert_eq!(old, Memory::default());
}

// ---- forecast -------------------------------------------------------------------------------------------------------

const SEASONAL: Settings = Settings {
    season: Some(3_600.0),
    ..SETTINGS
};

/// `arrivals` in each of these minutes of the hour, for `hours` hours before `now`.
fn recorded(now: f64, hours: i64, minutes: std::ops::Range<i64>, arrivals: i64) -> Vec<Recorded> {
    let this_hour = (now / 3_600.0).floor() as i64 * 60;
    (1..=hours)
        .flat_map(|back| minutes.clone().map(move |m| this_hour - back * 60 + m))
        .map(|minute| Recorded { minute, arrivals })
        .collect()
}

#[test]
fn a_forecast_needs_a_season_of_records() {
    let now = 7_200_000.0;
    let records = recorded(now, 1, 0..10, 60);
    assert_eq!(Usual::new(&SEASONAL, now, None, &records), None);
    let since = Some((now / 60.0) as i64 - 30);
    assert_eq!(Usual::new(&SEASONAL, now, since, &records), None);
    assert_eq!(Usual::new(&SETTINGS, now, Some(0), &records), None);
    assert!(Usual::new(&SEASONAL, now, Some(0), &records).is_some());
}

#[test]
fn the_last_season_weighs_as_much_as_all_before_it() {
    let now = 7_200_030.0;
    let usual = |hours| {
        let records = recorded(now, hours, 0..10, 60);
        let usual = Usual::new(&SEASONAL, now, Some(0), &records);
        usual.expect("it is long").ahead
    };
    let (all, last) = (usual(4), usual(1));
    assert!((all - 1.0).abs() < 1e-9, "a step per second: {all}");
    assert!((last - 8.0 / 15.0).abs() < 1e-9, "{last}");
}

#[test]
fn the_forecast_follows_how_the_last_half_hour_compares() {
    let usual = Usual {
        now: 2.0,
        ahead: 4.0,
    };
    let expected = |actual| {
        let mut memory = Memory::default();
        (memory.actual, memory.usual) = (actual, 2.0);
        forecast::opinion(&SEASONAL, Some(&usual), Some(1.0), &memory).map(|(_, rate)| rate)
    };
    assert_eq!(expected(2.0), Some(4.0));
    assert_eq!(expected(3.0), Some(6.0));
    assert_eq!(expected(200.0), Some(12.0), "three times at most");
    assert_eq!(expected(0.0), Some(4.0 / 3.0), "and a third at least");
}

#[test]
fn a_minute_without_arrivals_is_not_recorded() {
    let mut pool = Pool::of(1);
    pool.settings = SEASONAL;
    for _ in 0..36 {
        pool.work(0.0, 0, 0);
        assert_eq!(pool.evaluate(0).recorded, None);
    }
}

#[test]
fn every_minute_that_is_asked_for_is_inside_the_spans_and_not_yet_removed() {
    let now = 7_200_030.0;
    let spans = forecast::spans(&SEASONAL, now);
    assert_eq!(spans.len(), 4);
    let oldest = forecast::oldest(&SEASONAL, now).expect("a season");
    for (from, to) in spans {
        assert!(oldest < from && from < to && to < (now / 60.0) as i64);
    }
    assert!(forecast::spans(&SETTINGS, now).is_empty());
}

#[test]
fn the_forecast_grows_a_pool_before_the_load_is_there() {
    // Each hour begins with ten steps per second. It is half a minute before the hour, and nothing is there yet.
    let hour = 7_200_000.0;
    let mut pool = Pool::of(1);
    pool.settings = SEASONAL;
    pool.now = hour - 300.0;
    pool.memory = Memory::default();
    for _ in 0..4 {
        pool.work(0.5, 5, 0);
        pool.evaluate(0);
    }
    pool.now = hour - 30.0;
    let records = recorded(hour, 4, 0..10, 600);
    let usual = Usual::new(&SEASONAL, pool.now, Some(0), &records);
    let load = Load {
        now: pool.now,
        depth: 0,
        executors: pool.executors.clone(),
    };
    let outcome = evaluate(
        &SEASONAL,
        1,
        None,
        &roomy(),
        &load,
        usual.as_ref(),
        &mut pool.memory,
    );
    let decision = outcome.decision.expect("a decision");
    assert_eq!(decision.rule, Rule::Forecast);
    assert!(decision.to > 1);
    assert!(
        decision.reason.starts_with("In 60 s usually"),
        "{}",
        decision.reason
    );
}

#[test]
fn arrivals_are_recorded_by_the_minute_only_while_the_forecast_counts() {
    for season in [None, Some(3_600.0)] {
        let mut pool = Pool::of(1);
        pool.settings.season = season;
        let mut arrivals = 0;
        for _ in 0..36 {
            pool.work(0.5, 5, 0);
            if let Some(recorded) = pool.evaluate(0).recorded {
                assert!(recorded.minute < (pool.now / 60.0) as i64 + 1);
                arrivals += recorded.arrivals;
            }
        }
        // Three minutes of one step per second; the last one is not over.
        let expected = if season.is_some() { 120..=180 } else { 0..=0 };
        assert!(expected.contains(&arrivals), "{arrivals}");
    }
}

// ---- properties -----------------------------------------------------------------------------------------------------

prop_compose! {
    fn any_settings()(min in 0u32..20, more in 0u32..20, target in 0.1f64..=1.0, interval in 1.0f64..60.0, cooldown in 1.0f64..120.0,
                      season in prop::option::of(600.0f64..90_000.0)) -> Settings {
        Settings { min, max: min + more, target, interval, cooldown, season }
    }
}

prop_compose! {
    fn any_load()(after in 0.0f64..200.0, depth in 0u32..=DEPTH_LIMIT, executors in prop::collection::vec(
        (0i32..30, any::<bool>(), any::<bool>(), 0i64..1_000_000, 0i64..1_000_000, 0i64..10_000_000_000), 0..25)) -> (f64, Load) {
        let executors = executors.into_iter().map(|(pid, busy, draining, steps, failures, busy_us)| Executor {
            pid, started_at: 0.0, busy, state_since: 0.0, draining, steps, failures: failures.min(steps), busy_us,
        }).collect();
        (after, Load { now: 0.0, depth, executors })
    }
}

proptest! {
    #[test]
    fn bounds_and_cooldown_always_hold(
        settings in any_settings(), room in 0u32..40, loads in prop::collection::vec(any_load(), 1..60),
    ) {
        let bound = Bound { executors: room, because: "of the server".to_owned() };
        let (mut memory, mut now, mut current, mut changed_at) = (Memory::default(), 1_000.0, settings.min, None);
        for (after, mut load) in loads {
            now += after;
            load.now = now;
            let outcome = evaluate(&settings, current, changed_at, &bound, &load, None, &mut memory);
            prop_assert!(outcome.desired >= settings.min && outcome.desired <= settings.max);
            prop_assert!(outcome.desired <= current.max(room).max(settings.min));
            if outcome.desired != current {
                if let Some(then) = changed_at {
                    prop_assert!(current == 0 || now - then >= settings.cooldown);
                }
                let decision = outcome.decision.as_ref();
                prop_assert!(decision.is_some_and(|d| d.from == current && d.to == outcome.desired));
                prop_assert!(!outcome.quiet);
                changed_at = Some(now);
            } else if let Some(decision) = &outcome.decision {
                prop_assert!(matches!(decision.rule, Rule::Errors | Rule::AtMaximum | Rule::Bound | Rule::Cooldown));
            }
            if let Some(decision) = &outcome.decision {
                prop_assert!(decision.reason.ends_with('.') && !decision.reason.contains("NaN"));
            }
            current = outcome.desired;
        }
    }

    #[test]
    fn more_load_never_wants_fewer_executors(depth in 0u32..900, more in 0u32..100, share in 0.0f64..1.0) {
        let wanted = |depth: u32, share: f64| {
            let mut pool = Pool::of(3);
            pool.work(share, 10, 0);
            pool.evaluate(depth).desired
        };
        prop_assert!(wanted(depth + more, share) >= wanted(depth, share));
        prop_assert!(wanted(depth, (share + 0.1).min(1.0)) >= wanted(depth, share));
    }
}

// ---- resources ------------------------------------------------------------------------------------------------------

use super::resources::{PoolLimits, Server, allowance, capacity, reserved, validate};
use crate::problem::Severity;

const SERVER: Server = Server {
    max_worker_processes: 8,
    max_connections: 100,
    max_parallel_per_gather: 2,
    memory_budget_mb: 0,
    executor_memory_mb: 50,
    own_processes: 2,
    executors_elsewhere: 0,
    held_by_server: 0,
    waiting: vec![],
};

fn pool(min: u32, max: u32) -> PoolLimits {
    PoolLimits {
        name: "p".to_owned(),
        min,
        max,
    }
}

#[test]
fn a_fifth_of_the_connections_is_reserved_within_limits() {
    for (slots, expected) in [
        (0, 0),
        (1, 1),
        (8, 2),
        (20, 4),
        (21, 4),
        (50, 10),
        (51, 10),
        (100, 20),
        (101, 20),
        (1_000, 200),
    ] {
        assert_eq!(reserved(slots), expected, "{slots}");
    }
}

#[test]
fn what_is_left_to_executors() {
    assert_eq!(allowance(&SERVER).executors, 4);
    let starting = Server {
        own_processes: 0,
        ..SERVER
    };
    assert_eq!(
        allowance(&starting).executors,
        4,
        "launcher and coordinator are to come"
    );
    let shared = Server {
        own_processes: 3,
        executors_elsewhere: 2,
        ..SERVER
    };
    assert_eq!(allowance(&shared).executors, 1);
    let tight = Server {
        memory_budget_mb: 149,
        ..SERVER
    };
    assert_eq!(allowance(&tight).executors, 2);
    assert!(allowance(&tight).because.contains("memory_budget_mb 149"));
    let rich = Server {
        memory_budget_mb: 10_000,
        ..SERVER
    };
    assert_eq!(allowance(&rich), allowance(&SERVER));
    let full = Server {
        executors_elsewhere: 50,
        ..SERVER
    };
    assert_eq!(allowance(&full).executors, 0);
}

#[test]
fn a_minimum_above_the_maximum_is_an_error_of_its_pool() {
    let findings = validate(&SERVER, &[pool(2, 1)]);
    assert_eq!(findings.len(), 1);
    assert_eq!(
        (findings[0].severity, findings[0].pool.as_deref()),
        (Severity::Error, Some("p"))
    );
}

#[test]
fn pools_that_leave_others_too_little_are_warned_of() {
    let large = Server {
        max_worker_processes: 1_000,
        max_connections: 2_000,
        ..SERVER
    };
    // 200 reserved, 2 own.
    assert_eq!(validate(&large, &[pool(1, 798)]), []);
    let hundred = Server {
        max_worker_processes: 101,
        ..large
    };
    // 20 reserved: 79 may be had.
    assert_eq!(validate(&hundred, &[pool(1, 79)]).len(), 0);
    assert_eq!(
        validate(&hundred, &[pool(1, 80)])[0].severity,
        Severity::Warning
    );
    assert_eq!(
        validate(&hundred, &[pool(1, 102)])[0].severity,
        Severity::Error
    );
}

proptest! {
    #[test]
    fn what_validates_without_error_can_be_had(
        slots in 0u32..300, budget in 0u32..3_000, each in 1u32..200, own in 0u32..6, elsewhere in 0u32..20,
        limits in prop::collection::vec((0u32..20, 0u32..20), 0..6),
    ) {
        let server = Server {
            max_worker_processes: slots, memory_budget_mb: budget, executor_memory_mb: each, own_processes: own,
            executors_elsewhere: elsewhere, ..SERVER
        };
        let pools: Vec<PoolLimits> = limits.iter().map(|(min, more)| pool(*min, min + more)).collect();
        let findings = validate(&server, &pools);
        let (least, most) = (pools.iter().map(|p| p.min).sum::<u32>(), pools.iter().map(|p| p.max).sum::<u32>());
        let allowed = allowance(&server).executors;
        let errors = findings.iter().filter(|f| f.severity == Severity::Error).count();
        prop_assert_eq!(errors > 0, least > allowed || most > slots, "{:?}", findings);
        if most > allowed {
            prop_assert!(findings.iter().any(|f| f.pool.is_none()));
        }
        prop_assert!(findings.iter().all(|f| !f.message.is_empty() && f.hint.ends_with('.')));
        prop_assert!(findings.windows(2).all(|w| w[0].severity <= w[1].severity), "errors first");
    }
}

#[test]
fn the_reserved_slots_stay_free_whatever_waits() {
    // 2 reserved, 1 of the server itself: the launcher and 4 others.
    assert_eq!(capacity(8, 1), 5);
    assert_eq!(capacity(8, 0), 6);
    assert_eq!(
        capacity(1, 1),
        2,
        "launcher and one coordinator in any case"
    );
    for slots in 5..200 {
        assert!(capacity(slots, 1) + reserved(slots) < slots);
    }
    let crowded = Server {
        own_processes: 5,
        held_by_server: 1,
        waiting: (5..=9).map(|no| format!("d{no}")).collect(),
        ..SERVER
    };
    assert_eq!(allowance(&crowded).executors, 0);
    let found = validate(&crowded, &[]);
    assert_eq!(found[0].severity, Severity::Error);
    assert_eq!(
        found[0].message,
        "no slot is left for the coordinators of d5, d6, d7, d8, d9: max_worker_processes 8 carries 5 processes of \
         tasker_ext (2 reserved for others)"
    );
    // The launcher, nine coordinators and an executor for each fit with what the hint says, and not with one less.
    assert!(
        found[0]
            .hint
            .starts_with("Raise max_worker_processes to 25 "),
        "{}",
        found[0].hint
    );
    assert!(capacity(25, 1) >= 19 && capacity(24, 1) < 19);
}
