//! Ids of the recent trades of one symbol. Ids in, "seen before?" out; memory bounded by
//! [`RECENT_IDS_MAX`] twice.
//!
//! Two generations: ids enter the younger one; when that is full or spans [`RECENT_MS`], the older one is
//! forgotten. So an id is known for at least a generation, and nothing is ever removed one by one.
//! - Agrees with a set of all ids within a generation. (`knows_every_id_of_a_generation`)

use super::limits::{RECENT_IDS_MAX, RECENT_MS};

/// Marks an empty slot; ids are never negative.
const EMPTY: i64 = -1;
const SLOTS_MIN: usize = 64;

#[derive(Debug, Default)]
struct Generation {
    /// Open addressing with linear probing; a power of two, at most half full.
    slots: Vec<i64>,
    ids: usize,
    first_ms: i64,
}

/// The ids of the last minute or two.
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
        if self.younger.ids == 0 {
            self.younger.first_ms = time_ms;
        } else if self.younger.ids >= RECENT_IDS_MAX || time_ms - self.younger.first_ms >= RECENT_MS {
            std::mem::swap(&mut self.younger, &mut self.older);
            self.younger.clear();
            self.younger.first_ms = time_ms;
        }
        self.younger.insert(id);
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
    #[inline]
    fn at(&self, id: i64) -> usize {
        // Multiplicative hashing (Knuth): ids rise by small steps.
        let hash = (id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> 32) as usize & (self.slots.len() - 1)
    }

    #[inline]
    fn contains(&self, id: i64) -> bool {
        if self.ids == 0 {
            return false;
        }
        let mut at = self.at(id);
        loop {
            match self.slots[at] {
                EMPTY => return false,
                found if found == id => return true,
                _ => at = (at + 1) & (self.slots.len() - 1),
            }
        }
    }

    /// The id is not in it.
    #[inline]
    fn insert(&mut self, id: i64) {
        if self.ids * 2 >= self.slots.len() {
            self.grow();
        }
        let mut at = self.at(id);
        while self.slots[at] != EMPTY {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = id;
        self.ids += 1;
    }

    #[cold]
    fn grow(&mut self) {
        let slots = (self.slots.len() * 2).max(SLOTS_MIN);
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; slots]);
        self.ids = 0;
        for id in old.into_iter().filter(|&id| id != EMPTY) {
            self.insert(id);
        }
    }

    fn clear(&mut self) {
        // A symbol that was busy once does not keep its memory for ever.
        if self.slots.len() > 8 * SLOTS_MIN && self.ids * 8 < self.slots.len() {
            self.slots = Vec::new();
        }
        self.slots.fill(EMPTY);
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
        recent.clear();
        assert!(!recent.contains(9 + 4 * RECENT_IDS_MAX as i64));
    }
}
