//! Decisions obeyed on a broker made of maps: what a broker would do, and nothing that the decision relies on.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const MIN: &str = "min.insync.replicas";

fn wanted(partitions: usize, config: &[(&str, &str)]) -> Wanted {
    Wanted {
        name: "trades".to_owned(),
        partitions,
        replication_factor: 3,
        config: config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        management: Management::Managed,
        growth_forbidden: None,
    }
}

fn live_topic(id: &str, partitions: usize, config: &[(&str, &str)]) -> Live {
    let set = |value: &str| LiveValue { value: Some(value.to_owned()), is_set: true };
    Live {
        id: Some(id.to_owned()),
        partitions: vec![Replicas { has_leader: true, total: 3, in_sync: 3 }; partitions],
        config: config.iter().map(|(key, value)| ((*key).to_owned(), set(value))).collect(),
    }
}

fn ours(id: &str, keys: &[&str]) -> Recorded {
    Recorded {
        ownership: Ownership::Ours(Some(id.to_owned())),
        keys: keys.iter().map(|&key| key.to_owned()).collect(),
    }
}

/// Does what a decision asks for, as a broker and an API server would.
fn obey(wanted: &Wanted, live: &mut Option<Live>, recorded: &mut Recorded) -> Decision {
    let decision = decide(wanted, live.as_ref(), recorded);
    for action in &decision.actions {
        match action {
            Action::Create => {
                assert!(live.is_none(), "created over a topic that exists");
                assert_eq!(recorded.ownership, Ownership::Creating, "created without a recorded intent");
            }
            Action::Alter(changes) => {
                for (key, _) in changes.iter().filter(|(_, value)| value.is_some()) {
                    assert!(recorded.keys.contains(key), "{key} set without a record");
                }
            }
            Action::Grow { from, to } => {
                assert_eq!(Some(*from), live.as_ref().map(|live| live.partitions.len()));
                assert!(to > from, "partitions never shrink");
            }
            Action::Record(_) => {}
        }
        one(action, wanted, live, recorded);
    }
    decision
}

/// Obeys until there is nothing to do, as the controller does, and records what the last decision says.
fn settle(wanted: &Wanted, live: &mut Option<Live>, recorded: &mut Recorded) -> Decision {
    for _ in 0..3 {
        let decision = obey(wanted, live, recorded);
        if decision.actions.is_empty() {
            *recorded = decision.recorded.clone();
            return decision;
        }
    }
    panic!("there is always something to do: {:?}", decide(wanted, live.as_ref(), recorded));
}

#[test]
fn a_new_topic_is_recorded_then_created() {
    let wanted = wanted(3, &[(MIN, "2")]);
    let decision = decide(&wanted, None, &Recorded::default());
    let [Action::Record(record), Action::Create] = &decision.actions[..] else { panic!("{decision:?}") };
    assert_eq!(record.ownership, Ownership::Creating);
    assert!(!decision.usable && !decision.lost);
    let (mut live, mut recorded) = (None, Recorded::default());
    let decision = settle(&wanted, &mut live, &mut recorded);
    assert!(decision.usable && decision.problems.is_empty(), "{decision:?}");
    assert_eq!(recorded, ours("new", &[MIN]));
}

#[test]
fn a_foreign_topic_is_refused() {
    let foreign = live_topic("theirs", 1, &[("retention.ms", "1")]);
    let wanted = wanted(3, &[("retention.ms", "2")]);
    let decision = decide(&wanted, Some(&foreign), &Recorded::default());
    assert_eq!((decision.actions, decision.problems), (vec![], vec![Problem::Exists]));
    assert!(!decision.usable);
    assert!(!may_delete(&foreign, &Recorded::default()));
    let adopted = Wanted { management: Management::Adopt, ..wanted };
    let (mut live, mut recorded) = (Some(foreign), Recorded::default());
    assert!(settle(&adopted, &mut live, &mut recorded).usable);
    assert_eq!(recorded, ours("theirs", &["retention.ms"]));
}

#[test]
fn a_topic_made_before_a_crash_is_ours() {
    let wanted = wanted(3, &[]);
    let recorded = Recorded { ownership: Ownership::Creating, ..Recorded::default() };
    let decision = decide(&wanted, Some(&live_topic("new", 3, &[])), &recorded);
    assert!(decision.usable && decision.problems.is_empty(), "{decision:?}");
    assert_eq!(decision.recorded.ownership, Ownership::Ours(Some("new".to_owned())));
}

#[test]
fn a_topic_that_somebody_made_anew_is_reported_and_left_alone() {
    let decision = decide(&wanted(3, &[]), Some(&live_topic("other", 1, &[])), &ours("mine", &[]));
    let recreated = Problem::Recreated { recorded: "mine".to_owned(), found: "other".to_owned() };
    assert_eq!((decision.actions, decision.problems), (vec![], vec![recreated]));
    assert!(!may_delete(&live_topic("other", 1, &[]), &ours("mine", &[])));
    assert!(may_delete(&live_topic("mine", 1, &[]), &ours("mine", &[])));
}

#[test]
fn a_topic_that_somebody_deleted_is_made_again_and_said() {
    let wanted = wanted(3, &[]);
    let decision = decide(&wanted, None, &ours("mine", &[]));
    assert!(decision.lost && decision.actions.contains(&Action::Create), "{decision:?}");
    let (mut live, mut recorded) = (None, ours("mine", &[]));
    assert!(settle(&wanted, &mut live, &mut recorded).usable);
    assert_eq!(recorded, ours("new", &[]));
}

#[test]
fn observed_topics_are_never_written() {
    let wanted = Wanted { management: Management::Observe, ..wanted(3, &[(MIN, "2")]) };
    let decision = decide(&wanted, None, &Recorded::default());
    assert_eq!((decision.actions, decision.problems), (vec![], vec![Problem::Missing]));
    let found = live_topic("theirs", 1, &[(MIN, "1")]);
    let decision = decide(&wanted, Some(&found), &Recorded::default());
    assert_eq!(decision.actions, vec![]);
    assert!(decision.usable);
    assert_eq!(decision.facts.unwrap().differing, [(MIN.to_owned(), "1".to_owned())]);
}

#[test]
fn growth_waits_for_replicas_and_for_a_group_that_reads_new_partitions() {
    let mut sick = live_topic("mine", 2, &[(MIN, "2")]);
    sick.partitions[1].in_sync = 1;
    let wanted = wanted(3, &[(MIN, "2")]);
    let decision = decide(&wanted, Some(&sick), &ours("mine", &[MIN]));
    assert_eq!(decision.actions, vec![]);
    assert!(
        matches!(&decision.problems[..], [Problem::GrowthBlocked(why)] if why.contains("1 of 2")),
        "{decision:?}"
    );
    let well = live_topic("mine", 2, &[(MIN, "2")]);
    let decision = decide(&wanted, Some(&well), &ours("mine", &[MIN]));
    assert_eq!(decision.actions, [Action::Grow { from: 2, to: 3 }]);
    let forbidden = Wanted { growth_forbidden: Some("Latest".to_owned()), ..wanted };
    let decision = decide(&forbidden, Some(&well), &ours("mine", &[MIN]));
    assert_eq!(decision.problems, [Problem::GrowthBlocked("Latest".to_owned())]);
}

#[test]
fn a_key_that_the_spec_drops_goes_back_to_its_default() {
    let before = wanted(3, &[(MIN, "2"), ("retention.ms", "1000")]);
    let after = wanted(3, &[(MIN, "2")]);
    let (mut live, mut recorded) = (None, Recorded::default());
    settle(&before, &mut live, &mut recorded);
    settle(&after, &mut live, &mut recorded);
    assert_eq!(live.unwrap().config.keys().collect::<Vec<_>>(), [MIN]);
    assert_eq!(recorded, ours("new", &[MIN]));
}

#[test]
fn a_broker_that_shows_its_default_as_inherited_is_not_asked_for_ever() {
    let mut shown = live_topic("mine", 3, &[("retention.ms", "604800000")]);
    shown.config.get_mut("retention.ms").unwrap().is_set = false;
    let wanted = wanted(3, &[("retention.ms", "604800000")]);
    assert_eq!(decide(&wanted, Some(&shown), &ours("mine", &["retention.ms"])).actions, vec![]);
    assert_ne!(decide(&wanted, Some(&shown), &ours("mine", &[])).actions, vec![]);
}

#[test]
fn another_writing_is_the_same_value() {
    for (a, b) in [
        ("0.5", "0.50"),
        ("TRUE", "true"),
        ("compact,delete", "compact, delete"),
        ("1000", "1000.0"),
        ("1e3", "1000"),
        (" 7", "7"),
        ("", ""),
    ] {
        assert!(same_value(a, b) && same_value(b, a), "{a} and {b}");
    }
    for (a, b) in [
        ("delete", "compact"),
        ("9223372036854775807", "9223372036854775806"),
        ("true", "false"),
        ("delete,compact", "compact,delete"),
        ("1", ""),
        ("lz4", "LZ4"),
    ] {
        assert!(!same_value(a, b) && !same_value(b, a), "{a} and {b}");
    }
}

fn any_config() -> impl Strategy<Value = BTreeMap<String, String>> {
    let key = prop::sample::select(vec![MIN, "retention.ms", "segment.ms", "cleanup.policy"]);
    prop::collection::btree_map(key.prop_map(str::to_owned), "[1-3]", 0..4)
}

fn any_management() -> impl Strategy<Value = Management> {
    prop::sample::select(vec![Management::Managed, Management::Adopt, Management::Observe])
}

prop_compose! {
    fn any_wanted()(
        partitions in 1usize..8,
        replication_factor in 1usize..4,
        config in any_config(),
        management in any_management(),
        forbidden in any::<bool>(),
    ) -> Wanted {
        let growth_forbidden = forbidden.then(|| "Latest".to_owned());
        Wanted { name: "trades".to_owned(), partitions, replication_factor, config, management, growth_forbidden }
    }
}

prop_compose! {
    fn any_live()(
        id in prop::option::of("[ab]"),
        replicas in prop::collection::vec((any::<bool>(), 1usize..4, 0usize..4), 1..8),
        config in prop::collection::btree_map(
            prop::sample::select(vec![MIN, "retention.ms", "flush.ms"]).prop_map(str::to_owned),
            (prop::option::of("[1-3]"), any::<bool>()),
            0..3,
        ),
    ) -> Live {
        let replica = |(has_leader, total, in_sync)| Replicas { has_leader, total, in_sync };
        let value = |(key, (value, is_set))| (key, LiveValue { value, is_set });
        Live {
            id,
            partitions: replicas.into_iter().map(replica).collect(),
            config: config.into_iter().map(value).collect(),
        }
    }
}

prop_compose! {
    fn any_recorded()(
        ownership in prop_oneof![
            Just(Ownership::None),
            Just(Ownership::Creating),
            prop::option::of("[ab]").prop_map(Ownership::Ours),
        ],
        keys in prop::collection::btree_set(prop::sample::select(vec![MIN, "retention.ms"]).prop_map(str::to_owned), 0..3),
    ) -> Recorded {
        Recorded { ownership, keys }
    }
}

proptest! {
    #[test]
    fn obeying_once_is_enough(
        wanted in any_wanted(), live in prop::option::of(any_live()), recorded in any_recorded(),
    ) {
        let (mut live, mut recorded) = (live, recorded);
        let first = settle(&wanted, &mut live, &mut recorded);
        let again = decide(&wanted, live.as_ref(), &recorded);
        prop_assert_eq!(&again.actions, &vec![]);
        prop_assert_eq!(&again.recorded, &first.recorded, "the record would be written again");
    }

    #[test]
    fn nothing_ever_shrinks_or_replicates(
        wanted in any_wanted(), live in any_live(), recorded in any_recorded(),
    ) {
        let (mut after, mut recorded) = (Some(live.clone()), recorded);
        settle(&wanted, &mut after, &mut recorded);
        let after = after.unwrap();
        prop_assert_eq!(&after.partitions[..live.partitions.len()], &live.partitions[..]);
        prop_assert_eq!(&after.id, &live.id);
    }

    #[test]
    fn foreign_keys_stay(wanted in any_wanted(), live in any_live(), recorded in any_recorded()) {
        let (mut after, before) = (Some(live.clone()), recorded.clone());
        let mut recorded = recorded;
        settle(&wanted, &mut after, &mut recorded);
        let named = |key: &String| wanted.config.contains_key(key) || before.keys.contains(key);
        for (key, value) in live.config.iter().filter(|(key, _)| !named(key)) {
            prop_assert_eq!(after.as_ref().unwrap().config.get(key), Some(value));
        }
    }

    #[test]
    fn strangers_and_observed_topics_are_never_written(
        wanted in any_wanted(), live in any_live(), recorded in any_recorded(),
    ) {
        let decision = decide(&wanted, Some(&live), &recorded);
        if wanted.management == Management::Observe || !may_delete(&live, &recorded) && wanted.management == Management::Managed {
            prop_assert_eq!(decision.actions, vec![]);
        }
    }

    /// A crash between any two steps, the last decision's record lost or not, ends where the undisturbed run ends.
    #[test]
    fn a_crash_after_any_step_changes_nothing_in_the_end(
        before in any_wanted(), after in any_wanted(), crash_after in 0usize..6,
    ) {
        let copies = before.replication_factor;
        let valid = |mut wanted: Wanted| {
            // More replicas in sync than there are would hold growth for ever; validation refuses it.
            if let Some(least) = wanted.config.get_mut(MIN) {
                *least = copies.min(least.parse().unwrap()).to_string();
            }
            let management = Management::Managed;
            Wanted { management, growth_forbidden: None, replication_factor: copies, ..wanted }
        };
        let (before, after) = (valid(before), valid(after));
        let (mut live, mut recorded) = (None, Recorded::default());
        let (mut crashed_live, mut crashed_record) = (None, Recorded::default());
        for wanted in [&before, &after] {
            settle(wanted, &mut live, &mut recorded);
            // Obeys some of the actions, forgets all but what was recorded, and starts again.
            let decision = decide(wanted, crashed_live.as_ref(), &crashed_record);
            for action in decision.actions.iter().take(crash_after) {
                one(action, wanted, &mut crashed_live, &mut crashed_record);
            }
            settle(wanted, &mut crashed_live, &mut crashed_record);
        }
        prop_assert_eq!(live, crashed_live);
        prop_assert_eq!(recorded, crashed_record);
    }
}

/// One action by itself, as before a crash.
fn one(action: &Action, wanted: &Wanted, live: &mut Option<Live>, recorded: &mut Recorded) {
    match action {
        Action::Record(record) => *recorded = record.clone(),
        Action::Create => {
            let config: Vec<_> = wanted.config.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let mut made = live_topic("new", wanted.partitions, &config);
            let copies = wanted.replication_factor;
            made.partitions.fill(Replicas { has_leader: true, total: copies, in_sync: copies });
            *live = Some(made);
        }
        Action::Alter(changes) => {
            let config = &mut live.as_mut().unwrap().config;
            for (key, value) in changes {
                match value.clone() {
                    Some(value) => {
                        drop(config.insert(key.clone(), LiveValue { value: Some(value), is_set: true }));
                    }
                    None => drop(config.remove(key)),
                }
            }
        }
        Action::Grow { to, .. } => {
            let replicas = Replicas { has_leader: true, total: 3, in_sync: 3 };
            live.as_mut().unwrap().partitions.resize(*to, replicas);
        }
    }
}
