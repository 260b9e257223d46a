//! The models of the seed, one file each: the relation with its scopes and methods (sql/models/NAME.sql), and what of
//! them is decided in Rust.
//!
//! A scope is an SQL function that returns rows of its relation; it is a plain query without SET clauses, so that the
//! planner puts it in place and pushes the caller's WHERE, ORDER BY and LIMIT into it.

mod annotation_type;
mod dependent_system;
mod dependent_system_object_map;
mod named_step;
mod named_task;
mod named_tasks_named_step;
mod step_dag_relationship;
mod step_readiness_status;
mod task;
mod task_annotation;
mod task_diagram;
mod task_execution_context;
mod task_namespace;
mod task_transition;
mod workflow_step;
mod workflow_step_edge;
mod workflow_step_transition;
