//! Looks at a budget from within code of others, which hands no budget on: the budget lies beside it, and only unwinding ends it.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::budget::{Budget, Spent};

struct Meter {
    budget: Budget,
    cost: Cost,
}

/// What each look costs.
#[derive(Clone, Copy)]
pub(in crate::template) struct Cost {
    /// The work of one look.
    pub(in crate::template) price: u64,
    /// The longest name that the library can match with `patternProperties` in one go.
    pub(in crate::template) longest_name: usize,
}

impl Cost {
    /// While no document is checked against a schema.
    pub(in crate::template) const PLAIN: Self = Self {
        price: 1,
        longest_name: usize::MAX,
    };
}

thread_local! {
    static METER: RefCell<Option<Meter>> = const { RefCell::new(None) };
}

/// Takes the meter away, also when an error of the host unwinds.
struct Running;

impl Drop for Running {
    fn drop(&mut self) {
        METER.with_borrow_mut(|meter| *meter = None);
    }
}

/// Runs work that looks; it ends when the budget does. The budget comes back.
pub(in crate::template) fn run<T>(
    budget: Budget,
    cost: Cost,
    work: impl FnOnce() -> T,
) -> (Result<T, Spent>, Option<Budget>) {
    METER.with_borrow_mut(|meter| *meter = Some(Meter { budget, cost }));
    let running = Running;
    let result = catch_unwind(AssertUnwindSafe(|| {
        look(1);
        work()
    }));
    let budget = METER
        .with_borrow_mut(Option::take)
        .map(|meter| meter.budget);
    drop(running);
    match result {
        Ok(value) => (Ok(value), budget),
        Err(panic) => (Err(spent(panic)), budget),
    }
}

/// What unwound: the end of the budget, or an error of the host, which unwinds further.
fn spent(panic: Box<dyn Any + Send>) -> Spent {
    match panic.downcast::<Spent>() {
        Ok(spent) => *spent,
        Err(other) => resume_unwind(other),
    }
}

/// Counts looks. An end unwinds, because nothing else leaves every branch of every keyword at once.
pub(in crate::template) fn look(looks: usize) {
    let spent = METER.with_borrow(|meter| {
        meter.as_ref().and_then(|meter| {
            let work = meter.cost.price.saturating_mul(looks as u64);
            meter.budget.spend(work).err()
        })
    });
    if let Some(spent) = spent {
        resume_unwind(Box::new(spent));
    }
}

/// Ends the work: what comes next would take too long.
pub(in crate::template) fn end() -> ! {
    resume_unwind(Box::new(Spent::Work))
}

/// Before a collection of `length` items, each of `size` bytes, gets one more.
pub(in crate::template) fn grow(length: usize, size: usize) {
    METER.with_borrow(|meter| {
        if let Some(meter) = meter {
            meter.budget.grow(length, size);
        }
    });
}

/// The longest name that may be matched in one go.
pub(in crate::template) fn longest_name() -> usize {
    METER.with_borrow(|meter| {
        meter
            .as_ref()
            .map_or(usize::MAX, |meter| meter.cost.longest_name)
    })
}
