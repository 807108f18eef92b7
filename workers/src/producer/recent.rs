//! Ids of the recent trades of one symbol. Ids in, "seen before?" out; memory bounded by
//! [`RECENT_IDS_MAX`] twice.
//!
//! Two generations: ids enter the younger one; when that is full or spans [`RECENT_MS`], the older one is
//! forgotten. So an id is known for at least a generation, and nothing is ever removed one by one.
//! - Agrees with a set of all ids within a generation. (`knows_every_id_of_a_generation`)

use super::limits::{RECENT_IDS_MAX, RECENT_MS};

const SLOTS_MIN: usize = 64;

#[derive(Debug, Default)]
struct Generation {
    /// Distance of an id from `base`, plus 1; 0: empty. Open addressing with linear probing; a power of two, at most
    /// three quarters full.
    slots: Vec<u32>,
    ids: usize,
    base: i64,
    first_ms: i64,
}

/// The ids of the last quarter or half of a minute.
#[derive(Debug, Default)]
pub struct RecentIds {
    younger: Generation,
    older: Generation,
}

impl RecentIds {
    /// Remembers the id of a trade of `time_ms`. False: it was known.
    #[inline]
    pub fn insert(&mut self, id: i64, time_ms: i64) -> bool {
        if self.contains(id) {
            return false;
        }
        let young = &self.younger;
        let over = young.ids >= RECENT_IDS_MAX || time_ms - young.first_ms >= RECENT_MS;
        if young.ids == 0 {
            self.younger.start(id, time_ms);
        } else if over || young.key(id).is_none() {
            std::mem::swap(&mut self.younger, &mut self.older);
            self.younger.clear();
            self.younger.start(id, time_ms);
        }
        if let Some(key) = self.younger.key(id) {
            self.younger.insert(key);
        }
        true
    }

    /// Whether the id is known.
    #[inline]
    pub fn contains(&self, id: i64) -> bool {
        self.younger.contains(id) || self.older.contains(id)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.younger.clear();
        self.older.clear();
    }
}

impl Generation {
    /// The first id. Those of a generation lie around it: ids rise over the whole exchange.
    fn start(&mut self, id: i64, time_ms: i64) {
        self.base = id.saturating_sub(i64::from(u32::MAX / 4));
        self.first_ms = time_ms;
    }

    /// The id as it is kept; `None`: too far from the others.
    #[inline]
    fn key(&self, id: i64) -> Option<u32> {
        let distance = u32::try_from(id.checked_sub(self.base)?).ok()?;
        distance.checked_add(1)
    }

    #[inline]
    fn at(&self, key: u32) -> usize {
        // Multiplicative hashing (Knuth): ids rise by small steps.
        let hash = u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> 32) as usize & (self.slots.len() - 1)
    }

    #[inline]
    fn contains(&self, id: i64) -> bool {
        if self.ids == 0 {
            return false;
        }
        let Some(key) = self.key(id) else { return false };
        let mut at = self.at(key);
        loop {
            match self.slots[at] {
                0 => return false,
                found if found == key => return true,
                _ => at = (at + 1) & (self.slots.len() - 1),
            }
        }
    }

    /// The key is not in it.
    #[inline]
    fn insert(&mut self, key: u32) {
        if self.ids * 4 >= self.slots.len() * 3 {
            self.grow();
        }
        let mut at = self.at(key);
        while self.slots[at] != 0 {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = key;
        self.ids += 1;
    }

    #[cold]
    fn grow(&mut self) {
        let slots = (self.slots.len() * 2).max(SLOTS_MIN);
        let old = std::mem::replace(&mut self.slots, vec![0; slots]);
        self.ids = 0;
        for key in old.into_iter().filter(|&key| key != 0) {
            self.insert(key);
        }
    }

    fn clear(&mut self) {
        // A symbol that was busy once does not keep its memory for ever.
        if self.slots.len() > 8 * SLOTS_MIN && self.ids * 8 < self.slots.len() {
            self.slots = Vec::new();
        }
        self.slots.fill(0);
        self.ids = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn knows_every_id_of_a_generation(ids in proptest::collection::vec(0_i64..5_000, 0..3_000)) {
            let (mut recent, mut all) = (RecentIds::default(), HashSet::new());
            for id in ids {
                prop_assert_eq!(recent.contains(id), all.contains(&id));
                prop_assert_eq!(recent.insert(id, 1_000 + id), all.insert(id));
            }
        }
    }

    #[test]
    fn forgets_by_time_and_by_number() {
        let mut recent = RecentIds::default();
        recent.insert(1, 0);
        recent.insert(2, RECENT_MS);
        assert!(recent.contains(1), "one generation back");
        recent.insert(3, 2 * RECENT_MS);
        assert!(!recent.contains(1) && recent.contains(2));
        for id in 0..4 * RECENT_IDS_MAX as i64 {
            recent.insert(10 + id, 3 * RECENT_MS);
        }
        assert!(recent.younger.slots.len() + recent.older.slots.len() <= 4 * RECENT_IDS_MAX);
        assert!(!recent.contains(10));
        recent.insert(i64::MAX, 3 * RECENT_MS);
        assert!(recent.contains(i64::MAX), "far from the others");
        recent.clear();
        assert!(!recent.contains(9 + 4 * RECENT_IDS_MAX as i64));
    }
}
