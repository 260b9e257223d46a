//! Claims: handing out ready steps. A claim never waits for a lock; what others hold is left for the next one.

mod claimed;
mod entries;
mod start;
mod unfit;

use std::collections::HashMap;
use std::rc::Rc;

use pgrx::pg_sys;
use rustc_hash::FxHashSet;

use crate::error::Result;
use crate::orchestration::queue_entries::{self, Found, Search, Wanted};
use crate::orchestration::workers::Worker;
use crate::orchestration::{Engine, StepKey, clock, leases, operational};
use crate::pg::budget;
use crate::pg::call;
use crate::pg::datum;
use crate::pg::installation::Kept;
use crate::pg::spi::Statement;
use crate::registry::Template;
use entries::start;

pub use claimed::ClaimedSteps;

/// Which results come with a claimed step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependencies {
    None,
    Parents,
    Ancestors,
}

/// The request of a worker.
pub struct ClaimRequest {
    pub worker_id: String,
    pub namespaces: Vec<String>,
    pub queues: Option<Vec<String>>,
    pub handlers: Wanted,
    pub max_steps: usize,
    pub lease_us: i64,
    pub dependencies: Dependencies,
}

/// A step handed out.
pub struct Claimed {
    pub key: StepKey,
    pub template: Rc<Template>,
    pub claim_number: i32,
    pub attempt: i16,
    pub retry_limit: i16,
}

static QUEUE: Statement = Statement::new(
    "SELECT q.queue_id
     FROM tasker.task_namespaces n
     JOIN tasker_engine.queues q ON q.task_namespace_id = n.task_namespace_id AND q.name = $2
     WHERE n.name = $1",
    &[pg_sys::TEXTOID, pg_sys::TEXTOID],
);

/// How often stale or held entries may send a claim back to the queue before it returns fewer steps than asked;
/// each round reads more entries, so the last one passes some twenty thousand of them.
const MOST_ROUNDS: usize = 10;

const FURTHEST_ENTRY: usize = 4096;

const DEFAULT_QUEUE: &str = "default";

/// The id of a queue is looked up by name again after this time: another queue may have the name now.
const QUEUE_KEPT_US: i64 = 1_000_000;

static ROTATION: Kept<usize> = Kept::new();

/// With the tick of the look-up.
static QUEUES: Kept<HashMap<(String, String), (i32, i64)>> = Kept::new();

/// The new claim; it takes its number before its first step starts.
struct NewClaim<'a> {
    worker: &'a Worker,
    claim_id: i64,
    max: usize,
    steps: Vec<Claimed>,
}

/// Claims up to `max_steps` ready steps for the worker.
pub fn claim<'s>(
    engine: &mut Engine<'s>,
    worker: &Worker,
    request: &ClaimRequest,
) -> Result<ClaimedSteps<'s>> {
    let mut claim = NewClaim {
        worker,
        claim_id: 0,
        max: request.max_steps,
        steps: Vec::new(),
    };
    clock::heed(engine)?;
    leases::take_over_expired(engine, false)?;
    let closed = operational::current()?.closed();
    let open = closed.is_none();
    if open {
        gather(engine, request, &mut claim)?;
    }
    if claim.steps.len() < request.max_steps && leases::take_over_expired(engine, true)? && open {
        gather(engine, request, &mut claim)?;
    }
    let lease_expires_at = engine.now + request.lease_us;
    let mut claimed = ClaimedSteps::new(claim.steps, closed, engine.now, lease_expires_at);
    if !claimed.steps.is_empty() {
        let lease = leases::Lease {
            claim_id: claim.claim_id,
            worker_no: worker.no,
            expires_at: lease_expires_at,
            timeout_at: claimed.timeout_at()?,
        };
        let keys: Vec<StepKey> = claimed.steps.iter().map(|step| step.key).collect();
        leases::open_claim(engine, &lease, &keys)?;
        claimed.read_tasks(engine)?;
        if request.dependencies != Dependencies::None {
            claimed.read_results(engine, request.dependencies)?;
        }
        claimed.drop_unfit(engine, request.handlers != Wanted::Inside)?;
    }
    Ok(claimed)
}

/// Reads the queues in rotation, so that no namespace waits behind another forever.
fn gather(engine: &mut Engine, request: &ClaimRequest, claim: &mut NewClaim) -> Result<()> {
    // The walk must see what a take-over released.
    engine.queue_entries.flush(engine.now)?;
    let default = [DEFAULT_QUEUE.to_owned()];
    let names = request.queues.as_deref().unwrap_or(&default);
    if claim.steps.is_empty() && queue_entries::has_passed() {
        gather_passed(engine, request, names, claim)?;
    }
    let first = ROTATION.replace(ROTATION.get().wrapping_add(1));
    for turn in 0..request.namespaces.len() {
        let namespace = &request.namespaces[(first + turn) % request.namespaces.len()];
        for queue in names {
            budget::check_for_cancel();
            if claim.steps.len() >= claim.max {
                return Ok(());
            }
            if let Some(queue_id) = queue_id(engine, namespace, queue)? {
                gather_from(engine, queue_id, &request.handlers, claim)?;
            }
        }
    }
    Ok(())
}

/// Begins with a step that an earlier claim passed by. A step that is handed out alone would wait for a claim that finds nothing
/// before it.
fn gather_passed(
    engine: &mut Engine,
    request: &ClaimRequest,
    names: &[String],
    claim: &mut NewClaim,
) -> Result<()> {
    for namespace in &request.namespaces {
        for queue in names {
            budget::check_for_cancel();
            if claim.steps.len() >= claim.max || !queue_entries::has_passed() {
                return Ok(());
            }
            let Some(queue_id) = queue_id(engine, namespace, queue)? else {
                continue;
            };
            if queue_entries::is_open(engine.session, queue_id)? {
                let search = Search {
                    queue_id,
                    wanted: &request.handlers,
                    now: engine.now,
                };
                let (found, taken) = queue_entries::find_passed(engine.session, search)?;
                start(
                    engine,
                    search,
                    &found,
                    taken,
                    claim,
                    &mut FxHashSet::default(),
                )?;
            }
        }
    }
    Ok(())
}

fn queue_id(engine: &Engine, namespace: &str, queue: &str) -> Result<Option<i32>> {
    let name = (namespace.to_owned(), queue.to_owned());
    if let Some((id, since)) = QUEUES.with(|queues| queues.get(&name).copied())
        && call::tick() - since < QUEUE_KEPT_US
    {
        return Ok(Some(id));
    }
    let rows = engine
        .session
        .run(&QUEUE, &[datum::text(namespace), datum::text(queue)])?;
    let id: Option<i32> = rows.first().map(|row| row.get(1)).transpose()?;
    QUEUES.with(|queues| match id {
        Some(id) => queues.insert(name, (id, call::tick())),
        None => queues.remove(&name),
    });
    Ok(id)
}

fn gather_from(
    engine: &mut Engine,
    queue_id: i32,
    wanted: &Wanted,
    claim: &mut NewClaim,
) -> Result<()> {
    if !queue_entries::is_open(engine.session, queue_id)? {
        engine.queue_entries.emptied(queue_id, &Wanted::Any);
        return Ok(());
    }
    queue_entries::age(engine.session, queue_id, engine.now)?;
    let mut held: FxHashSet<StepKey> = FxHashSet::default();
    let search = Search {
        queue_id,
        wanted,
        now: engine.now,
    };
    let mut skip = queue_entries::held_at_head(search);
    for _ in 0..MOST_ROUNDS {
        let limit = claim.max - claim.steps.len() + skip;
        let (found, taken) = queue_entries::find(engine.session, search, limit, skip == 0)?;
        let exhausted = found.len() < limit;
        let mut rest: &[Found] = &found;
        let mut refused = 0;
        while claim.steps.len() < claim.max && !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(claim.max - claim.steps.len()));
            refused += start(engine, search, now, taken, claim, &mut held)?;
            rest = later;
        }
        if !held.is_empty() {
            queue_entries::remember_held(search, held.len());
        }
        if exhausted {
            engine.queue_entries.emptied(queue_id, wanted);
        }
        if exhausted || claim.steps.len() >= claim.max {
            break;
        }
        // The head of the queue is held or stale: read beyond it, farther in each round.
        skip = skip
            .max(refused)
            .max(held.len())
            .saturating_mul(4)
            .min(FURTHEST_ENTRY);
    }
    Ok(())
}
