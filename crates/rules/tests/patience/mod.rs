//! The limit of wall-clock time in a test, for the tests of the rules and of the extension.

use std::sync::LazyLock;
use std::time::Duration;

/// How long a test waits at most for what usually happens within this many seconds. `TASKER_SLOW=5`: the machine, or the server
/// under test, is five times as slow.
pub fn patience(seconds: u64) -> Duration {
    static SLOW: LazyLock<f64> = LazyLock::new(|| {
        let factor = std::env::var("TASKER_SLOW").ok();
        factor.map_or(1.0, |factor| {
            factor.parse().expect("TASKER_SLOW is a factor")
        })
    });
    Duration::from_secs(seconds).mul_f64(*SLOW)
}
