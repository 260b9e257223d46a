//! Facts that exporters of telemetry tell: how often an exporter is heard, and what a fact says.

use serde_json::{Map, Value};

use super::catalog;
use super::payload;

/// What a program that exports telemetry tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // The catalogue says it.
pub enum Export {
    Requested,
    Completed,
    Failed,
    PluginRegistered,
    PluginUnregistered,
}

/// The newest published events, among which earlier facts are looked for.
pub const LOOKED_AT: i64 = 1000;
/// The longest time that [`Export::rest_seconds`] gives.
pub const LONGEST_REST_SECONDS: i64 = 60;
/// The most of these facts, of all exporters together, within the rows and the time that are looked at.
pub const MOST: usize = 100;
/// The largest document that a caller may give, in bytes.
pub const MOST_BYTES: usize = 4096;

impl Export {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Requested,
        Self::Completed,
        Self::Failed,
        Self::PluginRegistered,
        Self::PluginUnregistered,
    ];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Requested => "export_requested",
            Self::Completed => "export_completed",
            Self::Failed => "export_failed",
            Self::PluginRegistered => "plugin_registered",
            Self::PluginUnregistered => "plugin_unregistered",
        }
    }

    /// The name of its event.
    pub const fn event(self) -> &'static str {
        match self {
            Self::Requested => "tasker.telemetry.export_requested",
            Self::Completed => "tasker.telemetry.export_completed",
            Self::Failed => "tasker.telemetry.export_failed",
            Self::PluginRegistered => "tasker.telemetry.plugin_registered",
            Self::PluginUnregistered => "tasker.telemetry.plugin_unregistered",
        }
    }

    /// That of a word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.word() == word)
    }

    /// Seconds that pass before an exporter is heard again with the same.
    pub const fn rest_seconds(self) -> i64 {
        match self {
            Self::Requested | Self::Completed | Self::Failed => LONGEST_REST_SECONDS,
            // A program that starts again soon is worth telling.
            Self::PluginRegistered | Self::PluginUnregistered => 10,
        }
    }

    /// Whether it is told. What is left out is merged with what was told: the exporter says the same again, or someone floods.
    pub fn is_told(self, exporter: &str, recent: &[Told]) -> bool {
        let same = |told: &&Told| told.event == self.event() && told.exporter == exporter;
        let rest = self.rest_seconds() * 1_000_000;
        recent.len() < MOST
            && recent
                .iter()
                .filter(same)
                .all(|told| told.microseconds_ago >= rest)
    }

    /// What it says: keys of its schema that the details have in the right kind; the others stay together.
    pub fn payload(self, exporter: &str, details: Map<String, Value>) -> Map<String, Value> {
        let mut said = Map::new();
        let mut rest = Map::new();
        let shape = catalog::entry(self.event()).and_then(|entry| entry.payload);
        let known = shape.map_or(vec![], |payload| payload.shape().optional.concat());
        for (key, value) in details {
            let takes = key != DETAILS && known.contains(&key.as_str());
            if takes && payload::fits(&key, &value) {
                said.insert(key, value);
            } else {
                rest.insert(key, value);
            }
        }
        if !rest.is_empty() {
            said.insert(DETAILS.to_owned(), Value::Object(rest));
        }
        said.insert("exporter".to_owned(), exporter.into());
        said
    }
}

const DETAILS: &str = "details";

/// A fact of the export that was told within the longest rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its event.
    pub event: String,
    /// The exporter that told it.
    pub exporter: String,
    /// When; of one that this transaction wrote, 0 at least.
    pub microseconds_ago: i64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(export: Export, exporter: &str, seconds_ago: i64) -> Told {
        Told {
            event: export.event().to_owned(),
            exporter: exporter.to_owned(),
            microseconds_ago: seconds_ago * 1_000_000,
        }
    }

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("{other} is no object"),
        }
    }

    #[test]
    fn each_word_has_its_event_of_the_catalogue() {
        for export in Export::ALL {
            assert_eq!(Export::of(export.word()), Some(export));
            assert_eq!(
                export.event(),
                format!("tasker.telemetry.{}", export.word())
            );
            let entry = catalog::entry(export.event()).expect("it is in the catalogue");
            assert_eq!(entry.source, catalog::Source::Fact, "{}", entry.name);
        }
        for unknown in ["", "cache_synced", "tasker.telemetry.export_failed"] {
            assert_eq!(Export::of(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn an_exporter_is_heard_with_the_same_once_a_minute() {
        let failed = Export::Failed;
        assert!(failed.is_told("otlp", &[]));
        assert!(!failed.is_told("otlp", &[told(failed, "otlp", 0)]));
        assert!(!failed.is_told("otlp", &[told(failed, "otlp", 59)]));
        assert!(failed.is_told("otlp", &[told(failed, "otlp", 60)]));
        assert!(failed.is_told("other", &[told(failed, "otlp", 1)]));
        assert!(failed.is_told("otlp", &[told(Export::Completed, "otlp", 1)]));
    }

    #[test]
    fn a_program_that_starts_again_is_heard_after_ten_seconds() {
        let starts = Export::PluginRegistered;
        assert!(!starts.is_told("otlp", &[told(starts, "otlp", 9)]));
        assert!(starts.is_told("otlp", &[told(starts, "otlp", 10)]));
    }

    #[test]
    fn many_names_do_not_flood_the_log() {
        let many: Vec<Told> = (0..MOST)
            .map(|number| told(Export::Failed, &format!("e{number}"), 1))
            .collect();
        assert!(!Export::Failed.is_told("new", &many));
        assert!(Export::Failed.is_told("new", &many[1..]));
    }

    #[test]
    fn a_payload_has_the_keys_of_its_schema_and_the_others_together() {
        let details = object(json!({
            "format": "otlp", "duration": 0.5, "size_bytes": 12, "metrics_count": -1, "endpoint": "http://collector",
            "details": 7, "exporter": "forged",
        }));
        assert_eq!(
            Value::Object(Export::Completed.payload("spans", details)),
            json!({
                "exporter": "spans", "format": "otlp", "duration": 0.5, "size_bytes": 12,
                "details": {"metrics_count": -1, "endpoint": "http://collector", "details": 7, "exporter": "forged"},
            })
        );
        let failed =
            object(json!({"error_message": "no route", "exception_class": "ConnectError"}));
        assert_eq!(
            Value::Object(Export::Failed.payload("spans", failed)),
            json!({"exporter": "spans", "error_message": "no route", "exception_class": "ConnectError"})
        );
        assert_eq!(
            Value::Object(Export::PluginRegistered.payload("spans", Map::new())),
            json!({"exporter": "spans"})
        );
    }
}
