//! Finds keys of a catalog.

use std::collections::BTreeMap;

use super::component::Component;
use super::key::Key;

/// The keys of a catalog, found by their names.
#[derive(Debug)]
pub struct Keys {
    all: Vec<&'static Key>,
    plain: BTreeMap<(Component, &'static str), &'static Key>,
}

impl Keys {
    /// Of these keys.
    pub fn new(keys: impl IntoIterator<Item = &'static Key>) -> Self {
        let all: Vec<_> = keys.into_iter().collect();
        let plain = all
            .iter()
            .filter(|key| !key.path.split('.').any(|part| part == "*"))
            .map(|key| ((key.component, key.path), *key))
            .collect();
        Self { all, plain }
    }

    /// All, in the order of the catalog.
    pub fn iter(&self) -> impl Iterator<Item = &'static Key> + Clone + '_ {
        self.all.iter().copied()
    }

    /// Those of a component.
    pub fn of(&self, component: Component) -> impl Iterator<Item = &'static Key> + Clone + '_ {
        self.iter().filter(move |key| key.component == component)
    }

    /// The key of this name. One that is written out comes before one with `*`.
    pub fn find(&self, component: Component, path: &str) -> Option<&'static Key> {
        self.plain
            .get(&(component, path))
            .copied()
            .or_else(|| self.of(component).find(|key| fits(key.path, path)))
    }

    /// The same by a name with the component in front: `engine.cache.enabled`.
    pub fn find_full(&self, name: &str) -> Option<&'static Key> {
        let (component, path) = name.split_once('.')?;
        self.find(component.parse().ok()?, path)
    }

    /// Whether the component has keys below this section.
    pub fn has_section(&self, component: Component, section: &str) -> bool {
        self.of(component).any(|key| is_below(key.path, section))
    }

    /// What stands below a section: the next part of each name, once.
    pub fn members(&self, component: Component, section: &str) -> Vec<&'static str> {
        let levels = match section {
            "" => 0,
            _ => section.split('.').count(),
        };
        let mut members: Vec<_> = self
            .of(component)
            .filter(|key| section.is_empty() || is_below(key.path, section))
            .filter_map(|key| key.path.split('.').nth(levels))
            .filter(|part| *part != "*")
            .collect();
        members.sort_unstable();
        members.dedup();
        members
    }
}

/// Whether a name is the pattern's, where a part `*` is any name.
pub fn fits(pattern: &str, path: &str) -> bool {
    let mut parts = path.split('.');
    pattern.split('.').all(|wanted| {
        parts
            .next()
            .is_some_and(|part| wanted == "*" || wanted == part)
    }) && parts.next().is_none()
}

/// Whether the pattern's names are below this section.
fn is_below(pattern: &str, section: &str) -> bool {
    let mut wanted = pattern.split('.');
    section.split('.').all(|part| {
        wanted
            .next()
            .is_some_and(|wanted| wanted == "*" || wanted == part)
    }) && wanted.next().is_some()
}
