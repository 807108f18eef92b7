//! Which resource may have a topic: the claims of all resources in, for each of them the older one that it must yield to
//! out. Kept up to date by the watch of the resources; nothing here reads or writes.
//!
//! Two resources claim the same topic when one of their names is the same (a topic or its dead letter topic) and their
//! clusters may be the same: a broker in common, or the same cluster id. The oldest wins, so a resource that runs never
//! loses its topic to a new one; equal ages are told apart by name. (`the_oldest_claim_wins_and_inheritors_are_named`)

use std::collections::{BTreeMap, BTreeSet};

/// Namespace and name of a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What one resource claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// When the resource was created, seconds since 1970.
    pub created_s: i64,
    /// `host:port` of its brokers, in lower case.
    pub brokers: BTreeSet<String>,
    /// Names of its topics.
    pub topics: Vec<String>,
}

/// The claims of all resources.
#[derive(Debug, Default)]
pub struct Claims {
    by_key: BTreeMap<Key, Claim>,
    by_topic: BTreeMap<String, BTreeSet<Key>>,
    /// The cluster that each broker belongs to, where that is known.
    clusters: BTreeMap<String, String>,
}

impl Claims {
    /// A resource claims these topics now. Returns others whose standing may have changed.
    pub fn set(&mut self, key: &Key, claim: Claim) -> BTreeSet<Key> {
        if self.by_key.get(key) == Some(&claim) {
            return BTreeSet::new();
        }
        let mut others = self.remove(key);
        for topic in &claim.topics {
            let keys = self.by_topic.entry(topic.clone()).or_default();
            others.extend(keys.iter().cloned());
            keys.insert(key.clone());
        }
        self.by_key.insert(key.clone(), claim);
        others.remove(key);
        others
    }

    /// A resource is gone, or claims nothing. Returns others whose standing may have changed.
    pub fn remove(&mut self, key: &Key) -> BTreeSet<Key> {
        let mut others = BTreeSet::new();
        for topic in self.by_key.remove(key).into_iter().flat_map(|claim| claim.topics) {
            if let Some(keys) = self.by_topic.get_mut(&topic) {
                keys.remove(key);
                others.extend(keys.iter().cloned());
                if keys.is_empty() {
                    self.by_topic.remove(&topic);
                }
            }
        }
        others
    }

    /// These brokers belong to the cluster with that id.
    pub fn learn(&mut self, brokers: &BTreeSet<String>, cluster_id: &str) {
        for broker in brokers {
            self.clusters.insert(broker.clone(), cluster_id.to_owned());
        }
    }

    /// Keeps only the resources that exist, after the watch began anew. Returns others that may have changed.
    pub fn retain(&mut self, exists: &BTreeSet<Key>) -> BTreeSet<Key> {
        let gone: Vec<Key> = self.by_key.keys().filter(|key| !exists.contains(key)).cloned().collect();
        gone.iter().flat_map(|key| self.remove(key)).filter(|key| exists.contains(key)).collect()
    }

    /// The resource that `key` must leave a topic to, and the topic.
    pub fn older(&self, key: &Key) -> Option<(Key, String)> {
        let own = self.by_key.get(key)?;
        own.topics.iter().find_map(|topic| {
            let rivals = self.by_topic.get(topic)?.iter().filter(|rival| *rival != key);
            let rivals = rivals.filter_map(|rival| Some((rival, self.by_key.get(rival)?)));
            let older = rivals.filter(|(rival, claim)| {
                (claim.created_s, *rival) < (own.created_s, key) && self.may_be_one_cluster(own, claim)
            });
            let (oldest, _) = older.min_by_key(|(rival, claim)| (claim.created_s, *rival))?;
            Some((oldest.clone(), topic.clone()))
        })
    }

    fn may_be_one_cluster(&self, a: &Claim, b: &Claim) -> bool {
        let id = |claim: &Claim| claim.brokers.iter().find_map(|broker| self.clusters.get(broker));
        !a.brokers.is_disjoint(&b.brokers) || matches!((id(a), id(b)), (Some(a), Some(b)) if a == b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { namespace: "ns".to_owned(), name: name.to_owned() }
    }

    fn claim(created_s: i64, broker: &str, topics: &[&str]) -> Claim {
        Claim {
            created_s,
            brokers: [broker.to_owned()].into(),
            topics: topics.iter().map(|&topic| topic.to_owned()).collect(),
        }
    }

    #[test]
    fn the_oldest_claim_wins_and_inheritors_are_named() {
        let mut claims = Claims::default();
        assert_eq!(claims.set(&key("b"), claim(20, "k:9092", &["t", "t-dlq"])), BTreeSet::new());
        assert_eq!(claims.set(&key("a"), claim(10, "k:9092", &["t"])), [key("b")].into());
        assert_eq!(claims.set(&key("a"), claim(10, "k:9092", &["t"])), BTreeSet::new(), "no news");
        assert_eq!(claims.older(&key("b")), Some((key("a"), "t".to_owned())));
        assert_eq!(claims.older(&key("a")), None);
        assert_eq!(claims.remove(&key("a")), [key("b")].into());
        assert_eq!(claims.older(&key("b")), None);
    }

    #[test]
    fn equal_ages_are_told_apart_and_a_dead_letter_topic_counts() {
        let mut claims = Claims::default();
        claims.set(&key("a"), claim(10, "k:9092", &["x", "x-dlq"]));
        claims.set(&key("b"), claim(10, "k:9092", &["x-dlq", "x-dlq-dlq"]));
        assert_eq!(claims.older(&key("b")), Some((key("a"), "x-dlq".to_owned())));
        assert_eq!(claims.older(&key("a")), None);
    }

    #[test]
    fn other_clusters_do_not_count_until_they_prove_to_be_the_same() {
        let mut claims = Claims::default();
        claims.set(&key("a"), claim(10, "k-0:9092", &["t"]));
        claims.set(&key("b"), claim(20, "k-1:9092", &["t"]));
        assert_eq!(claims.older(&key("b")), None);
        claims.learn(&["k-0:9092".to_owned()].into(), "id");
        claims.learn(&["k-1:9092".to_owned()].into(), "id");
        assert_eq!(claims.older(&key("b")), Some((key("a"), "t".to_owned())));
    }

    #[test]
    fn what_the_new_watch_does_not_show_claims_nothing() {
        let mut claims = Claims::default();
        claims.set(&key("a"), claim(10, "k:9092", &["t"]));
        claims.set(&key("b"), claim(20, "k:9092", &["t"]));
        assert_eq!(claims.retain(&[key("b")].into()), [key("b")].into());
        assert_eq!(claims.older(&key("b")), None);
    }
}
