//! What the files of the configuration say, kept in the memory of each backend until a change is told.
//!
//! A call looks for changes when it first reads a value, and keeps what it has found until it ends; a background process looks when a
//! transaction begins. What runs outside of both, as the end of a transaction does, has what was found last.

use std::cell::Cell;
use std::rc::Rc;

use pgrx::pg_sys;
use serde_json::Value;
use tasker_rules::configuration::{Component, File, Leaves, Resolved, Set};

use super::typed::Typed;
use super::{home, spoken_environment};
use crate::error::Result;
use crate::pg::installation::Kept;
use crate::pg::spi::{Session, Statement};
use crate::pg::{caches, call, changes, datum, guc, rights, snapshot, tables};

static STATE: Statement = Statement::new(
    "SELECT s.environment FROM tasker_engine.config_state s",
    &[],
);

static FILES: Statement = Statement::new(
    "SELECT f.environment, f.component, f.leaves FROM tasker_engine.config_files f
     WHERE f.environment = '' OR f.environment = $1 ORDER BY f.environment",
    &[pg_sys::TEXTOID],
);

/// What a backend knows of the files.
#[derive(Default)]
struct Known {
    /// The number of changes that it was read after; None: not yet, or with a snapshot that may be too old.
    changes: Option<u64>,
    /// What tasker.environment said.
    spoken: Option<String>,
    /// The environment in force.
    environment: Option<String>,
    /// By the numbers of the settings.
    by_setting: Vec<Option<Value>>,
    typed: Rc<Typed>,
}

static KNOWN: Kept<Known> = Kept::new();

std::thread_local! {
    /// Whether this call, or this transaction of a background process, has looked for changes.
    static LOOKED: Cell<bool> = const { Cell::new(false) };
    /// Whether the files say anything about a setting.
    static SAYS_SOMETHING: Cell<bool> = const { Cell::new(false) };
}

/// A call of a function of ours begins, which no other one has called: it may see changes that were made since.
pub fn call_begins() {
    LOOKED.set(false);
}

/// Looks for changes now, in a transaction.
pub fn look_now() -> Result<()> {
    LOOKED.set(true);
    guc::restore_refused()?;
    let changes = changes::of(&changes::CONFIGURATION);
    let spoken = spoken_environment();
    if KNOWN.with(|known| known.changes == Some(changes) && known.spoken == spoken) {
        caches::CONFIGURATION.hit();
        return Ok(());
    }
    caches::CONFIGURATION.missed();
    caches::CONFIGURATION.invalidated();
    let known = read(changes, spoken)?;
    SAYS_SOMETHING.set(known.by_setting.iter().any(Option::is_some));
    let values = known.by_setting.iter().flatten();
    caches::CONFIGURATION.holds(
        known.by_setting.len(),
        values.map(|value| value.to_string().len()).sum::<usize>()
            + known.by_setting.len() * size_of::<Option<Value>>(),
    );
    KNOWN.with(|kept| *kept = known);
    Ok(())
}

fn look() {
    if !LOOKED.get()
        && call::is_inside()
        && let Err(error) = look_now()
    {
        error.raise("configuration");
    }
}

fn read(changes: u64, spoken: Option<String>) -> Result<Known> {
    let mut known = Known {
        spoken: spoken.clone(),
        environment: spoken,
        ..Known::default()
    };
    if !changes::watch_if_there(&changes::CONFIGURATION) {
        return Ok(known);
    }
    let values = snapshot::with_newest(|is_newest| {
        known.changes = is_newest.then_some(changes);
        rights::as_owner(|_| {
            let session = Session::open()?;
            if known.environment.is_none() {
                let rows = session.read(&STATE, &[])?;
                known.environment = rows.first().and_then(|row| row.opt(1));
            }
            values_of(&session, known.environment.as_deref())
        })
    })?;
    let count = super::SETTINGS.len();
    known.by_setting = (0..count)
        .map(|number| {
            let key = home(number)?;
            let (value, _) = values.get(key.component, key.path)?;
            Some(value.clone())
        })
        .collect();
    tables::allow_direct(
        known.by_setting[tables::DIRECT_TABLE_ACCESS.number()]
            .as_ref()
            .and_then(Value::as_bool),
    );
    known.typed = Rc::new(Typed::of(&values));
    Ok(known)
}

/// The values of the base and of this environment.
fn values_of(session: &Session, environment: Option<&str>) -> Result<Resolved> {
    let environment = environment.map(str::to_lowercase);
    let mut set = Set::default();
    let rows = session.read(&FILES, &[datum::opt_text(environment.as_deref())])?;
    for row in rows.iter() {
        let (of, component): (String, String) = (row.get(1)?, row.get(2)?);
        let leaves: Option<Leaves> = serde_json::from_str(&datum::jsonb_text(row.jsonb(3)?)).ok();
        // What this library does not know is of a later version.
        if let (Ok(component), Some(leaves)) = (component.parse::<Component>(), leaves) {
            let environment = (!of.is_empty()).then_some(of);
            let file = File {
                environment,
                component,
            };
            set.files.insert(file, leaves);
        }
    }
    Ok(set.resolve(environment.as_deref()))
}

/// What the files say about the setting with this number, made what the reader wants.
pub fn value<T>(setting: usize, make: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
    look();
    if !SAYS_SOMETHING.get() {
        return None;
    }
    KNOWN.with(|known| known.by_setting.get(setting)?.as_ref().and_then(make))
}

/// What the files say beside the settings.
#[allow(dead_code)] // Until typed.rs has values.
pub fn typed<R>(body: impl FnOnce(&Typed) -> R) -> R {
    look();
    let typed = KNOWN.with(|known| Rc::clone(&known.typed));
    body(&typed)
}

/// The environment in force.
pub fn environment() -> Option<String> {
    look();
    KNOWN
        .with(|known| known.environment.clone())
        .or_else(spoken_environment)
}
