//! Correlation ids: what names all that belongs to one request, in this system and in others. docs/logging.md#correlation-ids.

/// Characters of an id at most.
pub const LONGEST: usize = 100;

/// Whether a caller may give this id: up to 100 letters, digits, `-` and `_`, of which the first is a letter or a digit.
pub fn is_valid(id: &str) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let bytes = id.as_bytes();
    bytes.len() <= LONGEST
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(is_word)
}

const ALPHABET: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Appends the digits of a number, at least `least`.
fn push_digits(id: &mut String, mut number: u64, base: u64, least: usize) {
    let mut digits = [0_u8; 13];
    let mut first = digits.len();
    while number > 0 || digits.len() - first < least {
        first -= 1;
        digits[first] = ALPHABET[(number % base) as usize];
        number /= base;
    }
    id.extend(digits[first..].iter().copied().map(char::from));
}

/// The id of a task whose caller gives none: `tsk_`, the milliseconds in base 36, and six letters and digits. Both are in the uuid of
/// the task, whose random bits are mixed, so that no other randomness is needed.
pub fn of_task(task: &[u8; 16]) -> String {
    let value = u128::from_be_bytes(*task);
    let milliseconds = (value >> 80) as u64;
    let random = (value >> 16) as u64;
    // splitmix64: neighbours of one millisecond get ids that are nothing alike.
    let mut mixed = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let mut id = String::with_capacity(19);
    id.push_str("tsk_");
    push_digits(&mut id, milliseconds, 36, 1);
    id.push('_');
    push_digits(&mut id, mixed % 62_u64.pow(6), 62, 6);
    id
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::ids::{first_task_uuid, new_task_uuids};
    use super::*;

    #[test]
    fn an_id_is_made_of_letters_digits_and_two_signs() {
        for good in ["a", "7", "Ab-9_z", "tsk_m4x9_AbCdEf", &"x".repeat(100)] {
            assert!(is_valid(good), "{good}");
        }
        for bad in [
            "",
            "-a",
            "_a",
            "a b",
            "a@b",
            "a:b",
            "é",
            "a\n",
            &"x".repeat(101),
        ] {
            assert!(!is_valid(bad), "{bad}");
        }
    }

    #[test]
    fn a_task_gets_an_id_of_its_time_and_of_its_uuid() {
        let id = of_task(&first_task_uuid(1_700_000_000_000));
        let parts: Vec<&str> = id.split('_').collect();
        assert_eq!(parts[..2], ["tsk", "loyw3v28"]);
        assert_eq!(i64::from_str_radix(parts[1], 36), Ok(1_700_000_000_000));
        assert!(parts[2].len() == 6 && parts[2].bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert!(is_valid(&id));
        assert_eq!(of_task(&first_task_uuid(0))[..6], *"tsk_0_");
    }

    #[test]
    fn tasks_of_one_millisecond_get_different_ids() {
        let ids: HashSet<String> = new_task_uuids(10_000).iter().map(of_task).collect();
        assert_eq!(ids.len(), 10_000);
    }
}
