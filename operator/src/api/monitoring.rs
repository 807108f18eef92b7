//! What Grafana and Prometheus get, as users ask for it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// What Grafana gets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GrafanaSpec {
    /// A dashboard with candlesticks of the pipeline.
    pub dashboard: DashboardSpec,
}

/// A dashboard in a ConfigMap with the label `grafana_dashboard: "1"`, where Grafana's sidecar finds it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DashboardSpec {
    /// Whether it is made.
    pub enabled: bool,
}

/// What Prometheus gets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MonitoringSpec {
    /// A PodMonitor, for clusters with the Prometheus operator.
    pub pod_monitor: PodMonitorSpec,
}

/// A PodMonitor that scrapes producer and consumers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMonitorSpec {
    /// Whether it is made.
    pub enabled: bool,
    /// Labels by which Prometheus selects it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = rules::texts(63, rules::LABEL_VALUE_PATTERN)))]
    #[schemars(extend("x-kubernetes-validations" = [rules::names_of_metadata(), rules::labels_are_not_the_operators()]))]
    pub labels: BTreeMap<String, String>,
}
