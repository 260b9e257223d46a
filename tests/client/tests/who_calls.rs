//! Who calls: the current user at the moment of the call, whatever lies around the call.

use tasker_client_tests::{Database, Session, Template, json, shapes};

/// Two roles that may make schedules, and a template for them.
fn stage(first: &str, second: &str) -> (Database, Session) {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("report", 1).register(&mut session);
    session.execute(&format!(
        "CREATE ROLE {first} LOGIN; CREATE ROLE {second} LOGIN; GRANT tasker_operator TO {first}, {second};
         CREATE SCHEMA app; GRANT USAGE, CREATE ON SCHEMA app TO {first}, {second}"
    ));
    (database, session)
}

fn owners(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT schedule_name || ' ' || owner_role FROM tasker.schedules ORDER BY 1",
        &[],
    )
}

fn changes(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT to_state || ' ' || changed_by FROM tasker.operational_state_changes ORDER BY change_no",
        &[],
    )
}

const SCHEDULE: &str = "SELECT tasker.schedule_task('x', '@daily', 'report')";

#[test]
fn after_set_role_the_caller_is_that_role() {
    let (database, mut session) = stage("who_login", "who_set");
    session.execute("GRANT who_set TO who_login; ALTER ROLE who_login NOINHERIT");
    let mut login = database.connect_as("who_login");
    login.execute("SET ROLE who_set");
    login.execute(SCHEDULE);
    login.execute("SELECT tasker.set_operational_state('graceful_shutdown')");
    assert_eq!(owners(&mut session), ["x who_set"]);
    assert_eq!(changes(&mut session), ["graceful_shutdown who_set"]);
    assert_eq!(
        login.one::<String>("SELECT current_user::text", &[]),
        "who_set"
    );
}

#[test]
fn a_security_definer_function_calls_with_its_owner_s_rights() {
    let (database, mut session) = stage("who_owner", "who_user");
    database.connect_as("who_owner").execute(&format!(
        "CREATE FUNCTION app.schedule() RETURNS timestamptz LANGUAGE sql SECURITY DEFINER AS $$ {SCHEDULE} $$;
         CREATE FUNCTION app.pause() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT tasker.pause_schedule('x') $$;
         CREATE FUNCTION app.resume() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT tasker.resume_schedule('x') $$;
         CREATE FUNCTION app.remove() RETURNS boolean LANGUAGE sql SECURITY DEFINER AS $$ SELECT tasker.unschedule_task('x') $$;
         CREATE FUNCTION app.stop() RETURNS text LANGUAGE sql SECURITY DEFINER AS
         $$ SELECT tasker.set_operational_state('emergency') $$"
    ));
    let mut user = database.connect_as("who_user");
    user.execute("SELECT app.schedule()");
    assert_eq!(owners(&mut session), ["x who_owner"]);
    user.fails("SELECT tasker.pause_schedule('x')", &[])
        .is("42501")
        .says(&["who_owner", "who_user"]);
    user.execute("SELECT app.pause(), app.resume(), app.stop()");
    assert_eq!(changes(&mut session), ["emergency who_owner"]);
    // A superuser that uses it lends nothing.
    session.execute("SELECT app.remove()");
    session.execute("SELECT app.schedule()");
    assert_eq!(owners(&mut session), ["x who_owner"]);
}

#[test]
fn what_postgresql_runs_for_a_table_s_owner_calls_as_that_owner() {
    let (database, mut session) = stage("who_trapper", "who_other");
    let mut trapper = database.connect_as("who_trapper");
    trapper.execute(
        "CREATE FUNCTION app.trap(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
         BEGIN
             IF current_setting('app.trap', true) = 'set' THEN
                 PERFORM tasker.schedule_task('x', '@daily', 'report');
             END IF;
             RETURN n;
         END $$;
         CREATE TABLE app.bait (n int);
         INSERT INTO app.bait SELECT g FROM generate_series(1, 3) g;
         CREATE INDEX ON app.bait (app.trap(n))",
    );
    session.execute("SET app.trap = 'set'");
    session.execute("ANALYZE app.bait");
    assert_eq!(owners(&mut session), ["x who_trapper"]);
}

#[test]
fn a_handler_calls_with_its_role_s_rights() {
    let (database, mut session) = stage("who_handler", "who_nobody");
    session.execute("GRANT tasker_admin TO who_handler");
    let mut author = database.connect_as("who_handler");
    author.execute(
        "CREATE FUNCTION app.plan(step jsonb) RETURNS void LANGUAGE sql AS
         $$ SELECT tasker.schedule_task('x', '@daily', 'report'), tasker.set_operational_state('emergency') $$",
    );
    Template::new("plan")
        .step_with("only", &[], json!({"handler": "sql:app.plan"}))
        .register(&mut author);
    session.create("plan");
    let states: Vec<String> = session.all("SELECT state FROM tasker.run_steps()", &[]);
    assert_eq!(states, ["complete"]);
    assert_eq!(owners(&mut session), ["x who_handler"]);
    assert_eq!(changes(&mut session), ["emergency who_handler"]);
}

#[test]
fn a_session_cannot_pretend_that_another_role_calls() {
    let (database, _session) = stage("who_honest", "who_liar");
    let mut liar = database.connect_as("who_liar");
    for call in [
        "SELECT tasker_engine.schedule_task(10, 'x', '@daily', 'report', '{}', 'default', NULL, 'UTC', 'skip', true, 2, '[]', true)",
        "SELECT tasker_engine.pause_schedule(10, 'x')",
        "SELECT tasker_engine.resume_schedule(10, 'x')",
        "SELECT tasker_engine.unschedule_task(10, 'x')",
        "SELECT tasker_engine.own_schedule(10, 'x')",
    ] {
        liar.fails(call, &[]).is("42501");
    }
}

#[test]
fn after_a_failed_call_every_role_has_its_own_rights_again() {
    let (database, _session) = stage("who_failing", "who_idle");
    let mut failing = database.connect_as("who_failing");
    failing.execute(
        "DO $$
         DECLARE
             call text;
         BEGIN
             FOREACH call IN ARRAY ARRAY[
                 'SELECT tasker.schedule_task(''x'', ''never'', ''report'')',
                 'SELECT tasker.schedule_task(''x'', ''@daily'', ''none'')',
                 'SELECT tasker.pause_schedule(''none'')',
                 'SELECT tasker.set_operational_state(''none'')']
             LOOP
                 BEGIN
                     EXECUTE call;
                     RAISE assert_failure USING MESSAGE = 'no error: ' || call;
                 EXCEPTION WHEN OTHERS THEN
                     NULL;
                 END;
                 IF current_user <> 'who_failing' THEN
                     RAISE assert_failure USING MESSAGE = format('%s after %s', current_user, call);
                 END IF;
             END LOOP;
         END $$",
    );
    failing
        .fails("SELECT * FROM tasker_engine.schedules", &[])
        .is("42501");
}
