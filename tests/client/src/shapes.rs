//! Templates: the usual shapes of workflows, and a builder for others.

use crate::server::root;
use crate::{Session, Value, json};

/// A template under construction.
#[derive(Clone)]
pub struct Template(Value);

impl Template {
    pub fn new(name: &str) -> Self {
        Self(json!({ "name": name, "steps": [] }))
    }

    /// A step that needs others.
    pub fn step(self, name: &str, parents: &[&str]) -> Self {
        self.step_with(name, parents, json!({}))
    }

    /// A step with more fields, such as `default_retry_limit`.
    pub fn step_with(mut self, name: &str, parents: &[&str], fields: Value) -> Self {
        let mut step = json!({ "name": name, "handler": { "callable": format!("test.{name}") } });
        if !parents.is_empty() {
            step["depends_on_steps"] = json!(parents);
        }
        merge(&mut step, fields);
        if let Some(steps) = self.0["steps"].as_array_mut() {
            steps.push(step);
        }
        self
    }

    /// Another field of the template.
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.0[field] = value;
        self
    }

    /// Adds fields to every step so far.
    pub fn every_step(mut self, fields: Value) -> Self {
        for step in self.0["steps"].as_array_mut().into_iter().flatten() {
            merge(step, fields.clone());
        }
        self
    }

    /// Steps that may fail or be lost almost without limit, and wait for nothing then.
    pub fn patient(self) -> Self {
        self.every_step(json!({"default_retry_limit": 1000, "retry": {"backoff": "none"}}))
    }

    /// Adds fields to one step.
    pub fn change(mut self, name: &str, fields: Value) -> Self {
        let steps = self.0["steps"].as_array_mut().into_iter().flatten();
        let step = steps
            .into_iter()
            .find(|step| step["name"] == name)
            .expect("the step is there");
        merge(step, fields);
        self
    }

    pub fn text(&self) -> String {
        self.0.to_string()
    }

    pub fn name(&self) -> &str {
        self.0["name"].as_str().unwrap_or_default()
    }

    #[track_caller]
    pub fn register(&self, session: &mut Session) -> i64 {
        session.one("SELECT tasker.register_template($1)", &[&self.text()])
    }
}

fn merge(into: &mut Value, fields: Value) {
    if let (Some(into), Value::Object(fields)) = (into.as_object_mut(), fields) {
        into.extend(fields);
    }
}

/// L: six steps in a row.
pub fn linear() -> Template {
    Template::new("linear")
        .step("initialize_data", &[])
        .step("validate_input", &["initialize_data"])
        .step("process_data", &["validate_input"])
        .step("transform_results", &["process_data"])
        .step("validate_output", &["transform_results"])
        .step("finalize_workflow", &["validate_output"])
}

/// D: two branches of two steps, merged.
pub fn diamond() -> Template {
    Template::new("diamond")
        .step("start_workflow", &[])
        .step("branch_one_process", &["start_workflow"])
        .step("branch_one_validate", &["branch_one_process"])
        .step("branch_two_process", &["start_workflow"])
        .step("branch_two_validate", &["branch_two_process"])
        .step(
            "merge_branches",
            &["branch_one_validate", "branch_two_validate"],
        )
        .step("end_workflow", &["merge_branches"])
}

/// P: four roots into one.
pub fn parallel_merge() -> Template {
    Template::new("parallel_merge")
        .step("fetch_user_data", &[])
        .step("process_user_data", &["fetch_user_data"])
        .step("fetch_order_data", &[])
        .step("process_order_data", &["fetch_order_data"])
        .step("fetch_inventory_data", &[])
        .step("fetch_pricing_data", &[])
        .step(
            "merge_all_data",
            &[
                "process_user_data",
                "process_order_data",
                "fetch_inventory_data",
                "fetch_pricing_data",
            ],
        )
}

/// M: nine steps, two roots, two leaves beside the report.
pub fn mixed() -> Template {
    Template::new("mixed")
        .step("init_auth", &[])
        .step("validate_permissions", &["init_auth"])
        .step("init_config", &[])
        .step("setup_environment", &["init_config"])
        .step(
            "begin_processing",
            &["validate_permissions", "setup_environment"],
        )
        .step("process_critical_data", &["begin_processing"])
        .step("process_optional_data", &["begin_processing"])
        .step("cleanup_temp_files", &["setup_environment"])
        .step(
            "finalize_and_report",
            &["process_critical_data", "cleanup_temp_files"],
        )
}

/// Y: one step alone and three in a row.
pub fn dummy() -> Template {
    Template::new("dummy")
        .step("step-one", &[])
        .step("step-two", &[])
        .step("step-three", &["step-two"])
        .step("step-four", &["step-three"])
}

/// The pipeline of scenario 39: 3 extract > 2 transform > insights > dashboard > notify.
pub fn pipeline() -> Template {
    Template::new("pipeline")
        .step("extract_orders", &[])
        .step("extract_users", &[])
        .step("extract_products", &[])
        .step(
            "transform_customer_metrics",
            &["extract_orders", "extract_users"],
        )
        .step(
            "transform_product_metrics",
            &["extract_orders", "extract_products"],
        )
        .step(
            "generate_insights",
            &["transform_customer_metrics", "transform_product_metrics"],
        )
        .step("update_dashboard", &["generate_insights"])
        .step("send_notifications", &["update_dashboard"])
}

/// A diamond of four steps.
pub fn small_diamond() -> Template {
    Template::new("small_diamond")
        .step("start", &[])
        .step("b", &["start"])
        .step("c", &["start"])
        .step("end", &["b", "c"])
}

/// `count` steps without dependencies.
pub fn wide(name: &str, count: usize) -> Template {
    (1..=count).fold(Template::new(name), |template, number| {
        template.step(&format!("step_{number}"), &[])
    })
}

/// `count` steps in a row.
pub fn chain(name: &str, count: usize) -> Template {
    (1..=count).fold(Template::new(name), |template, number| match number {
        1 => template.step("step_1", &[]),
        _ => template.step(
            &format!("step_{number}"),
            &[&format!("step_{}", number - 1)],
        ),
    })
}

/// One of the templates in `examples/templates`, as text.
pub fn example(name: &str) -> String {
    let file = root()
        .join("examples/templates")
        .join(name)
        .with_extension("yaml");
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
