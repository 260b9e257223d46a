//! The delay of every attempt under every kind.

use proptest::prelude::*;
use tasker_rules::engine::backoff::{Config, Kind, Policy, delay_ms};

fn config(list: &[f64], multiplier: f64, max_seconds: i64) -> Config {
    Config {
        list_seconds: list.to_vec(),
        multiplier,
        max_ms: max_seconds * 1_000,
        jitter: 0.0,
    }
}

fn default_without_jitter() -> Config {
    Config {
        jitter: 0.0,
        ..Config::default()
    }
}

fn policy(kind: Kind, base_ms: i64) -> Policy {
    Policy {
        kind: Some(kind),
        base_ms: Some(base_ms),
        ..Policy::default()
    }
}

fn delays<const N: usize>(attempts: [i32; N], policy: &Policy, config: &Config) -> [i64; N] {
    attempts.map(|n| delay_ms(n, policy, config, None, 0.5))
}

#[test]
fn backoff_follows_the_default_list_and_then_the_square_of_the_attempt() {
    let got = delays(
        [i32::MIN, -1, 0, 1, 3, 6, 7, 100, i32::MAX],
        &Policy::default(),
        &default_without_jitter(),
    );
    assert_eq!(
        got,
        [0, 0, 0, 1_000, 4_000, 32_000, 49_000, 300_000, 300_000]
    );
}

#[test]
fn a_list_of_two_continues_with_powers_in_whole_seconds() {
    let got = delays(
        [1, 2, 3, 100],
        &Policy::default(),
        &config(&[5.0, 10.0], 1.5, 60),
    );
    assert_eq!(got, [5_000, 10_000, 5_000, 60_000]);
}

#[test]
fn jitter_of_half_stays_between_half_and_one_and_a_half() {
    let policy = Policy {
        jitter: Some(0.5),
        ..Policy::default()
    };
    let at = |random| delay_ms(3, &policy, &Config::default(), None, random);
    assert_eq!(
        [at(0.0), at(0.25), at(0.5), at(1.0)],
        [2_000, 3_000, 4_000, 6_000]
    );
}

#[test]
fn exponential_backoff_doubles_up_to_its_cap() {
    let policy = Policy {
        max_ms: Some(200),
        ..policy(Kind::Exponential, 50)
    };
    assert_eq!(
        delays([1, 2, 3, 4], &policy, &default_without_jitter()),
        [50, 100, 200, 200]
    );
}

#[test]
fn fibonacci_backoff_adds_the_last_two_delays() {
    let got = delays(
        [1, 2, 3, 4, 5],
        &policy(Kind::Fibonacci, 1_000),
        &default_without_jitter(),
    );
    assert_eq!(got, [1_000, 1_000, 2_000, 3_000, 5_000]);
}

#[test]
fn retry_after_is_capped_and_not_jittered() {
    let after = |ms, random| delay_ms(1, &Policy::default(), &Config::default(), Some(ms), random);
    assert_eq!(after(5_000_000, 1.0), 300_000);
    assert_eq!(after(30_000, 0.0), 30_000);
    assert_eq!(after(0, 1.0), 0);
    assert_eq!(after(-5, 1.0), 0);
    assert_eq!(after(i64::MIN, 1.0), 0);
    let own_cap = Policy {
        max_ms: Some(10_000),
        ..Policy::default()
    };
    assert_eq!(
        delay_ms(0, &own_cap, &Config::default(), Some(30_000), 0.5),
        10_000
    );
}

#[test]
fn none_linear_and_exponential_backoff_take_effect() {
    let config = default_without_jitter();
    assert_eq!(
        delays([1, 2, 3], &policy(Kind::None, 1_000), &config),
        [0, 0, 0]
    );
    assert_eq!(
        delays([1, 2, 3], &policy(Kind::Linear, 1_500), &config),
        [1_500, 3_000, 4_500]
    );
    assert_eq!(
        delays([1, 2, 3], &policy(Kind::Exponential, 10), &config),
        [10, 20, 40]
    );
}

#[test]
fn no_attempt_number_overflows() {
    for kind in Kind::ALL {
        let expected = if kind == Kind::None { 0 } else { 300_000 };
        let got = delay_ms(
            i32::MAX,
            &policy(kind, i64::MAX),
            &Config::default(),
            None,
            0.5,
        );
        assert_eq!(got, expected, "{kind}");
    }
}

#[test]
fn a_base_without_a_kind_means_exponential() {
    let bare = Policy {
        base_ms: Some(100),
        ..Policy::default()
    };
    assert_eq!(
        delays([1, 2, 3], &bare, &default_without_jitter()),
        [100, 200, 400]
    );
}

#[test]
fn a_kind_without_a_base_starts_from_the_list() {
    let bare = Policy {
        kind: Some(Kind::Linear),
        ..Policy::default()
    };
    assert_eq!(
        delays([1, 2], &bare, &config(&[5.0], 2.0, 300)),
        [5_000, 10_000]
    );
    assert_eq!(
        delays([1, 2], &bare, &config(&[], 2.0, 300)),
        [1_000, 2_000]
    );
}

#[test]
fn jitter_at_the_cap_spreads_below_it() {
    let policy = Policy {
        jitter: Some(0.1),
        ..Policy::default()
    };
    let at = |random| delay_ms(100, &policy, &Config::default(), None, random);
    assert_eq!([at(0.0), at(0.5), at(1.0)], [270_000, 300_000, 270_000]);
}

#[test]
fn words_lead_to_kinds() {
    for kind in Kind::ALL {
        assert_eq!(kind.as_str().parse(), Ok(kind));
    }
    assert!("fixed".parse::<Kind>().is_err());
}

fn any_kind() -> impl Strategy<Value = Option<Kind>> {
    prop::option::of(prop::sample::select(Kind::ALL.to_vec()))
}

proptest! {
    #[test]
    fn every_delay_lies_between_zero_and_the_cap(
        attempt in any::<i32>(),
        kind in any_kind(),
        base_ms in any::<Option<i64>>(),
        max_ms in any::<Option<i64>>(),
        jitter in any::<Option<f64>>(),
        list_seconds in prop::collection::vec(any::<f64>(), 0..4),
        multiplier in any::<f64>(),
        config_max in any::<i64>(),
        config_jitter in any::<f64>(),
        retry_after in any::<Option<i64>>(),
        random in any::<f64>(),
    ) {
        let policy = Policy { kind, base_ms, max_ms, jitter };
        let config = Config { list_seconds, multiplier, max_ms: config_max, jitter: config_jitter };
        let got = delay_ms(attempt, &policy, &config, retry_after, random);
        prop_assert!(got >= 0);
        prop_assert!(got <= max_ms.unwrap_or(config_max).max(0));
    }

    #[test]
    fn jitter_is_symmetric_below_the_cap(attempt in 1..7i32, share in 0.0..1.0f64, random in 0.0..1.0f64) {
        let policy = Policy { jitter: Some(share), max_ms: Some(1_000_000), ..Policy::default() };
        let at = |r| delay_ms(attempt, &policy, &Config::default(), None, r);
        let middle = at(0.5);
        prop_assert!(((at(random) - middle) + (at(1.0 - random) - middle)).abs() <= 1);
    }
}
