//! The decision itself; see the parent.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Action, Decision, Facts, KEYS_LISTED_MAX, Live, LiveValue, Management, Ownership, Problem, Recorded,
    Replicas, Wanted, same_value,
};

const MIN_IN_SYNC: &str = "min.insync.replicas";

/// What to do about a topic. `live` is `None` when Kafka says that it does not exist.
pub fn decide(wanted: &Wanted, live: Option<&Live>, recorded: &Recorded) -> Decision {
    match (wanted.management, live) {
        (Management::Observe, None) => {
            Decision { problems: vec![Problem::Missing], recorded: recorded.clone(), ..Decision::default() }
        }
        (Management::Observe, Some(live)) => observed(wanted, live, recorded),
        (_, None) => creation(wanted, recorded),
        (management, Some(live)) => match stranger(management, live, recorded) {
            Some(problem) => {
                Decision { problems: vec![problem], usable: false, ..observed(wanted, live, recorded) }
            }
            None => upkeep(wanted, live, recorded),
        },
    }
}

/// Whether a topic may be deleted together with its resource: only if it is the one that we recorded.
pub fn may_delete(live: &Live, recorded: &Recorded) -> bool {
    match &recorded.ownership {
        Ownership::None => false,
        Ownership::Creating => true,
        Ownership::Ours(id) => is_same(id.as_ref(), live.id.as_ref()),
    }
}

/// Ids that are not known cannot differ.
fn is_same(recorded: Option<&String>, found: Option<&String>) -> bool {
    match (recorded, found) {
        (Some(recorded), Some(found)) => recorded == found,
        _ => true,
    }
}

/// Why a topic that exists is not ours to change.
fn stranger(management: Management, live: &Live, recorded: &Recorded) -> Option<Problem> {
    match (&recorded.ownership, &live.id) {
        _ if management == Management::Adopt => None,
        (Ownership::None, _) => Some(Problem::Exists),
        (Ownership::Ours(Some(recorded)), Some(found)) if recorded != found => {
            Some(Problem::Recreated { recorded: recorded.clone(), found: found.clone() })
        }
        _ => None,
    }
}

fn observed(wanted: &Wanted, live: &Live, recorded: &Recorded) -> Decision {
    Decision {
        facts: Some(facts(wanted, live, recorded)),
        recorded: recorded.clone(),
        usable: !live.partitions.is_empty(),
        ..Decision::default()
    }
}

fn creation(wanted: &Wanted, recorded: &Recorded) -> Decision {
    let intent = Recorded { ownership: Ownership::Creating, keys: wanted.config.keys().cloned().collect() };
    let mut actions = Vec::new();
    if *recorded != intent {
        actions.push(Action::Record(intent.clone()));
    }
    actions.push(Action::Create);
    let lost = matches!(recorded.ownership, Ownership::Ours(_));
    Decision { actions, recorded: intent, lost, ..Decision::default() }
}

fn upkeep(wanted: &Wanted, live: &Live, recorded: &Recorded) -> Decision {
    let mut actions = Vec::new();
    let mut problems = Vec::new();
    let ours = Ownership::Ours(live.id.clone());
    let keys: BTreeSet<String> = wanted.config.keys().cloned().collect();
    let changes = config_changes(wanted, live, recorded);
    if !changes.is_empty() {
        let all = Recorded { ownership: ours.clone(), keys: &keys | &recorded.keys };
        if all.keys != recorded.keys {
            // What is set without a record would stay for ever when the spec drops it.
            actions.push(Action::Record(all));
        }
        actions.push(Action::Alter(changes));
    }
    let (have, want) = (live.partitions.len(), wanted.partitions);
    if have > want {
        problems.push(Problem::MorePartitions { have, want });
    } else if have < want {
        match growth_blocked(wanted, live) {
            None => actions.push(Action::Grow { from: have, to: want }),
            Some(why) => problems.push(Problem::GrowthBlocked(why)),
        }
    }
    problems.extend(replication_problem(wanted, live));
    Decision {
        actions,
        problems,
        facts: Some(facts(wanted, live, recorded)),
        recorded: Recorded { ownership: ours, keys },
        usable: have > 0,
        lost: false,
    }
}

/// What has to hold before partitions are added.
///
/// Symbols move to other partitions then. No drain is needed: the producer publishes a moved symbol's open windows anew,
/// from the exchange's history, on the new partition, and the windows before them are final on the old one whenever
/// its consumer gets there. Two things are needed: brokers that can take the records, or the gap would have no end, and
/// a group that reads new partitions from their start.
fn growth_blocked(wanted: &Wanted, live: &Live) -> Option<String> {
    if let Some(why) = &wanted.growth_forbidden {
        return Some(why.clone());
    }
    let min = min_in_sync(wanted, live);
    let sick = live.partitions.iter().filter(|replicas| !is_available(replicas, min)).count();
    (sick > 0).then(|| {
        format!(
            "{sick} of {} partitions have too few in-sync replicas; it goes on when they are back",
            live.partitions.len()
        )
    })
}

fn config_changes(wanted: &Wanted, live: &Live, recorded: &Recorded) -> BTreeMap<String, Option<String>> {
    let set = wanted.config.iter().filter(|(key, value)| !has(live, key, value, recorded));
    let set = set.map(|(key, value)| (key.clone(), Some(value.clone())));
    let dropped = recorded.keys.iter().filter(|key| {
        !wanted.config.contains_key(*key) && live.config.get(*key).is_some_and(|value| value.is_set)
    });
    set.chain(dropped.map(|key| (key.clone(), None))).collect()
}

/// Whether a key has that value, and was set at least once: an inherited value that is equal today may differ
/// tomorrow. Once is enough, since some brokers show a key that was set to their default as inherited.
fn has(live: &Live, key: &str, value: &str, recorded: &Recorded) -> bool {
    match live.config.get(key) {
        Some(LiveValue { value: Some(found), is_set }) => {
            same_value(found, value) && (*is_set || recorded.keys.contains(key))
        }
        // The broker does not show it: setting it in every round would never end.
        Some(LiveValue { value: None, is_set }) => *is_set,
        None => false,
    }
}

fn replication_problem(wanted: &Wanted, live: &Live) -> Option<Problem> {
    let want = wanted.replication_factor;
    let differing = live.partitions.iter().enumerate().filter(|(_, replicas)| replicas.total != want);
    let partitions: Vec<usize> = differing.map(|(partition, _)| partition).take(KEYS_LISTED_MAX).collect();
    let (least, most) = replica_range(live);
    (!partitions.is_empty()).then_some(Problem::ReplicationFactor { least, most, want, partitions })
}

fn replica_range(live: &Live) -> (usize, usize) {
    let totals = || live.partitions.iter().map(|replicas| replicas.total);
    (totals().min().unwrap_or(0), totals().max().unwrap_or(0))
}

fn min_in_sync(wanted: &Wanted, live: &Live) -> usize {
    let found = live.config.get(MIN_IN_SYNC).and_then(|value| value.value.as_ref());
    let value = found.or_else(|| wanted.config.get(MIN_IN_SYNC));
    value.and_then(|value| value.parse().ok()).unwrap_or(1)
}

fn is_available(replicas: &Replicas, min_in_sync: usize) -> bool {
    replicas.has_leader && replicas.in_sync >= min_in_sync
}

fn facts(wanted: &Wanted, live: &Live, recorded: &Recorded) -> Facts {
    let (replicas_least, replicas_most) = replica_range(live);
    let min = min_in_sync(wanted, live);
    let count = |test: &dyn Fn(&Replicas) -> bool| live.partitions.iter().filter(|r| test(r)).count();
    let differing = wanted.config.iter().filter_map(|(key, value)| {
        let found = live.config.get(key);
        let shown = found.map_or("absent", |found| found.value.as_deref().unwrap_or("hidden"));
        let differs =
            found.is_none_or(|found| found.value.as_ref().is_some_and(|found| !same_value(found, value)));
        differs.then(|| (key.clone(), shown.to_owned()))
    });
    let foreign = live.config.iter().filter(|(key, value)| {
        value.is_set && !wanted.config.contains_key(*key) && !recorded.keys.contains(*key)
    });
    Facts {
        partitions: live.partitions.len(),
        replicas_least,
        replicas_most,
        under_replicated: count(&|replicas| replicas.in_sync < replicas.total),
        unavailable: count(&|replicas| !is_available(replicas, min)),
        id: live.id.clone(),
        differing: differing.take(KEYS_LISTED_MAX).collect(),
        foreign: foreign.map(|(key, _)| key.clone()).take(KEYS_LISTED_MAX).collect(),
    }
}
