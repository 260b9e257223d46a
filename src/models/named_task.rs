//! Templates, one row per namespace, name and version. Relation: table `tasker.named_tasks`
//! (sql/schema/10_catalog.sql), written by `registry::register`.

pgrx::extension_sql_file!(
    "../../sql/models/named_task.sql",
    name = "named_task",
    requires = ["dependent_system_object_map"]
);
