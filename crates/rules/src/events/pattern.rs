//! Patterns of a subscription: a name, `prefix*`, `*suffix` or `*`.

use super::catalog::{CATALOG, Entry, Source, canonical, entry, place};

/// A pattern that cannot be read; the text says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// The empty text.
    #[error("a pattern must not be empty")]
    Empty,
    /// More than one star.
    #[error("pattern \"{0}\" has more than one star")]
    Stars(String),
    /// A star between two parts.
    #[error("pattern \"{0}\" has its star neither at its beginning nor at its end")]
    Middle(String),
}

/// What a pattern may be, for a HINT.
pub const PATTERN_HINT: &str = "A pattern is a name, prefix*, *suffix, or * for all events.";

/// One pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// `*`.
    All,
    /// A name without a star.
    Exact(String),
    /// `prefix*`.
    Prefix(String),
    /// `*suffix`.
    Suffix(String),
}

impl Pattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let shown = || text.chars().take(64).collect();
        let (before, after) = match text.split_once('*') {
            None if text.is_empty() => return Err(BadPattern::Empty),
            None => return Ok(Self::Exact(text.to_owned())),
            Some((_, after)) if after.contains('*') => return Err(BadPattern::Stars(shown())),
            Some(parts) => parts,
        };
        match (before.is_empty(), after.is_empty()) {
            (true, true) => Ok(Self::All),
            (false, true) => Ok(Self::Prefix(before.to_owned())),
            (true, false) => Ok(Self::Suffix(after.to_owned())),
            (false, false) => Err(BadPattern::Middle(shown())),
        }
    }

    /// Whether this one name matches. Synonyms are the business of [`Selection`].
    pub fn fits(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Exact(exact) => name == exact,
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
            Self::Suffix(suffix) => name.ends_with(suffix.as_str()),
        }
    }
}

/// The patterns of one subscriber. An event matches if its name or one of its synonyms fits one of them.
#[derive(Debug, Clone)]
pub struct Selection {
    patterns: Vec<Pattern>,
    /// The matching canonical names of the catalogue, in its order.
    known: Vec<&'static str>,
    /// The same by place.
    found: Vec<bool>,
}

impl Selection {
    /// Reads the patterns; the first bad one is the error.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, BadPattern> {
        let patterns: Vec<Pattern> = texts
            .into_iter()
            .map(Pattern::parse)
            .collect::<Result<_, _>>()?;
        let fits = |name: &str| patterns.iter().any(|pattern| pattern.fits(name));
        let mut found = vec![false; CATALOG.len()];
        for entry in CATALOG.iter().filter(|entry| fits(entry.name)) {
            if let Some(place) = place(entry.canonical()) {
                found[place] = true;
            }
        }
        let matching = |(entry, found): (&'static Entry, &bool)| found.then_some(entry.name);
        let known = CATALOG.iter().zip(&found).filter_map(matching).collect();
        Ok(Self {
            patterns,
            known,
            found,
        })
    }

    /// The canonical names of the catalogue that match, each once.
    pub fn known(&self) -> &[&'static str] {
        &self.known
    }

    /// The patterns.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Whether rows of the log can give an event that matches.
    pub fn wants_rows(&self) -> bool {
        let of_row = |name: &&str| entry(name).is_some_and(|entry| entry.source == Source::Row);
        self.known.iter().any(of_row)
    }

    /// Whether a published event or a fact can match.
    pub fn wants_facts(&self) -> bool {
        self.patterns.iter().any(|pattern| match pattern {
            Pattern::Exact(name) => {
                let entry = canonical(name).and_then(entry);
                entry.is_none_or(|entry| entry.source != Source::Row)
            }
            Pattern::All | Pattern::Prefix(_) | Pattern::Suffix(_) => true,
        })
    }

    /// Whether an event of this canonical or custom name matches.
    pub fn matches(&self, name: &str) -> bool {
        match place(name) {
            Some(place) => self.found[place],
            None => self.patterns.iter().any(|pattern| pattern.fits(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn known(patterns: &[&str]) -> Vec<&'static str> {
        let selection = Selection::parse(patterns.iter().copied()).expect("patterns can be read");
        selection.known().to_vec()
    }

    #[test]
    fn a_selection_says_which_sources_it_needs() {
        for (patterns, rows, facts) in [
            (&["*"][..], true, true),
            (&["step.failed"], true, false),
            // A synonym of an event of a row.
            (&["task.started"], true, false),
            (&["step.failed", "orders.shipped"], true, true),
            (&["orders.*"], false, true),
            (&["orders.shipped"], false, true),
            (&["template.registered"], false, true),
            (&["*.completed"], true, true),
        ] {
            let selection = Selection::parse(patterns.iter().copied()).expect("they can be read");
            assert_eq!(selection.wants_rows(), rows, "{patterns:?}");
            assert_eq!(selection.wants_facts(), facts, "{patterns:?}");
        }
    }

    #[test]
    fn a_pattern_has_at_most_one_star_at_one_of_its_ends() {
        let name = "step.failed".to_owned();
        for (text, expected) in [
            ("*", Ok(Pattern::All)),
            ("step.failed", Ok(Pattern::Exact(name))),
            ("step.*", Ok(Pattern::Prefix("step.".to_owned()))),
            ("*.failed", Ok(Pattern::Suffix(".failed".to_owned()))),
            ("", Err(BadPattern::Empty)),
            ("**", Err(BadPattern::Stars("**".to_owned()))),
            ("*a*", Err(BadPattern::Stars("*a*".to_owned()))),
            ("a*b*", Err(BadPattern::Stars("a*b*".to_owned()))),
            ("step.*d", Err(BadPattern::Middle("step.*d".to_owned()))),
        ] {
            assert_eq!(Pattern::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_synonym_that_matches_gives_the_canonical_name_once() {
        assert_eq!(known(&["step.started"]), ["step.execution_requested"]);
        assert_eq!(
            known(&[
                "step.started",
                "step.before_handle",
                "step.execution_requested"
            ]),
            ["step.execution_requested"]
        );
        assert_eq!(known(&["task.reset"]), ["task.retry_requested"]);
        assert_eq!(known(&["workflow.task_c*"]), ["task.completed"]);
        assert_eq!(
            known(&["*.completed"]),
            ["task.completed", "step.completed"]
        );
    }

    #[test]
    fn the_star_alone_matches_every_canonical_name_and_custom_ones() {
        let all: Vec<&str> = CATALOG
            .iter()
            .filter(|entry| entry.canonical() == entry.name)
            .map(|entry| entry.name)
            .collect();
        assert_eq!(known(&["*"]), all);
        let star = Selection::parse(["*"]).expect("a star is a pattern");
        assert!(star.matches("order.paid"));
        assert!(star.matches("task.completed"));
        // No event has a synonym as its name.
        assert!(!star.matches("task.started"));
    }

    #[test]
    fn a_custom_event_matches_by_its_own_name() {
        let selection = Selection::parse(["order.*", "*.shipped"]).expect("patterns can be read");
        assert!(selection.matches("order.paid"));
        assert!(selection.matches("parcel.shipped"));
        assert!(!selection.matches("parcel.lost"));
        assert!(selection.known().is_empty());
        let nothing = Selection::parse([]).expect("no patterns can be read");
        assert!(!nothing.matches("order.paid"));
    }

    proptest! {
        #[test]
        fn a_pattern_is_read_or_refused_by_its_stars(text in "[a-c.*]{0,8}") {
            let stars = text.matches('*').count();
            let at_an_end = stars == 0 || text.starts_with('*') || text.ends_with('*');
            let good = !text.is_empty() && stars <= 1 && at_an_end;
            prop_assert_eq!(Pattern::parse(&text).is_ok(), good);
        }

        #[test]
        fn a_cut_name_with_a_star_matches_the_name(which in 0..CATALOG.len(), cut in 0..40usize) {
            let name = CATALOG[which].name;
            let cut = cut.min(name.len());
            for text in [format!("{}*", &name[..cut]), format!("*{}", &name[cut..])] {
                let selection = Selection::parse([text.as_str()]).expect("one star is a pattern");
                prop_assert!(selection.matches(canonical(name).expect("it is in the catalogue")));
                let mut once = selection.known().to_vec();
                once.dedup();
                prop_assert_eq!(&once, selection.known());
            }
        }
    }
}
