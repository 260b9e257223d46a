//! What several test files share.
#![allow(dead_code)]

use tasker_rules::Problem;
use tasker_rules::template::{Template, parse, read};
use tasker_rules::{Budget, Host};

/// The template in the text; panics with all problems if there is an error.
pub fn template(text: &str) -> Template {
    template_in(text, None)
}

/// The same, as an environment sees it.
pub fn template_in(text: &str, env: Option<&str>) -> Template {
    let value = parse(text).expect("valid syntax");
    let (template, problems) = read(&value, env, &unlimited()).expect("no limit");
    template.unwrap_or_else(|| panic!("{}", shown(&problems).join("\n")))
}

/// Every problem as `severity path: message`.
pub fn problems(text: &str) -> Vec<String> {
    let value = parse(text).expect("valid syntax");
    let (template, problems) = read(&value, None, &unlimited()).expect("no limit");
    assert_eq!(template.is_none(), problems.iter().any(Problem::is_error));
    shown(&problems)
}

/// The only problem there is.
pub fn problem(text: &str) -> String {
    let all = problems(text);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.into_iter().next().unwrap_or_default()
}

fn shown(problems: &[Problem]) -> Vec<String> {
    problems
        .iter()
        .map(|problem| format!("{} {problem}", problem.severity.as_str()))
        .collect()
}

/// A template with these steps: lines of `name` or `name: parent parent`.
pub fn steps(lines: &str) -> String {
    let mut text = "name: t\nsteps:\n".to_owned();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, parents) = line.split_once(':').unwrap_or((line, ""));
        let parents: Vec<_> = parents.split_whitespace().collect();
        text.push_str(&format!(
            "  - {{name: {name}, handler: {{callable: H}}, depends_on_steps: [{}]}}\n",
            parents.join(", ")
        ));
    }
    text
}

fn unlimited() -> Budget {
    Budget::unlimited(Host::NONE)
}
