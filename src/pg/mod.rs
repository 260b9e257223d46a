//! The room of unsafe code: everything that touches PostgreSQL's C interface. What leaves this room is safe to use.

#![allow(unsafe_code)]

pub mod append;
pub mod backend;
pub mod budget;
pub mod call;
pub mod changes;
pub mod datum;
pub mod guc;
pub mod installation;
pub mod lock;
pub mod memory;
pub mod notify;
pub mod process;
pub mod restricted;
pub mod rights;
pub mod scan;
pub mod search_path;
pub mod server_log;
pub mod shmem;
pub mod snapshot;
pub mod spi;
pub mod subtransaction;
pub mod tables;
pub mod utility;
pub mod wal;
pub mod xact;
pub mod zone;
