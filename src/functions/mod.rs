//! The bodies of SQL functions, in files named as those in sql/functions/: they check the arguments, call the engine,
//! and return rows.
//!
//! A scope (sql/models/) is an SQL function that returns rows of its relation: a plain query without SET clauses, so that the
//! planner inlines it and pushes the caller's WHERE, ORDER BY and LIMIT into it. It has no body here.

mod analysis;
mod arguments;
mod background;
mod bulk_operations;
mod create;
mod deliveries;
mod diagrams;
mod event_log;
mod event_measures;
mod event_routes;
mod event_stream;
mod events;
mod exports;
mod expressions;
mod finalization;
mod graph;
mod health;
mod ids;
mod installation;
mod integrity;
mod maintenance;
mod metrics;
mod operational_state;
mod operators;
mod owner_fault;
mod readiness;
mod reports;
mod retention;
mod scaling;
mod schedules;
mod schemas;
mod sql_handlers;
mod stale_claims;
mod stored_roles;
mod subscriber_handlers;
mod subscribers;
mod subscriptions;
mod table_access;
mod task_lists;
mod templates;
mod traces;
mod work;
