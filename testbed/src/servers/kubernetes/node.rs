//! A node that is only said to exist: a Node object with a heartbeat, and the status that a kubelet would write for each
//! pod that the scheduler puts there. **No container ever runs.** For tests of what watches Deployments, where a real
//! node would cost a container runtime; everything else about the pods (ReplicaSets, quota, scheduling, deletion) is
//! done by the real control plane.
//! Pods of missing Secrets and ConfigMaps wait, as a kubelet's do; a test can choose other misfortunes ([`Fate`]).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::api::Api;
use crate::servers::error::{Error, Result};

const NAME: &str = "hand-made";
/// A kubelet's own; the controller's patience is 50 s.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// All pods are looked at again after this time: some may wait for a Secret.
const AGAIN: Duration = Duration::from_secs(2);

/// What becomes of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its containers run and are ready.
    Ready,
    /// Its containers run and never get ready.
    NeverReady,
    /// Its image cannot be pulled.
    ImagePullBackOff,
    /// Its containers end with exit status 1 again and again.
    CrashLoop,
}

/// Pods whose name starts so, in any namespace, have this fate; the latest rule that fits decides.
type Rules = Arc<Vec<(String, Fate)>>;

/// Keeps the node alive until dropped.
#[derive(Debug)]
pub struct HandMadeNode {
    rules: watch::Sender<Rules>,
    _stop: DropGuard,
}

impl HandMadeNode {
    /// Adds the node. It works on a thread of its own, since a test's runtime ends before shared servers do.
    pub fn start(api: impl FnOnce() -> Api + Send + 'static) -> Result<Self> {
        let (rules, seen) = watch::channel(Rules::default());
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a process that runs servers can have a runtime");
            runtime.block_on(async {
                // Made here: its connections belong to this runtime.
                let api = api();
                let work = async { tokio::join!(heartbeat(&api), run_pods(&api, seen)) };
                stopped.run_until_cancelled(work).await;
            });
        };
        let thread = std::thread::Builder::new().name("testbed-node".into()).spawn(work);
        thread.map_err(Error::io("start a thread for the hand-made node"))?;
        Ok(Self { rules, _stop: stop.drop_guard() })
    }

    /// Decides about pods whose name starts with `prefix`, also those that are there already. Without a rule a pod is
    /// [`Fate::Ready`].
    pub fn decide(&self, prefix: &str, fate: Fate) {
        self.rules.send_modify(|rules| Arc::make_mut(rules).push((prefix.to_owned(), fate)));
    }
}

/// Never ends; a server that is down is asked again.
async fn heartbeat(api: &Api) {
    let path = format!("/api/v1/nodes/{NAME}");
    loop {
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": NAME, "labels": {"kubernetes.io/hostname": NAME, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}},
        });
        let now = Timestamp::now().to_string();
        let room = json!({"cpu": "10000", "memory": "100Ti", "ephemeral-storage": "100Ti", "pods": "100000"});
        let ready = json!({
            "type": "Ready", "status": "True", "reason": "HandMade", "message": "no container runs here",
            "lastHeartbeatTime": now,
        });
        let status = json!({"status": {"capacity": room, "allocatable": room, "conditions": [ready]}});
        let done = async {
            if api.find(&path).await?.is_none() {
                api.create("/api/v1/nodes", &node).await?;
            }
            api.merge(&format!("{path}/status"), &status).await
        };
        let pause = if done.await.is_ok() { HEARTBEAT } else { Duration::from_millis(500) };
        tokio::time::sleep(pause).await;
    }
}

/// Never ends; looks at all pods, then at changes, and from the start again after a while or when a rule comes.
async fn run_pods(api: &Api, mut rules: watch::Receiver<Rules>) {
    loop {
        let decided = Arc::clone(&rules.borrow_and_update());
        let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{NAME}");
        let watch = api.watch(&path, async |kind, pod| {
            if matches!(kind, "ADDED" | "MODIFIED") {
                // A pod that has gone meanwhile, or a server that is down: the next look will tell.
                let _ = attend(api, &decided, &pod).await;
            }
            kind != "ERROR"
        });
        tokio::select! {
            ended = watch => if ended.is_err() { tokio::time::sleep(Duration::from_millis(500)).await },
            _ = rules.changed() => {}
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// Does what a kubelet would tell about one pod.
async fn attend(api: &Api, rules: &[(String, Fate)], pod: &Value) -> Result<()> {
    let text = |key: &str| pod["metadata"][key].as_str().unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        return api.delete_with(&path, &json!({"gracePeriodSeconds": 0})).await;
    }
    let fate =
        rules.iter().rev().find(|(prefix, _)| name.starts_with(prefix)).map_or(Fate::Ready, |rule| rule.1);
    let waiting = match missing(api, namespace, &pod["spec"]).await? {
        Some(what) => Some(("CreateContainerConfigError", what)),
        None => misfortune(fate),
    };
    let status = status(pod, fate, waiting.as_ref());
    if is_part_of(&status, &pod["status"]) {
        return Ok(());
    }
    api.merge(&format!("{path}/status"), &json!({"status": status})).await.map(drop)
}

/// Reason and message of a container that waits.
fn misfortune(fate: Fate) -> Option<(&'static str, String)> {
    match fate {
        Fate::Ready | Fate::NeverReady => None,
        Fate::ImagePullBackOff => Some(("ImagePullBackOff", "Back-off pulling image: not found".to_owned())),
        Fate::CrashLoop => Some(("CrashLoopBackOff", "back-off 10s restarting failed container".to_owned())),
    }
}

/// The first Secret or ConfigMap that a pod needs and that is not there.
async fn missing(api: &Api, namespace: &str, spec: &Value) -> Result<Option<String>> {
    for (kind, name) in needs(spec) {
        if api.find(&format!("/api/v1/namespaces/{namespace}/{kind}s/{name}")).await?.is_none() {
            return Ok(Some(format!("{kind} \"{name}\" not found")));
        }
    }
    Ok(None)
}

fn needs(spec: &Value) -> Vec<(&'static str, String)> {
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let required = |source: &Value| source["optional"] != true;
    let mut found = Vec::new();
    let mut add = |kind, source: &Value, key: &str| {
        if let Some(name) = source[key].as_str().filter(|_| required(source)) {
            found.push((kind, name.to_owned()));
        }
    };
    for volume in items(&spec["volumes"]) {
        add("secret", &volume["secret"], "secretName");
        add("configmap", &volume["configMap"], "name");
        for source in items(&volume["projected"]["sources"]) {
            add("secret", &source["secret"], "name");
            add("configmap", &source["configMap"], "name");
        }
    }
    for variable in items(&spec["containers"]).iter().flat_map(|container| items(&container["env"])) {
        add("secret", &variable["valueFrom"]["secretKeyRef"], "name");
        add("configmap", &variable["valueFrom"]["configMapKeyRef"], "name");
    }
    found
}

fn status(pod: &Value, fate: Fate, waiting: Option<&(&str, String)>) -> Value {
    let runs = waiting.is_none();
    let ready = runs && fate == Fate::Ready;
    let begun = &pod["metadata"]["creationTimestamp"];
    let ended =
        json!({"terminated": {"exitCode": 1, "reason": "Error", "startedAt": begun, "finishedAt": begun}});
    let (state, last, restarts) = match waiting {
        None => (json!({"running": {"startedAt": begun}}), json!({}), 0),
        Some((reason, message)) => {
            let last = if fate == Fate::CrashLoop { ended } else { json!({}) };
            let restarts = if fate == Fate::CrashLoop { 4 } else { 0 };
            (json!({"waiting": {"reason": reason, "message": message}}), last, restarts)
        }
    };
    let containers = pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let container = |container: &Value| {
        json!({
            "name": container["name"], "image": container["image"], "imageID": "", "ready": ready,
            "started": runs, "restartCount": restarts, "state": state, "lastState": last,
        })
    };
    let condition = |kind: &str, holds: bool| {
        let status = if holds { "True" } else { "False" };
        json!({"type": kind, "status": status, "lastTransitionTime": begun})
    };
    // As the kubelet has it, a pod whose container crashes runs.
    let phase = if runs || fate == Fate::CrashLoop { "Running" } else { "Pending" };
    json!({
        "phase": phase,
        "startTime": begun,
        "conditions": [
            condition("PodScheduled", true), condition("Initialized", true),
            condition("ContainersReady", ready), condition("Ready", ready),
        ],
        "containerStatuses": containers.iter().map(container).collect::<Vec<_>>(),
    })
}

/// Whether a value has at least these members with these values; lists must be as long.
fn is_part_of(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), whole) => part.iter().all(|(key, value)| is_part_of(value, &whole[key])),
        (Value::Array(part), Value::Array(whole)) => {
            part.len() == whole.len() && part.iter().zip(whole).all(|(part, whole)| is_part_of(part, whole))
        }
        (part, whole) => part == whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Value {
        json!({
            "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {
                "containers": [{"name": "c", "image": "i", "env": [
                    {"name": "A", "valueFrom": {"secretKeyRef": {"name": "token", "key": "k"}}},
                ]}],
                "volumes": [
                    {"name": "v", "secret": {"secretName": "login"}},
                    {"name": "w", "secret": {"secretName": "extra", "optional": true}},
                    {"name": "x", "configMap": {"name": "settings"}},
                ],
            },
        })
    }

    #[test]
    fn pods_need_the_secrets_and_config_maps_that_are_not_optional() {
        let found = needs(&pod()["spec"]);
        let names: Vec<String> = found.into_iter().map(|(kind, name)| format!("{kind}/{name}")).collect();
        assert_eq!(names, ["secret/login", "configmap/settings", "secret/token"]);
    }

    #[test]
    fn a_status_that_was_written_is_not_written_again() {
        for fate in [Fate::Ready, Fate::NeverReady, Fate::ImagePullBackOff, Fate::CrashLoop] {
            let told = status(&pod(), fate, misfortune(fate).as_ref());
            let mut stored = told.clone();
            // The server adds what it likes and drops nothing but empty members.
            stored["hostIP"] = json!("10.0.0.1");
            assert!(is_part_of(&told, &stored), "{fate:?}");
            stored["conditions"][3]["status"] = json!("Unknown");
            assert!(!is_part_of(&told, &stored), "{fate:?}");
        }
    }

    #[test]
    fn only_a_ready_pod_is_told_ready() {
        let ready = |fate| status(&pod(), fate, misfortune(fate).as_ref())["conditions"][3]["status"].clone();
        assert_eq!(ready(Fate::Ready), "True");
        for fate in [Fate::NeverReady, Fate::ImagePullBackOff, Fate::CrashLoop] {
            assert_eq!(ready(fate), "False", "{fate:?}");
        }
    }
}
