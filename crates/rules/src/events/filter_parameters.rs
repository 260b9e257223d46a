//! What must not be written down: values whose key looks like that of a secret. docs/logging.md#secrets.

use std::borrow::Cow;

use serde_json::Value;

/// Parts of keys, as a setting has them.
pub const DEFAULT_PARAMETERS: &str = "passw,email,secret,token,_key,crypt,salt,certificate,otp,ssn";
/// What replaces a value, unless a setting says something else.
pub const DEFAULT_MASK: &str = "[FILTERED]";

/// Puts a mask in place of the values whose keys contain one of the parameters, in whatever letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    parts: Vec<String>,
    mask: String,
}

impl Mask {
    /// Spaces around a parameter do not count; an empty one hides nothing.
    pub fn new<'p>(parameters: impl IntoIterator<Item = &'p str>, mask: &str) -> Self {
        let parts = parameters.into_iter().map(str::trim);
        Self {
            parts: parts
                .filter(|part| !part.is_empty())
                .map(str::to_lowercase)
                .collect(),
            mask: mask.to_owned(),
        }
    }

    /// What replaces a value.
    pub fn mask(&self) -> &str {
        &self.mask
    }

    /// Whether the value of this key is hidden.
    pub fn hides(&self, key: &str) -> bool {
        if self.parts.is_empty() {
            return false;
        }
        let key = key.to_lowercase();
        self.parts.iter().any(|part| key.contains(part.as_str()))
    }

    /// Hides values at any depth. Says whether there was one.
    pub fn apply(&self, value: &mut Value) -> bool {
        self.walk(value, false)
    }

    /// The same, and what [`Self::text`] hides in each text.
    pub fn apply_to_texts(&self, value: &mut Value) {
        self.walk(value, true);
    }

    fn walk(&self, value: &mut Value, texts: bool) -> bool {
        let mut hidden = false;
        // Not recursive: a value can be nested more deeply than a stack is high.
        let mut open = vec![value];
        while let Some(value) = open.pop() {
            match value {
                Value::Array(elements) => open.extend(elements),
                Value::Object(map) => {
                    for (key, value) in map.iter_mut() {
                        if self.hides(key) {
                            *value = self.mask.as_str().into();
                            hidden = true;
                        } else {
                            open.push(value);
                        }
                    }
                }
                Value::String(text) if texts => {
                    if let Cow::Owned(masked) = self.text(text) {
                        *text = masked;
                    }
                }
                _ => {}
            }
        }
        hidden
    }

    /// Hides values in a text: in one that is a JSON document at any depth, and else after `key=`, and after `'key':` and `"key":`.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.parts.is_empty() || !text.contains(['=', ':']) {
            return Cow::Borrowed(text);
        }
        if text.trim_start().starts_with(['{', '['])
            && let Ok(mut document) = serde_json::from_str::<Value>(text)
        {
            return match self.apply(&mut document) {
                true => Cow::Owned(document.to_string()),
                false => Cow::Borrowed(text),
            };
        }
        self.pairs(text)
    }

    fn pairs<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let (mut masked, mut copied, mut at) = (String::new(), 0, 0);
        while let Some(found) = text[at..].find(['=', ':']) {
            let sign = at + found;
            at = sign + 1;
            let Some(key) = key_before(&text[..sign], text.as_bytes()[sign]) else {
                continue;
            };
            if !self.hides(key) {
                continue;
            }
            let begin = at + (text.len() - at - text[at..].trim_start_matches(' ').len());
            let end = begin + value_length(&text[begin..]);
            if end == begin {
                continue;
            }
            masked.push_str(&text[copied..begin]);
            masked.push_str(&self.mask);
            (copied, at) = (end, end);
        }
        if copied == 0 {
            return Cow::Borrowed(text);
        }
        masked.push_str(&text[copied..]);
        Cow::Owned(masked)
    }
}

/// The key that ends here. Before a colon it must be in quotes, because every sentence can have a colon.
fn key_before(text: &str, sign: u8) -> Option<&str> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '[' | ']');
    let text = text.trim_end_matches(' ');
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_suffix(quote) {
            let begin = inner.rfind(quote)? + 1;
            return Some(&inner[begin..]).filter(|key| !key.is_empty());
        }
    }
    let begin = text.trim_end_matches(is_part).len();
    let key = &text[begin..];
    (sign == b'=' && !key.is_empty()).then_some(key)
}

/// How long the value is that begins here: a text in quotes, something in brackets, or a word.
fn value_length(text: &str) -> usize {
    match text.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let mut escaped = false;
            for (place, c) in text.char_indices().skip(1) {
                match c {
                    _ if escaped => escaped = false,
                    '\\' => escaped = true,
                    _ if c == quote => return place + 1,
                    _ => {}
                }
            }
            text.len()
        }
        Some('{' | '[' | '(') => {
            let mut depth = 0_usize;
            for (place, c) in text.char_indices() {
                match c {
                    '{' | '[' | '(' => depth += 1,
                    '}' | ']' | ')' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    return place + 1;
                }
            }
            text.len()
        }
        _ => text
            .find(|c: char| c.is_whitespace() || matches!(c, '&' | ',' | ';' | ')' | ']' | '}'))
            .unwrap_or(text.len()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn mask() -> Mask {
        Mask::new(DEFAULT_PARAMETERS.split(','), DEFAULT_MASK)
    }

    #[test]
    fn values_are_hidden_at_any_depth() {
        let mut value = json!({
            "user": "ann", "Password": "x", "api_key": 7, "list": [{"deep": {"Auth-TOKEN": {"a": 1}, "n": 1}}],
            "SSN": null, "key": "stays",
        });
        assert!(mask().apply(&mut value));
        let filtered = DEFAULT_MASK;
        assert_eq!(
            value,
            json!({
                "user": "ann", "Password": filtered, "api_key": filtered,
                "list": [{"deep": {"Auth-TOKEN": filtered, "n": 1}}], "SSN": filtered, "key": "stays",
            })
        );
        assert!(!mask().apply(&mut json!({"user": ["ann"]})));
        let mut texts = json!([{"message": "token=a b", "n": 1}, "otp=1"]);
        assert!(!mask().apply(&mut texts));
        mask().apply_to_texts(&mut texts);
        assert_eq!(
            texts,
            json!([{"message": "token=[FILTERED] b", "n": 1}, "otp=[FILTERED]"])
        );
    }

    #[test]
    fn a_value_that_is_deeper_than_a_stack_is_masked() {
        let mut value = json!({"secret": 1});
        for _ in 0..100_000 {
            value = Value::Array(vec![value]);
        }
        assert!(mask().apply(&mut value));
        // Its drop is recursive.
        while let Value::Array(mut inner) = value {
            value = inner.pop().unwrap_or_default();
        }
        assert_eq!(value, json!({"secret": DEFAULT_MASK}));
    }

    #[test]
    fn the_parameters_and_the_mask_can_be_others() {
        let mask = Mask::new([" Card ", "", "  "], "***");
        let mut value = json!({"CARD_NO": 1, "password": 2});
        mask.apply(&mut value);
        assert_eq!(value, json!({"CARD_NO": "***", "password": 2}));
        let none = Mask::new(["", " "], "x");
        assert!(!none.hides("password") && !none.hides(""));
    }

    #[test]
    fn texts_that_name_a_key_are_masked() {
        for (text, masked) in [
            ("nothing here", "nothing here"),
            ("a=1 password=hunter2 b=2", "a=1 password=[FILTERED] b=2"),
            ("GET /x?token=ab%20c&n=1", "GET /x?token=[FILTERED]&n=1"),
            ("secret=\"a b\\\" c\" n=1", "secret=[FILTERED] n=1"),
            (
                "{'email': 'a@b.c', 'n': 1}",
                "{'email': [FILTERED], 'n': 1}",
            ),
            (
                "got {\"otp\": {\"a\": [1]}, \"n\": 1} ok",
                "got {\"otp\": [FILTERED], \"n\": 1} ok",
            ),
            ("password = x", "password = [FILTERED]"),
            // No key in quotes: a sentence.
            ("the token: it is gone", "the token: it is gone"),
            ("password=", "password="),
            (
                "{\"a\": {\"token\": 1}}",
                "{\"a\":{\"token\":\"[FILTERED]\"}}",
            ),
            ("{\"a\": 1.50}", "{\"a\": 1.50}"),
        ] {
            assert_eq!(mask().text(text), masked, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_masked(text in "[a-z'\"={}\\[\\]() :\\\\é&;,]{0,60}") {
            let _ = Mask::new(["a"], "*").text(&text);
        }
    }
}
