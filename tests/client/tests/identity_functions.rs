//! `identity_strategy: sql:<schema.function>`: a function of the template makes the key that says which requests are equal.

use tasker_client_tests::{Database, Session, Template, Uuid, json, shapes};

const FUNCTIONS: &str = r#"
CREATE SCHEMA app;
CREATE FUNCTION app.key(request jsonb) RETURNS jsonb LANGUAGE sql AS
    $$ SELECT request->'context'->'order' $$;
CREATE FUNCTION app.all_of_it(request jsonb) RETURNS jsonb LANGUAGE sql AS
    $$ SELECT to_jsonb(request::text) $$;
CREATE FUNCTION app.nothing(request jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT NULL::jsonb $$;
CREATE FUNCTION app.list(request jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '[1]'::jsonb $$;
CREATE FUNCTION app.fails(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no order' USING ERRCODE = '22012'; END $$;
CREATE FUNCTION app.who(request jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(current_user::text) $$;
"#;

fn database() -> (Database, Session) {
    let database = Database::new();
    let mut session = database.connect();
    session.execute(FUNCTIONS);
    (database, session)
}

fn template(name: &str, function: &str) -> Template {
    shapes::chain(name, 1).with("identity_strategy", json!(format!("sql:app.{function}")))
}

#[test]
fn requests_with_an_equal_key_are_the_same_one() {
    let (_database, mut session) = database();
    template("one", "key").register(&mut session);
    let first = session.create_with("one", &json!({"order": 7, "note": "a"}));
    session
        .fails(
            "SELECT tasker.create_task('one', '{\"order\": 7, \"note\": \"b\"}', reason => 'again')",
            &[],
        )
        .is("23505")
        .detail_says(&[&first.to_string()]);
    session.create_with("one", &json!({"order": 8}));
    session.create_with("one", &json!({"order": "eight"}));
    let both = "SELECT count(*) FROM tasker.create_tasks('one', ARRAY['{\"order\": 9}', '{\"order\": 9}']::jsonb[])";
    session.fails(both, &[]).is("23505");
}

#[test]
fn a_key_of_the_request_itself_comes_before_the_function() {
    let (_database, mut session) = database();
    template("one", "nothing").register(&mut session);
    let call = "SELECT tasker.create_task('one', '{}', idempotency_key => 'k')";
    let task: Uuid = session.one(call, &[]);
    assert_eq!(session.one::<Uuid>(call, &[]), task);
}

#[test]
fn the_window_and_a_cancelled_task_let_an_equal_request_pass() {
    let (_database, mut session) = database();
    template("one", "key")
        .with("identity_window", json!("off"))
        .register(&mut session);
    let first = session.create_with("one", &json!({"order": 7}));
    session.query("SELECT tasker.cancel_task($1)", &[&first]);
    let second = session.create_with("one", &json!({"order": 7}));
    assert_ne!(first, second);
}

#[test]
fn null_another_value_an_error_and_a_function_that_is_not_there_refuse_the_request() {
    let (_database, mut session) = database();
    for (function, says) in [
        ("nothing", "NULL"),
        ("list", "neither a text nor a number"),
        ("fails", "no order"),
        ("missing", "no function"),
    ] {
        template(function, function).register(&mut session);
        session
            .fails("SELECT tasker.create_task($1, '{}')", &[&function])
            .is("22023")
            .message_says(&[says]);
    }
    assert_eq!(session.count("SELECT count(*) FROM tasker.tasks", &[]), 0);
}

#[test]
fn the_function_sees_the_whole_request() {
    let (_database, mut session) = database();
    template("one", "all_of_it").register(&mut session);
    let requests = [
        "'{}'",
        "'{}', initiator => 'ann'",
        "'{}', source_system => 'shop'",
        "'{}', reason => 'again'",
        "'{}', tags => '[\"t\"]'",
        "'{}', priority => 3",
        "'{\"a\": 1}'",
    ];
    for request in requests {
        session.one::<Uuid>(&format!("SELECT tasker.create_task('one', {request})"), &[]);
    }
    for request in requests {
        session
            .fails(&format!("SELECT tasker.create_task('one', {request})"), &[])
            .is("23505");
    }
}

#[test]
fn the_function_has_the_rights_of_the_role_that_registered_the_template() {
    let (database, mut session) = database();
    session.execute(
        "DO $$ BEGIN CREATE ROLE identity_registrar; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
         GRANT tasker_admin TO identity_registrar;
         CREATE TABLE app.secret (); REVOKE ALL ON app.secret FROM PUBLIC;
         GRANT USAGE, CREATE ON SCHEMA app TO identity_registrar;
         SET ROLE identity_registrar;
         CREATE FUNCTION app.reads(request jsonb) RETURNS jsonb LANGUAGE sql AS
             $$ SELECT to_jsonb(current_user || (SELECT count(*) FROM app.secret)) $$;",
    );
    template("reading", "reads").register(&mut session);
    session.execute("RESET ROLE");
    // The caller could read the table, the registrar cannot.
    session
        .fails("SELECT tasker.create_task('reading', '{}')", &[])
        .is("22023")
        .message_says(&["permission denied", "secret"]);
    session.execute("GRANT SELECT ON app.secret TO identity_registrar");
    session.create("reading");
    // Another owner of the function would act with the registrar's rights.
    session.execute("ALTER FUNCTION app.reads(jsonb) OWNER TO CURRENT_USER");
    session
        .fails(
            "SELECT tasker.create_task('reading', '{}', reason => 'b')",
            &[],
        )
        .is("22023")
        .message_says(&["belongs to role"]);
    drop(database);
}

#[test]
fn a_function_without_a_schema_is_refused_at_the_registration() {
    let (_database, mut session) = database();
    let problems: Vec<String> = session.all(
        "SELECT message FROM tasker.validate_template('{\"name\": \"t\", \"identity_strategy\": \"sql:key\", \"steps\": [{\"name\": \"a\", \"handler\": \"h\"}]}')",
        &[],
    );
    assert!(
        problems.iter().any(|text| text.contains("names no schema")),
        "{problems:?}"
    );
}
