//! Whether work is done in this database. A restore, a copy or a subscription fills it with rows of another installation, and
//! nothing must touch them before they are complete: tasker.resume_after_restore() says when they are.
//!
//! The rule is tasker_engine.installation_state(). A backend asks until the answer is yes, and remembers that: a call then costs nothing.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode};

use crate::error::{Error, Result};
use crate::pg::installation::Kept;
use crate::pg::spi::{Session, Statement};
use crate::pg::xact;

static STATE: Statement = Statement::new(
    "SELECT tasker_engine.installation_state(), (SELECT i.xmin::text::bigint FROM tasker_engine.installation i)",
    &[],
);

static SOURCE: Statement = Statement::new(
    "SELECT format('The rows were written in database %s at %s.', i.database_name, i.written_at)
     FROM tasker_engine.installation i",
    &[],
);

static WRITE: Statement = Statement::new("SELECT tasker_engine.write_installation()", &[]);

static RESUMED: Kept<bool> = Kept::new();
static TOLD: Kept<bool> = Kept::new();

const HINT: &str = "Once everything has been loaded, run SELECT * FROM tasker.resume_after_restore(). In a new database the first register_template() does the same.";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Work is done.
    Same,
    /// Nothing has been registered yet, or a load has just begun.
    New,
    /// The rows are those of another installation.
    Other,
}

pub fn state(session: &Session) -> Result<State> {
    if RESUMED.get() {
        return Ok(State::Same);
    }
    let rows = session.run(&STATE, &[])?;
    let row = rows
        .first()
        .ok_or_else(|| Error::corrupt("a function has a value"))?;
    let state = match row.get::<String>(1)?.as_str() {
        "same" => State::Same,
        "new" => State::New,
        _ => State::Other,
    };
    // What this transaction has written can still be rolled back.
    let own = row
        .opt::<i64>(2)
        .is_some_and(|xid| xact::is_own(xid as u32));
    if state == State::Same && !own {
        RESUMED.set(true);
    }
    Ok(state)
}

/// Whether the last look found that work is done.
pub fn is_resumed() -> bool {
    RESUMED.get()
}

/// Refuses (55000) while no work is done.
pub fn require(session: &Session) -> Result<()> {
    match state(session)? {
        State::Same => Ok(()),
        state => Err(refusal(session, state)?),
    }
}

/// The same, except in a database in which nothing has been registered yet. Returns whether it is one.
pub fn require_or_new(session: &Session) -> Result<bool> {
    match state(session)? {
        State::Same => Ok(false),
        State::New => Ok(true),
        State::Other => Err(refusal(session, State::Other)?),
    }
}

/// Whether a claim must stay empty; says why once per session.
pub fn holds_claims_back(session: &Session) -> Result<bool> {
    let state = state(session)?;
    if state == State::Same {
        return Ok(false);
    }
    if !TOLD.replace(true) {
        let refusal = refusal(session, state)?;
        ErrorReport::new(
            PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
            refusal.message,
            "claim_steps",
        )
        .set_detail(refusal.detail.unwrap_or_default())
        .set_hint(HINT)
        .report(PgLogLevel::NOTICE);
    }
    Ok(true)
}

/// What is wrong, for health; None: nothing.
pub fn fault(session: &Session) -> Result<Option<Error>> {
    match state(session)? {
        State::Same | State::New => Ok(None),
        State::Other => refusal(session, State::Other).map(Some),
    }
}

/// Names this database: work is done from now on.
pub fn resume(session: &Session) -> Result<()> {
    session.run(&WRITE, &[])?;
    Ok(())
}

fn refusal(session: &Session, state: State) -> Result<Error> {
    let detail = if state == State::New {
        "No template has been registered in it yet; it may be about to be restored.".to_owned()
    } else {
        let rows = session.run(&SOURCE, &[])?;
        let source = rows.first().and_then(|row| row.opt::<String>(1));
        format!(
            "It holds rows that were loaded: a restore, a copy of a database, or a subscription. {}",
            source.unwrap_or_default()
        )
        .trim_end()
        .to_owned()
    };
    Ok(
        Error::state("no work is done in this database before it is resumed")
            .detail(detail)
            .hint(HINT),
    )
}
