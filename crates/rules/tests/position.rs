//! Positions in the log against a model of transactions that begin, write, commit and roll back in any order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tasker_rules::events::position::{Epochs, Moment, Position, Snapshot};

#[derive(Debug, Clone)]
enum Act {
    Begin,
    Write(usize),
    Commit(usize),
    RollBack(usize),
    /// A reader reads up to this number of events; it keeps its position if its transaction commits.
    Read {
        most: usize,
        keeps: bool,
        in_old: bool,
    },
    /// Another reader begins, at the beginning.
    NewReader,
    /// A transaction that keeps its snapshot begins; later reads happen in it.
    KeepSnapshot,
    /// It ends.
    DropSnapshot,
    /// A dump of what is committed is restored where the next transaction has this number. Ids go on.
    Restore(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => Just(Act::Begin),
        6 => any::<usize>().prop_map(Act::Write),
        3 => any::<usize>().prop_map(Act::Commit),
        1 => any::<usize>().prop_map(Act::RollBack),
        3 => (1..5_usize, any::<bool>(), any::<bool>()).prop_map(|(most, keeps, in_old)| Act::Read { most, keeps, in_old }),
        1 => Just(Act::NewReader),
        1 => Just(Act::KeepSnapshot),
        1 => Just(Act::DropSnapshot),
        1 => prop_oneof![1..40_u64, (1_u64 << 32)..(1 << 32) + 9].prop_map(Act::Restore),
    ]
}

#[derive(Clone)]
struct Row {
    xid: u64,
    /// When it was written, and when its transaction committed.
    written: usize,
    committed: Option<usize>,
}

/// What PostgreSQL keeps.
#[derive(Default)]
struct World {
    time: usize,
    xids: u64,
    ids: i64,
    /// Names of epochs, and the last id before each.
    epochs: Vec<(i64, i64)>,
    open: BTreeSet<u64>,
    /// The last transaction that has ended, among all that have.
    ended: u64,
    /// What an old transaction sees, and since when.
    kept: Option<(Moment, usize)>,
    rows: BTreeMap<i64, Row>,
}

impl World {
    fn next(&self) -> u64 {
        self.xids + 10
    }

    /// As PostgreSQL takes a snapshot: it ends behind the last transaction that has ended, not before the next one.
    fn moment(&self) -> Moment {
        let xmax = self.ended.max(9) + 1;
        let seen = self.rows.iter().filter(|(_, row)| row.committed.is_some());
        Moment {
            last_id: seen.map(|(id, _)| *id).max().unwrap_or(0),
            next: self.next(),
            snapshot: Snapshot {
                xmin: self.open.first().map_or(xmax, |first| xmax.min(*first)),
                xmax,
                running: self
                    .open
                    .iter()
                    .copied()
                    .filter(|xid| *xid < xmax)
                    .collect(),
            },
        }
    }

    fn open_one(&self, which: usize) -> Option<u64> {
        let count = self.open.len();
        (count > 0)
            .then(|| self.open.iter().nth(which % count).copied())
            .flatten()
    }
}

struct Reader {
    /// It does not know which transactions run.
    on_standby: bool,
    position: Position,
    /// Each row gives two events: its id twice.
    got: Vec<i64>,
}

impl Reader {
    fn read(&mut self, world: &World, most: usize, keeps: bool, in_old: bool) -> bool {
        let mut position =
            Position::parse(&self.position.to_string()).expect("a position can be read");
        assert_eq!(position, self.position);
        let (mut now, time) = match &world.kept {
            Some((kept, time)) if in_old => (kept.clone(), *time),
            _ => (world.moment(), world.time),
        };
        now.next = world.next();
        if self.on_standby {
            now.snapshot = now.snapshot.without_running();
        }
        let epochs = Epochs::new(world.epochs.clone());
        let mut got = vec![];
        let mut full = false;
        while !full {
            if !position.begin(now.clone(), &epochs) {
                return false;
            }
            full = page(&mut position, world, &epochs, time, most, &mut got);
            if !full && position.ended(&epochs) {
                break;
            }
        }
        if keeps {
            self.position = position;
            self.got.extend(&got);
        }
        full || !got.is_empty()
    }
}

/// Reads the rest of a batch; whether there are events without room.
fn page(
    position: &mut Position,
    world: &World,
    epochs: &Epochs,
    time: usize,
    most: usize,
    got: &mut Vec<i64>,
) -> bool {
    let visible = |row: &Row| row.committed.is_some_and(|at| at <= time);
    let last = position.last_id(epochs);
    for (id, row) in world.rows.range(position.behind_id() + 1..) {
        if *id > last {
            break;
        }
        if visible(row) && position.is_new(*id, row.xid, epochs) {
            let unseen = position.unseen();
            assert!(
                unseen.is_none_or(|of| *id > of.upto
                    || row.xid >= of.xmax
                    || of.running.contains(&row.xid)),
                "a reader that asks for what is unseen does not get row {id}"
            );
            for event in position.handed(*id)..2 {
                if got.len() == most {
                    return true;
                }
                position.hand(*id, event + 1);
                got.push(*id);
            }
        }
        if visible(row) {
            position.reached(*id);
        }
    }
    false
}

impl World {
    fn restore(&mut self, next: u64) {
        self.rows.retain(|_, row| row.committed.is_some());
        self.open.clear();
        self.kept = None;
        self.epochs.push((1 + self.epochs.len() as i64, self.ids));
        self.xids = next;
        self.ended = self.next() - 1;
    }
}

fn run(acts: Vec<Act>) -> (World, Vec<Reader>) {
    let mut world = World::default();
    let reader = |on_standby| Reader {
        on_standby,
        position: Position::beginning(),
        got: vec![],
    };
    let mut readers = vec![reader(false), reader(true)];
    for act in acts {
        world.time += 1;
        match act {
            Act::Begin => {
                world.xids += 1;
                let xid = world.xids + 9;
                world.open.insert(xid);
            }
            Act::Write(which) => {
                if let Some(xid) = world.open_one(which) {
                    world.ids += 1;
                    let row = Row {
                        xid,
                        written: world.time,
                        committed: None,
                    };
                    world.rows.insert(world.ids, row);
                }
            }
            Act::Commit(which) => {
                if let Some(xid) = world.open_one(which) {
                    world.open.remove(&xid);
                    world.ended = world.ended.max(xid);
                    let time = world.time;
                    // An older epoch can have rows with the same number.
                    for row in world.rows.values_mut().filter(|row| row.xid == xid) {
                        row.committed.get_or_insert(time);
                    }
                }
            }
            Act::RollBack(which) => {
                if let Some(xid) = world.open_one(which) {
                    world.open.remove(&xid);
                    world.ended = world.ended.max(xid);
                    world
                        .rows
                        .retain(|_, row| row.xid != xid || row.committed.is_some());
                }
            }
            Act::Read {
                most,
                keeps,
                in_old,
            } => {
                for reader in &mut readers {
                    reader.read(&world, most, keeps, in_old);
                }
            }
            Act::KeepSnapshot => world.kept = Some((world.moment(), world.time)),
            Act::DropSnapshot => world.kept = None,
            Act::Restore(next) => world.restore(next),
            Act::NewReader => readers.push(reader(readers.len() % 2 == 0)),
        }
    }
    world.time += 1;
    let time = world.time;
    world.open.clear();
    world.ended = world.xids + 9;
    for row in world.rows.values_mut() {
        row.committed.get_or_insert(time);
    }
    for reader in &mut readers {
        while reader.read(&world, 3, true, false) {}
        reader.read(&world, 3, true, false);
    }
    (world, readers)
}

proptest! {
    #[test]
    fn each_reader_gets_each_committed_row_once_and_causes_before_effects(acts in prop::collection::vec(act(), 1..120)) {
        let (world, readers) = run(acts);
        for reader in readers {
            let expected: Vec<i64> = world
                .rows
                .iter()

                .filter(|(_, row)| row.committed.is_some())
                .flat_map(|(id, _)| [*id, *id])
                .collect();
            let mut got = reader.got.clone();
            got.sort_unstable();
            prop_assert_eq!(&got, &expected);
            let place: BTreeMap<i64, usize> = reader.got.iter().enumerate().map(|(place, id)| (*id, place)).collect();
            for (cause, row) in &world.rows {
                for (effect, later) in world.rows.range(cause + 1..) {
                    // A standby does not know which transactions ran beside each other.
                    let caused = !reader.on_standby && row.committed.is_some_and(|at| at < later.written);
                    if let (true, Some(first), Some(second)) = (caused, place.get(cause), place.get(effect)) {
                        prop_assert!(first < second, "{} after {}", cause, effect);
                    }
                    if let (true, Some(first), Some(second)) = (row.xid == later.xid && row.committed == later.committed, place.get(cause), place.get(effect)) {
                        prop_assert!(first < second, "{} after {} of one transaction", cause, effect);
                    }
                }
            }
        }
    }
}

#[test]
fn a_position_that_is_no_position_is_refused() {
    for text in [
        "",
        "x",
        "1:1:;0",
        "5:4:;0;;",
        "1:9:3,2;0;0,0;",
        "1:9:3;0;;",
        "1:9:;0;;1:9:;3",
        "0;1:9:;0;9;0",
        "x;1:9:;0;9;0;",
        "0;1:9:;0;9;0;;1:9:;0;9",
        "0;1:9:;0;9;0;;1;5;0;0",
    ] {
        assert_eq!(Position::parse(text), None, "{text}");
    }
}
