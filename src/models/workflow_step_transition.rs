//! The audit log of steps. Relation: view `tasker.workflow_step_transitions` over `tasker_engine.transitions`.

pgrx::extension_sql_file!(
    "../../sql/models/workflow_step_transition.sql",
    name = "workflow_step_transition",
    requires = ["task_transition"]
);
