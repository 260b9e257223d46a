//! Random graphs of steps.

use fastrand::Rng;

use crate::{Template, json};

/// A step of the template: its name and the indexes of its parents, which are smaller than its own.
pub struct Node {
    pub name: String,
    pub parents: Vec<usize>,
    pub retryable: bool,
    pub retry_limit: i32,
}

/// Mostly small, now and then large; wide, deep or dense.
pub fn random_graph(rng: &mut Rng) -> Vec<Node> {
    let size = match rng.u8(..10) {
        0..4 => rng.usize(1..=6),
        4..8 => rng.usize(7..=40),
        _ => rng.usize(41..=200),
    };
    let roots = rng.usize(1..=size.min(8));
    let most_parents = rng.usize(1..=4);
    // A small window makes long chains.
    let widest = if rng.bool() { 3 } else { size };
    let window = rng.usize(1..=widest);
    (0..size)
        .map(|index| {
            let mut parents: Vec<usize> = vec![];
            if index >= roots {
                let nearest = index.saturating_sub(window);
                parents = (0..rng.usize(0..=most_parents))
                    .map(|_| rng.usize(nearest..index))
                    .collect();
                parents.sort_unstable();
                parents.dedup();
            }
            Node {
                name: format!("s{index}"),
                parents,
                retryable: rng.u8(..8) > 0,
                retry_limit: rng.i32(0..=4),
            }
        })
        .collect()
}

/// The steps in any order: which one comes first is for the extension to find out.
pub fn template(rng: &mut Rng, name: &str, nodes: &[Node]) -> Template {
    let mut order: Vec<&Node> = nodes.iter().collect();
    rng.shuffle(&mut order);
    let template = Template::new(name).with("namespace_name", json!(name));
    order.into_iter().fold(template, |template, node| {
        let parents: Vec<&str> = node
            .parents
            .iter()
            .map(|parent| nodes[*parent].name.as_str())
            .collect();
        let fields =
            json!({ "default_retryable": node.retryable, "default_retry_limit": node.retry_limit });
        template.step_with(&node.name, &parents, fields)
    })
}
