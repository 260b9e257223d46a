//! Outside systems that steps work with. Relation: table `tasker.dependent_systems` (sql/schema/10_catalog.sql).

pgrx::extension_sql_file!(
    "../../sql/models/dependent_system.sql",
    name = "dependent_system",
    requires = ["task_namespace"]
);
