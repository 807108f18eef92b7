//! The operator's hand on topics, on three real brokers: plain, and through the external listener with SASL and TLS.
//! Registered with `test = false`: `make e2e` runs it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use candles_operator::kafka::credentials::Credentials;
use candles_operator::kafka::{Address, Clusters, KafkaError, Lag, NewTopic, Refusal, TopicAdmin as _};
use candles_operator::topic::{Live, Replicas};
use candles_testbed::servers::shared;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

fn plain(bootstrap: &str) -> Address {
    Address::new(bootstrap, false, false)
}

fn topic(name: &str, partitions: usize) -> NewTopic {
    let config = [("min.insync.replicas", "2"), ("retention.ms", "604800000")];
    NewTopic {
        name: name.to_owned(),
        partitions,
        replication_factor: 3,
        config: config.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
    }
}

async fn found(clusters: &Clusters, address: &Address, name: &str) -> Option<Live> {
    clusters.describe(address, &[name.to_owned()]).await.unwrap().remove(0)
}

/// Brokers learn of a change one after the other.
async fn eventually(
    clusters: &Clusters,
    address: &Address,
    name: &str,
    holds: impl Fn(Option<&Live>) -> bool,
) -> Option<Live> {
    let mut live = None;
    for _ in 0..100 {
        live = found(clusters, address, name).await;
        if holds(live.as_ref()) {
            return live;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{name} is not as expected: {live:?}");
}

fn set<'a>(live: &'a Live, key: &str) -> Option<&'a str> {
    live.config.get(key).filter(|value| value.is_set)?.value.as_deref()
}

#[tokio::test]
async fn topics_are_made_changed_and_deleted_as_asked_and_no_more() {
    let bed = shared::lease().await.unwrap();
    let clusters = Clusters::new(Credentials::default());
    let address = plain(&bed.kafka.bootstrap());
    let name = "operator-life";
    assert_eq!(found(&clusters, &address, name).await, None, "looking makes no topic");
    assert_eq!(found(&clusters, &address, name).await, None);
    clusters.create(&address, &topic(name, 3)).await.unwrap();
    let whole = |live: Option<&Live>, partitions: usize| {
        let replicas = Replicas { has_leader: true, total: 3, in_sync: 3 };
        live.is_some_and(|live| live.partitions == vec![replicas; partitions])
    };
    let made = eventually(&clusters, &address, name, |live| whole(live, 3)).await.unwrap();
    assert_eq!(set(&made, "min.insync.replicas"), Some("2"));
    assert_eq!(set(&made, "cleanup.policy"), None, "inherited");
    assert!(made.id.as_ref().is_some_and(|id| id.len() == 22), "{:?}", made.id);
    assert!(clusters.cluster_id(&address).is_some());
    let again = clusters.create(&address, &topic(name, 3)).await.unwrap_err();
    assert!(matches!(again, KafkaError::Refused { refusal: Refusal::Exists, .. }), "{again}");

    clusters.grow(&address, name, 5).await.unwrap();
    eventually(&clusters, &address, name, |live| whole(live, 5)).await;
    let fewer = clusters.grow(&address, name, 4).await.unwrap_err();
    assert!(matches!(fewer, KafkaError::Refused { refusal: Refusal::Other, .. }), "{fewer}");

    // Somebody else's key, then ours: each stays when the other changes.
    let change =
        |key: &str, value: Option<&str>| BTreeMap::from([(key.to_owned(), value.map(str::to_owned))]);
    clusters.alter(&address, name, &change("compression.type", Some("lz4"))).await.unwrap();
    clusters.alter(&address, name, &change("retention.ms", Some("1000000"))).await.unwrap();
    let altered = eventually(&clusters, &address, name, |live| {
        live.is_some_and(|live| set(live, "retention.ms") == Some("1000000"))
    })
    .await
    .unwrap();
    assert_eq!(set(&altered, "compression.type"), Some("lz4"));
    assert_eq!(set(&altered, "min.insync.replicas"), Some("2"));
    clusters.alter(&address, name, &change("retention.ms", None)).await.unwrap();
    eventually(&clusters, &address, name, |live| {
        live.is_some_and(|live| set(live, "retention.ms").is_none())
    })
    .await;
    let refused = clusters.alter(&address, name, &change("no.such.key", Some("1"))).await.unwrap_err();
    let KafkaError::Refused { refusal: Refusal::Policy, text } = refused else { panic!("{refused}") };
    assert!(text.contains("no.such.key"), "the broker's own words: {text}");

    clusters.delete(&address, name).await.unwrap();
    eventually(&clusters, &address, name, |live| live.is_none()).await;
    let gone = clusters.delete(&address, name).await.unwrap_err();
    assert!(matches!(gone, KafkaError::Refused { refusal: Refusal::Unknown, .. }), "{gone}");
    // A topic of the same name is another topic.
    clusters.create(&address, &topic(name, 3)).await.unwrap();
    let anew = eventually(&clusters, &address, name, |live| whole(live, 3)).await.unwrap();
    assert_ne!(anew.id, made.id);
}

#[tokio::test]
async fn too_few_brokers_are_told_in_their_own_words() {
    let bed = shared::lease().await.unwrap();
    let clusters = Clusters::new(Credentials::default());
    let many = NewTopic { replication_factor: 4, ..topic("operator-many", 1) };
    let refused = clusters.create(&plain(&bed.kafka.bootstrap()), &many).await.unwrap_err();
    let KafkaError::Refused { refusal: Refusal::Other, text } = refused else { panic!("{refused}") };
    assert!(text.contains('4') && text.contains('3'), "{text}");
}

#[tokio::test]
async fn lag_is_what_the_group_has_not_committed() {
    let bed = shared::lease().await.unwrap();
    let clusters = Clusters::new(Credentials::default());
    let address = plain(&bed.kafka.bootstrap());
    let (name, group) = ("operator-lag", "operator-lag-group");
    bed.kafka.create_topic(name, 2, 3, &[("min.insync.replicas", "2")]).await.unwrap();
    assert_eq!(
        clusters.lag(&address, name, group, 2).await.unwrap(),
        None,
        "nothing committed: unknown, not 0"
    );
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bed.kafka.bootstrap()).set("group.id", group);
    let producer: BaseProducer = config.create().unwrap();
    for nth in 0..30 {
        let record = BaseRecord::<str, str>::to(name).payload("x").partition(i32::from(nth >= 10));
        producer.send(record).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    let consumer: BaseConsumer = config.create().unwrap();
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(name, 0, Offset::Offset(7)).unwrap();
    consumer.commit(&offsets, CommitMode::Sync).unwrap();
    let lag = clusters.lag(&address, name, group, 2).await.unwrap();
    assert_eq!(lag, Some(Lag { sum: 3 + 20, max: 20 }));
}

#[tokio::test]
async fn the_external_listener_takes_the_operators_own_login_and_no_other() {
    let bed = shared::lease().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let external = bed.kafka.bootstrap_external();
    let password = folder.path().join("password");
    let list = folder.path().join("clusters.yaml");
    let write = |ca: &std::path::Path| {
        let text = format!(
            "clusters:\n- bootstrapServers: '{external}'\n  tls: {{caFile: '{}'}}\n  sasl: {{mechanism: SCRAM-SHA-512, \
             username: {}, password: {{file: '{}'}}}}\n",
            ca.display(),
            bed.kafka.login().user,
            password.display()
        );
        std::fs::write(&list, text).unwrap();
    };
    write(bed.kafka.ca_pem_path());
    std::fs::write(&password, "wrong").unwrap();
    let clusters = Clusters::new(Credentials { file: Some(list.clone()), listed_only: true });
    let address = Address::new(&external, true, true);
    let name = "operator-secured";
    let refused = clusters.create(&address, &topic(name, 1)).await.unwrap_err();
    assert!(refused.to_string().contains("user or password is wrong"), "{refused}");
    // A mounted file changes; the next connection reads it.
    std::fs::write(&password, &bed.kafka.login().password).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    clusters.create(&address, &topic(name, 1)).await.unwrap();
    eventually(&clusters, &address, name, |live| live.is_some()).await;
    // One broker of the list is enough to be named by a pipeline.
    let one = external.split(',').next().unwrap();
    assert!(found(&clusters, &Address::new(one, true, true), name).await.is_some());
    let elsewhere = clusters.describe(&plain(&bed.kafka.bootstrap()), &[name.to_owned()]).await.unwrap_err();
    assert!(matches!(elsewhere, KafkaError::NoAccess(_)), "{elsewhere}");
    write(bed.kafka.other_ca_pem_path());
    let clusters = Clusters::new(Credentials { file: Some(list), listed_only: false });
    let refused = clusters.describe(&address, &[name.to_owned()]).await.unwrap_err().to_string();
    assert!(refused.contains("not signed by an authority"), "{refused}");
    assert!(!refused.contains(&bed.kafka.login().password));
}

#[tokio::test]
async fn a_cluster_that_comes_back_is_used_again() {
    let bed = shared::lease().await.unwrap();
    let clusters = Clusters::new(Credentials::default());
    let address = plain(&bed.kafka.bootstrap());
    let name = "operator-outage";
    clusters.create(&address, &topic(name, 1)).await.unwrap();
    eventually(&clusters, &address, name, |live| live.is_some()).await;
    for id in 1..=3 {
        bed.kafka.freeze(id).unwrap();
    }
    let down = clusters.describe(&address, &[name.to_owned()]).await;
    for id in 1..=3 {
        bed.kafka.thaw(id).unwrap();
    }
    assert!(matches!(down, Err(KafkaError::Unreachable(_))), "{down:?}");
    for _ in 0..60 {
        if clusters.describe(&address, &[name.to_owned()]).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("the cluster is not used again");
}
