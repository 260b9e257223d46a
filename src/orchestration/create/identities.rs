//! Requests for a task that already exists: with an equal key, or equal in content.

use std::collections::{HashMap, HashSet};

use pgrx::pg_sys;
use tasker_rules::engine::identity::{self, Window};

use super::check::read_json;
use super::{Created, TaskRequest};
use crate::error::{Error, Result};
use crate::orchestration::bypass::Bypass;
use crate::orchestration::{Engine, format_uuid};
use crate::pg::datum::{self, Timestamp, Uuid};
use crate::pg::spi::{Row, Statement};
use crate::registry::Template;

static CLAIM_IDENTITIES: Statement = Statement::new(
    "INSERT INTO tasker_engine.task_identities (identity_hash, task_uuid, idempotency_key)
     SELECT u.identity_hash, u.task_uuid, u.idempotency_key
     FROM unnest($1, $2, $3) AS u (identity_hash, task_uuid, idempotency_key)
     ON CONFLICT (identity_hash) DO NOTHING
     RETURNING identity_hash",
    &[
        pg_sys::TEXTARRAYOID,
        pg_sys::UUIDARRAYOID,
        pg_sys::TEXTARRAYOID,
    ],
);

static FIND_IDENTITIES: Statement = Statement::new(
    "SELECT i.identity_hash, i.task_uuid,
            (SELECT k.requested_at FROM tasker_engine.tasks k WHERE k.task_uuid = i.task_uuid),
            (SELECT k.state = 'x' FROM tasker_engine.tasks k WHERE k.task_uuid = i.task_uuid)
     FROM tasker_engine.task_identities i
     WHERE i.identity_hash = ANY ($1)",
    &[pg_sys::TEXTARRAYOID],
);

// In the order in which they are claimed. One that another session was faster to take names its task by now, and stays.
static LOCK_OVER: Statement = Statement::new(
    "SELECT FROM tasker_engine.task_identities i
     WHERE i.identity_hash = ANY ($1) AND i.task_uuid = ANY ($2)
     ORDER BY i.identity_hash
     FOR UPDATE",
    &[pg_sys::TEXTARRAYOID, pg_sys::UUIDARRAYOID],
);

static REMOVE_OVER: Statement = Statement::new(
    "DELETE FROM tasker_engine.task_identities i
     WHERE i.identity_hash = ANY ($1) AND i.task_uuid = ANY ($2)",
    &[pg_sys::TEXTARRAYOID, pg_sys::UUIDARRAYOID],
);

/// A unique index decides which request was first, not a lookup before.
pub(super) fn settle_identities(
    engine: &Engine,
    request: &TaskRequest,
    template: &Template,
    bypass: &Bypass,
    created: &mut [Created],
) -> Result<()> {
    let mut first_of: HashMap<String, usize> = HashMap::new();
    let mut identities: Vec<Option<String>> = Vec::with_capacity(created.len());
    for index in 0..created.len() {
        let identity = match request.key(index) {
            Some(key) => Some(identity::hash_of_key(
                &template.namespace,
                &template.name,
                key,
            )),
            None if template.hashed_identity.is_some() => {
                Some(hash_of_request(request, template, bypass, index)?)
            }
            None => None,
        };
        if let Some(identity) = &identity {
            first_of.entry(identity.clone()).or_insert(index);
        }
        identities.push(identity);
    }
    let known = claim(engine, request, template, &first_of, created)?;
    for index in 0..created.len() {
        let Some(identity) = &identities[index] else {
            continue;
        };
        let owner = known
            .get(identity)
            .copied()
            .unwrap_or(created[first_of[identity]].task_uuid);
        if owner == created[index].task_uuid {
            continue;
        }
        if request.key(index).is_none() {
            return Err(Error::new(
                pgrx::PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION,
                format!(
                    "an identical request of {} exists already",
                    template.full_name()
                ),
            )
            .detail(format!("Existing task: {}.", format_uuid(&owner)))
            .hint(hint(template.hashed_identity.unwrap_or_default())));
        }
        created[index] = Created {
            task_uuid: owner,
            existing: true,
        };
    }
    Ok(())
}

/// Claims identities for the tasks that name them first. Returns the tasks of those that are taken.
fn claim(
    engine: &Engine,
    request: &TaskRequest,
    template: &Template,
    first_of: &HashMap<String, usize>,
    created: &[Created],
) -> Result<HashMap<String, Uuid>> {
    // Ascending, so that two callers with the same keys cannot wait for each other in a circle.
    let mut firsts: Vec<(&String, usize)> = first_of
        .iter()
        .map(|(identity, index)| (identity, *index))
        .collect();
    firsts.sort();
    let mut known: HashMap<String, Uuid> = HashMap::new();
    // A second round happens only if the window of a known request is over, or its task was purged between two statements.
    while !firsts.is_empty() {
        let keys = |firsts: &[(&String, usize)]| {
            datum::texts(firsts.iter().map(|(identity, _)| Some(identity.as_str())))
        };
        let won = engine.session.run(
            &CLAIM_IDENTITIES,
            &[
                keys(&firsts),
                datum::uuids(firsts.iter().map(|(_, index)| &created[*index].task_uuid)),
                datum::texts(firsts.iter().map(|(_, index)| request.key(*index))),
            ],
        )?;
        if won.len() == firsts.len() {
            break;
        }
        let won: HashSet<String> = won.iter().map(|row| row.get(1)).collect::<Result<_>>()?;
        firsts.retain(|(identity, _)| !won.contains(*identity));
        let mut over: Vec<(String, Uuid)> = Vec::new();
        for row in engine
            .session
            .run(&FIND_IDENTITIES, &[keys(&firsts)])?
            .iter()
        {
            let (identity, owner): (String, Uuid) = (row.get(1)?, row.get(2)?);
            let window = template
                .hashed_identity
                .filter(|_| request.key(first_of[&identity]).is_none());
            if window.is_some_and(|window| is_over(&row, window, engine.now)) {
                over.push((identity, owner));
            } else {
                known.insert(identity, owner);
            }
        }
        forget(engine, &over)?;
        firsts.retain(|(identity, _)| !known.contains_key(*identity));
    }
    Ok(known)
}

/// Whether a row of FIND_IDENTITIES no longer keeps an equal request out.
fn is_over(row: &Row, window: Window, now: Timestamp) -> bool {
    let requested: Option<Timestamp> = row.opt(3);
    let cancelled = row.opt(4).unwrap_or(false);
    requested.is_none_or(|at| window.is_over(now.saturating_sub(at), cancelled))
}

fn hint(window: Window) -> String {
    let passes = match window {
        Window::Off => "when that task is cancelled (identity_window is off)".to_owned(),
        window => format!(
            "{window} after that task was requested (identity_window), or when it is cancelled"
        ),
    };
    format!(
        "Use the existing task, or change the context, reason or initiator. An equal request passes {passes}."
    )
}

/// Removes identities whose window is over, so that the next round claims them.
fn forget(engine: &Engine, over: &[(String, Uuid)]) -> Result<()> {
    if over.is_empty() {
        return Ok(());
    }
    for statement in [&LOCK_OVER, &REMOVE_OVER] {
        let identities = over.iter().map(|(identity, _)| Some(identity.as_str()));
        let owners = over.iter().map(|(_, owner)| owner);
        engine
            .session
            .run(statement, &[datum::texts(identities), datum::uuids(owners)])?;
    }
    Ok(())
}

fn hash_of_request(
    request: &TaskRequest,
    template: &Template,
    bypass: &Bypass,
    index: usize,
) -> Result<String> {
    Ok(identity::hash(&identity::IdentityOptions {
        namespace: &template.namespace,
        name: &template.name,
        version: &template.version,
        initiator: &request.initiator,
        source_system: &request.source_system,
        context: &read_json(request.contexts[index], "context")?,
        reason: &request.reason,
        bypass_steps: &bypass.names,
    }))
}
