//! Defaults of a database, of a role or of a session that would stop what works in it.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use hostile::{Hostile, Meets};
use tasker_client_tests::database::install;
use tasker_client_tests::server::{Server, program};
use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Database, Session, long, patience, shapes};

mod background;
mod hostile;
mod round;

/// Where a setting comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Database,
    Role,
    RoleInDatabase,
    Session,
}
const WAYS: [Way; 4] = [Way::Database, Way::Role, Way::RoleInDatabase, Way::Session];

/// A session that has these settings. Only a superuser may set some of them by itself; else it is one of an administrator.
fn session_with(database: &Database, way: Way, settings: &[(String, &str)]) -> Session {
    let name = database.name();
    let role = format!("hand_of_{name}");
    let mut root = database.connect();
    root.execute(&format!(
        "CREATE ROLE {role} LOGIN IN ROLE tasker_admin, plain"
    ));
    let of = match way {
        Way::Database => format!("ALTER DATABASE {name}"),
        Way::Role => format!("ALTER ROLE {role}"),
        Way::RoleInDatabase => format!("ALTER ROLE {role} IN DATABASE {name}"),
        Way::Session => String::new(),
    };
    let mut session = (way == Way::Session).then(|| database.connect());
    for (setting, value) in settings {
        // A list of names stays one.
        let value = if setting == "search_path" {
            (*value).to_owned()
        } else {
            format!("'{value}'")
        };
        match &mut session {
            Some(session) => session.execute(&format!("SET {setting} = {value}")),
            None => root.execute(&format!("{of} SET {setting} = {value}")),
        }
    }
    session.unwrap_or_else(|| database.connect_as(&role))
}

/// What a round brings: its answers, and what the views show after it.
struct Outcome {
    answers: Vec<(&'static str, String)>,
    columns: BTreeMap<String, Vec<String>>,
}

fn prepared() -> Database {
    static PREPARED: OnceLock<()> = OnceLock::new();
    PREPARED.get_or_init(|| hostile::prepare_server(&mut Server::shared().connect("postgres")));
    let database = Database::new();
    let mut session = database.connect();
    session.execute(hostile::SURROUNDINGS);
    session.execute(
        "CREATE FUNCTION public.quick(step jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{}'::jsonb $$;
         GRANT ALL ON SCHEMA public TO PUBLIC",
    );
    database
}

fn run(database: &Database, way: Way, settings: &[(String, &str)]) -> Outcome {
    let views = round::views(&mut database.connect());
    let mut session = session_with(database, way, settings);
    Outcome {
        answers: round::answers(&mut session),
        columns: round::columns(&mut session, &views),
    }
}

/// The round without any setting. Of the views it has the columns that are the same after each round: no times, no uuids.
fn expected() -> &'static Outcome {
    static EXPECTED: OnceLock<Outcome> = OnceLock::new();
    EXPECTED.get_or_init(|| {
        let mut rounds = [Way::Database, Way::Session].into_iter().map(|way| {
            let database = prepared();
            run(&database, way, &[])
        });
        let mut expected = rounds.next().expect("one round");
        for other in rounds {
            assert_eq!(
                differences(&expected.answers, &other.answers),
                Vec::<String>::new()
            );
            expected
                .columns
                .retain(|column, values| other.columns.get(column) == Some(values));
        }
        assert!(
            expected.columns.len() > 300,
            "{:?}",
            expected.columns.keys()
        );
        expected
    })
}

/// The statements that answer otherwise.
fn differences(expected: &[(&str, String)], found: &[(&str, String)]) -> Vec<String> {
    let pairs = expected.iter().zip(found);
    pairs
        .filter(|(expected, found)| expected != found)
        .map(|((sql, expected), (_, found))| format!("{found}\ninstead of {expected}\nfrom {sql}"))
        .collect()
}

/// What is otherwise with these settings.
fn deviations(way: Way, settings: &[(String, &str)]) -> Vec<String> {
    let database = prepared();
    let found = run(&database, way, settings);
    let mut deviations = differences(&expected().answers, &found.answers);
    if deviations.is_empty() {
        let columns = expected().columns.iter();
        deviations.extend(columns.filter_map(|(column, values)| {
            let found = found.columns.get(column);
            (found != Some(values)).then(|| format!("{column}: {found:?} instead of {values:?}"))
        }));
    }
    deviations
}

fn settings() -> Vec<Hostile> {
    hostile::all(&mut Server::shared().connect("postgres"))
}

#[test]
fn calls_answer_the_same_whatever_harmless_settings_come_at_once() {
    let all: Vec<(String, &str)> = settings()
        .into_iter()
        .filter(|one| matches!(one.meets, Meets::Nothing))
        .flat_map(|one| one.settings)
        .collect();
    for way in WAYS {
        assert_eq!(deviations(way, &all), Vec::<String>::new(), "{way:?}");
    }
}

#[test]
fn calls_answer_the_same_with_each_harmless_setting_alone() {
    if !long() {
        return;
    }
    let mut wrong = vec![];
    for one in settings().iter().filter(|one| one.is_harmless()) {
        for way in WAYS {
            for deviation in deviations(way, &one.settings) {
                wrong.push(format!("{} by {way:?}: {deviation}", one.name()));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_setting_that_forbids_calls_refuses_them_and_changes_nothing_for_others() {
    let settings = settings();
    let refusing = settings.iter().filter(|one| one.refuses());
    for (number, one) in refusing.enumerate() {
        let Meets::Refusal(code, reason) = one.meets else {
            continue;
        };
        let ways = WAYS.iter().enumerate();
        for (_, way) in ways.filter(|(of, _)| long() || number % WAYS.len() == *of) {
            let database = prepared();
            let answers = round::answers(&mut session_with(&database, *way, &one.settings));
            let differences = differences(&expected().answers, &answers);
            let first = differences.first().map(String::as_str).unwrap_or_default();
            assert!(
                first.starts_with(code),
                "{} by {way:?}: {reason}, but {first}",
                one.name()
            );
        }
    }
}

#[test]
fn the_messages_of_the_tests_are_translated() {
    let mut session = Server::shared().connect("postgres");
    let mut message = |locale: &str| {
        session.execute(&format!("SET lc_messages = '{locale}'"));
        session.fails("SELECT 1 / 0", &[]).is("22012").message
    };
    let [plain, translated] = ["C", hostile::TRANSLATED].map(&mut message);
    let with_translations = std::process::Command::new(program("pg_config"))
        .arg("--configure")
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("--enable-nls"));
    assert_eq!(
        plain != translated,
        with_translations,
        "{plain}, {translated}"
    );
}

const WAYS_OF_PROCESSES: [Way; 3] = [Way::Database, Way::Role, Way::RoleInDatabase];

#[test]
fn background_processes_work_with_all_settings_at_once() {
    let mut scene = background::Scene::new();
    let all: Vec<(String, &str)> = settings()
        .into_iter()
        .flat_map(|one| one.settings)
        .collect();
    for way in WAYS_OF_PROCESSES {
        scene.start_with(way, &all);
        scene.run();
    }
    assert_eq!(scene.complaints(), Vec::<String>::new());
}

#[test]
fn background_processes_work_with_each_setting_alone() {
    if !long() {
        return;
    }
    let mut scene = background::Scene::new();
    for one in &settings() {
        for way in WAYS_OF_PROCESSES {
            println!("{} by {way:?}", one.name());
            scene.start_with(way, &one.settings);
            scene.run();
        }
    }
    assert_eq!(scene.complaints(), Vec::<String>::new());
}

/// What an installation is made of, apart from where its tables are.
fn made(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT concat_ws(' ', 'constraint', c.conrelid::regclass, pg_get_constraintdef(c.oid)) FROM pg_constraint c
         WHERE c.connamespace::regnamespace::text IN ('tasker', 'tasker_engine')
         UNION ALL SELECT concat_ws(' ', 'function', p.oid::regprocedure, md5(coalesce(p.prosrc, '') || coalesce(p.prosqlbody::text, '')), p.proconfig)
         FROM pg_proc p WHERE p.pronamespace::regnamespace::text IN ('tasker', 'tasker_engine') AND p.prosqlbody IS NULL
         UNION ALL SELECT concat_ws(' ', 'view', c.oid::regclass, pg_get_viewdef(c.oid)) FROM pg_class c
         WHERE c.relnamespace::regnamespace::text IN ('tasker', 'tasker_engine') AND c.relkind = 'v'
         UNION ALL SELECT concat_ws(' ', 'default', d.adrelid::regclass, pg_get_expr(d.adbin, d.adrelid)) FROM pg_attrdef d
         WHERE d.adrelid::regclass::text ~ '^tasker'
         ORDER BY 1",
        &[],
    )
}

#[test]
fn an_installation_under_all_settings_is_the_usual_one() {
    let usual = prepared();
    let database = Database::empty();
    let mut session = database.connect();
    session.execute(hostile::SURROUNDINGS);
    session.execute("CREATE FUNCTION public.quick(step jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{}'::jsonb $$");
    let settings: Vec<(String, &str)> = settings()
        .into_iter()
        .filter(|one| matches!(one.meets, Meets::Nothing))
        .flat_map(|one| one.settings)
        .collect();
    let mut hostile = session_with(&database, Way::Session, &settings);
    hostile.execute("CREATE EXTENSION tasker_ext; SELECT tasker.resume_after_restore()");
    assert_eq!(made(&mut session), made(&mut usual.connect()));
    let answers = round::answers(&mut hostile);
    assert_eq!(
        differences(&expected().answers, &answers),
        Vec::<String>::new()
    );
}

#[test]
fn a_claim_on_a_standby_is_refused_as_a_write() {
    let primary = Server::start(&[]);
    let standby = primary.standby();
    let mut session = primary.connect("postgres");
    install(&mut session);
    shapes::chain("single", 1).register(&mut session);
    session.create("single");
    let mut session = standby.connect("postgres");
    let began = Instant::now();
    while session.count(
        "SELECT count(*) FROM pg_extension WHERE extname = 'tasker_ext'",
        &[],
    ) == 0
    {
        assert!(began.elapsed() < patience(30));
        std::thread::sleep(Duration::from_millis(50));
    }
    let refused = session.try_claim(&Ask::by("worker", 1));
    refused
        .expect_err("a standby hands nothing out")
        .is("25006");
}
