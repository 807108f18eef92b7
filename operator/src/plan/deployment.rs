//! Deployments of producer and consumers: restricted pods that read one file and some secrets, and nothing else.
//!
//! The arguments of a container are constants. A consumer's `client.id` is made of its pod's name, which the worker
//! takes from its host name. Static membership would need names that survive a restart; pods of a Deployment have none,
//! and cooperative rebalancing moves few partitions without it.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{
            Capabilities, ConfigMapVolumeSource, Container, ContainerPort, HTTPGetAction, KeyToPath,
            LocalObjectReference, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ProjectedVolumeSource,
            ResourceRequirements, SeccompProfile, SecretProjection, SecurityContext,
            TopologySpreadConstraint, Volume, VolumeMount, VolumeProjection,
        },
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use kube::core::ObjectMeta;

use super::{
    CONFIG_FILE, CONFIG_PATH, Child, ChildKind, HTTP_PORT, Role, SECRETS_PATH, WorkerSettings,
    config_map::{self, CONFIG_HASH},
    names,
};
use crate::{
    api::{Assignor, ResourceAmounts, ResourcesSpec},
    validate::{ValidPipeline, ValidWorkers},
};

/// Annotation of the consumers' Deployment: how its running group shares partitions.
pub const ASSIGNOR: &str = "candles.dev/assignor";

/// User and group of the workers; the images need no other.
const USER_ID: i64 = 65532;
/// The workers finish and leave the group in seconds; a broken broker may cost a few more.
const TERMINATION_GRACE_S: i64 = 45;
/// Pods that do not become ready for this long are told to the user. Longer than an image pull usually takes.
const PROGRESS_DEADLINE_S: i32 = 300;
const REVISIONS_KEPT: i32 = 3;

pub(super) fn producer(pipeline: &ValidPipeline, settings: &WorkerSettings) -> Child {
    let replicas = if pipeline.suspend { 0 } else { pipeline.producer.replicas };
    build(pipeline, Role::Producer, &pipeline.producer, settings, replicas, BTreeMap::new())
}

pub(super) fn consumer(
    pipeline: &ValidPipeline,
    settings: &WorkerSettings,
    live: Option<&Deployment>,
) -> Child {
    let (replicas, assignor) = if is_stopping_for_assignor(pipeline, live) {
        (0, live.and_then(running_assignor).unwrap_or_default().to_owned())
    } else {
        let wanted = if pipeline.suspend { 0 } else { pipeline.consumer.replicas };
        (wanted, assignor_name(pipeline.assignor).to_owned())
    };
    let annotations = BTreeMap::from([(ASSIGNOR.to_owned(), assignor)]);
    build(pipeline, Role::Consumer, &pipeline.consumer, settings, replicas, annotations)
}

/// Whether consumers must first stop: members that share partitions in different ways refuse each other, and a rolling
/// update would wait for ever. The annotation keeps the old way until the last pod of it is gone.
pub fn is_stopping_for_assignor(pipeline: &ValidPipeline, live: Option<&Deployment>) -> bool {
    let Some(live) = live else { return false };
    let differs = running_assignor(live).is_some_and(|running| running != assignor_name(pipeline.assignor));
    let status = live.status.as_ref();
    let seen = status.and_then(|status| status.observed_generation) >= live.metadata.generation;
    let stopped = seen
        && live.spec.as_ref().and_then(|spec| spec.replicas) == Some(0)
        && status.and_then(|status| status.replicas).unwrap_or_default() == 0
        && status.and_then(|status| status.terminating_replicas).unwrap_or_default() == 0;
    differs && !stopped
}

fn running_assignor(live: &Deployment) -> Option<&str> {
    live.metadata.annotations.as_ref()?.get(ASSIGNOR).map(String::as_str)
}

const fn assignor_name(assignor: Assignor) -> &'static str {
    match assignor {
        Assignor::CooperativeSticky => "CooperativeSticky",
        Assignor::Range => "Range",
        Assignor::RoundRobin => "RoundRobin",
        Assignor::Broker => "Broker",
    }
}

fn build(
    pipeline: &ValidPipeline,
    role: Role,
    workers: &ValidWorkers,
    settings: &WorkerSettings,
    replicas: i32,
    annotations: BTreeMap<String, String>,
) -> Child {
    let mut metadata = names::metadata(pipeline, names::workload(pipeline, role), Some(role));
    metadata.annotations = Some(annotations);
    let object = Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: Some(replicas),
            revision_history_limit: Some(REVISIONS_KEPT),
            progress_deadline_seconds: Some(PROGRESS_DEADLINE_S),
            selector: LabelSelector {
                match_labels: Some(names::selector(&pipeline.name, role)),
                ..LabelSelector::default()
            },
            // The old pod works until the new one does: two producers lose nothing, a bad image stops nobody.
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            template: template(pipeline, role, workers, settings),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    };
    Child::new(ChildKind::Deployment, &object)
}

fn template(
    pipeline: &ValidPipeline,
    role: Role,
    workers: &ValidWorkers,
    settings: &WorkerSettings,
) -> PodTemplateSpec {
    let pod = &workers.pod;
    let mut labels = pod.labels.clone();
    labels.extend(names::labels(pipeline, Some(role)));
    let mut annotations = pod.annotations.clone();
    annotations.insert(CONFIG_HASH.to_owned(), config_map::hash(&pipeline.config, role));
    let pull_secrets = settings.pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() });
    let spread = pod.topology_spread_constraints.clone().unwrap_or_else(|| spread_evenly(pipeline, role));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(names::service_account(pipeline)),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(TERMINATION_GRACE_S),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER_ID),
                run_as_group: Some(USER_ID),
                fs_group: Some(USER_ID),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    ..SeccompProfile::default()
                }),
                ..PodSecurityContext::default()
            }),
            image_pull_secrets: some_list(pull_secrets.collect()),
            node_selector: (!pod.node_selector.is_empty()).then(|| pod.node_selector.clone()),
            tolerations: some_list(pod.tolerations.clone()),
            affinity: pod.affinity.clone(),
            priority_class_name: pod.priority_class_name.clone(),
            topology_spread_constraints: some_list(spread),
            containers: vec![container(pipeline, role, workers, settings)],
            volumes: some_list(volumes(pipeline, role)),
            ..PodSpec::default()
        }),
    }
}

fn container(
    pipeline: &ValidPipeline,
    role: Role,
    workers: &ValidWorkers,
    settings: &WorkerSettings,
) -> Container {
    let image = match role {
        Role::Producer => &settings.producer_image,
        Role::Consumer => &settings.consumer_image,
    };
    let mount = |name: &str, path: &str| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    let mut mounts = vec![mount("config", CONFIG_PATH)];
    if secrets_of(pipeline, role).next().is_some() {
        mounts.push(mount("secrets", SECRETS_PATH));
    }
    let probe = |path: &str, period_s, failures| Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_s),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    };
    Container {
        name: role.as_str().to_owned(),
        image: Some(image.clone()),
        image_pull_policy: Some(settings.pull_policy.clone()),
        args: Some(vec![
            format!("--config={CONFIG_PATH}/{CONFIG_FILE}"),
            format!("--http-address=0.0.0.0:{HTTP_PORT}"),
            "--log-format=json".to_owned(),
        ]),
        ports: Some(vec![ContainerPort {
            name: Some("http".to_owned()),
            container_port: HTTP_PORT,
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        startup_probe: Some(probe("/healthz", 1, 30)),
        liveness_probe: Some(probe("/healthz", 20, 3)),
        readiness_probe: Some(probe("/readyz", 5, 2)),
        resources: Some(resources(&workers.resources)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                ..Capabilities::default()
            }),
            ..SecurityContext::default()
        }),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

fn resources(spec: &ResourcesSpec) -> ResourceRequirements {
    let amounts = |amounts: &ResourceAmounts| {
        let named = [
            ("cpu", &amounts.cpu),
            ("memory", &amounts.memory),
            ("ephemeral-storage", &amounts.ephemeral_storage),
        ];
        let set = named.into_iter().filter_map(|(name, amount)| Some((name.to_owned(), amount.clone()?)));
        let set: BTreeMap<String, Quantity> = set.collect();
        (!set.is_empty()).then_some(set)
    };
    ResourceRequirements {
        requests: amounts(&spec.requests),
        limits: amounts(&spec.limits),
        ..ResourceRequirements::default()
    }
}

fn secrets_of(pipeline: &ValidPipeline, role: Role) -> impl Iterator<Item = &crate::validate::SecretFile> {
    pipeline.secrets.iter().filter(move |secret| role == Role::Consumer || secret.for_producer)
}

/// The kubelet renews both volumes when their sources change: that is how a rotated secret arrives without a restart.
fn volumes(pipeline: &ValidPipeline, role: Role) -> Vec<Volume> {
    let mut volumes = vec![Volume {
        name: "config".to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: config_map::name(pipeline),
            default_mode: Some(0o440),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }];
    let sources: Vec<VolumeProjection> = secrets_of(pipeline, role)
        .map(|file| VolumeProjection {
            secret: Some(SecretProjection {
                name: file.secret.name.clone(),
                items: Some(vec![KeyToPath {
                    key: file.secret.key.clone(),
                    path: file.file.to_owned(),
                    ..KeyToPath::default()
                }]),
                ..SecretProjection::default()
            }),
            ..VolumeProjection::default()
        })
        .collect();
    if !sources.is_empty() {
        volumes.push(Volume {
            name: "secrets".to_owned(),
            projected: Some(ProjectedVolumeSource { sources: Some(sources), default_mode: Some(0o440) }),
            ..Volume::default()
        });
    }
    volumes
}

fn spread_evenly(pipeline: &ValidPipeline, role: Role) -> Vec<TopologySpreadConstraint> {
    let over = |key: &str| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some(names::selector(&pipeline.name, role)),
            ..LabelSelector::default()
        }),
        // Old pods of a rollout do not push new ones aside.
        match_label_keys: Some(vec!["pod-template-hash".to_owned()]),
        ..TopologySpreadConstraint::default()
    };
    vec![over("kubernetes.io/hostname"), over("topology.kubernetes.io/zone")]
}

fn some_list<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
