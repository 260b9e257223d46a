//! What the server can carry: how many executors there may be, and what is wrong with the settings of the pools.
//!
//! An executor is a background worker: it takes one of max_worker_processes and no connection. Reserves and shares are the
//! original's, which counted connections of a pool.

use super::Bound;

/// Without a running launcher: the launcher and one coordinator are to come.
const OWN: u32 = 2;

/// What the server is set to, and what takes worker slots beside the executors of this database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Slots for background workers of all kinds.
    pub max_worker_processes: u32,
    /// Connections; executors take none, but the server was sized for so many backends.
    pub max_connections: u32,
    /// Workers of one parallel query; they take the same slots.
    pub max_parallel_per_gather: u32,
    /// Megabytes that all executors of this database may use together; 0: not checked.
    pub memory_budget_mb: u32,
    /// Megabytes that one executor is expected to use.
    pub executor_memory_mb: u32,
    /// Launcher and coordinators that run; 0: the library is not preloaded.
    pub own_processes: u32,
    /// Executors of other databases that run.
    pub executors_elsewhere: u32,
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

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The pools cannot have what they are set to.
    Error,
    /// They can, but not always, or at the cost of others.
    Warning,
}

impl Severity {
    /// The word that is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
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

/// How many executors this database may have in all, and what sets that.
pub fn allowance(server: &Server) -> Bound {
    let slots = server.max_worker_processes;
    let (kept, own) = (reserved(slots), server.own_processes.max(OWN));
    let free = slots
        .saturating_sub(kept)
        .saturating_sub(own)
        .saturating_sub(server.executors_elsewhere);
    let elsewhere = if server.executors_elsewhere > 0 {
        format!(
            ", {} executors of other databases",
            server.executors_elsewhere
        )
    } else {
        String::new()
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

/// Everything that does not fit, errors first; nothing if all is well.
pub fn validate(server: &Server, pools: &[PoolLimits]) -> Vec<Finding> {
    let mut findings = vec![];
    let mut add = |severity, pool: Option<&PoolLimits>, message: String, hint: &str| {
        findings.push(Finding {
            severity,
            pool: pool.map(|pool| pool.name.clone()),
            message,
            hint: hint.to_owned(),
        });
    };
    let sum = |of: fn(&PoolLimits) -> u32| pools.iter().map(of).fold(0, u32::saturating_add);
    let (least, most) = (sum(|pool| pool.min), sum(|pool| pool.max));
    let slots = server.max_worker_processes;
    let slots_only = allowance(&Server {
        memory_budget_mb: 0,
        ..server.clone()
    });
    let raise = "Raise max_worker_processes (needs a restart), or lower max_executors with tasker.configure_executor_pool.";

    for pool in pools {
        if pool.min > pool.max {
            add(
                Severity::Error,
                Some(pool),
                format!("its minimum {} is above its maximum {}", pool.min, pool.max),
                "Set both with tasker.configure_executor_pool.",
            );
        }
        if pool.max == 0 {
            add(
                Severity::Warning,
                Some(pool),
                "its maximum is 0: it never has an executor".to_owned(),
                "Raise max_executors, or switch the pool off with enabled => false.",
            );
        }
    }
    if least > slots_only.executors {
        add(
            Severity::Error,
            None,
            format!(
                "the pools want at least {least} executors, but {}",
                slots_only.because
            ),
            "Raise max_worker_processes (needs a restart), or lower min_executors with tasker.configure_executor_pool.",
        );
    }
    if most > slots {
        add(
            Severity::Error,
            None,
            format!("the pools may grow to {most} executors, but max_worker_processes is {slots}"),
            raise,
        );
    } else if most > slots_only.executors {
        add(
            Severity::Warning,
            None,
            format!(
                "the pools may grow to {most} executors, but {}",
                slots_only.because
            ),
            raise,
        );
    }
    if let Some(affordable) = affordable(server) {
        let budget = format!(
            "tasker.memory_budget_mb {} holds {affordable} of {} MB",
            server.memory_budget_mb,
            server.executor_memory_mb.max(1)
        );
        let hint = "Raise tasker.memory_budget_mb, set tasker.executor_memory_mb to what an executor really uses, or lower the limits of the pools.";
        if least > affordable {
            add(
                Severity::Error,
                None,
                format!("the pools want at least {least} executors, but {budget}"),
                hint,
            );
        } else if most > affordable {
            add(
                Severity::Warning,
                None,
                format!("the pools may grow to {most} executors, but {budget}"),
                hint,
            );
        }
    }
    if most > 0 && most > server.max_connections {
        add(
            Severity::Warning,
            None,
            format!(
                "the pools may grow to {most} executors, more than the {} connections the server is set up for",
                server.max_connections
            ),
            "Executors take no connection, but each is a backend that needs memory and processor time.",
        );
    }
    let own = server.own_processes.max(OWN);
    let with_parallel = most
        .saturating_add(own)
        .saturating_add(server.executors_elsewhere)
        .saturating_add(server.max_parallel_per_gather);
    if most <= slots_only.executors && with_parallel > slots {
        add(
            Severity::Warning,
            None,
            format!(
                "when the pools have all of their {most} executors, max_worker_processes {slots} has no room for the {} workers of a parallel query",
                server.max_parallel_per_gather
            ),
            raise,
        );
    }
    if server.own_processes == 0 {
        add(
            Severity::Warning,
            None,
            "no launcher runs, so no pool has an executor".to_owned(),
            "Add tasker_ext to shared_preload_libraries and restart the server. Meanwhile tasker.run_steps() and tasker.run_maintenance() do the same work when they are called.",
        );
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
}
