//! A checked pipeline, the operator's own settings and what runs in; every object and topic that should be, out.
//!
//! Pure: no client, no clock, no randomness. Nothing is written before the whole plan exists.
//! - Equal inputs give equal bytes. (`equal_inputs_give_equal_bytes`)
//! - A replica change changes one number of one Deployment and restarts nothing. (`a_replica_change_changes_one_number`)
//! - Suspending changes replicas only. (`suspending_changes_replicas_only`)
//! - Every child has the pipeline as its owner, and the labels that select it. (`every_child_is_owned_and_labelled`)
//! - What the user writes never becomes an argument or a variable of a container.
//!   (`no_text_of_the_user_reaches_arguments_or_variables`)

mod child;
mod config_map;
mod dashboard;
mod deployment;
mod names;
mod network;
mod pod_monitor;
mod topics;

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::ServiceAccount,
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

pub use self::{
    child::{Child, ChildId, ChildKind, DESIRED_HASH},
    config_map::CONFIG_HASH,
    deployment::{ASSIGNOR, is_stopping_for_assignor},
    names::{MANAGED_BY, Role, selector, selector_text},
    topics::DesiredTopic,
};
use crate::validate::ValidPipeline;

/// Where the workers find their configuration.
pub const CONFIG_PATH: &str = "/etc/candles/config";
/// Name of the configuration in its ConfigMap.
pub const CONFIG_FILE: &str = "pipeline.yaml";
/// Where the workers find their secrets.
pub const SECRETS_PATH: &str = "/etc/candles/secrets";
/// Where the workers serve health and metrics.
pub const HTTP_PORT: i32 = 8080;

/// What the operator was started with: the same for all pipelines, and never from a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSettings {
    /// Image of the producer.
    pub producer_image: String,
    /// Image of the consumer.
    pub consumer_image: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub pull_policy: String,
    /// Names of Secrets for the image registry, in the namespace of the pipeline.
    pub pull_secrets: Vec<String>,
}

/// Everything that should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Objects that stand before the topic is touched, in the order of writing.
    pub first: Vec<Child>,
    /// The topic and its dead letter topic.
    pub topics: [DesiredTopic; 2],
    /// Written once the topics are ready: producer, then consumers.
    pub deployments: Vec<Child>,
    /// Children that the spec does not ask for (any more).
    pub unwanted: Vec<ChildId>,
}

/// Plans everything. `consumer` is the consumers' Deployment as it is: one group does not mix two ways of sharing
/// partitions, so their change goes over zero replicas.
pub fn plan(pipeline: &ValidPipeline, settings: &WorkerSettings, consumer: Option<&Deployment>) -> Plan {
    let mut first = vec![
        service_account(pipeline),
        config_map::config_map(pipeline),
        network::network_policy(pipeline),
        disruption_budget(pipeline, Role::Producer),
        disruption_budget(pipeline, Role::Consumer),
    ];
    let optional = [
        (
            pod_monitor::id(pipeline),
            pipeline.pod_monitor.as_ref().map(|labels| pod_monitor::pod_monitor(pipeline, labels)),
        ),
        (dashboard::id(pipeline), pipeline.dashboard.then(|| dashboard::config_map(pipeline))),
    ];
    let mut unwanted = Vec::new();
    for (id, child) in optional {
        match child {
            Some(child) => first.push(child),
            None => unwanted.push(id),
        }
    }
    Plan {
        first,
        topics: topics::topics(pipeline),
        deployments: vec![
            deployment::producer(pipeline, settings),
            deployment::consumer(pipeline, settings, consumer),
        ],
        unwanted,
    }
}

impl Plan {
    /// All children that should be.
    pub fn children(&self) -> impl Iterator<Item = &Child> {
        self.first.iter().chain(&self.deployments)
    }
}

/// Workers never speak to the API server.
fn service_account(pipeline: &ValidPipeline) -> Child {
    let object = ServiceAccount {
        metadata: names::metadata(pipeline, names::service_account(pipeline), None),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    };
    Child::new(ChildKind::ServiceAccount, &object)
}

/// One pod of a role may be evicted at a time: with one replica a node can still be drained, with more some stay.
fn disruption_budget(pipeline: &ValidPipeline, role: Role) -> Child {
    let object = PodDisruptionBudget {
        metadata: names::metadata(pipeline, names::workload(pipeline, role), Some(role)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(selector(&pipeline.name, role)),
                ..LabelSelector::default()
            }),
            // A pod that is not ready does no work that its eviction could disturb.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    };
    Child::new(ChildKind::PodDisruptionBudget, &object)
}

#[cfg(test)]
mod tests;
