//! The colours of the states, the same in every form of picture.

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

/// The colours of a step; those of a template's step for None.
pub(super) const fn style(state: Option<StepState>) -> Style {
    let (fill, stroke, accent) = match state {
        None => ("#ffffff", "#374151", "#4b5563"),
        Some(StepState::Pending) => ("#f3f4f6", "#6b7280", "#4b5563"),
        Some(StepState::InProgress) => ("#dbeafe", "#2563eb", "#1d4ed8"),
        Some(StepState::Error) => ("#fee2e2", "#dc2626", "#b91c1c"),
        Some(StepState::Complete) => ("#dcfce7", "#16a34a", "#166534"),
        Some(StepState::Cancelled) => ("#e5e7eb", "#6b7280", "#4b5563"),
        Some(StepState::ResolvedManually) => ("#fef3c7", "#b45309", "#92400e"),
    };
    Style {
        fill,
        stroke,
        text: "#111827",
        accent,
        dashed: matches!(state, Some(StepState::Cancelled)),
    }
}
