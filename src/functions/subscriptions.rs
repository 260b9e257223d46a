//! Files of subscriptions. What such a file may say is crates/rules/src/operations/subscriptions.rs.

use std::collections::BTreeSet;

use pgrx::pg_sys;
use serde_json::{Map, Value, json};
use tasker_rules::events::time::iso;
use tasker_rules::operations::subscriptions::{self, File, Refused, Subscription};

use crate::error::{Error, Result};
use crate::orchestration::{Engine, resumption};
use crate::pg::call::{Call, Output};
use crate::pg::datum;
use crate::pg::spi::{Session, Statement};
use crate::pg::{rights, subtransaction};
use crate::subscribers::handler;

crate::pg::call::sql_function! {
    load_subscriptions;
}

static CUSTOM: Statement =
    Statement::new("SELECT r.name FROM tasker_engine.registered_events r", &[]);

static SUBSCRIBE: Statement = Statement::new(
    "SELECT tasker_engine.subscribe($1, $2, $3, NULL, $4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    &[
        pg_sys::OIDOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTOID,
    ],
);

static PAUSE: Statement = Statement::new(
    "SELECT tasker_engine.pause_subscriber($1, $2)",
    &[pg_sys::TEXTOID, pg_sys::BOOLOID],
);

/// Severity, place and message.
type Found = (&'static str, String, String);

fn load_subscriptions(call: &mut Call) -> Result<Output> {
    let text: String = call.get(0, "yaml")?;
    let handlers = handlers(&datum::jsonb_text(call.jsonb(1, "handlers")?))?;
    for (severity, path, message) in load(&text, &handlers)? {
        call.row(&[
            datum::text(severity),
            datum::text(&path),
            datum::text(&message),
        ])?;
    }
    Ok(Output::Rows)
}

/// Loads what has no error; returns what is wrong.
fn load(text: &str, handlers: &Map<String, Value>) -> Result<Vec<Found>> {
    rights::as_owner(|caller| {
        let session = Session::open()?;
        resumption::require(&session)?;
        let custom: BTreeSet<String> = session
            .run(&CUSTOM, &[])?
            .iter()
            .map(|row| row.get(1))
            .collect::<Result<_>>()?;
        let File {
            subscriptions,
            mut refused,
            problems,
        } = match subscriptions::read(text, handlers, &custom) {
            Ok(file) => file,
            // A text that is not YAML is a problem like any other.
            Err(error) => return Ok(vec![("error", String::new(), error.to_string())]),
        };
        let mut found: Vec<Found> = problems
            .into_iter()
            .map(|problem| (problem.severity.as_str(), problem.path, problem.message))
            .collect();
        for subscription in subscriptions {
            match subtransaction::attempt(|| store(&session, caller, &subscription)) {
                Ok(()) => {}
                Err(error) if is_of_file(&error) => {
                    refused.push(Refused {
                        name: subscription.name,
                        class: subscription.class,
                        error: error.described(),
                    });
                    found.push(("error", subscription.path, error.described()));
                }
                Err(error) => return Err(error),
            }
        }
        tell(&session, &refused)?;
        Ok(found)
    })
}

/// How much of a text of the file a fact keeps: the longest name of a subscriber, and as the errors of steps.
const NAME_CHARACTERS: usize = 128;
const ERROR_CHARACTERS: usize = 2000;

/// The beginning, without what jsonb cannot hold.
fn beginning(text: &str, characters: usize) -> String {
    let allowed = text.chars().filter(|c| *c != '\0');
    allowed.take(characters).collect()
}

/// A fact for each subscription that is left out.
fn tell(session: &Session, refused: &[Refused]) -> Result<()> {
    let mut engine = Engine::open_any_isolation(session);
    for one in refused {
        let name = beginning(&one.name, NAME_CHARACTERS);
        let mut fact = json!({
            "registry_name": "subscribers",
            "entity_type": "subscriber",
            "entity_id": name,
            "failed_at": iso(engine.now),
            "validation_error": beginning(&one.error, ERROR_CHARACTERS),
        });
        if let Some(class) = &one.class {
            fact["entity_class"] = beginning(class, NAME_CHARACTERS).into();
        }
        let of = "subscriber.validation_failed";
        engine.events.fact(engine.now, of, &name, None, fact)?;
    }
    engine.close()
}

fn store(session: &Session, caller: pg_sys::Oid, subscription: &Subscription) -> Result<()> {
    let name = datum::text(&subscription.name);
    // A class that is mapped no more is polled again.
    let handler = subscription.handler.as_deref().unwrap_or_default();
    let patterns = subscription.patterns.iter().map(|text| Some(text.as_str()));
    let rows = session.run(
        &SUBSCRIBE,
        &[
            datum::oid(caller),
            name,
            datum::texts(patterns),
            datum::text(handler),
        ],
    )?;
    let id: i64 = rows
        .first()
        .ok_or_else(|| Error::corrupt("subscribe returns a number"))?
        .get(1)?;
    handler::set(session, caller, id, handler)?;
    if let Some(enabled) = subscription.enabled {
        session.run(&PAUSE, &[name, datum::boolean(!enabled)])?;
    }
    Ok(())
}

/// What the file says cannot be done: a value, a missing function or right, or what is not supported. Other errors are not the file's.
fn is_of_file(error: &Error) -> bool {
    matches!(&error.sqlstate()[..2], "0A" | "22" | "42")
}

fn handlers(json: &str) -> Result<Map<String, Value>> {
    match serde_json::from_str(json) {
        Ok(Value::Object(handlers)) => Ok(handlers),
        _ => Err(Error::parameter("handlers must be an object")
            .detail("It maps the class of a subscription to a function inside the database.")
            .hint("SELECT * FROM tasker.load_subscriptions(yaml, '{\"AuditSubscriber\": \"sql:shop.audit\"}'), for example.")),
    }
}
