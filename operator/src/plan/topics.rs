//! The topic and its dead letter topic as they should be.

use std::collections::BTreeMap;

use crate::validate::ValidPipeline;

/// A topic as it should be. Settings that are not named are left as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredTopic {
    /// Its name.
    pub name: String,
    /// At least so many partitions; more cannot be undone.
    pub partitions: i32,
    /// Copies of each record.
    pub replication_factor: i32,
    /// Settings by their Kafka names.
    pub config: BTreeMap<String, String>,
}

/// The log first. Dead letters are few: one partition, kept as safely and as long as the log.
pub(super) fn topics(pipeline: &ValidPipeline) -> [DesiredTopic; 2] {
    let topic = &pipeline.topic;
    let mut config = topic.config.clone();
    config.insert("min.insync.replicas".to_owned(), topic.min_in_sync_replicas.to_string());
    config.insert("retention.ms".to_owned(), topic.retention_ms.to_string());
    let log = DesiredTopic {
        name: topic.name.clone(),
        partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        config,
    };
    let dead_letters = DesiredTopic { name: pipeline.config.topic.name.dlq(), partitions: 1, ..log.clone() };
    [log, dead_letters]
}
