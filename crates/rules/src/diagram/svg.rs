//! SVG: a self-contained picture, one row of boxes per level.

use std::collections::HashMap;
use std::fmt::Write;

use super::layout::{BOX_HEIGHT, BOX_WIDTH, layout};
use super::style::style;
use super::{DiagramModel, Node, one_line};

const MARGIN: f64 = 24.0;
const HEADING: f64 = 40.0;
const TEXT_ROOM: f64 = BOX_WIDTH - 16.0;

/// The model as an SVG image. Texts that do not fit are shortened; the whole text shows when the pointer rests on the box.
pub fn svg(model: &DiagramModel) -> String {
    let position: HashMap<i16, usize> = model
        .nodes
        .iter()
        .enumerate()
        .map(|(at, node)| (node.step_no, at))
        .collect();
    let edges: Vec<(usize, usize)> = model
        .drawable_edges()
        .filter_map(|(parent, child)| Some((*position.get(&parent)?, *position.get(&child)?)))
        .collect();
    let layout = layout(model.nodes.len(), &edges);
    let title_width = text_width(&model.title, 16.0).min(1_200.0);
    let width = layout.width.max(title_width) + 2.0 * MARGIN;
    let height = layout.height + HEADING + 2.0 * MARGIN;
    let (left, top) = ((width - layout.width) / 2.0, MARGIN + HEADING);

    // Writing to a String cannot fail, hence the ignored results.
    let mut out = String::new();
    let title = escaped(&one_line(&model.title));
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" role=\"img\" font-family=\"Helvetica, Arial, sans-serif\">"
    );
    let _ = writeln!(out, "<title>{title}</title>");
    out.push_str(
        "<defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
         orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#6b7280\"/></marker></defs>\n",
    );
    let _ = writeln!(
        out,
        "<rect width=\"{width:.0}\" height=\"{height:.0}\" fill=\"#ffffff\"/>"
    );
    let heading = escaped(&shortened(
        &one_line(&model.title),
        16.0,
        width - 2.0 * MARGIN,
    ));
    let _ = writeln!(
        out,
        "<text x=\"{MARGIN}\" y=\"{:.0}\" font-size=\"16\" font-weight=\"bold\" fill=\"#111827\">{heading}</text>",
        MARGIN + 16.0
    );
    out.push_str("<g fill=\"none\" stroke=\"#6b7280\" stroke-width=\"1.4\">\n");
    for points in &layout.edges {
        edge(&mut out, points, left, top);
    }
    out.push_str("</g>\n");
    for (node, (x, y)) in model.nodes.iter().zip(&layout.boxes) {
        node_box(&mut out, node, left + x, top + y);
    }
    out.push_str("</svg>\n");
    out
}

/// A smooth line through the points that leaves and arrives vertically everywhere.
fn edge(out: &mut String, points: &[(f64, f64)], left: f64, top: f64) {
    let mut path = String::new();
    for (index, (x, y)) in points.iter().enumerate() {
        let (x, y) = (x + left, y + top);
        if index == 0 {
            let _ = write!(path, "M{x:.1} {y:.1}");
            continue;
        }
        let (before_x, before_y) = (points[index - 1].0 + left, points[index - 1].1 + top);
        if (before_x - x).abs() < 0.05 {
            let _ = write!(path, "V{y:.1}");
        } else {
            let middle = (before_y + y) / 2.0;
            let _ = write!(
                path,
                "C{before_x:.1} {middle:.1} {x:.1} {middle:.1} {x:.1} {y:.1}"
            );
        }
    }
    let _ = writeln!(out, "<path d=\"{path}\" marker-end=\"url(#arrow)\"/>");
}

fn node_box(out: &mut String, node: &Node, x: f64, y: f64) {
    let style = style(node.state);
    let (left, top) = (x - BOX_WIDTH / 2.0, y - BOX_HEIGHT / 2.0);
    let class = node.state.map_or("template", |state| state.as_str());
    let status = node.status_line();
    let note = node.note.as_deref().unwrap_or_default();
    let dashes = if style.dashed {
        " stroke-dasharray=\"5 4\""
    } else {
        ""
    };
    let whole: Vec<&str> = [node.name.as_str(), &status, note]
        .into_iter()
        .filter(|line| !line.is_empty())
        .collect();
    let _ = writeln!(
        out,
        "<g class=\"{class}\"><title>{}</title><rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{BOX_WIDTH}\" \
         height=\"{BOX_HEIGHT}\" rx=\"8\" fill=\"{}\" stroke=\"{}\" stroke-width=\"1.6\"{dashes}/>",
        escaped(&whole.join("\n")),
        style.fill,
        style.stroke
    );
    // With fewer lines the rest moves to the middle.
    let lines = [
        (node.name.as_str(), 13.0, true),
        (&status, 11.0, false),
        (note, 11.0, false),
    ];
    let shown: Vec<_> = lines
        .into_iter()
        .filter(|line| !line.0.trim().is_empty())
        .collect();
    let first = y - (shown.len() as f64 - 1.0) * 8.5 + 4.5;
    for (index, (text, size, bold)) in shown.into_iter().enumerate() {
        let weight = if bold { " font-weight=\"bold\"" } else { "" };
        let _ = writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"{:.1}\" font-size=\"{size}\"{weight} text-anchor=\"middle\" fill=\"{}\">{}</text>",
            first + index as f64 * 17.0,
            style.text,
            escaped(&shortened(&one_line(text), size, TEXT_ROOM))
        );
    }
    out.push_str("</g>\n");
}

/// A generous estimate of how wide a text is drawn: nothing here can measure fonts.
fn text_width(text: &str, size: f64) -> f64 {
    let units: f64 =
        text.chars()
            .map(|c| match c {
                'i' | 'j' | 'l' | 'f' | 't' | 'r' | '.' | ',' | ':' | ';' | '|' | '!' | '\''
                | ' ' => 0.36,
                'm' | 'w' | 'M' | 'W' | '@' | '%' => 1.0,
                'A'..='Z' | '_' => 0.76,
                c if c.is_ascii() => 0.6,
                // Letters of most alphabets are narrower than this, ideographs just fit.
                c if u32::from(c) < 0x1100 => 0.8,
                _ => 1.1,
            })
            .sum();
    units * size
}

/// The text, or its beginning and an ellipsis, so that it fits into `room`.
fn shortened(text: &str, size: f64, room: f64) -> String {
    if text_width(text, size) <= room {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = text_width("…", size);
    for c in text.chars() {
        used += text_width(c.encode_utf8(&mut [0; 4]), size);
        if used > room {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

/// Safe inside XML text and attributes; characters that XML cannot hold are left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push('\n'),
            '\u{fffe}' | '\u{ffff}' => {}
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
