//! One CandlePipeline of one test: the object, what the operator made of it, and its topic.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ConfigSource, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::world::{PATIENCE, World, eventually};

/// Of pipelines, below [`World::candles`].
pub const COLLECTION: &str = "candlepipelines";

/// Collections that the operator may fill, as paths below a namespace's.
const CHILDREN: &[(&str, &str)] = &[
    ("/api/v1", "configmaps"),
    ("/api/v1", "serviceaccounts"),
    ("/apis/apps/v1", "deployments"),
    ("/apis/policy/v1", "poddisruptionbudgets"),
    ("/apis/networking.k8s.io/v1", "networkpolicies"),
];

/// The least that a user writes.
pub fn pipeline(world: &World, name: &str) -> Value {
    json!({
        "apiVersion": "candles.dev/v1alpha1",
        "kind": "CandlePipeline",
        "metadata": {"name": name},
        "spec": {
            "exchange": {"symbols": ["tBTCUSD", "tETHUSD"]},
            "kafka": {"bootstrapServers": world.bed.kafka.bootstrap()},
            "schemaRegistry": {"url": "http://registry.invalid:8081"},
            "influxdb": {
                "url": "http://influxdb.invalid:8086", "organization": "candles", "bucket": "candles",
                "tokenSecretRef": {"name": "influxdb", "key": "token"},
            },
        },
    })
}

/// A pipeline that exists.
pub struct Pipeline<'a> {
    pub world: &'a World,
    pub name: String,
}

impl<'a> Pipeline<'a> {
    /// Makes one like [`pipeline`], with `spec` merged into it, and the Secret that it names.
    pub async fn create(world: &'a World, name: &str, spec: Value) -> Self {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "influxdb"}, "stringData": {"token": "t"},
        });
        world.api.apply(&world.core("secrets/influxdb"), &secret).await.unwrap();
        let mut object = pipeline(world, name);
        merge(&mut object["spec"], spec);
        world.api.create(&world.candles(COLLECTION), &object).await.unwrap();
        Self { world, name: name.to_owned() }
    }

    /// Of the object, or below it.
    pub fn path(&self) -> String {
        self.world.candles(&format!("{COLLECTION}/{}", self.name))
    }

    pub async fn get(&self) -> Value {
        self.world.api.get(&self.path()).await.unwrap()
    }

    /// Changes the spec as a user does.
    pub async fn edit(&self, spec: Value) -> Value {
        self.world.api.merge(&self.path(), &json!({"spec": spec})).await.unwrap()
    }

    /// Status and reason of a condition that is about the latest generation; `None` while there is none.
    pub async fn condition(&self, kind: &str) -> Option<(String, String)> {
        let object = self.get().await;
        let generation = &object["metadata"]["generation"];
        let conditions = object["status"]["conditions"].as_array()?;
        let found = conditions.iter().find(|condition| condition["type"] == kind)?;
        let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        let is_current = found["observedGeneration"] == *generation
            && object["status"]["observedGeneration"] == *generation;
        is_current.then(|| (text("status"), text("reason")))
    }

    pub async fn message(&self, kind: &str) -> String {
        let object = self.get().await;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|condition| condition["type"] == kind);
        found.and_then(|condition| condition["message"].as_str()).unwrap_or_default().to_owned()
    }

    /// Waits until a condition has this status and reason.
    pub async fn expect(&self, kind: &str, status: &str, reason: &str) {
        let wanted = Some((status.to_owned(), reason.to_owned()));
        let begun = Instant::now();
        loop {
            if self.condition(kind).await == wanted {
                return;
            }
            if begun.elapsed() > PATIENCE {
                let object = self.get().await;
                panic!("{kind} is not {status} ({reason}): {:#}", object["status"]);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn expect_ready(&self) {
        self.expect("Ready", "True", "Ready").await;
    }

    /// The Deployment of `producer` or `consumer`, if there is one.
    pub async fn deployment(&self, component: &str) -> Option<Value> {
        self.world.api.find(&self.deployment_path(component)).await.unwrap()
    }

    pub fn deployment_path(&self, component: &str) -> String {
        self.world.apps(&format!("deployments/{}-{component}", self.name))
    }

    pub async fn replicas(&self, component: &str) -> Option<u64> {
        self.deployment(component).await?["spec"]["replicas"].as_u64()
    }

    /// Everything that belongs to the pipeline, by kind and name, without what the servers add.
    pub async fn children(&self) -> BTreeMap<String, Value> {
        let uid = self.get().await["metadata"]["uid"].clone();
        let mut found = BTreeMap::new();
        for (group, collection) in CHILDREN {
            let path = format!("{group}/namespaces/{}/{collection}", self.world.namespace);
            for mut object in self.world.api.list(&path).await.unwrap() {
                let owners = object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
                if owners.iter().any(|owner| owner["uid"] == uid) {
                    let name = object["metadata"]["name"].as_str().unwrap_or_default();
                    let key = format!("{collection}/{name}");
                    let metadata = object["metadata"].as_object_mut().unwrap();
                    metadata
                        .retain(|key, _| ["name", "labels", "annotations", "generation"].contains(&&**key));
                    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut)
                    {
                        annotations.remove("deployment.kubernetes.io/revision");
                    }
                    object.as_object_mut().unwrap().remove("status");
                    found.insert(key, object);
                }
            }
        }
        found
    }

    /// Name of the topic unless the spec names one.
    pub fn topic(&self) -> String {
        format!("{}.{}", self.world.namespace, self.name)
    }

    /// Number of partitions of a topic, 0 if there is none.
    pub async fn partitions(&self, topic: &str) -> usize {
        self.world.bed.kafka.partitions(topic).await.unwrap().len()
    }

    /// Commits the start of partition 0 for the pipeline's group, as its consumers would.
    pub fn commit_offset(&self) {
        let topic = self.topic();
        let reader: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.world.bed.kafka.bootstrap())
            .set("group.id", format!("candles-{topic}"))
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, 0, Offset::Offset(0)).unwrap();
        reader.commit(&list, CommitMode::Sync).unwrap();
    }

    pub async fn delete(&self) {
        self.world.api.delete(&self.path()).await.unwrap();
    }

    /// Waits until the object is gone.
    pub async fn expect_gone(&self) {
        eventually("the pipeline is there", false, async || {
            self.world.api.find(&self.path()).await.unwrap().is_some()
        })
        .await;
    }
}

/// Settings that somebody made on a topic, by key; not what it inherits.
pub async fn topic_settings(world: &World, topic: &str) -> BTreeMap<String, String> {
    let client: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", world.bed.kafka.bootstrap()).create().unwrap();
    let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(20)));
    let found = client.describe_configs(&[ResourceSpecifier::Topic(topic)], &options).await.unwrap();
    let found = found.into_iter().next().unwrap().unwrap();
    let own = found.entries.into_iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
    own.map(|entry| (entry.name, entry.value.unwrap_or_default())).collect()
}

/// Kafka's own tool changes settings of a topic, as an administrator would: `key=value`.
pub async fn set_topic_settings(world: &World, topic: &str, settings: &str) {
    let bootstrap = world.bed.kafka.bootstrap();
    let args =
        ["--bootstrap-server", &bootstrap, "--alter", "--entity-type", "topics", "--entity-name", topic];
    let tool = world.bed.kafka.tool("kafka.admin.ConfigCommand").args(args).args(["--add-config", settings]);
    tool.run().await.unwrap().success().unwrap();
}

/// As JSON merge patch.
pub fn merge(target: &mut Value, patch: Value) {
    let Value::Object(members) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in members {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(&key);
        } else {
            merge(&mut target[&key], value);
        }
    }
}

/// Paths at which two values differ.
pub fn differences(left: &Value, right: &Value) -> BTreeSet<String> {
    fn walk(path: &str, left: &Value, right: &Value, found: &mut BTreeSet<String>) {
        match (left, right) {
            (Value::Object(a), Value::Object(b)) => {
                for key in a.keys().chain(b.keys()) {
                    walk(&format!("{path}.{key}"), &left[key], &right[key], found);
                }
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                for (i, (a, b)) in a.iter().zip(b).enumerate() {
                    walk(&format!("{path}[{i}]"), a, b, found);
                }
            }
            _ if left != right => {
                found.insert(path.to_owned());
            }
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    walk("", left, right, &mut found);
    found
}
