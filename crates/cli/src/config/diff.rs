//! What loading files would change of the values that a database has.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tasker_rules::configuration::same;

use super::database::Effective;
use super::files::Files;

struct Change {
    key: String,
    old: Value,
    new: Value,
    /// What the new value does not come over: a setting, or what a function has set.
    hidden_by: Option<String>,
}

fn changes(files: &Files, rows: &[Effective], environment: &str) -> Vec<Change> {
    let resolved = files.set.resolve(Some(environment));
    let names: BTreeSet<String> = files.set.files.keys().map(ToString::to_string).collect();
    let mut changes = vec![];
    let mut seen = BTreeSet::new();
    for row in rows {
        let Ok(component) = row.component.parse() else {
            continue;
        };
        let from_file = matches!(row.origin.as_str(), "base" | "environment");
        let new = match resolved.get(component, &row.key) {
            Some((new, _)) => new,
            // A file is replaced whole.
            None if from_file
                && row
                    .origin_file
                    .as_ref()
                    .is_some_and(|file| names.contains(file)) =>
            {
                &row.default_value
            }
            None => continue,
        };
        seen.insert((component, row.key.as_str()));
        if !same(&row.value, new) {
            changes.push(Change {
                key: format!("{}.{}", row.component, row.key),
                old: row.value.clone(),
                new: new.clone(),
                hidden_by: (!from_file && row.origin != "default").then(|| row.origin.clone()),
            });
        }
    }
    for (component, key, value, _) in resolved.iter() {
        if !seen.contains(&(component, key)) {
            changes.push(Change {
                key: format!("{component}.{key}"),
                old: Value::Null,
                new: value.clone(),
                hidden_by: None,
            });
        }
    }
    changes.sort_by(|one, other| one.key.cmp(&other.key));
    changes
}

/// Writes the changes.
pub fn show(files: &Files, rows: &[Effective], environment: &str, as_json: bool) {
    let changes = changes(files, rows, environment);
    if as_json {
        let list = changes.iter().map(|change| {
            json!({"key": change.key, "old": change.old, "new": change.new, "hidden_by": change.hidden_by})
        });
        let list: Vec<Value> = list.collect();
        println!("{}", json!({"environment": environment, "changes": list}));
        return;
    }
    for change in &changes {
        let note = change
            .hidden_by
            .as_ref()
            .map_or(String::new(), |by| format!("  # not in force: {by}"));
        println!("{}: {} -> {}{note}", change.key, change.old, change.new);
    }
    println!(
        "{} values change in environment {environment}",
        changes.len()
    );
}
