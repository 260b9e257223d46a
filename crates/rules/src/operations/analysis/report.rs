//! The whole runtime analysis as one JSON document.

use serde_json::{Map, Number, Value, json};

use super::{Level, Path, Schedule, Task};
use super::{
    best_paths, blockers, bottlenecks, count_paths, error_chains, levels, overall, schedule,
    seconds,
};
use crate::engine::ids;
use crate::engine::readiness::Counts;
use crate::engine::state::TaskState;

/// The number of paths that are listed.
const PATHS: usize = 5;

/// The analysis of a task in this state; the shape is documented with the function `analyze_task`.
pub fn report(uuid: &[u8; 16], state: TaskState, task: &Task) -> Value {
    let counts = counts(task);
    let health = counts.health(state);
    let healthy = health == "healthy";
    let report = Report { uuid, task };
    json!({
        "task_uuid": shown(uuid),
        "execution_status": counts.execution(state).as_str(),
        "health_status": health,
        "dependency_graph": report.graph(),
        "critical_path": report.critical_path(&schedule(task)),
        "critical_paths": report.paths(&best_paths(task, healthy, PATHS)),
        "parallelism_opportunities": report.parallelism(&levels(task), &counts),
        "error_chains": report.errors(),
        "bottlenecks": report.bottlenecks(),
        "blockers": report.blockers(),
    })
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

    fn state(&self, no: i16) -> &'static str {
        self.task
            .step(no)
            .map_or("", |step| step.step.state.as_str())
    }

    fn graph(&self) -> Value {
        let dag = self.task.dag();
        let nodes: Vec<Value> = self
            .task
            .steps()
            .map(|(no, step)| {
                json!({
                    "id": self.id(no),
                    "name": self.name(no),
                    "level": dag.level(no),
                    "state": step.step.state.as_str(),
                    "standing": step.standing.as_str(),
                    "duration_seconds": seconds(step.duration.us),
                    "duration_basis": step.duration.basis.as_str(),
                })
            })
            .collect();
        let edges: Vec<Value> = dag
            .edges()
            .map(|(from, to)| {
                json!({
                    "from": self.id(from), "to": self.id(to),
                    "from_name": self.name(from), "to_name": self.name(to),
                })
            })
            .collect();
        let ids = |steps: &[i16]| steps.iter().map(|no| self.id(*no)).collect::<Vec<_>>();
        let map = |value: &dyn Fn(i16) -> Value| -> Map<String, Value> {
            dag.step_nos().map(|no| (self.id(no), value(no))).collect()
        };
        json!({
            "nodes": nodes,
            "edges": edges,
            "adjacency_list": map(&|no| json!(ids(dag.children(no)))),
            "reverse_adjacency_list": map(&|no| json!(ids(dag.parents(no)))),
            "dependency_levels": map(&|no| json!(dag.level(no))),
        })
    }

    fn critical_path(&self, schedule: &Schedule) -> Value {
        let steps: Vec<Value> = schedule
            .critical_path
            .iter()
            .filter_map(|no| {
                Some((
                    *no,
                    self.task.step(*no)?,
                    schedule.slots.get(*no as usize - 1)?,
                ))
            })
            .map(|(no, step, slot)| {
                json!({
                    "step_uuid": self.id(no),
                    "name": self.name(no),
                    "state": step.step.state.as_str(),
                    "duration_seconds": seconds(step.duration.us),
                    "duration_basis": step.duration.basis.as_str(),
                    "starts_after_seconds": seconds(slot.starts_us),
                    "drag_seconds": seconds(slot.drag_us),
                })
            })
            .collect();
        json!({ "duration_seconds": seconds(schedule.total_us), "length": steps.len(), "steps": steps })
    }

    fn paths(&self, best: &[Path]) -> Value {
        let dag = self.task.dag();
        let paths: Vec<Value> = best
            .iter()
            .map(|path| {
                json!({
                    "steps": self.names(&path.steps),
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
            "root_nodes": self.names(&dag.roots()),
            "leaf_nodes": self.names(&dag.leaves()),
        })
    }

    fn parallelism(&self, levels: &[Level], counts: &Counts) -> Value {
        let wide = |level: &&Level| level.steps.len() > 1;
        let several = levels.iter().filter(|level| level.ready > 1).count();
        let shown: Vec<Value> = levels
            .iter()
            .enumerate()
            .map(|(number, level)| {
                json!({
                    "level": number,
                    "steps": self.names(&level.steps),
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

    fn errors(&self) -> Value {
        let chains = error_chains(self.task);
        let permanent = chains.iter().filter(|chain| chain.permanent).count();
        let shown: Vec<Value> = chains
            .iter()
            .map(|chain| {
                json!({
                    "step_uuid": self.id(chain.no),
                    "name": self.name(chain.no),
                    "error_class": chain.failure.class,
                    "error_message": chain.failure.message,
                    "permanent": chain.permanent,
                    "impact": chain.impact,
                    "severity": chain.severity,
                    "downstream_steps": chain.downstream,
                    "blocked_steps": self.names(&chain.listed),
                })
            })
            .collect();
        json!({ "total_errors": chains.len(), "permanent_errors": permanent, "chains": shown })
    }

    fn bottlenecks(&self) -> Value {
        let found = bottlenecks(self.task);
        let shown: Vec<Value> = found
            .iter()
            .map(|one| {
                json!({
                    "step_uuid": self.id(one.no),
                    "name": self.name(one.no),
                    "state": self.state(one.no),
                    "type": one.kind,
                    "severity": one.severity,
                    "score": one.score,
                    "downstream_steps": one.downstream,
                    "blocked_steps": one.blocked,
                })
            })
            .collect();
        json!({
            "total_bottlenecks": found.len(),
            "critical_bottlenecks": found.iter().filter(|one| one.severity == "Critical").count(),
            "overall_impact": overall(self.task, &found),
            "bottlenecks": shown,
        })
    }

    /// By blocked step: what must happen first.
    fn blockers(&self) -> Value {
        let mut all: Map<String, Value> = Map::new();
        for blocker in blockers(self.task).iter().filter(|one| one.root_cause) {
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
