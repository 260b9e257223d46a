//! Roles that are kept: renamed, dropped, their names taken by others; and functions whose owner is another one now.

use tasker_client_tests::{Database, Session, Template, Uuid, inside, json};

/// A database with an author that can register templates and create schedules, and a function to call.
struct Stage {
    database: Database,
    session: Session,
    author: String,
}

fn stage(author: &str) -> Stage {
    let database = Database::new();
    let mut session = database.connect();
    session.execute(&format!(
        "CREATE ROLE {author} LOGIN; GRANT tasker_admin TO {author};
         CREATE SCHEMA app; GRANT USAGE, CREATE ON SCHEMA app TO PUBLIC;
         CREATE FUNCTION app.caller(step jsonb) RETURNS jsonb LANGUAGE sql AS
         $$ SELECT jsonb_build_object('user', current_user) $$"
    ));
    Stage {
        database,
        session,
        author: author.to_owned(),
    }
}

fn template(name: &str) -> Template {
    Template::new(name).step_with("only", &[], json!({"handler": format!("sql:app.{name}")}))
}

fn register_again(session: &mut Session, template: &Template) {
    session.query(
        "SELECT tasker.register_template($1, replace => true)",
        &[&template.text()],
    );
}

impl Stage {
    fn author(&self) -> Session {
        self.database.connect_as(&self.author)
    }

    /// Runs a task of the template and returns the role that it ran as, or its error.
    fn run(&mut self, name: &str) -> String {
        let task: Uuid = self.session.create(name);
        self.session.query("SELECT * FROM tasker.run_steps()", &[]);
        let results = self.session.results(task, "only");
        match results["user"].as_str() {
            Some(user) => user.to_owned(),
            None => format!(
                "{} {}",
                results["error_class"].as_str().unwrap_or_default(),
                results["error_message"].as_str().unwrap_or_default()
            ),
        }
    }

    fn schedule(&mut self) {
        self.author().query(
            "SELECT tasker.schedule_task('mine', '@daily', 'caller')",
            &[],
        );
    }

    /// What the schedule's next time came to.
    fn run_schedule(&mut self) -> String {
        let now: String = self
            .session
            .one("SELECT date_trunc('second', clock_timestamp())::text", &[]);
        inside::set_next_run(&mut self.session, "mine", &now);
        self.session.query("SELECT tasker.run_maintenance()", &[]);
        self.session.one(
            "SELECT coalesce(error, outcome) FROM tasker.schedule_runs ORDER BY decided_at DESC LIMIT 1",
            &[],
        )
    }
}

#[test]
fn a_renamed_role_keeps_what_it_has_and_the_next_dump_knows_its_name() {
    let mut stage = stage("roles_maiden");
    template("caller").register(&mut stage.author());
    stage.schedule();
    stage
        .session
        .execute("ALTER ROLE roles_maiden RENAME TO roles_married");
    assert_eq!(stage.run("caller"), "roles_married");
    let shown: String = stage
        .session
        .one("SELECT owner_role FROM tasker.schedules", &[]);
    assert_eq!(shown, "roles_married");
    let mut own = stage.database.connect_as("roles_married");
    own.query(
        "SELECT tasker.pause_schedule('mine'), tasker.resume_schedule('mine')",
        &[],
    );
    assert_eq!(stage.run_schedule(), "created");
    // That was a round of maintenance.
    assert_eq!(
        inside::handler_roles(&mut stage.session),
        ["roles_married postgres"]
    );
    assert_eq!(
        inside::schedule_owners(&mut stage.session),
        ["roles_married"]
    );
    stage
        .session
        .execute("ALTER ROLE roles_married RENAME TO roles_widowed");
    let done: i64 = stage.session.one(
        "SELECT done FROM tasker.run_maintenance() WHERE duty = 'roles'",
        &[],
    );
    assert_eq!(done, 2);
    assert_eq!(
        inside::schedule_owners(&mut stage.session),
        ["roles_widowed"]
    );
    assert_eq!(stage.run("caller"), "roles_widowed");
}

#[test]
fn a_role_that_takes_an_old_name_gets_nothing_of_it() {
    let mut stage = stage("roles_named");
    template("caller").register(&mut stage.author());
    stage.schedule();
    stage.session.execute(
        "ALTER ROLE roles_named RENAME TO roles_renamed;
         CREATE ROLE roles_named LOGIN SUPERUSER",
    );
    assert_eq!(stage.run("caller"), "roles_renamed");
    // No superuser, but it may make schedules.
    stage
        .session
        .execute("ALTER ROLE roles_named NOSUPERUSER; GRANT tasker_operator TO roles_named");
    stage
        .author()
        .fails("SELECT tasker.pause_schedule('mine')", &[])
        .is("42501")
        .says(&["roles_renamed"]);
    stage
        .author()
        .fails(
            "SELECT tasker.schedule_task('mine', '@daily', 'caller')",
            &[],
        )
        .is("42501");
    stage
        .session
        .execute("REVOKE tasker_operator, tasker_admin FROM roles_renamed");
    assert!(
        stage
            .run_schedule()
            .contains("role roles_renamed is not allowed to create tasks")
    );
}

#[test]
fn a_dropped_role_is_named_and_not_replaced_by_the_next_of_its_name() {
    let mut stage = stage("roles_dropped");
    template("caller").register(&mut stage.author());
    stage.schedule();
    stage
        .session
        .execute("DROP OWNED BY roles_dropped; DROP ROLE roles_dropped");
    let gone = "42704 role \"roles_dropped\" does not exist";
    assert_eq!(stage.run("caller"), gone);
    assert!(
        stage
            .run_schedule()
            .starts_with("42501: role roles_dropped does not exist")
    );
    stage
        .session
        .execute("CREATE ROLE roles_dropped LOGIN SUPERUSER");
    assert_eq!(stage.run("caller"), gone);
    assert!(
        stage
            .run_schedule()
            .starts_with("42501: role roles_dropped does not exist")
    );
    // A role that registers the version again takes over handlers without a role; an administrator creates the schedule again.
    stage
        .session
        .execute("ALTER ROLE roles_dropped NOSUPERUSER; GRANT tasker_admin TO roles_dropped");
    register_again(&mut stage.author(), &template("caller"));
    assert_eq!(stage.run("caller"), "roles_dropped");
    stage.schedule();
    assert_eq!(stage.run_schedule(), "created");
}

#[test]
fn registering_a_version_again_takes_no_handler_from_an_existing_role() {
    let mut stage = stage("roles_first");
    template("caller").register(&mut stage.author());
    register_again(&mut stage.session, &template("caller"));
    assert_eq!(stage.run("caller"), "roles_first");
}

#[test]
fn a_function_made_again_by_its_owner_goes_on_and_one_of_another_owner_is_refused() {
    let mut stage = stage("roles_caller");
    stage
        .session
        .execute("CREATE ROLE roles_maker LOGIN; CREATE ROLE roles_taker LOGIN");
    let make = "CREATE FUNCTION app.made(step jsonb) RETURNS jsonb LANGUAGE sql AS
                $$ SELECT jsonb_build_object('user', current_user) $$";
    let mut maker = stage.database.connect_as("roles_maker");
    let mut taker = stage.database.connect_as("roles_taker");
    maker.execute(make);
    template("made").register(&mut stage.author());
    assert_eq!(stage.run("made"), "roles_caller");
    maker.execute("DROP FUNCTION app.made(jsonb)");
    maker.execute(make);
    assert_eq!(stage.run("made"), "roles_caller");
    stage
        .session
        .execute("ALTER ROLE roles_maker RENAME TO roles_master");
    assert_eq!(stage.run("made"), "roles_caller");

    maker.execute("DROP FUNCTION app.made(jsonb)");
    taker.execute(make);
    let refused =
        "42501 function app.made(jsonb) belongs to role \"roles_taker\", not to \"roles_master\"";
    assert_eq!(stage.run("made"), refused);
    // A registration by another role does not mean that the role it runs as trusts the function.
    register_again(&mut stage.session, &template("made"));
    assert_eq!(stage.run("made"), refused);
    stage
        .session
        .execute("ALTER FUNCTION app.made(jsonb) OWNER TO roles_master");
    assert_eq!(stage.run("made"), "roles_caller");
    stage
        .session
        .execute("ALTER FUNCTION app.made(jsonb) OWNER TO roles_taker");
    register_again(&mut stage.author(), &template("made"));
    assert_eq!(stage.run("made"), "roles_caller");
}

#[test]
fn a_function_that_is_not_there_yet_is_awaited_of_the_role_that_registers() {
    let mut stage = stage("roles_early");
    stage.session.execute("CREATE ROLE roles_squatter LOGIN");
    template("later").register(&mut stage.author());
    let make = "CREATE FUNCTION app.later(step jsonb) RETURNS jsonb LANGUAGE sql AS
                $$ SELECT jsonb_build_object('user', current_user) $$";
    let mut squatter = stage.database.connect_as("roles_squatter");
    squatter.execute(make);
    assert_eq!(
        stage.run("later"),
        "42501 function app.later(jsonb) belongs to role \"roles_squatter\", not to \"roles_early\""
    );
    squatter.execute("DROP FUNCTION app.later(jsonb)");
    stage.author().execute(make);
    assert_eq!(stage.run("later"), "roles_early");
}

#[test]
fn a_quoted_name_is_the_same_function() {
    let mut stage = stage("roles_quoting");
    stage.session.execute(
        "CREATE ROLE roles_quoted LOGIN;
         CREATE FUNCTION app.\"Odd.Name\"(step jsonb) RETURNS jsonb LANGUAGE sql AS
         $$ SELECT jsonb_build_object('user', current_user) $$;
         ALTER FUNCTION app.\"Odd.Name\"(jsonb) OWNER TO roles_quoted",
    );
    Template::new("odd")
        .step_with("only", &[], json!({"handler": "sql:App.\"Odd.Name\""}))
        .register(&mut stage.author());
    assert_eq!(stage.run("odd"), "roles_quoting");
    assert_eq!(
        inside::handler_roles(&mut stage.session),
        ["roles_quoting roles_quoted"]
    );
}

#[test]
fn oids_that_come_from_another_cluster_do_not_count() {
    let mut stage = stage("roles_published");
    template("caller").register(&mut stage.author());
    stage.schedule();
    inside::set_oids(&mut stage.session, "replica");
    assert_eq!(stage.run("caller"), "roles_published");
    let owner: String = stage
        .session
        .one("SELECT owner_role FROM tasker.schedules", &[]);
    assert_eq!(owner, "roles_published");
}

#[test]
fn handlers_are_written_as_any_row_is() {
    let mut stage = stage("roles_writer");
    inside::count_handlers(&mut stage.session);
    Template::new("two")
        .step_with("a", &[], json!({"handler": "sql:app.caller"}))
        .step_with("b", &["a"], json!({"handler": "sql:app.caller"}))
        .register(&mut stage.author());
    assert_eq!(
        stage
            .session
            .all::<i16>("SELECT step_no FROM public.seen ORDER BY 1", &[]),
        [1, 2]
    );
    stage.session.execute(
        "ALTER TABLE tasker_engine.sql_handlers ADD COLUMN note text NOT NULL DEFAULT 'ours'",
    );
    template("caller").register(&mut stage.author());
    assert_eq!(stage.run("caller"), "roles_writer");
}
