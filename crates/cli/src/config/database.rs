//! The connection of `tasker config`: one, for one statement.

use std::time::Duration;

use serde_json::Value;
use tokio_postgres::Client;

use crate::connection::{Target, with_cause};

/// How long connecting may take, and how long an answer that never comes is waited for.
const LIMIT: Duration = Duration::from_secs(10);
/// A second loader waits for the first.
const LONGEST: Duration = Duration::from_secs(120);

pub struct Database {
    client: Client,
}

/// A row of `load_config_set`.
pub struct Row {
    pub severity: String,
    pub path: String,
    pub message: String,
}

/// A row of `effective_config`.
pub struct Effective {
    pub component: String,
    pub key: String,
    pub value: Value,
    pub unit: Option<String>,
    pub origin: String,
    pub origin_file: Option<String>,
    pub default_value: Value,
    pub needs: Option<String>,
}

impl Database {
    pub async fn open(dsn: &str) -> Result<Self, String> {
        let target = Target::new(dsn, "tasker config")?;
        let config = target.config(LIMIT);
        let connecting = config.connect(target.tls.clone());
        let (client, connection) = tokio::time::timeout(LIMIT, connecting)
            .await
            .map_err(|_| format!("no answer from {}", target.describe()))?
            .map_err(|error| format!("{}: {}", target.describe(), with_cause(&error)))?;
        tokio::spawn(connection);
        Ok(Self { client })
    }

    /// Loads files, as one change.
    pub async fn load(&self, files: &Value, force: bool) -> Result<Vec<Row>, String> {
        let rows = within(self.client.query(
            "SELECT severity, path, message FROM tasker.load_config_set($1::text::jsonb, $2)",
            &[&files.to_string(), &force],
        ))
        .await?;
        rows.iter()
            .map(loaded)
            .collect::<Result<_, _>>()
            .map_err(said)
    }

    /// The values in force in an environment.
    pub async fn effective(&self, environment: &str) -> Result<Vec<Effective>, String> {
        let rows = within(self.client.query(
            "SELECT component, key, value::text, unit, origin, origin_file, default_value::text, needs
             FROM tasker.effective_config($1) ORDER BY component, key",
            &[&environment],
        ))
        .await?;
        rows.iter()
            .map(in_force)
            .collect::<Result<_, _>>()
            .map_err(said)
    }
}

fn loaded(row: &tokio_postgres::Row) -> Result<Row, tokio_postgres::Error> {
    Ok(Row {
        severity: row.try_get(0)?,
        path: row.try_get::<_, Option<String>>(1)?.unwrap_or_default(),
        message: row.try_get(2)?,
    })
}

fn in_force(row: &tokio_postgres::Row) -> Result<Effective, tokio_postgres::Error> {
    Ok(Effective {
        component: row.try_get(0)?,
        key: row.try_get(1)?,
        value: value(row.try_get(2)?),
        unit: row.try_get(3)?,
        origin: row.try_get(4)?,
        origin_file: row.try_get(5)?,
        default_value: value(row.try_get(6)?),
        needs: row.try_get(7)?,
    })
}

fn value(text: Option<String>) -> Value {
    text.and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}

fn said(error: tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(inner) => {
            let hint = inner
                .hint()
                .map_or(String::new(), |hint| format!(" ({hint})"));
            format!(
                "{} (SQLSTATE {}){hint}",
                inner.message(),
                inner.code().code()
            )
        }
        None => with_cause(&error),
    }
}

async fn within<T>(
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, String> {
    tokio::time::timeout(LONGEST, answer)
        .await
        .map_err(|_| "the database did not answer in time".to_owned())?
        .map_err(said)
}
