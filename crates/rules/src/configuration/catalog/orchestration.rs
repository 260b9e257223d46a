//! orchestration.toml.

use super::{AMOUNT, COUNT, Component, ENGINE_READY, Key, Shape, key};

const EVENTS: &str = "each call does the engine's work at once: there are no cycles and no polling";
const QUEUES: &str = "nothing does yet: there are no pgmq queues; ready work waits in tables";
const EMBEDDED: &str = "the engine is always inside the database";

const fn orchestration(
    path: &'static str,
    shape: Shape,
    unit: &'static str,
    meaning: &'static str,
    instead: &'static str,
) -> Key {
    key(Component::Orchestration, path, shape, meaning)
        .unit(unit)
        .nothing(instead)
}

pub(super) static KEYS: &[Key] = &[
    orchestration(
        "mode",
        Shape::Choice(&["distributed", "embedded"]),
        "",
        "Where the orchestrator runs.",
        EMBEDDED,
    ),
    orchestration(
        "task_requests_queue_name",
        Shape::Text,
        "",
        "Queue of requests for tasks.",
        QUEUES,
    ),
    orchestration(
        "tasks_per_cycle",
        COUNT,
        "tasks",
        "Tasks of one cycle.",
        EVENTS,
    ),
    orchestration(
        "cycle_interval_ms",
        COUNT,
        "milliseconds",
        "Time between two cycles.",
        EVENTS,
    ),
    orchestration(
        "task_request_polling_interval_ms",
        COUNT,
        "milliseconds",
        "Time between two looks for requests.",
        EVENTS,
    ),
    orchestration(
        "task_request_visibility_timeout_seconds",
        COUNT,
        "seconds",
        "How long a request that was read stays hidden.",
        QUEUES,
    ),
    orchestration(
        "task_request_batch_size",
        COUNT,
        "requests",
        "Requests read at once.",
        QUEUES,
    ),
    orchestration(
        "active_namespaces",
        Shape::Names,
        "",
        "Namespaces whose work is done.",
        "an executor pool and a claim name their namespaces",
    ),
    orchestration(
        "max_concurrent_orchestrators",
        COUNT,
        "orchestrators",
        "Orchestrators at once.",
        EVENTS,
    ),
    orchestration(
        "enable_performance_logging",
        Shape::Bool,
        "",
        "Whether cycles log their times.",
        "tasker.slow_query_threshold_seconds logs slow calls and duties",
    ),
    orchestration(
        "default_claim_timeout_seconds",
        COUNT,
        "seconds",
        "Lease of a claim that names none.",
        "nothing does yet: the parameter lease of claim_steps says it, 30 seconds unless given",
    )
    .default("30"),
    orchestration(
        "enable_heartbeat",
        Shape::Bool,
        "",
        "Whether workers extend their leases.",
        "workers call tasker.heartbeat; executors always do",
    ),
    orchestration(
        "heartbeat_interval_ms",
        COUNT,
        "milliseconds",
        "Time between two extensions of a lease.",
        "the worker decides; executors extend at a third of the lease",
    ),
    orchestration(
        "queues.task_requests",
        Shape::Text,
        "",
        "Queue of requests for tasks.",
        QUEUES,
    ),
    orchestration(
        "queues.task_processing",
        Shape::Text,
        "",
        "Queue of tasks.",
        QUEUES,
    ),
    orchestration(
        "queues.batch_results",
        Shape::Text,
        "",
        "Queue of results of batches.",
        QUEUES,
    ),
    orchestration(
        "queues.step_results",
        Shape::Text,
        "",
        "Queue of results of steps.",
        QUEUES,
    ),
    orchestration(
        "queues.worker_queues.*",
        Shape::Text,
        "",
        "Queue of a namespace.",
        QUEUES,
    ),
    orchestration(
        "queues.settings.visibility_timeout_seconds",
        COUNT,
        "seconds",
        "How long a message that was read stays hidden.",
        QUEUES,
    ),
    orchestration(
        "queues.settings.message_retention_seconds",
        COUNT,
        "seconds",
        "How long messages are kept.",
        QUEUES,
    ),
    orchestration(
        "queues.settings.dead_letter_queue_enabled",
        Shape::Bool,
        "",
        "Whether messages that fail too often are kept apart.",
        QUEUES,
    ),
    orchestration(
        "queues.settings.max_receive_count",
        COUNT,
        "reads",
        "Reads after which a message has failed.",
        QUEUES,
    ),
    orchestration(
        "embedded_orchestrator.auto_start",
        Shape::Bool,
        "",
        "Whether an embedded orchestrator starts.",
        EMBEDDED,
    ),
    orchestration(
        "embedded_orchestrator.namespaces",
        Shape::Names,
        "",
        "Its namespaces.",
        EMBEDDED,
    ),
    orchestration(
        "embedded_orchestrator.shutdown_timeout_seconds",
        COUNT,
        "seconds",
        "How long it may take to end.",
        EMBEDDED,
    ),
    orchestration(
        "operational_state.enable_shutdown_aware_monitoring",
        Shape::Bool,
        "",
        "Whether the operational state changes thresholds.",
        ENGINE_READY,
    )
    .default("true"),
    orchestration(
        "operational_state.suppress_alerts_during_shutdown",
        Shape::Bool,
        "",
        "Whether a graceful shutdown raises no alerts.",
        ENGINE_READY,
    )
    .default("true"),
    key(
        Component::Orchestration,
        "operational_state.startup_health_threshold_multiplier",
        Shape::Float(0.0, 1.0),
        "Factor of each health threshold while the system starts up.",
    )
    .unit("factor")
    .default("0.5")
    .setting("startup_health_threshold_multiplier")
    .test("tests/client health"),
    key(
        Component::Orchestration,
        "operational_state.shutdown_health_threshold_multiplier",
        Shape::Float(0.0, 1.0),
        "Factor of each health threshold while the system shuts down gracefully.",
    )
    .unit("factor")
    .default("0.0")
    .setting("shutdown_health_threshold_multiplier")
    .test("tests/client health"),
    orchestration(
        "operational_state.graceful_shutdown_timeout_seconds",
        AMOUNT,
        "seconds",
        "How long a graceful shutdown may take.",
        "nothing does yet: tasker.executor_drain_seconds bounds the end of executors",
    ),
    orchestration(
        "operational_state.emergency_shutdown_timeout_seconds",
        AMOUNT,
        "seconds",
        "How long an emergency shutdown may take.",
        "nothing does yet: in an emergency executors end at once",
    ),
    orchestration(
        "operational_state.enable_transition_logging",
        Shape::Bool,
        "",
        "Whether changes of the operational state are logged.",
        ENGINE_READY,
    )
    .default("true"),
    orchestration(
        "operational_state.transition_log_level",
        Shape::Text,
        "",
        "Level of these lines.",
        ENGINE_READY,
    ),
    key(
        Component::Orchestration,
        "executors.drain_seconds",
        Shape::Int(0, 86_400),
        "How long an executor that is to end may still work on its step.",
    )
    .unit("seconds")
    .default("30")
    .setting("executor_drain_seconds")
    .test("tests/client background"),
    key(
        Component::Orchestration,
        "executors.memory_mb",
        Shape::Int(1, 1_048_576),
        "Memory that one executor is expected to use.",
    )
    .unit("MB")
    .default("50")
    .setting("executor_memory_mb")
    .test("tests/client pools"),
    key(
        Component::Orchestration,
        "executors.memory_budget_mb",
        Shape::Float(0.0, 2_147_483_647.0),
        "Memory that all executors may use together; 0: not checked.",
    )
    .unit("MB")
    .default("0")
    .setting("memory_budget_mb")
    .test("tests/client pools"),
];
