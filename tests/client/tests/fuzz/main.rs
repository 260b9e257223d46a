//! Every public function with hostile values of its parameters' types, by several sessions and roles at once.
//!
//! `TASKER_SEED` gives other calls, `FUZZ_CALLS` more of them. Equal seeds make equal calls; their order between sessions is the
//! server's. No function is left out: none stops the server, and what stops work (a state of the system, a paused
//! namespace) is taken back every now and then.

mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use fastrand::Rng;
use postgres::error::DbError;
use tasker_client_tests::server::root;
use tasker_client_tests::worker::done;
use tasker_client_tests::{Database, Session, Template, patience, scaled, shapes};
use values::{World, argument, template};

const ROLES: [&str; 5] = ["postgres", "reader", "worker", "operator", "admin"];
const SESSIONS: usize = 4;
/// Calls of a session between two looks at what there is.
const ROUND: usize = 100;
/// Codes of the server's own errors about values, sizes and locks. None says that the engine asked something wrong.
const OF_THE_SERVER: [&str; 6] = ["42501", "40P01", "53200", "54000", "54001", "55P03"];

/// A public function: its name, and its parameters with their types.
#[derive(Clone)]
struct Function {
    name: String,
    parameters: Vec<(String, String)>,
    /// The number of last parameters that may be left out.
    defaults: usize,
}

fn functions(session: &mut Session) -> Vec<Function> {
    let rows = session.query(
        "SELECT p.proname::text, p.pronargdefaults::integer,
                coalesce(p.proargnames[1:p.pronargs], '{}') AS names,
                ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY u (t, n) ORDER BY n) AS types
         FROM pg_proc p WHERE p.pronamespace = 'tasker'::regnamespace AND p.prokind = 'f' ORDER BY p.oid::regprocedure::text",
        &[],
    );
    let function = |row: &postgres::Row| {
        let (names, types): (Vec<String>, Vec<String>) = (row.get("names"), row.get("types"));
        Function {
            name: row.get(0),
            parameters: names.into_iter().zip(types).collect(),
            defaults: usize::try_from(row.get::<_, i32>(1)).expect("a count"),
        }
    };
    rows.iter().map(function).collect()
}

impl Function {
    /// A call, tame, with one hostile value or with many.
    fn call(&self, world: &World, rng: &mut Rng) -> String {
        let needed = self.parameters.len() - self.defaults;
        let (tame, one) = (rng.u8(..3) == 0, rng.bool());
        let odd = rng.usize(..self.parameters.len().max(1));
        let arguments = self
            .parameters
            .iter()
            .enumerate()
            .filter_map(|(place, (name, of))| {
                if place >= needed && rng.u8(..3) > 0 {
                    return None;
                }
                let hostile = !tame && (place == odd || !one && rng.bool());
                let value = argument(name, of, hostile, world, rng);
                Some(format!("{name} => ({value})::{of}"))
            });
        let arguments: Vec<String> = arguments.collect();
        format!(
            "SELECT * FROM tasker.{}({})",
            self.name,
            arguments.join(", ")
        )
    }
}

/// SQLSTATEs that the page lists.
fn documented() -> BTreeSet<String> {
    let page = std::fs::read_to_string(root().join("docs/operating-with-psql.md")).expect("a page");
    let errors = page.split("\n## Errors\n").nth(1).expect("a section");
    let errors = errors.split("\n## ").next().expect("a section");
    let codes = errors.lines().filter_map(|line| line.strip_prefix("| "));
    codes
        .filter_map(|line| line.split(' ').next())
        .filter(|code| {
            code.len() == 5
                && code
                    .chars()
                    .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
        })
        .map(str::to_owned)
        .collect()
}

/// Why an error is a fault, if it is one.
fn fault(error: &DbError, documented: &BTreeSet<String>) -> Option<&'static str> {
    let code = error.code().code();
    let file = error.file().unwrap_or_default();
    let ours = file.ends_with(".rs") || error.routine() == Some("exec_stmt_raise");
    match code {
        _ if code.starts_with("XX") => Some("internal error"),
        "57014" => Some("too long"),
        _ if ours && !documented.contains(code) => Some("not documented"),
        _ if !ours && !code.starts_with("22") && !OF_THE_SERVER.contains(&code) => {
            Some("the engine asked the server something wrong")
        }
        _ => None,
    }
}

/// What calls came to: how many of each function went through, and what must not happen.
#[derive(Default)]
struct Outcome {
    passed: BTreeMap<String, usize>,
    faults: Vec<String>,
}

/// One client: a connection for each role, and its share of the calls.
struct Caller<'d> {
    sessions: Vec<Session>,
    functions: &'d [Function],
    documented: &'d BTreeSet<String>,
    rng: Rng,
    outcome: Outcome,
}

impl Caller<'_> {
    fn run(mut self, calls: usize) -> Outcome {
        for round in 0..calls.div_ceil(ROUND) {
            self.refresh();
            let world = World::see(&mut self.sessions[0]);
            for _ in 0..ROUND.min(calls - round * ROUND) {
                let function = &self.functions[self.rng.usize(..self.functions.len())];
                let sql = function.call(&world, &mut self.rng);
                let role = self.rng.usize(..ROLES.len());
                // Others wait for what an open transaction holds, and go on when it ends.
                let open = self.rng.u8(..20) == 0;
                if open {
                    self.sessions[role].execute("BEGIN");
                }
                if self.call(role, &sql) {
                    *self
                        .outcome
                        .passed
                        .entry(function.name.clone())
                        .or_default() += 1;
                }
                if open {
                    let end = if self.rng.bool() {
                        "ROLLBACK"
                    } else {
                        "COMMIT"
                    };
                    self.sessions[role].execute(end);
                }
                if self.outcome.faults.len() > 20 {
                    return self.outcome;
                }
            }
        }
        self.outcome
    }

    /// New work, some of it done, and nothing stands still. What the calls before have deleted or hold may refuse it.
    fn refresh(&mut self) {
        let template = template(&mut self.rng).to_string();
        for sql in [
            "SELECT tasker.set_operational_state('normal', 'fuzz', true)".to_owned(),
            "SELECT tasker.resume_namespace(name) FROM tasker.task_namespaces".to_owned(),
            format!("SELECT tasker.register_template('{template}', true)"),
            format!("SELECT tasker.register_template('{}', true)", shapes::linear().text()),
            format!("SELECT tasker.register_template('{}', true)", shapes::small_diamond().text()),
            format!("SELECT tasker.register_template('{}', true)", shapes::mixed().text()),
            "SELECT tasker.create_tasks(t.name, '{{}, {\"b\": {}}, {\"b\": {}}}', n.name, t.version)
             FROM tasker.named_tasks t JOIN tasker.task_namespaces n USING (task_namespace_id)".to_owned(),
            "SELECT tasker.complete_step(step_uuid, claim_number) FROM tasker.claim_steps('w1', max_steps => 5)".to_owned(),
            "SELECT tasker.fail_step(step_uuid, claim_number, 'no', retryable => random() < 0.5) FROM tasker.claim_steps('w2', max_steps => 3)".to_owned(),
            "SELECT tasker.claim_steps('w3', '{default,shop}', max_steps => 4)".to_owned(),
        ] {
            self.call(0, &sql);
        }
    }

    /// Whether the call went through. A lost connection ends the test.
    fn call(&mut self, role: usize, sql: &str) -> bool {
        let session = &mut self.sessions[role];
        let began = Instant::now();
        let refused = session.client().simple_query(sql).err();
        let shown: String = sql.chars().take(1_500).collect();
        let shown = format!("as {}, after {:?}: {shown}", ROLES[role], began.elapsed());
        let Some(error) = refused else {
            return true;
        };
        let Some(error) = error.as_db_error() else {
            panic!("the connection broke: {error}\n{shown}");
        };
        if let Some(fault) = fault(error, self.documented) {
            let code = error.code().code();
            self.outcome.faults.push(format!(
                "{fault}: {code} {} {} ({}:{})\n  {shown}",
                error.message(),
                error.detail().unwrap_or_default(),
                error.file().unwrap_or_default(),
                error.line().unwrap_or_default(),
            ));
        }
        false
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|value| value.parse().expect("a number"))
}

fn world() -> Database {
    let database = Database::new();
    let mut root = database.connect();
    root.execute(
        "CREATE SCHEMA app; CREATE FUNCTION app.f(step jsonb) RETURNS jsonb LANGUAGE sql RETURN '{}'::jsonb;
         SELECT tasker.find_or_create_annotation_type('note'); SELECT tasker.find_or_create_dependent_system('w1')",
    );
    for role in &ROLES[1..] {
        root.execute(&format!(
            "CREATE ROLE {role} LOGIN; GRANT tasker_{role} TO {role}"
        ));
    }
    database
}

#[test]
fn no_call_ends_the_server_breaks_rows_or_raises_what_is_not_documented() {
    let seed = number("TASKER_SEED").unwrap_or(11);
    let calls = number("FUZZ_CALLS").map_or(scaled(5_000, 100_000), |calls| calls as usize);
    println!("TASKER_SEED={seed} FUZZ_CALLS={calls}");
    let database = world();
    let mut root = database.connect();
    let (functions, documented) = (functions(&mut root), documented());
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let callers = (0..SESSIONS as u64).map(|number| {
            let connect = |role: &&str| {
                let mut session = database.connect_as(role);
                let longest = patience(20).as_secs();
                session.execute(&format!(
                    "SET statement_timeout = '{longest}s'; SET lock_timeout = '5s'"
                ));
                session
            };
            let caller = Caller {
                sessions: ROLES.iter().map(connect).collect(),
                functions: &functions,
                documented: &documented,
                rng: Rng::with_seed(seed.wrapping_mul(1_000).wrapping_add(number)),
                outcome: Outcome::default(),
            };
            scope.spawn(move || caller.run(calls / SESSIONS))
        });
        let callers: Vec<_> = callers.collect();
        callers
            .into_iter()
            .map(|caller| caller.join().expect("no connection broke"))
            .collect()
    });
    let faults: Vec<&str> = outcomes
        .iter()
        .flat_map(|outcome| &outcome.faults)
        .map(String::as_str)
        .collect();
    assert!(
        faults.is_empty(),
        "{} of these:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert_eq!(root.disagreements(), Vec::<String>::new());
    let passed: BTreeSet<&String> = outcomes
        .iter()
        .flat_map(|outcome| outcome.passed.keys())
        .collect();
    let never: Vec<&str> = functions
        .iter()
        .map(|function| function.name.as_str())
        .filter(|name| !passed.contains(&name.to_string()))
        .collect();
    println!("never passed: {}", never.join(" "));
    assert!(
        calls < 3_000 || never.len() * 8 < functions.len(),
        "hardly any call of {} works",
        never.join(", ")
    );
    a_worker_still_works(&mut root);
}

fn a_worker_still_works(root: &mut Session) {
    root.query(
        "SELECT tasker.set_operational_state('normal', 'fuzz', true)",
        &[],
    );
    Template::new("after")
        .with("namespace_name", "after".into())
        .step("a", &[])
        .step("b", &["a"])
        .register(root);
    root.query(
        "SELECT tasker.create_task('after', namespace => 'after')",
        &[],
    );
    assert_eq!(root.work_in("after", |_| done()), ["a", "b"]);
}
