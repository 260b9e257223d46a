//! Settings (`tasker.*`). They hold for a server, a database or a role; docs/operating-with-psql.md lists them. The long
//! description says unit, special values and where the rule stands: docs/reference shows it.

use std::ffi::CString;

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
use tasker_rules::engine::backoff::Config;
use tasker_rules::operations::operational::Multipliers;

use crate::pg::guc::{self, Check};

static DEFAULT_BACKOFF_SECONDS: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"1,2,4,8,16,32"));
static MAX_BACKOFF_SECONDS: GucSetting<i32> = GucSetting::<i32>::new(300);
static BACKOFF_MULTIPLIER: GucSetting<f64> = GucSetting::<f64>::new(2.0);
static JITTER_ENABLED: GucSetting<bool> = GucSetting::<bool>::new(true);
static JITTER_MAX_PERCENTAGE: GucSetting<f64> = GucSetting::<f64>::new(0.1);
static EXECUTOR_MEMORY_MB: GucSetting<i32> = GucSetting::<i32>::new(50);
static MEMORY_BUDGET_MB: GucSetting<i32> = GucSetting::<i32>::new(0);
static PRIORITY_AGING_SECONDS: GucSetting<i32> = GucSetting::<i32>::new(300);
static DIRECT_TABLE_ACCESS: GucSetting<bool> = GucSetting::<bool>::new(true);
static DEFAULT_RETENTION: GucSetting<i32> = GucSetting::<i32>::new(0);
static EXECUTOR_DRAIN_SECONDS: GucSetting<i32> = GucSetting::<i32>::new(30);
static HANDLER_TIMEOUT_SECONDS: GucSetting<i32> = GucSetting::<i32>::new(300);
static SHUTDOWN_HEALTH: GucSetting<f64> = GucSetting::<f64>::new(0.0);
static STARTUP_HEALTH: GucSetting<f64> = GucSetting::<f64>::new(0.5);
static ENVIRONMENT: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));

/// Defines every setting; alphabetical.
pub fn define() {
    // A worker's role may not shorten its own backoff, so these need SET rights that superusers can grant.
    let flags = GucFlags::empty();
    GucRegistry::define_float_guc(
        c"tasker.backoff_multiplier",
        c"Exponent beyond the end of the backoff list, and factor of exponential backoff.",
        c"A plain number. Attempt n beyond the list waits n^multiplier seconds; kind exponential waits base*multiplier^(n-1). Rule: docs/concepts.md#retry.",
        &BACKOFF_MULTIPLIER,
        1.0,
        10.0,
        GucContext::Suset,
        flags,
    );
    guc::define_checked_string::<BackoffList>(
        c"tasker.default_backoff_seconds",
        c"Seconds to wait after attempt 1, 2, 3 ... of a step whose template names no backoff kind.",
        c"Comma-separated numbers of seconds, none negative. The first is the base of the other kinds. Rule: docs/concepts.md#retry.",
        &DEFAULT_BACKOFF_SECONDS,
        GucContext::Suset,
    );
    GucRegistry::define_int_guc(
        c"tasker.default_retention",
        c"How long ended tasks are kept in namespaces for which set_retention says nothing.",
        c"Seconds, or with a unit such as 90d; 0: for ever. Tasks in error are kept. Read by maintenance. Rule: docs/retention.md.",
        &DEFAULT_RETENTION,
        0,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_bool_guc(
        c"tasker.direct_table_access",
        c"Whether claims and the log may write tables below SQL.",
        c"Off: every change goes through an SQL statement, at a higher cost and with the same result. The view tasker.table_access shows the way of each operation. Rule: docs/design.md#below-sql.",
        &DIRECT_TABLE_ACCESS,
        GucContext::Suset,
        flags,
    );
    GucRegistry::define_string_guc(
        c"tasker.environment",
        c"Which environment's overrides of a template are applied when it is registered.",
        c"A name; empty: none. Templates keep all their environments; export_template shows them. Rule: docs/concepts.md#environments.",
        &ENVIRONMENT,
        GucContext::Userset,
        flags,
    );
    GucRegistry::define_int_guc(
        c"tasker.executor_drain_seconds",
        c"How long an executor that is to end may still work on its step.",
        c"Seconds. Then it is terminated, and the step counts as a crashed run. Rule: docs/background-workers.md#executors.",
        &EXECUTOR_DRAIN_SECONDS,
        0,
        86_400,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"tasker.executor_memory_mb",
        c"Memory that one executor is expected to use.",
        c"Megabytes. Only compared with tasker.memory_budget_mb; nothing is limited by it. Rule: docs/executor-pools.md#what-the-server-can-carry.",
        &EXECUTOR_MEMORY_MB,
        1,
        1_048_576,
        GucContext::Suset,
        GucFlags::UNIT_MB,
    );
    GucRegistry::define_int_guc(
        c"tasker.handler_timeout_seconds",
        c"How long a handler inside the database may run if its step has no timeout_seconds.",
        c"Seconds; 0: for ever. Then it is cancelled, and the step fails with class 57014, retryable. Rule: docs/background-workers.md#handlers.",
        &HANDLER_TIMEOUT_SECONDS,
        0,
        86_400,
        GucContext::Suset,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_bool_guc(
        c"tasker.jitter_enabled",
        c"Whether backoff is spread at random where the template does not say.",
        c"By up to tasker.jitter_max_percentage; a retry_after never is. Rule: docs/concepts.md#retry.",
        &JITTER_ENABLED,
        GucContext::Suset,
        flags,
    );
    GucRegistry::define_float_guc(
        c"tasker.jitter_max_percentage",
        c"Largest share of the delay that jitter adds or takes away.",
        c"A share: 0.1 is ten percent. The result never exceeds the cap. Rule: docs/concepts.md#retry.",
        &JITTER_MAX_PERCENTAGE,
        0.0,
        1.0,
        GucContext::Suset,
        flags,
    );
    GucRegistry::define_int_guc(
        c"tasker.max_backoff_seconds",
        c"No retry waits longer than this, whatever the kind or a Retry-After says.",
        c"Seconds. A step's max_backoff_ms comes before it. Rule: docs/concepts.md#retry.",
        &MAX_BACKOFF_SECONDS,
        1,
        86_400,
        GucContext::Suset,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"tasker.memory_budget_mb",
        c"Memory that all executors of the database may use together.",
        c"Megabytes; 0: not checked. Pools do not grow beyond it, at tasker.executor_memory_mb each. Rule: docs/executor-pools.md#what-the-server-can-carry.",
        &MEMORY_BUDGET_MB,
        0,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_MB,
    );
    GucRegistry::define_int_guc(
        c"tasker.priority_aging_seconds",
        c"A ready step that has waited this long times its level (1 low to 3 high) moves up a level.",
        c"Seconds; 0: never. So nothing starves behind urgent work. Rule: docs/concepts.md#priorities.",
        &PRIORITY_AGING_SECONDS,
        0,
        86_400,
        GucContext::Suset,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_float_guc(
        c"tasker.shutdown_health_threshold_multiplier",
        c"How much of each health threshold is asked for while the system shuts down gracefully.",
        c"A share: 1 is as in normal operation, 0 asks for nothing. Rule: docs/health.md#thresholds.",
        &SHUTDOWN_HEALTH,
        0.0,
        1.0,
        GucContext::Suset,
        flags,
    );
    GucRegistry::define_float_guc(
        c"tasker.startup_health_threshold_multiplier",
        c"How much of each health threshold is asked for while the system starts up.",
        c"A share: 1 is as in normal operation, 0.5 half of it. Rule: docs/health.md#thresholds.",
        &STARTUP_HEALTH,
        0.0,
        1.0,
        GucContext::Suset,
        flags,
    );
}

/// The multipliers of the operational states that have one of their own.
pub fn health_multipliers() -> Multipliers {
    Multipliers {
        startup: STARTUP_HEALTH.get(),
        shutdown: SHUTDOWN_HEALTH.get(),
    }
}

/// How long a ready step of level 1 waits before it moves up; 0 for ever.
pub fn priority_aging_us() -> i64 {
    i64::from(PRIORITY_AGING_SECONDS.get()) * 1_000_000
}

/// Megabytes that one executor is expected to use.
pub fn executor_memory_mb() -> u32 {
    EXECUTOR_MEMORY_MB.get().unsigned_abs()
}

/// Megabytes that all executors of the database may use together; 0: not checked.
pub fn memory_budget_mb() -> u32 {
    MEMORY_BUDGET_MB.get().unsigned_abs()
}

/// How long an executor may take to end, microseconds.
pub fn executor_drain_us() -> i64 {
    i64::from(EXECUTOR_DRAIN_SECONDS.get()) * 1_000_000
}

/// The timeout of handlers inside the database that have none of their own; 0: none.
pub fn handler_timeout_ms() -> i32 {
    HANDLER_TIMEOUT_SECONDS.get().saturating_mul(1000)
}

fn parse_list(text: &str) -> Option<Vec<f64>> {
    text.split(',')
        .map(|item| {
            item.trim()
                .parse::<f64>()
                .ok()
                .filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
        })
        .collect()
}

struct BackoffList;

impl Check for BackoffList {
    fn accepts(text: &str) -> bool {
        parse_list(text).is_some()
    }
}

/// The backoff configuration in force.
pub fn backoff() -> Config {
    let list = DEFAULT_BACKOFF_SECONDS
        .get()
        .and_then(|text| parse_list(&text.to_string_lossy()))
        .unwrap_or_else(|| Config::default().list_seconds);
    Config {
        list_seconds: list,
        multiplier: BACKOFF_MULTIPLIER.get(),
        max_ms: i64::from(MAX_BACKOFF_SECONDS.get()) * 1000,
        jitter: if JITTER_ENABLED.get() {
            JITTER_MAX_PERCENTAGE.get()
        } else {
            0.0
        },
    }
}

/// The environment whose overrides apply, if any.
pub fn environment() -> Option<String> {
    ENVIRONMENT
        .get()
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| !name.is_empty())
}

/// Whether tables may be written below SQL.
pub fn direct_table_access() -> bool {
    DIRECT_TABLE_ACCESS.get()
}
