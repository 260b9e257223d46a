//! Waking processes when a transaction commits: executors that wait for work in a queue, and the launcher.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use super::{Kind, SHARED, Shared, WAITED_FOR, databases, is_preloaded, slots};
use crate::pg::backend;
use crate::pg::xact::{self, End};

std::thread_local! {
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    /// Whether this transaction has something to do at its end.
    static PENDING: Cell<bool> = const { Cell::new(false) };
    /// The bits of the queues that this transaction has put work into.
    static WAKE: Cell<u64> = const { Cell::new(0) };
    static LAUNCH: Cell<bool> = const { Cell::new(false) };
}

/// Of an executor that waits, even if there is no queue for it yet.
pub const WAITS: u64 = 1 << 63;

/// The bit by which work in a queue is announced.
pub fn queue_bit(queue_id: i32) -> u64 {
    1 << (queue_id.rem_euclid(64))
}

/// This executor waits for work in these queues; 0: no longer.
pub fn wait_for(bits: u64) {
    if let Some(index) = slots::mine() {
        let mut shared = SHARED.exclusive();
        if let Some(slot) = shared.slots[index].as_mut() {
            slot.waits_for = bits;
        }
        publish(&shared);
    }
}

pub(super) fn publish(shared: &Shared) {
    let waits = shared
        .slots
        .iter()
        .flatten()
        .fold(0, |all, slot| all | slot.waits_for);
    WAITED_FOR.get().store(waits, Ordering::SeqCst);
}

/// When this transaction commits, executors that wait for work in these queues are woken.
pub fn wake_executors<'a>(queues: impl IntoIterator<Item = &'a i32>) {
    wake_waiting(|| {
        queues
            .into_iter()
            .fold(0, |all, queue| all | queue_bit(*queue))
    });
}

/// When this transaction commits, every executor that waits is woken: it may have to wait for other queues.
pub fn wake_all_executors() {
    wake_waiting(|| u64::MAX);
}

fn wake_waiting(bits: impl FnOnce() -> u64) {
    if !is_preloaded() {
        return;
    }
    let waited_for = WAITED_FOR.get().load(Ordering::SeqCst);
    if waited_for == 0 {
        return;
    }
    let bits = bits();
    if bits & waited_for != 0 {
        WAKE.set(WAKE.get() | bits);
        at_end();
    }
}

/// When this transaction commits, the launcher looks at this database again.
pub fn wake_launcher() {
    if is_preloaded() {
        LAUNCH.set(true);
        at_end();
    }
}

// ---- at the end of the transaction ----------------------------------------------------------------------------------

pub(super) fn at_end() {
    if !REGISTERED.replace(true) {
        xact::at_each_end(transaction_ends);
    }
    PENDING.set(true);
}

fn transaction_ends(end: End) {
    // What was prepared is not visible yet; usually the session's next transaction commits it.
    if end == End::Prepare || !PENDING.replace(false) {
        return;
    }
    let (bits, launch) = (WAKE.take(), LAUNCH.take());
    if end == End::Commit {
        let database = backend::database();
        if bits != 0 {
            slots::wake(|slot| slot.database == database && slot.waits_for & bits != 0);
        }
        databases::keep_duty_runs(database);
        if launch {
            databases::ask(database);
            slots::wake(|slot| slot.kind == Kind::Launcher);
        }
    } else {
        databases::forget_duty_runs();
    }
    databases::let_go();
}
