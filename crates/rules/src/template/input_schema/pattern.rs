//! The keyword `pattern`. The library's own cannot be ended; this one asks the budget all the time.
//!
//! A plain pattern, with any number of lookaheads behind its `^`, is matched byte by byte. One that needs backtracking runs
//! in one go, on short texts alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock, PoisonError};

use fancy_regex::{Regex, RegexBuilder};
use jsonschema::json::Node as _;
use jsonschema::{Keyword, ValidationError};
use regex_automata::Input;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;

use super::counted::{Counted, Node};
use crate::template::meter::{end, look};

/// A pattern that backtracks more often than this ends the check.
pub(super) const BACKTRACK_LIMIT: usize = 20_000;
/// The longest text for a pattern that backtracks: a tenth of a second at worst.
const LONGEST: usize = 5_000;
/// This divided by the size of a large pattern is the longest text for it.
const SIZE_BY_LENGTH: usize = 2_000_000;
/// Bytes between two looks.
const CHUNK: usize = 16;
/// Bytes that the states of a pattern may take before the oldest go.
const STATES: usize = 1 << 20;
/// Bytes of a compiled pattern.
const LARGEST: usize = 10 << 20;

pub(super) struct Pattern {
    pattern: String,
    translated: String,
    /// Of these all must hold; none if it takes backtracking.
    plain: Vec<Plain>,
    backtracking: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// `None` if it is no regular expression.
    pub(super) fn compile(pattern: &str) -> Option<Self> {
        let translated = jsonschema_regex::to_rust_regex(pattern).ok()?.into_owned();
        let plain = conditions(&translated)
            .into_iter()
            .map(|(wanted, condition)| Plain::compile(wanted, &condition))
            .collect::<Option<Vec<_>>>();
        let compiled = Self {
            pattern: pattern.to_owned(),
            translated,
            plain: plain.unwrap_or_default(),
            backtracking: OnceLock::new(),
        };
        (!compiled.plain.is_empty() || compiled.backtracking().is_some()).then_some(compiled)
    }

    fn backtracking(&self) -> Option<&Regex> {
        let compile = || {
            let mut builder = RegexBuilder::new(&self.translated);
            builder.backtrack_limit(BACKTRACK_LIMIT).build().ok()
        };
        self.backtracking.get_or_init(compile).as_ref()
    }

    fn matches(&self, text: &str) -> bool {
        if !self.plain.is_empty() {
            let mut answers = self.plain.iter().map(|plain| plain.holds(text));
            // Where one does not know, the backtracking engine does.
            match answers.find(|answer| *answer != Some(true)) {
                None => return true,
                Some(Some(_)) => return false,
                Some(None) => {}
            }
        }
        look(text.len() / CHUNK);
        if text.len() > longest(&self.translated) {
            end();
        }
        // The engine panics on some patterns.
        let answer = catch_unwind(AssertUnwindSafe(|| {
            self.backtracking()
                .and_then(|regex| regex.is_match(text).ok())
        }));
        answer.ok().flatten().unwrap_or_else(|| end())
    }
}

/// The longest text that a pattern may be matched with in one go.
pub(super) fn longest(pattern: &str) -> usize {
    // A counted repetition repeats the states.
    let counts = pattern.split('{').skip(1).map(|after| {
        let digits = after.split(|c: char| !c.is_ascii_digit());
        digits
            .take(2)
            .filter_map(|digits| digits.parse::<usize>().ok())
            .max()
            .unwrap_or(1)
            .max(1)
    });
    let size = counts.fold(pattern.len().max(1), usize::saturating_mul);
    (SIZE_BY_LENGTH / size).min(LONGEST)
}

impl<'i> Keyword<'i, Counted> for Pattern {
    fn validate(&self, instance: Node<'i>) -> Result<(), ValidationError<'i>> {
        if self.is_valid(instance) {
            return Ok(());
        }
        let message = format!("the value does not match {:?}", self.pattern);
        Err(ValidationError::custom(message))
    }

    fn is_valid(&self, instance: Node<'i>) -> bool {
        instance.as_string().is_none_or(|text| self.matches(&text))
    }
}

/// A pattern without backtracking, which must match or must not.
struct Plain {
    wanted: bool,
    automaton: DFA,
    states: Mutex<Cache>,
}

impl Plain {
    fn compile(wanted: bool, pattern: &str) -> Option<Self> {
        let config = DFA::config()
            .unicode_word_boundary(true)
            .cache_capacity(STATES)
            .skip_cache_capacity_check(true);
        let automaton = DFA::builder()
            .configure(config)
            .thompson(thompson::Config::new().nfa_size_limit(Some(LARGEST)))
            .build(pattern)
            .ok()?;
        let states = Mutex::new(automaton.create_cache());
        Some(Self {
            wanted,
            automaton,
            states,
        })
    }

    /// `None` if this engine cannot tell: at a word boundary beside other letters than ASCII's.
    fn holds(&self, text: &str) -> Option<bool> {
        self.search(text).map(|found| found == self.wanted)
    }

    fn search(&self, text: &str) -> Option<bool> {
        let automaton = &self.automaton;
        // The end of a budget leaves the states as they are.
        let states = &mut *self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = automaton
            .start_state_forward(states, &Input::new(text))
            .ok()?;
        let mut memory = states.memory_usage();
        for chunk in text.as_bytes().chunks(CHUNK) {
            for byte in chunk {
                state = automaton.next_state(states, state, *byte).ok()?;
                if state.is_match() || state.is_dead() {
                    return Some(state.is_match());
                }
                if state.is_quit() {
                    return None;
                }
            }
            // New states take long to find, in proportion to their size.
            let now = states.memory_usage();
            let found = now.checked_sub(memory).unwrap_or(now);
            memory = now;
            look(1 + found * 4);
        }
        let state = automaton.next_eoi_state(states, state).ok()?;
        Some(state.is_match())
    }
}

/// What must match and what must not, so that the pattern does: its lookaheads at the beginning, and the rest of it.
fn conditions(pattern: &str) -> Vec<(bool, String)> {
    split(pattern).unwrap_or_else(|| vec![(true, pattern.to_owned())])
}

fn split(pattern: &str) -> Option<Vec<(bool, String)>> {
    let mut rest = pattern.strip_prefix('^')?;
    let mut conditions = Vec::new();
    while let Some(wanted) = ["(?=", "(?!"]
        .iter()
        .position(|start| rest.starts_with(start))
    {
        let (length, _) = outside(&rest[1..]);
        let body = rest.get(3..=length)?;
        conditions.push((wanted == 0, format!("^(?:{body})")));
        rest = rest.get(length + 2..)?;
    }
    let (length, alternatives) = outside(rest);
    let repeated = rest.starts_with(['*', '+', '?', '{']);
    if conditions.is_empty() || alternatives || repeated || length < rest.len() {
        return None;
    }
    conditions.push((true, format!("^(?:{rest})")));
    Some(conditions)
}

/// How far a pattern goes before a group ends that it has not begun, and whether there are alternatives outside of groups.
fn outside(pattern: &str) -> (usize, bool) {
    let (mut depth, mut class, mut escaped, mut alternatives) = (0, false, false, false);
    for (place, byte) in pattern.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b']' => class = false,
            _ if class => {}
            b'[' => class = true,
            b'(' => depth += 1,
            b')' if depth == 0 => return (place, alternatives),
            b')' => depth -= 1,
            b'|' if depth == 0 => alternatives = true,
            _ => {}
        }
    }
    (pattern.len(), alternatives)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::compile(text).unwrap_or_else(|| panic!("{text} compiles"))
    }

    #[test]
    fn it_answers_as_the_backtracking_engine_does() {
        let texts = [
            "",
            "a",
            "b",
            "ab",
            "aab",
            "abc",
            "x1",
            "X1",
            "aB3x",
            "a b",
            "é",
            "日本",
            "a\nb",
            "bad",
            "aa-aa",
            "1234",
            "A1\u{301}",
        ];
        for text in [
            "",
            "^",
            "$",
            "^$",
            "a",
            "^a",
            "b$",
            "^(a|ab)$",
            "^a|b$",
            "[^a]",
            "^[a-z]+\\d*$",
            "^\\w+$",
            "\\bb\\b",
            "^.{2,3}$",
            "^\\S*$",
            "^(?=.*[A-Z])(?=.*\\d).{2,}$",
            "^(?!.*bad).*$",
            "^(?!a)(?=b)|c$",
            "^(?!(a|b)$)[ab]",
            "^(?=[a(])a",
            "^(?=a)",
            "^(?!)",
            "^(?=(a+)+$)(a+)+\\1$",
            "(a)\\1",
            "^((?!bad).)*$",
            "^(?:(?!--).)*$",
            "(?<!a)b",
            "(?=a)a",
            "^\\p{L}+$",
        ] {
            let ours = pattern(text);
            let theirs = Regex::new(&ours.translated).expect("a pattern");
            for subject in texts {
                let expected = theirs.is_match(subject).expect("little backtracking");
                assert_eq!(ours.matches(subject), expected, "{text} and {subject:?}");
            }
        }
    }

    #[test]
    fn lookaheads_at_the_beginning_need_no_backtracking() {
        for (text, count) in [
            ("^(?=.*[A-Z])(?=.*\\d).{8,}$", 3),
            ("^(?!.*(bad|worse)).*$", 2),
            ("^[a-z]{1,1000}$", 1),
            ("^(a)\\1$", 0),
            ("^(?=(a))\\1$", 0),
            ("^((?!bad).)*$", 0),
        ] {
            assert_eq!(pattern(text).plain.len(), count, "{text}");
        }
        for text in ["(", "a{2,1}", "[", "^(?=", "(?=a"] {
            assert!(Pattern::compile(text).is_none(), "{text}");
        }
    }

    #[test]
    fn the_longest_text_gets_shorter_with_the_size_of_the_pattern() {
        assert_eq!(longest("(?!a)b"), LONGEST);
        assert!(longest("((?!a)b{1,200}){190}") < 10);
        assert_eq!(longest("\\p{L}{"), LONGEST);
    }
}
