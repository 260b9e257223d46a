//! A tiny worker: claims, runs a closure, reports.

use std::time::{Duration, Instant, SystemTime};

use postgres::Row;

use crate::patience;
use crate::{Failure, Session, Uuid, Value, json};

/// A claimed step.
#[derive(Debug, Clone)]
pub struct Claim {
    pub step: Uuid,
    pub task: Uuid,
    pub number: i32,
    pub attempt: i32,
    pub retry_limit: i32,
    pub name: String,
    pub namespace: String,
    pub queue: String,
    pub task_name: String,
    pub version: String,
    pub handler: String,
    pub handler_config: Value,
    pub context: Value,
    pub dependency_results: Value,
    pub lease_expires_at: SystemTime,
    pub correlation_id: Option<String>,
    pub traceparent: Option<String>,
    pub tracestate: Option<String>,
}

impl Claim {
    /// The claim in a row of `claim_steps` or `report_and_claim`.
    pub fn of(row: &Row) -> Self {
        Self {
            step: row.get("step_uuid"),
            task: row.get("task_uuid"),
            number: row.get("claim_number"),
            attempt: row.get("attempt"),
            retry_limit: row.get("retry_limit"),
            name: row.get("step_name"),
            namespace: row.get("namespace"),
            queue: row.get("queue"),
            task_name: row.get("task_name"),
            version: row.get("version"),
            handler: row.get("handler"),
            handler_config: row.get("handler_config"),
            context: row.get("context"),
            dependency_results: row.get("dependency_results"),
            lease_expires_at: row.get("lease_expires_at"),
            correlation_id: row.get("correlation_id"),
            traceparent: row.get("traceparent"),
            tracestate: row.get("tracestate"),
        }
    }

    /// The element of `reports` that says it is done.
    pub fn done(&self, results: Value) -> Value {
        json!({ "step_uuid": self.step.to_string(), "claim_number": self.number, "status": "complete", "results": results })
    }

    /// The element of `reports` that says it failed.
    pub fn failed(&self, retryable: bool) -> Value {
        json!({
            "step_uuid": self.step.to_string(), "claim_number": self.number, "status": "error", "error_message": "it broke",
            "error_class": "Broken", "retryable": retryable, "retry_after_seconds": 0,
        })
    }
}

/// What the closure makes of a step.
pub enum Act {
    Complete(Value),
    /// Retryable, and at once.
    Fail,
    /// Retryable, after the backoff of its template.
    FailAndWait,
    FailForGood,
    /// Neither reported nor given back.
    Keep,
}

/// Completes with an empty object.
pub fn done() -> Act {
    Act::Complete(json!({}))
}

/// What a worker asks for. `Default` is what most tests want.
#[derive(Clone)]
pub struct Ask<'a> {
    pub worker: &'a str,
    pub namespaces: Vec<&'a str>,
    pub most: i32,
    pub lease: &'a str,
    pub results: &'a str,
    pub queues: Option<Vec<&'a str>>,
}

impl Default for Ask<'_> {
    fn default() -> Self {
        Self {
            worker: "worker",
            namespaces: vec!["default"],
            most: 1,
            lease: "30 seconds",
            results: "parents",
            queues: None,
        }
    }
}

impl<'a> Ask<'a> {
    pub fn by(worker: &'a str, most: i32) -> Self {
        Self {
            worker,
            most,
            ..Self::default()
        }
    }
}

impl Session {
    #[track_caller]
    pub fn claim(&mut self, ask: &Ask) -> Vec<Claim> {
        self.try_claim(ask)
            .unwrap_or_else(|failure| panic!("claim_steps: {failure}"))
    }

    #[track_caller]
    pub fn try_claim(&mut self, ask: &Ask) -> Result<Vec<Claim>, Failure> {
        let rows = self.try_query(
            "SELECT * FROM tasker.claim_steps($1, $2, $3, $4::text::interval, $5, $6)",
            &[
                &ask.worker,
                &ask.namespaces,
                &ask.most,
                &ask.lease,
                &ask.results,
                &ask.queues,
            ],
        );
        match rows {
            Ok(rows) => Ok(rows.iter().map(Claim::of).collect()),
            Err(error) => {
                Err(Failure::of(&error).unwrap_or_else(|| panic!("the session broke: {error}")))
            }
        }
    }

    /// One loop of a worker: refused reports with their outcome, and what was claimed.
    #[track_caller]
    pub fn report_and_claim(
        &mut self,
        ask: &Ask,
        reports: &[Value],
    ) -> (Vec<(String, Option<Uuid>)>, Vec<Claim>) {
        self.try_report_and_claim(ask, reports)
            .unwrap_or_else(|error| match Failure::of(&error) {
                Some(failure) => panic!("report_and_claim: {failure}"),
                None => panic!("report_and_claim: {error}"),
            })
    }

    /// The same where the server may go away.
    #[allow(clippy::type_complexity)]
    pub fn try_report_and_claim(
        &mut self,
        ask: &Ask,
        reports: &[Value],
    ) -> Result<(Vec<(String, Option<Uuid>)>, Vec<Claim>), postgres::Error> {
        let reports = Value::Array(reports.to_vec());
        let rows = self.try_query(
            "SELECT * FROM tasker.report_and_claim($1, $2, $3, $4, $5::text::interval, $6, $7)",
            &[
                &ask.worker,
                &reports,
                &ask.namespaces,
                &ask.most,
                &ask.lease,
                &ask.results,
                &ask.queues,
            ],
        )?;
        let mut refused = vec![];
        let mut claimed = vec![];
        for row in &rows {
            match row.get::<_, String>("outcome") {
                outcome if outcome == "claimed" => claimed.push(Claim::of(row)),
                outcome => refused.push((outcome, row.get("step_uuid"))),
            }
        }
        Ok((refused, claimed))
    }

    /// Exactly one step must be ready for this worker.
    #[track_caller]
    pub fn claim_one(&mut self, worker: &str) -> Claim {
        let mut claims = self.claim(&Ask::by(worker, 1));
        assert_eq!(claims.len(), 1, "no step is ready");
        claims.remove(0)
    }

    /// Claims until `count` have come: a step that another session released may be seen a moment later.
    #[track_caller]
    pub fn claim_soon(&mut self, ask: &Ask, count: usize) -> Vec<Claim> {
        let deadline = Instant::now() + patience(2);
        let mut claims = vec![];
        while claims.len() < count && Instant::now() < deadline {
            let more = self.claim(ask);
            if more.is_empty() {
                std::thread::sleep(Duration::from_millis(5));
            }
            claims.extend(more);
        }
        claims
    }

    /// Everything that is ready now, as one batch.
    #[track_caller]
    pub fn claim_all(&mut self, worker: &str) -> Vec<Claim> {
        self.claim(&Ask::by(worker, 10_000))
    }

    #[track_caller]
    pub fn complete(&mut self, claim: &Claim, results: &Value) -> String {
        self.one(
            "SELECT tasker.complete_step($1, $2, $3)",
            &[&claim.step, &claim.number, results],
        )
    }

    pub fn try_complete(&mut self, claim: &Claim) -> Result<String, Failure> {
        self.attempt(
            "SELECT tasker.complete_step($1, $2)",
            &[&claim.step, &claim.number],
        )
    }

    /// A retryable failure, due again at once.
    #[track_caller]
    pub fn fail(&mut self, claim: &Claim) -> String {
        self.one(
            "SELECT tasker.fail_step($1, $2, 'it broke', 'Broken', retry_after => '0')",
            &[&claim.step, &claim.number],
        )
    }

    /// A retryable failure; the template says when it is due again.
    #[track_caller]
    pub fn fail_and_wait(&mut self, claim: &Claim) -> String {
        self.one(
            "SELECT tasker.fail_step($1, $2, 'it broke', 'Broken')",
            &[&claim.step, &claim.number],
        )
    }

    #[track_caller]
    pub fn fail_for_good(&mut self, claim: &Claim) -> String {
        self.one(
            "SELECT tasker.fail_step($1, $2, 'it broke permanently', 'Broken', retryable => false)",
            &[&claim.step, &claim.number],
        )
    }

    pub fn try_fail_for_good(&mut self, claim: &Claim) -> Result<String, Failure> {
        self.attempt(
            "SELECT tasker.fail_step($1, $2, 'it broke permanently', retryable => false)",
            &[&claim.step, &claim.number],
        )
    }

    /// Works on the default namespace until nothing is ready; the names of the steps in the order of their runs.
    #[track_caller]
    pub fn work(&mut self, act: impl FnMut(&Claim) -> Act) -> Vec<String> {
        self.work_in("default", act)
    }

    #[track_caller]
    pub fn work_in(&mut self, namespace: &str, mut act: impl FnMut(&Claim) -> Act) -> Vec<String> {
        let ask = Ask {
            namespaces: vec![namespace],
            ..Ask::default()
        };
        let mut ran = vec![];
        while let Some(claim) = self.claim(&ask).pop() {
            ran.push(claim.name.clone());
            assert!(ran.len() < 10_000, "the work does not end");
            match act(&claim) {
                Act::Complete(results) => drop(self.complete(&claim, &results)),
                Act::Fail => drop(self.fail(&claim)),
                Act::FailAndWait => drop(self.fail_and_wait(&claim)),
                Act::FailForGood => drop(self.fail_for_good(&claim)),
                Act::Keep => {}
            }
        }
        ran
    }

    /// Claims and completes steps until this one has been completed.
    #[track_caller]
    pub fn work_through(&mut self, name: &str) {
        loop {
            let claim = self.claim_one("worker");
            self.complete(&claim, &json!({}));
            if claim.name == name {
                return;
            }
        }
    }

    /// Claims and completes steps until this one is claimed, which is returned.
    #[track_caller]
    pub fn work_up_to(&mut self, name: &str) -> Claim {
        loop {
            let claim = self.claim_one("worker");
            if claim.name == name {
                return claim;
            }
            self.complete(&claim, &json!({}));
        }
    }
}
