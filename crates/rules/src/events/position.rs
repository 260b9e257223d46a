//! Where a reader of the log is. Ids are taken before their transactions commit, so neither an id nor a transaction can say what
//! was read: a snapshot does. A batch is what a newer snapshot sees and the older one does not; inside a batch the order is by id.

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

/// A snapshot, with an id that was the last one when it was about to be taken: what begins later takes later ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// What is seen.
    pub snapshot: Snapshot,
    /// The id.
    pub last_id: i64,
}

/// A batch of which a part was read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Batch {
    upto: Moment,
    /// All ids up to this one were looked at.
    last: i64,
    /// A row behind it of which some events were handed out, and how many. Others can come to light before it.
    part: Option<(i64, u32)>,
}

/// What was read: all that `seen` sees, and of the batch behind it all up to an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    seen: Moment,
    /// For each transaction that `seen` lists as running, an id before all of its ids.
    before: BTreeMap<u64, i64>,
    batch: Option<Batch>,
}

impl Position {
    /// Nothing was read.
    pub fn beginning() -> Self {
        Self::behind(0)
    }

    /// Nothing but what has an id up to this one counts as read, whoever wrote it.
    pub fn behind(id: i64) -> Self {
        Self {
            seen: Moment {
                snapshot: Snapshot::nothing(),
                last_id: id,
            },
            before: BTreeMap::new(),
            batch: None,
        }
    }

    /// Everything that this moment sees was read. `before`: an id before all ids of the transactions that run.
    pub fn at(moment: Moment, before: i64) -> Self {
        let running = moment.snapshot.running.iter();
        Self {
            before: running.map(|xid| (*xid, before)).collect(),
            seen: moment,
            batch: None,
        }
    }

    /// The moment up to which the reader reads now: that of the batch that it has begun, else this one.
    pub fn begin(&mut self, now: Moment) {
        if self.batch.is_none() {
            let last = self.lowest(&now.snapshot);
            self.batch = Some(Batch {
                upto: now,
                last,
                part: None,
            });
        }
    }

    /// An id before all ids of the batch up to this snapshot.
    fn lowest(&self, upto: &Snapshot) -> i64 {
        self.before
            .iter()
            .filter(|(xid, _)| upto.sees(**xid))
            .map(|(_, before)| *before)
            .fold(self.seen.last_id, i64::min)
    }

    /// The ids to look at next: behind this one.
    pub fn behind_id(&self) -> i64 {
        self.batch
            .as_ref()
            .map_or(self.seen.last_id, |batch| batch.last)
    }

    /// Whether a row of this transaction belongs to the batch.
    pub fn is_new(&self, xid: u64) -> bool {
        let upto = self.batch.as_ref().map(|batch| &batch.upto.snapshot);
        upto.is_some_and(|upto| upto.sees(xid)) && !self.seen.snapshot.sees(xid)
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

    /// So many events of this row, the next one, were handed out.
    pub fn hand(&mut self, id: i64, count: u32) {
        if let Some(batch) = &mut self.batch {
            batch.part = Some((id, count));
        }
    }

    /// No row is behind: the batch was read.
    pub fn ended(&mut self) {
        let Some(batch) = self.batch.take() else {
            return;
        };
        let running = batch.upto.snapshot.running.iter();
        // One that began since then took later ids than the last one at that time.
        self.before = running
            .map(|xid| (*xid, *self.before.get(xid).unwrap_or(&self.seen.last_id)))
            .collect();
        self.seen = batch.upto;
    }
}

/// `snapshot;last id;ids before those that run`, then for a batch of which a part was read
/// `;snapshot;last id;last id looked at;id of a row;events of it`.
impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let before: Vec<String> = self.before.values().map(i64::to_string).collect();
        write!(
            f,
            "{};{};{}",
            self.seen.snapshot,
            self.seen.last_id,
            before.join(",")
        )?;
        if let Some(batch) = &self.batch {
            let upto = &batch.upto;
            let (row, count) = batch.part.unwrap_or_default();
            write!(
                f,
                ";{};{};{};{row};{count}",
                upto.snapshot, upto.last_id, batch.last
            )?;
        }
        Ok(())
    }
}

impl Position {
    /// Reads what `to_string` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(';').collect();
        let moment = |snapshot: &str, id: &str| {
            Some(Moment {
                snapshot: Snapshot::parse(snapshot)?,
                last_id: id.parse().ok().filter(|id| *id >= 0)?,
            })
        };
        let [snapshot, last_id, before, batch @ ..] = parts.as_slice() else {
            return None;
        };
        let seen = moment(snapshot, last_id)?;
        let before: Vec<i64> = match *before {
            "" => vec![],
            list => list
                .split(',')
                .map(|id| id.parse().ok())
                .collect::<Option<_>>()?,
        };
        if before.len() != seen.snapshot.running.len() {
            return None;
        }
        let batch = match batch {
            [] => None,
            [snapshot, last_id, last, row, count] => Some(Batch {
                upto: moment(snapshot, last_id)?,
                last: last.parse().ok()?,
                part: Some((row.parse().ok()?, count.parse().ok()?)).filter(|(row, _)| *row != 0),
            }),
            _ => return None,
        };
        Some(Self {
            before: seen.snapshot.running.iter().copied().zip(before).collect(),
            seen,
            batch,
        })
    }
}
