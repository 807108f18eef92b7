//! The objects of one pipeline: what is there and what the plan wants in; single writes out, only where they differ.
//!
//! An object of a child's name that is not this pipeline's own, by UID, is refused: never changed, never deleted.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{ResourceExt as _, api::DynamicObject};

use super::{
    objects::{ApiError, Objects},
    pass::PassError,
    watches::owners,
};
use crate::{
    api::CandlePipeline,
    drift::drift,
    observed::Obstacle,
    plan::{Child, ChildId, ChildKind, Plan, Role, WorkerSettings, plan},
    validate::ValidPipeline,
};

/// Selects what the operator made.
pub const SELECTOR: &str = "app.kubernetes.io/managed-by=candles-operator";
/// Reads of one pass at the same time.
const READS_AT_ONCE: usize = 4;

/// The children of one pipeline, in one pass.
pub struct Children {
    namespace: String,
    uid: String,
    plan: Plan,
    live: BTreeMap<ChildId, DynamicObject>,
    foreign: BTreeSet<ChildId>,
}

impl Children {
    /// Reads all objects that the plan names, wanted or not.
    pub async fn dereference(
        objects: &Objects,
        valid: &ValidPipeline,
        settings: &WorkerSettings,
    ) -> Result<Self, PassError> {
        let namespace = valid.namespace.clone();
        // Names do not depend on what runs.
        let names = plan(valid, settings, None);
        let wanted: Vec<ChildId> = names.children().map(|child| child.id.clone()).collect();
        let ids = wanted.into_iter().chain(names.unwanted.iter().cloned());
        let reads: Vec<_> = ids.map(|id| read(objects.clone(), namespace.clone(), id)).collect();
        let found: Vec<_> = stream::iter(reads).buffer_unordered(READS_AT_ONCE).try_collect().await?;
        let live: BTreeMap<ChildId, DynamicObject> =
            found.into_iter().filter_map(|(id, found)| Some((id, found?))).collect();
        let uid = valid.owner.uid.clone();
        let is_foreign =
            |object: &DynamicObject| !owners(&object.metadata).values().any(|owner| *owner == uid);
        let foreign =
            live.iter().filter(|(_, object)| is_foreign(object)).map(|(id, _)| id.clone()).collect();
        let mut children = Self { namespace, uid, plan: names, live, foreign };
        let (_, consumer) = children.deployments();
        children.plan = plan(valid, settings, consumer.as_ref());
        Ok(children)
    }

    /// What should be.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Objects of others that have a name which a child needs.
    pub fn refuse_foreign(&self, obstacles: &mut Vec<Obstacle>) {
        let wanted = self.plan.children().filter(|child| self.foreign.contains(&child.id));
        obstacles.extend(wanted.map(|child| Obstacle::NameConflict { object: child.id.to_string() }));
    }

    /// Writes everything that workers need before they start.
    pub async fn apply_first(
        &mut self,
        objects: &Objects,
        obstacles: &mut Vec<Obstacle>,
    ) -> Result<(), PassError> {
        for child in self.plan.first.clone() {
            self.apply(objects, &child, obstacles).await?;
        }
        Ok(())
    }

    /// Writes the workers. New ones start only when the topics are usable; what runs is kept up to date in any case.
    pub async fn apply_workers(
        &mut self,
        objects: &Objects,
        is_usable: bool,
        obstacles: &mut Vec<Obstacle>,
    ) -> Result<(), PassError> {
        for child in self.plan.deployments.clone() {
            if is_usable || self.live.contains_key(&child.id) {
                self.apply(objects, &child, obstacles).await?;
            }
        }
        Ok(())
    }

    async fn apply(
        &mut self,
        objects: &Objects,
        child: &Child,
        obstacles: &mut Vec<Obstacle>,
    ) -> Result<(), PassError> {
        if self.foreign.contains(&child.id) {
            return Ok(());
        }
        let live = self.live.get(&child.id);
        let mut body = child.body.clone();
        if let Some(live) = live {
            // What is being deleted is made anew when it is gone.
            if live.metadata.deletion_timestamp.is_some() {
                return Ok(());
            }
            let shown = serde_json::to_value(live).unwrap_or_default();
            let differences = drift(&child.body, &shown);
            if differences.is_empty() {
                return Ok(());
            }
            let differences: Vec<String> = differences.iter().take(5).map(ToString::to_string).collect();
            tracing::info!(namespace = self.namespace, object = %child.id, ?differences, "object differs");
            body["metadata"]["uid"] = serde_json::json!(live.metadata.uid);
        }
        let resource = child.id.kind.api_resource();
        // A new object is never forced onto one that somebody else made a moment ago.
        let force = live.is_some();
        match objects.apply(&resource, &self.namespace, &child.id.name, &body, force).await {
            Ok(applied) => {
                tracing::info!(namespace = self.namespace, object = %child.id, "object applied");
                self.live.insert(child.id.clone(), applied);
                Ok(())
            }
            Err(ApiError::Refused(message)) => {
                obstacles.push(Obstacle::WriteRefused { object: child.id.to_string(), message });
                Ok(())
            }
            Err(error) => Err(PassError::api(format!("apply {}", child.id))(error)),
        }
    }

    /// Deletes what was ours and is not wanted any more.
    pub async fn sweep(&self, objects: &Objects) -> Result<(), PassError> {
        for id in &self.plan.unwanted {
            let Some(live) = self.live.get(id).filter(|_| !self.foreign.contains(id)) else { continue };
            if live.metadata.deletion_timestamp.is_none() {
                let deleted = objects.delete(&id.kind.api_resource(), &self.namespace, live).await;
                deleted.map_err(PassError::api(format!("delete {id}")))?;
                tracing::info!(namespace = self.namespace, object = %id, uid = self.uid, "object deleted");
            }
        }
        Ok(())
    }

    /// The Deployments of producer and consumers, as far as they are there and ours.
    pub fn deployments(&self) -> (Option<Deployment>, Option<Deployment>) {
        let found = |nth: usize| {
            let id = &self.plan.deployments.get(nth)?.id;
            let live = self.live.get(id).filter(|_| !self.foreign.contains(id))?;
            serde_json::from_value(serde_json::to_value(live).ok()?).ok()
        };
        (found(0), found(1))
    }
}

async fn read(
    objects: Objects,
    namespace: String,
    id: ChildId,
) -> Result<(ChildId, Option<DynamicObject>), PassError> {
    let found = objects.get(&id.kind.api_resource(), &namespace, &id.name).await;
    let found = found.map_err(PassError::api(format!("get {id}")))?;
    Ok((id, found))
}

/// Asks the workers of a pipeline to stop, as far as they are its own. Returns whether some still run.
pub async fn stop_workers(objects: &Objects, pipeline: &CandlePipeline) -> Result<bool, PassError> {
    let (namespace, uid) = (pipeline.namespace().unwrap_or_default(), pipeline.uid().unwrap_or_default());
    let resource = ChildKind::Deployment.api_resource();
    let mut running = false;
    for role in [Role::Producer, Role::Consumer] {
        let name = format!("{}-{}", pipeline.name_any(), role.as_str());
        let found = objects.get(&resource, &namespace, &name).await;
        let Some(live) = found.map_err(PassError::api(format!("get Deployment/{name}")))? else { continue };
        if !owners(&live.metadata).values().any(|owner| *owner == uid) {
            continue;
        }
        let number = |path: &str| live.data.pointer(path).and_then(serde_json::Value::as_i64);
        if number("/spec/replicas") != Some(0) && live.metadata.deletion_timestamp.is_none() {
            match objects.stop(&namespace, &live).await {
                Ok(()) | Err(ApiError::Conflict) => {}
                Err(error) => return Err(PassError::api(format!("scale Deployment/{name} to 0"))(error)),
            }
            running = true;
        }
        running |= number("/status/replicas").unwrap_or(0) > 0;
    }
    Ok(running)
}
