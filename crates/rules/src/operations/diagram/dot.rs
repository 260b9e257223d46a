//! Graphviz: a digraph from top to bottom.

use std::fmt::Write;

use super::DiagramModel;
use super::style::{Look, style};

/// The model as a Graphviz digraph.
pub fn dot(model: &DiagramModel) -> String {
    // Writing to a String cannot fail, hence the ignored results.
    let mut out = String::new();
    let _ = writeln!(out, "digraph {} {{", quoted(&[&model.title]));
    let _ = writeln!(
        out,
        "    graph [label={}, labelloc=t, rankdir=TB, fontname=\"Helvetica\"{}];",
        quoted(&[&model.title]),
        url(model.url.as_deref())
    );
    out.push_str(
        "    node [shape=box, style=\"rounded,filled\", fontname=\"Helvetica\", fontsize=11];\n",
    );
    out.push_str("    edge [color=\"#6b7280\"];\n");
    for node in &model.nodes {
        let style = style(Look::of(node));
        let status = node.status_line();
        let lines = [
            node.name.as_str(),
            &status,
            node.note.as_deref().unwrap_or_default(),
        ];
        let lines: Vec<_> = lines.into_iter().filter(|line| !line.is_empty()).collect();
        let dashes = if style.dashed {
            ", style=\"rounded,filled,dashed\""
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "    s{} [label={}, fillcolor=\"{}\", color=\"{}\", fontcolor=\"{}\"{dashes}{}];",
            node.step_no,
            quoted(&lines),
            style.fill,
            style.stroke,
            style.text,
            url(node.url.as_deref())
        );
    }
    for (parent, child) in model.drawable_edges() {
        let _ = writeln!(out, "    s{parent} -> s{child};");
    }
    out.push_str("}\n");
    out
}

fn url(url: Option<&str>) -> String {
    url.map_or_else(String::new, |url| format!(", URL={}", quoted(&[url])))
}

/// The lines as one quoted string. Graphviz reads backslashes and HTML entities in it, so both are taken from the text.
fn quoted(lines: &[&str]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| escaped(line)).collect();
    format!("\"{}\"", lines.join("\\n"))
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '&' => out.push_str("&amp;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
