//! Namespaces of templates and queues. Relation: table `tasker.task_namespaces` (sql/schema/10_catalog.sql).

pgrx::extension_sql_file!(
    "../../sql/models/task_namespace.sql",
    name = "task_namespace",
    requires = ["backoff"]
);
