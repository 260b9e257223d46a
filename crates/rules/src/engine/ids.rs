//! Identifiers of tasks and steps.
//!
//! A task's uuid is a UUIDv7 whose lowest 16 bits are zero; a step's uuid is the same value with the step's ordinal in
//! those bits. So a step's uuid leads to its task, its row and its shard without an index of its own.
//!
//! Layout, high to low: 48 bits Unix milliseconds, 4 bits version, 12 random bits, 2 bits variant, 46 random bits, 16 bits
//! step number. The 58 random bits are treated as one number, the *tail*.

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// The most steps a task can have: the step number is a positive `smallint`.
pub const MAX_STEPS: usize = 32_767;

/// How far the values of a process may be ahead of its clock: half of what `uuids_since` allows.
const MOST_AHEAD_MS: u64 = 30_000;
const TAIL_BITS: u32 = 58;
const MS_MASK: u64 = (1 << 48) - 1;
/// How many random bytes are fetched from the operating system at once.
const POOL: usize = 512;

/// Makes the tails: strictly ascending within a millisecond, yet unpredictable between processes.
///
/// A new millisecond starts at a random point of the lower half of the tail space; each further value in the same
/// millisecond is a random stride (1 to 2^40) further on. Two processes that create in the same millisecond therefore meet
/// with the probability of plain random numbers, and the upper half leaves room for more than 100,000 values per
/// millisecond. When it is used up, the clock is taken to be one millisecond later. A clock that is set back by less than
/// [`MOST_AHEAD_MS`] changes nothing: the last millisecond goes on until the clock has caught up. Otherwise the values begin
/// again with the clock: the time in a uuid is never far from that of the request, so that lists by time find the task.
#[derive(Debug)]
struct Generator {
    pid: u32,
    ms: u64,
    tail: u64,
    pool: [u8; POOL],
    used: usize,
}

impl Generator {
    const fn new() -> Self {
        Self {
            pid: 0,
            ms: 0,
            tail: 0,
            pool: [0; POOL],
            used: POOL,
        }
    }

    /// Forgets everything inherited through fork(): otherwise every child would use the random bytes of its parent.
    fn after_fork(&mut self, pid: u32) {
        if self.pid != pid {
            *self = Self::new();
            self.pid = pid;
        }
    }

    fn random(&mut self) -> u64 {
        if self.used + 8 > POOL {
            if getrandom::fill(&mut self.pool).is_err() {
                return weak_random(self.tail);
            }
            self.used = 0;
        }
        let mut word = [0u8; 8];
        word.copy_from_slice(&self.pool[self.used..self.used + 8]);
        self.used += 8;
        u64::from_le_bytes(word)
    }

    fn next(&mut self, now_ms: u64) -> [u8; 16] {
        let now_ms = now_ms & MS_MASK;
        if now_ms > self.ms || self.ms - now_ms > MOST_AHEAD_MS {
            self.start(now_ms);
        } else {
            let stride = (self.random() >> 24) + 1;
            match self.tail.checked_add(stride) {
                Some(tail) if tail < 1 << TAIL_BITS => self.tail = tail,
                _ => self.start(self.ms + 1),
            }
        }
        compose(self.ms, self.tail)
    }

    fn start(&mut self, ms: u64) {
        self.ms = ms;
        self.tail = self.random() >> (64 - (TAIL_BITS - 1));
    }
}

/// Only for a machine whose random source fails: a weaker identifier is better than an error in every INSERT.
fn weak_random(salt: u64) -> u64 {
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |age| age.as_nanos() as u64);
    let mut x = nanos ^ salt.rotate_left(32) ^ (u64::from(std::process::id()) << 40);
    // splitmix64, so that neighbouring instants give unrelated values.
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn compose(ms: u64, tail: u64) -> [u8; 16] {
    let value = (u128::from(ms & MS_MASK) << 80)
        | (0x7 << 76)
        | (u128::from(tail >> 46) << 64)
        | (0b10 << 62)
        | (u128::from(tail & ((1 << 46) - 1)) << 16);
    value.to_be_bytes()
}

/// The least identifier of a task created in this millisecond since 1970; times out of range are the nearest in range.
pub fn first_task_uuid(unix_ms: i64) -> [u8; 16] {
    compose(unix_ms.clamp(0, MS_MASK as i64) as u64, 0)
}

/// When a task was created, milliseconds since 1970, as its identifier says.
pub fn created_ms(task: &[u8; 16]) -> i64 {
    (u128::from_be_bytes(*task) >> 80) as i64
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |age| age.as_millis() as u64)
}

static GENERATOR: Mutex<Generator> = Mutex::new(Generator::new());

/// A new task identifier: a UUIDv7 in big-endian byte order whose lowest 16 bits are zero.
///
/// Within a process every value is greater than the one before, so rows created in bulk append to their index; unless the clock
/// was set back by more than half a minute.
pub fn new_task_uuid() -> [u8; 16] {
    let mut generator = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    generator.after_fork(std::process::id());
    generator.next(now_ms())
}

/// `count` new task identifiers, strictly ascending: [`new_task_uuid`] for bulk creation, with one reading of the clock.
pub fn new_task_uuids(count: usize) -> Vec<[u8; 16]> {
    let mut generator = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    generator.after_fork(std::process::id());
    let now = now_ms();
    (0..count).map(|_| generator.next(now)).collect()
}

/// The identifier of step `step_no` of a task: the task's uuid with the number in its lowest 16 bits.
///
/// Step 0 gives the task's own uuid back. Any bits that `task` has there are replaced.
pub fn step_uuid(task: &[u8; 16], step_no: i16) -> [u8; 16] {
    let mut step = *task;
    step[14..].copy_from_slice(&step_no.to_be_bytes());
    step
}

/// Takes a step's identifier apart into its task's identifier and the step number.
///
/// Number 0 means that a task's uuid was given; a negative number belongs to no step.
pub fn split(step: &[u8; 16]) -> ([u8; 16], i16) {
    let step_no = i16::from_be_bytes([step[14], step[15]]);
    (step_uuid(step, 0), step_no)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_says_when_its_task_was_created() {
        let task = first_task_uuid(1_700_000_000_123);
        assert_eq!(created_ms(&task), 1_700_000_000_123);
        assert!((now_ms() as i64 - created_ms(&new_task_uuid())).abs() < 60_000);
    }

    #[test]
    fn the_first_uuid_of_a_time_divides_what_was_made_before_from_what_was_made_after() {
        let uuid = new_task_uuids(1)[0];
        let made = i64::try_from(now_ms()).expect("a time of this century");
        assert!(first_task_uuid(made - 1000) < uuid);
        assert!(first_task_uuid(made + 1000) > uuid);
        assert_eq!(first_task_uuid(i64::MIN), first_task_uuid(0));
        assert!(first_task_uuid(i64::MAX) > uuid);
    }

    #[test]
    fn a_task_uuid_is_a_version_7_uuid_with_sixteen_zero_bits() {
        let before = now_ms();
        let uuid = uuid::Uuid::from_bytes(new_task_uuid());
        assert_eq!(uuid.get_version_num(), 7);
        assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
        assert_eq!(uuid.as_bytes()[14..], [0, 0]);
        let (seconds, nanos) = uuid.get_timestamp().expect("v7 has a timestamp").to_unix();
        let ms = seconds * 1000 + u64::from(nanos) / 1_000_000;
        assert!(ms >= before && ms < before + 10_000);
    }

    #[test]
    fn many_in_one_millisecond_come_out_strictly_ascending() {
        let mut generator = Generator::new();
        let made: Vec<_> = (0..300_000)
            .map(|_| generator.next(1_700_000_000_000))
            .collect();
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]));
        // The random strides leave room: 100,000 values do not push the clock ahead.
        let ms =
            |id: &[u8; 16]| u64::from_be_bytes([0, 0, id[0], id[1], id[2], id[3], id[4], id[5]]);
        assert_eq!(ms(&made[99_999]), 1_700_000_000_000);
        assert!(ms(&made[299_999]) <= 1_700_000_000_003);
    }

    #[test]
    fn a_clock_set_back_does_not_break_the_order() {
        let mut generator = Generator::new();
        let first = generator.next(2_000);
        let second = generator.next(1_000);
        let third = generator.next(2_001);
        assert!(first < second && second < third);
    }

    #[test]
    fn a_clock_set_back_by_more_than_half_a_minute_is_followed() {
        let mut generator = Generator::new();
        let first = generator.next(10_000_000);
        assert!(generator.next(9_970_000) > first);
        let back = generator.next(9_969_999);
        assert!(first_task_uuid(9_969_999) <= back && back < first_task_uuid(9_970_000));
        assert!(generator.next(9_969_999) > back);
    }

    #[test]
    fn the_public_functions_keep_the_order_between_calls() {
        let mut all = vec![new_task_uuid()];
        all.extend(new_task_uuids(10_000));
        all.push(new_task_uuid());
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(new_task_uuids(0).is_empty());
    }

    #[test]
    fn processes_that_start_in_the_same_millisecond_do_not_meet() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..200 {
            let mut generator = Generator::new();
            for _ in 0..100 {
                assert!(seen.insert(generator.next(1_700_000_000_000)));
            }
        }
    }

    #[test]
    fn a_forked_child_forgets_the_random_bytes_of_its_parent() {
        let mut generator = Generator::new();
        generator.after_fork(1);
        generator.next(5);
        assert!(generator.used < POOL);
        generator.after_fork(2);
        assert_eq!((generator.used, generator.ms), (POOL, 0));
    }

    #[test]
    fn a_step_uuid_leads_back_to_task_and_number() {
        let task = new_task_uuid();
        for step_no in [1, 2, 255, 256, 32_767] {
            let step = step_uuid(&task, step_no);
            assert!(step > task);
            assert_eq!(split(&step), (task, step_no));
        }
        assert_eq!(split(&task), (task, 0));
        assert_eq!(split(&[0xff; 16]).1, -1);
        assert!(step_uuid(&task, 9) < step_uuid(&task, 10));
    }
}
