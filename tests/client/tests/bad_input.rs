//! Bad input: SQLSTATE, message, DETAIL and HINT, and nothing changed. Never XX000, never a panic, never half a batch.

use tasker_client_tests::session::Param;
use tasker_client_tests::worker::Ask;
use tasker_client_tests::{
    Claim, Database, Failure, Session, Template, Uuid, Value, inside, json, scaled, shapes,
};

/// A database with some work in it, and the means to see that nothing of it changes. Every complaint is collected, so
/// that one run shows them all; the test fails at its end.
struct Bad {
    session: Session,
    wrong: Vec<String>,
    _database: Database,
}

impl Drop for Bad {
    fn drop(&mut self) {
        if !self.wrong.is_empty() && !std::thread::panicking() {
            panic!("{} of these:\n{}", self.wrong.len(), self.wrong.join("\n"));
        }
    }
}

impl Bad {
    fn new() -> Self {
        let database = Database::new();
        let mut session = database.connect();
        shapes::linear().register(&mut session);
        shapes::wide("wide", 4).register(&mut session);
        Self {
            session,
            wrong: vec![],
            _database: database,
        }
    }

    /// Refused with this code and these words, in full sentences, and nothing has changed.
    fn refuses(&mut self, code: &str, words: &[&str], sql: &str, params: &[Param]) -> Failure {
        let before = inside::fingerprint(&mut self.session);
        let failure = match self.session.attempt_with(sql, params) {
            Ok(rows) => {
                self.wrong.push(format!("not refused, {rows} rows: {sql}"));
                return Failure {
                    code: code.to_owned(),
                    message: String::new(),
                    detail: String::new(),
                    hint: String::new(),
                };
            }
            Err(failure) => failure,
        };
        let all = failure.to_string();
        let mut complaints = vec![];
        if failure.code != code {
            complaints.push(format!("not {code}"));
        }
        if failure.message.is_empty() || failure.detail.is_empty() || failure.hint.is_empty() {
            complaints.push("without message, DETAIL or HINT".to_owned());
        }
        for word in words {
            if !all.to_lowercase().contains(&word.to_lowercase()) {
                complaints.push(format!("does not say {word:?}"));
            }
        }
        for leak in ["panicked", "unwrap", "called `", "SPI_", "tasker_engine."] {
            if all.contains(leak) {
                complaints.push(format!("speaks of the inside: {leak}"));
            }
        }
        if inside::fingerprint(&mut self.session) != before {
            complaints.push("something was changed".to_owned());
        }
        if !complaints.is_empty() {
            let shown: String = all.chars().take(400).collect();
            let complaint = format!("{}: {shown}", complaints.join(", "));
            // The same complaint about other values would only hide the rest.
            if !self.wrong.iter().any(|told| told.starts_with(&complaint)) {
                self.wrong.push(format!("{complaint}\n IN: {sql}"));
            }
        }
        failure
    }

    fn refuses_template(&mut self, words: &[&str], template: &Template) -> Failure {
        self.refuses(
            "42P17",
            words,
            "SELECT tasker.register_template($1)",
            &[&template.text()],
        )
    }
}

fn small() -> Template {
    Template::new("small")
        .step("first", &[])
        .step("second", &["first"])
}

// --- Templates: syntax.

#[test]
fn malformed_yaml_is_refused_with_line_and_column() {
    let mut bad = Bad::new();
    for (text, line) in [
        (
            "name: broken\nsteps:\n  - name: a\n   handler: b\n",
            "line 4",
        ),
        ("name: broken\nsteps: [a, b\n", "line"),
        ("name: \"broken\nsteps: []\n", "line"),
        ("name: broken\n\tsteps: []\n", "line"),
        ("name: broken\nsteps: *nowhere\n", "line 2"),
        ("name: one\nname: two\nsteps: []\n", "line 2"),
    ] {
        let failure = bad.refuses(
            "42601",
            &["yaml"],
            "SELECT tasker.register_template($1)",
            &[&text],
        );
        failure.detail_says(&[line, "column"]);
    }
}

#[test]
fn malformed_json_is_refused_with_line_and_column() {
    let mut bad = Bad::new();
    for (text, place) in [
        ("{\"name\": \"broken\", \"steps\": [}", "line 1, column 30"),
        (
            "{\"name\": \"broken\",\n \"steps\": [\n  {\"name\": a}]}",
            "line 3, column 12",
        ),
        ("{\"name\": \"broken\"", "line 1"),
        ("{\"name\": \"one\",\n \"name\": \"two\"}", "line 2"),
        ("{\"name\": }", "line 1"),
    ] {
        let failure = bad.refuses(
            "42601",
            &["json"],
            "SELECT tasker.register_template($1)",
            &[&text],
        );
        failure.detail_says(&[place]);
    }
}

#[test]
fn a_text_that_is_no_template_is_refused() {
    let mut bad = Bad::new();
    for text in [
        "",
        "   ",
        "just words",
        "- a\n- b\n",
        "42",
        "null",
        "[]",
        "{}",
        "---\n...\n",
    ] {
        let failure = bad
            .session
            .fails("SELECT tasker.register_template($1)", &[&text]);
        assert!(
            ["42P17", "42601"].contains(&failure.code.as_str()),
            "{text:?}: {failure}"
        );
        assert!(
            !failure.hint.is_empty() && !failure.detail.is_empty(),
            "{text:?}: {failure}"
        );
    }
}

#[test]
fn a_template_that_nests_or_repeats_without_end_is_refused_and_the_session_lives() {
    let mut bad = Bad::new();
    let deep_json = format!(
        "{{\"name\": \"deep\", \"steps\": {}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let deep_yaml = format!(
        "name: deep\nsteps: {}{}\n",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let laughs = (1..12).fold(
        "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(),
        |text, level| {
            let again = format!("*a{}", level - 1);
            text + &format!("a{level}: &a{level} [{}]\n", [again.as_str(); 9].join(", "))
        },
    );
    for text in [
        deep_json,
        deep_yaml,
        format!("{laughs}name: laughs\nsteps: *a11\n"),
    ] {
        let failure = bad
            .session
            .fails("SELECT tasker.register_template($1)", &[&text]);
        assert!(
            ["42P17", "42601"].contains(&failure.code.as_str()),
            "{failure}"
        );
    }
    assert_eq!(bad.session.count("SELECT 1", &[]), 1);
}

// --- Templates: content.

#[test]
fn a_cycle_is_refused_and_named() {
    let mut bad = Bad::new();
    bad.refuses_template(
        &["itself", "a -> a"],
        &Template::new("self").step("a", &["a"]),
    );
    bad.refuses_template(
        &["cycle", "a", "b", "->"],
        &Template::new("direct").step("a", &["b"]).step("b", &["a"]),
    );
    let failure = bad.refuses_template(
        &["cycle"],
        &Template::new("three")
            .step("root", &[])
            .step("a", &["root", "c"])
            .step("b", &["a"])
            .step("c", &["b"]),
    );
    let named = ["a -> b -> c -> a", "b -> c -> a -> b", "c -> a -> b -> c"];
    assert!(
        named.iter().any(|cycle| failure.message.contains(cycle)),
        "the cycle is not named: {failure}"
    );
}

#[test]
fn a_dependency_on_an_unknown_step_is_refused_with_both_names() {
    let mut bad = Bad::new();
    bad.refuses_template(
        &["\"second\"", "\"frist\""],
        &Template::new("dangling")
            .step("first", &[])
            .step("second", &["frist"]),
    )
    .says(&["did you mean", "first"]);
}

#[test]
fn a_step_or_an_edge_given_twice_is_refused() {
    let mut bad = Bad::new();
    bad.refuses_template(&["first", "taken"], &small().step("first", &[]));
    bad.refuses_template(
        &["twice", "first", "second"],
        &Template::new("edge")
            .step("first", &[])
            .step("second", &["first", "first"]),
    );
}

#[test]
fn a_template_without_steps_is_refused() {
    let mut bad = Bad::new();
    bad.refuses_template(&["step"], &Template::new("empty"));
}

#[test]
fn more_than_32767_steps_are_refused() {
    let mut bad = Bad::new();
    bad.refuses_template(&["32768", "32767"], &shapes::wide("many", 32_768));
}

#[test]
fn oversized_and_unusable_names_are_refused() {
    let mut bad = Bad::new();
    let long = |length: usize| "ä".repeat(length);
    bad.refuses_template(&["65", "64"], &small().with("name", json!(long(65))));
    bad.refuses_template(
        &["65", "64"],
        &small().with("namespace_name", json!(long(65))),
    );
    bad.refuses_template(
        &["256", "255"],
        &small().with("description", json!(long(256))),
    );
    bad.refuses_template(&["129", "128"], &small().step(&long(129), &[]));
    bad.refuses_template(
        &["65", "64"],
        &small().change("first", json!({"queue": long(65)})),
    );
    bad.refuses_template(
        &["65", "64"],
        &small().change("first", json!({"dependent_system": long(65)})),
    );
    bad.refuses_template(
        &["256", "255"],
        &small().change("first", json!({"handler": {"callable": long(256)}})),
    );
    bad.refuses_template(
        &["version"],
        &small().with("version", json!("1.0.0000000000000")),
    );
    for version in [
        "1",
        "1.0",
        "v1.0.0",
        "1.0.0-rc.1",
        "01.0.0",
        "1.0.0 ",
        "",
        "a.b.c",
    ] {
        bad.refuses_template(&["version"], &small().with("version", json!(version)));
    }
    bad.refuses_template(&["version"], &small().with("version", json!(1.0)));
    for name in ["", "   ", "a\nb"] {
        bad.refuses_template(&["name"], &small().with("name", json!(name)));
        bad.refuses_template(&["name"], &small().step(name, &[]));
    }
    // Exactly at the limit, counted in characters.
    small()
        .with("name", json!(long(64)))
        .with("namespace_name", json!(long(64)))
        .step(&long(128), &[])
        .register(&mut bad.session);
}

#[test]
fn template_values_out_of_range_are_refused_with_their_path() {
    let mut bad = Bad::new();
    for (fields, word) in [
        (json!({"default_retry_limit": -1}), "default_retry_limit"),
        (
            json!({"default_retry_limit": 40_000}),
            "default_retry_limit",
        ),
        (
            json!({"default_retry_limit": "three"}),
            "default_retry_limit",
        ),
        (json!({"default_retryable": "maybe"}), "default_retryable"),
        (json!({"timeout_seconds": -5}), "timeout_seconds"),
        (json!({"priority": 9}), "priority"),
        (json!({"priority": "sometimes"}), "priority"),
        (json!({"retry": {"backoff": "quadratic"}}), "backoff"),
        (json!({"retry": {"backoff_base_ms": -1}}), "backoff_base_ms"),
        (json!({"retry": {"max_backoff_ms": 1.5}}), "max_backoff_ms"),
        (json!({"retry": {"jitter": 2}}), "jitter"),
        (json!({"handler": 5}), "handler"),
        (json!({"handler": {"callable": ""}}), "handler"),
        (
            json!({"depends_on_steps": "first second"}),
            "depends_on_steps",
        ),
        (json!({"results_schema": {"type": 5}}), "results_schema"),
        (
            json!({"custom_events": [{"name": "task.mine"}]}),
            "custom_events",
        ),
        (
            json!({"custom_events": [{"name": "nodot"}]}),
            "custom_events",
        ),
    ] {
        bad.refuses_template(&[word, "steps[1]"], &small().change("second", fields));
    }
    bad.refuses_template(
        &["input_schema"],
        &small().with("input_schema", json!({"type": "nothing"})),
    );
    bad.refuses_template(
        &["identity_strategy"],
        &small().with("identity_strategy", json!("guess")),
    );
    bad.refuses_template(&["steps"], &small().with("steps", json!({"first": {}})));
}

#[test]
fn every_problem_of_a_template_is_told_at_once() {
    let mut bad = Bad::new();
    let template = Template::new("bad")
        .step("a", &["nowhere"])
        .step("a", &[])
        .with("version", json!("1"));
    let failure = bad.refuses_template(&["nowhere", "taken", "version"], &template);
    assert!(failure.detail.lines().count() >= 3, "{failure}");
    let rows = bad.session.query(
        "SELECT severity, path, message FROM tasker.validate_template($1)",
        &[&template.text()],
    );
    assert!(rows.len() >= 3, "{}", rows.len());
    assert!(
        rows.iter()
            .all(|row| row.get::<_, String>("severity") == "error")
    );
    let rows = bad
        .session
        .query("SELECT * FROM tasker.validate_template('name: [')", &[]);
    assert_eq!(rows.len(), 1);
    let rows = bad.session.query(
        "SELECT * FROM tasker.validate_template($1) WHERE severity = 'error'",
        &[&small().text()],
    );
    assert_eq!(rows.len(), 0);
}

#[test]
fn a_version_registered_with_another_content_or_changed_while_in_use_is_refused() {
    let mut bad = Bad::new();
    bad.refuses(
        "23505",
        &["default.linear@0.1.0", "registered already"],
        "SELECT tasker.register_template($1)",
        &[&shapes::linear().step("more", &[]).text()],
    );
    bad.session.create("linear");
    let changed = shapes::linear().step("more", &[]).text();
    bad.refuses(
        "55000",
        &["default.linear@0.1.0", "used", "version"],
        "SELECT tasker.register_template($1, true)",
        &[&changed],
    );
}

// --- Creating tasks.

#[test]
fn an_unknown_template_namespace_or_version_is_named() {
    let mut bad = Bad::new();
    bad.refuses(
        "P0002",
        &["\"nothing\"", "\"default\""],
        "SELECT tasker.create_task('nothing')",
        &[],
    );
    bad.refuses(
        "P0002",
        &["\"linear\"", "\"elsewhere\""],
        "SELECT tasker.create_task('linear', namespace => 'elsewhere')",
        &[],
    );
    bad.refuses(
        "P0002",
        &["\"linear\"", "9.9.9", "0.1.0"],
        "SELECT tasker.create_task('linear', version => '9.9.9')",
        &[],
    );
    bad.refuses(
        "P0002",
        &["\"linear\"", "9.9.9"],
        "SELECT * FROM tasker.create_tasks('linear', ARRAY['{}'::jsonb], version => '9.9.9')",
        &[],
    );
    bad.refuses(
        "P0002",
        &["\"nothing\""],
        "SELECT tasker.export_template('nothing')",
        &[],
    );
    bad.refuses(
        "P0002",
        &["\"Linear\""],
        "SELECT tasker.create_task('Linear')",
        &[],
    );
    let long = "x".repeat(100_000);
    let failure = bad.refuses("P0002", &[], "SELECT tasker.create_task($1)", &[&long]);
    assert!(
        failure.message.len() < 1000,
        "the message repeats {} bytes of the input",
        failure.message.len()
    );
}

#[test]
fn a_context_that_is_no_object_is_refused() {
    let mut bad = Bad::new();
    for context in ["[]", "[{}]", "\"text\"", "7", "true", "null"] {
        let call = format!("SELECT tasker.create_task('linear', '{context}')");
        bad.refuses("23514", &["context", "object"], &call, &[]);
        let call = format!(
            "SELECT * FROM tasker.create_tasks('linear', ARRAY['{{}}', '{context}']::jsonb[])"
        );
        bad.refuses("23514", &["contexts[2]", "object"], &call, &[]);
    }
    // An empty object is one.
    bad.session.create_with("linear", &json!({}));
}

#[test]
fn a_context_that_breaks_the_schema_is_refused_with_every_path() {
    let mut bad = Bad::new();
    let schema = json!({
        "type": "object", "required": ["id", "lines"],
        "properties": {
            "id": {"type": "integer", "minimum": 1},
            "lines": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["sku"],
                      "properties": {"sku": {"type": "string"}, "count": {"type": "integer"}}}},
        },
    });
    small()
        .with("name", json!("typed"))
        .with("input_schema", schema)
        .register(&mut bad.session);
    for (context, words) in [
        (json!({}), vec!["id", "lines"]),
        (
            json!({"id": "x", "lines": [{"sku": "a"}]}),
            vec!["context.id"],
        ),
        (
            json!({"id": 0, "lines": []}),
            vec!["context.id", "context.lines"],
        ),
        (
            json!({"id": 1, "lines": [{"sku": "a"}, {"sku": 5, "count": 1.5}]}),
            vec!["context.lines[1].sku", "context.lines[1].count"],
        ),
        (
            json!({"id": 1, "lines": [{}]}),
            vec!["context.lines[0]", "sku"],
        ),
    ] {
        bad.refuses(
            "23514",
            &words,
            "SELECT tasker.create_task('typed', $1)",
            &[&context],
        )
        .hint_says(&["input_schema", "default.typed@0.1.0"]);
    }
    bad.session.create_with(
        "typed",
        &json!({"id": 1, "lines": [{"sku": "a", "count": 3}]}),
    );
}

#[test]
fn values_of_create_task_out_of_range_are_refused() {
    let mut bad = Bad::new();
    for priority in [0, 5, -1, i32::MAX, i32::MIN] {
        bad.refuses(
            "22023",
            &["priority"],
            "SELECT tasker.create_task('linear', priority => $1)",
            &[&priority],
        );
    }
    for parameter in ["initiator", "source_system", "reason"] {
        let call = format!("SELECT tasker.create_task('linear', {parameter} => repeat('x', 129))");
        bad.refuses("22023", &[parameter, "128"], &call, &[]);
    }
    bad.refuses(
        "22023",
        &["tags", "array"],
        "SELECT tasker.create_task('linear', tags => '{\"a\": 1}')",
        &[],
    );
    bad.refuses(
        "22023",
        &["bypass_steps", "array"],
        "SELECT tasker.create_task('linear', bypass_steps => '\"a\"')",
        &[],
    );
    bad.refuses("22023", &["idempotency_keys", "2", "1"],
        "SELECT * FROM tasker.create_tasks('linear', ARRAY['{}', '{}']::jsonb[], idempotency_keys => '{a}')", &[]);
}

#[test]
fn a_bypass_of_what_cannot_be_skipped_is_refused() {
    let mut bad = Bad::new();
    for steps in ["[\"nowhere\"]", "[\"process_data\"]", "[1]"] {
        let call = format!("SELECT tasker.create_task('linear', bypass_steps => '{steps}')");
        bad.refuses("22023", &["bypass_steps[1]"], &call, &[]);
        let call = format!(
            "SELECT * FROM tasker.create_tasks('linear', ARRAY['{{}}'::jsonb], bypass_steps => '{steps}')"
        );
        bad.refuses("22023", &["bypass_steps[1]"], &call, &[]);
    }
}

/// Every function with every parameter that has no NULL default, and a valid value for it.
const REQUIRED: &[(&str, &[(&str, &str)])] = &[
    (
        "register_template",
        &[("template", "'name: x'"), ("replace", "false")],
    ),
    ("validate_template", &[("template", "'name: x'")]),
    (
        "export_template",
        &[("name", "'linear'"), ("namespace", "'default'")],
    ),
    (
        "create_task",
        &[
            ("name", "'linear'"),
            ("context", "'{}'"),
            ("namespace", "'default'"),
            ("initiator", "'a'"),
            ("source_system", "'a'"),
            ("reason", "'a'"),
            ("tags", "'[]'"),
            ("bypass_steps", "'[]'"),
            ("priority", "2"),
        ],
    ),
    (
        "create_tasks",
        &[
            ("name", "'linear'"),
            ("contexts", "'{}'"),
            ("namespace", "'default'"),
            ("initiator", "'a'"),
            ("source_system", "'a'"),
            ("reason", "'a'"),
            ("tags", "'[]'"),
            ("bypass_steps", "'[]'"),
            ("priority", "2"),
        ],
    ),
    (
        "claim_steps",
        &[
            ("worker_id", "'w'"),
            ("namespaces", "'{default}'"),
            ("max_steps", "1"),
            ("lease", "'1 s'"),
            ("dependency_results", "'none'"),
        ],
    ),
    (
        "report_and_claim",
        &[
            ("worker_id", "'w'"),
            ("reports", "'[]'"),
            ("namespaces", "'{default}'"),
            ("max_steps", "1"),
            ("lease", "'1 s'"),
            ("dependency_results", "'none'"),
        ],
    ),
    (
        "complete_step",
        &[
            ("step_uuid", "$step"),
            ("claim_number", "1"),
            ("results", "'{}'"),
        ],
    ),
    (
        "fail_step",
        &[
            ("step_uuid", "$step"),
            ("claim_number", "1"),
            ("error_message", "'x'"),
            ("retryable", "true"),
        ],
    ),
    ("report_steps", &[("worker_id", "'w'"), ("reports", "'[]'")]),
    ("heartbeat", &[("worker_id", "'w'"), ("lease", "'1 s'")]),
    ("release_steps", &[("worker_id", "'w'")]),
    ("get_dependency_results", &[("step_uuid", "$step")]),
    ("cancel_task", &[("task_uuid", "$task")]),
    ("retry_task", &[("task_uuid", "$task")]),
    ("resolve_task_manually", &[("task_uuid", "$task")]),
    ("resolve_step_manually", &[("step_uuid", "$step")]),
    (
        "retry_step",
        &[("step_uuid", "$step"), ("reset_attempts", "true")],
    ),
    ("cancel_step", &[("step_uuid", "$step")]),
    (
        "set_retry_limit",
        &[("step_uuid", "$step"), ("retry_limit", "5")],
    ),
    ("pause_namespace", &[("name", "'default'")]),
    ("resume_namespace", &[("name", "'default'")]),
    (
        "transition_task",
        &[
            ("task_uuid", "$task"),
            ("to_state", "'error'"),
            ("metadata", "'{}'"),
        ],
    ),
    (
        "transition_step",
        &[
            ("step_uuid", "$step"),
            ("to_state", "'error'"),
            ("metadata", "'{}'"),
        ],
    ),
    (
        "try_transition_task",
        &[
            ("task_uuid", "$task"),
            ("to_state", "'error'"),
            ("metadata", "'{}'"),
        ],
    ),
    (
        "try_transition_step",
        &[
            ("step_uuid", "$step"),
            ("to_state", "'error'"),
            ("metadata", "'{}'"),
        ],
    ),
    ("get_step_readiness_status", &[("task_uuid", "$task")]),
    (
        "get_step_readiness_status_batch",
        &[("task_uuids", "ARRAY[$task]")],
    ),
    ("get_task_execution_context", &[("task_uuid", "$task")]),
    (
        "get_task_execution_contexts_batch",
        &[("task_uuids", "ARRAY[$task]")],
    ),
    ("calculate_dependency_levels", &[("task_uuid", "$task")]),
    (
        "analyze_template",
        &[("name", "'linear'"), ("namespace", "'default'")],
    ),
    (
        "template_graph",
        &[("name", "'linear'"), ("namespace", "'default'")],
    ),
    ("analyze_task", &[("task_uuid", "$task")]),
    ("task_schedule", &[("task_uuid", "$task")]),
    ("task_critical_path", &[("task_uuid", "$task")]),
    ("task_bottlenecks", &[("task_uuid", "$task")]),
    ("task_error_chains", &[("task_uuid", "$task")]),
    ("task_parallelism", &[("task_uuid", "$task")]),
    ("task_blockers", &[("task_uuid", "$task")]),
    ("calculate_backoff", &[("attempt", "1")]),
    (
        "task_diagram",
        &[("task_uuid", "$task"), ("format", "'dot'")],
    ),
    (
        "template_diagram",
        &[
            ("name", "'linear'"),
            ("namespace", "'default'"),
            ("format", "'dot'"),
        ],
    ),
    (
        "claim_task_for_finalization",
        &[
            ("task_uuid", "$task"),
            ("processor_id", "'p'"),
            ("timeout_seconds", "30"),
        ],
    ),
    (
        "extend_finalization_claim",
        &[
            ("task_uuid", "$task"),
            ("processor_id", "'p'"),
            ("timeout_seconds", "30"),
        ],
    ),
    (
        "release_finalization_claim",
        &[("task_uuid", "$task"), ("processor_id", "'p'")],
    ),
    ("finalize_task", &[("task_uuid", "$task")]),
];

#[test]
fn null_for_a_required_parameter_is_22004_and_names_it() {
    let mut bad = Bad::new();
    let task = bad.session.create("linear");
    let step = bad.session.step(task, "initialize_data");
    let mut wrong = vec![];
    for (function, parameters) in REQUIRED {
        for (missing, _) in *parameters {
            let arguments: Vec<String> = parameters
                .iter()
                .map(|(name, value)| {
                    format!("{name} => {}", if name == missing { "NULL" } else { value })
                })
                .collect();
            let call = format!("SELECT * FROM tasker.{function}({})", arguments.join(", "))
                .replace("$task", &format!("'{task}'::uuid"))
                .replace("$step", &format!("'{step}'::uuid"));
            let before = inside::fingerprint(&mut bad.session);
            match bad.session.attempt_rows(&call) {
                Ok(rows) => wrong.push(format!("{function}({missing}): {rows} rows")),
                Err(failure) if failure.code != "22004" || !failure.message.contains(missing) => {
                    wrong.push(format!("{function}({missing}): {failure}"));
                }
                Err(failure) if failure.hint.is_empty() && failure.detail.is_empty() => {
                    wrong.push(format!("{function}({missing}): neither DETAIL nor HINT"));
                }
                Err(_) => {}
            }
            assert_eq!(
                inside::fingerprint(&mut bad.session),
                before,
                "changed by: {call}"
            );
        }
    }
    bad.wrong.extend(wrong);
}

#[test]
fn null_inside_an_array_is_22004() {
    let mut bad = Bad::new();
    for call in [
        "SELECT * FROM tasker.create_tasks('linear', ARRAY['{}'::jsonb, NULL])",
        "SELECT * FROM tasker.claim_steps('w', ARRAY['default', NULL])",
        "SELECT * FROM tasker.claim_steps('w', queues => ARRAY[NULL]::text[])",
        "SELECT * FROM tasker.report_and_claim('w', namespaces => ARRAY[NULL]::text[])",
        "SELECT * FROM tasker.report_and_claim('w', queues => ARRAY['a', NULL])",
        "SELECT * FROM tasker.get_step_readiness_status_batch(ARRAY[NULL]::uuid[])",
        "SELECT * FROM tasker.get_task_execution_contexts_batch(ARRAY[NULL]::uuid[])",
    ] {
        bad.refuses("22004", &["null"], call, &[]);
    }
}

// --- Claims.

#[test]
fn a_lease_must_be_positive_and_at_most_a_day() {
    let mut bad = Bad::new();
    bad.session.create_many("linear", 10);
    for lease in [
        "0",
        "-1 second",
        "-1 day",
        "1 day 1 microsecond",
        "25 hours",
        "1 month",
        "1 day -1 month",
        "170000000 years",
        "-170000000 years",
    ] {
        for call in [
            "SELECT * FROM tasker.claim_steps('w', lease => $1::text::interval)",
            "SELECT * FROM tasker.report_and_claim('w', lease => $1::text::interval)",
            "SELECT * FROM tasker.heartbeat('w', lease => $1::text::interval)",
        ] {
            bad.refuses("22023", &["lease", "1 day"], call, &[&lease]);
        }
    }
    for lease in ["1 day", "24 hours", "1 microsecond"] {
        assert_eq!(
            bad.session
                .claim(&Ask {
                    lease,
                    ..Ask::default()
                })
                .len(),
            1,
            "{lease}"
        );
    }
}

#[test]
fn a_batch_must_be_1_to_10000() {
    let mut bad = Bad::new();
    bad.session.create_many("linear", 3);
    for most in [0, -1, 10_001, i32::MAX, i32::MIN] {
        for call in [
            "SELECT * FROM tasker.claim_steps('w', max_steps => $1)",
            "SELECT * FROM tasker.report_and_claim('w', max_steps => $1)",
        ] {
            bad.refuses("22023", &["max_steps", "10000"], call, &[&most]);
        }
    }
    assert_eq!(bad.session.claim(&Ask::by("w", 10_000)).len(), 3);
}

#[test]
fn a_worker_without_a_name_is_refused() {
    let mut bad = Bad::new();
    bad.session.create_many("linear", 3);
    for worker in ["".to_owned(), "   ".to_owned(), "x".repeat(256)] {
        for call in [
            "SELECT * FROM tasker.claim_steps($1)",
            "SELECT * FROM tasker.report_and_claim($1)",
            "SELECT * FROM tasker.report_steps($1, '[]')",
            "SELECT * FROM tasker.heartbeat($1)",
            "SELECT tasker.release_steps($1)",
        ] {
            bad.refuses("22023", &["worker_id"], call, &[&worker]);
        }
    }
}

#[test]
fn an_unknown_form_of_dependency_results_is_refused() {
    let mut bad = Bad::new();
    for form in ["", "all", "PARENTS", "children"] {
        bad.refuses(
            "22023",
            &["dependency_results", "ancestors"],
            "SELECT * FROM tasker.claim_steps('w', dependency_results => $1)",
            &[&form],
        );
    }
}

#[test]
fn an_unknown_namespace_queue_or_worker_gives_no_rows_and_no_error() {
    let mut bad = Bad::new();
    bad.session.create("linear");
    for ask in [
        Ask {
            namespaces: vec!["nowhere"],
            ..Ask::default()
        },
        Ask {
            namespaces: vec![],
            ..Ask::default()
        },
        Ask {
            queues: Some(vec!["nowhere"]),
            ..Ask::default()
        },
        Ask {
            queues: Some(vec![]),
            ..Ask::default()
        },
    ] {
        assert!(bad.session.claim(&ask).is_empty());
    }
    assert_eq!(
        bad.session
            .query("SELECT * FROM tasker.heartbeat('never seen')", &[])
            .len(),
        0
    );
    assert_eq!(
        bad.session
            .count("SELECT tasker.release_steps('never seen')", &[]),
        0
    );
}

// --- Reports.

fn claimed(bad: &mut Bad) -> Vec<Claim> {
    bad.session.create("wide");
    bad.session.claim(&Ask::by("worker", 4))
}

/// The uuids that name no step: nil, random, a task's own, and ordinals that are out of range.
fn unknown_steps(task: Uuid) -> Vec<Uuid> {
    [5, 0x7fff, 0x8000, 0x8001, 0xffff]
        .map(|ordinal| Uuid::from_u128(task.as_u128() + ordinal))
        .into_iter()
        .chain([
            Uuid::nil(),
            Uuid::max(),
            task,
            Uuid::from_u128(fastrand::u128(..)),
        ])
        .collect()
}

#[test]
fn an_unknown_step_is_p0002_wherever_it_is_named() {
    let mut bad = Bad::new();
    let task = claimed(&mut bad)[0].task;
    let calls = [
        "SELECT tasker.complete_step($1, 1)",
        "SELECT tasker.fail_step($1, 1, 'x')",
        "SELECT tasker.get_dependency_results($1)",
        "SELECT tasker.resolve_step_manually($1)",
        "SELECT tasker.retry_step($1)",
        "SELECT tasker.cancel_step($1)",
        "SELECT tasker.set_retry_limit($1, 5)",
        "SELECT tasker.transition_step($1, 'cancelled')",
        "SELECT tasker.try_transition_step($1, 'cancelled')",
    ];
    for step in unknown_steps(task) {
        for call in calls {
            bad.refuses("P0002", &[&step.to_string()], call, &[&step]);
        }
    }
}

#[test]
fn an_unknown_task_is_p0002_for_writes_and_scalar_reads() {
    let mut bad = Bad::new();
    let step = claimed(&mut bad)[0].step;
    let calls = [
        "SELECT tasker.cancel_task($1)",
        "SELECT tasker.retry_task($1)",
        "SELECT tasker.resolve_task_manually($1)",
        "SELECT tasker.transition_task($1, 'cancelled')",
        "SELECT tasker.try_transition_task($1, 'cancelled')",
        "SELECT tasker.task_diagram($1)",
        "SELECT tasker.analyze_task($1)",
    ];
    for task in [Uuid::nil(), Uuid::max(), step, Uuid::now_v7()] {
        for call in calls {
            bad.refuses("P0002", &[&task.to_string()], call, &[&task]);
        }
    }
}

#[test]
fn an_unknown_task_gives_no_row_to_reads_of_sets() {
    let mut bad = Bad::new();
    let step = claimed(&mut bad)[0].step;
    for task in [Uuid::nil(), Uuid::max(), step, Uuid::now_v7()] {
        for function in [
            "get_step_readiness_status",
            "get_task_execution_context",
            "calculate_dependency_levels",
        ] {
            let rows = bad
                .session
                .query(&format!("SELECT * FROM tasker.{function}($1)"), &[&task]);
            assert_eq!(rows.len(), 0, "{function}({task})");
        }
        for function in [
            "get_step_readiness_status_batch",
            "get_task_execution_contexts_batch",
        ] {
            let rows = bad.session.query(
                &format!("SELECT * FROM tasker.{function}(ARRAY[$1::uuid])"),
                &[&task],
            );
            assert_eq!(rows.len(), 0, "{function}({task})");
            let rows = bad
                .session
                .query(&format!("SELECT * FROM tasker.{function}('{{}}')"), &[]);
            assert_eq!(rows.len(), 0, "{function}");
        }
    }
}

#[test]
fn a_stale_report_is_55006_and_says_what_to_do() {
    let mut bad = Bad::new();
    let claims = claimed(&mut bad);
    for number in [0, 2, -1, i32::MAX, i32::MIN] {
        for call in [
            "SELECT tasker.complete_step($1, $2)",
            "SELECT tasker.fail_step($1, $2, 'x')",
        ] {
            let step = claims[0].step;
            bad.refuses(
                "55006",
                &["stale", &step.to_string()],
                call,
                &[&step, &number],
            );
        }
    }
    // Never claimed: it has no claim number.
    let task = bad.session.create("linear");
    let step = bad.session.step(task, "initialize_data");
    bad.refuses(
        "55006",
        &["stale"],
        "SELECT tasker.complete_step($1, 0)",
        &[&step],
    );
}

#[test]
fn a_report_for_a_cancelled_task_is_55006() {
    let mut bad = Bad::new();
    let claims = claimed(&mut bad);
    bad.session
        .query("SELECT tasker.cancel_task($1)", &[&claims[0].task]);
    for claim in &claims {
        bad.refuses(
            "55006",
            &["stale"],
            "SELECT tasker.complete_step($1, $2)",
            &[&claim.step, &claim.number],
        );
        bad.refuses(
            "55006",
            &["stale"],
            "SELECT tasker.fail_step($1, $2, 'x')",
            &[&claim.step, &claim.number],
        );
    }
}

#[test]
fn results_that_are_no_object_are_refused() {
    let mut bad = Bad::new();
    let claims = claimed(&mut bad);
    for results in ["[]", "\"text\"", "7", "true", "null"] {
        for call in [
            format!("SELECT tasker.complete_step($1, $2, '{results}')"),
            format!("SELECT tasker.fail_step($1, $2, 'x', results => '{results}')"),
        ] {
            bad.refuses(
                "23514",
                &["results", "object"],
                &call,
                &[&claims[0].step, &claims[0].number],
            );
        }
    }
    bad.session.fail_for_good(&claims[1]);
    bad.refuses(
        "23514",
        &["results", "object"],
        "SELECT tasker.resolve_step_manually($1, '[1]')",
        &[&claims[1].step],
    );
}

#[test]
fn results_that_break_their_schema_are_refused_and_the_step_stays_held() {
    let mut bad = Bad::new();
    let schema = json!({"type": "object", "required": ["total"], "properties": {"total": {"type": "integer"}}});
    Template::new("typed")
        .step_with("only", &[], json!({"results_schema": schema}))
        .register(&mut bad.session);
    let task = bad.session.create("typed");
    let claim = bad.session.claim_one("worker");
    for results in [json!({}), json!({"total": "much"})] {
        bad.refuses(
            "23514",
            &["total", "results_schema"],
            "SELECT tasker.complete_step($1, $2, $3)",
            &[&claim.step, &claim.number, &results],
        );
    }
    let outcome: String = bad.session.one(
        "SELECT outcome FROM tasker.report_steps('worker', $1)",
        &[&json!([claim.done(json!({}))])],
    );
    assert_eq!(outcome, "invalid");
    assert_eq!(bad.session.step_state(task, "only"), "in_progress");
    bad.session.complete(&claim, &json!({"total": 3}));
    assert_eq!(bad.session.task_state(task), "complete");
}

#[test]
fn reports_that_are_no_array_are_refused() {
    let mut bad = Bad::new();
    claimed(&mut bad);
    for reports in ["{}", "{\"step_uuid\": 1}", "\"x\"", "7", "null", "true"] {
        for function in ["report_steps", "report_and_claim"] {
            let call = format!("SELECT * FROM tasker.{function}('w', '{reports}')");
            bad.refuses("22023", &["reports", "array"], &call, &[]);
        }
    }
}

/// Elements that cannot be read, each of them built around a step that the worker holds.
fn unreadable(claim: &Claim) -> Vec<Value> {
    let good = claim.done(json!({}));
    let with = |field: &str, value: Value| {
        let mut element = good.clone();
        element[field] = value;
        element
    };
    let without = |field: &str| {
        let mut element = good.clone();
        element.as_object_mut().expect("an object").remove(field);
        element
    };
    let failed = |field: &str, value: Value| {
        let mut element = claim.failed(true);
        element[field] = value;
        element
    };
    vec![
        json!(null),
        json!(7),
        json!("text"),
        json!(true),
        json!([]),
        json!({}),
        without("step_uuid"),
        without("claim_number"),
        without("status"),
        with("step_uuid", json!("not a uuid")),
        with("step_uuid", json!(format!(" {}", claim.step))),
        with("step_uuid", json!(format!("{}\n", claim.step))),
        with("step_uuid", json!(5)),
        with("step_uuid", json!({})),
        with("step_uuid", json!(null)),
        with("claim_number", json!("one")),
        with("claim_number", json!(1.5)),
        with("claim_number", json!(1e30)),
        with("claim_number", json!(null)),
        with("claim_number", json!([1])),
        with("claim_number", json!("1")),
        with("claim_number", json!(true)),
        with("status", json!("done")),
        with("status", json!(1)),
        with("status", json!(null)),
        with("results", json!([])),
        with("results", json!("text")),
        with("results", json!(3)),
        failed("retryable", json!("perhaps")),
        failed("retryable", json!("true")),
        failed("retryable", json!(1)),
        failed("retry_after_seconds", json!("5")),
        failed("retry_after_seconds", json!("soon")),
        failed("retry_after_seconds", json!("NaN")),
        failed("retry_after_seconds", json!({})),
        failed("results", json!([1])),
    ]
}

#[test]
fn a_bad_element_gets_an_outcome_of_its_own_and_spoils_no_other() {
    let mut bad = Bad::new();
    for round in 0..2 {
        let claims = claimed(&mut bad);
        let elements = unreadable(&claims[0]);
        let unknown = unknown_steps(claims[0].task);
        // Good, bad, bad, ..., good: in one call.
        let mut reports = vec![claims[1].done(json!({"a": 1}))];
        let mut wanted = vec!["complete"];
        for element in &elements {
            reports.push(element.clone());
            wanted.push("invalid");
        }
        for step in &unknown {
            reports.push(
                json!({"step_uuid": step.to_string(), "claim_number": 1, "status": "complete"}),
            );
            wanted.push("unknown_step");
        }
        let mut stale = claims[2].done(json!({}));
        stale["claim_number"] = json!(9);
        reports.extend([
            stale,
            claims[2].failed(false),
            claims[3].done(json!({})),
            claims[3].done(json!({"second": true})),
        ]);
        // Of two elements for one step the first wins, whatever it says: step 2's good report comes second.
        wanted.extend(["stale", "stale", "complete", "duplicate"]);
        if round == 0 {
            let outcomes: Vec<String> = bad.session.all(
                "SELECT outcome FROM tasker.report_steps('worker', $1)",
                &[&Value::Array(reports.clone())],
            );
            assert_eq!(outcomes, wanted);
            let uuids: Vec<Option<Uuid>> = bad.session.all(
                "SELECT step_uuid FROM tasker.report_steps('worker', $1)",
                &[&Value::Array(reports)],
            );
            assert_eq!(uuids[0], Some(claims[1].step));
            assert_eq!(uuids[1], None, "an element without a uuid");
            assert_eq!(uuids[8], Some(claims[0].step), "a readable uuid is told");
        } else {
            let (refused, _) = bad.session.report_and_claim(
                &Ask {
                    namespaces: vec![],
                    ..Ask::by("worker", 1)
                },
                &reports,
            );
            let refused: Vec<String> = refused.into_iter().map(|(outcome, _)| outcome).collect();
            let wanted: Vec<&str> = wanted
                .into_iter()
                .filter(|outcome| *outcome != "complete")
                .collect();
            assert_eq!(refused, wanted);
        }
        let mut steps = bad.session.steps(claims[0].task);
        steps.sort();
        assert_eq!(
            steps,
            [
                "step_1 in_progress/1",
                "step_2 complete/1",
                "step_3 in_progress/1",
                "step_4 complete/1"
            ]
        );
        // Nothing of the refused ones stuck: they can still be reported.
        bad.session.complete(&claims[0], &json!({}));
        bad.session.complete(&claims[2], &json!({}));
        assert_eq!(bad.session.task_state(claims[0].task), "complete");
    }
}

#[test]
fn a_whole_number_counts_however_it_is_written_and_no_other_type_does() {
    let mut bad = Bad::new();
    let claims = claimed(&mut bad);
    let reports: Vec<String> = ["1", "1.0", "1e0", "10e-1"]
        .iter()
        .zip(&claims)
        .map(|(number, claim)| {
            format!(
                r#"{{"step_uuid": "{}", "claim_number": {number}, "status": "error", "retry_after_seconds": 1e0, "retryable": true}}"#,
                claim.step
            )
        })
        .collect();
    let outcomes: Vec<String> = bad.session.all(
        "SELECT outcome FROM tasker.report_steps('worker', $1::text::jsonb)",
        &[&format!("[{}]", reports.join(", "))],
    );
    assert_eq!(outcomes, ["error"; 4]);
    let claims = claimed(&mut bad);
    let steps = |index: usize, number: &str| {
        format!(
            r#"[{{"step_uuid": "{}", "claim_number": {number}}}]"#,
            claims[index].step
        )
    };
    for wrong in ["\"1\"", "1.5", "true", "null", "[1]", "1e30"] {
        bad.refuses(
            "22023",
            &["steps", "Element 1"],
            "SELECT tasker.release_steps('worker', $1::text::jsonb)",
            &[&steps(0, wrong)],
        );
    }
    for (index, number) in ["1", "1.0", "1e0", "10e-1"].iter().enumerate() {
        let released: i32 = bad.session.one(
            "SELECT tasker.release_steps('worker', $1::text::jsonb)",
            &[&steps(index, number)],
        );
        assert_eq!(released, 1, "{number}");
    }
}

#[test]
fn a_misspelled_key_makes_an_element_invalid_and_is_named() {
    let mut bad = Bad::new();
    let claims = claimed(&mut bad);
    for (key, known) in [
        ("clam_number", "claim_number"),
        ("result", "results"),
        ("Results", "results"),
        ("error_mesage", "error_message"),
        ("retry_after_second", "retry_after_seconds"),
        ("retriable", "retryable"),
        ("step_uid", "step_uuid"),
    ] {
        let mut element = claims[0].failed(false);
        element["results"] = json!({"a": 1});
        let value = element.as_object_mut().and_then(|all| all.remove(known));
        element[key] = value.unwrap_or(json!(5));
        bad.session.take_notices();
        let outcomes: Vec<String> = bad.session.all(
            "SELECT outcome FROM tasker.report_steps('worker', $1)",
            &[&json!([{"more": 1}, element, claims[1].done(json!({}))])],
        );
        assert_eq!(outcomes[..2], ["invalid"; 2], "{key}");
        let told = bad.session.take_notices();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].contains("element 2") && told[0].ends_with(key),
            "{told:?}"
        );
    }
    // Other keys are the caller's own.
    let mut element = claims[0].done(json!({}));
    for key in [
        "note",
        "message",
        "worker",
        "a",
        "",
        "step_name",
        "x\u{1F980}",
    ] {
        element[key] = json!({"results": 1});
    }
    let outcomes: Vec<String> = bad.session.all(
        "SELECT outcome FROM tasker.report_steps('worker', $1)",
        &[&json!([element])],
    );
    assert_eq!(outcomes, ["complete"]);
    assert_eq!(bad.session.take_notices(), [""; 0]);
}

#[test]
fn elements_can_lack_documented_fields_and_have_others() {
    let mut bad = Bad::new();
    let claims = claimed(&mut bad);
    let reports = json!([
        {"step_uuid": claims[0].step.to_string(), "claim_number": claims[0].number, "status": "complete"},
        {"step_uuid": claims[1].step.to_string(), "claim_number": claims[1].number, "status": "complete", "results": null, "more": [1]},
        {"step_uuid": claims[2].step.to_string(), "claim_number": claims[2].number, "status": "error"},
        {"step_uuid": claims[3].step.to_string(), "claim_number": claims[3].number, "status": "error", "retry_after_seconds": -5,
         "error_message": "x", "error_class": null, "backtrace": null, "retryable": null},
    ]);
    let outcomes: Vec<String> = bad.session.all(
        "SELECT outcome FROM tasker.report_steps('worker', $1)",
        &[&reports],
    );
    assert_eq!(outcomes, ["complete", "complete", "error", "error"]);
    assert_eq!(bad.session.steps(claims[0].task).len(), 4);
}

// --- Operators.

#[test]
fn an_operation_in_the_wrong_state_is_55000() {
    let mut bad = Bad::new();
    let task = bad.session.create("linear");
    let step = bad.session.step(task, "initialize_data");
    let claim = bad.session.claim_one("worker");
    assert_eq!(claim.step, step);
    bad.refuses(
        "55000",
        &["in_progress"],
        "SELECT tasker.resolve_step_manually($1)",
        &[&step],
    );
    bad.refuses(
        "55000",
        &["in_progress"],
        "SELECT tasker.retry_step($1)",
        &[&step],
    );
    bad.refuses(
        "55000",
        &["in_progress"],
        "SELECT tasker.retry_task($1)",
        &[&task],
    );
    bad.refuses(
        "55000",
        &["in_progress"],
        "SELECT tasker.resolve_task_manually($1)",
        &[&task],
    );
    bad.session.query("SELECT tasker.cancel_task($1)", &[&task]);
    bad.refuses(
        "55000",
        &["cancelled"],
        "SELECT tasker.cancel_task($1)",
        &[&task],
    );
    bad.refuses(
        "55000",
        &["cancelled"],
        "SELECT tasker.retry_task($1)",
        &[&task],
    );
}

#[test]
fn an_unknown_state_namespace_or_limit_is_named() {
    let mut bad = Bad::new();
    let task = bad.session.create("linear");
    let step = bad.session.step(task, "initialize_data");
    bad.refuses(
        "22023",
        &["state", "finished", "pending"],
        "SELECT tasker.transition_task($1, 'finished')",
        &[&task],
    );
    bad.refuses(
        "22023",
        &["state", "finished", "pending"],
        "SELECT tasker.transition_step($1, 'finished')",
        &[&step],
    );
    bad.refuses(
        "22023",
        &["state"],
        "SELECT tasker.try_transition_step($1, '')",
        &[&step],
    );
    bad.refuses(
        "22023",
        &["metadata", "object"],
        "SELECT tasker.transition_step($1, 'error', '[]')",
        &[&step],
    );
    bad.refuses(
        "22023",
        &["metadata", "object"],
        "SELECT tasker.transition_task($1, 'error', '5')",
        &[&task],
    );
    for limit in [-1, 32_768, i32::MAX, i32::MIN] {
        bad.refuses(
            "22023",
            &["retry_limit"],
            "SELECT tasker.set_retry_limit($1, $2)",
            &[&step, &limit],
        );
    }
    bad.refuses(
        "P0002",
        &["nowhere"],
        "SELECT tasker.pause_namespace('nowhere')",
        &[],
    );
    bad.refuses(
        "P0002",
        &["nowhere"],
        "SELECT tasker.resume_namespace('nowhere')",
        &[],
    );
}

#[test]
fn a_guard_that_refuses_raises_09000() {
    let mut bad = Bad::new();
    let task = bad.session.create("linear");
    let later = bad.session.step(task, "process_data");
    bad.refuses(
        "09000",
        &["parents"],
        "SELECT tasker.transition_step($1, 'in_progress')",
        &[&later],
    );
    bad.session.claim_one("worker");
    bad.refuses(
        "09000",
        &["complete", "process_data"],
        "SELECT tasker.transition_task($1, 'complete')",
        &[&task],
    );
}

// --- Reading.

#[test]
fn values_of_reading_functions_out_of_range_are_refused() {
    let mut bad = Bad::new();
    let task = bad.session.create("linear");
    bad.refuses(
        "22023",
        &["kind", "fibonacci"],
        "SELECT tasker.calculate_backoff(1, 'quadratic')",
        &[],
    );
    bad.refuses(
        "22023",
        &["base_ms"],
        "SELECT tasker.calculate_backoff(1, 'linear', -1)",
        &[],
    );
    bad.refuses(
        "22023",
        &["max_ms"],
        "SELECT tasker.calculate_backoff(1, 'linear', 1, -1)",
        &[],
    );
    for jitter in ["-0.1", "1.1", "NaN"] {
        bad.refuses(
            "22023",
            &["jitter"],
            "SELECT tasker.calculate_backoff(1, jitter => $1::text::numeric)",
            &[&jitter],
        );
    }
    bad.refuses(
        "22023",
        &["format", "mermaid", "dot", "svg"],
        "SELECT tasker.task_diagram($1, 'png')",
        &[&task],
    );
    bad.refuses(
        "22023",
        &["format", "mermaid"],
        "SELECT tasker.template_diagram('linear', format => '')",
        &[],
    );
    bad.refuses(
        "P0002",
        &["nothing"],
        "SELECT tasker.template_diagram('nothing')",
        &[],
    );
}

#[test]
fn values_of_finalization_claims_out_of_range_are_refused() {
    let mut bad = Bad::new();
    let task = bad.session.create("linear");
    for seconds in [0, -1, i32::MIN] {
        for function in ["claim_task_for_finalization", "extend_finalization_claim"] {
            let call = format!("SELECT * FROM tasker.{function}($1, 'p', $2)");
            bad.refuses("22023", &["timeout_seconds"], &call, &[&task, &seconds]);
        }
    }
    for processor in ["", "  "] {
        for function in [
            "claim_task_for_finalization",
            "extend_finalization_claim",
            "release_finalization_claim",
        ] {
            let call = format!("SELECT * FROM tasker.{function}($1, $2)");
            bad.refuses("22023", &["processor_id"], &call, &[&task, &processor]);
        }
    }
}

// --- Everything with anything.

/// Values of each type that are likely to break a function; as SQL.
fn nasty_values(kind: &str) -> &'static [&'static str] {
    match kind {
        "text" => &[
            "NULL",
            "''",
            "'x'",
            "' '",
            "'linear'",
            "'default'",
            "repeat('x', 100000)",
            "E'a\\nb\\t'",
            "'{}'",
            "'pending'",
            "'cancelled'",
            "'error'",
            "'in_progress'",
            "'sql'",
            "'name: x'",
            "'\u{1F980}'",
            "'; DROP TABLE x; --'",
            "'mermaid'",
            "'linear'",
        ],
        "uuid" => &[
            "NULL",
            "'00000000-0000-0000-0000-000000000000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
            "$task",
            "$step",
            "$step",
            "gen_random_uuid()",
        ],
        "smallint" => &["NULL", "0", "1", "-1", "32767", "-32768"],
        "integer" | "bigint" => &[
            "NULL",
            "0",
            "1",
            "-1",
            "2",
            "32767",
            "32768",
            "2147483647",
            "-2147483648",
        ],
        "boolean" => &["NULL", "true", "false"],
        "jsonb" => &[
            "NULL",
            "'null'",
            "'[]'",
            "'{}'",
            "'\"x\"'",
            "'1e400'",
            "'[1, \"a\", {}, [], null]'",
            "'[\"process_data\"]'",
            "'{\"a\": {\"b\": [1]}}'",
            "'[{\"step_uuid\": \"$rawstep\", \"claim_number\": 1, \"status\": \"error\", \"retry_after_seconds\": 1e300}]'",
            "'[{\"step_uuid\": \"$rawstep\", \"claim_number\": 1, \"status\": \"error\", \"error_message\": {\"a\": 1}, \"backtrace\": 7}]'",
            "(repeat('[', 5000) || repeat(']', 5000))::jsonb",
        ],
        "interval" => &[
            "NULL",
            "'0'",
            "'1 second'",
            "'-1 second'",
            "'1 day'",
            "'170000000 years'",
            "'-170000000 years'",
            "'1 microsecond'",
        ],
        "timestamp with time zone" => &[
            "NULL",
            "now()",
            "'infinity'",
            "'-infinity'",
            "'4713-01-01 BC'",
            "'294276-12-31'",
            "'1970-01-01'",
        ],
        "numeric" | "double precision" => &["NULL", "0", "1", "'NaN'", "-1", "1e300", "0.5"],
        _ => nasty_arrays(kind),
    }
}

fn nasty_arrays(kind: &str) -> &'static [&'static str] {
    match kind {
        "text[]" => &[
            "NULL",
            "'{}'",
            "'{NULL}'",
            "'{default}'",
            "'{default,default}'",
            "'{{a,b},{c,d}}'",
            "'[5:6]={a,b}'",
            "array_fill('x'::text, ARRAY[1000])",
        ],
        "uuid[]" => &[
            "NULL",
            "'{}'",
            "'{NULL}'",
            "ARRAY[$task]",
            "ARRAY[$step, NULL]",
            "array_fill($task, ARRAY[1000])",
            "ARRAY[ARRAY[$task], ARRAY[$task]]",
        ],
        "jsonb[]" => &[
            "NULL",
            "'{}'",
            "'{NULL}'",
            "ARRAY['{}'::jsonb]",
            "ARRAY['{}'::jsonb, '[]'::jsonb]",
            "ARRAY[ARRAY['{}'::jsonb], ARRAY['{}'::jsonb]]",
        ],
        _ => &["NULL"],
    }
}

fn nasty(kind: &str, task: Uuid, step: Uuid) -> Vec<String> {
    nasty_values(kind)
        .iter()
        .map(|value| {
            let value = value
                .replace("$task", &format!("'{task}'::uuid"))
                .replace("$step", &format!("'{step}'::uuid"));
            format!("({})::{kind}", value.replace("$rawstep", &step.to_string()))
        })
        .collect()
}

#[test]
fn no_arguments_of_any_function_lead_to_an_internal_error() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::linear().register(&mut session);
    let task = session.create("linear");
    let claim = session.claim_one("worker");
    let functions = session.query(
        "SELECT p.proname::text, ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY AS u (t, n) ORDER BY n)
         FROM pg_proc p
         WHERE p.pronamespace = 'tasker'::regnamespace AND p.prokind = 'f' AND p.prorettype <> 'trigger'::regtype
         ORDER BY 1",
        &[],
    );
    assert!(functions.len() >= 25, "only {} functions", functions.len());
    let mut strange = std::collections::BTreeMap::new();
    for function in &functions {
        let (name, types): (String, Vec<String>) = (function.get(0), function.get(1));
        let pools: Vec<Vec<String>> = types
            .iter()
            .map(|kind| nasty(kind, task, claim.step))
            .collect();
        for _ in 0..scaled(60, 2000) {
            // Mostly good values, else nothing gets beyond the first check.
            let arguments: Vec<&str> = pools
                .iter()
                .map(|pool| pool[fastrand::usize(..pool.len())].as_str())
                .collect();
            let call = format!("SELECT * FROM tasker.{name}({})", arguments.join(", "));
            session.execute("BEGIN");
            let result = session.attempt_rows(&call);
            session.execute("ROLLBACK");
            if let Err(failure) = result {
                let class = &failure.code[..2];
                // XX: a defect; 23502, 42703 ...: the inside shows; 54001: the stack. 23503 is what deletions of
                // things in use say.
                let expected = [
                    "22004", "22023", "P0002", "23503", "23505", "42601", "42P17", "23514",
                    "55000", "55006", "09000", "0A000",
                ];
                if class == "XX" || !expected.contains(&failure.code.as_str()) {
                    strange
                        .entry(format!("{name} {}", failure.code))
                        .or_insert_with(|| {
                            format!("{}\n    {}", failure.message, &call[..call.len().min(600)])
                        });
                }
            }
        }
    }
    let told: Vec<String> = strange
        .iter()
        .map(|(what, first)| format!("{what}: {first}"))
        .collect();
    assert!(
        told.is_empty(),
        "{} of these:\n{}",
        told.len(),
        told.join("\n")
    );
    // Everything was rolled back: the work goes on.
    session.complete(&claim, &json!({}));
    assert_eq!(
        session.work(|_| tasker_client_tests::worker::done()).len(),
        5
    );
}
