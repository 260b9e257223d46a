//! The duty `scaling` and `tasker.validate_resources`: rows in, the rules of `tasker_rules::operations::scaling`, rows out.

use std::collections::{BTreeMap, HashMap};

use pgrx::pg_sys;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tasker_rules::operations::scaling::forecast::{self, Usual};
use tasker_rules::operations::scaling::resources::{self, PoolLimits, Server};
use tasker_rules::operations::scaling::{
    Bound, Load, Memory, Outcome, Recorded, Settings, evaluate,
};

use crate::error::{Error, Result};
use crate::pg::call::{self, Call, Output};
use crate::pg::datum::{self, Jsonb};
use crate::pg::installation::Kept;
use crate::pg::spi::{Session, Statement};
use crate::settings;

crate::pg::call::sql_function! {
    duty_scaling;
    validate_resources;
}

/// One document per pool. While the system hands out no work, no pool is due, because waiting steps need no executor.
static POOLS: Statement = Statement::new(
    "SELECT jsonb_build_object(
         'name', s.name,
         'settings', jsonb_build_object(
             'min', s.min_executors, 'max', s.max_executors, 'target', s.target_utilization,
             'interval', extract(epoch FROM s.scaling_interval), 'cooldown', extract(epoch FROM s.scaling_cooldown),
             'season', CASE WHEN s.predictive THEN extract(epoch FROM s.season) END),
         'enabled', s.enabled,
         'due', s.enabled AND c.hands_out AND (t.evaluated_at IS NULL OR t.evaluated_at > c.now
             OR t.evaluated_at + s.scaling_interval <= c.now),
         'desired', COALESCE(t.desired, s.min_executors),
         'changed_at', extract(epoch FROM t.changed_at),
         'memory', t.memory)
     FROM tasker_engine.pool_settings() s
     CROSS JOIN (
         SELECT clock_timestamp() AS now, r.hands_out_work AS hands_out
         FROM tasker_engine.operational_rules() r
         WHERE r.state = tasker.operational_state()) c
     LEFT JOIN tasker_engine.pool_targets t ON t.pool = s.name",
    &[],
);

static LOAD: Statement = Statement::new("SELECT tasker_engine.pool_load($1)", &[pg_sys::TEXTOID]);

static SERVER: Statement = Statement::new("SELECT tasker_engine.server_resources()", &[]);

static RECORDED: Statement = Statement::new(
    "SELECT jsonb_build_object(
         'since', (SELECT min(a.minute) FROM tasker_engine.pool_arrivals a WHERE a.pool = $1),
         'records', COALESCE((
             SELECT jsonb_agg(jsonb_build_object('minute', a.minute, 'arrivals', a.arrivals))
             FROM unnest($2, $3) AS s (first, last)
             JOIN tasker_engine.pool_arrivals a
                 ON a.pool = $1 AND a.minute BETWEEN s.first AND s.last), '[]'))",
    &[pg_sys::TEXTOID, pg_sys::INT8ARRAYOID, pg_sys::INT8ARRAYOID],
);

static REMEMBER: Statement = Statement::new(
    "INSERT INTO tasker_engine.pool_targets AS t (pool, desired, changed_at, evaluated_at, memory)
     VALUES ($1, $2, CASE WHEN $3 THEN to_timestamp($4) END, to_timestamp($4), $5)
     ON CONFLICT ON CONSTRAINT pool_targets_pkey DO UPDATE
     SET desired = excluded.desired, changed_at = COALESCE(excluded.changed_at, t.changed_at),
         evaluated_at = excluded.evaluated_at, memory = excluded.memory",
    &[
        pg_sys::TEXTOID,
        pg_sys::INT4OID,
        pg_sys::BOOLOID,
        pg_sys::FLOAT8OID,
        pg_sys::JSONBOID,
    ],
);

static DECIDED: Statement = Statement::new(
    "INSERT INTO tasker_engine.scaling_decisions (decided_at, pool, from_executors, to_executors, rule, reason, inputs)
     VALUES (to_timestamp($2), $1, $3, $4, $5, $6, $7)",
    &[
        pg_sys::TEXTOID,
        pg_sys::FLOAT8OID,
        pg_sys::INT4OID,
        pg_sys::INT4OID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::JSONBOID,
    ],
);

static FORGET_DECISIONS: Statement = Statement::new(
    "DELETE FROM tasker_engine.scaling_decisions d
     WHERE d.decided_at < (clock_timestamp() - interval '30 days')
        OR d.pool = $1 AND d.id <= (
            SELECT o.id FROM tasker_engine.scaling_decisions o WHERE o.pool = $1
            ORDER BY o.id DESC OFFSET 1000 LIMIT 1)",
    &[pg_sys::TEXTOID],
);

static RECORD: Statement = Statement::new(
    "INSERT INTO tasker_engine.pool_arrivals AS a (pool, minute, arrivals) VALUES ($1, $2, $3)
     ON CONFLICT ON CONSTRAINT pool_arrivals_pkey DO UPDATE SET arrivals = a.arrivals + excluded.arrivals",
    &[pg_sys::TEXTOID, pg_sys::INT8OID, pg_sys::INT8OID],
);

static FORGET_ARRIVALS: Statement = Statement::new(
    "DELETE FROM tasker_engine.pool_arrivals a
     WHERE a.pool = $1 AND a.minute < $2",
    &[pg_sys::TEXTOID, pg_sys::INT8OID],
);

/// Evaluations of a pool take at most a fiftieth of the time: after two long ones in a row the pool rests. They are long when the
/// count of due entries walks over dead ones that vacuum cannot remove yet.
const SHARE: i64 = 50;
/// An evaluation up to this many microseconds is short.
const SHORT_EVALUATION: i64 = 30_000;

/// Pools whose last evaluation was long, and the tick until which they rest.
static REST: Kept<HashMap<String, i64>> = Kept::new();

#[derive(Deserialize)]
struct Pool {
    name: String,
    enabled: bool,
    due: bool,
    desired: u32,
    changed_at: Option<f64>,
    memory: Option<Memory>,
    settings: Settings,
}

#[derive(Deserialize)]
struct History {
    since: Option<i64>,
    records: Vec<Recorded>,
}

#[derive(Deserialize)]
struct Slots {
    max_worker_processes: u32,
    max_connections: u32,
    max_parallel_per_gather: u32,
    own_processes: u32,
    executors_elsewhere: u32,
    #[serde(default)]
    held_by_server: u32,
    #[serde(default)]
    waiting: Vec<String>,
}

/// Reads a jsonb that this file has written.
fn read<T: DeserializeOwned>(jsonb: Jsonb) -> Result<T> {
    serde_json::from_str(&datum::jsonb_text(jsonb))
        .map_err(|error| Error::corrupt(format!("a document of scaling cannot be read: {error}")))
}

fn document(value: &impl serde::Serialize) -> Result<datum::Arg<'static>> {
    serde_json::to_string(value)
        .ok()
        .and_then(|text| datum::jsonb_from_text(&text))
        .map(datum::Jsonb::arg)
        .ok_or_else(|| Error::corrupt("a document of scaling cannot be written"))
}

fn pools(session: &Session) -> Result<Vec<Pool>> {
    session
        .run(&POOLS, &[])?
        .iter()
        .map(|row| read(row.jsonb(1)?))
        .collect()
}

fn server(session: &Session) -> Result<Server> {
    let rows = session.run(&SERVER, &[])?;
    let slots: Slots = rows
        .first()
        .ok_or_else(|| Error::corrupt("the server reports no resources"))
        .and_then(|row| read(row.jsonb(1)?))?;
    Ok(Server {
        max_worker_processes: slots.max_worker_processes,
        max_connections: slots.max_connections,
        max_parallel_per_gather: slots.max_parallel_per_gather,
        own_processes: slots.own_processes,
        executors_elsewhere: slots.executors_elsewhere,
        held_by_server: slots.held_by_server,
        waiting: slots.waiting,
        memory_budget_mb: settings::memory_budget_mb(),
        executor_memory_mb: settings::executor_memory_mb(),
    })
}

fn validate_resources(call: &mut Call) -> Result<Output> {
    let session = Session::open()?;
    let limits: Vec<PoolLimits> = pools(&session)?
        .into_iter()
        .filter(|pool| pool.enabled)
        .map(|pool| PoolLimits {
            name: pool.name,
            min: pool.settings.min,
            max: pool.settings.max,
        })
        .collect();
    for finding in resources::validate(&server(&session)?, &limits) {
        call.row(&[
            datum::text(finding.severity.as_str()),
            datum::opt_text(finding.pool.as_deref()),
            datum::text(&finding.message),
            datum::text(&finding.hint),
        ])?;
    }
    Ok(Output::Rows)
}

fn duty_scaling(_: &mut Call) -> Result<Output> {
    let session = Session::open()?;
    let pools = pools(&session)?;
    let mut wanted: BTreeMap<&str, u32> = pools
        .iter()
        .filter(|pool| pool.enabled)
        .map(|pool| (pool.name.as_str(), pool.desired))
        .collect();
    let mut decisions = 0;
    for pool in pools.iter().filter(|pool| pool.due) {
        let started = call::tick();
        if REST.with(|rest| rest.get(&pool.name).is_some_and(|until| started < *until)) {
            continue;
        }
        let load = session
            .run(&LOAD, &[datum::text(&pool.name)])?
            .first()
            .and_then(|row| row.opt_jsonb(1))
            .map(read::<Load>)
            .transpose()?;
        let took = call::tick() - started;
        REST.with(|rest| {
            if took <= SHORT_EVALUATION {
                rest.remove(&pool.name);
            } else {
                rest.entry(pool.name.clone())
                    .and_modify(|until| *until = started + SHARE * took)
                    .or_insert(started);
            }
        });
        // Without background processes a decision would have no effect.
        let Some(load) = load else { continue };
        let others = wanted
            .iter()
            .filter(|(name, _)| **name != pool.name)
            .map(|(_, executors)| *executors)
            .fold(0, u32::saturating_add);
        let bound = room(&session, others)?;
        let (desired, decided) = evaluate_pool(&session, pool, &load, &bound)?;
        wanted.insert(&pool.name, desired);
        decisions += i64::from(decided);
    }
    Ok(Output::from(decisions))
}

/// The resources that a pool can use when the other pools have what they want.
fn room(session: &Session, others: u32) -> Result<Bound> {
    let mut bound = resources::allowance(&server(session)?);
    if others > 0 {
        bound.because = format!("{}, of which {others} are other pools'", bound.because);
        bound.executors = bound.executors.saturating_sub(others);
    }
    Ok(bound)
}

/// Evaluates one pool; returns how many executors are wanted now, and whether a decision was written.
fn evaluate_pool(
    session: &Session,
    pool: &Pool,
    load: &Load,
    bound: &Bound,
) -> Result<(u32, bool)> {
    let mut memory = pool.memory.clone().unwrap_or_default();
    let usual = usual(session, pool, load.now)?;
    let outcome = evaluate(
        &pool.settings,
        pool.desired,
        pool.changed_at,
        bound,
        load,
        usual.as_ref(),
        &mut memory,
    );
    if !outcome.quiet {
        write(session, pool, load.now, &outcome, &memory)?;
    }
    Ok((outcome.desired, outcome.decision.is_some()))
}

fn usual(session: &Session, pool: &Pool, now: f64) -> Result<Option<Usual>> {
    let spans = forecast::spans(&pool.settings, now);
    if spans.is_empty() {
        return Ok(None);
    }
    let rows = session.run(
        &RECORDED,
        &[
            datum::text(&pool.name),
            datum::int8s(spans.iter().map(|span| span.0)),
            datum::int8s(spans.iter().map(|span| span.1)),
        ],
    )?;
    let history: History = rows
        .first()
        .ok_or_else(|| Error::corrupt("the record of arrivals is empty"))
        .and_then(|row| read(row.jsonb(1)?))?;
    Ok(Usual::new(
        &pool.settings,
        now,
        history.since,
        &history.records,
    ))
}

fn write(
    session: &Session,
    pool: &Pool,
    now: f64,
    outcome: &Outcome,
    memory: &Memory,
) -> Result<()> {
    let name = datum::text(&pool.name);
    let count = |executors: u32| datum::int4(i32::try_from(executors).unwrap_or(i32::MAX));
    session.run(
        &REMEMBER,
        &[
            name,
            count(outcome.desired),
            datum::boolean(outcome.desired != pool.desired),
            datum::float8(now),
            document(memory)?,
        ],
    )?;
    if let Some(decision) = &outcome.decision {
        session.run(
            &DECIDED,
            &[
                name,
                datum::float8(now),
                count(decision.from),
                count(decision.to),
                datum::text(decision.rule.as_str()),
                datum::text(&decision.reason),
                document(&decision.inputs)?,
            ],
        )?;
        session.run(&FORGET_DECISIONS, &[name])?;
    }
    if let Some(recorded) = &outcome.recorded {
        session.run(
            &RECORD,
            &[
                name,
                datum::int8(recorded.minute),
                datum::int8(recorded.arrivals),
            ],
        )?;
        if let Some(oldest) = forecast::oldest(&pool.settings, now) {
            session.run(&FORGET_ARRIVALS, &[name, datum::int8(oldest)])?;
        }
    }
    Ok(())
}
