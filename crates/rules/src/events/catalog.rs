//! The list of events: the engine's names, and other names of the same events.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use super::payload::Payload;
use crate::names;

/// What makes an event happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Rows of the log; [`super::rows::of`] is the rule.
    Row,
    /// A fact that is no change of state.
    Fact,
    /// Nothing of its own: another name of this event.
    Synonym(&'static str),
    /// A part of the extension that does not exist yet.
    Later,
    /// Nothing.
    Never,
}

/// One name.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The name.
    pub name: &'static str,
    /// Its group: mostly what it is about; `alias` for names that are only synonyms.
    pub group: &'static str,
    /// What makes it happen.
    pub source: Source,
    /// The same in words.
    pub when: &'static str,
    /// The keys of its payload; `None` where there is none, or not yet.
    pub payload: Option<Payload>,
}

impl Entry {
    /// The name that a subscriber gets.
    pub const fn canonical(&self) -> &'static str {
        match self.source {
            Source::Synonym(other) => other,
            _ => self.name,
        }
    }

    /// The synonym's canonical name.
    pub const fn synonym_of(&self) -> Option<&'static str> {
        match self.source {
            Source::Synonym(other) => Some(other),
            _ => None,
        }
    }

    /// When it happens, or why it does not, for people.
    pub fn fires_when(&self) -> String {
        match self.source {
            Source::Row | Source::Fact => self.when.to_owned(),
            Source::Synonym(other) => format!("Another name of {other}: {}", self.when),
            Source::Later => format!("Later: {}", self.when),
            Source::Never => format!("Never: {}", self.when),
        }
    }

    /// The payload of the event: of a synonym, that of its canonical name.
    pub fn payload(&self) -> Option<Payload> {
        entry(self.canonical()).and_then(|entry| entry.payload)
    }
}

/// The entry of a name.
pub fn entry(name: &str) -> Option<&'static Entry> {
    place(name).map(|place| &CATALOG[place])
}

/// The place of a name in [`CATALOG`].
pub(super) fn place(name: &str) -> Option<usize> {
    static PLACES: LazyLock<FxHashMap<&str, usize>> =
        LazyLock::new(|| CATALOG.iter().map(|entry| entry.name).zip(0..).collect());
    PLACES.get(name).copied()
}

/// The canonical name of a name of the catalogue.
pub fn canonical(name: &str) -> Option<&'static str> {
    entry(name).map(Entry::canonical)
}

/// Checks the name of an application's own event: [`names::check_custom_event`], and no name of the catalogue. Errors: the sentence to
/// show.
pub fn check_custom(name: &str) -> Result<(), String> {
    names::check_custom_event(name)?;
    match entry(name) {
        Some(_) => Err(format!("event name {name} belongs to the engine")),
        None => Ok(()),
    }
}

macro_rules! catalog {
    ($($group:literal { $($name:literal $source:ident $(= $other:literal)? : $when:literal $(=> $payload:ident)?;)* })*) => {
        /// Every name, each once.
        pub const CATALOG: &[Entry] = &[$($(Entry {
            name: $name,
            group: $group,
            source: catalog!(@source $source $($other)?),
            when: $when,
            payload: catalog!(@payload $($payload)?),
        }),*),*];
    };
    (@source $source:ident) => { Source::$source };
    (@source $source:ident $other:literal) => { Source::$source($other) };
    (@payload) => { None };
    (@payload $payload:ident) => { Some(Payload::$payload) };
}

catalog! {
    "task" {
        "task.initialize_requested" Row: "The row of a task that creates it, with all its steps; and the row from in_progress to pending, by which an operator puts it back." => TaskCreated;
        "task.start_requested" Row: "The row of a task from pending to in_progress: its first step is claimed." => TaskStarted;
        "task.completed" Row: "The row of a task to complete." => TaskCompleted;
        "task.failed" Row: "The row of a task to error." => TaskFailed;
        "task.retry_requested" Row: "The row of a task from error to pending." => TaskRetried;
        "task.cancelled" Row: "The row of a task to cancelled." => TaskCancelled;
        "task.resolved_manually" Row: "The row of a task to resolved_manually." => TaskResolved;
        "task.before_transition" Row: "Every row of a task but the one that creates it, directly before the other events of the row." => TaskTransition;
    }
    "step" {
        "step.initialize_requested" Synonym = "task.initialize_requested": "the row that creates a task stands for the creation of its steps, which have no rows of their own.";
        "step.execution_requested" Row: "The change of a step from pending to in_progress. An operator's start has a row. That by a claim is not live: the row that ends the run tells it, directly before its own events, with the time at which the run began; running_steps is live." => StepStarted;
        "step.before_handle" Synonym = "step.execution_requested": "the handler begins when the claim has handed the step out.";
        "step.handle" Synonym = "step.execution_requested": "the handler runs from the claim on.";
        "step.completed" Row: "The row of a step to complete." => StepCompleted;
        "step.failed" Row: "The row of a step to error: a reported failure, the end of its lease or of its time, or an operator." => StepFailed;
        "step.retry_requested" Row: "The row of a step from error to pending: the claim that begins the next attempt writes it, or an operator." => StepRetried;
        "step.cancelled" Row: "The row of a step to cancelled." => StepCancelled;
        "step.resolved_manually" Row: "The row of a step to resolved_manually: an operator, or a task that was created with the step done." => StepResolved;
        "step.before_transition" Row: "Every row of a step, directly before the other events of the row." => StepTransition;
    }
    "workflow" {
        "workflow.task_started" Synonym = "task.start_requested": "the same row, named by the workflow.";
        "workflow.task_completed" Synonym = "task.completed": "the same row, named by the workflow.";
        "workflow.task_failed" Synonym = "task.failed": "the same row, named by the workflow.";
        "workflow.step_completed" Synonym = "step.completed": "the same row, named by the workflow.";
        "workflow.step_failed" Synonym = "step.failed": "the same row, named by the workflow.";
        "workflow.viable_steps_discovered" Row: "The row that creates a task, with the steps whose parents are all done then (its roots); and the row of a step to complete or resolved_manually that releases children: steps not done before, of which this was the last parent not done. Released steps can still be due later." => ViableSteps;
        "workflow.no_viable_steps" Row: "The row that creates a task of which no step is left to run; and the row of a step to complete or resolved_manually that releases no child." => NoViableSteps;
        "workflow.orchestration_requested" Synonym = "task.initialize_requested": "a created task waits for claims and needs no other request.";
        "workflow.task_finalization_started" Synonym = "workflow.task_finalization_completed": "finalization begins and ends in the statement that writes the row.";
        "workflow.task_finalization_completed" Row: "The row of a task that ends it (to complete, error, cancelled or resolved_manually) or parks it (from in_progress to pending)." => Finalization;
        "workflow.task_reenqueue_started" Row: "The row of a task that goes back to pending, from error or in_progress, before task_reenqueue_requested." => Reenqueue;
        "workflow.task_reenqueue_requested" Row: "The row of a task that goes back to pending, from error or in_progress." => Reenqueue;
        "workflow.task_reenqueue_failed" Row: "The row of a step to error whose run ended without a report (the end of its lease or of its time) and which does not go back to the queue: no attempt is left, or its template cannot be read." => ReenqueueFailed;
        "workflow.task_reenqueue_delayed" Row: "The row of a step after which it waits for a known time: to error with a retry later, or from in_progress to pending with a delay." => ReenqueueDelayed;
        "workflow.task_state_unclear" Row: "A row that repair_integrity writes, because the log did not lead to the state of the task or step. If no transition leads from one state to the other, it is the only event of the row." => StateUnclear;
        "workflow.step_execution_failed" Synonym = "step.failed": "the same row, named by the executor.";
        "workflow.viable_steps_batch_ready" Synonym = "workflow.viable_steps_discovered": "the steps that one row releases are the batch.";
        "workflow.steps_execution_started" Synonym = "step.execution_requested": "a step starts by itself, as a batch of one.";
        "workflow.steps_execution_completed" Row: "The row of a step from in_progress to complete or error: a run ended, as a batch of one." => StepsExecuted;
    }
    "observability" {
        "observability.task.handle" Synonym = "task.start_requested": "a task is handled from its start on.";
        "observability.task.enqueue" Synonym = "task.initialize_requested": "creation puts the first steps into the queue.";
        "observability.task.finalize" Synonym = "workflow.task_finalization_completed": "the same row, for observers.";
        "observability.step.handle" Synonym = "step.execution_requested": "the same row, for observers.";
        "observability.step.find_viable" Synonym = "workflow.viable_steps_discovered": "the same row, for observers.";
        "observability.step.backoff" Row: "The row of a step to error with a retry at a later time." => Backoff;
        "observability.step.skip" Row: "The row of a step from pending to resolved_manually or cancelled: it ends without a run." => Skip;
        "observability.step.max_retries_reached" Row: "The row of a step to error by which its attempts reach its retry_limit." => MaxRetries;
    }
    "export" {
        "tasker.telemetry.cache_synced" Fact: "The duty metrics has folded counts that sessions wrote to the table, or has given back places of series in shared memory; at most one a run." => CountsSynced;
        "tasker.telemetry.export_requested" Fact: "An export begins: an exporter says it by record_export, or export_metrics is called in a transaction that may write; at most one a minute and exporter." => ExportRequested;
        "tasker.telemetry.export_completed" Fact: "An export ended, told as export_requested is." => ExportCompleted;
        "tasker.telemetry.export_failed" Fact: "An exporter says by record_export that an export failed; at most one a minute and exporter." => ExportFailed;
        "tasker.telemetry.plugin_registered" Fact: "An exporter says by record_export that it starts; at most one in ten seconds and exporter." => ExporterRegistered;
        "tasker.telemetry.plugin_unregistered" Fact: "An exporter says by record_export that it ends; at most one in ten seconds and exporter." => ExporterUnregistered;
    }
    "test" {
        "test.event" Never: "only tests of a publisher use it, for two constants.";
        "slow.event" Never: "only tests of slow subscribers use it.";
        "custom.event" Never: "only tests of custom events use it; an application gives its events names of its own.";
        "Test.Event" Never: "only tests of names with capital letters use it.";
    }
    "registry" {
        "handler.registered" Fact: "register_handlers announces a handler that the worker had not announced." => HandlerRegistered;
        "handler.unregistered" Fact: "unregister_handlers takes back what a worker announced, or the worker has ended and its announcements are removed." => HandlerUnregistered;
        "handler.validation_failed" Never: "register_handlers raises 22023 for an announcement that is not valid, and leaves nothing behind.";
        "plugin.registered" Fact: "register_handlers announces a plugin or a version of it that the worker had not announced." => PluginRegistered;
        "plugin.unregistered" Fact: "the last handler that a worker announced with a plugin is taken back." => PluginUnregistered;
        "plugin.validation_failed" Never: "register_handlers raises 22023 or 23505 for a plugin that is not valid, and leaves nothing behind.";
        "subscriber.registered" Fact: "subscribe makes a subscriber." => SubscriberRegistered;
        "subscriber.unregistered" Fact: "unsubscribe removes a subscriber." => SubscriberUnregistered;
        "subscriber.validation_failed" Fact: "load_subscriptions finds a subscription that it cannot load." => SubscriberRefused;
        "registry.sync_requested" Never: "registries are tables here: what a transaction has committed is seen by every session, and no copy is to be brought up to date.";
        "registry.health_check" Never: "a registry is a table here and has no health of its own; health_ready() checks the database.";
        "registry.stats_collected" Never: "nothing collects statistics of registries; registered_handlers, plugins and subscribers count when they are read.";
        "registry.cross_discovery" Never: "no registry searches another; they are joined when they are read, as in unannounced_handlers.";
        "registry.coordination_complete" Never: "registries need no coordination; a change of several of them is one transaction.";
    }
    "alias" {
        "task.started" Synonym = "task.start_requested": "a shorter name.";
        "task.reset" Synonym = "task.retry_requested": "a shorter name.";
        "step.started" Synonym = "step.execution_requested": "a shorter name.";
        "step.retried" Synonym = "step.retry_requested": "a shorter name.";
        "step.discovery_triggered" Synonym = "step.completed": "a completion makes the engine look for steps to release.";
        "step.enqueue_requested" Synonym = "workflow.viable_steps_discovered": "what releases a step puts it into the queue.";
        "task_orchestration_started" Synonym = "task.start_requested": "a shorter name.";
        "viable_steps_discovered" Synonym = "workflow.viable_steps_discovered": "a shorter name.";
        "task_orchestration_completed" Synonym = "workflow.task_finalization_completed": "it tells the result as final_status.";
        "step_execution_started" Synonym = "step.execution_requested": "a shorter name.";
        "step_execution_completed" Synonym = "workflow.steps_execution_completed": "it tells the result as successful_count.";
        "handler_registered" Synonym = "handler.registered": "a shorter name.";
    }
    "engine" {
        "step.released" Row: "The row of a step from in_progress to pending: its worker gives it back, or an operator takes it away; the attempt does not count." => StepReleased;
        "template.registered" Fact: "register_template stores a template." => TemplateRegistered;
        "template.deleted" Fact: "delete_template removes a template." => TemplateDeleted;
        "schedule.run" Fact: "A schedule came due; schedule_runs has the outcome." => ScheduleRun;
        "operational_state.changed" Fact: "The operational state of the system changed." => OperationalState;
        "stream.gap" Fact: "Purge has removed events that a subscriber had not read; the first event of its next poll." => Gap;
        "breaker.opened" Later: "when a circuit breaker opens.";
        "breaker.half_opened" Later: "when a circuit breaker lets calls through on trial.";
        "breaker.closed" Later: "when a circuit breaker closes.";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::engine::state::{StepState, TaskState};

    #[test]
    fn every_known_name_is_listed_once() {
        let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
        for entry in CATALOG {
            *groups.entry(entry.group).or_default() += 1;
        }
        // 56 constants: two of the five of tests have the same text.
        let groups_of_56 = [
            "task",
            "step",
            "workflow",
            "observability",
            "export",
            "test",
        ];
        assert_eq!(
            groups_of_56.map(|group| groups[group]),
            [8, 10, 19, 8, 6, 4]
        );
        assert_eq!(groups["registry"], 14);
        assert_eq!(groups["alias"], 12);
        let names: BTreeSet<&str> = CATALOG.iter().map(|entry| entry.name).collect();
        assert_eq!(names.len(), CATALOG.len());
    }

    #[test]
    fn a_synonym_leads_to_a_canonical_name() {
        for entry in CATALOG {
            let target = super::entry(entry.canonical()).expect("it is in the catalogue");
            assert_eq!(target.synonym_of(), None, "{}", entry.name);
        }
        assert_eq!(canonical("task.started"), Some("task.start_requested"));
        assert_eq!(canonical("task.completed"), Some("task.completed"));
        assert_eq!(canonical("order.paid"), None);
    }

    #[test]
    fn only_what_happens_has_a_payload() {
        for entry in CATALOG {
            let happens = matches!(entry.source, Source::Row | Source::Fact);
            assert_eq!(entry.payload.is_some(), happens, "{}", entry.name);
            assert!(!entry.fires_when().is_empty());
        }
        let synonym = entry("task.started").expect("it is in the catalogue");
        assert!(synonym.payload().is_some());
    }

    #[test]
    fn what_never_happens_has_a_reason_of_its_own() {
        let never: Vec<&Entry> = CATALOG
            .iter()
            .filter(|entry| entry.source == Source::Never)
            .collect();
        assert!(
            never
                .iter()
                .all(|entry| matches!(entry.group, "test" | "registry"))
        );
        let reasons: BTreeSet<&str> = never.iter().map(|entry| entry.when).collect();
        assert_eq!(reasons.len(), never.len());
    }

    #[test]
    fn every_transition_raises_an_event_of_the_catalogue() {
        let tasks = TaskState::TRANSITIONS.map(|(_, _, event)| event);
        let steps = StepState::TRANSITIONS.map(|(_, _, event)| event);
        let created = [TaskState::CREATED, StepState::CREATED];
        for event in tasks.into_iter().chain(steps).chain(created) {
            assert!(entry(event).is_some(), "{event}");
        }
    }

    #[test]
    fn a_custom_event_has_a_name_of_its_own() {
        for name in ["order.paid", "slow.order", "handler.replaced"] {
            assert_eq!(check_custom(name), Ok(()), "{name}");
        }
        for name in [
            "paid",
            "task.mine",
            "slow.event",
            "handler.registered",
            "stream.gap",
        ] {
            assert!(check_custom(name).is_err(), "{name}");
        }
    }
}
