//! Sizes, work and memory: what one caller or one step asks for never stops the others, nor ends the server.

use std::time::{Duration, Instant};

use tasker_client_tests::worker::Ask;
use tasker_client_tests::{
    Database, Session, Template, Uuid, Value, inside, json, patience, scaled, shapes, started,
};

/// Allocated at most, in KB: the backend's peak since it began.
fn peak_kb(session: &mut Session) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", session.pid()))
        .expect("the backend runs here");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("a peak");
    let digits = line.chars().filter(char::is_ascii_digit);
    digits.collect::<String>().parse().expect("a number")
}

/// A schema that refers to itself twice on every level.
fn tree() -> Template {
    let schema = json!({
        "properties": {"t": {"$ref": "#/$defs/n"}},
        "$defs": {"n": {"anyOf": [
            {"type": "array", "items": {"$ref": "#/$defs/n"}, "minItems": 0},
            {"type": "array", "items": {"$ref": "#/$defs/n"}, "maxItems": 99},
        ]}},
    });
    Template::new("tree")
        .step("a", &[])
        .with("input_schema", schema)
}

/// A schema that takes minutes for the document of [`long_document`].
fn slow() -> Template {
    let many: Vec<_> = (0..3_000).map(|n| json!({"const": n})).collect();
    let schema = json!({"properties": {"a": {"items": {"anyOf": many}}}});
    Template::new("slow")
        .step("a", &[])
        .with("input_schema", schema)
}

const LONG_DOCUMENT: &str =
    "jsonb_build_object('a', (SELECT jsonb_agg(2999) FROM generate_series(1, 300000)))";

#[test]
fn a_schema_that_refers_to_itself_twice_answers_at_once() {
    let database = Database::new();
    let mut session = database.connect();
    tree().register(&mut session);
    session.create_with("tree", &json!({"t": [[], [[]]]}));
    let before = peak_kb(&mut session);
    for levels in [2, 18, 24, 100] {
        let began = Instant::now();
        let text = format!(
            "{{\"t\":{}\"x\"{}}}",
            "[".repeat(levels),
            "]".repeat(levels)
        );
        session
            .fails(
                "SELECT tasker.create_task('tree', $1::text::jsonb)",
                &[&text],
            )
            .is("23514");
        assert!(began.elapsed() < patience(10), "{:?}", began.elapsed());
    }
    let more = peak_kb(&mut session) - before;
    assert!(more < 150_000, "{more} KB");
}

#[test]
fn a_cancel_and_a_timeout_end_a_validation() {
    let database = Database::new();
    let mut session = database.connect();
    slow().register(&mut session);
    let call = format!("SELECT tasker.create_task('slow', {LONG_DOCUMENT})");
    // Shorter than the work that one call may make, on any machine.
    session.execute("SET statement_timeout = '50ms'");
    let began = Instant::now();
    session.fails(&call, &[]).is("57014");
    assert!(began.elapsed() < patience(4), "{:?}", began.elapsed());
    session.execute("SET statement_timeout = 0");
    session.fails(&call, &[]).is("54001").says(&["work"]);
    session.create_with("slow", &json!({"a": [1, 2, 3]}));
}

#[test]
fn schemas_without_sense_are_refused_when_they_are_registered() {
    let database = Database::new();
    let mut session = database.connect();
    let mut defs = serde_json::Map::new();
    for level in 0..100 {
        let next = json!({"$ref": format!("#/$defs/n{}", level + 1)});
        defs.insert(format!("n{level}"), json!({"allOf": [next, next]}));
    }
    defs.insert("n100".to_owned(), json!({}));
    let doubled = json!({"$ref": "#/$defs/n0", "$defs": defs});
    let mut chain = serde_json::Map::new();
    for level in 0..50_000 {
        chain.insert(
            format!("n{level}"),
            json!({"$ref": format!("#/$defs/n{}", level + 1)}),
        );
    }
    let chain = json!({"$schema": "http://json-schema.org/draft-07/schema#", "$ref": "#/$defs/n0", "$defs": chain});
    for schema in [doubled, chain] {
        let template = Template::new("senseless")
            .step("a", &[])
            .with("input_schema", schema);
        session
            .fails("SELECT tasker.register_template($1)", &[&template.text()])
            .is("42P17")
            .says(&["subschemas"]);
    }
    // Patterns of a million states each end with the memory.
    let patterns: Vec<_> = (0..2_000)
        .map(|n| json!({"pattern": format!("^(?:[a-z0-9]{{1,200}}){{{}}}$", 100 + n % 90)}))
        .collect();
    let costly = Template::new("costly")
        .step("a", &[])
        .with("input_schema", json!({"anyOf": patterns}));
    session.execute("SET tasker.max_working_memory_mb = 64; SET statement_timeout = '2s'");
    let began = Instant::now();
    let failure = session.fails("SELECT tasker.register_template($1)", &[&costly.text()]);
    assert!(
        ["54001", "57014"].contains(&failure.code.as_str()),
        "{failure}"
    );
    assert!(
        began.elapsed() < Duration::from_secs(2) + patience(5),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_hundred_thousand_unique_items_are_checked() {
    let database = Database::new();
    let mut session = database.connect();
    Template::new("unique")
        .step("a", &[])
        .with(
            "input_schema",
            json!({"properties": {"a": {"uniqueItems": true}}}),
        )
        .register(&mut session);
    let items = "jsonb_build_object('a', (SELECT jsonb_agg(jsonb_build_object('n', n % $1)) FROM generate_series(1, 100000) n))";
    session.query(
        &format!("SELECT tasker.create_task('unique', {items})"),
        &[&1_000_000_i32],
    );
    session
        .fails(
            &format!("SELECT tasker.create_task('unique', {items})"),
            &[&99_999_i32],
        )
        .is("23514");
}

/// `big` has three roots and a join, `small` a step.
fn big_and_small(session: &mut Session) {
    Template::new("big")
        .step("a", &[])
        .step("b", &[])
        .step("c", &[])
        .step("join", &["a", "b", "c"])
        .register(session);
    Template::new("small").step("s", &[]).register(session);
}

#[test]
fn results_that_do_not_fit_together_fail_their_step_and_the_next_goes_out() {
    let database = Database::new();
    let mut session = database.connect();
    big_and_small(&mut session);
    let big = session.create("big");
    // The long form reaches the limit of jsonb itself.
    if scaled(0, 1) == 0 {
        session.execute("SET tasker.max_dependency_results_size = '2MB'");
    }
    session.query(
        "SELECT tasker.complete_step(step_uuid, claim_number, jsonb_build_object('blob', repeat(md5(random()::text), $1)))
         FROM tasker.claim_steps('w', max_steps => 3)",
        &[&i32::try_from(scaled(30_000, 3_000_000)).expect("small")],
    );
    let small = session.create("small");
    let claims = session.claim(&Ask::by("w", 10));
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].task, small);
    let failed = session.results(big, "join");
    assert_eq!(failed["error_class"], "DependencyResultsTooLarge");
    assert!(
        failed["error_message"]
            .as_str()
            .is_some_and(|text| text.contains("max_dependency_results_size"))
    );
    assert_eq!(session.task_state(big), "error");
}

#[test]
fn results_within_the_limit_come_as_before() {
    let database = Database::new();
    let mut session = database.connect();
    big_and_small(&mut session);
    session.create("big");
    let claims = session.claim(&Ask::by("w", 3));
    for (claim, results) in claims.iter().zip([
        json!({"n": 1.50, "d": {"x": [1, null, "é"]}}),
        json!({}),
        json!({"z": 0}),
    ]) {
        session.complete(claim, &results);
    }
    for ask in ["parents", "ancestors"] {
        let claim = session
            .claim(&Ask {
                results: ask,
                ..Ask::by("w", 1)
            })
            .remove(0);
        assert_eq!(claim.name, "join");
        assert_eq!(
            claim.dependency_results,
            json!({"a": {"n": 1.50, "d": {"x": [1, null, "é"]}}, "b": {}, "c": {"z": 0}})
        );
        session.query("SELECT tasker.release_steps('w')", &[]);
    }
}

#[test]
fn contexts_and_results_have_a_limit_when_they_are_written() {
    let database = Database::new();
    let mut session = database.connect();
    big_and_small(&mut session);
    let (long, longer) = ("x".repeat(50_000), "x".repeat(2_000));
    let before = session.create_with("small", &json!({"old": long}));
    session.execute("SET tasker.max_context_size = 10000; SET tasker.max_results_size = 10000");
    session
        .fails(
            "SELECT tasker.create_task('small', jsonb_build_object('a', $1::text))",
            &[&long],
        )
        .is("54000")
        .hint_says(&["tasker.max_context_size"]);
    session.create_with("small", &json!({"a": longer}));
    // What was stored before stays readable.
    let claims = session.claim(&Ask::by("w", 2));
    assert_eq!(claims[0].task, before);
    assert_eq!(claims[0].context, json!({"old": long}));
    let complete = "SELECT tasker.complete_step($1, $2, jsonb_build_object('a', $3::text))";
    session
        .fails(complete, &[&claims[0].step, &claims[0].number, &long])
        .is("54000")
        .hint_says(&["tasker.max_results_size"]);
    // In a batch it spoils no neighbour.
    let reports = json!([
        claims[0].done(json!({"a": long})),
        claims[1].done(json!({"a": longer}))
    ]);
    let outcomes: Vec<String> = session.all(
        "SELECT outcome FROM tasker.report_steps('w', $1)",
        &[&reports],
    );
    assert_eq!(outcomes, ["invalid", "complete"]);
    // A failure is always taken.
    session.query(
        "SELECT tasker.fail_step($1, $2, $3, results => jsonb_build_object('a', $4::text))",
        &[&claims[0].step, &claims[0].number, &"it broke", &long],
    );
    let stored = session.results(before, "s");
    assert!(
        stored["error_message"]
            .as_str()
            .is_some_and(|text| text.starts_with("it broke (the rest"))
    );
    assert!(stored.get("a").is_none());
}

#[test]
fn results_by_hand_and_beside_a_claim_have_the_same_limit() {
    let database = Database::new();
    let mut session = database.connect();
    big_and_small(&mut session);
    session.create_many("small", 4);
    session.execute("SET tasker.max_results_size = 10000");
    let (long, longer) = ("x".repeat(50_000), "x".repeat(2_000));
    // A report with a claim: the neighbour is stored, and the claim is made.
    let ask = Ask::by("w", 2);
    let claims = session.claim(&ask);
    let reports = [
        claims[0].done(json!({"a": long})),
        claims[1].done(json!({"a": longer})),
    ];
    let (told, more) = session.report_and_claim(&ask, &reports);
    assert_eq!(told, [("invalid".to_owned(), Some(claims[0].step))]);
    assert_eq!(session.step_state(claims[1].task, "s"), "complete");
    assert_eq!(more.len(), 2);
    // The refused step is still held, and can be reported.
    assert_eq!(session.complete(&claims[0], &json!({})), "complete");

    // As a text it is longer than a text can be.
    let digits = "(SELECT jsonb_agg('1e131000'::jsonb) FROM generate_series(1, 9000))";
    session.execute("RESET tasker.max_results_size");
    session
        .fails(
            &format!("SELECT tasker.complete_step($1, $2, jsonb_build_object('n', {digits}))"),
            &[&more[0].step, &more[0].number],
        )
        .is("54000")
        .says(&["text"]);
    session.execute("SET tasker.max_results_size = 10000");

    for claim in &more {
        session.fail_for_good(claim);
    }
    let resolve = "SELECT tasker.resolve_step_manually($1, jsonb_build_object('a', $2::text))";
    session
        .fails(resolve, &[&more[0].step, &long])
        .is("54000")
        .says(&["too large"])
        .hint_says(&["tasker.max_results_size"]);
    assert_eq!(session.step_state(more[0].task, "s"), "error");
    let state: String = session.one(resolve, &[&more[0].step, &longer]);
    assert_eq!(state, "resolved_manually");
    assert_eq!(session.results(more[0].task, "s")["a"], json!(longer));
    session.execute("RESET tasker.max_results_size");
    session
        .fails(
            &format!("SELECT tasker.resolve_step_manually($1, jsonb_build_object('n', {digits}))"),
            &[&more[1].step],
        )
        .is("54000")
        .says(&["text"]);
}

#[test]
fn a_context_that_is_too_long_as_a_text_fails_its_step_only() {
    let database = Database::new();
    let mut session = database.connect();
    big_and_small(&mut session);
    let digits = "(SELECT jsonb_agg('1e131000'::jsonb) FROM generate_series(1, 9000))";
    let context = format!("jsonb_build_object('n', {digits})");
    session
        .fails(
            &format!("SELECT tasker.create_task('small', {context})"),
            &[],
        )
        .is("54000")
        .says(&["text"]);
    // As an earlier version accepted it.
    let old = session.create("small");
    session.query(
        &format!("UPDATE tasker_engine.tasks SET context = {context} WHERE task_uuid = $1"),
        &[&old],
    );
    let next = session.create("small");
    let claims = session.claim(&Ask::by("w", 10));
    assert_eq!(
        claims.iter().map(|claim| claim.task).collect::<Vec<_>>(),
        [next]
    );
    assert_eq!(session.results(old, "s")["error_class"], "StepTooLong");
}

#[test]
fn reports_are_stored_when_what_is_next_cannot_be_handed_out() {
    let database = Database::new();
    let mut session = database.connect();
    big_and_small(&mut session);
    session.execute("SET tasker.max_dependency_results_size = '2MB'");
    let ask = Ask::by("w", 10);
    let small = session.create("small");
    let claim = session.claim_one("w");
    // As an earlier version accepted it.
    let old = session.create("small");
    session.query(
        "UPDATE tasker_engine.tasks
         SET context = jsonb_build_object('n', (SELECT jsonb_agg('1e131000'::jsonb) FROM generate_series(1, 9000)))
         WHERE task_uuid = $1",
        &[&old],
    );
    let big = session.create("big");
    let (refused, claims) = session.report_and_claim(&ask, &[claim.done(json!({"a": 1}))]);
    assert_eq!(refused, []);
    assert_eq!(session.task_state(small), "complete");
    assert_eq!(session.results(small, "s"), json!({"a": 1}));
    assert_eq!(session.results(old, "s")["error_class"], "StepTooLong");
    assert_eq!(session.task_state(old), "error");
    assert!(claims.iter().all(|claim| claim.task == big));
    assert_eq!(claims.len(), 3);
    // The step that the reports themselves release comes first, and cannot be handed out.
    let next = session.create("small");
    let long = "x".repeat(1_000_000);
    let reports: Vec<Value> = claims
        .iter()
        .map(|claim| claim.done(json!({"blob": long})))
        .collect();
    let (refused, claims) = session.report_and_claim(&ask, &reports);
    assert_eq!(refused, []);
    assert_eq!(
        session.steps(big),
        [
            "a complete/1",
            "b complete/1",
            "c complete/1",
            "join error/1"
        ]
    );
    let tasks: Vec<Uuid> = claims.iter().map(|claim| claim.task).collect();
    assert_eq!(tasks, [next]);
}

#[test]
fn a_context_that_the_client_cannot_read_fails_its_step_only() {
    let database = Database::new();
    let mut session = database.connect();
    big_and_small(&mut session);
    let strange = session.create_with("small", &json!({"name": "日本"}));
    let plain = session.create_with("small", &json!({"name": "é"}));
    // The driver reads UTF8 alone, so the claim stays inside the server.
    session.execute("SET client_encoding = 'LATIN1'");
    let found: i64 = session.count(
        "SELECT count(*) FROM tasker.claim_steps('w', max_steps => 10)",
        &[],
    );
    session.execute("SET client_encoding = 'UTF8'");
    assert_eq!(found, 1);
    assert_eq!(session.step_state(plain, "s"), "in_progress");
    assert_eq!(
        session.results(strange, "s")["error_class"],
        "StepNotConvertible"
    );
}

#[test]
fn a_stored_template_that_cannot_be_read_fails_its_steps_only() {
    let database = Database::new();
    let mut session = database.connect();
    big_and_small(&mut session);
    let broken = session.create("big");
    let next = session.create("small");
    session.execute(
        "UPDATE tasker.named_tasks SET configuration = '{\"name\": 5}' WHERE name = 'big'",
    );
    let mut fresh = database.connect();
    let claims = fresh.claim(&Ask::by("w", 10));
    assert_eq!(
        claims.iter().map(|claim| claim.task).collect::<Vec<_>>(),
        [next]
    );
    assert_eq!(
        fresh.results(broken, "a")["error_class"],
        "TemplateUnreadable"
    );
    assert_eq!(fresh.task_state(broken), "error");
    fresh
        .fails("SELECT tasker.create_task('big')", &[])
        .is("XX001")
        .says(&["cannot be read"]);
}

#[test]
fn a_stored_template_is_read_without_rules_that_came_later() {
    let database = Database::new();
    let mut session = database.connect();
    big_and_small(&mut session);
    // A handler, a limit and a schema that a registration refuses.
    session.execute(
        "UPDATE tasker.named_tasks SET configuration = jsonb_set(jsonb_set(configuration, '{description}', to_jsonb(repeat('x', 100000))),
             '{steps,0,timeout_seconds}', '-5') WHERE name = 'small'",
    );
    let mut fresh = database.connect();
    let task = fresh.create("small");
    let claims = fresh.claim(&Ask::by("w", 1));
    assert_eq!(claims[0].task, task);
}

#[test]
fn a_check_that_cannot_be_made_fails() {
    let database = Database::new();
    let mut session = database.connect();
    Template::new("checked")
        .step_with("a", &[], json!({"results_schema": {"type": "object"}}))
        .register(&mut session);
    session.create("checked");
    let claim = session.claim(&Ask::by("w", 1)).remove(0);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(150), "]".repeat(150));
    let complete = "SELECT tasker.complete_step($1, $2, $3::text::jsonb)";
    session
        .fails(complete, &[&claim.step, &claim.number, &deep])
        .is("23514")
        .says(&["cannot be checked"]);
    session.execute(
        "UPDATE tasker.named_tasks SET configuration = jsonb_set(jsonb_set(configuration, '{steps,0,results_schema}', '{\"type\": \"whole\"}'),
             '{input_schema}', '{\"type\": \"whole\"}') WHERE name = 'checked'",
    );
    let mut fresh = database.connect();
    fresh
        .fails(complete, &[&claim.step, &claim.number, &"{}"])
        .is("23514")
        .says(&["cannot be checked"]);
    fresh
        .fails("SELECT tasker.create_task('checked')", &[])
        .is("23514")
        .says(&["cannot be checked"]);
}

#[test]
fn results_whose_check_takes_too_much_are_refused_as_a_context_is() {
    let database = Database::new();
    let mut session = database.connect();
    let mut schema = json!({"$ref": "#/$defs/n0", "$defs": {"n60": {}}});
    for level in 0..60 {
        let next = json!({"$ref": format!("#/$defs/n{}", level + 1)});
        schema["$defs"][format!("n{level}")] = json!({"allOf": [next, next]});
    }
    Template::new("context")
        .step("a", &[])
        .with("input_schema", schema.clone())
        .register(&mut session);
    Template::new("results")
        .step_with("a", &[], json!({"results_schema": schema}))
        .register(&mut session);
    session.create("results");
    let claim = session.claim(&Ask::by("w", 1)).remove(0);
    session
        .fails("SELECT tasker.create_task('context')", &[])
        .is("54001");
    session
        .fails(
            "SELECT tasker.complete_step($1, $2, '{}')",
            &[&claim.step, &claim.number],
        )
        .is("54001")
        .says(&["takes too much work", "could not be checked", "fail_step"]);
    // One element of many has its own outcome.
    let outcome: String = session.one(
        "SELECT outcome FROM tasker.report_steps('w', jsonb_build_array(jsonb_build_object(
             'step_uuid', $1::uuid, 'claim_number', $2::int, 'status', 'complete')))",
        &[&claim.step, &claim.number],
    );
    assert_eq!(outcome, "invalid");
    session.fail_for_good(&claim);
}

#[test]
fn one_call_takes_a_limited_number_of_reports_steps_and_names() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::linear().register(&mut session);
    let report = json!({"step_uuid": "x", "claim_number": 1, "status": "complete"});
    let reports = json!(vec![report; 10_001]);
    session
        .fails("SELECT tasker.report_steps('w', $1)", &[&reports])
        .is("54000")
        .says(&["10000"]);
    session
        .fails("SELECT tasker.release_steps('w', $1)", &[&reports])
        .is("54000");
    let create = "SELECT tasker.create_tasks('linear', $1)";
    let contexts = vec![json!({}); 10_001];
    session
        .fails(create, &[&contexts])
        .is("54000")
        .says(&["10000"]);
    assert_eq!(session.query(create, &[&&contexts[1..]]).len(), 10_000);
    let begun = vec![Uuid::nil(); 10_001];
    for call in [
        "heartbeat('w', begun => $1)",
        "report_and_claim('w', begun => $1)",
    ] {
        let call = format!("SELECT count(*) FROM tasker.{call}");
        session.fails(&call, &[&begun]).is("54000");
    }
    let names = "(SELECT array_agg('n' || (n % $1)) FROM generate_series(1, 1000) n)";
    let claim = format!("SELECT count(*) FROM tasker.claim_steps('w', {names}, queues => {names})");
    // A thousand times a thousand pairs are one: it took 24 seconds to look for each.
    let began = Instant::now();
    session.query(&claim, &[&1_i32]);
    assert!(began.elapsed() < patience(1), "{:?}", began.elapsed());
    session.fails(&claim, &[&1_000_i32]).is("54000");
}

/// The one call that the memory suffices for: it is refused at the first element.
const NUMBERS_FOR_NAMES: &str = "bypass_steps => (SELECT jsonb_agg(n) ";

/// Calls whose arguments take more than there is: a long text, many short ones, documents of both.
fn large_calls() -> Vec<String> {
    let text = "repeat('x', 60000000)";
    let escaped = "repeat(E'\\x01', 12000000)";
    let list = "(SELECT jsonb_agg(n) FROM generate_series(1, 800000) n)";
    let many = "(SELECT array_agg('n' || n) FROM generate_series(1, 1500000) n)";
    let step = "'00000000-0000-0000-0000-000000000000'";
    vec![
        format!("SELECT tasker.register_template({text})"),
        format!(
            "SELECT count(*) FROM tasker.validate_template('{{\"name\": \"' || {text} || '\"}}')"
        ),
        format!("SELECT tasker.create_task('checked', jsonb_build_object('l', {list}))"),
        format!("SELECT tasker.create_task('tree', jsonb_build_object('t', {list}, 'u', {text}))"),
        format!("SELECT tasker.create_task({text})"),
        format!("SELECT tasker.create_task('checked', initiator => {text})"),
        format!("SELECT tasker.create_task('checked', idempotency_key => {text})"),
        format!("SELECT tasker.fail_step({step}, 1, {text}, backtrace => ARRAY[{text}])"),
        format!(
            "SELECT tasker.complete_step({step}, 1, jsonb_build_object('a', {text}, 'b', {list}))"
        ),
        format!(
            "SELECT count(*) FROM tasker.report_steps('w', jsonb_build_array(jsonb_build_object('step_uuid', {step}, 'claim_number', 1, 'status', 'error', 'error_message', {text}, 'backtrace', {list})))"
        ),
        format!("SELECT count(*) FROM tasker.claim_steps({text})"),
        format!("SELECT count(*) FROM tasker.claim_steps('w', ARRAY[{text}, {text} || 'y'])"),
        format!("SELECT count(*) FROM tasker.claim_steps('w', {many})"),
        format!("SELECT count(*) FROM tasker.claim_steps('w', queues => {many})"),
        format!("SELECT count(*) FROM tasker.claim_steps('w', handlers => {many})"),
        format!("SELECT count(*) FROM tasker.claim_steps('w', handlers => ARRAY[{text}])"),
        format!("SELECT count(*) FROM tasker.claim_steps('w', dependency_results => {text})"),
        format!("SELECT tasker.create_task('checked', bypass_steps => {list})"),
        format!("SELECT tasker.create_task('checked', bypass_steps => to_jsonb({many}))"),
        format!("SELECT tasker.create_task('checked', version => {text})"),
        format!(
            "SELECT tasker.create_tasks('checked', ARRAY['{{}}']::jsonb[], idempotency_keys => {many})"
        ),
        format!("SELECT tasker.fail_step({step}, 1, 'no', backtrace => {many})"),
        format!(
            "SELECT count(*) FROM tasker.list_tasks(idempotency_key => {escaped}, namespace => 'default', name => 'checked')"
        ),
        format!("SELECT tasker.cancel_task(tasker.create_task('checked'), {text})"),
        format!("SELECT tasker.cancel_task(tasker.create_task('checked'), {escaped})"),
    ]
}

/// The backend of the session gets this many megabytes more than it has, and no byte beyond.
fn leave_memory(session: &mut Session, megabytes: u64) {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", session.pid()));
    let pages = statm.expect("the backend runs here");
    let pages = pages.split(' ').next().and_then(|pages| pages.parse().ok());
    let limit = pages.unwrap_or(0_u64) * 4096 + (megabytes << 20);
    // The shell's parent is the backend, and has its user.
    session.execute(&format!(
        "COPY (SELECT) TO PROGRAM 'cat > /dev/null; prlimit --pid $PPID --as={limit}:{limit}'"
    ));
}

#[test]
fn without_memory_a_call_fails_and_the_backend_lives() {
    let database = Database::new();
    let mut session = database.connect();
    tree().register(&mut session);
    Template::new("checked")
        .step_with("a", &[], json!({"results_schema": {"type": "object"}}))
        .with(
            "input_schema",
            json!({"properties": {"l": {"items": {"type": "integer"}}}}),
        )
        .register(&mut session);
    let mut by_the_extension = 0;
    for call in large_calls() {
        let mut session = database.connect();
        session.claim(&Ask::by("warm", 1));
        let pid = session.pid();
        leave_memory(&mut session, 220);
        if let Err(failure) = session.attempt_with(&call, &[]) {
            let expected: &[&str] = if call.contains(NUMBERS_FOR_NAMES) {
                &["53200", "54000", "22023"]
            } else {
                &["53200", "54000"]
            };
            assert!(
                expected.contains(&failure.code.as_str()),
                "{call}: {failure}"
            );
            by_the_extension += usize::from(!failure.hint.is_empty());
        }
        // The session goes on.
        assert_eq!(session.pid(), pid, "{call}");
    }
    // The others end while PostgreSQL makes the arguments.
    assert!(by_the_extension >= 10, "{by_the_extension}");
}

/// The tags of a task, all of the same length.
fn tags(count: usize) -> Value {
    (0..count).map(|n| format!("tag {n:05}")).collect()
}

#[test]
fn a_task_has_a_limited_number_of_tags() {
    let (_database, mut session, other) = started(&shapes::chain("one", 1));
    let full: Uuid = session.one(
        "SELECT tasker.create_task('one', tags => $1)",
        &[&tags(100)],
    );
    for (call, task) in [
        ("create_task('one', tags => $1)", full),
        ("create_tasks('one', '{\"{}\"}', tags => $1)", full),
        (
            "schedule_task('each', '* * * * *', 'one', tags => $1)",
            full,
        ),
        ("tag_task($2, $1)", full),
        ("tag_task($2, $1)", other),
    ] {
        session
            .fails(
                &format!("SELECT tasker.{call} FROM (VALUES ($2::uuid)) AS t (task)"),
                &[&tags(101), &task],
            )
            .is("54000")
            .says(&["101 tags", "100"]);
    }
    assert_eq!(
        session.one::<Value>("SELECT tasker.tag_task($1, $2)", &[&full, &tags(7)]),
        tags(100)
    );
}

#[test]
fn a_task_of_before_with_thousands_of_tags_is_compared_with_others_in_no_time() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    inside::set_tags(&mut session, task, &tags(80_000));
    let limit = patience(20).as_secs();
    session.execute(&format!("SET statement_timeout = '{limit}s'"));
    let with = "SELECT task_uuid FROM tasker.tasks_with_tags($1)";
    let found = |session: &mut Session, tags: &Value| session.all::<Uuid>(with, &[tags]);
    assert_eq!(found(&mut session, &tags(80_000)), [task]);
    assert_eq!(
        found(&mut session, &json!([1, "tag 00007"])),
        [] as [Uuid; 0]
    );
    assert_eq!(found(&mut session, &tags(80_001)), [] as [Uuid; 0]);
    // They can become fewer, and a task as the old one can be requested again.
    session.query("SELECT tasker.cancel_task($1)", &[&task]);
    let again: Uuid = session.one("SELECT tasker.rerun_task($1)", &[&task]);
    assert_eq!(found(&mut session, &tags(80_000)).len(), 2);
    session
        .fails("SELECT tasker.tag_task($1, '[\"new\"]')", &[&again])
        .is("54000");
    let left: Value = session.one("SELECT tasker.untag_task($1, $2)", &[&again, &tags(79_950)]);
    assert_eq!(left.as_array().map(Vec::len), Some(50));
    session.query("SELECT tasker.tag_task($1, '[\"new\"]')", &[&again]);
}
