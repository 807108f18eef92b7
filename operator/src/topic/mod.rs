//! One topic: what the spec wants, what Kafka shows and what was recorded in; the changes to make and what the status
//! should say out. Pure: no client, no clock, equal inputs give equal answers.
//! - A topic that exists and that nothing recorded as ours is not touched. (`a_foreign_topic_is_refused`)
//! - An intent is recorded before a topic is created, so a crash in between leaves no stranger.
//!   (`a_topic_made_before_a_crash_is_ours`)
//! - Partitions never shrink, replication factors never change. (`nothing_ever_shrinks_or_replicates`)
//! - Only keys that the spec names, or named before, are altered. (`foreign_keys_stay`)
//! - Doing what is asked leaves nothing to do. (`obeying_once_is_enough`)

pub mod claims;
mod decide;
mod values;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use self::{
    decide::{decide, may_delete},
    values::same_value,
};

/// Most differing or foreign keys that are listed.
pub const KEYS_LISTED_MAX: usize = 20;

/// Who decides about a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Management {
    /// The operator creates it and keeps it; one that was there before is refused.
    Managed,
    /// The same, and one that is there is taken over.
    Adopt,
    /// The operator only looks.
    Observe,
}

/// A topic as the spec wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// How many partitions, 1 or more.
    pub partitions: usize,
    /// Replicas of each partition.
    pub replication_factor: usize,
    /// Keys that the spec names, with their values.
    pub config: BTreeMap<String, String>,
    /// Who decides.
    pub management: Management,
    /// Why partitions must not be added now, by what the spec says.
    pub growth_forbidden: Option<String>,
}

/// A topic as the brokers show it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Live {
    /// Its id, as Kafka's own tools write it. `None` from brokers before 2.8.
    pub id: Option<String>,
    /// Its partitions.
    pub partitions: Vec<Replicas>,
    /// Its configuration, keys that are inherited included.
    pub config: BTreeMap<String, LiveValue>,
}

/// Replicas of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replicas {
    /// Whether one of them leads.
    pub has_leader: bool,
    /// How many there are.
    pub total: usize,
    /// How many are in sync.
    pub in_sync: usize,
}

/// Value of a configuration key of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveValue {
    /// Absent for sensitive keys.
    pub value: Option<String>,
    /// Set on this topic, rather than inherited from the brokers.
    pub is_set: bool,
}

/// What the status of the resource says that we have done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recorded {
    /// Whether the topic is ours.
    pub ownership: Ownership,
    /// Keys that we set, so that they can be removed when the spec names them no more.
    pub keys: BTreeSet<String>,
}

/// Whether a topic is ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Ownership {
    /// Nothing was recorded.
    #[default]
    None,
    /// It did not exist when we looked, and we were about to create it.
    Creating,
    /// It is ours; its id, unless the brokers have none.
    Ours(Option<String>),
}

/// One change, to be made before those that follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write this to the status.
    Record(Recorded),
    /// Create the topic as wanted.
    Create,
    /// Set keys that have a value, remove the others.
    Alter(BTreeMap<String, Option<String>>),
    /// Add partitions.
    Grow {
        /// Partitions now.
        from: usize,
        /// Partitions then.
        to: usize,
    },
}

/// Why the topic is not, or not fully, as wanted. Nothing that runs is ever torn down for one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// It exists, and nothing says that it is ours.
    Exists,
    /// It was deleted and made anew by somebody else.
    Recreated {
        /// The id that we recorded.
        recorded: String,
        /// The one that it has.
        found: String,
    },
    /// It does not exist, and we only look.
    Missing,
    /// It has more partitions than wanted.
    MorePartitions {
        /// Partitions now.
        have: usize,
        /// Partitions wanted.
        want: usize,
    },
    /// Partitions are to be added, and this forbids it for now.
    GrowthBlocked(String),
    /// Some partitions have another number of replicas than wanted.
    ReplicationFactor {
        /// Fewest replicas of a partition.
        least: usize,
        /// Most replicas of a partition.
        most: usize,
        /// Replicas wanted.
        want: usize,
        /// The first of the partitions concerned.
        partitions: Vec<usize>,
    },
}

/// What the status should say about the topic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Partitions now.
    pub partitions: usize,
    /// Fewest replicas of a partition.
    pub replicas_least: usize,
    /// Most replicas of a partition.
    pub replicas_most: usize,
    /// Partitions with fewer in-sync replicas than replicas.
    pub under_replicated: usize,
    /// Partitions with fewer in-sync replicas than `min.insync.replicas`, or no leader: nothing can be published.
    pub unavailable: usize,
    /// The topic's id.
    pub id: Option<String>,
    /// Keys with another value than wanted: first the key, then what it has.
    pub differing: Vec<(String, String)>,
    /// Keys that somebody else set.
    pub foreign: Vec<String>,
}

/// What to do, and what to say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    /// In order; the topic is looked at again after the last.
    pub actions: Vec<Action>,
    /// All that is not as wanted and that no action mends.
    pub problems: Vec<Problem>,
    /// What it is like; `None` while it does not exist.
    pub facts: Option<Facts>,
    /// What to record when all actions are done.
    pub recorded: Recorded,
    /// It exists and may be used by this pipeline.
    pub usable: bool,
    /// It was ours and is gone; its records are lost. It is made again, empty.
    pub lost: bool,
}
