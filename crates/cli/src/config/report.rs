//! What the command writes: findings with their places, and the values in force. All of it goes to stdout; errors that are not about the
//! configuration go to stderr.

use std::path::Path;

use serde_json::{Value, json};
use tasker_rules::configuration::{self, Severity};

use super::database::{Effective, Row};

/// A finding as it is shown.
pub struct Finding {
    error: bool,
    /// With the directory; line and column after it.
    path: String,
    message: String,
}

impl Finding {
    pub fn of_file(finding: &configuration::Finding, dir: &Path, force: bool) -> Self {
        Self {
            error: match finding.severity {
                Severity::Error => true,
                Severity::Forcible => !force,
                Severity::Warning => false,
            },
            path: shown(&finding.path(), dir),
            message: finding.message.clone(),
        }
    }

    pub fn of_server(row: Row, dir: &Path) -> Self {
        // Its lines are those of the text that was sent, which is not the user's.
        let file = row.path.split(':').next().unwrap_or_default();
        Self {
            error: row.severity == "error",
            path: shown(file, dir),
            message: row.message,
        }
    }
}

fn shown(path: &str, dir: &Path) -> String {
    match path {
        "" => dir.display().to_string(),
        path => dir.join(path).display().to_string(),
    }
}

/// All findings of a command.
pub struct Report {
    json: bool,
    failed: bool,
    findings: Vec<Finding>,
    summary: Option<String>,
}

impl Report {
    pub fn new(json: bool, failed: bool) -> Self {
        Self {
            json,
            failed,
            findings: vec![],
            summary: None,
        }
    }

    pub fn add(&mut self, finding: Finding) {
        self.failed |= finding.error;
        self.findings.push(finding);
    }

    pub fn has(&self, message: &str) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.message == message)
    }

    pub fn has_error(&self) -> bool {
        self.failed
    }

    /// What was done, for people.
    pub fn summary(&mut self, text: &str) {
        self.summary = Some(text.to_owned());
    }

    /// Writes all; whether there was no error.
    pub fn finish(self) -> bool {
        let severity = |finding: &Finding| if finding.error { "error" } else { "warning" };
        if self.json {
            let findings = self.findings.iter().map(|finding| {
                json!({"severity": severity(finding), "path": finding.path, "message": finding.message})
            });
            let findings: Vec<Value> = findings.collect();
            println!("{}", json!({"ok": !self.failed, "findings": findings}));
            return !self.failed;
        }
        for finding in &self.findings {
            println!(
                "{}: {}: {}",
                finding.path,
                severity(finding),
                finding.message
            );
        }
        let count = |error| {
            self.findings
                .iter()
                .filter(|finding| finding.error == error)
                .count()
        };
        let what = match (&self.summary, self.failed) {
            (_, true) => "nothing is loaded",
            (Some(text), false) => text.as_str(),
            (None, false) => "done",
        };
        println!("{what}: {} errors, {} warnings", count(true), count(false));
        !self.failed
    }
}

/// Writes the values in force.
pub fn show(rows: &[Effective], environment: &str, json: bool) {
    if json {
        let rows = rows.iter().map(|row| {
            json!({"component": row.component, "key": row.key, "value": row.value, "unit": row.unit, "origin": row.origin,
                   "origin_file": row.origin_file, "default_value": row.default_value, "needs": row.needs})
        });
        let rows: Vec<Value> = rows.collect();
        println!("{}", json!({"environment": environment, "values": rows}));
        return;
    }
    println!("# environment {environment}");
    for row in rows {
        let unit = row.unit.as_deref().filter(|unit| !unit.is_empty());
        let unit = unit.map_or(String::new(), |unit| format!(" {unit}"));
        let file = row
            .origin_file
            .as_deref()
            .map_or(String::new(), |file| format!(" {file}"));
        println!(
            "{}.{} = {}{unit}  # {}{file}",
            row.component, row.key, row.value, row.origin
        );
    }
}
