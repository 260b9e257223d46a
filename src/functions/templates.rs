//! `register_template`, `validate_template`, `export_template`.

use pgrx::pg_sys;
use serde_json::json;
use tasker_rules::events::time::iso;
use tasker_rules::template::Template;

use crate::error::{Error, Result};
use crate::orchestration::{Engine, create, resumption};
use crate::pg::call::{Call, Output};
use crate::pg::datum::{self, OwnedJsonb};
use crate::pg::rights;
use crate::pg::spi::{Session, Statement};
use crate::registry::register;

crate::pg::call::sql_function! {
    register_template;
    validate_template;
    export_template;
}

fn register_template(call: &mut Call) -> Result<Output> {
    let text: String = call.get(0, "template")?;
    let replace: bool = call.get(1, "replace")?;
    // Handlers inside the database get the caller's rights.
    rights::as_owner(|caller| {
        let session = Session::open()?;
        let begins = resumption::require_or_new(&session)?;
        let mut engine = Engine::open_any_isolation(&session);
        let registered = register::register(engine.session, &text, replace, caller)?;
        if let Some(template) = &registered.stored {
            tell(&mut engine, template)?;
        }
        if begins {
            resumption::resume(engine.session)?;
        }
        engine.close()?;
        Ok(Output::from(i64::from(registered.id)))
    })
}

fn tell(engine: &mut Engine, template: &Template) -> Result<()> {
    let fact = json!({
        "namespace": template.namespace,
        "task_name": template.name,
        "task_version": template.version,
        "total_steps": template.steps.len(),
        "registered_at": iso(engine.now),
    });
    let (name, which) = ("template.registered", template.full_name());
    engine
        .events
        .fact(engine.now, name, &which, Some(&template.namespace), fact)
}

fn validate_template(call: &mut Call) -> Result<Output> {
    let text: String = call.get(0, "template")?;
    let problems = match register::read(&text) {
        Ok((_, problems)) => problems,
        // An unreadable text is a problem like any other here.
        Err(error) => {
            let place = error.detail.unwrap_or_default();
            call.row(&[
                datum::text("error"),
                datum::text(""),
                datum::text(&format!("{} {place}", error.message)),
            ])?;
            return Ok(Output::Rows);
        }
    };
    for problem in problems {
        call.row(&[
            datum::text(problem.severity.as_str()),
            datum::text(&problem.path),
            datum::text(&problem.message),
        ])?;
    }
    Ok(Output::Rows)
}

static CONFIGURATION: Statement = Statement::new(
    "SELECT t.configuration FROM tasker.named_tasks t WHERE t.named_task_id = $1",
    &[pg_sys::INT4OID],
);

fn export_template(call: &mut Call) -> Result<Output> {
    let name: String = call.get(0, "name")?;
    let namespace: String = call.get(1, "namespace")?;
    let version = call.opt_text(2);
    let configuration = {
        let session = Session::open()?;
        let engine = Engine::open_any_isolation(&session);
        let id = create::find_template(&engine, &namespace, &name, version.as_deref())?;
        let rows = engine.session.read(&CONFIGURATION, &[datum::int4(id)])?;
        let configuration = rows
            .first()
            .ok_or_else(|| Error::corrupt("a found template is stored"))?
            .jsonb(1)?;
        OwnedJsonb::copy(configuration)
    };
    Ok(Output::Jsonb(configuration))
}
