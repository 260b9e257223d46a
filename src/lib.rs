//! tasker_ext: a workflow engine inside PostgreSQL.
pgrx::pg_module_magic!();
