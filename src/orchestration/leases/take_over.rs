//! Taking steps from leases that have ended, and steps that have run too long.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use pgrx::pg_sys;
use tasker_rules::engine::readiness::unless_held;
use tasker_rules::engine::retry::{self, Attempts};
use tasker_rules::events::failure::{Failure, Next};

use super::{CLOSE, due, key_args, step_keys};
use crate::error::Result;
use crate::orchestration::queue_entries::Entry;
use crate::orchestration::{Engine, StepKey, audit, finalize, propagate};
use crate::pg::datum::{self, Timestamp, Uuid};
use crate::pg::spi::{Row, Statement};
use crate::pg::subtransaction;
use crate::registry;

static LOCK_CLAIMS: Statement = Statement::new(
    "SELECT c.claim_id, c.claimed_at, c.worker_no, c.task_uuids, c.step_nos, c.begun
     FROM tasker_engine.claims c
     WHERE c.claim_id = ANY ($1)
     FOR UPDATE SKIP LOCKED",
    &[pg_sys::INT8ARRAYOID],
);

/// The steps that a claim still holds; locked ones of others are left out.
static LOCK_HELD: Statement = Statement::new(
    "SELECT s.task_uuid, s.step_no, s.named_task_id, s.attempts, s.retry_limit, s.retryable, s.priority,
            s.available_at, s.run_id, s.claim_number
     FROM unnest($1, $2) AS u (task_uuid, step_no)
     JOIN tasker_engine.steps s ON s.task_uuid = u.task_uuid AND s.step_no = u.step_no
     WHERE s.state = 'i' AND s.claim_id = $3
     FOR UPDATE OF s SKIP LOCKED",
    &[pg_sys::UUIDARRAYOID, pg_sys::INT2ARRAYOID, pg_sys::INT8OID],
);

static READ_HELD: Statement = Statement::new(
    "SELECT s.task_uuid, s.step_no, s.named_task_id
     FROM unnest($1, $2) AS u (task_uuid, step_no)
     JOIN tasker_engine.steps s ON s.task_uuid = u.task_uuid AND s.step_no = u.step_no
     WHERE s.state = 'i' AND s.claim_id = $3",
    &[pg_sys::UUIDARRAYOID, pg_sys::INT2ARRAYOID, pg_sys::INT8OID],
);

static EXPIRE_STEPS: Statement = Statement::new(
    "UPDATE tasker_engine.steps s
     SET state = 'e', claim_id = NULL, available_at = u.available_at, attempts = u.attempts,
         results = jsonb_build_object('error_message', u.message, 'error_class', u.class)
     FROM unnest($1, $2, $3, $4, $5, $6) AS u (task_uuid, step_no, available_at, message, class, attempts)
     WHERE s.task_uuid = u.task_uuid AND s.step_no = u.step_no",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::TIMESTAMPTZARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::INT2ARRAYOID,
    ],
);

static TRY_LOCK_DESCENDANTS: Statement = Statement::new(
    "SELECT FROM unnest($1, $2) AS u (task_uuid, step_no)
     JOIN tasker_engine.steps s ON s.task_uuid = ANY (ARRAY[u.task_uuid]) AND s.step_no = u.step_no
     FOR UPDATE OF s SKIP LOCKED",
    &[pg_sys::UUIDARRAYOID, pg_sys::INT2ARRAYOID],
);

static TRY_LOCK_TASK: Statement = Statement::new(
    "SELECT FROM tasker_engine.tasks t WHERE t.task_uuid = $1 FOR UPDATE SKIP LOCKED",
    &[pg_sys::UUIDOID],
);

/// For a lease that lost all its steps: it stays for a while, so that the heartbeat of a slow worker learns of it.
static KEEP_TO_TELL: Statement = Statement::new(
    "UPDATE tasker_engine.claims c SET lease_expires_at = $2, timeout_at = NULL, remaining = 0 WHERE c.claim_id = $1",
    &[pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID],
);

/// For a lease that continues with fewer steps.
static GOES_ON: Statement = Statement::new(
    "UPDATE tasker_engine.claims c SET timeout_at = $2, remaining = c.remaining - $3 WHERE c.claim_id = $1",
    &[pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID, pg_sys::INT4OID],
);

/// The error class of a step that is lost together with what its template says about it.
const UNREADABLE: &str = "TemplateUnreadable";

/// How long a claim whose steps were taken over can still tell its worker.
const TELL_LOST_US: i64 = 600_000_000;

/// Takes over the steps of leases that have ended (error class LeaseExpired, no backoff) and steps that have run too long
/// (class Timeout, with the backoff of a failure): ready again, or failed permanently. Never waits; steps that another session holds are
/// left for a later claim. An error leaves the claim that it is about, and the call goes on. With `idle` this call searches even if the
/// last search was a moment ago. Returns whether anything was taken over.
pub fn take_over_expired(engine: &mut Engine, idle: bool) -> Result<bool> {
    let mut claims = due::lock_due(engine, idle)?;
    let Some(last) = claims.last().map(|claim| claim.claim_id) else {
        return Ok(false);
    };
    while !claims.is_empty() {
        let before = engine.collected();
        let mut at = 0;
        // One subtransaction for all of them: it begins again only where something fails that could not be foreseen.
        let taken = subtransaction::attempt(|| {
            let mut any = false;
            for (index, claim) in claims.iter().enumerate() {
                at = index;
                any |= expire(engine, claim)?;
            }
            Ok(any)
        });
        match taken {
            Ok(true) => return Ok(true),
            Ok(false) => break,
            Err(problem) => {
                engine.forget_since(before);
                due::hold_back(engine, claims.remove(at).claim_id, &problem);
            }
        }
    }
    due::go_on_behind(last);
    Ok(false)
}

/// Takes these steps from their claims as if the lease had ended. Steps that another session has locked stay. A key counts only with the
/// claim that it is given for.
pub fn take_over(engine: &mut Engine, wanted: &BTreeMap<i64, BTreeSet<StepKey>>) -> Result<()> {
    let claims = engine
        .session
        .run(&LOCK_CLAIMS, &[datum::int8s(wanted.keys().copied())])?;
    for row in claims.iter() {
        let of_claim = wanted.get(&row.get(1)?).cloned().unwrap_or_default();
        expire(engine, &Expired::of(&row, Why::Forced(of_claim))?)?;
    }
    Ok(())
}

/// Why steps are taken from a claim.
pub(super) enum Why {
    /// The lease has ended.
    Ended,
    /// The timeout of one of its steps has come.
    TimedOut,
    /// An operator takes these steps.
    Forced(BTreeSet<StepKey>),
}

pub(super) struct Expired {
    pub(super) claim_id: i64,
    claimed_at: Timestamp,
    worker_no: i32,
    keys: Vec<StepKey>,
    /// What the worker has said that it has begun.
    begun: Option<BTreeSet<Uuid>>,
    why: Why,
}

impl Expired {
    /// A row of the search for claims that are due.
    pub(super) fn ended(row: &Row) -> Result<Self> {
        let why = if row.get(7)? {
            Why::Ended
        } else {
            Why::TimedOut
        };
        Self::of(row, why)
    }

    fn of(row: &Row, why: Why) -> Result<Self> {
        Ok(Self {
            claim_id: row.get(1)?,
            claimed_at: row.get(2)?,
            worker_no: row.get(3)?,
            keys: step_keys(row, 4, 5)?,
            begun: row.opt::<Vec<Uuid>>(6).map(BTreeSet::from_iter),
            why,
        })
    }
}

impl Expired {
    /// Whether the run of the step counts: a claim of one step has begun, of others the worker says so. While its lease goes on, a
    /// worker that says nothing is taken to have begun all.
    fn has_begun(&self, key: StepKey) -> bool {
        match &self.begun {
            _ if self.keys.len() == 1 => true,
            Some(begun) => begun.contains(&key.uuid()),
            None => matches!(self.why, Why::TimedOut),
        }
    }
}

/// A step that is taken away from its worker, and why.
struct Taken {
    key: StepKey,
    message: String,
    class: &'static str,
    /// Only runs that count.
    attempts: Attempts,
    retry_at: Option<Timestamp>,
    /// What decided about the delay.
    backoff: Option<&'static str>,
}

#[derive(Default)]
struct TakenOver {
    steps: Vec<Taken>,
    lost: Lost,
}

fn expire(engine: &mut Engine, expired: &Expired) -> Result<bool> {
    let mut held = held_steps(engine, expired)?;
    let now = engine.now;
    let late = |timeout_at: &Option<Timestamp>| timeout_at.is_some_and(|at| at <= now);
    let due: Vec<StepKey> = held
        .iter()
        .filter(|(key, timeout_at)| match &expired.why {
            Why::Ended => true,
            Why::TimedOut => late(timeout_at),
            Why::Forced(steps) => steps.contains(key),
        })
        .map(|(key, _)| *key)
        .collect();
    let mut taken = TakenOver::default();
    if !due.is_empty() {
        let mut tasks = finalize::Tasks::default();
        for row in engine
            .session
            .run(&LOCK_HELD, &held_args(&due, expired))?
            .iter()
        {
            let key = StepKey {
                task: row.get(1)?,
                no: row.get(2)?,
            };
            let timed_out =
                !matches!(expired.why, Why::Forced(_)) && held.get(&key).is_some_and(late);
            take(engine, expired, &row, timed_out, &mut taken, &mut tasks)?;
        }
        taken.write(engine)?;
        if !taken.steps.is_empty() {
            tasks.settle(engine)?;
        }
    }
    for step in &taken.steps {
        held.remove(&step.key);
    }
    write_claim(engine, expired, taken.steps.len(), due.is_empty(), &held)?;
    Ok(!taken.steps.is_empty())
}

fn held_args(keys: &[StepKey], expired: &Expired) -> [datum::Arg<'static>; 3] {
    let [tasks, numbers] = key_args(keys);
    [tasks, numbers, datum::int8(expired.claim_id)]
}

/// The steps that the claim still holds, and when each has run too long.
fn held_steps(engine: &Engine, expired: &Expired) -> Result<BTreeMap<StepKey, Option<Timestamp>>> {
    let mut held = BTreeMap::new();
    for row in engine
        .session
        .run(&READ_HELD, &held_args(&expired.keys, expired))?
        .iter()
    {
        let (task, no) = (row.get(1)?, row.get(2)?);
        // What cannot be read has no timeout; its lease ends.
        let timeout = registry::get(engine.session, row.get(3)?)
            .and_then(|template| Ok(template.step(no)?.timeout_us))
            .unwrap_or_default();
        held.insert(
            StepKey { task, no },
            timeout.map(|timeout| expired.claimed_at + timeout),
        );
    }
    Ok(held)
}

/// A run that is taken away.
struct Ending {
    template: i32,
    key: audit::RunKey,
    attempt: i16,
}

impl TakenOver {
    /// Logs it.
    fn add(&mut self, engine: &mut Engine, expired: &Expired, run: Ending, taken: Taken) {
        let metadata = audit::failure(&Failure {
            message: &taken.message,
            class: Some(taken.class),
            attempts: taken.attempts,
            next: Next::of(engine.now, taken.retry_at),
            backoff: taken.backoff,
            expired: true,
            backtrace: vec![],
        });
        let of = audit::Run {
            worker_no: expired.worker_no,
            started_at: expired.claimed_at,
        };
        engine
            .log
            .lost(run.template, taken.key, run.key, of, run.attempt, metadata);
        self.steps.push(taken);
    }

    fn write(&self, engine: &Engine) -> Result<()> {
        if self.steps.is_empty() {
            return Ok(());
        }
        let steps = || self.steps.iter();
        let [tasks, numbers] = key_args(&steps().map(|step| step.key).collect::<Vec<_>>());
        engine.session.run(
            &EXPIRE_STEPS,
            &[
                tasks,
                numbers,
                datum::timestamps(steps().map(|step| step.retry_at)),
                datum::texts(steps().map(|step| Some(step.message.as_str()))),
                datum::texts(steps().map(|step| Some(step.class))),
                datum::int2s(steps().map(|step| step.attempts.made)),
            ],
        )?;
        Ok(())
    }
}

/// Deletes the claim, or keeps it for the steps that it still holds.
fn write_claim(
    engine: &Engine,
    expired: &Expired,
    taken: usize,
    nothing_due: bool,
    held: &BTreeMap<StepKey, Option<Timestamp>>,
) -> Result<()> {
    let claim_id = datum::int8(expired.claim_id);
    match (taken, held.is_empty()) {
        (0, true) => {
            let claims = datum::int8s([expired.claim_id]);
            engine.session.run(&CLOSE, &[claims])?;
        }
        (_, true) => {
            let until = datum::timestamp(engine.now + TELL_LOST_US);
            engine.session.run(&KEEP_TO_TELL, &[claim_id, until])?;
        }
        // Another session holds due steps. They stay due, and a check that changes nothing writes nothing.
        (0, false) if !nothing_due => {}
        (count, false) => {
            let next = held.values().flatten().min().copied();
            engine.session.run(
                &GOES_ON,
                &[
                    claim_id,
                    datum::opt(next, datum::timestamp),
                    datum::int4(count as i32),
                ],
            )?;
        }
    }
    Ok(())
}

/// Takes one locked step away from its worker.
fn take(
    engine: &mut Engine,
    expired: &Expired,
    row: &Row,
    timed_out: bool,
    taken: &mut TakenOver,
    tasks: &mut finalize::Tasks,
) -> Result<()> {
    let key = StepKey {
        task: row.get(1)?,
        no: row.get(2)?,
    };
    let attempts = Attempts {
        made: row.get(4)?,
        limit: row.get(5)?,
        retryable: row.get(6)?,
    };
    let template = registry::get_readable(engine.session, row.get(3)?);
    let step = template
        .as_ref()
        .map_err(Clone::clone)
        .and_then(|template| Ok((template, template.step(key.no)?)));
    let run = Ending {
        template: row.get(3)?,
        key: audit::RunKey {
            id: row.opt(9),
            claim_number: row.get(10)?,
        },
        attempt: attempts.made,
    };
    let (step, descendants) = match step {
        Ok((template, step)) => {
            let begun = expired.has_begun(key);
            let timed_out = timed_out && begun;
            let (message, class) = why(expired, begun, step.timeout_us.filter(|_| timed_out));
            let (attempts, retry_at) = if timed_out {
                let retry_at = engine.retry_after_failure(attempts, &step.backoff, None);
                (attempts, retry_at)
            } else {
                // As old as the lost claim, so the step comes before steps that were released since.
                retry::after_lost_lease(attempts, begun, expired.claimed_at)
            };
            let away = Taken {
                key,
                message,
                class,
                attempts,
                // Of a task that has ended in error nothing starts again.
                retry_at: unless_held(row.opt(8), retry_at),
                backoff: timed_out.then(|| step.backoff.name()),
            };
            if let Some(available_at) = away.retry_at {
                let entry = Entry::of(template, key, row.get(7)?, available_at)?;
                engine.queue_entries.push(entry);
                taken.add(engine, expired, run, away);
                return Ok(());
            }
            let descendants = taken.lost.descendants(engine, key, template)?;
            (away, descendants)
        }
        // Its template cannot be read, or lacks the step: without it no claim could hand it out again.
        Err(problem) => {
            let (message, _) = why(expired, true, None);
            let away = Taken {
                key,
                message: format!("{message}, and cannot run again: {}", problem.message),
                class: UNREADABLE,
                attempts,
                retry_at: None,
                backoff: None,
            };
            let descendants = propagate::made_unreachable_by_rows(engine, key, row.get(3)?)?;
            (away, descendants)
        }
    };
    if taken
        .lost
        .mark_without_waiting(engine, key.task, &descendants)?
    {
        tasks.trouble(key.task);
        taken.add(engine, expired, run, step);
    }
    Ok(())
}

/// The message and the class of the error with which a step is taken away; `timeout` if it has run longer than that.
fn why(expired: &Expired, begun: bool, timeout: Option<i64>) -> (String, &'static str) {
    if let Some(timeout) = timeout {
        let seconds = timeout / 1_000_000;
        let message = format!("the step ran longer than its timeout of {seconds} s");
        return (message, "Timeout");
    }
    let message = match expired.why {
        _ if !begun => "the worker lost the step before it had begun",
        Why::Forced(_) => "an operator took the step from its worker before it was reported",
        _ => "the lease ended before the step was reported",
    };
    (message.to_owned(), "LeaseExpired")
}

static SET_UNREACHABLE: Statement = Statement::new(
    "UPDATE tasker_engine.steps s SET unreachable = true
     FROM unnest($1, $2) AS u (task_uuid, step_no)
     WHERE s.task_uuid = ANY (ARRAY[u.task_uuid]) AND s.step_no = u.step_no AND NOT s.unreachable",
    &[pg_sys::UUIDARRAYOID, pg_sys::INT2ARRAYOID],
);

/// What the steps of one claim that fail permanently have in common: each fact about a task is read, and each row locked, once.
#[derive(Default)]
struct Lost {
    resolved: BTreeMap<Uuid, BTreeSet<i16>>,
    /// Locked tasks.
    tasks: BTreeSet<Uuid>,
    /// Locked steps that are marked as unreachable.
    steps: BTreeSet<StepKey>,
}

impl Lost {
    /// The steps that cannot complete without this one. Steps that an operator has resolved need no parent any more.
    fn descendants(
        &mut self,
        engine: &Engine,
        key: StepKey,
        template: &registry::Template,
    ) -> Result<Vec<i16>> {
        if let btree_map::Entry::Vacant(unread) = self.resolved.entry(key.task) {
            unread.insert(propagate::resolved_steps(engine, key.task)?);
        }
        Ok(template.descendants(&[key.no], &self.resolved[&key.task]))
    }

    /// Marks the descendants of a step that failed permanently as unreachable, if no other session holds them or the task.
    fn mark_without_waiting(
        &mut self,
        engine: &Engine,
        task: Uuid,
        descendants: &[i16],
    ) -> Result<bool> {
        let fresh: Vec<StepKey> = descendants
            .iter()
            .map(|no| StepKey { task, no: *no })
            .filter(|step| !self.steps.contains(step))
            .collect();
        let session = engine.session;
        if !fresh.is_empty()
            && session.run(&TRY_LOCK_DESCENDANTS, &key_args(&fresh))?.len() < fresh.len()
        {
            return Ok(false);
        }
        if !self.tasks.contains(&task) {
            if session
                .run(&TRY_LOCK_TASK, &[datum::uuid(&task)])?
                .is_empty()
            {
                return Ok(false);
            }
            self.tasks.insert(task);
        }
        if !fresh.is_empty() {
            session.run(&SET_UNREACHABLE, &key_args(&fresh))?;
            self.steps.extend(fresh);
        }
        Ok(true)
    }
}
