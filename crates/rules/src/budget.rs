//! How much work and memory a rule may use, and when it asks whether it is to stop.

use std::cell::Cell;

/// After this much work the host is asked: often enough for a cancel, too rare to cost.
const BETWEEN_CHECKS: u64 = 256;

/// A collection of fewer items is small.
const MANY_ITEMS: usize = 1024;

/// What a rule asks of the program around it.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Whether the work may go on. May unwind instead, so that a cancel ends the rule at once.
    pub check: fn() -> bool,
    /// Bytes that are allocated now.
    pub memory: fn() -> usize,
    /// Asked before that many bytes are allocated at once. Unwinds if they cannot be had: the program would end.
    pub room: fn(usize),
}

impl Host {
    /// Lets every rule work undisturbed; memory is not counted.
    pub const NONE: Self = Self {
        check: || true,
        memory: || 0,
        room: |_| {},
    };
}

/// What was used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// The steps of work.
    Work,
    /// The memory.
    Memory,
}

/// An allowance of work and memory. A loop calls [`Budget::spend`] in every round and hands the error on.
#[derive(Debug)]
pub struct Budget {
    work: Cell<u64>,
    until_check: Cell<u64>,
    most_memory: usize,
    host: Host,
}

impl Budget {
    /// At most `work` steps of work, and `memory` bytes more than are allocated now.
    pub fn new(work: u64, memory: usize, host: Host) -> Self {
        Self {
            work: Cell::new(work),
            until_check: Cell::new(BETWEEN_CHECKS),
            most_memory: (host.memory)().saturating_add(memory),
            host,
        }
    }

    /// No limit of its own; only the host can end the work.
    pub fn unlimited(host: Host) -> Self {
        Self {
            work: Cell::new(u64::MAX),
            until_check: Cell::new(BETWEEN_CHECKS),
            most_memory: usize::MAX,
            host,
        }
    }

    /// Takes `work` steps of work: about the time of as many comparisons.
    #[inline]
    pub fn spend(&self, work: u64) -> Result<(), Spent> {
        match self.until_check.get().checked_sub(work) {
            Some(rest) if rest > 0 => self.until_check.set(rest),
            _ => self.check(work)?,
        }
        Ok(())
    }

    /// Before a collection of `length` items, each of `size` bytes, gets one more: it may grow by doubling.
    #[inline]
    pub fn grow(&self, length: usize, size: usize) {
        if length >= MANY_ITEMS && length.is_power_of_two() {
            (self.host.room)(length.saturating_mul(2).saturating_mul(size));
        }
    }

    /// The work that is left.
    pub fn left(&self) -> u64 {
        let begun = BETWEEN_CHECKS - self.until_check.get().min(BETWEEN_CHECKS);
        self.work.get().saturating_sub(begun)
    }

    /// A budget for a part of the work: no more than `work`, nor than what is left, and the same memory.
    pub fn part(&self, work: u64) -> Self {
        Self {
            work: Cell::new(self.left().min(work)),
            until_check: Cell::new(BETWEEN_CHECKS),
            most_memory: self.most_memory,
            host: self.host,
        }
    }

    /// Bytes of memory that are left.
    pub fn memory_left(&self) -> usize {
        self.most_memory.saturating_sub((self.host.memory)())
    }

    #[cold]
    fn check(&self, work: u64) -> Result<(), Spent> {
        let done = (BETWEEN_CHECKS - self.until_check.get()).saturating_add(work);
        let Some(rest) = self.work.get().checked_sub(done) else {
            // Nothing is left for later calls either.
            self.work.set(0);
            self.until_check.set(0);
            return Err(Spent::Work);
        };
        self.work.set(rest);
        self.until_check.set(BETWEEN_CHECKS);
        if !(self.host.check)() {
            return Err(Spent::Work);
        }
        if (self.host.memory)() > self.most_memory {
            return Err(Spent::Memory);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn rounds(budget: &Budget, each: u64) -> (u64, Spent) {
        let mut done = 0;
        loop {
            if let Err(spent) = budget.spend(each) {
                return (done, spent);
            }
            done += each;
            assert!(done <= 1_000_000, "the budget never ends");
        }
    }

    #[test]
    fn work_ends_near_the_limit_and_stays_ended() {
        for each in [1, 3, 255, 256, 257, 5_000] {
            let budget = Budget::new(100_000, usize::MAX, Host::NONE);
            let (done, spent) = rounds(&budget, each);
            assert_eq!(spent, Spent::Work);
            let least = 100_000 - 2 * BETWEEN_CHECKS - each;
            let most = 100_000 + BETWEEN_CHECKS;
            assert!((least..=most).contains(&done), "{done} by {each}");
            assert_eq!(budget.spend(1), Err(Spent::Work));
            assert_eq!(budget.left(), 0);
        }
    }

    #[test]
    fn one_large_piece_of_work_ends_it() {
        assert_eq!(
            Budget::new(1_000, usize::MAX, Host::NONE).spend(u64::MAX),
            Err(Spent::Work)
        );
    }

    #[test]
    fn memory_ends_it_too() {
        static USED: AtomicUsize = AtomicUsize::new(500);
        let host = Host {
            check: || {
                USED.fetch_add(100, Ordering::Relaxed);
                true
            },
            memory: || USED.load(Ordering::Relaxed),
            ..Host::NONE
        };
        let (done, spent) = rounds(&Budget::new(u64::MAX, 1_000, host), 1);
        assert_eq!(spent, Spent::Memory);
        assert!(done <= 12 * BETWEEN_CHECKS, "{done}");
    }

    #[test]
    fn the_host_is_asked_again_and_again() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let host = Host {
            check: || {
                ASKED.fetch_add(1, Ordering::Relaxed);
                true
            },
            ..Host::NONE
        };
        let budget = Budget::unlimited(host);
        (0..10_000).for_each(|_| budget.spend(1).expect("no limit"));
        assert_eq!(
            ASKED.load(Ordering::Relaxed),
            10_000 / BETWEEN_CHECKS as usize
        );
    }
}
