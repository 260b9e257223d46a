//! Steps with their state, attempts and results. Relation: view `tasker.workflow_steps` over `tasker_engine.steps`.

pgrx::extension_sql_file!(
    "../../sql/models/workflow_step.sql",
    name = "workflow_step",
    requires = ["workflow_step_transition"]
);
