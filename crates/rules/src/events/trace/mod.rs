//! Traces: one tree of spans per task, made of its log. docs/tracing.md.
//!
//! Nothing is stored for a span: its ids follow from the task, the step, the claim and the traceparent that came in.

pub mod context;
pub mod ids;
pub mod tree;
