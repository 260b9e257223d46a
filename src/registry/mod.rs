//! Templates: registered once, immutable, and kept compiled in the memory of each backend.

pub mod cache;
pub mod handlers;
pub mod register;

pub use cache::{StoredSchema, Template, TemplateStep, definition, get, get_readable};
