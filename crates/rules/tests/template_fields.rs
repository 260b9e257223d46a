//! The fields of a template: every value and every complaint.

mod common;

use common::{problem, problems, template};
use tasker_rules::engine::identity::Window;
use tasker_rules::template::{IdentityStrategy, Priority};

/// One step `a` with more fields, as YAML flow text.
fn step(fields: &str) -> String {
    format!("name: t\nsteps:\n  - {{name: a, handler: {{callable: H}}, {fields}}}\n")
}

#[test]
fn steps_with_an_sql_handler_use_the_queue_sql_unless_another_is_named() {
    let queue = |top: &str, fields: &str| {
        let text = format!("name: t\n{top}\nsteps: [{{name: a, {fields}}}]\n");
        template(&text).steps[0].queue.clone()
    };
    assert_eq!(queue("", "handler: 'sql:f'"), "sql");
    assert_eq!(queue("", "handler: 'sql:f', queue: own"), "own");
    assert_eq!(queue("queue: whole", "handler: H"), "whole");
    assert_eq!(queue("queue: whole", "handler: H, queue: own"), "own");
    assert_eq!(queue("queue: whole", "handler: 'sql:f'"), "sql");
}

#[test]
fn jitter_is_a_share_or_a_word() {
    let jitter = |value: &str| {
        template(&step(&format!("retry: {{jitter: {value}}}"))).steps[0]
            .backoff
            .jitter
    };
    assert_eq!(
        [
            jitter("true"),
            jitter("false"),
            jitter("0"),
            jitter("1"),
            jitter("0.3")
        ]
        .map(Option::unwrap),
        [0.1, 0.0, 0.0, 1.0, 0.3]
    );
    for bad in ["1.5", "-0.1", "much", "[]", "1e999999999999"] {
        let text = format!(
            "{{\"name\":\"t\",\"steps\":[{{\"name\":\"a\",\"handler\":\"H\",\"retry\":{{\"jitter\":{}}}}}]}}",
            if bad == "much" { "\"much\"" } else { bad }
        );
        assert!(
            problems(&text)
                .iter()
                .any(|one| one.starts_with("error steps[0].retry.jitter")),
            "{bad}"
        );
    }
}

#[test]
fn priority_is_a_number_or_a_word() {
    let priority = |value: &str| template(&step(&format!("priority: {value}"))).steps[0].priority;
    assert_eq!(priority("1"), Some(Priority::Low));
    assert_eq!(priority("4"), priority("urgent"));
    assert_eq!(priority("2").map(Priority::level), Some(2));
    for bad in ["0", "5", "max", "2.5", "true"] {
        assert!(
            problem(&step(&format!("priority: {bad}"))).starts_with("error steps[0].priority: "),
            "{bad}"
        );
    }
}

/// Fields of a step, and the one problem that they cause.
const WRONG_FIELDS: &[(&str, &str)] = &[
    (
        "default_retry_limit: -1",
        "error steps[0].default_retry_limit: expected a whole number from 0 to 32767, found the number -1",
    ),
    (
        "default_retry_limit: 32768",
        "error steps[0].default_retry_limit: expected a whole number from 0 to 32767, found the number 32768",
    ),
    (
        "retry: {limit: x}",
        "error steps[0].retry.limit: expected a whole number, found the text \"x\"",
    ),
    (
        "retry: {limit: 1.5}",
        "error steps[0].retry.limit: expected a whole number from 0 to 32767, found the number 1.5",
    ),
    (
        "retry: {backoff: fixed}",
        "error steps[0].retry.backoff: unknown backoff \"fixed\"; use none, linear, exponential or fibonacci",
    ),
    (
        "retry: {backoff_base_ms: 0}",
        "error steps[0].retry.backoff_base_ms: expected a whole number from 1 to 2147483647, found the number 0",
    ),
    (
        "retry: {max_backoff_ms: 2147483648}",
        "error steps[0].retry.max_backoff_ms: expected a whole number from 1 to 2147483647, found the number 2147483648",
    ),
    (
        "retry: {base_ms: 99999999999999999999}",
        "error steps[0].retry.base_ms: expected a whole number from 1 to 2147483647, found the number 99999999999999999999",
    ),
    (
        "retry: [1]",
        "error steps[0].retry: expected an object, found a list",
    ),
    (
        "timeout_seconds: 0",
        "error steps[0].timeout_seconds: expected a whole number from 1 to 2147483647, found the number 0",
    ),
    (
        "timeout_seconds: '5'",
        "error steps[0].timeout_seconds: expected a whole number, found the text \"5\"",
    ),
    (
        "skippable: maybe",
        "error steps[0].skippable: expected true or false, found the text \"maybe\"",
    ),
    (
        "skippable: 1",
        "error steps[0].skippable: expected true or false, found the number 1",
    ),
    (
        "depends_on_steps: b",
        "error steps[0].depends_on_steps: expected a list, found a text; write [name] or use depends_on_step",
    ),
    (
        "depends_on_step: [b]",
        "error steps[0].depends_on_step: expected one step name, found a list; use depends_on_steps",
    ),
    (
        "depends_on_steps: [1]",
        "error steps[0].depends_on_steps[0]: expected a text, found the number 1; put it in quotes",
    ),
    (
        "custom_events: [shipped]",
        "error steps[0].custom_events[0]: event name \"shipped\" needs a dot, as in orders.shipped",
    ),
    (
        "publishes_events: [{description: x}]",
        "error steps[0].publishes_events[0].name: the event needs a name",
    ),
    (
        "custom_events: [7]",
        "error steps[0].custom_events[0]: expected an event name or an object with one, found a number",
    ),
    (
        "results_schema: 7",
        "error steps[0].results_schema: a JSON Schema is an object, or true or false",
    ),
    (
        "description: {}",
        "error steps[0].description: expected a text, found an object",
    ),
    ("queue: ''", "error steps[0].queue: queue is empty"),
    (
        "handler_config: []",
        "error steps[0].handler_config: expected an object, found a list",
    ),
    (
        "default_retry_limit: 2, retry: {limit: 3}",
        "error steps[0].retry.limit: contradicts the step's own default_retry_limit",
    ),
    (
        "handler_class: Other",
        "error steps[0].handler_class: conflicts with its synonym handler; give one of them",
    ),
    (
        "retry: {backoff_base_ms: 100, max_backoff_ms: 50}",
        "warning steps[0].retry: the cap of 50 ms is below the base of 100 ms, so every delay is the cap",
    ),
    (
        "skippable: no",
        "warning steps[0].skippable: the text \"no\" is read as false; write false",
    ),
    (
        "timeout_second: 5",
        "error steps[0].timeout_second: unknown key \"timeout_second\"; write timeout_seconds",
    ),
    (
        "depend_on_steps: [b]",
        "error steps[0].depend_on_steps: unknown key \"depend_on_steps\"; write depends_on_steps",
    ),
    (
        "dependsOnSteps: [b]",
        "error steps[0].dependsOnSteps: unknown key \"dependsOnSteps\"; write depends_on_steps",
    ),
    (
        "retry: {max_attemps: 5}",
        "error steps[0].retry.max_attemps: unknown key \"max_attemps\"; write max_attempts",
    ),
    (
        "type: decision",
        "error steps[0].type: unknown type of step \"decision\"; every step is of the type standard",
    ),
    (
        "default_retry_limit: 3, retry: {max_attempts: 5}",
        "error steps[0].retry.max_attempts: contradicts the step's own default_retry_limit",
    ),
    (
        "retry: {limit: 3, max_attempts: 5}",
        "error steps[0].retry.max_attempts: conflicts with its synonym limit; give one of them",
    ),
    (
        "note: by hand",
        "warning steps[0].note: unknown key \"note\" is ignored; did you mean name?",
    ),
    (
        "retry: {colour: 5}",
        "warning steps[0].retry.colour: unknown key \"colour\" is ignored",
    ),
];

#[test]
fn each_wrong_value_is_refused_at_its_path() {
    for (fields, expected) in WRONG_FIELDS {
        assert_eq!(&problem(&step(fields)), expected, "{fields}");
    }
    assert!(problem(&step("custom_events: [task.mine]")).contains("must not begin with \"task\""));
    assert!(
        problem(&step("custom_events: [slow.event]")).contains("slow.event belongs to the engine")
    );
    assert!(
        problem(&step("results_schema: {type: whole}"))
            .starts_with("error steps[0].results_schema: is not a valid JSON Schema: at type")
    );
}

#[test]
fn each_wrong_value_at_the_top_is_refused_at_its_path() {
    let with = |top: &str| format!("{top}\nsteps: [{{name: a, handler: H}}]\n");
    for (top, expected) in [
        ("x-note: nothing", "error name: the template needs a name"),
        ("name:", "error name: the template needs a name"),
        (
            "name: 7",
            "error name: expected a text, found the number 7; put it in quotes",
        ),
        (
            "name: t\ntimeout_seconds: 0",
            "error timeout_seconds: expected a whole number from 1 to 2147483647, found the number 0",
        ),
        (
            "name: t\ntimeout_seconds: 1.5",
            "error timeout_seconds: expected a whole number from 1 to 2147483647, found the number 1.5",
        ),
        (
            "name: t\ntimeout_seconds: 1h",
            "error timeout_seconds: expected a whole number, found the text \"1h\"",
        ),
        (
            "name: t\nversion: 1.0",
            "error version: expected three numbers such as 1.0.0, found the number 1.0",
        ),
        (
            "name: t\nversion: 1.0.0-rc1",
            "error version: version \"1.0.0-rc1\" is not of the form x.y.z, three numbers without leading zeros such as 1.12.0",
        ),
        (
            "name: t\nnamespace: a\nnamespace_name: b",
            "error namespace: conflicts with its synonym namespace_name; give one of them",
        ),
        (
            "name: t\nidentity_strategy: custom",
            "error identity_strategy: unknown identity strategy \"custom\"; use one of unique, hash",
        ),
        (
            "name: t\nschema: [1]",
            "error schema: a JSON Schema is an object, or true or false",
        ),
        (
            "name: t\nconcurrent: false",
            "warning concurrent: has no effect: independent steps always run at the same time",
        ),
        (
            "name: t\nnamed_steps: [b]",
            "error steps[0].name: step \"a\" is missing from named_steps",
        ),
        (
            "name: t\nenvironments: [x]",
            "error environments: expected an object from environment name to overrides, found a list",
        ),
        (
            "name: t\nnamepace: x",
            "error namepace: unknown key \"namepace\"; write namespace",
        ),
        (
            "name: t\ntask_handler: [x]",
            "error task_handler: expected a text, found a list",
        ),
    ] {
        assert_eq!(problem(&with(top)), expected, "{top}");
    }
    assert_eq!(
        problem("[1, 2]"),
        "error : expected an object, found a list".replace(" : ", " ")
    );
    assert_eq!(
        problem("just text"),
        "error expected an object, found a text"
    );
    assert_eq!(problem(""), "error expected an object, found nothing");
    assert_eq!(
        problem("name: t\nsteps: {a: 1}\n").split(':').next(),
        Some("error steps")
    );
}

#[test]
fn a_step_needs_a_name_and_a_handler() {
    let one = |entry: &str| problems(&format!("name: t\nsteps: [{entry}]\n"));
    assert_eq!(
        one("{handler: H}"),
        ["error steps[0].name: the step needs a name"]
    );
    let missing = ["error steps[0].handler.callable: the step needs a handler"];
    assert_eq!(one("{name: a}"), missing);
    assert_eq!(one("{name: a, handler: {}}"), missing);
    assert_eq!(one("{name: a, handler: {callable: null}}"), missing);
    assert_eq!(
        one("{name: a, handler: {callable: ''}}"),
        ["error steps[0].handler.callable: handler is empty"]
    );
    assert_eq!(
        one("{name: a, handler: [H]}"),
        ["error steps[0].handler: expected a text, found a list"]
    );
    assert_eq!(
        one("a"),
        ["error steps[0]: expected an object, found a text"]
    );
}

#[test]
fn every_problem_is_reported_at_once() {
    let found = problems(
        "
version: one
steps:
  - {name: a, retry: {limit: -1}}
  - {name: a, handler: H, depends_on_step: z, colour: red}
  - {name: c, handler: H, timeout_seconds: soon, depends_on_steps: [d]}
  - {name: d, handler: H, depends_on_steps: [c]}
",
    );
    let paths: Vec<_> = found
        .iter()
        .filter_map(|one| one.split(": ").next())
        .collect();
    for path in [
        "error name",
        "error version",
        "error steps[0].retry.limit",
        "error steps[0].handler.callable",
        "error steps[1].name",
        "error steps[1].depends_on_step",
        "warning steps[1].colour",
        "error steps[2].timeout_seconds",
        "error steps[2].depends_on_steps[0]",
    ] {
        assert!(paths.contains(&path), "{path} in {found:#?}");
    }
    assert_eq!(found.len(), 9, "{found:#?}");
}

#[test]
fn names_and_descriptions_have_limits() {
    let long = |count: usize| "x".repeat(count);
    assert!(
        problems(&format!(
            "name: {}\nsteps: [{{name: {}, handler: H}}]",
            long(64),
            long(128)
        ))
        .is_empty()
    );
    assert!(
        problem(&format!(
            "name: {}\nsteps: [{{name: a, handler: H}}]",
            long(65)
        ))
        .contains("at most 64")
    );
    assert!(
        problem(&format!(
            "name: t\nsteps: [{{name: {}, handler: H}}]",
            long(129)
        ))
        .contains("at most 128")
    );
    assert!(problem(&step(&format!("description: {}", long(256)))).contains("at most 255"));
    assert!(problem(&step(&format!("dependent_system: {}", long(65)))).contains("at most 64"));
    assert!(problem(&step(&format!("queue: {}", long(65)))).contains("at most 64"));
}

#[test]
fn what_jsonb_cannot_hold_is_refused_before_it_gets_there() {
    let found = problem(&step("handler_config: {a: [\"x\\0\"]}"));
    assert!(
        found.starts_with("error steps[0].handler_config.a[0]: contains the character U+0000"),
        "{found}"
    );
    let text =
        r#"{"name":"t","steps":[{"name":"a","handler":"H","handler_config":{"n":1e200000}}]}"#;
    assert!(problem(text).contains("beyond the range of numeric"));
}

#[test]
fn a_dependency_in_both_keys_is_one_edge() {
    let text = "name: t
steps:
  - {name: a, handler: H}
  - {name: b, handler: H}
  - {name: c, handler: H, depends_on_step: a, depends_on_steps: [b, a]}
";
    assert_eq!(
        problem(text),
        "warning steps[2].depends_on_step: \"a\" is in the list of dependencies too"
    );
    assert_eq!(template(text).steps[2].depends_on, ["b", "a"]);
    let apart = text.replace("[b, a]", "[b]");
    assert_eq!(template(&apart).steps[2].depends_on, ["a", "b"]);
}

#[test]
fn identity_default_means_unique() {
    let text = format!("identity_strategy: default\n{}", step(""));
    assert_eq!(template(&text).identity_strategy, IdentityStrategy::Unique);
}

#[test]
fn an_identity_window_is_off_or_a_duration_and_needs_the_strategy_hash() {
    let with = |window: &str, strategy: &str| {
        format!(
            "name: t\nidentity_strategy: {strategy}\nidentity_window: {window}\nsteps: [{{name: a, handler: H}}]\n"
        )
    };
    for (text, window) in [
        ("off", Window::Off),
        ("90", Window::Seconds(90)),
        ("10 minutes", Window::Seconds(600)),
        ("", Window::Seconds(60)),
    ] {
        let read = template(&with(text, "hash"));
        assert_eq!(read.identity_window, window, "{text}");
        let again = template(&read.export().to_string());
        assert_eq!(again.identity_window, window, "{text}");
    }
    for (text, found) in [
        ("0", "the number 0"),
        ("1.5", "the number 1.5"),
        ("true", "true or false"),
        ("[1]", "a list"),
        ("1 week", "\"1 week\""),
    ] {
        assert_eq!(
            problem(&with(text, "hash")),
            format!(
                "error identity_window: expected off, a number of seconds or a text such as 10 minutes or 1 day, found {found}"
            )
        );
    }
    assert_eq!(
        problem(&with("60", "unique")),
        "warning identity_window: has no effect without identity_strategy: hash"
    );
}
