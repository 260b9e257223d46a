//! The one connection to the database: made when it is needed, renewed when it is lost or hangs.
//!
//! Statements run one at a time. Each has its answer by its time limit, whatever the database does: one that takes longer
//! is cancelled, and if that does not help, the connection is dropped and the next statement makes a new one. A readiness
//! check does not wait long behind another statement: after a while that one is cancelled for it.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Mutex, MutexGuard, Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, CancelToken, Client, Error, Row};

use super::log;
use super::own_metrics::OwnMetrics;
use super::settings::Settings;
use super::target::{Target, with_cause};

/// A parameter of a statement, which outlives the asker.
pub type Parameter = Box<dyn ToSql + Sync + Send>;

/// How long a cancelled statement may take to end before its connection is dropped.
const CANCEL_GRACE: Duration = Duration::from_millis(500);
const SHORTEST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);

/// Why the database gave no answer. The messages go to clients: they name no host, no user and no password.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    #[error("the database cannot be reached")]
    Unreachable,
    #[error("the database does not let the exporter in: {0}")]
    Refused(&'static str),
    #[error("the database did not answer in time")]
    Timeout,
    #[error("the statement was cancelled for a readiness check")]
    GaveWay,
    #[error("the connection to the database was lost")]
    Lost,
    /// An error that the server raised in the statement.
    #[error("{message} (SQLSTATE {state})")]
    Sql { state: String, message: String },
}

impl Failure {
    /// A word for metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Refused(_) => "refused",
            Self::Timeout => "timeout",
            Self::GaveWay => "gave_way",
            Self::Lost => "lost",
            Self::Sql { .. } => "sql",
        }
    }

    /// Whether the server itself answered, with an error: another attempt gives the same.
    pub fn is_sql(&self, state: &SqlState) -> bool {
        matches!(self, Self::Sql { state: found, .. } if found == state.code())
    }

    fn of_statement(error: &Error) -> Self {
        match error.as_db_error() {
            // statement_timeout, or our cancel.
            Some(inner) if *inner.code() == SqlState::QUERY_CANCELED => Self::Timeout,
            // The server shuts down, or ended the session.
            Some(inner) if inner.code().code().starts_with("57P") => Self::Lost,
            Some(inner) => Self::Sql {
                state: inner.code().code().to_owned(),
                message: inner.message().to_owned(),
            },
            None if error.is_closed() => Self::Lost,
            None => Self::Sql {
                state: "none".to_owned(),
                message: with_cause(error),
            },
        }
    }

    fn of_connection(error: &Error) -> Self {
        let Some(inner) = error.as_db_error() else {
            return Self::Unreachable;
        };
        Self::Refused(match inner.code().code() {
            "28P01" | "28000" => "it refuses the role or the password",
            "3D000" => "there is no such database",
            "53300" => "it has no connection left",
            "57P03" => "it is starting, recovering or shutting down",
            "42501" => "the role is not allowed to connect",
            _ => "the log of the exporter says why",
        })
    }
}

/// A statement to run.
pub struct Ask {
    statement: String,
    parameters: Vec<Parameter>,
    /// It goes before others.
    urgent: bool,
    /// It can run again on a new connection when the first try has no answer.
    repeatable: bool,
}

impl Ask {
    /// A statement that runs at most once.
    pub fn once(statement: impl Into<String>, parameters: Vec<Parameter>) -> Self {
        Self {
            statement: statement.into(),
            parameters,
            urgent: false,
            repeatable: false,
        }
    }

    /// One that only reads, so it may run twice.
    pub fn reading(statement: impl Into<String>) -> Self {
        Self {
            repeatable: true,
            ..Self::once(statement, vec![])
        }
    }

    /// A reading one that others make way for. At most one of them runs at a time: ask through one place.
    pub fn urgent(statement: impl Into<String>) -> Self {
        Self {
            urgent: true,
            ..Self::reading(statement)
        }
    }
}

/// Clones share the connection.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    target: Target,
    settings: Arc<Settings>,
    /// A statement that is not urgent waits here first, so that only one such is before an urgent one.
    ordinary: Mutex<()>,
    slot: Mutex<Slot>,
    make_way: Notify,
    /// The database says that there are new events.
    events: Arc<Notify>,
    metrics: Arc<OwnMetrics>,
}

#[derive(Default)]
struct Slot {
    live: Option<Live>,
    /// Attempts to connect that failed since the last that did not.
    failures: u32,
    not_before: Option<Instant>,
    last_failure: Option<Failure>,
    /// Whether the log says that there is a connection.
    announced: bool,
}

struct Live {
    client: Client,
    cancel: CancelToken,
    driver: JoinHandle<()>,
}

impl Drop for Live {
    /// Closes the socket, whatever is under way on it.
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Database {
    /// Connects at the first statement.
    pub fn new(target: Target, settings: Arc<Settings>, metrics: Arc<OwnMetrics>) -> Self {
        Self {
            inner: Arc::new(Inner {
                target,
                settings,
                ordinary: Mutex::new(()),
                slot: Mutex::default(),
                make_way: Notify::new(),
                events: Arc::default(),
                metrics,
            }),
        }
    }

    /// Runs a statement at most once: its rows, or why not, within the time limit.
    pub async fn query(
        &self,
        statement: &str,
        parameters: Vec<Parameter>,
    ) -> Result<Vec<Row>, Failure> {
        self.ask(Ask::once(statement, parameters)).await
    }

    /// Likewise. The statement goes on when the asker is gone, so that the connection is always known to be free or not.
    pub async fn ask(&self, ask: Ask) -> Result<Vec<Row>, Failure> {
        let deadline = Instant::now() + self.inner.limit();
        let (sender, receiver) = oneshot::channel();
        let inner = self.inner.clone();
        tokio::spawn(async move {
            let answer = inner.serve(&ask, deadline).await;
            // The asker may have gone.
            let _ = sender.send(answer);
        });
        let answer = match timeout_at(deadline, receiver).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Failure::Lost),
            Err(_) => Err(Failure::Timeout),
        };
        self.inner.note(&answer);
        answer
    }

    /// Returns when the database has said that there are new events, which is only a hint.
    pub async fn notified(&self) {
        self.inner.events.notified().await;
    }

    /// Closes the connection, within a moment; the next statement makes a new one.
    pub async fn close(&self) {
        if let Ok(mut slot) = timeout(CANCEL_GRACE, self.inner.slot.lock()).await {
            self.inner.disconnect(&mut slot);
        }
    }
}

impl Inner {
    /// How long a statement may take, with the waiting for its turn and for a connection. A tenth of the time of a request
    /// remains for the way of its answer.
    fn limit(&self) -> Duration {
        self.settings.readiness_timeout() * 9 / 10
    }

    fn note(&self, answer: &Result<Vec<Row>, Failure>) {
        match answer {
            Ok(_) => {
                let now = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                self.metrics.last_answer.set(now.as_secs_f64());
            }
            Err(failure) => self
                .metrics
                .database_failures
                .with_label_values(&[failure.reason()])
                .inc(),
        }
    }

    async fn serve(&self, ask: &Ask, deadline: Instant) -> Result<Vec<Row>, Failure> {
        let _turn = if ask.urgent {
            None
        } else {
            let turn = timeout_at(deadline, self.ordinary.lock()).await;
            Some(turn.map_err(|_| Failure::Timeout)?)
        };
        let mut slot = self.wait_for_slot(ask.urgent, deadline).await?;
        let begun = Instant::now();
        let reused = slot.is_live();
        let again = ask.repeatable && reused;
        // A connection that was there may be dead without a sign; a new one shows that in time.
        let first = if again {
            begun + deadline.saturating_duration_since(begun) / 2
        } else {
            deadline
        };
        let answer = match self.attempt(&mut slot, ask, first).await {
            Err(Failure::Timeout | Failure::Lost) if again && Instant::now() < deadline => {
                self.disconnect(&mut slot);
                self.attempt(&mut slot, ask, deadline).await
            }
            answer => answer,
        };
        // A session keeps the library that it has loaded; after an update only a new one has the new library.
        if answer
            .as_ref()
            .is_err_and(|failure| failure.is_sql(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE))
        {
            self.disconnect(&mut slot);
        }
        answer
    }

    async fn wait_for_slot(
        &self,
        urgent: bool,
        deadline: Instant,
    ) -> Result<MutexGuard<'_, Slot>, Failure> {
        let lock = self.slot.lock();
        tokio::pin!(lock);
        if urgent {
            let patience = self.limit() * 2 / 5;
            if let Ok(slot) = timeout(patience, &mut lock).await {
                return Ok(slot);
            }
            self.make_way.notify_waiters();
        }
        timeout_at(deadline, lock)
            .await
            .map_err(|_| Failure::Timeout)
    }

    async fn attempt(
        &self,
        slot: &mut Slot,
        ask: &Ask,
        deadline: Instant,
    ) -> Result<Vec<Row>, Failure> {
        let make_way = self.make_way.notified();
        tokio::pin!(make_way);
        make_way.as_mut().enable();
        let interrupted = async {
            if ask.urgent {
                std::future::pending::<()>().await;
            }
            make_way.await;
        };
        tokio::pin!(interrupted);
        if !slot.is_live() {
            tokio::select! {
                connected = self.connect(slot, deadline) => connected?,
                () = &mut interrupted => return Err(Failure::GaveWay),
            }
        }
        let Some(live) = slot.live.take() else {
            return Err(Failure::Lost);
        };
        let (answer, usable) = self.run(&live, ask, deadline, interrupted).await;
        if usable && !live.client.is_closed() {
            slot.live = Some(live);
        } else {
            self.disconnect(slot);
        }
        answer
    }

    async fn read_settings(&self, client: &Client) -> Result<(), Error> {
        self.settings.read(client).await;
        let limit = self.limit().as_millis().max(1);
        let statement = format!("SET statement_timeout = {limit}");
        client.batch_execute(&statement).await
    }

    /// The answer, and whether the connection is free again.
    async fn run(
        &self,
        live: &Live,
        ask: &Ask,
        deadline: Instant,
        interrupted: impl Future<Output = ()>,
    ) -> (Result<Vec<Row>, Failure>, bool) {
        let parameters: Vec<&(dyn ToSql + Sync)> = ask
            .parameters
            .iter()
            .map(|parameter| parameter.as_ref() as &(dyn ToSql + Sync))
            .collect();
        let query = async {
            if self.settings.are_old() {
                self.read_settings(&live.client).await?;
            }
            live.client.query(&ask.statement, &parameters).await
        };
        tokio::pin!(query);
        let failure = tokio::select! {
            answer = timeout_at(deadline, &mut query) => match answer {
                Ok(answer) => return (answer.map_err(|error| Failure::of_statement(&error)), true),
                Err(_) => Failure::Timeout,
            },
            () = interrupted => Failure::GaveWay,
        };
        self.send_cancel(live);
        let ended = timeout(CANCEL_GRACE, query).await.is_ok();
        if !ended {
            log::warning(
                "drops a connection whose statement does not end",
                &[("reason", failure.reason())],
            );
        }
        (Err(failure), ended)
    }

    /// Beside the connection, because that hangs.
    fn send_cancel(&self, live: &Live) {
        let cancel = live.cancel.clone();
        let tls = self.target.tls.clone();
        tokio::spawn(async move {
            let _ = timeout(Duration::from_secs(1), cancel.cancel_query(tls)).await;
        });
    }

    fn disconnect(&self, slot: &mut Slot) {
        slot.live = None;
        self.metrics.database_connected.set(0);
    }

    async fn connect(&self, slot: &mut Slot, deadline: Instant) -> Result<(), Failure> {
        if let (Some(failure), Some(not_before)) = (&slot.last_failure, slot.not_before)
            && Instant::now() < not_before
        {
            return Err(failure.clone());
        }
        self.disconnect(slot);
        let failure = match timeout_at(deadline, self.new_connection()).await {
            Ok(Ok(live)) => {
                slot.live = Some(live);
                slot.failures = 0;
                slot.last_failure = None;
                self.metrics.database_connected.set(1);
                self.metrics.database_connects.inc();
                if !std::mem::replace(&mut slot.announced, true) {
                    log::info("connected", &[("to", &self.target.describe())]);
                }
                return Ok(());
            }
            Ok(Err((failure, detail))) => {
                self.complain(slot, &failure, &detail);
                failure
            }
            Err(_) => {
                self.complain(slot, &Failure::Timeout, "no answer to the connection");
                Failure::Timeout
            }
        };
        let backoff = SHORTEST_BACKOFF * 2_u32.saturating_pow(slot.failures.min(10));
        slot.not_before = Some(Instant::now() + backoff.min(LONGEST_BACKOFF));
        slot.failures = slot.failures.saturating_add(1);
        slot.announced = false;
        slot.last_failure = Some(failure.clone());
        Err(failure)
    }

    /// Once for each new reason, not at each attempt.
    fn complain(&self, slot: &Slot, failure: &Failure, detail: &str) {
        if slot.last_failure.as_ref().map(Failure::reason) != Some(failure.reason()) {
            log::warning(
                "no connection to the database",
                &[
                    ("to", &self.target.describe()),
                    ("reason", failure.reason()),
                    ("detail", detail),
                ],
            );
        }
    }

    async fn new_connection(&self) -> Result<Live, (Failure, String)> {
        let failed = |error: Error| (Failure::of_connection(&error), with_cause(&error));
        let (client, mut connection) = self
            .target
            .config(self.limit())
            .connect(self.target.tls.clone())
            .await
            .map_err(failed)?;
        let events = self.events.clone();
        let driver = tokio::spawn(async move {
            // The next statement finds out what was wrong.
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await
            {
                if matches!(message, AsyncMessage::Notification(_)) {
                    events.notify_waiters();
                }
            }
        });
        let live = Live {
            cancel: client.cancel_token(),
            client,
            driver,
        };
        let path = "SET search_path = pg_catalog, pg_temp; SET client_min_messages = warning";
        live.client.batch_execute(path).await.map_err(failed)?;
        self.read_settings(&live.client).await.map_err(failed)?;
        // A standby refuses it; probes and metrics work there all the same.
        let _ = live.client.batch_execute("LISTEN \"tasker.events\"").await;
        Ok(live)
    }
}

impl Slot {
    fn is_live(&self) -> bool {
        self.live
            .as_ref()
            .is_some_and(|live| !live.client.is_closed())
    }
}
