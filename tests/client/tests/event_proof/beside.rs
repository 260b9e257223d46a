//! What goes on beside the three subscribers: others that are slow, poisonous, paused, removed or behind, and a transaction that is open
//! in another database.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tasker_client_tests::database::PATTERN;
use tasker_client_tests::kills::End;
use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Failure, Session, Value, json, patience};

use super::consumers::{Consumer, drain, whole};
use super::writers::{Ledger, Lost, answered, run};
use super::{POISON, Proof, effects, everything, has_each_event_once, pause, subscribe};

/// Takes the events of `poison`, and fails at those that are poisonous.
const HANDLER: &str = r"
CREATE FUNCTION public.take(events jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.effects (subscriber, event_id, token)
    SELECT 'poison', (e ->> 'event_id')::bigint, (e #>> '{payload,token}')::bigint FROM jsonb_array_elements(events) e;
    IF EXISTS (SELECT FROM jsonb_array_elements(events) e WHERE (e #>> '{payload,token}')::bigint % 701 = 0) THEN
        RAISE EXCEPTION 'poison';
    END IF;
END $$";

pub fn set_up(session: &mut Session) {
    session.execute(HANDLER);
    for arguments in [
        "'slow'",
        "'paused', '{task.*}', max_deliveries => 1000",
        "'lagging', '{step.*}', max_deliveries => 1000",
        "'poison', '{proof.*}', handler => 'sql:public.take', batch_size => 50, max_deliveries => 2",
    ] {
        subscribe(session, &format!("{arguments}, start_at => 'beginning'"));
    }
    session.query("SELECT tasker.pause_subscriber('paused')", &[]);
}

pub fn all<'p>(proof: &'p Proof) -> Vec<Consumer<'p>> {
    let slow: Consumer = Box::new(move |session, end| until_lost(end, session, |s| slow(proof, s)));
    let lagging: Consumer = Box::new(move |session, end| {
        until_lost(end, session, |session| {
            let mut rng = proof.rng();
            pause(&mut rng, 300..600);
            whole(proof, &mut rng, session, "lagging").map(|_| ())
        });
    });
    let poisoned: Consumer = Box::new(move |mut session, end| {
        session.execute("SET tasker.default_backoff_seconds = '1'");
        until_lost(end, session, |session| {
            handle(session).map(|_| std::thread::sleep(Duration::from_millis(50)))
        });
    });
    let removed: Consumer =
        Box::new(move |session, end| until_lost(end, session, |s| come_and_go(proof, s)));
    let polling: Consumer =
        Box::new(move |session, end| until_lost(end, session, |s| poll_what_goes(proof, s)));
    let elsewhere: Consumer = Box::new(move |_, end| open_elsewhere(proof, end));
    vec![slow, lagging, poisoned, removed, polling, elsewhere]
}

fn until_lost(
    end: &End,
    mut session: Session,
    mut turn: impl FnMut(&mut Session) -> Result<(), Lost>,
) {
    while !end.has_come() && turn(&mut session).is_ok() {}
}

/// Its transaction holds the place of its subscriber, and what it has polled, for a second.
fn slow(proof: &Proof, session: &mut Session) -> Result<(), Lost> {
    let mut rng = proof.rng();
    run(session, "BEGIN")?;
    let sql = "WITH polled AS (SELECT * FROM tasker.poll_events('slow', 30)),
                    done AS (INSERT INTO public.effects (subscriber, event_id) SELECT 'slow', event_id FROM polled)
               SELECT tasker.ack_events('slow', array_agg(event_id)) FROM polled";
    answered(session.try_query(sql, &[]))?;
    pause(&mut rng, 500..1500);
    run(session, "COMMIT")
}

/// Runs the handler; returns how many batches it got.
fn handle(session: &mut Session) -> Result<usize, Lost> {
    let sql = "SELECT FROM tasker.run_subscribers(20, 'poison')";
    Ok(answered(session.try_query(sql, &[]))?.len())
}

/// A subscriber that is made and removed while consumers poll it.
fn come_and_go(proof: &Proof, session: &mut Session) -> Result<(), Lost> {
    let mut rng = proof.rng();
    pause(&mut rng, 20..200);
    if proof.has_enough() {
        return Ok(());
    }
    let sql = "SELECT tasker.subscribe('gone', start_at => 'beginning', max_deliveries => 1000)";
    answered(session.try_query(sql, &[]))?;
    pause(&mut rng, 20..200);
    answered(session.try_query("SELECT tasker.unsubscribe('gone')", &[]))?;
    proof.ledger().count("subscriber removed");
    Ok(())
}

fn poll_what_goes(proof: &Proof, session: &mut Session) -> Result<(), Lost> {
    let mut rng = proof.rng();
    let polled = "SELECT event_id FROM tasker.poll_events('gone', 20)";
    for row in or_unknown(session.try_query(polled, &[]))? {
        let id: i64 = row.get(0);
        let done = "SELECT tasker.ack_events('gone', ARRAY[$1::bigint])";
        or_unknown(session.try_query(done, &[&id]))?;
    }
    pause(&mut rng, 5..30);
    Ok(())
}

/// The rows, or none if there is no such subscriber.
fn or_unknown(
    answer: Result<Vec<postgres::Row>, postgres::Error>,
) -> Result<Vec<postgres::Row>, Lost> {
    match answer {
        Err(error) if Failure::of(&error).is_some_and(|failure| failure.code == "P0002") => {
            Ok(vec![])
        }
        other => answered(other),
    }
}

/// A transaction in another database, open until the server is killed.
fn open_elsewhere(proof: &Proof, end: &End) {
    let Ok(mut session) = Session::try_open(proof.server.config("elsewhere", "postgres")) else {
        return;
    };
    let mut holds = run(&mut session, "BEGIN; SELECT pg_current_xact_id()");
    while holds.is_ok() && !end.has_come() {
        std::thread::sleep(Duration::from_millis(100));
        holds = run(&mut session, "SELECT 1");
    }
}

/// Each of them has done what it can, beside the three.
pub fn each_has_done_its_part(session: &mut Session, ledger: &Ledger) {
    // The handler gets the rest, and what has failed once more.
    session.execute("SET tasker.default_backoff_seconds = '1'");
    let began = Instant::now();
    let open =
        "SELECT (in_flight + waiting)::bigint FROM tasker.subscribers WHERE subscriber = 'poison'";
    while handle(session).expect("the server is there") > 0 || session.count(open, &[]) > 0 {
        assert!(began.elapsed() < patience(40), "the handler gets all");
        std::thread::sleep(Duration::from_millis(50));
    }
    let published: BTreeSet<i64> = everything(session, "proof.*")
        .into_values()
        .flatten()
        .collect();
    let (poisonous, good): (BTreeSet<i64>, BTreeSet<i64>) =
        published.into_iter().partition(|token| token % POISON == 0);
    assert!(!poisonous.is_empty());
    let dead: Vec<i64> = session.all(
        "SELECT (payload ->> 'token')::bigint FROM tasker.event_dead_letters WHERE subscriber = 'poison' ORDER BY 1",
        &[],
    );
    assert!(dead.iter().eq(&poisonous), "{dead:?} {poisonous:?}");
    let handled: Vec<i64> = session.all(
        "SELECT token FROM public.effects WHERE subscriber = 'poison' ORDER BY 1",
        &[],
    );
    assert!(handled.iter().eq(&good), "the handler had each event once");
    for name in ["slow", "lagging"] {
        let done = effects(session, name);
        assert!(
            done > 0 && done < effects(session, "whole"),
            "{name}: {done}"
        );
    }
    assert_eq!(effects(session, "paused"), 0);
    let missing: Vec<&str> = HAPPENED
        .into_iter()
        .filter(|what| !ledger.counts.contains_key(what))
        .collect();
    assert_eq!(missing, [""; 0], "never happened");
}

const HAPPENED: [&str; 10] = [
    "committed",
    "rolled back",
    "savepoint undone",
    "savepoint released",
    "work done",
    "work undone",
    "consumer killed before its commit",
    "consumer killed before its answer",
    "events failed",
    "subscriber removed",
];

/// Purge deletes what the subscriber has read, and nothing else, while it reads.
pub fn purge_next_to_a_lagging_subscriber(proof: &Proof, session: &mut Session) {
    for name in [
        "whole", "ordered", "apart", "slow", "paused", "poison", "gone",
    ] {
        session.query("SELECT tasker.unsubscribe($1)", &[&name]);
    }
    finish_all_tasks(session);
    let ids = everything(session, "step.*").into_keys().collect();
    let is_read = AtomicBool::new(false);
    let purged = std::thread::scope(|scope| {
        let purge = scope.spawn(|| {
            let mut session = proof.server.connect(PATTERN);
            let mut purged = 0;
            while !is_read.load(Ordering::Acquire) {
                purged += purge(&mut session);
            }
            purged
        });
        drain(proof, "lagging");
        is_read.store(true, Ordering::Release);
        purge.join().expect("purge ends")
    });
    assert!(purged > 10, "only {purged} tasks were purged meanwhile");
    has_each_event_once(session, "lagging", &ids);
    while purge(session) > 0 {}
    assert_eq!(session.count("SELECT count(*) FROM tasker.tasks", &[]), 0);
}

fn purge(session: &mut Session) -> i64 {
    session.one("SELECT tasks FROM tasker.purge_tasks('0', 20)", &[])
}

/// Workers that were killed may hold steps for a second.
fn finish_all_tasks(session: &mut Session) {
    let ask = Ask::by("last worker", 200);
    let began = Instant::now();
    let mut reports: Vec<Value> = vec![];
    loop {
        let (_, claims) = session.report_and_claim(&ask, &reports);
        reports = claims.iter().map(|claim| claim.done(json!({}))).collect();
        let open = "SELECT count(*) FROM tasker.tasks WHERE state IN ('pending', 'in_progress')";
        if reports.is_empty() && session.count(open, &[]) == 0 {
            return;
        }
        assert!(began.elapsed() < patience(30), "tasks do not end");
        if reports.is_empty() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
