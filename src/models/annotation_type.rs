//! Kinds of annotations. Relation: table `tasker.annotation_types`.

pgrx::extension_sql_file!(
    "../../sql/models/annotation_type.sql",
    name = "annotation_type",
    requires = ["named_tasks_named_step"]
);
