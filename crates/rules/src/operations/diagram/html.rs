//! HTML: one page with the picture and a table of the steps, whose texts are whole. It loads nothing and runs nothing.

use std::fmt::Write;

use super::style::Look;
use super::svg::{linked, svg};
use super::text::escaped;
use super::{DiagramModel, Duration, Node, one_line};

const STYLE: &str = "body{margin:24px;font:14px Helvetica,Arial,sans-serif;color:#111827;background:#fff}\
svg{max-width:100%;height:auto}\
table{border-collapse:collapse;margin:16px 12px}\
th,td{padding:6px 12px;border-bottom:1px solid #e5e7eb;text-align:left;vertical-align:top}\
td{overflow-wrap:anywhere}td.number{text-align:right;white-space:nowrap}\
a{color:#1d4ed8}svg a:hover rect{stroke-width:2.5}";

/// The model as an HTML page.
pub fn html(model: &DiagramModel) -> String {
    let title = escaped(&one_line(model.title.trim()));
    // Writing to a String cannot fail, hence the ignored results.
    let mut out = String::new();
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width\"/>\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n{}",
        svg(model)
    );
    out.push_str(
        "<table>\n<tr><th>Step</th><th>State</th><th>Attempts</th><th>Duration</th><th>Note</th></tr>\n",
    );
    for node in &model.nodes {
        let _ = writeln!(out, "<tr>{}</tr>", cells(node));
    }
    out.push_str("</table>\n</body>\n</html>\n");
    out
}

fn cells(node: &Node) -> String {
    let name = linked(node.url.as_deref(), &escaped(&one_line(&node.name)));
    let state = Look::of(node).map_or_else(String::new, Look::words);
    let attempts = node.attempts.map_or_else(String::new, |attempts| {
        format!("{attempts}/{}", node.retry_limit)
    });
    let took = node
        .duration_ms
        .map_or_else(String::new, |ms| Duration(ms).to_string());
    let note = escaped(node.note.as_deref().unwrap_or_default());
    format!(
        "<td>{name}</td><td>{state}</td><td class=\"number\">{attempts}</td><td class=\"number\">{took}</td><td>{note}</td>"
    )
}
