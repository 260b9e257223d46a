//! Events: their names, what makes each happen, what its payload holds, which patterns match it, and where a reader is.
//!
//! An event is not written: a row of the log gives one or several ([`rows`]), and a fact that is no change of state gives one.
//! A subscriber always sees the canonical name; other names of the same event are synonyms that patterns may use.

pub mod catalog;
pub mod cloud;
pub mod counts;
pub mod exports;
pub mod failure;
pub mod filter;
pub mod filter_parameters;
pub mod log_line;
pub mod measures;
pub mod pattern;
pub mod payload;
pub mod position;
pub mod route;
pub mod rows;
pub mod sample;
pub mod step_log;
pub mod time;
pub mod topics;
pub mod trace;
