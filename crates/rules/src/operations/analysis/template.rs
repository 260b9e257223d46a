//! The analysis of a template before any task runs.

use petgraph::algo::tred::{dag_to_toposorted_adjacency_list, dag_transitive_reduction_closure};
use petgraph::graph::{DiGraph, NodeIndex};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::json;

use super::is_small;
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

/// The whole analysis of a template, to be serialized; the shape is documented with the function `analyze_template`.
/// What has an entry per step or edge is written entry by entry, as in the analysis of a task.
pub fn analyze(template: &Template) -> impl Serialize + '_ {
    Analysis(template)
}

struct Analysis<'a>(&'a Template);

impl Serialize for Analysis<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let template = self.0;
        let dag = &template.dag;
        let name = |no: i16| dag.name(no);
        let edge = |(from, to)| Edge {
            from: name(from),
            to: name(to),
            kind: None,
        };
        let nodes = || {
            template.steps.iter().map(|step| Node {
                name: &step.name,
                step_no: step.step_no,
                description: step.description.as_deref(),
                handler_class: &step.handler,
                dependencies: Each(|| dag.parents(step.step_no).iter().map(|no| name(*no))),
                dependency_count: dag.parents(step.step_no).len(),
                level: dag.level(step.step_no),
            })
        };
        let edges = || {
            dag.edges().map(|(from, to)| Edge {
                kind: Some(if dag.parents(to).len() == 1 {
                    "single"
                } else {
                    "multiple"
                }),
                ..edge((from, to))
            })
        };
        let redundant = redundant_edges(dag);
        let redundant = redundant
            .as_ref()
            .map(|edges| Each(|| edges.iter().copied().map(edge)));
        let mut all = serializer.serialize_map(None)?;
        all.serialize_entry("name", &template.full_name())?;
        let is_small = is_small(dag);
        all.serialize_entry("nodes", &is_small.then_some(Each(nodes)))?;
        all.serialize_entry("edges", &is_small.then_some(Each(edges)))?;
        all.serialize_entry("topology", &Each(|| dag.step_nos().map(name)))?;
        all.serialize_entry("cycles", &[(); 0])?;
        all.serialize_entry("levels", &ByName(dag))?;
        all.serialize_entry("roots", &Each(|| dag.roots().into_iter().map(name)))?;
        all.serialize_entry("leaves", &Each(|| dag.leaves().into_iter().map(name)))?;
        all.serialize_entry("redundant_dependencies", &redundant)?;
        all.serialize_entry(
            "summary",
            &json!({
                "total_steps": dag.len(),
                "total_dependencies": dag.edge_count(),
                "has_cycles": false,
                "max_depth": dag.max_level(),
                "parallel_branches": dag.level_widths().into_iter().max().unwrap_or(0).max(1),
            }),
        )?;
        all.end()
    }
}

#[derive(Serialize)]
struct Node<'a, D: Serialize> {
    name: &'a str,
    step_no: i16,
    description: Option<&'a str>,
    handler_class: &'a str,
    dependencies: D,
    dependency_count: usize,
    level: i16,
}

#[derive(Serialize)]
struct Edge<'a> {
    from: &'a str,
    to: &'a str,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
}

/// A list whose entries are made when they are written.
struct Each<F>(F);

impl<F, I> Serialize for Each<F>
where
    F: Fn() -> I,
    I: Iterator<Item: Serialize>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

/// The level of each step.
struct ByName<'a>(&'a Dag);

impl Serialize for ByName<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let dag = self.0;
        serializer.collect_map(dag.step_nos().map(|no| (dag.name(no), dag.level(no))))
    }
}
