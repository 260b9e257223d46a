//! Names of steps, shared by all templates. Relation: table `tasker.named_steps` (sql/schema/10_catalog.sql).

pgrx::extension_sql_file!(
    "../../sql/models/named_step.sql",
    name = "named_step",
    requires = ["named_task"]
);
