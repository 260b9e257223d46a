//! The template that a request names.

use std::rc::Rc;

use pgrx::pg_sys;

use super::TaskRequest;
use crate::error::{Error, Result};
use crate::orchestration::Engine;
use crate::pg::datum;
use crate::pg::spi::Statement;
use crate::registry::{self, Template};

static FIND_TEMPLATE: Statement = Statement::new(
    "SELECT t.named_task_id
     FROM tasker.task_namespaces n
     JOIN tasker.named_tasks t ON t.task_namespace_id = n.task_namespace_id
     WHERE n.name = $1 AND t.name = $2 AND ($3 IS NULL OR t.version = $3)
     ORDER BY t.version_order DESC
     LIMIT 1",
    &[pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID],
);

// The foreign key takes the same lock. Taken here, it waits for a version that is being replaced, which is then looked up again.
static KEEP_TEMPLATE: Statement = Statement::new(
    "SELECT FROM tasker.named_tasks t WHERE t.named_task_id = $1 FOR KEY SHARE",
    &[pg_sys::INT4OID],
);

static KNOWN_VERSIONS: Statement = Statement::new(
    "SELECT string_agg(t.version, ', ' ORDER BY t.version_order)
     FROM tasker.task_namespaces n
     JOIN tasker.named_tasks t ON t.task_namespace_id = n.task_namespace_id
     WHERE n.name = $1 AND t.name = $2",
    &[pg_sys::TEXTOID, pg_sys::TEXTOID],
);

/// The id of the template with this name; without a version, of the highest one. Another session can replace it
/// until it is used or locked.
pub fn find_template(
    engine: &Engine,
    namespace: &str,
    name: &str,
    version: Option<&str>,
) -> Result<i32> {
    let rows = engine.session.run(
        &FIND_TEMPLATE,
        &[
            datum::text(namespace),
            datum::text(name),
            datum::opt_text(version),
        ],
    )?;
    match rows.first() {
        Some(row) => row.get(1),
        None => {
            let known = engine.session.run(
                &KNOWN_VERSIONS,
                &[datum::text(namespace), datum::text(name)],
            )?;
            let known: Option<String> = known.first().and_then(|row| row.opt(1));
            let wanted = version
                .map(|version| format!(" version {version}"))
                .unwrap_or_default();
            let error = Error::not_found(format!(
                "no template {}{wanted} in namespace {}",
                tasker_rules::names::shown(name),
                tasker_rules::names::shown(namespace)
            ))
            .detail("No version of it is registered in this namespace.")
            .hint("Register it with tasker.register_template, or look into tasker.named_tasks.");
            Err(match known {
                Some(versions) => error.detail(format!("Registered versions: {versions}.")),
                None => error,
            })
        }
    }
}

/// The template to create from, locked against replacement.
pub(super) fn keep_template(engine: &Engine, request: &TaskRequest) -> Result<Rc<Template>> {
    loop {
        let id = find_template(
            engine,
            &request.namespace,
            &request.name,
            request.version.as_deref(),
        )?;
        let kept = engine.session.run(&KEEP_TEMPLATE, &[datum::int4(id)])?;
        if !kept.is_empty() {
            return readable(registry::get(engine.session, id)?);
        }
    }
}

pub(super) fn readable(template: Rc<Template>) -> Result<Rc<Template>> {
    match &template.unreadable {
        None => Ok(template),
        Some(why) => Err(Error::corrupt(format!(
            "the stored template {} cannot be read",
            template.full_name()
        ))
        .detail(why.clone())
        .hint("Register it again under a higher version.")),
    }
}
