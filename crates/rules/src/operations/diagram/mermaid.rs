//! Mermaid: a flowchart from top to bottom with one class per state.

use std::fmt::Write;

use super::style::{Look, style};
use super::{DiagramModel, Node, one_line};

/// The model as a Mermaid flowchart.
pub fn mermaid(model: &DiagramModel) -> String {
    let mut out = "graph TD\n".to_owned();
    // Writing to a String cannot fail, hence the ignored results.
    if !model.title.trim().is_empty() {
        let _ = writeln!(out, "    accTitle: {}", escaped(model.title.trim()));
    }
    for node in &model.nodes {
        let class = Look::of(node).map_or_else(String::new, |look| format!(":::{}", look.class()));
        let _ = writeln!(out, "    s{}[\"{}\"]{class}", node.step_no, label(node));
    }
    for (parent, child) in model.drawable_edges() {
        let _ = writeln!(out, "    s{parent} --> s{child}");
    }
    for node in &model.nodes {
        if let Some(url) = &node.url {
            // A semicolon could end one of Mermaid's `#code;`, and the URL means the same without.
            let _ = writeln!(
                out,
                "    click s{} href \"{}\"",
                node.step_no,
                url.replace(';', "%3B")
            );
        }
    }
    for look in Look::ALL {
        if model.nodes.iter().any(|node| Look::of(node) == Some(look)) {
            let style = style(Some(look));
            let dashes = if style.dashed {
                ",stroke-dasharray:4 3"
            } else {
                ""
            };
            let _ = writeln!(
                out,
                "    classDef {} fill:{},stroke:{},color:{}{dashes}",
                look.class(),
                style.fill,
                style.stroke,
                style.text
            );
        }
    }
    out
}

fn label(node: &Node) -> String {
    let status = node.status_line();
    let lines = [
        Some(node.name.as_str()),
        Some(status.as_str()),
        node.note.as_deref(),
    ];
    let lines: Vec<_> = lines
        .into_iter()
        .flatten()
        .filter(|line| !line.is_empty())
        .map(escaped)
        .collect();
    lines.join("<br/>")
}

/// Letters, digits and harmless punctuation stay; every other ASCII character becomes Mermaid's `#code;`. So no name can
/// end the label, begin Markdown or smuggle in HTML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in one_line(text).chars() {
        if !c.is_ascii() || c.is_ascii_alphanumeric() || " _-.,:/()+=@".contains(c) {
            out.push(c);
        } else {
            let _ = write!(out, "#{};", u32::from(c));
        }
    }
    out
}
