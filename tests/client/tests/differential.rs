//! Readiness and execution context against a second implementation of the rules, in plain SQL.
//!
//! The second implementation is that of an older engine with the same functions. It works on facts: the graph as the test has drawn it,
//! the rows of the log, the stored attempts and limits, and the waits that reports have asked for. When a step runs again follows from
//! these too, and the log must tell of the same wait. Where the rules differ on purpose,
//! [`DIFFERENCES`] says so, with the reason. Every row of every random task is compared, column by column. A failure names its
//! seed; `TASKER_SEED=... cargo test --test differential` repeats it alone.

use std::time::{Duration, SystemTime};

use fastrand::Rng;
use tasker_client_tests::graphs::{Node, random_graph, template};
use tasker_client_tests::session::Param;
use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Claim, Database, Session, Uuid, inside, json, long, scaled};

// --- The rules of the older engine --------------------------------------------------------------------------------------

/// What the test itself knows: the graph, and what reports and operators have asked for.
const FACTS: &str = "
    CREATE SCHEMA older;
    CREATE TABLE older.edges (from_step uuid, to_step uuid);
    CREATE INDEX ON older.edges (to_step);
    -- The last wait in seconds that a report of a failure has asked for, whether it was the last failure, whether a raised limit has
    -- started the step since, during which call, and the delay with which the step was given back last.
    CREATE TABLE older.asked (
        step_uuid uuid PRIMARY KEY, seconds integer, by_last boolean, raised boolean, raised_from timestamptz, raised_to timestamptz,
        delay integer)";

/// The rows of these tasks as the older engine has them. `$1` the tasks, `$2` the clock.
const OLDER_STEPS: &str = "
    WITH changes AS MATERIALIZED (
        SELECT step_uuid, id, from_state, to_state, created_at, metadata ->> 'error_class' = 'LeaseExpired' AS lost,
               max(created_at) FILTER (WHERE to_state = 'in_progress') OVER (PARTITION BY step_uuid ORDER BY id) AS started_at,
               metadata -> 'retry_after_seconds' AS logged_wait, metadata -> 'held' AS logged_held,
               (metadata ->> 'retry_limit')::integer AS limit_then
        FROM tasker.workflow_step_transitions WHERE task_uuid = ANY ($1)),
    last AS MATERIALIZED (SELECT DISTINCT ON (step_uuid) * FROM changes ORDER BY step_uuid, id DESC),
    runs AS MATERIALIZED (
        SELECT step_uuid, max(created_at) FILTER (WHERE to_state IN ('complete', 'error')) AS attempted_at,
               max(created_at) FILTER (WHERE to_state = 'cancelled') AS cancelled_at
        FROM changes WHERE from_state = 'in_progress' GROUP BY step_uuid),
    parents AS MATERIALIZED (
        SELECT e.to_step AS step_uuid, count(*) AS total,
               count(*) FILTER (WHERE l.to_state IN ('complete', 'resolved_manually')) AS completed, max(l.created_at) AS done_at
        FROM older.edges e LEFT JOIN last l ON l.step_uuid = e.from_step GROUP BY e.to_step),
    task_changes AS MATERIALIZED (
        SELECT task_uuid, id, from_state, to_state, created_at FROM tasker.task_transitions WHERE task_uuid = ANY ($1)),
    task AS MATERIALIZED (
        SELECT t.task_uuid, coalesce((SELECT l.to_state FROM task_changes l WHERE l.task_uuid = t.task_uuid
                                      ORDER BY l.id DESC LIMIT 1), 'pending') AS status,
               (SELECT max(l.created_at) FROM task_changes l WHERE l.task_uuid = t.task_uuid AND l.from_state = 'error') AS taken_up_at,
               (SELECT r.run_at FROM tasker.tasks r WHERE r.task_uuid = t.task_uuid) AS run_at
        FROM unnest($1::uuid[]) t (task_uuid)),
    fact AS MATERIALIZED (
        SELECT s.step_uuid, s.task_uuid, s.named_step_id, s.name, coalesce(l.to_state, 'pending') AS current_state,
               coalesce(p.total, 0)::integer AS total_parents, coalesce(p.completed, 0)::integer AS completed_parents,
               -- Only runs that have ended count.
               s.attempts - (coalesce(l.to_state, '') = 'in_progress')::integer AS attempts,
               s.retry_limit, s.retryable, a.seconds AS backoff_request_seconds, r.attempted_at AS last_attempted_at,
               CASE WHEN l.to_state = 'error' THEN l.created_at END AS last_failure_at,
               -- What only the differences need.
               task.status AS task_status, s.claim_number > 0 AS was_claimed, coalesce(l.lost, false) AS lost,
               coalesce(a.raised, false) AS raised, coalesce(a.by_last, false) AS asked_by_last, r.cancelled_at,
               coalesce(task.taken_up_at >= l.created_at, false) AS was_held,
               l.logged_wait, l.logged_held, l.limit_then, l.from_state = 'in_progress' AS was_run, a.delay, l.created_at AS changed_at,
               l.started_at, task.taken_up_at, task.run_at, p.done_at,
               -- The log does not tell of a raised limit, so the stored clock counts if it is within the call.
               CASE WHEN a.raised AND a.raised_from > coalesce(task.taken_up_at, '-infinity')
                    THEN CASE WHEN s.available_at BETWEEN a.raised_from AND a.raised_to THEN s.available_at ELSE a.raised_to END
               END AS raised_at
        FROM tasker.workflow_steps s
        JOIN task USING (task_uuid)
        LEFT JOIN last l USING (step_uuid)
        LEFT JOIN runs r USING (step_uuid)
        LEFT JOIN parents p USING (step_uuid)
        LEFT JOIN older.asked a USING (step_uuid)
        WHERE s.task_uuid = ANY ($1)),
    timed AS (
        SELECT f.*, total_parents = 0 OR completed_parents = total_parents AS dependencies_satisfied,
               attempts < retry_limit AS retry_eligible,
               last_attempted_at + make_interval(secs => backoff_request_seconds) AS asked_until,
               last_failure_at + make_interval(secs => least(power(2, attempts), 30)) AS backed_off_until,
               -- The clock of a step: when it was created, given back, retried, lost, raised, or taken up with its task.
               CASE WHEN task_status IN ('error', 'cancelled', 'resolved_manually') THEN NULL
                    WHEN current_state = 'error' AND raised_at IS NOT NULL THEN raised_at
                    WHEN current_state IN ('pending', 'error') AND taken_up_at >= coalesce(changed_at, '-infinity')
                         AND (total_parents = 0 OR completed_parents = total_parents AND done_at <= taken_up_at)
                        THEN greatest(taken_up_at, run_at)
                    WHEN current_state = 'error' AND lost THEN started_at
                    WHEN current_state = 'pending' AND changed_at IS NULL THEN CASE WHEN total_parents = 0 THEN run_at END
                    WHEN current_state = 'pending'
                        THEN changed_at + make_interval(secs => CASE WHEN was_run THEN coalesce(delay, 0) ELSE 0 END)
               END AS clock,
               -- What the last row of the log must say: how long the step waits, if it runs again by itself.
               CASE WHEN logged_held = 'true' THEN NULL
                    WHEN current_state = 'pending' AND was_run THEN nullif(delay, 0)
                    WHEN current_state = 'error' AND (attempts = 0 OR retryable AND attempts < limit_then)
                        THEN CASE WHEN lost THEN 0 ELSE coalesce(CASE WHEN asked_by_last THEN backoff_request_seconds END,
                                                                 least(power(2, attempts), 30)) END
               END::integer AS told_wait
        FROM fact f),
    step AS MATERIALIZED (
        SELECT t.*, coalesce(asked_until, backed_off_until) AS next_retry_at,
               current_state IN ('pending', 'error') AND dependencies_satisfied AND attempts < retry_limit AND retryable
               AND coalesce(asked_until <= $2, true) AND coalesce(backed_off_until <= $2, true) AS ready_for_execution
        FROM timed t)";

/// The context of each task from its rows in `wanted`, with the older rules.
const OLDER_CONTEXTS: &str = "
    counts AS (
        SELECT task_uuid, task_status AS status, count(*) AS total_steps,
               count(*) FILTER (WHERE current_state = 'pending') AS pending_steps,
               count(*) FILTER (WHERE current_state = 'in_progress') AS in_progress_steps,
               count(*) FILTER (WHERE current_state IN ('complete', 'resolved_manually')) AS completed_steps,
               count(*) FILTER (WHERE current_state = 'error') AS failed_steps,
               count(*) FILTER (WHERE ready_for_execution) AS ready_steps,
               count(*) FILTER (WHERE current_state = 'error' AND attempts >= retry_limit) AS blocked_steps,
               count(*) FILTER (WHERE current_state = 'cancelled') AS cancelled_steps
        FROM wanted GROUP BY task_uuid, task_status),
    status AS (
        SELECT c.*,
               CASE WHEN ready_steps > 0 THEN 'has_ready_steps' WHEN in_progress_steps > 0 THEN 'processing'
                    WHEN blocked_steps > 0 THEN 'blocked_by_failures' WHEN completed_steps = total_steps THEN 'all_complete'
                    ELSE 'waiting_for_dependencies' END AS execution_status,
               CASE WHEN failed_steps = 0 THEN 'healthy' WHEN ready_steps > 0 THEN 'recovering'
                    WHEN blocked_steps > 0 THEN 'blocked' ELSE 'recovering' END AS health_status
        FROM counts c),
    context AS MATERIALIZED (
        SELECT s.*, round(completed_steps * 100.0 / total_steps, 2) AS completion_percentage,
               CASE execution_status WHEN 'has_ready_steps' THEN 'execute_ready_steps' WHEN 'processing' THEN 'wait_for_completion'
                    WHEN 'blocked_by_failures' THEN 'handle_failures' WHEN 'all_complete' THEN 'finalize_task'
                    ELSE 'wait_for_dependencies' END AS recommended_action
        FROM status s)";

// --- Where the rules differ on purpose ----------------------------------------------------------------------------------

/// In rows where `applies` holds, and no earlier difference that has the same column, the column has another value. `$2` is the clock.
struct Difference {
    reason: &'static str,
    applies: &'static str,
    columns: &'static [(&'static str, &'static str)],
}

/// Of steps.
const DIFFERENCES: &[Difference] = &[
    Difference {
        reason: "a run counts as an attempt when it begins, so that one that kills its worker counts, too",
        applies: "current_state = 'in_progress'",
        columns: &[
            ("attempts", "attempts + 1"),
            ("retry_eligible", "retryable AND attempts + 1 < retry_limit"),
        ],
    },
    Difference {
        reason: "nothing of a task that has ended starts until an operator takes the task up",
        applies: "task_status IN ('error', 'cancelled', 'resolved_manually') AND current_state = 'error'",
        columns: &[
            ("ready_for_execution", "false"),
            ("retry_eligible", "false"),
            ("next_retry_at", "NULL"),
        ],
    },
    Difference {
        reason: "the same of its pending steps",
        applies: "task_status IN ('error', 'cancelled', 'resolved_manually') AND current_state = 'pending'",
        columns: &[("ready_for_execution", "false")],
    },
    Difference {
        reason: "the first run is always allowed, also with a limit of 0 and where a failure is permanent",
        applies: "current_state IN ('pending', 'error') AND attempts = 0",
        columns: &[
            ("retry_eligible", "true"),
            (
                "ready_for_execution",
                "dependencies_satisfied AND coalesce(clock <= $2, true)",
            ),
        ],
    },
    Difference {
        reason: "the first run is always allowed: other states show it in the same way",
        applies: "current_state IN ('complete', 'cancelled', 'resolved_manually') AND attempts = 0",
        columns: &[("retry_eligible", "true")],
    },
    Difference {
        reason: "a permanent failure ends a step, which the older engine repeats",
        applies: "attempts > 0 AND NOT retryable",
        columns: &[("retry_eligible", "false")],
    },
    Difference {
        reason: "a step has one clock, which a retry by hand and a step given back set, too; no limit stops an operator's retry",
        applies: "current_state = 'pending' AND was_claimed",
        columns: &[
            (
                "ready_for_execution",
                "dependencies_satisfied AND coalesce(clock <= $2, true)",
            ),
            ("next_retry_at", "clock"),
        ],
    },
    Difference {
        reason: "a task can start at a given time, which is the clock of its steps",
        applies: "current_state = 'pending' AND clock > $2",
        columns: &[("ready_for_execution", "false"), ("next_retry_at", "clock")],
    },
    Difference {
        reason: "a wait that was asked for is over with the state that it was for",
        applies: "current_state NOT IN ('pending', 'error')",
        columns: &[("next_retry_at", "NULL")],
    },
    Difference {
        reason: "a step without another run has no time of its next run",
        applies: "current_state = 'error' AND attempts > 0 AND NOT (retryable AND attempts < retry_limit)",
        columns: &[("next_retry_at", "NULL")],
    },
    Difference {
        reason: "a lost lease is no failure of the handler: no wait",
        applies: "current_state = 'error' AND lost",
        columns: &[
            (
                "ready_for_execution",
                "dependencies_satisfied AND retryable AND attempts < retry_limit",
            ),
            ("next_retry_at", "clock"),
        ],
    },
    Difference {
        reason: "a limit raised above the attempts starts the step at once",
        applies: "current_state = 'error' AND raised",
        columns: &[
            (
                "ready_for_execution",
                "dependencies_satisfied AND retryable AND attempts < retry_limit",
            ),
            ("next_retry_at", "clock"),
        ],
    },
    Difference {
        reason: "what an ended task has held goes on at once when the task is taken up",
        applies: "current_state = 'error' AND was_held",
        columns: &[
            (
                "ready_for_execution",
                "dependencies_satisfied AND retryable AND attempts < retry_limit AND clock <= $2",
            ),
            ("next_retry_at", "clock"),
        ],
    },
    Difference {
        reason: "a wait that was asked for is for one failure; the older engine repeats it after later ones",
        applies: "current_state = 'error' AND NOT asked_by_last",
        columns: &[
            (
                "ready_for_execution",
                "dependencies_satisfied AND retryable AND attempts < retry_limit AND backed_off_until <= $2",
            ),
            ("next_retry_at", "backed_off_until"),
        ],
    },
    Difference {
        reason: "a step has one clock: a wait that was asked for replaces the backoff, which the older engine waits for besides",
        applies: "current_state = 'error'",
        columns: &[(
            "ready_for_execution",
            "dependencies_satisfied AND retryable AND attempts < retry_limit AND asked_until <= $2",
        )],
    },
    Difference {
        reason: "a run that was cancelled has ended, too",
        applies: "cancelled_at IS NOT NULL",
        columns: &[(
            "last_attempted_at",
            "greatest(last_attempted_at, cancelled_at)",
        )],
    },
];

/// Of tasks.
const CONTEXT_DIFFERENCES: &[Difference] = &[
    Difference {
        reason: "a task that is complete needs nothing more",
        applies: "status = 'complete'",
        columns: &[("recommended_action", "NULL")],
    },
    Difference {
        reason: "a task that was cancelled needs nothing more, whatever its steps are",
        applies: "status = 'cancelled'",
        columns: &[
            ("execution_status", "'cancelled'"),
            ("recommended_action", "NULL"),
            ("health_status", "'healthy'"),
        ],
    },
    Difference {
        reason: "a task that was resolved needs nothing more, whatever its steps are",
        applies: "status = 'resolved_manually'",
        columns: &[
            ("execution_status", "'resolved_manually'"),
            ("recommended_action", "NULL"),
            ("health_status", "'healthy'"),
        ],
    },
    Difference {
        reason: "a task in error waits for an operator, also where a step of it was cancelled or a run is still going on",
        applies: "status = 'error'",
        columns: &[
            ("execution_status", "'blocked_by_failures'"),
            ("recommended_action", "'handle_failures'"),
            ("health_status", "'blocked'"),
        ],
    },
    Difference {
        reason: "a failed step does not block a task of which something else will run",
        applies: "ready_steps = 0 AND in_progress_steps = 0 AND completed_steps < total_steps",
        columns: &[
            ("execution_status", "'waiting_for_dependencies'"),
            ("recommended_action", "'wait_for_dependencies'"),
        ],
    },
    Difference {
        reason: "the same of its health",
        applies: "failed_steps > 0",
        columns: &[("health_status", "'recovering'")],
    },
];

const STEP_COLUMNS: &[&str] = &[
    "step_uuid",
    "task_uuid",
    "named_step_id",
    "name",
    "current_state",
    "dependencies_satisfied",
    "retry_eligible",
    "ready_for_execution",
    "last_failure_at",
    "next_retry_at",
    "total_parents",
    "completed_parents",
    "attempts",
    "retry_limit",
    "last_attempted_at",
];

const CONTEXT_COLUMNS: &[&str] = &[
    "task_uuid",
    "status",
    "total_steps",
    "pending_steps",
    "in_progress_steps",
    "completed_steps",
    "failed_steps",
    "ready_steps",
    "execution_status",
    "recommended_action",
    "completion_percentage",
    "health_status",
    "cancelled_steps",
];

/// The columns with their differences.
fn wanted(columns: &[&str], differences: &[Difference]) -> String {
    let column = |column: &&str| {
        let mut cases = String::new();
        for difference in differences {
            for (_, value) in difference.columns.iter().filter(|(of, _)| of == column) {
                cases += &format!(" WHEN {} THEN {value}", difference.applies);
            }
        }
        match cases.as_str() {
            "" => (*column).to_owned(),
            cases => format!("CASE{cases} ELSE {column} END AS {column}"),
        }
    };
    let columns: Vec<String> = columns.iter().map(column).collect();
    columns.join(", ")
}

/// Each column of each difference, with the difference.
fn columns_of(
    differences: &[Difference],
) -> impl Iterator<Item = (usize, &Difference, &'static str, &'static str)> {
    let numbered = differences.iter().enumerate();
    numbered.flat_map(|(number, difference)| {
        let columns = difference.columns.iter();
        columns.map(move |(column, value)| (number, difference, *column, *value))
    })
}

/// How many rows need each column of each difference: without it the column would have another value.
fn changes(differences: &[Difference]) -> String {
    let of = |column: &str, part: &[Difference]| -> Vec<(&'static str, &'static str)> {
        columns_of(part)
            .filter(|(_, _, of, _)| *of == column)
            .map(|(_, difference, _, value)| (difference.applies, value))
            .collect()
    };
    let counts: Vec<String> = columns_of(differences)
        .map(|(number, difference, column, value)| {
            let mut first = String::new();
            for (applies, _) in of(column, &differences[..number]) {
                first += &format!(" AND ({applies}) IS NOT TRUE");
            }
            let mut without = String::new();
            for (applies, value) in of(column, &differences[number + 1..]) {
                without += &format!(" WHEN {applies} THEN {value}");
            }
            let without = match without.as_str() {
                "" => column.to_owned(),
                cases => format!("CASE{cases} ELSE {column} END"),
            };
            let applies = difference.applies;
            format!("count(*) FILTER (WHERE ({applies}){first} AND ({without}) IS DISTINCT FROM ({value}))")
        })
        .collect();
    format!("ARRAY[count(*), {}]", counts.join(", "))
}

/// All rows of the second implementation and the extension that are not equal, with what is not.
fn unequal(wanted: &str, shown: &str, key: &str) -> String {
    format!(
        "SELECT concat(coalesce(w.{key}, s.{key}), CASE WHEN w.{key} IS NULL THEN ' only in the extension'
                       WHEN s.{key} IS NULL THEN ' not in the extension' END,
                       (SELECT string_agg(format(E'\\n    %s: wanted %s, shown %s', key, a.value, b.value), '')
                        FROM jsonb_each(to_jsonb(w)) a JOIN jsonb_each(to_jsonb(s)) b USING (key)
                        WHERE a.value IS DISTINCT FROM b.value))
         FROM ({wanted}) w FULL JOIN ({shown}) s USING ({key}) WHERE to_jsonb(w) IS DISTINCT FROM to_jsonb(s)"
    )
}

/// The statements of a comparison, made once.
struct Statements {
    /// What the extension shows, kept in a moment; by the functions for one task and for several.
    keep: [[String; 2]; 2],
    /// What is not equal, of steps, of contexts, and of what the log tells of waits.
    unequal: [String; 3],
    /// The rows of the older engine as text.
    facts: String,
    /// How many rows need each column of a difference.
    step_changes: String,
    context_changes: String,
}

const KEPT: &str = "
    CREATE TEMP TABLE shown_steps AS SELECT * FROM tasker.get_step_readiness_status_batch('{}');
    CREATE TEMP TABLE shown_contexts AS SELECT * FROM tasker.get_task_execution_contexts_batch('{}')";

impl Statements {
    fn new() -> Self {
        let steps = format!(
            "{OLDER_STEPS}, wanted AS MATERIALIZED (SELECT {}, task_status FROM step)",
            wanted(STEP_COLUMNS, DIFFERENCES)
        );
        let contexts = format!("{steps}, {OLDER_CONTEXTS}");
        let step_columns = STEP_COLUMNS.join(", ");
        // The older engine shows always what was asked for last; here it is the wait that is in force.
        let step_rows = format!(
            "SELECT {step_columns}, CASE WHEN current_state = 'error' AND next_retry_at IS NOT NULL
                 THEN greatest(ceil(extract(epoch FROM next_retry_at - last_failure_at)), 0)::integer END AS backoff_request_seconds
             FROM wanted"
        );
        let context_rows = format!(
            "SELECT {} FROM context",
            wanted(CONTEXT_COLUMNS, CONTEXT_DIFFERENCES)
        );
        let shown_steps =
            format!("SELECT {step_columns}, backoff_request_seconds FROM shown_steps");
        let shown_contexts = format!("SELECT {} FROM shown_contexts", CONTEXT_COLUMNS.join(", "));
        let keep = |steps: &str, contexts: &str| {
            [
                format!("INSERT INTO shown_steps SELECT r.* FROM {steps}"),
                format!("INSERT INTO shown_contexts SELECT r.* FROM {contexts}"),
            ]
        };
        Self {
            keep: [
                keep(
                    "unnest($1::uuid[]) t, tasker.get_step_readiness_status(t) r",
                    "unnest($1::uuid[]) t, tasker.get_task_execution_context(t) r",
                ),
                keep(
                    "tasker.get_step_readiness_status_batch($1) r",
                    "tasker.get_task_execution_contexts_batch($1) r",
                ),
            ],
            unequal: [
                format!("{steps} {}", unequal(&step_rows, &shown_steps, "step_uuid")),
                format!(
                    "{contexts} {}",
                    unequal(&context_rows, &shown_contexts, "task_uuid")
                ),
                format!(
                    "{OLDER_STEPS} SELECT format(E'%s\n    wait: wanted %s, logged %s', step_uuid, told_wait, logged_wait) FROM step
                     WHERE current_state IN ('pending', 'error') AND logged_wait IS DISTINCT FROM to_jsonb(told_wait)"
                ),
            ],
            facts: format!("{OLDER_STEPS} SELECT to_jsonb(step)::text FROM step"),
            step_changes: format!("{steps} SELECT {} FROM step", changes(DIFFERENCES)),
            context_changes: format!(
                "{contexts} SELECT {} FROM context",
                changes(CONTEXT_DIFFERENCES)
            ),
        }
    }
}

// --- Random tasks in random states --------------------------------------------------------------------------------------

struct Case<'a> {
    seed: u64,
    rng: Rng,
    session: Session,
    /// Compares.
    looker: Session,
    namespace: String,
    tasks: Vec<Uuid>,
    statements: &'a Statements,
    seen: &'a mut Seen,
}

/// How many rows were compared, and how many of them need each column of a difference.
#[derive(Default)]
struct Seen {
    steps: Vec<i64>,
    contexts: Vec<i64>,
}

fn add(to: &mut Vec<i64>, counts: &[i64]) {
    to.resize(counts.len(), 0);
    to.iter_mut()
        .zip(counts)
        .for_each(|(sum, count)| *sum += count);
}

impl Case<'_> {
    /// Every row must be equal. A time can come between the two clocks: then the next look is equal.
    fn compare(&mut self) {
        let statements = self.statements;
        let keep = &statements.keep[self.rng.usize(..2)];
        let mut unequal: Vec<String> = vec![];
        for _ in 0..3 {
            self.looker
                .execute("DELETE FROM shown_steps; DELETE FROM shown_contexts");
            let now: SystemTime = self.looker.one("SELECT clock_timestamp()", &[]);
            for statement in keep {
                self.looker.query(statement, &[&self.tasks]);
            }
            let params: [Param; 2] = [&self.tasks, &now];
            unequal.clear();
            for statement in &statements.unequal {
                unequal.extend(self.looker.all::<String>(statement, &params));
            }
            if unequal.is_empty() {
                self.count(now);
                return;
            }
        }
        let now: SystemTime = self.looker.one("SELECT clock_timestamp()", &[]);
        let facts: Vec<String> = self
            .looker
            .all(&self.statements.facts, &[&self.tasks, &now])
            .into_iter()
            .filter(|fact: &String| {
                unequal
                    .iter()
                    .any(|row| fact.contains(&format!("\"step_uuid\": \"{}", &row[..36])))
            })
            .collect();
        panic!(
            "TASKER_SEED={}\n  {}\n  {}",
            self.seed,
            unequal.join("\n  "),
            facts.join("\n  ")
        );
    }

    /// How many rows need each column of a difference now.
    fn count(&mut self, now: SystemTime) {
        let params: [Param; 2] = [&self.tasks, &now];
        let steps: Vec<i64> = self.looker.one(&self.statements.step_changes, &params);
        let contexts: Vec<i64> = self.looker.one(&self.statements.context_changes, &params);
        add(&mut self.seen.steps, &steps);
        add(&mut self.seen.contexts, &contexts);
    }

    fn claim(&mut self, worker: &str, most: i32, lease: &str) -> Vec<Claim> {
        let ask = Ask {
            namespaces: vec![&self.namespace],
            lease,
            ..Ask::by(worker, most)
        };
        self.session.claim(&ask)
    }

    /// Claims some steps, of which each goes its own way.
    fn work(&mut self) {
        let most = self.rng.i32(1..=8);
        for claim in self.claim("worker", most, "1 hour") {
            match self.rng.u8(..20) {
                0..11 => drop(self.session.complete(&claim, &json!({}))),
                11..14 => self.fail(&claim, None, true),
                14..17 => {
                    let seconds = self.rng.i32(1..=30);
                    self.fail(&claim, Some(seconds), true);
                }
                17 => self.fail(&claim, None, false),
                18 => {
                    let step = json!([{"step_uuid": claim.step.to_string(), "claim_number": claim.number}]);
                    let delay = self.rng.i32(0..10);
                    let sql = "SELECT tasker.release_steps('worker', $1, make_interval(secs => $2::integer))";
                    self.session.query(sql, &[&step, &delay]);
                    self.session.query(
                        "INSERT INTO older.asked (step_uuid, by_last, raised, delay) VALUES ($1, false, false, $2)
                         ON CONFLICT (step_uuid) DO UPDATE SET delay = excluded.delay",
                        &[&claim.step, &delay],
                    );
                }
                // It runs on.
                _ => {}
            }
        }
    }

    fn fail(&mut self, claim: &Claim, seconds: Option<i32>, retryable: bool) {
        let answer: String = self.session.one(
            "SELECT tasker.fail_step($1, $2, 'it broke', retryable => $3, retry_after => make_interval(secs => $4::integer))",
            &[&claim.step, &claim.number, &retryable, &seconds],
        );
        assert_eq!(answer, "error");
        self.session.query(
            "INSERT INTO older.asked (step_uuid, seconds, by_last, raised) VALUES ($1, $2, $3, false) ON CONFLICT (step_uuid)
             DO UPDATE SET seconds = coalesce(excluded.seconds, asked.seconds), by_last = excluded.by_last, raised = false",
            &[&claim.step, &seconds, &seconds.is_some()],
        );
    }

    /// Workers die with what they have claimed: of several steps none has begun, a single one has.
    fn die(&mut self) {
        let most = self.rng.i32(1..=4);
        let lost = self.claim("dying", most, "1 millisecond");
        std::thread::sleep(Duration::from_millis(25));
        for claim in lost {
            self.session.query(
                "UPDATE older.asked SET raised = false WHERE step_uuid = $1",
                &[&claim.step],
            );
        }
    }

    /// Something that may be refused.
    fn try_to(&mut self, sql: &str, uuid: Uuid, param: Option<Param>) -> bool {
        let params: Vec<Param> = [&uuid as Param].into_iter().chain(param).collect();
        match self.session.attempt_with(sql, &params) {
            Ok(_) => true,
            Err(failure) => {
                failure.is("55000");
                false
            }
        }
    }

    fn operate(&mut self) {
        let task = self.tasks[self.rng.usize(..self.tasks.len())];
        let steps: Vec<Uuid> = self.session.all(
            "SELECT step_uuid FROM tasker.workflow_steps WHERE task_uuid = $1 AND (state = 'error' OR $2) ORDER BY 1",
            &[&task, &self.rng.bool()],
        );
        let Some(&step) = self.rng.choice(&steps) else {
            return;
        };
        let reset = self.rng.bool();
        match self.rng.u8(..25) {
            0..2 => drop(self.try_to("SELECT tasker.cancel_step($1)", step, None)),
            2..5 => drop(self.try_to("SELECT tasker.resolve_step_manually($1)", step, None)),
            5..10 => drop(self.try_to("SELECT tasker.retry_step($1, $2)", step, Some(&reset))),
            10..16 => self.set_retry_limit(step),
            16..19 => drop(self.try_to("SELECT tasker.retry_task($1)", task, None)),
            19..22 => {
                let seconds = self.rng.i32(1..=20);
                inside::let_time_pass(&mut self.session, task, seconds);
                self.session.query(
                    "UPDATE older.asked a SET raised_from = raised_from - make_interval(secs => $2::integer),
                            raised_to = raised_to - make_interval(secs => $2::integer)
                     FROM tasker.workflow_steps s WHERE s.task_uuid = $1 AND a.step_uuid = s.step_uuid",
                    &[&task, &seconds],
                );
            }
            22 => drop(self.try_to("SELECT tasker.resolve_task_manually($1)", task, None)),
            23 => drop(self.try_to("SELECT tasker.cancel_task($1)", task, None)),
            _ => drop(self.try_to("SELECT tasker.transition_task($1, 'error')", task, None)),
        }
    }

    fn set_retry_limit(&mut self, step: Uuid) {
        let limit = self.rng.i32(0..=5);
        // Attempts that the test has set come without a claim: a limit below them is for steps that have failed. A step whose first run was
        // lost runs again whatever its limit, so that raises nothing.
        let raises: Vec<bool> = self.session.all(
            "SELECT state = 'error' AND retryable AND attempts > 0 AND attempts >= retry_limit AND attempts < $2
             FROM tasker.workflow_steps WHERE step_uuid = $1 AND (state <> 'pending' OR claim_number > 0 OR attempts < $2)",
            &[&step, &limit],
        );
        let Some(&raises) = raises.first() else {
            return;
        };
        let from: SystemTime = self.session.one("SELECT clock_timestamp()", &[]);
        let sql = "SELECT tasker.set_retry_limit($1, $2)";
        if self.try_to(sql, step, Some(&limit)) && raises {
            self.session.query(
                "INSERT INTO older.asked (step_uuid, by_last, raised, raised_from, raised_to)
                 VALUES ($1, false, true, $2, clock_timestamp())
                 ON CONFLICT (step_uuid)
                 DO UPDATE SET raised = true, raised_from = excluded.raised_from, raised_to = excluded.raised_to",
                &[&step, &from],
            );
        }
    }
}

/// The graph as the test has drawn it.
fn draw(session: &mut Session, task: Uuid, nodes: &[Node]) {
    let edges = nodes.iter().flat_map(|node| {
        let parents = node.parents.iter();
        parents.map(|parent| (nodes[*parent].name.as_str(), node.name.as_str()))
    });
    let (from, to): (Vec<&str>, Vec<&str>) = edges.unzip();
    session.query(
        "INSERT INTO older.edges
         SELECT p.step_uuid, c.step_uuid FROM unnest($2::text[], $3::text[]) e (parent, child)
         JOIN tasker.workflow_steps p ON p.task_uuid = $1 AND p.name = e.parent
         JOIN tasker.workflow_steps c ON c.task_uuid = $1 AND c.name = e.child",
        &[&task, &from, &to],
    );
}

fn run(database: &Database, seed: u64, statements: &Statements, seen: &mut Seen) {
    let mut rng = Rng::with_seed(seed);
    let mut session = database.connect();
    // Long statements over few rows without statistics.
    let mut looker = database.connect();
    looker.execute("SET jit = off; SET enable_nestloop = off");
    looker.execute(KEPT);
    let nodes = random_graph(&mut rng);
    let namespace = format!("case_{seed}");
    // The backoff of the older engine: 2^n seconds, at most 30.
    let backoff =
        json!({"backoff": "exponential", "backoff_base_ms": 2000, "max_backoff_ms": 30000});
    template(&mut rng, &namespace, &nodes)
        .every_step(json!({ "retry": backoff }))
        .register(&mut session);
    let mut tasks: Vec<Uuid> = vec![];
    for _ in 0..rng.usize(1..=4) {
        let wait = (rng.u8(..6) == 0).then(|| rng.i32(2..60));
        let task = session.one(
            "SELECT tasker.create_task($1, namespace => $1, run_at => clock_timestamp() + make_interval(secs => $2::integer))",
            &[&namespace, &wait],
        );
        draw(&mut session, task, &nodes);
        // The cap of the backoff is reached after five runs.
        for node in nodes.iter().filter(|node| node.retryable) {
            if rng.u8(..8) == 0 {
                let step = session.step(task, &node.name);
                inside::set_attempts(&mut session, step, rng.i32(1..=6));
            }
        }
        tasks.push(task);
    }
    let mut case = Case {
        seed,
        rng,
        session,
        looker,
        namespace,
        tasks,
        statements,
        seen,
    };
    case.compare();
    let turns = (nodes.len() / 2).clamp(12, 60);
    for turn in 0..turns {
        match case.rng.u8(..20) {
            0..9 => case.work(),
            9 => case.die(),
            _ => case.operate(),
        }
        if turn % 6 == 5 || turn + 1 == turns {
            case.compare();
        }
    }
}

#[test]
fn readiness_and_contexts_are_those_of_a_second_implementation() {
    let database = Database::new();
    database.connect().execute(FACTS);
    let statements = Statements::new();
    let mut seen = Seen::default();
    if let Some(seed) = std::env::var("TASKER_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
    {
        run(&database, seed, &statements, &mut seen);
        return;
    }
    let first = fastrand::u64(..1_000_000_000);
    println!("TASKER_SEED={first} and the numbers after it");
    let mut case = first;
    while seen
        .steps
        .first()
        .is_none_or(|steps| *steps < scaled(5_000, 500_000) as i64)
    {
        run(&database, case, &statements, &mut seen);
        case += 1;
    }
    for (what, counts, differences) in [
        ("steps", &seen.steps, DIFFERENCES),
        ("contexts", &seen.contexts, CONTEXT_DIFFERENCES),
    ] {
        println!("{} {what}", counts[0]);
        for ((_, difference, column, _), count) in columns_of(differences).zip(&counts[1..]) {
            println!("{count:6} {column}: {}", difference.reason);
            // A difference that no row needs any more would hide a fault.
            assert!(
                *count > 0 || !long(),
                "no row needs this difference: {column}: {}",
                difference.reason
            );
        }
    }
}
