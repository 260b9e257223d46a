//! What is known of each database: whether a coordinator may be started there, and when its duties last ran.

use std::cell::{Cell, RefCell};

use super::{DUTIES, Kind, SHARED, Shared, is_preloaded, slots, wake};
use crate::pg::datum::Timestamp;
use crate::pg::{backend, call};

std::thread_local! {
    /// Databases that this transaction holds.
    static HELD: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    /// When this transaction ran which duty.
    static RAN: Cell<[Timestamp; DUTIES]> = const { Cell::new([0; DUTIES]) };
}

/// What is known of a database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// No coordinator has looked yet, or the extension was created since.
    Unknown,
    /// The extension is not there.
    Absent,
}

#[derive(Clone, Copy)]
pub struct DatabaseEntry {
    oid: u32,
    verdict: Verdict,
    /// A coordinator was asked for: earlier failures do not count.
    asked: bool,
    /// Nothing is started: a command needs the database alone.
    pub(super) held: bool,
    /// Since when a coordinator is looked for here.
    since: Timestamp,
    /// When each duty last ran through; 0: not yet.
    ran: [Timestamp; DUTIES],
}

impl DatabaseEntry {
    pub(super) const FREE: Self = Self {
        oid: 0,
        verdict: Verdict::Unknown,
        asked: false,
        held: false,
        since: 0,
        ran: [0; DUTIES],
    };

    fn new(oid: u32) -> Self {
        Self {
            oid,
            since: call::clock(),
            ..Self::FREE
        }
    }
}

crate::shareable! {
    enum Verdict;
    struct DatabaseEntry { oid, verdict, asked, held, since, ran }
}

pub(super) fn entry(shared: &mut Shared, oid: u32) -> Option<&mut DatabaseEntry> {
    let index = shared
        .databases
        .iter()
        .position(|entry| entry.oid == oid)
        .or_else(|| shared.databases.iter().position(|entry| entry.oid == 0))?;
    let entry = &mut shared.databases[index];
    if entry.oid == 0 {
        *entry = DatabaseEntry::new(oid);
    }
    Some(entry)
}

/// Whether the launcher may start a coordinator there now, and if so, whether one was asked for since the last time.
pub fn wants_coordinator(oid: u32) -> Option<bool> {
    let mut shared = SHARED.exclusive();
    let entry = entry(&mut shared, oid)?;
    (entry.verdict == Verdict::Unknown && !entry.held).then(|| std::mem::take(&mut entry.asked))
}

/// The extension is not there.
pub fn judge_absent(oid: u32) {
    let mut shared = SHARED.exclusive();
    if let Some(entry) = entry(&mut shared, oid) {
        entry.verdict = Verdict::Absent;
    }
}

pub(super) fn ask(oid: u32) {
    let mut shared = SHARED.exclusive();
    if let Some(entry) = entry(&mut shared, oid) {
        // What lies here may be another installation than before.
        *entry = DatabaseEntry {
            asked: true,
            held: entry.held,
            ..DatabaseEntry::new(oid)
        };
    }
}

/// Forgets databases that are gone.
pub fn keep_databases(living: &[u32]) {
    let mut shared = SHARED.exclusive();
    for entry in &mut shared.databases {
        if entry.oid != 0 && !living.contains(&entry.oid) {
            entry.oid = 0;
        }
    }
}

/// Keeps every background process out of a database until this transaction ends.
pub fn hold_database(oid: u32) {
    HELD.with_borrow_mut(|held| held.push(oid));
    wake::at_end();
    let mut shared = SHARED.exclusive();
    if let Some(entry) = entry(&mut shared, oid) {
        entry.held = true;
    }
}

pub(super) fn let_go() {
    let held = HELD.take();
    if held.is_empty() {
        return;
    }
    {
        let mut shared = SHARED.exclusive();
        for oid in held {
            if let Some(entry) = entry(&mut shared, oid) {
                entry.held = false;
                entry.asked = true;
            }
        }
    }
    slots::wake(|slot| slot.kind == Kind::Launcher);
}

// ---- duties ---------------------------------------------------------------------------------------------------------

/// When this transaction commits, the duty has run at this time; false: there is no room to keep that.
pub fn note_duty(number: usize, at: Timestamp) -> bool {
    let database = backend::database();
    if !is_preloaded() || entry(&mut SHARED.exclusive(), database).is_none() {
        return false;
    }
    let mut ran = RAN.get();
    ran[number - 1] = at;
    RAN.set(ran);
    wake::at_end();
    true
}

pub(super) fn keep_duty_runs(database: u32) {
    let ran = RAN.replace([0; DUTIES]);
    if ran.iter().all(|at| *at == 0) {
        return;
    }
    let mut shared = SHARED.exclusive();
    if let Some(entry) = entry(&mut shared, database) {
        for (kept, at) in entry.ran.iter_mut().zip(ran) {
            *kept = at.max(*kept);
        }
    }
}

/// Since when the database is looked after, and when each of its duties last ran, 0: not since.
pub fn duty_runs(database: u32) -> Option<(Timestamp, [Timestamp; DUTIES])> {
    if !is_preloaded() {
        return None;
    }
    let shared = SHARED.share();
    shared
        .databases
        .iter()
        .find(|entry| entry.oid == database)
        .map(|entry| (entry.since, entry.ran))
}

/// The transaction is rolled back: its duties have not run.
pub(super) fn forget_duty_runs() {
    RAN.set([0; DUTIES]);
}
