//! The analysis of a template before any task runs.

use petgraph::algo::tred::{dag_to_toposorted_adjacency_list, dag_transitive_reduction_closure};
use petgraph::graph::{DiGraph, NodeIndex};
use serde_json::{Map, Value, json};

use crate::graph::Dag;
use crate::template::Template;

/// With more steps than this the closure that finds redundant edges would take too much memory.
const MOST_FOR_CLOSURE: usize = 1_000;

/// The edges (parent, child) that a longer path already implies: without them every step would run in the same order.
/// Ascending; None for a graph of more than 1,000 steps.
pub fn redundant_edges(dag: &Dag) -> Option<Vec<(i16, i16)>> {
    if dag.len() > MOST_FOR_CLOSURE {
        return None;
    }
    let mut graph = DiGraph::<(), ()>::with_capacity(dag.len(), dag.edge_count());
    let nodes: Vec<NodeIndex> = dag.step_nos().map(|_| graph.add_node(())).collect();
    for (parent, child) in dag.edges() {
        graph.add_edge(nodes[parent as usize - 1], nodes[child as usize - 1], ());
    }
    // The numbers are a topological order, so the sorted list keeps them.
    let (sorted, places) = dag_to_toposorted_adjacency_list::<_, u32>(&graph, &nodes);
    let (reduced, _) = dag_transitive_reduction_closure(&sorted);
    let place = |no: i16| places[no as usize - 1];
    Some(
        dag.edges()
            .filter(|(parent, child)| !reduced.contains_edge(place(*parent), place(*child)))
            .collect(),
    )
}

/// The whole analysis of a template; the shape is documented with the function `analyze_template`.
pub fn analyze(template: &Template) -> Value {
    let dag = &template.dag;
    let name = |no: &i16| dag.name(*no);
    let names = |steps: &[i16]| steps.iter().map(name).collect::<Vec<_>>();
    let nodes: Vec<Value> = template
        .steps
        .iter()
        .map(|step| {
            json!({
                "name": step.name,
                "step_no": step.step_no,
                "description": step.description,
                "handler_class": step.handler,
                "dependencies": names(dag.parents(step.step_no)),
                "dependency_count": dag.parents(step.step_no).len(),
                "level": dag.level(step.step_no),
            })
        })
        .collect();
    let edges: Vec<Value> = dag
        .edges()
        .map(|(parent, child)| {
            let kind = if dag.parents(child).len() == 1 {
                "single"
            } else {
                "multiple"
            };
            json!({ "from": dag.name(parent), "to": dag.name(child), "type": kind })
        })
        .collect();
    let levels: Map<String, Value> = dag
        .step_nos()
        .map(|no| (dag.name(no).to_owned(), json!(dag.level(no))))
        .collect();
    let redundant = redundant_edges(dag).map(|edges| {
        let shown = edges
            .iter()
            .map(|(parent, child)| json!({ "from": dag.name(*parent), "to": dag.name(*child) }));
        Value::Array(shown.collect())
    });
    json!({
        "name": template.full_name(),
        "nodes": nodes,
        "edges": edges,
        "topology": dag.step_nos().map(|no| dag.name(no)).collect::<Vec<_>>(),
        "cycles": [],
        "levels": levels,
        "roots": names(&dag.roots()),
        "leaves": names(&dag.leaves()),
        "redundant_dependencies": redundant,
        "summary": {
            "total_steps": dag.len(),
            "total_dependencies": dag.edge_count(),
            "has_cycles": false,
            "max_depth": dag.max_level(),
            "parallel_branches": dag.level_widths().into_iter().max().unwrap_or(0).max(1),
        },
    })
}
