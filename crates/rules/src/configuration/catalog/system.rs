//! system.toml. It owns the section reenqueue, of which engine.toml has a copy.

use super::{AMOUNT, COUNT, Component, Key, Shape, key};

const REPLACED: &str = "each call does the engine's work at once: nothing is queued again";

const fn system(
    path: &'static str,
    shape: Shape,
    unit: &'static str,
    meaning: &'static str,
) -> Key {
    key(Component::System, path, shape, meaning).unit(unit)
}

pub(super) static KEYS: &[Key] = &[
    system("default_dependent_system", Shape::Text, "", "Outside system of steps that name none.")
        .nothing("nothing does yet: a step without dependent_system has none"),
    system("default_queue_name", Shape::Text, "", "Queue of steps that name none.")
        .nothing("nothing does yet: the queue of a template or step does, else default"),
    system("version", Shape::Text, "", "Version of the configuration.").nothing("it only says what the file says"),
    system("max_recursion_depth", COUNT, "levels", "How deep a graph is followed.")
        .nothing("graphs are followed without recursion"),
    system("dependency_graph.max_depth", COUNT, "levels", "Deepest graph of a template.")
        .copy_of("engine.dependency_graph.max_depth"),
    system("dependency_graph.cycle_detection_enabled", Shape::Bool, "", "Whether a cycle is refused.")
        .copy_of("engine.dependency_graph.cycle_detection_enabled"),
    system("dependency_graph.optimization_enabled", Shape::Bool, "", "Whether the graph is prepared.")
        .copy_of("engine.dependency_graph.optimization_enabled"),
    system("execution.processing_mode", Shape::Text, "", "How work reaches workers.")
        .nothing("workers claim steps from the database"),
    system("execution.max_concurrent_tasks", COUNT, "tasks", "Tasks at once.")
        .nothing("nothing bounds it: workers and executors bound what runs at once"),
    system("execution.max_concurrent_steps", COUNT, "steps", "Steps at once.")
        .nothing("nothing bounds it: workers and executors bound what runs at once"),
    system("execution.default_timeout_seconds", AMOUNT, "seconds", "Timeout of tasks whose template has none.")
        .nothing("nothing does yet: timeout_seconds of the template does"),
    system("execution.step_execution_timeout_seconds", Shape::Float(0.0, 86_400.0), "seconds",
        "How long a handler inside the database may run if its step has no timeout_seconds; 0: forever.")
        .default("300")
        .setting("handler_timeout_seconds")
        .test("tests/client sql_handlers"),
    system("execution.environment", Shape::Text, "", "The environment.")
        .nothing("tasker.set_environment and the setting tasker.environment decide the environment"),
    system("execution.max_discovery_attempts", COUNT, "attempts", "Looks for ready steps of a task.").nothing(REPLACED),
    system("execution.step_batch_size", COUNT, "steps", "Steps that a worker gets at once.")
        .nothing("nothing does yet: the parameter max_steps of claim_steps and the batch_size of a pool do"),
    system("execution.max_retries", COUNT, "attempts", "Retry limit of steps that have none.")
        .nothing("nothing does yet: retry.limit of a step does, else 3"),
    system("execution.max_workflow_steps", COUNT, "steps", "Most steps of a template.")
        .nothing("nothing does yet: at most 32,767 are possible"),
    system("execution.connection_timeout_seconds", COUNT, "seconds", "How long connecting may take.")
        .nothing("the engine is in the database: each client has its own connection settings"),
    system("backoff.default_backoff_seconds", Shape::Numbers(0.0, 1e9), "seconds", "Time to wait after attempt 1, 2, 3 ... of a step.")
        .default("[1, 2, 4, 8, 16, 32]")
        .setting("default_backoff_seconds")
        .old(&["backoff.default_backoff_seconds"])
        .test("tests/client readiness"),
    system("backoff.max_backoff_seconds", Shape::Int(1, 86_400), "seconds", "No retry waits longer than this.")
        .default("300")
        .setting("max_backoff_seconds")
        .old(&["backoff.max_backoff_seconds"])
        .test("tests/client configuration"),
    system("backoff.backoff_multiplier", Shape::Float(1.0, 10.0), "factor", "Exponent beyond the end of the list, and factor of exponential backoff.")
        .default("2.0")
        .setting("backoff_multiplier")
        .old(&["backoff.backoff_multiplier"])
        .test("tests/client readiness"),
    system("backoff.jitter_enabled", Shape::Bool, "", "Whether backoff is spread at random where the template does not say.")
        .default("true")
        .setting("jitter_enabled")
        .old(&["backoff.jitter_enabled"])
        .test("tests/client subscribers"),
    system("backoff.jitter_max_percentage", Shape::Float(0.0, 1.0), "share", "Largest share of the delay that jitter adds or takes away.")
        .default("0.1")
        .setting("jitter_max_percentage")
        .old(&["backoff.jitter_max_percentage"])
        .test("tests/pg_regress backoff"),
    system("backoff.default_reenqueue_delay", AMOUNT, "seconds", "Delay of a task before it is looked at again.")
        .nothing(REPLACED)
        .old(&["backoff.default_reenqueue_delay"]),
    system("backoff.buffer_seconds", AMOUNT, "seconds", "Added to it.")
        .nothing(REPLACED)
        .old(&["backoff.buffer_seconds"]),
    system("backoff.reenqueue_delays.has_ready_steps", AMOUNT, "seconds", "Delay of a task that has ready steps.")
        .nothing(REPLACED)
        .old(&["backoff.reenqueue_delays.has_ready_steps"]),
    system("backoff.reenqueue_delays.waiting_for_dependencies", AMOUNT, "seconds", "Delay of a task whose steps wait.")
        .nothing(REPLACED)
        .old(&["backoff.reenqueue_delays.waiting_for_dependencies"]),
    system("backoff.reenqueue_delays.processing", AMOUNT, "seconds", "Delay of a task whose steps run.")
        .nothing(REPLACED)
        .old(&["backoff.reenqueue_delays.processing"]),
    system("reenqueue.has_ready_steps", AMOUNT, "seconds", "Delay of a task that has ready steps.").nothing(REPLACED),
    system("reenqueue.waiting_for_dependencies", AMOUNT, "seconds", "Delay of a task whose steps wait.").nothing(REPLACED),
    system("reenqueue.processing", AMOUNT, "seconds", "Delay of a task whose steps run.").nothing(REPLACED),
];
