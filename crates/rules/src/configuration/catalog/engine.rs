//! engine.toml. It owns the sections dependency_graph, events and cache, of which other files have copies.

use super::{AMOUNT, COUNT, Component, ENGINE_READY, Key, RUBY, SHARE, Shape, key};

const REPLACED: &str = "each call does the engine's work at once: nothing is queued again";
const SEARCH: &str =
    "templates come with tasker.register_template, and the loader reads config/tasker";
/// Weights of the analysis.
const WEIGHT: Shape = Shape::Float(0.0, 1e6);
const WEIGHTS: &str = "nothing does yet: the analysis has constants";
const SECONDS: Shape = Shape::Float(0.0, 2_147_483_647.0);
const BYTES: Shape = Shape::Int(1024, 0x0fff_ffff);

const fn engine(path: &'static str, shape: Shape, meaning: &'static str) -> Key {
    key(Component::Engine, path, shape, meaning)
}

const fn weight(
    path: &'static str,
    default: &'static str,
    old: &'static [&'static str],
    meaning: &'static str,
) -> Key {
    engine(path, WEIGHT, meaning)
        .unit("points")
        .default(default)
        .old(old)
        .nothing(WEIGHTS)
}

const fn later(
    path: &'static str,
    shape: Shape,
    unit: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    engine(path, shape, meaning)
        .unit(unit)
        .default(default)
        .nothing(ENGINE_READY)
}

pub(super) static KEYS: &[Key] = &[
    engine(
        "task_handler_directory",
        Shape::Text,
        "Directory of handlers.",
    )
    .nothing(SEARCH)
    .old(&["engine.task_handler_directory"]),
    engine(
        "task_config_directory",
        Shape::Text,
        "Directory of templates.",
    )
    .nothing(SEARCH)
    .old(&["engine.task_config_directory"]),
    engine(
        "default_module_namespace",
        Shape::Text,
        "Module of handlers that name none.",
    )
    .nothing(RUBY)
    .old(&["engine.default_module_namespace"]),
    engine(
        "identity_strategy",
        Shape::Text,
        "How the identity of a request for a task is made.",
    )
    .nothing("nothing does yet: the identity_strategy of a template does")
    .old(&["engine.identity_strategy"]),
    engine(
        "identity_strategy_class",
        Shape::Text,
        "Class that makes the identity.",
    )
    .nothing(RUBY)
    .old(&["engine.identity_strategy_class"]),
    engine(
        "custom_events_directories",
        Shape::Names,
        "Directories of events.",
    )
    .nothing("tasker.register_event registers events")
    .old(&["engine.custom_events_directories"]),
    engine(
        "task_templates.search_paths",
        Shape::Names,
        "Where files of templates are searched.",
    )
    .nothing(SEARCH),
    later(
        "dependency_graph.max_depth",
        COUNT,
        "levels",
        "",
        "Deepest graph of a template.",
    ),
    engine(
        "dependency_graph.cycle_detection_enabled",
        Shape::Bool,
        "Whether a cycle is refused.",
    )
    .nothing("a cycle is always refused"),
    engine(
        "dependency_graph.optimization_enabled",
        Shape::Bool,
        "Whether the graph is prepared.",
    )
    .nothing("the graph is always prepared when a template is registered"),
    later(
        "events.batch_size",
        COUNT,
        "events",
        "100",
        "Events that a subscriber gets at once.",
    ),
    later(
        "events.enabled",
        Shape::Bool,
        "",
        "true",
        "Whether events are published.",
    ),
    engine(
        "events.batch_timeout_ms",
        COUNT,
        "How long a batch of events waits.",
    )
    .unit("milliseconds")
    .nothing("subscribers are woken at once"),
    later(
        "cache.enabled",
        Shape::Bool,
        "",
        "true",
        "Whether answers are cached.",
    ),
    later(
        "cache.ttl_seconds",
        COUNT,
        "seconds",
        "3600",
        "How long a cached answer holds.",
    ),
    later(
        "cache.max_size",
        COUNT,
        "entries",
        "10000",
        "Entries of a cache.",
    ),
    later(
        "cache.default_ttl",
        SECONDS,
        "seconds",
        "300",
        "How long a cached answer holds if nothing else says it.",
    )
    .old(&["cache.default_ttl"]),
    later(
        "cache.adaptive_ttl_enabled",
        Shape::Bool,
        "",
        "true",
        "Whether that time follows hits and costs.",
    )
    .old(&["cache.adaptive_ttl_enabled"]),
    later(
        "cache.performance_tracking_enabled",
        Shape::Bool,
        "",
        "true",
        "Whether hits and misses are counted.",
    )
    .old(&["cache.performance_tracking_enabled"]),
    later(
        "cache.hit_rate_smoothing_factor",
        SHARE,
        "share",
        "0.9",
        "Weight of what was before in the rate of hits.",
    )
    .old(&["cache.hit_rate_smoothing_factor"]),
    later(
        "cache.access_frequency_decay_rate",
        SHARE,
        "share",
        "0.95",
        "What remains of a frequency of accesses.",
    )
    .old(&["cache.access_frequency_decay_rate"]),
    later(
        "cache.min_adaptive_ttl",
        SECONDS,
        "seconds",
        "30",
        "Least adaptive time.",
    )
    .old(&["cache.min_adaptive_ttl"]),
    later(
        "cache.max_adaptive_ttl",
        SECONDS,
        "seconds",
        "3600",
        "Greatest adaptive time.",
    )
    .old(&["cache.max_adaptive_ttl"]),
    later(
        "cache.dashboard_cache_ttl",
        SECONDS,
        "seconds",
        "120",
        "How long an answer of the analytics holds.",
    )
    .old(&["cache.dashboard_cache_ttl"]),
    later(
        "cache.cache_pressure_threshold",
        SHARE,
        "share",
        "0.8",
        "Share of the memory from which on answers go.",
    )
    .old(&["cache.cache_pressure_threshold"]),
    later(
        "cache.adaptive_calculation_interval",
        SECONDS,
        "seconds",
        "30",
        "Time between two calculations.",
    )
    .old(&["cache.adaptive_calculation_interval"]),
    engine(
        "reenqueue.has_ready_steps",
        AMOUNT,
        "Delay of a task that has ready steps.",
    )
    .unit("seconds")
    .copy_of("system.reenqueue.has_ready_steps"),
    engine(
        "reenqueue.waiting_for_dependencies",
        AMOUNT,
        "Delay of a task whose steps wait.",
    )
    .unit("seconds")
    .copy_of("system.reenqueue.waiting_for_dependencies"),
    engine(
        "reenqueue.processing",
        AMOUNT,
        "Delay of a task whose steps run.",
    )
    .unit("seconds")
    .copy_of("system.reenqueue.processing"),
    // The analysis.
    weight(
        "analysis.impact_multipliers.downstream_weight",
        "5",
        &["dependency_graph.impact_multipliers.downstream_weight"],
        "Each step that needs this one.",
    ),
    weight(
        "analysis.impact_multipliers.blocked_weight",
        "15",
        &["dependency_graph.impact_multipliers.blocked_weight"],
        "Each of these that is held up.",
    ),
    weight(
        "analysis.impact_multipliers.path_length_weight",
        "10",
        &["dependency_graph.impact_multipliers.path_length_weight"],
        "Each step of a path.",
    ),
    weight(
        "analysis.impact_multipliers.completed_penalty",
        "15",
        &["dependency_graph.impact_multipliers.completed_penalty"],
        "Taken off a path for each step that is done.",
    ),
    weight(
        "analysis.impact_multipliers.blocked_penalty",
        "25",
        &["dependency_graph.impact_multipliers.blocked_penalty"],
        "Each step of a path that waits for its parents.",
    ),
    weight(
        "analysis.impact_multipliers.error_penalty",
        "30",
        &["dependency_graph.impact_multipliers.error_penalty"],
        "Each step of a path in error.",
    ),
    weight(
        "analysis.impact_multipliers.retry_penalty",
        "10",
        &["dependency_graph.impact_multipliers.retry_penalty"],
        "Each step of a path that runs or ran more than once.",
    ),
    weight(
        "analysis.severity_multipliers.error_state",
        "2.0",
        &["dependency_graph.severity_multipliers.error_state"],
        "Factor of a step in error.",
    )
    .unit("factor"),
    weight(
        "analysis.severity_multipliers.exhausted_retry_bonus",
        "0.5",
        &["dependency_graph.severity_multipliers.exhausted_retry_bonus"],
        "Added to it when the step will not run again.",
    )
    .unit("factor"),
    weight(
        "analysis.severity_multipliers.dependency_issue",
        "1.2",
        &["dependency_graph.severity_multipliers.dependency_issue"],
        "Factor of a step that waits for its parents.",
    )
    .unit("factor"),
    weight(
        "analysis.penalty_constants.retry_instability",
        "3",
        &["dependency_graph.penalty_constants.retry_instability"],
        "Each attempt.",
    ),
    weight(
        "analysis.penalty_constants.non_retryable",
        "10",
        &["dependency_graph.penalty_constants.non_retryable"],
        "No further attempt is allowed.",
    ),
    weight(
        "analysis.penalty_constants.exhausted_retry",
        "20",
        &["dependency_graph.penalty_constants.exhausted_retry"],
        "Failed permanently.",
    ),
    weight(
        "analysis.severity_thresholds.critical",
        "100",
        &["dependency_graph.severity_thresholds.critical"],
        "From this score on a step is Critical.",
    ),
    weight(
        "analysis.severity_thresholds.high",
        "50",
        &["dependency_graph.severity_thresholds.high"],
        "From this score on a step is High.",
    ),
    weight(
        "analysis.severity_thresholds.medium",
        "20",
        &["dependency_graph.severity_thresholds.medium"],
        "From this score on a step is Medium.",
    ),
    weight(
        "analysis.duration_estimates.base_step_seconds",
        "30",
        &["dependency_graph.duration_estimates.base_step_seconds"],
        "How long a step takes about which nothing is known.",
    )
    .unit("seconds"),
    later(
        "analysis.duration_estimates.error_penalty_seconds",
        AMOUNT,
        "seconds",
        "",
        "Added for a step in error.",
    )
    .nothing("durations are measured: a step in error counts with those of its runs")
    .old(&["dependency_graph.duration_estimates.error_penalty_seconds"]),
    later(
        "analysis.duration_estimates.retry_penalty_seconds",
        AMOUNT,
        "seconds",
        "",
        "Added for each further attempt.",
    )
    .nothing("durations are measured: a step in error counts with those of its runs")
    .old(&["dependency_graph.duration_estimates.retry_penalty_seconds"]),
    // How many steps at once: a client of its own would ask its pool; here PostgreSQL carries each claim.
    later(
        "concurrency.min_concurrent_steps",
        COUNT,
        "steps",
        "",
        "Least steps of one task at once.",
    )
    .nothing(REPLACED)
    .old(&["execution.min_concurrent_steps"]),
    later(
        "concurrency.max_concurrent_steps_limit",
        COUNT,
        "steps",
        "",
        "Most steps of one task at once.",
    )
    .nothing("max_steps of claim_steps bounds what a worker does at once")
    .old(&["execution.max_concurrent_steps_limit"]),
    later(
        "concurrency.concurrency_cache_duration",
        AMOUNT,
        "seconds",
        "",
        "How long the number of steps at once is remembered.",
    )
    .nothing(REPLACED)
    .old(&["execution.concurrency_cache_duration"]),
    later(
        "concurrency.batch_timeout_base_seconds",
        AMOUNT,
        "seconds",
        "",
        "Time limit of a batch of steps.",
    )
    .nothing("the timeouts of steps and the lease of a claim bound it")
    .old(&["execution.batch_timeout_base_seconds"]),
    later(
        "concurrency.batch_timeout_per_step_seconds",
        AMOUNT,
        "seconds",
        "",
        "Added to it for each step.",
    )
    .nothing("the timeouts of steps and the lease of a claim bound it")
    .old(&["execution.batch_timeout_per_step_seconds"]),
    later(
        "concurrency.max_batch_timeout_seconds",
        AMOUNT,
        "seconds",
        "",
        "Greatest time limit of a batch.",
    )
    .nothing("the timeouts of steps and the lease of a claim bound it")
    .old(&["execution.max_batch_timeout_seconds"]),
    // Settings beyond those files.
    engine(
        "direct_table_access",
        Shape::Bool,
        "Whether claims and the log may write tables below SQL.",
    )
    .default("true")
    .setting("direct_table_access")
    .test("tests/client below_sql"),
    engine(
        "priority_aging_seconds",
        Shape::Float(0.0, 86_400.0),
        "A ready step that has waited this long times its level moves up a level; 0: never.",
    )
    .unit("seconds")
    .default("300")
    .setting("priority_aging_seconds")
    .test("tests/paths aging"),
    engine(
        "retention.default_retention",
        SECONDS,
        "How long ended tasks are kept where set_retention says nothing; 0: forever.",
    )
    .unit("seconds")
    .default("0")
    .setting("default_retention")
    .test("tests/client retention"),
    engine(
        "retention.event_retention",
        SECONDS,
        "How long published events are kept; 0: forever.",
    )
    .unit("seconds")
    .default("604800")
    .setting("event_retention")
    .test("tests/client custom_events"),
    engine(
        "retention.max_subscriber_lag",
        SECONDS,
        "How long purge waits for subscribers that are behind; 0: not at all.",
    )
    .unit("seconds")
    .default("604800")
    .setting("max_subscriber_lag")
    .test("tests/client subscriber_retention"),
    engine(
        "limits.max_context_size",
        BYTES,
        "Largest context of a new task.",
    )
    .unit("bytes")
    .default("134217728")
    .setting("max_context_size")
    .test("tests/client limits"),
    engine(
        "limits.max_dependency_results_size",
        BYTES,
        "Largest results of other steps that come with a step.",
    )
    .unit("bytes")
    .default("268435455")
    .setting("max_dependency_results_size")
    .test("tests/client limits"),
    engine(
        "limits.max_results_size",
        BYTES,
        "Largest results of a report.",
    )
    .unit("bytes")
    .default("134217728")
    .setting("max_results_size")
    .test("tests/client limits"),
    engine(
        "limits.max_event_bytes",
        BYTES,
        "Largest payload of a published event.",
    )
    .unit("bytes")
    .default("1048576")
    .setting("max_event_bytes")
    .test("tests/client custom_events"),
    engine(
        "limits.max_scan_events",
        Shape::Int(1000, 100_000_000),
        "How many rows of the log one call of poll_events looks at.",
    )
    .unit("rows")
    .default("100000")
    .setting("max_scan_events")
    .test("tests/client subscribers"),
    engine(
        "limits.max_working_memory_mb",
        Shape::Int(16, 1_048_576),
        "Memory that checking a template or a document may use.",
    )
    .unit("MB")
    .default("1024")
    .setting("max_working_memory_mb")
    .test("tests/client limits"),
];
