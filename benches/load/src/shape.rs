//! The workflows under load.

use clap::ValueEnum;
use serde_json::{Value, json};

/// What a workflow looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// One step.
    Single,
    /// Five steps in a row.
    #[value(name = "linear-5")]
    Linear5,
    /// One step, then twenty side by side, then one.
    FanOut,
    /// Four steps side by side, then one.
    FanIn,
}

/// Which steps a worker is handed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// First steps have the lower priority: tasks are finished before new ones start, so that every moment shows
    /// the same mix of first, middle and last steps.
    Steady,
    /// One priority: oldest first. Out of a backlog all first steps come before any second one.
    Fifo,
}

impl Shape {
    pub fn name(self) -> &'static str {
        match self {
            Shape::Single => "single",
            Shape::Linear5 => "linear-5",
            Shape::FanOut => "fan-out",
            Shape::FanIn => "fan-in",
        }
    }

    pub fn steps(self) -> u64 {
        self.parents().len() as u64
    }

    /// For each step the positions of its parents.
    fn parents(self) -> Vec<Vec<usize>> {
        match self {
            Shape::Single => vec![vec![]],
            Shape::Linear5 => (0..5)
                .map(|no: usize| no.checked_sub(1).into_iter().collect())
                .collect(),
            Shape::FanOut => (0..22)
                .map(|no| match no {
                    0 => vec![],
                    21 => (1..=20).collect(),
                    _ => vec![0],
                })
                .collect(),
            Shape::FanIn => (0..5)
                .map(|no| if no == 4 { (0..4).collect() } else { vec![] })
                .collect(),
        }
    }

    /// The template to register.
    pub fn template(self, namespace: &str, order: Order) -> Value {
        let name = |no: usize| format!("step_{:02}", no + 1);
        let steps: Vec<Value> = self
            .parents()
            .into_iter()
            .enumerate()
            .map(|(no, parents)| {
                let first = parents.is_empty();
                let parents: Vec<String> = parents.into_iter().map(name).collect();
                let mut step = json!({"name": name(no), "handler": {"callable": "bench"}, "depends_on_steps": parents});
                if order == Order::Steady {
                    step["priority"] = json!(if first { 1 } else { 2 });
                }
                step
            })
            .collect();
        json!({"name": self.name(), "namespace_name": namespace, "steps": steps})
    }
}
