//! What the status remembers about topics, so that a restart knows what is ours; and topics as the spec wants them.
//! Pure, but for [`StatusNotary`], which writes a record before the change that it is about.

use std::sync::Arc;

use candles_core::config::OffsetReset;
use kube::ResourceExt as _;

use super::{
    Shared,
    pass::PassError,
    topics::{Notary, Outcome},
};
use crate::{
    api::{CandlePipeline, CandlePipelineStatus, Management as ApiManagement, TopicClaim, TopicRecord},
    kafka::TopicAdmin,
    observed::{SettingDifference, TopicState},
    plan::DesiredTopic,
    topic::{Facts, Management, Ownership, Recorded, Wanted, claims::Key},
    validate::ValidPipeline,
};

/// Name of the dead letter topic of a topic.
pub fn dead_letter_topic(topic: &str) -> String {
    format!("{topic}-dlq")
}

/// The topics as the spec wants them: the log, then the dead letters.
pub fn wanted(valid: &ValidPipeline, topics: &[DesiredTopic; 2]) -> [Wanted; 2] {
    let is_latest = valid.config.consumer.offset_reset == OffsetReset::Latest;
    let forbidden = is_latest.then(|| {
        "with consumer.offsetReset: Latest the group would skip the first records of new partitions; set Earliest"
            .to_owned()
    });
    let one = |topic: &DesiredTopic, growth_forbidden| Wanted {
        name: topic.name.clone(),
        partitions: count(topic.partitions),
        replication_factor: count(topic.replication_factor),
        config: topic.config.clone(),
        management: management(valid.topic.management),
        growth_forbidden,
    };
    let [log, dead_letters] = topics;
    [one(log, forbidden), one(dead_letters, None)]
}

fn management(management: ApiManagement) -> Management {
    match management {
        ApiManagement::Managed => Management::Managed,
        ApiManagement::Adopt => Management::Adopt,
        ApiManagement::Observe => Management::Observe,
    }
}

fn count(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// What the plan and the status know of a topic.
pub fn state(wanted: &Wanted, facts: &Facts) -> TopicState {
    let differences = facts.differing.iter().map(|(key, actual)| SettingDifference {
        key: key.clone(),
        actual: actual.clone(),
        wanted: wanted.config.get(key).cloned().unwrap_or_default(),
    });
    TopicState {
        id: facts.id.clone(),
        partitions: number(facts.partitions),
        replication_factor_min: number(facts.replicas_least),
        replication_factor_max: number(facts.replicas_most),
        partitions_short_of_in_sync_replicas: number(facts.unavailable),
        differences: differences.collect(),
    }
}

/// What was recorded about a topic.
pub fn recorded(status: &CandlePipelineStatus, topic: &str) -> Recorded {
    let Some(record) = status.topic_records.iter().find(|record| record.name == topic) else {
        return Recorded::default();
    };
    let ownership = match (&record.claim, &record.id) {
        (None, _) => Ownership::None,
        (Some(_), None) => Ownership::Creating,
        (Some(_), Some(id)) => Ownership::Ours(Some(id.clone())),
    };
    Recorded { ownership, keys: record.settings.iter().cloned().collect() }
}

fn write(status: &mut CandlePipelineStatus, topic: &str, recorded: &Recorded, foreign: &[String]) {
    status.topic_records.retain(|record| record.name != topic);
    let before = recorded.ownership.clone();
    let (claim, id) = match before {
        Ownership::None => (None, None),
        Ownership::Creating => (Some(TopicClaim::Created), None),
        Ownership::Ours(id) => (Some(TopicClaim::Created), id),
    };
    if claim.is_none() && foreign.is_empty() && recorded.keys.is_empty() {
        return;
    }
    status.topic_records.push(TopicRecord {
        name: topic.to_owned(),
        id,
        claim,
        settings: recorded.keys.iter().cloned().collect(),
        foreign_settings: foreign.to_vec(),
    });
    status.topic_records.sort_by(|a, b| a.name.cmp(&b.name));
}

/// Brings the records of a new status, which has those of the old one, up to date. Nothing that was ours is forgotten
/// because nobody could look.
pub fn note(next: &mut CandlePipelineStatus, wanted: &[Wanted; 2], outcomes: [&Outcome; 2]) {
    for (wanted, outcome) in wanted.iter().zip(outcomes) {
        if let Some(facts) = &outcome.decision.facts {
            write(next, &wanted.name, &outcome.decision.recorded, &facts.foreign);
        }
    }
}

/// How the topic became this pipeline's, if it is.
pub fn claim(valid: &ValidPipeline, outcome: &Outcome) -> Option<TopicClaim> {
    match (&outcome.decision.recorded.ownership, valid.topic.management) {
        (Ownership::None, _) => None,
        (_, ApiManagement::Adopt) => Some(TopicClaim::Adopted),
        _ => Some(TopicClaim::Created),
    }
}

/// Writes records into the status of one pipeline, before the changes that they are about.
pub struct StatusNotary<'a, K> {
    shared: &'a Arc<Shared<K>>,
    key: &'a Key,
    uid: String,
    status: CandlePipelineStatus,
}

impl<'a, K> StatusNotary<'a, K> {
    /// For this pipeline, as it was read.
    pub fn new(shared: &'a Arc<Shared<K>>, key: &'a Key, pipeline: &CandlePipeline) -> Self {
        let status = pipeline.status.clone().unwrap_or_default();
        Self { shared, key, uid: pipeline.uid().unwrap_or_default(), status }
    }

    /// What was recorded about a topic.
    pub fn recorded(&self, topic: &str) -> Recorded {
        recorded(&self.status, topic)
    }

    /// The status as it is now.
    pub fn into_status(self) -> CandlePipelineStatus {
        self.status
    }
}

impl<K: TopicAdmin> Notary for StatusNotary<'_, K> {
    async fn record(&mut self, topic: &str, recorded: &Recorded) -> Result<(), PassError> {
        write(&mut self.status, topic, recorded, &[]);
        let written = self.shared.objects.write_status(self.key, &self.uid, &self.status).await;
        written.map_err(PassError::api("record a topic in the status of CandlePipeline"))
    }

    fn may_write(&self) -> bool {
        (self.shared.may_write)()
    }
}
