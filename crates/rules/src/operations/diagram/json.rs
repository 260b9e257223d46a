//! JSON: the model as nodes and edges, for programs that draw it themselves.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::layout::levels;
use super::{DiagramModel, Node};

/// The model as one JSON object. The same names as in the view of diagrams, and what the other forms show besides.
pub fn json(model: &DiagramModel) -> String {
    let levels = levels(model.nodes.len(), &model.positions());
    let nodes: Vec<Value> = model
        .nodes
        .iter()
        .zip(levels)
        .map(|(node, level)| {
            json!({
                "id": id(node), "name": node.name, "level": level,
                "state": node.state.map(|state| state.as_str()),
                "waits_for_retry": node.waits_for_retry, "unreachable": node.unreachable,
                "attempts": node.attempts, "retry_limit": node.retry_limit,
                "duration_ms": node.duration_ms, "note": node.note, "url": node.url,
            })
        })
        .collect();
    let by_number: HashMap<i16, &Node> = model
        .nodes
        .iter()
        .map(|node| (node.step_no, node))
        .collect();
    let edges: Vec<Value> = model
        .drawable_edges()
        .map(|(parent, child)| {
            let (parent, child) = (by_number[&parent], by_number[&child]);
            json!({
                "from": id(parent), "to": id(child), "name": "provides",
                "satisfied": parent.state.map(|state| state.is_finished_good()),
            })
        })
        .collect();
    let picture = json!({"title": model.title, "url": model.url, "nodes": nodes, "edges": edges});
    format!("{picture}\n")
}

fn id(node: &Node) -> String {
    node.id
        .clone()
        .unwrap_or_else(|| format!("s{}", node.step_no))
}
