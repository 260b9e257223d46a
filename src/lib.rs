//! tasker_ext: a workflow engine inside PostgreSQL.
//!
//! `api` holds the SQL functions, `orchestration` what they do, `store` is the only place that talks SPI, and the
//! crate `tasker_rules` decides without a database.

mod api;
mod append;
mod call;
mod datum;
mod error;
mod orchestration;
mod settings;
mod store;
mod take;
mod templates;

pgrx::pg_module_magic!(name, version);

pgrx::extension_sql_file!("../sql/schema/00_roles.sql", name = "roles", bootstrap);
pgrx::extension_sql_file!(
    "../sql/schema/10_catalog.sql",
    name = "catalog",
    requires = ["roles"]
);
pgrx::extension_sql_file!(
    "../sql/schema/20_engine.sql",
    name = "engine",
    requires = ["catalog"]
);
pgrx::extension_sql_file!(
    "../sql/schema/60_functions.sql",
    name = "functions",
    requires = ["engine"]
);
pgrx::extension_sql_file!(
    "../sql/schema/61_operators.sql",
    name = "operators",
    requires = ["functions"]
);
pgrx::extension_sql_file!(
    "../sql/schema/90_access.sql",
    name = "access",
    requires = ["operators"],
    finalize
);

/// Called by PostgreSQL when the library is loaded.
#[pgrx::pg_guard]
pub extern "C-unwind" fn _PG_init() {
    settings::define();
}
