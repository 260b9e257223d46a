//! JSON Schemas that are made to take time or memory: an answer or 54001 soon, in little memory, and a timeout ends them at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tasker_client_tests::{Database, Failure, Session, Template, Value, json, patience};

/// What a backend has used at most, in MB; 0 after its end.
fn peak(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let digits = line.unwrap_or_default().chars();
    let digits: String = digits.filter(char::is_ascii_digit).collect();
    digits
        .parse::<u64>()
        .map_or(0, |kilobytes| kilobytes / 1024)
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
            letters(1_500_000),
        ),
        (
            "negated",
            of_member(json!({"not": {"pattern": "^(?=[ab]*a[ab]{300}c)"}})),
            letters(1_500_000),
        ),
        (
            "counted twice",
            of_member(json!({"pattern": "^(?:[a-z0-9]{1,100}){90}$"})),
            letters(4_000),
        ),
        (
            "backtracking",
            of_member(json!({"pattern": "^(a|b(?=.*d))*\\1c"})),
            letters(100_000),
        ),
        (
            "short backtracking",
            of_member(json!({"pattern": "(?:(?=.*d)[ab])*c"})),
            letters(2_000),
        ),
    ]
}

/// Name, schema, and the document as SQL.
fn hostile() -> Vec<(&'static str, Value, String)> {
    let nested = |levels: usize| {
        format!(
            "jsonb_build_object('a', (repeat('[', {levels}) || '\"x\"' || repeat(']', {levels}))::jsonb)"
        )
    };
    let tree = |combined: &str, of: &str| {
        let branch = json!({"type": "array", "items": {"$ref": "#/$defs/n"}});
        json!({"properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {combined: [branch, {"type": "array", of: {"$ref": "#/$defs/n"}}]}}})
    };
    let branches: Vec<Value> = (0..3_000)
        .map(|n| json!({"properties": {format!("k{n}"): {"type": "integer"}}, "required": [format!("k{n}")]}))
        .collect();
    let members =
        "(SELECT jsonb_object_agg('k' || n, n) FROM generate_series(1, 30000) n)".to_owned();
    let items = "jsonb_build_object('a', (SELECT jsonb_agg(n) FROM generate_series(1, 100000) n))"
        .to_owned();
    let many_patterns: Vec<Value> = (0..600)
        .map(|n| json!({"pattern": format!("^(?:[a-z]{{1,100}}){{{}}}x{{{n}}}$", n % 90)}))
        .collect();
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
            "a long name",
            json!({"patternProperties": {"(?:(?=.*x)k)*c": {"type": "string"}}}),
            "jsonb_build_object(repeat('k', 300000), 1)".to_owned(),
        ),
        (
            "many patterns",
            of_member(json!({"anyOf": many_patterns})),
            letters(100),
        ),
    ]
}

/// Longer than this no call takes, and more memory than this it never uses: the server is killed then.
const LONGEST: u64 = 90;
const MOST_MEMORY: u64 = 400;

/// Makes the call; its error, and how long it took. What no timeout ends is ended by a kill of the server, before it eats the machine.
fn watched(
    database: &Database,
    session: &mut Session,
    what: &str,
    call: &str,
) -> (Option<Failure>, Duration) {
    let pid = session.pid();
    let most = peak(pid) + MOST_MEMORY;
    let began = Instant::now();
    let done = AtomicBool::new(false);
    let failure = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                if began.elapsed() > patience(LONGEST) || peak(pid) > most {
                    eprintln!(
                        "{what}: killed after {:?} with {} MB",
                        began.elapsed(),
                        peak(pid)
                    );
                    database.server().kill();
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let _end = Done(&done);
        session
            .attempt_rows(&format!("BEGIN; {call}; ROLLBACK"))
            .err()
    });
    let took = began.elapsed();
    session.execute("ROLLBACK");
    (failure, took)
}

/// Ends the watch, also where the session broke.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Ended by a timeout of two tenths of a second soon after them, or done before; then without one. Returns the last error, and notes what is wrong.
fn check(
    database: &Database,
    session: &mut Session,
    what: &str,
    call: &str,
    faults: &mut Vec<String>,
) -> Option<Failure> {
    let before = peak(session.pid());
    session.execute("SET statement_timeout = '200ms'");
    let (first, took) = watched(database, session, what, call);
    // The server's own timeout, of a minute.
    session.execute("RESET statement_timeout");
    // A dev build takes long between two looks, and to build the document.
    let late = took.saturating_sub(Duration::from_millis(200));
    if late >= patience(1) {
        faults.push(format!(
            "{what}: the timeout ended it after {took:?}: {first:?}"
        ));
    }
    let (failure, took) = watched(database, session, what, call);
    let used = peak(session.pid()).saturating_sub(before);
    let code = failure.as_ref().map(|failure| failure.code.as_str());
    println!("{what}: {code:?} after {took:?}, {used} MB; with a timeout {late:?} late");
    if !matches!(code, None | Some("54001" | "23514" | "42P17")) {
        faults.push(format!("{what}: after {took:?} {failure:?}"));
    }
    if used > 50 {
        faults.push(format!("{what}: {used} MB"));
    }
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
    let mut faults = vec![];
    for (number, (what, schema, document)) in hostile().into_iter().chain(patterns()).enumerate() {
        let mut session = database.connect();
        warm(&mut session);
        if what == "many patterns" {
            // A registration may use the memory of the setting, whatever the size of the schema.
            session.execute("SET tasker.max_working_memory_mb = 32");
        }
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
        if check(
            &database,
            &mut session,
            &format!("{what}, registered"),
            &register,
            &mut faults,
        )
        .is_some()
        {
            continue;
        }
        given.register(&mut session);
        let create = format!("SELECT tasker.create_task('given_{number}', {document})");
        check(
            &database,
            &mut session,
            &format!("{what}, created"),
            &create,
            &mut faults,
        );
        template(format!("returned_{number}"), "results_schema").register(&mut session);
        session.create(&format!("returned_{number}"));
        let claim = session.claim_one("worker");
        let report = format!(
            "SELECT tasker.complete_step('{}', {}, {document})",
            claim.step, claim.number
        );
        check(
            &database,
            &mut session,
            &format!("{what}, reported"),
            &report,
            &mut faults,
        );
        session.query("SELECT tasker.cancel_task($1)", &[&claim.task]);
    }
    assert_eq!(faults, [""; 0]);
}
