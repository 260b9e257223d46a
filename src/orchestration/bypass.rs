//! Steps that a request bypasses: skippable ones that never run. Each counts as complete for its children from the
//! creation of the task on, regardless of its own parents.

use std::collections::{BTreeSet, HashMap};

use tasker_rules::engine::state::StepState;

use crate::error::{Error, Result};
use crate::pg::datum::{self, Jsonb};
use crate::registry::{Template, TemplateStep};

/// The steps of its template that a request bypasses.
#[derive(Default)]
pub struct Bypass {
    /// As the request names them; repetition does not matter.
    pub names: Vec<String>,
    numbers: BTreeSet<i16>,
}

impl Bypass {
    /// Reads the request's array of names. 22023 for an element that is not the name of a skippable step.
    pub fn read(template: &Template, document: Jsonb) -> Result<Self> {
        if !datum::is_array(document) {
            return Err(
                Error::parameter("bypass_steps must be a JSON array of step names")
                    .detail("The document given is not an array.")
                    .hint("For example '[\"send_newsletter\"]'."),
            );
        }
        if datum::element_count(document) == 0 {
            return Ok(Self::default());
        }
        let names: Vec<serde_json::Value> = serde_json::from_str(&datum::jsonb_text(document))
            .map_err(|error| Error::parameter(format!("bypass_steps cannot be read: {error}")))?;
        let by_name: HashMap<&str, &TemplateStep> = template
            .steps()
            .iter()
            .map(|step| (step.name.as_str(), step))
            .collect();
        let mut bypass = Self::default();
        for (index, name) in names.into_iter().enumerate() {
            let place = format!("bypass_steps[{}]", index + 1);
            let serde_json::Value::String(name) = name else {
                return Err(Error::parameter(format!("{place} is not a step name"))
                    .detail("Every element is the name of a step, a JSON string.")
                    .hint("For example '[\"send_newsletter\"]'."));
            };
            let step = by_name.get(name.as_str()).copied();
            let step = skippable(template, step, &name, &place)?;
            bypass.numbers.insert(step.no);
            bypass.names.push(name);
        }
        Ok(bypass)
    }

    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    pub fn contains(&self, step: &TemplateStep) -> bool {
        self.numbers.contains(&step.no)
    }

    /// The bypassed steps, ascending.
    pub fn numbers(&self) -> impl Iterator<Item = i16> + '_ {
        self.numbers.iter().copied()
    }

    /// The state in which the step is created.
    pub fn first_state(&self, step: &TemplateStep) -> StepState {
        if self.contains(step) {
            StepState::ResolvedManually
        } else {
            StepState::Pending
        }
    }

    /// How many parents the step waits for.
    pub fn open_parents(&self, step: &TemplateStep) -> i16 {
        let waits_for = |no: &&i16| !self.numbers.contains(no);
        step.parents.iter().filter(waits_for).count() as i16
    }

    /// Whether the step can run as soon as the task can.
    pub fn is_ready(&self, step: &TemplateStep) -> bool {
        !self.contains(step) && self.open_parents(step) == 0
    }

    /// How many leaves of the task are still to be completed.
    pub fn open_leaves(&self, template: &Template) -> i16 {
        let open = |step: &&TemplateStep| step.children.is_empty() && !self.contains(step);
        template.steps().iter().filter(open).count() as i16
    }
}

fn skippable<'a>(
    template: &Template,
    step: Option<&'a TemplateStep>,
    name: &str,
    place: &str,
) -> Result<&'a TemplateStep> {
    let shown = tasker_rules::names::shown(name);
    let step = step.ok_or_else(|| {
        Error::parameter(format!("{place}: {} has no step {shown}", template.full_name()))
            .detail("Only steps of the task's own template can be bypassed.")
            .hint("SELECT name, skippable FROM tasker.named_tasks_named_steps shows the steps of each template.")
    })?;
    if step.skippable {
        return Ok(step);
    }
    let others: Vec<&str> = template
        .steps()
        .iter()
        .filter(|step| step.skippable)
        .map(|step| step.name.as_str())
        .collect();
    let detail = if others.is_empty() {
        "The template has no skippable step.".to_owned()
    } else {
        format!("Skippable steps: {}.", others.join(", "))
    };
    Err(Error::parameter(format!(
        "{place}: step {shown} of {} is not skippable",
        template.full_name()
    ))
    .detail(detail)
    .hint("A step may be bypassed when its template says skippable: true."))
}
