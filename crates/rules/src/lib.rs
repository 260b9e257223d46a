//! The rules of tasker_ext that need no database.
