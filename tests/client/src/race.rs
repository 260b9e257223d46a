//! Two or more sessions released at the same instant, again and again.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// When an attempt began and ended.
#[derive(Clone, Copy)]
struct Span(Instant, Instant);

/// What both sides of a race brought, and how often they really ran at the same time.
pub struct Outcome<T> {
    pub pairs: Vec<(T, T)>,
    pub overlaps: usize,
}

impl<T> Outcome<T> {
    /// A race whose sides never met proves nothing.
    #[track_caller]
    pub fn met(self) -> Vec<(T, T)> {
        let least = (self.pairs.len() / 20).max(1);
        assert!(
            self.overlaps >= least,
            "only {} of {} repetitions overlapped",
            self.overlaps,
            self.pairs.len()
        );
        self.pairs
    }
}

/// Runs `left` and `right` for every repetition, released together; now and then one of them a little later, so
/// that their inner steps meet in different orders.
pub fn race<T: Send>(
    repetitions: usize,
    mut left: impl FnMut(usize) -> T + Send,
    mut right: impl FnMut(usize) -> T + Send,
) -> Outcome<T> {
    let barrier = Barrier::new(2);
    // Who fails must not leave the other waiting: both see it behind the next barrier.
    let failed = AtomicBool::new(false);
    let run = |side: &mut (dyn FnMut(usize) -> T + Send), delay: &dyn Fn(usize) -> u64| {
        let mut brought = Vec::with_capacity(repetitions);
        for number in 0..repetitions {
            barrier.wait();
            if failed.load(Ordering::Acquire) {
                break;
            }
            spin(Duration::from_micros(delay(number)));
            let begin = Instant::now();
            match catch_unwind(AssertUnwindSafe(|| side(number))) {
                Ok(value) => brought.push((Span(begin, Instant::now()), value)),
                Err(panic) => {
                    failed.store(true, Ordering::Release);
                    if number + 1 < repetitions {
                        barrier.wait();
                    }
                    resume_unwind(panic);
                }
            }
        }
        brought
    };
    let (lefts, rights) = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            run(&mut right, &|number| {
                if number % 2 == 1 {
                    (number as u64 * 37) % 400
                } else {
                    0
                }
            })
        });
        let lefts = run(&mut left, &|number| {
            if number % 2 == 0 {
                (number as u64 * 53) % 400
            } else {
                0
            }
        });
        (
            lefts,
            other
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        )
    });
    let mut overlaps = 0;
    let pairs = lefts
        .into_iter()
        .zip(rights)
        .map(|((a, left), (b, right))| {
            if a.0 < b.1 && b.0 < a.1 {
                overlaps += 1;
            }
            (left, right)
        })
        .collect();
    Outcome { pairs, overlaps }
}

fn spin(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

/// Runs `body` in that many threads, released together; returns what they brought, in order.
pub fn together<T: Send>(threads: usize, body: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(threads);
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|number| {
                let (barrier, body) = (&barrier, &body);
                scope.spawn(move || {
                    barrier.wait();
                    body(number)
                })
            })
            .collect();
        handles
            .into_iter()
            .map(|handle| {
                handle
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}
