//! What is counted, how counts follow a transaction, and how they are shown.
//!
//! Every number is a cell: a counter has one, a counter with a label one per value, a histogram one per bucket and one
//! for the sum. Cells are numbered consecutively, so that an array in shared memory holds them all.

mod candidates;
mod catalog;
mod export;
mod exposition;
mod histogram;
mod labelled;
mod ledger;
pub mod place;

pub use candidates::{CANDIDATES, Candidates, takes_place};
pub use catalog::{
    CELLS, Cell, FAMILIES, Family, Kind, Metric, Part, RECENT_CELLS, WORKER_CELLS, cells,
    recent_index,
};
pub use export::{BadExport, Format};
pub use exposition::{Sample, render};
pub use histogram::quantile;
pub use labelled::{
    CLASS_CHARACTERS, Cells, LABELLED, LABELLED_CELLS, LABELLED_METRICS, Labelled, LabelledCell,
    LabelledFamily, OTHER, OTHER_CLASS, SERIES_CELLS, Scope, Series, UNKNOWN_CLASS, class_label,
    class_number, labelled_cells, mixed,
};
pub use ledger::{Amount, Key, Ledger};
