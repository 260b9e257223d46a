//! Facts about each database: whether a coordinator may be started there, and when its duties last ran.

use super::{DUTIES, SHARED, Shared, is_preloaded, slots};
use crate::pg::call;
use crate::pg::datum::Timestamp;

/// Facts about a database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// No coordinator has checked yet, or the extension was created since.
    Unknown,
    /// The extension does not exist.
    Absent,
    /// The extension exists, and no slot is left for its coordinator.
    Waiting,
}

#[derive(Clone, Copy)]
pub struct DatabaseEntry {
    oid: u32,
    verdict: Verdict,
    /// A coordinator was asked for: earlier failures do not count.
    asked: bool,
    /// Nothing is started: a command needs the database alone.
    pub(super) held: bool,
    /// The installation of the extension whose duties ran; 0: none yet.
    installation: u32,
    /// When the launcher began to watch this database.
    since: Timestamp,
    /// When each duty last finished; 0: not yet.
    ran: [Timestamp; DUTIES],
}

impl DatabaseEntry {
    pub(super) const FREE: Self = Self {
        oid: 0,
        verdict: Verdict::Unknown,
        asked: false,
        held: false,
        installation: 0,
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

crate::pg::shmem::shareable! {
    enum Verdict;
    struct DatabaseEntry { oid, verdict, asked, held, installation, since, ran }
}

impl DatabaseEntry {
    /// The duties are those of this installation from now on; what is known of another one's is forgotten.
    fn belongs_to(&mut self, installation: u32) {
        if self.installation != installation {
            self.installation = installation;
            self.since = call::clock();
            self.ran = [0; DUTIES];
        }
    }
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

/// Whether the launcher may start a coordinator there now, and if so, whether one was asked for since the last time. With
/// `room` a database stops waiting.
pub fn wants_coordinator(oid: u32, room: bool) -> Option<bool> {
    let mut shared = SHARED.exclusive();
    let entry = entry(&mut shared, oid)?;
    if room && entry.verdict == Verdict::Waiting {
        entry.verdict = Verdict::Unknown;
    }
    (entry.verdict == Verdict::Unknown && !entry.held).then(|| std::mem::take(&mut entry.asked))
}

/// Whether the coordinator that has found the extension may stay. Without room the database waits.
pub fn may_stay(oid: u32) -> bool {
    let most = slots::capacity();
    let mut shared = SHARED.exclusive();
    let stays = shared.slots.iter().flatten().count() <= most;
    if let Some(entry) = entry(&mut shared, oid)
        && !stays
    {
        entry.verdict = Verdict::Waiting;
    }
    stays
}

/// The databases for whose coordinator no slot is left.
pub fn waiting_databases() -> Vec<u32> {
    if !is_preloaded() {
        return vec![];
    }
    let shared = SHARED.share();
    let entries = shared.databases.iter();
    entries
        .filter(|entry| entry.oid != 0 && entry.verdict == Verdict::Waiting)
        .map(|entry| entry.oid)
        .collect()
}

/// The extension does not exist.
pub fn judge_absent(oid: u32) {
    let mut shared = SHARED.exclusive();
    if let Some(entry) = entry(&mut shared, oid) {
        entry.verdict = Verdict::Absent;
    }
}

/// Whether a coordinator found no extension there.
pub(super) fn is_absent(oid: u32) -> bool {
    let shared = SHARED.share();
    let mut entries = shared.databases.iter();
    entries.any(|entry| entry.oid == oid && entry.verdict == Verdict::Absent)
}

/// A coordinator is wanted for this installation.
pub(super) fn ask(oid: u32, installation: u32) {
    let mut shared = SHARED.exclusive();
    if let Some(entry) = entry(&mut shared, oid) {
        entry.verdict = Verdict::Unknown;
        entry.asked = true;
        entry.belongs_to(installation);
    }
}

/// Forgets databases that do not exist any more.
pub fn keep_databases(living: &[u32]) {
    let mut shared = SHARED.exclusive();
    for entry in &mut shared.databases {
        if entry.oid != 0 && !living.contains(&entry.oid) {
            entry.oid = 0;
        }
    }
}

/// Keeps background processes out of the database.
pub(super) fn hold(oid: u32) {
    let mut shared = SHARED.exclusive();
    if let Some(entry) = entry(&mut shared, oid) {
        entry.held = true;
    }
}

/// Allows background processes again.
pub(super) fn let_go(oids: &[u32]) {
    let mut shared = SHARED.exclusive();
    for oid in oids {
        if let Some(entry) = entry(&mut shared, *oid) {
            entry.held = false;
            entry.asked = true;
            if entry.verdict == Verdict::Waiting {
                entry.verdict = Verdict::Unknown;
            }
        }
    }
}

// ---- duties ---------------------------------------------------------------------------------------------------------

/// Whether there is room to keep when the duties of a database ran.
pub(super) fn has_room(database: u32) -> bool {
    is_preloaded() && entry(&mut SHARED.exclusive(), database).is_some()
}

/// The duties of an installation ran at these times; 0: not.
pub(super) fn keep_duty_runs(database: u32, installation: u32, ran: [Timestamp; DUTIES]) {
    if ran.iter().all(|at| *at == 0) {
        return;
    }
    let mut shared = SHARED.exclusive();
    if let Some(entry) = entry(&mut shared, database) {
        entry.belongs_to(installation);
        for (kept, at) in entry.ran.iter_mut().zip(ran) {
            // The latest run, even where the clock was set back.
            if at != 0 {
                *kept = at;
            }
        }
    }
}

/// When the launcher began to watch the database, and when each of its duties last ran; 0: not since then.
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
