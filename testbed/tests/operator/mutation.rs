//! Each field of the spec, changed and changed back: what is there then is what a fresh pipeline has.
//! The list of fields comes from the definition itself, so a new field is walked too, or fails this test.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::operator::Operator;
use crate::pipeline::{Pipeline, differences, merge, topic_settings};
use crate::world::{World, eventually};

/// Fields that cannot go back, and why.
const ONE_WAY: &[(&str, &str)] = &[
    ("topic.name", "immutable"),
    ("topic.replicationFactor", "immutable"),
    ("topic.partitions", "can only grow"),
    ("exchange.name", "there is one exchange"),
];

/// Changes that are more than another value of one scalar: path, and the change as a merge patch of the spec.
fn special() -> Vec<(&'static str, Value)> {
    let secret = json!({"name": "other", "key": "k"});
    let pod = |role: &str, field: &str, value: Value| json!({role: {"pod": {field: value}}});
    let toleration = json!([{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}]);
    let affinity = json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
        "weight": 1, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname"},
    }]}});
    let spread = json!([{
        "maxSkew": 2, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
    }]);
    let mut all = vec![
        ("exchange.symbols", json!({"exchange": {"symbols": ["tBTCUSD", "tLTCUSD", "tAVAX:USD"]}})),
        ("exchange.websocketUrl", json!({"exchange": {"websocketUrl": "ws://exchange.invalid/ws"}})),
        ("exchange.restUrl", json!({"exchange": {"restUrl": "http://exchange.invalid/v2"}})),
        ("exchange.limits.silence", json!({"exchange": {"limits": {"silence": "50s"}}})),
        ("kafka.bootstrapServers", json!({"kafka": {"bootstrapServers": "127.0.0.1:9"}})),
        ("kafka.tls", json!({"kafka": {"tls": {}}})),
        ("kafka.tls.caSecretRef", json!({"kafka": {"tls": {"caSecretRef": secret}}})),
        (
            "kafka.tls.certificateSecretRef",
            json!({"kafka": {"tls": {"certificateSecretRef": secret, "keySecretRef": secret}}}),
        ),
        (
            "kafka.sasl",
            json!({"kafka": {"sasl": {"mechanism": "PLAIN", "username": "u", "passwordSecretRef": secret}}}),
        ),
        (
            "schemaRegistry.auth.basic",
            json!({"schemaRegistry": {"auth": {"basic": {"username": "u", "passwordSecretRef": secret}}}}),
        ),
        (
            "schemaRegistry.auth.bearer",
            json!({"schemaRegistry": {"auth": {"bearer": {"tokenSecretRef": secret}}}}),
        ),
        ("schemaRegistry.caSecretRef", json!({"schemaRegistry": {"caSecretRef": secret}})),
        ("schemaRegistry.url", json!({"schemaRegistry": {"url": "https://other.invalid/apis/ccompat/v7"}})),
        ("topic.config", json!({"topic": {"config": {"max.message.bytes": "3000000"}}})),
        ("topic.management", json!({"topic": {"management": "Observe", "deletionPolicy": "Retain"}})),
        ("producer.acks", json!({"producer": {"acks": 1}})),
        (
            "producer.partitioner",
            json!({"producer": {"partitioner": "RoundRobin"}, "candles": {"intervals": []}}),
        ),
        (
            "producer.partitions",
            json!({"producer": {"partitioner": "Explicit", "partitions": {"tBTCUSD": 2, "tETHUSD": 0}}}),
        ),
        ("consumer.groupId", json!({"consumer": {"groupId": "another-group"}})),
        (
            "candles.intervals",
            json!({"candles": {"intervals": ["30s", "1w"]}, "topic": {"retention": "30d"}}),
        ),
        ("influxdb.api", json!({"influxdb": {"api": "v3"}})),
        ("influxdb.url", json!({"influxdb": {"url": "https://other.invalid"}})),
        ("influxdb.tokenSecretRef", json!({"influxdb": {"tokenSecretRef": secret}})),
        ("influxdb.caSecretRef", json!({"influxdb": {"caSecretRef": secret}})),
        ("monitoring.podMonitor.labels", json!({"monitoring": {"podMonitor": {"labels": {"release": "x"}}}})),
    ];
    for role in ["producer", "consumer"] {
        let path = |field: &str| &*format!("{role}.{field}").leak();
        let resources = |value: Value| json!({role: {"resources": value}});
        all.extend([
            (path("pod.labels"), pod(role, "labels", json!({"team": "x"}))),
            (path("pod.annotations"), pod(role, "annotations", json!({"example.com/note": "x"}))),
            (path("pod.nodeSelector"), pod(role, "nodeSelector", json!({"kubernetes.io/os": "linux"}))),
            (path("pod.tolerations"), pod(role, "tolerations", toleration.clone())),
            (path("pod.affinity"), pod(role, "affinity", affinity.clone())),
            (path("pod.topologySpreadConstraints"), pod(role, "topologySpreadConstraints", spread.clone())),
            (path("pod.priorityClassName"), pod(role, "priorityClassName", json!("system-cluster-critical"))),
            (path("resources.requests.cpu"), resources(json!({"requests": {"cpu": "50m"}}))),
            (path("resources.requests.memory"), resources(json!({"requests": {"memory": "32Mi"}}))),
            (
                path("resources.requests.ephemeral-storage"),
                resources(json!({"requests": {"ephemeral-storage": "8Mi"}})),
            ),
            (path("resources.limits.cpu"), resources(json!({"limits": {"cpu": "2"}}))),
            (path("resources.limits.memory"), resources(json!({"limits": {"memory": "512Mi"}}))),
            (
                path("resources.limits.ephemeral-storage"),
                resources(json!({"limits": {"ephemeral-storage": "128Mi"}})),
            ),
        ]);
    }
    all
}

/// Paths of all fields that have no fields of their own, with their schemas. Kubernetes' own types are one field.
fn leaves<'a>(schema: &'a Value, path: &str, found: &mut BTreeMap<String, &'a Value>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if property["properties"].is_object() && name != "affinity" {
            leaves(property, &path, found);
        } else {
            found.insert(path, property);
        }
    }
}

fn at<'a>(spec: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(spec, |value, name| &value[name])
}

fn patch_at(path: &str, value: Value) -> Value {
    path.rsplit('.').fold(value, |value, name| json!({name: value}))
}

/// Another value that the schema allows.
fn other(schema: &Value, value: &Value) -> Option<Value> {
    if let Some(choices) = schema["enum"].as_array() {
        return choices.iter().find(|choice| *choice != value).cloned();
    }
    match value {
        Value::Bool(on) => Some(json!(!on)),
        Value::Number(number) => {
            let next = number.as_i64()? + 1;
            Some(json!(if schema["maximum"].as_f64().is_some_and(|max| next as f64 > max) {
                next - 2
            } else {
                next
            }))
        }
        Value::String(text) => {
            // A duration gets longer, a name gets a letter more.
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            let number: Option<i64> = text[..digits].parse().ok();
            Some(json!(
                number.map_or_else(|| format!("{text}x"), |n| format!("{}{}", n + 1, &text[digits..]))
            ))
        }
        _ => None,
    }
}

#[tokio::test]
async fn every_field_changed_and_changed_back_leaves_what_a_fresh_pipeline_has() {
    let world = World::shared("mutation").await;
    let _operator = Operator::start(&world, "a").await;
    let one = Pipeline::create(&world, "one", json!({})).await;
    one.expect_ready().await;
    let fresh = (one.children().await, topic_settings(&world, &one.topic()).await);
    let original = one.get().await["spec"].clone();

    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/candlepipelines.candles.dev";
    let definition = world.api.get(path).await.unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut fields = BTreeMap::new();
    leaves(schema, "", &mut fields);
    let special = special();
    let mut mutations: Vec<(String, Value)> =
        special.iter().map(|(path, patch)| ((*path).to_owned(), patch.clone())).collect();
    for (path, schema) in &fields {
        let within = |known: &str| path == known || path.starts_with(&format!("{known}."));
        // Of a pair that goes together, one patch changes both.
        if ONE_WAY.iter().any(|(known, _)| within(known))
            || special.iter().any(|(known, patch)| within(known) || !at(patch, path).is_null())
        {
            continue;
        }
        let value = other(schema, at(&original, path));
        let value =
            value.unwrap_or_else(|| panic!("no other value is known for {path}: {}", at(&original, path)));
        mutations.push((path.clone(), patch_at(path, value)));
    }
    println!("{} fields, {} changes", fields.len(), mutations.len());

    let mut problems = Vec::new();
    for (path, patch) in mutations {
        let mut spec = original.clone();
        merge(&mut spec, patch);
        if let Err(refusal) = one.replace_spec(&spec).await {
            problems.push(format!("{path}: refused: {refusal}"));
            continue;
        }
        one.expect_observed(&path).await;
        one.replace_spec(&original).await.unwrap();
        one.expect_observed(&path).await;
        let begun = std::time::Instant::now();
        loop {
            let differs = differs(&fresh.0, &one.children().await);
            if differs.is_empty() {
                break;
            }
            if begun.elapsed().as_secs() > 30 {
                problems.push(format!("{path}: {differs:?}"));
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    eventually("settings of the topic", fresh.1, async || topic_settings(&world, &one.topic()).await).await;
    one.expect_ready().await;
    assert!(one.get().await["metadata"]["finalizers"].is_null());
}

fn differs(fresh: &BTreeMap<String, Value>, now: &BTreeMap<String, Value>) -> BTreeSet<String> {
    let keys: BTreeSet<&String> = fresh.keys().chain(now.keys()).collect();
    let mut found = BTreeSet::new();
    for key in keys {
        let (Some(before), Some(after)) = (fresh.get(key), now.get(key)) else {
            found.insert(format!("{key} is there only before or after"));
            continue;
        };
        let paths = differences(before, after).into_iter().filter(|path| path != ".metadata.generation");
        found.extend(paths.map(|path| format!("{key}{path}")));
    }
    found
}

impl Pipeline<'_> {
    /// Puts a whole spec in place of the one that is there.
    async fn replace_spec(&self, spec: &Value) -> Result<(), String> {
        loop {
            let mut object = self.get().await;
            object["spec"] = spec.clone();
            object.as_object_mut().unwrap().remove("status");
            match self.world.api.replace(&self.path(), &object).await {
                Ok(_) => return Ok(()),
                // The operator has written its status in between.
                Err(error) if error.to_string().contains("409") => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    async fn expect_observed(&self, what: &str) {
        eventually(&format!("{what} is observed"), true, async || {
            let object = self.get().await;
            object["status"]["observedGeneration"] == object["metadata"]["generation"]
        })
        .await;
    }
}
