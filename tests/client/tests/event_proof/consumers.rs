//! Consumers: an effect and the acknowledgement in one transaction. Some die between the poll and that, some fail.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tasker_client_tests::database::PATTERN;
use tasker_client_tests::kills::End;
use tasker_client_tests::{Session, Uuid, Value};

use super::writers::{Lost, answered, run};
use super::{CONSUMERS, Proof, SUBSCRIBERS, pause};

/// The consumer that has events of a task of the ordered subscriber, and until when at least.
pub type Holds = HashMap<Uuid, (usize, Instant)>;

pub type Consumer<'p> = Box<dyn Fn(Session, &End) + Sync + 'p>;

/// Eight consumers of each of the three subscribers.
pub fn all<'p>(proof: &'p Proof) -> Vec<Consumer<'p>> {
    let consumer = |subscriber, number| -> Consumer {
        Box::new(move |session, end| consume(proof, subscriber, number, session, end))
    };
    let of = |name: &&'static str| {
        let name: &'static str = name;
        (0..CONSUMERS).map(move |number| consumer(name, number))
    };
    SUBSCRIBERS.iter().flat_map(of).collect()
}

fn consume(
    proof: &Proof,
    subscriber: &'static str,
    number: usize,
    mut session: Session,
    end: &End,
) {
    let mut rng = proof.rng();
    session.execute("SET lock_timeout = '20s'");
    while !end.has_come() {
        let turn = match subscriber {
            "whole" => whole(proof, &mut rng, &mut session, subscriber),
            _ => apart(proof, &mut rng, &mut session, subscriber, number),
        };
        match turn {
            Ok(true) => {}
            Ok(false) => pause(&mut rng, 20..60),
            Err(Lost) => return,
        }
    }
}

/// Poll, effect and acknowledgement in one transaction. Returns whether there was anything.
pub fn whole(
    proof: &Proof,
    rng: &mut Rng,
    session: &mut Session,
    subscriber: &str,
) -> Result<bool, Lost> {
    run(session, "BEGIN")?;
    let rows = answered(session.try_query(
        "WITH polled AS (SELECT * FROM tasker.poll_events($1, $2, '2 seconds')),
              done AS (INSERT INTO public.effects (subscriber, event_id, name, task, step, token, payload)
                       SELECT $1, event_id, name, task_uuid, step_uuid, (payload ->> 'token')::bigint, payload FROM polled)
         SELECT tasker.ack_events($1, array_agg(event_id)), count(*)::integer FROM polled HAVING count(*) > 0",
        &[&subscriber, &rng.i32(50..500)],
    ))?;
    if let Some(row) = rows.first() {
        assert_eq!(row.get::<_, i32>(0), row.get::<_, i32>(1), "acknowledged");
    }
    match rng.u8(..20) {
        0 if !rows.is_empty() => {
            proof.ledger().count("consumer killed before its commit");
            return Err(Lost);
        }
        1 | 2 => run(session, "ROLLBACK")?,
        _ => run(session, "COMMIT")?,
    }
    Ok(!rows.is_empty())
}

/// One consumer gets the rest.
pub fn drain(proof: &Proof, subscriber: &str) {
    let (mut session, mut rng) = (proof.server.connect(PATTERN), proof.rng());
    let mut empty = 0;
    while empty < 3 {
        match whole(proof, &mut rng, &mut session, subscriber) {
            Ok(more) => empty = if more { 0 } else { empty + 1 },
            Err(Lost) => session = proof.server.connect(PATTERN),
        }
    }
}

const LEASE: Duration = Duration::from_secs(2);

/// An event as a consumer gets it.
struct Got {
    id: i64,
    task: Option<Uuid>,
}

/// A poll, and then effect and acknowledgement in another transaction.
fn apart(
    proof: &Proof,
    rng: &mut Rng,
    session: &mut Session,
    subscriber: &'static str,
    number: usize,
) -> Result<bool, Lost> {
    let polled_at = Instant::now();
    let rows = answered(session.try_query(
        "SELECT event_id, task_uuid, name, step_uuid, payload FROM tasker.poll_events($1, $2, '2 seconds', $3)",
        &[&subscriber, &rng.i32(20..250), &format!("consumer {number}")],
    ))?;
    if rows.is_empty() {
        return Ok(false);
    }
    let got: Vec<Got> = rows
        .iter()
        .map(|row| Got {
            id: row.get(0),
            task: row.get(1),
        })
        .collect();
    let is_ordered = subscriber == "ordered";
    if is_ordered {
        hold(proof, number, &got, polled_at + LEASE);
    }
    if rng.u8(..3) == 0 {
        pause(rng, 0..20);
    }
    let failing = match rng.u8(..16) {
        0 => {
            proof.ledger().count("consumer killed before its answer");
            return Err(Lost);
        }
        1 => {
            proof.ledger().count("events failed");
            rng.usize(..got.len())
        }
        _ => got.len(),
    };
    if is_ordered {
        let mut holds = proof.holds.lock().expect("no panic");
        holds.retain(|_, (holder, _)| *holder != number);
    }
    let ids: Vec<i64> = got.iter().map(|event| event.id).collect();
    let (good, bad) = ids.split_at(failing);
    acknowledge(proof, session, subscriber, &rows, good)?;
    if !bad.is_empty() {
        answered(session.try_query(
            "SELECT tasker.nack_events($1, $2, '0', 'not now')",
            &[&subscriber, &bad],
        ))?;
    }
    Ok(true)
}

fn acknowledge(
    proof: &Proof,
    session: &mut Session,
    subscriber: &str,
    rows: &[postgres::Row],
    ids: &[i64],
) -> Result<(), Lost> {
    run(session, "BEGIN")?;
    let answer =
        answered(session.try_query("SELECT tasker.ack_events($1, $2)", &[&subscriber, &ids]))?;
    // Another consumer has got one of them since, and has acknowledged it.
    if answer[0].get::<_, i32>(0) < ids.len() as i32 {
        proof.ledger().count("too late");
        return run(session, "ROLLBACK");
    }
    let rows = &rows[..ids.len()];
    let names: Vec<&str> = rows.iter().map(|row| row.get(2)).collect();
    let tasks: Vec<Option<Uuid>> = rows.iter().map(|row| row.get(1)).collect();
    let steps: Vec<Option<Uuid>> = rows.iter().map(|row| row.get(3)).collect();
    let payloads: Vec<Value> = rows.iter().map(|row| row.get(4)).collect();
    answered(session.try_query(
        "INSERT INTO public.effects (subscriber, event_id, name, task, step, token, payload)
         SELECT $1, u.id, u.name, u.task, u.step, (u.payload ->> 'token')::bigint, u.payload
         FROM unnest($2::bigint[], $3::text[], $4::uuid[], $5::uuid[], $6::jsonb[]) WITH ORDINALITY AS u (id, name, task, step, payload, no)
         ORDER BY u.no",
        &[&subscriber, &ids, &names, &tasks, &steps, &payloads],
    ))?;
    run(session, "COMMIT")
}

/// The events of one task go to one consumer at a time.
fn hold(proof: &Proof, number: usize, got: &[Got], until: Instant) {
    let mut holds = proof.holds.lock().expect("no panic");
    for event in got {
        // An event of no task is alone.
        let Some(task) = event.task else { continue };
        let before = holds.insert(task, (number, until));
        if let Some((holder, until)) = before {
            let is_over = holder == number || Instant::now() >= until;
            assert!(
                is_over,
                "consumers {holder} and {number} have events of task {task} at a time"
            );
        }
    }
}
