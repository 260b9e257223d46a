//! Settings (`tasker.*`). They hold for a server, a database or a role; docs/operating-with-psql.md lists them. The long
//! description says unit, special values and where the rule stands: docs/reference shows it.

use std::ffi::{CStr, CString};

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};
use tasker_rules::engine::backoff::Config;
use tasker_rules::events::log_line;
use tasker_rules::names::check_event;
use tasker_rules::operations::diagram::{Places, is_link_template, link};
use tasker_rules::operations::operational::Multipliers;

use crate::pg::backend;
use crate::pg::guc::{self, Check};
use crate::pg::tables;

static DEFAULT_BACKOFF_SECONDS: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"1,2,4,8,16,32"));
static MAX_BACKOFF_SECONDS: GucSetting<i32> = GucSetting::<i32>::new(300);
static BACKOFF_MULTIPLIER: GucSetting<f64> = GucSetting::<f64>::new(2.0);
static JITTER_ENABLED: GucSetting<bool> = GucSetting::<bool>::new(true);
static JITTER_MAX_PERCENTAGE: GucSetting<f64> = GucSetting::<f64>::new(0.1);
static EXECUTOR_MEMORY_MB: GucSetting<i32> = GucSetting::<i32>::new(50);
static MAX_CONTEXT_SIZE: GucSetting<i32> = GucSetting::<i32>::new(128 << 20);
static MAX_DEPENDENCY_RESULTS_SIZE: GucSetting<i32> = GucSetting::<i32>::new(LARGEST_JSONB);
static MAX_RESULTS_SIZE: GucSetting<i32> = GucSetting::<i32>::new(128 << 20);
static MAX_SCAN_EVENTS: GucSetting<i32> = GucSetting::<i32>::new(100_000);
static MAX_WORKING_MEMORY_MB: GucSetting<i32> = GucSetting::<i32>::new(1024);
static MEMORY_BUDGET_MB: GucSetting<f64> = GucSetting::<f64>::new(0.0);
static PRIORITY_AGING_SECONDS: GucSetting<f64> = GucSetting::<f64>::new(300.0);
static DEFAULT_RETENTION: GucSetting<f64> = GucSetting::<f64>::new(0.0);
static EVENT_RETENTION: GucSetting<f64> = GucSetting::<f64>::new(7.0 * DAY_SECONDS as f64);
static EVENT_SAMPLING_RATE: GucSetting<f64> = GucSetting::<f64>::new(1.0);
static FILTERED_EVENTS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static FILTER_MASK: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"[FILTERED]"));
static FILTER_PARAMETERS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(
    c"passw,email,secret,token,_key,crypt,salt,certificate,otp,ssn",
));
static LOG_FORMAT: GucSetting<LogFormat> = GucSetting::<LogFormat>::new(LogFormat::Text);
static SLOW_QUERY_THRESHOLD: GucSetting<f64> = GucSetting::<f64>::new(1.0);
static SERVICE_NAME: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"tasker"));
static MAX_ERROR_CLASSES: GucSetting<i32> = GucSetting::<i32>::new(10);
static MAX_METRIC_SERIES: GucSetting<i32> = GucSetting::<i32>::new(2000);
static METRICS_RETENTION_HOURS: GucSetting<f64> = GucSetting::<f64>::new(24.0);
static MAX_SUBSCRIBER_LAG: GucSetting<f64> = GucSetting::<f64>::new(7.0 * DAY_SECONDS as f64);
static MAX_EVENT_BYTES: GucSetting<i32> = GucSetting::<i32>::new(1 << 20);
static READINESS_TIMEOUT: GucSetting<f64> = GucSetting::<f64>::new(5.0);
static HEALTH_CACHE_DURATION: GucSetting<f64> = GucSetting::<f64>::new(15.0);
static READY_REQUIRES_AUTHENTICATION: GucSetting<bool> = GucSetting::<bool>::new(false);
static STATUS_REQUIRES_AUTHENTICATION: GucSetting<bool> = GucSetting::<bool>::new(true);
static METRICS_AUTH_REQUIRED: GucSetting<bool> = GucSetting::<bool>::new(false);
static EXECUTOR_DRAIN_SECONDS: GucSetting<i32> = GucSetting::<i32>::new(30);
static HANDLER_TIMEOUT_SECONDS: GucSetting<f64> = GucSetting::<f64>::new(300.0);
static SHUTDOWN_HEALTH: GucSetting<f64> = GucSetting::<f64>::new(0.0);
static STARTUP_HEALTH: GucSetting<f64> = GucSetting::<f64>::new(0.5);
static DIAGRAM_STEP_URL: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c""));
static DIAGRAM_TASK_URL: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c""));
static ENVIRONMENT: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));

/// What the parts of one jsonb may have together: PostgreSQL keeps 28 bits for it.
const LARGEST_JSONB: i32 = 0x0fff_ffff;
const SECOND_US: i64 = 1_000_000;
const DAY_SECONDS: i64 = 86_400;
/// The largest number of seconds, or of megabytes.
const MOST: f64 = i32::MAX as f64;

/// How lines of the server's log are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
#[allow(non_camel_case_types)] // The names of the setting's values.
pub enum LogFormat {
    #[name = c"text"]
    Text,
    #[name = c"json"]
    Json,
    #[name = c"pretty_json"]
    PrettyJson,
    #[name = c"logfmt"]
    Logfmt,
}

/// A setting: its name, its description in SHOW ALL, its unit with special values and the page with its rule, its value, and
/// the context that can change it.
struct Setting {
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    value: Value,
    context: GucContext,
}

/// Where a value is kept, its range and its unit.
enum Value {
    Bool(&'static GucSetting<bool>),
    Int(&'static GucSetting<i32>, i32, i32, GucFlags),
    /// Also where 0 has a meaning of its own: PostgreSQL rounds an integer, and `1ms` would become that 0.
    Float(&'static GucSetting<f64>, f64, f64, GucFlags),
    Text(&'static GucSetting<Option<CString>>),
    Format(&'static GucSetting<LogFormat>),
    /// Comma-separated seconds.
    Seconds(&'static GucSetting<Option<CString>>),
    /// Comma-separated names of events.
    Events(&'static GucSetting<Option<CString>>),
    /// Templates of links.
    StepUrl(&'static GucSetting<Option<CString>>),
    TaskUrl(&'static GucSetting<Option<CString>>),
}

use Value::{Bool, Events, Float, Format, Int, Seconds, StepUrl, TaskUrl, Text};

/// Every setting; alphabetical. A worker's role must not shorten its own backoff, so most need SET rights, which superusers
/// can grant.
const SETTINGS: [Setting; 40] = [
    Setting {
        name: c"tasker.backoff_multiplier",
        short: c"Exponent beyond the end of the backoff list, and factor of exponential backoff.",
        long: c"A plain number. Attempt n beyond the list waits n^multiplier seconds; kind exponential waits base*multiplier^(n-1). Rule: docs/concepts.md#retry.",
        value: Float(&BACKOFF_MULTIPLIER, 1.0, 10.0, GucFlags::empty()),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.default_backoff_seconds",
        short: c"Seconds to wait after attempt 1, 2, 3 ... of a step whose template names no backoff kind.",
        long: c"Comma-separated numbers of seconds, none negative. The first is the base of the other kinds. Rule: docs/concepts.md#retry.",
        value: Seconds(&DEFAULT_BACKOFF_SECONDS),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.default_retention",
        short: c"How long ended tasks are kept in namespaces for which set_retention says nothing.",
        long: c"Seconds, or with a unit such as 90d; 0: forever. Tasks in error are kept. Read by maintenance. Rule: docs/retention.md.",
        value: Float(&DEFAULT_RETENTION, 0.0, MOST, GucFlags::UNIT_S),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.diagram_step_url",
        short: c"Where a click on a step in a picture of a task leads.",
        long: c"An address of http or https, or a relative one, in which {task_uuid}, {step_uuid} and {name} stand for the step's; empty: no links. Rule: docs/analysis.md#links.",
        value: StepUrl(&DIAGRAM_STEP_URL),
        context: GucContext::Userset,
    },
    Setting {
        name: c"tasker.diagram_task_url",
        short: c"Where a click on the heading of a picture of a task leads.",
        long: c"An address of http or https, or a relative one, in which {task_uuid} and {name} stand for the task's; empty: no link. Rule: docs/analysis.md#links.",
        value: TaskUrl(&DIAGRAM_TASK_URL),
        context: GucContext::Userset,
    },
    Setting {
        name: c"tasker.direct_table_access",
        short: c"Whether claims and the log may write tables below SQL.",
        long: c"Off: every change goes through an SQL statement, at a higher cost and with the same result. The view tasker.table_access shows the way of each operation. Rule: docs/design.md#below-sql.",
        value: Bool(&tables::DIRECT_TABLE_ACCESS),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.environment",
        short: c"Which environment's overrides of a template are applied when it is registered.",
        long: c"A name; empty: none. Templates keep all their environments; export_template shows them. Rule: docs/concepts.md#environments.",
        value: Text(&ENVIRONMENT),
        context: GucContext::Userset,
    },
    Setting {
        name: c"tasker.event_retention",
        short: c"How long published events and facts are kept.",
        long: c"Seconds, or with a unit such as 7d; 0: forever. They can stay a sixth longer, because they are removed in parts. Events of the log live as long as its rows. Read by maintenance. Rule: docs/events.md#how-long-events-live.",
        value: Float(&EVENT_RETENTION, 0.0, MOST, GucFlags::UNIT_S),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.event_sampling_rate",
        short: c"Share of the tasks whose events go to spans, labelled metrics and the log.",
        long: c"A share, 0 to 1; the rate of an event's route is multiplied by it. Events themselves and their subscribers do not change. Rule: docs/events.md#routes.",
        value: Float(&EVENT_SAMPLING_RATE, 0.0, 1.0, GucFlags::empty()),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.executor_drain_seconds",
        short: c"How long an executor that is to end may still work on its step.",
        long: c"Seconds. Then it is terminated, and the step counts as a crashed run. Rule: docs/background-workers.md#executors.",
        value: Int(&EXECUTOR_DRAIN_SECONDS, 0, 86_400, GucFlags::UNIT_S),
        context: GucContext::Sighup,
    },
    Setting {
        name: c"tasker.executor_memory_mb",
        short: c"Memory that one executor is expected to use.",
        long: c"Megabytes. Only compared with tasker.memory_budget_mb; nothing is limited by it. Rule: docs/executor-pools.md#what-the-server-can-carry.",
        value: Int(&EXECUTOR_MEMORY_MB, 1, 1_048_576, GucFlags::UNIT_MB),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.filter_mask",
        short: c"What the log and spans have in place of values that tasker.filter_parameters hides.",
        long: c"A text. Rule: docs/logging.md#secrets.",
        value: Text(&FILTER_MASK),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.filter_parameters",
        short: c"Keys whose values are hidden in the log, in logs of steps and in spans, at any depth.",
        long: c"Parts of keys with commas between them, in whatever letters; empty: nothing is hidden. Rule: docs/logging.md#secrets.",
        value: Text(&FILTER_PARAMETERS),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.filtered_events",
        short: c"Events that go to no span, no labelled metric and no log, whatever their routes say.",
        long: c"Names of events with commas between them, synonyms included; empty: none. Rule: docs/events.md#routes.",
        value: Events(&FILTERED_EVENTS),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.handler_timeout_seconds",
        short: c"How long a handler inside the database may run if its step has no timeout_seconds.",
        long: c"Seconds; 0: forever. Then it is cancelled, and the step fails with class 57014, retryable. Rule: docs/background-workers.md#handlers.",
        value: Float(&HANDLER_TIMEOUT_SECONDS, 0.0, 86_400.0, GucFlags::UNIT_S),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.health_cache_duration_seconds",
        short: c"How long the exporter gives an answer of /health/status again.",
        long: c"Seconds; 0: never. Read by the command tasker exporter; its own option comes first. Rule: docs/health.md#over-http.",
        value: Float(&HEALTH_CACHE_DURATION, 0.0, 86_400.0, GucFlags::UNIT_S),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.jitter_enabled",
        short: c"Whether backoff is spread at random where the template does not say.",
        long: c"By up to tasker.jitter_max_percentage; a retry_after never is. Rule: docs/concepts.md#retry.",
        value: Bool(&JITTER_ENABLED),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.jitter_max_percentage",
        short: c"Largest share of the delay that jitter adds or takes away.",
        long: c"A share: 0.1 is ten percent. The result never exceeds the cap. Rule: docs/concepts.md#retry.",
        value: Float(&JITTER_MAX_PERCENTAGE, 0.0, 1.0, GucFlags::empty()),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.log_format",
        short: c"How the extension writes its lines of the server's log.",
        long: c"text: a message; json, pretty_json: the message is an object, on one line or several; logfmt: the message is key=value pairs. log_destination does not matter. Rule: docs/logging.md#formats.",
        value: Format(&LOG_FORMAT),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.max_backoff_seconds",
        short: c"No retry waits longer than this, whatever the kind or a Retry-After says.",
        long: c"Seconds. A step's max_backoff_ms comes before it. Rule: docs/concepts.md#retry.",
        value: Int(&MAX_BACKOFF_SECONDS, 1, 86_400, GucFlags::UNIT_S),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.max_context_size",
        short: c"Largest context of a new task.",
        long: c"Bytes of the jsonb, or with a unit such as 64MB. A larger one is refused with 54000; tasks that exist keep theirs. Rule: docs/operating-with-psql.md#sizes.",
        value: Int(&MAX_CONTEXT_SIZE, 1024, LARGEST_JSONB, GucFlags::UNIT_BYTE),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.max_dependency_results_size",
        short: c"Largest results of other steps that a claim hands out with one step.",
        long: c"Bytes of the jsonb, or with a unit such as 64MB. A step whose parents have more together fails permanently with class DependencyResultsTooLarge. Rule: docs/operating-with-psql.md#sizes.",
        value: Int(&MAX_DEPENDENCY_RESULTS_SIZE, 1024, LARGEST_JSONB, GucFlags::UNIT_BYTE),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.max_error_classes",
        short: c"How many error classes of a step the metrics tell apart.",
        long: c"A number; 0: none. The most frequent classes have series of their own, the others count under error_class other. Rule: docs/metrics.md#labels.",
        value: Int(&MAX_ERROR_CLASSES, 0, 1000, GucFlags::empty()),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.max_event_bytes",
        short: c"Largest payload of a published event.",
        long: c"Bytes of the jsonb, or with a unit such as 1MB. A larger one is refused with 22023, and in a report recorded with the step. Rule: docs/events.md#events-of-your-own.",
        value: Int(&MAX_EVENT_BYTES, 1024, LARGEST_JSONB, GucFlags::UNIT_BYTE),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.max_metric_series",
        short: c"How many combinations of labels the metrics of the server tell apart.",
        long: c"A number; with shared_preload_libraries it needs a restart, and each takes 420 bytes of shared memory. Beyond it counts go to the labels other. Rule: docs/metrics.md#labels.",
        value: Int(&MAX_METRIC_SERIES, 1, 1_000_000, GucFlags::empty()),
        context: GucContext::Postmaster,
    },
    Setting {
        name: c"tasker.max_results_size",
        short: c"Largest results that a report may store.",
        long: c"Bytes of the jsonb, or with a unit such as 64MB. A larger report is invalid (54000 from complete_step); a failure is stored without what does not fit. Rule: docs/operating-with-psql.md#sizes.",
        value: Int(&MAX_RESULTS_SIZE, 1024, LARGEST_JSONB, GucFlags::UNIT_BYTE),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.max_scan_events",
        short: c"How many rows of the log one call of poll_events looks at.",
        long: c"A number of rows; ten that can give no event of the subscriber's patterns count as one. The subscriber remembers how far it came although nothing matched. Rule: docs/events.md#subscribers.",
        value: Int(&MAX_SCAN_EVENTS, 1000, 100_000_000, GucFlags::empty()),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.max_subscriber_lag",
        short: c"How long purge waits for subscribers that have not read the log of a task.",
        long: c"Seconds, or with a unit such as 7d, from the writing of a row; 0: purge waits for none. Then the rows go, and the subscriber gets an event stream.gap. Rule: docs/events.md#subscribers-that-are-behind.",
        value: Float(&MAX_SUBSCRIBER_LAG, 0.0, MOST, GucFlags::UNIT_S),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.max_working_memory_mb",
        short: c"Memory that checking a template, or a document against its schema, may use.",
        long: c"Megabytes. A call that needs more ends with 54001. Rule: docs/operating-with-psql.md#sizes.",
        value: Int(&MAX_WORKING_MEMORY_MB, 16, 1_048_576, GucFlags::UNIT_MB),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.memory_budget_mb",
        short: c"Memory that all executors of the database may use together.",
        long: c"Megabytes; 0: not checked. Pools do not grow beyond it, at tasker.executor_memory_mb each. Rule: docs/executor-pools.md#what-the-server-can-carry.",
        value: Float(&MEMORY_BUDGET_MB, 0.0, MOST, GucFlags::UNIT_MB),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.metrics_auth_required",
        short: c"Whether the exporter wants the token for /metrics.",
        long: c"Without a token of the exporter every request is refused. Read by the command tasker exporter; its own option comes first. Rule: docs/health.md#over-http.",
        value: Bool(&METRICS_AUTH_REQUIRED),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.metrics_retention_hours",
        short: c"How long a combination of labels that nothing is counted for keeps its series.",
        long: c"Hours; 0: forever. Then what it has counted goes to the labels other. Read by maintenance. Rule: docs/metrics.md#labels.",
        value: Float(&METRICS_RETENTION_HOURS, 0.0, 87_600.0, GucFlags::empty()),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.priority_aging_seconds",
        short: c"A ready step that has waited this long times its level (1 low to 3 high) moves up a level.",
        long: c"Seconds; 0: never. So nothing starves behind urgent work. Rule: docs/concepts.md#priorities.",
        value: Float(&PRIORITY_AGING_SECONDS, 0.0, 86_400.0, GucFlags::UNIT_S),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.readiness_timeout_seconds",
        short: c"Within which time the exporter answers each request, also when the database hangs.",
        long: c"Seconds, or with a unit such as 500ms. Read by the command tasker exporter; its own option comes first. Rule: docs/health.md#over-http.",
        value: Float(&READINESS_TIMEOUT, 0.05, 86_400.0, GucFlags::UNIT_S),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.ready_requires_authentication",
        short: c"Whether the exporter wants the token for /health/ready.",
        long: c"Without a token of the exporter every request is refused. Read by the command tasker exporter; its own option comes first. Rule: docs/health.md#over-http.",
        value: Bool(&READY_REQUIRES_AUTHENTICATION),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.service_name",
        short: c"Name of the service in traces: the beginning of the keys of the attributes of spans.",
        long: c"Empty: tasker. Rule: docs/tracing.md#spans.",
        value: Text(&SERVICE_NAME),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.shutdown_health_threshold_multiplier",
        short: c"Factor applied to each health threshold while the system shuts down gracefully.",
        long: c"A factor: 1 is as in normal operation, 0 asks for nothing. Rule: docs/health.md#thresholds.",
        value: Float(&SHUTDOWN_HEALTH, 0.0, 1.0, GucFlags::empty()),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.slow_query_threshold_seconds",
        short: c"Calls and duties that take longer write a warning to the server's log.",
        long: c"Seconds, or with a unit such as 500ms; 0: off. Rule: docs/logging.md#slow-operations.",
        value: Float(&SLOW_QUERY_THRESHOLD, 0.0, 86_400.0, GucFlags::UNIT_S),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.startup_health_threshold_multiplier",
        short: c"Factor applied to each health threshold while the system starts up.",
        long: c"A factor: 1 is as in normal operation, 0.5 half of it. Rule: docs/health.md#thresholds.",
        value: Float(&STARTUP_HEALTH, 0.0, 1.0, GucFlags::empty()),
        context: GucContext::Suset,
    },
    Setting {
        name: c"tasker.status_requires_authentication",
        short: c"Whether the exporter wants the token for /health/status.",
        long: c"By default it does if it has one; set to on, every request is refused if it has none. Read by the command tasker exporter; its own option comes first. Rule: docs/health.md#over-http.",
        value: Bool(&STATUS_REQUIRES_AUTHENTICATION),
        context: GucContext::Suset,
    },
];

/// Defines every setting.
pub fn define() {
    let none = GucFlags::empty();
    for Setting {
        name,
        short,
        long,
        value,
        context,
    } in SETTINGS
    {
        // What the server's start decides is fixed only where the library is there at the start.
        let context = match context {
            GucContext::Postmaster if !backend::is_preloading() => GucContext::Sighup,
            other => other,
        };
        match value {
            Bool(value) => {
                GucRegistry::define_bool_guc(name, short, long, value, context, none);
            }
            Int(value, least, most, unit) => {
                GucRegistry::define_int_guc(name, short, long, value, least, most, context, unit);
            }
            Float(value, least, most, unit) => {
                GucRegistry::define_float_guc(name, short, long, value, least, most, context, unit);
            }
            Text(value) => {
                GucRegistry::define_string_guc(name, short, long, value, context, none);
            }
            Format(value) => {
                GucRegistry::define_enum_guc(name, short, long, value, context, none);
            }
            Seconds(value) => {
                guc::define_checked_string::<BackoffList>(name, short, long, value, context);
            }
            Events(value) => {
                guc::define_checked_string::<EventList>(name, short, long, value, context);
            }
            StepUrl(value) => {
                guc::define_checked_string::<StepLink>(name, short, long, value, context);
            }
            TaskUrl(value) => {
                guc::define_checked_string::<TaskLink>(name, short, long, value, context);
            }
        }
    }
}

/// The multipliers of the operational states that have one of their own.
pub fn health_multipliers() -> Multipliers {
    Multipliers {
        startup: STARTUP_HEALTH.get(),
        shutdown: SHUTDOWN_HEALTH.get(),
    }
}

/// How long a ready step of level 1 waits before it moves up; 0 forever.
pub fn priority_aging_us() -> i64 {
    (PRIORITY_AGING_SECONDS.get() * 1e6).ceil() as i64
}

fn bytes(setting: &GucSetting<i32>) -> usize {
    setting.get().unsigned_abs() as usize
}

/// The largest context of a new task, bytes.
pub fn max_context_size() -> usize {
    bytes(&MAX_CONTEXT_SIZE)
}

/// The largest results of a report, bytes.
pub fn max_results_size() -> usize {
    bytes(&MAX_RESULTS_SIZE)
}

/// The largest results of other steps that come with a step, bytes.
pub fn max_dependency_results_size() -> usize {
    bytes(&MAX_DEPENDENCY_RESULTS_SIZE)
}

/// How many rows of the log a poll looks at.
pub fn max_scan_events() -> usize {
    MAX_SCAN_EVENTS.get().unsigned_abs() as usize
}

/// How many error classes of a step have series of their own.
pub fn max_error_classes() -> usize {
    bytes(&MAX_ERROR_CLASSES)
}

/// How many combinations of labels have a series.
pub fn max_metric_series() -> usize {
    bytes(&MAX_METRIC_SERIES)
}

/// How long a series without counts keeps its place, microseconds; 0: forever.
pub fn metrics_retention_us() -> i64 {
    (METRICS_RETENTION_HOURS.get() * 3600e6).ceil() as i64
}

/// The memory that checking a document or a template may use, bytes.
pub fn max_working_memory() -> usize {
    bytes(&MAX_WORKING_MEMORY_MB).saturating_mul(1 << 20)
}

/// Megabytes that one executor is expected to use.
pub fn executor_memory_mb() -> u32 {
    EXECUTOR_MEMORY_MB.get().unsigned_abs()
}

/// Megabytes that all executors of the database may use together; 0: not checked.
pub fn memory_budget_mb() -> u32 {
    MEMORY_BUDGET_MB.get().ceil() as u32
}

/// How long an executor may take to end, microseconds.
pub fn executor_drain_us() -> i64 {
    i64::from(EXECUTOR_DRAIN_SECONDS.get()) * 1_000_000
}

/// The timeout of handlers inside the database that have none of their own; 0: none.
pub fn handler_timeout_ms() -> i32 {
    (HANDLER_TIMEOUT_SECONDS.get() * 1000.0).ceil() as i32
}

/// The largest payload of a published event, bytes.
pub fn max_event_bytes() -> usize {
    bytes(&MAX_EVENT_BYTES)
}

/// How long ended tasks are kept where their namespace does not say, as an interval is written; 0: forever. SHOW writes six digits.
pub fn default_retention() -> String {
    interval(&DEFAULT_RETENTION)
}

/// How long published events and facts are kept, in the same form.
pub fn event_retention() -> String {
    interval(&EVENT_RETENTION)
}

/// How long purge waits for a subscriber, in the same form.
pub fn max_subscriber_lag() -> String {
    interval(&MAX_SUBSCRIBER_LAG)
}

fn interval(seconds: &GucSetting<f64>) -> String {
    let microseconds = (seconds.get() * 1e6).ceil() as i64;
    match (microseconds / SECOND_US, microseconds % SECOND_US) {
        (seconds, 0) if seconds % DAY_SECONDS == 0 => format!("{} days", seconds / DAY_SECONDS),
        (seconds, rest) => format!("{seconds}.{rest:06} seconds"),
    }
}

/// The names of a list with commas.
pub fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

/// Share of the tasks whose events go to telemetry.
pub fn event_sampling_rate() -> f64 {
    EVENT_SAMPLING_RATE.get()
}

/// The events that go to no telemetry, a list of [`names`]; None: there is none.
pub fn filtered_events() -> Option<String> {
    text(&FILTERED_EVENTS)
}

/// What must not be written to logs and spans: parts of keys, a list of [`names`], and what stands for their values.
pub fn filter() -> (Option<CString>, Option<CString>) {
    (FILTER_PARAMETERS.get(), FILTER_MASK.get())
}

/// How lines of the server's log are written.
pub fn log_format() -> log_line::Format {
    match LOG_FORMAT.get() {
        LogFormat::Text => log_line::Format::Text,
        LogFormat::Json => log_line::Format::Json,
        LogFormat::PrettyJson => log_line::Format::PrettyJson,
        LogFormat::Logfmt => log_line::Format::Logfmt,
    }
}

/// What takes longer is slow, microseconds; None: nothing is.
pub fn slow_us() -> Option<i64> {
    let seconds = SLOW_QUERY_THRESHOLD.get();
    (seconds > 0.0).then(|| (seconds * 1e6).ceil() as i64)
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
    const HINT: &'static CStr = c"Use numbers of seconds with commas between them, such as 1,2,4.";

    fn accepts(text: &str) -> bool {
        parse_list(text).is_some()
    }
}

struct EventList;

impl Check for EventList {
    const HINT: &'static CStr = c"Use names of events with commas between them, such as step.retry_requested,order.paid. tasker.event_catalog lists them.";

    fn accepts(text: &str) -> bool {
        text.trim().is_empty() || names(text).all(|name| check_event(name).is_ok())
    }
}

struct StepLink;

impl Check for StepLink {
    const HINT: &'static CStr = c"Use an address of http or https, or a relative one, with no other places than {task_uuid}, {step_uuid} and {name}, such as /tasks/{task_uuid}/steps/{step_uuid}.";

    fn accepts(text: &str) -> bool {
        is_link_template(text, &["task_uuid", "step_uuid", "name"])
    }
}

struct TaskLink;

impl Check for TaskLink {
    const HINT: &'static CStr = c"Use an address of http or https, or a relative one, with no other places than {task_uuid} and {name}, such as /tasks/{task_uuid}.";

    fn accepts(text: &str) -> bool {
        is_link_template(text, &["task_uuid", "name"])
    }
}

/// Where a click on a step leads, if anywhere.
pub fn diagram_step_url(places: &Places<'_>) -> Option<String> {
    link(DIAGRAM_STEP_URL.get()?.to_str().ok()?, places)
}

/// Where a click on the heading of a task leads, if anywhere.
pub fn diagram_task_url(places: &Places<'_>) -> Option<String> {
    link(DIAGRAM_TASK_URL.get()?.to_str().ok()?, places)
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

/// The name of the service in traces.
pub fn service_name() -> String {
    text(&SERVICE_NAME).unwrap_or_else(|| "tasker".to_owned())
}

/// The environment whose overrides apply, if any.
pub fn environment() -> Option<String> {
    text(&ENVIRONMENT)
}

fn text(setting: &GucSetting<Option<CString>>) -> Option<String> {
    setting
        .get()
        .map(|text| text.to_string_lossy().into_owned())
        .filter(|text| !text.is_empty())
}
