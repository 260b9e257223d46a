//! Which tasks a subscriber hears of that wants a share of them: a task comes whole, and again when its events come again.

/// Whether the events of a task belong to the share. The same for this subscriber and task each time; of another subscriber with the
/// same rate, others.
pub fn takes(rate: f64, subscriber: &str, task: &[u8; 16]) -> bool {
    // Never by rounding.
    if rate >= 1.0 {
        return true;
    }
    let bytes = subscriber.bytes().chain([0]).chain(task.iter().copied());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // As many bits as a double has; the lower bits of the hash do not reach the upper ones by themselves.
    let share = (mixed(hash) >> 11) as f64 / (1_u64 << 53) as f64;
    share < rate
}

fn mixed(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(number: u32) -> [u8; 16] {
        let mut task = [7; 16];
        task[12..].copy_from_slice(&number.to_be_bytes());
        task
    }

    fn taken(rate: f64, subscriber: &str) -> Vec<u32> {
        (0..10_000)
            .filter(|number| takes(rate, subscriber, &task(*number)))
            .collect()
    }

    #[test]
    fn the_share_of_tasks_is_the_rate() {
        for rate in [0.01, 0.25, 0.5, 0.9] {
            let share = taken(rate, "audit").len() as f64 / 10_000.0;
            assert!((share - rate).abs() < 0.015, "{rate}: {share}");
        }
        assert_eq!(taken(1.0, "audit").len(), 10_000);
    }

    #[test]
    fn a_larger_rate_keeps_the_tasks_of_a_smaller_one() {
        let more = taken(0.5, "audit");
        assert!(taken(0.1, "audit").iter().all(|task| more.contains(task)));
    }

    #[test]
    fn two_subscribers_get_different_tasks_and_one_the_same_each_time() {
        assert_ne!(taken(0.1, "audit"), taken(0.1, "mail"));
        assert_eq!(taken(0.1, "audit"), taken(0.1, "audit"));
        // The answer is stored nowhere, so it must not change with a version.
        assert_eq!(&taken(0.001, "audit")[..3], &[5004, 7487, 9068]);
    }
}
