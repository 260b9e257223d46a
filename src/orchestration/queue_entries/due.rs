//! Finding due entries. Claims walk the index level by level, larger priority first, oldest first within. Dead entries that
//! vacuum cannot remove yet (a transaction left open elsewhere) would make every walk longer, so each backend remembers per
//! level where the live entries begin.

use pgrx::pg_sys::{self, ItemPointerData};
use rustc_hash::FxHashMap;

use super::{Entry, Wanted, keys};
use crate::error::Result;
use crate::orchestration::StepKey;
use crate::pg::call;
use crate::pg::datum::{self, Timestamp};
use crate::pg::installation::Kept;
use crate::pg::scan::{self, Compare, Walk};
use crate::pg::spi::{Session, Statement};
use crate::pg::tables::Operation;
use crate::storage;

/// An entry that a claim holds locked.
pub struct Found {
    pub tid: ItemPointerData,
    pub entry: Entry,
}

// One index range per level, tried lazily in order: an IN over priorities would need a sort, and one range over
// all levels would walk over the future entries of the higher ones.

const LOCK_DUE_TYPES: [pg_sys::Oid; 9] = [
    pg_sys::INT4OID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::INT8OID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::INT8ARRAYOID,
    pg_sys::BOOLOID,
];

static LOCK_DUE: Statement = Statement::new(
        "SELECT e.tid, e.priority, e.available_at, e.task_uuid, e.step_no, e.handler_key
     FROM (
         SELECT * FROM (
             SELECT r.ctid AS tid, r.priority, r.available_at, r.task_uuid, r.step_no, r.handler_key
             FROM tasker_engine.queue_entries r
             WHERE r.queue_id = $1 AND r.priority = 4::int2 AND r.available_at >= $4 AND r.available_at <= $2
               AND ($8 IS NULL OR r.handler_key = ANY ($8) OR r.handler_key IS NULL) AND (NOT $9 OR r.handler_key < 0 OR r.handler_key IS NULL)
             ORDER BY r.available_at LIMIT $3 FOR UPDATE SKIP LOCKED) urgent
         UNION ALL
         SELECT * FROM (
             SELECT r.ctid AS tid, r.priority, r.available_at, r.task_uuid, r.step_no, r.handler_key
             FROM tasker_engine.queue_entries r
             WHERE r.queue_id = $1 AND r.priority = 3::int2 AND r.available_at >= $5 AND r.available_at <= $2
               AND ($8 IS NULL OR r.handler_key = ANY ($8) OR r.handler_key IS NULL) AND (NOT $9 OR r.handler_key < 0 OR r.handler_key IS NULL)
             ORDER BY r.available_at LIMIT $3 FOR UPDATE SKIP LOCKED) high
         UNION ALL
         SELECT * FROM (
             SELECT r.ctid AS tid, r.priority, r.available_at, r.task_uuid, r.step_no, r.handler_key
             FROM tasker_engine.queue_entries r
             WHERE r.queue_id = $1 AND r.priority = 2::int2 AND r.available_at >= $6 AND r.available_at <= $2
               AND ($8 IS NULL OR r.handler_key = ANY ($8) OR r.handler_key IS NULL) AND (NOT $9 OR r.handler_key < 0 OR r.handler_key IS NULL)
             ORDER BY r.available_at LIMIT $3 FOR UPDATE SKIP LOCKED) normal
         UNION ALL
         SELECT * FROM (
             SELECT r.ctid AS tid, r.priority, r.available_at, r.task_uuid, r.step_no, r.handler_key
             FROM tasker_engine.queue_entries r
             WHERE r.queue_id = $1 AND r.priority = 1::int2 AND r.available_at >= $7 AND r.available_at <= $2
               AND ($8 IS NULL OR r.handler_key = ANY ($8) OR r.handler_key IS NULL) AND (NOT $9 OR r.handler_key < 0 OR r.handler_key IS NULL)
             ORDER BY r.available_at LIMIT $3 FOR UPDATE SKIP LOCKED) low
     ) e
     WHERE (SELECT NOT q.paused FROM tasker_engine.queues q WHERE q.queue_id = $1)
     LIMIT $3",
 &LOCK_DUE_TYPES);

static REMOVE: Statement = Statement::new(
    "DELETE FROM tasker_engine.queue_entries r WHERE r.ctid = ANY ($1)",
    &[pg_sys::TIDARRAYOID],
);

const LEVELS: [i16; 4] = [4, 3, 2, 1];

const BEGINNING: Timestamp = Timestamp::MIN;

/// A walk from the beginning happens at most this often, and never takes more than a fiftieth of the time, because each
/// backend walks by itself, and there are more backends than processors.
const FULL_WALK_EVERY_US: i64 = 20_000;

const FULL_WALK_SHARE: i64 = 50;

/// An entry of a call that began this much earlier may still commit; the mark stays behind it.
const COMMIT_GRACE_US: i64 = 50_000;

/// Where the live entries of a queue begin, per level, as this backend last saw it.
pub(super) struct Marks {
    since: [Timestamp; 4],
    /// A tick.
    walked_at: i64,
    walk_us: i64,
}

/// With the tick until which it counts.
static HELD_AT_HEAD: Kept<FxHashMap<(i32, u64), (usize, i64)>> = Kept::new();

/// By queue, and by the number of the handlers that a claim is for.
pub(super) static MARKS: Kept<FxHashMap<i32, FxHashMap<u64, Marks>>> = Kept::new();

/// Where claims passed by a step that is handed out alone: the level and the time of its entry.
static PASSED: Kept<FxHashMap<(i32, u64), (i16, Timestamp)>> = Kept::new();

/// More sets of handlers than this in one queue are forgotten together.
const MOST_SETS: usize = 64;

pub(super) fn lower_mark(entry: &Entry) {
    MARKS.with(|marks| {
        if let (Some(all), Some(level)) = (
            marks.get_mut(&entry.queue_id),
            LEVELS.iter().position(|level| *level == entry.priority),
        ) {
            for marks in all.values_mut() {
                marks.since[level] = marks.since[level].min(entry.available_at);
            }
        }
    });
}

/// How long a backend checks entries before it removes them, after it met a step that another session holds.
const CAREFUL_US: i64 = 1_000_000;

/// What a claim looks for in a queue.
#[derive(Clone, Copy)]
pub struct Search<'a> {
    pub queue_id: i32,
    pub wanted: &'a Wanted,
    pub now: Timestamp,
}

/// Finds up to `limit` due entries of a queue, best first; never waits. With `take` they are removed at once if that can
/// be done below SQL, otherwise only locked; the second value says which.
pub fn find(
    session: &Session,
    search: Search,
    limit: usize,
    take: bool,
) -> Result<(Vec<Found>, bool)> {
    let (found, taken, old) = find_once(session, search, limit, take)?;
    if !old {
        return Ok((found, taken));
    }
    // Entries of an earlier version do not name their handlers. With their keys the next claim finds them.
    keys::set(session, search.queue_id)?;
    forget_marks_of(search.queue_id);
    if !found.is_empty() {
        return Ok((found, taken));
    }
    // By a statement: a row that this transaction has locked and changed looks held below SQL.
    let (found, taken, _) = find_once(session, search, limit, false)?;
    Ok((found, taken))
}

/// The next walk begins at the beginning.
pub(super) fn forget_marks_of(queue_id: i32) {
    MARKS.with(|marks| marks.remove(&queue_id));
}

/// The third value: entries without a handler's key were passed over.
fn find_once(
    session: &Session,
    search: Search,
    limit: usize,
    take: bool,
) -> Result<(Vec<Found>, bool, bool)> {
    let Search {
        queue_id,
        wanted,
        now,
    } = search;
    let set = wanted.number();
    let started = call::tick();
    let (since, from_beginning) =
        MARKS.with(
            |marks| match marks.get(&queue_id).and_then(|all| all.get(&set)) {
                Some(marks)
                    if started - marks.walked_at
                        < FULL_WALK_EVERY_US.max(marks.walk_us * FULL_WALK_SHARE) =>
                {
                    (marks.since, false)
                }
                _ => ([BEGINNING; 4], true),
            },
        );
    let taken = if take {
        remove_due(search, limit, &since)?
    } else {
        None
    };
    let is_taken = taken.is_some();
    let (found, exhausted, old) = match taken {
        Some((taken, old)) => {
            let exhausted = taken.len() < limit;
            (taken, exhausted, old)
        }
        None => {
            let mut found = lock_due(session, search, limit, &since)?;
            let exhausted = found.len() < limit;
            let met = found.len();
            if !wanted.is_any() {
                found.retain(|found| found.entry.handler_key.is_some());
            }
            let old = found.len() < met;
            (found, exhausted, old)
        }
    };
    MARKS.with(|marks| {
        let all = marks.entry(queue_id).or_default();
        if all.len() >= MOST_SETS && !all.contains_key(&set) {
            all.clear();
        }
        let marks = all.entry(set).or_insert(Marks {
            since: [BEGINNING; 4],
            walked_at: started,
            walk_us: 0,
        });
        if from_beginning {
            marks.walked_at = started;
            marks.walk_us = call::tick() - started;
        }
        advance(&mut marks.since, &found, exhausted, now, from_beginning);
    });
    Ok((found, is_taken, old))
}

/// Removes due entries that no session holds, level by level, oldest first within, and tells whether it passed over entries without a
/// handler's key. None: an SQL statement must do it.
fn remove_due(
    search: Search,
    limit: usize,
    since: &[Timestamp; 4],
) -> Result<Option<(Vec<Found>, bool)>> {
    use storage::queue_entries::{
        AVAILABLE_AT, HANDLER_KEY, PRIORITY, QUEUE_ID, STEP_NO, TASK_UUID,
    };
    let Search {
        queue_id,
        wanted,
        now,
    } = search;
    let table = &storage::QUEUE_ENTRIES;
    let Some(walk) = Walk::to_change(table, Operation::Delete)? else {
        return Ok(None);
    };
    let mut taken: Vec<Found> = Vec::new();
    let mut old = false;
    for (priority, since) in LEVELS.into_iter().zip(since) {
        if taken.len() >= limit {
            break;
        }
        let keys = [
            walk.key(QUEUE_ID, Compare::Equal, datum::int4(queue_id))?,
            walk.key(PRIORITY, Compare::Equal, datum::int2(priority))?,
            walk.key(AVAILABLE_AT, Compare::AtLeast, datum::timestamp(*since))?,
            walk.key(AVAILABLE_AT, Compare::AtMost, datum::timestamp(now))?,
        ];
        let visit = |row: &scan::Found<6>| {
            let found = Found {
                tid: row.place(),
                entry: Entry {
                    queue_id,
                    priority,
                    available_at: row.get(AVAILABLE_AT)?,
                    key: StepKey {
                        task: row.get(TASK_UUID)?,
                        no: row.get(STEP_NO)?,
                    },
                    handler_key: row.opt(HANDLER_KEY),
                },
            };
            if found.entry.handler_key.is_none() && !wanted.is_any() {
                old = true;
            } else if row.delete_unless_held() {
                taken.push(found);
            }
            Ok(taken.len() < limit)
        };
        if wanted.is_any() {
            walk.each(keys, visit)?;
        } else {
            // A NULL in the index may belong to a dead row: the row says.
            let matches = |key: Option<i64>| key.is_none_or(|key| wanted.has(key));
            walk.each_where(keys, HANDLER_KEY, matches, visit)?;
        }
    }
    Ok(Some((taken, old)))
}

/// Locks due entries, level by level.
fn lock_due(
    session: &Session,
    search: Search,
    limit: usize,
    since: &[Timestamp; 4],
) -> Result<Vec<Found>> {
    let [these, inside] = search.wanted.args();
    let rows = session.run(
        &LOCK_DUE,
        &[
            datum::int4(search.queue_id),
            datum::timestamp(search.now),
            datum::int8(limit as i64),
            datum::timestamp(since[0]),
            datum::timestamp(since[1]),
            datum::timestamp(since[2]),
            datum::timestamp(since[3]),
            these,
            inside,
        ],
    )?;
    rows.iter()
        .map(|row| {
            Ok(Found {
                tid: row.get(1)?,
                entry: Entry {
                    queue_id: search.queue_id,
                    priority: row.get(2)?,
                    available_at: row.get(3)?,
                    key: StepKey {
                        task: row.get(4)?,
                        no: row.get(5)?,
                    },
                    handler_key: row.opt(6),
                },
            })
        })
        .collect()
}

/// Moves the marks to where live entries begin, after every walk: otherwise each claim walks over what was removed
/// since the last walk from the beginning. What a walk from the mark passed over although it lives (it commits late, or the
/// claim that removed it rolls back) is found by the next walk from the beginning, the only one that may move a mark back.
/// A level that the walk did not reach keeps its mark.
fn advance(
    since: &mut [Timestamp; 4],
    found: &[Found],
    exhausted: bool,
    now: Timestamp,
    from_beginning: bool,
) {
    for (level, mark) in LEVELS.into_iter().zip(since) {
        let first = found.iter().find(|found| found.entry.priority == level);
        let passed = exhausted || found.iter().any(|found| found.entry.priority < level);
        let begins = match first {
            Some(found) => found.entry.available_at,
            None if passed => now - COMMIT_GRACE_US,
            None => continue,
        };
        *mark = if from_beginning {
            begins
        } else {
            begins.max(*mark)
        };
    }
}

/// How many entries at the head of the queue had steps that another session held, when this backend last met one. Above
/// zero, entries are read before they are removed: giving the same ones back on every claim would only bloat
/// the queue.
pub fn held_at_head(search: Search) -> usize {
    let place = (search.queue_id, search.wanted.number());
    HELD_AT_HEAD.with(|held| match held.get(&place) {
        Some((count, until)) if call::tick() < *until => *count,
        _ => 0,
    })
}

/// Remembers for a while that this many entries at the head of the queue are held.
pub fn remember_held(search: Search, count: usize) {
    let place = (search.queue_id, search.wanted.number());
    let tick = call::tick();
    HELD_AT_HEAD.with(|held| {
        if held.len() >= MOST_SETS {
            held.retain(|_, (_, until)| tick < *until);
        }
        held.insert(place, (count, tick + CAREFUL_US))
    });
}

/// The claim passed by this entry, because its step is handed out alone; the next claim of this backend begins with it.
pub fn remember_passed(search: Search, entry: &Entry) {
    let place = (search.queue_id, search.wanted.number());
    PASSED.with(|passed| {
        if passed.len() >= MOST_SETS {
            passed.clear();
        }
        passed
            .entry(place)
            .or_insert((entry.priority, entry.available_at));
    });
}

/// Whether a claim passed by an entry.
pub fn has_passed() -> bool {
    PASSED.with(|passed| !passed.is_empty())
}

/// The entry that a claim of the same handlers passed by in this queue, if it is there. It counts once. The second value as of [`find`].
pub fn find_passed(session: &Session, search: Search) -> Result<(Vec<Found>, bool)> {
    let place = (search.queue_id, search.wanted.number());
    let Some((priority, available_at)) = PASSED.with(|passed| passed.remove(&place)) else {
        return Ok((vec![], false));
    };
    let since = LEVELS.map(|level| {
        if level == priority {
            available_at
        } else {
            Timestamp::MAX
        }
    });
    let search = Search {
        now: available_at,
        ..search
    };
    match remove_due(search, 1, &since)? {
        Some((taken, _)) => Ok((taken, true)),
        None => Ok((lock_due(session, search, 1, &since)?, false)),
    }
}

/// Forgets where the live entries begin: the clock was set, and entries were moved with it.
pub fn forget_marks() {
    MARKS.clear();
}

/// Removes entries that the caller holds locked.
pub fn remove(session: &Session, tids: impl IntoIterator<Item = ItemPointerData>) -> Result<()> {
    session.run(&REMOVE, &[datum::tids(tids)])?;
    Ok(())
}
