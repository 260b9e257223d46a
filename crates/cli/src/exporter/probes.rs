//! What the paths answer: the rows of the SQL functions as JSON, and what is said when the database gives none.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::{Map, Value, json};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::database::{Ask, Database, Failure};
use super::flight::Flight;
use super::log;
use super::own_metrics::OwnMetrics;
use super::settings::Settings;

const READY: &str = "SELECT ready, message, failed_checks FROM tasker.health_ready()";

/// The measures with their levels, and numbers of tasks, steps, retries and connections.
const STATUS: &str = "\
WITH status AS MATERIALIZED (SELECT * FROM tasker.health_status())
SELECT json_build_object(
    'healthy', o.level <> 'unhealthy', 'status', o.level, 'message', o.message,
    'measures', (SELECT json_object_agg(s.measure, to_jsonb(s) - 'measure') FROM status s WHERE s.measure <> 'overall'),
    'metrics', json_build_object(
        'tasks', json_build_object(
            'total', c.total_tasks, 'pending', c.pending_tasks, 'in_progress', c.in_progress_tasks, 'complete', c.complete_tasks,
            'error', c.error_tasks, 'cancelled', c.cancelled_tasks, 'resolved_manually', c.resolved_manually_tasks),
        'steps', json_build_object(
            'total', c.total_steps, 'pending', c.pending_steps, 'in_progress', c.in_progress_steps, 'complete', c.complete_steps,
            'error', c.error_steps, 'cancelled', c.cancelled_steps, 'resolved_manually', c.resolved_manually_steps),
        'retries', json_build_object(
            'retryable_errors', c.retryable_error_steps, 'exhausted_retries', c.exhausted_retry_steps, 'in_backoff', c.in_backoff_steps)),
    'database', json_build_object(
        'active_connections', c.active_connections, 'max_connections', c.max_connections,
        'connection_utilization', round(100.0 * c.active_connections / c.max_connections, 2)))::text AS body
FROM status o, tasker.get_system_health_counts() c WHERE o.measure = 'overall'";

const METRICS: &str = "SELECT tasker.metrics_prometheus() AS body";

/// A status code and an object.
#[derive(Clone, Debug)]
pub struct Answer {
    pub code: u16,
    pub body: Map<String, Value>,
}

pub struct Probes {
    database: Database,
    metrics: Arc<OwnMetrics>,
    ready: Flight<Answer>,
    status: Flight<Answer>,
    text: Flight<Result<Arc<str>, Failure>>,
    settings: Arc<Settings>,
    last_status: Arc<Mutex<Option<(Instant, Answer)>>>,
}

impl Probes {
    pub fn new(database: Database, metrics: Arc<OwnMetrics>, settings: Arc<Settings>) -> Self {
        Self {
            database,
            metrics,
            ready: Flight::new(),
            status: Flight::new(),
            text: Flight::new(),
            settings,
            last_status: Arc::default(),
        }
    }

    /// This process answers: whether the database does is not its matter.
    pub fn live() -> Answer {
        let body = object([
            ("alive", json!(true)),
            ("timestamp", json!(log::now())),
            ("service", json!("tasker")),
        ]);
        Answer { code: 200, body }
    }

    /// `while_draining`: also ready where all that fails is that the state hands out no work.
    pub async fn ready(&self, while_draining: bool) -> Answer {
        let database = self.database.clone();
        let answer = self
            .ready
            .join(|| async move { ask_ready(&database).await })
            .await;
        let mut answer = answer.unwrap_or_else(|| ready_failure(&Failure::Lost, Instant::now()));
        if while_draining && answer.body.get("failed_checks") == Some(&json!(["state"])) {
            answer.code = 200;
            answer.body.insert("ready".into(), json!(true));
        }
        answer
    }

    pub async fn status(&self) -> Answer {
        if let Some(answer) = self.cached_status() {
            return answer;
        }
        let database = self.database.clone();
        let last = self.last_status.clone();
        let answer = self
            .status
            .join(|| async move {
                let begun = Instant::now();
                match ask_status(&database, begun).await {
                    Ok(answer) => {
                        *last.lock().unwrap_or_else(PoisonError::into_inner) =
                            Some((begun, answer.clone()));
                        answer
                    }
                    Err(failure) => status_failure(&failure, begun),
                }
            })
            .await;
        answer.unwrap_or_else(|| status_failure(&Failure::Lost, Instant::now()))
    }

    /// Only what the database said is kept, not that it said nothing.
    fn cached_status(&self) -> Option<Answer> {
        let last = self
            .last_status
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (at, answer) = last.as_ref()?;
        if at.elapsed() >= self.settings.cache_duration() {
            return None;
        }
        let mut answer = answer.clone();
        answer.body.insert("cached".into(), json!(true));
        Some(answer)
    }

    /// The metrics of the database, if it gives them, and those of the exporter.
    pub async fn metrics(&self) -> String {
        let database = self.database.clone();
        let text = self
            .text
            .join(|| async move { ask_metrics(&database).await })
            .await;
        match text.unwrap_or(Err(Failure::Lost)) {
            Ok(text) => {
                self.metrics.up.set(1);
                let end = if text.ends_with('\n') { "" } else { "\n" };
                format!("{text}{end}{}", self.metrics.text())
            }
            Err(_) => {
                self.metrics.up.set(0);
                self.metrics.text()
            }
        }
    }
}

async fn ask_ready(database: &Database) -> Answer {
    let begun = Instant::now();
    let found = database.ask(Ask::urgent(READY)).await.and_then(|rows| {
        let row = rows.first().ok_or(Failure::Lost)?;
        Ok((
            value::<bool>(row, "ready")?,
            value::<String>(row, "message")?,
            value::<Vec<String>>(row, "failed_checks")?,
        ))
    });
    if found
        .as_ref()
        .is_ok_and(|(_, _, failed)| failed.iter().any(|check| check == "version"))
    {
        // Our session has loaded the library that was there before an update, perhaps.
        database.close().await;
    }
    match found {
        Ok((ready, message, failed)) => ready_answer(ready, &message, &failed, begun),
        Err(failure) => ready_failure(&failure, begun),
    }
}

async fn ask_status(database: &Database, begun: Instant) -> Result<Answer, Failure> {
    let rows = database.ask(Ask::reading(STATUS)).await?;
    let text: String = value(rows.first().ok_or(Failure::Lost)?, "body")?;
    let mut body: Map<String, Value> = serde_json::from_str(&text).map_err(|_| Failure::Lost)?;
    let healthy = body.get("healthy") == Some(&json!(true));
    body.insert("cached".into(), json!(false));
    stamp(&mut body, begun);
    let code = if healthy { 200 } else { 503 };
    Ok(Answer { code, body })
}

async fn ask_metrics(database: &Database) -> Result<Arc<str>, Failure> {
    let rows = database.ask(Ask::reading(METRICS)).await?;
    let text: String = value(rows.first().ok_or(Failure::Lost)?, "body")?;
    Ok(text.into())
}

/// A column that has another type belongs to another version of the extension.
fn value<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    column: &str,
) -> Result<T, Failure> {
    row.try_get(column).map_err(|_| Failure::Sql {
        state: SqlState::DATATYPE_MISMATCH.code().to_owned(),
        message: format!("column {column} is not as expected"),
    })
}

/// Which check fails when the database gives no answer, and in which words.
fn named(failure: &Failure) -> (&'static str, String) {
    let is = |states: &[&SqlState]| states.iter().any(|state| failure.is_sql(state));
    if is(&[
        &SqlState::INVALID_SCHEMA_NAME,
        &SqlState::UNDEFINED_FUNCTION,
    ]) {
        return (
            "extension",
            "tasker_ext is not installed in this database".to_owned(),
        );
    }
    if is(&[&SqlState::INSUFFICIENT_PRIVILEGE]) {
        return (
            "rights",
            "the role of the exporter needs GRANT tasker_reader".to_owned(),
        );
    }
    ("database", failure.to_string())
}

fn ready_answer(ready: bool, message: &str, failed: &[String], begun: Instant) -> Answer {
    let mut checks = object([("database", json!("ok"))]);
    for check in failed {
        checks.insert(check.clone(), json!("failed"));
    }
    let mut body = object([
        ("ready", json!(ready)),
        ("message", json!(message)),
        ("failed_checks", json!(failed)),
        ("checks", Value::Object(checks)),
    ]);
    stamp(&mut body, begun);
    let code = if ready { 200 } else { 503 };
    Answer { code, body }
}

fn ready_failure(failure: &Failure, begun: Instant) -> Answer {
    let (check, message) = named(failure);
    ready_answer(false, &message, &[check.to_owned()], begun)
}

fn status_failure(failure: &Failure, begun: Instant) -> Answer {
    let (check, message) = named(failure);
    let mut body = object([
        ("healthy", json!(false)),
        ("status", json!("unhealthy")),
        ("message", json!(message)),
        ("failed_checks", json!([check])),
        ("cached", json!(false)),
    ]);
    stamp(&mut body, begun);
    Answer { code: 503, body }
}

/// When it was asked, and for how many seconds.
fn stamp(body: &mut Map<String, Value>, begun: Instant) {
    let seconds = (begun.elapsed().as_secs_f64() * 10_000.0).round() / 10_000.0;
    body.insert("timestamp".into(), json!(log::now()));
    body.insert("check_duration".into(), json!(seconds));
}

fn object<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}
