//! SVG: a self-contained picture with a heading, a legend and a card per step.

use std::collections::HashMap;
use std::fmt::Write;

use super::layout::{Layout, PORT_GAP, PORT_INSET, layout};
use super::style::{Look, style};
use super::text::{Font, escaped, shortened, two_lines, width};
use super::{DiagramModel, Duration, Node, one_line};

const MARGIN: f64 = 24.0;
const TITLE: Font = font(17.0, true);
const NAME: Font = font(13.0, true);
const SMALL: Font = font(11.0, false);
const STATE: Font = font(11.0, true);
const INK: &str = "#111827";
const GREY: &str = "#4b5563";
const LINE: &str = "#6b7280";

/// Between the border of a card and its texts; the left side has the stripe besides.
const PADDING: f64 = 12.0;
const STRIPE: f64 = 6.0;
/// A card is as wide as its widest text, within these.
const CARD_WIDTH: (f64, f64) = (150.0, 280.0);
const LINE_HEIGHT: f64 = 17.0;
const COLUMN_GAP: f64 = 14.0;
/// Headings and legends of narrow pictures may be this wide.
const LEAST_WIDTH: f64 = 380.0;
const MOST_TITLE_WIDTH: f64 = 1_200.0;

const fn font(size: f64, bold: bool) -> Font {
    Font { size, bold }
}

/// The width of a card that its texts can use.
fn room(card_width: f64) -> f64 {
    card_width - 2.0 * PADDING - STRIPE
}

/// The texts of a card.
struct Card {
    name: String,
    /// The state, at the left of the second line.
    state: String,
    /// Attempts and duration, at its right.
    run: String,
    /// The same where that has no room.
    short_run: String,
    /// The handler, the worker or the error.
    note: String,
}

impl Card {
    fn of(node: &Node) -> Self {
        let ran = node.attempts.filter(|attempts| *attempts > 0);
        let ran = ran.map(|attempts| format!("{attempts}/{}", node.retry_limit.max(attempts)));
        let took = node.duration_ms.map(|ms| Duration(ms).to_string());
        let run = |word: &str| {
            let ran = ran.as_ref().map(|ran| format!("{word}{ran}"));
            let parts: Vec<String> = ran.into_iter().chain(took.clone()).collect();
            parts.join(" · ")
        };
        Self {
            name: one_line(&node.name),
            state: Look::of(node).map_or_else(String::new, Look::words),
            run: run("attempt "),
            short_run: run(""),
            note: one_line(node.note.as_deref().unwrap_or_default())
                .trim()
                .to_owned(),
        }
    }

    fn width(&self) -> f64 {
        let second = width(&self.state, STATE) + COLUMN_GAP + width(&self.run, SMALL);
        let text = width(&self.name, NAME)
            .max(second)
            .max(width(&self.note, SMALL));
        (text + 2.0 * PADDING + STRIPE).ceil()
    }

    fn lines(&self, card_width: f64) -> usize {
        two_lines(&self.name, NAME, room(card_width)).len()
            + usize::from(!self.state.is_empty() || !self.run.is_empty())
            + usize::from(!self.note.is_empty())
    }
}

/// The model as an SVG image. Texts that do not fit are shortened; the whole text shows when the pointer rests on the card.
pub fn svg(model: &DiagramModel) -> String {
    let edges = model.positions();
    let cards: Vec<Card> = model.nodes.iter().map(Card::of).collect();
    let wanted = cards
        .iter()
        .map(Card::width)
        .fold(width_of_ports(&edges), f64::max);
    let card_width = wanted.clamp(CARD_WIDTH.0, CARD_WIDTH.1);
    let lines = cards.iter().map(|card| card.lines(card_width));
    let size = (
        card_width,
        16.0 + lines.max().unwrap_or(1) as f64 * LINE_HEIGHT,
    );
    let layout = layout(model.nodes.len(), &edges, size);

    let title = one_line(model.title.trim());
    let title_width = width(&title, TITLE).min(MOST_TITLE_WIDTH);
    let inner = layout.width.max(title_width).max(LEAST_WIDTH).ceil();
    let counted = counted(model, edges.len());
    let (legend, legend_height) = legend(model, &counted, inner);
    let top = MARGIN + 26.0 + legend_height + 22.0;
    let (width, height) = (inner + 2.0 * MARGIN, (top + layout.height + MARGIN).ceil());
    let left = (width - layout.width) / 2.0;

    // Writing to a String cannot fail, hence the ignored results.
    let mut out = String::new();
    let id = id(model);
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\" \
         font-family=\"Helvetica, Arial, sans-serif\">"
    );
    let _ = writeln!(out, "<title id=\"{id}-title\">{}</title>", escaped(&title));
    let _ = writeln!(
        out,
        "<desc id=\"{id}-desc\">{}</desc>",
        described(model, &counted)
    );
    let _ = writeln!(
        out,
        "<defs><marker id=\"{id}-arrow\" viewBox=\"0 0 8 8\" refX=\"7.5\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path d=\"M0 0.5L8 4L0 7.5z\" fill=\"{LINE}\"/></marker></defs>"
    );
    let _ = writeln!(
        out,
        "<rect width=\"{width:.0}\" height=\"{height:.0}\" fill=\"#ffffff\"/>"
    );
    let heading = shortened(&title, TITLE, inner);
    let mut head = String::new();
    text(&mut head, (MARGIN, MARGIN + 15.0), &heading, TITLE, INK, "");
    out.push_str(&linked(model.url.as_deref(), &head));
    out.push_str(&legend);
    draw_edges(&mut out, &layout, (left, top), &id);
    for ((node, card), (x, y)) in model.nodes.iter().zip(&cards).zip(&layout.boxes) {
        let mut drawn = String::new();
        draw_card(
            &mut drawn,
            node,
            card,
            (left + x - size.0 / 2.0, top + y - size.1 / 2.0),
            size,
        );
        out.push_str(&linked(node.url.as_deref(), &drawn));
    }
    out.push_str("</svg>\n");
    out
}

/// The element, in a link if there is one.
pub(super) fn linked(url: Option<&str>, element: &str) -> String {
    url.map_or_else(
        || element.to_owned(),
        |url| format!("<a href=\"{}\">{element}</a>", escaped(url)),
    )
}

/// Cards as wide as the edges of the busiest one need to end side by side.
fn width_of_ports(edges: &[(usize, usize)]) -> f64 {
    let mut arrive: HashMap<usize, usize> = HashMap::new();
    for (_, child) in edges {
        *arrive.entry(*child).or_default() += 1;
    }
    let most = arrive.into_values().max().unwrap_or(1);
    2.0 * PORT_INSET + (most - 1) as f64 * PORT_GAP
}

/// Several pictures can be in one page, so each has its own names: a hash of what it shows.
fn id(model: &DiagramModel) -> String {
    let names = model.nodes.iter().map(|node| node.name.as_str());
    let hash = std::iter::once(model.title.as_str())
        .chain(names)
        .flat_map(str::bytes)
        .fold(0x811c_9dc5u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
    format!("t{hash:08x}")
}

fn counted(model: &DiagramModel, edges: usize) -> String {
    let many = |count: usize, one: &str, several: &str| {
        format!("{count} {}", if count == 1 { one } else { several })
    };
    format!(
        "{}, {}",
        many(model.nodes.len(), "step", "steps"),
        many(edges, "dependency", "dependencies")
    )
}

/// How many steps have each look that occurs.
fn by_look(model: &DiagramModel) -> Vec<(Look, usize)> {
    Look::ALL
        .into_iter()
        .map(|look| {
            let nodes = model.nodes.iter();
            (
                look,
                nodes.filter(|node| Look::of(node) == Some(look)).count(),
            )
        })
        .filter(|(_, count)| *count > 0)
        .collect()
}

fn described(model: &DiagramModel, counted: &str) -> String {
    let states: Vec<String> = by_look(model)
        .into_iter()
        .map(|(look, count)| format!("{count} {}", look.words()))
        .collect();
    if states.is_empty() {
        format!("Workflow of {counted}.")
    } else {
        format!("Workflow of {counted}: {}.", states.join(", "))
    }
}

/// The counts, then a swatch with its number of steps for each state that occurs; as many lines as it takes.
fn legend(model: &DiagramModel, counted: &str, room: f64) -> (String, f64) {
    const SWATCH: f64 = 11.0;
    let mut out = String::new();
    let (mut x, mut y) = (MARGIN, MARGIN + 26.0 + 11.0);
    let first = y;
    text(&mut out, (x, y), counted, SMALL, GREY, "");
    x += width(counted, SMALL) + 22.0;
    for (look, count) in by_look(model) {
        let label = format!("{} {count}", look.words());
        let needed = SWATCH + 6.0 + width(&label, SMALL);
        if x + needed > MARGIN + room {
            (x, y) = (MARGIN, y + 19.0);
        }
        let style = style(Some(look));
        let dashes = if style.dashed {
            " stroke-dasharray=\"3 2\""
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{SWATCH}\" height=\"{SWATCH}\" rx=\"3\" fill=\"{}\" stroke=\"{}\" \
             stroke-width=\"1.4\"{dashes}/>",
            y - 9.5,
            style.fill,
            style.stroke
        );
        text(&mut out, (x + SWATCH + 6.0, y), &label, SMALL, INK, "");
        x += needed + 18.0;
    }
    (out, y - first + 14.0)
}

fn text(out: &mut String, at: (f64, f64), words: &str, font: Font, fill: &str, more: &str) {
    if words.trim().is_empty() {
        return;
    }
    let weight = if font.bold {
        " font-weight=\"bold\""
    } else {
        ""
    };
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"{}\"{weight} fill=\"{fill}\"{more}>{}</text>",
        at.0,
        at.1,
        font.size,
        escaped(words)
    );
}

/// Smooth lines that leave and arrive vertically everywhere.
fn draw_edges(out: &mut String, layout: &Layout, at: (f64, f64), id: &str) {
    let _ = writeln!(
        out,
        "<g fill=\"none\" stroke=\"{LINE}\" stroke-width=\"1.4\">"
    );
    for points in &layout.edges {
        let mut path = String::new();
        let mut before = (0.0, 0.0);
        for (index, (x, y)) in points.iter().enumerate() {
            let (x, y) = (x + at.0, y + at.1);
            if index == 0 {
                let _ = write!(path, "M{x:.1} {y:.1}");
            } else if (before.0 - x).abs() < 0.05 {
                let _ = write!(path, "V{y:.1}");
            } else {
                let middle = (before.1 + y) / 2.0;
                let _ = write!(
                    path,
                    "C{:.1} {middle:.1} {x:.1} {middle:.1} {x:.1} {y:.1}",
                    before.0
                );
            }
            before = (x, y);
        }
        let _ = writeln!(out, "<path d=\"{path}\" marker-end=\"url(#{id}-arrow)\"/>");
    }
    out.push_str("</g>\n");
}

fn draw_card(out: &mut String, node: &Node, card: &Card, at: (f64, f64), size: (f64, f64)) {
    let style = style(Look::of(node));
    let class = Look::of(node).map_or("template", Look::class);
    let dashes = if style.dashed {
        " stroke-dasharray=\"5 4\""
    } else {
        ""
    };
    let status = node.status_line();
    let whole: Vec<&str> = [
        node.name.as_str(),
        &status,
        node.note.as_deref().unwrap_or_default(),
    ]
    .into_iter()
    .filter(|line| !line.is_empty())
    .collect();
    let (x, y) = at;
    let _ = writeln!(
        out,
        "<g class=\"{class}\"><title>{}</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"7\" \
         fill=\"{}\" stroke=\"{}\" stroke-width=\"1.4\"{dashes}/>",
        escaped(&whole.join("\n")),
        size.0,
        size.1,
        style.fill,
        style.stroke
    );
    let _ = writeln!(
        out,
        "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"4\" height=\"{:.1}\" rx=\"2\" fill=\"{}\"/>",
        x + 6.0,
        y + 8.0,
        size.1 - 16.0,
        style.stroke
    );
    let (left, right) = (x + STRIPE + PADDING, x + size.0 - PADDING);
    let room = room(size.0);
    // With fewer lines than the tallest card they move to the middle.
    let below = (card.lines(size.0) as f64 - 1.0) * LINE_HEIGHT;
    let mut line = y + (size.1 - below) / 2.0 + 4.5;
    for (number, name) in two_lines(&card.name, NAME, room).iter().enumerate() {
        line += if number > 0 { LINE_HEIGHT } else { 0.0 };
        text(out, (left, line), name, NAME, style.text, "");
    }
    if !card.state.is_empty() || !card.run.is_empty() {
        line += LINE_HEIGHT;
        let state = shortened(&card.state, STATE, room);
        let beside = room - width(&state, STATE) - COLUMN_GAP;
        text(out, (left, line), &state, STATE, style.accent, "");
        let fits = width(&card.run, SMALL) <= beside;
        let run = if fits { &card.run } else { &card.short_run };
        text(
            out,
            (right, line),
            &shortened(run, SMALL, beside),
            SMALL,
            GREY,
            " text-anchor=\"end\"",
        );
    }
    if !card.note.is_empty() {
        line += LINE_HEIGHT;
        text(
            out,
            (left, line),
            &shortened(&card.note, SMALL, room),
            SMALL,
            style.accent,
            "",
        );
    }
    out.push_str("</g>\n");
}
