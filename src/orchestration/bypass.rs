//! Steps that are done when their task is created: skippable ones that its request bypasses, and those that keep the results of the
//! task that it runs again. Each counts as complete for its children, regardless of its own parents, and never runs.

use std::collections::{BTreeSet, HashMap};

use tasker_rules::engine::state::StepState;

use crate::error::{Error, Result};
use crate::orchestration::{StepKey, audit, format_uuid};
use crate::pg::budget;
use crate::pg::datum::{self, Jsonb, Uuid};
use crate::registry::{Template, TemplateStep};

/// The task that another one runs again.
pub struct Rerun {
    pub of: Uuid,
    pub from_step: Option<String>,
    /// The steps that keep its results.
    pub kept: BTreeSet<i16>,
}

/// The steps of its template that a new task does not run.
#[derive(Default)]
pub struct Bypass {
    /// The bypassed ones, as the request names them; repetition does not matter.
    pub names: Vec<String>,
    /// All of them.
    numbers: BTreeSet<i16>,
    pub rerun: Option<Rerun>,
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
        let by_name: HashMap<&str, &TemplateStep> = template
            .steps()
            .iter()
            .map(|step| (step.name.as_str(), step))
            .collect();
        let mut bypass = Self::default();
        for (index, element) in datum::array_fields(document).enumerate() {
            budget::check_for_cancel();
            let place = || format!("bypass_steps[{}]", index + 1);
            let Some(name) = element.as_str() else {
                return Err(Error::parameter(format!("{} is not a step name", place()))
                    .detail("Every element is the name of a step, a JSON string.")
                    .hint("For example '[\"send_newsletter\"]'."));
            };
            let step = by_name.get(name).copied();
            let step = skippable(template, step, name, &place)?;
            if bypass.numbers.insert(step.no) {
                bypass.names.push(name.to_owned());
            }
        }
        Ok(bypass)
    }

    /// The same, and with the steps that keep results. What the request bypasses has none.
    pub fn with(mut self, mut rerun: Rerun) -> Self {
        rerun.kept.retain(|no| !self.numbers.contains(no));
        self.numbers.extend(&rerun.kept);
        self.rerun = Some(rerun);
        self
    }

    /// The task whose results the step keeps.
    pub fn source(&self, no: i16) -> Option<Uuid> {
        let rerun = self.rerun.as_ref().filter(|rerun| rerun.kept.contains(&no));
        rerun.map(|rerun| rerun.of)
    }

    /// What the log says of the creation of the task.
    pub fn origin(&self) -> Option<Jsonb<'static>> {
        let rerun = self.rerun.as_ref()?;
        audit::texts(&[
            ("rerun_of", Some(&format_uuid(&rerun.of))),
            ("from_step", rerun.from_step.as_deref()),
        ])
    }

    /// What the log says of a step that is done when the task is created.
    pub fn reason(&self, no: i16) -> Option<Jsonb<'static>> {
        let Some(task) = self.source(no) else {
            return audit::texts(&[("reason", Some("bypassed"))]);
        };
        audit::texts(&[
            ("reason", Some("kept")),
            ("rerun_of", Some(&format_uuid(&task))),
            (
                "step_uuid",
                Some(&format_uuid(&StepKey { task, no }.uuid())),
            ),
        ])
    }

    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    pub fn contains(&self, step: &TemplateStep) -> bool {
        self.numbers.contains(&step.no)
    }

    /// All of these steps, ascending.
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
    place: &dyn Fn() -> String,
) -> Result<&'a TemplateStep> {
    let shown = tasker_rules::names::shown(name);
    let step = step.ok_or_else(|| {
        Error::parameter(format!("{}: {} has no step {shown}", place(), template.full_name()))
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
        "{}: step {shown} of {} is not skippable",
        place(),
        template.full_name()
    ))
    .detail(detail)
    .hint("A step may be bypassed when its template says skippable: true."))
}
