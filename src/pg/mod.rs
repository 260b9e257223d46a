//! The room of unsafe code: everything that touches PostgreSQL's C interface. What leaves this room is safe to use.

pub mod append;
pub mod call;
pub mod changes;
pub mod datum;
pub mod installation;
pub mod lock;
pub mod restricted;
pub mod rights;
pub mod scan;
pub mod search_path;
pub mod spi;
pub mod tables;
