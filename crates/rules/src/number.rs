//! JSON numbers as decimal text: exact at any size, never through binary floating point.

use serde_json::Number;

/// The longest integer part that a PostgreSQL `numeric` (and so a `jsonb`) can hold, in digits.
const NUMERIC_INTEGER_DIGITS: i64 = 131_072;
/// The longest fraction that a PostgreSQL `numeric` can hold, in digits.
const NUMERIC_FRACTION_DIGITS: i64 = 16_383;

/// A decimal number: `digits` * 10^`exponent`, where digits has no zeros at either end and is empty for zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// Takes a JSON number apart. `None` for an exponent beyond 18 digits, which no store could hold anyway.
    pub(crate) fn of(number: &Number) -> Option<Self> {
        let text = number.as_str();
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, small(exponent.trim_start_matches('+'))?),
            None => (text, 0),
        };
        let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{integer}{fraction}");
        let leading = all.trim_start_matches('0');
        let digits = leading.trim_end_matches('0');
        if digits.is_empty() {
            // Minus zero is zero: jsonb knows no other.
            return Some(Self {
                negative: false,
                digits: String::new(),
                exponent: 0,
            });
        }
        let dropped = i64::try_from(leading.len() - digits.len()).ok()?;
        let shift = dropped.checked_sub(i64::try_from(fraction.len()).ok()?)?;
        Some(Self {
            negative,
            digits: digits.to_owned(),
            exponent: exponent.checked_add(shift)?,
        })
    }

    /// Whether PostgreSQL can store it: the text form has at most 131,072 digits before and 16,383 after the point.
    pub(crate) fn fits_numeric(&self) -> bool {
        let length = self.digits.len() as i64;
        self.exponent >= -NUMERIC_FRACTION_DIGITS
            && length.saturating_add(self.exponent) <= NUMERIC_INTEGER_DIGITS
    }

    /// The one text of this value: sign, digits without zeros at either end, `e`, exponent; `0` for zero.
    pub(crate) fn canonical(&self) -> String {
        if self.digits.is_empty() {
            return "0".to_owned();
        }
        let sign = if self.negative { "-" } else { "" };
        format!("{sign}{}e{}", self.digits, self.exponent)
    }
}

/// The whole number that a JSON number is, written in any way: 1, 1.0 and 1e0 are the same. `None` for a fraction, for a number
/// beyond 64 bits, and for a text that is no JSON number.
pub fn whole(text: &str) -> Option<i64> {
    // Most numbers are written plainly.
    match text.parse() {
        Ok(value) if !text.starts_with('+') => Some(value),
        _ => whole_number(&serde_json::from_str(text).ok()?),
    }
}

/// The same of a number that was read.
pub(crate) fn whole_number(number: &Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let decimal = Decimal::of(number)?;
        if decimal.digits.is_empty() {
            return Some(0);
        }
        let zeros = 10_i128.checked_pow(u32::try_from(decimal.exponent).ok()?)?;
        let value = decimal.digits.parse::<i128>().ok()?.checked_mul(zeros)?;
        i64::try_from(if decimal.negative { -value } else { value }).ok()
    })
}

fn small(text: &str) -> Option<i64> {
    let value: i64 = text.parse().ok()?;
    (value.unsigned_abs() < 1_000_000_000_000_000_000).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> Option<String> {
        let number: Number = serde_json::from_str(text).expect("a JSON number");
        Decimal::of(&number).map(|decimal| decimal.canonical())
    }

    #[test]
    fn equal_values_have_one_text() {
        for same in ["1", "1.0", "1e0", "10e-1", "0.1E+1", "1.000"] {
            assert_eq!(canonical(same).as_deref(), Some("1e0"), "{same}");
        }
        for zero in ["0", "-0", "0.0", "-0e5", "0e99"] {
            assert_eq!(canonical(zero).as_deref(), Some("0"), "{zero}");
        }
        assert_eq!(canonical("-1200").as_deref(), Some("-12e2"));
        assert_eq!(canonical("0.0012").as_deref(), Some("12e-4"));
    }

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        for (text, value) in [
            ("1", 1),
            ("1.0", 1),
            ("1e0", 1),
            ("10e-1", 1),
            ("0.1E+1", 1),
            ("-0.0", 0),
            ("-12.00", -12),
            ("1e18", 1_000_000_000_000_000_000),
            ("9223372036854775807.0", i64::MAX),
            ("-9223372036854775808.0", i64::MIN),
        ] {
            assert_eq!(whole(text), Some(value), "{text}");
        }
        for text in [
            "1.5",
            "1e-1",
            "1e19",
            "-1e40",
            "1e999999999",
            "9223372036854775808",
            "\"1\"",
            "+1",
            "",
            "one",
            "true",
            "null",
        ] {
            assert_eq!(whole(text), None, "{text}");
        }
    }

    #[test]
    fn neighbouring_values_have_different_texts_at_any_size() {
        assert_ne!(
            canonical("12345678901234567890123"),
            canonical("12345678901234567890124")
        );
        assert_ne!(canonical("0.1"), canonical("0.10000000000000000000000001"));
        assert_ne!(canonical("1"), canonical("-1"));
    }

    #[test]
    fn an_exponent_that_nothing_can_hold_is_told_apart() {
        assert_eq!(canonical("1e99999999999999999999999"), None);
        assert!(canonical("1e100000").is_some());
    }

    #[test]
    fn the_limits_of_numeric_are_known() {
        let fits = |text: &str| {
            let number: Number = serde_json::from_str(text).expect("a JSON number");
            Decimal::of(&number).is_some_and(|decimal| decimal.fits_numeric())
        };
        assert!(fits("1e131071"));
        assert!(!fits("1e131072"));
        assert!(fits("1e-16383"));
        assert!(!fits("1e-16384"));
        assert!(fits("0e999999"));
    }
}
