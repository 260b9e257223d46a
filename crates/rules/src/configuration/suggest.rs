//! What a name that does not exist was probably meant to be.

use super::component::Component;
use super::key::Key;
use super::keys::Keys;
use crate::names::nearest;

/// Names that a message lists at most.
const MOST: usize = 12;

/// For a key: `; did you mean backoff.buffer_seconds?`, or something else that helps.
pub fn key(keys: &Keys, component: Component, path: &str) -> String {
    let (section, last) = split(path);
    let elsewhere = || keys.iter().filter(|key| key.component != component);
    // [system] in engine.toml, or a whole section in the wrong file.
    if let Some(key) = keys.find_full(path) {
        return belongs(
            key,
            path.split_once('.').map_or("", |(_, path)| path),
            component,
        );
    }
    if let Some(key) = elsewhere().find(|key| key.path == path) {
        return belongs(key, path, component);
    }
    let full = format!("{component}.{path}");
    if let Some(key) = keys
        .iter()
        .find(|key| key.old.contains(&full.as_str()) || key.old.contains(&path))
    {
        return format!("; it is {} of {}.toml here", key.path, key.component);
    }
    if let Some(word) = nearest(last, keys.members(component, section)) {
        return did_you_mean(&join(section, word));
    }
    let same_last = |key: &&'static Key| split(key.path).1 == last && !key.path.contains('*');
    if let Some(key) = keys.of(component).find(same_last) {
        return did_you_mean(key.path);
    }
    let plain = keys
        .of(component)
        .map(|key| key.path)
        .filter(|path| !path.contains('*'));
    if let Some(path) = nearest(path, plain) {
        return did_you_mean(path);
    }
    if let Some(key) = elsewhere().find(same_last) {
        return format!("; did you mean {} of {}.toml?", key.path, key.component);
    }
    known(&keys.members(component, section))
}

/// The same for a section.
pub fn section(keys: &Keys, component: Component, path: &str) -> String {
    // A name that fits `*` would fit anywhere.
    let written = |other: Component| sections(keys, other).iter().any(|section| section == path);
    if let Some(other) = Component::ALL
        .into_iter()
        .find(|other| *other != component && (other.name() == path || written(*other)))
    {
        return format!("; it belongs to {other}.toml");
    }
    let sections: Vec<_> = sections(keys, component);
    if let Some(near) = nearest(path, sections.iter().map(String::as_str)) {
        return format!("; did you mean [{near}]?");
    }
    let sections: Vec<_> = sections
        .iter()
        .map(|section| format!("[{section}]"))
        .collect();
    known(&sections.iter().map(String::as_str).collect::<Vec<_>>())
}

/// All sections of a component, without those below a `*`.
fn sections(keys: &Keys, component: Component) -> Vec<String> {
    let mut sections: Vec<String> = keys
        .of(component)
        .flat_map(|key| {
            let dots = key.path.match_indices('.').map(|(dot, _)| &key.path[..dot]);
            dots.filter(|section| !section.contains('*'))
        })
        .map(str::to_owned)
        .collect();
    sections.sort_unstable();
    sections.dedup();
    sections
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

fn join(section: &str, last: &str) -> String {
    match section {
        "" => last.to_owned(),
        section => format!("{section}.{last}"),
    }
}

fn did_you_mean(path: &str) -> String {
    format!("; did you mean {path}?")
}

fn belongs(key: &Key, path: &str, component: Component) -> String {
    format!(
        "; {path} belongs to {}.toml, not to {component}.toml",
        key.component
    )
}

fn known(names: &[&str]) -> String {
    match names.len() {
        0 => String::new(),
        1..=MOST => format!("; known are {}", names.join(", ")),
        _ => format!("; known are {} and others", names[..MOST].join(", ")),
    }
}
