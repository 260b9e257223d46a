//! The SQL of the extension, in the order in which it is run.
//!
//! `tables/` and `roles` hold what only an upgrade script may change. `functions/`, `models/` and `views/` can be run again:
//! each upgrade script does. A file comes after the objects that its SQL functions, views and triggers name. Scripts read the
//! list as text: one file per line.

macro_rules! in_order {
    ($name:literal $file:literal $($rest:tt)*) => {
        pgrx::extension_sql_file!($file, name = $name, bootstrap);
        in_order!(@after $name $($rest)*);
    };
    (@after $before:literal $name:literal $file:literal) => {
        pgrx::extension_sql_file!($file, name = $name, requires = [$before], finalize);
    };
    (@after $before:literal $name:literal $file:literal $($rest:tt)*) => {
        pgrx::extension_sql_file!($file, name = $name, requires = [$before]);
        in_order!(@after $name $($rest)*);
    };
}

in_order! {
    "header"                             "../sql/header.sql"
    "install_schemas"                    "../sql/install/schemas.sql"
    "install_script"                     "../sql/install/script.sql"
    "install_schema_rights"              "../sql/install/schema_rights.sql"
    "functions_owner_fault"              "../sql/functions/owner_fault.sql"
    "roles"                              "../sql/roles.sql"
    "functions_ids"                      "../sql/functions/ids.sql"
    "functions_stored_roles"             "../sql/functions/stored_roles.sql"
    "functions_installation_row"         "../sql/functions/installation_row.sql"
    "tables_installation"                "../sql/tables/installation.sql"
    "tables_templates"                   "../sql/tables/templates.sql"
    "tables_tasks"                       "../sql/tables/tasks.sql"
    "tables_claims"                      "../sql/tables/claims.sql"
    "tables_finalization"                "../sql/tables/finalization.sql"
    "tables_annotations"                 "../sql/tables/annotations.sql"
    "tables_dependent_systems"           "../sql/tables/dependent_systems.sql"
    "tables_sql_handlers"                "../sql/tables/sql_handlers.sql"
    "tables_executor_pools"              "../sql/tables/executor_pools.sql"
    "tables_operational_state"           "../sql/tables/operational_state.sql"
    "tables_health"                      "../sql/tables/health.sql"
    "tables_schedules"                   "../sql/tables/schedules.sql"
    "tables_retention"                   "../sql/tables/retention.sql"
    "tables_maintenance"                 "../sql/tables/maintenance.sql"
    "tables_metrics"                     "../sql/tables/metrics.sql"
    "functions_arguments"                "../sql/functions/arguments.sql"
    "functions_installation"             "../sql/functions/installation.sql"
    "functions_expressions"              "../sql/functions/expressions.sql"
    "functions_graph"                    "../sql/functions/graph.sql"
    "functions_templates"                "../sql/functions/templates.sql"
    "functions_create"                   "../sql/functions/create.sql"
    "functions_work"                     "../sql/functions/work.sql"
    "functions_reports"                  "../sql/functions/reports.sql"
    "functions_operators"                "../sql/functions/operators.sql"
    "functions_readiness"                "../sql/functions/readiness.sql"
    "functions_diagrams"                 "../sql/functions/diagrams.sql"
    "functions_finalization"             "../sql/functions/finalization.sql"
    "functions_registry"                 "../sql/functions/registry.sql"
    "functions_analysis"                 "../sql/functions/analysis.sql"
    "functions_analytics"                "../sql/functions/analytics.sql"
    "functions_analytics_reports"        "../sql/functions/analytics_reports.sql"
    "functions_health"                   "../sql/functions/health.sql"
    "functions_operational_state"        "../sql/functions/operational_state.sql"
    "functions_stale_claims"             "../sql/functions/stale_claims.sql"
    "functions_background"               "../sql/functions/background.sql"
    "functions_sql_handlers"             "../sql/functions/sql_handlers.sql"
    "functions_executor_pools"           "../sql/functions/executor_pools.sql"
    "functions_scaling"                  "../sql/functions/scaling.sql"
    "functions_schedules"                "../sql/functions/schedules.sql"
    "functions_schedule_runs"            "../sql/functions/schedule_runs.sql"
    "functions_retention"                "../sql/functions/retention.sql"
    "functions_metrics"                  "../sql/functions/metrics.sql"
    "functions_maintenance"              "../sql/functions/maintenance.sql"
    "functions_table_access"             "../sql/functions/table_access.sql"
    "functions_integrity"                "../sql/functions/integrity.sql"
    "functions_plans"                    "../sql/functions/plans.sql"
    "models_task_namespace"              "../sql/models/task_namespace.sql"
    "models_dependent_system"            "../sql/models/dependent_system.sql"
    "models_dependent_system_object_map" "../sql/models/dependent_system_object_map.sql"
    "models_named_task"                  "../sql/models/named_task.sql"
    "models_named_tasks_named_step"      "../sql/models/named_tasks_named_step.sql"
    "models_annotation_type"             "../sql/models/annotation_type.sql"
    "models_step_readiness_status"       "../sql/models/step_readiness_status.sql"
    "models_task"                        "../sql/models/task.sql"
    "models_task_annotation"             "../sql/models/task_annotation.sql"
    "models_task_transition"             "../sql/models/task_transition.sql"
    "models_workflow_step_transition"    "../sql/models/workflow_step_transition.sql"
    "models_workflow_step"               "../sql/models/workflow_step.sql"
    "models_step_dag_relationship"       "../sql/models/step_dag_relationship.sql"
    "models_workflow_step_edge"          "../sql/models/workflow_step_edge.sql"
    "models_task_execution_context"      "../sql/models/task_execution_context.sql"
    "models_task_methods"                "../sql/models/task_methods.sql"
    "models_task_diagram"                "../sql/models/task_diagram.sql"
    "views_workers"                      "../sql/views/workers.sql"
    "views_operators"                    "../sql/views/operators.sql"
    "views_registry"                     "../sql/views/registry.sql"
    "views_analytics"                    "../sql/views/analytics.sql"
    "views_background"                   "../sql/views/background.sql"
    "views_executor_pools"               "../sql/views/executor_pools.sql"
    "views_operational_state"            "../sql/views/operational_state.sql"
    "views_stale_claims"                 "../sql/views/stale_claims.sql"
    "views_maintenance"                  "../sql/views/maintenance.sql"
    "views_health"                       "../sql/views/health.sql"
    "views_schedules"                    "../sql/views/schedules.sql"
    "views_retention"                    "../sql/views/retention.sql"
    "views_metrics"                      "../sql/views/metrics.sql"
    "views_finalization"                 "../sql/views/finalization.sql"
    "views_glossary"                     "../sql/views/glossary.sql"
    "install_ownership"                  "../sql/install/ownership.sql"
    "install_dumped_tables"              "../sql/install/dumped_tables.sql"
    "install_privileges"                 "../sql/install/privileges.sql"
    "install_end"                        "../sql/install/end.sql"
    "install_launcher"                   "../sql/install/launcher.sql"
}
