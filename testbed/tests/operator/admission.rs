//! What the API server accepts, refuses and explains, before any operator sees it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::pipeline::{COLLECTION, pipeline};
use crate::world::{ROOT, World, eventually};

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(ROOT).join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    files.sort();
    files
}

/// Every property of a schema, as `kubectl explain --recursive` indents and names it, with whether it is described.
fn properties(schema: &Value, path: &str, found: &mut Vec<(String, bool)>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        found.push((path.clone(), property["description"].as_str().is_some_and(|text| text.len() > 3)));
        properties(property, &path, found);
        properties(&property["items"], &path, found);
        properties(&property["additionalProperties"], &path, found);
    }
}

#[tokio::test]
async fn kubectl_explains_every_field() {
    let world = World::shared("admission-explain").await;
    let definition = world
        .api
        .get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/candlepipelines.candles.dev")
        .await
        .unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut found = Vec::new();
    properties(&schema["properties"]["spec"], "", &mut found);
    assert!(found.len() > 100, "{found:?}");
    // What kubectl explains is published a moment after the definition is established.
    let explain = ["explain", "cpl.spec", "--recursive"];
    eventually("explained", true, async || world.try_kubectl(&explain, "").await.status.success()).await;
    let explained = world.kubectl(&explain).await;
    for (path, is_described) in &found {
        let name = path.rsplit('.').next().unwrap();
        assert!(*is_described, "{path} has no description");
        let is_there =
            explained.lines().any(|line| line.trim_start().split(['\t', ' ']).next() == Some(name));
        assert!(is_there, "{path} is not in kubectl explain:\n{explained}");
    }
    let one = world.kubectl(&["explain", "cpl.spec.topic.deletionPolicy"]).await;
    assert!(one.contains("DESCRIPTION") && one.contains("Retain"), "{one}");
}

#[tokio::test]
async fn kubectl_shows_the_columns_and_the_category() {
    let world = World::shared("admission-columns").await;
    world.api.create(&world.candles(COLLECTION), &pipeline(&world, "one")).await.unwrap();
    let table = world.kubectl(&["get", "candles"]).await;
    let columns: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(columns, ["NAME", "READY", "REASON", "SYMBOLS", "CONSUMERS", "LAG", "AGE"]);
    let table = world.kubectl(&["get", "cpl", "--output=wide"]).await;
    let columns: Vec<&str> = table.lines().next().unwrap().split_whitespace().skip(7).collect();
    assert_eq!(columns, ["TOPIC", "PARTITIONS", "PRODUCERS", "SUSPENDED"]);
    // kstatus and `kubectl wait` take an object for finished that says nothing of its generation.
    let made = world.api.get(&world.candles("candlepipelines/one")).await.unwrap();
    assert_eq!(made["status"]["observedGeneration"], -1);
}

/// Each example begins with a comment that has its message. Of several documents the last is refused, after the others
/// were accepted.
#[tokio::test]
async fn every_invalid_example_is_refused_with_its_message() {
    let world = World::shared("admission-invalid").await;
    let files = yaml_files("examples/invalid");
    assert!(files.len() >= 30, "{} examples", files.len());
    let mut problems = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let message = text.lines().next().unwrap().trim_start_matches('#').trim().to_owned();
        let mut documents: Vec<&str> = text.split("\n---").collect();
        let refused = documents.pop().unwrap();
        for document in documents {
            let output = world.try_kubectl(&["apply", "--filename=-"], document).await;
            assert!(output.status.success(), "{}: {}", file.display(), output.stderr);
        }
        let output = world.try_kubectl(&["apply", "--filename=-"], refused).await;
        if output.status.success() || !output.stderr.contains(&message) || message.len() < 10 {
            problems.push(format!("{}\n  wanted: {message}\n  got: {}", file.display(), output.stderr));
        }
        world.kubectl(&["delete", "cpl", "--all"]).await;
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[tokio::test]
async fn valid_examples_are_accepted() {
    let world = World::shared("admission-valid").await;
    let mut count = 0;
    for file in yaml_files("examples") {
        let text = std::fs::read_to_string(&file).unwrap();
        if !text.contains("kind: CandlePipeline") {
            continue;
        }
        count += 1;
        let output =
            world.try_kubectl(&["apply", "--server-side", "--dry-run=server", "--filename=-"], &text).await;
        assert!(output.status.success(), "{}: {}", file.display(), output.stderr);
    }
    assert!(count > 0, "no example of a CandlePipeline");
}

/// No text that is no symbol gets in, however it is written.
#[tokio::test]
async fn hostile_symbols_are_refused() {
    let world = World::shared("admission-symbols").await;
    let long = format!("t{}", "A".repeat(100));
    let hostile = [
        "",
        "t",
        "BTCUSD",
        "tBTC USD",
        "tBTCUSD\n",
        "t\u{0422}CUSD",
        "t$(HOME)",
        "tBTCUSD,x=1",
        "tbtcusd",
        &long,
    ];
    for symbol in hostile {
        let mut object = pipeline(&world, "one");
        object["spec"]["exchange"]["symbols"] = json!([symbol]);
        let refusal = world.api.try_create(&world.candles(COLLECTION), &object).await.unwrap().unwrap_err();
        assert_eq!(refusal.reason, "Invalid", "{symbol:?}: {}", refusal.message);
        assert!(refusal.message.contains("spec.exchange.symbols[0]"), "{symbol:?}: {}", refusal.message);
    }
    let mut object = pipeline(&world, "one");
    object["spec"]["exchange"]["symbols"] = json!(["tBTCUSD", "tBTCUSD"]);
    let refusal = world.api.try_create(&world.candles(COLLECTION), &object).await.unwrap().unwrap_err();
    assert!(refusal.message.contains("spec.exchange.symbols[1]: Duplicate value"), "{}", refusal.message);
    let many: Vec<String> = (0..501).map(|i| format!("tA{i:04}:USD")).collect();
    object["spec"]["exchange"]["symbols"] = json!(many);
    let refusal = world.api.try_create(&world.candles(COLLECTION), &object).await.unwrap().unwrap_err();
    assert!(refusal.message.contains("500"), "{}", refusal.message);
}

/// A rule that came later must not lock a user out of an object that was made before it.
#[tokio::test]
async fn objects_from_before_a_rule_can_be_edited_elsewhere() {
    let world = World::alone("admission-ratchet").await;
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/candlepipelines.candles.dev";
    let mut before = world.api.get(path).await.unwrap();
    let (shipped, mut removed) = (before.clone(), 0);
    without_rules(&mut before, &mut removed);
    assert!(removed > 10);
    world.api.replace(path, &before).await.unwrap();
    let mut object = pipeline(&world, "old");
    object["spec"]["candles"] = json!({"intervals": ["60s", "1m"]});
    eventually("accepted without rules", true, async || {
        world.api.try_create(&world.candles(COLLECTION), &object).await.unwrap().is_ok()
    })
    .await;
    let mut restored = shipped;
    restored["metadata"]["resourceVersion"] =
        world.api.get(path).await.unwrap()["metadata"]["resourceVersion"].clone();
    world.api.replace(path, &restored).await.unwrap();
    object["metadata"]["name"] = json!("new");
    eventually("refused with rules", true, async || {
        match world.api.try_create(&world.candles(COLLECTION), &object).await.unwrap() {
            Ok(_) => {
                // The server has not taken the rules up yet.
                world.api.delete(&world.candles("candlepipelines/new")).await.unwrap();
                false
            }
            Err(refusal) => refusal.message.contains("one length stands there twice"),
        }
    })
    .await;
    let old = world.candles("candlepipelines/old");
    let worse = json!({"spec": {"candles": {"intervals": ["60s", "1m", "2m"]}}});
    let refused = world.api.try_merge(&old, &worse).await.unwrap().unwrap_err();
    assert!(refused.message.contains("one length stands there twice"), "{refused:?}");
    let elsewhere = json!({"spec": {"consumer": {"replicas": 2}}});
    world.api.merge(&old, &elsewhere).await.unwrap();
}

fn without_rules(value: &mut Value, removed: &mut usize) {
    match value {
        Value::Object(members) => {
            *removed += usize::from(members.remove("x-kubernetes-validations").is_some());
            members.values_mut().for_each(|member| without_rules(member, removed));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| without_rules(item, removed)),
        _ => {}
    }
}
