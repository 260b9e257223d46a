//! The events of a subscriber, for an export: polled in batches, kept while they are sent, acknowledged when the receiver has them.
//!
//! What is not acknowledged comes again: after a stop at once, after the end of the process when the lease ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::database::{Database, Failure, Parameter};
use super::log;
use super::{Context, Stop};

/// How long a batch belongs to this process without an extension; after a crash it comes again after this time.
const LEASE: Duration = Duration::from_secs(30);
/// The database is asked again after this when it gave no answer, and when it has nothing new.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a subscriber that cannot be used is looked at again.
const PAUSE_AFTER_MISTAKE: Duration = Duration::from_secs(10);

/// A subscriber whose events this process takes.
pub struct Source {
    pub subscriber: String,
    database: Database,
    consumer: String,
}

impl Source {
    pub fn new(context: &Context, subscriber: &str) -> Self {
        Self {
            subscriber: subscriber.to_owned(),
            database: context.database.clone(),
            consumer: format!("tasker exporter {}", std::process::id()),
        }
    }

    /// Returns when the subscriber can be used; false: the exporter ends before. Says what is missing, with the statement that helps.
    pub async fn ready(&self, stop: &mut Stop, wanted: &Wanted<'_>) -> bool {
        let mut said = String::new();
        loop {
            let pause = match self.problem(wanted).await {
                Ok(None) => return true,
                Ok(Some(problem)) => {
                    if problem != said {
                        log::error(&problem, &[("subscriber", &self.subscriber)]);
                        said = problem;
                    }
                    PAUSE_AFTER_MISTAKE
                }
                // The connection itself says why.
                Err(_) => PAUSE,
            };
            if timeout(pause, stop.wait()).await.is_ok() {
                return false;
            }
        }
    }

    async fn problem(&self, wanted: &Wanted<'_>) -> Result<Option<String>, Failure> {
        let rows = self
            .database
            .query(
                "SELECT s.ordered, s.handler,
                        EXISTS (SELECT FROM pg_roles r WHERE r.rolname = ANY (s.granted_to || s.owner_role)
                                AND pg_has_role(current_user, r.oid, 'MEMBER')),
                        current_user::text
                 FROM tasker.subscribers s WHERE s.subscriber = $1",
                vec![Box::new(self.subscriber.clone())],
            )
            .await;
        let name = quoted(&self.subscriber);
        let rows = match rows {
            Ok(rows) => rows,
            Err(Failure::Sql { message, .. }) => {
                return Ok(Some(format!(
                    "the subscribers cannot be read: {message}; the role of the exporter must be a member of tasker_reader"
                )));
            }
            Err(failure) => return Err(failure),
        };
        let Some(row) = rows.first() else {
            return Ok(Some(format!(
                "there is no subscriber {name}; an operator makes it: SELECT tasker.subscribe({name}{});",
                wanted.arguments
            )));
        };
        let problem = if row.get::<_, Option<String>>(1).is_some() {
            Some(format!(
                "a function handles the events of subscriber {name}; use another subscriber, or remove it: SELECT tasker.subscribe({name}, handler => '');"
            ))
        } else if wanted.ordered && !row.get::<_, bool>(0) {
            Some(format!(
                "subscriber {name} is not ordered, and webhooks come in the order of each task: SELECT tasker.subscribe({name}, ordered => true);"
            ))
        } else if !row.get::<_, bool>(2) {
            Some(format!(
                "subscriber {name} belongs to another role; an operator lets the exporter poll it: SELECT tasker.grant_subscriber({name}, {});",
                quoted(row.get(3))
            ))
        } else {
            None
        };
        Ok(problem)
    }

    /// Asks the database for something that belongs to these events.
    pub async fn query(
        &self,
        statement: &str,
        parameters: Vec<Parameter>,
    ) -> Result<Vec<Row>, Failure> {
        self.database.query(statement, parameters).await
    }

    /// Events for this process, with these columns of `poll_events`.
    pub async fn poll(&self, columns: &str, format: &str, most: i32) -> Result<Vec<Row>, Failure> {
        self.database
            .query(
                &format!(
                    "SELECT {columns} FROM tasker.poll_events($1, $2, make_interval(secs => {}), $3, $4)",
                    LEASE.as_secs()
                ),
                vec![
                    Box::new(self.subscriber.clone()),
                    Box::new(most),
                    Box::new(self.consumer.clone()),
                    Box::new(format.to_owned()),
                ],
            )
            .await
    }

    /// Waits for more after a poll that found nothing; false: the exporter ends.
    pub async fn wait(&self, stop: &mut Stop) -> bool {
        tokio::select! {
            () = stop.wait() => false,
            () = self.database.notified() => true,
            () = sleep(PAUSE) => true,
        }
    }

    /// Waits after a poll that failed; false: the exporter ends.
    pub async fn wait_after(&self, failure: &Failure, stop: &mut Stop) -> bool {
        if let Failure::Sql { message, .. } = failure {
            log::warning(
                "the events of a subscriber cannot be polled",
                &[("subscriber", &self.subscriber), ("reason", message)],
            );
        }
        timeout(PAUSE, stop.wait()).await.is_err()
    }

    /// Does some work and keeps these events meanwhile, however long it takes.
    pub async fn keep<T>(&self, events: &[i64], work: impl Future<Output = T>) -> T {
        let keep = async {
            loop {
                sleep(LEASE / 3).await;
                // Without an answer the next time counts. Events that were lost meanwhile come twice.
                let _ = self
                    .answer(
                        &format!(
                            "SELECT tasker.extend_events($1, $2, make_interval(secs => {}))",
                            LEASE.as_secs()
                        ),
                        events,
                        None,
                    )
                    .await;
            }
        };
        tokio::select! {
            result = work => result,
            () = keep => unreachable!("it has no end"),
        }
    }

    /// The receiver has these events. Asks until the database has answered; when the exporter ends, once more.
    pub async fn acknowledge(&self, events: &[i64], stop: &Stop) {
        self.until_answered("SELECT tasker.ack_events($1, $2)", events, None, stop)
            .await;
    }

    /// The receiver does not take these events: they come again, or become dead letters.
    pub async fn refuse(&self, events: &[i64], error: &str, stop: &Stop) {
        let statement = "SELECT tasker.nack_events($1, $2, NULL, $3)";
        self.until_answered(statement, events, Some(error), stop)
            .await;
    }

    /// The exporter ends: another consumer gets these events at once.
    pub async fn give_back(&self, events: &[i64]) {
        if !events.is_empty() {
            // Without an answer the lease ends.
            let statement = "SELECT tasker.nack_events($1, $2, '0', 'the exporter stopped')";
            let _ = self.answer(statement, events, None).await;
        }
    }

    async fn until_answered(
        &self,
        statement: &str,
        events: &[i64],
        more: Option<&str>,
        stop: &Stop,
    ) {
        while let Err(failure) = self.answer(statement, events, more).await {
            if let Failure::Sql { message, .. } = &failure {
                log::warning(
                    "the database takes no answer about events; they come again",
                    &[("subscriber", &self.subscriber), ("reason", message)],
                );
                return;
            }
            if timeout(PAUSE, stop.clone().wait()).await.is_ok() {
                let _ = self.answer(statement, events, more).await;
                return;
            }
        }
    }

    async fn answer(
        &self,
        statement: &str,
        events: &[i64],
        more: Option<&str>,
    ) -> Result<Vec<Row>, Failure> {
        let mut parameters: Vec<Parameter> =
            vec![Box::new(self.subscriber.clone()), Box::new(events.to_vec())];
        parameters.extend(more.map(|text| Box::new(text.to_owned()) as Parameter));
        self.database.query(statement, parameters).await
    }
}

/// What an export needs of its subscriber.
pub struct Wanted<'a> {
    /// More arguments of the `subscribe` that an operator is told.
    pub arguments: &'a str,
    pub ordered: bool,
}

/// A text as a literal of SQL.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What an export tells the database of itself, as events of the stream: each kind at most once a minute.
pub struct Telemetry {
    database: Database,
    export: &'static str,
    name: String,
    last: Mutex<[Option<Instant>; 3]>,
    /// An older extension has no function for it.
    missing: AtomicBool,
}

#[derive(Clone, Copy)]
pub enum Told {
    Requested = 0,
    Completed = 1,
    Failed = 2,
}

impl Told {
    fn event(self) -> &'static str {
        match self {
            Self::Requested => "export_requested",
            Self::Completed => "export_completed",
            Self::Failed => "export_failed",
        }
    }
}

impl Telemetry {
    pub fn new(context: &Context, export: &'static str, name: &str) -> Arc<Self> {
        Arc::new(Self {
            database: context.database.clone(),
            export,
            name: name.to_owned(),
            last: Mutex::default(),
            missing: AtomicBool::new(false),
        })
    }

    /// The export begins or ends with the process.
    pub async fn plugin(&self, registered: bool) {
        let event = if registered {
            "plugin_registered"
        } else {
            "plugin_unregistered"
        };
        self.record(event, serde_json::json!({})).await;
    }

    /// Beside the export, which does not wait for it.
    pub async fn tell(self: &Arc<Self>, told: Told, details: Value) {
        {
            let mut last = self.last.lock().await;
            let last = &mut last[told as usize];
            let now = Instant::now();
            if last.is_some_and(|last| now - last < Duration::from_secs(60)) {
                return;
            }
            *last = Some(now);
        }
        let this = self.clone();
        tokio::spawn(async move { this.record(told.event(), details).await });
    }

    async fn record(&self, event: &'static str, mut details: Value) {
        if self.missing.load(Ordering::Relaxed) {
            return;
        }
        details["format"] = Value::String(self.export.to_owned());
        // A name of at most 128 characters.
        let name: String = format!("{}({})", self.export, self.name)
            .chars()
            .take(128)
            .collect();
        let answer = self
            .database
            .query(
                "SELECT tasker.record_export($1, $2, $3)",
                vec![
                    Box::new(name),
                    Box::new(event.to_owned()),
                    Box::new(details),
                ],
            )
            .await;
        if answer.is_err_and(|failure| failure.is_sql(&SqlState::UNDEFINED_FUNCTION)) {
            self.missing.store(true, Ordering::Relaxed);
        }
    }
}
