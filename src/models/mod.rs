//! What of the models (sql/models/) is decided in Rust.
//!
//! A scope is an SQL function that returns rows of its relation; it is a plain query without SET clauses, so that the
//! planner puts it in place and pushes the caller's WHERE, ORDER BY and LIMIT into it.

mod step_dag_relationship;
mod step_readiness_status;
mod task;
mod task_diagram;
mod task_execution_context;
