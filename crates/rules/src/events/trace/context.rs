//! What a caller says of its trace, as <https://www.w3.org/TR/trace-context/> writes it.

use rustc_hash::FxHashSet;

/// A traceparent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// The id of the trace, not 0.
    pub trace_id: u128,
    /// The id of the caller's span, not 0.
    pub span_id: u64,
    /// Its flags.
    pub flags: u8,
}

/// The caller records its spans.
pub const SAMPLED: u8 = 1;
/// The id of the trace is random; it stays so for all that the trace is handed to.
pub const RANDOM: u8 = 2;

/// Version, ids and flags with dashes between them.
const LENGTH: usize = 55;
/// A later version may have more.
const LONGEST: usize = 512;

impl Parent {
    /// Reads a traceparent. One of a later version counts as far as this version knows it. Errors: what is wrong.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let bytes = text.as_bytes();
        if bytes.len() < LENGTH {
            return Err("it has fewer than 55 characters");
        }
        if bytes.len() > LONGEST {
            return Err("it has more than 512 characters");
        }
        if [2, 35, 52].iter().any(|place| bytes[*place] != b'-') {
            return Err("its parts are not divided by dashes");
        }
        let not_hex = "its parts must be lower-case hexadecimal digits";
        let version = hex(&bytes[..2]).ok_or(not_hex)?;
        let parent = Self {
            trace_id: hex(&bytes[3..35]).ok_or(not_hex)?,
            span_id: hex(&bytes[36..52]).ok_or(not_hex)? as u64,
            flags: hex(&bytes[53..LENGTH]).ok_or(not_hex)? as u8,
        };
        match (version, bytes.get(LENGTH)) {
            (0xff, _) => Err("there is no version ff"),
            (0, Some(_)) => Err("it has more than the 55 characters of version 00"),
            (_, Some(behind)) if *behind != b'-' => Err("its parts are not divided by dashes"),
            _ if parent.trace_id == 0 => Err("the id of its trace is 0"),
            _ if parent.span_id == 0 => Err("the id of its span is 0"),
            _ => Ok(parent),
        }
    }

    /// Whether the caller records its spans.
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// The text of a traceparent of version 00.
pub fn traceparent(trace_id: u128, span_id: u64, flags: u8) -> String {
    let mut text = *b"00-................................-................-..";
    write_hex(&mut text[3..35], &trace_id.to_be_bytes());
    write_hex(&mut text[36..52], &span_id.to_be_bytes());
    write_hex(&mut text[53..], &[flags]);
    ascii(&text)
}

/// The id of a trace as text.
pub fn trace_text(id: u128) -> String {
    let mut text = [0; 32];
    write_hex(&mut text, &id.to_be_bytes());
    ascii(&text)
}

/// The id of a span as text.
pub fn span_text(id: u64) -> String {
    let mut text = [0; 16];
    write_hex(&mut text, &id.to_be_bytes());
    ascii(&text)
}

fn ascii(text: &[u8]) -> String {
    // Digits and dashes are UTF-8.
    String::from_utf8(text.to_vec()).unwrap_or_default()
}

// The formatting of the standard library costs ten times as much, and a claim does this for each step.
fn write_hex(text: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (two, byte) in text.chunks_exact_mut(2).zip(bytes) {
        two[0] = DIGITS[usize::from(byte >> 4)];
        two[1] = DIGITS[usize::from(byte & 0xf)];
    }
}

/// The most characters of a tracestate.
pub const LONGEST_STATE: usize = 512;
/// The most members of a tracestate.
pub const MOST_MEMBERS: usize = 32;

/// Checks a tracestate. Errors: what is wrong.
pub fn check_state(text: &str) -> Result<(), &'static str> {
    if text.len() > LONGEST_STATE {
        return Err("it has more than 512 characters");
    }
    let mut keys = FxHashSet::default();
    // A comma may have nothing beside it.
    let members = text
        .split(',')
        .map(|member| member.trim_matches([' ', '\t']));
    for member in members.filter(|member| !member.is_empty()) {
        let (key, value) = member
            .split_once('=')
            .ok_or("a member of it is not key=value")?;
        if !is_key(key) {
            return Err("a key of it is not allowed");
        }
        if !is_value(value) {
            return Err("a value of it is not allowed");
        }
        if !keys.insert(key) {
            return Err("a key comes twice in it");
        }
    }
    match keys.len() {
        0 => Err("it has no member"),
        1..=MOST_MEMBERS => Ok(()),
        _ => Err("it has more than 32 members"),
    }
}

fn is_key(key: &str) -> bool {
    let rest = |text: &[u8], most: usize| {
        let allowed =
            |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
        text.len() <= most && text.iter().all(allowed)
    };
    match key.split_once('@') {
        None => match key.as_bytes() {
            [b'a'..=b'z', behind @ ..] => rest(behind, 255),
            _ => false,
        },
        Some((tenant, system)) => match (tenant.as_bytes(), system.as_bytes()) {
            ([b'a'..=b'z' | b'0'..=b'9', tenant @ ..], [b'a'..=b'z', system @ ..]) => {
                rest(tenant, 240) && rest(system, 13)
            }
            _ => false,
        },
    }
}

fn is_value(value: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b' '..=b'~') && byte != b',' && byte != b'=';
    (1..=256).contains(&value.len()) && value.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of the specification.
    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_examples_of_the_specification_are_read() {
        let parent = Parent::parse(EXAMPLE).expect("is valid");
        assert_eq!(parent.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(parent.span_id, 0x00f0_67aa_0ba9_02b7);
        assert!(parent.is_sampled());
        let other = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        assert!(!Parent::parse(other).expect("is valid").is_sampled());
        let random = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03";
        assert_eq!(
            Parent::parse(random).map(|parent| parent.flags),
            Ok(SAMPLED | RANDOM)
        );
    }

    #[test]
    fn a_later_version_counts_as_far_as_it_is_known() {
        for later in [
            "cc-12345678901234567890123456789012-1234567890123456-01",
            "cc-12345678901234567890123456789012-1234567890123456-01-what-the-future-will-be-like",
        ] {
            let parent = Parent::parse(later).expect("is valid");
            assert_eq!(
                (parent.span_id, parent.is_sampled()),
                (0x1234_5678_9012_3456, true)
            );
        }
    }

    /// The cases of the test suite of the specification, and more.
    #[test]
    fn what_is_malformed_is_refused() {
        for malformed in [
            "",
            "t-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "cc-12345678901234567890123456789012-1234567890123456-01.what-the-future-will-not-be-like",
            "cc-12345678901234567890123456789012-1234567890123456-012",
            "ff-12345678901234567890123456789012-1234567890123456-01",
            "00-00000000000000000000000000000000-1234567890123456-01",
            "00-12345678901234567890123456789012-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473.-00f067aa0ba902b7-01",
            ".0-12345678901234567890123456789012-1234567890123456-01",
            "00-12345678901234567890123456789012-1234567890123456-.0",
            "00-ezxf1234567890123456789012345678-1234567890123456-01",
            "00_12345678901234567890123456789012_1234567890123456_01",
            " 00-12345678901234567890123456789012-1234567890123456-01",
            "0é-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(Parent::parse(malformed).is_err(), "{malformed}");
        }
    }

    #[test]
    fn the_examples_of_tracestate_are_valid() {
        for state in [
            "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
            "congo=t61rcWkgMzE",
            "foo=1 \t , \t bar=2, \t baz=3",
            "foo=1,",
            "foo=1,,,bar=2",
            "fw529a3039@dt=FfYAAAABYWZ1bmN0aW9u,0@v=1",
            "foo=a b",
        ] {
            assert_eq!(check_state(state), Ok(()), "{state}");
        }
        let long = format!("{}={}", "z".repeat(256), "x".repeat(255));
        assert_eq!(check_state(&long), Ok(()));
    }

    #[test]
    fn a_tracestate_that_is_malformed_or_too_large_is_refused() {
        let members = |count| {
            let members: Vec<String> = (0..count).map(|n| format!("bar{n:02}={n:02}")).collect();
            members.join(",")
        };
        assert_eq!(check_state(&members(32)), Ok(()));
        let too_many = members(33);
        let too_long = format!("{}={}", "z".repeat(256), "x".repeat(256));
        let long_key = format!("{}=1", "z".repeat(257));
        for state in [
            "",
            " ",
            ",",
            "foo",
            "foo=",
            "=1",
            "foo=1=2",
            "FOO=1",
            "foo@=1",
            "@foo=1",
            "foo@@bar=1",
            "foo@bar@baz=1",
            "foo=bar\u{7f}",
            "foo=é",
            "foo=1,foo=1",
            "foo=1;bar=2",
            "foo@bar12345678901234=1",
            "1foo=1",
            &too_many,
            &too_long,
            &long_key,
        ] {
            assert!(check_state(state).is_err(), "{state}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(trace_id in 1u128.., span_id in 1u64.., flags: u8) {
            let text = traceparent(trace_id, span_id, flags);
            prop_assert_eq!(text.len(), LENGTH);
            prop_assert_eq!(Parent::parse(&text), Ok(Parent { trace_id, span_id, flags }));
            prop_assert_eq!(trace_text(trace_id), format!("{trace_id:032x}"));
            prop_assert_eq!(span_text(span_id), format!("{span_id:016x}"));
        }

        #[test]
        fn any_text_is_answered(text in ".{0,80}") {
            let _ = (Parent::parse(&text), check_state(&text));
        }
    }
}
