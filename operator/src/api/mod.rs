//! The custom resource `CandlePipeline` of `candles.dev/v1alpha1`: its types, defaults, bounds and CEL rules.
//!
//! Types in, a CustomResourceDefinition out ([`crd`]). Values are as the user wrote them: `validate` turns them into
//! checked ones. The rules stand in [`rules`]; each has an example in `examples/invalid/` that shows its message.

mod candles;
mod crd;
mod exchange;
mod influxdb;
mod kafka;
mod monitoring;
pub mod rules;
mod status;
mod topic;
mod workers;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    candles::CandlesSpec,
    crd::{crd, crd_yaml},
    exchange::{ExchangeLimitsSpec, ExchangeName, ExchangeSpec},
    influxdb::{CandleFieldsSpec, CandlePointsSpec, InfluxApi, InfluxdbSpec, TradePointsSpec},
    kafka::{
        BasicAuthSpec, BearerAuthSpec, KafkaSpec, SaslMechanism, SaslSpec, SchemaRegistryAuthSpec,
        SchemaRegistrySpec, SecretKeyRef, TlsSpec,
    },
    monitoring::{DashboardSpec, GrafanaSpec, MonitoringSpec, PodMonitorSpec},
    status::{
        CandlePipelineStatus, ConditionReason, ConditionType, ConsumerStatus, LagBucket, ProducerStatus,
        TopicClaim, TopicRecord, TopicStatus,
    },
    topic::{DeletionPolicy, Management, TopicSpec},
    workers::{
        Assignor, ConsumerSpec, OffsetReset, Partitioner, PodSpec, ProducerSpec, ResourceAmounts,
        ResourcesSpec,
    },
};

/// Trades of an exchange in Kafka, and in InfluxDB as they are and as candlesticks.
///
/// The operator owns the topic, a producer and a group of consumers. `kubectl wait --for=condition=Ready` waits until
/// all of it works; `kubectl scale --replicas` scales the consumers.
#[allow(clippy::duplicated_attributes, reason = "columns have types and priorities in common")]
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "candles.dev",
    version = "v1alpha1",
    kind = "CandlePipeline",
    plural = "candlepipelines",
    shortname = "cpl",
    category = "candles",
    namespaced,
    status = "CandlePipelineStatus",
    derive = "PartialEq",
    doc = "Trades of an exchange in Kafka, and in InfluxDB as they are and as candlesticks.",
    scale(
        spec_replicas_path = ".spec.consumer.replicas",
        status_replicas_path = ".status.consumer.replicas",
        label_selector_path = ".status.consumer.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(name = "Symbols", type_ = "integer", json_path = ".status.symbols"),
    printcolumn(
        name = "Consumers",
        type_ = "string",
        json_path = ".status.consumer.summary",
        description = "Consumers that are ready, of those wanted"
    ),
    printcolumn(
        name = "Lag",
        type_ = "string",
        json_path = ".status.lag",
        description = "Records between the end of the topic and what the consumers have stored"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Topic", type_ = "string", json_path = ".status.topic.name", priority = 1),
    printcolumn(
        name = "Partitions",
        type_ = "string",
        json_path = ".status.topic.summary",
        description = "Partitions that the topic has, of those wanted",
        priority = 1
    ),
    printcolumn(
        name = "Producers",
        type_ = "string",
        json_path = ".status.producer.summary",
        description = "Producers that are ready, of those wanted",
        priority = 1
    ),
    printcolumn(name = "Suspended", type_ = "boolean", json_path = ".spec.suspend", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rules::candles_need_one_partition_per_symbol(),
    rules::explicit_partitions_for_every_symbol(),
    rules::explicit_partitions_exist(),
    rules::retention_holds_the_longest_window()]))]
pub struct CandlePipelineSpec {
    /// Stops producer and consumers: their replicas become 0. Nothing else changes: the topic, the data and all other
    /// objects stay, and they start again where they stopped.
    #[serde(default)]
    pub suspend: bool,
    /// Where trades come from.
    pub exchange: ExchangeSpec,
    /// The brokers and how to reach them.
    pub kafka: KafkaSpec,
    /// Where the schema of the records is registered.
    pub schema_registry: SchemaRegistrySpec,
    /// The topic that is the log of this pipeline.
    #[serde(default)]
    pub topic: TopicSpec,
    /// How trades enter the topic.
    #[serde(default)]
    pub producer: ProducerSpec,
    /// How trades leave the topic.
    #[serde(default)]
    pub consumer: ConsumerSpec,
    /// Which candles are built.
    #[serde(default)]
    pub candles: CandlesSpec,
    /// Where points are written.
    pub influxdb: InfluxdbSpec,
    /// What Grafana gets.
    #[serde(default)]
    pub grafana: GrafanaSpec,
    /// What Prometheus gets.
    #[serde(default)]
    pub monitoring: MonitoringSpec,
}

impl CandlePipeline {
    /// The condition of this type, if the status has one.
    pub fn condition(&self, kind: ConditionType) -> Option<&Condition> {
        let conditions = &self.status.as_ref()?.conditions;
        conditions.iter().find(|condition| condition.type_ == kind.as_str())
    }
}
