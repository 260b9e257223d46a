//! Estimates from a histogram.

/// The value below which the share `q` of all values lies, as Prometheus estimates it: evenly spread within a bucket,
/// the last finite bound for what lies above it. `bounds` are the finite upper bounds, `counts` the values per bucket
/// with the infinite one last. `None` without values, or where the arguments do not fit together.
pub fn quantile(bounds: &[f64], counts: &[u64], q: f64) -> Option<f64> {
    let total: u64 = counts.iter().sum();
    if total == 0 || counts.len() != bounds.len() + 1 || !(0.0..=1.0).contains(&q) {
        return None;
    }
    let rank = q * total as f64;
    let mut below = 0.0;
    let mut lower = 0.0;
    for (bound, count) in bounds.iter().zip(counts) {
        let within = *count as f64;
        if *count > 0 && below + within >= rank {
            return Some(lower + (bound - lower) * ((rank - below) / within));
        }
        below += within;
        lower = *bound;
    }
    bounds.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_spread_evenly_within_their_bucket() {
        let bounds = [1.0, 2.0, 4.0];
        assert_eq!(quantile(&bounds, &[10, 0, 0, 0], 0.5), Some(0.5));
        assert_eq!(quantile(&bounds, &[0, 0, 4, 0], 0.5), Some(3.0));
        assert_eq!(quantile(&bounds, &[5, 5, 0, 0], 0.5), Some(1.0));
        assert_eq!(quantile(&bounds, &[5, 5, 0, 0], 0.9), Some(1.8));
        assert_eq!(quantile(&bounds, &[0, 10, 0, 0], 0.0), Some(1.0));
        assert_eq!(quantile(&bounds, &[0, 10, 0, 0], 1.0), Some(2.0));
    }

    #[test]
    fn above_the_last_bound_nothing_is_known() {
        assert_eq!(quantile(&[1.0, 2.0], &[1, 0, 99], 0.95), Some(2.0));
    }

    #[test]
    fn without_values_or_sense_there_is_no_estimate() {
        assert_eq!(quantile(&[1.0], &[0, 0], 0.5), None);
        assert_eq!(quantile(&[1.0], &[1], 0.5), None);
        assert_eq!(quantile(&[1.0], &[1, 0], 1.5), None);
        assert_eq!(quantile(&[1.0], &[1, 0], f64::NAN), None);
    }
}
