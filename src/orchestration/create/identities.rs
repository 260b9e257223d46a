//! Requests for a task that already exists: with an equal key, or equal in content.

use std::collections::{HashMap, HashSet};

use pgrx::pg_sys;
use tasker_rules::engine::identity;

use super::check::read_json;
use super::{Created, TaskRequest};
use crate::error::{Error, Result};
use crate::orchestration::bypass::Bypass;
use crate::orchestration::{Engine, format_uuid};
use crate::pg::datum::{self, Uuid};
use crate::pg::spi::Statement;
use crate::registry::Template;

static CLAIM_IDENTITIES: Statement = Statement::new(
    "INSERT INTO tasker_engine.task_identities (identity_hash, task_uuid)
     SELECT u.identity_hash, u.task_uuid
     FROM unnest($1, $2) AS u (identity_hash, task_uuid)
     ON CONFLICT (identity_hash) DO NOTHING
     RETURNING identity_hash",
    &[pg_sys::TEXTARRAYOID, pg_sys::UUIDARRAYOID],
);

static FIND_IDENTITIES: Statement = Statement::new(
    "SELECT i.identity_hash, i.task_uuid
     FROM tasker_engine.task_identities i
     WHERE i.identity_hash = ANY ($1)",
    &[pg_sys::TEXTARRAYOID],
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
            None if template.hashed_identity => {
                Some(hash_of_request(request, template, bypass, index)?)
            }
            None => None,
        };
        if let Some(identity) = &identity {
            first_of.entry(identity.clone()).or_insert(index);
        }
        identities.push(identity);
    }
    // Ascending, so that two callers with the same keys cannot wait for each other in a circle.
    let mut firsts: Vec<(&String, usize)> = first_of
        .iter()
        .map(|(identity, index)| (identity, *index))
        .collect();
    firsts.sort();
    let mut known: HashMap<String, Uuid> = HashMap::new();
    // A second round happens only if the existing task was purged between the two statements.
    while !firsts.is_empty() {
        let keys = |firsts: &[(&String, usize)]| {
            datum::texts(firsts.iter().map(|(identity, _)| Some(identity.as_str())))
        };
        let won = engine.session.run(
            &CLAIM_IDENTITIES,
            &[
                keys(&firsts),
                datum::uuids(firsts.iter().map(|(_, index)| &created[*index].task_uuid)),
            ],
        )?;
        if won.len() == firsts.len() {
            break;
        }
        let won: HashSet<String> = won.iter().map(|row| row.get(1)).collect::<Result<_>>()?;
        firsts.retain(|(identity, _)| !won.contains(*identity));
        for row in engine
            .session
            .run(&FIND_IDENTITIES, &[keys(&firsts)])?
            .iter()
        {
            known.insert(row.get(1)?, row.get(2)?);
        }
        firsts.retain(|(identity, _)| !known.contains_key(*identity));
    }
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
                format!("an identical request of {} exists already", template.full_name()),
            )
            .detail(format!("Existing task: {}.", format_uuid(&owner)))
            .hint("Identity strategy hash refuses equal requests; change the context, reason or initiator, or use the existing task."));
        }
        created[index] = Created {
            task_uuid: owner,
            existing: true,
        };
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
