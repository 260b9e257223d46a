//! Nothing public stays untested: every function, view and table of schema tasker occurs in a golden file or in a test.

use std::path::{Path, PathBuf};

use tasker_client_tests::Database;
use tasker_client_tests::server::root;

/// Every file below a folder that ends so.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect()
}

/// Whether a text contains an identifier as a whole word: qualified with its schema, or at the beginning of a string
/// that a test puts behind the schema.
fn names(text: &str, name: &str) -> bool {
    [format!("tasker.{name}"), format!("\"{name}")]
        .iter()
        .any(|wanted| {
            text.match_indices(wanted).any(|(at, _)| {
                let next = text[at + wanted.len()..].chars().next();
                !next.is_some_and(|next| next.is_alphanumeric() || next == '_')
            })
        })
}

#[test]
fn a_name_counts_only_as_a_whole() {
    assert!(names("SELECT tasker.create_task('x')", "create_task"));
    assert!(names("FROM tasker.tasks", "tasks"));
    assert!(names("(\"tasks_with_tag('eu')\", both)", "tasks_with_tag"));
    assert!(!names("SELECT tasker.create_tasks('x')", "create_task"));
    assert!(!names("SELECT tasks", "tasks"));
}

#[test]
fn everything_public_is_in_a_golden_file_or_a_test() {
    let own = file!().rsplit('/').next().unwrap_or_default();
    let mut texts = files(&root().join("tests/pg_regress/sql"), ".sql");
    texts.extend(files(&root().join("tests/client/tests"), ".rs"));
    texts.retain(|path| !path.ends_with(own));
    let texts: Vec<String> = texts
        .iter()
        .map(|path| std::fs::read_to_string(path).expect("a test can be read"))
        .collect();
    let database = Database::new();
    let public: Vec<String> = database.connect().all(
        "SELECT p.proname::text FROM pg_proc p WHERE p.pronamespace = 'tasker'::regnamespace
         UNION SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'tasker'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p')
         ORDER BY 1",
        &[],
    );
    let untested: Vec<&String> = public
        .iter()
        .filter(|name| !texts.iter().any(|text| names(text, name)))
        .collect();
    assert!(
        untested.is_empty(),
        "in no test: {untested:?}; see tests/pg_regress/README.md"
    );
}

#[test]
fn a_c_function_has_the_name_of_its_sql_function() {
    let differ: Vec<String> = Database::new().connect().all(
        "SELECT format('%s is linked to %s', p.oid::regprocedure, p.prosrc)
         FROM pg_proc p
         JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
         JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'tasker_ext'
         WHERE p.prolang = (SELECT l.oid FROM pg_language l WHERE l.lanname = 'c') AND p.prosrc <> p.proname
         ORDER BY 1",
        &[],
    );
    assert_eq!(differ, Vec::<String>::new());
}
