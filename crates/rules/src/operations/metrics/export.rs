//! Samples in formats for other tools, with their options.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::exposition::{Sample, render};

/// What a sample says.
const FIELDS: [&str; 5] = ["name", "type", "value", "labels", "help"];
/// The columns of CSV that can be asked for.
const COLUMNS: [&str; 6] = ["timestamp", "name", "type", "value", "labels", "help"];
const USUAL_COLUMNS: [&str; 5] = ["timestamp", "name", "type", "value", "labels"];

/// A format or an option that does not exist, or an option with a wrong value; the texts are for DETAIL and HINT.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadExport {
    /// What is wrong.
    pub message: String,
    /// What is possible.
    pub hint: String,
}

fn bad(message: impl Into<String>, hint: impl Into<String>) -> BadExport {
    BadExport {
        message: message.into(),
        hint: hint.into(),
    }
}

/// A format with its options.
#[derive(Debug, Clone)]
pub enum Format {
    /// The text format of Prometheus.
    Prometheus,
    /// One object: `metrics` and `metadata`.
    Json {
        /// Other names for the fields of a metric.
        field_mapping: Map<String, Value>,
    },
    /// A line per sample.
    Csv(Csv),
}

/// Options of CSV.
#[derive(Debug, Clone)]
pub struct Csv {
    columns: Vec<String>,
    separator: u8,
    row_separator: csv::Terminator,
    flatten_labels: bool,
    include_headers: bool,
}

impl Format {
    /// Reads a format and its options.
    pub fn of(name: &str, options: &Map<String, Value>) -> Result<Self, BadExport> {
        let (format, known): (Self, &[&str]) = match name {
            "prometheus" => (Self::Prometheus, &[]),
            "json" => {
                let format = Self::Json {
                    field_mapping: field_mapping(options)?,
                };
                (format, &["field_mapping"])
            }
            "csv" => (Self::Csv(Csv::of(options)?), &Csv::OPTIONS),
            _ => {
                let message = format!("format \"{}\" does not exist", shortened(name));
                return Err(bad(message, "A format is prometheus, json or csv."));
            }
        };
        match options.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(format),
            Some(key) => Err(bad(
                format!("format {name} has no option \"{}\"", shortened(key)),
                match known {
                    [] => format!("Leave the options of {name} out."),
                    _ => format!("Options of {name} are {}.", known.join(", ")),
                },
            )),
        }
    }

    /// Writes the samples; `exported_at` is an ISO 8601 time, `version` that of the extension.
    pub fn write(&self, samples: &[Sample], exported_at: &str, version: &str) -> String {
        match self {
            Self::Prometheus => render(samples),
            Self::Json { field_mapping } => {
                let metrics: Vec<Value> = samples
                    .iter()
                    .map(|sample| object(sample, field_mapping))
                    .collect();
                json!({
                    "metrics": metrics,
                    "metadata": {
                        "exporter": "json",
                        "version": version,
                        "exported_at": exported_at,
                        "field_mapping": field_mapping,
                    },
                })
                .to_string()
            }
            Self::Csv(csv) => csv.write(samples, exported_at),
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

fn field_mapping(options: &Map<String, Value>) -> Result<Map<String, Value>, BadExport> {
    let hint = format!(
        "It is an object from fields ({}) to other names, as in {{\"value\": \"metric_value\"}}.",
        FIELDS.join(", ")
    );
    let mapping = match options.get("field_mapping") {
        None | Some(Value::Null) => return Ok(Map::new()),
        Some(Value::Object(mapping)) => mapping.clone(),
        Some(_) => return Err(bad("option field_mapping is no object", hint)),
    };
    if let Some(key) = mapping.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        let message = format!("a metric has no field \"{}\"", shortened(key));
        return Err(bad(message, hint));
    }
    let names: Option<BTreeSet<&str>> = FIELDS
        .iter()
        .map(|field| mapping.get(*field).map_or(Some(*field), Value::as_str))
        .collect();
    match names {
        Some(names) if names.len() == FIELDS.len() => Ok(mapping),
        Some(_) => Err(bad("option field_mapping gives two fields one name", hint)),
        None => Err(bad("option field_mapping has a name that is no text", hint)),
    }
}

fn object(sample: &Sample, mapping: &Map<String, Value>) -> Value {
    let labels: BTreeMap<&str, &str> = sample
        .labels
        .iter()
        .map(|(label, value)| (label.as_str(), value.as_str()))
        .collect();
    let field = |field: &str| match field {
        "name" => sample.name.as_str().into(),
        "type" => sample.kind.as_str().into(),
        "value" => number(sample.value),
        "labels" => json!(labels),
        _ => sample.help.as_str().into(),
    };
    let named = |name: &'static str| {
        let other = mapping.get(name).and_then(Value::as_str);
        (other.unwrap_or(name).to_owned(), field(name))
    };
    Value::Object(FIELDS.into_iter().map(named).collect())
}

/// A whole number without a fraction. JSON has no infinity.
fn number(value: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        (value as i64).into()
    } else {
        serde_json::Number::from_f64(value).map_or(Value::Null, Value::Number)
    }
}

impl Csv {
    const OPTIONS: [&str; 5] = [
        "columns",
        "separator",
        "row_separator",
        "flatten_labels",
        "include_headers",
    ];

    fn of(options: &Map<String, Value>) -> Result<Self, BadExport> {
        let flag = |name: &str, usual: bool| match options.get(name) {
            None | Some(Value::Null) => Ok(usual),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(bad(
                format!("option {name} is neither true nor false"),
                "Write true or false without quotes.",
            )),
        };
        Ok(Self {
            columns: columns(options)?,
            separator: separator(options)?,
            row_separator: row_separator(options)?,
            flatten_labels: flag("flatten_labels", false)?,
            include_headers: flag("include_headers", true)?,
        })
    }

    fn write(&self, samples: &[Sample], exported_at: &str) -> String {
        let labels: BTreeSet<&str> = samples
            .iter()
            .flat_map(|sample| sample.labels.iter().map(|(label, _)| label.as_str()))
            .collect();
        let mut out = csv::WriterBuilder::new()
            .delimiter(self.separator)
            .terminator(self.row_separator)
            .quote_style(csv::QuoteStyle::NonNumeric)
            .from_writer(vec![]);
        let is_flat = |column: &str| self.flatten_labels && column == "labels";
        // Into memory nothing fails, and each line has the same number of cells.
        if self.include_headers {
            let headers = self
                .columns
                .iter()
                .flat_map(|column| match is_flat(column) {
                    true => labels
                        .iter()
                        .map(|label| format!("label_{label}"))
                        .collect(),
                    false => vec![column.clone()],
                });
            let _ = out.write_record(headers);
        }
        for sample in samples {
            let value_of = |label: &str| {
                let found = sample.labels.iter().find(|(own, _)| own == label);
                harmless(found.map_or("", |(_, value)| value))
            };
            let cells = self
                .columns
                .iter()
                .flat_map(|column| match column.as_str() {
                    _ if is_flat(column) => labels.iter().map(|label| value_of(label)).collect(),
                    "timestamp" => vec![exported_at.to_owned()],
                    "name" => vec![harmless(&sample.name)],
                    "type" => vec![harmless(&sample.kind)],
                    "value" => vec![sample.value.to_string()],
                    "labels" => {
                        let labels = object(sample, &Map::new())["labels"].to_string();
                        vec![harmless(&labels)]
                    }
                    _ => vec![harmless(&sample.help)],
                });
            let _ = out.write_record(cells);
        }
        let bytes = out.into_inner().unwrap_or_default();
        String::from_utf8(bytes).unwrap_or_default()
    }
}

/// A spreadsheet takes a text that begins like this for a formula; after an apostrophe it is a text.
fn harmless(text: &str) -> String {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{text}"),
        false => text.to_owned(),
    }
}

fn columns(options: &Map<String, Value>) -> Result<Vec<String>, BadExport> {
    let hint = format!(
        "It is an array of some of {}, each once.",
        COLUMNS.join(", ")
    );
    let columns: Vec<String> = match options.get("columns") {
        None | Some(Value::Null) => return Ok(USUAL_COLUMNS.map(str::to_owned).to_vec()),
        Some(Value::Array(columns)) => columns
            .iter()
            .map(|column| column.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or_else(|| bad("option columns has an element that is no text", &*hint))?,
        Some(_) => return Err(bad("option columns is no array", hint)),
    };
    if let Some(column) = columns
        .iter()
        .find(|column| !COLUMNS.contains(&column.as_str()))
    {
        let message = format!("there is no column \"{}\"", shortened(column));
        return Err(bad(message, hint));
    }
    let once: BTreeSet<&String> = columns.iter().collect();
    match once.len() {
        0 => Err(bad("option columns is empty", hint)),
        count if count < columns.len() => Err(bad("option columns names a column twice", hint)),
        _ => Ok(columns),
    }
}

fn separator(options: &Map<String, Value>) -> Result<u8, BadExport> {
    match options.get("separator") {
        None | Some(Value::Null) => Ok(b','),
        Some(Value::String(text)) if is_separator(text) => Ok(text.as_bytes()[0]),
        Some(_) => Err(bad(
            "option separator is no single character",
            "It is one ASCII character: no letter or digit, and not a quote, a point or a minus.",
        )),
    }
}

/// Anything that is part of no number and of no quoted text.
fn is_separator(text: &str) -> bool {
    let byte = match text.as_bytes() {
        [byte] => *byte,
        _ => return false,
    };
    byte.is_ascii() && byte != 0 && !byte.is_ascii_alphanumeric() && !b"\"'.-+\r\n".contains(&byte)
}

fn row_separator(options: &Map<String, Value>) -> Result<csv::Terminator, BadExport> {
    match options.get("row_separator") {
        None | Some(Value::Null) => Ok(csv::Terminator::Any(b'\n')),
        Some(Value::String(text)) if text == "\r\n" => Ok(csv::Terminator::CRLF),
        Some(Value::String(text)) if text == "\n" || is_separator(text) => {
            Ok(csv::Terminator::Any(text.as_bytes()[0]))
        }
        Some(_) => Err(bad(
            "option row_separator is no end of a line",
            "It is \\n, \\r\\n, or one ASCII character as for separator.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Sample> {
        let sample = |name: &str, labels: &[(&str, &str)], value| Sample {
            family: "tasker_steps".to_owned(),
            name: name.to_owned(),
            kind: "counter".to_owned(),
            help: "Steps, \"all\".".to_owned(),
            labels: labels
                .iter()
                .map(|(label, value)| ((*label).to_owned(), (*value).to_owned()))
                .collect(),
            value,
        };
        vec![
            sample(
                "tasker_steps",
                &[("step", "=1+1"), ("namespace", "a;b")],
                3.0,
            ),
            sample("tasker_steps", &[("error", "@x")], -0.5),
        ]
    }

    fn export(name: &str, options: Value) -> String {
        let Value::Object(options) = options else {
            panic!("options are an object");
        };
        let format = Format::of(name, &options).expect("the options can be read");
        format.write(&samples(), "2026-11-30T12:00:00Z", "0.2.0")
    }

    fn refused(name: &str, options: Value) -> String {
        let Value::Object(options) = options else {
            panic!("options are an object");
        };
        Format::of(name, &options).expect_err("a mistake").message
    }

    #[test]
    fn json_has_its_fields_under_the_names_that_are_asked_for() {
        let text = export("json", json!({"field_mapping": {"value": "metric_value"}}));
        let read: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            read["metrics"][0],
            json!({"name": "tasker_steps", "type": "counter", "metric_value": 3, "help": "Steps, \"all\".",
                   "labels": {"step": "=1+1", "namespace": "a;b"}})
        );
        assert_eq!(read["metrics"][1]["metric_value"], json!(-0.5));
        assert_eq!(
            read["metadata"],
            json!({"exporter": "json", "version": "0.2.0", "exported_at": "2026-11-30T12:00:00Z",
                   "field_mapping": {"value": "metric_value"}})
        );
    }

    #[test]
    fn csv_has_a_line_for_each_sample_and_no_formula() {
        assert_eq!(
            export("csv", json!({})),
            "\"timestamp\",\"name\",\"type\",\"value\",\"labels\"\n\
             \"2026-11-30T12:00:00Z\",\"tasker_steps\",\"counter\",3,\"{\"\"namespace\"\":\"\"a;b\"\",\"\"step\"\":\"\"=1+1\"\"}\"\n\
             \"2026-11-30T12:00:00Z\",\"tasker_steps\",\"counter\",-0.5,\"{\"\"error\"\":\"\"@x\"\"}\"\n"
        );
        let options = json!({
            "columns": ["value", "labels"], "flatten_labels": true, "separator": ";", "row_separator": "\r\n",
        });
        assert_eq!(
            export("csv", options),
            "\"value\";\"label_error\";\"label_namespace\";\"label_step\"\r\n\
             3;\"\";\"a;b\";\"'=1+1\"\r\n\
             -0.5;\"'@x\";\"\";\"\"\r\n"
        );
        let options = json!({"columns": ["name"], "include_headers": false, "row_separator": "|"});
        assert_eq!(export("csv", options), "\"tasker_steps\"|\"tasker_steps\"|");
    }

    #[test]
    fn what_does_not_exist_is_refused_by_name() {
        for (format, options, expected) in [
            ("xml", json!({}), "format \"xml\" does not exist"),
            (
                "prometheus",
                json!({"columns": []}),
                "format prometheus has no option \"columns\"",
            ),
            (
                "json",
                json!({"separator": ";"}),
                "format json has no option \"separator\"",
            ),
            (
                "json",
                json!({"field_mapping": []}),
                "option field_mapping is no object",
            ),
            (
                "json",
                json!({"field_mapping": {"valeu": "v"}}),
                "a metric has no field \"valeu\"",
            ),
            (
                "json",
                json!({"field_mapping": {"value": 1}}),
                "option field_mapping has a name that is no text",
            ),
            (
                "json",
                json!({"field_mapping": {"value": "name"}}),
                "option field_mapping gives two fields one name",
            ),
        ] {
            assert_eq!(refused(format, options.clone()), expected, "{options}");
        }
    }

    #[test]
    fn what_csv_cannot_write_is_refused_by_name() {
        for (format, options, expected) in [
            (
                "csv",
                json!({"seperator": ";"}),
                "format csv has no option \"seperator\"",
            ),
            (
                "csv",
                json!({"separator": ";;"}),
                "option separator is no single character",
            ),
            (
                "csv",
                json!({"separator": "\""}),
                "option separator is no single character",
            ),
            (
                "csv",
                json!({"separator": "1"}),
                "option separator is no single character",
            ),
            (
                "csv",
                json!({"row_separator": ""}),
                "option row_separator is no end of a line",
            ),
            (
                "csv",
                json!({"columns": ["nmae"]}),
                "there is no column \"nmae\"",
            ),
            (
                "csv",
                json!({"columns": ["name", "name"]}),
                "option columns names a column twice",
            ),
            ("csv", json!({"columns": []}), "option columns is empty"),
            (
                "csv",
                json!({"columns": "name"}),
                "option columns is no array",
            ),
            (
                "csv",
                json!({"columns": [1]}),
                "option columns has an element that is no text",
            ),
            (
                "csv",
                json!({"include_headers": "yes"}),
                "option include_headers is neither true nor false",
            ),
        ] {
            assert_eq!(refused(format, options.clone()), expected, "{options}");
        }
    }
}
