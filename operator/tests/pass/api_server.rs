//! An API server made of maps: server-side apply with owners of fields, merge patches with preconditions, finalizers,
//! garbage collection, and the work of the Deployment controller.

use std::collections::BTreeMap;

use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Map, Value, json};
use tower::BoxError;

use crate::world::{Call, Fate, Fault, World};

type Place = (String, String);

#[derive(Debug, Default)]
pub struct ApiServer {
    objects: BTreeMap<Place, Value>,
    /// What the operator last applied: to an object, or to its status.
    applied: BTreeMap<(Place, bool), Value>,
    made: u64,
    version: u64,
    /// Deployments stay as they are.
    pub controllers_sleep: bool,
    /// No watch is answered.
    pub watches_hang: bool,
}

pub struct Answer(u16, Value);

fn refusal(code: u16, message: &str) -> Answer {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        _ => "Refused",
    };
    Answer(
        code,
        json!({"kind": "Status", "status": "Failure", "code": code, "message": message, "reason": reason}),
    )
}

impl ApiServer {
    pub fn get(&self, resource: &str, name: &str) -> Option<&Value> {
        self.objects.get(&(resource.to_owned(), name.to_owned()))
    }

    pub fn get_mut(&mut self, resource: &str, name: &str) -> Option<&mut Value> {
        self.version += 1;
        self.objects.get_mut(&(resource.to_owned(), name.to_owned()))
    }

    pub fn pipelines(&self) -> impl Iterator<Item = &Value> {
        self.objects
            .iter()
            .filter(|((resource, _), _)| resource == "candlepipelines")
            .map(|(_, object)| object)
    }

    pub fn events(&self) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(|((resource, _), _)| resource == "events").map(|(_, object)| object)
    }

    pub fn status_of(&self, name: &str) -> Value {
        self.get("candlepipelines", name).map(|pipeline| pipeline["status"].clone()).unwrap_or_default()
    }

    /// `status/reason` of a condition.
    pub fn condition(&self, name: &str, kind: &str) -> String {
        let status = self.status_of(name);
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|condition| condition["type"] == kind);
        let text = |field: &str| found.and_then(|found| found[field].as_str()).unwrap_or("-").to_owned();
        format!("{}/{}", text("status"), text("reason"))
    }

    pub fn user_applies(&mut self, name: &str, spec: Value) {
        self.version += 1;
        let place = ("candlepipelines".to_owned(), name.to_owned());
        if let Some(found) = self.objects.get_mut(&place) {
            let generation = found["metadata"]["generation"].as_i64().unwrap();
            found["metadata"]["generation"] = json!(generation + i64::from(found["spec"] != spec));
            found["metadata"]["resourceVersion"] = json!(self.version.to_string());
            found["spec"] = spec;
            return;
        }
        let body = json!({"apiVersion": "candles.dev/v1alpha1", "kind": "CandlePipeline", "spec": spec, "metadata": {}});
        self.insert(&place, body);
    }

    /// Somebody else makes an object.
    pub fn insert(&mut self, place: &Place, mut object: Value) {
        self.made += 1;
        self.version += 1;
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(place.1);
        metadata["namespace"] = json!("ns");
        metadata["uid"] = json!(format!("uid-{}", self.made));
        metadata["generation"] = json!(1);
        metadata["resourceVersion"] = json!(self.version.to_string());
        metadata["creationTimestamp"] = json!(format!("2026-01-01T00:{:02}:00Z", self.made % 60));
        self.objects.insert(place.clone(), object);
    }

    /// `kubectl delete`.
    pub fn user_deletes(&mut self, resource: &str, name: &str) {
        self.version += 1;
        let place = (resource.to_owned(), name.to_owned());
        let Some(object) = self.objects.get_mut(&place) else { return };
        if object["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty()) {
            object["metadata"]["deletionTimestamp"] = json!(jiff::Timestamp::now().to_string());
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        } else {
            self.remove(&place);
        }
    }

    /// With what it owns.
    fn remove(&mut self, place: &Place) {
        let Some(object) = self.objects.remove(place) else { return };
        self.applied.retain(|(of, _), _| of != place);
        let uid = object["metadata"]["uid"].clone();
        let owned = |object: &Value| {
            object["metadata"]["ownerReferences"]
                .as_array()
                .is_some_and(|all| all.iter().any(|o| o["uid"] == uid))
        };
        let owned: Vec<Place> =
            self.objects.iter().filter(|(_, object)| owned(object)).map(|(place, _)| place.clone()).collect();
        for place in owned {
            self.remove(&place);
        }
    }

    /// What the controllers of Kubernetes do. Returns whether they did something.
    pub fn controllers_work(&mut self) -> bool {
        if self.controllers_sleep {
            return false;
        }
        let mut moved = false;
        for ((resource, _), object) in &mut self.objects {
            if resource != "deployments" {
                continue;
            }
            let (wanted, generation) =
                (object["spec"]["replicas"].clone(), object["metadata"]["generation"].clone());
            let condition =
                |kind: &str| json!({"type": kind, "status": "True", "reason": "NewReplicaSetAvailable"});
            let mut status = json!({"observedGeneration": generation, "replicas": wanted, "updatedReplicas": wanted,
                "readyReplicas": wanted, "availableReplicas": wanted});
            status["conditions"] = json!([condition("Progressing"), condition("Available")]);
            if object["status"] != status {
                self.version += 1;
                object["status"] = status;
                object["metadata"]["resourceVersion"] = json!(self.version.to_string());
                moved = true;
            }
        }
        moved
    }

    /// Objects without what depends on the way to them.
    pub fn end_state(&self) -> Value {
        let mut all = Map::new();
        for ((resource, name), object) in &self.objects {
            if resource == "events" {
                continue;
            }
            let mut object = object.clone();
            strip(&mut object);
            all.insert(format!("{resource}/{name}"), object);
        }
        all.into()
    }

    fn apply(&mut self, place: &Place, is_status: bool, body: &Value, force: bool) -> Answer {
        let uid = &body["metadata"]["uid"];
        let Some(found) = self.objects.get(place) else {
            if !uid.is_null() {
                return refusal(409, "uid mismatch: no existing object was found");
            }
            if is_status {
                return refusal(404, "not found");
            }
            self.applied.insert((place.clone(), false), body.clone());
            self.insert(place, body.clone());
            return Answer(201, self.objects[place].clone());
        };
        if !uid.is_null() && *uid != found["metadata"]["uid"] {
            return refusal(409, "uid mismatch");
        }
        let before = self.applied.get(&(place.clone(), is_status)).cloned();
        if before.is_none() && !force && !is_status {
            return refusal(409, "Apply failed with conflicts: fields are owned by another manager");
        }
        let mut next = found.clone();
        let part = |body: &Value| if is_status { json!({"status": body["status"]}) } else { body.clone() };
        let body = part(body);
        remove_dropped(&mut next, &before.map(|before| part(&before)).unwrap_or_default(), &body);
        let mut without_uid = body.clone();
        if let Some(metadata) = without_uid.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("uid");
        }
        overlay(&mut next, &without_uid);
        self.applied.insert((place.clone(), is_status), body);
        self.replace(place, next)
    }

    fn merge_patch(&mut self, place: &Place, body: &Value) -> Answer {
        let Some(found) = self.objects.get(place) else { return refusal(404, "not found") };
        for field in ["resourceVersion", "uid"] {
            let wanted = &body["metadata"][field];
            if !wanted.is_null() && *wanted != found["metadata"][field] {
                return refusal(409, "the object has been modified");
            }
        }
        let mut next = found.clone();
        merge(&mut next, body);
        let has_finalizers = next["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
        if !has_finalizers && !next["metadata"]["deletionTimestamp"].is_null() {
            self.remove(place);
            return Answer(200, next);
        }
        self.replace(place, next)
    }

    fn replace(&mut self, place: &Place, mut next: Value) -> Answer {
        let found = &self.objects[place];
        if *found != next {
            self.version += 1;
            if found.get("spec") != next.get("spec") {
                next["metadata"]["generation"] = json!(found["metadata"]["generation"].as_i64().unwrap() + 1);
            }
            next["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.objects.insert(place.clone(), next.clone());
        }
        Answer(200, next)
    }

    fn delete(&mut self, place: &Place, body: &Value) -> Answer {
        let Some(found) = self.objects.get(place) else { return refusal(404, "not found") };
        for field in ["resourceVersion", "uid"] {
            let wanted = &body["preconditions"][field];
            if wanted.is_null() || *wanted != found["metadata"][field] {
                return refusal(409, "precondition failed");
            }
        }
        self.remove(place);
        Answer(200, json!({"kind": "Status", "status": "Success", "code": 200}))
    }

    fn handle(
        &mut self,
        method: &Method,
        place: &Place,
        subresource: &str,
        apply: Option<bool>,
        body: &Value,
    ) -> Answer {
        match *method {
            Method::GET => match self.objects.get(place) {
                Some(found) => Answer(200, found.clone()),
                None => refusal(404, "not found"),
            },
            Method::POST => {
                let name = body["metadata"]["name"]
                    .as_str()
                    .map_or_else(|| format!("made-{}", self.made), str::to_owned);
                let place = (place.0.clone(), name);
                self.insert(&place, body.clone());
                Answer(201, self.objects[&place].clone())
            }
            Method::PATCH => match apply {
                Some(force) => self.apply(place, subresource == "status", body, force),
                None => self.merge_patch(place, body),
            },
            Method::DELETE => self.delete(place, body),
            _ => refusal(405, "method not allowed"),
        }
    }
}

/// A request, with what is to go wrong with it.
pub async fn serve(world: &World, request: Request<Body>) -> Result<Response<Body>, BoxError> {
    let (parts, body) = request.into_parts();
    let body = body.collect_bytes().await?;
    let body: Value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? };
    let path: Vec<&str> = parts.uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let at = path.iter().position(|part| *part == "namespaces").map_or(path.len(), |at| at + 2);
    let [resource, name, subresource] = [0, 1, 2].map(|nth| path.get(at + nth).copied().unwrap_or_default());
    let query = parts.uri.query().unwrap_or_default();
    if query.contains("watch=true") {
        return watch(world, resource, query).await;
    }
    let verb = match parts.method {
        Method::GET => "get",
        Method::POST => "create",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    };
    let full = if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") };
    let call = Call { verb, resource: full, name: name.to_owned(), writes: verb != "get" };
    let fate = world.fate(call);
    let is_apply = parts
        .headers
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/apply-patch"));
    let force = parts.uri.query().is_some_and(|query| query.contains("force=true"));
    let place = (resource.to_owned(), name.to_owned());
    let act =
        || world.lock().api.handle(&parts.method, &place, subresource, is_apply.then_some(force), &body);
    let Answer(code, body) = match fate {
        Fate::Done => act(),
        Fate::Fails(Fault::Status(code)) => refusal(code, "injected"),
        Fate::Fails(Fault::Silence) => std::future::pending().await,
        Fate::Fails(Fault::LostAfter) => {
            drop(act());
            return Err("connection reset".into());
        }
        Fate::Fails(Fault::CrashBefore) => world.die().await,
        Fate::Fails(Fault::CrashAfter) => {
            drop(act());
            world.die().await
        }
    };
    let response = Response::builder().status(code).header("content-type", "application/json");
    Ok(response.body(Body::from(serde_json::to_vec(&body)?))?)
}

/// A watch that shows what there is, and then ends once; the next one waits for ever.
async fn watch(world: &World, resource: &str, query: &str) -> Result<Response<Body>, BoxError> {
    let silent = world.lock().api.watches_hang || !query.contains("sendInitialEvents=true");
    if silent {
        std::future::pending::<()>().await;
    }
    let state = world.lock();
    let objects = state.api.objects.iter().filter(|((of, _), _)| of == resource).map(|(_, object)| object);
    let mut lines: Vec<Value> = objects.map(|object| json!({"type": "ADDED", "object": object})).collect();
    let end = json!({"resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}});
    let kind = json!({"apiVersion": "v1", "kind": "Any", "metadata": end});
    lines.push(json!({"type": "BOOKMARK", "object": kind}));
    let text = lines.iter().map(Value::to_string).chain([String::new()]).collect::<Vec<_>>().join("\n");
    Ok(Response::builder().status(200).body(Body::from(text.into_bytes()))?)
}

/// RFC 7396.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let target = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Maps are merged, all else is replaced.
fn overlay(target: &mut Value, body: &Value) {
    match (target, body) {
        (Value::Object(target), Value::Object(body)) => {
            for (key, value) in body {
                overlay(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (target, body) => *target = body.clone(),
    }
}

/// Fields that were applied before and are not any more.
fn remove_dropped(target: &mut Value, before: &Value, now: &Value) {
    let (Some(target), Some(before)) = (target.as_object_mut(), before.as_object()) else { return };
    for (key, old) in before {
        match now.get(key) {
            None if key != "uid" => drop(target.remove(key)),
            Some(new) => {
                if let Some(part) = target.get_mut(key) {
                    remove_dropped(part, old, new);
                }
            }
            None => {}
        }
    }
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let dropped = [
                "uid",
                "resourceVersion",
                "generation",
                "observedGeneration",
                "creationTimestamp",
                "lastTransitionTime",
                "id",
                "deletionTimestamp",
            ];
            map.retain(|key, _| !dropped.contains(&key.as_str()));
            map.values_mut().for_each(strip);
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}
