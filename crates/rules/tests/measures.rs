//! What subscribers of earlier engines ask of an event: categories of errors, times, performance, tags.

use serde_json::{Map, Value, json};
use tasker_rules::events::measures::{
    Measures, error_type, of_error, of_performance, of_timing, tags,
};

/// The value under a key, or under keys joined by dots.
fn at(payload: &Value, path: &str) -> Option<Value> {
    path.split('.')
        .try_fold(payload, |value, key| value.get(key))
        .cloned()
}

/// What is said; a measure without a value is null, as in SQL.
fn said(measures: Measures) -> Value {
    let entries = measures
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.unwrap_or_default()));
    Value::Object(entries.collect::<Map<_, _>>())
}

macro_rules! of {
    ($measure:ident, $payload:expr) => {{
        let payload = $payload;
        said($measure(&|path| at(&payload, path)))
    }};
}

#[test]
fn a_class_is_in_the_first_category_that_one_of_its_words_names() {
    for (class, category) in [
        ("Net::ReadTimeout", "timeout"),
        ("TimeoutError", "timeout"),
        ("Faraday::ConnectionFailed", "network"),
        ("NETWORK_DOWN", "network"),
        ("ActiveRecord::RecordNotFound", "not_found"),
        ("MissingKey", "not_found"),
        ("Http404", "not_found"),
        ("Unauthorized", "auth"),
        ("ForbiddenError", "auth"),
        ("Error401", "auth"),
        ("Error403", "auth"),
        ("RateLimitExceeded", "rate_limit"),
        ("TooManyRequests", "rate_limit"),
        ("Status429", "rate_limit"),
        ("BadRequest", "client_error"),
        ("ActiveRecord::RecordInvalid", "client_error"),
        ("E400", "client_error"),
        ("InternalServerError", "server_error"),
        ("InternalError", "server_error"),
        ("E500", "server_error"),
        ("StandardError", "runtime"),
        ("RuntimeError", "runtime"),
        ("CardDeclined", "other"),
        // The order decides where several words fit.
        ("ConnectionTimeout", "timeout"),
        ("ConnectionNotFound", "network"),
        ("MissingUnauthorized", "not_found"),
        ("ForbiddenTooManyRequests", "auth"),
        ("RateLimitInvalid", "rate_limit"),
        ("InvalidServerError", "client_error"),
        ("ServerErrorRuntimeError", "server_error"),
    ] {
        assert_eq!(error_type(Some(class), None), category, "{class}");
    }
    for nothing in [None, Some(""), Some("  ")] {
        assert_eq!(error_type(nothing, None), "unknown", "{nothing:?}");
    }
}

#[test]
fn an_http_status_in_the_message_says_it_where_the_class_does_not() {
    for (message, category) in [
        ("HTTP 404", "not_found"),
        ("HTTP/1.1 503 Service Unavailable", "server_error"),
        ("server answered with status 401", "auth"),
        ("status code: 429 (too many requests)", "rate_limit"),
        ("status_code=422", "client_error"),
        ("error code 504", "timeout"),
        ("code=408", "timeout"),
        ("HTTP status 410", "not_found"),
    ] {
        assert_eq!(error_type(None, Some(message)), category, "{message}");
        assert_eq!(
            error_type(Some("HTTPError"), Some(message)),
            category,
            "{message}"
        );
        assert_eq!(
            error_type(Some("ConnectionError"), Some(message)),
            "network",
            "{message}"
        );
    }
    for message in [
        "",
        "500 rows were lost",
        "HTTP 302",
        "status 4040",
        "the status of order 404 is wrong after all",
    ] {
        assert_eq!(error_type(Some("Odd"), Some(message)), "other", "{message}");
        assert_eq!(error_type(None, Some(message)), "unknown", "{message}");
    }
}

#[test]
fn a_failure_says_what_went_wrong_and_whether_the_step_runs_again() {
    assert_eq!(
        of!(
            of_error,
            json!({"error_message": "no answer", "exception_class": "ReadTimeout", "attempt_number": 1, "retry_limit": 3,
                   "retryable": true, "final_failure": false})
        ),
        json!({"error_message": "no answer", "error_class": "ReadTimeout", "error_type": "timeout", "attempt_number": 1,
               "is_retryable": true, "final_failure": false})
    );
    let last = |payload| of!(of_error, payload)["final_failure"].clone();
    assert_eq!(
        last(json!({"attempt_number": 3, "retry_limit": 3})),
        json!(true)
    );
    assert_eq!(
        last(json!({"attempt_number": 2, "retry_limit": 3})),
        json!(false)
    );
    // What the engine has decided counts, not the numbers.
    assert_eq!(
        last(json!({"attempt_number": 1, "retry_limit": 3, "final_failure": true})),
        json!(true)
    );
    assert_eq!(last(json!({"attempt_number": 1})), Value::Null);
    assert_eq!(
        of!(of_error, json!({"error_message": 7})),
        json!({"error_message": null, "error_class": null, "error_type": "unknown", "attempt_number": null,
               "is_retryable": null, "final_failure": null})
    );
}

#[test]
fn a_run_and_a_task_say_how_long_they_took_and_of_how_many_steps() {
    let (began, ended) = ("2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:02.500000Z");
    assert_eq!(
        of!(
            of_timing,
            json!({"execution_duration": 2.5, "started_at": began, "completed_at": ended})
        ),
        json!({"execution_duration": 2.5, "started_at": began, "completed_at": ended, "step_count": null,
               "completed_steps": null, "failed_steps": null})
    );
    assert_eq!(
        of!(
            of_timing,
            json!({"total_execution_duration": 9.5, "total_steps": 4, "completed_steps": 3, "failed_steps": 1})
        ),
        json!({"execution_duration": 9.5, "started_at": null, "completed_at": null, "step_count": 4,
               "completed_steps": 3, "failed_steps": 1})
    );
    assert_eq!(
        of!(of_timing, json!({"step_count": 2}))["step_count"],
        json!(2)
    );
}

#[test]
fn performance_is_what_the_engine_measured_and_the_worker_reported() {
    let nothing = json!({"memory_usage": null, "cpu_time": null, "queue_time": null, "processing_time": null,
                         "retry_delay": null});
    assert_eq!(of!(of_performance, json!({})), nothing);
    assert_eq!(
        of!(
            of_performance,
            json!({"memory_usage": 1024, "cpu_time": 0.5, "queue_time": 0.25, "processing_time": 2, "retry_delay": 8})
        ),
        json!({"memory_usage": 1024, "cpu_time": 0.5, "queue_time": 0.25, "processing_time": 2, "retry_delay": 8})
    );
    assert_eq!(
        of!(
            of_performance,
            json!({"execution_duration": 3, "data": {"results": {"memory_usage": 7, "metadata": {"cpu_time": 1.5, "memory_usage": 8}}}})
        ),
        json!({"memory_usage": 7, "cpu_time": 1.5, "queue_time": null, "processing_time": 3, "retry_delay": null})
    );
    let delay = |payload| of!(of_performance, payload)["retry_delay"].clone();
    assert_eq!(delay(json!({"backoff_seconds": 4})), json!(4));
    assert_eq!(delay(json!({"delay_seconds": 5})), json!(5));
    assert_eq!(
        delay(json!({"timestamp": "2026-01-01T00:00:00.000000Z", "retry_at": "2026-01-01T00:01:00.250000Z"})).as_f64(),
        Some(60.25)
    );
    assert_eq!(
        delay(json!({"timestamp": "infinity", "retry_at": "then"})),
        Value::Null
    );
}

#[test]
fn tags_name_what_the_payload_has() {
    let tags = |payload: Value| tags(&|path| at(&payload, path));
    assert_eq!(
        tags(
            json!({"task_name": "order", "step_name": "pay", "environment": "test", "source_system": "shop", "retryable": true,
                    "attempt_number": 2, "priority": "high"})
        ),
        [
            "task:order",
            "step:pay",
            "environment:test",
            "source:shop",
            "retryable:true",
            "attempt:2",
            "priority:high"
        ]
    );
    assert_eq!(
        tags(
            json!({"task_name": "order", "retryable": false, "priority": 3, "step_name": "", "environment": ["x"]})
        ),
        ["task:order", "priority:3"]
    );
    assert_eq!(tags(json!({})), [""; 0]);
}
