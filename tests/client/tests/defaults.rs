//! Defaults of a database that would stop what works in it.

use std::time::{Duration, Instant};

use tasker_client_tests::database::install;
use tasker_client_tests::server::Server;
use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Template, json, patience, shapes};

#[test]
fn background_processes_work_whatever_the_defaults_of_the_database() {
    let server = Server::start(&[
        "shared_preload_libraries=tasker_ext",
        "max_worker_processes=16",
    ]);
    let mut session = server.connect("postgres");
    install(&mut session);
    session.execute(
        "CREATE ROLE plain;
         CREATE FUNCTION public.quick(step jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{}'::jsonb $$",
    );
    Template::new("inside")
        .step_with("only", &[], json!({"handler": "sql:public.quick"}))
        .register(&mut session);
    for default in [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_read_only = on",
        "default_transaction_deferrable = on",
        "statement_timeout = 1",
        "lock_timeout = 1",
        "idle_in_transaction_session_timeout = 1",
        "role = 'plain'",
        "session_replication_role = 'replica'",
        "row_security = off",
        "temp_file_limit = 0",
    ] {
        session.execute(&format!("ALTER DATABASE postgres SET {default}"));
    }
    server.stop();
    server.start_again();
    // A session of its own settings.
    let mut config = server.config("postgres", "postgres");
    config.options(
        "-c default_transaction_isolation=read\\ committed -c default_transaction_read_only=off -c statement_timeout=60s \
         -c role=none -c idle_in_transaction_session_timeout=0",
    );
    let mut session = tasker_client_tests::Session::open(config);
    let task = session.create("inside");
    let began = Instant::now();
    while session.task_state(task) != "complete" {
        assert!(began.elapsed() < patience(30), "{}", server.log());
        std::thread::sleep(Duration::from_millis(50));
    }
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
