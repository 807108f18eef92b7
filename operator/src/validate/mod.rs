//! A resource in, a [`ValidPipeline`] out, or every field that is wrong with its value and the rule.
//!
//! The API server has checked most of it already. What is checked here again is what could harm if it were not so: an
//! older definition may be installed, and a resource may be older than its rules.
//! Nothing else of the operator reads a spec: builders take a [`ValidPipeline`] only.

mod config;
mod pod;
mod topic;

use std::{collections::BTreeMap, fmt};

use candles_core::config::PipelineConfig;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource as _, ResourceExt as _};

pub use self::topic::{TOPIC_SETTINGS, ValidTopic};
use crate::api::{Assignor, CandlePipeline, PodSpec, ResourcesSpec, SecretKeyRef};

/// Longest name of a pipeline: children's names are it and a suffix, and must fit into a label.
pub const NAME_LENGTH_MAX: usize = 40;

/// A pipeline that builders can rely on. Only [`validate`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidPipeline {
    /// Its name: a DNS label of at most [`NAME_LENGTH_MAX`] characters.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// What makes it the owner of its children.
    pub owner: OwnerReference,
    /// Its generation: which version of the spec this is.
    pub generation: i64,
    /// What the workers read. Secrets are files in [`crate::plan::SECRETS_PATH`].
    pub config: PipelineConfig,
    /// The topic and its dead letter topic.
    pub topic: ValidTopic,
    /// Whether no worker runs.
    pub suspend: bool,
    /// The producers.
    pub producer: ValidWorkers,
    /// The consumers.
    pub consumer: ValidWorkers,
    /// How the consumers share partitions: two ways do not mix in one group.
    pub assignor: Assignor,
    /// Secrets that the workers read, as files.
    pub secrets: Vec<SecretFile>,
    /// Whether Grafana gets a dashboard.
    pub dashboard: bool,
    /// Labels of the PodMonitor, if there is one.
    pub pod_monitor: Option<BTreeMap<String, String>>,
    /// Nobody else makes one.
    _checked: Checked,
}

/// What only this module has.
#[derive(Clone, Debug, PartialEq)]
struct Checked;

/// The pods of a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidWorkers {
    /// How many are wanted while not suspended.
    pub replicas: i32,
    /// What each requests and may use.
    pub resources: ResourcesSpec,
    /// What else they get.
    pub pod: PodSpec,
}

/// A key of a Secret that workers read as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    /// Field of the spec that names it.
    pub field: &'static str,
    /// Name of the file.
    pub file: &'static str,
    /// Which key of which Secret.
    pub secret: SecretKeyRef,
    /// Whether the producer needs it too.
    pub for_producer: bool,
}

/// What is wrong with a spec: one line for each problem, as `spec.topic.partitions: 0 is not 1 to 1000`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct InvalidSpec(pub Vec<String>);

/// Collects what is wrong.
#[derive(Debug, Default)]
struct Problems(Vec<String>);

impl Problems {
    fn add(&mut self, field: impl fmt::Display, problem: impl fmt::Display) {
        self.0.push(format!("{field}: {problem}"));
    }

    fn range(&mut self, field: &str, value: i32, min: i32, max: i32) {
        if !(min..=max).contains(&value) {
            self.add(field, format_args!("{value} is not {min} to {max}"));
        }
    }
}

/// Checks a resource. The spec's defaults are those of the API server, which has filled them in.
pub fn validate(pipeline: &CandlePipeline) -> Result<ValidPipeline, InvalidSpec> {
    let mut problems = Problems::default();
    let spec = &pipeline.spec;
    let name = pipeline.name_any();
    if !is_dns_label(&name) || name.len() > NAME_LENGTH_MAX {
        problems.add(
            "metadata.name",
            format_args!("{name:?} is not at most 40 small letters, digits and '-', letter first"),
        );
    }
    let (Some(namespace), Some(owner)) = (pipeline.namespace(), pipeline.controller_owner_ref(&())) else {
        problems.add("metadata", "has no namespace or no uid: it does not come from an API server");
        return Err(InvalidSpec(problems.0));
    };
    let topic = topic::check(&spec.topic, &format!("{namespace}.{name}"), &mut problems);
    let secrets = config::secret_files(spec, &mut problems);
    let config = config::check(spec, &topic.name, &mut problems);
    problems.range("spec.producer.replicas", spec.producer.replicas, 0, 3);
    problems.range("spec.consumer.replicas", spec.consumer.replicas, 0, 1000);
    pod::check_resources("spec.producer.resources", &spec.producer.resources, &mut problems);
    pod::check_resources("spec.consumer.resources", &spec.consumer.resources, &mut problems);
    pod::check_pod("spec.producer.pod", &spec.producer.pod, &mut problems);
    pod::check_pod("spec.consumer.pod", &spec.consumer.pod, &mut problems);
    pod::check_metadata(
        "spec.monitoring.podMonitor.labels",
        &spec.monitoring.pod_monitor.labels,
        &mut problems,
    );
    if let Some(config) = &config {
        topic::check_against(config, &topic, &mut problems);
    }
    let (Some(config), true) = (config, problems.0.is_empty()) else {
        return Err(InvalidSpec(problems.0));
    };
    let (producer, consumer, monitor) = (&spec.producer, &spec.consumer, &spec.monitoring.pod_monitor);
    Ok(ValidPipeline {
        name,
        namespace,
        owner,
        generation: pipeline.metadata.generation.unwrap_or_default(),
        config,
        topic,
        suspend: spec.suspend,
        producer: ValidWorkers {
            replicas: producer.replicas,
            resources: producer.resources.clone(),
            pod: producer.pod.clone(),
        },
        consumer: ValidWorkers {
            replicas: consumer.replicas,
            resources: consumer.resources.clone(),
            pod: consumer.pod.clone(),
        },
        assignor: consumer.assignor,
        secrets,
        dashboard: spec.grafana.dashboard.enabled,
        pod_monitor: monitor.enabled.then(|| monitor.labels.clone()),
        _checked: Checked,
    })
}

fn is_dns_label(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    text.starts_with(|c: char| c.is_ascii_lowercase()) && !text.ends_with('-') && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests;
