//! The topic's settings in, a [`ValidTopic`] out.

use std::collections::BTreeMap;

use candles_core::config::{Duration, PipelineConfig};

use super::Problems;
use crate::api::{DeletionPolicy, Management, TopicSpec};

/// Settings of a topic that a pipeline may set, besides those with a field of their own. `cleanup.policy` is not among
/// them: a compacted log loses trades.
pub const TOPIC_SETTINGS: [&str; 14] = [
    "compression.type",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "index.interval.bytes",
    "local.retention.bytes",
    "local.retention.ms",
    "max.message.bytes",
    "remote.storage.enable",
    "retention.bytes",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
];

/// A topic as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidTopic {
    /// Its name; the dead letter topic is `<name>-dlq`.
    pub name: String,
    /// Number of partitions, at least 1.
    pub partitions: i32,
    /// Copies of each record, at least 1.
    pub replication_factor: i32,
    /// At most `replication_factor`.
    pub min_in_sync_replicas: i32,
    /// In ms.
    pub retention_ms: i64,
    /// More settings, each of [`TOPIC_SETTINGS`].
    pub config: BTreeMap<String, String>,
    /// How far the operator's hands reach.
    pub management: Management,
    /// What becomes of it in the end.
    pub deletion_policy: DeletionPolicy,
}

pub(super) fn check(spec: &TopicSpec, derived_name: &str, problems: &mut Problems) -> ValidTopic {
    problems.range("spec.topic.partitions", spec.partitions, 1, 1000);
    problems.range("spec.topic.replicationFactor", spec.replication_factor, 1, 10);
    problems.range("spec.topic.minInSyncReplicas", spec.min_in_sync_replicas, 1, 10);
    let (in_sync, replication) = (spec.min_in_sync_replicas, spec.replication_factor);
    if in_sync > replication {
        problems.add(
            "spec.topic.minInSyncReplicas",
            format_args!(
                "{in_sync} is more than replicationFactor {replication}: no record could ever be published"
            ),
        );
    }
    if spec.management == Management::Observe && spec.deletion_policy == DeletionPolicy::Delete {
        problems.add(
            "spec.topic.deletionPolicy",
            "Delete contradicts management: Observe, which never writes to the topic",
        );
    }
    let retention_ms = match spec.retention.parse::<Duration>() {
        Ok(retention) => retention.as_ms(),
        Err(error) => {
            problems.add("spec.topic.retention", error);
            0
        }
    };
    for (key, value) in &spec.config {
        if let Some(problem) = setting_problem(key, value) {
            problems.add(format_args!("spec.topic.config[{key}]"), problem);
        }
    }
    ValidTopic {
        name: spec.name.clone().unwrap_or_else(|| derived_name.to_owned()),
        partitions: spec.partitions,
        replication_factor: spec.replication_factor,
        min_in_sync_replicas: spec.min_in_sync_replicas,
        retention_ms,
        config: spec.config.clone(),
        management: spec.management,
        deletion_policy: spec.deletion_policy,
    }
}

fn setting_problem(key: &str, value: &str) -> Option<String> {
    let fits = match key {
        "compression.type" => {
            matches!(value, "uncompressed" | "zstd" | "lz4" | "snappy" | "gzip" | "producer")
        }
        "remote.storage.enable" => matches!(value, "true" | "false"),
        _ if TOPIC_SETTINGS.contains(&key) => value.len() <= 19 && value.parse::<i64>().is_ok(),
        _ => return Some(format!("no such setting is allowed; allowed are {}", TOPIC_SETTINGS.join(", "))),
    };
    (!fits).then(|| format!("{value:?} is no value of it"))
}

/// What topic and workers must agree about.
pub(super) fn check_against(config: &PipelineConfig, topic: &ValidTopic, problems: &mut Problems) {
    let longest_ms = config.candles.intervals.iter().map(|interval| interval.length_ms()).max().unwrap_or(0);
    let needed_ms = longest_ms + config.candles.lateness.as_ms();
    if longest_ms > 0 && topic.retention_ms < needed_ms {
        problems.add(
            "spec.topic.retention",
            format_args!(
                "{} ms is shorter than the longest of candles.intervals and candles.lateness ({needed_ms} ms): consumers \
                 rebuild open windows from the topic",
                topic.retention_ms
            ),
        );
    }
    let beyond =
        config.producer.partitions.iter().find(|&(_, &partition)| i32::from(partition) >= topic.partitions);
    if let Some((symbol, partition)) = beyond {
        problems.add(
            format_args!("spec.producer.partitions[{symbol}]"),
            format_args!(
                "{partition} does not exist: partitions are 0 to {}, by topic.partitions",
                topic.partitions - 1
            ),
        );
    }
}
