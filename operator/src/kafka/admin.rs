//! What the controller asks of Kafka, and how Kafka may fail, by what the controller does about it.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
};

use crate::topic::Live;

/// A cluster as a pipeline names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// `host:port` of some brokers, in lower case.
    pub brokers: BTreeSet<String>,
    /// Connections are encrypted.
    pub tls: bool,
    /// The brokers ask for a login.
    pub login: bool,
}

impl Address {
    /// From a comma-separated list of `host:port`.
    pub fn new(bootstrap_servers: &str, tls: bool, login: bool) -> Self {
        Self { brokers: brokers(bootstrap_servers), tls, login }
    }

    /// As a Kafka client wants it.
    pub fn bootstrap_servers(&self) -> String {
        self.brokers.iter().map(String::as_str).collect::<Vec<_>>().join(",")
    }
}

/// The parts of a comma-separated list of `host:port`, in lower case.
pub(super) fn brokers(bootstrap_servers: &str) -> BTreeSet<String> {
    let parts = bootstrap_servers.split(',').map(|part| part.trim().to_ascii_lowercase());
    parts.filter(|part| !part.is_empty()).collect()
}

/// A topic to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: usize,
    /// Replicas of each.
    pub replication_factor: usize,
    /// Configuration keys and their values.
    pub config: BTreeMap<String, String>,
}

/// How far a consumer group is behind, in records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Of all partitions together.
    pub sum: u64,
    /// Of the partition that is farthest behind.
    pub max: u64,
}

/// Why Kafka did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KafkaError {
    /// No answer, or none that helps: whether the request had an effect is not known. Trying again may help.
    #[error("{0}")]
    Unreachable(String),
    /// The operator must not connect, or does not know how to log in. Somebody has to change its settings.
    #[error("{0}")]
    NoAccess(String),
    /// The brokers refused this request.
    #[error("{text}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// Their own words.
        text: String,
    },
}

/// Why brokers refuse a request, as far as somebody would react differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A topic of that name exists.
    Exists,
    /// There is no such topic.
    Unknown,
    /// The operator's user may not do that.
    Forbidden,
    /// A rule of the cluster's administrator, or a setting that the brokers do not take.
    Policy,
    /// Anything else, such as too few brokers for the replication factor.
    Other,
}

/// The admin calls that the controller needs. Every call ends within a time limit of its own. None creates a topic
/// that was not asked for.
pub trait TopicAdmin: Send + Sync + 'static {
    /// The topics of these names, in their order; `None` for one that does not exist.
    fn describe(
        &self,
        cluster: &Address,
        topics: &[String],
    ) -> impl Future<Output = Result<Vec<Option<Live>>, KafkaError>> + Send;

    /// Makes a topic.
    fn create(
        &self,
        cluster: &Address,
        topic: &NewTopic,
    ) -> impl Future<Output = Result<(), KafkaError>> + Send;

    /// Gives a topic `partitions` in all.
    fn grow(
        &self,
        cluster: &Address,
        topic: &str,
        partitions: usize,
    ) -> impl Future<Output = Result<(), KafkaError>> + Send;

    /// Sets the keys that have a value, removes the others from the topic, and leaves all others alone.
    fn alter(
        &self,
        cluster: &Address,
        topic: &str,
        changes: &BTreeMap<String, Option<String>>,
    ) -> impl Future<Output = Result<(), KafkaError>> + Send;

    /// Deletes a topic.
    fn delete(&self, cluster: &Address, topic: &str) -> impl Future<Output = Result<(), KafkaError>> + Send;

    /// How far a group is behind; `None` when it has not committed anything yet.
    fn lag(
        &self,
        cluster: &Address,
        topic: &str,
        group: &str,
        partitions: usize,
    ) -> impl Future<Output = Result<Option<Lag>, KafkaError>> + Send;

    /// The id of the cluster, if it is known without asking.
    fn cluster_id(&self, cluster: &Address) -> Option<String>;
}
