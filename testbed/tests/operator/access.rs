//! The operator with the rights that it asks for, and no others.

use std::collections::BTreeSet;

use candles_testbed::servers::worker;
use serde_json::{Value, json};

use crate::operator::Operator;
use crate::pipeline::Pipeline;
use crate::world::{World, eventually};

/// Kinds of other projects that the operator asks for where they exist.
const FOREIGN_KINDS: [(&str, &str, &str, &str); 2] = [
    ("monitoring.coreos.com", "v1", "PodMonitor", "podmonitor"),
    ("kafka.strimzi.io", "v1", "KafkaTopic", "kafkatopic"),
];
/// Granted for admission plugins, which ask the authorizer without a request that the log could show.
const NOT_IN_THE_LOG: &str = "candles.dev/candlepipelines/finalizers update";

async fn define_foreign_kinds(world: &World) {
    for (group, version, kind, singular) in FOREIGN_KINDS {
        let plural = format!("{singular}s");
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {
                "group": group, "scope": "Namespaced",
                "names": {"plural": plural, "singular": singular, "kind": kind},
                "versions": [{
                    "name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                }],
            },
        });
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.{group}");
        world.api.apply(&path, &definition).await.unwrap();
        let collection = format!("/apis/{group}/{version}/{plural}");
        eventually(kind, true, async || world.api.get(&collection).await.is_ok()).await;
    }
}

async fn forget_foreign_kinds(world: &World) {
    for (group, _, _, singular) in FOREIGN_KINDS {
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{singular}s.{group}");
        world.api.delete(&path).await.unwrap();
    }
}

/// `group/resource verb`, of every rule of Roles and ClusterRoles in a list.
fn granted(objects: &[Value]) -> BTreeSet<String> {
    let texts = |value: &Value| -> Vec<String> {
        let items = value.as_array().into_iter().flatten();
        items.map(|item| item.as_str().unwrap_or_default().to_owned()).collect()
    };
    let mut found = BTreeSet::new();
    for rule in objects.iter().flat_map(|object| object["rules"].as_array().cloned().unwrap_or_default()) {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                found.extend(
                    texts(&rule["verbs"]).into_iter().map(|verb| format!("{group}/{resource} {verb}")),
                );
            }
        }
    }
    found
}

#[test]
fn rules_are_read_as_triples() {
    let role =
        json!({"rules": [{"apiGroups": ["", "apps"], "resources": ["a", "b/status"], "verbs": ["get"]}]});
    let found: Vec<String> = granted(&[role]).into_iter().collect();
    assert_eq!(found, ["/a get", "/b/status get", "apps/a get", "apps/b/status get"]);
}

/// Everything that an operator does in its life, with nothing but the roles that it prints.
#[tokio::test]
async fn what_is_granted_is_what_is_used() {
    let world = World::alone("access").await;
    define_foreign_kinds(&world).await;
    let mut command = std::process::Command::new(worker::binary("operator").unwrap());
    let printed =
        command.args(["rbac", "--read-secret=influxdb", "--namespace", &world.namespace]).output().unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let manifest = String::from_utf8(printed.stdout).unwrap();
    let applied = world.try_kubectl(&["apply", "--server-side", "--filename=-"], &manifest).await;
    applied.success().unwrap();
    let json =
        world.try_kubectl(&["create", "--dry-run=client", "--output=json", "--filename=-"], &manifest).await;
    // kubectl prints one JSON document after the other.
    let objects: Vec<Value> = serde_json::Deserializer::from_str(&json.success().unwrap().stdout)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let granted = granted(&objects);
    assert!(granted.len() > 30, "{granted:?}");

    let account = "candles-operator";
    let kubeconfig =
        world.bed.kubernetes.service_account_kubeconfig(&world.namespace, account).await.unwrap();
    let user = format!("system:serviceaccount:{}:{account}", world.namespace);
    let log = world.bed.kubernetes.audit_log();
    let operator = Operator::spawn(&world, "a", user.clone(), &kubeconfig, &["--read-secret=influxdb"]);
    operator.wait_ready().await.unwrap();
    let all = json!({
        "topic": {"deletionPolicy": "Delete"},
        "grafana": {"dashboard": {"enabled": true}},
        "monitoring": {"podMonitor": {"enabled": true}},
    });
    let one = Pipeline::create(&world, "one", all).await;
    one.expect_ready().await;
    // By name, and only that it is there: of another one nothing is asked.
    one.expect("SecretsResolved", "True", "Found").await;
    let monitors = format!("/apis/monitoring.coreos.com/v1/namespaces/{}/podmonitors", world.namespace);
    eventually("pod monitors", 1, async || world.api.list(&monitors).await.unwrap().len()).await;
    one.edit(json!({
        "grafana": {"dashboard": {"enabled": false}}, "monitoring": {"podMonitor": {"enabled": false}},
    }))
    .await;
    eventually("pod monitors", 0, async || world.api.list(&monitors).await.unwrap().len()).await;
    // The same event twice is a patch of the first.
    for suspend in [true, false, true, false] {
        one.edit(json!({"suspend": suspend})).await;
        let wanted = if suspend { "Suspended" } else { "Ready" };
        eventually("reason", Some(wanted.to_owned()), async || Some(one.condition("Ready").await?.1)).await;
    }
    world.kubectl(&["scale", "deployment/one-consumer", "--replicas=5"]).await;
    eventually("consumers", Some(1), async || one.replicas("consumer").await).await;
    for kind in ["configmap", "serviceaccount", "networkpolicy", "poddisruptionbudget"] {
        world.kubectl(&["delete", kind, "--selector=app.kubernetes.io/instance=one"]).await;
    }
    eventually("children", 7, async || one.children().await.len()).await;
    operator.restart().await.unwrap();
    one.edit(json!({"consumer": {"replicas": 2}})).await;
    one.expect_ready().await;
    one.delete().await;
    one.expect_gone().await;
    operator.stop().await.unwrap();

    let mine = log.requests().unwrap().into_iter().filter(|request| request.user == user);
    let mine: Vec<_> = mine.filter(|request| !request.resource.is_empty()).collect();
    let refused: Vec<_> = mine.iter().filter(|request| matches!(request.status, 401 | 403)).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    let used: BTreeSet<String> = mine
        .iter()
        .flat_map(|request| {
            // An apply that makes an object needs the right to create it; a watch that begins with a list stands for both.
            let made = (request.verb == "patch" && request.status == 201).then_some("create");
            let listed =
                (request.verb == "watch" && request.uri.contains("sendInitialEvents=true")).then_some("list");
            let verbs = [Some(request.verb.as_str()), made, listed].into_iter().flatten();
            verbs.map(move |verb| format!("{}/{} {verb}", request.group, request.resource))
        })
        .collect();
    let unused: Vec<_> = granted.difference(&used).filter(|triple| *triple != NOT_IN_THE_LOG).collect();
    let more: Vec<_> = used.difference(&granted).collect();
    forget_foreign_kinds(&world).await;
    assert!(more.is_empty(), "used and not granted: {more:?}");
    assert!(unused.is_empty(), "granted and not used: {unused:?}");
}
