//! Locks on the extension itself. SQL has no command that takes them, unlike an advisory lock, and they write nothing.

use pgrx::pg_sys;

use crate::error::{Error, Result};

/// Locks a part of this database's extension until the transaction ends; false, at once, if another session holds it.
/// Part 0 is the extension as a whole, which DROP and ALTER EXTENSION lock.
pub fn try_part_of_extension(part: u16) -> Result<bool> {
    // SAFETY: a lookup in the catalog, missing_ok; the lock manager copies the tag.
    unsafe {
        let extension = pg_sys::get_extension_oid(c"tasker_ext".as_ptr(), true);
        if extension == pg_sys::InvalidOid {
            return Err(Error::corrupt("extension tasker_ext does not exist"));
        }
        let tag = pg_sys::LOCKTAG {
            locktag_field1: pg_sys::MyDatabaseId.to_u32(),
            locktag_field2: pg_sys::ExtensionRelationId.to_u32(),
            locktag_field3: extension.to_u32(),
            locktag_field4: part,
            locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
            locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
        };
        let (for_session, at_once) = (false, true);
        let result = pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as i32, for_session, at_once);
        Ok(result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL)
    }
}

/// Where a wait for another transaction cannot be foreseen, it is no longer than this, and raises 55P03 (lock_not_available), which
/// undoes the call: nothing is lost, and it can be made again.
pub struct BoundedWait(i32);

const LONGEST_WAIT_MS: i32 = 1000;

impl BoundedWait {
    pub fn begin() -> Self {
        // SAFETY: PostgreSQL reads the setting when a wait for a lock begins; it comes back on drop, also while an
        // error unwinds.
        unsafe {
            let before = pg_sys::LockTimeout;
            if before == 0 || before > LONGEST_WAIT_MS {
                pg_sys::LockTimeout = LONGEST_WAIT_MS;
            }
            Self(before)
        }
    }
}

impl Drop for BoundedWait {
    fn drop(&mut self) {
        // SAFETY: as it was.
        unsafe { pg_sys::LockTimeout = self.0 };
    }
}
