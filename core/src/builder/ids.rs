//! Which trades are in open windows already: ids in, "seen before?" out, bounded by the open windows.
//!
//! Ids stand in buckets of event time. A bucket that is old enough to be quiet is kept as a sorted list, 8 bytes an
//! id; one that no open window reaches any more is dropped.

use std::collections::VecDeque;

use hashbrown::HashSet;

/// Buckets in the longest interval: few enough to search, many enough to free memory in time.
const BUCKETS_PER_WINDOW: i64 = 64;
const BUCKET_MS_MIN: i64 = 1_000;

/// Ids of one symbol's trades in open windows, by exchange.
#[derive(Debug, Clone, Default)]
pub struct Ids {
    exchanges: Vec<(Box<str>, Buckets)>,
}

impl Ids {
    /// Remembers a trade. False if it was remembered before.
    pub fn insert(&mut self, exchange: &str, id: i64, time_ms: i64, bucket_ms: i64) -> bool {
        let known = self.exchanges.iter().position(|(name, _)| **name == *exchange);
        let index = known.unwrap_or_else(|| {
            self.exchanges.push((exchange.into(), Buckets::default()));
            self.exchanges.len() - 1
        });
        self.exchanges[index].1.insert(id, time_ms, bucket_ms)
    }

    /// Forgets buckets that end at or before `keep_ms`, and packs those that end at or before `quiet_ms`.
    pub fn expire(&mut self, keep_ms: i64, quiet_ms: i64, bucket_ms: i64) {
        for (_, buckets) in &mut self.exchanges {
            buckets.expire(keep_ms, quiet_ms, bucket_ms);
        }
        self.exchanges.retain(|(_, buckets)| !buckets.0.is_empty());
    }
}

/// Length of a bucket for a longest interval.
pub fn bucket_ms(longest_interval_ms: i64) -> i64 {
    (longest_interval_ms / BUCKETS_PER_WINDOW).max(BUCKET_MS_MIN)
}

#[derive(Debug, Clone, Default)]
struct Buckets(VecDeque<Bucket>);

#[derive(Debug, Clone)]
struct Bucket {
    start_ms: i64,
    /// Sorted, from before the bucket was packed.
    packed: Vec<i64>,
    recent: HashSet<i64>,
}

impl Buckets {
    fn insert(&mut self, id: i64, time_ms: i64, bucket_ms: i64) -> bool {
        let start_ms = time_ms - time_ms.rem_euclid(bucket_ms);
        let index = self.0.partition_point(|bucket| bucket.start_ms < start_ms);
        if self.0.get(index).is_none_or(|bucket| bucket.start_ms != start_ms) {
            self.0.insert(index, Bucket { start_ms, packed: Vec::new(), recent: HashSet::new() });
        }
        let bucket = &mut self.0[index];
        bucket.packed.binary_search(&id).is_err() && bucket.recent.insert(id)
    }

    fn expire(&mut self, keep_ms: i64, quiet_ms: i64, bucket_ms: i64) {
        while self.0.front().is_some_and(|bucket| bucket.start_ms + bucket_ms <= keep_ms) {
            self.0.pop_front();
        }
        for bucket in self.0.iter_mut().take_while(|bucket| bucket.start_ms + bucket_ms <= quiet_ms) {
            bucket.pack();
        }
    }
}

impl Bucket {
    fn pack(&mut self) {
        if !self.recent.is_empty() {
            self.packed.extend(std::mem::take(&mut self.recent));
            self.packed.sort_unstable();
            self.packed.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trade_is_new_once_until_its_bucket_is_forgotten() {
        let mut ids = Ids::default();
        assert!(ids.insert("a", 7, 1_500, 1_000));
        assert!(!ids.insert("a", 7, 1_500, 1_000));
        assert!(ids.insert("b", 7, 1_500, 1_000), "another exchange");
        ids.expire(0, 2_000, 1_000);
        assert!(!ids.insert("a", 7, 1_500, 1_000), "packed");
        assert!(ids.insert("a", 8, 1_500, 1_000), "late, but its longer window is open");
        assert!(!ids.insert("a", 8, 1_500, 1_000));
        ids.expire(2_000, 2_000, 1_000);
        assert!(ids.exchanges.is_empty(), "nothing is kept for closed windows");
    }
}
