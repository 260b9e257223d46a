//! Which telemetry an event goes to: routes, the share of all tasks, and names that are left out. docs/events.md#routes.

use rustc_hash::FxHashMap;

use super::catalog::{self, CATALOG};
use super::sample;

/// A kind of telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Spans.
    Trace,
    /// Counters and histograms with labels.
    Metrics,
    /// Lines of the log.
    Log,
}

impl Backend {
    /// All of them, in the order of their places.
    pub const ALL: [Self; 3] = [Self::Trace, Self::Metrics, Self::Log];

    /// Its name in event_routes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Metrics => "metrics",
            Self::Log => "log",
        }
    }

    /// An event without a route is counted, and goes nowhere else.
    const fn share_without_route(self) -> f64 {
        match self {
            Self::Metrics => 1.0,
            Self::Trace | Self::Log => 0.0,
        }
    }
}

/// A row of event_routes.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its event.
    pub event: String,
    /// The names of its backends.
    pub backends: Vec<String>,
    /// Whether it holds.
    pub enabled: bool,
    /// Share of the tasks.
    pub sampling_rate: f64,
}

impl Route {
    fn shares(&self) -> [f64; 3] {
        Backend::ALL.map(|backend| {
            let sent = self.enabled && self.backends.iter().any(|name| name == backend.name());
            if sent { self.sampling_rate } else { 0.0 }
        })
    }
}

/// A route that holds as long as nothing else is set.
#[derive(Debug)]
pub struct DefaultRoute {
    /// Its event.
    pub event: &'static str,
    /// Where it goes.
    pub backends: &'static [Backend],
    /// Share of the tasks.
    pub sampling_rate: f64,
    /// How urgent it is to people.
    pub priority: &'static str,
}

const fn route(event: &'static str, backends: &'static [Backend]) -> DefaultRoute {
    DefaultRoute {
        event,
        backends,
        sampling_rate: 1.0,
        priority: "normal",
    }
}

impl DefaultRoute {
    const fn priority(self, priority: &'static str) -> Self {
        Self { priority, ..self }
    }

    const fn sampled(self, sampling_rate: f64) -> Self {
        Self {
            sampling_rate,
            ..self
        }
    }
}

const BOTH: &[Backend] = &[Backend::Trace, Backend::Metrics];
const METRICS: &[Backend] = &[Backend::Metrics];
const TRACE: &[Backend] = &[Backend::Trace];

/// The default routes. Names that the catalogue does not list are events that an application may publish.
pub const DEFAULTS: [DefaultRoute; 22] = [
    route("task.initialize_requested", BOTH),
    route("task.start_requested", BOTH),
    route("task.completed", BOTH),
    route("task.failed", BOTH),
    route("step.execution_requested", BOTH),
    route("step.completed", BOTH),
    route("step.failed", BOTH),
    route("step.retry_requested", BOTH),
    route("workflow.viable_steps_discovered", BOTH),
    route("observability.step.backoff", BOTH),
    route("observability.step.skip", BOTH),
    route("observability.step.max_retries_reached", BOTH).priority("high"),
    route("database.query_executed", BOTH).sampled(0.1),
    route("batch.step_execution", BOTH),
    route("performance.slow_operation", BOTH).priority("high"),
    route("observability.task.enqueue", METRICS).priority("high"),
    route("memory.spike_detected", METRICS).priority("critical"),
    route("observability.task.finalize", TRACE),
    route("observability.step.find_viable", TRACE),
    route("observability.step.handle", TRACE),
    route("step.before_handle", TRACE),
    route("dependency.resolved", TRACE),
];

/// All routes, with what holds for every event.
#[derive(Debug, Default)]
pub struct Routes {
    shares: FxHashMap<String, [f64; 3]>,
    sampling_rate: f64,
    filtered: Vec<String>,
}

impl Routes {
    /// The routes in force: those that were set, and the defaults of other events.
    pub fn in_force<'f>(
        changed: Vec<Route>,
        sampling_rate: f64,
        filtered: impl IntoIterator<Item = &'f str>,
    ) -> Self {
        let defaults = DEFAULTS.iter().filter(|default| {
            let is_its = |route: &Route| route.event == default.event;
            !changed.iter().any(is_its)
        });
        let defaults = defaults.map(|default| Route {
            event: default.event.to_owned(),
            backends: default
                .backends
                .iter()
                .map(|backend| backend.name().to_owned())
                .collect(),
            enabled: true,
            sampling_rate: default.sampling_rate,
        });
        let all: Vec<Route> = defaults.chain(changed.iter().cloned()).collect();
        Self::new(all, sampling_rate, filtered)
    }

    /// A route of a canonical name comes before those of its synonyms; of these, the largest share counts.
    /// `sampling_rate` multiplies every share; `filtered` are names of events that go nowhere, of synonyms too.
    fn new<'f>(
        routes: impl IntoIterator<Item = Route>,
        sampling_rate: f64,
        filtered: impl IntoIterator<Item = &'f str>,
    ) -> Self {
        let mut own = FxHashMap::default();
        let mut of_synonyms: FxHashMap<String, [f64; 3]> = FxHashMap::default();
        for route in routes {
            let shares = route.shares();
            match catalog::entry(&route.event).and_then(catalog::Entry::synonym_of) {
                None => {
                    own.insert(route.event, shares);
                }
                Some(canonical) => {
                    let best = of_synonyms.entry(canonical.to_owned()).or_default();
                    *best = std::array::from_fn(|place| best[place].max(shares[place]));
                }
            }
        }
        for (event, shares) in of_synonyms {
            own.entry(event).or_insert(shares);
        }
        Self {
            shares: own,
            sampling_rate,
            filtered: filtered.into_iter().map(canonical).collect(),
        }
    }

    /// Share of the tasks whose events of this name go to the backend; 0: none.
    pub fn share(&self, backend: Backend, event: &str) -> f64 {
        let event = canonical(event);
        if self.filtered.contains(&event) {
            return 0.0;
        }
        let share = match self.shares.get(&event) {
            Some(shares) => shares[backend as usize],
            None => backend.share_without_route(),
        };
        share * self.sampling_rate
    }

    /// The same; `None`: nothing was said of the event, neither by a route nor by a filter.
    pub fn routed_share(&self, backend: Backend, event: &str) -> Option<f64> {
        let event = canonical(event);
        let known = self.filtered.contains(&event) || self.shares.contains_key(&event);
        known.then(|| self.share(backend, &event))
    }

    /// Whether this event of a task goes to the backend: for a task the same each time, so that a trace is whole.
    pub fn admits(&self, backend: Backend, event: &str, task: &[u8; 16]) -> bool {
        takes(self.share(backend, event), task)
    }

    /// The names with routes to the backend, of events of applications too.
    pub fn routed(&self, backend: Backend) -> impl Iterator<Item = &str> {
        let goes = move |name: &&str| self.share(backend, name) > 0.0;
        self.shares.keys().map(String::as_str).filter(goes)
    }

    /// The events of the catalogue that go to the backend, by their canonical names.
    pub fn events(&self, backend: Backend) -> impl Iterator<Item = &'static str> {
        CATALOG
            .iter()
            .filter(|entry| entry.synonym_of().is_none())
            .map(|entry| entry.name)
            .filter(move |name| self.share(backend, name) > 0.0)
    }
}

/// Whether a task belongs to a share of all tasks.
pub fn takes(share: f64, task: &[u8; 16]) -> bool {
    share > 0.0 && sample::takes(share, "", task)
}

fn canonical(event: &str) -> String {
    catalog::canonical(event).unwrap_or(event).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(event: &str, backends: &[&str], sampling_rate: f64) -> Route {
        Route {
            event: event.to_owned(),
            backends: backends.iter().map(|name| (*name).to_owned()).collect(),
            enabled: true,
            sampling_rate,
        }
    }

    #[test]
    fn an_event_goes_where_its_route_says() {
        let routes = Routes::new([set("task.completed", &["trace", "log"], 0.5)], 1.0, []);
        assert_eq!(routes.share(Backend::Trace, "task.completed"), 0.5);
        assert_eq!(routes.share(Backend::Log, "task.completed"), 0.5);
        assert_eq!(routes.share(Backend::Metrics, "task.completed"), 0.0);
    }

    #[test]
    fn what_is_set_replaces_the_default_of_its_event_alone() {
        let routes = Routes::in_force(vec![set("task.failed", &["log"], 1.0)], 1.0, []);
        let shares = |event| Backend::ALL.map(|backend| routes.share(backend, event));
        assert_eq!(shares("task.failed"), [0.0, 0.0, 1.0]);
        assert_eq!(shares("task.completed"), [1.0, 1.0, 0.0]);
        assert_eq!(shares("database.query_executed"), [0.1, 0.1, 0.0]);
        assert_eq!(
            shares("workflow.task_finalization_completed"),
            [1.0, 0.0, 0.0]
        );
    }

    #[test]
    fn an_event_without_a_route_is_only_counted() {
        let routes = Routes::new([], 1.0, []);
        assert_eq!(
            Backend::ALL.map(|backend| routes.share(backend, "task.cancelled")),
            [0.0, 1.0, 0.0]
        );
    }

    #[test]
    fn an_event_of_which_nothing_was_said_has_no_share_of_a_route() {
        let routes = Routes::new([set("step.failed", &["log"], 0.5)], 0.5, ["step.cancelled"]);
        let share = |event| routes.routed_share(Backend::Log, event);
        assert_eq!(share("step.failed"), Some(0.25));
        assert_eq!(share("step.released"), None);
        assert_eq!(share("step.cancelled"), Some(0.0));
        assert_eq!(
            routes.routed_share(Backend::Trace, "step.failed"),
            Some(0.0)
        );
    }

    #[test]
    fn the_rate_of_all_events_multiplies_that_of_the_route() {
        let routes = Routes::new([set("step.failed", &["metrics"], 0.5)], 0.5, []);
        assert_eq!(routes.share(Backend::Metrics, "step.failed"), 0.25);
        assert_eq!(routes.share(Backend::Metrics, "step.released"), 0.5);
    }

    #[test]
    fn a_route_of_a_synonym_holds_unless_the_event_has_its_own() {
        let synonym = || set("step.before_handle", &["trace"], 1.0);
        let alone = Routes::new([synonym()], 1.0, []);
        assert_eq!(alone.share(Backend::Trace, "step.execution_requested"), 1.0);
        let own = set("step.execution_requested", &["metrics"], 1.0);
        let both = Routes::new([synonym(), own], 1.0, []);
        assert_eq!(both.share(Backend::Trace, "step.execution_requested"), 0.0);
        assert_eq!(both.share(Backend::Trace, "step.handle"), 0.0);
    }

    #[test]
    fn a_filtered_name_goes_nowhere_by_any_of_its_names() {
        let routes = Routes::new(
            [set("task.start_requested", &["trace", "metrics"], 1.0)],
            1.0,
            ["task.started"],
        );
        for name in ["task.start_requested", "task.started"] {
            assert_eq!(
                Backend::ALL.map(|backend| routes.share(backend, name)),
                [0.0; 3]
            );
        }
    }

    #[test]
    fn a_route_that_is_off_sends_nothing() {
        let off = Route {
            enabled: false,
            ..set("task.failed", &["trace", "metrics", "log"], 1.0)
        };
        let routes = Routes::new([off], 1.0, []);
        assert_eq!(routes.events(Backend::Log).count(), 0);
        assert_eq!(routes.share(Backend::Metrics, "task.failed"), 0.0);
    }

    #[test]
    fn events_of_applications_are_routed_too() {
        let routes = Routes::new(
            [
                set("orders.paid", &["log"], 1.0),
                set("task.failed", &["log"], 0.0),
            ],
            1.0,
            [],
        );
        assert_eq!(
            routes.routed(Backend::Log).collect::<Vec<_>>(),
            ["orders.paid"]
        );
    }

    #[test]
    fn a_task_is_in_a_larger_share_if_it_is_in_a_smaller_one() {
        let tasks = (0..1000_u32).map(|number| {
            let mut task = [3; 16];
            task[12..].copy_from_slice(&number.to_be_bytes());
            task
        });
        let mut taken = [0, 0];
        for task in tasks {
            let [few, many] = [0.1, 0.5].map(|share| takes(share, &task));
            assert!(many || !few);
            taken[0] += usize::from(few);
            taken[1] += usize::from(many);
        }
        assert!((60..140).contains(&taken[0]) && (440..560).contains(&taken[1]));
    }
}
