//! What the controller has seen of one pipeline, for [`crate::plan`] and [`crate::status`].
//!
//! Facts only, read before the plan is made. What could not be read is absent, never a default.

use k8s_openapi::api::apps::v1::Deployment;

use crate::api::TopicClaim;

/// What has been seen of one pipeline.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The producer's Deployment, if it exists and is this pipeline's.
    pub producer: Option<Deployment>,
    /// The consumers' Deployment, if it exists and is this pipeline's.
    pub consumer: Option<Deployment>,
    /// The topic, as the brokers tell.
    pub topic: TopicFacts,
    /// Records that the group has not stored yet; none while unknown.
    pub lag: Option<Lag>,
    /// The secrets, where the operator may read them.
    pub secrets: SecretFacts,
    /// How the topic has become this pipeline's, where this pass made it so; else the status remembers.
    pub claim: Option<TopicClaim>,
    /// What stopped a step of the last pass.
    pub obstacles: Vec<Obstacle>,
}

/// What is known about the topic and its dead letter topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TopicFacts {
    /// Nobody has asked the brokers yet.
    #[default]
    NotAsked,
    /// The brokers did not answer, or refused to.
    Unreachable {
        /// What the client or the broker said, and what can be done; without secrets.
        message: String,
    },
    /// There is no such topic, or not yet.
    Missing,
    /// It exists.
    Present(TopicState),
}

/// A topic as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicState {
    /// Kafka's id, where it is known.
    pub id: Option<String>,
    /// Number of partitions.
    pub partitions: i32,
    /// Least copies of any partition.
    pub replication_factor_min: i32,
    /// Most copies of any partition.
    pub replication_factor_max: i32,
    /// Partitions with fewer copies in sync than wanted.
    pub partitions_short_of_in_sync_replicas: i32,
    /// Settings that are not as wanted and that the operator did not change (yet): `Observe`, or refused.
    pub differences: Vec<SettingDifference>,
}

/// A setting that is not as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingDifference {
    /// Its name.
    pub key: String,
    /// What it is.
    pub actual: String,
    /// What it should be.
    pub wanted: String,
}

/// Lag of the consumer group, in records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Of all partitions together.
    pub total: i64,
    /// Of the partition that is furthest behind.
    pub max: i64,
}

/// What is known about the secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SecretFacts {
    /// The operator has no right to read Secrets, which is the default.
    #[default]
    NotRead,
    /// All keys exist.
    Found,
    /// The first one that does not: `Secret influx`.
    Missing {
        /// Its name.
        secret: String,
    },
    /// The Secret exists, without the key.
    KeyMissing {
        /// Its name.
        secret: String,
        /// The key.
        key: String,
    },
}

/// Why a step could not be made. Those that only a person can remove make the pipeline `Stalled`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// An older pipeline owns the topic or the dead letter topic.
    OlderPipeline {
        /// `namespace/name`.
        pipeline: String,
        /// The topic of both.
        topic: String,
    },
    /// A topic exists that no pipeline has created: `management: Managed` does not take it.
    TopicExists {
        /// Its name.
        topic: String,
    },
    /// A topic of the same name but another id stands where the pipeline's was.
    TopicRecreated {
        /// Its name.
        topic: String,
    },
    /// A `KafkaTopic` of Strimzi governs it.
    TopicManagedElsewhere {
        /// Its name.
        topic: String,
        /// `namespace/name` of the `KafkaTopic`.
        kafka_topic: String,
    },
    /// A broker refuses what is asked, by its rights or policies.
    KafkaRefused {
        /// What was asked, and the broker's answer; without secrets.
        message: String,
    },
    /// The replicas of the topic are not as many as wanted: the operator does not move them.
    ReplicationFactorDiffers {
        /// What it is.
        actual: i32,
        /// What it should be.
        wanted: i32,
    },
    /// An object of a child's name belongs to somebody else.
    NameConflict {
        /// `Deployment/demo-producer`.
        object: String,
    },
    /// The API server refuses a write: quota, admission, rights.
    WriteRefused {
        /// `Deployment/demo-producer`.
        object: String,
        /// The API server's answer.
        message: String,
    },
}
