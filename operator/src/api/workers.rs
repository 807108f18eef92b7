//! Settings of producer and consumers and of their pods, as users write them.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Affinity, Toleration, TopologySpreadConstraint},
    apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// How trades enter the topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [rules::partitions_are_for_explicit()]))]
pub struct ProducerSpec {
    /// Number of producers. One is enough; a second one publishes the same trades, which consumers count once.
    #[schemars(range(min = 0, max = 3))]
    pub replicas: i32,
    /// How many brokers must have a record before it counts as published: `all`, 1 or 0.
    #[schemars(extend("x-kubernetes-validations" = [rules::acks()]))]
    pub acks: IntOrString,
    /// How the partition of a record is chosen. `KeyHash`: murmur2 of the symbol, as Java clients do. `RoundRobin`: one
    /// partition after the other, so no candles. `Explicit`: as `partitions` says.
    pub partitioner: Partitioner,
    /// The partition of each symbol, for `partitioner: Explicit` only.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 500, "additionalProperties" = rules::numbers(999)))]
    pub partitions: BTreeMap<String, i32>,
    /// How far back trades are fetched on the first start, and how far back the topic is searched on a restart.
    #[schemars(length(max = 16), regex(pattern = rules::DURATION_PATTERN))]
    #[schemars(extend("x-kubernetes-validations" = [rules::backfill_is_at_most_ten_years()]))]
    pub backfill: String,
    /// What each pod requests and may use.
    pub resources: ResourcesSpec,
    /// What else its pods get.
    pub pod: PodSpec,
}

impl Default for ProducerSpec {
    fn default() -> Self {
        Self {
            replicas: 1,
            acks: IntOrString::String("all".to_owned()),
            partitioner: Partitioner::KeyHash,
            partitions: BTreeMap::new(),
            backfill: "1h".to_owned(),
            resources: ResourcesSpec::default(),
            pod: PodSpec::default(),
        }
    }
}

/// How the partition of a record is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "doc comments of variants would make the schema a oneOf")]
pub enum Partitioner {
    KeyHash,
    RoundRobin,
    Explicit,
}

/// How trades leave the topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerSpec {
    /// Number of consumers, also by `kubectl scale` and autoscalers. More than the topic has partitions stand idle.
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// Consumer group; `candles-<topic name>` when absent. A new group reads the topic from its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub group_id: Option<String>,
    /// How partitions are shared. `CooperativeSticky` moves as few as possible; `Broker` lets the brokers assign
    /// (KIP-848, from 4.0). A change stops all consumers for a moment: one group speaks one language.
    pub assignor: Assignor,
    /// Where a group without a committed offset starts: at the oldest record, or with the next one.
    pub offset_reset: OffsetReset,
    /// What each pod requests and may use.
    pub resources: ResourcesSpec,
    /// What else its pods get.
    pub pod: PodSpec,
}

impl Default for ConsumerSpec {
    fn default() -> Self {
        Self {
            replicas: 1,
            group_id: None,
            assignor: Assignor::CooperativeSticky,
            offset_reset: OffsetReset::Earliest,
            resources: ResourcesSpec::default(),
            pod: PodSpec::default(),
        }
    }
}

/// How partitions are shared among the members of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "doc comments of variants would make the schema a oneOf")]
pub enum Assignor {
    CooperativeSticky,
    Range,
    RoundRobin,
    Broker,
}

/// Where a group without a committed offset starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "doc comments of variants would make the schema a oneOf")]
pub enum OffsetReset {
    Earliest,
    Latest,
}

/// What each pod requests and may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    rules::requests_within_limits("cpu"),
    rules::requests_within_limits("memory"),
    rules::requests_within_limits("ephemeral-storage")
]))]
pub struct ResourcesSpec {
    /// What the scheduler sets aside.
    pub requests: ResourceAmounts,
    /// What the pod may use at most; without `cpu` it may use what the node has left.
    pub limits: ResourceAmounts,
}

impl Default for ResourcesSpec {
    fn default() -> Self {
        let amount = |text: &str| Some(Quantity(text.to_owned()));
        Self {
            requests: ResourceAmounts {
                cpu: amount("100m"),
                memory: amount("64Mi"),
                ephemeral_storage: amount("16Mi"),
            },
            limits: ResourceAmounts { cpu: None, memory: amount("256Mi"), ephemeral_storage: amount("64Mi") },
        }
    }
}

/// Amounts of the resources of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::amount_is_a_quantity("cpu"),
    rules::amount_is_a_quantity("memory"),
    rules::amount_is_a_quantity("ephemeral-storage")
]))]
pub struct ResourceAmounts {
    /// Processors, as in `500m` or `2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Quantity>,
    /// Memory, as in `256Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
    /// Disk for logs and temporary files, as in `64Mi`.
    #[serde(default, rename = "ephemeral-storage", skip_serializing_if = "Option::is_none")]
    pub ephemeral_storage: Option<Quantity>,
}

/// What else the pods of a worker get. The operator sets everything that security and function need; none of this
/// can take it away.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// More labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = rules::texts(63, rules::LABEL_VALUE_PATTERN)))]
    #[schemars(extend("x-kubernetes-validations" = [rules::names_of_metadata(), rules::labels_are_not_the_operators()]))]
    pub labels: BTreeMap<String, String>,
    /// More annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = rules::texts(1024, rules::PRINTABLE_PATTERN)))]
    #[schemars(extend("x-kubernetes-validations" = [rules::names_of_metadata(), rules::labels_are_not_the_operators()]))]
    pub annotations: BTreeMap<String, String>,
    /// Labels of the nodes that they may run on.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = rules::texts(63, rules::LABEL_VALUE_PATTERN)))]
    #[schemars(extend("x-kubernetes-validations" = [rules::names_of_metadata()]))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that they tolerate.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// Which nodes and which neighbours they prefer or avoid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How they spread over nodes and zones; evenly where possible when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub topology_spread_constraints: Option<Vec<TopologySpreadConstraint>>,
    /// Name of their PriorityClass.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub priority_class_name: Option<String>,
}
