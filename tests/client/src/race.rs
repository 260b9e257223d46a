//! Two or more sessions released at the same instant, again and again.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

/// What was prepared, and what both sides made of it.
pub struct Round<P, T> {
    pub prepared: Arc<P>,
    pub left: T,
    pub right: T,
}

/// All rounds of a race, and how often its sides really ran at the same time.
pub struct Rounds<P, T> {
    rounds: Vec<Round<P, T>>,
    overlaps: usize,
}

impl<P, T> Rounds<P, T> {
    /// A race whose sides never met proves nothing.
    #[track_caller]
    pub fn met(self) -> Vec<Round<P, T>> {
        let (overlaps, all) = (self.overlaps, self.rounds.len());
        assert!(
            overlaps >= (all / 20).max(1),
            "only {overlaps} of {all} rounds overlapped"
        );
        self.rounds
    }
}

struct Ran<T> {
    begin: Instant,
    end: Instant,
    value: T,
}

/// Prepares each round, then runs `left` and `right`, released together; now and then one of them a little later,
/// so that their inner steps meet in different orders.
pub fn race<P: Send + Sync, T: Send>(
    rounds: usize,
    mut prepare: impl FnMut(usize) -> P,
    mut left: impl FnMut(&P) -> T,
    mut right: impl FnMut(&P) -> T + Send,
) -> Rounds<P, T> {
    let barrier = Barrier::new(2);
    let prepared: Mutex<Option<Arc<P>>> = Mutex::new(None);
    // A side that fails must not leave the other waiting: both see it behind the next barrier.
    let failed = AtomicBool::new(false);
    let current = || prepared.lock().expect("no panic while it is held").clone();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut ran = Vec::with_capacity(rounds);
            for round in 0..rounds {
                barrier.wait();
                let Some(prepared) = current() else { break };
                match guarded(&failed, || run(late(round, 1), || right(&prepared))) {
                    Ok(value) => ran.push(value),
                    Err(panic) => {
                        barrier.wait();
                        resume_unwind(panic);
                    }
                }
                barrier.wait();
                if failed.load(Ordering::Acquire) {
                    break;
                }
            }
            ran
        });
        let mut lefts = Vec::with_capacity(rounds);
        let mut panicked = None;
        for round in 0..rounds {
            let made = guarded(&failed, || Arc::new(prepare(round)));
            *prepared.lock().expect("no panic while it is held") = made.as_ref().ok().cloned();
            barrier.wait();
            let made = match made {
                Ok(made) => made,
                Err(panic) => {
                    panicked = Some(panic);
                    break;
                }
            };
            let result = guarded(&failed, || run(late(round, 0), || left(&made)));
            barrier.wait();
            match result {
                Ok(value) => lefts.push((made, value)),
                Err(panic) => panicked = Some(panic),
            }
            if failed.load(Ordering::Acquire) {
                break;
            }
        }
        let rights = other.join().unwrap_or_else(|panic| resume_unwind(panic));
        if let Some(panic) = panicked {
            resume_unwind(panic);
        }
        let mut overlaps = 0;
        let rounds = lefts
            .into_iter()
            .zip(rights)
            .map(|((prepared, left), right)| {
                overlaps += usize::from(left.begin < right.end && right.begin < left.end);
                Round {
                    prepared,
                    left: left.value,
                    right: right.value,
                }
            })
            .collect();
        Rounds { rounds, overlaps }
    })
}

fn guarded<T>(failed: &AtomicBool, body: impl FnOnce() -> T) -> std::thread::Result<T> {
    catch_unwind(AssertUnwindSafe(body)).inspect_err(|_| failed.store(true, Ordering::Release))
}

/// Every other round one side starts up to 400 microseconds late.
fn late(round: usize, side: usize) -> Duration {
    let late = if round % 2 == side {
        (round as u64 * 53) % 400
    } else {
        0
    };
    Duration::from_micros(late)
}

fn run<T>(late: Duration, side: impl FnOnce() -> T) -> Ran<T> {
    let start = Instant::now() + late;
    while Instant::now() < start {
        std::hint::spin_loop();
    }
    let begin = Instant::now();
    let value = side();
    Ran {
        begin,
        end: Instant::now(),
        value,
    }
}

/// Runs `body` in that many threads, released together; returns what they brought, in order.
pub fn together<T: Send>(threads: usize, body: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(threads);
    std::thread::scope(|scope| {
        let (barrier, body) = (&barrier, &body);
        let handles: Vec<_> = (0..threads)
            .map(|number| {
                scope.spawn(move || {
                    barrier.wait();
                    body(number)
                })
            })
            .collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}
