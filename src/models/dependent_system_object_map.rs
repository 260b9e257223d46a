//! Which object of one outside system is which of another. Relation: table
//! `tasker.dependent_system_object_maps`.

pgrx::extension_sql_file!(
    "../../sql/models/dependent_system_object_map.sql",
    name = "dependent_system_object_map",
    requires = ["dependent_system"]
);
