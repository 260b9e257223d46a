//! Sessions whose transactions overlap, and end in any order or not at all; and workers.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use tasker_client_tests::kills::End;
use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Failure, Session, Uuid, Value, json};

use super::{Proof, pause};

/// What transactions have written.
#[derive(Default, Clone)]
pub struct Written {
    pub tokens: BTreeSet<i64>,
    pub tasks: BTreeSet<Uuid>,
}

impl Written {
    fn add(&mut self, other: Self) {
        self.tokens.extend(other.tokens);
        self.tasks.extend(other.tasks);
    }
}

/// What the server has answered.
#[derive(Default)]
pub struct Ledger {
    pub committed: Written,
    pub undone: Written,
    /// Transactions whose COMMIT was not answered.
    pub unanswered: Vec<Written>,
    /// Transactions of writers that have not ended.
    pub open: usize,
    last_token: i64,
    /// How often something has happened.
    pub counts: BTreeMap<&'static str, usize>,
}

impl Ledger {
    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn tokens(&mut self, count: usize) -> Vec<i64> {
        let first = self.last_token.max(1000) + 1;
        self.last_token = first + count as i64 - 1;
        (first..=self.last_token).collect()
    }
}

/// The connection is gone: whatever was open is undone.
#[derive(Debug)]
pub struct Lost;

/// The answer of a call that nothing refuses here, but for what a crash of the server says.
pub fn answered<T>(answer: Result<T, postgres::Error>) -> Result<T, Lost> {
    answer.map_err(|error| match Failure::of(&error) {
        Some(failure) if !failure.code.starts_with("57P0") => panic!("{failure}"),
        _ => Lost,
    })
}

pub fn run(session: &mut Session, sql: &str) -> Result<(), Lost> {
    answered(session.client().batch_execute(sql))
}

pub fn publish(session: &mut Session, tokens: &[i64], task: Option<Uuid>) -> Result<(), Lost> {
    let sql = "SELECT tasker.publish_events(array_agg('proof.' || t % 3), array_agg(jsonb_build_object('token', t)), array_agg($2::uuid))
               FROM unnest($1::bigint[]) t";
    answered(session.try_query(sql, &[&tokens, &task])).map(|_| ())
}

/// A transaction of a writer is open as long as this lives.
struct Open<'a, 's> {
    proof: &'a Proof<'s>,
    /// What is undone unless another thing is known.
    written: Written,
}

impl<'a, 's> Open<'a, 's> {
    fn new(proof: &'a Proof<'s>) -> Self {
        proof.ledger().open += 1;
        Self {
            proof,
            written: Written::default(),
        }
    }
}

impl Drop for Open<'_, '_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let written = std::mem::take(&mut self.written);
            let mut ledger = self.proof.ledger();
            ledger.open -= 1;
            ledger.undone.add(written);
        }
    }
}

pub fn write(proof: &Proof, mut session: Session, end: &End) {
    let mut rng = proof.rng();
    while !end.has_come() {
        if proof.has_enough() {
            pause(&mut rng, 20..40);
            continue;
        }
        if transaction(proof, &mut rng, &mut session).is_err() {
            return;
        }
    }
}

fn transaction(proof: &Proof, rng: &mut Rng, session: &mut Session) -> Result<(), Lost> {
    let mut open = Open::new(proof);
    run(session, "BEGIN")?;
    for _ in 0..rng.usize(1..5) {
        if rng.u8(..3) == 0 {
            run(session, "SAVEPOINT a")?;
            let mut inner = Written::default();
            let done = change(proof, rng, session, &mut inner);
            let undo = rng.bool();
            if undo || done.is_err() {
                proof.ledger().undone.add(inner);
            } else {
                open.written.add(inner);
            }
            done?;
            proof.ledger().count(if undo {
                "savepoint undone"
            } else {
                "savepoint released"
            });
            run(session, if undo { "ROLLBACK TO a" } else { "RELEASE a" })?;
        } else {
            change(proof, rng, session, &mut open.written)?;
        }
    }
    // One in a while stays open for long.
    let is_long = rng.u8(..30) == 0;
    pause(rng, if is_long { 500..1500 } else { 0..25 });
    match rng.u8(..20) {
        0..3 => {
            proof.ledger().count("rolled back");
            run(session, "ROLLBACK")
        }
        3 => {
            proof.ledger().count("writer lost");
            Err(Lost)
        }
        _ => {
            let done = run(session, "COMMIT");
            let written = std::mem::take(&mut open.written);
            let mut ledger = proof.ledger();
            match done {
                Ok(()) => ledger.committed.add(written),
                Err(Lost) => ledger.unanswered.push(written),
            }
            ledger.count("committed");
            drop(ledger);
            done
        }
    }
}

/// Publishes events or creates tasks, and perhaps waits.
fn change(
    proof: &Proof,
    rng: &mut Rng,
    session: &mut Session,
    written: &mut Written,
) -> Result<(), Lost> {
    let mut task = None;
    if rng.u8(..3) == 0 {
        let contexts = vec![json!({}); rng.usize(1..3)];
        let rows =
            answered(session.try_query("SELECT tasker.create_tasks('fan', $1)", &[&contexts]))?;
        written
            .tasks
            .extend(rows.iter().map(|row| row.get::<_, Uuid>(0)));
        task = written.tasks.iter().next_back().copied();
    }
    let tokens = proof.ledger().tokens(rng.usize(1..16));
    written.tokens.extend(&tokens);
    publish(session, &tokens, task)?;
    if rng.u8(..3) == 0 {
        pause(rng, 0..8);
    }
    Ok(())
}

/// Works on tasks, in transactions of which some are undone.
pub fn work(proof: &Proof, mut session: Session, end: &End) {
    let mut rng = proof.rng();
    let name = format!("worker {}", rng.u32(..));
    let ask = Ask {
        lease: "1 second",
        ..Ask::by(&name, 8)
    };
    while !end.has_come() {
        if proof.has_enough() {
            pause(&mut rng, 20..40);
        } else if work_on(proof, &mut rng, &mut session, &ask).is_err() {
            return;
        }
    }
}

fn work_on(proof: &Proof, rng: &mut Rng, session: &mut Session, ask: &Ask) -> Result<(), Lost> {
    let _open = Open::new(proof);
    run(session, "BEGIN")?;
    let (_, claims) = answered(session.try_report_and_claim(ask, &[]))?;
    let is_idle = claims.is_empty();
    let reports: Vec<Value> = claims
        .iter()
        .map(|claim| match rng.u8(..12) {
            0 => claim.failed(true),
            _ => claim.done(json!({})),
        })
        .collect();
    pause(rng, 0..10);
    let nothing = Ask {
        namespaces: vec![],
        ..ask.clone()
    };
    answered(session.try_report_and_claim(&nothing, &reports))?;
    let undo = rng.u8(..8) == 0;
    if !is_idle {
        proof
            .ledger()
            .count(if undo { "work undone" } else { "work done" });
    }
    run(session, if undo { "ROLLBACK" } else { "COMMIT" })?;
    if is_idle {
        pause(rng, 5..20);
    }
    Ok(())
}
