//! The roles that claim, and the claims that a role may report, extend and give back: its own, those of roles whose rights it has,
//! and all if it is an operator.
//!
//! A role is known by a small number, which is part of each claim's id: its lowest sixteen bits. So the statement that holds a
//! step for a report sees in the step's row which role claimed it.

use std::rc::Rc;

use pgrx::pg_sys::{self, Oid};

use crate::error::{Error, Result};
use crate::pg::datum::{self, Arg};
use crate::pg::installation::Kept;
use crate::pg::spi::{Session, Statement};
use crate::pg::{changes, rights};

/// The number of the engine itself: executors, run_steps, and steps that an operator starts by hand.
const ENGINE: i16 = 0;

/// The bits of a claim's id that hold the number.
const BITS: i64 = 0xffff;

/// Whether the claim of `s`, a row of steps, has one of these numbers; NULL means all.
macro_rules! claimed_by {
    ($numbers:literal) => {
        concat!(
            "(",
            $numbers,
            " IS NULL OR s.claim_id & 65535 = ANY (",
            $numbers,
            "))"
        )
    };
}
pub(super) use claimed_by;

static ALL: Statement = Statement::new(
    "SELECT c.claimant_no, c.role_oid, c.role_oid IS NOT NULL AND c.role_name IS DISTINCT FROM r.rolname::text
     FROM tasker_engine.claimants c
     LEFT JOIN pg_roles r ON r.oid = c.role_oid",
    &[],
);

static REFRESH: Statement = Statement::new("SELECT tasker_engine.refresh_claimants()", &[]);

// Not unique by role, so that no session waits for another's transaction. A race gives a role two numbers, which is harmless.
static REGISTER: Statement = Statement::new(
    "INSERT INTO tasker_engine.claimants (role_name) VALUES ($1)
     ON CONFLICT (claimant_no) DO NOTHING
     RETURNING claimant_no",
    &[pg_sys::TEXTOID],
);

static ROLE_OF: Statement = Statement::new(
    "SELECT c.role_oid FROM tasker_engine.claimants c WHERE c.claimant_no = $1",
    &[pg_sys::INT2OID],
);

/// The role that has a number now.
fn role_of(session: &Session, number: i16) -> Result<Option<Oid>> {
    let rows = session.run(&ROLE_OF, &[datum::int2(number)])?;
    Ok(rows.first().and_then(|row| row.opt(1)))
}

/// What this backend knows about the roles that have called, and the number of changes when it read that.
static KNOWN: Kept<Vec<(u64, Rc<Claimant>)>> = Kept::new();

/// A caller of the functions of workers.
pub struct Claimant {
    role: Oid,
    /// The numbers of the role itself; none before its first claim.
    own: Vec<i16>,
    /// The numbers whose claims it may handle; `None`: all.
    may: Option<Vec<i16>>,
}

impl Claimant {
    /// What the role may do. Kept until roles, memberships or numbers change.
    pub fn of(session: &Session, role: Oid) -> Result<Rc<Self>> {
        let changes = changes::of_roles();
        let kept = KNOWN.with(|known| {
            known
                .iter()
                .find(|(since, claimant)| *since == changes && claimant.role == role)
                .map(|(_, claimant)| claimant.clone())
        });
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let claimant = Rc::new(Self::read(session, role)?);
        KNOWN.with(|known| {
            known.retain(|(since, _)| *since == changes);
            known.push((changes, claimant.clone()));
        });
        Ok(claimant)
    }

    /// The engine itself.
    pub fn engine() -> Self {
        Self {
            role: Oid::INVALID,
            own: vec![ENGINE],
            may: None,
        }
    }

    fn read(session: &Session, role: Oid) -> Result<Self> {
        if rights::owner() == Some(role) {
            return Ok(Self {
                role,
                ..Self::engine()
            });
        }
        changes::watch(&changes::CLAIMANTS)?;
        let mut own = Vec::new();
        let mut may = Vec::new();
        let mut renamed = false;
        for row in session.run(&ALL, &[])?.iter() {
            let number: i16 = row.get(1)?;
            renamed |= row.get::<bool>(3)?;
            let Some(claimed) = row.opt::<Oid>(2) else {
                continue;
            };
            if claimed == role {
                own.push(number);
            }
            if rights::has_rights_of(role, claimed) {
                may.push(number);
            }
        }
        if renamed {
            session.run(&REFRESH, &[])?;
        }
        Ok(Self {
            role,
            own,
            may: (!rights::is_operator(role)).then_some(may),
        })
    }

    /// Whether this is the role with that number, as far as it was known when the call began.
    fn is(&self, number: i16) -> bool {
        self.own.contains(&number)
    }

    /// Whether the number is this role's. Another session of the role may have got it at this moment, so the row decides.
    pub fn owns(&self, session: &Session, number: i16) -> Result<bool> {
        Ok(self.is(number) || role_of(session, number)? == Some(self.role))
    }

    pub fn is_engine(&self) -> bool {
        self.is(ENGINE)
    }

    /// Whether it may handle the claims of that number; the row decides, as above.
    pub fn may_handle(&self, session: &Session, number: i16) -> Result<bool> {
        if self.may.as_ref().is_none_or(|may| may.contains(&number)) {
            return Ok(true);
        }
        let claimed = role_of(session, number)?;
        Ok(claimed.is_some_and(|claimed| rights::has_rights_of(self.role, claimed)))
    }

    /// The argument for `claimed_by!`.
    pub fn numbers(&self) -> Arg<'static> {
        datum::opt(self.may.as_ref(), |may| {
            datum::int8s(may.iter().map(|number| i64::from(*number)))
        })
    }

    /// The number of the role, which the first claim assigns.
    pub fn number(&self, session: &Session) -> Result<i16> {
        if let Some(number) = self.own.first() {
            return Ok(*number);
        }
        let name = rights::role_name(self.role);
        // The sequence starts over, because numbers of rolled-back transactions are free.
        for _ in 0..i16::MAX {
            if let Some(row) = session.run(&REGISTER, &[datum::text(&name)])?.first() {
                return row.get(1);
            }
        }
        Err(Error::new(
            pgrx::PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            "no other role can claim steps",
        )
        .detail(format!("{} roles have claimed in this database.", i16::MAX))
        .hint("Let workers claim as roles that have claimed before."))
    }
}

/// Makes the id of a claim from the value of the sequence.
pub fn claim_id(serial: i64, claimant: i16) -> i64 {
    serial & !BITS | i64::from(claimant)
}
