//! Where a reader of the log is. Ids are taken before their transactions commit, so neither an id nor a transaction can say what
//! was read: a snapshot does. A batch is what a newer snapshot sees and the older one does not; inside a batch the order is by id.
//!
//! A dump takes the rows along, but not the counter of transactions. So the ids of transactions are compared within an epoch only:
//! the rows between two restores. Ids of rows go on over all of them.

use std::collections::BTreeMap;

/// What a transaction saw: all that had ended before `xmax`, but for `running`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// All transactions before this one had ended.
    pub xmin: u64,
    /// The first transaction that had not begun.
    pub xmax: u64,
    /// Those between them that had not ended, ascending.
    pub running: Vec<u64>,
}

impl Snapshot {
    /// Sees every transaction.
    fn everything() -> Self {
        Self {
            xmin: u64::MAX,
            xmax: u64::MAX,
            running: vec![],
        }
    }

    /// Sees nothing.
    pub fn nothing() -> Self {
        Self {
            xmin: 1,
            xmax: 1,
            running: vec![],
        }
    }

    /// Whether it sees what this transaction did.
    pub fn sees(&self, xid: u64) -> bool {
        xid < self.xmin || xid < self.xmax && self.running.binary_search(&xid).is_err()
    }

    /// Whether it sees everything that the other one sees.
    fn covers(&self, other: &Self) -> bool {
        let unseen = |xid: &u64| !other.sees(*xid);
        other.xmax <= self.xmax && self.running.iter().all(unseen)
    }

    /// The same where it is not known which transactions run: none that began after the first that did is seen.
    #[must_use]
    pub fn without_running(self) -> Self {
        Self {
            xmax: self.xmin,
            running: vec![],
            ..self
        }
    }

    /// The same without what this transaction did, which no list of a snapshot names: it is the one that took it.
    #[must_use]
    pub fn before(mut self, own: u64) -> Self {
        if own < self.xmax {
            if let Err(place) = self.running.binary_search(&own) {
                self.running.insert(place, own);
            }
            self.xmin = self.xmin.min(own);
        }
        self
    }

    /// `xmin:xmax:running,...`, as PostgreSQL writes it.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let xmin = parts.next()?.parse().ok()?;
        let xmax = parts.next()?.parse().ok()?;
        let running = match parts.next()? {
            "" => vec![],
            list => list
                .split(',')
                .map(|xid| xid.parse().ok())
                .collect::<Option<Vec<u64>>>()?,
        };
        let ascends = running.windows(2).all(|pair| pair[0] < pair[1]);
        let inside = running.iter().all(|xid| (xmin..xmax).contains(xid));
        (1 <= xmin && xmin <= xmax && ascends && inside).then_some(Self {
            xmin,
            xmax,
            running,
        })
    }
}

impl std::fmt::Display for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (index, xid) in self.running.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{xid}")?;
        }
        Ok(())
    }
}

/// A snapshot, with bounds of ids. A transaction may have begun, and have taken ids, although it is not before `xmax`: that only says
/// that none from there on has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// What is seen.
    pub snapshot: Snapshot,
    /// The largest id that is seen.
    pub last_id: i64,
    /// Asked after the snapshot: no transaction from this one on had begun, so all of them take larger ids.
    pub next: u64,
}

/// The epochs of a log, ascending: the name of each, and the last id before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epochs {
    earlier: Vec<(i64, i64)>,
    current: (i64, i64),
}

impl Epochs {
    /// The first epoch, which begins with the log, and these after it.
    pub fn new(later: impl IntoIterator<Item = (i64, i64)>) -> Self {
        let first = Self {
            earlier: vec![],
            current: (0, 0),
        };
        later.into_iter().fold(first, |mut epochs, next| {
            epochs.earlier.push(epochs.current);
            epochs.current = next;
            epochs
        })
    }

    /// The epoch of an id: its place, and its name.
    fn of(&self, id: i64) -> (usize, i64) {
        let begun = |(_, (_, last_before)): &(usize, &(i64, i64))| id > *last_before;
        let all = self.earlier.iter().chain([&self.current]).enumerate();
        let found = all.filter(begun).last();
        found.map_or((0, 0), |(place, (name, _))| (place, *name))
    }

    /// The epoch in which a row of this id was written.
    pub fn name_of(&self, id: i64) -> i64 {
        self.of(id).1
    }

    fn place(&self, epoch: i64) -> Option<usize> {
        let mut all = self.earlier.iter().chain([&self.current]);
        all.position(|(name, _)| *name == epoch)
    }

    /// The last id of an epoch, which for the current one is not known yet; `None`: there is no such epoch.
    fn last_id(&self, epoch: i64) -> Option<i64> {
        let place = self.place(epoch)?;
        let next = self.earlier.iter().chain([&self.current]).nth(place + 1);
        Some(next.map_or(i64::MAX, |(_, last_before)| *last_before))
    }
}

/// Where a batch ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// With what this moment sees.
    Moment(Moment),
    /// With the last row before an epoch: all those rows are committed.
    Epoch { name: i64, last_before: i64 },
}

/// A batch of which a part was read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Batch {
    upto: End,
    /// All ids up to this one were looked at.
    last: i64,
    /// A row behind it of which some events were handed out, and how many. Others can come to light before it.
    part: Option<(i64, u32)>,
}

/// Which rows are new among those that were there when the position was taken: those of these transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unseen {
    /// Up to this id.
    pub upto: i64,
    /// From this transaction on.
    pub xmax: u64,
    /// And these before it.
    pub running: Vec<u64>,
}

/// What was read: all before an epoch, all of this epoch that `seen` sees, and of the batch behind it all up to an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    epoch: i64,
    seen: Moment,
    /// For each transaction that `seen` lists as running, an id before all of its ids.
    before: BTreeMap<u64, i64>,
    /// An id before all ids of the transactions from `xmax` to `next`.
    before_next: i64,
    batch: Option<Batch>,
}

impl Position {
    /// Nothing was read.
    pub fn beginning() -> Self {
        Self::beginning_of(0, 0)
    }

    /// All before this epoch was read, and nothing of it.
    fn beginning_of(epoch: i64, last_before: i64) -> Self {
        Self {
            epoch,
            seen: Moment {
                snapshot: Snapshot::nothing(),
                last_id: last_before,
                next: 1,
            },
            before: BTreeMap::new(),
            before_next: last_before,
            batch: None,
        }
    }

    /// Whether its epoch is one of these. Otherwise it belongs to another database, or to rows that a restore has replaced.
    pub fn is_of(&self, epochs: &Epochs) -> bool {
        epochs.last_id(self.epoch).is_some()
    }

    /// Begins a batch that ends with what this moment sees, unless one has begun; in an older epoch first what is left of the older
    /// ones. False: the moment is before the position, and rows that belong to it cannot be seen. A transaction with an old snapshot
    /// has such a moment, and a standby that is behind.
    pub fn begin(&mut self, now: Moment, epochs: &Epochs) -> bool {
        let (name, last_before) = epochs.current;
        if self.epoch != name {
            let nothing_left = self.lowest(&Snapshot::everything()) >= last_before;
            if !self.is_of(epochs) {
                return false;
            } else if self.batch.is_some() || !nothing_left {
                let upto = End::Epoch { name, last_before };
                self.begin_upto(upto, &Snapshot::everything());
                return true;
            }
            *self = Self::beginning_of(name, last_before);
        }
        let known = match self.batch.as_ref().map(|batch| &batch.upto) {
            Some(End::Moment(upto)) => upto,
            _ => &self.seen,
        };
        if !now.snapshot.covers(&known.snapshot) {
            return false;
        }
        let snapshot = now.snapshot.clone();
        self.begin_upto(End::Moment(now), &snapshot);
        true
    }

    fn begin_upto(&mut self, upto: End, sees: &Snapshot) {
        if self.batch.is_none() {
            let last = self.lowest(sees);
            self.batch = Some(Batch {
                upto,
                last,
                part: None,
            });
        }
    }

    /// An id before all ids of the batch up to this snapshot.
    fn lowest(&self, upto: &Snapshot) -> i64 {
        let seen = &self.seen;
        let mut lowest = seen.last_id;
        if upto.xmax > seen.snapshot.xmax && seen.next > seen.snapshot.xmax {
            lowest = lowest.min(self.before_next);
        }
        let ended = self.before.iter().filter(|(xid, _)| upto.sees(**xid));
        ended.map(|(_, before)| *before).fold(lowest, i64::min)
    }

    /// An id before all ids of a transaction that `seen` does not see.
    fn before(&self, xid: u64) -> i64 {
        match self.before.get(&xid) {
            Some(before) => *before,
            None if xid >= self.seen.next => self.seen.last_id,
            None => self.before_next.min(self.seen.last_id),
        }
    }

    /// The ids to look at next: behind this one.
    pub fn behind_id(&self) -> i64 {
        self.batch
            .as_ref()
            .map_or(self.seen.last_id, |batch| batch.last)
    }

    /// What can be new where a transaction has ended that was open for long: almost nothing. `None`: all rows to look at are behind that.
    pub fn unseen(&self) -> Option<Unseen> {
        let Snapshot { xmax, running, .. } = &self.seen.snapshot;
        (self.behind_id() < self.seen.last_id).then(|| Unseen {
            upto: self.seen.last_id,
            xmax: *xmax,
            running: running.clone(),
        })
    }

    /// No row behind this id belongs to the batch.
    pub fn last_id(&self, epochs: &Epochs) -> i64 {
        match self.batch.as_ref().map(|batch| &batch.upto) {
            Some(End::Epoch { last_before, .. }) => *last_before,
            _ => epochs.last_id(self.epoch).unwrap_or(0),
        }
    }

    /// Whether this row, written by this transaction, belongs to the batch.
    pub fn is_new(&self, id: i64, xid: u64, epochs: &Epochs) -> bool {
        let Some(batch) = &self.batch else {
            return false;
        };
        let unseen = !self.seen.snapshot.sees(xid);
        id <= self.last_id(epochs)
            && match &batch.upto {
                End::Moment(upto) => unseen && upto.snapshot.sees(xid),
                End::Epoch { .. } => {
                    unseen || epochs.last_id(self.epoch).is_some_and(|last| id > last)
                }
            }
    }

    /// All ids of the batch up to this one were looked at.
    pub fn reached(&mut self, id: i64) {
        if let Some(batch) = &mut self.batch {
            batch.last = batch.last.max(id);
            batch.part = batch.part.filter(|(row, _)| *row > id);
        }
    }

    /// How many events of this row were handed out before.
    pub fn handed(&self, id: i64) -> u32 {
        let part = self.batch.as_ref().and_then(|batch| batch.part);
        part.filter(|(row, _)| *row == id)
            .map_or(0, |(_, count)| count)
    }

    /// This number of events of the row, the next one, was handed out.
    pub fn hand(&mut self, id: i64, count: u32) {
        if let Some(batch) = &mut self.batch {
            batch.part = Some((id, count));
        }
    }

    /// Whether a part of a batch was read.
    pub fn is_inside(&self) -> bool {
        self.batch.is_some()
    }

    /// Everything that this moment sees counts as read. False: the moment is before the position.
    pub fn skip_to(&mut self, now: Moment, epochs: &Epochs) -> bool {
        let (name, last_before) = epochs.current;
        if self.epoch != name {
            *self = Self::beginning_of(name, last_before);
        }
        self.batch = None;
        let begun = self.begin(now, epochs);
        self.ended(epochs);
        begun
    }

    /// Nothing was read behind an id; what a reader at this position has read counts up to there. All rows that anyone may still
    /// want have larger ids, or were not seen by this position either.
    #[must_use]
    pub fn back_to(&self, id: i64, epochs: &Epochs) -> Self {
        let id = id.min(self.read_to());
        Self::beginning_of(epochs.of(id).1, id)
    }

    /// Whether a row was read.
    pub fn has(&self, id: i64, xid: u64, epochs: &Epochs) -> bool {
        let of_row = epochs.of(id);
        let is_earlier = epochs.place(self.epoch).is_some_and(|own| of_row.0 < own);
        let is_seen = of_row.1 == self.epoch && self.seen.snapshot.sees(xid);
        let is_in = |batch: &Batch| {
            id <= batch.last
                && match &batch.upto {
                    End::Moment(upto) => upto.snapshot.sees(xid),
                    End::Epoch { .. } => true,
                }
        };
        is_earlier || is_seen || self.batch.as_ref().is_some_and(is_in)
    }

    /// All rows up to this id were read, whatever commits later.
    pub fn read_to(&self) -> i64 {
        let began = self.seen.next > self.seen.snapshot.xmax;
        let began = began.then_some(self.before_next);
        let bounds = self.before.values().copied().chain(began);
        let seen = bounds.fold(self.seen.last_id, i64::min);
        match &self.batch {
            Some(batch) => seen.min(batch.last),
            None => seen,
        }
    }

    /// The batch was read. Whether this was all: behind a batch of an older epoch the next one begins.
    pub fn ended(&mut self, epochs: &Epochs) -> bool {
        match self.batch.take().map(|batch| batch.upto) {
            None => {}
            Some(End::Epoch { name, last_before }) => {
                *self = Self::beginning_of(name, last_before);
                return false;
            }
            Some(End::Moment(upto)) => {
                let running = upto.snapshot.running.iter();
                let before = running.map(|xid| (*xid, self.before(*xid))).collect();
                self.before_next = self.before(upto.snapshot.xmax);
                self.before = before;
                self.seen = upto;
            }
        }
        self.epoch == epochs.current.0
    }
}

/// `epoch;snapshot;last id;next;id before next;ids before those that run`, then for a batch of which a part was read
/// `;snapshot;last id;next;last id looked at;id of a row;events of it`, or, up to an epoch,
/// `;epoch;last id before it;last id looked at;id of a row;events of it`.
impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let before: Vec<String> = self.before.values().map(i64::to_string).collect();
        let before = before.join(",");
        write!(
            f,
            "{};{};{};{before}",
            self.epoch, self.seen, self.before_next
        )?;
        if let Some(batch) = &self.batch {
            match &batch.upto {
                End::Moment(upto) => write!(f, ";{upto}")?,
                End::Epoch { name, last_before } => write!(f, ";{name};{last_before}")?,
            }
            let (row, count) = batch.part.unwrap_or_default();
            write!(f, ";{};{row};{count}", batch.last)?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{};{};{}", self.snapshot, self.last_id, self.next)
    }
}

fn id(text: &str) -> Option<i64> {
    text.parse().ok().filter(|id| *id >= 0)
}

impl Moment {
    fn parse(snapshot: &str, last_id: &str, next: &str) -> Option<Self> {
        Some(Self {
            snapshot: Snapshot::parse(snapshot)?,
            last_id: id(last_id)?,
            next: next.parse().ok()?,
        })
    }
}

impl Position {
    /// Reads what `to_string` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(';').collect();
        let [
            epoch,
            snapshot,
            last_id,
            next,
            before_next,
            before,
            batch @ ..,
        ] = parts.as_slice()
        else {
            return None;
        };
        let seen = Moment::parse(snapshot, last_id, next)?;
        let before: Vec<i64> = match *before {
            "" => vec![],
            list => list.split(',').map(id).collect::<Option<_>>()?,
        };
        if before.len() != seen.snapshot.running.len() {
            return None;
        }
        let (upto, rest) = match batch {
            [] => (None, [].as_slice()),
            [name, last_before, rest @ ..] if rest.len() == 3 => {
                let (name, last_before) = (id(name)?, id(last_before)?);
                (Some(End::Epoch { name, last_before }), rest)
            }
            [snapshot, last_id, next, rest @ ..] => {
                let upto = Moment::parse(snapshot, last_id, next)?;
                (Some(End::Moment(upto)), rest)
            }
            _ => return None,
        };
        let batch = match (upto, rest) {
            (None, _) => None,
            (Some(upto), [last, row, count]) => Some(Batch {
                upto,
                last: id(last)?,
                part: Some((id(row)?, count.parse().ok()?)).filter(|(row, _)| *row != 0),
            }),
            _ => return None,
        };
        Some(Self {
            epoch: id(epoch)?,
            before: seen.snapshot.running.iter().copied().zip(before).collect(),
            before_next: id(before_next)?,
            seen,
            batch,
        })
    }
}
