//! Calling a function as another role, the way PostgreSQL runs the functions of that role's index: as a security-restricted
//! operation, with its settings undone.

use pgrx::pg_sys::{self, Datum, Oid};

use super::datum::{Arg, Jsonb, OwnedJsonb};
use super::process;

/// The outcome of a call, and whether its time had ended.
pub struct Called {
    pub result: OwnedJsonb,
    pub timed_out: bool,
}

/// Calls `function(text, jsonb, oid, text) RETURNS jsonb` as a role, for at most that time (0: without a limit).
pub fn call(function: Oid, role: Oid, timeout_ms: i32, arguments: [Arg; 4]) -> Called {
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    let [name, argument, owner, owner_name] =
        arguments.map(|argument| argument.datum().unwrap_or(Datum::null()));
    // SAFETY: the user changes as in PostgreSQL's own maintenance commands; an error that escapes aborts the
    // transaction, which gives user, settings and timeout back (the timeout by process::transaction or the main loop).
    // The caller names a function of that signature.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        pg_sys::SetUserIdAndSecContext(
            role,
            context
                | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32
                | pg_sys::SECURITY_RESTRICTED_OPERATION as i32,
        );
        let level = pg_sys::NewGUCNestLevel();
        let timeout = process::Timeout::start(timeout_ms);
        let result = pg_sys::OidFunctionCall4Coll(
            function,
            pg_sys::InvalidOid,
            name,
            argument,
            owner,
            owner_name,
        );
        let timed_out = timeout.stop();
        pg_sys::AtEOXact_GUC(false, level);
        pg_sys::SetUserIdAndSecContext(user, context);
        Called {
            result: OwnedJsonb::copy(Jsonb::new(result)),
            timed_out,
        }
    }
}
