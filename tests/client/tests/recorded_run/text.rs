//! The run as a text: names instead of uuids, and no times.

use std::collections::BTreeMap;
use std::fmt::Write;

use tasker_client_tests::Value;

use super::{Event, Run};

/// What every line would repeat.
const LEFT_OUT: [&str; 14] = [
    "completed_at",
    "current_status",
    "final_status",
    "from_state",
    "processing_mode",
    "started_at",
    "step_name",
    "step_uuid",
    "step_uuids",
    "task_name",
    "task_uuid",
    "task_version",
    "timestamp",
    "transitioned_at",
];

const HEAD: &str = "\
# The events of a run of the example workflows, as a reader gets them. A line has the step, the event, the state after the change, and
# what else the payload says, without counts of 0. Left out: task.before_transition and step.before_transition, which come before each
# change, and keys that would be the same in each line or say again what it has. Times are <time>, lengths of time <seconds>.
# Written by TASKER_WRITE_RECORDED_RUN=1 cargo test -p tasker_client_tests --test recorded_run
";

pub fn of(run: &Run) -> String {
    let mut names: BTreeMap<String, String> = run
        .tasks
        .iter()
        .map(|(uuid, name)| (uuid.to_string(), format!("<{name}>")))
        .collect();
    for event in run.events() {
        if let (Some(step), Some(name)) = (event.step, event.payload()["step_name"].as_str()) {
            names.insert(step.to_string(), format!("<{name}>"));
        }
    }
    let mut text = HEAD.to_owned();
    for (title, events) in &run.scenes {
        writeln!(text, "\n== {title}").expect("a String takes it");
        let mut task = None;
        for event in events {
            if event.name.ends_with(".before_transition") {
                continue;
            }
            if task.replace(event.task) != Some(event.task) {
                let about = event.task.map_or("no task", |task| &run.tasks[&task]);
                writeln!(text, "-- {about}").expect("a String takes it");
            }
            line(&mut text, event, &names);
        }
    }
    text
}

fn line(text: &mut String, event: &Event, names: &BTreeMap<String, String>) {
    let payload = event.payload();
    let payload: BTreeMap<&String, &Value> = payload
        .as_object()
        .expect("a payload is an object")
        .iter()
        .collect();
    let word = |key: &str| {
        payload
            .get(&key.to_owned())
            .and_then(|value| value.as_str())
    };
    let about = event.task.map_or("-", |_| "task");
    let step = word("step_name").unwrap_or(about);
    let state = ["to_state", "current_status", "final_status"];
    let state = state.into_iter().find_map(word).unwrap_or("-");
    write!(text, "{step} {} {state}", event.name).expect("a String takes it");
    for (key, value) in &payload {
        let nothing = key.ends_with("_steps") && **value == 0;
        let said =
            LEFT_OUT.contains(&key.as_str()) && (event.task.is_some() || *key != "task_name");
        if *key != "to_state" && !nothing && !said {
            write!(text, " {key}={}", shown(key, value, names)).expect("a String takes it");
        }
    }
    text.push('\n');
}

fn shown(key: &str, value: &Value, names: &BTreeMap<String, String>) -> String {
    match value {
        _ if key.ends_with("_duration") => "<seconds>".to_owned(),
        _ if key.ends_with("_at") || ["from", "scheduled_for", "to"].contains(&key) => {
            "<time>".to_owned()
        }
        Value::String(text) => names
            .get(text)
            .cloned()
            .unwrap_or_else(|| format!("{text:?}")),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(|one| shown(key, one, names)).collect();
            format!("[{}]", values.join(", "))
        }
        other => other.to_string(),
    }
}
