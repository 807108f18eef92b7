//! Whose topic it is, what may be changed about it, and what happens to changes by others.

use std::collections::BTreeMap;

use serde_json::json;

use crate::operator::Operator;
use crate::pipeline::{Pipeline, set_topic_settings, topic_settings};
use crate::world::{World, eventually};

const RF3: &[(&str, &str)] = &[("min.insync.replicas", "2")];

/// Brokers learn of a change one after the other, and any of them may answer.
async fn expect_setting(world: &World, topic: &str, key: &str, value: &str) {
    eventually(key, Some(value.to_owned()), async || topic_settings(world, topic).await.remove(key)).await;
}

#[tokio::test]
async fn drift_is_reverted_and_settings_of_others_stay() {
    let world = World::shared("topic-drift").await;
    let _operator = Operator::start(&world, "a").await;
    let one =
        Pipeline::create(&world, "one", json!({"topic": {"config": {"max.message.bytes": "2000000"}}})).await;
    one.expect_ready().await;
    expect_setting(&world, &one.topic(), "max.message.bytes", "2000000").await;
    let before = topic_settings(&world, &one.topic()).await;
    set_topic_settings(
        &world,
        &one.topic(),
        "retention.ms=60000,min.insync.replicas=1,segment.bytes=104857600",
    )
    .await;
    let mut expected = before.clone();
    expected.insert("segment.bytes".to_owned(), "104857600".to_owned());
    eventually("settings", expected.clone(), async || topic_settings(&world, &one.topic()).await).await;
    // A key that the spec names no more goes back to the brokers' default.
    one.edit(json!({"topic": {"config": {"max.message.bytes": null, "segment.ms": "3600000"}}})).await;
    expected.remove("max.message.bytes");
    expected.insert("segment.ms".to_owned(), "3600000".to_owned());
    eventually("settings", expected, async || topic_settings(&world, &one.topic()).await).await;
    one.expect_ready().await;
}

#[tokio::test]
async fn a_topic_of_somebody_else_is_refused_until_it_is_adopted() {
    let world = World::shared("topic-foreign").await;
    world.bed.kafka.create_topic("topic-foreign.one", 3, 3, &[("retention.ms", "1234567")]).await.unwrap();
    let _operator = Operator::start(&world, "a").await;
    let one = Pipeline::create(&world, "one", json!({})).await;
    one.expect("Stalled", "True", "TopicExists").await;
    assert!(one.message("Stalled").await.contains("Adopt"), "{}", one.message("Stalled").await);
    assert_eq!(one.deployment("producer").await, None);
    let untouched = BTreeMap::from([("retention.ms".to_owned(), "1234567".to_owned())]);
    assert_eq!(topic_settings(&world, "topic-foreign.one").await, untouched);
    one.edit(json!({"topic": {"management": "Adopt"}})).await;
    one.expect_ready().await;
    expect_setting(&world, "topic-foreign.one", "retention.ms", "604800000").await;
}

#[tokio::test]
async fn an_observed_topic_is_used_and_never_written() {
    let world = World::shared("topic-observed").await;
    let _operator = Operator::start(&world, "a").await;
    let one = Pipeline::create(&world, "one", json!({"topic": {"management": "Observe"}})).await;
    eventually("reason", Some("TopicMissing".to_owned()), async || {
        Some(one.condition("TopicReady").await?.1)
    })
    .await;
    assert_eq!(one.deployment("producer").await, None);
    assert_eq!(one.partitions(&one.topic()).await, 0);
    world.bed.kafka.create_topic("topic-observed.one", 4, 3, RF3).await.unwrap();
    world.bed.kafka.create_topic("topic-observed.one-dlq", 1, 3, RF3).await.unwrap();
    let before = topic_settings(&world, "topic-observed.one").await;
    eventually("consumers", Some(1), async || one.replicas("consumer").await).await;
    assert_eq!(topic_settings(&world, "topic-observed.one").await, before);
    assert_eq!(one.partitions(&one.topic()).await, 4);
}

#[tokio::test]
async fn of_two_pipelines_the_older_one_keeps_the_topic() {
    let world = World::shared("topic-claimed").await;
    let _operator = Operator::start(&world, "a").await;
    let shared = json!({"topic": {"name": "topic-claimed", "management": "Adopt"}});
    let older = Pipeline::create(&world, "older", shared.clone()).await;
    older.expect_ready().await;
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let younger = Pipeline::create(&world, "younger", shared).await;
    younger.expect("Stalled", "True", "ResourceConflict").await;
    assert!(younger.message("Stalled").await.contains("older"), "{}", younger.message("Stalled").await);
    assert_eq!(younger.deployment("consumer").await, None);
    older.expect_ready().await;
    older.delete().await;
    younger.expect_ready().await;
}

#[tokio::test]
async fn replication_that_cannot_be_had_is_reported_with_the_brokers_words() {
    let world = World::shared("topic-replication").await;
    let _operator = Operator::start(&world, "a").await;
    let one = Pipeline::create(&world, "one", json!({"topic": {"replicationFactor": 5}})).await;
    eventually("TopicReady", Some("False".to_owned()), async || Some(one.condition("TopicReady").await?.0))
        .await;
    eventually("says why", true, async || {
        let status = one.get().await["status"].to_string();
        status.contains("replication factor") || status.contains("Replication factor")
    })
    .await;
    assert_eq!(one.deployment("producer").await, None);
}

#[tokio::test]
async fn fewer_partitions_than_there_are_is_reported_and_nothing_shrinks() {
    let world = World::shared("topic-more").await;
    world.bed.kafka.create_topic("topic-more.one", 6, 3, RF3).await.unwrap();
    let _operator = Operator::start(&world, "a").await;
    let one = Pipeline::create(&world, "one", json!({"topic": {"management": "Adopt"}})).await;
    eventually("says so", true, async || one.get().await["status"].to_string().contains('6')).await;
    eventually("consumers", Some(1), async || one.replicas("consumer").await).await;
    assert_eq!(one.partitions("topic-more.one").await, 6);
    assert_eq!(one.get().await["status"]["topic"]["summary"], "6/3");
}

#[tokio::test]
async fn a_topic_is_made_over_the_encrypted_listener_with_the_operators_own_login() {
    let world = World::shared("topic-secured").await;
    let kafka = &world.bed.kafka;
    let login = kafka.login();
    let password = world.bed.run.path().join("operator-kafka-password");
    std::fs::write(&password, &login.password).unwrap();
    let clusters = json!({"clusters": [{
        "bootstrapServers": kafka.bootstrap_external(),
        "tls": {"caFile": login.ca_pem},
        "sasl": {"mechanism": "SCRAM-SHA-512", "username": login.user, "password": {"file": password}},
    }]});
    let file = world.bed.run.path().join("operator-clusters.yaml");
    std::fs::write(&file, clusters.to_string()).unwrap();
    let _operator =
        Operator::start_with(&world, "a", &["--kafka-clusters", &file.display().to_string()]).await;
    let spec = json!({"kafka": {
        "bootstrapServers": kafka.bootstrap_external(),
        "tls": {"caSecretRef": {"name": "kafka", "key": "ca.pem"}},
        "sasl": {
            "mechanism": "SCRAM-SHA-512", "username": login.user,
            "passwordSecretRef": {"name": "kafka", "key": "password"},
        },
    }});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "kafka"}});
    world.api.apply(&world.core("secrets/kafka"), &secret).await.unwrap();
    let one = Pipeline::create(&world, "one", spec).await;
    one.expect_ready().await;
    eventually("partitions", 3, async || one.partitions(&one.topic()).await).await;
    // A login that the brokers refuse is told, and tears nothing down.
    std::fs::write(&password, "wrong").unwrap();
    let two = Pipeline::create(
        &world,
        "two",
        json!({"kafka": {"bootstrapServers": kafka.bootstrap_wrong_host(), "tls": {}}}),
    )
    .await;
    eventually("TopicReady", Some("KafkaUnreachable".to_owned()), async || {
        Some(two.condition("TopicReady").await?.1)
    })
    .await;
    assert_eq!(one.replicas("consumer").await, Some(1));
    let status = two.get().await["status"].to_string();
    assert!(!status.contains(&login.password), "{status}");
}
