//! `tasker.caches` and `reset_cache`: what sessions keep in memory, what empties it, and that it costs nothing.

use std::time::Instant;

use tasker_client_tests::{Database, Session, json, patience, shapes};

fn counts(session: &mut Session, name: &str) -> (i64, i64, i64, i64, i64, i64) {
    let row = session
        .query(
            "SELECT entries, bytes, hits, misses, evictions, invalidations FROM tasker.caches WHERE name = $1",
            &[&name],
        )
        .remove(0);
    (
        row.get(0),
        row.get(1),
        row.get(2),
        row.get(3),
        row.get(4),
        row.get(5),
    )
}

#[test]
fn a_look_up_counts_as_a_miss_at_first_and_then_as_a_hit() {
    let database = Database::new();
    shapes::chain("one", 1).register(&mut database.connect());
    let mut session = database.connect();
    assert_eq!(counts(&mut session, "templates").0, 0);
    session.create("one");
    let (entries, bytes, _, misses, ..) = counts(&mut session, "templates");
    assert_eq!((entries, misses), (1, 1));
    assert!((100..100_000).contains(&bytes), "{bytes} bytes");
    let before = counts(&mut session, "templates").2;
    session.create("one");
    let (entries, _, hits, misses, ..) = counts(&mut session, "templates");
    assert_eq!((entries, misses), (1, 1));
    assert!(hits > before, "{hits} hits after {before}");
    let names: Vec<String> = session.all("SELECT name FROM tasker.caches ORDER BY 1", &[]);
    assert_eq!(
        names,
        [
            "claimants",
            "configuration",
            "event_routes",
            "event_schemas",
            "template_facts",
            "templates"
        ]
    );
}

#[test]
fn a_reset_empties_the_cache_in_every_session_at_the_commit() {
    let database = Database::new();
    let (mut one, mut other) = (database.connect(), database.connect());
    shapes::chain("one", 1).register(&mut one);
    other.create("one");
    one.execute("BEGIN; SELECT tasker.reset_cache('templates')");
    other.create("one");
    assert_eq!(counts(&mut other, "templates").5, 0, "before the commit");
    one.execute("COMMIT");
    let misses = counts(&mut other, "templates").3;
    other.create("one");
    let now = counts(&mut other, "templates");
    assert_eq!((now.0, now.3, now.5), (1, misses + 1, 1));
}

#[test]
fn a_reset_that_is_rolled_back_leaves_the_others_as_they_are() {
    let database = Database::new();
    let (mut one, mut other) = (database.connect(), database.connect());
    shapes::chain("one", 1).register(&mut one);
    other.create("one");
    one.execute("BEGIN; SELECT tasker.reset_cache('templates'); ROLLBACK");
    other.create("one");
    assert_eq!(counts(&mut other, "templates").5, 0);
}

#[test]
fn only_an_admin_resets_and_only_a_cache_that_is_there() {
    let database = Database::new();
    let mut session = database.connect();
    session
        .fails("SELECT tasker.reset_cache('nothing')", &[])
        .is("22023")
        .message_says(&["nothing"])
        .detail_says(&["templates"]);
    session
        .fails("SELECT tasker.reset_cache(NULL)", &[])
        .is("22004");
    session.execute("SET ROLE tasker_operator");
    session
        .fails("SELECT tasker.reset_cache('templates')", &[])
        .is("42501");
    session.execute("RESET ROLE; SET ROLE tasker_admin");
    session.execute("SELECT tasker.reset_cache('templates')");
    session.execute("RESET ROLE; SET ROLE tasker_reader");
    assert_eq!(session.count("SELECT count(*) FROM tasker.caches", &[]), 6);
}

#[test]
fn templates_that_were_not_used_go_when_the_memory_is_full() {
    let database = Database::new();
    let mut session = database.connect();
    // About 400 kB of configuration each, times four.
    let large = json!({"text": "x".repeat(100_000)});
    for name in ["a", "b", "c", "d"] {
        shapes::chain(name, 1)
            .with(
                "task_handler",
                json!({"callable": "H", "initialization": large}),
            )
            .register(&mut session);
    }
    session.set("tasker.max_cache_mb = 1");
    let mut session = database.connect();
    for name in ["a", "b", "a", "c", "a", "d", "a"] {
        session.create(name);
    }
    let (entries, bytes, _, misses, evictions, _) = counts(&mut session, "templates");
    assert!(bytes <= 1 << 20, "{bytes} bytes");
    assert!((1..=2).contains(&entries), "{entries} entries");
    assert!(evictions >= 2, "{evictions} evictions");
    assert_eq!(misses, 4, "a was used last each time, and stayed");
}

#[test]
fn a_rolled_back_change_of_routes_is_not_answered_from_memory() {
    let database = Database::new();
    let (mut one, mut other) = (database.connect(), database.connect());
    let share = "SELECT tasker.event_share('task.completed', 'log')";
    let before: f64 = one.one(share, &[]);
    one.execute("BEGIN; SELECT tasker.set_event_route('task.completed', '{log}', true, 0.5)");
    assert_eq!(one.one::<f64>(share, &[]), 0.5);
    assert_eq!(other.one::<f64>(share, &[]), before);
    one.execute("ROLLBACK");
    assert_eq!(one.one::<f64>(share, &[]), before);
    one.execute("SELECT tasker.set_event_route('task.completed', '{log}', true, 0.5)");
    assert_eq!(other.one::<f64>(share, &[]), 0.5);
}

#[test]
fn a_hit_costs_less_than_two_microseconds() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("one", 1).register(&mut session);
    let id: i32 = session.one("SELECT named_task_id FROM tasker.named_tasks", &[]);
    let call = format!(
        "SELECT count(tasker_engine.step_level({id}, 1::smallint)) FROM generate_series(1, 100000)"
    );
    session.query(&call, &[]);
    let begun = Instant::now();
    session.query(&call, &[]);
    // With the call of the function around it.
    assert!(
        begun.elapsed() < patience(1) / 5,
        "{:?} for 100,000 hits",
        begun.elapsed()
    );
}
