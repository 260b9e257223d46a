//! The order of events for eight consumers: the events of a step in order, a parent's end before its child's start, and with `ordered`
//! the events of a task at one consumer at a time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Database, Session, Uuid, Value, json, shapes};

/// Tasks that the workers create.
const TASKS: usize = 80;

/// Workers in transactions that overlap, and eight consumers that poll until nothing comes any more. The consumers keep up, so that many
/// positions are in the midst of transactions that are open.
fn run(database: &Database, consume: impl Fn(&mut Session, usize) -> bool + Sync) {
    let mut session = database.connect();
    shapes::small_diamond()
        .patient()
        .with("name", json!("fan"))
        .register(&mut session);
    let (working, created) = (AtomicUsize::new(3), AtomicUsize::new(0));
    let (working, created) = (&working, &created);
    let is_over = || working.load(Ordering::Acquire) == 0;
    let seen = std::thread::scope(|scope| {
        for number in 0..3 {
            scope.spawn(move || {
                work(
                    &mut database.connect(),
                    &format!("worker {number}"),
                    created,
                );
                working.fetch_sub(1, Ordering::Release);
            });
        }
        for number in 0..8 {
            let consume = &consume;
            scope.spawn(move || {
                let (mut session, mut empty) = (database.connect(), 0);
                while empty < 5 {
                    let is_over = is_over();
                    if consume(&mut session, number) {
                        empty = 0;
                    } else {
                        empty += usize::from(is_over);
                        std::thread::sleep(Duration::from_millis(if is_over { 300 } else { 10 }));
                    }
                }
            });
        }
        // The snapshots up to which everything was read meanwhile.
        let mut seen: BTreeSet<String> = BTreeSet::new();
        while !is_over() {
            let places: Vec<String> = session.all(
                "SELECT split_part(position, ';', 2) FROM tasker_engine.subscriber_places",
                &[],
            );
            seen.extend(places);
            std::thread::sleep(Duration::from_millis(5));
        }
        seen
    });
    println!("{} positions", seen.len());
    assert!(
        seen.len() > 8,
        "the consumers do not keep up: {} positions",
        seen.len()
    );
}

fn work(session: &mut Session, name: &str, created: &AtomicUsize) {
    let (ask, mut idle) = (Ask::by(name, 5), 0);
    while idle < 10 {
        session.execute("BEGIN");
        if created.fetch_add(1, Ordering::Relaxed) < TASKS {
            session.create("fan");
        }
        let claims = session.claim(&ask);
        idle = if claims.is_empty() { idle + 1 } else { 0 };
        let reports: Vec<Value> = claims.iter().map(|claim| claim.done(json!({}))).collect();
        std::thread::sleep(Duration::from_millis(fastrand::u64(..60)));
        session.query(
            "SELECT tasker.report_steps($1, $2)",
            &[&name, &json!(reports)],
        );
        session.execute("COMMIT");
    }
}

/// A table of what was acknowledged, in that order, and a subscriber.
fn subscribed(ordered: bool) -> (Database, Session) {
    let database = Database::new();
    let mut session = database.connect();
    session.execute(
        "CREATE TABLE public.done (no bigserial, event_id bigint, name text, task uuid, step uuid, payload jsonb)",
    );
    session.query(
        "SELECT tasker.subscribe('audit', '{task.*,step.*}', 'beginning', ordered => $1, max_deliveries => 1000)",
        &[&ordered],
    );
    (database, session)
}

/// All came once, and causes before effects.
fn is_in_order(session: &mut Session) {
    let (events, distinct) = (
        session.count("SELECT count(*) FROM public.done", &[]),
        session.count("SELECT count(DISTINCT event_id) FROM public.done", &[]),
    );
    let all = session.count(
        "SELECT count(event_id) FROM tasker.read_events(max_events => 10000, patterns => '{task.*,step.*}')",
        &[],
    );
    assert!(all > TASKS as i64 * 10, "{all}");
    assert_eq!((events, distinct), (all, all));
    let backwards = session.count(
        "SELECT count(*) FROM (SELECT event_id, lag(event_id) OVER (PARTITION BY step ORDER BY no) AS before
                               FROM public.done WHERE step IS NOT NULL) e
         WHERE before > event_id",
        &[],
    );
    assert_eq!(backwards, 0, "events of a step");
    let early: Vec<String> = session.all(
        "SELECT c.payload ->> 'step_name' FROM public.done c CROSS JOIN jsonb_array_elements_text(c.payload -> 'step_dependencies') p (name)
         WHERE c.name = 'step.execution_requested' AND NOT EXISTS (
             SELECT FROM public.done o
             WHERE o.task = c.task AND o.name = 'step.completed' AND o.payload ->> 'step_name' = p.name AND o.no < c.no)",
        &[],
    );
    assert_eq!(early, [""; 0], "steps before their parents");
}

#[test]
fn eight_consumers_get_the_events_of_a_step_in_order_and_a_parents_end_before_its_childs_start() {
    let (database, mut session) = subscribed(false);
    // In one transaction, so that the order of the rows is that in which the events were handed out.
    run(&database, |session, number| {
        session.execute("BEGIN");
        let polled = session.query(
            "WITH polled AS (SELECT * FROM tasker.poll_events('audit', $1)),
                  done AS (INSERT INTO public.done (event_id, name, task, step, payload)
                           SELECT event_id, name, task_uuid, step_uuid, payload FROM polled)
             SELECT tasker.ack_events('audit', array_agg(event_id)) FROM polled HAVING count(*) > 0",
            &[&(10 + 15 * number as i32)],
        );
        session.execute("COMMIT");
        !polled.is_empty()
    });
    is_in_order(&mut session);
}

#[test]
fn eight_consumers_of_an_ordered_subscriber_have_the_events_of_a_task_one_at_a_time_and_in_order() {
    let (database, mut session) = subscribed(true);
    let holders: Mutex<HashMap<Uuid, usize>> = Mutex::default();
    let (turns, given_back) = (AtomicUsize::new(0), AtomicUsize::new(0));
    run(&database, |session, number| {
        let rows = session.query(
            "SELECT event_id, task_uuid, name, step_uuid, payload FROM tasker.poll_events('audit', $1, '1 minute')",
            &[&(10 + 15 * number as i32)],
        );
        let mut tasks: Vec<Uuid> = rows.iter().map(|row| row.get(1)).collect();
        tasks.sort_unstable();
        tasks.dedup();
        for task in &tasks {
            let holder = holders.lock().expect("no panic").insert(*task, number);
            assert!(
                holder.is_none_or(|holder| holder == number),
                "consumers {holder:?} and {number} have events of {task}"
            );
        }
        std::thread::sleep(Duration::from_millis(fastrand::u64(..15)));
        let turn = turns.fetch_add(1, Ordering::Relaxed);
        let mut failed: Option<Uuid> = None;
        for (index, row) in rows.iter().enumerate() {
            let id: i64 = row.get(0);
            let task: Uuid = row.get(1);
            let behind = rows[index + 1..].iter();
            let is_last = behind
                .map(|next| next.get::<_, Uuid>(1))
                .all(|next| next != task);
            // What this consumer has behind the one that fails is given back with it.
            if failed == Some(task) {
                continue;
            }
            let fails = turn % 5 == 3 && failed.is_none() && !is_last;
            if fails || is_last {
                holders.lock().expect("no panic").remove(&task);
            }
            if fails {
                failed = Some(task);
                given_back.fetch_add(1, Ordering::Relaxed);
                session.query(
                    "SELECT tasker.nack_events('audit', ARRAY[$1::bigint], '0')",
                    &[&id],
                );
                continue;
            }
            session.query(
                "WITH a AS (SELECT tasker.ack_events('audit', ARRAY[$1::bigint]) AS done)
                 INSERT INTO public.done (event_id, task, name, step, payload) SELECT $1, $2, $3, $4, $5 FROM a WHERE a.done = 1",
                &[&id, &task, &row.get::<_, &str>(2), &row.get::<_, Option<Uuid>>(3), &row.get::<_, Value>(4)],
            );
        }
        !rows.is_empty()
    });
    assert!(given_back.into_inner() > 5, "hardly any failed");
    is_in_order(&mut session);
}
