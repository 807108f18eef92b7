//! Which trades are in open windows already: ids in, "seen before?" out, bounded by the open windows.
//!
//! Ids stand in buckets of event time. They nearly rise, so that a bucket is a sorted list to which most are
//! appended. A bucket that is old enough to be quiet is packed to the differences of its ids, one or two bytes each;
//! one that no open window reaches any more is dropped.
//!
//! - A packed bucket still knows all of its ids, and takes more. (`behaves_like_a_set`)

use std::collections::{BTreeSet, VecDeque};

/// Buckets in the longest window, at most: as long as they are short, little is unpacked.
const BUCKETS_PER_WINDOW: i64 = 4_096;
const BUCKET_MS_MIN: i64 = 1_000;
/// An id that belongs further before the end of the list than this stands apart: moving the rest would cost more.
const MOVE_MAX: usize = 512;

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
        self.exchanges[index].1.bucket(time_ms, bucket_ms).insert(id)
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

#[derive(Debug, Clone, Default)]
struct Bucket {
    start_ms: i64,
    /// Rising.
    list: Vec<i64>,
    /// Ids that came far out of order.
    strays: BTreeSet<i64>,
    packed: Packed,
}

impl Buckets {
    fn bucket(&mut self, time_ms: i64, bucket_ms: i64) -> &mut Bucket {
        let newest = self.0.len().wrapping_sub(1);
        let in_newest = |bucket: &Bucket| (bucket.start_ms..bucket.start_ms + bucket_ms).contains(&time_ms);
        if self.0.back().is_some_and(in_newest) {
            return &mut self.0[newest];
        }
        let start_ms = time_ms - time_ms.rem_euclid(bucket_ms);
        let index = self.0.partition_point(|bucket| bucket.start_ms < start_ms);
        if self.0.get(index).is_none_or(|bucket| bucket.start_ms != start_ms) {
            self.0.insert(index, Bucket { start_ms, ..Bucket::default() });
        }
        &mut self.0[index]
    }

    fn expire(&mut self, keep_ms: i64, quiet_ms: i64, bucket_ms: i64) {
        while self.0.front().is_some_and(|bucket| bucket.start_ms + bucket_ms <= keep_ms) {
            self.0.pop_front();
        }
        // Older ones were packed before, but for what came late.
        let quiet = self.0.partition_point(|bucket| bucket.start_ms + bucket_ms <= quiet_ms);
        for bucket in self.0.range_mut(..quiet).rev().take_while(|bucket| !bucket.list.is_empty()) {
            bucket.pack();
        }
    }
}

impl Bucket {
    fn insert(&mut self, id: i64) -> bool {
        if self.list.last().is_none_or(|last| id > *last) {
            let new = (self.strays.is_empty() || !self.strays.contains(&id)) && !self.packed.contains(id);
            if new {
                self.list.push(id);
            }
            return new;
        }
        match self.list.binary_search(&id) {
            Ok(_) => false,
            Err(_) if self.packed.contains(id) => false,
            Err(place) if self.list.len() - place <= MOVE_MAX && !self.strays.contains(&id) => {
                self.list.insert(place, id);
                true
            }
            Err(_) => self.strays.insert(id),
        }
    }

    fn pack(&mut self) {
        let mut ids = std::mem::take(&mut self.list);
        ids.extend(std::mem::take(&mut self.strays));
        ids.extend(self.packed.iter());
        ids.sort_unstable();
        self.packed = Packed::new(&ids);
    }
}

/// Rising ids as differences, seven bits a byte, the highest bit set where more follow.
#[derive(Debug, Clone, Default)]
struct Packed(Box<[u8]>);

impl Packed {
    fn new(ids: &[i64]) -> Self {
        let mut bytes = Vec::with_capacity(ids.len() * 2);
        let mut last = 0;
        for &id in ids {
            // Ids are never negative, so that differences are not either.
            let mut rest = (id - last) as u64;
            while rest >= 0x80 {
                bytes.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
            last = id;
        }
        Self(bytes.into())
    }

    fn iter(&self) -> impl Iterator<Item = i64> {
        let mut bytes = self.0.iter();
        let mut last = 0;
        std::iter::from_fn(move || {
            let (mut difference, mut shift) = (0, 0);
            loop {
                let byte = *bytes.next()?;
                difference |= i64::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    last += difference;
                    return Some(last);
                }
                shift += 7;
            }
        })
    }

    fn contains(&self, id: i64) -> bool {
        !self.0.is_empty() && self.iter().take_while(|&other| other <= id).any(|other| other == id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn behaves_like_a_set(steps in proptest::collection::vec((any::<bool>(), 0..3_000_i64, any::<bool>()), 1..2_000)) {
            let (mut bucket, mut set, mut rising) = (Bucket::default(), BTreeSet::new(), 0);
            for (ordered, jump, pack) in steps {
                rising += jump % 7;
                let id = if ordered { rising } else { jump };
                prop_assert_eq!(bucket.insert(id), set.insert(id));
                if pack && jump % 100 == 0 {
                    bucket.pack();
                }
            }
            bucket.pack();
            prop_assert!(bucket.packed.iter().eq(set));
        }
    }

    #[test]
    fn packed_ids_take_about_two_bytes() {
        let ids: Vec<i64> = (0..1_000).map(|i| 1_500_000_000 + i * 150).collect();
        assert!(Packed::new(&ids).0.len() < 2_020);
    }

    #[test]
    fn packed_ids_may_be_as_large_as_they_get() {
        let ids = [0, 1, i64::MAX - 1, i64::MAX];
        assert!(Packed::new(&ids).iter().eq(ids));
    }
}
