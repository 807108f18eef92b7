//! Settings of the topic, as users write them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// The topic that is the log of a pipeline, and its dead letter topic `<name>-dlq`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [rules::topic_name_stays(), rules::partitions_only_grow(), rules::replication_factor_stays(), rules::in_sync_within_replication(), rules::observed_topics_are_not_deleted()]))]
pub struct TopicSpec {
    /// Its name; `<namespace>.<name>` of the pipeline when absent. It cannot be changed. Records that can never be
    /// processed go to `<topic name>-dlq`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 245), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    #[schemars(extend("x-kubernetes-validations" = [rules::topic_name_is_not_reserved()]))]
    pub name: Option<String>,
    /// Number of partitions: at most so many consumers can share the work. It can only grow, and growing moves symbols
    /// to other partitions: better begin with enough.
    #[schemars(range(min = 1, max = 1000))]
    pub partitions: i32,
    /// Copies of each record, on as many brokers. It cannot be changed.
    #[schemars(range(min = 1, max = 10))]
    pub replication_factor: i32,
    /// Copies that must exist before a record counts as published (with `acks: all`). Equal to `replicationFactor`
    /// means that the loss of one broker stops the pipeline.
    #[schemars(range(min = 1, max = 10))]
    pub min_in_sync_replicas: i32,
    /// How long records are kept, as in `7d`: a whole number and ms, s, m, h or d. Longer than the longest candle.
    #[schemars(length(max = 16), regex(pattern = rules::DURATION_PATTERN))]
    pub retention: String,
    /// More settings of the topic, by their Kafka names; all others of the topic are left as they are.
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = rules::texts(32, rules::PRINTABLE_PATTERN)))]
    #[schemars(extend("x-kubernetes-validations" = [rules::config_keys_are_known(), rules::config_values_fit_their_keys()]))]
    pub config: BTreeMap<String, String>,
    /// `Managed`: the operator creates the topic, and refuses one that it did not create. `Adopt`: it also takes over
    /// an existing one. `Observe`: it never writes to it, only reports.
    pub management: Management,
    /// What becomes of the topic and its dead letter topic when the pipeline is deleted.
    pub deletion_policy: DeletionPolicy,
}

impl Default for TopicSpec {
    fn default() -> Self {
        Self {
            name: None,
            partitions: 3,
            replication_factor: 3,
            min_in_sync_replicas: 2,
            retention: "7d".to_owned(),
            config: BTreeMap::new(),
            management: Management::Managed,
            deletion_policy: DeletionPolicy::Retain,
        }
    }
}

/// How far the operator's hands reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "doc comments of variants would make the schema a oneOf")]
pub enum Management {
    Managed,
    Adopt,
    Observe,
}

/// What becomes of the topic when the pipeline is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "doc comments of variants would make the schema a oneOf")]
pub enum DeletionPolicy {
    Retain,
    Delete,
}
