//! The whole runtime analysis as one JSON document. What has an entry per step is written entry by entry: as a tree of
//! values the document of the largest task took ten times its size.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Number, Value, json};

use super::{Level, Path, Schedule, Task, is_small};
use super::{
    best_paths, blockers, bottlenecks, count_paths, error_chains, levels, overall, schedule,
    seconds,
};
use crate::engine::ids;
use crate::engine::readiness::Counts;
use crate::engine::state::TaskState;

/// The number of paths that are listed.
const PATHS: usize = 5;

/// The greatest number of entries in each other list.
const MOST_ENTRIES: usize = 1_000;

/// The greatest number of names in all lists of blockers together.
const MOST_BLOCKERS: usize = 10_000;

/// The analysis of a task in this state, to be serialized; the shape is documented with the function `analyze_task`.
pub fn report<'a>(uuid: &'a [u8; 16], state: TaskState, task: &'a Task) -> impl Serialize + 'a {
    Report { uuid, state, task }
}

impl Serialize for Report<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let counts = counts(self.task);
        let health = counts.health(self.state);
        let mut all = serializer.serialize_map(None)?;
        all.serialize_entry("task_uuid", &shown(self.uuid))?;
        all.serialize_entry("execution_status", counts.execution(self.state).as_str())?;
        all.serialize_entry("health_status", health)?;
        let dag = self.task.dag();
        let graph = is_small(dag).then_some(Graph(self));
        all.serialize_entry("dependency_graph", &graph)?;
        all.serialize_entry("critical_path", &CriticalPath(self, schedule(self.task)))?;
        let best = best_paths(self.task, health == "healthy", PATHS);
        all.serialize_entry("critical_paths", &self.paths(&best))?;
        let levels = self.parallelism(&levels(self.task), &counts);
        all.serialize_entry("parallelism_opportunities", &levels)?;
        all.serialize_entry("error_chains", &Errors(self))?;
        all.serialize_entry("bottlenecks", &Bottlenecks(self))?;
        all.serialize_entry("blockers", &self.blockers())?;
        all.end()
    }
}

/// A list with its greatest number of entries; each entry is made when it is written.
struct Entries<'a, F>(&'a Report<'a>, F, usize);

impl<F, I> Serialize for Entries<'_, F>
where
    F: Fn() -> I,
    I: Iterator<Item = Value>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.1)().take(self.2).inspect(|_| self.0.task.check()))
    }
}

struct ByStep<'a, F>(&'a Report<'a>, F);

impl<F: Fn(i16) -> Value> Serialize for ByStep<'_, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let steps = self.0.task.dag().step_nos();
        serializer.collect_map(steps.map(|no| {
            self.0.task.check();
            (self.0.id(no), (self.1)(no))
        }))
    }
}

struct Graph<'a>(&'a Report<'a>);

impl Serialize for Graph<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let report = self.0;
        let dag = report.task.dag();
        let nodes = || {
            report.task.steps().map(|(no, step)| {
                json!({
                    "id": report.id(no),
                    "name": report.name(no),
                    "level": dag.level(no),
                    "state": step.step.state.as_str(),
                    "standing": step.standing.as_str(),
                    "duration_seconds": seconds(step.duration.us),
                    "duration_basis": step.duration.basis.as_str(),
                })
            })
        };
        let edges = || {
            dag.edges().map(|(from, to)| {
                json!({
                    "from": report.id(from), "to": report.id(to),
                    "from_name": report.name(from), "to_name": report.name(to),
                })
            })
        };
        let ids = |steps: &[i16]| steps.iter().map(|no| report.id(*no)).collect::<Value>();
        let mut graph = serializer.serialize_map(None)?;
        graph.serialize_entry("nodes", &Entries(report, nodes, usize::MAX))?;
        graph.serialize_entry("edges", &Entries(report, edges, usize::MAX))?;
        let children = ByStep(report, |no| ids(dag.children(no)));
        graph.serialize_entry("adjacency_list", &children)?;
        let parents = ByStep(report, |no| ids(dag.parents(no)));
        graph.serialize_entry("reverse_adjacency_list", &parents)?;
        let levels = ByStep(report, |no| json!(dag.level(no)));
        graph.serialize_entry("dependency_levels", &levels)?;
        graph.end()
    }
}

struct CriticalPath<'a>(&'a Report<'a>, Schedule);

impl Serialize for CriticalPath<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let CriticalPath(report, schedule) = self;
        let steps = || {
            let path = schedule.critical_path.iter().filter_map(|no| {
                let slot = schedule.slots.get(*no as usize - 1)?;
                Some((*no, report.task.step(*no)?, slot))
            });
            path.map(|(no, step, slot)| {
                json!({
                    "step_uuid": report.id(no),
                    "name": report.name(no),
                    "state": step.step.state.as_str(),
                    "duration_seconds": seconds(step.duration.us),
                    "duration_basis": step.duration.basis.as_str(),
                    "starts_after_seconds": seconds(slot.starts_us),
                    "drag_seconds": seconds(slot.drag_us),
                })
            })
        };
        let mut path = serializer.serialize_map(None)?;
        path.serialize_entry("duration_seconds", &seconds(schedule.total_us))?;
        path.serialize_entry("length", &schedule.critical_path.len())?;
        path.serialize_entry("steps", &Entries(report, steps, MOST_ENTRIES))?;
        path.end()
    }
}

struct Errors<'a>(&'a Report<'a>);

impl Serialize for Errors<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let report = self.0;
        let chains = error_chains(report.task);
        let permanent = chains.iter().filter(|chain| chain.permanent).count();
        let shown = || {
            chains.iter().map(|chain| {
                json!({
                    "step_uuid": report.id(chain.no),
                    "name": report.name(chain.no),
                    "error_class": chain.failure.class,
                    "error_message": chain.failure.message,
                    "permanent": chain.permanent,
                    "impact": chain.impact,
                    "severity": chain.severity,
                    "downstream_steps": chain.downstream,
                    "blocked_steps": report.names(&chain.listed),
                })
            })
        };
        let mut errors = serializer.serialize_map(None)?;
        errors.serialize_entry("total_errors", &chains.len())?;
        errors.serialize_entry("permanent_errors", &permanent)?;
        errors.serialize_entry("chains", &Entries(report, shown, MOST_ENTRIES))?;
        errors.end()
    }
}

struct Bottlenecks<'a>(&'a Report<'a>);

impl Serialize for Bottlenecks<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let report = self.0;
        let found = bottlenecks(report.task);
        let critical = found
            .iter()
            .filter(|one| one.severity == "Critical")
            .count();
        let shown = || {
            found.iter().map(|one| {
                json!({
                    "step_uuid": report.id(one.no),
                    "name": report.name(one.no),
                    "state": report.state(one.no),
                    "type": one.kind,
                    "severity": one.severity,
                    "score": one.score,
                    "downstream_steps": one.downstream,
                    "blocked_steps": one.blocked,
                })
            })
        };
        let mut bottlenecks = serializer.serialize_map(None)?;
        bottlenecks.serialize_entry("total_bottlenecks", &found.len())?;
        bottlenecks.serialize_entry("critical_bottlenecks", &critical)?;
        bottlenecks.serialize_entry("overall_impact", overall(report.task, &found))?;
        bottlenecks.serialize_entry("bottlenecks", &Entries(report, shown, MOST_ENTRIES))?;
        bottlenecks.end()
    }
}

fn counts(task: &Task) -> Counts {
    let mut counts = Counts::default();
    for (_, step) in task.steps() {
        counts.add(&step.step, step.standing == super::Standing::Ready);
    }
    counts
}

fn shown(uuid: &[u8; 16]) -> String {
    uuid::Uuid::from_bytes(*uuid).hyphenated().to_string()
}

fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    (part as f64 * 1_000.0 / whole as f64).round() / 10.0
}

struct Report<'a> {
    uuid: &'a [u8; 16],
    state: TaskState,
    task: &'a Task,
}

impl Report<'_> {
    fn id(&self, no: i16) -> String {
        shown(&ids::step_uuid(self.uuid, no))
    }

    fn name(&self, no: i16) -> &str {
        self.task.dag().name(no)
    }

    fn names(&self, steps: &[i16]) -> Vec<&str> {
        steps.iter().map(|no| self.name(*no)).collect()
    }

    fn first_names(&self, steps: &[i16]) -> Vec<&str> {
        self.names(&steps[..steps.len().min(MOST_ENTRIES)])
    }

    fn state(&self, no: i16) -> &'static str {
        self.task
            .step(no)
            .map_or("", |step| step.step.state.as_str())
    }

    fn paths(&self, best: &[Path]) -> Value {
        let dag = self.task.dag();
        let paths: Vec<Value> = best
            .iter()
            .map(|path| {
                json!({
                    "steps": self.first_names(&path.steps),
                    "length": path.steps.len(),
                    "duration_seconds": seconds(path.duration_us),
                    "completed_steps": path.completed,
                    "blocked_steps": path.blocked,
                    "error_steps": path.errors,
                    "retry_steps": path.retries,
                    "completion_percentage": path.completion(),
                    "score": path.score,
                })
            })
            .collect();
        json!({
            "total_paths": Number::from_u128(count_paths(self.task)),
            "longest_path_length": dag.level_widths().len(),
            "paths": paths,
            "root_nodes": self.first_names(&dag.roots()),
            "leaf_nodes": self.first_names(&dag.leaves()),
        })
    }

    fn parallelism(&self, levels: &[Level], counts: &Counts) -> Value {
        let wide = |level: &&Level| level.steps.len() > 1;
        let several = levels.iter().filter(|level| level.ready > 1).count();
        let shown: Vec<Value> = levels
            .iter()
            .take(MOST_ENTRIES)
            .enumerate()
            .map(|(number, level)| {
                json!({
                    "level": number,
                    "steps": self.first_names(&level.steps),
                    "total_steps": level.steps.len(),
                    "ready_steps": level.ready,
                    "running_steps": level.running,
                    "completed_steps": level.completed,
                    "failed_steps": level.failed,
                    "cancelled_steps": level.cancelled,
                    "waiting_steps": level.waiting,
                })
            })
            .collect();
        json!({
            "total_steps": counts.total,
            "total_levels": levels.len(),
            "max_parallel_steps": levels.iter().map(|level| level.steps.len()).max().unwrap_or(0),
            "current_parallel_opportunities": counts.ready,
            "blocked_parallel_opportunities": levels.iter().filter(wide).map(|level| level.waiting).sum::<usize>(),
            "overall_completion": counts.completion_hundredths() as f64 / 100.0,
            "levels": shown,
            "parallelism_efficiency": percent(several, levels.len()),
        })
    }

    /// By blocked step: what must happen first.
    fn blockers(&self) -> Value {
        let mut all: Map<String, Value> = Map::new();
        let found = blockers(self.task);
        let causes = found.iter().filter(|one| one.root_cause);
        for blocker in causes.take(MOST_BLOCKERS) {
            if all.len() == MOST_ENTRIES && !all.contains_key(self.name(blocker.step)) {
                break;
            }
            let list = all
                .entry(self.name(blocker.step))
                .or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                list.push(Value::from(self.name(blocker.blocker)));
            }
        }
        Value::Object(all)
    }
}
