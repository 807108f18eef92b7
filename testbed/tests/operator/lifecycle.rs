//! From `kubectl apply` to a running pipeline, its changes by spec and by hand, and its end.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use candles_operator::process::{rbac, release};
use candles_testbed::servers::worker;
use serde_json::{Value, json};

use crate::operator::Operator;
use crate::pipeline::{Pipeline, differences, merge, pipeline, topic_settings};
use crate::world::{World, eventually};

/// Ids of the namespace's pods.
async fn pods(world: &World) -> BTreeSet<String> {
    let pods = world.api.list(&world.core("pods")).await.unwrap();
    pods.iter().map(|pod| pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn an_applied_pipeline_becomes_a_topic_then_deployments_then_ready() {
    let world = World::shared("life-apply").await;
    // The API server itself refuses pods that ask for more than they need.
    let restricted = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    world.api.merge("/api/v1/namespaces/life-apply", &restricted).await.unwrap();
    let _operator = Operator::start(&world, "a").await;
    let secret = ["create", "secret", "generic", "influxdb", "--from-literal=token=t"];
    world.kubectl(&secret).await;

    // How many partitions the topic had when each Deployment appeared.
    let seen = RefCell::new(Vec::new());
    let path = world.apps("deployments");
    let watching = world.api.watch(&path, async |kind, object| {
        if kind == "ADDED" {
            let partitions = world.bed.kafka.partitions("life-apply.one").await.unwrap().len();
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            seen.borrow_mut().push((name, partitions));
        }
        true
    });
    let applying = async {
        let file = pipeline(&world, "one").to_string();
        let applied = world.try_kubectl(&["apply", "--server-side", "--filename=-"], &file).await;
        let said = applied.success().unwrap().stdout;
        assert!(said.contains("serverside-applied"), "{said}");
        let begun = Instant::now();
        world.kubectl(&["wait", "--for=condition=Ready", "cpl/one", "--timeout=110s"]).await;
        println!("ready {:.1} s after kubectl apply", begun.elapsed().as_secs_f64());
    };
    tokio::select! {
        ended = watching => panic!("the watch ended: {ended:?}"),
        () = applying => {}
    }
    let mut seen = seen.into_inner();
    seen.sort();
    assert_eq!(seen, [("one-consumer".to_owned(), 3), ("one-producer".to_owned(), 3)]);

    let one = Pipeline { world: &world, name: "one".to_owned() };
    let partitions = world.bed.kafka.partitions("life-apply.one").await.unwrap();
    assert!(partitions.len() == 3 && partitions.iter().all(|p| p.replicas.len() == 3), "{partitions:?}");
    // Brokers learn of a change one after the other, and any of them may answer.
    let wanted = [("min.insync.replicas", "2".to_owned()), ("retention.ms", (7 * 86_400_000).to_string())];
    for (key, value) in wanted {
        let setting = async || topic_settings(&world, "life-apply.one").await.remove(key);
        eventually(key, Some(value), setting).await;
    }
    eventually("dead letters", 1, async || one.partitions("life-apply.one-dlq").await).await;
    for kind in ["TopicReady", "ProducerAvailable", "ConsumerAvailable"] {
        assert_eq!(one.condition(kind).await.unwrap().0, "True", "{kind}");
    }
    for kind in ["Reconciling", "Stalled"] {
        assert_eq!(one.condition(kind).await, None, "{kind} is there only while true");
    }
    for component in ["producer", "consumer"] {
        let deployment = one.deployment(component).await.unwrap();
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["containers"][0]["image"], Operator::image(component));
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(deployment["metadata"]["ownerReferences"][0]["name"], "one");
    }
    let table = world.kubectl(&["get", "cpl", "one", "--no-headers", "--output=wide"]).await;
    let cells: Vec<&str> = table.split_whitespace().collect();
    assert_eq!(cells[..5], ["one", "True", "Ready", "2", "1/1"], "{table}");
    assert_eq!(cells[cells.len() - 4..], ["life-apply.one", "3/3", "1/1", "false"], "{table}");
}

#[tokio::test]
async fn a_replica_edit_changes_one_field_and_restarts_nothing() {
    let world = World::shared("life-replicas").await;
    let operator = Operator::start(&world, "a").await;
    let one = Pipeline::create(&world, "one", json!({})).await;
    one.expect_ready().await;
    let (before, pods_before) = (one.children().await, pods(&world).await);
    let log = world.bed.kubernetes.audit_log();
    one.edit(json!({"consumer": {"replicas": 3}})).await;
    eventually("consumers", Some(3), async || one.replicas("consumer").await).await;
    one.expect_ready().await;
    let after = one.children().await;
    let changed: BTreeSet<String> = before
        .iter()
        .flat_map(|(key, object)| {
            differences(object, &after[key]).into_iter().map(move |path| format!("{key}{path}"))
        })
        .collect();
    let expected = ["deployments/one-consumer.metadata.generation", "deployments/one-consumer.spec.replicas"];
    assert_eq!(changed.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    assert_eq!(before.len(), after.len());
    assert!(pods(&world).await.is_superset(&pods_before), "a pod was restarted");
    let writes = operator.writes(&log);
    let changes: Vec<&str> = writes
        .iter()
        .filter(|write| !["candlepipelines/status", "events"].contains(&write.resource.as_str()))
        .map(|write| write.name.as_str())
        .collect();
    assert_eq!(changes, ["one-consumer"], "{writes:#?}");
}

#[tokio::test]
async fn kubectl_scales_consumers_and_suspending_keeps_everything_but_the_pods() {
    let world = World::shared("life-scale").await;
    let _operator = Operator::start(&world, "a").await;
    let one = Pipeline::create(&world, "one", json!({})).await;
    one.expect_ready().await;
    world.kubectl(&["scale", "cpl/one", "--replicas=2"]).await;
    eventually("consumers", Some(2), async || one.replicas("consumer").await).await;
    one.expect_ready().await;
    let scale = world.api.get(&format!("{}/scale", one.path())).await.unwrap();
    assert_eq!(scale["status"]["replicas"], 2, "{scale}");
    let selector = scale["status"]["selector"].as_str().unwrap();
    let selected = world.kubectl(&["get", "pods", "--selector", selector, "--output=name"]).await;
    assert_eq!(selected.lines().count(), 2, "an autoscaler would count {selected}");

    let before = one.children().await;
    one.edit(json!({"suspend": true})).await;
    eventually("pods", 0, async || pods(&world).await.len()).await;
    eventually("reason", Some("Suspended".to_owned()), async || Some(one.condition("Ready").await?.1)).await;
    let mut after = one.children().await;
    for component in ["producer", "consumer"] {
        let deployment = after.get_mut(&format!("deployments/one-{component}")).unwrap();
        assert_eq!(deployment["spec"]["replicas"], 0);
    }
    one.edit(json!({"suspend": false})).await;
    one.expect_ready().await;
    for (key, mut object) in one.children().await {
        let mut old = before[&key].clone();
        for object in [&mut object, &mut old] {
            object["metadata"]["generation"] = Value::Null;
        }
        assert_eq!(differences(&old, &object), BTreeSet::new(), "{key}");
    }
    assert_eq!(one.partitions(&one.topic()).await, 3);
}

#[tokio::test]
async fn partitions_grow_and_a_change_of_the_configuration_restarts_the_workers() {
    let world = World::shared("life-grow").await;
    let _operator = Operator::start(&world, "a").await;
    let one = Pipeline::create(&world, "one", json!({})).await;
    one.expect_ready().await;
    one.edit(json!({"topic": {"partitions": 5}})).await;
    eventually("partitions", 5, async || one.partitions(&one.topic()).await).await;
    one.expect_ready().await;
    assert_eq!(one.get().await["status"]["topic"]["summary"], "5/5");

    let before = pods(&world).await;
    one.edit(json!({"candles": {"intervals": ["1m", "5m"]}})).await;
    eventually("pods of the old configuration", 1, async || {
        // The producer builds no candles.
        pods(&world).await.intersection(&before).count()
    })
    .await;
    one.expect_ready().await;
}

#[tokio::test]
async fn edits_by_hand_are_reverted_and_a_rollout_restart_is_respected() {
    let world = World::shared("life-edits").await;
    let operator = Operator::start(&world, "a").await;
    let one = Pipeline::create(&world, "one", json!({})).await;
    one.expect_ready().await;
    let before = one.children().await;
    let same = async || {
        let after = one.children().await;
        let differs = before.iter().any(|(key, object)| {
            let mut object = object.clone();
            let Some(mut now) = after.get(key).cloned() else { return true };
            for object in [&mut now, &mut object] {
                object["metadata"]["generation"] = Value::Null;
            }
            now != object
        });
        !differs && after.len() == before.len()
    };
    let config = before.keys().find(|key| key.starts_with("configmaps/")).unwrap().clone();
    let image = "deployment/one-producer";
    let edits: Vec<Vec<&str>> = vec![
        vec!["set", "image", image, "*=example.invalid/other:1"],
        vec!["scale", "deployment/one-consumer", "--replicas=4"],
        vec!["delete", "deployment/one-consumer"],
        vec!["patch", &config, "--type=merge", "--patch={\"data\":{\"pipeline.yaml\":\"x\"}}"],
        vec!["delete", &config],
        vec!["delete", "poddisruptionbudget", "--all"],
        vec!["label", "deployment/one-producer", "app.kubernetes.io/managed-by=me", "--overwrite"],
        vec!["delete", "networkpolicy", "--all"],
        vec!["delete", "serviceaccount", "one-worker"],
    ];
    for edit in edits {
        world.kubectl(&edit).await;
        let begun = Instant::now();
        eventually(&format!("{edit:?} is reverted"), true, same).await;
        println!("reverted {:.2} s after kubectl {}", begun.elapsed().as_secs_f64(), edit[..2].join(" "));
    }
    one.expect_ready().await;

    let pods_before = pods(&world).await;
    world.kubectl(&["rollout", "restart", "deployment/one-consumer", "deployment/one-producer"]).await;
    world.kubectl(&["rollout", "status", "deployment/one-consumer", "--timeout=60s"]).await;
    world.kubectl(&["rollout", "status", "deployment/one-producer", "--timeout=60s"]).await;
    eventually("old pods", 0, async || pods(&world).await.intersection(&pods_before).count()).await;
    let log = world.bed.kubernetes.audit_log();
    one.edit(json!({"consumer": {"replicas": 2}})).await;
    eventually("consumers", Some(2), async || one.replicas("consumer").await).await;
    one.expect_ready().await;
    let deployment = one.deployment("consumer").await.unwrap();
    let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
    assert!(annotations["kubectl.kubernetes.io/restartedAt"].is_string(), "{annotations}");
    let writes = operator.writes(&log);
    assert!(writes.iter().all(|write| write.name != "one-producer"), "{writes:#?}");
}

#[tokio::test]
async fn a_retained_topic_stays_and_a_deleted_one_goes_with_its_pipeline() {
    let world = World::shared("life-delete").await;
    let _operator = Operator::start(&world, "a").await;
    let kept = Pipeline::create(&world, "kept", json!({})).await;
    let gone = Pipeline::create(&world, "gone", json!({"topic": {"deletionPolicy": "Delete"}})).await;
    kept.expect_ready().await;
    gone.expect_ready().await;
    assert!(kept.get().await["metadata"]["finalizers"].is_null(), "nothing to wait for");
    assert!(gone.get().await["metadata"]["finalizers"].is_array());
    for pipeline in [&kept, &gone] {
        let begun = Instant::now();
        pipeline.delete().await;
        pipeline.expect_gone().await;
        let left = async || {
            let objects = world.api.list(&world.apps("deployments")).await.unwrap();
            let named = |object: &&Value| {
                object["metadata"]["name"].as_str().is_some_and(|name| name.starts_with(&pipeline.name))
            };
            objects.iter().filter(named).count()
        };
        eventually("deployments", 0, left).await;
        println!("{} was gone after {:.1} s", pipeline.name, begun.elapsed().as_secs_f64());
    }
    assert_eq!(kept.partitions(&kept.topic()).await, 3);
    for topic in [gone.topic(), gone.topic() + "-dlq"] {
        eventually(&topic, 0, async || gone.partitions(&topic).await).await;
    }
    // Who makes it anew finds the retained topic, and must say that it is meant.
    let again = Pipeline::create(&world, "kept", json!({})).await;
    again.expect("Stalled", "True", "TopicExists").await;
    again.edit(json!({"topic": {"management": "Adopt"}})).await;
    again.expect_ready().await;
}

#[tokio::test]
async fn a_namespace_is_gone_within_a_minute_with_both_policies() {
    let world = World::shared("life-namespace").await;
    let operator = Operator::start(&world, "a").await;
    let kept = Pipeline::create(&world, "kept", json!({})).await;
    let gone = Pipeline::create(&world, "gone", json!({"topic": {"deletionPolicy": "Delete"}})).await;
    kept.expect_ready().await;
    gone.expect_ready().await;
    let begun = Instant::now();
    world.kubectl(&["delete", "namespace", "life-namespace", "--timeout=60s"]).await;
    println!("the namespace was gone after {:.1} s", begun.elapsed().as_secs_f64());
    assert_eq!(kept.partitions(&kept.topic()).await, 3);
    eventually("the topic", 0, async || gone.partitions(&gone.topic()).await).await;
    drop(operator);
}

#[tokio::test]
async fn a_namespace_is_gone_within_a_minute_without_the_operator() {
    let world = World::shared("life-orphan").await;
    let operator = Operator::start(&world, "a").await;
    let one = Pipeline::create(&world, "one", json!({})).await;
    one.expect_ready().await;
    operator.kill().unwrap();
    world.kubectl(&["delete", "namespace", "life-orphan", "--timeout=60s"]).await;
}

/// What `helm uninstall` does in the end, with the rights that the chart gives it.
#[tokio::test]
async fn a_namespace_is_gone_within_a_minute_with_the_operator_gone_for_good() {
    let world = World::shared("life-released").await;
    let operator = Operator::start(&world, "a").await;
    let one = Pipeline::create(&world, "one", json!({"topic": {"deletionPolicy": "Delete"}})).await;
    one.expect_ready().await;
    let kubeconfig = world.robot("release", &[&release::RULES[..], &rbac::LEASE_RULES].concat()).await;
    let mut command = std::process::Command::new(worker::binary("operator").unwrap());
    command.args(["release", "--namespace", &world.namespace, "--lease-namespace", &world.namespace]);
    let log = std::fs::File::create(world.bed.run.path().join("release.log")).unwrap();
    let mut releasing = command.env("KUBECONFIG", kubeconfig).stderr(log).spawn().unwrap();
    // While an operator works, it would only hold the pipeline again.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(releasing.try_wait().unwrap(), None, "it waits for the lease");
    assert!(one.get().await["metadata"]["finalizers"].is_array());
    operator.stop().await.unwrap();
    eventually("the end of it", Some(Some(0)), async || {
        releasing.try_wait().unwrap().map(|status| status.code())
    })
    .await;
    assert!(one.get().await["metadata"]["finalizers"].is_null());
    world.kubectl(&["delete", "namespace", "life-released", "--timeout=60s"]).await;
    assert_eq!(one.partitions(&one.topic()).await, 3, "nobody was there to delete it");
}

/// What people write in one file, with everything in it.
#[tokio::test]
async fn the_full_example_becomes_ready() {
    let world = World::shared("life-full").await;
    let _operator = Operator::start(&world, "a").await;
    let file = crate::world::ROOT.to_owned() + "examples/candlepipeline-full.yaml";
    let json = world.kubectl(&["create", "--dry-run=client", "--output=json", "--filename", &file]).await;
    let mut object: Value = serde_json::from_str(&json).unwrap();
    object["metadata"].as_object_mut().unwrap().remove("namespace");
    // Its cluster is not here, and the operator has no login of its own for it.
    merge(
        &mut object["spec"],
        json!({"kafka": {"bootstrapServers": world.bed.kafka.bootstrap(), "tls": null, "sasl": null}}),
    );
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    world.api.create(&world.candles("candlepipelines"), &object).await.unwrap();
    let full = Pipeline { world: &world, name };
    let config = full.get().await;
    for secret in secrets_of(&config["spec"]) {
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}});
        world.api.apply(&world.core(&format!("secrets/{secret}")), &object).await.unwrap();
    }
    eventually("TopicReady", Some("True".to_owned()), async || Some(full.condition("TopicReady").await?.0))
        .await;
    eventually("both deployments", true, async || {
        full.deployment("producer").await.is_some() && full.deployment("consumer").await.is_some()
    })
    .await;
}

/// Names of all Secrets that a spec refers to.
fn secrets_of(spec: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    match spec {
        Value::Object(members) => {
            for (key, value) in members {
                if key.ends_with("SecretRef") {
                    found.extend(value["name"].as_str().map(str::to_owned));
                }
                found.extend(secrets_of(value));
            }
        }
        Value::Array(items) => items.iter().for_each(|item| found.extend(secrets_of(item))),
        _ => {}
    }
    found
}
