//! What the operator reports: conditions as kstatus reads them, and facts that change seldom.
//!
//! No clock, no counter and no raw lag stands here: each would make the operator write for ever.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator reports of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CandlePipelineStatus {
    /// The generation of the pipeline that this status is about; -1 before the operator has seen it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What holds of the pipeline. `Ready`: all of it works. `Reconciling` and `Stalled` are there only while true.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Number of symbols.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbols: Option<i32>,
    /// Records between the end of the topic and what the consumers have stored, roughly: `<1k`, `<10k`, `<100k`,
    /// `<1M`, `>=1M` or `Unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<LagBucket>,
    /// The topic as the brokers have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<TopicStatus>,
    /// What the operator has done to the topic and its dead letter topic, for itself to remember.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topic_records: Vec<TopicRecord>,
    /// The producers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub producer: Option<ProducerStatus>,
    /// The consumers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<ConsumerStatus>,
}

/// The topic as the brokers have it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicStatus {
    /// Its name.
    pub name: String,
    /// Kafka's id of the topic, where it is known: a topic of the same name with another id is another topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Written before the operator creates or takes over the topic: from then on it is this pipeline's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<TopicClaim>,
    /// Number of partitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,
    /// Partitions that it has, of those wanted: `3/3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Least number of copies that any partition has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_factor_min: Option<i32>,
    /// Greatest number of copies that any partition has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_factor_max: Option<i32>,
    /// Partitions with fewer copies in sync than `minInSyncReplicas`: they take no record now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions_short_of_in_sync_replicas: Option<i32>,
    /// Settings whose value is not the wanted one, as `retention.ms: 1000, not 604800000`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
}

/// What the operator has done to a topic. Removed by hand, the topic counts as somebody else's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicRecord {
    /// Its name.
    pub name: String,
    /// Kafka's id of the topic that is this pipeline's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Written before the operator creates or takes over the topic: from then on it is this pipeline's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<TopicClaim>,
    /// Settings that the operator has set; those that the spec drops go back to their defaults.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<String>,
    /// Settings that somebody else has set on the topic; they are left alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub foreign_settings: Vec<String>,
}

/// How the topic became this pipeline's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "doc comments of variants would make the schema a oneOf")]
pub enum TopicClaim {
    Created,
    Adopted,
}

/// The producers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerStatus {
    /// Pods that exist.
    pub replicas: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// Producers that are ready, of those wanted: `1/1`.
    pub summary: String,
}

/// The consumers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerStatus {
    /// Pods that exist.
    pub replicas: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// Consumers that are ready, of those wanted: `3/3`.
    pub summary: String,
    /// Labels that select their pods, for autoscalers.
    pub selector: String,
    /// Their consumer group.
    pub group_id: String,
}

/// Lag in steps, so that the status changes seldom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "doc comments of variants would make the schema a oneOf")]
pub enum LagBucket {
    Unknown,
    #[serde(rename = "<1k")]
    Below1k,
    #[serde(rename = "<10k")]
    Below10k,
    #[serde(rename = "<100k")]
    Below100k,
    #[serde(rename = "<1M")]
    Below1M,
    #[serde(rename = ">=1M")]
    Above1M,
}

/// Types of conditions. Never renamed: people wait for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    /// All of the pipeline works.
    Ready,
    /// There only while true: something is still on its way.
    Reconciling,
    /// There only while true: it goes on only after somebody does something.
    Stalled,
    /// The topic is as wanted.
    TopicReady,
    /// All wanted producers run the current configuration and are ready.
    ProducerAvailable,
    /// All wanted consumers run the current configuration and are ready.
    ConsumerAvailable,
    /// The Secrets that the pipeline names exist; there only where the operator may read them.
    SecretsResolved,
}

impl ConditionType {
    /// As it stands in a status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::TopicReady => "TopicReady",
            Self::ProducerAvailable => "ProducerAvailable",
            Self::ConsumerAvailable => "ConsumerAvailable",
            Self::SecretsResolved => "SecretsResolved",
        }
    }
}

/// Reasons of conditions. Never renamed: alerts match them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is its own name; docs/resource.md tells when it is used")]
pub enum ConditionReason {
    // Ready
    Ready,
    Progressing,
    TopicNotReady,
    ProducerUnavailable,
    ConsumerUnavailable,
    SecretsMissing,
    Suspended,
    // Ready and Stalled
    InvalidSpec,
    // Reconciling
    CreatingTopic,
    GrowingPartitions,
    RollingOut,
    Scaling,
    // Stalled
    ResourceConflict,
    TopicExists,
    NameConflict,
    PartitionShrinkUnsupported,
    ReplicationFactorChangeUnsupported,
    TopicManagedElsewhere,
    KafkaPolicyViolation,
    WriteRefused,
    // TopicReady
    InSync,
    Observed,
    TopicMissing,
    KafkaUnreachable,
    TopicRecreated,
    ConfigDrift,
    IsrShortfall,
    // ProducerAvailable, ConsumerAvailable
    RolledOut,
    ProgressDeadlineExceeded,
    PodsNotReady,
    PodsRefused,
    ConsumersExceedPartitions,
    // SecretsResolved
    Found,
    Missing,
    KeyMissing,
}

impl ConditionReason {
    /// As it stands in a status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Progressing => "Progressing",
            Self::TopicNotReady => "TopicNotReady",
            Self::ProducerUnavailable => "ProducerUnavailable",
            Self::ConsumerUnavailable => "ConsumerUnavailable",
            Self::SecretsMissing => "SecretsMissing",
            Self::Suspended => "Suspended",
            Self::InvalidSpec => "InvalidSpec",
            Self::CreatingTopic => "CreatingTopic",
            Self::GrowingPartitions => "GrowingPartitions",
            Self::RollingOut => "RollingOut",
            Self::Scaling => "Scaling",
            Self::ResourceConflict => "ResourceConflict",
            Self::TopicExists => "TopicExists",
            Self::NameConflict => "NameConflict",
            Self::PartitionShrinkUnsupported => "PartitionShrinkUnsupported",
            Self::ReplicationFactorChangeUnsupported => "ReplicationFactorChangeUnsupported",
            Self::TopicManagedElsewhere => "TopicManagedElsewhere",
            Self::KafkaPolicyViolation => "KafkaPolicyViolation",
            Self::WriteRefused => "WriteRefused",
            Self::InSync => "InSync",
            Self::Observed => "Observed",
            Self::TopicMissing => "TopicMissing",
            Self::KafkaUnreachable => "KafkaUnreachable",
            Self::TopicRecreated => "TopicRecreated",
            Self::ConfigDrift => "ConfigDrift",
            Self::IsrShortfall => "IsrShortfall",
            Self::RolledOut => "RolledOut",
            Self::ProgressDeadlineExceeded => "ProgressDeadlineExceeded",
            Self::PodsNotReady => "PodsNotReady",
            Self::PodsRefused => "PodsRefused",
            Self::ConsumersExceedPartitions => "ConsumersExceedPartitions",
            Self::Found => "Found",
            Self::Missing => "Missing",
            Self::KeyMissing => "KeyMissing",
        }
    }
}
