//! What is counted, how counts follow a transaction, and how they are shown.
//!
//! Every number is a cell: a counter has one, a counter with a label one per value, a histogram one per bucket and one
//! for the sum. Cells are numbered consecutively, so that an array in shared memory holds them all.

mod catalog;
mod export;
mod exposition;
mod histogram;
mod ledger;

pub use catalog::{
    CELLS, Cell, FAMILIES, Family, Kind, Metric, Part, RECENT_CELLS, WORKER_CELLS, cells,
    recent_index,
};
pub use export::{BadExport, Format};
pub use exposition::{Sample, render};
pub use histogram::quantile;
pub use ledger::{Key, Ledger};
