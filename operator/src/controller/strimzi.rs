//! Topics that Strimzi's operator governs: its `KafkaTopic` objects in, the one that governs a topic out.
//!
//! Strimzi reverts changes that others make, so the operator stands back from such topics. Looked up by discovery:
//! where the kind does not exist, nothing is asked for.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};
use tokio_util::sync::CancellationToken;

use crate::kafka::Address;

const GROUP: &str = "kafka.strimzi.io";
/// Newest first; `v1beta2` is gone from Strimzi 1.0.
const VERSIONS: [&str; 2] = ["v1", "v1beta2"];
/// How often the list is read.
const EVERY: Duration = Duration::from_secs(60);
const PAGE: u32 = 500;

/// Which topics Strimzi governs.
#[derive(Debug, Default)]
pub struct Strimzi {
    topics: Mutex<BTreeMap<String, Governed>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Governed {
    /// `namespace/name` of the `KafkaTopic`.
    kafka_topic: String,
    /// The `Kafka` that it belongs to.
    cluster: Option<String>,
}

impl Strimzi {
    /// `namespace/name` of the `KafkaTopic` that governs `topic` in this cluster.
    pub fn owner(&self, topic: &str, cluster: &Address) -> Option<String> {
        let topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        let governed = topics.get(topic)?;
        may_be_of(governed.cluster.as_deref(), cluster).then(|| governed.kafka_topic.clone())
    }

    /// Reads the list now and then until `stop`; in the given namespaces, or in all when there are none.
    pub async fn watch(&self, client: Client, namespaces: Vec<String>, stop: CancellationToken) {
        let mut is_told = false;
        loop {
            match read(&client, &namespaces).await {
                Ok(found) => *self.topics.lock().unwrap_or_else(PoisonError::into_inner) = found,
                Err(error) if !is_told => {
                    is_told = true;
                    let error = candles_workers::runtime::chain(&error);
                    tracing::warn!(
                        error,
                        "KafkaTopics of Strimzi cannot be listed; topics are taken to be free"
                    );
                }
                Err(_) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

async fn read(client: &Client, namespaces: &[String]) -> Result<BTreeMap<String, Governed>, kube::Error> {
    let groups = client.list_api_groups().await?;
    let group = groups.groups.iter().find(|group| group.name == GROUP);
    let served = |version: &&str| {
        group.is_some_and(|group| group.versions.iter().any(|served| served.version == *version))
    };
    let Some(version) = VERSIONS.iter().find(|version| served(version)) else { return Ok(BTreeMap::new()) };
    let resource = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk(GROUP, version, "KafkaTopic"),
        "kafkatopics",
    );
    let apis: Vec<Api<DynamicObject>> = if namespaces.is_empty() {
        vec![Api::all_with(client.clone(), &resource)]
    } else {
        let one = |namespace: &String| Api::namespaced_with(client.clone(), namespace, &resource);
        namespaces.iter().map(one).collect()
    };
    let mut topics = BTreeMap::new();
    for api in apis {
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let list = api.list(&page).await?;
            topics.extend(list.items.iter().filter_map(governed));
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => break,
            }
        }
    }
    Ok(topics)
}

fn governed(object: &DynamicObject) -> Option<(String, Governed)> {
    let metadata = &object.metadata;
    let annotations = metadata.annotations.as_ref();
    if annotations.and_then(|all| all.get("strimzi.io/managed")).is_some_and(|managed| managed == "false") {
        return None;
    }
    let name = metadata.name.clone()?;
    let topic = object.data.pointer("/spec/topicName").and_then(|topic| topic.as_str()).unwrap_or(&name);
    let cluster = metadata.labels.as_ref().and_then(|labels| labels.get("strimzi.io/cluster")).cloned();
    let kafka_topic = format!("{}/{name}", metadata.namespace.as_deref().unwrap_or_default());
    Some((topic.to_owned(), Governed { kafka_topic, cluster }))
}

/// Strimzi names the hosts of the cluster `my` `my-kafka-bootstrap...`: brokers that are all named after other clusters
/// are not its. With other names nobody can know, and the topic counts as governed.
fn may_be_of(cluster: Option<&str>, address: &Address) -> bool {
    let of_strimzi = |broker: &String| broker.split_once("-kafka-").map(|(cluster, _)| cluster.to_owned());
    let named: Option<Vec<String>> = address.brokers.iter().map(of_strimzi).collect();
    match (cluster, named) {
        (Some(cluster), Some(named)) => named.iter().any(|name| name == cluster),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(yaml: &str) -> DynamicObject {
        serde_yaml::from_str(yaml).unwrap()
    }

    #[test]
    fn a_kafka_topic_governs_the_topic_that_it_names_unless_it_is_released() {
        let named = object(
            "{apiVersion: v1, kind: KafkaTopic, metadata: {name: a, namespace: ns, labels: {strimzi.io/cluster: my}}, spec: {topicName: trades}}",
        );
        let (topic, governed_by) = governed(&named).unwrap();
        assert_eq!((topic.as_str(), governed_by.kafka_topic.as_str()), ("trades", "ns/a"));
        let plain = object("{apiVersion: v1, kind: KafkaTopic, metadata: {name: b}}");
        assert_eq!(governed(&plain).unwrap().0, "b");
        let released = object(
            "{apiVersion: v1, kind: KafkaTopic, metadata: {name: b, annotations: {strimzi.io/managed: 'false'}}}",
        );
        assert_eq!(governed(&released), None);
    }

    #[test]
    fn topics_of_another_cluster_of_strimzi_are_free() {
        let at = |brokers: &str| Address::new(brokers, false, false);
        assert!(may_be_of(Some("my"), &at("my-kafka-bootstrap.kafka.svc:9092")));
        assert!(!may_be_of(Some("my"), &at("other-kafka-bootstrap:9092")));
        assert!(may_be_of(Some("my"), &at("10.0.0.1:9092")), "nobody can know");
    }
}
