//! Lag in records in, a bucket out that does not flicker at its bounds.

use crate::{api::LagBucket, observed::Lag};

/// Upper bounds, in records.
const BOUNDS: [(i64, LagBucket); 4] = [
    (1_000, LagBucket::Below1k),
    (10_000, LagBucket::Below10k),
    (100_000, LagBucket::Below100k),
    (1_000_000, LagBucket::Below1M),
];

/// The bucket of the sum over all partitions. Down from the `previous` bucket it goes only when a fifth below its bound.
pub(super) fn bucket(lag: Option<Lag>, previous: Option<LagBucket>) -> LagBucket {
    let Some(Lag { total, .. }) = lag else { return LagBucket::Unknown };
    let of = |records: i64| {
        BOUNDS
            .into_iter()
            .find(|(bound, _)| records < *bound)
            .map_or(LagBucket::Above1M, |(_, bucket)| bucket)
    };
    let now = of(total);
    match previous {
        Some(previous) if previous > now => of(total.saturating_add(total / 4)),
        _ => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(total: i64, previous: Option<LagBucket>) -> LagBucket {
        bucket(Some(Lag { total, max: total }), previous)
    }

    #[test]
    fn unknown_lag_is_unknown_and_never_none() {
        assert_eq!(bucket(None, Some(LagBucket::Below1k)), LagBucket::Unknown);
        assert_eq!(at(0, Some(LagBucket::Unknown)), LagBucket::Below1k);
    }

    #[test]
    fn a_lag_around_a_bound_stays_in_its_bucket() {
        assert_eq!(at(999, None), LagBucket::Below1k);
        assert_eq!(at(1_000, Some(LagBucket::Below1k)), LagBucket::Below10k);
        assert_eq!(at(990, Some(LagBucket::Below10k)), LagBucket::Below10k);
        assert_eq!(at(790, Some(LagBucket::Below10k)), LagBucket::Below1k);
        assert_eq!(at(i64::MAX, Some(LagBucket::Above1M)), LagBucket::Above1M);
        assert_eq!(at(5, Some(LagBucket::Above1M)), LagBucket::Below1k);
    }
}
