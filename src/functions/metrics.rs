//! The counters as rows and as text for Prometheus. The views that join it are in sql/views/metrics.sql.

use pgrx::pg_sys::{self, Datum};
use serde_json::{Value, json};
use tasker_rules::events::time::iso;
use tasker_rules::operations::metrics::{
    Format, Part, RECENT_CELLS, Sample, Scope, cells, labelled_cells, quantile, recent_index,
    render,
};

use crate::error::{Error, Result};
use crate::metrics::{self, Metric};
use crate::pg::call::{self, Call, Output};
use crate::pg::datum;
use crate::pg::spi::{Session, Statement};
use crate::settings;

crate::pg::call::sql_function! {
    metric_cells;
    labelled_metric_cells;
    shared_counts;
    shared_series;
    shared_series_used;
    release_shared_series;
    series_limits;
    shared_recent;
    shared_since;
    reset_shared_counts;
    count_finalization;
    histogram_quantile;
    metrics_prometheus;
    export_metrics;
}

fn metric_cells(call: &mut Call) -> Result<Output> {
    for cell in cells() {
        let (part, bound) = match cell.part {
            Part::Total => ("total", None),
            Part::Bucket(bound) => ("bucket", Some(bound)),
            Part::Sum => ("sum", None),
        };
        let labels = match (cell.family.label, cell.label_value, bound) {
            (Some((label, _)), Some(value), _) => format!("{{\"{label}\": \"{value}\"}}"),
            (_, _, Some(f64::INFINITY)) => "{\"le\": \"+Inf\"}".to_owned(),
            (_, _, Some(bound)) => format!("{{\"le\": \"{bound}\"}}"),
            _ => "{}".to_owned(),
        };
        call.row(&[
            datum::int4(cell.number.into()),
            datum::text(cell.family.name),
            datum::text(cell.family.kind().as_str()),
            datum::text(part),
            datum::opt(bound, datum::float8),
            datum::opt_jsonb(datum::jsonb_from_text(&labels)),
            datum::text(cell.family.unit),
            datum::text(cell.family.help),
            datum::boolean(recent_index(cell.number).is_some()),
        ])?;
    }
    Ok(Output::Rows)
}

fn shared_counts(call: &mut Call) -> Result<Output> {
    for (worker_no, cell, amount) in metrics::shared_counts() {
        call.row(&[
            datum::int4(worker_no),
            datum::int4(cell.into()),
            datum::int8(amount as i64),
        ])?;
    }
    Ok(Output::Rows)
}

fn labelled_metric_cells(call: &mut Call) -> Result<Output> {
    for cell in labelled_cells() {
        let (part, bound) = match cell.part {
            Part::Total => ("total", None),
            Part::Bucket(bound) => ("bucket", Some(bound)),
            Part::Sum => ("sum", None),
        };
        let scope = match cell.family.scope {
            Scope::Template => "template",
            Scope::Step => "step",
            Scope::Class => "class",
        };
        call.row(&[
            datum::int4(cell.number.into()),
            datum::text(cell.family.name),
            datum::text(cell.family.kind().as_str()),
            datum::text(scope),
            datum::text(part),
            datum::opt(bound, datum::float8),
            datum::text(cell.family.unit()),
            datum::text(cell.family.help),
        ])?;
    }
    Ok(Output::Rows)
}

fn shared_series(call: &mut Call) -> Result<Output> {
    for count in metrics::shared_series() {
        call.row(&[
            datum::int4(count.series.template),
            datum::int2(count.series.step),
            datum::opt_text(count.error_class.as_deref()),
            datum::int4(count.cell as i32),
            datum::int8(count.amount as i64),
        ])?;
    }
    Ok(Output::Rows)
}

fn shared_series_used(_: &mut Call) -> Result<Output> {
    let used = metrics::shared_series_used();
    Ok(Output::Value(Datum::from(used as i32)))
}

fn release_shared_series(_: &mut Call) -> Result<Output> {
    let released = metrics::release_series(settings::metrics_retention_us());
    Ok(Output::Value(Datum::from(released as i32)))
}

fn series_limits(call: &mut Call) -> Result<Output> {
    let retention = settings::metrics_retention_us();
    call.row(&[
        datum::int4(settings::max_metric_series() as i32),
        datum::int4(settings::max_error_classes() as i32),
        datum::opt(
            (retention > 0).then_some(retention as f64 / 1e6),
            datum::float8,
        ),
    ])?;
    Ok(Output::Rows)
}

fn shared_recent(call: &mut Call) -> Result<Output> {
    let mut cell_of = [0u16; RECENT_CELLS];
    for cell in cells() {
        if let Some(index) = recent_index(cell.number) {
            cell_of[index] = cell.number;
        }
    }
    for (began_at, index, amount) in metrics::shared_recent(call::clock()) {
        call.row(&[
            // What was counted is at most this old.
            datum::timestamp(began_at + metrics::TICK_US),
            datum::int4(cell_of[index].into()),
            datum::int8(amount as i64),
        ])?;
    }
    Ok(Output::Rows)
}

fn shared_since(call: &mut Call) -> Result<Output> {
    let (exists, since) = metrics::shared_since();
    call.row(&[datum::boolean(exists), datum::opt(since, datum::timestamp)])?;
    Ok(Output::Rows)
}

fn reset_shared_counts(_: &mut Call) -> Result<Output> {
    metrics::reset_shared();
    Ok(Output::Null)
}

fn count_finalization(call: &mut Call) -> Result<Output> {
    let operation: String = call.get(0, "operation")?;
    let outcome: String = call.get(1, "outcome")?;
    let began_at: i64 = call.get(2, "began_at")?;
    let (attempts, duration, result) = match (operation.as_str(), outcome.as_str()) {
        ("claim", "success") => (
            Metric::ClaimAttempts,
            Metric::ClaimDuration,
            Metric::ClaimSuccess,
        ),
        ("claim", _) => (
            Metric::ClaimAttempts,
            Metric::ClaimDuration,
            Metric::ClaimContention,
        ),
        ("extend", "success") => (
            Metric::ExtendAttempts,
            Metric::ExtendDuration,
            Metric::ExtendSuccess,
        ),
        ("extend", _) => (
            Metric::ExtendAttempts,
            Metric::ExtendDuration,
            Metric::ExtendFailed,
        ),
        ("release", "success") => (
            Metric::ReleaseAttempts,
            Metric::ReleaseDuration,
            Metric::ReleaseSuccess,
        ),
        ("release", _) => (
            Metric::ReleaseAttempts,
            Metric::ReleaseDuration,
            Metric::ReleaseNotOwned,
        ),
        _ => {
            return Err(Error::corrupt(format!(
                "no finalization call is named {operation}"
            )));
        }
    };
    let now = call::clock();
    metrics::record(|recorder| {
        recorder.count(attempts, 1);
        recorder.count(result, 1);
        recorder.observe(duration, now - began_at);
        if result == Metric::ClaimContention {
            recorder.count_labelled(Metric::ClaimContentionByReason, &outcome);
        }
    });
    // These calls write anyway and are rare: without shared memory each counts at once.
    metrics::write(now)?;
    Ok(Output::Null)
}

fn histogram_quantile(call: &mut Call) -> Result<Output> {
    let plain = |values: Option<Vec<Option<f64>>>| -> Vec<f64> {
        values.unwrap_or_default().into_iter().flatten().collect()
    };
    let bounds = plain(call.opt_array::<f64>(0));
    let counts: Vec<u64> = plain(call.opt_array::<f64>(1))
        .into_iter()
        .map(|count| count as u64)
        .collect();
    let q: f64 = call.get(2, "q")?;
    Ok(quantile(&bounds, &counts, q).map_or(Output::Null, Output::Float))
}

static SAMPLES: Statement = Statement::new(
    "SELECT m.family, m.name, m.kind, m.help, m.labels::text, m.value
     FROM (SELECT family, name, kind, help, labels, value FROM tasker.metrics
           UNION ALL
           SELECT family, name, kind, help, labels, value FROM tasker_engine.worker_samples WHERE $1
           UNION ALL
           SELECT family, name, kind, help, labels, value FROM tasker_engine.state_samples WHERE $2) m
     WHERE m.value IS NOT NULL",
    &[pg_sys::BOOLOID, pg_sys::BOOLOID],
);

fn metrics_prometheus(call: &mut Call) -> Result<Output> {
    let with_workers: bool = call.get(0, "with_workers")?;
    let with_states: bool = call.get(1, "with_states")?;
    Ok(Output::Text(render(&samples(with_workers, with_states)?)))
}

fn export_metrics(call: &mut Call) -> Result<Output> {
    let name: String = call.get(0, "format")?;
    let options = call.jsonb(1, "options")?;
    let Ok(Value::Object(options)) = serde_json::from_str(&datum::jsonb_text(options)) else {
        return Err(Error::parameter("options is no object")
            .hint("Leave it out, or write an object such as {\"separator\": \";\"}."));
    };
    let format =
        Format::of(&name, &options).map_err(|bad| Error::parameter(bad.message).hint(bad.hint))?;
    let began = call::tick();
    let samples = samples(false, false)?;
    let now = iso(call::clock());
    let text = format.write(&samples, &now, env!("CARGO_PKG_VERSION"));
    if call::may_write() {
        let details = json!({
            "format": name,
            "duration": (call::tick() - began).max(0) as f64 / 1e6,
            "size_bytes": text.len(),
            "metrics_count": samples.len(),
        });
        let details = datum::jsonb_from_text(&details.to_string())
            .ok_or_else(|| Error::corrupt("what an export was is JSON"))?;
        let session = Session::open()?;
        session.run(&NOTE_EXPORT, &[datum::text(&name), details.arg()])?;
    }
    Ok(Output::Text(text))
}

static NOTE_EXPORT: Statement = Statement::new(
    "SELECT tasker_engine.note_export($1, $2)",
    &[pg_sys::TEXTOID, pg_sys::JSONBOID],
);

fn samples(with_workers: bool, with_states: bool) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let session = Session::open()?;
    let arguments = [datum::boolean(with_workers), datum::boolean(with_states)];
    for row in session.read(&SAMPLES, &arguments)?.iter() {
        let labels: String = row.get(5)?;
        let labels: serde_json::Map<String, Value> = serde_json::from_str(&labels)
            .map_err(|_| Error::corrupt("the labels of a metric are no object"))?;
        samples.push(Sample {
            family: row.get(1)?,
            name: row.get(2)?,
            kind: row.get(3)?,
            help: row.get(4)?,
            labels: labels
                .into_iter()
                .map(|(label, value)| match value {
                    Value::String(value) => (label, value),
                    other => (label, other.to_string()),
                })
                .collect(),
            value: row.get(6)?,
        });
    }
    Ok(samples)
}
