//! Cron expressions: what they mean, and what a jump of the clock does to them.

use chrono::{DateTime, NaiveDateTime};
use proptest::prelude::*;
use tasker_rules::operations::schedule::{Schedule, Utc, Zone};

/// A zone whose changes are written down: instant and offset from then on; ascending.
#[derive(Debug, Clone)]
struct Model {
    first: i64,
    changes: Vec<(i64, i64)>,
}

impl Zone for Model {
    fn offset_at(&self, instant: i64) -> i64 {
        self.changes
            .iter()
            .rev()
            .find(|(at, _)| *at <= instant)
            .map_or(self.first, |(_, offset)| *offset)
    }

    fn next_change(&self, after: i64) -> Option<i64> {
        self.changes
            .iter()
            .map(|(at, _)| *at)
            .find(|at| *at > after)
    }
}

const HOUR: i64 = 3600;

fn instant(text: &str) -> i64 {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S")
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .and_utc()
        .timestamp()
}

fn shown(instant: i64) -> String {
    DateTime::from_timestamp(instant, 0)
        .expect("a small number")
        .naive_utc()
        .to_string()
}

/// Central Europe in 2026.
fn berlin() -> Model {
    Model {
        first: HOUR,
        changes: vec![
            (instant("2026-03-29 01:00:00"), 2 * HOUR),
            (instant("2026-10-25 01:00:00"), HOUR),
        ],
    }
}

fn following(text: &str, zone: &impl Zone, after: &str, count: usize) -> Vec<String> {
    let schedule = Schedule::parse(text).expect("a good expression");
    let mut at = instant(after);
    (0..count)
        .map_while(|_| {
            at = schedule.next(zone, at)?;
            Some(shown(at))
        })
        .collect()
}

#[test]
fn fields_nicknames_and_seconds() {
    for (text, expected) in [
        ("30 2 * * *", "2026-01-01 02:30:00"),
        ("*/15 * * * *", "2026-01-01 00:15:00"),
        ("0 9 * * MON-FRI", "2026-01-01 09:00:00"),
        ("0 9 * * sun", "2026-01-04 09:00:00"),
        ("0 9 * * 7", "2026-01-04 09:00:00"),
        ("0 0 1 JAN *", "2027-01-01 00:00:00"),
        ("0 12 L * *", "2026-01-31 12:00:00"),
        ("0 12 * * FRI#2", "2026-01-09 12:00:00"),
        ("*/10 * * * * *", "2026-01-01 00:00:10"),
        ("5 30 2 * * *", "2026-01-01 02:30:05"),
        // A day of the month and a day of the week: either is enough.
        ("0 0 13 * FRI", "2026-01-02 00:00:00"),
        ("@yearly", "2027-01-01 00:00:00"),
        ("@annually", "2027-01-01 00:00:00"),
        ("@monthly", "2026-02-01 00:00:00"),
        ("@weekly", "2026-01-04 00:00:00"),
        ("@daily", "2026-01-02 00:00:00"),
        (" @MIDNIGHT ", "2026-01-02 00:00:00"),
        ("@hourly", "2026-01-01 01:00:00"),
    ] {
        assert_eq!(
            following(text, &Utc, "2026-01-01 00:00:00", 1),
            [expected],
            "{text}"
        );
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_a_sentence() {
    for text in [
        "",
        "  ",
        "* * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "a b c d e",
        "0 0 1 1 * 2026 *",
        "* * * * * * 2026",
        "@reboot",
        "@fortnightly",
        "*/0 * * * *",
        "1-0 * * * *",
        "-1 * * * *",
        "0 0 * * * extra",
        "\u{0}",
        "ö * * * *",
        "99999999999999999999 * * * *",
    ] {
        let problem = Schedule::parse(text).err();
        assert!(problem.is_some_and(|problem| !problem.is_empty()), "{text}");
    }
}

#[test]
fn what_never_comes_has_no_next_time() {
    let never = Schedule::parse("0 0 31 2 *").expect("can be read");
    assert_eq!(never.next(&Utc, instant("2026-01-01 00:00:00")), None);
    assert_eq!(never.previous(&Utc, instant("2026-01-01 00:00:00")), None);
    let daily = Schedule::parse("@daily").expect("can be read");
    for far in [i64::MIN, i64::MAX, 9_000_000_000_000, -9_000_000_000_000] {
        assert_eq!(daily.next(&Utc, far), None, "{far}");
    }
    assert_eq!(daily.next(&Utc, instant("5001-01-01 00:00:00")), None);
}

#[test]
fn leap_days_and_the_end_of_the_year() {
    assert_eq!(
        following("0 12 29 2 *", &Utc, "2026-01-01 00:00:00", 3),
        [
            "2028-02-29 12:00:00",
            "2032-02-29 12:00:00",
            "2036-02-29 12:00:00"
        ]
    );
    // 2100 is no leap year.
    assert_eq!(
        following("0 12 29 2 *", &Utc, "2096-03-01 00:00:00", 1),
        ["2104-02-29 12:00:00"]
    );
    assert_eq!(
        following("59 23 31 12 *", &berlin(), "2026-12-31 22:58:59", 2),
        ["2026-12-31 22:59:00", "2027-12-31 22:59:00"]
    );
    assert_eq!(
        following("* * * * * *", &Utc, "2026-12-31 23:59:58", 3),
        [
            "2026-12-31 23:59:59",
            "2027-01-01 00:00:00",
            "2027-01-01 00:00:01"
        ]
    );
}

#[test]
fn a_time_that_does_not_exist_fires_once_right_after_the_gap() {
    for text in ["30 2 * * *", "0 2 * * *", "*/15 2 * * *", "0,30 2 * * *"] {
        assert_eq!(
            following(text, &berlin(), "2026-03-28 12:00:00", 1),
            ["2026-03-29 01:00:00"],
            "{text}"
        );
        // Also from the last second before the gap, and not again after it.
        assert_eq!(
            following(text, &berlin(), "2026-03-29 00:59:59", 1),
            ["2026-03-29 01:00:00"]
        );
        assert!(
            following(text, &berlin(), "2026-03-29 01:00:00", 1)[0].starts_with("2026-03-30 00")
        );
    }
    // Three o'clock is the end of the gap and comes once.
    assert_eq!(
        following("0 2,3 * * *", &berlin(), "2026-03-28 12:00:00", 2),
        ["2026-03-29 01:00:00", "2026-03-30 00:00:00"]
    );
}

#[test]
fn a_time_that_exists_twice_fires_once() {
    assert_eq!(
        following("30 2 * * *", &berlin(), "2026-10-24 12:00:00", 2),
        ["2026-10-25 00:30:00", "2026-10-26 01:30:00"]
    );
    assert_eq!(
        following("*/30 2 * * *", &berlin(), "2026-10-24 12:00:00", 3),
        [
            "2026-10-25 00:00:00",
            "2026-10-25 00:30:00",
            "2026-10-26 01:00:00"
        ]
    );
    // Asked within the hour that comes again.
    assert_eq!(
        following("30 2 * * *", &berlin(), "2026-10-25 01:10:00", 1),
        ["2026-10-26 01:30:00"]
    );
    assert_eq!(
        following("0 3 * * *", &berlin(), "2026-10-25 01:10:00", 1),
        ["2026-10-25 02:00:00"]
    );
}

#[test]
fn every_hour_means_every_hour_that_passes() {
    assert_eq!(
        following("30 * * * *", &berlin(), "2026-10-25 00:00:00", 3),
        [
            "2026-10-25 00:30:00",
            "2026-10-25 01:30:00",
            "2026-10-25 02:30:00"
        ]
    );
    assert_eq!(
        following("30 * * * *", &berlin(), "2026-03-29 00:00:00", 2),
        ["2026-03-29 00:30:00", "2026-03-29 01:30:00"]
    );
    assert_eq!(
        following("*/5 * * * *", &berlin(), "2026-10-25 00:54:00", 3),
        [
            "2026-10-25 00:55:00",
            "2026-10-25 01:00:00",
            "2026-10-25 01:05:00"
        ]
    );
}

#[test]
fn a_day_that_is_left_out_fires_once_behind_it() {
    // Samoa had no 30 December 2011.
    let samoa = Model {
        first: -10 * HOUR,
        changes: vec![(instant("2011-12-30 10:00:00"), 14 * HOUR)],
    };
    assert_eq!(
        following("0 12 * * *", &samoa, "2011-12-29 21:00:00", 3),
        [
            "2011-12-29 22:00:00",
            "2011-12-30 10:00:00",
            "2011-12-30 22:00:00"
        ]
    );
}

#[test]
fn the_previous_time_and_how_many_lie_between() {
    let daily = Schedule::parse("30 2 * * *").expect("can be read");
    let previous = |before: &str| daily.previous(&berlin(), instant(before)).map(shown);
    assert_eq!(
        previous("2026-03-29 01:00:01").as_deref(),
        Some("2026-03-29 01:00:00")
    );
    assert_eq!(
        previous("2026-03-29 01:00:00").as_deref(),
        Some("2026-03-28 01:30:00")
    );
    assert_eq!(
        previous("2026-10-26 01:30:00").as_deref(),
        Some("2026-10-25 00:30:00")
    );
    let leap = Schedule::parse("0 0 29 2 *").expect("can be read");
    assert_eq!(
        leap.previous(&Utc, instant("2028-02-29 00:00:00"))
            .map(shown)
            .as_deref(),
        Some("2024-02-29 00:00:00")
    );
    let (from, until) = (
        instant("2026-03-01 01:30:00"),
        instant("2026-03-31 00:30:00"),
    );
    assert_eq!(daily.count(&berlin(), from, until, 1000), 30);
    assert_eq!(daily.count(&berlin(), from, until, 7), 7);
    assert_eq!(daily.count(&berlin(), until, from, 7), 0);
}

/// The plain rule, minute by minute: every occurrence in a span of whole minutes.
fn by_the_rule(minutes: &[i64], hours: &[i64], zone: &Model, from: i64, until: i64) -> Vec<i64> {
    let fires = |local: i64| {
        minutes.contains(&(local.div_euclid(60) % 60))
            && hours.contains(&(local.div_euclid(HOUR) % 24))
    };
    let every_hour = hours.len() == 24;
    let mut shown = std::collections::HashSet::new();
    let mut found = Vec::new();
    let mut before = zone.offset_at(from - 2 * 86_400);
    let mut at = from - 2 * 86_400;
    while at < until {
        let offset = zone.offset_at(at);
        let made_up = !every_hour && (at + before..at + offset).step_by(60).any(fires);
        let first_time = shown.insert(at + offset);
        if at >= from && (made_up || fires(at + offset) && (first_time || every_hour)) {
            found.push(at);
        }
        before = offset;
        at += 60;
    }
    found
}

fn list(numbers: &[i64]) -> String {
    numbers
        .iter()
        .map(i64::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

fn numbers(most: i64) -> impl Strategy<Value = Vec<i64>> {
    prop_oneof![
        3 => prop::collection::btree_set(0..most, 1..5).prop_map(|set| set.into_iter().collect()),
        1 => Just((0..most).collect()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_zone_obeys_the_rule(
        minutes in numbers(60),
        hours in numbers(24),
        first in -12i64..14,
        jumps in prop::collection::vec((0i64..1440, prop_oneof![Just(-120i64), Just(-60), Just(-30), Just(30), Just(60), Just(120), Just(1440)]), 0..3),
        start in 0i64..2880,
    ) {
        let base = instant("2026-06-01 00:00:00");
        let mut offset = first * HOUR;
        let changes = jumps
            .iter()
            .enumerate()
            .map(|(day, (minute, jump))| {
                offset += jump * 60;
                // A day apart, so that nothing is repeated twice.
                (base + (day as i64 * 2) * 86_400 + minute * 60, offset)
            })
            .collect();
        let zone = Model { first: first * HOUR, changes };
        let schedule = Schedule::parse(&format!("{} {} * * *", list(&minutes), list(&hours))).expect("can be read");
        let (from, until) = (base + (start - 1440) * 60, base + 6 * 86_400);
        let expected = by_the_rule(&minutes, &hours, &zone, from, until);
        let mut found = Vec::new();
        let mut at = from - 1;
        while let Some(next) = schedule.next(&zone, at).filter(|next| *next < until) {
            found.push(next);
            at = next;
        }
        prop_assert_eq!(&found, &expected);
        for pair in found.windows(2).take(20) {
            prop_assert_eq!(schedule.previous(&zone, pair[1]), Some(pair[0]));
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "[-0-9*/,#@LWa-zA-Z? ]{0,30}", after in -1_000_000_000i64..10_000_000_000) {
        if let Ok(schedule) = Schedule::parse(&text) {
            let _ = schedule.next(&berlin(), after);
            let _ = schedule.previous(&berlin(), after);
        }
    }
}
