//! The loop: watches and looks in, passes over pipelines out, each in its turn, no pipeline in two passes at once.

use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use candles_workers::runtime::{backoff::Backoff, chain};
use futures_util::StreamExt as _;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, ServiceAccount},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
};
use kube::{
    Api, Client, Resource,
    runtime::{
        Config, Controller, Predicate as _, PredicateConfig, WatchStreamExt as _,
        controller::Action,
        predicates,
        reflector::{self, ObjectRef},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Shared, children, looks,
    pass::{PassError, pass},
    watches::{self, Slim},
};
use crate::{
    kafka::TopicAdmin,
    limits::{DRAIN, PASS, PASSES, RESYNC, RETRY},
    topic::claims::Key,
};

/// Keys that wait to be woken.
const WAKE_QUEUE: usize = 1024;

/// Which namespaces are watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All.
    All,
    /// These, at least one.
    Namespaces(Vec<String>),
}

impl Scope {
    /// An API for each watch that is needed.
    pub fn apis<R>(&self, client: &Client) -> Vec<Api<R>>
    where
        R: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match self {
            Self::All => vec![Api::all(client.clone())],
            Self::Namespaces(names) => {
                names.iter().map(|name| Api::namespaced(client.clone(), name)).collect()
            }
        }
    }

    /// The namespaces, none for all.
    pub fn namespaces(&self) -> Vec<String> {
        match self {
            Self::All => Vec::new(),
            Self::Namespaces(names) => names.clone(),
        }
    }
}

struct Context<K> {
    shared: Arc<Shared<K>>,
    backoffs: Mutex<HashMap<Key, Backoff>>,
}

/// Runs until `stop`; passes that are under way then may end within [`DRAIN`].
pub async fn run<K: TopicAdmin>(
    shared: Arc<Shared<K>>,
    client: Client,
    scope: Scope,
    stop: CancellationToken,
) {
    let (reader, writer) = reflector::store::<Slim>();
    let (wake, woken) = mpsc::channel(WAKE_QUEUE);
    let changes = reflector::reflector(writer, watches::pipelines(&client, &scope, &shared))
        .default_backoff()
        .touched_objects()
        .predicate_filter(predicates::generation.combine(predicates::finalizers), PredicateConfig::default());
    let mut controller = Controller::for_stream(changes, reader)
        .with_config(Config::default().concurrency(PASSES))
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .reconcile_on(woken_stream(woken));
    controller = owns::<Deployment>(controller, &client, &scope);
    controller = owns::<ConfigMap>(controller, &client, &scope);
    controller = owns::<ServiceAccount>(controller, &client, &scope);
    controller = owns::<NetworkPolicy>(controller, &client, &scope);
    controller = owns::<PodDisruptionBudget>(controller, &client, &scope);
    let context = Arc::new(Context { shared: Arc::clone(&shared), backoffs: Mutex::default() });
    let passes = controller.run(reconcile, retry, context).for_each(|_| std::future::ready(()));
    let beside = stop.child_token();
    let looks = tokio::spawn(looks::run(Arc::clone(&shared), wake, beside.clone()));
    let strimzi = tokio::spawn({
        let (strimzi, beside, namespaces) = (Arc::clone(&shared.strimzi), beside.clone(), scope.namespaces());
        async move { strimzi.watch(client, namespaces, beside).await }
    });
    tokio::select! {
        () = passes => {}
        // A graceful end waits for a first list that may never come.
        () = async { stop.cancelled().await; tokio::time::sleep(DRAIN).await } => {
            tracing::warn!("passes did not end in time; the next operator goes on where they stopped");
        }
    }
    beside.cancel();
    looks.abort();
    strimzi.abort();
}

fn owns<R>(mut controller: Controller<Slim>, client: &Client, scope: &Scope) -> Controller<Slim>
where
    R: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    for api in scope.apis::<R>(client) {
        let labelled = watcher::Config::default().labels(children::SELECTOR).streaming_lists();
        controller = controller.owns(api, labelled);
    }
    controller
}

fn woken_stream(woken: mpsc::Receiver<Key>) -> impl futures_util::Stream<Item = ObjectRef<Slim>> {
    futures_util::stream::unfold(woken, async |mut woken| {
        let key = woken.recv().await?;
        Some((ObjectRef::new(&key.name).within(&key.namespace), woken))
    })
}

async fn reconcile<K: TopicAdmin>(slim: Arc<Slim>, context: Arc<Context<K>>) -> Result<Action, PassError> {
    let (key, shared) = (watches::key(&slim.metadata), &context.shared);
    let began = Instant::now();
    shared.metrics.active.inc();
    let result =
        tokio::time::timeout(PASS, pass(shared, &key)).await.unwrap_or(Err(PassError::TooLong(PASS)));
    shared.metrics.active.dec();
    let label = match &result {
        Ok(Some(after)) if *after < RESYNC => "requeue_after",
        Ok(_) => "success",
        Err(_) => "error",
    };
    shared.metrics.reconciled(label, began.elapsed());
    let after = result?;
    context.backoffs.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    Ok(after.map_or_else(Action::await_change, |after| Action::requeue(jittered(after))))
}

#[allow(clippy::needless_pass_by_value, reason = "the controller hands them over")]
fn retry<K>(slim: Arc<Slim>, error: &PassError, context: Arc<Context<K>>) -> Action {
    let key = watches::key(&slim.metadata);
    let mut backoffs = context.backoffs.lock().unwrap_or_else(PoisonError::into_inner);
    let backoff = backoffs.entry(key.clone()).or_insert_with(|| Backoff::new(RETRY.0, RETRY.1));
    let after = backoff.next_delay();
    if !matches!(error, PassError::NotLeader) {
        let attempt = backoff.attempt();
        tracing::warn!(pipeline = %key, attempt, retry_in_ms = after.as_millis() as u64, error = %chain(error), "pass failed");
    }
    Action::requeue(after)
}

/// Up to a quarter less, so that pipelines that were made together are not looked at together for ever.
fn jittered(after: Duration) -> Duration {
    after.mul_f64(rand::random_range(0.75..=1.0))
}
