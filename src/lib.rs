//! tasker_ext: a workflow engine inside PostgreSQL.
//!
//! `functions` holds the bodies of SQL functions, `orchestration` what they do, `registry` the templates, `background` the
//! processes. `pg` is the only room that touches PostgreSQL's C interface; the crate `tasker_rules` decides without a database.

/// Shadows the standard macro: what a backend remembers belongs to one installation ([`pg::installation::Kept`]). What
/// truly belongs to the process says `std::thread_local!`.
#[allow(unused_macros)]
macro_rules! thread_local {
    ($($any:tt)*) => {
        compile_error!("use crate::pg::installation::Kept, or std::thread_local! for what outlives an installation");
    };
}

mod background;
mod error;
mod functions;
mod metrics;
mod models;
mod orchestration;
mod pg;
mod readiness;
mod registry;
mod settings;
mod storage;

pgrx::pg_module_magic!(name, version);

pgrx::extension_sql_file!("../sql/schema/00_roles.sql", name = "roles", bootstrap);
pgrx::extension_sql_file!(
    "../sql/schema/10_catalog.sql",
    name = "catalog",
    requires = ["roles"]
);
pgrx::extension_sql_file!(
    "../sql/schema/12_roles_by_name.sql",
    name = "roles_by_name",
    requires = ["catalog"]
);
pgrx::extension_sql_file!(
    "../sql/schema/20_engine.sql",
    name = "engine",
    requires = ["roles_by_name"]
);
pgrx::extension_sql_file!(
    "../sql/schema/30_helpers.sql",
    name = "helpers",
    requires = ["engine"]
);
pgrx::extension_sql_file!(
    "../sql/schema/60_functions.sql",
    name = "functions",
    requires = ["helpers"]
);
pgrx::extension_sql_file!(
    "../sql/schema/61_operators.sql",
    name = "operators",
    requires = ["functions"]
);
pgrx::extension_sql_file!(
    "../sql/schema/70_backoff.sql",
    name = "backoff",
    requires = ["operators"]
);
pgrx::extension_sql_file!(
    "../sql/schema/73_finalization.sql",
    name = "finalization",
    requires = ["task_diagram"]
);
pgrx::extension_sql_file!(
    "../sql/schema/74_operator_views.sql",
    name = "operator_views",
    requires = ["finalization"]
);
pgrx::extension_sql_file!(
    "../sql/schema/80_registry.sql",
    name = "registry",
    requires = ["operator_views"]
);
pgrx::extension_sql_file!(
    "../sql/schema/81_analysis.sql",
    name = "analysis",
    requires = ["registry"]
);
pgrx::extension_sql_file!(
    "../sql/schema/82_analytics.sql",
    name = "analytics",
    requires = ["analysis"]
);
pgrx::extension_sql_file!(
    "../sql/schema/83_background.sql",
    name = "background",
    requires = ["analytics"]
);
pgrx::extension_sql_file!(
    "../sql/schema/84_executor_pools.sql",
    name = "executor_pools",
    requires = ["background"]
);
pgrx::extension_sql_file!(
    "../sql/schema/85_operational.sql",
    name = "operational",
    requires = ["executor_pools"]
);
pgrx::extension_sql_file!(
    "../sql/schema/86_schedules.sql",
    name = "schedules",
    requires = ["operational"]
);
pgrx::extension_sql_file!(
    "../sql/schema/87_retention.sql",
    name = "retention",
    requires = ["schedules"]
);
pgrx::extension_sql_file!(
    "../sql/schema/89_maintenance.sql",
    name = "maintenance",
    requires = ["retention"]
);
// It shows what maintenance counts.
pgrx::extension_sql_file!(
    "../sql/schema/88_metrics.sql",
    name = "metrics",
    requires = ["maintenance"]
);
pgrx::extension_sql_file!(
    "../sql/schema/78_table_access.sql",
    name = "table_access",
    requires = ["metrics"]
);
pgrx::extension_sql_file!(
    "../sql/schema/91_integrity.sql",
    name = "integrity",
    requires = ["table_access"]
);
// After everything that has columns to be explained.
pgrx::extension_sql_file!(
    "../sql/schema/75_comments.sql",
    name = "comments",
    requires = ["integrity"]
);
pgrx::extension_sql_file!(
    "../sql/schema/90_access.sql",
    name = "access",
    requires = ["comments"],
    finalize
);

/// Called by PostgreSQL when the library is loaded.
#[pgrx::pg_guard]
pub extern "C-unwind" fn _PG_init() {
    settings::define();
    if pg::backend::is_preloading() {
        background::start();
        metrics::define();
    }
}
