//! What changes from one set of files to another.

use serde::Serialize;
use serde_json::Value;

use super::set::Set;
use super::together::same;

/// A key that is different.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Its component.
    pub component: &'static str,
    /// Its name below the component.
    pub key: String,
    /// None: in the base.
    pub environment: Option<String>,
    /// None: there was no value.
    pub old: Option<Value>,
    /// None: there is no value any more.
    pub new: Option<Value>,
}

/// The keys whose values are different, by file and name.
pub fn diff(old: &Set, new: &Set) -> Vec<Change> {
    let mut files: Vec<_> = old.files.keys().chain(new.files.keys()).collect();
    files.sort_unstable();
    files.dedup();
    let mut changes = Vec::new();
    for file in files {
        let paths = |set: &Set| -> Vec<String> {
            let leaves = set.files.get(file).into_iter();
            leaves.flat_map(|leaves| leaves.keys().cloned()).collect()
        };
        let mut all = paths(old);
        all.extend(paths(new));
        all.sort_unstable();
        all.dedup();
        for key in all {
            let (before, after) = (old.get(file, &key), new.get(file, &key));
            let equal = match (before, after) {
                (Some(before), Some(after)) => same(before, after),
                _ => false,
            };
            if !equal {
                changes.push(Change {
                    component: file.component.name(),
                    environment: file.environment.clone(),
                    old: before.cloned(),
                    new: after.cloned(),
                    key,
                });
            }
        }
    }
    changes
}
