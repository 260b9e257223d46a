//! Pictures of a template or a task: Mermaid, Graphviz, SVG, HTML and JSON from one model.

mod dot;
mod html;
mod json;
mod layout;
mod link;
mod mermaid;
mod style;
mod svg;
mod text;

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

pub use dot::dot;
pub use html::html;
pub use json::json;
pub use link::{Places, is_link_template, link};
pub use mermaid::mermaid;
pub use svg::svg;

use crate::engine::state::StepState;
use crate::template::Template;
use style::Look;

/// What is drawn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiagramModel {
    /// Heading of the picture.
    pub title: String,
    /// Where a click on the heading leads.
    pub url: Option<String>,
    /// The steps, in the order of their numbers.
    pub nodes: Vec<Node>,
    /// Edges as (parent, child) step numbers. One that names no node is not drawn.
    pub edges: Vec<(i16, i16)>,
}

/// A step in a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Number of the step, unique in the picture.
    pub step_no: i16,
    /// Its id in JSON; one made of its number for None.
    pub id: Option<String>,
    /// Where a click on it leads: an address that [`link`] made.
    pub url: Option<String>,
    /// Its name; any text is drawn as it is.
    pub name: String,
    /// Its state; None in the picture of a template.
    pub state: Option<StepState>,
    /// Of a failed step: it runs again by itself.
    pub waits_for_retry: bool,
    /// Of a pending step: a step before it will never be done.
    pub unreachable: bool,
    /// Runs so far; None in the picture of a template.
    pub attempts: Option<i32>,
    /// Attempts in total.
    pub retry_limit: i32,
    /// How long it took, or has taken so far, in milliseconds.
    pub duration_ms: Option<i64>,
    /// One more line, such as the worker or the error.
    pub note: Option<String>,
}

/// The forms of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Text for Mermaid, which Markdown viewers draw.
    Mermaid,
    /// Text for Graphviz.
    Dot,
    /// A self-contained SVG image.
    Svg,
    /// A self-contained page with the SVG and a table.
    Html,
    /// Nodes and edges.
    Json,
}

impl FromStr for Format {
    type Err = String;

    /// Errors: the sentence to show.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "mermaid" => Ok(Self::Mermaid),
            "dot" => Ok(Self::Dot),
            "svg" => Ok(Self::Svg),
            "html" => Ok(Self::Html),
            "json" => Ok(Self::Json),
            other => Err(format!(
                "unknown diagram format {}; use mermaid, dot, svg, html or json",
                crate::names::shown(other)
            )),
        }
    }
}

/// Draws the model in the given form.
pub fn draw(model: &DiagramModel, format: Format) -> String {
    match format {
        Format::Mermaid => mermaid(model),
        Format::Dot => dot(model),
        Format::Svg => svg(model),
        Format::Html => html(model),
        Format::Json => json(model),
    }
}

impl DiagramModel {
    /// The picture of a template: no states, no attempts.
    pub fn of_template(template: &Template) -> Self {
        let nodes = template.steps.iter().map(|step| Node {
            step_no: step.step_no,
            id: None,
            url: None,
            name: step.name.clone(),
            state: None,
            waits_for_retry: false,
            unreachable: false,
            attempts: None,
            retry_limit: i32::from(step.retry_limit),
            duration_ms: None,
            note: Some(step.handler.clone()),
        });
        Self {
            title: template.full_name(),
            url: None,
            nodes: nodes.collect(),
            edges: template.dag.edges().collect(),
        }
    }

    /// The edges whose two ends are both there.
    fn drawable_edges(&self) -> impl Iterator<Item = (i16, i16)> + '_ {
        let known = self.position_of();
        let both =
            move |edge: &(i16, i16)| known.contains_key(&edge.0) && known.contains_key(&edge.1);
        self.edges.iter().copied().filter(both)
    }

    /// The same as positions of nodes.
    fn positions(&self) -> Vec<(usize, usize)> {
        let known = self.position_of();
        let position = |(parent, child)| Some((*known.get(parent)?, *known.get(child)?));
        self.edges
            .iter()
            .filter_map(|(parent, child)| position((parent, child)))
            .collect()
    }

    fn position_of(&self) -> HashMap<i16, usize> {
        let numbers = self.nodes.iter().map(|node| node.step_no);
        numbers.zip(0..).collect()
    }
}

impl Node {
    /// State, attempts and duration in one line; empty if there is nothing to say.
    fn status_line(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(Look::of(self).map(Look::words));
        let ran = self.attempts.filter(|attempts| *attempts > 0);
        parts.extend(
            ran.map(|attempts| format!("attempt {attempts} of {}", self.retry_limit.max(attempts))),
        );
        parts.extend(self.duration_ms.map(|ms| Duration(ms).to_string()));
        parts.join(", ")
    }
}

/// Milliseconds for people: `850 ms`, `1.2 s`, `3 min 5 s`, `2 h 5 min`, `3 d 4 h`.
struct Duration(i64);

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.max(0);
        let (seconds, minutes, hours) = (ms / 1_000, ms / 60_000, ms / 3_600_000);
        match ms {
            0..1_000 => write!(f, "{ms} ms"),
            1_000..60_000 => write!(f, "{seconds}.{} s", ms % 1_000 / 100),
            60_000..3_600_000 => write!(f, "{minutes} min {} s", seconds % 60),
            3_600_000..86_400_000 => write!(f, "{hours} h {} min", minutes % 60),
            _ => write!(f, "{} d {} h", hours / 24, hours % 24),
        }
    }
}

/// The text on one line: control characters become spaces.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
