//! Names, labels and owners of children.

use std::collections::BTreeMap;

use kube::core::ObjectMeta;

use crate::validate::ValidPipeline;

/// Value of `app.kubernetes.io/managed-by` on every child.
pub const MANAGED_BY: &str = "candles-operator";

/// Which worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Publishes trades.
    Producer,
    /// Stores them.
    Consumer,
}

impl Role {
    /// As it stands in names and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

pub(super) fn workload(pipeline: &ValidPipeline, role: Role) -> String {
    format!("{}-{}", pipeline.name, role.as_str())
}

pub(super) fn service_account(pipeline: &ValidPipeline) -> String {
    format!("{}-worker", pipeline.name)
}

/// Labels that select the pods of a role of a pipeline. Selectors cannot be changed: neither can these.
pub fn selector(pipeline: &str, role: Role) -> BTreeMap<String, String> {
    let mut labels = pipeline_selector(pipeline);
    labels.insert("app.kubernetes.io/component".to_owned(), role.as_str().to_owned());
    labels
}

/// [`selector`] as one text, as autoscalers read it.
pub fn selector_text(pipeline: &str, role: Role) -> String {
    let pairs: Vec<String> =
        selector(pipeline, role).into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

/// Labels that select the pods of both roles.
pub(super) fn pipeline_selector(pipeline: &str) -> BTreeMap<String, String> {
    [("app.kubernetes.io/name", "candles"), ("app.kubernetes.io/instance", pipeline)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Labels of a child; `role` where it belongs to one.
pub(super) fn labels(pipeline: &ValidPipeline, role: Option<Role>) -> BTreeMap<String, String> {
    let mut labels = match role {
        Some(role) => selector(&pipeline.name, role),
        None => pipeline_selector(&pipeline.name),
    };
    labels.insert("app.kubernetes.io/managed-by".to_owned(), MANAGED_BY.to_owned());
    labels
}

/// Name, labels and owner of a child.
pub(super) fn metadata(pipeline: &ValidPipeline, name: String, role: Option<Role>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(pipeline.namespace.clone()),
        labels: Some(labels(pipeline, role)),
        owner_references: Some(vec![pipeline.owner.clone()]),
        ..ObjectMeta::default()
    }
}
