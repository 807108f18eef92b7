//! One writer among several operators, nothing written without need, and an end in seconds.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::operator::Operator;
use crate::pipeline::Pipeline;
use crate::world::{World, eventually};

/// Long enough for the operator's own looks at topics and lag, which come every half a minute at most.
const STEADY: Duration = Duration::from_secs(40);

#[tokio::test]
async fn a_steady_and_a_restarted_operator_write_nothing() {
    let world = World::shared("lead-steady").await;
    let operator = Operator::start(&world, "a").await;
    let mut pipelines = Vec::new();
    for i in 0..5 {
        let policy = if i % 2 == 0 { "Retain" } else { "Delete" };
        let spec =
            json!({"topic": {"deletionPolicy": policy}, "grafana": {"dashboard": {"enabled": i == 4}}});
        pipelines.push(Pipeline::create(&world, &format!("p{i}"), spec).await);
    }
    for pipeline in &pipelines {
        pipeline.expect_ready().await;
    }
    // As if consumers had worked: without offsets the lag is unknown, and stays so.
    for pipeline in &pipelines {
        pipeline.commit_offset();
    }
    for pipeline in &pipelines {
        eventually("lag", json!("<1k"), async || pipeline.get().await["status"]["lag"].clone()).await;
    }
    let log = world.bed.kubernetes.audit_log();
    tokio::time::sleep(STEADY).await;
    let writes = operator.writes(&log);
    assert!(writes.is_empty(), "in steady state: {writes:#?}");

    let log = world.bed.kubernetes.audit_log();
    operator.restart().await.unwrap();
    tokio::time::sleep(STEADY).await;
    let writes = operator.writes(&log);
    assert!(writes.is_empty(), "after a restart: {writes:#?}");
    // It does work: what is changed by hand is reverted.
    world.kubectl(&["scale", "deployment/p0-consumer", "--replicas=3"]).await;
    eventually("consumers", Some(1), async || pipelines[0].replicas("consumer").await).await;
}

/// Whether it is this process that holds the only lease.
async fn holds(world: &World, operator: &Operator) -> bool {
    let pid = format!("-{}-", operator.pid().unwrap_or_default());
    holder(world).await.is_some_and(|identity| identity.contains(&pid))
}

async fn holder(world: &World) -> Option<String> {
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", world.namespace);
    let leases = world.api.list(&path).await.unwrap();
    assert!(leases.len() <= 1, "{leases:?}");
    leases.first()?["spec"]["holderIdentity"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn of_two_operators_one_writes_and_the_other_takes_over() {
    let world = World::shared("lead-two").await;
    let first = Operator::start(&world, "first").await;
    eventually("the first holds the lease", true, async || holds(&world, &first).await).await;
    // Ready without the lease: an update waits for it.
    let second = Operator::start(&world, "second").await;
    let one = Pipeline::create(&world, "one", json!({})).await;
    one.expect_ready().await;
    let log = world.bed.kubernetes.audit_log();
    one.edit(json!({"consumer": {"replicas": 2}})).await;
    one.expect_ready().await;
    assert!(!first.writes(&log).is_empty());
    assert!(second.writes(&log).is_empty(), "{:#?}", second.writes(&log));

    let begun = Instant::now();
    first.kill().unwrap();
    one.edit(json!({"consumer": {"replicas": 3}})).await;
    eventually("consumers", Some(3), async || one.replicas("consumer").await).await;
    println!("a killed operator was replaced after {:.1} s", begun.elapsed().as_secs_f64());
    assert!(holds(&world, &second).await);

    first.start().unwrap();
    first.wait_ready().await.unwrap();
    let begun = Instant::now();
    second.stop().await.unwrap();
    println!("the second ended {:.1} s after SIGTERM", begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    one.edit(json!({"consumer": {"replicas": 1}})).await;
    eventually("consumers", Some(1), async || one.replicas("consumer").await).await;
    println!("a stopped operator was replaced after {:.1} s", begun.elapsed().as_secs_f64());
}

/// Two that both believe to hold the lease would show as two writers of one change.
#[tokio::test]
async fn an_operator_that_was_frozen_for_longer_than_its_lease_writes_nothing_when_it_wakes() {
    let world = World::shared("lead-frozen").await;
    let first = Operator::start(&world, "first").await;
    eventually("the first holds the lease", true, async || holds(&world, &first).await).await;
    let second = Operator::start(&world, "second").await;
    let one = Pipeline::create(&world, "one", json!({})).await;
    one.expect_ready().await;
    first.freeze().unwrap();
    eventually("the second holds the lease", true, async || holds(&world, &second).await).await;
    let log = world.bed.kubernetes.audit_log();
    one.edit(json!({"consumer": {"replicas": 2}})).await;
    first.thaw().unwrap();
    one.expect_ready().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let writers: BTreeSet<String> = first.writes(&log).into_iter().map(|write| write.user).collect();
    assert!(writers.is_empty(), "{:#?}", first.writes(&log));
    assert!(!second.writes(&log).is_empty());
}

#[tokio::test]
async fn sigterm_ends_it_in_seconds_even_when_the_api_server_is_silent() {
    let world = World::alone("lead-sigterm").await;
    let operator = Operator::start(&world, "a").await;
    let one = Pipeline::create(&world, "one", json!({})).await;
    one.expect_ready().await;
    world.bed.kubernetes.apiserver().freeze().unwrap();
    let begun = Instant::now();
    operator.stop().await.unwrap();
    let took = begun.elapsed();
    println!("ended {:.1} s after SIGTERM, the API server frozen", took.as_secs_f64());
    // The testbed kills what has not ended after 20 s.
    assert!(took < Duration::from_secs(15), "{took:?}: it was killed");
    // And one that never saw its first list.
    operator.start().unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let begun = Instant::now();
    operator.stop().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}: it was killed", begun.elapsed());
    world.bed.kubernetes.apiserver().thaw().unwrap();
}
