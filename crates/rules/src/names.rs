//! Limits of names, versions and descriptions, counted in characters.
//!
//! Every function returns the sentence to show, so that templates, tasks and operator functions use the same words.

/// Longest namespace name.
pub const NAMESPACE_MAX: usize = 64;
/// Longest task name.
pub const TASK_MAX: usize = 64;
/// Longest step name.
pub const STEP_MAX: usize = 128;
/// Longest version.
pub const VERSION_MAX: usize = 16;
/// Longest description.
pub const DESCRIPTION_MAX: usize = 255;
/// Longest name of a dependent system.
pub const DEPENDENT_SYSTEM_MAX: usize = 64;
/// Longest queue name.
pub const QUEUE_MAX: usize = 64;
/// Longest name of a pool of executors.
pub const POOL_MAX: usize = 64;
/// Longest name of a handler: a class or function path.
pub const HANDLER_MAX: usize = 255;
/// Longest name of a kind of annotation.
pub const ANNOTATION_TYPE_MAX: usize = 64;
/// Longest id of an object in an outside system.
pub const REMOTE_ID_MAX: usize = 128;
/// Longest name and longest version of a plugin.
pub const PLUGIN_MAX: usize = 128;
/// Longest name of a schedule, which becomes the source_system of its tasks.
pub const SCHEDULE_MAX: usize = 128;
/// Longest name of a custom event.
pub const EVENT_MAX: usize = 128;

/// First segments of event names that belong to the engine.
pub const RESERVED_EVENT_SEGMENTS: [&str; 5] =
    ["task", "step", "workflow", "observability", "test"];

/// Longest name of a subscriber.
pub const SUBSCRIBER_MAX: usize = 128;
/// Longest name of a program that exports telemetry.
pub const EXPORTER_MAX: usize = 128;

/// Checks a namespace name. Errors: the sentence to show.
pub fn check_namespace(name: &str) -> Result<(), String> {
    check_name("namespace", name, NAMESPACE_MAX)
}

/// Checks a task name. Errors: the sentence to show.
pub fn check_task(name: &str) -> Result<(), String> {
    check_name("task name", name, TASK_MAX)
}

/// Checks a step name. Errors: the sentence to show.
pub fn check_step(name: &str) -> Result<(), String> {
    check_name("step name", name, STEP_MAX)
}

/// Checks the name of a dependent system. Errors: the sentence to show.
pub fn check_dependent_system(name: &str) -> Result<(), String> {
    check_name("dependent system", name, DEPENDENT_SYSTEM_MAX)
}

/// Checks a queue name. Errors: the sentence to show.
pub fn check_queue(name: &str) -> Result<(), String> {
    check_name("queue", name, QUEUE_MAX)
}

/// Checks the name of a pool of executors. Errors: the sentence to show.
pub fn check_pool(name: &str) -> Result<(), String> {
    check_name("pool", name, POOL_MAX)
}

/// Checks the name of an environment. Errors: the sentence to show.
pub fn check_environment(name: &str) -> Result<(), String> {
    check_name("environment", name, NAMESPACE_MAX)
}

/// Checks the callable of a handler. Errors: the sentence to show.
pub fn check_handler(name: &str) -> Result<(), String> {
    check_name("handler", name, HANDLER_MAX)
}

/// Checks the name of a kind of annotation. Errors: the sentence to show.
pub fn check_annotation_type(name: &str) -> Result<(), String> {
    check_name("annotation type", name, ANNOTATION_TYPE_MAX)
}

/// Checks the id of an object in an outside system. Errors: the sentence to show.
pub fn check_remote_id(id: &str) -> Result<(), String> {
    check_name("remote id", id, REMOTE_ID_MAX)
}

/// Checks the name of a plugin. Errors: the sentence to show.
pub fn check_plugin(name: &str) -> Result<(), String> {
    check_name("plugin", name, PLUGIN_MAX)
}

/// Checks the name of a schedule. Errors: the sentence to show.
pub fn check_schedule(name: &str) -> Result<(), String> {
    check_name("schedule", name, SCHEDULE_MAX)
}

/// Checks the version of a plugin: semantic, pre-release and build parts included. Errors: the sentence to show.
pub fn check_plugin_version(version: &str) -> Result<(), String> {
    check_length("plugin version", version, PLUGIN_MAX)?;
    match semver::Version::parse(version) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!(
            "plugin version {} is not a semantic version such as 1.12.0 or 2.0.0-rc.1",
            shown(version)
        )),
    }
}

/// Checks a description, which may be empty and may have several lines. Errors: the sentence to show.
pub fn check_description(text: &str) -> Result<(), String> {
    check_length("description", text, DESCRIPTION_MAX)
}

/// Checks a version: three numbers as in `1.12.0`, without leading zeros, pre-release or build part.
/// Errors: the sentence to show.
pub fn check_version(version: &str) -> Result<(), String> {
    check_length("version", version, VERSION_MAX)?;
    match version_order(version) {
        Some(_) => Ok(()),
        None => Err(format!(
            "version {} is not of the form x.y.z, three numbers without leading zeros such as 1.12.0",
            shown(version)
        )),
    }
}

/// The key that orders versions: 0.10.0 comes after 0.9.0. `None` for a text that is not such a version.
pub fn version_order(version: &str) -> Option<(u64, u64, u64)> {
    let parsed = semver::Version::parse(version).ok()?;
    let plain = parsed.pre.is_empty() && parsed.build.is_empty();
    plain.then_some((parsed.major, parsed.minor, parsed.patch))
}

/// Checks the name of an event, the engine's or another. Errors: the sentence to show.
pub fn check_event(name: &str) -> Result<(), String> {
    check_name("event name", name, EVENT_MAX)
}

/// Checks the name of a subscriber. Errors: the sentence to show.
pub fn check_subscriber(name: &str) -> Result<(), String> {
    check_name("subscriber", name, SUBSCRIBER_MAX)
}

/// Checks the name of a program that exports telemetry. Errors: the sentence to show.
pub fn check_exporter(name: &str) -> Result<(), String> {
    check_name("exporter", name, EXPORTER_MAX)
}

/// Checks the name of an application's own event: segments joined by dots, the first one not the engine's.
/// Errors: the sentence to show.
pub fn check_custom_event(name: &str) -> Result<(), String> {
    check_name("event name", name, EVENT_MAX)?;
    let mut segments = name.split('.');
    let first = segments.next().unwrap_or_default();
    if !name.contains('.') {
        return Err(format!(
            "event name {} needs a dot, as in orders.shipped",
            shown(name)
        ));
    }
    if name.split('.').any(str::is_empty) {
        return Err(format!("event name {} has an empty segment", shown(name)));
    }
    if RESERVED_EVENT_SEGMENTS.contains(&first) {
        return Err(format!(
            "event name {} must not begin with {first:?}: task, step, workflow, observability and test belong to the engine",
            shown(name)
        ));
    }
    Ok(())
}

fn check_name(what: &str, name: &str, max: usize) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err(format!("{what} is empty"));
    }
    if name.chars().any(char::is_control) {
        return Err(format!(
            "{what} {} contains a control character",
            shown(name)
        ));
    }
    check_length(what, name, max)
}

fn check_length(what: &str, text: &str, max: usize) -> Result<(), String> {
    let length = text.chars().count();
    if length > max {
        return Err(format!(
            "{what} is {length} characters long; at most {max} are allowed"
        ));
    }
    Ok(())
}

/// A text in quotes for a message, shortened when it is long.
pub fn shown(text: &str) -> String {
    const MOST: usize = 60;
    if text.chars().count() <= MOST {
        format!("{text:?}")
    } else {
        let start: String = text.chars().take(MOST).collect();
        format!("{:?}", start + "...")
    }
}

/// The known word that `given` was probably meant to be; `None` when no word is similar.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase();
    let length = given.chars().count();
    let most = |word: &str| 1 + word.chars().count().min(length) / 4;
    known
        .into_iter()
        // A comparison takes memory in proportion to the product of both lengths.
        .filter(|word| word.chars().count().abs_diff(length) <= most(word))
        .map(|word| (strsim::damerau_levenshtein(&given, word), word))
        .filter(|(distance, word)| *distance <= most(word))
        .min()
        .map(|(_, word)| word)
}

/// The known word of which `given` is so little different that it can only be a mistake in writing it. Stricter than
/// [`nearest`], because a short word is soon another word: `note` is no mistake for `name`.
pub fn misspelled<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase();
    let word = nearest(&given, known)?;
    let shorter = word.chars().count().min(given.chars().count());
    (strsim::damerau_levenshtein(&given, word) <= (shorter / 4).max(1)).then_some(word)
}

/// `; did you mean "..."?` with the step that was probably meant, or nothing. Among very many names it is not looked for: every
/// mistake would cost a comparison with each of them.
pub(crate) fn did_you_mean<'a>(
    given: &str,
    known: impl ExactSizeIterator<Item = &'a str>,
) -> String {
    const MOST: usize = 500;
    if known.len() > MOST {
        return String::new();
    }
    nearest(given, known.filter(|word| *word != given)).map_or_else(String::new, |word| {
        format!("; did you mean {}?", shown(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_at_most_64_characters_not_bytes() {
        assert!(check_namespace(&"ä".repeat(64)).is_ok());
        let refused = check_namespace(&"ä".repeat(65)).expect_err("too long");
        assert_eq!(
            refused,
            "namespace is 65 characters long; at most 64 are allowed"
        );
        assert!(check_namespace("").is_err());
        assert!(check_namespace(" \t").is_err());
        assert!(check_namespace("a\0b").is_err());
    }

    #[test]
    fn each_kind_of_name_has_its_own_limit() {
        for (check, max) in [
            (check_task as fn(&str) -> Result<(), String>, 64),
            (check_step, 128),
            (check_dependent_system, 64),
            (check_queue, 64),
            (check_annotation_type, 64),
            (check_remote_id, 128),
            (check_plugin, 128),
        ] {
            assert!(check(&"x".repeat(max)).is_ok());
            assert!(check(&"x".repeat(max + 1)).is_err());
            assert!(check("").is_err());
        }
        assert!(check_description(&"x".repeat(255)).is_ok());
        assert!(check_description(&"x".repeat(256)).is_err());
        assert!(check_description("").is_ok());
        assert!(check_description("two\nlines").is_ok());
    }

    #[test]
    fn a_version_is_three_numbers() {
        for good in ["0.1.0", "10.20.30", "0.0.0", "12345.67890.1234"] {
            assert_eq!(check_version(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "1",
            "1.0",
            "1.0.0.0",
            "v1.0.0",
            "01.0.0",
            "1.0.0-rc1",
            "1.0.0+b",
            "1.0.x",
            " 1.0.0",
            "-1.0.0",
            "1.0.99999999999999999999",
            "123456.123456.1234",
        ] {
            assert!(check_version(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_plugin_has_a_semantic_version() {
        for good in ["0.0.1", "1.12.0", "2.0.0-rc.1", "1.0.0+build.5"] {
            assert_eq!(check_plugin_version(good), Ok(()), "{good}");
        }
        for bad in ["", "1", "1.0", "v1.0.0", "1.0.0.0", "01.0.0", "latest"] {
            assert!(check_plugin_version(bad).is_err(), "{bad}");
        }
        assert!(check_plugin_version(&format!("1.0.0-{}", "x".repeat(128))).is_err());
    }

    #[test]
    fn versions_are_ordered_by_number() {
        assert!(version_order("0.10.0") > version_order("0.9.0"));
        assert!(version_order("1.0.0") > version_order("0.99.99"));
        assert_eq!(version_order("1.0.0-rc1"), None);
    }

    #[test]
    fn custom_events_need_a_dot_and_a_first_segment_of_their_own() {
        assert!(check_custom_event("orders.shipped").is_ok());
        assert!(check_custom_event("tasks.shipped").is_ok());
        for bad in [
            "shipped",
            "task.shipped",
            "step.x",
            "workflow.x",
            "observability.x",
            "test.x",
            ".x",
            "x.",
            "a..b",
            "",
        ] {
            assert!(check_custom_event(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_misspelt_word_finds_its_neighbour() {
        let known = ["timeout_seconds", "retry", "handler"];
        assert_eq!(nearest("timeout_second", known), Some("timeout_seconds"));
        assert_eq!(nearest("Handler", known), Some("handler"));
        assert_eq!(nearest("retyr", known), Some("retry"));
        assert_eq!(nearest("colour", known), None);
    }
}
