//! The key under which a queue finds the steps of a handler: a number of its name, so that no table of names is needed.

/// The prefix of handlers that are functions of the database.
pub const INSIDE: &str = "sql:";

/// FNV-1a over the name, mixed. Negative for handlers inside the database, positive for others; never zero. Among a million names two
/// have the same key with a probability of one in ten million. Stored in queue entries: never change it.
pub fn handler_key(handler: &str) -> i64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in handler.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^= hash >> 32;
    let key = ((hash >> 1) as i64).max(1);
    if handler.starts_with(INSIDE) {
        -key
    } else {
        key
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_sign_says_whether_a_handler_is_inside_the_database() {
        assert!(handler_key("sql:shop.charge") < 0);
        for outside in ["", "sql", "shop.charge", "SQL:shop.charge"] {
            assert!(handler_key(outside) > 0, "{outside}");
        }
    }

    #[test]
    fn names_have_different_keys() {
        let names =
            (0..100_000).flat_map(|n| [format!("pay.step_{n}"), format!("sql:pay.step_{n}")]);
        let keys: HashSet<i64> = names.map(|name| handler_key(&name)).collect();
        assert_eq!(keys.len(), 200_000);
    }

    #[test]
    fn a_key_never_changes() {
        assert_eq!(handler_key("pay.charge"), 6_199_563_164_353_297_482);
    }
}
