//! JSON Schemas that are made to take time or memory: an answer or 54001 soon, in little memory, and a timeout ends them at once.

use std::time::{Duration, Instant};

use tasker_client_tests::{Database, Failure, Session, Template, Value, json, patience};

/// What the backend of the session has used at most, in MB.
fn peak(session: &mut Session) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", session.pid()));
    let status = status.expect("the backend runs here");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let digits: String = line
        .expect("a peak")
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    digits.parse::<u64>().expect("a number") / 1024
}

/// A `$ref` that is used twice at each of this many levels.
fn doubled(levels: usize, leaf: Value) -> Value {
    let mut defs = serde_json::Map::new();
    for level in 0..levels {
        let next = json!({"$ref": format!("#/$defs/n{}", level + 1)});
        defs.insert(format!("n{level}"), json!({"allOf": [next, next]}));
    }
    defs.insert(format!("n{levels}"), leaf);
    json!({"$ref": "#/$defs/n0", "$defs": defs})
}

fn of_member(schema: Value) -> Value {
    json!({"properties": {"a": schema}})
}

/// Random letters a and b, and a last d.
fn letters(count: usize) -> String {
    format!(
        "jsonb_build_object('a', (SELECT string_agg(chr(97 + (hashint4(n) & 1)), '') || 'd' FROM generate_series(1, {count}) n))"
    )
}

fn patterns() -> Vec<(&'static str, Value, String)> {
    vec![
        (
            "states without end",
            of_member(json!({"pattern": "^[ab]*a[ab]{300}c"})),
            letters(3_000_000),
        ),
        (
            "negated",
            of_member(json!({"not": {"pattern": "^(?=[ab]*a[ab]{300}c)"}})),
            letters(3_000_000),
        ),
        (
            "counted twice",
            of_member(json!({"pattern": "^(?:[a-z0-9]{1,100}){90}$"})),
            letters(4_000),
        ),
        (
            "backtracking",
            of_member(json!({"pattern": "^(a|b(?=.*x))*\\1c"})),
            letters(100_000),
        ),
        (
            "short backtracking",
            of_member(json!({"pattern": "(?:(?=.*x)[ab])*c"})),
            letters(4_000),
        ),
    ]
}

/// Name, schema, and the document as SQL.
fn hostile() -> Vec<(&'static str, Value, String)> {
    let nested = |levels: usize| {
        format!("jsonb_build_object('a', (repeat('[', {levels}) || repeat(']', {levels}))::jsonb)")
    };
    let tree = |combined: &str, of: &str| {
        let branch = json!({"type": "array", "items": {"$ref": "#/$defs/n"}});
        json!({"properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {combined: [branch, {"type": "array", of: {"$ref": "#/$defs/n"}}]}}})
    };
    let branches: Vec<Value> = (0..300)
        .map(|n| json!({"properties": {format!("k{n}"): {"type": "integer"}}, "required": [format!("k{n}")]}))
        .collect();
    let members =
        "(SELECT jsonb_object_agg('k' || n, n) FROM generate_series(1, 20000) n)".to_owned();
    let items = "jsonb_build_object('a', (SELECT jsonb_agg(n) FROM generate_series(1, 100000) n))"
        .to_owned();
    let many: Vec<Value> = (0..5_000).map(|n| json!({"const": n})).collect();
    vec![
        (
            "doubled $ref",
            doubled(40, json!({"type": "object"})),
            "'{}'".to_owned(),
        ),
        (
            "doubled $ref that never looks",
            doubled(60, json!({})),
            "'{}'".to_owned(),
        ),
        (
            "anyOf at each level",
            tree("anyOf", "contains"),
            nested(100),
        ),
        (
            "oneOf at each level",
            tree("oneOf", "contains"),
            nested(100),
        ),
        (
            "anyOf of thousands",
            of_member(json!({"items": {"anyOf": many}})),
            items.clone(),
        ),
        (
            "unevaluatedProperties",
            json!({"anyOf": branches, "unevaluatedProperties": {"type": "string"}}),
            members.clone(),
        ),
        (
            "uniqueItems",
            of_member(json!({"uniqueItems": true})),
            items,
        ),
        (
            "names",
            json!({"patternProperties": {"(?:(?=.*x)k)*c": {"type": "string"}}}),
            members,
        ),
    ]
}

/// Within two tenths of a second, or ended by the timeout soon after them; then without one.
fn check(session: &mut Session, what: &str, call: &str) -> Option<Failure> {
    let before = peak(session);
    session.execute("SET statement_timeout = '200ms'");
    let began = Instant::now();
    let first = session
        .attempt_rows(&format!("BEGIN; {call}; ROLLBACK"))
        .err();
    let took = began.elapsed();
    session.execute("ROLLBACK; SET statement_timeout = 0");
    // A dev build takes long between two looks, and to build the document.
    assert!(
        took < Duration::from_millis(200) + patience(4),
        "{what}: {took:?}, {first:?}"
    );
    let began = Instant::now();
    let failure = session
        .attempt_rows(&format!("BEGIN; {call}; ROLLBACK"))
        .err();
    session.execute("ROLLBACK");
    let (took, used) = (began.elapsed(), peak(session) - before);
    let code = failure.as_ref().map(|failure| failure.code.as_str());
    println!("{what}: {code:?} after {took:?}, {used} MB");
    assert!(
        matches!(code, None | Some("54001" | "23514" | "42P17")),
        "{what}: {failure:?}"
    );
    assert!(took < patience(60), "{what}: {took:?}");
    assert!(used <= 50, "{what}: {used} MB");
    failure
}

/// Loads what every session needs once.
fn warm(session: &mut Session) {
    let schema = json!({"properties": {"a": {"pattern": "^a"}}});
    let template = Template::new("warm").with("input_schema", schema.clone());
    let template = template.step_with("a", &[], json!({"results_schema": schema}));
    session.query(
        "SELECT tasker.register_template($1, true)",
        &[&template.text()],
    );
    session.create_with("warm", &json!({"a": "a"}));
    let claim = session.claim_one("worker");
    session.complete(&claim, &json!({"a": "a"}));
}

#[test]
fn a_hostile_schema_ends_soon_in_little_memory_wherever_it_is_used() {
    let database = Database::new();
    for (number, (what, schema, document)) in hostile().into_iter().chain(patterns()).enumerate() {
        let mut session = database.connect();
        warm(&mut session);
        let template = |name: String, place: &str| {
            let template = Template::new(&name);
            match place {
                "input_schema" => template.step("a", &[]).with(place, schema.clone()),
                _ => template.step_with("a", &[], json!({place: schema})),
            }
        };
        let given = template(format!("given_{number}"), "input_schema");
        let register = format!(
            "SELECT tasker.register_template('{}')",
            given.text().replace('\'', "''")
        );
        if check(&mut session, &format!("{what}, registered"), &register).is_some() {
            continue;
        }
        given.register(&mut session);
        let create = format!("SELECT tasker.create_task('given_{number}', {document})");
        check(&mut session, &format!("{what}, created"), &create);
        template(format!("returned_{number}"), "results_schema").register(&mut session);
        session.create(&format!("returned_{number}"));
        let claim = session.claim_one("worker");
        let report = format!(
            "SELECT tasker.complete_step('{}', {}, {document})",
            claim.step, claim.number
        );
        check(&mut session, &format!("{what}, reported"), &report);
        session.query("SELECT tasker.cancel_task($1)", &[&claim.task]);
    }
}
