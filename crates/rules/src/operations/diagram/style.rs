//! How steps look, the same in every form of picture.

use super::Node;
use crate::engine::state::StepState;

/// Colours as `#rrggbb`.
pub(super) struct Style {
    pub(super) fill: &'static str,
    pub(super) stroke: &'static str,
    pub(super) text: &'static str,
    /// Colour of the state's word: readable on the fill.
    pub(super) accent: &'static str,
    pub(super) dashed: bool,
}

/// What a step looks like: its state, and what it waits for where the state does not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    State(StepState),
    /// Failed, and will run again by itself.
    WaitingForRetry,
    /// Pending, and will never run.
    Unreachable,
}

impl Look {
    pub(super) const ALL: [Self; 8] = [
        Self::State(StepState::Pending),
        Self::Unreachable,
        Self::State(StepState::InProgress),
        Self::WaitingForRetry,
        Self::State(StepState::Error),
        Self::State(StepState::Complete),
        Self::State(StepState::Cancelled),
        Self::State(StepState::ResolvedManually),
    ];

    /// None in the picture of a template.
    pub(super) fn of(node: &Node) -> Option<Self> {
        node.state.map(|state| match state {
            StepState::Error if node.waits_for_retry => Self::WaitingForRetry,
            StepState::Pending if node.unreachable => Self::Unreachable,
            state => Self::State(state),
        })
    }

    /// The name of its class in the picture.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::State(state) => state.as_str(),
            Self::WaitingForRetry => "waiting_for_retry",
            Self::Unreachable => "unreachable",
        }
    }

    /// The same for people.
    pub(super) fn words(self) -> String {
        self.class().replace('_', " ")
    }
}

/// The colours of a step; those of a template's step for None.
pub(super) const fn style(look: Option<Look>) -> Style {
    let (fill, stroke, accent) = match look {
        None => ("#ffffff", "#374151", "#4b5563"),
        Some(Look::State(StepState::Pending)) => ("#f3f4f6", "#6b7280", "#4b5563"),
        Some(Look::State(StepState::InProgress)) => ("#dbeafe", "#2563eb", "#1d4ed8"),
        Some(Look::State(StepState::Error)) => ("#fee2e2", "#dc2626", "#b91c1c"),
        Some(Look::State(StepState::Complete)) => ("#dcfce7", "#16a34a", "#166534"),
        Some(Look::State(StepState::Cancelled)) => ("#e5e7eb", "#6b7280", "#4b5563"),
        Some(Look::State(StepState::ResolvedManually)) => ("#fef3c7", "#b45309", "#92400e"),
        Some(Look::WaitingForRetry) => ("#f3e8ff", "#9333ea", "#7e22ce"),
        Some(Look::Unreachable) => ("#ffffff", "#9ca3af", "#4b5563"),
    };
    Style {
        fill,
        stroke,
        text: "#111827",
        accent,
        dashed: matches!(
            look,
            Some(Look::State(StepState::Cancelled) | Look::Unreachable)
        ),
    }
}
