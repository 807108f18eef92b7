//! What goes wrong around a pipeline is told, heals by itself, and never tears down what runs.

use std::time::{Duration, Instant};

use candles_testbed::servers::kubernetes::Fate;
use serde_json::{Value, json};

use crate::operator::Operator;
use crate::pipeline::{COLLECTION, Pipeline, pipeline};
use crate::world::{World, deployment, eventually};

/// A port that nobody listens on.
const NOBODY: &str = "127.0.0.1:9";

async fn reason(pipeline: &Pipeline<'_>, kind: &str) -> Option<String> {
    Some(pipeline.condition(kind).await?.1)
}

#[tokio::test]
async fn brokers_that_are_gone_tear_nothing_down_and_nothing_starts_before_they_are_back() {
    let world = World::alone("trouble-kafka").await;
    let _operator = Operator::start(&world, "a").await;
    let old = Pipeline::create(&world, "old", json!({})).await;
    let gone = Pipeline::create(&world, "gone", json!({"topic": {"deletionPolicy": "Delete"}})).await;
    old.expect_ready().await;
    gone.expect_ready().await;
    for broker in world.bed.kafka.brokers() {
        broker.kill().unwrap();
    }
    let new = Pipeline::create(&world, "new", json!({})).await;
    let unreachable = Some("KafkaUnreachable".to_owned());
    eventually("new TopicReady", unreachable.clone(), async || reason(&new, "TopicReady").await).await;
    // Without any change of it: its topic is looked at between passes.
    eventually("old TopicReady", unreachable, async || reason(&old, "TopicReady").await).await;
    old.edit(json!({"consumer": {"replicas": 2}})).await;
    eventually("old consumers", Some(2), async || old.replicas("consumer").await).await;
    assert_eq!(old.replicas("producer").await, Some(1));
    assert_eq!(new.deployment("producer").await, None);
    // Its topic cannot be deleted now: it is let go all the same.
    let begun = Instant::now();
    gone.delete().await;
    gone.expect_gone().await;
    let took = begun.elapsed();
    println!("let go {:.1} s after its deletion, with Kafka gone", took.as_secs_f64());
    assert!(took < Duration::from_secs(60), "a namespace would have waited for {took:?}");
    world.bed.kafka.broker(1).start().unwrap();
    world.bed.kafka.broker(2).start().unwrap();
    world.bed.kafka.broker(3).start().unwrap();
    world.bed.kafka.wait_ready().await.unwrap();
    for pipeline in [&old, &new] {
        pipeline.expect_ready().await;
    }
}

#[tokio::test]
async fn an_address_without_brokers_leaves_the_running_workers_alone() {
    let world = World::shared("trouble-address").await;
    let _operator = Operator::start(&world, "a").await;
    let one = Pipeline::create(&world, "one", json!({})).await;
    one.expect_ready().await;
    let before = world.api.list(&world.core("pods")).await.unwrap();
    one.edit(json!({"kafka": {"bootstrapServers": NOBODY}})).await;
    eventually("TopicReady", Some("KafkaUnreachable".to_owned()), async || reason(&one, "TopicReady").await)
        .await;
    assert!(one.message("TopicReady").await.contains(NOBODY), "{}", one.message("TopicReady").await);
    for component in ["producer", "consumer"] {
        assert_eq!(one.replicas(component).await, Some(1), "{component}");
    }
    one.edit(json!({"kafka": {"bootstrapServers": world.bed.kafka.bootstrap()}})).await;
    one.expect_ready().await;
    // Those of a rollout go when the new ones are ready.
    let pods = async || world.api.list(&world.core("pods")).await.unwrap().len();
    eventually("pods", before.len(), pods).await;
}

#[tokio::test]
async fn foreign_objects_of_a_childs_name_are_refused_and_left_alone() {
    let world = World::shared("trouble-foreign").await;
    let _operator = Operator::start(&world, "a").await;
    let foreign = deployment("one-consumer", 1, &[]);
    let foreign = world.api.create(&world.apps("deployments"), &foreign).await.unwrap();
    let one = Pipeline::create(&world, "one", json!({})).await;
    one.expect("Stalled", "True", "NameConflict").await;
    let message = one.message("Stalled").await;
    assert!(message.contains("one-consumer"), "{message}");
    let now = one.deployment("consumer").await.unwrap();
    assert_eq!((&now["metadata"]["uid"], &now["spec"]), (&foreign["metadata"]["uid"], &foreign["spec"]));
    world.api.delete(&one.deployment_path("consumer")).await.unwrap();
    one.expect_ready().await;
}

#[tokio::test]
async fn a_missing_secret_and_a_bad_image_are_not_ready_and_heal() {
    let world = World::shared("trouble-pods").await;
    let _operator = Operator::start(&world, "a").await;
    world.bed.node.decide("badimage-producer-", Fate::ImagePullBackOff);
    let object = pipeline(&world, "nosecret");
    world.api.create(&world.candles(COLLECTION), &object).await.unwrap();
    let no_secret = Pipeline { world: &world, name: "nosecret".to_owned() };
    eventually("ConsumerAvailable", Some("False".to_owned()), async || {
        Some(no_secret.condition("ConsumerAvailable").await?.0)
    })
    .await;
    assert_eq!(no_secret.condition("Ready").await.unwrap().0, "False");
    let bad_image = Pipeline::create(&world, "badimage", json!({})).await;
    no_secret.expect_ready().await;
    eventually("ProducerAvailable", Some("False".to_owned()), async || {
        Some(bad_image.condition("ProducerAvailable").await?.0)
    })
    .await;
    assert_eq!(bad_image.condition("Ready").await.unwrap().0, "False");
    world.bed.node.decide("badimage-producer-", Fate::Ready);
    bad_image.expect_ready().await;
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_told_in_its_own_words() {
    let world = World::shared("trouble-quota").await;
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "1"}},
    });
    world.api.create(&world.core("resourcequotas"), &quota).await.unwrap();
    let _operator = Operator::start(&world, "a").await;
    let one = Pipeline::create(&world, "one", json!({"consumer": {"replicas": 2}})).await;
    eventually("some workers are refused", true, async || {
        let status = one.get().await["status"].to_string();
        status.contains("PodsRefused") && status.contains("exceeded quota: few")
    })
    .await;
    world.api.delete(&world.core("resourcequotas/few")).await.unwrap();
    one.expect_ready().await;
}

/// A resource from a time with another schema, or with a typing error that no rule knew.
#[tokio::test]
async fn a_resource_that_cannot_be_read_does_not_stop_the_others() {
    let world = World::alone("trouble-unreadable").await;
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/candlepipelines.candles.dev";
    let definition = world.api.get(path).await.unwrap();
    let mut loose = definition.clone();
    loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"] =
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    loose["spec"]["versions"][0]["subresources"].as_object_mut().unwrap().remove("scale");
    world.api.replace(path, &loose).await.unwrap();
    let garbage = json!({
        "apiVersion": "candles.dev/v1alpha1", "kind": "CandlePipeline", "metadata": {"name": "garbage"},
        "spec": {"exchange": "not a map"},
    });
    eventually("garbage is accepted", true, async || {
        world.api.try_create(&world.candles(COLLECTION), &garbage).await.unwrap().is_ok()
    })
    .await;
    let mut restored = definition;
    restored["metadata"]["resourceVersion"] =
        world.api.get(path).await.unwrap()["metadata"]["resourceVersion"].clone();
    world.api.replace(path, &restored).await.unwrap();
    eventually("garbage is refused again", true, async || {
        let mut another = garbage.clone();
        another["metadata"]["name"] = json!("another");
        let answer =
            world.api.try_create(&format!("{}?dryRun=All", world.candles(COLLECTION)), &another).await;
        answer.unwrap().is_err()
    })
    .await;
    let operator = Operator::start(&world, "a").await;
    let one = Pipeline::create(&world, "one", json!({})).await;
    one.expect_ready().await;
    assert!(operator.log().contains("garbage"), "the log does not name the resource");
    let garbage: Value = world.api.get(&world.candles("candlepipelines/garbage")).await.unwrap();
    assert_eq!(garbage["spec"]["exchange"], "not a map");
}
