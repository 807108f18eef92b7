//! Brings the topics of one pipeline to where the decisions of [`crate::topic`] want them: a topic and what was recorded
//! in; at most one change at a time to the brokers; facts, obstacles and news out.

use std::{collections::BTreeMap, future::Future};

use crate::{
    kafka::{Address, KafkaError, NewTopic, Refusal, TopicAdmin},
    metrics::Metrics,
    observed::Obstacle,
    topic::{Action, Decision, Live, Problem, Recorded, Wanted, decide},
};

/// More rounds than a topic can need; the rest waits for the next pass.
const ROUNDS_MAX: usize = 4;

/// Where a topic has come to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What the last look showed; `None` while it does not exist.
    pub decision: Decision,
    /// What kept it from being as wanted.
    pub obstacles: Vec<Obstacle>,
    /// The brokers did not answer, and what that looks like.
    pub unreachable: Option<String>,
    /// What was changed, in words for an event.
    pub news: Vec<News>,
    /// Something was changed that has not shown yet: look again soon.
    pub in_motion: bool,
}

/// Something that happened to a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Reason of the event.
    pub reason: &'static str,
    /// Whether somebody should look at it.
    pub warning: bool,
    /// What happened.
    pub note: String,
}

/// What a pass over topics needs from the outside.
pub trait Notary {
    /// Writes to the status what must be known after a crash.
    fn record(
        &mut self,
        topic: &str,
        recorded: &Recorded,
    ) -> impl Future<Output = Result<(), super::pass::PassError>> + Send;
    /// Whether this process may still write: asked before each change of a topic.
    fn may_write(&self) -> bool;
}

/// Looks, decides, changes one thing, and looks again, until there is nothing to change or something is in the way.
pub async fn settle<K: TopicAdmin, N: Notary>(
    kafka: &K,
    metrics: &Metrics,
    cluster: &Address,
    wanted: &Wanted,
    mut recorded: Recorded,
    notary: &mut N,
) -> Result<Outcome, super::pass::PassError> {
    let mut outcome = Outcome::default();
    for _ in 0..ROUNDS_MAX {
        let live = match look(kafka, metrics, cluster, &wanted.name).await {
            Ok(live) => live,
            Err(error) => {
                outcome.blocked(&wanted.name, "describe", error);
                outcome.decision.recorded = recorded;
                return Ok(outcome);
            }
        };
        outcome.decision = decide(wanted, live.as_ref(), &recorded);
        let Some(action) = outcome.decision.actions.first().cloned() else {
            outcome.in_motion = false;
            break;
        };
        if outcome.in_motion && matches!(action, Action::Create | Action::Grow { .. }) {
            // Done a moment ago; the broker that answers does not know yet.
            break;
        }
        if outcome.decision.lost && matches!(action, Action::Record(_)) {
            outcome.news.push(News {
                reason: "TopicLost",
                warning: true,
                note: format!(
                    "topic {} was deleted by somebody else; its records are lost, and it is made again",
                    wanted.name
                ),
            });
        }
        if let Action::Record(record) = &action {
            notary.record(&wanted.name, record).await?;
            recorded = record.clone();
            continue;
        }
        if !notary.may_write() {
            return Err(super::pass::PassError::NotLeader);
        }
        match change(kafka, metrics, cluster, wanted, &action).await {
            Ok(()) => {
                outcome.in_motion |= !matches!(action, Action::Alter(_));
                outcome.news.push(news(wanted, &action));
            }
            // Somebody else did it, or we did before a crash or a lost answer: the next look tells.
            Err(KafkaError::Refused { refusal: Refusal::Exists, .. }) => outcome.in_motion = true,
            Err(error) => {
                outcome.blocked(&wanted.name, name_of(&action), error);
                break;
            }
        }
    }
    let problems = outcome.decision.problems.iter().filter_map(|problem| obstacle(wanted, problem));
    outcome.obstacles.extend(problems);
    outcome.in_motion |= outcome.obstacles.is_empty() && !outcome.decision.actions.is_empty();
    Ok(outcome)
}

/// The topic as the brokers show it, or `None`.
pub async fn look<K: TopicAdmin>(
    kafka: &K,
    metrics: &Metrics,
    cluster: &Address,
    topic: &str,
) -> Result<Option<Live>, KafkaError> {
    let found = kafka.describe(cluster, &[topic.to_owned()]).await;
    counted(metrics, "describe", found).map(|found| found.into_iter().next().flatten())
}

/// Counts an admin call by its result.
pub fn counted<R>(
    metrics: &Metrics,
    call: &'static str,
    result: Result<R, KafkaError>,
) -> Result<R, KafkaError> {
    let label = match &result {
        Ok(_) => "ok",
        Err(KafkaError::Unreachable(_)) => "unreachable",
        Err(KafkaError::NoAccess(_)) => "no_access",
        Err(KafkaError::Refused { .. }) => "refused",
    };
    metrics.kafka(call, label);
    result
}

async fn change<K: TopicAdmin>(
    kafka: &K,
    metrics: &Metrics,
    cluster: &Address,
    wanted: &Wanted,
    action: &Action,
) -> Result<(), KafkaError> {
    let result = match action {
        Action::Record(_) => Ok(()),
        Action::Create => {
            let topic = NewTopic {
                name: wanted.name.clone(),
                partitions: wanted.partitions,
                replication_factor: wanted.replication_factor,
                config: wanted.config.clone(),
            };
            kafka.create(cluster, &topic).await
        }
        Action::Alter(changes) => kafka.alter(cluster, &wanted.name, changes).await,
        Action::Grow { to, .. } => kafka.grow(cluster, &wanted.name, *to).await,
    };
    counted(metrics, name_of(action), result)
}

fn name_of(action: &Action) -> &'static str {
    match action {
        Action::Record(_) => "record",
        Action::Create => "create",
        Action::Alter(_) => "alter",
        Action::Grow { .. } => "grow",
    }
}

fn news(wanted: &Wanted, action: &Action) -> News {
    let name = &wanted.name;
    match action {
        Action::Grow { from, to } => News {
            reason: "TopicGrown",
            warning: true,
            note: format!(
                "topic {name}: partitions {from} -> {to}. Symbols move to other partitions; the producer publishes their \
                 open windows anew, as far back as producer.backfill"
            ),
        },
        Action::Alter(changes) => News {
            reason: "TopicAltered",
            warning: false,
            note: format!("topic {name}: {}", written(changes)),
        },
        Action::Create | Action::Record(_) => News {
            reason: "TopicCreated",
            warning: false,
            note: format!(
                "topic {name} with {} partitions and replication factor {}",
                wanted.partitions, wanted.replication_factor
            ),
        },
    }
}

fn written(changes: &BTreeMap<String, Option<String>>) -> String {
    let one = |(key, value): (&String, &Option<String>)| match value {
        Some(value) => format!("{key} = {value}"),
        None => format!("{key} back to its default"),
    };
    changes.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn obstacle(wanted: &Wanted, problem: &Problem) -> Option<Obstacle> {
    let topic = wanted.name.clone();
    match problem {
        Problem::Exists => Some(Obstacle::TopicExists { topic }),
        Problem::Recreated { .. } => Some(Obstacle::TopicRecreated { topic }),
        // The status says these from the facts.
        Problem::Missing | Problem::MorePartitions { .. } => None,
        // Brokers that are missing come back; a setting has to be changed by somebody.
        Problem::GrowthBlocked(why) => (wanted.growth_forbidden.as_ref() == Some(why))
            .then(|| Obstacle::KafkaRefused { message: format!("topic {topic} cannot grow: {why}") }),
        Problem::ReplicationFactor { least, most, want, .. } => {
            let actual = if least == want { most } else { least };
            let number = |count: &usize| i32::try_from(*count).unwrap_or(i32::MAX);
            Some(Obstacle::ReplicationFactorDiffers { actual: number(actual), wanted: number(want) })
        }
    }
}

impl Outcome {
    fn blocked(&mut self, topic: &str, call: &str, error: KafkaError) {
        match error {
            KafkaError::Unreachable(message) | KafkaError::NoAccess(message) => {
                self.unreachable = Some(message);
            }
            KafkaError::Refused { text, .. } => {
                let message = format!("topic {topic}: {call}: {text}");
                self.obstacles.push(Obstacle::KafkaRefused { message });
            }
        }
    }
}
