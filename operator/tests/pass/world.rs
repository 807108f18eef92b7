//! One world for one test: an API server, brokers, and an operator that can die and come again.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use candles_operator::{
    client::Fence,
    controller::{Shared, pass},
    kafka::Address,
    metrics::Metrics,
    plan::WorkerSettings,
    topic::claims::{Claim, Key},
};
use kube::{Client, client::ClientBuilder};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{
    api_server::ApiServer,
    brokers::{Brokers, Reach},
};

/// What is to go wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The server answers with this, and does nothing.
    Status(u16),
    /// It does what was asked, and the answer is lost.
    LostAfter,
    /// Nothing happens, and no answer comes.
    Silence,
    /// The operator dies before the call has an effect.
    CrashBefore,
    /// The operator dies after it.
    CrashAfter,
}

/// A call as the world saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// `patch`, `create`, ...
    pub verb: &'static str,
    /// `deployments`, `kafka`, ...
    pub resource: String,
    /// `ns/name`.
    pub name: String,
    /// Whether it is meant to change something.
    pub writes: bool,
}

/// Which call goes wrong.
#[derive(Debug, Clone, Copy)]
pub struct Planned {
    /// Counts from 0: all calls, or writes only.
    pub nth: usize,
    pub writes_only: bool,
    pub fault: Fault,
}

#[derive(Debug, Default)]
pub struct State {
    pub api: ApiServer,
    pub brokers: Brokers,
    pub calls: Vec<Call>,
    pub planned: Option<Planned>,
    pub last_error: String,
    /// What the operator is told to read.
    pub readable_secrets: BTreeSet<String>,
}

#[derive(Debug, Default)]
pub struct World {
    state: Mutex<State>,
    crashed: Notify,
}

/// What becomes of a call.
pub enum Fate {
    Done,
    Fails(Fault),
}

impl World {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Notes a call and tells what is to become of it.
    pub fn fate(&self, call: Call) -> Fate {
        let mut state = self.lock();
        let writes = call.writes;
        let nth = state.calls.iter().filter(|call| call.writes).count();
        let all = state.calls.len();
        state.calls.push(call);
        match state.planned {
            Some(planned) if planned.writes_only && writes && planned.nth == nth => {
                Fate::Fails(planned.fault)
            }
            Some(planned) if !planned.writes_only && planned.nth == all => Fate::Fails(planned.fault),
            _ => Fate::Done,
        }
    }

    /// Never returns: the operator is dead.
    pub async fn die(&self) -> ! {
        self.crashed.notify_one();
        std::future::pending().await
    }

    pub fn writes(&self) -> usize {
        self.lock().calls.iter().filter(|call| call.writes).count()
    }

    /// A user's `kubectl apply`.
    pub fn user_applies(&self, name: &str, spec: Value) {
        self.lock().api.user_applies(name, spec);
    }

    /// Everything that should not depend on what went wrong on the way.
    pub fn end_state(&self) -> Value {
        let state = self.lock();
        json!({"objects": state.api.end_state(), "topics": state.brokers.end_state()})
    }
}

/// An operator's process.
pub struct Operator {
    pub shared: Arc<Shared<Reach>>,
    pub client: Client,
    world: Arc<World>,
}

impl Operator {
    pub fn start(world: &Arc<World>) -> Self {
        let metrics = Arc::new(Metrics::new(&mut Registry::default()));
        let service = {
            let world = Arc::clone(world);
            tower::service_fn(move |request| {
                let world = Arc::clone(&world);
                async move { crate::api_server::serve(&world, request).await }
            })
        };
        let fence = Fence::new(Arc::new(|| true), Arc::clone(&metrics), Arc::default());
        let client: Client = ClientBuilder::new(service, "ns").with_layer(&fence).build();
        let settings = WorkerSettings {
            producer_image: "producer:1".to_owned(),
            consumer_image: "consumer:1".to_owned(),
            pull_policy: "IfNotPresent".to_owned(),
            pull_secrets: Vec::new(),
        };
        let shared = Shared::new(
            client.clone(),
            Arc::new(Reach(Arc::clone(world))),
            settings,
            metrics,
            Arc::new(|| true),
            None,
        );
        let mut shared = shared;
        shared.readable_secrets = world.lock().readable_secrets.clone();
        let operator = Self { shared: Arc::new(shared), client, world: Arc::clone(world) };
        operator.watch();
        operator
    }

    /// What the watch of pipelines would have told by now.
    pub fn watch(&self) {
        let pipelines: BTreeMap<Key, Claim> = self.world.lock().api.pipelines().map(claim).collect();
        for (key, claim) in pipelines {
            self.shared.claim(&key, claim);
        }
    }

    /// One pass; `Err` when the operator died in it.
    pub async fn pass(&self, name: &str) -> Result<Option<Duration>, ()> {
        self.watch();
        let key = key(name);
        tokio::select! {
            biased;
            () = self.world.crashed.notified() => Err(()),
            // An error is what the next pass is for.
            after = Box::pin(pass::pass(&self.shared, &key)) => Ok(after.unwrap_or_else(|error| {
                self.world.lock().last_error = candles_workers::runtime::chain(&error);
                Some(Duration::ZERO)
            })),
        }
    }
}

pub fn key(name: &str) -> Key {
    Key { namespace: "ns".to_owned(), name: name.to_owned() }
}

fn claim(pipeline: &Value) -> (Key, Claim) {
    let text = |path: &str| pipeline.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let name = text("/metadata/name");
    let topic = match text("/spec/topic/name") {
        "" => format!("ns.{name}"),
        topic => topic.to_owned(),
    };
    let created: jiff::Timestamp = text("/metadata/creationTimestamp").parse().unwrap();
    let observed = text("/spec/topic/management") == "Observe";
    let claim = Claim {
        created_s: created.as_second(),
        brokers: Address::new(text("/spec/kafka/bootstrapServers"), false, false).brokers,
        topics: if observed { Vec::new() } else { vec![topic.clone(), format!("{topic}-dlq")] },
    };
    (key(name), claim)
}

/// Passes until nothing changes any more, with a new process after each death.
pub async fn settle(world: &Arc<World>, operator: &mut Operator, name: &str) {
    for _ in 0..60 {
        let before = world.writes();
        let ended = operator.pass(name).await;
        if ended.is_err() {
            world.lock().planned = None;
            *operator = Operator::start(world);
        }
        let moved = world.lock().api.controllers_work();
        let gone = world.lock().api.get("candlepipelines", name).is_none();
        // An error may wait to be repeated, and a change of a moment ago may wait to be seen.
        let is_quiet = matches!(ended, Ok(Some(after)) if after > Duration::from_secs(2)) || gone;
        if world.writes() == before && !moved && is_quiet {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let state = world.lock();
    let last: Vec<_> = state.calls.iter().rev().take(12).collect();
    panic!(
        "{name} does not settle: {}; status {}; last calls {last:?}",
        state.last_error,
        state.api.status_of(name)
    );
}

/// Runs something on a clock that jumps over waits.
pub fn run(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(test);
}

/// The spec of a small pipeline, with `changes` merged in.
#[allow(clippy::needless_pass_by_value, reason = "callers write it in place")]
pub fn spec(changes: Value) -> Value {
    let mut spec = json!({
        "suspend": false,
        "exchange": {"name": "bitfinex", "symbols": ["tBTCUSD", "tETHUSD"]},
        "kafka": {"bootstrapServers": "kafka:9092"},
        "schemaRegistry": {"url": "http://registry:8081"},
        "topic": {"name": "trades", "partitions": 3, "replicationFactor": 3, "minInSyncReplicas": 2, "retention": "7d",
                  "config": {}, "management": "Managed", "deletionPolicy": "Retain"},
        "influxdb": {"url": "http://influxdb:8086", "organization": "o", "bucket": "b",
                     "tokenSecretRef": {"name": "influxdb", "key": "token"}},
    });
    crate::api_server::merge(&mut spec, &changes);
    spec
}
