//! The lease as an object of the API server: `coordination.k8s.io/v1`.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::MicroTime};
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{LeaseApi, LeaseError, Record};

/// One `Lease` object.
#[derive(Clone, Debug)]
pub struct KubeLease {
    api: Api<Lease>,
    name: String,
}

impl KubeLease {
    /// The lease `name` in `namespace`.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned() }
    }
}

impl LeaseApi for KubeLease {
    async fn get(&self) -> Result<Option<Record>, LeaseError> {
        self.api.get_opt(&self.name).await.map(|lease| lease.map(record)).map_err(explained)
    }

    async fn create(&self, wanted: &Record) -> Result<Record, LeaseError> {
        let mut lease = Lease {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            spec: None,
        };
        let now = MicroTime(Timestamp::now());
        lease.spec = Some(k8s_openapi::api::coordination::v1::LeaseSpec {
            holder_identity: wanted.holder.clone(),
            lease_duration_seconds: Some(seconds(wanted.duration)),
            lease_transitions: Some(wanted.transitions),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            ..Default::default()
        });
        self.api.create(&PostParams::default(), &lease).await.map(record).map_err(explained)
    }

    async fn update(&self, wanted: &Record) -> Result<Record, LeaseError> {
        let now = MicroTime(Timestamp::now());
        let patch = json!({
            // With it the server refuses the change if the lease is not the one that we saw.
            "metadata": {"resourceVersion": wanted.version},
            "spec": {
                "holderIdentity": wanted.holder,
                "leaseDurationSeconds": seconds(wanted.duration),
                "leaseTransitions": wanted.transitions,
                "renewTime": now,
            }
        });
        let patched = self.api.patch(&self.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.map(record).map_err(explained)
    }
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

fn record(lease: Lease) -> Record {
    let spec = lease.spec.unwrap_or_default();
    let duration = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(0);
    Record {
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        duration: Duration::from_secs(duration),
        transitions: spec.lease_transitions.unwrap_or(0),
        version: lease.metadata.resource_version.unwrap_or_default(),
    }
}

fn explained(error: kube::Error) -> LeaseError {
    match error {
        kube::Error::Api(status) => match status.code {
            409 => LeaseError::Conflict,
            401 | 403 => LeaseError::Forbidden(status.message),
            _ => LeaseError::Other(format!("{} {}", status.code, status.message)),
        },
        error => LeaseError::Other(candles_workers::runtime::chain(&error)),
    }
}
