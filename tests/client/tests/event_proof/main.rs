//! Events of overlapping transactions, of which many are undone, one is prepared during the whole run and one is open in another
//! database, while the server is killed: each of three subscribers acknowledges each committed event once, and no other. Beside them
//! are subscribers that are slow, poisonous, paused or removed, and a purge runs next to one that is behind.
//!
//! `TASKER_SEED` repeats the choices of each session, though not how they meet.

mod beside;
mod consumers;
mod writers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tasker_client_tests::database::PATTERN;
use tasker_client_tests::kills::{Client, End, own_server, under_kills};
use tasker_client_tests::server::Server;
use tasker_client_tests::{Reader, Session, Uuid, json, patience, scaled, shapes};

use consumers::Holds;
use writers::Ledger;

/// The subscribers that get everything, each by eight consumers.
const SUBSCRIBERS: [&str; 3] = ["whole", "ordered", "apart"];
const CONSUMERS: usize = 8;
/// An event of this name is poisonous if its token divides by that.
const POISON: i64 = 701;
/// What the prepared transaction publishes: tokens that no writer takes.
const HELD: std::ops::Range<i64> = 1..6;

/// What all sessions share.
struct Proof<'s> {
    seed: u64,
    server: &'s Server,
    ledger: Mutex<Ledger>,
    holds: Mutex<Holds>,
    /// No writer begins another transaction.
    enough: AtomicBool,
    /// Sessions so far, for their choices.
    sessions: AtomicUsize,
    failed: AtomicBool,
}

impl Proof<'_> {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no panic")
    }

    /// Choices of its own for each session.
    fn rng(&self) -> Rng {
        let session = self.sessions.fetch_add(1, Ordering::Relaxed) as u64;
        Rng::with_seed(self.seed.wrapping_mul(31) + session)
    }

    fn has_enough(&self) -> bool {
        self.enough.load(Ordering::Acquire)
    }
}

/// A client that fails ends the wait of the others.
struct SayIfFailed<'a>(&'a AtomicBool);

impl Drop for SayIfFailed<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Release);
        }
    }
}

fn pause(rng: &mut Rng, milliseconds: std::ops::Range<u64>) {
    std::thread::sleep(Duration::from_millis(rng.u64(milliseconds)));
}

fn set_up(session: &mut Session) {
    shapes::small_diamond()
        .patient()
        .with("name", json!("fan"))
        .register(session);
    session.execute(
        "CREATE TABLE public.effects (no bigserial, subscriber text, event_id bigint, name text, task uuid, step uuid, token bigint, payload jsonb)",
    );
    let rest = "start_at => 'beginning', max_deliveries => 1000";
    for name in SUBSCRIBERS {
        let ordered = name == "ordered";
        subscribe(session, &format!("'{name}', ordered => {ordered}, {rest}"));
    }
    beside::set_up(session);
    // It is held while everything else goes on.
    let tokens: Vec<i64> = HELD.collect();
    session.execute("BEGIN; SELECT tasker.create_task('fan'); SAVEPOINT inner_one");
    writers::publish(session, &tokens, None).expect("the server is there");
    session.execute("SELECT tasker.create_task('fan'); PREPARE TRANSACTION 'held'");
}

fn subscribe(session: &mut Session, arguments: &str) {
    session.query(&format!("SELECT tasker.subscribe({arguments})"), &[]);
}

/// How many effects a subscriber has.
fn effects(session: &mut Session, subscriber: &str) -> usize {
    session.count(
        "SELECT count(*) FROM public.effects WHERE subscriber = $1",
        &[&subscriber],
    ) as usize
}

/// Runs clients until the reader has got that many events and all these subscribers have acknowledged what it got.
fn run(
    proof: &Proof,
    reader: &mut Reader,
    (events, kills): (usize, usize),
    subscribers: &[&str],
    clients: &[Client],
) {
    let began = Instant::now();
    let mut killed = 0;
    let wait = || {
        let mut session = proof.server.connect(PATTERN);
        let goal = events * (killed + 1) / (kills + 1);
        killed += 1;
        let (mut count, mut changed_at) = (0, Instant::now());
        loop {
            let got_more = reader.page(&mut session, 5000);
            let done: usize = subscribers
                .iter()
                .map(|name| effects(&mut session, name))
                .sum();
            let so_far = reader.got.len() + done;
            if so_far != count {
                (count, changed_at) = (so_far, Instant::now());
            }
            let is_last = killed > kills;
            let has_all = reader.got.len() >= goal;
            if has_all && is_last {
                proof.enough.store(true, Ordering::Release);
            }
            let is_drained = |session: &mut Session| {
                proof.ledger().open == 0
                    && subscribers
                        .iter()
                        .all(|name| effects(session, name) >= reader.got.len())
            };
            let is_done = has_all && (!is_last || !got_more && is_drained(&mut session));
            // What is lost never comes: then the end says what it is.
            let took_too_long = began.elapsed() > patience(scaled(240, 1800) as u64)
                || changed_at.elapsed() > patience(20);
            if is_done || took_too_long || proof.failed.load(Ordering::Acquire) {
                // Long enough for writers to be in the midst of it.
                return Duration::from_millis(if is_last { 300 } else { 50 });
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let guarded: Vec<_> = clients
        .iter()
        .map(|client| {
            move |session: Session, end: &End| {
                let _say_if_failed = SayIfFailed(&proof.failed);
                client(session, end);
            }
        })
        .collect();
    let clients: Vec<Client> = guarded.iter().map(|client| client as Client).collect();
    under_kills(proof.server, kills, wait, &clients);
}

/// Every committed event by its id, with its token.
fn everything(session: &mut Session, pattern: &str) -> BTreeMap<i64, Option<i64>> {
    let mut all = BTreeMap::new();
    let mut position: Option<String> = None;
    loop {
        let rows = session.query(
            "SELECT event_id, (payload ->> 'token')::bigint, position FROM tasker.read_events($1, 10000, ARRAY[$2])",
            &[&position, &pattern],
        );
        for row in &rows {
            position = row.get(2);
            if let Some(id) = row.get::<_, Option<i64>>(0) {
                assert_eq!(all.insert(id, row.get(1)), None, "event {id} is read twice");
            }
        }
        if rows.is_empty() {
            return all;
        }
    }
}

/// The subscriber has acknowledged each of these events once, and no other.
#[track_caller]
fn has_each_event_once(session: &mut Session, subscriber: &str, expected: &BTreeSet<i64>) {
    let acknowledged: Vec<i64> = session.all(
        "SELECT event_id FROM public.effects WHERE subscriber = $1 ORDER BY no",
        &[&subscriber],
    );
    let distinct: BTreeSet<i64> = acknowledged.iter().copied().collect();
    let missing: Vec<&i64> = expected.difference(&distinct).take(20).collect();
    let unknown: Vec<&i64> = distinct.difference(expected).take(20).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "{subscriber}: never acknowledged: {missing:?}; never committed: {unknown:?}"
    );
    assert_eq!(
        distinct.len(),
        acknowledged.len(),
        "{subscriber}: an event was acknowledged twice"
    );
    let left = "SELECT (in_flight + waiting + dead + missed_events)::bigint FROM tasker.subscribers WHERE subscriber = $1";
    assert_eq!(session.count(left, &[&subscriber]), 0, "{subscriber}");
}

/// The events of a step in order, and a parent's end before its child's start.
fn causes_come_first(session: &mut Session, subscriber: &str) {
    let backwards: Vec<String> = session.all(
        "SELECT format('%s before %s', event_id, before)
         FROM (SELECT event_id, lag(event_id) OVER (PARTITION BY step ORDER BY no) AS before
               FROM public.effects WHERE subscriber = $1 AND step IS NOT NULL AND name LIKE 'step.%') e
         WHERE before > event_id LIMIT 20",
        &[&subscriber],
    );
    assert_eq!(backwards, [""; 0], "{subscriber}: events of a step");
    let early: Vec<String> = session.all(
        "SELECT format('%s of task %s', c.payload ->> 'step_name', c.task)
         FROM public.effects c CROSS JOIN jsonb_array_elements_text(c.payload -> 'step_dependencies') p (name)
         WHERE c.subscriber = $1 AND c.name = 'step.execution_requested' AND NOT EXISTS (
             SELECT FROM public.effects o
             WHERE o.subscriber = $1 AND o.task = c.task AND o.name = 'step.completed' AND o.payload ->> 'step_name' = p.name AND o.no < c.no)
         LIMIT 20",
        &[&subscriber],
    );
    assert_eq!(early, [""; 0], "{subscriber}: steps before their parents");
}

/// Every transaction is in the database as a whole or not at all, and as it was answered.
fn transactions_are_as_answered(session: &mut Session, ledger: &Ledger) {
    // Below the stream: it could leave out the same events at each reading.
    let stored: Vec<i64> = session.all(
        "SELECT (payload ->> 'token')::bigint FROM tasker_engine.events WHERE name LIKE 'proof.%'",
        &[],
    );
    let tokens: BTreeSet<i64> = stored.iter().copied().collect();
    assert_eq!(tokens.len(), stored.len(), "an event is stored twice");
    let tasks: BTreeSet<Uuid> = session
        .all("SELECT task_uuid FROM tasker.tasks", &[])
        .into_iter()
        .collect();
    let mut expected: BTreeSet<i64> = ledger.committed.tokens.clone();
    assert!(tasks.is_superset(&ledger.committed.tasks), "a lost task");
    assert!(tasks.is_disjoint(&ledger.undone.tasks), "an undone task");
    for unknown in &ledger.unanswered {
        let (these, there) = (&unknown.tokens, unknown.tokens.is_subset(&tokens));
        assert!(
            there || these.is_disjoint(&tokens),
            "half of a transaction is there: {these:?}"
        );
        if there {
            expected.extend(these);
            assert!(tasks.is_superset(&unknown.tasks), "half of a transaction");
        }
    }
    assert_eq!(tokens, expected, "other events than were committed");
    assert!(expected.is_disjoint(&ledger.undone.tokens));
}

#[test]
fn each_of_three_subscribers_acknowledges_each_committed_event_once_whatever_happens_beside() {
    let seed = std::env::var("TASKER_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    println!("TASKER_SEED={seed}");
    // What has been answered must outlive a crash.
    let server = own_server(&["fsync=on", "full_page_writes=on", "max_connections=100"]);
    server
        .connect("postgres")
        .execute("CREATE DATABASE elsewhere");
    set_up(&mut server.connect(PATTERN));
    let proof = Proof {
        seed,
        server: &server,
        ledger: Mutex::default(),
        holds: Mutex::default(),
        enough: AtomicBool::new(false),
        sessions: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
    };
    let mut reader = Reader::default();

    let consumer = consumers::all(&proof);
    let write = |session, end: &End| writers::write(&proof, session, end);
    let work = |session, end: &End| writers::work(&proof, session, end);
    let beside = beside::all(&proof);
    let mut clients: Vec<Client> = vec![&write, &write, &write, &write, &work, &work];
    clients.extend(consumer.iter().map(|client| &**client as Client));
    clients.extend(beside.iter().map(|client| &**client as Client));
    let size = (scaled(10_000, 100_000), scaled(1, 12));
    run(&proof, &mut reader, size, &SUBSCRIBERS, &clients);

    let mut session = server.connect(PATTERN);
    let committed = everything(&mut session, "*");
    println!("{} events, {:?}", committed.len(), proof.ledger().counts);
    assert!(committed.len() >= size.0, "only {} events", committed.len());
    assert!(
        committed
            .values()
            .flatten()
            .all(|token| !HELD.contains(token))
    );
    transactions_are_as_answered(&mut session, &proof.ledger());
    let ids: BTreeSet<i64> = committed.keys().copied().collect();
    for subscriber in SUBSCRIBERS {
        has_each_event_once(&mut session, subscriber, &ids);
    }
    for subscriber in ["whole", "ordered"] {
        causes_come_first(&mut session, subscriber);
    }
    beside::each_has_done_its_part(&mut session, &proof.ledger());

    // What was prepared comes now, and not before.
    session.execute("COMMIT PREPARED 'held'");
    session.query("SELECT tasker.resume_subscriber('paused')", &[]);
    let clients: Vec<Client> = consumer.iter().map(|client| &**client as Client).collect();
    let goal = committed.len() + HELD.count() + 2;
    run(&proof, &mut reader, (goal, 0), &SUBSCRIBERS, &clients);
    let after = everything(&mut session, "*");
    let ids: BTreeSet<i64> = after.keys().copied().collect();
    for subscriber in SUBSCRIBERS {
        has_each_event_once(&mut session, subscriber, &ids);
    }
    consumers::drain(&proof, "paused");
    let ids = everything(&mut session, "task.*").into_keys().collect();
    has_each_event_once(&mut session, "paused", &ids);
    let held: BTreeSet<i64> = after
        .iter()
        .filter(|(_, token)| token.is_some_and(|token| HELD.contains(&token)))
        .map(|(id, _)| *id)
        .collect();
    assert_eq!(held.len(), HELD.count());
    assert!(
        held.iter()
            .all(|id| id < committed.keys().next_back().expect("events")),
        "their ids are older than those that came before them"
    );
    reader.has_each_event_once(&mut session, "a reader outside");

    beside::purge_next_to_a_lagging_subscriber(&proof, &mut session);
    assert_eq!(session.disagreements(), [""; 0]);
}
