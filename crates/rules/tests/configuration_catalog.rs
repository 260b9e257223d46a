//! Every key of the catalog says what an operator needs to know.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use serde_json::Value;
use tasker_rules::configuration::{Component, Home, Key, Keys, Shape, catalog};

fn name(key: &Key) -> String {
    format!("{}.{}", key.component, key.path)
}

fn accepts(shape: Shape, value: &Value) -> bool {
    let within = |value: &Value, least: f64, most: f64| {
        value
            .as_f64()
            .is_some_and(|number| (least..=most).contains(&number))
    };
    match shape {
        Shape::Bool => value.is_boolean(),
        Shape::Int(least, most) => value
            .as_i64()
            .is_some_and(|number| (least..=most).contains(&number)),
        Shape::Float(least, most) => within(value, least, most),
        Shape::Text => value.is_string(),
        Shape::Name => value.as_str().is_some_and(|text| !text.is_empty()),
        Shape::Choice(words) => value.as_str().is_some_and(|text| words.contains(&text)),
        Shape::Names => value
            .as_array()
            .is_some_and(|all| all.iter().all(Value::is_string)),
        Shape::Numbers(least, most) => value
            .as_array()
            .is_some_and(|all| all.iter().all(|value| within(value, least, most))),
    }
}

#[test]
fn every_key_has_a_meaning_a_unit_a_default_that_it_takes_and_a_test() {
    let mut problems = Vec::new();
    for key in catalog::keys() {
        let mut problem = |text: &str| problems.push(format!("{}: {text}", name(key)));
        if !key.meaning.ends_with('.') {
            problem("no meaning");
        }
        if matches!(
            key.shape,
            Shape::Int(..) | Shape::Float(..) | Shape::Numbers(..)
        ) && key.unit.is_empty()
        {
            problem("a number without a unit");
        }
        if !key.default.is_empty() {
            match serde_json::from_str(key.default) {
                Ok(default) if accepts(key.shape, &default) => {}
                _ => problem("its default is no value of its shape"),
            }
        }
        let has_effect = matches!(key.home, Home::Setting(_) | Home::Engine);
        if has_effect && (key.default.is_empty() || key.test.is_empty()) {
            problem("an effect without a default or a test");
        }
        if let Home::Nothing(instead) = key.home
            && (instead.is_empty() || !key.test.is_empty())
        {
            problem("says neither what does it here nor that nothing does");
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn no_key_and_no_setting_is_there_twice() {
    let (mut names, mut settings) = (BTreeSet::new(), BTreeSet::new());
    for key in catalog::keys() {
        assert!(names.insert(name(key)), "{} is there twice", name(key));
        if let Home::Setting(setting) = key.home {
            assert!(settings.insert(setting), "{setting} has two keys");
        }
    }
}

#[test]
fn a_copy_names_a_key_that_is_no_copy_and_takes_the_same_values() {
    let keys = Keys::new(catalog::keys());
    for key in keys.iter() {
        if let Home::CopyOf(owner) = key.home {
            let owner = keys.find_full(owner).unwrap();
            assert!(!matches!(owner.home, Home::CopyOf(_)), "{}", name(key));
            assert_eq!(key.shape, owner.shape, "{}", name(key));
        }
    }
}

#[test]
fn a_star_stands_for_one_part() {
    let keys = Keys::new(catalog::keys());
    let found = |component, path| keys.find(component, path).map(|key| key.path);
    assert_eq!(
        found(Component::ExecutorPools, "task_claimer.min_executors"),
        Some("*.min_executors")
    );
    assert_eq!(found(Component::ExecutorPools, "a.b.min_executors"), None);
    assert_eq!(found(Component::ExecutorPools, "min_executors"), None);
    assert_eq!(found(Component::Pgmq, "batch_size"), Some("batch_size"));
    assert_eq!(found(Component::Pgmq, "batch_sizes"), None);
}

/// The leaves of the configuration in Ruby, by group.
const OLD: &str = "
auth authentication_enabled authenticator_class current_user_method authenticate_user_method authorization_enabled authorization_coordinator_class user_class strategy
database name enable_secondary_database
engine task_handler_directory task_config_directory default_module_namespace identity_strategy identity_strategy_class custom_events_directories
health status_endpoint_requires_auth ready_requires_authentication status_requires_authentication readiness_timeout_seconds cache_duration_seconds
telemetry enabled service_name service_version filter_parameters filter_mask structured_logging_enabled correlation_id_header log_level log_format metrics_enabled metrics_endpoint metrics_format metrics_auth_required performance_monitoring_enabled slow_query_threshold_seconds memory_threshold_mb event_sampling_rate filtered_events max_stored_samples metrics_retention_hours
telemetry.prometheus endpoint username password job_timeout export_timeout retry_attempts retention_window safety_margin metric_prefix include_instance_labels compression batch_size skip_if_unavailable
telemetry.config batch_events buffer_size flush_interval filtered_events enable_memoization async_processing sampling_rate
backoff default_backoff_seconds max_backoff_seconds backoff_multiplier jitter_enabled jitter_max_percentage reenqueue_delays.has_ready_steps reenqueue_delays.waiting_for_dependencies reenqueue_delays.processing default_reenqueue_delay buffer_seconds
execution min_concurrent_steps max_concurrent_steps_limit concurrency_cache_duration batch_timeout_base_seconds batch_timeout_per_step_seconds max_batch_timeout_seconds connection_pressure_factors.low connection_pressure_factors.moderate connection_pressure_factors.high connection_pressure_factors.critical health_assessment_cache_duration connection_health_log_level
cache default_ttl adaptive_ttl_enabled performance_tracking_enabled hit_rate_smoothing_factor access_frequency_decay_rate min_adaptive_ttl max_adaptive_ttl dashboard_cache_ttl cache_pressure_threshold adaptive_calculation_interval
dependency_graph.impact_multipliers downstream_weight blocked_weight path_length_weight completed_penalty blocked_penalty error_penalty retry_penalty
dependency_graph.severity_multipliers error_state exhausted_retry_bonus dependency_issue
dependency_graph.penalty_constants retry_instability non_retryable exhausted_retry
dependency_graph.severity_thresholds critical high medium
dependency_graph.duration_estimates base_step_seconds error_penalty_seconds retry_penalty_seconds
";

#[test]
fn each_of_the_112_leaves_of_the_rails_configuration_has_one_key() {
    let old: BTreeSet<String> = OLD
        .trim()
        .lines()
        .flat_map(|line| {
            let (group, names) = line.split_once(' ').unwrap();
            names.split(' ').map(move |name| format!("{group}.{name}"))
        })
        .collect();
    assert_eq!(old.len(), 112);
    let mut ours: Vec<String> = catalog::keys()
        .flat_map(|key| key.old)
        .map(|name| (*name).to_owned())
        .collect();
    ours.sort();
    assert_eq!(ours, old.into_iter().collect::<Vec<_>>());
}
