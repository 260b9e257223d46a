//! Tasks with their request and state. Relation: view `tasker.tasks` over `tasker_engine.tasks`.

pgrx::extension_sql_file!(
    "../../sql/models/task.sql",
    name = "task",
    requires = ["step_readiness_status"]
);
