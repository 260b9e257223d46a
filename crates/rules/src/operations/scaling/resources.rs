//! The resources of the server: how many executors they allow, and what is wrong with the settings of the pools.
//!
//! An executor is a background worker: it takes one of max_worker_processes and no connection.

use super::Bound;
use crate::problem::Severity;

/// Slots that the launcher and one coordinator take, running or not.
const OWN: u32 = 2;

/// The settings of the server, and the users of worker slots beside the executors of this database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Slots for background workers of all kinds.
    pub max_worker_processes: u32,
    /// Connections; executors take none, but the server is sized for this number of backends.
    pub max_connections: u32,
    /// Workers of one parallel query; they take the same slots.
    pub max_parallel_per_gather: u32,
    /// Megabytes that all executors of this database can use together; 0: not checked.
    pub memory_budget_mb: u32,
    /// Megabytes that one executor is expected to use.
    pub executor_memory_mb: u32,
    /// Launcher and coordinators that run; 0: the library is not preloaded.
    pub own_processes: u32,
    /// Executors of other databases that run.
    pub executors_elsewhere: u32,
    /// Slots that PostgreSQL's own background workers hold all the time.
    pub held_by_server: u32,
    /// Databases that wait for a coordinator because no slot is left.
    pub waiting: Vec<String>,
}

/// A pool's limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolLimits {
    /// Its name.
    pub name: String,
    /// Minimum of executors.
    pub min: u32,
    /// Maximum of executors.
    pub max: u32,
}

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Error: the pools cannot have what they are set to. Warning: they can, but not always, or at the cost of others.
    pub severity: Severity,
    /// The pool it is about; `None`: all of them together.
    pub pool: Option<String>,
    /// What does not fit.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// Worker slots that are left to others: a fifth, but at least 2 of up to 20, 3 to 10 of up to 50, 5 to 20 of up to 100, and
/// 10 to a quarter of more.
pub fn reserved(slots: u32) -> u32 {
    let fifth = (f64::from(slots) * 0.2).round() as u32;
    match slots {
        0..=20 => fifth.max(2).min(slots),
        21..=50 => fifth.clamp(3, 10),
        51..=100 => fifth.clamp(5, 20),
        _ => fifth.clamp(10, slots / 4),
    }
}

/// How many processes of ours the server carries so that the reserved slots stay free; the launcher and one coordinator in
/// any case.
pub fn capacity(slots: u32, held_by_server: u32) -> u32 {
    slots
        .saturating_sub(reserved(slots))
        .saturating_sub(held_by_server)
        .max(OWN)
}

/// The smallest max_worker_processes that carries this number of processes of ours.
fn slots_for(processes: u32, held_by_server: u32) -> u32 {
    let from = processes.saturating_add(held_by_server);
    (from..=from.saturating_mul(2).saturating_add(10))
        .find(|slots| capacity(*slots, held_by_server) >= processes && *slots > from)
        .unwrap_or(from)
}

/// How many executors this database can have in all, and which setting limits it.
pub fn allowance(server: &Server) -> Bound {
    let slots = server.max_worker_processes;
    let (kept, own) = (reserved(slots), server.coordination());
    let free = slots
        .saturating_sub(kept)
        .saturating_sub(own)
        .saturating_sub(server.held_by_server)
        .saturating_sub(server.executors_elsewhere);
    let elsewhere = if server.executors_elsewhere > 0 {
        format!(
            ", {} executors of other databases",
            server.executors_elsewhere
        )
    } else {
        String::new()
    };
    let elsewhere = if server.held_by_server > 0 {
        format!(
            "{elsewhere}, {} of the server itself",
            server.held_by_server
        )
    } else {
        elsewhere
    };
    let by_slots = Bound {
        executors: free,
        because: format!(
            "max_worker_processes {slots} leaves {free} to executors ({kept} reserved for others, {own} launcher and coordinators{elsewhere})"
        ),
    };
    let Some(affordable) = affordable(server) else {
        return by_slots;
    };
    if affordable >= free {
        return by_slots;
    }
    Bound {
        executors: affordable,
        because: format!(
            "tasker.memory_budget_mb {} holds {affordable} executors of {} MB",
            server.memory_budget_mb,
            server.executor_memory_mb.max(1)
        ),
    }
}

/// Executors that the memory budget holds; `None` without a budget.
fn affordable(server: &Server) -> Option<u32> {
    (server.memory_budget_mb > 0)
        .then(|| server.memory_budget_mb / server.executor_memory_mb.max(1))
}

impl Server {
    /// The launcher and the coordinators, those included that wait.
    fn coordination(&self) -> u32 {
        self.own_processes
            .saturating_add(self.waiting.len() as u32)
            .max(OWN)
    }

    /// What to do if the slots carry fewer than this many executors of the database.
    fn raise(&self, executors: u32, or: &str) -> String {
        let processes = self
            .coordination()
            .saturating_add(self.executors_elsewhere)
            .saturating_add(executors);
        format!(
            "Raise max_worker_processes to {} (needs a restart){or}",
            slots_for(processes, self.held_by_server)
        )
    }
}

const OR_LOWER: &str = ", or lower max_executors with tasker.configure_executor_pool.";

/// Everything that does not fit, errors first; nothing if everything fits.
pub fn validate(server: &Server, pools: &[PoolLimits]) -> Vec<Finding> {
    let sum = |of: fn(&PoolLimits) -> u32| pools.iter().map(of).fold(0, u32::saturating_add);
    let all = All {
        server,
        least: sum(|pool| pool.min),
        most: sum(|pool| pool.max),
        by_slots: allowance(&Server {
            memory_budget_mb: 0,
            ..server.clone()
        }),
    };
    let mut findings: Vec<Finding> = pools.iter().flat_map(limits).collect();
    findings.extend(
        [
            waiting(server),
            all.least_by_slots(),
            all.most_by_slots(),
            all.by_memory(),
            all.by_connections(),
            all.by_parallel_queries(),
            all.without_launcher(),
        ]
        .into_iter()
        .flatten(),
    );
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// Databases without a coordinator, as the launcher finds no slot for one.
fn waiting(server: &Server) -> Option<Finding> {
    (!server.waiting.is_empty()).then(|| {
        let slots = server.max_worker_processes;
        let message = format!(
            "no slot is left for the coordinators of {}: max_worker_processes {slots} carries {} processes of tasker_ext ({} reserved for others)",
            server.waiting.join(", "),
            capacity(slots, server.held_by_server),
            reserved(slots)
        );
        // Each database with one executor as well.
        let processes = server.coordination().saturating_mul(2) - 1;
        let hint = format!(
            "Raise max_worker_processes to {} (needs a restart), or drop the extension in databases that do not use it.",
            slots_for(processes, server.held_by_server)
        );
        finding(Severity::Error, message, &hint)
    })
}

/// What is wrong with the limits of one pool.
fn limits(pool: &PoolLimits) -> Vec<Finding> {
    let finding = |severity, message, hint: &str| Finding {
        severity,
        pool: Some(pool.name.clone()),
        message,
        hint: hint.to_owned(),
    };
    let mut findings = vec![];
    if pool.min > pool.max {
        let hint = "Set both with tasker.configure_executor_pool.";
        let message = format!("its minimum {} is above its maximum {}", pool.min, pool.max);
        findings.push(finding(Severity::Error, message, hint));
    }
    if pool.max == 0 {
        let hint = "Raise max_executors, or switch the pool off with enabled => false.";
        let message = "its maximum is 0: it never has an executor".to_owned();
        findings.push(finding(Severity::Warning, message, hint));
    }
    findings
}

/// All pools together against the server.
struct All<'a> {
    server: &'a Server,
    /// Sum of the minimums.
    least: u32,
    /// Sum of the maximums.
    most: u32,
    /// What the worker slots allow, whatever the memory budget.
    by_slots: Bound,
}

impl All<'_> {
    fn want_at_least(&self, but: &str, hint: &str) -> Finding {
        let message = format!(
            "the pools want at least {} executors, but {but}",
            self.least
        );
        finding(Severity::Error, message, hint)
    }

    fn may_grow(&self, severity: Severity, but: &str, hint: &str) -> Finding {
        let message = format!("the pools may grow to {} executors, {but}", self.most);
        finding(severity, message, hint)
    }

    fn least_by_slots(&self) -> Option<Finding> {
        (self.least > self.by_slots.executors).then(|| {
            self.want_at_least(
                &self.by_slots.because,
                &self.server.raise(
                    self.least,
                    ", or lower min_executors with tasker.configure_executor_pool.",
                ),
            )
        })
    }

    fn most_by_slots(&self) -> Option<Finding> {
        let slots = self.server.max_worker_processes;
        let raise = self.server.raise(self.most, OR_LOWER);
        if self.most > slots {
            let but = format!("but max_worker_processes is {slots}");
            Some(self.may_grow(Severity::Error, &but, &raise))
        } else if self.most > self.by_slots.executors {
            let but = format!("but {}", self.by_slots.because);
            Some(self.may_grow(Severity::Warning, &but, &raise))
        } else {
            None
        }
    }

    fn by_memory(&self) -> Option<Finding> {
        let affordable = affordable(self.server)?;
        let budget = format!(
            "tasker.memory_budget_mb {} holds {affordable} of {} MB",
            self.server.memory_budget_mb,
            self.server.executor_memory_mb.max(1)
        );
        let hint = "Raise tasker.memory_budget_mb, set tasker.executor_memory_mb to what an executor really uses, or lower the limits of the pools.";
        if self.least > affordable {
            Some(self.want_at_least(&budget, hint))
        } else if self.most > affordable {
            Some(self.may_grow(Severity::Warning, &format!("but {budget}"), hint))
        } else {
            None
        }
    }

    fn by_connections(&self) -> Option<Finding> {
        let connections = self.server.max_connections;
        (self.most > 0 && self.most > connections).then(|| {
            self.may_grow(
                Severity::Warning,
                &format!("more than the {connections} connections the server is set up for"),
                "Executors take no connection, but each is a backend that needs memory and processor time.",
            )
        })
    }

    fn by_parallel_queries(&self) -> Option<Finding> {
        let server = self.server;
        let (slots, parallel) = (server.max_worker_processes, server.max_parallel_per_gather);
        let wanted = self
            .most
            .saturating_add(server.coordination())
            .saturating_add(server.executors_elsewhere)
            .saturating_add(server.held_by_server)
            .saturating_add(parallel);
        (self.most <= self.by_slots.executors && wanted > slots).then(|| {
            let message = format!(
                "when the pools have all of their {} executors, max_worker_processes {slots} has no room for the {parallel} workers of a parallel query",
                self.most
            );
            let hint = format!("Raise max_worker_processes to {wanted} (needs a restart){OR_LOWER}");
            finding(Severity::Warning, message, &hint)
        })
    }

    fn without_launcher(&self) -> Option<Finding> {
        let hint = "Add tasker_ext to shared_preload_libraries and restart the server. Meanwhile tasker.run_steps() and tasker.run_maintenance() do the same work when they are called.";
        (self.server.own_processes == 0).then(|| {
            finding(
                Severity::Warning,
                "no launcher runs, so no pool has an executor".to_owned(),
                hint,
            )
        })
    }
}

/// A finding about all pools together.
fn finding(severity: Severity, message: String, hint: &str) -> Finding {
    Finding {
        severity,
        pool: None,
        message,
        hint: hint.to_owned(),
    }
}
