//! Templates: registered once, immutable, and kept compiled in the memory of each backend; so are the routes of events.

pub mod cache;
pub mod handlers;
pub mod register;
pub mod routes;
pub mod traces;

pub use cache::{StoredSchema, Template, TemplateStep, definition, get, get_readable};
pub use traces::Tracing;
