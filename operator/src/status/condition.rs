//! One finding in, one condition out; and what needs a person.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

use crate::{
    api::{ConditionReason as Reason, ConditionType as Type},
    observed::Obstacle,
};

/// Longest message, in bytes.
pub(super) const MESSAGE_BYTES_MAX: usize = 1024;

/// Whether something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    True,
    False,
    Unknown,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A condition without its history.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Finding {
    pub(super) kind: Type,
    pub(super) state: State,
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl Finding {
    pub(super) fn new(kind: Type, state: State, reason: Reason, message: &str) -> Self {
        Self { kind, state, reason, message: one_line(message) }
    }

    /// The time moves only when the state differs from that of the `previous` condition of the type.
    pub(super) fn into_condition(
        self,
        previous: &[Condition],
        generation: Option<i64>,
        now: Timestamp,
    ) -> Condition {
        let status = self.state.as_str();
        let since = previous
            .iter()
            .find(|condition| condition.type_ == self.kind.as_str() && condition.status == status)
            .map_or_else(|| Time(now), |condition| condition.last_transition_time.clone());
        Condition {
            type_: self.kind.as_str().to_owned(),
            status: status.to_owned(),
            reason: self.reason.as_str().to_owned(),
            message: self.message,
            observed_generation: generation,
            last_transition_time: since,
        }
    }
}

/// One line of at most [`MESSAGE_BYTES_MAX`] bytes: messages hold answers of brokers and of the API server.
fn one_line(text: &str) -> String {
    const CUT: &str = "...";
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.len() > MESSAGE_BYTES_MAX {
        line.truncate(line.floor_char_boundary(MESSAGE_BYTES_MAX - CUT.len()));
        line.push_str(CUT);
    }
    line
}

/// The first obstacle, with what a person can do about it.
pub(super) fn stalled(obstacles: &[Obstacle]) -> Option<Finding> {
    let (reason, message) = match obstacles.first()? {
        Obstacle::OlderPipeline { pipeline, topic } => (
            Reason::ResourceConflict,
            format!(
                "topic {topic} belongs to the older pipeline {pipeline}; name another in a new pipeline, or delete one of the two"
            ),
        ),
        Obstacle::TopicExists { topic } => (
            Reason::TopicExists,
            format!(
                "topic {topic} exists and this pipeline did not create it; set topic.management: Adopt to take it over, or \
                 Observe to use it as it is"
            ),
        ),
        Obstacle::TopicRecreated { topic } => (
            Reason::TopicRecreated,
            format!(
                "topic {topic} was deleted and made anew by somebody else: trades are missing; set topic.management: Adopt \
                 to go on with it"
            ),
        ),
        Obstacle::TopicManagedElsewhere { topic, kafka_topic } => (
            Reason::TopicManagedElsewhere,
            format!(
                "topic {topic} is managed by KafkaTopic {kafka_topic}, which would revert every change; change it there, and \
                 set topic.management: Observe"
            ),
        ),
        Obstacle::KafkaRefused { message } => (
            Reason::KafkaPolicyViolation,
            format!("the brokers refuse it: {message}; ask for the right, or change spec.topic"),
        ),
        Obstacle::ReplicationFactorDiffers { actual, wanted } => (
            Reason::ReplicationFactorChangeUnsupported,
            format!(
                "the topic has {actual} copies of each record, not {wanted}; move them with kafka-reassign-partitions: the \
                 operator does not"
            ),
        ),
        Obstacle::NameConflict { object } => (
            Reason::NameConflict,
            format!(
                "{object} exists and is not this pipeline's; delete or rename it, or rename the pipeline"
            ),
        ),
        Obstacle::WriteRefused { object, message } => {
            (Reason::WriteRefused, format!("the API server refuses {object}: {message}"))
        }
    };
    Some(Finding::new(Type::Stalled, State::True, reason, &message))
}
