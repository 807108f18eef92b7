//! What the brokers tell of the topic in, what to say of it out.

use super::condition::{Finding, State};
use crate::{
    api::{ConditionReason as Reason, ConditionType as Type, Management, TopicStatus},
    observed::{Observed, Obstacle, TopicFacts, TopicState},
    validate::ValidPipeline,
};

/// Most differing settings that are listed.
const DIFFERENCES_MAX: usize = 16;

/// The topic's condition.
pub(super) fn judge(valid: &ValidPipeline, observed: &Observed) -> Finding {
    let find = |state, reason, message: &str| Finding::new(Type::TopicReady, state, reason, message);
    if let Some(stalled) = super::condition::stalled(&of_topic(&observed.obstacles)) {
        return find(State::False, stalled.reason, &stalled.message);
    }
    let name = &valid.topic.name;
    match &observed.topic {
        TopicFacts::NotAsked => {
            find(State::Unknown, Reason::Progressing, "the brokers have not been asked yet")
        }
        TopicFacts::Unreachable { message } => find(
            State::Unknown,
            Reason::KafkaUnreachable,
            &format!(
                "the brokers at {} do not answer: {message}; what runs goes on, next try soon",
                servers(valid)
            ),
        ),
        TopicFacts::Missing if valid.topic.management == Management::Observe => find(
            State::False,
            Reason::TopicMissing,
            &format!(
                "there is no topic {name}, and topic.management: Observe creates none; create it and {name}-dlq"
            ),
        ),
        TopicFacts::Missing => find(
            State::False,
            Reason::TopicMissing,
            &format!("topic {name} is not there yet; it is being created"),
        ),
        TopicFacts::Present(topic) => present(valid, topic),
    }
}

fn present(valid: &ValidPipeline, topic: &TopicState) -> Finding {
    let find = |state, reason, message: &str| Finding::new(Type::TopicReady, state, reason, message);
    let (name, wanted) = (&valid.topic.name, valid.topic.partitions);
    let observe = valid.topic.management == Management::Observe;
    let short = topic.partitions_short_of_in_sync_replicas;
    if short > 0 {
        return find(
            State::False,
            Reason::IsrShortfall,
            &format!(
                "{short} of {} partitions of topic {name} have fewer than {} copies in sync and take no record; is a broker \
                 down?",
                topic.partitions, valid.topic.min_in_sync_replicas
            ),
        );
    }
    if observe {
        let noted = match (topic.partitions == wanted, topic.differences.is_empty()) {
            (true, true) => String::new(),
            (false, _) => format!("; it has {} partitions, not {wanted}", topic.partitions),
            (true, false) => format!("; not as wanted: {}", differences(topic).join(", ")),
        };
        return find(State::True, Reason::Observed, &format!("topic {name} is used as it is{noted}"));
    }
    if topic.partitions > wanted {
        return find(
            State::False,
            Reason::PartitionShrinkUnsupported,
            &format!(
                "topic {name} has {0} partitions, not {wanted}, and Kafka never removes any; set topic.partitions: {0}",
                topic.partitions
            ),
        );
    }
    if topic.partitions < wanted {
        return find(
            State::False,
            Reason::GrowingPartitions,
            &format!("topic {name} grows from {} to {wanted} partitions", topic.partitions),
        );
    }
    if !topic.differences.is_empty() {
        return find(
            State::False,
            Reason::ConfigDrift,
            &format!("topic {name} is not as wanted: {}", differences(topic).join(", ")),
        );
    }
    find(
        State::True,
        Reason::InSync,
        &format!("topic {name} has {wanted} partitions with {} copies", topic.replication_factor_min),
    )
}

fn servers(valid: &ValidPipeline) -> &str {
    valid.config.kafka.bootstrap_servers.as_str()
}

fn of_topic(obstacles: &[Obstacle]) -> Vec<Obstacle> {
    let others = |obstacle: &&Obstacle| {
        !matches!(obstacle, Obstacle::NameConflict { .. } | Obstacle::WriteRefused { .. })
    };
    obstacles.iter().filter(others).cloned().collect()
}

/// What only a person can mend about an existing topic.
pub(super) fn stalled(topic: &Finding) -> Option<Finding> {
    (topic.reason == Reason::PartitionShrinkUnsupported)
        .then(|| Finding::new(Type::Stalled, State::True, topic.reason, &topic.message))
}

/// What is being done to the topic.
pub(super) fn progress(valid: &ValidPipeline, observed: &Observed) -> Option<Reason> {
    if valid.topic.management == Management::Observe {
        return None;
    }
    match &observed.topic {
        TopicFacts::Missing => Some(Reason::CreatingTopic),
        TopicFacts::Present(topic) if topic.partitions < valid.topic.partitions => {
            Some(Reason::GrowingPartitions)
        }
        _ => None,
    }
}

fn differences(topic: &TopicState) -> Vec<String> {
    let told = |d: &crate::observed::SettingDifference| format!("{}: {}, not {}", d.key, d.actual, d.wanted);
    topic.differences.iter().take(DIFFERENCES_MAX).map(told).collect()
}

/// The facts themselves. While the brokers do not answer, those of before stay.
pub(super) fn facts(
    valid: &ValidPipeline,
    observed: &Observed,
    previous: Option<TopicStatus>,
) -> TopicStatus {
    let wanted = valid.topic.partitions;
    // Facts of a topic of another name are none of this one.
    let previous = previous.filter(|topic| topic.name == valid.topic.name).unwrap_or_default();
    let claim = observed.claim.or(previous.claim);
    let name = valid.topic.name.clone();
    match &observed.topic {
        TopicFacts::NotAsked | TopicFacts::Unreachable { .. } => TopicStatus {
            summary: previous.partitions.map(|partitions| format!("{partitions}/{wanted}")),
            name,
            claim,
            ..previous
        },
        TopicFacts::Missing => TopicStatus {
            name,
            claim,
            // The id that was: a topic that comes back with another one is another one.
            id: previous.id,
            partitions: Some(0),
            summary: Some(format!("0/{wanted}")),
            ..TopicStatus::default()
        },
        TopicFacts::Present(topic) => TopicStatus {
            name,
            id: topic.id.clone().or(previous.id),
            claim,
            partitions: Some(topic.partitions),
            summary: Some(format!("{}/{wanted}", topic.partitions)),
            replication_factor_min: Some(topic.replication_factor_min),
            replication_factor_max: Some(topic.replication_factor_max),
            partitions_short_of_in_sync_replicas: Some(topic.partitions_short_of_in_sync_replicas),
            differences: differences(topic),
        },
    }
}
