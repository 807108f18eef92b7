//! From resources to running pipelines: watches in, passes over single pipelines out, and what they share.

mod children;
mod deletion;
mod looks;
pub mod objects;
pub mod pass;
mod records;
mod run;
mod secrets;
pub mod strimzi;
mod topics;
pub mod watches;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::{
    Client, ResourceExt as _,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

pub use self::run::{Scope, run};
use self::{objects::Objects, strimzi::Strimzi};
use crate::{
    api::{CandlePipeline, CandlePipelineStatus, ConditionType},
    client::MayWrite,
    kafka::{Address, TopicAdmin},
    metrics::{Metrics, PipelineLabels},
    observed::Lag,
    plan::WorkerSettings,
    topic::claims::{Claim, Claims, Key},
    validate::ValidPipeline,
};

/// Types of conditions that metrics show.
const SHOWN: [ConditionType; 4] = [
    ConditionType::Ready,
    ConditionType::TopicReady,
    ConditionType::ProducerAvailable,
    ConditionType::ConsumerAvailable,
];

/// What all passes share.
pub struct Shared<K> {
    /// The API server.
    pub objects: Objects,
    /// The brokers.
    pub kafka: Arc<K>,
    /// What the operator's own flags say about children.
    pub settings: WorkerSettings,
    /// Topics that Strimzi governs.
    pub strimzi: Arc<Strimzi>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Asked before each change of a topic; the client asks by itself.
    pub may_write: MayWrite,
    /// Names of Secrets that may be read; none unless the user says so.
    pub readable_secrets: BTreeSet<String>,
    events: Mutex<Events>,
    state: Mutex<State>,
}

/// Publishes events, and repeats as counts. What it has published it keeps for minutes, so it is made anew now and then:
/// after a start thousands of pipelines may have something to tell.
struct Events {
    client: Client,
    reporter: Reporter,
    recorder: Recorder,
    published: usize,
}

/// Events that one recorder keeps.
const EVENTS_KEPT: usize = 500;

#[derive(Debug, Default)]
struct State {
    claims: Claims,
    /// Pipelines with a topic, for [`looks`].
    subjects: BTreeMap<Key, Subject>,
    /// When the deletion of a pipeline was first seen.
    deleting: BTreeMap<Key, Instant>,
    /// Generations that could not be read, as was told.
    unreadable: BTreeMap<Key, i64>,
    /// Pipelines to be looked at because of another one.
    waiting: BTreeSet<Key>,
}

/// What is looked at between passes, and what it looked like.
#[derive(Debug, Clone)]
struct Subject {
    cluster: Address,
    topic: String,
    group: String,
    partitions: usize,
    /// What the last pass saw of the topic, in short.
    digest: Option<u64>,
    lag: Option<Lag>,
    /// The lag that the status tells.
    told: Option<Lag>,
    /// The status tells that the brokers do not answer.
    unreachable: bool,
    looked: Option<tokio::time::Instant>,
}

impl<K: TopicAdmin> Shared<K> {
    /// Knows nothing yet.
    pub fn new(
        client: Client,
        kafka: Arc<K>,
        settings: WorkerSettings,
        metrics: Arc<Metrics>,
        may_write: MayWrite,
        instance: Option<String>,
    ) -> Self {
        let reporter = Reporter { controller: objects::FIELD_MANAGER.to_owned(), instance };
        let recorder = Recorder::new(client.clone(), reporter.clone());
        let events = Events { client: client.clone(), reporter, recorder, published: 0 };
        Self {
            objects: Objects::new(client),
            kafka,
            settings,
            strimzi: Arc::default(),
            metrics,
            may_write,
            readable_secrets: BTreeSet::new(),
            events: Mutex::new(events),
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a resource claims, as the watch shows it.
    pub fn claim(&self, key: &Key, claim: Claim) {
        let mut state = self.lock();
        let others = state.claims.set(key, claim);
        state.waiting.extend(others);
    }

    /// Only these resources exist.
    fn retain(&self, exists: &BTreeSet<Key>) {
        let mut state = self.lock();
        let others = state.claims.retain(exists);
        state.waiting.extend(others);
        state.subjects.retain(|key, _| exists.contains(key));
        state.deleting.retain(|key, _| exists.contains(key));
        state.unreadable.retain(|key, _| exists.contains(key));
    }

    /// Pipelines that another one's change concerns; each is named once.
    fn take_waiting(&self) -> BTreeSet<Key> {
        std::mem::take(&mut self.lock().waiting)
    }

    /// The pipeline that `key` must leave its topic to.
    fn older(&self, key: &Key, cluster: &Address) -> Option<(Key, String)> {
        let id = self.kafka.cluster_id(cluster);
        let mut state = self.lock();
        if let Some(id) = id {
            state.claims.learn(&cluster.brokers, &id);
        }
        state.claims.older(key)
    }

    /// A pipeline is gone.
    pub fn forget(&self, key: &Key) {
        let mut state = self.lock();
        let others = state.claims.remove(key);
        state.waiting.extend(others);
        state.subjects.remove(key);
        state.deleting.remove(key);
        state.unreadable.remove(key);
        drop(state);
        self.metrics.forget(&labels(key), &SHOWN.map(ConditionType::as_str));
    }

    /// Whether this process has asked for the lag yet, and what it was told.
    fn lag(&self, key: &Key) -> (bool, Option<Lag>) {
        let state = self.lock();
        let subject = state.subjects.get(key);
        (subject.is_some_and(|subject| subject.digest.is_some()), subject.and_then(|subject| subject.lag))
    }

    /// What the looks between passes are about, from now on.
    fn remember(
        &self,
        key: &Key,
        valid: &ValidPipeline,
        status: &CandlePipelineStatus,
        told: Option<Lag>,
        unreachable: bool,
    ) {
        let partitions = status.topic.as_ref().and_then(|topic| topic.partitions).unwrap_or(0);
        let fresh = Subject {
            cluster: pass::address(valid),
            topic: valid.topic.name.clone(),
            group: valid.config.group_id(),
            partitions: usize::try_from(partitions).unwrap_or(0),
            digest: None,
            lag: None,
            told,
            unreachable,
            looked: None,
        };
        let mut state = self.lock();
        let subject = state.subjects.entry(key.clone()).or_insert_with(|| fresh.clone());
        let is_same = (&subject.cluster, &subject.topic, &subject.group)
            == (&fresh.cluster, &fresh.topic, &fresh.group);
        if is_same {
            subject.partitions = fresh.partitions;
            subject.told = told;
            subject.unreachable = unreachable;
        } else {
            *subject = fresh;
        }
    }

    /// How long a pipeline has been on its way out, by the longer of two clocks: ours and the API server's.
    fn deleting_for(&self, key: &Key, pipeline: &CandlePipeline, now: Timestamp) -> Duration {
        let seen = self.lock().deleting.entry(key.clone()).or_insert_with(Instant::now).elapsed();
        let asked = pipeline.metadata.deletion_timestamp.as_ref().map(|time| now.duration_since(time.0));
        seen.max(asked.and_then(|asked| Duration::try_from(asked).ok()).unwrap_or_default())
    }

    /// Whether it is news that this generation of a resource cannot be read.
    fn is_news_unreadable(&self, key: &Key, generation: i64) -> bool {
        self.lock().unreadable.insert(key.clone(), generation) != Some(generation)
    }

    /// Publishes an event; one that cannot be published is lost, as the status says the same.
    async fn tell<R>(&self, pipeline: &R, event: &Event)
    where
        R: kube::Resource<DynamicType = ()>,
    {
        let reference = pipeline.object_ref(&());
        let recorder = self.events.lock().unwrap_or_else(PoisonError::into_inner).next();
        let published = tokio::time::timeout(crate::limits::WRITE, recorder.publish(event, &reference)).await;
        if let Ok(Err(error)) = published {
            tracing::debug!(%error, reason = event.reason, "event not published");
        }
        tracing::info!(
            pipeline = %format_args!("{}/{}", pipeline.namespace().unwrap_or_default(), pipeline.name_any()),
            reason = event.reason,
            note = event.note,
            "event"
        );
    }

    async fn say(&self, pipeline: &CandlePipeline, type_: EventType, reason: &str, note: &str) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note.to_owned()),
            action: "Topic".to_owned(),
            secondary: None,
        };
        self.tell(pipeline, &event).await;
    }

    /// Shows a status in the metrics.
    fn show(&self, key: &Key, status: &CandlePipelineStatus) {
        let labels = labels(key);
        for kind in SHOWN {
            let condition = status.conditions.iter().find(|condition| condition.type_ == kind.as_str());
            if let Some(condition) = condition {
                self.metrics.condition(&labels, kind.as_str(), &condition.status);
            }
        }
        if let Some(partitions) = status.topic.as_ref().and_then(|topic| topic.partitions) {
            self.metrics.partitions(&labels, i64::from(partitions));
        }
    }
}

impl Events {
    /// The recorder for one more event.
    fn next(&mut self) -> Recorder {
        self.published += 1;
        if self.published > EVENTS_KEPT {
            self.published = 0;
            self.recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        }
        self.recorder.clone()
    }
}

fn labels(key: &Key) -> PipelineLabels {
    PipelineLabels { namespace: key.namespace.clone(), name: key.name.clone() }
}
