//! An object that the operator owns, as it should be: what a server-side apply sends.

use kube::core::{ApiResource, GroupVersionKind};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// Annotation with a hash of everything that was applied but replicas. A field that is no longer wanted is still there
/// and no longer desired, so comparing what is desired with what is does not find it; the hash does.
pub const DESIRED_HASH: &str = "candles.dev/desired-hash";

/// Kinds of children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each is its own name")]
pub enum ChildKind {
    ServiceAccount,
    ConfigMap,
    NetworkPolicy,
    PodDisruptionBudget,
    Deployment,
    PodMonitor,
}

impl ChildKind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::ServiceAccount,
        Self::ConfigMap,
        Self::NetworkPolicy,
        Self::PodDisruptionBudget,
        Self::Deployment,
        Self::PodMonitor,
    ];

    /// `(group, version, kind, plural)`.
    const fn names(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::ServiceAccount => ("", "v1", "ServiceAccount", "serviceaccounts"),
            Self::ConfigMap => ("", "v1", "ConfigMap", "configmaps"),
            Self::NetworkPolicy => ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
            Self::PodDisruptionBudget => ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
            Self::Deployment => ("apps", "v1", "Deployment", "deployments"),
            Self::PodMonitor => ("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
        }
    }

    /// `Deployment`.
    pub const fn as_str(self) -> &'static str {
        self.names().2
    }

    /// What a dynamic client needs to know.
    pub fn api_resource(self) -> ApiResource {
        let (group, version, kind, plural) = self.names();
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }
}

/// Which object of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId {
    /// Its kind.
    pub kind: ChildKind,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for ChildId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)
    }
}

/// An object as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    /// Which it is.
    pub id: ChildId,
    /// All of it, as it is applied: `apiVersion`, `kind`, `metadata`, ...; no null, no status.
    pub body: Value,
}

impl Child {
    /// From an object with a name. Its serialised form is sorted, so equal objects have equal bytes.
    pub(super) fn new(kind: ChildKind, object: &impl Serialize) -> Self {
        let object = serde_json::to_value(object).expect("objects of the API are JSON: their keys are text");
        let mut body = without_nulls(object);
        let name = body["metadata"]["name"].as_str().expect("children are named").to_owned();
        let resource = kind.api_resource();
        body["apiVersion"] = json!(resource.api_version);
        body["kind"] = json!(resource.kind);
        let hash = hash_of(&without_replicas(&body));
        body["metadata"]["annotations"][DESIRED_HASH] = json!(hash);
        Self { id: ChildId { kind, name }, body }
    }
}

fn without_replicas(body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(spec) = body["spec"].as_object_mut() {
        spec.remove("replicas");
    }
    body
}

/// 16 hexadecimal digits of the SHA-256 of a value's sorted text.
pub(super) fn hash_of(value: &Value) -> String {
    let digest = Sha256::digest(value.to_string().as_bytes());
    let first = digest.iter().take(8).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    format!("{first:016x}")
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key, without_nulls(value))).collect::<Map<_, _>>())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(without_nulls).collect()),
        other => other,
    }
}
