//! The steps of each template. Relation: table `tasker.named_tasks_named_steps` (sql/schema/10_catalog.sql).

pgrx::extension_sql_file!(
    "../../sql/models/named_tasks_named_step.sql",
    name = "named_tasks_named_step",
    requires = ["named_step"]
);
