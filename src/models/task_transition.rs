//! The audit log of tasks. Relation: view `tasker.task_transitions` over `tasker_engine.transitions`.

pgrx::extension_sql_file!(
    "../../sql/models/task_transition.sql",
    name = "task_transition",
    requires = ["task_annotation"]
);
