//! A session with the server: short ways to ask, and panics that say what was asked.

use std::sync::{Arc, Mutex};

use postgres::types::{FromSql, ToSql};
use postgres::{Client, Config, NoTls, Row, SimpleQueryMessage};

use crate::{Failure, Uuid, Value};

pub type Param<'a> = &'a (dyn ToSql + Sync);

/// One connection.
pub struct Session {
    client: Client,
    notices: Arc<Mutex<Vec<Aside>>>,
}

/// What the server says beside its answers.
struct Aside {
    message: String,
    hint: String,
}

fn explain(error: &postgres::Error) -> String {
    Failure::of(error).map_or_else(|| error.to_string(), |failure| failure.to_string())
}

impl Session {
    #[track_caller]
    pub fn open(config: Config) -> Self {
        Self::try_open(config).unwrap_or_else(|error| panic!("cannot connect: {}", explain(&error)))
    }

    pub fn try_open(mut config: Config) -> Result<Self, postgres::Error> {
        let notices = Arc::new(Mutex::new(vec![]));
        let kept = notices.clone();
        config.notice_callback(move |notice| {
            if let Ok(mut kept) = kept.lock() {
                kept.push(Aside {
                    message: notice.message().to_owned(),
                    hint: notice.hint().unwrap_or_default().to_owned(),
                });
            }
        });
        Ok(Self {
            client: config.connect(NoTls)?,
            notices,
        })
    }

    /// The connection itself, for what has no short way.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// What the server said aside since the last time.
    pub fn take_notices(&mut self) -> Vec<String> {
        self.take(|aside| aside.message)
    }

    /// The hints of it instead; empty where there is none.
    pub fn take_hints(&mut self) -> Vec<String> {
        self.take(|aside| aside.hint)
    }

    fn take(&mut self, of: fn(Aside) -> String) -> Vec<String> {
        self.notices
            .lock()
            .map(|mut notices| std::mem::take(&mut *notices))
            .unwrap_or_default()
            .into_iter()
            .map(of)
            .collect()
    }

    /// Runs statements without parameters.
    #[track_caller]
    pub fn execute(&mut self, sql: &str) {
        if let Err(error) = self.client.batch_execute(sql) {
            panic!("{}\nin: {sql}", explain(&error));
        }
    }

    pub fn try_query(&mut self, sql: &str, params: &[Param]) -> Result<Vec<Row>, postgres::Error> {
        self.client.query(sql, params)
    }

    #[track_caller]
    pub fn query(&mut self, sql: &str, params: &[Param]) -> Vec<Row> {
        match self.client.query(sql, params) {
            Ok(rows) => rows,
            Err(error) => panic!("{}\nin: {sql}", explain(&error)),
        }
    }

    /// The first column of the only row.
    #[track_caller]
    pub fn one<T: for<'a> FromSql<'a>>(&mut self, sql: &str, params: &[Param]) -> T {
        let rows = self.query(sql, params);
        assert_eq!(rows.len(), 1, "one row expected from: {sql}");
        get(&rows[0], sql)
    }

    /// The first column of every row.
    #[track_caller]
    pub fn all<T: for<'a> FromSql<'a>>(&mut self, sql: &str, params: &[Param]) -> Vec<T> {
        self.query(sql, params)
            .iter()
            .map(|row| get(row, sql))
            .collect()
    }

    /// A whole number, whatever its type.
    #[track_caller]
    pub fn count(&mut self, sql: &str, params: &[Param]) -> i64 {
        self.one(&format!("SELECT ({sql})::bigint"), params)
    }

    /// Must be refused; the session must live on.
    #[track_caller]
    pub fn fails(&mut self, sql: &str, params: &[Param]) -> Failure {
        match self.client.query(sql, params) {
            Ok(rows) => panic!("not refused, {} rows: {sql}", rows.len()),
            Err(error) => self.refusal(&error, sql),
        }
    }

    /// `Ok` with the first column of the only row, or why it was refused. Anything else is a broken test.
    #[track_caller]
    pub fn attempt<T: for<'a> FromSql<'a>>(
        &mut self,
        sql: &str,
        params: &[Param],
    ) -> Result<T, Failure> {
        match self.client.query(sql, params) {
            Ok(rows) => {
                assert_eq!(rows.len(), 1, "one row expected from: {sql}");
                Ok(get(&rows[0], sql))
            }
            Err(error) => Err(self.refusal(&error, sql)),
        }
    }

    /// How many rows a query with parameters brings, or why it was refused.
    #[track_caller]
    pub fn attempt_with(&mut self, sql: &str, params: &[Param]) -> Result<usize, Failure> {
        match self.client.query(sql, params) {
            Ok(rows) => Ok(rows.len()),
            Err(error) => Err(self.refusal(&error, sql)),
        }
    }

    /// How many rows a query without parameters brings, or why it was refused.
    #[track_caller]
    pub fn attempt_rows(&mut self, sql: &str) -> Result<usize, Failure> {
        match self.client.simple_query(sql) {
            Ok(messages) => {
                let rows = messages
                    .iter()
                    .filter(|message| matches!(message, SimpleQueryMessage::Row(_)));
                Ok(rows.count())
            }
            Err(error) => Err(self.refusal(&error, sql)),
        }
    }

    /// The error is sent before the transaction is undone; after this its locks are gone.
    #[track_caller]
    fn refusal(&mut self, error: &postgres::Error, sql: &str) -> Failure {
        let Some(failure) = Failure::of(error) else {
            panic!("the session broke: {error}\nin: {sql}")
        };
        if let Err(error) = self.client.batch_execute("") {
            panic!("the session broke after {failure}: {error}");
        }
        failure
    }

    /// Returns when the backend waits for a lock.
    #[track_caller]
    pub fn wait_until_blocked(&mut self, pid: i32) {
        let began = std::time::Instant::now();
        let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock')";
        while !self.one::<bool>(waits, &[&pid]) {
            assert!(began.elapsed().as_secs() < 30, "{pid} waits for nothing");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// How many transaction ids a statement takes: one for its transaction and one for each subtransaction that writes. Nothing
    /// else may run on the server.
    #[track_caller]
    pub fn transaction_ids(&mut self, sql: &str) -> i64 {
        let own = "SELECT pg_current_xact_id()::text::bigint";
        let before: i64 = self.one(own, &[]);
        self.query(sql, &[]);
        self.one::<i64>(own, &[]) - before - 1
    }

    /// This session's backend.
    pub fn pid(&mut self) -> i32 {
        self.one("SELECT pg_catalog.pg_backend_pid()", &[])
    }

    // --- The public contract, in the words of the tests.

    /// What contradicts itself in the stored rows.
    #[track_caller]
    pub fn disagreements(&mut self) -> Vec<String> {
        self.all(
            "SELECT concat_ws(' ', problem, task_uuid, step_uuid) FROM tasker.check_integrity()",
            &[],
        )
    }

    /// Creates a task of the default namespace.
    #[track_caller]
    pub fn create(&mut self, name: &str) -> Uuid {
        self.one("SELECT tasker.create_task($1)", &[&name])
    }

    #[track_caller]
    pub fn create_with(&mut self, name: &str, context: &Value) -> Uuid {
        self.one("SELECT tasker.create_task($1, $2)", &[&name, context])
    }

    #[track_caller]
    pub fn create_many(&mut self, name: &str, count: usize) -> Vec<Uuid> {
        let contexts: Vec<Value> = (0..count)
            .map(|number| serde_json::json!({ "number": number }))
            .collect();
        let create = "SELECT tasker.create_tasks($1, $2)";
        let calls = contexts.chunks(10_000);
        calls
            .flat_map(|contexts| self.all(create, &[&name, &contexts]))
            .collect()
    }

    /// The state of a task.
    #[track_caller]
    pub fn task_state(&mut self, task: Uuid) -> String {
        self.one(
            "SELECT status FROM tasker.get_task_execution_context($1)",
            &[&task],
        )
    }

    /// How many of these tasks are in each state, as `state: count`, sorted.
    #[track_caller]
    pub fn task_states(&mut self, tasks: &[Uuid]) -> Vec<String> {
        self.all(
            "SELECT status || ': ' || count(*) FROM tasker.get_task_execution_contexts_batch($1)
             GROUP BY status ORDER BY status",
            &[&tasks],
        )
    }

    #[track_caller]
    pub fn step(&mut self, task: Uuid, name: &str) -> Uuid {
        self.one(
            "SELECT step_uuid FROM tasker.workflow_steps WHERE task_uuid = $1 AND name = $2",
            &[&task, &name],
        )
    }

    #[track_caller]
    pub fn step_state(&mut self, task: Uuid, name: &str) -> String {
        self.one(
            "SELECT state::text FROM tasker.workflow_steps WHERE task_uuid = $1 AND name = $2",
            &[&task, &name],
        )
    }

    /// State and attempts of every step, as `name state/attempts`, in step order.
    #[track_caller]
    pub fn steps(&mut self, task: Uuid) -> Vec<String> {
        self.all(
            "SELECT name || ' ' || state || '/' || attempts FROM tasker.workflow_steps WHERE task_uuid = $1 ORDER BY step_no",
            &[&task],
        )
    }

    #[track_caller]
    pub fn results(&mut self, task: Uuid, name: &str) -> Value {
        self.one(
            "SELECT coalesce(results, '{}') FROM tasker.workflow_steps WHERE task_uuid = $1 AND name = $2",
            &[&task, &name],
        )
    }

    /// The names of the steps that are ready, in step order.
    #[track_caller]
    pub fn ready(&mut self, task: Uuid) -> Vec<String> {
        self.all(
            "SELECT r.name FROM tasker.get_step_readiness_status($1) r WHERE r.ready_for_execution ORDER BY r.step_uuid",
            &[&task],
        )
    }

    /// Execution status / recommended action / percentage / health.
    #[track_caller]
    pub fn context(&mut self, task: Uuid) -> String {
        self.one(
            "SELECT concat_ws(' / ', execution_status, recommended_action, completion_percentage::numeric(5,2), health_status)
             FROM tasker.get_task_execution_context($1)",
            &[&task],
        )
    }

    /// The counters of the context: total pending in_progress completed failed ready cancelled.
    #[track_caller]
    pub fn counters(&mut self, task: Uuid) -> String {
        self.one(
            "SELECT concat_ws(' ', 'total', total_steps, 'pending', pending_steps, 'in_progress', in_progress_steps,
                              'completed', completed_steps, 'failed', failed_steps, 'ready', ready_steps,
                              'cancelled', cancelled_steps)
             FROM tasker.get_task_execution_context($1)",
            &[&task],
        )
    }

    /// How often the log says that a step or, without one, a task came to a state.
    #[track_caller]
    pub fn arrivals(&mut self, task: Uuid, step: Option<&str>, state: &str) -> i64 {
        match step {
            None => self.count(
                "SELECT count(*) FROM tasker.task_transitions WHERE task_uuid = $1 AND to_state = $2",
                &[&task, &state],
            ),
            Some(name) => {
                let step = self.step(task, name);
                self.count(
                    "SELECT count(*) FROM tasker.workflow_step_transitions WHERE step_uuid = $1 AND to_state = $2",
                    &[&step, &state],
                )
            }
        }
    }
}

#[track_caller]
fn get<T: for<'a> FromSql<'a>>(row: &Row, sql: &str) -> T {
    row.try_get(0)
        .unwrap_or_else(|error| panic!("{error}\nin: {sql}"))
}
