//! The control plane and the hand-made node do what the operator's tests build on.

use std::time::Instant;

use candles_testbed::servers::kubernetes::Fate;
use candles_testbed::servers::{State, process_state};
use serde_json::{Value, json};

use crate::world::{World, deployment, eventually};

impl World {
    async fn available(&self, name: &str) -> Option<u64> {
        let found = self.api.get(&self.apps(&format!("deployments/{name}"))).await.unwrap();
        found["status"]["availableReplicas"].as_u64()
    }

    async fn pods(&self) -> Vec<Value> {
        self.api.list(&self.core("pods")).await.unwrap()
    }
}

#[tokio::test]
async fn deployments_become_available_and_deleted_ones_take_their_pods_along() {
    let world = World::shared("plane-available").await;
    let begun = Instant::now();
    world.api.create(&world.apps("deployments"), &deployment("web", 3, &[])).await.unwrap();
    eventually("available replicas", Some(3), async || world.available("web").await).await;
    println!("3 pods were available after {:.1} s", begun.elapsed().as_secs_f64());
    world.kubectl(&["wait", "--for=condition=Available", "deployment/web", "--timeout=10s"]).await;
    world.kubectl(&["scale", "deployment/web", "--replicas=1"]).await;
    eventually("pods", 1, async || world.pods().await.len()).await;
    world.kubectl(&["delete", "deployment/web"]).await;
    eventually("pods", 0, async || world.pods().await.len()).await;
    let begun = Instant::now();
    world.kubectl(&["delete", "namespace", "plane-available", "--timeout=60s"]).await;
    println!("the namespace was gone after {:.1} s", begun.elapsed().as_secs_f64());
}

fn reason(pod: &Value) -> &str {
    pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].as_str().unwrap_or("none")
}

#[tokio::test]
async fn pods_wait_for_their_secret_and_meet_the_fate_that_a_test_decides() {
    let world = World::shared("plane-fates").await;
    world.bed.node.decide("pulls-", Fate::ImagePullBackOff);
    world.bed.node.decide("crashes-", Fate::CrashLoop);
    for name in ["pulls", "crashes"] {
        world.api.create(&world.apps("deployments"), &deployment(name, 1, &[])).await.unwrap();
    }
    world.api.create(&world.apps("deployments"), &deployment("waits", 1, &["login"])).await.unwrap();
    eventually(
        "reasons",
        vec!["CrashLoopBackOff", "CreateContainerConfigError", "ImagePullBackOff"],
        async || {
            let pods = world.pods().await;
            let mut reasons: Vec<String> = pods.iter().map(|pod| reason(pod).to_owned()).collect();
            reasons.sort();
            reasons.into_iter().map(|reason| &*reason.leak()).collect::<Vec<_>>()
        },
    )
    .await;
    assert_eq!(world.available("waits").await, None);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}});
    world.api.create(&world.core("secrets"), &secret).await.unwrap();
    world.bed.node.decide("pulls-", Fate::Ready);
    for name in ["waits", "pulls"] {
        eventually(name, Some(1), async || world.available(name).await).await;
    }
    assert_eq!(world.available("crashes").await, None);
}

#[tokio::test]
async fn a_quota_that_is_used_up_keeps_pods_from_being_made() {
    let world = World::shared("plane-quota").await;
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "1"}},
    });
    world.api.create(&world.core("resourcequotas"), &quota).await.unwrap();
    eventually("quota is counted", "0".to_owned(), async || {
        let found = world.api.get(&world.core("resourcequotas/few")).await.unwrap();
        found["status"]["used"]["pods"].as_str().unwrap_or_default().to_owned()
    })
    .await;
    world.api.create(&world.apps("deployments"), &deployment("many", 3, &[])).await.unwrap();
    eventually("reason", "FailedCreate".to_owned(), async || {
        let found = world.api.get(&world.apps("deployments/many")).await.unwrap();
        let conditions = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let failure = conditions.iter().find(|condition| condition["type"] == "ReplicaFailure");
        failure.and_then(|condition| condition["reason"].as_str()).unwrap_or_default().to_owned()
    })
    .await;
    eventually("pods", 1, async || world.pods().await.len()).await;
}

#[tokio::test]
async fn users_may_do_what_is_bound_to_them_and_the_audit_log_tells_who_did_what() {
    let world = World::shared("plane-users").await;
    let cluster = &world.bed.kubernetes;
    let user = cluster.kubeconfig("plane-reader", None).unwrap();
    let get = async || {
        let args = ["--namespace", &world.namespace, "get", "configmaps"];
        cluster.kubectl_as(&user, args).run().await.unwrap()
    };
    let refused = get().await;
    assert!(
        refused.stderr.contains("User \"plane-reader\" cannot list resource \"configmaps\""),
        "{}",
        refused.stderr
    );
    let role = ["create", "role", "reader", "--verb=list", "--resource=configmaps"];
    world.kubectl(&role).await;
    world.kubectl(&["create", "rolebinding", "reader", "--role=reader", "--user=plane-reader"]).await;
    let log = cluster.audit_log();
    eventually("allowed", true, async || get().await.status.success()).await;
    let requests = log.requests().unwrap();
    let mut listed =
        requests.iter().filter(|request| request.user == "plane-reader" && request.resource == "configmaps");
    let last = listed.next_back().unwrap();
    assert_eq!((last.verb.as_str(), last.status, last.namespace.as_str()), ("list", 200, "plane-users"));
    assert!(!last.is_write());

    world.kubectl(&["create", "serviceaccount", "robot"]).await;
    let robot = cluster.service_account_kubeconfig(&world.namespace, "robot").await.unwrap();
    let said = cluster.kubectl_as(&robot, ["auth", "whoami"]).run().await.unwrap().success().unwrap().stdout;
    assert!(said.contains("system:serviceaccount:plane-users:robot"), "{said}");
    let made = log.writes_of("admin").unwrap();
    assert!(made.iter().any(|request| request.resource == "serviceaccounts/token"), "{made:?}");
}

#[tokio::test]
async fn objects_survive_killed_and_frozen_servers() {
    let world = World::alone("plane-faults").await;
    let cluster = &world.bed.kubernetes;
    world.api.create(&world.apps("deployments"), &deployment("web", 2, &[])).await.unwrap();
    eventually("available replicas", Some(2), async || world.available("web").await).await;

    cluster.etcd().freeze().unwrap();
    assert_eq!(process_state(cluster.etcd().pid().unwrap()), Some('T'));
    let asked = tokio::time::timeout(
        std::time::Duration::from_secs(2),
        world.api.get("/api/v1/pods?resourceVersion="),
    );
    assert!(asked.await.is_err(), "answered while etcd is frozen");
    cluster.etcd().thaw().unwrap();
    eventually("answers", true, async || world.api.get(&world.core("pods")).await.is_ok()).await;

    cluster.apiserver().kill().unwrap();
    assert_eq!(cluster.apiserver().state(), State::Down);
    assert!(world.api.get("/version").await.is_err());
    let begun = Instant::now();
    cluster.apiserver().restart().await.unwrap();
    println!("the API server was back after {:.1} s", begun.elapsed().as_secs_f64());
    cluster.etcd().kill().unwrap();
    cluster.etcd().restart().await.unwrap();
    eventually("replicas asked for", Some(5), async || {
        let scaled = world.api.merge(&world.apps("deployments/web"), &json!({"spec": {"replicas": 5}})).await;
        scaled.ok()?["spec"]["replicas"].as_u64()
    })
    .await;
    eventually("available replicas", Some(5), async || world.available("web").await).await;
}
