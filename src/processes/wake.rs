//! Requests of a transaction to the processes, carried out at its end: wake executors that wait for work in a queue, wake
//! the launcher, give a database back, and record when duties ran.

use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering;

use tasker_rules::events::topics::Topics;

use super::events::note_events;
use super::slots::{self, Kind, queue_bit};
use super::{DUTIES, WAITED_FOR, databases, is_preloaded};
use crate::pg::backend;
use crate::pg::datum::Timestamp;
use crate::pg::installation;
use crate::pg::xact::{self, End};

std::thread_local! {
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    /// Whether this transaction has something to do at its end.
    static PENDING: Cell<bool> = const { Cell::new(false) };
    /// The bits of the queues that this transaction has put work into.
    static WAKE: Cell<u64> = const { Cell::new(0) };
    static LAUNCH: Cell<bool> = const { Cell::new(false) };
    /// The installation for which it wakes the launcher, or whose duties it ran.
    static INSTALLATION: Cell<u32> = const { Cell::new(0) };
    /// The duties that this transaction ran, and when.
    static RAN: Cell<[Timestamp; DUTIES]> = const { Cell::new([0; DUTIES]) };
    /// The databases that this transaction holds.
    static HELD: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
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

/// COMMIT PREPARED ran: when it commits, the processes that may wait for what was prepared are woken.
pub fn wake_after_prepared() {
    wake_all_executors();
    note_events(|| Topics::ALL);
    let database = backend::database();
    if databases::is_absent(database) && installation::exists() {
        wake_launcher();
    }
}

/// When this transaction commits, the launcher checks this database again.
pub fn wake_launcher() {
    if is_preloaded() {
        installation::observe();
        INSTALLATION.set(installation::current());
        LAUNCH.set(true);
        at_end();
    }
}

/// When this transaction commits, the duty has run at this time; false: there is no room to record that.
pub fn note_duty(number: usize, at: Timestamp) -> bool {
    if !databases::has_room(backend::database()) {
        return false;
    }
    let mut ran = RAN.get();
    ran[number - 1] = at;
    RAN.set(ran);
    INSTALLATION.set(installation::current());
    at_end();
    true
}

/// Keeps every background process out of a database until this transaction ends.
pub fn hold_database(oid: u32) {
    HELD.with_borrow_mut(|held| held.push(oid));
    at_end();
    databases::hold(oid);
}

// ---- at the end of the transaction ----------------------------------------------------------------------------------

fn at_end() {
    if !REGISTERED.replace(true) {
        xact::at_each_end(transaction_ends);
    }
    PENDING.set(true);
}

fn transaction_ends(end: End) {
    if !PENDING.replace(false) {
        return;
    }
    // Another session may end what was prepared; COMMIT PREPARED wakes the processes that wait for it.
    let committed = end == End::Commit;
    let (bits, ran) = (WAKE.take(), RAN.replace([0; DUTIES]));
    let (launch, held) = (LAUNCH.take() && committed, HELD.take());
    if committed {
        let database = backend::database();
        if bits != 0 {
            slots::wake(|slot| slot.database == database && slot.waits_for & bits != 0);
        }
        let installation = INSTALLATION.get();
        databases::keep_duty_runs(database, installation, ran);
        if launch {
            databases::ask(database, installation);
        }
    }
    if !held.is_empty() {
        databases::let_go(&held);
    }
    if launch || !held.is_empty() {
        slots::wake(|slot| slot.kind == Kind::Launcher);
    }
}
