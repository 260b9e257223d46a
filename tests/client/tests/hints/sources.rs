//! Each hint of the sources that recommends a call is in one of the lists: executed here, or by another test.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tasker_client_tests::server::root;
use tasker_client_tests::{Database, Session, json, started};

use super::cases::{CASES, Case, ELSEWHERE, Hint};
use tasker_client_tests::shapes;

/// What makes a text recommend a call, a statement or a setting.
const CALLS: [&str; 24] = [
    "tasker.",
    "tasker_engine.",
    "SELECT ",
    "ALTER ",
    "GRANT ",
    "REVOKE ",
    "CREATE ",
    "DROP ",
    "PREPARED",
    "ISOLATION",
    "=> ",
    "()",
    "max_",
    "shared_preload",
    "egister ",
    "retry_",
    "resolve_",
    "transition_",
    "rerun_",
    "cancel_",
    "claim_steps",
    "set_",
    "delete_",
    "run_",
];

/// How the text of a hint begins in a source.
const BEGIN_IN_RUST: [&str; 7] = [
    "hint(",
    "renamed(&name,",
    "HINT: &str =",
    "HINT: &'static CStr =",
    "hint: \"",
    "let hint =",
    "OR_LOWER: &str =",
];
const BEGIN_IN_SQL: [&str; 3] = ["HINT = ", "hint := ", "relocate CONSTANT text := "];

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "versions" && name != "upgrade" {
            files(&path, into);
        } else if path
            .extension()
            .is_some_and(|end| end == "rs" || end == "sql")
        {
            into.push(path);
        }
    }
}

/// The literals in a piece of source, until it ends: at a semicolon, or at the bracket that closes it.
fn literals(source: &str, quote: char) -> Vec<String> {
    let (mut found, mut depth) = (vec![], 0);
    let mut rest = source.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ if c == quote => {
                let mut text = String::new();
                while let Some(c) = rest.next() {
                    let doubled = c == '\'' && rest.peek() == Some(&'\'');
                    if c == quote && !doubled {
                        break;
                    }
                    // A quote that is doubled or behind a backslash belongs to the text.
                    let escaped = c == '\\' || (doubled && quote == '\'');
                    text.extend(if escaped { rest.next() } else { Some(c) });
                }
                found.push(text);
            }
            _ => {}
        }
        if depth < 0 || (depth == 0 && c == ';') {
            break;
        }
    }
    found
}

fn hints_of(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("a source");
    let sql = path.extension().is_some_and(|end| end == "sql");
    let source = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let (begin, quote): (&[&str], char) = if sql {
        (&BEGIN_IN_SQL, '\'')
    } else {
        (&BEGIN_IN_RUST, '"')
    };
    let mut hints = vec![];
    for begin in begin {
        for (at, _) in source.match_indices(begin) {
            let from = at + begin.trim_end_matches('"').len();
            let statement = source[from..]
                .split(", DETAIL =")
                .next()
                .unwrap_or_default();
            hints.extend(literals(statement, quote));
        }
    }
    for (end, _) in source.match_indices("END AS hint") {
        let from = source[..end].rfind("CASE ").expect("the CASE of a hint");
        hints.extend(literals(&source[from..end], quote));
    }
    hints
}

/// Each hint that recommends a call, and the source it is in.
fn hints_with_calls() -> Vec<(String, String)> {
    let root = root();
    let mut paths = vec![];
    for folder in ["src", "crates/rules/src", "sql"] {
        files(&root.join(folder), &mut paths);
    }
    let mut hints = vec![];
    for path in paths {
        let name = path
            .strip_prefix(&root)
            .unwrap_or(&path)
            .display()
            .to_string();
        for hint in hints_of(&path) {
            if CALLS.iter().any(|call| hint.contains(call)) {
                hints.push((name.clone(), hint));
            }
        }
    }
    hints.sort();
    hints.dedup();
    hints
}

#[test]
fn each_hint_of_the_sources_with_a_call_is_executed() {
    let hints = hints_with_calls();
    assert!(hints.len() > 60, "{hints:#?}");
    let executed = CASES.iter().map(|case| case.source);
    let listed: BTreeSet<&str> = executed
        .chain(ELSEWHERE.iter().map(|(hint, ..)| *hint))
        .collect();
    let in_no_list: Vec<_> = hints
        .iter()
        .filter(|(_, hint)| !listed.iter().any(|listed| hint.contains(listed)))
        .collect();
    assert!(
        in_no_list.is_empty(),
        "a new hint belongs in tests/client/tests/hints/cases.rs: {in_no_list:#?}"
    );
    let gone: Vec<_> = listed
        .iter()
        .filter(|listed| !hints.iter().any(|(_, hint)| hint.contains(*listed)))
        .collect();
    assert!(
        gone.is_empty(),
        "no source has these hints any more: {gone:#?}"
    );
    for (hint, file, test) in ELSEWHERE {
        let path = root().join("tests/client/tests").join(file);
        let text = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            text.contains(&format!("#[test]\nfn {test}()")),
            "{file} has no test {test}, which executes: {hint}"
        );
    }
}

/// The words `tasker.name` of a text; not those that stand for any name.
fn names(hint: &str) -> Vec<&str> {
    let found = hint
        .match_indices("tasker.")
        .filter(|(at, _)| !hint[..*at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_'));
    found
        .map(|(at, begin)| {
            let rest = &hint[at + begin.len()..];
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(rest.len());
            &rest[..end]
        })
        .filter(|name| !["", "function", "name_of_the_function"].contains(name))
        .collect()
}

#[test]
fn each_function_view_and_setting_that_a_hint_names_exists() {
    let (_database, mut session, _) = started(&shapes::chain("two", 2));
    let hints = hints_with_calls();
    let mut known = BTreeSet::new();
    for (source, hint) in &hints {
        for name in names(hint).into_iter().filter(|name| known.insert(*name)) {
            let sql = "SELECT count(*) FROM (SELECT FROM pg_proc WHERE pronamespace = 'tasker'::regnamespace AND proname = $1
                       UNION ALL SELECT FROM pg_class WHERE relnamespace = 'tasker'::regnamespace AND relname = $1
                       UNION ALL SELECT FROM pg_settings WHERE name = 'tasker.' || $1) there";
            assert!(
                session.count(sql, &[&name]) > 0,
                "{source}: no tasker.{name}: {hint}"
            );
        }
    }
    assert!(known.len() > 25, "{known:#?}");
}

/// The hint of a case, as the server or the source gives it.
fn hint_of(
    session: &mut Session,
    case: &Case,
    fill: &dyn Fn(&str) -> String,
) -> Result<String, String> {
    match case.hint {
        Hint::Refusal(call) => match session.attempt_rows(&fill(call)) {
            Ok(rows) => Err(format!("not refused, {rows} rows: {call}")),
            Err(failure) => Ok(failure.hint),
        },
        Hint::Row(query) => {
            let hints: Vec<Option<String>> = session.all(&fill(query), &[]);
            hints
                .into_iter()
                .flatten()
                .next()
                .ok_or(format!("no row with a hint: {query}"))
        }
        Hint::Notice(call) => {
            session.take_notices();
            session
                .attempt_rows(&fill(call))
                .map_err(|failure| format!("{call}: {failure}"))?;
            let hints = session.take_hints();
            hints
                .into_iter()
                .find(|hint| !hint.is_empty())
                .ok_or(format!("no notice with a hint: {call}"))
        }
        Hint::Source(reason) => {
            println!("only the words: {}: {reason}", case.source);
            let mut hints = hints_with_calls().into_iter();
            hints
                .find(|(_, hint)| hint.contains(case.source))
                .map(|(_, hint)| hint)
                .ok_or(case.source.to_owned())
        }
    }
}

/// Whether the hint has these words; `subscribe()` is not in `unsubscribe()`.
fn says(hint: &str, words: &str) -> bool {
    let of_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    hint.match_indices(words).any(|(at, _)| {
        let before = hint[..at].ends_with(of_word) && words.starts_with(of_word);
        let behind = hint[at + words.len()..].starts_with(of_word) && words.ends_with(of_word);
        !before && !behind
    })
}

/// Does what the hint says; then what was refused is allowed, if the hint is about that.
fn follow(case: &Case) -> Result<(), String> {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    let (task, step) = (task.to_string(), session.step(task, "step_1").to_string());
    let fill = |text: &str| text.replace("{task}", &task).replace("{step}", &step);
    for statement in case.before {
        session
            .attempt_rows(&fill(statement))
            .map_err(|failure| format!("before: {statement}: {failure}"))?;
    }
    let hint = hint_of(&mut session, case, &fill)?;
    for (said, call) in case.says {
        let said = fill(said);
        if !says(&hint, &said) {
            return Err(format!("{said:?} is not said: {hint}"));
        }
        let call = fill(call).replace("{}", &said);
        session
            .attempt_rows(&call)
            .map_err(|failure| format!("{hint}\n  {call}: {failure}"))?;
    }
    match case.hint {
        Hint::Refusal(call) if case.helps => {
            session
                .attempt_rows(&fill(call))
                .map_err(|failure| format!("{hint}\n  does not help: {failure}"))?;
        }
        Hint::Notice(call) if case.helps => {
            let rows = session
                .attempt_rows(&fill(call))
                .map_err(|failure| format!("{hint}\n  does not help: {failure}"))?;
            if rows == 0 {
                return Err(format!("does not help, no row: {hint}"));
            }
        }
        Hint::Row(query) if case.helps => {
            let left: Vec<Option<String>> = session.all(&fill(query), &[]);
            if left.iter().flatten().any(|other| *other == hint) {
                return Err(format!("does not help: {hint}"));
            }
        }
        _ => {}
    }
    Ok(())
}

#[test]
fn what_each_hint_recommends_is_done_as_it_says() {
    let followed = |case: &Case| {
        follow(case)
            .err()
            .map(|fault| format!("{}: {fault}", case.source))
    };
    let wanted = std::env::var("TASKER_HINT").unwrap_or_default();
    let cases = CASES.iter().filter(|case| case.source.contains(&wanted));
    let faults: Vec<String> = cases.filter_map(followed).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_hint_before_a_resumption_resumes() {
    let (database, session, _task) = started(&shapes::chain("two", 2));
    drop(session);
    let copied = Database::copy_of(&database);
    let mut copy = copied.connect();
    let hint = copy.fails("SELECT tasker.create_task('two')", &[]).hint;
    let from = hint.find("SELECT").expect("a statement");
    let statement = hint[from..].split(". ").next().unwrap_or_default();
    copy.execute(statement);
    copy.create("two");

    let made = Database::empty();
    let mut new = made.connect();
    new.execute("CREATE EXTENSION tasker_ext");
    let said = new.fails("SELECT tasker.create_task('two')", &[]).hint;
    assert_eq!(said, hint);
    assert!(said.contains("the first register_template() does the same"));
    shapes::chain("two", 2).register(&mut new);
    new.create("two");
}

#[test]
fn the_hint_of_a_schema_of_an_older_version_updates_it() {
    let database = Database::empty();
    let mut session = database.connect();
    session.execute("CREATE EXTENSION tasker_ext VERSION '0.1.0'");
    let refused = session.fails("SELECT tasker.register_template('{}')", &[]);
    let hint = refused.is("55000").hint;
    assert!(
        hint.contains("Run ALTER EXTENSION tasker_ext UPDATE."),
        "{hint}"
    );
    session.execute("ALTER EXTENSION tasker_ext UPDATE");
    shapes::chain("two", 2).register(&mut session);
    session.create("two");
}

#[test]
fn the_hint_of_a_template_that_cannot_be_read_registers_a_higher_version() {
    let (database, mut session, _task) = started(&shapes::chain("two", 2));
    session.execute("UPDATE tasker.named_tasks SET configuration = '{\"name\": 5}'");
    let mut fresh = database.connect();
    let refused = fresh.fails("SELECT tasker.create_task('two')", &[]);
    let hint = refused.is("XX001").hint;
    assert!(
        hint.contains("Register it again under a higher version."),
        "{hint}"
    );
    shapes::chain("two", 2)
        .with("version", json!("9.0.0"))
        .register(&mut fresh);
    fresh.create("two");
}

#[test]
fn the_hint_of_a_step_that_was_claimed_too_often_ends_it() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    let step = session.step(task, "step_1");
    session.query(
        "UPDATE tasker_engine.steps SET claim_number = 2147483647 WHERE tasker.step_uuid(task_uuid, step_no) = $1",
        &[&step],
    );
    let start = "SELECT tasker.transition_step($1, 'in_progress')";
    let refused = session.fails(start, &[&step]);
    let hint = refused.is("54000").hint;
    assert!(
        hint.contains(
            "Call tasker.resolve_step_manually or tasker.cancel_task, and create another task"
        ),
        "{hint}"
    );
    session.query("SELECT tasker.resolve_step_manually($1, '{}')", &[&step]);
    session.query("SELECT tasker.cancel_task($1)", &[&task]);
    session.create("two");
}
