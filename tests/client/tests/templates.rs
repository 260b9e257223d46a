//! Which templates register, what is stored of them, and that tasks keep the version they were created with.

use tasker_client_tests::worker::done;
use tasker_client_tests::{Database, Session, Template, Uuid, Value, inside, json, long, shapes};

fn session() -> (Database, Session) {
    let database = Database::new();
    let session = database.connect();
    (database, session)
}

#[test]
fn several_paths_to_one_step_are_accepted() {
    let (_database, mut session) = session();
    let template = Template::new("paths")
        .step("a", &[])
        .step("b", &["a"])
        .step("c", &["a", "b"])
        .step("d", &["a", "b", "c"]);
    template.register(&mut session);
    let task = session.create("paths");
    assert_eq!(session.work(|_| done()), ["a", "b", "c", "d"]);
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn steps_can_be_written_in_any_order() {
    let (_database, mut session) = session();
    Template::new("backwards")
        .step("last", &["middle"])
        .step("middle", &["first"])
        .step("first", &[])
        .register(&mut session);
    session.create("backwards");
    assert_eq!(session.work(|_| done()), ["first", "middle", "last"]);
}

#[test]
fn a_version_can_be_replaced_until_a_task_uses_it() {
    let (_database, mut session) = session();
    shapes::chain("one", 1).register(&mut session);
    let replace = "SELECT tasker.register_template($1, true)";
    session.query(replace, &[&shapes::chain("one", 3).text()]);
    // Also for a session that knew the old one.
    let task = session.create("one");
    assert_eq!(session.steps(task).len(), 3);
    // The same again is no change.
    session.query(replace, &[&shapes::chain("one", 3).text()]);
    let before = inside::fingerprint(&mut session);
    session
        .fails(replace, &[&shapes::chain("one", 2).text()])
        .is("55000");
    assert_eq!(inside::fingerprint(&mut session), before);
    shapes::chain("one", 2)
        .with("version", json!("0.2.0"))
        .register(&mut session);
    let newer = session.create("one");
    assert_eq!(
        (session.steps(task).len(), session.steps(newer).len()),
        (3, 2)
    );
    session.work(|_| done());
    assert_eq!(session.task_states(&[task, newer]), ["complete: 2"]);
}

#[test]
fn an_environment_overrides_only_what_it_names() {
    let (_database, mut session) = session();
    let template = Template::new("staged")
        .step_with("first", &[], json!({"default_retry_limit": 5, "handler": {"callable": "First", "initialization": {"url": "a", "keep": true}}}))
        .step("second", &["first"])
        .with("environments", json!({
            "production": {"steps": [{"name": "first", "default_retry_limit": 9, "handler": {"initialization": {"url": "b"}}}]},
        }));
    session.execute("SET tasker.environment = 'production'");
    template.register(&mut session);
    session.create("staged");
    let claim = session.claim_one("worker");
    assert_eq!(
        (
            claim.name.as_str(),
            claim.retry_limit,
            claim.handler.as_str()
        ),
        ("first", 9, "First")
    );
    assert_eq!(claim.handler_config, json!({"url": "b", "keep": true}));
    session.complete(&claim, &json!({}));
    assert_eq!(session.claim_one("worker").retry_limit, 3);
    session.execute("SET tasker.environment = ''");
    template
        .with("version", json!("0.2.0"))
        .register(&mut session);
    session.create("staged");
    let claim = session.claim_one("worker");
    assert_eq!(
        (claim.retry_limit, claim.handler_config),
        (5, json!({"url": "a", "keep": true}))
    );
}

#[test]
fn an_existing_rails_file_registers_as_it_is() {
    let (_database, mut session) = session();
    let text = "
name: api_task/integration_yaml_example
module_namespace: ApiTask
task_handler_class: IntegrationYamlExample
namespace_name: api_tests
version: 0.1.0
default_dependent_system: ecommerce_system
schema:
  type: object
  required: [cart_id]
  properties:
    cart_id: {type: integer}
step_templates:
  - name: fetch_cart
    handler_class: ApiTask::StepHandler::CartFetchStepHandler
    handler_config: {type: api, url: 'https://example.com/cart'}
  - name: fetch_products
    handler_class: ApiTask::StepHandler::ProductsFetchStepHandler
  - name: validate_products
    depends_on_steps: [fetch_products, fetch_cart]
    handler_class: ApiTask::StepHandler::ProductsValidateStepHandler
    default_retryable: true
    default_retry_limit: 3
  - name: create_order
    depends_on_step: validate_products
    handler_class: ApiTask::StepHandler::CreateOrderStepHandler
";
    session.query("SELECT tasker.register_template($1)", &[&text]);
    session
        .fails(
            "SELECT tasker.create_task('api_task/integration_yaml_example', '{}', 'api_tests')",
            &[],
        )
        .is("23514")
        .says(&["cart_id"]);
    session.query("SELECT tasker.create_task('api_task/integration_yaml_example', '{\"cart_id\": 7}', 'api_tests')", &[]);
    let mut handlers = vec![];
    session.work_in("api_tests", |claim| {
        handlers.push(claim.handler.clone());
        done()
    });
    assert_eq!(handlers.len(), 4);
    assert_eq!(handlers[3], "ApiTask::StepHandler::CreateOrderStepHandler");
}

#[test]
fn a_template_exports_as_something_that_registers_again() {
    let (_database, mut session) = session();
    for name in [
        "linear",
        "diamond",
        "tree",
        "mixed_dag",
        "order_fulfillment",
    ] {
        let text = shapes::example(name);
        session.query("SELECT tasker.register_template($1)", &[&text]);
        let exported = exported_of(&mut session);
        let part = |field: &str| exported[field].as_str().unwrap_or_default().to_owned();
        let (namespace, task, version) = (part("namespace_name"), part("name"), part("version"));
        let exported: Value = session.one(
            "SELECT tasker.export_template($1, $2, $3)",
            &[&task, &namespace, &version],
        );
        // The same under replace is no change; under another name it is a template of its own.
        session.query(
            "SELECT tasker.register_template($1, true)",
            &[&exported.to_string()],
        );
        let mut copy = exported.clone();
        copy["name"] = json!(format!("{task}_copy"));
        session.query("SELECT tasker.register_template($1)", &[&copy.to_string()]);
        let again: Value = session.one(
            "SELECT tasker.export_template($1, $2)",
            &[&format!("{task}_copy"), &namespace],
        );
        assert_eq!(again, copy);
    }
}

/// The configuration that was registered last.
fn exported_of(session: &mut Session) -> Value {
    session.one(
        "SELECT tasker.export_template(t.name, n.name, t.version) FROM tasker.named_tasks t JOIN tasker.task_namespaces n USING (task_namespace_id)
         ORDER BY t.named_task_id DESC LIMIT 1",
        &[],
    )
}

#[test]
fn a_template_with_the_largest_number_of_steps_works() {
    let (_database, mut session) = session();
    session.execute("SET statement_timeout = 0");
    let count = if long() { 32_767 } else { 4_000 };
    let mut template = shapes::wide("large", count - 1);
    template = template.step("last", &["step_1"]);
    template.register(&mut session);
    let task = session.create("large");
    let mut done = 0;
    loop {
        let claims = session.claim_all("worker");
        if claims.is_empty() {
            break;
        }
        done += claims.len();
        let reports: Vec<Value> = claims.iter().map(|claim| claim.done(json!({}))).collect();
        session.query(
            "SELECT count(*) FROM tasker.report_steps('worker', $1)",
            &[&Value::Array(reports)],
        );
    }
    assert_eq!(done, count);
    assert_eq!(session.task_state(task), "complete");
    let last: Uuid = session.step(task, "last");
    assert!(last.as_u128() - task.as_u128() <= count as u128);
}

#[test]
fn a_long_chain_fails_at_its_root_and_ends() {
    let (_database, mut session) = session();
    shapes::chain("long", 1_000).register(&mut session);
    let task = session.create("long");
    session.work(|_| tasker_client_tests::Act::FailForGood);
    assert_eq!(session.task_state(task), "error");
    session.query("SELECT tasker.retry_task($1)", &[&task]);
    assert_eq!(session.claim_one("worker").name, "step_1");
}

#[test]
fn the_example_templates_register_without_a_warning() {
    let (_database, mut session) = session();
    for name in [
        "linear",
        "diamond",
        "tree",
        "mixed_dag",
        "order_fulfillment",
    ] {
        let problems: Vec<String> = session.all(
            "SELECT severity || ' ' || path || ' ' || message FROM tasker.validate_template($1)",
            &[&shapes::example(name)],
        );
        assert!(problems.is_empty(), "{name}: {problems:?}");
    }
}

#[test]
fn creating_the_extension_again_in_a_living_session_starts_empty() {
    let (database, mut session) = session();
    shapes::chain("one", 2).register(&mut session);
    session.create("one");
    let claim = session.claim_one("worker");
    session.complete(&claim, &json!({}));
    let mut other = database.connect();
    other.execute("DROP SCHEMA IF EXISTS harness CASCADE; DROP EXTENSION tasker_ext CASCADE");
    tasker_client_tests::database::install(&mut other);
    shapes::chain("one", 3).register(&mut other);
    let task = session.create("one");
    assert_eq!(session.work(|_| done()), ["step_1", "step_2", "step_3"]);
    assert_eq!(session.task_state(task), "complete");
}
