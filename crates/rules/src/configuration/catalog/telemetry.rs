//! telemetry.toml.

use super::{AMOUNT, COUNT, Component, ENGINE_READY, Key, Needs, SHARE, Shape, key};

const OPTIONS: &str = "nothing does yet: options of the command tasker exporter do";
const BUFFERED: &str = "events stay in the database until the exporter has sent them";

const fn telemetry(
    path: &'static str,
    shape: Shape,
    unit: &'static str,
    meaning: &'static str,
) -> Key {
    key(Component::Telemetry, path, shape, meaning).unit(unit)
}

const fn copy(path: &'static str, shape: Shape, owner: &'static str) -> Key {
    telemetry(path, shape, "as its owner", "A copy.").copy_of(owner)
}

pub(super) static KEYS: &[Key] = &[
    telemetry("enabled", Shape::Bool, "", "Whether there is telemetry.")
        .default("true")
        .nothing("nothing does yet: the routes of events and tasker.event_sampling_rate decide what telemetry gets")
        .old(&["telemetry.enabled"]),
    telemetry("service_name", Shape::Text, "", "Name of the service in traces.")
        .default(r#""tasker""#)
        .setting("service_name")
        .old(&["telemetry.service_name"])
        .test("tests/client tracing"),
    telemetry("service_version", Shape::Text, "", "Version of the service in traces.")
        .nothing("the version of the extension is written")
        .old(&["telemetry.service_version"]),
    telemetry("sample_rate", SHARE, "share", "Share of the tasks whose events go to spans, labelled metrics and the log.")
        .default("1.0")
        .setting("event_sampling_rate")
        .old(&["telemetry.event_sampling_rate", "telemetry.config.sampling_rate"])
        .test("tests/client tracing"),
    telemetry("filter_parameters", Shape::Names, "", "Parts of keys whose values are hidden in the log, in spans and in stored configuration.")
        .default(r#"["passw","email","secret","token","_key","crypt","salt","certificate","otp","ssn"]"#)
        .setting("filter_parameters")
        .old(&["telemetry.filter_parameters"])
        .test("tests/client step_logs"),
    telemetry("filter_mask", Shape::Text, "", "What is written for their values.")
        .default(r#""[FILTERED]""#)
        .setting("filter_mask")
        .old(&["telemetry.filter_mask"])
        .test("tests/client step_logs"),
    telemetry("filtered_events", Shape::Names, "", "Events that go to no span, no labelled metric and no log.")
        .default("[]")
        .setting("filtered_events")
        .old(&["telemetry.filtered_events", "telemetry.config.filtered_events"])
        .test("tests/client event_routes"),
    telemetry("structured_logging_enabled", Shape::Bool, "", "Whether lines of the log are objects.")
        .nothing("tasker.log_format does")
        .old(&["telemetry.structured_logging_enabled"]),
    telemetry("correlation_id_header", Shape::Text, "", "Header with the correlation id.")
        .nothing("the caller gives correlation_id or trace_context to create_task")
        .old(&["telemetry.correlation_id_header"]),
    telemetry("log_level", Shape::Choice(&["debug", "info", "warn", "error", "fatal"]), "", "Least level of lines of the log.")
        .nothing("nothing does yet: log_min_messages does")
        .old(&["telemetry.log_level"]),
    telemetry("log_format", Shape::Choice(&["text", "json", "pretty_json", "logfmt"]), "", "How lines of the server's log are written.")
        .default(r#""text""#)
        .setting("log_format")
        .old(&["telemetry.log_format"])
        .test("tests/client logging"),
    telemetry("performance_monitoring_enabled", Shape::Bool, "", "Whether slow operations are logged.")
        .nothing("tasker.slow_query_threshold_seconds = 0 turns it off")
        .old(&["telemetry.performance_monitoring_enabled"]),
    telemetry("slow_query_threshold_seconds", Shape::Float(0.0, 86_400.0), "seconds", "Calls and duties that take longer write a warning to the log; 0: off.")
        .default("1.0")
        .setting("slow_query_threshold_seconds")
        .old(&["telemetry.slow_query_threshold_seconds"])
        .test("tests/client logging"),
    telemetry("memory_threshold_mb", AMOUNT, "MB", "Calls that need more memory write a warning to the log.")
        .nothing(ENGINE_READY)
        .old(&["telemetry.memory_threshold_mb"]),
    telemetry("max_stored_samples", COUNT, "samples", "Samples of a histogram.")
        .nothing("histograms have buckets and keep no samples")
        .old(&["telemetry.max_stored_samples"]),
    telemetry("metrics.enabled", Shape::Bool, "", "Whether there are metrics.")
        .nothing(ENGINE_READY)
        .old(&["telemetry.metrics_enabled"]),
    telemetry("metrics.endpoint", Shape::Text, "", "Path of the metrics.")
        .nothing("the command tasker exporter answers /metrics")
        .old(&["telemetry.metrics_endpoint"]),
    telemetry("metrics.format", Shape::Text, "", "Format of the metrics.")
        .nothing("the parameter format of export_metrics does")
        .old(&["telemetry.metrics_format"]),
    telemetry("metrics.auth_required", Shape::Bool, "", "Whether the exporter wants the token for /metrics.")
        .default("false")
        .setting("metrics_auth_required")
        .old(&["telemetry.metrics_auth_required"])
        .test("tests/client exporter"),
    telemetry("metrics.retention_hours", Shape::Float(0.0, 87_600.0), "hours", "How long a series without counts keeps its place; 0: forever.")
        .default("24")
        .setting("metrics_retention_hours")
        .old(&["telemetry.metrics_retention_hours"])
        .test("tests/client labelled_metrics"),
    telemetry("metrics.max_error_classes", Shape::Int(0, 1000), "classes", "How many error classes of a step the metrics tell apart.")
        .default("10")
        .setting("max_error_classes")
        .test("tests/client labelled_metrics"),
    telemetry("metrics.max_metric_series", Shape::Int(1, 1_000_000), "series", "How many combinations of labels the metrics tell apart.")
        .default("2000")
        .setting("max_metric_series")
        .needs(Needs::Restart)
        .test("tests/client labelled_metrics"),
    telemetry("diagram.step_url", Shape::Text, "", "Where a click on a step in a picture of a task leads.")
        .default(r#""""#)
        .setting("diagram_step_url")
        .test("tests/pg_regress diagrams"),
    telemetry("diagram.task_url", Shape::Text, "", "Where a click on the heading of a picture of a task leads.")
        .default(r#""""#)
        .setting("diagram_task_url")
        .test("tests/pg_regress diagrams"),
    telemetry("health.enabled", Shape::Bool, "", "Whether health is watched.").nothing(ENGINE_READY),
    telemetry("health.check_interval_seconds", AMOUNT, "seconds", "Time between two looks.")
        .nothing("nothing does yet: the duty health runs every 30 seconds"),
    telemetry("health.alert_thresholds.error_rate", SHARE, "share", "Share of failed runs beyond which there is an alert.")
        .default("0.05")
        .nothing("nothing does yet: the threshold is a constant, 0.05"),
    telemetry("health.alert_thresholds.queue_depth", AMOUNT, "steps", "Ready steps beyond which there is an alert.")
        .nothing("nothing does yet: health has no measure of waiting steps"),
    telemetry("health.readiness_timeout_seconds", Shape::Float(0.05, 86_400.0), "seconds", "Time limit of the exporter's answers about readiness.")
        .default("5")
        .setting("readiness_timeout_seconds")
        .old(&["health.readiness_timeout_seconds"])
        .test("tests/client exporter"),
    telemetry("health.cache_duration_seconds", Shape::Float(0.0, 86_400.0), "seconds", "How long the exporter gives an answer of /health/status again.")
        .default("15")
        .setting("health_cache_duration_seconds")
        .old(&["health.cache_duration_seconds"])
        .test("tests/client exporter"),
    telemetry("health.ready_requires_authentication", Shape::Bool, "", "Whether the exporter wants the token for /health/ready.")
        .default("false")
        .setting("ready_requires_authentication")
        .old(&["health.ready_requires_authentication"])
        .test("tests/client exporter"),
    telemetry("health.status_requires_authentication", Shape::Bool, "", "Whether the exporter wants the token for /health/status.")
        .default("true")
        .setting("status_requires_authentication")
        .old(&["health.status_requires_authentication", "health.status_endpoint_requires_auth"])
        .test("tests/client exporter"),
    telemetry("health.assessment_cache_duration", AMOUNT, "seconds", "How long a judgement about connections holds.")
        .nothing("health looks at the server each time; the exporter keeps its answers for health.cache_duration_seconds")
        .old(&["execution.health_assessment_cache_duration"]),
    telemetry("health.connection_pressure_factors.low", SHARE, "share", "Share of the steps at once under low pressure.")
        .nothing(ENGINE_READY)
        .old(&["execution.connection_pressure_factors.low"]),
    telemetry("health.connection_pressure_factors.moderate", SHARE, "share", "The same under moderate pressure.")
        .nothing(ENGINE_READY)
        .old(&["execution.connection_pressure_factors.moderate"]),
    telemetry("health.connection_pressure_factors.high", SHARE, "share", "The same under high pressure.")
        .nothing(ENGINE_READY)
        .old(&["execution.connection_pressure_factors.high"]),
    telemetry("health.connection_pressure_factors.critical", SHARE, "share", "The same under critical pressure.")
        .nothing(ENGINE_READY)
        .old(&["execution.connection_pressure_factors.critical"]),
    telemetry("health.connection_log_level", Shape::Text, "", "Level of lines about connections.")
        .nothing(ENGINE_READY)
        .old(&["execution.connection_health_log_level"]),
    telemetry("prometheus.endpoint", Shape::Text, "", "Address that metrics are written to.").nothing(OPTIONS).old(&["telemetry.prometheus.endpoint"]),
    telemetry("prometheus.username", Shape::Text, "", "Login there.").nothing(OPTIONS).old(&["telemetry.prometheus.username"]),
    telemetry("prometheus.password", Shape::Text, "", "Password there; it is masked before it is stored.").nothing(OPTIONS).old(&["telemetry.prometheus.password"]),
    telemetry("prometheus.job_timeout", AMOUNT, "seconds", "Time limit of an export.").nothing(OPTIONS).old(&["telemetry.prometheus.job_timeout"]),
    telemetry("prometheus.export_timeout", AMOUNT, "seconds", "Time limit of a request.").nothing(OPTIONS).old(&["telemetry.prometheus.export_timeout"]),
    telemetry("prometheus.retry_attempts", COUNT, "attempts", "How often a request is tried again.").nothing(OPTIONS).old(&["telemetry.prometheus.retry_attempts"]),
    telemetry("prometheus.retention_window", AMOUNT, "seconds", "How long metrics wait for their export.").nothing("metrics are kept in the database").old(&["telemetry.prometheus.retention_window"]),
    telemetry("prometheus.safety_margin", AMOUNT, "seconds", "How long before that they are exported.").nothing("metrics are kept in the database").old(&["telemetry.prometheus.safety_margin"]),
    telemetry("prometheus.metric_prefix", Shape::Text, "", "Beginning of the names of metrics.").nothing(ENGINE_READY).old(&["telemetry.prometheus.metric_prefix"]),
    telemetry("prometheus.include_instance_labels", Shape::Bool, "", "Whether metrics name their instance.").nothing(OPTIONS).old(&["telemetry.prometheus.include_instance_labels"]),
    telemetry("prometheus.compression", Shape::Text, "", "Compression of requests.").nothing("remote write is always compressed with snappy").old(&["telemetry.prometheus.compression"]),
    telemetry("prometheus.batch_size", COUNT, "samples", "Samples of a request.").nothing(OPTIONS).old(&["telemetry.prometheus.batch_size"]),
    telemetry("prometheus.skip_if_unavailable", Shape::Bool, "", "Whether an export that cannot be sent is skipped.").nothing(OPTIONS).old(&["telemetry.prometheus.skip_if_unavailable"]),
    telemetry("config.batch_events", Shape::Bool, "", "Whether events wait for others.").nothing(BUFFERED).old(&["telemetry.config.batch_events"]),
    telemetry("config.buffer_size", COUNT, "events", "Events that wait in memory.").nothing(BUFFERED).old(&["telemetry.config.buffer_size"]),
    telemetry("config.flush_interval", AMOUNT, "seconds", "How long they wait.").nothing(BUFFERED).old(&["telemetry.config.flush_interval"]),
    telemetry("config.enable_memoization", Shape::Bool, "", "Whether answers are remembered.").nothing("the library keeps what it has compiled").old(&["telemetry.config.enable_memoization"]),
    telemetry("config.async_processing", Shape::Bool, "", "Whether events are handled later.").nothing("subscribers read the log after the commit").old(&["telemetry.config.async_processing"]),
    copy("events.batch_size", COUNT, "engine.events.batch_size"),
    copy("events.enabled", Shape::Bool, "engine.events.enabled"),
    copy("events.batch_timeout_ms", COUNT, "engine.events.batch_timeout_ms"),
    copy("cache.enabled", Shape::Bool, "engine.cache.enabled"),
    copy("cache.ttl_seconds", COUNT, "engine.cache.ttl_seconds"),
    copy("cache.max_size", COUNT, "engine.cache.max_size"),
    copy("query_cache.enabled", Shape::Bool, "query_cache.enabled"),
    copy("query_cache.cleanup_interval_seconds", COUNT, "query_cache.cleanup_interval_seconds"),
    copy("query_cache.memory_pressure_threshold", SHARE, "query_cache.memory_pressure_threshold"),
    copy("query_cache.active_workers.ttl_seconds", COUNT, "query_cache.active_workers.ttl_seconds"),
    copy("query_cache.active_workers.max_entries", COUNT, "query_cache.active_workers.max_entries"),
    copy("query_cache.worker_health.ttl_seconds", COUNT, "query_cache.worker_health.ttl_seconds"),
    copy("query_cache.worker_health.max_entries", COUNT, "query_cache.worker_health.max_entries"),
    copy("query_cache.task_metadata.ttl_seconds", COUNT, "query_cache.task_metadata.ttl_seconds"),
    copy("query_cache.task_metadata.max_entries", COUNT, "query_cache.task_metadata.max_entries"),
    copy("query_cache.handler_metadata.ttl_seconds", COUNT, "query_cache.handler_metadata.ttl_seconds"),
    copy("query_cache.handler_metadata.max_entries", COUNT, "query_cache.handler_metadata.max_entries"),
];
