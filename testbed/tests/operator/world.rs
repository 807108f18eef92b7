//! What the tests share: one control plane, one Kafka cluster, and for each test a namespace of its own.
//! Tests that harm a server have it alone; all others run side by side.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use candles_operator::process::rbac::Rule;
pub use candles_testbed::expect::{PATIENCE, eventually};
use candles_testbed::servers::kafka::{Cluster, Options};
use candles_testbed::servers::kubernetes::{Api, HandMadeNode};
use candles_testbed::servers::{ControlPlane, Output, RunDir, State};
use serde_json::{Value, json};
use tokio::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Of the checkout.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../");
const DEFINITION: &str = "crds/candlepipelines.candles.dev.yaml";

/// The servers. Ended by the last test that holds them; logs and data are kept if any test failed.
pub struct Bed {
    pub kubernetes: ControlPlane,
    pub kafka: Cluster,
    pub node: HandMadeNode,
    pub run: RunDir,
}

static CURRENT: Mutex<Weak<Bed>> = Mutex::const_new(Weak::new());
static TURN: RwLock<()> = RwLock::const_new(());
static FAILED: AtomicBool = AtomicBool::new(false);

impl Bed {
    async fn get() -> Arc<Self> {
        let mut current = CURRENT.lock().await;
        if let Some(bed) = current.upgrade() {
            return bed;
        }
        let run = RunDir::new("operator").unwrap();
        let begun = Instant::now();
        let (kubernetes, kafka) =
            tokio::try_join!(ControlPlane::start(&run), Cluster::start(Options::default(), &run)).unwrap();
        println!("control plane and brokers were ready after {:.1} s", begun.elapsed().as_secs_f64());
        let definition = std::fs::read_to_string(ROOT.to_owned() + DEFINITION).unwrap();
        let apply = ["apply", "--server-side", "--filename=-"];
        kubernetes.kubectl(apply).stdin(definition).run().await.unwrap().success().unwrap();
        let api = kubernetes.api();
        // `kubectl wait` fails on a definition that has no conditions yet.
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/candlepipelines.candles.dev";
        eventually("the definition is established", true, async || {
            let conditions = api.get(path).await.unwrap()["status"]["conditions"].clone();
            let is_established =
                |condition: &Value| condition["type"] == "Established" && condition["status"] == "True";
            conditions.as_array().is_some_and(|conditions| conditions.iter().any(is_established))
        })
        .await;
        let node = HandMadeNode::start(move || api).unwrap();
        let bed = Arc::new(Self { kubernetes, kafka, node, run });
        *current = Arc::downgrade(&bed);
        bed
    }

    /// Undoes what a test may have done to servers.
    async fn heal(&self) {
        let servers = || self.kubernetes.servers().iter().chain(self.kafka.brokers());
        for server in servers() {
            match server.state() {
                State::Frozen => server.thaw().unwrap(),
                State::Down => server.start().unwrap(),
                State::Running => {}
            }
        }
        for server in servers() {
            server.wait_ready().await.unwrap();
        }
        self.kafka.wait_in_sync(PATIENCE).await.unwrap();
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if !FAILED.load(Ordering::SeqCst) && !std::thread::panicking() {
            self.run.finish();
        }
    }
}

#[allow(dead_code, reason = "held, never read")]
enum Turn {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

/// A test's own namespace on the shared servers.
pub struct World {
    pub bed: Arc<Bed>,
    pub api: Api,
    pub namespace: String,
    _turn: Turn,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            FAILED.store(true, Ordering::SeqCst);
        }
    }
}

impl World {
    /// Beside other tests.
    pub async fn shared(namespace: &str) -> Self {
        let bed = Bed::get().await;
        Self::new(bed, namespace, Turn::Shared(TURN.read().await)).await
    }

    /// No other test runs meanwhile; servers may be killed and frozen.
    pub async fn alone(namespace: &str) -> Self {
        let bed = Bed::get().await;
        let turn = Turn::Alone(TURN.write().await);
        Self::new(bed, namespace, turn).await
    }

    async fn new(bed: Arc<Bed>, namespace: &str, turn: Turn) -> Self {
        bed.heal().await;
        let api = bed.kubernetes.api();
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        api.create("/api/v1/namespaces", &object).await.unwrap();
        Self { bed, api, namespace: namespace.to_owned(), _turn: turn }
    }

    /// Path of a core collection or object of the namespace.
    pub fn core(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.namespace)
    }

    /// The same in `apps/v1`.
    pub fn apps(&self, rest: &str) -> String {
        format!("/apis/apps/v1/namespaces/{}/{rest}", self.namespace)
    }

    /// The same in `candles.dev/v1alpha1`.
    pub fn candles(&self, rest: &str) -> String {
        format!("/apis/candles.dev/v1alpha1/namespaces/{}/{rest}", self.namespace)
    }

    /// A service account with these rights in the namespace, and no others; the kubeconfig of a pod of it.
    pub async fn robot(&self, name: &str, rules: &[Rule]) -> PathBuf {
        let rules: Vec<Value> = rules
            .iter()
            .map(|rule| json!({"apiGroups": [rule.group], "resources": [rule.resource], "verbs": rule.verbs}))
            .collect();
        let metadata = json!({"name": name});
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
        self.api.create(&self.core("serviceaccounts"), &account).await.unwrap();
        let (group, version) = ("rbac.authorization.k8s.io", "rbac.authorization.k8s.io/v1");
        let role = json!({"apiVersion": version, "kind": "Role", "metadata": metadata, "rules": rules});
        let binding = json!({
            "apiVersion": version, "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": self.namespace}],
        });
        for (kind, object) in [("roles", role), ("rolebindings", binding)] {
            self.api
                .create(&format!("/apis/{version}/namespaces/{}/{kind}", self.namespace), &object)
                .await
                .unwrap();
        }
        self.bed.kubernetes.service_account_kubeconfig(&self.namespace, name).await.unwrap()
    }

    /// kubectl in the namespace, which must succeed.
    pub async fn kubectl(&self, args: &[&str]) -> String {
        self.try_kubectl(args, "").await.success().unwrap().stdout
    }

    /// kubectl in the namespace, with standard input.
    pub async fn try_kubectl(&self, args: &[&str], stdin: &str) -> Output {
        let namespace = ["--namespace", &self.namespace];
        let tool = self.bed.kubernetes.kubectl(namespace).args(args).stdin(stdin);
        tool.limit(PATIENCE).run().await.unwrap()
    }
}

/// A Deployment of one container that needs the Secrets, if any.
pub fn deployment(name: &str, replicas: u64, secrets: &[&str]) -> Value {
    let volumes: Vec<Value> =
        secrets.iter().map(|name| json!({"name": name, "secret": {"secretName": name}})).collect();
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "example.invalid/none:1"}], "volumes": volumes},
            },
        },
    })
}
