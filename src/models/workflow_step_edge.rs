//! Which step comes before which. Relation: view `tasker.workflow_step_edges`; the graph itself lies in the template.

pgrx::extension_sql_file!(
    "../../sql/models/workflow_step_edge.sql",
    name = "workflow_step_edge",
    requires = ["step_dag_relationship"]
);
