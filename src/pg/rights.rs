//! Whose rights the engine works with.

use pgrx::{PgSqlErrorCode as Code, pg_sys};

use crate::error::{Error, Result};

/// The role that owns the engine's objects.
const OWNER: &std::ffi::CStr = c"tasker_admin";

/// The role that owns the engine: background processes have its rights and no more. None: the role is not there.
pub fn owner() -> Option<pg_sys::Oid> {
    // SAFETY: a look into the system cache.
    let role = unsafe { pg_sys::get_role_oid(OWNER.as_ptr(), true) };
    (role != pg_sys::InvalidOid).then_some(role)
}

/// Who called, while the engine's owner works for it. An error aborts the transaction, which brings the caller back.
pub struct Caller {
    user: pg_sys::Oid,
    context: i32,
}

/// Works with the rights of the engine's owner from here on.
pub fn become_owner() -> Result<Caller> {
    let role = owner().ok_or_else(no_owner)?;
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: as PostgreSQL calls a SECURITY DEFINER function.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        pg_sys::SetUserIdAndSecContext(role, context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32);
    }
    Ok(Caller { user, context })
}

impl Caller {
    pub fn role(&self) -> pg_sys::Oid {
        self.user
    }

    /// The caller has its own rights again.
    pub fn resume(self) {
        // SAFETY: what become_owner found.
        unsafe { pg_sys::SetUserIdAndSecContext(self.user, self.context) };
    }
}

fn no_owner() -> Error {
    let name = OWNER.to_string_lossy();
    Error::new(
        Code::ERRCODE_UNDEFINED_OBJECT,
        format!("role {name} does not exist"),
    )
    .detail("The engine works with its rights.")
    .hint("Drop and create the extension, which makes its roles.")
}
