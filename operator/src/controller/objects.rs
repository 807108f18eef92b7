//! Objects of the API server as the controller reads and writes them: one request each, a time limit on each.

use std::{future::Future, time::Duration};

use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy},
    core::{DeserializeGuard, Status},
};
use serde_json::{Value, json};

use crate::{
    api::{CandlePipeline, CandlePipelineStatus},
    client::NotLeader,
    limits::{READ, WRITE},
    topic::claims::Key,
};

/// The one field manager of all that the operator writes. Never renamed: fields would belong to nobody.
pub const FIELD_MANAGER: &str = "candles-operator";
/// Holds a deleted pipeline until its topic is deleted, for `deletionPolicy: Delete` only.
pub const FINALIZER: &str = "candles.dev/topic";

/// Why a request failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApiError {
    /// The object is not as it was when it was read.
    #[error("the object has changed meanwhile")]
    Conflict,
    /// The server refuses what is asked: rights, quota, admission, a field that it does not take.
    #[error("{0}")]
    Refused(String),
    /// This process may not write any more.
    #[error("{NotLeader}")]
    NotLeader,
    /// No answer, or the server cannot now. Whether the request had an effect is not known.
    #[error("{0}")]
    Unavailable(String),
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) => match status.code {
                409 => Self::Conflict,
                400 | 401 | 403 | 404 | 405 | 413 | 415 | 422 => Self::Refused(words(status)),
                _ => Self::Unavailable(format!("{} {}", status.code, words(status))),
            },
            kube::Error::Service(cause) if cause.downcast_ref::<NotLeader>().is_some() => Self::NotLeader,
            _ => Self::Unavailable(candles_workers::runtime::chain(&error)),
        }
    }
}

fn words(status: &Status) -> String {
    if status.message.is_empty() { status.reason.clone() } else { status.message.clone() }
}

/// Reads and writes objects.
#[derive(Clone)]
pub struct Objects {
    client: Client,
}

impl Objects {
    /// Through this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// A pipeline as it is now; `Err` inside for one that does not fit the types.
    pub async fn pipeline(&self, key: &Key) -> Result<Option<DeserializeGuard<CandlePipeline>>, ApiError> {
        let api: Api<DeserializeGuard<CandlePipeline>> = Api::namespaced(self.client.clone(), &key.namespace);
        limited(READ, async { api.get(&key.name).await.map(Some).or_else(absent) }).await
    }

    /// An object; `None` when it does not exist, or its kind does not.
    pub async fn get(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<DynamicObject>, ApiError> {
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, resource);
        limited(READ, async { api.get(name).await.map(Some).or_else(absent) }).await
    }

    /// Makes an object what we want, and leaves alone what others set in it. `force` takes fields of others over.
    pub async fn apply(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
        body: &Value,
        force: bool,
    ) -> Result<DynamicObject, ApiError> {
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, resource);
        let params = PatchParams { force, ..PatchParams::apply(FIELD_MANAGER) };
        limited(WRITE, api.patch(name, &params, &Patch::Apply(body))).await
    }

    /// Scales a Deployment to nothing, if it is as it was seen.
    pub async fn stop(&self, namespace: &str, seen: &DynamicObject) -> Result<(), ApiError> {
        let api = Api::<Deployment>::namespaced(self.client.clone(), namespace);
        let metadata = &seen.metadata;
        let body = json!({
            "metadata": {"resourceVersion": metadata.resource_version, "uid": metadata.uid},
            "spec": {"replicas": 0},
        });
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let name = metadata.name.clone().unwrap_or_default();
        limited(WRITE, async {
            api.patch(&name, &params, &Patch::Merge(&body)).await.map(drop).or_else(gone_is_fine)
        })
        .await
    }

    /// Deletes an object, if it is still the very one that was seen.
    pub async fn delete(
        &self,
        resource: &ApiResource,
        namespace: &str,
        seen: &DynamicObject,
    ) -> Result<(), ApiError> {
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, resource);
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions {
                uid: seen.metadata.uid.clone(),
                resource_version: seen.metadata.resource_version.clone(),
            }),
            ..DeleteParams::default()
        };
        let name = seen.metadata.name.clone().unwrap_or_default();
        match limited(WRITE, async { api.delete(&name, &params).await.map(drop).or_else(gone_is_fine) }).await
        {
            // Changed meanwhile: the next pass looks again.
            Err(ApiError::Conflict) => Ok(()),
            done => done,
        }
    }

    /// Replaces what we say in the status of a pipeline. Refused when another pipeline has its name now.
    pub async fn write_status(
        &self,
        key: &Key,
        uid: &str,
        status: &CandlePipelineStatus,
    ) -> Result<(), ApiError> {
        let api: Api<CandlePipeline> = Api::namespaced(self.client.clone(), &key.namespace);
        let body = json!({
            "apiVersion": "candles.dev/v1alpha1",
            "kind": "CandlePipeline",
            "metadata": {"name": key.name, "uid": uid},
            "status": status,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        limited(WRITE, async { api.patch_status(&key.name, &params, &Patch::Apply(&body)).await.map(drop) })
            .await
    }

    /// Puts our finalizer on a pipeline or takes it away, if the pipeline is still as it was read.
    pub async fn set_finalizer(
        &self,
        key: &Key,
        metadata: &kube::api::ObjectMeta,
        wanted: bool,
    ) -> Result<(), ApiError> {
        let mut finalizers = metadata.finalizers.clone().unwrap_or_default();
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        if wanted {
            finalizers.push(FINALIZER.to_owned());
        }
        let body = json!({
            "metadata": {
                "resourceVersion": metadata.resource_version,
                "uid": metadata.uid,
                "finalizers": finalizers,
            }
        });
        let api = Api::<DynamicObject>::namespaced_with(
            self.client.clone(),
            &key.namespace,
            &ApiResource::erase::<CandlePipeline>(&()),
        );
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        limited(WRITE, async {
            api.patch(&key.name, &params, &Patch::Merge(&body)).await.map(drop).or_else(gone_is_fine)
        })
        .await
    }
}

/// By code: for a kind that does not exist the server gives no reason.
fn absent<R>(error: kube::Error) -> Result<Option<R>, kube::Error> {
    match error {
        kube::Error::Api(status) if status.code == 404 => Ok(None),
        error => Err(error),
    }
}

fn gone_is_fine(error: kube::Error) -> Result<(), kube::Error> {
    match error {
        kube::Error::Api(status) if status.code == 404 => Ok(()),
        error => Err(error),
    }
}

/// The fence limits the time to the head of an answer, this also the rest.
async fn limited<R>(
    limit: Duration,
    request: impl Future<Output = Result<R, kube::Error>>,
) -> Result<R, ApiError> {
    match tokio::time::timeout(limit, request).await {
        Ok(answer) => answer.map_err(ApiError::from),
        Err(_) => {
            Err(ApiError::Unavailable(format!("no answer from the API server within {} s", limit.as_secs())))
        }
    }
}
