//! Notes on tasks. Relation: table `tasker.task_annotations`.

pgrx::extension_sql_file!(
    "../../sql/models/task_annotation.sql",
    name = "task_annotation",
    requires = ["task"]
);
