//! What is wrong with a file, or doubtful.

use super::component::File;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is loaded.
    Error,
    /// An error that `force => true` turns into a warning.
    Forcible,
    /// The file is loaded all the same.
    Warning,
}

/// One problem, at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// None: of the files together.
    pub file: Option<File>,
    /// Line and column, from 1.
    pub at: Option<(usize, usize)>,
    /// Begins with the key, where there is one: `backoff.max_backoff_seconds: ...`.
    pub message: String,
}

impl Finding {
    /// `base/system.toml:12:5`, as compilers write it.
    pub fn path(&self) -> String {
        match (&self.file, self.at) {
            (None, _) => String::new(),
            (Some(file), None) => file.to_string(),
            (Some(file), Some((line, column))) => format!("{file}:{line}:{column}"),
        }
    }
}
